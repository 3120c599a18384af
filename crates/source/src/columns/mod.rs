//! Rows under construction, column by column: decoders write values straight into the columns' buffers.
//!
//! A row that turns out to be bad half-way is taken back ([`RowBuilder::abandon_row`]), so a column may be one value
//! longer than the finished rows, and is never shorter.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has many types of which only these come from sources"
)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, NullBufferBuilder, RecordBatch, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalUnit, TimeUnit, i256,
};
use change::{ChangeBatch, TableSchema, logical_type};

use crate::text::{self, ValueError};

/// What a text column holds besides text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    /// Any text.
    Plain,
    /// A UUID in its usual form.
    Uuid,
    /// A JSON text.
    Json,
}

/// Values one behind the other, each with its end.
#[derive(Debug)]
pub(crate) struct Bytes {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Bytes {
    fn new() -> Self {
        Self { bytes: Vec::new(), ends: vec![0] }
    }

    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.end();
    }

    fn end(&mut self) {
        let end = i32::try_from(self.bytes.len()).expect("groups are cut far below 2 GiB");
        self.ends.push(end);
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        let end = self.ends.last().map_or(0, |&end| usize::try_from(end).unwrap_or(0));
        self.bytes.truncate(end);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let taken = std::mem::replace(self, Self::new());
        (OffsetBuffer::new(ScalarBuffer::from(taken.ends)), Buffer::from_vec(taken.bytes))
    }
}

/// A column's values; NULL has a placeholder.
#[derive(Debug)]
enum Values {
    Bool(Vec<bool>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal128 { values: Vec<i128>, precision: u8, scale: i8 },
    Decimal256 { values: Vec<i256>, precision: u8, scale: i8 },
    Text { values: Bytes, kind: TextKind },
    Binary(Bytes),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp { values: Vec<i64>, zone: Option<Arc<str>> },
    Interval(Vec<IntervalMonthDayNano>),
    List { ends: Vec<i32>, items: Box<Column>, item: FieldRef },
}

/// A column under construction.
#[derive(Debug)]
pub(crate) struct Column {
    values: Values,
    nulls: NullBufferBuilder,
}

impl Column {
    /// Begins a column of the field's type; `None` when no source has such a type.
    pub(crate) fn new(field: &Field) -> Option<Self> {
        let kind = match logical_type(field) {
            Some("uuid") => TextKind::Uuid,
            Some("json" | "jsonb") => TextKind::Json,
            _ => TextKind::Plain,
        };
        let values = match field.data_type() {
            DataType::Boolean => Values::Bool(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            &DataType::Decimal128(precision, scale) => {
                Values::Decimal128 { values: Vec::new(), precision, scale }
            }
            &DataType::Decimal256(precision, scale) => {
                Values::Decimal256 { values: Vec::new(), precision, scale }
            }
            DataType::Utf8 => Values::Text { values: Bytes::new(), kind },
            DataType::Binary => Values::Binary(Bytes::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Values::Timestamp { values: Vec::new(), zone: zone.clone() }
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Values::Interval(Vec::new()),
            DataType::List(item) => Values::List {
                ends: vec![0],
                items: Box::new(Self::new(item)?),
                item: Arc::clone(item),
            },
            _ => return None,
        };
        Some(Self { values, nulls: NullBufferBuilder::new(0) })
    }

    /// How many values the column holds.
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Whether the value at `row` is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        !self.nulls.is_valid(row)
    }

    /// What the text is, when it is a text column.
    pub(crate) fn text_kind(&self) -> Option<TextKind> {
        match &self.values {
            Values::Text { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// The items' column and nothing else, when it is a list.
    pub(crate) fn items(&mut self) -> Option<&mut Self> {
        match &mut self.values {
            Values::List { items, .. } => Some(items),
            _ => None,
        }
    }

    /// Ends a list whose items were pushed to [`items`](Self::items).
    pub(crate) fn end_list(&mut self) {
        let Values::List { ends, items, .. } = &mut self.values else {
            unreachable!("only a list has items");
        };
        ends.push(i32::try_from(items.len()).expect("groups are cut far below 2^31 items"));
        self.nulls.append_non_null();
    }

    /// Appends NULL.
    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Bool(values) => values.push(false),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { values, .. } => {
                values.push(0);
            }
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal128 { values, .. } => values.push(0),
            Values::Decimal256 { values, .. } => values.push(i256::ZERO),
            Values::Text { values, .. } | Values::Binary(values) => values.end(),
            Values::Interval(values) => values.push(IntervalMonthDayNano::ZERO),
            Values::List { ends, items, .. } => {
                ends.push(i32::try_from(items.len()).expect("groups are cut far below 2^31 items"));
            }
        }
        self.nulls.append_null();
    }

    /// Appends the value that a text says, as PostgreSQL reads and writes it. Text is taken as it is; UUIDs and JSON
    /// are checked.
    ///
    /// # Errors
    /// When the text is no value of the type; then nothing was appended.
    pub(crate) fn push_text(&mut self, text: &str) -> Result<(), ValueError> {
        match &mut self.values {
            Values::Bool(values) => values.push(text::parse_bool(text)?),
            Values::Int16(values) => values.push(integer("smallint", text)?),
            Values::Int32(values) => values.push(integer("integer", text)?),
            Values::Int64(values) => values.push(integer("bigint", text)?),
            Values::Float32(values) => values.push(float("real", text)?),
            Values::Float64(values) => values.push(float("double precision", text)?),
            Values::Decimal128 { values, precision, scale } => {
                values.push(text::parse_decimal128(text, *precision, *scale)?);
            }
            Values::Decimal256 { values, precision, scale } => {
                values.push(text::parse_decimal256(text, *precision, *scale)?);
            }
            Values::Text { values, kind: TextKind::Plain } => values.push(text.as_bytes()),
            Values::Text { values, kind: TextKind::Uuid } => {
                values.push(text::parse_uuid(text)?.as_bytes());
            }
            Values::Text { values, kind: TextKind::Json } => {
                serde_json::from_str::<serde::de::IgnoredAny>(text)
                    .map_err(|error| ValueError(format!("malformed JSON: {error}")))?;
                values.push(text.as_bytes());
            }
            Values::Binary(values) => values.push(&text::parse_bytea(text)?),
            Values::Date(values) => values.push(text::parse_date(text)?),
            Values::Time(values) => values.push(text::parse_time(text)?),
            Values::Timestamp { values, zone: None } => values.push(text::parse_timestamp(text)?),
            Values::Timestamp { values, zone: Some(_) } => {
                values.push(text::parse_timestamptz(text)?);
            }
            Values::Interval(values) => values.push(text::parse_interval(text)?),
            Values::List { .. } => return self.push_array(text),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    fn push_array(&mut self, text: &str) -> Result<(), ValueError> {
        let parsed = text::parse_array(text)?;
        let items = self.items().expect("only lists come here");
        let before = items.len();
        for item in parsed {
            let pushed = match item {
                Some(item) => items.push_text(&item),
                None => {
                    items.push_null();
                    Ok(())
                }
            };
            if let Err(error) = pushed {
                items.truncate(before);
                return Err(error);
            }
        }
        self.end_list();
        Ok(())
    }

    /// Appends text without checking what it says. The column must be text.
    pub(crate) fn push_str(&mut self, value: &str) {
        let Values::Text { values, .. } = &mut self.values else { self.mismatch() };
        values.push(value.as_bytes());
        self.nulls.append_non_null();
    }

    /// Appends bytes. The column must be `Binary`.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) {
        let Values::Binary(values) = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends a boolean. The column must be `Boolean`.
    pub(crate) fn push_bool(&mut self, value: bool) {
        let Values::Bool(values) = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends a small integer. The column must be `Int16`.
    pub(crate) fn push_i16(&mut self, value: i16) {
        let Values::Int16(values) = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends an integer, or a date in days since 1970. The column must be `Int32` or `Date32`.
    pub(crate) fn push_i32(&mut self, value: i32) {
        let (Values::Int32(values) | Values::Date(values)) = &mut self.values else {
            self.mismatch()
        };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends an integer, a time of day or a timestamp in microseconds. The column must be of such a type.
    pub(crate) fn push_i64(&mut self, value: i64) {
        let (Values::Int64(values) | Values::Time(values) | Values::Timestamp { values, .. }) =
            &mut self.values
        else {
            self.mismatch()
        };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends a float. The column must be `Float32`.
    pub(crate) fn push_f32(&mut self, value: f32) {
        let Values::Float32(values) = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends a float. The column must be `Float64`.
    pub(crate) fn push_f64(&mut self, value: f64) {
        let Values::Float64(values) = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends a decimal in units of its last place. The column must be `Decimal128`.
    pub(crate) fn push_i128(&mut self, value: i128) {
        let Values::Decimal128 { values, .. } = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends a decimal in units of its last place. The column must be `Decimal256`.
    pub(crate) fn push_i256(&mut self, value: i256) {
        let Values::Decimal256 { values, .. } = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    /// Appends an interval. The column must be `Interval`.
    pub(crate) fn push_interval(&mut self, value: IntervalMonthDayNano) {
        let Values::Interval(values) = &mut self.values else { self.mismatch() };
        values.push(value);
        self.nulls.append_non_null();
    }

    fn mismatch(&self) -> ! {
        unreachable!("the schema said another type than that of {self:?}")
    }

    /// Takes back all values behind the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if self.len() <= len {
            return;
        }
        self.nulls.truncate(len);
        match &mut self.values {
            Values::Bool(values) => values.truncate(len),
            Values::Int16(values) => values.truncate(len),
            Values::Int32(values) | Values::Date(values) => values.truncate(len),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { values, .. } => {
                values.truncate(len);
            }
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal128 { values, .. } => values.truncate(len),
            Values::Decimal256 { values, .. } => values.truncate(len),
            Values::Text { values, .. } | Values::Binary(values) => values.truncate(len),
            Values::Interval(values) => values.truncate(len),
            Values::List { ends, items, .. } => {
                ends.truncate(len + 1);
                let end = ends.last().map_or(0, |&end| usize::try_from(end).unwrap_or(0));
                items.truncate(end);
            }
        }
    }

    /// Returns the values as an array; the column is empty again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish().filter(|nulls| nulls.null_count() > 0);
        match &mut self.values {
            Values::Bool(values) => {
                Arc::new(BooleanArray::new(std::mem::take(values).into(), nulls))
            }
            Values::Int16(values) => Arc::new(Int16Array::new(taken(values), nulls)),
            Values::Int32(values) => Arc::new(Int32Array::new(taken(values), nulls)),
            Values::Int64(values) => Arc::new(Int64Array::new(taken(values), nulls)),
            Values::Float32(values) => Arc::new(Float32Array::new(taken(values), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(taken(values), nulls)),
            Values::Decimal128 { values, precision, scale } => {
                let array = Decimal128Array::new(taken(values), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale).expect(DECIMAL))
            }
            Values::Decimal256 { values, precision, scale } => {
                let array = Decimal256Array::new(taken(values), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale).expect(DECIMAL))
            }
            Values::Text { values, .. } => {
                let (offsets, bytes) = values.take();
                Arc::new(StringArray::new(offsets, bytes, nulls))
            }
            Values::Binary(values) => {
                let (offsets, bytes) = values.take();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Values::Date(values) => Arc::new(Date32Array::new(taken(values), nulls)),
            Values::Time(values) => Arc::new(Time64MicrosecondArray::new(taken(values), nulls)),
            Values::Timestamp { values, zone } => {
                let array = TimestampMicrosecondArray::new(taken(values), nulls);
                Arc::new(array.with_timezone_opt(zone.clone()))
            }
            Values::Interval(values) => {
                Arc::new(IntervalMonthDayNanoArray::new(taken(values), nulls))
            }
            Values::List { ends, items, item } => {
                let ends = std::mem::replace(ends, vec![0]);
                list(ends, items.finish(), item, nulls)
            }
        }
    }
}

/// Reads texts as PostgreSQL reads them into a column of that type; `None` is NULL.
///
/// # Errors
/// What is wrong with the first text that is no value of the type, or that no column of that type can be read.
pub fn read_texts<'a>(
    field: &Field,
    texts: impl Iterator<Item = Option<&'a str>>,
) -> Result<ArrayRef, String> {
    let column = Column::new(field);
    let mut column = column.ok_or_else(|| format!("no text is a {}", field.data_type()))?;
    for text in texts {
        match text {
            Some(text) => column.push_text(text).map_err(|ValueError(reason)| reason)?,
            None => column.push_null(),
        }
    }
    Ok(column.finish())
}

const DECIMAL: &str = "the type was valid in the schema";

fn taken<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(std::mem::take(values))
}

fn list(ends: Vec<i32>, items: ArrayRef, item: &FieldRef, nulls: Option<NullBuffer>) -> ArrayRef {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Arc::new(ListArray::new(Arc::clone(item), offsets, items, nulls))
}

/// Reads an integer; also one that is written as a decimal without losing anything: `1.0`, `2e3`.
fn integer<T>(type_name: &str, text: &str) -> Result<T, ValueError>
where
    T: std::str::FromStr + TryFrom<i128>,
{
    if let Ok(value) = text.parse() {
        return Ok(value);
    }
    let whole = text::parse_decimal128(text, 38, 0)
        .map_err(|_misfit| ValueError::not_a(type_name, text))?;
    T::try_from(whole).map_err(|_overflow| {
        ValueError(format!("{} is out of range for {type_name}", text::Quoted(text)))
    })
}

fn float<T: std::str::FromStr>(type_name: &str, text: &str) -> Result<T, ValueError> {
    text.parse().ok().ok_or_else(|| ValueError::not_a(type_name, text))
}

/// Rows of one table under construction, with their diffs.
#[derive(Debug)]
pub(crate) struct RowBuilder {
    table: Arc<TableSchema>,
    columns: Vec<Column>,
    diffs: Vec<i64>,
}

impl RowBuilder {
    /// Begins rows of a table.
    ///
    /// # Panics
    /// When a column has a type that no source has; the source made the schema itself.
    pub(crate) fn new(table: Arc<TableSchema>) -> Self {
        let column = |field: &FieldRef| Column::new(field).expect("the source made this schema");
        let columns = table.columns().fields().iter().map(column).collect();
        Self { table, columns, diffs: Vec::new() }
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// How many rows are finished.
    pub(crate) fn len(&self) -> usize {
        self.diffs.len()
    }

    /// The columns. Push at most one value to each between the ends of rows.
    pub(crate) fn columns(&mut self) -> &mut [Column] {
        &mut self.columns
    }

    /// Ends a row; columns that got no value are NULL.
    pub(crate) fn finish_row(&mut self, diff: i64) {
        self.diffs.push(diff);
        for column in &mut self.columns {
            if column.len() < self.diffs.len() {
                column.push_null();
            }
            debug_assert_eq!(column.len(), self.diffs.len(), "one value a row");
        }
    }

    /// Takes back the values since the last finished row.
    pub(crate) fn abandon_row(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.diffs.len());
        }
    }

    /// Returns the finished rows; the builder is empty again.
    pub(crate) fn take(&mut self) -> ChangeBatch {
        self.abandon_row();
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        let rows = RecordBatch::try_new(Arc::clone(self.table.columns()), arrays)
            .expect("the columns were made from this schema");
        ChangeBatch::new(rows, std::mem::take(&mut self.diffs).into())
    }
}

#[cfg(test)]
mod tests;
