//! What the tests share.

pub mod accidents;
pub mod bucket;
pub mod certificates;
pub mod chunks;
pub mod cluster;
pub mod expect;
pub mod gateway;
pub mod http;
pub mod issuer;
pub mod line;
pub mod printing;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod restore;
pub mod server;
pub mod store;
pub mod terminal;
pub mod torn;
pub mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_client::RegistryClient;
use registry_client::pb::{Event, Model, Version};
use registry_common::hex;

pub use server::TestServer;

/// How long anything in a test may take before that counts as a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again, without a pause, until there is an answer.
///
/// # Panics
/// If there is none in time.
pub async fn until<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, asking).await.expect("what was waited for did not come")
}

/// What there is within [`PATIENCE`].
///
/// # Panics
/// If it takes longer.
pub async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// The whole log.
pub async fn events(client: &RegistryClient) -> Vec<Event> {
    events_of(client, "").await
}

/// What the log says of something and of what lies below it.
pub async fn events_of(client: &RegistryClient, parent: &str) -> Vec<Event> {
    client.list_events().parent(parent).page_size(1000).stream().try_collect().await.unwrap()
}

/// Whether an event is of one of some types, as requests choose them: `version.created`, or `version.*`. None chooses all.
pub fn is_of(event: &Event, types: &[&str]) -> bool {
    let chosen = |r#type: &&str| match r#type.strip_suffix('*') {
        Some(kind) => event.r#type.starts_with(kind),
        None => event.r#type == **r#type,
    };
    types.is_empty() || types.iter().any(chosen)
}

/// A new model without versions.
pub async fn model(client: &RegistryClient, name: &str) -> Model {
    client.create_model(name).await.unwrap()
}

/// A new version of a model that takes artifacts.
pub async fn pending(client: &RegistryClient, model: &str) -> Version {
    client.create_version(model).await.unwrap()
}

/// A new version of a model that can be promoted.
pub async fn ready(client: &RegistryClient, model: &str) -> Version {
    client.create_version(model).finalize(true).await.unwrap()
}

/// A new model with this many READY versions.
pub async fn model_with(client: &RegistryClient, name: &str, versions: usize) -> Vec<Version> {
    model(client, name).await;
    let mut made = Vec::new();
    for _ in 0..versions {
        made.push(ready(client, name).await);
    }
    made
}

/// The SHA-256 of some bytes, as artifacts have it.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(bytes))
}

/// Bytes without a pattern, the same ones each time.
pub fn noise(size: usize) -> Vec<u8> {
    noise_of(0, size)
}

/// The same, others for each seed.
pub fn noise_of(seed: u64, size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(next).collect()
}

/// The files in a folder and below it, but for the locks of servers; none if there is no such folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // It may go away while it is being read.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "lock" => {}
                _ => found.push(path),
            }
        }
    }
    found
}
