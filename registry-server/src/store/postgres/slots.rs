//! Where a record's places are: those in the first slots in columns of its row, unless there may be several of them in one slot;
//! all others in a table of their own, and in a column of the row as well, for when the record is replaced.

use crate::stored::StoredRecord;
use prost::Message as _;

use super::error::Failure;
use crate::store::{Index, Kind, Layout, Place, logged};

/// How many slots have columns, from 1 on.
pub(super) const SLOTS: u8 = 6;

/// The column of a slot.
pub(super) fn column(slot: u8) -> String {
    format!("slot_{slot}")
}

/// Where a column lists its record: as the indexes of the table have it.
pub(super) fn position(slot: u8) -> String {
    format!("({} || key)", column(slot))
}

/// The columns of all slots.
pub(super) fn columns() -> String {
    (1..=SLOTS).map(column).collect::<Vec<_>>().join(", ")
}

/// Which of the columns has the places in a slot; `None` if they are in the table.
pub(super) fn at(layout: &Layout, kind: Kind, slot: u8) -> Option<usize> {
    let single = layout.slot(Index { kind, slot }).is_some_and(|slot| !slot.several);
    (single && (1..=SLOTS).contains(&slot)).then(|| usize::from(slot - 1))
}

/// The places of a record that are in the table.
pub(super) fn in_table<'a>(layout: &Layout, kind: Kind, places: &'a [Place]) -> Vec<&'a Place> {
    places.iter().filter(|place| at(layout, kind, place.slot).is_none()).collect()
}

/// Some places as the row keeps them.
pub(super) fn encode(places: &[&Place]) -> Option<Vec<u8>> {
    let places = logged::store_places(places.iter().copied());
    (!places.is_empty()).then(|| StoredRecord { places, ..Default::default() }.encode_to_vec())
}

/// The places that a row keeps.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Place>, Failure> {
    let stored = StoredRecord::decode(bytes).map_err(Failure::damaged)?;
    logged::read_places(&stored.places).map_err(Failure::damaged)
}
