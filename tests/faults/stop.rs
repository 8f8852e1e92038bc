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
use registry_tests::{PATIENCE, chunks, files, noise, noise_of, sha256, until};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
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
    let server = ServerProcess::start_with(folder.path(), LISTEN, &["--drain", "4s"]);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = impatient(&endpoint);
    client.create_model(MODEL).await.unwrap();
    let version = client.create_version(MODEL).await.unwrap();
    let mut watch = begin_watch(&endpoint).await;
    // Does not hold the server up, though nothing ends it on the other side.
    let mut health = begin_health_watch(&endpoint).await;
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

    let ended = end_of(&mut watch).await;
    assert!(ended.is_unavailable(), "{ended:?}");
    assert_eq!(ended.reason(), Some(pb::ErrorReason::ServerDraining), "{ended:?}");
    let mut last = ServingStatus::Serving;
    while let Some(message) = health.message().await.unwrap() {
        last = message.status();
    }
    assert_eq!(last, ServingStatus::NotServing);
    assert!(start.elapsed() < Duration::from_secs(4), "watches end at once, and not after {:?}", start.elapsed());
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

type Watch = tonic::Streaming<pb::WatchEventsResponse>;

/// A watch that stands.
async fn begin_watch(endpoint: &str) -> Watch {
    let channel = Endpoint::from_shared(endpoint.to_owned()).unwrap().connect().await.unwrap();
    let mut events = EventServiceClient::new(channel);
    let mut watch = events.watch_events(pb::WatchEventsRequest::default()).await.unwrap().into_inner();
    let created = watch.message().await.unwrap().unwrap().response;
    assert!(matches!(created, Some(Response::Created(_))), "{created:?}");
    watch
}

/// What ends a watch.
async fn end_of(watch: &mut Watch) -> Error {
    loop {
        match watch.message().await {
            Ok(Some(message)) => assert!(!matches!(message.response, Some(Response::Created(_))), "{message:?}"),
            Ok(None) => panic!("a watch ends only with a status"),
            Err(status) => return Error::from(status),
        }
    }
}

async fn begin_health_watch(endpoint: &str) -> tonic::Streaming<HealthCheckResponse> {
    let channel = Endpoint::from_shared(endpoint.to_owned()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    health
}

/// Of those who go on sending, or reading, what they began before the server was stopped.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_go_on_are_brought_to_their_end_and_then_the_server_stops() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start_with(folder.path(), LISTEN, &["--drain", "60s"]);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = impatient(&endpoint);
    client.create_model(MODEL).await.unwrap();
    let version = client.create_version(MODEL).await.unwrap().name;
    let (sent, read) = (noise_of(1, 12 * MIB), noise_of(2, 16 * MIB));
    client.upload(&version, "read.bin", read.clone()).await.unwrap();
    let channel = || Endpoint::from_shared(endpoint.clone()).unwrap().connect_lazy();

    let name = format!("{version}/artifacts/read.bin");
    let request = pb::DownloadArtifactRequest { name, ..Default::default() };
    let mut artifacts = ArtifactServiceClient::new(channel());
    let mut download = artifacts.download_artifact(request).await.unwrap().into_inner();
    let mut received = download.message().await.unwrap().unwrap().data.to_vec();
    let (upload, parts) = mpsc::channel(1);
    let mut artifacts = ArtifactServiceClient::new(channel());
    let uploaded = tokio::spawn(async move { artifacts.upload_artifact(ReceiverStream::new(parts)).await });
    let mut parts = parts_of(&version, "sent.bin", sent);
    let rest = parts.split_off(parts.len() / 2);
    let before = chunks::all(folder.path()).len();
    for part in parts {
        upload.send(part).await.unwrap();
    }
    until(PATIENCE, || async { (chunks::all(folder.path()).len() > before).then_some(()) }).await;

    let mut watch = begin_watch(&endpoint).await;
    let start = Instant::now();
    server.begin_termination();
    assert!(end_of(&mut watch).await.is_unavailable());
    // Nobody new is let in.
    until(PATIENCE, || async { TcpStream::connect(&listen).await.is_err().then_some(()) }).await;
    for part in rest {
        upload.send(part).await.unwrap();
    }
    drop(upload);
    let artifact = uploaded.await.unwrap().unwrap().into_inner();
    assert_eq!(artifact.path, "sent.bin");
    while let Some(piece) = download.message().await.unwrap() {
        received.extend_from_slice(&piece.data);
    }
    assert!(received == read);
    let status = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(30), "it took {:?}", start.elapsed());

    let _server = ServerProcess::start(folder.path(), &listen);
    let there = patient(&endpoint).get_artifact(&artifact.name).await.unwrap();
    assert_eq!(there.sha256, artifact.sha256);
}

/// The messages of an upload.
fn parts_of(version: &str, path: &str, content: Vec<u8>) -> Vec<pb::UploadArtifactRequest> {
    let artifact = pb::Artifact {
        path: path.to_owned(),
        r#type: known::artifact_type::MODEL.to_owned(),
        sha256: sha256(&content),
        ..Default::default()
    };
    let metadata = pb::UploadMetadata { parent: version.to_owned(), artifact: Some(artifact), ..Default::default() };
    let data = chunks::cut(content).into_iter().map(Part::Data);
    let parts = [Part::Metadata(metadata)].into_iter().chain(data);
    parts.map(|part| pb::UploadArtifactRequest { request: Some(part) }).collect()
}

/// Uploads that have begun, of bytes and of chunks, and do not go on until the server ends them.
fn begin_uploads(endpoint: &str, version: &str) -> [JoinHandle<Error>; 2] {
    let channel = Endpoint::from_shared(endpoint.to_owned()).unwrap().connect_lazy();
    let (mut of_bytes, mut of_chunks) =
        (ArtifactServiceClient::new(channel.clone()), ArtifactServiceClient::new(channel));
    let pieces = chunks::cut(noise(4 * MIB));
    let parts = parts_of(version, "model.bin", noise(4 * MIB));
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
