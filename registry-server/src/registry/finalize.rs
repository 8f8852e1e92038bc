//! The end of a version's filling: sealed under a digest of all its artifacts, or given up.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::models::ModelRow;
use super::resource::{Resource, check_etag};
use super::stages::state;
use super::transaction::{Records as _, Tx, event};
use super::{Committed, Intent, Mutation, Registry};
use crate::error::Error;
use crate::rules::names::{MODELS, Name};
use crate::store::Kind;

/// A version to be finalized.
#[derive(Debug, Clone)]
pub(crate) struct Finalize {
    pub(crate) name: Name,
    /// `None`: it is READY. Otherwise it is FAILED, for this reason.
    pub(crate) failure: Option<String>,
    pub(crate) etag: String,
}

impl Registry {
    /// Finalizes a version. Its artifacts are read outside the lane, so that nobody waits for them, and once more if some came or
    /// went meanwhile.
    pub(crate) async fn finalize(&self, intent: Intent, finalize: Finalize) -> Result<pb::Version, Error> {
        if let Some(Some(version)) = self.repeated::<FinalizeAsRead>(&intent).await? {
            return Ok(version);
        }
        loop {
            let version = self.version(&finalize.name).await?;
            let manifest_sha256 = match finalize.failure {
                Some(_) => String::new(),
                None => self.manifest_digest(&Name::canonical(pb::Version::OF, &version.name)).await?,
            };
            let as_read = FinalizeAsRead { finalize: finalize.clone(), read: version.etag, manifest_sha256 };
            if let Some(version) = self.commit(intent.clone(), as_read).await? {
                return Ok(version);
            }
        }
    }
}

struct FinalizeAsRead {
    finalize: Finalize,
    /// The etag that the version had before its artifacts were read; it changes as they come and go.
    read: String,
    manifest_sha256: String,
}

#[async_trait]
impl Mutation for FinalizeAsRead {
    /// `None` if the version is not as it was read any more.
    type Answer = Option<pb::Version>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: pb::Version = tx.live(&self.finalize.name).await?;
        check_etag(&before, &self.finalize.etag)?;
        if before.state() != pb::VersionState::Pending {
            let detail = format!("is {} already", state(&before));
            return Err(Error::precondition(ErrorReason::VersionSealed, before.name, detail));
        }
        if before.etag != self.read {
            return Ok(());
        }
        let mut version = before.clone();
        match &self.finalize.failure {
            Some(reason) => {
                version.set_state(pb::VersionState::Failed);
                version.failure_reason.clone_from(reason);
            }
            None => {
                version.set_state(pb::VersionState::Ready);
                version.manifest_sha256.clone_from(&self.manifest_sha256);
            }
        }
        tx.write(event(event_type::VERSION_FINALIZED), Some(before), version).await?;

        let row: ModelRow = tx.live(&self.finalize.name.parent()).await?;
        keep_latest(tx, row).await
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        if committed.events.is_empty() {
            return Ok(None);
        }
        committed.resource::<pb::Version>(event_type::VERSION_FINALIZED).map(Some)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Version::reads(&self.finalize.name)
    }
}

/// Keeps in a model which of its versions is the latest. The etag stays: nothing that somebody decided about the model has changed.
pub(super) async fn keep_latest(tx: &mut Tx<'_>, mut row: ModelRow) -> Result<(), Error> {
    let latest = tx.store.latest(&Name::canonical(&MODELS, &row.model.name)).await?;
    if row.model.latest_version != latest {
        row.model.latest_version = latest;
        tx.keep(row).await?;
    }
    Ok(())
}
