//! Versions: making and reading them, and their own rules.

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::resource::Resource as Any;
use uuid::Uuid;

use super::artifacts::manifest_of_nothing;
use super::models::ModelRow;
use super::records::{Records as _, listed_stage};
use super::resource::{Meta, MetaMut, Resource};
use super::transaction::{Tx, event, resource_of};
use super::updates::Masked as _;
use super::{Committed, Mutation, Registry, keys, validate};
use crate::error::{Error, Violations};
use crate::rules::names::{Collection, MODELS, Name, VERSIONS, VersionRef};
use crate::rules::stages;
use crate::store::{Attribute, Index, Kind, Record};

/// How often a read by a moving name is tried when the name moves in between.
const READS: usize = 4;

#[async_trait]
impl Resource for pb::Version {
    type Message = Self;

    const KIND: Kind = Kind::Version;
    const OF: &'static Collection = &VERSIONS;
    const EVENTS: [pb::EventType; 4] = [
        pb::EventType::VersionCreated,
        pb::EventType::VersionUpdated,
        pb::EventType::VersionDeleted,
        pb::EventType::VersionUndeleted,
    ];

    fn message(&self) -> &Self {
        self
    }

    fn message_mut(&mut self) -> &mut Self {
        self
    }

    fn into_message(self) -> Self {
        self
    }

    fn meta_of(message: &Self) -> Meta<'_> {
        let Self { name, etag, delete_time, .. } = message;
        Meta { name, etag, delete_time: delete_time.as_ref() }
    }

    fn meta_mut(&mut self) -> MetaMut<'_> {
        let Self { name, uid, etag, create_time, update_time, delete_time, .. } = self;
        MetaMut { name, uid, etag, create_time, update_time, delete_time }
    }

    fn places(&self, name: &Name) -> Vec<Attribute> {
        let mut places = Vec::new();
        if self.delete_time.is_none() {
            // The key that follows the place sorts by number.
            places.push(Attribute { index: Index::LiveVersions, value: Vec::new() });
            if self.state() == pb::VersionState::Ready {
                places.push(Attribute { index: Index::ReadyVersions, value: Vec::new() });
            }
            if let Some(stage) = listed_stage(self) {
                let value = keys::stage_entry(&name.parent(), stage, Some(self.stage_revision));
                places.push(Attribute { index: Index::StageEntries, value });
            }
        }
        if let Some(time) = self.delete_time.as_ref().filter(|_| self.purge_time.is_none()) {
            places.push(Attribute { index: Index::DeletedVersions, value: keys::time(time) });
        }
        places
    }

    fn wrap(message: Self) -> Any {
        Any::Version(message)
    }

    fn unwrap(any: Any) -> Option<Self> {
        match any {
            Any::Version(version) => Some(version),
            _ => None,
        }
    }

    fn check(message: &Self, found: &mut Violations) {
        validate::version(message, found);
    }

    fn missing(name: &Name) -> Error {
        Error::NotFound { reason: ErrorReason::VersionNotFound, name: name.to_string() }
    }

    fn reads(name: &Name) -> Vec<(Kind, Vec<u8>)> {
        let model = name.within(&MODELS);
        let version = name.within(&VERSIONS);
        let of_version = match VersionRef::parse(version.id()) {
            Ok(VersionRef::Number(_)) => Some((Kind::Version, version.key())),
            Ok(VersionRef::Label(label)) => Some((Kind::Label, keys::label(&model, &label))),
            // Its number is not known yet.
            Ok(VersionRef::Alias(_)) | Err(_) => None,
        };
        of_version.into_iter().chain([(Kind::Model, model.key())]).collect()
    }

    async fn live_above(tx: &Tx<'_>, name: &Name) -> Result<(), Error> {
        tx.live::<ModelRow>(&name.parent()).await.map(drop)
    }
}

impl Registry {
    /// The record of a version, which holds a `Version` as it goes over the wire.
    pub(crate) async fn version_record(&self, name: &Name) -> Result<Record, Error> {
        for _ in 0..READS {
            let named = self.store.resolve(name).await?;
            if let Some(record) = self.store.get(Kind::Version, &named.key()).await? {
                // What `@production` pointed at a moment ago may have left the stage since: an answer that never was.
                if name.id().starts_with('@') && self.store.resolve(name).await? != named {
                    continue;
                }
                return Ok(record);
            }
            // Say so if it is the model that is missing.
            self.get::<ModelRow>(&name.parent()).await?;
            return Err(<pb::Version as Resource>::missing(name));
        }
        Err(Error::internal(format!("{name} keeps moving")))
    }

    /// The version, deleted or not.
    pub(crate) async fn version(&self, name: &Name) -> Result<pb::Version, Error> {
        super::records::decode(&self.version_record(name).await?)
    }
}

/// A version to be made; what its caller gave was checked.
pub(crate) struct CreateVersion {
    pub(crate) model: Name,
    pub(crate) version: pb::Version,
    /// The names in `version.parents`, in their order.
    pub(crate) parents: Vec<Name>,
    /// It is to be READY at once.
    pub(crate) finalize: bool,
}

#[async_trait]
impl Mutation for CreateVersion {
    type Answer = pb::Version;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row: ModelRow = tx.live(&self.model).await?;
        let number = row.last_number + 1;
        let name = self.model.child(&VERSIONS, number).to_string();
        let label = &self.version.label;
        if !label.is_empty() {
            let key = keys::label(&self.model, label);
            if tx.store.get(Kind::Label, &key).await?.is_some() {
                let name = format!("{}/versions/{label}", self.model);
                return Err(Error::AlreadyExists { reason: ErrorReason::LabelAlreadyExists, name });
            }
            tx.put_number(Kind::Label, key, number).await?;
        }
        let ready = stages::is_ready_at_once(self.finalize, &self.version.source_uri);
        let state = if ready { pb::VersionState::Ready } else { pb::VersionState::Pending };
        let version = pb::Version {
            name: name.clone(),
            uid: Uuid::new_v4().to_string(),
            number,
            state: state.into(),
            stage: pb::Stage::Development.into(),
            parents: resolve_parents(tx, &self.parents).await?,
            creator: tx.actor.to_owned(),
            manifest_sha256: if ready { manifest_of_nothing() } else { String::new() },
            create_time: Some(tx.now),
            stage_time: Some(tx.now),
            stage_revision: tx.revision(),
            ..self.version.given()
        };
        tx.write(event(pb::EventType::VersionCreated), None, version).await?;
        row.last_number = number;
        row.model.version_count += 1;
        if ready {
            row.model.latest_version = name;
        }
        // The etag stays: a new version does not get in the way of those who change the model.
        tx.keep(&row).await
    }

    fn answer(committed: Committed) -> Result<pb::Version, Error> {
        resource_of::<pb::Version>(committed.into_event(pb::EventType::VersionCreated)?)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads: Vec<_> = self.parents.iter().flat_map(pb::Version::reads).collect();
        reads.push((Kind::Model, self.model.key()));
        if !self.version.label.is_empty() {
            reads.push((Kind::Label, keys::label(&self.model, &self.version.label)));
        }
        reads
    }
}

/// The canonical names of the versions that another one was derived from.
async fn resolve_parents(tx: &Tx<'_>, parents: &[Name]) -> Result<Vec<String>, Error> {
    let mut names = Vec::with_capacity(parents.len());
    for (i, parent) in parents.iter().enumerate() {
        match tx.any::<pb::Version>(parent).await {
            Ok(version) => names.push(version.name),
            Err(Error::NotFound { name, .. }) => {
                let missing = format!("{name} does not exist");
                return Err(Error::field(format!("version.parents[{i}]"), ErrorReason::FieldInvalid, missing));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}
