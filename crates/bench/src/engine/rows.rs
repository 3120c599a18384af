//! The benchmarks' tables, and their rows as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use change::{ChangeBatch, ChangeForm, TableChanges, TableName, TableSchema};
use inputs::{Auction, Bid, Customer, Order, Person};

/// What the tables' schemas say of their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// Primary keys; and of Nexmark's tables, that rows are only added.
    Declared,
    /// Nothing.
    Unknown,
}

/// A table whose rows the inputs make.
pub(crate) trait Row: Sized {
    /// The columns: integers, and texts, which are marked.
    const COLUMNS: &'static [(&'static str, DataType)];

    /// The rows as columns.
    fn columns(rows: &[Self]) -> Vec<ArrayRef>;
}

/// Describes a table; its key, when it is to have one, is its first column.
pub(crate) fn table<T: Row>(source: &str, name: &str, key: &[usize]) -> Arc<TableSchema> {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    let columns = Schema::new(T::COLUMNS.iter().map(field).collect::<Vec<_>>());
    let name = TableName::new(source, name);
    Arc::new(TableSchema::new(name, Arc::new(columns), key.to_vec(), ChangeForm::Exact))
}

/// Rows of one table, on their way into a batch.
#[derive(Debug)]
pub(crate) struct TableRows<T> {
    table: Arc<TableSchema>,
    rows: Vec<T>,
    diffs: Vec<i64>,
    ends: Vec<u32>,
}

impl<T: Row> TableRows<T> {
    /// Begins with none.
    pub(crate) fn new(table: &Arc<TableSchema>) -> Self {
        let table = Arc::clone(table);
        Self { table, rows: Vec::new(), diffs: Vec::new(), ends: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: T, diff: i64) {
        self.rows.push(row);
        self.diffs.push(diff);
    }

    /// Ends a transaction.
    pub(crate) fn end(&mut self) {
        self.ends.push(u32::try_from(self.rows.len()).expect("a step is small"));
    }

    /// Takes the rows out; `None` when there is none.
    pub(crate) fn take(&mut self) -> Option<TableChanges> {
        let (rows, ends) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.ends));
        let diffs = Int64Array::from(std::mem::take(&mut self.diffs));
        if rows.is_empty() {
            return None;
        }
        let batch = RecordBatch::try_new(Arc::clone(self.table.columns()), T::columns(&rows));
        let changes = ChangeBatch::new(batch.expect("columns of the table"), diffs);
        Some(TableChanges::new(Arc::clone(&self.table), changes, ends, Vec::new()))
    }
}

fn ints<T>(rows: &[T], value: impl Fn(&T) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
}

fn texts<'a, T, S: AsRef<str>>(rows: &'a [T], value: impl Fn(&'a T) -> S) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

impl Row for Person {
    const COLUMNS: &'static [(&'static str, DataType)] = &[
        ("id", DataType::Int64),
        ("name", DataType::Utf8),
        ("email", DataType::Utf8),
        ("city", DataType::Utf8),
        ("state", DataType::Utf8),
        ("date_time", DataType::Int64),
    ];

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            ints(rows, |row| row.id),
            texts(rows, |row| &row.name),
            texts(rows, |row| &row.email),
            texts(rows, |row| &row.city),
            texts(rows, |row| row.state),
            ints(rows, |row| row.date_time),
        ]
    }
}

impl Row for Auction {
    const COLUMNS: &'static [(&'static str, DataType)] = &[
        ("id", DataType::Int64),
        ("item_name", DataType::Utf8),
        ("initial_bid", DataType::Int64),
        ("reserve", DataType::Int64),
        ("date_time", DataType::Int64),
        ("expires", DataType::Int64),
        ("seller", DataType::Int64),
        ("category", DataType::Int64),
    ];

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            ints(rows, |row| row.id),
            texts(rows, |row| &row.item_name),
            ints(rows, |row| row.initial_bid),
            ints(rows, |row| row.reserve),
            ints(rows, |row| row.date_time),
            ints(rows, |row| row.expires),
            ints(rows, |row| row.seller),
            ints(rows, |row| row.category),
        ]
    }
}

impl Row for Bid {
    const COLUMNS: &'static [(&'static str, DataType)] = &[
        ("auction", DataType::Int64),
        ("bidder", DataType::Int64),
        ("price", DataType::Int64),
        ("channel", DataType::Utf8),
        ("url", DataType::Utf8),
        ("date_time", DataType::Int64),
    ];

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            ints(rows, |row| row.auction),
            ints(rows, |row| row.bidder),
            ints(rows, |row| row.price),
            texts(rows, |row| row.channel),
            texts(rows, Self::url),
            ints(rows, |row| row.date_time),
        ]
    }
}

impl Row for Customer {
    const COLUMNS: &'static [(&'static str, DataType)] =
        &[("id", DataType::Int64), ("name", DataType::Utf8), ("region", DataType::Utf8)];

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![ints(rows, |row| row.id), texts(rows, Self::name), texts(rows, Self::region)]
    }
}

impl Row for Order {
    const COLUMNS: &'static [(&'static str, DataType)] = &[
        ("id", DataType::Int64),
        ("customer_id", DataType::Int64),
        ("status", DataType::Utf8),
        ("amount", DataType::Int64),
        ("note", DataType::Utf8),
    ];

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            ints(rows, |row| row.id),
            ints(rows, |row| row.customer_id),
            texts(rows, |row| row.status.word()),
            ints(rows, |row| row.amount),
            texts(rows, Self::note),
        ]
    }
}
