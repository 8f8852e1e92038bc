//! Local folders: what is in one, and where in one an artifact may go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// Where a folder says what it holds: written by `pull`, never published.
pub(crate) const RECEIPT: &str = ".model-registry.json";

/// A file to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    /// Its path as an artifact: relative, parts joined by `/`.
    pub(crate) path: String,
    pub(crate) file: PathBuf,
    pub(crate) size: u64,
    /// What is known of it, beyond its name.
    pub(crate) known: Option<Known>,
}

/// What somebody said of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) artifact_type: String,
    /// Empty if that is not known.
    pub(crate) media_type: String,
    pub(crate) sha256: String,
}

/// All files in a folder and the folders in it, by path, but for the [`RECEIPT`]: a folder that was pulled may be published again.
/// Blocks.
///
/// A link counts as what it points at, if that lies in the folder too: a folder that is published must not give away the rest of
/// the machine.
pub(crate) fn walk(folder: &Path) -> Result<Vec<LocalFile>, Error> {
    let root = canonical(folder)?;
    let mut walk = Walk { files: Vec::new(), open: vec![root.clone()], root };
    walk.enter("")?;
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.files)
}

struct Walk {
    root: PathBuf,
    /// The folder that is being read, and those above it. To come to one of them again is a link that leads in a circle.
    open: Vec<PathBuf>,
    files: Vec<LocalFile>,
}

impl Walk {
    /// Reads the innermost open folder; `prefix` is its path with a `/` behind it.
    fn enter(&mut self, prefix: &str) -> Result<(), Error> {
        let Some(folder) = self.open.last().cloned() else { return Ok(()) };
        let failed = |error| Error::io(&folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let found = entry.path();
            let unsafe_path = |problem| Error::UnsafePath { path: found.clone(), problem };
            let name = found.file_name().and_then(|name| name.to_str());
            let path = format!("{prefix}{}", name.ok_or_else(|| unsafe_path("the name is not valid UTF-8"))?);
            if path == RECEIPT {
                continue;
            }

            // What is no link is where it was found: the folder's own path is a canonical one.
            let is_link = entry.file_type().map_err(|error| Error::io(&found, error))?.is_symlink();
            let file = if is_link { canonical(&found)? } else { found.clone() };
            if !file.starts_with(&self.root) {
                return Err(unsafe_path("the link leads out of the folder"));
            }
            let metadata = fs::metadata(&file).map_err(|error| Error::io(&found, error))?;
            if metadata.is_file() {
                self.files.push(LocalFile { path, file, size: metadata.len(), known: None });
            } else if !metadata.is_dir() {
                return Err(unsafe_path("neither a file nor a folder"));
            } else if self.open.contains(&file) {
                return Err(unsafe_path("the link leads in a circle"));
            } else {
                self.open.push(file);
                self.enter(&format!("{path}/"))?;
                self.open.pop();
            }
        }
        Ok(())
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
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

    #[test]
    fn files_are_found_in_order_with_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in [("b.txt", "12"), ("a/z.txt", ""), ("a/b/c.txt", "123"), ("a.txt", "1"), (RECEIPT, "{}")] {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        let found: Vec<_> = walk(folder.path()).unwrap().into_iter().map(|file| (file.path, file.size)).collect();
        let expected = [("a.txt", 1), ("a/b/c.txt", 3), ("a/z.txt", 0), ("b.txt", 2)];
        assert_eq!(found, expected.map(|(path, size)| (path.to_owned(), size)));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_inside_the_folder_only() {
        use std::os::unix::fs::symlink;

        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        let problem_with = |link: &str, target: &Path| {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("a")).unwrap();
            fs::write(folder.path().join("a/file"), "").unwrap();
            symlink(target, folder.path().join(link)).unwrap();
            match walk(folder.path()) {
                Ok(files) => Ok(files.into_iter().map(|file| file.path).collect::<Vec<_>>().join(" ")),
                Err(Error::UnsafePath { path, problem }) => Err((path.file_name().unwrap().to_owned(), problem)),
                Err(error) => panic!("{error:?}"),
            }
        };
        assert_eq!(problem_with("link", Path::new("a/file")), Ok("a/file link".to_owned()));
        assert_eq!(problem_with("b", Path::new("a")), Ok("a/file b/file".to_owned()));
        let out = "the link leads out of the folder";
        assert_eq!(problem_with("link", &outside.path().join("secret")), Err(("link".into(), out)));
        assert_eq!(problem_with("link", outside.path()), Err(("link".into(), out)));
        assert_eq!(problem_with("a/up", Path::new("..")), Err(("up".into(), "the link leads in a circle")));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_text_are_refused() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(OsStr::from_bytes(b"model-\xff.bin")), "").unwrap();
        let error = walk(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("the name is not valid UTF-8"), "{error}");
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
