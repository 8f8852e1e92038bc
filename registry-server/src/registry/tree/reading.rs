//! The Merkle tree as it is read: its root at any size, proofs, tiles, and which leaf an event is.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range as Span;
use std::sync::Arc;

use registry_common::tlog::{Hash, Node, Range as Leaves, Tile, consistency, inclusion};

use super::{HASH, LEVELS, ROW, Tree, key};
use crate::error::Error;
use crate::registry::{Registry, kinds};
use crate::store::{Range, Source, Store, decode};
use crate::stored::{ChainHeadRecord, TreeRowRecord};

/// The tree at the size that it had a moment ago. What is behind that is not seen.
pub(crate) struct Log {
    store: Arc<dyn Store>,
    head: ChainHeadRecord,
}

impl Registry {
    /// The tree over all events there are.
    pub(crate) async fn transparency_log(&self) -> Result<Log, Error> {
        let record = self.store.get(kinds::CHAIN_HEAD, &[]).await?;
        let head = record.map(|record| decode(record.payload)).transpose()?.unwrap_or_default();
        Ok(Log { store: Arc::clone(&self.store), head })
    }
}

impl Log {
    /// How many leaves it has.
    pub(crate) fn size(&self) -> u64 {
        self.head.leaves
    }

    /// The root of the tree when it had so many leaves; `None` if it never had.
    pub(crate) async fn root(&self, size: u64) -> Result<Option<Hash>, Error> {
        match size.cmp(&self.size()) {
            Ordering::Greater => Ok(None),
            Ordering::Equal => Tree::of(&self.head).map(|tree| Some(tree.root())),
            Ordering::Less => Ok(self.hashes_of(&[Leaves::all(size)]).await?.pop()),
        }
    }

    /// The proof that a leaf is in the tree of so many leaves; `None` if it is not.
    pub(crate) async fn inclusion(&self, leaf: u64, size: u64) -> Result<Option<Vec<Hash>>, Error> {
        self.proof(inclusion(leaf, size).filter(|_| size <= self.size())).await
    }

    /// The proof that the tree of size `to` begins with that of size `from`; `None` if it does not have these sizes.
    pub(crate) async fn consistency(&self, from: u64, to: u64) -> Result<Option<Vec<Hash>>, Error> {
        self.proof(consistency(from, to).filter(|_| to <= self.size())).await
    }

    async fn proof(&self, parts: Option<Vec<Leaves>>) -> Result<Option<Vec<Hash>>, Error> {
        let Some(parts) = parts else { return Ok(None) };
        self.hashes_of(&parts).await.map(Some)
    }

    /// The hashes of some parts of the tree. Reads each tile once: two or three, since those of a proof lie close together.
    async fn hashes_of(&self, parts: &[Leaves]) -> Result<Vec<Hash>, Error> {
        let mut read = HashMap::new();
        let mut hashes = Vec::new();
        for part in parts {
            let mut nodes = Vec::new();
            for node in part.nodes() {
                let tile = Tile::of(node, self.size()).ok_or_else(malformed)?;
                if let Entry::Vacant(unread) = read.entry(tile) {
                    unread.insert(self.tile(tile).await?.ok_or_else(malformed)?);
                }
                let hash = read.get(&tile).and_then(|hashes| tile.hash(node, hashes));
                nodes.push(hash.ok_or_else(malformed)?);
            }
            hashes.push(Leaves::hash(&nodes));
        }
        Ok(hashes)
    }

    /// The hashes of a tile; `None` if the tree does not have it, or not so wide.
    pub(crate) async fn tile(&self, tile: Tile) -> Result<Option<Vec<Hash>>, Error> {
        let there = self.size().checked_shr(u32::from(tile.level) * u32::from(LEVELS)).unwrap_or(0);
        let end = tile.index.checked_mul(1 << LEVELS).and_then(|start| start.checked_add(tile.width.into()));
        if end.is_none_or(|end| end > there) {
            return Ok(None);
        }
        let rows = self.rows_of(tile.level, tile.index).await?;
        let mut hashes: Vec<_> = rows.iter().flat_map(hashes_in).collect();
        hashes.truncate(tile.width.into());
        if hashes.len() < usize::from(tile.width) {
            return Err(malformed());
        }
        Ok(Some(hashes))
    }

    /// The leaves of the tile with this number, with their revisions: 256, unless the tree ends before.
    pub(crate) async fn leaves(&self, tile: u64) -> Result<Vec<(Hash, u64)>, Error> {
        let rows = self.rows_of(0, tile).await?;
        let mut leaves: Vec<_> =
            rows.iter().flat_map(|row| hashes_in(row).zip(row.revisions.iter().copied())).collect();
        let there = self.size().saturating_sub(tile << LEVELS).min(1 << LEVELS) as usize;
        leaves.truncate(there);
        if leaves.len() < there { Err(malformed()) } else { Ok(leaves) }
    }

    /// The hash of a leaf that is in the tree.
    pub(crate) async fn leaf(&self, leaf: u64) -> Result<Hash, Error> {
        let row = self.row(leaf / ROW as u64).await?;
        hashes_in(&row).nth((leaf % ROW as u64) as usize).ok_or_else(malformed)
    }

    /// The rows of a tile, perhaps also some that were written since.
    async fn rows_of(&self, level: u8, index: u64) -> Result<Vec<TreeRowRecord>, Error> {
        // Their keys differ in the last byte.
        let mut prefix = key(Node { level: level * LEVELS, index: index << LEVELS });
        prefix.pop();
        let found = self.store.scan(Source::Kind(kinds::TREE_ROW), &Range::first(prefix, 1 << LEVELS)).await?;
        let mut rows =
            found.into_iter().map(|row| decode(row.record.payload)).collect::<Result<Vec<TreeRowRecord>, _>>()?;
        let full = self.size() / ROW as u64;
        let per_tile = (1 << LEVELS) / ROW as u64;
        if level == 0 && index == full / per_tile && rows.len() as u64 == full % per_tile {
            rows.extend(self.head.row.clone());
        }
        Ok(rows)
    }

    /// The leaves of the events of a revision; empty if they have none.
    pub(crate) async fn leaves_of(&self, revision: u64) -> Result<Span<u64>, Error> {
        let behind = match revision.checked_add(1) {
            Some(next) => self.first_from(next).await?,
            None => self.size(),
        };
        Ok(self.first_from(revision).await?..behind)
    }

    /// The first leaf whose event is of this revision or of one behind it; the size of the tree if there is none.
    async fn first_from(&self, revision: u64) -> Result<u64, Error> {
        let row_size = ROW as u64;
        // The first row that ends with such a leaf: revisions never decrease along the log.
        let (mut low, mut high) = (0, self.size() / row_size);
        while low < high {
            let middle = low + (high - low) / 2;
            let ends_before = self.row(middle).await?.revisions.last().is_some_and(|last| *last < revision);
            if ends_before { low = middle + 1 } else { high = middle }
        }
        let before = self.row(low).await?.revisions.iter().filter(|of| **of < revision).count();
        Ok(low * row_size + before as u64)
    }

    /// A row of leaves; the last one is in the head.
    async fn row(&self, number: u64) -> Result<TreeRowRecord, Error> {
        if number == self.size() / ROW as u64 {
            return Ok(self.head.row.clone().unwrap_or_default());
        }
        let key = key(Node { level: 0, index: number * ROW as u64 });
        let record = self.store.get(kinds::TREE_ROW, &key).await?.ok_or_else(malformed)?;
        Ok(decode(record.payload)?)
    }
}

fn malformed() -> Error {
    Error::internal("a part of the tree over the events is missing")
}

fn hashes_in(row: &TreeRowRecord) -> impl Iterator<Item = Hash> {
    row.hashes.as_chunks::<HASH>().0.iter().copied().map(Hash)
}
