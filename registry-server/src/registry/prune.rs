//! Retention: the newest versions stay, and whatever is in use.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use prost::Message as _;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use tokio::task::yield_now;

use super::deletion::{delete, standing};
use super::locks::locked_versions;
use super::models::ModelRow;
use super::resource::must_live;
use super::transaction::{Records as _, Tx, decode, resource_of};
use super::{Committed, Intent, Mutation, Registry, versions};
use crate::error::Error;
use crate::rules::expression::Expression;
use crate::rules::names::{Name, VERSIONS};
use crate::rules::retention::{self, Standing};
use crate::store::{Range, Source};

/// How many versions go in one revision.
const AT_ONCE: usize = 100;
/// And after how many bytes of events no further one does: those of one more version still fit.
const BYTES_AT_ONCE: usize = 1024 * 1024;
/// How many are read at once.
const PAGE: usize = 200;

/// Which versions may go.
#[derive(Debug)]
pub(crate) struct Which {
    /// PENDING ones too, if they have not changed for so long.
    pub(crate) pending_older_than: Option<Duration>,
    /// Only what meets this condition.
    pub(crate) filter: Option<Arc<Expression>>,
}

impl Registry {
    /// Deletes the oldest versions that may go, but for the newest `keep` of them.
    /// The candidates are looked for outside the lane, so that a long history does not stop the writers, and checked again in it.
    pub(crate) async fn prune(
        &self,
        intent: Intent,
        model: Name,
        keep: usize,
        Which { pending_older_than, filter }: Which,
    ) -> Result<pb::PruneVersionsResponse, Error> {
        // By the clock that dates versions.
        let before = match pending_older_than {
            Some(age) => Some(self.store.time().await?.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)),
            None => None,
        };
        let may_go = MayGo { before, filter };
        let repeated = self.repeated::<Prune>(&intent).await?;
        let row: ModelRow = self.store.resource(&model).await?;
        if let Some(response) = repeated {
            let more = !self.prunable(&row, &model, keep, &may_go).await?.is_empty();
            return Ok(pb::PruneVersionsResponse { more, ..response });
        }
        must_live(&row)?;
        let mut numbers = self.prunable(&row, &model, keep, &may_go).await?;
        let found = numbers.len();
        numbers.truncate(AT_ONCE);
        let response = self.commit(intent, Prune { model, numbers, may_go }).await?;
        let more = found > response.versions.len();
        Ok(pb::PruneVersionsResponse { more, ..response })
    }

    /// The oldest versions that may go, one more than fit in a revision.
    async fn prunable(&self, row: &ModelRow, model: &Name, keep: usize, may_go: &MayGo) -> Result<Vec<i64>, Error> {
        let source = Source::Index(versions::LIVE);
        let mut kept = 0;
        let mut range = Range::last(model.prefix(), PAGE);
        let boundary = 'newest: loop {
            // With a condition, it takes more to find so many that meet it.
            range.limit = if may_go.filter.is_none() { PAGE.min(keep - kept) } else { PAGE };
            let hits = self.store.scan(source, &range).await?;
            if hits.is_empty() {
                return Ok(Vec::new());
            }
            // There may be many.
            yield_now().await;
            for hit in hits {
                kept += usize::from(may_go.meets(&hit.record.payload));
                if kept == keep {
                    break 'newest hit.position;
                }
                range.after = Some(hit.position);
            }
        };

        let locked = locked_versions(&*self.store, row).await?;
        let mut numbers = Vec::new();
        let mut range = Range::first(model.prefix(), PAGE);
        loop {
            let hits = self.store.scan(source, &range).await?;
            yield_now().await;
            for hit in &hits {
                if hit.position >= boundary || numbers.len() > AT_ONCE {
                    return Ok(numbers);
                }
                if !may_go.meets(&hit.record.payload) {
                    continue;
                }
                let version: pb::Version = decode(&hit.record)?;
                if retention::prunable(&may_go.standing(row, &version)) && !locked.contains(&version.number) {
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
    model: Name,
    numbers: Vec<i64>,
    may_go: MayGo,
}

struct MayGo {
    /// Pending ones that changed before that may go.
    before: Option<SystemTime>,
    filter: Option<Arc<Expression>>,
}

impl MayGo {
    /// Whether a version, as it is encoded, meets the condition.
    fn meets(&self, version: &[u8]) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(version))
    }

    /// How a version stands, where those that nobody fills any more are not pending.
    fn standing(&self, row: &ModelRow, version: &pb::Version) -> Standing {
        let standing = standing(row, version);
        let changed = version.update_time.and_then(|time| SystemTime::try_from(time).ok());
        Standing { pending: standing.pending && !retention::abandoned(changed, self.before), ..standing }
    }
}

#[async_trait]
impl Mutation for Prune {
    /// Whether there are more is not for the commit to say.
    type Answer = pb::PruneVersionsResponse;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row: ModelRow = tx.live(&self.model).await?;
        let locked = locked_versions(&*tx.store, &row).await?;
        for number in self.numbers.iter().filter(|number| !locked.contains(number)) {
            if tx.event_bytes() >= BYTES_AT_ONCE {
                break;
            }
            let version: pb::Version = tx.any(&self.model.child(&VERSIONS, *number)).await?;
            let meets = self.may_go.filter.is_none() || self.may_go.meets(&version.encode_to_vec());
            if meets && retention::prunable(&self.may_go.standing(&row, &version)) {
                delete(tx, row, version).await?;
                row = tx.any(&self.model).await?;
            }
        }
        if tx.events.is_empty() {
            tx.unchanged(self.model.to_string(), None);
        }
        Ok(())
    }

    fn answer(Committed { revision, events }: Committed) -> Result<Self::Answer, Error> {
        let deletions = events.into_iter().filter(|event| event.r#type == event_type::VERSION_DELETED);
        let versions = deletions.map(resource_of::<pb::Version>).collect::<Result<_, _>>()?;
        Ok(pb::PruneVersionsResponse { versions, more: false, revision: revision.cast_signed() })
    }
}
