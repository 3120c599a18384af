//! The oracle of a session: every maintained view is what its query gives as a batch over the same tables.
//!
//! Sums of floats depend on the order in which they are added; there, ten digits must agree.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use arrow::error::ArrowError;
use change::catalog::TABLES_SOURCE;
use change::{ChangeBatch, TableName, consolidate};
use view::text::CellWriter;

use crate::failure::Failure;
use crate::intent::Opened;
use crate::session::SessionError;
use crate::session::maintained::Maintained;

/// How many rows of a difference are shown.
const SHOWN_ROWS: usize = 20;

/// Compares every view with its query, unless one lacks rows or has stopped: then the batch fails on the same row.
pub(super) async fn verify(opened: &Opened, maintained: &[Maintained]) -> Result<(), Failure> {
    let fails = |one: &Maintained| one.has_stopped() || one.lacking_rows() > 0;
    if maintained.iter().any(fails) || maintained.iter().all(Maintained::is_table) {
        return Ok(());
    }
    let mut tables = Vec::new();
    for table in maintained.iter().filter(|one| one.is_table()) {
        tables.push((TableName::new(TABLES_SOURCE, table.name()), table.rows()?));
    }
    let catalogue = opened.catalogue.for_planner(opened.catalogue.tables()?);
    for (name, batch) in plan::run_batch(&plan::parse("")?, &catalogue, tables).await? {
        let Some(view) = maintained.iter().find(|one| one.name() == name) else { continue };
        let difference = difference(&view.rows()?, &batch);
        if let Some(difference) = difference.map_err(|error| Failure::View(error.into()))? {
            return Err(SessionError::Differs { view: name, difference }.into());
        }
    }
    Ok(())
}

/// What a view has too much (`+`) and too little (`-`); `None` when it is right.
fn difference(is: &[RecordBatch], should: &[RecordBatch]) -> Result<Option<String>, ArrowError> {
    let Some(schema) = is.first().or(should.first()).map(RecordBatch::schema) else {
        return Ok(None);
    };
    // Names and types are the plan's; what they are called plays no part here.
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(at, field)| {
        let wide = if field.data_type().is_floating() {
            DataType::Float64
        } else {
            field.data_type().clone()
        };
        Field::new(at.to_string(), wide, true)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let comparable = |batches: &[RecordBatch]| -> Result<ChangeBatch, ArrowError> {
        let mut same = Vec::new();
        for batch in batches {
            let columns = batch.columns().iter().map(shortened);
            let options =
                arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = columns.collect::<Result<_, _>>()?;
            same.push(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?);
        }
        Ok(ChangeBatch::inserts(concat_batches(&schema, &same)?))
    };
    let both = [comparable(is)?, comparable(should)?.negated()];
    let difference = consolidate(&schema, &both)?;
    if difference.is_empty() {
        return Ok(None);
    }
    let cells = CellWriter::new(difference.rows());
    let lines = difference.diffs().iter().enumerate().take(SHOWN_ROWS).map(|(row, diff)| {
        let cell = |column| cells.cell(row, column).unwrap_or_else(|| "NULL".to_owned());
        let row: Vec<String> = (0..schema.fields().len()).map(cell).collect();
        format!("  {diff:+} | {}", row.join(" | "))
    });
    Ok(Some(lines.collect::<Vec<_>>().join("\n")))
}

/// Floats with ten digits, zero without a sign; anything else as it is.
fn shortened(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !array.data_type().is_floating() {
        return Ok(Arc::clone(array));
    }
    let array = cast(array, &DataType::Float64)?;
    let shorten = |value: f64| format!("{value:.9e}").parse().unwrap_or(value) + 0.0;
    let shortened: Float64Array = array.as_primitive::<Float64Type>().unary(shorten);
    Ok(Arc::new(shortened))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f64]) -> Vec<RecordBatch> {
        let array = Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        let schema = Schema::new(vec![Field::new("value", DataType::Float64, true)]);
        vec![RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap()]
    }

    #[test]
    fn a_row_too_many_or_too_few_is_a_difference() {
        let differs = |is: &[f64], should: &[f64]| difference(&rows(is), &rows(should)).unwrap();
        assert_eq!(differs(&[1.0, 2.0], &[2.0, 1.0]), None);
        assert_eq!(differs(&[0.1 + 0.2, -0.0], &[0.3, 0.0]), None);
        assert_eq!(differs(&[1.0, 1.0], &[1.0]).unwrap(), "  +1 | 1");
        assert_eq!(differs(&[], &[1.0]).unwrap(), "  -1 | 1");
        assert!(differs(&[1.0], &[1.000_001]).is_some());
    }
}
