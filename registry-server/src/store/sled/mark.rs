//! What the store was acknowledged to hold, in a file beside it.
//!
//! sled takes damage in its newest part for the end of a write that a crash cut off, and drops it without a word. So the newest
//! revision that was acknowledged, and a digest of its events, are noted in a file of their own, and compared when the store is
//! opened.
//!
//! The note is written after the group that it is of is synced, and is not synced itself: a second sync for each group would cost
//! a quarter of all commits. It never says more than what is on the disk; after a power cut it may say less, by what the system
//! had not written yet, and then only that much of the store is compared.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::Revision;

/// The name of the file, in the folder of the store.
const FILE: &str = "acknowledged";
/// Notes go to two places in turn, so that one that is cut off leaves the one before. Each has a sector of its own.
const SLOT: u64 = 512;
const BYTES: usize = 8 + 32 + 32;

/// The newest revision that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) revision: Revision,
    /// Of its events.
    pub(super) digest: [u8; 32],
}

impl Noted {
    pub(super) fn of(revision: Revision, events: &[u8]) -> Self {
        Self { revision, digest: *blake3::hash(events).as_bytes() }
    }

    fn encode(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.revision.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.digest);
        let checksum = blake3::hash(&bytes[..40]);
        bytes[40..].copy_from_slice(checksum.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let (noted, checksum) = bytes.split_at(40);
        let (revision, digest) = noted.split_first_chunk()?;
        let noted = Self { revision: Revision::from_be_bytes(*revision), digest: digest.try_into().ok()? };
        (blake3::hash(&bytes[..40]).as_bytes() == checksum).then_some(noted)
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    written: AtomicU64,
}

impl Mark {
    /// Opens the file in a folder, or makes it.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        Ok(Self { file, path, written: AtomicU64::new(0) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was noted last; `None` if nothing was, or nothing of it can be read.
    pub(super) fn read(&self) -> io::Result<Option<Noted>> {
        let mut newest = None;
        for slot in 0..2 {
            let mut bytes = [0; BYTES];
            match self.file.read_exact_at(&mut bytes, slot * SLOT) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read?,
            }
            newest = newest.into_iter().chain(Noted::decode(&bytes)).max_by_key(|noted: &Noted| noted.revision);
        }
        Ok(newest)
    }

    /// Notes what is durable now.
    pub(super) fn note(&self, noted: Noted) -> io::Result<()> {
        let slot = self.written.fetch_add(1, Ordering::Relaxed) % 2;
        self.file.write_all_at(&noted.encode(), slot * SLOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_note_that_is_whole_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::open(folder.path()).unwrap();
        assert_eq!(mark.read().unwrap(), None);
        let notes = [Noted::of(1, b"one"), Noted::of(2, b"two"), Noted::of(3, b"three")];
        for noted in notes {
            mark.note(noted).unwrap();
            assert_eq!(Mark::open(folder.path()).unwrap().read().unwrap(), Some(noted));
        }
        // The third one took the place of the first.
        mark.file.write_all_at(b"torn", 20).unwrap();
        assert_eq!(mark.read().unwrap(), Some(notes[1]));
        mark.file.write_all_at(b"torn", SLOT + 20).unwrap();
        assert_eq!(mark.read().unwrap(), None);
    }
}
