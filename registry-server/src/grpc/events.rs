//! `EventService`.

use registry_proto::v1 as pb;
use registry_proto::v1::event_service_server::EventService;
use registry_proto::v1::watch_events_request::Start as WatchStart;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::beside::messages;
use super::call::{List, Reply, actor};
use crate::error::Violations;
use crate::registry::events::Selection;
use crate::registry::history::Period;
use crate::registry::validate;
use crate::registry::watch::{Pieces, Start};

/// How many bytes the hash of an event has.
const HASH: usize = 32;

#[tonic::async_trait]
impl EventService for Services {
    type WatchEventsStream = Streaming<pb::WatchEventsResponse>;

    async fn watch_events(&self, request: Request<pb::WatchEventsRequest>) -> Reply<Self::WatchEventsStream> {
        messages(self.watched(request).await?)
    }

    async fn list_events(&self, request: Request<pb::ListEventsRequest>) -> Reply<pb::ListEventsResponse> {
        self.list(
            request,
            List::by(&["revision"]).narrowed(),
            |request, found| {
                let selection = Selection::new(&request.parent, &request.types, &request.filter, found);
                for (field, time) in [("start_time", &request.start_time), ("end_time", &request.end_time)] {
                    time.iter().for_each(|time| validate::time(found, field, time));
                }
                Some((selection?, Period { start: request.start_time, end: request.end_time }))
            },
            |registry, (selection, period), page| async move {
                let selection = Selection { seen: page.seen.clone(), ..selection };
                registry.list_events(&selection, period, &page).await
            },
        )
        .await
    }

    async fn get_event(&self, request: Request<pb::GetEventRequest>) -> Reply<pb::Event> {
        // Of whom an event tells is known when it is read.
        let (headers, extensions, request) = request.into_parts();
        let admitted = self.admit_some(&extensions, &request)?;
        let mut found = Violations::default();
        actor(&headers, &mut found);
        found.check()?;
        let event = match (self.registry.event(&request.name).await, admitted.seen) {
            (event, None) => event?,
            (Ok(event), Some(seen)) if seen.sees_events_of(&event.resource_name) => event,
            (_, Some(seen)) => return Err(seen.denied(&request.name).into()),
        };
        Ok(Response::new(event))
    }
}

impl Services {
    /// Begins a watch: its messages, in their frames.
    pub(super) async fn begin_watch(&self, request: Request<pb::WatchEventsRequest>) -> Result<Pieces, Status> {
        let (headers, extensions, request) = request.into_parts();
        let admitted = self.admit_some(&extensions, &request)?;
        let mut found = Violations::default();
        actor(&headers, &mut found);
        let selection = Selection::new(&request.parent, &request.types, &request.filter, &mut found);
        let start = match request.start {
            None | Some(WatchStart::Now(_)) => Some(Start::Now),
            Some(WatchStart::AfterRevision(revision)) => {
                u64::try_from(revision).ok().map(|revision| Start::After(revision, request.after_hash.clone()))
            }
            Some(WatchStart::Snapshot(_)) => Some(Start::Snapshot),
        };
        if start.is_none() {
            found.invalid("after_revision", "must not be negative");
        }
        if !matches!(request.after_hash.len(), 0 | HASH) {
            found.invalid("after_hash", "must have 32 bytes");
        }
        let (selection, start) = found.unless_any(selection.zip(start))?;
        // Also of those who see everything now: that may change.
        let selection = Selection { seen: admitted.sees::<pb::WatchEventsRequest>()?, ..selection };
        let (watching, draining) = (self.watching.clone(), self.stopping.draining.clone());
        Ok(self.registry.watch(selection, start, watching, draining, admitted.revoked(true)).await?)
    }
}
