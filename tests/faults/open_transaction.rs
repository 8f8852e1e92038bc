//! What a transaction that somebody else holds open in the database costs commits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use registry_tests::process::{ServerProcess, sled_command};
use registry_tests::store;
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

use crate::impatient;

/// How long commits are counted, each time.
const COUNTED: Duration = Duration::from_secs(10);

/// How long the transaction is open before they are.
fn held() -> Duration {
    let seconds = std::env::var("TEST_HELD_SECONDS").map(|seconds| seconds.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(50))
}

/// As `psql` does after `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, for some minutes; tests/full.sh runs it"]
async fn commits_beside_an_open_transaction_are_as_fast_as_without() {
    for writers in [8, 64] {
        let folder = tempfile::tempdir().unwrap();
        let url = store::postgres(folder.path());
        let mut command = sled_command(folder.path(), "127.0.0.1:0");
        command.args(["--store", &url]);
        let server = ServerProcess::spawn(command);
        let client = impatient(&server.endpoint());
        let done = AtomicUsize::new(0);
        let write = |writer: usize| {
            let (client, done) = (&client, &done);
            async move {
                let model = format!("models/m{writer}");
                client.create_model(&model).await.unwrap();
                loop {
                    client.create_version(&model).finalize(true).await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let count = async || {
            let (began, before) = (Instant::now(), done.load(Ordering::Relaxed));
            sleep(COUNTED).await;
            (done.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
        };
        let measure = async {
            sleep(COUNTED).await;
            let before = count().await;
            let (holder, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
            sleep(held()).await;
            let beside = count().await;
            holder.batch_execute("ROLLBACK").await.unwrap();
            connection.abort();
            sleep(COUNTED).await;
            (before, beside, count().await)
        };
        let (before, beside, after) = tokio::select! {
            measured = measure => measured,
            _ = join_all((0..writers).map(write)) => unreachable!("writers go on"),
        };
        // The machine may have been slower, or the registry have grown.
        let ratio = beside / f64::midpoint(before, after);
        println!(
            "{writers} writers: {before:.0} commits a second, {beside:.0} beside it, {after:.0} after: {ratio:.2}"
        );
        assert!(ratio >= 0.9, "{ratio}");
    }
}
