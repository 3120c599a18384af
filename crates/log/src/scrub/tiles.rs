//! The tree's tiles, compared with what was signed from the root down, and made again.
//!
//! A full tile is right when its root is the hash that the tile above it has in its place; the highest are right when the
//! signed root follows from them. So a tile that went bad is told from a log that was changed: the first is made again from
//! what is below it, when that fits; the second is not covered up.
//!
//! Below a bad tile nothing says whether a tile is right. So what can be made again there is kept in memory until the tile
//! above, made of it, fits; then both are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use change::Time;
use proof::{
    Checkpoint, HASH_BYTES, Hash, MemoryTiles, Note, Tile, TileError, TileId, TileLevel,
    TileReader, Tree, root_of,
};

use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::limits::{in_memory, on_disk};
use crate::notary::proof_dir;
use crate::scrub::survey::Pace;

/// The hashes of a full tile.
const WIDTH: u16 = 256;
/// The bytes of a full tile.
const TILE_BYTES: u64 = 256 * HASH_BYTES as u64;

/// A tile that is not right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadTile {
    pub(crate) id: TileId,
    pub(crate) reason: String,
    /// Its root, as the tile above has it; `None` when that one is not right itself.
    root: Option<Hash>,
}

impl BadTile {
    /// Whether it has the hashes of leaves.
    pub(crate) fn is_of_leaves(&self) -> bool {
        self.id.level() == LEAVES
    }
}

/// The tiles of the state that was signed last.
pub(crate) struct Tiles {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// How many leaves the signed tree has; 0 when nothing is signed.
    size: u64,
    pub(crate) bad: Vec<BadTile>,
    /// How many were read.
    pub(crate) read: u64,
    /// How many leaves were compared with nothing that is known to be right.
    pub(crate) uncompared: u64,
    /// The tile that leaves were compared with last.
    current: Option<(u64, Vec<Hash>)>,
    /// The leaves of tiles of level 0 that are to be made again, or may be, by the tiles' numbers.
    leaves: BTreeMap<u64, Vec<Hash>>,
    /// Tiles of level 0 that can be read, below one that is not right.
    unsure: BTreeSet<u64>,
    /// Tiles as they follow from what is below them, while nothing says whether they are right.
    candidates: BTreeMap<TileId, Vec<Hash>>,
    /// Tiles of level 0 that were not right, and are now.
    mended: BTreeSet<u64>,
}

/// Which of two tiles is taken first to make the one above: the one that lies on the disk, or the one that was computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Held,
    Computed,
}

impl Tiles {
    /// Reads what is signed. A checkpoint that cannot be read means that nothing is.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
            root: proof_dir(dir),
            size: 0,
            bad: Vec::new(),
            read: 0,
            uncompared: 0,
            current: None,
            leaves: BTreeMap::new(),
            unsure: BTreeSet::new(),
            candidates: BTreeMap::new(),
            mended: BTreeSet::new(),
        }
    }

    /// The file of a tile, below the log's directory.
    pub(crate) fn file(id: TileId) -> String {
        format!("proof/{}", id.path())
    }

    /// The Times that a tile covers.
    pub(crate) fn covers(id: TileId) -> (Time, Time) {
        let TileLevel::Hashes(level) = id.level() else { return (Time::ZERO, Time::ZERO) };
        let leaves = 1_u64.checked_shl(8 * u32::from(level)).unwrap_or(u64::MAX);
        let begin = id.index().saturating_mul(256).saturating_mul(leaves);
        let end = begin.saturating_add(u64::from(id.width()).saturating_mul(leaves));
        (Time(begin.saturating_add(1)), Time(end))
    }

    /// Compares all full tiles of the signed tree with those above them, from the root down.
    pub(crate) fn verify(&mut self, pace: &mut Pace<'_>) {
        let Some(signed) = self.signed() else { return };
        self.size = signed.size();
        if let Err(error) = Tree::open(self, signed.size(), &signed.root()) {
            // The notary may have signed more meanwhile, and have removed what was narrower.
            match self.signed() {
                Some(newer) if newer.size() > signed.size() => return self.verify(pace),
                _ => self.edge_is_bad(&error.to_string()),
            }
        }
        for level in (0..8).rev() {
            self.verify_level(level, pace);
        }
    }

    fn verify_level(&mut self, level: u8, pace: &mut Pace<'_>) {
        let full = self.size >> (8 * (u32::from(level) + 1)).min(63);
        let mut above: Option<(u64, Option<Vec<Hash>>)> = None;
        for index in 0..full {
            let Some(id) = TileId::new(TileLevel::Hashes(level), index, WIDTH) else { return };
            let parent = index / u64::from(WIDTH);
            if above.as_ref().is_none_or(|(number, _)| *number != parent) {
                above = Some((parent, self.above(level, parent)));
            }
            let place = in_memory(index % u64::from(WIDTH));
            let hashes = above.as_ref().and_then(|(_, hashes)| hashes.as_ref());
            let expected = hashes.and_then(|hashes| hashes.get(place)).copied();
            if let Some(reason) = self.wrong(id, expected) {
                self.bad.push(BadTile { id, reason, root: expected });
            } else if level == 0 && expected.is_none() {
                self.unsure.insert(index);
            }
            self.read += 1;
            if pace(TILE_BYTES).is_break() {
                return;
            }
        }
    }

    /// The hashes of the tile above a tile's, when they are right.
    fn above(&self, level: u8, number: u64) -> Option<Vec<Hash>> {
        let level = TileLevel::Hashes(level.checked_add(1)?);
        let id = TileId::holding(level, number.checked_mul(u64::from(WIDTH))?, self.size)?;
        if self.bad.iter().any(|bad| (bad.id.level(), bad.id.index()) == (level, number)) {
            return None;
        }
        self.hashes(id).ok()
    }

    /// What is wrong with a tile.
    fn wrong(&self, id: TileId, expected: Option<Hash>) -> Option<String> {
        match (self.hashes(id), expected) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(hashes), Some(expected)) if root_of(hashes.iter().copied()) != expected => {
                Some("it is not the tile that was signed".to_owned())
            }
            (Ok(_), _) => None,
        }
    }

    /// The tiles at the tree's right edge do not have the root that was signed: none of them is trusted.
    fn edge_is_bad(&mut self, reason: &str) {
        for id in TileId::partials(self.size) {
            self.bad.push(BadTile { id, reason: reason.to_owned(), root: None });
        }
    }

    /// Compares a leaf with the tile that it is in; returns whether it is another one than was signed.
    pub(crate) fn differs(&mut self, time: Time, leaf: Hash) -> bool {
        let Some(place) = time.0.checked_sub(1).filter(|place| *place < self.size) else {
            return false;
        };
        let (index, at) = (place / u64::from(WIDTH), in_memory(place % u64::from(WIDTH)));
        let is_bad = |bad: &BadTile| (bad.id.level(), bad.id.index()) == (LEAVES, index);
        let is_bad = self.bad.iter().any(is_bad);
        if is_bad || self.unsure.contains(&index) {
            self.uncompared += 1;
            let leaves = self.leaves.entry(index).or_default();
            if leaves.len() == at {
                leaves.push(leaf);
            }
        }
        if is_bad {
            return false;
        }
        if self.current.as_ref().is_none_or(|(current, _)| *current != index) {
            let id = TileId::holding(LEAVES, place, self.size);
            self.current = id.and_then(|id| Some((index, self.hashes(id).ok()?)));
        }
        let known = self.current.as_ref().and_then(|(_, hashes)| hashes.get(at));
        self.uncompared += u64::from(known.is_none());
        known.is_some_and(|known| *known != leaf)
    }

    /// Takes leaves, for bad tiles of which not all can be computed, from elsewhere; what is made of them is compared.
    pub(crate) fn fill(&mut self, mut from: impl FnMut(u64, u16) -> Option<Vec<u8>>) {
        for bad in self.bad.iter().filter(|bad| bad.is_of_leaves()) {
            let (index, width) = (bad.id.index(), bad.id.width());
            let known = self.leaves.get(&index).map_or(0, Vec::len);
            let is_here = || self.hashes(bad.id).is_ok() && bad.id.is_partial();
            if known >= usize::from(width) {
                continue;
            }
            if let Some(bytes) = from(index, width) {
                let hashes = bytes.as_chunks().0.iter().map(|hash| Hash(*hash)).collect();
                self.leaves.insert(index, hashes);
            } else if is_here() {
                // At the tree's edge it may be another one that is not right.
                self.leaves.insert(index, self.hashes(bad.id).unwrap_or_default());
            }
        }
    }

    /// Makes bad tiles again, of which all that is below is right; returns how many. Those are not bad any more.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn make_again(&mut self) -> Result<u64, LogError> {
        let mut made = 0;
        // From the leaves up: a tile is made of those below it.
        for bad in std::mem::take(&mut self.bad).into_iter().rev() {
            match self.make(&bad)? {
                0 => self.bad.push(bad),
                tiles => made += tiles,
            }
        }
        self.bad.reverse();
        for first in [First::Held, First::Computed] {
            made += self.make_edge_again(first)?;
        }
        Ok(made)
    }

    /// Makes a tile again, and those below it that it says are right; returns how many were written.
    fn make(&mut self, bad: &BadTile) -> Result<u64, LogError> {
        for first in [First::Held, First::Computed] {
            let hashes = self.made_of(bad.id, first);
            let is_full = |hashes: &Vec<Hash>| hashes.len() == usize::from(WIDTH);
            let Some(hashes) = hashes.filter(|hashes| !bad.id.is_partial() && is_full(hashes))
            else {
                continue;
            };
            match bad.root {
                Some(root) if root == root_of(hashes.iter().copied()) => {
                    let below = self.settle(bad.id, first)?;
                    self.write(bad.id, &hashes)?;
                    return Ok(below + 1);
                }
                Some(_) => {}
                None => drop(self.candidates.insert(bad.id, hashes)),
            }
        }
        Ok(0)
    }

    /// Writes the tiles below one that turned out right, as far as they were computed for it; returns how many.
    fn settle(&mut self, id: TileId, first: First) -> Result<u64, LogError> {
        let mut written = 0;
        for child in Self::children(id).unwrap_or_default() {
            let Some(computed) = self.computed(child) else { continue };
            let held = self.hashes(child).ok();
            let is_held = held.as_ref() == Some(&computed);
            if held.is_none() || first == First::Computed {
                written += self.settle(child, first)?;
                if !is_held {
                    self.write(child, &computed)?;
                    written += 1;
                }
                self.bad.retain(|bad| bad.id != child);
            }
        }
        Ok(written)
    }

    /// Makes the tiles at the tree's right edge again, all of them or none: only together they have the signed root.
    fn make_edge_again(&mut self, first: First) -> Result<u64, LogError> {
        let ids = TileId::partials(self.size);
        let is_edge = |bad: &BadTile| ids.contains(&bad.id);
        let Some(signed) = self.signed().filter(|_| self.bad.iter().any(is_edge)) else {
            return Ok(0);
        };
        let (mut tiles, mut made) = (MemoryTiles::default(), Vec::new());
        for id in &ids {
            let hashes = self.made_of(*id, first).and_then(|hashes| {
                let width = usize::from(id.width());
                hashes.get(..width).map(<[Hash]>::to_vec)
            });
            let Some(hashes) = hashes else { return Ok(0) };
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            tiles.insert_bytes(*id, bytes);
            made.push((*id, hashes));
        }
        let is_right = Tree::open(&tiles, self.size, &signed.root()).is_ok();
        if signed.size() != self.size || !is_right {
            return Ok(0);
        }
        let mut written = on_disk(made.len());
        for (id, hashes) in &made {
            written += self.settle(*id, first)?;
            self.write(*id, hashes)?;
        }
        self.bad.retain(|bad| !is_edge(bad));
        Ok(written)
    }

    fn made_of(&self, id: TileId, first: First) -> Option<Vec<Hash>> {
        if id.level() == LEAVES {
            return self.leaves.get(&id.index()).cloned();
        }
        let root = |child| {
            let held = || self.hashes(child).ok();
            let hashes = match first {
                First::Held => held().or_else(|| self.computed(child)),
                First::Computed => self.computed(child).or_else(held),
            };
            Some(root_of(hashes?))
        };
        Self::children(id)?.into_iter().map(root).collect()
    }

    /// The full tiles that a tile has the roots of; none below the leaves'.
    fn children(id: TileId) -> Option<Vec<TileId>> {
        let TileLevel::Hashes(level) = id.level() else { return None };
        let below = TileLevel::Hashes(level.checked_sub(1)?);
        let first = id.index().checked_mul(u64::from(WIDTH))?;
        let children = first..first.checked_add(id.width().into())?;
        children.map(|index| TileId::new(below, index, WIDTH)).collect()
    }

    /// A full tile as it follows from what is below it, when nothing said whether that is right.
    fn computed(&self, id: TileId) -> Option<Vec<Hash>> {
        let is_unsure = id.level() == LEAVES && self.unsure.contains(&id.index());
        let leaves = self.leaves.get(&id.index()).filter(|_| is_unsure);
        let leaves = leaves.filter(|leaves| leaves.len() == usize::from(WIDTH));
        self.candidates.get(&id).or(leaves).cloned()
    }

    /// Whether transactions differed from a tile that was not right itself: they are what was signed.
    pub(crate) fn clears(&self, (first, last): (Time, Time)) -> bool {
        let tile = |time: Time| time.0.saturating_sub(1) / u64::from(WIDTH);
        (tile(first)..=tile(last)).all(|tile| self.mended.contains(&tile))
    }

    fn write(&mut self, id: TileId, hashes: &[Hash]) -> Result<(), LogError> {
        if id.level() == LEAVES {
            self.mended.insert(id.index());
        }
        let (path, unborn) = (self.root.join(id.path()), self.root.join("remade"));
        let failed = |error| LogError::io("write", &path, error);
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        self.disk.create_dir(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        let file = self.disk.create(&unborn).map_err(failed)?;
        file.write_at(&[&bytes], 0).map_err(failed)?;
        file.sync().map_err(failed)?;
        self.disk.rename(&unborn, &path).map_err(failed)
    }

    fn signed(&self) -> Option<Checkpoint> {
        let note = Note::parse(&self.bytes(&self.root.join("checkpoint")).ok()??).ok()?;
        Checkpoint::parse(note.text()).ok().filter(|state| state.size() > 0)
    }

    fn hashes(&self, id: TileId) -> Result<Vec<Hash>, TileError> {
        let bytes = TileReader::read(self, id)?;
        let tile = Tile::from_bytes(id, &bytes).ok_or(TileError::Malformed(id))?;
        Ok(tile.hashes().to_vec())
    }

    fn bytes(&self, path: &Path) -> std::io::Result<Option<Vec<u8>>> {
        let file = match self.disk.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.forget();
        let length = file.length()?.min(1 << 20);
        let mut bytes = vec![0; in_memory(length)];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }
}

/// The tiles of the leaves.
const LEAVES: TileLevel = TileLevel::Hashes(0);

impl TileReader for Tiles {
    fn read(&self, tile: TileId) -> Result<Vec<u8>, TileError> {
        let read = |path: &str| {
            self.bytes(&self.root.join(path)).map_err(|source| TileError::Io { tile, source })
        };
        if let Some(bytes) = read(&tile.path())? {
            return Ok(bytes);
        }
        // A narrower tile goes when the full one is there, which begins with it.
        let full = tile.full().filter(|_| tile.is_partial());
        let bytes = full.map(|full| read(&full.path())).transpose()?.flatten();
        let mut bytes = bytes.ok_or(TileError::Missing(tile))?;
        bytes.truncate(usize::from(tile.width()) * HASH_BYTES);
        debug_assert!(on_disk(bytes.len()) <= TILE_BYTES, "a tile is not longer");
        Ok(bytes)
    }
}
