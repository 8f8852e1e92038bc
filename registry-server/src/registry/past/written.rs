//! What the log tells of a record: which revisions wrote it, and what.

use std::collections::BTreeMap;
use std::time::Duration;

use registry_proto::v1 as pb;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::{Past, is_model, model_prefix};
use crate::registry::commit::event_reference;
use crate::registry::kinds;
use crate::registry::models::ModelRow;
use crate::registry::resource::Resource as _;
use crate::store::{Hit, Kind, Range, Record, Revision, Source, StoreError, decode, read_write};
use crate::stored::{EventReferenceRecord, LogEntry, LoggedWrite};

/// How many bytes of a key a version's number has.
const NUMBER: usize = 8;
/// How long the log may take to show what the state shows.
const HEAD_MOVES: Duration = Duration::from_secs(5);
/// How many references are read at once, at most.
const READ: usize = 64;

impl Past {
    /// What a record was that is known as it is now; `None` if it was not there yet.
    pub(super) async fn as_it_was(&self, kind: Kind, now: Record) -> Result<Option<Record>, StoreError> {
        if now.revision <= self.at {
            return Ok(Some(now));
        }
        if is_model(kind) {
            return self.model(&now.key).await;
        }
        let mut by = now.revision;
        loop {
            let entry = self.entry(by).await?;
            let write = writes(&entry, kind, &now.key).next();
            match write.ok_or_else(|| damaged(by, "it lacks the write of a record that names it"))?.replaced {
                Some(0) => return Ok(None),
                Some(before) if before <= self.at => return self.written(kind, &now.key, before).await,
                Some(before) if before < by => by = before,
                Some(before) => return Err(damaged(by, &format!("it replaces what revision {before} wrote"))),
                None => return self.searched(kind, &now.key).await,
            }
            yield_now().await;
        }
    }

    /// An artifact as it was, by what is at its key now.
    pub(super) async fn artifact(&self, key: &[u8], now: Option<Record>) -> Result<Option<Record>, StoreError> {
        if let Some(now) = now.filter(|now| now.revision <= self.at) {
            return Ok(Some(now));
        }
        let mut changes = ArtifactChanges::of(&key[..model_prefix(key).len() + NUMBER]);
        changes.catch_up(self).await?;
        match changes.found.get(key) {
            Some(before) => self.before(key, *before).await,
            None => Ok(None),
        }
    }

    /// An artifact before its first change since.
    pub(super) async fn before(&self, key: &[u8], before: Before) -> Result<Option<Record>, StoreError> {
        match before {
            Before::Nothing => Ok(None),
            Before::Written(revision) => self.written(pb::Artifact::KIND, key, revision).await,
            Before::Unknown => self.searched(pb::Artifact::KIND, key).await,
        }
    }

    /// A model, by the newest revision with events of it.
    async fn model(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let mut references = References::before(model_prefix(key), self.at + 1);
        while let Some(reference) = references.next(self).await? {
            let EventReferenceRecord { model_revision } = decode(reference.record.payload)?;
            if model_revision > 0 {
                return self.written(ModelRow::KIND, key, model_revision).await;
            }
            let by = reference.record.revision;
            let entry = self.entry(by).await?;
            if writes(&entry, ModelRow::KIND, key).next().is_some() {
                return outcome(&entry, ModelRow::KIND, key);
            }
            yield_now().await;
        }
        Ok(None)
    }

    /// What a revision made of a record.
    async fn written(&self, kind: Kind, key: &[u8], by: Revision) -> Result<Option<Record>, StoreError> {
        let entry = self.entry(by).await?;
        match writes(&entry, kind, key).next() {
            Some(_) => outcome(&entry, kind, key),
            None => Err(damaged(by, "it lacks the write of a record that another one replaced")),
        }
    }

    /// What a record was, where no write tells which one it replaced: the events of its model are gone through, the newest first.
    async fn searched(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let mut references = References::before(model_prefix(key), self.at + 1);
        while let Some(reference) = references.next(self).await? {
            let entry = self.entry(reference.record.revision).await?;
            if writes(&entry, kind, key).next().is_some() {
                return outcome(&entry, kind, key);
            }
            yield_now().await;
        }
        Ok(None)
    }

    async fn entry(&self, revision: Revision) -> Result<LogEntry, StoreError> {
        let read = async || {
            let read = self.store.changes(revision.saturating_sub(1), 1).await?.into_iter().next();
            Ok::<_, StoreError>(read.filter(|entry| entry.revision == revision))
        };
        if let Some(entry) = read().await? {
            return Ok(entry);
        }
        // A record may be seen a moment before the log shows its revision.
        let mut head = self.store.head();
        let _ = timeout(HEAD_MOVES, head.wait_for(|head| *head >= revision)).await;
        read().await?.ok_or_else(|| damaged(revision, "it is not in the log"))
    }
}

fn damaged(revision: Revision, what: &str) -> StoreError {
    StoreError::Damaged(format!("revision {revision}: {what}"))
}

/// The writes of a record in a revision, which may have several. The first one replaced what was before the revision.
fn writes<'a>(entry: &'a LogEntry, kind: Kind, key: &'a [u8]) -> impl DoubleEndedIterator<Item = &'a LoggedWrite> {
    entry.writes.iter().filter(move |write| write.kind == u32::from(kind.0) && write.key == key)
}

/// The record as the last of its writes in a revision left it.
fn outcome(entry: &LogEntry, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
    let Some(last) = writes(entry, kind, key).next_back() else { return Ok(None) };
    let (_, _, put) = read_write(last, &entry.events)?;
    Ok(put.map(|put| Record { key: put.key, payload: put.payload, revision: entry.revision }))
}

/// The references to the events of a model, the newest first.
struct References {
    range: Range,
    read: std::vec::IntoIter<Hit>,
}

impl References {
    /// Those before a revision.
    fn before(model: Vec<u8>, revision: Revision) -> Self {
        let after = Some(event_reference(&model, revision));
        Self { range: Range { prefix: model, after, reverse: true, limit: 1 }, read: Vec::new().into_iter() }
    }

    async fn next(&mut self, past: &Past) -> Result<Option<Hit>, StoreError> {
        if let Some(hit) = self.read.next() {
            return Ok(Some(hit));
        }
        let hits = past.store.scan(Source::Kind(kinds::EVENT_REFERENCE), &self.range).await?;
        if let Some(last) = hits.last() {
            self.range.after = Some(last.position.clone());
        }
        // Most often the first one is enough.
        self.range.limit = (self.range.limit * 4).min(READ);
        self.read = hits.into_iter();
        Ok(self.read.next())
    }
}

/// What was at the key of an artifact before its first change since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// No artifact.
    Nothing,
    /// What this revision wrote.
    Written(Revision),
    /// The log does not tell.
    Unknown,
}

/// The artifacts of a version that came or went since.
pub(super) struct ArtifactChanges {
    version: Vec<u8>,
    /// The newest revision of the version that was looked at.
    newest: Revision,
    /// By their keys.
    pub(super) found: BTreeMap<Vec<u8>, Before>,
}

impl ArtifactChanges {
    /// None so far.
    pub(super) fn of(version: &[u8]) -> Self {
        Self { version: version.to_vec(), newest: 0, found: BTreeMap::new() }
    }

    /// Looks at the changes that are new: artifacts that are read from now on are in there, if they are.
    pub(super) async fn catch_up(&mut self, past: &Past) -> Result<(), StoreError> {
        let Some(version) = past.store.get(pb::Version::KIND, &self.version).await? else { return Ok(()) };
        let (from, up_to) = (self.newest.max(past.at), version.revision);
        let mut new = BTreeMap::new();
        let mut by = up_to;
        while by > from {
            let entry = past.entry(by).await?;
            // From the newest to the oldest, so that the oldest counts.
            for write in entry.writes.iter().rev() {
                if write.kind == u32::from(pb::Artifact::KIND.0) && write.key.starts_with(&self.version) {
                    new.insert(write.key.to_vec(), Before::of(write.replaced, past));
                }
            }
            let replaced = writes(&entry, pb::Version::KIND, &self.version).next().and_then(|write| write.replaced);
            by = match replaced {
                Some(before) => before,
                // Then it is in one of the revisions with events of the model.
                None => {
                    let mut references = References::before(model_prefix(&self.version), by);
                    references.next(past).await?.map_or(0, |reference| reference.record.revision)
                }
            };
            yield_now().await;
        }
        self.newest = up_to;
        // Of what was found before, the oldest change is known.
        new.append(&mut self.found);
        self.found = new;
        Ok(())
    }
}

impl Before {
    fn of(replaced: Option<Revision>, past: &Past) -> Self {
        match replaced {
            Some(0) => Self::Nothing,
            Some(revision) if revision <= past.at => Self::Written(revision),
            // It was written twice since; or not known.
            Some(_) | None => Self::Unknown,
        }
    }
}
