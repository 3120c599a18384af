//! A small view to read: `people(id, name, region)`, and random changes of it beside a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use change::{ChangeBatch, consolidate};
use view::ViewInfo;

/// A row of `people`.
pub(crate) type Person = (i64, Option<String>, Option<String>);

/// How often each row is there.
pub(crate) type Model = BTreeMap<Person, i64>;

pub(crate) fn person(id: i64, name: &str, region: &str) -> Person {
    (id, Some(name.to_owned()), Some(region.to_owned()))
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("region", DataType::Utf8, true),
    ]))
}

pub(crate) fn info(name: &str, key: &[usize]) -> ViewInfo {
    ViewInfo { name: name.to_owned(), schema: schema(), key: key.to_vec(), order: Vec::new() }
}

/// The consolidated changes of some rows.
pub(crate) fn changes(rows: &[(Person, i64)]) -> ChangeBatch {
    let ids: Int64Array = rows.iter().map(|(row, _)| Some(row.0)).collect();
    let names: StringArray = rows.iter().map(|(row, _)| row.1.as_deref()).collect();
    let regions: StringArray = rows.iter().map(|(row, _)| row.2.as_deref()).collect();
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(ids), Arc::new(names), Arc::new(regions)];
    let batch = RecordBatch::try_new(schema(), columns).unwrap();
    let diffs = rows.iter().map(|&(_, diff)| diff).collect();
    consolidate(&schema(), &[ChangeBatch::new(batch, diffs)]).unwrap()
}

/// The rows of some batches, in their order.
pub(crate) fn people(batches: &[RecordBatch]) -> Vec<Person> {
    let mut rows = Vec::new();
    for batch in batches {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let text = |column: usize, row: usize| {
            let column = batch.column(column).as_string::<i32>();
            (!column.is_null(row)).then(|| column.value(row).to_owned())
        };
        rows.extend((0..batch.num_rows()).map(|row| (ids.value(row), text(1, row), text(2, row))));
    }
    rows
}

/// The rows of the model, each as often as it is there, in order.
pub(crate) fn rows_of(model: &Model) -> Vec<Person> {
    let repeat = |(row, &count): (&Person, &i64)| {
        std::iter::repeat_n(row.clone(), usize::try_from(count).unwrap())
    };
    model.iter().flat_map(repeat).collect()
}

/// Takes changes into the model.
pub(crate) fn change(model: &mut Model, rows: &[(Person, i64)]) {
    for (row, diff) in rows {
        let count = model.entry(row.clone()).or_default();
        *count += diff;
        assert!(*count >= 0, "the test makes valid changes");
        if *count == 0 {
            model.remove(row);
        }
    }
}
