//! Files that are uploaded in parts.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream;
use registry_client::Error;
use registry_client::pb::upload_part_request::Request as Piece;
use registry_client::pb::{
    Artifact, CreateArtifactRequest, ErrorReason, ListPartsRequest, Part, PartMetadata, UploadPartRequest,
};
use registry_server::config::Size;
use registry_tests::chunks::{self, given, service};
use registry_tests::expect::{invalid, refused, unchanged};
use registry_tests::http::{Answer, json, request, send};
use registry_tests::{TestServer, model, noise, noise_of, pending, sha256};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

const VERSION: &str = "models/fraud/versions/1";
const PATH: &str = "/v1/namespaces/default/models/fraud/versions/1";
const INVALID: ErrorReason = ErrorReason::FieldInvalid;

async fn prepared() -> (TestServer, String) {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, "models/fraud").await;
    pending(&client, "models/fraud").await;
    pending(&client, "models/fraud").await;
    (server, Uuid::new_v4().to_string())
}

fn metadata(id: &str, number: i32, bytes: &[u8]) -> PartMetadata {
    let (parent, upload_id) = (VERSION.to_owned(), id.to_owned());
    PartMetadata { parent, upload_id, number, size_bytes: bytes.len() as i64, ..Default::default() }
}

async fn stream_of(server: &TestServer, pieces: Vec<Piece>) -> Result<Part, Error> {
    let messages = pieces.into_iter().map(|piece| UploadPartRequest { request: Some(piece) });
    Ok(service(server).upload_part(stream::iter(messages)).await?.into_inner())
}

async fn part(server: &TestServer, metadata: PartMetadata, bytes: &[u8]) -> Result<Part, Error> {
    stream_of(server, vec![Piece::Metadata(metadata), Piece::Data(Bytes::copy_from_slice(bytes))]).await
}

async fn listed(server: &TestServer, id: &str) -> Vec<(i32, i64)> {
    let list = ListPartsRequest { parent: VERSION.to_owned(), upload_id: id.to_owned(), ..Default::default() };
    let parts = service(server).list_parts(list).await.unwrap().into_inner().parts;
    parts.iter().map(|part| (part.number, part.size_bytes)).collect()
}

fn create(path: &str, id: &str, part_count: i32, size_bytes: i64) -> CreateArtifactRequest {
    let (parent, upload_id) = (VERSION.to_owned(), id.to_owned());
    let artifact = Some(Artifact { size_bytes, ..given(path) });
    CreateArtifactRequest { parent, artifact, upload_id, part_count, ..Default::default() }
}

async fn made(server: &TestServer, create: CreateArtifactRequest) -> Result<Artifact, Error> {
    Ok(service(server).create_artifact(create).await?.into_inner())
}

async fn put(server: &TestServer, id: &str, number: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Answer {
    let path = format!("{PATH}/uploads/{id}/parts/{number}");
    send(server.address(), request("PUT", &path, headers, bytes.to_vec())).await
}

#[tokio::test]
async fn a_file_is_made_of_its_parts_whenever_they_came() {
    let (server, id) = prepared().await;
    let whole = noise(3_000_000);
    let parts: Vec<_> = whole.chunks(1_200_000).collect();
    // The last one first; one that broke off, was something else, and is sent again.
    for (number, bytes) in [(3, parts[2]), (1, &b"something else"[..]), (2, parts[1]), (1, parts[0])] {
        let answer = put(&server, &id, &number.to_string(), &[], bytes).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert_eq!((told["number"].as_i64(), told["sha256"].as_str()), (Some(number), Some(&*sha256(bytes))));
        assert_eq!(answer.header("etag"), format!("\"{}\"", sha256(bytes)));
    }
    let list = async |query: &str| {
        let path = format!("{PATH}/uploads/{id}/parts{query}");
        let answer = send(server.address(), request("GET", &path, &[], "")).await.json();
        let numbers: Vec<_> = answer["parts"].as_array().unwrap().iter().map(|part| part["number"].clone()).collect();
        (numbers, answer["nextPageToken"].as_str().map(str::to_owned))
    };
    let (first, token) = list("?pageSize=2").await;
    let (second, end) = list(&format!("?pageSize=2&pageToken={}", token.unwrap())).await;
    assert_eq!(([first, second].concat(), end), (vec![json!(1), json!(2), json!(3)], None));

    let body = json!({
        "artifact": { "path": "m.bin", "type": "model", "sha256": sha256(&whole) }, "uploadId": id, "partCount": 3,
    });
    let artifact = send(server.address(), json("POST", &format!("{PATH}/artifacts"), &body)).await;
    assert_eq!(artifact.status, 200, "{artifact:?}");
    assert_eq!(artifact.json()["sizeBytes"], "3000000");
    let client = server.client();
    assert_eq!(client.download(format!("{VERSION}/artifacts/m.bin")).bytes().await.unwrap(), whole);
    // Whoever did not hear that it is there asks again.
    let again = unchanged(&server, send(server.address(), json("POST", &format!("{PATH}/artifacts"), &body))).await;
    assert_eq!(again.json(), artifact.json());
}

#[tokio::test]
async fn parts_of_any_size_make_a_file() {
    let (server, id) = prepared().await;
    let empty = PartMetadata { sha256: sha256(b""), ..metadata(&id, 1, b"") };
    part(&server, empty.clone(), b"").await.unwrap();
    let nothing = Artifact { sha256: sha256(b""), ..given("nothing") };
    let nothing = CreateArtifactRequest { artifact: Some(nothing), ..create("", &id, 1, 0) };
    let nothing = made(&server, nothing).await.unwrap();
    assert_eq!((nothing.size_bytes, nothing.sha256), (0, sha256(b"")));
    part(&server, metadata(&id, 2, b"few"), b"few").await.unwrap();
    part(&server, PartMetadata { number: 10_000, ..empty }, b"").await.unwrap();
    assert_eq!(listed(&server, &id).await, [(1, 0), (2, 3), (10_000, 0)]);
    let few = made(&server, create("few", &id, 2, 3)).await.unwrap();
    assert_eq!((few.size_bytes, few.sha256), (3, sha256(b"few")));
    let trial = CreateArtifactRequest { validate_only: true, ..create("trial", &id, 2, 3) };
    assert_eq!(unchanged(&server, made(&server, trial)).await.unwrap().sha256, sha256(b"few"));
}

#[tokio::test]
async fn what_is_missing_of_a_file_is_named() {
    let (server, id) = prepared().await;
    for number in [1, 3] {
        part(&server, metadata(&id, number, b"bytes"), b"bytes").await.unwrap();
    }
    let few = made(&server, create("m.bin", &id, 4, 20));
    let error = refused(&server, few, Code::FailedPrecondition, ErrorReason::PartsMissing).await;
    assert!(error.to_string().contains("of its parts 1 to 4 these are missing: 2, 4"), "{error}");
    // Those of another version are not its own.
    let other = CreateArtifactRequest { parent: "models/fraud/versions/2".to_owned(), ..create("m.bin", &id, 1, 5) };
    refused(&server, made(&server, other), Code::FailedPrecondition, ErrorReason::PartsMissing).await;
    let wrong = CreateArtifactRequest {
        artifact: Some(Artifact { size_bytes: 6, ..given("m.bin") }),
        ..create("m.bin", &id, 1, 5)
    };
    invalid(&server, made(&server, wrong), &[("artifact.size_bytes", ErrorReason::SizeMismatch)]).await;
}

#[tokio::test]
async fn a_part_is_what_it_announces_or_as_it_was() {
    let (server, id) = prepared().await;
    part(&server, metadata(&id, 1, b"as it was"), b"as it was").await.unwrap();
    let good = metadata(&id, 1, b"bytes");
    let required = ErrorReason::FieldRequired;
    for (bad, field, reason) in [
        (PartMetadata { parent: String::new(), ..good.clone() }, "metadata.parent", ErrorReason::NameInvalid),
        (PartMetadata { upload_id: String::new(), ..good.clone() }, "metadata.upload_id", required),
        (PartMetadata { upload_id: "one".to_owned(), ..good.clone() }, "metadata.upload_id", INVALID),
        (PartMetadata { number: 0, ..good.clone() }, "metadata.number", INVALID),
        (PartMetadata { number: 10_001, ..good.clone() }, "metadata.number", INVALID),
        (PartMetadata { size_bytes: -1, ..good.clone() }, "metadata.size_bytes", INVALID),
        (PartMetadata { size_bytes: 0, ..good.clone() }, "metadata.size_bytes", required),
        (PartMetadata { sha256: "abc".to_owned(), ..good.clone() }, "metadata.sha256", INVALID),
        (PartMetadata { size_bytes: 4, ..good.clone() }, "metadata.size_bytes", ErrorReason::SizeMismatch),
        (PartMetadata { size_bytes: 6, ..good.clone() }, "metadata.size_bytes", ErrorReason::SizeMismatch),
        (PartMetadata { sha256: sha256(b"other"), ..good.clone() }, "metadata.sha256", ErrorReason::DigestMismatch),
    ] {
        invalid(&server, part(&server, bad, b"bytes"), &[(field, reason)]).await;
    }
    let twice = vec![Piece::Metadata(good.clone()), Piece::Metadata(good.clone())];
    invalid(&server, stream_of(&server, twice), &[("metadata", INVALID)]).await;
    invalid(&server, stream_of(&server, vec![Piece::Data(Bytes::new())]), &[("metadata", required)]).await;
    let unknown = PartMetadata { parent: "models/fraud/versions/9".to_owned(), ..good };
    refused(&server, part(&server, unknown, b"bytes"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    assert_eq!(listed(&server, &id).await, [(1, 9)]);

    let digest = |bytes: &[u8]| format!("sha-256=:{}:", BASE64_STANDARD.encode(hex(&sha256(bytes))));
    for (number, headers, status, reason) in [
        ("1", &[("repr-digest", &*digest(b"other"))][..], 400, "DIGEST_MISMATCH"),
        ("1", &[("content-range", "bytes 0-4/9")], 400, "FIELD_INVALID"),
        ("0", &[], 400, "FIELD_INVALID"),
        ("x", &[], 400, "FIELD_INVALID"),
        ("01", &[], 400, "FIELD_INVALID"),
        ("+1", &[], 400, "FIELD_INVALID"),
        ("1?type=model", &[], 400, "FIELD_INVALID"),
    ] {
        let answer = put(&server, &id, number, headers, b"bytes").await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{number} {headers:?}");
    }
    let got = send(server.address(), request("GET", &format!("{PATH}/uploads/{id}/parts/1"), &[], "")).await;
    assert_eq!((got.status, got.header("allow")), (405, "PUT"));
    assert_eq!(listed(&server, &id).await, [(1, 9)]);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn what_an_artifact_is_made_of_is_said_in_one_way() {
    let (server, id) = prepared().await;
    part(&server, metadata(&id, 1, b"bytes"), b"bytes").await.unwrap();
    let data = CreateArtifactRequest { data: Bytes::from_static(b"x"), ..create("m.bin", &id, 1, 5) };
    for (bad, field, reason) in [
        (data, "part_count", INVALID),
        (create("m.bin", &id, -1, 5), "part_count", INVALID),
        (create("m.bin", &id, 10_001, 5), "part_count", INVALID),
        (create("m.bin", "", 1, 5), "upload_id", ErrorReason::FieldRequired),
        (create("m.bin", "one", 1, 5), "upload_id", INVALID),
        // Not an empty file, and not a part of one.
        (create("m.bin", &id, 0, 0), "part_count", ErrorReason::FieldRequired),
        (create("m.bin", &id, 1, 0), "artifact.size_bytes", ErrorReason::FieldRequired),
    ] {
        invalid(&server, made(&server, bad), &[(field, reason)]).await;
    }
}

/// The parts that are stored in a folder.
fn stored(server: &TestServer) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![server.storage().join("artifacts/uploads")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_part_of_a_version_that_was_deleted_meanwhile_is_refused() {
    let (server, id) = prepared().await;
    let (send, rest) = futures::channel::mpsc::unbounded();
    let message = |piece| UploadPartRequest { request: Some(piece) };
    let mut service = service(&server);
    send.unbounded_send(message(Piece::Metadata(metadata(&id, 1, b"half and half")))).unwrap();
    send.unbounded_send(message(Piece::Data(Bytes::from_static(b"half and ")))).unwrap();
    let upload = tokio::spawn(async move { service.upload_part(rest).await });
    server.client().delete_version(VERSION).await.unwrap();
    send.unbounded_send(message(Piece::Data(Bytes::from_static(b"half")))).unwrap();
    drop(send);
    let refused = Error::from(upload.await.unwrap().unwrap_err());
    assert_eq!(refused.reason(), Some(ErrorReason::ResourceDeleted));
}

#[tokio::test]
async fn what_is_too_large_is_413() {
    let server = TestServer::with(|config| config.max_artifact_size = Some(Size::of(1 << 20))).await;
    model(&server.client(), "models/fraud").await;
    pending(&server.client(), "models/fraud").await;
    let id = Uuid::new_v4().to_string();
    let answer = put(&server, &id, "1", &[], &noise(1_100_000)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "ARTIFACT_TOO_LARGE"));
    for number in ["1", "2"] {
        assert_eq!(put(&server, &id, number, &[], &noise(600_000)).await.status, 200);
    }
    let whole = made(&server, create("m.bin", &id, 2, 1_200_000));
    refused(&server, whole, Code::ResourceExhausted, ErrorReason::ArtifactTooLarge).await;
}

#[tokio::test]
async fn a_damaged_part_is_missing() {
    registry_tests::store::artifacts_in_folder();
    let (server, id) = prepared().await;
    let bytes = noise_of(1, 300_000);
    for number in 1..=3 {
        part(&server, metadata(&id, number, &bytes), &bytes).await.unwrap();
    }
    let second_is_missing = async |validate_only| {
        let create = CreateArtifactRequest { validate_only, ..create("m.bin", &id, 3, 600_003) };
        let made = made(&server, create);
        let error = refused(&server, made, Code::FailedPrecondition, ErrorReason::PartsMissing).await;
        assert!(error.to_string().contains("of its parts 1 to 3 these are missing: 2"), "{error}");
    };
    let files = stored(&server);
    let mut record = std::fs::read(&files[1]).unwrap();
    record[40] ^= 1;
    std::fs::write(&files[1], record).unwrap();
    assert_eq!(listed(&server, &id).await, [(1, 300_000), (3, 300_000)]);
    second_is_missing(false).await;
    // And so is one whose bytes are gone.
    part(&server, metadata(&id, 2, b"few"), b"few").await.unwrap();
    let gone = chunks::all(&server.storage()).into_iter().find(|file| file.metadata().unwrap().len() < 1000).unwrap();
    std::fs::remove_file(gone).unwrap();
    assert_eq!(listed(&server, &id).await.len(), 3);
    second_is_missing(true).await;
    assert_eq!(listed(&server, &id).await.len(), 3, "a trial changes nothing");
    second_is_missing(false).await;
    // Whoever goes on by the list sends it again.
    assert_eq!(listed(&server, &id).await, [(1, 300_000), (3, 300_000)]);
    part(&server, metadata(&id, 2, b"few"), b"few").await.unwrap();
    assert_eq!(made(&server, create("m.bin", &id, 3, 600_003)).await.unwrap().size_bytes, 600_003);
}

#[tokio::test]
async fn parts_go_by_their_age_and_artifacts_stay() {
    registry_tests::store::artifacts_in_folder();
    let (server, id) = prepared().await;
    let client = server.client();
    for (number, bytes) in [(1, b"one"), (2, b"two")] {
        part(&server, metadata(&id, number, bytes), bytes).await.unwrap();
    }
    made(&server, create("m.bin", &id, 1, 3)).await.unwrap();
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    let age =
        |file: &PathBuf| std::fs::File::options().write(true).open(file).unwrap().set_modified(two_days_ago).unwrap();
    let half = PathBuf::from(format!("{}#1", stored(&server)[0].display()));
    std::fs::write(&half, b"half").unwrap();
    age(&half);
    // One of them is still new.
    age(&stored(&server)[0]);
    assert_eq!(client.collect_garbage().validate_only(true).await.unwrap().removed_parts, 1);
    let report = client.collect_garbage().await.unwrap();
    assert_eq!((report.removed_parts, report.removed_leftovers), (1, 1));
    assert_eq!(listed(&server, &id).await, [(2, 3)]);
    age(&stored(&server)[0]);
    chunks::all(&server.storage()).iter().for_each(age);
    let report = client.collect_garbage().await.unwrap();
    assert_eq!((report.removed_parts, report.removed_chunks), (1, 1));
    let folder = server.storage().join("artifacts/uploads");
    // As a crash leaves it.
    std::fs::create_dir_all(folder.join("default/version/upload")).unwrap();
    client.collect_garbage().await.unwrap();
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "nothing is left of an upload");
    assert_eq!(client.download(format!("{VERSION}/artifacts/m.bin")).bytes().await.unwrap(), &b"one"[..]);
    part(&server, metadata(&id, 1, b"new"), b"new").await.unwrap();
    assert_eq!(listed(&server, &id).await, [(1, 3)]);
}
