//! Rows on standard output, in the forms that `-o` names.

use std::io::{self, IsTerminal, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use view::text::CellWriter;
use view::{json, text};

use crate::cli::OutputFormat;
use crate::failure::Failure;

/// The form that was asked for; else a table on a terminal and ndjson otherwise.
pub(crate) fn chosen(format: Option<OutputFormat>) -> OutputFormat {
    let terminal = io::stdout().is_terminal();
    format.unwrap_or(if terminal { OutputFormat::Table } else { OutputFormat::Ndjson })
}

/// Prints rows.
pub(crate) fn print_rows(
    schema: &SchemaRef,
    rows: &[RecordBatch],
    format: OutputFormat,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    match format {
        OutputFormat::Json => {
            bytes = json::to_array(rows);
            bytes.push(b'\n');
        }
        OutputFormat::Ndjson => rows.iter().for_each(|batch| json::write_lines(batch, &mut bytes)),
        OutputFormat::Csv => bytes = text::to_csv(schema, rows),
        OutputFormat::Table => bytes = table_of(schema, rows).into_bytes(),
    }
    print(&bytes)
}

/// Prints a value as JSON, or as a table that the caller has drawn.
pub(crate) fn print_value(
    value: &impl Serialize,
    format: OutputFormat,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let serialized = |result: serde_json::Result<String>| {
        result.expect("what we print has text keys and plain values") + "\n"
    };
    let text = match format {
        OutputFormat::Json => serialized(serde_json::to_string_pretty(value)),
        OutputFormat::Ndjson => serialized(serde_json::to_string(value)),
        OutputFormat::Csv | OutputFormat::Table => table(),
    };
    print(text.as_bytes())
}

/// Prints bytes. A reader that has gone away (`| head`) has seen enough.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write to standard output", error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// An empty table in the house's style.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn table_of(schema: &SchemaRef, batches: &[RecordBatch]) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut table = table(&names);
    let mut count = 0;
    for batch in batches {
        let cells = CellWriter::new(batch);
        for row in 0..cells.len() {
            let columns = schema.fields().iter().enumerate();
            table.add_row(columns.map(|(column, field)| {
                let text = cells.cell(row, column).unwrap_or_default();
                Cell::new(text).set_alignment(alignment(field.data_type()))
            }));
        }
        count += batch.num_rows();
    }
    let rows = if count == 1 { "row" } else { "rows" };
    format!("{table}\n{count} {rows}\n")
}

fn alignment(data_type: &DataType) -> CellAlignment {
    if data_type.is_numeric() { CellAlignment::Right } else { CellAlignment::Left }
}
