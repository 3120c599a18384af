//! Consolidation: the sum of a collection's changes, each row once.
//!
//! Two lists of changes are the same change of a collection when, for every row, their diffs have the same sum.
//! The consolidated form is the smallest list of that kind, and it is unique: it is sorted, so equal changes give
//! equal bytes.

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::ChangeBatch;

/// Sums the diffs of equal rows, drops the rows whose sum is zero, and sorts what is left by row.
///
/// NULLs are equal to each other and sort first; NaNs are equal to each other; −0.0 and 0.0 are different rows.
///
/// # Errors
/// When a column has a type that Arrow's row format does not support, or the batches' schemas differ.
pub fn consolidate(schema: &SchemaRef, batches: &[ChangeBatch]) -> Result<ChangeBatch, ArrowError> {
    let all = ChangeBatch::concat(schema, batches)?;
    let rows = encode(all.rows())?;
    let mut order: Vec<u32> = (0..index(all.len())).collect();
    order.sort_by(|&a, &b| rows.row(a as usize).cmp(&rows.row(b as usize)));
    let (kept, diffs) = sum_runs(&rows, &order, all.diffs());
    let rows = take_record_batch(all.rows(), &UInt32Array::from(kept))?;
    Ok(ChangeBatch::new(rows, Int64Array::from(diffs)))
}

/// Encodes rows so that comparing bytes compares rows.
///
/// # Errors
/// When a column has a type that Arrow's row format does not support.
pub fn encode(rows: &RecordBatch) -> Result<Rows, ArrowError> {
    let fields =
        rows.schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    if rows.num_columns() == 0 {
        // The converter cannot count rows without columns; every such row is the same empty row.
        let mut empty = converter.empty_rows(0, 0);
        let parser = converter.parser();
        for _ in 0..rows.num_rows() {
            empty.push(parser.parse(&[]));
        }
        return Ok(empty);
    }
    converter.convert_columns(rows.columns())
}

fn sum_runs(rows: &Rows, order: &[u32], diffs: &[i64]) -> (Vec<u32>, Vec<i64>) {
    let (mut kept, mut sums) = (Vec::new(), Vec::new());
    for run in order.chunk_by(|&a, &b| rows.row(a as usize) == rows.row(b as usize)) {
        let sum: i64 = run.iter().map(|&row| diffs[row as usize]).sum();
        if sum != 0 {
            kept.push(run[0]);
            sums.push(sum);
        }
    }
    (kept, sums)
}

fn index(rows: usize) -> u32 {
    u32::try_from(rows).expect("a batch has fewer than 2^32 rows")
}
