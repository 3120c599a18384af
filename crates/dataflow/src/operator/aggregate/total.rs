//! Totals of a group: how many values, and an exact sum of them.

#![allow(clippy::wildcard_enum_match_arm, reason = "Arrow has 40 types, few of which are summed")]

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Decimal256Array, Float64Array,
    Int64Array, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type, UInt64Type, i256,
};
use arrow::error::ArrowError;

use crate::arrangement::Totals;
use crate::exact::{
    FLOAT_SQUARE_WORDS, FLOAT_WORDS, add_decimal, add_decimal_square, add_float, add_float_square,
    add_integer, add_integer_square, as_f64, as_i128, as_i256,
};

/// What is summed, and in how many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TotalKind {
    /// Nothing: only how many.
    Count,
    /// One for each true.
    Flags,
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
    /// The squares of what [`Small`](Self::Small) sums.
    SmallSquares,
    /// The squares of what [`Wide`](Self::Wide) sums.
    WideSquares,
    /// The squares of what [`Float`](Self::Float) sums, NaN and the infinities left out.
    FloatSquares,
}

/// The words of a sum that may hold any decimal, with room for 2^63 of them.
const WIDE_WORDS: usize = 6;
/// The words of a sum of squares of short values.
const SMALL_SQUARE_WORDS: usize = 6;
/// The words of a sum of squares of decimals.
const WIDE_SQUARE_WORDS: usize = 10;
/// Decimals of more digits are summed in [`WIDE_WORDS`].
const SMALL_DIGITS_MAX: u8 = 19;

impl TotalKind {
    /// How the sum of numbers of a type is kept.
    pub(crate) fn of_numbers(input: &DataType) -> Option<Self> {
        if input.is_integer() {
            return Some(Self::Small { scale: 0 });
        }
        if input.is_floating() {
            return Some(Self::Float);
        }
        let (digits, scale) = decimal_of(input)?;
        let is_small = digits <= SMALL_DIGITS_MAX;
        Some(if is_small { Self::Small { scale } } else { Self::Wide { scale } })
    }

    /// How the sum of the squares of such numbers is kept.
    pub(crate) fn squared(self) -> Self {
        match self {
            Self::Wide { .. } => Self::WideSquares,
            Self::Float => Self::FloatSquares,
            Self::Count
            | Self::Flags
            | Self::Small { .. }
            | Self::SmallSquares
            | Self::WideSquares
            | Self::FloatSquares => Self::SmallSquares,
        }
    }

    /// The words of the sum.
    fn width(self) -> usize {
        match self {
            Self::Count => 0,
            Self::Flags => 1,
            Self::Small { .. } => 2,
            Self::Wide { .. } => WIDE_WORDS,
            Self::Float => FLOAT_WORDS + 3,
            Self::SmallSquares => SMALL_SQUARE_WORDS,
            Self::WideSquares => WIDE_SQUARE_WORDS,
            Self::FloatSquares => FLOAT_SQUARE_WORDS,
        }
    }

    /// Adds a term to the sum's words.
    fn add(self, sum: &mut [u64], term: Term, times: i64) {
        match (self, term) {
            (Self::Flags, Term::Flag(value)) => {
                sum[0] = sum[0].wrapping_add_signed(times.wrapping_mul(i64::from(value)));
            }
            (Self::Small { .. }, Term::Integer(value)) => add_integer(sum, value, times),
            (Self::SmallSquares, Term::Integer(value)) => add_integer_square(sum, value, times),
            (Self::Wide { .. }, Term::Decimal(value)) => add_decimal(sum, value, times),
            (Self::WideSquares, Term::Decimal(value)) => add_decimal_square(sum, value, times),
            (Self::Float, Term::Float(value)) => add_any_float(sum, value, times),
            (Self::FloatSquares, Term::Float(value)) if value.is_finite() => {
                add_float_square(sum, value, times);
            }
            // What is only counted, and values that are counted apart.
            _ => {}
        }
    }
}

/// The precision and scale of a decimal type.
pub(crate) fn decimal_of(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// A value, as it is summed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Term {
    /// Only counted.
    Nothing,
    Flag(bool),
    Integer(i128),
    Decimal(i256),
    Float(f64),
}

/// The terms of a column.
pub(crate) enum Terms {
    Nothing,
    Flags(BooleanArray),
    Signed(Int64Array),
    Unsigned(UInt64Array),
    Short(Decimal128Array),
    Long(Decimal256Array),
    Floats(Float64Array),
}

impl Terms {
    /// Reads a column's values as terms.
    pub(crate) fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        let data_type = column.data_type();
        if let Some(flags) = column.as_boolean_opt() {
            return Ok(Self::Flags(flags.clone()));
        }
        let Some(kind) = TotalKind::of_numbers(data_type) else {
            return Ok(Self::Nothing);
        };
        Ok(match kind {
            TotalKind::Float => Self::Floats(
                cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
            ),
            TotalKind::Wide { scale } => {
                let column = cast(column, &DataType::Decimal256(76, scale))?;
                Self::Long(column.as_primitive::<Decimal256Type>().clone())
            }
            TotalKind::Small { scale } if data_type.is_decimal() => {
                let column = cast(column, &DataType::Decimal128(38, scale))?;
                Self::Short(column.as_primitive::<Decimal128Type>().clone())
            }
            _ if data_type == &DataType::UInt64 => {
                Self::Unsigned(column.as_primitive::<UInt64Type>().clone())
            }
            _ => Self::Signed(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
        })
    }

    /// A row's term; of NULL, anything.
    pub(crate) fn get(&self, row: usize) -> Term {
        match self {
            Self::Nothing => Term::Nothing,
            Self::Flags(values) => Term::Flag(values.value(row)),
            Self::Signed(values) => Term::Integer(i128::from(values.value(row))),
            Self::Unsigned(values) => Term::Integer(i128::from(values.value(row))),
            Self::Short(values) => Term::Integer(values.value(row)),
            Self::Long(values) => Term::Decimal(values.value(row)),
            Self::Floats(values) => Term::Float(values.value(row)),
        }
    }
}

/// A place among the words of each group: a count, then the sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total {
    kind: TotalKind,
    at: usize,
}

/// Behind a float sum: how many NaNs, infinities and negative infinities.
const NAN: usize = FLOAT_WORDS;
const INFINITE: usize = FLOAT_WORDS + 1;
const NEGATIVE_INFINITE: usize = FLOAT_WORDS + 2;

impl Total {
    pub(crate) fn new(kind: TotalKind, at: usize) -> Self {
        Self { kind, at }
    }

    pub(crate) fn kind(&self) -> TotalKind {
        self.kind
    }

    /// How many words the total takes.
    pub(crate) fn width(&self) -> usize {
        1 + self.kind.width()
    }

    /// The words of the sum.
    pub(crate) fn words(&self) -> std::ops::Range<usize> {
        self.at + 1..self.at + self.width()
    }

    /// Adds each row's value as often as its weight says. The terms and the weights are those of all rows of a batch; of
    /// the rows from `first` on, `groups` are the groups.
    pub(crate) fn add(
        &self,
        totals: &mut Totals,
        (groups, first): (&[u32], usize),
        terms: &Terms,
        weights: &[i64],
    ) {
        let rows = first..first + groups.len();
        let weights = &weights[rows.clone()];
        match (self.kind, terms) {
            (TotalKind::Count, _) => {
                for (&group, &weight) in groups.iter().zip(weights) {
                    let count = &mut totals.get_mut(group)[self.at];
                    *count = count.wrapping_add_signed(weight);
                }
            }
            (TotalKind::Small { .. }, Terms::Signed(values)) => {
                let values = &values.values()[rows];
                for ((&group, &value), &weight) in groups.iter().zip(values).zip(weights) {
                    self.add_short(totals.get_mut(group), value, weight);
                }
            }
            _ => {
                for ((row, &group), &weight) in rows.zip(groups).zip(weights) {
                    if weight != 0 {
                        self.add_term(totals.get_mut(group), terms.get(row), weight);
                    }
                }
            }
        }
    }

    /// [`add_term`](Self::add_term) for what is summed most: integers.
    fn add_short(&self, words: &mut [u64], value: i64, times: i64) {
        let words = &mut words[self.at..self.at + 3];
        words[0] = words[0].wrapping_add_signed(times);
        add_integer(&mut words[1..], i128::from(value), times);
    }

    /// Adds a term to the words that the total has its place among.
    pub(crate) fn add_term(&self, words: &mut [u64], term: Term, times: i64) {
        words[self.at] = words[self.at].wrapping_add_signed(times);
        self.kind.add(&mut words[self.words()], term, times);
    }

    /// Adds the total among other words.
    pub(crate) fn join(&self, words: &mut [u64], other: &[u64]) {
        self.join_times(words, other, 1);
    }

    /// Adds the total among other words as often as said, which may be less than never.
    ///
    /// Sums are integers in two's complement, of as many words as never overflow; so `x · −1` is `¬x + 1`, word by word.
    pub(crate) fn join_times(&self, words: &mut [u64], other: &[u64], times: i64) {
        let (mut left, mut doubled) = (times.unsigned_abs(), Vec::new());
        while left > 0 {
            let part = if doubled.is_empty() { other } else { &doubled };
            if left % 2 == 1 {
                self.join_once(words, part, times < 0);
            }
            left /= 2;
            if left > 0 {
                let part = part.to_vec();
                doubled.clone_from(&part);
                self.join_once(&mut doubled, &part, false);
            }
        }
    }

    fn join_once(&self, words: &mut [u64], other: &[u64], is_negative: bool) {
        let flip = if is_negative { u64::MAX } else { 0 };
        let sign = if is_negative { -1 } else { 1 };
        words[self.at] =
            words[self.at].wrapping_add_signed(other[self.at].cast_signed().wrapping_mul(sign));
        let carried = match self.kind {
            TotalKind::Float => FLOAT_WORDS,
            _ => self.kind.width(),
        };
        let mut carry = is_negative;
        for (place, at) in self.words().enumerate() {
            if place == carried {
                // What is counted apart is no part of the number, but a number each.
                carry = is_negative;
            }
            let (sum, first) = words[at].overflowing_add(other[at] ^ flip);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            words[at] = sum;
            carry = if place < carried { first || second } else { is_negative };
        }
    }

    /// How many values the words count.
    pub(crate) fn count_of(&self, words: &[u64]) -> i64 {
        words[self.at].cast_signed()
    }

    /// How many values a group has.
    pub(crate) fn count(&self, totals: &Totals, group: u32) -> i64 {
        totals.get(group)[self.at].cast_signed()
    }

    /// A group's sum as an integer of the last decimal place; `None` when it is larger than any decimal.
    pub(crate) fn integer(&self, totals: &Totals, group: u32) -> Option<i256> {
        let sum = &totals.get(group)[self.words()];
        match self.kind {
            TotalKind::Small { .. } => Some(i256::from_i128(as_i128(sum))),
            TotalKind::Wide { .. } => as_i256(sum),
            TotalKind::Flags => Some(i256::from_i128(i128::from(sum[0].cast_signed()))),
            TotalKind::Count
            | TotalKind::Float
            | TotalKind::SmallSquares
            | TotalKind::WideSquares
            | TotalKind::FloatSquares => None,
        }
    }

    /// A group's sum as a float.
    #[expect(clippy::cast_precision_loss, reason = "a float is asked for")]
    pub(crate) fn float(&self, totals: &Totals, group: u32) -> f64 {
        let sum = &totals.get(group)[self.words()];
        match self.kind {
            TotalKind::Float => any_float(sum),
            _ => as_i128(sum) as f64,
        }
    }

    /// Whether a group of floats has a NaN or an infinity.
    pub(crate) fn is_wild(&self, totals: &Totals, group: u32) -> bool {
        let sum = &totals.get(group)[self.words()];
        self.kind == TotalKind::Float && sum[FLOAT_WORDS..].iter().any(|&count| count != 0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_added_so_often_are_those_of_the_rows_added_so_often() {
        let big = i256::from_i128(i128::MAX);
        let terms = [
            (TotalKind::Count, Term::Nothing),
            (TotalKind::Flags, Term::Flag(true)),
            (TotalKind::Small { scale: 0 }, Term::Integer(-7_000_000_000_000_000_000)),
            (TotalKind::Wide { scale: 2 }, Term::Decimal(big)),
            (TotalKind::Float, Term::Float(-0.1)),
            (TotalKind::Float, Term::Float(f64::NEG_INFINITY)),
            (TotalKind::SmallSquares, Term::Integer(-3_000_000_000)),
            (TotalKind::FloatSquares, Term::Float(1e150)),
        ];
        for (kind, term) in terms {
            let total = Total::new(kind, 0);
            let mut part = vec![0; total.width()];
            total.add_term(&mut part, term, 3);
            for times in [1, -1, 2, -2, 5, -6, 1_000, i64::from(i32::MIN)] {
                let (mut joined, mut added) = (vec![0; total.width()], vec![0; total.width()]);
                for words in [&mut joined, &mut added] {
                    total.add_term(words, term, 11);
                }
                total.join_times(&mut joined, &part, times);
                total.add_term(&mut added, term, 3 * times);
                assert_eq!(joined, added, "{kind:?} {times} times");
            }
        }
    }
}
