//! Policies with gates: what a version has to show before it enters a stage, and who is told what about it.

use registry_client::known::event_type;
use registry_client::pb::{
    self, ErrorReason, Freeze, GateKind, GateOutcome, GateReport, GateVerdict, Policy, Stage, StageRule,
    TransitionStageRequest,
};
use registry_client::policies::{Rule, gate, rule};
use registry_client::{Error, RegistryClient};
use registry_tests::expect::{invalid, refused, unchanged};
use registry_tests::{TestServer, events, model_with};
use tonic::Code;
use uuid::Uuid;

const MODEL: &str = "models/fraud";
const POLICY: &str = "namespaces/default/policies/strict";
const REFUSED: Code = Code::FailedPrecondition;

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

/// A model under a policy with this rule, and a READY version for each of these errors on the test data.
async fn model_under(client: &RegistryClient, rule: Rule, errors: &[Option<f64>]) {
    client.create_policy("strict").stage(rule).await.unwrap();
    client.create_model("fraud").policy("strict").await.unwrap();
    for rmse in errors {
        let mut create = client.create_version("fraud").finalize(true);
        if let Some(rmse) = rmse {
            create = create.metric("test", "rmse", *rmse);
        }
        create.await.unwrap();
    }
}

fn production() -> Rule {
    rule(Stage::Production).exclusive()
}

/// Better than the incumbent by two percent, and never bad.
fn strict() -> Rule {
    let better = gate("better", "version.metrics[\"test\"][\"rmse\"] < incumbent.metrics[\"test\"][\"rmse\"] * 0.98");
    let explained = gate("explained", "request.comment != \"\"").message("say why").warns();
    let good = gate("good", "version.metrics.test.rmse < 1.0");
    production().gate(better.message("no better than what is live")).gate(good).gate(explained)
}

fn verdict<'a>(report: &'a GateReport, gate: &str) -> &'a GateVerdict {
    report.verdicts.iter().find(|verdict| verdict.gate == gate).unwrap()
}

fn outcomes(report: &GateReport) -> Vec<(&str, GateOutcome)> {
    report.verdicts.iter().map(|verdict| (verdict.gate.as_str(), verdict.outcome())).collect()
}

fn readings(verdict: &GateVerdict) -> Vec<(&str, f64)> {
    let number = |reading: &pb::GateReading| match reading.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(prost_types::value::Kind::NumberValue(number)) => *number,
        other => panic!("{other:?}"),
    };
    verdict.readings.iter().map(|reading| (reading.path.as_str(), number(reading))).collect()
}

#[tokio::test]
async fn a_promotion_names_its_policy_and_all_verdicts_with_the_numbers_they_saw() {
    use GateOutcome::{Failed, NotApplicable, Passed};
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, strict(), &[Some(0.5), Some(0.4)]).await;
    let policy = client.get_policy("strict").await.unwrap();
    // There is nothing yet that it could be better than.
    let first = client.promote(version(1)).comment("the first").await.unwrap().gates.unwrap();
    assert_eq!(outcomes(&first), [("better", NotApplicable), ("good", Passed), ("explained", Passed)]);
    assert_eq!(verdict(&first, "better").missing, ["incumbent.metrics[\"test\"][\"rmse\"]"]);

    let second = client.promote(version(2)).await.unwrap();
    let report = second.gates.clone().unwrap();
    assert_eq!((report.policy.as_str(), report.policy_revision, report.promotable), (POLICY, policy.revision, true));
    assert_eq!(outcomes(&report), [("better", Passed), ("good", Passed), ("explained", Failed)]);
    let better = verdict(&report, "better");
    assert_eq!(
        readings(better),
        [("version.metrics[\"test\"][\"rmse\"]", 0.4), ("incumbent.metrics[\"test\"][\"rmse\"]", 0.5)]
    );
    assert_eq!((better.kind(), better.detail.as_str()), (GateKind::Condition, ""));

    let logged = events(&client).await;
    let [.., promoted, displaced] = &logged[..] else { panic!("{logged:?}") };
    assert_eq!((promoted.gates.as_ref(), displaced.gates.as_ref()), (Some(&report), None));
    assert_eq!(client.promote(version(2)).await.unwrap().gates, None, "it is there already");
}

#[tokio::test]
async fn what_a_version_lacks_is_told_all_at_once_and_changes_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    let complete = strict().requires("schema").compatible_signature();
    model_under(&client, complete, &[Some(0.5), None]).await;
    client.promote(version(1)).override_gates("to begin with").await.unwrap();

    let error = refused(&server, client.promote(version(2)), REFUSED, ErrorReason::GateFailed).await;
    let failed: Vec<_> =
        error.failed_gates().iter().map(|gate| (&*gate.kind, &*gate.gate, &*gate.description)).collect();
    let no_value = "version.metrics[\"test\"][\"rmse\"] has no value: incumbent.metrics[\"test\"][\"rmse\"] = 0.5";
    assert_eq!(
        failed,
        [
            ("CONDITION", "better", &*format!("no better than what is live: {no_value}")),
            ("CONDITION", "good", "version.metrics.test.rmse has no value"),
            ("REQUIRED_ARTIFACT_TYPES", "required_artifact_types", "has no artifact of the type schema"),
        ]
    );
    assert_eq!(error.status().unwrap().metadata["violation_count"], "3");

    // To be asked what is missing is no error.
    let checked = unchanged(&server, client.promote(version(2)).validate_only(true)).await.unwrap();
    let report = checked.gates.unwrap();
    assert!(!report.promotable);
    assert_eq!(verdict(&report, "better").outcome(), GateOutcome::NoVerdict);
    assert_eq!(verdict(&report, "better").missing, ["version.metrics[\"test\"][\"rmse\"]"]);
    assert_eq!(verdict(&report, "compatible_signature").outcome(), GateOutcome::NotApplicable);
    // What is no matter of gates is one all the same.
    let pending = client.create_version("fraud").await.unwrap().name;
    let checked = client.promote(pending).validate_only(true);
    refused(&server, checked, REFUSED, ErrorReason::VersionNotReady).await;
}

#[tokio::test]
async fn an_override_has_a_reason_and_an_event_of_its_own() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, strict(), &[Some(0.5), Some(0.6)]).await;
    client.promote(version(1)).await.unwrap();
    let unexplained = TransitionStageRequest {
        name: version(2),
        stage: Stage::Production.into(),
        override_gates: true,
        ..Default::default()
    };
    invalid(&server, client.call(unexplained), &[("comment", ErrorReason::FieldRequired)]).await;

    let moved = client.promote(version(2)).override_gates("the old one leaks").await.unwrap();
    let report = moved.gates.clone().unwrap();
    let overridden: Vec<_> = report.verdicts.iter().map(|verdict| verdict.overridden).collect();
    assert_eq!((report.promotable, &overridden[..]), (true, &[true, false, false][..]));
    assert_eq!(verdict(&report, "better").outcome(), GateOutcome::Failed);
    let logged = events(&client).await;
    let [.., promoted, displaced, told] = &logged[..] else { panic!("{logged:?}") };
    assert_eq!(promoted.gates.as_ref(), Some(&report));
    assert_eq!(displaced.r#type, event_type::VERSION_STAGE_TRANSITIONED);
    assert_eq!(
        (told.r#type.as_str(), told.comment.as_str(), told.revision),
        (event_type::VERSION_GATES_OVERRIDDEN, "the old one leaks", moved.revision)
    );
    assert_eq!(told.resource_name, moved.version.unwrap().name);
    let told: Vec<_> = told.gates.as_ref().unwrap().verdicts.iter().map(|verdict| &*verdict.gate).collect();
    assert_eq!(told, ["better"]);
}

#[tokio::test]
async fn an_override_that_overrides_nothing_is_a_promotion_like_others() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, strict(), &[Some(0.5)]).await;
    let moved = client.promote(version(1)).override_gates("to be sure").await.unwrap();
    assert!(moved.gates.unwrap().verdicts.iter().all(|verdict| !verdict.overridden));
    assert!(events(&client).await.iter().all(|event| event.r#type != event_type::VERSION_GATES_OVERRIDDEN));
}

#[tokio::test]
async fn a_rollback_asks_no_gate() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, strict(), &[Some(0.5), Some(0.4)]).await;
    client.promote(version(1)).await.unwrap();
    client.promote(version(2)).await.unwrap();
    refused(&server, client.promote(version(1)), REFUSED, ErrorReason::GateFailed).await;
    assert_eq!(client.rollback("fraud").await.unwrap().version.unwrap().number, 1);
}

#[tokio::test]
async fn a_request_that_is_repeated_gets_the_same_verdicts_whatever_the_policy_is_by_then() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, strict(), &[Some(0.5)]).await;
    let id = Uuid::now_v7();
    let promote = || client.promote(version(1)).override_gates("now").request_id(id);
    let first = promote().await.unwrap();
    let stages = vec![StageRule::from(production().gate(gate("none", "false")))];
    let shut = Policy { name: "strict".to_owned(), stages, ..Default::default() };
    client.update_policy(shut).await.unwrap();
    assert_eq!(promote().await.unwrap(), first);
}

#[tokio::test]
async fn each_of_a_batch_is_asked_about_what_those_before_it_left() {
    let server = TestServer::start().await;
    let client = server.client();
    model_under(&client, strict(), &[Some(0.5), Some(0.4), Some(0.45)]).await;
    let step = |number| TransitionStageRequest {
        name: version(number),
        stage: Stage::Production.into(),
        comment: format!("step {number}"),
        ..Default::default()
    };
    let answer = client.batch_transition_stages([step(1), step(2)]).await.unwrap();
    let better: Vec<_> =
        answer.responses.iter().map(|moved| verdict(moved.gates.as_ref().unwrap(), "better").outcome()).collect();
    assert_eq!(better, [GateOutcome::NotApplicable, GateOutcome::Passed]);
    assert_eq!(answer.responses[1].displaced[0].number, 1);
    // None of them, if one is kept out.
    let worse = client.batch_transition_stages([step(1), step(3)]);
    refused(&server, worse, REFUSED, ErrorReason::GateFailed).await;
    let override_one = TransitionStageRequest { override_gates: true, ..step(1) };
    let answer = client.batch_transition_stages([override_one, step(3)]).await.unwrap();
    assert_eq!(answer.responses.len(), 2);
    assert_eq!(verdict(answer.responses[1].gates.as_ref().unwrap(), "better").outcome(), GateOutcome::Passed);
}

#[tokio::test]
async fn artifacts_signatures_and_time_are_gates_as_well() {
    let server = TestServer::start().await;
    let client = server.client();
    let takes = |names: &[&str]| pb::Signature {
        inputs: names.iter().map(|name| pb::Field { name: (*name).to_owned(), ..Default::default() }).collect(),
        outputs: Vec::new(),
    };
    let rule = production().requires("model").compatible_signature().soak(std::time::Duration::ZERO);
    model_under(&client, rule, &[]).await;
    let publish = async |names: &[&str], with_model: bool| {
        let made = client.create_version("fraud").signature(takes(names)).await.unwrap();
        if with_model {
            client.upload(&made.name, "model.onnx", b"bytes".to_vec()).artifact_type("model").await.unwrap();
        }
        client.finalize_version(&made.name).await.unwrap().name
    };
    let (old, bare) = (publish(&["age", "income"], true).await, publish(&["age"], false).await);
    let (fits, needs) = (publish(&["income"], true).await, publish(&["income", "debts"], true).await);
    client.promote(old).await.unwrap();
    let names = |error: Error| error.failed_gates().iter().map(|gate| gate.gate.clone()).collect::<Vec<_>>();
    let error = refused(&server, client.promote(bare), REFUSED, ErrorReason::GateFailed).await;
    assert_eq!(names(error), ["required_artifact_types"]);
    let error = refused(&server, client.promote(needs), REFUSED, ErrorReason::GateFailed).await;
    assert_eq!(names(error), ["compatible_signature"]);
    client.promote(&fits).await.unwrap();

    // By MLflow's signature, where there is no other.
    let inputs = r#"[{"name": "debts", "type": "double"}]"#;
    let mlflow = object("signature", object("inputs", inputs.into()));
    let made = client.create_version("fraud").additional_metadata("mlflow", mlflow).await.unwrap();
    client.upload(&made.name, "model.onnx", b"bytes".to_vec()).artifact_type("model").await.unwrap();
    client.finalize_version(&made.name).await.unwrap();
    let error = refused(&server, client.promote(made.name), REFUSED, ErrorReason::GateFailed).await;
    assert_eq!(names(error), ["compatible_signature"]);

    let frozen = Freeze { reason: "the end of the year".to_owned(), ..Default::default() };
    let shut = production().soak(std::time::Duration::from_secs(3600)).freeze(frozen);
    let policy = Policy { name: "strict".to_owned(), stages: vec![shut.into()], ..Default::default() };
    client.update_policy(policy).await.unwrap();
    let next = publish(&["income"], true).await;
    let error = refused(&server, client.promote(next), REFUSED, ErrorReason::GateFailed).await;
    assert!(error.failed_gates()[1].description.contains("nothing changes: the end of the year"), "{error:?}");
    assert_eq!(names(error), ["soak_duration", "freezes"]);
}

fn object(key: &str, value: prost_types::Value) -> prost_types::Value {
    std::collections::BTreeMap::from([(key.to_owned(), value)]).into()
}

#[tokio::test]
async fn a_model_is_under_the_policy_that_it_names_or_the_default_of_its_namespace() {
    let server = TestServer::start().await;
    let client = server.client();
    let shut = || production().gate(gate("never", "false"));
    model_with(&client, MODEL, 1).await;
    client.create_policy("namespaces/risk/policies/default").stage(shut()).await.unwrap();
    // That of another namespace.
    client.promote(version(1)).await.unwrap();
    client.transition_stage(version(1), Stage::Archived).await.unwrap();
    client.create_policy("default").stage(shut()).await.unwrap();
    refused(&server, client.promote(version(1)), REFUSED, ErrorReason::GateFailed).await;
    client.create_policy("open").await.unwrap();
    let named = |policy: &str| pb::Model { name: MODEL.to_owned(), policy: policy.to_owned(), ..Default::default() };
    let update = |policy: &str| client.update_model(named(policy)).fields(["policy"]);
    assert_eq!(update("open").await.unwrap().policy, "namespaces/default/policies/open");
    client.promote(version(1)).await.unwrap();
    assert_eq!(update("policies/default").await.unwrap().policy, "namespaces/default/policies/default");

    refused(&server, update("none"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    invalid(&server, update("namespaces/risk/policies/default"), &[("model.policy", ErrorReason::FieldInvalid)]).await;
    invalid(&server, update("a b"), &[("model.policy", ErrorReason::NameInvalid)]).await;
    invalid(&server, update("models/fraud"), &[("model.policy", ErrorReason::NameInvalid)]).await;
    let elsewhere = client.create_model("namespaces/risk/models/fraud").policy("open");
    refused(&server, elsewhere, Code::NotFound, ErrorReason::ResourceNotFound).await;
    assert_eq!(update("").await.unwrap().policy, "");
}

#[tokio::test]
async fn a_policy_stays_as_long_as_models_are_under_it() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_policy("strict").await.unwrap();
    client.create_model("fraud").policy("strict").await.unwrap();
    let delete = || client.delete_policy("strict");
    let error = refused(&server, delete(), REFUSED, ErrorReason::ResourceProtected).await;
    assert!(error.to_string().contains("such as namespaces/default/models/fraud"), "{error}");
    // A deleted one may come back.
    client.delete_model("fraud").await.unwrap();
    refused(&server, delete(), REFUSED, ErrorReason::ResourceProtected).await;
    client.purge_model("fraud").await.unwrap();
    let etag = client.get_policy("strict").await.unwrap().etag;
    let other = client.delete_policy("strict").etag("0");
    refused(&server, other, Code::Aborted, ErrorReason::EtagMismatch).await;
    assert_eq!(delete().etag(etag).comment("not used").await.unwrap().name, POLICY);
    refused(&server, client.get_policy("strict"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    let told = events(&client).await.pop().unwrap();
    assert_eq!((told.r#type.as_str(), told.comment.as_str()), (event_type::POLICY_DELETED, "not used"));
    client.create_policy("strict").await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_policy_is_told_all_at_once() {
    use ErrorReason::{FieldInvalid, FieldRequired};
    let server = TestServer::start().await;
    let client = server.client();
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let gates = production()
        .gate(gate("a", "version.metrics.test.auc > 0.9"))
        .gate(gate("a", "versoin.number > 1"))
        .gate(gate("", ""))
        .gate(gate("freezes", "version.number"))
        .requires("No Type");
    let times = production()
        .window([pb::DayOfWeek::Unspecified], "9:00", "25:00", "Mars/Olympus")
        .window([], "24:00", "24:00", "UTC")
        .freeze(Freeze { start_time: at(10), end_time: at(10), ..Default::default() });
    for (rule, fields) in [
        (
            gates.clone(),
            vec![
                ("gates[1].name", FieldInvalid),
                ("gates[1].condition", FieldInvalid),
                ("gates[2].name", FieldRequired),
                ("gates[2].condition", FieldRequired),
                ("gates[3].name", FieldInvalid),
                ("gates[3].condition", FieldInvalid),
                ("required_artifact_types[0]", FieldInvalid),
            ],
        ),
        (
            times,
            vec![
                ("change_windows[0].days[0]", FieldInvalid),
                ("change_windows[0].start", FieldInvalid),
                ("change_windows[0].end", FieldInvalid),
                ("change_windows[0].time_zone", FieldInvalid),
                ("change_windows[1].days", FieldRequired),
                ("change_windows[1].start", FieldInvalid),
                ("freezes[0].reason", FieldRequired),
                ("freezes[0].end_time", FieldInvalid),
            ],
        ),
    ] {
        let fields: Vec<_> = fields.iter().map(|(field, why)| (format!("policy.stages[0].{field}"), *why)).collect();
        let fields: Vec<_> = fields.iter().map(|(field, why)| (field.as_str(), *why)).collect();
        invalid(&server, client.create_policy("strict").stage(rule), &fields).await;
    }
    let error = client.create_policy("strict").stage(gates).await.unwrap_err();
    assert!(error.violations()[1].description.contains("did you mean \"version\"?"), "{error:?}");
}
