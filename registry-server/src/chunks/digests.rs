//! The SHA-256 of artifacts whose chunks are arriving.
//!
//! A SHA-256 takes its bytes in order, at about a gigabyte a second, so it is computed while the chunks of an artifact come in,
//! on whatever streams. What is known here only saves reading: without it (the server was started anew, or the chunks went to another
//! one) the chunks are read again.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use registry_common::chunks::{Chunk, ListDigest};
use registry_common::hex;
use registry_common::possession::Possession;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::{ChunkError, ChunkStore, Memory, compute};

/// Chunks that came before their turn are kept in memory up to here, in KiB, for all artifacts together; others are read again.
const EARLY_KIB: usize = 16 << 10;
/// How long an artifact may wait for its next chunk before what is known of it is forgotten.
const IDLE: Duration = Duration::from_secs(120);
/// How many chunks may wait to be hashed for one artifact.
const QUEUE: usize = 4;
/// How many chunks are read at once when they have to be read again.
const READ_AHEAD: usize = 2;
/// How many artifacts are hashed as they arrive; others are read again.
const ARTIFACTS: usize = 256;
/// How many chunks of an artifact may have come before their turn; one that is further ahead is read again, as a whole.
const EARLY: usize = 4096;

/// A SHA-256 on its way, and what it covers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    sha256: Sha256,
    list: ListDigest,
    chunks: usize,
}

impl Running {
    /// Goes on with the bytes of the next chunk.
    pub(crate) async fn add(mut self, chunk: Chunk, bytes: Bytes) -> Result<Self, ChunkError> {
        let size = bytes.len();
        let hash = move || {
            self.sha256.update(&bytes);
            self.list.add(&chunk);
            self.chunks += 1;
            self
        };
        Ok(compute(size, hash).await?)
    }

    /// How many chunks it covers, if they are the first of these.
    fn covers(&self, chunks: &[Chunk]) -> Option<usize> {
        let first = chunks.get(..self.chunks)?;
        (ListDigest::of(first).hex() == self.list.hex()).then_some(self.chunks)
    }

    /// Lower-case hex.
    pub(crate) fn finish(self) -> String {
        hex(&self.sha256.finalize())
    }
}

/// A chunk that has come, or was there.
#[derive(Debug)]
struct Arrived {
    position: u32,
    chunk: Chunk,
    /// If they are at hand, with the memory they take.
    bytes: Option<(Bytes, Memory)>,
}

#[derive(Debug)]
enum Message {
    Arrived(Arrived),
    Finish(oneshot::Sender<Running>),
}

/// One artifact whose chunks are arriving.
#[derive(Debug, Clone)]
pub(crate) struct Digesting(mpsc::Sender<Message>);

impl Digesting {
    /// Tells of a chunk, in any order; waits if hashing falls behind.
    pub(crate) async fn arrived(&self, position: u32, chunk: Chunk, bytes: Option<(Bytes, Memory)>) {
        // Nobody listens when it was forgotten: it only saves reading.
        let _ = self.0.send(Message::Arrived(Arrived { position, chunk, bytes })).await;
    }
}

/// All artifacts whose chunks are arriving. When the last clone is dropped they are forgotten, and the stores let go.
#[derive(Debug, Clone)]
pub(crate) struct Digests {
    hashing: Hashing,
    running: Arc<Mutex<HashMap<Key, mpsc::Sender<Message>>>>,
}

/// The namespace, and what the caller calls the upload.
type Key = (String, Uuid);

/// What it takes to hash an artifact.
#[derive(Debug, Clone)]
struct Hashing {
    chunks: ChunkStore,
    early: Arc<Semaphore>,
    /// Half of the processors, for what has to be read again: of a list that names one chunk over and over, that may be 256 GiB.
    again: Arc<Semaphore>,
}

impl Digests {
    pub(crate) fn new(chunks: ChunkStore) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let again = Arc::new(Semaphore::new(processors.div_ceil(2)));
        let hashing = Hashing { chunks, early: Arc::new(Semaphore::new(EARLY_KIB)), again };
        Self { hashing, running: Arc::default() }
    }

    /// The artifact that a caller calls by this id; `None` if as many as may be are being hashed.
    pub(crate) fn of(&self, namespace: &str, upload: Uuid) -> Option<Digesting> {
        let key = (namespace.to_owned(), upload);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = running.get(&key).filter(|sender| !sender.is_closed());
        if known.is_none() && running.len() >= ARTIFACTS {
            return None;
        }
        Some(Digesting(known.cloned().unwrap_or_else(|| {
            let (sender, queue) = mpsc::channel(QUEUE);
            running.insert(key.clone(), sender.clone());
            // Not the senders: they would keep the task waiting.
            let (hashing, running, namespace) =
                (self.hashing.clone(), Arc::downgrade(&self.running), namespace.to_owned());
            tokio::spawn(async move {
                hashing.digest(&namespace, queue).await;
                let Some(running) = running.upgrade() else { return };
                let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                if running.get(&key).is_some_and(mpsc::Sender::is_closed) {
                    running.remove(&key);
                }
            });
            sender
        })))
    }

    /// The SHA-256 of an artifact with these chunks, all of which are stored.
    pub(crate) async fn sha256(
        &self,
        namespace: &str,
        upload: Option<Uuid>,
        chunks: &[Chunk],
    ) -> Result<String, ChunkError> {
        let mut running = match upload {
            Some(upload) => self.outcome(namespace, upload).await.unwrap_or_default(),
            None => Running::default(),
        };
        let rest = match running.covers(chunks) {
            Some(covered) => &chunks[covered..],
            None => {
                running = Running::default();
                chunks
            }
        };
        let mut read = pin!(self.read(namespace, rest));
        while let Some((chunk, bytes)) = read.try_next().await? {
            // A turn for each chunk: nobody waits for all of another one's. The semaphore is never closed.
            let _turn = self.hashing.again.acquire().await;
            running = running.add(chunk, bytes).await?;
        }
        Ok(running.finish())
    }

    /// Whoever has the bytes of these chunks, all of which are stored, can prove that by this.
    pub(crate) async fn possession(
        &self,
        namespace: &str,
        chunks: &[Chunk],
        mut possession: Possession,
    ) -> Result<Possession, ChunkError> {
        let mut read = pin!(self.read(namespace, chunks));
        while let Some((_, bytes)) = read.try_next().await? {
            // As above.
            let _turn = self.hashing.again.acquire().await;
            let size = bytes.len();
            let add = move || {
                possession.add(&bytes);
                possession
            };
            possession = compute(size, add).await?;
        }
        Ok(possession)
    }

    fn read<'a>(
        &'a self,
        namespace: &'a str,
        chunks: &'a [Chunk],
    ) -> impl Stream<Item = Result<(Chunk, Bytes), ChunkError>> + 'a {
        let read =
            async move |chunk: &Chunk| Ok::<_, ChunkError>((*chunk, self.hashing.chunks.get(namespace, chunk).await?));
        stream::iter(chunks).map(read).buffered(READ_AHEAD)
    }

    async fn outcome(&self, namespace: &str, upload: Uuid) -> Option<Running> {
        let key = (namespace.to_owned(), upload);
        let sender = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key)?;
        let (outcome, finished) = oneshot::channel();
        sender.send(Message::Finish(outcome)).await.ok()?;
        finished.await.ok()
    }
}

impl Hashing {
    /// Hashes what arrives in its turn, until it is asked for the outcome or nothing comes any more.
    async fn digest(&self, namespace: &str, mut queue: mpsc::Receiver<Message>) {
        let mut running = Running::default();
        let mut early: BTreeMap<u32, (Chunk, Option<(Bytes, Memory)>)> = BTreeMap::new();
        while let Ok(Some(message)) = timeout(IDLE, queue.recv()).await {
            match message {
                Message::Arrived(arrived) if (arrived.position as usize) < running.chunks => {}
                Message::Arrived(Arrived { position, chunk, bytes }) => {
                    let next = position as usize == running.chunks;
                    let bytes = if next { bytes } else { bytes.and_then(|(bytes, _)| self.keep(bytes)) };
                    early.insert(position, (chunk, bytes));
                    if early.len() > EARLY {
                        return;
                    }
                }
                Message::Finish(outcome) => {
                    // Who asked may be gone.
                    let _ = outcome.send(running);
                    return;
                }
            }
            while let Some(next) = early.first_entry().filter(|next| *next.key() as usize == running.chunks) {
                let (chunk, at_hand) = next.remove();
                let bytes = match &at_hand {
                    Some((bytes, _)) => Ok(bytes.clone()),
                    None => self.chunks.get(namespace, &chunk).await,
                };
                let Ok(bytes) = bytes else { return };
                match running.add(chunk, bytes).await {
                    Ok(further) => running = further,
                    Err(_) => return,
                }
            }
        }
    }

    /// Keeps the bytes of a chunk that came early, if there is memory for it: not that of chunks on their way, or those that
    /// come early could keep out the one that is waited for.
    fn keep(&self, bytes: Bytes) -> Option<(Bytes, Memory)> {
        let kib = u32::try_from(bytes.len().div_ceil(1024)).ok()?;
        let memory = Arc::clone(&self.early).try_acquire_many_owned(kib).ok()?;
        Some((bytes, Arc::new(memory)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::data::DataKeys;
    use crate::encryption::master::MasterKeys;
    use crate::places::Folder;
    use crate::registry::kinds::LAYOUT;
    use crate::store::sled::SledStore;

    #[tokio::test]
    async fn uploads_without_end_are_hashed_only_up_to_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SledStore::open(&folder.path().join("store"), 1 << 20, &LAYOUT).unwrap());
        let keys = DataKeys::new(store, MasterKeys::default());
        let digests = Digests::new(ChunkStore::new(Folder::local(folder.path()).unwrap(), keys));
        let ids: Vec<_> = (0..ARTIFACTS).map(|_| Uuid::new_v4()).collect();
        assert!(ids.iter().all(|id| digests.of("default", *id).is_some()));
        assert!(digests.of("default", Uuid::new_v4()).is_none());
        assert!(digests.of("default", ids[7]).is_some(), "one that is known goes on");
        digests.outcome("default", ids[7]).await.unwrap();
        assert!(digests.of("default", Uuid::new_v4()).is_some());
    }
}
