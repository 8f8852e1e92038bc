//! Chunks and commits that lie: refused with a reason and the field, and without a trace.

use bytes::Bytes;
use registry_client::pb::{Artifact, Chunk, CreateArtifactRequest, ErrorReason, UploadChunksRequest};
use registry_common::chunks::{INLINE, LARGEST, MOST};
use registry_tests::chunks::{all, create, create_of, cut, first, given, message, missing, send};
use registry_tests::expect::{invalid, refused};
use registry_tests::{PATIENCE, TestServer, model, noise_of, pending, sha256, until};
use tonic::Code;
use uuid::Uuid;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";
const FILE: &str = "model.onnx";
const INVALID: ErrorReason = ErrorReason::FieldInvalid;

async fn server() -> TestServer {
    let server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    pending(&server.client(), MODEL).await;
    server
}

/// A server that has some pieces, which are no artifact yet.
async fn server_with(pieces: &[Bytes]) -> TestServer {
    let server = server().await;
    let messages = pieces.iter().enumerate().map(|(at, piece)| message(at, piece));
    send(&server, [first(VERSION, "")].into_iter().chain(messages).collect()).await.unwrap();
    server
}

async fn nothing_made(server: &TestServer) {
    let client = server.client();
    assert_eq!(client.list_artifacts(VERSION).await.unwrap().artifacts, []);
    assert_eq!(client.get_version(VERSION).await.unwrap().artifact_count, 0);
}

#[tokio::test]
async fn a_chunk_is_what_its_digest_says() {
    let server = server().await;
    let pieces = cut(noise_of(1, 4 << 20));
    let lie = UploadChunksRequest { blake3: message(0, &pieces[1]).blake3, ..message(0, &pieces[0]) };
    let sent = send(&server, vec![first(VERSION, ""), lie]);
    invalid(&server, sent, &[("blake3", ErrorReason::DigestMismatch)]).await;
    assert_eq!(missing(&server, VERSION, &pieces[..2]).await.unwrap(), [0, 1]);
    assert_eq!(all(&server.storage()), Vec::<std::path::PathBuf>::new());
    // The same bytes under their own name are taken, in the first message as well.
    let parent = VERSION.to_owned();
    let right = UploadChunksRequest { parent, ..message(0, &pieces[0]) };
    assert_eq!(send(&server, vec![right]).await.unwrap().chunk_count, 1);
    assert_eq!(missing(&server, VERSION, &pieces[..2]).await.unwrap(), [1]);
}

#[tokio::test]
async fn a_message_with_a_chunk_is_checked() {
    let server = server().await;
    let id = Uuid::new_v4().to_string();
    let piece = Bytes::from(noise_of(2, 1000));
    let good = message(0, &piece);
    let large = Bytes::from(noise_of(2, LARGEST + 1));
    let told = |size_bytes| UploadChunksRequest { data: Bytes::new(), size_bytes, ..good.clone() };
    let blake3 = |length: usize| UploadChunksRequest { blake3: Bytes::from(vec![7; length]), ..good.clone() };
    let at = |position| UploadChunksRequest { position, ..good.clone() };
    for (id, bad, field, reason) in [
        ("", blake3(31), "blake3", INVALID),
        ("", blake3(33), "blake3", INVALID),
        ("", blake3(0), "blake3", INVALID),
        ("", message(0, &large), "data", INVALID),
        ("", told(1000), "data", ErrorReason::FieldRequired),
        (&id, told(0), "size_bytes", INVALID),
        (&id, told(LARGEST as i64 + 1), "size_bytes", INVALID),
        (&id, told(i64::MAX), "size_bytes", INVALID),
        (&id, told(-1), "size_bytes", INVALID),
        (&id, at(MOST as i32), "position", INVALID),
        (&id, at(-1), "position", INVALID),
        ("", at(-1), "position", INVALID),
        ("", UploadChunksRequest { parent: VERSION.to_owned(), ..good.clone() }, "parent", INVALID),
        (&id, UploadChunksRequest { upload_id: id.clone(), ..good.clone() }, "upload_id", INVALID),
        ("", UploadChunksRequest::default(), "blake3", INVALID),
    ] {
        let sent = send(&server, vec![first(VERSION, id), good.clone(), bad.clone()]);
        let error = refused(&server, sent, Code::InvalidArgument, reason).await;
        assert_eq!(error.violations()[0].field, field, "{error:?}");
    }
    assert_eq!(send(&server, vec![first(VERSION, &id), at(MOST as i32 - 1)]).await.unwrap().chunk_count, 1);
}

#[tokio::test]
async fn what_arrived_before_a_stream_went_wrong_is_kept() {
    let server = server().await;
    let pieces = cut(noise_of(8, 8 << 20));
    let mut messages = vec![first(VERSION, "")];
    messages.extend(pieces.iter().enumerate().map(|(at, piece)| message(at, piece)));
    messages.push(first(VERSION, ""));
    invalid(&server, send(&server, messages), &[("parent", INVALID)]).await;
    // They are still on their way to the disk.
    let kept = || async { missing(&server, VERSION, &pieces).await.unwrap().is_empty().then_some(()) };
    until(PATIENCE, kept).await;
}

#[tokio::test]
async fn a_stream_of_chunks_begins_with_a_version() {
    let server = server().await;
    let piece = Bytes::from(noise_of(3, 1000));
    invalid(&server, send(&server, Vec::new()), &[("parent", ErrorReason::FieldRequired)]).await;
    let fields = [("parent", ErrorReason::NameInvalid), ("upload_id", INVALID)];
    for id in ["x", "1", "6ba7b810-9dad-11d1-80b4-00c04fd430c", "../../etc/passwd"] {
        invalid(&server, send(&server, vec![first("models/fraud", id), message(0, &piece)]), &fields).await;
    }
    let nowhere = send(&server, vec![first("models/fraud/versions/9", ""), message(0, &piece)]);
    refused(&server, nowhere, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let nowhere = send(&server, vec![first("models/none/versions/1", ""), message(0, &piece)]);
    refused(&server, nowhere, Code::NotFound, ErrorReason::ResourceNotFound).await;
    assert_eq!(all(&server.storage()), Vec::<std::path::PathBuf>::new());
    let nothing = send(&server, vec![first(VERSION, "")]).await.unwrap();
    assert_eq!((nothing.chunk_count, nothing.size_bytes), (0, 0));
}

#[tokio::test]
async fn sizes_and_digests_that_lie_are_refused() {
    let pieces = cut(noise_of(4, 5 << 20));
    let server = server_with(&pieces).await;
    let good = || create_of(VERSION, FILE, &pieces);
    let resized = |place: usize, size_bytes: i64| {
        let mut request = good();
        request.chunks[place].size_bytes = size_bytes;
        request
    };
    let of = |place: usize| pieces[place].len() as i64;
    // Too small and too large, also where the whole adds up, and where it is the announced size.
    let mut moved = resized(0, of(0) - 1);
    moved.chunks[1].size_bytes += 1;
    let size_bytes = moved.chunks.iter().map(|chunk| chunk.size_bytes).sum();
    let announcing = |announced: Artifact, request: CreateArtifactRequest| CreateArtifactRequest {
        artifact: Some(announced),
        ..request
    };
    let announced = announcing(Artifact { size_bytes, ..given(FILE) }, moved.clone());
    for lie in
        [resized(0, of(0) - 1), resized(1, of(1) + 1), resized(2, 1), resized(0, LARGEST as i64), moved, announced]
    {
        invalid(&server, create(&server, lie), &[("chunks", ErrorReason::SizeMismatch)]).await;
    }
    for size_bytes in [1, 5 << 20 | 1, (5 << 20) - 1, i64::MAX] {
        let lie = announcing(Artifact { size_bytes, ..given(FILE) }, good());
        invalid(&server, create(&server, lie), &[("artifact.size_bytes", ErrorReason::SizeMismatch)]).await;
    }
    let lie = announcing(Artifact { sha256: sha256(b"other"), ..given(FILE) }, good());
    invalid(&server, create(&server, lie), &[("artifact.sha256", ErrorReason::DigestMismatch)]).await;
    let lie = announcing(Artifact { sha256: sha256(b"other"), size_bytes: 7, ..given(FILE) }, good());
    let both = [("artifact.size_bytes", ErrorReason::SizeMismatch), ("artifact.sha256", ErrorReason::DigestMismatch)];
    invalid(&server, create(&server, lie), &both).await;
    nothing_made(&server).await;

    let (sha256, size_bytes) = (sha256(&pieces.concat()), 5 << 20);
    let right = announcing(Artifact { sha256: sha256.to_uppercase(), size_bytes, ..given(FILE) }, good());
    assert_eq!(create(&server, right).await.unwrap().sha256, sha256);
    // Now that the list is known, so is a lie.
    let lie = announcing(given("other.onnx"), resized(0, of(0) - 1));
    invalid(&server, create(&server, lie), &[("chunks", ErrorReason::SizeMismatch)]).await;
}

#[tokio::test]
async fn a_commit_of_missing_chunks_says_which() {
    let pieces = cut(noise_of(5, 6 << 20));
    let server = server_with(&pieces[1..]).await;
    let lacking = || create(&server, create_of(VERSION, FILE, &pieces));
    let error = refused(&server, lacking(), Code::FailedPrecondition, ErrorReason::ChunksMissing).await;
    let status = error.status().unwrap();
    let hex = registry_tests::chunks::of(&pieces)[0].hex();
    assert!(status.message.contains(&format!("1 of {} chunks are missing", pieces.len())), "{status:?}");
    assert!(status.message.contains(&hex), "{status:?}");
    nothing_made(&server).await;
    send(&server, vec![first(VERSION, ""), message(0, &pieces[0])]).await.unwrap();
    assert_eq!(lacking().await.unwrap().sha256, sha256(&pieces.concat()));
}

#[tokio::test]
async fn what_an_artifact_consists_of_is_checked() {
    let pieces = cut(noise_of(6, 3 << 20));
    let server = server_with(&pieces).await;
    let good = || create_of(VERSION, FILE, &pieces);
    let data = |size: usize| Bytes::from(noise_of(6, size));
    let both = CreateArtifactRequest { data: data(1), ..good() };
    invalid(&server, create(&server, both), &[("data", INVALID)]).await;
    let much = CreateArtifactRequest { chunks: Vec::new(), data: data(INLINE + 1), ..good() };
    invalid(&server, create(&server, much), &[("data", INVALID)]).await;
    for length in [0, 31, 33] {
        let mut bad = good();
        bad.chunks[1].blake3 = Bytes::from(vec![7; length]);
        invalid(&server, create(&server, bad), &[("chunks[1]", INVALID)]).await;
    }
    for size_bytes in [0, -1, LARGEST as i64 + 1, i64::MAX] {
        let mut bad = good();
        bad.chunks[0].size_bytes = size_bytes;
        invalid(&server, create(&server, bad), &[("chunks[0]", INVALID)]).await;
    }
    for upload_id in ["x", "6ba7b810-9dad-11d1-80b4-00c04fd430c"] {
        let bad = CreateArtifactRequest { upload_id: upload_id.to_owned(), ..good() };
        invalid(&server, create(&server, bad), &[("upload_id", INVALID)]).await;
    }
    let many = CreateArtifactRequest { chunks: vec![good().chunks[0].clone(); MOST + 1], ..good() };
    invalid(&server, create(&server, many), &[("chunks", INVALID)]).await;
    let all = CreateArtifactRequest {
        parent: "nonsense".to_owned(),
        artifact: Some(Artifact {
            path: "../x".to_owned(),
            r#type: "No Type".to_owned(),
            media_type: "nonsense".to_owned(),
            size_bytes: -1,
            sha256: "xyz".to_owned(),
            tags: [(String::new(), "v".to_owned())].into(),
            ..Default::default()
        }),
        chunks: vec![Chunk::default()],
        data: data(INLINE + 1),
        upload_id: "x".to_owned(),
        request_id: "x".to_owned(),
        validate_only: false,
        part_count: -1,
        possession: data(31),
    };
    let error = refused(&server, create(&server, all), Code::InvalidArgument, ErrorReason::RequestIdInvalid).await;
    let mut fields: Vec<_> = error.violations().iter().map(|found| found.field.as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    let expected = [
        "artifact.media_type",
        "artifact.path",
        "artifact.sha256",
        "artifact.size_bytes",
        "artifact.tags",
        "artifact.type",
        "chunks[0]",
        "data",
        "parent",
        "part_count",
        "possession",
        "request_id",
        "upload_id",
    ];
    assert_eq!(fields, expected);
    let nothing = CreateArtifactRequest { artifact: None, ..good() };
    invalid(&server, create(&server, nothing), &[("artifact", ErrorReason::FieldRequired)]).await;
    nothing_made(&server).await;
}

#[tokio::test]
async fn a_path_leads_nowhere_else() {
    let pieces = cut(noise_of(7, 1 << 20));
    let server = server_with(&pieces).await;
    let before = registry_tests::files(&server.storage().join("artifacts/chunks"));
    let long = "a/".repeat(2048);
    let bad = [
        "../x",
        "a/../../x",
        "..",
        ".",
        "./x",
        "a/./b",
        "a/..",
        "/etc/passwd",
        "//x",
        "a//b",
        "a/",
        "",
        "a\\b",
        "..\\x",
        "C:x",
        "C:/x",
        "file:///etc/passwd",
        "a\0b",
        "\0",
        "a\nb",
        "a\u{7f}",
        "e\u{301}",
        &long,
        &long[..1025],
    ];
    for path in bad {
        for request in [create_of(VERSION, path, &pieces), create_of(VERSION, path, &[])] {
            invalid(&server, create(&server, request), &[("artifact.path", ErrorReason::NameInvalid)]).await;
        }
    }
    nothing_made(&server).await;
    // What looks like an encoded way out is a name like any other: a path is never decoded, and no file is called by it.
    for path in
        ["..%2f..%2fx", "%2e%2e/x", "..%252fx", "%00", "~root", "$HOME/x", "...", "a b", "\u{2025}/x", "..\u{2044}x"]
    {
        let made = create(&server, create_of(VERSION, path, &pieces)).await;
        let made = made.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert!(made.name.ends_with(&format!("/artifacts/{path}")));
        assert!(server.client().download(&made.name).bytes().await.unwrap() == pieces.concat(), "{path}");
    }
    let mut after = registry_tests::files(&server.storage().join("artifacts/chunks"));
    after.sort();
    let mut before = before;
    before.sort();
    assert_eq!(after, before);
}
