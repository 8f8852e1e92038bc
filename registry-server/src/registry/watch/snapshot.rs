//! What there is, as the first messages of a watch.

use std::time::Duration;

use futures::future::BoxFuture;
use prost::Message as _;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::watch_events_response::Response;

use super::frames::{Frame, PIECE};
use super::out::Out;
use super::{End, message};
use crate::registry::access::wishes::Seen;
use crate::registry::events::Selection;
use crate::registry::kinds::{RESOURCES, Spec};
use crate::registry::transaction::event;
use crate::rules::expression::Expression;
use crate::rules::names::Collection;
use crate::store::{Pages, Record, Snapshot};

/// How many resources a message has.
const PAGE: usize = 100;

/// Resources of a snapshot on their way into messages.
pub(super) struct SnapshotPage<'a> {
    out: &'a mut Out,
    snapshot: &'a dyn Snapshot,
    patience: Duration,
    filter: Option<&'a Expression>,
    seen: Option<&'a Seen>,
    events: Vec<pb::Event>,
    /// Of their records: a message is sent when it is longer than a piece.
    bytes: usize,
}

impl<'a> SnapshotPage<'a> {
    pub(super) fn new(out: &'a mut Out, snapshot: &'a dyn Snapshot, patience: Duration) -> Self {
        Self { out, snapshot, patience, filter: None, seen: None, events: Vec::new(), bytes: 0 }
    }

    /// Sends what there is below the parent, each resource before those that lie in it.
    pub(super) async fn send(mut self, selection: &'a Selection) -> Result<(), End> {
        (self.filter, self.seen) = (selection.filter.as_deref(), selection.seen.as_ref());
        match &selection.parent {
            None => {
                for kind in RESOURCES.iter().filter(|kind| kind.of.parent.and_then(Spec::of_collection).is_none()) {
                    self.all(kind, Vec::new()).await?;
                }
            }
            Some(name) => match Spec::of_collection(name.of()) {
                Some(kind) => {
                    if let Some(record) = self.snapshot.get(kind.kind, &name.key()).await? {
                        self.with_all_below(kind, &record).await?;
                    }
                }
                None => self.below(name.of(), name.prefix()).await?,
            },
        }
        self.flush().await
    }

    /// Sends the resources of all kinds that lie in something, whose keys begin with this.
    fn below<'b>(&'b mut self, parent: &'static Collection, prefix: Vec<u8>) -> BoxFuture<'b, Result<(), End>> {
        Box::pin(async move {
            for kind in RESOURCES.iter().filter(|kind| kind.of.parent.is_some_and(|of| std::ptr::eq(of, parent))) {
                self.all(kind, prefix.clone()).await?;
            }
            Ok(())
        })
    }

    /// Sends the resources of a kind whose keys begin with this, each with what lies in it.
    async fn all(&mut self, kind: &Spec, prefix: Vec<u8>) -> Result<(), End> {
        let mut listed = Pages::under(kind.listed, prefix);
        while let Some(hit) = listed.next(self.snapshot).await? {
            self.with_all_below(kind, &hit.record).await?;
        }
        Ok(())
    }

    /// Sends a resource, unless it is deleted, and what lies in it.
    async fn with_all_below(&mut self, kind: &Spec, record: &Record) -> Result<(), End> {
        let Some((name, resource)) = (kind.shown)(record)? else { return Ok(()) };
        let below = name.prefix();
        let event = pb::Event {
            revision: self.snapshot.revision().cast_signed(),
            resource_name: name.to_string(),
            after: Some(resource),
            ..event(event_type::RESOURCE_SNAPSHOT)
        };
        let seen = self.seen.is_none_or(|seen| seen.sees_events_of(&event.resource_name));
        if seen && self.filter.is_none_or(|filter| filter.matches(&event.encode_to_vec())) {
            self.bytes += record.payload.len();
            self.events.push(event);
        }
        if self.events.len() >= PAGE || self.bytes >= PIECE {
            self.flush().await?;
        }
        self.below(kind.of, below).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let events = std::mem::take(&mut self.events);
        self.bytes = 0;
        if events.is_empty() {
            return Ok(());
        }
        let revision = self.snapshot.revision().cast_signed();
        let frame = Frame::of(&message(Response::Events(pb::WatchedEvents { revision, events, ..Default::default() })));
        self.out.send_in_time(&frame, self.patience).await
    }
}
