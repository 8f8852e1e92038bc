//! Collecting garbage: request ids are forgotten, versions that were deleted long ago give up their artifacts, models their names,
//! chunks that no artifact lists go, and the beginning of the log is dropped.
//!
//! Of the chunks: one pass over the artifacts, one over the stored chunks. What is listed is kept in memory meanwhile: 40 to 75 MB for a million
//! different chunks, which is a terabyte of artifacts. Why nothing that is in use can go stands in [`crate::rules::garbage`].

mod marks;
mod scheduled;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use self::marks::Marks;
use futures::TryStreamExt as _;
use registry_proto::v1 as pb;
use registry_proto::v1::CollectGarbagePhase as Phase;

pub(crate) use self::scheduled::{Schedule, run};
use crate::backup::history::archived_without_gap;
use crate::chunks::garbage::Stored;
use crate::error::Error;
use crate::registry::{Intent, Registry, count};
use crate::rules::garbage::{Fate, fate};
use crate::store::Revision;

/// How many chunks are removed in one sweep.
const BATCH: usize = 4096;
/// And in one behind a sweep that was given up: the chunks of such sweeps are kept in mind for good.
const FEW: usize = 16;
/// After how many chunks it is told how far things are.
const TELL_EVERY: i64 = 1000;
/// How often it is told that the archive is waited for.
const TELL_WAITING: Duration = Duration::from_secs(1);

/// What a collection is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) dry_run: bool,
    /// How old a chunk that no artifact lists has to be.
    pub(crate) grace: Duration,
    /// How long request ids are known.
    pub(crate) keep_requests: Duration,
    /// How long the log is kept; without it, for good.
    pub(crate) keep_log: Option<Duration>,
}

/// Collects garbage. `tell` hears how far it is; when it says false, the collection ends with its next step.
///
/// # Errors
/// If a store fails, or another collection removes chunks at this moment.
pub(crate) async fn collect(
    registry: &Registry,
    intent: &Intent,
    plan: &Plan,
    tell: impl Fn(Phase, i64) -> bool + Send + Sync,
) -> Result<pb::CollectGarbageReport, Error> {
    let began = Instant::now();
    let report = go_through(registry, intent, plan, tell).await;
    if !plan.dry_run {
        registry.measures().collected(&report, began);
    }
    report
}

async fn go_through(
    registry: &Registry,
    intent: &Intent,
    plan: &Plan,
    tell: impl Fn(Phase, i64) -> bool + Send + Sync,
) -> Result<pb::CollectGarbageReport, Error> {
    let now = registry.store().time().await?;
    // First, since neither a place nor an archive nor another collection can stand in the way.
    let forgetting = |forgotten| tell(Phase::Forget, forgotten);
    let forgotten_requests =
        registry.forget_requests(intent, now, plan.keep_requests, plan.dry_run, forgetting).await?;
    if !plan.dry_run {
        registry.chunks().check_owner(&**registry.store()).await?;
    }
    let purging = |purged| tell(Phase::Purge, purged);
    let purged = registry.purge_due(intent, now, plan.dry_run, purging).await?;
    let (purged_versions, purged_models) = (purged.versions, purged.models);
    let mut report =
        pb::CollectGarbageReport { forgotten_requests, purged_versions, purged_models, ..Default::default() };
    if !tell(Phase::Mark, 0) {
        return Ok(report);
    }
    let snapshot = registry.store().snapshot().await?;
    let Some(marks) = Marks::of(&*snapshot, |read| tell(Phase::Mark, read)).await? else { return Ok(report) };
    let read = snapshot.revision();
    drop(snapshot);
    if !plan.dry_run && !archived(registry, read, &tell).await? {
        return Ok(report);
    }
    report.listed_chunks = marks.count();
    let careful = !plan.dry_run && registry.gave_up_sweep().await?;
    let batch = if careful { FEW } else { BATCH };
    let mut collection =
        Collection { registry, intent, plan, marks, batch, garbage: Vec::new(), denied: false, report };
    let mut stored = std::pin::pin!(registry.chunks().list());
    while let Some(chunk) = stored.try_next().await? {
        let looked_at = &mut collection.report.stored_chunks;
        *looked_at += 1;
        if *looked_at % TELL_EVERY == 0 && !tell(Phase::Sweep, *looked_at) {
            return Ok(collection.report);
        }
        match fate(collection.marks.has(&chunk), chunk.written, now, plan.grace) {
            Fate::Listed => {}
            Fate::Recent => collection.report.recent_chunks += 1,
            Fate::Garbage => collection.garbage.push(chunk),
        }
        if collection.garbage.len() == collection.batch {
            collection.sweep().await?;
        }
    }
    if !tell(Phase::Sweep, collection.report.stored_chunks) {
        return Ok(collection.report);
    }
    collection.sweep().await?;
    let mut report = collection.report;
    let leftovers = registry.chunks().remove_leftovers(plan.grace, plan.dry_run).await?;
    report.removed_leftovers = leftovers.cast_signed();
    report.removed_parts = registry.chunks().remove_old_parts(now, plan.grace, plan.dry_run).await?.cast_signed();
    if tell(Phase::DropLog, 0) {
        report.dropped_revisions = drop_log(registry, plan, now).await?;
    }
    Ok(report)
}

/// Waits until the archive has a revision, and tells of it meanwhile. False if nobody wants to know any more.
async fn archived(
    registry: &Registry,
    revision: Revision,
    tell: &(impl Fn(Phase, i64) -> bool + Send + Sync),
) -> Result<bool, Error> {
    let mut there = std::pin::pin!(registry.wait_for_archive(revision));
    let mut ticks = tokio::time::interval(TELL_WAITING);
    loop {
        tokio::select! {
            // What is there is not waited for.
            biased;
            there = &mut there => return there.map(|()| true),
            _ = ticks.tick() => {
                let archived = registry.archived().unwrap_or_default();
                if !tell(Phase::Archive, archived.cast_signed()) {
                    return Ok(false);
                }
            }
        }
    }
}

/// Drops what is old of the log, as far as the archive really has it: somebody may have removed something there.
async fn drop_log(registry: &Registry, plan: &Plan, now: SystemTime) -> Result<i64, Error> {
    let (Some(keep), Some((place, shipped))) = (plan.keep_log, registry.archive()) else { return Ok(0) };
    let archived = match archived_without_gap(&**registry.store(), place).await {
        Ok(archived) => archived.min(shipped),
        Err(error) => {
            tracing::error!(%error, "the log is not dropped, since the archive can't be read");
            return Ok(0);
        }
    };
    if archived < shipped {
        tracing::error!(
            place,
            revision = archived,
            shipped,
            "the archive has lost what was behind a revision: it is not dropped from the log"
        );
    }
    registry.drop_old_log(now, keep, archived, plan.dry_run).await
}

struct Collection<'a> {
    registry: &'a Registry,
    intent: &'a Intent,
    plan: &'a Plan,
    marks: Marks,
    /// How many chunks are removed next.
    batch: usize,
    /// What is to be removed next.
    garbage: Vec<Stored>,
    /// The store has refused to remove any of the last ones.
    denied: bool,
    report: pb::CollectGarbageReport,
}

impl Collection<'_> {
    /// Removes the garbage that was found, but for what came into use just now.
    async fn sweep(&mut self) -> Result<(), Error> {
        let mut garbage = std::mem::take(&mut self.garbage);
        if garbage.is_empty() {
            return Ok(());
        }
        if self.denied {
            self.report.refused_chunks += count(garbage.len());
            return Ok(());
        }
        if self.plan.dry_run {
            self.report.removed_chunks += count(garbage.len());
            self.report.removed_bytes += garbage.iter().map(|chunk| chunk.size.cast_signed()).sum::<i64>();
            return Ok(());
        }
        // What is to be read of the log while the sweep is under way, and others may wait for it, is little then.
        self.spare(&mut garbage, self.registry.store().newest().await?).await?;
        if garbage.is_empty() {
            return Ok(());
        }
        let places: BTreeSet<_> = garbage.iter().map(|chunk| (chunk.namespace.clone(), chunk.blake3)).collect();
        let begun = self.registry.begin_sweep(self.intent, &places, false).await?;
        let spared = self.spare(&mut garbage, begun.revision).await;
        if spared.is_err() {
            garbage.clear();
        }
        // Also if it is nothing: the sweep ends by that.
        let removal = self.registry.remove(self.intent, &begun, garbage).await?;
        spared?;
        self.batch = if removal.unsettled { FEW } else { BATCH };
        self.denied = removal.refused > 0 && removal.chunks == 0;
        self.report.removed_chunks += removal.chunks.cast_signed();
        self.report.removed_bytes += removal.bytes.cast_signed();
        self.report.refused_chunks += removal.refused.cast_signed();
        Ok(())
    }

    /// Takes out what is listed by a revision.
    async fn spare(&mut self, garbage: &mut Vec<Stored>, revision: Revision) -> Result<(), Error> {
        self.marks.read_on(&**self.registry.store(), revision).await?;
        garbage.retain(|chunk| !self.marks.has(chunk));
        Ok(())
    }
}
