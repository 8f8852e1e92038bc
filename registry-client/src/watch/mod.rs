//! The lifecycle stream, over as many connections as it takes.

mod state;

use bytes::Bytes;
use futures::stream;
use tokio::time::Instant;
use tonic::Streaming;
use tracing::debug;

use self::state::{Input, Standing, State, Step};
use crate::client::YEARS;
use crate::names::complete;
use crate::pb::watch_events_request::{Now, Snapshot, Start};
use crate::pool::{Pause, Route};
use crate::{Error, Items, RegistryClient, pb};

impl RegistryClient {
    /// Everything that happens from now on, or from another point, as it happens.
    pub fn watch(&self) -> Watch {
        Watch { client: self.clone(), request: pb::WatchEventsRequest::default(), start: Start::Now(Now {}) }
    }
}

/// A watch that has not begun: choose what to see, then [`stream`](Self::stream) it.
#[must_use = "nothing is watched before stream()"]
#[derive(Debug, Clone)]
pub struct Watch {
    client: RegistryClient,
    request: pb::WatchEventsRequest,
    start: Start,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum WatchItem {
    /// The watch stands: what happens behind this revision follows. Comes once, and before anything that happens.
    Created {
        /// Where the watch begins.
        revision: i64,
        /// What tells this revision from the same one of another history.
        hash: Bytes,
    },
    /// The connection broke, or none can be made, and what happens now is told later: once until the watch stands (again), which is
    /// told as `Created`, `Resumed` or `SnapshotRestarted`. The first item if the registry is not there yet.
    Disconnected {
        /// What happened, for people.
        reason: String,
    },
    /// The watch stands again, and tells what happened meanwhile. Nothing is left out of that; but whoever acts on events and could not
    /// while the registry was away should now look again.
    Resumed {
        /// What was told last.
        revision: i64,
    },
    /// With [`from_snapshot`](Watch::from_snapshot): a part of what there is. The next bookmark says that it was the last one.
    Snapshot {
        /// What the snapshot is of.
        revision: i64,
        /// Of type `resource.snapshot`, each with a resource in `after`.
        events: Vec<pb::Event>,
    },
    /// The connection broke before the snapshot was whole, or the registry was restored from a backup, and another snapshot follows:
    /// forget what came before.
    SnapshotRestarted {
        /// What the new snapshot is of.
        revision: i64,
    },
    /// What happened in a revision, or what of that was asked for; never a part of it.
    Events {
        /// Resume behind this one with [`after`](Watch::after).
        revision: i64,
        /// In their order.
        events: Vec<pb::Event>,
        /// What tells this revision from the same one of another history.
        hash: Bytes,
    },
    /// Everything up to this revision has been told. Comes when the past has been told, and every few seconds while nothing
    /// happens.
    Bookmark {
        /// Resume behind this one with [`after`](Watch::after).
        revision: i64,
        /// What tells this revision from the same one of another history.
        hash: Bytes,
    },
}

impl Watch {
    /// Only what happens to this resource and all below it: a namespace, a model, or a version by its number. It has to exist, if
    /// only as something deleted; the namespace `default` always does.
    pub fn parent(mut self, name: impl Into<String>) -> Self {
        self.request.parent = complete(name);
        self
    }

    /// Only events of these types: `version.created`, or `version.*` for all of a kind. See
    /// [`event_type`](crate::known::event_type). A snapshot holds everything all the same.
    pub fn types(mut self, types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.request.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Only events that meet this condition, in CEL: `event.after.version.stage == "PRODUCTION"`. It is about each event by itself: one of
    /// what does not match any longer comes only if the condition asks for that, too, with `event.before`. A snapshot is narrowed as well.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.request.filter = filter.into();
        self
    }

    /// Start with the next revision; that is the default.
    pub fn from_now(mut self) -> Self {
        self.start = Start::Now(Now {});
        self
    }

    /// Start behind a revision; 0 is the whole log. With the revision of the last item seen, that resumes an earlier watch.
    pub fn after(mut self, revision: i64) -> Self {
        self.start = Start::AfterRevision(revision);
        self
    }

    /// With [`after`](Self::after): the hash that came with that revision. If the registry was restored from a backup meanwhile and has
    /// given the revision to another change, the watch fails with [`is_out_of_range`](Error::is_out_of_range) rather than leave
    /// out what happened.
    pub fn hash(mut self, hash: impl Into<Bytes>) -> Self {
        self.request.after_hash = hash.into();
        self
    }

    /// Start with what there is, as [`WatchItem::Snapshot`], followed by what happens to it.
    pub fn from_snapshot(mut self) -> Self {
        self.start = Start::Snapshot(Snapshot {});
        self
    }

    /// Begins, when it is first polled.
    ///
    /// When its server goes away the stream goes on where it was on another one, or waits for the registry, however long that
    /// takes: no event is left out, none comes twice. It never ends, except after an error that waiting would not cure: for example
    /// [`is_not_found`](Error::is_not_found) if there is no such [`parent`](Self::parent),
    /// [`is_out_of_range`](Error::is_out_of_range) if the revision to go on from is not in the log any more, or
    /// [`is_invalid_argument`](Error::is_invalid_argument). A watch that began [with a snapshot](Self::from_snapshot) takes another
    /// one in the second case.
    ///
    /// A reader may be slow; that costs the registry nothing. To stop watching, drop the stream.
    pub fn stream(self) -> Items<WatchItem> {
        let Self { client, request, start } = self;
        let route = client.route();
        let state = State::new(start, request.after_hash.clone());
        let driver = Driver { client, request, state, route, connection: None, pause: None };
        Items::new(stream::unfold(driver, async |mut driver| driver.next().await.map(|item| (item, driver))))
    }
}

/// Does what the [`State`] says.
struct Driver {
    client: RegistryClient,
    request: pb::WatchEventsRequest,
    state: State,
    route: Route,
    connection: Option<Streaming<pb::WatchEventsResponse>>,
    /// What lies before the next connection.
    pause: Option<Pause>,
}

impl Driver {
    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        while self.state.standing != Standing::Ended {
            if let Some(pause) = self.pause.take() {
                pause.wait().await;
                while pause.round_is_over && !self.route.opens(Instant::now() + YEARS, |_, _| {}).await {}
            }
            let input = match self.receive().await {
                Ok(Some(message)) => Input::Message(message),
                Ok(None) => Input::Cut(None),
                Err(error) => Input::Cut(Some(error)),
            };
            match self.state.step(input) {
                Step::Deliver(item) => return Some(Ok(item)),
                Step::Skip => {}
                Step::Fail(error) => return Some(Err(error)),
                Step::Reconnect { failures, error, tell } => {
                    self.connection = None;
                    let pause = self.route.failed(failures, error.as_ref(), self.client.retry());
                    debug!(failures, delay = ?pause.delay, ?error, "watch was cut off, connecting again");
                    self.pause = Some(pause);
                    if tell {
                        let reason = error.map_or_else(|| "the server closed it".to_owned(), |error| error.to_string());
                        return Some(Ok(WatchItem::Disconnected { reason }));
                    }
                }
            }
        }
        None
    }

    async fn receive(&mut self) -> Result<Option<pb::WatchEventsResponse>, Error> {
        if let Standing::Starting { start, hash, .. } = &self.state.standing
            && self.connection.is_none()
        {
            let (start, hash) = (*start, hash.clone());
            self.connection = Some(self.open(start, hash).await?);
        }
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let message = connection.message().await?;
        self.route.answered();
        Ok(message)
    }

    async fn open(&mut self, start: Start, after_hash: Bytes) -> Result<Streaming<pb::WatchEventsResponse>, Error> {
        let transport = self.route.next();
        let request = pb::WatchEventsRequest { start: Some(start), after_hash, ..self.request.clone() };
        self.client.receive(transport, request).await
    }
}
