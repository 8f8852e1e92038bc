//! Those who publish artifacts of a few contents, over and over, and delete them: their chunks come into use and fall out of it all
//! the time.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::pb::ErrorReason;
use registry_client::{Error, RegistryClient};
use registry_tests::noise_of;
use tokio::time::Instant;
use tonic::Code;
use uuid::Uuid;

/// Where they publish.
pub(super) const NAMESPACE: &str = "namespaces/files";
/// How many contents there are, each of some chunks.
const CONTENTS: u64 = 8;
const SIZE: usize = 150_000;
/// How many versions a publisher keeps.
const KEPT: usize = 3;

fn content(number: u64) -> Vec<u8> {
    noise_of(number, SIZE)
}

/// Asks under one request id until there is an answer.
async fn answered<T, F: Future<Output = Result<T, Error>>>(mut ask: impl FnMut(Uuid) -> F) -> T {
    let id = Uuid::now_v7();
    loop {
        match ask(id).await {
            Ok(answer) => return answer,
            Err(error) if matches!(error.code(), Some(Code::Unavailable | Code::DeadlineExceeded)) => {}
            // A sweep was under way, of a server that was killed perhaps.
            Err(error) if matches!(error.reason(), Some(ErrorReason::ChunksMissing | ErrorReason::ChunksCollected)) => {
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Publishes and deletes until the end. Answers which artifacts are live then, and their content.
pub(super) async fn publish(client: RegistryClient, seed: u64, number: u64, end: Instant) -> Vec<(String, u64)> {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number));
    let model = format!("{NAMESPACE}/models/p{number}");
    answered(|id| client.create_model(&model).request_id(id).send()).await;
    let mut live: Vec<(String, u64)> = Vec::new();
    while Instant::now() < end {
        let version = answered(|id| client.create_version(&model).request_id(id).send()).await.name;
        let content_number = rng.random_range(0..CONTENTS);
        let bytes = content(content_number);
        answered(|_| async { client.upload(&version, "model.bin", bytes.clone()).await }).await;
        answered(|id| client.finalize_version(&version).request_id(id).send()).await;
        live.push((format!("{version}/artifacts/model.bin"), content_number));
        let (artifact, number) = &live[rng.random_range(0..live.len())];
        let there = answered(|_| async { client.download(artifact).bytes().await }).await;
        assert!(there == content(*number), "{artifact} has other bytes");
        while live.len() > KEPT {
            let (artifact, _) = live.remove(rng.random_range(0..live.len()));
            let version = artifact.trim_end_matches("/artifacts/model.bin");
            answered(|id| client.delete_version(version).request_id(id).send()).await;
            answered(|id| client.purge_version(version).request_id(id).send()).await;
        }
    }
    live
}

/// Every artifact has its bytes.
pub(super) async fn check(client: &RegistryClient, published: &BTreeMap<String, u64>) {
    for (artifact, number) in published {
        let there = client.download(artifact).bytes().await.unwrap_or_else(|error| panic!("{artifact}: {error}"));
        assert!(there == content(*number), "{artifact} has other bytes");
    }
}
