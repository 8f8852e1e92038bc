//! The chain of hashes: what tells one past from another.

use bytes::Bytes;
use prost::Message as _;
use registry_proto::v1 as pb;

use crate::registry::commit::{CHAIN_START, link};
use crate::store::{Revision, Store, StoreError};
use crate::stored::LogEntry;

/// A place in a log: a revision, and the hash of its last event, which covers everything up to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) revision: Revision,
    pub(crate) hash: Bytes,
}

impl Position {
    /// Before the first revision.
    pub(crate) fn start() -> Self {
        Self { revision: 0, hash: Bytes::from_static(&CHAIN_START) }
    }

    /// The position of a revision in a store's log, if that has it.
    pub(crate) async fn of(store: &dyn Store, revision: Revision) -> Result<Option<Self>, StoreError> {
        if revision == 0 {
            return Ok(Some(Self::start()));
        }
        let entries = store.log(revision - 1, 1).await?;
        let entry = entries.into_iter().find(|entry| entry.revision == revision);
        entry.map(|entry| Self::at(revision, entry.events)).transpose()
    }

    /// The position of a revision with these events.
    pub(crate) fn at(revision: Revision, bytes: Bytes) -> Result<Self, StoreError> {
        let last = events(bytes)?.pop();
        let hash = last.ok_or_else(|| StoreError::Damaged(format!("revision {revision} has no events")))?.hash;
        Ok(Self { revision, hash })
    }

    /// The newest position of a store.
    pub(crate) async fn newest(store: &dyn Store) -> Result<Self, StoreError> {
        let revision = store.newest().await?;
        let lost = || StoreError::Unavailable(format!("revision {revision} was there a moment ago"));
        Self::of(store, revision).await?.ok_or_else(lost)
    }

    /// Whether a store has this revision, and everything up to it, as it is here.
    pub(crate) async fn is_past_of(&self, store: &dyn Store) -> Result<bool, StoreError> {
        Ok(Self::of(store, self.revision).await?.as_ref() == Some(self))
    }

    /// Goes on to the next revision; false, and nothing has changed, if the entry does not follow this position or is not what its
    /// hashes say.
    pub(crate) fn follow(&mut self, entry: &LogEntry) -> bool {
        let Ok(events) = events(entry.events.clone()) else { return false };
        if events.is_empty() || entry.revision != self.revision + 1 {
            return false;
        }
        let mut hash = self.hash.clone();
        for mut event in events {
            let logged = event.hash.clone();
            link(&hash, &mut event);
            if event.hash != logged || event.revision.cast_unsigned() != entry.revision {
                return false;
            }
            hash = logged;
        }
        *self = Self { revision: entry.revision, hash };
        true
    }
}

fn events(bytes: Bytes) -> Result<Vec<pb::Event>, StoreError> {
    let decoded = pb::WatchedEvents::decode(bytes).map_err(|error| StoreError::Damaged(error.to_string()));
    Ok(decoded?.events)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) type History = Vec<LogEntry>;

    /// So many more entries of a log, each with an event by this actor.
    pub(crate) fn history(before: &[LogEntry], actor: &str, count: usize) -> History {
        let mut position = Position::start();
        assert!(before.iter().all(|entry| position.follow(entry)));
        let next = |_| {
            let revision = position.revision + 1;
            let number = revision.cast_signed();
            let mut event = pb::Event { revision: number, actor: actor.to_owned(), ..Default::default() };
            link(&position.hash, &mut event);
            let events = pb::WatchedEvents { revision: number, events: vec![event], ..Default::default() };
            let entry = LogEntry { revision, events: events.encode_to_vec().into(), writes: Vec::new() };
            assert!(position.follow(&entry));
            entry
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn only_what_follows_is_followed() {
        let (ours, theirs) = (history(&[], "ana", 2), history(&[], "bob", 2));
        let mut position = Position::start();
        assert!(position.follow(&ours[0]));
        let before = position.clone();
        assert!(!position.follow(&ours[0]), "again");
        assert!(!position.follow(&theirs[1]), "behind another past");
        assert!(!position.follow(&LogEntry { events: Bytes::new(), ..ours[1].clone() }), "without events");
        assert!(!position.follow(&LogEntry { revision: 3, ..ours[1].clone() }), "with a gap");
        assert_eq!(position, before);
        assert!(position.follow(&ours[1]));
        assert_eq!(position.revision, 2);
    }
}
