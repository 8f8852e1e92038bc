//! Streams that end in every way there is: nothing but a whole file becomes an artifact.

use std::collections::BTreeMap;

use bytes::Bytes;
use registry_client::pb::upload_artifact_request::Request;
use registry_client::pb::{
    CreateArtifactRequest, DownloadArtifactRequest, GetVersionRequest, UploadArtifactRequest, WatchEventsRequest,
};
use registry_proto::rpc::Request as _;
use registry_tests::chunks::{self, message, metadata};
use registry_tests::wire::{End, Wire, framed};
use registry_tests::{TestServer, model, noise, pending, sha256};

const VERSION: &str = "models/fraud/versions/1";
/// HTTP/2 has these codes: NO_ERROR to HTTP_1_1_REQUIRED.
const CODES: std::ops::RangeInclusive<u32> = 0..=13;
/// Less than HTTP/2's first window.
const SIZE: usize = 60_000;

/// How much of a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Half,
    All,
}

/// What is done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// END_STREAM, as it should be.
    Ends,
    Resets(u32),
    EndsAndResets(u32),
    GoesAway(u32),
    EndsAndGoesAway,
    HalfCloses,
    Cuts,
}

impl How {
    fn all() -> Vec<Self> {
        let codes = CODES.flat_map(|code| [Self::Resets(code), Self::EndsAndResets(code), Self::GoesAway(code)]);
        [Self::Ends, Self::EndsAndGoesAway, Self::HalfCloses, Self::Cuts].into_iter().chain(codes).collect()
    }

    /// Whether the last frame says that it is the last one.
    fn ends(self) -> bool {
        matches!(self, Self::Ends | Self::EndsAndResets(_) | Self::EndsAndGoesAway)
    }
}

/// A stream with a part of what belongs on it, which then ends. Answers the connection, which lasts as long as it is kept.
async fn send(server: &TestServer, path: &str, messages: &[Vec<u8>], sent: Sent, how: How) -> Option<Wire> {
    let all = messages.concat();
    let length = match sent {
        Sent::Nothing => 0,
        Sent::Half => all.len() / 2,
        Sent::All => all.len(),
    };
    let mut wire = Wire::to(server.address()).await;
    let stream = wire.begin(path, &[]);
    if matches!(how, How::EndsAndGoesAway | How::GoesAway(_)) {
        wire.go_away(if let How::GoesAway(code) = how { code } else { 0 });
    }
    // One piece: what takes the stream back comes with its last byte.
    wire.data(stream, &all[..length], how.ends());
    if let How::Resets(code) | How::EndsAndResets(code) = how {
        wire.reset(stream, code);
    }
    wire.flush().await;
    match how {
        How::Ends => assert_eq!(wire.end_of(stream).await, End::Answer),
        How::HalfCloses => wire.half_close().await,
        How::Cuts => return None,
        _ => wire.settled().await,
    }
    Some(wire)
}

async fn server_with_pending_version() -> TestServer {
    let server = TestServer::start().await;
    model(&server.client(), "models/fraud").await;
    pending(&server.client(), "models/fraud").await;
    server
}

/// Sends files in all ways, and looks which of them were kept.
async fn nothing_but_whole_files(server: &TestServer, path: &str, messages: impl Fn(&str) -> Vec<Vec<u8>>) {
    let mut files = BTreeMap::new();
    let mut connections = Vec::new();
    for how in How::all() {
        for sent in [Sent::Nothing, Sent::Half, Sent::All] {
            let file = format!("{}.bin", files.len());
            connections.push(send(server, path, &messages(&file), sent, how).await);
            files.insert(file, (how, sent));
        }
    }
    let client = server.client();
    // Behind this nothing is kept any more.
    let sealed = client.finalize_version(VERSION).await.unwrap();
    let kept = client.list_artifacts(VERSION).page_size(1000).await.unwrap().artifacts;
    assert_eq!(sealed.artifact_count as usize, kept.len());
    let content = noise(SIZE);
    for artifact in &kept {
        let (how, sent) = files[&artifact.path];
        assert!(how.ends() && sent == Sent::All, "{} was kept: {how:?}, {sent:?}", artifact.path);
        assert_eq!((artifact.size_bytes as usize, &artifact.sha256), (SIZE, &sha256(&content)), "{how:?}");
        assert!(client.download(&artifact.name).bytes().await.unwrap() == content);
    }
    let whole = files.iter().filter(|(_, (how, sent))| *how == How::Ends && *sent == Sent::All);
    for (file, _) in whole {
        assert!(kept.iter().any(|artifact| artifact.path == *file), "{file} is missing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_upload_breaks_off_is_not_kept() {
    let server = server_with_pending_version().await;
    let content = noise(SIZE);
    nothing_but_whole_files(&server, UploadArtifactRequest::PATH, |file| {
        let parts = [
            Request::Metadata(metadata(VERSION, file, &content)),
            Request::Data(Bytes::copy_from_slice(&content[..SIZE / 3])),
            Request::Data(Bytes::copy_from_slice(&content[SIZE / 3..])),
        ];
        parts.map(|part| framed(&UploadArtifactRequest { request: Some(part) })).to_vec()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_creation_breaks_off_is_not_kept() {
    let server = server_with_pending_version().await;
    let pieces = chunks::cut(noise(SIZE));
    let mut messages = vec![chunks::first(VERSION, "")];
    messages.extend(pieces.iter().enumerate().map(|(position, piece)| message(position, piece)));
    chunks::send(&server, messages).await.unwrap();
    nothing_but_whole_files(&server, CreateArtifactRequest::PATH, |file| {
        vec![framed(&chunks::create_of(VERSION, file, &pieces))]
    })
    .await;
}

/// The size is announced, all of the bytes come, but after the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_upload_is_too_late_is_not_kept() {
    let server = server_with_pending_version().await;
    let content = noise(SIZE);
    let data =
        |bytes: &[u8]| framed(&UploadArtifactRequest { request: Some(Request::Data(Bytes::copy_from_slice(bytes))) });
    let mut wire = Wire::to(server.address()).await;
    let stream = wire.begin(UploadArtifactRequest::PATH, &[("grpc-timeout", "50m")]);
    let first = UploadArtifactRequest { request: Some(Request::Metadata(metadata(VERSION, "late.bin", &content))) };
    wire.data(stream, &framed(&first), false);
    wire.data(stream, &data(&content[..SIZE / 2]), false);
    wire.flush().await;
    assert_eq!(wire.end_of(stream).await, End::Answer);
    wire.data(stream, &data(&content[SIZE / 2..]), true);
    wire.settled().await;
    // One that begins later, and is in time.
    let client = server.client();
    client.upload(VERSION, "in-time.bin", content).await.unwrap();
    let kept = client.list_artifacts(VERSION).await.unwrap().artifacts;
    assert_eq!(kept.iter().map(|artifact| artifact.path.as_str()).collect::<Vec<_>>(), ["in-time.bin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_kind_of_stream_may_break_off() {
    let server = server_with_pending_version().await;
    let client = server.client();
    let artifact = client.upload(VERSION, "model.bin", noise(SIZE)).await.unwrap();
    let chunk = chunks::cut(noise(SIZE)).swap_remove(0);
    let calls = [
        (GetVersionRequest::PATH, framed(&GetVersionRequest { name: VERSION.to_owned(), ..Default::default() })),
        (WatchEventsRequest::PATH, framed(&WatchEventsRequest::default())),
        (DownloadArtifactRequest::PATH, framed(&DownloadArtifactRequest { name: artifact.name, ..Default::default() })),
        (registry_client::pb::UploadChunksRequest::PATH, {
            [framed(&chunks::first(VERSION, "")), framed(&message(0, &chunk))].concat()
        }),
    ];
    let before = client.list_events().await.unwrap().events;
    let mut connections = Vec::new();
    for (path, message) in &calls {
        for how in How::all() {
            for sent in [Sent::Nothing, Sent::Half, Sent::All] {
                // A watch that is asked for as it should be does not end.
                if how != How::Ends {
                    connections.push(send(&server, path, std::slice::from_ref(message), sent, how).await);
                }
            }
        }
    }
    assert_eq!(client.list_events().await.unwrap().events, before);
    let other = chunks::create_of(VERSION, "other.bin", &chunks::cut(noise(SIZE)));
    assert_eq!(chunks::create(&server, other).await.unwrap().size_bytes as usize, SIZE);
}
