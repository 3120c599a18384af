//! Rows of many tables and transactions on their way into groups.
//!
//! A group takes what has gathered: whole transactions, or, when one transaction alone is too large, a part of it.
//! So memory is bounded by the limits of a group, whatever the size of a transaction.

use std::sync::Arc;

use change::catalog::dead_letter_table;
use change::limits::{GROUP_BYTES_TARGET, GROUP_ROWS_MAX, GROUP_TRANSACTIONS_MAX};
use change::{
    Part, SourcePosition, TableChanges, TableName, TableSchema, TransactionGroup, TransactionHead,
    Unchanged,
};

use crate::columns::RowBuilder;
use crate::limits::DEAD_LETTER_RAW_BYTES_MAX;

/// One table's rows.
///
/// Invariant: `ends` has an entry for each whole transaction up to the last one that touched the table.
#[derive(Debug)]
pub(crate) struct TableRows {
    rows: RowBuilder,
    ends: Vec<u32>,
    unchanged: Vec<Unchanged>,
}

impl TableRows {
    fn new(table: Arc<TableSchema>) -> Self {
        Self { rows: RowBuilder::new(table), ends: Vec::new(), unchanged: Vec::new() }
    }

    /// The rows, to push values to; end each with `finish_row` or `abandon_row`.
    pub(crate) fn rows(&mut self) -> &mut RowBuilder {
        &mut self.rows
    }

    /// Notes that the row under construction has no value for a column. Columns must ascend.
    pub(crate) fn push_unchanged(&mut self, column: usize) {
        let column = u32::try_from(column).expect("a table has few columns");
        self.unchanged.push(Unchanged { row: count(self.rows.len()), column });
        self.rows.columns()[column as usize].push_null();
    }

    /// Takes back the row under construction.
    pub(crate) fn abandon_row(&mut self) {
        self.rows.abandon_row();
        let row = count(self.rows.len());
        while self.unchanged.pop_if(|unchanged| unchanged.row >= row).is_some() {}
    }

    fn take(&mut self, transactions: usize) -> Option<TableChanges> {
        let len = count(self.rows.len());
        let mut ends = std::mem::take(&mut self.ends);
        if len == 0 {
            return None;
        }
        ends.resize(transactions, len);
        let table = Arc::clone(self.rows.table());
        let unchanged = std::mem::take(&mut self.unchanged);
        Some(TableChanges::new(table, self.rows.take(), ends, unchanged))
    }
}

/// Transactions under construction.
#[derive(Debug)]
pub(crate) struct Gather {
    source: Arc<str>,
    tables: Vec<TableRows>,
    dead_letters: TableRows,
    /// Changes that the next cut adds to its only transaction.
    closing: Option<TableChanges>,
    /// The transactions that are whole.
    whole: Vec<TransactionHead>,
    /// The one that is not.
    open: Option<TransactionHead>,
    /// Whether parts of the last transaction were cut off already.
    in_parts: bool,
    rows_open: usize,
    rows: usize,
    bytes: usize,
    dead_letter_count: u64,
}

impl Gather {
    /// Begins with nothing.
    pub(crate) fn new(source: Arc<str>, tables: &[Arc<TableSchema>]) -> Self {
        Self {
            source,
            tables: tables.iter().map(|table| TableRows::new(Arc::clone(table))).collect(),
            dead_letters: TableRows::new(dead_letter_table()),
            closing: None,
            whole: Vec::new(),
            open: None,
            in_parts: false,
            rows_open: 0,
            rows: 0,
            bytes: 0,
            dead_letter_count: 0,
        }
    }

    /// Opens a transaction.
    pub(crate) fn begin(&mut self, head: TransactionHead) {
        debug_assert!(self.open.is_none() && !self.in_parts, "one transaction after the other");
        self.open = Some(head);
        self.rows_open = 0;
    }

    /// Whether a transaction is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The rows of a table, to add one to the open transaction.
    pub(crate) fn table(&mut self, table: usize) -> &mut TableRows {
        let rows = &mut self.tables[table];
        if rows.ends.len() < self.whole.len() {
            rows.ends.resize(self.whole.len(), count(rows.rows.len()));
        }
        rows
    }

    /// Counts rows that were added, and the bytes of their values.
    pub(crate) fn added(&mut self, rows: usize, bytes: usize) {
        self.rows += rows;
        self.rows_open += rows;
        self.bytes += bytes;
    }

    /// Adds a dead letter to the open transaction: where it was, what is wrong, and what it says.
    pub(crate) fn dead_letter(&mut self, table: &TableName, place: &str, reason: &str, raw: &str) {
        let end = (0..=DEAD_LETTER_RAW_BYTES_MAX.min(raw.len()))
            .rev()
            .find(|&end| raw.is_char_boundary(end))
            .unwrap_or(0);
        let values = [&*table.source, &*table.table, place, reason, &raw[..end]];
        let transactions = self.whole.len();
        let letters = &mut self.dead_letters;
        letters.ends.resize(transactions, count(letters.rows.len()));
        for (column, value) in letters.rows.columns().iter_mut().zip(values) {
            column.push_str(value);
        }
        letters.rows.finish_row(1);
        self.dead_letter_count += 1;
        self.added(1, reason.len() + end);
    }

    /// Makes the open transaction whole. One without changes is forgotten; returns whether it had any.
    pub(crate) fn commit(&mut self, position: SourcePosition) -> bool {
        let Some(mut head) = self.open.take() else { return false };
        if self.rows_open == 0 && !self.in_parts && self.closing.is_none() {
            return false;
        }
        head.position = Some(position);
        self.whole.push(head);
        true
    }

    /// Adds changes to the open transaction, which must be the only one.
    pub(crate) fn close_with(&mut self, changes: TableChanges) {
        assert!(self.whole.is_empty(), "only one transaction is closed like that");
        self.closing = Some(changes);
    }

    /// Whether no more may gather before the next cut.
    pub(crate) fn must_cut(&self) -> bool {
        self.rows >= GROUP_ROWS_MAX
            || self.bytes >= GROUP_BYTES_TARGET
            || self.whole.len() >= GROUP_TRANSACTIONS_MAX
            || (self.in_parts && self.open.is_none())
    }

    /// How many transactions are whole.
    pub(crate) fn whole(&self) -> usize {
        self.whole.len()
    }

    /// How many rows have gathered.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of dead letters since the last call.
    pub(crate) fn take_dead_letter_count(&mut self) -> u64 {
        std::mem::take(&mut self.dead_letter_count)
    }

    /// Returns what has gathered as groups, in order; nothing is left but the open transaction's head.
    pub(crate) fn cut(&mut self) -> Vec<TransactionGroup> {
        let whole = std::mem::take(&mut self.whole);
        let open = self.open.clone().filter(|_| self.rows_open > 0);
        let transactions = whole.len() + usize::from(open.is_some());
        if transactions == 0 {
            return Vec::new();
        }
        let letters = self.dead_letters.take(transactions);
        let tables: Vec<TableChanges> =
            self.tables.iter_mut().filter_map(|table| table.take(transactions)).collect();
        let mut tables: Vec<_> = tables.into_iter().chain(letters).collect();
        (self.rows, self.rows_open, self.bytes) = (0, 0, 0);
        let mut groups = Vec::new();
        if let Some(open) = open {
            if !whole.is_empty() {
                let first = of_transactions(&tables, 0, whole.len());
                tables = of_transactions(&tables, whole.len(), transactions);
                groups.push(self.group(Part::Whole, whole, first));
            }
            let part = if self.in_parts { Part::Middle } else { Part::First };
            self.in_parts = true;
            groups.push(self.group(part, vec![open], tables));
        } else {
            let part = if self.in_parts { Part::Last } else { Part::Whole };
            self.in_parts = false;
            tables.extend(self.closing.take());
            groups.push(self.group(part, whole, tables));
        }
        groups
    }

    fn group(
        &self,
        part: Part,
        heads: Vec<TransactionHead>,
        tables: Vec<TableChanges>,
    ) -> TransactionGroup {
        TransactionGroup::new(Arc::clone(&self.source), part, heads, tables)
    }
}

fn of_transactions(tables: &[TableChanges], first: usize, last: usize) -> Vec<TableChanges> {
    let some = tables.iter().map(|table| table.of_transactions(first, last));
    some.filter(|table| !table.changes().is_empty()).collect()
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).expect("groups are cut far below 2^32 rows")
}
