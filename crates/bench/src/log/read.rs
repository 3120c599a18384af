//! How fast the log is read into batches of columns, beside read(2) of the same files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ::log::{Log, RealDisk};
use change::Time;

use super::input::{Groups, ROW_BYTES};
use super::{append_durably, files, megabytes, open};
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

/// Reads a log from its beginning, from memory and from the disk.
pub(crate) fn run(size: Size) -> Outcome {
    let directory = tempfile::tempdir()?;
    let log = open(directory.path())?;
    let (mut groups, group_bytes) = (Groups::new(3), 16_384 * ROW_BYTES);
    for _ in 1..size.of(1_024, 32) {
        log.append(&groups.next(group_bytes), Box::new(drop))?;
    }
    append_durably(&log, &groups.next(group_bytes))?;
    drop(log);
    let segments = files::segments(directory.path())?;
    let (mut figures, bytes) = (Vec::new(), files::length(&segments)?);
    for (name, cold) in [("warm", false), ("cold", true)] {
        let (mut ours, mut rows_s, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..size.of(5, 1) {
            prepare(&segments, cold)?;
            let (log, _) = Log::open_read_only(directory.path(), Arc::new(RealDisk))?;
            // Opening reads the last segment; that is not what is measured.
            prepare(&segments, cold)?;
            let since = Instant::now();
            let rows = replay(&log)?;
            let seconds = since.elapsed().as_secs_f64();
            ours.push(megabytes(bytes) / seconds);
            rows_s.push(rows as f64 / seconds);
            prepare(&segments, cold)?;
            let since = Instant::now();
            files::read(&segments)?;
            raw.push(megabytes(bytes) / since.elapsed().as_secs_f64());
        }
        figures.push(
            Figure::alone(format!("log-read-{name}"), median(ours), "MB/s")
                .beside("read(2) of the files", median(raw)),
        );
        figures.push(Figure::alone(format!("log-read-{name}-rows"), median(rows_s), "rows/s"));
    }
    Ok(figures)
}

/// Brings the files into memory, or out of it.
fn prepare(segments: &[PathBuf], cold: bool) -> Maybe<()> {
    if cold { files::cool(segments) } else { files::read(segments) }
}

/// Reads everything; returns how many rows.
fn replay(log: &Log) -> Maybe<u64> {
    let mut reader = log.reader(Time::ZERO);
    let mut rows = 0;
    while let Some(chunk) = reader.next()? {
        rows += chunk.tables.iter().map(|table| table.changes().len() as u64).sum::<u64>();
    }
    Ok(rows)
}
