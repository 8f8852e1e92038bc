//! Proofs: that a leaf is in a tree, and that a tree begins with another one.

use super::{Hash, Node, empty_root, node_hash};

/// Some leaves whose common hash is one hash of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first leaf.
    start: u64,
    /// The leaf behind the last one.
    end: u64,
}

impl Range {
    /// All leaves of a tree of this size.
    pub fn all(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    /// The complete parts that it consists of, from the left: the largest first. One, unless it is the right end of the tree.
    pub fn nodes(self) -> impl Iterator<Item = Node> {
        // A range begins where a part of at least its size does, hence its parts are the bits of its length.
        let (mut start, end) = (self.start, self.end);
        std::iter::from_fn(move || {
            let level = (end - start).checked_ilog2()?;
            let node = Node { level: level as u8, index: start >> level };
            start += 1 << level;
            Some(node)
        })
    }

    /// Its hash, from those of its [nodes](Self::nodes) in that order.
    pub fn hash(hashes: &[Hash]) -> Hash {
        hashes.iter().rev().copied().reduce(|right, left| node_hash(left, right)).unwrap_or_else(empty_root)
    }

    /// How many leaves it has.
    fn len(self) -> u64 {
        self.end - self.start
    }

    /// Its two halves, as the tree has them: the left one is complete and has at least one half. Of two leaves or more.
    fn halves(self) -> (Self, Self) {
        let middle = self.start + (1 << (self.len() - 1).ilog2());
        (Self { end: middle, ..self }, Self { start: middle, ..self })
    }
}

/// What a proof that this leaf (from 0) is in the tree of this size consists of, in order; `None` if the tree has no such leaf.
pub fn inclusion(leaf: u64, size: u64) -> Option<Vec<Range>> {
    let mut range = Range::all(size);
    let mut proof = Vec::new();
    if leaf >= size {
        return None;
    }
    while range.len() > 1 {
        let (left, right) = range.halves();
        let (inside, beside) = if leaf < right.start { (left, right) } else { (right, left) };
        proof.push(beside);
        range = inside;
    }
    proof.reverse();
    Some(proof)
}

/// What a proof that the tree of size `to` begins with that of size `from` consists of, in order; `None` if `from` is larger.
/// Empty if they are of one size, or the smaller one has no leaves: there is nothing to prove then.
pub fn consistency(from: u64, to: u64) -> Option<Vec<Range>> {
    if from > to {
        return None;
    }
    let mut range = Range::all(to);
    let mut proof = Vec::new();
    if from == 0 {
        return Some(proof);
    }
    while range.end != from {
        let (left, right) = range.halves();
        let (inside, beside) = if from <= right.start { (left, right) } else { (right, left) };
        proof.push(beside);
        range = inside;
    }
    // Whoever verifies knows the hash of all leaves of the smaller tree, not of some.
    if range.start > 0 {
        proof.push(range);
    }
    proof.reverse();
    Some(proof)
}

/// A proof does not prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refuted;

impl std::fmt::Display for Refuted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the proof does not lead to the root of the tree")
    }
}

impl std::error::Error for Refuted {}

/// Where one is on the way from a leaf to the root: the numbers of the node and of the last one of the same level.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    fn up(&mut self) {
        self.at >>= 1;
        self.last >>= 1;
    }

    /// Whether the next hash of the proof is on the left; goes to the level above it. Where the right end has no neighbour, it is its own
    /// parent: these levels are passed over.
    fn takes_left(&mut self) -> Result<bool, Refuted> {
        if self.last == 0 {
            return Err(Refuted);
        }
        let left = self.at % 2 == 1 || self.at == self.last;
        while left && self.at.is_multiple_of(2) && self.at > 0 {
            self.up();
        }
        self.up();
        Ok(left)
    }
}

/// Verifies that the leaf with this number (from 0) and hash is in the tree of this size and root (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// If it is not, or the proof has a hash too many or too few.
pub fn verify_inclusion(proof: &[Hash], leaf: (u64, Hash), tree: (u64, Hash)) -> Result<(), Refuted> {
    let ((number, mut hash), (size, root)) = (leaf, tree);
    if number >= size {
        return Err(Refuted);
    }
    let mut climb = Climb { at: number, last: size - 1 };
    for &beside in proof {
        hash = if climb.takes_left()? { node_hash(beside, hash) } else { node_hash(hash, beside) };
    }
    if climb.last == 0 && hash == root { Ok(()) } else { Err(Refuted) }
}

/// Verifies that the tree `to` begins with the tree `from`; each is a size and a root (RFC 9162, section 2.1.4.2).
///
/// # Errors
/// If it does not, or the proof has a hash too many or too few.
pub fn verify_consistency(proof: &[Hash], from: (u64, Hash), to: (u64, Hash)) -> Result<(), Refuted> {
    let ((from_size, from_root), (to_size, to_root)) = (from, to);
    let holds = |holds: bool| if holds { Ok(()) } else { Err(Refuted) };
    if from_size == 0 {
        let empty = to_size > 0 || to_root == empty_root();
        return holds(proof.is_empty() && from_root == empty_root() && empty);
    }
    if from_size >= to_size {
        return holds(proof.is_empty() && from == to);
    }
    let mut climb = Climb { at: from_size - 1, last: to_size - 1 };
    while climb.at % 2 == 1 {
        climb.up();
    }
    // A smaller tree that is complete is a node of the larger one: the proof begins with it, unsaid.
    let (start, rest) = if from_size.is_power_of_two() {
        (from_root, proof)
    } else {
        let (start, rest) = proof.split_first().ok_or(Refuted)?;
        (*start, rest)
    };
    let (mut smaller, mut larger) = (start, start);
    for &beside in rest {
        if climb.takes_left()? {
            smaller = node_hash(beside, smaller);
            larger = node_hash(beside, larger);
        } else {
            larger = node_hash(larger, beside);
        }
    }
    holds(climb.last == 0 && smaller == from_root && larger == to_root)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{hash_of, leaves, naive_root};
    use super::*;

    /// The hashes of a proof over these leaves.
    fn hashes(leaves: &[Hash], proof: Vec<Range>) -> Vec<Hash> {
        let hash = |range: Range| Range::hash(&range.nodes().map(|node| hash_of(leaves, node)).collect::<Vec<_>>());
        proof.into_iter().map(hash).collect()
    }

    /// The ways in which a proof is spoilt: a hash that is missing, added, changed, or at another place.
    fn spoilt(proof: &[Hash], other: Hash) -> Vec<Vec<Hash>> {
        let mut all = vec![[proof, &[other]].concat(), [&[other], proof].concat()];
        for at in 0..proof.len() {
            all.push([&proof[..at], &proof[at + 1..]].concat());
            all.push([&proof[..at], &[other], &proof[at + 1..]].concat());
            if at > 0 {
                let mut swapped = proof.to_vec();
                swapped.swap(at - 1, at);
                all.push(swapped);
            }
        }
        all
    }

    #[test]
    fn every_proof_of_a_small_tree_holds_and_no_other() {
        let (all, other) = (leaves(33), leaves(34)[33]);
        let tree = |size: usize| (size as u64, naive_root(&all[..size]));
        for size in 0..=all.len() {
            for leaf in 0..size {
                let leaf = (leaf as u64, all[leaf]);
                let proof = hashes(&all, inclusion(leaf.0, size as u64).expect("it is in there"));
                assert_eq!(verify_inclusion(&proof, leaf, tree(size)), Ok(()), "{leaf:?} of {size}");
                assert_eq!(verify_inclusion(&proof, (leaf.0, other), tree(size)), Err(Refuted));
                assert_eq!(verify_inclusion(&proof, leaf, (size as u64, other)), Err(Refuted));
                for spoilt in spoilt(&proof, other) {
                    assert_eq!(verify_inclusion(&spoilt, leaf, tree(size)), Err(Refuted), "{leaf:?} of {size}");
                }
            }
            for from in 0..=size {
                let proof = hashes(&all, consistency(from as u64, size as u64).expect("it is no larger"));
                assert_eq!(verify_consistency(&proof, tree(from), tree(size)), Ok(()), "{from} to {size}");
                assert_eq!(verify_consistency(&proof, (from as u64, other), tree(size)), Err(Refuted));
                if from > 0 {
                    assert_eq!(verify_consistency(&proof, tree(from), (size as u64, other)), Err(Refuted));
                }
                for spoilt in spoilt(&proof, other) {
                    assert_eq!(verify_consistency(&spoilt, tree(from), tree(size)), Err(Refuted), "{from} to {size}");
                }
            }
        }
    }

    #[test]
    fn there_is_no_proof_of_what_is_not_there() {
        assert_eq!(inclusion(0, 0), None);
        assert_eq!(inclusion(7, 7), None);
        assert_eq!(consistency(8, 7), None);
        let all = leaves(2);
        assert_eq!(verify_inclusion(&[], (1, all[1]), (1, all[1])), Err(Refuted));
        let trees = ((2, naive_root(&all)), (1, all[0]));
        assert_eq!(verify_consistency(&[], trees.0, trees.1), Err(Refuted), "a tree has shrunk");
    }

    proptest! {
        #[test]
        fn a_proof_of_the_largest_tree_is_short(size: u64, leaf: u64, from: u64) {
            let size = size.max(1);
            let proof = inclusion(leaf % size, size).expect("it is in there");
            prop_assert!(proof.len() <= 64);
            let beside: u128 = proof.iter().map(|range| u128::from(range.len())).sum();
            prop_assert_eq!(beside + 1, u128::from(size), "all other leaves, each once");
            prop_assert!(consistency(from % size, size).expect("it is smaller").len() <= 65);
            for range in proof {
                let covered: u128 = range.nodes().map(|node| 1_u128 << node.level).sum();
                prop_assert_eq!(covered, u128::from(range.len()));
                for node in range.nodes() {
                    prop_assert!(range.start <= node.index << node.level);
                }
            }
        }
    }
}
