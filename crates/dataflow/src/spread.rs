//! Variances from exact sums: rounded once, never negative, without drift.
//!
//! With n values, their sum S and the sum Q of their squares, all exact, the variance is a fraction of integers:
//!
//! ```text
//! population  (n·Q − S²) / n²          sample  (n·Q − S²) / (n·(n − 1))
//! ```
//!
//! n·Q ≥ S², so nothing cancels below zero; and the one division is carried out in integers with so many digits behind
//! the point that only the last step, from the quotient to the nearest float, rounds.

use crate::exact::{multiply, negate, round};

/// What a variance is computed from.
pub(crate) struct Moments<'a> {
    /// How many values.
    pub(crate) count: u64,
    /// Their sum, as two's complement words.
    pub(crate) sum: &'a [u64],
    /// The sum of their squares, as two's complement words.
    pub(crate) squares: &'a [u64],
    /// The decimal places of the values.
    pub(crate) scale: i8,
    /// The power of two that the squares are counted in.
    pub(crate) exponent: i64,
}

impl Moments<'_> {
    /// The variance of the population, or of a sample with `less` = 1.
    ///
    /// # Panics
    /// When there are no more than `less` values.
    pub(crate) fn variance(&self, less: u64) -> f64 {
        assert!(self.count > less, "a variance has a positive denominator");
        let mut numerator = self.numerator();
        let mut divisors = vec![self.count, self.count - less];
        // Each of two factors of 10^scale.
        for _ in 0..2 {
            for places in digits(self.scale.max(0)) {
                divisors.push(10_u64.pow(places));
            }
            for places in digits(self.scale.min(0).saturating_neg()) {
                numerator = multiply(&numerator, &[10_u64.pow(places)]);
            }
        }
        // Room for two words of quotient whatever it is divided by.
        let room = divisors.len() + 2;
        numerator.splice(0..0, std::iter::repeat_n(0, room));
        let mut is_inexact = false;
        for divisor in divisors {
            is_inexact |= divide(&mut numerator, divisor) != 0;
        }
        let exponent = self.exponent - 64 * i64::try_from(room).expect("a few words");
        f64::from_bits(round(&numerator, exponent, is_inexact))
    }

    /// n·Q − S².
    fn numerator(&self) -> Vec<u64> {
        let mut sum = self.sum.to_vec();
        if sum.last().is_some_and(|top| top >> 63 == 1) {
            negate(&mut sum);
        }
        let mut difference = multiply(self.squares, &[self.count]);
        let square = multiply(&sum, &sum);
        difference.resize(difference.len().max(square.len()), 0);
        let mut borrow = false;
        for (at, word) in difference.iter_mut().enumerate() {
            let (next, first) = word.overflowing_sub(square.get(at).copied().unwrap_or(0));
            let (next, second) = next.overflowing_sub(u64::from(borrow));
            *word = next;
            borrow = first || second;
        }
        assert!(!borrow, "n times the sum of the squares is at least the square of the sum");
        difference
    }
}

/// A number of decimal digits in parts that fit a word.
fn digits(count: i8) -> impl Iterator<Item = u32> {
    let mut left = u32::from(count.unsigned_abs());
    std::iter::from_fn(move || {
        let part = left.min(19);
        left -= part;
        (part > 0).then_some(part)
    })
}

/// Divides in place; returns the remainder.
fn divide(words: &mut [u64], divisor: u64) -> u64 {
    let mut rest = 0_u64;
    for word in words.iter_mut().rev() {
        let whole = u128::from(rest) << 64 | u128::from(*word);
        *word =
            u64::try_from(whole / u128::from(divisor)).expect("the rest is less than the divisor");
        rest = u64::try_from(whole % u128::from(divisor)).expect("less than the divisor");
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::exact::{
        FLOAT_SQUARE_EXPONENT, FLOAT_SQUARE_WORDS, FLOAT_WORDS, add_float, add_float_square,
        add_integer, add_integer_square,
    };

    fn of_floats(values: &[f64], less: u64) -> f64 {
        let (mut sum, mut squares) = (vec![0; FLOAT_WORDS], vec![0; FLOAT_SQUARE_WORDS]);
        for &value in values {
            add_float(&mut sum, value, 2);
            add_float(&mut sum, value, -1);
            add_float_square(&mut squares, value, -1);
            add_float_square(&mut squares, value, 2);
        }
        let (count, exponent) = (values.len() as u64, FLOAT_SQUARE_EXPONENT);
        Moments { count, sum: &sum, squares: &squares, scale: 0, exponent }.variance(less)
    }

    fn of_integers(values: &[i64], scale: i8, less: u64) -> f64 {
        let (mut sum, mut squares) = ([0; 2], [0; 6]);
        for &value in values {
            add_integer(&mut sum, i128::from(value), 1);
            add_integer_square(&mut squares, i128::from(value), 1);
        }
        let count = values.len() as u64;
        Moments { count, sum: &sum, squares: &squares, scale, exponent: 0 }.variance(less)
    }

    #[test]
    fn variances_are_the_nearest_floats() {
        let check = |found: f64, expected: f64| assert_eq!(found.to_bits(), expected.to_bits());
        check(of_integers(&[1, 2, 3, 4], 0, 0), 1.25);
        check(of_integers(&[1, 2, 3, 4], 0, 1), 5.0 / 3.0);
        check(of_integers(&[100, 200, 300, 400], 2, 1), 5.0 / 3.0);
        check(of_integers(&[1, 2, 3, 4], -1, 0), 125.0);
        check(of_integers(&[i64::MAX, i64::MAX], 0, 1), 0.0);
        check(of_integers(&[i64::MAX, i64::MAX - 1], 0, 0), 0.25);
        check(of_floats(&[0.5, 1.5], 0), 0.25);
        check(of_floats(&[1e8 + 0.5, 1e8 - 0.5], 0), 0.25);
        check(of_floats(&[0.1, 0.1, 0.1], 0), 0.0);
        check(of_floats(&[1e200, -1e200], 0), f64::INFINITY);
        check(of_floats(&[5e-324, 0.0], 0), 0.0);
        check(of_floats(&[4e-162, 0.0], 0), 5e-324);
        check(of_floats(&[1.0, 1.0 + f64::EPSILON], 0), f64::EPSILON * f64::EPSILON / 4.0);
    }

    proptest! {
        #[test]
        fn floats_integers_and_a_naive_computation_agree(
            values in proptest::collection::vec(-1_000_i32..1_000, 2..20),
            wild in proptest::collection::vec(any::<f64>(), 2..6),
        ) {
            let floats: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
            let integers: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
            for less in [0, 1] {
                let found = of_floats(&floats, less);
                prop_assert_eq!(found.to_bits(), of_integers(&integers, 0, less).to_bits());
                let count = floats.len() as f64;
                let mean = floats.iter().sum::<f64>() / count;
                let naive = floats.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
                    / (count - less as f64);
                prop_assert!((found - naive).abs() <= naive.abs() * 1e-9 + 1e-9);
            }
            if wild.iter().all(|value| value.is_finite()) {
                prop_assert!(of_floats(&wild, 1) >= 0.0);
            }
        }
    }
}
