//! Table schemas in the log: each is written once per segment, and frames refer to it by a number.
//!
//! Numbers count per source, in the order of its first use. A source appends in its own order, so the same input gives
//! the same numbers whatever other sources do meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};
use change::map::HashMap;
use change::{TableName, TableSchema};

use crate::error::LogError;
use crate::format::{Cursor, FormatError, SECTION_ALIGNMENT};
use crate::limits::{NAME_BYTES_MAX, SCHEMA_BYTES_MAX, TYPE_DEPTH_MAX};

/// A schema as a frame of it is written.
#[derive(Debug)]
pub(crate) struct StoredSchema {
    /// Its place among all schemas that this process writes.
    pub(crate) slot: usize,
    /// Its number within its source.
    pub(crate) id: u32,
    /// The payload of its frame.
    pub(crate) payload: Buffer,
}

/// All schemas that were written since the log was opened, or are in the segment that it goes on with.
#[derive(Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sources: BTreeMap<Arc<str>, Source>,
    slots: usize,
}

#[derive(Default)]
struct Source {
    tables: HashMap<TableName, Vec<Entry>>,
    next_id: u32,
}

struct Entry {
    table: Arc<TableSchema>,
    stored: Arc<StoredSchema>,
    /// Encoders at rest, each past its schema message.
    encoders: Vec<StreamEncoder>,
}

impl Registry {
    /// Encodes rows as one Arrow IPC message, in pieces; returns them with the table's schema as it is stored.
    pub(crate) fn encode(
        &self,
        source: &Arc<str>,
        table: &Arc<TableSchema>,
        rows: &RecordBatch,
    ) -> Result<(Arc<StoredSchema>, Vec<Buffer>), LogError> {
        let unsupported = |error: ArrowError| LogError::Unsupported {
            table: table.name().clone(),
            reason: error.to_string(),
        };
        let mut inner = self.inner();
        let entry = inner.entry(source, table, None)?;
        let stored = Arc::clone(&entry.stored);
        let encoder = entry.encoders.pop();
        drop(inner);
        let mut encoder = match encoder {
            Some(encoder) => encoder,
            None => encoder_past_schema(table).map_err(unsupported)?,
        };
        let pieces = encoder.encode(rows).map_err(unsupported)?;
        self.inner().entry(source, table, None)?.encoders.push(encoder);
        Ok((stored, pieces))
    }

    /// Takes in a schema that the last segment holds already; returns its slot.
    pub(crate) fn restore(&self, found: &FoundSchema) -> Result<usize, LogError> {
        let mut inner = self.inner();
        let entry = inner.entry(&found.source, &found.table, Some(found.id))?;
        Ok(entry.stored.slot)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn entry(
        &mut self,
        source: &Arc<str>,
        table: &Arc<TableSchema>,
        id: Option<u32>,
    ) -> Result<&mut Entry, LogError> {
        if !self.sources.contains_key(source) {
            self.sources.insert(Arc::clone(source), Source::default());
        }
        let known = self.sources.get_mut(source).expect("it was just put there");
        let entries = known.tables.entry(table.name().clone()).or_default();
        let same = |entry: &Entry| Arc::ptr_eq(&entry.table, table) || entry.table == *table;
        if let Some(at) = entries.iter().position(same) {
            return Ok(&mut entries[at]);
        }
        let id = id.unwrap_or(known.next_id);
        let payload = payload(source, id, table)?;
        known.next_id = known.next_id.max(id.saturating_add(1));
        let stored = Arc::new(StoredSchema { slot: self.slots, id, payload });
        self.slots += 1;
        entries.push(Entry { table: Arc::clone(table), stored, encoders: Vec::new() });
        Ok(entries.last_mut().expect("it was just put there"))
    }
}

fn encoder_past_schema(table: &TableSchema) -> Result<StreamEncoder, ArrowError> {
    let options = IpcWriteOptions::try_new(SECTION_ALIGNMENT, false, MetadataVersion::V5)?;
    let mut encoder = StreamEncoder::try_new_with_options(table.columns(), options)?;
    // The first batch brings the schema message along, which our own schema frames make superfluous.
    encoder.encode(&RecordBatch::new_empty(Arc::clone(table.columns())))?;
    Ok(encoder)
}

/// Writes the payload of a schema frame, having made sure that it can be read again.
fn payload(source: &str, id: u32, table: &TableSchema) -> Result<Buffer, LogError> {
    let unsupported =
        |reason: String| LogError::Unsupported { table: table.name().clone(), reason };
    assert!(source.len() <= NAME_BYTES_MAX, "the encoder checks the source's name first");
    let json = table.to_json();
    let source_length = u16::try_from(source.len()).expect("checked above");
    let json_length =
        u32::try_from(json.len()).map_err(|error| unsupported(format!("its schema: {error}")))?;
    let mut bytes = Vec::with_capacity(json.len() + source.len() + 12);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&json_length.to_le_bytes());
    bytes.extend_from_slice(&source_length.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(source.as_bytes());
    bytes.extend_from_slice(json.as_bytes());
    let read = FoundSchema::from_bytes(&bytes).map_err(|error| unsupported(error.to_string()))?;
    if *read.table != *table {
        return Err(unsupported("its columns carry more than the log keeps of a schema".into()));
    }
    Ok(Buffer::from_vec(bytes))
}

/// A schema frame, read.
#[derive(Clone, Debug)]
pub(crate) struct FoundSchema {
    pub(crate) source: Arc<str>,
    pub(crate) id: u32,
    pub(crate) table: Arc<TableSchema>,
}

impl FoundSchema {
    /// Reads the payload of a schema frame.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > SCHEMA_BYTES_MAX {
            return Err(FormatError::Value("the schema is too large"));
        }
        let mut cursor = Cursor::new(bytes);
        let id = cursor.u32()?;
        let json_length = cursor.length()?;
        let source_length = cursor.u16()?;
        cursor.u16()?;
        let source = cursor.text(source_length.into())?.into();
        let json = cursor.text(json_length)?;
        if nests_too_deep(json) {
            return Err(FormatError::Value("the schema nests too deep"));
        }
        let table = TableSchema::from_json(json)
            .map_err(|_what| FormatError::Value("the schema is not readable"))?;
        if !table.columns().fields().iter().all(|field| is_supported(field.data_type())) {
            return Err(FormatError::Value("a column has a type that the log does not hold"));
        }
        Ok(Self { source, id, table: Arc::new(table) })
    }
}

/// Whether the text of some type nests so deep that reading it could exhaust the stack.
fn nests_too_deep(json: &str) -> bool {
    let (mut depth, mut escaped) = (0_usize, false);
    for byte in json.bytes() {
        match byte {
            // Another string begins or ends.
            b'"' if !escaped => depth = 0,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > TYPE_DEPTH_MAX {
            return true;
        }
        escaped = byte == b'\\' && !escaped;
    }
    false
}

/// Whether the log holds columns of a type. The rest either has state beside its batch or none of our sources has it.
pub(crate) fn is_supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::Utf8
        | DataType::LargeUtf8 => true,
        DataType::FixedSizeBinary(bytes) => *bytes > 0,
        DataType::List(item) | DataType::LargeList(item) => is_supported(item.data_type()),
        DataType::Struct(fields) => {
            !fields.is_empty() && fields.iter().all(|field| is_supported(field.data_type()))
        }
        DataType::Null
        | DataType::BinaryView
        | DataType::Utf8View
        | DataType::ListView(_)
        | DataType::FixedSizeList(..)
        | DataType::LargeListView(_)
        | DataType::Union(..)
        | DataType::Dictionary(..)
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Map(..)
        | DataType::RunEndEncoded(..) => false,
    }
}

/// The schemas of a segment, by source and number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemas {
    sources: BTreeMap<Arc<str>, BTreeMap<u32, Arc<TableSchema>>>,
}

impl Schemas {
    pub(crate) fn insert(&mut self, found: FoundSchema) {
        self.sources.entry(found.source).or_default().insert(found.id, found.table);
    }

    /// The source's name as it is shared, and its schemas.
    pub(crate) fn of(&self, source: &str) -> (Arc<str>, Option<&BTreeMap<u32, Arc<TableSchema>>>) {
        match self.sources.get_key_value(source) {
            Some((name, schemas)) => (Arc::clone(name), Some(schemas)),
            None => (source.into(), None),
        }
    }
}

/// Makes equal schemas the same one, in all segments.
#[derive(Default)]
pub(crate) struct Interner {
    tables: Mutex<BTreeMap<TableName, Vec<Arc<TableSchema>>>>,
}

impl Interner {
    pub(crate) fn intern(&self, mut found: FoundSchema) -> FoundSchema {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables.entry(found.table.name().clone()).or_default();
        match known.iter().find(|table| **table == found.table) {
            Some(table) => found.table = Arc::clone(table),
            None => known.push(Arc::clone(&found.table)),
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_name_full_of_parentheses_is_not_deep_but_a_deep_type_is() {
        assert!(!nests_too_deep(&"\"price (usd\",".repeat(100)));
        assert!(nests_too_deep(&format!("\"{}", "List(".repeat(TYPE_DEPTH_MAX + 1))));
        assert!(nests_too_deep(&format!("\"{}", "List(\\\"a\\\"".repeat(TYPE_DEPTH_MAX + 1))));
    }
}
