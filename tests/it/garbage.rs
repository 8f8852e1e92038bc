//! Purging versions, and collecting the chunks that nobody lists any more.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use registry_client::RegistryClient;
use registry_client::known::{artifact_type, event_type};
use registry_client::pb::{CollectGarbageReport, ErrorReason, Stage, resource};
use registry_server::config::{Period, StoreChoice};
use registry_tests::expect::{refused, unchanged};
use registry_tests::restore::verified;
use registry_tests::{PATIENCE, TestServer, chunks, events, model, noise, pending, store, until};
use tonic::Code;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";
/// In seconds.
const DAY: u64 = 24 * 60 * 60;

/// Bytes that are one chunk, and others for each number.
fn content(number: u8) -> Vec<u8> {
    let mut bytes = noise(100_000);
    bytes[0] = number;
    bytes
}

/// A new READY version with these files.
async fn version(client: &RegistryClient, model: &str, contents: &[Vec<u8>]) -> String {
    let version = pending(client, model).await.name;
    for (number, bytes) in contents.iter().enumerate() {
        client.upload(&version, format!("{number}.bin"), bytes.clone()).await.unwrap();
    }
    client.finalize_version(&version).await.unwrap();
    version
}

async fn delete_and_purge(client: &RegistryClient, version: &str) {
    client.delete_version(version).await.unwrap();
    client.purge_version(version).await.unwrap();
}

/// How many chunks are stored.
async fn count(server: &TestServer) -> usize {
    chunks::stored(&server.storage()).await.len()
}

/// Makes a file look as if it was written so many seconds ago.
fn written(file: &Path, ago: u64) {
    let then = SystemTime::now() - Duration::from_secs(ago);
    std::fs::File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
}

async fn collect(client: &RegistryClient) -> CollectGarbageReport {
    client.collect_garbage().grace(Duration::ZERO).await.unwrap()
}

async fn has(client: &RegistryClient, version: &str, contents: &[Vec<u8>]) {
    for (number, bytes) in contents.iter().enumerate() {
        let name = format!("{version}/artifacts/{number}.bin");
        assert_eq!(client.download(name).bytes().await.unwrap(), *bytes);
    }
}

#[tokio::test]
async fn a_purged_version_stays_and_its_artifacts_go() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    client.create_version(MODEL).version_id("1.0.0").await.unwrap();
    client.upload(VERSION, "model.onnx", content(1)).await.unwrap();
    client.upload(VERSION, "config.json", b"{}".to_vec()).await.unwrap();
    client.finalize_version(VERSION).await.unwrap();
    let live = client.purge_version(VERSION);
    refused(&server, live, Code::FailedPrecondition, ErrorReason::ResourceNotDeleted).await;

    let deleted = client.delete_version(VERSION).await.unwrap();
    let stale = client.purge_version(VERSION).etag("nonsense");
    refused(&server, stale, Code::Aborted, ErrorReason::EtagMismatch).await;
    unchanged(&server, client.purge_version(VERSION).validate_only(true)).await.unwrap();
    let purged = client.purge_version(VERSION).etag(&deleted.etag).await.unwrap();
    assert!(purged.purged && purged.purge_time.is_some() && purged.delete_time == deleted.delete_time);
    assert_eq!((purged.artifact_count, purged.size_bytes), (0, 0));
    assert_eq!(purged.manifest_sha256, deleted.manifest_sha256);
    assert_eq!(client.get_version(VERSION).await.unwrap(), purged);
    assert!(client.list_artifacts(VERSION).await.unwrap().artifacts.is_empty());
    let artifact = client.get_artifact(format!("{VERSION}/artifacts/config.json"));
    refused(&server, artifact, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let event = events(&client).await.pop().unwrap();
    assert_eq!((event.r#type.as_str(), &event.resource_name), (event_type::VERSION_PURGED, &purged.name));
    let before = event.before.and_then(|before| before.resource);
    assert!(matches!(before, Some(resource::Resource::Version(before)) if before.artifact_count == 2));

    let (code, reason) = (Code::FailedPrecondition, ErrorReason::ResourcePurged);
    refused(&server, client.undelete_version(VERSION), code, reason).await;
    refused(&server, client.purge_version(VERSION), code, reason).await;
    assert_eq!(pending(&client, MODEL).await.number, 2);
    verified(&client).await;
}

#[tokio::test]
async fn what_was_deleted_long_enough_ago_is_purged_by_itself() {
    let server = TestServer::with(|config| config.purge_after = Period(Duration::ZERO)).await;
    let client = server.client();
    for name in ["models/deleted", "models/kept"] {
        model(&client, name).await;
        version(&client, name, &[content(1)]).await;
        version(&client, name, &[content(2)]).await;
    }
    client.transition_stage("models/deleted@latest", Stage::Production).await.unwrap();
    client.delete_version("models/kept/versions/1").await.unwrap();
    client.delete_model("models/deleted").force(true).await.unwrap();
    let dry = unchanged(&server, client.collect_garbage().validate_only(true)).await.unwrap();
    assert_eq!(dry.purged_versions, 3);
    assert_eq!(collect(&client).await.purged_versions, 3);
    let again = unchanged(&server, collect(&client)).await;
    assert_eq!((again.purged_versions, again.removed_chunks), (0, 0));
    has(&client, "models/kept/versions/2", &[content(2)]).await;

    let back = client.undelete_model("models/deleted");
    refused(&server, back, Code::FailedPrecondition, ErrorReason::ResourcePurged).await;
    assert!(client.get_version("models/deleted/versions/2").await.unwrap().purged);
    verified(&client).await;
}

#[tokio::test]
async fn a_deleted_version_keeps_its_chunks_until_it_is_due() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    version(&client, MODEL, &[content(1)]).await;
    client.delete_version(VERSION).await.unwrap();
    let report = unchanged(&server, collect(&client)).await;
    assert_eq!((report.purged_versions, report.listed_chunks, report.removed_chunks), (0, 1, 0));
    client.undelete_version(VERSION).await.unwrap();
    has(&client, VERSION, &[content(1)]).await;
}

#[tokio::test]
async fn a_chunk_goes_with_the_last_artifact_that_lists_it() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let one = version(&client, MODEL, &[content(1), content(2)]).await;
    let other = version(&client, MODEL, &[content(2), content(3)]).await;
    assert_eq!(count(&server).await, 3);

    delete_and_purge(&client, &one).await;
    let before = chunks::stored(&server.storage()).await;
    let dry = unchanged(&server, client.collect_garbage().grace(Duration::ZERO).validate_only(true)).await.unwrap();
    assert_eq!(chunks::stored(&server.storage()).await, before);
    let head = events(&client).await.len();
    let report = collect(&client).await;
    assert_eq!(report, dry, "a dry run tells what would go");
    assert_eq!((report.listed_chunks, report.stored_chunks, report.removed_chunks), (2, 3, 1));
    assert_eq!(report.removed_bytes, 100_001, "a chunk is stored with a byte before it");
    let logged = events(&client).await.split_off(head);
    let types: Vec<_> = logged.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(types, [event_type::SWEEP_STARTED, event_type::SWEEP_ENDED]);
    match logged[1].after.clone().and_then(|after| after.resource) {
        Some(resource::Resource::Sweep(sweep)) => assert_eq!((sweep.chunk_count, sweep.size_bytes), (1, 100_001)),
        other => panic!("{other:?}"),
    }
    has(&client, &other, &[content(2), content(3)]).await;

    delete_and_purge(&client, &other).await;
    assert_eq!(collect(&client).await.removed_chunks, 2);
    assert_eq!(count(&server).await, 0);
    let nothing = unchanged(&server, collect(&client)).await;
    assert_eq!(nothing, CollectGarbageReport::default());
    // What was removed can be uploaded again.
    let again = version(&client, MODEL, &[content(1), content(2)]).await;
    has(&client, &again, &[content(1), content(2)]).await;
    verified(&client).await;
}

#[tokio::test]
async fn namespaces_have_chunks_of_their_own() {
    let server = TestServer::start().await;
    let client = server.client();
    let models = ["namespaces/risk/models/fraud", "namespaces/sales/models/fraud"];
    let mut versions = Vec::new();
    for name in models {
        model(&client, name).await;
        versions.push(version(&client, name, &[content(1)]).await);
    }
    assert_eq!(count(&server).await, 2);
    delete_and_purge(&client, &versions[0]).await;
    assert_eq!(collect(&client).await.removed_chunks, 1);
    has(&client, &versions[1], &[content(1)]).await;
}

#[tokio::test]
async fn what_was_written_a_moment_ago_is_spared() {
    registry_tests::store::artifacts_in_folder();
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    client.upload(VERSION, "a.bin", content(1)).artifact_type(artifact_type::MODEL).await.unwrap();
    client.delete_artifact(format!("{VERSION}/artifacts/a.bin")).await.unwrap();
    // A day, unless it is configured or asked for otherwise.
    let report = client.collect_garbage().await.unwrap();
    assert_eq!((report.recent_chunks, report.removed_chunks), (1, 0));
    let report = client.collect_garbage().grace(Duration::from_secs(60)).await.unwrap();
    assert_eq!((report.recent_chunks, report.removed_chunks), (1, 0));
    written(&chunks::all(&server.storage())[0], DAY);
    let report = client.collect_garbage().await.unwrap();
    assert_eq!((report.recent_chunks, report.removed_chunks), (0, 1));
}

#[tokio::test]
async fn the_files_of_broken_off_writes_are_removed() {
    registry_tests::store::artifacts_in_folder();
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    version(&client, MODEL, &[content(1)]).await;
    let chunk = chunks::all(&server.storage()).pop().unwrap();
    let beside = |end: &str| PathBuf::from(format!("{}{end}", chunk.display()));
    let write = |file: &PathBuf, age: u64| {
        std::fs::write(file, b"half").unwrap();
        written(file, age);
    };
    let (old, new, foreign) = (beside("#1"), beside("#2"), beside(".backup"));
    write(&old, 7200);
    // Somebody may be writing it.
    std::fs::write(&new, b"half").unwrap();
    // Not ours.
    write(&foreign, 7200);
    // From before the server was started, which on the embedded store is alone.
    let (before, is_alone) = (beside("#3"), store::choice(&server.storage()) == StoreChoice::Sled);
    write(&before, if is_alone { 600 } else { 7200 });
    let dry = client.collect_garbage().grace(Duration::ZERO).validate_only(true).await.unwrap();
    assert_eq!(dry.removed_leftovers, 2);
    assert!([&old, &before, &new, &foreign, &chunk].iter().all(|file| file.exists()));
    let report = collect(&client).await;
    assert_eq!((report.stored_chunks, report.removed_leftovers), (1, 2));
    assert!(!old.exists() && !before.exists() && new.exists() && foreign.exists() && chunk.exists());
}

#[tokio::test]
async fn a_server_collects_by_itself() {
    registry_tests::store::artifacts_in_folder();
    let server = TestServer::with(|config| {
        config.gc_every = Period(Duration::from_millis(1));
        config.purge_after = Period(Duration::ZERO);
    });
    let server = server.await;
    let client = server.client();
    model(&client, MODEL).await;
    let one = version(&client, MODEL, &[content(1), content(2)]).await;
    let other = version(&client, MODEL, &[content(2)]).await;
    // All are older than the grace time; one is still listed.
    chunks::all(&server.storage()).iter().for_each(|chunk| written(chunk, 2 * DAY));
    client.delete_version(&one).await.unwrap();
    until(PATIENCE, || async { (count(&server).await == 1).then_some(()) }).await;
    has(&client, &other, &[content(2)]).await;
    assert!(client.get_version(&one).await.unwrap().purged);
    let logged = events(&client).await;
    for what in [event_type::VERSION_PURGED, event_type::SWEEP_STARTED] {
        assert_eq!(logged.iter().find(|event| event.r#type == what).unwrap().actor, "registry-server");
    }
}
