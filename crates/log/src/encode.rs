//! Transactions → the payload of a frame. It runs in the thread that appends.
//!
//! Large columns are not copied: the payload is a list of pieces, which the writer hands to the system as they are.
//! A payload is a function of the groups that its source appended before and of nothing else.

use std::sync::Arc;

use arrow::buffer::Buffer;
use change::catalog::OWN_SOURCE;
use change::{Part, SourcePosition, TRUNCATE, TableChanges, TransactionGroup, TransactionHead};

use crate::crc::crc32c_of;
use crate::error::LogError;
use crate::format::{
    FLAG_LZ4, FLAG_OWN, FramePart, HEAD_BYTES, SECTION_ALIGNMENT, TABLE_BYTES, position_kind,
    put_position,
};
use crate::limits::{COMPRESS_BYTES_MIN, ENDS_MAX, FRAME_BYTES_MAX, NAME_BYTES_MAX};
use crate::schema::{Registry, StoredSchema};

/// Whether payloads are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Never.
    Off,
    /// When it saves at least an eighth.
    WhenItPays,
}

/// Pieces below this are copied together: a system call for each byte of them would cost more.
const SHARE_BYTES_MIN: usize = 16 << 10;

/// How much of a large payload is compressed to learn whether the whole is worth it.
const SAMPLE_BYTES: usize = 16 << 10;

/// How a table's diffs are stored.
pub(crate) mod diffs {
    /// Every diff is +1: nothing is stored.
    pub(crate) const ONES: u8 = 0;
    /// A signed byte each; −128 stands for TRUNCATE.
    pub(crate) const BYTES: u8 = 1;
    /// 64 bits each.
    pub(crate) const WORDS: u8 = 2;
    /// None are: the table's changes were folded, and the hash of its piece is all that is kept.
    pub(crate) const PRUNED: u8 = 3;
}

/// How the ends of a table's transactions are stored.
pub(crate) mod ends {
    /// There is one transaction: nothing is stored.
    pub(crate) const ONE: u8 = 0;
    /// For each transaction, the end of its rows.
    pub(crate) const BY_TRANSACTION: u8 = 1;
    /// For each row, the number of its transaction.
    pub(crate) const BY_ROW: u8 = 2;
}

/// A group, ready to be put behind a header.
pub(crate) struct Encoded {
    pub(crate) source: Arc<str>,
    pub(crate) part: FramePart,
    pub(crate) flags: u32,
    pub(crate) transactions: u32,
    pub(crate) rows: u32,
    pub(crate) payload: Vec<Buffer>,
    pub(crate) payload_length: u32,
    pub(crate) plain_length: u32,
    /// `None` until it is [sealed](Encoded::seal).
    pub(crate) payload_crc: Option<u32>,
    /// The schemas that it refers to.
    pub(crate) schemas: Vec<Arc<StoredSchema>>,
    /// Where the source goes on behind it.
    pub(crate) position: Option<SourcePosition>,
}

impl Encoded {
    /// Computes the payload's checksum, unless it is known.
    pub(crate) fn seal(&mut self) -> u32 {
        *self.payload_crc.get_or_insert_with(|| checksum(&self.payload))
    }
}

/// The CRC-32C of bytes in pieces.
pub(crate) fn checksum<'a>(pieces: impl IntoIterator<Item = &'a Buffer>) -> u32 {
    crc32c_of(pieces.into_iter().map(Buffer::as_slice))
}

/// Encodes a group; its checksum is left to whoever queues or writes it.
pub(crate) fn encode(
    group: &TransactionGroup,
    registry: &Registry,
    compression: Compression,
) -> Result<Encoded, LogError> {
    check_limits(group)?;
    let mut pieces = Pieces::default();
    put_heads(&mut pieces, group);
    let mut schemas = Vec::with_capacity(group.tables().len());
    let mut flags = 0;
    for changes in group.tables() {
        pieces.align();
        schemas.push(put_table(&mut pieces, group.source(), changes, registry)?);
        if is_own(changes) {
            flags |= FLAG_OWN;
        }
    }
    pieces.flush();
    let plain_length = frame_length(pieces.length)?;
    let stored = match compression {
        Compression::WhenItPays => compress(&pieces),
        Compression::Off => None,
    };
    if stored.is_some() {
        flags |= FLAG_LZ4;
    }
    let payload = match stored {
        Some(stored) => vec![Buffer::from_vec(stored)],
        None => pieces.pieces,
    };
    let part = frame_part(group.part());
    let visible = matches!(part, FramePart::Whole | FramePart::Last);
    Ok(Encoded {
        source: Arc::clone(group.source()),
        part,
        flags,
        transactions: if visible { count(group.heads().len())? } else { 0 },
        rows: count(group.rows())?,
        payload_length: frame_length(payload.iter().map(Buffer::len).sum())?,
        plain_length,
        payload_crc: None,
        payload,
        schemas,
        position: group.heads().iter().rev().find_map(|head| head.position),
    })
}

fn frame_part(part: Part) -> FramePart {
    match part {
        Part::Whole => FramePart::Whole,
        Part::First => FramePart::First,
        Part::Middle => FramePart::Middle,
        Part::Last => FramePart::Last,
    }
}

/// Whether a table is one of Evert's own.
pub(crate) fn is_own(changes: &TableChanges) -> bool {
    &*changes.table().name().source == OWN_SOURCE
}

fn count(number: usize) -> Result<u32, LogError> {
    u32::try_from(number).map_err(|_large| too_large(number))
}

fn frame_length(bytes: usize) -> Result<u32, LogError> {
    if bytes > FRAME_BYTES_MAX { Err(too_large(bytes)) } else { count(bytes) }
}

fn too_large(bytes: usize) -> LogError {
    LogError::FrameTooLarge { bytes: bytes as u64, limit: FRAME_BYTES_MAX as u64 }
}

fn check_limits(group: &TransactionGroup) -> Result<(), LogError> {
    let requests = group.heads().iter().filter_map(|head| head.request.as_ref());
    let longest = requests.map(|id| id.0.len()).chain([group.source().len()]).max().unwrap_or(0);
    let ends = group.heads().len().saturating_mul(group.tables().len());
    if longest > NAME_BYTES_MAX {
        return Err(LogError::FrameTooLarge {
            bytes: longest as u64,
            limit: NAME_BYTES_MAX as u64,
        });
    }
    if ends > ENDS_MAX {
        return Err(LogError::FrameTooLarge { bytes: ends as u64 * 4, limit: ENDS_MAX as u64 * 4 });
    }
    Ok(())
}

fn put_heads(pieces: &mut Pieces, group: &TransactionGroup) {
    let mut heads = Vec::with_capacity(group.heads().len() * (HEAD_BYTES + 16));
    for head in group.heads() {
        put_head(&mut heads, head);
    }
    let source = group.source().as_bytes();
    pieces.put_u32(group.heads().len());
    pieces.put_u32(group.tables().len());
    pieces.put_u32(heads.len());
    pieces.put_u32(source.len());
    pieces.put(source);
    pieces.put(&heads);
    pieces.align();
}

fn put_head(bytes: &mut Vec<u8>, head: &TransactionHead) {
    let request = head.request.as_ref().map_or(&[][..], |id| &id.0);
    let request_length = u16::try_from(request.len()).expect("limits were checked");
    let causes = u32::try_from(head.causes.len()).expect("causes fit a frame");
    bytes.push(u8::from(head.committed_at_us.is_some()) | u8::from(head.request.is_some()) << 1);
    bytes.push(position_kind(head.position.as_ref()));
    bytes.extend_from_slice(&request_length.to_le_bytes());
    bytes.extend_from_slice(&causes.to_le_bytes());
    if let Some(position) = &head.position {
        put_position(bytes, position);
    }
    if let Some(committed_at_us) = head.committed_at_us {
        bytes.extend_from_slice(&committed_at_us.to_le_bytes());
    }
    bytes.extend_from_slice(request);
    for cause in &head.causes {
        bytes.extend_from_slice(&cause.0.to_le_bytes());
    }
}

fn put_table(
    pieces: &mut Pieces,
    source: &Arc<str>,
    changes: &TableChanges,
    registry: &Registry,
) -> Result<Arc<StoredSchema>, LogError> {
    let (schema, message) = registry.encode(source, changes.table(), changes.changes().rows())?;
    let (diffs_form, diffs) = encode_diffs(changes.changes().diffs());
    let (ends_form, ends) = encode_ends(changes.ends());
    let mut unchanged = Vec::with_capacity(changes.unchanged().len() * 8);
    for at in changes.unchanged() {
        unchanged.extend_from_slice(&at.row.to_le_bytes());
        unchanged.extend_from_slice(&at.column.to_le_bytes());
    }
    let (message_length, total) = message_lengths(&message);
    let sections = [&diffs, &ends, &unchanged];
    let own: usize = sections.iter().map(|s| s.len().next_multiple_of(SECTION_ALIGNMENT)).sum();
    let start = pieces.length;
    pieces.put_u32(schema.id as usize);
    pieces.put_u32(changes.changes().len());
    pieces.put(&[diffs_form, ends_form, u8::from(is_own(changes)), 0]);
    pieces.put_u32(changes.unchanged().len());
    pieces.put_u32(message_length);
    // The 32 bits below hold what a frame may hold; a larger frame is refused before it is written.
    pieces.put_u32(frame_length(total - message_length)? as usize);
    pieces.put_u32(frame_length(TABLE_BYTES + own + total)? as usize);
    pieces.put_u32(0);
    debug_assert_eq!(pieces.length - start, TABLE_BYTES, "the table's head has its size");
    for section in sections {
        pieces.put(section);
        pieces.align();
    }
    for piece in message {
        pieces.share(piece);
    }
    Ok(schema)
}

/// The length of an encapsulated message's metadata, its prefix included, and of the whole.
fn message_lengths(message: &[Buffer]) -> (usize, usize) {
    let prefix = message.first().expect("a message has a prefix");
    let metadata = prefix.get(4..8).and_then(|bytes| bytes.try_into().ok());
    let metadata = u32::from_le_bytes(metadata.expect("the prefix is one piece of eight bytes"));
    (8 + metadata as usize, message.iter().map(Buffer::len).sum())
}

fn encode_diffs(values: &[i64]) -> (u8, Vec<u8>) {
    let byte = |diff: i64| match i8::try_from(diff) {
        Ok(diff) if diff != i8::MIN => Some(diff),
        _ => (diff == TRUNCATE).then_some(i8::MIN),
    };
    // Without a branch for each.
    if values.iter().fold(0, |others, diff| others | (diff ^ 1)) == 0 {
        return (diffs::ONES, Vec::new());
    }
    match values.iter().map(|&diff| byte(diff).map(|diff| diff.to_le_bytes()[0])).collect() {
        Some(bytes) => (diffs::BYTES, bytes),
        None => (diffs::WORDS, values.iter().flat_map(|diff| diff.to_le_bytes()).collect()),
    }
}

fn encode_ends(values: &[u32]) -> (u8, Vec<u8>) {
    let rows = values.last().copied().unwrap_or(0) as usize;
    if values.len() == 1 {
        return (ends::ONE, Vec::new());
    }
    if rows >= values.len() {
        return (ends::BY_TRANSACTION, values.iter().flat_map(|end| end.to_le_bytes()).collect());
    }
    let mut owners = Vec::with_capacity(rows * 4);
    let mut start = 0;
    for (transaction, &end) in (0_u32..).zip(values) {
        for _ in start..end {
            owners.extend_from_slice(&transaction.to_le_bytes());
        }
        start = end;
    }
    (ends::BY_ROW, owners)
}

/// Compresses a plain payload, if that pays.
pub(crate) fn compress_plain(plain: &[u8]) -> Option<Vec<u8>> {
    let pieces = vec![Buffer::from(plain)];
    compress(&Pieces { pieces, small: Vec::new(), length: plain.len() })
}

/// Compresses a payload, if that pays.
fn compress(pieces: &Pieces) -> Option<Vec<u8>> {
    if !(COMPRESS_BYTES_MIN..=FRAME_BYTES_MAX).contains(&pieces.length) {
        return None;
    }
    let pays = |plain: usize, stored: usize| stored <= plain - plain / 8;
    if pieces.length > 4 * SAMPLE_BYTES {
        let sample = pieces.sample(SAMPLE_BYTES);
        if !pays(sample.len(), lz4_flex::block::compress(&sample).len()) {
            return None;
        }
    }
    let stored = match pieces.pieces.as_slice() {
        [only] => lz4_flex::block::compress(only),
        many => {
            let slices: Vec<&[u8]> = many.iter().map(Buffer::as_slice).collect();
            lz4_flex::block::compress(&slices.concat())
        }
    };
    pays(pieces.length, stored.len()).then_some(stored)
}

/// A payload in the making.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Buffer>,
    /// Small pieces since the last large one.
    small: Vec<u8>,
    length: usize,
}

impl Pieces {
    fn put(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
        self.length += bytes.len();
    }

    fn put_u32(&mut self, number: usize) {
        let number = u32::try_from(number).expect("counts and lengths of a frame fit 32 bits");
        self.put(&number.to_le_bytes());
    }

    fn align(&mut self) {
        let padding = self.length.next_multiple_of(SECTION_ALIGNMENT) - self.length;
        self.put(&[0; SECTION_ALIGNMENT][..padding]);
    }

    fn share(&mut self, piece: Buffer) {
        if piece.len() < SHARE_BYTES_MIN {
            self.put(&piece);
        } else {
            self.flush();
            self.length += piece.len();
            self.pieces.push(piece);
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(Buffer::from_vec(std::mem::take(&mut self.small)));
        }
    }

    /// Bytes from the starts of all pieces, as many as each one's share of the whole.
    fn sample(&self, bytes: usize) -> Vec<u8> {
        let mut sample = Vec::with_capacity(bytes + self.pieces.len());
        for piece in &self.pieces {
            let share = bytes as u64 * piece.len() as u64 / self.length as u64;
            let share = crate::limits::in_memory(share) + 1;
            sample.extend_from_slice(&piece[..share.min(piece.len())]);
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diffs_take_no_more_room_than_they_need() {
        assert_eq!(encode_diffs(&[1, 1]), (diffs::ONES, vec![]));
        assert_eq!(encode_diffs(&[1, -1, TRUNCATE]), (diffs::BYTES, vec![1, 255, 128]));
        assert_eq!(encode_diffs(&[1, -128]).0, diffs::WORDS);
    }

    #[test]
    fn ends_take_no_more_room_than_they_need() {
        assert_eq!(encode_ends(&[7]), (ends::ONE, vec![]));
        assert_eq!(encode_ends(&[0, 0, 1, 1]), (ends::BY_ROW, vec![2, 0, 0, 0]));
        assert_eq!(encode_ends(&[1, 2]).0, ends::BY_TRANSACTION);
    }
}
