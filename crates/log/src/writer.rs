//! The writer, one write after the other; whose thread that is, [`crate::leader`] decides, or whoever simulates one.
//!
//! Group commit: everything that was queued while the last sync ran is written with one call, and one more for each large
//! payload's header, and made durable with one sync. Then readers see it, then those who wait are told, and then readers are woken.
//!
//! There are two kinds of failures:
//!
//! - **No room.** What a write left is cut off again, and that is synced, before anything else happens; nothing that
//!   was not written is known to the writer. So the log goes on in the same process as soon as there is room. Groups
//!   that may wait are kept in their order and tried again, others are refused; once a part of a transaction was
//!   refused, so is the rest of it.
//! - **Anything else** stops the writer for good, and everyone is told why. A failed sync is never tried again, since
//!   the system may have forgotten what it could not write, and would say that all is well.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::buffer::Buffer;
use change::Time;

use crate::disk::DiskFile;
use crate::encode::{Encoded, checksum};
use crate::error::LogError;
use crate::format::{
    FLAG_OWN, FRAME_ALIGNMENT, FrameKind, FramePart, HEADER_BYTES, Header, Place, aligned,
};
use crate::limits::{WRITE_ALIGNMENT, in_memory, on_disk};
use crate::preamble::{Preamble, Unfinished};
use crate::prefill::Prefill;
use crate::queue::{Item, OnFull, Queue};
use crate::schema::StoredSchema;
use crate::segment::{self, Tail};
use crate::shared::{Growth, Index, Shared};

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) prefill: Arc<Prefill>,
    /// What was taken from the queue and is not written yet.
    pub(crate) items: VecDeque<Item>,
    pub(crate) segment_bytes_max: u64,
    pub(crate) now_us: fn() -> i64,
    /// What is known of all that is durable; what the next segment's preamble will say.
    pub(crate) preamble: Preamble,
    pub(crate) tail: Tail,
    /// Which schemas are in the segment, by slot.
    pub(crate) present: Vec<bool>,
    /// Whether the last frame says that the log was closed.
    pub(crate) closed: bool,
    /// How many bytes there was no room for, while the disk is full.
    pub(crate) wanted_bytes: Option<u64>,
    /// The sources a part of whose latest transaction was refused for lack of room.
    pub(crate) broken: BTreeMap<Arc<str>, LogError>,
}

/// What each of the first groups came to.
type Answers = Vec<Result<Time, LogError>>;

/// Why a batch is not in the log.
enum NotWritten {
    /// There is no room. The log is as it was before.
    Full(LogError),
    /// Nothing is known of what was written.
    Failed(LogError),
}

impl From<LogError> for NotWritten {
    fn from(error: LogError) -> Self {
        let is_full = matches!(error, LogError::DiskFull { .. });
        if is_full { Self::Full(error) } else { Self::Failed(error) }
    }
}

/// What a step of the writer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something was written or refused. There may be more.
    Wrote,
    /// Nothing is queued.
    Idle,
    /// There is no room. What is queued and may wait stays queued; the next step tries again.
    Full,
    /// The log is closed, or failed: there is nothing to do any more.
    Ended,
}

impl Writer {
    /// Whether all that was taken from the queue is answered.
    pub(crate) fn is_done(&self) -> bool {
        self.items.is_empty()
    }

    /// Makes one write with one sync of what is queued, and tells those who wait; closes the log when it is to.
    pub(crate) fn step(&mut self) -> Progress {
        let is_full = self.wanted_bytes.is_some();
        let mut stopped = false;
        if self.items.is_empty() || is_full {
            stopped = self.queue.take(&mut self.items);
            if self.items.is_empty() {
                if stopped {
                    self.close();
                    return Progress::Ended;
                }
                return self.look_for_room();
            }
        }
        // With little room one group may fit where several do not.
        let mut groups_max = if is_full { 1 } else { usize::MAX };
        loop {
            match self.write(groups_max) {
                Ok(answers) => {
                    self.answer(answers);
                    return Progress::Wrote;
                }
                Err(NotWritten::Failed(error)) => {
                    self.fail(&error);
                    return Progress::Ended;
                }
                Err(NotWritten::Full(_)) if groups_max > 1 => groups_max = 1,
                Err(NotWritten::Full(error)) => {
                    if let Some(progress) = self.no_room(&error, stopped) {
                        return progress;
                    }
                }
            }
        }
    }

    /// Writes as many of the first groups as fit the segment, with one call and one sync.
    fn write(&mut self, groups_max: usize) -> Result<Answers, NotWritten> {
        let items = std::mem::take(&mut self.items);
        let written = self.write_first(&items, groups_max);
        self.items = items;
        written
    }

    fn write_first(
        &mut self,
        items: &VecDeque<Item>,
        groups_max: usize,
    ) -> Result<Answers, NotWritten> {
        let mut answers = Answers::new();
        let mut batch = self.batch((self.now_us)());
        while let Some(item) = items.get(answers.len()).filter(|_| answers.len() < groups_max) {
            let group = &item.encoded;
            if let Some(error) = self.unfit(&batch, group) {
                answers.push(Err(error));
                continue;
            }
            let end = batch.end + self.bytes_of(&batch, group);
            if end > self.segment_bytes_max && !(self.tail.fresh && batch.is_empty()) {
                if !batch.is_empty() {
                    break;
                }
                self.wanting(end - batch.end, Self::roll)?;
                batch = self.batch(batch.wall_clock_us);
                continue;
            }
            self.add(&mut batch, group);
            // For a part that is not the last: the Time before the one that the transaction will get.
            answers.push(Ok(Time(batch.preamble.next.0 - 1)));
        }
        if !batch.is_empty() {
            self.wanting(batch.end - batch.start, |writer| writer.commit(batch))?;
        }
        Ok(answers)
    }

    /// Does something that takes so much room, and remembers how much when there is none.
    fn wanting(
        &mut self,
        bytes: u64,
        act: impl FnOnce(&mut Self) -> Result<(), NotWritten>,
    ) -> Result<(), NotWritten> {
        let done = act(self);
        match &done {
            Err(NotWritten::Full(error)) => {
                if self.wanted_bytes.replace(bytes).is_none() {
                    tracing::warn!(%error, "the disk is full: sources wait, other writers are refused");
                }
                self.queue.set_full(Some(error.clone()));
            }
            Ok(()) => self.has_room(),
            Err(NotWritten::Failed(_)) => {}
        }
        done
    }

    fn has_room(&mut self) {
        if self.wanted_bytes.take().is_some() {
            self.queue.set_full(None);
            tracing::info!("there is room on the disk again; the log goes on");
        }
    }

    /// Tells the first groups what they came to.
    fn answer(&mut self, answers: Answers) {
        let count = answers.len();
        let told: Vec<Item> = self.items.drain(..count).collect();
        self.queue.release(told.iter().map(Item::bytes).sum());
        for (Item { done, .. }, answer) in told.into_iter().zip(answers) {
            done(answer);
        }
        self.shared.wake();
    }

    /// There is no room for the first group. Refuses what does not wait; `None` when another group is the first now.
    fn no_room(&mut self, error: &LogError, stopped: bool) -> Option<Progress> {
        if stopped {
            // Nobody waits any more. All are refused: what comes behind a group must not be in the log without it.
            self.fail(error);
            return Some(Progress::Ended);
        }
        let refused = |item: &Item| item.on_full == OnFull::Refuse;
        if self.items.front().is_some_and(refused) {
            self.refuse(0, error);
            return self.items.is_empty().then_some(Progress::Full);
        }
        // Whoever is behind a group that waits would wait for it.
        while let Some(at) = self.items.iter().position(refused) {
            self.refuse(at, error);
        }
        Some(Progress::Full)
    }

    /// Refuses a group for lack of room.
    fn refuse(&mut self, at: usize, error: &LogError) {
        let item = self.items.remove(at).expect("it was found there");
        self.queue.release(item.bytes());
        if item.encoded.part != FramePart::Whole {
            self.broken.insert(Arc::clone(&item.encoded.source), error.clone());
        }
        (item.done)(Err(error.clone()));
    }

    /// Looks whether there is room again, when nobody wants to write.
    fn look_for_room(&mut self) -> Progress {
        let Some(bytes) = self.wanted_bytes else { return Progress::Idle };
        match self.tail.reserve(self.tail.end + bytes, self.segment_bytes_max) {
            Ok(()) => {
                self.has_room();
                Progress::Idle
            }
            Err(LogError::DiskFull { .. }) => Progress::Full,
            Err(error) => {
                self.fail(&error);
                Progress::Ended
            }
        }
    }

    /// A batch without frames, behind all that is durable.
    fn batch(&self, wall_clock_us: i64) -> Batch {
        let (segment, start) = (self.tail.number, self.tail.end);
        Batch {
            segment,
            start,
            end: start,
            wall_clock_us,
            pieces: Vec::new(),
            index: Index::default(),
            preamble: self.preamble.clone(),
            schemas: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Why a group cannot be written behind a batch: it is a later part of what is not in the log.
    fn unfit(&self, batch: &Batch, group: &Encoded) -> Option<LogError> {
        if matches!(group.part, FramePart::Whole | FramePart::First) {
            return None;
        }
        if let Some(error) = self.broken.get(&group.source) {
            return Some(error.clone());
        }
        let is_known = batch.preamble.unfinished.contains_key(&group.source);
        (!is_known).then(|| LogError::NoFirstPart { name: Arc::clone(&group.source) })
    }

    /// How many bytes the frames of a group take, those of missing schemas included.
    fn bytes_of(&self, batch: &Batch, group: &Encoded) -> u64 {
        let missing = group.schemas.iter().filter(|schema| !self.has(batch, schema));
        missing
            .map(|schema| schema.payload.len())
            .chain([group.payload_length as usize])
            .map(|payload| aligned(on_disk(HEADER_BYTES + payload), FRAME_ALIGNMENT))
            .sum()
    }

    /// Whether a schema is in the segment, or will be with a batch.
    fn has(&self, batch: &Batch, schema: &StoredSchema) -> bool {
        let is_present = self.present.get(schema.slot).copied().unwrap_or(false);
        is_present || batch.schemas.contains(&schema.slot)
    }

    fn add(&mut self, batch: &mut Batch, group: &Encoded) {
        for schema in &group.schemas {
            if !self.has(batch, schema) {
                batch.put_schema(schema);
            }
        }
        if matches!(group.part, FramePart::Whole | FramePart::First) {
            self.broken.remove(&group.source);
        }
        let before = batch.preamble.unfinished.get(&group.source).copied();
        let mut header = Header::new(FrameKind::Transactions);
        header.part = group.part;
        header.flags = group.flags;
        header.payload_length = group.payload_length;
        header.plain_length = group.plain_length;
        header.payload_crc = group.payload_crc.unwrap_or_default();
        header.transactions = group.transactions;
        header.rows = group.rows;
        header.first_time = batch.preamble.next;
        match (group.part, before) {
            (FramePart::Whole | FramePart::First, _) => {}
            (FramePart::Middle | FramePart::Last, Some(Unfinished { place, number, own })) => {
                header.previous = place;
                header.part_number = number.checked_add(1).expect("fewer than 2^32 parts");
                if group.part == FramePart::Last && own {
                    header.flags |= FLAG_OWN;
                }
            }
            (FramePart::Middle | FramePart::Last, None) => unreachable!("orphans are refused"),
        }
        let at = batch.pieces.len();
        batch.put(&mut header, &group.payload);
        if group.payload_crc.is_none() {
            batch.leave_open(at, header.clone());
        }
        batch.index.add_transactions(header.first_time, header.place.offset);
        batch.preamble.apply(&header, &group.source, group.position);
    }

    /// Makes a batch durable and visible.
    fn commit(&mut self, batch: Batch) -> Result<(), NotWritten> {
        let tail = &mut self.tail;
        let padded = self.prefill.padded(batch.end);
        tail.reserve(padded, self.segment_bytes_max)?;
        self.prefill.claim(padded);
        if let Err(error) = batch.write(&*tail.file, padded) {
            let error = NotWritten::from(LogError::io("write", &tail.path, error));
            return Err(match (error, self.cut()) {
                (NotWritten::Full(_), Err(error)) => NotWritten::Failed(error),
                (error, _) => error,
            });
        }
        if let Err(error) = tail.file.sync() {
            return Err(LogError::unconfirmed(&tail.path, error).into());
        }
        self.prefill.written(tail, batch.end);
        tail.end = batch.end;
        tail.fresh = false;
        self.closed = false;
        for slot in batch.schemas {
            if self.present.len() <= slot {
                self.present.resize(slot + 1, false);
            }
            self.present[slot] = true;
        }
        self.preamble = batch.preamble;
        self.shared.publish(Growth {
            end: batch.end,
            index: batch.index,
            upper: self.preamble.next,
            totals: self.preamble.totals,
        });
        Ok(())
    }

    /// Durably cuts off what a write left that was not finished, so that it can never be taken for what comes next.
    fn cut(&mut self) -> Result<(), LogError> {
        self.prefill.leave();
        let tail = &mut self.tail;
        let cut = tail.file.truncate(tail.end);
        cut.map_err(|error| LogError::io("cut an unfinished write off", &tail.path, error))?;
        tail.allocated = tail.end;
        tail.file.sync().map_err(|error| LogError::unconfirmed(&tail.path, error))
    }

    /// Goes on in a new segment. All of the old one is durable.
    fn roll(&mut self) -> Result<(), NotWritten> {
        let preamble = Preamble { previous_end: self.tail.end, ..self.preamble.clone() };
        let Shared { disk, dir, .. } = &*self.shared;
        let number = self.tail.number + 1;
        let now_us = (self.now_us)();
        let tail = segment::create(&**disk, dir, number, &preamble, now_us)?;
        self.prefill.leave();
        if let Err(error) = self.tail.file.truncate(self.tail.end) {
            tracing::warn!(%error, "cannot give back the unused room of a full segment");
        }
        self.preamble = preamble;
        self.tail = tail;
        self.present.fill(false);
        self.shared.add_segment(number, self.preamble.next, self.tail.end, now_us);
        Ok(())
    }

    /// Says durably that all before is durable, and gives back the room that was allocated ahead.
    fn close(&mut self) {
        self.prefill.leave();
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
    fn fail(&mut self, error: &LogError) {
        tracing::error!(%error, "the log stops");
        self.prefill.stop();
        // In this order, so that whoever is refused finds the reason.
        self.shared.fail(error.clone());
        self.queue.stop(error.clone());
        let items = std::mem::take(&mut self.items);
        for Item { done, .. } in items.into_iter().chain(self.queue.drain()) {
            done(Err(error.clone()));
        }
    }
}

/// What a write is padded with.
static PADDING: [u8; WRITE_ALIGNMENT] = [0; WRITE_ALIGNMENT];

/// Frames that are written together.
struct Batch {
    segment: u64,
    start: u64,
    end: u64,
    wall_clock_us: i64,
    pieces: Vec<Piece>,
    index: Index,
    /// What will be known when it is durable.
    preamble: Preamble,
    /// The schemas in it, by slot.
    schemas: Vec<usize>,
    /// Headers that lack the checksums of their payloads, and where these begin among the pieces.
    open: Vec<(usize, Header)>,
}

enum Piece {
    Header([u8; HEADER_BYTES]),
    Payload(Buffer),
    Zeros(usize),
}

impl Piece {
    fn payload(&self) -> Option<&Buffer> {
        match self {
            Self::Payload(bytes) => Some(bytes),
            Self::Header(_) | Self::Zeros(_) => None,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Header(bytes) => bytes,
            Self::Payload(bytes) => bytes,
            Self::Zeros(count) => &[0; FRAME_ALIGNMENT][..*count],
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds a frame; completes its header.
    fn put(&mut self, header: &mut Header, payload: &[Buffer]) {
        header.place = Place { segment: self.segment, offset: self.end };
        header.batch_offset = self.start;
        header.wall_clock_us = self.wall_clock_us;
        let written: usize = payload.iter().map(Buffer::len).sum();
        assert_eq!(written, header.payload_length as usize, "a header tells its payload's length");
        self.pieces.push(Piece::Header(header.to_bytes()));
        self.pieces.extend(payload.iter().cloned().map(Piece::Payload));
        self.pieces.push(Piece::Zeros(written.next_multiple_of(FRAME_ALIGNMENT) - written));
        self.end = header.end();
    }

    fn put_schema(&mut self, schema: &StoredSchema) {
        let mut header = Header::new(FrameKind::Schema);
        header.payload_length =
            u32::try_from(schema.payload.len()).expect("a schema was checked against its limit");
        header.plain_length = header.payload_length;
        header.payload_crc = crate::crc::crc32c(&schema.payload);
        header.first_time = self.preamble.next;
        self.put(&mut header, std::slice::from_ref(&schema.payload));
        self.index.add_schema(header.place.offset);
        self.schemas.push(schema.slot);
    }

    /// Leaves out a frame's header, at a place among the pieces, until its payload's checksum is known.
    fn leave_open(&mut self, at: usize, header: Header) {
        self.pieces[at] = Piece::Header([0; HEADER_BYTES]);
        self.open.push((at + 1, header));
    }

    /// Writes all frames, and zeros up to `padded`.
    ///
    /// The checksum of a large payload is computed when the system has copied it: both read all of it, and the second
    /// finds it in the processor's cache. Such a frame's header is written last.
    fn write(&self, file: &dyn DiskFile, padded: u64) -> std::io::Result<()> {
        file.write_at(&self.slices(padded), self.start)?;
        for (at, header) in &self.open {
            let payload = self.pieces[*at..].iter().map_while(Piece::payload);
            let header = Header { payload_crc: checksum(payload), ..header.clone() };
            file.write_at(&[&header.to_bytes()], header.place.offset)?;
        }
        Ok(())
    }

    /// The bytes of all frames, and zeros up to `padded`.
    fn slices(&self, padded: u64) -> Vec<&[u8]> {
        let mut slices: Vec<&[u8]> = self.pieces.iter().map(Piece::bytes).collect();
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        assert_eq!(on_disk(bytes), self.end - self.start, "frames lie where their headers say");
        slices.push(&PADDING[..in_memory(padded - self.end)]);
        slices
    }
}
