//! Filter: σ(A + Δ) = σ(A) + σ(Δ). Linear, so each change is judged alone.
//!
//! A row that goes is judged as it was when it came, because an expression sees nothing but its row.

use std::sync::Arc;

use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;

use crate::columns::evaluate_condition;
use crate::error::OperatorError;

/// Rows for which a predicate is true.
pub(crate) struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
}

impl Filter {
    pub(super) fn new(predicate: &Arc<dyn PhysicalExpr>) -> Self {
        Self { predicate: Arc::clone(predicate) }
    }

    pub(super) fn push(&self, changes: &ChangeBatch) -> Result<Option<ChangeBatch>, OperatorError> {
        let keep = evaluate_condition(&self.predicate, changes.rows())?;
        match keep.true_count() {
            0 => Ok(None),
            all if all == keep.len() => Ok(Some(changes.clone())),
            _ => Ok(Some(changes.filter(&keep)?)),
        }
    }
}
