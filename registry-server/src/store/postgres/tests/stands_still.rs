//! Who holds the lock and stands still loses it.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio_postgres::{Config, NoTls};

use super::super::home::LOCK;
use super::*;

/// Over a Unix socket nothing else ends it: a process that takes nothing is no network that is down.
#[tokio::test]
async fn a_client_that_takes_nothing_over_a_unix_socket_loses_the_lock() {
    let schema = Schema::new().await;
    let store = PostgresStore::open(PostgresOptions { patience: Duration::from_secs(1), ..schema.options() });
    let store = store.await.unwrap();
    let admin = client(&server()).await;
    let sockets: String = admin.query_one("SHOW unix_socket_directories", &[]).await.unwrap().get(0);
    let port = server().parse::<Config>().unwrap().get_ports()[0];
    let mut config = Config::new();
    config.host_path(&sockets).port(port).user("postgres").dbname("postgres");
    config.options(format!("-c search_path={}", schema.name));
    let (holder, connection) = config.connect(NoTls).await.unwrap();
    let mut connection = pin!(connection);
    let lock = format!("BEGIN; {LOCK}");
    tokio::select! {
        _ = &mut connection => panic!("it is closed"),
        locked = holder.batch_execute(&lock) => locked.unwrap(),
    }
    // More than the socket takes. From here on nobody reads: as in a process that was stopped.
    let mut large = pin!(holder.simple_query("SELECT repeat('x', 1000000) FROM generate_series(1, 60)"));
    let sent = poll_fn(|context| {
        let asked = large.as_mut().poll(context);
        assert!(asked.is_pending() && connection.as_mut().poll(context).is_pending());
        Poll::Ready(())
    });
    sent.await;

    let committed = tokio::time::timeout(Duration::from_secs(20), store.commit(Increment::hinted())).await;
    assert_eq!(committed.expect("the lock is free").unwrap(), Some(1));
    assert!(connection.await.is_err() || large.await.is_err());
}

/// It is told of a gap before anything is committed behind it.
#[tokio::test]
async fn a_log_whose_end_is_damaged_takes_no_commit() {
    for (damage, said) in [
        ("DELETE FROM log WHERE last_revision = 22", "the log ends at 21, and the state is that of revision 22"),
        ("DELETE FROM log WHERE last_revision = 21", "revisions are missing in the log, which ends at 22"),
        ("DELETE FROM log WHERE last_revision = 1", "revisions are missing"),
        ("UPDATE log SET last_revision = 9223372036854775800 WHERE last_revision = 22", "ends at 9223372036854775800"),
        ("INSERT INTO log VALUES (23, 23, gen_random_uuid(), 0, '')", "the log ends at 23"),
    ] {
        let schema = Schema::new().await;
        let options = PostgresOptions { layout: &COUNTED, ..schema.options() };
        let store = PostgresStore::open(options.clone()).await.unwrap();
        for _ in 0..22 {
            store.commit(Increment::hinted()).await.unwrap();
        }
        drop(store);
        let other = client(&schema.url).await;
        other.batch_execute(damage).await.unwrap();
        let store = PostgresStore::open(options).await.unwrap();
        let before = store.newest().await.unwrap();
        let refused = store.commit(Increment::hinted()).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Damaged(words) if words.contains(said)), "{damage}: {refused}");
        assert!(refused.to_string().contains("registry-server restore"), "{refused}");
        assert_eq!(store.newest().await.unwrap(), before, "{damage}");
    }
}
