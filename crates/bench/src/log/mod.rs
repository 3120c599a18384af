//! The log by itself, beside the physical limit and what others make of it.
//!
//! Both sides of a comparison run in turn in one run, and the raw side reads or writes the log's own bytes.

mod append;
mod files;
mod input;
mod latency;
mod provable;
mod read;
mod recovery;
mod scrub;
mod size;
mod writers;

use std::path::Path;
use std::sync::Arc;

use ::log::{Log, LogOptions, RealDisk};
use change::TransactionGroup;

use crate::{Benchmark, Maybe, Size};

/// The benchmarks of the log.
pub(crate) const BENCHMARKS: [Benchmark; 9] = [
    benchmark(
        "log-append",
        "append + sync of groups of 1 KB to 1 MB, against pwrite + fdatasync of the same bytes",
        append::run,
    ),
    benchmark(
        "log-latency",
        "append at half load, p50 and p99, against pwrite + fdatasync of the same bytes at that rate",
        latency::run,
    ),
    benchmark(
        "log-writers",
        "rows of 1,000 writers, a transaction each, against NATS JetStream and Kafka, synced each",
        writers::run,
    ),
    benchmark("log-proof", "append + sync with proofs, against the same without", provable::append),
    benchmark(
        "log-leaves",
        "transactions/s into the tree, tiles written, against Tessera's published figure",
        provable::leaves,
    ),
    benchmark(
        "log-read",
        "replay into batches of columns, warm and cold, against read(2) of the same files",
        read::run,
    ),
    benchmark(
        "log-recovery",
        "opening 10 GB after a crash and after a clean end, against read(2) of the last segment",
        recovery::run,
    ),
    benchmark(
        "log-scrub",
        "a scrub without a limit, checksums and proofs, against read(2) of the same files",
        scrub::run,
    ),
    benchmark(
        "log-size",
        "bytes on disk a row, against CSV and Parquet of the same rows",
        size::run,
    ),
];

const fn benchmark(
    name: &'static str,
    measures: &'static str,
    run: fn(Size) -> crate::Outcome,
) -> Benchmark {
    Benchmark { group: "log", name, measures, run }
}

/// Opens a log, as the product does.
fn open(dir: &Path) -> Maybe<Log> {
    Ok(Log::open(dir, LogOptions::default(), Arc::new(RealDisk), || 0)?.0)
}

/// Appends a group and waits until it is durable.
fn append_durably(log: &Log, group: &TransactionGroup) -> Maybe<()> {
    log.append_durably(group)?;
    Ok(())
}

/// Bytes as 10^6 of them.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
