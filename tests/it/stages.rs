//! Transitions, batches and rollbacks.

use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::{
    ErrorReason, Event, IncumbentAction, Policy, Stage, StageChangeCause, StageRule, StageTransition,
    TransitionStageRequest, Version,
};
use registry_tests::expect::{invalid, refused, unchanged};
use registry_tests::{TestServer, events, model_with, pending, ready};
use tonic::Code;
use uuid::Uuid;

const MODEL: &str = "models/fraud";

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

async fn stages(client: &RegistryClient) -> Vec<Stage> {
    let versions = client.list_versions(MODEL).await.unwrap().versions;
    versions.iter().map(Version::stage).collect()
}

/// What moved in a revision: number, from, to, why.
async fn moves(client: &RegistryClient, revision: i64) -> Vec<(i64, Stage, Stage, StageChangeCause)> {
    let moved = |event: Event| {
        assert_eq!(event.r#type, event_type::VERSION_STAGE_TRANSITIONED);
        let change = event.stage_change.unwrap();
        let number = event.resource_name.rsplit('/').next().unwrap().parse().unwrap();
        (number, change.from_stage(), change.to_stage(), change.cause())
    };
    events(client).await.into_iter().filter(|event| event.revision == revision).map(moved).collect()
}

#[tokio::test]
async fn the_displaced_version_is_archived_in_the_same_revision() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    client.transition_stage(version(1), Stage::Production).await.unwrap();
    let answer = client.transition_stage(version(2), Stage::Production).comment("two points better").await.unwrap();
    let promoted = answer.version.unwrap();
    assert_eq!((promoted.number, promoted.stage(), promoted.stage_revision), (2, Stage::Production, answer.revision));
    assert!(promoted.stage_time.is_some());
    let displaced: Vec<_> = answer.displaced.iter().map(|version| (version.number, version.stage())).collect();
    assert_eq!(displaced, [(1, Stage::Archived)]);
    assert_eq!(client.get_version(version(1)).await.unwrap(), answer.displaced[0]);
    assert_eq!(
        moves(&client, answer.revision).await,
        [
            (2, Stage::Development, Stage::Production, StageChangeCause::Transition),
            (1, Stage::Production, Stage::Archived, StageChangeCause::Displaced),
        ]
    );
    let of_revision: Vec<_> =
        events(&client).await.into_iter().filter(|event| event.revision == answer.revision).collect();
    assert!(of_revision.iter().all(|event| event.comment == "two points better"));
    let model = client.get_model(MODEL).await.unwrap();
    let summaries: Vec<_> = model
        .stages
        .iter()
        .map(|held| (held.stage(), held.version.rsplit('/').next().unwrap(), held.version_count))
        .collect();
    assert_eq!(summaries, [(Stage::Production, "2", 1), (Stage::Archived, "1", 1)]);
}

#[tokio::test]
async fn the_incumbent_goes_where_the_request_says() {
    for (action, stage) in [
        (IncumbentAction::Unspecified, Stage::Archived),
        (IncumbentAction::Archive, Stage::Archived),
        (IncumbentAction::ToStaging, Stage::Staging),
        (IncumbentAction::ToDevelopment, Stage::Development),
    ] {
        let server = TestServer::start().await;
        let client = server.client();
        model_with(&client, MODEL, 2).await;
        client.transition_stage(version(1), Stage::Production).await.unwrap();
        client.transition_stage(version(2), Stage::Production).incumbent(action).await.unwrap();
        assert_eq!(stages(&client).await, [stage, Stage::Production], "{action:?}");
    }
}

#[tokio::test]
async fn an_incumbent_that_is_to_stay_stays() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let refuse =
        |number| client.transition_stage(version(number), Stage::Production).incumbent(IncumbentAction::Refuse);
    refuse(1).await.unwrap();
    let error = refused(&server, refuse(2), Code::FailedPrecondition, ErrorReason::StageOccupied).await;
    assert!(error.is_failed_precondition());
    assert_eq!(stages(&client).await, [Stage::Production, Stage::Development]);
}

#[tokio::test]
async fn only_ready_versions_are_promoted() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 0).await;
    let waiting = pending(&client, MODEL).await;
    for stage in [Stage::Staging, Stage::Production] {
        let promote = client.transition_stage(&waiting.name, stage);
        refused(&server, promote, Code::FailedPrecondition, ErrorReason::VersionNotReady).await;
    }
    client.finalize_version(&waiting.name).failed("nan").await.unwrap();
    let promote = client.transition_stage(&waiting.name, Stage::Production);
    refused(&server, promote, Code::FailedPrecondition, ErrorReason::VersionNotReady).await;
    client.transition_stage(&waiting.name, Stage::Archived).await.unwrap();
}

#[tokio::test]
async fn a_stage_has_to_be_named_and_known() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let to = |stage: i32, incumbent: i32| {
        client.call(TransitionStageRequest { name: version(1), stage, incumbent, ..Default::default() })
    };
    invalid(&server, to(0, 0), &[("stage", ErrorReason::FieldRequired)]).await;
    let both = [("stage", ErrorReason::FieldInvalid), ("incumbent", ErrorReason::FieldInvalid)];
    invalid(&server, to(99, 99), &both).await;
    let archive = client.rollback_stage(MODEL, Stage::Archived);
    invalid(&server, archive, &[("stage", ErrorReason::FieldInvalid)]).await;
    let long = client.transition_stage(version(1), Stage::Staging).comment("x".repeat(4097));
    invalid(&server, long, &[("comment", ErrorReason::FieldInvalid)]).await;
}

#[tokio::test]
async fn a_transition_to_the_same_stage_changes_nothing_and_is_logged_with_a_comment() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let first = client.transition_stage(version(1), Stage::Production).await.unwrap();
    let again = || client.transition_stage(version(1), Stage::Production).incumbent(IncumbentAction::Refuse);
    let stayed = unchanged(&server, again()).await.unwrap();
    assert_eq!((stayed.from_stage(), stayed.version.as_ref()), (Stage::Production, first.version.as_ref()));
    assert!(stayed.displaced.is_empty());
    let dry = unchanged(&server, again().validate_only(true)).await.unwrap();
    assert_eq!((dry.from_stage(), dry.revision), (Stage::Production, 0));
    // It stays what it was for whoever asks under the same id again, whatever has happened since.
    let id = Uuid::new_v4();
    let noted = again().request_id(id).await.unwrap();
    client.transition_stage(version(1), Stage::Archived).await.unwrap();
    assert_eq!(again().request_id(id).await.unwrap(), noted);
    assert_eq!(client.get_version(version(1)).await.unwrap().stage(), Stage::Archived);

    let explained = client.transition_stage(version(1), Stage::Archived).comment("for good").await.unwrap();
    let stayed = (1, Stage::Archived, Stage::Archived, StageChangeCause::Transition);
    assert_eq!(moves(&client, explained.revision).await, [stayed]);
}

#[tokio::test]
async fn rollbacks_go_back_one_by_one_until_nothing_is_left() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    for number in 1..=3 {
        client.transition_stage(version(number), Stage::Production).await.unwrap();
    }
    let second = client.rollback(MODEL).comment("3 is worse").await.unwrap();
    assert_eq!(second.version.unwrap().number, 2);
    assert_eq!(
        moves(&client, second.revision).await,
        [
            (2, Stage::Archived, Stage::Production, StageChangeCause::Rollback),
            (3, Stage::Production, Stage::Archived, StageChangeCause::Displaced),
        ]
    );
    let first = client.rollback(MODEL).await.unwrap();
    assert_eq!((first.version.unwrap().number, first.displaced[0].number), (1, 2));
    let none = client.rollback(MODEL);
    refused(&server, none, Code::FailedPrecondition, ErrorReason::NoPreviousVersion).await;
    assert_eq!(stages(&client).await, [Stage::Production, Stage::Archived, Stage::Archived]);
}

#[tokio::test]
async fn a_rollback_passes_over_deleted_versions() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    for number in 1..=3 {
        client.transition_stage(version(number), Stage::Production).await.unwrap();
    }
    client.delete_version(version(2)).await.unwrap();
    assert_eq!(client.rollback(MODEL).await.unwrap().version.unwrap().number, 1);
}

#[tokio::test]
async fn a_rollback_fills_a_stage_that_lost_its_version() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    client.transition_stage(version(1), Stage::Production).await.unwrap();
    client.transition_stage(version(2), Stage::Production).await.unwrap();
    client.delete_version(version(2)).force(true).await.unwrap();
    let back = client.rollback(MODEL).await.unwrap();
    assert_eq!((back.version.unwrap().number, back.displaced.len()), (1, 0));
}

#[tokio::test]
async fn staging_holds_several_and_is_rolled_back_as_well() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    for number in 1..=2 {
        let moved = client.transition_stage(version(number), Stage::Staging).await.unwrap();
        assert!(moved.displaced.is_empty());
    }
    assert_eq!(stages(&client).await, [Stage::Staging, Stage::Staging]);
    client.transition_stage(version(1), Stage::Archived).await.unwrap();
    client.transition_stage(version(2), Stage::Archived).await.unwrap();
    let back = client.rollback_stage(MODEL, Stage::Staging).await.unwrap();
    assert_eq!(back.version.unwrap().stage(), Stage::Staging);
}

#[tokio::test]
async fn a_rollback_of_a_stage_that_may_hold_several_moves_its_newest_version_only() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 4).await;
    for number in 1..=4 {
        client.transition_stage(version(number), Stage::Staging).await.unwrap();
    }
    client.transition_stage(version(3), Stage::Archived).await.unwrap();
    let back = client.rollback_stage(MODEL, Stage::Staging).await.unwrap();
    assert_eq!(back.version.unwrap().number, 3);
    assert_eq!(back.displaced.iter().map(|version| version.number).collect::<Vec<_>>(), [4]);
    assert_eq!(stages(&client).await, [Stage::Staging, Stage::Staging, Stage::Staging, Stage::Archived]);
}

#[tokio::test]
async fn a_policy_rules_transitions_out() {
    let server = TestServer::start().await;
    let client = server.client();
    let step = |from: Stage, to: Stage| StageTransition { from_stage: from.into(), to_stage: to.into() };
    let policy = Policy {
        transitions: vec![step(Stage::Development, Stage::Staging), step(Stage::Staging, Stage::Production)],
        stages: vec![StageRule {
            stage: Stage::Staging.into(),
            exclusive: true,
            incumbent: IncumbentAction::ToDevelopment.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    client.create_policy("strict").policy(policy).await.unwrap();
    client.create_model(MODEL).policy("strict").await.unwrap();
    ready(&client, MODEL).await;
    ready(&client, MODEL).await;
    for stage in [Stage::Production, Stage::Archived] {
        let illegal = client.transition_stage(version(1), stage);
        refused(&server, illegal, Code::FailedPrecondition, ErrorReason::TransitionNotAllowed).await;
    }
    client.transition_stage(version(1), Stage::Staging).await.unwrap();
    let second = client.transition_stage(version(2), Stage::Staging).await.unwrap();
    // The move of an incumbent needs no entry.
    assert_eq!((second.displaced[0].number, second.displaced[0].stage()), (1, Stage::Development));
    client.transition_stage(version(2), Stage::Production).await.unwrap();
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    let rule = |stage: Stage, exclusive, incumbent: IncumbentAction| Policy {
        stages: vec![StageRule { stage: stage.into(), exclusive, incumbent: incumbent.into(), ..Default::default() }],
        ..Default::default()
    };
    for policy in [
        rule(Stage::Production, false, IncumbentAction::Unspecified),
        rule(Stage::Archived, true, IncumbentAction::Unspecified),
        rule(Stage::Development, true, IncumbentAction::Unspecified),
        rule(Stage::Staging, false, IncumbentAction::Archive),
        rule(Stage::Staging, true, IncumbentAction::ToStaging),
    ] {
        let made = client.create_policy("strict").policy(policy.clone());
        let error = refused(&server, made, Code::InvalidArgument, ErrorReason::FieldInvalid).await;
        let violations = error.violations();
        assert!(violations.iter().all(|found| found.field.starts_with("policy")), "{policy:?} {error:?}");
        assert!(!violations.is_empty());
    }
    let unspecified = client.create_policy("strict").policy(rule(Stage::Unspecified, false, IncumbentAction::Archive));
    let error = refused(&server, unspecified, Code::InvalidArgument, ErrorReason::FieldRequired).await;
    assert_eq!(error.violations()[0].field, "policy.stages[0].stage");
}

fn step(number: i64, stage: Stage) -> TransitionStageRequest {
    TransitionStageRequest { name: version(number), stage: stage.into(), ..Default::default() }
}

#[tokio::test]
async fn a_batch_is_one_revision_in_which_each_sees_what_those_before_it_did() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let answer = client
        .batch_transition_stages([step(1, Stage::Production), step(2, Stage::Production), step(1, Stage::Staging)])
        .await
        .unwrap();
    let moved: Vec<_> = answer
        .responses
        .iter()
        .map(|response| (response.version.as_ref().unwrap().number, response.displaced.len(), response.revision))
        .collect();
    let revision = answer.revision;
    assert_eq!(moved, [(1, 0, revision), (2, 1, revision), (1, 0, revision)]);
    assert_eq!(stages(&client).await, [Stage::Staging, Stage::Production]);
    assert_eq!(moves(&client, revision).await.len(), 4);
}

#[tokio::test]
async fn a_batch_of_which_one_fails_does_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    pending(&client, MODEL).await;
    let batch = client.batch_transition_stages([step(1, Stage::Production), step(3, Stage::Production)]);
    refused(&server, batch, Code::FailedPrecondition, ErrorReason::VersionNotReady).await;
    let batch = client.batch_transition_stages([step(1, Stage::Production), step(9, Stage::Production)]);
    refused(&server, batch, Code::NotFound, ErrorReason::ResourceNotFound).await;
    assert_eq!(stages(&client).await, [Stage::Development; 3]);
    assert!(client.get_model(MODEL).await.unwrap().stages.is_empty());
}

#[tokio::test]
async fn a_batch_has_1_to_100_requests_and_the_request_id_for_all_of_them() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let fields = [("requests", ErrorReason::FieldInvalid)];
    invalid(&server, client.batch_transition_stages([]), &fields).await;
    invalid(&server, client.batch_transition_stages(vec![step(1, Stage::Staging); 101]), &fields).await;
    let dry = TransitionStageRequest { validate_only: true, ..step(1, Stage::Staging) };
    let unnamed = TransitionStageRequest { name: "nonsense".to_owned(), ..step(1, Stage::Unspecified) };
    let wrong = client.batch_transition_stages([step(1, Stage::Staging), dry, unnamed]);
    let fields = [
        ("requests[1]", ErrorReason::FieldInvalid),
        ("requests[2].name", ErrorReason::NameInvalid),
        ("requests[2].stage", ErrorReason::FieldRequired),
    ];
    invalid(&server, wrong, &fields).await;
}

#[tokio::test]
async fn to_validate_only_answers_what_would_come_out_and_changes_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    client.transition_stage(version(1), Stage::Production).await.unwrap();
    let promote = client.transition_stage(version(2), Stage::Production);
    let dry = unchanged(&server, promote.clone().validate_only(true)).await.unwrap();
    assert_eq!((dry.revision, dry.displaced.len()), (0, 1));
    assert_eq!(dry.version.unwrap().stage(), Stage::Production);
    assert_eq!(stages(&client).await, [Stage::Production, Stage::Development]);

    promote.await.unwrap();
    let dry = unchanged(&server, client.rollback(MODEL).validate_only(true)).await.unwrap();
    assert_eq!((dry.revision, dry.version.unwrap().number), (0, 1));
    assert_eq!(client.get_version("models/fraud@production").await.unwrap().number, 2);
    let batch = client.batch_transition_stages([step(1, Stage::Staging)]).validate_only(true);
    assert_eq!(unchanged(&server, batch).await.unwrap().revision, 0);
}

#[tokio::test]
async fn a_stage_is_changed_only_in_the_state_that_the_etag_names() {
    let server = TestServer::start().await;
    let client = server.client();
    let old = model_with(&client, MODEL, 1).await.pop().unwrap().etag;
    client.transition_stage(version(1), Stage::Staging).etag(&old).await.unwrap();
    let promote = client.transition_stage(version(1), Stage::Production).etag(&old);
    refused(&server, promote, Code::Aborted, ErrorReason::EtagMismatch).await;
    let rollback = client.rollback(MODEL).etag("nonsense");
    refused(&server, rollback, Code::Aborted, ErrorReason::EtagMismatch).await;
}

#[tokio::test]
async fn a_rollback_empties_a_stage_that_became_exclusive_as_a_promotion_does() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    for number in 1..=3 {
        client.transition_stage(version(number), Stage::Staging).await.unwrap();
    }
    let rule = StageRule { stage: Stage::Staging.into(), exclusive: true, ..Default::default() };
    let policy = Policy { stages: vec![rule], ..Default::default() };
    client.create_policy("default").policy(policy).await.unwrap();
    let back = client.rollback_stage(MODEL, Stage::Staging).await.unwrap();
    assert_eq!(back.version.unwrap().number, 2);
    assert_eq!(back.displaced.iter().map(|version| version.number).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(stages(&client).await, [Stage::Archived, Stage::Staging, Stage::Archived]);
}
