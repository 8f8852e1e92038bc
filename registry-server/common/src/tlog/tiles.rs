//! Tiles: the tree in pieces of a size that is good to keep, to copy, and to cache (C2SP tlog-tiles).

use std::fmt;
use std::str::FromStr;

use super::{Hash, Node, Range};

/// How many levels of the tree a tile has.
const HEIGHT: u8 = 8;
/// How many hashes a full tile has.
const FULL: u64 = 1 << HEIGHT;
/// The highest level of tiles that a tree of at most 2^64 leaves has.
const HIGHEST: u8 = 7;

/// A piece of the tree: up to 256 hashes of nodes that lie side by side, at a level that is a multiple of 8. What is above them, up to
/// the next such level, follows from them. Once full it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Of the tiles; its hashes are at eight times that level of the tree. At most 7.
    pub level: u8,
    /// Which of its level, from 0.
    pub index: u64,
    /// How many hashes it has: 1 to 256.
    pub width: u16,
}

impl Tile {
    /// The tile that has what a node's hash follows from, as wide as it is in a tree of this size; `None` if the node is not complete in
    /// such a tree.
    pub fn of(node: Node, size: u64) -> Option<Self> {
        if node.index >= size.checked_shr(node.level.into())? {
            return None;
        }
        let level = node.level / HEIGHT;
        let index = (node.index << (node.level % HEIGHT)) / FULL;
        let width = ((size >> (level * HEIGHT)).checked_sub(index * FULL)?).min(FULL);
        Some(Self { level, index, width: width as u16 })
    }

    /// Where it is, as it is kept and asked for: `tile/0/x001/234`, with `.p/7` behind it if it has only 7 hashes.
    pub fn path(self) -> String {
        let mut index = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            index = format!("x{:03}/{index}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{}/{index}{partial}", self.level)
    }

    /// Whether it has all its hashes.
    pub fn is_full(self) -> bool {
        u64::from(self.width) == FULL
    }

    /// The hash of a node, from the hashes of this tile; `None` if it does not follow from them, or they are not as many as they should.
    pub fn hash(self, node: Node, hashes: &[Hash]) -> Option<Hash> {
        let below = node.level % HEIGHT;
        let first = node.index.checked_shl(u32::from(below))?.checked_sub(self.index * FULL)?;
        let first = usize::try_from(first).ok()?;
        let row = hashes.get(first..first.checked_add(1 << below)?)?;
        let fits = node.level / HEIGHT == self.level && hashes.len() == usize::from(self.width);
        fits.then(|| root_of(row))
    }
}

/// The hash above 2^n others.
fn root_of(row: &[Hash]) -> Hash {
    match row {
        [one] => *one,
        _ => {
            let (left, right) = row.split_at(row.len() / 2);
            Range::hash(&[root_of(left), root_of(right)])
        }
    }
}

/// What is no path of a tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileError;

impl fmt::Display for TileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be the path of a tile, such as tile/0/x001/234 or tile/0/000.p/7")
    }
}

impl std::error::Error for TileError {}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        let parse = || {
            let (level, index) = path.strip_prefix("tile/")?.split_once('/')?;
            let (index, width) = index.split_once(".p/").unwrap_or((index, "256"));
            let mut number = 0_u64;
            for part in index.split('/') {
                let digits = part.strip_prefix('x').unwrap_or(part);
                number = number.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
            }
            Some(Self { level: level.parse().ok()?, index: number, width: width.parse().ok()? })
        };
        // A tile has one path: whatever else would be read as that tile is refused.
        let there = |tile: &Self| tile.level <= HIGHEST && (1..=FULL).contains(&u64::from(tile.width));
        parse().filter(there).filter(|tile| tile.path() == path).ok_or(TileError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{hash_of, leaves};
    use super::*;

    #[test]
    fn a_tile_has_one_path() {
        for (level, index, width, path) in [
            (0, 0, 256, "tile/0/000"),
            (0, 0, 7, "tile/0/000.p/7"),
            (1, 999, 256, "tile/1/999"),
            (0, 1234, 256, "tile/0/x001/234"),
            (0, 1_234_067, 1, "tile/0/x001/x234/067.p/1"),
            (2, 1_000_000, 256, "tile/2/x001/x000/000"),
        ] {
            let tile = Tile { level, index, width };
            assert_eq!(tile.path(), path);
            assert_eq!(path.parse::<Tile>(), Ok(tile));
        }
        for path in [
            "",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/00/000",
            "tile/+0/000",
            "tile/8/000",
            "tile/-1/000",
            "tile/0/x000/000",
            "tile/0/001/234",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/07",
            "tile/0/000/",
            "/tile/0/000",
            "tile/0/../000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(path.parse::<Tile>(), Err(TileError), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_leads_to_its_tile(level in 0_u8..=7, index: u64, width in 1_u16..=256) {
            let tile = Tile { level, index, width };
            prop_assert_eq!(tile.path().parse::<Tile>(), Ok(tile));
        }

        #[test]
        fn what_a_tile_says_of_a_node_is_its_hash(size in 1_usize..1200, level in 0_u8..11, at: u64) {
            let all = leaves(size);
            let there = (size as u64) >> level;
            prop_assume!(there > 0);
            let node = Node { level, index: at % there };
            let tile = Tile::of(node, size as u64).expect("it is complete");
            let entry = |number: u64| hash_of(&all, Node { level: tile.level * 8, index: tile.index * 256 + number });
            let hashes: Vec<_> = (0..u64::from(tile.width)).map(entry).collect();
            prop_assert_eq!(tile.hash(node, &hashes), Some(hash_of(&all, node)));
            prop_assert_eq!(tile.hash(node, &hashes[1..]), None);
            prop_assert_eq!(Tile::of(Node { level, index: there }, size as u64), None);
        }
    }

    #[test]
    fn tiles_reach_to_the_end_of_the_largest_tree() {
        let top = Node { level: 63, index: 0 };
        assert_eq!(Tile::of(top, u64::MAX), Some(Tile { level: 7, index: 0, width: 255 }));
        let last = Node { level: 0, index: u64::MAX - 1 };
        assert_eq!(Tile::of(last, u64::MAX), Some(Tile { level: 0, index: u64::MAX / 256, width: 255 }));
        assert_eq!(Tile::of(Node { level: 63, index: 1 }, u64::MAX), None);
        assert_eq!(Tile::of(Node { level: 0, index: 0 }, 0), None);
    }
}
