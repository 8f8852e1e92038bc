//! A commit in the making: what a decision reads and writes, above what is committed and what the decisions before it staged.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::cache::{Cache, Cell, State};
use super::error::Failure;
use super::overlay::{Base, Entry, Overlay};
use super::session::Session;
use crate::store::{
    Hit, Index, Kind, Layout, Put, Range, Read, Record, Revision, SCAN_BYTES, Source, StoreError, Transaction, logged,
};
use crate::stored;

/// What the decisions of a batch share. The lock of all commits is held: what is read stays true until the batch is committed.
pub(super) struct Ground<'a> {
    pub(super) layout: &'static Layout,
    pub(super) session: &'a Session,
    pub(super) cache: &'a Cache,
    /// By the database's clock, when the lock was taken.
    pub(super) time: SystemTime,
    /// Ask what is there before a record is written, instead of trusting that a new one is new.
    pub(super) careful: bool,
    /// The first read that failed: the batch can't go on then, whatever the decision made of it.
    pub(super) failed: OnceLock<Failure>,
}

impl Ground<'_> {
    fn keep<T>(&self, done: Result<T, Failure>) -> Result<T, StoreError> {
        done.map_err(|failure| {
            // Only the first one counts.
            let _ = self.failed.set(failure.clone());
            failure.into()
        })
    }

    /// What is committed under a key.
    async fn committed(&self, kind: Kind, key: &[u8]) -> Result<State, StoreError> {
        if let Some(state) = self.cache.get(kind, key) {
            return Ok(state);
        }
        let keys = [(kind, key.to_vec())];
        let mut found = self.keep(self.session.fetch(&keys).await)?;
        let state = found.pop().and_then(|(_, _, state)| state);
        self.cache.insert([(kind, key.to_vec(), state.clone())]);
        Ok(state)
    }
}

/// The transaction of one decision.
pub(super) struct Staged<'a> {
    ground: &'a Ground<'a>,
    overlay: &'a mut Overlay,
    revision: Revision,
    /// What the overlay held before, to take this decision back.
    former: Vec<(Kind, Vec<u8>, Option<Entry>)>,
    writes: Vec<stored::LoggedWrite>,
}

impl<'a> Staged<'a> {
    pub(super) fn new(ground: &'a Ground<'a>, overlay: &'a mut Overlay, revision: Revision) -> Self {
        Self { ground, overlay, revision, former: Vec::new(), writes: Vec::new() }
    }

    /// The log entry of this commit.
    pub(super) fn into_entry(self, events: Bytes) -> stored::LogEntry {
        logged::entry(self.revision, events, self.writes)
    }

    /// Takes all writes back.
    pub(super) fn undo(self) {
        for (kind, key, former) in self.former.into_iter().rev() {
            self.overlay.replace(kind, &key, former);
        }
    }

    /// Stages the writes of a log entry.
    pub(super) async fn replay(&mut self, entry: &stored::LogEntry) -> Result<(), StoreError> {
        for write in &entry.writes {
            let (kind, key, put) = logged::read_write(write, &entry.events)?;
            self.write(kind, &key, put, Base::Unknown).await?;
        }
        Ok(())
    }

    /// Stages a record, or with `None` its removal; `base` if nothing better is known of what is there.
    async fn write(&mut self, kind: Kind, key: &[u8], put: Option<Put>, base: Base) -> Result<(), StoreError> {
        let put = self.ground.layout.checked(kind, put)?;
        let base = match self.overlay.get(kind, key) {
            // A record that was taken for new is to go: now it matters whether it was.
            Some(Entry { base: Base::New | Base::Unknown, .. }) if put.is_none() => {
                Base::Known(self.ground.committed(kind, key).await?)
            }
            Some(staged) => staged.base.clone(),
            None => match self.ground.cache.get(kind, key) {
                Some(state) => Base::Known(state),
                None if put.is_some() && !self.ground.careful => base,
                None => Base::Known(self.ground.committed(kind, key).await?),
            },
        };
        let replaced = match self.overlay.get(kind, key) {
            Some(staged) => Some(revision_of(&staged.state)),
            None => match &base {
                Base::Known(state) => Some(revision_of(state)),
                Base::New => Some(0),
                Base::Unknown => None,
            },
        };
        self.writes.push(logged::write_of(kind, key, put.as_ref(), replaced));
        let state = put.map(|Put { payload, places, .. }| Arc::new(Cell { revision: self.revision, payload, places }));
        let former = self.overlay.replace(kind, key, Some(Entry { state, base }));
        self.former.push((kind, key.to_vec(), former));
        Ok(())
    }
}

/// The revision that wrote a record; 0 if there is none.
fn revision_of(state: &State) -> Revision {
    state.as_ref().map_or(0, |cell| cell.revision)
}

#[async_trait]
impl Read for Staged<'_> {
    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let state = match self.overlay.get(kind, key) {
            Some(staged) => staged.state.clone(),
            None => self.ground.committed(kind, key).await?,
        };
        let record =
            |cell: Arc<Cell>| Record { key: key.to_vec(), payload: cell.payload.clone(), revision: cell.revision };
        Ok(state.map(record))
    }

    async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
        let (Source::Kind(kind) | Source::Index(Index { kind, .. })) = source;
        let mut staged = self.overlay.hits(source, range).into_iter().peekable();
        let mut found = Found { hits: Vec::new(), bytes: 0, limit: range.limit };
        let mut rest = range.clone();
        while !found.is_enough() {
            let page = self.ground.keep(self.ground.session.reader.page(source, &rest).await)?;
            rest.after = page.hits.last().map(|hit| hit.position.clone()).or(rest.after);
            // Where a record that was written is listed now is among what is staged.
            for hit in page.hits.into_iter().filter(|hit| self.overlay.get(kind, &hit.record.key).is_none()) {
                let is_before = |other: &Hit| match range.reverse {
                    false => other.position < hit.position,
                    true => other.position > hit.position,
                };
                while let Some(staged) = staged.next_if(is_before) {
                    found.push(staged);
                }
                found.push(hit);
            }
            if page.complete {
                staged.by_ref().for_each(|hit| found.push(hit));
                break;
            }
        }
        Ok(found.hits)
    }
}

/// The hits of a scan, up to where it has to end.
struct Found {
    hits: Vec<Hit>,
    bytes: usize,
    limit: usize,
}

impl Found {
    fn is_enough(&self) -> bool {
        self.hits.len() >= self.limit || self.bytes >= SCAN_BYTES
    }

    fn push(&mut self, hit: Hit) {
        if !self.is_enough() {
            self.bytes += hit.record.payload.len();
            self.hits.push(hit);
        }
    }
}

#[async_trait]
impl Transaction for Staged<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn time(&self) -> SystemTime {
        self.ground.time
    }

    async fn put(&mut self, put: Put) -> Result<(), StoreError> {
        let key = put.key.clone();
        self.write(put.kind, &key, Some(put), Base::Unknown).await
    }

    async fn create(&mut self, put: Put) -> Result<(), StoreError> {
        let key = put.key.clone();
        self.write(put.kind, &key, Some(put), Base::New).await
    }

    async fn remove(&mut self, kind: Kind, key: &[u8]) -> Result<(), StoreError> {
        self.write(kind, key, None, Base::Unknown).await
    }
}
