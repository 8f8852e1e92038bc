//! A store whose log has no beginning, and crashes while that was dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;

use super::SledStore;
use super::disk::Disk;
use super::tests::{CACHE, assert_has, commit, logged, open, reopen};
use crate::store::conformance::LAYOUT;
use crate::store::{Revision, Store as _, StoreError};

const LARGE: Bytes = Bytes::from_static(&[7; 100_000]);

fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(folder.join(".")).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    copy
}

/// The files of the log that end with this.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(end));
    files.sort();
    files
}

/// A store with six revisions before the log was dropped, and as it is then: from revision 7 on. More than the base has comes behind it.
async fn compacted() -> (TempDir, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    {
        let (disk, _) = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
        for first in [1, 3, 5] {
            disk.append(logged(first, &LARGE)).unwrap();
        }
    }
    let store = open(folder.path()).unwrap();
    assert_eq!(store.compact(5, 5).await.unwrap(), 1, "it is one file");
    commit(&store, b"seven").await;
    commit(&store, b"eight").await;
    drop(store);
    let before = copy(folder.path());
    let store = open(folder.path()).unwrap();
    assert_eq!(store.compact(8, 8).await.unwrap(), 7);
    commit(&store, b"nine").await;
    drop(store);
    (before, folder)
}

/// What is in it, whatever became of its state.
async fn assert_whole(folder: &Path, oldest: Revision, newest: Revision) {
    let check = |folder: PathBuf| async move {
        let store = open(&folder).unwrap();
        assert_has(&store, 6, newest, &LARGE).await;
        assert_eq!(store.oldest().await.unwrap(), oldest);
        let revisions: Vec<_> =
            store.log(oldest - 1, 99).await.unwrap().into_iter().map(|entry| entry.revision).collect();
        assert_eq!(revisions, (oldest..=newest).collect::<Vec<_>>());
    };
    let lost = copy(folder);
    fs::remove_dir_all(lost.path().join("state")).unwrap();
    check(lost.path().to_owned()).await;
    check(folder.to_owned()).await;
}

#[tokio::test]
async fn without_its_state_the_store_is_made_of_the_base_and_the_log() {
    let (_before, after) = compacted().await;
    assert_eq!((files(after.path(), ".base").len(), files(after.path(), ".log").len()), (1, 2));
    assert_whole(after.path(), 7, 9).await;
    // A later base takes the place of that.
    let store = open(after.path()).unwrap();
    assert_eq!(store.compact(9, 9).await.unwrap(), 9);
    drop(store);
    assert_eq!(files(after.path(), ".base").len(), 1);
    assert_whole(after.path(), 9, 9).await;
}

#[tokio::test]
async fn a_crash_while_the_log_is_dropped_leaves_a_store_that_is_whole() {
    let (before, after) = compacted().await;
    let base = &files(after.path(), ".base")[0];
    let name = base.file_name().unwrap();
    // While the base was written.
    let image = copy(before.path());
    fs::write(image.path().join("log/base.tmp"), b"the beginning of a base").unwrap();
    assert_whole(image.path(), 1, 8).await;
    let store = open(image.path()).unwrap();
    assert_eq!(store.compact(8, 8).await.unwrap(), 7);
    drop(store);
    assert!(files(image.path(), ".tmp").is_empty());
    assert_whole(image.path(), 7, 8).await;
    // Before the log was dropped.
    let image = copy(before.path());
    fs::copy(base, image.path().join("log").join(name)).unwrap();
    assert_whole(image.path(), 1, 8).await;
    // Before the base before was removed.
    let image = copy(after.path());
    fs::write(image.path().join("log/00000000000000000003.base"), b"MRLOGBAS").unwrap();
    assert_whole(image.path(), 7, 9).await;
    // The state had less than the base, and what it lacks is not in the log any more.
    let image = copy(after.path());
    fs::remove_dir_all(image.path().join("state")).unwrap();
    let earlier = tempfile::tempdir().unwrap();
    let about = fs::read(after.path().join("store.json")).unwrap();
    fs::write(earlier.path().join("store.json"), about).unwrap();
    {
        let (disk, _) = Disk::open(earlier.path(), CACHE, &LAYOUT).unwrap();
        disk.append(logged(1, &LARGE)).unwrap();
    }
    drop(open(earlier.path()).unwrap());
    let copied = Command::new("cp").arg("-r").arg(earlier.path().join("state")).arg(image.path()).status();
    assert!(copied.unwrap().success());
    assert_whole(image.path(), 7, 9).await;
}

#[tokio::test]
async fn a_log_without_a_beginning_is_refused_without_the_base_of_it() {
    let (_before, after) = compacted().await;
    let base = &files(after.path(), ".base")[0];
    let refused = |image: &TempDir| reopen(|| SledStore::open(image.path(), CACHE, &LAYOUT)).unwrap_err();
    let image = copy(after.path());
    fs::remove_file(image.path().join("log").join(base.file_name().unwrap())).unwrap();
    let error = refused(&image);
    assert!(matches!(&error, StoreError::Damaged(what) if what.contains("00001.log, is missing")), "{error}");
    // More of the log is gone than the base has.
    let image = copy(after.path());
    fs::remove_file(&files(image.path(), ".log")[0]).unwrap();
    let error = refused(&image);
    assert!(matches!(&error, StoreError::Damaged(what) if what.contains("is missing")), "{error}");
    // What the base has is not in the log any more: to go on from there would give numbers away that were given.
    for (left, newest) in [(Some(76), 6), (None, 0)] {
        let image = copy(after.path());
        let files = files(image.path(), ".log");
        fs::remove_file(&files[1]).unwrap();
        match left {
            Some(bytes) => fs::File::options().write(true).open(&files[0]).unwrap().set_len(bytes).unwrap(),
            None => fs::remove_file(&files[0]).unwrap(),
        }
        fs::remove_file(image.path().join("acknowledged")).unwrap();
        let (error, ends) = (refused(&image), format!("it is of revision 8, and the log ends at {newest}"));
        assert!(matches!(&error, StoreError::Damaged(what) if what.contains(&ends)), "{error}");
    }
    // A base that is not what was written matters only when it is needed.
    let image = copy(after.path());
    let damaged = image.path().join("log").join(base.file_name().unwrap());
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    drop(open(image.path()).unwrap());
    fs::remove_dir_all(image.path().join("state")).unwrap();
    let error = refused(&image);
    assert!(matches!(&error, StoreError::Damaged(what) if what.contains(".base: at byte 0")), "{error}");
}
