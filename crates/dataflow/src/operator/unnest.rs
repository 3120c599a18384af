//! Unnest: one row for each element of a row's lists. Linear, so each change is taken apart alone.
//!
//! A row whose longest list has n elements becomes n rows: element i of each list, NULL where a list is shorter, and
//! the row's other values again and again. So the work is to find two lists of indices, one into the rows and one into
//! each list's elements, and Arrow takes the values.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use change::ChangeBatch;

use super::{BuildError, EMIT_ROWS, Out};
use crate::arrangement::number;
use crate::columns::{changes as batch_of, nullable};
use crate::error::OperatorError;

/// One row for each element of a row's lists.
pub(crate) struct Unnest {
    schema: SchemaRef,
    /// For each column that holds lists, their type.
    lists: Vec<Option<DataType>>,
}

/// Where the values of the next rows lie.
#[derive(Default)]
struct Taken {
    rows: Vec<u32>,
    /// For each list column, the elements.
    elements: Vec<Vec<Option<u32>>>,
}

impl Unnest {
    pub(super) fn new(
        input: &SchemaRef,
        lists: &[usize],
        schema: &SchemaRef,
    ) -> Result<Self, BuildError> {
        let mut types = vec![None; input.fields().len()];
        for &column in lists {
            let data_type = input.field(column).data_type();
            types[column] = Some(
                as_list(data_type)
                    .ok_or_else(|| BuildError::Unsupported(format!("unnest of {data_type}")))?,
            );
        }
        Ok(Self { schema: nullable(schema), lists: types })
    }

    pub(super) fn push(&self, changes: &ChangeBatch, out: &mut Out) -> Result<(), OperatorError> {
        let columns = changes.rows().columns();
        let listed = columns.iter().zip(&self.lists).filter_map(|(column, data_type)| {
            data_type.as_ref().map(|data_type| cast(column, data_type))
        });
        let arrays = listed.collect::<Result<Vec<_>, _>>()?;
        let lists: Vec<&ListArray> = arrays.iter().map(|list| list.as_list()).collect();
        let mut taken = Taken::of(lists.len());
        for row in 0..changes.len() {
            let elements: Vec<Range<u32>> =
                lists.iter().map(|list| elements_of(list, row)).collect();
            let longest = elements.iter().map(|range| range.end - range.start).max().unwrap_or(0);
            for at in 0..longest {
                taken.rows.push(number(row));
                for (list, range) in taken.elements.iter_mut().zip(&elements) {
                    list.push(Some(range.start + at).filter(|element| element < &range.end));
                }
                if taken.rows.len() == EMIT_ROWS {
                    let full = std::mem::replace(&mut taken, Taken::of(lists.len()));
                    self.emit(changes, &lists, full, out)?;
                }
            }
        }
        self.emit(changes, &lists, taken, out)
    }

    fn emit(
        &self,
        changes: &ChangeBatch,
        lists: &[&ListArray],
        taken: Taken,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let rows = UInt32Array::from(taken.rows);
        let mut elements = lists.iter().zip(taken.elements);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.lists.len());
        for (at, column) in changes.rows().columns().iter().enumerate() {
            let found = match &self.lists[at] {
                None => take(column, &rows, None)?,
                Some(_) => {
                    let (list, elements) = elements.next().expect("one list a list column");
                    take(list.values(), &UInt32Array::from(elements), None)?
                }
            };
            let wanted = self.schema.field(at).data_type();
            let is_typed = found.data_type() == wanted;
            columns.push(if is_typed { found } else { cast(&found, wanted)? });
        }
        let diffs = rows.values().iter().map(|&row| changes.diffs()[row as usize]).collect();
        out.rows(batch_of(&self.schema, columns, diffs)?);
        Ok(())
    }
}

impl Taken {
    fn of(lists: usize) -> Self {
        Self { rows: Vec::new(), elements: vec![Vec::new(); lists] }
    }
}

/// The list type that lists of a type are read as.
#[allow(clippy::wildcard_enum_match_arm, reason = "Arrow has 40 types, few of which are lists")]
fn as_list(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => Some(DataType::List(std::sync::Arc::clone(field))),
        _ => None,
    }
}

/// Where a row's elements lie among all; none for NULL.
fn elements_of(list: &ListArray, row: usize) -> Range<u32> {
    if list.is_null(row) {
        return 0..0;
    }
    let offsets = list.value_offsets();
    let index = |at: usize| u32::try_from(offsets[at]).expect("offsets are not negative");
    index(row)..index(row + 1)
}
