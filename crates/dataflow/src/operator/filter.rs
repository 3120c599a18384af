//! Filter: σ(A + Δ) = σ(A) + σ(Δ). Linear, so each change is judged alone.
//!
//! A row that goes is judged as it was when it came, because an expression sees nothing but its row.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;

use super::Out;
use crate::columns::{as_booleans, nullable, select};
use crate::error::OperatorError;
use crate::faulty::compute;

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

    pub(crate) fn push(&self, changes: &ChangeBatch, out: &mut Out) -> Result<(), OperatorError> {
        let computed = compute(std::slice::from_ref(&self.predicate), changes, out)?;
        // Where it failed stands NULL, which is not true.
        self.keep(changes, &as_booleans(&computed.columns[0]), out)
    }

    fn keep(
        &self,
        changes: &ChangeBatch,
        keep: &BooleanArray,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let kept = keep.true_count();
        if kept > 0 {
            let narrow = select(changes, &self.schema, &self.columns)?;
            out.rows(if kept == keep.len() { narrow } else { narrow.filter(keep)? });
        }
        Ok(())
    }
}
