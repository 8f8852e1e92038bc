//! What is stored, and removing it.

use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use registry_common::chunks::Chunk;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::{ChunkError, ChunkStore, named, names, parts, stopped};
use crate::places::{Trouble, settling};
use crate::store::StoreError;

/// No write takes this long: the file of an older one was left behind.
const BROKEN_OFF: Duration = Duration::from_secs(60 * 60);

/// A chunk in the store.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) namespace: String,
    pub(crate) blake3: [u8; 32],
    /// In its name.
    pub(crate) generation: u64,
    /// As it is stored, in bytes.
    pub(crate) size: u64,
    /// By the store's clock.
    pub(crate) written: SystemTime,
}

/// What came of an attempt to remove chunks.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// How many were there, and are gone.
    pub(crate) chunks: u64,
    /// What they took in the store, in bytes.
    pub(crate) bytes: u64,
    /// How many the store refuses to remove.
    pub(crate) refused: u64,
    /// Why.
    pub(crate) refusal: Option<StoreError>,
    /// Those that it may remove later, since it has too much to do, or can't be reached.
    pub(crate) again: Vec<Stored>,
    /// Why not all are removed that could be.
    pub(crate) failure: Option<StoreError>,
    /// Something that the store was asked for may still happen.
    pub(crate) unsettled: bool,
}

impl ChunkStore {
    /// Every chunk there is, in no order; under each of its names. What does not have a chunk's name is passed over.
    pub(crate) fn list(&self) -> impl Stream<Item = Result<Stored, StoreError>> + Send + use<> {
        let (folder, chunks) = (self.folder.clone(), self.folder.path(["chunks"]));
        let listed = folder.objects().list(Some(&chunks)).map_err(move |error| folder.failed(error).into());
        listed.try_filter_map(move |meta| std::future::ready(Ok(parse(&chunks, &meta))))
    }

    /// Removes chunks, unless that takes longer than until a deadline. Their `size` is believed.
    pub(crate) async fn remove(&self, chunks: Vec<Stored>, deadline: Instant) -> Removal {
        let place = |chunk: &Stored| named(&self.folder, &chunk.namespace, &chunk.blake3, chunk.generation);
        let places: Vec<_> = chunks.iter().map(|chunk| Ok(place(chunk))).collect();
        let deleting = self.folder.objects().delete_stream(stream::iter(places).boxed()).collect::<Vec<_>>();
        let (deleted, settled) = settling(timeout_at(deadline, deleting)).await;
        let mut removal = Removal { unsettled: !settled, ..Removal::default() };
        let Ok(deleted) = deleted else {
            removal.unsettled = true;
            removal.failure = Some(StoreError::Unavailable("removing chunks takes too long".to_owned()));
            return removal;
        };
        if deleted.len() != chunks.len() {
            // The error of one request for all of them.
            let error = deleted.into_iter().find_map(Result::err);
            error.into_iter().for_each(|error| self.not_removed(&mut removal, &chunks, error));
            return removal;
        }
        for (deleted, chunk) in deleted.into_iter().zip(&chunks) {
            match deleted {
                Ok(_) => (removal.chunks, removal.bytes) = (removal.chunks + 1, removal.bytes + chunk.size),
                // Another collection was faster.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => self.not_removed(&mut removal, std::slice::from_ref(chunk), error),
            }
        }
        removal
    }

    fn not_removed(&self, removal: &mut Removal, chunks: &[Stored], error: object_store::Error) {
        let trouble = Trouble::of(&error);
        // Who knows what is behind a file system that fails.
        removal.unsettled |= self.folder.local_path().is_some() && trouble != Trouble::Denied;
        let error = StoreError::from(self.folder.failed(error));
        if removal.unsettled || trouble == Trouble::Unreachable {
            removal.again.extend_from_slice(chunks);
            removal.failure.get_or_insert(error);
        } else {
            removal.refused += chunks.len() as u64;
            removal.refusal.get_or_insert(error);
        }
    }

    /// Copies what is damaged of a chunk to where it may be looked at. Answers what is to be removed then: of the names that there
    /// were before a sweep.
    pub(crate) async fn set_aside(
        &self,
        namespace: &str,
        chunk: &Chunk,
        sweep: u64,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut damaged = Vec::new();
        let names = self.names().await?;
        // If the sweep was given up since, there are newer ones, which are not its own.
        for generation in names.all(&(namespace.to_owned(), chunk.blake3)).filter(|generation| *generation < sweep) {
            let place = named(&self.folder, namespace, &chunk.blake3, generation);
            let Some(sealed) = self.folder.get(&place).await? else { continue };
            let size = sealed.len() as u64;
            match self.unseal(namespace, sealed, *chunk).await {
                Err(ChunkError::Damaged { .. }) => {}
                Err(ChunkError::Failed(error)) => return Err(error),
                Ok(_) | Err(ChunkError::Missing(_) | ChunkError::OtherSize(..)) => continue,
            }
            let aside = self.folder.path(["quarantine", namespace, &names::name(&chunk.blake3, generation)]);
            match self.folder.objects().copy(&place, &aside).await {
                Ok(()) => {}
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => return Err(self.folder.failed(error).into()),
            }
            let (namespace, blake3) = (namespace.to_owned(), chunk.blake3);
            damaged.push(Stored { namespace, blake3, generation, size, written: SystemTime::now() });
        }
        Ok(damaged)
    }

    /// Removes the files of writes that were broken off: a store in a folder writes each object under another name first, which it
    /// does not list. Answers how many there are.
    pub(crate) async fn remove_leftovers(&self, grace: Duration, dry_run: bool) -> Result<u64, StoreError> {
        let Some(folder) = self.folder.local_path().map(FilePath::to_owned) else { return Ok(0) };
        let alone_since = self.alone_since;
        let removing = move || {
            let mut found = 0;
            for file in leftovers(&folder, grace.max(BROKEN_OFF), alone_since)? {
                if !dry_run {
                    std::fs::remove_file(file)?;
                }
                found += 1;
            }
            Ok(found)
        };
        let removed: std::io::Result<_> = spawn_blocking(removing).await.map_err(stopped)?;
        removed.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

fn parse(folder: &Path, meta: &ObjectMeta) -> Option<Stored> {
    let parts: Vec<_> = meta.location.prefix_match(folder)?.collect();
    let [namespace, head, name] = parts.as_slice() else { return None };
    let (head, name) = (head.as_ref(), name.as_ref());
    let (blake3, generation) = names::parse(name)?;
    (name.get(..2) == Some(head)).then(|| Stored {
        namespace: namespace.as_ref().to_owned(),
        blake3,
        generation,
        size: meta.size,
        written: meta.last_modified.into(),
    })
}

/// The files `CHUNK#NUMBER` and `PART#NUMBER` of a certain age, or from before a moment.
fn leftovers(folder: &FilePath, age: Duration, before: Option<SystemTime>) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("chunks"), folder.join(parts::UPLOADS)];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_leftover(&entry.file_name().to_string_lossy()) {
                // It may get its own name just now.
                let Ok(written) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
                let old = written.elapsed().is_ok_and(|elapsed| elapsed >= age);
                if old || before.is_some_and(|before| written < before) {
                    found.push(entry.path());
                }
            }
        }
    }
    Ok(found)
}

fn is_leftover(name: &str) -> bool {
    name.split_once('#').is_some_and(|(name, number)| {
        (names::parse(name).is_some() || parts::is_name(name))
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_broken_off_writes_are_left_over() {
        let hex = "ab".repeat(32);
        for (name, left) in [("#1", true), ("#12", true), ("", false), ("#", false), ("#x", false), (".tmp", false)] {
            assert_eq!(is_leftover(&format!("{hex}{name}")), left, "{name}");
            assert_eq!(is_leftover(&format!("{hex}.7{name}")), left, "{name}");
        }
        assert!(is_leftover("00012#1"));
        assert!(!is_leftover("abcd#1"));
        assert!(!is_leftover("12#1"));
    }
}
