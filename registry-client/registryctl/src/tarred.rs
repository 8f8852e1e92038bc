//! OCI image layouts as tar archives, which other tools call `oci-archive`: one object or file for each.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use registry_common::hex;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, HeaderMode};

/// Writes a folder as an archive: the same files give the same bytes. Answers its SHA-256. Blocks.
pub(crate) fn pack(folder: &Path, to: impl Write) -> io::Result<String> {
    let mut archive = Builder::new(Hashing { to, sha256: Sha256::new() });
    archive.mode(HeaderMode::Deterministic);
    for path in files(folder)? {
        archive.append_file(&path, &mut File::open(folder.join(&path))?)?;
    }
    let mut hashing = archive.into_inner()?;
    hashing.flush()?;
    Ok(hex(&hashing.sha256.finalize()))
}

/// Unpacks an archive into a folder. Only files and folders are taken, and none outside of it. Blocks.
pub(crate) fn unpack(from: impl Read, folder: &Path) -> io::Result<()> {
    for entry in Archive::new(from).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let refuse = |problem: &str| Err(io::Error::other(format!("{}: {problem}", path.display())));
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Directory) {
            return refuse("is neither a file nor a folder");
        }
        if !entry.unpack_in(folder)? {
            return refuse("would be outside of the folder");
        }
    }
    Ok(())
}

/// The paths of all files in a folder, in order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(within) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&within))? {
            let entry = entry?;
            let path = within.join(entry.file_name());
            if entry.file_type()?.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Passes bytes on, and computes their digest.
struct Hashing<W> {
    to: W,
    sha256: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_back_and_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        for (path, text) in [("oci-layout", "{}"), ("blobs/sha256/b", "two"), ("blobs/sha256/a", "one")] {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        let mut archive = Vec::new();
        let digest = pack(folder.path(), &mut archive).unwrap();
        assert_eq!(digest, hex(&Sha256::digest(&archive)));
        assert_eq!(pack(folder.path(), io::sink()).unwrap(), digest);
        let again = tempfile::tempdir().unwrap();
        unpack(archive.as_slice(), again.path()).unwrap();
        assert_eq!(std::fs::read_to_string(again.path().join("blobs/sha256/b")).unwrap(), "two");
        assert_eq!(pack(again.path(), io::sink()).unwrap(), digest);
    }

    #[test]
    fn an_archive_writes_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let with = |name: &str, kind: EntryType| {
            let mut archive = Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_link_name("/etc/passwd").unwrap();
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, io::empty()).unwrap();
            archive.into_inner().unwrap()
        };
        let inside = folder.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        for (name, kind) in [("../evil", EntryType::Regular), ("link", EntryType::Symlink), ("device", EntryType::Char)]
        {
            assert!(unpack(with(name, kind).as_slice(), &inside).is_err(), "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
    }
}
