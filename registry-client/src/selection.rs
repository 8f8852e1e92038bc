//! Which files of a folder are published, and which of a version are pulled: patterns as `.gitignore` has them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::Error;

/// The file at the top of a folder that says what in it is not published.
pub(crate) const IGNORE_FILE: &str = ".registryignore";

/// What is no part of a model: histories, caches of tools, what file managers leave, and secrets.
const DEFAULTS: &[&str] = &[
    ".git",
    ".hg",
    ".jj",
    ".svn",
    "__pycache__/",
    ".ipynb_checkpoints/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".venv/",
    ".cache/huggingface/",
    ".DS_Store",
    "Thumbs.db",
    ".env",
    ".env.*",
    "/.registryignore",
];

/// The largest file with patterns, in bytes: more of them would take minutes to understand.
const IGNORE_BYTES: u64 = 64 * 1024;

/// The patterns of a folder. A pipe would never end, and a link could lead to a file that is nobody's business.
fn read(file: &Path) -> io::Result<String> {
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
        Ok(there) if !there.is_file() => Err(io::Error::other("is no regular file")),
        Ok(there) if there.len() > IGNORE_BYTES => Err(io::Error::other("is larger than 64 KiB")),
        Ok(_) => fs::read_to_string(file),
    }
}

/// A file or folder that is not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path in the folder; of a folder, with a `/` at its end, and all in it is left out.
    pub path: String,
    /// The pattern that it matches.
    pub pattern: String,
    /// Whose pattern that is.
    pub by: LeftOutBy,
}

/// Who says that a file is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOutBy {
    /// Nobody: it is left out unless somebody says otherwise.
    Default,
    /// The `.registryignore` of the folder.
    IgnoreFile,
    /// The caller.
    Caller,
}

impl LeftOutBy {
    /// Where the crate says that a pattern comes from.
    fn origin(self) -> Option<PathBuf> {
        match self {
            Self::Default => Some(PathBuf::new()),
            Self::IgnoreFile => Some(IGNORE_FILE.into()),
            Self::Caller => None,
        }
    }

    fn of(origin: Option<&Path>) -> Self {
        match origin {
            None => Self::Caller,
            Some(origin) if origin == Path::new(IGNORE_FILE) => Self::IgnoreFile,
            Some(_) => Self::Default,
        }
    }
}

/// What of a folder is not published. Of several patterns that match, the last one counts: first those that hold by default, then
/// the folder's, then the caller's. One that begins with `!` takes in what those before it leave out.
#[derive(Debug)]
pub(crate) struct Exclusion(Gitignore);

impl Exclusion {
    /// For a folder; with `everything` only what the caller says. Blocks.
    pub(crate) fn of(folder: &Path, everything: bool, patterns: &[String]) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        if !everything {
            for line in DEFAULTS {
                add(&mut builder, LeftOutBy::Default, line)?;
            }
            let file = folder.join(IGNORE_FILE);
            let text = read(&file).map_err(|error| Error::io(&file, error))?;
            for (number, line) in (1..).zip(text.lines()) {
                let added = builder.add_line(LeftOutBy::IgnoreFile.origin(), line);
                added.map_err(|error| Error::Malformed {
                    path: file.clone(),
                    field: format!("line {number}"),
                    problem: error.to_string(),
                })?;
            }
        }
        for pattern in patterns {
            add(&mut builder, LeftOutBy::Caller, pattern)?;
        }
        build(&builder).map(Self)
    }

    /// Why a path in the folder is left out, if it is.
    pub(crate) fn of_path(&self, path: &Path, is_folder: bool) -> Option<LeftOut> {
        let Match::Ignore(glob) = self.0.matched(path, is_folder) else { return None };
        let path = format!("{}{}", path.display(), if is_folder { "/" } else { "" });
        Some(LeftOut { path, pattern: glob.original().to_owned(), by: LeftOutBy::of(glob.from()) })
    }
}

/// Which artifacts of a version are wanted.
#[derive(Debug)]
pub(crate) struct Selection(Gitignore);

impl Selection {
    pub(crate) fn of(patterns: &[String]) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            add(&mut builder, LeftOutBy::Caller, pattern)?;
        }
        build(&builder).map(Self)
    }

    /// Whether an artifact is wanted: by its path, or by a folder that it is in.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.matched_path_or_any_parents(path, false).is_ignore()
    }
}

fn add(builder: &mut GitignoreBuilder, by: LeftOutBy, pattern: &str) -> Result<(), Error> {
    builder.add_line(by.origin(), pattern).map(drop).map_err(|error| invalid(pattern, &error))
}

fn build(builder: &GitignoreBuilder) -> Result<Gitignore, Error> {
    builder.build().map_err(|error| invalid("", &error))
}

fn invalid(pattern: &str, error: &ignore::Error) -> Error {
    Error::InvalidOption { option: "pattern", value: pattern.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(ignore_file: &str, everything: bool, patterns: &[&str], paths: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(IGNORE_FILE), ignore_file).unwrap();
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        let exclusion = Exclusion::of(folder.path(), everything, &patterns).unwrap();
        let found = paths.iter().filter_map(|path| {
            let is_folder = path.ends_with('/');
            let left_out = exclusion.of_path(Path::new(path.trim_end_matches('/')), is_folder)?;
            Some(format!("{} {:?} {}", left_out.path, left_out.by, left_out.pattern))
        });
        found.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_last_pattern_that_matches_counts() {
        let paths = &[".git/", "a/.env", "a/env", "x/__pycache__/", "__pycache__", ".registryignore", "logs/", "b.log"];
        let defaults = ".git/ Default .git, a/.env Default .env, x/__pycache__/ Default __pycache__/, \
            .registryignore Default /.registryignore";
        assert_eq!(excluded("", false, &[], paths), defaults);
        assert_eq!(excluded("*.log", true, &["/logs/"], paths), "logs/ Caller /logs/");
        assert_eq!(
            excluded("# no logs\n\n*.log\n!.env\n", false, &["!__pycache__/", "a/*"], paths),
            ".git/ Default .git, a/.env Caller a/*, a/env Caller a/*, .registryignore Default /.registryignore, \
             b.log IgnoreFile *.log"
        );
    }

    #[test]
    fn patterns_that_can_not_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Exclusion::of(folder.path(), false, &["[z-a]".to_owned()]).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption { value, .. } if value == "[z-a]"), "{error:?}");
        fs::write(folder.path().join(IGNORE_FILE), "fine\n[z-a]\n").unwrap();
        let error = Exclusion::of(folder.path(), false, &[]).unwrap_err();
        assert!(matches!(&error, Error::Malformed { field, .. } if field == "line 2"), "{error:?}");
    }

    #[test]
    fn artifacts_are_selected_by_path_name_and_folder() {
        let has = |patterns: &[&str], path| {
            Selection::of(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap().has(path)
        };
        for (patterns, path, expected) in [
            (&["*.onnx"][..], "a/model.onnx", true),
            (&["/*.onnx"], "a/model.onnx", false),
            (&["plots/"], "plots/roc.png", true),
            (&["plots"], "a/plots/b/roc.png", true),
            (&["a/**/c.txt"], "a/b/c.txt", true),
            (&["*.txt", "!b.txt"], "a/b.txt", false),
            (&["model.onnx"], "other.onnx", false),
        ] {
            assert_eq!(has(patterns, path), expected, "{patterns:?} {path}");
        }
    }
}
