//! A commit in the making: writes that are staged above the committed state.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::stored;
use async_trait::async_trait;
use bytes::Bytes;

use super::physical::{Body, Overrides, Stored, View, entries_of, record, record_key};
use crate::store::{Hit, Kind, Layout, Put, Range, Read, Record, Revision, Source, StoreError, Transaction, logged};

/// The transaction of one decision, above what is committed, what is on its way to the disk, and what the decisions before it
/// staged.
pub(super) struct Staged<'a> {
    layout: &'static Layout,
    base: View<'a>,
    overrides: &'a mut Overrides,
    revision: Revision,
    /// What the overrides held before, to take this decision back.
    former: Vec<(Bytes, Option<Option<Bytes>>)>,
    writes: Vec<stored::LoggedWrite>,
    /// Records as they were read, by their physical keys: what is written has been read before, most often.
    seen: Mutex<HashMap<Vec<u8>, Option<Body>>>,
}

impl<'a> Staged<'a> {
    pub(super) fn new(
        layout: &'static Layout,
        base: View<'a>,
        overrides: &'a mut Overrides,
        revision: Revision,
    ) -> Self {
        Self { layout, base, overrides, revision, former: Vec::new(), writes: Vec::new(), seen: Mutex::default() }
    }

    /// The log entry of this commit.
    pub(super) fn into_entry(self, events: Bytes) -> stored::LogEntry {
        logged::entry(self.revision, events, self.writes)
    }

    /// Takes all writes back.
    pub(super) fn undo(self) {
        for (key, former) in self.former.into_iter().rev() {
            match former {
                Some(value) => drop(self.overrides.insert(key, value)),
                None => self.overrides.forget(&key),
            }
        }
    }

    /// Stages the writes of a log entry.
    pub(super) fn replay(&mut self, entry: &stored::LogEntry) -> Result<(), StoreError> {
        for write in &entry.writes {
            let (kind, key, put) = logged::read_write(write, &entry.events)?;
            let old = self.old(kind, &key)?;
            self.write(kind, &key, put, old)?;
        }
        Ok(())
    }

    fn stage(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let key = Bytes::from(key);
        let former = self.overrides.insert(key.clone(), value);
        self.former.push((key, former));
    }

    /// What is to be replaced or removed.
    fn old(&mut self, kind: Kind, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        let physical = record_key(kind, key);
        let seen = self.seen.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It is not as it was seen any more.
        let body = match seen.remove(&physical) {
            Some(body) => body,
            None => self.base.below(self.overrides).body(&physical)?,
        };
        body.map(|body| Stored::read(kind, key, body)).transpose()
    }

    /// Whether a record was read, and is not there.
    fn is_missing(&self, kind: Kind, key: &[u8]) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(seen.get(&record_key(kind, key)), None | Some(None))
    }

    /// Stages a record, or with `None` its removal, and what goes with it, in place of what is there.
    fn write(&mut self, kind: Kind, key: &[u8], put: Option<Put>, old: Option<Stored>) -> Result<(), StoreError> {
        let put = self.layout.checked(kind, put)?;
        let replaced = old.as_ref().map_or(0, Stored::revision);
        let old: Vec<_> = old.iter().flat_map(Stored::companions).collect();
        let write = u32::try_from(self.writes.len()).unwrap_or(u32::MAX);
        let new = put.as_ref().map(|put| entries_of(put, self.revision, write)).unwrap_or_default();
        for companion in &old {
            if !new.iter().any(|(key, _)| key == companion) {
                self.stage(companion.clone(), None);
            }
        }
        if put.is_none() {
            self.stage(record_key(kind, key), None);
        }
        for (key, value) in new {
            // An index lists the record where it did before: its entry is there, and is the same.
            if !old.contains(&key) {
                self.stage(key, Some(value));
            }
        }
        self.writes.push(logged::write_of(kind, key, put.as_ref(), Some(replaced)));
        Ok(())
    }
}

#[async_trait]
impl Read for Staged<'_> {
    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let physical = record_key(kind, key);
        let body = self.base.below(self.overrides).body(&physical)?;
        let read = body.clone().map(|(body, _)| record(key, body)).transpose();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(physical, body);
        read
    }

    async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
        self.base.below(self.overrides).scan(source, range)
    }
}

#[async_trait]
impl Transaction for Staged<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn time(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn put(&mut self, put: Put) -> Result<(), StoreError> {
        let (kind, key) = (put.kind, put.key.clone());
        let old = self.old(kind, &key)?;
        self.write(kind, &key, Some(put), old)
    }

    async fn create(&mut self, put: Put) -> Result<(), StoreError> {
        let (kind, key) = (put.kind, put.key.clone());
        // To look for what is not there takes sled as long as to find what is.
        let old = if self.is_missing(kind, &key) { None } else { self.old(kind, &key)? };
        self.write(kind, &key, Some(put), old)
    }

    async fn remove(&mut self, kind: Kind, key: &[u8]) -> Result<(), StoreError> {
        let old = self.old(kind, key)?;
        self.write(kind, key, None, old)
    }
}
