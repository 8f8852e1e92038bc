//! Backups, restores, and what a registry holds, to be compared.

use std::path::Path;

use registry_client::pb::{Artifact, Event, Model, VerifyReport, Version};
use registry_client::{RegistryClient, WatchItem, pb};
use registry_server::backup::restore::{RestoreError, Restored, Until, restore};
use registry_server::config::{Config, Size};
use registry_server::server::Server;
use registry_server::stores::{ServeError, Stores};

use crate::{PATIENCE, events, soon, store, until};

/// The settings of a server on a folder.
pub fn config(storage: &Path) -> Config {
    Config {
        store: store::choice(storage),
        artifacts: store::artifacts(storage).map(|bucket| bucket.url),
        storage_path: storage.to_owned(),
        cache: Size::of_mib(16),
        ..Config::default()
    }
}

/// A backup of everything, in a file.
pub async fn back_up(client: &RegistryClient, file: &Path) -> pb::BackupCompleted {
    soon(client.backup().write_to(tokio::fs::File::create(file).await.unwrap())).await.unwrap()
}

/// The stores in a folder that no server uses. One that did may hold it for a moment longer.
pub async fn stores(storage: &Path) -> Stores {
    let config = config(storage);
    until(PATIENCE, || async {
        match Stores::open(&config).await {
            Ok(stores) => Some(stores),
            Err(ServeError::InUse { .. } | ServeError::Store(_)) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await
}

/// Why a server does not serve a folder; `None` if it does.
pub async fn refusal(storage: &Path) -> Option<ServeError> {
    let config = config(storage);
    until(PATIENCE, || async {
        match Server::open(config.clone()).await.err() {
            // Whoever had it open last may hold it for a moment longer.
            Some(ServeError::InUse { .. } | ServeError::Store(_)) => None,
            refusal => Some(refusal),
        }
    })
    .await
}

/// Restores a file or an archive into a folder.
pub async fn restore_into(storage: &Path, from: &Path, until: Until) -> Result<Restored, RestoreError> {
    let stores = stores(storage).await;
    restore(&*stores.store, &stores.chunks, from.to_str().unwrap(), until, |_| {}).await
}

/// Everything that the lists and a watch's snapshot tell of a registry.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Contents {
    /// Deleted ones as well, each with its stages and aliases.
    pub models: Vec<Model>,
    /// Deleted ones as well.
    pub versions: Vec<Version>,
    /// Of all these versions.
    pub artifacts: Vec<Artifact>,
    /// What a watch says at its beginning.
    pub snapshot: Vec<Event>,
}

/// What a registry holds. Nobody may write meanwhile.
pub async fn contents(client: &RegistryClient) -> Contents {
    let mut contents = Contents { snapshot: snapshot(client).await, ..Default::default() };
    for namespace in client.list_namespaces().show_deleted(true).page_size(1000).await.unwrap().namespaces {
        let models = client.list_models().parent(namespace.name).show_deleted(true).page_size(1000);
        contents.models.extend(models.stream().try_collect::<Vec<_>>().await.unwrap());
    }
    for model in &contents.models {
        let versions = client.list_versions(&model.name).show_deleted(true).page_size(1000);
        contents.versions.extend(versions.stream().try_collect::<Vec<_>>().await.unwrap());
    }
    for version in contents.versions.iter().filter(|version| version.artifact_count > 0) {
        let artifacts = client.list_artifacts(&version.name).page_size(1000);
        contents.artifacts.extend(artifacts.stream().try_collect::<Vec<_>>().await.unwrap());
    }
    contents
}

async fn snapshot(client: &RegistryClient) -> Vec<Event> {
    let mut watch = client.watch().from_snapshot().stream();
    let mut snapshot = Vec::new();
    loop {
        match soon(watch.try_next()).await.unwrap().unwrap() {
            WatchItem::Snapshot { events, .. } => snapshot.extend(events),
            WatchItem::Bookmark { .. } => return snapshot,
            WatchItem::Created { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Fails unless two registries hold the same, down to every event and its hash.
///
/// # Panics
/// If they don't.
pub async fn assert_same(one: &RegistryClient, other: &RegistryClient) {
    // Printed, they would fill the screen many times.
    assert!(events(one).await == events(other).await, "other events");
    assert!(contents(one).await == contents(other).await, "other contents");
    assert_eq!(verified(one).await, verified(other).await);
}

/// The report on a registry in which all has to be well.
///
/// # Panics
/// If it is not.
pub async fn verified(client: &RegistryClient) -> VerifyReport {
    let report = soon(client.verify()).await.unwrap();
    assert_eq!((report.problems.as_slice(), report.problem_count), (&[][..], 0));
    report
}

/// Changes one bit in the middle of a file.
///
/// # Panics
/// If it can't be changed.
pub fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Opens the embedded store of a server that has stopped as what it is, a sled database with the trees `log` and `state`, and
/// changes it behind the server's back.
///
/// # Panics
/// If it can't be opened.
pub async fn tamper(storage: &Path, change: impl FnOnce(&sled::Tree, &sled::Tree)) {
    // As the server opens it; sled refuses anything else.
    let settings = sled::Config::new().path(storage.join("store")).segment_size(4 << 20).flush_every_ms(None);
    let db = until(PATIENCE, || async { settings.open().ok() }).await;
    change(&db.open_tree("log").unwrap(), &db.open_tree("state").unwrap());
    db.flush().unwrap();
}

/// Replaces a text in the values of a tree by another one of the same length.
///
/// # Panics
/// If it is in no value, or not all are of the same length.
pub fn replace(tree: &sled::Tree, keys: &[u8], text: &str, by: &str) {
    assert_eq!(text.len(), by.len());
    let mut replaced = 0;
    for entry in tree.scan_prefix(keys) {
        let (key, value) = entry.unwrap();
        let mut value = value.to_vec();
        let places: Vec<_> = (0..value.len()).filter(|place| value[*place..].starts_with(text.as_bytes())).collect();
        for place in &places {
            value[*place..*place + text.len()].copy_from_slice(by.as_bytes());
        }
        if !places.is_empty() {
            tree.insert(key, value).unwrap();
            replaced += 1;
        }
    }
    assert!(replaced > 0, "{text} is nowhere");
}

/// How many bytes come before a group in the log of the embedded store.
const GROUP_HEADER: usize = 37;

/// A group of one part as the log has it.
pub fn as_logged(group: &[u8]) -> Vec<u8> {
    let digest = registry_common::chunks::Chunk::of(group).blake3;
    [&[1, 0, 0, 0, 1], digest.as_slice(), group].concat()
}

/// Replaces a text in a log by another one, so well that the groups are as they should be.
pub fn replace_in_log(log: &sled::Tree, keys: &[u8], text: &str, by: &str) {
    replace(log, keys, text, by);
    for entry in log.scan_prefix(keys) {
        let (key, value) = entry.unwrap();
        log.insert(key, as_logged(&value[GROUP_HEADER..])).unwrap();
    }
}
