//! The tree's files as one list of its leaves' hashes, and back: what a backup has of the tree.
//!
//! All tiles follow from the leaves, and the list only grows, so a backup has 32 bytes a transaction of it instead of
//! thousands of small files. (The leaves follow from the segments; but with the list a backup shows what was signed also
//! where segments are damaged.)

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proof::{
    DirectoryTiles, HASH_BYTES, Hash, Tile, TileError, TileId, TileLevel, TileReader, Tree,
};

/// The name of the list in a backup.
pub(crate) const LEAVES: &str = "proof/leaves";

/// The tiles of a directory. Of a partial one that is not there, the beginning of a wider one is read.
pub(crate) struct Tiles {
    root: PathBuf,
    files: DirectoryTiles,
}

impl Tiles {
    /// Reads below the directory in which `tile/` is.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: DirectoryTiles::new(root.to_owned()) }
    }

    /// The leaves' hashes from `at` to the end of a tile, in a tree of `size` leaves.
    pub(crate) fn leaves(&self, at: u64, size: u64) -> Result<Vec<Hash>, TileError> {
        let id = TileId::holding(TileLevel::Hashes(0), at, size);
        let id = id.expect("the tree has that leaf");
        let tile = Tile::from_bytes(id, &self.read(id)?).ok_or(TileError::Malformed(id))?;
        let skipped = usize::from(u8::try_from(at % 256).expect("below 256"));
        Ok(tile.hashes().iter().skip(skipped).copied().collect())
    }

    /// The tiles at the same place that hold more, the narrowest first.
    fn wider(&self, tile: TileId) -> Vec<TileId> {
        let Some(full) = tile.full() else { return Vec::new() };
        let dir = self.root.join(format!("{}.p", full.path()));
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        let widths = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let wider = widths.filter(|width: &u16| *width > tile.width());
        let mut wider: Vec<TileId> =
            wider.filter_map(|width| TileId::new(tile.level(), tile.index(), width)).collect();
        wider.sort();
        wider.push(full);
        wider
    }
}

impl TileReader for Tiles {
    fn read(&self, tile: TileId) -> Result<Vec<u8>, TileError> {
        let found = self.files.read(tile);
        let Err(TileError::Missing(_)) = found else { return found };
        let bytes = usize::from(tile.width()) * HASH_BYTES;
        for wider in self.wider(tile) {
            match self.files.read(wider) {
                Err(TileError::Missing(_)) => {}
                read => {
                    let mut content = read?;
                    content.truncate(bytes);
                    return Ok(content);
                }
            }
        }
        Err(TileError::Missing(tile))
    }
}

/// Writes a tree's tiles while its leaves come.
pub(crate) struct TileWriter {
    root: PathBuf,
    tree: Tree,
    filled: Vec<Tile>,
    made: BTreeSet<PathBuf>,
}

impl TileWriter {
    /// Writes below the directory in which `tile/` is to be.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), tree: Tree::new(), filled: Vec::new(), made: BTreeSet::new() }
    }

    /// Takes hashes of leaves, one behind the other.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "half a hash"));
        }
        for hash in hashes {
            self.tree.append(Hash(*hash), &mut self.filled);
            for tile in std::mem::take(&mut self.filled) {
                self.write(&tile)?;
            }
        }
        Ok(())
    }

    /// Writes the tiles that are not full; returns the tree.
    pub(crate) fn finish(mut self) -> io::Result<Tree> {
        for tile in self.tree.partial_tiles() {
            self.write(&tile)?;
        }
        Ok(self.tree)
    }

    fn write(&mut self, tile: &Tile) -> io::Result<()> {
        let path = self.root.join(tile.id().path());
        let dir = path.parent().unwrap_or(&self.root);
        if !self.made.contains(dir) {
            fs::create_dir_all(dir)?;
            self.made.insert(dir.to_owned());
        }
        fs::write(path, tile.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proof::leaf_hash;

    use super::*;

    #[test]
    fn a_tree_comes_back_from_its_leaves_and_knows_its_earlier_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let hashes: Vec<Hash> = (0..700_u64).map(|leaf| leaf_hash(&leaf.to_le_bytes())).collect();
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        let mut writer = TileWriter::new(dir.path());
        writer.take(&bytes[..100 * HASH_BYTES]).unwrap();
        writer.take(&bytes[100 * HASH_BYTES..]).unwrap();
        assert!(writer.take(&bytes[..1]).is_err());
        let tree = writer.finish().unwrap();
        let tiles = Tiles::new(dir.path());
        for size in [1, 255, 256, 257, 511, 600, 699, 700] {
            let root = proof::root_of(hashes.iter().copied().take(size));
            Tree::open(&tiles, size as u64, &root).unwrap();
        }
        assert_eq!(tree.root(), proof::root_of(hashes.iter().copied()));
        for at in [0_usize, 255, 256, 699] {
            let found = tiles.leaves(at as u64, 700).unwrap();
            let end = ((at / 256 + 1) * 256).min(700);
            assert_eq!(found, hashes[at..end]);
        }
    }
}
