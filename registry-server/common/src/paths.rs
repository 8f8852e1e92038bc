//! Paths of artifacts: which there may be, each by itself and together.

use std::collections::BTreeSet;

use crate::text::{check_chars, check_nfc};

/// The most bytes that a path has.
const MAX_BYTES: usize = 1024;
/// The most bytes between two slashes of a path: what file systems take as one name.
const MAX_PART_BYTES: usize = 255;

/// The file of a downloaded version that says what the folder holds.
pub const RECEIPT: &str = ".model-registry.json";
/// The file of a folder that says that a download is at work there, or broke off.
pub const CLAIM: &str = ".model-registry.pull";
/// What the names of files and folders begin with that are not complete.
pub const PART: &str = ".model-registry.part-";

/// Whether a character changes the order in which a line is shown, so that a path could look like another one.
fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a path is where a downloaded version keeps what it is, in its own folder.
pub fn is_reserved(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    [RECEIPT, CLAIM].contains(&first) || path.split('/').any(|part| part.starts_with(PART))
}

/// Checks the path of an artifact in its version's folder.
///
/// An accepted path stays inside the folder on every platform that it may be downloaded to, and fits one line of a manifest. It may
/// be one that Windows can't have: `:` stands in time stamps and in TensorBoard's names.
///
/// # Errors
/// What is wrong, as a message that begins with "must".
pub fn check(path: &str) -> Result<(), String> {
    let refuse = |problem: &str| Err(problem.to_owned());
    if path.is_empty() {
        return refuse("must not be empty");
    }
    if path.len() > MAX_BYTES {
        return Err(format!("must have at most {MAX_BYTES} bytes, not {}", path.len()));
    }
    check_chars(path, |c| !c.is_control() && c != '\\' && !reorders(c))?;
    if is_reserved(path) {
        return Err(format!("must not be {path:?}, where a downloaded version keeps what it is"));
    }
    if let [drive, b':', ..] = path.as_bytes()
        && drive.is_ascii_alphabetic()
    {
        return refuse("must not begin with a drive");
    }
    if path.starts_with('/') || path.ends_with('/') {
        return refuse("must be relative and name a file: without a slash at the start or the end");
    }
    for part in path.split('/') {
        match part {
            "" => return refuse("must not contain \"//\""),
            "." | ".." => return Err(format!("must not have {part:?} as a part")),
            _ if part.len() > MAX_PART_BYTES => {
                return Err(format!("must have at most {MAX_PART_BYTES} bytes between slashes, not {}", part.len()));
            }
            _ => {}
        }
    }
    check_nfc(path)
}

/// Paths that no folder can hold together: the first is a file, and a folder of the second.
pub fn conflict<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let paths: BTreeSet<_> = paths.into_iter().collect();
    paths.iter().find_map(|path| folders(path).find(|folder| paths.contains(folder)).map(|folder| (folder, *path)))
}

/// The folders that a path leads through: `a` and `a/b` for `a/b/c`.
pub fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_can_not_be_a_folder_as_well() {
        for (paths, expected) in [
            (&["weights", "weights/part-1.bin"][..], Some(("weights", "weights/part-1.bin"))),
            (&["a/b/c/d", "e", "a/b"], Some(("a/b", "a/b/c/d"))),
            // Between the two in order.
            (&["a", "a-b", "a/b"], Some(("a", "a/b"))),
            (&["a", "ab/c", "a.d/e"], None),
            (&["a/b", "a/c"], None),
            (&[], None),
        ] {
            assert_eq!(conflict(paths.iter().copied()), expected, "{paths:?}");
        }
    }
}
