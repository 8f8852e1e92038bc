//! The conformance suite on PostgreSQL, and what is its own.

mod deadlines;
mod faults;
mod home;
mod log;
#[expect(unreachable_pub, reason = "the integration tests use it as well")]
#[path = "../../../../../tests/support/proxy.rs"]
mod proxy;
mod schema;
mod servers;
mod snapshots;
mod stands_still;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::{PostgresOptions, PostgresStore};
use crate::store::conformance::{BY_PORT, Backend, COUNT, COUNTER, LAYOUT, PORT, SHIP, conformance};
use crate::store::{Decision, Kind, Layout, Put, Revision, Store, StoreError, Transaction};

/// The server of the tests.
fn server() -> String {
    std::env::var("TEST_POSTGRES")
        .expect("TEST_POSTGRES has to be the URL of a PostgreSQL server: see tests/postgres.sh")
}

/// A URL that leads to a schema.
fn in_schema(name: &str) -> String {
    let separator = if server().contains('?') { '&' } else { '?' };
    format!("{}{separator}options=-c%20search_path%3D{name}", server())
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn options(url: String) -> PostgresOptions {
    PostgresOptions {
        url,
        pool_size: 4,
        statement_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        patience: Duration::from_secs(20),
        layout: &LAYOUT,
    }
}

/// A schema of a test's own. Dropped, it is gone.
pub(crate) struct Schema {
    name: String,
    url: String,
}

impl Schema {
    pub(crate) async fn new() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        client(&server()).await.batch_execute(&format!("CREATE SCHEMA {name}")).await.unwrap();
        let url = format!("{}&application_name={name}", in_schema(&name));
        Self { name, url }
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        options(self.url.clone())
    }

    async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.options()).await.unwrap()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // What this thread left open can't be closed while it waits here.
        let name = &self.name;
        let sql = format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = '{name}';
             DROP SCHEMA {name} CASCADE"
        );
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { client(&server()).await.batch_execute(&sql).await })
        });
        // It is all the same to a test that failed.
        if !std::thread::panicking() {
            dropped.join().unwrap().unwrap();
        }
    }
}

/// Fields are dropped in their order: the store has to let go of its schema.
struct Postgres {
    store: PostgresStore,
    schema: Schema,
}

#[async_trait]
impl Backend for Postgres {
    async fn open() -> Self {
        let schema = Schema::new().await;
        Self { store: schema.open().await, schema }
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn reopen(self) -> Self {
        let Self { store, schema } = self;
        drop(store);
        Self { store: schema.open().await, schema }
    }
}

conformance!(Postgres);

/// Adds one to the number in a record, and writes a record of its own for each time: what it did can be counted in two ways.
struct Increment {
    counter: &'static [u8],
    hinted: bool,
}

const KEY: &[u8] = b"counter";

/// Kinds of which every commit writes a record.
static COUNTED: Layout = Layout { kinds: LAYOUT.kinds, always_written: Some((COUNTER, KEY)) };

impl Increment {
    fn hinted() -> Arc<Self> {
        Arc::new(Self { counter: KEY, hinted: true })
    }
}

fn plain(kind: Kind, key: &[u8], payload: Vec<u8>) -> Put {
    Put { kind, key: key.to_vec(), payload: Bytes::from(payload), places: Vec::new() }
}

#[async_trait]
impl Decision for Increment {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        let number = number_in(tx.get(COUNTER, self.counter).await?) + 1;
        tx.put(plain(COUNTER, self.counter, number.to_be_bytes().to_vec())).await?;
        tx.put(plain(COUNT, &tx.revision().to_be_bytes(), Vec::new())).await?;
        Ok(Some(Bytes::from(number.to_be_bytes().to_vec())))
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        if self.hinted { vec![(COUNTER, self.counter.to_vec())] } else { Vec::new() }
    }
}

fn number_in(record: Option<crate::store::Record>) -> Revision {
    record.map_or(0, |record| Revision::from_be_bytes(record.payload.as_ref().try_into().unwrap()))
}

/// Checks that each of `count` increments happened once, whichever store is asked.
async fn assert_counted(store: &PostgresStore, count: Revision) {
    use crate::store::{Range, Read as _, Source};
    assert_eq!(store.newest().await.unwrap(), count);
    assert_eq!(number_in(store.get(COUNTER, KEY).await.unwrap()), count);
    let all = Range::first(Vec::new(), usize::MAX);
    let steps = store.scan(Source::Kind(COUNT), &all).await.unwrap();
    assert_eq!(steps.len() as Revision, count);
    let log = store.log(0, usize::MAX).await.unwrap();
    let logged = log.iter().map(|entry| (entry.revision, entry.events.to_vec()));
    assert!(logged.eq((1..=count).map(|number| (number, number.to_be_bytes().to_vec()))));
}
