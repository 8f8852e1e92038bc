//! Texts by record, and records by text: each text is kept once.

use indexmap::IndexSet;
use roaring::RoaringBitmap;

use super::column::{Column, Serial};
use super::holders::Holders;
use crate::rules::expression::TextTest;

/// Longer texts are not kept.
const LONGEST: usize = 512;

/// The texts at one path.
#[derive(Debug, Default)]
pub(super) struct Texts {
    words: IndexSet<Box<str>>,
    /// Who has each of them.
    holders: Vec<Holders>,
    of: Column<u32>,
    /// Those whose text is too long to be kept: only the record tells.
    too_long: RoaringBitmap,
    bytes: usize,
}

impl Texts {
    pub(super) fn set(&mut self, serial: Serial, text: &str) {
        if text.len() > LONGEST {
            self.remove(serial);
            self.too_long.insert(serial);
            return;
        }
        self.too_long.remove(serial);
        let word = match self.words.get_index_of(text) {
            Some(word) => word,
            None => {
                self.bytes += text.len();
                self.holders.push(Holders::default());
                self.words.insert_full(text.into()).0
            }
        };
        // There are fewer texts than records.
        let word = u32::try_from(word).unwrap_or(u32::MAX);
        match self.of.set(serial, word) {
            Some(before) if before == word => return,
            Some(before) => self.holders[before as usize].remove(serial),
            None => {}
        }
        self.holders[word as usize].insert(serial);
    }

    pub(super) fn remove(&mut self, serial: Serial) {
        self.too_long.remove(serial);
        if let Some(word) = self.of.remove(serial) {
            self.holders[word as usize].remove(serial);
        }
    }

    /// The text of a record. `None` also if it is too long.
    pub(super) fn get(&self, serial: Serial) -> Option<&str> {
        self.words.get_index(self.of.get(serial)? as usize).map(|word| &**word)
    }

    /// How often records have which text.
    pub(super) fn counts(&self, records: &RoaringBitmap) -> Vec<(&str, u64)> {
        // A look at each text, or at each record.
        let counts: Vec<_> = match (self.words.len() as u64) * 16 < records.len() {
            true => self.holders.iter().enumerate().map(|(word, holders)| (word, holders.among(records))).collect(),
            false => self.of.counts(records).into_iter().map(|(word, count)| (word as usize, count)).collect(),
        };
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        counts.filter_map(|(word, count)| Some((&**self.words.get_index(word)?, count))).collect()
    }

    /// Whether the text of a record is meant, as far as it is kept.
    pub(super) fn may_be(&self, serial: Serial, test: &TextTest) -> bool {
        self.get(serial).is_some_and(|text| test.takes(text)) || self.too_long.contains(serial)
    }

    /// The records whose texts are meant, and whether all of these are.
    pub(super) fn find(&self, test: &TextTest) -> (RoaringBitmap, bool) {
        let mut found = self.too_long.clone();
        match test {
            TextTest::Equal(text) => {
                if let Some(word) = self.words.get_index_of(text.as_str()) {
                    self.holders[word].add_to(&mut found);
                }
            }
            test => {
                for (_, holders) in self.words.iter().zip(&self.holders).filter(|(word, _)| test.takes(word)) {
                    holders.add_to(&mut found);
                }
            }
        }
        (found, self.too_long.is_empty())
    }

    /// The memory it takes, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        const ENTRY: usize = size_of::<(usize, Box<str>)>() + 2 * size_of::<usize>() + size_of::<Holders>();
        let holders = self.holders.iter().map(Holders::bytes).sum::<usize>();
        self.bytes + self.words.len() * ENTRY + holders + self.of.bytes() + self.too_long.serialized_size()
    }
}
