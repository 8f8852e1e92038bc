//! Giving up the artifacts of deleted versions for good. The version stays, so that its number and id do.

use std::time::SystemTime;

use async_trait::async_trait;
use prost_types::Timestamp;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::artifacts::remove_records;
use super::deletion::delete;
use super::models::ModelRow;
use super::purge_models::{Deletion, Purged};
use super::resource::{Resource as _, check_etag, must_be_deleted, must_not_be_purged};
use super::transaction::{Tx, decode, event};
use super::{Committed, Intent, Mutation, Registry, locks, usage, versions};
use crate::error::Error;
use crate::rules::names::{Name, VERSIONS};
use crate::store::{Pages, Source};

/// Whether a planned time has come.
pub(super) fn is_due(planned: Option<&Timestamp>, now: SystemTime) -> bool {
    planned.and_then(|time| SystemTime::try_from(*time).ok()).is_some_and(|planned| planned <= now)
}

impl Registry {
    /// Gives up the artifacts of a deleted version. They are read outside the lane, so that nobody waits for them.
    pub(crate) async fn purge(&self, intent: Intent, purge: PurgeVersion) -> Result<pb::Version, Error> {
        if let Some(Some(version)) = self.repeated::<PurgeAsRead>(&intent).await? {
            return Ok(version);
        }
        loop {
            let as_read = self.read_for_purge(purge.clone(), When::Asked).await?;
            if let Some(version) = self.commit(intent.clone(), as_read).await? {
                return Ok(version);
            }
        }
    }

    pub(super) async fn read_for_purge(&self, purge: PurgeVersion, when: When) -> Result<PurgeAsRead, Error> {
        let version = self.version(&purge.name).await?;
        let name = Name::canonical(&VERSIONS, &version.name);
        let mut artifacts = Vec::new();
        let mut all = Pages::under(Source::Kind(pb::Artifact::KIND), name.prefix());
        while let Some(hit) = all.next(&*self.store).await? {
            artifacts.push(hit.record.key);
        }
        Ok(PurgeAsRead { purge, when, read: version.etag, artifacts })
    }

    /// Purges the versions whose time has come, the earliest first, and then the models. Stops when `tell`, which hears how many
    /// versions were, says false. With `dry_run` it only counts.
    pub(crate) async fn purge_due(
        &self,
        intent: &Intent,
        now: SystemTime,
        dry_run: bool,
        mut tell: impl FnMut(i64) -> bool,
    ) -> Result<Purged, Error> {
        let mut purged = Purged::default();
        let mut deleted = Pages::of(Source::Index(versions::DELETED));
        while let Some(hit) = deleted.next(&*self.store).await? {
            let version: pb::Version = decode(&hit.record)?;
            if !is_due(version.purge_time.as_ref(), now) || !tell(purged.versions) {
                break;
            }
            purged.versions += if dry_run { 1 } else { self.purge_if_due(intent, now, &version.name).await? };
        }
        self.purge_models_due(intent, now, dry_run, &mut purged, tell).await?;
        Ok(purged)
    }

    /// How many versions were purged.
    async fn purge_if_due(&self, intent: &Intent, now: SystemTime, name: &str) -> Result<i64, Error> {
        let name = Name::canonical(&VERSIONS, name);
        let as_read = self.read_for_purge(PurgeVersion { name, etag: String::new() }, When::Due(now)).await?;
        Ok(i64::from(self.commit(intent.clone(), as_read).await?.is_some()))
    }
}

/// When a version is purged.
#[derive(Debug)]
pub(super) enum When {
    /// Somebody asks for it, and hears what stands in the way.
    Asked,
    /// If its time has come by now.
    Due(SystemTime),
    /// With its model, as long as that is deleted by this deletion.
    With(Deletion),
}

/// A version whose artifacts are to be given up.
#[derive(Debug, Clone)]
pub(crate) struct PurgeVersion {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

pub(super) struct PurgeAsRead {
    purge: PurgeVersion,
    when: When,
    /// The etag that the version had before its artifacts were read.
    read: String,
    /// Their keys.
    artifacts: Vec<Vec<u8>>,
}

#[async_trait]
impl Mutation for PurgeAsRead {
    /// `None` if it is not to be yet or any more, or if the version is not as it was read.
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
        match &self.when {
            When::Asked => {
                must_not_be_purged(&version)?;
                if !deleted {
                    must_be_deleted(&version)?;
                }
            }
            // It was undeleted, or somebody was faster.
            When::Due(now) if version.purged || !deleted || !is_due(planned.as_ref(), *now) => return Ok(()),
            // It is due once more when the lock is released.
            When::Due(_) if locks::keep(tx, &row, &version).await? => return Ok(()),
            When::With(deletion) if version.purged || !deletion.lasts(&row) => return Ok(()),
            When::Due(_) | When::With(_) => {}
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
