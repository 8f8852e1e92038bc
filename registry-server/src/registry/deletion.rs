//! Soft deletion, and taking it back.

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::models::touch as touch_model;
use super::purge::must_have_its_artifacts;
use super::records::{ModelRow, Records as _, must_live};
use super::stages::{Mover, is_stacked};
use super::transaction::{Tx, check_etag, model_after, model_event, version_after, version_event};
use super::versions::touch;
use super::{Mutation, Order, Registry, aliases};
use crate::convert;
use crate::error::Error;
use crate::rules::names::{ModelName, VersionName};
use crate::rules::retention::{self, Standing};
use crate::rules::stages::Stage;

impl Registry {
    pub(crate) async fn delete_model(&self, order: Order, delete: DeleteModel) -> Result<pb::Model, Error> {
        model_after(self.commit(order, delete).await?.into_event(pb::EventType::ModelDeleted)?)
    }

    pub(crate) async fn undelete_model(&self, order: Order, undelete: UndeleteModel) -> Result<pb::Model, Error> {
        model_after(self.commit(order, undelete).await?.into_event(pb::EventType::ModelUndeleted)?)
    }

    pub(crate) async fn delete_version(&self, order: Order, delete: DeleteVersion) -> Result<pb::Version, Error> {
        version_after(self.commit(order, delete).await?.into_event(pb::EventType::VersionDeleted)?)
    }

    pub(crate) async fn undelete_version(&self, order: Order, undelete: UndeleteVersion) -> Result<pb::Version, Error> {
        version_after(self.commit(order, undelete).await?.into_event(pb::EventType::VersionUndeleted)?)
    }
}

/// A model to be deleted.
pub(crate) struct DeleteModel {
    pub(crate) name: ModelName,
    pub(crate) etag: String,
    pub(crate) force: bool,
}

#[async_trait]
impl Mutation for DeleteModel {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row = tx.live_model(&self.name).await?;
        check_etag(&row.model.name, &row.model.etag, &self.etag)?;
        let production = convert::stage_number(Stage::Production);
        let standing = Standing {
            in_production: row.model.stages.iter().any(|summary| summary.stage == production),
            aliased: !row.model.aliases.is_empty(),
            ..Standing::default()
        };
        refuse_protected(&row.model.name, &standing, self.force)?;
        let before = row.model.clone();
        row.model.delete_time = Some(tx.now);
        touch_model(tx, &mut row.model);
        tx.log(model_event(pb::EventType::ModelDeleted, Some(&before), &row.model));
        tx.put_model(&self.name, &row).await
    }
}

/// A model to be brought back.
pub(crate) struct UndeleteModel {
    pub(crate) name: ModelName,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for UndeleteModel {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row = tx.any_model(&self.name).await?;
        check_etag(&row.model.name, &row.model.etag, &self.etag)?;
        let before = row.model.clone();
        if row.model.delete_time.take().is_none() {
            return Err(not_deleted(&before.name));
        }
        touch_model(tx, &mut row.model);
        tx.log(model_event(pb::EventType::ModelUndeleted, Some(&before), &row.model));
        tx.put_model(&self.name, &row).await
    }
}

/// A version to be deleted.
pub(crate) struct DeleteVersion {
    pub(crate) name: VersionName,
    pub(crate) etag: String,
    pub(crate) force: bool,
}

#[async_trait]
impl Mutation for DeleteVersion {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row = tx.live_model(&self.name.model).await?;
        let number = tx.store.resolve(&self.name).await?;
        let version = tx.version(&self.name.model, number).await?;
        must_live(&version.name, version.delete_time.as_ref())?;
        check_etag(&version.name, &version.etag, &self.etag)?;
        refuse_protected(&version.name, &standing(&row.model, &version), self.force)?;
        delete(tx, &self.name.model, row, version).await
    }
}

/// Marks a version as deleted; it leaves its stage and loses its aliases.
pub(super) async fn delete(
    tx: &mut Tx<'_>,
    model: &ModelName,
    mut row: ModelRow,
    version: pb::Version,
) -> Result<(), Error> {
    let mut pointing = Vec::new();
    for (alias, to) in &row.model.aliases {
        if *to == version.name {
            pointing.push(alias.clone());
        }
    }
    for alias in pointing {
        aliases::change(tx, &mut row, &alias, None);
    }
    let mut mover = Mover { model, row };
    let mut stage = convert::stage(version.stage).unwrap_or(Stage::Development);
    let mut version = version;
    if is_stacked(stage) {
        // Who watches stages has to learn that this one lost its version.
        version = mover.shift(tx, version, Stage::Archived, pb::StageChangeCause::Deleted, true).await?;
        stage = Stage::Archived;
    }
    let before = version.clone();
    version.stage = convert::stage_number(Stage::Archived);
    version.delete_time = Some(tx.now);
    touch(tx, &mut version);
    tx.log(version_event(pb::EventType::VersionDeleted, Some(before), version.clone()));
    tx.put_version(model, &version).await?;

    // A deleted version counts in no stage.
    mover.count(stage, -1);
    mover.row.model.version_count -= 1;
    if mover.row.model.latest_version == version.name {
        mover.row.model.latest_version = tx.store.latest(model).await?;
    }
    mover.finish(tx).await
}

/// A version to be brought back.
pub(crate) struct UndeleteVersion {
    pub(crate) name: VersionName,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for UndeleteVersion {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let model = &self.name.model;
        let row = tx.live_model(model).await?;
        let number = tx.store.resolve(&self.name).await?;
        let before = tx.version(model, number).await?;
        check_etag(&before.name, &before.etag, &self.etag)?;
        must_have_its_artifacts(&before)?;
        let mut version = before.clone();
        if version.delete_time.take().is_none() {
            return Err(not_deleted(&version.name));
        }
        version.stage_revision = tx.revision();
        version.stage_time = Some(tx.now);
        touch(tx, &mut version);
        tx.put_version(model, &version).await?;
        tx.log(version_event(pb::EventType::VersionUndeleted, Some(before), version));

        let mut mover = Mover { model, row };
        mover.count(Stage::Archived, 1);
        mover.row.model.version_count += 1;
        mover.row.model.latest_version = tx.store.latest(model).await?;
        mover.finish(tx).await
    }
}

/// What speaks for keeping a version.
pub(super) fn standing(model: &pb::Model, version: &pb::Version) -> Standing {
    let stage = convert::stage(version.stage);
    Standing {
        in_production: stage == Some(Stage::Production),
        in_staging: stage == Some(Stage::Staging),
        aliased: model.aliases.values().any(|name| *name == version.name),
        pending: version.state() == pb::VersionState::Pending,
        deleted: version.delete_time.is_some(),
    }
}

fn refuse_protected(name: &str, standing: &Standing, force: bool) -> Result<(), Error> {
    match retention::protected_from_deletion(standing) {
        Some(why) if !force => Err(Error::precondition(ErrorReason::ResourceProtected, name, why)),
        _ => Ok(()),
    }
}

pub(super) fn not_deleted(name: &str) -> Error {
    Error::precondition(ErrorReason::ResourceNotDeleted, name, "is not deleted")
}
