//! Ends a copy of a log at an earlier Time, and makes it another log.
//!
//! Frames before that Time stay as they are, byte for byte, and so do their leaves. But the Time may lie within a frame:
//! then the frame's first transactions are written anew, in a frame of their own, and have other leaves than before.
//! And what comes next will be something else than what came next in the original. So the result must not pass for the
//! original: every preamble gets another log id, by which sinks and keys tell logs apart.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use change::{Part, Time, TransactionGroup};

use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::format::{FormatError, HEADER_BYTES, Header, Place};
use crate::limits::on_disk;
use crate::segment;
use crate::walk::Walk;
use crate::{Chunk, Log, LogOptions, Progress};

/// What became of a log that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The transactions up to this one are in the frames that they were in, and have the leaves that they had.
    pub kept: Time,
    /// The last transaction.
    pub last: Time,
}

/// Where a log is to end.
struct End {
    segment: u64,
    offset: u64,
    /// What of the frame there is to stay.
    rest: Option<Chunk>,
    kept: Time,
}

/// Ends the log in a directory with the transaction at `last`, and gives it another identity.
///
/// This changes the files in place: it is for a copy that nobody uses yet. A cut that fails leaves nothing usable.
///
/// # Errors
/// When the log is damaged, or cannot be written.
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
        append(dir, rest, disk)?;
    }
    Ok(Cut { kept: end.kept, last })
}

fn find_end(log: &Log, last: Time) -> Result<End, LogError> {
    let start = log.shared.start(Time(last.0 - 1));
    let mut walk = Walk::new(Arc::clone(&log.shared), start);
    while let Some(header) = walk.header()? {
        if header.transactions > 0 && header.next_time() > last {
            let whole = header.next_time() == last.next();
            let place = header.place;
            let rest = if whole { None } else { Some(beginning(log, &header, last)?) };
            let offset = if whole { header.end() } else { place.offset };
            let kept = if whole { last } else { Time(header.first_time.0 - 1) };
            return Ok(End { segment: place.segment, offset, rest, kept });
        }
        walk.pass(&header);
    }
    Err(walk
        .damaged(FormatError::Value("the transaction that the log is to end with is not there")))
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
    header.payload_crc = crc32c::crc32c(&payload);
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
fn append(dir: &Path, chunk: &Chunk, disk: &Arc<dyn Disk>) -> Result<(), LogError> {
    WRITTEN_US.set(chunk.wall_clock_us);
    let (log, mut writer, _) =
        Log::open_stepped(dir, LogOptions::default(), Arc::clone(disk), written_us)?;
    let source = Arc::clone(&chunk.source);
    let tables = chunk.tables.clone();
    let group = TransactionGroup::new(source, Part::Whole, chunk.heads.clone(), tables);
    // The writer's failure is the log's, which is asked for it below.
    log.append(&group, Box::new(drop))?;
    while writer.step() == Progress::Wrote {}
    if let Some(error) = log.failure() {
        return Err(error);
    }
    let written = log.reader(Time(chunk.first.0 - 1)).next()?;
    assert_eq!(written.as_ref(), Some(chunk), "what is read is what was written");
    Ok(())
}
