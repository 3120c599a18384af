//! The durable log: one order of all transactions, acknowledged when they are on disk.
//!
//! ```text
//! append ─ encode ─► queue ─► writer: one write, one fdatasync ─► visible to readers ─► `done`
//!  (caller's thread) (bytes)  (one at a time: `leader`)           (they wait, they never poll)
//! ```
//!
//! What holds, and where it is kept:
//!
//! - **Acknowledged means durable.** `done` is called after the sync. After a failed sync nothing more is written;
//!   the next start recovers what is there (`writer`, `recovery`).
//! - **A full disk is not the end.** What there was no room for is not in the log; the log goes on when there is room
//!   (`writer`).
//! - **A torn end is cut, damage never.** Frames name the write that they were a piece of, which tells the two apart
//!   (`format`, `recovery`).
//! - **A transaction is visible as a whole.** A large one comes in parts; readers meet its Time when the last part is
//!   durable, and read the parts again from where they lie. The log is the spill space (`reader`).
//! - **Equal input, equal bytes.** Time, place and clock are in the frames' headers; payloads depend on the
//!   transactions only (`encode`).
//! - **No bytes make it panic.** Lengths are checked before they are used (`decode`).
//! - **What is derived can be made again**: indexes of segments (`index`), the tree (`notary`).
//! - **The log is provable**, when it has a notary: it follows as a reader does, and nobody waits for it (`notary`).
//!
//! Segments are files of frames; `docs/format.md` describes every byte. Opening a log reads the last segment only,
//! because each begins with what is known of those before it (`preamble`). The directory is not locked here: the
//! program that owns it does that.

mod audit;
mod crc;
mod cut;
mod decode;
mod disk;
mod encode;
mod error;
#[doc(hidden)]
pub mod exercise;
pub mod faults;
mod files;
pub mod format;
mod index;
mod leader;
pub mod limits;
pub mod notary;
mod preamble;
mod prefill;
mod queue;
mod reader;
mod recovery;
mod refresh;
pub mod repair;
mod retention;
mod schema;
mod scrub;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use change::{RequestId, Time, TransactionGroup};

pub use audit::{Audit, WrongBase, WrongTile};
pub use cut::{Cut, cut};
pub use disk::{Access, Disk, DiskFile, RealDisk};
pub use encode::Compression;
pub use error::{LogError, Lost};
pub use files::{LogFile, LogFiles};
pub use index::Filter;
pub use notary::{Notary, NotaryOptions, Published};
pub use queue::{Done, OnFull};
pub use reader::{Chunk, LogReader, RawFrame, RawFrames};
pub use recovery::Recovery;
pub use repair::{CopiedDirectory, Copies, Repaired};
pub use retention::{Fold, FoldOutcome, FoldedTable, folds_table};
pub use scrub::thread::{ScrubOptions, ScrubState};
pub use scrub::{Damage, DamageKind, Scrubbed, scrub};
pub use writer::Progress;

use leader::Turn;
use notary::Desk;
use prefill::Prefill;
use queue::{Item, Queue};
use recovery::Recovered;
use schema::Registry;
use scrub::thread::ScrubDesk;
use shared::{Shared, State};
use writer::Writer;

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The size at which a segment is full. A frame that is larger has a segment of its own.
    pub segment_bytes_max: u64,
    /// How many bytes may wait to be written before `append` waits.
    pub queue_bytes_max: u64,
    /// Whether payloads are compressed.
    pub compression: Compression,
    /// The identity of a log that is created; `None` for a random one.
    pub log_id: Option<[u8; 16]>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes_max: limits::SEGMENT_BYTES_DEFAULT,
            queue_bytes_max: limits::QUEUE_BYTES_DEFAULT,
            compression: Compression::WhenItPays,
            log_id: None,
        }
    }
}

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStat {
    /// How many segments.
    pub segments: u64,
    /// The bytes of their frames. Files may be longer, where room is allocated ahead.
    pub bytes: u64,
    /// The bytes of what was folded.
    pub base_bytes: u64,
    /// How many frames of transactions, parts counted one by one.
    pub frames: u64,
    /// How many transactions.
    pub transactions: u64,
    /// How many changed rows, those of unfinished and void parts included.
    pub rows: u64,
    /// The Time from which on all transactions can be read as they were: what some table was up to it may be folded.
    pub since: Time,
    /// The next Time.
    pub upper: Time,
}

/// A log. Dropping it closes it.
pub struct Log {
    shared: Arc<Shared>,
    /// Where the notary is asked, when there is one.
    desk: Arc<Desk>,
    /// What is known of its health.
    scrubbing: Arc<ScrubDesk>,
    writing: Option<Writing>,
}

struct Writing {
    queue: Arc<Queue>,
    /// Who writes.
    turn: Arc<Turn>,
    registry: Registry,
    compression: Compression,
    prefill: Arc<Prefill>,
    /// The writer's; `None` once the log is closed, or when it has none.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// That of the zeros ahead of the writer; `None` when there is none, or once the log is closed.
    zeros: Mutex<Option<JoinHandle<()>>>,
    /// The notary's; `None` when there is none, or once the log is closed.
    notary: Mutex<Option<JoinHandle<()>>>,
    /// The scrubber's; `None` when there is none, or once the log is closed.
    scrubber: Mutex<Option<JoinHandle<()>>>,
    now_us: fn() -> i64,
}

/// The writer of a log that has no thread for it: it writes when it is told to.
///
/// A simulator drives a log this way, so that the same seed gives the same run. Dropping it is what a crash of the
/// process does to the writer: nobody is told anything.
pub struct LogWriter {
    /// `None` once it has ended: it never writes again then.
    writer: Option<Writer>,
}

impl LogWriter {
    /// Makes one write with one sync of what is queued, and tells those who wait; closes the log when it is to.
    pub fn step(&mut self) -> Progress {
        let progress = self.writer.as_mut().map_or(Progress::Ended, Writer::step);
        if progress == Progress::Ended {
            self.writer = None;
        }
        progress
    }
}

impl Log {
    /// Opens the log in a directory, or creates one; cuts off what a crash left unfinished.
    ///
    /// Only one process at a time may do this; the caller sees to that.
    ///
    /// # Errors
    /// When the log is damaged or the disk refuses.
    pub fn open(
        dir: &Path,
        options: LogOptions,
        disk: Arc<dyn Disk>,
        now_us: fn() -> i64,
    ) -> Result<(Self, Recovery), LogError> {
        let (writing, shared, report) = open(dir, options, disk, now_us)?;
        let (turn, queue) = (Arc::clone(&writing.turn), Arc::clone(&writing.queue));
        let thread = start(turn, Arc::clone(&shared), queue);
        let thread = thread.map_err(|error| LogError::io("write", dir, error))?;
        // It writes as well without them.
        let zeros = writing.prefill.start().ok();
        let (thread, zeros) = (Mutex::new(Some(thread)), Mutex::new(zeros));
        let writing = Writing { thread, zeros, ..writing };
        Ok((Self::new(shared, Some(writing)), report))
    }

    /// Opens a log as [`open`](Self::open) does, but without a thread: nothing is written but by the writer's steps.
    ///
    /// Then [`append`](Self::append) must not meet a full queue, where it would wait for ever.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_stepped(
        dir: &Path,
        options: LogOptions,
        disk: Arc<dyn Disk>,
        now_us: fn() -> i64,
    ) -> Result<(Self, LogWriter, Recovery), LogError> {
        let (writing, shared, report) = open(dir, options, disk, now_us)?;
        let writer = LogWriter { writer: writing.turn.take() };
        Ok((Self::new(shared, Some(writing)), writer, report))
    }

    /// Opens the log in a directory for reading. Nothing is cut or written.
    ///
    /// Another process may be writing it. What is shown is what the files held at the opening, and stays so; the last
    /// frames of it may be written but not synced yet, so that a crash of the machine could still take them away.
    ///
    /// # Errors
    /// When there is none, or it is damaged, or cannot be read.
    pub fn open_read_only(dir: &Path, disk: Arc<dyn Disk>) -> Result<(Self, Recovery), LogError> {
        let none = || LogError::NoLog { dir: dir.to_owned() };
        let recovered = match recovery::recover(&*disk, dir) {
            Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(none());
            }
            recovered => recovered?.ok_or_else(none)?,
        };
        let report = Recovery { cut_bytes: 0, cut_segment: None, ..recovered.report(dir) };
        let state = state(&recovered, Some(LogError::ReadOnly));
        let shared = Arc::new(Shared::new(dir.to_owned(), disk, state));
        Ok((Self::new(shared, None), report))
    }

    /// Opens a log for reading as if nothing was folded: only what is left in segments can be read.
    pub(crate) fn open_unlisted(dir: &Path, disk: Arc<dyn Disk>) -> Result<Self, LogError> {
        let none = || LogError::NoLog { dir: dir.to_owned() };
        let recovered = recovery::recover_unlisted(&*disk, dir)?.ok_or_else(none)?;
        let state = state(&recovered, Some(LogError::ReadOnly));
        Ok(Self::new(Arc::new(Shared::new(dir.to_owned(), disk, state)), None))
    }

    fn new(shared: Arc<Shared>, writing: Option<Writing>) -> Self {
        Self { shared, desk: Arc::default(), scrubbing: Arc::default(), writing }
    }

    /// Appends a group; waits while too much is queued.
    ///
    /// `done` is called when the group is durable, with the Time of its last transaction; for a part that is not the
    /// last, with the Time before. It is called in the order of appending, in the thread that writes: it must be quick.
    ///
    /// When the disk has no room for the group, `done` is told so at once, and the log goes on without it.
    ///
    /// # Errors
    /// When the group cannot be logged, the log stopped, or there is no room and the queue is full of what waits for
    /// some. `done` is not called then.
    pub fn append(&self, group: &TransactionGroup, done: Done) -> Result<(), LogError> {
        self.append_with(group, OnFull::Refuse, done)
    }

    /// Appends a group as [`append`](Self::append) does, and says what becomes of it on a full disk.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_with(
        &self,
        group: &TransactionGroup,
        on_full: OnFull,
        done: Done,
    ) -> Result<(), LogError> {
        let writing = self.writing.as_ref().ok_or(LogError::ReadOnly)?;
        let mut encoded = encode::encode(group, &writing.registry, writing.compression)?;
        encoded.seal();
        writing.queue.push(Item { encoded, on_full, done })
    }

    /// Appends a group and waits until it is durable; returns the Time as [`append`](Self::append) does.
    ///
    /// When nothing else is being written, it is written here and now, without waking another thread. Not for a log whose
    /// writer is [stepped](Self::open_stepped), and not for `done` to call.
    ///
    /// # Errors
    /// When the group cannot be logged, there is no room for it, or the log stopped.
    pub fn append_durably(&self, group: &TransactionGroup) -> Result<Time, LogError> {
        let writing = self.writing.as_ref().ok_or(LogError::ReadOnly)?;
        let mut encoded = encode::encode(group, &writing.registry, writing.compression)?;
        if encoded.payload_length < limits::LATE_CHECKSUM_BYTES_MIN {
            encoded.seal();
        }
        let (sender, outcome) = mpsc::sync_channel(1);
        let done = Box::new(move |outcome| {
            // Whoever waits is there until it is told.
            sender.send(outcome).unwrap_or_default();
        });
        let item = Item { encoded, on_full: OnFull::Refuse, done };
        writing.turn.lead(&self.shared, &writing.queue, item)?;
        outcome.recv().unwrap_or(Err(LogError::Closed))
    }

    /// Why nothing can be written just now: there is no room. `None` while there is, as far as is known.
    #[must_use]
    pub fn full(&self) -> Option<LogError> {
        self.writing.as_ref().and_then(|writing| writing.queue.full())
    }

    /// Writes what is queued, marks the log as closed, and waits until that is done.
    ///
    /// From now on `append` refuses with [`LogError::Closed`]; what is in the log can still be read. Closing again
    /// does nothing. It must not be called from within `done`, which runs in the thread that is waited for.
    pub fn close(&self) {
        let Some(writing) = &self.writing else { return };
        writing.queue.stop(LogError::Closed);
        // Held during the wait: whoever closes at the same time returns when the log is closed, not before.
        let mut thread = writing.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's writer panicked");
        }
        writing.prefill.stop();
        let mut zeros = writing.zeros.lock().unwrap_or_else(PoisonError::into_inner);
        if zeros.take().is_some_and(|zeros| zeros.join().is_err()) {
            tracing::error!("the thread for zeros ahead of the log's writer panicked");
        }
        scrub::thread::join(&self.scrubbing, &writing.scrubber);
        notary::join(&writing.notary);
    }

    /// Returns a reader of what is durable, from the first transaction after `after`.
    #[must_use]
    pub fn reader(&self, after: Time) -> LogReader {
        LogReader::new(Arc::clone(&self.shared), after)
    }

    /// Returns the Times of the transactions that a request asked for, ascending.
    ///
    /// It reads indexes and a few frames; of the segment that still grows, all.
    ///
    /// # Errors
    /// When a segment is damaged, or cannot be read.
    pub fn find_request(&self, request: &RequestId) -> Result<Vec<Time>, LogError> {
        self.shared.find_request(request)
    }

    /// Returns the frames of transactions as they lie in the log.
    #[must_use]
    pub fn raw_frames(&self) -> RawFrames {
        RawFrames::new(Arc::clone(&self.shared))
    }

    /// The next Time: all before it are durable.
    #[must_use]
    pub fn upper(&self) -> Time {
        self.shared.state().upper
    }

    /// Waits until a transaction after `after` is durable, the log stopped, or the time is over; returns
    /// [`upper`](Self::upper).
    pub fn wait_past(&self, after: Time, timeout: Duration) -> Time {
        self.shared.wait_past(after, timeout)
    }

    /// Why the log takes nothing more; `None` while it does.
    #[must_use]
    pub fn failure(&self) -> Option<LogError> {
        self.shared.state().failure.clone()
    }

    /// What the log holds. It costs nothing.
    #[must_use]
    pub fn stat(&self) -> LogStat {
        let state = self.shared.state();
        let kept = |segment: &shared::Segment| segment.thin_bytes.unwrap_or(segment.end);
        LogStat {
            segments: limits::on_disk(state.segments.len()),
            bytes: state.segments.iter().map(kept).sum(),
            frames: state.totals.frames,
            transactions: state.totals.transactions,
            rows: state.totals.rows,
            base_bytes: state.bases.bytes(),
            since: state.bases.since(),
            upper: state.upper,
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens a log for writing.
fn open(
    dir: &Path,
    options: LogOptions,
    disk: Arc<dyn Disk>,
    now_us: fn() -> i64,
) -> Result<(Writing, Arc<Shared>, Recovery), LogError> {
    disk.create_dir(dir).map_err(|error| LogError::io("create", dir, error))?;
    let recovered = match recovery::recover(&*disk, dir)? {
        Some(recovered) => recovered,
        None => {
            let log_id = options.log_id.unwrap_or_else(|| uuid::Uuid::new_v4().into_bytes());
            recovery::sync_names_above(&*disk, dir)?;
            recovery::create(&disk, dir, log_id, now_us())?;
            let none = || LogError::NoLog { dir: dir.to_owned() };
            recovery::recover(&*disk, dir)?.ok_or_else(none)?
        }
    };
    let tail = recovery::resume(&*disk, dir, &recovered)?;
    let registry = Registry::default();
    let mut present = Vec::new();
    for found in &recovered.schemas {
        let slot = registry.restore(found)?;
        present.resize(present.len().max(slot + 1), false);
        present[slot] = true;
    }
    let report = recovered.report(dir);
    let shared = Arc::new(Shared::new(dir.to_owned(), disk, state(&recovered, None)));
    let queue = Arc::new(Queue::new(options.queue_bytes_max));
    let prefill = Arc::new(Prefill::default());
    let writer = Writer {
        shared: Arc::clone(&shared),
        queue: Arc::clone(&queue),
        prefill: Arc::clone(&prefill),
        items: VecDeque::new(),
        segment_bytes_max: options.segment_bytes_max,
        now_us,
        closed: recovered.closed || recovered.fresh && recovered.segments.len() == 1,
        preamble: recovered.preamble,
        tail,
        present,
        wanted_bytes: None,
        broken: BTreeMap::new(),
    };
    let (compression, thread, zeros) = (options.compression, Mutex::default(), Mutex::default());
    let (notary, scrubber) = (Mutex::default(), Mutex::default());
    let turn = Arc::new(Turn::new(Some(writer)));
    let writing = Writing {
        queue,
        turn,
        prefill,
        registry,
        compression,
        thread,
        zeros,
        notary,
        scrubber,
        now_us,
    };
    Ok((writing, shared, report))
}

fn state(recovered: &Recovered, failure: Option<LogError>) -> State {
    State {
        segments: recovered.segments.clone(),
        bases: Arc::new(recovered.bases.clone()),
        readers: BTreeMap::new(),
        upper: recovered.preamble.next,
        totals: recovered.preamble.totals,
        failure,
    }
}

/// Starts the writer's thread.
fn start(
    turn: Arc<Turn>,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
) -> std::io::Result<JoinHandle<()>> {
    let name = "log writer".to_owned();
    std::thread::Builder::new().name(name).spawn(move || turn.run(&shared, &queue))
}
