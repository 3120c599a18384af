//! Constant: rows that are always there. Their only change is the first step's, in which they appear.

use arrow::array::RecordBatch;
use change::ChangeBatch;

use super::{EMIT_ROWS, Out};
use crate::columns::{batch, nullable};
use crate::error::OperatorError;

/// Rows that are always there.
pub(crate) struct Constant {
    /// The rows, until the first step has shown them.
    rows: Option<RecordBatch>,
}

impl Constant {
    pub(super) fn new(rows: &RecordBatch) -> Self {
        Self { rows: Some(rows.clone()) }
    }

    pub(super) fn finish(&mut self, out: &mut Out) -> Result<(), OperatorError> {
        let Some(rows) = self.rows.take() else {
            return Ok(());
        };
        let rows = batch(&nullable(rows.schema_ref()), rows.columns().to_vec(), rows.num_rows())?;
        let changes = ChangeBatch::inserts(rows);
        for start in (0..changes.len()).step_by(EMIT_ROWS) {
            out.rows(changes.slice(start, EMIT_ROWS.min(changes.len() - start)));
        }
        Ok(())
    }
}
