//! Ends a copy of a log at an earlier Time, and makes it another log.
//!
//! Frames before that Time stay as they are, byte for byte, and so do their leaves. But the Time may lie within a frame:
//! then the frame's first transactions are written anew, in a frame of their own, and have other leaves than before.
//! And what comes next will be something else than what came next in the original. So the result must not pass for the
//! original: every preamble gets another log id, by which sinks and keys tell logs apart.
//!
//! What was folded stays as it is, for only what comes behind it can be cut off. But the transaction that says the hashes
//! of the bases may be cut off: then another one that says the same follows the last.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use change::{Part, Time, TransactionGroup};

use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::format::{FormatError, HEADER_BYTES, Header, Place};
use crate::limits::on_disk;
use crate::recovery::read_first;
use crate::retention;
use crate::segment::{self, Frames};
use crate::shared::Shared;
use crate::walk::Walk;
use crate::{Chunk, Log, LogOptions, Progress};

/// What became of a log that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The transactions up to this one are in the frames that they were in, and have the leaves that they had.
    pub kept: Time,
    /// The last transaction that is of the original.
    pub last: Time,
    /// Whether one more follows, which says what was folded.
    pub folds_said_again: bool,
}

/// Where a log is to end.
struct End {
    segment: u64,
    offset: u64,
    /// What of the frame there is to stay.
    rest: Option<Chunk>,
    kept: Time,
    /// When what stays was written.
    wall_clock_us: i64,
}

/// Ends the log in a directory with the transaction at `last`, and gives it another identity.
///
/// This changes the files in place: it is for a copy that nobody uses yet. A cut that fails leaves nothing usable.
///
/// # Errors
/// When the log is damaged, or cannot be written; [`LogError::Pruned`] when history behind that Time was folded.
///
/// # Panics
/// When the log does not hold that transaction.
pub fn cut(
    dir: &Path,
    last: Time,
    log_id: [u8; 16],
    disk: &Arc<dyn Disk>,
) -> Result<Cut, LogError> {
    let (log, _) = Log::open_read_only(dir, Arc::clone(disk))?;
    assert!(last > Time::ZERO && last < log.upper(), "the log holds the transaction");
    let bases = Arc::clone(&log.shared.state().bases);
    if last < bases.since() {
        return Err(LogError::Pruned { from: last.next(), upto: bases.since() });
    }
    let numbers: Vec<u64> =
        log.shared.state().segments.iter().map(|segment| segment.number).collect();
    let end = find_end(&log, last)?;
    drop(log);
    let failed = |error| LogError::io("cut", dir, error);
    for number in numbers.iter().rev().filter(|number| **number > end.segment) {
        disk.remove(&segment::path(dir, *number)).map_err(failed)?;
    }
    for number in numbers.into_iter().filter(|number| *number <= end.segment) {
        let path = segment::path(dir, number);
        let file = disk.open(&path, Access::Write).map_err(failed)?;
        if number == end.segment {
            file.truncate(end.offset).map_err(failed)?;
        }
        rename_in(&path, &*file, number, log_id)?;
        file.sync().map_err(failed)?;
    }
    disk.sync_dir(dir).map_err(failed)?;
    if let Some(rest) = &end.rest {
        append_again(dir, rest, disk)?;
    }
    let folds_said_again = say_folds(dir, end.wall_clock_us, disk)?;
    Ok(Cut { kept: end.kept, last, folds_said_again })
}

impl Log {
    /// The last transaction that stays in its frame, with its leaf, when the log is ended with the one at `last`.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read.
    pub fn kept_by_cut(&self, last: Time) -> Result<Time, LogError> {
        Ok(find_end(self, last)?.kept)
    }
}

/// Says what was folded, unless a transaction that stays does.
fn say_folds(dir: &Path, wall_clock_us: i64, disk: &Arc<dyn Disk>) -> Result<bool, LogError> {
    let (log, _) = Log::open_read_only(dir, Arc::clone(disk))?;
    let mut unsaid = log.folded();
    if !unsaid.is_empty() {
        let said = log.said_of_bases()?;
        unsaid.retain(|base| !said.contains(base));
    }
    drop(log);
    if !unsaid.is_empty() {
        append(dir, &retention::record_of(&unsaid), wall_clock_us, disk)?;
    }
    Ok(!unsaid.is_empty())
}

fn find_end(log: &Log, last: Time) -> Result<End, LogError> {
    let bases = Arc::clone(&log.shared.state().bases);
    if last == bases.since() {
        return border(log, last, bases.tables.values().map(|base| base.segment).max());
    }
    let start = log.shared.start(Time(last.0 - 1));
    let mut walk = Walk::new(Arc::clone(&log.shared), start);
    while let Some(header) = walk.header()? {
        if header.transactions > 0 && header.next_time() > last {
            let whole = header.next_time() == last.next();
            let place = header.place;
            let rest = if whole { None } else { Some(beginning(log, &header, last)?) };
            let offset = if whole { header.end() } else { place.offset };
            let kept = if whole { last } else { Time(header.first_time.0 - 1) };
            let wall_clock_us = header.wall_clock_us;
            return Ok(End { segment: place.segment, offset, rest, kept, wall_clock_us });
        }
        walk.pass(&header);
    }
    Err(walk
        .damaged(FormatError::Value("the transaction that the log is to end with is not there")))
}

/// The end right behind what was folded: the preamble of the segment there. No segment before it may be the last, for
/// those were rewritten.
fn border(log: &Log, last: Time, segment: Option<u64>) -> Result<End, LogError> {
    let segment = segment.expect("something was folded up to that Time");
    let Shared { disk, dir, .. } = &*log.shared;
    let mut frames = Frames::open(&**disk, dir, segment)?;
    let (header, _) = read_first(&mut frames)?;
    let (offset, wall_clock_us) = (header.end(), header.wall_clock_us);
    Ok(End { segment, offset, rest: None, kept: last, wall_clock_us })
}

/// The transactions of a frame up to `last`.
fn beginning(log: &Log, header: &Header, last: Time) -> Result<Chunk, LogError> {
    let chunk = log.reader(Time(header.first_time.0 - 1)).next()?;
    let mut chunk = chunk.expect("the frame was found above");
    assert_eq!(chunk.first, header.first_time, "a reader begins where it is told to");
    let count = usize::try_from(last.0 - chunk.first.0 + 1).expect("a frame fits memory");
    chunk.heads.truncate(count);
    let tables = chunk.tables.iter().map(|table| table.of_transactions(0, count));
    chunk.tables = tables.filter(|table| !table.changes().is_empty()).collect();
    chunk.last = last;
    Ok(chunk)
}

/// Puts another log id into a segment's preamble.
fn rename_in(
    path: &Path,
    file: &dyn crate::DiskFile,
    segment: u64,
    log_id: [u8; 16],
) -> Result<(), LogError> {
    let failed = |error| LogError::io("rename the log in", path, error);
    let mut bytes = vec![0; HEADER_BYTES];
    file.read_at(&mut bytes, 0).map_err(failed)?;
    let place = Place { segment, offset: 0 };
    let mut header = Header::from_bytes(&bytes, place).expect("it was read a moment ago");
    let mut payload = vec![0; header.payload_length as usize];
    file.read_at(&mut payload, on_disk(HEADER_BYTES)).map_err(failed)?;
    payload[..log_id.len()].copy_from_slice(&log_id);
    header.payload_crc = crate::crc::crc32c(&payload);
    file.write_at(&[&header.to_bytes(), &payload], 0).map_err(failed)
}

thread_local! {
    /// When the frame that is written anew was written first.
    static WRITTEN_US: Cell<i64> = const { Cell::new(0) };
}

fn written_us() -> i64 {
    WRITTEN_US.get()
}

/// Appends transactions as they were, and looks whether that is what the log holds then.
fn append_again(dir: &Path, chunk: &Chunk, disk: &Arc<dyn Disk>) -> Result<(), LogError> {
    let source = Arc::clone(&chunk.source);
    let tables = chunk.tables.clone();
    let group = TransactionGroup::new(source, Part::Whole, chunk.heads.clone(), tables);
    let log = append(dir, &group, chunk.wall_clock_us, disk)?;
    let written = log.reader(Time(chunk.first.0 - 1)).next()?;
    assert_eq!(written.as_ref(), Some(chunk), "what is read is what was written");
    Ok(())
}

fn append(
    dir: &Path,
    group: &TransactionGroup,
    wall_clock_us: i64,
    disk: &Arc<dyn Disk>,
) -> Result<Log, LogError> {
    WRITTEN_US.set(wall_clock_us);
    let (log, mut writer, _) =
        Log::open_stepped(dir, LogOptions::default(), Arc::clone(disk), written_us)?;
    // The writer's failure is the log's, which is asked for it below.
    log.append(group, Box::new(drop))?;
    while writer.step() == Progress::Wrote {}
    match log.failure() {
        Some(error) => Err(error),
        None => Ok(log),
    }
}
