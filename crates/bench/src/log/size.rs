//! The bytes on disk of a row, beside the CSV and the Parquet of the same rows.
//!
//! The rows are TPC-H's. In the log they are in groups of 1,000, once as one transaction, as a backfill writes them, and
//! once as a transaction each, as applications do. Parquet is written by DuckDB, with its own settings but the codec.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::input::group;
use super::open;
use super::provable::notary;
use crate::engine::tpch::data::{Table, tables};
use crate::engine::tpch::duckdb;
use crate::figure::Figure;
use crate::{Maybe, Outcome, Size};

const GROUP_ROWS: usize = 1_000;

/// Measures a narrow and a wide table.
pub(crate) fn run(size: Size) -> Outcome {
    let mut figures = Vec::new();
    for table in tables(size.of(0.1, 0.01), 0)? {
        let name = &*table.schema.name().table;
        if matches!(name, "orders" | "lineitem") {
            measure(&format!("log-size-{name}"), &table, &mut figures)?;
        }
    }
    Ok(figures)
}

fn measure(name: &str, table: &Table, figures: &mut Vec<Figure>) -> Maybe<()> {
    let rows = concat_batches(table.schema.columns(), &table.refreshed)?;
    let of_row = |bytes: u64| bytes as f64 / rows.num_rows() as f64;
    let whole = of_row(written(&rows, 1, Proofs::None)?);
    let directory = tempfile::tempdir()?;
    let csv = of_row(duckdb::write_csv(directory.path(), table)?);
    let figure = |name: String, value| Figure::alone(name, value, "bytes/row");
    figures.push(figure(name.to_owned(), whole).beside("CSV", csv));
    for (codec, peer) in [("snappy", "Parquet, snappy"), ("zstd", "Parquet, zstd")] {
        figures.push(match duckdb::parquet(directory.path(), table, codec) {
            Ok(bytes) => figure(name.to_owned(), whole).beside(peer, of_row(bytes)),
            Err(why) => Figure::lacking(name, format!("{peer}: {why}")),
        });
    }
    for (ending, proofs) in [("single", Proofs::None), ("single-proofs", Proofs::All)] {
        let single = of_row(written(&rows, GROUP_ROWS, proofs)?);
        figures.push(figure(format!("{name}-{ending}"), single).beside("CSV", csv));
    }
    Ok(())
}

/// Whether a log has proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proofs {
    None,
    All,
}

/// The bytes of all files of a log with these rows, in so many transactions a group.
fn written(rows: &RecordBatch, transactions: usize, proofs: Proofs) -> Maybe<u64> {
    let directory = tempfile::tempdir()?;
    let log = open(directory.path())?;
    if proofs == Proofs::All {
        log.start_notary(notary()?)?;
    }
    let mut at = 0;
    while at < rows.num_rows() {
        let slice = rows.slice(at, GROUP_ROWS.min(rows.num_rows() - at));
        let transactions = transactions.min(slice.num_rows());
        log.append(&group("t", &slice, transactions), Box::new(drop))?;
        at += slice.num_rows();
    }
    log.close();
    if log.stat().rows != rows.num_rows() as u64 {
        return Err("not all rows are in the log".into());
    }
    bytes(directory.path())
}

/// The bytes of all files in a directory, and in those below it.
fn bytes(dir: &Path) -> Maybe<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.metadata()?;
        sum += if file.is_dir() { bytes(&entry.path())? } else { file.len() };
    }
    Ok(sum)
}
