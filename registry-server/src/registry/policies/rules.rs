//! Policies as the contract has them, and as the rules do.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc, Weekday};
use prost::Message as _;
use prost_types::Timestamp;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::Rules;
use crate::error::{Violations, quoted};
use crate::registry::stages::stage;
use crate::registry::validate;
use crate::rules::approvals::{COUNTS, TTLS};
use crate::rules::gates::{Gate, Gates, Kind};
use crate::rules::names::{GROUPS, check_alias, check_id};
use crate::rules::stages::{Incumbent, Policy, StageRule};
use crate::rules::windows::{Freeze, Window, minutes, zone};

/// How many gates, types, windows or freezes a stage has at most.
const ENTRIES: usize = 32;
/// What a caller writes of a policy: with it before and after, an event stays handy.
const POLICY_BYTES: usize = 128 * 1024;
const DAY: u32 = 24 * 60;

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

/// What callers may set of a policy.
pub(super) fn check(policy: &pb::Policy, found: &mut Violations) {
    validate::pairs(found, "tags", &policy.tags);
    validate::long(found, "description", &policy.description, validate::TEXT_BYTES);
    rules(policy, found);
    let bytes = policy.given().encoded_len();
    if bytes > POLICY_BYTES {
        found.invalid("", format!("has {bytes} bytes; at most {POLICY_BYTES} are allowed"));
    }
}

/// A policy as it is applied; `None` if something in it is ruled out, which is added to what was found.
pub(super) fn rules(policy: &pb::Policy, found: &mut Violations) -> Option<Rules> {
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
    let mut stages = Vec::new();
    for (i, rule) in policy.stages.iter().enumerate() {
        stages.push(known(rule.stage, format!("stages[{i}].stage")));
    }
    let (mut rules, mut gates, mut approvals, mut automatic) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, (rule, stage)) in policy.stages.iter().zip(stages).enumerate() {
        found.within(format!("stages[{i}]"), |found| {
            let incumbent = incumbent("incumbent", rule.incumbent, found);
            gates.push(stage.zip(Some(gates_of(rule, found))));
            if let Some(rule) = &rule.approvals {
                found.within("approvals", |found| approval_rule(rule, found));
                approvals.extend(stage.map(|stage| (stage, rule.clone())));
            }
            if rule.automatic {
                if rule.approvals.is_some() {
                    found.invalid("automatic", "can't be with approvals: somebody has to agree to each version");
                }
                if stage.is_some_and(|stage| !stage.is_stacked()) {
                    found.invalid("automatic", "is for staging and production");
                }
                automatic.extend(stage);
            }
            rules.push(stage.map(|stage| StageRule { stage, exclusive: rule.exclusive, incumbent }));
        });
    }
    let aliases = aliases(policy, found);
    let transitions: Option<Vec<_>> = transitions.into_iter().collect();
    let rules: Option<Vec<_>> = rules.into_iter().collect();
    let policy = Policy::new(&transitions?, &rules?).map_err(|error| found.invalid("", error)).ok()?;
    automatic.sort_unstable();
    Some(Rules { policy, gates: gates.into_iter().flatten().collect(), approvals, automatic, aliases })
}

/// The protected aliases.
fn aliases(policy: &pb::Policy, found: &mut Violations) -> Vec<(String, pb::ApprovalRule)> {
    if policy.aliases.len() > ENTRIES {
        found.invalid("aliases", format!("has {} entries; at most {ENTRIES} are allowed", policy.aliases.len()));
    }
    let (mut names, mut rules) = (BTreeSet::new(), Vec::new());
    for (i, protected) in policy.aliases.iter().enumerate() {
        found.within(format!("aliases[{i}]"), |found| {
            let pb::AliasRule { alias, approvals } = protected;
            found.parsed("alias", check_alias(alias));
            if !names.insert(alias) {
                found.invalid("alias", format!("{} has more than one rule", quoted(alias)));
            }
            match approvals {
                None => found.required("approvals"),
                Some(rule) => {
                    found.within("approvals", |found| approval_rule(rule, found));
                    rules.push((alias.clone(), rule.clone()));
                }
            }
        });
    }
    rules
}

fn approval_rule(rule: &pb::ApprovalRule, found: &mut Violations) {
    if !COUNTS.contains(&rule.count) {
        found.invalid("count", format!("must be {} to {}", COUNTS.start(), COUNTS.end()));
    }
    match rule.group.as_str() {
        "" => found.required("group"),
        group => drop(found.name("group", &GROUPS, group)),
    }
    if let Some(ttl) = &rule.ttl
        && !TTLS.contains(&validate::duration(found, "ttl", ttl))
    {
        found.invalid("ttl", "must be 1 second to 365 days");
    }
}

/// What a rule asks of those who enter its stage.
fn gates_of(rule: &pb::StageRule, found: &mut Violations) -> Gates {
    for (field, entries) in [
        ("gates", rule.gates.len()),
        ("required_artifact_types", rule.required_artifact_types.len()),
        ("change_windows", rule.change_windows.len()),
        ("freezes", rule.freezes.len()),
        ("required_checks", rule.required_checks.len()),
    ] {
        if entries > ENTRIES {
            found.invalid(field, format!("has {entries} entries; at most {ENTRIES} are allowed"));
        }
    }
    let mut names: BTreeSet<_> = Kind::OTHERS.map(Kind::name).into();
    let mut conditions = Vec::new();
    for (i, gate) in rule.gates.iter().enumerate() {
        conditions.extend(found.within(format!("gates[{i}]"), |found| {
            if !names.insert(&gate.name) {
                found.invalid("name", format!("{} is the name of another gate of the stage", quoted(&gate.name)));
            }
            condition(gate, found)
        }));
    }
    for (i, of) in rule.required_artifact_types.iter().enumerate() {
        if of.is_empty() {
            found.required(format!("required_artifact_types[{i}]"));
        }
        validate::open(found, &format!("required_artifact_types[{i}]"), of);
    }
    for (i, id) in rule.required_checks.iter().enumerate() {
        found.parsed(format!("required_checks[{i}]"), check_id(id));
    }
    let each = |field: &'static str| move |i: usize| format!("{field}[{i}]");
    let (window_at, freeze_at) = (each("change_windows"), each("freezes"));
    let windows = rule.change_windows.iter().enumerate();
    let windows = windows.filter_map(|(i, of)| found.within(window_at(i), |found| window(of, found))).collect();
    let freezes = rule.freezes.iter().enumerate();
    let freezes = freezes.map(|(i, of)| found.within(freeze_at(i), |found| freeze(of, found))).collect();
    Gates {
        conditions,
        artifact_types: rule.required_artifact_types.clone(),
        compatible_signature: rule.compatible_signature,
        soak: rule.soak_duration.map(|soak| validate::duration(found, "soak_duration", &soak)),
        windows,
        freezes,
        checks: rule.required_checks.clone(),
    }
}

fn condition(gate: &pb::Gate, found: &mut Violations) -> Option<Gate> {
    if gate.name.is_empty() {
        found.required("name");
    }
    validate::open(found, "name", &gate.name);
    validate::short(found, "message", &gate.message);
    let severity = pb::GateSeverity::try_from(gate.severity);
    if severity.is_err() {
        found.invalid("severity", format!("has no value {}", gate.severity));
    }
    if gate.condition.is_empty() {
        found.required("condition");
        return None;
    }
    let warns = severity == Ok(pb::GateSeverity::Warn);
    let gate = Gate::new(&gate.name, &gate.condition, &gate.message, warns);
    gate.map_err(|fault| found.invalid("condition", fault)).ok()
}

fn window(window: &pb::ChangeWindow, found: &mut Violations) -> Option<Window> {
    if window.days.is_empty() {
        found.required("days");
    }
    let mut days = Vec::new();
    for (i, number) in window.days.iter().enumerate() {
        match pb::DayOfWeek::try_from(*number).ok().and_then(weekday) {
            Some(day) => days.push(day),
            None => found.invalid(format!("days[{i}]"), format!("is no day of the week: {number}")),
        }
    }
    let mut minutes = |field: &str, text: &str, most: u32| {
        let minutes = minutes(text).filter(|minutes| *minutes <= most);
        if minutes.is_none() {
            found.invalid(field, format!("{} is no time of the day such as 09:00", quoted(text)));
        }
        minutes
    };
    let (start, end) = (minutes("start", &window.start, DAY - 1), minutes("end", &window.end, DAY));
    let zone = zone(&window.time_zone);
    if zone.is_none() {
        let why = format!("{} is no name of a zone such as Europe/Berlin or UTC", quoted(&window.time_zone));
        found.invalid("time_zone", why);
    }
    Some(Window::new(days, start?, end?, zone?))
}

fn weekday(day: pb::DayOfWeek) -> Option<Weekday> {
    Some(match day {
        pb::DayOfWeek::Unspecified => return None,
        pb::DayOfWeek::Monday => Weekday::Mon,
        pb::DayOfWeek::Tuesday => Weekday::Tue,
        pb::DayOfWeek::Wednesday => Weekday::Wed,
        pb::DayOfWeek::Thursday => Weekday::Thu,
        pb::DayOfWeek::Friday => Weekday::Fri,
        pb::DayOfWeek::Saturday => Weekday::Sat,
        pb::DayOfWeek::Sunday => Weekday::Sun,
    })
}

fn freeze(freeze: &pb::Freeze, found: &mut Violations) -> Freeze {
    if freeze.reason.is_empty() {
        found.required("reason");
    }
    validate::short(found, "reason", &freeze.reason);
    for (field, time) in [("start_time", &freeze.start_time), ("end_time", &freeze.end_time)] {
        time.iter().for_each(|time| validate::time(found, field, time));
    }
    let (start, end) = (freeze.start_time.as_ref().and_then(moment), freeze.end_time.as_ref().and_then(moment));
    if start.zip(end).is_some_and(|(start, end)| end <= start) {
        found.invalid("end_time", "must be after start_time");
    }
    Freeze { start, end, reason: freeze.reason.clone() }
}

/// A time as the rules have it.
pub(in crate::registry) fn moment(time: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)
}
