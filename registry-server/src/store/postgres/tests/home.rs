//! Every connection leads to the same store, and says so.

use super::*;
use crate::store::{Read as _, Source};

/// Ends all connections of a schema's stores.
async fn end_all(schema: &Schema) {
    let all = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE application_name = $1";
    client(&server()).await.query_one(all, &[&schema.name]).await.unwrap();
}

/// Whether a store refuses everything, in words that say why; it is not well by then.
async fn assert_stopped(store: &PostgresStore, why: &str) {
    let mut healthy = store.healthy();
    healthy.wait_for(|healthy| !healthy).await.unwrap();
    // So that the server, which waits for it, ends.
    assert!(healthy.changed().await.is_err());
    let refused = store.commit(Increment::hinted()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(said) if said.contains(why)), "{refused}");
    let read = store.get(COUNTER, KEY).await.unwrap_err();
    assert!(read.to_string().contains(why), "{read}");
    assert!(store.scan(Source::Kind(COUNT), &crate::store::Range::first(Vec::new(), 1)).await.is_err());
    assert!(store.snapshot().await.is_err());
    assert!(store.log(0, 1).await.is_err());
}

/// As a setting of the database, a host name or a pooler may do it.
#[tokio::test]
async fn a_connection_that_leads_to_another_registry_stops_the_store() {
    let other = Schema::new().await;
    let elsewhere = other.open().await;
    leads_to(&other, "lead to another registry", async |_| {}).await;
    assert_eq!(elsewhere.newest().await.unwrap(), 0, "nothing was written there");
}

/// As with `pg_dump` into another schema, which has the same identity.
#[tokio::test]
async fn a_connection_that_leads_to_a_copy_of_the_registry_stops_the_store() {
    let other = Schema::new().await;
    let elsewhere = other.open().await;
    let copy = async |original: &Schema| {
        let name = &original.name;
        let same = format!("UPDATE {}.store SET identity = (SELECT identity FROM {name}.store)", other.name);
        client(&server()).await.batch_execute(&same).await.unwrap();
    };
    leads_to(&other, "lead to a copy of this registry", copy).await;
    assert_eq!(elsewhere.newest().await.unwrap(), 0, "nothing was written there");
}

/// Lets the connections of a store lead to another schema, and checks that it stops.
async fn leads_to(other: &Schema, why: &str, before: impl AsyncFnOnce(&Schema)) {
    let schema = Schema::new().await;
    let role = format!("role_{}", Uuid::new_v4().simple());
    let admin = client(&server()).await;
    admin.batch_execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await.unwrap();
    let lead_to = async |schema: &Schema| {
        admin.batch_execute(&format!("ALTER ROLE {role} SET search_path = {}", schema.name)).await.unwrap();
    };
    lead_to(&schema).await;
    let separator = if server().contains('?') { '&' } else { '?' };
    let url =
        format!("{}{separator}application_name={}", server().replace("postgres@", &format!("{role}@")), schema.name);
    let store = PostgresStore::open(options(url)).await.unwrap();
    store.commit(Increment::hinted()).await.unwrap();

    before(&schema).await;
    lead_to(other).await;
    end_all(&schema).await;
    assert_stopped(&store, why).await;
    drop(store);
    end_all(&schema).await;
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_a_newer_program_has_migrated_stops_the_store_at_its_next_commit() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    store.commit(Increment::hinted()).await.unwrap();
    let newer = "INSERT INTO schema_version (version) VALUES (99)";
    client(&schema.url).await.batch_execute(newer).await.unwrap();
    // Over the connection that it has.
    let refused = store.commit(Increment::hinted()).await.unwrap_err();
    assert!(refused.to_string().contains("schema to 99; this one needs 5"), "{refused}");
    assert_stopped(&store, "schema to 99").await;
    let log = "SELECT count(*) FROM log";
    assert_eq!(client(&schema.url).await.query_one(log, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn another_identity_under_a_connection_stops_the_store_at_its_next_commit() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    store.commit(Increment::hinted()).await.unwrap();
    client(&schema.url).await.batch_execute("UPDATE store SET identity = gen_random_uuid()").await.unwrap();
    let refused = store.commit(Increment::hinted()).await.unwrap_err();
    assert!(refused.to_string().contains("another registry"), "{refused}");
    assert_stopped(&store, "another registry").await;
}

/// As when it is restored to an earlier time, or a standby takes over that lacked the newest revisions: numbers that were told are given
/// out again, and what is in memory is not so any more.
#[tokio::test]
async fn a_database_that_has_fallen_back_stops_the_store() {
    let schema = Schema::new().await;
    let admin = client(&schema.url).await;
    for commits in [false, true] {
        let store = schema.open().await;
        for _ in 0..3 {
            store.commit(Increment::hinted()).await.unwrap();
        }
        let newest = store.newest().await.unwrap();
        let back = "DELETE FROM log WHERE last_revision = (SELECT max(last_revision) FROM log);
            UPDATE record SET revision = revision - 1";
        admin.batch_execute(back).await.unwrap();
        if commits {
            let refused = store.commit(Increment::hinted()).await.unwrap_err();
            assert!(refused.to_string().contains("has fallen back"), "{refused}");
        }
        assert_stopped(&store, &format!("revision {newest} was committed, and its log ends at {}", newest - 1)).await;
        assert_eq!(schema.open().await.newest().await.unwrap(), newest - 1, "started again, it goes on from there");
    }
}

#[tokio::test]
async fn a_migration_waits_for_commits_and_they_for_it() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    let other = client(&schema.url).await;
    other.batch_execute(&format!("BEGIN; {}", super::super::home::LOCK)).await.unwrap();
    let commit = store.commit(Increment::hinted());
    tokio::pin!(commit);
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = $1)";
    let watching = client(&server()).await;
    let waits = async { while watching.query_one(waiting, &[&schema.name]).await.unwrap().get::<_, i64>(0) == 0 {} };
    tokio::select! {
        done = &mut commit => panic!("{done:?}"),
        () = waits => {}
    }
    other.batch_execute("INSERT INTO schema_version (version) VALUES (99); COMMIT").await.unwrap();
    let refused = commit.await.unwrap_err();
    assert!(refused.to_string().contains("schema to 99"), "{refused}");
}

/// The schema's URL with a setting of its sessions.
fn with_setting(schema: &Schema, setting: &str) -> PostgresOptions {
    let url = schema.url.replace("options=", &format!("options=-c%20{}%20", setting.replace('=', "%3D")));
    PostgresOptions { patience: Duration::from_millis(300), ..options(url) }
}

/// As an administrator does for a while.
#[tokio::test]
async fn reads_go_on_while_the_database_is_read_only() {
    let schema = Schema::new().await;
    schema.open().await.commit(Increment::hinted()).await.unwrap();
    let store = PostgresStore::open(with_setting(&schema, "default_transaction_read_only=on")).await.unwrap();
    assert_eq!(number_in(store.get(COUNTER, KEY).await.unwrap()), 1);
    assert_eq!(store.log(0, 10).await.unwrap().len(), 1);
    assert_eq!(store.snapshot().await.unwrap().revision(), 1);
    let refused = store.commit(Increment::hinted()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(said) if said.contains("read-only")), "{refused}");
    store.healthy().changed().await.unwrap();
    assert!(*store.healthy().borrow());
}

/// As with a pooler in transaction mode, whose sessions serve one client after the other.
#[tokio::test]
async fn a_session_that_another_client_has_had_is_refused_in_words() {
    let schema = Schema::new().await;
    let refused = PostgresStore::open(with_setting(&schema, "model_registry.session=other")).await.unwrap_err();
    assert!(refused.to_string().contains("a pooler has to be in session mode"), "{refused}");
}

/// How far the database is away is paid for each of them, one after the other.
#[tokio::test]
async fn a_start_and_the_first_commit_take_few_round_trips() {
    let schema = Schema::new().await;
    drop(schema.open().await);
    // The database lets it in, tells what it is, and is read. It lets the lane in, and tells what it is; then the batch begins and is
    // committed.
    let expected = (3, 4);
    let (mut reads, mut commits) = (usize::MAX, usize::MAX);
    // The delay gives what is sent in pieces the time to arrive before the first answer. A piece that is later still counts as one more
    // round trip, never as one less.
    for _ in 0..20 {
        if (reads, commits) == expected {
            break;
        }
        let (proxy, options) = super::faults::through_a_proxy(&schema).await;
        proxy.set_delay(Duration::from_millis(50));
        let store = PostgresStore::open(options).await.unwrap();
        store.identity().await.unwrap();
        assert!(store.whole().await.unwrap());
        store.get(COUNTER, KEY).await.unwrap();
        reads = reads.min(proxy.round_trips()[0].count);
        store.commit(Increment::hinted()).await.unwrap();
        let lane = proxy.round_trips().into_iter().find(|trips| trips.commits).unwrap();
        commits = commits.min(lane.count);
    }
    assert_eq!((reads, commits), expected);
}

/// What is read behind the lock is what its former holder left, also where the default is another.
#[tokio::test]
async fn the_default_isolation_of_the_database_is_not_that_of_commits() {
    for isolation in ["repeatable read", "serializable"] {
        let schema = Schema::new().await;
        let url = schema.url.replace(
            "options=",
            &format!("options=-c%20default_transaction_isolation%3D{}%20", isolation.replace(' ', "%5C%20")),
        );
        let stores = [
            PostgresStore::open(options(url.clone())).await.unwrap(),
            PostgresStore::open(options(url)).await.unwrap(),
        ];
        let commits = (0..64).map(|at| stores[at % 2].commit(Increment::hinted()));
        for done in futures::future::join_all(commits).await {
            done.unwrap();
        }
        assert_counted(&stores[0], 64).await;
    }
}
