//! Union of all rows: (A + ΔA) + (B + ΔB) = (A + B) + (ΔA + ΔB). Linear: changes pass through.

use arrow::datatypes::SchemaRef;
use change::ChangeBatch;

use crate::columns::{nullable, rename};
use crate::error::OperatorError;

/// The rows of all inputs.
pub(crate) struct Union {
    schema: SchemaRef,
}

impl Union {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { schema: nullable(schema) }
    }

    pub(super) fn push(&self, changes: &ChangeBatch) -> Result<ChangeBatch, OperatorError> {
        Ok(rename(changes, &self.schema)?)
    }
}
