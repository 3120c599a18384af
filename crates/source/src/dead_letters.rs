//! Input that cannot be taken in goes to `evert.dead_letters` with its place and reason, and stops nothing else.

use std::sync::Arc;

use change::TableName;
use change::catalog::dead_letter_table;

use crate::columns::RowBuilder;
use crate::limits::DEAD_LETTER_RAW_BYTES_MAX;

/// Dead letters of one table under construction.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    of: TableName,
    rows: RowBuilder,
}

impl DeadLetters {
    /// Begins dead letters of a table.
    pub(crate) fn new(of: TableName) -> Self {
        Self { of, rows: RowBuilder::new(dead_letter_table()) }
    }

    /// Adds one: where it was, what is wrong, and how it begins.
    pub(crate) fn push(&mut self, place: &str, reason: &str, raw: &[u8]) {
        let cut = raw.get(..DEAD_LETTER_RAW_BYTES_MAX).unwrap_or(raw);
        let raw = String::from_utf8_lossy(cut);
        let values = [&*self.of.source, &*self.of.table, place, reason, &*raw];
        for (column, value) in self.rows.columns().iter_mut().zip(values) {
            column.push_str(value);
        }
        self.rows.finish_row(1);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows, to be taken.
    pub(crate) fn rows(&mut self) -> &mut RowBuilder {
        &mut self.rows
    }
}

/// A builder's finished rows as the changes of one transaction; `None` when there are none.
pub(crate) fn single_transaction(rows: &mut RowBuilder) -> Option<change::TableChanges> {
    let end = u32::try_from(rows.len()).expect("groups are cut far below 2^32 rows");
    let table = Arc::clone(rows.table());
    (end > 0).then(|| change::TableChanges::new(table, rows.take(), vec![end], Vec::new()))
}
