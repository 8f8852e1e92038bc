//! A file that is being downloaded: beside its place until it is whole, and taken up again after a break.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use registry_common::chunks::Chunk;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::cut::{self, Cut};
use super::upload::Source;
use crate::Error;

/// A chunk and where it begins.
pub(super) type Placed = (u64, Chunk);

/// A file that does not have its name yet.
///
/// Dropped before it has, it stays if there is something in it: its name says what it will be, and the next download of the same
/// bytes to the same place goes on with it.
#[derive(Debug, Clone)]
pub(super) struct PartFile(Arc<Part>);

#[derive(Debug)]
struct Part {
    part: PathBuf,
    destination: PathBuf,
    /// Locked, so that no other process writes it.
    file: Mutex<File>,
    /// A chunk of it is there.
    begun: AtomicBool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !*self.begun.get_mut() {
            // If it can't be removed, its name says what it is.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    spawn_blocking(run).await.map_err(|_| Error::Protocol("a thread that worked on a file panicked"))?
}

impl PartFile {
    /// Opens the part of a file with these chunks, or makes it; answers also what it lacks.
    pub(super) async fn open(
        destination: PathBuf,
        digest: String,
        chunks: Vec<Placed>,
    ) -> Result<(Self, Vec<Placed>), Error> {
        let open = move || {
            let (part, mut file) = own(&destination, &digest)?;
            let failed = |error| Error::io(&part, error);
            let size = chunks.last().map_or(0, |(begin, chunk)| begin + u64::from(chunk.size));
            let old = file.metadata().map_err(failed)?.len() > 0;
            file.set_len(size).map_err(failed)?;
            let mut missing = chunks;
            if old {
                let there = |placed: &Placed| has(&mut file, placed).map(|there| (!there).then_some(*placed));
                missing = missing
                    .iter()
                    .map(there)
                    .filter_map(Result::transpose)
                    .collect::<Result<_, _>>()
                    .map_err(failed)?;
            }
            let part = Part { part, destination, file: Mutex::new(file), begun: AtomicBool::new(old) };
            Ok((Self(Arc::new(part)), missing))
        };
        blocking(open).await
    }

    /// Takes what it can from a local file that may be alike. Answers what is still missing.
    pub(super) async fn take_from(&self, like: PathBuf, missing: Vec<Placed>) -> Result<Vec<Placed>, Error> {
        let mut wanted: HashMap<Chunk, Vec<u64>> = HashMap::new();
        for (begin, chunk) in &missing {
            wanted.entry(*chunk).or_default().push(*begin);
        }
        let mut cuts = cut::begin(Source::File(like));
        // What can't be read is downloaded.
        while let Some(Ok(Cut::Chunk(piece))) = cuts.recv().await {
            for begin in wanted.remove(&piece.chunk).unwrap_or_default() {
                self.write((begin, piece.chunk), piece.bytes.clone()).await?;
            }
            if wanted.is_empty() {
                break;
            }
        }
        Ok(missing.into_iter().filter(|(_, chunk)| wanted.contains_key(chunk)).collect())
    }

    /// Writes the bytes of a chunk.
    pub(super) async fn write(&self, (begin, _): Placed, bytes: bytes::Bytes) -> Result<(), Error> {
        let part = Arc::clone(&self.0);
        let write = move || {
            let mut file = part.file.lock().unwrap_or_else(PoisonError::into_inner);
            let written = file.seek(SeekFrom::Start(begin)).and_then(|_| file.write_all(&bytes));
            written.map_err(|error| Error::io(&part.part, error))?;
            part.begun.store(true, Ordering::Relaxed);
            Ok(())
        };
        blocking(write).await
    }

    /// Gives the file its name.
    pub(super) async fn finish(self) -> Result<(), Error> {
        blocking(move || {
            let Part { part, destination, .. } = &*self.0;
            std::fs::rename(part, destination).map_err(|error| Error::io(destination, error))
        })
        .await
    }
}

/// The part of a file beside it, locked. If somebody else works on the same, another one.
fn own(destination: &Path, digest: &str) -> Result<(PathBuf, File), Error> {
    let named = |id: &str| {
        let mut part = destination.to_owned().into_os_string();
        part.push(format!(".part-{id}"));
        PathBuf::from(part)
    };
    let open = |part: PathBuf| {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part);
        file.map(|file| (part.clone(), file)).map_err(|error| Error::io(&part, error))
    };
    let (part, file) = open(named(digest.get(..16).unwrap_or(digest)))?;
    match file.try_lock() {
        // The other one may have given it its name in between.
        Ok(()) if part.exists() => Ok((part, file)),
        Ok(()) | Err(TryLockError::WouldBlock) => open(named(&Uuid::new_v4().to_string())),
        Err(TryLockError::Error(error)) => Err(Error::io(&part, error)),
    }
}

/// Whether a chunk is at its place already.
fn has(file: &mut File, (begin, chunk): &Placed) -> io::Result<bool> {
    let mut bytes = vec![0; chunk.size as usize];
    file.seek(SeekFrom::Start(*begin))?;
    file.read_exact(&mut bytes)?;
    Ok(Chunk::of(&bytes) == *chunk)
}
