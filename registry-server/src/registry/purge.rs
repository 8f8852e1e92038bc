//! Giving up the artifacts of deleted versions for good. The version stays, so that its number and label do.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use prost_types::Timestamp;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::artifacts::remove_artifact;
use super::deletion::{delete, not_deleted};
use super::kinds;
use super::records::{ModelRow, Records as _, decode};
use super::transaction::{Tx, check_etag, version_after, version_event};
use super::versions::touch;
use super::{Mutation, Order, Registry, keys};
use crate::error::Error;
use crate::rules::garbage;
use crate::rules::names::{ModelName, VersionName};
use crate::store::{Pages, Source};

/// What is to be purged by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) now: SystemTime,
    pub(crate) purge_after: Duration,
}

impl Due {
    fn is(&self, deleted: Option<&Timestamp>) -> bool {
        let deleted = deleted.and_then(|time| SystemTime::try_from(*time).ok());
        deleted.is_some_and(|deleted| garbage::is_due(deleted, self.now, self.purge_after))
    }
}

impl Registry {
    pub(crate) async fn purge_version(&self, order: Order, purge: PurgeVersion) -> Result<pb::Version, Error> {
        version_after(self.commit(order, purge).await?.into_event(pb::EventType::VersionPurged)?)
    }

    /// Purges the versions that are due, the longest deleted first; those of deleted models come last. Stops when `tell`, which
    /// hears how many were, says false. With `dry_run` it only counts.
    pub(crate) async fn purge_due(
        &self,
        order: &Order,
        due: Due,
        dry_run: bool,
        mut tell: impl FnMut(u64) -> bool,
    ) -> Result<u64, Error> {
        let mut purged = 0;
        let mut deleted = Pages::of(Source::Index(kinds::DELETED_VERSIONS));
        while let Some(hit) = deleted.next(&*self.store).await? {
            let version: pb::Version = decode(&hit.record)?;
            if !due.is(version.delete_time.as_ref()) || !tell(purged) {
                break;
            }
            purged += if dry_run { 1 } else { self.purge_if_due(order, due, &version.name).await? };
        }
        let mut deleted = Pages::of(Source::Index(kinds::DELETED_MODELS));
        while let Some(hit) = deleted.next(&*self.store).await? {
            let model = ModelRow::decode(&hit.record)?.model;
            if !due.is(model.delete_time.as_ref()) || !tell(purged) {
                break;
            }
            if dry_run {
                purged += model.version_count.unsigned_abs();
                continue;
            }
            let name = ModelName::parse(&model.name).map_err(Error::internal)?;
            let mut versions = Pages::under(Source::Index(kinds::LIVE_VERSIONS), keys::model_prefix(&name));
            while let Some(hit) = versions.next(&*self.store).await? {
                let version: pb::Version = decode(&hit.record)?;
                purged += self.purge_if_due(order, due, &version.name).await?;
                if !tell(purged) {
                    break;
                }
            }
        }
        Ok(purged)
    }

    /// How many versions were purged.
    async fn purge_if_due(&self, order: &Order, due: Due, name: &str) -> Result<u64, Error> {
        let name = VersionName::parse(name).map_err(Error::internal)?;
        let purge = PurgeVersion { name, etag: String::new(), due: Some(due) };
        Ok(u64::from(!self.commit(order.clone(), purge).await?.events.is_empty()))
    }
}

/// A version whose artifacts are to be given up.
pub(crate) struct PurgeVersion {
    pub(crate) name: VersionName,
    pub(crate) etag: String,
    /// Nothing is done unless it is due.
    pub(crate) due: Option<Due>,
}

#[async_trait]
impl Mutation for PurgeVersion {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let model = &self.name.model;
        let row = tx.any_model(model).await?;
        let number = tx.store.resolve(&self.name).await?;
        let mut version = tx.version(model, number).await?;
        check_etag(&version.name, &version.etag, &self.etag)?;
        let deleted = version.delete_time.or(row.model.delete_time);
        match &self.due {
            // It was undeleted, or somebody was faster.
            Some(due) if version.purge_time.is_some() || !due.is(deleted.as_ref()) => return Ok(()),
            _ => must_have_its_artifacts(&version)?,
        }
        if deleted.is_none() {
            return Err(not_deleted(&version.name));
        }
        if version.delete_time.is_none() {
            delete(tx, model, row, version).await?;
            version = tx.version(model, number).await?;
        }
        remove_artifacts(tx, model, number).await?;
        let before = version.clone();
        version.purge_time = Some(tx.now);
        version.artifact_count = 0;
        version.size_bytes = 0;
        touch(tx, &mut version);
        tx.put_version(model, &version).await?;
        tx.log(version_event(pb::EventType::VersionPurged, Some(before), version));
        Ok(())
    }
}

/// Fails if the version was purged.
pub(super) fn must_have_its_artifacts(version: &pb::Version) -> Result<(), Error> {
    match version.purge_time {
        None => Ok(()),
        Some(_) => {
            let detail = "was purged: its artifacts are gone for good";
            Err(Error::precondition(ErrorReason::ResourcePurged, &version.name, detail))
        }
    }
}

async fn remove_artifacts(tx: &mut Tx<'_>, model: &ModelName, number: i64) -> Result<(), Error> {
    let mut all = Pages::under(Source::Kind(kinds::ARTIFACT), keys::artifact(model, number, ""));
    while let Some(hit) = all.next(&*tx.store).await? {
        remove_artifact(tx, &hit.record.key, &decode(&hit.record)?).await?;
    }
    Ok(())
}
