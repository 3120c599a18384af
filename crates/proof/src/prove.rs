//! Making proofs from tiles.
//!
//! Both proofs are lists of roots of ranges of leaves, found by walking from the root of the tree towards one place.
//! At each node the list `D[lo:hi]` is split at `lo + k`, with `k` the largest power of two below `hi − lo`; the walk
//! goes on into one half, and the root of the **other** half is noted.
//!
//! **Inclusion** of leaf `m` walks to that leaf. Whoever knows the leaf can hash the noted roots in, from the last to
//! the first, and arrive at the root.
//!
//! ```text
//!                root                       leaf 2 of 7:
//!            /          \                     [3], then [0,1], then [4..7)
//!        [0..4)        [4..7)
//!        /    \        /    \
//!     [0,1]  [2,3]  [4,5]   [6]
//! ```
//!
//! **Consistency** of `D[0:m]` with `D[0:n]` walks to where `m` ends. Every range left of that place is in both trees;
//! every range right of it is in the new one only. Where the walk stops, at a subtree that ends exactly at `m`, its
//! root is noted as well, unless it is the whole old tree, whose root the verifier knows. So both roots can be
//! computed from the same list: the old one from what lies left, the new one from everything.
//!
//! The ranges are read from tiles: a range is a few perfect subtrees, one for each bit of its length, and a perfect
//! subtree of height `8l + r` is 2^r neighbouring hashes of level `l`.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::hash::{EMPTY_ROOT, Hash, node_hash};
use crate::limits::{SIZE_MAX, TILE_HEIGHT};
use crate::store::{TileError, TileReader, fetch};
use crate::tile::{TileId, TileLevel};
use crate::tree::perfect_root;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The tree has no such leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Leaf {
        /// The leaf.
        index: u64,
        /// The number of leaves.
        size: u64,
    },
    /// The tree is larger than the one whose tiles are there.
    #[error("the tree of {size} leaves is not published: there are tiles of {published} leaves")]
    Unpublished {
        /// The number of leaves that was asked for.
        size: u64,
        /// The number of leaves that have tiles.
        published: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {old} leaves cannot become one of {new}")]
    Sizes {
        /// The old tree's number of leaves.
        old: u64,
        /// The new tree's number of leaves.
        new: u64,
    },
    /// A tile is missing or damaged.
    #[error(transparent)]
    Tile(#[from] TileError),
}

/// Makes proofs from the tiles of a published tree, about it and about every smaller one.
///
/// A smaller tree's partial tiles need not be there: what they held is the beginning of wider ones.
#[derive(Debug)]
pub struct Prover<'a, R> {
    reader: &'a R,
    published: u64,
}

impl<'a, R: TileReader> Prover<'a, R> {
    /// Reads the tiles of the tree of `published` leaves.
    #[must_use]
    pub fn new(reader: &'a R, published: u64) -> Self {
        Self { reader, published: published.min(SIZE_MAX) }
    }

    /// Proves that a leaf is in the tree of `size` leaves: the path from the leaf's sibling to the root's child.
    ///
    /// # Errors
    /// When there is no such leaf or no such tree, or a tile is missing or damaged.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProveError> {
        if index >= size {
            return Err(ProveError::Leaf { index, size });
        }
        let mut nodes = self.nodes(size)?;
        let (mut whole, mut noted) = (0..size, Vec::new());
        while let Some(middle) = split(&whole) {
            let (left, right) = (whole.start..middle, middle..whole.end);
            let other;
            (whole, other) = if index < middle { (left, right) } else { (right, left) };
            noted.push(other);
        }
        noted.into_iter().rev().map(|range| nodes.range(range)).collect()
    }

    /// Proves that the tree of `old` leaves is the beginning of the tree of `new` leaves.
    ///
    /// The proof is empty when the sizes are equal or the old tree has no leaves.
    ///
    /// # Errors
    /// When there are no such trees, or a tile is missing or damaged.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProveError> {
        if old > new {
            return Err(ProveError::Sizes { old, new });
        }
        let mut nodes = self.nodes(new)?;
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let (mut whole, mut noted) = (0..new, Vec::new());
        while let Some(middle) = split(&whole).filter(|_| whole.end != old) {
            let (left, right) = (whole.start..middle, middle..whole.end);
            let other;
            (whole, other) = if old <= middle { (left, right) } else { (right, left) };
            noted.push(other);
        }
        // The old tree as a whole is what the verifier begins with.
        if whole.start > 0 {
            noted.push(whole);
        }
        noted.into_iter().rev().map(|range| nodes.range(range)).collect()
    }

    /// Computes the root of the tree of `size` leaves.
    ///
    /// # Errors
    /// When there is no such tree, or a tile is missing or damaged.
    pub fn root(&self, size: u64) -> Result<Hash, ProveError> {
        let mut nodes = self.nodes(size)?;
        if size == 0 { Ok(EMPTY_ROOT) } else { nodes.range(0..size) }
    }

    fn nodes(&self, size: u64) -> Result<Nodes<'a, R>, ProveError> {
        if size > self.published {
            return Err(ProveError::Unpublished { size, published: self.published });
        }
        Ok(Nodes { reader: self.reader, size: self.published, tiles: BTreeMap::new() })
    }
}

/// Returns where a range of leaves is split: behind the largest power of two that is smaller than its length. A single
/// leaf is not split.
fn split(range: &Range<u64>) -> Option<u64> {
    let length = range.end.checked_sub(range.start)?;
    let bit = length.checked_sub(1)?.checked_ilog2()?;
    range.start.checked_add(1_u64.checked_shl(bit)?)
}

/// The nodes of a tree of `size` leaves, read from tiles; each tile is read once.
struct Nodes<'a, R> {
    reader: &'a R,
    size: u64,
    tiles: BTreeMap<TileId, Vec<Hash>>,
}

impl<R: TileReader> Nodes<'_, R> {
    /// The root over a range that the tree's shape has: its begin is a multiple of a power of two not below its length.
    fn range(&mut self, range: Range<u64>) -> Result<Hash, ProveError> {
        let mut roots = Vec::new();
        let mut begin = range.start;
        while let Some(bit) = range.end.saturating_sub(begin).checked_ilog2() {
            roots.push(self.perfect(bit, begin)?);
            begin = begin.saturating_add(1_u64.checked_shl(bit).expect("a bit of a number"));
        }
        let folded = roots.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
        Ok(folded.expect("a range of the tree's shape is not empty"))
    }

    /// The root of the perfect subtree of 2^`height` leaves that begins at leaf `begin`.
    fn perfect(&mut self, height: u32, begin: u64) -> Result<Hash, ProveError> {
        let (level, above) = (height >> 3, height & 7);
        let kept_height = level.saturating_mul(TILE_HEIGHT);
        let place = begin.checked_shr(kept_height).expect("a height below 64");
        let level = TileLevel::Hashes(u8::try_from(level).expect("a tree has few levels"));
        let id = TileId::holding(level, place, self.size).expect("the subtree is in the tree");
        let hashes = match self.tiles.entry(id) {
            std::collections::btree_map::Entry::Occupied(tile) => tile.into_mut(),
            std::collections::btree_map::Entry::Vacant(tile) => {
                tile.insert(fetch(self.reader, id)?.hashes().to_vec())
            }
        };
        let first = usize::try_from(place & u64::from(u8::MAX)).expect("a place in a tile");
        let count = 1_usize.checked_shl(above).expect("at most 128 hashes of a tile");
        let subtree = hashes.get(first..first.saturating_add(count));
        Ok(perfect_root(subtree.expect("the subtree is in the tile").to_vec()))
    }
}
