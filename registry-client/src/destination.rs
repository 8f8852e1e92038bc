//! Where bytes go: one way for everything that writes a file.
//!
//! A regular file is there as a whole or not at all: it is written beside its place, under a name that nobody can guess, and gets its
//! own once it is complete. What is no regular file (a device, a pipe) is never replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use registry_common::paths::PART;
use uuid::Uuid;

use crate::Error;

/// How many links are followed: as many as Linux does.
const MOST_LINKS: usize = 40;

/// What is at a path that a caller gave to write to.
#[derive(Debug)]
pub(crate) enum Destination {
    /// A regular file, or none yet. No link: those are followed.
    File(PathBuf),
    /// A device, a pipe or the like, to be written through.
    Stream(PathBuf),
}

impl Destination {
    /// Looks at what is there. Blocks.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let found = match fs::metadata(path) {
            Ok(there) if there.is_file() => target(path).map(Self::File),
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => Ok(Self::Stream(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => target(path).map(Self::File),
            Err(error) => Err(error),
        };
        found.map_err(|error| Error::io(path, error))
    }
}

/// Where links lead, also if there is nothing.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = folder_of(&path).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

/// The folder that a file is in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file or folder of this name was left by something that did not end.
pub(crate) fn is_part(name: &str) -> bool {
    name.starts_with(PART)
}

/// A name for what is not complete. What belongs to the same `stem` is found again by that.
pub(crate) fn part_name(stem: &str) -> String {
    format!("{}{}", part_stem(stem), Uuid::new_v4().simple())
}

/// What [`part_name`] begins with.
pub(crate) fn part_stem(stem: &str) -> String {
    format!("{PART}{stem}")
}

/// A file that does not have its name yet. Removed when dropped before it has.
#[derive(Debug)]
pub(crate) struct NewFile {
    part: PathBuf,
    destination: PathBuf,
}

impl NewFile {
    /// Makes it beside its place, for its owner's eyes only if it is `private`. Blocks.
    pub(crate) fn beside(destination: &Path, private: bool) -> io::Result<(Self, File)> {
        let part = folder_of(destination).join(part_name(""));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if private {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let file = options.open(&part)?;
        // So that a pull into the folder does not take it for a leftover. Without locks, none does.
        let _ = file.try_lock();
        Ok((Self { part, destination: destination.to_owned() }, file))
    }

    /// Gives it its name, once its bytes are on the disk. Blocks.
    pub(crate) fn finish(self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        take_place(&self.part, &self.destination)?;
        self.sync_folder()
    }

    /// The same, unless there is something of that name by now: that stays. Blocks.
    #[cfg(feature = "oci")]
    fn finish_if_new(self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        match fs::hard_link(&self.part, &self.destination) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            // The file system has no links.
            Err(_) => take_place(&self.part, &self.destination)?,
            Ok(()) => {}
        }
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(folder_of(&self.destination))?.sync_all() } else { Ok(()) }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // There is none any more if it has its name. If it can't be removed, its name says what it is.
        let _ = fs::remove_file(&self.part);
    }
}

/// Puts a file in the place of another one, of a link, or where nothing is. Blocks.
pub(crate) fn take_place(part: &Path, destination: &Path) -> io::Result<()> {
    match fs::symlink_metadata(destination) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if !there.is_file() && !there.is_symlink() => {
            Err(io::Error::other("is neither a file nor a folder, and is not replaced"))
        }
        _ => fs::rename(part, destination),
    }
}

/// Makes bytes a file. Blocks.
pub(crate) fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(file, bytes, NewFile::finish)
}

/// The same if there is none. Blocks.
#[cfg(feature = "oci")]
pub(crate) fn write_new(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(file, bytes, NewFile::finish_if_new)
}

fn write(file: &Path, bytes: &[u8], finish: fn(NewFile, &File) -> io::Result<()>) -> Result<(), Error> {
    let write = || {
        let (new, mut out) = NewFile::beside(file, false)?;
        out.write_all(bytes)?;
        finish(new, &out)
    };
    write().map_err(|error| Error::io(file, error))
}

/// Opens a regular file: follows no link, and waits for no pipe's other end. Blocks.
pub(crate) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags.cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is not a file")) }
}

/// Whether a path still leads to a file that was opened. Blocks.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let opened = file.metadata()?;
        Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(there.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_longest_name_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("n".repeat(255));
        write_whole(&file, b"bytes").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_what_is_to_be_written() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "").unwrap();
        fs::create_dir(path("sub")).unwrap();
        symlink("file", path("link")).unwrap();
        symlink("../new", path("sub/up")).unwrap();
        symlink("sub/up", path("twice")).unwrap();
        symlink("circle", path("circle")).unwrap();
        for (given, expected) in [("file", "file"), ("link", "file"), ("none", "none"), ("twice", "sub/../new")] {
            match Destination::of(&path(given)) {
                Ok(Destination::File(file)) => assert_eq!(file, path(expected), "{given}"),
                other => panic!("{given}: {other:?}"),
            }
        }
        for wrong in ["sub", "circle"] {
            assert!(matches!(Destination::of(&path(wrong)), Err(Error::Io { .. })), "{wrong}");
        }
        assert!(matches!(Destination::of(Path::new("/dev/null")), Ok(Destination::Stream(_))));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(write_whole(&socket, b"bytes").is_err());
        assert!(write_whole(folder.path(), b"bytes").is_err());
        assert!(!fs::symlink_metadata(&socket).unwrap().is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(open_regular(&socket, OpenOptions::new().read(true)).is_err());
    }
}
