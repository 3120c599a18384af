//! A base on disk: frames as in a segment, which hold the rows of one table.
//!
//! ```text
//! | base | schema | transactions … | close |
//! ```
//!
//! It is written once, from front to back, under a number that no list knows yet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use change::{ChangeBatch, Part, TableChanges, Time, TransactionGroup, TransactionHead};
use proof::Hash;
use sha2::{Digest, Sha256};

use crate::decode::{self, Wanted};
use crate::disk::{Disk, DiskFile};
use crate::encode::{self, Compression};
use crate::error::LogError;
use crate::format::{FRAME_ALIGNMENT, FormatError, FrameKind, HEADER_BYTES, Header, Place};
use crate::limits::on_disk;
use crate::retention::list::{Base, path};
use crate::schema::{Registry, Schemas};
use crate::segment::{Frames, ReadError};

/// Writes a base.
pub(crate) struct BaseWriter {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    number: u64,
    end: u64,
    rows: u64,
    hash: Sha256,
    registry: Registry,
    /// The schemas that are in it, by slot.
    present: BTreeSet<usize>,
    compression: Compression,
    wall_clock_us: i64,
}

impl BaseWriter {
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        (compression, wall_clock_us): (Compression, i64),
    ) -> Result<Self, LogError> {
        let path = path(dir, number);
        let file = disk.create(&path).map_err(|error| LogError::io("create", &path, error))?;
        let mut writer = Self {
            file,
            path,
            number,
            end: 0,
            rows: 0,
            hash: Sha256::new(),
            registry: Registry::default(),
            present: BTreeSet::new(),
            compression,
            wall_clock_us,
        };
        writer.put(Header::new(FrameKind::Base), &[])?;
        Ok(writer)
    }

    /// Appends rows with their diffs; returns how many bytes were written.
    pub(crate) fn rows(&mut self, rows: TableChanges) -> Result<u64, LogError> {
        let before = self.end;
        let count = on_disk(rows.changes().len());
        let source = Arc::clone(&rows.table().name().source);
        let heads = vec![TransactionHead::own()];
        let group = TransactionGroup::new(source, Part::Whole, heads, vec![rows]);
        let encoded = encode::encode(&group, &self.registry, self.compression)?;
        for schema in &encoded.schemas {
            if self.present.insert(schema.slot) {
                let header = Header::new(FrameKind::Schema);
                self.put(header, std::slice::from_ref(&schema.payload))?;
            }
        }
        let mut header = Header::new(FrameKind::Transactions);
        header.flags = encoded.flags;
        header.transactions = encoded.transactions;
        header.rows = encoded.rows;
        header.plain_length = encoded.plain_length;
        self.put(header, &encoded.payload)?;
        self.rows = self.rows.saturating_add(count);
        Ok(self.end - before)
    }

    /// Ends the file and makes it durable, but for its name.
    pub(crate) fn finish(mut self, since: Time, segment: u64) -> Result<Base, LogError> {
        self.put(Header::new(FrameKind::Close), &[])?;
        self.file.sync().map_err(|error| LogError::sync(&self.path, error))?;
        let Self { number, rows, end: bytes, hash, .. } = self;
        let hash = Hash(hash.finalize().into());
        Ok(Base { since, segment, number, rows, bytes, hash })
    }

    fn put(&mut self, mut header: Header, payload: &[Buffer]) -> Result<(), LogError> {
        header.place = Place { segment: self.number, offset: self.end };
        header.batch_offset = self.end;
        header.wall_clock_us = self.wall_clock_us;
        let length: usize = payload.iter().map(Buffer::len).sum();
        header.payload_length = u32::try_from(length).expect("the encoder keeps the limit");
        if header.kind != FrameKind::Transactions {
            header.plain_length = header.payload_length;
        }
        header.payload_crc = encode::checksum(payload);
        let bytes = header.to_bytes();
        let zeros = &[0; FRAME_ALIGNMENT][..length.next_multiple_of(FRAME_ALIGNMENT) - length];
        let mut pieces: Vec<&[u8]> = vec![&bytes];
        pieces.extend(payload.iter().map(Buffer::as_slice));
        pieces.push(zeros);
        pieces.iter().for_each(|piece| self.hash.update(piece));
        let written = self.file.write_at(&pieces, self.end);
        written.map_err(|error| LogError::io("write", &self.path, error))?;
        self.end = header.end();
        Ok(())
    }
}

/// Reads a base.
pub(crate) struct BaseReader {
    frames: Frames,
    schemas: Schemas,
    offset: u64,
    bytes: u64,
}

impl BaseReader {
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, base: &Base) -> Result<Self, LogError> {
        let frames = Frames::open_file(disk, path(dir, base.number), base.number)?;
        Ok(Self { frames, schemas: Schemas::default(), offset: 0, bytes: base.bytes })
    }

    /// Returns the next rows; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<TableChanges>, LogError> {
        while self.offset < self.bytes {
            let offset = self.offset;
            let read = self.frame();
            let (end, rows) = read.map_err(|error| self.frames.explain(error, offset, Time(1)))?;
            self.offset = end;
            if rows.is_some() {
                return Ok(rows);
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<(u64, Option<TableChanges>), ReadError> {
        let header = self.frames.header(self.offset, self.bytes)?;
        let place_is_right = (self.offset == 0) == (header.kind == FrameKind::Base)
            && (header.end() == self.bytes) == (header.kind == FrameKind::Close);
        let rows = match header.kind {
            FrameKind::Base | FrameKind::Close if place_is_right => None,
            FrameKind::Schema if place_is_right => {
                self.schemas.insert(self.frames.schema(&header)?);
                None
            }
            FrameKind::Transactions if place_is_right => self.table(&header)?,
            FrameKind::Base
            | FrameKind::Close
            | FrameKind::Schema
            | FrameKind::Transactions
            | FrameKind::Preamble
            | FrameKind::Gap => {
                let reason = "a frame is not of the kind that belongs here";
                return Err(FormatError::Value(reason).into());
            }
        };
        Ok((header.end(), rows))
    }

    fn table(&mut self, header: &Header) -> Result<Option<TableChanges>, ReadError> {
        let (_leaves, stored) = self.frames.stored(header)?;
        let plain = decode::plain(header, stored)?;
        let heads = decode::heads(&plain)?;
        let (_source, schemas) = self.schemas.of(heads.source);
        let mut tables = decode::tables(&plain, &heads, schemas, Wanted::All)?;
        if heads.heads.len() != 1 || tables.len() != 1 {
            return Err(FormatError::Value("a base holds more than one table").into());
        }
        Ok(tables.pop())
    }
}

/// Rows of one transaction.
pub(crate) fn whole(table: &Arc<change::TableSchema>, changes: ChangeBatch) -> TableChanges {
    let end = u32::try_from(changes.len()).expect("a batch has fewer than 2^32 rows");
    TableChanges::new(Arc::clone(table), changes, vec![end], Vec::new())
}

/// The least that a base takes up: what begins and ends it.
const _: () = assert!(HEADER_BYTES.is_multiple_of(FRAME_ALIGNMENT), "an empty frame has no zeros");
