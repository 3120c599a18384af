//! Filter: σ(A + Δ) = σ(A) + σ(Δ). Linear, so each change is judged alone.
//!
//! A row that goes is judged as it was when it came, because an expression sees nothing but its row.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;

use crate::columns::{evaluate_condition, nullable, select};
use crate::error::OperatorError;

/// Rows for which a predicate is true.
pub(crate) struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
    /// The columns that are passed on.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Filter {
    pub(crate) fn new(
        predicate: &Arc<dyn PhysicalExpr>,
        columns: Vec<usize>,
        schema: &SchemaRef,
    ) -> Self {
        Self { predicate: Arc::clone(predicate), columns, schema: nullable(schema) }
    }

    pub(crate) fn push(&self, changes: &ChangeBatch) -> Result<Option<ChangeBatch>, OperatorError> {
        let keep = evaluate_condition(&self.predicate, changes.rows())?;
        let kept = keep.true_count();
        if kept == 0 {
            return Ok(None);
        }
        let narrow = select(changes, &self.schema, &self.columns)?;
        Ok(Some(if kept == keep.len() { narrow } else { narrow.filter(&keep)? }))
    }
}
