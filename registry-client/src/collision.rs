//! Paths that are different in the registry, and one and the same on a file system that ignores case.
//!
//! Only the file system knows what it takes for the same, so it is asked; and only about names that some file system could
//! mix up. Artifacts' paths are in Unicode's normal form NFC, so that two of them never differ in that alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::Error;
use crate::destination::part_name;
use crate::folder::create_folder;

/// What texts have in common that may differ in case only. Coarser than any file system: `ß` and `SS` count as similar.
pub(crate) fn fold(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

/// Names in one folder that differ in case only, or nearly so: `(folder, names)`, where the folder is empty or ends in `/`.
///
/// Folders count as well: two of them that become one would not hold what either of them did.
pub(crate) fn similar<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut names: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for path in paths {
        let mut start = 0;
        for part in path.split('/') {
            names.entry((&path[..start], fold(part))).or_default().insert(part);
            start += part.len() + 1;
        }
    }
    let groups = names.into_iter().filter(|(_, names)| names.len() > 1);
    groups.map(|((folder, _), names)| (folder, names.into_iter().collect())).collect()
}

/// Whether Windows can't hold a path: a part of it has a character that is not allowed there, ends in what is dropped, or names a device
/// whatever its ending.
pub(crate) fn not_on_windows(path: &str) -> bool {
    let device = |part: &str| {
        let name = part.split('.').next().unwrap_or(part).trim_end().to_ascii_uppercase();
        let numbered = name.strip_prefix("COM").or_else(|| name.strip_prefix("LPT"));
        matches!(name.as_str(), "CON" | "PRN" | "AUX" | "NUL")
            || numbered.is_some_and(|rest| {
                let mut rest = rest.chars();
                rest.next().is_some_and(|digit| "123456789¹²³".contains(digit)) && rest.next().is_none()
            })
    };
    path.split('/')
        .any(|part| part.contains(['<', '>', ':', '"', '|', '?', '*']) || part.ends_with(['.', ' ']) || device(part))
}

/// Refuses paths that would overwrite each other in a folder, which has to exist. Blocks.
pub(crate) fn refuse<'a>(folder: &Path, paths: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
    let groups = similar(paths);
    if groups.is_empty() {
        return Ok(());
    }
    let scratch = Scratch(folder.join(part_name("")));
    create_folder(&scratch.0)?;
    refuse_by(folder, groups, |group, name| scratch.put(group, name))
}

/// The same, with the file system as a function: puts a file into a folder with a number, and answers which name it has if there
/// is one already.
fn refuse_by(
    folder: &Path,
    groups: Vec<(&str, Vec<&str>)>,
    mut put: impl FnMut(usize, &str) -> Result<Option<String>, Error>,
) -> Result<(), Error> {
    for (i, (parent, names)) in groups.into_iter().enumerate() {
        for name in names {
            if let Some(there) = put(i, name)? {
                return Err(Error::PathCollision {
                    folder: folder.to_owned(),
                    first: format!("{parent}{there}"),
                    second: format!("{parent}{name}"),
                });
            }
        }
    }
    Ok(())
}

/// A folder to try names in. Removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn put(&self, group: usize, name: &str) -> Result<Option<String>, Error> {
        let folder = self.0.join(group.to_string());
        create_folder(&folder)?;
        let file = folder.join(name);
        let put = match fs::File::create_new(&file) {
            Ok(mut new) => io::Write::write_all(&mut new, name.as_bytes()).map(|()| None),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::read_to_string(&file).map(Some),
            Err(error) => Err(error),
        };
        put.map_err(|error| Error::io(file, error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it can't be removed, its name says what it is.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A file system that ignores case as NTFS does: character by character.
    fn ignoring_case() -> impl FnMut(usize, &str) -> Result<Option<String>, Error> {
        let mut there = HashMap::new();
        move |group, name: &str| {
            let key = (group, name.to_lowercase());
            Ok(there.insert(key, name.to_owned()))
        }
    }

    fn collision(paths: &[&str]) -> Option<(String, String)> {
        match refuse_by(Path::new("out"), similar(paths.iter().copied()), ignoring_case()) {
            Ok(()) => None,
            Err(Error::PathCollision { first, second, .. }) => Some((first, second)),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn paths_that_differ_in_case_collide_where_case_is_ignored() {
        for (paths, first, second) in [
            (&["README", "readme"][..], "README", "readme"),
            (&["a/Model.bin", "b/model.bin", "a/model.bin"], "a/Model.bin", "a/model.bin"),
            (&["Plots/roc.png", "plots/loss.png"], "Plots", "plots"),
            (&["A", "a/b"], "A", "a"),
            (&["Ärger", "ärger"], "Ärger", "ärger"),
            (&["straße", "strasse", "STRASSE"], "STRASSE", "strasse"),
        ] {
            assert_eq!(collision(paths), Some((first.to_owned(), second.to_owned())), "{paths:?}");
        }
        for paths in [&["a/README", "b/readme"][..], &["a", "b"], &["a/b", "a/c"], &["straße", "strasse"], &[]] {
            assert_eq!(collision(paths), None, "{paths:?}");
        }
    }

    #[test]
    fn names_that_windows_does_not_have() {
        for path in
            ["con", "a/NUL.txt", "aux.tar.gz", "com1", "LPT9.x", "COM²", "a./b", "a ", "a?", "12:30", "nul .txt"]
        {
            assert!(not_on_windows(path), "{path}");
        }
        for path in ["console", "com", "com10", "com0", "a.b/c d", "nu", ".hidden", "lpt.1"] {
            assert!(!not_on_windows(path), "{path}");
        }
    }

    #[test]
    fn the_file_system_is_asked_and_nothing_is_left_of_that() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("probe"), "").unwrap();
        let ignores_case = folder.path().join("PROBE").exists();
        let refused = refuse(folder.path(), ["README", "readme", "Ärger"]);
        assert_eq!(refused.is_err(), ignores_case, "{refused:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let scratch = Scratch(folder.path().join("scratch"));
        assert_eq!(scratch.put(0, "name").unwrap(), None);
        assert_eq!(scratch.put(1, "name").unwrap(), None);
        assert_eq!(scratch.put(1, "name").unwrap().as_deref(), Some("name"));
    }
}
