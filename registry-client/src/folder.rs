//! Local folders: what is in one, and where in one an artifact may go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// Where a folder says what it holds: written by `pull`, never published.
pub(crate) const RECEIPT: &str = ".model-registry.json";

pub(crate) fn canonical(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|error| Error::io(path, error))
}

/// Where in `folder` an artifact goes. Trusts the path as little as if it came from an attacker: it has to stay in the folder on
/// every operating system.
pub(crate) fn join(folder: &Path, path: &str) -> Result<PathBuf, Error> {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(['\\', ':']);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_stay_in_their_folder() {
        let folder = Path::new("in");
        for (path, expected) in
            [("model.onnx", "in/model.onnx"), ("a/b c/ü.txt", "in/a/b c/ü.txt"), ("..a/b..", "in/..a/b..")]
        {
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
            "C:a",
            "c:/a",
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
