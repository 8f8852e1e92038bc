//! The bytes of artifacts: chunks, each an immutable object in an object store, named by its namespace and its BLAKE3, and, if a
//! sweep that had it was given up, by that sweep's generation (see `rules::garbage`).
//!
//! What has a chunk's name has its bytes: a chunk gets its name when all of it is on the disk, and is checked whenever it is
//! read. To put one that is there already is harmless, and mends it if it is damaged.
//!
//! The name is that of the plain bytes, also where they are encrypted: who sees the names of a namespace's objects sees which of its
//! artifacts have bytes in common, and can tell whether bytes that he has himself are among them.

pub(crate) mod digests;
pub(crate) mod garbage;
pub(crate) mod incoming;
mod measured;
mod names;
pub(crate) mod parts;
mod sealed;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::PutPayload;
use object_store::path::Path;
use registry_common::chunks::{Chunk, INLINE};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use self::measured::Measures;
pub(crate) use self::names::{Names, Place, place};
use self::names::{Naming, named};
use self::sealed::{Damage, Lock};
use crate::encryption::data::DataKeys;
use crate::error::Error;
use crate::owners::Owner;
use crate::places::Folder;
use crate::store::{Store, StoreError};

/// The memory that all chunks on their way to the store may take, in KiB. Chunks that are read ahead may take as much again: their readers
/// may be slow, and no upload is to wait for a reader.
const MEMORY_KIB: usize = 32 << 10;
/// How many chunks are looked for at once.
const LOOKUPS: usize = 32;

/// Memory that is taken for bytes on their way; given back when the last clone is dropped.
pub(crate) type Memory = Arc<OwnedSemaphorePermit>;

/// A store of chunks.
#[derive(Debug, Clone)]
pub struct ChunkStore {
    folder: Folder,
    memory: Arc<Semaphore>,
    memory_ahead: Arc<Semaphore>,
    keys: DataKeys,
    naming: Naming,
    /// Whether what is stored from now on is encrypted.
    encrypts: bool,
    /// Whose the folder is; absent where nobody else can have it.
    owner: Option<Owner>,
    /// Since when nobody else writes to the folder, if that is known.
    alone_since: Option<SystemTime>,
    measures: Measures,
}

/// Why a chunk can't be read.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ChunkError {
    /// It is not there.
    #[error("chunk {0} is missing")]
    Missing(String),
    /// It is there, but not what was stored.
    #[error("chunk {} is damaged: {problem}", chunk.hex())]
    Damaged {
        /// Which it should be.
        chunk: Chunk,
        /// What is wrong with it.
        problem: String,
    },
    /// It was asked for with another size than it has.
    #[error("chunk {0} has {1} bytes")]
    OtherSize(String, usize),
    /// It can't be told.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl ChunkError {
    /// What it means for an artifact.
    pub(crate) fn of(self, artifact: &str) -> Error {
        match self {
            Self::Failed(error) => error.into(),
            error => Error::Damaged { name: artifact.to_owned(), detail: error.to_string() },
        }
    }
}

/// As the memory is counted; no more than there is.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).min(MEMORY_KIB)).unwrap_or(u32::MAX)
}

pub(crate) fn stopped(error: tokio::task::JoinError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// Does what takes the processor for a while, on another thread unless it is for few bytes: to wake one would take longer.
async fn compute<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    if bytes <= INLINE { Ok(work()) } else { spawn_blocking(work).await.map_err(stopped) }
}

impl ChunkStore {
    /// A store in a folder, which others may use as well. Chunks are encrypted with these keys.
    pub(crate) fn new(folder: Folder, keys: DataKeys) -> Self {
        let encrypts = keys.masters().current().is_some();
        let memory = || Arc::new(Semaphore::new(MEMORY_KIB));
        Self {
            folder,
            memory: memory(),
            memory_ahead: memory(),
            naming: Naming::new(Arc::clone(keys.store())),
            keys,
            encrypts,
            owner: None,
            alone_since: None,
            measures: Measures::default(),
        }
    }

    /// What goes to it and comes from it.
    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// The same store in a folder that others might claim.
    pub(crate) fn owned_by(self, owner: Owner) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Makes sure that the folder is still that of the registry with these records, and of this past: to be asked before anything is
    /// removed from it.
    ///
    /// # Errors
    /// `ARTIFACTS_NOT_OWNED` if it is not.
    pub(crate) async fn check_owner(&self, store: &dyn Store) -> Result<(), Error> {
        if let Some(owner) = &self.owner {
            owner.check(store).await?;
        }
        Ok(())
    }

    /// The same store if nobody else writes to it from now on.
    pub(crate) fn alone(self) -> Self {
        Self { alone_since: Some(SystemTime::now()), ..self }
    }

    /// The keys that chunks are encrypted with.
    pub(crate) fn keys(&self) -> &DataKeys {
        &self.keys
    }

    /// Whether a namespace needs a key before it stores chunks.
    pub(crate) fn encrypts(&self) -> bool {
        self.encrypts
    }

    /// Whether nobody else writes to it, or removes anything from it.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone_since.is_some()
    }

    /// What chunks are called now.
    pub(crate) async fn names(&self) -> Result<Arc<Names>, StoreError> {
        self.naming.now().await
    }

    /// What chunks were called when these sweeps were given up, or later.
    pub(crate) async fn names_as_of(&self, given_up: &[u64]) -> Result<Arc<Names>, StoreError> {
        self.naming.as_of(given_up).await
    }

    /// Where a chunk is stored, and looked for.
    fn place(&self, names: &Names, namespace: &str, blake3: [u8; 32]) -> Path {
        let generation = names.newest(&(namespace.to_owned(), blake3));
        named(&self.folder, namespace, &blake3, generation)
    }

    /// Waits until there is memory for so many bytes.
    pub(crate) async fn memory(&self, bytes: usize) -> Result<Memory, StoreError> {
        let permit = Arc::clone(&self.memory).acquire_many_owned(kib(bytes)).await;
        permit.map(Arc::new).map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Memory for so many bytes that nobody has asked for yet, if there is any at once.
    pub(crate) fn memory_ahead(&self, bytes: usize) -> Option<Memory> {
        Arc::clone(&self.memory_ahead).try_acquire_many_owned(kib(bytes)).ok().map(Arc::new)
    }

    /// Stores a chunk durably, as it is called; the bytes must be its own.
    pub(crate) async fn put(
        &self,
        names: &Names,
        namespace: &str,
        chunk: &Chunk,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        let size = bytes.len();
        let sealed = self.sealing(namespace, *chunk, bytes).await?;
        self.folder.put(&self.place(names, namespace, chunk.blake3), sealed).await?;
        self.measures.wrote(size);
        Ok(())
    }

    /// With encryption on, the namespace must have its key.
    async fn sealing(&self, namespace: &str, chunk: Chunk, bytes: Bytes) -> Result<PutPayload, StoreError> {
        let lock = if self.encrypts {
            let keyless = || StoreError::Unavailable(format!("namespaces/{namespace} has no data key"));
            Some(self.lock(namespace).await?.ok_or_else(keyless)?)
        } else {
            None
        };
        let sealed = compute(bytes.len(), move || sealed::seal(bytes, &chunk, lock.as_ref())).await?;
        sealed.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    async fn lock(&self, namespace: &str) -> Result<Option<Lock>, StoreError> {
        let key = self.keys.of(namespace).await?;
        Ok(key.map(|key| Lock { namespace: namespace.to_owned(), key }))
    }

    /// Stores a chunk as it was kept elsewhere, if it is intact.
    pub(crate) async fn put_sealed(&self, namespace: &str, chunk: &Chunk, sealed: Bytes) -> Result<(), ChunkError> {
        self.unseal(namespace, sealed.clone(), *chunk).await?;
        let names = self.names().await?;
        let put = self.folder.put(&self.place(&names, namespace, chunk.blake3), sealed.into()).await;
        Ok(put.map_err(StoreError::from)?)
    }

    /// The bytes of a chunk, checked.
    pub(crate) async fn get(&self, namespace: &str, chunk: &Chunk) -> Result<Bytes, ChunkError> {
        let (_, bytes) = self.checked(namespace, chunk).await?;
        Ok(bytes)
    }

    /// A chunk as it is stored, checked: to be kept elsewhere.
    pub(crate) async fn sealed(&self, namespace: &str, chunk: &Chunk) -> Result<Bytes, ChunkError> {
        let (sealed, _) = self.checked(namespace, chunk).await?;
        Ok(sealed)
    }

    /// A chunk as it is stored, and its bytes.
    async fn checked(&self, namespace: &str, chunk: &Chunk) -> Result<(Bytes, Bytes), ChunkError> {
        match self.read(&self.naming.known(), namespace, chunk).await {
            Err(ChunkError::Missing(_) | ChunkError::Damaged { .. }) => {}
            read => return read,
        }
        // Once more: it may have been damaged on the way here only, or have got another name.
        self.read(&*self.names().await?, namespace, chunk).await
    }

    /// The first that is intact of the copies of a chunk: as long as it is listed, none that is goes away.
    async fn read(&self, names: &Names, namespace: &str, chunk: &Chunk) -> Result<(Bytes, Bytes), ChunkError> {
        let mut found = ChunkError::Missing(chunk.hex());
        for place in self.places(names, namespace, chunk) {
            let Some(sealed) = self.folder.get(&place).await.map_err(StoreError::from)? else { continue };
            match self.unseal(namespace, sealed.clone(), *chunk).await {
                Ok(bytes) => {
                    self.measures.read(bytes.len());
                    return Ok((sealed, bytes));
                }
                Err(damaged @ ChunkError::Damaged { .. }) => found = damaged,
                Err(error) => return Err(error),
            }
        }
        Err(found)
    }

    /// Wherever a chunk may be.
    fn places(&self, names: &Names, namespace: &str, chunk: &Chunk) -> Vec<Path> {
        let generations = names.all(&(namespace.to_owned(), chunk.blake3));
        generations.map(|generation| named(&self.folder, namespace, &chunk.blake3, generation)).collect()
    }

    /// The bytes of a chunk that is kept elsewhere, checked.
    pub(crate) async fn unseal(&self, namespace: &str, sealed: Bytes, chunk: Chunk) -> Result<Bytes, ChunkError> {
        let lock = if sealed::is_encrypted(&sealed) { self.lock(namespace).await? } else { None };
        let unsealed = compute(sealed.len(), move || sealed::unseal(&sealed, &chunk, lock.as_ref())).await?;
        unsealed.map_err(|damage| match damage {
            Damage::OtherSize(size) => ChunkError::OtherSize(chunk.hex(), size),
            Damage::Bytes(problem) => ChunkError::Damaged { chunk, problem },
        })
    }

    /// A chunk to be kept elsewhere.
    pub(crate) async fn seal(&self, namespace: &str, chunk: &Chunk, bytes: Bytes) -> Result<Bytes, StoreError> {
        Ok(self.sealing(namespace, *chunk, bytes).await?.into())
    }

    /// The places, in the list, of the chunks that are not there, as they are called.
    pub(crate) async fn missing(
        &self,
        names: &Names,
        namespace: &str,
        chunks: Vec<[u8; 32]>,
    ) -> Result<Vec<u32>, StoreError> {
        let lookups = stream::iter((0_u32..).zip(chunks)).map(async |(at, blake3)| {
            let there = self.folder.has(&self.place(names, namespace, blake3)).await?;
            Ok((!there).then_some(at))
        });
        lookups.buffered(LOOKUPS).try_filter_map(|missing| std::future::ready(Ok(missing))).try_collect().await
    }
}
