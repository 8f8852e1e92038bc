//! Reading the log: the tail that watchers follow, and single events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::kinds;
use super::{Registry, keys};
use crate::error::Error;
use crate::rules::names::{ModelName, Parent};
use crate::store::{LogEntry, Range, Revision, Source, Store, StoreError};

/// How many revisions the tail keeps decoded.
const KEPT: usize = 1024;
/// And of at most how many bytes, as they are in the log.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// How many revisions are read from the log at once.
const READ: usize = 64;
/// How many revisions a page of a list looks at, at most.
const LOOKED_AT: usize = 5_000;

/// The log, with its newest entries decoded once for all watchers.
pub(crate) struct Tail {
    store: Arc<dyn Store>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<Revision, (Arc<pb::WatchedEvents>, usize)>,
    bytes: usize,
}

impl Kept {
    /// What is kept of the revisions behind `after`, without a gap.
    fn behind(&self, after: Revision, limit: usize) -> Vec<Arc<pb::WatchedEvents>> {
        let behind = self.entries.range(after.saturating_add(1)..).take(limit);
        let contiguous = (1..).zip(behind).take_while(|(step, (found, _))| *found - after == *step);
        contiguous.map(|(_, (_, (entry, _)))| Arc::clone(entry)).collect()
    }

    fn keep(&mut self, revision: Revision, entry: Arc<pb::WatchedEvents>, bytes: usize) {
        let newest = self.entries.last_key_value().map_or(0, |(revision, _)| *revision);
        // Old entries, read by somebody who is far behind, must not drive out new ones.
        if revision + (KEPT as Revision) < newest {
            return;
        }
        if self.entries.insert(revision, (entry, bytes)).is_none() {
            self.bytes += bytes;
        }
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((_, (_, bytes))) = self.entries.pop_first() else { break };
            self.bytes -= bytes;
        }
    }
}

impl Tail {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, kept: Mutex::default() }
    }

    /// Some revisions behind `after`, oldest first; none only if there is none.
    pub(crate) async fn read(&self, after: Revision) -> Result<Vec<Arc<pb::WatchedEvents>>, Error> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).behind(after, READ);
        if !kept.is_empty() {
            return Ok(kept);
        }
        let entries = self.store.log(after, READ).await?;
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            let decoded = Arc::new(decode(&entry)?);
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.keep(entry.revision, Arc::clone(&decoded), entry.events.len());
            read.push(decoded);
        }
        Ok(read)
    }

    /// The events of one revision.
    pub(crate) async fn events_of(&self, revision: Revision) -> Result<Vec<pb::Event>, Error> {
        let before = revision.saturating_sub(1);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).behind(before, 1);
        if let Some(entry) = kept.first().filter(|entry| entry.revision == revision) {
            return Ok(entry.events.clone());
        }
        let entries = self.store.log(before, 1).await?;
        match entries.first() {
            Some(entry) if entry.revision == revision => Ok(decode(entry)?.events),
            _ => Ok(Vec::new()),
        }
    }
}

fn decode(entry: &LogEntry) -> Result<pb::WatchedEvents, Error> {
    Ok(pb::WatchedEvents::decode(entry.events.clone()).map_err(|error| StoreError::Damaged(error.to_string()))?)
}

/// Which events somebody wants.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) parent: Parent,
    /// Empty means all.
    pub(crate) types: Vec<pb::EventType>,
}

impl Selection {
    pub(crate) fn takes(&self, event: &pb::Event) -> bool {
        (self.types.is_empty() || self.types.contains(&event.r#type())) && is_below(&event.resource_name, &self.parent)
    }
}

fn is_below(name: &str, parent: &Parent) -> bool {
    let within = |parent: &str| name.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match parent {
        Parent::All => true,
        Parent::Namespace(namespace) => within(&format!("namespaces/{namespace}")),
        Parent::Model(model) => within(&model.to_string()),
        Parent::Version { model, number } => within(&model.version(*number)),
    }
}

/// Some events of the past, and the revision to go on behind, if there may be more.
pub(crate) struct EventPage {
    pub(crate) events: Vec<pb::Event>,
    pub(crate) next: Option<Revision>,
}

impl Registry {
    /// Events behind a revision, oldest first: about `limit`, since a revision is not split.
    pub(crate) async fn list_events(
        &self,
        selection: &Selection,
        after: Revision,
        limit: usize,
    ) -> Result<EventPage, Error> {
        let mut events = Vec::new();
        let (mut at, mut looked_at) = (after, 0);
        loop {
            let entries = match &selection.parent {
                Parent::Model(model) | Parent::Version { model, .. } => self.entries_of(model, at).await?,
                Parent::All | Parent::Namespace(_) => self.tail.read(at).await?,
            };
            if entries.is_empty() {
                return Ok(EventPage { events, next: None });
            }
            for entry in entries {
                at = entry.revision;
                looked_at += 1;
                events.extend(entry.events.iter().filter(|event| selection.takes(event)).cloned());
                if events.len() >= limit || looked_at >= LOOKED_AT {
                    return Ok(EventPage { events, next: Some(at) });
                }
            }
        }
    }

    /// Revisions behind `after` that have events of a model, found without reading the others.
    async fn entries_of(&self, model: &ModelName, after: Revision) -> Result<Vec<Arc<pb::WatchedEvents>>, Error> {
        let range = Range {
            prefix: keys::model_prefix(model),
            after: Some(keys::event_reference(model, after)),
            reverse: false,
            limit: READ,
        };
        let mut entries = Vec::new();
        for hit in self.store.scan(Source::Kind(kinds::EVENT_REFERENCE), &range).await? {
            let events = self.tail.events_of(hit.record.revision).await?;
            entries.push(Arc::new(pb::WatchedEvents { revision: hit.record.revision, events }));
        }
        Ok(entries)
    }

    /// One event.
    pub(crate) async fn event(&self, name: &str) -> Result<pb::Event, Error> {
        let parts = name.strip_prefix("events/").and_then(|id| id.split_once('-'));
        let numbers = parts.and_then(|(revision, index)| Some((revision.parse().ok()?, index.parse::<u32>().ok()?)));
        let Some((revision, index)) = numbers else {
            return Err(Error::field("name", ErrorReason::NameInvalid, "expected \"events/{revision}-{index}\""));
        };
        let missing = || Error::NotFound { reason: ErrorReason::EventNotFound, name: name.to_owned() };
        let events = if revision == 0 { Vec::new() } else { self.tail.events_of(revision).await? };
        events.into_iter().find(|event| event.index == index).ok_or_else(missing)
    }
}
