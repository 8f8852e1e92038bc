//! Chunks that are coming in: checked, hashed and stored, several at once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use registry_common::chunks::{self, Chunk};
use registry_proto::v1::ErrorReason;
use tokio::task::JoinSet;

use super::digests::Digesting;
use super::{ChunkStore, Memory, Names, compute, stopped};
use crate::error::Error;

/// How many chunks of one stream are on their way to the store at once.
const AT_ONCE: usize = 8;

/// Where the chunks of a stream go.
#[derive(Debug, Clone)]
struct Destination {
    store: ChunkStore,
    names: Arc<Names>,
    namespace: String,
    digesting: Option<Digesting>,
}

/// A stream of chunks.
#[derive(Debug)]
pub(crate) struct Incoming {
    to: Destination,
    storing: JoinSet<Result<(u32, Chunk), Error>>,
    stored: Vec<(u32, Chunk)>,
}

impl Destination {
    async fn keep(
        self,
        position: u32,
        bytes: Bytes,
        expected: Option<[u8; 32]>,
        memory: Memory,
    ) -> Result<(u32, Chunk), Error> {
        let hashed = bytes.clone();
        let chunk = compute(hashed.len(), move || Chunk::of(&hashed)).await?;
        if expected.is_some_and(|expected| expected != chunk.blake3) {
            let lie = format!("the chunk's bytes have the digest {}", chunk.hex());
            return Err(Error::field("blake3", ErrorReason::DigestMismatch, lie));
        }
        let hashing = async {
            if let Some(digesting) = &self.digesting {
                digesting.arrived(position, chunk, Some((bytes.clone(), Memory::clone(&memory)))).await;
            }
        };
        let (stored, ()) = tokio::join!(self.store.put(&self.names, &self.namespace, &chunk, bytes.clone()), hashing);
        stored?;
        Ok((position, chunk))
    }
}

impl Drop for Incoming {
    /// What arrived whole is stored, even if the rest does not come: then it need not be sent again.
    fn drop(&mut self) {
        self.storing.detach_all();
    }
}

impl Incoming {
    /// Chunks for a namespace, as they are called by `names`. `digesting` hears of each.
    pub(crate) fn new(store: ChunkStore, names: Arc<Names>, namespace: String, digesting: Option<Digesting>) -> Self {
        Self { to: Destination { store, names, namespace, digesting }, storing: JoinSet::new(), stored: Vec::new() }
    }

    /// Takes a chunk, at its place in the artifact; waits while too many are on their way.
    pub(crate) async fn take(&mut self, position: u32, bytes: Bytes, expected: Option<[u8; 32]>) -> Result<(), Error> {
        while self.storing.len() >= AT_ONCE {
            self.one_stored().await?;
        }
        let memory = self.to.store.memory(bytes.len()).await?;
        self.storing.spawn(self.to.clone().keep(position, bytes, expected, memory));
        Ok(())
    }

    /// Tells the place of a chunk that is stored already.
    pub(crate) async fn place(&self, position: u32, chunk: Chunk) {
        if let Some(digesting) = &self.to.digesting {
            digesting.arrived(position, chunk, None).await;
        }
    }

    async fn one_stored(&mut self) -> Result<(), Error> {
        if let Some(stored) = self.storing.join_next().await {
            self.stored.push(stored.map_err(stopped)??);
        }
        Ok(())
    }

    /// Waits until all chunks are stored; answers those that were taken, by their places.
    pub(crate) async fn finish(mut self) -> Result<Vec<Chunk>, Error> {
        while !self.storing.is_empty() {
            self.one_stored().await?;
        }
        self.stored.sort_unstable_by_key(|(position, _)| *position);
        Ok(std::mem::take(&mut self.stored).into_iter().map(|(_, chunk)| chunk).collect())
    }
}

/// The bytes of one artifact, as they come; they are cut here.
#[derive(Debug)]
pub(crate) struct Cutter {
    incoming: Incoming,
    /// What is not cut yet.
    rest: BytesMut,
    cut: u32,
    size: u64,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Cut {
    /// So little that it need not be stored as a chunk.
    Small(Bytes),
    /// Stored chunks.
    Chunks(Vec<Chunk>),
}

impl Cutter {
    /// Cuts for `incoming`.
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self { incoming, rest: BytesMut::new(), cut: 0, size: 0 }
    }

    /// How many bytes came so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.size += bytes.len() as u64;
        self.rest.extend_from_slice(bytes);
        self.cut(false).await
    }

    async fn cut(&mut self, at_end: bool) -> Result<(), Error> {
        while let Some(length) = chunks::first(&self.rest, at_end) {
            if self.cut as usize == chunks::MOST {
                return Err(Error::TooLarge(format!(
                    "an artifact has at most {} chunks: split the file",
                    chunks::MOST
                )));
            }
            let bytes = self.rest.split_to(length).freeze();
            self.incoming.take(self.cut, bytes, None).await?;
            self.cut += 1;
        }
        Ok(())
    }

    /// Waits until all bytes are stored.
    pub(crate) async fn finish(self) -> Result<Cut, Error> {
        if self.cut == 0 && self.rest.len() <= chunks::INLINE {
            return Ok(Cut::Small(self.rest.freeze()));
        }
        self.finish_in_chunks().await.map(Cut::Chunks)
    }

    /// The same, however few they are.
    pub(crate) async fn finish_in_chunks(mut self) -> Result<Vec<Chunk>, Error> {
        self.cut(true).await?;
        self.incoming.finish().await
    }
}
