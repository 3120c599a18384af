//! PostgreSQL's binary `numeric`: digits to the base 10,000, decoded exactly or not at all.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use arrow::datatypes::i256;

use super::values::Misfit;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
/// Decimal digits in one of the wire's.
const WIDTH: i32 = 4;
const MALFORMED: Misfit = Misfit::Malformed("a numeric of wrong length");

/// A `numeric` as the wire has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numeric<'a> {
    /// The power of 10,000 of the first digit.
    weight: i16,
    sign: u16,
    /// How many digits behind the point to show.
    shown: u16,
    digits: &'a [[u8; 2]],
}

/// An integer wide enough for some column.
trait Wide: Copy {
    const ZERO: Self;
    fn times_plus(self, factor: u16, addend: u16) -> Option<Self>;
    fn negated(self) -> Self;
}

impl Wide for i128 {
    const ZERO: Self = 0;
    fn times_plus(self, factor: u16, addend: u16) -> Option<Self> {
        self.checked_mul(Self::from(factor))?.checked_add(Self::from(addend))
    }
    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

impl Wide for i256 {
    const ZERO: Self = Self::ZERO;
    fn times_plus(self, factor: u16, addend: u16) -> Option<Self> {
        let wide = |value: u16| Self::from_i128(i128::from(value));
        self.checked_mul(wide(factor))?.checked_add(wide(addend))
    }
    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

impl<'a> Numeric<'a> {
    /// Reads the wire's form.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Misfit> {
        let (words, []) = bytes.as_chunks::<2>() else { return Err(MALFORMED) };
        let [count, weight, sign, shown, digits @ ..] = words else { return Err(MALFORMED) };
        let numeric = Self {
            weight: i16::from_be_bytes(*weight),
            sign: u16::from_be_bytes(*sign),
            shown: u16::from_be_bytes(*shown),
            digits,
        };
        let fits = usize::from(u16::from_be_bytes(*count)) == digits.len()
            && digits.iter().all(|digit| u16::from_be_bytes(*digit) < 10_000);
        if fits { Ok(numeric) } else { Err(MALFORMED) }
    }

    /// The value in units of `10^-scale`, of at most `precision` digits.
    pub(crate) fn to_i128(self, precision: u8, scale: i8) -> Result<i128, Misfit> {
        let value: i128 = self.scaled(precision, scale)?;
        let limit = 10_u128.checked_pow(u32::from(precision)).ok_or(MALFORMED)?;
        if value.unsigned_abs() < limit { Ok(value) } else { Err(self.misfit(precision, scale)) }
    }

    /// The value in units of `10^-scale`, of at most `precision` digits.
    pub(crate) fn to_i256(self, precision: u8, scale: i8) -> Result<i256, Misfit> {
        let value: i256 = self.scaled(precision, scale)?;
        let limit = i256::from_i128(10).checked_pow(u32::from(precision)).ok_or(MALFORMED)?;
        let fits = value < limit && value > limit.wrapping_neg();
        if fits { Ok(value) } else { Err(self.misfit(precision, scale)) }
    }

    fn scaled<T: Wide>(self, precision: u8, scale: i8) -> Result<T, Misfit> {
        if self.sign & NAN == NAN {
            return Err(self.misfit(precision, scale));
        }
        let value =
            self.magnitude(i32::from(scale)).ok_or_else(|| self.misfit(precision, scale))?;
        Ok(if self.sign == NEGATIVE { T::negated(value) } else { value })
    }

    /// `None` when it would have to be rounded, or does not fit.
    fn magnitude<T: Wide>(self, scale: i32) -> Option<T> {
        let mut value = T::ZERO;
        // The power of ten of the current digit's last place, in units of the result's last place.
        let mut place = i32::from(self.weight).checked_mul(WIDTH)?.checked_add(scale)?;
        for digit in self.digits {
            let digit = u16::from_be_bytes(*digit);
            if place >= 0 {
                value = value.times_plus(10_000, digit)?;
            } else if place > WIDTH.wrapping_neg() {
                let cut = 10_u16.checked_pow(place.unsigned_abs())?;
                if digit.checked_rem(cut)? != 0 {
                    return None;
                }
                value = value.times_plus(10_000_u16.checked_div(cut)?, digit.checked_div(cut)?)?;
            } else if digit != 0 {
                return None;
            }
            place = place.checked_sub(WIDTH)?;
        }
        // What is left to the right of the last digit are zeros.
        let zeros = if self.digits.is_empty() { 0 } else { place.checked_add(WIDTH)? };
        for _ in 0..zeros.max(0) {
            value = value.times_plus(10, 0)?;
        }
        Some(value)
    }

    fn misfit(self, precision: u8, scale: i8) -> Misfit {
        Misfit::DoesNotFit(does_not_fit(&self.to_text(), precision, scale))
    }

    /// The value as PostgreSQL writes it.
    pub(crate) fn to_text(self) -> String {
        match self.sign {
            NAN => return "NaN".to_owned(),
            INFINITY => return "Infinity".to_owned(),
            NEGATIVE_INFINITY => return "-Infinity".to_owned(),
            _ => {}
        }
        let digit = |power: i32| {
            let index = usize::try_from(i32::from(self.weight).saturating_sub(power)).ok();
            index.and_then(|index| self.digits.get(index)).map_or(0, |d| u16::from_be_bytes(*d))
        };
        let mut text = String::new();
        if self.sign == NEGATIVE {
            text.push('-');
        }
        text.push_str(&digit(i32::from(self.weight).max(0)).to_string());
        for power in (0..i32::from(self.weight).max(0)).rev() {
            text.push_str(&format!("{:04}", digit(power)));
        }
        if self.shown > 0 {
            let mut fraction = String::new();
            let mut power = -1;
            while fraction.len() < usize::from(self.shown) {
                fraction.push_str(&format!("{:04}", digit(power)));
                power = power.saturating_sub(1);
            }
            fraction.truncate(usize::from(self.shown));
            text.push('.');
            text.push_str(&fraction);
        }
        text
    }
}

/// Says that a number is not one of a column's.
pub(crate) fn does_not_fit(number: &str, precision: u8, scale: i8) -> String {
    let shown = number.get(..100).unwrap_or(number);
    format!("{shown} does not fit numeric({precision},{scale})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weight, sign, digits shown, digits, scale, and what it is as text and as a number.
    type Case<'a> = (i16, u16, u16, &'a [u16], i8, &'a str, i128);

    fn wire(weight: i16, sign: u16, shown: u16, digits: &[u16]) -> Vec<u8> {
        let count = u16::try_from(digits.len()).unwrap();
        let mut bytes = Vec::new();
        for word in [count, weight.cast_unsigned(), sign, shown] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
        bytes
    }

    #[test]
    fn values_are_exact_at_every_weight_and_scale() {
        let cases: &[Case<'_>] = &[
            (0, 0, 2, &[12, 3400], 2, "12.34", 1234),
            (0, NEGATIVE, 2, &[12, 3400], 2, "-12.34", -1234),
            (2, 0, 0, &[1], 2, "100000000", 10_000_000_000),
            (-1, 0, 4, &[5], 4, "0.0005", 5),
            (-2, 0, 8, &[1], 8, "0.00000001", 1),
            (0, 0, 0, &[], 2, "0", 0),
            (1, 0, 3, &[1, 0, 1230], 3, "10000.123", 10_000_123),
        ];
        for &(weight, sign, shown, digits, scale, text, value) in cases {
            let bytes = wire(weight, sign, shown, digits);
            let numeric = Numeric::read(&bytes).unwrap();
            assert_eq!(numeric.to_text(), text);
            assert_eq!(numeric.to_i128(38, scale), Ok(value), "{text}");
            assert_eq!(numeric.to_i256(76, scale), Ok(i256::from_i128(value)), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_never_rounded() {
        let cases: &[(i16, u16, u16, &[u16], &str)] = &[
            (-1, 0, 3, &[1250], "0.125 does not fit numeric(4,2)"),
            (0, 0, 0, &[100], "100 does not fit numeric(4,2)"),
            (0, NAN, 0, &[], "NaN does not fit numeric(4,2)"),
            (0, INFINITY, 0, &[], "Infinity does not fit numeric(4,2)"),
            (0, NEGATIVE_INFINITY, 0, &[], "-Infinity does not fit numeric(4,2)"),
        ];
        for &(weight, sign, shown, digits, reason) in cases {
            let bytes = wire(weight, sign, shown, digits);
            let misfit = Misfit::DoesNotFit(reason.to_owned());
            assert_eq!(Numeric::read(&bytes).unwrap().to_i128(4, 2), Err(misfit));
        }
        let huge = wire(i16::MAX, 0, 0, &[9999]);
        assert!(Numeric::read(&huge).unwrap().to_i256(76, 18).is_err());
    }

    #[test]
    fn malformed_bytes_are_an_error() {
        for bytes in [&[][..], &[0], &[0; 6], &wire(0, 0, 0, &[10_000])] {
            assert!(Numeric::read(bytes).is_err(), "{bytes:?}");
        }
        let mut short = wire(0, 0, 0, &[1, 2]);
        short.truncate(10);
        assert!(Numeric::read(&short).is_err());
    }
}
