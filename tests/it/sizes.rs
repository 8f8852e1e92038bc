//! What is committed can be read by whoever takes messages of 4 MiB at most, as gRPC's clients do unless they are told otherwise.

use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::watch_events_request::Start;
use registry_client::pb::watch_events_response::Response;
use registry_client::pb::{ErrorReason, Event, ListEventsRequest, Stage, WatchEventsRequest};
use registry_tests::expect::refused;
use registry_tests::{TestServer, events, model, model_with, ready, soon};
use tonic::Code;

const MODEL: &str = "models/fraud";
/// Of a text that, with what stands around it, is about as large as a version may be.
const LARGE: usize = 760 * 1024;

async fn large_version(client: &RegistryClient) -> String {
    client.create_version(MODEL).model_param("trees", "x".repeat(LARGE)).finalize(true).await.unwrap().name
}

/// The log, read in pages and by a watch, by a client that has only the limits of its library.
async fn read_by_anybody(server: &TestServer) -> Vec<Event> {
    let mut client = EventServiceClient::new(server.channel());
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListEventsRequest { page_size: 1000, page_token: token, ..Default::default() };
        let page = client.list_events(request).await.unwrap().into_inner();
        listed.extend(page.events);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let request = WatchEventsRequest { start: Some(Start::AfterRevision(0)), ..Default::default() };
    let mut watch = client.watch_events(request).await.unwrap().into_inner();
    let mut watched = Vec::new();
    while watched.len() < listed.len() {
        if let Some(Response::Events(events)) = soon(watch.message()).await.unwrap().unwrap().response {
            watched.extend(events.events);
        }
    }
    assert_eq!(watched, listed);
    listed
}

#[tokio::test]
async fn versions_as_large_as_they_may_be_are_pruned_in_revisions_that_everybody_can_read() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for _ in 0..8 {
        large_version(&client).await;
    }
    let mut pruned = Vec::new();
    loop {
        let response = client.prune_versions(MODEL, 1).await.unwrap();
        assert!(!response.versions.is_empty());
        pruned.push(response.versions.len());
        if !response.more {
            break;
        }
    }
    assert_eq!(pruned.iter().sum::<usize>(), 7);
    assert!(pruned.len() > 1, "{pruned:?}");
    let log = read_by_anybody(&server).await;
    let deleted = log.iter().filter(|event| event.r#type == event_type::VERSION_DELETED).count();
    assert_eq!(deleted, 7);
}

#[tokio::test]
async fn a_large_version_can_go_every_way() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let version = large_version(&client).await;
    client.transition_stage(&version, Stage::Production).await.unwrap();
    client.set_alias(MODEL, "champion", &version).await.unwrap();
    client.delete_model(MODEL).force(true).await.unwrap();
    client.purge_version(&version).await.unwrap();
    let log = read_by_anybody(&server).await;
    let types: Vec<_> = log.iter().map(|event| event.r#type.as_str()).collect();
    let stages = event_type::VERSION_STAGE_TRANSITIONED;
    let deleted = [event_type::ALIAS_DELETED, stages, event_type::MODEL_DELETED];
    assert!(types.ends_with(&[&deleted[..], &[event_type::VERSION_DELETED, event_type::VERSION_PURGED]].concat()));
    assert_eq!(log[log.len() - 4].changed_fields, ["stage", "stage_time", "stage_revision"]);
}

#[tokio::test]
async fn a_model_whose_versions_are_too_much_for_a_revision_says_which() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for _ in 0..4 {
        let version = large_version(&client).await;
        client.transition_stage(&version, Stage::Staging).await.unwrap();
    }
    let delete = client.delete_model(MODEL);
    let error = refused(&server, delete, Code::ResourceExhausted, ErrorReason::MessageTooLarge).await.to_string();
    assert!(error.contains("4 versions are in staging") && error.contains("archive them before"), "{error}");
    client.transition_stage("models/fraud/versions/1", Stage::Archived).await.unwrap();
    client.delete_model(MODEL).await.unwrap();
    read_by_anybody(&server).await;
}

#[tokio::test]
async fn a_version_loses_as_many_aliases_as_there_may_be_at_once() {
    let server = TestServer::start().await;
    let client = server.client();
    let text = "x".repeat(64 * 1024);
    let model = client.create_model(MODEL).description(&text).purpose(&text).annotation("a", &text[1..]).await.unwrap();
    let version = ready(&client, MODEL).await;
    for number in 0..100 {
        client.set_alias(MODEL, format!("alias-{number:03}"), "1").await.unwrap();
    }
    let one_more = client.set_alias(MODEL, "one-more", "1");
    refused(&server, one_more, Code::ResourceExhausted, ErrorReason::MessageTooLarge).await;
    client.set_alias(MODEL, "alias-000", "1").await.unwrap();

    client.delete_version(&version.name).force(true).await.unwrap();
    assert!(client.get_model(MODEL).await.unwrap().aliases.is_empty());
    let log = read_by_anybody(&server).await;
    let gone: Vec<_> = log.iter().filter(|event| event.r#type == event_type::ALIAS_DELETED).collect();
    assert_eq!((gone.len(), gone[0].alias_changes.len(), gone[0].resource_name.as_str()), (1, 100, &*model.name));
    assert_eq!(gone[0].changed_fields, ["aliases"]);
}

#[tokio::test]
async fn a_model_is_bounded_in_all() {
    let server = TestServer::start().await;
    let client = server.client();
    let mut call = client.create_model(MODEL);
    for number in 0..4_000 {
        call = call.metric_direction(format!("{number:0>120}"), Default::default());
    }
    let refusal = refused(&server, call, Code::InvalidArgument, ErrorReason::FieldInvalid).await;
    assert_eq!(refusal.violations()[0].field, "model");
    model_with(&client, MODEL, 1).await;
    assert_eq!(events(&client).await.len(), 3);
}
