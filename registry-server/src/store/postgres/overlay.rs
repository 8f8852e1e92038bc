//! What a batch has staged above the committed state.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::cache::{Cell, State};
use crate::store::{Hit, Index, Kind, Place, Range, Record, Source};

/// What is committed under a key that a batch writes.
#[derive(Debug, Clone)]
pub(super) enum Base {
    Known(State),
    /// Nothing, as whoever writes it knows.
    New,
    /// Not asked for, since it is most likely a new key. If it is not, the database says so when the record is inserted.
    Unknown,
}

/// A staged record.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) base: Base,
}

/// The records that a batch writes, and where the indexes list them.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    records: HashMap<Kind, BTreeMap<Vec<u8>, Entry>>,
    /// Position to key.
    places: HashMap<Index, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Overlay {
    pub(super) fn get(&self, kind: Kind, key: &[u8]) -> Option<&Entry> {
        self.records.get(&kind)?.get(key)
    }

    /// Puts an entry, or with `None` nothing, in the place of another one, which it answers.
    pub(super) fn replace(&mut self, kind: Kind, key: &[u8], entry: Option<Entry>) -> Option<Entry> {
        let listed = |entry: &Option<Entry>| {
            let cell = entry.as_ref().and_then(|entry| entry.state.as_deref());
            let places = cell.map_or(&[][..], |cell| &cell.places);
            let position = |place: &Place| (Index { kind, slot: place.slot }, place.position(key));
            places.iter().map(position).collect::<Vec<_>>()
        };
        let places = listed(&entry);
        let records = self.records.entry(kind).or_default();
        let former = match entry {
            Some(entry) => records.insert(key.to_vec(), entry),
            None => records.remove(key),
        };
        for (index, position) in listed(&former) {
            self.places.entry(index).or_default().remove(&position);
        }
        for (index, position) in places {
            self.places.entry(index).or_default().insert(position, key.to_vec());
        }
        former
    }

    /// All entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Kind, &Vec<u8>, &Entry)> {
        let mut kinds: Vec<_> = self.records.iter().collect();
        kinds.sort_unstable_by_key(|(kind, _)| **kind);
        kinds.into_iter().flat_map(|(kind, records)| records.iter().map(|(key, entry)| (*kind, key, entry)))
    }

    /// The records that were written without knowing what was there.
    pub(super) fn unknown(&self) -> Vec<(Kind, Vec<u8>)> {
        let unknown = self.entries().filter(|(_, _, entry)| matches!(entry.base, Base::Unknown));
        unknown.map(|(kind, key, _)| (kind, key.clone())).collect()
    }

    /// What it makes of each record that was read, and so may be again. Most new ones never are.
    pub(super) fn into_known(self) -> impl Iterator<Item = (Kind, Vec<u8>, State)> {
        self.records.into_iter().flat_map(|(kind, records)| {
            let known = records.into_iter().filter(|(_, entry)| matches!(entry.base, Base::Known(_)));
            known.map(move |(key, entry)| (kind, key, entry.state))
        })
    }

    /// The staged records in a range, in its order.
    pub(super) fn hits(&self, source: Source, range: &Range) -> Vec<Hit> {
        match source {
            Source::Kind(kind) => {
                let Some(records) = self.records.get(&kind) else { return Vec::new() };
                let hit = |(key, entry): (&Vec<u8>, &Entry)| Some(hit(key.clone(), key, entry.state.as_ref()?));
                within(records, range, hit)
            }
            Source::Index(index) => {
                let Some(places) = self.places.get(&index) else { return Vec::new() };
                let hit = |(position, key): (&Vec<u8>, &Vec<u8>)| {
                    Some(hit(position.clone(), key, self.get(index.kind, key)?.state.as_ref()?))
                };
                within(places, range, hit)
            }
        }
    }
}

fn hit(position: Vec<u8>, key: &[u8], cell: &Arc<Cell>) -> Hit {
    let record = Record { key: key.to_vec(), payload: cell.payload.clone(), revision: cell.revision };
    Hit { position, record }
}

/// The hits among the entries in a range.
fn within<V>(entries: &BTreeMap<Vec<u8>, V>, range: &Range, hit: impl Fn((&Vec<u8>, &V)) -> Option<Hit>) -> Vec<Hit> {
    let (mut from, mut to) = (Bound::Included(range.prefix.as_slice()), Bound::Unbounded);
    match &range.after {
        Some(after) if range.reverse && *after <= range.prefix => return Vec::new(),
        Some(after) if range.reverse => to = Bound::Excluded(after.as_slice()),
        Some(after) if *after >= range.prefix => from = Bound::Excluded(after),
        Some(_) | None => {}
    }
    let prefixed = entries.range::<[u8], _>((from, to)).take_while(|(at, _)| at.starts_with(&range.prefix));
    if !range.reverse {
        return prefixed.filter_map(hit).take(range.limit).collect();
    }
    let mut hits: Vec<_> = prefixed.filter_map(hit).collect();
    hits.reverse();
    hits.truncate(range.limit);
    hits
}
