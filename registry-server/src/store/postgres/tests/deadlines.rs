//! What becomes of work that nobody waits for any more.

use std::convert::Infallible;

use http::Request;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;
use crate::layers::{CallLayer, Capacity};
use crate::store::Read as _;

/// Waits until no connection of a schema's store is waiting for a lock.
async fn nobody_waits(client: &Client, schema: &Schema) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'";
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    while client.query_one(waiting, &[&schema.name]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(tokio::time::Instant::now() < end, "a statement is still waiting");
    }
}

#[tokio::test]
async fn a_call_whose_time_is_up_leaves_no_statement_behind() {
    let schema = Schema::new().await;
    // One connection for reads, and with it one place: the next read needs it.
    let options = PostgresOptions { pool_size: 1, ..schema.options() };
    let store = Arc::new(PostgresStore::open(options).await.unwrap());
    let reads = Arc::clone(&store);
    let service = CallLayer::new(Capacity { calls: 1, uploads: 1, streams: 1 }, Duration::from_secs(30)).layer(
        service_fn(move |_: Request<Body>| {
            let store = Arc::clone(&reads);
            async move {
                store.get(PORT, b"model").await.unwrap();
                Ok::<_, Infallible>(http::Response::new(Body::empty()))
            }
        }),
    );
    let call = |time: &str| Request::builder().uri("/any").header("grpc-timeout", time).body(Body::empty()).unwrap();

    // By now the follower and the lane have prepared their statements, and wait for no lock.
    store.healthy().changed().await.unwrap();
    store.commit(Increment::hinted()).await.unwrap();
    let other = client(&server()).await;
    let lock = format!("BEGIN; LOCK TABLE {}.record IN ACCESS EXCLUSIVE MODE", schema.name);
    // Over a connection that is being made, and over one that was used before.
    for _ in 0..2 {
        other.batch_execute(&lock).await.unwrap();
        let answer = service.clone().oneshot(call("200m")).await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        nobody_waits(&other, &schema).await;
        other.batch_execute("ROLLBACK").await.unwrap();
        let answer = service.clone().oneshot(call("20S")).await.unwrap();
        assert!(tonic::Status::from_header_map(answer.headers()).is_none());
    }
}
