//! From one kind of store to the other one and back: nothing changes.

use std::path::Path;

use registry_client::RegistryClient;
use registry_client::pb::Stage;
use registry_server::backup::restore::{Until, restore};
use registry_server::config::{Config, StoreChoice};
use registry_server::stores::Stores;
use registry_tests::restore::{assert_same, back_up, config, verified};
use registry_tests::{TestServer, model_with, noise, pending, store};

const MODEL: &str = "models/fraud";

async fn fill(client: &RegistryClient) {
    model_with(client, MODEL, 3).await;
    for number in [1, 2] {
        client
            .transition_stage(format!("{MODEL}/versions/{number}"), Stage::Production)
            .comment("better")
            .await
            .unwrap();
    }
    client.set_alias(MODEL, "champion", "1").await.unwrap();
    client.delete_version(format!("{MODEL}/versions/3")).await.unwrap();
    let version = pending(client, MODEL).await.name;
    client.upload(&version, "model.onnx", noise(2 * 1024 * 1024)).await.unwrap();
    client.finalize_version(&version).await.unwrap();
}

/// Restores a backup into an empty store, and serves that.
async fn moved(backup: &Path, config: Config) -> TestServer {
    let stores = Stores::open(&config).await.unwrap();
    restore(&*stores.store, &stores.chunks, backup.to_str().unwrap(), Until::End, |_| {}).await.unwrap();
    drop(stores);
    TestServer::with(|settings| {
        settings.store = config.store;
        settings.storage_path = config.storage_path;
        settings.artifacts = config.artifacts;
    })
    .await
}

#[tokio::test]
async fn a_registry_moves_between_the_stores_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let on_sled = |name: &str| Config { store: StoreChoice::Sled, ..config(&at(name)) };
    let on_postgres = Config { store: StoreChoice::Postgres(store::postgres(&at("b"))), ..config(&at("b")) };
    let first = TestServer::with(|settings| settings.store = StoreChoice::Sled).await;
    fill(&first.client()).await;

    back_up(&first.client(), &at("first")).await;
    let second = moved(&at("first"), on_postgres).await;
    assert_same(&first.client(), &second.client()).await;
    back_up(&second.client(), &at("second")).await;
    let third = moved(&at("second"), on_sled("c")).await;
    assert_same(&first.client(), &third.client()).await;
    assert!(std::fs::read(at("first")).unwrap() == std::fs::read(at("second")).unwrap(), "other bytes");

    // Both go on from there, alike but for times and ids.
    for server in [&second, &third] {
        let client = server.client();
        client.rollback(MODEL).await.unwrap();
        let version = client.create_version(MODEL).finalize(true).await.unwrap();
        assert_eq!(version.number, 5);
        verified(&client).await;
    }
}
