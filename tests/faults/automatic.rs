//! Versions that enter a stage by themselves while servers are killed: each once, in the revision that made it ready.

use std::collections::BTreeMap;

use futures::future::join_all;
use registry_client::pb::{MetricSet, Stage, StageChangeCause, Version};
use registry_client::policies::{gate, rule};
use registry_client::{RegistryClient, Uuid};
use registry_tests::process::ServerProcess;
use registry_tests::store;
use registry_tests::{PATIENCE, events, until};

use crate::patient;

const LISTEN: &str = "127.0.0.2:0";
/// Each with a model of its own: an older version would not enter behind a newer one.
const MAKERS: usize = 8;
const VERSIONS: usize = 12;
const KILLS: usize = 4;

/// Makes versions that pass at once, when they are finalized, or when they are measured again; each of these calls may be repeated.
async fn makes(client: RegistryClient, maker: usize) {
    let model = format!("m{maker}");
    for number in 0..VERSIONS {
        let rmse = if number % 3 == 2 { 2.0 } else { 0.5 };
        let create = client.create_version(&model).metric("test", "rmse", rmse).finalize(number % 3 != 1);
        let made = create.request_id(Uuid::new_v4()).await.unwrap();
        match number % 3 {
            0 => {}
            1 => drop(client.finalize_version(&made.name).request_id(Uuid::new_v4()).await.unwrap()),
            _ => {
                let values = BTreeMap::from([("rmse".to_owned(), 0.25)]);
                let metrics = BTreeMap::from([("test".to_owned(), MetricSet { values })]);
                let better = Version { name: made.name, metrics, ..Default::default() };
                client.update_version(better).request_id(Uuid::new_v4()).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_enters_once_whoever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    // Several servers share a database.
    let count = if store::embedded() { 1 } else { 2 };
    let mut servers: Vec<_> = (0..count).map(|_| ServerProcess::start(folder.path(), LISTEN)).collect();
    let endpoints: Vec<_> = servers.iter().map(ServerProcess::endpoint).collect();
    let client = patient(&endpoints.join(","));
    let good = gate("good", "version.metrics.test.rmse < 1.0");
    client.create_policy("auto").stage(rule(Stage::Staging).automatic().gate(good)).await.unwrap();
    for maker in 0..MAKERS {
        client.create_model(format!("m{maker}")).policy("auto").await.unwrap();
    }
    let makers = tokio::spawn(join_all((0..MAKERS).map(|maker| makes(client.clone(), maker))));
    let mut reached = MAKERS as i64;
    for _ in 0..KILLS {
        // In the middle of whatever is under way then.
        reached += rand::random_range(5..40);
        let there = async || client.status().await.ok().filter(|status| status.revision >= reached);
        until(PATIENCE, there).await;
        let killed = servers.remove(0);
        let listen = killed.address().to_string();
        killed.kill();
        servers.push(ServerProcess::start(folder.path(), &listen));
    }
    makers.await.unwrap();

    let log = events(&client).await;
    let mut entered: BTreeMap<&str, Vec<&_>> = BTreeMap::new();
    for event in &log {
        let change = event.stage_change.filter(|change| change.cause() == StageChangeCause::Automatic);
        if change.is_some() {
            entered.entry(&event.resource_name).or_default().push(event);
        }
    }
    assert_eq!(entered.len(), MAKERS * VERSIONS, "every version passed in the end");
    for (name, entries) in entered {
        let [entry] = entries[..] else { panic!("{name} entered {} times", entries.len()) };
        let first = log.iter().find(|event| event.revision == entry.revision && event.resource_name == name).unwrap();
        let occasion = ["version.created", "version.finalized", "version.updated"].contains(&first.r#type.as_str());
        assert!(occasion && first.index < entry.index, "{name} entered behind {}", first.r#type);
        assert!(entry.gates.as_ref().unwrap().promotable);
        assert_eq!(client.get_version(name).await.unwrap().stage(), Stage::Staging);
    }
}
