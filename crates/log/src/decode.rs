//! The payload of a frame → transactions.
//!
//! Columns are slices of the payload's buffer. Every length is checked before it is used, so that no bytes, however
//! hostile, make this panic or allocate more than a small multiple of what it was given.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::buffer::{Buffer, MutableBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};
use arrow::ipc::reader::RecordBatchDecoder;
use arrow::ipc::{MessageHeader, MetadataVersion};
use change::{
    ChangeBatch, ChangeForm, RequestId, TRUNCATE, TableChanges, TableSchema, Time, TransactionHead,
    Unchanged,
};

use crate::encode::{diffs, ends};
use crate::format::{
    Cursor, FLAG_LZ4, FormatError, HEAD_BYTES, Header, LEAF_BYTES, SECTION_ALIGNMENT, TABLE_BYTES,
    take_position,
};
use crate::limits::ENDS_MAX;

/// Which tables are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All.
    All,
    /// Those whose changes are kept.
    Kept,
    /// Those of Evert itself.
    Own,
}

/// What a payload says of its transactions.
pub(crate) struct Heads<'a> {
    pub(crate) source: &'a str,
    pub(crate) heads: Vec<TransactionHead>,
    tables: usize,
    /// Where the first table begins.
    tables_offset: usize,
}

/// Makes a stored payload plain.
pub(crate) fn plain(header: &Header, stored: Buffer) -> Result<Buffer, FormatError> {
    if header.flags & FLAG_LZ4 == 0 {
        return Ok(stored);
    }
    let mut plain = MutableBuffer::from_len_zeroed(header.plain_length as usize);
    let written = lz4_flex::block::decompress_into(&stored, plain.as_slice_mut())
        .map_err(|_what| FormatError::Value("the payload does not decompress"))?;
    if written != plain.len() {
        return Err(FormatError::Value("the payload decompresses to another length"));
    }
    Ok(plain.into())
}

/// Reads a payload's transactions, without their changes.
pub(crate) fn heads(payload: &[u8]) -> Result<Heads<'_>, FormatError> {
    let mut cursor = Cursor::new(payload);
    let transactions = cursor.length()?;
    let tables = cursor.length()?;
    let heads_length = cursor.length()?;
    let source_length = cursor.length()?;
    let source = cursor.text(source_length)?;
    let mut entries = Cursor::new(cursor.bytes(heads_length)?);
    if transactions == 0 || transactions > heads_length.div_euclid(HEAD_BYTES) {
        return Err(FormatError::Value("the number of transactions cannot be"));
    }
    if tables.saturating_mul(transactions) > ENDS_MAX {
        return Err(FormatError::Value("the number of tables cannot be"));
    }
    let mut heads = Vec::with_capacity(transactions);
    for _ in 0..transactions {
        heads.push(head(&mut entries)?);
    }
    if entries.left() != 0 {
        return Err(FormatError::Value("bytes are left behind the transactions"));
    }
    cursor.align()?;
    Ok(Heads { source, heads, tables, tables_offset: cursor.position() })
}

fn head(cursor: &mut Cursor<'_>) -> Result<TransactionHead, FormatError> {
    let bits = cursor.u8()?;
    let position_kind = cursor.u8()?;
    let request_length = cursor.u16()?;
    let causes_count = cursor.length()?;
    if bits & !3 != 0 || (bits & 2 == 0 && request_length != 0) {
        return Err(FormatError::Value("a transaction has unknown marks"));
    }
    let position = take_position(cursor, position_kind)?;
    let committed_at_us = if bits & 1 == 0 { None } else { Some(cursor.i64()?) };
    let request = cursor.bytes(request_length.into())?;
    let request = (bits & 2 != 0).then(|| RequestId(request.into()));
    if causes_count > cursor.left().div_euclid(8) {
        return Err(FormatError::Value("the number of causes cannot be"));
    }
    let mut causes = Vec::with_capacity(causes_count);
    for _ in 0..causes_count {
        causes.push(Time(cursor.u64()?));
    }
    Ok(TransactionHead { position, committed_at_us, request, causes })
}

/// Reads the changes of a payload's tables.
pub(crate) fn tables(
    payload: &Buffer,
    heads: &Heads<'_>,
    schemas: Option<&BTreeMap<u32, Arc<TableSchema>>>,
    wanted: Wanted,
) -> Result<Vec<TableChanges>, FormatError> {
    let mut cursor = Cursor::new(payload);
    cursor.bytes(heads.tables_offset)?;
    let mut tables = Vec::new();
    for _ in 0..heads.tables {
        cursor.align()?;
        let start = cursor.position();
        let table = TableHead::read(&mut cursor)?;
        let rest = table.section_length.checked_sub(TABLE_BYTES);
        let rest = rest.ok_or(FormatError::Value("a table's length cannot be"))?;
        let bytes = cursor.bytes(rest)?;
        if wanted == Wanted::Own && !table.own {
            continue;
        }
        if table.is_pruned() {
            if wanted == Wanted::All {
                return Err(FormatError::Pruned);
            }
            continue;
        }
        let none = FormatError::Value("a table's schema is missing");
        let schema = schemas.and_then(|known| known.get(&table.schema)).ok_or(none)?;
        let at = start.saturating_add(TABLE_BYTES);
        tables.push(table.changes(payload, bytes, at, (schema, heads.heads.len()))?);
    }
    if cursor.left() != 0 {
        return Err(FormatError::Value("bytes are left behind the tables"));
    }
    Ok(tables)
}

/// Where a table is in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TablePlace {
    /// The number of its schema.
    pub(crate) schema: u32,
    /// Where it begins.
    pub(crate) start: usize,
    /// Where the next one begins, or the payload ends.
    pub(crate) end: usize,
    /// The hash of its piece, when its changes were folded.
    pub(crate) pruned: Option<[u8; LEAF_BYTES]>,
}

/// Returns where each table is.
pub(crate) fn table_places(
    payload: &[u8],
    heads: &Heads<'_>,
) -> Result<Vec<TablePlace>, FormatError> {
    let mut cursor = Cursor::new(payload);
    cursor.bytes(heads.tables_offset)?;
    let mut places: Vec<TablePlace> = Vec::new();
    for _ in 0..heads.tables {
        cursor.align()?;
        let start = cursor.position();
        let table = TableHead::read(&mut cursor)?;
        let rest = table.section_length.checked_sub(TABLE_BYTES);
        let rest = cursor.bytes(rest.ok_or(FormatError::Value("a table's length cannot be"))?)?;
        let short = FormatError::Value("a table's hash is missing");
        let pruned =
            if table.is_pruned() { Some(rest.try_into().map_err(|_length| short)?) } else { None };
        if let Some(before) = places.last_mut() {
            before.end = start;
        }
        places.push(TablePlace { schema: table.schema, start, end: payload.len(), pruned });
    }
    if cursor.left() != 0 {
        return Err(FormatError::Value("bytes are left behind the tables"));
    }
    Ok(places)
}

/// Returns the payload without some of its tables' changes: of each of those the hash of its piece is kept.
pub(crate) fn without(
    plain: &[u8],
    places: &[TablePlace],
    is_folded: impl Fn(&TablePlace) -> bool,
    hash: impl Fn(&[u8]) -> [u8; LEAF_BYTES],
) -> Result<Vec<u8>, FormatError> {
    let within = || FormatError::Value("a table reaches beyond its payload");
    let heads = places.first().map_or(plain.len(), |place| place.start);
    let mut bytes = plain.get(..heads).ok_or_else(within)?.to_vec();
    for place in places {
        let piece = plain.get(place.start..place.end).ok_or_else(within)?;
        if place.pruned.is_some() || !is_folded(place) {
            bytes.extend_from_slice(piece);
            continue;
        }
        // The number of its schema, its rows and whose it is stay.
        let head: &[u8; TABLE_BYTES] = piece.first_chunk().ok_or_else(within)?;
        let mut cursor = Cursor::new(head);
        bytes.extend_from_slice(cursor.bytes(8)?);
        cursor.bytes(2)?;
        bytes.extend_from_slice(&[diffs::PRUNED, ends::ONE]);
        bytes.extend_from_slice(cursor.bytes(2)?);
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&PRUNED_BYTES.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&hash(piece));
    }
    Ok(bytes)
}

/// The length of a table whose changes were folded: its head, and a hash.
const PRUNED_BYTES: u32 = 64;

/// What precedes a table's sections.
struct TableHead {
    schema: u32,
    rows: usize,
    diffs_form: u8,
    ends_form: u8,
    own: bool,
    unchanged: usize,
    message_length: usize,
    body_length: usize,
    section_length: usize,
}

impl TableHead {
    fn is_pruned(&self) -> bool {
        self.diffs_form == diffs::PRUNED
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let table = Self {
            schema: cursor.u32()?,
            rows: cursor.length()?,
            diffs_form: cursor.u8()?,
            ends_form: cursor.u8()?,
            own: match cursor.u16()? {
                0 => false,
                1 => true,
                _ => return Err(FormatError::Value("a table has unknown marks")),
            },
            unchanged: cursor.length()?,
            message_length: cursor.length()?,
            body_length: cursor.length()?,
            section_length: cursor.length()?,
        };
        cursor.u32()?;
        Ok(table)
    }

    /// Reads the sections in `bytes`, which begin at `at` in the payload.
    fn changes(
        &self,
        payload: &Buffer,
        bytes: &[u8],
        at: usize,
        (schema, transactions): (&Arc<TableSchema>, usize),
    ) -> Result<TableChanges, FormatError> {
        if self.body_length > bytes.len() {
            return Err(FormatError::Short);
        }
        let mut cursor = Cursor::new(bytes);
        let diffs = self.diffs(&mut cursor)?;
        cursor.align()?;
        let ends = self.ends(&mut cursor, transactions)?;
        cursor.align()?;
        let unchanged = self.unchanged(&mut cursor, schema)?;
        cursor.align()?;
        let message = cursor.bytes(self.message_length)?;
        let body_offset = at.saturating_add(cursor.position());
        cursor.bytes(self.body_length)?;
        if cursor.left() != 0 {
            return Err(FormatError::Value("bytes are left behind a table"));
        }
        // The bytes were within the payload, so the slice is as well.
        let body = payload.slice_with_length(body_offset, self.body_length);
        let rows = batch(message, &body, schema, self.rows)?;
        let changes = ChangeBatch::new(rows, diffs);
        Ok(TableChanges::new(Arc::clone(schema), changes, ends, unchanged))
    }

    fn diffs(&self, cursor: &mut Cursor<'_>) -> Result<Int64Array, FormatError> {
        match self.diffs_form {
            diffs::ONES => {
                // Rows without columns could claim any number at no cost.
                if self.rows > self.body_length.saturating_mul(8).saturating_add(1 << 16) {
                    return Err(FormatError::Value("the number of rows cannot be"));
                }
                Ok(Int64Array::from_value(1, self.rows))
            }
            diffs::BYTES => {
                let bytes = cursor.bytes(self.rows)?;
                let diff = |&byte: &u8| match i8::from_le_bytes([byte]) {
                    i8::MIN => TRUNCATE,
                    diff => i64::from(diff),
                };
                let values: ScalarBuffer<i64> = bytes.iter().map(diff).collect();
                Ok(Int64Array::new(values, None))
            }
            diffs::WORDS => {
                let bytes = cursor.bytes(self.rows.saturating_mul(8))?;
                let (words, _) = bytes.as_chunks::<8>();
                let values: ScalarBuffer<i64> =
                    words.iter().map(|word| i64::from_le_bytes(*word)).collect();
                Ok(Int64Array::new(values, None))
            }
            _ => Err(FormatError::Value("a table's diffs have an unknown form")),
        }
    }

    fn ends(&self, cursor: &mut Cursor<'_>, transactions: usize) -> Result<Vec<u32>, FormatError> {
        let invalid = FormatError::Value("the ends of a table's transactions cannot be");
        let rows = u32::try_from(self.rows).map_err(|_large| invalid.clone())?;
        let ends = match self.ends_form {
            ends::ONE => vec![rows],
            ends::BY_TRANSACTION => numbers(cursor.bytes(transactions.saturating_mul(4))?),
            ends::BY_ROW => {
                let owners = numbers(cursor.bytes(self.rows.saturating_mul(4))?);
                if !owners.is_sorted() {
                    return Err(invalid);
                }
                let mut ends = vec![0; transactions];
                for (end, owner) in (1_u32..).zip(owners) {
                    *ends.get_mut(owner as usize).ok_or(invalid.clone())? = end;
                }
                let mut reached = 0;
                for end in &mut ends {
                    reached = reached.max(*end);
                    *end = reached;
                }
                ends
            }
            _ => return Err(FormatError::Value("a table's ends have an unknown form")),
        };
        let whole = ends.last() == Some(&rows);
        if ends.len() != transactions || !ends.is_sorted() || !whole {
            return Err(invalid);
        }
        Ok(ends)
    }

    fn unchanged(
        &self,
        cursor: &mut Cursor<'_>,
        schema: &TableSchema,
    ) -> Result<Vec<Unchanged>, FormatError> {
        let bytes = cursor.bytes(self.unchanged.saturating_mul(8))?;
        let (pairs, _) = bytes.as_chunks::<8>();
        let pair = |pair: &[u8; 8]| {
            let [a, b, c, d, e, f, g, h] = *pair;
            Unchanged {
                row: u32::from_le_bytes([a, b, c, d]),
                column: u32::from_le_bytes([e, f, g, h]),
            }
        };
        let unchanged: Vec<Unchanged> = pairs.iter().map(pair).collect();
        let columns = schema.columns().fields().len();
        let within =
            |at: &Unchanged| (at.row as usize) < self.rows && (at.column as usize) < columns;
        let allowed = unchanged.is_empty() || schema.form() == ChangeForm::Upsert;
        if !allowed || !unchanged.is_sorted() || !unchanged.iter().all(within) {
            return Err(FormatError::Value("a table's unchanged values cannot be"));
        }
        Ok(unchanged)
    }
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number)).collect()
}

/// Reads an Arrow IPC record batch message whose body is `body`.
fn batch(
    message: &[u8],
    body: &Buffer,
    schema: &Arc<TableSchema>,
    rows: usize,
) -> Result<RecordBatch, FormatError> {
    let arrow = |what: &dyn std::fmt::Display| FormatError::Arrow(what.to_string());
    let mut cursor = Cursor::new(message);
    if cursor.u32()? != u32::MAX {
        return Err(FormatError::Value("a batch of columns has no continuation marker"));
    }
    let metadata = cursor.length()?;
    let metadata = cursor.bytes(metadata)?;
    let message = arrow::ipc::root_as_message(metadata).map_err(|what| arrow(&what))?;
    let is_batch = message.header_type() == MessageHeader::RecordBatch;
    let found = message.header_as_record_batch().filter(|_| is_batch);
    let found = found.ok_or(FormatError::Value("a message holds no batch of columns"))?;
    if message.version() != MetadataVersion::V5 {
        return Err(FormatError::Value("a batch of columns has an unknown version"));
    }
    Shape::of(&found, body)?.check(schema, rows)?;
    #[expect(clippy::disallowed_types, reason = "Arrow asks for one; it stays empty")]
    let dictionaries = std::collections::HashMap::new();
    let columns = Arc::clone(schema.columns());
    RecordBatchDecoder::try_new(body, found, columns, &dictionaries, &MetadataVersion::V5)
        .and_then(RecordBatchDecoder::read_record_batch)
        .map_err(|what| arrow(&what))
}

/// The lengths in a batch's metadata. Arrow's decoder trusts them, so they are checked before it sees them.
struct Shape {
    rows: i64,
    /// Length and number of NULLs of each array, depth first.
    nodes: Vec<(i64, i64)>,
    /// The bytes of each buffer.
    buffers: Vec<usize>,
}

impl Shape {
    fn of(batch: &arrow::ipc::RecordBatch<'_>, body: &Buffer) -> Result<Self, FormatError> {
        let invalid = FormatError::Value("a batch of columns reaches beyond its body");
        if batch.compression().is_some() || batch.variadicBufferCounts().is_some() {
            return Err(FormatError::Value("a batch of columns has unknown parts"));
        }
        let mut shape = Self { rows: batch.length(), nodes: Vec::new(), buffers: Vec::new() };
        for node in batch.nodes().into_iter().flatten() {
            shape.nodes.push((node.length(), node.null_count()));
        }
        for buffer in batch.buffers().into_iter().flatten() {
            let range = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
            let (Ok(offset), Ok(length)) = range else { return Err(invalid) };
            let within = offset.checked_add(length).is_some_and(|end| end <= body.len());
            if !within || offset.checked_rem(SECTION_ALIGNMENT) != Some(0) {
                return Err(invalid);
            }
            shape.buffers.push(length);
        }
        Ok(shape)
    }

    fn check(&self, schema: &TableSchema, rows: usize) -> Result<(), FormatError> {
        let invalid = FormatError::Value("a batch of columns has another shape than its table");
        if usize::try_from(self.rows) != Ok(rows) {
            return Err(invalid);
        }
        let mut walk = Walk { nodes: self.nodes.iter(), buffers: self.buffers.iter() };
        for field in schema.columns().fields() {
            let length = walk.field(field).ok_or(invalid.clone())?;
            if length != rows {
                return Err(invalid);
            }
        }
        if walk.nodes.next().is_some() || walk.buffers.next().is_some() {
            return Err(invalid);
        }
        Ok(())
    }
}

/// Goes through a batch's metadata as Arrow's decoder does.
struct Walk<'a> {
    nodes: std::slice::Iter<'a, (i64, i64)>,
    buffers: std::slice::Iter<'a, usize>,
}

impl Walk<'_> {
    /// Returns the length of the field's array, when its buffers can hold it.
    fn field(&mut self, field: &Field) -> Option<usize> {
        let &(length, nulls) = self.nodes.next()?;
        let (length, nulls) = (u32::try_from(length).ok()?, u32::try_from(nulls).ok()?);
        let length = length as usize;
        let validity = *self.buffers.next()?;
        if nulls as usize > length || (nulls > 0 && validity < length.div_ceil(8)) {
            return None;
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "schemas hold supported types only; the rest of those are primitive, or else refused"
        )]
        match field.data_type() {
            DataType::Utf8 | DataType::Binary => {
                self.offsets(length, 4)?;
                self.buffers.next()?;
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.offsets(length, 8)?;
                self.buffers.next()?;
            }
            DataType::List(item) => {
                self.offsets(length, 4)?;
                self.field(item)?;
            }
            DataType::LargeList(item) => {
                self.offsets(length, 8)?;
                self.field(item)?;
            }
            DataType::Struct(fields) => {
                for child in fields {
                    if self.field(child)? != length {
                        return None;
                    }
                }
            }
            DataType::Boolean => self.values(length.div_ceil(8), 1)?,
            DataType::FixedSizeBinary(bytes) => {
                self.values(length, usize::try_from(*bytes).ok()?)?;
            }
            primitive => self.values(length, primitive.primitive_width()?)?,
        }
        Some(length)
    }

    fn offsets(&mut self, length: usize, bytes: usize) -> Option<()> {
        let count = if length == 0 { 0 } else { length.checked_add(1)? };
        self.values(count, bytes)
    }

    /// Takes a buffer that must hold `count` values of `bytes` each, and no part of another one.
    fn values(&mut self, count: usize, bytes: usize) -> Option<()> {
        let buffer = *self.buffers.next()?;
        let whole = buffer.checked_rem(bytes)? == 0;
        (whole && buffer >= count.checked_mul(bytes)?).then_some(())
    }
}
