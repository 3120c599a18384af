//! Where tiles are read from: memory, or a directory of files as it lies on disk or was copied from there.
//!
//! Nothing here is believed. A tile is whatever bytes bear its name; the tree that is made of them is compared with a
//! root, and a proof that is made of them is verified by whoever gets it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::hash::HASH_BYTES;
use crate::limits::ENTRY_BYTES_MAX;
use crate::tile::{Tile, TileId, TileLevel};

/// Why a tile could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// It is not there.
    #[error("{0} is missing: it was pruned, or was never written")]
    Missing(TileId),
    /// It does not have the size that its name says.
    #[error("{0} does not hold as many hashes as its name says")]
    Malformed(TileId),
    /// It could not be read.
    #[error("{tile} could not be read")]
    Io {
        /// The tile.
        tile: TileId,
        /// What the system says.
        source: io::Error,
    },
}

/// A place that holds tiles.
pub trait TileReader {
    /// Returns the bytes of exactly this tile, at most one more than its width asks for.
    ///
    /// # Errors
    /// [`TileError::Missing`] when there is none of this name.
    fn read(&self, tile: TileId) -> Result<Vec<u8>, TileError>;
}

/// Reads a tile of hashes. A partial one may have been deleted when the full one came: then that one's beginning.
pub(crate) fn fetch(reader: &impl TileReader, id: TileId) -> Result<Tile, TileError> {
    let (found, mut bytes) = match (reader.read(id), id.full()) {
        (Err(TileError::Missing(_)), Some(full)) if id.is_partial() => (full, reader.read(full)?),
        (read, _) => (id, read?),
    };
    let bytes_of = |id: TileId| usize::from(id.width()).saturating_mul(HASH_BYTES);
    if bytes.len() != bytes_of(found) {
        return Err(TileError::Malformed(found));
    }
    bytes.truncate(bytes_of(id));
    Tile::from_bytes(id, &bytes).ok_or(TileError::Malformed(id))
}

/// Tiles in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryTiles {
    tiles: BTreeMap<TileId, Vec<u8>>,
}

impl MemoryTiles {
    /// Keeps a tile, in place of one of the same name.
    pub fn insert(&mut self, tile: &Tile) {
        self.tiles.insert(tile.id(), tile.to_bytes());
    }

    /// Keeps bytes under a tile's name, whatever they are.
    pub fn insert_bytes(&mut self, id: TileId, bytes: Vec<u8>) {
        self.tiles.insert(id, bytes);
    }

    /// Forgets a tile; says whether it was there.
    pub fn remove(&mut self, id: TileId) -> bool {
        self.tiles.remove(&id).is_some()
    }

    /// The tiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = (TileId, &[u8])> {
        self.tiles.iter().map(|(id, bytes)| (*id, bytes.as_slice()))
    }
}

impl TileReader for MemoryTiles {
    fn read(&self, tile: TileId) -> Result<Vec<u8>, TileError> {
        self.tiles.get(&tile).cloned().ok_or(TileError::Missing(tile))
    }
}

/// Tiles in a directory, each in the file that its path names.
#[derive(Clone, Debug)]
pub struct DirectoryTiles {
    root: PathBuf,
}

impl DirectoryTiles {
    /// Reads below `root`, the directory in which `tile/` is.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

impl TileReader for DirectoryTiles {
    #[expect(clippy::disallowed_methods, reason = "read-only files, also of other people's logs")]
    fn read(&self, tile: TileId) -> Result<Vec<u8>, TileError> {
        let file = match File::open(self.root.join(tile.path())) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TileError::Missing(tile));
            }
            Err(source) => return Err(TileError::Io { tile, source }),
        };
        // One byte more than there may be shows that the file is too long, however long it is.
        let place_bytes = match tile.level() {
            TileLevel::Entries => ENTRY_BYTES_MAX.saturating_add(2) as u64,
            TileLevel::Hashes(_) => HASH_BYTES as u64,
        };
        let limit = u64::from(tile.width()).saturating_mul(place_bytes).saturating_add(1);
        let mut bytes = Vec::new();
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| TileError::Io { tile, source })?;
        Ok(bytes)
    }
}
