//! Stage policies as the contract has them, and as the rules do.

use registry_proto::v1 as pb;

use super::stages::stage;
use crate::error::{Error, Violations};
use crate::rules::stages::{Incumbent, Policy, StageRule};

/// `None` if it is unspecified, or if it is unknown and so added to what was found.
pub(crate) fn incumbent(field: &str, number: i32, found: &mut Violations) -> Option<Incumbent> {
    match pb::IncumbentAction::try_from(number) {
        Ok(pb::IncumbentAction::Unspecified) => None,
        Ok(pb::IncumbentAction::Archive) => Some(Incumbent::Archive),
        Ok(pb::IncumbentAction::ToStaging) => Some(Incumbent::ToStaging),
        Ok(pb::IncumbentAction::ToDevelopment) => Some(Incumbent::ToDevelopment),
        Ok(pb::IncumbentAction::Refuse) => Some(Incumbent::Refuse),
        Err(_) => {
            found.invalid(field, format!("has no value {number}"));
            None
        }
    }
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
