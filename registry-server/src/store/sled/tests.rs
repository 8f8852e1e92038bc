//! The conformance suite on sled, and what is sled's own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use tempfile::TempDir;
use uuid::Uuid;

use super::SledStore;
use super::about::About;
use super::disk::{Disk, store_error};
use super::physical::{Overrides, record_key};
use super::state::{SEGMENT_BYTES, State};
use crate::store::conformance::{BY_FLAG, BY_PORT, Backend, LAYOUT, PORT, SHIP, conformance};
use crate::store::{Decision, Place, Put, Read as _, Store, StoreError, Transaction};
use crate::stored::{self as stored, LogEntry, LogGroup, LoggedWrite, logged_write::Value};

pub(super) const CACHE: u64 = 16 * 1024 * 1024;

struct Sled {
    folder: TempDir,
    store: SledStore,
}

/// Opens a store that was closed a moment ago: threads of sled hold its lock until they have run out.
pub(super) fn reopen<T>(open: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let started = Instant::now();
    loop {
        match open() {
            Err(StoreError::Unavailable(_)) if started.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

pub(super) fn open(folder: &Path) -> Result<SledStore, StoreError> {
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
pub(super) fn logged(first: u64, payload: &Bytes) -> LogGroup {
    let write = |revision: u64, value| LoggedWrite {
        kind: SHIP.0.into(),
        key: Bytes::from(revision.to_string()),
        places: vec![stored::Place { slot: BY_FLAG.slot.into(), value: Bytes::from_static(b"red") }],
        value: Some(value),
        replaced: None,
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
        let (disk, _) = Disk::open(folder.path(), CACHE, &LAYOUT).unwrap();
        for first in [1, 3, 5] {
            disk.append(logged(first, &payload)).unwrap();
        }
    }
    assert_has(&open(folder.path()).unwrap(), 6, 6, &payload).await;
}

pub(super) async fn assert_has(store: &SledStore, ships: u64, newest: u64, payload: &Bytes) {
    assert_eq!(*store.head().borrow(), newest);
    for revision in 1..=ships {
        let record = store.get(SHIP, revision.to_string().as_bytes()).await.unwrap().unwrap();
        assert!(record.revision == revision && record.payload == payload);
    }
}

/// What the state is damaged by, or gone, costs time only: the log has everything.
#[tokio::test]
async fn a_state_that_can_not_be_used_is_made_of_the_log_again() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let payload = Bytes::from(vec![7; 1000]);
    for (at, first) in [(&folder, 1), (&other, 1), (&other, 3)] {
        let (disk, _) = reopen(|| Disk::open(at.path(), CACHE, &LAYOUT)).unwrap();
        disk.append(logged(first, &payload)).unwrap();
    }
    let state = folder.path().join("state");
    let replace_all = || {
        for entry in std::fs::read_dir(&state).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            std::fs::write(entry.path(), vec![0xff; 100_000]).unwrap();
        }
    };
    let copy_other = || {
        std::fs::remove_dir_all(&state).unwrap();
        let copied = std::process::Command::new("cp").arg("-r").arg(other.path().join("state")).arg(&state).status();
        assert!(copied.unwrap().success());
    };
    let machine_went_down = || {
        let about = About::read(folder.path()).unwrap().unwrap();
        assert_eq!(about.open_since_boot, None, "it was closed");
        About { open_since_boot: Some("an earlier time".to_owned()), ..about }.write(folder.path()).unwrap();
        // What is older than the newest revision that was applied may be lost then.
        let db = reopen(|| sled::Config::new().path(&state).segment_size(SEGMENT_BYTES).open().map_err(store_error))
            .unwrap();
        db.open_tree("state").unwrap().remove(record_key(SHIP, b"1")).unwrap();
    };
    let remove = || std::fs::remove_dir_all(&state).unwrap();
    let changes: [&dyn Fn(); 4] = [&remove, &replace_all, &copy_other, &machine_went_down];
    for change in changes {
        assert_has(&open(folder.path()).unwrap(), 2, 2, &payload).await;
        drop(
            reopen(|| sled::Config::new().path(&state).segment_size(SEGMENT_BYTES).open().map_err(store_error))
                .unwrap(),
        );
        change();
        assert_has(&open(folder.path()).unwrap(), 2, 2, &payload).await;
    }
}

#[tokio::test]
async fn a_group_that_was_not_told_of_may_be_cut_off_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    commit(&store, b"one").await;
    commit(&store, b"two").await;
    drop(store);
    let log = folder.path().join("log/00000000000000000001.log");
    let bytes = std::fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let cut = || std::fs::write(&log, &bytes[..end]).unwrap();
    cut();
    let refused = reopen(|| SledStore::open(folder.path(), CACHE, &LAYOUT)).unwrap_err();
    assert!(matches!(refused, StoreError::Lost { newest: 1, noted: 2, .. }), "{refused}");
    assert_eq!(std::fs::read(&log).unwrap().len(), end, "nothing is lost by a refusal");
    std::fs::remove_file(folder.path().join("acknowledged")).unwrap();
    let store = open(folder.path()).unwrap();
    assert_eq!(*store.head().borrow(), 1);
    commit(&store, b"another two").await;
    assert_eq!(store.log(1, 9).await.unwrap()[0].events, "another two");
}

#[tokio::test]
async fn a_store_of_another_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let with_schema = |schema: u32| {
        drop(open(folder.path()));
        let about = About::read(folder.path()).unwrap().unwrap();
        About { schema, ..about.clone() }.write(folder.path()).unwrap();
        let refused = open(folder.path()).unwrap_err();
        about.write(folder.path()).unwrap();
        refused
    };
    let refused = with_schema(7);
    assert!(matches!(refused, StoreError::TooNew { found: 7, known: 5 }), "{refused}");
    let refused = with_schema(3);
    assert!(matches!(refused, StoreError::TooOld { found: 3, known: 5 }), "{refused}");
    assert!(refused.to_string().contains("earlier development version; make a new one"), "{refused}");
    // Nor is one that does not say which it is.
    let nameless = tempfile::tempdir().unwrap();
    drop(open(nameless.path()).unwrap());
    std::fs::remove_file(nameless.path().join("store.json")).unwrap();
    let refused = open(nameless.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged(what) if what.contains("store.json is missing")), "{refused}");
    // What the schemas before had is nothing to begin anew beside.
    let before = tempfile::tempdir().unwrap();
    std::fs::write(before.path().join("db"), b"sled").unwrap();
    let refused = open(before.path()).unwrap_err();
    assert!(matches!(refused, StoreError::TooOld { found: 4, known: 5 }), "{refused}");
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
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path(), CACHE, Uuid::nil(), false).unwrap();
    let record = (record_key(SHIP, b"key").into(), Some(golden("record-2.bin").into()));
    let mut overrides = Overrides::default();
    overrides.insert(record.0, record.1);
    state.add(&overrides, 7).unwrap();
    let record = super::physical::View::of(&state).get(SHIP, b"key").unwrap().unwrap();
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
pub(super) async fn commit(store: &SledStore, events: &'static [u8]) {
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
    let store = open(now.path()).unwrap();
    commit(&store, b"one").await;
    drop(store);
    drop(open(now.path()).unwrap());
    for part in ["store.json", "log"] {
        let copied = std::process::Command::new("cp").arg("-r").arg(now.path().join(part)).arg(earlier.path()).status();
        assert!(copied.unwrap().success());
    }
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
