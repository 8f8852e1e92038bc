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

/// `None` if it is unspecified, or if it is unknown and so added to what was found.
pub(crate) fn incumbent(field: &str, number: i32, found: &mut Violations) -> Option<Incumbent> {
    match pb::IncumbentAction::try_from(number) {
        Ok(pb::IncumbentAction::Unspecified) => None,
        Ok(pb::IncumbentAction::Archive) => Some(Incumbent::Archive),
        Ok(pb::IncumbentAction::ToStaging) => Some(Incumbent::ToStaging),
        Ok(pb::IncumbentAction::ToDevelopment) => Some(Incumbent::ToDevelopment),
        Ok(pb::IncumbentAction::Refuse) => Some(Incumbent::Refuse),
        Err(_) => {
            found.invalid(field, UnknownValue(number));
            None
        }
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

/// A policy as the rules have it; `None` if something in it is ruled out, which is added to what was found.
pub(crate) fn policy(policy: &pb::StagePolicy, found: &mut Violations) -> Option<Policy> {
    let mut known = |number: i32, field: String| {
        let stage = stage(number);
        if stage.is_none() {
            found.required(field);
        }
        stage
    };
    let mut transitions = Vec::new();
    for (i, transition) in policy.transitions.iter().enumerate() {
        let from = known(transition.from_stage, format!("transitions[{i}].from_stage"));
        let to = known(transition.to_stage, format!("transitions[{i}].to_stage"));
        transitions.push(from.zip(to));
    }
    let mut rules = Vec::new();
    for (i, rule) in policy.stages.iter().enumerate() {
        rules.push(known(rule.stage, format!("stages[{i}].stage")));
    }
    let rules: Vec<_> = (0..)
        .zip(policy.stages.iter().zip(rules))
        .map(|(i, (rule, stage)): (usize, _)| {
            let incumbent = incumbent(&format!("stages[{i}].incumbent"), rule.incumbent, found);
            stage.map(|stage| StageRule { stage, exclusive: rule.exclusive, incumbent })
        })
        .collect();
    let transitions: Option<Vec<_>> = transitions.into_iter().collect();
    let rules: Option<Vec<_>> = rules.into_iter().collect();
    let made = Policy::new(&transitions?, &rules?);
    made.map_err(|error| found.invalid("", error)).ok()
}

/// The policy of a stored model.
///
/// # Errors
/// If it can't be understood: that is no fault of the caller.
pub(crate) fn policy_of(model: &pb::Model) -> Result<Policy, Error> {
    let Some(stored) = &model.stage_policy else { return Ok(Policy::default()) };
    let mut found = Violations::default();
    let policy = policy(stored, &mut found);
    found.unless_any(policy).map_err(|error| Error::internal(format!("the stage policy of {}: {error}", model.name)))
}

/// How many there are, as the contract counts.
pub(crate) fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}

/// The later of a time and perhaps another one.
pub(crate) fn later(time: Timestamp, other: Option<Timestamp>) -> Timestamp {
    match other {
        Some(other) if (other.seconds, other.nanos) > (time.seconds, time.nanos) => other,
        _ => time,
    }
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let now = chrono::Utc::now();
    Timestamp { seconds: now.timestamp(), nanos: i32::try_from(now.timestamp_subsec_nanos()).unwrap_or(0) }
}
