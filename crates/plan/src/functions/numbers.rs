//! Functions of numbers, and numbers by a pattern.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal256Array, Float64Array, Int32Array, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Decimal256Type, Float64Type, i256};
use arrow::error::ArrowError;
use change::read::parse_rounded256;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::ScalarUDF;

use super::arithmetic::zoned;
use super::dates::{self, ordinal_ending};
use super::define::{Arguments, Gives, fails, of_any, takes_no};
use super::time::seconds_us;

const DOUBLE: DataType = DataType::Float64;
const WIDE: DataType = DataType::Decimal256(76, 18);

/// The functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    let mut all = vec![
        of_any("power", (2, 2), Gives::Always(DOUBLE), power),
        of_any("round", (1, 2), Gives::Of(rounded_type), round),
        of_any("sign", (1, 1), Gives::Of(sign_type), sign),
        of_any("mod", (2, 2), Gives::Of(wider), |arguments| {
            let to = arguments.gives();
            let (left, right) = (arguments.cast(0, to)?, arguments.cast(1, to)?);
            Ok(arrow::compute::kernels::numeric::rem(&left, &right)?)
        }),
        of_any("div", (2, 2), Gives::Of(div_type), div),
        of_any("log", (1, 2), Gives::Always(DOUBLE), log),
        of_any("bitwise_not", (1, 1), Gives::Of(same_integer), |arguments| {
            let numbers = arguments.integers(0)?;
            arguments.integer_of_each(|row| Ok(Some(!numbers.value(row))))
        }),
        of_any("width_bucket", (4, 4), Gives::Always(DataType::Int32), width_bucket),
        of_any("scale", (1, 1), Gives::Always(DataType::Int32), |arguments| {
            scale_of(arguments, false)
        }),
        of_any("min_scale", (1, 1), Gives::Always(DataType::Int32), |arguments| {
            scale_of(arguments, true)
        }),
        of_any("trim_scale", (1, 1), Gives::Always(WIDE), |arguments| arguments.cast(0, &WIDE)),
        of_any("to_hex", (1, 1), Gives::Always(DataType::Utf8), to_hex),
        of_any("to_char", (2, 2), Gives::Always(DataType::Utf8), to_char),
        of_any("to_number", (2, 2), Gives::Always(WIDE), to_number),
        of_any("to_date", (2, 2), Gives::Always(DataType::Date32), dates::to_date),
        of_any("to_timestamp", (1, 2), Gives::Always(zoned()), to_timestamp),
    ];
    for (name, body) in DOUBLES {
        all.push(of_any(name, (1, 1), Gives::Always(DOUBLE), body));
    }
    all
}

type Body = fn(&Arguments) -> PlanResult<ArrayRef>;

/// Functions of one double that fail where they have no value.
const DOUBLES: [(&str, Body); 16] = [
    ("sqrt", |a| {
        doubles(a, |x| within(x >= 0.0 || x.is_nan(), x.sqrt(), "square root of a negative number"))
    }),
    ("ln", |a| doubles(a, |x| logarithm(x, f64::ln))),
    ("log10", |a| doubles(a, |x| logarithm(x, f64::log10))),
    ("exp", |a| doubles(a, |x| in_range(x.exp(), x.is_finite()))),
    ("sin", |a| doubles(a, |x| finite(x, f64::sin))),
    ("cos", |a| doubles(a, |x| finite(x, f64::cos))),
    ("tan", |a| doubles(a, |x| finite(x, f64::tan))),
    ("cot", |a| doubles(a, |x| finite(x, |x| 1.0 / x.tan()))),
    ("asin", |a| {
        doubles(a, |x| within(x.is_nan() || x.abs() <= 1.0, x.asin(), "input is out of range"))
    }),
    ("acos", |a| {
        doubles(a, |x| within(x.is_nan() || x.abs() <= 1.0, x.acos(), "input is out of range"))
    }),
    ("acosh", |a| {
        doubles(a, |x| within(x.is_nan() || x >= 1.0, x.acosh(), "input is out of range"))
    }),
    ("atanh", |a| {
        doubles(a, |x| within(x.is_nan() || x.abs() <= 1.0, x.atanh(), "input is out of range"))
    }),
    ("cbrt", |a| doubles(a, |x| Ok(x.cbrt()))),
    ("sind", |a| doubles(a, |x| finite(x, sine_of_degrees))),
    ("cosd", |a| doubles(a, |x| finite(x, |x| sine_of_degrees(x + 90.0)))),
    ("tand", |a| doubles(a, |x| finite(x, |x| sine_of_degrees(x) / sine_of_degrees(x + 90.0)))),
];

fn doubles(arguments: &Arguments, of: impl Fn(f64) -> PlanResult<f64>) -> PlanResult<ArrayRef> {
    let from = arguments.array(0).data_type();
    if !from.is_numeric() && !matches!(from, DataType::Null | DataType::Utf8) {
        return takes_no(arguments.gives_field().name(), from);
    }
    let numbers = arguments.cast(0, &DOUBLE)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    let computed: Float64Array = numbers.try_unary(of)?;
    Ok(Arc::new(computed))
}

fn within(sound: bool, value: f64, reason: &str) -> PlanResult<f64> {
    if sound { Ok(value) } else { fails(reason) }
}

fn logarithm(x: f64, of: impl Fn(f64) -> f64) -> PlanResult<f64> {
    if x == 0.0 {
        return fails("cannot take logarithm of zero");
    }
    within(x > 0.0 || x.is_nan(), of(x), "cannot take logarithm of a negative number")
}

fn finite(x: f64, of: impl Fn(f64) -> f64) -> PlanResult<f64> {
    within(!x.is_infinite(), of(x), "input is out of range")
}

/// A result that is infinite or nothing though its argument was neither does not fit.
fn in_range(value: f64, was_finite: bool) -> PlanResult<f64> {
    if was_finite && value.is_infinite() {
        return fails("value out of range: overflow");
    }
    if was_finite && value == 0.0 {
        return fails("value out of range: underflow");
    }
    Ok(value)
}

/// The sine of degrees; what is a plain number in mathematics is one here.
#[expect(clippy::float_cmp, reason = "just these angles have a plain sine")]
fn sine_of_degrees(degrees: f64) -> f64 {
    let turn = degrees.rem_euclid(360.0);
    let (turn, sign) = if turn >= 180.0 { (turn - 180.0, -1.0) } else { (turn, 1.0) };
    let turn = if turn > 90.0 { 180.0 - turn } else { turn };
    let value = if turn == 0.0 {
        0.0
    } else if turn == 30.0 {
        0.5
    } else if turn == 90.0 {
        1.0
    } else {
        turn.to_radians().sin()
    };
    sign * value
}

fn power(arguments: &Arguments) -> PlanResult<ArrayRef> {
    for at in 0..2 {
        let from = arguments.array(at).data_type();
        if !from.is_numeric() && !matches!(from, DataType::Null | DataType::Utf8) {
            return takes_no("power", from);
        }
    }
    let (bases, exponents) = (arguments.cast(0, &DOUBLE)?, arguments.cast(1, &DOUBLE)?);
    let (bases, exponents) =
        (bases.as_primitive::<Float64Type>(), exponents.as_primitive::<Float64Type>());
    let of = |base: f64, exponent: f64| {
        if base == 0.0 && exponent < 0.0 {
            return fails("zero raised to a negative power is undefined");
        }
        if base < 0.0 && base.is_finite() && exponent.is_finite() && exponent.fract() != 0.0 {
            return fails(
                "a negative number raised to a non-integer power yields a complex result",
            );
        }
        let value = base.powf(exponent);
        let plain = base.is_finite() && exponent.is_finite();
        if plain && base != 0.0 { in_range(value, true) } else { Ok(value) }
    };
    let powers = bases.iter().zip(exponents).map(|pair| match pair {
        (Some(base), Some(exponent)) => of(base, exponent).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(powers.collect::<PlanResult<Float64Array>>()?))
}

/// `log(x)` to the base 10, `log(b, x)`.
fn log(arguments: &Arguments) -> PlanResult<ArrayRef> {
    if arguments.count() == 1 {
        return doubles(arguments, |x| logarithm(x, f64::log10));
    }
    let (bases, numbers) = (arguments.cast(0, &DOUBLE)?, arguments.cast(1, &DOUBLE)?);
    let (bases, numbers) =
        (bases.as_primitive::<Float64Type>(), numbers.as_primitive::<Float64Type>());
    let of = |base: f64, number: f64| {
        let (base, number) = (logarithm(base, f64::ln)?, logarithm(number, f64::ln)?);
        if base == 0.0 { Err(ArrowError::DivideByZero.into()) } else { Ok(number / base) }
    };
    let logs = bases.iter().zip(numbers).map(|pair| match pair {
        (Some(base), Some(number)) => of(base, number).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(logs.collect::<PlanResult<Float64Array>>()?))
}

fn rounded_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(match (&types[0], types.len()) {
        (data_type, _) if data_type.is_decimal() => data_type.clone(),
        (data_type, 1) if data_type.is_integer() => data_type.clone(),
        (data_type, _) if data_type.is_integer() => DataType::Decimal128(20, 0),
        (DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Null, _) => DOUBLE,
        (other, _) => return takes_no("round", other),
    })
}

/// `round`: decimals away from zero, floats to even. A float to places, which PostgreSQL lacks, goes as a decimal would.
fn round(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let to = arguments.gives().clone();
    if arguments.count() == 1 && to.is_integer() {
        return arguments.cast(0, &to);
    }
    if to == DOUBLE {
        let numbers = arguments.cast(0, &DOUBLE)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        let places = arguments.integers_or(1, 0)?;
        let rounded = numbers.iter().zip(&places).map(|(number, places)| {
            let (number, places) = (number?, i32::try_from(places?).unwrap_or(0));
            let scale = 10_f64.powi(places);
            let rounded = (number * scale).round_ties_even() / scale;
            Some(if places == 0 || !rounded.is_finite() {
                number.round_ties_even()
            } else {
                rounded
            })
        });
        return Ok(Arc::new(rounded.collect::<Float64Array>()));
    }
    let places = arguments.integers_or(1, 0)?;
    let scale = match to {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => i64::from(scale),
        _ => 0,
    };
    let wide = arguments.cast(0, &DataType::Decimal256(76, i8::try_from(scale).unwrap_or(0)))?;
    let wide = wide.as_primitive::<Decimal256Type>();
    let rounded = wide.iter().zip(&places).map(|(number, places)| {
        let Some((number, places)) = number.zip(places) else { return Ok(None) };
        let dropped = scale - places;
        if dropped <= 0 {
            return Ok(Some(number));
        }
        let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
        let Some(unit) = i256::from_i128(10).checked_pow(dropped.min(76)) else {
            return Ok(Some(i256::ZERO));
        };
        let rest = number.wrapping_rem(unit);
        let down = number.wrapping_sub(rest);
        let half = rest.wrapping_abs() >= unit.wrapping_sub(rest.wrapping_abs());
        let step = if number.is_negative() { unit.wrapping_neg() } else { unit };
        Ok(Some(if half { down.wrapping_add(step) } else { down }))
    });
    let rounded: ArrayRef = Arc::new(
        rounded.collect::<PlanResult<Decimal256Array>>()?.with_data_type(wide.data_type().clone()),
    );
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(&rounded, &to, &options)?)
}

fn sign_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(if types[0].is_decimal() { DataType::Decimal128(1, 0) } else { DOUBLE })
}

fn sign(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let numbers = arguments.cast(0, &DOUBLE)?;
    let sign = |x: f64| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }
    };
    let signs: Float64Array = numbers.as_primitive::<Float64Type>().unary(sign);
    let signs: ArrayRef = Arc::new(signs);
    Ok(arrow::compute::cast(&signs, arguments.gives())?)
}

fn same_integer(types: &[DataType]) -> PlanResult<DataType> {
    if types[0].is_integer() { Ok(types[0].clone()) } else { takes_no("~", &types[0]) }
}

/// The type that holds the values of two types of numbers.
fn wider(types: &[DataType]) -> PlanResult<DataType> {
    let decimal = |data_type: &DataType| match data_type {
        DataType::Decimal128(..) | DataType::Decimal256(..) => Some(data_type.clone()),
        _ => None,
    };
    let (left, right) = (&types[0], &types[1]);
    Ok(match (decimal(left), decimal(right)) {
        (Some(DataType::Decimal128(_, left)), Some(DataType::Decimal128(_, right))) => {
            DataType::Decimal128(38, left.max(right))
        }
        (Some(DataType::Decimal128(_, scale)), None)
        | (None, Some(DataType::Decimal128(_, scale)))
            if left.is_numeric() && right.is_numeric() =>
        {
            DataType::Decimal128(38, scale)
        }
        (Some(_), _) | (_, Some(_)) => WIDE,
        (None, None) if left.is_integer() && right.is_integer() => {
            let width = |data_type: &DataType| data_type.primitive_width().unwrap_or(8);
            if width(left) >= width(right) { left.clone() } else { right.clone() }
        }
        _ => return takes_no("mod", if left.is_integer() { right } else { left }),
    })
}

fn div_type(_types: &[DataType]) -> PlanResult<DataType> {
    Ok(DataType::Decimal256(76, 0))
}

/// `div`: a quotient of numerics, cut off.
fn div(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (left, right) = (arguments.cast(0, &WIDE)?, arguments.cast(1, &WIDE)?);
    let (left, right) =
        (left.as_primitive::<Decimal256Type>(), right.as_primitive::<Decimal256Type>());
    let quotients = left.iter().zip(right).map(|(left, right)| match (left, right) {
        (Some(_), Some(i256::ZERO)) => Err(DataFusionError::from(ArrowError::DivideByZero)),
        (Some(left), Some(right)) => Ok(left.checked_div(right)),
        _ => Ok(None),
    });
    let quotients = quotients.collect::<PlanResult<Decimal256Array>>()?;
    Ok(Arc::new(quotients.with_data_type(arguments.gives().clone())))
}

/// `width_bucket(value, low, high, count)`.
#[expect(clippy::float_cmp, reason = "bounds are refused when they are the same number")]
fn width_bucket(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let numbers = (0..3).map(|at| arguments.cast(at, &DOUBLE)).collect::<PlanResult<Vec<_>>>()?;
    let counts = arguments.integers(3)?;
    arguments.integer_of_each(|row| {
        let [value, low, high] =
            [0, 1, 2].map(|at: usize| numbers[at].as_primitive::<Float64Type>().value(row));
        let count = counts.value(row);
        if count <= 0 {
            return fails("count must be greater than zero");
        }
        if value.is_nan() || low.is_nan() || high.is_nan() {
            return fails("operand, lower bound, and upper bound cannot be NaN");
        }
        if low == high || low.is_infinite() || high.is_infinite() {
            return fails("lower bound cannot equal upper bound");
        }
        Ok(Some(bucket(value, low, high, count)))
    })
}

#[expect(clippy::cast_precision_loss, reason = "buckets are few")]
#[expect(clippy::cast_possible_truncation, reason = "the quotient is within the count")]
fn bucket(value: f64, low: f64, high: f64, count: i64) -> i64 {
    let (before, behind) =
        if low < high { (value < low, value >= high) } else { (value > low, value <= high) };
    if before {
        0
    } else if behind {
        count + 1
    } else {
        ((value - low) / (high - low) * count as f64).floor() as i64 + 1
    }
}

/// How many places a numeric has; without zeros at the end when `least`.
fn scale_of(arguments: &Arguments, least: bool) -> PlanResult<ArrayRef> {
    let from = arguments.array(0).data_type().clone();
    let scale = match from {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => scale,
        _ => 0,
    };
    let unconstrained = arguments.logical(0) == Some("numeric") || from == WIDE;
    let texts = arguments.texts(0)?;
    let places = texts.iter().map(|text| {
        let part = text?.split_once('.').map_or("", |(_, part)| part);
        let kept = part.trim_end_matches('0').len();
        Some(if least || unconstrained { i32::try_from(kept).unwrap_or(0) } else { scale.into() })
    });
    Ok(Arc::new(places.collect::<Int32Array>()))
}

fn to_hex(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let width = arguments.array(0).data_type().primitive_width().unwrap_or(8);
    let numbers = arguments.integers(0)?;
    arguments.text_of_each(|row| {
        let number = numbers.value(row);
        // A smallint is an integer there.
        let shown = if width <= 4 { number & 0xffff_ffff } else { number };
        Ok(Some(format!("{shown:x}")))
    })
}

/// `to_timestamp` of seconds since 1970, or of a text and its pattern.
fn to_timestamp(arguments: &Arguments) -> PlanResult<ArrayRef> {
    if arguments.count() == 2 {
        return dates::to_timestamp(arguments);
    }
    let from = arguments.array(0).data_type();
    if !from.is_numeric() && *from != DataType::Null {
        return takes_no("to_timestamp", from);
    }
    let seconds = arguments.cast(0, &DOUBLE)?;
    let times: TimestampMicrosecondArray =
        seconds.as_primitive::<Float64Type>().try_unary(|seconds: f64| {
            if seconds.is_nan() {
                return fails("timestamp cannot be NaN");
            }
            if seconds.is_infinite() {
                return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
            }
            // The years from 4714 BC to 294276.
            if !(-210_866_803_200.0..9_224_318_016_000.0).contains(&seconds) {
                return fails("timestamp out of range");
            }
            seconds_us(seconds)
        })?;
    Ok(Arc::new(times.with_data_type(zoned())))
}

/// `to_char` of any value that has a pattern.
fn to_char(arguments: &Arguments) -> PlanResult<ArrayRef> {
    if !arguments.array(0).data_type().is_numeric() {
        return dates::to_char(arguments);
    }
    let (numbers, patterns) = (arguments.texts(0)?, arguments.texts(1)?);
    arguments.text_of_each(|row| {
        let pattern = NumberPattern::new(patterns.value(row))?;
        pattern.write(numbers.value(row)).map(Some)
    })
}

/// `to_number`: the digits, sign and point of a text; what a pattern has between them is left out.
fn to_number(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (texts, patterns) = (arguments.texts(0)?, arguments.texts(1)?);
    let numbers = (0..arguments.rows()).map(|row| {
        if texts.is_null(row) || patterns.is_null(row) {
            return Ok(None);
        }
        NumberPattern::new(patterns.value(row))?;
        let text = texts.value(row);
        let negative = text.contains('-') || text.contains('<');
        let digits: String =
            text.chars().filter(|letter| letter.is_ascii_digit() || *letter == '.').collect();
        let digits = if negative { format!("-{digits}") } else { digits };
        let number = parse_rounded256(&digits, 76, 18);
        number.map(Some).map_err(|error| DataFusionError::Execution(error.to_string()))
    });
    let numbers = numbers.collect::<PlanResult<Decimal256Array>>()?;
    Ok(Arc::new(numbers.with_data_type(WIDE)))
}

/// A part of a number's pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// `9`, or `0` that is shown when there is no digit.
    Digit {
        zero: bool,
    },
    Point,
    Group,
    /// `S` and `MI`.
    Sign {
        plus: bool,
    },
    Text(String),
}

/// A pattern of `to_char` for numbers.
struct NumberPattern {
    pieces: Vec<Piece>,
    bare: bool,
    /// `PR`: negative numbers in angle brackets.
    brackets: bool,
    /// `RN`, capital or small.
    roman: Option<bool>,
    /// `TH`, capital or small.
    ordinal: Option<bool>,
}

impl NumberPattern {
    fn new(pattern: &str) -> PlanResult<Self> {
        let mut this =
            Self { pieces: Vec::new(), bare: false, brackets: false, roman: None, ordinal: None };
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let two = rest.get(..2).map(str::to_uppercase).unwrap_or_default();
            let capital = first.is_uppercase();
            match two.as_str() {
                "FM" => this.bare = true,
                "PR" => this.brackets = true,
                "RN" => this.roman = Some(capital),
                "TH" => this.ordinal = Some(capital),
                "MI" => this.pieces.push(Piece::Sign { plus: false }),
                "PL" | "SG" | "EE" => {
                    return fails(format!("the pattern's {two} is not supported"));
                }
                _ => {
                    let taken = this.one(first, rest)?;
                    rest = &rest[taken..];
                    continue;
                }
            }
            rest = &rest[2..];
        }
        Ok(this)
    }

    /// Takes a piece of one letter, or a quoted text; returns how long it is.
    fn one(&mut self, first: char, rest: &str) -> PlanResult<usize> {
        match first {
            '9' => self.pieces.push(Piece::Digit { zero: false }),
            '0' => self.pieces.push(Piece::Digit { zero: true }),
            '.' | 'D' | 'd' => self.pieces.push(Piece::Point),
            ',' | 'G' | 'g' => self.pieces.push(Piece::Group),
            'S' | 's' => self.pieces.push(Piece::Sign { plus: true }),
            'V' | 'v' | 'L' | 'l' | 'C' | 'c' | 'B' | 'b' => {
                return fails(format!("the pattern's {first} is not supported"));
            }
            '"' => {
                let inner = rest[1..].split('"').next().unwrap_or_default();
                self.pieces.push(Piece::Text(inner.to_owned()));
                return Ok((inner.len() + 2).min(rest.len()));
            }
            other => self.pieces.push(Piece::Text(other.to_string())),
        }
        Ok(first.len_utf8())
    }

    /// How many digits there are before the point and behind it.
    fn places(&self) -> (usize, usize) {
        let point = self.pieces.iter().position(|piece| *piece == Piece::Point);
        let count = |pieces: &[Piece]| {
            pieces.iter().filter(|piece| matches!(piece, Piece::Digit { .. })).count()
        };
        let at = point.unwrap_or(self.pieces.len());
        (count(&self.pieces[..at]), count(&self.pieces[at..]))
    }

    fn write(&self, number: &str) -> PlanResult<String> {
        if let Some(capital) = self.roman {
            return self.roman(number, capital);
        }
        let (whole_places, part_places) = self.places();
        let (negative, digits) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let places = i8::try_from(part_places).unwrap_or(i8::MAX);
        let scaled = parse_rounded256(digits, 76, places);
        let fits = scaled.as_ref().is_ok_and(|scaled| {
            scaled.to_string().len().saturating_sub(part_places) <= whole_places
        });
        let (whole, part) = if fits {
            let scaled = scaled.map_or_else(|_wide| String::new(), |scaled| scaled.to_string());
            let padded = format!("{scaled:0>width$}", width = part_places + 1);
            let (whole, part) = padded.split_at(padded.len() - part_places);
            (whole.trim_start_matches('0').to_owned(), part.to_owned())
        } else {
            ("#".repeat(whole_places), "#".repeat(part_places))
        };
        let nothing = whole.is_empty() && part.bytes().all(|digit| digit == b'0');
        Ok(self.digits(negative && !nothing, &whole, &part))
    }

    /// Writes the digits at the places of the pattern.
    #[expect(
        clippy::too_many_lines,
        reason = "one pass over the pattern, with what each piece needs of it"
    )]
    fn digits(&self, negative: bool, whole: &str, part: &str) -> String {
        let (whole_places, part_places) = self.places();
        let has_sign = self.pieces.iter().any(|piece| matches!(piece, Piece::Sign { .. }));
        let first_zero = self
            .pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Digit { .. }))
            .take(whole_places)
            .position(|piece| *piece == Piece::Digit { zero: true });
        let blank = whole_places - whole.len().min(whole_places);
        // A zero is shown when nothing else is: as a last digit, or before a point that nothing follows.
        let kept = if self.bare { kept_part(&self.pieces, part) } else { part.len() };
        let lone_zero = whole.is_empty()
            && first_zero.is_none()
            && (part_places == 0 || (self.bare && kept == 0));
        let mut out = String::new();
        let (mut at, mut behind, mut signed) = (0, false, false);
        for piece in &self.pieces {
            match piece {
                Piece::Digit { .. } if !behind => {
                    let zero = first_zero.is_some_and(|first| at >= first);
                    let shown = if at >= blank {
                        whole.as_bytes().get(at - blank).map(|digit| char::from(*digit))
                    } else if zero || (lone_zero && at + 1 == whole_places) {
                        Some('0')
                    } else {
                        None
                    };
                    if shown.is_some() && !signed {
                        self.sign(has_sign, negative, &mut out);
                        signed = true;
                    }
                    match shown {
                        Some(digit) => out.push(digit),
                        None if !self.bare => out.push(' '),
                        None => {}
                    }
                    at += 1;
                    if at == whole_places {
                        at = 0;
                        behind = true;
                    }
                }
                Piece::Digit { .. } => {
                    if at < kept {
                        out.extend(part.as_bytes().get(at).map(|digit| char::from(*digit)));
                    }
                    at += 1;
                }
                Piece::Point => {
                    if !signed {
                        self.sign(has_sign, negative, &mut out);
                        signed = true;
                    }
                    (at, behind) = (0, true);
                    out.push('.');
                }
                Piece::Group if signed => out.push(','),
                Piece::Group if !self.bare => out.push(' '),
                Piece::Group => {}
                Piece::Sign { plus } => {
                    // In front it stands next to the first digit.
                    let is_last = signed;
                    if is_last {
                        match (negative, plus) {
                            (true, _) => out.push('-'),
                            (false, true) => out.push('+'),
                            (false, false) if !self.bare => out.push(' '),
                            (false, false) => {}
                        }
                    }
                }
                Piece::Text(text) => out.push_str(text),
            }
        }
        if let Some(capital) = self.ordinal.filter(|_| !negative) {
            let ending = ordinal_ending(whole);
            out.push_str(&if capital { ending.to_uppercase() } else { ending.to_owned() });
        }
        if self.brackets && !self.bare {
            out.push(if negative { '>' } else { ' ' });
        } else if self.brackets && negative {
            out.push('>');
        }
        out
    }

    /// Writes the sign before the first digit.
    #[expect(
        clippy::fn_params_excessive_bools,
        reason = "whether the pattern and the number have one"
    )]
    fn sign(&self, has_sign: bool, negative: bool, out: &mut String) {
        let leading = self
            .pieces
            .iter()
            .take_while(|piece| !matches!(piece, Piece::Digit { .. } | Piece::Point))
            .find_map(|piece| match piece {
                Piece::Sign { plus } => Some(*plus),
                Piece::Digit { .. } | Piece::Point | Piece::Group | Piece::Text(_) => None,
            });
        match (leading, self.brackets, negative) {
            (_, true, true) => out.push('<'),
            (Some(_), _, true) => out.push('-'),
            (Some(true), _, false) => out.push('+'),
            (Some(false), _, false) if !self.bare => out.push(' '),
            (None, false, true) if !has_sign => out.push('-'),
            (None, _, false) if !has_sign && !self.bare => out.push(' '),
            _ => {}
        }
    }

    fn roman(&self, number: &str, capital: bool) -> PlanResult<String> {
        const NUMERALS: [(i64, &str); 13] = [
            (1_000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ];
        let rounded = number.parse::<f64>().unwrap_or(f64::NAN).round_ties_even();
        let text = if (1.0..4_000.0).contains(&rounded) {
            let mut left = format!("{rounded}").parse::<i64>().unwrap_or(0);
            let mut text = String::new();
            for (value, letters) in NUMERALS {
                while left >= value {
                    text.push_str(letters);
                    left -= value;
                }
            }
            text
        } else {
            "#".repeat(15)
        };
        let text = if capital { text } else { text.to_lowercase() };
        Ok(if self.bare { text } else { format!("{text:>15}") })
    }
}

/// How many digits behind the point are shown when zeros at the end are left out: those that a `0` asks for stay.
fn kept_part(pieces: &[Piece], part: &str) -> usize {
    let point = pieces.iter().position(|piece| *piece == Piece::Point).unwrap_or(pieces.len());
    let digits = pieces[point..].iter().filter(|piece| matches!(piece, Piece::Digit { .. }));
    let asked = digits.clone().count()
        - digits.rev().take_while(|piece| **piece == Piece::Digit { zero: false }).count();
    part.trim_end_matches('0').len().max(asked)
}
