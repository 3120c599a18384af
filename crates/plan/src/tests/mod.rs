//! What scripts and pipes mean, shown as their problems and plans.

#![allow(clippy::too_many_lines, reason = "a test is a table of cases with their answers")]

mod batch;
mod errors;
mod fuzz;
mod places;
mod plans;
mod queries;
mod scripts;
mod sessions;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use change::{ChangeForm, TableName, TableSchema, with_logical_type};
use expect_test::Expect;

use crate::{Catalog, explain, parse_in, plan};

fn table(source: &str, name: &str, columns: Vec<Field>, key: Vec<usize>) -> Arc<TableSchema> {
    let form = if key.is_empty() { ChangeForm::Exact } else { ChangeForm::Upsert };
    let columns = Arc::new(Schema::new(columns));
    Arc::new(TableSchema::new(TableName::new(source, name), columns, key, form))
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// A shop with customers and orders, an audit schema, and one table of events.
pub(crate) fn shop() -> Catalog {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let customers = vec![
        field("id", DataType::Int64),
        field("name", DataType::Utf8),
        field("region", DataType::Utf8),
        with_logical_type(field("token", DataType::Utf8), "uuid"),
    ];
    let orders = vec![
        field("id", DataType::Int64),
        field("customer_id", DataType::Int32),
        field("status", DataType::Utf8),
        field("total", DataType::Decimal128(12, 2)),
        field("placed_at", time),
    ];
    let items = vec![
        field("order_id", DataType::Int64),
        field("line", DataType::Int32),
        field("quantity", DataType::Int32),
        field("weight", DataType::Float64),
    ];
    let entries = vec![field("id", DataType::Int64), field("what", DataType::Utf8)];
    let events = vec![field("country", DataType::Utf8), field("clicks", DataType::Int64)];
    Catalog {
        tables: vec![
            table("shop", "customers", customers, vec![0]),
            table("shop", "orders", orders, vec![0]),
            table("shop", "items", items, vec![0, 1]),
            table("shop", "audit.entries", entries, vec![0]),
            table("events", "events", events, vec![]),
        ],
        sources: vec![
            "create source shop from 'postgres://app@localhost/shop'".to_owned(),
            "create source events from 'events.csv'".to_owned(),
        ],
        ..Catalog::default()
    }
}

/// Shows the plans of a text's views, or its problems.
pub(crate) fn shown(text: &str) -> String {
    shown_in(text, &shop())
}

pub(crate) fn shown_in(text: &str, catalog: &Catalog) -> String {
    let program = parse_in(text, catalog).and_then(|script| plan(&script, catalog));
    match program {
        Ok(program) => program.views.iter().map(explain).collect(),
        Err(problems) => problems.to_string(),
    }
}

fn check(text: &str, expect: &Expect) {
    expect.assert_eq(&shown(text));
}

/// The plan of a text's only view.
fn only_plan(text: &str) -> String {
    let shown = shown(text);
    let (_, tree) = shown.split_once('\n').unwrap_or(("", &shown));
    tree.to_owned()
}
