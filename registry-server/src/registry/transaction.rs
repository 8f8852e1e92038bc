//! What a mutation works with: typed records, and the events it logs.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::store::NumberRecord;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::keys;
use super::kinds;
use super::records::{self, ModelRow, Records as _};
use crate::error::Error;
use crate::rules::names::ModelName;
use crate::store::{Kind, Place, Put, Revision, Transaction};

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

    /// The etag of whatever is written now.
    pub(crate) fn etag(&self) -> String {
        format!("{:x}", self.revision())
    }

    /// The model, deleted or not.
    pub(crate) async fn any_model(&self, name: &ModelName) -> Result<ModelRow, Error> {
        self.store.model(name).await
    }

    /// The model, unless it is deleted.
    pub(crate) async fn live_model(&self, name: &ModelName) -> Result<ModelRow, Error> {
        let row = self.any_model(name).await?;
        records::must_live(&row.model.name, row.model.delete_time.as_ref())?;
        Ok(row)
    }

    pub(crate) async fn put_model(&mut self, name: &ModelName, row: &ModelRow) -> Result<(), Error> {
        let model = &row.model;
        let age = keys::model_age(&name.namespace, model.create_revision);
        let mut places = vec![Place { slot: kinds::MODELS_BY_AGE.slot, value: age.clone() }];
        match &model.delete_time {
            None => {
                places.push(Place { slot: kinds::LIVE_MODELS_BY_AGE.slot, value: age });
                // The key that follows the place sorts by name.
                places.push(Place { slot: kinds::LIVE_MODELS.slot, value: Vec::new() });
            }
            Some(time) if model.version_count > 0 => {
                places.push(Place { slot: kinds::DELETED_MODELS.slot, value: keys::time(time) });
            }
            Some(_) => {}
        }
        self.put(kinds::MODEL, keys::model(name), &row.to_record(), places).await
    }

    /// The version, deleted or not.
    pub(crate) async fn version(&self, model: &ModelName, number: i64) -> Result<pb::Version, Error> {
        self.store.version(model, number).await
    }

    pub(crate) async fn put_version(&mut self, model: &ModelName, version: &pb::Version) -> Result<(), Error> {
        let mut places = Vec::new();
        if version.delete_time.is_none() {
            // The key that follows the place sorts by number.
            places.push(Place { slot: kinds::LIVE_VERSIONS.slot, value: Vec::new() });
            if version.state() == pb::VersionState::Ready {
                places.push(Place { slot: kinds::READY_VERSIONS.slot, value: Vec::new() });
            }
            if let Some(stage) = records::listed_stage(version) {
                let value = keys::stage_entry(model, stage, Some(version.stage_revision));
                places.push(Place { slot: kinds::STAGE_ENTRIES.slot, value });
            }
        }
        if let Some(time) = version.delete_time.as_ref().filter(|_| version.purge_time.is_none()) {
            places.push(Place { slot: kinds::DELETED_VERSIONS.slot, value: keys::time(time) });
        }
        self.put(kinds::VERSION, keys::version(model, version.number), version, places).await
    }

    pub(crate) async fn put_number(&mut self, kind: Kind, key: Vec<u8>, number: i64) -> Result<(), Error> {
        self.put(kind, key, &NumberRecord { number }, Vec::new()).await
    }

    pub(crate) async fn put(
        &mut self,
        kind: Kind,
        key: Vec<u8>,
        record: &impl Message,
        places: Vec<Place>,
    ) -> Result<(), Error> {
        let payload = Bytes::from(record.encode_to_vec());
        Ok(self.store.put(Put { kind, key, payload, places }).await?)
    }

    /// Logs a change. The commit adds who, when, and the place in the log.
    pub(crate) fn log(&mut self, event: pb::Event) {
        self.events.push(event);
    }

    /// The models that the events are about.
    pub(super) fn models_touched(&self) -> Vec<ModelName> {
        let names = self.events.iter().filter_map(|event| {
            let mut parts = event.resource_name.splitn(5, '/');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some("namespaces"), Some(namespace), Some("models"), Some(model)) => {
                    Some((namespace.to_owned(), model.to_owned()))
                }
                _ => None,
            }
        });
        let unique: BTreeSet<_> = names.collect();
        unique.into_iter().map(|(namespace, model)| ModelName { namespace, model }).collect()
    }
}

/// An event of a change to a model.
pub(crate) fn model_event(r#type: pb::EventType, before: Option<&pb::Model>, after: &pb::Model) -> pb::Event {
    let resource = |model: &pb::Model| pb::Resource { resource: Some(pb::resource::Resource::Model(model.clone())) };
    pb::Event {
        r#type: r#type.into(),
        resource_name: after.name.clone(),
        before: before.map(resource),
        after: Some(resource(after)),
        ..Default::default()
    }
}

/// An event of a change to a version.
pub(crate) fn version_event(r#type: pb::EventType, before: Option<pb::Version>, after: pb::Version) -> pb::Event {
    let resource = |version| pb::Resource { resource: Some(pb::resource::Resource::Version(version)) };
    pb::Event {
        r#type: r#type.into(),
        resource_name: after.name.clone(),
        before: before.map(resource),
        after: Some(resource(after)),
        ..Default::default()
    }
}

/// The version that an event leaves behind.
pub(crate) fn version_after(event: pb::Event) -> Result<pb::Version, Error> {
    match event.after.and_then(|after| after.resource) {
        Some(pb::resource::Resource::Version(version)) => Ok(version),
        _ => Err(Error::internal(format!("{} does not hold a version", event.name))),
    }
}

/// The model that an event leaves behind.
pub(crate) fn model_after(event: pb::Event) -> Result<pb::Model, Error> {
    match event.after.and_then(|after| after.resource) {
        Some(pb::resource::Resource::Model(model)) => Ok(model),
        _ => Err(Error::internal(format!("{} does not hold a model", event.name))),
    }
}

/// Fails unless the etag is empty or the current one.
pub(crate) fn check_etag(name: &str, current: &str, given: &str) -> Result<(), Error> {
    if given.is_empty() || given == current {
        return Ok(());
    }
    Err(Error::EtagMismatch { name: name.to_owned(), current: current.to_owned() })
}

/// The error of a missing version.
pub(crate) fn no_version(name: impl std::fmt::Display) -> Error {
    Error::NotFound { reason: ErrorReason::VersionNotFound, name: name.to_string() }
}
