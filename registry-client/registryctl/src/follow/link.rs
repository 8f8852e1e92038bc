//! A symbolic link that is moved in one step.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Failure, InTheWay};

/// A link to a folder.
#[derive(Debug)]
pub(super) struct Link {
    at: PathBuf,
    /// Where the next one is made before it takes the other's place.
    beside: PathBuf,
}

impl Link {
    /// A link at a path where there is none yet, or another link.
    pub(super) fn new(at: PathBuf) -> Result<Self, Failure> {
        let at = std::path::absolute(at)?;
        let name = at.file_name().ok_or_else(|| InTheWay(format!("{} can't be a link", at.display())))?;
        let beside = at.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        match fs::symlink_metadata(&at) {
            Ok(there) if !there.is_symlink() => {
                Err(InTheWay(format!("{} is there, and is no link: move it away", at.display())).into())
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", at.display()).into()),
            _ => Ok(Self { at, beside }),
        }
    }

    /// Where it leads; `None` if it is not there.
    pub(super) fn target(&self) -> Option<PathBuf> {
        fs::read_link(&self.at).ok()
    }

    /// Lets it lead to a folder.
    pub(super) fn point(&self, folder: &Path) -> io::Result<()> {
        if self.target().as_deref() == Some(folder) {
            return Ok(());
        }
        // One that a process with the same number has left behind.
        match fs::remove_file(&self.beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder, &self.beside)?;
        #[cfg(windows)]
        std::os::windows::fs::symlink_dir(folder, &self.beside)?;
        fs::rename(&self.beside, &self.at)
    }

    /// Lets it lead where it led before.
    pub(super) fn restore(&self, before: Option<&Path>) -> io::Result<()> {
        match before {
            Some(before) => self.point(before),
            None => fs::remove_file(&self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (at, one, two) = (folder.path().join("served"), folder.path().join("one"), folder.path().join("two"));
        let link = Link::new(at.clone()).unwrap();
        assert_eq!(link.target(), None);
        link.point(&one).unwrap();
        // Left behind by another process.
        std::os::unix::fs::symlink(&one, &link.beside).unwrap();
        link.point(&two).unwrap();
        assert_eq!(link.target(), Some(two));
        link.restore(Some(&one)).unwrap();
        assert_eq!(Link::new(at.clone()).unwrap().target(), Some(one));
        link.restore(None).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // What is no link stays.
        fs::create_dir(&at).unwrap();
        assert!(Link::new(at).unwrap_err().is::<InTheWay>());
    }
}
