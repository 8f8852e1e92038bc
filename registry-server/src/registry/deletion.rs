//! Soft deletion of versions, and taking it back. What has a stage and aliases leaves them.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::models::{ModelRow, refuse_protected};
use super::purge::must_have_its_artifacts;
use super::resource::{Resource, check_etag, must_be_deleted};
use super::stages::{Mover, stage, stage_number};
use super::transaction::{Records as _, Tx, event};
use super::{Committed, Mutation, aliases};
use crate::error::Error;
use crate::rules::names::Name;
use crate::rules::retention::Standing;
use crate::rules::stages::Stage;
use crate::store::Kind;

/// A version to be deleted.
pub(crate) struct DeleteVersion {
    pub(crate) name: Name,
    pub(crate) etag: String,
    pub(crate) force: bool,
}

#[async_trait]
impl Mutation for DeleteVersion {
    type Answer = pb::Version;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let version: pb::Version = tx.live(&self.name).await?;
        check_etag(&version, &self.etag)?;
        let row = tx.live(&self.name.parent()).await?;
        refuse_protected(&version.name, &standing(&row, &version), self.force)?;
        delete(tx, row, version).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Version, Error> {
        committed.resource::<pb::Version>(event_type::VERSION_DELETED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Version::reads(&self.name)
    }
}

/// Marks a version as deleted; it leaves its stage and loses its aliases.
pub(super) async fn delete(tx: &mut Tx<'_>, row: ModelRow, mut version: pb::Version) -> Result<pb::Version, Error> {
    let aliases: Vec<_> = row.model.aliases.iter().filter(|(_, to)| **to == version.name).collect();
    let aliases: Vec<String> = aliases.into_iter().map(|(alias, _)| alias.clone()).collect();
    let row = aliases::remove(tx, row, &aliases).await?;
    let mut mover = Mover::new(row);
    let mut stage = stage(version.stage).unwrap_or(Stage::Development);
    if stage.is_stacked() {
        // Who watches stages has to learn that this one lost its version.
        version = mover.shift(tx, version, Stage::Archived, pb::StageChangeCause::Deleted, true).await?;
        stage = Stage::Archived;
    }
    let before = version.clone();
    version.stage = stage_number(Stage::Archived);
    version.delete_time = Some(tx.now);
    version.purge_time = tx.purge_time();
    let version = tx.write(event(event_type::VERSION_DELETED), Some(before), version).await?;

    // A deleted version counts in no stage.
    mover.count(stage, -1);
    mover.row.model.version_count -= 1;
    if mover.row.model.latest_version == version.name {
        mover.row.model.latest_version = tx.store.latest(&mover.model).await?;
    }
    mover.finish(tx).await?;
    Ok(version)
}

/// A version to be brought back.
pub(crate) struct UndeleteVersion {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for UndeleteVersion {
    type Answer = pb::Version;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row: ModelRow = tx.live(&self.name.parent()).await?;
        let before: pb::Version = tx.any(&self.name).await?;
        check_etag(&before, &self.etag)?;
        must_have_its_artifacts(&before)?;
        must_be_deleted(&before)?;
        let version = pb::Version {
            delete_time: None,
            purge_time: None,
            stage_revision: tx.revision().cast_signed(),
            stage_time: Some(tx.now),
            ..before.clone()
        };
        tx.write(event(event_type::VERSION_UNDELETED), Some(before), version).await?;

        let mut mover = Mover::new(row);
        mover.count(Stage::Archived, 1);
        mover.row.model.version_count += 1;
        mover.row.model.latest_version = tx.store.latest(&mover.model).await?;
        mover.finish(tx).await
    }

    fn answer(committed: Committed) -> Result<pb::Version, Error> {
        committed.resource::<pb::Version>(event_type::VERSION_UNDELETED)
    }
}

/// What speaks for keeping a version.
pub(super) fn standing(row: &ModelRow, version: &pb::Version) -> Standing {
    let stage = stage(version.stage);
    Standing {
        in_production: stage == Some(Stage::Production),
        in_staging: stage == Some(Stage::Staging),
        aliased: row.model.aliases.values().any(|name| *name == version.name),
        pending: version.state() == pb::VersionState::Pending,
        deleted: version.delete_time.is_some(),
    }
}
