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
    for writers in [64, 8] {
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
        let (looking, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let _looking = tokio::spawn(connection);
        // The pages that all connections looked at: what does not depend on what else the machine does.
        let pages = async || {
            let sql = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()";
            looking.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        // How many commits there are in a second, and how many pages each looks at.
        let count = async || {
            let (began, before, looked) = (Instant::now(), done.load(Ordering::Relaxed), pages().await);
            sleep(COUNTED).await;
            let commits = (done.load(Ordering::Relaxed) - before) as f64;
            (commits / began.elapsed().as_secs_f64(), (pages().await - looked) as f64 / commits)
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
        let ratio = beside.0 / f64::midpoint(before.0, after.0);
        let (commits, pages) = ([before.0, beside.0, after.0], [before.1, beside.1, after.1]);
        println!(
            "{writers} writers, before, beside it, and after: {commits:.0?} commits a second, {ratio:.2}; \
             {pages:.0?} pages looked at for each"
        );
        assert!(ratio >= 0.9, "{ratio}");
    }
}
