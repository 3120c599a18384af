//! Casts as PostgreSQL does them: what text it writes and reads, how it rounds, what is infinite.
//!
//! DataFusion cuts numbers off where PostgreSQL rounds, writes `2024-01-01T00:00:00` and `1e15`, and makes a list of one
//! element of the text `{1,2}`. Every cast whose result would be another is replaced by a call of [`Cast`], after types
//! are coerced, so that casts which nobody wrote are right as well. A cast of a constant is done when it is planned.

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions and types grow with DataFusion")]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder as _, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array,
    Decimal128Array, Decimal256Array, Float64Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, StringArray, StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray,
    make_array, new_null_array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Float64Type, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, i256,
};
use change::{cell, logical_type, read, with_logical_type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::rewrite::every_expression;

const EXACT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };
const DAY_US: i64 = 86_400_000_000;

/// Replaces casts.
#[derive(Debug)]
pub(crate) struct PostgresCasts;

impl AnalyzerRule for PostgresCasts {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        every_expression(plan, |expression, schema| replaced(expression, schema))
    }

    fn name(&self) -> &'static str {
        "postgres_casts"
    }
}

fn replaced(expression: Expr, schema: &dyn ExprSchema) -> PlanResult<Transformed<Expr>> {
    let (inner, to, tries) = match &expression {
        Expr::Cast(cast) => (&cast.expr, &cast.field, false),
        Expr::TryCast(cast) => (&cast.expr, &cast.field, true),
        _ => return Ok(Transformed::no(expression)),
    };
    let (_, from) = inner.to_field(schema)?;
    if !differs(from.data_type(), to.data_type()) {
        return Ok(Transformed::no(expression));
    }
    let cast = Cast::new(to.data_type().clone(), tries);
    if let Expr::Literal(value, _) = &**inner {
        let done = cast.done(&value.to_array()?, &from);
        let done = done.map_err(|error| match error {
            DataFusionError::Execution(reason) => DataFusionError::Plan(reason),
            other => other,
        })?;
        let value = ScalarValue::try_from_array(&done, 0)?;
        return Ok(Transformed::yes(Expr::Literal(value, None)));
    }
    let called = ScalarUDF::from(cast).call(vec![Expr::clone(inner)]);
    Ok(Transformed::yes(called))
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether PostgreSQL's cast gives something else than Arrow's.
fn differs(from: &DataType, to: &DataType) -> bool {
    if from == to || matches!(from, DataType::Null) || matches!(to, DataType::Null) {
        return false;
    }
    match (from, to) {
        (from, to) if is_text(from) => !is_text(to) && !matches!(to, DataType::Dictionary(..)),
        (from, to) if is_text(to) => {
            !from.is_integer() && !matches!(from, DataType::Boolean | DataType::Decimal128(..))
        }
        (DataType::Float16 | DataType::Float32 | DataType::Float64, to) => {
            to.is_integer() || to.is_decimal()
        }
        (from, to) if from.is_decimal() => to.is_integer(),
        (DataType::Date32, DataType::Timestamp(..))
        | (DataType::Timestamp(..), DataType::Date32)
        | (DataType::Interval(_), DataType::Time64(_))
        | (DataType::Time64(_), DataType::Interval(_)) => true,
        (DataType::Timestamp(..), DataType::Timestamp(..)) => true,
        (DataType::List(from), DataType::List(to)) => differs(from.data_type(), to.data_type()),
        _ => false,
    }
}

/// A cast to one type, as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Cast {
    to: DataType,
    /// Whether what cannot be cast is NULL.
    tries: bool,
    name: String,
    signature: Signature,
}

impl Cast {
    fn new(to: DataType, tries: bool) -> Self {
        let prefix = if tries { "try_" } else { "" };
        let name = format!("{prefix}cast_to_{}", type_name(&to).replace(' ', "_"));
        Self { to, tries, name, signature: Signature::any(1, Volatility::Immutable) }
    }

    fn done(&self, values: &ArrayRef, from: &Field) -> PlanResult<ArrayRef> {
        if !self.tries {
            return cast_array(values, from, &self.to);
        }
        if let Ok(array) = cast_array(values, from, &self.to) {
            return Ok(array);
        }
        let mut parts = Vec::with_capacity(values.len());
        for row in 0..values.len() {
            let one = cast_array(&values.slice(row, 1), from, &self.to);
            parts.push(one.unwrap_or_else(|_fails| new_null_array(&self.to, 1)));
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(arrow::compute::concat(&parts)?)
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> PlanResult<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, _arguments: ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.to.clone(), true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let from = &arguments.arg_fields[0];
        match &arguments.args[0] {
            ColumnarValue::Scalar(value) => {
                let done = self.done(&value.to_array()?, from)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&done, 0)?))
            }
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(self.done(values, from)?)),
        }
    }
}

/// PostgreSQL's name of a type.
pub(crate) fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        data_type if data_type.is_decimal() => "numeric",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "array",
        _ => "value",
    }
}

/// Casts values as PostgreSQL does.
///
/// # Errors
/// The first value that cannot be cast.
pub(crate) fn cast_array(values: &ArrayRef, from: &Field, to: &DataType) -> PlanResult<ArrayRef> {
    if !differs(values.data_type(), to) {
        return Ok(cast_with_options(values, to, &EXACT)?);
    }
    match (values.data_type(), to) {
        (text, _) if is_text(text) => {
            let texts = cast_with_options(values, &DataType::Utf8, &EXACT)?;
            read_texts(texts.as_string::<i32>(), to)
        }
        (_, to) if is_text(to) => Ok(cast_with_options(&written(values, from), to, &EXACT)?),
        (DataType::List(_), DataType::List(item)) => {
            let list = values.as_list::<i32>();
            let inner = Field::new("item", list.value_type(), true);
            let items = cast_array(list.values(), &inner, item.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::new(Arc::clone(item), offsets, items, nulls)))
        }
        (number, to) if number.is_numeric() && to.is_numeric() => rounded(values, to),
        _ => times(values, to),
    }
}

/// Values as PostgreSQL's text.
pub(crate) fn written(values: &ArrayRef, from: &Field) -> ArrayRef {
    let mut field = Field::new("value", values.data_type().clone(), true);
    if let Some(logical) = logical_type(from) {
        field = with_logical_type(field, logical);
    }
    let column = cell::Column::new(&field, values);
    let mut texts = StringBuilder::with_capacity(values.len(), values.len() * 8);
    let mut text = Vec::new();
    for row in 0..values.len() {
        if column.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        column.write_text(row, &mut text);
        texts.append_value(String::from_utf8_lossy(&text));
    }
    Arc::new(texts.finish())
}

fn no<T>(kind: &str, text: &str) -> PlanResult<T> {
    let cut: String = text.chars().take(60).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    Err(DataFusionError::Execution(format!("'{cut}{more}' is no {kind}")))
}

/// Reads each text; blanks around it do not count.
fn read_each<T, C: FromIterator<Option<T>>>(
    texts: &StringArray,
    mut read: impl FnMut(&str) -> PlanResult<T>,
) -> PlanResult<C> {
    texts.iter().map(|text| text.map(|text| read(text.trim_ascii())).transpose()).collect()
}

fn value_error(error: read::ValueError) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}

/// Reads texts as PostgreSQL reads literals of the type.
fn read_texts(texts: &StringArray, to: &DataType) -> PlanResult<ArrayRef> {
    Ok(match to {
        DataType::Boolean => Arc::new(read_each::<_, BooleanArray>(texts, read_bool)?),
        integer if integer.is_integer() => {
            let read = |text: &str| match text.parse::<i64>() {
                Ok(number) => Ok(number),
                Err(_no_number) => no(type_name(integer), text),
            };
            let numbers: ArrayRef = Arc::new(read_each::<_, Int64Array>(texts, read)?);
            cast_with_options(&numbers, to, &EXACT)?
        }
        // Each rounds once: over a double, a real would be rounded twice.
        DataType::Float32 => {
            let read = |text: &str| text.parse::<f32>().or_else(|_no| no(type_name(to), text));
            Arc::new(read_each::<_, arrow::array::Float32Array>(texts, read)?)
        }
        DataType::Float64 => {
            let read = |text: &str| text.parse::<f64>().or_else(|_no| no(type_name(to), text));
            Arc::new(read_each::<_, Float64Array>(texts, read)?)
        }
        decimal if decimal.is_decimal() => decimals(texts, to)?,
        DataType::Date32 => {
            let read = |text: &str| match read::parse_instant(text) {
                Ok(instant) => day_of(instant.us),
                Err(_no_date) => read::parse_date(text).map_err(value_error),
            };
            Arc::new(read_each::<_, Date32Array>(texts, read)?)
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let read = |text: &str| read::parse_time(text).map_err(value_error);
            let times: ArrayRef = Arc::new(read_each::<_, Time64MicrosecondArray>(texts, read)?);
            cast_with_options(&times, to, &EXACT)?
        }
        DataType::Timestamp(unit, zone) => {
            let read = |text: &str| match zone {
                Some(_) => read::parse_timestamptz(text).map_err(value_error),
                // A zone is read and says nothing.
                None => read::parse_clock(text).map_err(value_error),
            };
            let read: TimestampMicrosecondArray = read_each(texts, read)?;
            let read: ArrayRef = Arc::new(read.with_timezone_opt(zone.clone()));
            match unit {
                TimeUnit::Microsecond => read,
                _ => cast_with_options(&read, to, &EXACT)?,
            }
        }
        DataType::Interval(_) => {
            let read = |text: &str| read::parse_interval(text).map_err(value_error);
            let read: ArrayRef = Arc::new(read_each::<_, IntervalMonthDayNanoArray>(texts, read)?);
            cast_with_options(&read, to, &EXACT)?
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let read: Vec<Option<Vec<u8>>> = read_each(texts, read_bytes)?;
            let read: BinaryArray = read.iter().map(Option::as_deref).collect();
            cast_with_options(&read, to, &EXACT)?
        }
        DataType::List(item) => read_lists(texts, item)?,
        other => {
            let reason = format!("text cannot become {}", type_name(other));
            return Err(DataFusionError::Execution(reason));
        }
    })
}

fn read_bool(text: &str) -> PlanResult<bool> {
    let lower = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if begins("true", 1) || begins("yes", 1) || lower == "on" || lower == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || lower == "0" {
        Ok(false)
    } else {
        no("boolean", text)
    }
}

/// Bytes: hexadecimal digits behind `\x`, or letters with `\ooo` and `\\` among them.
fn read_bytes(text: &str) -> PlanResult<Vec<u8>> {
    if text.starts_with("\\x") {
        return read::parse_bytea(text).map_err(value_error);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        match after {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => return no("bytea", text),
        }
    }
    Ok(bytes)
}

/// Decimals, rounded to their places.
fn decimals(texts: &StringArray, to: &DataType) -> PlanResult<ArrayRef> {
    let (precision, scale, wide) = match to {
        DataType::Decimal128(precision, scale) => (*precision, *scale, false),
        DataType::Decimal256(precision, scale) => (*precision, *scale, true),
        _ => return Err(DataFusionError::Execution("this is no numeric".to_owned())),
    };
    if wide {
        let read = |text: &str| read::parse_rounded256(text, precision, scale).map_err(value_error);
        let read: Decimal256Array = read_each::<i256, _>(texts, read)?;
        return Ok(Arc::new(read.with_precision_and_scale(precision, scale)?));
    }
    let read = |text: &str| read::parse_rounded128(text, precision, scale).map_err(value_error);
    let read: Decimal128Array = read_each::<i128, _>(texts, read)?;
    Ok(Arc::new(read.with_precision_and_scale(precision, scale)?))
}

fn read_lists(texts: &StringArray, item: &FieldRef) -> PlanResult<ArrayRef> {
    let (mut items, mut ends, mut nulls) = (StringBuilder::new(), vec![0_i32], Vec::new());
    for text in texts {
        nulls.push(text.is_some());
        for item in text
            .map(|text| read::parse_array(text.trim_ascii()))
            .transpose()
            .map_err(value_error)?
            .into_iter()
            .flatten()
        {
            items.append_option(item);
        }
        let end = i32::try_from(items.len());
        ends.push(end.map_err(|_many| DataFusionError::Execution("too many items".to_owned()))?);
    }
    let items: ArrayRef = Arc::new(items.finish());
    let from = Field::new("item", DataType::Utf8, true);
    let items = cast_array(&items, &from, item.data_type())?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(ListArray::new(Arc::clone(item), offsets, items, Some(nulls.into()))))
}

/// Numbers: floats to even, decimals away from zero.
fn rounded(values: &ArrayRef, to: &DataType) -> PlanResult<ArrayRef> {
    if values.data_type().is_decimal() {
        let whole = match values.data_type() {
            DataType::Decimal256(..) => DataType::Decimal256(76, 0),
            _ => DataType::Decimal128(38, 0),
        };
        let whole = cast_with_options(values, &whole, &EXACT)?;
        return Ok(cast_with_options(&whole, to, &EXACT)?);
    }
    let wide = cast_with_options(values, &DataType::Float64, &EXACT)?;
    let floats = wide.as_primitive::<Float64Type>();
    if to.is_integer() {
        let even: Float64Array = floats.unary(f64::round_ties_even);
        // Arrow takes 2^63 for the greatest bigint.
        if *to == DataType::Int64
            && even.iter().flatten().any(|value| value >= 9.223_372_036_854_776e18)
        {
            return Err(DataFusionError::Execution("bigint out of range".to_owned()));
        }
        return Ok(cast_with_options(&(Arc::new(even) as ArrayRef), to, &EXACT)?);
    }
    // PostgreSQL goes over the digits that a float holds for sure.
    let single = matches!(values.data_type(), DataType::Float16 | DataType::Float32);
    let digits = if single { 5 } else { 14 };
    let texts: StringArray = floats
        .iter()
        .map(|value| {
            value.map(|value| {
                if value.is_finite() { format!("{value:.digits$e}") } else { value.to_string() }
            })
        })
        .collect();
    decimals(&texts, to)
}

/// The day of a time in microseconds; what is infinite stays so.
fn day_of(us: i64) -> PlanResult<i32> {
    match us {
        i64::MAX => Ok(i32::MAX),
        i64::MIN => Ok(i32::MIN),
        us => i32::try_from(us.div_euclid(DAY_US))
            .map_err(|_far| DataFusionError::Execution("date out of range".to_owned())),
    }
}

fn times(values: &ArrayRef, to: &DataType) -> PlanResult<ArrayRef> {
    let microseconds = DataType::Timestamp(TimeUnit::Microsecond, None);
    Ok(match (values.data_type(), to) {
        (DataType::Date32, DataType::Timestamp(unit, zone)) => {
            let days = values.as_primitive::<Date32Type>();
            let array: TimestampMicrosecondArray = days.try_unary(|day| match day {
                i32::MAX => Ok(i64::MAX),
                i32::MIN => Ok(i64::MIN),
                day => i64::from(day).checked_mul(DAY_US).ok_or_else(|| {
                    DataFusionError::Execution("date out of range for timestamp".to_owned())
                }),
            })?;
            let array: ArrayRef = Arc::new(array.with_timezone_opt(zone.clone()));
            match unit {
                TimeUnit::Microsecond => array,
                _ => cast_with_options(&array, to, &EXACT)?,
            }
        }
        (DataType::Timestamp(unit, _), DataType::Date32) => {
            let array = match unit {
                TimeUnit::Microsecond => relabelled(values, &microseconds)?,
                _ => relabelled(&cast_with_options(values, &microseconds, &EXACT)?, &microseconds)?,
            };
            let array = array.as_primitive::<TimestampMicrosecondType>();
            Arc::new(array.try_unary::<_, Date32Type, _>(day_of)?)
        }
        // The session's zone is UTC, so that a clock there shows the same.
        (DataType::Timestamp(from, zone), DataType::Timestamp(unit, wanted)) => {
            let is_utc = |zone: &Option<Arc<str>>| {
                zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "+00:00"))
            };
            if from == unit && is_utc(zone) && is_utc(wanted) {
                relabelled(values, to)?
            } else {
                cast_with_options(values, to, &EXACT)?
            }
        }
        (DataType::Interval(_), DataType::Time64(_)) => {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            let array = cast_with_options(values, &interval, &EXACT)?;
            let array = array.as_primitive::<IntervalMonthDayNanoType>();
            let times: Time64MicrosecondArray =
                array.unary(|interval| (interval.nanoseconds / 1_000).rem_euclid(DAY_US));
            cast_with_options(&(Arc::new(times) as ArrayRef), to, &EXACT)?
        }
        (DataType::Time64(_), DataType::Interval(_)) => {
            let array =
                cast_with_options(values, &DataType::Time64(TimeUnit::Microsecond), &EXACT)?;
            let array = array.as_primitive::<Time64MicrosecondType>();
            let interval = |us: i64| arrow::datatypes::IntervalMonthDayNano::new(0, 0, us * 1_000);
            let array: IntervalMonthDayNanoArray = array.unary(interval);
            cast_with_options(&(Arc::new(array) as ArrayRef), to, &EXACT)?
        }
        _ => cast_with_options(values, to, &EXACT)?,
    })
}

/// The same numbers as another type of the same width.
fn relabelled(values: &ArrayRef, to: &DataType) -> PlanResult<ArrayRef> {
    let data = values.to_data().into_builder().data_type(to.clone()).build()?;
    Ok(make_array(data))
}
