//! Checks: what others report about a version, and gates that wait for it.

use std::time::SystemTime;

use registry_client::known::event_type;
use registry_client::pb::{CheckState, ErrorReason, GateKind, GateOutcome, Stage};
use registry_client::policies::{gate, rule};
use registry_client::prost_types::Timestamp;
use registry_client::{Error, RegistryClient};
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, events, model_with};
use tonic::Code;

const VERSION: &str = "models/fraud/versions/1";

fn from_now(seconds: i64) -> Timestamp {
    let now = Timestamp::from(SystemTime::now());
    Timestamp { seconds: now.seconds + seconds, ..now }
}

/// What the gate of the checks says of the version.
async fn verdict(client: &RegistryClient) -> (GateOutcome, String) {
    let asked = client.transition_stage(VERSION, Stage::Production).validate_only(true).await.unwrap();
    let verdicts = asked.gates.unwrap().verdicts;
    let verdict = verdicts.iter().find(|verdict| verdict.kind() == GateKind::RequiredChecks).unwrap();
    (verdict.outcome(), verdict.detail.clone())
}

async fn model_under(client: &RegistryClient, checks: &[&str]) {
    let production = checks.iter().fold(rule(Stage::Production).exclusive(), |rule, check| rule.check(*check));
    client.create_policy("strict").stage(production).await.unwrap();
    client.create_model("fraud").policy("strict").await.unwrap();
    client.create_version("fraud").finalize(true).await.unwrap();
}

#[tokio::test]
async fn a_gate_waits_for_checks() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, &["integration", "lint"]).await;
    let failed = GateOutcome::Failed;
    let neither = "waits for the check integration; waits for the check lint";
    assert_eq!(verdict(&client).await, (failed, neither.to_owned()));
    let error = client.promote(VERSION).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::GateFailed));
    assert_eq!(error.failed_gates()[0].kind, "REQUIRED_CHECKS");

    client.report_check(VERSION, "lint", CheckState::Succeeded).await.unwrap();
    client.report_check(VERSION, "integration", CheckState::Pending).await.unwrap();
    let pending = "waits for the check integration, which is pending".to_owned();
    assert_eq!(verdict(&client).await, (failed, pending));
    client.report_check(VERSION, "integration", CheckState::Failed).summary("2 of 48").await.unwrap();
    assert_eq!(verdict(&client).await, (failed, "the check integration has failed: 2 of 48".to_owned()));

    let found = client.report_check(VERSION, "integration", CheckState::Succeeded);
    let version = found.uri("https://ci.example/42").comment("again").await.unwrap();
    let check = &version.checks["integration"];
    // What was reported before is gone.
    assert_eq!((check.summary.as_str(), check.uri.as_str()), ("", "https://ci.example/42"));
    assert_eq!((check.reporter.as_str(), check.report_time), ("tester", version.update_time));
    assert_eq!(verdict(&client).await, (GateOutcome::Passed, String::new()));
    let last = events(&client).await.pop().unwrap();
    assert_eq!((last.r#type.as_str(), last.comment.as_str()), (event_type::VERSION_CHECK_REPORTED, "again"));
    assert_eq!(last.changed_fields, ["checks"]);
    client.promote(VERSION).await.unwrap();
}

#[tokio::test]
async fn a_check_counts_until_it_expires() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, &["scan"]).await;
    client.report_check(VERSION, "scan", CheckState::Succeeded).expires(from_now(3600)).await.unwrap();
    assert_eq!(verdict(&client).await.0, GateOutcome::Passed);
    client.report_check(VERSION, "scan", CheckState::Succeeded).expires(from_now(-1)).await.unwrap();
    let (outcome, detail) = verdict(&client).await;
    assert!(outcome == GateOutcome::Failed && detail.starts_with("the check scan counted until "), "{detail}");
}

#[tokio::test]
async fn conditions_and_filters_see_checks_and_a_report_lets_a_version_in() {
    let server = TestServer::start().await;
    let client = server.client();
    let passed = gate("passed", "version.checks['integration'].state == 'SUCCEEDED'");
    client.create_policy("auto").stage(rule(Stage::Staging).automatic().gate(passed)).await.unwrap();
    client.create_model("fraud").policy("auto").await.unwrap();
    client.create_version("fraud").finalize(true).await.unwrap();
    let failed = client.report_check(VERSION, "integration", CheckState::Failed).await.unwrap();
    assert_eq!(failed.stage(), Stage::Development);
    let entered = client.report_check(VERSION, "integration", CheckState::Succeeded).await.unwrap();
    assert_eq!((entered.stage(), entered.entered_automatically), (Stage::Staging, true));
    let filter = "version.checks['integration'].state == 'SUCCEEDED'";
    let found = client.list_versions("fraud").filter(filter).await.unwrap();
    assert_eq!(found.versions.len(), 1);
}

#[tokio::test]
async fn what_is_no_check_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "fraud", 1).await;
    let report = |id: &str| client.report_check(VERSION, id, CheckState::Succeeded);
    let field = |field: &'static str, reason| [(field, reason)];
    invalid(&server, report("a b"), &field("check_id", ErrorReason::NameInvalid)).await;
    let unspecified = client.report_check(VERSION, "lint", CheckState::Unspecified);
    invalid(&server, unspecified, &field("check.state", ErrorReason::FieldRequired)).await;
    invalid(&server, report("lint").uri("javascript:alert(1)"), &field("check.uri", ErrorReason::FieldInvalid)).await;
    let long = "x".repeat(4097);
    invalid(&server, report("lint").summary(long), &field("check.summary", ErrorReason::FieldInvalid)).await;
    refused(&server, report("lint").etag("x"), Code::Aborted, ErrorReason::EtagMismatch).await;
    for number in 0..32 {
        report(&format!("c{number}")).await.unwrap();
    }
    invalid(&server, report("one-more"), &field("check_id", ErrorReason::FieldInvalid)).await;
    report("c7").await.unwrap();
    client.delete_version(VERSION).await.unwrap();
    let error: Error = report("lint").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ResourceDeleted), "{error}");
}
