//! Batches of columns, also of none: `count(*)` needs no column, only the number of rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{ArrowNativeType, DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use change::ChangeBatch;

/// Joins columns to a batch of `rows` rows.
pub(crate) fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Joins columns and diffs to a batch of changes.
pub(crate) fn changes(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    diffs: Vec<i64>,
) -> Result<ChangeBatch, ArrowError> {
    let rows = batch(schema, columns, diffs.len())?;
    Ok(ChangeBatch::new(rows, Int64Array::from(diffs)))
}

/// Returns the rows at `indices` of each column.
pub(crate) fn take_rows(
    columns: &[ArrayRef],
    indices: &UInt32Array,
) -> Result<Vec<ArrayRef>, ArrowError> {
    columns.iter().map(|column| take(column, indices, None)).collect()
}

/// Returns the columns at `positions`.
pub(crate) fn pick(columns: &[ArrayRef], positions: &[usize]) -> Vec<ArrayRef> {
    positions.iter().map(|&position| Arc::clone(&columns[position])).collect()
}

/// Returns the same rows under another schema, with the columns at `positions`.
pub(crate) fn select(
    input: &ChangeBatch,
    schema: &SchemaRef,
    positions: &[usize],
) -> Result<ChangeBatch, ArrowError> {
    let columns = pick(input.rows().columns(), positions);
    Ok(input.with_rows(batch(schema, columns, input.len())?))
}

/// Returns the same rows under another schema with the same types.
pub(crate) fn rename(input: &ChangeBatch, schema: &SchemaRef) -> Result<ChangeBatch, ArrowError> {
    if input.rows().schema_ref() == schema {
        return Ok(input.clone());
    }
    Ok(input.with_rows(batch(schema, input.rows().columns().to_vec(), input.len())?))
}

/// Returns the schema with every column nullable: what a plan claims about NULLs is not relied on.
pub(crate) fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The bytes of the widest row in columns without a fixed width, or a little more.
pub(crate) fn widest(columns: &[ArrayRef]) -> usize {
    fn longest<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
        let lengths = offsets.windows(2).map(|ends| ends[1] - ends[0]);
        lengths.max().map_or(0, |length| length.as_usize())
    }
    let column = |column: &ArrayRef| {
        if let Some(texts) = column.as_string_opt::<i32>() {
            longest(texts.value_offsets())
        } else if let Some(bytes) = column.as_binary_opt::<i32>() {
            longest(bytes.value_offsets())
        } else if let Some(lists) = column.as_list_opt::<i32>() {
            let element =
                lists.values().get_array_memory_size().div_ceil(lists.values().len().max(1));
            longest(lists.value_offsets()) * element
        } else if column.data_type().primitive_width().is_some()
            || matches!(column.data_type(), DataType::Boolean | DataType::Null)
        {
            0
        } else {
            column.get_array_memory_size().div_ceil(column.len().max(1))
        }
    };
    columns.iter().map(column).sum()
}

/// The bytes of all rows in columns without a fixed width, about.
pub(crate) fn texts_bytes(columns: &[ArrayRef]) -> usize {
    fn span<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
        let ends = offsets.first().zip(offsets.last());
        ends.map_or(0, |(first, last)| (*last - *first).as_usize())
    }
    let column = |column: &ArrayRef| {
        if let Some(texts) = column.as_string_opt::<i32>() {
            span(texts.value_offsets())
        } else if let Some(bytes) = column.as_binary_opt::<i32>() {
            span(bytes.value_offsets())
        } else {
            widest(std::slice::from_ref(column)) * column.len()
        }
    };
    columns.iter().map(column).sum()
}

/// The bytes of a row in columns without a fixed width, about.
pub(crate) fn text_bytes(columns: &[ArrayRef], row: usize) -> usize {
    let column = |column: &ArrayRef| {
        if let Some(texts) = column.as_string_opt::<i32>() {
            texts.value_length(row).as_usize()
        } else if let Some(bytes) = column.as_binary_opt::<i32>() {
            bytes.value_length(row).as_usize()
        } else {
            widest(&[column.slice(row, 1)])
        }
    };
    columns.iter().map(column).sum()
}

/// Reads a column of conditions; NULL means no. An untyped NULL holds for no row.
pub(crate) fn as_booleans(column: &ArrayRef) -> BooleanArray {
    match column.as_any().downcast_ref::<BooleanArray>() {
        Some(booleans) => booleans.clone(),
        None => BooleanArray::from(vec![false; column.len()]),
    }
}
