//! The log's append + sync, beside what the disk can do with the same bytes.
//!
//! One group at a time: the next is appended when the last is durable, so both sides make as many syncs of as many
//! bytes. The raw side writes the log's own frames into a preallocated file.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
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
            raw.push(write_raw(&directory.path().join("raw"), frame_bytes, groups)?);
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
    let (sender, receiver) = mpsc::sync_channel(1);
    log.append(group, Box::new(move |outcome| sender.send(outcome).unwrap_or_default()))?;
    receiver.recv()??;
    Ok(())
}

/// Writes as many bytes as often into a preallocated file, with a sync each; returns MB/s.
fn write_raw(path: &Path, bytes: usize, times: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let length = u64::try_from(bytes * times)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length)?;
    file.sync_all()?;
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let data: Vec<u8> = (0..bytes).map(|_| random.random()).collect();
    let since = Instant::now();
    for time in 1..times {
        file.write_all_at(&data, u64::try_from(time * bytes)?)?;
        rustix::fs::fdatasync(&file)?;
    }
    let written = u64::try_from(bytes * (times - 1))?;
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
