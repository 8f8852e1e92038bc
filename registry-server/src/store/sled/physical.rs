//! How records and index entries lie in an ordered map of bytes, and how they are read from it.
//!
//! | key | value |
//! |---|---|
//! | `R` kind key | a record: a format byte and a `StoredRecord` |
//! | `I` kind slot value key | an index entry: the record's key |
//! | `P` revision write part | a part of a record that is too long for one value |

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::stored::{StoredContent, StoredRecord};
use bytes::Bytes;
use prost::Message;

use crate::store::{Hit, Index, Kind, Place, Put, Range, Record, Revision, SCAN_BYTES, Source, StoreError, logged};

/// Staged or former values of some keys; `None` is a key that is not there.
pub(super) type Overrides = BTreeMap<Vec<u8>, Option<Bytes>>;

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

fn part_key(revision: Revision, write: u32, part: u32) -> Vec<u8> {
    [b"P", revision.to_be_bytes().as_slice(), &write.to_be_bytes(), &part.to_be_bytes()].concat()
}

fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
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
        entries.push((index_key(put.kind, place, &put.key), Bytes::copy_from_slice(&put.key)));
    }
    entries
}

/// What goes with a stored record when it is replaced.
pub(super) struct Stored {
    kind: Kind,
    key: Vec<u8>,
    places: Vec<Place>,
    parts: Vec<Vec<u8>>,
}

impl Stored {
    /// The physical entries, besides the record's own, that belong to it.
    pub(super) fn companions(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let entries = self.places.iter().map(|place| index_key(self.kind, place, &self.key));
        entries.chain(self.parts.iter().cloned())
    }
}

/// An encoded record, and the physical keys of its parts if it is in parts.
type Body = (Bytes, Vec<Vec<u8>>);

/// A sled tree with some of its keys overridden: the committed state, a staged one, or a former one.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    tree: &'a sled::Tree,
    /// The first one that has a key wins.
    layers: [Option<&'a Overrides>; 2],
}

impl<'a> View<'a> {
    pub(super) fn of(tree: &'a sled::Tree) -> Self {
        Self { tree, layers: [None, None] }
    }

    /// The tree below these overrides.
    pub(super) fn below(self, overrides: &'a Overrides) -> Self {
        Self { tree: self.tree, layers: [Some(overrides), self.layers[0]] }
    }

    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        for overrides in self.layers.into_iter().flatten() {
            if let Some(overridden) = overrides.get(key) {
                return Ok(overridden.clone());
            }
        }
        Ok(self.tree.get(key).map_err(super::disk::store_error)?.map(Bytes::from_owner))
    }

    pub(super) fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        self.body(&record_key(kind, key))?.map(|(body, _)| record(key, body)).transpose()
    }

    /// What goes with a record.
    pub(super) fn stored(&self, kind: Kind, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        let Some((body, parts)) = self.body(&record_key(kind, key))? else { return Ok(None) };
        let places = logged::read_places(&StoredRecord::decode(body).map_err(damaged)?.places)?;
        Ok(Some(Stored { kind, key: key.to_vec(), places, parts }))
    }

    /// The encoded record under a physical key, and the keys of its parts.
    fn body(&self, physical: &[u8]) -> Result<Option<Body>, StoreError> {
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
        for entry in self.entries(&head, range) {
            let (physical, value) = entry?;
            let position = physical[head.len()..].to_vec();
            let found = match source {
                Source::Kind(_) => match self.join(value)? {
                    Some((body, _)) => Some(record(&position, body)?),
                    None => self.get(kind, &position)?,
                },
                Source::Index(_) => self.get(kind, &value)?,
            };
            // Gone between the two reads: then it is not there.
            if let Some(record) = found {
                bytes += record.payload.len();
                hits.push(Hit { position, record });
            }
            if hits.len() >= range.limit || bytes >= SCAN_BYTES {
                break;
            }
        }
        Ok(hits)
    }

    /// The physical entries of a range in order, those of the tree merged with the overrides.
    fn entries(&self, head: &[u8], range: &Range) -> Entries<'a> {
        let prefix = [head, &range.prefix].concat();
        let (mut from, mut to) = (Bound::Included(prefix.clone()), prefix_end(prefix));
        if let Some(after) = &range.after {
            let after = Bound::Excluded([head, after].concat());
            *(if range.reverse { &mut to } else { &mut from }) = after;
        }
        if let (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) = (&from, &to)
            && a >= b
        {
            return Box::new(std::iter::empty());
        }
        let tree = self.tree.range::<Vec<u8>, _>((from.clone(), to.clone())).map(|entry| {
            let (key, value) = entry.map_err(super::disk::store_error)?;
            Ok((key.to_vec(), Bytes::from_owner(value)))
        });
        let mut entries: Entries<'a> = if range.reverse { Box::new(tree.rev()) } else { Box::new(tree) };
        // The lowest layer first: each goes over what is below it.
        for overrides in self.layers.into_iter().rev().flatten() {
            let over = overrides.range((from.clone(), to.clone())).map(|(key, value)| (key.clone(), value.clone()));
            entries = if range.reverse {
                Box::new(Merged { below: entries.peekable(), over: over.rev().peekable(), reverse: true })
            } else {
                Box::new(Merged { below: entries.peekable(), over: over.peekable(), reverse: false })
            };
        }
        entries
    }
}

/// Physical entries in order.
type Entries<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Bytes), StoreError>> + 'a>;

/// A record as readers want it: without its places, which only writing it again needs.
fn record(key: &[u8], body: Bytes) -> Result<Record, StoreError> {
    let StoredContent { revision, payload } = StoredContent::decode(body).map_err(damaged)?;
    Ok(Record { key: key.to_vec(), payload, revision })
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

impl<O: Iterator<Item = (Vec<u8>, Option<Bytes>)>> Iterator for Merged<'_, O> {
    type Item = Result<(Vec<u8>, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.below.peek(), self.over.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok((below, _))), Some((over, _))) if self.reverse => over.cmp(below),
                (Some(Ok((below, _))), Some((over, _))) => below.cmp(over),
            };
            if order == Ordering::Less {
                return self.below.next();
            }
            if order == Ordering::Equal {
                self.below.next();
            }
            if let (key, Some(value)) = self.over.next()? {
                return Some(Ok((key, value)));
            }
        }
    }
}
