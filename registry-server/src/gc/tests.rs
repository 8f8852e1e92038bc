//! Sweeps that were left in the middle, and those who meet them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use registry_common::chunks::Chunk;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::artifact_service_server::ArtifactService as _;
use registry_proto::v1::model_service_server::ModelService as _;
use registry_proto::v1::version_service_server::VersionService as _;
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::{Request, Status};

use super::*;
use crate::chunks::ChunkStore;
use crate::encryption::data::DataKeys;
use crate::encryption::master::MasterKeys;
use crate::grpc::Services;
use crate::places::Folder;
use crate::registry::kinds::LAYOUT;
use crate::registry::sweep::Begun;
use crate::registry::watch::Watching;
use crate::rules::quota::Limits;
use crate::store::Store;
use crate::store::sled::SledStore;

const VERSION: &str = "models/fraud/versions/1";
const PLAN: Plan = Plan { dry_run: false, grace: Duration::ZERO };
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
        self.registry.chunks().put("default", &self.chunks[chunk], bytes).await.unwrap();
    }

    /// Begins to remove a chunk, and gets no further.
    async fn sweep(&self, chunk: usize) -> Begun {
        let places = BTreeSet::from([("default".to_owned(), self.chunks[chunk].blake3)]);
        self.registry.begin_sweep(&Intent::own(), &places, false).await.unwrap()
    }

    async fn stored(&self) -> usize {
        self.registry.chunks().list().try_collect::<Vec<_>>().await.unwrap().len()
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
    let (_, draining) = watch::channel(false);
    let watching =
        Watching { bookmark_every: LONG, snapshot_patience: LONG, turns: Arc::new(tokio::sync::Semaphore::new(1)) };
    Services::new(registry.clone(), draining, LONG, PLAN, watching)
}

fn assert_running(collected: Result<pb::CollectGarbageReport, Error>) {
    let refused = matches!(collected, Err(Error::Precondition { reason: ErrorReason::CollectionRunning, .. }));
    assert!(refused, "{collected:?}");
}

#[tokio::test]
async fn a_sweep_is_left_to_its_sweeper_until_that_must_be_dead() {
    let setting = Setting::new().await;
    setting.sweep(0).await;
    let before = setting.registry.store().newest().await.unwrap();
    assert_running(setting.collect(LONG).await);
    assert_eq!((setting.stored().await, setting.registry.store().newest().await.unwrap()), (2, before));
    // The one who is back from the dead, as it were, has begun generation 1.
    assert_eq!(setting.collect(Duration::ZERO).await.unwrap().removed_chunks, 2);
    assert_eq!(setting.stored().await, 0);
    // Everything is in order again.
    setting.store(1).await;
    assert_eq!(setting.collect(LONG).await.unwrap().removed_chunks, 1);
}

#[tokio::test]
async fn on_a_store_of_its_own_a_server_need_not_wait() {
    let setting = Setting::new().await;
    setting.sweep(0).await;
    let started_again = setting.registry.with_patience(LONG);
    started_again.bury_sweep().await.unwrap();
    let collected = collect(&started_again, &Intent::own(), &PLAN, |_, _| true).await;
    assert_eq!(collected.unwrap().removed_chunks, 2);
}

#[tokio::test]
async fn only_publishers_of_its_chunks_wait_for_a_sweep() {
    let setting = Setting::new().await;
    let begun = setting.sweep(0).await;
    setting.publish(1, LONG).await.unwrap();
    let end = async {
        // The publisher has looked: its chunk is still there.
        let publishing = setting.registry.store().newest().await.unwrap();
        let chunk = Stored {
            namespace: "default".to_owned(),
            blake3: setting.chunks[0].blake3,
            size: 0,
            written: SystemTime::now(),
        };
        assert_eq!(setting.registry.chunks().remove(&[chunk]).await.unwrap().0, 1);
        assert_eq!(setting.registry.store().newest().await.unwrap(), publishing);
        setting.registry.end_sweep(&Intent::own(), &begun, pb::Sweep::default()).await.unwrap();
    };
    let (published, ()) = tokio::join!(setting.publish(0, LONG), end);
    assert_eq!(published.unwrap_err().code(), tonic::Code::FailedPrecondition);
    setting.store(0).await;
    setting.publish(0, LONG).await.unwrap();
}

#[tokio::test]
async fn a_publisher_goes_on_when_the_sweeper_must_be_dead() {
    let setting = Setting::new().await;
    setting.sweep(0).await;
    setting.publish(0, Duration::ZERO).await.unwrap();
    assert_eq!(setting.collect(Duration::ZERO).await.unwrap().removed_chunks, 1);
    assert_eq!(setting.stored().await, 1);
}

#[tokio::test]
async fn what_was_published_before_a_sweep_is_spared() {
    let setting = Setting::new().await;
    let snapshot = setting.registry.store().snapshot().await.unwrap();
    let marks = Marks::of(&*snapshot, |_| true).await.unwrap().unwrap();
    let garbage = setting.registry.chunks().list().try_collect().await.unwrap();
    // The collection has found both chunks.
    setting.publish(0, LONG).await.unwrap();
    let report = pb::CollectGarbageReport::default();
    let intent = Intent::own();
    let registry = &setting.registry;
    let mut collection = Collection { registry, intent: &intent, plan: &PLAN, marks, garbage, report };
    collection.sweep().await.unwrap();
    assert_eq!((collection.report.removed_chunks, setting.stored().await), (1, 1));
    setting.publish(0, LONG).await.unwrap();
}

#[tokio::test]
async fn a_sweep_that_others_gave_up_is_not_ended_twice() {
    let setting = Setting::new().await;
    let begun = setting.sweep(0).await;
    setting.collect(Duration::ZERO).await.unwrap();
    let before = setting.registry.store().newest().await.unwrap();
    setting.registry.end_sweep(&Intent::own(), &begun, pb::Sweep::default()).await.unwrap();
    assert_eq!(setting.registry.store().newest().await.unwrap(), before);
}

#[tokio::test]
async fn a_publisher_who_slept_for_long_looks_again() {
    let setting = Setting::new().await;
    let settled = 0;
    for _ in 0..70 {
        let begun = setting.sweep(0).await;
        setting.registry.end_sweep(&Intent::own(), &begun, pb::Sweep::default()).await.unwrap();
    }
    let ours = [setting.chunks[1]];
    // What the first sweeps removed is not known any more.
    assert_eq!(setting.registry.unharmed(settled, VERSION, "default", &ours).await.unwrap(), None);
    assert_eq!(setting.registry.unharmed(30, VERSION, "default", &ours).await.unwrap(), Some(70));
    assert_eq!(setting.registry.unharmed(30, VERSION, "default", &[setting.chunks[0]]).await.unwrap(), None);
    assert_eq!(setting.registry.unharmed(30, VERSION, "elsewhere", &[setting.chunks[0]]).await.unwrap(), Some(70));
}
