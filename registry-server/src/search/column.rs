//! Values by record: one column for each path. Ordered by record, in pieces, each with the bounds of its values, so that a search passes
//! over pieces that have none of what it wants.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::RangeInclusive;

use roaring::RoaringBitmap;

/// Records are numbered in the order in which they were first seen.
pub(super) type Serial = u32;

/// How many records a piece is for.
const PIECE_BITS: u32 = 12;

/// Values of records, of which not all need to have one.
#[derive(Debug)]
pub(super) struct Column<V> {
    pieces: Vec<Option<Box<Piece<V>>>>,
    count: usize,
}

#[derive(Debug)]
struct Piece<V> {
    /// The lower bits of the records' serials, in order.
    at: Vec<u16>,
    values: Vec<V>,
    /// No value is outside of these.
    least: V,
    most: V,
}

impl<V> Default for Column<V> {
    fn default() -> Self {
        Self { pieces: Vec::new(), count: 0 }
    }
}

fn split(serial: Serial) -> (usize, u16) {
    ((serial >> PIECE_BITS) as usize, (serial & ((1 << PIECE_BITS) - 1)) as u16)
}

fn first_of(piece: usize) -> Serial {
    (piece as Serial) << PIECE_BITS
}

impl<V: Copy + Ord> Column<V> {
    /// How many records have a value.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn set(&mut self, serial: Serial, value: V) -> Option<V> {
        let (index, at) = split(serial);
        if self.pieces.len() <= index {
            self.pieces.resize_with(index + 1, || None);
        }
        let piece = self.pieces[index]
            .get_or_insert_with(|| Box::new(Piece { at: Vec::new(), values: Vec::new(), least: value, most: value }));
        piece.least = piece.least.min(value);
        piece.most = piece.most.max(value);
        match piece.at.binary_search(&at) {
            Ok(found) => Some(std::mem::replace(&mut piece.values[found], value)),
            Err(place) => {
                piece.at.insert(place, at);
                piece.values.insert(place, value);
                self.count += 1;
                None
            }
        }
    }

    pub(super) fn remove(&mut self, serial: Serial) -> Option<V> {
        let (index, at) = split(serial);
        let piece = self.pieces.get_mut(index)?.as_mut()?;
        let found = piece.at.binary_search(&at).ok()?;
        piece.at.remove(found);
        self.count -= 1;
        let value = piece.values.remove(found);
        if piece.at.is_empty() {
            self.pieces[index] = None;
        }
        Some(value)
    }

    pub(super) fn get(&self, serial: Serial) -> Option<V> {
        let (index, at) = split(serial);
        let piece = self.pieces.get(index)?.as_ref()?;
        // Most often all records have a value.
        let found = match piece.at.get(at as usize) {
            Some(found) if *found == at => at as usize,
            _ => piece.at.binary_search(&at).ok()?,
        };
        Some(piece.values[found])
    }

    /// The records whose values are in a range.
    pub(super) fn within(&self, range: &RangeInclusive<V>) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            let Some(piece) = piece else { continue };
            if piece.most < *range.start() || piece.least > *range.end() {
                continue;
            }
            let first = first_of(index);
            let hits = piece.at.iter().zip(&piece.values).filter(|(_, value)| range.contains(value));
            // In order, and behind those of the pieces before: never refused.
            let _ = found.append(hits.map(|(at, _)| first + Serial::from(*at)));
        }
        found
    }

    /// The bounds of the values of the piece that a record is in, and the first record of the next piece.
    pub(super) fn bounds(&self, serial: Serial) -> (Option<(V, V)>, Serial) {
        let (index, _) = split(serial);
        let piece = self.pieces.get(index).and_then(Option::as_ref);
        let next = (index as u64 + 1) << PIECE_BITS;
        (piece.map(|piece| (piece.least, piece.most)), Serial::try_from(next).unwrap_or(Serial::MAX))
    }

    /// How often records have which value.
    pub(super) fn counts(&self, records: &RoaringBitmap) -> HashMap<V, u64>
    where
        V: Hash,
    {
        let mut counts = HashMap::new();
        for value in records.iter().filter_map(|serial| self.get(serial)) {
            *counts.entry(value).or_default() += 1;
        }
        counts
    }

    /// The memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of_piece = |piece: &Piece<V>| {
            size_of::<Piece<V>>() + piece.at.capacity() * size_of::<u16>() + piece.values.capacity() * size_of::<V>()
        };
        self.pieces.capacity() * size_of::<usize>()
            + self.pieces.iter().flatten().map(|piece| of_piece(piece)).sum::<usize>()
    }
}
