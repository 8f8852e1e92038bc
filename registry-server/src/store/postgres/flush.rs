//! Writing a batch: a few statements, each with arrays of all rows, sent at once.

use std::time::SystemTime;

use prost::Message as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::cache::Cell;
use super::error::Failure;
use super::overlay::{Base, Overlay};
use super::read::{number, place_columns};
use crate::store::{Facts, FactsOf, Index, Kind, Revision};
use crate::stored;

/// The prepared statements.
pub(super) struct Flush {
    insert: Statement,
    /// For those that are a kind, a key, a revision and a payload, and nothing else: half the work of a whole row.
    insert_bare: Statement,
    update: Statement,
    remove: Statement,
    log: Statement,
    /// Moves the head, and tells the other servers.
    head: Statement,
    channel: String,
}

/// How many columns a bare record has.
const BARE: usize = 4;
const FACTS: &str = "name, team, stage, framework, created, updated, deleted";

impl Flush {
    pub(super) async fn prepare(client: &Client, channel: &str) -> Result<Self, Failure> {
        let prepare = async |sql: &str| client.prepare(sql).await;
        let content = format!("revision, payload, {}, {FACTS}", place_columns());
        let types =
            [&["smallint", "bytea", "bigint", "bytea"][..], &["bytea"; Index::ALL.len()], &["text"; 4]].concat();
        let types = [types, ["timestamptz"; 3].to_vec()].concat();
        let arrays: Vec<_> = (1..).zip(types).map(|(at, r#type): (usize, _)| format!("${at}::{type}[]")).collect();
        let rows = format!("unnest({})", arrays.join(", "));
        let insert = format!("INSERT INTO record (kind, key, {content}) SELECT * FROM {rows}");
        let set: Vec<_> = content.split(", ").map(|column| format!("{column} = new.{column}")).collect();
        let bare = format!(
            "INSERT INTO record (kind, key, revision, payload) SELECT * FROM unnest({})",
            arrays[..BARE].join(", ")
        );
        let update = format!(
            "UPDATE record SET {} FROM {rows} AS new (kind, key, {content})
             WHERE record.kind = new.kind AND record.key = new.key",
            set.join(", ")
        );
        let remove = "DELETE FROM record USING unnest($1::smallint[], $2::bytea[]) AS old (kind, key)
            WHERE record.kind = old.kind AND record.key = old.key";
        let log = "INSERT INTO log (revision, batch, events, writes)
            SELECT revision, $1, events, writes
            FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS new (revision, events, writes)";
        let head = "WITH moved AS (UPDATE head SET revision = $1 RETURNING revision)
            SELECT pg_notify($2, revision::text) FROM moved";
        let (insert, insert_bare, update, remove, log, head) = futures::try_join!(
            prepare(&insert),
            prepare(&bare),
            prepare(&update),
            prepare(remove),
            prepare(log),
            prepare(head),
        )?;
        Ok(Self { insert, insert_bare, update, remove, log, head, channel: channel.to_owned() })
    }

    /// Sends everything; the answers come together.
    pub(super) async fn run(&self, client: &Client, changes: &Changes<'_>) -> Result<(), Failure> {
        let Changes { insert, insert_bare, update, removed, log } = changes;
        let head = log.revisions.last().copied().unwrap_or_default();
        futures::try_join!(
            execute(client, &self.update, update.len(), update.columns()),
            execute(client, &self.remove, removed.0.len(), vec![&removed.0, &removed.1]),
            execute(client, &self.insert, insert.len(), insert.columns()),
            execute(client, &self.insert_bare, insert_bare.len(), insert_bare.columns()[..BARE].to_vec()),
            execute(client, &self.log, log.revisions.len(), vec![&log.batch, &log.revisions, &log.events, &log.writes]),
            execute(client, &self.head, 1, vec![&head, &self.channel]),
        )?;
        Ok(())
    }
}

/// Runs a statement that has to change so many rows; without any it is left out.
async fn execute(
    client: &Client,
    statement: &Statement,
    rows: usize,
    parameters: Vec<&(dyn ToSql + Sync)>,
) -> Result<(), Failure> {
    if rows == 0 {
        return Ok(());
    }
    let changed = client.execute(statement, &parameters).await?;
    match changed == rows as u64 {
        true => Ok(()),
        false => Err(Failure::damaged(format!("{changed} rows changed where {rows} had to"))),
    }
}

/// Rows of the table `record`, column by column.
#[derive(Default)]
pub(super) struct Rows<'a> {
    kinds: Vec<i16>,
    keys: Vec<&'a [u8]>,
    revisions: Vec<i64>,
    payloads: Vec<&'a [u8]>,
    /// One column for each index.
    places: [Vec<Option<&'a [u8]>>; Index::ALL.len()],
    texts: [Vec<Option<String>>; 4],
    times: [Vec<Option<SystemTime>>; 3],
}

impl<'a> Rows<'a> {
    fn push(&mut self, kind: Kind, key: &'a [u8], cell: &'a Cell, facts: Option<Facts>) {
        self.kinds.push(number(kind));
        self.keys.push(key);
        self.revisions.push(cell.revision as i64);
        self.payloads.push(&cell.payload);
        for (column, index) in self.places.iter_mut().zip(Index::ALL) {
            let listed = cell.attributes.iter().find(|attribute| attribute.index == *index);
            column.push(listed.map(|attribute| attribute.value.as_slice()));
        }
        let Facts { name, team, stage, framework, created, updated, deleted } = facts.unwrap_or_default();
        // The one character that PostgreSQL has no place for.
        let clean = |text: String| if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
        for (column, text) in self.texts.iter_mut().zip([name, team, stage, framework]) {
            column.push(text.map(clean));
        }
        for (column, time) in self.times.iter_mut().zip([created, updated, deleted]) {
            column.push(time);
        }
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        fn all<T: ToSql + Sync>(columns: &[T]) -> impl Iterator<Item = &(dyn ToSql + Sync)> {
            columns.iter().map(|column| column as &(dyn ToSql + Sync))
        }
        let content: [&(dyn ToSql + Sync); 4] = [&self.kinds, &self.keys, &self.revisions, &self.payloads];
        content.into_iter().chain(all(&self.places)).chain(all(&self.texts)).chain(all(&self.times)).collect()
    }
}

/// Rows of the log.
struct LogRows<'a> {
    batch: Uuid,
    revisions: Vec<i64>,
    events: Vec<&'a [u8]>,
    writes: Vec<Vec<u8>>,
}

/// All that a batch changes, as the statements take it.
pub(super) struct Changes<'a> {
    insert: Rows<'a>,
    insert_bare: Rows<'a>,
    update: Rows<'a>,
    removed: (Vec<i16>, Vec<&'a [u8]>),
    log: LogRows<'a>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(batch: Uuid, overlay: &'a Overlay, log: &'a [stored::LogEntry], facts: FactsOf) -> Self {
        let writes = |entry: &stored::LogEntry| {
            let writes = entry.writes.clone();
            stored::LogEntry { writes, ..Default::default() }.encode_to_vec()
        };
        let mut changes = Self {
            insert: Rows::default(),
            insert_bare: Rows::default(),
            update: Rows::default(),
            removed: Default::default(),
            log: LogRows {
                batch,
                revisions: log.iter().map(|entry| entry.revision as i64).collect(),
                events: log.iter().map(|entry| entry.events.as_ref()).collect(),
                writes: log.iter().map(writes).collect(),
            },
        };
        for (kind, key, entry) in overlay.entries() {
            match (matches!(entry.base, Base::Known(Some(_))), &entry.state) {
                (false, None) => {}
                (false, Some(cell)) => match facts(kind, &cell.payload) {
                    None if cell.attributes.is_empty() => changes.insert_bare.push(kind, key, cell, None),
                    facts => changes.insert.push(kind, key, cell, facts),
                },
                (true, Some(cell)) => changes.update.push(kind, key, cell, facts(kind, &cell.payload)),
                (true, None) => {
                    changes.removed.0.push(number(kind));
                    changes.removed.1.push(key);
                }
            }
        }
        changes
    }

    /// The first revision that the batch logs.
    pub(super) fn first(&self) -> Revision {
        self.log.revisions.first().map_or(0, |revision| *revision as Revision)
    }
}
