//! Distinct: each row once, as long as its count is above zero.
//!
//! Not linear: whether one more row shows depends on how many there are. So the counts are summed while changes come,
//! and at the step's end each touched row is compared with what was shown: +1 when it appeared, −1 when it went.

use arrow::datatypes::{DataType, SchemaRef};
use change::ChangeBatch;

use super::{BuildError, EMIT_ROWS, Out};
use crate::arrangement::{Floats, Keys, Nulls, StateSize, Totals};
use crate::columns::{changes as batch_of, nullable};
use crate::error::OperatorError;

/// The word with a row's count.
const COUNT: usize = 0;
/// The word that is 1 when the row is shown.
const SHOWN: usize = 1;
/// The word that is 1 when the row was touched in this step.
const TOUCHED: usize = 2;

/// Each row once.
pub(crate) struct Distinct {
    schema: SchemaRef,
    rows: Keys,
    totals: Totals,
    touched: Vec<u32>,
    numbers: Vec<u32>,
}

impl Distinct {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, BuildError> {
        let types: Vec<DataType> =
            schema.fields().iter().map(|field| field.data_type().clone()).collect();
        Ok(Self {
            schema: nullable(schema),
            rows: Keys::new(&types, Nulls::Equal, Floats::Folded)?,
            totals: Totals::new(3),
            touched: Vec::new(),
            numbers: Vec::new(),
        })
    }

    pub(super) fn push(&mut self, changes: &ChangeBatch) -> Result<(), OperatorError> {
        self.rows.resolve(changes.rows().columns(), changes.len(), &mut self.numbers)?;
        self.totals.reserve(self.rows.upper());
        for (&row, &diff) in self.numbers.iter().zip(changes.diffs()) {
            let words = self.totals.get_mut(row);
            words[COUNT] = words[COUNT].wrapping_add_signed(diff);
            if words[TOUCHED] == 0 {
                words[TOUCHED] = 1;
                self.touched.push(row);
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, out: &mut Out) -> Result<(), OperatorError> {
        let (mut changed, mut diffs, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for row in self.touched.drain(..) {
            let words = self.totals.get_mut(row);
            words[TOUCHED] = 0;
            let shows = words[COUNT].cast_signed() > 0;
            if shows != (words[SHOWN] == 1) {
                changed.push(row);
                diffs.push(if shows { 1 } else { -1 });
                words[SHOWN] = u64::from(shows);
            }
            if words[COUNT] == 0 {
                gone.push(row);
            }
        }
        for (changed, diffs) in changed.chunks(EMIT_ROWS).zip(diffs.chunks(EMIT_ROWS)) {
            out.rows(batch_of(&self.schema, self.rows.columns(changed)?, diffs.to_vec())?);
        }
        for row in gone {
            self.rows.release(row);
        }
        Ok(())
    }

    pub(super) fn size(&self) -> StateSize {
        self.rows.size() + self.totals.size()
    }
}
