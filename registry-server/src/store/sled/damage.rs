//! A state that something was done to: the store opens with all revisions all the same, as the log has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::SledStore;
use super::disk::Disk;
use super::tests::{CACHE, assert_has, commit, logged, open, reopen};
use crate::store::conformance::{LAYOUT, SHIP};
use crate::store::{Read as _, Store as _, StoreError};

/// So many that the state has several segments of sled's: it looks at no more than the last ones when it is opened.
const REVISIONS: u64 = 400;

/// The files of a state, by their names in its folder.
type State = BTreeMap<PathBuf, Vec<u8>>;

struct Written {
    folder: TempDir,
    /// As it lies there when the store was closed.
    closed: State,
    /// As a process leaves it that is killed.
    killed: State,
    /// Of another store.
    other: State,
}

fn payload() -> Bytes {
    Bytes::from((0..7500u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>())
}

/// A store with so many revisions; and its state while it was open.
fn write(folder: &Path) -> State {
    let add = |revisions: std::ops::Range<u64>| {
        let (disk, _) = reopen(|| Disk::open(folder, CACHE, &LAYOUT)).unwrap();
        revisions.step_by(2).for_each(|first| disk.append(logged(first, &payload())).unwrap());
    };
    add(1..REVISIONS / 2);
    // Opened in between, so that the state grows in steps, and has parts from before and from after.
    drop(reopen(|| Disk::open(folder, CACHE, &LAYOUT)).unwrap());
    add(REVISIONS / 2 + 1..REVISIONS);
    drop(reopen(|| Disk::open(folder, CACHE, &LAYOUT)).unwrap());
    let open = reopen(|| Disk::open(folder, CACHE, &LAYOUT)).unwrap();
    let killed = read(folder);
    drop(open);
    killed
}

fn read(folder: &Path) -> State {
    let state = folder.join("state");
    let (mut files, mut folders) = (State::new(), vec![state.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                files.insert(entry.strip_prefix(&state).unwrap().to_owned(), std::fs::read(entry).unwrap());
            }
        }
    }
    files
}

static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
    let (folder, another) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let killed = write(folder.path());
    write(another.path());
    Written { closed: read(folder.path()), killed, other: read(another.path()), folder }
});

/// What may become of a file of the state.
#[derive(Debug, Clone)]
enum Change {
    Flip {
        at: Index,
        bit: u8,
    },
    Zero {
        at: Index,
        length: usize,
    },
    Garbage {
        at: Index,
        bytes: Vec<u8>,
    },
    Cut {
        at: Index,
    },
    Remove,
    /// The file of this name in the state of another store.
    Other,
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            4 => (at(), 0..8u8).prop_map(|(at, bit)| Self::Flip { at, bit }),
            2 => (at(), 1..100_000usize).prop_map(|(at, length)| Self::Zero { at, length }),
            2 => (at(), prop::collection::vec(any::<u8>(), 1..400)).prop_map(|(at, bytes)| Self::Garbage { at, bytes }),
            2 => at().prop_map(|at| Self::Cut { at }),
            1 => Just(Self::Remove),
            1 => Just(Self::Other),
        ]
    }

    fn befall(&self, state: &mut State, file: &Path) {
        let Some(bytes) = state.get_mut(file).filter(|bytes| !bytes.is_empty()) else { return };
        // sled makes files longer than what is in them.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        match self {
            Self::Flip { at, bit } => bytes[at.index(end)] ^= 1 << bit,
            Self::Zero { at, length } => bytes.iter_mut().skip(at.index(end)).take(*length).for_each(|byte| *byte = 0),
            Self::Garbage { at, bytes: garbage } => {
                bytes.iter_mut().skip(at.index(end)).zip(garbage).for_each(|(byte, garbage)| *byte = *garbage);
            }
            Self::Cut { at } => bytes.truncate(at.index(end)),
            Self::Remove => drop(state.remove(file)),
            Self::Other => {
                let others = WRITTEN.other.iter().find(|(name, _)| name.extension() == file.extension());
                *bytes = others.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
            }
        }
    }
}

/// The store of [`WRITTEN`] with another state.
fn lay_out(state: &State) -> TempDir {
    let store = tempfile::tempdir().unwrap();
    let from = WRITTEN.folder.path();
    std::fs::create_dir(store.path().join("log")).unwrap();
    for file in ["store.json", "acknowledged", "log/00000000000000000001.log"] {
        if from.join(file).exists() {
            std::fs::copy(from.join(file), store.path().join(file)).unwrap();
        }
    }
    for (name, bytes) in state {
        let path = store.path().join("state").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    store
}

async fn read_all(store: &SledStore) -> Result<(), StoreError> {
    for revision in 1..=REVISIONS {
        store.get(SHIP, revision.to_string().as_bytes()).await?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_becomes_of_the_state_the_store_has_all_revisions(
        killed in any::<bool>(),
        anywhere in any::<bool>(),
        file in any::<Index>(),
        changes in prop::collection::vec(Change::any(), 1..3),
    ) {
        let mut state = if killed { &WRITTEN.killed } else { &WRITTEN.closed }.clone();
        let names: Vec<_> = state.keys().cloned().collect();
        // Most of it is in the one.
        let file = if anywhere { file.get(&names) } else { Path::new("db") };
        for change in changes {
            change.befall(&mut state, file);
        }
        let folder = lay_out(&state);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut store = open(folder.path()).unwrap();
            if let Err(found) = read_all(&store).await {
                // What shows only when it is come to is mended with the next start.
                assert!(matches!(&found, StoreError::Damaged(what) if what.contains("/state: ")), "{found}");
                drop(store);
                store = open(folder.path()).unwrap();
            }
            assert_has(&store, REVISIONS, REVISIONS, &payload()).await;
            commit(&store, b"one more").await;
            drop(store);
            let store = open(folder.path()).unwrap();
            assert_eq!(*store.head().borrow(), REVISIONS + 1);
        });
    }
}
