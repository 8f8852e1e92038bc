//! The Merkle tree over the events, as it is kept: beside the chain, by the commit that writes the events.
//!
//! A leaf is an event as the log has it, byte by byte, its hash in the chain included. The head of the chain has what the tree needs in
//! order to grow; all hashes of leaves, and of the nodes that are multiples of 8 levels above them, are in rows that are written once and
//! never removed. So proofs can be made of events that the log no longer has. Events from before the tree was kept have no leaf.

pub(super) mod reading;

use bytes::Bytes;
use registry_common::tlog::{Frontier, Hash, Node, leaf_hash};

use crate::error::Error;
use crate::stored::{ChainHeadRecord, TreeRowRecord};

/// How many leaves a row has: of a record for each, the key and what surrounds it would be more than the hash.
const ROW: usize = 16;
/// The nodes of one in so many levels are kept, as tiles have them. What is between follows from them.
const LEVELS: u8 = 8;
/// The length of a hash.
const HASH: usize = 32;

/// The tree while a commit adds to it.
pub(super) struct Tree {
    frontier: Frontier,
    /// The leaves that have no row yet.
    row: TreeRowRecord,
    /// What is complete since the commit began.
    rows: Vec<(Vec<u8>, TreeRowRecord)>,
}

impl Tree {
    /// The tree as the head of the chain has it.
    ///
    /// # Errors
    /// If the head does not fit itself.
    pub(super) fn of(head: &ChainHeadRecord) -> Result<Self, Error> {
        let row = head.row.clone().unwrap_or_default();
        let (parts, rest) = head.parts.as_chunks::<HASH>();
        let frontier = Frontier::new(head.leaves, parts.iter().copied().map(Hash).collect());
        let open = (head.leaves % ROW as u64) as usize;
        let fits = rest.is_empty() && row.hashes.len() == open * HASH && row.revisions.len() == open;
        let frontier = frontier.filter(|_| fits).ok_or_else(|| Error::internal("the tree of the log is malformed"))?;
        Ok(Self { frontier, row, rows: Vec::new() })
    }

    /// Adds an event as the log has it, of this revision.
    pub(super) fn push(&mut self, event: &[u8], revision: u64) {
        let leaf = leaf_hash(event);
        self.row.hashes = [&self.row.hashes[..], &leaf.0].concat().into();
        self.row.revisions.push(revision);
        let complete = self.frontier.push(leaf);
        if self.row.revisions.len() == ROW {
            let first = self.frontier.size() - ROW as u64;
            self.rows.push((key(Node { level: 0, index: first }), std::mem::take(&mut self.row)));
        }
        let kept = complete.into_iter().filter(|(node, _)| node.level > 0 && node.level.is_multiple_of(LEVELS));
        self.rows.extend(kept.map(|(node, hash)| {
            let row = TreeRowRecord { hashes: Bytes::copy_from_slice(&hash.0), revisions: Vec::new() };
            (key(node), row)
        }));
    }

    /// The root.
    fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Puts the tree into the head of the chain, and returns the rows that are to be written, with their keys.
    pub(super) fn grown(self, head: &mut ChainHeadRecord) -> Vec<(Vec<u8>, TreeRowRecord)> {
        head.leaves = self.frontier.size();
        head.parts = self.frontier.parts().iter().flat_map(|hash| hash.0).collect::<Vec<_>>().into();
        head.row = Some(self.row);
        self.rows
    }
}

/// The key of the row that begins with this node: rows of a level are in order.
fn key(first: Node) -> Vec<u8> {
    [&[first.level / LEVELS][..], &first.index.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A tree that has grown by commits of these numbers of events, from revision 1 on.
    fn grown(commits: &[usize]) -> (ChainHeadRecord, BTreeMap<Vec<u8>, TreeRowRecord>) {
        let (mut head, mut rows) = (ChainHeadRecord::default(), BTreeMap::new());
        for (revision, count) in (1_u64..).zip(commits) {
            let mut tree = Tree::of(&head).unwrap();
            for index in 0..*count {
                tree.push(format!("{revision}-{index}").as_bytes(), revision);
            }
            for (key, row) in tree.grown(&mut head) {
                assert!(rows.insert(key, row).is_none(), "a row is written twice");
            }
        }
        (head, rows)
    }

    #[test]
    fn every_leaf_is_kept_once_with_its_revision() {
        let commits: Vec<_> = (0..400).map(|number| number % 4 + 1).collect();
        let (head, rows) = grown(&commits);
        let mut plain = Frontier::default();
        let mut expected = Vec::new();
        for (revision, count) in (1_u64..).zip(&commits) {
            for index in 0..*count {
                let leaf = leaf_hash(format!("{revision}-{index}").as_bytes());
                plain.push(leaf);
                expected.push((revision, leaf));
            }
        }
        let open = head.row.clone().unwrap();
        let leaves = rows.range(vec![0]..vec![1]).map(|(_, row)| row).chain([&open]);
        let kept = leaves.flat_map(|row| {
            let (hashes, _) = row.hashes.as_chunks::<HASH>();
            row.revisions.iter().copied().zip(hashes.iter().copied().map(Hash)).collect::<Vec<_>>()
        });
        assert_eq!(kept.collect::<Vec<_>>(), expected);
        assert_eq!(Tree::of(&head).unwrap().frontier, plain);
        // 1000 leaves are three times 256, and some.
        assert_eq!((head.leaves, rows.range(vec![1]..vec![2]).count()), (1000, 3));
    }

    #[test]
    fn a_head_that_does_not_fit_itself_is_refused() {
        let (head, _) = grown(&[5]);
        let row = head.row.clone().unwrap();
        for other in [
            ChainHeadRecord { leaves: 6, ..head.clone() },
            ChainHeadRecord { parts: head.parts.slice(1..), ..head.clone() },
            ChainHeadRecord { parts: head.parts.slice(32..), ..head.clone() },
            ChainHeadRecord { row: None, ..head.clone() },
            ChainHeadRecord { row: Some(TreeRowRecord { revisions: vec![1; 4], ..row }), ..head.clone() },
        ] {
            assert!(Tree::of(&other).is_err(), "{other:?}");
        }
    }
}
