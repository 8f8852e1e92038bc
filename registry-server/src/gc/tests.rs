//! Sweeps that were left in the middle, and those who meet them.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use registry_common::chunks::Chunk;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::artifact_service_server::ArtifactService as _;
use registry_proto::v1::model_service_server::ModelService as _;
use registry_proto::v1::version_service_server::VersionService as _;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::*;
use crate::about::About;
use crate::chunks::ChunkStore;
use crate::config::Config;
use crate::encryption::data::DataKeys;
use crate::encryption::master::MasterKeys;
use crate::grpc::{Means, Services, Stopping};
use crate::layers::{CallLayer, Capacity};
use crate::metrics::{Metrics, Sources};
use crate::places::Folder;
use crate::registry::artifacts::DeleteArtifact;
use crate::registry::kinds::LAYOUT;
use crate::registry::sweep::Begun;
use crate::registry::watch::Watching;
use crate::rules::names::{ARTIFACTS, Name, VERSIONS};
use crate::rules::quota::Limits;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::webhooks::Webhooks;

const VERSION: &str = "models/fraud/versions/1";
const PLAN: Plan = Plan { dry_run: false, grace: Duration::ZERO, keep_requests: Duration::MAX, keep_log: None };
/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// A registry with a version to publish in, and two stored chunks that no artifact lists.
pub(crate) struct Setting {
    pub(crate) registry: Registry,
    chunks: [Chunk; 2],
    _folder: TempDir,
}

impl Setting {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&folder.path().join("store"), 1 << 20, &LAYOUT).unwrap());
        let keys = DataKeys::new(Arc::clone(&store), MasterKeys::default());
        let chunks = ChunkStore::new(Folder::local(&folder.path().join("artifacts")).unwrap(), keys);
        let registry = Registry::new(store, chunks, Limits::default(), Duration::MAX);
        let services = services(&registry);
        let model = pb::CreateModelRequest { model_id: "fraud".to_owned(), ..Default::default() };
        services.create_model(Request::new(model)).await.unwrap();
        let version = pb::CreateVersionRequest { parent: "models/fraud".to_owned(), ..Default::default() };
        services.create_version(Request::new(version)).await.unwrap();
        let setting = Self { registry, chunks: [b"one", b"two"].map(|bytes| Chunk::of(bytes)), _folder: folder };
        setting.store(0).await;
        setting.store(1).await;
        setting
    }

    async fn store(&self, chunk: usize) {
        let bytes = Bytes::from_static([b"one", b"two"][chunk]);
        let names = self.registry.chunks().names().await.unwrap();
        self.registry.chunks().put(&names, "default", &self.chunks[chunk], bytes).await.unwrap();
    }

    /// Begins to remove a chunk, and gets no further.
    async fn sweep(&self, chunk: usize) -> Begun {
        let places = BTreeSet::from([("default".to_owned(), self.chunks[chunk].blake3)]);
        self.registry.begin_sweep(&Intent::own(), &places, false).await.unwrap()
    }

    async fn found(&self) -> Vec<Stored> {
        self.registry.chunks().list().try_collect().await.unwrap()
    }

    async fn stored(&self) -> usize {
        self.found().await.len()
    }

    /// Carries deletions out that were asked for earlier.
    async fn delete(&self, found: Vec<Stored>) -> u64 {
        let removal = self.registry.chunks().remove(found, Instant::now() + LONG).await;
        assert!(removal.failure.is_none() && !removal.unsettled, "{removal:?}");
        removal.chunks
    }

    /// Ends a sweep without having removed anything.
    async fn end(&self, begun: &Begun) {
        self.registry.remove(&Intent::own(), begun, Vec::new()).await.unwrap();
    }

    /// What a reader gets of a chunk.
    async fn read(&self, chunk: usize) -> Bytes {
        self.registry.chunks().get("default", &self.chunks[chunk]).await.unwrap()
    }

    async fn newest(&self) -> Revision {
        self.registry.store().newest().await.unwrap()
    }

    /// Publishes an artifact of a chunk, as another server.
    async fn publish(&self, chunk: usize, patience: Duration) -> Result<pb::Artifact, Status> {
        let artifact = pb::Artifact { path: format!("{chunk}.bin"), r#type: "model".to_owned(), ..Default::default() };
        let request = pb::CreateArtifactRequest {
            parent: VERSION.to_owned(),
            artifact: Some(artifact),
            chunks: vec![self.chunks[chunk].to_message()],
            ..Default::default()
        };
        let services = services(&self.registry.with_patience(patience));
        Ok(services.create_artifact(Request::new(request)).await?.into_inner())
    }

    /// Collects, as another server.
    async fn collect(&self, patience: Duration) -> Result<pb::CollectGarbageReport, Error> {
        collect(&self.registry.with_patience(patience), &Intent::own(), &PLAN, |_, _| true).await
    }
}

fn services(registry: &Registry) -> Services {
    // It reads the system's authorities: once is enough.
    static WEBHOOKS: LazyLock<Webhooks> =
        LazyLock::new(|| Webhooks::new(&[], uuid::Uuid::nil()).expect("there is TLS"));
    let stopping = Stopping { draining: watch::channel(false).1, ending: watch::channel(false).1 };
    let watching =
        Watching { bookmark_every: LONG, snapshot_patience: LONG, turns: Arc::new(tokio::sync::Semaphore::new(1)) };
    let about = About::new(&Config::default(), uuid::Uuid::nil(), false);
    let (registry, webhooks) = (registry.clone(), WEBHOOKS.clone());
    let metrics = Metrics::new(Sources {
        registry: &registry,
        about: &about,
        draining: stopping.draining.clone(),
        calls: &CallLayer::new(Capacity { calls: 1, uploads: 1, streams: 1 }, LONG),
        connections: &Default::default(),
        webhooks: &webhooks,
        tls: None,
    });
    Means { registry, about, stopping, idle: LONG, plan: PLAN, watching, webhooks, metrics }.into()
}

fn assert_running(collected: Result<pb::CollectGarbageReport, Error>) {
    let refused = matches!(collected, Err(Error::Precondition { reason: ErrorReason::CollectionRunning, .. }));
    assert!(refused, "{collected:?}");
}

fn assert_missing(published: Result<pb::Artifact, Status>) {
    let refused = published.unwrap_err();
    assert!(refused.get_error_details().error_info().unwrap().reason == "CHUNKS_MISSING", "{refused}");
}

#[tokio::test]
async fn a_sweep_is_left_to_its_sweeper_until_others_give_it_up() {
    let setting = Setting::new().await;
    setting.sweep(0).await;
    let before = setting.newest().await;
    assert_running(setting.collect(LONG).await);
    assert_eq!((setting.stored().await, setting.newest().await), (2, before));
    assert_eq!(setting.collect(Duration::ZERO).await.unwrap().removed_chunks, 2);
    assert_eq!(setting.stored().await, 0);
    // Everything is in order again.
    setting.store(1).await;
    assert_eq!(setting.collect(LONG).await.unwrap().removed_chunks, 1);
}

#[tokio::test]
async fn a_sweeper_that_stood_still_until_its_sweep_was_given_up_harms_nobody() {
    let setting = Setting::new().await;
    let found = setting.found().await;
    let places = found.iter().map(|chunk| (chunk.namespace.clone(), chunk.blake3)).collect();
    let begun = setting.registry.begin_sweep(&Intent::own(), &places, false).await.unwrap();
    // Its machine is suspended. Others don't rely on what it may remove at any time.
    assert_missing(setting.publish(0, Duration::ZERO).await);
    setting.store(0).await;
    setting.publish(0, LONG).await.unwrap();
    // Requests that were on their way arrive; and it would go on.
    assert_eq!(setting.delete(found.clone()).await, 2);
    assert!(setting.registry.remove(&Intent::own(), &begun, found.clone()).await.is_err());
    assert_eq!(setting.read(0).await, "one");
    // Nor does it matter if that happens once more, after other sweeps.
    setting.store(1).await;
    assert_eq!(setting.collect(LONG).await.unwrap().removed_chunks, 1);
    setting.delete(found).await;
    assert_eq!((setting.read(0).await, setting.stored().await), (Bytes::from_static(b"one"), 1));
}

#[tokio::test]
async fn what_a_sweep_spared_stays_where_it_is_when_it_is_given_up() {
    let setting = Setting::new().await;
    setting.publish(0, LONG).await.unwrap();
    setting.sweep(0).await;
    assert_eq!(setting.collect(Duration::ZERO).await.unwrap().removed_chunks, 1);
    assert_eq!((setting.read(0).await, setting.stored().await), (Bytes::from_static(b"one"), 1));
    // Others send it again; then it is there twice for as long as it is listed.
    let parent = Name::canonical(&VERSIONS, "namespaces/default/models/fraud/versions/1");
    let missing = setting.registry.missing_chunks(&parent, vec![setting.chunks[0].blake3]).await.unwrap();
    assert_eq!(missing, [0]);
    setting.store(0).await;
    assert_eq!(setting.collect(LONG).await.unwrap().removed_chunks, 0);
    assert_eq!(setting.stored().await, 2);
    let name = parent.child(&ARTIFACTS, "0.bin");
    setting.registry.commit(Intent::own(), DeleteArtifact { name, etag: String::new() }).await.unwrap();
    assert_eq!(setting.collect(LONG).await.unwrap().removed_chunks, 2);
}

#[tokio::test]
async fn in_a_folder_of_its_own_a_sweep_has_ended_with_its_process() {
    let setting = Setting::new().await;
    setting.sweep(0).await;
    let started_again = setting.registry.with_patience(LONG).alone();
    started_again.bury_sweep().await.unwrap();
    let collected = collect(&started_again, &Intent::own(), &PLAN, |_, _| true).await;
    assert_eq!(collected.unwrap().removed_chunks, 2);
    assert!(started_again.chunks().names().await.unwrap().given_up().is_empty());
}

#[tokio::test]
async fn an_object_store_may_outlive_the_process_that_asked_it_to_delete() {
    let setting = Setting::new().await;
    setting.sweep(0).await;
    let started_again = setting.registry.with_patience(LONG);
    started_again.bury_sweep().await.unwrap();
    let collected = collect(&started_again, &Intent::own(), &PLAN, |_, _| true).await;
    assert_eq!(collected.unwrap().removed_chunks, 2);
    assert_eq!(started_again.chunks().names().await.unwrap().given_up(), &BTreeSet::from([1]));
}

#[tokio::test]
async fn only_publishers_of_its_chunks_wait_for_a_sweep() {
    let setting = Setting::new().await;
    let mut found = setting.found().await;
    let begun = setting.sweep(0).await;
    setting.publish(1, LONG).await.unwrap();
    let end = async {
        // The publisher has looked: its chunk is still there.
        let publishing = setting.newest().await;
        found.retain(|chunk| chunk.blake3 == setting.chunks[0].blake3);
        assert_eq!(setting.delete(found).await, 1);
        assert_eq!(setting.newest().await, publishing);
        setting.end(&begun).await;
    };
    let (published, ()) = tokio::join!(setting.publish(0, LONG), end);
    assert_missing(published);
    setting.store(0).await;
    setting.publish(0, LONG).await.unwrap();
}

#[tokio::test]
async fn what_was_published_before_a_sweep_is_spared() {
    let setting = Setting::new().await;
    let snapshot = setting.registry.store().snapshot().await.unwrap();
    let marks = Marks::of(&*snapshot, |_| true).await.unwrap().unwrap();
    let garbage = setting.found().await;
    // The collection has found both chunks.
    setting.publish(0, LONG).await.unwrap();
    let report = pb::CollectGarbageReport::default();
    let intent = Intent::own();
    let registry = &setting.registry;
    let mut collection =
        Collection { registry, intent: &intent, plan: &PLAN, marks, batch: BATCH, garbage, denied: false, report };
    collection.sweep().await.unwrap();
    assert_eq!((collection.report.removed_chunks, setting.stored().await), (1, 1));
    setting.publish(0, LONG).await.unwrap();
}

#[tokio::test]
async fn a_sweep_is_over_once() {
    let setting = Setting::new().await;
    let begun = setting.sweep(0).await;
    setting.collect(Duration::ZERO).await.unwrap();
    let before = setting.newest().await;
    setting.end(&begun).await;
    assert_eq!(setting.newest().await, before);
    assert_eq!(setting.registry.chunks().names().await.unwrap().given_up(), &BTreeSet::from([1]));
}

#[tokio::test]
async fn few_chunks_are_risked_behind_a_sweep_that_was_given_up() {
    let setting = Setting::new().await;
    for number in 0..FEW {
        let bytes = Bytes::from(format!("more {number}"));
        let names = setting.registry.chunks().names().await.unwrap();
        setting.registry.chunks().put(&names, "default", &Chunk::of(&bytes), bytes).await.unwrap();
    }
    setting.sweep(0).await;
    setting.registry.with_patience(Duration::ZERO).unharmed(0, VERSION, "default", &[]).await.unwrap();
    let before = setting.newest().await;
    assert_eq!(setting.collect(LONG).await.unwrap().removed_chunks, count(FEW + 2));
    let mut started = Vec::new();
    for revision in before + 1..=setting.newest().await {
        let event = setting.registry.event(&format!("events/{revision}-0")).await.unwrap();
        match event.after.and_then(|after| after.resource) {
            Some(pb::resource::Resource::Sweep(sweep)) if event.r#type == "sweep.started" => {
                started.push(sweep.chunk_count);
            }
            _ => {}
        }
    }
    assert_eq!(started, [count(FEW), 2]);
}

#[tokio::test]
async fn a_publisher_who_slept_for_long_looks_again() {
    let setting = Setting::new().await;
    let settled = 0;
    setting.sweep(0).await;
    for _ in 1..70 {
        // The first one is given up, and known for good.
        let places = BTreeSet::from([("default".to_owned(), setting.chunks[0].blake3)]);
        let other = setting.registry.with_patience(Duration::ZERO);
        let begun = other.begin_sweep(&Intent::own(), &places, false).await.unwrap();
        setting.end(&begun).await;
    }
    let ours = [setting.chunks[1]];
    // What the first sweeps removed is not known any more.
    assert_eq!(setting.registry.unharmed(settled + 1, VERSION, "default", &ours).await.unwrap(), None);
    assert_eq!(setting.registry.unharmed(30, VERSION, "default", &ours).await.unwrap(), Some(70));
    assert_eq!(setting.registry.unharmed(30, VERSION, "default", &[setting.chunks[0]]).await.unwrap(), None);
    assert_eq!(setting.registry.unharmed(30, VERSION, "elsewhere", &[setting.chunks[0]]).await.unwrap(), Some(70));
    assert_eq!(setting.registry.chunks().names().await.unwrap().given_up(), &BTreeSet::from([1]));
}
