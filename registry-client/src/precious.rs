//! What of a folder a pull may replace: what an earlier pull put there, as long as nobody has changed it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::task::spawn_blocking;

use crate::artifacts::hash_file;
use crate::receipt::ReceiptFile;
use crate::{Error, collision, parallel};

/// What is where a file of a version goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    /// Nothing, or what a pull put there and nobody has changed.
    Free,
    /// The file itself.
    Same,
    /// Something that somebody may miss.
    Precious,
}

/// Looks at all places of a version's files in a folder. Answers the paths of those that are there already.
///
/// # Errors
/// [`Error::WouldOverwrite`] with all that no pull has put there as it is, unless it is to be overwritten.
pub(crate) async fn survey(
    folder: &Path,
    files: Vec<(ReceiptFile, PathBuf)>,
    before: &[ReceiptFile],
    overwrite: bool,
) -> Result<HashSet<String>, Error> {
    // Where case is ignored, it may be under another name.
    let mut known: HashMap<String, Vec<(u64, String)>> = HashMap::new();
    for file in before {
        known.entry(collision::fold(&file.path)).or_default().push((file.size, file.sha256.clone()));
    }
    let (same, precious) = (Mutex::new(HashSet::new()), Mutex::new(Vec::new()));
    let look = async |(file, at): (ReceiptFile, PathBuf)| {
        let ours = known.get(&collision::fold(&file.path)).cloned().unwrap_or_default();
        let place = at.clone();
        let wanted = (file.size, file.sha256);
        let there = spawn_blocking(move || look_at(&place, &wanted, &ours)).await;
        match there.map_err(|error| Error::io(at, error.into()))? {
            There::Free => {}
            There::Same => drop(same.lock().unwrap_or_else(PoisonError::into_inner).insert(file.path)),
            There::Precious => precious.lock().unwrap_or_else(PoisonError::into_inner).push(file.path),
        }
        Ok(())
    };
    parallel::each(files, |(file, _)| file.size, look).await?;
    let mut precious = precious.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !precious.is_empty() && !overwrite {
        precious.sort();
        return Err(Error::WouldOverwrite { folder: folder.to_owned(), files: precious });
    }
    Ok(same.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Compares what is at a place with the size and digest of what is to come there, and of what was put there. Blocks.
fn look_at(at: &Path, wanted: &(u64, String), ours: &[(u64, String)]) -> There {
    let Ok(found) = fs::symlink_metadata(at) else { return There::Free };
    // What is neither is refused, or makes room: that is seen to elsewhere.
    if !found.is_file() && !found.is_symlink() {
        return There::Free;
    }
    let size = found.len();
    // Of a link, what it points at would stay; but no pull has made it.
    if found.is_symlink() || (size != wanted.0 && ours.iter().all(|known| known.0 != size)) {
        return There::Precious;
    }
    let Ok(hasher) = hash_file(at, |_| {}) else { return There::Precious };
    let found = (size, hasher.finish());
    if found == *wanted {
        There::Same
    } else if ours.contains(&found) {
        There::Free
    } else {
        There::Precious
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &str) -> (u64, String) {
        let mut hasher = crate::artifacts::Hasher::default();
        hasher.update(bytes.as_bytes());
        (bytes.len() as u64, hasher.finish())
    }

    #[test]
    fn what_nobody_else_has_touched_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("file");
        let look = |ours: &[(u64, String)]| look_at(&at, &of("wanted"), ours);
        assert_eq!(look(&[]), There::Free);
        for (there, ours, expected) in [
            ("wanted", &[][..], There::Same),
            ("before", &[of("before")], There::Free),
            ("longer before", &[of("other"), of("longer before")], There::Free),
            ("edited", &[of("before")], There::Precious),
            ("of another length", &[of("before")], There::Precious),
            ("", &[], There::Precious),
        ] {
            fs::write(&at, there).unwrap();
            assert_eq!(look(ours), expected, "{there}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_somebodys() {
        let folder = tempfile::tempdir().unwrap();
        let (at, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "wanted").unwrap();
        std::os::unix::fs::symlink(&target, &at).unwrap();
        assert_eq!(look_at(&at, &of("wanted"), &[of("wanted")]), There::Precious);
    }
}
