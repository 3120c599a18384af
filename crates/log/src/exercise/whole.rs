//! Arbitrary bytes as a whole file of a log: its only segment, or a base.
//!
//! A checksum stops most bytes at the door. So everything is done twice: with the bytes as they are, and with what says
//! where each frame is, and its checksums, made right.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use change::Time;
use proof::Hash;

use super::memory::Memory;
use crate::crc::crc32c;
use crate::disk::Disk;
use crate::format::{
    FLAG_LZ4, Field, HEADER_BYTES, HEADER_CRC, HEADER_FIELDS, Header, LEAF_BYTES, MAGIC, Place,
    VERSION,
};
use crate::limits::on_disk;
use crate::retention::{self, Base, BaseReader};
use crate::segment;
use crate::{Log, LogError, LogOptions, Recovery};

/// Opens the bytes as a log: reads, audits and scrubs it; then recovers it, which once is as good as twice.
pub fn segment(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), made_right(bytes, 1)] {
        let (dir, memory) = (Path::new("/log"), Memory::default());
        memory.put(segment::path(dir, 1), bytes);
        let disk: Arc<dyn Disk> = Arc::new(memory);
        if let Ok((log, _)) = Log::open_read_only(dir, Arc::clone(&disk)) {
            read(&log);
        }
        drop(crate::scrub(dir, &disk, 0, |_| ControlFlow::Continue(())));
        let Ok(first) = recover(dir, &disk) else { continue };
        let again = recover(dir, &disk).expect("what was recovered can be opened");
        assert_eq!(again, Recovery { cut_bytes: 0, cut_segment: None, ..first });
    }
}

fn recover(dir: &Path, disk: &Arc<dyn Disk>) -> Result<Recovery, LogError> {
    let (log, writer, recovery) =
        Log::open_stepped(dir, LogOptions::default(), Arc::clone(disk), || 0)?;
    drop((writer, log));
    Ok(recovery)
}

/// Reads all that a log has, in every way that it can be read.
fn read(log: &Log) {
    let middle = Time(log.upper().0 / 2);
    for mut reader in [log.reader(Time::ZERO), log.reader(middle), log.reader(Time::ZERO).history()]
    {
        let mut upto = Time::ZERO;
        while let Ok(Some(chunk)) = reader.next() {
            assert!(upto <= chunk.last, "a reader never goes back");
            upto = chunk.last;
        }
    }
    drop(log.audit(&[middle.0], 0));
    drop(log.files(log.upper()));
}

/// Reads the bytes as a base.
pub fn base(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), made_right(bytes, 1)] {
        let (dir, memory) = (Path::new("/log"), Memory::default());
        let length = on_disk(bytes.len());
        memory.put(retention::path(dir, 1), bytes);
        // The list says how long it is, and the list is right.
        let (since, hash) = (Time(1), Hash([0; proof::HASH_BYTES]));
        let base = Base { since, segment: 2, number: 1, rows: 0, bytes: length, hash };
        let Ok(mut reader) = BaseReader::open(&memory, dir, &base) else { continue };
        while let Ok(Some(rows)) = reader.next() {
            assert_eq!(rows.ends().len(), 1, "a base holds its rows as one transaction");
        }
    }
}

/// The same frames with magic, version, place and checksums as they must be, as far as there are frames.
fn made_right(bytes: &[u8], segment: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut place = Place { segment, offset: 0 };
    let mut at = 0;
    while let Some((first, rest)) = bytes[at..].split_first_chunk_mut::<HEADER_BYTES>() {
        if first.iter().all(|&byte| byte == 0) {
            break;
        }
        put(first, "magic", &MAGIC);
        put(first, "version", &VERSION.to_le_bytes());
        put(first, "segment", &place.segment.to_le_bytes());
        put(first, "offset", &place.offset.to_le_bytes());
        put(first, "reserved", &[0; 16]);
        let crc = crc32c(&first[..HEADER_CRC.offset]);
        first[HEADER_CRC.offset..].copy_from_slice(&crc.to_le_bytes());
        let Ok(mut header) = Header::from_bytes(first, place) else { break };
        header.leaves = header.leaves.min(count(rest.len() / LEAF_BYTES));
        let (leaves, payload) = rest.split_at_mut(header.leaves as usize * LEAF_BYTES);
        header.payload_length = header.payload_length.min(count(payload.len()));
        if header.flags & FLAG_LZ4 == 0 {
            header.plain_length = header.payload_length;
        }
        header.leaves_crc = crc32c(leaves);
        header.payload_crc = crc32c(&payload[..header.payload_length as usize]);
        *first = header.to_bytes();
        place.offset = header.end();
        at = usize::try_from(header.room()).map_or(bytes.len(), |room| bytes.len().min(at + room));
    }
    bytes
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn put(header: &mut [u8; HEADER_BYTES], name: &str, value: &[u8]) {
    let field = HEADER_FIELDS.iter().find(|field| field.name == name);
    let Field { offset, bytes, .. } = *field.expect("a field of this name");
    header[offset..offset + bytes].copy_from_slice(value);
}
