//! What a store is: records, a log of revisions, and commits that change both in one step.
//!
//! A store knows no model, stage or alias: kinds and indexes are numbers, and the [`Layout`] that a store is opened with says
//! which there are. It keeps records (a [`Kind`] and a key to bytes) that can be read back by key, in key order, or in the order
//! of an [`Index`]; and a log with one [`LogEntry`] for each revision. All changes go through [`Store::commit`], which runs a
//! [`Decision`] against everything that is committed or about to be, and gives it the next revision.
//!
//! Beside both it keeps a *slate*: small values that matter only while things run, such as how far a consumer is. They are in no log,
//! no backup and no archive.
//!
//! *Invariant:* what a read, the log or [`Store::head`] shows is on the disk already.

#[cfg(test)]
mod conformance;
mod layout;
mod logged;
mod measured;
mod pages;
pub mod postgres;
pub mod sled;
mod whereabouts;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::stored;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::layout::{Fact, FactType, FactValue, FactView, Facts, KindLayout, Layout, Slot};
pub(crate) use self::logged::read_write;
pub(crate) use self::measured::Connections;
pub use self::measured::StoreMeasures;
pub(crate) use self::pages::Pages;
pub(crate) use self::whereabouts::Seen;
pub use self::whereabouts::Whereabouts;

/// The number of a commit: contiguous from 1, the only clock.
pub type Revision = u64;

/// What a record is about: a number that is on the disk. The [`Layout`] says which there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u8);

/// An order, other than that of the keys, in which some records of a kind can be read. The numbers are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index {
    /// The kind of the records that it lists.
    pub kind: Kind,
    /// Which of the indexes of that kind.
    pub slot: u8,
}

/// Where an index of a record's kind lists the record. Records are listed in the byte order of their positions, which are the
/// value followed by the record's key. Positions in an index must be unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The slot of the index.
    pub slot: u8,
    /// The value.
    pub value: Vec<u8>,
}

impl Place {
    /// The position of the record with this key.
    fn position(&self, key: &[u8]) -> Vec<u8> {
        [self.value.as_slice(), key].concat()
    }
}

/// A record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Vec<u8>,
    /// Its content.
    pub payload: Bytes,
    /// The revision that wrote it.
    pub revision: Revision,
}

/// A record as it is written; it replaces the one with the same kind and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// What it is about.
    pub kind: Kind,
    /// Its key.
    pub key: Vec<u8>,
    /// Its content.
    pub payload: Bytes,
    /// Where the indexes of its kind list it: once in a slot, or several times if the slot is for [several](Slot::several).
    pub places: Vec<Place>,
}

/// What a scan goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The records of a kind, by key.
    Kind(Kind),
    /// The records that an index lists, by their place in it.
    Index(Index),
}

/// A scan ends with the record that brings its payloads to this many bytes, even if more were asked for.
pub const SCAN_BYTES: usize = 2 * 1024 * 1024;

/// Which part of a source to scan, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Only keys, or places, that begin with this.
    pub prefix: Vec<u8>,
    /// Only what comes behind this position, seen in the direction of the scan.
    pub after: Option<Vec<u8>>,
    /// From the last to the first.
    pub reverse: bool,
    /// How many records at most.
    pub limit: usize,
}

impl Range {
    /// The first `limit` records under a prefix.
    pub fn first(prefix: Vec<u8>, limit: usize) -> Self {
        Self { prefix, after: None, reverse: false, limit }
    }

    /// The last `limit` records under a prefix, the very last one first.
    pub fn last(prefix: Vec<u8>, limit: usize) -> Self {
        Self { prefix, after: None, reverse: true, limit }
    }
}

/// A record that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Where it is: what a later scan may go on behind.
    pub position: Vec<u8>,
    /// The record.
    pub record: Record,
}

/// One revision of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Which one.
    pub revision: Revision,
    /// What the decision gave to be logged.
    pub events: Bytes,
}

/// Something that [`Store::flaws`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Of what, for people.
    pub name: String,
    /// What is wrong, for people.
    pub detail: &'static str,
}

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store can't work now, or not any more. Whether a commit happened is unknown.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// There is no room for what is to be written.
    #[error("the store is full: {0}")]
    Full(String),
    /// What is stored can't be understood.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Revisions of the log were asked for that were [dropped](Store::compact).
    #[error("the log begins at revision {oldest}: what was before is not there any more")]
    Compacted {
        /// The first revision that it has.
        oldest: Revision,
    },
    /// What was acknowledged is not in the store any more.
    #[error(
        "the store is damaged: revision {noted} was acknowledged, and {} Restore a backup or the archive into an empty folder \
         (`registry-server restore`); or remove {} to go on without what is lost",
        lost(*newest, *noted),
        file.display()
    )]
    Lost {
        /// The newest revision that there is.
        newest: Revision,
        /// The newest one that was acknowledged.
        noted: Revision,
        /// Where that was noted.
        file: PathBuf,
    },
    /// An earlier program wrote this store, and this one can't read it.
    #[error(
        "the store has schema {found}, and this program needs schema {known}: it was written by an earlier development version; \
         make a new one in another folder or database schema"
    )]
    TooOld {
        /// The schema of the store.
        found: u32,
        /// The oldest schema that this program can read.
        known: u32,
    },
    /// A newer program wrote this store.
    #[error(
        "the store has schema {found}, and this program knows schemas up to {known}: use the newer program that wrote it"
    )]
    TooNew {
        /// The schema of the store.
        found: u32,
        /// The newest schema that this program can read.
        known: u32,
    },
}

fn lost(newest: Revision, noted: Revision) -> String {
    match noted.checked_sub(newest) {
        None | Some(0) => format!("the store has another revision {noted} than that."),
        Some(1) => format!("the store ends at {newest}: the newest revision is lost."),
        Some(lost) => format!("the store ends at {newest}: the newest {lost} revisions are lost."),
    }
}

/// A message as it is stored.
pub(crate) fn decode<M: prost::Message + Default>(payload: Bytes) -> Result<M, StoreError> {
    M::decode(payload).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Reads of records.
#[async_trait]
pub trait Read: Send + Sync {
    /// The record with this key.
    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError>;

    /// The records in a range: as many as asked for and there are, or at least one and [`SCAN_BYTES`].
    async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError>;
}

/// What a [`Decision`] reads and writes. Reads see what is committed, what earlier decisions wrote, and its own writes.
#[async_trait]
pub trait Transaction: Read {
    /// The revision that this commit will be.
    fn revision(&self) -> Revision;

    /// What [`Store::time`] said a moment ago.
    fn time(&self) -> SystemTime;

    /// Writes a record.
    async fn put(&mut self, put: Put) -> Result<(), StoreError>;

    /// Writes a record of a key that is new: a revision or a number that is given once is part of it, or it was looked for. What may be
    /// there all the same is not looked for.
    async fn create(&mut self, put: Put) -> Result<(), StoreError>;

    /// Removes a record, if it is there.
    async fn remove(&mut self, kind: Kind, key: &[u8]) -> Result<(), StoreError>;
}

/// What is to be done, decided where nothing else can come between.
#[async_trait]
pub trait Decision: Send + Sync {
    /// Reads, writes, and answers what to log. With `None` nothing of it is kept. May be run more than once.
    async fn decide(&self, transaction: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError>;

    /// Hears, once, that what it decided is durable as this revision, before whoever waits for it does, and also if nobody does any more.
    fn committed(&self, _: Revision) {}

    /// What it will probably read: a hint, so that a remote store can fetch it for many decisions at once.
    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        Vec::new()
    }
}

/// All records as they were at one revision, whatever is committed meanwhile.
pub trait Snapshot: Read {
    /// That revision.
    fn revision(&self) -> Revision;
}

/// A store. Reads of the store itself see what is committed.
#[async_trait]
pub trait Store: Read {
    /// The newest revision that this process knows of; it changes once the commit can be read and is on the disk. Where others
    /// write to the same store it may lag behind [`Store::newest`]: it wakes, the log tells.
    fn head(&self) -> watch::Receiver<Revision>;

    /// What time it is by the store's clock: where several servers share a store, the one clock that they share.
    async fn time(&self) -> Result<SystemTime, StoreError>;

    /// The newest revision there is.
    async fn newest(&self) -> Result<Revision, StoreError>;

    /// The first revision that the log has: 1 unless those before were [dropped](Store::compact).
    async fn oldest(&self) -> Result<Revision, StoreError>;

    /// Drops the log before a revision, for good, which is the newest one at most; perhaps a little less, since whole pieces go.
    /// Records are not touched. Answers the first revision that there is then.
    ///
    /// So that pieces can go in time, nothing more is added to one that has anything from before `recent`.
    async fn compact(&self, before: Revision, recent: Revision) -> Result<Revision, StoreError>;

    /// The log behind a revision, oldest first: at most `limit` entries, and no more behind the one that brings them to
    /// [`SCAN_BYTES`]. It has everything that is committed, even if [`Store::head`] does not tell yet. `Compacted` if the first one that
    /// is asked for was dropped.
    async fn log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError>;

    /// The log as it lies in the store, with the writes that make each revision's state out of the one before; as much at once as
    /// [`Store::log`] reads.
    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError>;

    /// The same for who follows the log closely: of the newest revisions, perhaps, as they were written, and not read back.
    async fn new_changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
        self.changes(after, limit).await
    }

    /// Appends what [`Store::changes`] of another store gave, and applies its writes: all of it durable in one step, or nothing.
    /// Answers the newest revision. `Damaged` if the entries don't follow each other and the newest revision without a gap.
    ///
    /// With `whole` they are the last ones; until then the store is not [whole](Store::whole), whatever happens.
    async fn restore(&self, entries: Vec<stored::LogEntry>, whole: bool) -> Result<Revision, StoreError>;

    /// Which store this is, whatever is in it: a restored one is another.
    async fn identity(&self) -> Result<Uuid, StoreError>;

    /// Where it is. A copy that was made behind its back has its identity, and is elsewhere.
    async fn whereabouts(&self) -> Result<Whereabouts, StoreError>;

    /// Whether it is not in the middle of a restore.
    async fn whole(&self) -> Result<bool, StoreError>;

    /// What is wrong with what the store keeps beside records and log, for people who look into it or for itself: at most so many.
    async fn flaws(&self, limit: usize) -> Result<Vec<Flaw>, StoreError>;

    /// Runs a decision and, if it gives something to log, makes its writes and its log entry durable in one step. Answers the
    /// revision, or `None` if the decision was to do nothing. Either way everything that the decision saw is durable by then.
    ///
    /// If the future is dropped before the decision's turn has come, it is not run, and nothing happens; behind that, it may happen.
    async fn commit(&self, decision: Arc<dyn Decision>) -> Result<Option<Revision>, StoreError>;

    /// The value of a key on the slate.
    async fn slate_get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The keys on the slate that begin with a prefix, in their order, with their values.
    async fn slate_scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Gives a key on the slate a new value if it has the old one; `None` stands for a key that is not there. Answers whether it has the
    /// new value then: two who write the same one both hear that it has.
    ///
    /// A crash of the machine or the process may take back what was written in the last second.
    async fn slate_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError>;

    /// All records as they are now.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Whether it can work, as far as it knows.
    fn healthy(&self) -> watch::Receiver<bool>;

    /// How its commits become durable.
    fn measures(&self) -> &StoreMeasures;
}
