//! What the tests share: groups of transactions and logs to put them in.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use change::{
    ChangeBatch, ChangeForm, Part, SourcePosition, TableChanges, TableName, TableSchema, Time,
    TransactionGroup, TransactionHead,
};
use log::{Chunk, Compression, Disk, Log, LogError, LogOptions, RealDisk, Recovery};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static CLOCK_US: AtomicI64 = AtomicI64::new(0);

/// A clock that never shows the same time twice.
pub(crate) fn now_us() -> i64 {
    CLOCK_US.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn options() -> LogOptions {
    LogOptions { log_id: Some([7; 16]), ..LogOptions::default() }
}

/// Options that keep frames as small as they are and fill segments fast.
pub(crate) fn small_segments() -> LogOptions {
    LogOptions { segment_bytes_max: 4096, compression: Compression::Off, ..options() }
}

pub(crate) fn open(dir: &Path) -> (Log, Recovery) {
    open_with(dir, options())
}

pub(crate) fn open_with(dir: &Path, options: LogOptions) -> (Log, Recovery) {
    try_open(dir, options, Arc::new(RealDisk)).unwrap()
}

pub(crate) fn try_open(
    dir: &Path,
    options: LogOptions,
    disk: Arc<dyn Disk>,
) -> Result<(Log, Recovery), LogError> {
    Log::open(dir, options, disk, now_us)
}

/// The table `{source}.{name}(id, note)`.
pub(crate) fn table(source: &str, name: &str) -> Arc<TableSchema> {
    let columns =
        vec![Field::new("id", DataType::Int64, true), Field::new("note", DataType::Utf8, true)];
    let name = TableName::new(source, name);
    Arc::new(TableSchema::new(name, Arc::new(Schema::new(columns)), vec![0], ChangeForm::Upsert))
}

/// Rows of [`table`], `counts[i]` of them by the i-th transaction, with ids from `first`.
pub(crate) fn rows(table: &Arc<TableSchema>, first: i64, counts: &[u32]) -> TableChanges {
    let total: u32 = counts.iter().sum();
    let ids: Vec<i64> = (first..first + i64::from(total)).collect();
    let notes: StringArray = ids.iter().map(|id| Some(format!("row number {id}"))).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(notes)];
    let batch = RecordBatch::try_new(Arc::clone(table.columns()), columns).unwrap();
    let ends = counts.iter().scan(0, |end, count| {
        *end += count;
        Some(*end)
    });
    TableChanges::new(Arc::clone(table), ChangeBatch::inserts(batch), ends.collect(), Vec::new())
}

pub(crate) fn head(step: u64) -> TransactionHead {
    TransactionHead::at(SourcePosition::Step(step), Some(1_000_000))
}

/// A group of whole transactions: one for each count of rows, at steps from `step`.
pub(crate) fn group(source: &str, step: u64, counts: &[u32]) -> TransactionGroup {
    part(source, Part::Whole, step, counts)
}

pub(crate) fn part(source: &str, part: Part, step: u64, counts: &[u32]) -> TransactionGroup {
    let heads = (step..).take(counts.len()).map(head).collect();
    let changes = rows(&table(source, "t"), step as i64 * 1000, counts);
    TransactionGroup::new(source.into(), part, heads, vec![changes])
}

/// Appends and waits until it is durable.
pub(crate) fn append(log: &Log, group: &TransactionGroup) -> Result<Time, LogError> {
    append_later(log, group)?.recv_timeout(PATIENCE).expect("everyone who appends is told")
}

pub(crate) fn append_later(
    log: &Log,
    group: &TransactionGroup,
) -> Result<mpsc::Receiver<Result<Time, LogError>>, LogError> {
    let (sender, receiver) = mpsc::channel();
    log.append(group, Box::new(move |result| sender.send(result).unwrap_or(())))?;
    Ok(receiver)
}

/// Everything in the log after a Time.
pub(crate) fn read(log: &Log, after: u64) -> Vec<Chunk> {
    let mut reader = log.reader(Time(after));
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// The ids in a log, with the Time of each, in order; panics when Times are not dense from `after`.
pub(crate) fn ids(log: &Log, after: u64) -> Vec<(u64, i64)> {
    let mut ids = Vec::new();
    let (mut next, mut open) = (after + 1, false);
    for chunk in read(log, after) {
        assert_eq!(chunk.first, Time(next), "Times are dense");
        assert!(!open || chunk.first == chunk.last, "a transaction in parts has one Time");
        assert_eq!(chunk.heads.len() as u64, chunk.last.0 - chunk.first.0 + 1);
        for changes in &chunk.tables {
            let column = changes.changes().rows().column(0);
            let values = column.as_any().downcast_ref::<Int64Array>().unwrap();
            let mut start = 0;
            for (time, &end) in (chunk.first.0..).zip(changes.ends()) {
                ids.extend((start..end).map(|row| (time, values.value(row as usize))));
                start = end;
            }
        }
        open = !chunk.complete;
        next = if open { next } else { chunk.last.0 + 1 };
    }
    assert!(!open, "the log ends with whole transactions");
    assert_eq!(Time(next.max(after + 1)), log.upper().max(Time(after + 1)));
    ids
}

/// The files of the segments, in order.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

/// Offsets and ends of the frames in a segment, found by their headers.
pub(crate) fn frames(bytes: &[u8]) -> Vec<log::format::Header> {
    use log::format::{Header, Place};
    let mut frames: Vec<Header> = Vec::new();
    let segment = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
    loop {
        let offset = frames.last().map_or(0, Header::end);
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        match Header::from_bytes(rest, Place { segment, offset }) {
            Ok(header) => frames.push(header),
            Err(_end) => return frames,
        }
    }
}
