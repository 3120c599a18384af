//! Segments are written anew without what was folded.
//!
//! ```text
//! before: | preamble | schema | t u | t | t | u | schema | t u |
//! after:  | preamble | schema | # u |  gap  | u | schema | # u |       # = the hash of what t had
//! ```
//!
//! Every frame says how many bytes it stands for, so all keep the offsets that they had. Frames of which nothing stays
//! are one gap, unless they are parts of a transaction, whose leaf needs the hashes of each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::buffer::Buffer;
use change::{TableName, Time};
use proof::piece_hash;

use crate::decode::{self, TablePlace};
use crate::disk::DiskFile;
use crate::encode::compress_plain;
use crate::error::LogError;
use crate::format::{
    FLAG_LZ4, FLAG_THIN, FRAME_ALIGNMENT, FormatError, FrameKind, FramePart, Header,
};
use crate::limits::{THIN_BUFFER_BYTES, in_memory, on_disk};
use crate::retention::list::Bases;
use crate::segment::{self, Frames, REWRITTEN, ReadError, Stored};
use crate::shared::Shared;

/// Writes a segment anew without what the bases hold. The names are durable when the directory is synced.
pub(crate) fn rewrite(
    shared: &Shared,
    bases: &Bases,
    number: u64,
    pace: &mut dyn FnMut(u64) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let rewritten = rewrite_beside(shared, bases, number, pace);
    if rewritten.is_err() {
        // On a full disk its room is better used otherwise; a file that stays is removed at the next start.
        shared.disk.remove(&shared.dir.join(REWRITTEN)).unwrap_or_default();
    }
    rewritten
}

fn rewrite_beside(
    shared: &Shared,
    bases: &Bases,
    number: u64,
    pace: &mut dyn FnMut(u64) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let Shared { disk, dir, .. } = shared;
    let end = shared.end_of(number).unwrap_or(0);
    let mut frames = Frames::open(&**disk, dir, number)?;
    let (unborn, path) = (dir.join(REWRITTEN), segment::path(dir, number));
    let failed = |error| LogError::io("rewrite", &path, error);
    let file = disk.create(&unborn).map_err(failed)?;
    let written = Written { file, path: path.clone(), at: 0, buffer: Vec::new() };
    let mut thinning = Thinning { bases, number, written, gap: None, tables: BTreeMap::new() };
    let (mut offset, mut next) = (0, Time::ZERO);
    while offset < end {
        let mut read = || -> Result<(Header, Stored), ReadError> {
            let header = frames.header(offset, end)?;
            let stored = frames.stored(&header)?;
            Ok((header, stored))
        };
        let (header, stored) = read().map_err(|error| frames.explain(error, offset, next))?;
        (offset, next) = (header.end(), header.next_time());
        pace(header.room())?;
        match thinning.frame(header, stored) {
            Ok(()) => {}
            Err(error) => return Err(frames.explain(error, offset, next)),
        }
    }
    let bytes = thinning.finish()?;
    // An index says where frames are of which some are gone.
    shared.drop_index(number)?;
    disk.rename(&unborn, &path).map_err(failed)?;
    shared.thinned(number, bytes);
    Ok(())
}

struct Thinning<'a> {
    bases: &'a Bases,
    number: u64,
    written: Written,
    /// Frames of which nothing stays, so far.
    gap: Option<Header>,
    /// The tables of the segment's schemas, by source and number.
    tables: BTreeMap<(Arc<str>, u32), TableName>,
}

impl Thinning<'_> {
    fn frame(&mut self, mut header: Header, (leaves, stored): Stored) -> Result<(), ReadError> {
        let mut payload = stored;
        match header.kind {
            FrameKind::Preamble => header.flags |= FLAG_THIN,
            FrameKind::Schema => {
                let found = crate::schema::FoundSchema::from_bytes(&payload)?;
                self.tables.insert((found.source, found.id), found.table.name().clone());
            }
            FrameKind::Close | FrameKind::Gap => return Ok(self.leave_out(&header)?),
            FrameKind::Transactions => {
                let plain = decode::plain(&header, payload.clone())?;
                let heads = decode::heads(&plain)?;
                let places = decode::table_places(&plain, &heads)?;
                let source: Arc<str> = heads.source.into();
                let gone =
                    |place: &TablePlace| place.pruned.is_some() || self.is_folded(&source, place);
                if header.part == FramePart::Whole && places.iter().all(gone) {
                    return Ok(self.leave_out(&header)?);
                }
                if places.iter().any(|place| place.pruned.is_none() && gone(place)) {
                    let hash = |piece: &[u8]| piece_hash(piece).0;
                    let plain = decode::without(&plain, &places, gone, hash)?;
                    payload = thin(&mut header, plain);
                }
            }
            FrameKind::Base => {
                let reason = "a frame is not of the kind that belongs here";
                return Err(FormatError::Value(reason).into());
            }
        }
        self.close_gap()?;
        Ok(self.written.put(&header, leaves.as_flattened(), &payload)?)
    }

    fn is_folded(&self, source: &Arc<str>, place: &TablePlace) -> bool {
        let table = self.tables.get(&(Arc::clone(source), place.schema));
        table.is_some_and(|table| self.bases.segment_of(table) > self.number)
    }

    fn leave_out(&mut self, header: &Header) -> Result<(), LogError> {
        let span = header.end() - header.place.offset;
        if let Some(gap) = &mut self.gap
            && let Some(transactions) = gap.transactions.checked_add(header.transactions)
        {
            gap.transactions = transactions;
            gap.span += span;
            return Ok(());
        }
        self.close_gap()?;
        let mut gap = Header::new(FrameKind::Gap);
        gap.flags = FLAG_THIN;
        gap.place = header.place;
        gap.batch_offset = header.place.offset;
        gap.wall_clock_us = header.wall_clock_us;
        gap.first_time = header.first_time;
        (gap.transactions, gap.span) = (header.transactions, span);
        self.gap = Some(gap);
        Ok(())
    }

    fn close_gap(&mut self) -> Result<(), LogError> {
        match self.gap.take() {
            Some(gap) => self.written.put(&gap, &[], &[]),
            None => Ok(()),
        }
    }

    /// Makes the file durable; returns its length.
    fn finish(mut self) -> Result<u64, LogError> {
        self.close_gap()?;
        self.written.flush()?;
        let Written { file, path, at, .. } = self.written;
        file.sync().map_err(|error| LogError::sync(&path, error))?;
        Ok(at)
    }
}

/// Completes the header of a frame whose payload became smaller; returns the payload as it is stored.
fn thin(header: &mut Header, plain: Vec<u8>) -> Buffer {
    header.span = header.end() - header.place.offset;
    header.flags = (header.flags & !FLAG_LZ4) | FLAG_THIN;
    header.plain_length = length(plain.len());
    let compressed = compress_plain(&plain);
    if compressed.is_some() {
        header.flags |= FLAG_LZ4;
    }
    let stored = compressed.unwrap_or(plain);
    header.payload_length = length(stored.len());
    header.payload_crc = crate::crc::crc32c(&stored);
    Buffer::from_vec(stored)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a payload only becomes smaller, but for hashes of its tables")
}

/// The new file, written from front to back.
struct Written {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    at: u64,
    buffer: Vec<u8>,
}

impl Written {
    fn put(&mut self, header: &Header, leaves: &[u8], payload: &[u8]) -> Result<(), LogError> {
        self.buffer.extend_from_slice(&header.to_bytes());
        self.buffer.extend_from_slice(leaves);
        self.buffer.extend_from_slice(payload);
        let zeros = in_memory(header.room() - header.bytes());
        self.buffer.extend_from_slice(&[0; FRAME_ALIGNMENT][..zeros]);
        if self.buffer.len() >= THIN_BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let written = self.file.write_at(&[&self.buffer], self.at);
        written.map_err(|error| LogError::io("rewrite", &self.path, error))?;
        self.at += on_disk(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }
}
