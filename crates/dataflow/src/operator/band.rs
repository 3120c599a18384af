//! Band and inequality joins: pairs of which one value lies between others.
//!
//! A comparison of a condition has a lesser and a greater side. One whose lesser side is the left input's says l₁ ≤ r₂,
//! one whose lesser side is the right's says r₁ ≤ l₂. A condition with one of each is therefore a question about two
//! intervals, [l₁, l₂] and [r₁, r₂]: do they *meet*, each beginning before the other ends?
//!
//! ```text
//!     a.x < b.y                           [a.x, ∞]          meets  [−∞, b.y]
//!     a.t between b.t − 5 and b.t + 5     [a.t, a.t]        meets  [b.t − 5, b.t + 5]
//!     a.begins < b.ends
//!       and b.begins < a.ends             [a.begins, a.ends] meets [b.begins, b.ends]
//! ```
//!
//! So a point in a band, a simple inequality and an overlap are one thing, and neither side's expressions need to be
//! solved for the other's. Each side's arrangement keeps the intervals of its long runs in trees ([`Bands`]); a change
//! of L searches R's tree for what meets its own interval, ΔL ⋈ R, and so does a change of R. It costs the logarithm of
//! the run for each pair that it finds.
//!
//! Values become words that are ordered as DataFusion's comparisons order the values: integers, dates, times and
//! decimals as numbers, floats in IEEE 754's total order (NaN is the greatest) but for −0.0, which is 0.0, texts by their
//! bytes, of which the first sixteen count. So what is searched for is necessary for a pair, and hardly ever more: the condition itself, all
//! of it, is then asked of the pairs that were found. A NULL meets nothing. An expression that fails for a row meets
//! everything, so that the condition fails for the same pairs as it does without a tree.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has 40 types; what is not named has no order that is kept in trees"
)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    ArrowNativeType, DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, SchemaRef, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;

use super::Out;
use crate::arrangement::{Bands, Interval};
use crate::columns::{as_booleans, batch};
use crate::error::OperatorError;
use crate::faulty::compute;

/// How a row's interval follows from its columns.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The columns of the collection that are read.
    pub(crate) columns: Vec<usize>,
    /// Those columns, in that order: what the expressions are over.
    pub(crate) schema: SchemaRef,
    /// Where it begins; `None` for before everything.
    pub(crate) low: Option<Arc<dyn PhysicalExpr>>,
    /// Where it ends; `None` for behind everything.
    pub(crate) high: Option<Arc<dyn PhysicalExpr>>,
}

/// What the other side's rows meet an interval at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strictness {
    /// Whether another interval that ends just where this one begins does not meet it.
    pub(crate) low: bool,
    /// Whether another one that begins just where this one ends does not.
    pub(crate) high: bool,
}

/// The intervals that an arrangement knows of its rows.
pub(crate) struct Band {
    pub(crate) ends: Ends,
    pub(crate) bands: Bands,
}

impl PartialEq for Ends {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns && self.low == other.low && self.high == other.high
    }
}

impl Ends {
    /// The intervals of rows, of which the columns that are read are given.
    pub(crate) fn of(
        &self,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<Vec<Interval>, OperatorError> {
        let rows = ChangeBatch::inserts(batch(&self.schema, columns, rows)?);
        let expressions: Vec<_> = self.low.iter().chain(&self.high).map(Arc::clone).collect();
        // Who asks the condition of a pair tells what fails.
        let computed = compute(&expressions, &rows, &mut Out::default())?;
        let mut columns = computed.columns.iter();
        let mut end = |expression: Option<&Arc<dyn PhysicalExpr>>, without: u128| match expression
            .and_then(|_| columns.next())
        {
            Some(column) => words(column),
            None => vec![Some(without); rows.len()],
        };
        let lows = end(self.low.as_ref(), 0);
        let highs = end(self.high.as_ref(), u128::MAX);
        let between = |(low, high): (Option<u128>, Option<u128>)| match (low, high) {
            (Some(low), Some(high)) => Interval::Between(low, high),
            _ => Interval::Nothing,
        };
        let mut intervals: Vec<Interval> = lows.into_iter().zip(highs).map(between).collect();
        if let Some(sound) = computed.sound {
            let all = intervals.iter_mut().zip(&sound);
            all.filter(|(_, sound)| *sound != Some(true))
                .for_each(|(interval, _)| *interval = Interval::Anything);
        }
        Ok(intervals)
    }
}

impl Strictness {
    /// What is searched for in order to find what meets an interval.
    pub(crate) fn wanted(self, interval: Interval) -> Interval {
        let Interval::Between(low, high) = interval else { return interval };
        let low = if self.low { low.checked_add(1) } else { Some(low) };
        let high = if self.high { high.checked_sub(1) } else { Some(high) };
        match (low, high) {
            (Some(low), Some(high)) => Interval::Between(low, high),
            _ => Interval::Nothing,
        }
    }
}

/// Whether different values of a type have different words; `None` when they have no words at all.
pub(crate) fn is_exact(data_type: &DataType) -> Option<bool> {
    match data_type {
        DataType::Boolean | DataType::Decimal128(..) | DataType::Float32 | DataType::Float64 => {
            Some(true)
        }
        DataType::Utf8 | DataType::Binary | DataType::Decimal256(..) => Some(false),
        // Months are no number of days.
        DataType::Interval(_) | DataType::Float16 => None,
        other => other.primitive_width().filter(|width| *width <= 8).map(|_| true),
    }
}

/// The words of a column's values, ordered like them; `None` for NULL.
fn words(column: &ArrayRef) -> Vec<Option<u128>> {
    match column.data_type() {
        DataType::Boolean => {
            as_booleans(column).iter().map(|value| value.map(u128::from)).collect()
        }
        DataType::Int8 => numbers::<Int8Type>(column, i128::from),
        DataType::Int16 => numbers::<Int16Type>(column, i128::from),
        DataType::Int32 => numbers::<Int32Type>(column, i128::from),
        DataType::Int64 => numbers::<Int64Type>(column, i128::from),
        DataType::UInt8 => numbers::<UInt8Type>(column, i128::from),
        DataType::UInt16 => numbers::<UInt16Type>(column, i128::from),
        DataType::UInt32 => numbers::<UInt32Type>(column, i128::from),
        DataType::UInt64 => numbers::<UInt64Type>(column, i128::from),
        DataType::Float32 => numbers::<Float32Type>(column, ordered_single),
        DataType::Float64 => numbers::<Float64Type>(column, ordered),
        DataType::Decimal128(..) => numbers::<Decimal128Type>(column, |value| value),
        DataType::Decimal256(..) => numbers::<Decimal256Type>(column, |value| {
            let beyond = if value.is_negative() { i128::MIN } else { i128::MAX };
            value.to_i128().unwrap_or(beyond)
        }),
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            values.iter().map(|value| value.map(|text| first_bytes(text.as_bytes()))).collect()
        }
        DataType::Binary => {
            column.as_binary::<i32>().iter().map(|value| value.map(first_bytes)).collect()
        }
        other if other.primitive_width() == Some(4) => moments::<i32>(column),
        _ => moments::<i64>(column),
    }
}

fn numbers<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    number: impl Fn(T::Native) -> i128,
) -> Vec<Option<u128>> {
    let values = column.as_primitive::<T>();
    values.iter().map(|value| value.map(|value| word(number(value)))).collect()
}

/// The words of dates, times and spans, which are numbers of one unit.
fn moments<T: ArrowNativeType + Into<i128>>(column: &ArrayRef) -> Vec<Option<u128>> {
    let data = column.to_data();
    let values = &data.buffers()[0].typed_data::<T>()[data.offset()..data.offset() + data.len()];
    let value = |(row, &value): (usize, &T)| column.is_valid(row).then(|| word(value.into()));
    values.iter().enumerate().map(value).collect()
}

fn word(number: i128) -> u128 {
    number.cast_unsigned() ^ (1 << 127)
}

/// A float's place in the total order; the zeros have one.
fn ordered(value: f64) -> i128 {
    let bits = (value + 0.0).to_bits().cast_signed();
    i128::from(bits ^ (bits >> 63 & i64::MAX))
}

fn ordered_single(value: f32) -> i128 {
    let bits = (value + 0.0).to_bits().cast_signed();
    i128::from(bits ^ (bits >> 31 & i32::MAX))
}

/// A text's first bytes.
fn first_bytes(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text[..length]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
        StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
    };
    use arrow::compute::take;
    use arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, Column};

    use super::*;

    /// The words of values are ordered as DataFusion compares the values, and equal only where the type says so.
    fn check(column: &ArrayRef) {
        let all = 0..u32::try_from(column.len()).unwrap();
        let pairs = all.clone().flat_map(|one| all.clone().map(move |other| (one, other)));
        let (ones, others): (Vec<u32>, Vec<u32>) = pairs.unzip();
        let taken = |at: Vec<u32>| take(column, &UInt32Array::from(at), None).unwrap();
        let field = |name| Field::new(name, column.data_type().clone(), true);
        let schema = Arc::new(Schema::new(vec![field("one"), field("other")]));
        let rows = vec![taken(ones.clone()), taken(others.clone())];
        let rows = batch(&schema, rows, ones.len()).unwrap();
        let compared = |operator| {
            let [one, other] = [Column::new("one", 0), Column::new("other", 1)].map(Arc::new);
            let compared = BinaryExpr::new(one, operator, other).evaluate(&rows).unwrap();
            as_booleans(&compared.into_array(rows.num_rows()).unwrap())
        };
        let (lesser, equal) = (compared(Operator::Lt), compared(Operator::Eq));
        let (words, is_exact) = (words(column), is_exact(column.data_type()).unwrap());
        for (at, (&one, &other)) in ones.iter().zip(&others).enumerate() {
            let (Some(first), Some(second)) = (words[one as usize], words[other as usize]) else {
                assert!(lesser.is_null(at));
                continue;
            };
            let are_alike = first == second && !is_exact;
            assert!(are_alike || lesser.value(at) == (first < second), "{column:?} {one} {other}");
            assert!(are_alike || equal.value(at) == (first == second), "{column:?} {one} {other}");
        }
        assert!(words.iter().zip(0..).all(|(word, at)| word.is_none() == column.is_null(at)));
    }

    #[test]
    fn words_are_ordered_as_the_values_are_compared() {
        let nan = f64::NAN;
        let floats =
            vec![Some(1.5), Some(-0.0), Some(0.0), Some(nan), Some(-nan), None, Some(-7.0)];
        let singles: Vec<Option<f32>> =
            vec![Some(1.5), Some(-0.0), Some(0.0), Some(f32::NAN), None];
        let texts = vec![Some("a"), Some("b"), Some(""), None, Some("\u{e9}"), Some("ab")];
        let long = vec![Some("sixteen letters +1"), Some("sixteen letters +2"), Some("s")];
        let decimals = vec![Some(i128::MAX / 2), Some(-5), None, Some(5), Some(i128::MIN / 2)];
        let moments = vec![Some(i64::MIN), None, Some(0), Some(i64::MAX), Some(-1)];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(floats)),
            Arc::new(Float32Array::from(singles)),
            Arc::new(StringArray::from(texts)),
            Arc::new(StringArray::from(long)),
            Arc::new(Decimal128Array::from(decimals)),
            Arc::new(TimestampMicrosecondArray::from(moments).with_timezone("UTC").slice(1, 4)),
            Arc::new(Date32Array::from(vec![Some(i32::MIN), None, Some(3), Some(i32::MAX)])),
            Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(0), Some(i8::MAX)])),
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ];
        columns.iter().for_each(check);
    }

    #[test]
    fn what_is_strict_begins_one_further_on_and_may_find_nothing() {
        let strict = Strictness { low: true, high: true };
        assert_eq!(strict.wanted(Interval::Between(3, 9)), Interval::Between(4, 8));
        assert_eq!(strict.wanted(Interval::Between(3, 0)), Interval::Nothing);
        assert_eq!(strict.wanted(Interval::Anything), Interval::Anything);
        let loose = Strictness::default();
        assert_eq!(loose.wanted(Interval::Between(3, 0)), Interval::Between(3, 0));
    }
}
