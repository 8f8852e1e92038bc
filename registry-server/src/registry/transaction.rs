//! What a mutation works with: typed records, and the events of its revision.

use std::collections::BTreeSet;

use crate::stored::NumberRecord;
use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::v1 as pb;

use super::records::Records as _;
use super::resource::{Resource, must_live};
use crate::error::Error;
use crate::rules::names::{MODELS, Name};
use crate::store::{Attribute, Kind, Put, Revision, Transaction};

/// A store transaction with typed records. Its events become those of its revision.
pub(crate) struct Tx<'a> {
    pub(crate) store: &'a mut dyn Transaction,
    /// The time of this revision.
    pub(crate) now: Timestamp,
    /// Who is at work.
    pub(crate) actor: &'a str,
    pub(super) events: Vec<pb::Event>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(store: &'a mut dyn Transaction, actor: &'a str) -> Self {
        Self { store, now: crate::convert::now(), actor, events: Vec::new() }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// The resource, deleted or not.
    pub(crate) async fn any<R: Resource>(&self, name: &Name) -> Result<R, Error> {
        self.store.resource(name).await
    }

    /// The resource, unless it is deleted, or something that it lies in is.
    pub(crate) async fn live<R: Resource>(&self, name: &Name) -> Result<R, Error> {
        R::live_above(self, name).await?;
        let row = self.any(name).await?;
        must_live(&row)?;
        Ok(row)
    }

    /// The one way to change a resource: its etag and time, its record with its places in the indexes, and its event, of which the
    /// type and the details are given. Returns the resource as it is now.
    pub(crate) async fn write<R: Resource>(
        &mut self,
        event: pb::Event,
        before: Option<R>,
        after: R,
    ) -> Result<R, Error> {
        let after = self.touch(after).await?;
        self.events.push(pb::Event {
            resource_name: after.meta().name.to_owned(),
            before: before.map(|row| resource::<R>(row.into_message())),
            after: Some(resource::<R>(after.message().clone())),
            ..event
        });
        Ok(after)
    }

    /// Changes a resource without an event of its own: what is counted or computed from others.
    pub(crate) async fn touch<R: Resource>(&mut self, mut row: R) -> Result<R, Error> {
        let etag = format!("{:x}", self.revision());
        let meta = row.meta_mut();
        *meta.etag = etag;
        *meta.update_time = Some(self.now);
        self.keep(&row).await?;
        Ok(row)
    }

    /// Writes the record of a resource as it is.
    pub(crate) async fn keep<R: Resource>(&mut self, row: &R) -> Result<(), Error> {
        let name = Name::canonical(R::OF, row.meta().name);
        let put = Put { kind: R::KIND, key: name.key(), payload: row.encode(), attributes: row.places(&name) };
        Ok(self.store.put(put).await?)
    }

    /// Records an event that is of no resource, or changes none.
    pub(crate) fn record(&mut self, event: pb::Event) {
        self.events.push(event);
    }

    pub(crate) async fn put_number(&mut self, kind: Kind, key: Vec<u8>, number: i64) -> Result<(), Error> {
        self.put(kind, key, &NumberRecord { number }, Vec::new()).await
    }

    /// Writes a record that is no resource's.
    pub(crate) async fn put(
        &mut self,
        kind: Kind,
        key: Vec<u8>,
        record: &impl Message,
        attributes: Vec<Attribute>,
    ) -> Result<(), Error> {
        let payload = Bytes::from(record.encode_to_vec());
        Ok(self.store.put(Put { kind, key, payload, attributes }).await?)
    }

    /// The models that the events are about.
    pub(super) fn models_touched(&self) -> BTreeSet<String> {
        let names = self.events.iter().map(|event| event.resource_name.as_str());
        let models = names.filter_map(|name| {
            let parts: Vec<_> = name.splitn(5, '/').take(4).collect();
            (parts.len() == 4 && parts[2] == MODELS.segment).then(|| parts.join("/"))
        });
        models.collect()
    }
}

/// An event of a type, to be completed.
pub(crate) fn event(r#type: pb::EventType) -> pb::Event {
    pb::Event { r#type: r#type.into(), ..Default::default() }
}

/// A resource as events have it.
pub(crate) fn resource<R: Resource>(message: R::Message) -> pb::Resource {
    pb::Resource { resource: Some(R::wrap(message)) }
}

/// The resource that an event leaves behind or, if it removed it, the one that was there.
pub(crate) fn resource_of<R: Resource>(event: pb::Event) -> Result<R::Message, Error> {
    let any = event.after.or(event.before).and_then(|resource| resource.resource);
    any.and_then(R::unwrap).ok_or_else(|| Error::internal(format!("{} holds another resource", event.name)))
}
