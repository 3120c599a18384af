//! Rows on standard output, in the forms that `-o` names.

use std::io::{self, IsTerminal, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;
use serve::api::Row;
use view::text::CellWriter;
use view::{Lacking, json, text};

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

/// Rows as JSON objects.
pub(crate) fn objects(batches: &[RecordBatch]) -> Vec<Row> {
    serde_json::from_slice(&json::to_array(batches)).expect("rows are objects")
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    print((text.expect("what we print has text keys and plain values") + "\n").as_bytes())
}

/// Whether somebody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Somebody does.
    There,
    /// The reader has gone away (`| head`): it has seen enough.
    Gone,
}

/// Prints bytes, whether somebody reads them or not.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    write(bytes).map(drop)
}

/// Prints bytes, and says whether somebody reads them.
pub(crate) fn write(bytes: &[u8]) -> Result<Reader, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::io("cannot write to standard output", error)),
    }
}

/// Tells, beside the rows, which views that were read lack some.
pub(crate) fn warn(lacking: &[Lacking]) -> Result<(), Failure> {
    let mut errors = io::stderr().lock();
    for lacking in lacking {
        writeln!(errors, "warning: {lacking}")
            .map_err(|error| Failure::io("cannot write to standard error", error))?;
    }
    Ok(())
}

/// A line under the header, and nothing else but space.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// An empty table in the house's style.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

/// A table as text, without spaces at the ends of lines.
pub(crate) fn drawn(table: &Table) -> String {
    table.trim_fmt() + "\n"
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
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
    format!("{}\n{}\n", drawn(&table), counted(count as u64, "row"))
}

fn alignment(data_type: &DataType) -> CellAlignment {
    if data_type.is_numeric() { CellAlignment::Right } else { CellAlignment::Left }
}
