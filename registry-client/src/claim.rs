//! One pull at a time in a folder.
//!
//! While a pull is at work, a file in the folder says so: which pull, and which files it and those before it have put there. The
//! file is locked, so that the next pull is refused. If the pull breaks off, the file stays, and the next one takes the folder over
//! with all that is known of it. Some file systems have no locks, or none that hold on other machines: there the last pull that
//! comes takes the folder over, and the one before it ends when it sees that, before it puts its next file into place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry_common::paths::CLAIM;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Error;
use crate::destination::{is_at, open_regular};
use crate::folder::join;
use crate::receipt::{Receipt, ReceiptFile};

/// How many bytes at the start of the file name the pull.
const HEAD: usize = 64;

/// A folder that one pull works in, until this is dropped or [ended](Self::end).
#[derive(Debug, Clone)]
pub(crate) struct Claim(Arc<Claimed>);

#[derive(Debug)]
struct Claimed {
    folder: PathBuf,
    file: PathBuf,
    /// Locked, where that is possible.
    _held: File,
    /// What the file begins with.
    head: Vec<u8>,
    /// A pull before this one broke off.
    resumed: bool,
}

/// The content of [`CLAIM`].
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    /// Which pull. Comes first, so that little has to be read.
    pull: String,
    version: String,
    /// What this pull, and those before it, put into the folder, or were about to.
    files: Vec<ReceiptFile>,
}

impl Claim {
    /// Claims a folder, which exists, for the files of a receipt. Answers also what pulls have put there before. Blocks.
    pub(crate) fn of(folder: &Path, receipt: &Receipt) -> Result<(Self, Vec<ReceiptFile>), Error> {
        let file = folder.join(CLAIM);
        let failed = |error| Error::io(&file, error);
        let mut held = hold(folder, &file)?;
        let mut before = Vec::new();
        held.read_to_end(&mut before).map_err(failed)?;
        let resumed = !before.is_empty();
        let mut owned = serde_json::from_slice(&before).map_or_else(|_| Vec::new(), |intent: Intent| intent.files);
        owned.extend(
            Receipt::read(folder).map(|receipt| receipt.present().cloned().collect::<Vec<_>>()).unwrap_or_default(),
        );
        // Whoever can write to the folder may have written that, too.
        owned.retain(|file| join(folder, &file.path).is_ok());
        owned.sort();
        owned.dedup();

        let files = owned.iter().chain(receipt.present()).cloned().collect();
        let intent = Intent { pull: Uuid::new_v4().to_string(), version: receipt.version.clone(), files };
        let json = serde_json::to_vec(&intent).map_err(|error| failed(error.into()))?;
        let head = json.iter().take(HEAD).copied().collect();
        // In its place: another file would not be the one that is locked.
        held.rewind()
            .and_then(|()| held.set_len(0))
            .and_then(|()| held.write_all(&json))
            .and_then(|()| held.sync_all())
            .map_err(failed)?;
        Ok((Self(Arc::new(Claimed { folder: folder.to_owned(), file, _held: held, head, resumed })), owned))
    }

    /// Fails if another pull has taken the folder over. Blocks.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Claimed { folder, file, head, .. } = &*self.0;
        let mut there = Vec::new();
        let read = open_regular(file, OpenOptions::new().read(true))
            .and_then(|open| open.take(HEAD as u64).read_to_end(&mut there));
        match read {
            Ok(_) if there == *head => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(file, error)),
            _ => Err(Error::FolderInUse { folder: folder.clone() }),
        }
    }

    /// Gives the folder back as it was: nothing in it has been changed. Blocks.
    pub(crate) fn give_back(self) -> Result<(), Error> {
        if self.0.resumed { Ok(()) } else { self.end() }
    }

    /// Gives the folder back: it holds what its receipt says. Blocks.
    pub(crate) fn end(self) -> Result<(), Error> {
        fs::remove_file(&self.0.file).map_err(|error| Error::io(&self.0.file, error))
    }
}

/// Opens and locks the file.
fn hold(folder: &Path, file: &Path) -> Result<File, Error> {
    let failed = |error| Error::io(file, error);
    let open = || open_regular(file, OpenOptions::new().read(true).write(true).create(true).truncate(false));
    loop {
        let held = open().map_err(failed)?;
        match held.try_lock() {
            Ok(()) if is_at(&held, file).map_err(failed)? => return Ok(held),
            // The pull that had it has ended in between.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::FolderInUse { folder: folder.to_owned() }),
            // Without locks there are the checks.
            Err(TryLockError::Error(_)) => return Ok(held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(path: &str) -> Receipt {
        let file = ReceiptFile {
            path: path.to_owned(),
            size: 1,
            sha256: "1".to_owned(),
            supplementary: false,
            executable: false,
            left_out: false,
        };
        Receipt { version: "v".to_owned(), manifest_sha256: String::new(), files: vec![file] }
    }

    fn paths(files: &[ReceiptFile]) -> Vec<&str> {
        files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn a_folder_is_claimed_once_and_known_after_a_break() {
        let folder = tempfile::tempdir().unwrap();
        let (claim, before) = Claim::of(folder.path(), &receipt("a")).unwrap();
        assert!(before.is_empty());
        claim.check().unwrap();
        assert!(matches!(Claim::of(folder.path(), &receipt("b")), Err(Error::FolderInUse { .. })));
        claim.check().unwrap();
        // It breaks off.
        drop(claim);
        let (claim, before) = Claim::of(folder.path(), &receipt("b")).unwrap();
        assert_eq!(paths(&before), ["a"]);
        claim.end().unwrap();
        assert!(Claim::of(folder.path(), &receipt("c")).unwrap().1.is_empty());
    }

    #[test]
    fn without_locks_the_last_pull_takes_the_folder() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (first, _) = Claim::of(folder.path(), &receipt("a")).unwrap();
        // As if the lock did not hold there: what another machine wrote comes into the file.
        let _second = Claim::of(other.path(), &receipt("b")).unwrap();
        fs::write(folder.path().join(CLAIM), fs::read(other.path().join(CLAIM)).unwrap()).unwrap();
        assert!(matches!(first.check(), Err(Error::FolderInUse { .. })));
        fs::remove_file(folder.path().join(CLAIM)).unwrap();
        assert!(matches!(first.check(), Err(Error::FolderInUse { .. })));
    }

    #[test]
    fn what_others_wrote_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let (claim, _) = Claim::of(folder.path(), &receipt("../outside")).unwrap();
        drop(claim);
        assert!(Claim::of(folder.path(), &receipt("a")).unwrap().1.is_empty());
        std::fs::write(folder.path().join(CLAIM), "no JSON").unwrap();
        assert!(Claim::of(folder.path(), &receipt("a")).unwrap().1.is_empty());
    }
}
