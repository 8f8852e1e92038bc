//! Reading the log: the tail, which all watchers follow, and what lies behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::{DecodeError, Message as _};
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::chain::Position;
use super::commit::CHAIN_START;
use super::told::Told;
use super::tombstones::tombstone_of;
use super::transaction::event;
use crate::error::Error;
use crate::store::{LogEntry, Revision, Store, StoreError};

/// How many revisions the tail keeps.
const KEPT: usize = 1024;
/// And of at most how many bytes.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// How many revisions are read from the log at once: as many as are written to it together, at most, since together they are unpacked.
pub(super) const READ: usize = 256;
/// How many watchers may hold what they read of the log behind the tail.
const READERS: usize = 8;

/// Some revisions, and a place among those that hold what they read.
pub(super) struct Entries {
    pub(super) entries: Vec<Arc<Told>>,
    _place: Option<OwnedSemaphorePermit>,
}

/// The log, with its newest entries read once for all watchers.
pub(crate) struct Tail {
    store: Arc<dyn Store>,
    kept: Mutex<Kept>,
    readers: Arc<Semaphore>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<Revision, Arc<Told>>,
    bytes: usize,
}

impl Kept {
    /// What is kept of the revisions behind `after`, without a gap.
    fn behind(&self, after: Revision, limit: usize) -> Vec<Arc<Told>> {
        let behind = self.entries.range(after.saturating_add(1)..).take(limit);
        let contiguous = (1..).zip(behind).take_while(|(step, (found, _))| *found - after == *step);
        contiguous.map(|(_, (_, entry))| Arc::clone(entry)).collect()
    }

    fn keep(&mut self, entry: Arc<Told>) {
        let revision = entry.revision;
        let newest = self.entries.last_key_value().map_or(0, |(revision, _)| *revision);
        // Old entries, read by somebody who is far behind, must not drive out new ones.
        if revision + (KEPT as Revision) < newest {
            return;
        }
        let bytes = entry.frame.len();
        if self.entries.insert(revision, entry).is_none() {
            self.bytes += bytes;
        }
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((_, first)) = self.entries.pop_first() else { break };
            self.bytes -= first.frame.len();
        }
    }
}

impl Tail {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, kept: Mutex::default(), readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Keeps nothing from before a revision, which was dropped from the log.
    pub(super) fn drop_before(&self, oldest: Revision) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = kept.entries.first_entry().filter(|first| *first.key() < oldest) {
            kept.bytes -= first.remove().frame.len();
        }
    }

    fn kept(&self, after: Revision, limit: usize) -> Vec<Arc<Told>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).behind(after, limit)
    }

    /// Some revisions after one, oldest first; empty only at the end of the log.
    pub(super) async fn read(&self, after: Revision, limit: usize) -> Result<Vec<Arc<Told>>, Error> {
        let kept = self.kept(after, limit);
        if kept.is_empty() { self.read_log(after, limit).await } else { Ok(kept) }
    }

    /// The same for a watcher, which may hold them for a while. What the tail has, all of them share; behind it only some may read
    /// at once.
    pub(super) async fn follow(&self, after: Revision) -> Result<Entries, Error> {
        let kept = self.kept(after, READ);
        if !kept.is_empty() || *self.store.head().borrow() <= after {
            return Ok(Entries { entries: kept, _place: None });
        }
        let place = Arc::clone(&self.readers).acquire_owned().await.ok();
        Ok(Entries { entries: self.read(after, READ).await?, _place: place })
    }

    async fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<Arc<Told>>, Error> {
        let entries = self.store.log(after, limit).await?;
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            read.push(match Told::read(&entry) {
                Ok(told) => {
                    let told = Arc::new(told);
                    self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(Arc::clone(&told));
                    told
                }
                // It is not kept: it may get a tombstone.
                Err(error) => Arc::new(self.stand_in(&entry, &error).await?),
            });
        }
        Ok(read)
    }

    /// What stands for the events of a revision that can't be read: it is named, and stops nobody who reads on.
    async fn stand_in(&self, entry: &LogEntry, error: &DecodeError) -> Result<Told, Error> {
        let revision = entry.revision.cast_signed();
        let mut comment = format!("the events of this revision can't be read: {error}");
        let tombstone = tombstone_of(&*self.store, entry.revision, &entry.events).await?;
        let mut hash = Bytes::new();
        if let Some(laid_by) = tombstone {
            comment += &format!("; events/{laid_by}-0 is its tombstone");
            let position = Position::of(&*self.store, entry.revision).await?;
            hash = position.map(|position| position.hash).unwrap_or_default();
        } else {
            tracing::error!(revision, %error, "the events of a revision can't be read");
        }
        let unreadable = pb::Event {
            name: format!("events/{revision}-0"),
            revision,
            comment,
            hash,
            ..event(event_type::REVISION_UNREADABLE)
        };
        let events = pb::WatchedEvents { revision, events: vec![unreadable], ..Default::default() };
        let entry = LogEntry { revision: entry.revision, events: events.encode_to_vec().into() };
        Ok(Told::read(&entry).map_err(|error| StoreError::Damaged(error.to_string()))?)
    }

    /// The events of one revision.
    pub(crate) async fn events_of(&self, revision: Revision) -> Result<Vec<pb::Event>, Error> {
        Ok(self.entry(revision).await?.map(|entry| entry.decoded()).transpose()?.unwrap_or_default())
    }

    /// One revision.
    pub(super) async fn entry(&self, revision: Revision) -> Result<Option<Arc<Told>>, Error> {
        let entries = self.read(revision.saturating_sub(1), 1).await?;
        Ok(entries.into_iter().find(|entry| entry.revision == revision))
    }

    /// The hash of the last event of a revision: with the revision, a position in just this history.
    pub(super) async fn hash_at(&self, revision: Revision) -> Result<Bytes, Error> {
        if revision == 0 {
            return Ok(Bytes::from_static(&CHAIN_START));
        }
        Ok(self.entry(revision).await?.map(|entry| entry.hash()).unwrap_or_default())
    }

    /// Fails if a position is of another history, the newest revision of which is known: it has another hash here, or is behind the
    /// end. What has no hash is not compared. Answers the whole hash.
    pub(super) async fn check_position(
        &self,
        revision: Revision,
        hash: &[u8],
        newest: Revision,
    ) -> Result<Bytes, Error> {
        let here = self.hash_at(revision).await?;
        if revision <= newest && (hash.is_empty() || here.is_empty() || here.starts_with(hash)) {
            return Ok(here);
        }
        let detail = format!("revision {revision} is not the one that it was: the registry was restored from a backup");
        Err(Error::OutOfRange { reason: ErrorReason::HistoryChanged, detail })
    }
}
