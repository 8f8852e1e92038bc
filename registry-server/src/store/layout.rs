//! What a store is told about the kinds of records that it keeps.

use std::time::SystemTime;

use bytes::Bytes;

use super::{Index, Kind, Put, Source, StoreError};

/// The kinds of a store. Records of other kinds are refused.
///
/// Numbers are on the disk, and so is what a slot means: neither ever changes, and none is used again.
#[derive(Debug)]
pub struct Layout {
    /// All kinds, each with a number of its own.
    pub kinds: &'static [KindLayout],
    /// A record that every commit writes, if there is one: a state whose log has lost its end is known by it.
    pub always_written: Option<(Kind, &'static [u8])>,
}

/// What a store knows of a kind.
#[derive(Debug)]
pub struct KindLayout {
    /// Its number.
    pub kind: Kind,
    /// What people call its records: a plural, and an SQL identifier.
    pub name: &'static str,
    /// The slots of its indexes.
    pub slots: &'static [Slot],
    /// What people who look into a database see of its records beside their bytes.
    pub view: Option<FactView>,
}

/// One of the indexes of a kind.
#[derive(Debug)]
pub struct Slot {
    /// Its number.
    pub number: u8,
    /// Which records it lists, and in what order.
    pub about: &'static str,
    /// Whether a record may have more than one place in it. PostgreSQL keeps these places in a table of their own.
    pub several: bool,
}

/// The facts of the records of a kind, as a table for people.
#[derive(Debug)]
pub struct FactView {
    /// What it shows.
    pub about: &'static str,
    /// Its columns.
    pub facts: &'static [Fact],
    /// The facts of the record with this payload.
    pub facts_of: fn(&Bytes) -> Facts,
}

/// A column of a [`FactView`].
#[derive(Debug)]
pub struct Fact {
    /// Its name, an SQL identifier.
    pub name: &'static str,
    /// The type of its values.
    pub r#type: FactType,
    /// What it means.
    pub about: &'static str,
}

/// The type of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactType {
    /// [`FactValue::Text`].
    Text,
    /// [`FactValue::Time`].
    Time,
}

/// The value of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactValue {
    /// Some text.
    Text(String),
    /// A point in time.
    Time(SystemTime),
}

/// The facts of a record by name; those it does not have are left out.
pub type Facts = Vec<(&'static str, FactValue)>;

impl Layout {
    /// What is known of a kind.
    pub fn kind(&self, kind: Kind) -> Option<&'static KindLayout> {
        self.kinds.iter().find(|known| known.kind == kind)
    }

    /// What is known of an index.
    pub fn slot(&self, index: Index) -> Option<&'static Slot> {
        self.kind(index.kind)?.slots.iter().find(|slot| slot.number == index.slot)
    }

    /// Everything that can be scanned: all kinds, then all indexes.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source> {
        let kinds = self.kinds.iter().map(|known| Source::Kind(known.kind));
        let indexes = self.kinds.iter().flat_map(|known| {
            known.slots.iter().map(|slot| Source::Index(Index { kind: known.kind, slot: slot.number }))
        });
        kinds.chain(indexes)
    }

    /// The name of a source, for people.
    pub(crate) fn name_of(&self, source: Source) -> String {
        let (Source::Kind(kind) | Source::Index(Index { kind, .. })) = source;
        let name = self.kind(kind).map_or("records", |known| known.name);
        match source {
            Source::Kind(_) => name.to_owned(),
            Source::Index(index) => format!("{name} ({})", self.slot(index).map_or("unknown", |slot| slot.about)),
        }
    }

    /// A write as it can be kept: with each of its places once. `Damaged` if it does not fit the layout.
    pub(super) fn checked(&self, kind: Kind, put: Option<Put>) -> Result<Option<Put>, StoreError> {
        let wrong = |what: String| Err(StoreError::Damaged(what));
        let Some(known) = self.kind(kind) else { return wrong(format!("a record of the unknown kind {}", kind.0)) };
        let Some(mut put) = put else { return Ok(None) };
        put.places.sort_unstable();
        put.places.dedup();
        for (at, place) in put.places.iter().enumerate() {
            let again = at > 0 && put.places[at - 1].slot == place.slot;
            match known.slots.iter().find(|slot| slot.number == place.slot) {
                None => return wrong(format!("{} have no slot {}", known.name, place.slot)),
                Some(slot) if again && !slot.several => {
                    return wrong(format!("one of the {} has several places in slot {}", known.name, place.slot));
                }
                Some(_) => {}
            }
        }
        Ok(Some(put))
    }
}
