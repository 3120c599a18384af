//! What a fuzzer does with arbitrary bytes: read them as the log reads a disk. The fuzz targets call these functions,
//! and so does a plain test. They panic when a promise is broken; on no bytes may they.

mod memory;
mod whole;

use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema};
use change::{ChangeForm, TableName, TableSchema};

use crate::decode::{self, Wanted};
use crate::format::{FLAG_LZ4, FrameKind, HEADER_BYTES, HEADER_CRC, Header, MAGIC, Place, VERSION};
use crate::preamble::Preamble;
use crate::schema::{FoundSchema, Schemas};

pub use whole::{base, segment};

/// Reads a frame's header, once as it is and once with its magic, version and checksum made right; then what follows
/// as the frame's payload.
pub fn frame(bytes: &[u8]) {
    let Some(first) = bytes.first_chunk::<HEADER_BYTES>() else {
        assert!(Header::from_bytes(bytes, Place { segment: 1, offset: 0 }).is_err());
        return;
    };
    let mut right = *first;
    right[..4].copy_from_slice(&MAGIC);
    right[4..6].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crate::crc::crc32c(&right[..HEADER_CRC.offset]);
    right[HEADER_CRC.offset..].copy_from_slice(&crc.to_le_bytes());
    let number = |at: usize| {
        let bytes = first[at..at + 8].try_into().expect("eight bytes of a header");
        u64::from_le_bytes(bytes)
    };
    let place = Place { segment: number(32), offset: number(40) };
    for header in [first, &right] {
        let Ok(header) = Header::from_bytes(header, place) else { continue };
        assert_eq!(Header::from_bytes(&header.to_bytes(), place).as_ref(), Ok(&header));
        assert!(header.end() >= place.offset && header.next_time() >= header.first_time);
        let rest = &bytes[HEADER_BYTES..];
        let stored = &rest[..rest.len().min(header.payload_length as usize)];
        match header.kind {
            FrameKind::Preamble => drop(Preamble::from_bytes(stored)),
            FrameKind::Schema => drop(FoundSchema::from_bytes(stored)),
            FrameKind::Transactions => read(stored, header.flags & FLAG_LZ4 != 0),
            FrameKind::Close | FrameKind::Gap | FrameKind::Base => {}
        }
    }
}

/// Reads the payloads of all kinds of frames; a first byte that is odd says that the rest is compressed.
pub fn payload(bytes: &[u8]) {
    drop(Preamble::from_bytes(bytes));
    drop(FoundSchema::from_bytes(bytes));
    if let Some((first, rest)) = bytes.split_first() {
        read(rest, first & 1 == 1);
    }
}

/// Reads a segment's index, and a list of bases.
pub fn index(bytes: &[u8]) {
    crate::index::exercise(bytes);
    crate::retention::exercise(bytes);
}

fn read(stored: &[u8], compressed: bool) {
    let mut header = Header::new(FrameKind::Transactions);
    let length = u32::try_from(stored.len()).unwrap_or(u32::MAX);
    (header.payload_length, header.plain_length) = (length, length);
    if compressed {
        header.flags = FLAG_LZ4;
        // Whatever it claims to become, within what a header may say.
        header.plain_length = length.saturating_mul(255).min(1 << 20);
    }
    let Ok(plain) = decode::plain(&header, Buffer::from(stored)) else { return };
    let Ok(heads) = decode::heads(&plain) else { return };
    let starts = decode::table_places(&plain, &heads);
    if let Ok(places) = &starts {
        let without = decode::without(&plain, places, |_| true, |_| [7; 32]);
        let without = without.expect("what has places can be left out");
        let heads = decode::heads(&without).expect("what precedes the tables stays");
        let left = decode::table_places(&without, &heads).expect("all have places still");
        assert!(left.len() == places.len() && left.iter().all(|place| place.pruned.is_some()));
        assert!(left.iter().zip(places).all(|(left, place)| left.schema == place.schema));
    }
    let mut schemas = Schemas::default();
    for id in 0..4 {
        schemas.insert(FoundSchema { source: heads.source.into(), id, table: table() });
    }
    let tables = decode::tables(&plain, &heads, schemas.of(heads.source).1, Wanted::All);
    if let Ok(tables) = tables {
        let starts = starts.expect("what can be read has places");
        assert_eq!(starts.len(), tables.len());
        assert!(tables.iter().all(|table| table.ends().len() == heads.heads.len()));
    }
}

/// The table of the corpus.
fn table() -> Arc<TableSchema> {
    let columns =
        vec![Field::new("id", DataType::Int64, true), Field::new("note", DataType::Utf8, true)];
    let name = TableName::new("s", "t");
    let columns = Arc::new(Schema::new(columns));
    Arc::new(TableSchema::new(name, columns, vec![0], ChangeForm::Upsert))
}
