//! The registry of a test, from a test.

use std::time::Duration;

use registry_client::WatchItem;
use registry_client::pb::ErrorReason;
use registry_testing::Registry;
use tokio::time::timeout;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("this takes too long")
}

#[tokio::test]
async fn its_rules_are_those_of_the_service() {
    let registry = Registry::start().await.unwrap();
    let client = registry.client();
    client.create_model("fraud").await.unwrap();
    let error = client.create_model("fraud").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ResourceAlreadyExists));
    let pending = client.create_version("fraud").await.unwrap();
    assert!(client.promote(&pending.name).await.unwrap_err().is_failed_precondition());
    let events = client.list_events().await.unwrap().events;
    assert!(events.iter().all(|event| event.actor == "test"), "{events:?}");
}

#[tokio::test]
async fn each_is_a_registry_of_its_own() {
    let (one, other) = (Registry::start().await.unwrap(), Registry::start().await.unwrap());
    one.client().create_model("fraud").await.unwrap();
    assert!(other.client().get_model("fraud").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn files_go_there_and_back() {
    let (registry, folder) = (Registry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let bytes: Vec<_> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out/model.bin"), &bytes).unwrap();
    let client = registry.client();
    client.create_model("fraud").await.unwrap();
    let version = client.publish(folder.path().join("out"), "fraud").await.unwrap();
    client.pull(&version.name, folder.path().join("in")).await.unwrap();
    assert!(std::fs::read(folder.path().join("in/model.bin")).unwrap() == bytes);
}

#[tokio::test]
async fn an_outage_is_one_for_calls_watches_and_followers() {
    let (registry, cache) = (Registry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let client = registry.client();
    client.create_model("fraud").await.unwrap();
    let version = client.create_version("fraud").finalize(true).await.unwrap();
    client.promote(&version.name).await.unwrap();
    let followed = client.follow("fraud@production").load(|_, version| Ok::<_, String>(version.number));
    let followed = soon(followed.cache(cache.path()).start()).await.unwrap();
    // The follower's reports are events as well.
    let mut watch = client.watch().types(["version.created"]).stream();
    assert!(matches!(soon(watch.try_next()).await.unwrap(), Some(WatchItem::Created { .. })));
    let mut statuses = followed.statuses();
    soon(statuses.wait_for(|status| status.connected)).await.unwrap();

    registry.pause().await;
    while !matches!(soon(watch.try_next()).await.unwrap(), Some(WatchItem::Disconnected { .. })) {}
    soon(statuses.wait_for(|status| !status.connected)).await.unwrap();
    assert_eq!(followed.current().model, 1);
    let impatient = registry.builder().retry_for(Duration::ZERO).connect_lazy().unwrap();
    assert!(impatient.get_model("fraud").await.unwrap_err().is_unavailable());
    // A call that is patient is made when it is back, once.
    let made = tokio::spawn(async move { client.create_version("fraud").finalize(true).await });
    registry.resume().await;
    let made = soon(made).await.unwrap().unwrap();
    assert_eq!(made.number, 2);
    impatient.promote(&made.name).await.unwrap();
    soon(statuses.wait_for(|status| status.connected && status.serving == [made.name.clone()])).await.unwrap();
    assert_eq!(followed.current().model, 2);
    let resumed = loop {
        match soon(watch.try_next()).await.unwrap().unwrap() {
            WatchItem::Resumed { .. } | WatchItem::Bookmark { .. } => {}
            WatchItem::Events { events, .. } => break events,
            item => panic!("{item:?}"),
        }
    };
    assert_eq!(resumed[0].resource_name, made.name);
}
