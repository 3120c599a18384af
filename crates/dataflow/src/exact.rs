//! Sums that are exact: integers of many words, and floats as integers of many words.
//!
//! A sum is a two's complement integer over 64-bit words, least first. Adding and taking away are exact, so a sum does
//! not depend on the order of its terms, and a term that is taken back leaves no trace. A float is an integer times
//! 2^-1074: over all of `f64`'s range, with room for 2^77 terms, that takes 34 words. Only showing a float sum rounds
//! it, once, to the nearest float (ties to even).

use arrow::datatypes::i256;

/// The words of an exact sum of floats.
pub(crate) const FLOAT_WORDS: usize = 34;
/// The power of two that sums of floats count in.
const FLOAT_EXPONENT: i64 = -1074;
/// The words of an exact sum of squares of floats.
pub(crate) const FLOAT_SQUARE_WORDS: usize = 68;
/// The power of two that sums of squares of floats count in.
pub(crate) const FLOAT_SQUARE_EXPONENT: i64 = 2 * FLOAT_EXPONENT;

/// Adds `value * times` to a sum of two words.
pub(crate) fn add_integer(sum: &mut [u64], value: i128, times: i64) {
    let total = as_i128(sum).wrapping_add(value.wrapping_mul(i128::from(times)));
    let bits = total.cast_unsigned();
    sum[0] = low(bits);
    sum[1] = low(bits >> 64);
}

/// Reads a sum of two words.
pub(crate) fn as_i128(sum: &[u64]) -> i128 {
    (u128::from(sum[0]) | u128::from(sum[1]) << 64).cast_signed()
}

/// Adds `value * times` to a sum of five words or more.
pub(crate) fn add_decimal(sum: &mut [u64], value: i256, times: i64) {
    let negative = value.is_negative() != (times < 0);
    let (small, large) = value.wrapping_abs().to_parts();
    let large = large.cast_unsigned();
    let magnitude = [low(small), low(small >> 64), low(large), low(large >> 64)];
    add_product(sum, &magnitude, times.unsigned_abs(), negative);
}

/// Adds `value² * times` to a sum of five words or more.
///
/// # Panics
/// When the value's magnitude needs more than 64 bits.
pub(crate) fn add_integer_square(sum: &mut [u64], value: i128, times: i64) {
    let magnitude = u64::try_from(value.unsigned_abs()).expect("small values have 64 bits");
    let square = u128::from(magnitude) * u128::from(magnitude);
    add_product(sum, &[low(square), low(square >> 64)], times.unsigned_abs(), times < 0);
}

/// Adds `value² * times` to a sum of ten words.
pub(crate) fn add_decimal_square(sum: &mut [u64], value: i256, times: i64) {
    let (small, large) = value.wrapping_abs().to_parts();
    let large = large.cast_unsigned();
    let magnitude = [low(small), low(small >> 64), low(large), low(large >> 64)];
    let square = multiply(&magnitude, &magnitude);
    add_product(sum, &square, times.unsigned_abs(), times < 0);
}

/// Adds `value² * times` to a sum of [`FLOAT_SQUARE_WORDS`] words.
///
/// # Panics
/// When the value is not finite: those are counted, not added.
pub(crate) fn add_float_square(sum: &mut [u64], value: f64, times: i64) {
    let (mantissa, shift) = parts(value);
    let square = u128::from(mantissa) * u128::from(mantissa);
    let (at, shift) = (2 * shift / 64, 2 * shift % 64);
    let square = multiply(&[low(square), low(square >> 64)], &[1 << shift]);
    add_product(&mut sum[at..], &square, times.unsigned_abs(), times < 0);
}

/// The product of two numbers without sign.
pub(crate) fn multiply(left: &[u64], right: &[u64]) -> Vec<u64> {
    let mut product = vec![0_u64; left.len() + right.len()];
    for (at, &a) in left.iter().enumerate() {
        let mut carry = 0_u128;
        for (&b, word) in right.iter().zip(&mut product[at..]) {
            carry += u128::from(a) * u128::from(b) + u128::from(*word);
            *word = low(carry);
            carry >>= 64;
        }
        product[at + right.len()] = low(carry);
    }
    product
}

/// Reads a sum of five words or more; `None` when it does not fit.
pub(crate) fn as_i256(sum: &[u64]) -> Option<i256> {
    let fill = if sum[3] >> 63 == 1 { u64::MAX } else { 0 };
    if sum[4..].iter().any(|&word| word != fill) {
        return None;
    }
    let small = u128::from(sum[0]) | u128::from(sum[1]) << 64;
    let large = u128::from(sum[2]) | u128::from(sum[3]) << 64;
    Some(i256::from_parts(small, large.cast_signed()))
}

/// Adds `value * times` to a sum of [`FLOAT_WORDS`] words.
///
/// # Panics
/// When the value is not finite: those are counted, not added.
pub(crate) fn add_float(sum: &mut [u64], value: f64, times: i64) {
    let (mantissa, shift) = parts(value);
    let shifted = u128::from(mantissa) << (shift % 64);
    let magnitude = [low(shifted), low(shifted >> 64)];
    let negative = value.is_sign_negative() != (times < 0);
    add_product(&mut sum[shift / 64..], &magnitude, times.unsigned_abs(), negative);
}

/// A float's magnitude as `mantissa << shift`, in units of 2^-1074.
fn parts(value: f64) -> (u64, usize) {
    assert!(value.is_finite(), "infinities and NaN are counted apart");
    let bits = value.to_bits();
    let exponent = bits >> 52 & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    // Subnormal numbers have exponent 0 and the scale of exponent 1.
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    (mantissa, usize::try_from(exponent.saturating_sub(1)).expect("at most 2046"))
}

/// Reads a sum of floats, rounded to the nearest one.
pub(crate) fn as_f64(sum: &[u64]) -> f64 {
    let negative = sum[FLOAT_WORDS - 1] >> 63 == 1;
    let mut magnitude = [0; FLOAT_WORDS];
    magnitude.copy_from_slice(&sum[..FLOAT_WORDS]);
    if negative {
        negate(&mut magnitude);
    }
    let value = f64::from_bits(round(&magnitude, FLOAT_EXPONENT, false));
    if negative { -value } else { value }
}

/// The bits of the float nearest to `magnitude * 2^exponent`, or to a little more when that `is_inexact`.
///
/// # Panics
/// When an inexact number has fewer than 53 bits: whoever divides leaves room for more.
pub(crate) fn round(magnitude: &[u64], exponent: i64, is_inexact: bool) -> u64 {
    let Some(word) = magnitude.iter().rposition(|&word| word != 0) else {
        return 0;
    };
    let index = |at: usize| i64::try_from(at).expect("a number of bits");
    let top = index(word * 64 + 63 - magnitude[word].leading_zeros() as usize);
    // A float has 53 bits, and none below 2^-1074.
    let lowest = (top - 52).max(FLOAT_EXPONENT - exponent);
    let Ok(at) = usize::try_from(lowest) else {
        // Fewer than 53 bits in all: a subnormal number, or one of whole units, as it is.
        assert!(!is_inexact, "an inexact number has room for 53 bits");
        let bits = magnitude[0] << lowest.unsigned_abs();
        return assemble(bits, lowest + exponent);
    };
    let bit = |at: usize| magnitude.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
    let word_at = |at: usize| u128::from(magnitude.get(at).copied().unwrap_or(0));
    let both = word_at(at / 64) | word_at(at / 64 + 1) << 64;
    let mantissa = low(both >> (at % 64)) & ((1 << 53) - 1);
    let half = at > 0 && bit(at - 1);
    let rest = is_inexact
        || at > 0 && {
            let below = (at - 1) / 64;
            magnitude.iter().take(below).any(|&word| word != 0)
                || magnitude.get(below).is_some_and(|word| word & ((1 << ((at - 1) % 64)) - 1) != 0)
        };
    let up = half && (rest || mantissa & 1 == 1);
    (assemble(mantissa, lowest + exponent) + u64::from(up)).min(f64::INFINITY.to_bits())
}

/// The bits of `mantissa * 2^exponent`, or of infinity when that is too large.
fn assemble(mantissa: u64, exponent: i64) -> u64 {
    let biased = u64::try_from(exponent - FLOAT_EXPONENT).expect("no bit is below 2^-1074");
    if biased > 2045 {
        return f64::INFINITY.to_bits();
    }
    // The mantissa's top bit counts as one of the exponent, so a subnormal number needs no case of its own.
    (biased << 52) + mantissa
}

/// Adds `±magnitude * times` to a sum, carrying as far as it goes.
fn add_product(sum: &mut [u64], magnitude: &[u64], times: u64, negative: bool) {
    let mut carry: u128 = 0;
    let mut borrow = false;
    for (at, word) in sum.iter_mut().enumerate() {
        let digit = match magnitude.get(at) {
            Some(&digit) => {
                carry += u128::from(digit) * u128::from(times);
                low(carry)
            }
            None if carry == 0 && !borrow => return,
            None => low(carry),
        };
        carry >>= 64;
        let (next, first) =
            if negative { word.overflowing_sub(digit) } else { word.overflowing_add(digit) };
        let one = u64::from(borrow);
        let (next, second) =
            if negative { next.overflowing_sub(one) } else { next.overflowing_add(one) };
        *word = next;
        borrow = first || second;
    }
}

/// Turns a number into its opposite.
pub(crate) fn negate(words: &mut [u64]) {
    let mut carry = true;
    for word in words {
        let (next, over) = (!*word).overflowing_add(u64::from(carry));
        *word = next;
        carry = over;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower word is wanted")]
fn low(bits: u128) -> u64 {
    bits as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn float_sum(terms: &[(f64, i64)]) -> f64 {
        let mut sum = [0; FLOAT_WORDS];
        for &(value, times) in terms {
            add_float(&mut sum, value, times);
        }
        as_f64(&sum)
    }

    #[test]
    fn float_sums_round_once_and_do_not_drift() {
        let check = |terms: &[(f64, i64)], expected: f64| {
            assert_eq!(float_sum(terms).to_bits(), expected.to_bits(), "{terms:?}");
        };
        check(&[], 0.0);
        check(&[(0.1, 10)], 1.0);
        check(&[(1e308, 1), (1.0, 1), (1e308, -1)], 1.0);
        check(&[(1e16, 1), (1.0, 1), (1e-16, 1)], 1e16 + 2.0);
        check(&[(1e16, 1), (1.0, 1)], 1e16);
        check(&[(f64::MAX, 2)], f64::INFINITY);
        check(&[(f64::MAX, 2), (f64::MAX, -1)], f64::MAX);
        check(&[(f64::MIN, 2)], f64::NEG_INFINITY);
        check(&[(5e-324, 1)], 5e-324);
        check(&[(5e-324, -3)], -1.5e-323);
        check(&[(f64::MIN_POSITIVE, 1), (5e-324, -1)], f64::MIN_POSITIVE - 5e-324);
        check(&[(-0.0, 1)], 0.0);
        check(&[(0.1, 1), (0.2, 1), (0.3, -1)], 2.775_557_561_562_891_4e-17);
    }

    #[test]
    fn decimal_sums_carry_beyond_their_type_and_come_back() {
        let mut sum = [0; 6];
        add_decimal(&mut sum, i256::MAX, 3);
        assert_eq!(as_i256(&sum), None);
        add_decimal(&mut sum, i256::MAX, -2);
        assert_eq!(as_i256(&sum), Some(i256::MAX));
        add_decimal(&mut sum, i256::MIN, 1);
        assert_eq!(as_i256(&sum), Some(i256::MINUS_ONE));
    }

    proptest! {
        #[test]
        fn one_float_is_its_own_sum(bits in any::<u64>(), other in any::<u64>()) {
            let (value, other) = (f64::from_bits(bits), f64::from_bits(other));
            if value.is_finite() && other.is_finite() {
                let sum = float_sum(&[(other, 1), (value, 3), (other, -1), (value, -2)]);
                prop_assert_eq!(sum.to_bits(), (value + 0.0).to_bits());
                // The sum of two floats is rounded as the processor rounds it.
                let sum = float_sum(&[(value, 1), (other, 1)]);
                prop_assert_eq!(sum.to_bits(), (value + other + 0.0).to_bits());
            }
        }

        #[test]
        fn integer_and_decimal_sums_agree(terms in proptest::collection::vec((any::<i64>(), -5_i64..5), 0..20)) {
            let (mut integer, mut decimal) = ([0; 2], [0; 6]);
            for &(value, times) in &terms {
                add_integer(&mut integer, i128::from(value), times);
                add_decimal(&mut decimal, i256::from_i128(i128::from(value)), times);
            }
            prop_assert_eq!(as_i256(&decimal), Some(i256::from_i128(as_i128(&integer))));
        }
    }
}
