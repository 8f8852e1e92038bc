//! Pages of records, of all or of those that meet a condition. With one, a page costs what it looks at, and that is bounded: it may be
//! short, or empty, and not be the last.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::Registry;
use super::lists::{Listed, Page};
use super::resource::Row;
use crate::error::Error;
use crate::store::{Range, Record, SCAN_BYTES, Source};

/// How many records a page looks at, at most.
pub(crate) const LOOKED_AT: usize = 10_000;
/// And for how long. What has been read by then is looked at.
pub(super) const TIME: Duration = Duration::from_millis(100);
/// How many records are read and looked at before others get their turn: a millisecond or two.
pub(super) const READ: usize = 128;

/// What a page may cost, of records that are looked at and of time.
pub(super) struct Budget {
    look_at: usize,
    pub(super) looked_at: usize,
    began: Instant,
}

impl Budget {
    pub(super) fn new(look_at: usize) -> Self {
        Self { look_at, looked_at: 0, began: Instant::now() }
    }

    /// Whether it is time to return what was found.
    pub(super) fn is_spent(&self) -> bool {
        // At least one, however long its turn was waited for: a page that gets nowhere would look like the last one.
        self.looked_at > 0 && (self.looked_at >= self.look_at || self.began.elapsed() >= TIME)
    }
}

/// What a page has looked at so far.
pub(super) struct Search<'a> {
    page: &'a Page,
    budget: Budget,
    read: usize,
    _turn: Option<SemaphorePermit<'a>>,
}

/// How many pages are searched at once: on one of two processors, so that searches don't hold up calls that cost little.
pub(super) fn turns() -> Arc<Semaphore> {
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    Arc::new(Semaphore::new((processors / 2).max(1)))
}

impl<'a> Search<'a> {
    /// Begins one when its turn has come.
    pub(super) async fn of(page: &'a Page, turns: &'a Semaphore) -> Self {
        let turn = match page.chooses() {
            true => turns.acquire().await.ok(),
            false => None,
        };
        Self { page, budget: Budget::new(page.look_at), read: page.size + 1, _turn: turn }
    }

    /// Whether a record is wanted, by the message in it as it is encoded.
    pub(super) fn wants<'m>(&mut self, message: impl FnOnce() -> &'m [u8]) -> bool {
        self.budget.looked_at += 1;
        !self.page.chooses() || self.page.takes(message())
    }

    /// The page, which goes on behind a position.
    pub(super) fn listed<T>(&self, items: Vec<T>, bytes: usize, next: Option<Vec<u8>>) -> Listed<T> {
        let mut listed = Listed::of(items, next);
        (listed.findings.looked_at, listed.findings.bytes) = (self.budget.looked_at, bytes);
        listed
    }

    /// Whether it is time to return what was found.
    pub(super) fn is_over(&self) -> bool {
        self.page.chooses() && self.budget.is_spent()
    }

    /// How many records to read next: one more than the page takes, which tells whether there are more. With a condition, more while
    /// nothing is found, and others have their turn.
    pub(super) async fn next_read(&mut self) -> usize {
        if !self.page.chooses() {
            return self.read;
        }
        if self.budget.looked_at > 0 {
            yield_now().await;
        }
        let read = self.read.min(READ);
        self.read = (read * 4).max(1);
        read.min(self.budget.look_at.saturating_sub(self.budget.looked_at)).max(1)
    }
}

impl Registry {
    /// A page of the records of a source, of those that meet its filter if it has one.
    pub(super) async fn page<R: Row, T>(
        &self,
        source: Source,
        prefix: Vec<u8>,
        page: &Page,
        read: impl Fn(Record) -> Result<T, Error>,
    ) -> Result<Listed<T>, Error> {
        let mut range = Range { prefix, after: page.after.clone(), reverse: page.reverse, limit: 0 };
        let (mut items, mut bytes) = (Vec::new(), 0);
        let mut search = Search::of(page, &self.searches).await;
        // Where the last item is.
        let mut last = None;
        loop {
            range.limit = search.next_read().await;
            let hits = self.store.scan(source, &range).await?;
            let read_bytes: usize = hits.iter().map(|hit| hit.record.payload.len()).sum();
            let more = hits.len() == range.limit || read_bytes >= SCAN_BYTES;
            for hit in hits {
                let is_full = items.len() == page.size || bytes >= SCAN_BYTES;
                // Whether there is more than its reader sees is not for them to know.
                if is_full && (page.seen.is_none() || search.wants(|| R::encoded(&hit.record))) {
                    return Ok(search.listed(items, bytes, last));
                }
                range.after = Some(hit.position);
                if !is_full && search.wants(|| R::encoded(&hit.record)) {
                    bytes += hit.record.payload.len();
                    items.push(read(hit.record)?);
                    last.clone_from(&range.after);
                }
            }
            if !more {
                return Ok(search.listed(items, bytes, None));
            }
            let is_full = items.len() == page.size || bytes >= SCAN_BYTES;
            if is_full && page.seen.is_none() {
                return Ok(search.listed(items, bytes, range.after));
            }
            if search.is_over() {
                // What was looked at in vain behind a full page is looked at again: where it ends tells nothing then.
                let next = if is_full { last } else { range.after };
                return Ok(search.listed(items, bytes, next));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use registry_proto::v1 as pb;

    use super::*;
    use crate::chunks::ChunkStore;
    use crate::encryption::data::DataKeys;
    use crate::encryption::master::MasterKeys;
    use crate::places::Folder;
    use crate::registry::kinds::LAYOUT;
    use crate::registry::resource::Resource as _;
    use crate::rules::expression::{self, Expression};
    use crate::rules::names::{Name, VERSIONS};
    use crate::rules::quota::Limits;
    use crate::store::Store as _;
    use crate::store::sled::SledStore;
    use crate::stored::logged_write::Value;
    use crate::stored::{LogEntry, LoggedWrite};

    fn page(filter: &str, size: usize, after: Option<Vec<u8>>) -> Page {
        let filter = Expression::parse(filter, &expression::VERSION).ok().map(Arc::new);
        let (order, reverse, sortings, show_deleted) = ("", false, None, false);
        Page {
            size,
            after,
            order,
            reverse,
            sortings,
            show_deleted,
            filter,
            count: false,
            explain: false,
            look_at: LOOKED_AT,
            seen: None,
        }
    }

    #[tokio::test]
    async fn a_page_ends_after_so_many_records_however_few_were_found() {
        let versions = LOOKED_AT as i64 + 500;
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(&folder.path().join("store"), 1 << 24, &LAYOUT).unwrap();
        let name = |number: i64| Name::canonical(&VERSIONS, &format!("namespaces/n/models/m/versions/{number}"));
        let write = |number: i64| LoggedWrite {
            kind: pb::Version::KIND.0.into(),
            key: name(number).key().into(),
            places: Vec::new(),
            value: Some(Value::Payload(pb::Version { number, ..Default::default() }.encode_to_vec().into())),
            replaced: Some(0),
        };
        let writes = (1..=versions).map(write).collect();
        let entry = LogEntry { revision: 1, events: pb::WatchedEvents::default().encode_to_vec().into(), writes };
        store.restore(vec![entry], true).await.unwrap();
        let store = Arc::new(store);
        let keys = DataKeys::new(store.clone(), MasterKeys::default());
        let chunks = ChunkStore::new(Folder::local(&folder.path().join("artifacts")).unwrap(), keys);
        let registry = Registry::new(store, chunks, Limits::default(), Duration::MAX);
        let read = async |page: &Page| {
            let of = name(1).parent().prefix();
            let number = |record: Record| Ok(<pb::Version as Row>::decode(&record)?.number);
            registry.page::<pb::Version, _>(Source::Kind(pb::Version::KIND), of, page, number).await.unwrap()
        };

        let (mut after, mut found, mut pages) = (None, Vec::new(), 0);
        loop {
            let Listed { items, next, .. } = read(&page(&format!("version.number == {versions}"), 10, after)).await;
            found.extend(items);
            pages += 1;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, [versions]);
        // Where a page ends by the time, there are more.
        assert!(pages >= 2, "{pages}");

        // A full page has a token only if there is more behind it.
        let Listed { items, next, .. } = read(&page("version.number > 7", 3, None)).await;
        assert_eq!(items, [8, 9, 10]);
        assert_eq!(next, Some(name(10).key()));
        let before = Some(name(versions - 3).key());
        let Listed { items, next, .. } = read(&page("version.number > 7", 3, before)).await;
        assert_eq!((items, next), (vec![versions - 2, versions - 1, versions], None));
    }

    #[tokio::test(start_paused = true)]
    async fn reads_grow_while_nothing_is_found() {
        let (all, page, turns) = (page("", 20, None), page("version.number == 0", 20, None), turns());
        let mut search = Search::of(&page, &turns).await;
        let mut reads = Vec::new();
        while !search.is_over() {
            reads.push(search.next_read().await);
            for _ in 0..reads[reads.len() - 1] {
                assert!(!search.wants(|| &[0xa8, 0x01, 1]), "version 1");
            }
        }
        assert_eq!(reads[..4], [21, 84, 128, 128]);
        assert_eq!(reads.iter().sum::<usize>(), LOOKED_AT);
        assert!(reads.iter().all(|read| *read <= READ), "{reads:?}");

        let mut search = Search::of(&all, &turns).await;
        assert_eq!([search.next_read().await, search.next_read().await], [21, 21]);
        assert!(search.wants(|| &[]) && !search.is_over());
    }
}
