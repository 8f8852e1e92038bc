//! Several servers on one PostgreSQL database: one registry.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use registry_tests::process::{ServerProcess, registryctl, sled_command};
use registry_tests::store;
use serde_json::Value;
use tokio::sync::watch;

use crate::kill::see_all;
use crate::verify::{self, Log};
use crate::writer::{self, Writer};
use crate::{impatient, patient};

const SERVERS: usize = 3;
const WRITERS: usize = 64;
const WRITES: usize = 40;
const MODELS: usize = 6;
/// Clients come from 127.0.0.1. On another address of this machine, none of their ports can take a server's while it is away.
const LISTEN: &str = "127.0.0.2:0";

/// Starts a server on the database that goes with a folder.
fn start(folder: &Path, listen: &str) -> ServerProcess {
    let mut command = sled_command(folder, listen);
    command.args(["--store", &store::postgres(folder)]);
    ServerProcess::spawn(command)
}

fn endpoints(servers: &[ServerProcess]) -> String {
    servers.iter().map(ServerProcess::endpoint).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_servers_are_one_registry_even_if_one_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers: Vec<_> = (0..SERVERS).map(|_| start(folder.path(), LISTEN)).collect();
    let client = patient(&endpoints(&servers));
    let models: Vec<_> = (0..MODELS).map(name).collect();
    for model in &models {
        client.create_model(model).await.unwrap();
    }
    let (reached, head) = watch::channel(i64::MAX);
    let watchers: Vec<_> =
        servers.iter().map(|server| tokio::spawn(see_all(patient(&server.endpoint()), head.clone()))).collect();

    let writers = (0..WRITERS).map(|number| Writer::new(number, &models[number % MODELS]));
    let (tasks, mut acknowledgements) = writer::start(&client, writers, WRITES);
    for _ in 0..WRITERS * WRITES / 3 {
        acknowledgements.recv().await.expect("the writers are at work");
    }
    let killed = servers.pop().expect("there are three");
    let listen = killed.address().to_string();
    killed.kill();
    let writers = tasks.join_all().await;
    // Its watcher goes on where it was.
    servers.push(start(folder.path(), &listen));

    let logs: Vec<_> = {
        let mut logs = Vec::new();
        for server in &servers {
            logs.push(Log::read(&impatient(&server.endpoint())).await);
        }
        logs
    };
    let log = &logs[0];
    log.assert_is_whole();
    log.assert_holds_each_once(&writers, MODELS);
    assert!(logs.iter().all(|other| other == log), "the servers disagree");
    for server in &servers {
        let client = impatient(&server.endpoint());
        verify::assert_all(&client, log, &writers, &models).await;
    }
    reached.send_replace(log.head());
    for watcher in watchers {
        let seen = tokio::time::timeout(Duration::from_secs(20), watcher).await.expect("a watcher lags").unwrap();
        log.assert_was_seen(&seen);
    }
}

fn name(model: usize) -> String {
    format!("namespaces/default/models/m{model}")
}

/// Every server is restarted once while services read and write: none of their calls fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers: Vec<_> = (0..SERVERS).map(|_| start(folder.path(), LISTEN)).collect();
    let mut bench = registryctl(&endpoints(&servers));
    bench.args(["--json", "bench", "steady", "--seconds", "6", "--clients", "16"]);
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let watcher = impatient(&servers[0].endpoint());
    let mut head = versions(&watcher).await;
    for turn in 0..SERVERS {
        // Between two restarts, calls are answered.
        let before = head;
        while head < before + 20 {
            head = versions(&impatient(&servers[turn].endpoint())).await;
        }
        let address = servers[turn].address().to_string();
        let stopped = servers.remove(turn);
        let status = tokio::task::spawn_blocking(|| stopped.terminate()).await.unwrap();
        assert!(status.success(), "{status}");
        servers.insert(turn, start(folder.path(), &address));
    }
    let output = tokio::task::spawn_blocking(|| bench.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["failed"], 0, "{figures}: {said}");
    assert!(figures["calls"].as_u64().unwrap() > 100, "{figures}");
}

/// How many revisions there are: the newest event's.
async fn versions(client: &registry_client::RegistryClient) -> i64 {
    let mut watch = client.watch().stream();
    match futures::TryStreamExt::try_next(&mut watch).await.unwrap() {
        Some(registry_client::WatchItem::Created { revision, .. }) => revision,
        other => panic!("{other:?}"),
    }
}
