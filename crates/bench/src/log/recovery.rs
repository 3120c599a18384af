//! How long it takes to open a log of 10 GB, after a crash and after a clean end, beside read(2) of its last segment.
//!
//! The last segment is nearly full, which is the worst case. The log is driven step by step, so that the writer's end is
//! that of a process that is killed: no frame says that the log was closed, and the room that was allocated ahead is
//! still there. All files are cold, as after a power failure; so the last segment is read from the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::log::{Log, LogOptions, LogWriter, Progress, RealDisk};
use change::{Time, TransactionGroup};

use super::files;
use super::input::Groups;
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

/// The bytes of a group, and how many are in one write.
const GROUP: (usize, usize) = (256 << 10, 16);

/// How much room must be free beyond the log's own.
const SPARE_BYTES: u64 = 2 << 30;

/// Measures both kinds of openings, in turn with plain reads.
pub(crate) fn run(size: Size) -> Outcome {
    let directory = tempfile::tempdir()?;
    let dir = directory.path().join("log");
    let shape = Shape {
        segments: size.of(38, 3),
        segment_bytes_max: size.of(LogOptions::default().segment_bytes_max, 16 << 20),
    };
    let wanted = shape.segments * shape.segment_bytes_max + SPARE_BYTES;
    let free = free_bytes(directory.path())?;
    if free < wanted {
        let why = format!("it needs {wanted} bytes of room on the disk, and there are {free}");
        return Ok(vec![Figure::lacking("log-recovery", why)]);
    }
    let groups = Groups::new(5).take(size.of(128, 16), GROUP.0);
    let mut upper = write(&dir, shape, &groups)?;
    let (mut crashed, mut closed, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.of(7, 1) {
        // What opens a log after a crash closes it in order, so the next opening is the other kind.
        for times in [&mut crashed, &mut closed] {
            files::cool(&files::segments(&dir)?)?;
            times.push(milliseconds(open(&dir, shape, upper)?));
        }
        let last = last_segment(&dir)?;
        files::cool(&last)?;
        let since = Instant::now();
        files::read(&last)?;
        raw.push(milliseconds(since.elapsed()));
        upper = crash(&dir, shape, &groups[..1])?;
    }
    let raw = median(raw);
    let figure = |name: &str, times| {
        Figure::alone(name, median(times), "ms").beside("read(2) of the last segment", raw)
    };
    Ok(vec![figure("log-recovery-crash", crashed), figure("log-recovery-clean", closed)])
}

/// How large the log is.
#[derive(Clone, Copy, Debug)]
struct Shape {
    segments: u64,
    segment_bytes_max: u64,
}

impl Shape {
    fn options(self) -> LogOptions {
        LogOptions { segment_bytes_max: self.segment_bytes_max, ..LogOptions::default() }
    }
}

/// Writes a log until its last segment is nearly full, and leaves it as a crash would; returns the next Time.
fn write(dir: &Path, shape: Shape, groups: &[TransactionGroup]) -> Maybe<Time> {
    let (log, mut writer, _) = Log::open_stepped(dir, shape.options(), Arc::new(RealDisk), || 0)?;
    let (mut segments, mut before) = (1, 0);
    for write in groups.chunks(GROUP.1).cycle() {
        append(&log, &mut writer, write)?;
        let stat = log.stat();
        if stat.segments > segments {
            (segments, before) = (stat.segments, stat.bytes);
        }
        let nearly_full = shape.segment_bytes_max - shape.segment_bytes_max / 4;
        if segments == shape.segments && stat.bytes - before >= nearly_full {
            break;
        }
    }
    Ok(log.upper())
}

/// Goes on with a closed log, and leaves it as a crash would; returns the next Time.
fn crash(dir: &Path, shape: Shape, groups: &[TransactionGroup]) -> Maybe<Time> {
    let (log, mut writer, _) = Log::open_stepped(dir, shape.options(), Arc::new(RealDisk), || 0)?;
    append(&log, &mut writer, groups)?;
    Ok(log.upper())
}

/// Appends groups with one sync, but where a segment ends among them.
fn append(log: &Log, writer: &mut LogWriter, groups: &[TransactionGroup]) -> Maybe<()> {
    for group in groups {
        log.append(group, Box::new(drop))?;
    }
    while writer.step() == Progress::Wrote {}
    log.failure().map_or(Ok(()), |failure| Err(failure.into()))
}

/// Opens a log and closes it again; returns how long the opening took.
fn open(dir: &Path, shape: Shape, upper: Time) -> Maybe<Duration> {
    let since = Instant::now();
    let (log, recovery) = Log::open(dir, shape.options(), Arc::new(RealDisk), || 0)?;
    let time = since.elapsed();
    if (recovery.upper, log.stat().segments) != (upper, shape.segments) {
        return Err(format!("not all of it is there: {recovery:?}").into());
    }
    Ok(time)
}

fn last_segment(dir: &Path) -> Maybe<Vec<PathBuf>> {
    Ok(files::segments(dir)?.pop().into_iter().collect())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn free_bytes(dir: &Path) -> Maybe<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail * stat.f_frsize)
}
