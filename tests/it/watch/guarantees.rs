//! The promises of events.proto, each as a function that looks for the contrary.

use std::collections::BTreeSet;

use registry_client::pb::Event;
use registry_client::pb::watch_events_response::Response;
use registry_tests::is_of;

/// What a watch said.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The revision in `created`, which has to come first and once.
    pub(crate) created: Option<i64>,
    /// Messages with events, in their order.
    pub(crate) messages: Vec<(i64, Vec<Event>)>,
    /// How many messages had come before a bookmark, and its revision.
    pub(crate) bookmarks: Vec<(usize, i64)>,
}

impl Watched {
    pub(crate) fn push(&mut self, response: Response) {
        match response {
            Response::Created(created) => {
                assert!(self.created.is_none() && self.messages.is_empty() && self.bookmarks.is_empty());
                self.created = Some(created.revision);
            }
            Response::Events(events) => self.messages.push((events.revision, events.events)),
            Response::Bookmark(bookmark) => self.bookmarks.push((self.messages.len(), bookmark.revision)),
        }
    }

    /// Everything up to here has come.
    pub(crate) fn seen(&self) -> i64 {
        let events = self.messages.last().map_or(0, |(revision, _)| *revision);
        events.max(self.bookmarks.last().map_or(0, |(_, revision)| *revision))
    }

    pub(crate) fn revisions(&self) -> Vec<i64> {
        self.messages.iter().map(|(revision, _)| *revision).collect()
    }

    fn events(&self) -> Vec<Event> {
        self.messages.iter().flat_map(|(_, events)| events.clone()).collect()
    }
}

/// Revisions only grow, and so do the places of events in them.
pub(crate) fn ordered(watched: &Watched) {
    assert!(watched.revisions().is_sorted_by(|earlier, later| earlier < later));
    for (revision, events) in &watched.messages {
        assert!(events.iter().all(|event| event.revision == *revision));
        assert!(events.is_sorted_by(|earlier, later| earlier.index < later.index));
    }
}

/// No event comes twice.
pub(crate) fn unique(watched: &Watched) {
    let events = watched.events();
    let ids: BTreeSet<_> = events.iter().map(|event| &event.uid).collect();
    assert_eq!(ids.len(), events.len());
}

/// The events of a revision come in one message.
pub(crate) fn atomic(watched: &Watched, log: &[Event]) {
    for (revision, events) in &watched.messages {
        let of_revision: Vec<_> = log.iter().filter(|event| event.revision == *revision).cloned().collect();
        assert_eq!(*events, of_revision, "{revision}");
        assert!(!events.is_empty());
    }
}

/// Nothing is missing between the start and the newest message.
pub(crate) fn reliable(watched: &Watched, log: &[Event], after: i64) {
    let newest = watched.seen();
    let expected: Vec<_> = log.iter().filter(|event| event.revision > after && event.revision <= newest).collect();
    assert_eq!(watched.events().iter().collect::<Vec<_>>(), expected);
}

/// A watch from a revision on is the rest of the whole one.
pub(crate) fn resumable(whole: &Watched, rest: &Watched, after: i64) {
    let behind: Vec<_> = whole.messages.iter().filter(|(revision, _)| *revision > after).collect();
    assert_eq!(rest.messages.iter().collect::<Vec<_>>(), behind, "after {after}");
    assert_eq!(rest.created, Some(after));
}

/// Before a bookmark came everything up to its revision, and nothing behind it.
pub(crate) fn bookmarkable(watched: &Watched) {
    assert!(!watched.bookmarks.is_empty(), "one comes when the past has been read");
    for (messages, bookmark) in &watched.bookmarks {
        let (before, after) = watched.messages.split_at(*messages);
        assert!(before.iter().all(|(revision, _)| revision <= bookmark));
        assert!(after.iter().all(|(revision, _)| revision > bookmark));
    }
}

/// Of the log exactly what is at or below a resource and of one of the types, if there are any.
pub(crate) fn filtered(watched: &Watched, log: &[Event], below: &str, types: &[&str]) {
    let inside = |name: &str| name.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let chosen = log.iter().filter(|event| inside(&event.resource_name));
    let chosen: Vec<_> = chosen.filter(|event| is_of(event, types)).collect();
    assert_eq!(watched.events().iter().collect::<Vec<_>>(), chosen, "{below} {types:?}");
    assert!(watched.messages.iter().all(|(_, events)| !events.is_empty()), "a message without events");
}
