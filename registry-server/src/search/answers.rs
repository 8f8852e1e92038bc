//! What is answered without any record: words, counts, and the values of a metric.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::table::{Columns, Table};
use super::{Candidates, Index, Wanted, order};
use crate::rules::expression::{Leaf, Named, Path};
use crate::store::Kind;

/// What was found by words.
#[derive(Debug)]
pub(crate) struct Hits {
    /// The best first, with where they are among all of them.
    pub(crate) hits: Vec<Place>,
    /// How many there are in all.
    pub(crate) total: u64,
}

/// Where a resource is among those that were found: a better score comes first, then the first of the kinds, then the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) score: Reverse<u32>,
    pub(crate) kind: Kind,
    pub(crate) key: Vec<u8>,
}

/// How often a value is there.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// The most frequent first.
    pub(crate) values: Vec<(String, u64)>,
    pub(crate) others: u64,
    pub(crate) missing: u64,
}

impl Index {
    /// The best ones of some kinds, whose keys begin with something, that have all words of a query: those behind a place.
    pub(crate) async fn search(
        &self,
        of: Vec<Kind>,
        prefix: Vec<u8>,
        query: String,
        after: Option<Place>,
        count: usize,
    ) -> Option<Hits> {
        self.read(move |kinds, tables| {
            let (mut first, mut total) = (BinaryHeap::with_capacity(count + 1), 0);
            for kind in of {
                let wanted = Wanted::all_of(kind, prefix.clone());
                let Some((table, scope)) = super::scope(kinds, tables, &wanted) else { continue };
                let matches = table.words.find(&query);
                let found = matches.among(scope);
                total += found.len();
                for serial in &found {
                    let score = Reverse(matches.score(serial));
                    let last = first.peek().filter(|_| first.len() == count);
                    if last.is_some_and(|last: &Place| (score, kind) > (last.score, last.kind)) {
                        continue;
                    }
                    let place = Place { score, kind, key: table.key(serial).to_vec() };
                    if after.as_ref().is_none_or(|after| place > *after) {
                        order::keep(&mut first, place, count);
                    }
                }
            }
            Hits { hits: first.into_sorted_vec(), total }
        })
        .await
    }

    /// Those candidates that have one of these keys.
    pub(crate) async fn only(&self, candidates: &Candidates, keys: Vec<Vec<u8>>) -> Option<Candidates> {
        let candidates = candidates.clone();
        self.read(move |kinds, tables| {
            let table = &tables[kinds.iter().position(|indexed| indexed.kind == candidates.kind)?];
            let records = keys.iter().filter_map(|key| table.serial_of(key)).collect();
            Some(Candidates { records, exact: true, ..candidates })
        })
        .await
        .flatten()
    }

    /// How often candidates have which values: so many of the values for each. `None`: not all paths are kept.
    pub(crate) async fn counts(
        &self,
        candidates: &Arc<Candidates>,
        values: Vec<Named>,
        limit: usize,
    ) -> Option<Vec<Counts>> {
        let candidates = Arc::clone(candidates);
        self.read(move |kinds, tables| {
            let table = &tables[kinds.iter().position(|indexed| indexed.kind == candidates.kind)?];
            values.iter().map(|named| table.counts(named, &candidates.records, limit)).collect()
        })
        .await
        .flatten()
    }

    /// How often the records of a kind that are not deleted, nor in what is, have which values.
    pub(crate) async fn census(&self, kind: Kind, values: Vec<Named>, limit: usize) -> Option<Vec<Counts>> {
        self.read(move |kinds, tables| {
            let at = kinds.iter().position(|indexed| indexed.kind == kind)?;
            let table = tables.get(at)?;
            let mut there = table.live().clone();
            let above = kinds.iter().zip(tables).filter(|(indexed, _)| indexed.depth < kinds[at].depth);
            for key in above.flat_map(|(_, above)| above.all_deleted()) {
                there -= table.scope(&[key, &[0]].concat(), true);
            }
            values.iter().map(|named| table.counts(named, &there, limit)).collect()
        })
        .await
        .flatten()
    }

    /// The numbers that candidates have at a path, with their keys and the number that they have at another one.
    pub(crate) async fn numbers(
        &self,
        candidates: &Arc<Candidates>,
        path: Path,
        beside: Path,
    ) -> Option<Vec<(Vec<u8>, u64, u64)>> {
        let candidates = Arc::clone(candidates);
        self.read(move |kinds, tables| {
            let table = &tables[kinds.iter().position(|indexed| indexed.kind == candidates.kind)?];
            let columns = table.columns(&path).ok()?;
            let beside = table.columns(&beside).ok()?;
            let number = |serial| {
                let beside = beside.and_then(|columns| columns.numbers.get(serial)).unwrap_or_default();
                Some((table.key(serial).to_vec(), columns?.numbers.get(serial)?, beside))
            };
            Some(candidates.records.iter().filter_map(number).collect())
        })
        .await
        .flatten()
    }
}

impl Table {
    /// How often records have which value: so many of the values. `None`: not all paths are kept.
    fn counts(&self, named: &Named, records: &RoaringBitmap, limit: usize) -> Option<Counts> {
        let columns = self.columns(&named.path).ok()?;
        let mut found = columns.map(|columns| columns.counts(records)).unwrap_or_default();
        let there: u64 = found.iter().map(|(_, count)| *count).sum();
        found.sort_by(|(left, count), (right, other)| other.cmp(count).then(left.order(right)));
        let values = found.iter().take(limit).map(|(leaf, count)| (named.show(*leaf), *count)).collect();
        let others = found.iter().skip(limit).map(|(_, count)| *count).sum();
        Some(Counts { values, others, missing: records.len() - there })
    }
}

impl Columns {
    /// How often records have which value.
    fn counts(&self, records: &RoaringBitmap) -> Vec<(Leaf<'_>, u64)> {
        let numbers = self.numbers.counts(records).into_iter().map(|(value, count)| (Leaf::Number(value), count));
        let texts = self.texts.counts(records).into_iter().map(|(text, count)| (Leaf::Text(text), count));
        let choices = self.choices.iter().map(|(value, of)| (Leaf::Choice(*value), of.intersection_len(records)));
        numbers.chain(texts).chain(choices.filter(|(_, count)| *count > 0)).collect()
    }
}
