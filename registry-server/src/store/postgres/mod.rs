//! The store of many servers: PostgreSQL, from version 12 on.
//!
//! Every server has one lane, a connection on which it commits in batches (`lane`); an advisory lock orders the batches of all
//! servers, so that revisions become visible in their order. Reads have a pool of connections. One more connection listens to what
//! the other servers commit (`head`).
//!
//! *Invariant:* every connection leads to the same store, as it says itself before it is used, and again under each lock (`home`).
//! When one does not, this process reads and writes nothing any more.
//!
//! *Invariant:* a commit updates no row that all commits update: an old snapshot, which keeps all versions of a row, would slow it.
//!
//! *Invariant:* a commit is answered only when it is known to have happened. If the connection breaks while the database commits,
//! the lane finds out over another one, by the batch's id in the log.
//!
//! Connections keep settings, prepared statements and a `LISTEN`: a pooler between server and database has to leave sessions
//! alone.

mod cache;
mod compact;
mod connect;
mod copies;
mod error;
mod facts;
mod flush;
mod head;
mod home;
mod lane;
mod log;
mod overlay;
mod pool;
mod read;
mod schema;
mod session;
mod slate;
mod slots;
mod staged;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod views;
mod whereabouts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use self::connect::{Connected, Connector, Prepare as _, Purpose};
use self::error::Failure;
use self::head::Head;
use self::lane::{Job, Lane, Setup, Work};
use self::pool::Pool;
use self::read::{Reader, Reads};
use super::{
    Connections, Decision, Flaw, Hit, Kind, Layout, LogEntry, Range, Read, Record, Revision, Snapshot, Source, Store,
    StoreError, StoreMeasures, Whereabouts, logged,
};
use crate::stored;

/// How many commits may wait for the lane before callers have to.
const QUEUE: usize = 1024;
/// How much memory the lane may use to remember records.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// How to reach a database, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, with several hosts if need be, of which the one that takes writes is used.
    /// `sslmode` and `sslrootcert` are as libpq has them, `options=-c search_path=...` chooses the schema.
    pub url: String,
    /// How many connections for reads at most, and as many for snapshots.
    pub pool_size: usize,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long a host may take to be connected to, and then to say what it is.
    pub connect_timeout: Duration,
    /// How long a commit is tried for when the database fails.
    pub patience: Duration,
    /// The kinds of its records.
    pub layout: &'static Layout,
}

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    connector: Arc<Connector>,
    layout: &'static Layout,
    identity: Uuid,
    whole: AtomicBool,
    pool: Pool,
    snapshots: Arc<Semaphore>,
    patience: Duration,
    jobs: mpsc::Sender<Job>,
    head: Head,
    healthy: watch::Receiver<bool>,
    measures: StoreMeasures,
    follower: JoinHandle<()>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl Drop for PostgresStore {
    // The lane ends by itself, when it has served those that wait.
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl PostgresStore {
    /// Whether there is a store in a database: nothing is made.
    ///
    /// # Errors
    /// If the database can't be reached or used.
    pub async fn is_made(options: &PostgresOptions) -> Result<bool, StoreError> {
        let connector = Arc::new(Connector::new(options)?);
        Ok(connector.connect::<Reads>(Purpose::Read, None).await?.found.is_some())
    }

    /// Opens the store in a database, and makes or updates its schema and the views for people.
    ///
    /// # Errors
    /// If the database can't be reached or used, or another version of this program wrote what is there that this one can't read.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(&options)?);
        let Connected { connection, found, prepared } = connector.connect::<Reads>(Purpose::Read, None).await?;
        let found = schema::migrate(&connection, found).await?;
        connector.home().settle(found.address.clone());
        let reads = match prepared {
            Ok(reads) => reads,
            // There were no tables yet.
            Err(_) => Reads::prepare(connection.client()).await?,
        };
        let connections = Connections::default();
        let pool = Pool::new(Arc::clone(&connector), options.pool_size, options.patience, connections.clone());
        let measures = StoreMeasures::default().with_connections(connections);
        pool.add(Reader::new(connection, reads));
        // Those for reads, as many for snapshots, the lane and the listener.
        let most = 2 * options.pool_size.max(1) + 2;
        tracing::info!(
            most,
            max_connections = found.max_connections,
            "connections to the database that this server may take"
        );
        let head = Head::new(found.newest);
        let (health, healthy) = watch::channel(true);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let setup = Setup {
            connector: Arc::clone(&connector),
            layout: options.layout,
            head: head.clone(),
            cache_bytes: CACHE_BYTES,
            measures: measures.clone(),
        };
        let lane_ended = lane::start(Lane::new(setup, queue))?;
        let follow =
            head::follow(Arc::clone(&connector), found.channel, options.patience, head.clone(), health.clone());
        let home = Arc::clone(connector.home());
        let follower = tokio::spawn(async move {
            tokio::select! {
                () = follow => {}
                _ = lane_ended => {
                    tracing::error!("the store's lane has ended; the store takes no more writes");
                    health.send_replace(false);
                }
                why = home.until_left() => {
                    tracing::error!(why, "the store can't be used any more");
                    health.send_replace(false);
                }
            }
        });
        Ok(Self {
            layout: options.layout,
            identity: found.address.identity,
            whole: AtomicBool::new(found.whole),
            pool,
            snapshots: Arc::new(Semaphore::new(options.pool_size.max(1))),
            patience: options.patience,
            connector,
            jobs,
            head,
            healthy,
            measures,
            follower,
        })
    }

    /// Notes whether the store is whole.
    async fn set_whole(&self, whole: bool) -> Result<(), StoreError> {
        let connected = self.connector.connect::<()>(Purpose::Read, None).await?;
        let sql = "UPDATE store SET whole = $1 WHERE whole <> $1";
        connected.connection.client().execute(sql, &[&whole]).await.map_err(Failure::from)?;
        self.whole.store(whole, Ordering::Relaxed);
        Ok(())
    }

    async fn do_in_turn(&self, work: Work) -> Result<Option<Revision>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Unavailable("it has stopped".to_owned());
        let job = Job { work, answer, until: Instant::now() + self.patience };
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl Read for PostgresStore {
    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        Ok(self.pool.read(|pooled| async move { pooled.reader()?.get(kind, key).await }).await?)
    }

    async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
        Ok(self.pool.read(|pooled| async move { pooled.reader()?.scan(source, range).await }).await?)
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn head(&self) -> watch::Receiver<Revision> {
        self.head.watch()
    }

    async fn time(&self) -> Result<SystemTime, StoreError> {
        Ok(self.pool.read(|pooled| async move { pooled.reader()?.time().await }).await?)
    }

    async fn newest(&self) -> Result<Revision, StoreError> {
        Ok(self.pool.read(|pooled| async move { pooled.reader()?.newest().await }).await?)
    }

    async fn oldest(&self) -> Result<Revision, StoreError> {
        Ok(self.pool.read(compact::oldest).await?)
    }

    async fn compact(&self, before: Revision, _: Revision) -> Result<Revision, StoreError> {
        self.drop_before(before).await
    }

    async fn log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        let read = self.pool.read(|pooled| async move { pooled.reader()?.log(after, limit).await }).await?;
        logged::check_there(after, read.first().map(|entry| entry.revision))?;
        Ok(read)
    }

    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
        let read = self.pool.read(|pooled| async move { pooled.reader()?.changes(after, limit).await }).await?;
        logged::check_there(after, read.first().map(|entry| entry.revision))?;
        Ok(read)
    }

    async fn restore(&self, entries: Vec<stored::LogEntry>, whole: bool) -> Result<Revision, StoreError> {
        if !whole {
            self.set_whole(false).await?;
        }
        let restored = self.do_in_turn(Work::Restore(entries)).await?;
        if whole {
            self.set_whole(true).await?;
        }
        match restored {
            Some(revision) => Ok(revision),
            // There was nothing to restore.
            None => self.newest().await,
        }
    }

    async fn identity(&self) -> Result<Uuid, StoreError> {
        Ok(self.identity)
    }

    async fn whereabouts(&self) -> Result<Whereabouts, StoreError> {
        let found = self.pool.read(|pooled| async move {
            let connection = &pooled.reader()?.connection;
            connection.limited(whereabouts::whereabouts(connection.client())).await
        });
        Ok(found.await?)
    }

    async fn whole(&self) -> Result<bool, StoreError> {
        Ok(self.whole.load(Ordering::Relaxed))
    }

    async fn flaws(&self, limit: usize) -> Result<Vec<Flaw>, StoreError> {
        let (layout, mut after, mut flaws) = (self.layout, (i16::MIN, Vec::new()), Vec::new());
        if !self.pool.read(copies::whole).await? {
            flaws.push(Flaw { name: "store".to_owned(), detail: "it is marked as one in the middle of a restore" });
        }
        while flaws.len() < limit {
            let at = &after;
            let (found, last) = self.pool.read(|pooled| copies::flaws(pooled, layout, at)).await?;
            flaws.extend(found);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        flaws.truncate(limit);
        Ok(flaws)
    }

    async fn commit(&self, decision: Arc<dyn Decision>) -> Result<Option<Revision>, StoreError> {
        self.do_in_turn(Work::Decide(decision)).await
    }

    async fn slate_get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.pool.read(|pooled| slate::get(pooled, key)).await?)
    }

    async fn slate_scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        Ok(self.pool.read(|pooled| slate::scan(pooled, prefix)).await?)
    }

    async fn slate_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        Ok(self.pool.read(|pooled| slate::swap(pooled, key, old, new)).await?)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.snapshots).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(StoreError::Unavailable("too many snapshots are open".to_owned()));
        };
        let reader = Reader::connect(&self.connector, Purpose::Read, None).await?;
        // Whoever reads it has a limit of its own for those that it waits for.
        let begin =
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0";
        reader.connection.client().batch_execute(begin).await.map_err(Failure::from)?;
        // The first read fixes what all others will see.
        let revision = reader.newest().await?;
        Ok(Box::new(PostgresSnapshot { reader, revision, _place: place }))
    }

    fn healthy(&self) -> watch::Receiver<bool> {
        self.healthy.clone()
    }

    fn measures(&self) -> &StoreMeasures {
        &self.measures
    }
}

/// A transaction that sees what was there when it began; it ends with its connection.
struct PostgresSnapshot {
    reader: Reader,
    revision: Revision,
    _place: OwnedSemaphorePermit,
}

#[async_trait]
impl Read for PostgresSnapshot {
    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        Ok(self.reader.get(kind, key).await?)
    }

    async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
        Ok(self.reader.scan(source, range).await?)
    }
}

impl Snapshot for PostgresSnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }
}
