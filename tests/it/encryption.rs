//! Encryption at rest: what lies on the disk, in backups and in archives, and which keys it takes to read it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::stream::{self, StreamExt as _};
use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::{CreateArtifactRequest, ErrorReason};
use registry_server::backup::restore::{RestoreError, Until, restore};
use registry_server::config::{Config, Period, StoreChoice};
use registry_server::encryption::master::{KeyError, new_key};
use registry_server::server::Server;
use registry_server::stores::{ServeError, Stores};
use registry_tests::expect::unchanged;
use registry_tests::restore::{assert_same, back_up, verified};
use registry_tests::{PATIENCE, TestServer, events, files, model, noise, pending, store, until};
use tempfile::TempDir;
use tonic::Code;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";
const LARGE: usize = 3 << 20;
const SMALL: usize = 5000;

/// A master key in a file of its own, and its id.
fn key(folder: &Path, name: &str) -> (PathBuf, String) {
    let file = folder.join(name);
    let id = new_key(&file).unwrap();
    (file, id)
}

/// A server that encrypts, with a version to upload to; and the folder with its key.
async fn encrypting() -> (TestServer, TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = key(folder.path(), "key");
    let server = TestServer::with(|config| config.encryption_key_file = Some(file.clone())).await;
    furnish(&server.client()).await;
    (server, folder, file)
}

async fn furnish(client: &RegistryClient) {
    model(client, MODEL).await;
    pending(client, MODEL).await;
}

/// Bytes without a pattern, that don't begin as those of `noise` do.
fn other_noise(size: usize) -> Vec<u8> {
    noise(size).into_iter().rev().collect()
}

/// Uploads bytes that become chunks, and bytes that are kept with the record.
async fn upload(client: &RegistryClient) {
    client.upload(VERSION, "large.bin", noise(LARGE)).await.unwrap();
    client.upload(VERSION, "small.bin", other_noise(SMALL)).await.unwrap();
}

/// Everything comes back, whole and in parts.
async fn assert_readable(client: &RegistryClient) {
    for (path, bytes) in [("large.bin", noise(LARGE)), ("small.bin", other_noise(SMALL))] {
        let name = format!("{VERSION}/artifacts/{path}");
        assert!(client.download(&name).bytes().await.unwrap() == bytes, "{path}");
        let part = client.download(&name).range(1234..4321).bytes().await.unwrap();
        assert!(part == bytes[1234..4321], "{path}");
    }
}

/// Whether bytes can be read from some files: a part of them tells.
fn has(paths: &[PathBuf], bytes: &[u8]) -> bool {
    let part = &bytes[100..164];
    let stored = |path: &PathBuf| std::fs::read(path).unwrap();
    paths.iter().map(stored).any(|bytes| bytes.windows(part.len()).any(|window| window == part))
}

/// Which of the two artifacts can be read from some files: the chunks, and those that are kept with the record.
fn readable_in(paths: &[PathBuf]) -> (bool, bool) {
    (has(paths, &noise(LARGE)), has(paths, &other_noise(SMALL)))
}

/// The files that hold chunks, each with its bytes and the time of its last change.
fn chunks(storage: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let mut found: Vec<_> = files(&storage.join("artifacts/chunks"))
        .into_iter()
        .map(|path| {
            let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), std::fs::read(&path).unwrap(), changed)
        })
        .collect();
    found.sort();
    found
}

/// Why a server does not start with these settings.
async fn refusal(config: Config) -> KeyError {
    until(PATIENCE, || async {
        match Server::open(config.clone()).await {
            Err(ServeError::Key(error)) => Some(error),
            // Whoever had it open last may hold it for a moment longer.
            Err(ServeError::InUse { .. } | ServeError::Store(_)) => None,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it starts"),
        }
    })
    .await
}

async fn count(client: &RegistryClient, r#type: &str) -> usize {
    events(client).await.iter().filter(|event| event.r#type == r#type).count()
}

#[tokio::test]
async fn nothing_that_is_stored_can_be_read_and_everything_comes_back() {
    store::artifacts_in_folder();
    let (mut server, folder, file) = encrypting().await;
    let archive = folder.path().join("archive");
    server
        .restart_with(|config| {
            config.archive = Some(archive.to_str().unwrap().to_owned());
            config.archive_every = Period(Duration::from_millis(1));
        })
        .await;
    let plain = TestServer::start().await;
    furnish(&plain.client()).await;
    let backup = folder.path().join("backup");
    for (server, readable) in [(&server, false), (&plain, true)] {
        let client = server.client();
        upload(&client).await;
        assert_readable(&client).await;
        verified(&client).await;
        back_up(&client, &backup).await;
        assert_eq!(readable_in(std::slice::from_ref(&backup)), (readable, readable));
        // A database of records is elsewhere.
        let (large, small) = readable_in(&files(&server.storage()));
        let embedded = server.config().store == StoreChoice::Sled;
        assert_eq!((large, small), (readable, readable && embedded));
    }
    let client = server.client();
    let before = chunks(&server.storage());
    let again = client.upload(VERSION, "again.bin", noise(LARGE)).await.unwrap();
    assert!(client.download(again.name).bytes().await.unwrap() == noise(LARGE));
    assert!(chunks(&server.storage()) == before, "the same bytes were stored twice");

    // The last revisions are shipped when it stops.
    server.stop().await;
    let shipped = files(&archive);
    assert!(!shipped.is_empty());
    assert_eq!(readable_in(&shipped), (false, false));
    server.start_again().await;
    assert_readable(&server.client()).await;
    drop(file);
}

#[tokio::test]
async fn a_registry_is_not_served_without_its_key() {
    let (mut server, folder, file) = encrypting().await;
    upload(&server.client()).await;
    let (other, other_id) = key(folder.path(), "other");
    server.stop().await;
    let right = server.config();

    let without = Config { encryption_key_file: None, ..right.clone() };
    let KeyError::Missing { namespace, needed, given } = refusal(without.clone()).await else {
        panic!("another error")
    };
    assert_eq!((namespace.as_str(), given.as_slice()), ("default", &[][..]));
    let wrong = Config { encryption_key_file: Some(other.clone()), ..right.clone() };
    let expected = KeyError::Missing { namespace, needed: needed.clone(), given: vec![other_id.clone()] };
    assert_eq!(refusal(wrong).await, expected);
    let said = expected.to_string();
    assert!([&needed, &other_id, "namespaces/default"].iter().all(|part| said.contains(*part)), "{said}");
    let none = Config { encryption_key_file: Some(folder.path().join("none")), ..right.clone() };
    assert!(matches!(refusal(none).await, KeyError::File { .. }));
    // Nor does a verification go wrong in silence.
    assert!(matches!(Stores::open_existing(&without).await, Err(ServeError::Key(KeyError::Missing { .. }))));

    server.start_again().await;
    assert_readable(&server.client()).await;
    assert_eq!(server.config().encryption_key_file, Some(file));
}

#[tokio::test]
async fn a_master_key_is_replaced_and_no_chunk_is_written() {
    store::artifacts_in_folder();
    let (mut server, folder, old) = encrypting().await;
    let client = server.client();
    upload(&client).await;
    model(&client, "namespaces/other/models/fraud").await;
    pending(&client, "namespaces/other/models/fraud").await;
    client.upload("namespaces/other/models/fraud/versions/1", "a.bin", noise(LARGE)).await.unwrap();
    let before = chunks(&server.storage());
    let (new, id) = key(folder.path(), "new");

    server
        .restart_with(|config| {
            config.encryption_key_file = Some(new.clone());
            config.encryption_old_key_files = vec![old.clone()];
        })
        .await;
    let rotated: Vec<_> = events(&server.client()).await;
    let rotated: Vec<_> = rotated.iter().filter(|event| event.r#type == event_type::ENCRYPTION_KEY_ROTATED).collect();
    let names: Vec<_> = rotated.iter().map(|event| event.resource_name.as_str()).collect();
    assert_eq!(names, ["namespaces/default", "namespaces/other"]);
    assert!(rotated.iter().all(|event| event.comment.contains(&id) && event.actor == "registry-server"));
    assert!(chunks(&server.storage()) == before, "chunks were written");
    assert_readable(&server.client()).await;

    server.restart_with(|config| config.encryption_old_key_files.clear()).await;
    assert_readable(&server.client()).await;
    verified(&server.client()).await;
    assert_eq!(count(&server.client(), event_type::ENCRYPTION_KEY_ROTATED).await, 2, "once was enough");
    server.stop().await;
    let only_old = Config { encryption_key_file: Some(old), ..server.config() };
    assert!(matches!(refusal(only_old).await, KeyError::Missing { needed, .. } if needed == id));
}

#[tokio::test]
async fn encryption_can_be_switched_on_later() {
    store::artifacts_in_folder();
    let mut server = TestServer::start().await;
    furnish(&server.client()).await;
    upload(&server.client()).await;
    let before = chunks(&server.storage());
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = key(folder.path(), "key");

    server.restart_with(|config| config.encryption_key_file = Some(file)).await;
    let client = server.client();
    assert_readable(&client).await;
    assert_eq!(count(&client, event_type::ENCRYPTION_KEY_CREATED).await, 0, "nothing was stored yet");
    // The same bytes are there already, as they are.
    client.upload(VERSION, "again.bin", noise(LARGE)).await.unwrap();
    assert!(chunks(&server.storage()) == before);
    let new = other_noise(LARGE);
    let artifact = client.upload(VERSION, "new.bin", new.clone()).await.unwrap();
    assert!(client.download(&artifact.name).bytes().await.unwrap() == new);
    let written = chunks(&server.storage()).into_iter().filter(|chunk| !before.contains(chunk));
    let written: Vec<_> = written.map(|(path, ..)| path).collect();
    assert!(!written.is_empty() && !has(&written, &new));
    verified(&client).await;
}

#[tokio::test]
async fn namespaces_have_different_keys() {
    store::artifacts_in_folder();
    let (server, _folder, _) = encrypting().await;
    let client = server.client();
    model(&client, "namespaces/other/models/fraud").await;
    let other = pending(&client, "namespaces/other/models/fraud").await.name;
    client.upload(VERSION, "large.bin", noise(LARGE)).await.unwrap();
    let theirs = client.upload(&other, "large.bin", noise(LARGE)).await.unwrap();
    let made = events(&client).await;
    let made = made.iter().filter(|event| event.r#type == event_type::ENCRYPTION_KEY_CREATED);
    let made: Vec<_> = made.map(|event| event.resource_name.as_str()).collect();
    assert_eq!(made, ["namespaces/default", "namespaces/other"]);

    let storage = server.storage().join("artifacts/chunks");
    let ours = files(&storage.join("default"));
    for file in &ours {
        let theirs = storage.join("other").join(file.strip_prefix(storage.join("default")).unwrap());
        let bytes = std::fs::read(file).unwrap();
        assert_ne!(bytes, std::fs::read(&theirs).unwrap(), "the same bytes look the same");
        // Nor can what is one namespace's be passed off as another's.
        std::fs::write(&theirs, bytes).unwrap();
    }
    let error = client.download(&theirs.name).bytes().await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Some(Code::DataLoss), Some(ErrorReason::ArtifactDamaged)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_once_agree_on_one_key_also_on_two_servers() {
    store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = key(folder.path(), "key");
    let storage = folder.path().join("storage");
    let url = StoreChoice::Postgres(store::postgres(&storage));
    let settings = |config: &mut Config| {
        config.encryption_key_file = Some(file.clone());
        config.store = url.clone();
        config.storage_path = storage.clone();
    };
    let servers = [TestServer::with(settings).await, TestServer::with(settings).await];
    let clients = servers.iter().map(TestServer::client).collect::<Vec<_>>();
    furnish(&clients[0]).await;
    let bytes = Arc::new(noise(LARGE));
    let uploads = (0..16).map(|number| {
        let bytes = bytes[number * 100_000..].to_vec();
        clients[number % 2].upload(VERSION, format!("{number}.bin"), bytes).send()
    });
    let done = stream::iter(uploads.collect::<Vec<_>>()).buffer_unordered(16).collect::<Vec<_>>().await;
    assert_eq!(count(&clients[0], event_type::ENCRYPTION_KEY_CREATED).await, 1);
    for (number, artifact) in done.into_iter().map(Result::unwrap).enumerate() {
        let number_of: usize = artifact.path.trim_end_matches(".bin").parse().unwrap();
        // From the other server than one might think.
        let found = clients[number % 2].download(&artifact.name).bytes().await.unwrap();
        assert!(found == bytes[number_of * 100_000..], "{}", artifact.path);
    }
}

#[tokio::test]
async fn a_backup_is_restored_with_its_key_only() {
    let (server, folder, file) = encrypting().await;
    upload(&server.client()).await;
    let (backup, storage) = (folder.path().join("backup"), folder.path().join("restored"));
    assert_eq!(back_up(&server.client(), &backup).await.lost_artifacts, [""; 0]);
    let with = |key: Option<&Path>| Config {
        encryption_key_file: key.map(Path::to_owned),
        storage_path: storage.clone(),
        store: store::choice(&storage),
        artifacts: store::artifacts(&storage).map(|bucket| bucket.url),
        ..server.config()
    };
    let (other, _) = key(folder.path(), "other");
    let restored = async |key: Option<&Path>| {
        let stores = until(PATIENCE, || async {
            match Stores::open(&with(key)).await {
                Ok(stores) => Some(Ok(stores)),
                Err(ServeError::Key(error)) => Some(Err(RestoreError::Key(error))),
                // Whoever had it open last may hold it for a moment longer.
                Err(_) => None,
            }
        });
        let stores = stores.await?;
        restore(&*stores.store, &stores.chunks, backup.to_str().unwrap(), Until::End, |_| {}).await
    };
    for key in [None, Some(other.as_path())] {
        let error = restored(key).await.unwrap_err();
        assert!(matches!(error, RestoreError::Key(KeyError::Missing { .. })), "{error}");
    }
    // Run again with the right one, it goes on.
    let restored = restored(Some(&file)).await.unwrap();
    assert_eq!(restored.lost, [""; 0]);
    let copy = TestServer::with(|config| *config = with(Some(&file))).await;
    assert_same(&server.client(), &copy.client()).await;
    assert_readable(&copy.client()).await;
}

#[tokio::test]
async fn a_trial_makes_no_key() {
    let (server, _folder, _) = encrypting().await;
    let request = |validate_only| CreateArtifactRequest {
        parent: VERSION.to_owned(),
        artifact: Some(registry_tests::chunks::given("small.bin")),
        data: other_noise(SMALL).into(),
        validate_only,
        ..Default::default()
    };
    let mut service = ArtifactServiceClient::new(server.channel());
    let tried = unchanged(&server, service.create_artifact(request(true))).await.unwrap().into_inner();
    let made = service.create_artifact(request(false)).await.unwrap().into_inner();
    assert_eq!((tried.name, tried.sha256, tried.chunks_blake3), (made.name, made.sha256, made.chunks_blake3));
    assert_eq!(count(&server.client(), event_type::ENCRYPTION_KEY_CREATED).await, 1);
}
