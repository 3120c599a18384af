//! An index of each segment: which sources, tables and requests are where in it.
//!
//! It is made from the segment itself and can be made again; it is sparse: for each megabyte or so, a block says which
//! sources and tables it holds, and a request is known by eight bytes of its id's hash and its block. Who asks reads
//! the block's frames and looks; an index never answers by itself. Indexes of full segments are kept in files
//! (`index/NUMBER`, see `docs/format.md`) by the process that writes the log; whoever misses one makes it in memory.
//!
//! Invariant: blocks ascend and begin at frames; requests are sorted.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use change::{RequestId, TableName, Time};
use proof::request_hash;

use crate::decode;
use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::format::{Cursor, FormatError, FrameKind, FramePart, Header};
use crate::limits::{FRAME_BYTES_MAX, INDEX_INTERVAL_BYTES, in_memory, on_disk};
use crate::schema::FoundSchema;
use crate::segment::{Frames, ReadError};
use crate::shared::Shared;

/// What the file of an index begins with; the last two bytes are its version.
const MAGIC: &[u8; 8] = b"EVRTIX\x01\x00";

/// What is known of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    /// Up to where the segment was read.
    end: u64,
    sources: Vec<Arc<str>>,
    tables: Vec<TableName>,
    /// The offsets of schema frames.
    pub(crate) schemas: Vec<u64>,
    blocks: Vec<Block>,
    /// The beginning of each request's hash, with the number of its block.
    requests: Vec<(u64, u32)>,
}

/// Some frames that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    offset: u64,
    /// The next Time at its beginning.
    next: Time,
    sources: BTreeSet<u32>,
    tables: BTreeSet<u32>,
    /// Whether a transaction ends in it whose first parts lie in an earlier segment: it may hold any table.
    any: bool,
}

/// What a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only what changes one of these tables; all when empty.
    pub tables: BTreeSet<TableName>,
    /// Only what comes from this source.
    pub source: Option<Arc<str>>,
}

/// Where a reader that skips goes on.
pub(crate) struct Jump {
    pub(crate) offset: u64,
    /// The next Time there; `None` at the segment's end.
    pub(crate) next: Option<Time>,
}

impl SegmentIndex {
    /// Where reading goes on from the frame at `offset`, so that nothing is missed; `None` when right there.
    pub(crate) fn jump(&self, filter: &Filter, offset: u64) -> Option<Jump> {
        let at = self.blocks.binary_search_by_key(&offset, |block| block.offset).ok()?;
        let source = filter.source.as_ref().map(|name| position(&self.sources, name));
        let tables: BTreeSet<u32> =
            filter.tables.iter().filter_map(|name| position(&self.tables, name)).collect();
        let holds = |block: &&Block| {
            let from = source.is_none_or(|id| id.is_some_and(|id| block.sources.contains(&id)));
            let of = filter.tables.is_empty() || block.any || !block.tables.is_disjoint(&tables);
            from && of
        };
        let rest = self.blocks.get(at..).unwrap_or_default();
        match rest.iter().find(holds) {
            Some(block) if block.offset == offset => None,
            Some(block) => Some(Jump { offset: block.offset, next: Some(block.next) }),
            None => Some(Jump { offset: self.end, next: None }),
        }
    }

    /// The blocks that may hold a request, as ranges of offsets, each with the next Time at its beginning.
    fn blocks_of(&self, request: &RequestId) -> Vec<(u64, u64, Time)> {
        let hash = short_hash(request);
        let from = self.requests.partition_point(|(known, _)| *known < hash);
        let same = self.requests.iter().skip(from).take_while(|(known, _)| *known == hash);
        let blocks: BTreeSet<u32> = same.map(|(_, block)| *block).collect();
        let range = |number: u32| {
            let number = number as usize;
            let block = self.blocks.get(number)?;
            let end = self.blocks.get(number.saturating_add(1)).map_or(self.end, |b| b.offset);
            Some((block.offset, end, block.next))
        };
        blocks.into_iter().filter_map(range).collect()
    }

    /// Reads a segment, and notes what is where.
    fn build(shared: &Shared, number: u64, end: u64) -> Result<Self, LogError> {
        let mut builder = Builder { index: Self { end, ..Self::default() }, ..Builder::default() };
        let mut frames = Frames::open(&*shared.disk, &shared.dir, number)?;
        let (mut offset, mut next) = (0, Time::ZERO);
        while offset < end {
            let mut read = || -> Result<Header, ReadError> {
                let header = frames.header(offset, end)?;
                match header.kind {
                    FrameKind::Preamble | FrameKind::Close | FrameKind::Gap | FrameKind::Base => {}
                    FrameKind::Schema => builder.schema(offset, frames.schema(&header)?),
                    FrameKind::Transactions => {
                        let (_leaves, stored) = frames.stored(&header)?;
                        builder.transactions(&header, &decode::plain(&header, stored)?)?;
                    }
                }
                Ok(header)
            };
            let header = read().map_err(|error| frames.explain(error, offset, next))?;
            (offset, next) = (header.end(), header.next_time());
        }
        let mut index = builder.index;
        index.requests.sort_unstable();
        Ok(index)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, self.end);
        put_all(&mut bytes, &self.sources, |bytes, name| put_text(bytes, name));
        put_all(&mut bytes, &self.tables, |bytes, name| {
            put_text(bytes, &name.source);
            put_text(bytes, &name.table);
        });
        put_all(&mut bytes, &self.schemas, |bytes, offset| put(bytes, *offset));
        put_all(&mut bytes, &self.blocks, |bytes, block| {
            put(bytes, block.offset);
            put(bytes, block.next.0);
            put(bytes, block.any.into());
            for set in [&block.sources, &block.tables] {
                put_all(bytes, set, |bytes, id| put(bytes, (*id).into()));
            }
        });
        put_all(&mut bytes, &self.requests, |bytes, (hash, block)| {
            put(bytes, *hash);
            put(bytes, (*block).into());
        });
        bytes.extend_from_slice(&crate::crc::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let (bytes, crc) = bytes.split_last_chunk::<4>().ok_or(FormatError::Short)?;
        if crate::crc::crc32c(bytes) != u32::from_le_bytes(*crc) {
            return Err(FormatError::PayloadChecksum);
        }
        let mut cursor = Cursor::new(bytes);
        if cursor.bytes(MAGIC.len())? != MAGIC {
            return Err(FormatError::Value("it is not an index of this version"));
        }
        let end = cursor.u64()?;
        let sources = take_all(&mut cursor, |cursor| Ok(Arc::from(take_text(cursor)?)))?;
        let tables = take_all(&mut cursor, |cursor| {
            Ok(TableName::new(take_text(cursor)?, take_text(cursor)?))
        })?;
        let schemas = take_all(&mut cursor, Cursor::u64)?;
        let blocks = take_all(&mut cursor, |cursor| {
            let (offset, next, any) = (cursor.u64()?, Time(cursor.u64()?), cursor.u64()? != 0);
            let sources = take_all(cursor, take_id)?.into_iter().collect();
            let tables = take_all(cursor, take_id)?.into_iter().collect();
            Ok(Block { offset, next, sources, tables, any })
        })?;
        let requests = take_all(&mut cursor, |cursor| Ok((cursor.u64()?, take_id(cursor)?)))?;
        Ok(Self { end, sources, tables, schemas, blocks, requests })
    }
}

/// An index in the making.
#[derive(Default)]
struct Builder {
    index: SegmentIndex,
    /// The tables of the segment's schemas, by source and number.
    schemas: BTreeMap<(Arc<str>, u32), u32>,
    /// The tables in the parts of unfinished transactions, by source.
    parts: BTreeMap<Arc<str>, BTreeSet<u32>>,
}

impl Builder {
    fn schema(&mut self, offset: u64, found: FoundSchema) {
        self.index.schemas.push(offset);
        let table = intern(&mut self.index.tables, found.table.name().clone());
        self.schemas.insert((found.source, found.id), table);
    }

    fn transactions(&mut self, header: &Header, plain: &[u8]) -> Result<(), FormatError> {
        let heads = decode::heads(plain)?;
        let source: Arc<str> = heads.source.into();
        let mut tables = BTreeSet::new();
        for table in decode::table_places(plain, &heads)? {
            tables.extend(self.schemas.get(&(Arc::clone(&source), table.schema)));
        }
        let block = self.block(header);
        let mut any = false;
        match header.part {
            FramePart::Whole => {}
            FramePart::First => drop(self.parts.insert(Arc::clone(&source), tables.clone())),
            FramePart::Middle | FramePart::Last => match self.parts.get_mut(&source) {
                Some(known) => {
                    known.extend(&tables);
                    tables.clone_from(known);
                }
                None => any = true,
            },
        }
        let id = intern(&mut self.index.sources, source);
        if let Some(block) = self.index.blocks.last_mut() {
            block.sources.insert(id);
            block.tables.extend(tables);
            block.any |= any;
        }
        if matches!(header.part, FramePart::Whole | FramePart::Last) {
            let requests = heads.heads.iter().filter_map(|head| head.request.as_ref());
            self.index.requests.extend(requests.map(|id| (short_hash(id), block)));
        }
        Ok(())
    }

    /// The number of the block that a frame is in.
    fn block(&mut self, header: &Header) -> u32 {
        let offset = header.place.offset;
        let last = self.index.blocks.last().map(|block| block.offset);
        if last.is_none_or(|last| offset >= last.saturating_add(INDEX_INTERVAL_BYTES)) {
            let block = Block { offset, next: header.first_time, ..Block::default() };
            self.index.blocks.push(block);
        }
        u32::try_from(self.index.blocks.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

fn position<T: PartialEq>(known: &[T], wanted: &T) -> Option<u32> {
    known.iter().position(|known| known == wanted).and_then(|at| u32::try_from(at).ok())
}

fn intern<T: PartialEq>(known: &mut Vec<T>, wanted: T) -> u32 {
    position(known, &wanted).unwrap_or_else(|| {
        known.push(wanted);
        u32::try_from(known.len().saturating_sub(1)).expect("a segment holds fewer names")
    })
}

fn short_hash(request: &RequestId) -> u64 {
    let hash = request_hash(&request.0).0;
    u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, on_disk(text.len()));
    bytes.extend_from_slice(text.as_bytes());
}

fn put_all<'a, T: 'a>(
    bytes: &mut Vec<u8>,
    items: impl IntoIterator<Item = &'a T, IntoIter: ExactSizeIterator>,
    each: impl Fn(&mut Vec<u8>, &T),
) {
    let items = items.into_iter();
    put(bytes, on_disk(items.len()));
    items.for_each(|item| each(bytes, item));
}

fn take_all<'a, T>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&mut Cursor<'a>) -> Result<T, FormatError>,
) -> Result<Vec<T>, FormatError> {
    let count = cursor.u64()?;
    // Every item has at least eight bytes.
    if count > on_disk(cursor.left()).div_euclid(8) {
        return Err(FormatError::Value("an index claims more than it holds"));
    }
    (0..count).map(|_| each(cursor)).collect()
}

fn take_text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, FormatError> {
    let length = usize::try_from(cursor.u64()?).map_err(|_large| FormatError::Short)?;
    cursor.text(length)
}

fn take_id(cursor: &mut Cursor<'_>) -> Result<u32, FormatError> {
    u32::try_from(cursor.u64()?).map_err(|_large| FormatError::Value("a number is too large"))
}

/// The file of a segment's index.
fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join("index").join(format!("{number:020}"))
}

/// Whether there is a file of a segment's index, and it is not right.
pub(crate) fn is_wrong(disk: &dyn Disk, dir: &Path, number: u64, end: u64) -> bool {
    match disk.open(&path(dir, number), Access::Read) {
        Ok(file) => {
            // What is only in memory says nothing of the disk.
            file.forget();
            load(disk, dir, number, end).is_none()
        }
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// The tables that some bytes of a segment belong to, as its index says; at most these. `None` without an index.
pub(crate) fn tables_in(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    bytes: Range<u64>,
) -> Option<BTreeSet<TableName>> {
    let index = read(disk, dir, number)?;
    let ends = index.blocks.iter().skip(1).map(|block| block.offset).chain([index.end]);
    let touched = index.blocks.iter().zip(ends);
    let touched = touched.filter(|(block, end)| block.offset < bytes.end && *end > bytes.start);
    let ids: BTreeSet<u32> = touched.flat_map(|(block, _)| block.tables.iter().copied()).collect();
    Some(ids.iter().filter_map(|id| index.tables.get(*id as usize).cloned()).collect())
}

/// Reads the file of a segment's index; `None` when there is none, or not of the segment as it is.
fn load(disk: &dyn Disk, dir: &Path, number: u64, end: u64) -> Option<SegmentIndex> {
    read(disk, dir, number).filter(|index| index.end == end)
}

fn read(disk: &dyn Disk, dir: &Path, number: u64) -> Option<SegmentIndex> {
    let file = disk.open(&path(dir, number), Access::Read).ok()?;
    let length = file.length().ok().filter(|length| *length <= on_disk(FRAME_BYTES_MAX))?;
    let mut bytes = vec![0; in_memory(length)];
    let read = file.read_at(&mut bytes, 0).ok()?;
    SegmentIndex::from_bytes(bytes.get(..read)?).ok()
}

impl Shared {
    /// The index of a segment as far as it is durable now.
    pub(crate) fn index_of(&self, number: u64) -> Result<Arc<SegmentIndex>, LogError> {
        let (end, thin) = self.extent_of(number);
        let key = (number, thin);
        if let Some(known) = self.indexes().get(&key).filter(|index| index.end == end) {
            return Ok(Arc::clone(known));
        }
        let index = match load(&*self.disk, &self.dir, number, end) {
            Some(index) => index,
            None => SegmentIndex::build(self, number, end)?,
        };
        let index = Arc::new(index);
        self.indexes().insert(key, Arc::clone(&index));
        Ok(index)
    }

    /// Forgets the index of a segment that is rewritten; it is made again when somebody asks.
    pub(crate) fn drop_index(&self, number: u64) -> Result<(), LogError> {
        let path = path(&self.dir, number);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LogError::io("remove", &path, error));
            }
            Ok(()) | Err(_) => {}
        }
        self.indexes().retain(|(known, _), _| *known != number);
        Ok(())
    }

    /// Writes the index of a full segment, unless it is there. It is not synced: what is torn is made again.
    pub(crate) fn keep_index(&self, number: u64) -> Result<(), LogError> {
        let end = self.end_of(number).unwrap_or(0);
        if load(&*self.disk, &self.dir, number, end).is_some() {
            return Ok(());
        }
        let path = path(&self.dir, number);
        let failed = |error| LogError::io("write", &path, error);
        let bytes = SegmentIndex::build(self, number, end)?.to_bytes();
        self.disk.create_dir(&self.dir.join("index")).map_err(failed)?;
        let unborn = self.dir.join("index").join("unfinished");
        let file = self.disk.create(&unborn).map_err(failed)?;
        file.write_at(&[&bytes], 0).map_err(failed)?;
        self.disk.rename(&unborn, &path).map_err(failed)
    }

    /// Calls `each` for the transactions in a range of a segment, with the number of the first one's Time.
    fn visit(
        &self,
        number: u64,
        (from, until, next): (u64, u64, Time),
        mut each: impl FnMut(Time, Option<&RequestId>),
    ) -> Result<(), LogError> {
        let mut frames = Frames::open(&*self.disk, &self.dir, number)?;
        let (mut offset, mut next) = (from, next);
        while offset < until {
            let mut read = || -> Result<Header, ReadError> {
                let header = frames.header(offset, until)?;
                let visible = matches!(header.part, FramePart::Whole | FramePart::Last);
                if header.kind == FrameKind::Transactions && visible {
                    let (_leaves, stored) = frames.stored(&header)?;
                    let plain = decode::plain(&header, stored)?;
                    for (time, head) in (header.first_time.0..).zip(decode::heads(&plain)?.heads) {
                        each(Time(time), head.request.as_ref());
                    }
                }
                Ok(header)
            };
            let header = read().map_err(|error| frames.explain(error, offset, next))?;
            (offset, next) = (header.end(), header.next_time());
        }
        Ok(())
    }

    /// The Times of the transactions that a request asked for, ascending.
    pub(crate) fn find_request(&self, request: &RequestId) -> Result<Vec<Time>, LogError> {
        let numbers: Vec<u64> =
            self.state().segments.iter().map(|segment| segment.number).collect();
        let mut times = Vec::new();
        for number in numbers {
            for block in self.index_of(number)?.blocks_of(request) {
                self.visit(number, block, |time, found| {
                    if found == Some(request) {
                        times.push(time);
                    }
                })?;
            }
        }
        Ok(times)
    }
}

/// Reads arbitrary bytes as an index, once as they are and once with their checksum made right.
pub(crate) fn exercise(bytes: &[u8]) {
    let body = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    let right = [body, &crate::crc::crc32c(body).to_le_bytes()].concat();
    for bytes in [bytes, &right] {
        let Ok(index) = SegmentIndex::from_bytes(bytes) else { continue };
        assert_eq!(SegmentIndex::from_bytes(&index.to_bytes()).as_ref(), Ok(&index));
        for block in &index.blocks {
            let filter = Filter { source: Some("s".into()), ..Filter::default() };
            let jump = index.jump(&filter, block.offset);
            assert!(jump.is_none_or(|jump| jump.offset == index.end || jump.next.is_some()));
        }
        drop(index.blocks_of(&RequestId((*b"id").into())));
    }
}
