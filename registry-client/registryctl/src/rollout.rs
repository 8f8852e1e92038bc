//! Waiting until all instances that follow something run the version that it names now.

use std::collections::BTreeMap;
use std::time::Duration;

use registry_client::known::event_type as of;
use registry_client::{WatchItem, pb};
use tokio::time::{Instant, timeout_at};

use crate::output::{brief, count, last, note};
use crate::{Context, Failure};

/// The events after which instances run something else, or should.
pub(crate) const TYPES: [&str; 5] = ["instance.*", "version.*", "alias.*", of::MODEL_DELETED, of::MODEL_UNDELETED];

/// The version is where it was to be, and some instances don't run it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotArrived(String);

/// What a target of instances, such as `@production`, names now, as far as its model tells.
pub(crate) fn named<'a>(model: &'a pb::Model, target: &str) -> Option<&'a str> {
    let holder = |stage| model.stages.iter().find(|summary| summary.stage() == stage).map(|summary| &*summary.version);
    let version = match target.strip_prefix('@')? {
        "latest" => Some(&*model.latest_version),
        "production" => holder(pb::Stage::Production),
        "staging" => holder(pb::Stage::Staging),
        alias => model.aliases.get(alias).map(String::as_str),
    };
    version.filter(|version| !version.is_empty())
}

/// The target that a stage is, if instances can follow it.
pub(crate) fn target_of(stage: pb::Stage) -> Option<&'static str> {
    match stage {
        pb::Stage::Production => Some("@production"),
        pb::Stage::Staging => Some("@staging"),
        _ => None,
    }
}

/// Waits until all instances run the version that a target of a model is to name. All names are whole.
pub(crate) async fn wait(
    context: &Context,
    model: &str,
    target: &str,
    version: &str,
    patience: Duration,
) -> Result<(), Failure> {
    let mut rollout = Rollout { target, version, instances: BTreeMap::new() };
    let end = Instant::now() + patience;
    let mut items = context.client.watch().parent(model).types(TYPES).stream();
    let mut told = String::new();
    loop {
        let Ok(item) = timeout_at(end, items.try_next()).await else {
            return Err(NotArrived(rollout.missing(&format!("not within {patience:?}"))).into());
        };
        match item? {
            // What happens behind this is told: what is listed now and what happens is all there is.
            Some(WatchItem::Created { .. }) => {
                let list = context.client.list_instances(model).page_size(1000).stream();
                for instance in list.try_collect::<Vec<_>>().await? {
                    rollout.reported(instance);
                }
                must_still_name(context, model, &rollout).await?;
            }
            Some(WatchItem::Events { events, .. }) => {
                let about_versions = events.iter().any(|event| !event.r#type.starts_with("instance."));
                events.into_iter().for_each(|event| rollout.happened(event));
                if about_versions {
                    must_still_name(context, model, &rollout).await?;
                }
            }
            Some(WatchItem::Disconnected { reason }) => {
                note(&format!("disconnected, and waiting for the registry: {reason}"));
                continue;
            }
            Some(_) => continue,
            None => return Ok(()),
        }
        if rollout.followers() == 0 {
            if context.out.is_text() {
                note(&format!("no instance follows {}{target}", brief(model)));
            }
            return Ok(());
        }
        let [_, failed, coming] = rollout.standing();
        if coming.is_empty() {
            if !failed.is_empty() {
                return Err(NotArrived(rollout.missing("and the others are done")).into());
            }
            if context.out.is_text() {
                context.out.line(&rollout.progress())?;
            }
            return Ok(());
        }
        let now = rollout.progress();
        if context.out.is_text() && now != told {
            note(&now);
            told = now;
        }
    }
}

/// Fails if the target names something else by now: nobody would arrive.
async fn must_still_name(context: &Context, model: &str, rollout: &Rollout<'_>) -> Result<(), Failure> {
    let row = context.client.get_model(model).await?;
    match named(&row, rollout.target) {
        Some(version) if version == rollout.version => Ok(()),
        named => {
            let named = named.map_or_else(|| "nothing".to_owned(), |version| brief(version).to_owned());
            let why = format!("{}{} names {named} by now", brief(model), rollout.target);
            Err(NotArrived(rollout.missing(&why)).into())
        }
    }
}

/// How far the instances are that follow a target.
#[derive(Debug)]
struct Rollout<'a> {
    target: &'a str,
    /// The version that they are to run.
    version: &'a str,
    /// By their names.
    instances: BTreeMap<String, pb::Instance>,
}

/// How it is with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Arrived,
    Failed,
    Coming,
}

impl Rollout<'_> {
    /// An instance says this. What is older than what is known of it does not count.
    fn reported(&mut self, instance: pb::Instance) {
        let known = self.instances.get(&instance.name).map_or(0, |known| known.revision);
        if instance.revision > known {
            self.instances.insert(instance.name.clone(), instance);
        }
    }

    fn happened(&mut self, event: pb::Event) {
        let resource = |resource: Option<pb::Resource>| match resource?.resource? {
            pb::resource::Resource::Instance(instance) => Some(instance),
            _ => None,
        };
        if let Some(instance) = resource(event.after) {
            return self.reported(instance);
        }
        let Some(gone) = resource(event.before) else { return };
        if self.instances.get(&gone.name).is_none_or(|known| known.revision >= event.revision) {
            return;
        }
        self.instances.remove(&gone.name);
        // Perhaps the version was too much for it: who stops says so. One that had not heard of the version was gone before.
        if event.r#type == of::INSTANCE_EXPIRED && gone.desired_version == self.version {
            let error = "it is not heard of any more".to_owned();
            let state = pb::InstanceState::Failed.into();
            self.reported(pb::Instance { revision: event.revision, state, error, ..gone });
        }
    }

    fn following(&self) -> impl Iterator<Item = &pb::Instance> {
        self.instances.values().filter(|instance| instance.target == self.target)
    }

    fn followers(&self) -> usize {
        self.following().count()
    }

    fn standing_of(&self, instance: &pb::Instance) -> Standing {
        match instance.state() {
            // Of another version.
            _ if instance.desired_version != self.version => Standing::Coming,
            pb::InstanceState::Failed => Standing::Failed,
            pb::InstanceState::Serving if instance.observed_version == self.version => Standing::Arrived,
            _ => Standing::Coming,
        }
    }

    /// Who has arrived, who has failed, and who is on the way.
    fn standing(&self) -> [Vec<&pb::Instance>; 3] {
        let all = |wanted| self.following().filter(|instance| self.standing_of(instance) == wanted).collect();
        [Standing::Arrived, Standing::Failed, Standing::Coming].map(all)
    }

    /// How far it is, for people.
    fn progress(&self) -> String {
        let [arrived, failed, coming] = self.standing();
        let (version, all) = (brief(self.version), self.followers());
        if arrived.len() == all {
            return format!("{} {version}", runs(all));
        }
        let mut progress = format!("{} of {all} run {version}", arrived.len());
        for (who, what) in [(&failed, "failed"), (&coming, "to come")] {
            if !who.is_empty() {
                progress += &format!("; {what}: {}", ids(who));
            }
        }
        progress
    }

    /// Who does not run the version, and why not.
    fn missing(&self, why: &str) -> String {
        let [arrived, failed, coming] = self.standing();
        let mut text = format!("{} of {} run {}, {why}", arrived.len(), self.followers(), brief(self.version));
        for instance in failed {
            text += &format!("; {} failed: {}", last(&instance.name), instance.error);
        }
        if !coming.is_empty() {
            text += &format!("; not there: {}", ids(&coming));
        }
        text
    }
}

fn runs(instances: usize) -> String {
    let verb = if instances == 1 { "runs" } else { "run" };
    format!("{} {verb}", count(u64::try_from(instances).unwrap_or(u64::MAX), "instance"))
}

fn ids(instances: &[&pb::Instance]) -> String {
    instances.iter().map(|instance| last(&instance.name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "namespaces/default/models/fraud";

    fn instance(id: &str, target: &str, desired: i64, observed: i64, state: pb::InstanceState) -> pb::Instance {
        let version = |number: i64| if number == 0 { String::new() } else { format!("{MODEL}/versions/{number}") };
        pb::Instance {
            name: format!("{MODEL}/instances/{id}"),
            revision: 10,
            target: target.to_owned(),
            desired_version: version(desired),
            observed_version: version(observed),
            state: state.into(),
            ..Default::default()
        }
    }

    #[test]
    fn an_instance_has_arrived_when_it_serves_the_version() {
        use pb::InstanceState::{Failed, Loading, Serving};
        let rollout =
            Rollout { target: "@production", version: &format!("{MODEL}/versions/2"), instances: BTreeMap::new() };
        for (desired, observed, state, expected) in [
            (2, 2, Serving, Standing::Arrived),
            (1, 1, Serving, Standing::Coming),
            (2, 1, Loading, Standing::Coming),
            (0, 0, Loading, Standing::Coming),
            (2, 1, Failed, Standing::Failed),
            // It has failed with the one before.
            (1, 0, Failed, Standing::Coming),
        ] {
            let instance = instance("a", "@production", desired, observed, state);
            assert_eq!(rollout.standing_of(&instance), expected, "{instance:?}");
        }
    }

    #[test]
    fn only_who_follows_the_target_counts_and_the_newest_report() {
        use pb::InstanceState::{Loading, Serving};
        let version = format!("{MODEL}/versions/2");
        let mut rollout = Rollout { target: "@production", version: &version, instances: BTreeMap::new() };
        rollout.reported(instance("a", "@production", 2, 1, Loading));
        rollout.reported(instance("b", "@latest", 3, 3, Serving));
        assert_eq!(rollout.progress(), "0 of 1 run fraud/versions/2; to come: a");
        let at = |revision, instance: pb::Instance| pb::Instance { revision, ..instance };
        rollout.reported(at(12, instance("a", "@production", 2, 2, Serving)));
        rollout.reported(at(11, instance("a", "@production", 2, 1, Loading)));
        assert_eq!(rollout.progress(), "1 instance runs fraud/versions/2");
        let gone = |revision, r#type: &str, desired| {
            let before = pb::resource::Resource::Instance(instance("a", "@production", desired, 1, Serving));
            let before = Some(pb::Resource { resource: Some(before) });
            pb::Event { revision, r#type: r#type.to_owned(), before, ..Default::default() }
        };
        rollout.happened(gone(11, of::INSTANCE_DELETED, 2));
        assert_eq!(rollout.followers(), 1);
        rollout.happened(gone(13, of::INSTANCE_EXPIRED, 2));
        assert_eq!(rollout.progress(), "0 of 1 run fraud/versions/2; failed: a");
        rollout.happened(gone(14, of::INSTANCE_DELETED, 2));
        assert_eq!(rollout.followers(), 0);
        // It had never heard of the version.
        rollout.reported(at(15, instance("a", "@production", 1, 1, Serving)));
        rollout.happened(gone(16, of::INSTANCE_EXPIRED, 1));
        assert_eq!(rollout.followers(), 0);
    }
}
