//! The least and the greatest value of each group, of types whose values are one word.
//!
//! A value is kept as a word that sorts as the value does: an integer with its sign turned over, a float with its bits
//! turned over when it is negative. When no row ever goes, a group's extreme is one word, overwritten when a better one
//! comes. Otherwise any value may become the extreme, so all are kept: see [`multisets`](super::multisets).

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has 40 types; those not named are kept otherwise"
)]

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::multisets::Multisets;
use crate::arrangement::StateSize;

/// How a type's values become words that sort alike.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sorting {
    Signed32,
    Signed64,
    Double,
}

/// Values of each group.
pub(super) struct Extremes {
    data_type: DataType,
    sorting: Sorting,
    groups: Groups,
}

enum Groups {
    /// The least and the greatest so far; `is_there` when there is one.
    Growing(Vec<Range>),
    All(Multisets),
}

#[derive(Clone, Copy, Default)]
struct Range {
    least: u64,
    greatest: u64,
    is_there: bool,
}

impl Extremes {
    /// Keeps values of a type, if they are one word; `only_grows` when no value ever goes.
    pub(super) fn new(data_type: &DataType, only_grows: bool) -> Option<Self> {
        let sorting = match data_type {
            DataType::Int32 | DataType::Date32 => Sorting::Signed32,
            DataType::Int64
            | DataType::Timestamp(..)
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Duration(_) => Sorting::Signed64,
            DataType::Float64 => Sorting::Double,
            _ => return None,
        };
        let groups = match only_grows {
            true => Groups::Growing(Vec::new()),
            false => Groups::All(Multisets::default()),
        };
        Some(Self { data_type: data_type.clone(), sorting, groups })
    }

    /// Adds each row's value as often as its weight says.
    pub(super) fn add(&mut self, groups: &[u32], column: &ArrayRef, weights: &[i64]) {
        let upper = groups.iter().max().map_or(0, |&group| group as usize + 1);
        let words = self.sorting.words(column);
        match &mut self.groups {
            Groups::Growing(ranges) => {
                if ranges.len() < upper {
                    ranges.resize(upper, Range::default());
                }
                for ((&group, word), &weight) in groups.iter().zip(words).zip(weights) {
                    if weight > 0 {
                        ranges[group as usize].add(word);
                    }
                }
            }
            Groups::All(sets) => {
                sets.reserve(upper);
                sets.add(groups, words.into_iter(), weights);
            }
        }
    }

    /// [`add`](Self::add), and returns, for each row, 1 when its value appeared in its group by that, −1 when it went,
    /// else 0; nothing when no value ever goes.
    pub(super) fn add_and_tell(
        &mut self,
        groups: &[u32],
        column: &ArrayRef,
        weights: &[i64],
    ) -> Vec<i64> {
        let Groups::All(sets) = &mut self.groups else {
            self.add(groups, column, weights);
            return Vec::new();
        };
        sets.reserve(groups.iter().max().map_or(0, |&group| group as usize + 1));
        let words = self.sorting.words(column).into_iter();
        let rows = groups.iter().zip(words).zip(weights);
        let appeared = rows.map(|((&group, word), &weight)| {
            if weight == 0 {
                return 0;
            }
            let before = sets.count(group, word);
            sets.add_one(group, word, weight);
            i64::from(before + weight > 0) - i64::from(before > 0)
        });
        appeared.collect()
    }

    /// The least value of each group; NULL when it has none.
    pub(super) fn least(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        self.column(groups.iter().map(|&group| self.range(group).map(|range| range.0)).collect())
    }

    /// The greatest value of each group; NULL when it has none.
    pub(super) fn greatest(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        self.column(groups.iter().map(|&group| self.range(group).map(|range| range.1)).collect())
    }

    fn range(&self, group: u32) -> Option<(u64, u64)> {
        match &self.groups {
            Groups::Growing(ranges) => {
                let range = ranges.get(group as usize).filter(|range| range.is_there)?;
                Some((range.least, range.greatest))
            }
            Groups::All(sets) => sets.range(group),
        }
    }

    fn column(&self, words: Vec<Option<u64>>) -> Result<ArrayRef, ArrowError> {
        let nulls: NullBuffer = words.iter().map(Option::is_some).collect::<Vec<bool>>().into();
        let values = words.iter().map(|word| self.sorting.value(word.unwrap_or_default()));
        let buffer = match self.sorting {
            Sorting::Signed32 => Buffer::from_vec(values.map(low32).collect()),
            Sorting::Signed64 | Sorting::Double => Buffer::from_vec(values.collect::<Vec<u64>>()),
        };
        let data = ArrayData::builder(self.data_type.clone()).len(words.len()).add_buffer(buffer);
        Ok(make_array(data.nulls(Some(nulls).filter(|nulls| nulls.null_count() > 0)).build()?))
    }

    /// Forgets a group whose rows are gone.
    pub(super) fn forget(&mut self, group: u32) {
        match &mut self.groups {
            Groups::Growing(ranges) => {
                if let Some(range) = ranges.get_mut(group as usize) {
                    *range = Range::default();
                }
            }
            Groups::All(sets) => sets.forget(group),
        }
    }

    pub(super) fn size(&self) -> StateSize {
        match &self.groups {
            Groups::Growing(ranges) => {
                StateSize { rows: ranges.len(), bytes: ranges.capacity() * size_of::<Range>() }
            }
            Groups::All(sets) => sets.size(),
        }
    }
}

impl Range {
    fn add(&mut self, word: u64) {
        if self.is_there {
            self.least = self.least.min(word);
            self.greatest = self.greatest.max(word);
        } else {
            *self = Self { least: word, greatest: word, is_there: true };
        }
    }
}

impl Sorting {
    /// The words of a column's values.
    fn words(self, column: &ArrayRef) -> Vec<u64> {
        let data = column.to_data();
        match self {
            Self::Signed32 => {
                let values = &data.buffers()[0].typed_data::<i32>()[data.offset()..];
                values[..data.len()].iter().map(|&value| signed(i64::from(value))).collect()
            }
            Self::Signed64 => {
                let values = &data.buffers()[0].typed_data::<i64>()[data.offset()..];
                values[..data.len()].iter().map(|&value| signed(value)).collect()
            }
            Self::Double => {
                let values = &data.buffers()[0].typed_data::<f64>()[data.offset()..];
                values[..data.len()].iter().map(|&value| double(value)).collect()
            }
        }
    }

    /// The bits of a word's value.
    fn value(self, word: u64) -> u64 {
        match self {
            Self::Signed32 | Self::Signed64 => word ^ (1 << 63),
            Self::Double if word >> 63 == 1 => word ^ (1 << 63),
            Self::Double => !word,
        }
    }
}

fn signed(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

/// −0.0 is 0.0, and every NaN is the same one, greater than any number.
fn double(value: f64) -> u64 {
    let bits = if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

#[expect(clippy::cast_possible_truncation, reason = "the word holds 32 bits")]
fn low32(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Float64Array, Int64Array};

    use super::*;

    #[test]
    fn words_sort_as_floats_do() {
        let sorted = [f64::NEG_INFINITY, -1.5, -1e-300, 0.0, 1e-300, 1.5, f64::INFINITY, f64::NAN];
        assert!(sorted.map(double).is_sorted_by(|a, b| a < b));
        assert_eq!((double(-0.0), double(-f64::NAN)), (double(0.0), double(f64::NAN)));
        for value in sorted {
            let back = f64::from_bits(Sorting::Double.value(double(value)));
            assert!(back.to_bits() == value.to_bits() || value.is_nan() && back.is_nan());
        }
    }

    #[test]
    fn extremes_follow_what_comes_and_goes() {
        let mut all = Extremes::new(&DataType::Int64, false).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from((-300..300).collect::<Vec<i64>>()));
        let groups: Vec<u32> = (0..600).map(|row| row % 2).collect();
        assert!(
            all.add_and_tell(&groups, &column, &[1; 600]).iter().all(|&appeared| appeared == 1)
        );
        let ends =
            |all: &Extremes| (all.least(&[0, 1, 9]).unwrap(), all.greatest(&[0, 1, 9]).unwrap());
        let expected =
            |values: [Option<i64>; 3]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
        let (least, greatest) = ends(&all);
        assert_eq!(&least, &expected([Some(-300), Some(-299), None]));
        assert_eq!(&greatest, &expected([Some(298), Some(299), None]));
        let gone: ArrayRef = Arc::new(Int64Array::from(vec![-300, 299]));
        assert_eq!(all.add_and_tell(&[0, 1], &gone, &[-1, -1]), [-1, -1]);
        let (least, greatest) = ends(&all);
        assert_eq!(&least, &expected([Some(-298), Some(-299), None]));
        assert_eq!(&greatest, &expected([Some(298), Some(297), None]));
    }

    #[test]
    fn a_growing_extreme_is_one_word() {
        let mut growing = Extremes::new(&DataType::Date32, true).unwrap();
        let column: ArrayRef = Arc::new(Date32Array::from(vec![5, -7, 3]));
        growing.add(&[0, 0, 1], &column, &[1, 2, 0]);
        let expected: ArrayRef = Arc::new(Date32Array::from(vec![Some(-7), None]));
        assert_eq!(&growing.least(&[0, 1]).unwrap(), &expected);
        let mut floats = Extremes::new(&DataType::Float64, true).unwrap();
        let column: ArrayRef = Arc::new(Float64Array::from(vec![-2.5]));
        floats.add(&[0], &column, &[1]);
        let expected: ArrayRef = Arc::new(Float64Array::from(vec![-2.5]));
        assert_eq!(&floats.greatest(&[0]).unwrap(), &expected);
    }
}
