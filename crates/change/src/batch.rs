//! Rows and their diffs: how changes travel in memory.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, filter, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

/// The diff of a row that says: every earlier row of this table is gone. Its columns are all NULL.
///
/// It occurs only between a source and the dataflow's table inputs, which turn it into exact retractions.
pub const TRUNCATE: i64 = i64::MIN;

/// The column name under which diffs travel when a batch is flattened.
pub const DIFF_COLUMN: &str = "_diff";

/// Rows, and for each a diff: +n appeared n times, −n went n times.
///
/// Invariant: `rows.num_rows() == diffs.len()`, and no diff is NULL.
/// Rows need not be sorted, and the same row may occur several times, unless a function says that it consolidates.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeBatch {
    rows: RecordBatch,
    diffs: Int64Array,
}

impl ChangeBatch {
    /// Joins rows with their diffs.
    ///
    /// # Panics
    /// When the lengths differ or a diff is NULL: the caller built the batch wrongly.
    #[must_use]
    pub fn new(rows: RecordBatch, diffs: Int64Array) -> Self {
        assert_eq!(rows.num_rows(), diffs.len(), "every row has a diff");
        assert_eq!(diffs.null_count(), 0, "no diff is NULL");
        Self { rows, diffs }
    }

    /// Wraps rows that all appeared once.
    #[must_use]
    pub fn inserts(rows: RecordBatch) -> Self {
        let diffs = Int64Array::from_value(1, rows.num_rows());
        Self { rows, diffs }
    }

    /// Returns a batch without rows.
    #[must_use]
    pub fn empty(schema: SchemaRef) -> Self {
        Self { rows: RecordBatch::new_empty(schema), diffs: Int64Array::from_value(0, 0) }
    }

    /// The rows, without diffs.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The diffs, one a row.
    #[must_use]
    pub fn diffs(&self) -> &[i64] {
        self.diffs.values()
    }

    /// The diffs as an Arrow array.
    #[must_use]
    pub fn diff_array(&self) -> &Int64Array {
        &self.diffs
    }

    /// The schema of the rows, without the diffs.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// How many rows, counting each once whatever its diff.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the batch apart.
    #[must_use]
    pub fn into_parts(self) -> (RecordBatch, Int64Array) {
        (self.rows, self.diffs)
    }

    /// Returns the rows `[offset, offset + length)` without copying values.
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self { rows: self.rows.slice(offset, length), diffs: self.diffs.slice(offset, length) }
    }

    /// Returns the rows that `keep` marks. NULL means no.
    ///
    /// # Errors
    /// When `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self, ArrowError> {
        let rows = filter_record_batch(&self.rows, keep)?;
        let diffs = filter(&self.diffs, keep)?;
        Ok(Self { rows, diffs: as_diffs(&diffs) })
    }

    /// Returns the rows at `indices`, in that order.
    ///
    /// # Errors
    /// When an index is out of bounds.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self, ArrowError> {
        let rows = take_rows(&self.rows, indices)?;
        let diffs = take(&self.diffs, indices, None)?;
        Ok(Self { rows, diffs: as_diffs(&diffs) })
    }

    /// Returns the same rows with other columns, the diffs unchanged.
    ///
    /// # Panics
    /// When `rows` has another number of rows.
    #[must_use]
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        Self::new(rows, self.diffs.clone())
    }

    /// Returns the batch with every diff negated.
    ///
    /// # Panics
    /// When a diff is [`TRUNCATE`], which has no opposite.
    #[must_use]
    pub fn negated(&self) -> Self {
        let diffs =
            self.diffs.unary(|diff: i64| diff.checked_neg().expect("TRUNCATE has no opposite"));
        Self { rows: self.rows.clone(), diffs }
    }

    /// Returns one batch with the rows of all, in order.
    ///
    /// # Errors
    /// When the schemas differ, or the result would exceed Arrow's offsets.
    pub fn concat(schema: &SchemaRef, batches: &[Self]) -> Result<Self, ArrowError> {
        let rows = if schema.fields().is_empty() {
            rows_without_columns(schema, batches.iter().map(Self::len).sum())?
        } else {
            concat_batches(schema, batches.iter().map(|batch| &batch.rows))?
        };
        let diffs = batches.iter().flat_map(|batch| batch.diffs().iter().copied()).collect();
        Ok(Self { rows, diffs })
    }

    /// Returns the rows with their diffs as a last column named `_diff`.
    ///
    /// # Errors
    /// When Arrow refuses the columns; it does not for a valid batch.
    pub fn flatten(&self) -> Result<RecordBatch, ArrowError> {
        let schema = self.rows.schema();
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new(DIFF_COLUMN, DataType::Int64, false)));
        let mut columns = self.rows.columns().to_vec();
        columns.push(Arc::new(self.diffs.clone()));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    /// The bytes that the batch's buffers hold, shared buffers counted whole.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.diffs.get_array_memory_size()
    }
}

/// Returns the rows at `indices`, in that order, also of a batch without columns.
///
/// # Errors
/// When an index is out of bounds.
pub fn take_rows(rows: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch, ArrowError> {
    if rows.num_columns() == 0 {
        return rows_without_columns(&rows.schema(), indices.len());
    }
    take_record_batch(rows, indices)
}

/// Arrow's own kernels cannot count rows that have no columns.
fn rows_without_columns(schema: &SchemaRef, count: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::clone(schema), Vec::new(), &options)
}

fn as_diffs(array: &dyn Array) -> Int64Array {
    array.as_any().downcast_ref::<Int64Array>().expect("diffs are Int64").clone()
}
