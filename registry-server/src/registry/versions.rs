//! Versions: making, reading, changing them.

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use super::finalize::manifest_of_nothing;
use super::kinds;
use super::records::{Records, must_live};
use super::transaction::{Tx, check_etag, no_version, version_after, version_event};
use super::updates::VersionMask;
use super::{Mutation, Order, Registry, keys, validate};
use crate::error::Error;
use crate::rules::names::{ModelName, VersionName, VersionRef};
use crate::store::{Kind, Record};

/// How often a read by a moving name is tried when the name moves in between.
const READS: usize = 4;

impl Registry {
    /// The record of a version, which holds a `Version` as it goes over the wire.
    pub(crate) async fn version_record(&self, name: &VersionName) -> Result<Record, Error> {
        for _ in 0..READS {
            let number = self.store.resolve(name).await?;
            let key = keys::version(&name.model, number);
            if let Some(record) = self.store.get(kinds::VERSION, &key).await? {
                // What `@production` pointed at a moment ago may have left the stage since: an answer that never was.
                let moved = matches!(name.version, VersionRef::Alias(_)) && self.store.resolve(name).await? != number;
                if moved {
                    continue;
                }
                return Ok(record);
            }
            // Say so if it is the model that is missing.
            self.store.model(&name.model).await?;
            return Err(no_version(name));
        }
        Err(Error::internal(format!("{name} keeps moving")))
    }

    /// The version, deleted or not.
    pub(crate) async fn version(&self, name: &VersionName) -> Result<pb::Version, Error> {
        super::records::decode(&self.version_record(name).await?)
    }

    pub(crate) async fn create_version(&self, order: Order, create: CreateVersion) -> Result<pb::Version, Error> {
        version_after(self.commit(order, create).await?.into_event(pb::EventType::VersionCreated)?)
    }

    pub(crate) async fn update_version(&self, order: Order, update: UpdateVersion) -> Result<pb::Version, Error> {
        version_after(self.commit(order, update).await?.into_event(pb::EventType::VersionUpdated)?)
    }
}

/// A version to be made; its content was checked.
pub(crate) struct CreateVersion {
    pub(crate) model: ModelName,
    pub(crate) version: pb::Version,
    /// The names in `version.parents`, in their order.
    pub(crate) parents: Vec<VersionName>,
    pub(crate) ready: bool,
}

#[async_trait]
impl Mutation for CreateVersion {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row = tx.live_model(&self.model).await?;
        let number = row.last_number + 1;
        let name = self.model.version(number);
        let parents = resolve_parents(tx, &self.parents).await?;
        let label = &self.version.label;
        if !label.is_empty() {
            let key = keys::label(&self.model, label);
            if tx.store.get(kinds::LABEL, &key).await?.is_some() {
                let name = format!("{}/versions/{label}", self.model);
                return Err(Error::AlreadyExists { reason: ErrorReason::LabelAlreadyExists, name });
            }
            tx.put_number(kinds::LABEL, key, number).await?;
        }
        let state = if self.ready { pb::VersionState::Ready } else { pb::VersionState::Pending };
        let version = pb::Version {
            name: name.clone(),
            uid: Uuid::new_v4().to_string(),
            number,
            state: state.into(),
            stage: pb::Stage::Development.into(),
            parents,
            creator: tx.actor.to_owned(),
            failure_reason: String::new(),
            manifest_sha256: if self.ready { manifest_of_nothing() } else { String::new() },
            size_bytes: 0,
            artifact_count: 0,
            create_time: Some(tx.now),
            update_time: Some(tx.now),
            stage_time: Some(tx.now),
            delete_time: None,
            etag: tx.etag(),
            stage_revision: tx.revision(),
            ..self.version.clone()
        };
        tx.put_version(&self.model, &version).await?;
        tx.log(version_event(pb::EventType::VersionCreated, None, version));
        row.last_number = number;
        row.model.version_count += 1;
        if self.ready {
            row.model.latest_version = name;
        }
        tx.put_model(&self.model, &row).await
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads: Vec<_> = self.parents.iter().flat_map(reads_of).collect();
        reads.push((kinds::MODEL, keys::model(&self.model)));
        if !self.version.label.is_empty() {
            reads.push((kinds::LABEL, keys::label(&self.model, &self.version.label)));
        }
        reads
    }
}

/// The canonical names of the versions that another one was derived from.
async fn resolve_parents(tx: &Tx<'_>, parents: &[VersionName]) -> Result<Vec<String>, Error> {
    let mut names = Vec::with_capacity(parents.len());
    for (i, parent) in parents.iter().enumerate() {
        let found = async {
            let number = tx.store.resolve(parent).await?;
            tx.version(&parent.model, number).await
        };
        match found.await {
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

/// New values for some fields of a version; they were checked one by one.
pub(crate) struct UpdateVersion {
    pub(crate) name: VersionName,
    pub(crate) version: pb::Version,
    pub(crate) mask: VersionMask,
}

#[async_trait]
impl Mutation for UpdateVersion {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before = live_version(tx, &self.name).await?;
        check_etag(&before.name, &before.etag, &self.version.etag)?;
        let mut version = before.clone();
        self.mask.apply(&self.version, &mut version);
        // Fields that are fine one by one may not fit together, or be too much in all.
        validate::version(&version)?;
        touch(tx, &mut version);
        tx.put_version(&self.name.model, &version).await?;
        tx.log(version_event(pb::EventType::VersionUpdated, Some(before), version));
        Ok(())
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        reads_of(&self.name)
    }
}

/// The version behind a name, if neither it nor its model is deleted.
pub(crate) async fn live_version(tx: &Tx<'_>, name: &VersionName) -> Result<pb::Version, Error> {
    tx.live_model(&name.model).await?;
    let number = tx.store.resolve(name).await?;
    let version = tx.version(&name.model, number).await?;
    must_live(&version.name, version.delete_time.as_ref())?;
    Ok(version)
}

/// What finding a version reads, as far as its name tells: a label's or alias's number is not known yet.
pub(crate) fn reads_of(name: &VersionName) -> Vec<(Kind, Vec<u8>)> {
    let mut reads = vec![(kinds::MODEL, keys::model(&name.model))];
    match &name.version {
        VersionRef::Number(number) => reads.push((kinds::VERSION, keys::version(&name.model, *number))),
        VersionRef::Label(label) => reads.push((kinds::LABEL, keys::label(&name.model, label))),
        VersionRef::Alias(_) => {}
    }
    reads
}

/// Notes that a version changes in this revision.
pub(crate) fn touch(tx: &Tx<'_>, version: &mut pb::Version) {
    version.update_time = Some(tx.now);
    version.etag = tx.etag();
}
