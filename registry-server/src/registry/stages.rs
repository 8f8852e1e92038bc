//! Stage transitions and rollbacks: one revision each, the version that enters and those that leave together.

pub(super) mod automatic;
mod gating;
mod told;

use std::collections::BTreeSet;

use async_trait::async_trait;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use self::told::{first, stayed, transitioned};
pub(super) use self::told::{moves, stage_change};
use super::models::{ModelRow, number_in};
use super::policies::{self, InForce, in_force};
use super::resource::{Resource, below, check_etag};
use super::transaction::{Records as _, Tx, decode};
use super::{Committed, Mutation, kinds, versions};
use crate::error::Error;
use crate::rules::names::{MODELS, Name, VERSIONS};
use crate::rules::stages::{self, Candidate, Incumbent, Move, Refusal, Stage, State};
use crate::store::{Kind, Range, Revision, Source};
use crate::stored::NumberRecord;

/// How many versions are read at once while a stage is emptied.
const AT_ONCE: usize = 100;

/// One transition; its fields were checked.
pub(crate) struct Transition {
    pub(crate) name: Name,
    pub(crate) to: Stage,
    pub(crate) incumbent: Option<Incumbent>,
    pub(crate) comment: String,
    pub(crate) etag: String,
    /// Let it in whatever the gates say.
    pub(crate) override_gates: bool,
    /// The approval that it is committed by; empty: none.
    pub(crate) approval: String,
}

#[async_trait]
impl Mutation for Transition {
    type Answer = pb::TransitionStageResponse;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        self.carry_out(tx).await
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        first(moves(committed)?)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads = pb::Version::reads(&self.name);
        reads.push(policies::reads(&self.name.parent()));
        reads
    }
}

/// Transitions that happen together.
pub(crate) struct TransitionTogether(pub(crate) Vec<Transition>);

#[async_trait]
impl Mutation for TransitionTogether {
    type Answer = pb::BatchTransitionStagesResponse;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        for transition in &self.0 {
            let first = tx.events.len();
            transition.carry_out(tx).await?;
            for event in &mut tx.events[first..] {
                event.comment.clone_from(&transition.comment);
            }
        }
        Ok(())
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let revision = committed.revision.cast_signed();
        Ok(pb::BatchTransitionStagesResponse { responses: moves(committed)?, revision })
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.0.iter().flat_map(Transition::reads).collect()
    }
}

impl Transition {
    pub(super) async fn carry_out(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let version: pb::Version = tx.live(&self.name).await?;
        check_etag(&version, &self.etag)?;
        let row: ModelRow = tx.live(&self.name.parent()).await?;
        let in_force = in_force(tx, &row.model).await?;
        match may_move(&in_force, &row, &version, self.to, self.incumbent)? {
            // Somebody says why it stays.
            Move::Stay if !self.comment.is_empty() => {
                tx.record(stayed(version, self.to, pb::StageChangeCause::Transition));
                Ok(())
            }
            Move::Stay => {
                tx.unchanged(version.name.clone(), Some(version.into_resource()));
                Ok(())
            }
            Move::Enter { leaves } => {
                let report = gating::pass(tx, &in_force, &row, &version, self).await?;
                enter(tx, row, version, (self.to, leaves), report, pb::StageChangeCause::Transition).await
            }
        }
    }
}

/// Moves a version into a stage, and out of it what leaves it; the gates have said that it may.
async fn enter(
    tx: &mut Tx<'_>,
    row: ModelRow,
    version: pb::Version,
    (to, leaves): (Stage, Option<Stage>),
    report: Option<pb::GateReport>,
    cause: pb::StageChangeCause,
) -> Result<(), Error> {
    let mut mover = Mover::new(row);
    let incumbents = match leaves {
        Some(_) => mover.in_stage(tx, to).await?,
        None => Vec::new(),
    };
    let entering = version.number;
    let entered = mover.shift(tx, version, to, cause, true).await?;
    if let Some(event) = tx.events.last_mut() {
        event.gates.clone_from(&report);
    }
    mover.displace(tx, incumbents, entering, leaves).await?;
    if let Some(event) = report.and_then(|report| gating::overridden(entered, &report)) {
        tx.record(event);
    }
    mover.finish(tx).await.map(drop)
}

/// A stage to be given back.
pub(crate) struct Rollback {
    pub(crate) model: Name,
    pub(crate) stage: Stage,
    pub(crate) incumbent: Option<Incumbent>,
    /// Of the model.
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for Rollback {
    type Answer = pb::RollbackStageResponse;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row: ModelRow = tx.live(&self.model).await?;
        check_etag(&row, &self.etag)?;
        let in_force = in_force(tx, &row.model).await?;
        let policy = in_force.policy();
        let mut mover = Mover::new(row);
        let holder = mover.newest_in(self.stage);
        let leaves = stages::restore(policy, self.stage, holder.is_some(), self.incumbent)
            .map_err(|refusal| refused(self.model.as_str(), &refusal))?;
        let incumbents = match holder {
            // It may hold several, from before it was exclusive.
            Some(_) if policy.is_exclusive(self.stage) => mover.in_stage(tx, self.stage).await?,
            Some(number) => vec![tx.any(&self.model.child(&VERSIONS, number)).await?],
            None => Vec::new(),
        };
        let Some(earlier) = mover.pop_to_earlier(tx, self.stage, holder).await? else {
            let detail = format!("no earlier version can take {} back", self.stage);
            return Err(Error::precondition(ErrorReason::NoPreviousVersion, self.model.as_str(), detail));
        };
        let back = earlier.number;
        mover.shift(tx, earlier, self.stage, pb::StageChangeCause::Rollback, false).await?;
        mover.displace(tx, incumbents, back, leaves).await?;
        mover.finish(tx).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let pb::TransitionStageResponse { version, displaced, revision, .. } = first(moves(committed)?)?;
        Ok(pb::RollbackStageResponse { version, displaced, revision })
    }
}

/// Moves versions of one model between stages, and keeps the model's account of them.
pub(super) struct Mover {
    pub(super) model: Name,
    pub(super) row: ModelRow,
    /// Stages of which it has to be looked up which version is the newest: that one has left, or several entered at once.
    unknown: BTreeSet<Stage>,
    /// Stages that a version entered.
    entered: BTreeSet<Stage>,
}

impl Mover {
    pub(super) fn new(row: ModelRow) -> Self {
        Self {
            model: Name::canonical(&MODELS, &row.model.name),
            row,
            unknown: BTreeSet::new(),
            entered: BTreeSet::new(),
        }
    }

    /// Moves a version, and returns it as it is now. `push`: it takes its place on top of the stage's stack of holders, rather than
    /// being there already.
    pub(super) async fn shift(
        &mut self,
        tx: &mut Tx<'_>,
        before: pb::Version,
        to: Stage,
        cause: pb::StageChangeCause,
        push: bool,
    ) -> Result<pb::Version, Error> {
        let from = stage(before.stage).unwrap_or(Stage::Development);
        if from == to {
            tx.record(stayed(before.clone(), to, cause));
            return Ok(before);
        }
        self.count_out(from, &before.name);
        self.count_in(to, &before.name, tx.revision());
        if push && to.is_stacked() {
            let height = self.row.heights.entry(to).or_default();
            *height += 1;
            let key = stage_holder(&self.model, to, *height);
            tx.put_number(kinds::STAGE_HOLDER, key, before.number).await?;
        }
        let version = pb::Version {
            stage: stage_number(to),
            stage_time: Some(tx.now),
            stage_revision: tx.revision().cast_signed(),
            entered_automatically: cause == pb::StageChangeCause::Automatic,
            ..before.clone()
        };
        tx.write(transitioned(from, to, cause), Some(before), version).await
    }

    /// Moves the incumbents of an exclusive stage to where they leave it for, but for the version that has it now.
    async fn displace(
        &mut self,
        tx: &mut Tx<'_>,
        incumbents: Vec<pb::Version>,
        holder: i64,
        leaves: Option<Stage>,
    ) -> Result<(), Error> {
        let to = leaves.unwrap_or(Stage::Archived);
        for incumbent in incumbents.into_iter().filter(|incumbent| incumbent.number != holder) {
            self.shift(tx, incumbent, to, pb::StageChangeCause::Displaced, true).await?;
        }
        Ok(())
    }

    /// Moves every version out of a stage to ARCHIVED, the one that entered last first. False if the events take more bytes than that
    /// before the end.
    pub(super) async fn empty(
        &mut self,
        tx: &mut Tx<'_>,
        from: Stage,
        cause: pb::StageChangeCause,
        bytes: usize,
    ) -> Result<bool, Error> {
        let mut range = Range::last(stage_entry(&self.model, from, None), AT_ONCE);
        loop {
            let hits = tx.store.scan(Source::Index(versions::STAGE_ENTRIES), &range).await?;
            let Some(last) = hits.last() else { return Ok(true) };
            range.after = Some(last.position.clone());
            for hit in &hits {
                self.shift(tx, decode(&hit.record)?, Stage::Archived, cause, true).await?;
            }
            if tx.event_bytes() > bytes {
                return Ok(false);
            }
        }
    }

    /// Writes the model with its stages as they are now, and returns it.
    pub(super) async fn finish(mut self, tx: &mut Tx<'_>) -> Result<ModelRow, Error> {
        for stage in std::mem::take(&mut self.unknown) {
            let newest = tx.store.newest_in_stage(&self.model, stage).await?;
            let number = stage_number(stage);
            if let Some(summary) = self.row.model.stages.iter_mut().find(|summary| summary.stage == number) {
                summary.version = newest;
            }
        }
        tx.touch(self.row).await
    }

    /// Counts a version in, as the newest of the stage.
    pub(super) fn count_in(&mut self, stage: Stage, version: &str, now: Revision) {
        if stage == Stage::Development {
            return;
        }
        let number = stage_number(stage);
        let stages = &mut self.row.model.stages;
        let place = stages.iter().position(|summary| summary.stage >= number).unwrap_or(stages.len());
        if stages.get(place).is_none_or(|summary| summary.stage != number) {
            stages.insert(place, pb::StageSummary { stage: number, ..Default::default() });
        }
        stages[place].version_count += 1;
        version.clone_into(&mut stages[place].version);
        // Of those that enter in one revision, numbers decide.
        if !self.entered.insert(stage) || self.row.model.revision == now.cast_signed() {
            self.unknown.insert(stage);
        }
    }

    /// Counts a version out.
    pub(super) fn count_out(&mut self, stage: Stage, version: &str) {
        let number = stage_number(stage);
        let stages = &mut self.row.model.stages;
        if let Some(summary) = stages.iter_mut().find(|summary| summary.stage == number) {
            summary.version_count -= 1;
            if summary.version == version {
                self.unknown.insert(stage);
            }
        }
        stages.retain(|summary| summary.version_count > 0);
    }

    /// Every version in an exclusive stage: one, unless the policy became exclusive when there were more.
    async fn in_stage(&self, tx: &Tx<'_>, stage: Stage) -> Result<Vec<pb::Version>, Error> {
        match self.row.stage(stage) {
            None => return Ok(Vec::new()),
            Some(only) if only.version_count == 1 => {
                let name = Name::canonical(&VERSIONS, &only.version);
                return Ok(vec![tx.any(&name).await?]);
            }
            Some(_) => {}
        }
        let mut versions = Vec::new();
        let mut range = Range::last(stage_entry(&self.model, stage, None), usize::MAX);
        loop {
            let hits = tx.store.scan(Source::Index(versions::STAGE_ENTRIES), &range).await?;
            let Some(last) = hits.last() else { return Ok(versions) };
            range.after = Some(last.position.clone());
            for hit in &hits {
                versions.push(decode(&hit.record)?);
            }
        }
    }

    fn newest_in(&self, stage: Stage) -> Option<i64> {
        number_in(&self.row.stage(stage)?.version)
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
            let key = stage_holder(&self.model, stage, height);
            if let Some(record) = tx.store.get(kinds::STAGE_HOLDER, &key).await? {
                let number = decode::<NumberRecord>(&record)?.number;
                if Some(number) != holder {
                    let version: pb::Version = tx.any(&self.model.child(&VERSIONS, number)).await?;
                    let there = version.stage == stage_number(stage) && version.delete_time.is_none();
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

/// What comes of a transition, if the policy allows it; no gate is asked.
pub(super) fn may_move(
    in_force: &InForce,
    row: &ModelRow,
    version: &pb::Version,
    to: Stage,
    incumbent: Option<Incumbent>,
) -> Result<Move, Error> {
    stages::transition(in_force.policy(), &candidate(version), to, row.stage(to).is_some(), incumbent)
        .map_err(|refusal| refused(&version.name, &refusal))
}

fn candidate(version: &pb::Version) -> Candidate {
    Candidate {
        state: state(version),
        stage: stage(version.stage).unwrap_or(Stage::Development),
        deleted: version.delete_time.is_some(),
        withdrawn: version.withdraw_time.is_some(),
    }
}

fn refused(name: &str, refusal: &Refusal) -> Error {
    let reason = match refusal {
        Refusal::Deleted => ErrorReason::ResourceDeleted,
        Refusal::NotReady => ErrorReason::VersionNotReady,
        Refusal::Withdrawn => ErrorReason::VersionWithdrawn,
        Refusal::Occupied => ErrorReason::StageOccupied,
        _ => ErrorReason::TransitionNotAllowed,
    };
    Error::precondition(reason, name, refusal)
}

/// One step of the stack of a stage's holders.
fn stage_holder(model: &Name, stage: Stage, height: u64) -> Vec<u8> {
    below(model, &[&[stage_byte(stage)], height.to_be_bytes().as_slice()].concat())
}

/// The place of a version in the order in which versions entered a stage; with no revision, what these begin with.
pub(super) fn stage_entry(model: &Name, stage: Stage, entered: Option<Revision>) -> Vec<u8> {
    let mut value = below(model, &[stage_byte(stage)]);
    value.extend(entered.iter().flat_map(|revision| revision.to_be_bytes()));
    value
}

fn stage_byte(stage: Stage) -> u8 {
    // The contract's numbers never change, so they may be on the disk.
    u8::try_from(stage_number(stage)).unwrap_or(u8::MAX)
}

/// The stage behind a number, or `None` if it is unspecified or unknown.
pub(crate) fn stage(number: i32) -> Option<Stage> {
    match pb::Stage::try_from(number).ok()? {
        pb::Stage::Unspecified => None,
        pb::Stage::Development => Some(Stage::Development),
        pb::Stage::Staging => Some(Stage::Staging),
        pb::Stage::Production => Some(Stage::Production),
        pb::Stage::Archived => Some(Stage::Archived),
    }
}

pub(crate) fn stage_number(stage: Stage) -> i32 {
    let stage = match stage {
        Stage::Development => pb::Stage::Development,
        Stage::Staging => pb::Stage::Staging,
        Stage::Production => pb::Stage::Production,
        Stage::Archived => pb::Stage::Archived,
    };
    stage.into()
}

/// The state of a stored version. An unknown one, written by a newer program, counts as neither ready nor pending.
pub(crate) fn state(version: &pb::Version) -> State {
    match version.state() {
        pb::VersionState::Pending => State::Pending,
        pb::VersionState::Ready => State::Ready,
        pb::VersionState::Failed | pb::VersionState::Unspecified => State::Failed,
    }
}
