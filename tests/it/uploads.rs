//! Uploads that come to nothing, and leave nothing.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use registry_client::Error;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::upload_artifact_request::Request;
use registry_client::pb::{Artifact, ErrorReason, UploadArtifactRequest, UploadMetadata};
use registry_server::config::Period;
use registry_tests::chunks::given;
use registry_tests::expect::{invalid, refused};
use registry_tests::{PATIENCE, TestServer, files, model, noise, pending, ready, sha256, until};
use tonic::Code;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";

/// An announcement of `model.onnx`.
fn announced(size_bytes: i64, sha256: &str) -> UploadMetadata {
    of(Artifact { size_bytes, sha256: sha256.to_owned(), ..given("model.onnx") })
}

fn of(artifact: Artifact) -> UploadMetadata {
    UploadMetadata { parent: VERSION.to_owned(), artifact: Some(artifact), ..Default::default() }
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
    let folder = server.storage().join("artifacts/chunks");
    until(PATIENCE, || async { files(&folder).is_empty().then_some(()) }).await;
    let client = server.client();
    assert!(client.list_artifacts(VERSION).await.unwrap().artifacts.is_empty());
    assert_eq!(client.get_version(VERSION).await.unwrap().artifact_count, 0);
}

#[tokio::test]
async fn bytes_that_are_not_the_announced_ones_are_refused() {
    let server = server_with_pending_version().await;
    let digest = ("metadata.artifact.sha256", ErrorReason::DigestMismatch);
    let size = ("metadata.artifact.size_bytes", ErrorReason::SizeMismatch);
    let other = sha256(b"other");
    invalid(&server, upload(&server, announced(0, &other), b"bytes"), &[digest]).await;
    nothing_kept(&server).await;
    for wrong in [4, 6] {
        invalid(&server, upload(&server, announced(wrong, ""), b"bytes"), &[size]).await;
        nothing_kept(&server).await;
    }
    invalid(&server, upload(&server, announced(6, &other), b"bytes"), &[size, digest]).await;
    nothing_kept(&server).await;

    let right = announced(5, &sha256(b"bytes").to_uppercase());
    assert_eq!(upload(&server, right, b"bytes").await.unwrap().sha256, sha256(b"bytes"));
}

#[tokio::test]
async fn an_upload_is_announced_by_its_size_or_its_digest() {
    let server = server_with_pending_version().await;
    let either = [("metadata.artifact.size_bytes", ErrorReason::FieldRequired)];
    for bytes in [&b"bytes"[..], b""] {
        invalid(&server, upload(&server, announced(0, ""), bytes), &either).await;
    }
    nothing_kept(&server).await;
    // An empty file is announced by its digest.
    let empty = upload(&server, announced(0, &sha256(b"")), b"").await.unwrap();
    assert_eq!((empty.size_bytes, empty.sha256), (0, sha256(b"")));
    let sized = of(Artifact { size_bytes: 5, ..given("sized.onnx") });
    assert_eq!(upload(&server, sized, b"bytes").await.unwrap().sha256, sha256(b"bytes"));
}

#[tokio::test]
async fn an_upload_that_is_cut_off_makes_no_artifact() {
    registry_tests::store::artifacts_in_folder();
    let server = server_with_pending_version().await;
    let data = Bytes::from(noise(1024 * 1024));
    let first = [Request::Metadata(announced(3 << 20, "")), Request::Data(data.clone()), Request::Data(data)];
    let parts = first.map(|part| UploadArtifactRequest { request: Some(part) });
    let mut service = ArtifactServiceClient::new(server.channel());
    let cut = tokio::spawn(async move { service.upload_artifact(stream::iter(parts).chain(stream::pending())).await });
    let folder = server.storage().join("artifacts/chunks");
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
    let server = TestServer::with(|config| config.upload_idle = Period::of_secs(0)).await;
    model(&server.client(), MODEL).await;
    pending(&server.client(), MODEL).await;
    let first = stream::iter([UploadArtifactRequest { request: Some(Request::Metadata(announced(5, ""))) }]);
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
    let metadata = || Request::Metadata(announced(1, ""));
    let twice = vec![metadata(), data(), metadata()];
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
        let bad = of(Artifact { size_bytes: 1, ..given(path) });
        invalid(&server, upload(&server, bad, b"x"), &[("metadata.artifact.path", ErrorReason::NameInvalid)]).await;
    }
    nothing_kept(&server).await;
}

#[tokio::test]
async fn every_field_at_fault_is_listed() {
    let server = server_with_pending_version().await;
    let bad = UploadMetadata {
        parent: "nonsense".to_owned(),
        artifact: Some(Artifact {
            path: "../x".to_owned(),
            r#type: "No Type".to_owned(),
            media_type: "nonsense".to_owned(),
            size_bytes: -1,
            sha256: "xyz".to_owned(),
            tags: [("k".to_owned(), "v".repeat(257))].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let fields = [
        ("metadata.parent", ErrorReason::NameInvalid),
        ("metadata.artifact.path", ErrorReason::NameInvalid),
        ("metadata.artifact.type", ErrorReason::FieldInvalid),
        ("metadata.artifact.media_type", ErrorReason::FieldInvalid),
        ("metadata.artifact.size_bytes", ErrorReason::FieldInvalid),
        ("metadata.artifact.sha256", ErrorReason::FieldInvalid),
        ("metadata.artifact.tags[k]", ErrorReason::FieldInvalid),
    ];
    invalid(&server, upload(&server, bad, b"x"), &fields).await;
    let untyped = of(Artifact { path: "model.onnx".to_owned(), size_bytes: 1, ..Default::default() });
    invalid(&server, upload(&server, untyped, b"x"), &[("metadata.artifact.type", ErrorReason::FieldRequired)]).await;
    let nothing = UploadMetadata { parent: VERSION.to_owned(), ..Default::default() };
    invalid(&server, upload(&server, nothing, b"x"), &[("metadata.artifact", ErrorReason::FieldRequired)]).await;
}

#[tokio::test]
async fn other_bytes_under_a_path_are_refused_and_the_same_are_answered_alike() {
    let server = server_with_pending_version().await;
    let client = server.client();
    let first = client.upload(VERSION, "model.onnx", b"one".to_vec()).await.unwrap();
    let same = registry_tests::expect::unchanged(&server, client.upload(VERSION, "model.onnx", b"one".to_vec()));
    assert_eq!(same.await.unwrap(), first);
    let other = || client.upload(VERSION, "model.onnx", b"two".to_vec());
    let error = refused(&server, other(), Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    assert_eq!(error.status().unwrap().resource.as_ref().unwrap().resource_name, first.name);
    // Also where the digest is known only at the end.
    let unannounced = upload(&server, announced(3, ""), b"two");
    refused(&server, unannounced, Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    assert_eq!(client.download(&first.name).bytes().await.unwrap(), "one");
}

#[tokio::test]
async fn an_upload_needs_a_version_that_takes_it() {
    let server = server_with_pending_version().await;
    let client = server.client();
    let to = |version: &str| client.upload(version, "model.onnx", b"x".to_vec());
    refused(&server, to("models/none/versions/1"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    refused(&server, to("models/fraud/versions/9"), Code::NotFound, ErrorReason::ResourceNotFound).await;
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
    refused(
        &server,
        upload(&server, announced(bytes.len() as i64, ""), &bytes),
        Code::ResourceExhausted,
        ErrorReason::MessageTooLarge,
    )
    .await;
    nothing_kept(&server).await;
}
