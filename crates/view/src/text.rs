//! Cells as text, for tables and CSV: what PostgreSQL's own text output shows, but `true` and `false` in full.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::cell::{Column, Style, Values};
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
    write_quoted(text, b"\"\"", out);
}

/// Writes text in double quotes, each quote within as `escaped`.
fn write_quoted(text: &str, escaped: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.extend_from_slice(escaped);
        } else {
            out.push(byte);
        }
    }
    out.push(b'"');
}

pub(crate) fn write_cell(column: &Column, row: usize, out: &mut Vec<u8>) {
    match &column.values {
        Values::List(offsets, items) => write_list(items, offsets[row]..offsets[row + 1], out),
        Values::Record(_) => json::write_value(column, row, out),
        Values::Null
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
        | Values::Other(_) => column.write_scalar(row, Style::Postgres, out),
    }
}

/// Writes PostgreSQL's array form: `{a,"b c",NULL}`.
fn write_list(items: &Column, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, item) in range.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if items.is_null(item) {
            out.extend_from_slice(b"NULL");
            continue;
        }
        let mut cell = Vec::new();
        write_cell(items, item, &mut cell);
        let cell = String::from_utf8_lossy(&cell);
        let special = |c: char| c.is_whitespace() || matches!(c, ',' | '"' | '\\' | '{' | '}');
        let nested = matches!(items.values, Values::List(..));
        let plain = !cell.is_empty() && !cell.eq_ignore_ascii_case("null");
        if nested || plain && !cell.contains(special) {
            out.extend_from_slice(cell.as_bytes());
        } else {
            write_quoted(&cell.replace('\\', "\\\\"), b"\\\"", out);
        }
    }
    out.push(b'}');
}
