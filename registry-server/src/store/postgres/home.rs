//! Which store every connection has to lead to. A name, a pooler or a setting of the database may lead the next connection to
//! another one; then nothing more is read or written, for nobody could tell the two apart.

use std::fmt::Display;
use std::sync::OnceLock;
use std::time::SystemTime;

use registry_common::hex;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_postgres::{Row, SimpleQueryMessage, SimpleQueryRow};
use uuid::Uuid;

use super::error::{Cause, Failure};
use super::read::revision;
use super::schema::NEWEST;
use super::whereabouts::{self, columns};
use crate::store::{Revision, Seen, Whereabouts};

/// Waits for the lock that orders the batches of all servers, and keeps migrations apart from them. It goes with the transaction.
/// What is read in the same statement may be older than the lock: read in the next one.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('model-registry'), hashtext(current_schema()))";

/// Ends those that hold that lock, have stood still for so many seconds, and keep others waiting. PostgreSQL waits for a client that
/// takes nothing for as long as the network does, and over a Unix socket for ever. A commit that waits for a standby does not stand
/// still: it waits for no client.
pub(super) const WAKE: &str = "
    WITH lock AS (
        SELECT pid, granted FROM pg_locks
        WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = (hashtext('model-registry')::bigint & 4294967295)::oid
          AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid AND objsubid = 2
    )
    SELECT pg_terminate_backend(pid) FROM lock JOIN pg_stat_activity USING (pid)
    WHERE granted AND wait_event_type = 'Client' AND state_change < clock_timestamp() - make_interval(secs => $1)
      AND EXISTS (SELECT FROM lock WHERE NOT granted)";

/// Whether the log's end is whole, in its last rows; and which revision wrote the record that every commit writes.
pub(super) const END: &str = "
    SELECT count(*), coalesce(min(first_revision), 0), coalesce(max(last_revision), 0),
        (SELECT revision FROM record WHERE kind = $1 AND key = $2 ORDER BY revision DESC LIMIT 1),
        (SELECT oldest FROM store), count(*) FILTER (WHERE first_revision <> before + 1)
    FROM (
        SELECT first_revision, last_revision, lag(last_revision) OVER (ORDER BY last_revision) AS before
        FROM (SELECT first_revision, last_revision FROM log ORDER BY last_revision DESC LIMIT 1000) AS last
    ) AS last";

/// What a connection is asked first of all.
pub(super) const FIND: &str = concat!(
    "SELECT identity, (SELECT max(version) FROM schema_version), whole, (SELECT coalesce(max(last_revision), 0) FROM log),
        (SELECT encode(sha256(convert_to(definition, 'UTF8')), 'hex') FROM layout),
        'model_registry_' || md5(current_schema()), current_setting('max_connections'), ",
    columns!(),
    " FROM store"
);

/// What is asked under the lock: the newest revision, the time, and whether the connection is still what it was. The table `store` is not
/// written by commits: a row that every commit wrote would be slow to find while an old snapshot is held.
pub(super) const AT_HOME: &str = "
    SELECT (SELECT coalesce(max(last_revision), 0) FROM log), (SELECT identity FROM store),
        (SELECT max(version) FROM schema_version), pg_backend_pid(), clock_timestamp(), current_schema()::regnamespace::oid";

/// Which store a connection leads to, and which of its copies, since these have the same identity.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) identity: Uuid,
    records: Whereabouts,
}

impl Address {
    /// The oid of the schema.
    fn schema(&self) -> Option<u32> {
        match &self.records {
            Whereabouts::Postgres { schema: (oid, _), .. } => Some(*oid),
            _ => None,
        }
    }
}

/// What a connection found.
pub(super) struct Found {
    pub(super) address: Address,
    pub(super) schema: u32,
    /// It is not in the middle of a restore.
    pub(super) whole: bool,
    pub(super) newest: Revision,
    /// The digest of the statements that made the views.
    views: Option<String>,
    /// Where servers on this schema notify each other. Channels belong to the database, so each schema has its own.
    pub(super) channel: String,
    /// How many connections the database takes from all.
    pub(super) max_connections: String,
}

impl Found {
    /// Reads the answer to [`FIND`].
    pub(super) fn of(answer: &[SimpleQueryMessage]) -> Result<Self, Failure> {
        let row = last_row(answer).ok_or_else(|| Failure::damaged("the row of the table \"store\" is missing"))?;
        let number = |column| text(row, column)?.parse::<i64>().map_err(Failure::damaged);
        Ok(Self {
            address: Address {
                identity: text(row, 0)?.parse().map_err(Failure::damaged)?,
                records: whereabouts::read(row, 7)?,
            },
            schema: u32::try_from(number(1)?).map_err(Failure::damaged)?,
            whole: text(row, 2)? == "t",
            newest: u64::try_from(number(3)?).map_err(Failure::damaged)?,
            views: row.try_get(4)?.map(str::to_owned),
            channel: text(row, 5)?.to_owned(),
            max_connections: text(row, 6)?.to_owned(),
        })
    }

    /// Whether the schema and its views are what this program makes.
    pub(super) fn is_current(&self, views: &str) -> bool {
        self.schema == NEWEST && self.views.as_ref() == Some(&hex(&Sha256::digest(views)))
    }
}

/// Fails unless the log's end is whole and the state is the one that it makes, by the answer to [`END`].
pub(super) fn check_end(row: &Row) -> Result<(), Failure> {
    const REMEDY: &str = "restore a backup or the archive into an empty schema (`registry-server restore`)";
    let [rows, first, last] = [row.try_get::<_, i64>(0)?, row.try_get(1)?, row.try_get(2)?];
    let (oldest, gaps) = (row.try_get::<_, Option<i64>>(4)?.unwrap_or(1), row.try_get::<_, i64>(5)?);
    if gaps > 0 || ((1..1000).contains(&rows) && first != oldest) {
        let gap = format!("revisions are missing in the log, which ends at {last}: {REMEDY}");
        return Err(Failure::damaged(gap));
    }
    match row.try_get::<_, Option<i64>>(3)? {
        Some(state) if state != last => Err(Failure::damaged(format!(
            "the log ends at {last}, and the state is that of revision {state}: {REMEDY}"
        ))),
        _ => Ok(()),
    }
}

/// The last row of an answer to several statements.
pub(super) fn last_row(answer: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    let row = |message: &'_ SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
    match answer.iter().rfind(|message| row(message)) {
        Some(SimpleQueryMessage::Row(row)) => Some(row),
        _ => None,
    }
}

pub(super) fn text(row: &SimpleQueryRow, column: usize) -> Result<&str, Failure> {
    row.try_get(column)?.ok_or_else(|| Failure::damaged(format!("column {column} of an answer is null")))
}

/// The store that all connections of a process lead to.
pub(super) struct Home {
    address: OnceLock<Address>,
    /// Why no connection is used any more.
    left: watch::Sender<Option<String>>,
}

impl Home {
    pub(super) fn new() -> Self {
        Self { address: OnceLock::new(), left: watch::Sender::new(None) }
    }

    /// From now on it has to be this one.
    pub(super) fn settle(&self, address: Address) {
        // It is settled once, when the store is opened.
        let _ = self.address.set(address);
    }

    pub(super) fn address(&self) -> Option<&Address> {
        self.address.get()
    }

    /// Fails if a connection led elsewhere; for good, also if this one does. A standby that took over is no other place.
    pub(super) fn check(&self, found: &Address, schema: u32) -> Result<(), Failure> {
        let Some(own) = self.address() else { return Ok(()) };
        self.check_identity(own, found.identity);
        if found.records.seen_from(&own.records) == Seen::Other {
            self.leave_for_copy(own, &found.records);
        }
        self.check_schema(schema)
    }

    fn check_identity(&self, own: &Address, found: Uuid) {
        if found != own.identity {
            let own = own.identity;
            self.leave(format!("the database's connections lead to another registry now ({found}; it was {own})"));
        }
    }

    fn leave_for_copy(&self, own: &Address, there: &dyn Display) {
        let own = &own.records;
        self.leave(format!(
            "the database's connections lead to a copy of this registry now ({there}; it was in {own})"
        ));
    }

    fn check_schema(&self, schema: u32) -> Result<(), Failure> {
        if schema != NEWEST {
            let migrated =
                format!("another program has changed the database's schema to {schema}; this one needs {NEWEST}");
            self.leave(migrated);
        }
        self.is_here()
    }

    fn leave(&self, why: String) {
        self.left.send_if_modified(|left| {
            let first = left.is_none();
            left.get_or_insert(why);
            first
        });
    }

    /// Fails if the log ends before a revision that it had: what this process has told of it is not so any more.
    pub(super) fn check_newest(&self, newest: Revision, known: Revision) -> Result<(), Failure> {
        if newest < known {
            self.leave(format!(
                "the database has fallen back: revision {known} was committed, and its log ends at {newest}. It was restored to an \
                 earlier time, or a standby took over that lacked the newest revisions; start the server again to go on from there"
            ));
        }
        self.is_here()
    }

    /// Fails if a connection led elsewhere.
    pub(super) fn is_here(&self) -> Result<(), Failure> {
        match &*self.left.borrow() {
            None => Ok(()),
            Some(why) => Err(Failure { cause: Cause::Refused, aborted: false, message: why.clone() }),
        }
    }

    /// Checks the answer to [`AT_HOME`] over a connection to the backend with a process id. Answers the newest revision
    /// and the time.
    pub(super) fn under_lock(&self, row: &Row, backend: i32) -> Result<(Revision, SystemTime), Failure> {
        let missing = || Failure::damaged("the row of the table \"store\", or the schema's number, is missing");
        let identity: Option<Uuid> = row.try_get(1)?;
        let schema: Option<i32> = row.try_get(2)?;
        let (identity, schema) = identity.zip(schema).ok_or_else(missing)?;
        if let Some(own) = self.address() {
            self.check_identity(own, identity);
            // The session can't have left its cluster and its database.
            let within: Option<u32> = row.try_get(5)?;
            if within != own.schema() {
                self.leave_for_copy(own, &format_args!("another schema, of oid {}", within.unwrap_or_default()));
            }
        }
        self.check_schema(u32::try_from(schema).map_err(Failure::damaged)?)?;
        same_backend(row.try_get(3)?, backend)?;
        Ok((revision(row, 0)?, row.try_get(4)?))
    }

    /// Waits until a connection led elsewhere. Answers why nothing can be done any more.
    pub(super) async fn until_left(&self) -> String {
        let mut left = self.left.subscribe();
        let why = left.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        // The sender is part of this.
        why.unwrap_or_default()
    }
}

/// Fails if something between here and the database has changed the session.
pub(super) fn same_backend(now: i32, before: i32) -> Result<(), Failure> {
    if now == before {
        return Ok(());
    }
    Err(pooled())
}

/// A session that is not this connection's own.
pub(super) fn pooled() -> Failure {
    Failure::broken(
        "something between this server and the database gives its session to others: a pooler has to be in session mode \
         (PgBouncer: pool_mode = session), and to reset a session before others get it (server_reset_query = DISCARD ALL)",
    )
}
