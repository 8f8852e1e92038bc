//! The layout of the older file registries: `MODEL/YYYYMMDD_HHMMSS/` with `metadata.json` and the version's files, and
//! `MODEL/production/latest`, a link (or, where links were lost, a file) that names what is in production.
//!
//! Links are followed within the tree. What a link outside of it leads to was not meant to be published, so such a link is an error.

mod metadata;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use registry_client::pb;

use crate::Failure;

const METADATA: &str = "metadata.json";
/// The largest `metadata.json`; the registry takes less of a version.
const METADATA_BYTES: u64 = 8 << 20;
/// More than any name has.
const LATEST_BYTES: u64 = 4096;

/// What there is to be taken over, and what there is not.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) models: Vec<LegacyModel>,
    /// What is no part of the layout.
    pub(crate) not_taken: Vec<About>,
    /// What should be and can't be taken over as it is: whole versions, and names of what is in production.
    pub(crate) bad: Vec<About>,
    /// What was understood in one of several ways.
    pub(crate) notes: Vec<About>,
}

/// A file or folder, and what is to be said of it.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) path: PathBuf,
    pub(crate) what: String,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// A model of the tree.
#[derive(Debug)]
pub(crate) struct LegacyModel {
    pub(crate) id: String,
    pub(crate) folder: PathBuf,
    pub(crate) model: pb::Model,
    /// By their time stamps.
    pub(crate) versions: Vec<LegacyVersion>,
    /// The version id of what is in production.
    pub(crate) production: Option<String>,
}

/// A version of the tree.
#[derive(Debug)]
pub(crate) struct LegacyVersion {
    pub(crate) folder: PathBuf,
    /// Its time stamp.
    pub(crate) version_id: String,
    pub(crate) version: pb::Version,
    pub(crate) model_type: String,
    /// When it was put into production, as the tree says.
    pub(crate) promoted_at: Option<String>,
    /// The names of its files.
    pub(crate) files: Vec<String>,
}

/// What a path leads to, within the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    /// A pipe, a device or a socket: to open one may wait for ever.
    Other,
}

/// Reads a tree, without changing anything and without reading anything that is not in it.
pub(crate) fn read(tree: &Path) -> Result<Tree, Failure> {
    let root = tree.canonicalize().map_err(|error| format!("{}: {error}", tree.display()))?;
    let mut reader = Reader { root, tree: Tree::default() };
    for entry in entries(tree).map_err(|error| format!("{}: {error}", tree.display()))? {
        match reader.kind(&entry) {
            Ok(Kind::Folder) => reader.model(&entry),
            Ok(_) => reader.not_taken(entry, "is no folder of a model"),
            Err(problem) => reader.bad(entry, problem),
        }
    }
    Ok(reader.tree)
}

struct Reader {
    /// Without links.
    root: PathBuf,
    tree: Tree,
}

impl Reader {
    fn not_taken(&mut self, path: PathBuf, what: &str) {
        self.tree.not_taken.push(About { path, what: what.to_owned() });
    }

    fn bad(&mut self, path: PathBuf, what: String) {
        self.tree.bad.push(About { path, what });
    }

    /// What a path leads to. Links are followed, but not out of the tree.
    fn kind(&self, path: &Path) -> Result<Kind, String> {
        let metadata = path.symlink_metadata().map_err(|error| error.to_string())?;
        if metadata.is_symlink() {
            let target = path.canonicalize().map_err(|error| format!("is a link that leads nowhere: {error}"))?;
            if !target.starts_with(&self.root) {
                return Err("is a link that leads out of the tree".to_owned());
            }
        }
        let metadata = path.metadata().map_err(|error| error.to_string())?;
        if metadata.is_dir() {
            return Ok(Kind::Folder);
        }
        Ok(if metadata.is_file() { Kind::File } else { Kind::Other })
    }

    fn model(&mut self, folder: &Path) {
        let (Some(id), Ok(entries)) = (name(folder), entries(folder)) else {
            return self.bad(folder.to_owned(), "can't be read, or its name is not UTF-8".to_owned());
        };
        let (mut versions, mut others, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let entry_name = name(&entry).unwrap_or_default();
            match self.kind(&entry) {
                _ if entry_name == "production" => {}
                Ok(Kind::Folder) if is_stamp(&entry_name) => match self.version(&entry, entry_name) {
                    Ok(version) => versions.push(version),
                    Err(problems) => bad.push((entry, problems)),
                },
                Ok(Kind::Folder) => others.push((entry, "is not named as versions are: YYYYMMDD_HHMMSS")),
                Ok(_) => others.push((entry, "is no folder of a version")),
                Err(problem) => bad.push((entry, vec![problem])),
            }
        }
        if versions.is_empty() && bad.is_empty() {
            return self.not_taken(folder.to_owned(), "is no model: there is no folder YYYYMMDD_HHMMSS in it");
        }
        let left_out: Vec<_> = bad.iter().filter_map(|(path, _)| name(path)).collect();
        for (path, problems) in bad {
            problems.into_iter().for_each(|problem| self.bad(path.clone(), problem));
        }
        others.into_iter().for_each(|(path, what)| self.not_taken(path, what));
        let production = self.production(folder).unwrap_or_else(|(path, problem)| {
            self.bad(path, problem);
            None
        });
        let production = production.filter(|id| {
            let is_there = versions.iter().any(|version| version.version_id == *id);
            // If it is among the bad ones, that is said already.
            if !is_there && !left_out.contains(id) {
                self.bad(folder.join("production/latest"), format!("names {id}, which is not there"));
            }
            is_there
        });
        let Some(newest) = versions.last() else { return };
        let model = pb::Model { model_type: newest.model_type.clone(), ..Default::default() };
        self.tree.models.push(LegacyModel { id, folder: folder.to_owned(), model, versions, production });
    }

    /// A version, or all that is wrong with it. Its files are looked at before one of them is read.
    fn version(&mut self, folder: &Path, version_id: String) -> Result<LegacyVersion, Vec<String>> {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for path in entries(folder).map_err(|error| vec![error.to_string()])? {
            let Some(name) = name(&path) else {
                problems.push(format!("{}: its name is not UTF-8", path.display()));
                continue;
            };
            match self.kind(&path) {
                // Whether it can be read turns out here, not amid an import.
                Ok(Kind::File) => match File::open(&path) {
                    Ok(_) => files.push(name),
                    Err(error) => problems.push(format!("{name}: {error}")),
                },
                Ok(Kind::Folder | Kind::Other) => problems.push(format!("{name}: is no file")),
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
        if !files.iter().any(|file| file == METADATA) {
            if !problems.iter().any(|problem| problem.starts_with(METADATA)) {
                problems.push(format!("{METADATA}: is missing"));
            }
            return Err(problems);
        }
        let text = read_text(&folder.join(METADATA), METADATA_BYTES).map_err(|problem| vec![problem]);
        let metadata = text.and_then(|text| metadata::read(&text)).map_err(|found| {
            problems.extend(found.into_iter().map(|problem| format!("{METADATA}: {problem}")));
        });
        match metadata {
            Ok(metadata) if problems.is_empty() => {
                let note = |what| About { path: folder.join(METADATA), what };
                self.tree.notes.extend(metadata.notes.into_iter().map(note));
                let (version, model_type, promoted_at) = (metadata.version, metadata.model_type, metadata.promoted_at);
                Ok(LegacyVersion { folder: folder.to_owned(), version_id, version, model_type, promoted_at, files })
            }
            _ => Err(problems),
        }
    }

    /// The version that `production/latest` points at, or what is wrong, and with what.
    fn production(&self, model: &Path) -> Result<Option<String>, (PathBuf, String)> {
        let folder = model.join("production");
        let latest = folder.join("latest");
        let missing =
            |path: &Path| path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if missing(&folder) {
            return Ok(None);
        }
        let kind = self.kind(&folder).map_err(|problem| (folder.clone(), problem))?;
        if kind != Kind::Folder || missing(&latest) {
            return Ok(None);
        }
        // A link may lead nowhere any more; its name tells.
        let target = match latest.read_link() {
            Ok(target) => target,
            Err(_) => match self.kind(&latest) {
                Ok(Kind::File) => {
                    let text = read_text(&latest, LATEST_BYTES).map_err(|problem| (latest.clone(), problem))?;
                    PathBuf::from(text.trim())
                }
                Ok(_) => return Err((latest, "is neither a link nor a file".to_owned())),
                Err(problem) => return Err((latest, problem)),
            },
        };
        match name(&target) {
            Some(id) => Ok(Some(id)),
            None => Err((latest, "names nothing".to_owned())),
        }
    }
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut entries: Vec<_> = folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    Ok(entries)
}

/// The text of a regular file, if it is not too large.
fn read_text(path: &Path, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("has more than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The last part of a path, if it is text.
fn name(path: &Path) -> Option<String> {
    path.file_name()?.to_str().map(str::to_owned)
}

fn is_stamp(name: &str) -> bool {
    name.len() == 15
        && name.bytes().enumerate().all(|(i, byte)| if i == 8 { byte == b'_' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests;
