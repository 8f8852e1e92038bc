//! Retention: the newest versions stay, and whatever is in use.

use async_trait::async_trait;
use registry_proto::v1 as pb;

use super::deletion::{delete, standing};
use super::kinds;
use super::records::{Records as _, decode, must_live};
use super::transaction::{Tx, version_after};
use super::{Committed, Mutation, Order, Registry, keys};
use crate::error::Error;
use crate::rules::names::ModelName;
use crate::rules::retention;
use crate::store::{Hit, Range, Source};

/// How many versions go in one revision.
const AT_ONCE: usize = 100;
/// How many are read at once.
const PAGE: usize = 200;

/// What went, or would.
pub(crate) struct Pruned {
    pub(crate) versions: Vec<pb::Version>,
    pub(crate) more: bool,
    pub(crate) revision: u64,
}

impl Registry {
    /// Deletes the oldest versions that may go, but for the newest `keep`. The candidates are looked for outside the lane, so
    /// that a long history does not stop the writers, and checked again in it.
    pub(crate) async fn prune(&self, order: Order, model: ModelName, keep: usize) -> Result<Pruned, Error> {
        let row = self.store.model(&model).await?;
        must_live(&row.model.name, row.model.delete_time.as_ref())?;
        let mut numbers = self.prunable(&row.model, &model, keep).await?;
        let more = numbers.len() > AT_ONCE;
        numbers.truncate(AT_ONCE);
        let Committed { revision, events } = self.commit(order, Prune { model, numbers }).await?;
        let deletions = events.into_iter().filter(|event| event.r#type() == pb::EventType::VersionDeleted);
        let versions = deletions.map(version_after).collect::<Result<_, _>>()?;
        Ok(Pruned { versions, more, revision })
    }

    /// The oldest versions that may go, one more than fit in a revision.
    async fn prunable(&self, model: &pb::Model, name: &ModelName, keep: usize) -> Result<Vec<i64>, Error> {
        let source = Source::Index(kinds::LIVE_VERSIONS);
        let mut kept = 0;
        let mut range = Range::last(keys::model_prefix(name), PAGE);
        let boundary = loop {
            range.limit = PAGE.min(keep - kept);
            let Some(Hit { position, .. }) =
                self.store.scan(source, &range).await?.into_iter().inspect(|_| kept += 1).last()
            else {
                return Ok(Vec::new());
            };
            if kept == keep {
                break position;
            }
            range.after = Some(position);
        };

        let mut numbers = Vec::new();
        let mut range = Range::first(keys::model_prefix(name), PAGE);
        loop {
            let hits = self.store.scan(source, &range).await?;
            for hit in &hits {
                if hit.position >= boundary || numbers.len() > AT_ONCE {
                    return Ok(numbers);
                }
                let version: pb::Version = decode(&hit.record)?;
                if retention::prunable(&standing(model, &version)) {
                    numbers.push(version.number);
                }
            }
            match hits.into_iter().last() {
                Some(last) => range.after = Some(last.position),
                None => return Ok(numbers),
            }
        }
    }
}

/// Versions to be deleted if they still may be.
struct Prune {
    model: ModelName,
    numbers: Vec<i64>,
}

#[async_trait]
impl Mutation for Prune {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        for number in &self.numbers {
            let row = tx.live_model(&self.model).await?;
            let version = tx.version(&self.model, *number).await?;
            if retention::prunable(&standing(&row.model, &version)) {
                delete(tx, &self.model, row, version).await?;
            }
        }
        Ok(())
    }
}
