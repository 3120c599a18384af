//! A table that is redrawn in place.
//!
//! Rows are kept in the order in which they are shown, as Arrow's comparable bytes: first the columns that the view
//! orders by, then its key, then all columns. So a picture costs what it shows, not what the view holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use change::{ChangeBatch, Time};
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Row, Table, TableStyle};
use view::ViewInfo;
use view::text::CellWriter;

use super::Screen;

/// Lines around the rows: the title, the header with its line, the line that counts the hidden rows, and the line on
/// which the cursor rests.
const FRAME_LINES: usize = 5;

/// A line under the header, and nothing else but space: as the commands print their tables.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// The present rows of a view.
pub(super) struct LiveTable {
    name: String,
    schema: SchemaRef,
    converter: RowConverter,
    /// The columns that the order is made of.
    leading: Vec<usize>,
    rows: BTreeMap<Box<[u8]>, i64>,
    row_count: i64,
    /// The lines of the picture that stands.
    lines: usize,
}

impl LiveTable {
    /// Makes an empty table.
    ///
    /// # Errors
    /// When a column's type cannot be sorted by.
    pub(super) fn new(view: &ViewInfo) -> Result<Self, ArrowError> {
        let mut leading: Vec<usize> = view.order.iter().map(|key| key.column).collect();
        let type_of = |column: usize| view.schema.field(column).data_type().clone();
        let mut fields: Vec<SortField> = view
            .order
            .iter()
            .map(|key| SortField::new_with_options(type_of(key.column), key.options))
            .collect();
        leading.extend(&view.key);
        fields.extend(view.key.iter().map(|&column| SortField::new(type_of(column))));
        fields.extend((0..view.schema.fields().len()).map(|at| SortField::new(type_of(at))));
        Ok(Self {
            name: view.name.clone(),
            schema: Arc::clone(&view.schema),
            converter: RowConverter::new(fields)?,
            leading,
            rows: BTreeMap::new(),
            row_count: 0,
            lines: 0,
        })
    }

    /// Moves the rows.
    ///
    /// # Errors
    /// When the rows are not the view's.
    pub(super) fn apply(&mut self, changes: &ChangeBatch) -> Result<(), ArrowError> {
        let columns = changes.rows().columns();
        let leading = self.leading.iter().map(|&column| ArrayRef::clone(&columns[column]));
        let all: Vec<ArrayRef> = leading.chain(columns.iter().cloned()).collect();
        if all.is_empty() {
            return Ok(());
        }
        let rows = self.converter.convert_columns(&all)?;
        for (row, &diff) in rows.iter().zip(changes.diffs()) {
            self.row_count += diff;
            let count = self.rows.entry(row.as_ref().into()).or_insert(0);
            *count += diff;
            if *count == 0 {
                self.rows.remove(row.as_ref());
            }
        }
        Ok(())
    }

    /// Draws the first rows over the picture before.
    ///
    /// # Errors
    /// When the rows cannot be decoded; they can, for they were encoded here.
    pub(super) fn draw(&mut self, time: Time, screen: Screen) -> Result<Vec<u8>, ArrowError> {
        let room = usize::from(screen.height).saturating_sub(FRAME_LINES).max(1);
        let shown = self.first(room)?;
        let mut lines = vec![self.title(time)];
        let drawn = table(std::slice::from_ref(&shown), screen.width, true).trim_fmt();
        lines.extend(drawn.lines().map(str::to_owned));
        let hidden = self.row_count - i64::try_from(shown.num_rows()).unwrap_or(i64::MAX);
        if hidden > 0 {
            lines.push(format!("… {hidden} more"));
        }
        let mut picture = Vec::new();
        if self.lines > 0 {
            // Up to the beginning of the first line.
            picture.extend_from_slice(format!("\x1b[{}F", self.lines).as_bytes());
        }
        for line in &lines {
            picture.extend_from_slice(line.as_bytes());
            // What stood behind it goes.
            picture.extend_from_slice(b"\x1b[K\n");
        }
        // And what stood below.
        picture.extend_from_slice(b"\x1b[J");
        self.lines = lines.len();
        Ok(picture)
    }

    fn title(&self, time: Time) -> String {
        let rows = if self.row_count == 1 { "row" } else { "rows" };
        format!("{} · {} {rows} · time {time}", self.name, self.row_count)
    }

    /// The first `limit` rows, equal rows counted each.
    fn first(&self, limit: usize) -> Result<RecordBatch, ArrowError> {
        let parser = self.converter.parser();
        let each = self.rows.iter().flat_map(|(row, &count)| {
            std::iter::repeat_n(row, usize::try_from(count).unwrap_or(0))
        });
        let rows = each.take(limit).map(|row| parser.parse(row));
        let columns = self.converter.convert_rows(rows)?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns[self.leading.len()..].to_vec())
    }
}

/// Draws all rows once.
pub(super) fn whole_table(rows: &[RecordBatch], width: u16) -> Vec<u8> {
    let mut text = table(rows, width, false).trim_fmt();
    text.push('\n');
    text.into_bytes()
}

fn table(batches: &[RecordBatch], width: u16, one_line: bool) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).force_no_tty();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    if let Some(batch) = batches.first() {
        let schema = batch.schema();
        let mut header = Row::from(schema.fields().iter().map(|field| field.name().as_str()));
        if one_line {
            header.max_height(1);
        }
        table.set_header(header);
    }
    for batch in batches {
        let cells = CellWriter::new(batch);
        for row in 0..cells.len() {
            table.add_row(shown_row(batch, &cells, row, one_line));
        }
    }
    table
}

fn shown_row(batch: &RecordBatch, cells: &CellWriter, row: usize, one_line: bool) -> Row {
    let mut shown = Row::new();
    for (column, array) in batch.columns().iter().enumerate() {
        let text = cells.cell(row, column).unwrap_or_default();
        let text = if one_line { text.replace(['\n', '\r', '\t'], " ") } else { text };
        let is_number = array.data_type().is_numeric();
        let side = if is_number { CellAlignment::Right } else { CellAlignment::Left };
        shown.add_cell(Cell::new(text).set_alignment(side));
    }
    if one_line {
        shown.max_height(1);
    }
    shown
}
