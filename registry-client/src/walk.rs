//! What is in a local folder that is to be published.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use registry_common::paths::{self, CLAIM, RECEIPT};

use crate::destination::{is_part, open_regular};
use crate::folder::canonical;
use crate::selection::{Exclusion, LeftOut};
use crate::stamp::Stamp;
use crate::{Error, UnfitFile};

/// A file to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    /// Its path as an artifact: relative, parts joined by `/`.
    pub(crate) path: String,
    pub(crate) file: PathBuf,
    pub(crate) size: u64,
    /// As it was when it was found.
    pub(crate) stamp: Option<Stamp>,
    /// What is known of it, beyond its name.
    pub(crate) known: Option<Known>,
}

impl LocalFile {
    /// Whether it may be run, as somebody said or as it was found.
    pub(crate) fn is_executable(&self) -> bool {
        let found = self.stamp.as_ref().is_some_and(|stamp| stamp.executable);
        self.known.as_ref().map_or(found, |known| known.executable)
    }
}

/// What somebody said of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) artifact_type: String,
    /// Empty if that is not known.
    pub(crate) media_type: String,
    pub(crate) executable: bool,
    pub(crate) sha256: String,
}

/// All files in a folder and the folders in it, by path, but for what the client itself leaves there: a folder that was pulled may be
/// published again. Fails with all that can't be published. Blocks.
///
/// A link counts as what it points at, if that lies in the folder too, or all links are followed: unasked, a folder that is published
/// must not give away the rest of the machine.
pub(crate) fn walk(folder: &Path, choice: &Choice) -> Result<Listed, Error> {
    let root = canonical(folder)?;
    let exclusion = Exclusion::of(&root, choice.everything, &choice.exclude)?;
    let mut walk = Walk {
        listed: Listed::default(),
        unfit: Vec::new(),
        open: vec![root.clone()],
        root,
        follow_links: choice.follow_links,
        exclusion,
    };
    walk.enter("").map_err(|error| Error::io(folder, error))?;
    if !walk.unfit.is_empty() {
        walk.unfit.sort_by(|a, b| a.path.cmp(&b.path));
        return Err(Error::UnfitFiles { files: walk.unfit });
    }
    let mut listed = walk.listed;
    listed.files.sort_by(|a, b| a.path.cmp(&b.path));
    listed.left_out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listed)
}

/// What to publish of a folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// Follow links that lead out of it.
    pub(crate) follow_links: bool,
    /// Leave out only what `exclude` says.
    pub(crate) everything: bool,
    /// Patterns of what to leave out.
    pub(crate) exclude: Vec<String>,
}

/// What of a folder is to be published, and what is not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listed {
    pub(crate) files: Vec<LocalFile>,
    pub(crate) left_out: Vec<LeftOut>,
}

struct Walk {
    root: PathBuf,
    follow_links: bool,
    exclusion: Exclusion,
    /// The folder that is being read, and those above it. To come to one of them again is a link that leads in a circle.
    open: Vec<PathBuf>,
    listed: Listed,
    unfit: Vec<UnfitFile>,
}

/// What is at a path.
enum Found {
    File(LocalFile),
    Folder(PathBuf),
}

impl Walk {
    /// Reads the innermost open folder; `prefix` is its path with a `/` behind it.
    fn enter(&mut self, prefix: &str) -> io::Result<()> {
        let Some(folder) = self.open.last().cloned() else { return Ok(()) };
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = format!("{prefix}{}", name.display());
            if path == RECEIPT || name.to_str().is_some_and(is_part) {
                continue;
            }
            // Before it is looked at: what is left out may be anything.
            let left_out = self.exclusion.of_path(&Path::new(prefix).join(&name), entry.path().is_dir());
            if let Some(left_out) = left_out {
                self.listed.left_out.push(left_out);
                continue;
            }
            let looked = match name.to_str() {
                None => Err("the name is not valid UTF-8".to_owned()),
                Some(_) if path == CLAIM => {
                    Err("a pull into the folder has not ended: pull again, or remove this file".to_owned())
                }
                Some(_) => self.look(&entry, &path),
            };
            let entered = match looked {
                Ok(Found::File(file)) => {
                    self.listed.files.push(file);
                    Ok(())
                }
                Ok(Found::Folder(folder)) => {
                    self.open.push(folder);
                    let entered = self.enter(&format!("{path}/")).map_err(|error| error.to_string());
                    self.open.pop();
                    entered
                }
                Err(problem) => Err(problem),
            };
            if let Err(problem) = entered {
                self.unfit.push(UnfitFile { path: path.into(), problem });
            }
        }
        Ok(())
    }

    /// Tells what an entry is, or why it can't be published.
    fn look(&self, entry: &fs::DirEntry, path: &str) -> Result<Found, String> {
        let failed = |error: io::Error| error.to_string();
        // What is no link is where it was found: the folder's own path is a canonical one.
        let is_link = entry.file_type().map_err(failed)?.is_symlink();
        let file = if is_link { entry.path().canonicalize().map_err(failed)? } else { entry.path() };
        if !self.follow_links && !file.starts_with(&self.root) {
            return Err(
                "the link leads out of the folder, and such links are followed only if that is asked for".to_owned()
            );
        }
        let there = fs::metadata(&file).map_err(failed)?;
        if there.is_dir() {
            return match self.open.contains(&file) {
                true => Err("the link leads in a circle".to_owned()),
                false => Ok(Found::Folder(file)),
            };
        }
        if !there.is_file() {
            return Err("neither a file nor a folder".to_owned());
        }
        paths::check(path).map_err(|problem| format!("the path {problem}"))?;
        // Also to know that it can be read.
        let opened = open_regular(&file, fs::OpenOptions::new().read(true)).and_then(|open| open.metadata());
        let stamp = Stamp::of(&opened.map_err(failed)?);
        Ok(Found::File(LocalFile { path: path.to_owned(), file, size: stamp.size, stamp: Some(stamp), known: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths in a folder, or what is wrong with which.
    fn found(folder: &Path, follow_links: bool) -> Result<String, Vec<(String, String)>> {
        match walk(folder, &Choice { follow_links, ..Choice::default() }) {
            Ok(listed) => Ok(listed.files.into_iter().map(|file| file.path).collect::<Vec<_>>().join(" ")),
            Err(Error::UnfitFiles { files }) => {
                Err(files.into_iter().map(|file| (file.path.display().to_string(), file.problem)).collect())
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in files {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, path).unwrap();
        }
        folder
    }

    #[test]
    fn files_are_found_in_order_with_their_paths() {
        let folder = folder_with(&["b.txt", "a/z.txt", "a/b/c.txt", "a.txt", RECEIPT]);
        let files: Vec<_> = walk(folder.path(), &Choice::default())
            .unwrap()
            .files
            .into_iter()
            .map(|file| (file.path, file.size))
            .collect();
        let expected = [("a.txt", 5), ("a/b/c.txt", 9), ("a/z.txt", 7), ("b.txt", 5)];
        assert_eq!(files, expected.map(|(path, size)| (path.to_owned(), size)));
    }

    #[test]
    fn what_is_left_out_is_not_looked_at_and_told() {
        let folder = folder_with(&["a", ".git/config", ".env", "b/.DS_Store", "b/c:1", "sub/a:b/c", "C:/x"]);
        let choice = |everything, exclude: &[&str]| Choice {
            everything,
            exclude: exclude.iter().map(ToString::to_string).collect(),
            ..Choice::default()
        };
        let listed = walk(folder.path(), &choice(false, &["C:/"])).unwrap();
        let left_out: Vec<_> = listed.left_out.iter().map(|left_out| left_out.path.as_str()).collect();
        assert_eq!(left_out, [".env", ".git/", "C:/", "b/.DS_Store"]);
        let paths: Vec<_> = listed.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a", "b/c:1", "sub/a:b/c"]);
        let listed = walk(folder.path(), &choice(true, &["C:"])).unwrap();
        assert_eq!((listed.files.len(), listed.left_out.len()), (6, 1));
    }

    #[test]
    fn what_a_transfer_left_is_not_published() {
        let part = crate::destination::part_name("1234-");
        let folder = folder_with(&["a", &part, &format!("b/{part}"), &format!("c/{part}/probe")]);
        assert_eq!(found(folder.path(), false), Ok("a".to_owned()));
        fs::write(folder.path().join(CLAIM), "").unwrap();
        assert_eq!(found(folder.path(), false).unwrap_err()[0].0, CLAIM);
    }

    #[test]
    fn all_paths_that_can_not_be_published_are_named() {
        let long = format!("d/{}/e", "f".repeat(255));
        let folder = folder_with(&["a:1", "b/c\\d", "cafe\u{301}", "good:1", &long]);
        let unfit = found(folder.path(), false).unwrap_err();
        let expected = [
            ("a:1", "the path must not begin with a drive"),
            ("b/c\\d", "the path must not contain '\\\\'"),
            ("cafe\u{301}", "the path must be in Unicode normal form NFC: write \"é\" as U+00E9 at character 4"),
        ];
        assert_eq!(unfit, expected.map(|(path, problem)| (path.to_owned(), problem.to_owned())));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_inside_the_folder_only() {
        use std::os::unix::fs::symlink;

        let outside = folder_with(&["secret"]);
        let with = |link: &str, target: &Path| {
            let folder = folder_with(&["a/file"]);
            symlink(target, folder.path().join(link)).unwrap();
            [false, true].map(|follow| match found(folder.path(), follow) {
                Err(unfit) => format!("{}: {}", unfit[0].0, &unfit[0].1[..21]),
                Ok(paths) => paths,
            })
        };
        let (secret, out) = (outside.path().join("secret"), "link: the link leads out of");
        assert_eq!(with("link", Path::new("a/file")), ["a/file link"; 2]);
        assert_eq!(with("b", Path::new("a")), ["a/file b/file"; 2]);
        assert_eq!(with("link", &secret), [&out[..27], "a/file link"]);
        assert_eq!(with("link", outside.path()), [&out[..27], "a/file link/secret"]);
        assert_eq!(with("a/up", Path::new("..")), ["a/up: the link leads in a c"; 2]);
        assert!(with("link", Path::new("nowhere"))[0].starts_with("link: No such file"));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_text_are_refused() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(OsStr::from_bytes(b"model-\xff.bin")), "").unwrap();
        assert_eq!(found(folder.path(), false).unwrap_err()[0].1, "the name is not valid UTF-8");
    }
}
