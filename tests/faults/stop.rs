//! Stopping in good order, on SIGTERM.

use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::upload_artifact_request::Request as Part;
use registry_client::pb::watch_events_response::Response;
use registry_client::{Error, known, pb};
use registry_tests::process::ServerProcess;
use registry_tests::{PATIENCE, chunks, files, noise, sha256, until};
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;
use uuid::Uuid;

use crate::{impatient, patient};

/// See `kill.rs`.
const LISTEN: &str = "127.0.0.3:0";
const MIB: usize = 1024 * 1024;
const MODEL: &str = "namespaces/default/models/stopped";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), LISTEN);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = impatient(&endpoint);
    client.create_model(MODEL).await.unwrap();
    let version = client.create_version(MODEL).await.unwrap();
    let mut watch = EventServiceClient::new(Endpoint::from_shared(endpoint.clone()).unwrap().connect().await.unwrap());
    let mut watch = watch.watch_events(pb::WatchEventsRequest::default()).await.unwrap().into_inner();
    let created = watch.message().await.unwrap().unwrap().response;
    assert!(matches!(created, Some(Response::Created(_))), "{created:?}");
    let uploads = begin_uploads(&endpoint, &version.name);
    let pieces = chunks::cut(noise(4 * MIB)).len();
    // The last piece of the bytes may be waiting for more.
    until(PATIENCE, || async { (chunks::all(folder.path()).len() == pieces).then_some(()) }).await;

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
    for upload in uploads {
        let ended = upload.await.unwrap();
        assert!(ended.is_unavailable(), "{ended:?}");
        assert_eq!(ended.reason(), Some(pb::ErrorReason::ServerDraining), "{ended:?}");
    }
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let status = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    let left = files(&folder.path().join("artifacts/chunks"));
    assert_eq!(left.len(), pieces, "{left:?}");

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
    assert_eq!(client.list_artifacts(&version.name).await.unwrap().artifacts, []);
}

/// Uploads that have begun, of bytes and of chunks, and do not go on until the server ends them.
fn begin_uploads(endpoint: &str, version: &str) -> [JoinHandle<Error>; 2] {
    let channel = Endpoint::from_shared(endpoint.to_owned()).unwrap().connect_lazy();
    let (mut of_bytes, mut of_chunks) =
        (ArtifactServiceClient::new(channel.clone()), ArtifactServiceClient::new(channel));
    let content = noise(4 * MIB);
    let artifact = pb::Artifact {
        path: "model.bin".to_owned(),
        r#type: known::artifact_type::MODEL.to_owned(),
        sha256: sha256(&content),
        ..Default::default()
    };
    let metadata = pb::UploadMetadata { parent: version.to_owned(), artifact: Some(artifact), ..Default::default() };
    let pieces = chunks::cut(content);
    let mut parts = vec![Part::Metadata(metadata)];
    parts.extend(pieces.iter().cloned().map(Part::Data));
    let parts: Vec<_> = parts.into_iter().map(|part| pb::UploadArtifactRequest { request: Some(part) }).collect();
    let mut messages = vec![chunks::first(version, "")];
    messages.extend(pieces.iter().enumerate().map(|(at, piece)| chunks::message(at, piece)));
    [
        tokio::spawn(async move {
            let upload = of_bytes.upload_artifact(stream::iter(parts).chain(stream::pending()));
            Error::from(upload.await.expect_err("an upload without an end"))
        }),
        tokio::spawn(async move {
            let upload = of_chunks.upload_chunks(stream::iter(messages).chain(stream::pending()));
            Error::from(upload.await.expect_err("an upload without an end"))
        }),
    ]
}
