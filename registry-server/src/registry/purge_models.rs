//! Giving up a deleted model for good: all of its versions, its instances, then its name. Its versions stay as what they are, purged, so
//! that no number ever means two things.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use prost_types::Timestamp;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::approvals;
use super::models::{self, ModelRow};
use super::purge::{PurgeVersion, When, is_due};
use super::resource::{Resource as _, Row as _, check_etag, must_be_deleted, must_not_be_purged};
use super::transaction::{Records as _, Tx, decode, event};
use super::{Committed, Intent, Mutation, Registry, count, versions};
use crate::error::Error;
use crate::rules::names::{MODELS, Name, VERSIONS};
use crate::store::{Kind, Pages, Source};

/// How many versions are purged at once, so that their commits share what the disk costs.
const TOGETHER: usize = 32;

/// A model to be given up.
#[derive(Debug, Clone)]
pub(crate) struct PurgeModel {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

/// One deletion of one model: not an earlier or a later one, nor that of another model that had or has the name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deletion {
    uid: String,
    time: Option<Timestamp>,
}

impl Deletion {
    fn of(row: &ModelRow) -> Self {
        Self { uid: row.model.uid.clone(), time: row.model.delete_time }
    }

    /// Whether the model is still deleted by it, and not purged.
    pub(super) fn lasts(&self, row: &ModelRow) -> bool {
        row.model.delete_time.is_some() && !row.model.purged && *self == Self::of(row)
    }
}

/// How much was purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    pub(crate) versions: i64,
    pub(crate) models: i64,
}

impl Registry {
    /// Gives up a deleted model: each of its versions in a commit of its own, so that nobody waits for all of them, and then its name.
    /// If that breaks off in between, it is taken up by asking again.
    pub(crate) async fn purge_model(&self, intent: Intent, purge: PurgeModel) -> Result<pb::Model, Error> {
        if let Some(Some(model)) = self.repeated::<FreeName>(&intent).await? {
            return Ok(model);
        }
        loop {
            let row: ModelRow = self.store.resource(&purge.name).await?;
            check_etag(&row, &purge.etag)?;
            must_not_be_purged(&row)?;
            must_be_deleted(&row)?;
            let deletion = Deletion::of(&row);
            if !intent.validate_only {
                self.purge_contents_of(&intent, &purge.name, &deletion, |_| true).await?;
            }
            let free = FreeName { name: purge.name.clone(), deletion };
            if let Some(model) = self.commit(intent.clone(), free).await? {
                return Ok(model);
            }
        }
    }

    /// Purges the versions of a model, and removes its instances, as long as its deletion lasts, and `tell` says true. Answers how many
    /// versions it purged, and whether it came to the end.
    async fn purge_contents_of(
        &self,
        intent: &Intent,
        model: &Name,
        deletion: &Deletion,
        mut tell: impl FnMut(i64) -> bool,
    ) -> Result<(i64, bool), Error> {
        // The request as a whole is carried out by the commit that frees the name.
        let intent = Intent { request_id: None, fingerprint: Bytes::new(), ..intent.clone() };
        let purge = async |name: String| {
            let purge = PurgeVersion { name: Name::canonical(&VERSIONS, &name), etag: String::new() };
            let as_read = self.read_for_purge(purge, When::With(deletion.clone())).await?;
            // Versions of deleted models change by being purged only: somebody else was faster, or the model was undeleted.
            Ok::<_, Error>(self.commit(intent.clone(), as_read).await?.is_some())
        };
        let mut purged = 0;
        for index in [versions::LIVE, versions::UNPURGED] {
            let mut found = Pages::under(Source::Index(index), model.prefix());
            loop {
                let mut names = Vec::with_capacity(TOGETHER);
                while let Some(hit) = found.next(&*self.store).await? {
                    names.push(decode::<pb::Version>(&hit.record)?.name);
                    if names.len() == TOGETHER {
                        break;
                    }
                }
                if names.is_empty() {
                    break;
                }
                let done = try_join_all(names.into_iter().map(&purge)).await?;
                purged += count(done.into_iter().filter(|done| *done).count());
                if !tell(purged) {
                    return Ok((purged, false));
                }
            }
        }
        self.remove_instances_of(&intent, model, deletion).await?;
        Ok((purged, true))
    }

    /// Purges the models whose time has come, the earliest first; `so_far` counts. Stops when `tell`, which hears how many versions were
    /// purged, says false. With `dry_run` it only counts.
    pub(super) async fn purge_models_due(
        &self,
        intent: &Intent,
        now: SystemTime,
        dry_run: bool,
        so_far: &mut Purged,
        mut tell: impl FnMut(i64) -> bool,
    ) -> Result<(), Error> {
        let mut deleted = Pages::of(Source::Index(models::DELETED));
        while let Some(hit) = deleted.next(&*self.store).await? {
            let row = ModelRow::decode(&hit.record)?;
            if !is_due(row.model.purge_time.as_ref(), now) || !tell(so_far.versions) {
                return Ok(());
            }
            if dry_run {
                so_far.versions += row.model.version_count;
                so_far.models += 1;
                continue;
            }
            let (name, deletion) = (Name::canonical(&MODELS, &row.model.name), Deletion::of(&row));
            let before = so_far.versions;
            let (purged, all) =
                self.purge_contents_of(intent, &name, &deletion, |purged| tell(before + purged)).await?;
            so_far.versions += purged;
            if !all {
                return Ok(());
            }
            so_far.models += i64::from(self.commit(intent.clone(), FreeName { name, deletion }).await?.is_some());
        }
        Ok(())
    }
}

/// The name of a model whose versions are purged is to be free.
struct FreeName {
    name: Name,
    deletion: Deletion,
}

#[async_trait]
impl Mutation for FreeName {
    /// `None` if the deletion did not last.
    type Answer = Option<pb::Model>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: ModelRow = tx.any(&self.name).await?;
        if !self.deletion.lasts(&before) {
            return Ok(());
        }
        let mut after = before.clone();
        after.model.purged = true;
        after.model.purge_time = Some(tx.now);
        // So it is already, but where this is only tried out.
        after.model.version_count = 0;
        after.model.latest_version.clear();
        after.model.stages.clear();
        approvals::remove_all(tx, &self.name).await?;
        tx.write(event(event_type::MODEL_PURGED), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        if committed.events.is_empty() {
            return Ok(None);
        }
        committed.resource::<ModelRow>(event_type::MODEL_PURGED).map(Some)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        ModelRow::reads(&self.name)
    }
}
