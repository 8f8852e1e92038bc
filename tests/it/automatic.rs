//! Versions that enter a stage by themselves: once, when they pass its gates, and never after somebody has moved them.

use registry_client::known::event_type;
use registry_client::pb::{self, ErrorReason, Event, Stage, StageChangeCause, Version};
use registry_client::policies::{Rule, gate, rule};
use registry_client::{Error, RegistryClient};
use registry_tests::expect::invalid;
use registry_tests::{TestServer, events};

const MODEL: &str = "models/fraud";

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

fn staging() -> Rule {
    rule(Stage::Staging).exclusive().automatic()
}

fn production() -> Rule {
    rule(Stage::Production).exclusive().automatic()
}

/// No worse than a bound on the test data.
fn good(rule: Rule, bound: f64) -> Rule {
    rule.gate(gate("good", format!("version.metrics.test.rmse < {bound:?}")))
}

/// A model under a policy with these rules.
async fn model_under(client: &RegistryClient, rules: impl IntoIterator<Item = Rule>) {
    let policy = rules.into_iter().fold(client.create_policy("strict"), |policy, rule| policy.stage(rule));
    policy.await.unwrap();
    client.create_model("fraud").policy("strict").await.unwrap();
}

async fn made(client: &RegistryClient, rmse: f64) -> Version {
    client.create_version("fraud").metric("test", "rmse", rmse).finalize(true).await.unwrap()
}

async fn measured(client: &RegistryClient, number: i64, rmse: f64) -> Result<Version, Error> {
    let values = [("rmse".to_owned(), rmse)].into();
    let metrics = [("test".to_owned(), pb::MetricSet { values })].into();
    client.update_version(Version { name: version(number), metrics, ..Default::default() }).await
}

async fn stage_of(client: &RegistryClient, number: i64) -> Stage {
    client.get_version(version(number)).await.unwrap().stage()
}

fn entries(log: &[Event]) -> Vec<&Event> {
    let is_entry =
        |event: &&Event| event.stage_change.is_some_and(|change| change.cause() == StageChangeCause::Automatic);
    log.iter().filter(is_entry).collect()
}

#[tokio::test]
async fn a_version_that_passes_enters_in_the_revision_that_makes_it_ready() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, [good(staging(), 1.0), good(production(), 0.5)]).await;
    let both = made(&client, 0.4).await;
    assert_eq!((both.stage(), both.entered_automatically), (Stage::Production, true));
    let log = events(&client).await;
    let found = entries(&log);
    let changes: Vec<_> = found.iter().map(|event| event.stage_change.unwrap()).collect();
    let steps: Vec<_> = changes.iter().map(|change| (change.from_stage(), change.to_stage())).collect();
    assert_eq!(steps, [(Stage::Development, Stage::Staging), (Stage::Staging, Stage::Production)]);
    for event in &found {
        assert_eq!((event.revision, event.actor.as_str()), (log.last().unwrap().revision, "tester"));
        let gates = event.gates.as_ref().unwrap();
        assert!(gates.promotable && gates.verdicts.len() == 1 && gates.policy.ends_with("/strict"), "{gates:?}");
    }

    // One that is filled first, and is good enough for one of the two.
    let pending = client.create_version("fraud").metric("test", "rmse", 0.7).await.unwrap();
    assert_eq!(pending.stage(), Stage::Development);
    let ready = client.finalize_version(&pending.name).await.unwrap();
    assert_eq!((ready.stage(), ready.entered_automatically), (Stage::Staging, true));
    assert_eq!(stage_of(&client, 1).await, Stage::Production);
    // The next one takes its place.
    assert_eq!(made(&client, 0.6).await.stage(), Stage::Staging);
    assert_eq!(stage_of(&client, 2).await, Stage::Archived);
    let displaced = client.get_version(version(2)).await.unwrap();
    assert!(!displaced.entered_automatically);
}

#[tokio::test]
async fn one_that_does_not_pass_enters_when_it_does() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, [good(staging(), 1.0)]).await;
    assert_eq!(made(&client, 2.0).await.stage(), Stage::Development);
    assert_eq!(measured(&client, 1, 1.5).await.unwrap().stage(), Stage::Development);
    // Nothing is kept of what is only checked.
    let would = client.update_version(Version {
        name: version(1),
        metrics: [("test".to_owned(), pb::MetricSet { values: [("rmse".to_owned(), 0.5)].into() })].into(),
        ..Default::default()
    });
    assert_eq!(would.validate_only(true).await.unwrap().stage(), Stage::Staging);
    assert_eq!(stage_of(&client, 1).await, Stage::Development);
    let entered = measured(&client, 1, 0.5).await.unwrap();
    assert_eq!((entered.stage(), entered.metrics["test"].values["rmse"]), (Stage::Staging, 0.5));
    assert_eq!(entries(&events(&client).await).len(), 1);
    // By then it has: no change of it lets it in again.
    measured(&client, 1, 0.4).await.unwrap();
    assert_eq!(entries(&events(&client).await).len(), 1);
}

#[tokio::test]
async fn what_somebody_has_moved_stays_where_they_put_it() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, [good(staging(), 1.0), good(production(), 0.5)]).await;
    made(&client, 0.7).await;
    client.transition_stage(version(1), Stage::Development).await.unwrap();
    measured(&client, 1, 0.4).await.unwrap();
    assert_eq!(stage_of(&client, 1).await, Stage::Development);
    // By hand into staging: production is by hand as well.
    client.transition_stage(version(1), Stage::Staging).await.unwrap();
    measured(&client, 1, 0.3).await.unwrap();
    assert_eq!(stage_of(&client, 1).await, Stage::Staging);
    // What entered by itself goes on by itself.
    made(&client, 0.7).await;
    assert_eq!(measured(&client, 2, 0.2).await.unwrap().stage(), Stage::Production);
    client.rollback("fraud").await.unwrap_err();
}

#[tokio::test]
async fn an_older_version_takes_no_place_of_a_newer_one() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, [good(staging(), 1.0)]).await;
    made(&client, 2.0).await;
    made(&client, 0.5).await;
    assert_eq!(stage_of(&client, 2).await, Stage::Staging);
    measured(&client, 1, 0.1).await.unwrap();
    assert_eq!((stage_of(&client, 1).await, stage_of(&client, 2).await), (Stage::Development, Stage::Staging));
}

#[tokio::test]
async fn some_stages_are_not_entered_by_themselves() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_group("risk", ["users/ana"]).await.unwrap();
    let approvals = pb::ApprovalRule { count: 1, group: "groups/risk".to_owned(), ..Default::default() };
    let with_approvals = pb::StageRule { approvals: Some(approvals), ..production().into() };
    let at_fault = [("policy.stages[0].automatic", ErrorReason::FieldInvalid)];
    invalid(&server, client.create_policy("a").stage(with_approvals), &at_fault).await;
    for stage in [Stage::Development, Stage::Archived] {
        invalid(&server, client.create_policy("a").stage(rule(stage).automatic()), &at_fault).await;
    }
}

#[tokio::test]
async fn a_lock_keeps_it_out_with_what_would_let_it_in() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, [good(staging(), 1.0)]).await;
    made(&client, 2.0).await;
    client.create_lock("fraud", "incident", "wrong scores").await.unwrap();
    let error = measured(&client, 1, 0.5).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ResourceLocked), "{error}");
    client.delete_lock("fraud/locks/incident").await.unwrap();
    assert_eq!(measured(&client, 1, 0.5).await.unwrap().stage(), Stage::Staging);
    assert!(events(&client).await.iter().all(|event| event.r#type != event_type::VERSION_GATES_OVERRIDDEN));
}
