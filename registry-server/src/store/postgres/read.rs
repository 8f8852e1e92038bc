//! Reads over one connection: of what is committed, of a snapshot, or of a transaction.

use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::connect::{Connection, Connector, Prepare, Purpose};
use super::error::Failure;
use super::home;
use super::log::{self, Unpacker};
use super::slots::{self, SLOTS};
use crate::store::{Hit, Index, Kind, LogEntry, Range, Record, Revision, SCAN_BYTES, Source, logged};
use crate::stored;

/// How many rows a scan asks for at once.
const PAGE: usize = 1000;

/// The newest version of a row is found first: older ones are there for as long as an old snapshot is held, and are not walked.
pub(super) const GET: &str =
    "SELECT revision, payload FROM record WHERE kind = $1 AND key = $2 ORDER BY revision DESC LIMIT 1";

/// Longer than any key: an index of PostgreSQL takes no more than 2,704 bytes.
const BEHIND_ALL: [u8; 2_705] = [u8::MAX; 2_705];

/// The parameters of a statement.
pub(super) type SqlParameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// A connection with its statements prepared.
pub(super) struct Reader {
    pub(super) connection: Connection,
    statements: Reads,
}

/// The prepared statements of reads.
pub(super) struct Reads {
    get: Statement,
    records: [Statement; 2],
    /// Of the slots that are columns.
    slots: Vec<[Statement; 2]>,
    /// Of the others.
    places: [Statement; 2],
    log: Statement,
    newest: Statement,
}

/// What one query of a scan found.
pub(super) struct Page {
    pub(super) hits: Vec<Hit>,
    /// There is nothing more in the range.
    pub(super) complete: bool,
}

/// The rows of `page` that a read has to give: up to the one that brings them to enough bytes. They are counted in the database,
/// so that no more than that is ever sent.
pub(super) fn bounded(columns: &str, bytes: &str, page: &str) -> String {
    format!(
        "SELECT {columns} FROM (
            SELECT {columns}, sum({bytes}) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM ({page}) AS page
        ) AS counted WHERE coalesce(before, 0) < {SCAN_BYTES}"
    )
}

fn scan_records(order: &str) -> String {
    let page = format!(
        "SELECT key AS position, key, revision, payload FROM record
         WHERE kind = $1 AND key >= $2 AND key < $3 ORDER BY key {order} LIMIT $4"
    );
    bounded("position, key, revision, payload", "octet_length(payload)", &page)
}

fn scan_slot(slot: u8, order: &str) -> String {
    let position = slots::position(slot);
    let page = format!(
        "SELECT {position} AS position, key, revision, payload FROM record
         WHERE {} IS NOT NULL AND kind = $1 AND {position} >= $2 AND {position} < $3
         ORDER BY {position} {order} LIMIT $4",
        slots::column(slot)
    );
    bounded("position, key, revision, payload", "octet_length(payload)", &page)
}

fn scan_places(order: &str) -> String {
    let page = format!(
        "SELECT position, key, newest.revision, payload FROM place CROSS JOIN LATERAL (
            SELECT revision, payload FROM record
            WHERE kind = place.kind AND key = place.key ORDER BY revision DESC LIMIT 1
         ) AS newest
         WHERE kind = $1 AND slot = $2 AND position >= $3 AND position < $4 ORDER BY position {order} LIMIT $5"
    );
    bounded("position, key, revision, payload", "octet_length(payload)", &page)
}

impl Prepare for Reads {
    async fn prepare(client: &Client) -> Result<Self, Failure> {
        let prepare = async |sql: &str| client.prepare(sql).await;
        let both = async |forward: String, reverse: String| {
            let (forward, reverse) = futures::try_join!(prepare(&forward), prepare(&reverse))?;
            Ok([forward, reverse])
        };
        let slots = (1..=SLOTS).map(|slot| both(scan_slot(slot, "ASC"), scan_slot(slot, "DESC")));
        // As many rows as it takes for so many entries and bytes.
        let columns = log::COLUMNS;
        let log = format!(
            "SELECT {columns} FROM (
                SELECT {columns}, sum(size) OVER before AS bytes,
                    sum(last_revision - greatest(first_revision, $1 + 1) + 1) OVER before AS count
                FROM (SELECT {columns} FROM log WHERE last_revision > $1 ORDER BY last_revision LIMIT $2) AS page
                WINDOW before AS (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            ) AS counted WHERE coalesce(bytes, 0) < {SCAN_BYTES} AND coalesce(count, 0) < $2"
        );
        let (get, records, slots, places, log, newest) = futures::try_join!(
            prepare(GET),
            both(scan_records("ASC"), scan_records("DESC")),
            futures::future::try_join_all(slots),
            both(scan_places("ASC"), scan_places("DESC")),
            prepare(&log),
            prepare("SELECT coalesce(max(last_revision), 0), pg_is_in_recovery(), pg_backend_pid() FROM log"),
        )?;
        Ok(Self { get, records, slots, places, log, newest })
    }
}

impl Reader {
    pub(super) fn new(connection: Connection, statements: Reads) -> Self {
        Self { connection, statements }
    }

    /// Reads over a connection of their own.
    pub(super) async fn connect(
        connector: &Connector,
        purpose: Purpose,
        notified: Option<watch::Sender<Revision>>,
    ) -> Result<Self, Failure> {
        let connected = connector.connect(purpose, notified).await?;
        Ok(Self::new(connected.connection, connected.prepared?))
    }

    pub(super) async fn time(&self) -> Result<SystemTime, Failure> {
        let time = "SELECT clock_timestamp()";
        let row = self.connection.limited(async { Ok(self.connection.client().query_one(time, &[]).await?) });
        Ok(row.await?.try_get(0)?)
    }

    pub(super) async fn newest(&self) -> Result<Revision, Failure> {
        let newest = &self.statements.newest;
        let row = self.connection.limited(async { Ok(self.connection.client().query_one(newest, &[]).await?) });
        let row = row.await?;
        if row.try_get::<_, bool>(1)? {
            return Err(Failure::broken("the database takes no writes"));
        }
        home::same_backend(row.try_get(2)?, self.connection.backend())?;
        revision(&row, 0)
    }

    pub(super) async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, Failure> {
        let row = self.connection.limited(async {
            Ok(self.connection.client().query_opt(&self.statements.get, &[&number(kind), &key]).await?)
        });
        let Some(row) = row.await? else { return Ok(None) };
        Ok(Some(Record { key: key.to_vec(), revision: revision(&row, 0)?, payload: bytes(&row, 1)? }))
    }

    /// As [`crate::store::Read::scan`] has it.
    pub(super) async fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, Failure> {
        let (mut range, mut hits, mut bytes) = (range.clone(), Vec::new(), 0);
        loop {
            let page = self.page(source, &range).await?;
            bytes += page.hits.iter().map(|hit| hit.record.payload.len()).sum::<usize>();
            range.limit -= page.hits.len();
            range.after = page.hits.last().map(|hit| hit.position.clone());
            hits.extend(page.hits);
            if page.complete || range.limit == 0 || bytes >= SCAN_BYTES {
                return Ok(hits);
            }
        }
    }

    /// The first rows of a range.
    pub(super) async fn page(&self, source: Source, range: &Range) -> Result<Page, Failure> {
        let Some((from, to)) = bounds(range) else { return Ok(Page { hits: Vec::new(), complete: true }) };
        let (client, statements) = (self.connection.client(), &self.statements);
        let (direction, limit) = (usize::from(range.reverse), range.limit.min(PAGE));
        let wanted = limit as i64;
        let rows = self.connection.limited(async {
            Ok(match source {
                Source::Kind(kind) => {
                    client.query(&statements.records[direction], &[&number(kind), &from, &to, &wanted]).await?
                }
                Source::Index(Index { kind, slot }) => match slots::at(self.connection.layout(), kind, slot) {
                    Some(at) => {
                        client.query(&statements.slots[at][direction], &[&number(kind), &from, &to, &wanted]).await?
                    }
                    None => {
                        let slot = i16::from(slot);
                        client
                            .query(&statements.places[direction], &[&number(kind), &slot, &from, &to, &wanted])
                            .await?
                    }
                },
            })
        });
        let hits = rows.await?.iter().map(hit).collect::<Result<Vec<_>, _>>()?;
        let bytes = hits.iter().map(|hit| hit.record.payload.len()).sum::<usize>();
        Ok(Page { complete: hits.len() < limit && bytes < SCAN_BYTES, hits })
    }

    pub(super) async fn log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, Failure> {
        let entries = self.read_log(after, limit, |entry| entry.events.len()).await?;
        Ok(entries.into_iter().map(|entry| LogEntry { revision: entry.revision, events: entry.events }).collect())
    }

    pub(super) async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, Failure> {
        self.read_log(after, limit, logged::size_of).await
    }

    async fn read_log(
        &self,
        mut after: Revision,
        limit: usize,
        size_of: impl Fn(&stored::LogEntry) -> usize + Send,
    ) -> Result<Vec<stored::LogEntry>, Failure> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < limit {
            let wanted = PAGE.min(limit - entries.len());
            // Behind the highest number there is nothing.
            let (behind, count) = (i64::try_from(after).unwrap_or(i64::MAX), wanted as i64);
            let page = async { Ok(self.connection.client().query(&self.statements.log, &[&behind, &count]).await?) };
            let page = self.connection.limited(page).await?;
            let (before, mut page_bytes, mut unpacker) = (entries.len(), 0, Unpacker::new()?);
            for row in &page {
                page_bytes += usize::try_from(row.try_get::<_, i32>(2)?).map_err(Failure::damaged)?;
                for entry in unpacker.unpack(row)?.into_iter().filter(|entry| entry.revision > after) {
                    if entries.len() == limit || bytes >= SCAN_BYTES {
                        return Ok(entries);
                    }
                    bytes += size_of(&entry);
                    entries.push(entry);
                }
            }
            after = entries.last().map_or(after, |entry| entry.revision);
            // The database ended the page, or the log did.
            if entries.len() - before < wanted && page_bytes < SCAN_BYTES {
                break;
            }
        }
        Ok(entries)
    }
}

/// Which positions are in a range: from the first one on, up to the second. `None` if there can't be any.
fn bounds(range: &Range) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut from, mut to) = (range.prefix.clone(), prefix_end(range.prefix.clone()));
    match &range.after {
        Some(after) if range.reverse => to = to.min(after.clone()),
        // The very next one in the order of bytes.
        Some(after) => from = from.max([after.as_slice(), &[0]].concat()),
        None => {}
    }
    (from < to && range.limit > 0).then_some((from, to))
}

/// What comes behind all positions with this prefix.
pub(super) fn prefix_end(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return prefix;
        }
    }
    BEHIND_ALL.to_vec()
}

/// A kind as its column has it.
pub(super) fn number(kind: Kind) -> i16 {
    kind.0.into()
}

pub(super) fn revision(row: &Row, column: usize) -> Result<Revision, Failure> {
    Revision::try_from(row.try_get::<_, i64>(column)?).map_err(Failure::damaged)
}

pub(super) fn bytes(row: &Row, column: usize) -> Result<Bytes, Failure> {
    Ok(Bytes::copy_from_slice(row.try_get(column)?))
}

fn hit(row: &Row) -> Result<Hit, Failure> {
    let record = Record { key: row.try_get(1)?, revision: revision(row, 2)?, payload: bytes(row, 3)? };
    Ok(Hit { position: row.try_get(0)?, record })
}
