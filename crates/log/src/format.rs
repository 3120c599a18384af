//! The bytes on disk, defined once. `docs/format.md` describes them, and a test holds the two together.
//!
//! A segment is a sequence of frames. A frame is a header of fixed size, leaf commitments, a payload, and zeros up to
//! the next multiple of [`FRAME_ALIGNMENT`]:
//!
//! ```text
//! | header 128 | leaves 32 × n | payload | zeros |
//! ```
//!
//! All numbers are little-endian. What depends on when and where a frame was written (Time, place, wall clock,
//! checksums) is in the header; the payload depends on nothing but the transactions. So equal inputs give payloads
//! that are equal byte for byte.
//!
//! Two fields make damage and a torn write distinguishable. A frame names its own place, so that stale or misdirected
//! bytes are never taken for a frame. And it names the offset at which the write began that it was a piece of
//! (`batch_offset`). The writer starts a write only when the one before is durable. So bytes before a valid frame's
//! `batch_offset` were durable once: if they are not readable now, that is damage. Bytes from there on may be torn.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use change::{SourcePosition, Time};

use crate::limits::FRAME_BYTES_MAX;

/// The version that this code writes, and the only one that it reads.
pub const VERSION: u16 = 1;
/// What every frame begins with.
pub const MAGIC: [u8; 4] = *b"EVRT";
/// The size of a frame's header.
pub const HEADER_BYTES: usize = 128;
/// Frames begin at multiples of this, so that they can be found again behind damage.
pub const FRAME_ALIGNMENT: usize = 64;
/// Sections of a payload begin at multiples of this, so that columns need not be copied to be aligned.
pub const SECTION_ALIGNMENT: usize = 16;
/// The size of one leaf commitment.
pub const LEAF_BYTES: usize = 32;
/// The size of what precedes a table's sections in a payload.
pub const TABLE_BYTES: usize = 32;
/// The size of what begins the payload of a transactions frame.
pub const GROUP_BYTES: usize = 16;
/// The size of what begins each transaction's entry.
pub const HEAD_BYTES: usize = 8;

/// Flag: some table of the frame is Evert's own; on a last part: of any part.
pub const FLAG_OWN: u32 = 1;
/// Flag: the payload is one LZ4 block.
pub const FLAG_LZ4: u32 = 2;
/// Flag: the frame was rewritten when history was folded; on a preamble: so was its segment.
pub const FLAG_THIN: u32 = 4;

/// A field's place in a structure of fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The offset of its first byte.
    pub offset: usize,
    /// Its size.
    pub bytes: usize,
}

const fn field(name: &'static str, offset: usize, bytes: usize) -> Field {
    Field { name, offset, bytes }
}

const F_MAGIC: Field = field("magic", 0, 4);
const F_VERSION: Field = field("version", 4, 2);
const F_KIND: Field = field("kind", 6, 1);
const F_PART: Field = field("part", 7, 1);
const F_FLAGS: Field = field("flags", 8, 4);
const F_PAYLOAD_LENGTH: Field = field("payload_length", 12, 4);
const F_PLAIN_LENGTH: Field = field("plain_length", 16, 4);
const F_TRANSACTIONS: Field = field("transactions", 20, 4);
const F_FIRST_TIME: Field = field("first_time", 24, 8);
const F_SEGMENT: Field = field("segment", 32, 8);
const F_OFFSET: Field = field("offset", 40, 8);
const F_BATCH_OFFSET: Field = field("batch_offset", 48, 8);
const F_WALL_CLOCK: Field = field("wall_clock_us", 56, 8);
const F_PART_SEGMENT: Field = field("part_segment", 64, 8);
const F_PART_OFFSET: Field = field("part_offset", 72, 8);
const F_PART_NUMBER: Field = field("part_number", 80, 4);
const F_ROWS: Field = field("rows", 84, 4);
const F_PAYLOAD_CRC: Field = field("payload_crc", 88, 4);
const F_LEAVES: Field = field("leaves", 92, 4);
const F_LEAVES_CRC: Field = field("leaves_crc", 96, 4);
const F_SPAN: Field = field("span", 100, 8);
const F_RESERVED: Field = field("reserved", 108, 16);
const F_HEADER_CRC: Field = field("header_crc", 124, 4);

/// The fields of a frame's header, in order.
pub const HEADER_FIELDS: [Field; 22] = [
    F_MAGIC,
    F_VERSION,
    F_KIND,
    F_PART,
    F_FLAGS,
    F_PAYLOAD_LENGTH,
    F_PLAIN_LENGTH,
    F_TRANSACTIONS,
    F_FIRST_TIME,
    F_SEGMENT,
    F_OFFSET,
    F_BATCH_OFFSET,
    F_WALL_CLOCK,
    F_PART_SEGMENT,
    F_PART_OFFSET,
    F_PART_NUMBER,
    F_ROWS,
    F_PAYLOAD_CRC,
    F_LEAVES,
    F_LEAVES_CRC,
    F_SPAN,
    F_RESERVED,
];

/// The field that ends a frame's header: the checksum of all bytes before it.
pub const HEADER_CRC: Field = F_HEADER_CRC;

/// Bytes that are not what the format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is no frame here.
    #[error("there is no frame here")]
    NotAFrame,
    /// The header does not match its checksum.
    #[error("the frame's header does not match its checksum")]
    HeaderChecksum,
    /// The payload or the leaves do not match their checksum.
    #[error("the frame's payload does not match its checksum")]
    PayloadChecksum,
    /// The file ends before the frame does.
    #[error("the file ends within the frame")]
    Short,
    /// The frame belongs elsewhere.
    #[error("the frame here belongs to segment {segment}, byte {offset}")]
    Misplaced {
        /// The segment that it names.
        segment: u64,
        /// The offset that it names.
        offset: u64,
    },
    /// Another version wrote it.
    #[error("the frame has format version {0}")]
    Version(u16),
    /// A limit is exceeded.
    #[error("the frame claims {0} bytes")]
    TooLarge(u64),
    /// A value that the format does not have.
    #[error("{0}")]
    Value(&'static str),
    /// The history of a table was folded here: its changes are not in the segment any more.
    #[error("the history of a table ends before this")]
    Pruned,
    /// What Arrow says of a batch.
    #[error("a batch of columns is not readable: {0}")]
    Arrow(String),
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Begins a segment: what is known of all segments before it.
    Preamble = 1,
    /// A table's schema, before its first use in the segment.
    Schema = 2,
    /// Transactions, or a part of one.
    Transactions = 3,
    /// The log was closed in order: all before it is durable.
    Close = 4,
    /// Transactions of which nothing is kept here, in the place of their frames.
    Gap = 5,
    /// Begins a base: what the changes of a table came to.
    Base = 6,
}

/// Whether a frame holds whole transactions, as on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FramePart {
    /// All transactions are whole.
    Whole = 0,
    /// The first part of one.
    First = 1,
    /// More of it.
    Middle = 2,
    /// The last part of it.
    Last = 3,
}

/// Where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number, from 1.
    pub segment: u64,
    /// The byte in the segment.
    pub offset: u64,
}

/// A frame's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is for.
    pub kind: FrameKind,
    /// Whether its transactions are whole.
    pub part: FramePart,
    /// The sum of its flags.
    pub flags: u32,
    /// The stored size of the payload.
    pub payload_length: u32,
    /// The size of the payload when it is not compressed.
    pub plain_length: u32,
    /// How many transactions become visible with it: none with a first or middle part.
    pub transactions: u32,
    /// The Time of the first of them; without any, the next Time.
    pub first_time: Time,
    /// Where the frame is.
    pub place: Place,
    /// Where the write began that the frame was a piece of.
    pub batch_offset: u64,
    /// When it was written, in microseconds since 1970 UTC.
    pub wall_clock_us: i64,
    /// Where the part before this one is; segment 0 when there is none.
    pub previous: Place,
    /// The part's number, from 0.
    pub part_number: u32,
    /// How many changed rows the frame holds.
    pub rows: u32,
    /// The CRC-32C of the stored payload.
    pub payload_crc: u32,
    /// How many leaf commitments precede the payload.
    pub leaves: u32,
    /// The CRC-32C of the leaf commitments.
    pub leaves_crc: u32,
    /// How many bytes of the segment as it was written a rewritten frame stands for; 0 for those that it takes up.
    pub span: u64,
}

impl Header {
    /// A frame that says nothing yet.
    #[must_use]
    pub fn new(kind: FrameKind) -> Self {
        Self {
            kind,
            part: FramePart::Whole,
            flags: 0,
            payload_length: 0,
            plain_length: 0,
            transactions: 0,
            first_time: Time::ZERO,
            place: Place { segment: 0, offset: 0 },
            batch_offset: 0,
            wall_clock_us: 0,
            previous: Place { segment: 0, offset: 0 },
            part_number: 0,
            rows: 0,
            payload_crc: 0,
            leaves: 0,
            leaves_crc: 0,
            span: 0,
        }
    }

    /// The bytes of the leaf commitments.
    #[must_use]
    pub fn leaves_bytes(&self) -> u64 {
        u64::from(self.leaves).saturating_mul(LEAF_BYTES as u64)
    }

    /// The bytes of header, leaves and payload, without the zeros behind them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (HEADER_BYTES as u64)
            .saturating_add(self.leaves_bytes())
            .saturating_add(u64::from(self.payload_length))
    }

    /// The bytes that the frame takes up in its file.
    #[must_use]
    pub fn room(&self) -> u64 {
        aligned(self.bytes(), FRAME_ALIGNMENT)
    }

    /// The offset at which the next frame begins, in the segment as it was written.
    #[must_use]
    pub fn end(&self) -> u64 {
        let span = if self.span > 0 { self.span } else { self.room() };
        self.place.offset.saturating_add(span)
    }

    /// The first Time behind the frame's transactions.
    #[must_use]
    pub fn next_time(&self) -> Time {
        Time(self.first_time.0.saturating_add(u64::from(self.transactions)))
    }

    /// Writes the header, checksum included.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "fields are within the header")]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, F_MAGIC, &MAGIC);
        put(&mut bytes, F_VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, F_KIND, &[self.kind as u8]);
        put(&mut bytes, F_PART, &[self.part as u8]);
        put(&mut bytes, F_FLAGS, &self.flags.to_le_bytes());
        put(&mut bytes, F_PAYLOAD_LENGTH, &self.payload_length.to_le_bytes());
        put(&mut bytes, F_PLAIN_LENGTH, &self.plain_length.to_le_bytes());
        put(&mut bytes, F_TRANSACTIONS, &self.transactions.to_le_bytes());
        put(&mut bytes, F_FIRST_TIME, &self.first_time.0.to_le_bytes());
        put(&mut bytes, F_SEGMENT, &self.place.segment.to_le_bytes());
        put(&mut bytes, F_OFFSET, &self.place.offset.to_le_bytes());
        put(&mut bytes, F_BATCH_OFFSET, &self.batch_offset.to_le_bytes());
        put(&mut bytes, F_WALL_CLOCK, &self.wall_clock_us.to_le_bytes());
        put(&mut bytes, F_PART_SEGMENT, &self.previous.segment.to_le_bytes());
        put(&mut bytes, F_PART_OFFSET, &self.previous.offset.to_le_bytes());
        put(&mut bytes, F_PART_NUMBER, &self.part_number.to_le_bytes());
        put(&mut bytes, F_ROWS, &self.rows.to_le_bytes());
        put(&mut bytes, F_PAYLOAD_CRC, &self.payload_crc.to_le_bytes());
        put(&mut bytes, F_LEAVES, &self.leaves.to_le_bytes());
        put(&mut bytes, F_LEAVES_CRC, &self.leaves_crc.to_le_bytes());
        put(&mut bytes, F_SPAN, &self.span.to_le_bytes());
        let crc = crate::crc::crc32c(bytes.get(..F_HEADER_CRC.offset).expect("within the header"));
        put(&mut bytes, F_HEADER_CRC, &crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the frame at `place`.
    ///
    /// # Errors
    /// When there is no such frame.
    pub fn from_bytes(bytes: &[u8], place: Place) -> Result<Self, FormatError> {
        let bytes: &[u8; HEADER_BYTES] =
            bytes.first_chunk::<HEADER_BYTES>().ok_or(FormatError::Short)?;
        if take::<4>(bytes, F_MAGIC) != MAGIC {
            return Err(FormatError::NotAFrame);
        }
        let crc = crate::crc::crc32c(bytes.get(..F_HEADER_CRC.offset).ok_or(FormatError::Short)?);
        if crc != take_u32(bytes, F_HEADER_CRC) {
            return Err(FormatError::HeaderChecksum);
        }
        let version = u16::from_le_bytes(take(bytes, F_VERSION));
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let header = Self {
            kind: kind(u8::from_le_bytes(take(bytes, F_KIND)))?,
            part: part(u8::from_le_bytes(take(bytes, F_PART)))?,
            flags: take_u32(bytes, F_FLAGS),
            payload_length: take_u32(bytes, F_PAYLOAD_LENGTH),
            plain_length: take_u32(bytes, F_PLAIN_LENGTH),
            transactions: take_u32(bytes, F_TRANSACTIONS),
            first_time: Time(take_u64(bytes, F_FIRST_TIME)),
            place: Place { segment: take_u64(bytes, F_SEGMENT), offset: take_u64(bytes, F_OFFSET) },
            batch_offset: take_u64(bytes, F_BATCH_OFFSET),
            wall_clock_us: i64::from_le_bytes(take(bytes, F_WALL_CLOCK)),
            previous: Place {
                segment: take_u64(bytes, F_PART_SEGMENT),
                offset: take_u64(bytes, F_PART_OFFSET),
            },
            part_number: take_u32(bytes, F_PART_NUMBER),
            rows: take_u32(bytes, F_ROWS),
            payload_crc: take_u32(bytes, F_PAYLOAD_CRC),
            leaves: take_u32(bytes, F_LEAVES),
            leaves_crc: take_u32(bytes, F_LEAVES_CRC),
            span: take_u64(bytes, F_SPAN),
        };
        header.check(place)?;
        Ok(header)
    }

    /// Reads the header of a frame of a segment, wherever in it that was when the segment was written.
    pub(crate) fn in_segment(bytes: &[u8], segment: u64) -> Result<Self, FormatError> {
        let first = bytes.first_chunk::<HEADER_BYTES>().ok_or(FormatError::Short)?;
        let offset = take_u64(first, F_OFFSET);
        Self::from_bytes(bytes, Place { segment, offset })
    }

    fn check(&self, place: Place) -> Result<(), FormatError> {
        if self.place != place {
            let Place { segment, offset } = self.place;
            return Err(FormatError::Misplaced { segment, offset });
        }
        let largest = self.leaves_bytes().max(self.payload_length.max(self.plain_length).into());
        if largest > FRAME_BYTES_MAX as u64 {
            return Err(FormatError::TooLarge(largest));
        }
        if self.flags & !(FLAG_OWN | FLAG_LZ4 | FLAG_THIN) != 0 {
            return Err(FormatError::Value("the frame has unknown flags"));
        }
        let is_thin = self.flags & FLAG_THIN != 0;
        if self.span > 0 && (!is_thin || self.span.checked_rem(FRAME_ALIGNMENT as u64) != Some(0)) {
            return Err(FormatError::Value("the frame stands for what cannot be"));
        }
        // LZ4 cannot make more than 255 bytes of one.
        let plain_max = match self.flags & FLAG_LZ4 {
            0 => u64::from(self.payload_length),
            _ => u64::from(self.payload_length).saturating_mul(255),
        };
        if u64::from(self.plain_length) > plain_max {
            return Err(FormatError::Value("the frame's plain length cannot be"));
        }
        if self.flags & FLAG_LZ4 == 0 && self.plain_length != self.payload_length {
            return Err(FormatError::Value("the frame's lengths contradict each other"));
        }
        if self.batch_offset > self.place.offset {
            return Err(FormatError::Value("the frame's write began behind it"));
        }
        Ok(())
    }
}

fn kind(byte: u8) -> Result<FrameKind, FormatError> {
    match byte {
        1 => Ok(FrameKind::Preamble),
        2 => Ok(FrameKind::Schema),
        3 => Ok(FrameKind::Transactions),
        4 => Ok(FrameKind::Close),
        5 => Ok(FrameKind::Gap),
        6 => Ok(FrameKind::Base),
        _ => Err(FormatError::Value("the frame has an unknown kind")),
    }
}

fn part(byte: u8) -> Result<FramePart, FormatError> {
    match byte {
        0 => Ok(FramePart::Whole),
        1 => Ok(FramePart::First),
        2 => Ok(FramePart::Middle),
        3 => Ok(FramePart::Last),
        _ => Err(FormatError::Value("the frame has an unknown part")),
    }
}

fn put(bytes: &mut [u8; HEADER_BYTES], field: Field, value: &[u8]) {
    let end = field.offset.saturating_add(field.bytes);
    bytes.get_mut(field.offset..end).expect("a field is within the header").copy_from_slice(value);
}

fn take<const N: usize>(bytes: &[u8; HEADER_BYTES], field: Field) -> [u8; N] {
    let rest = bytes.get(field.offset..).expect("a field is within the header");
    *rest.first_chunk().expect("a field is within the header")
}

fn take_u32(bytes: &[u8; HEADER_BYTES], field: Field) -> u32 {
    u32::from_le_bytes(take(bytes, field))
}

fn take_u64(bytes: &[u8; HEADER_BYTES], field: Field) -> u64 {
    u64::from_le_bytes(take(bytes, field))
}

/// Returns the next multiple of `alignment`.
#[must_use]
pub fn aligned(bytes: u64, alignment: usize) -> u64 {
    bytes.checked_next_multiple_of(alignment as u64).unwrap_or(u64::MAX)
}

/// Reads numbers and bytes from front to back.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    read: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, read: 0 }
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> usize {
        self.read
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(FormatError::Value("the payload ends too early"))?;
        self.rest = rest;
        self.read = self.read.saturating_add(length);
        Ok(taken)
    }

    /// Skips zeros up to the next multiple of [`SECTION_ALIGNMENT`].
    pub(crate) fn align(&mut self) -> Result<(), FormatError> {
        let end = self.read.next_multiple_of(SECTION_ALIGNMENT);
        self.bytes(end.saturating_sub(self.read)).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        self.bytes(N)?.try_into().map_err(|_short| FormatError::Short)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Reads a length of 32 bits.
    pub(crate) fn length(&mut self) -> Result<usize, FormatError> {
        Ok(self.u32()? as usize)
    }

    pub(crate) fn text(&mut self, length: usize) -> Result<&'a str, FormatError> {
        let invalid = |_utf8| FormatError::Value("a name is not UTF-8");
        std::str::from_utf8(self.bytes(length)?).map_err(invalid)
    }
}

/// The position kinds on disk; 0 says that there is none.
const LSN: u8 = 1;
const LINE: u8 = 2;
const STEP: u8 = 3;

/// The byte that says which kind of position follows.
pub(crate) fn position_kind(position: Option<&SourcePosition>) -> u8 {
    match position {
        None => 0,
        Some(SourcePosition::Lsn(_)) => LSN,
        Some(SourcePosition::Line { .. }) => LINE,
        Some(SourcePosition::Step(_)) => STEP,
    }
}

/// Appends a position, without its kind.
pub(crate) fn put_position(bytes: &mut Vec<u8>, position: &SourcePosition) {
    match position {
        SourcePosition::Lsn(value) | SourcePosition::Step(value) => {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        SourcePosition::Line { bytes: read, lines } => {
            bytes.extend_from_slice(&read.to_le_bytes());
            bytes.extend_from_slice(&lines.to_le_bytes());
        }
    }
}

/// Reads a position of the given kind.
pub(crate) fn take_position(
    cursor: &mut Cursor<'_>,
    kind: u8,
) -> Result<Option<SourcePosition>, FormatError> {
    Ok(Some(match kind {
        0 => return Ok(None),
        LSN => SourcePosition::Lsn(cursor.u64()?),
        LINE => SourcePosition::Line { bytes: cursor.u64()?, lines: cursor.u64()? },
        STEP => SourcePosition::Step(cursor.u64()?),
        _ => return Err(FormatError::Value("a source position has an unknown kind")),
    }))
}
