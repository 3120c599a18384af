//! A view's rows as one short text: the same for the same rows, whatever their order and whoever computed them.
//!
//! The digest is the sum of the SHA-256 of each row's JSON, modulo 2^256, each row counted as often as it is there. So
//! rows need not be sorted, and two processes that hold the same rows in other pages say the same. It finds what went
//! wrong by itself; it does not withstand somebody who looks for other rows with the same sum. (What withstands him is the
//! log's tree, and views follow from the log.)
//!
//! Zeros of floats have no sign here: which of two equal values a group shows may depend on how it came about.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use sha2::{Digest as _, Sha256};

use crate::error::ViewError;
use crate::json::RowWriter;
use crate::page::Page;
use crate::snapshot::Snapshot;

impl Snapshot {
    /// A hash of the view's rows that does not depend on their order, in hexadecimal digits.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn digest(&self, view: &str) -> Result<String, ViewError> {
        let mut sum = [0_u64; 4];
        for page in &self.view(view)?.pages {
            add_page(&mut sum, page)?;
        }
        Ok(sum.iter().rev().map(|part| format!("{part:016x}")).collect())
    }
}

fn add_page(sum: &mut [u64; 4], page: &Page) -> Result<(), ArrowError> {
    let writer = RowWriter::new(&without_signs(page.rows())?);
    let mut text = Vec::new();
    let mut last = None;
    for slot in page.slots() {
        let hash = match last {
            // A row that is there several times comes that often.
            Some((same, hash)) if same == slot => hash,
            Some(_) | None => {
                text.clear();
                writer.row(slot as usize, &mut text);
                let hash: [u8; 32] = Sha256::digest(&text).into();
                hash
            }
        };
        last = Some((slot, hash));
        add(sum, &hash);
    }
    Ok(())
}

/// Adds a number of 256 bits to another; what does not fit is dropped.
fn add(sum: &mut [u64; 4], hash: &[u8; 32]) {
    let mut carry = false;
    for (part, bytes) in sum.iter_mut().zip(hash.as_chunks::<8>().0) {
        let (one, first) = part.overflowing_add(u64::from_le_bytes(*bytes));
        let (both, second) = one.overflowing_add(u64::from(carry));
        (*part, carry) = (both, first || second);
    }
}

/// The same rows; zeros of floats have no sign.
fn without_signs(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(|column| -> ArrayRef {
        #[expect(clippy::wildcard_enum_match_arm, reason = "other types have no signed zeros")]
        match column.data_type() {
            DataType::Float32 => {
                Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(|x| x + 0.0))
            }
            DataType::Float64 => {
                Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| x + 0.0))
            }
            _ => Arc::clone(column),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns.collect(), &options)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array};
    use arrow::datatypes::{Field, Schema};
    use change::{ChangeBatch, Time};

    use super::*;
    use crate::{ViewInfo, Views};

    fn changes(rows: &[(i64, f64, i64)]) -> ChangeBatch {
        let column = |column: ArrayRef| column;
        let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
        let values = Float64Array::from_iter_values(rows.iter().map(|row| row.1));
        let fields = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("value", DataType::Float64, true),
        ];
        let columns = vec![column(Arc::new(ids)), column(Arc::new(values))];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        ChangeBatch::new(batch, Int64Array::from_iter_values(rows.iter().map(|row| row.2)))
    }

    fn digest(steps: &[&[(i64, f64, i64)]]) -> String {
        let schema = changes(&[]).schema();
        let info = ViewInfo { name: "v".into(), schema, key: Vec::new(), order: Vec::new() };
        let views = Views::new(vec![info]);
        for (time, step) in (1..).zip(steps) {
            views.apply(Time(time), vec![(0, changes(step))]).unwrap();
        }
        views.snapshot().digest("v").unwrap()
    }

    #[test]
    fn a_digest_is_of_the_rows_and_not_of_how_they_came() {
        let one = digest(&[&[(1, 0.5, 1), (2, 0.0, 2)]]);
        assert_eq!(one.len(), 64);
        assert_eq!(digest(&[&[(2, -0.0, 1)], &[(1, 0.5, 1)], &[(2, -0.0, 1)]]), one);
        let gone = digest(&[&[(1, 0.5, 1), (2, 0.0, 2), (3, 9.0, 1)], &[(3, 9.0, -1)]]);
        assert_eq!(gone, one);
        assert_ne!(digest(&[&[(1, 0.5, 1), (2, 0.0, 1)]]), one, "once less");
        assert_ne!(digest(&[&[(1, 0.25, 1), (2, 0.0, 2)]]), one, "another value");
        assert_eq!(digest(&[]), "0".repeat(64));
    }

    #[test]
    fn sums_carry_and_wrap() {
        let mut sum = [u64::MAX; 4];
        let mut one = [0; 32];
        one[0] = 1;
        add(&mut sum, &one);
        assert_eq!(sum, [0; 4]);
        sum = [u64::MAX, 0, 0, 0];
        add(&mut sum, &[0xff; 32]);
        assert_eq!(sum, [u64::MAX - 1, 0, 0, 0]);
    }
}
