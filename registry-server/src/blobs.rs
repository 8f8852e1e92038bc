//! The bytes of artifacts: immutable files named by their SHA-256, in an object store.
//!
//! Bytes come in under a name of their own and get their lasting one only when all of them are on the disk, so that what has a
//! digest's name has that digest. What an upload that broke off left behind is removed when it is dropped or, after a crash,
//! when the store is opened next. Several processes may use one folder: each takes bytes in in a folder of its own.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::error::Error;
use crate::registry::finalize::hex;
use crate::store::StoreError;

/// Bytes go to the disk in parts of this size.
const PART: usize = 1024 * 1024;
/// How many parts are on their way to the disk at once; with the digest's queue this bounds an upload's memory.
const PARTS_AT_ONCE: usize = 4;
/// How much is read at once.
const READ: u64 = 1024 * 1024;
/// How the file's name ends that says that a folder beside it is in use.
const LOCK: &str = "lock";

/// A store of bytes.
#[derive(Debug, Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    incoming: Arc<OwnFolder>,
}

/// Where this process takes bytes in.
#[derive(Debug)]
struct OwnFolder {
    name: String,
    /// Held as long as this process may write there.
    _lock: File,
}

fn failed(error: object_store::Error) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return StoreError::Full(error.to_string()).into();
        }
        source = cause.source();
    }
    StoreError::Unavailable(error.to_string()).into()
}

fn location(sha256: &str) -> Path {
    let (head, _) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
    Path::from_iter(["sha256", head, sha256])
}

impl OwnFolder {
    /// A folder that nobody else uses, locked by the file beside it.
    fn claim(place: &FilePath) -> std::io::Result<Self> {
        loop {
            let name = Uuid::new_v4().to_string();
            let path = place.join(&name).with_extension(LOCK);
            let lock = File::create_new(&path)?;
            // Before it was locked, another process may have taken it for an abandoned one.
            if lock.try_lock().is_ok() && path.exists() {
                return Ok(Self { name, _lock: lock });
            }
        }
    }
}

/// Removes what processes that are gone were taking in. Parts of an upload lie beside the objects, under names that an object
/// store does not list.
fn remove_abandoned(place: &FilePath) -> std::io::Result<()> {
    for entry in std::fs::read_dir(place)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != LOCK) {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_ok() {
            match std::fs::remove_dir_all(path.with_extension("")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            match std::fs::remove_file(&path) {
                // Somebody else opens the store at the same time.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

impl Blobs {
    /// Opens the store in a folder, or makes it, and removes what uploads left there when the server was killed.
    ///
    /// # Errors
    /// If the folder can't be used.
    pub async fn open(folder: &FilePath) -> Result<Self, Error> {
        let unusable = |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", folder.display()));
        let place = folder.join("incoming");
        let own = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&place)?;
            remove_abandoned(&place)?;
            OwnFolder::claim(&place)
        });
        let own = own.await.map_err(Error::internal)?.map_err(unusable)?;
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(failed)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects), incoming: Arc::new(own) })
    }

    /// Begins to take bytes.
    pub(crate) async fn begin(&self) -> Result<Incoming, Error> {
        let place = Path::from_iter(["incoming", &self.incoming.name, &Uuid::new_v4().to_string()]);
        let upload = self.objects.put_multipart(&place).await.map_err(failed)?;
        let (digest, mut queue) = mpsc::channel::<Bytes>(PARTS_AT_ONCE);
        let hashing = tokio::task::spawn_blocking(move || {
            let mut hasher = Sha256::new();
            while let Some(bytes) = queue.blocking_recv() {
                hasher.update(&bytes);
            }
            hex(&hasher.finalize())
        });
        Ok(Incoming {
            blobs: self.clone(),
            place,
            upload: Some(upload),
            parts: JoinSet::new(),
            part: Vec::new(),
            part_size: 0,
            size: 0,
            digest: Some(digest),
            hashing,
        })
    }

    /// The bytes of a range. If it is the whole, its digest is checked at the end.
    pub(crate) async fn read(
        &self,
        name: &str,
        sha256: &str,
        size: u64,
        range: std::ops::Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static + use<>, Error> {
        let place = location(sha256);
        let damaged = {
            let name = name.to_owned();
            move |detail: String| Error::Damaged { name: name.clone(), detail }
        };
        let meta = self.objects.head(&place).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => damaged(format!("its bytes ({sha256}) are missing")),
            error => failed(error),
        })?;
        if meta.size != size {
            return Err(damaged(format!("{} bytes are stored instead of {size}", meta.size)));
        }
        let objects = Arc::clone(&self.objects);
        let whole = range == (0..size);
        let pieces = stream::iter(range.clone().step_by(READ as usize))
            .map(move |start| {
                let (objects, place) = (Arc::clone(&objects), place.clone());
                let piece = start..range.end.min(start + READ);
                async move { objects.get_range(&place, piece).await.map_err(failed) }
            })
            .buffered(2);
        let expected = sha256.to_owned();
        let check = Check { hasher: Sha256::new(), expected, damaged };
        Ok(if whole { check.after(pieces).left_stream() } else { pieces.right_stream() })
    }
}

/// Hashes what goes by.
struct Check<D> {
    hasher: Sha256,
    expected: String,
    damaged: D,
}

impl<D: Fn(String) -> Error + Send + 'static> Check<D> {
    /// The pieces, then an error if they do not have the digest together.
    fn after(
        self,
        pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let pieces = pieces.map_ok(Some).chain(stream::iter([Ok(None)]));
        pieces.scan(self, |check, piece| {
            let item = match piece {
                Ok(Some(bytes)) => {
                    check.hasher.update(&bytes);
                    Some(Ok(bytes))
                }
                Ok(None) => {
                    let found = hex(&check.hasher.finalize_reset());
                    let detail = format!("the stored bytes have the digest {found} instead of {}", check.expected);
                    (found != check.expected).then(|| Err((check.damaged)(detail)))
                }
                Err(error) => Some(Err(error)),
            };
            std::future::ready(item)
        })
    }
}

/// Bytes that are coming in. Dropped before the end, they are gone.
#[derive(Debug)]
pub(crate) struct Incoming {
    blobs: Blobs,
    place: Path,
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    part: Vec<Bytes>,
    part_size: usize,
    size: u64,
    digest: Option<mpsc::Sender<Bytes>>,
    hashing: JoinHandle<String>,
}

impl Incoming {
    /// How many bytes came so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes some bytes; waits while too many are on their way.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.size += bytes.len() as u64;
        self.part_size += bytes.len();
        if let Some(digest) = &self.digest {
            digest.send(bytes.clone()).await.map_err(|_| Error::internal("the digest's task ended"))?;
        }
        self.part.push(bytes);
        if self.part_size >= PART { self.send_part().await } else { Ok(()) }
    }

    async fn send_part(&mut self) -> Result<(), Error> {
        while self.parts.len() >= PARTS_AT_ONCE {
            self.part_done().await?;
        }
        let part: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
        self.part_size = 0;
        if let Some(upload) = &mut self.upload {
            self.parts.spawn(upload.put_part(part));
        }
        Ok(())
    }

    async fn part_done(&mut self) -> Result<(), Error> {
        match self.parts.join_next().await {
            Some(Ok(written)) => written.map_err(failed),
            Some(Err(error)) => Err(Error::internal(error)),
            None => Ok(()),
        }
    }

    /// Waits until all bytes are on the disk and hashed.
    pub(crate) async fn finish(mut self) -> Result<Complete, Error> {
        self.send_part().await?;
        while !self.parts.is_empty() {
            self.part_done().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await.map_err(failed)?;
        }
        // Completed: there is nothing to abort any more, but a file to remove.
        self.upload = None;
        let mut complete = Complete {
            blobs: self.blobs.clone(),
            place: Some(self.place.clone()),
            stored: Stored { sha256: String::new(), size: self.size },
        };
        self.digest = None;
        complete.stored.sha256 = (&mut self.hashing).await.map_err(Error::internal)?;
        Ok(complete)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            self.parts.abort_all();
            tokio::spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an upload that broke off could not be removed");
                }
            });
        }
    }
}

/// Bytes that all came. Dropped without being kept, they are gone.
#[derive(Debug)]
pub(crate) struct Complete {
    blobs: Blobs,
    place: Option<Path>,
    stored: Stored,
}

/// What was kept.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Lower-case hex.
    pub(crate) sha256: String,
    /// In bytes.
    pub(crate) size: u64,
}

impl Complete {
    pub(crate) fn sha256(&self) -> &str {
        &self.stored.sha256
    }

    pub(crate) fn size(&self) -> u64 {
        self.stored.size
    }

    /// Gives the bytes their lasting name. If they are there already, the new ones take their place: they are the same, or mend
    /// what was damaged.
    pub(crate) async fn keep(mut self) -> Result<Stored, Error> {
        if let Some(place) = &self.place {
            self.blobs.objects.rename(place, &location(&self.stored.sha256)).await.map_err(failed)?;
        }
        self.place = None;
        Ok(self.stored.clone())
    }
}

impl Drop for Complete {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let objects = Arc::clone(&self.blobs.objects);
            tokio::spawn(async move {
                if let Err(error) = objects.delete(&place).await {
                    tracing::warn!(%error, "refused bytes could not be removed");
                }
            });
        }
    }
}
