//! Giving up deleted models, whose names are free then.

use std::time::Duration;

use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::{ErrorReason, Model, Stage, Version};
use registry_server::config::Period;
use registry_tests::expect::{refused, unchanged};
use registry_tests::restore::verified;
use registry_tests::{TestServer, events, events_of, model, model_with, pending, ready};
use tonic::Code;
use uuid::Uuid;

const MODEL: &str = "models/fraud";

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

/// A deleted model that has had something of everything: 1 is in production, 2 deleted, 3 purged, 4 pending and with a file.
async fn deleted_model(client: &RegistryClient) -> Model {
    client.create_model(MODEL).owner("ada").tag("tier", "1").await.unwrap();
    client.create_version(MODEL).version_id("1.0.0").finalize(true).await.unwrap();
    for _ in 2..=3 {
        ready(client, MODEL).await;
    }
    let filled = pending(client, MODEL).await.name;
    client.upload(&filled, "model.onnx", b"bytes".to_vec()).await.unwrap();
    client.transition_stage(version(1), Stage::Production).await.unwrap();
    client.set_alias(MODEL, "champion", "1").await.unwrap();
    for number in [2, 3] {
        client.delete_version(version(number)).await.unwrap();
    }
    client.purge_version(version(3)).await.unwrap();
    client.delete_model(MODEL).force(true).await.unwrap()
}

async fn versions(client: &RegistryClient) -> Vec<Version> {
    client.list_versions(MODEL).show_deleted(true).await.unwrap().versions
}

#[tokio::test]
async fn a_purged_model_gives_its_name_to_a_new_one_whose_versions_are_counted_on() {
    let server = TestServer::start().await;
    let client = server.client();
    let deleted = deleted_model(&client).await;
    let purged = client.purge_model(MODEL).etag(&deleted.etag).await.unwrap();
    assert!(purged.purged && purged.delete_time == deleted.delete_time && purged.purge_time != deleted.purge_time);
    assert_eq!((purged.version_count, purged.latest_version.as_str(), purged.stages.len()), (0, "", 0));
    assert_eq!(client.get_model(MODEL).await.unwrap(), purged);
    assert!(versions(&client).await.iter().all(|version| version.purged && version.delete_time.is_some()));
    assert!(client.list_artifacts(version(4)).await.unwrap().artifacts.is_empty());
    let usage = client.list_usage().await.unwrap().namespaces;
    assert_eq!((usage[0].size_bytes, usage[0].artifact_count), (0, 0));
    let last = events(&client).await.pop().unwrap();
    assert_eq!((last.r#type.as_str(), last.revision), (event_type::MODEL_PURGED, purged.revision));
    let (code, gone) = (Code::FailedPrecondition, ErrorReason::ResourcePurged);
    refused(&server, client.undelete_model(MODEL), code, gone).await;
    refused(&server, client.purge_model(MODEL), code, gone).await;
    refused(&server, client.undelete_version(version(2)), code, gone).await;
    refused(&server, client.create_version(MODEL), code, gone).await;

    let made = client.create_model(MODEL).team("risk").await.unwrap();
    assert!(made.uid != purged.uid && made.create_time != purged.create_time && made.delete_time.is_none());
    let (owner, stages, aliases) = (made.owner.as_str(), made.stages.len(), made.aliases.len());
    assert_eq!((owner, stages, aliases, made.tags.len(), made.version_count), ("", 0, 0, 0, 0));
    assert!(!made.purged && made.purge_time.is_none() && made.latest_version.is_empty());
    assert!(client.list_versions(MODEL).await.unwrap().versions.is_empty());
    let latest = client.get_version("models/fraud@latest");
    refused(&server, latest, Code::NotFound, ErrorReason::ResourceNotFound).await;
    // What a name meant, it means for good; an id goes to whoever needs it.
    assert!(client.get_version(version(1)).await.unwrap().purged);
    refused(&server, client.undelete_version(version(1)), code, gone).await;
    let next = client.create_version(MODEL).version_id("1.0.0").finalize(true).await.unwrap();
    assert_eq!((next.number, versions(&client).await.len()), (5, 5));
    assert_eq!(client.get_version("models/fraud/versions/1.0.0").await.unwrap().number, 5);
    // Nobody held a stage of this model before.
    client.transition_stage(version(5), Stage::Production).await.unwrap();
    refused(&server, client.rollback(MODEL), code, ErrorReason::NoPreviousVersion).await;

    let told: Vec<_> = events_of(&client, MODEL).await.into_iter().map(|event| event.r#type).collect();
    assert_eq!(told.iter().filter(|told| *told == event_type::MODEL_CREATED).count(), 2);
    verified(&client).await;
}

#[tokio::test]
async fn only_what_is_deleted_is_purged() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let live = client.purge_model(MODEL);
    refused(&server, live, Code::FailedPrecondition, ErrorReason::ResourceNotDeleted).await;
    refused(&server, client.purge_model("models/typo"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    client.delete_model(MODEL).await.unwrap();
    let stale = client.purge_model(MODEL).etag("nonsense");
    refused(&server, stale, Code::Aborted, ErrorReason::EtagMismatch).await;
    let checked = unchanged(&server, client.purge_model(MODEL).validate_only(true)).await.unwrap();
    assert!(checked.purged && checked.version_count == 0 && checked.revision == 0);

    // Begun, and taken back: what was purged stays so, and the rest is there.
    client.purge_version(version(1)).await.unwrap();
    assert_eq!(client.undelete_model(MODEL).await.unwrap().version_count, 1);
    refused(&server, client.purge_model(MODEL), Code::FailedPrecondition, ErrorReason::ResourceNotDeleted).await;
    client.delete_model(MODEL).await.unwrap();
    client.purge_model(MODEL).await.unwrap();
    assert!(versions(&client).await.iter().all(|version| version.purged));
    verified(&client).await;
}

#[tokio::test]
async fn a_purge_happens_once_whoever_asks_and_whatever_has_the_name_since() {
    let server = TestServer::start().await;
    let client = server.client();
    deleted_model(&client).await;
    let id = Uuid::new_v4();
    let first = client.purge_model(MODEL).request_id(id).await.unwrap();
    let next = model(&client, MODEL).await;
    let again = unchanged(&server, client.purge_model(MODEL).request_id(id)).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(client.get_model(MODEL).await.unwrap(), next);

    client.delete_model(MODEL).await.unwrap();
    let both = tokio::join!(client.purge_model(MODEL).into_future(), client.purge_model(MODEL).into_future());
    let purged = [both.0, both.1].into_iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(purged, 1, "the other one hears that it was done");
    let told = events(&client).await;
    assert_eq!(told.iter().filter(|event| event.r#type == event_type::MODEL_PURGED).count(), 2);
}

#[tokio::test]
async fn a_model_with_many_versions_is_purged_in_small_steps() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 100).await;
    let deleted = client.delete_model(MODEL).await.unwrap();
    let purged = client.purge_model(MODEL).await.unwrap();
    assert_eq!(purged.revision, deleted.revision + 101);
    let log = events(&client).await;
    let mut steps = log.iter().skip_while(|event| event.revision <= deleted.revision);
    assert!(steps.all(|event| event.request_id.is_empty() == (event.r#type != event_type::MODEL_PURGED)));
    assert_eq!(ready_in_a_new_one(&client).await, 101);
}

async fn ready_in_a_new_one(client: &RegistryClient) -> i64 {
    model(client, MODEL).await;
    ready(client, MODEL).await.number
}

#[tokio::test]
async fn a_name_is_free_by_itself_when_its_time_has_come() {
    let server = TestServer::with(|config| config.purge_after = Period(Duration::ZERO)).await;
    let client = server.client();
    deleted_model(&client).await;
    model(&client, "models/typo").await;
    client.delete_model("models/typo").await.unwrap();
    let collect = || client.collect_garbage().grace(Duration::ZERO);
    let dry = unchanged(&server, collect().validate_only(true)).await.unwrap();
    let report = collect().await.unwrap();
    assert_eq!((report.purged_versions, report.purged_models), (3, 2));
    assert_eq!((dry.purged_versions, dry.purged_models), (3, 2));
    let again = unchanged(&server, collect()).await.unwrap();
    assert_eq!((again.purged_versions, again.purged_models), (0, 0));
    model(&client, "models/typo").await;
    assert_eq!(ready_in_a_new_one(&client).await, 5);
    verified(&client).await;
}

#[tokio::test]
async fn a_name_that_something_deleted_has_says_what_frees_it() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let live = client.create_model(MODEL).await.unwrap_err();
    assert!(!live.status().unwrap().metadata.contains_key("deleted") && !live.to_string().contains("Purge"), "{live}");
    client.create_version(MODEL).version_id("1.4.0").await.unwrap();
    client.delete_version(version(1)).await.unwrap();
    let of_version = client.create_version(MODEL).version_id("1.4.0").await.unwrap_err();
    client.delete_model(MODEL).await.unwrap();
    let of_model = client.create_model(MODEL).await.unwrap_err();
    client.create_namespace("risk").await.unwrap();
    client.delete_namespace("risk").await.unwrap();
    let of_namespace = client.create_namespace("risk").await.unwrap_err();
    for (error, undelete, purge) in [
        (of_version, "can be undeleted", Some("purged to free its name")),
        (of_model, "can be undeleted", Some("purged to free its name")),
        (of_namespace, "can be undeleted", None),
    ] {
        assert_eq!(error.reason(), Some(ErrorReason::ResourceAlreadyExists));
        assert_eq!(error.status().unwrap().metadata["deleted"], "true");
        let text = error.to_string();
        assert!(text.contains("exists already: it is deleted") && text.contains(undelete), "{text}");
        assert_eq!(text.contains("purge"), purge.is_some(), "{text}");
        assert!(purge.is_none_or(|purge| text.contains(purge)), "{text}");
    }
    // A namespace may go when what is in it is deleted or purged.
    model_with(&client, "namespaces/play/models/fraud", 1).await;
    client.delete_model("namespaces/play/models/fraud").await.unwrap();
    client.purge_model("namespaces/play/models/fraud").await.unwrap();
    client.delete_namespace("play").await.unwrap();
}
