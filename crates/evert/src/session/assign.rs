//! Assignment: a value becomes one of its column's type, as PostgreSQL's assignment casts do it.
//!
//! Numbers are rounded to the column's places and must fit; text is read as the type's input; everything can become
//! text. Nothing is cut off silently.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has many types; those that are not named here cannot be assigned"
)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, Float64Type, Schema,
};
use arrow::util::display::FormatOptions;
use change::logical_type;
use plan::ColumnDefinition;
use view::text::CellWriter;

const EXACT: CastOptions<'static> =
    CastOptions { safe: false, format_options: FormatOptions::new() };

/// Turns values into values of the column.
pub(super) fn assign(
    values: &ArrayRef,
    from: &Field,
    column: &ColumnDefinition,
) -> Result<ArrayRef, String> {
    let to = &column.field;
    let array = if values.data_type() == to.data_type() && same_kind(from, to) {
        Arc::clone(values)
    } else {
        converted(values, from, to)?
    };
    if let Some(letters_max) = column.letters_max {
        let texts = array.as_string::<i32>();
        let limit = usize::try_from(letters_max).unwrap_or(usize::MAX);
        if texts.iter().flatten().any(|text| text.chars().count() > limit) {
            return Err(format!("the text is longer than {letters_max} letters"));
        }
    }
    Ok(array)
}

/// Whether two columns of the same Arrow type hold the same kind of values.
fn same_kind(from: &Field, to: &Field) -> bool {
    logical_type(to).is_none_or(|to| to == "numeric" || logical_type(from) == Some(to))
}

fn converted(values: &ArrayRef, from: &Field, to: &Field) -> Result<ArrayRef, String> {
    let target = to.data_type();
    match (values.data_type(), target) {
        (DataType::Null, _) => Ok(new_null_array(target, values.len())),
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => {
            let texts = cast(values, &DataType::Utf8)?;
            read(texts.as_string::<i32>(), to)
        }
        (_, DataType::Utf8) if logical_type(to).is_none() => Ok(written(values, from)),
        (number, target) if number.is_numeric() && target.is_numeric() => rounded(values, target),
        (from, target) if is_time(from) && is_time(target) => cast(values, target),
        (DataType::Time64(_), DataType::Time64(_))
        | (DataType::Interval(_) | DataType::Duration(_), DataType::Interval(_))
        | (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, DataType::Binary)
        | (DataType::List(_) | DataType::LargeList(_), DataType::List(_)) => cast(values, target),
        (from, target) => Err(format!("a value of type {from} cannot become {target}")),
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

fn cast(values: &ArrayRef, target: &DataType) -> Result<ArrayRef, String> {
    cast_with_options(values, target, &EXACT).map_err(|error| {
        let text = error.to_string();
        text.split_once(": ").map_or(text.clone(), |(_, reason)| reason.to_owned())
    })
}

/// Reads texts as the type's input.
fn read(texts: &StringArray, to: &Field) -> Result<ArrayRef, String> {
    match to.data_type() {
        // Digits behind the last place are rounded, which a source would refuse.
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let trimmed: StringArray = texts.iter().map(|text| text.map(str::trim)).collect();
            cast(&(Arc::new(trimmed) as ArrayRef), to.data_type())
        }
        DataType::Utf8 => source::read_texts(to, texts.iter()),
        _ => source::read_texts(to, texts.iter().map(|text| text.map(str::trim))),
    }
}

/// Writes values as text.
fn written(values: &ArrayRef, from: &Field) -> ArrayRef {
    let field = from.clone().with_data_type(values.data_type().clone()).with_nullable(true);
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::clone(values)]);
    let cells = CellWriter::new(&rows.expect("one column of its own type"));
    Arc::new((0..cells.len()).map(|row| cells.cell(row, 0)).collect::<StringArray>())
}

/// Casts numbers; whole numbers are rounded as PostgreSQL does: decimals away from zero, floats to even.
fn rounded(values: &ArrayRef, target: &DataType) -> Result<ArrayRef, String> {
    let whole = match values.data_type() {
        DataType::Decimal128(_, scale) if *scale > 0 && target.is_integer() => {
            cast(values, &DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))?
        }
        DataType::Decimal256(_, scale) if *scale > 0 && target.is_integer() => {
            cast(values, &DataType::Decimal256(DECIMAL256_MAX_PRECISION, 0))?
        }
        DataType::Float32 | DataType::Float64 if target.is_integer() => {
            let floats = cast(values, &DataType::Float64)?;
            let floats = floats.as_primitive::<Float64Type>();
            let even: Float64Array = floats.unary(f64::round_ties_even);
            Arc::new(even)
        }
        _ => Arc::clone(values),
    };
    cast(&whole, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(values: ArrayRef, to: DataType) -> Result<Vec<Option<String>>, String> {
        let from = Field::new("value", values.data_type().clone(), true);
        let statement = "create table t (value int)";
        let mut statements = plan::session_statements(statement).unwrap();
        let Some(plan::SessionStatement::CreateTable { mut table, .. }) = statements.pop() else {
            unreachable!("one statement");
        };
        table.columns[0].field = Field::new("value", to, true);
        let array = assign(&values, &from, &table.columns[0])?;
        let texts = written(&array, &table.columns[0].field);
        Ok(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
    }

    fn some(texts: &[&str]) -> Result<Vec<Option<String>>, String> {
        Ok(texts.iter().map(|text| Some((*text).to_owned())).collect())
    }

    #[test]
    fn numbers_are_rounded_as_postgresql_does() {
        let floats = || Arc::new(Float64Array::from(vec![0.5, 1.5, -2.5])) as ArrayRef;
        assert_eq!(assigned(floats(), DataType::Int32), some(&["0", "2", "-2"]));
        let texts = || Arc::new(StringArray::from(vec!["0.5", "1.5", " -2.5 "])) as ArrayRef;
        let decimals = cast(&texts(), &DataType::Decimal128(5, 1)).unwrap();
        assert_eq!(assigned(decimals, DataType::Int32), some(&["1", "2", "-3"]));
        assert_eq!(assigned(texts(), DataType::Decimal128(5, 0)), some(&["1", "2", "-3"]));
    }

    #[test]
    fn intervals_are_read_in_every_form() {
        let texts =
            StringArray::from(vec!["1 year 2 mons -3 days", "P1DT2H", " 1-2 ", "90 min ago"]);
        let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
        let shown = ["1 year 2 mons -3 days", "1 day 02:00:00", "1 year 2 mons", "-01:30:00"];
        assert_eq!(assigned(Arc::new(texts), interval.clone()), some(&shown));
        let none = StringArray::from(vec!["many days"]);
        assert!(assigned(Arc::new(none), interval).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let large = Arc::new(Float64Array::from(vec![3e9])) as ArrayRef;
        assert!(assigned(Arc::clone(&large), DataType::Int32).is_err());
        assert!(assigned(Arc::clone(&large), DataType::Decimal128(5, 2)).is_err());
        assert!(assigned(large, DataType::Boolean).is_err());
        let word = Arc::new(StringArray::from(vec!["many"])) as ArrayRef;
        assert!(assigned(word, DataType::Int32).is_err());
    }
}
