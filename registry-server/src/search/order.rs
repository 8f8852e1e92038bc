//! The first records of a set in an order: by key, or by values.

use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::column::Serial;
use super::table::{Columns, Overflowed, Table};
use crate::rules::expression::Sorting;

/// In which order records are wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    /// By their keys.
    Keys { reverse: bool },
    /// By values, then by their keys. Those without a value come last.
    Values(Vec<Sorting>),
}

/// A record, and where it is in the order. Positions sort as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placed {
    pub(crate) position: Vec<u8>,
    pub(super) serial: Serial,
}

/// How a value is marked in a position. Texts come behind numbers where JSON has both.
const NUMBER: u8 = 0;
const TEXT: u8 = 1;
const MISSING: u8 = 2;

/// What orders the records before anything else, at a glance.
type Rank = (u8, u64);

struct Key<'a> {
    columns: Option<&'a Columns>,
    descending: bool,
}

impl Key<'_> {
    fn rank(&self, serial: Serial) -> Rank {
        let Some(columns) = self.columns else { return (MISSING, 0) };
        let (mark, value) = if let Some(number) = columns.numbers.get(serial) {
            (NUMBER, number)
        } else if let Some(text) = columns.texts.get(serial) {
            (TEXT, beginning(text.as_bytes()))
        } else if let Some((choice, _)) = columns.choices.iter().find(|(_, holders)| holders.contains(serial)) {
            (NUMBER, choice.cast_unsigned())
        } else {
            return (MISSING, 0);
        };
        (mark, if self.descending { !value } else { value })
    }

    fn write(&self, serial: Serial, position: &mut Vec<u8>) {
        let (mark, rank) = self.rank(serial);
        position.push(mark);
        match (mark, self.columns.and_then(|columns| columns.texts.get(serial))) {
            (TEXT, Some(text)) => {
                let begin = position.len();
                for byte in text.bytes() {
                    position.push(byte);
                    // So that what goes on sorts behind what ends.
                    if byte == 0 {
                        position.push(u8::MAX);
                    }
                }
                position.extend([0, 0]);
                if self.descending {
                    position[begin..].iter_mut().for_each(|byte| *byte = !*byte);
                }
            }
            (MISSING, _) => {}
            _ => position.extend(rank.to_be_bytes()),
        }
    }

    /// Whether the piece of the column that a record is in may have one that comes before the last one that is kept; and where the next
    /// piece begins.
    fn piece(&self, serial: Serial, last: Option<Rank>) -> (bool, Serial) {
        let Some(columns) = self.columns else { return (true, Serial::MAX) };
        let (bounds, next) = columns.numbers.bounds(serial);
        let (Some((NUMBER, last)), Some((least, most))) = (last, bounds) else { return (true, next) };
        let best = if self.descending { !most } else { least };
        (best <= last || !columns.choices.is_empty(), next)
    }
}

fn beginning(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(first.len());
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}

impl Table {
    /// The first records of a set behind a position. `None`: the values are not known.
    pub(super) fn first(
        &self,
        records: &RoaringBitmap,
        order: &Order,
        after: Option<&[u8]>,
        count: usize,
    ) -> Option<Vec<Placed>> {
        match order {
            Order::Keys { reverse } => Some(self.first_by_key(records, *reverse, after, count)),
            Order::Values(sortings) => self.first_by_value(records, sortings, after, count).ok(),
        }
    }

    fn first_by_key(&self, records: &RoaringBitmap, reverse: bool, after: Option<&[u8]>, count: usize) -> Vec<Placed> {
        let behind = |key: &[u8]| after.is_none_or(|after| if reverse { key < after } else { key > after });
        let found = records.iter().map(|serial| (self.key(serial), serial)).filter(|(key, _)| behind(key));
        let found = match reverse {
            false => {
                let mut first = BinaryHeap::with_capacity(count + 1);
                for one in found {
                    keep(&mut first, one, count);
                }
                first.into_sorted_vec()
            }
            true => {
                let mut first = BinaryHeap::with_capacity(count + 1);
                for one in found {
                    keep(&mut first, std::cmp::Reverse(one), count);
                }
                first.into_sorted_vec().into_iter().map(|one| one.0).collect()
            }
        };
        found.into_iter().map(|(key, serial)| Placed { position: key.to_vec(), serial }).collect()
    }

    fn first_by_value(
        &self,
        records: &RoaringBitmap,
        sortings: &[Sorting],
        after: Option<&[u8]>,
        count: usize,
    ) -> Result<Vec<Placed>, Overflowed> {
        let key = |sorting: &Sorting| Ok(Key { columns: self.columns(&sorting.path)?, descending: sorting.descending });
        let keys = sortings.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let Some(first_key) = keys.first() else { return Ok(Vec::new()) };
        let after_rank = after.and_then(least_rank);
        let mut first: BinaryHeap<(Rank, Placed)> = BinaryHeap::with_capacity(count + 1);
        let mut candidates = records.iter();
        let mut piece_ends = 0;
        while let Some(serial) = candidates.next() {
            let last = first.peek().filter(|_| first.len() == count).map(|(last, _)| *last);
            if serial >= piece_ends {
                // A piece that has nothing for what is kept is passed over.
                let (worth_it, next) = first_key.piece(serial, last);
                piece_ends = next;
                if !worth_it {
                    candidates.advance_to(next);
                    continue;
                }
            }
            let rank = first_key.rank(serial);
            if last.is_some_and(|last| rank > last) || after_rank.is_some_and(|after| rank < after) {
                continue;
            }
            let mut position = Vec::with_capacity(48);
            for key in &keys {
                key.write(serial, &mut position);
            }
            position.extend(self.key(serial));
            if after.is_some_and(|after| position.as_slice() <= after) {
                continue;
            }
            keep(&mut first, (rank, Placed { position, serial }), count);
        }
        Ok(first.into_sorted_vec().into_iter().map(|(_, placed)| placed).collect())
    }
}

/// Keeps the first ones.
pub(super) fn keep<T: Ord>(first: &mut BinaryHeap<T>, one: T, count: usize) {
    if first.len() < count {
        first.push(one);
    } else if first.peek().is_some_and(|last| one < *last) {
        first.pop();
        first.push(one);
    }
}

/// What records behind a position have as their rank at least.
fn least_rank(position: &[u8]) -> Option<Rank> {
    let (mark, rest) = position.split_first()?;
    // Of a text the rank has the beginning only.
    Some((*mark, if *mark == NUMBER { beginning(rest) } else { 0 }))
}
