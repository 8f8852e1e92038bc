//! What the registry does: reads, and decisions that become commits. It calls the pure rules, and knows no gRPC.
//!
//! *Invariant:* everything that changes state goes through `Registry::commit`, which writes its events under the same
//! revision.

pub(crate) mod aliases;
pub(crate) mod artifacts;
pub(crate) mod commit;
pub(crate) mod compare;
pub(crate) mod contents;
pub(crate) mod deletion;
mod encryption;
pub(crate) mod events;
mod facts;
pub(crate) mod finalize;
pub(crate) mod history;
pub(crate) mod kinds;
pub(crate) mod lists;
pub(crate) mod models;
mod namespaces;
pub(crate) mod prune;
pub(crate) mod purge;
pub(crate) mod resource;
pub(crate) mod stages;
pub(crate) mod standard;
pub(crate) mod sweep;
pub(crate) mod transaction;
pub(crate) mod updates;
pub(crate) mod uploads;
pub(crate) mod usage;
pub(crate) mod validate;
pub(crate) mod versions;
pub(crate) mod watch;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::commit::{Committed, Intent, Mutation};
use crate::chunks::ChunkStore;
use crate::chunks::digests::Digests;
use crate::rules::quota::Limits;
use crate::store::Store;

/// The registry over a store of records and one of bytes.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
    chunks: ChunkStore,
    digests: Digests,
    limits: Arc<Limits>,
    /// How long after its deletion a version is purged.
    purge_after: Duration,
    tail: Arc<events::Tail>,
    sweeps: Arc<sweep::Sweeps>,
}

impl Registry {
    /// A registry over these stores that keeps to these limits, and in which deleted versions are purged after a time.
    pub fn new(store: Arc<dyn Store>, chunks: ChunkStore, limits: Limits, purge_after: Duration) -> Self {
        let tail = Arc::new(events::Tail::new(Arc::clone(&store)));
        let digests = Digests::new(chunks.clone());
        Self { store, chunks, digests, limits: Arc::new(limits), purge_after, tail, sweeps: Arc::default() }
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
