//! Withdrawing versions, and reinstating them.

use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::{ErrorReason, Event, Stage, StageChangeCause};
use registry_tests::expect::{refused, unchanged};
use registry_tests::restore::verified;
use registry_tests::{TestServer, events, model_with, pending, ready};
use tonic::Code;

const MODEL: &str = "models/fraud";
const REFUSED: Code = Code::FailedPrecondition;

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

async fn latest(client: &RegistryClient) -> Option<i64> {
    let latest = client.get_version("models/fraud@latest").await;
    let in_model = client.get_model(MODEL).await.unwrap().latest_version;
    match latest {
        Ok(latest) => {
            assert_eq!(latest.name, in_model);
            Some(latest.number)
        }
        Err(error) => {
            assert!(error.is_not_found() && in_model.is_empty(), "{error:?}");
            None
        }
    }
}

#[tokio::test]
async fn a_withdrawn_version_is_there_for_who_has_pinned_it_and_for_nobody_else() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let made = client.create_version(MODEL).version_id("1.4.0").await.unwrap();
    client.upload(&made.name, "model.onnx", b"bytes".to_vec()).await.unwrap();
    client.finalize_version(&made.name).await.unwrap();
    let before = client.get_model(MODEL).await.unwrap();
    let checked = unchanged(&server, client.withdraw_version(version(3)).validate_only(true)).await.unwrap();
    assert!(checked.withdraw_time.is_some());

    let withdrawn = client.withdraw_version(version(3)).reason("trained on the test split").await.unwrap();
    assert_eq!(
        (withdrawn.stage(), withdrawn.withdraw_reason.as_str()),
        (Stage::Development, "trained on the test split")
    );
    let event = events(&client).await.pop().unwrap();
    assert_eq!(
        (event.r#type.as_str(), event.comment.as_str()),
        (event_type::VERSION_WITHDRAWN, "trained on the test split")
    );
    assert_eq!(event.changed_fields, ["withdraw_time", "withdraw_reason"]);
    assert_eq!(latest(&client).await, Some(2));
    assert_eq!(client.get_model(MODEL).await.unwrap().etag, before.etag, "nothing that somebody decided has changed");
    // By number and by id everything is there.
    assert_eq!(client.get_version("models/fraud/versions/1.4.0").await.unwrap(), withdrawn);
    assert_eq!(client.list_versions(MODEL).await.unwrap().versions[2], withdrawn);
    let folder = tempfile::tempdir().unwrap();
    let pulled = client.pull("fraud/versions/1.4.0", folder.path().join("serving")).await.unwrap();
    assert_eq!(pulled.version, withdrawn);
    for stage in [Stage::Staging, Stage::Production] {
        let promote = client.transition_stage(version(3), stage);
        refused(&server, promote, REFUSED, ErrorReason::VersionWithdrawn).await;
    }
    refused(&server, client.set_alias(MODEL, "champion", "3"), REFUSED, ErrorReason::VersionWithdrawn).await;
    client.transition_stage(version(3), Stage::Archived).await.unwrap();

    // Another reason, for the same withdrawal.
    let again = client.withdraw_version(version(3)).reason("leaks").await.unwrap();
    assert_eq!((again.withdraw_time, again.withdraw_reason.as_str()), (withdrawn.withdraw_time, "leaks"));
    client.withdraw_version(version(2)).await.unwrap();
    client.withdraw_version(version(1)).await.unwrap();
    assert_eq!(latest(&client).await, None);
    assert_eq!(ready(&client, MODEL).await.number, 4);
    assert_eq!(latest(&client).await, Some(4));
    client.withdraw_version(version(4)).await.unwrap();

    let back = client.reinstate_version(version(3)).await.unwrap();
    assert_eq!((back.withdraw_time, back.withdraw_reason.as_str()), (None, ""));
    assert_eq!(events(&client).await.pop().unwrap().r#type, event_type::VERSION_REINSTATED);
    assert_eq!(latest(&client).await, Some(3));
    refused(&server, client.reinstate_version(version(3)), REFUSED, ErrorReason::VersionNotWithdrawn).await;
    client.promote(version(3)).await.unwrap();
    // A deletion and its undoing change nothing of it.
    client.delete_version(version(4)).await.unwrap();
    refused(&server, client.reinstate_version(version(4)), REFUSED, ErrorReason::ResourceDeleted).await;
    assert!(client.undelete_version(version(4)).await.unwrap().withdraw_time.is_some());
    assert_eq!(latest(&client).await, Some(3));
    verified(&client).await;
}

#[tokio::test]
async fn a_version_in_use_is_withdrawn_by_force_only_and_leaves_in_one_revision() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 4).await;
    client.transition_stage(version(1), Stage::Production).await.unwrap();
    client.transition_stage(version(2), Stage::Production).await.unwrap();
    client.transition_stage(version(3), Stage::Staging).await.unwrap();
    client.set_alias(MODEL, "champion", "4").await.unwrap();
    client.set_alias(MODEL, "rival", "2").await.unwrap();
    for number in 2..=4 {
        refused(&server, client.withdraw_version(version(number)), REFUSED, ErrorReason::ResourceProtected).await;
    }
    let stale = client.withdraw_version(version(2)).force(true).etag("nonsense");
    refused(&server, stale, Code::Aborted, ErrorReason::EtagMismatch).await;

    let withdrawn = client.withdraw_version(version(2)).force(true).reason("leaks").await.unwrap();
    assert_eq!((withdrawn.stage(), withdrawn.stage_revision), (Stage::Archived, withdrawn.revision));
    let log = events(&client).await;
    let told: Vec<&Event> = log.iter().filter(|event| event.revision == withdrawn.revision).collect();
    let types: Vec<_> = told.iter().map(|event| event.r#type.as_str()).collect();
    let stages = event_type::VERSION_STAGE_TRANSITIONED;
    assert_eq!(types, [event_type::ALIAS_DELETED, stages, event_type::VERSION_WITHDRAWN]);
    assert!(told.iter().all(|event| event.comment == "leaks"));
    let change = told[1].stage_change.unwrap();
    let expected = (Stage::Production, Stage::Archived, StageChangeCause::Withdrawn);
    assert_eq!((change.from_stage(), change.to_stage(), change.cause()), expected);
    for number in [3, 4] {
        client.withdraw_version(version(number)).force(true).await.unwrap();
    }
    let model = client.get_model(MODEL).await.unwrap();
    assert!(model.aliases.is_empty() && model.stages.iter().all(|stage| stage.stage() == Stage::Archived), "{model:?}");
    assert_eq!(latest(&client).await, Some(1));

    // A rollback passes it over.
    client.promote(version(1)).await.unwrap();
    refused(&server, client.rollback(MODEL), REFUSED, ErrorReason::NoPreviousVersion).await;
    let back = client.reinstate_version(version(2)).await.unwrap();
    assert_eq!(back.stage(), Stage::Archived, "what is taken back does not promote");
    verified(&client).await;
}

#[tokio::test]
async fn only_what_somebody_may_have_pinned_is_withdrawn_and_it_is_pruned_like_any_other() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    pending(&client, MODEL).await;
    refused(&server, client.withdraw_version(version(4)), REFUSED, ErrorReason::VersionNotReady).await;
    let missing = client.withdraw_version(version(9));
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let long = client.withdraw_version(version(1)).reason("x".repeat(4097));
    let error = refused(&server, long, Code::InvalidArgument, ErrorReason::FieldInvalid).await;
    assert_eq!(error.violations()[0].field, "reason");
    client.withdraw_version(version(1)).await.unwrap();
    client.withdraw_version(version(3)).await.unwrap();
    let pruned = client.prune_versions(MODEL, 2).await.unwrap();
    assert_eq!(pruned.versions.iter().map(|version| version.number).collect::<Vec<_>>(), [1, 2]);
}
