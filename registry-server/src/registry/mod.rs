//! What the registry does: reads, and decisions that become commits. It calls the pure rules, and knows no gRPC.
//!
//! *Invariant:* everything that changes state goes through `Registry::commit`, which writes its events under the same
//! revision.

pub(crate) mod access;
pub(crate) mod aliases;
pub(crate) mod approvals;
pub(crate) mod artifacts;
mod audit;
mod census;
pub(crate) mod chain;
pub(crate) mod checks;
pub(crate) mod commit;
mod compaction;
pub(crate) mod compare;
pub(crate) mod contents;
pub(crate) mod cursors;
pub(crate) mod deletion;
mod encryption;
pub(crate) mod events;
mod facts;
pub(crate) mod finalize;
mod forgetting;
pub(crate) mod history;
mod indexed;
pub(crate) mod instances;
pub(crate) mod kinds;
pub(crate) mod lists;
pub(crate) mod locks;
pub(crate) mod masks;
mod measured;
pub(crate) mod models;
mod namespaces;
pub(crate) mod pages;
pub(crate) mod past;
pub(crate) mod policies;
pub(crate) mod prune;
pub(crate) mod purge;
pub(crate) mod purge_models;
pub(crate) mod resource;
pub(crate) mod searching;
mod secrets;
pub(crate) mod stages;
pub(crate) mod standard;
pub(crate) mod subscriptions;
pub(crate) mod sweep;
mod tail;
mod told;
pub(crate) mod tombstones;
pub(crate) mod transaction;
mod tree;
pub(crate) mod uploads;
pub(crate) mod usage;
pub(crate) mod validate;
pub(crate) mod versions;
pub(crate) mod watch;
pub(crate) mod webhooks;
pub(crate) mod withdrawal;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use registry_proto::v1::ErrorReason;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use self::access::guard::Guard;
use self::access::jwt::Issuers;
pub(crate) use self::census::Census;
pub(crate) use self::commit::{Committed, Intent, Mutation, millis};
use self::measured::Measures;
pub(crate) use self::measured::short;
use crate::chunks::ChunkStore;
use crate::chunks::digests::Digests;
use crate::error::Error;
use crate::rules::certificates::Rule;
use crate::rules::quota::Limits;
use crate::search::Index;
use crate::store::{Revision, Store};

/// How long a collection waits for the archive.
const ARCHIVE_WAIT: Duration = Duration::from_secs(30);

/// The registry over a store of records and one of bytes. Each call clones it.
#[derive(Clone)]
pub struct Registry(Arc<Parts>);

impl Deref for Registry {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What a registry is made of.
#[derive(Clone)]
pub struct Parts {
    store: Arc<dyn Store>,
    chunks: ChunkStore,
    digests: Digests,
    limits: Arc<Limits>,
    /// How long after its deletion a version is purged.
    purge_after: Duration,
    tail: Arc<tail::Tail>,
    sweeps: Arc<sweep::Sweeps>,
    /// For pages that are searched.
    searches: Arc<Semaphore>,
    /// Absent where nothing is asked that needs it.
    index: Option<Index>,
    /// Absent without an archive.
    archive: Option<Archive>,
    /// Absent where everybody may do everything.
    guard: Option<Guard>,
    measures: Measures,
}

/// Where the log is shipped to.
#[derive(Clone)]
struct Archive {
    place: String,
    /// The newest revision that this server has shipped.
    archived: Receiver<Revision>,
}

impl Registry {
    /// A registry over these stores that keeps to these limits, and in which deleted versions are purged after a time.
    pub fn new(store: Arc<dyn Store>, chunks: ChunkStore, limits: Limits, purge_after: Duration) -> Self {
        let tail = Arc::new(tail::Tail::new(Arc::clone(&store)));
        let digests = Digests::new(chunks.clone());
        Self(Arc::new(Parts {
            store,
            chunks,
            digests,
            limits: Arc::new(limits),
            purge_after,
            tail,
            sweeps: Arc::default(),
            searches: pages::turns(),
            index: None,
            archive: None,
            guard: None,
            measures: Measures::default(),
        }))
    }

    /// The same registry with other parts.
    fn with(self, change: impl FnOnce(&mut Parts)) -> Self {
        let mut parts = Arc::unwrap_or_clone(self.0);
        change(&mut parts);
        Self(Arc::new(parts))
    }

    /// The same registry, in which callers may do what is bound to them, whom its own tokens, these issuers or their certificates name.
    ///
    /// # Errors
    /// If what is bound can't be read.
    pub(crate) async fn with_guard(self, issuers: Issuers, certificates: Vec<Rule>) -> Result<Self, Error> {
        let guard = Guard::open(Arc::clone(&self.store), issuers, certificates).await?;
        Ok(self.with(|parts| parts.guard = Some(guard)))
    }

    /// What decides who may do what, if there is anything to decide.
    pub(crate) fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// The same registry with an archive in this folder or object store, which may be behind: chunks are removed, and the log is dropped,
    /// only when it has them.
    pub(crate) fn with_archive(self, place: &str, archived: Receiver<Revision>) -> Self {
        self.with(|parts| parts.archive = Some(Archive { place: place.to_owned(), archived }))
    }

    /// The same registry with an index that may take so much memory, in bytes.
    pub(crate) fn with_index(self, memory: u64) -> Self {
        self.with(|parts| parts.index = Some(Index::new(&indexed::KINDS, memory, pages::turns())))
    }

    /// The index, if there is one, which is to be kept.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Waits until everything up to a revision is archived, if there is an archive.
    ///
    /// # Errors
    /// `ARCHIVE_BEHIND` if that takes long.
    pub(crate) async fn wait_for_archive(&self, revision: Revision) -> Result<(), Error> {
        let Some(mut archived) = self.archive.as_ref().map(|archive| archive.archived.clone()) else { return Ok(()) };
        let there = timeout(ARCHIVE_WAIT, archived.wait_for(|archived| *archived >= revision)).await;
        if there.is_ok_and(|there| there.is_ok()) {
            return Ok(());
        }
        let detail =
            format!("is at revision {}: what is not in it, up to {revision}, is not removed", *archived.borrow());
        Err(Error::precondition(ErrorReason::ArchiveBehind, "archive", detail))
    }

    /// The newest revision that this server has archived, if it has an archive.
    pub(crate) fn archived(&self) -> Option<Revision> {
        self.archive.as_ref().map(|archive| *archive.archived.borrow())
    }

    /// Where the archive is, if there is one, and the newest revision that this server has archived.
    pub(crate) fn archive(&self) -> Option<(&str, Revision)> {
        self.archive.as_ref().map(|archive| (archive.place.as_str(), *archive.archived.borrow()))
    }

    /// What is known of its commits and watches.
    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Its store of records.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Its store of chunks.
    pub(crate) fn chunks(&self) -> &ChunkStore {
        &self.chunks
    }
}

/// How many there are, as the contract counts.
pub(crate) fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}
