//! Soft deletion, and taking it back.

use registry_client::known::event_type;
use registry_client::pb::{ErrorReason, Stage, StageChangeCause, Version};
use registry_tests::expect::{refused, unchanged};
use registry_tests::{TestServer, events, events_of, model_with, ready};
use tonic::Code;

const MODEL: &str = "models/fraud";

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

fn numbers(versions: &[Version]) -> Vec<i64> {
    versions.iter().map(|version| version.number).collect()
}

#[tokio::test]
async fn a_deleted_model_is_answered_but_not_listed_and_takes_nothing_new() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    model_with(&client, "models/other", 1).await;
    let deleted = client.delete_model(MODEL).await.unwrap();
    assert!(deleted.delete_time.is_some());
    assert_eq!(client.get_model(MODEL).await.unwrap(), deleted);
    let names = async |show: bool| -> Vec<String> {
        let listed = client.list_models().show_deleted(show).await.unwrap().models;
        listed.into_iter().map(|model| model.name.rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(false).await, ["other"]);
    assert_eq!(names(true).await, ["fraud", "other"]);

    let (code, reason) = (Code::FailedPrecondition, ErrorReason::ResourceDeleted);
    refused(&server, client.create_version(MODEL), code, reason).await;
    refused(&server, client.transition_stage(version(1), Stage::Production), code, reason).await;
    refused(&server, client.rollback(MODEL), code, reason).await;
    refused(&server, client.set_alias(MODEL, "a", "1"), code, reason).await;
    refused(&server, client.update_model(deleted.clone()), code, reason).await;
    refused(&server, client.delete_model(MODEL), code, reason).await;
    refused(&server, client.delete_version(version(1)), code, reason).await;
    refused(&server, client.prune_versions(MODEL, 1), code, reason).await;
    refused(&server, client.upload(version(1), "a.log", b"x".to_vec()), code, reason).await;
}

#[tokio::test]
async fn a_model_in_use_is_deleted_by_force_only() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    client.transition_stage(version(1), Stage::Production).await.unwrap();
    client.set_alias(MODEL, "champion", "2").await.unwrap();
    let before = client.get_model(MODEL).await.unwrap();
    let protected = client.delete_model(MODEL);
    refused(&server, protected, Code::FailedPrecondition, ErrorReason::ResourceProtected).await;
    let stale = client.delete_model(MODEL).force(true).etag("nonsense");
    refused(&server, stale, Code::Aborted, ErrorReason::EtagMismatch).await;
    unchanged(&server, client.delete_model(MODEL).force(true).validate_only(true)).await.unwrap();

    client.delete_model(MODEL).force(true).etag(&before.etag).await.unwrap();
    let back = client.undelete_model(MODEL).await.unwrap();
    assert_eq!((back.delete_time, back.version_count, back.aliases.len()), (None, 2, 0));
    let again = client.undelete_model(MODEL);
    refused(&server, again, Code::FailedPrecondition, ErrorReason::ResourceNotDeleted).await;
    assert_eq!(ready(&client, MODEL).await.number, 3);
}

#[tokio::test]
async fn who_serves_a_version_hears_that_its_model_is_deleted() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 4).await;
    for (number, stage) in [(1, Stage::Production), (2, Stage::Staging), (3, Stage::Staging), (4, Stage::Archived)] {
        client.transition_stage(version(number), stage).await.unwrap();
    }
    client.set_alias(MODEL, "champion", "4").await.unwrap();
    client.set_alias(MODEL, "rival", "1").await.unwrap();
    let deleted = client.delete_model(MODEL).force(true).await.unwrap();
    let log = events(&client).await;
    let log = log.iter().filter(|event| event.revision == deleted.revision);
    let told: Vec<_> = log
        .map(|event| {
            let change = event.stage_change.map(|change| (change.from_stage(), change.to_stage(), change.cause()));
            (event.r#type.as_str(), event.resource_name.trim_start_matches("namespaces/default/"), change)
        })
        .collect();
    let left = |number: usize, from: Stage| {
        let names = ["models/fraud/versions/1", "models/fraud/versions/2", "models/fraud/versions/3"];
        let change = Some((from, Stage::Archived, StageChangeCause::Deleted));
        (event_type::VERSION_STAGE_TRANSITIONED, names[number - 1], change)
    };
    let expected = [
        (event_type::ALIAS_DELETED, MODEL, None),
        left(3, Stage::Staging),
        left(2, Stage::Staging),
        left(1, Stage::Production),
        (event_type::MODEL_DELETED, MODEL, None),
    ];
    assert_eq!(told, expected);
    assert_eq!((deleted.version_count, deleted.aliases.len(), deleted.stages.len()), (4, 0, 1));

    // What comes back promotes nothing; a rollback does.
    let back = client.undelete_model(MODEL).await.unwrap();
    assert_eq!((back.version_count, back.stages[0].stage(), back.stages[0].version_count), (4, Stage::Archived, 4));
    let production = client.get_version("models/fraud@production");
    refused(&server, production, Code::NotFound, ErrorReason::ResourceNotFound).await;
    assert_eq!(client.rollback(MODEL).await.unwrap().version.unwrap().number, 1);
    assert_eq!(client.get_version("models/fraud@production").await.unwrap().number, 1);

    // Where nobody serves anything, there is nothing else to tell.
    model_with(&client, "models/quiet", 1).await;
    let deleted = client.delete_model("models/quiet").await.unwrap();
    let log = events(&client).await;
    assert_eq!(log.iter().filter(|event| event.revision == deleted.revision).count(), 1);
}

#[tokio::test]
async fn a_deleted_version_is_not_the_latest_and_not_listed() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    let latest = async || client.get_version("models/fraud@latest").await.unwrap().number;
    let deleted = client.delete_version(version(3)).await.unwrap();
    assert_eq!((deleted.stage(), deleted.delete_time.is_some()), (Stage::Archived, true));
    assert_eq!(latest().await, 2);
    let model = client.get_model(MODEL).await.unwrap();
    assert_eq!((model.version_count, model.latest_version.as_str()), (2, "namespaces/default/models/fraud/versions/2"));
    assert_eq!(numbers(&client.list_versions(MODEL).await.unwrap().versions), [1, 2]);
    assert_eq!(numbers(&client.list_versions(MODEL).show_deleted(true).await.unwrap().versions), [1, 2, 3]);
    assert_eq!(client.get_version(version(3)).await.unwrap(), deleted);
    let promote = client.transition_stage(version(3), Stage::Production);
    refused(&server, promote, Code::FailedPrecondition, ErrorReason::ResourceDeleted).await;
    let again = client.delete_version(version(3));
    refused(&server, again, Code::FailedPrecondition, ErrorReason::ResourceDeleted).await;
    assert_eq!(ready(&client, MODEL).await.number, 4, "a number is never used again");

    client.delete_version(version(4)).await.unwrap();
    let back = client.undelete_version(version(3)).await.unwrap();
    assert_eq!((back.stage(), back.delete_time), (Stage::Archived, None));
    assert_eq!(latest().await, 3);
    let again = client.undelete_version(version(3));
    refused(&server, again, Code::FailedPrecondition, ErrorReason::ResourceNotDeleted).await;
}

#[tokio::test]
async fn a_version_that_came_to_nothing_gives_its_id_up_to_a_new_one() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 0).await;
    let with_id = || client.create_version(MODEL).version_id("1.4.0");
    let taken = async || refused(&server, with_id(), Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    with_id().await.unwrap();
    taken().await;
    client.finalize_version(version(1)).failed("disk full").await.unwrap();
    // By the name that it has, it may be what the new one is derived from.
    let derived = with_id().base_versions(["models/fraud/versions/1.4.0"]).validate_only(true).await.unwrap();
    assert_eq!(derived.base_versions, ["namespaces/default/models/fraud/versions/1"]);
    // As long as nobody wants it, it leads to the version that failed.
    assert_eq!(client.get_version("models/fraud/versions/1.4.0").await.unwrap().number, 1);
    assert_eq!(with_id().finalize(true).await.unwrap().number, 2);
    assert_eq!(client.get_version("models/fraud/versions/1.4.0").await.unwrap().number, 2);
    assert_eq!(client.get_version(version(1)).await.unwrap().version_id, "");
    taken().await;
    client.delete_version(version(2)).await.unwrap();
    taken().await;
    client.purge_version(version(2)).await.unwrap();
    assert_eq!(with_id().await.unwrap().number, 3);
    let log = events(&client).await;
    let types: Vec<_> = log.iter().rev().take(2).map(|event| event.r#type.as_str()).collect();
    assert_eq!(types, [event_type::VERSION_CREATED, event_type::VERSION_UPDATED]);
}

#[tokio::test]
async fn the_id_of_a_deleted_version_stays_taken_and_leads_to_it() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 0).await;
    client.create_version(MODEL).version_id("1.4.0").await.unwrap();
    client.delete_version("models/fraud/versions/1.4.0").await.unwrap();
    assert!(client.get_version("models/fraud/versions/1.4.0").await.unwrap().delete_time.is_some());
    let again = client.create_version(MODEL).version_id("1.4.0");
    refused(&server, again, Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
}

#[tokio::test]
async fn a_version_in_use_goes_only_by_force_and_in_one_revision() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    client.transition_stage(version(1), Stage::Production).await.unwrap();
    client.set_alias(MODEL, "champion", "2").await.unwrap();
    for number in [1, 2] {
        let error = refused(
            &server,
            client.delete_version(version(number)),
            Code::FailedPrecondition,
            ErrorReason::ResourceProtected,
        );
        assert!(error.await.is_failed_precondition());
    }
    client.set_alias(MODEL, "champion", "1").await.unwrap();
    let head = events(&client).await.last().unwrap().revision;

    let deleted = client.delete_version(version(1)).force(true).await.unwrap();
    assert_eq!((deleted.stage(), deleted.stage_revision), (Stage::Archived, head + 1));
    let logged: Vec<_> = events(&client).await.into_iter().filter(|event| event.revision > head).collect();
    assert!(logged.iter().all(|event| event.revision == head + 1));
    let mut types: Vec<_> = logged.iter().map(|event| event.r#type.as_str()).collect();
    types.sort();
    assert_eq!(types, [event_type::ALIAS_DELETED, event_type::VERSION_DELETED, event_type::VERSION_STAGE_TRANSITIONED]);
    let change = logged.iter().find_map(|event| event.stage_change).unwrap();
    assert_eq!((change.to_stage(), change.cause()), (Stage::Archived, StageChangeCause::Deleted));
    let model = client.get_model(MODEL).await.unwrap();
    assert!(model.aliases.is_empty() && model.stages.is_empty(), "{model:?}");

    let back = client.undelete_version(version(1)).await.unwrap();
    assert_eq!(back.stage(), Stage::Archived, "a deletion's undoing does not promote");
    let production = client.get_version("models/fraud@production");
    refused(&server, production, Code::NotFound, ErrorReason::ResourceNotFound).await;
}

#[tokio::test]
async fn a_version_is_deleted_only_in_the_state_that_the_etag_names() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = model_with(&client, MODEL, 1).await.remove(0);
    let stale = client.delete_version(version(1)).etag("nonsense");
    assert!(refused(&server, stale, Code::Aborted, ErrorReason::EtagMismatch).await.is_conflict());
    let dry = unchanged(&server, client.delete_version(version(1)).validate_only(true)).await.unwrap();
    assert!(dry.delete_time.is_some());
    let deleted = client.delete_version(version(1)).etag(&made.etag).await.unwrap();
    let stale = client.undelete_version(version(1)).etag(&made.etag);
    refused(&server, stale, Code::Aborted, ErrorReason::EtagMismatch).await;
    client.undelete_version(version(1)).etag(&deleted.etag).await.unwrap();
}

#[tokio::test]
async fn a_deletion_tells_of_the_stage_that_the_version_left() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = model_with(&client, MODEL, 2).await;
    let deleted = client.delete_version(&made[0].name).await.unwrap();
    assert_eq!((deleted.stage(), deleted.stage_revision), (Stage::Archived, deleted.revision));
    assert_eq!(deleted.stage_time, deleted.delete_time);
    let event = events_of(&client, &made[0].name).await.pop().unwrap();
    let change = event.stage_change.unwrap();
    let (from, to) = (change.from_stage(), change.to_stage());
    assert_eq!((from, to, change.cause()), (Stage::Development, Stage::Archived, StageChangeCause::Deleted));
    // One that is there already changes no stage.
    client.transition_stage(&made[1].name, Stage::Archived).await.unwrap();
    let archived = client.get_version(&made[1].name).await.unwrap();
    let deleted = client.delete_version(&made[1].name).await.unwrap();
    assert_eq!(deleted.stage_revision, archived.stage_revision);
    let event = events_of(&client, &made[1].name).await.pop().unwrap();
    assert_eq!(event.stage_change, None);
}
