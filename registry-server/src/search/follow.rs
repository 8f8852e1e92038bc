//! Making an index of what the store has, and keeping it by the log.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::table::Table;
use super::{Index, Indexed, State, tables};
use crate::store::{Hit, Kind, Range, Record, Revision, Source, Store, StoreError, read_write};
use crate::stored::LogEntry;

/// How many records, or revisions, are read at once: what others wait for meanwhile is a millisecond or two.
const READ: usize = 256;
/// After how many records its memory is counted.
const COUNTED: usize = 16 * 1024;
/// How long revisions are gathered that nobody waits for: one by one they cost commits a fifth of their speed.
const GATHERED: Duration = Duration::from_millis(20);
/// When to begin again if the store can't be read.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// A record, or that it is not there any more.
type Change = (Kind, Bytes, Option<Record>);

impl Index {
    /// Makes it and keeps it until the server stops.
    pub(crate) async fn keep(self, store: Arc<dyn Store>, mut draining: watch::Receiver<bool>) {
        tokio::select! {
            () = self.go_on(store) => {}
            // An error means that the server is gone.
            _ = draining.wait_for(|draining| *draining) => {}
        }
    }

    async fn go_on(&self, store: Arc<dyn Store>) {
        let mut pause = PAUSE;
        loop {
            match self.follow(&*store).await {
                // What records had once is in it as well: made anew, it may be small enough.
                Ok(()) if self.is_ready() => self.clear(State::Building),
                Ok(()) => {
                    tracing::warn!(
                        memory = self.memory,
                        "the index of what lists are filtered by takes more memory than it may, and is given up: filters look at one \
                         record after the other, and lists are ordered by their first order only; give it more with --index-memory"
                    );
                    self.clear(State::TooLarge);
                    return std::future::pending().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the index of what lists are filtered by is made again: the store could not be read");
                    // What is damaged stays so: then it costs a processor less and less.
                    pause = if self.is_ready() { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                    self.clear(State::Building);
                    sleep(pause).await;
                }
            }
        }
    }

    fn clear(&self, state: State) {
        self.state.send_replace(state);
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables(self.kinds);
    }

    /// Ends when there is no memory left for it.
    async fn follow(&self, store: &dyn Store) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut head = store.head();
        let mut wanted = self.wanted.subscribe();
        // What is written meanwhile is read twice: the second time as it is in the end.
        let mut at = store.newest().await?;
        let (mut records, mut counted) = (0, 0);
        for indexed in self.kinds {
            let mut range = Range::first(Vec::new(), READ);
            loop {
                let hits = store.scan(Source::Kind(indexed.kind), &range).await?;
                let Some(last) = hits.last() else { break };
                range.after = Some(last.position.clone());
                records += hits.len();
                let change = |hit: Hit| (indexed.kind, Bytes::copy_from_slice(&hit.record.key), Some(hit.record));
                self.apply(hits.into_iter().map(change).collect()).await?;
                if records - counted >= COUNTED {
                    counted = records;
                    if self.is_too_large().await? {
                        return Ok(());
                    }
                }
            }
        }
        let scanned = store.newest().await?;
        if self.is_too_large().await? {
            return Ok(());
        }
        loop {
            // Before the read, so that nothing is missed behind it.
            head.borrow_and_update();
            wanted.borrow_and_update();
            let entries = store.new_changes(at, READ).await?;
            let changes = changes_of(&entries)?;
            records += changes.len();
            self.apply(changes).await?;
            if records - counted >= COUNTED {
                counted = records;
                if self.is_too_large().await? {
                    return Ok(());
                }
            }
            at = entries.last().map_or(at, |entry| entry.revision);
            if at >= scanned && self.state.send_replace(State::At(at)) == State::Building {
                tracing::info!(records, seconds = began.elapsed().as_secs_f64(), "lists are answered by the index");
            }
            if entries.is_empty() {
                tokio::select! {
                    changed = head.changed() => {
                        // The store is gone, and the server with it.
                        if changed.is_err() {
                            return std::future::pending().await;
                        }
                        tokio::select! {
                            () = sleep(GATHERED) => {}
                            _ = wanted.changed() => {}
                        }
                    }
                    _ = wanted.changed() => {}
                }
            }
        }
    }

    async fn is_too_large(&self) -> Result<bool, StoreError> {
        let memory = self.memory;
        self.write(move |_, tables| tables.iter().map(|table| table.bytes() as u64).sum::<u64>() > memory).await
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.write(move |kinds, tables| {
            for (kind, key, record) in changes {
                let Some(at) = kinds.iter().position(|indexed| indexed.kind == kind) else { continue };
                let Indexed { message, live, spoken, .. } = &kinds[at];
                match record {
                    Some(record) => {
                        let message = message(&record);
                        tables[at].put(&record.key, message, live(message), &spoken(message));
                    }
                    None => tables[at].remove(&key),
                }
            }
        })
        .await
    }

    /// Works on it on a thread that may wait for those who read.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&'static [Indexed], &mut [Table]) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (kinds, tables) = (self.kinds, Arc::clone(&self.tables));
        let task = move || write(kinds, &mut tables.write().unwrap_or_else(PoisonError::into_inner));
        spawn_blocking(task).await.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

/// What revisions did to records.
fn changes_of(entries: &[LogEntry]) -> Result<Vec<Change>, StoreError> {
    let mut changes = Vec::new();
    for entry in entries {
        for write in &entry.writes {
            let (kind, key, put) = read_write(write, &entry.events)?;
            let revision: Revision = entry.revision;
            changes.push((kind, key, put.map(|put| Record { key: put.key, payload: put.payload, revision })));
        }
    }
    Ok(changes)
}
