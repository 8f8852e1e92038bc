//! Backups, restores, and what a registry holds, to be compared.

use std::path::Path;

use prost::Message as _;
use registry_client::pb::{Artifact, Event, Model, VerifyReport, Version};
use registry_client::{RegistryClient, WatchItem, pb};
use registry_server::backup::restore::{RestoreError, Restored, Until, restore};
use registry_server::config::{Config, Memory};
use registry_server::server::Server;
use registry_server::stored::LogGroup;
use registry_server::stores::{ServeError, Stores};

use crate::{PATIENCE, events, soon, store, until};

/// The settings of a server on a folder.
pub fn config(storage: &Path) -> Config {
    Config {
        store: store::choice(storage),
        artifacts: store::artifacts(storage).map(|bucket| bucket.url),
        storage_path: storage.to_owned(),
        cache: Memory::of_mib(16),
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

/// Opens the state of an embedded store, whose server has stopped, as what it is, a sled tree, and changes it behind the server's back.
///
/// # Panics
/// If it can't be opened.
pub async fn tamper(storage: &Path, change: impl FnOnce(&sled::Tree)) {
    // As the server opens it; sled refuses anything else.
    let settings = sled::Config::new().path(storage.join("store/state")).segment_size(4 << 20).flush_every_ms(None);
    let db = until(PATIENCE, || async { settings.open().ok() }).await;
    change(&db.open_tree("state").unwrap());
    db.flush().unwrap();
}

/// Changes the log of an embedded store, whose server has stopped, so well that its frames are as they should be.
///
/// # Panics
/// If it can't be read or written.
pub fn rewrite_log(storage: &Path, change: impl FnOnce(&mut Vec<LogGroup>)) {
    registry_server::store::sled::log::rewrite(&storage.join("store"), change).unwrap();
}

/// Damages the log of an embedded store where one of its groups begins.
///
/// # Panics
/// If there is no such group.
pub fn damage_log(storage: &Path, group: usize) {
    let file = storage.join("store/log/00000000000000000001.log");
    let bytes = std::fs::read(&file).unwrap();
    let begins = bytes.windows(4).enumerate().filter(|(_, bytes)| bytes == b"GRP1").nth(group);
    let (begins, _) = begins.expect("there are as many");
    // In the digest, in place: the server may have the file open.
    let file = std::fs::File::options().write(true).open(file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[bytes[begins + 40] ^ 1], begins as u64 + 40).unwrap();
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

/// Replaces a text in the groups of a log by another one of the same length.
///
/// # Panics
/// If it is in none, or they are not of the same length.
pub fn replace_in_log(groups: &mut [LogGroup], text: &str, by: &str) {
    assert_eq!(text.len(), by.len());
    let mut replaced = 0;
    for group in groups {
        let mut bytes = group.encode_to_vec();
        let places: Vec<_> = (0..bytes.len()).filter(|place| bytes[*place..].starts_with(text.as_bytes())).collect();
        for place in &places {
            bytes[*place..*place + text.len()].copy_from_slice(by.as_bytes());
        }
        *group = LogGroup::decode(bytes.as_slice()).unwrap();
        replaced += places.len();
    }
    assert!(replaced > 0, "{text} is nowhere");
}
