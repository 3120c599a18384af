//! Cells as text, for tables and CSV: what PostgreSQL's own text output shows, but `true` and `false` in full.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::cell::{Column, Values};
use crate::json;

/// A batch's cells, ready to be shown.
#[derive(Debug)]
pub struct CellWriter {
    columns: Vec<Column>,
    rows: usize,
}

impl CellWriter {
    /// Prepares a batch.
    #[must_use]
    pub fn new(rows: &RecordBatch) -> Self {
        let schema = rows.schema();
        let columns = schema.fields().iter().zip(rows.columns());
        Self {
            columns: columns.map(|(field, array)| Column::new(field, array)).collect(),
            rows: rows.num_rows(),
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The cell's text; `None` for NULL.
    ///
    /// # Panics
    /// When there is no such row or column.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> Option<String> {
        let column = &self.columns[column];
        if column.is_null(row) {
            return None;
        }
        let mut out = Vec::new();
        write_cell(column, row, &mut out);
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    /// Appends the row as a line of CSV. NULL is an empty cell, an empty text is `""`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn csv_row(&self, row: usize, out: &mut Vec<u8>) {
        for column in 0..self.columns.len() {
            if column > 0 {
                out.push(b',');
            }
            if let Some(cell) = self.cell(row, column) {
                write_csv_cell(&cell, out);
            }
        }
        out.push(b'\n');
    }
}

/// Appends the column names as a line of CSV.
pub fn csv_header(schema: &SchemaRef, out: &mut Vec<u8>) {
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_csv_cell(field.name(), out);
    }
    out.push(b'\n');
}

/// Writes all rows as CSV with a header.
#[must_use]
pub fn to_csv(schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<u8> {
    let mut out = Vec::new();
    csv_header(schema, &mut out);
    for batch in batches {
        let writer = CellWriter::new(batch);
        for row in 0..writer.len() {
            writer.csv_row(row, &mut out);
        }
    }
    out
}

fn write_csv_cell(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

pub(crate) fn write_cell(column: &Column, row: usize, out: &mut Vec<u8>) {
    match &column.values {
        Values::Record(_) => json::write_value(column, row, out),
        Values::List(..)
        | Values::Null
        | Values::Bool(_)
        | Values::Integer(_)
        | Values::Unsigned(_)
        | Values::Float(_)
        | Values::Double(_)
        | Values::Decimal(..)
        | Values::WideDecimal(..)
        | Values::Text(_)
        | Values::LargeText(_)
        | Values::Json(_)
        | Values::Bytes(_)
        | Values::Date(_)
        | Values::Clock(..)
        | Values::Timestamp(..)
        | Values::Interval(_)
        | Values::Other(_) => column.write_text(row, out),
    }
}
