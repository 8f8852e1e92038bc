//! The chain of hashes: what tells one past from another.

use bytes::Bytes;
use prost::Message as _;
use registry_proto::v1 as pb;

use crate::registry::commit::{CHAIN_START, link};
use crate::store::Revision;
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

    /// Goes on to the next revision; false, and nothing has changed, if the entry does not follow this position or is not what its
    /// hashes say.
    pub(crate) fn follow(&mut self, entry: &LogEntry) -> bool {
        let Ok(pb::WatchedEvents { events, .. }) = pb::WatchedEvents::decode(entry.events.clone()) else {
            return false;
        };
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
