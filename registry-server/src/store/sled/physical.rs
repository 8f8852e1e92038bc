//! How records and index entries lie in an ordered map of bytes, and how they are read from it.
//!
//! | key | value |
//! |---|---|
//! | `R` kind key | a record: a format byte and a `StoredRecord` |
//! | `I` kind slot value key | an index entry: the length of the value, without its leading zero bytes |
//! | `P` revision write part | a part of a record that is too long for one value |

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet, btree_map};
use std::ops::Bound;

use crate::stored::{StoredContent, StoredRecord};
use bytes::Bytes;
use prost::Message;

use super::disk::damaged;
use super::state::{Over, State};
use crate::store::{Hit, Index, Kind, Place, Put, Range, Record, Revision, SCAN_BYTES, Source, StoreError, logged};

/// Staged or former values of some keys; `None` is a key that is not there.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides {
    values: BTreeMap<Bytes, Option<Bytes>>,
    /// Keys that got a value after they had been removed here.
    again: HashSet<Bytes>,
}

impl Overrides {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.values.get(key)
    }

    /// Sets a value, and returns what stood here in its place.
    pub(super) fn insert(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Option<Bytes>> {
        let is_there = value.is_some();
        let former = self.values.insert(key.clone(), value);
        if is_there && former == Some(None) {
            self.again.insert(key);
        }
        former
    }

    /// Says nothing of a key any more.
    pub(super) fn forget(&mut self, key: &[u8]) {
        self.values.remove(key);
    }

    pub(super) fn range(&self, bounds: &Bounds) -> btree_map::Range<'_, Bytes, Option<Bytes>> {
        self.values.range::<[u8], _>((bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice)))
    }

    pub(super) fn iter(&self) -> btree_map::Iter<'_, Bytes, Option<Bytes>> {
        self.values.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether a key got a value after it had been removed here: then it was there before, perhaps.
    pub(super) fn is_again(&self, key: &[u8]) -> bool {
        self.again.contains(key)
    }
}

/// A physical entry.
pub(super) type Entry = (Bytes, Bytes);

/// The longest value in sled, in bytes: 17 of them stay below a quarter of a segment (see [`super`]).
pub(super) const PART_BYTES: usize = 32 * 1024;

// 1 and 2 were the formats of schema 1.
const INLINE: u8 = 3;
const IN_PARTS: u8 = 4;

pub(super) fn record_key(kind: Kind, key: &[u8]) -> Vec<u8> {
    [b"R", [kind.0].as_slice(), key].concat()
}

fn index_key(kind: Kind, place: &Place, key: &[u8]) -> Vec<u8> {
    [b"I", [kind.0, place.slot].as_slice(), &place.value, key].concat()
}

/// Where the key of the record begins behind the slot: most often right there, and then it is nothing.
fn index_value(place: &Place) -> Bytes {
    let length = place.value.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    Bytes::copy_from_slice(&length[zeros..])
}

/// The key of the record that is listed at a position under such a value.
fn listed_key<'a>(position: &'a [u8], value: &[u8]) -> Result<&'a [u8], StoreError> {
    let length = value.iter().try_fold(0usize, |length, byte| Some(length.checked_mul(256)? + usize::from(*byte)));
    let key = length.and_then(|length| position.get(length..));
    key.ok_or_else(|| damaged("an index entry is shorter than it says"))
}

fn part_key(revision: Revision, write: u32, part: u32) -> Vec<u8> {
    [b"P", revision.to_be_bytes().as_slice(), &write.to_be_bytes(), &part.to_be_bytes()].concat()
}

/// Whether a key is that of a part of a record.
pub(super) fn is_part(key: &[u8]) -> bool {
    key.starts_with(b"P")
}

/// Whether a key is written once, before it is removed: an index entry's, or a part's.
pub(super) fn is_fixed(key: &[u8]) -> bool {
    is_part(key) || key.starts_with(b"I")
}

/// The physical entries that write a record: its own, and those of its parts and indexes. `write` tells apart the records
/// that one revision writes.
pub(super) fn entries_of(put: &Put, revision: Revision, write: u32) -> Vec<(Vec<u8>, Bytes)> {
    let stored = StoredRecord { revision, places: logged::store_places(&put.places), payload: put.payload.clone() };
    let mut value = Vec::with_capacity(stored.encoded_len() + 1);
    value.push(INLINE);
    // A Vec grows: encoding into it can't fail.
    let _ = stored.encode(&mut value);

    let mut entries = Vec::with_capacity(1 + put.places.len());
    let key = record_key(put.kind, &put.key);
    if value.len() <= PART_BYTES {
        entries.push((key, Bytes::from(value)));
    } else {
        let parts = Bytes::from(value).slice(1..);
        let mut count = 0u32;
        for start in (0..parts.len()).step_by(PART_BYTES) {
            let end = parts.len().min(start + PART_BYTES);
            entries.push((part_key(revision, write, count), parts.slice(start..end)));
            count += 1;
        }
        let mut head = vec![IN_PARTS];
        head.extend(revision.to_be_bytes());
        head.extend(write.to_be_bytes());
        head.extend(count.to_be_bytes());
        entries.push((key, Bytes::from(head)));
    }
    for place in &put.places {
        entries.push((index_key(put.kind, place, &put.key), index_value(place)));
    }
    entries
}

/// What goes with a stored record when it is replaced.
pub(super) struct Stored {
    kind: Kind,
    key: Vec<u8>,
    revision: Revision,
    places: Vec<Place>,
    parts: Vec<Vec<u8>>,
}

impl Stored {
    pub(super) fn read(kind: Kind, key: &[u8], (body, parts): Body) -> Result<Self, StoreError> {
        let stored = StoredRecord::decode(body).map_err(damaged)?;
        let places = logged::read_places(&stored.places)?;
        Ok(Self { kind, key: key.to_vec(), revision: stored.revision, places, parts })
    }

    /// The revision that wrote it.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The physical entries, besides the record's own, that belong to it.
    pub(super) fn companions(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let entries = self.places.iter().map(|place| index_key(self.kind, place, &self.key));
        entries.chain(self.parts.iter().cloned())
    }
}

/// An encoded record, and the physical keys of its parts if it is in parts.
pub(super) type Body = (Bytes, Vec<Vec<u8>>);

/// The state with some of its keys overridden: the committed one, a staged one, or a former one.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    state: &'a State,
    /// The first one that has a key wins.
    layers: [Option<&'a Overrides>; 2],
}

impl<'a> View<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        Self { state, layers: [None, None] }
    }

    /// The state below these overrides.
    pub(super) fn below(self, overrides: &'a Overrides) -> Self {
        Self { state: self.state, layers: [Some(overrides), self.layers[0]] }
    }

    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        for overrides in self.layers.into_iter().flatten() {
            if let Some(overridden) = overrides.get(key) {
                return Ok(overridden.clone());
            }
        }
        self.state.get(key)
    }

    pub(super) fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        self.body(&record_key(kind, key))?.map(|(body, _)| record(key, body)).transpose()
    }

    /// The encoded record under a physical key, and the keys of its parts.
    pub(super) fn body(&self, physical: &[u8]) -> Result<Option<Body>, StoreError> {
        let Some(mut value) = self.value(physical)? else { return Ok(None) };
        loop {
            if let Some(body) = self.join(value.clone())? {
                return Ok(Some(body));
            }
            // A part was gone: the record was replaced between the two reads. If not, the part is lost.
            match self.value(physical)? {
                Some(again) if again == value => {
                    return Err(damaged(format!("a part of the record {} is missing", physical.escape_ascii())));
                }
                Some(again) => value = again,
                None => return Ok(None),
            }
        }
    }

    /// The encoded record in a value, or in the parts that the value tells of; `None` if one of them is gone.
    fn join(&self, value: Bytes) -> Result<Option<Body>, StoreError> {
        match value.first() {
            Some(&INLINE) => Ok(Some((value.slice(1..), Vec::new()))),
            Some(&IN_PARTS) if value.len() == 17 => {
                let number = |range: std::ops::Range<usize>| {
                    value[range].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
                };
                let (revision, write, count) = (number(1..9), number(9..13), number(13..17));
                let parts: Vec<_> = (0..count).map(|part| part_key(revision, write as u32, part as u32)).collect();
                let mut body = Vec::with_capacity(parts.len() * PART_BYTES);
                for part in &parts {
                    let Some(bytes) = self.value(part)? else { return Ok(None) };
                    body.extend_from_slice(&bytes);
                }
                Ok(Some((Bytes::from(body), parts)))
            }
            format => Err(damaged(format!("a record has the unknown format {format:?}"))),
        }
    }

    pub(super) fn scan(&self, source: Source, range: &Range) -> Result<Vec<Hit>, StoreError> {
        let (head, kind) = match source {
            Source::Kind(kind) => (vec![b'R', kind.0], kind),
            Source::Index(Index { kind, slot }) => (vec![b'I', kind.0, slot], kind),
        };
        let mut hits = Vec::with_capacity(range.limit.min(64));
        let mut bytes = 0;
        let mut bounds = bounds(&head, range);
        while !is_empty(&bounds) && range.limit > 0 {
            let over = self.state.over(&bounds, range.reverse, range.limit);
            let until = over.until.clone();
            for entry in self.entries(&bounds, range.reverse, over) {
                let (physical, value) = entry?;
                if until.as_ref().is_some_and(|until| is_behind(&physical, until, range.reverse)) {
                    break;
                }
                let position = physical[head.len()..].to_vec();
                let found = match source {
                    Source::Kind(_) => match self.join(value)? {
                        Some((body, _)) => Some(record(&position, body)?),
                        None => self.get(kind, &position)?,
                    },
                    Source::Index(_) => self.get(kind, listed_key(&position, &value)?)?,
                };
                // Gone between the two reads: then it is not there.
                if let Some(record) = found {
                    bytes += record.payload.len();
                    hits.push(Hit { position, record });
                }
                if hits.len() >= range.limit || bytes >= SCAN_BYTES {
                    return Ok(hits);
                }
            }
            let Some(until) = until else { break };
            *(if range.reverse { &mut bounds.1 } else { &mut bounds.0 }) = Bound::Excluded(until.to_vec());
        }
        Ok(hits)
    }

    /// About so many physical entries of records, indexes and parts behind a key, in order, and the key behind which there may be more.
    pub(super) fn page(&self, after: &[u8], limit: usize) -> Result<(Vec<Entry>, Option<Bytes>), StoreError> {
        // Behind all of them. What else the tree has between them is of the tree, and not of the state.
        let bounds = (Bound::Excluded(after.to_vec()), Bound::Excluded(b"S".to_vec()));
        let over = self.state.over(&bounds, false, limit);
        let until = over.until.clone();
        let (mut page, mut bytes) = (Vec::new(), 0);
        for entry in self.entries(&bounds, false, over) {
            let (key, value) = entry?;
            if until.as_ref().is_some_and(|until| key > *until) {
                break;
            }
            if !matches!(key.first(), Some(b'I' | b'P' | b'R')) {
                continue;
            }
            let key = Bytes::from(key);
            bytes += key.len() + value.len();
            page.push((key.clone(), value));
            if page.len() >= limit || bytes >= SCAN_BYTES {
                return Ok((page, Some(key)));
            }
        }
        Ok((page, until))
    }

    /// The physical entries within bounds in order, those of the tree merged with what overrides it.
    fn entries(&self, bounds: &Bounds, reverse: bool, over: Over) -> Entries<'a> {
        let tree = self.state.entries(bounds, reverse);
        let mut entries: Entries<'a> =
            Box::new(tree.map(|entry| entry.map(|(key, value)| (key.to_vec(), Bytes::from_owner(value)))));
        // The lowest layer first: each goes over what is below it.
        for layer in over.layers.into_iter().rev().filter(|layer| !layer.is_empty()) {
            entries = Box::new(Merged { below: entries.peekable(), over: layer.into_iter().peekable(), reverse });
        }
        for overrides in self.layers.into_iter().rev().flatten() {
            let over = overrides.range(bounds).map(|(key, value)| (key.clone(), value.clone()));
            entries = if reverse {
                Box::new(Merged { below: entries.peekable(), over: over.rev().peekable(), reverse })
            } else {
                Box::new(Merged { below: entries.peekable(), over: over.peekable(), reverse })
            };
        }
        entries
    }
}

/// Physical entries in order.
type Entries<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Bytes), StoreError>> + 'a>;

/// A record as readers want it: without its places, which only writing it again needs.
pub(super) fn record(key: &[u8], body: Bytes) -> Result<Record, StoreError> {
    let StoredContent { revision, payload } = StoredContent::decode(body).map_err(damaged)?;
    Ok(Record { key: key.to_vec(), payload, revision })
}

/// Between which keys entries are.
pub(super) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The bounds of a range behind a head.
fn bounds(head: &[u8], range: &Range) -> Bounds {
    let prefix = [head, &range.prefix].concat();
    let (mut from, mut to) = (Bound::Included(prefix.clone()), prefix_end(prefix));
    if let Some(after) = &range.after {
        let after = Bound::Excluded([head, after].concat());
        *(if range.reverse { &mut to } else { &mut from }) = after;
    }
    (from, to)
}

/// Whether no key can be between them: of such a range a map panics.
fn is_empty((from, to): &Bounds) -> bool {
    match (from, to) {
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

/// Whether a key comes behind another one in the order of a scan.
fn is_behind(key: &[u8], other: &[u8], reverse: bool) -> bool {
    if reverse { key < other } else { key > other }
}

/// The end of the range of all keys with this prefix.
fn prefix_end(mut prefix: Vec<u8>) -> Bound<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Bound::Excluded(prefix);
        }
    }
    Bound::Unbounded
}

/// Two sorted sequences as one, in which `over` wins and takes away the keys that it has no value for.
struct Merged<'a, O: Iterator> {
    below: std::iter::Peekable<Entries<'a>>,
    over: std::iter::Peekable<O>,
    reverse: bool,
}

impl<O: Iterator<Item = (Bytes, Option<Bytes>)>> Iterator for Merged<'_, O> {
    type Item = Result<(Vec<u8>, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.below.peek(), self.over.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok((below, _))), Some((over, _))) if self.reverse => over[..].cmp(below),
                (Some(Ok((below, _))), Some((over, _))) => below[..].cmp(over),
            };
            if order == Ordering::Less {
                return self.below.next();
            }
            if order == Ordering::Equal {
                self.below.next();
            }
            if let (key, Some(value)) = self.over.next()? {
                return Some(Ok((key.to_vec(), value)));
            }
        }
    }
}
