//! What a server says of itself.

use std::time::SystemTime;

use registry_client::pb;
use registry_tests::store::embedded;
use registry_tests::{PATIENCE, TestServer, model, until};

#[tokio::test]
async fn a_server_says_what_it_is_and_how_far() {
    let archive = tempfile::tempdir().unwrap();
    let place = archive.path().to_str().unwrap().to_owned();
    let began = SystemTime::now();
    let server = TestServer::with(move |config| config.archive = Some(place.clone())).await;
    let client = server.client();
    let empty = client.status().await.unwrap();
    assert_eq!((empty.revision, empty.hash.as_ref()), (0, [0; 32].as_slice()));
    model(&client, "models/fraud").await;

    let status = client.status().await.unwrap();
    assert_eq!(status.server_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.registry_id, empty.registry_id);
    assert!(uuid::Uuid::try_parse(&status.registry_id).is_ok_and(|id| !id.is_nil()), "{status:?}");
    let store = if embedded() { pb::StoreType::Sled } else { pb::StoreType::Postgresql };
    assert_eq!(status.store(), store);
    assert!(status.serving && !status.encrypted, "{status:?}");
    let events: Vec<pb::Event> = client.list_events().stream().try_collect().await.unwrap();
    let newest = events.last().unwrap();
    assert_eq!((status.revision, status.hash), (newest.revision, newest.hash.clone()));
    let (start, now) = (time(status.start_time), time(status.server_time));
    assert!(began <= start && start <= now && now <= SystemTime::now());

    let archived = async || client.status().await.unwrap().archive.unwrap();
    assert_eq!(archived().await.place(), pb::PlaceType::Folder);
    until(PATIENCE, async || (archived().await.revision == newest.revision).then_some(())).await;
}

fn time(time: Option<prost_types::Timestamp>) -> SystemTime {
    time.unwrap().try_into().unwrap()
}
