//! Formulas: how an aggregate's result follows from totals.

#![allow(clippy::wildcard_enum_match_arm, reason = "Arrow has 40 types, few of which are results")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Float64Array, Int64Array, PrimitiveArray,
};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Int64Type,
    UInt64Type, i256,
};
use plan::ir::AggregateFunction;

use super::total::{Total, TotalKind, decimal_of};
use crate::arrangement::Totals;
use crate::exact::{FLOAT_SQUARE_EXPONENT, FLOAT_WORDS};
use crate::spread::Moments;

/// What is computed from the totals that [`Formula::kinds`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formula {
    Count,
    Sum,
    Average,
    All,
    Any,
    Spread {
        /// How many values fewer than there are the variance divides by.
        less: u64,
        /// Whether its square root is wanted.
        is_root: bool,
    },
}

/// Results, one for each group.
pub(crate) struct Computed {
    pub(crate) column: ArrayRef,
    /// The positions of the results that do not fit their type, ascending; NULL stands there.
    pub(crate) overflows: Vec<u32>,
}

impl Formula {
    /// The formula of a function; `None` for those that totals do not suffice for.
    pub(crate) fn of(function: AggregateFunction) -> Option<Self> {
        Some(match function {
            AggregateFunction::Count => Self::Count,
            AggregateFunction::Sum => Self::Sum,
            AggregateFunction::Avg => Self::Average,
            AggregateFunction::BoolAnd => Self::All,
            AggregateFunction::BoolOr => Self::Any,
            AggregateFunction::VariancePopulation => Self::Spread { less: 0, is_root: false },
            AggregateFunction::VarianceSample => Self::Spread { less: 1, is_root: false },
            AggregateFunction::DeviationPopulation => Self::Spread { less: 0, is_root: true },
            AggregateFunction::DeviationSample => Self::Spread { less: 1, is_root: true },
            AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::StringAgg
            | AggregateFunction::ArrayAgg => return None,
        })
    }

    /// The totals of values of a type that the formula reads, in order; `None` when the result cannot be of the type
    /// `output`.
    pub(crate) fn kinds(
        self,
        input: Option<&DataType>,
        output: &DataType,
    ) -> Option<Vec<TotalKind>> {
        if self == Self::Count {
            return Some(vec![TotalKind::Count]);
        }
        let input = input?;
        let numbers = || TotalKind::of_numbers(input);
        match self {
            Self::Count => None,
            Self::All | Self::Any => {
                let is_boolean = [input, output].into_iter().all(|of| of == &DataType::Boolean);
                is_boolean.then(|| vec![TotalKind::Flags])
            }
            Self::Spread { .. } => {
                let kind = numbers().filter(|_| output == &DataType::Float64)?;
                Some(vec![kind, kind.squared()])
            }
            Self::Sum | Self::Average => {
                let kind = numbers()?;
                let scale = decimal_of(input).map_or(0, |(_, scale)| scale);
                let is_average = self == Self::Average;
                let fits = match decimal_of(output) {
                    Some((_, shown)) if !input.is_floating() => {
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
                fits.then(|| vec![kind])
            }
        }
    }

    /// Computes the groups' results from their totals; NULL over no values, but zero for a count.
    pub(crate) fn compute(
        self,
        totals: (&[Total], &Totals),
        groups: &[u32],
        output: &DataType,
    ) -> Computed {
        let (parts, words) = totals;
        let total = parts[0];
        let count = |group: u32| total.count(words, group);
        let sum = |group: u32| total.integer(words, group);
        let some = |group: u32| count(group) != 0;
        match self {
            Self::Count => {
                let counts = groups.iter().map(|&group| count(group));
                Computed::all(Arc::new(Int64Array::from_iter_values(counts)))
            }
            Self::Sum if total.kind() == TotalKind::Float => {
                floats(groups, |group| some(group).then(|| total.float(words, group)))
            }
            Self::Sum => exact(groups, output, |group| some(group).then(|| sum(group))),
            Self::Average => averages(totals, groups, output),
            Self::All => flags(groups, |group| {
                some(group).then(|| sum(group) == Some(i256::from_i128(i128::from(count(group)))))
            }),
            Self::Any => flags(groups, |group| {
                some(group).then(|| sum(group).is_some_and(|trues| trues > i256::ZERO))
            }),
            Self::Spread { less, is_root } => floats(groups, |group| {
                let variance = variance((parts, words), group, less)?;
                Some(if is_root { variance.sqrt() } else { variance })
            }),
        }
    }
}

/// A decimal mean is cut off behind its last digit, as DataFusion does.
#[expect(clippy::cast_precision_loss, reason = "a mean of floats is rounded")]
fn averages((parts, words): (&[Total], &Totals), groups: &[u32], output: &DataType) -> Computed {
    let total = parts[0];
    let count = |group: u32| Some(total.count(words, group)).filter(|&count| count != 0);
    let Some((_, shown)) = decimal_of(output) else {
        return floats(groups, |group| Some(total.float(words, group) / count(group)? as f64));
    };
    let scale = match total.kind() {
        TotalKind::Small { scale } | TotalKind::Wide { scale } => scale,
        _ => 0,
    };
    let zeros = u32::from((shown - scale).unsigned_abs());
    let factor = i256::from_i128(10).checked_pow(zeros);
    exact(groups, output, |group| {
        let count = i256::from_i128(i128::from(count(group)?));
        let sum = total.integer(words, group);
        Some(sum.and_then(|sum| sum.checked_mul(factor?)?.checked_div(count)))
    })
}

/// A group's variance; NULL over too few values, NaN over what has no square.
fn variance((parts, words): (&[Total], &Totals), group: u32, less: u64) -> Option<f64> {
    let [sum, squares] = parts else { unreachable!("a variance has two totals") };
    let count = u64::try_from(sum.count(words, group)).ok().filter(|&count| count > less)?;
    if sum.is_wild(words, group) {
        return Some(f64::NAN);
    }
    let of_group = words.get(group);
    let (scale, exponent) = match sum.kind() {
        TotalKind::Small { scale } | TotalKind::Wide { scale } => (scale, 0),
        _ => (0, FLOAT_SQUARE_EXPONENT),
    };
    let sum = &of_group[sum.words()];
    let sum = if exponent == 0 { sum } else { &sum[..FLOAT_WORDS] };
    let squares = &of_group[squares.words()];
    Some(Moments { count, sum, squares, scale, exponent }.variance(less))
}

impl Computed {
    /// Results that all fit.
    pub(crate) fn all(column: ArrayRef) -> Self {
        Self { column, overflows: Vec::new() }
    }
}

fn floats(groups: &[u32], result: impl Fn(u32) -> Option<f64>) -> Computed {
    Computed::all(Arc::new(groups.iter().map(|&group| result(group)).collect::<Float64Array>()))
}

fn flags(groups: &[u32], result: impl Fn(u32) -> Option<bool>) -> Computed {
    Computed::all(Arc::new(groups.iter().map(|&group| result(group)).collect::<BooleanArray>()))
}

/// Results from exact integers: `None` for NULL, `Some(None)` for one that is larger than any type.
fn exact(
    groups: &[u32],
    output: &DataType,
    result: impl Fn(u32) -> Option<Option<i256>>,
) -> Computed {
    let values = groups.iter().map(|&group| result(group));
    match output {
        DataType::UInt64 => {
            narrow::<UInt64Type>(values, output, |value| u64::try_from(value.to_i128()?).ok())
        }
        DataType::Decimal32(..) => {
            decimals::<Decimal32Type>(values, output, |v| i32::try_from(v.to_i128()?).ok())
        }
        DataType::Decimal64(..) => {
            decimals::<Decimal64Type>(values, output, |v| i64::try_from(v.to_i128()?).ok())
        }
        DataType::Decimal128(..) => decimals::<Decimal128Type>(values, output, i256::to_i128),
        DataType::Decimal256(..) => decimals::<Decimal256Type>(values, output, Some),
        _ => narrow::<Int64Type>(values, &DataType::Int64, |v| i64::try_from(v.to_i128()?).ok()),
    }
}

fn narrow<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = Option<Option<i256>>>,
    output: &DataType,
    narrow: impl Fn(i256) -> Option<T::Native>,
) -> Computed {
    let mut overflows = Vec::new();
    let narrowed = (0..).zip(values).map(|(at, value)| {
        let narrowed = value?.and_then(&narrow);
        overflows.extend(narrowed.is_none().then_some(at));
        narrowed
    });
    let column: PrimitiveArray<T> = narrowed.collect();
    Computed { column: Arc::new(column.with_data_type(output.clone())), overflows }
}

fn decimals<T: DecimalType>(
    values: impl Iterator<Item = Option<Option<i256>>>,
    output: &DataType,
    fit: impl Fn(i256) -> Option<T::Native>,
) -> Computed {
    let precision = decimal_of(output).map_or(0, |(precision, _)| precision);
    narrow::<T>(values, output, |value| {
        fit(value).filter(|value| T::is_valid_decimal_precision(*value, precision))
    })
}
