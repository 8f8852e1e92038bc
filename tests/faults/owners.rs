//! Whose is a place: another registry and every copy of one, at every kind of shared place, are refused in words, or do no harm.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use registry_client::RegistryClient;
use registry_tests::bucket::Bucket;
use registry_tests::cluster::Cluster;
use registry_tests::process::{ServerProcess, refusal, sled_command};
use registry_tests::restore::{back_up, verified};
use registry_tests::{PATIENCE, noise_of, pending, until};
use tokio_postgres::NoTls;

use crate::archive::{MODEL, log_of};
use crate::{impatient, patient};

const LISTEN: &str = "127.0.0.8:0";
const POSTGRES: &str = "postgres://postgres@127.0.0.1";

/// A place that several may be given.
#[derive(Debug, Clone)]
enum Shared {
    Folder(PathBuf),
    Bucket(Bucket),
}

impl Shared {
    fn under(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).to_str().unwrap().to_owned(),
            Self::Bucket(bucket) => bucket.under(name).url,
        }
    }

    fn given_to(&self, command: Command) -> Command {
        match self {
            Self::Folder(_) => command,
            Self::Bucket(bucket) => bucket.given_to(command),
        }
    }
}

/// Where a registry is: a storage path, and a database if it is in one.
#[derive(Debug, Clone)]
struct Records {
    storage: PathBuf,
    store: String,
}

impl Records {
    fn embedded(storage: PathBuf) -> Self {
        Self { storage, store: "sled".to_owned() }
    }

    fn in_database(storage: PathBuf, port: u16, database: &str) -> Self {
        Self { storage, store: format!("{POSTGRES}:{port}/{database}?sslmode=disable") }
    }

    /// `registry-server` on these records, with some of the shared places.
    fn command(&self, shared: &Shared, artifacts: bool, archive: bool) -> Command {
        let mut command = sled_command(&self.storage, LISTEN);
        command.args(["--store", &self.store, "--archive-every", "20ms"]);
        if artifacts {
            command.args(["--artifacts", &shared.under("artifacts")]);
        }
        if archive {
            command.args(["--archive", &shared.under("archive")]);
        }
        shared.given_to(command)
    }

    fn serve(&self, shared: &Shared) -> ServerProcess {
        ServerProcess::spawn(self.command(shared, true, true))
    }

    fn run(&self, shared: &Shared, artifacts: bool, archive: bool, arguments: &[&str]) -> String {
        let output = self.command(shared, artifacts, archive).args(arguments).output().unwrap();
        assert!(output.status.success(), "{self:?} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Neither place can be used, and the message says what to do.
    fn assert_is_refused(&self, shared: &Shared, says: &str) {
        let said = refusal(self.command(shared, true, false));
        assert!(said.contains(says) && said.contains("registry-server claim"), "{self:?}: {said}");
        // With artifacts of its own it could work: but not with the archive.
        self.run(shared, false, false, &["claim"]);
        let said = refusal(self.command(shared, false, true));
        assert!(said.contains(says) && said.contains("registry-server claim"), "{self:?}: {said}");
    }
}

/// A version with bytes that nobody else has.
async fn publish(client: &RegistryClient, seed: u64) {
    let _ = client.create_model(MODEL).await;
    let version = pending(client, MODEL).await.name;
    client.upload(&version, "model.bin", noise_of(seed, 100_000)).await.unwrap();
    client.finalize_version(&version).await.unwrap();
}

async fn collect(client: &RegistryClient) -> Result<i64, registry_client::Error> {
    Ok(client.collect_garbage().grace(Duration::ZERO).await?.removed_chunks)
}

/// A registry that is as it should be, also what was archived of it.
async fn assert_is_unharmed(records: &Records, shared: &Shared, server: ServerProcess, scratch: &Path) {
    let client = patient(&server.endpoint());
    publish(&client, 3).await;
    assert_eq!(collect(&client).await.unwrap(), 0);
    verified(&client).await;
    let log = log_of(&server).await;
    assert!(server.terminate().success());
    let restored = Records::embedded(scratch.join("restored"));
    restored.run(shared, false, false, &["restore", "--from", &shared.under("archive")]);
    let restored = ServerProcess::spawn(restored.command(shared, false, false));
    assert!(log_of(&restored).await == log, "{records:?}: another log is archived");
    verified(&patient(&restored.endpoint())).await;
}

async fn places(folder: &Path) -> [Shared; 2] {
    [Shared::Bucket(Bucket::folder()), Shared::Folder(folder.join("shared"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_an_embedded_registry_and_other_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for shared in places(folder.path()).await {
        let scratch = tempfile::tempdir_in(folder.path()).unwrap();
        let path = |name: &str| scratch.path().join(name);
        let original = Records::embedded(path("original"));
        let server = original.serve(&shared);
        let client = patient(&server.endpoint());
        publish(&client, 1).await;
        back_up(&client, &path("backup")).await;
        assert!(server.terminate().success());
        let copied = Command::new("cp").arg("-a").args([path("original"), path("cloned")]).status().unwrap();
        assert!(copied.success());
        // What the copies don't know.
        let server = original.serve(&shared);
        publish(&patient(&server.endpoint()), 2).await;

        Records::embedded(path("cloned")).assert_is_refused(&shared, "belongs to this registry with its records in");
        let restored = Records::embedded(path("from-backup"));
        restored.run(&shared, false, false, &["restore", "--from", path("backup").to_str().unwrap()]);
        restored.assert_is_refused(&shared, "belongs to another registry");
        let other = Records::embedded(path("other"));
        assert!(ServerProcess::spawn(other.command(&shared, false, false)).terminate().success());
        other.assert_is_refused(&shared, "belongs to another registry");
        assert_is_unharmed(&original, &shared, server, scratch.path()).await;
    }
}

async fn sql(port: u16, statement: &str) {
    let url = format!("{POSTGRES}:{port}/postgres?sslmode=disable");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_registry_in_a_database_are_refused_or_remove_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let primary = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let port = primary.port();
    for (round, shared) in places(folder.path()).await.into_iter().enumerate() {
        let scratch = tempfile::tempdir_in(folder.path()).unwrap();
        let path = |name: &str| scratch.path().join(name);
        let (database, copy) = (format!("registry_{round}"), format!("copy_{round}"));
        sql(port, &format!("CREATE DATABASE {database}")).await;
        let original = Records::in_database(path("original"), port, &database);
        let server = original.serve(&shared);
        publish(&patient(&server.endpoint()), 1).await;
        assert!(server.terminate().success());
        // As pg_dump into another database, and a clone of the whole cluster that becomes another primary.
        sql(port, &format!("CREATE DATABASE {copy} TEMPLATE {database}")).await;
        let clone = tokio::task::block_in_place(|| primary.standby());
        tokio::task::block_in_place(|| clone.promote());
        // Otherwise it would wait for its standby with each commit.
        sql(port, "ALTER SYSTEM RESET synchronous_standby_names").await;
        sql(port, "SELECT pg_reload_conf()").await;
        let server = original.serve(&shared);
        publish(&patient(&server.endpoint()), 2).await;

        let copied = Records::in_database(path("copied"), port, &copy);
        copied.assert_is_refused(&shared, "belongs to this registry with its records in");
        // In an ordinary failover it is the one that goes on: it serves, and waits to be told before it removes anything.
        let promoted = Records::in_database(path("promoted"), clone.port(), &database).serve(&shared);
        let client = impatient(&promoted.endpoint());
        let refused = collect(&client).await.unwrap_err();
        assert_eq!(refused.reason(), Some(registry_client::pb::ErrorReason::ArtifactsNotOwned), "{refused}");
        assert!(refused.to_string().contains("promoted"), "{refused}");
        client.create_model("models/elsewhere").await.unwrap();
        let ships_nothing = || async { promoted.log().contains("the archive can't be written").then_some(()) };
        until(PATIENCE, ships_nothing).await;
        assert!(promoted.terminate().success());
        assert_is_unharmed(&original, &shared, server, scratch.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_goes_on_once_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::Folder(folder.path().join("shared"));
    let clusters = tokio::task::spawn_blocking(|| {
        let primary = Cluster::start();
        let standby = primary.standby();
        (primary, standby)
    });
    let (primary, standby) = clusters.await.unwrap();
    let url = format!("{POSTGRES}:{},127.0.0.1:{}/postgres?sslmode=disable", primary.port(), standby.port());
    let registry = Records { storage: folder.path().join("storage"), store: url };
    let server = registry.serve(&shared);
    let client = patient(&server.endpoint());
    publish(&client, 1).await;
    assert_eq!(collect(&client).await.unwrap(), 0);
    primary.kill();
    tokio::task::block_in_place(|| standby.promote());
    // Nobody has to do anything for it to serve, and to be archived.
    publish(&client, 2).await;
    let refused = collect(&client).await.unwrap_err();
    assert_eq!(refused.reason(), Some(registry_client::pb::ErrorReason::ArtifactsNotOwned), "{refused}");
    let said = registry.run(&shared, true, true, &["claim"]);
    assert!(said.contains("artifacts is this registry's from now on"), "{said}");
    assert!(said.contains("archive is this registry's already"), "{said}");
    assert_is_unharmed(&registry, &shared, server, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_forgotten_place_for_the_artifacts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::Folder(folder.path().join("shared"));
    let registry = Records::embedded(folder.path().join("storage"));
    let server = ServerProcess::spawn(registry.command(&shared, true, false));
    publish(&patient(&server.endpoint()), 1).await;
    assert!(server.terminate().success());
    let elsewhere = Shared::Folder(folder.path().join("elsewhere"));
    for command in [registry.command(&shared, false, false), registry.command(&elsewhere, true, false)] {
        let said = refusal(command);
        assert!(said.contains("was never used by this registry") && said.contains("--artifacts"), "{said}");
        assert!(said.contains("registry-server claim"), "{said}");
    }
    let server = ServerProcess::spawn(registry.command(&shared, true, false));
    verified(&patient(&server.endpoint())).await;
}
