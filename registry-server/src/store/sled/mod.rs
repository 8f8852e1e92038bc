//! The embedded store: a log in files of our own, and a state that is made of it, in sled 0.34, used as an ordered map.
//!
//! The [`log`] holds the revisions, a group of commits in each of its frames. The state holds records and index entries. A group is
//! written to the log and synced; only then is it applied to the state, shown to readers and answered. So the log is the truth, and
//! what the state lacks after a crash is applied again when the store is opened. The state is written in the background and never
//! waited for: if it is lost, damaged, or the machine went down under it, all of it is made of the log again.
//!
//! What sled 0.34.7 does not do by itself:
//! - Damage in its newest part passes for the end of its file, without a word, and some makes it panic: hence nothing is in it that is
//!   not in the log.
//! - A tree node above a quarter of the segment size goes to a file of its own that is never synced. A leaf holds up to
//!   17 values, so the segment size is raised and long values are cut (`disk`, `physical`) until that can't happen.

mod about;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod damage;
mod disk;
mod lane;
pub mod log;
mod mark;
mod physical;
mod recent;
mod snapshot;
mod staged;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::stored;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use self::disk::Disk;
use self::lane::{Job, Work};
use self::physical::View;
use self::snapshot::Snapshots;
use super::{
    Decision, Flaw, Hit, Kind, Layout, LogEntry, Range, Read, Record, Revision, Snapshot, Source, Store, StoreError,
    StoreMeasures, Whereabouts,
};

/// How many commits may wait for the lane before callers have to.
const QUEUE: usize = 1024;

/// A store in a folder.
#[derive(Debug)]
pub struct SledStore {
    disk: Arc<Disk>,
    snapshots: Arc<Snapshots>,
    jobs: mpsc::Sender<Job>,
    head: watch::Receiver<Revision>,
    healthy: watch::Receiver<bool>,
    measures: StoreMeasures,
    /// Behind `jobs`: fields are dropped in their order, and the lane ends when no more jobs can come.
    _lane: lane::Guard,
}

impl SledStore {
    /// Opens the store in a folder, or makes it, for records of these kinds, with up to `cache_bytes` of memory for pages.
    ///
    /// # Errors
    /// If the folder can't be used, its content is damaged, or another version of this program wrote it that this one can't read.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn open(folder: &Path, cache_bytes: u64, layout: &'static Layout) -> Result<Self, StoreError> {
        let (disk, newest) = Disk::open(folder, cache_bytes, layout)?;
        let disk = Arc::new(disk);
        let snapshots = Arc::new(Snapshots::default());
        let (head_sender, head) = watch::channel(newest);
        let (health, healthy) = watch::channel(true);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let measures = StoreMeasures::default();
        let lane = lane::start(Arc::clone(&disk), Arc::clone(&snapshots), head_sender, health, queue, measures.clone());
        Ok(Self { disk, snapshots, jobs, head, healthy, measures, _lane: lane })
    }

    async fn do_in_turn(&self, work: Work) -> Result<Option<Revision>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Unavailable("it has stopped".to_owned());
        self.jobs.send(Job { work, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// How many entries behind a revision may be read. The log is written before the state: what is behind the head may still be
    /// taken back.
    fn readable(&self, after: Revision, limit: usize) -> usize {
        let head = *self.head.borrow();
        limit.min(usize::try_from(head.saturating_sub(after)).unwrap_or(usize::MAX))
    }
}

#[async_trait]
impl Read for SledStore {
    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        View::of(self.disk.state()).get(kind, key)
    }

    async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
        View::of(self.disk.state()).scan(source, range)
    }
}

#[async_trait]
impl Store for SledStore {
    fn head(&self) -> watch::Receiver<Revision> {
        self.head.clone()
    }

    async fn time(&self) -> Result<SystemTime, StoreError> {
        Ok(SystemTime::now())
    }

    async fn newest(&self) -> Result<Revision, StoreError> {
        Ok(*self.head.borrow())
    }

    async fn oldest(&self) -> Result<Revision, StoreError> {
        Ok(self.disk.oldest())
    }

    async fn compact(&self, before: Revision, recent: Revision) -> Result<Revision, StoreError> {
        let snapshot = self.snapshots.take(&self.disk, &self.head);
        let before = before.min(snapshot.revision());
        let disk = Arc::clone(&self.disk);
        let compacted = tokio::task::spawn_blocking(move || disk.compact(before, recent, &snapshot)).await;
        compacted.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }

    async fn log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.disk.read_log(after, self.readable(after, limit))
    }

    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
        self.disk.read_changes(after, self.readable(after, limit))
    }

    async fn new_changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
        self.disk.new_changes(after, self.readable(after, limit))
    }

    async fn restore(&self, entries: Vec<stored::LogEntry>, whole: bool) -> Result<Revision, StoreError> {
        if !whole {
            self.disk.set_whole(false)?;
        }
        let restored = self.do_in_turn(Work::Restore(entries)).await?;
        if whole {
            self.disk.set_whole(true)?;
        }
        restored.ok_or_else(|| StoreError::Unavailable("it has stopped".to_owned()))
    }

    async fn identity(&self) -> Result<Uuid, StoreError> {
        Ok(self.disk.identity())
    }

    async fn whereabouts(&self) -> Result<Whereabouts, StoreError> {
        Whereabouts::of_folder(self.disk.folder())
    }

    async fn whole(&self) -> Result<bool, StoreError> {
        Ok(self.disk.whole())
    }

    async fn flaws(&self, _: usize) -> Result<Vec<Flaw>, StoreError> {
        // It keeps nothing else.
        Ok(Vec::new())
    }

    async fn commit(&self, decision: Arc<dyn Decision>) -> Result<Option<Revision>, StoreError> {
        self.do_in_turn(Work::Decide(decision)).await
    }

    async fn slate_get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.disk.state().slate_get(key)
    }

    async fn slate_scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.disk.state().slate_scan(prefix)
    }

    async fn slate_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        self.disk.state().slate_swap(key, old, new)
    }

    fn healthy(&self) -> watch::Receiver<bool> {
        self.healthy.clone()
    }

    fn measures(&self) -> &StoreMeasures {
        &self.measures
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.snapshots.take(&self.disk, &self.head)))
    }
}
