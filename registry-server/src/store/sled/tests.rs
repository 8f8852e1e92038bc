//! The conformance suite on sled, and what is sled's own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use tempfile::TempDir;

use super::SledStore;
use super::disk::{Disk, store_error};
use crate::store::conformance::{BY_FLAG, BY_PORT, Backend, LAYOUT, PORT, SHIP, conformance};
use crate::store::{Decision, Place, Put, Read as _, Store, StoreError, Transaction};
use crate::stored::{self as stored, LogEntry, LogGroup, LoggedWrite, logged_write::Value};

const CACHE: u64 = 16 * 1024 * 1024;

struct Sled {
    folder: TempDir,
    store: SledStore,
}

/// Opens a store that was closed a moment ago: threads of sled hold its lock until they have run out.
fn reopen<T>(open: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let started = Instant::now();
    loop {
        match open() {
            Err(StoreError::Unavailable(_)) if started.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

fn open(folder: &Path) -> Result<SledStore, StoreError> {
    reopen(|| SledStore::open(folder, CACHE, &LAYOUT))
}

#[async_trait]
impl Backend for Sled {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: open(folder.path()).unwrap(), folder }
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn reopen(self) -> Self {
        let Self { folder, store } = self;
        drop(store);
        Self { store: open(folder.path()).unwrap(), folder }
    }
}

conformance!(Sled);

/// A group as a crash leaves it: in the log, but not in the state.
fn logged(first: u64, payload: &Bytes) -> LogGroup {
    let write = |revision: u64, value| LoggedWrite {
        kind: SHIP.0.into(),
        key: Bytes::from(revision.to_string()),
        places: vec![stored::Place { slot: BY_FLAG.slot.into(), value: Bytes::from_static(b"red") }],
        value: Some(value),
    };
    let range = stored::Range { offset: 2, length: payload.len() as u64 };
    let events = Bytes::from([b"e:", payload.as_ref()].concat());
    LogGroup {
        entries: vec![
            LogEntry {
                revision: first,
                events: events.clone(),
                writes: vec![write(first, Value::Payload(payload.clone()))],
            },
            LogEntry { revision: first + 1, events, writes: vec![write(first + 1, Value::InEvents(range))] },
        ],
    }
}

#[tokio::test]
async fn what_is_in_the_log_but_not_in_the_state_is_applied_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    let payload = Bytes::from(vec![7; 100_000]);
    {
        let disk = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
        for first in [1, 3, 5] {
            disk.append(&logged(first, &payload)).unwrap();
        }
        disk.sync().unwrap();
    }
    let store = open(folder.path()).unwrap();
    assert_eq!(*store.head().borrow(), 6);
    for revision in 1..=6u64 {
        let record = store.get(SHIP, revision.to_string().as_bytes()).await.unwrap().unwrap();
        assert!(record.revision == revision && record.payload == payload);
    }
}

/// The keys of the parts of a group in the log.
fn parts(log: &sled::Tree, first: u64) -> Vec<sled::IVec> {
    log.scan_prefix(first.to_be_bytes()).keys().collect::<Result<_, _>>().unwrap()
}

/// Changes the log of a store that nobody has open.
fn in_the_log<T>(folder: &Path, change: impl FnOnce(&sled::Tree) -> T) -> T {
    let config = sled::Config::new().path(folder).segment_size(super::disk::SEGMENT_BYTES);
    let db = reopen(|| config.open().map_err(store_error)).unwrap();
    change(&db.open_tree("log").unwrap())
}

#[tokio::test]
async fn a_last_group_that_was_not_written_whole_is_dropped() {
    let payload = Bytes::from(vec![7; 100_000]);
    for missing in 0..7 {
        let folder = tempfile::tempdir().unwrap();
        {
            let disk = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
            disk.append(&logged(1, &payload)).unwrap();
            disk.append(&logged(3, &payload)).unwrap();
            disk.sync().unwrap();
        }
        in_the_log(folder.path(), |log| {
            let parts = parts(log, 3);
            assert!(parts.len() >= 7, "{}", parts.len());
            log.remove(&parts[missing]).unwrap();
        });
        let store = open(folder.path()).unwrap();
        assert_eq!(*store.head().borrow(), 2, "part {missing}");
        drop(store);
        assert_eq!(in_the_log(folder.path(), |log| parts(log, 3).len()), 0);
    }
}

#[tokio::test]
async fn a_group_that_was_told_of_and_lost_a_part_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    {
        let disk = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
        disk.append(&logged(1, &Bytes::from(vec![7; 100_000]))).unwrap();
        disk.sync().unwrap();
    }
    drop(open(folder.path()).unwrap());
    in_the_log(folder.path(), |log| log.remove(&parts(log, 1)[1]).unwrap());
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged(what) if what.contains("lost a part")), "{refused}");
}

#[tokio::test]
async fn a_gap_in_the_log_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    {
        let disk = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
        disk.append(&logged(1, &Bytes::new())).unwrap();
        disk.append(&logged(4, &Bytes::new())).unwrap();
        disk.sync().unwrap();
    }
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged(what) if what.contains("revision 4 where 3 belongs")), "{refused}");
}

#[tokio::test]
async fn a_store_of_another_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let with_schema = |schema: u32| {
        drop(open(folder.path()));
        let config = sled::Config::new().path(folder.path()).segment_size(super::disk::SEGMENT_BYTES);
        let db = reopen(|| config.open().map_err(store_error)).unwrap();
        db.insert(b"schema", &schema.to_be_bytes()).unwrap();
        drop(db);
        open(folder.path()).unwrap_err()
    };
    let refused = with_schema(7);
    assert!(matches!(refused, StoreError::TooNew { found: 7, known: 4 }), "{refused}");
    let refused = with_schema(3);
    assert!(matches!(refused, StoreError::TooOld { found: 3, known: 4 }), "{refused}");
    assert!(refused.to_string().contains("earlier development version; make a new one"), "{refused}");
}

struct Panics;

#[async_trait]
impl Decision for Panics {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        tx.remove(PORT, b"x").await?;
        panic!("a fault in a decision");
    }
}

#[tokio::test]
async fn a_decision_that_panics_ends_nobody_else() {
    let Sled { store, folder: _folder } = Sled::open().await;
    let panicked = store.commit(Arc::new(Panics)).await;
    assert!(panicked.is_err());
    assert_eq!(*store.head().borrow(), 0);
    let conformant = Sled { store, folder: tempfile::tempdir().unwrap() };
    assert!(conformant.store().snapshot().await.is_ok());
}

/// What this program writes since schema 2. It has to be read for good: a new format gets a new byte and a golden of its own.
#[tokio::test]
async fn old_bytes_are_still_read() {
    let golden = |name: &str| {
        let path = format!("{}/src/store/sled/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    };
    let db = sled::Config::new().temporary(true).open().unwrap();
    db.insert(super::physical::record_key(SHIP, b"key"), golden("record-2.bin")).unwrap();
    let record = super::physical::View::of(&db).get(SHIP, b"key").unwrap().unwrap();
    assert_eq!((record.revision, record.payload), (7, Bytes::from_static(b"payload")));

    let group = LogGroup::decode(golden("group-2.bin").as_slice()).unwrap();
    assert_eq!(group, logged(3, &Bytes::from_static(b"payload")));
}

#[test]
fn golden_bytes_are_those_of_today() {
    let put = Put {
        kind: SHIP,
        key: b"key".to_vec(),
        payload: Bytes::from_static(b"payload"),
        places: [(BY_PORT, "place"), (BY_FLAG, "blue"), (BY_FLAG, "red")]
            .map(|(index, value)| Place { slot: index.slot, value: value.into() })
            .to_vec(),
    };
    let (_, record) = super::physical::entries_of(&put, 7, 0).swap_remove(0);
    let group = logged(3, &Bytes::from_static(b"payload")).encode_to_vec();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sled/golden");
    assert_eq!(std::fs::read(folder.join("record-2.bin")).unwrap(), record);
    assert_eq!(std::fs::read(folder.join("group-2.bin")).unwrap(), group);
}

/// Adds an entry without writes.
async fn commit(store: &SledStore, events: &'static [u8]) {
    struct Say(&'static [u8]);

    #[async_trait]
    impl Decision for Say {
        async fn decide(&self, _: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
            Ok(Some(Bytes::from_static(self.0)))
        }
    }
    store.commit(Arc::new(Say(events))).await.unwrap();
}

/// What was acknowledged and is gone, or is another revision now, is no store to go on with.
#[tokio::test]
async fn a_store_that_lost_acknowledged_revisions_is_refused_and_says_how_many() {
    let (now, earlier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copy_of_db = |from: &Path, to: &Path| {
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            if entry.file_type().unwrap().is_file() && name != "acknowledged" {
                std::fs::copy(entry.path(), to.join(name)).unwrap();
            }
        }
    };
    let store = open(now.path()).unwrap();
    commit(&store, b"one").await;
    drop(store);
    drop(open(now.path()).unwrap());
    copy_of_db(now.path(), earlier.path());
    let store = open(now.path()).unwrap();
    commit(&store, b"two").await;
    commit(&store, b"three").await;
    drop(store);
    // As it was, it is opened.
    drop(open(now.path()).unwrap());

    let file = now.path().join("acknowledged");
    std::fs::copy(&file, earlier.path().join("acknowledged")).unwrap();
    let refused = open(earlier.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Lost { newest: 1, noted: 3, .. }), "{refused}");
    let said = refused.to_string();
    for part in ["revision 3 was acknowledged", "ends at 1: the newest 2 revisions are lost", "Restore a backup"] {
        assert!(said.contains(part), "{said}");
    }
    // Whoever wants to can go on without them; then the numbers are given to others.
    std::fs::remove_file(earlier.path().join("acknowledged")).unwrap();
    let store = open(earlier.path()).unwrap();
    for events in [b"dos".as_slice(), b"tres", b"cuatro"] {
        commit(&store, events).await;
    }
    drop(store);
    drop(open(earlier.path()).unwrap());
    std::fs::copy(&file, earlier.path().join("acknowledged")).unwrap();
    let refused = open(earlier.path()).unwrap_err();
    assert!(refused.to_string().contains("the store has another revision 3 than that"), "{refused}");
}
