//! Columns for people and programs: names, and types in PostgreSQL's words.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use arrow::error::ArrowError;
use change::{is_char, kept_as_text, logical_type};

use crate::api::Column;

/// The columns of a schema.
pub(crate) fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &Arc<Field>| Column { name: field.name().clone(), kind: type_name(field) };
    schema.fields().iter().map(column).collect()
}

/// The schema with every name once: a second `id` becomes `id_2`. Rows as objects need that.
pub(crate) fn with_unique_names(schema: &SchemaRef) -> SchemaRef {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut unique = |field: &Arc<Field>| {
        let again = (2..).map(|nth| format!("{}_{nth}", field.name()));
        let mut names = std::iter::once(field.name().clone()).chain(again);
        let name = names.find(|name| !taken.contains(name)).expect("numbers never end");
        taken.insert(name.clone());
        Arc::new(field.as_ref().clone().with_name(name))
    };
    let fields: Vec<_> = schema.fields().iter().map(&mut unique).collect();
    Arc::new(Schema::new(fields))
}

/// The same rows under a schema that differs in names only.
///
/// # Errors
/// When the types differ too.
pub(crate) fn renamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let count = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &count)
}

fn type_name(field: &Field) -> String {
    let Some(logical) = logical_type(field) else { return of_arrow(field.data_type()) };
    let (logical, list) = match logical.strip_suffix("[]") {
        Some(item) if matches!(field.data_type(), DataType::List(_)) => (item, "[]"),
        Some(_) | None => (logical, ""),
    };
    let name = match logical {
        "enum" => "text",
        "bpchar" => "character",
        logical => kept_as_text(logical).unwrap_or(logical),
    };
    let name =
        if is_char(logical) { name.replacen("bpchar(", "character(", 1) } else { name.into() };
    format!("{name}{list}")
}

fn of_arrow(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20,0)",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Duration(_)
        | DataType::Interval(
            IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano,
        ) => "interval",
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            return format!("numeric({precision},{scale})");
        }
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return format!("numeric({precision},{scale})");
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => return format!("{}[]", type_name(item)),
        DataType::Dictionary(_, values) => return of_arrow(values),
        DataType::RunEndEncoded(_, values) => return type_name(values),
        DataType::Struct(_) | DataType::Map(_, _) | DataType::Union(_, _) => "json",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use change::with_logical_type;

    use super::*;

    #[test]
    fn types_have_postgres_names() {
        let tags = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        let fields = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("price", DataType::Decimal128(12, 2), true),
            with_logical_type(Field::new("token", DataType::Utf8, true), "uuid"),
            Field::new("tags", tags, true),
        ];
        let kinds: Vec<String> =
            columns(&Schema::new(fields)).into_iter().map(|column| column.kind).collect();
        assert_eq!(kinds, ["bigint", "numeric(12,2)", "uuid", "integer[]"]);
    }

    #[test]
    fn every_column_of_a_result_has_its_own_name() {
        let names = ["id", "id", "id_2", "id"];
        let fields: Vec<Field> = names.map(|name| Field::new(name, DataType::Int64, true)).into();
        let unique = with_unique_names(&Arc::new(Schema::new(fields)));
        let names: Vec<&str> = unique.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["id", "id_2", "id_2_2", "id_3"]);
    }
}
