//! What proofs cost, and how fast the log is read.
//!
//! Both sides of a comparison run in turn in one run. The append is that of `log-append`: one group at a time, so that a
//! notary that got into the way of a write would be seen.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use change::{
    ChangeBatch, ChangeForm, Part, SourcePosition, TableChanges, TableName, TableSchema, Time,
    TransactionGroup, TransactionHead,
};
use log::{Log, LogOptions, Notary, NotaryOptions, RealDisk};
use proof::Signer;

use crate::append::{append_durably, append_of, group, megabytes};
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

/// What Tessera's authors publish for one node of the POSIX kind, in leaves a second.
const TESSERA_LEAVES_PER_S: f64 = 10_000.0;

/// The most bytes that one call reads.
const READ_BYTES: usize = 1 << 20;

fn signer() -> Maybe<Signer> {
    Ok(Signer::from_seed("bench.example/log", &[1; 32])?)
}

/// Appends with and without a notary.
pub(crate) fn append(size: Size) -> Outcome {
    let sizes = [("1KB", 1 << 10), ("16KB", 16 << 10), ("256KB", 256 << 10), ("1MB", 1 << 20)];
    let mut figures = Vec::new();
    for (name, bytes) in sizes {
        let groups = (size.of(128 << 20, 4 << 20) / bytes).clamp(16, size.of(4_000, 200));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for round in 0..size.of(7, 1) {
            // Who goes first takes turns as well.
            for provable in [round % 2 == 0, round % 2 != 0] {
                let directory = tempfile::tempdir()?;
                let log = open(&directory.path().join("log"))?;
                if provable {
                    let options =
                        NotaryOptions { signer: signer()?, interval: Duration::from_secs(1) };
                    log.start_notary(options)?;
                }
                let (rate, _) = append_of(&log, bytes, groups, round)?;
                if provable { with.push(rate) } else { without.push(rate) }
            }
        }
        figures.push(
            Figure::alone(format!("log-proof-{name}"), median(with), "MB/s")
                .beside("the same without proofs", median(without)),
        );
    }
    Ok(figures)
}

/// Takes transactions into the tree: leaves, tiles, one checkpoint.
pub(crate) fn leaves(size: Size) -> Outcome {
    let mut figures = Vec::new();
    for (name, transactions) in [("alone", 1), ("grouped", 1_000)] {
        let groups = size.of(200_000, 20_000) / transactions;
        let directory = tempfile::tempdir()?;
        let log = open(directory.path())?;
        for _ in 1..groups {
            log.append(&small(transactions), Box::new(drop))?;
        }
        append_durably(&log, &small(transactions))?;
        let since = Instant::now();
        let mut notary = Notary::open(&log, signer()?)?;
        while notary.step()?.is_some() {}
        notary.publish()?;
        let seconds = since.elapsed().as_secs_f64();
        assert_eq!(notary.size(), log.upper().0 - 1, "every transaction is a leaf");
        figures.push(
            Figure::alone(format!("log-leaves-{name}"), notary.size() as f64 / seconds, "leaves/s")
                .beside("Tessera, as published", TESSERA_LEAVES_PER_S),
        );
    }
    Ok(figures)
}

/// Reads a log from its beginning into batches of columns.
pub(crate) fn read(size: Size) -> Outcome {
    let directory = tempfile::tempdir()?;
    let log = open(directory.path())?;
    let mut random = seeded();
    for _ in 1..size.of(1_024, 32) {
        log.append(&group(16_384, &mut random), Box::new(drop))?;
    }
    append_durably(&log, &group(16_384, &mut random))?;
    drop(log);
    let (mut figures, bytes) = (Vec::new(), length(directory.path())?);
    for (name, cold) in [("warm", false), ("cold", true)] {
        let (mut ours, mut rows_s, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..size.of(5, 1) {
            prepare(directory.path(), cold)?;
            let (log, _) = Log::open_read_only(directory.path(), Arc::new(RealDisk))?;
            // Opening reads the last segment; that is not what is measured.
            prepare(directory.path(), cold)?;
            let since = Instant::now();
            let rows = replay(&log)?;
            let seconds = since.elapsed().as_secs_f64();
            ours.push(megabytes(bytes) / seconds);
            rows_s.push(rows as f64 / seconds);
            prepare(directory.path(), cold)?;
            let since = Instant::now();
            read_files(directory.path())?;
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

fn seeded() -> rand_chacha::ChaCha8Rng {
    rand::SeedableRng::seed_from_u64(3)
}

fn open(dir: &Path) -> Maybe<Log> {
    Ok(Log::open(dir, LogOptions::default(), Arc::new(RealDisk), || 0)?.0)
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

fn segments(dir: &Path) -> Maybe<Vec<std::path::PathBuf>> {
    let paths = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    paths.sort();
    Ok(paths)
}

fn length(dir: &Path) -> Maybe<u64> {
    let lengths = segments(dir)?.into_iter().map(|path| fs::metadata(path).map(|m| m.len()));
    Ok(lengths.sum::<Result<u64, _>>()?)
}

/// Brings the files into memory, or out of it.
fn prepare(dir: &Path, cold: bool) -> Maybe<()> {
    if !cold {
        return read_files(dir);
    }
    for path in segments(dir)? {
        let file = File::open(path)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn read_files(dir: &Path) -> Maybe<()> {
    let mut buffer = vec![0; READ_BYTES];
    for path in segments(dir)? {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// A group of so many transactions with a row each.
fn small(transactions: usize) -> TransactionGroup {
    let count = u32::try_from(transactions).expect("a bench group is small");
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let values = Int64Array::from_iter_values(0..i64::from(count));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(values)])
        .expect("a column of its schema");
    let name = TableName::new("bench", "small");
    let table = Arc::new(TableSchema::new(name, schema, Vec::new(), ChangeForm::Exact));
    let ends = (1..=count).collect();
    let changes = TableChanges::new(table, ChangeBatch::inserts(batch), ends, Vec::new());
    let head = |step: u32| TransactionHead::at(SourcePosition::Step(step.into()), None);
    TransactionGroup::new(
        "bench".into(),
        Part::Whole,
        (0..count).map(head).collect(),
        vec![changes],
    )
}
