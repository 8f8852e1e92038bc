//! Local folders: what is in one, where in one an artifact may go, and what goes out of one.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use registry_common::paths::{CLAIM, RECEIPT};

use crate::Error;
use crate::artifacts::hash_file;
use crate::destination::is_part;
use crate::receipt::ReceiptFile;
use crate::stamp;

pub(crate) fn canonical(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|error| Error::io(path, error))
}

/// Where in `folder` an artifact goes. Trusts the path as little as if it came from an attacker: it has to stay in the folder.
pub(crate) fn join(folder: &Path, path: &str) -> Result<PathBuf, Error> {
    // In a time stamp, or in the name of a file of TensorBoard's, a colon is harmless except where it follows a drive's letter.
    let drive = |part: &str| cfg!(windows) && part.contains(':');
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\\') || drive(part);
    if path.split('/').any(bad) || path.chars().any(char::is_control) {
        return Err(Error::UnsafePath { path: path.into(), problem: "not a path inside a folder" });
    }
    Ok(path.split('/').fold(folder.to_owned(), |joined, part| joined.join(part)))
}

/// Makes the folder that a file of `folder` goes to, also if a link is in the way: one that leads out of it is an error. Blocks.
pub(crate) fn create_parent(folder: &Path, file: &Path) -> Result<(), Error> {
    let Some(parent) = file.parent() else { return Ok(()) };
    // What exists of the path is checked first: nothing is made behind a link that leads out.
    let root = canonical(folder)?;
    let existing = parent.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()).unwrap_or(folder);
    if !canonical(existing)?.starts_with(&root) {
        return Err(Error::UnsafePath { path: existing.into(), problem: "the link leads out of the folder" });
    }
    create_folder(parent)
}

/// Makes a folder with those above it. Blocks.
pub(crate) fn create_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|error: io::Error| Error::io(folder, error))
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The paths of everything that is no folder, but for the client's own files.
    pub(crate) files: BTreeSet<String>,
    /// Files and folders that something left that did not end.
    pub(crate) parts: Vec<PathBuf>,
}

/// Looks at all that is in a folder. Links are not followed. Blocks.
pub(crate) fn contents(folder: &Path) -> Result<Contents, Error> {
    let mut found = Contents::default();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let failed = |error| Error::io(&folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let path = format!("{prefix}{}", name.display());
            if name.to_str().is_some_and(is_part) {
                found.parts.push(entry.path());
            } else if entry.file_type().map_err(failed)?.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else {
                found.files.insert(path);
            }
        }
    }
    found.files.remove(RECEIPT);
    found.files.remove(CLAIM);
    Ok(found)
}

/// Removes files that were put into a folder, unless they were changed since, and folders that are empty then. Blocks.
pub(crate) fn retire<'a>(folder: &Path, files: impl IntoIterator<Item = &'a ReceiptFile>) -> Result<(), Error> {
    let root = canonical(folder)?;
    for file in files {
        let at = join(folder, &file.path)?;
        // Not through a link that leads out.
        let inside = at.parent().and_then(|parent| parent.canonicalize().ok()).is_some_and(|at| at.starts_with(&root));
        if !inside || !holds(&at, file.size, &file.sha256) {
            continue;
        }
        fs::remove_file(&at).map_err(|error| Error::io(&at, error))?;
        let above = at.ancestors().skip(1).take_while(|above| *above != folder);
        // The first that is not empty ends it.
        for above in above {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Lets those run a file who may read it, or nobody, unless that is so for its owner already. Blocks.
pub(crate) fn set_executable(file: &Path, executable: bool) {
    #[cfg(unix)]
    if let Ok(there) = fs::metadata(file)
        && stamp::executable(&there) != executable
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = there.permissions().mode();
        let mode = if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
        // There are file systems that have no modes.
        let _ = fs::set_permissions(file, fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = (file, executable);
}

/// Whether a file holds these bytes. What can't be read holds nothing. Blocks.
pub(crate) fn holds(file: &Path, size: u64, sha256: &str) -> bool {
    // Of a link, only the link would be replaced, so that what it points at is no matter.
    fs::symlink_metadata(file).is_ok_and(|there| there.is_file() && there.len() == size)
        && hash_file(file, |_| {}).is_ok_and(|hasher| hasher.finish() == sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_stay_in_their_folder() {
        let folder = Path::new("in");
        for (path, expected) in [
            ("model.onnx", "in/model.onnx"),
            ("a/b c/ü.txt", "in/a/b c/ü.txt"),
            ("..a/b..", "in/..a/b.."),
            ("12:30", "in/12:30"),
        ] {
            assert_eq!(join(folder, path).unwrap(), Path::new(expected));
        }
        for path in [
            "",
            ".",
            "..",
            "../a",
            "a/../../b",
            "a/..",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "..\\a",
            "a\0b",
            "a\nb",
        ] {
            let error = join(folder, path).unwrap_err();
            assert!(matches!(error, Error::UnsafePath { .. }), "{path:?}: {error:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn folders_are_not_made_behind_links_that_lead_out() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).unwrap();

        create_parent(inside.path(), &inside.path().join("a/b/file")).unwrap();
        assert!(inside.path().join("a/b").is_dir());
        let error = create_parent(inside.path(), &inside.path().join("link/b/file")).unwrap_err();
        assert!(matches!(error, Error::UnsafePath { .. }), "{error:?}");
        assert!(!outside.path().join("b").exists());
    }
}
