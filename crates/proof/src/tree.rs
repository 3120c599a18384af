//! A tree that grows: one leaf at a time, with nothing kept but its right edge.
//!
//! Write the size in binary. Each bit that is set stands for a perfect subtree, the largest first: 13 leaves are
//! 8 + 4 + 1. Their roots are the **edge**, and they are all that the future of the tree depends on. A new leaf is a
//! binary counter's increment, in which a carry is one hash:
//!
//! ```text
//!  13 = 1101    [8] [4] [1] + leaf   →   [8] [4] [2]        14 = 1110
//!  15 = 1111    [8] [4] [2] [1] + leaf   →   [16]           16 = 10000
//! ```
//!
//! So each inner node of a perfect subtree is hashed once, when its last leaf comes: one node a leaf on average, at
//! most 63 at a time. The root folds the edge from the right, as RFC 6962 splits a list at the largest power of two:
//! `H([8], H([4], [1]))`.
//!
//! A node at a height of 8·l is also a hash of tile level l. It is put into that level's open tile, which is given out
//! when it is full.

use crate::hash::{EMPTY_ROOT, Hash, node_hash};
use crate::limits::{SIZE_MAX, TILE_HEIGHT, TILE_WIDTH};
use crate::store::{TileError, TileReader, fetch};
use crate::tile::{Tile, TileId, TileLevel};

/// A Merkle tree's right edge.
///
/// Invariant: one root on the edge for each bit set in the size, the largest subtree first; and in the open tile of
/// each level as many hashes as the tree's partial tile has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    edge: Vec<Hash>,
    open: Vec<Vec<Hash>>,
}

/// Why a tree could not be had from its tiles.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// No tree has so many leaves.
    #[error("a tree cannot have {0} leaves")]
    Size(u64),
    /// A tile is missing or damaged.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The tiles are those of another tree.
    #[error("the tiles of {size} leaves have the root {found}, not {expected}")]
    Root {
        /// The number of leaves.
        size: u64,
        /// The root that was asked for.
        expected: Hash,
        /// The root that the tiles have.
        found: Hash,
    },
}

impl Tree {
    /// Returns the tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rebuilds the right edge of a tree from its partial tiles, and compares it with the root that it must have.
    ///
    /// # Errors
    /// When a tile is missing or damaged, or the root is another one.
    pub fn open(reader: &impl TileReader, size: u64, root: &Hash) -> Result<Self, TreeError> {
        if size > SIZE_MAX {
            return Err(TreeError::Size(size));
        }
        let mut tree = Self { size, ..Self::default() };
        for id in TileId::partials(size) {
            let TileLevel::Hashes(level) = id.level() else { continue };
            *tree.open_tile(usize::from(level)) = fetch(reader, id)?.hashes().to_vec();
        }
        // The highest level holds the leftmost, largest subtrees.
        for hashes in tree.open.iter().rev() {
            push_edge(&mut tree.edge, hashes);
        }
        let found = tree.root();
        if found != *root {
            return Err(TreeError::Root { size, expected: *root, found });
        }
        Ok(tree)
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash. Tiles that it fills are added to `filled`, lower levels first.
    ///
    /// # Panics
    /// When the tree has [`SIZE_MAX`] leaves.
    pub fn append(&mut self, leaf: Hash, filled: &mut Vec<Tile>) {
        assert!(self.size < SIZE_MAX, "a tree has fewer than 2^63 leaves");
        self.place(0, leaf, filled);
        let mut node = leaf;
        for height in 1..=self.size.trailing_ones() {
            let left = self.edge.pop().expect("one root on the edge for each bit of the size");
            node = node_hash(&left, &node);
            if height & 7 == 0 {
                self.place(height >> 3, node, filled);
            }
        }
        self.edge.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// Puts a node into the open tile of its level, and gives the tile out when that fills it.
    fn place(&mut self, level: u32, node: Hash, filled: &mut Vec<Tile>) {
        let index = self.size.checked_shr(level.saturating_add(1).saturating_mul(TILE_HEIGHT));
        let slot = usize::try_from(level).expect("a tree has few levels");
        let hashes = self.open_tile(slot);
        hashes.push(node);
        if hashes.len() < usize::from(TILE_WIDTH) {
            return;
        }
        let hashes = std::mem::replace(hashes, Vec::with_capacity(usize::from(TILE_WIDTH)));
        let level = TileLevel::Hashes(u8::try_from(level).expect("a tree has few levels"));
        let id = TileId::new(level, index.unwrap_or(0), TILE_WIDTH);
        filled.push(Tile::new(id.expect("the tree holds the tile"), hashes));
    }

    fn open_tile(&mut self, level: usize) -> &mut Vec<Hash> {
        if self.open.len() <= level {
            self.open.resize_with(level.saturating_add(1), Vec::new);
        }
        self.open.get_mut(level).expect("made above")
    }

    /// Returns the root. It costs one hash for each subtree on the edge.
    #[must_use]
    pub fn root(&self) -> Hash {
        let folded = self.edge.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        folded.unwrap_or(EMPTY_ROOT)
    }

    /// Returns the partial tiles, which must be written before a checkpoint of this size is published.
    #[must_use]
    pub fn partial_tiles(&self) -> Vec<Tile> {
        let ids = TileId::partials(self.size).into_iter();
        let tiles = ids.filter_map(|id| match id.level() {
            TileLevel::Entries => None,
            TileLevel::Hashes(level) => {
                self.open.get(usize::from(level)).map(|hashes| Tile::new(id, hashes.clone()))
            }
        });
        tiles.collect()
    }
}

/// Adds the roots of the perfect subtrees over a partial tile's hashes to the edge: one for each bit of their number.
fn push_edge(edge: &mut Vec<Hash>, hashes: &[Hash]) {
    let mut rest = hashes;
    while let Some(width) = rest.len().checked_ilog2().and_then(|bit| 1_usize.checked_shl(bit)) {
        let (subtree, after) = rest.split_at_checked(width).expect("not more than there are");
        edge.push(perfect_root(subtree.to_vec()));
        rest = after;
    }
}

/// Returns the root over hashes whose number is a power of two.
pub(crate) fn perfect_root(mut hashes: Vec<Hash>) -> Hash {
    assert!(hashes.len().is_power_of_two(), "the subtree is perfect");
    while hashes.len() > 1 {
        let pairs = hashes.as_chunks::<2>().0.iter();
        hashes = pairs.map(|[left, right]| node_hash(left, right)).collect();
    }
    hashes.pop().expect("a perfect subtree has a root")
}

/// Returns the root over the hashes of leaves.
#[must_use]
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut tree = Tree::new();
    let mut filled = Vec::new();
    for leaf in leaves {
        tree.append(leaf, &mut filled);
        filled.clear();
    }
    tree.root()
}
