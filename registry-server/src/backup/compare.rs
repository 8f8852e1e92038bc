//! Is the state what the log makes? Compared a page at a time, each read by itself, while the state goes on being written.
//!
//! What is written meanwhile differs at first. The log is then carried out up to the revision that wrote the record, which the record
//! tells, and there the two have to be the same. So no page has to be read together with another.

use std::collections::BTreeMap;

use crate::store::sled::SledStore;
use crate::store::{Hit, Range, Read, Revision, Source, Store, StoreError};

/// How many records, or revisions, are read at once.
const PAGE: usize = 1000;

/// Where the state is not what the log makes.
pub(super) struct Difference {
    pub(super) position: Vec<u8>,
    pub(super) detail: &'static str,
}

/// The comparison of one source.
pub(super) struct Comparison<'a> {
    source: Source,
    state: &'a dyn Store,
    /// Made by carrying the log out, so far.
    log: &'a SledStore,
    /// Up to where it is compared.
    after: Option<Vec<u8>>,
}

/// What is at a position in the state, and in what the log made.
type Pair = (Option<Hit>, Option<Hit>);

impl<'a> Comparison<'a> {
    pub(super) fn new(source: Source, state: &'a dyn Store, log: &'a SledStore) -> Self {
        Self { source, state, log, after: None }
    }

    /// Compares the next records: answers how many, and where they differ.
    pub(super) async fn next(&mut self) -> Result<Option<(i64, Vec<Difference>)>, StoreError> {
        // So that little has been written since.
        self.carry_out(self.state.newest().await?).await?;
        let range = Range { after: self.after.clone(), ..Range::first(Vec::new(), PAGE) };
        let (state, log) = (self.state.scan(self.source, &range).await?, self.log.scan(self.source, &range).await?);
        // Both pages are complete up to where the first of them ends.
        let ends = [&state, &log].map(|page| page.last().map(|hit| hit.position.clone()));
        let Some(end) = ends.into_iter().flatten().min() else { return Ok(None) };
        let (mut pairs, mut differences) = (BTreeMap::<Vec<u8>, Pair>::new(), Vec::new());
        for hit in state.into_iter().filter(|hit| hit.position <= end) {
            let position = hit.position.clone();
            if pairs.entry(position.clone()).or_default().0.replace(hit).is_some() {
                differences.push(Difference { position, detail: "is in the state twice" });
            }
        }
        for hit in log.into_iter().filter(|hit| hit.position <= end) {
            let pair = pairs.entry(hit.position.clone()).or_default();
            pair.1 = Some(hit);
        }
        self.after = Some(end);
        for (position, pair) in &pairs {
            if !self.agree(pair)
                && let Some(detail) = self.differ(position).await?
            {
                differences.push(Difference { position: position.clone(), detail });
            }
        }
        Ok(Some((pairs.len() as i64, differences)))
    }

    fn agree(&self, pair: &Pair) -> bool {
        match pair {
            // What an index leads to is compared as a record of its kind.
            (Some(state), Some(log)) if matches!(self.source, Source::Index(_)) => state.record.key == log.record.key,
            (state, log) => state == log,
        }
    }

    /// In what the two differ at a position, if they really do.
    async fn differ(&self, position: &[u8]) -> Result<Option<&'static str>, StoreError> {
        let mut before: Option<Revision> = None;
        loop {
            let carried_out = self.log.newest().await?;
            // In this order: the state is of that revision, or of a later one.
            let mut pair = (at(self.state, self.source, position).await?, at(self.log, self.source, position).await?);
            if let (Some(state), _) = &pair
                && state.record.revision > carried_out
            {
                // What was written last by a revision is what the log makes up to that one.
                self.carry_out(state.record.revision).await?;
                pair.1 = at(self.log, self.source, position).await?;
            }
            return Ok(match &pair {
                _ if self.agree(&pair) => None,
                (Some(_), None) => Some("is in the state, and not in the log"),
                (Some(_), Some(_)) => Some("is not what the log says"),
                (None, None) => None,
                (None, Some(log)) => {
                    // It may have been removed since, unless the log says that nothing has changed it meanwhile.
                    if before == Some(log.record.revision) {
                        return Ok(Some("is in the log, and not in the state"));
                    }
                    before = Some(log.record.revision);
                    self.carry_out(self.state.newest().await?).await?;
                    continue;
                }
            });
        }
    }

    /// Carries the log out up to a revision, if it is not yet and goes so far.
    async fn carry_out(&self, to: Revision) -> Result<(), StoreError> {
        loop {
            let newest = self.log.newest().await?;
            if newest >= to {
                return Ok(());
            }
            let mut entries = self.state.changes(newest, PAGE).await?;
            entries.retain(|entry| entry.revision <= to);
            if entries.is_empty() {
                return Ok(());
            }
            self.log.restore(entries, true).await?;
        }
    }
}

/// What is at a position.
async fn at<R: Read + ?Sized>(records: &R, source: Source, position: &[u8]) -> Result<Option<Hit>, StoreError> {
    let hits = records.scan(source, &Range::first(position.to_vec(), 1)).await?;
    Ok(hits.into_iter().next().filter(|hit| hit.position == position))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::*;
    use crate::registry::kinds::{CONTENTS, LAYOUT, MANIFEST};
    use crate::store::{
        Decision, Flaw, Kind, LogEntry, Place, Put, Record, Snapshot, StoreMeasures, Transaction, Whereabouts,
    };
    use crate::stored;

    /// Writes records of a kind with an index, or with `None` removes them.
    struct Writes(Vec<(u8, Option<u8>)>);

    #[async_trait]
    impl Decision for Writes {
        async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
            for (key, value) in &self.0 {
                match value {
                    Some(value) => {
                        let places = vec![Place { slot: CONTENTS.slot, value: vec![*value] }];
                        let payload = Bytes::from(vec![*value]);
                        tx.put(Put { kind: MANIFEST, key: vec![*key], payload, places }).await?;
                    }
                    None => tx.remove(MANIFEST, &[*key]).await?,
                }
            }
            Ok(Some(Bytes::from_static(b"event")))
        }
    }

    /// A store that others write to between any two reads; or that says what is not so.
    struct Busy {
        store: SledStore,
        /// What is written behind the next reads.
        next: Mutex<Vec<Writes>>,
        hidden: Option<u8>,
        doubled: Option<u8>,
    }

    impl Busy {
        async fn write(&self, writes: Writes) {
            self.store.commit(Arc::new(writes)).await.unwrap();
        }
    }

    #[async_trait]
    impl Read for Busy {
        async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
            self.store.get(kind, key).await
        }

        async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
            let mut hits = self.store.scan(source, range).await?;
            hits.retain(|hit| self.hidden.is_none_or(|hidden| hit.record.key != [hidden]));
            let doubled =
                hits.iter().find(|hit| self.doubled.is_some_and(|doubled| hit.record.key == [doubled])).cloned();
            if let Some(doubled) = doubled {
                hits.insert(hits.iter().position(|hit| *hit == doubled).unwrap(), doubled);
            }
            let next = self.next.lock().unwrap().pop();
            if let Some(next) = next {
                self.write(next).await;
            }
            Ok(hits)
        }
    }

    #[async_trait]
    impl Store for Busy {
        fn head(&self) -> watch::Receiver<Revision> {
            self.store.head()
        }

        async fn time(&self) -> Result<SystemTime, StoreError> {
            self.store.time().await
        }

        async fn newest(&self) -> Result<Revision, StoreError> {
            self.store.newest().await
        }

        async fn oldest(&self) -> Result<Revision, StoreError> {
            self.store.oldest().await
        }

        async fn compact(&self, before: Revision, recent: Revision) -> Result<Revision, StoreError> {
            self.store.compact(before, recent).await
        }

        async fn log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
            self.store.log(after, limit).await
        }

        async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
            self.store.changes(after, limit).await
        }

        async fn restore(&self, entries: Vec<stored::LogEntry>, whole: bool) -> Result<Revision, StoreError> {
            self.store.restore(entries, whole).await
        }

        async fn identity(&self) -> Result<Uuid, StoreError> {
            self.store.identity().await
        }

        async fn whereabouts(&self) -> Result<Whereabouts, StoreError> {
            self.store.whereabouts().await
        }

        async fn whole(&self) -> Result<bool, StoreError> {
            self.store.whole().await
        }

        async fn flaws(&self, limit: usize) -> Result<Vec<Flaw>, StoreError> {
            self.store.flaws(limit).await
        }

        async fn commit(&self, decision: Arc<dyn Decision>) -> Result<Option<Revision>, StoreError> {
            self.store.commit(decision).await
        }

        async fn slate_get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            self.store.slate_get(key).await
        }

        async fn slate_scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
            self.store.slate_scan(prefix).await
        }

        async fn slate_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
            self.store.slate_swap(key, old, new).await
        }

        async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
            self.store.snapshot().await
        }

        fn healthy(&self) -> watch::Receiver<bool> {
            self.store.healthy()
        }

        fn measures(&self) -> &StoreMeasures {
            self.store.measures()
        }
    }

    /// The keys or places at which a store differs from its log, while `next` is written, the last one first.
    async fn differences(
        source: Source,
        next: Vec<Writes>,
        [hidden, doubled]: [Option<u8>; 2],
    ) -> Vec<(Vec<u8>, &'static str)> {
        let folder = tempfile::tempdir().unwrap();
        let open = |name| SledStore::open(&folder.path().join(name), 1 << 20, &LAYOUT).unwrap();
        let (state, log) = (Busy { store: open("state"), next: Mutex::default(), hidden, doubled }, open("log"));
        state.write(Writes((0..10).map(|key| (key, Some(key))).collect())).await;
        *state.next.lock().unwrap() = next;
        let mut comparison = Comparison::new(source, &state, &log);
        let mut found = Vec::new();
        while let Some((_, differences)) = comparison.next().await.unwrap() {
            found.extend(differences.into_iter().map(|difference| (difference.position, difference.detail)));
        }
        found
    }

    const SOURCES: [Source; 2] = [Source::Kind(MANIFEST), Source::Index(CONTENTS)];

    #[tokio::test]
    async fn what_is_written_meanwhile_is_no_difference() {
        for source in SOURCES {
            // Added, changed or moved, and removed, again and again.
            let change = |turn: u8| Writes(vec![(turn, None), (turn + 1, Some(turn + 100)), (turn + 50, Some(turn))]);
            let found = differences(source, (0..8).map(change).collect(), [None, None]).await;
            assert_eq!(found, [], "{source:?}");
        }
    }

    #[tokio::test]
    async fn a_real_difference_is_found_beside_what_is_written() {
        for (source, position) in SOURCES.into_iter().zip([vec![7], vec![7, 7]]) {
            let change = |turn: u8| Writes(vec![(turn, None), (20, Some(turn))]);
            let found = differences(source, (0..5).map(change).collect(), [Some(7), None]).await;
            assert_eq!(found, [(position.clone(), "is in the log, and not in the state")], "{source:?}");
            let found = differences(source, Vec::new(), [None, Some(7)]).await;
            assert_eq!(found, [(position, "is in the state twice")], "{source:?}");
        }
    }
}
