//! A PostgreSQL primary with a synchronous standby: the primary is killed under load, and the standby promoted.

use registry_tests::cluster::Cluster;
use registry_tests::process::{ServerProcess, sled_command};

use crate::patient;
use crate::verify::{self, Log};
use crate::writer::{self, Writer};

const WRITERS: usize = 32;
const WRITES: usize = 40;
const MODELS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_primary_loses_nothing_and_servers_go_on_with_its_standby() {
    let folder = tempfile::tempdir().unwrap();
    let clusters = tokio::task::spawn_blocking(|| {
        let primary = Cluster::start();
        let standby = primary.standby();
        (primary, standby)
    });
    let (primary, standby) = clusters.await.unwrap();
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable",
        primary.port(),
        standby.port()
    );
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let mut command = sled_command(folder.path(), "127.0.0.1:0");
            command.args(["--store", &url, "--store-patience", "30s", "--call-timeout", "60s"]);
            ServerProcess::spawn(command)
        })
        .collect();
    let client = patient(&servers.iter().map(ServerProcess::endpoint).collect::<Vec<_>>().join(","));
    let name = |model: usize| format!("namespaces/default/models/m{model}");
    let models: Vec<_> = (0..MODELS).map(name).collect();
    for model in &models {
        client.create_model(model).await.unwrap();
    }

    let writers = (0..WRITERS).map(|number| Writer::new(number, &models[number % MODELS]));
    let (tasks, mut acknowledgements) = writer::start(&client, writers, WRITES);
    for _ in 0..WRITERS * WRITES / 3 {
        acknowledgements.recv().await.expect("the writers are at work");
    }
    primary.kill();
    tokio::task::block_in_place(|| standby.promote());
    let writers = tasks.join_all().await;

    let log = Log::read(&client).await;
    log.assert_is_whole();
    log.assert_holds_each_once(&writers, MODELS);
    verify::assert_all(&client, &log, &writers, &models).await;
}
