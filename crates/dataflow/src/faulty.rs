//! Rows that could not be computed, as text for the person who mends them.
//!
//! An expression is evaluated for a whole batch. When that fails, the halves are evaluated, and so on: what can be
//! computed is, and a row for which it fails alone becomes a fault. (A batch may fail although no row does: whether AND
//! looks at its right side depends on the whole batch.) A row that goes fails as it did when it came, and takes its
//! fault back.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::concat;
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use change::ChangeBatch;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use crate::error::OperatorError;
use crate::operator::{Fault, Out};

/// The values of expressions for the rows of a batch.
pub(crate) struct Computed {
    /// One column for each expression; NULL where it failed.
    pub(crate) columns: Vec<ArrayRef>,
    /// The rows for which all expressions could be computed; `None` when those are all rows.
    pub(crate) sound: Option<BooleanArray>,
}

/// Evaluates expressions for every row, and makes faults of the rows for which one fails.
pub(crate) fn compute(
    expressions: &[Arc<dyn PhysicalExpr>],
    changes: &ChangeBatch,
    out: &mut Out,
) -> Result<Computed, OperatorError> {
    let mut columns = Vec::with_capacity(expressions.len());
    let mut sound: Option<Vec<bool>> = None;
    for expression in expressions {
        let mut failed = Vec::new();
        let failure =
            |source| OperatorError::Evaluate { expression: shown(&expression.to_string()), source };
        columns.push(evaluate(expression, changes.rows(), 0, &mut failed).map_err(failure)?);
        if failed.is_empty() {
            continue;
        }
        let sound = sound.get_or_insert_with(|| vec![true; changes.len()]);
        for (row, message) in failed {
            if std::mem::replace(&mut sound[row], false) {
                out.faults.push(fault(expression, changes, row, message)?);
            }
        }
    }
    Ok(Computed { columns, sound: sound.map(BooleanArray::from) })
}

/// The fault of a row. All columns that reach the expression are shown, so that the row can be found, but for those that
/// the planner computed for others.
fn fault(
    expression: &Arc<dyn PhysicalExpr>,
    changes: &ChangeBatch,
    row: usize,
    message: String,
) -> Result<Fault, ArrowError> {
    let read: BTreeSet<usize> =
        collect_columns(expression).into_iter().map(|column| column.index()).collect();
    let schema = changes.schema();
    let is_shown = |at: &usize| read.contains(at) || !schema.field(*at).name().starts_with('\0');
    let columns: Vec<usize> = (0..schema.fields().len()).filter(is_shown).collect();
    let text = rows_as_json(&changes.rows().slice(row, 1).project(&columns)?)?.concat();
    let (expression, diff) = (shown(&expression.to_string()), changes.diffs()[row]);
    Ok(Fault { expression, row: text, message, diff })
}

/// Evaluates an expression, and adds the rows, counted from `first`, for which it fails, with what it says.
fn evaluate(
    expression: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
    first: usize,
    failed: &mut Vec<(usize, String)>,
) -> Result<ArrayRef, DataFusionError> {
    let count = rows.num_rows();
    match expression.evaluate(rows).and_then(|value| value.into_array_of_size(count)) {
        Ok(values) => Ok(values),
        Err(error) if count <= 1 => {
            failed.push((first, error.find_root().strip_backtrace()));
            Ok(new_null_array(&expression.data_type(&rows.schema())?, count))
        }
        Err(_some_row_fails) => {
            let half = count / 2;
            let left = evaluate(expression, &rows.slice(0, half), first, failed)?;
            let rest = rows.slice(half, count - half);
            let right = evaluate(expression, &rest, first + half, failed)?;
            Ok(concat(&[&left, &right])?)
        }
    }
}

/// The expression without the places of its columns, which only plans know.
fn shown(expression: &str) -> String {
    let mut shown = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some((before, behind)) = rest.split_once('@') {
        shown.push_str(before);
        let place = behind.trim_start_matches(|digit: char| digit.is_ascii_digit());
        if place.len() == behind.len() {
            shown.push('@');
        }
        rest = place;
    }
    shown.push_str(rest);
    shown
}

/// Returns each row as a JSON object, one member a column, NULLs said.
pub(crate) fn rows_as_json(rows: &RecordBatch) -> Result<Vec<String>, ArrowError> {
    if rows.num_columns() == 0 {
        return Ok(vec!["{}".to_owned(); rows.num_rows()]);
    }
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    let text = writer.into_inner();
    // Line ends within values are escaped.
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn an_expression_is_shown_without_places() {
        assert_eq!(shown("a@0 / b@12 + 'x@y'"), "a / b + 'x@y'");
    }

    #[test]
    fn a_row_is_an_object_with_all_its_columns() {
        let fields =
            [("n", DataType::Int64), ("d", DataType::Decimal128(5, 2)), ("t", DataType::Utf8)];
        let fields: Vec<Field> =
            fields.map(|(name, data_type)| Field::new(name, data_type, true)).into();
        let decimals = Decimal128Array::from(vec![Some(150), None]);
        let rows = RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            vec![
                Arc::new(Int64Array::from(vec![None, Some(7)])),
                Arc::new(decimals.with_precision_and_scale(5, 2).unwrap()),
                Arc::new(StringArray::from(vec!["a\n\"b\"", ""])),
            ],
        );
        let lines = rows_as_json(&rows.unwrap()).unwrap();
        assert_eq!(lines, [r#"{"n":null,"d":1.50,"t":"a\n\"b\""}"#, r#"{"n":7,"d":null,"t":""}"#]);
        let none = crate::columns::batch(&Arc::new(Schema::empty()), vec![], 2).unwrap();
        assert_eq!(rows_as_json(&none).unwrap(), ["{}", "{}"]);
    }
}
