//! Tests of rows under construction.

use arrow::array::Array;
use arrow::datatypes::Schema;
use change::{ChangeForm, TableName};

use super::*;

fn all_types() -> Arc<TableSchema> {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let types = [
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(10, 2),
        DataType::Decimal256(76, 18),
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::List(item),
    ];
    let field = |(at, data_type)| Field::new(format!("c{at}"), data_type, true);
    let fields: Vec<_> = types.into_iter().enumerate().map(field).collect();
    let name = TableName::new("s", "t");
    Arc::new(TableSchema::new(name, Arc::new(Schema::new(fields)), Vec::new(), ChangeForm::Exact))
}

const VALUES: [&str; 15] = [
    "true",
    "-7",
    "70000",
    "9223372036854775807",
    "1.5",
    "-2.25",
    "12.34",
    "0.000000000000000001",
    "text",
    "\\x00ff",
    "2024-02-29",
    "23:59:59.999999",
    "2024-02-29 12:00",
    "2024-02-29 12:00+02",
    "{1,NULL,3}",
];

fn push_row(rows: &mut RowBuilder) {
    for (column, value) in rows.columns().iter_mut().zip(VALUES) {
        column.push_text(value).unwrap();
    }
}

#[test]
fn an_abandoned_row_leaves_no_trace_in_any_type() {
    let mut rows = RowBuilder::new(all_types());
    push_row(&mut rows);
    rows.finish_row(1);
    push_row(&mut rows);
    rows.abandon_row();
    for column in rows.columns() {
        column.push_null();
    }
    rows.abandon_row();
    rows.finish_row(1);
    push_row(&mut rows);
    rows.finish_row(-1);
    let batch = rows.take();
    assert_eq!(batch.diffs(), [1, 1, -1]);
    for column in batch.rows().columns() {
        assert_eq!(column.null_count(), 1, "only the empty row is NULL");
        assert!(column.is_null(1));
        assert_eq!(column.slice(0, 1).to_data(), column.slice(2, 1).to_data());
    }
    assert!(rows.take().is_empty());
}

#[test]
fn a_bad_value_appends_nothing() {
    let mut rows = RowBuilder::new(all_types());
    for (at, column) in rows.columns().iter_mut().enumerate().filter(|(at, _)| *at != 8) {
        assert!(column.push_text("nothing of the kind").is_err(), "column {at}");
        assert_eq!(column.len(), 0, "column {at}");
    }
    let list = rows.columns().last_mut().unwrap();
    list.push_text("{1,2,x}").unwrap_err();
    list.push_text("{4}").unwrap();
    let lists = list.finish();
    let lists = lists.as_any().downcast_ref::<ListArray>().unwrap();
    assert_eq!(lists.values().len(), 1, "items of the bad list are gone");
}
