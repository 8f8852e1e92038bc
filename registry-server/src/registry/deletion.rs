//! Soft deletion of versions, and taking it back. What has a stage and aliases leaves them.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::models::{ModelRow, refuse_protected};
use super::resource::{Resource, check_etag, must_be_deleted, must_not_be_purged};
use super::stages::{Mover, stage, stage_change, stage_number};
use super::transaction::{Records as _, Tx, event};
use super::{Committed, Mutation, aliases};
use crate::error::Error;
use crate::rules::names::Name;
use crate::rules::retention::Standing;
use crate::rules::stages::Stage;
use crate::store::Kind;

/// How many bytes of events the versions of a deleted model may leave their stages with: what tells of the model itself fits beside them.
const LEAVING_BYTES: usize = 2_500_000;

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

/// Takes its aliases from a version, and takes it out of its stage if somebody may serve it there, with the events that those who watch
/// have to see. The model is as it is once the mover has [finished](Mover::finish).
pub(super) async fn let_go(
    tx: &mut Tx<'_>,
    row: ModelRow,
    version: pb::Version,
    cause: pb::StageChangeCause,
) -> Result<(Mover, pb::Version), Error> {
    let aliases: Vec<_> = row.model.aliases.iter().filter(|(_, to)| **to == version.name).collect();
    let aliases: Vec<String> = aliases.into_iter().map(|(alias, _)| alias.clone()).collect();
    let mut mover = Mover::new(aliases::remove(tx, row, &aliases).await?);
    if !stage(version.stage).is_some_and(Stage::is_stacked) {
        return Ok((mover, version));
    }
    let version = mover.shift(tx, version, Stage::Archived, cause, true).await?;
    Ok((mover, version))
}

/// The same, of all versions of a model that is to be deleted.
///
/// # Errors
/// If they are so many that their events don't fit into a revision.
pub(super) async fn let_go_of_all(tx: &mut Tx<'_>, row: ModelRow) -> Result<ModelRow, Error> {
    let aliases: Vec<_> = row.model.aliases.keys().cloned().collect();
    let row = aliases::remove(tx, row, &aliases).await?;
    let held = || Stage::ALL.into_iter().filter(|stage| stage.is_stacked());
    if held().all(|stage| row.stage(stage).is_none()) {
        return Ok(row);
    }
    let mut mover = Mover::new(row);
    for stage in held() {
        let versions = mover.row.stage(stage).map_or(0, |summary| summary.version_count);
        if !mover.empty(tx, stage, pb::StageChangeCause::Deleted, LEAVING_BYTES).await? {
            return Err(Error::TooLarge(format!(
                "{}: {versions} versions are in {stage}, too many to leave it in one revision: archive them before \
                 (BatchTransitionStages)",
                mover.model
            )));
        }
    }
    mover.finish(tx).await
}

/// Marks a version as deleted; it leaves its stage and loses its aliases.
pub(super) async fn delete(tx: &mut Tx<'_>, row: ModelRow, version: pb::Version) -> Result<pb::Version, Error> {
    let (mut mover, mut version) = let_go(tx, row, version, pb::StageChangeCause::Deleted).await?;
    let stage = stage(version.stage).unwrap_or(Stage::Development);
    let before = version.clone();
    version.delete_time = Some(tx.now);
    version.purge_time = tx.purge_time();
    let mut deleted = event(event_type::VERSION_DELETED);
    if stage != Stage::Archived {
        deleted.stage_change = Some(stage_change(stage, Stage::Archived, pb::StageChangeCause::Deleted));
        version.stage = stage_number(Stage::Archived);
        version.stage_time = Some(tx.now);
        version.stage_revision = tx.revision().cast_signed();
        version.entered_automatically = false;
    }
    let version = tx.write(deleted, Some(before), version).await?;

    // A deleted version counts in no stage.
    mover.count_out(stage, &version.name);
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
        must_not_be_purged(&before)?;
        must_be_deleted(&before)?;
        let version = pb::Version {
            delete_time: None,
            purge_time: None,
            stage_revision: tx.revision().cast_signed(),
            stage_time: Some(tx.now),
            entered_automatically: false,
            ..before.clone()
        };
        let version = tx.write(event(event_type::VERSION_UNDELETED), Some(before), version).await?;

        let mut mover = Mover::new(row);
        mover.count_in(Stage::Archived, &version.name, tx.revision());
        mover.row.model.version_count += 1;
        mover.row.model.latest_version = tx.store.latest(&mover.model).await?;
        mover.finish(tx).await.map(drop)
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
