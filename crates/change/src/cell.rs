//! One column's values, ready to be written as text, whatever their Arrow type.
//!
//! JSON and display text differ in quoting and in a few spellings; what a value looks like is decided here, once.
//! Nothing passes through a float that is not one. An infinite date or timestamp is the smallest or largest value of
//! its Arrow type, as PostgreSQL stores them too.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has many types; those that are not named here share one fallback"
)]

use std::io::Write as _;

use crate::schema::{logical_type, with_logical_type};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Decimal256Array, Float32Array,
    Float64Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray,
    LargeStringArray, StringArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Date32Type, Decimal128Type, Decimal256Type, Field,
    Float32Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit, UInt64Type, i256,
};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

/// A column whose values can be written.
#[derive(Debug)]
pub struct Column {
    nulls: Option<NullBuffer>,
    /// The values.
    pub values: Values,
}

/// The values of a column, by how they are written.
#[derive(Debug)]
pub enum Values {
    /// Nothing but NULL.
    Null,
    /// True and false.
    Bool(BooleanArray),
    /// Whole numbers.
    Integer(Int64Array),
    /// Whole numbers from 0.
    Unsigned(UInt64Array),
    /// `real`.
    Float(Float32Array),
    /// `double precision`.
    Double(Float64Array),
    /// Decimals of at most 38 digits.
    Decimal(Decimal128Array, DecimalForm),
    /// Decimals of at most 76 digits.
    WideDecimal(Decimal256Array, DecimalForm),
    /// Text.
    Text(StringArray),
    /// Text with long offsets.
    LargeText(LargeStringArray),
    /// Text that is JSON itself.
    Json(LargeStringArray),
    /// Bytes.
    Bytes(LargeBinaryArray),
    /// Days since 1970.
    Date(Int32Array),
    /// Since midnight.
    Clock(Int64Array, TimeUnit),
    /// Since 1970, and whether it is an instant (UTC) or the reading of some clock.
    Timestamp(Int64Array, TimeUnit, Zone),
    /// Row `n` is the values in `offsets[n]..offsets[n + 1]`.
    List(Vec<usize>, Box<Column>),
    /// Fields by name.
    Record(Vec<(String, Column)>),
    /// Months, days and the time, kept apart.
    Interval(IntervalMonthDayNanoArray),
    /// What Arrow shows.
    Other(ArrayRef),
}

/// How a decimal's digits are shown.
#[derive(Clone, Copy, Debug)]
pub struct DecimalForm {
    scale: i8,
    /// Whether trailing zeros behind the point say nothing.
    trimmed: bool,
}

/// Whether a timestamp is an instant or the reading of some clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// An instant.
    Utc,
    /// A clock's reading.
    None,
}

/// The two spellings of dates and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `2026-01-02T03:04:05.678Z`
    Iso,
    /// `2026-01-02 03:04:05.678+00`
    Postgres,
}

impl Column {
    /// Prepares a column for writing.
    pub fn new(field: &Field, array: &ArrayRef) -> Self {
        let values = values(field, array).unwrap_or_else(|_| Values::Other(ArrayRef::clone(array)));
        Self { nulls: array.logical_nulls(), values }
    }

    /// Whether the value is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null)
            || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The value as text, if that is what it is.
    pub fn text(&self, row: usize) -> Option<&str> {
        match &self.values {
            Values::Text(array) => Some(array.value(row)),
            Values::LargeText(array) | Values::Json(array) => Some(array.value(row)),
            _ => None,
        }
    }

    /// The text of a value within a list or a record, where booleans are short.
    fn inner_text(&self, row: usize) -> String {
        if let Values::Bool(array) = &self.values {
            return if array.value(row) { "t" } else { "f" }.to_owned();
        }
        let mut cell = Vec::new();
        self.write_text(row, &mut cell);
        String::from_utf8_lossy(&cell).into_owned()
    }

    /// Writes a value that is not NULL as PostgreSQL's cast to text does.
    pub fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::List(offsets, items) => write_list(items, offsets[row]..offsets[row + 1], out),
            Values::Record(fields) => write_record(fields, row, out),
            _ => self.write_scalar(row, Style::Postgres, out),
        }
    }

    /// Writes a value that is neither NULL, text, list nor record, without quotes.
    pub fn write_scalar(&self, row: usize, style: Style, out: &mut Vec<u8>) {
        match &self.values {
            Values::Null => out.extend_from_slice(b"null"),
            Values::Bool(array) => write(out, format_args!("{}", array.value(row))),
            Values::Integer(array) => write(out, format_args!("{}", array.value(row))),
            Values::Unsigned(array) => write(out, format_args!("{}", array.value(row))),
            Values::Float(array) => write_float(array.value(row), style, out),
            Values::Double(array) => write_double(array.value(row), style, out),
            Values::Decimal(array, form) => write_decimal(array.value(row), *form, out),
            Values::WideDecimal(array, form) => {
                let value = array.value(row);
                match value.to_i128() {
                    Some(value) => write_decimal(value, *form, out),
                    None => write_digits(&wide_digits(value), value.is_negative(), *form, out),
                }
            }
            Values::Bytes(array) => write_hex(array.value(row), out),
            Values::Date(array) => write_date(array.value(row), style, out),
            Values::Clock(array, unit) => write_clock(array.value(row), *unit, out),
            Values::Timestamp(array, unit, zone) => {
                write_timestamp(array.value(row), *unit, *zone, style, out);
            }
            Values::Text(_) | Values::LargeText(_) | Values::Json(_) => {
                out.extend_from_slice(self.text(row).unwrap_or_default().as_bytes());
            }
            Values::Interval(array) => write_interval(array.value(row), out),
            Values::List(..) | Values::Record(_) => self.write_text(row, out),
            Values::Other(array) => match array_value_to_string(array, row) {
                Ok(text) => out.extend_from_slice(text.as_bytes()),
                Err(error) => write(out, format_args!("(cannot be shown: {error})")),
            },
        }
    }
}

fn values(field: &Field, array: &ArrayRef) -> Result<Values, ArrowError> {
    let values = match array.data_type() {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Bool(array.as_boolean().clone()),
        DataType::UInt64 => Values::Unsigned(array.as_primitive::<UInt64Type>().clone()),
        integer if integer.is_integer() => Values::Integer(integers(array)?),
        DataType::Float16 | DataType::Float32 => {
            let array = cast(array, &DataType::Float32)?;
            Values::Float(array.as_primitive::<Float32Type>().clone())
        }
        DataType::Float64 => Values::Double(array.as_primitive::<Float64Type>().clone()),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => {
            let array = cast(array, &DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale))?;
            let form = DecimalForm { scale: *scale, trimmed: unconstrained(field) };
            Values::Decimal(array.as_primitive::<Decimal128Type>().clone(), form)
        }
        DataType::Decimal256(precision, scale) => {
            // This is how a numeric without precision is stored, also when the plan has lost its logical type.
            let trimmed = unconstrained(field) || (*precision, *scale) == (76, 18);
            let form = DecimalForm { scale: *scale, trimmed };
            Values::WideDecimal(array.as_primitive::<Decimal256Type>().clone(), form)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => texts(field, array)?,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            Values::Bytes(cast(array, &DataType::LargeBinary)?.as_binary::<i64>().clone())
        }
        DataType::Date32 | DataType::Date64 => {
            let days = cast(array, &DataType::Date32)?;
            Values::Date(days.as_primitive::<Date32Type>().reinterpret_cast::<Int32Type>())
        }
        DataType::Time32(unit) => {
            let array = cast(array, &DataType::Int32)?;
            Values::Clock(integers(&array)?, *unit)
        }
        DataType::Time64(unit) => Values::Clock(integers(array)?, *unit),
        DataType::Timestamp(unit, zone) => {
            let zone = if zone.is_some() { Zone::Utc } else { Zone::None };
            Values::Timestamp(integers(array)?, *unit, zone)
        }
        DataType::Interval(unit) => {
            let parts = match unit {
                IntervalUnit::MonthDayNano => ArrayRef::clone(array),
                _ => cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))?,
            };
            Values::Interval(parts.as_primitive::<IntervalMonthDayNanoType>().clone())
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let column = |(field, array): (&std::sync::Arc<Field>, &ArrayRef)| {
                (field.name().clone(), Column::new(field, array))
            };
            Values::Record(columns.map(column).collect())
        }
        _ => return nested(field, array),
    };
    Ok(values)
}

fn nested(field: &Field, array: &ArrayRef) -> Result<Values, ArrowError> {
    // What Arrow's type leaves out of the items is noted at the list.
    let logical = logical_type(field).and_then(|logical| logical.strip_suffix("[]"));
    let column = |item: &Field, values: &ArrayRef| match logical {
        Some(logical) => Column::new(&with_logical_type(item.clone(), logical), values),
        None => Column::new(item, values),
    };
    match array.data_type() {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets().iter();
            let offsets = offsets.map(|&at| usize::try_from(at).unwrap_or_default()).collect();
            Ok(Values::List(offsets, Box::new(column(item, list.values()))))
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets().iter();
            let offsets = offsets.map(|&at| usize::try_from(at).unwrap_or_default()).collect();
            Ok(Values::List(offsets, Box::new(column(item, list.values()))))
        }
        DataType::FixedSizeList(item, _) | DataType::ListView(item) => {
            nested(field, &cast(array, &DataType::LargeList(std::sync::Arc::clone(item)))?)
        }
        DataType::Dictionary(_, value) => {
            let field = Field::new("value", value.as_ref().clone(), true);
            values(&field, &cast(array, value)?)
        }
        _ => Ok(Values::Other(ArrayRef::clone(array))),
    }
}

fn integers(array: &ArrayRef) -> Result<Int64Array, ArrowError> {
    Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn texts(field: &Field, array: &ArrayRef) -> Result<Values, ArrowError> {
    if matches!(logical_type(field), Some("json" | "jsonb")) {
        return Ok(Values::Json(cast(array, &DataType::LargeUtf8)?.as_string::<i64>().clone()));
    }
    if *array.data_type() == DataType::Utf8 {
        return Ok(Values::Text(array.as_string::<i32>().clone()));
    }
    Ok(Values::LargeText(cast(array, &DataType::LargeUtf8)?.as_string::<i64>().clone()))
}

fn unconstrained(field: &Field) -> bool {
    logical_type(field) == Some("numeric")
}

/// Appends formatted text.
pub fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes what is written");
}

/// Writes the shortest digits that read back as the same float; PostgreSQL's choice between point and exponent.
fn write_float(value: f32, style: Style, out: &mut Vec<u8>) {
    let size = value.abs();
    if value.is_finite() && (size == 0.0 || (1e-4..1e6).contains(&size)) {
        write(out, format_args!("{value}"));
    } else {
        write_exponent(value.is_finite(), &format!("{value:e}"), style, out);
    }
}

fn write_double(value: f64, style: Style, out: &mut Vec<u8>) {
    let size = value.abs();
    if value.is_finite() && (size == 0.0 || (1e-4..1e15).contains(&size)) {
        write(out, format_args!("{value}"));
    } else {
        write_exponent(value.is_finite(), &format!("{value:e}"), style, out);
    }
}

/// Takes Rust's `1.5e300`, `inf` or `NaN`, and writes what PostgreSQL and JSON readers know.
fn write_exponent(finite: bool, text: &str, style: Style, out: &mut Vec<u8>) {
    match (finite, text) {
        (false, "inf") => out.extend_from_slice(b"Infinity"),
        (false, "-inf") => out.extend_from_slice(b"-Infinity"),
        (false, _) => out.extend_from_slice(b"NaN"),
        (true, _) => match (style, text.split_once('e')) {
            (Style::Postgres, Some((digits, exponent))) => {
                let (sign, exponent) =
                    exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
                write(out, format_args!("{digits}e{sign}{exponent:0>2}"));
            }
            (Style::Iso | Style::Postgres, _) => out.extend_from_slice(text.as_bytes()),
        },
    }
}

fn write_decimal(value: i128, form: DecimalForm, out: &mut Vec<u8>) {
    write_digits(&value.unsigned_abs().to_string(), value < 0, form, out);
}

fn wide_digits(value: i256) -> String {
    value.to_string().trim_start_matches('-').to_owned()
}

/// Writes digits with the decimal point `form.scale` places from the right.
fn write_digits(digits: &str, negative: bool, form: DecimalForm, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    let Ok(scale) = usize::try_from(form.scale) else {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.resize(out.len() + usize::from(form.scale.unsigned_abs()), b'0');
        }
        return;
    };
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let fraction = if form.trimmed { fraction.trim_end_matches('0') } else { fraction };
    out.extend_from_slice(whole.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
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
        let cell = items.inner_text(item);
        let special = |c: char| c.is_whitespace() || matches!(c, ',' | '"' | '\\' | '{' | '}');
        let nested = matches!(items.values, Values::List(..));
        let plain = !cell.is_empty() && !cell.eq_ignore_ascii_case("null");
        if nested || plain && !cell.contains(special) {
            out.extend_from_slice(cell.as_bytes());
        } else {
            write_quoted(&cell.replace('\\', "\\\\"), "\\\"", out);
        }
    }
    out.push(b'}');
}

/// Writes PostgreSQL's form of a row: `(1,"a b",)`.
fn write_record(fields: &[(String, Column)], row: usize, out: &mut Vec<u8>) {
    out.push(b'(');
    for (at, (_, column)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if column.is_null(row) {
            continue;
        }
        let cell = column.inner_text(row);
        let special = |c: char| c.is_whitespace() || matches!(c, ',' | '"' | '\\' | '(' | ')');
        if cell.is_empty() || cell.contains(special) {
            write_quoted(&cell.replace('\\', "\\\\"), "\"\"", out);
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.push(b')');
}

/// Writes text in double quotes, each quote within as `escaped`.
fn write_quoted(text: &str, escaped: &str, out: &mut Vec<u8>) {
    write(out, format_args!("\"{}\"", text.replace('"', escaped)));
}

/// Writes an interval as PostgreSQL does: `1 year 2 mons -3 days +04:05:06.5`.
fn write_interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let first = out.len();
    let mut after_negative = false;
    let parts = [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")];
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count != 0) {
        let blank = if out.len() == first { "" } else { " " };
        let sign = if after_negative && count > 0 { "+" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        write(out, format_args!("{blank}{sign}{count} {unit}{plural}"));
        after_negative = count < 0;
    }
    if value.nanoseconds == 0 && out.len() > first {
        return;
    }
    if out.len() > first {
        out.push(b' ');
    }
    if value.nanoseconds < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    let nanoseconds = value.nanoseconds.unsigned_abs();
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    write(out, format_args!("{hours:02}:{minutes:02}:{:02}", seconds % 60));
    write_fraction(i64::try_from(rest).unwrap_or_default(), TimeUnit::Nanosecond, out);
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn write_date(days: i32, style: Style, out: &mut Vec<u8>) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let year = write_day(i64::from(days), style, out);
            write_era(year, style, out);
        }
    }
}

fn write_clock(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_second = per_second(unit);
    write_seconds(value.div_euclid(per_second), out);
    write_fraction(value.rem_euclid(per_second), unit, out);
}

fn write_timestamp(value: i64, unit: TimeUnit, zone: Zone, style: Style, out: &mut Vec<u8>) {
    match value {
        i64::MAX => return out.extend_from_slice(b"infinity"),
        i64::MIN => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let per_second = per_second(unit);
    let seconds = value.div_euclid(per_second);
    let year = write_day(seconds.div_euclid(86_400), style, out);
    out.push(if style == Style::Iso { b'T' } else { b' ' });
    write_seconds(seconds.rem_euclid(86_400), out);
    write_fraction(value.rem_euclid(per_second), unit, out);
    match (zone, style) {
        (Zone::Utc, Style::Iso) => out.push(b'Z'),
        (Zone::Utc, Style::Postgres) => out.extend_from_slice(b"+00"),
        (Zone::None, Style::Iso | Style::Postgres) => {}
    }
    write_era(year, style, out);
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Writes `hours:minutes:seconds`.
fn write_seconds(seconds: i64, out: &mut Vec<u8>) {
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    write(out, format_args!("{hours:02}:{minutes:02}:{:02}", seconds % 60));
}

/// Writes what is left of a second, without trailing zeros.
fn write_fraction(fraction: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    if fraction == 0 {
        return;
    }
    let width = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let digits = format!("{fraction:0width$}");
    write(out, format_args!(".{}", digits.trim_end_matches('0')));
}

/// Writes `year-month-day` and returns the year, 0 being 1 BC.
fn write_day(days: i64, style: Style, out: &mut Vec<u8>) -> i64 {
    let (year, month, day) = civil(days);
    let shown = if style == Style::Postgres && year <= 0 { 1 - year } else { year };
    if shown < 0 {
        write(out, format_args!("-{:04}-{month:02}-{day:02}", -shown));
    } else {
        write(out, format_args!("{shown:04}-{month:02}-{day:02}"));
    }
    year
}

fn write_era(year: i64, style: Style, out: &mut Vec<u8>) {
    if style == Style::Postgres && year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// Turns days since 1970-01-01 into year, month, day of the Gregorian calendar (Howard Hinnant's algorithm: years that
/// begin in March end with the leap day).
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
