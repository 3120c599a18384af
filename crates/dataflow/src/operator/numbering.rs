//! Numbering: beside each row, the number of its group.
//!
//! An aggregate over a join often groups by columns of one input whose rows meet many of the other: sums of orders by
//! the customers' region, the highest bid of each auction. The aggregate would look the key up again for every pair. It
//! is looked up here instead, once for each row that enters the join, and the pair carries a number; the aggregate
//! indexes its sums by it, and asks for the key only when it shows a group. The columns themselves need not pass
//! through the join at all.
//!
//! A number is held as long as a row has it, so a row that goes has the number that it came with; and all pairs of
//! the last such row are gone, by the end of the step, before the number is.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use change::ChangeBatch;

use crate::arrangement::{StateSize, Totals};
use crate::columns::{batch, nullable, pick};
use crate::error::OperatorError;
use crate::state::State;

/// Adds a column with the number of the row's group.
pub(crate) struct Numbering {
    /// The columns that make the group.
    columns: Vec<usize>,
    /// Whose numbers they are.
    space: usize,
    schema: SchemaRef,
    /// How many rows have each number.
    rows: Totals,
    numbers: Vec<u32>,
}

impl Numbering {
    /// Numbers the groups that `columns` make by a space; the result has `schema`.
    pub(crate) fn new(columns: Vec<usize>, space: usize, schema: &SchemaRef) -> Self {
        let (rows, numbers) = (Totals::new(1), Vec::new());
        Self { columns, space, schema: nullable(schema), rows, numbers }
    }

    pub(crate) fn push(
        &mut self,
        state: &mut State,
        changes: &ChangeBatch,
    ) -> Result<ChangeBatch, OperatorError> {
        let space = &mut state.spaces[self.space];
        let key = pick(changes.rows().columns(), &self.columns);
        space.resolve(&key, changes.len(), &mut self.numbers)?;
        self.rows.reserve(space.upper());
        for (&number, &diff) in self.numbers.iter().zip(changes.diffs()) {
            let rows = &mut self.rows.get_mut(number)[0];
            let before = *rows;
            *rows = before.wrapping_add_signed(diff);
            match (before, *rows) {
                (0, 0) => {}
                (0, _) => space.hold(number),
                (_, 0) => space.release(number),
                (_, _) => {}
            }
        }
        let mut columns = changes.rows().columns().to_vec();
        let numbers: ArrayRef = Arc::new(UInt32Array::from(self.numbers.clone()));
        columns.push(numbers);
        Ok(changes.with_rows(batch(&self.schema, columns, changes.len())?))
    }

    /// Whose numbers they are.
    pub(crate) fn space(&self) -> usize {
        self.space
    }

    /// What is held, the groups' keys among it.
    pub(crate) fn size(&self, state: &State) -> StateSize {
        state.spaces[self.space].size() + self.rows.size()
    }
}

/// A schema with a column of numbers behind the others.
pub(crate) fn numbered(schema: &SchemaRef) -> SchemaRef {
    let number = Arc::new(Field::new("group number", DataType::UInt32, true));
    let fields = schema.fields().iter().map(Arc::clone).chain([number]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
