//! What a mutation works with: typed records, and the events of its revision.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use uuid::Uuid;

use super::models::{ModelRow, aliased};
use super::resource::{Resource, missing, must_live};
use super::stages::{stage, stage_entry};
use super::versions::version_id_key;
use super::{Intent, kinds, versions};
use crate::error::Error;
use crate::rules::names::{ARTIFACTS, DEFAULT_NAMESPACE, MODELS, Name, VERSIONS, VersionRef};
use crate::rules::stages::Stage;
use crate::store::{Index, Kind, Place, Put, Range, Read, Record, Revision, Source, StoreError, Transaction};
use crate::stored::NumberRecord;

/// What every change changes of its resource, besides what it is about.
const ALWAYS_CHANGED: [&str; 3] = ["etag", "update_time", "revision"];

/// A store transaction with typed records. Its events become those of its revision.
pub(crate) struct Tx<'a> {
    pub(crate) store: &'a mut dyn Transaction,
    /// The time of this revision.
    pub(crate) now: Timestamp,
    /// Who is at work.
    pub(crate) actor: &'a str,
    purge_after: Duration,
    /// Nothing of this will be kept.
    validate_only: bool,
    pub(super) events: Vec<pb::Event>,
    /// Whether it changes who may do what.
    pub(super) changes_access: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        store: &'a mut dyn Transaction,
        intent: &'a Intent,
        now: Timestamp,
        purge_after: Duration,
    ) -> Self {
        let Intent { actor, validate_only, .. } = intent;
        Self {
            store,
            now,
            actor,
            purge_after,
            validate_only: *validate_only,
            events: Vec::new(),
            changes_access: false,
        }
    }

    /// When what is deleted now may be purged; `None` if that is never.
    pub(crate) fn purge_time(&self) -> Option<Timestamp> {
        SystemTime::try_from(self.now).ok()?.checked_add(self.purge_after).map(Timestamp::from)
    }

    /// Leaves the mark of a change of who may do what: by it every commit after it, on whichever server, knows that it has to be decided by
    /// what is so now.
    pub(super) async fn mark_access(&mut self) -> Result<(), Error> {
        self.changes_access = true;
        self.put_number(kinds::ACCESS, Vec::new(), 0).await
    }

    pub(crate) fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// Whether nothing of this will be kept: somebody only asks what would come out.
    pub(crate) fn only_checks(&self) -> bool {
        self.validate_only
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

    /// The one way to create or change a resource: what every resource has, its record with its places in the indexes, and its event,
    /// of which the type and the details are given. Returns the resource as it is now.
    pub(crate) async fn write<R: Resource>(
        &mut self,
        event: pb::Event,
        before: Option<R>,
        mut after: R,
    ) -> Result<R, Error> {
        if before.is_none() {
            let meta = after.message_mut().meta_mut();
            *meta.uid = Uuid::new_v4().to_string();
            *meta.creator = self.actor.to_owned();
            *meta.create_time = Some(self.now);
        }
        let put = self.touched(&mut after);
        if before.is_none() {
            self.store.create(put).await?;
        } else {
            self.store.put(put).await?;
        }
        let (before, mut changed) = match before {
            Some(before) => {
                let (before, changed) = before.into_message().changes(after.message());
                (Some(before.into_resource()), changed)
            }
            None => (None, Vec::new()),
        };
        changed.retain(|field| !ALWAYS_CHANGED.contains(field));
        self.events.push(pb::Event {
            resource_name: after.meta().name.to_owned(),
            before,
            after: Some(after.message().clone().into_resource()),
            changed_fields: changed.into_iter().map(str::to_owned).collect(),
            ..event
        });
        Ok(after)
    }

    /// Changes a resource without an event of its own: what is counted or computed from others.
    pub(crate) async fn touch<R: Resource>(&mut self, mut row: R) -> Result<R, Error> {
        let put = self.touched(&mut row);
        self.store.put(put).await?;
        Ok(row)
    }

    /// The same, of what its etag does not tell of.
    pub(crate) async fn keep<R: Resource>(&mut self, mut row: R) -> Result<R, Error> {
        let put = self.kept(&mut row);
        self.store.put(put).await?;
        Ok(row)
    }

    fn touched<R: Resource>(&self, row: &mut R) -> Put {
        let meta = row.message_mut().meta_mut();
        *meta.etag = format!("{:x}", self.revision());
        *meta.update_time = Some(self.now);
        self.kept(row)
    }

    fn kept<R: Resource>(&self, row: &mut R) -> Put {
        // What is not kept has no revision, and may come to have another one than this.
        let revision = if self.validate_only { 0 } else { self.revision() };
        *row.message_mut().meta_mut().revision = revision.cast_signed();
        let name = Name::canonical(R::OF, row.meta().name);
        Put { kind: R::KIND, key: name.key(), payload: row.encode(), places: row.places(&name) }
    }

    /// Removes a resource for good, with its event.
    pub(crate) async fn remove<R: Resource>(&mut self, event: pb::Event, row: R) -> Result<(), Error> {
        let name = Name::canonical(R::OF, row.meta().name);
        self.store.remove(R::KIND, &name.key()).await?;
        let before = Some(row.into_message().into_resource());
        self.events.push(pb::Event { resource_name: name.to_string(), before, ..event });
        Ok(())
    }

    /// How many bytes the events take so far, about.
    pub(crate) fn event_bytes(&self) -> usize {
        self.events.iter().map(Message::encoded_len).sum()
    }

    /// Says that there was nothing to change. With a request id it is kept all the same: the repeated request has to find it.
    pub(crate) fn unchanged(&mut self, resource_name: String, found: Option<pb::Resource>) {
        self.record(pb::Event { resource_name, after: found, ..event(event_type::REQUEST_UNCHANGED) });
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
        places: Vec<Place>,
    ) -> Result<(), Error> {
        let payload = Bytes::from(record.encode_to_vec());
        Ok(self.store.put(Put { kind, key, payload, places }).await?)
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
pub(crate) fn event(r#type: impl Into<String>) -> pb::Event {
    pb::Event { r#type: r#type.into(), ..Default::default() }
}

/// The event of a change that all kinds have in common, for example `created`.
pub(crate) fn event_of<R: Resource>(what: &str) -> pb::Event {
    event(format!("{}.{what}", R::Message::SINGULAR))
}

/// The resource that an event leaves behind or, if it removed it, the one that was there.
pub(crate) fn resource_of<R: Resource>(event: pb::Event) -> Result<R::Message, Error> {
    let resource = event.after.or(event.before).and_then(R::Message::from_resource);
    resource.ok_or_else(|| Error::internal(format!("{} holds another resource", event.name)))
}

/// The message in a record.
pub(crate) fn decode<M: Message + Default>(record: &Record) -> Result<M, Error> {
    Ok(crate::store::decode(record.payload.clone())?)
}

/// The type of an alias, which is a part of its model, in errors.
pub(crate) const ALIAS: &str = "modelregistry.dev/Alias";

/// The stage of a version if it is one that models list, which DEVELOPMENT is not.
pub(crate) fn listed_stage(version: &pb::Version) -> Option<Stage> {
    stage(version.stage).filter(|stage| *stage != Stage::Development)
}

/// Looks records up by their keys: as they are or, in the [past](super::past::Past), as they were.
#[async_trait]
pub(crate) trait Lookup: Send + Sync {
    /// The record with this key.
    async fn look_up(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError>;
}

#[async_trait]
impl<R: Read + ?Sized> Lookup for R {
    async fn look_up(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        self.get(kind, key).await
    }
}

/// Records read by what they hold.
#[async_trait]
pub(crate) trait Records: Lookup {
    /// The resource with a name, deleted or not.
    async fn resource<R: Resource>(&self, name: &Name) -> Result<R, Error> {
        let named = self.resolve(name).await?;
        match self.look_up(R::KIND, &named.key()).await? {
            Some(record) => R::decode(&record),
            None => {
                // Say so if it is the model or the version that is missing.
                self.must_exist(&named.parent()).await?;
                Err(missing::<R>(name))
            }
        }
    }

    /// Fails if there is no model or version with this name.
    async fn must_exist(&self, name: &Name) -> Result<(), Error> {
        if std::ptr::eq(name.of(), ModelRow::OF) {
            return self.resource::<ModelRow>(name).await.map(drop);
        }
        if std::ptr::eq(name.of(), pb::Version::OF) {
            return self.resource::<pb::Version>(name).await.map(drop);
        }
        Ok(())
    }

    /// Fails if there is nothing, deleted or not, with the name of what a list or a watch is to be of. The default namespace counts as
    /// there before the first model makes it.
    async fn parent_must_exist(&self, name: &Name) -> Result<(), Error> {
        if !std::ptr::eq(name.of(), pb::Namespace::OF) {
            return self.must_exist(name).await;
        }
        match name.id() {
            DEFAULT_NAMESPACE => Ok(()),
            _ => self.resource::<pb::Namespace>(name).await.map(drop),
        }
    }

    /// The name by which a record is kept: with the version's number. A number need not exist.
    async fn resolve(&self, name: &Name) -> Result<Name, Error> {
        if std::ptr::eq(name.of(), &ARTIFACTS) {
            return Ok(self.resolve(&name.parent()).await?.child(&ARTIFACTS, name.id()));
        }
        if !std::ptr::eq(name.of(), &VERSIONS) {
            return Ok(name.clone());
        }
        let model = name.parent();
        let number = match VersionRef::parse(name.id()).map_err(Error::internal)? {
            VersionRef::Number(_) => return Ok(name.clone()),
            VersionRef::Id(id) => match self.look_up(kinds::VERSION_ID, &version_id_key(&model, &id)).await? {
                Some(record) => decode::<NumberRecord>(&record)?.number,
                None => {
                    // Say so if it is the model that is missing.
                    self.must_exist(&model).await?;
                    return Err(missing::<pb::Version>(name));
                }
            },
            VersionRef::Alias(alias) => {
                let row: ModelRow = self.resource(&model).await?;
                must_live(&row)?;
                let number = aliased(&row, &alias);
                number.ok_or_else(|| Error::NotFound { of: ALIAS, name: name.to_string(), at: None })?
            }
        };
        Ok(model.child(&VERSIONS, number))
    }

    /// The name of the newest READY version that is not withdrawn, or empty.
    async fn latest(&self, model: &Name) -> Result<String, Error>
    where
        Self: Read,
    {
        self.name_of_first(versions::READY, Range::last(model.prefix(), 1)).await
    }

    /// The name of the version that entered a stage last and is still there, or empty.
    async fn newest_in_stage(&self, model: &Name, stage: Stage) -> Result<String, Error>
    where
        Self: Read,
    {
        let newest = Range::last(stage_entry(model, stage, None), 1);
        self.name_of_first(versions::STAGE_ENTRIES, newest).await
    }

    /// The name of the first version in a range, or empty.
    async fn name_of_first(&self, index: Index, range: Range) -> Result<String, Error>
    where
        Self: Read,
    {
        let hits = self.scan(Source::Index(index), &range).await?;
        let first = hits.first().map(|hit| decode::<pb::Version>(&hit.record)).transpose()?;
        Ok(first.map(|version| version.name).unwrap_or_default())
    }
}

impl<R: Lookup + ?Sized> Records for R {}
