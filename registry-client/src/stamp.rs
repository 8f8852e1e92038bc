//! Whether a file is still what it was.

use std::fs::Metadata;
use std::io;
use std::time::SystemTime;

/// What changes whenever somebody writes to a file, or puts another one in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// In bytes.
    pub(crate) size: u64,
    /// Its owner may run it.
    pub(crate) executable: bool,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: Inode,
    /// What is added at the end is no change.
    grows: bool,
}

/// A file of a file system, and when it was last changed: seconds and nanoseconds.
#[cfg(unix)]
#[derive(Debug, Clone, PartialEq, Eq)]
struct Inode {
    file: (u64, u64),
    changed: (i64, i64),
}

/// Whether a file's owner may run it.
pub(crate) fn executable(there: &Metadata) -> bool {
    #[cfg(unix)]
    {
        std::os::unix::fs::PermissionsExt::mode(&there.permissions()) & 0o100 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = there;
        false
    }
}

impl Stamp {
    pub(crate) fn of(there: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            size: there.len(),
            executable: executable(there),
            modified: there.modified().ok(),
            #[cfg(unix)]
            inode: Inode { file: (there.dev(), there.ino()), changed: (there.ctime(), there.ctime_nsec()) },
            grows: false,
        }
    }

    /// The same of a file that others may add to, as to a log.
    pub(crate) fn of_log(self) -> Self {
        Self { grows: true, ..self }
    }

    /// Fails unless the file is now as it was then.
    pub(crate) fn check(&self, now: &Metadata) -> io::Result<()> {
        let mut now = Self { grows: self.grows, ..Self::of(now) };
        if self.grows && now.size >= self.size {
            now.size = self.size;
            now.modified = self.modified;
            #[cfg(unix)]
            {
                now.inode.changed = self.inode.changed;
            }
        }
        if *self == now {
            return Ok(());
        }
        Err(io::Error::other("changed while it was read: somebody still writes to it"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let now = || fs::metadata(&path).unwrap();
        let new = || {
            fs::write(&path, "bytes").unwrap();
            Stamp::of(&now())
        };
        new().check(&now()).unwrap();

        let stamp = new();
        File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
        assert!(stamp.check(&now()).is_err() && stamp.of_log().check(&now()).is_err());

        let stamp = new();
        let later = SystemTime::now() + std::time::Duration::from_secs(1);
        File::open(&path).unwrap().set_modified(later).unwrap();
        stamp.check(&now()).unwrap_err();

        let stamp = new();
        fs::write(folder.path().join("other"), "bytes").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(stamp.check(&now()).is_err() && cfg!(not(unix)) | stamp.of_log().check(&now()).is_err());

        let stamp = new();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b" and more").unwrap();
        stamp.check(&now()).unwrap_err();
        stamp.of_log().check(&now()).unwrap();
    }
}
