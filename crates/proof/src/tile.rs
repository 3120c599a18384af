//! Tiles: the tree as static files that never change once they are full (C2SP tlog-tiles).
//!
//! A tile holds 256 neighbouring hashes of one height of the tree, and only heights 0, 8, 16, … are kept. Tile `n` of
//! level `l` is, for `i` from 0 to 255:
//!
//! ```text
//! MTH(D[(256n + i)·256^l : (256n + i + 1)·256^l])
//! ```
//!
//! Between two kept heights lie seven that are not: they are recomputed from 256 hashes when a proof needs them. So
//! the files hold 32·(1 + 1/256 + 1/256² + …) ≈ 32.13 bytes a leaf, and a proof in a tree of `s` leaves reads about
//! log₂(s)/8 of them.
//!
//! Every hash in a tile is the root of a *perfect* subtree, whose leaves are all there. It is the same in every larger
//! tree; that is why full tiles never change. The last tile of a level may hold fewer than 256 hashes, namely
//! `⌊s/256^l⌋ mod 256`; such a partial tile has its width in its name, so it does not change either, and it may go
//! once the full tile is there.
//!
//! ```text
//! tile/<level>/<index>            tile/0/x001/x234/067        the index in groups of three digits
//! tile/<level>/<index>.p/<width>  tile/2/000.p/1              a partial tile
//! tile/entries/<index>[.p/<width>]                            the entries of the same leaves
//! ```

use std::fmt;

use crate::hash::{HASH_BYTES, Hash};
use crate::limits::{ENTRY_BYTES_MAX, SIZE_MAX, TILE_HEIGHT, TILE_LEVELS, TILE_WIDTH};
use crate::text;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileLevel {
    /// Entries of leaves.
    Entries,
    /// Hashes of subtrees with 256^level leaves.
    Hashes(u8),
}

impl TileLevel {
    /// The level of tiles that counts: entries lie beside level 0.
    fn number(self) -> u8 {
        match self {
            Self::Entries => 0,
            Self::Hashes(level) => level,
        }
    }
}

/// The name of a tile.
///
/// Invariant: the tile exists in some tree of at most [`SIZE_MAX`] leaves, and its width is from 1 to 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    level: TileLevel,
    index: u64,
    width: u16,
}

impl TileId {
    /// Names the first `width` places of the tile at `index`; `None` when no tree has such a tile.
    #[must_use]
    pub fn new(level: TileLevel, index: u64, width: u16) -> Option<Self> {
        let in_tile = (1..=TILE_WIDTH).contains(&width);
        let number = level.number();
        if !in_tile || number >= TILE_LEVELS {
            return None;
        }
        let end = index.checked_mul(u64::from(TILE_WIDTH))?.checked_add(u64::from(width))?;
        (end <= hashes_at(number, SIZE_MAX)).then_some(Self { level, index, width })
    }

    /// Names the tile that holds place `place` of a level in a tree of `size` leaves, as wide as that tree has it.
    #[must_use]
    pub fn holding(level: TileLevel, place: u64, size: u64) -> Option<Self> {
        let index = place >> TILE_HEIGHT;
        let begin = index.checked_mul(u64::from(TILE_WIDTH))?;
        let rest = hashes_at(level.number(), size).checked_sub(begin)?;
        let width = u16::try_from(rest.min(u64::from(TILE_WIDTH))).ok()?;
        Self::new(level, index, width)
    }

    /// Names the partial tiles of a tree of `size` leaves, from the leaves up. Full tiles are all those before them.
    #[must_use]
    pub fn partials(size: u64) -> Vec<Self> {
        let partial = |level: u8| {
            let hashes = hashes_at(level, size);
            let width = u16::try_from(hashes & u64::from(u8::MAX)).ok()?;
            Self::new(TileLevel::Hashes(level), hashes >> TILE_HEIGHT, width)
        };
        (0..TILE_LEVELS).filter_map(partial).collect()
    }

    /// The level.
    #[must_use]
    pub fn level(&self) -> TileLevel {
        self.level
    }

    /// The place in the level, counted in tiles.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The number of hashes or entries.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether fewer than 256 places are filled.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.width < TILE_WIDTH
    }

    /// Names the full tile at the same place; `None` when no tree is large enough.
    #[must_use]
    pub fn full(&self) -> Option<Self> {
        Self::new(self.level, self.index, TILE_WIDTH)
    }

    /// The path below the log's prefix, as [`fmt::Display`] writes it.
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads a path; only the one spelling that [`TileId::path`] writes is one.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = match level {
            "entries" => TileLevel::Entries,
            number => TileLevel::Hashes(u8::try_from(text::decimal(number)?).ok()?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => {
                let width = u16::try_from(text::decimal(width)?).ok()?;
                (index, (width < TILE_WIDTH).then_some(width)?)
            }
            None => (rest, TILE_WIDTH),
        };
        let id = Self::new(level, parse_index(index)?, width)?;
        (id.path() == path).then_some(id)
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            TileLevel::Entries => f.write_str("tile/entries/")?,
            TileLevel::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        write_index(f, self.index)?;
        if self.is_partial() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The number of hashes of a tile level in a tree of `size` leaves: ⌊size / 256^level⌋.
fn hashes_at(level: u8, size: u64) -> u64 {
    let height = u32::from(level).saturating_mul(TILE_HEIGHT);
    size.checked_shr(height).unwrap_or(0)
}

/// Writes groups of three digits, each but the last with an `x` in front.
fn write_index(f: &mut fmt::Formatter<'_>, index: u64) -> fmt::Result {
    let mut groups = vec![index % 1000];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    let (last, leading) = groups.split_first().expect("one group at least");
    leading.iter().rev().try_for_each(|group| write!(f, "x{group:03}/"))?;
    write!(f, "{last:03}")
}

/// Reads groups of three digits; whether there are too many is for the caller to see.
fn parse_index(text: &str) -> Option<u64> {
    let mut index = 0_u64;
    for group in text.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

/// Hashes of one tile.
///
/// Invariant: as many hashes as the name says, of a level of hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    id: TileId,
    hashes: Vec<Hash>,
}

impl Tile {
    /// Joins a name and its hashes.
    ///
    /// # Panics
    /// When the name says another number of hashes, or entries.
    #[must_use]
    pub(crate) fn new(id: TileId, hashes: Vec<Hash>) -> Self {
        assert_eq!(usize::from(id.width), hashes.len(), "a tile is as wide as it says");
        assert_ne!(id.level, TileLevel::Entries, "a tile of entries holds no hashes");
        Self { id, hashes }
    }

    /// Reads the bytes of a tile; `None` when they are not as many as its name says.
    #[must_use]
    pub fn from_bytes(id: TileId, bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        let fits = rest.is_empty() && hashes.len() == usize::from(id.width);
        if !fits || id.level == TileLevel::Entries {
            return None;
        }
        Some(Self { id, hashes: hashes.iter().copied().map(Hash).collect() })
    }

    /// The bytes of the tile: its hashes, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| hash.0).collect()
    }

    /// The name.
    #[must_use]
    pub fn id(&self) -> TileId {
        self.id
    }

    /// The hashes, from left to right.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }
}

/// Writes entries as a bundle: each with its length in 16 bits, big-endian, in front.
///
/// `None` when an entry is longer than [`ENTRY_BYTES_MAX`] or there are more than a tile holds.
#[must_use]
pub fn encode_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bundle = Vec::new();
    for (place, entry) in entries.into_iter().enumerate() {
        if place >= usize::from(TILE_WIDTH) || entry.len() > ENTRY_BYTES_MAX {
            return None;
        }
        bundle.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Some(bundle)
}

/// Reads a bundle of exactly `width` entries; `None` for anything else.
#[must_use]
pub fn decode_bundle(bundle: &[u8], width: u16) -> Option<Vec<&[u8]>> {
    if width > TILE_WIDTH {
        return None;
    }
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = bundle;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        if entries.len() >= usize::from(width) {
            return None;
        }
        entries.push(entry);
        rest = after;
    }
    (rest.is_empty() && entries.len() == usize::from(width)).then_some(entries)
}
