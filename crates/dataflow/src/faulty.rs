//! Rows that could not be computed, as text for the person who mends them.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};

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
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

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
