//! Parts of files that are being uploaded, until artifacts are made of them: `uploads/NAMESPACE/VERSION/UPLOAD/NUMBER` has the list of a
//! part's chunks, and what tells whether it is still that.
//!
//! They are objects beside the chunks and no records: they change nothing in the registry, and go by their age as the chunks do.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use prost::Message as _;
use registry_common::chunks::{self, Chunk};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{ChunkStore, stopped};
use crate::rules::garbage::{Fate, fate};
use crate::store::StoreError;
use crate::stored::PartRecord;

/// How many parts a file may have.
pub(crate) const MOST: u32 = 10_000;

/// Where they lie.
pub(super) const UPLOADS: &str = "uploads";
/// Before a record stands its BLAKE3.
const DIGEST_BYTES: usize = 32;

/// A file that is being uploaded.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) namespace: String,
    /// The UUID of its version: another one of the same name has other parts.
    pub(crate) version: String,
    /// What its caller calls it.
    pub(crate) id: Uuid,
}

/// What a part consists of.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) chunks: Vec<Chunk>,
    /// Lower-case hex.
    pub(crate) sha256: String,
}

impl Part {
    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.size)).sum()
    }

    fn seal(&self) -> Vec<u8> {
        let record = PartRecord { chunks: chunks::pack(&self.chunks), sha256: self.sha256.clone() }.encode_to_vec();
        [blake3::hash(&record).as_bytes(), record.as_slice()].concat()
    }

    /// `None` if these are not the bytes that were sealed.
    fn unseal(sealed: &[u8]) -> Option<Self> {
        let (digest, record) = sealed.split_at_checked(DIGEST_BYTES)?;
        if blake3::hash(record).as_bytes() != digest {
            return None;
        }
        let record = PartRecord::decode(record).ok()?;
        Some(Self { chunks: chunks::unpack(&record.chunks)?, sha256: record.sha256 })
    }
}

impl ChunkStore {
    /// Stores a part durably, in place of what it was, and answers when. Its chunks are stored.
    pub(crate) async fn put_part(&self, session: &Session, number: u32, part: &Part) -> Result<SystemTime, StoreError> {
        let place = self.part_place(session, number);
        self.folder.put(&place, part.seal().into()).await?;
        // By the clock that it goes by.
        let stored = self.folder.objects().head(&place).await.map_err(|error| self.folder.failed(error))?;
        Ok(stored.last_modified.into())
    }

    /// Removes a part, if it is there.
    pub(crate) async fn remove_part(&self, session: &Session, number: u32) -> Result<(), StoreError> {
        Ok(self.folder.remove(&self.part_place(session, number)).await?)
    }

    /// A part of a file, if it is stored and intact.
    pub(crate) async fn part(&self, session: &Session, number: u32) -> Result<Option<Part>, StoreError> {
        let sealed = self.folder.get(&self.part_place(session, number)).await?;
        Ok(sealed.and_then(|sealed| Part::unseal(&sealed)))
    }

    /// The numbers of a file's parts, and when each was stored.
    pub(crate) async fn part_numbers(&self, session: &Session) -> Result<BTreeMap<u32, SystemTime>, StoreError> {
        let numbered = |meta: ObjectMeta| {
            let number: u32 = meta.location.filename()?.parse().ok()?;
            Some((number, SystemTime::from(meta.last_modified)))
        };
        let place = self.session_place(session);
        let listed = self.folder.objects().list(Some(&place));
        let numbers = listed.try_filter_map(|meta| std::future::ready(Ok(numbered(meta))));
        Ok(numbers.try_collect().await.map_err(|error| self.folder.failed(error))?)
    }

    /// Whether a file has any parts.
    pub(crate) async fn has_parts(&self, session: &Session) -> Result<bool, StoreError> {
        Ok(self.folder.has_below(&self.session_place(session)).await?)
    }

    /// Removes parts of a certain age. Answers how many there are.
    pub(crate) async fn remove_old_parts(
        &self,
        now: SystemTime,
        grace: Duration,
        dry_run: bool,
    ) -> Result<u64, StoreError> {
        let failed = |error| StoreError::from(self.folder.failed(error));
        let uploads = self.folder.path([UPLOADS]);
        let mut listed = self.folder.objects().list(Some(&uploads));
        let mut old = 0;
        while let Some(meta) = listed.try_next().await.map_err(failed)? {
            if fate(false, meta.last_modified.into(), now, grace) != Fate::Garbage {
                continue;
            }
            old += 1;
            if !dry_run {
                self.folder.remove(&meta.location).await?;
            }
        }
        if let Some(local) = self.folder.local_path().filter(|_| !dry_run) {
            let uploads = local.join(UPLOADS);
            spawn_blocking(move || remove_empty_folders(&uploads)).await.map_err(stopped)?;
        }
        Ok(old)
    }

    fn session_place(&self, Session { namespace, version, id }: &Session) -> Path {
        self.folder.path([UPLOADS, namespace, version, &id.to_string()])
    }

    fn part_place(&self, session: &Session, number: u32) -> Path {
        self.session_place(session).join(format!("{number:05}"))
    }
}

/// Removes the folders below one in which nothing is.
fn remove_empty_folders(folder: &FilePath) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for below in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty_folders(&below.path());
        // Parts lie in it. Who stores one just now makes the folder again.
        let _ = std::fs::remove_dir(below.path());
    }
}

/// Whether a part has this name in its folder.
pub(super) fn is_name(name: &str) -> bool {
    name.len() >= 5 && name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_it_was_or_none() {
        let part = Part { chunks: vec![Chunk::of(b"one"), Chunk::of(b"two")], sha256: "ab".repeat(32) };
        let sealed = part.seal();
        let back = Part::unseal(&sealed).unwrap();
        assert_eq!((back.chunks, &back.sha256), (part.chunks, &part.sha256));
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert!(Part::unseal(&other).is_none(), "{at}");
            assert!(Part::unseal(&sealed[..at]).is_none(), "{at}");
        }
    }
}
