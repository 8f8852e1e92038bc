//! Writing a batch: a few statements, each with arrays of all rows, sent at once.

use std::time::SystemTime;

use prost::Message as _;
use registry_proto::store as stored;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::cache::Cell;
use super::error::Failure;
use super::overlay::{Base, Overlay, position};
use super::read::number;
use crate::store::{Attribute, Facts, FactsOf, Kind, Revision, logged};

/// The prepared statements.
pub(super) struct Flush {
    insert: Statement,
    insert_typed: Statement,
    update: Statement,
    update_typed: Statement,
    remove: Statement,
    place: Statement,
    displace: Statement,
    log: Statement,
    /// Moves the head, and tells the other servers.
    head: Statement,
    channel: String,
}

const PLAIN: &str = "kind, key, revision, payload, attributes";
const PLAIN_ARRAYS: &str = "unnest($1::smallint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[]";
const TYPED: &str = "name, team, stage, framework, created, updated, deleted";
const TYPED_ARRAYS: &str =
    "$6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[]";

impl Flush {
    pub(super) async fn prepare(client: &Client, channel: &str) -> Result<Self, Failure> {
        let prepare = async |sql: String| client.prepare(&sql).await;
        let update = |columns: &str, arrays: &str| {
            let set = columns.split(", ").skip(2).map(|column| format!("{column} = new.{column}"));
            let set = set.collect::<Vec<_>>().join(", ");
            format!(
                "UPDATE record SET {set} FROM {arrays}) AS new ({columns})
                 WHERE record.kind = new.kind AND record.key = new.key"
            )
        };
        let insert = |columns: &str, arrays: &str| format!("INSERT INTO record ({columns}) SELECT * FROM {arrays})");
        let (columns, arrays) = (format!("{PLAIN}, {TYPED}"), format!("{PLAIN_ARRAYS}, {TYPED_ARRAYS}"));
        let remove = "DELETE FROM record USING unnest($1::smallint[], $2::bytea[]) AS old (kind, key)
            WHERE record.kind = old.kind AND record.key = old.key";
        let place = "INSERT INTO index_entry (index_id, position, key)
            SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::bytea[])";
        let displace = "DELETE FROM index_entry USING unnest($1::smallint[], $2::bytea[]) AS old (index_id, position)
            WHERE index_entry.index_id = old.index_id AND index_entry.position = old.position";
        let log = "INSERT INTO log (revision, batch, events, writes)
            SELECT revision, $1, events, writes
            FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS new (revision, events, writes)";
        let head = "WITH moved AS (UPDATE head SET revision = $1 RETURNING revision)
            SELECT pg_notify($2, revision::text) FROM moved";
        let (insert, insert_typed, update, update_typed, remove, place, displace, log, head) = futures::try_join!(
            prepare(insert(PLAIN, PLAIN_ARRAYS)),
            prepare(insert(&columns, &arrays)),
            prepare(update(PLAIN, PLAIN_ARRAYS)),
            prepare(update(&columns, &arrays)),
            prepare(remove.to_owned()),
            prepare(place.to_owned()),
            prepare(displace.to_owned()),
            prepare(log.to_owned()),
            prepare(head.to_owned()),
        )?;
        let channel = channel.to_owned();
        Ok(Self { insert, insert_typed, update, update_typed, remove, place, displace, log, head, channel })
    }

    /// Sends everything; the answers come together.
    pub(super) async fn run(&self, client: &Client, changes: &Changes<'_>) -> Result<(), Failure> {
        let Changes { insert, insert_typed, update, update_typed, removed, placed, displaced, log } = changes;
        let head = log.revisions.last().copied().unwrap_or_default();
        futures::try_join!(
            execute(client, &self.update, update.len(), update.columns()),
            execute(client, &self.update_typed, update_typed.len(), update_typed.columns()),
            execute(client, &self.remove, removed.0.len(), vec![&removed.0, &removed.1]),
            execute(client, &self.displace, displaced.0.len(), vec![&displaced.0, &displaced.1]),
            execute(client, &self.insert, insert.len(), insert.columns()),
            execute(client, &self.insert_typed, insert_typed.len(), insert_typed.columns()),
            execute(client, &self.place, placed.0.len(), vec![&placed.0, &placed.1, &placed.2]),
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
    attributes: Vec<Vec<u8>>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, kind: Kind, key: &'a [u8], cell: &'a Cell) {
        self.kinds.push(number(kind));
        self.keys.push(key);
        self.revisions.push(cell.revision as i64);
        self.payloads.push(&cell.payload);
        let attributes = logged::attributes_of(&cell.attributes);
        self.attributes.push(stored::StoredRecord { attributes, ..Default::default() }.encode_to_vec());
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![&self.kinds, &self.keys, &self.revisions, &self.payloads, &self.attributes]
    }
}

/// Rows with the columns for people.
#[derive(Default)]
pub(super) struct TypedRows<'a> {
    rows: Rows<'a>,
    texts: [Vec<Option<String>>; 4],
    times: [Vec<Option<SystemTime>>; 3],
}

impl<'a> TypedRows<'a> {
    fn push(&mut self, kind: Kind, key: &'a [u8], cell: &'a Cell, facts: Facts) {
        self.rows.push(kind, key, cell);
        let Facts { name, team, stage, framework, created, updated, deleted } = facts;
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
        self.rows.len()
    }

    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut columns = self.rows.columns();
        columns.extend(self.texts.iter().map(|column| column as &(dyn ToSql + Sync)));
        columns.extend(self.times.iter().map(|column| column as &(dyn ToSql + Sync)));
        columns
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
    insert_typed: TypedRows<'a>,
    update: Rows<'a>,
    update_typed: TypedRows<'a>,
    removed: (Vec<i16>, Vec<&'a [u8]>),
    placed: (Vec<i16>, Vec<Vec<u8>>, Vec<&'a [u8]>),
    displaced: (Vec<i16>, Vec<Vec<u8>>),
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
            insert_typed: TypedRows::default(),
            update: Rows::default(),
            update_typed: TypedRows::default(),
            removed: Default::default(),
            placed: Default::default(),
            displaced: Default::default(),
            log: LogRows {
                batch,
                revisions: log.iter().map(|entry| entry.revision as i64).collect(),
                events: log.iter().map(|entry| entry.events.as_ref()).collect(),
                writes: log.iter().map(writes).collect(),
            },
        };
        for (kind, key, entry) in overlay.entries() {
            let former = match &entry.base {
                Base::Known(Some(former)) => Some(former.as_ref()),
                Base::Known(None) | Base::Unknown => None,
            };
            changes.record(kind, key, former, entry.state.as_deref(), facts);
        }
        changes
    }

    /// Adds what makes a record out of what it was before.
    fn record(&mut self, kind: Kind, key: &'a [u8], former: Option<&Cell>, now: Option<&'a Cell>, facts: FactsOf) {
        match (former, now) {
            (None, None) => {}
            (Some(_), None) => {
                self.removed.0.push(number(kind));
                self.removed.1.push(key);
            }
            (former, Some(cell)) => match (former.is_some(), facts(kind, &cell.payload)) {
                (false, None) => self.insert.push(kind, key, cell),
                (false, Some(facts)) => self.insert_typed.push(kind, key, cell, facts),
                (true, None) => self.update.push(kind, key, cell),
                (true, Some(facts)) => self.update_typed.push(kind, key, cell, facts),
            },
        }
        fn places(cell: Option<&Cell>) -> &[Attribute] {
            cell.map_or(&[], |cell| &cell.attributes)
        }
        let (former, now) = (places(former), places(now));
        for left in former.iter().filter(|place| !now.contains(place)) {
            self.displaced.0.push(left.index as u8 as i16);
            self.displaced.1.push(position(left, key));
        }
        for entered in now.iter().filter(|place| !former.contains(place)) {
            self.placed.0.push(entered.index as u8 as i16);
            self.placed.1.push(position(entered, key));
            self.placed.2.push(key);
        }
    }

    /// The first revision that the batch logs.
    pub(super) fn first(&self) -> Revision {
        self.log.revisions.first().map_or(0, |revision| *revision as Revision)
    }
}
