//! The lane's connection: reads and writes under the lock that orders the batches of all servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::stored;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::cache::{Cell, State};
use super::connect::{Connected, Connection, Connector, Prepare, Purpose};
use super::error::Failure;
use super::flush::{Changes, Flush};
use super::home::{AT_HOME, END, LOCK, check_end};
use super::log::{self, Unpacker};
use super::read::{Reader, Reads, bytes, number, revision};
use super::slots::{self, SLOTS};
use crate::store::{Kind, Place, Revision};

/// After so many rows of revisions of others it is cheaper to forget everything than to look at each.
const STRANGERS: i64 = 100;

/// What is read behind the lock has to be what its former holder left, whatever the database's default is. Whether it may write is the
/// administrator's to say.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Without a limit: PostgreSQL calls a commit a success if the wait for its standby was cancelled.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// Records that were fetched, and where they belong.
pub(super) type Fetched = Vec<(Kind, Vec<u8>, State)>;

/// What the beginning of a transaction found.
pub(super) struct Begun {
    pub(super) head: Revision,
    pub(super) time: SystemTime,
    pub(super) fetched: Fetched,
    /// What others wrote since; `None` if it is too much to tell, or was not asked for.
    pub(super) strangers: Option<Vec<stored::LogEntry>>,
}

/// The connection with its statements.
pub(super) struct Session {
    pub(super) reader: Reader,
    commits: Commits,
    /// Where the other servers are told of commits.
    channel: String,
    /// The log's end was looked at.
    checked: AtomicBool,
}

/// The prepared statements of commits.
struct Commits {
    lock: Statement,
    at_home: Statement,
    end: Statement,
    fetch: Statement,
    strangers: Statement,
    settle: Statement,
    flush: Flush,
}

impl Prepare for Commits {
    async fn prepare(client: &Client) -> Result<Self, Failure> {
        let prepare = async |sql: &str| Ok(client.prepare(sql).await?);
        let fetch = format!(
            "SELECT wanted.kind, wanted.key, revision, payload, {}, places
             FROM unnest($1::smallint[], $2::bytea[]) AS wanted (kind, key)
             CROSS JOIN LATERAL (
                SELECT * FROM record WHERE kind = wanted.kind AND key = wanted.key ORDER BY revision DESC LIMIT 1
             ) AS newest",
            slots::columns()
        );
        let columns = log::COLUMNS;
        let strangers = format!("SELECT {columns} FROM log WHERE last_revision > $1 ORDER BY last_revision LIMIT $2");
        // The row that the revision is in.
        let settle = "SELECT EXISTS (SELECT FROM (
                SELECT batch FROM log WHERE last_revision >= $1 ORDER BY last_revision LIMIT 1
            ) AS there WHERE batch = $2)";
        let (lock, at_home, end, fetch, strangers, settle, flush) = futures::try_join!(
            prepare(LOCK),
            prepare(AT_HOME),
            prepare(END),
            prepare(&fetch),
            prepare(&strangers),
            prepare(settle),
            Flush::prepare(client),
        )?;
        Ok(Self { lock, at_home, end, fetch, strangers, settle, flush })
    }
}

impl Prepare for (Reads, Commits) {
    async fn prepare(client: &Client) -> Result<Self, Failure> {
        futures::try_join!(Reads::prepare(client), Commits::prepare(client))
    }
}

impl Session {
    pub(super) async fn connect(connector: &Connector) -> Result<Self, Failure> {
        let Connected { connection, found, prepared } = connector.connect(Purpose::Commit, None).await?;
        let (reads, commits) = prepared?;
        let found = found.ok_or_else(|| Failure::broken("there is no store"))?;
        let reader = Reader::new(connection, reads);
        Ok(Self { reader, commits, channel: found.channel, checked: AtomicBool::new(false) })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.reader.connection
    }

    fn client(&self) -> &Client {
        self.reader.connection.client()
    }

    /// Begins a transaction, takes the lock, and reads the head, some records and, from a revision on, what others wrote. All of that
    /// is asked at once; under READ COMMITTED, what is read by the statements behind the lock's is what its former holder left.
    pub(super) async fn begin(&self, keys: &[(Kind, Vec<u8>)], after: Option<Revision>) -> Result<Begun, Failure> {
        let client = self.client();
        let begun = async {
            let begin = async { Ok(client.batch_execute(BEGIN).await?) };
            let lock = async { Ok(client.execute(&self.commits.lock, &[]).await?) };
            let at_home = async { Ok(client.query_one(&self.commits.at_home, &[]).await?) };
            let end = self.end();
            let fetch = self.fetched(keys);
            let strangers = async {
                match after {
                    Some(after) => self.strangers_behind(after).await,
                    None => Ok(None),
                }
            };
            futures::try_join!(begin, lock, at_home, end, fetch, strangers)
        };
        let ((), _, at_home, (), fetched, strangers) = self.connection().limited(begun).await?;
        let (head, time) = self.connection().home().under_lock(&at_home, self.connection().backend())?;
        Ok(Begun { head, time, fetched, strangers })
    }

    /// Looks at the log's end, once: what is committed behind a gap would be lost with it.
    async fn end(&self) -> Result<(), Failure> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (kind, key) = self.connection().layout().always_written.unzip();
        let end = self.client().query_one(&self.commits.end, &[&kind.map(number), &key]).await?;
        check_end(&end)?;
        self.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What others wrote behind a revision, or `None` if that is a lot.
    pub(super) async fn strangers(&self, after: Revision) -> Result<Option<Vec<stored::LogEntry>>, Failure> {
        self.connection().limited(self.strangers_behind(after)).await
    }

    async fn strangers_behind(&self, after: Revision) -> Result<Option<Vec<stored::LogEntry>>, Failure> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = self.client().query(&self.commits.strangers, &[&after, &STRANGERS]).await?;
        if rows.len() as i64 >= STRANGERS {
            return Ok(None);
        }
        let mut unpacker = Unpacker::new()?;
        let entries = rows.iter().map(|row| unpacker.unpack(row)).collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Some(entries.into_iter().filter(|entry| entry.revision > after.cast_unsigned()).collect()))
    }

    /// What is committed under some keys.
    pub(super) async fn fetch(&self, keys: &[(Kind, Vec<u8>)]) -> Result<Fetched, Failure> {
        self.connection().limited(self.fetched(keys)).await
    }

    async fn fetched(&self, keys: &[(Kind, Vec<u8>)]) -> Result<Fetched, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let kinds: Vec<_> = keys.iter().map(|(kind, _)| number(*kind)).collect();
        let wanted: Vec<_> = keys.iter().map(|(_, key)| key.as_slice()).collect();
        let rows = self.client().query(&self.commits.fetch, &[&kinds, &wanted]).await?;
        let mut found = std::collections::HashMap::with_capacity(rows.len());
        for row in &rows {
            let mut places = Vec::new();
            for (column, slot) in (4..).zip(1..=SLOTS) {
                let value: Option<_> = row.try_get(column)?;
                places.extend(value.map(|value| Place { slot, value }));
            }
            if let Some(more) = row.try_get(4 + usize::from(SLOTS))? {
                places.extend(slots::decode(more)?);
            }
            let cell = Cell { revision: revision(row, 2)?, payload: bytes(row, 3)?, places };
            found.insert((row.try_get::<_, i16>(0)?, row.try_get::<_, Vec<u8>>(1)?), Arc::new(cell));
        }
        let state = |(kind, key): &(Kind, Vec<u8>)| {
            let state = found.get(&(number(*kind), key.clone())).cloned();
            (*kind, key.clone(), state)
        };
        Ok(keys.iter().map(state).collect())
    }

    /// Writes what a batch changes, and commits. `false`: the database warned of something, so that it is not sure what the commit
    /// is worth.
    pub(super) async fn commit(&self, changes: Option<&Changes<'_>>) -> Result<bool, Failure> {
        self.connection().take_warning();
        let committed = async {
            let flush = async {
                match changes {
                    Some(changes) => self.commits.flush.run(self.client(), &self.channel, changes).await,
                    None => Ok(()),
                }
            };
            let commit = async { Ok::<_, Failure>(self.client().batch_execute(COMMIT).await?) };
            futures::try_join!(flush, commit)
        };
        self.connection().limited(committed).await?;
        Ok(!self.connection().take_warning())
    }

    /// Gives the transaction up.
    pub(super) async fn roll_back(&self) -> Result<(), Failure> {
        self.connection().limited(async { Ok(self.client().batch_execute("ROLLBACK").await?) }).await
    }

    /// Whether a batch was committed, which a broken connection did not tell. Answers also the head. The lock waits for a commit that
    /// is still going on; and this transaction's own commit, which has the lock to log, is durable only behind that of the batch:
    /// what it saw can't be lost any more.
    pub(super) async fn settle(&self, first: Revision, batch: Uuid) -> Result<(bool, Revision), Failure> {
        let client = self.client();
        let Begun { head, .. } = self.begin(&[], None).await?;
        let first = i64::try_from(first).map_err(Failure::damaged)?;
        let there = async { Ok(client.query_one(&self.commits.settle, &[&first, &batch]).await?.try_get(0)?) };
        let there = self.connection().limited(there).await?;
        match self.commit(None).await? {
            true => Ok((there, head)),
            false => Err(Failure::broken("the database is not sure that it is safe")),
        }
    }
}
