//! What chunks are called. The rule, and why there is one, stands in [`crate::rules::garbage`].

use std::sync::{Arc, PoisonError, RwLock};

use object_store::path::Path;
use prost::Message;

use crate::places::Folder;
use crate::registry::kinds;
use crate::rules::garbage;
use crate::store::{Kind, Store, StoreError, decode};
use crate::stored::{CondemnedRecord, SweepRecord};

/// A chunk by its namespace and its BLAKE3.
pub(crate) type Place = (String, [u8; 32]);

/// The names of all chunks, as of the sweeps that were given up by some moment.
pub(crate) type Names = garbage::Names<Place>;

/// The names of a registry's chunks, as this server knows them.
#[derive(Clone)]
pub(super) struct Naming {
    store: Arc<dyn Store>,
    known: Arc<RwLock<Arc<Names>>>,
}

impl Naming {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Arc::default() }
    }

    /// The names without asking the store: chunks may have got others since.
    pub(super) fn known(&self) -> Arc<Names> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names now.
    pub(super) async fn now(&self) -> Result<Arc<Names>, StoreError> {
        let sweeps = self.read::<SweepRecord>(kinds::SWEEP, &[]).await?.unwrap_or_default();
        self.as_of(&sweeps.given_up).await
    }

    /// The names when these sweeps were given up, or later.
    pub(super) async fn as_of(&self, given_up: &[u64]) -> Result<Arc<Names>, StoreError> {
        let known = self.known();
        // No sweep is ever taken from the list.
        if given_up.len() <= known.given_up().len() {
            return Ok(known);
        }
        let mut names = Names::clone(&known);
        for generation in given_up.iter().copied() {
            if known.given_up().contains(&generation) {
                continue;
            }
            let condemned = self.read::<CondemnedRecord>(kinds::CONDEMNED, &generation.to_be_bytes()).await?;
            let lost = || StoreError::Damaged(format!("the chunks of sweep {generation} are not known"));
            names.give_up(generation, places(&condemned.ok_or_else(lost)?));
        }
        let names = Arc::new(names);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster, and know more.
        if known.given_up().len() < names.given_up().len() {
            *known = Arc::clone(&names);
        }
        Ok(names)
    }

    async fn read<M: Message + Default>(&self, kind: Kind, key: &[u8]) -> Result<Option<M>, StoreError> {
        self.store.get(kind, key).await?.map(|record| decode(record.payload)).transpose()
    }
}

impl std::fmt::Debug for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Naming").field("given_up", self.known().given_up()).finish_non_exhaustive()
    }
}

/// The chunks of a sweep.
fn places(condemned: &CondemnedRecord) -> impl Iterator<Item = Place> {
    condemned.namespaces.iter().flat_map(|here| {
        let (blake3, _) = here.blake3.as_chunks::<32>();
        blake3.iter().map(|blake3| (here.namespace.clone(), *blake3))
    })
}

/// Where a chunk lies in a folder that no sweep removes anything from.
pub(crate) fn place(folder: &Folder, namespace: &str, blake3: &[u8; 32]) -> Path {
    named(folder, namespace, blake3, 0)
}

/// Where a chunk lies in a folder under the name with a generation.
pub(super) fn named(folder: &Folder, namespace: &str, blake3: &[u8; 32], generation: u64) -> Path {
    let name = name(blake3, generation);
    folder.path(["chunks", namespace, &name[..2], &name])
}

/// The name of a chunk: its digest, and the generation unless that is 0.
pub(super) fn name(blake3: &[u8; 32], generation: u64) -> String {
    let hex = blake3::Hash::from_bytes(*blake3).to_hex();
    if generation == 0 { hex.to_string() } else { format!("{hex}.{generation}") }
}

/// Of which chunk, and with which generation, a name is; `None` if it is none that [`name`] makes.
pub(super) fn parse(whole: &str) -> Option<([u8; 32], u64)> {
    let (hex, generation) = match whole.split_once('.') {
        Some((hex, generation)) => (hex, generation.parse().ok()?),
        None => (whole, 0),
    };
    let blake3 = *blake3::Hash::from_hex(hex).ok()?.as_bytes();
    (name(&blake3, generation) == whole).then_some((blake3, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_others_are_none() {
        let blake3 = [0xab; 32];
        for generation in [0, 1, 42, u64::MAX] {
            assert_eq!(parse(&name(&blake3, generation)), Some((blake3, generation)));
        }
        let hex = "ab".repeat(32);
        for end in [".0", ".01", ".+1", ".", ".1.2", ".x", "#1", ".1#2", ".99999999999999999999", ".backup"] {
            assert_eq!(parse(&format!("{hex}{end}")), None, "{end}");
        }
        assert_eq!(parse(&hex.to_uppercase()), None);
        assert_eq!(parse("abcd.1"), None);
    }
}
