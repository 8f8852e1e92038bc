//! What a tree has to remember in order to grow.

use super::{Hash, Node, empty_root, node_hash};

/// A tree's size, and the hashes of the complete parts that it consists of: one for every bit of the size that is set, the largest part
/// first. Enough to add leaves and to tell the root, whatever became of the leaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    parts: Vec<Hash>,
}

impl Frontier {
    /// The tree of this size that has these parts, the largest first; `None` if a tree of that size has more or fewer.
    pub fn new(size: u64, parts: Vec<Hash>) -> Option<Self> {
        (parts.len() == size.count_ones() as usize).then_some(Self { size, parts })
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of its complete parts, the largest first.
    pub fn parts(&self) -> &[Hash] {
        &self.parts
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let parts = self.parts.iter().rev().copied();
        parts.reduce(|right, left| node_hash(left, right)).unwrap_or_else(empty_root)
    }

    /// Adds a leaf by its hash, and returns what is complete by it, from the leaf upwards: two nodes on average.
    pub fn push(&mut self, leaf: Hash) -> Vec<(Node, Hash)> {
        let mut top = (Node { level: 0, index: self.size }, leaf);
        let mut complete = vec![top];
        // What ends with a right half is complete, and so on as long as that is a right half as well.
        while top.0.index % 2 == 1
            && let Some(left) = self.parts.pop()
        {
            top = (Node { level: top.0.level + 1, index: top.0.index / 2 }, node_hash(left, top.1));
            complete.push(top);
        }
        self.parts.push(top.1);
        self.size += 1;
        complete
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{hash_of, leaves, naive_root};
    use super::*;

    proptest! {
        #[test]
        fn a_tree_that_grows_is_the_tree_of_its_leaves(count in 0_usize..600) {
            let leaves = leaves(count);
            let mut tree = Frontier::default();
            for leaf in &leaves {
                for (node, hash) in tree.push(*leaf) {
                    prop_assert_eq!(hash, hash_of(&leaves, node));
                }
            }
            prop_assert_eq!(tree.root(), naive_root(&leaves));
            prop_assert_eq!(tree.size(), count as u64);
            prop_assert_eq!(Frontier::new(tree.size(), tree.parts().to_vec()), Some(tree));
        }
    }

    #[test]
    fn a_tree_has_as_many_parts_as_its_size_says() {
        let hash = leaves(1)[0];
        for (size, parts, sound) in
            [(0, 0, true), (0, 1, false), (4, 1, true), (4, 3, false), (7, 3, true), (7, 2, false)]
        {
            assert_eq!(Frontier::new(size, vec![hash; parts]).is_some(), sound, "{size} leaves, {parts} parts");
        }
    }
}
