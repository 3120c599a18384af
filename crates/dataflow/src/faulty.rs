//! Rows that could not be computed, as text for the person who mends them.
//!
//! An expression is evaluated for a whole batch. When that fails, the batch is halved until the rows that are to blame
//! are found; they become faults, and the others go on. An expression sees nothing but its row, so a row that goes
//! fails as it did when it came, and takes its fault back.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::OperatorError;
use crate::operator::{Fault, Out};

/// Finds the rows for which all expressions can be computed, and makes faults of the others.
pub(crate) fn sound_rows(
    expressions: &[Arc<dyn PhysicalExpr>],
    changes: &ChangeBatch,
    out: &mut Out,
) -> Result<BooleanArray, OperatorError> {
    let mut sound = vec![true; changes.len()];
    for expression in expressions {
        let mut blamed = Vec::new();
        blame(expression, changes.rows(), 0, &mut blamed);
        for (row, message) in blamed {
            if std::mem::replace(&mut sound[row], false) {
                let text = rows_as_json(&changes.rows().slice(row, 1))?.concat();
                let (expression, diff) = (shown(&expression.to_string()), changes.diffs()[row]);
                out.faults.push(Fault { expression, row: text, message, diff });
            }
        }
    }
    Ok(sound.into())
}

/// Adds the rows, counted from `first`, for which an expression fails, with what it says.
fn blame(
    expression: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
    first: usize,
    blamed: &mut Vec<(usize, String)>,
) {
    let evaluated =
        expression.evaluate(rows).and_then(|value| value.into_array_of_size(rows.num_rows()));
    let Err(error) = evaluated else { return };
    if rows.num_rows() <= 1 {
        blamed.push((first, error.find_root().strip_backtrace()));
        return;
    }
    let half = rows.num_rows() / 2;
    blame(expression, &rows.slice(0, half), first, blamed);
    blame(expression, &rows.slice(half, rows.num_rows() - half), first + half, blamed);
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
