//! What can't be loaded, and a registry that goes away.

use std::time::Duration;

use registry_client::{FollowState, RegistryClient};
use registry_tests::{TestServer, soon};

use super::{MODEL, PRODUCTION, becomes, follow, follower, publish, release, serves};

/// A client that does not wait for the registry.
fn impatient(server: &TestServer) -> RegistryClient {
    RegistryClient::builder(server.endpoint()).retry_for(Duration::ZERO).connect_lazy().unwrap()
}

#[tokio::test]
async fn a_model_that_is_no_good_is_never_served() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let good = release(&client, MODEL, "good").await;
    let followed = follow(&client, PRODUCTION, &cache).await;
    for (text, problem) in [("broken", "is broken"), ("bomb", "panicked: the model went off"), ("wrong", "is wrong")] {
        let bad = release(&client, MODEL, text).await;
        let status = becomes(&followed, |status| status.desired == [bad.name.clone()] && status.error.is_some()).await;
        assert_eq!((status.state, &status.serving), (FollowState::Failed, &vec![good.name.clone()]));
        assert!(status.is_stale());
        let error = status.error.unwrap();
        assert!(error.contains(problem) && error.contains(&bad.name), "{error}");
        assert_eq!(followed.current().model, "good");
    }
    // A start has the last good one from the cache, if there is one.
    let again = follow(&client, PRODUCTION, &cache).await;
    assert_eq!(again.current().model, "good");
    assert_eq!(again.status().state, FollowState::Failed);
    let empty = tempfile::tempdir().unwrap();
    let error = soon(follower(&client, PRODUCTION, &empty).start()).await.unwrap_err();
    assert!(matches!(error, registry_client::Error::Load { .. }), "{error}");

    let better = release(&client, MODEL, "better").await;
    serves(&followed, &[&better]).await;
    serves(&again, &[&better]).await;
}

#[tokio::test]
async fn what_failed_is_tried_again() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    release(&client, MODEL, "one").await;
    let attempts = std::sync::atomic::AtomicUsize::new(0);
    let follower = client.follow(PRODUCTION).load(move |folder, version| {
        // The first attempt at the second version.
        let fails = version.number == 2 && attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        if fails { Err("no memory".to_owned()) } else { super::load(folder) }
    });
    let followed = soon(follower.cache(cache.path()).start()).await.unwrap();
    let mut statuses = followed.statuses();
    let second = release(&client, MODEL, "two").await;
    soon(statuses.wait_for(|status| status.state == FollowState::Failed)).await.unwrap();
    serves(&followed, &[&second]).await;
}

#[tokio::test]
async fn a_registry_that_is_away_is_sat_out() {
    let (mut server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let first = release(&client, MODEL, "one").await;
    let second = publish(&client, MODEL, "two").await;
    let followed = follow(&client, PRODUCTION, &cache).await;
    serves(&followed, &[&first]).await;
    server.stop().await;
    let status = becomes(&followed, |status| !status.connected).await;
    assert!(status.is_stale() && status.age().is_some());
    assert_eq!(followed.current().model, "one");
    server.start_again().await;
    becomes(&followed, |status| status.connected).await;
    client.promote(&second.name).await.unwrap();
    serves(&followed, &[&second]).await;
    assert!(!followed.status().is_stale());
}

#[tokio::test]
async fn without_the_registry_a_start_has_what_was_served_last() {
    let (mut server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let first = release(&client, MODEL, "one").await;
    serves(&follow(&client, PRODUCTION, &cache).await, &[&first]).await;
    server.stop().await;

    let client = impatient(&server);
    let followed = follow(&client, PRODUCTION, &cache).await;
    assert_eq!((&*followed.current().model, &followed.current().version().name), ("one", &first.name));
    let status = followed.status();
    assert!(status.is_stale() && !status.connected && status.age().is_some(), "{status:?}");
    assert_eq!((status.desired.len(), status.serving), (0, vec![first.name.clone()]));
    // What this cache does not have, or has of another registry.
    let error = soon(follower(&client, "fraud@staging", &cache).start()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let other = RegistryClient::builder("http://127.0.0.1:1").retry_for(Duration::ZERO).connect_lazy().unwrap();
    let error = soon(follower(&other, PRODUCTION, &cache).start()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let waiting = tokio::spawn(follower(&client, "fraud/versions/1", &cache).wait(true).start());

    server.start_again().await;
    serves(&followed, &[&first]).await;
    serves(&soon(waiting).await.unwrap().unwrap(), &[&first]).await;
    let second = release(&server.client(), MODEL, "two").await;
    serves(&followed, &[&second]).await;
}
