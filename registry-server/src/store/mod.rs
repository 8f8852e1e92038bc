//! What a store is: records, a log of revisions, and commits that change both in one step.
//!
//! A store knows no model, stage or alias. It keeps records (a [`Kind`] and a key to bytes) that can be read back by key, in key
//! order, or in the order of an [`Index`]; and a log with one [`LogEntry`] for each revision. All changes go through
//! [`Store::commit`], which runs a [`Decision`] against everything that is committed or about to be, and gives it the next
//! revision.
//!
//! *Invariant:* what a read, the log or [`Store::head`] shows is on the disk already.

#[cfg(test)]
mod conformance;
mod logged;
mod pages;
pub mod postgres;
pub mod sled;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use crate::stored;

pub(crate) use self::logged::read_write;
pub(crate) use self::pages::Pages;

/// The number of a commit: contiguous from 1, the only clock.
pub type Revision = u64;

/// What a record is about. The numbers are on the disk: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A model.
    Model = 1,
    /// A version.
    Version = 2,
    /// An artifact of a version.
    Artifact = 3,
    /// A version's label, to its number.
    Label = 4,
    /// One step of the stack of versions that held a stage.
    StageHolder = 5,
    /// A request id, to what was done under it.
    Request = 6,
    /// The hash of the newest event.
    ChainHead = 7,
    /// Says that a revision has events of a model.
    EventReference = 8,
    /// What an artifact consists of.
    Manifest = 9,
    /// The newest sweep of chunks.
    Sweep = 10,
    /// The chunks of a sweep.
    Condemned = 11,
    /// A namespace's key for its chunks, wrapped.
    DataKey = 12,
    /// What the artifacts of a namespace add up to.
    Usage = 13,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: &[Self] = &[
        Self::Model,
        Self::Version,
        Self::Artifact,
        Self::Label,
        Self::StageHolder,
        Self::Request,
        Self::ChainHead,
        Self::EventReference,
        Self::Manifest,
        Self::Sweep,
        Self::Condemned,
        Self::DataKey,
        Self::Usage,
    ];

    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u32 == number)
    }
}

/// An order, other than that of the keys, in which some records of a kind can be read. The numbers are on the disk: they
/// never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Index {
    /// Models that are not deleted, by name.
    LiveModels = 1,
    /// Models that are not deleted, by the revision that made them.
    LiveModelsByAge = 2,
    /// All models, by the revision that made them.
    ModelsByAge = 3,
    /// Versions that are not deleted, by number.
    LiveVersions = 4,
    /// Versions that are READY and not deleted, by number.
    ReadyVersions = 5,
    /// Versions in a stage, by when they entered it.
    StageEntries = 6,
    /// Manifests by what they list.
    Contents = 7,
    /// Versions that are deleted and not purged, by the time of their deletion.
    DeletedVersions = 8,
    /// Models that are deleted and have versions that are not, by the time of their deletion.
    DeletedModels = 9,
}

impl Index {
    /// What kind of records it lists.
    pub fn kind(self) -> Kind {
        match self {
            Self::LiveModels | Self::LiveModelsByAge | Self::ModelsByAge | Self::DeletedModels => Kind::Model,
            Self::LiveVersions | Self::ReadyVersions | Self::StageEntries | Self::DeletedVersions => Kind::Version,
            Self::Contents => Kind::Manifest,
        }
    }

    /// All indexes.
    pub(crate) const ALL: &[Self] = &[
        Self::LiveModels,
        Self::LiveModelsByAge,
        Self::ModelsByAge,
        Self::LiveVersions,
        Self::ReadyVersions,
        Self::StageEntries,
        Self::Contents,
        Self::DeletedVersions,
        Self::DeletedModels,
    ];

    /// The index with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|index| *index as u32 == number)
    }
}

/// A record's place in an index: the index lists its records in the byte order of these values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The index.
    pub index: Index,
    /// The place.
    pub value: Vec<u8>,
}

/// What people, who look at a database with its own tools, see of a record beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The resource name.
    pub name: Option<String>,
    /// Whose it is.
    pub team: Option<String>,
    /// The stage it is in.
    pub stage: Option<String>,
    /// What it was made with.
    pub framework: Option<String>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it was changed last.
    pub updated: Option<SystemTime>,
    /// When it was deleted.
    pub deleted: Option<SystemTime>,
}

/// The facts of a record of a kind with this payload; `None` if records of its kind have none.
pub type FactsOf = fn(Kind, &Bytes) -> Option<Facts>;

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
    /// Where the indexes list it. At most one for each index.
    pub attributes: Vec<Attribute>,
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

    /// Writes a record.
    async fn put(&mut self, put: Put) -> Result<(), StoreError>;

    /// Removes a record, if it is there.
    async fn remove(&mut self, kind: Kind, key: &[u8]) -> Result<(), StoreError>;
}

/// What is to be done, decided where nothing else can come between.
#[async_trait]
pub trait Decision: Send + Sync {
    /// Reads, writes, and answers what to log. With `None` nothing of it is kept. May be run more than once.
    async fn decide(&self, transaction: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError>;

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

    /// The newest revision there is.
    async fn newest(&self) -> Result<Revision, StoreError>;

    /// The log behind a revision, oldest first: at most `limit` entries, and no more behind the one that brings them to
    /// [`SCAN_BYTES`]. It has everything that is committed, even if [`Store::head`] does not tell yet.
    async fn log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError>;

    /// The log as [`Store::log`] reads it, with the writes that make each revision's state out of the one before.
    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError>;

    /// Appends what [`Store::changes`] of another store gave, and applies its writes: all of it durable in one step, or nothing.
    /// Answers the newest revision. `Damaged` if the entries don't follow each other and the newest revision without a gap.
    ///
    /// With `whole` they are the last ones; until then the store is not [whole](Store::whole), whatever happens.
    async fn restore(&self, entries: Vec<stored::LogEntry>, whole: bool) -> Result<Revision, StoreError>;

    /// Which store this is, whatever is in it: a restored one is another.
    async fn identity(&self) -> Result<Uuid, StoreError>;

    /// Whether it is not in the middle of a restore.
    async fn whole(&self) -> Result<bool, StoreError>;

    /// Runs a decision and, if it gives something to log, makes its writes and its log entry durable in one step. Answers the
    /// revision, or `None` if the decision was to do nothing. Either way everything that the decision saw is durable by then.
    ///
    /// If the future is dropped before the decision's turn has come, it is not run, and nothing happens; behind that, it may happen.
    async fn commit(&self, decision: Arc<dyn Decision>) -> Result<Option<Revision>, StoreError>;

    /// All records as they are now.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Whether it can work, as far as it knows.
    fn healthy(&self) -> watch::Receiver<bool>;
}
