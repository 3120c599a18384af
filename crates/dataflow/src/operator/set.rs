//! Rows by their counts: each row once, rows of both sides, or of one without the other.
//!
//! With l and r how often a row is on the left and on the right, the result has it f(l, r) times:
//!
//! ```text
//!                 distinct              all
//! one side        1 if l > 0
//! intersect       1 if l > 0 < r        min(l, r)
//! except          1 if l > 0 = r        max(l − r, 0)
//! ```
//!
//! f is not linear, so both counts are summed while changes come, and at the step's end each touched row is compared
//! with how often it was shown. NULLs are equal, and so are −0.0 and 0.0.

use arrow::datatypes::{DataType, SchemaRef};
use change::ChangeBatch;
use plan::ir::SetOperation;

use super::{BuildError, EMIT_ROWS, Out};
use crate::arrangement::{Floats, Keys, Nulls, StateSize, Totals};
use crate::columns::{changes as batch_of, nullable};
use crate::error::OperatorError;

/// The words with a row's counts: the left's, then the right's.
const COUNTS: usize = 0;
/// The word with how often the row is shown.
const SHOWN: usize = 2;
/// The word that is 1 when the row was touched in this step.
const TOUCHED: usize = 3;

/// Rows as often as a function of their counts says.
pub(crate) struct Set {
    schema: SchemaRef,
    rule: Rule,
    rows: Keys,
    totals: Totals,
    touched: Vec<u32>,
    numbers: Vec<u32>,
}

/// How often the result has a row.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Once, when the only side has it.
    Distinct,
    /// As the operation on two sides says.
    Operation { operation: SetOperation, all: bool },
}

impl Set {
    pub(super) fn new(schema: &SchemaRef, rule: Rule) -> Result<Self, BuildError> {
        let types: Vec<DataType> =
            schema.fields().iter().map(|field| field.data_type().clone()).collect();
        Ok(Self {
            schema: nullable(schema),
            rule,
            rows: Keys::new(&types, Nulls::Equal, Floats::Folded)?,
            totals: Totals::new(TOUCHED + 1),
            touched: Vec::new(),
            numbers: Vec::new(),
        })
    }

    /// Counts the changes of one side.
    pub(super) fn push(&mut self, side: usize, changes: &ChangeBatch) -> Result<(), OperatorError> {
        self.rows.resolve(changes.rows().columns(), changes.len(), &mut self.numbers)?;
        self.totals.reserve(self.rows.upper());
        for (&row, &diff) in self.numbers.iter().zip(changes.diffs()) {
            let words = self.totals.get_mut(row);
            words[COUNTS + side] = words[COUNTS + side].wrapping_add_signed(diff);
            if words[TOUCHED] == 0 {
                words[TOUCHED] = 1;
                self.touched.push(row);
            }
        }
        Ok(())
    }

    /// Emits a part of what changed; returns whether there is more.
    pub(super) fn finish(&mut self, out: &mut Out) -> Result<bool, OperatorError> {
        let (mut changed, mut diffs, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let rest = self.touched.len().saturating_sub(EMIT_ROWS);
        for row in self.touched.split_off(rest) {
            let words = self.totals.get(row);
            let (left, right) = (words[COUNTS].cast_signed(), words[COUNTS + 1].cast_signed());
            let count = self.count(left, right);
            let words = self.totals.get_mut(row);
            words[TOUCHED] = 0;
            let diff = count.wrapping_sub(words[SHOWN].cast_signed());
            if diff != 0 {
                changed.push(row);
                diffs.push(diff);
                words[SHOWN] = count.cast_unsigned();
            }
            if left == 0 && right == 0 {
                gone.push(row);
            }
        }
        out.rows(batch_of(&self.schema, self.rows.columns(&changed)?, diffs)?);
        for row in gone {
            self.rows.release(row);
        }
        Ok(rest > 0)
    }

    /// How often the result has a row.
    fn count(&self, left: i64, right: i64) -> i64 {
        let (left, right) = (left.max(0), right.max(0));
        match self.rule {
            Rule::Distinct => i64::from(left > 0),
            Rule::Operation { operation: SetOperation::Intersect, all: true } => left.min(right),
            Rule::Operation { operation: SetOperation::Intersect, all: false } => {
                i64::from(left > 0 && right > 0)
            }
            Rule::Operation { operation: SetOperation::Except, all: true } => (left - right).max(0),
            Rule::Operation { operation: SetOperation::Except, all: false } => {
                i64::from(left > 0 && right == 0)
            }
        }
    }

    /// The operator's name.
    pub(super) fn name(&self) -> &'static str {
        match self.rule {
            Rule::Distinct => "distinct",
            Rule::Operation { .. } => "set",
        }
    }

    pub(super) fn size(&self) -> StateSize {
        self.rows.size() + self.totals.size()
    }
}
