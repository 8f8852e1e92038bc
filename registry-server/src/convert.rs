//! Between the protobuf enums and messages and the plain types of the rules.

use prost_types::Timestamp;
use registry_proto::v1 as pb;

use crate::error::{Error, Violations};
use crate::rules::compare::Direction;
use crate::rules::stages::{Incumbent, Policy, Stage, StageRule, State};

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

/// `Ok(None)` is unspecified, an error is unknown.
pub(crate) fn incumbent(number: i32) -> Result<Option<Incumbent>, UnknownValue> {
    match pb::IncumbentAction::try_from(number).map_err(|_| UnknownValue(number))? {
        pb::IncumbentAction::Unspecified => Ok(None),
        pb::IncumbentAction::Archive => Ok(Some(Incumbent::Archive)),
        pb::IncumbentAction::ToStaging => Ok(Some(Incumbent::ToStaging)),
        pb::IncumbentAction::ToDevelopment => Ok(Some(Incumbent::ToDevelopment)),
        pb::IncumbentAction::Refuse => Ok(Some(Incumbent::Refuse)),
    }
}

/// An enum number that the contract does not have.
#[derive(Debug, thiserror::Error)]
#[error("has no value {0}")]
pub(crate) struct UnknownValue(i32);

/// Adds a violation if an enum field has a number that the contract does not have.
pub(crate) fn check_enum<T: TryFrom<i32>>(found: &mut Violations, field: &str, number: i32) {
    if T::try_from(number).is_err() {
        found.invalid(field, UnknownValue(number));
    }
}

pub(crate) fn direction(number: i32) -> Option<Direction> {
    match pb::MetricDirection::try_from(number).ok()? {
        pb::MetricDirection::Unspecified => None,
        pb::MetricDirection::HigherIsBetter => Some(Direction::Higher),
        pb::MetricDirection::LowerIsBetter => Some(Direction::Lower),
    }
}

pub(crate) fn direction_number(direction: Option<Direction>) -> i32 {
    let direction = match direction {
        None => pb::MetricDirection::Unspecified,
        Some(Direction::Higher) => pb::MetricDirection::HigherIsBetter,
        Some(Direction::Lower) => pb::MetricDirection::LowerIsBetter,
    };
    direction.into()
}

/// The policy of a model.
///
/// # Errors
/// The first thing in it that is ruled out, as a violation of `field`.
pub(crate) fn policy(policy: Option<&pb::StagePolicy>, field: &str) -> Result<Policy, Error> {
    let Some(policy) = policy else { return Ok(Policy::default()) };
    let mut found = Violations::default();
    let mut known = |number: i32, field: String| {
        let stage = stage(number);
        if stage.is_none() {
            found.required(field);
        }
        stage
    };
    let mut transitions = Vec::new();
    for (i, transition) in policy.transitions.iter().enumerate() {
        let from = known(transition.from, format!("{field}.transitions[{i}].from"));
        let to = known(transition.to, format!("{field}.transitions[{i}].to"));
        transitions.extend(from.zip(to));
    }
    let mut rules = Vec::new();
    for (i, rule) in policy.stages.iter().enumerate() {
        let stage = known(rule.stage, format!("{field}.stages[{i}].stage"));
        rules.extend(stage.map(|stage| (i, stage, rule)));
    }
    let mut stage_rules = Vec::new();
    for (i, stage, rule) in rules {
        match incumbent(rule.incumbent) {
            Ok(incumbent) => stage_rules.push(StageRule { stage, exclusive: rule.exclusive, incumbent }),
            Err(error) => found.invalid(format!("{field}.stages[{i}].incumbent"), error),
        }
    }
    found.check()?;
    Policy::new(&transitions, &stage_rules).map_err(|error| Error::field(field, pb::ErrorReason::FieldInvalid, error))
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let now = chrono::Utc::now();
    Timestamp { seconds: now.timestamp(), nanos: i32::try_from(now.timestamp_subsec_nanos()).unwrap_or(0) }
}
