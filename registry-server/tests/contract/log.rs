//! All that a registry tells, as clients with the limits that all have read it.

use prost::Message as _;
use prost_reflect::DynamicMessage;
use registry_proto::v1::event_service_client::EventServiceClient;
use registry_proto::v1::{Event, ListEventsRequest};
use registry_server::backup::restore::{Until, restore};
use registry_server::backup::verify::verify;
use registry_server::config::{Config, Memory};
use registry_server::stores::Stores;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataMap;

use crate::descriptors::{self, get};
use crate::server::TestServer;

/// The largest message that clients take unless they are told otherwise.
const MESSAGE: usize = 4 * 1024 * 1024;

/// Whatever was written, everything can be listed, watched, printed, verified, backed up and restored.
pub(crate) async fn everything_is_readable(server: &TestServer) {
    log_is_readable(server).await;
    let events = pages(server, "ListEvents", json!({})).await;
    let watched = answers(server, "WatchEvents", json!({ "afterRevision": 0 })).await;
    let watched = watched.iter().filter_map(|message| message["events"]["events"].as_array());
    assert_eq!(watched.map(Vec::len).sum::<usize>(), events.len(), "a watch has what the list has");
    answers(server, "WatchEvents", json!({ "snapshot": {} })).await;
    pages(server, "ListUsage", json!({})).await;
    for namespace in pages(server, "ListNamespaces", json!({ "showDeleted": true })).await {
        let namespace = namespace["name"].as_str().expect("a name");
        pages(server, "ListModels", json!({ "parent": namespace, "showDeleted": true })).await;
        pages(server, "ListPolicies", json!({ "parent": namespace })).await;
        pages(server, "ListInstances", json!({ "parent": format!("{namespace}/models/-") })).await;
        let all = json!({ "parent": format!("{namespace}/models/-"), "showDeleted": true });
        for version in pages(server, "ListVersions", all).await {
            pages(server, "ListArtifacts", json!({ "parent": version["name"] })).await;
        }
    }
    can_be_restored(server).await;
}

/// A message as people and scripts read it.
fn printed(message: &DynamicMessage) -> Json {
    assert!(message.encoded_len() <= MESSAGE, "{} bytes", message.encoded_len());
    serde_json::to_value(message).expect("a message that JSON can say")
}

async fn answers(server: &TestServer, name: &str, request: Json) -> Vec<Json> {
    let method = descriptors::method(name);
    let answers = server.call(&method, descriptors::request(&method, &request), MetadataMap::new()).await;
    answers.unwrap_or_else(|status| panic!("{name}: {status:?}")).iter().map(printed).collect()
}

/// The items of a list, page after page.
async fn pages(server: &TestServer, name: &str, mut request: Json) -> Vec<Json> {
    let mut items = Vec::new();
    request["pageSize"] = json!(1000);
    loop {
        let page = printed(&server.ok(name, request.clone()).await);
        let Json::Object(fields) = page else { panic!("{name} answers an object") };
        let next = fields.get("nextPageToken").cloned();
        items.extend(fields.into_iter().filter_map(|(_, value)| value.as_array().cloned()).flatten());
        let Some(next) = next else { return items };
        request["pageToken"] = next;
    }
}

/// A backup makes the same registry elsewhere.
async fn can_be_restored(server: &TestServer) {
    let backup = descriptors::method("Backup");
    let messages = server.call(&backup, descriptors::request(&backup, &json!({})), MetadataMap::new()).await;
    let data =
        messages.expect("a backup").into_iter().filter_map(|message| Some(get(&message, "data")?.as_bytes()?.to_vec()));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup");
    std::fs::write(&file, data.collect::<Vec<_>>().concat()).expect("a file");
    let config = Config { storage_path: folder.path().join("storage"), cache: Memory::of_mib(16), ..Config::default() };
    let stores = Stores::open(&config).await.expect("stores");
    let from = file.to_str().expect("a path");
    let restored = restore(&*stores.store, &stores.chunks, from, Until::End, |_| {}).await.expect("a restore");
    assert_eq!((restored.revision.cast_signed(), restored.lost), (server.head().await, Vec::new()));
    let report = verify(&*stores.store, &stores.chunks, None, false, |_| {}).await.expect("a verification");
    assert_eq!(report.problem_count, 0, "{report:?}");
}

/// Reads all events with the generated client, which takes messages of 4 MiB at most, and expects that they come out of it as
/// they went in, and that the registry finds nothing wrong with itself.
async fn log_is_readable(server: &TestServer) {
    let mut client = EventServiceClient::new(server.channel.clone());
    let mut request = ListEventsRequest { page_size: 1000, ..Default::default() };
    let (mut hash, mut revision) = (vec![0; 32], 0);
    loop {
        let page = client.list_events(request.clone()).await.expect("a page of events").into_inner();
        for event in page.events {
            assert!((revision..=revision + 1).contains(&event.revision), "{} after {revision}", event.name);
            revision = event.revision;
            // The hash covers the bytes as they were written.
            let bytes = Event { hash: Default::default(), ..event.clone() }.encode_to_vec();
            hash = Sha256::digest([hash, bytes].concat()).to_vec();
            assert_eq!(event.hash, hash, "{} can't be written as it was", event.name);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let verified = server.ok("Verify", json!({})).await;
    let report = get(&verified, "report").expect("a report");
    let problems = report.as_message().and_then(|report| get(report, "problem_count")?.as_i64());
    assert_eq!(problems, Some(0), "{report:?}");
}
