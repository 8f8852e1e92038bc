//! Stage transitions and rollbacks: one revision each, the version that enters and those that leave together.

use async_trait::async_trait;
use registry_proto::store::NumberRecord;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::kinds;
use super::models::touch as touch_model;
use super::records::{ModelRow, Records as _, decode, number_in};
use super::transaction::{Tx, check_etag, version_after, version_event};
use super::versions::{live_version, reads_of, touch};
use super::{Committed, Mutation, Order, Registry, keys};
use crate::convert;
use crate::error::Error;
use crate::rules::names::{ModelName, VersionName};
use crate::rules::stages::{self, Candidate, Incumbent, Move, Refusal, Stage};
use crate::store::{Kind, Range, Revision, Source};

/// What a transition or rollback led to.
#[derive(Debug, Clone)]
pub(crate) struct Moved {
    /// The version that entered the stage.
    pub(crate) version: pb::Version,
    /// Those that had to leave it.
    pub(crate) displaced: Vec<pb::Version>,
    pub(crate) revision: Revision,
}

impl Registry {
    /// Carries out transitions in one revision. Answers one result for each.
    pub(crate) async fn transition(&self, order: Order, transitions: Transitions) -> Result<Vec<Moved>, Error> {
        moves(self.commit(order, transitions).await?)
    }

    pub(crate) async fn rollback(&self, order: Order, rollback: Rollback) -> Result<Moved, Error> {
        let moved = moves(self.commit(order, rollback).await?)?;
        moved.into_iter().next().ok_or_else(|| Error::internal("a rollback moved nothing"))
    }
}

/// Reads the results back from the events: each that is not a displacement begins a result.
fn moves(Committed { revision, events }: Committed) -> Result<Vec<Moved>, Error> {
    let mut moved: Vec<Moved> = Vec::new();
    for event in events {
        let displaced = event.stage_change.is_some_and(|c| c.cause() == pb::StageChangeCause::Displaced);
        let version = version_after(event)?;
        match moved.last_mut() {
            Some(last) if displaced => last.displaced.push(version),
            _ => moved.push(Moved { version, displaced: Vec::new(), revision }),
        }
    }
    Ok(moved)
}

/// One transition; its fields were checked.
pub(crate) struct Transition {
    pub(crate) name: VersionName,
    pub(crate) to: Stage,
    pub(crate) incumbent: Option<Incumbent>,
    pub(crate) comment: String,
    pub(crate) etag: String,
}

/// Transitions that happen together.
pub(crate) struct Transitions(pub(crate) Vec<Transition>);

#[async_trait]
impl Mutation for Transitions {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        for transition in &self.0 {
            let first = tx.events.len();
            transition.apply(tx).await?;
            for event in &mut tx.events[first..] {
                event.comment.clone_from(&transition.comment);
            }
        }
        Ok(())
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.0.iter().flat_map(|transition| reads_of(&transition.name)).collect()
    }
}

impl Transition {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let version = live_version(tx, &self.name).await?;
        check_etag(&version.name, &version.etag, &self.etag)?;
        let model = &self.name.model;
        let row = tx.live_model(model).await?;
        let policy = convert::policy(row.model.stage_policy.as_ref(), "stage_policy")?;
        let occupied = count_in(&row, self.to) > 0;
        let moved = stages::transition(&policy, &candidate(&version), self.to, occupied, self.incumbent)
            .map_err(|refusal| refused(&version.name, &refusal))?;
        let mut mover = Mover { model, row };
        match moved {
            // Logged all the same: somebody asked for it, and a repeated request has to find it.
            Move::Stay => {
                let change = stage_change(self.to, self.to, pb::StageChangeCause::Transition);
                let mut event = version_event(pb::EventType::StageTransitioned, Some(version.clone()), version);
                event.stage_change = Some(change);
                tx.log(event);
                return Ok(());
            }
            Move::Enter { leaves } => {
                let incumbents = match leaves {
                    Some(_) => mover.in_stage(tx, self.to).await?,
                    None => Vec::new(),
                };
                mover.shift(tx, version, self.to, pb::StageChangeCause::Transition, true).await?;
                for incumbent in incumbents {
                    let to = leaves.unwrap_or(Stage::Archived);
                    mover.shift(tx, incumbent, to, pb::StageChangeCause::Displaced, true).await?;
                }
            }
        }
        mover.finish(tx).await
    }
}

/// A stage to be given back.
pub(crate) struct Rollback {
    pub(crate) model: ModelName,
    pub(crate) stage: Stage,
    pub(crate) incumbent: Option<Incumbent>,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for Rollback {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row = tx.live_model(&self.model).await?;
        check_etag(&row.model.name, &row.model.etag, &self.etag)?;
        let policy = convert::policy(row.model.stage_policy.as_ref(), "stage_policy")?;
        let name = row.model.name.clone();
        let mut mover = Mover { model: &self.model, row };
        let holder = match mover.newest_in(self.stage) {
            Some(number) => Some(tx.version(&self.model, number).await?),
            None => None,
        };
        let leaves = stages::restore(&policy, self.stage, holder.is_some(), self.incumbent)
            .map_err(|refusal| refused(&name, &refusal))?;
        let holder_number = holder.as_ref().map(|version| version.number);
        let Some(earlier) = mover.pop_to_earlier(tx, self.stage, holder_number).await? else {
            let detail = format!("no earlier version can take {} back", stage_name(self.stage));
            return Err(Error::precondition(ErrorReason::NoPreviousVersion, name, detail));
        };
        mover.shift(tx, earlier, self.stage, pb::StageChangeCause::Rollback, false).await?;
        if let (Some(holder), Some(to)) = (holder, leaves) {
            mover.shift(tx, holder, to, pb::StageChangeCause::Displaced, true).await?;
        }
        mover.finish(tx).await
    }
}

/// Moves versions of one model between stages, and keeps the model's account of them.
pub(super) struct Mover<'a> {
    pub(super) model: &'a ModelName,
    pub(super) row: ModelRow,
}

impl Mover<'_> {
    /// Moves a version, logs it, and answers it as it is now. `push`: it takes its place on top of the stage's stack of
    /// holders, rather than being there already.
    pub(super) async fn shift(
        &mut self,
        tx: &mut Tx<'_>,
        before: pb::Version,
        to: Stage,
        cause: pb::StageChangeCause,
        push: bool,
    ) -> Result<pb::Version, Error> {
        let from = convert::stage(before.stage).unwrap_or(Stage::Development);
        let mut version = before.clone();
        if from != to {
            version.stage = convert::stage_number(to);
            version.stage_time = Some(tx.now);
            version.stage_revision = tx.revision();
            touch(tx, &mut version);
            tx.put_version(self.model, &version).await?;
            self.count(from, -1);
            self.count(to, 1);
            if push && is_stacked(to) {
                let height = self.row.heights.entry(to).or_default();
                *height += 1;
                let key = keys::stage_holder(self.model, to, *height);
                tx.put_number(kinds::STAGE_HOLDER, key, version.number).await?;
            }
        }
        let mut event = version_event(pb::EventType::StageTransitioned, Some(before), version.clone());
        event.stage_change = Some(stage_change(from, to, cause));
        tx.log(event);
        Ok(version)
    }

    /// Writes the model with its stages as they are now.
    pub(super) async fn finish(mut self, tx: &mut Tx<'_>) -> Result<(), Error> {
        for summary in &mut self.row.model.stages {
            if let Some(stage) = convert::stage(summary.stage) {
                summary.version = tx.store.newest_in_stage(self.model, stage).await?;
            }
        }
        touch_model(tx, &mut self.row.model);
        tx.put_model(self.model, &self.row).await
    }

    /// Counts a version in or out of a stage.
    pub(super) fn count(&mut self, stage: Stage, by: i64) {
        if stage == Stage::Development {
            return;
        }
        let number = convert::stage_number(stage);
        let stages = &mut self.row.model.stages;
        let place = stages.iter().position(|summary| summary.stage >= number).unwrap_or(stages.len());
        if stages.get(place).is_none_or(|summary| summary.stage != number) {
            stages.insert(place, pb::StageSummary { stage: number, ..Default::default() });
        }
        stages[place].version_count += by;
        stages.retain(|summary| summary.version_count > 0);
    }

    /// Every version in an exclusive stage: one, unless the policy became exclusive when there were more.
    async fn in_stage(&self, tx: &Tx<'_>, stage: Stage) -> Result<Vec<pb::Version>, Error> {
        let mut versions = Vec::new();
        let mut range = Range::last(keys::stage_entry(self.model, stage, None), usize::MAX);
        loop {
            let hits = tx.store.scan(Source::Index(kinds::STAGE_ENTRIES), &range).await?;
            let Some(last) = hits.last() else { return Ok(versions) };
            range.after = Some(last.position.clone());
            for hit in &hits {
                versions.push(decode(&hit.record)?);
            }
        }
    }

    fn newest_in(&self, stage: Stage) -> Option<i64> {
        let number = convert::stage_number(stage);
        let summary = self.row.model.stages.iter().find(|summary| summary.stage == number)?;
        number_in(&summary.version)
    }

    /// Takes holders off a stage's stack until one is on top that may have the stage, other than the one that has it now.
    async fn pop_to_earlier(
        &mut self,
        tx: &mut Tx<'_>,
        stage: Stage,
        holder: Option<i64>,
    ) -> Result<Option<pb::Version>, Error> {
        let mut height = self.row.heights.get(&stage).copied().unwrap_or(0);
        while height > 0 {
            let key = keys::stage_holder(self.model, stage, height);
            if let Some(record) = tx.store.get(kinds::STAGE_HOLDER, &key).await? {
                let number = decode::<NumberRecord>(&record)?.number;
                if Some(number) != holder {
                    let version = tx.version(self.model, number).await?;
                    let there = version.stage == convert::stage_number(stage) && version.delete_time.is_none();
                    if there || stages::restorable(&candidate(&version), stage) {
                        self.row.heights.insert(stage, height);
                        return Ok(Some(version));
                    }
                }
                tx.store.remove(kinds::STAGE_HOLDER, &key).await?;
            }
            height -= 1;
        }
        Ok(None)
    }
}

fn count_in(row: &ModelRow, stage: Stage) -> i64 {
    let number = convert::stage_number(stage);
    row.model.stages.iter().find(|summary| summary.stage == number).map_or(0, |summary| summary.version_count)
}

/// Whether rollbacks are possible in a stage.
pub(crate) fn is_stacked(stage: Stage) -> bool {
    matches!(stage, Stage::Staging | Stage::Production)
}

fn candidate(version: &pb::Version) -> Candidate {
    Candidate {
        state: convert::state(version),
        stage: convert::stage(version.stage).unwrap_or(Stage::Development),
        deleted: version.delete_time.is_some(),
    }
}

fn stage_change(from: Stage, to: Stage, cause: pb::StageChangeCause) -> pb::StageChange {
    pb::StageChange { from: convert::stage_number(from), to: convert::stage_number(to), cause: cause.into() }
}

fn stage_name(stage: Stage) -> &'static str {
    pb::Stage::try_from(convert::stage_number(stage)).map_or("", |stage| stage.as_str_name())
}

fn refused(name: &str, refusal: &Refusal) -> Error {
    let reason = match refusal {
        Refusal::Deleted => ErrorReason::ResourceDeleted,
        Refusal::NotReady => ErrorReason::VersionNotReady,
        Refusal::Occupied => ErrorReason::StageOccupied,
        _ => ErrorReason::TransitionNotAllowed,
    };
    Error::precondition(reason, name, refusal)
}
