//! The state while it is taken to its files, and where a crash ends that.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::steps;
use crate::store::Store;
use crate::store::conformance::{BY_FLAG, Backend, LAYOUT, SHIP, conformance};
use crate::store::sled::SledStore;
use crate::store::sled::disk::Disk;
use crate::store::sled::physical::{Overrides, PART_BYTES, View};
use crate::store::sled::staged::Staged;
use crate::store::sled::tests::{CACHE, open, reopen};
use crate::store::{Place, Put, Revision, Transaction as _};
use crate::stored::LogGroup;

/// A store whose state is taken to its files all the time.
struct Restless {
    folder: TempDir,
    store: SledStore,
    _settling: Settling,
}

struct Settling(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Settling {
    fn of(store: &SledStore) -> Self {
        let (disk, ended) = (Arc::clone(&store.disk), Arc::new(AtomicBool::new(false)));
        let end = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                disk.state().settle().unwrap();
                std::thread::yield_now();
            }
        });
        Self(ended, Some(thread))
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(JoinHandle::join);
    }
}

#[async_trait]
impl Backend for Restless {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        Self { _settling: Settling::of(&store), store, folder }
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn reopen(self) -> Self {
        let Self { folder, store, _settling } = self;
        drop((_settling, store));
        let store = open(folder.path()).unwrap();
        Self { _settling: Settling::of(&store), store, folder }
    }
}

conformance!(Restless);

/// A ship of some length, in parts if that is large, under some flags.
fn ship(key: u8, length: usize, flags: &[u8]) -> Put {
    let places = flags.iter().map(|flag| Place { slot: BY_FLAG.slot, value: vec![*flag] });
    Put { kind: SHIP, key: vec![key], payload: Bytes::from(vec![key; length]), places: places.collect() }
}

/// What one commit writes or, with `None`, removes.
type Change = (u8, Option<Put>);

/// Commits changes as a group of one; they are not in the tree yet.
fn commit(disk: &Disk, revision: Revision, changes: Vec<Change>) {
    let mut overrides = Overrides::default();
    let mut staged = Staged::new(disk.layout(), View::of(disk.state()), &mut overrides, revision);
    for (key, put) in changes {
        let staging = async {
            match put {
                Some(put) => staged.put(put).await,
                None => staged.remove(SHIP, &[key]).await,
            }
        };
        futures::executor::block_on(staging).unwrap();
    }
    let entry = staged.into_entry(Bytes::from_static(b"events"));
    disk.append(LogGroup { entries: vec![entry] }).unwrap();
    disk.state().add(&overrides, revision).unwrap();
}

/// Everything in the tree.
fn content(disk: &Disk) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = disk.state().tree.iter().map(Result::unwrap);
    entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn wherever_a_crash_ends_it_the_state_becomes_that_of_the_log() {
    let long = 3 * PART_BYTES;
    let settled: Vec<Vec<Change>> = vec![
        vec![(1, Some(ship(1, long, b"ab"))), (2, Some(ship(2, 10, b"a"))), (3, Some(ship(3, long, b"c")))],
        vec![(4, Some(ship(4, 10, b"d")))],
    ];
    // In parts and not, under other flags and back, removed and made again.
    let unsettled: Vec<Vec<Change>> = vec![
        vec![(1, Some(ship(1, long + 1, b"b"))), (2, None)],
        vec![(1, Some(ship(1, 20, b"bc"))), (3, None), (4, Some(ship(4, long, b"")))],
        vec![(2, Some(ship(2, long, b"a"))), (4, Some(ship(4, 2 * long, b"d")))],
        vec![(3, Some(ship(3, 5, b"c"))), (1, Some(ship(1, long, b"a")))],
    ];
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let (disk, _) = Disk::open(&store, CACHE, &LAYOUT).unwrap();
    let (mut commits, count) = ((1..).zip(settled.into_iter().chain(unsettled)), 6);
    for (revision, changes) in commits.by_ref().take(2) {
        commit(&disk, revision, changes);
    }
    disk.state().settle().unwrap();
    for (revision, changes) in commits {
        commit(&disk, revision, changes);
    }
    let steps = steps(&disk.state().read().recent, count, 0);
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    let image = |number: usize| {
        disk.state().tree.flush().unwrap();
        copy(&store, &images.join(number.to_string()));
    };
    image(0);
    for (number, (key, value)) in (1..).zip(&steps) {
        match value {
            Some(value) => drop(disk.state().tree.insert(key, value.as_ref()).unwrap()),
            None => drop(disk.state().tree.remove(key).unwrap()),
        }
        image(number);
    }
    drop(disk);
    let expected = content(&reopen(|| Disk::open(&store, CACHE, &LAYOUT)).unwrap().0);
    assert!(expected.iter().all(|(key, _)| !key.starts_with(b"S")));
    for number in 0..=steps.len() {
        let (disk, newest) = Disk::open(&images.join(number.to_string()), CACHE, &LAYOUT).unwrap();
        assert_eq!(newest, count);
        disk.state().settle().unwrap();
        assert!(content(&disk) == expected, "after {number} of {} steps", steps.len());
    }
}

#[test]
fn what_came_and_went_is_never_in_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
    commit(&disk, 1, vec![(1, Some(ship(1, 10, b"a")))]);
    commit(&disk, 2, vec![(1, Some(ship(1, 10, b"b")))]);
    commit(&disk, 3, vec![(1, Some(ship(1, 10, b"c")))]);
    let flags = |disk: &Disk| disk.state().read().recent.iter().filter(|(key, _)| key.starts_with(b"I")).count();
    assert_eq!(flags(&disk), 1);
    disk.state().settle().unwrap();
    // This one is there, so that it has to be said that it is gone.
    commit(&disk, 4, vec![(1, None)]);
    assert_eq!(flags(&disk), 1);
    commit(&disk, 5, vec![(1, Some(ship(1, 10, b"c")))]);
    commit(&disk, 6, vec![(1, None)]);
    assert_eq!(flags(&disk), 1);
    disk.state().settle().unwrap();
    assert!(content(&disk).iter().all(|(key, _)| !key.starts_with(b"I")));
}

#[test]
fn what_is_not_in_the_tree_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
    assert_eq!(disk.state().unsettled(), 0);
    commit(&disk, 1, vec![(1, Some(ship(1, 10_000, b"a")))]);
    assert!((10_000..12_000).contains(&disk.state().unsettled()));
    disk.state().settle().unwrap();
    assert_eq!(disk.state().unsettled(), 0);
}
