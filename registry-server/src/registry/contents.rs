//! What artifacts consist of: lists of chunks, or few bytes that are kept with the record.
//!
//! Small artifacts are kept in the store of records, whose commits share a sync of the disk; a file and a sync of its own for each
//! would cost ten times as much, and an object store charges by the object.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use registry_common::chunks::{self, Chunk, ListDigest};
use registry_common::hex;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::resource::Resource as _;
use super::transaction::decode;
use super::{Registry, kinds};
use crate::chunks::incoming::Cut;
use crate::chunks::{ChunkError, ChunkStore, Names, stopped};
use crate::error::Error;
use crate::store::{Range, Record, Source, StoreError, read_write};
use crate::stored::{LogEntry, ManifestRecord};

/// How many chunks are read before their reader asks for them: to read one and to check it takes several threads, one after another.
const AHEAD: usize = 3;

/// What an artifact consists of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) chunks: Vec<Chunk>,
    /// The one chunk, sealed, if it is kept with the record.
    inline: Option<Bytes>,
}

/// What an artifact to be consists of, summed up: a long list would hold up the lane.
#[derive(Debug, Clone)]
pub(crate) struct Sum {
    pub(crate) manifest: ManifestRecord,
    /// In bytes.
    pub(crate) size: u64,
    /// As [`Content::digest`].
    pub(crate) chunks_blake3: String,
    /// Lower-case hex.
    pub(crate) sha256: String,
}

impl Sum {
    /// Of few bytes, which are kept as they are sealed.
    pub(super) fn of_bytes(bytes: &[u8], sealed: Bytes) -> Self {
        let content = match bytes {
            [] => Content::default(),
            bytes => Content { chunks: vec![Chunk::of(bytes)], inline: Some(sealed) },
        };
        let digest = content.digest();
        content.sum(digest, hex(&Sha256::digest(bytes)))
    }

    /// Whether it has chunks that are objects.
    pub(super) fn is_stored(&self) -> bool {
        self.manifest.inline.is_none() && !self.manifest.chunks.is_empty()
    }
}

impl Content {
    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.size)).sum()
    }

    /// `Artifact.chunks_blake3`.
    pub(crate) fn digest(&self) -> String {
        ListDigest::of(&self.chunks).hex()
    }

    /// Sums it up; its digests are known already.
    fn sum(self, chunks_blake3: String, sha256: String) -> Sum {
        let size = self.size();
        let manifest = ManifestRecord { chunks: chunks::pack(&self.chunks), inline: self.inline };
        Sum { manifest, size, chunks_blake3, sha256 }
    }

    pub(crate) fn from_record(record: ManifestRecord) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged("a list of chunks is none".to_owned());
        Ok(Self { chunks: chunks::unpack(&record.chunks).ok_or_else(damaged)?, inline: record.inline })
    }

    /// The chunks that are objects.
    pub(crate) fn stored(&self) -> &[Chunk] {
        if self.inline.is_some() { &[] } else { &self.chunks }
    }

    /// The bytes of one of its chunks, checked.
    pub(crate) async fn read(&self, store: &ChunkStore, namespace: &str, chunk: &Chunk) -> Result<Bytes, ChunkError> {
        match &self.inline {
            Some(sealed) => store.unseal(namespace, sealed.clone(), *chunk).await,
            None => store.get(namespace, chunk).await,
        }
    }

    /// The parts of the chunks that make up a range of bytes.
    fn pieces(&self, range: std::ops::Range<u64>) -> Vec<(Chunk, std::ops::Range<usize>)> {
        let mut begin = 0;
        let mut pieces = Vec::new();
        for chunk in &self.chunks {
            let end = begin + u64::from(chunk.size);
            let (from, to) = (range.start.max(begin), range.end.min(end));
            if from < to {
                // Both are within a chunk.
                pieces.push((*chunk, (from - begin) as usize..(to - begin) as usize));
            }
            begin = end;
        }
        pieces
    }
}

impl Registry {
    /// Sums up what was received and cut here.
    pub(super) async fn sum_of_cut(&self, namespace: &str, upload: Uuid, cut: Cut) -> Result<Sum, Error> {
        match cut {
            Cut::Small(bytes) => self.sum_of_bytes(namespace, bytes).await,
            Cut::Chunks(chunks) => {
                let sha256 = self.sha256_of_cut(namespace, upload, &chunks).await?;
                let content = Content { chunks, inline: None };
                let digest = content.digest();
                Ok(content.sum(digest, sha256))
            }
        }
    }

    /// The SHA-256 of what was received and cut here.
    pub(super) async fn sha256_of_cut(&self, namespace: &str, upload: Uuid, chunks: &[Chunk]) -> Result<String, Error> {
        let sha256 = self.digests.sha256(namespace, Some(upload), chunks).await;
        sha256.map_err(|error| match error {
            ChunkError::Missing(_) => Error::ChunksCollected("the upload".to_owned()),
            error => error.of("the upload"),
        })
    }

    /// Sums up few bytes.
    pub(super) async fn sum_of_bytes(&self, namespace: &str, bytes: Bytes) -> Result<Sum, Error> {
        let sealed = self.chunks.seal(namespace, &Chunk::of(&bytes), bytes.clone()).await?;
        Ok(Sum::of_bytes(&bytes, sealed))
    }

    /// Fails with CHUNKS_MISSING if some of an artifact's chunks are not stored.
    pub(super) async fn check_stored(
        &self,
        name: &str,
        namespace: &str,
        names: &Names,
        chunks: &[Chunk],
    ) -> Result<(), Error> {
        let digests = chunks.iter().map(|chunk| chunk.blake3).collect();
        let missing = self.chunks.missing(names, namespace, digests).await?;
        let Some(first) = missing.first() else { return Ok(()) };
        let hex = chunks[*first as usize].hex();
        let detail = format!("{} of {} chunks are missing, the first is {hex}", missing.len(), chunks.len());
        Err(Error::precondition(ErrorReason::ChunksMissing, name, detail))
    }

    /// Sums up stored chunks; a precondition that fails if some are not stored.
    pub(super) async fn sum_of_chunks(
        &self,
        name: &str,
        namespace: &str,
        names: &Names,
        upload: Option<Uuid>,
        chunks: Vec<Chunk>,
    ) -> Result<Sum, Error> {
        self.check_stored(name, namespace, names, &chunks).await?;
        let content = Content { chunks, inline: None };
        let digest = content.digest();
        if let Some(sha256) = self.known(namespace, &digest).await? {
            return Ok(content.sum(digest, sha256));
        }
        match self.digests.sha256(namespace, upload, &content.chunks).await {
            Ok(sha256) => Ok(content.sum(digest, sha256)),
            Err(error) => Err(self.unread(name, namespace, error).await),
        }
    }

    /// Why an artifact can't be made of stored chunks that can't be read.
    pub(super) async fn unread(&self, name: &str, namespace: &str, error: ChunkError) -> Error {
        match error {
            ChunkError::OtherSize(chunk, size) => {
                Error::field("chunks", ErrorReason::SizeMismatch, format!("chunk {chunk} has {size} bytes"))
            }
            ChunkError::Failed(error) => error.into(),
            ChunkError::Missing(_) => Error::precondition(ErrorReason::ChunksMissing, name, error.to_string()),
            ChunkError::Damaged { .. } => match self.put_aside_if_damaged(namespace, &error).await {
                // Once it is out of the way it is missing, and will be sent again.
                Ok(_) => Error::precondition(ErrorReason::ChunksMissing, name, error.to_string()),
                Err(Error::Precondition { reason: ErrorReason::CollectionRunning, .. }) => {
                    Error::ChunksCollected(name.to_owned())
                }
                Err(error) => error,
            },
        }
    }

    /// The SHA-256 of an artifact of the namespace with this list of chunks, if there is one.
    async fn known(&self, namespace: &str, digest: &str) -> Result<Option<String>, Error> {
        let range = Range::first(contents_place(namespace, digest), 1);
        let hits = self.store.scan(Source::Index(kinds::CONTENTS), &range).await?;
        let Some(hit) = hits.first() else { return Ok(None) };
        let artifact = self.store.get(pb::Artifact::KIND, &hit.record.key).await?;
        Ok(artifact.map(|record| decode::<pb::Artifact>(&record)).transpose()?.map(|artifact| artifact.sha256))
    }

    /// What is in the artifact with this key.
    pub(crate) async fn content(&self, key: &[u8]) -> Result<Content, Error> {
        match self.store.get(kinds::MANIFEST, key).await? {
            Some(record) => content(&record),
            None => Err(StoreError::Damaged("an artifact has no list of chunks".to_owned()).into()),
        }
    }

    /// The bytes of a range of some content, checked, in pieces. The next ones are read while one is passed on, if there is memory for
    /// them: what many slow readers wait for must not fill it.
    pub(crate) fn read_content(
        &self,
        namespace: String,
        content: Content,
        range: std::ops::Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, ChunkError>> + Send + 'static + use<> {
        let pieces = content.pieces(range).into_iter();
        let from = Arc::new((content, self.chunks.clone(), namespace));
        stream::unfold((pieces, VecDeque::new()), move |(mut pieces, mut ahead)| {
            let from = Arc::clone(&from);
            async move {
                while ahead.len() <= AHEAD
                    && let Some((chunk, _)) = pieces.as_slice().first()
                    && let Some(memory) = from.1.memory_ahead(chunk.size as usize)
                    && let Some(next) = pieces.next()
                {
                    let from = Arc::clone(&from);
                    let reading = tokio::spawn(async move { (read(&from, next).await, memory) });
                    ahead.push_back(AbortOnDropHandle::new(reading));
                }
                let piece = match ahead.pop_front() {
                    Some(reading) => {
                        reading.await.map_or_else(|error| Err(stopped(error).into()), |(piece, _memory)| piece)
                    }
                    None => read(&from, pieces.next()?).await,
                };
                Some((piece, (pieces, ahead)))
            }
        })
    }
}

async fn read(
    (content, store, namespace): &(Content, ChunkStore, String),
    (chunk, part): (Chunk, std::ops::Range<usize>),
) -> Result<Bytes, ChunkError> {
    Ok(content.read(store, namespace, &chunk).await?.slice(part))
}

pub(crate) fn content(record: &Record) -> Result<Content, Error> {
    Ok(Content::from_record(decode(record)?)?)
}

/// A chunk and the namespace that has it.
pub(crate) type Owned = (String, Chunk);

/// The chunks of the artifacts that a revision wrote.
pub(crate) fn chunks_written(entry: &LogEntry) -> Result<Vec<Owned>, StoreError> {
    let mut chunks = Vec::new();
    for write in &entry.writes {
        if let (kinds::MANIFEST, key, Some(put)) = read_write(write, &entry.events)? {
            chunks.extend(chunks_of(&key, put.payload)?);
        }
    }
    Ok(chunks)
}

/// The chunks that a manifest lists, other than those that it holds itself.
pub(crate) fn chunks_of(key: &[u8], payload: Bytes) -> Result<Vec<Owned>, StoreError> {
    let record: ManifestRecord = crate::store::decode(payload)?;
    let namespace = namespace_of(key).to_owned();
    let content = Content::from_record(record)?;
    Ok(content.stored().iter().map(|chunk| (namespace.clone(), *chunk)).collect())
}

/// The id of the namespace that a key is in; empty if it is in none.
pub(crate) fn namespace_of(key: &[u8]) -> &str {
    let namespace = key.split(|byte| *byte == 0).next().unwrap_or_default();
    str::from_utf8(namespace).unwrap_or_default()
}

/// The place of all artifacts of a namespace that have the same chunks.
pub(super) fn contents_place(namespace: &str, digest: &str) -> Vec<u8> {
    [namespace.as_bytes(), &[0], digest.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pieces_of_a_range_are_the_range(sizes in proptest::collection::vec(1_u32..9, 0..6), from in 0_u64..50, length in 0_u64..50) {
            let chunks: Vec<_> = sizes.iter().map(|size| Chunk { blake3: [0; 32], size: *size }).collect();
            let content = Content { chunks, inline: None };
            // Every byte is its place in the whole.
            let whole: Vec<u64> = (0..content.size()).collect();
            let mut at = 0;
            let places: Vec<Vec<u64>> = sizes.iter().map(|size| { at += u64::from(*size); (at - u64::from(*size)..at).collect() }).collect();
            let pieces = content.pieces(from..from + length);
            let mut next = content.chunks.iter().zip(&places).filter(|(_, places)| {
                places.iter().any(|place| (from..from + length).contains(place))
            });
            let mut found = Vec::new();
            for (_, part) in pieces {
                let (_, places) = next.next().unwrap();
                found.extend_from_slice(&places[part]);
            }
            let expected: Vec<u64> = whole.into_iter().filter(|place| (from..from + length).contains(place)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
