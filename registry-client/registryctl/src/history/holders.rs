//! Which versions held a stage or an alias, from when to when.

use std::collections::BTreeSet;

use prost_types::Timestamp;
use registry_client::pb;
use serde::Serialize;

/// A name that moves from version to version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    Stage(pb::Stage),
    /// Without its `@`.
    Alias(String),
}

/// That a version held it. In JSON it is written as the contract's messages are: times as texts, int64 as a text, what is absent not at all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Term {
    /// Its whole name.
    pub(super) version: String,
    /// Since when; `None` if that is from before the log.
    #[serde(rename = "startTime", serialize_with = "crate::values::rfc3339", skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Timestamp>,
    /// Up to when; `None` if it holds it still.
    #[serde(rename = "endTime", serialize_with = "crate::values::rfc3339", skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    /// Who gave it to it.
    pub(super) actor: String,
    /// In which revision; 0 if that is from before the log.
    #[serde(serialize_with = "crate::values::int64")]
    pub(super) revision: i64,
    /// Why.
    pub(super) comment: String,
}

/// All terms, the oldest first, by the events of a model, the oldest first.
pub(super) fn terms(events: &[pb::Event], held: &Held) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    let mut inside = BTreeSet::new();
    for events in events.chunk_by(|one, next| one.revision == next.revision) {
        for event in events {
            let Some((left, entered)) = moved(event, held) else { continue };
            if let Some(left) = left {
                // Somebody held it before the log begins.
                if terms.is_empty() && !inside.iter().any(|(_, _, version)| *version == left) {
                    terms.push(Term::before_the_log(left));
                }
                inside.retain(|(_, _, version)| *version != left);
            }
            if let Some(entered) = entered {
                inside.insert((event.revision, number(entered), entered));
            }
        }
        // Of several that are in a stage, the one that entered last holds it, and of those that entered together the newest.
        let holder = inside.last().map(|(_, _, version)| *version);
        let open = terms.last_mut().filter(|term| term.until.is_none());
        if open.as_ref().map(|term| term.version.as_str()) == holder {
            continue;
        }
        let Some(first) = events.first() else { continue };
        if let Some(open) = open {
            open.until = first.create_time;
        }
        if let Some(holder) = holder {
            let cause = events.iter().find(|event| moved(event, held).is_some_and(|(_, to)| to == Some(holder)));
            let cause = cause.unwrap_or(first);
            terms.push(Term {
                version: holder.to_owned(),
                from: cause.create_time,
                until: None,
                actor: cause.actor.clone(),
                revision: cause.revision,
                comment: cause.comment.clone(),
            });
        }
    }
    terms
}

/// Which version an event takes it from, and which one it gives it to; `None` if it does neither.
fn moved<'a>(event: &'a pb::Event, held: &Held) -> Option<(Option<&'a str>, Option<&'a str>)> {
    match held {
        Held::Stage(stage) => {
            let change = event.stage_change.as_ref().filter(|change| change.from_stage != change.to_stage)?;
            let version = |is: pb::Stage| (is == *stage).then_some(event.resource_name.as_str());
            let moved = (version(change.from_stage()), version(change.to_stage()));
            (moved != (None, None)).then_some(moved)
        }
        Held::Alias(alias) => {
            let change = event.alias_changes.iter().find(|change| change.alias == *alias)?;
            let version = |name: &'a String| Some(name.as_str()).filter(|name| !name.is_empty());
            Some((version(&change.from_version), version(&change.to_version)))
        }
    }
}

/// The number at the end of a version's name.
fn number(version: &str) -> i64 {
    version.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

impl Term {
    fn before_the_log(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            from: None,
            until: None,
            actor: String::new(),
            revision: 0,
            comment: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_client::pb::Stage::{Archived, Development, Production, Staging};

    use super::*;

    fn event(revision: i64, version: i64) -> pb::Event {
        let create_time = Some(Timestamp { seconds: revision, nanos: 0 });
        let (resource_name, actor) = (format!("m/versions/{version}"), format!("by {revision}"));
        pb::Event { revision, create_time, resource_name, actor, ..Default::default() }
    }

    fn transition(revision: i64, version: i64, from: pb::Stage, to: pb::Stage) -> pb::Event {
        let change = pb::StageChange { from_stage: from.into(), to_stage: to.into(), ..Default::default() };
        pb::Event { stage_change: Some(change), ..event(revision, version) }
    }

    fn alias(revision: i64, alias: &str, from: i64, to: i64) -> pb::Event {
        let version = |number: i64| if number == 0 { String::new() } else { format!("m/versions/{number}") };
        let (from_version, to_version) = (version(from), version(to));
        let change = pb::AliasChange { alias: alias.to_owned(), from_version, to_version };
        pb::Event { alias_changes: vec![change], ..event(revision, 0) }
    }

    /// Versions, and from when to when they held it.
    fn told(events: &[pb::Event], held: &Held) -> Vec<(i64, i64, i64)> {
        let second = |time: Option<Timestamp>| time.map_or(0, |time| time.seconds);
        let terms = terms(events, held);
        assert!(terms.iter().all(|term| term.revision == 0 || term.actor == format!("by {}", term.revision)));
        terms.iter().map(|term| (number(&term.version), second(term.from), second(term.until))).collect()
    }

    #[test]
    fn a_stage_is_held_by_the_version_that_entered_it_last() {
        let events = [
            transition(1, 1, Development, Production),
            transition(2, 2, Development, Production),
            transition(2, 1, Production, Archived),
            transition(3, 3, Development, Staging),
            // A rollback.
            transition(4, 1, Archived, Production),
            transition(4, 2, Production, Archived),
            // To where it is.
            transition(5, 1, Production, Production),
            transition(6, 1, Production, Archived),
        ];
        assert_eq!(told(&events, &Held::Stage(Production)), [(1, 1, 2), (2, 2, 4), (1, 4, 6)]);
        assert_eq!(told(&events, &Held::Stage(Staging)), [(3, 3, 0)]);
        // The beginning of the log was dropped.
        assert_eq!(told(&events[4..], &Held::Stage(Production)), [(2, 0, 4), (1, 4, 6)]);

        // A stage that several versions may be in.
        let events = [
            transition(1, 5, Development, Staging),
            transition(2, 7, Development, Staging),
            transition(2, 6, Development, Staging),
            transition(3, 5, Staging, Production),
            transition(4, 7, Staging, Production),
        ];
        assert_eq!(told(&events, &Held::Stage(Staging)), [(5, 1, 2), (7, 2, 4), (6, 4, 0)]);
    }

    #[test]
    fn an_alias_is_held_until_it_is_set_anew_or_deleted() {
        let events = [
            alias(1, "champion", 0, 1),
            alias(2, "shadow", 0, 2),
            alias(3, "champion", 1, 2),
            alias(4, "champion", 2, 0),
            alias(9, "champion", 0, 1),
        ];
        let held = Held::Alias("champion".to_owned());
        assert_eq!(told(&events, &held), [(1, 1, 3), (2, 3, 4), (1, 9, 0)]);
        // The beginning of the log was dropped.
        assert_eq!(told(&events[2..4], &held), [(1, 0, 3), (2, 3, 4)]);
        assert_eq!(told(&events[..1], &Held::Alias("shadow".to_owned())), []);
    }
}
