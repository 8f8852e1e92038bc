//! Reading the log: the tail that watchers follow, which events they want, and single events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::{DecodeError, Message};
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Registry;
use super::chain::Position;
use super::commit::CHAIN_START;
use super::tombstones::tombstone_of;
use super::transaction::{Records as _, event};
use super::watch::frames;
use crate::error::Error;
use crate::rules::expression::Expression;
use crate::rules::names::Name;
use crate::store::{LogEntry, Revision, Store};

/// The type of an event in errors.
pub(super) const EVENT: &str = "modelregistry.dev/Event";
/// How many revisions the tail keeps decoded.
const KEPT: usize = 1024;
/// And of at most how many bytes, as they are in the log.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// How many revisions are read from the log at once.
pub(super) const READ: usize = 64;
/// How many watchers may hold what they read of the log behind the tail.
const READERS: usize = 8;

/// The events of a revision, and the frame in which a watch of everything sends them.
pub(super) type Entry = (Arc<pb::WatchedEvents>, Bytes);

/// Some revisions, and a place among those that hold what they read.
pub(super) struct Entries {
    pub(super) entries: Vec<Entry>,
    _place: Option<OwnedSemaphorePermit>,
}

/// The log, with its newest entries decoded once for all watchers.
pub(crate) struct Tail {
    store: Arc<dyn Store>,
    kept: Mutex<Kept>,
    readers: Arc<Semaphore>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<Revision, Entry>,
    bytes: usize,
}

impl Kept {
    /// What is kept of the revisions behind `after`, without a gap.
    fn behind(&self, after: Revision, limit: usize) -> Vec<Entry> {
        let behind = self.entries.range(after.saturating_add(1)..).take(limit);
        let contiguous = (1..).zip(behind).take_while(|(step, (found, _))| *found - after == *step);
        contiguous.map(|(_, (_, entry))| entry.clone()).collect()
    }

    fn keep(&mut self, revision: Revision, entry: Entry) {
        let newest = self.entries.last_key_value().map_or(0, |(revision, _)| *revision);
        // Old entries, read by somebody who is far behind, must not drive out new ones.
        if revision + (KEPT as Revision) < newest {
            return;
        }
        let bytes = entry.1.len();
        if self.entries.insert(revision, entry).is_none() {
            self.bytes += bytes;
        }
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((_, (_, frame))) = self.entries.pop_first() else { break };
            self.bytes -= frame.len();
        }
    }
}

impl Tail {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, kept: Mutex::default(), readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Keeps nothing from before a revision, which was dropped from the log.
    pub(super) fn drop_before(&self, oldest: Revision) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = kept.entries.first_entry().filter(|first| *first.key() < oldest) {
            let (_, (_, frame)) = first.remove_entry();
            kept.bytes -= frame.len();
        }
    }

    fn kept(&self, after: Revision, limit: usize) -> Vec<Entry> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).behind(after, limit)
    }

    /// Some revisions after one, oldest first; empty only at the end of the log.
    pub(crate) async fn read(&self, after: Revision) -> Result<Vec<Arc<pb::WatchedEvents>>, Error> {
        let kept = self.kept(after, READ);
        let entries = if kept.is_empty() { self.read_log(after).await? } else { kept };
        Ok(entries.into_iter().map(|(entry, _)| entry).collect())
    }

    /// The same for a watcher, which may hold them for a while. What the tail has, all of them share; behind it only some may read
    /// at once.
    pub(super) async fn follow(&self, after: Revision) -> Result<Entries, Error> {
        let kept = self.kept(after, READ);
        if !kept.is_empty() || *self.store.head().borrow() <= after {
            return Ok(Entries { entries: kept, _place: None });
        }
        let place = Arc::clone(&self.readers).acquire_owned().await.ok();
        let kept = self.kept(after, READ);
        let entries = if kept.is_empty() { self.read_log(after).await? } else { kept };
        Ok(Entries { entries, _place: place })
    }

    async fn read_log(&self, after: Revision) -> Result<Vec<Entry>, Error> {
        let entries = self.store.log(after, READ).await?;
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            let (decoded, is_readable) = self.decode(&entry).await?;
            let events = if is_readable { entry.events } else { decoded.encode_to_vec().into() };
            let frame = frames::whole(&events, &last_hash(&decoded.events));
            let decoded = (Arc::new(decoded), frame);
            // What can't be read may get a tombstone.
            if is_readable {
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(entry.revision, decoded.clone());
            }
            read.push(decoded);
        }
        Ok(read)
    }

    /// The events of a revision, or what stands for them: false if they can't be read.
    async fn decode(&self, entry: &LogEntry) -> Result<(pb::WatchedEvents, bool), Error> {
        match pb::WatchedEvents::decode(entry.events.clone()) {
            Ok(decoded) => Ok((decoded, true)),
            Err(error) => Ok((self.stand_in(entry, &error).await?, false)),
        }
    }

    /// What stands for the events of a revision that can't be read: it is named, and stops nobody who reads on.
    async fn stand_in(&self, entry: &LogEntry, error: &DecodeError) -> Result<pb::WatchedEvents, Error> {
        let revision = entry.revision.cast_signed();
        let mut comment = format!("the events of this revision can't be read: {error}");
        let tombstone = tombstone_of(&*self.store, entry.revision, &entry.events).await?;
        let mut hash = Bytes::new();
        if let Some(laid_by) = tombstone {
            comment += &format!("; events/{laid_by}-0 is its tombstone");
            let position = Position::of(&*self.store, entry.revision).await?;
            hash = position.map(|position| position.hash).unwrap_or_default();
        } else {
            tracing::error!(revision, %error, "the events of a revision can't be read");
        }
        let unreadable = pb::Event {
            name: format!("events/{revision}-0"),
            revision,
            comment,
            hash,
            ..event(event_type::REVISION_UNREADABLE)
        };
        Ok(pb::WatchedEvents { revision, events: vec![unreadable], ..Default::default() })
    }

    /// The events of one revision.
    pub(crate) async fn events_of(&self, revision: Revision) -> Result<Vec<pb::Event>, Error> {
        let entry = self.entry(revision).await?;
        Ok(entry.map(|entry| Arc::unwrap_or_clone(entry).events).unwrap_or_default())
    }

    async fn entry(&self, revision: Revision) -> Result<Option<Arc<pb::WatchedEvents>>, Error> {
        let before = revision.saturating_sub(1);
        if let Some((entry, _)) = self.kept(before, 1).into_iter().find(|(entry, _)| number(entry) == revision) {
            return Ok(Some(entry));
        }
        let entries = self.store.log(before, 1).await?;
        let Some(entry) = entries.first().filter(|entry| entry.revision == revision) else { return Ok(None) };
        Ok(Some(Arc::new(self.decode(entry).await?.0)))
    }

    /// The hash of the last event of a revision: with the revision, a position in just this history.
    pub(super) async fn hash_at(&self, revision: Revision) -> Result<Bytes, Error> {
        if revision == 0 {
            return Ok(Bytes::from_static(&CHAIN_START));
        }
        Ok(self.entry(revision).await?.map(|entry| last_hash(&entry.events)).unwrap_or_default())
    }

    /// Fails if a position is of another history, the newest revision of which is known: it has another hash here, or is behind the
    /// end. What has no hash is not compared. Answers the whole hash.
    pub(super) async fn check_position(
        &self,
        revision: Revision,
        hash: &[u8],
        newest: Revision,
    ) -> Result<Bytes, Error> {
        let here = self.hash_at(revision).await?;
        if revision <= newest && (hash.is_empty() || here.is_empty() || here.starts_with(hash)) {
            return Ok(here);
        }
        let detail = format!("revision {revision} is not the one that it was: the registry was restored from a backup");
        Err(Error::OutOfRange { reason: ErrorReason::HistoryChanged, detail })
    }
}

/// The hash of the last event of a revision.
pub(super) fn last_hash(events: &[pb::Event]) -> Bytes {
    events.last().map(|event| event.hash.clone()).unwrap_or_default()
}

/// The revision of events.
pub(crate) fn number(entry: &pb::WatchedEvents) -> Revision {
    entry.revision.cast_unsigned()
}

/// Which events somebody wants.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// Of this resource and all below it; `None` means everything.
    pub(crate) parent: Option<Name>,
    /// Empty means all.
    pub(crate) types: Vec<Types>,
    /// And such that meet this condition.
    pub(crate) filter: Option<Arc<Expression>>,
}

impl Selection {
    /// Whether an event is wanted, which the condition needs as it is encoded.
    pub(crate) fn takes(&self, event: &pb::Event, encoded: impl FnOnce() -> Bytes) -> bool {
        // Of a revision without a tombstone nobody knows whom it was about.
        if event.r#type == event_type::REVISION_UNREADABLE && event.hash.is_empty() {
            return true;
        }
        let below = self.parent.as_ref().is_none_or(|parent| parent.contains(&event.resource_name));
        let chosen = below && (self.types.is_empty() || self.types.iter().any(|types| types.have(&event.r#type)));
        chosen && self.filter.as_ref().is_none_or(|filter| filter.matches(&encoded()))
    }
}

/// Types of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Types {
    /// One of them.
    One(String),
    /// All of a kind: what they begin with, the dot included.
    Of(String),
}

impl Types {
    /// Parses the name of a type, or a kind and `.*`; `None` if there is none such.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(kind) = text.strip_suffix('*').filter(|kind| kind.ends_with('.')) {
            let known = event_type::all().any(|known| known.starts_with(kind));
            return known.then(|| Self::Of(kind.to_owned()));
        }
        event_type::all().any(|known| known == text).then(|| Self::One(text.to_owned()))
    }

    fn have(&self, r#type: &str) -> bool {
        match self {
            Self::One(one) => r#type == one,
            Self::Of(kind) => r#type.starts_with(kind.as_str()),
        }
    }
}

impl Registry {
    /// Fails if what events are to be of never was: a typo must not look like silence. What is deleted or purged has its events.
    pub(super) async fn parent_must_exist(&self, selection: &Selection) -> Result<(), Error> {
        match &selection.parent {
            Some(parent) => self.store.parent_must_exist(parent).await,
            None => Ok(()),
        }
    }

    /// One event.
    pub(crate) async fn event(&self, name: &str) -> Result<pb::Event, Error> {
        let parts = name.strip_prefix("events/").and_then(|id| id.split_once('-'));
        let numbers = parts.and_then(|(revision, index)| Some((revision.parse().ok()?, index.parse::<i32>().ok()?)));
        // `events/01-0` is no second name of an event.
        let numbers = numbers.filter(|(revision, index)| name == format!("events/{revision}-{index}"));
        let Some((revision, index)) = numbers else {
            return Err(Error::field("name", ErrorReason::NameInvalid, "expected \"events/{revision}-{index}\""));
        };
        let missing = || Error::NotFound { of: EVENT, name: name.to_owned() };
        let events = if revision == 0 { Vec::new() } else { self.tail.events_of(revision).await? };
        events.into_iter().find(|event| event.index == index).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::expression;

    #[test]
    fn only_what_has_no_tombstone_is_told_to_everybody() {
        let narrow = Selection {
            parent: Some(Name::namespace_with("risk")),
            types: vec![Types::One(event_type::MODEL_CREATED.to_owned())],
            filter: None,
        };
        let everything = Selection { parent: None, types: Vec::new(), filter: None };
        let nothing = Expression::parse("false", &expression::EVENT).ok().map(Arc::new);
        let nothing = Selection { filter: nothing, ..everything.clone() };
        let unreadable = event(event_type::REVISION_UNREADABLE);
        let buried = pb::Event { hash: Bytes::from_static(&CHAIN_START), ..unreadable.clone() };
        assert!(narrow.takes(&unreadable, Bytes::new) && nothing.takes(&unreadable, Bytes::new));
        assert!(everything.takes(&buried, Bytes::new));
        assert!(!narrow.takes(&buried, Bytes::new) && !nothing.takes(&buried, Bytes::new));
    }
}
