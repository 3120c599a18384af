//! Project: π(A + Δ) = π(A) + π(Δ). Linear; columns that are passed on are not copied.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;

use super::Out;
use crate::columns::{batch, evaluate, nullable};
use crate::error::OperatorError;
use crate::faulty::sound_rows;

/// New columns computed from each row.
pub(crate) struct Project {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Project {
    pub(crate) fn new(expressions: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Self {
        Self { expressions: expressions.to_vec(), schema: nullable(schema) }
    }

    pub(crate) fn push(&self, changes: &ChangeBatch, out: &mut Out) -> Result<(), OperatorError> {
        let computed = match self.compute(changes) {
            Err(OperatorError::Evaluate { .. }) => {
                let sound = sound_rows(&self.expressions, changes, out)?;
                self.compute(&changes.filter(&sound)?)?
            }
            computed => computed?,
        };
        out.rows(computed);
        Ok(())
    }

    fn compute(&self, changes: &ChangeBatch) -> Result<ChangeBatch, OperatorError> {
        let column = |expression| evaluate(expression, changes.rows());
        let columns = self.expressions.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        Ok(changes.with_rows(batch(&self.schema, columns, changes.len())?))
    }
}
