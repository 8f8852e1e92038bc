//! A revision of the log as it is told. Who reads the log chooses events by what is on their outside, and passes them on as they are
//! encoded: to decode them takes ten times as long as all of that.

mod form;

use bytes::Bytes;
use prost::{DecodeError, Message};
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::watch::frames;
use crate::store::{LogEntry, Revision, StoreError, decode};

/// A revision, its events, and the frame in which a watch of everything sends them.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<ToldEvent>,
    pub(super) frame: Bytes,
}

/// An event as it is encoded, and what it is chosen by.
#[derive(Debug)]
pub(crate) struct ToldEvent {
    pub(crate) encoded: Bytes,
    pub(super) outside: Outside,
}

/// What an event is chosen by, of all that it has.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Outside {
    #[prost(string, tag = "8")]
    pub(crate) r#type: String,
    #[prost(string, tag = "9")]
    pub(crate) resource_name: String,
    #[prost(bytes = "bytes", tag = "16")]
    pub(crate) hash: Bytes,
}

impl Outside {
    /// Whether it stands for a revision of which nothing else is known, since nobody has laid a tombstone.
    pub(super) fn is_unknown(&self) -> bool {
        self.r#type == event_type::REVISION_UNREADABLE && self.hash.is_empty()
    }
}

impl Told {
    /// What the log has of a revision.
    ///
    /// # Errors
    /// If readers could not decode it.
    pub(super) fn read(entry: &LogEntry) -> Result<Self, DecodeError> {
        if !form::is_events(&entry.events) {
            pb::WatchedEvents::decode(entry.events.clone())?;
        }
        let last = frames::events_of(&entry.events)?.pop();
        let hash = last.map(Outside::decode).transpose()?.unwrap_or_default().hash;
        let frame = frames::whole(&entry.events, &hash);
        // Parts of the frame: the log's bytes need not be kept as well.
        let events = frames::events(&frame)?.into_iter().map(ToldEvent::read).collect::<Result<_, _>>()?;
        Ok(Self { revision: entry.revision, events, frame })
    }

    /// The hash of the last event.
    pub(super) fn hash(&self) -> Bytes {
        self.events.last().map(|event| event.outside.hash.clone()).unwrap_or_default()
    }

    /// All events.
    pub(super) fn decoded(&self) -> Result<Vec<pb::Event>, StoreError> {
        self.events.iter().map(ToldEvent::decoded).collect()
    }
}

impl ToldEvent {
    fn read(encoded: Bytes) -> Result<Self, DecodeError> {
        Ok(Self { outside: Outside::decode(encoded.clone())?, encoded })
    }

    pub(super) fn decoded(&self) -> Result<pb::Event, StoreError> {
        decode(self.encoded.clone())
    }

    #[cfg(test)]
    pub(super) fn of(event: &pb::Event) -> Result<Self, DecodeError> {
        Self::read(event.encode_to_vec().into())
    }
}
