//! Writing a batch: a few statements, each with arrays of all rows, sent at once.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::cache::Cell;
use super::connect::Prepare;
use super::error::Failure;
use super::facts;
use super::log::LogRows;
use super::overlay::{Base, Entry, Overlay};
use super::read::{SqlParameters, number};
use super::slots::{self, SLOTS};
use crate::store::{Kind, Layout, Place};

/// The prepared statements.
pub(super) struct Flush {
    insert: Statement,
    /// For those that are a kind, a key, a revision and a payload, and nothing else: half the work of a whole row.
    insert_bare: Statement,
    update: Statement,
    remove: Statement,
    insert_places: Statement,
    remove_places: Statement,
    log: Statement,
    /// Tells the other servers of the head.
    notify: Statement,
}

/// How many columns a bare record has.
const BARE: usize = 4;

impl Prepare for Flush {
    async fn prepare(client: &Client) -> Result<Self, Failure> {
        let prepare = async |sql: &str| client.prepare(sql).await;
        let slots = slots::columns();
        let columns = format!("kind, key, revision, payload, {slots}, places, facts");
        let types = [&["smallint", "bytea", "bigint", "bytea"][..], &["bytea"; SLOTS as usize + 1], &["text"]];
        let types = types.concat();
        let arrays: Vec<_> = (1..).zip(types).map(|(at, r#type): (usize, _)| format!("${at}::{type}[]")).collect();
        // What was taken for new and is there already has another revision, and is run into. Each is looked for by itself: a plan that
        // was made when the table was empty would read all of it.
        let revision = "coalesce(there.revision, new.revision)";
        let there = "LEFT JOIN LATERAL (
                SELECT revision FROM record
                WHERE new.unsure AND kind = new.kind AND key = new.key ORDER BY revision DESC LIMIT 1
            ) AS there ON true";
        let insert = format!(
            "INSERT INTO record ({columns})
             SELECT kind, key, {revision}, payload, {slots}, places, facts
             FROM unnest({}, ${}::boolean[]) AS new ({columns}, unsure) {there}",
            arrays.join(", "),
            arrays.len() + 1
        );
        let bare = format!(
            "INSERT INTO record (kind, key, revision, payload)
             SELECT kind, key, {revision}, payload
             FROM unnest({}, ${}::boolean[]) AS new (kind, key, revision, payload, unsure) {there}",
            arrays[..BARE].join(", "),
            BARE + 1
        );
        let set: Vec<_> = (1..=SLOTS).map(slots::column).map(|column| format!("{column} = new.{column}")).collect();
        let base = arrays.len() + 1;
        let update = all_of(
            &format!(
                "UPDATE record
                 SET revision = new.revision, payload = new.payload, {}, places = new.places, facts = new.facts
                 FROM unnest({}, ${base}::bigint[]) AS new ({columns}, base)
                 WHERE record.kind = new.kind AND record.key = new.key AND record.revision = new.base",
                set.join(", "),
                arrays.join(", ")
            ),
            base + 1,
        );
        let remove = all_of(
            "DELETE FROM record USING unnest($1::smallint[], $2::bytea[], $3::bigint[]) AS old (kind, key, revision)
             WHERE record.kind = old.kind AND record.key = old.key AND record.revision = old.revision",
            4,
        );
        let insert_places = "INSERT INTO place (kind, slot, position, key)
            SELECT * FROM unnest($1::smallint[], $2::smallint[], $3::bytea[], $4::bytea[])";
        let remove_places = all_of(
            "DELETE FROM place
             USING unnest($1::smallint[], $2::smallint[], $3::bytea[], $4::bytea[]) AS old (kind, slot, position, key)
             WHERE place.kind = old.kind AND place.slot = old.slot AND place.position = old.position
               AND place.key = old.key",
            5,
        );
        let log = "INSERT INTO log (batch, first_revision, last_revision, size, entries)
            SELECT $1, first, last, size, entries
            FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::bytea[]) AS new (first, last, size, entries)";
        let (insert, insert_bare, update, remove, insert_places, remove_places, log, notify) = futures::try_join!(
            prepare(&insert),
            prepare(&bare),
            prepare(&update),
            prepare(&remove),
            prepare(insert_places),
            prepare(&remove_places),
            prepare(log),
            prepare("SELECT pg_notify($1, $2)"),
        )?;
        Ok(Self { insert, insert_bare, update, remove, insert_places, remove_places, log, notify })
    }
}

impl Flush {
    /// Sends everything, with a notification over `channel`; the answers come together.
    pub(super) async fn run(&self, client: &Client, channel: &str, changes: &Changes<'_>) -> Result<(), Failure> {
        let Changes { insert, insert_bare, update, removed, added_places, removed_places, log } = changes;
        let head = log.last().to_string();
        let updated = update.len() as i64;
        let mut update_columns = update.columns();
        update_columns.extend([&update.bases as &(dyn ToSql + Sync), &updated]);
        let [mut insert_columns, mut bare_columns] = [insert.columns(), insert_bare.columns()[..BARE].to_vec()];
        insert_columns.push(&insert.unsure);
        bare_columns.push(&insert_bare.unsure);
        let gone = removed.keys.len() as i64;
        let places_gone = removed_places.keys.len() as i64;
        let mut removed_columns = removed_places.columns();
        removed_columns.push(&places_gone);
        futures::try_join!(
            execute(client, &self.update, updated, update_columns),
            execute(client, &self.remove, gone, vec![&removed.kinds, &removed.keys, &removed.revisions, &gone]),
            execute(client, &self.insert, insert.len() as i64, insert_columns),
            execute(client, &self.insert_bare, insert_bare.len() as i64, bare_columns),
            // First those that are no longer there: another record may be listed there now.
            execute(client, &self.remove_places, places_gone, removed_columns),
            execute(client, &self.insert_places, added_places.keys.len() as i64, added_places.columns()),
            execute(client, &self.log, 1, log.columns()),
            execute(client, &self.notify, 1, vec![&channel, &head]),
        )?;
        Ok(())
    }
}

/// A statement that changes as many rows as its parameter of this number says, or fails: the commit is on its way by then.
fn all_of(change: &str, parameter: usize) -> String {
    format!("WITH changed AS ({change} RETURNING 1) SELECT 1 / (count(*) = ${parameter}::bigint)::integer FROM changed")
}

/// Runs a statement on so many rows; without any it is left out.
async fn execute(
    client: &Client,
    statement: &Statement,
    rows: i64,
    parameters: SqlParameters<'_>,
) -> Result<(), Failure> {
    if rows > 0 {
        client.execute(statement, &parameters).await?;
    }
    Ok(())
}

/// Rows of the table `record`, column by column.
#[derive(Default)]
pub(super) struct Rows<'a> {
    kinds: Vec<i16>,
    keys: Vec<&'a [u8]>,
    revisions: Vec<i64>,
    /// The revisions of the rows that they replace.
    bases: Vec<i64>,
    /// Whether a row that is inserted may be there already.
    unsure: Vec<bool>,
    payloads: Vec<&'a [u8]>,
    slots: [Vec<Option<&'a [u8]>>; SLOTS as usize],
    /// The places in the table.
    places: Vec<Option<Vec<u8>>>,
    /// As JSON.
    facts: Vec<Option<String>>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, layout: &Layout, kind: Kind, key: &'a [u8], cell: &'a Cell, facts: Option<String>) {
        self.kinds.push(number(kind));
        self.keys.push(key);
        self.revisions.push(cell.revision as i64);
        self.payloads.push(&cell.payload);
        for (column, slot) in self.slots.iter_mut().zip(1..) {
            let listed = cell.places.iter().find(|place| place.slot == slot);
            let listed = listed.filter(|_| slots::at(layout, kind, slot).is_some());
            column.push(listed.map(|place| place.value.as_slice()));
        }
        self.places.push(slots::encode(&slots::in_table(layout, kind, &cell.places)));
        self.facts.push(facts);
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn columns(&self) -> SqlParameters<'_> {
        let content: [&(dyn ToSql + Sync); BARE] = [&self.kinds, &self.keys, &self.revisions, &self.payloads];
        let slots = self.slots.iter().map(|column| column as &(dyn ToSql + Sync));
        let rest: [&(dyn ToSql + Sync); 2] = [&self.places, &self.facts];
        content.into_iter().chain(slots).chain(rest).collect()
    }
}

/// Rows of the table `record` that are to go.
#[derive(Default)]
struct Removed<'a> {
    kinds: Vec<i16>,
    keys: Vec<&'a [u8]>,
    revisions: Vec<i64>,
}

/// Rows of the table `place`.
#[derive(Default)]
struct PlaceRows<'a> {
    kinds: Vec<i16>,
    slots: Vec<i16>,
    positions: Vec<Vec<u8>>,
    keys: Vec<&'a [u8]>,
}

impl<'a> PlaceRows<'a> {
    /// The places of a record that are not among `others`.
    fn push_all(&mut self, kind: Kind, key: &'a [u8], places: &[&Place], others: &[&Place]) {
        for place in places.iter().filter(|place| !others.contains(place)) {
            self.kinds.push(number(kind));
            self.slots.push(place.slot.into());
            self.positions.push(place.position(key));
            self.keys.push(key);
        }
    }

    fn columns(&self) -> SqlParameters<'_> {
        vec![&self.kinds, &self.slots, &self.positions, &self.keys]
    }
}

/// All that a batch changes, as the statements take it.
pub(super) struct Changes<'a> {
    insert: Rows<'a>,
    insert_bare: Rows<'a>,
    update: Rows<'a>,
    removed: Removed<'a>,
    added_places: PlaceRows<'a>,
    removed_places: PlaceRows<'a>,
    log: LogRows,
}

impl<'a> Changes<'a> {
    pub(super) fn new(log: LogRows, overlay: &'a Overlay, layout: &Layout) -> Self {
        let mut changes = Self {
            insert: Rows::default(),
            insert_bare: Rows::default(),
            update: Rows::default(),
            removed: Removed::default(),
            added_places: PlaceRows::default(),
            removed_places: PlaceRows::default(),
            log,
        };
        for (kind, key, entry) in overlay.entries() {
            changes.add(layout, kind, key, entry);
        }
        changes
    }

    fn add(&mut self, layout: &Layout, kind: Kind, key: &'a [u8], Entry { state, base }: &'a Entry) {
        let before = match base {
            Base::Known(Some(cell)) => Some(cell),
            Base::Known(None) | Base::New | Base::Unknown => None,
        };
        match (before, state) {
            (None, None) => {}
            (None, Some(cell)) => {
                let facts = facts::json(layout, kind, &cell.payload);
                let bare = facts.is_none() && cell.places.is_empty();
                let rows = if bare { &mut self.insert_bare } else { &mut self.insert };
                rows.unsure.push(matches!(base, Base::Unknown));
                rows.push(layout, kind, key, cell, facts);
            }
            (Some(before), Some(cell)) => {
                self.update.bases.push(before.revision as i64);
                self.update.push(layout, kind, key, cell, facts::json(layout, kind, &cell.payload));
            }
            (Some(before), None) => {
                self.removed.kinds.push(number(kind));
                self.removed.keys.push(key);
                self.removed.revisions.push(before.revision as i64);
            }
        }
        let in_table = |cell: Option<&'a Arc<Cell>>| {
            cell.map_or_else(Vec::new, |cell| slots::in_table(layout, kind, &cell.places))
        };
        let (before, after) = (in_table(before), in_table(state.as_ref()));
        self.removed_places.push_all(kind, key, &before, &after);
        self.added_places.push_all(kind, key, &after, &before);
    }
}
