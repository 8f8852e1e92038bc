//! What is kept of the records of a kind: their keys, what they lie in, and their single values by path.

use std::collections::BTreeSet;

use indexmap::{IndexMap, IndexSet};
use roaring::RoaringBitmap;

use super::column::{Column, Serial};
use super::texts::Texts;
use super::words::{Spoken, Words};
use crate::rules::expression::{Leaf, Path, Subject};

/// How many paths are kept. There may be any number of tags and metrics.
const PATHS: usize = 20_000;
/// How many of them one record may bring.
const NEW_PATHS: usize = 1_000;

/// The records of a kind.
#[derive(Debug)]
pub(super) struct Table {
    of: Subject,
    /// How many parts of a key are closed by a zero byte: what the record lies in.
    depth: usize,
    keys: IndexSet<Box<[u8]>>,
    key_bytes: usize,
    /// Who lies in what: by the beginning of the key.
    scopes: IndexMap<Box<[u8]>, RoaringBitmap>,
    /// Those that are not deleted.
    live: RoaringBitmap,
    columns: IndexMap<Box<[u8]>, Columns>,
    /// The fields of the resource of which not all paths are kept.
    overflowed: BTreeSet<u32>,
    pub(super) words: Words,
    /// Which columns a record is in: many records are in the same.
    shapes: IndexSet<Box<[u32]>>,
    shape_of: Vec<u32>,
}

/// The values at one path, which may be of either kind where JSON is.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) numbers: Column<u64>,
    pub(super) texts: Texts,
    /// By choice; there are few.
    pub(super) choices: IndexMap<i64, RoaringBitmap>,
}

impl Columns {
    fn set(&mut self, serial: Serial, leaf: Leaf<'_>) {
        match leaf {
            Leaf::Number(value) => {
                self.numbers.set(serial, value);
                self.texts.remove(serial);
            }
            Leaf::Text(text) => {
                self.texts.set(serial, text);
                self.numbers.remove(serial);
            }
            Leaf::Choice(value) => {
                for holders in self.choices.values_mut() {
                    holders.remove(serial);
                }
                self.choices.entry(value).or_default().insert(serial);
            }
        }
    }

    fn remove(&mut self, serial: Serial) {
        self.numbers.remove(serial);
        self.texts.remove(serial);
        for holders in self.choices.values_mut() {
            holders.remove(serial);
        }
    }

    fn bytes(&self) -> usize {
        let choices = self.choices.values().map(RoaringBitmap::serialized_size).sum::<usize>();
        size_of::<Self>() + self.numbers.bytes() + self.texts.bytes() + choices
    }
}

impl Table {
    pub(super) fn new(of: Subject, depth: usize) -> Self {
        Self {
            of,
            depth,
            keys: IndexSet::new(),
            key_bytes: 0,
            scopes: IndexMap::new(),
            live: RoaringBitmap::new(),
            columns: IndexMap::new(),
            overflowed: BTreeSet::new(),
            words: Words::default(),
            shapes: IndexSet::new(),
            shape_of: Vec::new(),
        }
    }

    /// How many records there are, removed ones too.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key(&self, serial: Serial) -> &[u8] {
        self.keys.get_index(serial as usize).map_or(&[], |key| key)
    }

    pub(super) fn serial_of(&self, key: &[u8]) -> Option<Serial> {
        Serial::try_from(self.keys.get_index_of(key)?).ok()
    }

    /// The records that lie in something, by what their keys begin with: those that are not deleted, or all.
    pub(super) fn scope(&self, prefix: &[u8], deleted_too: bool) -> RoaringBitmap {
        match (self.scopes.get(prefix), deleted_too) {
            (None, _) => RoaringBitmap::new(),
            (Some(scope), true) => scope.clone(),
            (Some(scope), false) => scope & &self.live,
        }
    }

    /// Those that are not deleted.
    pub(super) fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    /// The keys of all that are deleted, or gone.
    pub(super) fn all_deleted(&self) -> impl Iterator<Item = &[u8]> {
        let all = 0..self.keys.len() as Serial;
        all.filter(|serial| !self.live.contains(*serial)).map(|serial| self.key(serial))
    }

    /// The keys of those in a scope that are deleted.
    pub(super) fn deleted(&self, prefix: &[u8]) -> impl Iterator<Item = &[u8]> {
        let deleted = self.scopes.get(prefix).map(|scope| scope - &self.live).unwrap_or_default();
        deleted.into_iter().map(|serial| self.key(serial))
    }

    /// The values at a path. `Err`: that is not known, since not all paths are kept.
    pub(super) fn columns(&self, path: &Path) -> Result<Option<&Columns>, Overflowed> {
        match self.columns.get(path.as_bytes()) {
            None if path.is_keyed() && self.overflowed.contains(&path.first()) => Err(Overflowed),
            found => Ok(found),
        }
    }

    /// A record, new or changed: the message in it, as it is encoded, whether that is not deleted, and the texts that it is found by.
    pub(super) fn put(&mut self, key: &[u8], message: &[u8], live: bool, spoken: &Spoken<'_>) {
        let serial = self.serial(key);
        let mut leaves = Vec::with_capacity(32);
        let (columns, overflowed, mut new_paths) = (&mut self.columns, &mut self.overflowed, 0);
        self.of.leaves(message, &mut |path, leaf| {
            let column = match columns.get_index_of(path.as_bytes()) {
                Some(column) => column,
                None if path.is_keyed() && (columns.len() >= PATHS || new_paths == NEW_PATHS) => {
                    overflowed.insert(path.first());
                    return;
                }
                None => {
                    new_paths += usize::from(path.is_keyed());
                    columns.insert_full(path.as_bytes().into(), Columns::default()).0
                }
            };
            leaves.push((column as u32, leaf));
        });
        let mut shape: Vec<u32> = leaves.iter().map(|(column, _)| *column).collect();
        shape.sort_unstable();
        shape.dedup();
        self.reshape(serial, shape);
        for (column, leaf) in leaves {
            self.columns[column as usize].set(serial, leaf);
        }
        self.words.set(serial, spoken);
        if live {
            self.live.insert(serial)
        } else {
            self.live.remove(serial)
        };
        let mut ends = key.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at + 1);
        for end in ends.by_ref().take(self.depth) {
            match self.scopes.get_mut(&key[..end]) {
                Some(scope) => {
                    scope.insert(serial);
                }
                None => {
                    self.scopes.insert(key[..end].into(), [serial].into_iter().collect());
                }
            }
        }
    }

    /// A record that is not there any more.
    pub(super) fn remove(&mut self, key: &[u8]) {
        let Some(serial) = self.keys.get_index_of(key) else { return };
        let serial = serial as Serial;
        self.reshape(serial, Vec::new());
        self.words.remove(serial);
        self.live.remove(serial);
        for scope in self.scopes.values_mut() {
            scope.remove(serial);
        }
    }

    fn serial(&mut self, key: &[u8]) -> Serial {
        let serial = match self.keys.get_index_of(key) {
            Some(serial) => serial,
            None => {
                self.key_bytes += key.len();
                self.shape_of.push(0);
                self.keys.insert_full(key.into()).0
            }
        };
        serial as Serial
    }

    /// Takes a record out of the columns that it has no value for any more.
    fn reshape(&mut self, serial: Serial, shape: Vec<u32>) {
        // The first shape is that of records that are new.
        if self.shapes.is_empty() {
            self.shapes.insert(Box::default());
        }
        let before = self.shape_of[serial as usize];
        if let Some(before) = self.shapes.get_index(before as usize) {
            for column in before.iter().filter(|column| shape.binary_search(column).is_err()) {
                self.columns[*column as usize].remove(serial);
            }
        }
        let shape = match self.shapes.get_index_of(shape.as_slice()) {
            Some(known) => known,
            None => self.shapes.insert_full(shape.into()).0,
        };
        self.shape_of[serial as usize] = shape as u32;
    }

    /// The memory it takes, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        const KEY: usize = size_of::<(usize, Box<[u8]>)>() + 2 * size_of::<usize>();
        let keys = self.key_bytes + self.keys.len() * (KEY + size_of::<u32>());
        let scopes = self.scopes.iter().map(|(key, scope)| key.len() + KEY + scope.serialized_size()).sum::<usize>();
        let columns = self.columns.iter().map(|(path, columns)| path.len() + columns.bytes()).sum::<usize>();
        let shapes = self.shapes.iter().map(|shape| KEY + size_of_val(&**shape)).sum::<usize>();
        keys + scopes + columns + shapes + self.words.bytes() + self.live.serialized_size()
    }
}

/// Not all paths are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflowed;
