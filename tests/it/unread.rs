//! Answers that nobody reads: they are held for a while, and cost others nothing.

use std::time::Duration;

use registry_client::Error;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::watch_events_request::{Snapshot, Start};
use registry_client::pb::watch_events_response::Response;
use registry_client::pb::{
    BatchGetVersionsRequest, DownloadArtifactRequest, ErrorReason, WatchEventsRequest, WatchEventsResponse,
};
use registry_proto::rpc::Request as _;
use registry_server::config::Period;
use registry_tests::wire::Wire;
use registry_tests::{PATIENCE, TestServer, model, noise, pending, ready, soon, until};
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};

const MODEL: &str = "models/fraud";
/// More than a connection takes for a reader that takes nothing: HTTP/2's first window is 64 KiB.
const VERSIONS: usize = 60;

/// A server with more to tell than fits a connection's window.
async fn server_with(settings: impl FnOnce(&mut registry_server::config::Config)) -> TestServer {
    let server = TestServer::with(settings).await;
    let client = server.client();
    model(&client, MODEL).await;
    let description = "x".repeat(6000);
    for _ in 0..VERSIONS {
        client.create_version(MODEL).description(&description).await.unwrap();
    }
    server
}

async fn watch(server: &TestServer, start: Start) -> Streaming<WatchEventsResponse> {
    let narrow = Endpoint::from_shared(server.endpoint()).unwrap();
    let narrow = narrow.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let request = WatchEventsRequest { start: Some(start), ..Default::default() };
    EventServiceClient::new(narrow.connect_lazy()).watch_events(request).await.unwrap().into_inner()
}

/// Reads on until a snapshot is whole, or the watch ends.
async fn snapshot(watch: &mut Streaming<WatchEventsResponse>) -> Result<usize, Error> {
    let mut resources = 0;
    loop {
        match soon(watch.message()).await?.expect("a watch ends with a status").response.unwrap() {
            Response::Created(_) => {}
            Response::Events(events) => resources += events.events.len(),
            Response::Bookmark(_) => return Ok(resources),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_nobody_reads_is_given_up() {
    let server = server_with(|config| config.snapshot_patience = Period(Duration::from_millis(20))).await;
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(watch(&server, Start::Snapshot(Snapshot {})).await);
    }
    // There are fewer turns than that: it waits until some were given up.
    let mut read = watch(&server, Start::Snapshot(Snapshot {})).await;
    assert_eq!(snapshot(&mut read).await.unwrap(), VERSIONS + 2, "with the namespace and the model");
    let mut given_up = 0;
    for mut watch in unread {
        match snapshot(&mut watch).await {
            Ok(resources) => assert_eq!(resources, VERSIONS + 2),
            Err(error) => {
                assert_eq!(
                    (error.code(), error.reason()),
                    (Some(Code::ResourceExhausted), Some(ErrorReason::Overloaded))
                );
                assert!(error.status().unwrap().retry_after.is_some());
                given_up += 1;
            }
        }
    }
    assert!(given_up > 10, "{given_up}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_back_finds_everything() {
    let server = server_with(|_| {}).await;
    let mut slow = watch(&server, Start::AfterRevision(0)).await;
    // Until the watch has let go of what it read, and others have written more.
    for _ in 0..VERSIONS {
        ready(&server.client(), MODEL).await;
    }
    let (mut revision, newest) = (0, (2 * VERSIONS + 1) as i64);
    while revision < newest {
        if let Response::Events(events) = soon(slow.message()).await.unwrap().unwrap().response.unwrap() {
            assert_eq!(events.revision, revision + 1);
            revision = events.revision;
        }
    }
}

/// The calls that one batch of large versions, which nobody takes, leaves room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_takes_is_given_up() {
    let server = server_with(|config| (config.max_calls, config.call_timeout) = (2, Period::of_secs(5))).await;
    let client = server.client();
    let names = (1..=VERSIONS).map(|number| format!("{MODEL}/versions/{number}")).collect();
    let batch = BatchGetVersionsRequest { names, ..Default::default() };
    let mut wire = Wire::to(server.address()).await;
    // The window is the connection's: the first one fills it. One may be refused, while a call that was answered is still counted.
    let overloaded = async || {
        wire.call(BatchGetVersionsRequest::PATH, &batch);
        wire.settled().await;
        let refused = client.get_model(MODEL).await.err()?;
        (refused.reason() == Some(ErrorReason::Overloaded)).then_some(())
    };
    until(PATIENCE, overloaded).await;
    until(PATIENCE, async || client.get_model(MODEL).await.ok()).await;
}

/// What is read ahead for downloads that nobody takes is no memory that uploads wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_upload_waits_for_downloads_that_nobody_reads() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let version = pending(&client, MODEL).await.name;
    let bytes = noise(24 << 20);
    let artifact = client.upload(&version, "read.bin", bytes.clone()).await.unwrap();
    let mut wires = Vec::new();
    for reader in 0..40 {
        // The window is the connection's: each one stalls within its first chunk, with the next ones read.
        let mut wire = Wire::to(server.address()).await;
        let (name, offset) = (artifact.name.clone(), reader * (bytes.len() as i64 / 60));
        wire.call(DownloadArtifactRequest::PATH, &DownloadArtifactRequest { name, offset, ..Default::default() });
        wire.settled().await;
        wires.push(wire);
    }
    let other = client.upload(&version, "sent.bin", noise(20 << 20));
    tokio::time::timeout(PATIENCE, other).await.expect("it waits for nobody").unwrap();
}
