//! A server that is stopped, as a debugger or a suspended machine does it, while it holds the lock of all commits.

use std::time::Duration;

use registry_tests::process::{ServerProcess, sled_command};
use registry_tests::{soon, store};
use tokio_postgres::{Client, NoTls};

use crate::impatient;

const MODEL: &str = "models/fraud";
/// More than a Unix socket takes before it is read.
const LARGE: usize = 700 * 1024;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until a query finds so many.
async fn until(client: &Client, count: &str, wanted: i64) {
    soon(async { while client.query_one(count, &[]).await.unwrap().get::<_, i64>(0) < wanted {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_with_the_lock_loses_it_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let url = store::postgres(folder.path());
    let admin = client(&url).await;
    let sockets: String = admin.query_one("SHOW unix_socket_directories", &[]).await.unwrap().get(0);
    let start = |name: &str, url: &str| {
        let mut command = sled_command(folder.path(), "127.0.0.1:0");
        command.args(["--store", &format!("{url}&application_name={name}"), "--store-patience", "1s"]);
        ServerProcess::spawn(command)
    };
    let unix = url.replace("127.0.0.1", &sockets.replace('/', "%2F"));
    let (stopped, other) = tokio::task::block_in_place(|| (start("stopped", &unix), start("other", &url)));
    let there = impatient(&other.endpoint());
    there.create_model(MODEL).await.unwrap();
    let version = there.create_version(MODEL).model_param("trees", "x".repeat(LARGE)).await.unwrap().name;

    // Its batch waits for the lock, with what it reads behind it asked for already; then it is stopped, and gets the lock.
    let lock = "SELECT pg_advisory_xact_lock(hashtext('model-registry'), hashtext(current_schema()))";
    let holder = client(&url).await;
    holder.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
    let here = impatient(&stopped.endpoint());
    let finalizing = tokio::spawn({
        let (here, version) = (here.clone(), version.clone());
        async move { here.finalize_version(&version).await }
    });
    let at = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stopped' AND";
    until(&admin, &format!("{at} wait_event = 'advisory'"), 1).await;
    stopped.pause();
    holder.batch_execute("COMMIT").await.unwrap();
    until(&admin, &format!("{at} wait_event = 'ClientWrite'"), 1).await;

    // The others go on.
    let made = tokio::time::timeout(Duration::from_secs(15), there.create_version(MODEL).finalize(true).send());
    made.await.expect("commits go on").unwrap();
    stopped.go_on();
    // It may have been told that its time was up; it happens once.
    let _ = soon(finalizing).await.unwrap();
    let done = here.finalize_version(&version).await;
    assert!(done.is_ok(), "{done:?}");
    let finalized = registry_tests::events(&there).await;
    let finalized =
        finalized.iter().filter(|event| event.r#type == "version.finalized" && event.resource_name == version);
    assert_eq!(finalized.count(), 1);
}

/// Another registry, or another schema, under a server that runs: it ends, in words.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_is_another_registry_s_now_ends() {
    let folder = tempfile::tempdir().unwrap();
    let url = store::postgres(folder.path());
    let mut command = sled_command(folder.path(), "127.0.0.1:0");
    command.args(["--store", &url]);
    let mut server = tokio::task::block_in_place(|| ServerProcess::spawn(command));
    let client = impatient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();
    self::client(&url).await.batch_execute("UPDATE store SET identity = gen_random_uuid()").await.unwrap();
    let refused = client.create_version(MODEL).await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    let status = tokio::task::block_in_place(|| server.ended());
    assert_eq!(status.code(), Some(1));
    let said = server.log();
    assert!(said.contains("lead to another registry now"), "{said}");
}
