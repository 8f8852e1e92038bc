//! What is stored, and removing it.

use std::collections::HashMap;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::task::spawn_blocking;

use super::{ChunkStore, place, stopped};
use crate::store::StoreError;

/// No write takes this long: the file of an older one was left behind.
const BROKEN_OFF: Duration = Duration::from_secs(60 * 60);

/// A chunk in the store.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) namespace: String,
    pub(crate) blake3: [u8; 32],
    /// As it is stored, in bytes.
    pub(crate) size: u64,
    /// By the store's clock.
    pub(crate) written: SystemTime,
}

impl ChunkStore {
    /// Every chunk there is, in no order. What does not have a chunk's name is passed over.
    pub(crate) fn list(&self) -> impl Stream<Item = Result<Stored, StoreError>> + Send + use<> {
        let (folder, chunks) = (self.folder.clone(), self.folder.path(["chunks"]));
        let listed = folder.objects().list(Some(&chunks)).map_err(move |error| folder.failed(error).into());
        listed.try_filter_map(move |meta| std::future::ready(Ok(parse(&chunks, &meta))))
    }

    /// Removes chunks; answers how many there were, and how many bytes they took. Their `size` is believed.
    pub(crate) async fn remove(&self, chunks: &[Stored]) -> Result<(u64, u64), StoreError> {
        let paths = chunks.iter().map(|chunk| place(&self.folder, &chunk.namespace, &chunk.blake3));
        let paths: Vec<_> = paths.collect();
        let sizes: HashMap<_, _> = paths.iter().cloned().zip(chunks.iter().map(|chunk| chunk.size)).collect();
        let mut removing = self.folder.objects().delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        let mut removed = (0, 0);
        while let Some(result) = removing.next().await {
            match result {
                Ok(path) => removed = (removed.0 + 1, removed.1 + sizes.get(&path).copied().unwrap_or(0)),
                // Another collection was faster.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.folder.failed(error).into()),
            }
        }
        Ok(removed)
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
    let [namespace, head, hex] = parts.as_slice() else { return None };
    let (head, hex) = (head.as_ref(), hex.as_ref());
    let blake3 = *blake3::Hash::from_hex(hex).ok()?.as_bytes();
    (hex.get(..2) == Some(head)).then(|| Stored {
        namespace: namespace.as_ref().to_owned(),
        blake3,
        size: meta.size,
        written: meta.last_modified.into(),
    })
}

/// The files `CHUNK#NUMBER` of a certain age, or from before a moment.
fn leftovers(folder: &FilePath, age: Duration, before: Option<SystemTime>) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("chunks")];
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
    name.split_once('#').is_some_and(|(chunk, number)| {
        blake3::Hash::from_hex(chunk).is_ok() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
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
        }
        assert!(!is_leftover("abcd#1"));
    }
}
