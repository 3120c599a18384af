//! The shop's tables, and its deeds as changes of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use change::{
    ChangeForm, Part, SourcePosition, TableChanges, TableName, TableSchema, TransactionGroup,
    TransactionHead,
};

use super::shop::{Deed, Row};
use crate::columns::RowBuilder;

const CUSTOMERS: usize = 0;
const PRODUCTS: usize = 1;
const ORDERS: usize = 2;
const ORDER_ITEMS: usize = 3;

/// Describes the tables: customers, products, orders, order_items.
pub(crate) fn tables(source: &str) -> Vec<Arc<TableSchema>> {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let price = DataType::Decimal128(10, 2);
    let (bigint, text) = (DataType::Int64, DataType::Utf8);
    let table = |name: &str, columns: &[(&str, &DataType)], key: &[usize]| {
        let field =
            |&(name, data_type): &(&str, &DataType)| Field::new(name, data_type.clone(), true);
        let columns = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let name = TableName::new(source, name);
        Arc::new(TableSchema::new(name, Arc::new(columns), key.to_vec(), ChangeForm::Upsert))
    };
    vec![
        table(
            "customers",
            &[
                ("id", &bigint),
                ("name", &text),
                ("email", &text),
                ("region", &text),
                ("created_at", &timestamp),
            ],
            &[0],
        ),
        table(
            "products",
            &[
                ("id", &bigint),
                ("name", &text),
                ("description", &text),
                ("category", &text),
                ("price", &price),
            ],
            &[0],
        ),
        table(
            "orders",
            &[
                ("id", &bigint),
                ("customer_id", &bigint),
                ("status", &text),
                ("placed_at", &timestamp),
            ],
            &[0],
        ),
        table(
            "order_items",
            &[
                ("order_id", &bigint),
                ("line", &DataType::Int32),
                ("product_id", &bigint),
                ("quantity", &DataType::Int32),
                ("price", &price),
            ],
            &[0, 1],
        ),
    ]
}

/// Transactions of the shop that are being gathered into a group.
#[derive(Debug)]
pub(crate) struct Ledger {
    source: Arc<str>,
    heads: Vec<TransactionHead>,
    tables: Vec<(RowBuilder, Vec<u32>)>,
}

impl Ledger {
    /// Begins with nothing gathered.
    pub(crate) fn new(source: &Arc<str>, tables: &[Arc<TableSchema>]) -> Self {
        let rows = |table: &Arc<TableSchema>| (RowBuilder::new(Arc::clone(table)), Vec::new());
        Self {
            source: Arc::clone(source),
            heads: Vec::new(),
            tables: tables.iter().map(rows).collect(),
        }
    }

    /// Adds a transaction.
    pub(crate) fn add(&mut self, step: u64, at_us: i64, deeds: &[Deed]) {
        for deed in deeds {
            match deed {
                Deed::Set(row) => self.write(row, 1),
                Deed::Remove(row) => self.write(row, -1),
            }
        }
        for (rows, ends) in &mut self.tables {
            ends.push(u32::try_from(rows.len()).expect("groups are cut far below 2^32 rows"));
        }
        self.heads.push(TransactionHead::at(SourcePosition::Step(step), Some(at_us)));
    }

    /// How many rows were gathered.
    pub(crate) fn rows(&self) -> usize {
        self.tables.iter().map(|(rows, _)| rows.len()).sum()
    }

    /// Returns the transactions as a group; the ledger is empty again.
    pub(crate) fn take(&mut self) -> TransactionGroup {
        let heads = std::mem::take(&mut self.heads);
        let mut changes = Vec::new();
        for (rows, ends) in &mut self.tables {
            let ends = std::mem::take(ends);
            if rows.len() > 0 {
                let table = Arc::clone(rows.table());
                changes.push(TableChanges::new(table, rows.take(), ends, Vec::new()));
            }
        }
        TransactionGroup::new(Arc::clone(&self.source), Part::Whole, heads, changes)
    }

    /// Writes a row; of one that is removed, only its key.
    fn write(&mut self, row: &Row, diff: i64) {
        let place = match row {
            Row::Customer(_) => CUSTOMERS,
            Row::Product(_) => PRODUCTS,
            Row::Order(_) => ORDERS,
            Row::Item(_) => ORDER_ITEMS,
        };
        let rows = &mut self.tables[place].0;
        let columns = rows.columns();
        match row {
            Row::Customer(customer) => columns[0].push_i64(customer.id),
            Row::Product(product) => columns[0].push_i64(product.id),
            Row::Order(order) => columns[0].push_i64(order.id),
            Row::Item(item) => {
                columns[0].push_i64(item.order_id);
                columns[1].push_i32(item.line);
            }
        }
        if diff > 0 {
            write_values(columns, row);
        }
        rows.finish_row(diff);
    }
}

/// Writes what is not the key.
fn write_values(columns: &mut [crate::columns::Column], row: &Row) {
    match row {
        Row::Customer(customer) => {
            columns[1].push_str(&customer.name);
            columns[2].push_str(&customer.email);
            columns[3].push_str(customer.region);
            columns[4].push_i64(customer.created_at_us);
        }
        Row::Product(product) => {
            columns[1].push_str(&product.name);
            columns[2].push_str(&product.description);
            columns[3].push_str(product.category);
            columns[4].push_i128(i128::from(product.cents));
        }
        Row::Order(order) => {
            columns[1].push_i64(order.customer_id);
            columns[2].push_str(order.status.as_str());
            columns[3].push_i64(order.placed_at_us);
        }
        Row::Item(item) => {
            columns[2].push_i64(item.product_id);
            columns[3].push_i32(item.quantity);
            columns[4].push_i128(i128::from(item.cents));
        }
    }
}
