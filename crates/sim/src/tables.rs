//! The tables of the simulated sources, their changes, and both as columns.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use change::catalog::catalog_table;
use change::{ChangeBatch, ChangeForm, TableChanges, TableName, TableSchema, Unchanged};

/// A table of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// `shop.customers(id, region)`, upserts.
    Customers,
    /// `shop.orders(id, customer, amount, note)`, upserts.
    Orders,
    /// `bank.ledger(account, amount)`, exact changes. Every transaction's amounts sum to 0.
    Ledger,
    /// `evert.catalog(kind, name, definition)`, upserts: what Evert itself writes.
    Catalog,
    /// `evert.folds`, upserts: what history came to when it was folded.
    Folds,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
}

/// A changed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) table: Table,
    pub(crate) cells: Vec<Cell>,
    pub(crate) diff: i64,
    /// Whether the last column was left out as unchanged.
    pub(crate) unchanged: bool,
}

/// What a source committed at once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Transaction {
    pub(crate) changes: Vec<Change>,
}

pub(crate) const TABLES: [Table; 5] =
    [Table::Customers, Table::Orders, Table::Ledger, Table::Catalog, Table::Folds];

impl Table {
    /// What is known of it.
    pub(crate) fn schema(self) -> Arc<TableSchema> {
        static SCHEMAS: LazyLock<[Arc<TableSchema>; 3]> = LazyLock::new(|| {
            let int = |name| Field::new(name, DataType::Int64, true);
            let text = |name| Field::new(name, DataType::Utf8, true);
            let table = |source, name, key: &[usize], form, fields| {
                let columns = Arc::new(Schema::new(fields));
                let name = TableName::new(source, name);
                Arc::new(TableSchema::new(name, columns, key.to_vec(), form))
            };
            let customers = vec![int("id"), text("region")];
            let orders = vec![int("id"), int("customer"), int("amount"), text("note")];
            let ledger = vec![int("account"), int("amount")];
            [
                table("shop", "customers", &[0], ChangeForm::Upsert, customers),
                table("shop", "orders", &[0], ChangeForm::Upsert, orders),
                table("bank", "ledger", &[], ChangeForm::Exact, ledger),
            ]
        });
        match self {
            Self::Customers => Arc::clone(&SCHEMAS[0]),
            Self::Orders => Arc::clone(&SCHEMAS[1]),
            Self::Ledger => Arc::clone(&SCHEMAS[2]),
            Self::Catalog => catalog_table(),
            Self::Folds => log::folds_table(),
        }
    }

    fn columns(self) -> usize {
        self.schema().columns().fields().len()
    }

    /// A change of the row with these cells; columns that are left out are NULL.
    pub(crate) fn change(self, diff: i64, cells: &[Cell]) -> Change {
        let mut cells = cells.to_vec();
        cells.resize(self.columns(), Cell::Null);
        Change { table: self, cells, diff, unchanged: false }
    }
}

/// The changes of transactions as they travel.
pub(crate) fn encode(transactions: &[&[Change]]) -> Vec<TableChanges> {
    let encoded = TABLES.into_iter().filter_map(|table| encode_table(table, transactions));
    encoded.collect()
}

fn encode_table(table: Table, transactions: &[&[Change]]) -> Option<TableChanges> {
    let (mut changes, mut ends) = (Vec::new(), Vec::new());
    for transaction in transactions {
        changes.extend(transaction.iter().filter(|change| change.table == table));
        ends.push(number(changes.len()));
    }
    if changes.is_empty() {
        return None;
    }
    let schema = table.schema();
    let column = |(at, field): (usize, &Arc<Field>)| -> ArrayRef {
        let cells = changes.iter().map(|change| &change.cells[at]);
        if field.data_type() == &DataType::Int64 {
            Arc::new(cells.map(Cell::int).collect::<Int64Array>())
        } else {
            Arc::new(cells.map(Cell::text).collect::<StringArray>())
        }
    };
    let columns = schema.columns().fields().iter().enumerate().map(column).collect();
    let rows = RecordBatch::try_new(Arc::clone(schema.columns()), columns);
    let rows = rows.expect("columns of the table's types");
    let last = number(table.columns() - 1);
    let marks = (0..).zip(&changes).filter(|(_, change)| change.unchanged);
    let unchanged = marks.map(|(row, _)| Unchanged { row, column: last }).collect();
    let diffs = changes.iter().map(|change| change.diff).collect();
    Some(TableChanges::new(schema, ChangeBatch::new(rows, diffs), ends, unchanged))
}

impl Cell {
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Null | Self::Text(_) => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            Self::Null | Self::Int(_) => None,
        }
    }
}

/// The changes of one table by the `at`-th transaction of a chunk, as lines that can be compared.
pub(crate) fn lines_of(changes: &TableChanges, at: usize, lines: &mut Vec<String>) {
    let start = if at == 0 { 0 } else { changes.ends()[at - 1] };
    for row in start..changes.ends()[at] {
        let index = usize::try_from(row).expect("rows are in memory");
        let mut line = format!("{} {}", changes.table().name(), changes.changes().diffs()[index]);
        for (column, values) in (0..).zip(changes.changes().rows().columns()) {
            if changes.unchanged().contains(&Unchanged { row, column }) {
                line.push_str(" unchanged");
            } else {
                write!(line, " {:?}", cell(values, index)).expect("a text takes all");
            }
        }
        lines.push(line);
    }
}

/// The changes of a table in a chunk, as the model knows them.
pub(crate) fn changes_of(changes: &TableChanges) -> Vec<Change> {
    let table = TABLES.into_iter().find(|table| table.schema().name() == changes.table().name());
    let Some(table) = table else { return Vec::new() };
    let rows = changes.changes().rows();
    let last = number(table.columns() - 1);
    let change = |(at, &diff): (usize, &i64)| Change {
        table,
        cells: rows.columns().iter().map(|column| cell(column, at)).collect(),
        diff,
        unchanged: changes.unchanged().contains(&Unchanged { row: number(at), column: last }),
    };
    changes.changes().diffs().iter().enumerate().map(change).collect()
}

/// A canary's tool: customers or orders, and one that is not among them.
pub(crate) fn with_an_old_row(changes: &TableChanges) -> Option<TableChanges> {
    let mut all = changes_of(changes);
    let ids: Vec<i64> = all.iter().filter_map(|change| change.cells[0].int()).collect();
    let old = (0..).find(|id| !ids.contains(id))?;
    let mut row = all.iter().find(|change| change.diff == 1)?.clone();
    if row.table == Table::Ledger {
        return None;
    }
    row.cells[0] = Cell::Int(old);
    all.push(row);
    encode(&[&all]).pop()
}

/// The changes of a transaction, as lines that can be compared with those of the log.
pub(crate) fn lines(transaction: &Transaction) -> Vec<String> {
    let mut lines = Vec::new();
    for table in TABLES {
        for change in transaction.changes.iter().filter(|change| change.table == table) {
            let mut line = format!("{} {}", table.schema().name(), change.diff);
            for (at, cell) in change.cells.iter().enumerate() {
                if change.unchanged && at + 1 == change.cells.len() {
                    line.push_str(" unchanged");
                } else {
                    write!(line, " {cell:?}").expect("a text takes all");
                }
            }
            lines.push(line);
        }
    }
    lines
}

/// A value of a column of whole numbers or of text.
pub(crate) fn cell(column: &ArrayRef, row: usize) -> Cell {
    if column.is_null(row) {
        return Cell::Null;
    }
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        return Cell::Int(numbers.value(row));
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Cell::Text(texts.value(row).to_owned());
    }
    // A sum has a wider type.
    let shown = arrow::util::display::array_value_to_string(column, row);
    let shown = shown.expect("a number can be shown");
    shown.parse().map_or(Cell::Text(shown), Cell::Int)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("the simulation's batches are small")
}
