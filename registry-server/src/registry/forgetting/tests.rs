//! Passes over a log whose times are known, on both stores.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use tempfile::TempDir;

use super::*;
use crate::backup::verify::verify;
use crate::chunks::ChunkStore;
use crate::encryption::data::DataKeys;
use crate::encryption::master::MasterKeys;
use crate::places::Folder;
use crate::registry::commit::{CHAIN_START, link};
use crate::registry::kinds::LAYOUT;
use crate::registry::tree::Tree;
use crate::rules::quota::Limits;
use crate::store::postgres::tests::Schema;
use crate::store::postgres::{PostgresOptions, PostgresStore};
use crate::store::sled::SledStore;
use crate::store::{Pages, Source, Store};
use crate::stored::logged_write::Value;
use crate::stored::{ChainHeadRecord, LoggedWrite, RequestRecord};

const KEEP: Duration = Duration::from_secs(100);

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// A revision of a log: when it was, and under which request id.
type Asked = (u64, Option<Uuid>);

/// Requests a second apart, of which some had no id.
fn requests(count: u64) -> Vec<Asked> {
    (1..=count).map(|second| (second, (second % 7 > 0).then(Uuid::new_v4))).collect()
}

/// The ids of those at these seconds, in the order of the records.
fn ids(requests: &[Asked], seconds: impl std::ops::RangeBounds<u64>) -> Vec<Uuid> {
    let within = requests.iter().filter(|(second, _)| seconds.contains(second));
    let mut ids: Vec<_> = within.filter_map(|(_, id)| *id).collect();
    ids.sort_unstable();
    ids
}

/// The log of these requests.
fn log(requests: &[Asked]) -> Vec<crate::stored::LogEntry> {
    let write = |kind: Kind, key: &[u8], record: Vec<u8>| LoggedWrite {
        kind: kind.0.into(),
        key: Bytes::copy_from_slice(key),
        places: Vec::new(),
        value: Some(Value::Payload(record.into())),
        replaced: None,
    };
    let mut head = ChainHeadRecord { hash: Bytes::from_static(&CHAIN_START), ..Default::default() };
    let entry = |(revision, (second, id)): (Revision, &Asked)| {
        let create_time = Some(at(*second).into());
        let number = revision.cast_signed();
        let request_id = id.map(|id| id.to_string()).unwrap_or_default();
        let mut event = pb::Event { revision: number, create_time, request_id, ..Default::default() };
        let mut tree = Tree::of(&head).unwrap();
        tree.push(&link(&head.hash, &mut event), revision);
        let rows = tree.grown(&mut head);
        head = ChainHeadRecord { hash: event.hash.clone(), create_time, ..head.clone() };
        let mut writes = vec![write(kinds::CHAIN_HEAD, &[], head.encode_to_vec())];
        writes.extend(rows.iter().map(|(key, row)| write(kinds::TREE_ROW, key, row.encode_to_vec())));
        writes.extend(id.map(|id| {
            let fingerprint = Bytes::from_static(&[7; 16]);
            write(kinds::REQUEST, id.as_bytes(), RequestRecord { fingerprint }.encode_to_vec())
        }));
        let events = pb::WatchedEvents { revision: number, events: vec![event], ..Default::default() };
        crate::stored::LogEntry { revision, events: events.encode_to_vec().into(), writes }
    };
    (1..).zip(requests).map(entry).collect()
}

/// A registry, and what it lies in. Fields are dropped in their order.
struct Setting<P> {
    registry: Registry,
    _place: P,
    _folder: TempDir,
}

impl<P> Setting<P> {
    fn of(store: Arc<dyn Store>, place: P, folder: TempDir) -> Self {
        let keys = DataKeys::new(Arc::clone(&store), MasterKeys::default());
        let chunks = ChunkStore::new(Folder::local(&folder.path().join("artifacts")).unwrap(), keys);
        let registry = Registry::new(store, chunks, Limits::default(), Duration::MAX);
        Self { registry, _place: place, _folder: folder }
    }

    async fn restored(self, entries: Vec<crate::stored::LogEntry>) -> Self {
        self.registry.store().restore(entries, true).await.unwrap();
        self
    }

    async fn forget(&self, now: u64) -> i64 {
        self.registry.forget_requests(&Intent::own(), at(now), KEEP, false, |_| true).await.unwrap()
    }

    /// The ids that are known.
    async fn known(&self) -> Vec<Uuid> {
        let mut records = Pages::of(Source::Kind(kinds::REQUEST));
        let mut known = Vec::new();
        while let Some(hit) = records.next(&**self.registry.store()).await.unwrap() {
            known.push(Uuid::from_slice(&hit.record.key).unwrap());
        }
        known
    }

    async fn newest(&self) -> Revision {
        self.registry.store().newest().await.unwrap()
    }

    /// What the events from a revision on say.
    async fn told(&self, from: Revision) -> Vec<String> {
        let mut told = Vec::new();
        for revision in from..=self.newest().await {
            let event = self.registry.event(&format!("events/{revision}-0")).await.unwrap();
            told.push(format!("{} {}: {}", event.r#type, event.resource_name, event.comment));
        }
        told
    }

    async fn verified(&self) {
        let report = verify(&**self.registry.store(), self.registry.chunks(), None, true, |_| {}).await.unwrap();
        assert_eq!(report.problems, []);
    }
}

fn embedded() -> Setting<()> {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(&folder.path().join("store"), 1 << 20, &LAYOUT).unwrap();
    Setting::of(Arc::new(store), (), folder)
}

async fn on_postgres() -> Setting<Schema> {
    let schema = Schema::new().await;
    let options = PostgresOptions { layout: &LAYOUT, ..schema.options() };
    let store = PostgresStore::open(options).await.unwrap();
    Setting::of(Arc::new(store), schema, tempfile::tempdir().unwrap())
}

async fn old_requests_are_forgotten_in_batches_and_young_ones_are_not<P>(setting: Setting<P>) {
    let requests = requests(700);
    let setting = setting.restored(log(&requests)).await;
    // Up to the second 650.
    let dry = setting.registry.forget_requests(&Intent::own(), at(750), KEEP, true, |_| true).await.unwrap();
    let old = ids(&requests, ..=650).len();
    assert_eq!((dry, setting.newest().await), (count(old), 700), "what only counts changes nothing");
    assert_eq!(setting.forget(750).await, count(old));
    assert_eq!(setting.known().await, ids(&requests, 651..));
    let (first, second) = (298, 597);
    assert_eq!(ids(&requests, ..=first).len(), AT_ONCE);
    assert_eq!(ids(&requests, ..=second).len(), 2 * AT_ONCE);
    let told = [
        format!("request.forgotten revisions/{first}: 256 request ids of revisions 1 to {first}"),
        format!("request.forgotten revisions/{second}: 256 request ids of revisions {} to {second}", first + 1),
        format!("request.forgotten revisions/650: 46 request ids of revisions {} to 650", second + 1),
    ];
    assert_eq!(setting.told(701).await, told);

    assert_eq!((setting.forget(750).await, setting.newest().await), (0, 703), "nothing more is old");
    setting.verified().await;
    // Whoever restores the log has forgotten as well, and goes on from there.
    let copy = embedded().restored(setting.registry.store().changes(0, usize::MAX).await.unwrap()).await;
    for registry in [&setting.registry, &copy.registry] {
        let rest = registry.forget_requests(&Intent::own(), at(800), KEEP, false, |_| true).await.unwrap();
        assert_eq!(rest, count(ids(&requests, 651..).len()));
    }
    assert!(setting.known().await.is_empty() && copy.known().await.is_empty());
    copy.verified().await;
    setting.verified().await;
}

#[tokio::test]
async fn old_requests_are_forgotten_and_young_ones_are_not() {
    old_requests_are_forgotten_in_batches_and_young_ones_are_not(embedded()).await;
}

#[tokio::test]
async fn old_requests_are_forgotten_on_postgres_too() {
    old_requests_are_forgotten_in_batches_and_young_ones_are_not(on_postgres().await).await;
}

#[tokio::test]
async fn of_several_servers_one_forgets_a_batch() {
    let requests = requests(700);
    let setting = embedded().restored(log(&requests)).await;
    let forget = || setting.forget(1000);
    let (one, other, third) = tokio::join!(forget(), forget(), forget());
    assert_eq!(one + other + third, count(ids(&requests, ..).len()));
    assert!(setting.known().await.is_empty());
    assert_eq!(setting.newest().await, 703);
}

#[tokio::test]
async fn a_pass_ends_when_it_is_told_to_and_the_next_one_goes_on() {
    let requests = requests(700);
    let setting = embedded().restored(log(&requests)).await;
    let once = |forgotten| forgotten == 0;
    let forgotten = setting.registry.forget_requests(&Intent::own(), at(1000), KEEP, false, once).await.unwrap();
    assert_eq!(forgotten, count(AT_ONCE));
    assert_eq!(setting.forget(1000).await, count(ids(&requests, 299..).len()));
}

/// Otherwise each pass would read them all again.
#[tokio::test]
async fn how_far_the_log_was_read_is_noted_also_if_nothing_was_to_be_forgotten() {
    let requests: Vec<Asked> = (0..READ_AT_MOST + 5).map(|_| (1, None)).collect();
    let setting = embedded().restored(log(&requests)).await;
    for _ in 0..2 {
        assert_eq!((setting.forget(1000).await, setting.newest().await), (0, READ_AT_MOST + 6));
    }
    let told = setting.told(READ_AT_MOST + 6).await;
    assert_eq!(told, ["request.forgotten revisions/10000: no request ids of revisions 1 to 10000"]);
}

#[tokio::test]
async fn what_cant_be_read_is_passed_over_once_something_behind_it_is_old() {
    let requests = requests(4);
    let mut entries = log(&requests);
    for unreadable in [1, 3] {
        entries[unreadable].events = Bytes::from_static(&[0x12, 0x7f]);
    }
    let setting = embedded().restored(entries).await;
    assert_eq!(setting.forget(1000).await, 2);
    let told = setting.told(5).await;
    assert_eq!(told, ["request.forgotten revisions/3: 2 request ids of revisions 1 to 3"]);
    let mut kept = [1, 3].map(|unreadable: usize| requests[unreadable].1.unwrap());
    kept.sort_unstable();
    assert_eq!(setting.known().await, kept);
}

#[tokio::test]
async fn a_later_request_under_the_same_id_stays() {
    let id = Uuid::new_v4();
    let setting = embedded().restored(log(&[(1, Some(id)), (950, Some(id))])).await;
    setting.forget(1000).await;
    assert_eq!(setting.known().await, [id]);
    setting.forget(1050).await;
    assert!(setting.known().await.is_empty());
}
