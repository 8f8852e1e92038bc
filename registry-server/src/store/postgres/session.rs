//! The lane's connection: reads and writes under the lock of the head's row.

use std::sync::Arc;

use crate::stored;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::cache::{Cell, State};
use super::connect::Connection;
use super::error::Failure;
use super::flush::{Changes, Flush};
use super::read::{Reader, bytes, number, revision, writes};
use super::slots::{self, SLOTS};
use crate::store::{Kind, Place, Revision};

/// After so many revisions of others it is cheaper to forget everything than to look at each.
const STRANGERS: i64 = 1000;

/// Without a limit: PostgreSQL calls a commit a success if the wait for its standby was cancelled.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// Records that were fetched, and where they belong.
pub(super) type Fetched = Vec<(Kind, Vec<u8>, State)>;

/// What the beginning of a transaction found.
pub(super) struct Begun {
    pub(super) head: Revision,
    pub(super) fetched: Fetched,
    /// What others wrote since; `None` if it is too much to tell, or was not asked for.
    pub(super) strangers: Option<Vec<stored::LogEntry>>,
}

/// The connection with its statements.
pub(super) struct Session {
    pub(super) reader: Reader,
    lock: Statement,
    fetch: Statement,
    strangers: Statement,
    settle: Statement,
    flush: Flush,
}

impl Session {
    /// Prepares a connection that notifies others over `channel`.
    pub(super) async fn new(
        connection: Connection,
        channel: &str,
        patience: std::time::Duration,
    ) -> Result<Self, Failure> {
        let client = connection.client();
        // A server that vanishes in a transaction holds the lock: the database must not wait for it for long.
        let settings = format!("SET idle_in_transaction_session_timeout = {}", patience.as_millis());
        client.batch_execute(&settings).await?;
        let fetch = format!(
            "SELECT kind, key, revision, payload, {}, places
             FROM unnest($1::smallint[], $2::bytea[]) AS wanted (kind, key) JOIN record USING (kind, key)",
            slots::columns()
        );
        let (lock, fetch, strangers, settle) = futures::try_join!(
            client.prepare("SELECT revision FROM head FOR UPDATE"),
            client.prepare(&fetch),
            client.prepare("SELECT revision, writes FROM log WHERE revision > $1 ORDER BY revision LIMIT $2"),
            client.prepare("SELECT EXISTS (SELECT FROM log WHERE revision = $1 AND batch = $2)"),
        )?;
        let flush = Flush::prepare(client, channel).await?;
        Ok(Self { reader: Reader::new(connection).await?, lock, fetch, strangers, settle, flush })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.reader.connection
    }

    fn client(&self) -> &Client {
        self.reader.connection.client()
    }

    /// Begins a transaction, locks the head, and reads some records and, from a revision on, what others wrote. All of that is asked
    /// at once; under READ COMMITTED, what is read behind the lock is what its former holder left.
    pub(super) async fn begin(&self, keys: &[(Kind, Vec<u8>)], after: Option<Revision>) -> Result<Begun, Failure> {
        let client = self.client();
        let begun = async {
            let begin = async { Ok(client.batch_execute("BEGIN").await?) };
            let lock = async { Ok(client.query_one(&self.lock, &[]).await?) };
            let fetch = self.fetched(keys);
            let strangers = async {
                match after {
                    Some(after) => self.strangers_behind(after).await,
                    None => Ok(None),
                }
            };
            futures::try_join!(begin, lock, fetch, strangers)
        };
        let ((), head, fetched, strangers) = self.connection().limited(begun).await?;
        Ok(Begun { head: revision(&head, 0)?, fetched, strangers })
    }

    /// What others wrote behind a revision, or `None` if that is a lot.
    pub(super) async fn strangers(&self, after: Revision) -> Result<Option<Vec<stored::LogEntry>>, Failure> {
        self.connection().limited(self.strangers_behind(after)).await
    }

    async fn strangers_behind(&self, after: Revision) -> Result<Option<Vec<stored::LogEntry>>, Failure> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = self.client().query(&self.strangers, &[&after, &STRANGERS]).await?;
        if rows.len() as i64 >= STRANGERS {
            return Ok(None);
        }
        let entry = |row: &Row| Ok(stored::LogEntry { revision: revision(row, 0)?, ..writes(row, 1)? });
        rows.iter().map(entry).collect::<Result<_, Failure>>().map(Some)
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
        let rows = self.client().query(&self.fetch, &[&kinds, &wanted]).await?;
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
                    Some(changes) => self.flush.run(self.client(), changes).await,
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
        let there = async { Ok(client.query_one(&self.settle, &[&first, &batch]).await?.try_get(0)?) };
        let there = self.connection().limited(there).await?;
        match self.commit(None).await? {
            true => Ok((there, head)),
            false => Err(Failure::broken("the database is not sure that it is safe")),
        }
    }
}
