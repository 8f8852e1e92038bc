//! A transaction that somebody else holds open costs commits and reads nothing: what they touch does not grow with what they wrote.

use serde_json::Value;

use super::super::home::{AT_HOME, LOCK, last_row, text};
use super::super::read::GET;
use super::*;

/// How many pages a statement touches.
async fn pages(client: &Client, statement: &str) -> i64 {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}");
    let answer = client.simple_query(&explain).await.unwrap();
    let plan: Value = serde_json::from_str(text(last_row(&answer).unwrap(), 0).unwrap()).unwrap();
    let root = &plan[0]["Plan"];
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|blocks| root[blocks].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn versions_that_an_open_transaction_keeps_are_not_walked() {
    const COMMITS: usize = 600;
    let schema = Schema::new().await;
    let store = schema.open().await;
    store.commit(Increment::hinted()).await.unwrap();
    let holder = client(&schema.url).await;
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM record").await.unwrap();
    let looking = client(&schema.url).await;
    let settings = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
        SET enable_mergejoin = off; SET enable_material = off";
    looking.batch_execute(settings).await.unwrap();
    let get = GET.replace("$1", &COUNTER.0.to_string()).replace("$2", "'counter'::bytea");
    let update = format!(
        "UPDATE record SET revision = record.revision + 1
         FROM unnest(ARRAY[{}::smallint], ARRAY['counter'::bytea], ARRAY[(SELECT max(last_revision) FROM log)])
            AS new (kind, key, base)
         WHERE record.kind = new.kind AND record.key = new.key AND record.revision = new.base",
        COUNTER.0
    );
    let mut touched = Vec::new();
    for _ in 0..2 {
        let mut of = Vec::new();
        for statement in [LOCK, AT_HOME, &get, &update] {
            looking.batch_execute("BEGIN").await.unwrap();
            of.push(pages(&looking, statement).await);
            looking.batch_execute("ROLLBACK").await.unwrap();
        }
        touched.push(of);
        // One after the other, so that each writes the counter anew.
        for _ in 0..COMMITS {
            store.commit(Increment::hinted()).await.unwrap();
        }
    }
    let grown: Vec<_> = touched[1].iter().zip(&touched[0]).map(|(after, before)| after - before).collect();
    assert!(grown.iter().all(|grown| *grown <= 6), "pages touched at first and then: {touched:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_counted(&store, 1 + 2 * COMMITS as Revision).await;
}

/// A record that is not what the lane believes it to be is never half written: the statement fails, and with it the commit.
#[tokio::test]
async fn a_row_that_somebody_else_changed_is_not_lost_behind_a_commit() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    store.commit(Increment::hinted()).await.unwrap();
    let other = client(&schema.url).await;
    let changed = format!("UPDATE record SET revision = 0, payload = '\\x0000000000000007' WHERE kind = {}", COUNTER.0);
    other.batch_execute(&changed).await.unwrap();
    let refused = store.commit(Increment::hinted()).await.unwrap_err();
    assert!(refused.to_string().contains("not what it was"), "{refused}");
    assert_eq!(store.newest().await.unwrap(), 1, "nothing was committed");
    // The next one looks.
    assert_eq!(store.commit(Increment::hinted()).await.unwrap(), Some(2));
    let row = other.query_one("SELECT payload FROM record WHERE key = 'counter'", &[]).await.unwrap();
    assert_eq!(row.get::<_, Vec<u8>>(0), 8u64.to_be_bytes());
}
