//! The chain of hashes: what tells one past from another.

use bytes::Bytes;
use prost::Message as _;
use registry_proto::v1 as pb;

use super::commit::{CHAIN_START, link};
use super::kinds;
use crate::store::{Revision, Store, StoreError, read_write};
use crate::stored::{ChainHeadRecord, LogEntry};

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
        let mut at = revision;
        while at > 0 {
            let entries = store.log(at - 1, 1).await?;
            let Some(entry) = entries.into_iter().find(|entry| entry.revision == at) else { return Ok(None) };
            let hash = match last_hash(&entry.events) {
                // Its writes are read only then: they may be long.
                None => store.changes(at - 1, 1).await?.first().and_then(hash_behind),
                hash => hash,
            };
            if let Some(hash) = hash {
                return Ok(Some(Self { revision, hash }));
            }
            // It can't be read, and says nothing of the chain: what comes behind it goes on from before.
            at -= 1;
        }
        Ok(Some(Self { revision, ..Self::start() }))
    }

    /// The position of the last of some entries that come right behind this one.
    pub(crate) fn behind(&self, entries: &[LogEntry]) -> Self {
        let hash = entries.iter().rev().find_map(hash_behind).unwrap_or_else(|| self.hash.clone());
        Self { revision: entries.last().map_or(self.revision, |entry| entry.revision), hash }
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
    /// hashes say. Of one that can't be read only what comes behind it can tell.
    pub(crate) fn follow(&mut self, entry: &LogEntry) -> bool {
        if entry.revision != self.revision + 1 {
            return false;
        }
        let Ok(pb::WatchedEvents { events, .. }) = pb::WatchedEvents::decode(entry.events.clone()) else {
            *self = self.behind(std::slice::from_ref(entry));
            return true;
        };
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

/// The hash with which the chain goes on after an entry: that of its last event or, if these can't be read, what the revision noted for
/// the next one. `None` if neither is there.
pub(crate) fn hash_behind(entry: &LogEntry) -> Option<Bytes> {
    last_hash(&entry.events).or_else(|| {
        let heads = entry.writes.iter().rev().filter(|write| write.kind == u32::from(kinds::CHAIN_HEAD.0));
        let (_, _, put) = heads.map(|write| read_write(write, &entry.events)).next()?.ok()?;
        Some(ChainHeadRecord::decode(put?.payload).ok()?.hash)
    })
}

/// The hash of the last of some events, if they can be read.
fn last_hash(events: &Bytes) -> Option<Bytes> {
    let decoded = pb::WatchedEvents::decode(events.clone()).ok()?;
    decoded.events.last().map(|event| event.hash.clone())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) type History = Vec<LogEntry>;

    /// The next `count` entries of a log, each with one event by this actor.
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
        assert!(!position.follow(&LogEntry { revision: 3, ..ours[1].clone() }), "with a gap");
        assert_eq!(position, before);
        assert!(position.follow(&ours[1]));
        assert_eq!(position.revision, 2);
    }

    #[test]
    fn what_cant_be_read_is_passed_over_and_what_comes_behind_it_has_to_follow() {
        let ours = history(&[], "ana", 2);
        let damaged = |revision| LogEntry { revision, events: Bytes::from_static(b"\xff"), writes: Vec::new() };
        // As the registry goes on after a revision that says nothing of the chain: from the one before.
        let mut position = Position::start();
        assert!(position.follow(&ours[0]) && position.follow(&damaged(2)));
        let mut event = pb::Event { revision: 3, ..Default::default() };
        link(&position.hash, &mut event);
        let events = pb::WatchedEvents { revision: 3, events: vec![event], ..Default::default() };
        let third = LogEntry { revision: 3, events: events.encode_to_vec().into(), writes: Vec::new() };
        assert!(position.clone().follow(&third));
        let mut other = Position::start();
        assert!(other.follow(&damaged(1)) && other.follow(&damaged(2)) && !other.follow(&third));
    }
}
