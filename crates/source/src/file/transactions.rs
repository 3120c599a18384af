//! A file's records into transactions: as many records as a group may hold are one transaction.
//!
//! Invariant: where a transaction ends depends on the records alone, never on how the bytes came in, so the same file
//! gives the same transactions. (Live input adds ends where it pauses.)

use std::sync::Arc;

use change::catalog::{CatalogChange, Kind as CatalogKind, catalog_changes};
use change::limits::{GROUP_BYTES_TARGET, GROUP_ROWS_MAX};
use change::{Part, SourcePosition, TableSchema, TransactionGroup, TransactionHead};

use super::csv::CsvDecoder;
use super::ndjson::NdjsonDecoder;
use super::records::{Found, Kind, Records};
use crate::columns::RowBuilder;
use crate::dead_letters::{DeadLetters, single_transaction};
use crate::text::ValueError;

/// Reads a record of the file's format.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// JSON objects.
    Ndjson(NdjsonDecoder),
    /// CSV.
    Csv(CsvDecoder),
}

impl Decoder {
    fn decode(&mut self, record: &[u8], rows: &mut RowBuilder) -> Result<(), ValueError> {
        match self {
            Self::Ndjson(decoder) => decoder.decode(record, rows),
            Self::Csv(decoder) => decoder.decode(record, rows),
        }
    }
}

/// What the transactions are made with.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The source's name.
    pub(crate) source: Arc<str>,
    /// The table that the records are rows of.
    pub(crate) table: Arc<TableSchema>,
    /// The decoder of records.
    pub(crate) decoder: Decoder,
    /// The records.
    pub(crate) records: Records,
    /// Whether the next record is a header.
    pub(crate) header_next: bool,
    /// What the catalogue is to know of the source, with the first transaction.
    pub(crate) state: Option<String>,
}

/// Makes transactions of blocks of bytes.
#[derive(Debug)]
pub(crate) struct Transactions {
    parts: Parts,
    rows: RowBuilder,
    dead: DeadLetters,
    /// The bytes of the records gathered.
    bytes: usize,
    /// How many dead letters there were and nobody has counted yet.
    dead_letters: u64,
}

impl Transactions {
    /// Begins with nothing gathered.
    pub(crate) fn new(parts: Parts) -> Self {
        let rows = RowBuilder::new(Arc::clone(&parts.table));
        let dead = DeadLetters::new(parts.table.name().clone());
        Self { parts, rows, dead, bytes: 0, dead_letters: 0 }
    }

    /// Takes in a block and returns the transactions that are full.
    pub(crate) fn feed(&mut self, block: &[u8]) -> Vec<TransactionGroup> {
        self.parts.records.feed(block);
        self.drain()
    }

    /// Says that nothing more comes, and returns the last transactions.
    pub(crate) fn finish(&mut self) -> Vec<TransactionGroup> {
        self.parts.records.finish();
        let mut groups = self.drain();
        groups.extend(self.flush());
        groups
    }

    /// Ends the transaction with what has been gathered; `None`: nothing has.
    pub(crate) fn flush(&mut self) -> Option<TransactionGroup> {
        if self.gathered() == 0 {
            return None;
        }
        let position = self.parts.records.position();
        let mut tables: Vec<_> = single_transaction(&mut self.rows).into_iter().collect();
        tables.extend(single_transaction(self.dead.rows()));
        if let Some(state) = self.parts.state.take() {
            let name = self.parts.source.to_string();
            let change =
                CatalogChange { kind: CatalogKind::SourceState, name, definition: Some(state) };
            tables.push(catalog_changes(&[change]));
        }
        self.bytes = 0;
        let heads = vec![TransactionHead::at(position, None)];
        Some(TransactionGroup::new(Arc::clone(&self.parts.source), Part::Whole, heads, tables))
    }

    /// Whether something waits for its transaction's end.
    pub(crate) fn is_gathering(&self) -> bool {
        self.gathered() > 0
    }

    /// The place behind the last record read.
    pub(crate) fn position(&self) -> SourcePosition {
        self.parts.records.position()
    }

    /// How many dead letters there were since this was asked last.
    pub(crate) fn take_dead_letters(&mut self) -> u64 {
        std::mem::take(&mut self.dead_letters)
    }

    fn gathered(&self) -> usize {
        self.rows.len() + self.dead.len()
    }

    fn drain(&mut self) -> Vec<TransactionGroup> {
        let mut groups = Vec::new();
        while let Some(found) = self.parts.records.next() {
            self.take(found);
            if self.gathered() >= GROUP_ROWS_MAX || self.bytes >= GROUP_BYTES_TARGET {
                groups.extend(self.flush());
            }
        }
        groups
    }

    fn take(&mut self, found: Found) {
        let Self { parts, rows, dead, .. } = self;
        let record = parts.records.bytes(&found);
        if record.trim_ascii().is_empty() {
            return;
        }
        if std::mem::take(&mut parts.header_next) {
            return;
        }
        self.bytes += record.len();
        let taken = match found.kind {
            Kind::Whole => parts.decoder.decode(record, rows).and_then(|()| check_key(rows)),
            Kind::TooLong => Err(ValueError("the line is too long".to_owned())),
            Kind::Unclosed => Err(ValueError("a quote is not closed".to_owned())),
        };
        match taken {
            Ok(()) => rows.finish_row(1),
            Err(ValueError(reason)) => {
                rows.abandon_row();
                dead.push(&format!("line {}", found.line), &reason, record);
                self.dead_letters += 1;
            }
        }
    }
}

/// A row without a key cannot be found again.
fn check_key(rows: &mut RowBuilder) -> Result<(), ValueError> {
    if rows.table().key().is_empty() {
        return Ok(());
    }
    let (row, table) = (rows.len(), Arc::clone(rows.table()));
    for &place in table.key() {
        let column = &rows.columns()[place];
        if column.len() <= row || column.is_null(row) {
            let name = table.columns().field(place).name();
            return Err(ValueError(format!("the key column {name} has no value")));
        }
    }
    Ok(())
}
