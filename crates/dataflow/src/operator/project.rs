//! Project: π(A + Δ) = π(A) + π(Δ). Linear; columns that are passed on are not copied.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;

use super::Out;
use crate::columns::{batch, nullable};
use crate::error::OperatorError;
use crate::faulty::{Computed, compute};

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
        let Computed { columns, sound } = compute(&self.expressions, changes, out)?;
        let computed = changes.with_rows(batch(&self.schema, columns, changes.len())?);
        out.rows(match sound {
            Some(sound) => computed.filter(&sound)?,
            None => computed,
        });
        Ok(())
    }
}
