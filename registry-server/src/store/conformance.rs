//! What every store has to do, as one suite that runs on each.
//!
//! [`conformance!`] lists the cases; a case that is not listed is dead code and does not compile without a warning.

mod compaction;
mod heard;
mod kinds;
mod past;
mod places;
mod restore;
mod slate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use tokio::sync::Semaphore;

pub(super) use self::compaction::*;
pub(super) use self::heard::*;
pub(super) use self::kinds::*;
pub(super) use self::past::*;
pub(super) use self::places::*;
pub(super) use self::restore::*;
pub(super) use self::slate::*;
use super::{
    Decision, Hit, Kind, Place, Put, Range, Read, Revision, SCAN_BYTES, Source, Store, StoreError, Transaction,
};

/// A store under test.
#[async_trait]
pub(super) trait Backend: Sized {
    async fn open() -> Self;
    fn store(&self) -> &dyn Store;
    /// The same store, closed and opened again.
    async fn reopen(self) -> Self;
}

macro_rules! conformance {
    ($backend:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                crate::store::conformance::$case::<$backend>().await;
            }
        )+
    };
    ($backend:ty) => {
        crate::store::conformance::conformance!(
            $backend: a_commit_is_read_back, revisions_are_contiguous_under_concurrency, nothing_logged_is_nothing_kept,
            decisions_see_what_earlier_ones_staged, indexes_follow_their_records, long_records_are_whole,
            a_scan_ends_when_it_has_enough, the_log_is_read_from_anywhere, a_snapshot_stays_as_it_was, everything_survives_reopening,
            scans_agree_with_a_sorted_map, what_one_store_changed_another_restores, a_restore_with_a_gap_changes_nothing,
            changes_end_when_they_have_enough, what_nobody_waits_for_is_not_decided, a_decision_hears_that_it_is_durable_whoever_waits,
            a_store_is_whole_again_with_the_last_step_of_a_restore,
            a_store_keeps_its_identity_and_is_restored_without_another_s, a_record_may_have_several_places_in_an_index,
            a_decision_sees_the_places_that_it_wrote, what_the_layout_does_not_have_is_refused,
            the_beginning_of_the_log_can_be_dropped, the_newest_revision_is_never_dropped,
            a_write_tells_which_one_it_replaces, a_slate_is_swapped_by_one_at_a_time,
            a_slate_is_no_part_of_the_log_and_is_kept,
        );
    };
}
pub(super) use conformance;

/// One change that a test makes: a ship of a name with a payload, in a port; or none.
#[derive(Debug, Clone)]
enum Change {
    Put(u8, Vec<u8>, Option<u8>),
    Remove(u8),
}

fn put(key: &[u8], payload: &[u8], place: Option<&[u8]>) -> Put {
    let place = place.map(|place| Place { slot: BY_PORT.slot, value: place.to_vec() });
    let payload = Bytes::copy_from_slice(payload);
    Put { kind: SHIP, key: key.to_vec(), payload, places: place.into_iter().collect() }
}

/// Writes, and logs its own revision unless it is told to give up. Notes which ships it saw.
struct Writes {
    changes: Vec<Change>,
    puts: Vec<Put>,
    give_up: bool,
    seen: Mutex<Vec<Hit>>,
}

/// The ship of a change: it has a flag for each byte of its payload, and a berth as well if it is in a port.
fn changed(key: u8, payload: &[u8], place: Option<u8>) -> Put {
    let mut put = put(&[key], payload, place.as_ref().map(std::slice::from_ref));
    let flags = payload.iter().map(|flag| Place { slot: BY_FLAG.slot, value: vec![*flag] });
    put.places.extend(flags.chain(place.map(|berth| Place { slot: BY_BERTH.slot, value: vec![berth] })));
    put
}

impl Writes {
    fn puts(puts: Vec<Put>) -> Arc<Self> {
        Arc::new(Self { changes: Vec::new(), puts, give_up: false, seen: Mutex::default() })
    }

    fn changes(changes: Vec<Change>, give_up: bool) -> Arc<Self> {
        Arc::new(Self { changes, puts: Vec::new(), give_up, seen: Mutex::default() })
    }
}

#[async_trait]
impl Decision for Writes {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        for put in &self.puts {
            tx.put(put.clone()).await?;
        }
        for change in &self.changes {
            match change {
                Change::Put(key, payload, place) => tx.put(changed(*key, payload, *place)).await?,
                Change::Remove(key) => tx.remove(SHIP, &[*key]).await?,
            }
        }
        let seen = tx.scan(Source::Kind(SHIP), &Range::first(Vec::new(), usize::MAX)).await?;
        *self.seen.lock().unwrap() = seen;
        Ok((!self.give_up).then(|| Bytes::from(tx.revision().to_string())))
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.puts.iter().map(|put| (put.kind, put.key.clone())).collect()
    }
}

/// Writes a record, and logs it as well.
struct LogsItsPayload(Put);

#[async_trait]
impl Decision for LogsItsPayload {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        tx.put(self.0.clone()).await?;
        Ok(Some(Bytes::from([b"written: ", self.0.payload.as_ref()].concat())))
    }
}

async fn write(store: &dyn Store, key: &[u8], payload: &[u8]) -> Revision {
    store.commit(Writes::puts(vec![put(key, payload, None)])).await.unwrap().unwrap()
}

async fn read(store: &dyn Store, key: &[u8]) -> Option<(Vec<u8>, Revision)> {
    let record = store.get(SHIP, key).await.unwrap();
    record.map(|record| (record.payload.to_vec(), record.revision))
}

/// Not a borrow in an expression that goes on to wait: the store could not move its head meanwhile.
fn head(store: &dyn Store) -> Revision {
    *store.head().borrow()
}

async fn keys(reader: &(impl Read + ?Sized), source: Source, range: Range) -> Vec<Vec<u8>> {
    reader.scan(source, &range).await.unwrap().into_iter().map(|hit| hit.record.key).collect()
}

pub(super) async fn a_commit_is_read_back<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    assert_eq!((head(store), read(store, b"a").await), (0, None));
    assert_eq!(write(store, b"a", b"one").await, 1);
    assert_eq!(write(store, b"a", b"two").await, 2);
    assert_eq!((head(store), read(store, b"a").await), (2, Some((b"two".to_vec(), 2))));
    assert_eq!(store.newest().await.unwrap(), 2);
    assert!(*store.healthy().borrow());
    assert!(store.get(PORT, b"a").await.unwrap().is_none(), "a key belongs to its kind");
}

pub(super) async fn revisions_are_contiguous_under_concurrency<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let commits = (0..200u8).map(|i| async move { write(store, &[i], &[i]).await });
    let mut revisions = join_all(commits).await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=200).collect::<Vec<_>>());
    assert_eq!(head(store), 200);
    let logged = store.log(0, usize::MAX).await.unwrap();
    assert!(logged.iter().zip(1..).all(|(entry, revision)| entry.events == revision.to_string()));
}

pub(super) async fn nothing_logged_is_nothing_kept<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    write(store, &[1], b"kept").await;
    let given_up =
        Writes::changes(vec![Change::Put(1, b"lost".to_vec(), Some(1)), Change::Put(2, Vec::new(), None)], true);
    // In one group with others, before and behind.
    let commits: [Arc<Writes>; 3] = [
        Writes::changes(vec![Change::Put(3, b"before".to_vec(), None)], false),
        given_up,
        Writes::changes(vec![Change::Put(4, b"behind".to_vec(), None)], false),
    ];
    let outcomes = join_all(commits.map(|writes| store.commit(writes))).await;
    assert!(outcomes[1].as_ref().unwrap().is_none());
    assert_eq!(read(store, &[1]).await, Some((b"kept".to_vec(), 1)));
    assert_eq!(keys(store, Source::Kind(SHIP), Range::first(Vec::new(), 10)).await, [[1], [3], [4]]);
    assert!(keys(store, Source::Index(BY_PORT), Range::first(Vec::new(), 10)).await.is_empty());
    assert_eq!(head(store), 3);
}

pub(super) async fn decisions_see_what_earlier_ones_staged<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let all: Vec<_> = (0..50u8).map(|i| Writes::changes(vec![Change::Put(i, Vec::new(), None)], false)).collect();
    let revisions = join_all(all.iter().map(|writes| store.commit(Arc::clone(writes) as _))).await;
    for (writes, revision) in all.iter().zip(revisions) {
        let seen = writes.seen.lock().unwrap().len() as Revision;
        assert_eq!(seen, revision.unwrap().unwrap(), "each sees those before it, and itself");
    }
}

/// Says that it was begun, and goes on when it is told to.
struct Slow {
    begun: Semaphore,
    told: Semaphore,
}

#[async_trait]
impl Decision for Slow {
    async fn decide(&self, _: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        self.begun.add_permits(1);
        self.told.acquire().await.unwrap().forget();
        Ok(None)
    }
}

pub(super) async fn what_nobody_waits_for_is_not_decided<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let slow = Arc::new(Slow { begun: Semaphore::new(0), told: Semaphore::new(0) });
    let abandoned = Writes::changes(vec![Change::Put(1, Vec::new(), None)], false);
    let abandon = async {
        slow.begun.acquire().await.unwrap().forget();
        let mut waiting = store.commit(Arc::clone(&abandoned) as _);
        assert!(futures::poll!(&mut waiting).is_pending(), "its turn comes behind the slow one");
        drop(waiting);
        slow.told.add_permits(1);
    };
    let (nothing, ()) = futures::join!(store.commit(Arc::clone(&slow) as _), abandon);
    assert_eq!(nothing.unwrap(), None);
    assert_eq!(write(store, &[2], b"").await, 1);
    assert!(read(store, &[1]).await.is_none() && abandoned.seen.lock().unwrap().is_empty());
}

pub(super) async fn indexes_follow_their_records<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let index = Source::Index(BY_PORT);
    let all = || Range::first(Vec::new(), 10);
    let entries = vec![put(b"x", b"", Some(b"2")), put(b"y", b"", Some(b"1")), put(b"z", b"", None)];
    store.commit(Writes::puts(entries)).await.unwrap();
    assert_eq!(keys(store, index, all()).await, [b"y", b"x"]);
    store.commit(Writes::puts(vec![put(b"x", b"", Some(b"0")), put(b"z", b"", Some(b"0"))])).await.unwrap();
    assert_eq!(keys(store, index, all()).await, [b"x", b"z", b"y"], "equal places are ordered by key");
    assert_eq!(keys(store, index, Range::first(b"0".to_vec(), 10)).await, [b"x", b"z"]);
    assert_eq!(keys(store, index, Range::last(Vec::new(), 2)).await, [b"y", b"z"]);
    store.commit(Writes::puts(vec![put(b"y", b"", None)])).await.unwrap();
    store
        .commit(Writes::changes(vec![Change::Put(b'x', Vec::new(), None), Change::Remove(b'z')], false))
        .await
        .unwrap();
    assert!(keys(store, index, all()).await.is_empty());
}

pub(super) async fn long_records_are_whole<B: Backend>() {
    let backend = B::open().await;
    let long = |seed: usize, length: usize| (0..length).map(|i| (i * 31 + i / 255 + seed) as u8).collect::<Vec<u8>>();
    let lengths = [0, 1, 32 * 1024 - 40, 32 * 1024, 100_000, 1_500_000];
    for (i, length) in lengths.iter().enumerate() {
        write(backend.store(), &[i as u8], &long(i, *length)).await;
    }
    // Longer by shorter, and shorter by longer.
    write(backend.store(), &[5], b"short").await;
    write(backend.store(), &[0], &long(7, 200_000)).await;
    let backend = backend.reopen().await;
    for (i, length) in lengths.iter().enumerate().take(5).skip(1) {
        assert!(read(backend.store(), &[i as u8]).await.unwrap().0 == long(i, *length), "{length}");
    }
    assert_eq!(read(backend.store(), &[5]).await.unwrap().0, b"short");
    assert!(read(backend.store(), &[0]).await.unwrap().0 == long(7, 200_000));
    let logged = backend.store().log(0, usize::MAX).await.unwrap();
    assert_eq!(logged.len(), 8);
}

pub(super) async fn a_scan_ends_when_it_has_enough<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    for key in 0..4u8 {
        write(store, &[key], &vec![key; SCAN_BYTES / 2]).await;
    }
    let source = Source::Kind(SHIP);
    assert_eq!(keys(store, source, Range::first(Vec::new(), 10)).await, [[0], [1]]);
    let rest = Range { after: Some(vec![1]), ..Range::first(Vec::new(), 10) };
    assert_eq!(keys(store, source, rest).await, [[2], [3]]);
}

pub(super) async fn the_log_is_read_from_anywhere<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    join_all((0..100u8).map(|i| async move { write(store, &[i], &[0; 3000]).await })).await;
    for (after, limit, expected) in
        [(0, 3, 1..4), (1, 2, 2..4), (57, 10, 58..68), (98, 10, 99..101), (100, 10, 0..0), (u64::MAX, 1, 0..0)]
    {
        let revisions: Vec<_> = store.log(after, limit).await.unwrap().iter().map(|entry| entry.revision).collect();
        assert_eq!(revisions, expected.collect::<Vec<_>>(), "after {after}");
    }
}

pub(super) async fn a_snapshot_stays_as_it_was<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let first = vec![put(b"a", b"1", Some(b"1")), put(b"b", b"1", Some(b"2")), put(b"c", b"1", None)];
    store.commit(Writes::puts(first)).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    store.commit(Writes::puts(vec![put(b"a", b"2", None), put(b"d", b"2", Some(b"0"))])).await.unwrap();
    store.commit(Writes::changes(vec![Change::Remove(b'b')], false)).await.unwrap();
    let later = store.snapshot().await.unwrap();

    assert_eq!(snapshot.revision(), 1);
    let payload = snapshot.get(SHIP, b"a").await.unwrap().unwrap().payload;
    assert_eq!(payload, b"1".as_slice());
    let (records, index) = (Source::Kind(SHIP), Source::Index(BY_PORT));
    let all = || Range::first(Vec::new(), 10);
    assert_eq!(keys(&*snapshot, records, all()).await, [b"a", b"b", b"c"]);
    assert_eq!(keys(&*snapshot, index, all()).await, [b"a", b"b"]);
    assert_eq!(
        (later.revision(), keys(&*later, records, all()).await),
        (3, vec![b"a".into(), b"c".into(), b"d".into()])
    );
    assert_eq!(keys(&*later, index, all()).await, [b"d"]);
}

pub(super) async fn everything_survives_reopening<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    join_all((0..100u8).map(|i| async move { write(store, &[i % 10], &[i]).await })).await;
    let source = Source::Kind(SHIP);
    let all = Range::first(Vec::new(), usize::MAX);
    let before = (backend.store().scan(source, &all).await.unwrap(), backend.store().log(0, 1000).await.unwrap());
    let backend = backend.reopen().await;
    assert_eq!(head(backend.store()), 100);
    let after = (backend.store().scan(source, &all).await.unwrap(), backend.store().log(0, 1000).await.unwrap());
    assert_eq!(before, after);
    assert_eq!(write(backend.store(), b"next", b"").await, 101);
}

/// Everything that reads can tell of a store.
async fn contents(store: &dyn Store) -> (Vec<Vec<Hit>>, Vec<super::LogEntry>) {
    (scans(store).await, store.log(0, usize::MAX).await.unwrap())
}

/// All records, in all orders.
async fn scans(store: &dyn Store) -> Vec<Vec<Hit>> {
    let mut scans = Vec::new();
    for source in LAYOUT.sources() {
        scans.push(store.scan(source, &Range::first(Vec::new(), usize::MAX)).await.unwrap());
    }
    scans
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..16u8, proptest::collection::vec(0..4u8, 0..4), proptest::option::of(0..4u8))
            .prop_map(|(key, payload, place)| Change::Put(key, payload, place)),
        1 => (0..16u8).prop_map(Change::Remove),
    ]
}

fn range() -> impl Strategy<Value = Range> {
    (proptest::option::of(0..16u8), any::<bool>(), 1..6usize).prop_map(|(after, reverse, limit)| Range {
        prefix: Vec::new(),
        after: after.map(|after| vec![after]),
        reverse,
        limit,
    })
}

/// The keys that a scan should find among sorted positions.
fn expected(entries: &BTreeMap<Vec<u8>, u8>, range: &Range) -> Vec<Vec<u8>> {
    let mut positions: Vec<_> = entries.iter().collect();
    if range.reverse {
        positions.reverse();
    }
    let behind = |position: &[u8]| match &range.after {
        Some(after) if range.reverse => position < after.as_slice(),
        Some(after) => position > after.as_slice(),
        None => true,
    };
    positions.into_iter().filter(|(at, _)| behind(at)).take(range.limit).map(|(_, key)| vec![*key]).collect()
}

pub(super) async fn scans_agree_with_a_sorted_map<B: Backend>() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 24, ..Default::default() });
    let script = proptest::collection::vec((proptest::collection::vec(change(), 1..6), any::<bool>(), range()), 1..12);
    for _ in 0..runner.config().cases {
        let script = script.new_tree(&mut runner).unwrap().current();
        let backend = B::open().await;
        let mut records: BTreeMap<u8, (Vec<u8>, Option<u8>)> = BTreeMap::new();
        for (changes, give_up, range) in script {
            if !give_up {
                for change in &changes {
                    match change {
                        Change::Put(key, payload, place) => {
                            records.insert(*key, (payload.clone(), *place));
                        }
                        Change::Remove(key) => {
                            records.remove(key);
                        }
                    }
                }
            }
            backend.store().commit(Writes::changes(changes, give_up)).await.unwrap();
            let by_key = records.keys().map(|key| (vec![*key], *key)).collect();
            let by_place: BTreeMap<_, _> =
                records.iter().filter_map(|(key, (_, place))| Some((vec![(*place)?, *key], *key))).collect();
            let flags = |(key, (flags, _)): (&u8, &(Vec<u8>, _))| {
                flags.iter().map(|flag| (vec![*flag, *key], *key)).collect::<Vec<_>>()
            };
            let by_flag = records.iter().flat_map(flags).collect();
            for (source, entries) in [
                (Source::Kind(SHIP), by_key),
                (Source::Index(BY_PORT), by_place.clone()),
                (Source::Index(BY_BERTH), by_place),
                (Source::Index(BY_FLAG), by_flag),
            ] {
                let found = keys(backend.store(), source, range.clone()).await;
                assert_eq!(found, expected(&entries, &range), "{source:?} {range:?}");
            }
        }
    }
}
