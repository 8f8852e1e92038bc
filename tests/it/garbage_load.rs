//! Collections without a grace time while others publish, delete and purge what shares chunks: nothing that is live may be lost, and
//! at the end nothing that is dead may be left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::pb::upload_artifact_request::Request;
use registry_client::pb::{ErrorReason, UploadArtifactRequest};
use registry_client::{Error, RegistryClient};
use registry_server::config::StoreChoice;
use registry_tests::restore::verified;
use registry_tests::{TestServer, chunks, model, noise, pending, store};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The shortest that the load goes on, in seconds, unless TEST_GARBAGE_SECONDS says otherwise.
const SECONDS: u64 = 10;
/// It goes on until more chunks than this were removed, however slow the machine is: with fewer, little was tested.
const REMOVED: i64 = 100;
const PUBLISHERS: u64 = 16;
/// How many different chunks there are: about as many as artifacts list at any time, so that some are shared and others are garbage.
const POOL: usize = 150;
/// How many versions a publisher keeps at most.
const KEPT: usize = 3;

fn pool() -> Vec<Bytes> {
    let noise = noise(POOL + 40_000);
    (0..POOL).map(|start| Bytes::copy_from_slice(&noise[start..start + 20_000 + 100 * start])).collect()
}

/// Sends what is missing, as long as something is, and commits: what a client does, with the cuts that the test wants.
async fn commit(server: &TestServer, parent: &str, path: &str, pieces: &[Bytes]) -> Result<(), Error> {
    loop {
        let missing = chunks::missing(server, parent, pieces).await?;
        if !missing.is_empty() {
            let sent = missing.iter().map(|place| chunks::message(0, &pieces[*place as usize]));
            chunks::send(server, [vec![chunks::first(parent, "")], sent.collect()].concat()).await?;
        }
        match chunks::create(server, chunks::create_of(parent, path, pieces)).await {
            Err(error) if was_collected(&error) => {}
            committed => return committed.map(drop),
        }
    }
}

/// Leaves the cutting to the server.
async fn upload(server: &TestServer, parent: &str, path: &str, bytes: &Bytes) -> Result<(), Error> {
    let mut service = chunks::service(server);
    loop {
        let parts = [Request::Metadata(chunks::metadata(parent, path, bytes)), Request::Data(bytes.clone())];
        let parts = parts.map(|part| UploadArtifactRequest { request: Some(part) });
        match service.upload_artifact(stream::iter(parts)).await.map_err(Error::from) {
            Err(error) if was_collected(&error) => {}
            uploaded => return uploaded.map(drop),
        }
    }
}

fn was_collected(error: &Error) -> bool {
    matches!(error.reason(), Some(ErrorReason::ChunksMissing | ErrorReason::ChunksCollected))
}

/// A version and the bytes of its artifacts.
struct Published {
    name: String,
    artifacts: Vec<Vec<u8>>,
}

impl Published {
    async fn check(&self, client: &RegistryClient) {
        for (number, bytes) in self.artifacts.iter().enumerate() {
            let name = format!("{}/artifacts/{number}", self.name);
            let there = client.download(&name).bytes().await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(there == *bytes, "{name} has other bytes");
        }
    }
}

/// What publishers and collectors share.
struct Load {
    pool: Vec<Bytes>,
    end: Instant,
    removed: AtomicI64,
}

impl Load {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end || self.removed.load(Ordering::Relaxed) <= REMOVED
    }
}

/// Publishes and deletes at random until the end; answers what is live then.
async fn publish(number: u64, server: Arc<TestServer>, load: Arc<Load>) -> Vec<Published> {
    let client = server.client();
    let mut random = StdRng::seed_from_u64(number);
    let parent = format!("models/m{number}");
    let mut live: Vec<Published> = Vec::new();
    while load.goes_on() {
        let name = pending(&client, &parent).await.name;
        let mut artifacts = Vec::new();
        for path in 0..random.random_range(1..3) {
            let path = path.to_string();
            let pieces: Vec<_> =
                (0..random.random_range(1..4)).map(|_| load.pool[random.random_range(0..POOL)].clone()).collect();
            if random.random_bool(0.8) {
                commit(&server, &name, &path, &pieces).await.unwrap();
                artifacts.push(pieces.concat());
            } else {
                upload(&server, &name, &path, &pieces[0]).await.unwrap();
                artifacts.push(pieces[0].to_vec());
            }
        }
        // Some go again before the version is complete.
        if random.random_bool(0.2) && artifacts.len() > 1 {
            client.delete_artifact(format!("{name}/artifacts/{}", artifacts.len() - 1)).await.unwrap();
            artifacts.pop();
        }
        client.finalize_version(&name).await.unwrap();
        live.push(Published { name, artifacts });
        live[random.random_range(0..live.len())].check(&client).await;
        while live.len() > random.random_range(1..=KEPT) {
            let gone = live.remove(random.random_range(0..live.len()));
            client.delete_version(&gone.name).await.unwrap();
            if random.random_bool(0.3) {
                client.undelete_version(&gone.name).await.unwrap();
                gone.check(&client).await;
                live.push(gone);
            } else {
                client.purge_version(&gone.name).await.unwrap();
            }
        }
    }
    live
}

/// Collects again and again until the end.
async fn collect(client: RegistryClient, load: Arc<Load>) {
    while load.goes_on() {
        let grace = Duration::from_millis(rand::random_range(0..5));
        match client.collect_garbage().grace(grace).await {
            Ok(report) => _ = load.removed.fetch_add(report.removed_chunks, Ordering::Relaxed),
            Err(error) => assert_eq!(error.reason(), Some(ErrorReason::CollectionRunning), "{error}"),
        }
    }
}

async fn listed(client: &RegistryClient, live: &[Published]) -> BTreeSet<String> {
    let mut listed = BTreeSet::new();
    for version in live {
        for number in 0..version.artifacts.len() {
            let chunks = chunks::listed(client, &format!("{}/artifacts/{number}", version.name)).await;
            listed.extend(chunks.iter().map(|chunk| format!("default/{}", chunk.hex())));
        }
    }
    listed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_live_is_lost_and_nothing_dead_is_left() {
    let mut servers = vec![Arc::new(TestServer::start().await)];
    let storage = servers[0].storage();
    if let StoreChoice::Postgres(_) = store::choice(&storage) {
        // One registry: the same database and the same artifacts.
        servers.push(Arc::new(TestServer::on(&storage).await));
    }
    let client = servers[0].client();
    for number in 0..PUBLISHERS {
        model(&client, &format!("models/m{number}")).await;
    }
    let seconds = std::env::var("TEST_GARBAGE_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let load = Arc::new(Load { pool: pool(), end, removed: AtomicI64::new(0) });
    let mut publishers = JoinSet::new();
    for (number, server) in (0..PUBLISHERS).zip(servers.iter().cycle()) {
        publishers.spawn(publish(number, Arc::clone(server), Arc::clone(&load)));
    }
    let collectors: JoinSet<_> = servers.iter().map(|server| collect(server.client(), Arc::clone(&load))).collect();
    let live = publishers.join_all().await.into_iter().flatten().collect::<Vec<_>>();
    collectors.join_all().await;

    client.collect_garbage().grace(Duration::ZERO).await.unwrap();
    assert_eq!(chunks::stored(&storage).await, listed(&client, &live).await);
    for server in &servers {
        for version in &live {
            version.check(&server.client()).await;
        }
    }
    let report = client.scrub().await.unwrap();
    assert_eq!((report.problem_count, report.artifacts), (0, live.iter().map(|v| v.artifacts.len() as i64).sum()));
    verified(&client).await;
    println!("{} chunks were removed, {} versions are live", load.removed.load(Ordering::Relaxed), live.len());
}
