//! Uploads that come to nothing, and leave nothing.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use registry_client::Error;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::upload_artifact_request::Request;
use registry_client::pb::{Artifact, ArtifactType, ErrorReason, UploadArtifactRequest, UploadMetadata};
use registry_tests::expect::{invalid, refused};
use registry_tests::{PATIENCE, TestServer, files, model, noise, pending, ready, sha256, until};
use tonic::Code;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";

fn metadata() -> UploadMetadata {
    UploadMetadata {
        parent: VERSION.to_owned(),
        path: "model.onnx".to_owned(),
        r#type: ArtifactType::Model.into(),
        ..Default::default()
    }
}

async fn send(server: &TestServer, parts: Vec<Request>) -> Result<Artifact, Error> {
    let parts = parts.into_iter().map(|part| UploadArtifactRequest { request: Some(part) });
    let mut service = ArtifactServiceClient::new(server.channel());
    Ok(service.upload_artifact(stream::iter(parts.collect::<Vec<_>>())).await?.into_inner())
}

async fn upload(server: &TestServer, metadata: UploadMetadata, bytes: &[u8]) -> Result<Artifact, Error> {
    send(server, vec![Request::Metadata(metadata), Request::Data(Bytes::copy_from_slice(bytes))]).await
}

async fn server_with_pending_version() -> TestServer {
    let server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    pending(&server.client(), MODEL).await;
    server
}

/// Waits until nothing is stored, which has to be so after a refusal: the removal may come a moment after the answer.
async fn nothing_kept(server: &TestServer) {
    let folder = server.storage().join("artifacts");
    until(PATIENCE, || async { files(&folder).is_empty().then_some(()) }).await;
    let client = server.client();
    assert!(client.list_artifacts(VERSION).await.unwrap().artifacts.is_empty());
    assert_eq!(client.get_version(VERSION).await.unwrap().artifact_count, 0);
}

#[tokio::test]
async fn bytes_that_are_not_the_announced_ones_are_refused() {
    let server = server_with_pending_version().await;
    let wrong_digest = UploadMetadata { sha256: sha256(b"other"), ..metadata() };
    let fields = [("metadata.sha256", ErrorReason::DigestMismatch)];
    invalid(&server, upload(&server, wrong_digest.clone(), b"bytes"), &fields).await;
    nothing_kept(&server).await;
    for announced in [0, 4, 6] {
        let wrong_size = UploadMetadata { size_bytes: Some(announced), ..metadata() };
        let fields = [("metadata.size_bytes", ErrorReason::SizeMismatch)];
        invalid(&server, upload(&server, wrong_size, b"bytes"), &fields).await;
        nothing_kept(&server).await;
    }
    let both = UploadMetadata { size_bytes: Some(6), ..wrong_digest };
    let fields = [("metadata.size_bytes", ErrorReason::SizeMismatch), ("metadata.sha256", ErrorReason::DigestMismatch)];
    invalid(&server, upload(&server, both, b"bytes"), &fields).await;
    nothing_kept(&server).await;

    let right = UploadMetadata { size_bytes: Some(5), sha256: sha256(b"bytes").to_uppercase(), ..metadata() };
    assert_eq!(upload(&server, right, b"bytes").await.unwrap().sha256, sha256(b"bytes"));
}

#[tokio::test]
async fn an_upload_that_is_cut_off_makes_no_artifact() {
    registry_tests::store::artifacts_in_folder();
    let server = server_with_pending_version().await;
    let data = Bytes::from(noise(1024 * 1024));
    let first = [Request::Metadata(metadata()), Request::Data(data.clone()), Request::Data(data)];
    let parts = first.map(|part| UploadArtifactRequest { request: Some(part) });
    let mut service = ArtifactServiceClient::new(server.channel());
    let cut = tokio::spawn(async move { service.upload_artifact(stream::iter(parts).chain(stream::pending())).await });
    let folder = server.storage().join("artifacts");
    until(PATIENCE, || async { (!files(&folder).is_empty()).then_some(()) }).await;
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    // Chunks may stay, for the next attempt.
    let client = server.client();
    let sealed = client.finalize_version(VERSION).await.unwrap();
    assert_eq!((sealed.artifact_count, client.list_artifacts(VERSION).await.unwrap().artifacts), (0, Vec::new()));
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up() {
    let server = TestServer::with(|config| config.upload_idle_seconds = 0).await;
    model(&server.client(), MODEL).await;
    pending(&server.client(), MODEL).await;
    let first = stream::iter([UploadArtifactRequest { request: Some(Request::Metadata(metadata())) }]);
    let mut service = ArtifactServiceClient::new(server.channel());
    let error = Error::from(service.upload_artifact(first.chain(stream::pending())).await.unwrap_err());
    assert_eq!((error.code(), error.reason()), (Some(Code::DeadlineExceeded), Some(ErrorReason::DeadlineExceeded)));
    nothing_kept(&server).await;
}

#[tokio::test]
async fn the_metadata_comes_first_and_once() {
    let server = server_with_pending_version().await;
    let data = || Request::Data(Bytes::from_static(b"x"));
    let fields = [("metadata", ErrorReason::FieldRequired)];
    invalid(&server, send(&server, vec![data()]), &fields).await;
    invalid(&server, send(&server, Vec::new()), &fields).await;
    let twice = vec![Request::Metadata(metadata()), data(), Request::Metadata(metadata())];
    invalid(&server, send(&server, twice), &[("metadata", ErrorReason::FieldInvalid)]).await;
    nothing_kept(&server).await;
}

#[tokio::test]
async fn a_path_leads_nowhere_else() {
    let server = server_with_pending_version().await;
    let long = "a/".repeat(512) + "b";
    let part = "a".repeat(256);
    for path in [
        "../x",
        "a/../../x",
        "..",
        ".",
        "/etc/passwd",
        "a//b",
        "a/",
        "",
        "a\\b",
        "C:x",
        "a\0b",
        "a\nb",
        "e\u{301}",
        &long,
        &part,
    ] {
        let bad = UploadMetadata { path: path.to_owned(), ..metadata() };
        invalid(&server, upload(&server, bad, b"x"), &[("metadata.path", ErrorReason::NameInvalid)]).await;
    }
    nothing_kept(&server).await;
}

#[tokio::test]
async fn every_field_at_fault_is_listed() {
    let server = server_with_pending_version().await;
    let bad = UploadMetadata {
        parent: "nonsense".to_owned(),
        path: "../x".to_owned(),
        r#type: 99,
        media_type: "nonsense".to_owned(),
        size_bytes: Some(-1),
        sha256: "xyz".to_owned(),
        ..Default::default()
    };
    let fields = [
        ("metadata.parent", ErrorReason::NameInvalid),
        ("metadata.path", ErrorReason::NameInvalid),
        ("metadata.type", ErrorReason::FieldInvalid),
        ("metadata.media_type", ErrorReason::FieldInvalid),
        ("metadata.size_bytes", ErrorReason::FieldInvalid),
        ("metadata.sha256", ErrorReason::FieldInvalid),
    ];
    invalid(&server, upload(&server, bad, b"x"), &fields).await;
    let untyped = UploadMetadata { r#type: 0, ..metadata() };
    invalid(&server, upload(&server, untyped, b"x"), &[("metadata.type", ErrorReason::FieldRequired)]).await;
}

#[tokio::test]
async fn other_bytes_under_a_path_are_refused_and_the_same_are_answered_alike() {
    let server = server_with_pending_version().await;
    let client = server.client();
    let first = client.upload(VERSION, "model.onnx", b"one".to_vec()).await.unwrap();
    let same = registry_tests::expect::unchanged(&server, client.upload(VERSION, "model.onnx", b"one".to_vec()));
    assert_eq!(same.await.unwrap(), first);
    let other = || client.upload(VERSION, "model.onnx", b"two".to_vec());
    let error = refused(&server, other(), Code::AlreadyExists, ErrorReason::ArtifactAlreadyExists).await;
    assert_eq!(error.status().unwrap().metadata["name"], first.name);
    // Also where the digest is known only at the end.
    let unannounced = upload(&server, metadata(), b"two");
    refused(&server, unannounced, Code::AlreadyExists, ErrorReason::ArtifactAlreadyExists).await;
    assert_eq!(client.download(&first.name).bytes().await.unwrap(), "one");
}

#[tokio::test]
async fn an_upload_needs_a_version_that_takes_it() {
    let server = server_with_pending_version().await;
    let client = server.client();
    let to = |version: &str| client.upload(version, "model.onnx", b"x".to_vec());
    refused(&server, to("models/none/versions/1"), Code::NotFound, ErrorReason::ModelNotFound).await;
    refused(&server, to("models/fraud/versions/9"), Code::NotFound, ErrorReason::VersionNotFound).await;
    client.finalize_version(VERSION).failed("nan").await.unwrap();
    refused(&server, to(VERSION), Code::FailedPrecondition, ErrorReason::VersionSealed).await;
    let done = ready(&client, MODEL).await;
    refused(&server, to(&done.name), Code::FailedPrecondition, ErrorReason::VersionSealed).await;
    client.delete_version(&done.name).await.unwrap();
    refused(&server, to(&done.name), Code::FailedPrecondition, ErrorReason::ResourceDeleted).await;
    nothing_kept(&server).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = server_with_pending_version().await;
    let bytes = vec![0; 9 * 1024 * 1024];
    refused(&server, upload(&server, metadata(), &bytes), Code::ResourceExhausted, ErrorReason::MessageTooLarge).await;
    nothing_kept(&server).await;
}
