//! Which chunks artifacts list.

use std::collections::{HashMap, HashSet};

use crate::chunks::garbage::Stored;
use crate::error::Error;
use crate::registry::contents::{Owned, chunks_of, chunks_written};
use crate::registry::{count, kinds};
use crate::store::{Pages, Revision, Snapshot, Source, Store};

/// How many revisions are read from the log at once.
const READ: usize = 1024;
/// After how many artifacts it is told how far things are.
const TELL_EVERY: i64 = 1000;

/// The chunks that artifacts of a revision list, and those that artifacts of earlier ones did.
#[derive(Debug)]
pub(super) struct Marks {
    revision: Revision,
    namespaces: HashMap<String, HashSet<[u8; 32]>>,
}

impl Marks {
    /// Reads all manifests; `None` if `tell`, which hears how many it has read, says to stop.
    pub(super) async fn of(snapshot: &dyn Snapshot, tell: impl Fn(i64) -> bool) -> Result<Option<Self>, Error> {
        let mut marks = Self { revision: snapshot.revision(), namespaces: HashMap::new() };
        let mut manifests = Pages::of(Source::Kind(kinds::MANIFEST));
        let mut read: i64 = 0;
        while let Some(hit) = manifests.next(snapshot).await? {
            marks.add(chunks_of(&hit.record.key, hit.record.payload)?);
            read += 1;
            if read % TELL_EVERY == 0 && !tell(read) {
                return Ok(None);
            }
        }
        Ok(Some(marks))
    }

    /// Adds what the log has listed since, up to a revision.
    pub(super) async fn read_on(&mut self, store: &dyn Store, revision: Revision) -> Result<(), Error> {
        while self.revision < revision {
            let entries = store.changes(self.revision, READ).await?;
            let Some(last) = entries.last().map(|entry| entry.revision) else {
                return Err(Error::internal(format!("the log ends at {}, before revision {revision}", self.revision)));
            };
            for entry in &entries {
                self.add(chunks_written(entry)?);
            }
            self.revision = last;
        }
        Ok(())
    }

    fn add(&mut self, chunks: Vec<Owned>) {
        for (namespace, chunk) in chunks {
            self.namespaces.entry(namespace).or_default().insert(chunk.blake3);
        }
    }

    pub(super) fn has(&self, chunk: &Stored) -> bool {
        self.namespaces.get(&chunk.namespace).is_some_and(|chunks| chunks.contains(&chunk.blake3))
    }

    /// How many different ones there are.
    pub(super) fn count(&self) -> i64 {
        self.namespaces.values().map(|chunks| count(chunks.len())).sum()
    }
}
