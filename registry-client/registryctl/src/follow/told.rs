//! What is said of a follower: lines for what is served, notes for what stands in the way.

use std::path::{Path, PathBuf};

use registry_client::{FollowState, FollowStatus};
use serde::Serialize;

use crate::output::brief;

/// How a follower is doing, as far as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seen {
    state: &'static str,
    desired: Vec<String>,
    serving: Vec<String>,
    connected: bool,
    stale: bool,
    error: Option<String>,
    notice: Option<String>,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line<'a> {
    pub(super) names: &'a [String],
    #[serde(flatten)]
    pub(super) seen: &'a Seen,
    /// Of what is served.
    pub(super) folders: &'a [PathBuf],
}

impl Seen {
    pub(super) fn of(status: &FollowStatus) -> Self {
        Self {
            state: match status.state {
                FollowState::Serving => "SERVING",
                FollowState::Failed => "FAILED",
                _ => "LOADING",
            },
            desired: status.desired.clone(),
            serving: status.serving.clone(),
            connected: status.connected,
            stale: status.is_stale(),
            error: status.error.clone(),
            notice: status.notice.clone(),
        }
    }

    /// What is served now, if that is something else than before.
    pub(super) fn line(&self, before: Option<&Self>, folders: &[PathBuf]) -> Option<String> {
        if self.serving.is_empty() || before.is_some_and(|before| before.serving == self.serving) {
            return None;
        }
        let each = |(name, folder): (&String, &PathBuf)| format!("{} in {}", brief(name), Path::display(folder));
        Some(format!("serving {}", self.serving.iter().zip(folders).map(each).collect::<Vec<_>>().join(", ")))
    }

    /// What people should know, if they don't yet.
    pub(super) fn notes(&self, before: Option<&Self>) -> Vec<String> {
        let mut notes = Vec::new();
        let was = |of: fn(&Self) -> &Option<String>| before.and_then(|before| of(before).as_ref());
        let same = |now: &Option<String>, was: Option<&String>| now.as_ref() == was;
        if let Some(error) = &self.error
            && !same(&self.error, was(|seen| &seen.error))
        {
            notes.push(format!("not swapped, and tried again: {error}"));
        }
        if let Some(notice) = &self.notice
            && !same(&self.notice, was(|seen| &seen.notice))
        {
            notes.push(notice.clone());
        }
        match before.map(|before| before.connected) {
            Some(true) if !self.connected => notes.push("disconnected, and waiting for the registry".to_owned()),
            Some(false) if self.connected => notes.push("connected".to_owned()),
            None if !self.connected => notes.push("the registry is not there: this is from the cache".to_owned()),
            _ => {}
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(serving: &str) -> Seen {
        let serving = vec![format!("namespaces/default/models/{serving}")];
        Seen {
            state: "SERVING",
            desired: serving.clone(),
            serving,
            connected: true,
            stale: false,
            error: None,
            notice: None,
        }
    }

    #[test]
    fn what_changed_is_told_once() {
        let (one, two) = (seen("fraud/versions/1"), seen("fraud/versions/2"));
        let failed = Seen { error: Some("reload: exit status: 1".to_owned()), state: "FAILED", ..one.clone() };
        let away = Seen { connected: false, stale: true, ..one.clone() };
        let gone = Seen { notice: Some("it was deleted".to_owned()), ..one.clone() };
        let empty = Seen { serving: vec![], state: "LOADING", ..one.clone() };
        let none: &[&str] = &[];
        for (before, now, line, notes) in [
            (None, &one, Some("serving fraud/versions/1 in /1"), none),
            (
                None,
                &away,
                Some("serving fraud/versions/1 in /1"),
                &["the registry is not there: this is from the cache"],
            ),
            (Some(&one), &one, None, none),
            (Some(&one), &two, Some("serving fraud/versions/2 in /1"), none),
            (Some(&one), &failed, None, &["not swapped, and tried again: reload: exit status: 1"]),
            (Some(&failed), &failed, None, none),
            (Some(&failed), &two, Some("serving fraud/versions/2 in /1"), none),
            (Some(&one), &away, None, &["disconnected, and waiting for the registry"]),
            (Some(&away), &one, None, &["connected"]),
            (Some(&one), &gone, None, &["it was deleted"]),
            (Some(&one), &empty, None, none),
            (Some(&empty), &one, Some("serving fraud/versions/1 in /1"), none),
        ] {
            assert_eq!(now.line(before, &[PathBuf::from("/1")]).as_deref(), line, "{before:?} {now:?}");
            assert_eq!(now.notes(before), notes, "{before:?} {now:?}");
        }
    }
}
