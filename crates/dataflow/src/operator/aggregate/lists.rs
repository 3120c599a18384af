//! The values of each group as a list or a text, in an order that the query gives.
//!
//! An element is kept behind its group's number and its order keys, so a group's elements lie together and in order: a
//! change finds its place in logarithmic time, and only showing a group walks all of it. Elements that the order keys
//! leave equal are in the order of their values; equal ones are kept once, with their count.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringBuilder, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use plan::ir::{AggregateCall, AggregateFunction};

use super::formula::Computed;
use crate::arrangement::{Codec, Floats, Ordered, StateSize};
use crate::columns::pick;

/// An ordered multiset of elements for each group.
pub(super) struct Lists {
    /// The columns of the order, then the value's.
    columns: Vec<usize>,
    codec: Codec,
    rows: Ordered,
    row: Vec<u8>,
    is_distinct: bool,
    /// What stands between the texts; `None` for a list.
    separator: Option<String>,
}

/// A list has fewer elements.
const ELEMENTS_MAX: usize = i32::MAX as usize;
const GROUP_BYTES: usize = 4;

impl Lists {
    pub(super) fn new(
        input: &SchemaRef,
        argument: usize,
        call: &AggregateCall,
    ) -> Result<Self, ArrowError> {
        let data_type = |column: usize| input.field(column).data_type().clone();
        let ordered = call.order.iter().map(|key| (key.column, key.options));
        let by: Vec<(usize, SortOptions)> =
            ordered.chain([(argument, SortOptions::default())]).collect();
        let fields = by.iter().map(|&(column, options)| (data_type(column), options)).collect();
        let is_text = call.function == AggregateFunction::StringAgg;
        Ok(Self {
            columns: by.iter().map(|&(column, _)| column).collect(),
            codec: Codec::sorted(fields, Floats::Kept)?,
            rows: Ordered::default(),
            row: Vec::new(),
            is_distinct: call.distinct,
            separator: is_text.then(|| call.separator.clone().unwrap_or_default()),
        })
    }

    /// Whether NULLs are elements.
    pub(super) fn has_nulls(&self) -> bool {
        self.separator.is_none()
    }

    /// Adds each row's element as often as its weight says.
    pub(super) fn add(
        &mut self,
        groups: &[u32],
        columns: &[ArrayRef],
        weights: &[i64],
    ) -> Result<(), ArrowError> {
        let encoded = self.codec.encode(&pick(columns, &self.columns))?;
        for (row, (&group, &weight)) in groups.iter().zip(weights).enumerate() {
            if weight != 0 {
                self.row.clear();
                self.row.extend_from_slice(&group.to_be_bytes());
                self.row.extend_from_slice(encoded.row(row));
                self.rows.add(&self.row, weight);
            }
        }
        Ok(())
    }

    /// The groups' lists or texts; NULL without elements.
    pub(super) fn results(
        &self,
        groups: &[u32],
        output: &DataType,
    ) -> Result<Computed, ArrowError> {
        let (mut rows, mut ends, mut overflows) = (Vec::new(), Vec::new(), Vec::new());
        for (at, group) in (0..).zip(groups) {
            let start = rows.len();
            let mut elements = 0_usize;
            let prefix = group.to_be_bytes();
            for (row, count) in self.rows.within(&prefix) {
                let count = if self.is_distinct { 1 } else { count.max(0) };
                elements = elements.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
                if start + elements > ELEMENTS_MAX {
                    rows.truncate(start);
                    overflows.push(at);
                    break;
                }
                let copies = elements - (rows.len() - start);
                rows.extend(std::iter::repeat_n(row, copies));
            }
            ends.push(rows.len());
        }
        let values = self.codec.decode(rows.iter().map(|row| &row[GROUP_BYTES..]))?;
        let values = values.into_iter().next_back().expect("the value is the last column");
        let column = match &self.separator {
            Some(separator) => texts(&values, &ends, separator, output)?,
            None => lists(values, &ends, output)?,
        };
        Ok(Computed { column, overflows })
    }

    pub(super) fn size(&self) -> StateSize {
        self.rows.size()
    }
}

/// Joins texts, cut as lists are, with a separator between; NULL stands for none.
pub(crate) fn texts(
    values: &ArrayRef,
    ends: &[usize],
    separator: &str,
    output: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let values = cast(values, &DataType::LargeUtf8)?;
    let values = values.as_string::<i64>();
    let mut builder = LargeStringBuilder::new();
    let mut text = String::new();
    let mut start = 0;
    for &end in ends {
        if start == end {
            builder.append_null();
            continue;
        }
        text.clear();
        for at in start..end {
            if at > start {
                text.push_str(separator);
            }
            text.push_str(values.value(at));
        }
        builder.append_value(&text);
        start = end;
    }
    let column: ArrayRef = Arc::new(builder.finish());
    cast(&column, output)
}

/// Cuts values into lists; NULL stands for a list without elements.
#[allow(clippy::wildcard_enum_match_arm, reason = "Arrow has 40 types, one of which is a list")]
pub(crate) fn lists(
    values: ArrayRef,
    ends: &[usize],
    output: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let (DataType::List(field) | DataType::LargeList(field)) = output else {
        return Err(ArrowError::InvalidArgumentError(format!("a list cannot be of type {output}")));
    };
    let is_typed = values.data_type() == field.data_type();
    let values = if is_typed { values } else { cast(&values, field.data_type())? };
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let lengths: Vec<usize> = starts.zip(ends).map(|(start, end)| end - start).collect();
    let present: NullBuffer = lengths.iter().map(|&length| length > 0).collect();
    let offsets = OffsetBuffer::from_lengths(lengths);
    let field = Arc::new(field.as_ref().clone().with_nullable(true));
    let list: ArrayRef = Arc::new(ListArray::try_new(field, offsets, values, Some(present))?);
    if list.data_type() == output { Ok(list) } else { cast(&list, output) }
}
