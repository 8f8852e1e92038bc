//! How much the server holds for those who read nothing, and what that costs the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use registry_client::RegistryClient;
use registry_client::pb::watch_events_request::{Now, Snapshot, Start};
use registry_client::pb::{
    BatchGetVersionsRequest, GetModelRequest, GetVersionRequest, UploadArtifactRequest, WatchEventsRequest,
};
use registry_proto::rpc::Request as _;
use registry_tests::process::ServerProcess;
use registry_tests::wire::Wire;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::patient;

const MODEL: &str = "models/held";
const LARGE: &str = "models/large";
/// How many calls a connection has.
const STREAMS: usize = 125;
/// How long commits are counted.
const COUNTED: Duration = Duration::from_secs(10);

/// What a process takes, in MiB.
pub(crate) fn resident(server: &ServerProcess, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// How many commits there are in a second, while something goes on.
async fn commits(client: &RegistryClient) -> f64 {
    let (done, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let writers = stream::iter(0..32).for_each_concurrent(None, |_| async {
        while !over.load(Ordering::Relaxed) {
            client.create_version(MODEL).description("x".repeat(1000)).await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    let began = Instant::now();
    let ending = async {
        tokio::time::sleep(COUNTED).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(writers, ending);
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// The longest time that the health check took, asked all the time until that is over.
async fn slowest_health(server: &ServerProcess, over: &AtomicBool) -> Duration {
    let channel = tonic::transport::Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        health.check(HealthCheckRequest::default()).await.unwrap();
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    slowest
}

/// Calls on as few connections as it takes.
async fn connections(server: &ServerProcess, calls: usize, mut call: impl FnMut(&mut Wire, usize) -> u32) -> Vec<Wire> {
    let mut wires = Vec::new();
    for first in (0..calls).step_by(STREAMS) {
        let mut wire = Wire::to(server.address()).await;
        for number in first..calls.min(first + STREAMS) {
            call(&mut wire, number);
        }
        wire.settled().await;
        wires.push(wire);
    }
    wires
}

fn watch(start: Start) -> WatchEventsRequest {
    WatchEventsRequest { start: Some(start), ..Default::default() }
}

/// The figures are those of the server, which has to be built with `--release`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute, and measures: tests/full.sh runs it"]
async fn those_who_read_nothing_cost_the_others_little() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start_with(folder.path(), "127.0.0.1:0", &["--cache", "64MiB"]);
    let client = patient(&server.endpoint());
    for model in [MODEL, LARGE] {
        client.create_model(model).await.unwrap();
    }
    let many = stream::iter(0..4000).map(|_| async {
        drop(client.create_version(MODEL).description("x".repeat(4000)).await.unwrap());
    });
    many.buffer_unordered(32).collect::<Vec<_>>().await;
    for _ in 0..64 {
        client.create_version(LARGE).description("x".repeat(60_000)).await.unwrap();
    }
    let names: Vec<_> = (1..=64).map(|number| format!("{LARGE}/versions/{number}")).collect();
    client.call(BatchGetVersionsRequest { names: names.clone(), ..Default::default() }).await.unwrap();
    let alone = commits(&client).await;
    let before = resident(&server, "VmRSS");

    let mut held =
        connections(&server, 500, |wire, _| wire.call(WatchEventsRequest::PATH, &watch(Start::Now(Now {})))).await;
    held.extend(
        connections(&server, 500, |wire, _| wire.call(WatchEventsRequest::PATH, &watch(Start::AfterRevision(0)))).await,
    );
    held.extend(
        connections(&server, 500, |wire, _| wire.call(WatchEventsRequest::PATH, &watch(Start::Snapshot(Snapshot {}))))
            .await,
    );
    let half_open = [
        GetModelRequest::PATH,
        GetVersionRequest::PATH,
        UploadArtifactRequest::PATH,
        WatchEventsRequest::PATH,
        "/grpc.health.v1.Health/Check",
    ];
    held.extend(connections(&server, 1024, |wire, number| wire.begin(half_open[number % half_open.len()], &[])).await);
    let batch = BatchGetVersionsRequest { names, ..Default::default() };
    held.extend(connections(&server, 100, |wire, _| wire.call(BatchGetVersionsRequest::PATH, &batch)).await);

    let over = AtomicBool::new(false);
    let counting = async {
        let among = commits(&client).await;
        // What is large is sent to all of those who watch.
        for number in 1..=20 {
            let mut version = client.get_version(format!("{LARGE}/versions/{number}")).await.unwrap();
            version.description = "y".repeat(60_000);
            client.update_version(version).await.unwrap();
        }
        let again = commits(&client).await;
        over.store(true, Ordering::Relaxed);
        (among, again)
    };
    let ((among, again), slowest) = tokio::join!(counting, slowest_health(&server, &over));
    let (now, most) = (resident(&server, "VmRSS"), resident(&server, "VmHWM"));
    eprintln!(
        "commits: {alone:.0}/s alone, {among:.0}/s and {again:.0}/s among {} connections; resident: {before} MiB before, {now} MiB \
         now, {most} MiB at most; the slowest health check took {slowest:?}",
        held.len()
    );
    assert!(most < 600, "{most} MiB");
    assert!(among.min(again) >= 0.8 * alone, "{among:.0}/s and {again:.0}/s of {alone:.0}/s");
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
}
