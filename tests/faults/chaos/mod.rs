//! Three servers on one PostgreSQL and one object store, and everything that was ever done to them, at random: servers killed and stopped,
//! connections to the database ended amid commits, the database killed, and the object store failing. Meanwhile clients make random
//! changes through all of them, publishers share chunks, and every server collects garbage without a grace time.
//!
//! At the end nothing may be lost, doubled, out of order or different: changes are held against the spec of the random test, each
//! server's watch and state against the log, and every byte against what was published.

mod injuries;
mod publishers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use registry_client::pb;
use registry_tests::accidents::Accidents;
use registry_tests::bucket::Bucket;
use registry_tests::cluster::Cluster;
use registry_tests::events;
use registry_tests::process::{ServerProcess, sled_command};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::injuries::Injuries;
use self::publishers::NAMESPACE;
use crate::kill::see_all;
use crate::patient;
use crate::random::{compare, replay, work};

/// How long they are at it, in seconds, unless TEST_CHAOS_SECONDS says otherwise.
const SECONDS: u64 = 20;
const SERVERS: usize = 3;
const CLIENTS: u64 = 4;
const PUBLISHERS: u64 = 3;
/// Clients come from 127.0.0.1. On another address of this machine, none of their ports can take a server's while it is away.
const LISTEN: &str = "127.0.0.7:0";

/// What the servers work on.
struct Ground {
    cluster: Cluster,
    accidents: Arc<Accidents>,
    /// As the servers reach it.
    bucket: Bucket,
    folder: TempDir,
}

impl Ground {
    fn server(&self, listen: &str) -> ServerProcess {
        let mut command = sled_command(self.folder.path(), listen);
        command.args(["--store", self.cluster.url(), "--store-patience", "30s", "--call-timeout", "60s"]);
        let bucket = &self.bucket;
        command.args(["--artifacts", &bucket.under("artifacts").url, "--gc-every", "1s", "--gc-grace", "0s"]);
        command.args(["--archive", &bucket.under("archive").url, "--archive-every", "500ms"]);
        ServerProcess::spawn(bucket.given_to(command))
    }

    /// What the archive makes of a store of its own.
    fn restored(&self) -> ServerProcess {
        let folder = self.folder.path().join("restored");
        let bucket = &self.bucket;
        let mut command = sled_command(&folder, LISTEN);
        command.args(["restore", "--from", &bucket.under("archive").url]);
        let output = bucket.given_to(command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        ServerProcess::spawn(sled_command(&folder, LISTEN))
    }
}

fn endpoints(servers: &[ServerProcess]) -> String {
    servers.iter().map(ServerProcess::endpoint).collect::<Vec<_>>().join(",")
}

/// Of no model of the random changes.
fn is_elsewhere(event: &pb::Event) -> bool {
    event.resource_name.starts_with("sweeps/") || event.resource_name.starts_with(NAMESPACE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_servers_lose_and_mix_nothing_whatever_is_done_to_them() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seed = number("TEST_CHAOS_SEED").unwrap_or_else(rand::random);
    let seconds = number("TEST_CHAOS_SECONDS").unwrap_or(SECONDS);
    println!("TEST_CHAOS_SEED={seed}: {seconds} s");
    let cluster = tokio::task::block_in_place(Cluster::start);
    let bucket = Bucket::folder();
    let accidents = Accidents::before(&bucket).await;
    let bucket = accidents.of(&bucket);
    let ground = Ground { cluster, accidents, bucket, folder: tempfile::tempdir().unwrap() };
    let servers: Vec<_> = tokio::task::block_in_place(|| (0..SERVERS).map(|_| ground.server(LISTEN)).collect());
    let client = patient(&endpoints(&servers));
    let (reached, head) = watch::channel(i64::MAX);
    let watchers: Vec<_> =
        servers.iter().map(|server| tokio::spawn(see_all(patient(&server.endpoint()), head.clone()))).collect();

    let end = Instant::now() + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(work(client.clone(), seed.wrapping_add(number), move |_| Instant::now() < end));
    }
    let mut publishing = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishing.spawn(publishers::publish(client.clone(), seed, number, end));
    }
    let mut injuries = Injuries::new(ground, servers, seed);
    while Instant::now() < end {
        injuries.inflict().await;
    }
    let attempts: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    let published: BTreeMap<_, _> = publishing.join_all().await.into_iter().flatten().collect();

    let log = events(&client).await;
    let spec = replay(&log, &attempts, is_elsewhere);
    // What is collected after that is no matter.
    let newest = log.last().map_or(0, |event| event.revision);
    reached.send_replace(newest);
    for (server, watcher) in injuries.servers.iter().zip(watchers) {
        let client = patient(&server.endpoint());
        let there = events(&client).await.into_iter().filter(|event| event.revision <= newest);
        assert!(there.eq(log.iter().cloned()), "the servers disagree");
        compare(&client, &spec).await;
        publishers::check(&client, &published).await;
        let seen = registry_tests::soon(watcher).await.unwrap();
        let seen = seen.into_iter().filter(|(revision, _)| *revision <= newest).flat_map(|(_, events)| events);
        assert!(seen.eq(log.iter().cloned()), "a watch is the log");
    }
    let report = client.verify().await.unwrap();
    assert_eq!(report.problem_count, 0, "{report:?}");

    // The archive, which all of them wrote, has all of it.
    let newest = events(&client).await;
    let Injuries { ground, servers, counts, .. } = injuries;
    tokio::task::block_in_place(|| servers.into_iter().for_each(|server| assert!(server.terminate().success())));
    let restored = tokio::task::block_in_place(|| ground.restored());
    let copy = patient(&restored.endpoint());
    let there = events(&copy).await;
    assert!(there.starts_with(&newest), "the archive has another log");
    compare(&copy, &spec).await;
    publishers::check(&copy, &published).await;

    let refused = attempts.iter().filter(|attempt| attempt.refused).count();
    println!(
        "{} changes carried out, {refused} refused, {} artifacts published, {} events; {counts:?}",
        attempts.len() - refused,
        published.len(),
        log.len(),
    );
}
