//! Totals of a group: how many values, and their exact sum.

#![allow(clippy::wildcard_enum_match_arm, reason = "Arrow has 40 types, few of which are summed")]

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, Float64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
    Float64Type, Int64Type, UInt64Type, i256,
};
use arrow::error::ArrowError;
use plan::ir::AggregateFunction;

use crate::arrangement::Totals;
use crate::exact::{FLOAT_WORDS, add_decimal, add_float, add_integer, as_f64, as_i128, as_i256};

/// What is summed, and in how many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TotalKind {
    /// Nothing: only how many.
    Count,
    /// Integers, or decimals so short that 2^63 of them fit 128 bits.
    Small {
        /// The values' decimal scale; 0 for integers.
        scale: i8,
    },
    /// Decimals.
    Wide {
        /// The values' scale.
        scale: i8,
    },
    /// Floats; NaN and the infinities are counted apart.
    Float,
}

/// The words of a sum that may hold any decimal, with room for 2^63 of them.
const WIDE_WORDS: usize = 6;
/// Decimals of more digits are summed in [`WIDE_WORDS`].
const SMALL_DIGITS_MAX: u8 = 19;

impl TotalKind {
    /// How a function's sum over `input` is kept, if it can be shown as `output`.
    pub(super) fn of(
        function: AggregateFunction,
        input: &DataType,
        output: &DataType,
    ) -> Option<Self> {
        let (kind, scale) = if input.is_integer() {
            (Self::Small { scale: 0 }, 0)
        } else if input.is_floating() {
            (Self::Float, 0)
        } else {
            let (digits, scale) = decimal_of(input)?;
            let is_small = digits <= SMALL_DIGITS_MAX;
            (if is_small { Self::Small { scale } } else { Self::Wide { scale } }, scale)
        };
        let is_average = function == AggregateFunction::Avg;
        let fits = match decimal_of(output) {
            Some((_, shown)) if input.is_integer() || input.is_decimal() => {
                if is_average {
                    shown >= scale
                } else {
                    shown == scale
                }
            }
            Some(_) => false,
            None if input.is_integer() => {
                matches!(output, DataType::Int64 | DataType::UInt64 if !is_average)
                    || (output == &DataType::Float64 && is_average)
            }
            None => input.is_floating() && output == &DataType::Float64,
        };
        fits.then_some(kind)
    }
}

/// The precision and scale of a decimal type.
fn decimal_of(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// A place among the words of each group: a count, then the sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    kind: TotalKind,
    at: usize,
}

/// Behind a float sum: how many NaNs, infinities and negative infinities.
const NAN: usize = FLOAT_WORDS;
const INFINITE: usize = FLOAT_WORDS + 1;
const NEGATIVE_INFINITE: usize = FLOAT_WORDS + 2;

impl Total {
    pub(super) fn new(kind: TotalKind, at: usize) -> Self {
        Self { kind, at }
    }

    pub(super) fn kind(&self) -> TotalKind {
        self.kind
    }

    /// How many words the total takes.
    pub(super) fn width(&self) -> usize {
        1 + match self.kind {
            TotalKind::Count => 0,
            TotalKind::Small { .. } => 2,
            TotalKind::Wide { .. } => WIDE_WORDS,
            TotalKind::Float => FLOAT_WORDS + 3,
        }
    }

    /// The words of the sum.
    fn words(&self) -> std::ops::Range<usize> {
        self.at + 1..self.at + self.width()
    }

    /// Adds each row's value as often as its weight says.
    pub(super) fn add(
        &self,
        totals: &mut Totals,
        groups: &[u32],
        column: Option<&ArrayRef>,
        weights: &[i64],
    ) -> Result<(), ArrowError> {
        for (&group, &weight) in groups.iter().zip(weights) {
            let count = &mut totals.get_mut(group)[self.at];
            *count = count.wrapping_add_signed(weight);
        }
        let Some(column) = column.filter(|_| self.kind != TotalKind::Count) else {
            return Ok(());
        };
        let words = self.words();
        let mut each = |add: &mut dyn FnMut(&mut [u64], usize, i64)| {
            for (row, (&group, &weight)) in groups.iter().zip(weights).enumerate() {
                if weight != 0 {
                    add(&mut totals.get_mut(group)[words.clone()], row, weight);
                }
            }
        };
        match (self.kind, column.data_type()) {
            (TotalKind::Count, _) => {}
            (TotalKind::Small { .. }, DataType::UInt64) => {
                let values = column.as_primitive::<UInt64Type>().values();
                each(&mut |sum, row, times| add_integer(sum, i128::from(values[row]), times));
            }
            (TotalKind::Small { scale }, data_type) if data_type.is_decimal() => {
                let column = cast(column, &DataType::Decimal128(38, scale))?;
                let values = column.as_primitive::<Decimal128Type>().values();
                each(&mut |sum, row, times| add_integer(sum, values[row], times));
            }
            (TotalKind::Small { .. }, _) => {
                let column = cast(column, &DataType::Int64)?;
                let values = column.as_primitive::<Int64Type>().values();
                each(&mut |sum, row, times| add_integer(sum, i128::from(values[row]), times));
            }
            (TotalKind::Wide { scale }, _) => {
                let column = cast(column, &DataType::Decimal256(76, scale))?;
                let values = column.as_primitive::<Decimal256Type>().values();
                each(&mut |sum, row, times| add_decimal(sum, values[row], times));
            }
            (TotalKind::Float, _) => {
                let column = cast(column, &DataType::Float64)?;
                let values = column.as_primitive::<Float64Type>().values();
                each(&mut |sum, row, times| add_any_float(sum, values[row], times));
            }
        }
        Ok(())
    }

    /// How many values a group has.
    pub(super) fn count(&self, totals: &Totals, group: u32) -> i64 {
        totals.get(group)[self.at].cast_signed()
    }

    /// The groups' sums, NULL over no values; `None` when one does not fit the type.
    pub(super) fn sums(
        &self,
        totals: &Totals,
        groups: &[u32],
        output: &DataType,
    ) -> Option<ArrayRef> {
        if self.kind == TotalKind::Float {
            return Some(self.floats(totals, groups, |sum, _| sum));
        }
        self.exact(totals, groups, output, |sum, _| Some(sum))
    }

    /// The groups' means, NULL over no values; `None` when one does not fit the type.
    ///
    /// A decimal mean is cut off behind its last digit, as DataFusion does.
    pub(super) fn averages(
        &self,
        totals: &Totals,
        groups: &[u32],
        output: &DataType,
    ) -> Option<ArrayRef> {
        let Some((_, shown)) = decimal_of(output) else {
            return Some(self.floats(totals, groups, |sum, count| sum / count));
        };
        let scale = match self.kind {
            TotalKind::Small { scale } | TotalKind::Wide { scale } => scale,
            TotalKind::Count | TotalKind::Float => 0,
        };
        let zeros = u32::try_from(shown - scale).ok()?;
        let factor = i256::from_i128(10).checked_pow(zeros)?;
        self.exact(totals, groups, output, |sum, count| {
            sum.checked_mul(factor)?.checked_div(i256::from_i128(i128::from(count)))
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean of floats is rounded")]
    fn floats(
        &self,
        totals: &Totals,
        groups: &[u32],
        result: impl Fn(f64, f64) -> f64,
    ) -> ArrayRef {
        let float = |&group: &u32| {
            let sum = &totals.get(group)[self.words()];
            let count = self.count(totals, group);
            let sum = match self.kind {
                TotalKind::Float => any_float(sum),
                TotalKind::Small { .. } => as_i128(sum) as f64,
                TotalKind::Count | TotalKind::Wide { .. } => return None,
            };
            (count != 0).then(|| result(sum, count as f64))
        };
        Arc::new(groups.iter().map(float).collect::<Float64Array>())
    }

    /// Results from exact sums; `None` when one does not fit the type.
    fn exact(
        &self,
        totals: &Totals,
        groups: &[u32],
        output: &DataType,
        result: impl Fn(i256, i64) -> Option<i256>,
    ) -> Option<ArrayRef> {
        let value = |&group: &u32| -> Option<Option<i256>> {
            let count = self.count(totals, group);
            if count == 0 {
                return Some(None);
            }
            let sum = &totals.get(group)[self.words()];
            let sum = match self.kind {
                TotalKind::Small { .. } => i256::from_i128(as_i128(sum)),
                TotalKind::Wide { .. } => as_i256(sum)?,
                TotalKind::Count | TotalKind::Float => return None,
            };
            Some(Some(result(sum, count)?))
        };
        let values = groups.iter().map(value).collect::<Option<Vec<_>>>()?;
        match output {
            DataType::Int64 => integers::<Int64Type>(&values, |value| i64::try_from(value).ok()),
            DataType::UInt64 => integers::<UInt64Type>(&values, |value| u64::try_from(value).ok()),
            DataType::Decimal32(..) => {
                decimals::<Decimal32Type>(&values, output, |v| i32::try_from(v.to_i128()?).ok())
            }
            DataType::Decimal64(..) => {
                decimals::<Decimal64Type>(&values, output, |v| i64::try_from(v.to_i128()?).ok())
            }
            DataType::Decimal128(..) => decimals::<Decimal128Type>(&values, output, i256::to_i128),
            DataType::Decimal256(..) => decimals::<Decimal256Type>(&values, output, Some),
            _ => None,
        }
    }
}

fn integers<T: ArrowPrimitiveType>(
    values: &[Option<i256>],
    narrow: impl Fn(i128) -> Option<T::Native>,
) -> Option<ArrayRef> {
    let narrow = |value: &Option<i256>| match value {
        Some(value) => Some(Some(narrow(value.to_i128()?)?)),
        None => Some(None),
    };
    let values = values.iter().map(narrow).collect::<Option<Vec<_>>>()?;
    Some(Arc::new(values.into_iter().collect::<PrimitiveArray<T>>()))
}

fn decimals<T: DecimalType>(
    values: &[Option<i256>],
    output: &DataType,
    narrow: impl Fn(i256) -> Option<T::Native>,
) -> Option<ArrayRef> {
    let (precision, _) = decimal_of(output)?;
    let narrow = |value: &Option<i256>| match value {
        Some(value) => {
            let value = narrow(*value)?;
            T::is_valid_decimal_precision(value, precision).then_some(Some(value))
        }
        None => Some(None),
    };
    let values = values.iter().map(narrow).collect::<Option<Vec<_>>>()?;
    let column = values.into_iter().collect::<PrimitiveArray<T>>();
    Some(Arc::new(column.with_data_type(output.clone())))
}

fn add_any_float(sum: &mut [u64], value: f64, times: i64) {
    let apart = if value.is_finite() {
        return add_float(&mut sum[..FLOAT_WORDS], value, times);
    } else if value.is_nan() {
        NAN
    } else if value > 0.0 {
        INFINITE
    } else {
        NEGATIVE_INFINITE
    };
    sum[apart] = sum[apart].wrapping_add_signed(times);
}

fn any_float(sum: &[u64]) -> f64 {
    match (sum[NAN] != 0, sum[INFINITE] != 0, sum[NEGATIVE_INFINITE] != 0) {
        (true, _, _) | (_, true, true) => f64::NAN,
        (_, true, _) => f64::INFINITY,
        (_, _, true) => f64::NEG_INFINITY,
        (false, false, false) => as_f64(sum),
    }
}
