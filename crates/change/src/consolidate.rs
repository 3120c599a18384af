//! Consolidation: the sum of a collection's changes, each row once.
//!
//! Two lists of changes are the same change of a collection when, for every row, their diffs have the same sum.
//! The consolidated form is the smallest list of that kind, and it is unique: it is sorted, so equal changes give
//! equal bytes.

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::ChangeBatch;
use crate::batch::take_rows;

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
    let rows = take_rows(all.rows(), &UInt32Array::from(kept))?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{AsArray, Float64Array, Int32Array, RecordBatchOptions, StringArray};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};
    use proptest::prelude::*;

    use super::*;

    fn schema() -> SchemaRef {
        let fields = [("number", DataType::Int32), ("text", DataType::Utf8)];
        Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec()))
    }

    type Row = (Option<i32>, Option<String>);

    fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
        let numbers: Int32Array = rows.iter().map(|((number, _), _)| *number).collect();
        let texts: StringArray = rows.iter().map(|((_, text), _)| text.clone()).collect();
        let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
        let diffs = rows.iter().map(|(_, diff)| *diff).collect();
        ChangeBatch::new(RecordBatch::try_new(schema(), columns).unwrap(), diffs)
    }

    fn rows(batch: &ChangeBatch) -> Vec<(Row, i64)> {
        let numbers = batch.rows().column(0).as_primitive::<Int32Type>();
        let texts = batch.rows().column(1).as_string::<i32>();
        let rows = numbers.iter().zip(texts.iter()).zip(batch.diffs());
        rows.map(|((number, text), diff)| ((number, text.map(str::to_owned)), *diff)).collect()
    }

    proptest! {
        #[test]
        fn consolidation_is_the_sorted_sum(
            changes in prop::collection::vec(
                ((prop::option::of(-3..3), prop::option::of("[ab]{0,2}")), -2_i64..3),
                0..60,
            ),
            cut in 0_usize..60,
        ) {
            let cut = cut.min(changes.len());
            let parts = [batch(&changes[..cut]), batch(&changes[cut..])];
            let result = consolidate(&schema(), &parts).unwrap();
            let mut sums: BTreeMap<Row, i64> = BTreeMap::new();
            for (row, diff) in changes {
                *sums.entry(row).or_default() += diff;
            }
            // None sorts before Some, as NULLs do here.
            let expected: Vec<_> = sums.into_iter().filter(|(_, sum)| *sum != 0).collect();
            prop_assert_eq!(rows(&result), expected);
        }
    }

    #[test]
    fn nan_is_one_value_and_the_zeros_are_two() {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
        let values = Float64Array::from(vec![f64::NAN, 0.0, f64::NAN, -0.0]);
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(values)]).unwrap();
        let changes = ChangeBatch::new(rows, vec![1, 1, 1, -1].into());
        let result = consolidate(&schema, &[changes]).unwrap();
        assert_eq!(result.diffs(), [-1, 1, 2]);
    }

    #[test]
    fn rows_without_columns_are_all_the_same() {
        let schema = Arc::new(Schema::empty());
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let rows =
            RecordBatch::try_new_with_options(Arc::clone(&schema), Vec::new(), &options).unwrap();
        let result = consolidate(&schema, &[ChangeBatch::inserts(rows)]).unwrap();
        assert_eq!(result.diffs(), [3]);
    }
}
