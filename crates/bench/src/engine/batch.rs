//! The batch answer: the same query over the whole input, and whether a maintained view equals it.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use change::{ChangeBatch, TableName, TableSchema, consolidate};
use plan::Catalog;

use crate::Maybe;

/// Floats that differ by less than this part are the same: a batch sums them in another order.
const FLOAT_TOLERANCE: f64 = 1e-9;

/// Runs a query as a batch.
pub(crate) fn answer(
    query: &str,
    tables: &[Arc<TableSchema>],
    rows: Vec<(TableName, Vec<RecordBatch>)>,
) -> Maybe<ChangeBatch> {
    let catalog = Catalog { tables: tables.to_vec(), ..Catalog::default() };
    let script = plan::parse(&format!("create view v as {query}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let views = runtime.block_on(plan::run_batch(&script, &catalog, rows))?;
    let (_name, batches) = views.into_iter().next().ok_or("a script of one view")?;
    let schema = match batches.first() {
        Some(batch) => batch.schema(),
        None => {
            let program = plan::plan(&script, &catalog)?;
            Arc::clone(&program.views[0].schema)
        }
    };
    let batches: Vec<_> = batches.into_iter().map(ChangeBatch::inserts).collect();
    Ok(consolidate(&schema, &batches)?)
}

/// Gives a difference the fields of another schema with the same types.
pub(crate) fn renamed(
    difference: &ChangeBatch,
    schema: &SchemaRef,
) -> Result<ChangeBatch, ArrowError> {
    let columns = difference.rows().columns().to_vec();
    Ok(difference.with_rows(RecordBatch::try_new(Arc::clone(schema), columns)?))
}

/// Compares a view with the batch answer; both are consolidated.
pub(crate) fn same(view: &ChangeBatch, right: &ChangeBatch) -> Maybe<()> {
    let wrong = |what: String| Err(format!("wrong: {what}").into());
    if view.len() != right.len() {
        return wrong(format!("{} rows instead of {}", view.len(), right.len()));
    }
    if view.diffs() != right.diffs() {
        return wrong("rows are there another number of times".to_owned());
    }
    for (at, field) in right.schema().fields().iter().enumerate() {
        let (seen, right) = (view.rows().column(at), right.rows().column(at));
        let equal = if *field.data_type() == DataType::Float64 {
            let (seen, right) =
                (seen.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>());
            seen.iter().zip(right).all(|pair| match pair {
                (Some(a), Some(b)) => (a - b).abs() <= FLOAT_TOLERANCE * b.abs(),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            })
        } else {
            seen == right
        };
        if !equal {
            return wrong(format!("the column {} differs", field.name()));
        }
    }
    Ok(())
}
