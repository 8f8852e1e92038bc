//! Stopping: in good order on SIGTERM, and in the middle of an upload.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use registry_client::pb::lifecycle_service_client::LifecycleServiceClient;
use registry_client::pb::watch_events_response::Response;
use registry_client::{Error, Source, pb};
use registry_tests::process::ServerProcess;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{JoinHandle, yield_now};
use uuid::Uuid;

use crate::{impatient, patient};

/// See `kill.rs`.
const LISTEN: &str = "127.0.0.3:0";
const MIB: usize = 1024 * 1024;
const MODEL: &str = "namespaces/default/models/stopped";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), LISTEN);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = impatient(&endpoint);
    client.create_model(MODEL).await.unwrap();
    let version = client.create_version(MODEL).await.unwrap();
    let mut watch = LifecycleServiceClient::connect(endpoint.clone()).await.unwrap();
    let mut watch = watch.watch_events(pb::WatchEventsRequest::default()).await.unwrap().into_inner();
    let created = watch.message().await.unwrap().unwrap().response;
    assert!(matches!(created, Some(Response::Created(_))), "{created:?}");
    let (mut bytes, upload) = begin_upload(&client, &version.name);
    send_until_stored(&mut bytes, folder.path()).await;

    // Calls that are under way, some of which the server has not read yet.
    let ids: Vec<_> = (0..64).map(|_| Uuid::now_v7()).collect();
    let calls = ids.iter().map(|id| {
        let create = client.create_version(MODEL).tag("id", id.to_string()).request_id(*id);
        tokio::spawn(create.send())
    });
    let calls: Vec<_> = calls.collect();
    let start = Instant::now();
    server.begin_termination();

    let ended = loop {
        match watch.message().await {
            Ok(Some(message)) => assert!(!matches!(message.response, Some(Response::Created(_))), "{message:?}"),
            Ok(None) => panic!("a watch ends only with a status"),
            Err(status) => break Error::from(status),
        }
    };
    assert!(ended.is_unavailable(), "{ended:?}");
    assert_eq!(ended.reason(), Some(pb::ErrorReason::ServerDraining), "{ended:?}");
    let ended = upload.await.unwrap().unwrap_err();
    assert!(ended.is_unavailable(), "{ended:?}");
    assert_eq!(ended.reason(), Some(pb::ErrorReason::ServerDraining), "{ended:?}");
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let status = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    assert_eq!(files(&folder.path().join("artifacts/incoming")), 0);

    // What was answered is there; what was turned away was not done, or is not done again.
    let _server = ServerProcess::start(folder.path(), &listen);
    let client = patient(&endpoint);
    for (id, answer) in ids.iter().zip(answers) {
        let again = client.create_version(MODEL).tag("id", id.to_string()).request_id(*id).await.unwrap();
        match answer {
            Ok(version) => assert_eq!(again.uid, version.uid),
            Err(error) => assert!(error.is_unavailable(), "{error:?}"),
        }
    }
    let model = client.get_model(MODEL).await.unwrap();
    assert_eq!(model.version_count, 1 + ids.len() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_upload_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let incoming = folder.path().join("artifacts/incoming");
    let server = ServerProcess::start(folder.path(), LISTEN);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = patient(&endpoint);
    client.create_model(MODEL).await.unwrap();
    let version = client.create_version(MODEL).await.unwrap();
    let (mut bytes, upload) = begin_upload(&client, &version.name);
    send_until_stored(&mut bytes, folder.path()).await;
    server.kill();
    assert!(upload.await.unwrap().unwrap_err().is_unavailable());
    assert!(files(&incoming) > 0, "it was killed in the middle");

    let _server = ServerProcess::start(folder.path(), &listen);
    assert_eq!(files(&incoming), 0);
    assert_eq!(client.list_artifacts(&version.name).await.unwrap().artifacts, []);
    let name = format!("{}/artifacts/model.bin", version.name);
    assert!(client.get_artifact(&name).await.unwrap_err().is_not_found());

    let content: Vec<u8> = (0..3 * MIB).map(|at| (at % 251) as u8).collect();
    client.upload(&version.name, "model.bin", content.clone()).await.unwrap();
    assert_eq!(client.download(&name).bytes().await.unwrap(), content);
    let sealed = client.finalize_version(&version.name).await.unwrap();
    assert_eq!((sealed.artifact_count, sealed.size_bytes), (1, content.len() as i64));
}

/// An upload that gets the bytes that are written to the other end.
fn begin_upload(
    client: &registry_client::RegistryClient,
    version: &str,
) -> (DuplexStream, JoinHandle<Result<pb::Artifact, Error>>) {
    let (bytes, reader) = duplex(MIB);
    let upload = client.upload(version, "model.bin", Source::reader(reader));
    (bytes, tokio::spawn(upload.send()))
}

/// Sends some MiB, and waits until the first of them are in the server's folder.
async fn send_until_stored(bytes: &mut DuplexStream, folder: &Path) {
    for part in 0..4 {
        bytes.write_all(&vec![part; MIB]).await.unwrap();
    }
    let stored = async {
        while files(&folder.join("artifacts/incoming")) < MIB as u64 {
            yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stored).await.expect("the server takes the bytes");
}

/// How many bytes the files below a folder have, without the locks of servers. One more for each, so that empty ones count.
fn files(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let entries = entries.map(|entry| entry.expect("the folder can be read").path());
    let entries = entries.filter(|path| path.extension().is_none_or(|extension| extension != "lock"));
    entries
        .map(|path| if path.is_dir() { files(&path) } else { path.metadata().map_or(0, |file| 1 + file.len()) })
        .sum()
}
