//! The leaves' records as files that any client of C2SP tlog-tiles can read: bundles of 256 entries, beside the tiles.
//!
//! A bundle follows from the segments, as a tile does. Only the open one is in memory: what of it was written before
//! this process began is read again, and each record compared with its leaf; what is missing of it is computed. Where
//! history was folded, that cannot be done any more; then bundles begin again with the next one that is whole.

use std::sync::Arc;

use change::Time;
use proof::{
    LEAF_BYTES, LeafRecord, Tile, TileId, TileLevel, TileReader, Tree, decode_bundle, encode_bundle,
};

use crate::notary::leaves::between;
use crate::notary::shelf::Shelf;
use crate::shared::Shared;

/// The entries of a full bundle.
const WIDTH: u64 = 256;

/// A bundle's name and its bytes.
pub(crate) type Bundle = (TileId, Vec<u8>);

/// Invariant: `open` holds the records of all leaves behind the last multiple of 256, or is `None` because some of them
/// are not known.
pub(crate) struct Bundles {
    open: Option<Vec<[u8; LEAF_BYTES]>>,
}

impl Bundles {
    /// Takes up the open bundle of a tree; `None` when its records are not there, or not those of the leaves.
    pub(crate) fn open(shelf: &Shelf, tree: &Tree) -> Option<Self> {
        read(shelf, tree).map(|records| Self { open: Some(records) })
    }

    /// Computes the open bundle of a tree from the log, as far as that holds its transactions.
    pub(crate) fn compute(shared: &Arc<Shared>, tree: &Tree) -> Self {
        let after = tree.size() - tree.size() % WIDTH;
        let Some(leaves) = open_leaves(tree) else { return Self { open: Some(Vec::new()) } };
        let records = match between(shared, Time(after), Time(tree.size())) {
            Ok(records) => records,
            Err(error) => {
                tracing::info!(%error, "records are published again from the next bundle on");
                return Self { open: None };
            }
        };
        let are_those = records.iter().map(LeafRecord::leaf).eq(leaves.hashes().iter().copied());
        Self { open: are_those.then(|| records.iter().map(LeafRecord::encode).collect()) }
    }

    /// Takes in the record of a leaf, the tree's `place`-th from 0 on; returns the bundle that it fills.
    pub(crate) fn append(&mut self, place: u64, record: [u8; LEAF_BYTES]) -> Option<Bundle> {
        if place.is_multiple_of(WIDTH) {
            self.open = Some(Vec::new());
        }
        let open = self.open.as_mut()?;
        assert_eq!(open.len() as u64, place % WIDTH, "entries follow each other");
        open.push(record);
        if open.len() as u64 == WIDTH { self.partial(place + 1) } else { None }
    }

    /// The last bundle of a tree of `size` leaves, as far as it is filled; `None` when it has no entries, or not all of
    /// them are known.
    pub(crate) fn partial(&self, size: u64) -> Option<Bundle> {
        let open = self.open.as_ref().filter(|open| !open.is_empty())?;
        let width = u16::try_from(open.len()).expect("a bundle has at most 256 entries");
        let id = TileId::new(TileLevel::Entries, size.checked_sub(1)? / WIDTH, width);
        let bytes = encode_bundle(open.iter().map(|record| &record[..]));
        Some((id?, bytes.expect("records fit a bundle")))
    }
}

/// The tile of the leaves that the open bundle of a tree is about; `None` when no bundle is open.
fn open_leaves(tree: &Tree) -> Option<Tile> {
    let leaves = |tile: &Tile| tile.id().level() == TileLevel::Hashes(0);
    tree.partial_tiles().into_iter().find(leaves)
}

fn read(shelf: &Shelf, tree: &Tree) -> Option<Vec<[u8; LEAF_BYTES]>> {
    let Some(leaves) = open_leaves(tree) else { return Some(Vec::new()) };
    let id = TileId::new(TileLevel::Entries, leaves.id().index(), leaves.id().width())?;
    // A narrower bundle goes when the full one is there, which begins with it.
    let read = |id: TileId| TileReader::read(shelf, id).ok().map(|bytes| (id, bytes));
    let (found, bytes) = read(id).or_else(|| read(id.full()?))?;
    let records = decode_bundle(&bytes, found.width())?.into_iter().zip(leaves.hashes());
    let records = records.map(|(entry, leaf)| {
        let record = LeafRecord::decode(entry).ok()?;
        (record.leaf() == *leaf).then(|| record.encode())
    });
    records.collect()
}
