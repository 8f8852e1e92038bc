//! Stores, backups and archives as this version and those before it wrote them: every later version has to open them.
//!
//! What is in `data/golden` was made, once, by `cargo nextest run -p registry-tests --run-ignored only -E 'test(golden::make)'`, which
//! makes what is missing. A format that changes gets a folder of its own; those that are there stay.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_client::pb::{Model, Stage};
use registry_client::{RegistryClient, pb};
use registry_common::chunks::INLINE;
use registry_common::hex;
use registry_server::backup::restore::Until;
use registry_server::config::{Period, StoreChoice};
use registry_tests::restore::{back_up, contents, restore_into, verified};
use registry_tests::{PATIENCE, TestServer, events, files, noise, ready, sha256, until};
use serde_json::{Value, json};

/// One for each format that is kept.
const FORMATS: [&str; 4] = [PLAIN, ENCRYPTED, COMPACTED, LINKED];
/// Those with a backup and an archive.
const WHOLE: [&str; 2] = [PLAIN, LINKED];
/// The first one that is kept.
const PLAIN: &str = "v5";
/// The same with a master key.
const ENCRYPTED: &str = "v5-encrypted";
/// The same without the beginning of its log.
const COMPACTED: &str = "v5-compacted";
/// Today's: in its log each write tells which one it replaced, and references to events tell where their model's record is.
const LINKED: &str = "v5-linked";
/// A file beside the storage, if that is encrypted.
const KEY: &str = "master.key";
/// What a file of sled's is a multiple of.
const STATE_BYTES: u64 = 4 << 20;
const NOTHING: Period = Period(Duration::ZERO);

fn golden(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden").join(format)
}

/// What has to be found: all of it is in the hashes of events, and the rest says where to look when they differ.
async fn describe(client: &RegistryClient) -> Value {
    let (status, contents) = (client.status().await.unwrap(), contents(client).await);
    let events: Vec<_> = events(client).await;
    let event =
        |event: &pb::Event| format!("{} {} {} {}", event.name, event.r#type, event.resource_name, hex(&event.hash));
    let time = |time: &Option<prost_types::Timestamp>| time.as_ref().map(ToString::to_string);
    let model = |model: &Model| {
        json!({
            "name": model.name, "uid": model.uid, "description": model.description, "tags": sorted(&model.tags),
            "aliases": sorted(&model.aliases), "created": time(&model.create_time), "deleted": time(&model.delete_time),
            "versions": model.version_count, "latest": model.latest_version, "revision": model.revision,
        })
    };
    let version = |version: &pb::Version| {
        json!({
            "name": version.name, "id": version.version_id, "uid": version.uid, "state": version.state().as_str_name(),
            "stage": version.stage().as_str_name(), "description": version.description, "tags": sorted(&version.tags),
            "created": time(&version.create_time), "deleted": time(&version.delete_time),
            "artifacts": version.artifact_count, "revision": version.revision,
        })
    };
    let mut artifacts = Vec::new();
    for artifact in &contents.artifacts {
        let bytes = client.download(&artifact.name).bytes().await.unwrap();
        artifacts.push(json!({ "name": artifact.name, "bytes": bytes.len(), "sha256": sha256(&bytes) }));
    }
    json!({
        "revision": status.revision,
        "chain_head": hex(&status.hash),
        "oldest": status.oldest_revision,
        "events": events.iter().map(event).collect::<Vec<_>>(),
        "models": contents.models.iter().map(model).collect::<Vec<_>>(),
        "versions": contents.versions.iter().map(version).collect::<Vec<_>>(),
        "artifacts": artifacts,
    })
}

fn sorted<'a>(map: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    map.into_iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn expected(format: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(format).join("expected.json")).unwrap()).unwrap()
}

/// Copies a folder, with the zeros at the end of files or without.
fn copy(from: &Path, to: &Path, zeros: bool) {
    for file in files(from).into_iter().filter(|file| !file.ends_with("lock")) {
        let (mut bytes, name) = (fs::read(&file).unwrap(), file.strip_prefix(from).unwrap());
        let state = name.ends_with("state/db");
        if !zeros && (state || name.extension().is_some_and(|extension| extension == "log")) {
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        } else if zeros && state {
            bytes.resize((bytes.len() as u64).next_multiple_of(STATE_BYTES) as usize, 0);
        }
        let copy = to.join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, bytes).unwrap();
    }
}

/// The server on an embedded store, whichever is under test.
async fn embedded(storage: &Path, key: &Path) -> TestServer {
    TestServer::with(|config| {
        (config.store, config.artifacts) = (StoreChoice::Sled, None);
        config.storage_path = storage.to_owned();
        config.encryption_key_file = key.exists().then(|| key.to_owned());
    })
    .await
}

/// What is there is what is expected, and it can be gone on with.
async fn assert_is(server: &mut TestServer, format: &str) {
    let client = server.client();
    let (found, expected) = (describe(&client).await, expected(format));
    assert_eq!(found, expected, "{format}");
    client.create_model("models/later").await.unwrap();
    server.restart().await;
    let status = client.status().await.unwrap();
    assert_eq!(status.revision, expected["revision"].as_i64().unwrap() + 1);
    // The archive, without which the rest can't be verified, is that of the store from which this is a copy.
    if status.oldest_revision == 1 {
        verified(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_of_kept_formats_are_opened() {
    for format in FORMATS {
        // The state may be lost as well.
        for state in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            copy(&golden(format).join("storage"), folder.path(), true);
            if !state {
                fs::remove_dir_all(folder.path().join("store/state")).unwrap();
            }
            assert_is(&mut embedded(folder.path(), &golden(format).join(KEY)).await, format).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_and_archives_of_kept_formats_are_restored() {
    for (format, from) in WHOLE.iter().flat_map(|format| [(format, "backup"), (format, "archive")]) {
        let folder = tempfile::tempdir().unwrap();
        let restored = restore_into(folder.path(), &golden(format).join(from), Until::End).await.unwrap();
        assert_eq!(restored.lost, Vec::<String>::new());
        assert_is(&mut TestServer::on(folder.path()).await, format).await;
    }
}

/// Something of everything that is kept.
async fn fill(client: &RegistryClient) {
    client.create_namespace("risk").display_name("Risk").tag("cost-center", "4711").await.unwrap();
    let text = "Řekne, co je podvod. ".repeat(8);
    client.create_model("namespaces/risk/models/fraud").description(&text).tag("team", "cards").await.unwrap();
    client.create_model("models/gone").await.unwrap();
    let model = "namespaces/risk/models/fraud";
    // The last one is in a chunk, the others in their records.
    for (number, size) in [(1, 0), (2, 300), (3, INLINE + 1)] {
        let version =
            client.create_version(model).version_id(format!("2026.{number}")).description(&text).await.unwrap();
        client.upload(&version.name, "model.bin", noise(300).repeat(60)[..size].to_vec()).await.unwrap();
        client.upload(&version.name, "data/labels.txt", b"fraud\nnone\n".to_vec()).await.unwrap();
        client.finalize_version(&version.name).await.unwrap();
        client.transition_stage(&version.name, Stage::Production).comment("goes live").await.unwrap();
    }
    client.set_alias(model, "champion", "2").await.unwrap();
    client.set_alias(model, "challenger", "3").await.unwrap();
    client.delete_alias(model, "challenger").await.unwrap();
    ready(client, "models/gone").await;
    client.delete_model("models/gone").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the golden files of formats that have none yet"]
async fn make() {
    for format in FORMATS.into_iter().filter(|format| !golden(format).exists()) {
        make_of(format).await;
    }
}

async fn make_of(format: &str) {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden(format);
    fs::create_dir_all(&golden).unwrap();
    let key = golden.join(KEY);
    if format == ENCRYPTED {
        fs::write(&key, "6b".repeat(32)).unwrap();
    }
    let storage = folder.path().join("storage");
    let archive = if WHOLE.contains(&format) { golden.join("archive") } else { folder.path().join("archive") };
    let mut server = embedded(&storage, &key).await;
    server
        .restart_with(|config| {
            config.archive = Some(archive.to_str().unwrap().to_owned());
            config.archive_every = Period::of_secs(1);
            if format == COMPACTED {
                (config.log_keep, config.request_id_keep) = (Some(NOTHING), NOTHING);
            }
        })
        .await;
    let client = server.client();
    fill(&client).await;
    let archived = async || {
        let status = async || {
            let status = client.status().await.unwrap();
            (status.archive.unwrap().revision == status.revision).then_some(status.oldest_revision)
        };
        until(PATIENCE, status).await
    };
    while archived().await == 1 && format == COMPACTED {
        client.collect_garbage().await.unwrap();
        ready(&client, "namespaces/risk/models/fraud").await;
    }
    if WHOLE.contains(&format) {
        back_up(&client, &golden.join("backup")).await;
    }
    let expected = serde_json::to_string_pretty(&describe(&client).await).unwrap();
    fs::write(golden.join("expected.json"), expected + "\n").unwrap();
    server.stop().await;
    // Until then, the server has locks and temporary files there.
    copy(&storage, &golden.join("storage"), false);
    println!(
        "{} has {} bytes",
        golden.display(),
        files(&golden).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>()
    );
}
