//! Artifacts as lists of chunks: what is sent, what is stored, and what comes of it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use registry_client::pb::{CreateArtifactRequest, ErrorReason, FindMissingChunksRequest, UploadChunksRequest};
use registry_client::{Progress, RegistryClient};
use registry_common::chunks::{Chunk, INLINE, ListDigest, MOST};
use registry_tests::chunks::{all, create, create_of, cut, first, given, listed, message, metadata, missing, of, send};
use registry_tests::expect::{invalid, refused, unchanged};
use registry_tests::{TestServer, events, model, noise_of, pending, sha256};
use tonic::Code;
use uuid::Uuid;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";
const MIB: usize = 1024 * 1024;

async fn server() -> TestServer {
    let server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    pending(&server.client(), MODEL).await;
    server
}

/// Uploads, and answers how many bytes were moved for it.
async fn moved(client: &RegistryClient, version: &str, path: &str, bytes: &[u8]) -> u64 {
    let last = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&last);
    let report = move |progress: Progress| *seen.lock().unwrap() = Some(progress);
    client.upload(version, path, bytes.to_vec()).progress(report).await.unwrap();
    let last = last.lock().unwrap().clone().expect("something was reported");
    assert_eq!((last.done, last.total), (bytes.len() as u64, Some(bytes.len() as u64)));
    last.moved
}

#[tokio::test]
async fn bytes_that_are_there_are_neither_sent_nor_stored_again() {
    registry_tests::store::artifacts_in_folder();
    let server = server().await;
    let client = server.client();
    let bytes = noise_of(1, 8 * MIB);
    let pieces = cut(bytes.clone());
    assert_eq!(moved(&client, VERSION, "model.onnx", &bytes).await, bytes.len() as u64);
    assert_eq!(all(&server.storage()).len(), pieces.len());
    for (version, path) in [(VERSION, "model.onnx"), (VERSION, "copy.onnx"), ("models/fraud/versions/2", "model.onnx")]
    {
        if version != VERSION {
            pending(&client, MODEL).await;
        }
        assert_eq!(moved(&client, version, path, &bytes).await, 0, "{version} {path}");
    }
    assert_eq!(all(&server.storage()).len(), pieces.len());

    // A new version with a small change stores what changed.
    let mut changed = bytes.clone();
    changed.splice(4 * MIB..4 * MIB, *b"inserted");
    let new: Vec<_> = cut(changed.clone()).into_iter().filter(|piece| !pieces.contains(piece)).collect();
    assert!((1..=3).contains(&new.len()), "{}", new.len());
    let version = pending(&client, MODEL).await.name;
    let sent = moved(&client, &version, "model.onnx", &changed).await;
    assert_eq!(sent, new.iter().map(|piece| piece.len() as u64).sum::<u64>());
    assert_eq!(all(&server.storage()).len(), pieces.len() + new.len());
    let made = client.get_artifact(format!("{version}/artifacts/model.onnx")).await.unwrap();
    assert_eq!((made.size_bytes as usize, made.sha256), (changed.len(), sha256(&changed)));
    assert!(client.download(&made.name).bytes().await.unwrap() == changed);
}

#[tokio::test]
async fn few_bytes_are_kept_with_the_record() {
    registry_tests::store::artifacts_in_folder();
    let server = server().await;
    let client = server.client();
    for (number, size) in [0, 1, INLINE, INLINE + 1].into_iter().enumerate() {
        let bytes = noise_of(2, size);
        let made = client.upload(VERSION, number.to_string(), bytes.clone()).await.unwrap();
        let chunks = listed(&client, &made.name).await;
        assert_eq!(chunks, of(&cut(bytes)), "{size}");
        assert_eq!(made.chunks_blake3, ListDigest::of(&chunks).hex(), "{size}");
        assert_eq!(all(&server.storage()).len(), usize::from(size > INLINE), "{size}");
    }
}

#[tokio::test]
async fn an_artifact_has_as_many_chunks_as_it_may() {
    // Each is read.
    registry_tests::store::artifacts_in_folder();
    let server = server().await;
    let client = server.client();
    let piece = Bytes::from(noise_of(9, 100));
    send(&server, vec![first(VERSION, ""), message(0, &piece)]).await.unwrap();
    let made = create(&server, create_of(VERSION, "model.onnx", &vec![piece.clone(); MOST])).await.unwrap();
    assert_eq!((made.size_bytes as usize, made.sha256), (MOST * 100, sha256(&piece.repeat(MOST))));
    assert_eq!(listed(&client, &made.name).await, vec![Chunk::of(&piece); MOST]);
    for (page_size, length) in [(0, 10_000), (60_000, 50_000), (1, 1)] {
        let page = client.list_chunks(&made.name).page_size(page_size).await.unwrap();
        assert_eq!((page.chunks.len(), page.next_page_token.is_empty()), (length, false));
    }
    let last = client.download(&made.name).range(made.size_bytes as u64 - 150..).bytes().await.unwrap();
    assert!(last == [&piece[50..], &piece].concat());
}

#[tokio::test]
async fn the_server_cuts_as_the_client_does() {
    use futures::stream;
    use registry_client::pb::UploadArtifactRequest;
    use registry_client::pb::upload_artifact_request::Request;

    let server = server().await;
    let client = server.client();
    let bytes = Bytes::from(noise_of(3, 5 * MIB));
    let sent = client.upload(VERSION, "sent.bin", bytes.clone()).await.unwrap();
    let stored = all(&server.storage()).len();
    let mut parts = vec![Request::Metadata(metadata(VERSION, "cut.bin", &bytes))];
    parts.extend(bytes.chunks(300_001).map(|data| Request::Data(bytes.slice_ref(data))));
    let parts = parts.into_iter().map(|part| UploadArtifactRequest { request: Some(part) });
    let mut service = registry_tests::chunks::service(&server);
    let made = service.upload_artifact(stream::iter(parts.collect::<Vec<_>>())).await.unwrap().into_inner();
    assert_eq!((&made.sha256, &made.chunks_blake3), (&sent.sha256, &sent.chunks_blake3));
    assert_eq!(all(&server.storage()).len(), stored);
}

#[tokio::test]
async fn chunks_come_in_any_order_on_any_stream() {
    let server = server().await;
    // More than is kept in memory for its turn.
    let bytes = noise_of(4, 48 * MIB);
    for round in 0..4 {
        let mut pieces = cut(bytes.clone());
        // Others each time, in an order of their own.
        pieces.rotate_left(round * 7);
        let id = Uuid::new_v4().to_string();
        let mut messages: Vec<_> = pieces.iter().enumerate().map(|(at, piece)| message(at, piece)).collect();
        match round {
            0 => messages.reverse(),
            1 => messages.sort_by_key(|message| message.position % 5),
            2 => messages.sort_by_key(|message| message.blake3.clone()),
            _ => {}
        }
        let streams: [_; 3] = std::array::from_fn(|stream| {
            let mut all = vec![first(VERSION, &id)];
            all.extend(messages.iter().skip(stream).step_by(3).cloned());
            send(&server, all)
        });
        let stored = futures::future::try_join_all(streams).await.unwrap();
        assert_eq!(stored.iter().map(|stored| stored.chunk_count).sum::<i64>(), pieces.len() as i64);
        assert_eq!(stored.iter().map(|stored| stored.size_bytes).sum::<i64>(), bytes.len() as i64);

        let request = create_of(VERSION, &format!("{round}.bin"), &pieces);
        let made = create(&server, CreateArtifactRequest { upload_id: id, ..request }).await;
        let made = made.unwrap();
        let whole = pieces.concat();
        assert_eq!((made.sha256, made.size_bytes as usize), (sha256(&whole), whole.len()), "{round}");
        assert!(server.client().download(&made.name).bytes().await.unwrap() == whole, "{round}");
    }
}

#[tokio::test]
async fn the_sha256_is_right_whatever_is_known_of_the_upload() {
    let server = server().await;
    let pieces = cut(noise_of(5, 12 * MIB));
    let (whole, other) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let half = Uuid::new_v4().to_string();
    let upload = async |id: &str, pieces: &[Bytes], places: &[usize]| {
        let messages = places.iter().map(|at| message(*at, &pieces[*at]));
        send(&server, [first(VERSION, id)].into_iter().chain(messages).collect()).await.unwrap();
    };
    let every: Vec<_> = (0..pieces.len()).collect();
    upload(&whole, &pieces, &every).await;
    // With a gap, and with the last of it before that.
    upload(&half, &pieces, &[every.len() - 1, 2, 0, 0]).await;
    let mut reversed = pieces.clone();
    reversed.reverse();
    upload(&other, &reversed, &every).await;
    // The registry has them, and is told so; but not where they are.
    let told = Uuid::new_v4().to_string();
    let place = |at: usize| UploadChunksRequest {
        size_bytes: pieces[at].len() as i64,
        data: Bytes::new(),
        ..message(at, &pieces[at])
    };
    send(&server, vec![first(VERSION, &told), place(1), place(0)]).await.unwrap();

    let unknown = Uuid::new_v4().to_string();
    for (number, id) in ["", &unknown, &whole, &whole, &half, &other, &told].into_iter().enumerate() {
        // Every time another artifact, or it would be known from the one before.
        let pieces = [&pieces[..], &pieces[..number]].concat();
        let request =
            CreateArtifactRequest { upload_id: id.to_owned(), ..create_of(VERSION, &number.to_string(), &pieces) };
        let made = create(&server, request).await.unwrap();
        assert_eq!(made.sha256, sha256(&pieces.concat()), "{number}");
        // The same chunks once more: known by now.
        let again = create_of(VERSION, &format!("{number}-again"), &pieces);
        let again = create(&server, again).await.unwrap();
        assert_eq!((again.sha256, again.chunks_blake3), (made.sha256, made.chunks_blake3), "{number}");
    }
}

#[tokio::test]
async fn a_chunk_belongs_to_its_namespace() {
    let server = server().await;
    let client = server.client();
    let other = "namespaces/other/models/fraud/versions/1";
    model(&client, "namespaces/other/models/fraud").await;
    pending(&client, "namespaces/other/models/fraud").await;
    let pieces = cut(noise_of(6, 3 * MIB));
    client.upload(VERSION, "model.onnx", pieces.concat()).await.unwrap();
    assert!(missing(&server, VERSION, &pieces).await.unwrap().is_empty());
    let all: Vec<_> = (0..pieces.len() as i32).collect();
    assert_eq!(missing(&server, other, &pieces).await.unwrap(), all);
    let stolen = create(&server, create_of(other, "model.onnx", &pieces));
    refused(&server, stolen, Code::FailedPrecondition, ErrorReason::ChunksMissing).await;
    // Neither by telling its place: what is said to be there is not believed.
    let id = Uuid::new_v4().to_string();
    let mut messages = vec![first(other, &id)];
    messages.extend(pieces.iter().enumerate().map(|(at, piece)| UploadChunksRequest {
        size_bytes: piece.len() as i64,
        data: Bytes::new(),
        ..message(at, piece)
    }));
    send(&server, messages).await.unwrap();
    let request = CreateArtifactRequest { upload_id: id, ..create_of(other, "model.onnx", &pieces) };
    refused(&server, create(&server, request), Code::FailedPrecondition, ErrorReason::ChunksMissing).await;
    assert_eq!(moved(&client, other, "model.onnx", &pieces.concat()).await, 3 * MIB as u64);
}

#[tokio::test]
async fn missing_chunks_are_told_by_their_places() {
    let server = server().await;
    let pieces = cut(noise_of(7, 6 * MIB));
    let messages = [1, 3].map(|at| message(at, &pieces[at]));
    send(&server, [first(VERSION, "")].into_iter().chain(messages).collect()).await.unwrap();
    let asked: Vec<_> = [0, 1, 0, 3, 2, 3].map(|at| pieces[at].clone()).into();
    assert_eq!(missing(&server, VERSION, &asked).await.unwrap(), [0, 2, 4]);
    assert!(missing(&server, VERSION, &[]).await.unwrap().is_empty());
    let most = |count: usize| FindMissingChunksRequest {
        parent: VERSION.to_owned(),
        blake3: vec![Bytes::copy_from_slice(&[7; 32]); count],
    };
    let client = server.client();
    assert_eq!(client.call(most(10_000)).await.unwrap().missing.len(), 10_000);
    invalid(&server, client.call(most(10_001)), &[("blake3", ErrorReason::FieldInvalid)]).await;
    let short = FindMissingChunksRequest {
        parent: "nonsense".to_owned(),
        blake3: [32, 31, 33, 0].map(|length| Bytes::from(vec![7; length])).into(),
    };
    let fields = [
        ("parent", ErrorReason::NameInvalid),
        ("blake3[1]", ErrorReason::FieldInvalid),
        ("blake3[2]", ErrorReason::FieldInvalid),
        ("blake3[3]", ErrorReason::FieldInvalid),
    ];
    invalid(&server, client.call(short), &fields).await;
    let nowhere = FindMissingChunksRequest { parent: format!("{MODEL}/versions/9"), blake3: Vec::new() };
    refused(&server, client.call(nowhere), Code::NotFound, ErrorReason::ResourceNotFound).await;
}

#[tokio::test]
async fn the_chunks_of_an_artifact_are_listed_in_pages() {
    let server = server().await;
    let client = server.client();
    let bytes = noise_of(10, 6 * MIB);
    let made = client.upload(VERSION, "model.onnx", bytes.clone()).await.unwrap();
    let all: Vec<_> = of(&cut(bytes)).into_iter().map(Chunk::to_message).collect();
    for page_size in [1, 3, all.len() as u32, 0] {
        let list = client.list_chunks(&made.name).page_size(page_size);
        assert_eq!(list.stream().try_collect::<Vec<_>>().await.unwrap(), all, "{page_size}");
    }
    let first = client.list_chunks(&made.name).page_size(2).await.unwrap();
    assert_eq!(first.chunks, all[..2]);
    let other = client.upload(VERSION, "other.onnx", b"few".to_vec()).await.unwrap();
    let fields = [("page_token", ErrorReason::PageTokenInvalid)];
    invalid(&server, client.list_chunks(&other.name).page_token(&first.next_page_token), &fields).await;
    invalid(&server, client.list_chunks(&made.name).page_token("AAAA"), &fields).await;
    let missing = client.list_chunks(format!("{VERSION}/artifacts/none"));
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
}

#[tokio::test]
async fn a_commit_happens_once() {
    let server = server().await;
    let client = server.client();
    let pieces = cut(noise_of(8, 2 * MIB));
    client.upload(VERSION, "first.bin", pieces.concat()).await.unwrap();
    let request =
        CreateArtifactRequest { request_id: Uuid::new_v4().to_string(), ..create_of(VERSION, "model.onnx", &pieces) };
    let only = CreateArtifactRequest { validate_only: true, ..request.clone() };
    let would = unchanged(&server, create(&server, only)).await.unwrap();
    let before = events(&client).await.len();
    let made = create(&server, request.clone()).await.unwrap();
    assert_eq!((&made.name, &made.sha256), (&would.name, &would.sha256));
    assert_eq!(events(&client).await.len(), before + 1);
    assert_eq!(unchanged(&server, create(&server, request.clone())).await.unwrap(), made);
    let reused = CreateArtifactRequest { artifact: Some(given("other.onnx")), ..request.clone() };
    invalid(&server, create(&server, reused), &[("request_id", ErrorReason::RequestIdReused)]).await;

    // By another id: the same bytes are there, and others are not put in their place.
    let again = || CreateArtifactRequest { request_id: String::new(), ..request.clone() };
    assert_eq!(unchanged(&server, create(&server, again())).await.unwrap(), made);
    let fewer = CreateArtifactRequest { chunks: again().chunks[1..].to_vec(), ..again() };
    refused(&server, create(&server, fewer), Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
}

#[tokio::test]
async fn ranges_are_right_across_the_borders_of_chunks_and_for_what_was_compressed() {
    let server = server().await;
    let client = server.client();
    // Text that gives way, noise that does not, and one byte many times.
    let text = (0..300_000).map(|line| format!("{line} rmse 0.25\n")).collect::<String>().into_bytes();
    let bytes = [text, noise_of(9, 3 * MIB), vec![7; 5 * MIB]].concat();
    let name = client.upload(VERSION, "model.onnx", bytes.clone()).await.unwrap().name;
    let stored: u64 = all(&server.storage()).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(stored < 5 * MIB as u64, "{stored} of {} bytes: nothing was compressed", bytes.len());
    assert!(client.download(&name).bytes().await.unwrap() == bytes);
    let mut border = 0;
    let mut ranges = vec![(0, bytes.len()), (bytes.len() - 1, bytes.len())];
    for piece in cut(bytes.clone()) {
        border += piece.len();
        let end = bytes.len();
        ranges.extend([
            (border - 1, border),
            (border - 1, (border + 1).min(end)),
            (border - 1000, (border + 3_000_000).min(end)),
        ]);
        ranges.extend((border < end).then_some((border, border + 1)));
    }
    for _ in 0..50 {
        let start = rand::random_range(0..bytes.len());
        ranges.push((start, rand::random_range(start..bytes.len()) + 1));
    }
    for (start, end) in ranges {
        let part = client.download(&name).range(start as u64..end as u64).bytes().await.unwrap();
        assert!(part == bytes[start..end], "{start}..{end}");
    }
}
