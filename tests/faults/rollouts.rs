//! `registryctl status MODEL`, and commands that wait until all instances have arrived.

use std::path::Path;
use std::sync::Arc;

use registry_client::pb::{Instance, InstanceState};
use registry_client::{Followed, RegistryClient};
use registry_tests::{TestServer, soon};
use tokio::task::block_in_place;

use crate::cli::Ctl;

const MODEL: &str = "namespaces/default/models/fraud";

/// A version whose only file says this.
async fn publish(client: &RegistryClient, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.txt"), text).unwrap();
    client.publish(folder.path(), MODEL).await.unwrap();
}

/// A follower of what is in production that can't load a model which says its name.
async fn follow(client: &RegistryClient, id: &str, cache: &Path) -> Followed<String> {
    let own: Arc<str> = id.into();
    let load = move |folder: &Path, _: &registry_client::pb::Version| {
        let text = std::fs::read_to_string(folder.join("model.txt")).map_err(|error| error.to_string())?;
        if text == *own { Err(format!("{own} has no room for it")) } else { Ok(text) }
    };
    soon(client.follow("fraud@production").load(load).cache(cache).report_as(id).start()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_waits_for_the_instances_and_says_who_is_missing() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let (client, ctl) = (server.client(), Ctl::at(server.endpoint()));
    client.create_model(MODEL).await.unwrap();
    for text in ["one", "two", "web-2", "four"] {
        publish(&client, text).await;
    }
    let promote = |version: &str, wait: &str| {
        let version = format!("fraud/versions/{version}");
        let output = block_in_place(|| ctl.run(&["promote", &version, "production", "--wait", wait]));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = promote("1", "60s");
    assert_eq!((code, &*said), (Some(0), "registryctl: no instance follows fraud@production\n"));

    let followers = [follow(&client, "web-1", cache.path()).await, follow(&client, "web-2", cache.path()).await];
    let (code, printed, said) = promote("2", "60s");
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.ends_with("2 instances run fraud/versions/2\n"), "{printed}");
    assert!(followers.iter().all(|follower| follower.current().model == "two"));

    let (code, printed, said) = promote("3", "60s");
    assert_eq!(code, Some(8), "{printed} {said}");
    let last = said.lines().collect::<Vec<_>>().join(" ");
    assert!(last.contains("1 of 2 run fraud/versions/3") && last.contains("web-2 has no room for it"), "{said}");
    assert!(!last.contains("web-1 failed"), "{said}");
    let shown = block_in_place(|| ctl.ok(&["status", "fraud"]));
    let row = |id: &str| shown.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(row("web-1").contains("serving") && !row("web-1").contains("behind"), "{shown}");
    assert!(row("web-2").contains("failed") && row("web-2").contains("behind 3"), "{shown}");
    assert!(row("web-2").contains("web-2 has no room for it"), "{shown}");
    let json = block_in_place(|| ctl.json(&["status", "fraud"]));
    assert_eq!(
        (&json[1]["state"], &json[1]["observedVersion"]),
        (&"INSTANCE_STATE_FAILED".into(), &format!("{MODEL}/versions/2").into(),)
    );

    // One that never moves, and nobody else.
    drop(followers);
    let stuck = Instance {
        name: format!("{MODEL}/instances/stuck"),
        target: "@champion".to_owned(),
        state: InstanceState::Serving.into(),
        desired_version: format!("{MODEL}/versions/1"),
        observed_version: format!("{MODEL}/versions/1"),
        ..Default::default()
    };
    client.report_instance(stuck.clone()).await.unwrap();
    let set = |version: &str| {
        let output = block_in_place(|| ctl.run(&["alias", "set", "fraud", "champion", version, "--wait", "500ms"]));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = set("4");
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("not there: stuck") && said.contains("not within 500ms"), "{said}");
    assert_eq!(set("1").0, Some(0));
    // Without the option nobody waits.
    block_in_place(|| ctl.ok(&["alias", "set", "fraud", "champion", "4"]));
    let shown = block_in_place(|| ctl.ok(&["get", "fraud/instances/stuck"]));
    assert!(shown.contains("follows   @champion"), "{shown}");
}
