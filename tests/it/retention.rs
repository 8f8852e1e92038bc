//! Pruning.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use registry_client::known::event_type;
use registry_client::pb::{ErrorReason, PruneVersionsRequest, Stage, Version, VersionState};
use registry_tests::expect::{invalid, unchanged};
use registry_tests::{TestServer, events, model, pending, ready};

const MODEL: &str = "models/fraud";

fn numbers(versions: &[Version]) -> Vec<i64> {
    versions.iter().map(|version| version.number).collect()
}

#[tokio::test]
async fn what_is_in_use_or_new_is_kept() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for number in 1..=9 {
        if number == 3 {
            pending(&client, MODEL).await
        } else {
            ready(&client, MODEL).await
        };
    }
    client.transition_stage("models/fraud/versions/1", Stage::Production).await.unwrap();
    client.set_alias(MODEL, "champion", "2").await.unwrap();
    client.transition_stage("models/fraud/versions/4", Stage::Staging).await.unwrap();
    client.delete_version("models/fraud/versions/6").await.unwrap();

    let dry = unchanged(&server, client.prune_versions(MODEL, 2).validate_only(true)).await.unwrap();
    assert_eq!((numbers(&dry.versions), dry.revision), (vec![5, 7], 0));
    assert_eq!(numbers(&client.list_versions(MODEL).await.unwrap().versions), [1, 2, 3, 4, 5, 7, 8, 9]);

    let pruned = client.prune_versions(MODEL, 2).await.unwrap();
    assert_eq!((numbers(&pruned.versions), pruned.more), (vec![5, 7], false));
    assert!(pruned.versions.iter().all(|version| version.delete_time.is_some()));
    assert_eq!(numbers(&client.list_versions(MODEL).await.unwrap().versions), [1, 2, 3, 4, 8, 9]);
    let log = events(&client).await;
    let deleted = log.iter().filter(|event| event.revision == pruned.revision);
    assert_eq!(deleted.map(|event| event.r#type.as_str()).collect::<Vec<_>>(), [event_type::VERSION_DELETED; 2]);

    let again = unchanged(&server, client.prune_versions(MODEL, 2)).await.unwrap();
    assert_eq!((again.versions.len(), again.more), (0, false));
}

/// What a publisher left that was killed, and never came back.
#[tokio::test]
async fn versions_that_nobody_fills_any_more_go_when_that_is_asked_for() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let left = pending(&client, MODEL).await;
    client.upload(&left.name, "notes.txt", b"half".to_vec()).await.unwrap();
    pending(&client, MODEL).await;
    for _ in 3..=4 {
        ready(&client, MODEL).await;
    }
    let hour = Duration::from_secs(3600);
    let pruned = unchanged(&server, client.prune_versions(MODEL, 2).pending_older_than(hour)).await.unwrap();
    assert!(pruned.versions.is_empty(), "{pruned:?}");
    let pruned = client.prune_versions(MODEL, 2).pending_older_than(Duration::ZERO).await.unwrap();
    assert_eq!(numbers(&pruned.versions), [1, 2]);
    assert!(pruned.versions.iter().all(|version| version.state() == VersionState::Pending));
    // The newest stay, whatever their state.
    pending(&client, MODEL).await;
    let pruned = client.prune_versions(MODEL, 1).pending_older_than(Duration::ZERO).await.unwrap();
    assert_eq!(numbers(&pruned.versions), [3, 4]);
    let wrong = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let prune =
        PruneVersionsRequest { parent: MODEL.to_owned(), keep: 1, pending_older_than: wrong, ..Default::default() };
    invalid(&server, client.call(prune), &[("pending_older_than", ErrorReason::FieldInvalid)]).await;
}

#[tokio::test]
async fn a_hundred_go_at_once_and_the_rest_when_asked_again() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    stream::iter(0..120).for_each_concurrent(32, |_| async { drop(ready(&client, MODEL).await) }).await;
    let first = client.prune_versions(MODEL, 5).await.unwrap();
    assert_eq!(numbers(&first.versions), (1..=100).collect::<Vec<_>>());
    assert!(first.more);
    let rest = client.prune_versions(MODEL, 5).await.unwrap();
    assert_eq!(numbers(&rest.versions), (101..=115).collect::<Vec<_>>());
    assert!(!rest.more);
    assert_eq!(client.get_model(MODEL).await.unwrap().version_count, 5);
}

#[tokio::test]
async fn at_least_one_version_has_to_stay() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for keep in [0, -1] {
        let prune = client.call(PruneVersionsRequest { parent: MODEL.to_owned(), keep, ..Default::default() });
        invalid(&server, prune, &[("keep", ErrorReason::FieldInvalid)]).await;
    }
}
