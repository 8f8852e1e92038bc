//! A transparency log: the Merkle tree of RFC 6962 over the events, and its proofs.
//!
//! The server keeps the tree and proves with it; whoever has an export of the events verifies without the server. Both use this. Nothing
//! here reads or waits: what needs hashes of the tree says which ([`Range::nodes`]), and they are read where they are kept.

pub mod chain;
mod checkpoint;
mod frontier;
mod note;
mod proofs;
mod tiles;

use std::fmt;

use sha2::{Digest as _, Sha256};

pub use checkpoint::{Checkpoint, CheckpointError};
pub use frontier::Frontier;
pub use note::{Note, NoteError, Signature, Signer, Verifier};
pub use proofs::{Range, Refuted, consistency, inclusion, verify_consistency, verify_inclusion};
pub use tiles::{Tile, TileError};

/// A SHA-256 hash: of a leaf, a node, or a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex(&self.0))
    }
}

/// The hash of a leaf with these bytes: `SHA-256(0x00 || bytes)`.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
}

/// The hash of a node above two others: `SHA-256(0x01 || left || right)`. The first byte differs from that of a leaf, so that no leaf
/// passes for a node.
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of a tree without leaves.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// A complete part of the tree: the 2^`level` leaves from `index` * 2^`level` on. Its hash never changes as the tree grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// How far above the leaves, which are at level 0; at most 63.
    pub level: u8,
    /// Which of its level, from the left, from 0.
    pub index: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The root of some leaves, as RFC 6962 defines it in section 2.1.
    pub(crate) fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(naive_root(left), naive_root(right))
            }
        }
    }

    /// So many leaves, each of other bytes.
    pub(crate) fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
    }

    /// The hash of a node of a tree of these leaves.
    pub(crate) fn hash_of(leaves: &[Hash], node: Node) -> Hash {
        let width = 1_usize << node.level;
        let start = usize::try_from(node.index).expect("small") * width;
        naive_root(&leaves[start..start + width])
    }

    #[test]
    fn roots_are_those_that_other_logs_have() {
        // The leaves and roots that the tests of Certificate Transparency share.
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Frontier::default();
        assert_eq!(crate::hex(&tree.root().0), roots[0]);
        for (leaf, root) in leaves.iter().zip(&roots[1..]) {
            tree.push(leaf_hash(leaf));
            assert_eq!(crate::hex(&tree.root().0), *root, "of {} leaves", tree.size());
        }
    }
}
