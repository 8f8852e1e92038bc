//! Checks: what something outside of the registry found out about a version, and whether that is enough for those who require it.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};

/// How many checks a version has at most.
pub(crate) const MOST: usize = 32;

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Succeeded,
    Failed,
}

/// A check of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) state: State,
    pub(crate) summary: String,
    /// When it does not count any more.
    pub(crate) expires: Option<DateTime<Utc>>,
}

/// What is lacking of the checks that are required, for people; empty if they all have succeeded and count.
pub(crate) fn lacking(required: &[String], there: &BTreeMap<String, Check>, now: DateTime<Utc>) -> Vec<String> {
    required.iter().filter_map(|id| why_not(id, there.get(id), now)).collect()
}

fn why_not(id: &str, check: Option<&Check>, now: DateTime<Utc>) -> Option<String> {
    let Some(Check { state, summary, expires }) = check else { return Some(format!("waits for the check {id}")) };
    let over = expires.filter(|expires| *expires <= now);
    match (state, over) {
        (State::Pending, _) => Some(format!("waits for the check {id}, which is pending")),
        (State::Failed, _) if summary.is_empty() => Some(format!("the check {id} has failed")),
        (State::Failed, _) => Some(format!("the check {id} has failed: {summary}")),
        (State::Succeeded, Some(over)) => {
            Some(format!("the check {id} counted until {}", over.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
        }
        (State::Succeeded, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_to_have_succeeded_and_to_count_still() {
        let at = |hour| format!("2026-11-27T{hour:02}:00:00Z").parse::<DateTime<Utc>>().unwrap();
        for (check, expected) in [
            (None, Some("waits for the check lint")),
            (Some((State::Pending, "", None)), Some("waits for the check lint, which is pending")),
            (Some((State::Pending, "", Some(9))), Some("waits for the check lint, which is pending")),
            (Some((State::Failed, "", None)), Some("the check lint has failed")),
            (Some((State::Failed, "3 errors", Some(13))), Some("the check lint has failed: 3 errors")),
            (Some((State::Succeeded, "", None)), None),
            (Some((State::Succeeded, "", Some(13))), None),
            (Some((State::Succeeded, "", Some(12))), Some("the check lint counted until 2026-11-27T12:00:00Z")),
            (Some((State::Succeeded, "", Some(9))), Some("the check lint counted until 2026-11-27T09:00:00Z")),
        ] {
            let check = check.map(|(state, summary, expires): (_, &str, Option<u32>)| {
                ("lint".to_owned(), Check { state, summary: summary.to_owned(), expires: expires.map(at) })
            });
            let there: BTreeMap<_, _> = check.into_iter().collect();
            let found = lacking(&["lint".to_owned()], &there, at(12));
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{there:?}");
        }
        assert_eq!(lacking(&[], &BTreeMap::new(), at(12)), Vec::<String>::new());
    }
}
