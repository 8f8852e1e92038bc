//! Tells the registry what a follower runs: one instance for each name that is followed.
//!
//! What serves does not wait for it, and does not hear of it: a registry that can't be told is told later.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::names::ModelTarget;
use super::state::pause;
use super::{FollowState, FollowStatus};
use crate::{Code, Error, RegistryClient, pb};

/// How often the registry hears that an instance is still there: three times within its `ttl`, which is the registry's own.
const BEAT: Duration = Duration::from_secs(20);
/// How long a report may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may take to say that an instance is gone.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How much of an error is told, in bytes.
const ERROR_BYTES: usize = 4 * 1024;
/// How much of the host's name is in an id, in characters.
const HOST_CHARACTERS: usize = 60;

/// Whether a follower reports, and as what.
#[derive(Debug, Clone)]
pub(super) struct Reporting {
    pub(super) on: bool,
    /// `None`: one that no other process has.
    pub(super) id: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Default for Reporting {
    fn default() -> Self {
        Self { on: true, id: None, labels: BTreeMap::new() }
    }
}

impl Reporting {
    /// Begins to report, unless it is turned off. Ends, and removes the instances, when the status has no sender any more.
    pub(super) fn begin(
        self,
        client: &RegistryClient,
        followed: &[ModelTarget],
        status: watch::Receiver<FollowStatus>,
    ) -> Option<JoinHandle<()>> {
        if !self.on {
            return None;
        }
        let instances = self.instances(followed);
        let reporter = Reporter { client: client.impatient(ANSWER), instances, status };
        Some(tokio::spawn(reporter.run()))
    }

    /// What is reported of each name, but for how it is doing.
    fn instances(self, followed: &[ModelTarget]) -> Vec<pb::Instance> {
        let Self { id, labels, .. } = self;
        let id = id.unwrap_or_else(|| {
            let host = whoami::hostname().unwrap_or_default();
            let letters: String = (0..5).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
            unique_id(&host, std::process::id(), &letters)
        });
        let of = |ModelTarget { model, target }: &ModelTarget| {
            // Two targets of one model are two instances.
            let alone = followed.iter().filter(|other| other.model == *model).count() == 1;
            let id = if alone { id.clone() } else { format!("{id}+{}", target.trim_start_matches('@')) };
            pb::Instance {
                name: format!("{model}/instances/{id}"),
                target: target.clone(),
                labels: labels.clone(),
                ..Default::default()
            }
        };
        followed.iter().map(of).collect()
    }
}

/// An id that says where the process is.
fn unique_id(host: &str, process: u32, letters: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host: String = host.chars().filter(fits).take(HOST_CHARACTERS).collect();
    let host = host.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{}-{process}-{letters}", if host.is_empty() { "host" } else { host })
}

struct Reporter {
    client: RegistryClient,
    instances: Vec<pb::Instance>,
    status: watch::Receiver<FollowStatus>,
}

impl Reporter {
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let status = self.status.borrow_and_update().clone();
            let reports = reports(&self.instances, &status);
            let mut ended = self.status.clone();
            let sent = tokio::select! {
                sent = self.send(&reports) => sent,
                () = last_of(&mut ended) => break,
            };
            failures = match sent {
                Ok(()) => 0,
                Err(error) if is_hopeless(&error) => {
                    warn!(%error, instances = ?names(&self.instances), "what runs is not reported");
                    break;
                }
                Err(error) => {
                    debug!(%error, instances = ?names(&self.instances), "what runs can't be reported now");
                    failures.saturating_add(1)
                }
            };
            let told = Some(&*reports).filter(|_| failures == 0);
            let beat = BEAT.mul_f64(0.9 + 0.2 * rand::random::<f64>());
            let wait = if failures == 0 { beat } else { pause(failures, rand::random()).min(beat) };
            tokio::select! {
                news = self.news(told, status.connected) => if !news { break },
                () = sleep(wait) => {}
            }
        }
        let removals = self.instances.iter().map(|instance| self.client.delete_instance(&instance.name).send());
        // Whoever can't be told will miss the instance.
        let _ = timeout(LAST_WORDS, join_all(removals)).await;
    }

    async fn send(&self, reports: &[pb::Instance]) -> Result<(), Error> {
        let sent = reports.iter().map(|report| self.client.report_instance(report.clone()).send());
        join_all(sent).await.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// Waits until there is something to say that was not told; false if there never will be.
    async fn news(&mut self, told: Option<&[pb::Instance]>, mut connected: bool) -> bool {
        while self.status.changed().await.is_ok() {
            let status = self.status.borrow_and_update().clone();
            // When a connection comes back the registry may have missed who was away.
            let is_back = status.connected && !connected;
            connected = status.connected;
            if is_back || told.is_none_or(|told| told != reports(&self.instances, &status)) {
                return true;
            }
        }
        false
    }
}

/// Waits until a status has no sender any more.
async fn last_of(status: &mut watch::Receiver<FollowStatus>) {
    while status.changed().await.is_ok() {}
}

/// Whether the registry would never take a report: it knows no instances, or refuses what these say.
fn is_hopeless(error: &Error) -> bool {
    error.code() == Some(Code::Unimplemented) || error.is_invalid_argument()
}

fn names(instances: &[pb::Instance]) -> Vec<&str> {
    instances.iter().map(|instance| &*instance.name).collect()
}

/// What there is to report.
fn reports(instances: &[pb::Instance], status: &FollowStatus) -> Vec<pb::Instance> {
    let state = match status.state {
        FollowState::Loading => pb::InstanceState::Loading,
        FollowState::Serving => pb::InstanceState::Serving,
        FollowState::Failed => pb::InstanceState::Failed,
    };
    let error = status.error.as_deref().unwrap_or_default();
    let end = (0..=ERROR_BYTES.min(error.len())).rev().find(|end| error.is_char_boundary(*end));
    let error = &error[..end.unwrap_or(0)];
    let at = |versions: &[String], at: usize| versions.get(at).cloned().unwrap_or_default();
    let report = |(place, instance): (usize, &pb::Instance)| pb::Instance {
        desired_version: at(&status.desired, place),
        observed_version: at(&status.serving, place),
        state: state.into(),
        error: error.to_owned(),
        ..instance.clone()
    };
    instances.iter().enumerate().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_the_process_is_and_can_be_one() {
        for (host, expected) in [
            ("web-1.example.com", "web-1.example.com-7-abcde"),
            ("_my host", "myhost-7-abcde"),
            ("\u{fc}", "host-7-abcde"),
            ("", "host-7-abcde"),
        ] {
            assert_eq!(unique_id(host, 7, "abcde"), expected, "{host}");
        }
        assert!(unique_id(&"h".repeat(255), u32::MAX, "abcde").len() < 100);
    }

    #[test]
    fn two_targets_of_a_model_are_two_instances() {
        let followed = |model: &str, target: &str| ModelTarget { model: model.to_owned(), target: target.to_owned() };
        let reporting = Reporting { id: Some("web".to_owned()), ..Reporting::default() };
        let followed = [followed("m/a", "@production"), followed("m/b", "@production"), followed("m/a", "7")];
        let instances = reporting.instances(&followed);
        assert_eq!(names(&instances), ["m/a/instances/web+production", "m/b/instances/web", "m/a/instances/web+7"]);
    }
}
