//! Transactions, and the groups in which they travel from a source to the log.
//!
//! A source gathers the transactions that arrived while the log was busy into one [`TransactionGroup`]: one batch of
//! columns per table, whatever the number of transactions. Each keeps its own Time. A transaction too large for one
//! group is cut into parts, which become visible together when the last one is in the log.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ChangeBatch, TableSchema, Time};

/// A place in a source's own history, from which it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourcePosition {
    /// PostgreSQL: the LSN just behind the transaction's commit record.
    Lsn(u64),
    /// A file: bytes and lines already read.
    Line {
        /// Bytes read, up to and with the last line's end.
        bytes: u64,
        /// Lines read.
        lines: u64,
    },
    /// A generator: steps already made.
    Step(u64),
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lsn(lsn) => write!(f, "{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff),
            Self::Line { bytes, lines } => write!(f, "line {lines} (byte {bytes})"),
            Self::Step(step) => write!(f, "step {step}"),
        }
    }
}

/// The id that a client chose for its request, at most 65,535 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub Arc<[u8]>);

/// What is known of a transaction besides its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionHead {
    /// Where the source goes on behind it; `None` for what Evert itself writes.
    pub position: Option<SourcePosition>,
    /// When the source says that it was committed, in microseconds since 1970 UTC.
    pub committed_at_us: Option<i64>,
    /// The request that asked for it.
    pub request: Option<RequestId>,
    /// The Times of the transactions that it depends on.
    pub causes: Vec<Time>,
}

impl TransactionHead {
    /// Describes a transaction that a source committed.
    #[must_use]
    pub fn at(position: SourcePosition, committed_at_us: Option<i64>) -> Self {
        Self { position: Some(position), committed_at_us, request: None, causes: Vec::new() }
    }

    /// Describes a transaction of Evert itself.
    #[must_use]
    pub fn own() -> Self {
        Self { position: None, committed_at_us: None, request: None, causes: Vec::new() }
    }
}

/// A value that the source says is unchanged and did not send: neither a value nor NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unchanged {
    /// The row in its batch.
    pub row: u32,
    /// The column in its table.
    pub column: u32,
}

/// The changes of one table by the transactions of a group.
///
/// Invariant: the batch's schema is the table's; `ends` ascends (not strictly) and ends with the number of rows;
/// `unchanged` is sorted and within the batch, and empty for an `Exact` table.
///
/// In an `Upsert` table, rows act in order. An unchanged value comes from the row that has this row's key; or, when
/// there is none, from the row that the directly preceding −1 in this batch removed: that is an update of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct TableChanges {
    table: Arc<TableSchema>,
    changes: ChangeBatch,
    ends: Vec<u32>,
    unchanged: Vec<Unchanged>,
}

impl TableChanges {
    /// Joins a table's changes with the ends of each transaction's rows.
    ///
    /// # Panics
    /// When the invariant does not hold.
    #[must_use]
    pub fn new(
        table: Arc<TableSchema>,
        changes: ChangeBatch,
        ends: Vec<u32>,
        unchanged: Vec<Unchanged>,
    ) -> Self {
        assert_eq!(&changes.schema(), table.columns(), "the batch has the table's columns");
        assert!(ends.is_sorted(), "ends ascend");
        assert_eq!(
            ends.last().map(|&end| end as usize),
            Some(changes.len()),
            "the last transaction ends with the batch"
        );
        assert!(unchanged.is_sorted(), "unchanged values are sorted");
        assert!(
            unchanged.iter().all(|at| (at.row as usize) < changes.len()
                && (at.column as usize) < table.columns().fields().len()),
            "unchanged values are within the batch"
        );
        Self { table, changes, ends, unchanged }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// The changes of all transactions, in order.
    #[must_use]
    pub fn changes(&self) -> &ChangeBatch {
        &self.changes
    }

    /// For each transaction of the group: how many rows it and those before it have.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The values that the source did not send, sorted by row.
    #[must_use]
    pub fn unchanged(&self) -> &[Unchanged] {
        &self.unchanged
    }

    /// Returns the rows of the transactions `[first, last)` of the group.
    ///
    /// # Panics
    /// When the range is not within the group.
    #[must_use]
    pub fn of_transactions(&self, first: usize, last: usize) -> Self {
        assert!(first < last && last <= self.ends.len(), "transactions within the group");
        let start = if first == 0 { 0 } else { self.ends[first - 1] };
        let end = self.ends[last - 1];
        let unchanged = self.unchanged.iter().filter(|at| (start..end).contains(&at.row));
        Self {
            table: Arc::clone(&self.table),
            changes: self.changes.slice(start as usize, (end - start) as usize),
            ends: self.ends[first..last].iter().map(|row| row - start).collect(),
            unchanged: unchanged.map(|at| Unchanged { row: at.row - start, ..*at }).collect(),
        }
    }
}

/// Whether a group holds whole transactions or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// All transactions of the group are whole.
    Whole,
    /// The first part of one transaction. Unfinished parts of the same source that came before are void.
    First,
    /// More of it.
    Middle,
    /// The last part: now the transaction has its Time and becomes visible.
    Last,
}

/// Transactions of one source that travel together.
///
/// Invariant: at least one transaction; exactly one when it is a part; every table's `ends` has one entry for each
/// transaction; a table occurs once.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionGroup {
    source: Arc<str>,
    part: Part,
    heads: Vec<TransactionHead>,
    tables: Vec<TableChanges>,
}

impl TransactionGroup {
    /// Groups transactions of a source.
    ///
    /// # Panics
    /// When the invariant does not hold.
    #[must_use]
    pub fn new(
        source: Arc<str>,
        part: Part,
        heads: Vec<TransactionHead>,
        tables: Vec<TableChanges>,
    ) -> Self {
        assert!(!heads.is_empty(), "a group holds a transaction");
        assert!(part == Part::Whole || heads.len() == 1, "a part belongs to one transaction");
        for (at, changes) in tables.iter().enumerate() {
            assert_eq!(changes.ends.len(), heads.len(), "an end for each transaction");
            let name = changes.table.name();
            assert!(
                tables[..at].iter().all(|other| other.table.name() != name),
                "a table occurs once"
            );
        }
        Self { source, part, heads, tables }
    }

    /// The source that the transactions come from; `evert` for its own.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Whether the transactions are whole.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// The transactions, in order.
    #[must_use]
    pub fn heads(&self) -> &[TransactionHead] {
        &self.heads
    }

    /// The changes, by table.
    #[must_use]
    pub fn tables(&self) -> &[TableChanges] {
        &self.tables
    }

    /// Takes the group apart: source, part, heads, tables.
    #[must_use]
    pub fn into_parts(self) -> (Arc<str>, Part, Vec<TransactionHead>, Vec<TableChanges>) {
        (self.source, self.part, self.heads, self.tables)
    }

    /// How many changed rows the group carries.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tables.iter().map(|changes| changes.changes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::{ChangeForm, TableName};

    fn changes(values: &[i64], ends: &[u32], unchanged: &[(u32, u32)]) -> TableChanges {
        let columns = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let array = Int64Array::from(values.to_vec());
        let rows = RecordBatch::try_new(Arc::clone(&columns), vec![Arc::new(array)]).unwrap();
        let name = TableName::new("shop", "orders");
        let table = Arc::new(TableSchema::new(name, columns, vec![0], ChangeForm::Upsert));
        let unchanged = unchanged.iter().map(|&(row, column)| Unchanged { row, column }).collect();
        TableChanges::new(table, ChangeBatch::inserts(rows), ends.to_vec(), unchanged)
    }

    #[test]
    fn transactions_are_cut_out_with_their_rows_and_marks() {
        let all = changes(&[1, 2, 3, 4], &[1, 1, 4], &[(0, 0), (2, 0)]);
        assert_eq!(all.of_transactions(0, 3), all);
        assert_eq!(all.of_transactions(0, 1), changes(&[1], &[1], &[(0, 0)]));
        assert_eq!(all.of_transactions(1, 2), changes(&[], &[0], &[]));
        assert_eq!(all.of_transactions(1, 3), changes(&[2, 3, 4], &[0, 3], &[(1, 0)]));
    }

    #[test]
    fn positions_are_shown_as_their_systems_write_them() {
        assert_eq!(SourcePosition::Lsn(0x1_0000_00AB).to_string(), "1/AB");
        assert_eq!(SourcePosition::Line { bytes: 9, lines: 2 }.to_string(), "line 2 (byte 9)");
        assert_eq!(SourcePosition::Step(3).to_string(), "step 3");
    }
}
