//! The one who writes: a thread of its own, or step by step whoever simulates one.
//!
//! Group commit: everything that was queued while the last sync ran is written with one call and made durable with one
//! sync. Then readers see it, then those who wait are told.
//!
//! After any failure the writer stops for good and everyone is told why. A failed sync is never tried again, since
//! the system may have forgotten what it could not write, and would say that all is well.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::buffer::Buffer;
use change::Time;

use crate::encode::Encoded;
use crate::error::LogError;
use crate::format::{
    FLAG_OWN, FRAME_ALIGNMENT, FrameKind, FramePart, HEADER_BYTES, Header, Place, aligned,
};
use crate::limits::on_disk;
use crate::preamble::{Preamble, Unfinished};
use crate::queue::{Done, Item, Queue};
use crate::schema::StoredSchema;
use crate::segment::{self, Tail};
use crate::shared::{Growth, Index, Shared};

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<Queue>,
    /// What was taken from the queue and is not written yet.
    pub(crate) items: VecDeque<Item>,
    pub(crate) segment_bytes_max: u64,
    pub(crate) now_us: fn() -> i64,
    /// What the next segment's preamble will say.
    pub(crate) preamble: Preamble,
    pub(crate) tail: Tail,
    /// Which schemas are in the segment, by slot.
    pub(crate) present: Vec<bool>,
    /// Whether the last frame says that the log was closed.
    pub(crate) closed: bool,
}

/// Someone to tell.
struct Waiter {
    done: Done,
    result: Result<Time, LogError>,
    bytes: u64,
}

/// What a step of the writer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something was written. There may be more.
    Wrote,
    /// Nothing is queued.
    Idle,
    /// The log is closed, or failed: there is nothing to do any more.
    Ended,
}

impl Writer {
    /// Writes what is queued until the queue is stopped and empty.
    pub(crate) fn run(mut self) {
        loop {
            match self.step() {
                Progress::Wrote => {}
                Progress::Idle => self.queue.wait(),
                Progress::Ended => return,
            }
        }
    }

    /// Makes one write with one sync of what is queued, and tells those who wait; closes the log when it is to.
    pub(crate) fn step(&mut self) -> Progress {
        if self.items.is_empty() {
            let stopped = self.queue.take(&mut self.items);
            if self.items.is_empty() {
                if stopped {
                    self.close();
                }
                return if stopped { Progress::Ended } else { Progress::Idle };
            }
        }
        let (mut items, mut waiters) = (std::mem::take(&mut self.items), Vec::new());
        let written = self.write(&mut items, &mut waiters);
        if let Err(error) = written {
            self.fail(&error, waiters, items);
            return Progress::Ended;
        }
        self.items = items;
        self.queue.release(waiters.iter().map(|waiter| waiter.bytes).sum());
        for Waiter { done, result, .. } in waiters {
            done(result);
        }
        Progress::Wrote
    }

    /// Writes as many groups as fit the segment, with one call and one sync.
    fn write(
        &mut self,
        items: &mut VecDeque<Item>,
        waiters: &mut Vec<Waiter>,
    ) -> Result<(), LogError> {
        let mut batch = Batch::new(&self.tail, (self.now_us)());
        while let Some(item) = items.front() {
            let orphan = self.is_orphan(&item.encoded);
            let end = batch.end + self.bytes_of(&item.encoded);
            if !orphan && end > self.segment_bytes_max && !(self.tail.fresh && batch.is_empty()) {
                if !batch.is_empty() {
                    break;
                }
                self.roll()?;
                batch = Batch::new(&self.tail, batch.wall_clock_us);
                continue;
            }
            let Some(Item { encoded, done }) = items.pop_front() else { break };
            let bytes = encoded.payload_length.into();
            let result = if orphan {
                Err(LogError::NoFirstPart { name: encoded.source })
            } else {
                self.add(&mut batch, encoded);
                // For a part that is not the last: the Time before the one that the transaction will get.
                Ok(Time(self.preamble.next.0 - 1))
            };
            waiters.push(Waiter { done, result, bytes });
        }
        if batch.is_empty() { Ok(()) } else { self.commit(batch) }
    }

    /// Whether it is a later part whose first is not in the log.
    fn is_orphan(&self, encoded: &Encoded) -> bool {
        matches!(encoded.part, FramePart::Middle | FramePart::Last)
            && !self.preamble.unfinished.contains_key(&encoded.source)
    }

    /// How many bytes the frames of a group take, those of missing schemas included.
    fn bytes_of(&self, encoded: &Encoded) -> u64 {
        let missing = encoded.schemas.iter().filter(|schema| !self.has(schema));
        missing
            .map(|schema| schema.payload.len())
            .chain([encoded.payload_length as usize])
            .map(|payload| aligned(on_disk(HEADER_BYTES + payload), FRAME_ALIGNMENT))
            .sum()
    }

    fn has(&self, schema: &StoredSchema) -> bool {
        self.present.get(schema.slot).copied().unwrap_or(false)
    }

    fn add(&mut self, batch: &mut Batch, encoded: Encoded) {
        for schema in &encoded.schemas {
            if !self.has(schema) {
                self.add_schema(batch, schema);
            }
        }
        let before = self.preamble.unfinished.get(&encoded.source).copied();
        let mut header = Header::new(FrameKind::Transactions);
        header.part = encoded.part;
        header.flags = encoded.flags;
        header.payload_length = encoded.payload_length;
        header.plain_length = encoded.plain_length;
        header.payload_crc = encoded.payload_crc;
        header.transactions = encoded.transactions;
        header.rows = encoded.rows;
        header.first_time = self.preamble.next;
        match (encoded.part, before) {
            (FramePart::Whole | FramePart::First, _) => {}
            (FramePart::Middle | FramePart::Last, Some(Unfinished { place, number, own })) => {
                header.previous = place;
                header.part_number = number.checked_add(1).expect("fewer than 2^32 parts");
                if encoded.part == FramePart::Last && own {
                    header.flags |= FLAG_OWN;
                }
            }
            (FramePart::Middle | FramePart::Last, None) => unreachable!("orphans are refused"),
        }
        batch.put(&mut header, encoded.payload);
        batch.index.add_transactions(header.first_time, header.place.offset);
        self.preamble.apply(&header, &encoded.source, encoded.position);
    }

    fn add_schema(&mut self, batch: &mut Batch, schema: &StoredSchema) {
        let mut header = Header::new(FrameKind::Schema);
        header.payload_length =
            u32::try_from(schema.payload.len()).expect("a schema was checked against its limit");
        header.plain_length = header.payload_length;
        header.payload_crc = crc32c::crc32c(&schema.payload);
        header.first_time = self.preamble.next;
        batch.put(&mut header, vec![schema.payload.clone()]);
        batch.index.add_schema(header.place.offset);
        if self.present.len() <= schema.slot {
            self.present.resize(schema.slot + 1, false);
        }
        self.present[schema.slot] = true;
    }

    /// Makes a batch durable and visible.
    fn commit(&mut self, batch: Batch) -> Result<(), LogError> {
        let tail = &mut self.tail;
        tail.reserve(batch.end, self.segment_bytes_max)?;
        if let Err(error) = tail.file.write_at(&batch.slices(), batch.start) {
            // What was written of it will be cut by the next recovery; on a full disk the room is better used now.
            if let Err(error) = tail.file.truncate(tail.end) {
                tracing::warn!(%error, "cannot give back what an unfinished write took");
            }
            return Err(LogError::io("write", &tail.path, error));
        }
        if let Err(error) = tail.file.sync() {
            return Err(LogError::sync(&tail.path, error));
        }
        tail.end = batch.end;
        tail.fresh = false;
        self.closed = false;
        self.shared.publish(Growth {
            end: batch.end,
            index: batch.index,
            upper: self.preamble.next,
            totals: self.preamble.totals,
        });
        Ok(())
    }

    /// Goes on in a new segment. All of the old one is durable.
    fn roll(&mut self) -> Result<(), LogError> {
        self.preamble.previous_end = self.tail.end;
        let Shared { disk, dir, .. } = &*self.shared;
        let number = self.tail.number + 1;
        let now_us = (self.now_us)();
        let tail = segment::create(&**disk, dir, number, &self.preamble, now_us)?;
        if let Err(error) = self.tail.file.truncate(self.tail.end) {
            tracing::warn!(%error, "cannot give back the unused room of a full segment");
        }
        self.tail = tail;
        self.present.fill(false);
        self.shared.add_segment(number, self.preamble.next, self.tail.end, now_us);
        Ok(())
    }

    /// Says durably that all before is durable, and gives back the room that was allocated ahead.
    fn close(&mut self) {
        if !self.closed {
            let Tail { number, end, .. } = self.tail;
            let place = Place { segment: number, offset: end };
            let header = segment::close_header(place, self.preamble.next, (self.now_us)());
            let end = header.end();
            let written = self.tail.reserve(end, self.segment_bytes_max).and_then(|()| {
                let file = &self.tail.file;
                let written = file.write_at(&[&header.to_bytes()], place.offset);
                let synced = written.and_then(|()| file.sync());
                synced.map_err(|error| LogError::io("close", &self.tail.path, error))
            });
            match written {
                Ok(()) => self.tail.end = end,
                // Nothing is lost: the next start reads the log as after a crash.
                Err(error) => tracing::warn!(%error, "cannot mark the log as closed"),
            }
        }
        if let Err(error) = self.tail.file.truncate(self.tail.end) {
            tracing::warn!(%error, "cannot give back the unused room of the log");
        }
        self.shared.fail(LogError::Closed);
    }

    /// Stops for good and tells everyone why.
    fn fail(&self, error: &LogError, waiters: Vec<Waiter>, items: VecDeque<Item>) {
        tracing::error!(%error, "the log stops");
        // In this order, so that whoever is refused finds the reason.
        self.shared.fail(error.clone());
        self.queue.stop(error.clone());
        for Waiter { done, result, .. } in waiters {
            done(result.and(Err(error.clone())));
        }
        for Item { done, .. } in items.into_iter().chain(self.queue.drain()) {
            done(Err(error.clone()));
        }
    }
}

/// Frames that are written together.
struct Batch {
    segment: u64,
    start: u64,
    end: u64,
    wall_clock_us: i64,
    pieces: Vec<Piece>,
    index: Index,
}

enum Piece {
    Header([u8; HEADER_BYTES]),
    Payload(Buffer),
    Zeros(usize),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Header(bytes) => bytes,
            Self::Payload(bytes) => bytes,
            Self::Zeros(count) => &[0; FRAME_ALIGNMENT][..*count],
        }
    }
}

impl Batch {
    fn new(tail: &Tail, wall_clock_us: i64) -> Self {
        let (segment, start) = (tail.number, tail.end);
        let index = Index::default();
        Self { segment, start, end: start, wall_clock_us, pieces: Vec::new(), index }
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds a frame; completes its header.
    fn put(&mut self, header: &mut Header, payload: Vec<Buffer>) {
        header.place = Place { segment: self.segment, offset: self.end };
        header.batch_offset = self.start;
        header.wall_clock_us = self.wall_clock_us;
        let written: usize = payload.iter().map(Buffer::len).sum();
        assert_eq!(written, header.payload_length as usize, "a header tells its payload's length");
        self.pieces.push(Piece::Header(header.to_bytes()));
        self.pieces.extend(payload.into_iter().map(Piece::Payload));
        self.pieces.push(Piece::Zeros(written.next_multiple_of(FRAME_ALIGNMENT) - written));
        self.end = header.end();
    }

    fn slices(&self) -> Vec<&[u8]> {
        let slices: Vec<&[u8]> = self.pieces.iter().map(Piece::bytes).collect();
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        assert_eq!(on_disk(bytes), self.end - self.start, "frames lie where their headers say");
        slices
    }
}
