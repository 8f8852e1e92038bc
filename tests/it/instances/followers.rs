//! Followers report what they run by themselves.

use std::path::Path;

use registry_client::known::event_type;
use registry_client::pb::{Event, Instance, InstanceState, Version, resource};
use registry_client::{Items, RegistryClient, WatchItem};
use registry_tests::{TestServer, soon};
use tempfile::TempDir;

use super::{MODEL, next, version, watch};

/// A version whose only file says this, in production.
async fn release(client: &RegistryClient, text: &str) -> Version {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.txt"), text).unwrap();
    let version = client.publish(folder.path(), MODEL).await.unwrap();
    client.promote(&version.name).await.unwrap();
    version
}

fn load(folder: &Path) -> Result<String, String> {
    match std::fs::read_to_string(folder.join("model.txt")) {
        Ok(text) if text == "broken" => Err("the model is broken".to_owned()),
        read => read.map_err(|error| error.to_string()),
    }
}

async fn prepared() -> (TestServer, RegistryClient, TempDir) {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    client.create_model(MODEL).await.unwrap();
    release(&client, "one").await;
    (server, client, cache)
}

fn instance(event: Event) -> Instance {
    match event.after.or(event.before).and_then(|resource| resource.resource) {
        Some(resource::Resource::Instance(instance)) => instance,
        other => panic!("{other:?}"),
    }
}

/// The next report that is as wanted; those before may be.
async fn reports(watch: &mut Items<WatchItem>, wanted: impl Fn(&Instance) -> bool) -> Instance {
    loop {
        let instance = instance(next(watch).await);
        if wanted(&instance) {
            return instance;
        }
    }
}

#[tokio::test]
async fn a_follower_says_what_it_runs_and_why_not() {
    let (server, client, cache) = prepared().await;
    let mut watch = watch(&client).await;
    let follower = client.follow("fraud@production").load(|folder, _| load(folder)).cache(cache.path());
    let followed = soon(follower.report_as("web-1").label("zone", "a").start()).await.unwrap();
    let first = instance(next(&mut watch).await);
    assert_eq!((&*first.name, &*first.target), (&*format!("{MODEL}/instances/web-1"), "@production"));
    assert_eq!(first.labels["zone"], "a");
    let is = |state, desired, observed| {
        move |instance: &Instance| {
            let versions = (instance.desired_version.as_str(), instance.observed_version.as_str());
            instance.state() == state && versions == (&*version(desired), &*version(observed))
        }
    };
    if !is(InstanceState::Serving, 1, 1)(&first) {
        assert_eq!(first.state(), InstanceState::Loading);
        reports(&mut watch, is(InstanceState::Serving, 1, 1)).await;
    }
    release(&client, "two").await;
    reports(&mut watch, is(InstanceState::Serving, 2, 2)).await;
    release(&client, "broken").await;
    let failed = reports(&mut watch, is(InstanceState::Failed, 3, 2)).await;
    assert!(failed.error.contains("the model is broken"), "{}", failed.error);
    client.rollback(MODEL).await.unwrap();
    let back = reports(&mut watch, is(InstanceState::Serving, 2, 2)).await;
    assert_eq!(back.error, "");
    // Whoever stops says so.
    soon(followed.stop()).await;
    assert_eq!(next(&mut watch).await.r#type, event_type::INSTANCE_DELETED);
    drop(server);
}

#[tokio::test]
async fn a_follower_that_can_not_start_is_seen_and_one_that_is_dropped_goes() {
    let (_server, client, cache) = prepared().await;
    release(&client, "broken").await;
    let mut watch = watch(&client).await;
    let follower = client.follow("fraud@production").load(|folder, _| load(folder)).cache(cache.path());
    let starting = tokio::spawn(follower.wait(true).start());
    let failed = reports(&mut watch, |instance| instance.state() == InstanceState::Failed).await;
    assert_eq!((&*failed.desired_version, &*failed.observed_version), (&*version(2), ""));
    // Whose id says where it is.
    let id = failed.name.rsplit('/').next().unwrap();
    assert!(id.contains(&format!("-{}-", std::process::id())), "{id}");
    starting.abort();
    loop {
        let event = next(&mut watch).await;
        if event.r#type == event_type::INSTANCE_DELETED {
            assert_eq!(event.resource_name, failed.name);
            break;
        }
    }
}

#[tokio::test]
async fn each_name_of_a_follower_is_an_instance_unless_it_reports_none() {
    let (_server, client, cache) = prepared().await;
    client.set_alias(MODEL, "champion", "1").await.unwrap();
    let names = ["fraud@production", "fraud@champion"];
    let follow = || {
        let load = |fetched: &[registry_client::Fetched]| load(fetched[0].folder());
        client.follow_all(names).load(load).cache(cache.path())
    };
    let silent = soon(follow().report(false).start()).await.unwrap();
    assert_eq!(client.list_instances(MODEL).await.unwrap().instances, []);
    let mut watch = watch(&client).await;
    let followed = soon(follow().report_as("web").start()).await.unwrap();
    let mut serving = std::collections::BTreeSet::new();
    while serving.len() < 2 {
        let instance = reports(&mut watch, |instance| instance.state() == InstanceState::Serving).await;
        serving.insert((instance.name.rsplit('/').next().unwrap().to_owned(), instance.target));
    }
    let expected = [("web+champion", "@champion"), ("web+production", "@production")];
    assert_eq!(serving, expected.map(|(id, target)| (id.to_owned(), target.to_owned())).into());
    soon(followed.stop()).await;
    assert_eq!(client.list_instances(MODEL).await.unwrap().instances, []);
    soon(silent.stop()).await;
}

#[tokio::test]
async fn a_registry_that_was_away_is_told_again() {
    let (mut server, client, cache) = prepared().await;
    let follower = client.follow("fraud@production").load(|folder, _| load(folder)).cache(cache.path());
    let followed = soon(follower.report_as("web").start()).await.unwrap();
    server.stop().await;
    soon(followed.statuses().wait_for(|status| !status.connected)).await.unwrap();
    server.start_again().await;
    // Somebody removed it while it could not be heard.
    let there = async || client.delete_instance("fraud/instances/web").await.ok();
    registry_tests::until(registry_tests::PATIENCE, there).await;
    let mut watch = watch(&client).await;
    let second = release(&client, "two").await;
    let told = reports(&mut watch, |instance| instance.observed_version == second.name).await;
    assert_eq!(told.state(), InstanceState::Serving);
    drop(followed);
    loop {
        if next(&mut watch).await.r#type == event_type::INSTANCE_DELETED {
            break;
        }
    }
}
