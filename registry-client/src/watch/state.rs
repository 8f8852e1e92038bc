//! Where a watch stands: pure, told what came and saying what to do.

use bytes::Bytes;

use super::WatchItem;
use crate::pb::watch_events_request::{Snapshot, Start};
use crate::pb::watch_events_response::Response;
use crate::{Error, pb};

/// A watch, and all it takes to go on after the connection broke.
#[derive(Debug)]
pub(super) struct State {
    pub(super) standing: Standing,
    /// It began with a snapshot, and may do so again.
    from_snapshot: bool,
}

/// Where a watch stands.
///
/// ```text
///              created                    created
/// Starting ──────────────> Live    Starting ────────> Snapshotting ──bookmark──> Live
///   (now, after)             │     (snapshot)  <─cut──────┘                        │
///      <──────────cut────────┘ behind its revision <──────────────cut──────────────┘
/// ```
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    /// No connection stands, or it has not said `created` yet.
    Starting {
        /// What to ask for.
        start: Start,
        /// Of the revision to start after, if it is known.
        hash: Bytes,
        /// What the reader knows.
        told: Told,
        /// The reader knows that no connection stands.
        away: bool,
        /// Connections in a row that came to nothing.
        failures: u32,
    },
    /// A snapshot is coming in. Without its end it is worth nothing.
    Snapshotting {
        /// Connections in a row that did not get to its end.
        failures: u32,
    },
    /// The reader has been told everything up to a revision.
    Live {
        /// This one.
        revision: i64,
        /// Of this revision.
        hash: Bytes,
        /// Connections in a row that broke without anything new.
        failures: u32,
    },
    /// An error was told, the last thing there is.
    Ended,
}

/// What the reader of a watch that is about to start has seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Nothing,
    /// That the watch was created; perhaps more.
    Created,
    /// A part of a snapshot, perhaps.
    HalfSnapshot,
}

/// What comes from the connection.
#[derive(Debug)]
pub(super) enum Input {
    Message(pb::WatchEventsResponse),
    /// It could not be made, or ended: with an error or, against the contract, without one.
    Cut(Option<Error>),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Step {
    /// Tell the reader.
    Deliver(WatchItem),
    /// Nothing: the reader knows.
    Skip,
    /// Connect again, to another server or after a wait: that depends on the failures in a row. Tell the reader before that the
    /// connection broke, unless that is known.
    Reconnect { failures: u32, error: Option<Error>, tell: bool },
    /// Tell the reader and stop.
    Fail(Error),
}

impl State {
    /// `hash` is that of the revision to start after, or empty.
    pub(super) fn new(start: Start, hash: Bytes) -> Self {
        let standing = Standing::Starting { start, hash, told: Told::Nothing, away: false, failures: 0 };
        Self { standing, from_snapshot: matches!(start, Start::Snapshot(_)) }
    }

    pub(super) fn step(&mut self, input: Input) -> Step {
        let response = match input {
            Input::Message(message) => message.response,
            Input::Cut(error) => return self.cut(error),
        };
        match (&mut self.standing, response) {
            (Standing::Starting { start, told, failures, .. }, Some(Response::Created(created))) => {
                let (start, told, failures) = (*start, *told, *failures);
                let pb::WatchCreated { revision, hash } = created;
                match start {
                    Start::AfterRevision(after) if revision > after => {
                        return self.fail("the watch left out revisions");
                    }
                    Start::Snapshot(_) => self.standing = Standing::Snapshotting { failures },
                    // An older one would only repeat what is skipped below.
                    Start::AfterRevision(revision) => {
                        self.standing = Standing::Live { revision, hash: hash.clone(), failures };
                    }
                    Start::Now(_) => self.standing = Standing::Live { revision, hash: hash.clone(), failures },
                }
                match told {
                    Told::Nothing => Step::Deliver(WatchItem::Created { revision, hash }),
                    // The server's own revision may lie before what the reader knows.
                    Told::Created => {
                        let known = if let Start::AfterRevision(after) = start { after } else { revision };
                        Step::Deliver(WatchItem::Resumed { revision: known })
                    }
                    Told::HalfSnapshot => Step::Deliver(WatchItem::SnapshotRestarted { revision }),
                }
            }
            (Standing::Snapshotting { .. }, Some(Response::Events(part))) => {
                Step::Deliver(WatchItem::Snapshot { revision: part.revision, events: part.events })
            }
            (Standing::Snapshotting { .. }, Some(Response::Bookmark(pb::Bookmark { revision, hash }))) => {
                self.bookmarked(revision, hash)
            }
            (Standing::Live { revision, .. }, Some(Response::Events(events))) if events.revision <= *revision => {
                Step::Skip
            }
            (Standing::Live { .. }, Some(Response::Events(pb::WatchedEvents { revision, events, hash }))) => {
                self.standing = Standing::Live { revision, hash: hash.clone(), failures: 0 };
                Step::Deliver(WatchItem::Events { revision, events, hash })
            }
            (Standing::Live { revision, hash, .. }, Some(Response::Bookmark(bookmark))) => {
                let known = (*revision, hash.clone());
                let (revision, hash) =
                    if bookmark.revision < known.0 { known } else { (bookmark.revision, bookmark.hash) };
                self.bookmarked(revision, hash)
            }
            _ => self.fail("a watch sent what can't come now"),
        }
    }

    /// The reader is told that there is nothing else up to a revision.
    fn bookmarked(&mut self, revision: i64, hash: Bytes) -> Step {
        self.standing = Standing::Live { revision, hash: hash.clone(), failures: 0 };
        Step::Deliver(WatchItem::Bookmark { revision, hash })
    }

    fn cut(&mut self, error: Option<Error>) -> Step {
        // The revision to go on from is not in the log any more.
        let again = self.from_snapshot && error.as_ref().is_some_and(Error::is_out_of_range);
        let error = match error {
            Some(error) if !again && !error.passes_by_itself() => {
                self.standing = Standing::Ended;
                return Step::Fail(error);
            }
            error => error,
        };
        let tell = !matches!(self.standing, Standing::Starting { away: true, .. });
        let snapshot = (Start::Snapshot(Snapshot {}), Bytes::new(), Told::HalfSnapshot);
        let ((start, hash, told), failures) = match std::mem::replace(&mut self.standing, Standing::Ended) {
            Standing::Starting { failures, .. } | Standing::Live { failures, .. } if again => (snapshot, failures),
            Standing::Starting { start, hash, told, failures, .. } => ((start, hash, told), failures),
            Standing::Snapshotting { failures } => (snapshot, failures),
            Standing::Live { revision, hash, failures } => {
                ((Start::AfterRevision(revision), hash, Told::Created), failures)
            }
            Standing::Ended => return Step::Skip,
        };
        let failures = failures.saturating_add(1);
        self.standing = Standing::Starting { start, hash, told, away: true, failures };
        Step::Reconnect { failures, error, tell }
    }

    fn fail(&mut self, problem: &'static str) -> Step {
        self.standing = Standing::Ended;
        Step::Fail(Error::Protocol(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::watch_events_request::Now;
    use crate::pb::{Bookmark, Event, WatchCreated, WatchEventsResponse, WatchedEvents};

    fn message(response: Response) -> Input {
        Input::Message(WatchEventsResponse { response: Some(response) })
    }

    /// That of a revision.
    fn hash(revision: i64) -> Bytes {
        Bytes::from(vec![u8::try_from(revision).unwrap(); 32])
    }

    fn created(revision: i64) -> Input {
        message(Response::Created(WatchCreated { revision, hash: hash(revision) }))
    }

    fn events(revision: i64) -> Input {
        let events = vec![Event { revision, ..Default::default() }];
        message(Response::Events(WatchedEvents { revision, events, hash: hash(revision) }))
    }

    fn bookmark(revision: i64) -> Input {
        message(Response::Bookmark(Bookmark { revision, hash: hash(revision) }))
    }

    fn cut() -> Input {
        status(tonic::Status::unknown("cut"))
    }

    fn status(status: tonic::Status) -> Input {
        Input::Cut(Some(status.into()))
    }

    /// What a step does, in a word or two.
    fn outcome(step: Step) -> String {
        match step {
            Step::Deliver(WatchItem::Created { revision, .. }) => format!("created {revision}"),
            Step::Deliver(WatchItem::Snapshot { revision, .. }) => format!("snapshot {revision}"),
            Step::Deliver(WatchItem::SnapshotRestarted { revision }) => format!("restarted {revision}"),
            Step::Deliver(WatchItem::Events { revision, .. }) => format!("events {revision}"),
            Step::Deliver(WatchItem::Bookmark { revision, .. }) => format!("bookmark {revision}"),
            Step::Skip => "-".to_owned(),
            Step::Deliver(WatchItem::Resumed { revision }) => format!("resumed {revision}"),
            Step::Deliver(item @ WatchItem::Disconnected { .. }) => {
                unreachable!("{item:?} comes with a step of its own")
            }
            Step::Reconnect { failures, tell: true, .. } => format!("disconnected, reconnect {failures}"),
            Step::Reconnect { failures, tell: false, .. } => format!("reconnect {failures}"),
            Step::Fail(_) => "fail".to_owned(),
        }
    }

    /// Each row: where a watch starts, what its connections bring, what comes of that, and what the watch would ask for next.
    #[test]
    fn a_watch_goes_on_where_it_was() {
        let (now, after) = (Start::Now(Now {}), Start::AfterRevision);
        let snapshot = Start::Snapshot(Snapshot {});
        let rows: Vec<(Start, Vec<Input>, &str, Option<Start>)> = vec![
            // Before anything was told, a new connection asks for the same.
            (now, vec![cut(), cut()], "disconnected, reconnect 1, reconnect 2", Some(now)),
            (snapshot, vec![Input::Cut(None)], "disconnected, reconnect 1", Some(snapshot)),
            // What was created stays where it was created, also if nothing happened since.
            (now, vec![created(7), cut()], "created 7, disconnected, reconnect 1", Some(after(7))),
            (now, vec![created(7), events(9), cut()], "created 7, events 9, disconnected, reconnect 1", Some(after(9))),
            (
                after(3),
                vec![created(3), bookmark(8), cut()],
                "created 3, bookmark 8, disconnected, reconnect 1",
                Some(after(8)),
            ),
            // A registry that is not there yet: the watch says so before it is created.
            (
                now,
                vec![cut(), cut(), created(7), cut()],
                "disconnected, reconnect 1, reconnect 2, created 7, disconnected, reconnect 3",
                Some(after(7)),
            ),
            // A resumed watch says so instead of that it was created, with what the reader knows, and tells nothing twice.
            (
                after(3),
                vec![created(3), events(9), cut(), created(5)],
                "created 3, events 9, disconnected, reconnect 1, resumed 9",
                None,
            ),
            (
                after(3),
                vec![created(3), events(4), cut(), created(4), events(4), events(5), cut()],
                "created 3, events 4, disconnected, reconnect 1, resumed 4, -, events 5, disconnected, reconnect 1",
                Some(after(5)),
            ),
            // Connections that bring nothing new are failures in a row, also if they are made.
            (
                now,
                vec![created(1), cut(), cut(), created(1), cut()],
                "created 1, disconnected, reconnect 1, reconnect 2, resumed 1, disconnected, reconnect 3",
                Some(after(1)),
            ),
            // A snapshot is resumed from its bookmark on; before that it starts again, and says so.
            (
                snapshot,
                vec![created(5), events(5), events(5), bookmark(5), events(6), cut()],
                "created 5, snapshot 5, snapshot 5, bookmark 5, events 6, disconnected, reconnect 1",
                Some(after(6)),
            ),
            (
                snapshot,
                vec![created(5), events(5), cut(), cut(), created(6), events(6), bookmark(6), cut()],
                "created 5, snapshot 5, disconnected, reconnect 1, reconnect 2, restarted 6, snapshot 6, bookmark 6, disconnected, reconnect 1",
                Some(after(6)),
            ),
            // What waiting does not cure ends it; what the registry says will pass does not.
            (after(9), vec![status(tonic::Status::out_of_range("compacted"))], "fail", None),
            // With a snapshot it starts anew where its revision is gone.
            (
                snapshot,
                vec![
                    created(5),
                    bookmark(5),
                    cut(),
                    status(tonic::Status::out_of_range("restored")),
                    created(4),
                    bookmark(4),
                    cut(),
                ],
                "created 5, bookmark 5, disconnected, reconnect 1, reconnect 2, restarted 4, bookmark 4, disconnected, reconnect 1",
                Some(after(4)),
            ),
            (now, vec![created(1), status(tonic::Status::invalid_argument("no"))], "created 1, fail", None),
            (now, vec![status(tonic::Status::not_found("what it is to be of"))], "fail", None),
            (
                now,
                vec![created(1), status(tonic::Status::unavailable(""))],
                "created 1, disconnected, reconnect 1",
                Some(after(1)),
            ),
            // A server that breaks the contract is not believed.
            (after(3), vec![created(4)], "fail", None),
            (now, vec![events(1)], "fail", None),
            (now, vec![created(1), created(2)], "created 1, fail", None),
            (now, vec![Input::Message(WatchEventsResponse { response: None })], "fail", None),
        ];
        for (i, (start, inputs, expected, next)) in rows.into_iter().enumerate() {
            let mut state = State::new(start, Bytes::new());
            let outcomes: Vec<_> = inputs.into_iter().map(|input| outcome(state.step(input))).collect();
            assert_eq!(outcomes.join(", "), expected, "row {i}");
            match next {
                Some(next) => {
                    let Standing::Starting { start, hash: known, .. } = &state.standing else {
                        panic!("row {i}: {state:?}")
                    };
                    assert_eq!(*start, next, "row {i}");
                    // A revision that a server named is asked for with its hash.
                    match next {
                        Start::AfterRevision(revision) => assert_eq!(*known, hash(revision), "row {i}"),
                        _ => assert!(known.is_empty(), "row {i}"),
                    }
                }
                None => assert!(matches!(state.standing, Standing::Ended | Standing::Live { .. }), "row {i}"),
            }
        }
    }
}
