//! Starting: how fast, how small, and only once on a folder.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use registry_tests::process::{ServerProcess, binary, sled_command};
use registry_tests::{files, noise, pending};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::held::resident;
use crate::patient;

const LISTEN: &str = "127.0.0.1:0";

// The client has to be told of the end while this thread waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_an_embedded_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = ServerProcess::spawn(sled_command(folder.path(), LISTEN));

    let second = sled_command(folder.path(), LISTEN).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(second.stdout.is_empty(), "it does not say that it listens");
    assert!(said.contains("another server is running"), "{said}");
    assert!(said.contains(folder.path().to_str().unwrap()), "{said}");

    let client = patient(&first.endpoint());
    client.create_model("models/still-there").await.unwrap();
    assert!(first.terminate().success());
    // What the first held is free again.
    let third = ServerProcess::spawn(sled_command(folder.path(), LISTEN));
    patient(&third.endpoint()).get_model("models/still-there").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_artifacts_of_another_registry_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("artifacts");
    let on = |storage: &str| {
        let mut command = sled_command(&folder.path().join(storage), LISTEN);
        command.arg("--artifacts").arg(&place);
        command
    };
    assert!(ServerProcess::spawn(on("first")).terminate().success());
    let refused = on("second").output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("another registry") && said.contains("registry-server claim"), "{said}");
    // It is still the first one's, until somebody says that the second one takes its place.
    assert!(ServerProcess::spawn(on("first")).terminate().success());
    // It is empty, which may be a mistake.
    let refused = on("second").arg("claim").output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--for-restore"));
    let claimed = on("second").args(["claim", "--for-restore"]).output().unwrap();
    let said = String::from_utf8(claimed.stdout).unwrap();
    assert!(claimed.status.success() && said.contains("it was claimed by registry"), "{said}");
    assert!(ServerProcess::spawn(on("second")).terminate().success());
    assert_eq!(on("first").output().unwrap().status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_writes_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, archive) = (folder.path().join("storage"), folder.path().join("archive"));
    let mut command = sled_command(&storage, LISTEN);
    command.arg("--archive").arg(&archive);
    let server = ServerProcess::spawn(command);
    let client = patient(&server.endpoint());
    client.create_model("models/fraud").await.unwrap();
    let version = pending(&client, "models/fraud").await.name;
    client.upload(&version, "a.bin", noise(100_000)).await.unwrap();
    assert!(server.terminate().success());
    let (stored, archived) = (files(&storage), files(&archive));
    assert!(!stored.is_empty() && !archived.is_empty());
    for path in [stored, archived, vec![storage, archive]].concat() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

#[tokio::test]
async fn health_is_serving_within_two_seconds_and_idle_memory_is_small() {
    let folder = tempfile::tempdir().unwrap();
    // Building it is no part of starting it.
    binary("registry-server");

    let start = Instant::now();
    let server = ServerProcess::start(folder.path(), LISTEN);
    let mut health = HealthClient::new(Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap());
    for service in
        ["", "modelregistry.v1.ModelService", "modelregistry.v1.LifecycleService", "modelregistry.v1.EventService"]
    {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");

    // Without the pages of the program itself: the system can drop them, and a debug build has many more.
    let mib = resident(&server, "RssAnon");
    assert!(mib < 40, "{mib} MiB are held");
}
