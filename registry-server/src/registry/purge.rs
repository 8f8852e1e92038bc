//! Giving up the artifacts of deleted versions for good. The version stays, so that its number and id do.

use std::time::SystemTime;

use async_trait::async_trait;
use prost_types::Timestamp;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::artifacts::remove_records;
use super::deletion::delete;
use super::models::ModelRow;
use super::resource::{Resource as _, Row as _, check_etag, must_be_deleted};
use super::transaction::{Tx, decode, event};
use super::{Committed, Intent, Mutation, Registry, models, usage, versions};
use crate::error::Error;
use crate::rules::names::{MODELS, Name, VERSIONS};
use crate::store::{Pages, Source};

/// Whether a planned time has come.
fn is_due(planned: Option<&Timestamp>, now: SystemTime) -> bool {
    planned.and_then(|time| SystemTime::try_from(*time).ok()).is_some_and(|planned| planned <= now)
}

impl Registry {
    /// Gives up the artifacts of a deleted version. They are read outside the lane, so that nobody waits for them.
    pub(crate) async fn purge(&self, intent: Intent, purge: PurgeVersion) -> Result<pb::Version, Error> {
        if let Some(Some(version)) = self.repeated::<PurgeAsRead>(&intent).await? {
            return Ok(version);
        }
        loop {
            let as_read = self.read_for_purge(purge.clone(), None).await?;
            if let Some(version) = self.commit(intent.clone(), as_read).await? {
                return Ok(version);
            }
        }
    }

    async fn read_for_purge(&self, purge: PurgeVersion, now: Option<SystemTime>) -> Result<PurgeAsRead, Error> {
        let version = self.version(&purge.name).await?;
        let name = Name::canonical(&VERSIONS, &version.name);
        let mut artifacts = Vec::new();
        let mut all = Pages::under(Source::Kind(pb::Artifact::KIND), name.prefix());
        while let Some(hit) = all.next(&*self.store).await? {
            artifacts.push(hit.record.key);
        }
        Ok(PurgeAsRead { purge, now, read: version.etag, artifacts })
    }

    /// Purges the versions whose time has come, the earliest first; those of deleted models come last. Stops when `tell`, which
    /// hears how many were, says false. With `dry_run` it only counts.
    pub(crate) async fn purge_due(
        &self,
        intent: &Intent,
        now: SystemTime,
        dry_run: bool,
        mut tell: impl FnMut(i64) -> bool,
    ) -> Result<i64, Error> {
        let mut purged = 0;
        let mut deleted = Pages::of(Source::Index(versions::DELETED));
        while let Some(hit) = deleted.next(&*self.store).await? {
            let version: pb::Version = decode(&hit.record)?;
            if !is_due(version.purge_time.as_ref(), now) || !tell(purged) {
                break;
            }
            purged += if dry_run { 1 } else { self.purge_if_due(intent, now, &version.name).await? };
        }
        let mut deleted = Pages::of(Source::Index(models::DELETED));
        while let Some(hit) = deleted.next(&*self.store).await? {
            let model = ModelRow::decode(&hit.record)?.model;
            if !is_due(model.purge_time.as_ref(), now) || !tell(purged) {
                break;
            }
            if dry_run {
                purged += model.version_count;
                continue;
            }
            let name = Name::canonical(&MODELS, &model.name);
            let mut versions = Pages::under(Source::Index(versions::LIVE), name.prefix());
            while let Some(hit) = versions.next(&*self.store).await? {
                let version: pb::Version = decode(&hit.record)?;
                purged += self.purge_if_due(intent, now, &version.name).await?;
                if !tell(purged) {
                    break;
                }
            }
        }
        Ok(purged)
    }

    /// How many versions were purged.
    async fn purge_if_due(&self, intent: &Intent, now: SystemTime, name: &str) -> Result<i64, Error> {
        let name = Name::canonical(&VERSIONS, name);
        let as_read = self.read_for_purge(PurgeVersion { name, etag: String::new() }, Some(now)).await?;
        Ok(i64::from(self.commit(intent.clone(), as_read).await?.is_some()))
    }
}

/// A version whose artifacts are to be given up.
#[derive(Debug, Clone)]
pub(crate) struct PurgeVersion {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

struct PurgeAsRead {
    purge: PurgeVersion,
    /// Nothing is done unless its time has come by now.
    now: Option<SystemTime>,
    /// The etag that the version had before its artifacts were read.
    read: String,
    /// Their keys.
    artifacts: Vec<Vec<u8>>,
}

#[async_trait]
impl Mutation for PurgeAsRead {
    /// `None` if it is not due, or if the version is not as it was read any more.
    type Answer = Option<pb::Version>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let name = &self.purge.name;
        let row: ModelRow = tx.any(&name.parent()).await?;
        let mut version: pb::Version = tx.any(name).await?;
        check_etag(&version, &self.purge.etag)?;
        let (planned, deleted) = match version.delete_time {
            Some(_) => (version.purge_time, true),
            None => (row.model.purge_time, row.model.delete_time.is_some()),
        };
        match self.now {
            // It was undeleted, or somebody was faster.
            Some(now) if version.purged || !is_due(planned.as_ref(), now) => return Ok(()),
            _ => must_have_its_artifacts(&version)?,
        }
        if !deleted {
            must_be_deleted(&version)?;
        }
        if version.etag != self.read {
            return Ok(());
        }
        if version.delete_time.is_none() {
            version = delete(tx, row, version).await?;
        }
        for key in &self.artifacts {
            remove_records(tx, key).await?;
        }
        let (count, size) = (version.artifact_count.unsigned_abs(), version.size_bytes.unsigned_abs());
        usage::give_back(tx, name.namespace(), count, size).await?;
        let purged =
            pb::Version { purged: true, purge_time: Some(tx.now), artifact_count: 0, size_bytes: 0, ..version.clone() };
        tx.write(event(event_type::VERSION_PURGED), Some(version), purged).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        if committed.events.is_empty() {
            return Ok(None);
        }
        committed.resource::<pb::Version>(event_type::VERSION_PURGED).map(Some)
    }
}

/// Fails if the version was purged.
pub(super) fn must_have_its_artifacts(version: &pb::Version) -> Result<(), Error> {
    if !version.purged {
        return Ok(());
    }
    let detail = "was purged: its artifacts are gone for good";
    Err(Error::precondition(ErrorReason::ResourcePurged, &version.name, detail))
}
