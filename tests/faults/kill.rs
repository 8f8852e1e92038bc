//! SIGKILL under load, with what was on its way to the disk torn as a power cut tears it.

use std::time::Duration;

use registry_client::{RegistryClient, WatchItem, pb};
use registry_tests::process::ServerProcess;
use registry_tests::restore::verified;
use registry_tests::store;
use registry_tests::torn::{Tear, tear};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::verify::{self, Log};
use crate::writer::Writer;
use crate::{impatient, patient};

/// Unless TEST_KILLS says otherwise.
const KILLS: usize = 12;
const WRITERS: usize = 64;
const MODELS: usize = 6;

/// Clients come from 127.0.0.1. On another address of this machine, none of their ports can take the server's while it is away.
const LISTEN: &str = "127.0.0.2:0";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kill_9_under_load_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(folder.path(), LISTEN);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = impatient(&endpoint);
    let models: Vec<_> = (0..MODELS).map(name).collect();
    for model in &models {
        client.create_model(model).await.unwrap();
    }
    let (reached, head) = watch::channel(i64::MAX);
    let watchers: Vec<_> = (0..2).map(|_| tokio::spawn(see_all(patient(&endpoint), head.clone()))).collect();
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(number, &models[number % MODELS])).collect();

    let kills = std::env::var("TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        writers = write_until_killed(&client, writers, server).await;
        assert!(writers.iter().any(|writer| writer.unknown.is_some()), "nothing was under way when it was killed");
        if store::embedded() {
            println!("kill {kill}: {}", tear(folder.path(), Tear::ALL[kill % Tear::ALL.len()]));
        }
        server = ServerProcess::start(folder.path(), &listen);
    }
    let (_running, killed) = watch::channel(false);
    for writer in &mut writers {
        assert!(writer.settle(&client, &killed).await);
    }

    let log = Log::read(&client).await;
    log.assert_is_whole();
    log.assert_holds_each_once(&writers, MODELS);
    assert_eq!(verified(&client).await.revision, log.head());
    verify::assert_all(&client, &log, &writers, &models).await;
    reached.send_replace(log.head());
    for watcher in watchers {
        let seen = tokio::time::timeout(Duration::from_secs(20), watcher).await.expect("a watcher lags").unwrap();
        log.assert_was_seen(&seen);
    }
    assert!(server.terminate().success());
}

fn name(model: usize) -> String {
    format!("namespaces/default/models/m{model}")
}

/// Lets all writers write until a random number of writes has been acknowledged, and kills the server amid the rest.
async fn write_until_killed(client: &RegistryClient, writers: Vec<Writer>, server: ServerProcess) -> Vec<Writer> {
    let (kill, killed) = watch::channel(false);
    let (acknowledged, mut acknowledgements) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for mut writer in writers {
        let (client, killed, acknowledged) = (client.clone(), killed.clone(), acknowledged.clone());
        tasks.spawn(async move {
            writer.write(&client, &killed, &acknowledged).await;
            writer
        });
    }
    drop(acknowledged);
    for _ in 0..rand::random_range(20..200) {
        // The writers are gone only if they failed, which joining them tells.
        if acknowledgements.recv().await.is_none() {
            break;
        }
    }
    kill.send_replace(true);
    server.kill();
    tasks.join_all().await
}

/// Watches from the start of the log until the head that is announced has come.
pub(crate) async fn see_all(client: RegistryClient, mut head: watch::Receiver<i64>) -> Vec<(i64, Vec<pb::Event>)> {
    let mut seen: Vec<(i64, Vec<pb::Event>)> = Vec::new();
    let mut items = client.watch().after(0).stream();
    while seen.last().map_or(0, |(revision, _)| *revision) < *head.borrow_and_update() {
        tokio::select! {
            item = items.try_next() => match item.expect("the watch goes on").expect("a watch has no end") {
                WatchItem::Events { revision, events, .. } => seen.push((revision, events)),
                WatchItem::Created { .. } | WatchItem::Bookmark { .. } => {}
                WatchItem::Disconnected { .. } | WatchItem::Resumed { .. } => {}
                other => panic!("{other:?}"),
            },
            changed = head.changed() => changed.expect("the test goes on"),
        }
    }
    seen
}
