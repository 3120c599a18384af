//! What a reader of the four queries sees, and whether it is right.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use change::ChangeBatch;
use inputs::Scale;

use crate::Maybe;

/// The reader of q1: how many rows there are, and the sum of their prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prices {
    rows: i64,
    sum: i64,
}

impl Prices {
    /// Reads a difference.
    pub(crate) fn see(&mut self, difference: &ChangeBatch) {
        let prices = ints(difference, 2);
        for (price, diff) in prices.values().iter().zip(difference.diffs()) {
            self.rows += diff;
            self.sum += price * diff;
        }
    }

    /// Compares with what is right.
    pub(crate) fn check(self, scale: &Scale) -> Maybe<()> {
        same(&(self.rows, self.sum), &scale.q1)
    }
}

/// The reader of q3: how many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows(pub(crate) i64);

impl Rows {
    /// Reads a difference.
    pub(crate) fn see(&mut self, difference: &ChangeBatch) {
        self.0 += difference.diffs().iter().sum::<i64>();
    }

    /// Compares with what is right.
    pub(crate) fn check(self, scale: &Scale) -> Maybe<()> {
        same(&self.0, &scale.q3)
    }
}

/// The reader of q4: the mean of each category.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Means(BTreeMap<i64, f64>);

impl Means {
    /// Reads a difference.
    pub(crate) fn see(&mut self, difference: &ChangeBatch) {
        let (categories, means) = (ints(difference, 0), floats(difference, 1));
        let rows = categories.values().iter().zip(means.values());
        for ((&category, &mean), &diff) in rows.zip(difference.diffs()) {
            if diff > 0 {
                self.0.insert(category, mean);
            } else if self.0.get(&category).is_some_and(|held| held.total_cmp(&mean).is_eq()) {
                self.0.remove(&category);
            }
        }
    }

    /// Compares with what is right.
    pub(crate) fn check(&self, scale: &Scale) -> Maybe<()> {
        let right = scale.q4.map(|(category, sum, count)| (category, sum as f64 / count as f64));
        let near = |(category, mean): (&i64, &f64), (right_category, right_mean): (i64, f64)| {
            // A mean may have been rounded to the digits of a decimal.
            *category == right_category && (mean - right_mean).abs() < 1e-6 * right_mean
        };
        let all = self.0.len() == right.len() && self.0.iter().zip(right).all(|(a, b)| near(a, b));
        if all { Ok(()) } else { Err(format!("wrong: {self:?} instead of {right:?}").into()) }
    }
}

/// The reader of qc: count and sum of each region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Regions(BTreeMap<String, (i64, i64)>);

impl Regions {
    /// Reads a difference.
    pub(crate) fn see(&mut self, difference: &ChangeBatch) {
        let regions = difference.rows().column(0).as_string::<i32>();
        let (counts, sums) = (ints(difference, 1), ints(difference, 2));
        for (row, &diff) in difference.diffs().iter().enumerate() {
            let (region, totals) = (regions.value(row), (counts.value(row), sums.value(row)));
            if diff > 0 {
                self.0.insert(region.to_owned(), totals);
            } else if self.0.get(region) == Some(&totals) {
                self.0.remove(region);
            }
        }
    }

    /// Compares with what is right.
    pub(crate) fn check(&self, scale: &Scale) -> Maybe<()> {
        let answer = self.0.values().map(|(count, sum)| count * 7 + sum).sum::<i64>();
        same(&(self.0.len(), answer), &(50, scale.qc))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(seen: &T, right: &T) -> Maybe<()> {
    if seen == right { Ok(()) } else { Err(format!("wrong: {seen:?} instead of {right:?}").into()) }
}

/// A column as integers, whatever type the planner gave it.
fn ints(difference: &ChangeBatch, column: usize) -> Int64Array {
    let column = difference.rows().column(column);
    if let Some(ints) = column.as_primitive_opt::<Int64Type>() {
        return ints.clone();
    }
    cast(column, &DataType::Int64).expect("a column of numbers").as_primitive().clone()
}

/// A column as floats.
fn floats(difference: &ChangeBatch, column: usize) -> Float64Array {
    let column = difference.rows().column(column);
    let floats = cast(column, &DataType::Float64).expect("a column of numbers");
    floats.as_primitive::<Float64Type>().clone()
}
