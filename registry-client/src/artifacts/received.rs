//! A file that is being downloaded: beside its place until it is whole, and taken up again after a break.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use registry_common::chunks::Chunk;
use tokio::task::spawn_blocking;

use super::cut::{self, Cut};
use super::digest::Hasher;
use super::upload::Source;
use crate::Error;
use crate::claim::Claim;
use crate::destination::{folder_of, is_at, open_regular, part_name, part_stem, take_place};
use crate::folder::set_executable;

/// A chunk and where it begins.
pub(super) type Placed = (u64, Chunk);

/// A file that does not have its name yet.
///
/// Dropped before it has, it stays if there is something in it that is worth going on with: the next download of the same bytes to
/// the same place does.
#[derive(Debug, Clone)]
pub(super) struct PartFile(Arc<Part>);

#[derive(Debug)]
struct Part {
    part: PathBuf,
    destination: PathBuf,
    file: Mutex<File>,
    /// Somebody else may take it up: it is locked while this one is at work, and has several chunks.
    shared: bool,
    /// A chunk of it is there.
    begun: AtomicBool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !(self.shared && *self.begun.get_mut()) {
            // There is none any more if it has its name. If it can't be removed, its name says what it is.
            let _ = fs::remove_file(&self.part);
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
            let several = chunks.len() > 1;
            let own =
                own(&destination, &digest, several, File::try_lock).map_err(|error| Error::io(&destination, error));
            let Own { part, mut file, locked } = own?;
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
            let (shared, begun) = (several && locked, AtomicBool::new(old));
            let part = Part { part, destination, file: Mutex::new(file), shared, begun };
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
        let mut cuts = cut::begin(Source::File(like), None);
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

    /// Gives the file its name, if the folder is still the claimed one.
    pub(super) async fn finish(self, executable: bool, claim: Option<Claim>) -> Result<(), Error> {
        blocking(move || {
            claim.map_or(Ok(()), |claim| claim.check())?;
            let Part { part, destination, .. } = &*self.0;
            set_executable(part, executable);
            take_place(part, destination).map_err(|error| Error::io(destination, error))
        })
        .await
    }
}

/// How a file is locked.
type Lock = fn(&File) -> Result<(), TryLockError>;

/// The part of a file, which nobody else writes.
struct Own {
    part: PathBuf,
    file: File,
    /// There are locks, so that nobody else takes it up meanwhile.
    locked: bool,
}

/// A part of a file: one that a download of the same left, if it is `sought`, or a new one.
fn own(destination: &Path, digest: &str, sought: bool, lock: Lock) -> io::Result<Own> {
    let mut hasher = Hasher::default();
    hasher.update(digest.as_bytes());
    hasher.update(b" ");
    hasher.update(destination.file_name().unwrap_or_default().as_encoded_bytes());
    let stem = format!("{}-", &hasher.finish()[..16]);
    let folder = folder_of(destination);
    if sought {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let part = folder.join(&name);
            if name.as_encoded_bytes().starts_with(part_stem(&stem).as_bytes())
                && let Some(file) = take_up(&part, lock)
            {
                return Ok(Own { part, file, locked: true });
            }
        }
    }
    loop {
        let part = folder.join(part_name(&stem));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&part)?;
        match lock(&file) {
            Ok(()) => return Ok(Own { part, file, locked: true }),
            // Another download was quick to take it up.
            Err(TryLockError::WouldBlock) => {}
            // Without locks it can't be told whose it is, so that nobody takes it up.
            Err(TryLockError::Error(_)) => return Ok(Own { part, file, locked: false }),
        }
    }
}

/// Opens a part that nobody works on, unless it is none of this user's: who put it there might change it.
fn take_up(part: &Path, lock: Lock) -> Option<File> {
    let file = open_regular(part, OpenOptions::new().read(true).write(true)).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let there = file.metadata().ok()?;
        // A second name of it may be in another folder.
        if there.uid() != rustix::process::geteuid().as_raw() || there.nlink() != 1 {
            return None;
        }
    }
    lock(&file).ok()?;
    // The other one may have given it its name in between.
    is_at(&file, part).is_ok_and(|at| at).then_some(file)
}

/// Removes what a transfer left, or a test of the file system, unless somebody works on it. Blocks.
pub(crate) fn remove_part(part: &Path) {
    // What can't be removed says by its name what it is.
    let _ = match fs::symlink_metadata(part) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(part),
        Ok(there) if !there.is_file() => fs::remove_file(part),
        _ => match take_up(part, File::try_lock) {
            Some(_locked) => fs::remove_file(part),
            None => Ok(()),
        },
    };
}

/// Whether a chunk is at its place already.
fn has(file: &mut File, (begin, chunk): &Placed) -> io::Result<bool> {
    let mut bytes = vec![0; chunk.size as usize];
    file.seek(SeekFrom::Start(*begin))?;
    file.read_exact(&mut bytes)?;
    Ok(Chunk::of(&bytes) == *chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn without_locks_everybody_has_a_part_of_their_own() {
        let unsupported: Lock = |_| Err(TryLockError::Error(io::ErrorKind::Unsupported.into()));
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("model.bin");
        let [one, two] = [(), ()].map(|()| own(&destination, "digest", true, unsupported).unwrap());
        assert!(!one.locked && one.part != two.part);
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_part_is_taken_up_when_nobody_works_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let own = |name: &str, digest| own(&folder.path().join(name), digest, true, File::try_lock).unwrap();
        let first = own("model.bin", "digest");
        let second = own("model.bin", "digest");
        assert_ne!(first.part, second.part);
        let left = first.part.clone();
        drop(first);
        // As names of a file, "a b" and "c" are not "b c" and "a".
        for (name, digest) in [("model.bin", "other"), ("other", "digest"), ("bin", "digest model.")] {
            assert_ne!(own(name, digest).part, left);
        }
        assert_eq!(own("model.bin", "digest").part, left);
        remove_part(&second.part);
        assert!(second.part.exists());
        drop(second);
        names(folder.path()).iter().for_each(|part| remove_part(part));
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_a_part_is_not_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let destination = folder.path().join("model.bin");
        let own = || own(&destination, "digest", true, File::try_lock).unwrap();
        let part = own().part;
        let victim = outside.path().join("victim");
        fs::write(&victim, "theirs").unwrap();
        for link in [std::os::unix::fs::symlink::<&Path, &Path>, fs::hard_link] {
            fs::remove_file(&part).unwrap();
            link(&victim, &part).unwrap();
            assert_ne!(own().part, part);
        }
        assert_eq!(fs::read(&victim).unwrap(), b"theirs");
    }
}
