//! Top-k: the rows `[offset, offset + limit)` of an order.
//!
//! The order is total: the order keys, then every other column ascending with NULLs first, so equal rows are the only
//! ties and it does not matter which of them is kept. All rows lie in an [`Ordered`] arrangement, because any row may
//! move into the window when one before it goes. With W(A) the window's rows, a step emits W(A + Δ) − W(A), where W(A)
//! is what was shown last. Without a limit the window is all but the first `offset` rows, so a step emits
//! Δ − (F(A + Δ) − F(A)), with F the first `offset` rows: the part that is remembered stays small.

use std::cmp::Ordering;

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use change::ChangeBatch;
use plan::ir::OrderKey;

use super::{BuildError, Out};
use crate::arrangement::{Codec, Floats, Ordered, StateSize};
use crate::columns::{changes as batch_of, nullable, pick};
use crate::error::OperatorError;

/// The rows of a window of an order.
pub(crate) struct TopK {
    schema: SchemaRef,
    /// The columns in the order in which they are compared.
    compared: Vec<usize>,
    /// For each column, where it lies among the compared ones.
    positions: Vec<usize>,
    codec: Codec,
    rows: Ordered,
    window: Window,
    /// The rows of the window that are shown, in order.
    shown: Vec<(Box<[u8]>, i64)>,
    /// The first row that changed in this step.
    first_changed: Option<Box<[u8]>>,
}

/// Which rows are watched, and what they mean.
#[derive(Clone, Copy)]
enum Window {
    /// The rows from `skip` on, `take` of them, are the output.
    Kept { skip: usize, take: usize },
    /// The first rows are what the output lacks.
    Dropped { take: usize },
}

impl TopK {
    pub(super) fn new(
        schema: &SchemaRef,
        order: &[OrderKey],
        offset: usize,
        limit: Option<usize>,
    ) -> Result<Self, BuildError> {
        let mut compared: Vec<usize> = Vec::new();
        let mut fields = Vec::new();
        let ascending = SortOptions { descending: false, nulls_first: true };
        let data_type = |column: usize| -> DataType { schema.field(column).data_type().clone() };
        for key in order {
            if !compared.contains(&key.column) {
                compared.push(key.column);
                fields.push((data_type(key.column), key.options));
            }
        }
        for column in 0..schema.fields().len() {
            if !compared.contains(&column) {
                compared.push(column);
                fields.push((data_type(column), ascending));
            }
        }
        let position = |column| {
            compared.iter().position(|&other| other == column).expect("every column is compared")
        };
        Ok(Self {
            schema: nullable(schema),
            positions: (0..compared.len()).map(position).collect(),
            compared,
            codec: Codec::sorted(fields, Floats::Kept)?,
            rows: Ordered::default(),
            window: match limit {
                Some(take) => Window::Kept { skip: offset, take },
                None => Window::Dropped { take: offset },
            },
            shown: Vec::new(),
            first_changed: None,
        })
    }

    /// Takes changes in. Without a limit they show at once, and `finish` takes back what the offset skips.
    pub(super) fn push(
        &mut self,
        changes: &ChangeBatch,
    ) -> Result<Option<ChangeBatch>, OperatorError> {
        let passed = match self.window {
            Window::Kept { .. } => None,
            Window::Dropped { take: 0 } => return Ok(Some(changes.clone())),
            Window::Dropped { .. } => Some(changes.clone()),
        };
        let encoded = self.codec.encode(&pick(changes.rows().columns(), &self.compared))?;
        for (row, &diff) in changes.diffs().iter().enumerate() {
            let bytes = encoded.row(row);
            self.rows.add(bytes, diff);
            if self.first_changed.as_ref().is_none_or(|first| bytes < &**first) {
                self.first_changed = Some(bytes.into());
            }
        }
        Ok(passed)
    }

    pub(super) fn finish(&mut self, out: &mut Out) -> Result<(), OperatorError> {
        let Some(first) = self.first_changed.take() else {
            return Ok(());
        };
        let (skip, take, sign) = match self.window {
            Window::Kept { skip, take } => (skip, take, 1),
            Window::Dropped { take } => (0, take, -1),
        };
        if self.is_behind_window(&first, take) {
            return Ok(());
        }
        let now = window(&self.rows, skip, take);
        let changed = difference(&self.shown, &now);
        if !changed.is_empty() {
            let columns = self.codec.decode(changed.iter().map(|&(row, _)| row))?;
            let columns: Vec<ArrayRef> = pick(&columns, &self.positions);
            let diffs = changed.iter().map(|&(_, diff)| diff * sign).collect();
            out.rows(batch_of(&self.schema, columns, diffs)?);
        }
        self.shown = now;
        Ok(())
    }

    /// Whether the window is full and ends before the row.
    fn is_behind_window(&self, row: &[u8], take: usize) -> bool {
        let Some((last, _)) = self.shown.last() else {
            return take == 0;
        };
        let rows: i64 = self.shown.iter().map(|(_, count)| count).sum();
        usize::try_from(rows) == Ok(take) && row > &**last
    }

    pub(super) fn size(&self) -> StateSize {
        let shown: usize = self.shown.iter().map(|(row, _)| row.len() + 24).sum();
        self.rows.size() + StateSize { rows: 0, bytes: shown }
    }
}

/// The rows `[skip, skip + take)`, equal ones once with their count.
fn window(rows: &Ordered, skip: usize, take: usize) -> Vec<(Box<[u8]>, i64)> {
    let (mut skip, mut take) = (skip, take);
    let mut window = Vec::new();
    for (row, count) in rows.iter() {
        if take == 0 {
            break;
        }
        let count = usize::try_from(count).expect("counts of rows that are there are positive");
        let skipped = count.min(skip);
        let taken = (count - skipped).min(take);
        skip -= skipped;
        take -= taken;
        if taken > 0 {
            window.push((row.into(), taken.cast_signed() as i64));
        }
    }
    window
}

/// What must be added to `before` to make it `after`; both are sorted.
fn difference<'a>(
    before: &'a [(Box<[u8]>, i64)],
    after: &'a [(Box<[u8]>, i64)],
) -> Vec<(&'a [u8], i64)> {
    let (mut left, mut right) = (before.iter().peekable(), after.iter().peekable());
    let mut changed = Vec::new();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return changed,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let gone = if order.is_le() { left.next() } else { None };
        let come = if order.is_ge() { right.next() } else { None };
        let diff = come.map_or(0, |(_, count)| *count) - gone.map_or(0, |(_, count)| *count);
        if let Some((row, _)) = gone.or(come).filter(|_| diff != 0) {
            changed.push((&**row, diff));
        }
    }
}
