//! Withdrawing versions: those who have pinned one still get it, and nobody else comes by it.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::deletion::{let_go, standing};
use super::finalize::keep_latest;
use super::models::ModelRow;
use super::resource::{Resource, check_etag};
use super::stages::stage;
use super::transaction::{Records as _, Tx, event};
use super::{Committed, Mutation};
use crate::error::Error;
use crate::rules::names::Name;
use crate::rules::retention;
use crate::rules::stages::Stage;
use crate::store::Kind;

/// A version to be withdrawn; the reason was checked.
#[derive(Debug)]
pub(crate) struct WithdrawVersion {
    pub(crate) name: Name,
    pub(crate) reason: String,
    pub(crate) etag: String,
    pub(crate) force: bool,
}

#[async_trait]
impl Mutation for WithdrawVersion {
    type Answer = pb::Version;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let version: pb::Version = tx.live(&self.name).await?;
        check_etag(&version, &self.etag)?;
        let row: ModelRow = tx.live(&self.name.parent()).await?;
        if version.state() != pb::VersionState::Ready {
            let detail = "is not READY: nobody has pinned it, delete it instead";
            return Err(Error::precondition(ErrorReason::VersionNotReady, version.name, detail));
        }
        match retention::protected_from_withdrawal(&standing(&row, &version)) {
            Some(why) if !self.force => {
                return Err(Error::precondition(ErrorReason::ResourceProtected, version.name, why));
            }
            _ => {}
        }
        let moves = stage(version.stage).is_some_and(Stage::is_stacked);
        let (mut mover, before) = let_go(tx, row, version, pb::StageChangeCause::Withdrawn).await?;
        let after = pb::Version {
            withdraw_time: before.withdraw_time.or(Some(tx.now)),
            withdraw_reason: self.reason.clone(),
            ..before.clone()
        };
        tx.write(event(event_type::VERSION_WITHDRAWN), Some(before), after).await?;
        if !moves {
            return keep_latest(tx, mover.row).await;
        }
        mover.row.model.latest_version = tx.store.latest(&mover.model).await?;
        mover.finish(tx).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Version, Error> {
        committed.resource::<pb::Version>(event_type::VERSION_WITHDRAWN)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Version::reads(&self.name)
    }
}

/// A withdrawal to be taken back.
#[derive(Debug)]
pub(crate) struct ReinstateVersion {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for ReinstateVersion {
    type Answer = pb::Version;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: pb::Version = tx.live(&self.name).await?;
        check_etag(&before, &self.etag)?;
        if before.withdraw_time.is_none() {
            return Err(Error::precondition(ErrorReason::VersionNotWithdrawn, before.name, "is not withdrawn"));
        }
        let after = pb::Version { withdraw_time: None, withdraw_reason: String::new(), ..before.clone() };
        tx.write(event(event_type::VERSION_REINSTATED), Some(before), after).await?;
        let row: ModelRow = tx.live(&self.name.parent()).await?;
        keep_latest(tx, row).await
    }

    fn answer(committed: Committed) -> Result<pb::Version, Error> {
        committed.resource::<pb::Version>(event_type::VERSION_REINSTATED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Version::reads(&self.name)
    }
}

/// Fails if the version is withdrawn.
pub(super) fn must_not_be_withdrawn(version: &pb::Version) -> Result<(), Error> {
    match version.withdraw_time {
        None => Ok(()),
        Some(_) => Err(Error::precondition(ErrorReason::VersionWithdrawn, &version.name, "is withdrawn")),
    }
}
