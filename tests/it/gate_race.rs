//! Promotions while everything that decides about them changes: the log is replayed, and says of each whether what was committed before it
//! allowed it.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::known::event_type;
use registry_client::pb::resource::Resource;
use registry_client::pb::{
    self, ErrorReason, Event, GateOutcome, MetricSet, Policy, Stage, StageChangeCause, StageRule,
};
use registry_client::policies::{gate, rule};
use registry_client::{Error, RegistryClient};
use registry_tests::{TestServer, events};

const MODEL: &str = "models/fraud";
const VERSIONS: i64 = 6;
const PROMOTERS: u64 = 4;
/// Of each promoter, and of each of those who change something.
const STEPS: usize = 40;

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

/// No worse than a bound, and than the incumbent; the bound is in the description as well, for the replay.
fn policy(bound: u32) -> Policy {
    let bound = f64::from(bound) / 8.0;
    let good = gate("good", format!("version.metrics.test.score >= {bound:?}"));
    let better = gate("better", "version.metrics.test.score >= incumbent.metrics.test.score");
    let stage: StageRule = rule(Stage::Production).exclusive().gate(good).gate(better).into();
    Policy { name: "strict".to_owned(), description: bound.to_string(), stages: vec![stage], ..Default::default() }
}

/// A score between 0 and 1, or none.
fn metrics(random: &mut StdRng) -> BTreeMap<String, MetricSet> {
    let score = random.random_range(0..10_u32);
    let values = (score <= 8).then(|| ("score".to_owned(), f64::from(score) / 8.0)).into_iter().collect();
    [("test".to_owned(), MetricSet { values })].into()
}

async fn promotes(client: RegistryClient, seed: u64) -> Result<(), Error> {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..STEPS {
        let version = version(random.random_range(1..=VERSIONS));
        let call = match random.random_range(0..8) {
            // Makes room for lower scores.
            0 => client.transition_stage(version, Stage::Archived),
            1 => client.promote(version).override_gates("at random"),
            _ => client.promote(version),
        };
        match call.await {
            Err(error) if error.reason() != Some(ErrorReason::GateFailed) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn changes_metrics(client: RegistryClient, seed: u64) -> Result<(), Error> {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..STEPS {
        let name = version(random.random_range(1..=VERSIONS));
        let version = pb::Version { name, metrics: metrics(&mut random), ..Default::default() };
        client.update_version(version).fields(["metrics"]).await?;
    }
    Ok(())
}

async fn changes_policy(client: RegistryClient, seed: u64) -> Result<(), Error> {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..STEPS {
        client.update_policy(policy(random.random_range(0..=6))).await?;
    }
    Ok(())
}

/// What is committed, as far as it decides about a promotion.
#[derive(Default)]
struct Replay {
    bound: f64,
    policy_revision: i64,
    scores: BTreeMap<String, Option<f64>>,
    holder: Option<String>,
    promoted: usize,
    overridden: usize,
}

impl Replay {
    fn score(&self, version: &str) -> Option<f64> {
        self.scores[version]
    }

    /// Whether the gates let a version in, said without them.
    fn allows(&self, version: &str) -> bool {
        let Some(score) = self.score(version) else { return false };
        let better = match &self.holder {
            None => true,
            Some(holder) => self.score(holder).is_some_and(|incumbent| score >= incumbent),
        };
        score >= self.bound && better
    }

    fn take(&mut self, event: &Event) {
        let change = event.stage_change;
        let asked = change.is_some_and(|change| change.cause() == StageChangeCause::Transition);
        if let (true, Some(change)) = (asked, change)
            && change.to_stage() == Stage::Production
            && change.from_stage() != Stage::Production
        {
            self.check(event);
        }
        match event.after.as_ref().and_then(|after| after.resource.as_ref()) {
            Some(Resource::Policy(policy)) => {
                (self.bound, self.policy_revision) = (policy.description.parse().unwrap(), event.revision);
            }
            Some(Resource::Version(version)) if event.r#type != event_type::VERSION_GATES_OVERRIDDEN => {
                let score = version.metrics.get("test").and_then(|set| set.values.get("score")).copied();
                self.scores.insert(version.name.clone(), score);
                if version.stage() == Stage::Production {
                    self.holder = Some(version.name.clone());
                } else if self.holder.as_ref() == Some(&version.name) {
                    self.holder = None;
                }
            }
            _ => {}
        }
    }

    /// A promotion that the log has: by the policy that was in force, and with the verdicts that it gives.
    fn check(&mut self, event: &Event) {
        let report = event.gates.as_ref().unwrap_or_else(|| panic!("without gates: {event:?}"));
        assert_eq!(report.policy_revision, self.policy_revision, "{event:?}");
        let overridden = report.verdicts.iter().any(|verdict| verdict.overridden);
        assert_eq!(self.allows(&event.resource_name), !overridden, "{event:?}");
        let good = self.score(&event.resource_name).map(|score| score >= self.bound);
        let said = match report.verdicts[0].outcome() {
            GateOutcome::Passed => Some(true),
            GateOutcome::Failed => Some(false),
            _ => None,
        };
        assert_eq!(said, good, "{event:?}");
        self.promoted += 1;
        self.overridden += usize::from(overridden);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_promotion_is_made_that_what_was_committed_did_not_allow() {
    for seed in 1..=3_u64 {
        let server = TestServer::start().await;
        let client = server.client();
        client.create_policy("strict").policy(policy(2)).await.unwrap();
        client.create_model(MODEL).policy("strict").await.unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..VERSIONS {
            let version = pb::Version { metrics: metrics(&mut random), ..Default::default() };
            client.create_version(MODEL).version(version).finalize(true).await.unwrap();
        }
        // Each with connections of its own.
        let mut tasks: Vec<_> =
            (0..PROMOTERS).map(|promoter| tokio::spawn(promotes(server.client(), seed * 100 + promoter))).collect();
        tasks.push(tokio::spawn(changes_metrics(server.client(), seed * 100 + 50)));
        tasks.push(tokio::spawn(changes_policy(server.client(), seed * 100 + 51)));
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let mut replay = Replay::default();
        events(&client).await.iter().for_each(|event| replay.take(event));
        // Neither were all let in, nor none.
        assert!(replay.overridden > 0 && replay.promoted > replay.overridden, "seed {seed}");
    }
}
