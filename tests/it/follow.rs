//! A follower serves the version behind a name, whatever happens to it, to the registry and to the cache.

mod cache;
mod failures;
mod load;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use registry_client::pb::{Stage, TransitionStageRequest, Version};
use registry_client::{Error, FollowState, FollowStatus, Followed, Follower, RegistryClient};
use registry_tests::{TestServer, model, soon, until};
use tempfile::TempDir;

const MODEL: &str = "namespaces/default/models/fraud";
const PRODUCTION: &str = "fraud@production";

/// A new version of a model, which need not be there, whose only file says this.
async fn publish(client: &RegistryClient, model: &str, text: &str) -> Version {
    let made = client.create_model(model).await;
    assert!(made.is_ok() || made.is_err_and(|error| error.is_already_exists()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.txt"), text).unwrap();
    client.publish(folder.path(), model).await.unwrap()
}

/// The same in production.
async fn release(client: &RegistryClient, model: &str, text: &str) -> Version {
    let version = publish(client, model, text).await;
    client.promote(&version.name).await.unwrap();
    version
}

/// What a version's file says; some of that is no good.
fn load(folder: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(folder.join("model.txt")).map_err(|error| error.to_string())?;
    match &*text {
        "broken" => Err("the model is broken".to_owned()),
        "bomb" => panic!("the model went off"),
        _ => Ok(text),
    }
}

fn check(model: &String) -> Result<(), String> {
    if model == "wrong" { Err("the model is wrong".to_owned()) } else { Ok(()) }
}

/// A follower with a cache of its own.
fn follower(client: &RegistryClient, name: &str, cache: &TempDir) -> Follower<String> {
    client.follow(name).load(|folder, _| load(folder)).check(check).cache(cache.path())
}

async fn follow(client: &RegistryClient, name: &str, cache: &TempDir) -> Followed<String> {
    soon(follower(client, name, cache).start()).await.unwrap()
}

/// Waits until a follower is as it should be.
async fn becomes<M>(followed: &Followed<M>, mut wanted: impl FnMut(&FollowStatus) -> bool) -> FollowStatus {
    soon(followed.statuses().wait_for(|status| wanted(status))).await.unwrap().clone()
}

/// Waits until it serves these versions, and nothing else is wanted.
async fn serves<M>(followed: &Followed<M>, versions: &[&Version]) {
    let names: Vec<_> = versions.iter().map(|version| version.name.clone()).collect();
    becomes(followed, |status| {
        status.state == FollowState::Serving && status.serving == names && status.desired == names
    })
    .await;
}

/// A load that says when it begins, and ends when it is told to.
fn gate() -> (impl Fn() + Send + Sync + 'static, Receiver<()>, Sender<()>) {
    let ((begun, begins), (go, gone)) = (channel(), channel());
    let gone = std::sync::Mutex::new(gone);
    let pass = move || {
        // Nobody may listen any more.
        let _ = begun.send(());
        let _ = gone.lock().unwrap().recv();
    };
    (pass, begins, go)
}

async fn received<T: Send + 'static>(from: Receiver<T>) -> (T, Receiver<T>) {
    soon(tokio::task::spawn_blocking(move || (from.recv().unwrap(), from))).await.unwrap()
}

#[tokio::test]
async fn promotions_and_rollbacks_are_swapped_in() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let first = release(&client, MODEL, "one").await;
    let followed = follow(&client, PRODUCTION, &cache).await;
    let serving = followed.current();
    assert_eq!((&*serving.model, &serving.version().name), ("one", &first.name));
    serves(&followed, &[&first]).await;
    assert!(!followed.status().is_stale());

    let second = release(&client, MODEL, "two").await;
    serves(&followed, &[&second]).await;
    // Who has one keeps it, with its files.
    assert_eq!((&*serving.model, &*load(serving.folder()).unwrap()), ("one", "one"));
    assert_eq!(followed.current().model, "two");
    client.rollback(MODEL).await.unwrap();
    serves(&followed, &[&first]).await;
    assert_eq!(followed.current().model, "one");
}

#[tokio::test]
async fn any_name_of_a_version_can_be_followed() {
    let server = TestServer::start().await;
    let client = server.client();
    let first = publish(&client, MODEL, "one").await;
    client.set_alias(MODEL, "champion", "1").await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let followed = [
        follow(&client, "fraud@champion", &cache).await,
        follow(&client, "fraud@latest", &cache).await,
        follow(&client, "fraud/versions/1", &cache).await,
    ];
    for followed in &followed {
        assert_eq!(followed.current().version().name, first.name);
    }
    let second = publish(&client, MODEL, "two").await;
    serves(&followed[1], &[&second]).await;
    client.set_alias(MODEL, "champion", "2").await.unwrap();
    serves(&followed[0], &[&second]).await;
    serves(&followed[2], &[&first]).await;
}

#[tokio::test]
async fn what_is_promoted_together_is_swapped_together() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let rules = "namespaces/default/models/rules";
    for text in ["1", "2", "3"] {
        publish(&client, MODEL, text).await;
        publish(&client, rules, text).await;
    }
    let promote = async |number: usize| {
        let step = |model: &str| TransitionStageRequest {
            name: format!("{model}/versions/{number}"),
            stage: Stage::Production.into(),
            ..Default::default()
        };
        client.batch_transition_stages([step(MODEL), step(rules)]).await.unwrap();
    };
    promote(1).await;
    let loaded = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&loaded);
    let follower = client.follow_all([PRODUCTION, "rules@production"]).load(move |fetched| {
        let texts = fetched.iter().map(|one| load(one.folder())).collect::<Result<Vec<_>, _>>()?;
        log.lock().unwrap().push(texts.clone());
        Ok::<_, String>(texts)
    });
    let followed = soon(follower.cache(cache.path()).start()).await.unwrap();
    for number in [2, 3, 1, 3] {
        promote(number).await;
        let both = |status: &FollowStatus| {
            status.serving.iter().filter(|name| name.ends_with(&format!("/{number}"))).count() == 2
        };
        becomes(&followed, both).await;
    }
    let serving = followed.current();
    assert_eq!(serving.versions().iter().map(|one| one.version().number).collect::<Vec<_>>(), [3, 3]);
    assert!(loaded.lock().unwrap().iter().all(|texts| texts[0] == texts[1]), "{loaded:?}");
}

#[tokio::test]
async fn what_has_no_successor_is_served_and_told() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let first = release(&client, MODEL, "one").await;
    let (staged, fixed) = (follow(&client, PRODUCTION, &cache).await, follow(&client, &first.name, &cache).await);
    client.transition_stage(&first.name, Stage::Archived).await.unwrap();
    let status = becomes(&staged, |status| status.notice.is_some()).await;
    assert_eq!((status.desired, status.serving), (vec![], vec![first.name.clone()]));
    client.delete_version(&first.name).await.unwrap();
    let status = becomes(&fixed, |status| status.notice.is_some()).await;
    assert!(status.notice.unwrap().ends_with("was deleted"));
    client.purge_version(&first.name).await.unwrap();
    becomes(&fixed, |status| status.notice.as_ref().is_some_and(|notice| notice.ends_with("was purged"))).await;
    assert_eq!((&*staged.current().model, &*fixed.current().model), ("one", "one"));
    let second = release(&client, MODEL, "two").await;
    serves(&staged, &[&second]).await;
    assert_eq!(staged.status().notice, None);
}

#[tokio::test]
async fn a_start_without_anything_to_serve_fails_or_waits() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    for wait in [false, true] {
        let error = soon(follower(&client, PRODUCTION, &cache).wait(wait).start()).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        let error = soon(follower(&client, "fraud", &cache).wait(wait).start()).await.unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
    }
    model(&client, MODEL).await;
    let error = soon(follower(&client, PRODUCTION, &cache).start()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let waiting = tokio::spawn(follower(&client, PRODUCTION, &cache).wait(true).start());
    release(&client, MODEL, "broken").await;
    let good = release(&client, MODEL, "good").await;
    let followed = soon(waiting).await.unwrap().unwrap();
    serves(&followed, &[&good]).await;
}

#[tokio::test]
async fn who_has_no_room_for_two_unloads_first() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let first = release(&client, MODEL, "one").await;
    let (pass, begins, go) = gate();
    // Each model says when it is dropped.
    let (dropped, drops) = channel();
    struct Model(String, Sender<String>);
    impl Drop for Model {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.clone());
        }
    }
    let loading = client.follow(PRODUCTION).load(move |folder, _| {
        pass();
        load(folder).map(|text| Model(text, dropped.clone()))
    });
    go.send(()).unwrap();
    let followed = soon(loading.cache(cache.path()).unload_first().start()).await.unwrap();
    let ((), begins) = received(begins).await;
    assert_eq!(followed.current().model.as_ref().unwrap().0, "one");

    let second = release(&client, MODEL, "two").await;
    // It is gone before the next is loaded.
    let ((), begins) = received(begins).await;
    assert_eq!(drops.try_recv().unwrap(), "one");
    assert!(followed.current().model.is_none());
    go.send(()).unwrap();
    serves(&followed, &[&second]).await;

    // If that fails, the one before is loaded again.
    release(&client, MODEL, "broken").await;
    let ((), begins) = received(begins).await;
    go.send(()).unwrap();
    received(begins).await;
    go.send(()).unwrap();
    let status = becomes(&followed, |status| status.state == FollowState::Failed && !status.serving.is_empty()).await;
    assert_eq!(status.serving, [second.name]);
    assert_eq!(followed.current().model.as_ref().unwrap().0, "two");
    client.promote(&first.name).await.unwrap();
    go.send(()).unwrap();
    serves(&followed, &[&first]).await;
}

#[tokio::test]
async fn a_follower_ends_with_its_handle() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    release(&client, MODEL, "one").await;
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let load = move |folder: &Path, _: &Version| {
        let _ = &held;
        load(folder)
    };
    let followed = soon(client.follow(PRODUCTION).load(load).cache(cache.path()).start()).await.unwrap();
    let serving = followed.current();
    drop(followed);
    until(Duration::from_secs(20), async || (Arc::strong_count(&token) == 1).then_some(())).await;
    assert_eq!(serving.model, "one");
}
