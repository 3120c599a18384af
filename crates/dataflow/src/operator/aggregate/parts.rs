//! Aggregation in two phases, so that little travels between workers.
//!
//! Totals are sums of words, and the totals of a union are the sum of the totals of its parts. So each worker sums what
//! a step brought it, and sends, once for each group that it touched, the group's key and the words. The worker that
//! the group belongs to adds them up. What travels is as much as there are groups, however many rows there were; between
//! two steps the first phase holds nothing.
//!
//! For the same reason rows may be summed elsewhere, by another key, and their totals be added to a group's or taken
//! away again: see [`eager`](super::super::eager).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use plan::ir::AggregateCall;

use super::{Aggregate, Builder, FIRST, Found, ROWS, TOUCHED, weights};
use crate::arrangement::{TOUCHED_ROWS, Totals};
use crate::columns::{changes as batch_of, nullable};
use crate::error::OperatorError;
use crate::operator::{BuildError, EMIT_ROWS, Out};
use crate::state::State;

/// Which part of an aggregate's work is done at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// All of it.
    #[default]
    Single,
    /// A step's rows become parts of totals.
    Partial,
    /// Parts become totals, and totals results.
    Final,
}

/// What the first phase gives to the second: the columns of the key, and the words. `None` when totals do not suffice
/// for the results.
pub(crate) fn part_schema(
    input: &SchemaRef,
    calls: &[AggregateCall],
    key: &[Arc<Field>],
) -> Result<Option<SchemaRef>, BuildError> {
    let mut builder = Builder { input, arguments: Vec::new(), width: FIRST, only_grows: false };
    for call in calls {
        let call = builder.add(call)?;
        if !matches!(call.result, Found::Computed(..)) {
            return Ok(None);
        }
    }
    if builder.arguments.iter().any(|argument| argument.values.is_some()) {
        return Ok(None);
    }
    let bytes = i32::try_from(builder.width * 8).expect("a few hundred words");
    let words = Field::new("totals", DataType::FixedSizeBinary(bytes), false);
    let fields: Vec<_> = key.iter().map(Arc::clone).chain([Arc::new(words)]).collect();
    Ok(Some(nullable(&Arc::new(Schema::new(fields)))))
}

impl Aggregate {
    /// How many words a group's totals have.
    pub(in super::super) fn width(&self) -> usize {
        self.totals.width()
    }

    /// The word among totals that says how many rows they sum.
    pub(in super::super) fn rows_of(words: &mut [u64]) -> &mut u64 {
        &mut words[ROWS]
    }

    /// Adds rows to totals that are kept elsewhere, by numbers of their own. `count` is told of each number's words
    /// before and after the row was counted.
    pub(in super::super) fn sum(
        &self,
        totals: &mut Totals,
        numbers: &[u32],
        (columns, diffs): (&[ArrayRef], &[i64]),
        mut count: impl FnMut(u32, u64, u64),
    ) -> Result<(), OperatorError> {
        let mut summed = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            let column = argument.column.map(|column| &columns[column]);
            let filter = argument.filter.map(|filter| &columns[filter]);
            let counted = weights(diffs, column, filter);
            summed.push((&argument.totals, argument.terms(column)?, counted));
        }
        // A block's words stay in the cache from the first look to the last sum.
        for (block, numbers) in numbers.chunks(TOUCHED_ROWS).enumerate() {
            let first = block * TOUCHED_ROWS;
            totals.touch(numbers);
            for (&number, &diff) in numbers.iter().zip(&diffs[first..]) {
                let rows = &mut totals.get_mut(number)[ROWS];
                let before = *rows;
                *rows = before.wrapping_add_signed(diff);
                count(number, before, *rows);
            }
            for (of_argument, terms, counted) in &summed {
                for total in *of_argument {
                    total.add(totals, (numbers, first), terms, counted);
                }
            }
        }
        Ok(())
    }

    /// Adds rows whose groups' numbers are known.
    pub(in super::super) fn push_numbered(
        &mut self,
        groups: &[u32],
        columns: &[ArrayRef],
        diffs: &[i64],
    ) -> Result<(), OperatorError> {
        self.numbers.clear();
        self.numbers.extend_from_slice(groups);
        self.totals.reserve(groups.iter().max().map_or(0, |&group| group as usize + 1));
        self.touch(diffs);
        self.add_rows(columns, diffs)
    }

    /// Adds rows that were summed elsewhere to a group, as often as said.
    pub(in super::super) fn push_totals(&mut self, group: u32, words: &[u64], times: i64) {
        self.numbers.clear();
        self.numbers.push(group);
        self.totals.reserve(group as usize + 1);
        self.touch(&[words[ROWS].cast_signed().wrapping_mul(times)]);
        for total in self.arguments.iter().flat_map(|argument| &argument.totals) {
            total.join_times(self.totals.get_mut(group), words, times);
        }
    }

    /// The second phase: adds parts to the totals.
    pub(super) fn add_parts(
        &mut self,
        columns: &[ArrayRef],
        diffs: &[i64],
    ) -> Result<(), OperatorError> {
        self.find_groups(columns, diffs.len())?;
        let parts = columns[self.key_width()].as_fixed_size_binary();
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let words = |row| parts.value(row).chunks_exact(8).map(word);
        let rows = (0..diffs.len()).map(|row| words(row).nth(ROWS).unwrap_or_default());
        self.touch(&rows.map(u64::cast_signed).collect::<Vec<_>>());
        let mut part: Vec<u64> = Vec::new();
        for (row, &group) in self.numbers.iter().enumerate() {
            part.clear();
            part.extend(words(row));
            for total in self.arguments.iter().flat_map(|argument| &argument.totals) {
                total.join(self.totals.get_mut(group), &part);
            }
        }
        Ok(())
    }

    /// The first phase: gives out the parts of the groups that the step touched, and forgets them.
    pub(super) fn give_parts(&mut self, state: &State, out: &mut Out) -> Result<(), OperatorError> {
        let touched = std::mem::take(&mut self.touched);
        for groups in touched.chunks(EMIT_ROWS) {
            let mut changed = Vec::with_capacity(groups.len());
            for &group in groups {
                let words = self.totals.get_mut(group);
                words[TOUCHED] = 0;
                if words.iter().any(|&word| word != 0) {
                    changed.push(group);
                }
            }
            if !changed.is_empty() {
                let columns = self.parts(state, &changed)?;
                out.rows(batch_of(&self.schema, columns, vec![1; changed.len()])?);
            }
            changed.iter().for_each(|&group| self.totals.clear(group));
        }
        Ok(())
    }

    fn parts(&self, state: &State, groups: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut columns = self.keys(state, groups)?;
        let words = groups.iter().flat_map(|&group| self.totals.get(group));
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        let size = i32::try_from(bytes.len() / groups.len()).expect("a few hundred words");
        columns.push(Arc::new(FixedSizeBinaryArray::try_new(size, Buffer::from_vec(bytes), None)?));
        Ok(columns)
    }
}
