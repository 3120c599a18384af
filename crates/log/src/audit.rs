//! Checks a whole log against what it signed, from the segments' bytes up.
//!
//! Whoever audits wants another opinion than the notary's. So nothing of how proofs are made is used here: leaves are
//! put together by hand from the payload's bytes as `docs/format.md` describes them, the tree is hashed level by level,
//! tiles are compared byte for byte, and each published record with its leaf. Only the hash and the reading of frames are shared.
//!
//! What an audit that finds nothing says: every frame is whole; the transactions are exactly those of which the root at
//! each size was asked; and every tile that is there is the one that follows from them. Of transactions whose frames
//! went when history was folded, the leaves are taken from the tiles, and the roots say whether those are right; which
//! ranges these are is part of what was found. A base is right when it has the hash that a transaction of the log says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use change::{TableName, Time};
use proof::{Hash, leaf_hash, node_hash};
use sha2::{Digest, Sha256};

use crate::Log;
use crate::disk::{Access, DiskFile};
use crate::error::LogError;
use crate::format::{FLAG_LZ4, FrameKind, FramePart, Header};
use crate::notary::{proof_dir, read_file};
use crate::retention::{FoldedTable, folds_table};
use crate::walk::Walk;

/// The hashes of a full tile.
const TILE: usize = 256;
/// The bytes of a leaf's record.
const RECORD_BYTES: usize = 208;

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many transactions were read.
    pub transactions: u64,
    /// How many bytes of frames.
    pub bytes: u64,
    /// The root at each size that was asked for, as far as the log reaches.
    pub roots: BTreeMap<u64, Hash>,
    /// How many tiles were compared.
    pub tiles: u64,
    /// Tiles that are not what follows from the log.
    pub wrong_tiles: Vec<WrongTile>,
    /// How many bundles of records were there and compared.
    pub bundles: u64,
    /// Bundles whose records are not those of the transactions.
    pub wrong_bundles: Vec<WrongTile>,
    /// Transactions of which nothing is there any more: the first and the last Time of each range.
    pub pruned: Vec<(Time, Time)>,
    /// How many bases were read.
    pub bases: u64,
    /// Bases that are missing, or are not what the log says.
    pub wrong_bases: Vec<WrongBase>,
    /// Bases that are what only a transaction says that is not among the published ones; none when nothing is published.
    pub unsigned_bases: Vec<WrongBase>,
}

/// A base that is not what a transaction of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongBase {
    /// Its file.
    pub path: PathBuf,
    /// The table.
    pub table: TableName,
    /// The Time up to which its changes were folded.
    pub since: Time,
}

/// A tile that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongTile {
    /// Its file.
    pub path: PathBuf,
    /// The first transaction whose hash differs; `None` when the tile is missing or has another size.
    pub first: Option<Time>,
    /// The Times that it covers.
    pub covers: (Time, Time),
}

impl Log {
    /// Reads the whole log and computes its tree anew; returns its root at each of `sizes`. Compares the tiles of the
    /// tree of `published` leaves with those that are there.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read.
    pub fn audit(&self, sizes: &[u64], published: u64) -> Result<Audit, LogError> {
        let mut auditor = Auditor {
            log: self,
            walk: Walk::new(Arc::clone(&self.shared), self.shared.beginning()),
            schemas: BTreeMap::new(),
            parts: BTreeMap::new(),
            levels: Vec::new(),
            sizes: sizes.to_vec(),
            published,
            audit: Audit::default(),
        };
        auditor.note_root();
        while let Some(header) = auditor.walk.header()? {
            auditor.frame(&header)?;
            auditor.audit.bytes += header.room();
            auditor.walk.pass(&header);
        }
        let mut audit = auditor.audit;
        self.audit_bases(published, &mut audit)?;
        Ok(audit)
    }

    /// Compares each base with what the log says of it.
    fn audit_bases(&self, published: u64, audit: &mut Audit) -> Result<(), LogError> {
        let bases = Arc::clone(&self.shared.state().bases);
        let said = if bases.tables.is_empty() { Said::default() } else { self.said_of_bases()? };
        for (table, base) in &bases.tables {
            let path = self.shared.dir.join("base").join(format!("{:020}.base", base.number));
            audit.bases += 1;
            let found = match self.shared.disk.open(&path, Access::Read) {
                Ok(file) => Some(sha256_of(&*file).map_err(|e| LogError::io("read", &path, e))?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(LogError::io("open", &path, error)),
            };
            let said = found.and_then(|hash| said.at(table, base.since, &hash));
            let base = WrongBase { path, table: table.clone(), since: base.since };
            match said {
                None => audit.wrong_bases.push(base),
                Some(time) if published > 0 && time.0 > published => {
                    audit.unsigned_bases.push(base);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The Time up to which the log has said of all these what they came to; `None` when it does not say it of one.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read.
    pub fn folds_said_by(&self, folded: &[FoldedTable]) -> Result<Option<Time>, LogError> {
        if folded.is_empty() {
            return Ok(Some(Time::ZERO));
        }
        let said = self.said_of_bases()?;
        let times: Option<Vec<Time>> =
            folded.iter().map(|base| said.at(&base.table, base.since, &base.hash)).collect();
        Ok(times.and_then(|times| times.into_iter().max()))
    }

    /// What transactions of the log say of bases: table, Time and hash.
    pub(crate) fn said_of_bases(&self) -> Result<Said, LogError> {
        let mut said = Vec::new();
        let mut reader = self.reader(Time::ZERO).history().only_own();
        while let Some(chunk) = reader.next()? {
            for changes in chunk.tables.iter().filter(|of| of.table() == &folds_table()) {
                let rows = changes.changes().rows();
                let text = |column: usize| rows.column(column).as_string::<i32>();
                let (sources, tables, hashes) = (text(0), text(1), text(5));
                let number = |column: usize, row: usize| {
                    let numbers = rows.column(column).as_primitive::<Int64Type>();
                    u64::try_from(numbers.value(row)).unwrap_or(0)
                };
                let time = |row: usize| {
                    let before = changes.ends().partition_point(|end| *end as usize <= row);
                    Time(chunk.first.0 + before as u64)
                };
                said.extend((0..rows.num_rows()).filter_map(|row| {
                    let folded = FoldedTable {
                        table: TableName::new(sources.value(row), tables.value(row)),
                        since: Time(number(2, row)),
                        rows: number(3, row),
                        bytes: number(4, row),
                        hash: from_digits(hashes.value(row))?,
                    };
                    Some((time(row), folded))
                }));
            }
        }
        Ok(Said(said))
    }
}

/// A hash from its digits.
fn from_digits(text: &str) -> Option<Hash> {
    let mut hash = Hash([0; 32]);
    for (at, byte) in hash.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (hash.to_string() == text).then_some(hash)
}

/// What transactions say of bases, with the Times of these, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Said(pub(crate) Vec<(Time, FoldedTable)>);

impl Said {
    /// The first Time at which that is said.
    fn at(&self, table: &TableName, since: Time, hash: &Hash) -> Option<Time> {
        let is_said = |it: &FoldedTable| (&it.table, it.since, &it.hash) == (table, since, hash);
        self.0.iter().find(|(_, it)| is_said(it)).map(|(time, _)| *time)
    }

    /// Whether one of them says that a base is what it is.
    pub(crate) fn contains(&self, base: &FoldedTable) -> bool {
        self.at(&base.table, base.since, &base.hash).is_some()
    }
}

/// The SHA-256 of a file, read piece by piece.
fn sha256_of(file: &dyn DiskFile) -> std::io::Result<Hash> {
    let (mut hash, mut chunk, mut offset) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let read = file.read_at(&mut chunk, offset)?;
        hash.update(&chunk[..read]);
        offset += read as u64;
        if read < chunk.len() {
            return Ok(Hash(hash.finalize().into()));
        }
    }
}

struct Auditor<'a> {
    log: &'a Log,
    walk: Walk,
    /// Hashes of the schema frames of the segment, by source and number.
    schemas: BTreeMap<(Vec<u8>, u32), [u8; 32]>,
    /// The running hash of each unfinished transaction, by source.
    parts: BTreeMap<Vec<u8>, [u8; 32]>,
    /// The hashes of the open tile of each level.
    levels: Vec<Vec<Hash>>,
    sizes: Vec<u64>,
    published: u64,
    audit: Audit,
}

impl Auditor<'_> {
    fn frame(&mut self, header: &Header) -> Result<(), LogError> {
        match header.kind {
            FrameKind::Close | FrameKind::Base => return Ok(()),
            FrameKind::Gap => return self.gap(header),
            FrameKind::Preamble => {
                self.schemas.clear();
                return self.walk.stored(header).map(drop);
            }
            FrameKind::Schema | FrameKind::Transactions => {}
        }
        let (_leaves, stored) = self.walk.stored(header)?;
        let read = match header.kind {
            FrameKind::Schema => self.schema(&stored),
            FrameKind::Preamble
            | FrameKind::Close
            | FrameKind::Gap
            | FrameKind::Base
            | FrameKind::Transactions => plain(header, &stored).and_then(|plain| {
                let payload = Payload::read(&plain, &self.schemas)?;
                self.transactions(header, &payload)
            }),
        };
        let unreadable = "the frame is whole, but its payload is not as the format says";
        let Some(leaves) = read else {
            return Err(self.walk.damaged(crate::format::FormatError::Value(unreadable)));
        };
        leaves.into_iter().try_for_each(|leaf| self.leaf(leaf))
    }

    /// Takes the leaves of transactions that are gone from the tiles.
    fn gap(&mut self, header: &Header) -> Result<(), LogError> {
        if header.transactions == 0 {
            return Ok(());
        }
        let (first, last) = (header.first_time, Time(header.next_time().0 - 1));
        match self.audit.pruned.last_mut() {
            Some((_, before)) if before.next() == first => *before = last,
            _ => self.audit.pruned.push((first, last)),
        }
        let mut tile: Option<(u64, Vec<u8>)> = None;
        for leaf in first.0 - 1..last.0 {
            let index = leaf / TILE as u64;
            if tile.as_ref().is_none_or(|(known, _)| *known != index) {
                tile = Some((index, self.bottom_tile(index)?));
            }
            let at = usize::try_from(leaf % TILE as u64).unwrap_or(TILE) * 32;
            let hash =
                tile.as_ref().and_then(|(_, hashes)| hashes.get(at..at + 32)?.try_into().ok());
            let Some(hash) = hash else {
                // Without it no root can be right: it is a hash that nothing has.
                self.leaf(Hash([0; 32]))?;
                continue;
            };
            self.leaf(Hash(hash))?;
        }
        Ok(())
    }

    /// The hashes of a tile of leaves; none when it is missing.
    fn bottom_tile(&self, index: u64) -> Result<Vec<u8>, LogError> {
        let from = index * TILE as u64;
        let width = usize::try_from(self.published.saturating_sub(from)).unwrap_or(TILE).min(TILE);
        let path = proof_dir(&self.log.shared.dir).join(tile_name(0, index, width));
        let read = read_file(&*self.log.shared.disk, &path);
        Ok(read.map_err(|error| LogError::io("read", &path, error))?.unwrap_or_default())
    }

    fn schema(&mut self, payload: &[u8]) -> Option<Vec<Hash>> {
        let id = number(payload, 0)?;
        let source_bytes = u16::from_le_bytes(payload.get(8..10)?.try_into().ok()?);
        let source = payload.get(12..12 + usize::from(source_bytes))?;
        self.schemas.insert((source.to_vec(), id), sha256(b"evert/schema/v1\n", &[payload]));
        Some(Vec::new())
    }

    /// The leaves of a frame's transactions; `None` when the frame contradicts itself.
    fn transactions(&mut self, header: &Header, payload: &Payload<'_>) -> Option<Vec<Hash>> {
        let mut stored = payload.stored;
        if header.part != FramePart::Whole {
            let before = if header.part == FramePart::First {
                None
            } else {
                let known = self.parts.get(payload.source).copied();
                Some(known?)
            };
            let before = before.as_ref().map_or(&[][..], |hash| hash);
            stored = sha256(b"evert/part/v1\n", &[before, &payload.schema, &payload.stored]);
        }
        if matches!(header.part, FramePart::First | FramePart::Middle) {
            self.parts.insert(payload.source.to_vec(), stored);
            return Some(Vec::new());
        }
        if header.part == FramePart::Last {
            self.parts.remove(payload.source);
        }
        if payload.heads.len() != header.transactions as usize {
            return None;
        }
        let source = sha256(b"evert/source/v1\n", &[payload.source]);
        let records = (header.first_time.0..).zip(&payload.heads).map(|(time, head)| {
            let mut record = [0; RECORD_BYTES];
            record[0] = 1;
            record[1] = head.position_kind;
            record[2] = 1 | u8::from(head.request.is_some()) << 1;
            record[8..16].copy_from_slice(&time.to_le_bytes());
            record[16..16 + head.position.len()].copy_from_slice(head.position);
            record[48..80].copy_from_slice(&source);
            if let Some(id) = head.request {
                record[80..112].copy_from_slice(&sha256(b"evert/request/v1\n", &[id]));
            }
            record[112..144].copy_from_slice(&payload.schema);
            record[144..176].copy_from_slice(&stored);
            leaf_hash(&record)
        });
        Some(records.collect())
    }

    fn leaf(&mut self, leaf: Hash) -> Result<(), LogError> {
        self.audit.transactions += 1;
        self.put(0, leaf)?;
        self.note_root();
        if self.audit.transactions == self.published { self.last_tiles() } else { Ok(()) }
    }

    /// Puts a hash into a level; a full tile is compared, and becomes one hash of the level above.
    fn put(&mut self, level: usize, hash: Hash) -> Result<(), LogError> {
        if self.levels.len() == level {
            self.levels.push(Vec::with_capacity(TILE));
        }
        self.levels[level].push(hash);
        if self.levels[level].len() < TILE {
            return Ok(());
        }
        let full = std::mem::take(&mut self.levels[level]);
        let index = self.index_of(level) - 1;
        if self.span(level, index + 1) <= self.published {
            self.compare(level, index, &full)?;
        }
        self.put(level + 1, balanced(&full))
    }

    /// The number of the open tile of a level.
    fn index_of(&self, level: usize) -> u64 {
        self.audit.transactions / self.span(level, 1)
    }

    /// How many leaves so many tiles of a level cover.
    fn span(&self, level: usize, tiles: u64) -> u64 {
        let height = u32::try_from(8 * (level + 1)).unwrap_or(64);
        1_u64.checked_shl(height).and_then(|leaves| leaves.checked_mul(tiles)).unwrap_or(u64::MAX)
    }

    fn note_root(&mut self) {
        let size = self.audit.transactions;
        if self.sizes.contains(&size) {
            self.audit.roots.insert(size, self.root());
        }
    }

    /// The root: the open tiles' hashes, folded from the lowest level up.
    fn root(&self) -> Hash {
        let mut right: Option<Hash> = None;
        for hashes in &self.levels {
            let mut row = hashes.clone();
            row.extend(right);
            right = unbalanced(&row);
        }
        right.unwrap_or_else(|| Hash(Sha256::digest([]).into()))
    }

    /// Compares the partial tiles of the tree that was published.
    fn last_tiles(&mut self) -> Result<(), LogError> {
        for level in 0..self.levels.len() {
            let hashes = self.levels[level].clone();
            if !hashes.is_empty() {
                self.compare(level, self.index_of(level), &hashes)?;
            }
        }
        Ok(())
    }

    /// Compares the records that are published of a tile's leaves, if they are. What was folded before there were bundles,
    /// or came back from a backup, has none.
    fn compare_records(&mut self, index: u64, leaves: &[Hash]) -> Result<(), LogError> {
        let name = tile_name(0, index, leaves.len()).replacen("tile/0/", "tile/entries/", 1);
        let path = proof_dir(&self.log.shared.dir).join(name);
        let read = read_file(&*self.log.shared.disk, &path);
        let bundle = match read.map_err(|error| LogError::io("read", &path, error))? {
            Some(bundle) => bundle,
            None if self.log.shared.disk.open(&path, Access::Read).is_err() => return Ok(()),
            // It is too long for one.
            None => Vec::new(),
        };
        self.audit.bundles += 1;
        if let Some(at) = wrong_record(&bundle, leaves) {
            let begin = index * TILE as u64;
            self.audit.wrong_bundles.push(WrongTile {
                path,
                first: Some(Time(begin + at as u64 + 1)),
                covers: (Time(begin + 1), Time(begin + leaves.len() as u64)),
            });
        }
        Ok(())
    }

    fn compare(&mut self, level: usize, index: u64, hashes: &[Hash]) -> Result<(), LogError> {
        let name = tile_name(level, index, hashes.len());
        let path = proof_dir(&self.log.shared.dir).join(name);
        let expected: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        self.audit.tiles += 1;
        let found = match self.log.shared.disk.open(&path, Access::Read) {
            Ok(file) => {
                let mut found = vec![0; expected.len() + 1];
                let read = file.read_at(&mut found, 0);
                let read = read.map_err(|error| LogError::io("read", &path, error))?;
                found.truncate(read);
                Some(found)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(LogError::io("open", &path, error)),
        };
        if level == 0 {
            self.compare_records(index, hashes)?;
        }
        if found.as_ref() == Some(&expected) {
            return Ok(());
        }
        let leaves = self.span(level, 1) / TILE as u64;
        let begin = index * TILE as u64 * leaves;
        let differs = found.filter(|found| found.len() == expected.len()).and_then(|found| {
            let pairs = found.chunks(32).zip(expected.chunks(32));
            pairs.into_iter().position(|(found, expected)| found != expected)
        });
        self.audit.wrong_tiles.push(WrongTile {
            path,
            first: differs.map(|at| Time(begin + at as u64 * leaves + 1)),
            covers: (Time(begin + 1), Time(begin + hashes.len() as u64 * leaves)),
        });
        Ok(())
    }
}

/// The first place where a bundle has another record than that of the leaf; `None` when all are right.
fn wrong_record(bundle: &[u8], leaves: &[Hash]) -> Option<usize> {
    let mut rest = bundle;
    for (place, leaf) in leaves.iter().enumerate() {
        let record = rest.split_first_chunk::<2>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        });
        match record {
            Some((record, after)) if leaf_hash(record) == *leaf => rest = after,
            Some(_) | None => return Some(place),
        }
    }
    // What is behind the last one belongs to none.
    (!rest.is_empty()).then(|| leaves.len().saturating_sub(1))
}

/// The root over hashes whose number is a power of two.
fn balanced(hashes: &[Hash]) -> Hash {
    match hashes {
        [only] => *only,
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            node_hash(&balanced(left), &balanced(right))
        }
    }
}

/// The root over hashes, as RFC 6962 splits a list; `None` for no hashes.
fn unbalanced(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [only] => Some(*only),
        many => {
            let half = many.len().next_power_of_two() / 2;
            let (left, right) = many.split_at(half);
            Some(node_hash(&unbalanced(left)?, &unbalanced(right)?))
        }
    }
}

fn tile_name(level: usize, index: u64, width: usize) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width < TILE { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{path}{partial}")
}

fn plain(header: &Header, stored: &[u8]) -> Option<Vec<u8>> {
    if header.flags & FLAG_LZ4 == 0 {
        return Some(stored.to_vec());
    }
    lz4_flex::block::decompress(stored, header.plain_length as usize).ok()
}

/// A transaction's entry in a payload.
struct Entry<'a> {
    position_kind: u8,
    position: &'a [u8],
    request: Option<&'a [u8]>,
}

/// What a payload commits to, and its transactions.
struct Payload<'a> {
    source: &'a [u8],
    heads: Vec<Entry<'a>>,
    schema: [u8; 32],
    stored: [u8; 32],
}

impl<'a> Payload<'a> {
    fn read(plain: &'a [u8], schemas: &BTreeMap<(Vec<u8>, u32), [u8; 32]>) -> Option<Self> {
        let (transactions, tables) = (number(plain, 0)?, number(plain, 4)?);
        let (heads_bytes, source_bytes) = (number(plain, 8)? as usize, number(plain, 12)? as usize);
        let source = plain.get(16..16 + source_bytes)?;
        let mut entries = plain.get(16 + source_bytes..16 + source_bytes + heads_bytes)?;
        let mut heads = Vec::new();
        for _ in 0..transactions {
            heads.push(Entry::take(&mut entries)?);
        }
        let mut at = (16 + source_bytes + heads_bytes).next_multiple_of(16);
        let mut starts = vec![0];
        let mut read_with = Vec::new();
        for _ in 0..tables {
            read_with.extend_from_slice(schemas.get(&(source.to_vec(), number(plain, at)?))?);
            starts.push(at);
            let bytes = number(plain, at + 24).filter(|bytes| *bytes >= 32)?;
            at = at.checked_add(bytes as usize)?.next_multiple_of(16);
        }
        starts.push(plain.len());
        let mut pieces = Vec::new();
        for (at, pair) in starts.windows(2).enumerate() {
            let piece = plain.get(pair[0]..pair[1])?;
            // Of a table whose changes were folded, the hash of its piece is there instead.
            if at > 0 && *piece.get(8)? == 3 {
                pieces.extend_from_slice(piece.get(32..64)?);
                continue;
            }
            pieces.extend_from_slice(&sha256(b"evert/piece/v1\n", &[piece]));
        }
        let schema = sha256(b"evert/schema/v1\n", &[&read_with]);
        let stored = sha256(b"evert/stored/v1\n", &[&pieces]);
        Some(Self { source, heads, schema, stored })
    }
}

impl<'a> Entry<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let mut bytes = |count: usize| {
            let (taken, left) = rest.split_at_checked(count)?;
            *rest = left;
            Some(taken)
        };
        let head = bytes(8)?;
        let (marks, position_kind) = (head[0], head[1]);
        let request_bytes = u16::from_le_bytes([head[2], head[3]]);
        let causes = number(head, 4)? as usize;
        let position = bytes(match position_kind {
            0 => 0,
            1 | 3 => 8,
            2 => 16,
            _ => return None,
        })?;
        bytes(if marks & 1 == 0 { 0 } else { 8 })?;
        let request = bytes(request_bytes.into())?;
        bytes(causes.checked_mul(8)?)?;
        Some(Self { position_kind, position, request: (marks & 2 != 0).then_some(request) })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn sha256(word: &[u8], pieces: &[&[u8]]) -> [u8; 32] {
    let mut state = Sha256::new().chain_update(word);
    pieces.iter().for_each(|piece| state.update(piece));
    state.finalize().into()
}
