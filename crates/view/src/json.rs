//! Rows as JSON, exactly: what a reader parses is what the source holds.
//!
//! Integers and decimals are JSON numbers with all their digits; floats are the shortest that read back the same, and
//! NaN and the infinities are strings. Timestamps are ISO 8601, instants with `Z`; infinite ones are `"infinity"` and
//! `"-infinity"`. Bytes are `"\\x…"`. Columns of the logical types json and jsonb are embedded as they are. A row never
//! contains a line break, so rows make lines.

use arrow::array::RecordBatch;
use change::ChangeBatch;
use change::batch::DIFF_COLUMN;
use serde_json::value::RawValue;

use crate::cell::{Column, Style, Values, write};

/// A batch's rows, ready to be written as JSON objects.
#[derive(Debug)]
pub struct RowWriter {
    /// `"name":`, a column.
    keys: Vec<Vec<u8>>,
    pub(crate) columns: Vec<Column>,
    rows: usize,
}

impl RowWriter {
    /// Prepares a batch.
    #[must_use]
    pub fn new(rows: &RecordBatch) -> Self {
        let schema = rows.schema();
        let fields = schema.fields();
        let key = |name: &str| {
            let mut key = Vec::with_capacity(name.len() + 3);
            write_string(name, &mut key);
            key.push(b':');
            key
        };
        Self {
            keys: fields.iter().map(|field| key(field.name())).collect(),
            columns: fields
                .iter()
                .zip(rows.columns())
                .map(|(field, array)| Column::new(field, array))
                .collect(),
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

    /// Appends `{"id":1,"name":"a"}`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        self.members(row, out);
        out.push(b'}');
    }

    /// Appends `"id":1,"name":"a"`, for objects that have more members.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn members(&self, row: usize, out: &mut Vec<u8>) {
        for (at, (key, column)) in self.keys.iter().zip(&self.columns).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            write_value(column, row, out);
        }
    }

    /// Appends one value.
    ///
    /// # Panics
    /// When there is no such row or column.
    pub fn value(&self, row: usize, column: usize, out: &mut Vec<u8>) {
        write_value(&self.columns[column], row, out);
    }
}

/// Appends each row as a line.
pub fn write_lines(rows: &RecordBatch, out: &mut Vec<u8>) {
    let writer = RowWriter::new(rows);
    for row in 0..writer.len() {
        writer.row(row, out);
        out.push(b'\n');
    }
}

/// Writes all rows as one JSON array.
#[must_use]
pub fn to_array(batches: &[RecordBatch]) -> Vec<u8> {
    let mut out = vec![b'['];
    for batch in batches {
        let writer = RowWriter::new(batch);
        for row in 0..writer.len() {
            if out.len() > 1 {
                out.push(b',');
            }
            writer.row(row, &mut out);
        }
    }
    out.push(b']');
    out
}

/// Appends changes as one JSON array of rows with their diffs as a first member `_diff`; rows that go stand first.
pub fn write_changes(changes: &ChangeBatch, out: &mut Vec<u8>) {
    let writer = RowWriter::new(changes.rows());
    let mut separator = b'[';
    for gone in [true, false] {
        for (row, &diff) in changes.diffs().iter().enumerate() {
            if (diff < 0) != gone {
                continue;
            }
            out.push(separator);
            separator = b',';
            write(out, format_args!("{{\"{DIFF_COLUMN}\":{diff}"));
            if !writer.keys.is_empty() {
                out.push(b',');
            }
            writer.members(row, out);
            out.push(b'}');
        }
    }
    if separator == b'[' {
        out.push(b'[');
    }
    out.push(b']');
}

/// Reads the rows into JSON values; their numbers keep all digits.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "what this module writes is JSON")]
pub fn to_maps(rows: &RecordBatch) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let writer = RowWriter::new(rows);
    let mut buffer = Vec::new();
    let mut map = |row| {
        buffer.clear();
        writer.row(row, &mut buffer);
        serde_json::from_slice(&buffer).expect("a written row is JSON")
    };
    (0..writer.len()).map(&mut map).collect()
}

/// Appends text as a JSON string.
#[expect(clippy::missing_panics_doc, reason = "memory takes what is written")]
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("memory takes what is written");
}

pub(crate) fn write_value(column: &Column, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    match &column.values {
        Values::Null
        | Values::Bool(_)
        | Values::Integer(_)
        | Values::Unsigned(_)
        | Values::Decimal(..)
        | Values::WideDecimal(..) => column.write_scalar(row, Style::Iso, out),
        Values::Float(array) if array.value(row).is_finite() => {
            column.write_scalar(row, Style::Iso, out);
        }
        Values::Double(array) if array.value(row).is_finite() => {
            column.write_scalar(row, Style::Iso, out);
        }
        Values::Text(array) => write_string(array.value(row), out),
        Values::LargeText(array) => write_string(array.value(row), out),
        Values::Json(array) => write_raw(array.value(row), out),
        Values::Float(_)
        | Values::Double(_)
        | Values::Bytes(_)
        | Values::Date(_)
        | Values::Clock(..)
        | Values::Timestamp(..)
        | Values::Interval(_)
        | Values::Other(_) => {
            let mut text = Vec::new();
            column.write_scalar(row, Style::Iso, &mut text);
            write_string(&String::from_utf8_lossy(&text), out);
        }
        Values::List(offsets, items) => write_list(items, offsets[row]..offsets[row + 1], out),
        Values::Record(members) => {
            let mut separator = b'{';
            for (name, member) in members {
                out.push(separator);
                separator = b',';
                write_string(name, out);
                out.push(b':');
                write_value(member, row, out);
            }
            out.push(b'}');
        }
    }
}

fn write_list(items: &Column, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, item) in range.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_value(items, item, out);
    }
    out.push(b']');
}

/// Embeds JSON text. Text that is not JSON, which a file may declare as such, becomes a string.
fn write_raw(text: &str, out: &mut Vec<u8>) {
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return write_string(text, out);
    }
    // Line breaks in JSON stand only between tokens: inside strings they are escaped.
    let flat = |byte: u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
    out.extend(text.trim().bytes().map(flat));
}
