//! Snapshots: the state of one revision, kept readable while commits go on.
//!
//! sled has no snapshots. So each one that is open keeps the former values of the keys that were overwritten since it was
//! taken: it costs what changes meanwhile, not what there is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::disk::Disk;
use super::physical::{Entry, Overrides, View};
use super::state::State;
use crate::store::{Hit, Kind, Range, Read, Record, Revision, Snapshot, Source, StoreError};

/// How many entries are read while commits wait.
const ENTRIES_AT_ONCE: usize = 512;

/// The snapshots that are open: those of one revision share what they keep.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    open: Mutex<Vec<(Revision, Weak<Mutex<Overrides>>)>>,
}

impl Snapshots {
    pub(super) fn take(&self, disk: &Arc<Disk>, head: &watch::Receiver<Revision>) -> SledSnapshot {
        // Under the lock no group is being applied, so that the head is the revision of the state.
        let mut open = lock(&self.open);
        let revision = *head.borrow();
        let newest = open.last().filter(|(of, _)| *of == revision).and_then(|(_, former)| former.upgrade());
        let former = newest.unwrap_or_else(|| {
            let former = Arc::new(Mutex::new(Overrides::default()));
            open.push((revision, Arc::downgrade(&former)));
            former
        });
        SledSnapshot { disk: Arc::clone(disk), former, revision }
    }

    /// Lets `apply` overwrite the keys in `overrides` and move the head, after the keys' values were kept for the open snapshots.
    pub(super) fn preserve(
        &self,
        state: &State,
        overrides: &Overrides,
        apply: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut open = lock(&self.open);
        open.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        let mut formers: Vec<_> = open.iter().filter_map(|(_, snapshot)| snapshot.upgrade()).collect();
        let mut formers: Vec<_> = formers.iter_mut().map(|former| lock(former)).collect();
        if !formers.is_empty() {
            for (key, _) in overrides.iter() {
                // Read once for all of them, and shared.
                let mut value = None;
                for former in formers.iter_mut().filter(|former| former.get(key).is_none()) {
                    let value = match &value {
                        Some(value) => Option::clone(value),
                        None => value.insert(state.get(key)?).clone(),
                    };
                    former.insert(key.clone(), value);
                }
            }
        }
        drop(formers);
        apply()
    }
}

/// One snapshot; what it keeps is given back when it is dropped.
pub(super) struct SledSnapshot {
    disk: Arc<Disk>,
    former: Arc<Mutex<Overrides>>,
    revision: Revision,
}

impl SledSnapshot {
    /// All entries of its state, as they lie on the disk, for who writes them to another place of it.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<Entry, StoreError>> {
        let mut next = Some(Bytes::new());
        let mut page = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(entry) = page.next() {
                    return Some(Ok(entry));
                }
                let after = next.take()?;
                let read = self.disk.check_room().and_then(|()| {
                    View::of(self.disk.state()).below(&lock(&self.former)).page(&after, ENTRIES_AT_ONCE)
                });
                match read {
                    Ok((entries, behind)) => (page, next) = (entries.into_iter(), behind),
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }
}

#[async_trait]
impl Read for SledSnapshot {
    // Both hold the lock, so that nothing is overwritten between reading the tree and what it held before.
    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        View::of(self.disk.state()).below(&lock(&self.former)).get(kind, key)
    }

    async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
        View::of(self.disk.state()).below(&lock(&self.former)).scan(source, range)
    }
}

impl Snapshot for SledSnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }
}

/// What is behind these locks is whole after every single step, so that a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
