//! The log's append + sync, beside what the disk can do with the same bytes.
//!
//! One group at a time: the next is appended when the last is durable, so both sides make as many syncs of as many
//! bytes. The raw side writes the log's own bytes, read back from its segments, into a file that has room for all of them
//! before it begins; what the log's steps of allocating cost counts against the log. Each raw write takes other bytes, as
//! the log's do: the same few over and over would come from the processor's cache. Both sides begin with a write that does
//! not count.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use change::{
    ChangeBatch, ChangeForm, Part, SourcePosition, TableChanges, TableName, TableSchema,
    TransactionGroup, TransactionHead,
};
use log::{Log, LogOptions, RealDisk};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::figure::{Figure, median};
use crate::{Outcome, Size};

const COLUMNS: usize = 8;

/// Measures groups of each size.
pub(crate) fn run(size: Size) -> Outcome {
    let sizes = [("1KB", 1 << 10), ("16KB", 16 << 10), ("256KB", 256 << 10), ("1MB", 1 << 20)];
    let mut figures = Vec::new();
    for (name, bytes) in sizes {
        let groups = (size.of(64 << 20, 4 << 20) / bytes).clamp(16, size.of(2_000, 200));
        let rounds = size.of(5, 1);
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // In turn, so that a busy moment of the machine hits both.
            let directory = tempfile::tempdir()?;
            let (rate, frame_bytes) = append(directory.path(), bytes, groups, round)?;
            ours.push(rate);
            let frames = frames(&directory.path().join("log"), frame_bytes, groups)?;
            raw.push(write_raw(&directory.path().join("raw"), &frames)?);
        }
        figures.push(
            Figure::alone(format!("log-append-{name}"), median(ours), "MB/s")
                .beside("pwrite + fdatasync", median(raw)),
        );
    }
    Ok(figures)
}

/// Appends groups one by one; returns MB/s and the bytes of one frame.
fn append(
    directory: &Path,
    bytes: usize,
    groups: usize,
    seed: u64,
) -> Result<(f64, usize), Box<dyn std::error::Error>> {
    let disk = Arc::new(RealDisk);
    let (log, _) = Log::open(&directory.join("log"), LogOptions::default(), disk, || 0)?;
    append_of(&log, bytes, groups, seed)
}

/// The same in a log that is open.
pub(crate) fn append_of(
    log: &Log,
    bytes: usize,
    groups: usize,
    seed: u64,
) -> Result<(f64, usize), Box<dyn std::error::Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let rows = (bytes / (8 * COLUMNS)).max(1);
    let made: Vec<TransactionGroup> = (0..groups).map(|_| group(rows, &mut random)).collect();
    append_durably(log, &made[0])?;
    let before = log.stat().bytes;
    let since = Instant::now();
    for group in &made[1..] {
        append_durably(log, group)?;
    }
    let seconds = since.elapsed().as_secs_f64();
    let written = log.stat().bytes - before;
    let frame_bytes = usize::try_from(written)? / (groups - 1);
    Ok((megabytes(written) / seconds, frame_bytes))
}

/// Appends a group and waits until it is durable.
pub(crate) fn append_durably(
    log: &Log,
    group: &TransactionGroup,
) -> Result<(), Box<dyn std::error::Error>> {
    log.append_durably(group)?;
    Ok(())
}

/// The log's own bytes, in pieces of a frame's size: as many as it wrote.
fn frames(
    log: &Path,
    bytes: usize,
    times: usize,
) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut paths: Vec<_> = std::fs::read_dir(log)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(std::fs::read(path)?);
    }
    Ok(all.chunks_exact(bytes).take(times).map(<[u8]>::to_vec).collect())
}

/// Writes each piece behind the one before into a preallocated file, with a sync each; returns MB/s.
fn write_raw(path: &Path, pieces: &[Vec<u8>]) -> Result<f64, Box<dyn std::error::Error>> {
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let length = u64::try_from(pieces.iter().map(Vec::len).sum::<usize>())?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length)?;
    file.sync_all()?;
    let (first, rest) = pieces.split_first().ok_or("nothing to write")?;
    file.write_all_at(first, 0)?;
    rustix::fs::fdatasync(&file)?;
    let (mut offset, since) = (u64::try_from(first.len())?, Instant::now());
    for piece in rest {
        file.write_all_at(piece, offset)?;
        rustix::fs::fdatasync(&file)?;
        offset += u64::try_from(piece.len())?;
    }
    let written = offset - u64::try_from(first.len())?;
    Ok(megabytes(written) / since.elapsed().as_secs_f64())
}

/// Bytes as 10^6 of them.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A group of one transaction with random numbers, which do not compress.
pub(crate) fn group(rows: usize, random: &mut ChaCha8Rng) -> TransactionGroup {
    let fields: Vec<Field> =
        (0..COLUMNS).map(|i| Field::new(format!("c{i}"), DataType::Int64, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = (0..COLUMNS).map(|_| {
        let values: Int64Array = (0..rows).map(|_| Some(random.random::<i64>())).collect();
        Arc::new(values) as arrow::array::ArrayRef
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect())
        .expect("columns of one length");
    let name = TableName::new("bench", "t");
    let table = Arc::new(TableSchema::new(name, schema, Vec::new(), ChangeForm::Exact));
    let end = u32::try_from(rows).expect("a bench group is small");
    let changes = TableChanges::new(table, ChangeBatch::inserts(batch), vec![end], Vec::new());
    let head = TransactionHead::at(SourcePosition::Step(1), None);
    TransactionGroup::new("bench".into(), Part::Whole, vec![head], vec![changes])
}
