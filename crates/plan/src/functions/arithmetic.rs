//! What operators on dates, times, intervals and decimals become.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Date32Array, Decimal128Array, Decimal256Array,
    IntervalMonthDayNanoArray, PrimitiveArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, i256,
};
use arrow::error::ArrowError;
use change::cell::civil;
use change::read::{days_from_civil, month_days};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::{Operator, ScalarUDF};

use super::define::{Arguments, Gives, fails, of_any};
use crate::intervals::{self, DAY_NS};

/// A day in microseconds.
pub(super) const DAY_US: i64 = 86_400_000_000;
/// The places of a quotient of decimals, at least.
const QUOTIENT_PLACES: i8 = 16;

pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
pub(super) const CLOCK: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
pub(super) const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);

/// A `timestamptz`.
pub(super) fn zoned() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

/// Adds months, days and time to a time in microseconds, in this order; what is infinite stays so.
pub(super) fn time_plus(us: i64, interval: IntervalMonthDayNano) -> Option<i64> {
    if us == i64::MAX || us == i64::MIN {
        return Some(us);
    }
    let (mut day, time) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    if interval.months != 0 {
        let (year, month, date) = civil(day);
        let months = year * 12 + month - 1 + i64::from(interval.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        day = days_from_civil(year, month, date.min(month_days(year, month)));
    }
    let day = day + i64::from(interval.days);
    let us = day.checked_mul(DAY_US)?.checked_add(time)?;
    us.checked_add(interval.nanoseconds / 1_000).filter(|us| *us != i64::MAX && *us != i64::MIN)
}

/// The interval from one time to another: days and what is left of one.
pub(super) fn time_minus(left: i64, right: i64) -> PlanResult<IntervalMonthDayNano> {
    let infinite = |us: i64| us == i64::MAX || us == i64::MIN;
    if infinite(left) || infinite(right) {
        return fails("cannot subtract infinite timestamps");
    }
    let us = i128::from(left) - i128::from(right);
    let (days, rest) = (us / i128::from(DAY_US), us % i128::from(DAY_US));
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    intervals::of_parts(0, days, rest * 1_000).ok_or_else(|| out_of_range("interval"))
}

pub(super) fn out_of_range(kind: &str) -> DataFusionError {
    DataFusionError::Execution(format!("{kind} out of range"))
}

/// The columns of two arguments, as the same or different types of numbers.
type Pair<L, R> = (PrimitiveArray<L>, PrimitiveArray<R>);

fn pair<L: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    arguments: &Arguments,
    types: (&DataType, &DataType),
) -> PlanResult<Pair<L, R>> {
    let left = arguments.cast(0, types.0)?.as_primitive::<L>().clone();
    let right = arguments.cast(1, types.1)?.as_primitive::<R>().clone();
    Ok((left, right))
}

/// Computes a value of each pair of values that are not NULL.
fn each<L, R, T>(
    (left, right): &Pair<L, R>,
    of: impl Fn(L::Native, R::Native) -> PlanResult<T::Native>,
) -> PlanResult<PrimitiveArray<T>>
where
    L: ArrowPrimitiveType,
    R: ArrowPrimitiveType,
    T: ArrowPrimitiveType,
{
    let values = left.iter().zip(right.iter()).map(|(left, right)| match (left, right) {
        (Some(left), Some(right)) => of(left, right).map(Some),
        _ => Ok(None),
    });
    values.collect()
}

/// Sums, differences and products of constants, checked.
pub(crate) fn constant(op: Operator) -> ScalarUDF {
    let widest = |types: &[DataType]| {
        let width = |data_type: &DataType| data_type.primitive_width().unwrap_or(8);
        let wider = if width(&types[0]) >= width(&types[1]) { &types[0] } else { &types[1] };
        Ok(wider.clone())
    };
    let gives = Gives::Of(widest);
    match op {
        Operator::Minus => of_any("minus", (2, 2), gives, |arguments| {
            let to = arguments.gives();
            Ok(sub(&arguments.cast(0, to)?, &arguments.cast(1, to)?)?)
        }),
        Operator::Multiply => of_any("times", (2, 2), gives, |arguments| {
            let to = arguments.gives();
            Ok(mul(&arguments.cast(0, to)?, &arguments.cast(1, to)?)?)
        }),
        _ => of_any("plus", (2, 2), gives, |arguments| {
            let to = arguments.gives();
            Ok(add(&arguments.cast(0, to)?, &arguments.cast(1, to)?)?)
        }),
    }
}

/// The digits before the point and behind it that a type can hold.
fn digits(data_type: &DataType) -> (i16, i16) {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            (i16::from(*precision) - i16::from(*scale), i16::from(*scale))
        }
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        _ => (19, 0),
    }
}

/// The type of a quotient: as many places as the operands have, and sixteen at least.
fn quotient_type(types: &[DataType]) -> PlanResult<DataType> {
    let ((left_whole, left_places), (_, right_places)) = (digits(&types[0]), digits(&types[1]));
    let places = left_places.max(right_places).max(i16::from(QUOTIENT_PLACES));
    // The divisor may be as little as one unit of its last place.
    let whole = left_whole + right_places;
    let scale = i8::try_from(places).unwrap_or(QUOTIENT_PLACES);
    Ok(match u8::try_from(whole + places) {
        Ok(precision) if precision <= 38 => DataType::Decimal128(precision.max(1), scale),
        _ => DataType::Decimal256(76, scale),
    })
}

/// A quotient of decimals, rounded at its last place.
pub(crate) fn quotient() -> ScalarUDF {
    of_any("divide", (2, 2), Gives::Of(quotient_type), |arguments| {
        let scale = match arguments.gives() {
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
            _ => QUOTIENT_PLACES,
        };
        let wide = |at: usize| -> PlanResult<(Decimal256Array, i16)> {
            let (_, places) = digits(arguments.array(at).data_type());
            let to = DataType::Decimal256(76, i8::try_from(places).unwrap_or(0));
            Ok((arguments.cast(at, &to)?.as_primitive::<Decimal256Type>().clone(), places))
        };
        let narrow = |at: usize| -> PlanResult<(Decimal128Array, i16)> {
            let (_, places) = digits(arguments.array(at).data_type());
            let to = DataType::Decimal128(38, i8::try_from(places).unwrap_or(0));
            Ok((arguments.cast(at, &to)?.as_primitive::<Decimal128Type>().clone(), places))
        };
        let is_wide =
            |at: usize| matches!(arguments.array(at).data_type(), DataType::Decimal256(..));
        if matches!(arguments.gives(), DataType::Decimal128(..)) && !is_wide(0) && !is_wide(1) {
            let ((left, left_places), (right, right_places)) = (narrow(0)?, narrow(1)?);
            let shift = u32::try_from(i16::from(scale) + right_places - left_places).unwrap_or(0);
            let power = 10_i128.checked_pow(shift);
            let result: Decimal128Array = each(&(left, right), |left, right| {
                if right == 0 {
                    return Err(ArrowError::DivideByZero.into());
                }
                match power.and_then(|power| left.checked_mul(power)) {
                    Some(shifted) => Ok(rounded_quotient(shifted, right)),
                    None => {
                        let wide = wide_quotient(left.into(), right.into(), shift)?;
                        wide.to_i128().ok_or_else(|| out_of_range("numeric"))
                    }
                }
            })?;
            return checked128(result, arguments.gives());
        }
        let ((left, left_places), (right, right_places)) = (wide(0)?, wide(1)?);
        let shift = u32::try_from(i16::from(scale) + right_places - left_places).unwrap_or(0);
        let result: Decimal256Array =
            each(&(left, right), |left, right| wide_quotient(left, right, shift))?;
        let result: ArrayRef = Arc::new(result.with_data_type(DataType::Decimal256(76, scale)));
        Ok(arrow::compute::cast(&result, arguments.gives())?)
    })
}

fn checked128(result: Decimal128Array, to: &DataType) -> PlanResult<ArrayRef> {
    let DataType::Decimal128(precision, scale) = to else { return Ok(Arc::new(result)) };
    result.validate_decimal_precision(*precision).map_err(|_many| out_of_range("numeric"))?;
    Ok(Arc::new(result.with_precision_and_scale(*precision, *scale)?))
}

/// A quotient, halves rounded away from zero.
fn rounded_quotient(left: i128, right: i128) -> i128 {
    let (whole, rest) = (left / right, left % right);
    let half = rest.unsigned_abs() >= right.unsigned_abs() - rest.unsigned_abs();
    match (rest != 0 && half, (left < 0) == (right < 0)) {
        (false, _) => whole,
        (true, true) => whole + 1,
        (true, false) => whole - 1,
    }
}

fn wide_quotient(left: i256, right: i256, shift: u32) -> PlanResult<i256> {
    if right == i256::ZERO {
        return Err(ArrowError::DivideByZero.into());
    }
    let overflow = || out_of_range("numeric");
    let power = i256::from_i128(10).checked_pow(shift).ok_or_else(overflow)?;
    let shifted = left.checked_mul(power).ok_or_else(overflow)?;
    let whole = shifted.checked_div(right).ok_or_else(overflow)?;
    let rest = shifted.checked_rem(right).ok_or_else(overflow)?;
    let (rest, divisor) = (rest.wrapping_abs(), right.wrapping_abs());
    if rest < divisor.wrapping_sub(rest) {
        return Ok(whole);
    }
    let one = if left.is_negative() == right.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    Ok(whole.wrapping_add(one))
}

fn day_of(day: i64) -> PlanResult<i32> {
    let day = i32::try_from(day).ok().filter(|day| *day != i32::MAX && *day != i32::MIN);
    day.ok_or_else(|| out_of_range("date"))
}

/// The days from one date to another.
pub(crate) fn days_between() -> ScalarUDF {
    of_any("days_between", (2, 2), Gives::Always(DataType::Int32), |arguments| {
        let date = DataType::Date32;
        let days: PrimitiveArray<arrow::datatypes::Int32Type> =
            each(&pair::<Date32Type, Date32Type>(arguments, (&date, &date))?, |left, right| {
                if [left, right].iter().any(|day| *day == i32::MAX || *day == i32::MIN) {
                    return fails("cannot subtract infinite dates");
                }
                left.checked_sub(right).ok_or_else(|| out_of_range("integer"))
            })?;
        Ok(Arc::new(days))
    })
}

fn moved_date(arguments: &Arguments, sign: i64) -> PlanResult<ArrayRef> {
    let types = (&DataType::Date32, &DataType::Int64);
    let dates: Date32Array =
        each(&pair::<Date32Type, arrow::datatypes::Int64Type>(arguments, types)?, |day, count| {
            if day == i32::MAX || day == i32::MIN {
                return Ok(day);
            }
            let moved = count.checked_mul(sign).and_then(|by| i64::from(day).checked_add(by));
            day_of(moved.ok_or_else(|| out_of_range("date"))?)
        })?;
    Ok(Arc::new(dates))
}

/// A date some days later.
pub(crate) fn date_plus() -> ScalarUDF {
    of_any("date_plus", (2, 2), Gives::Always(DataType::Date32), |arguments| {
        moved_date(arguments, 1)
    })
}

/// A date some days before.
pub(crate) fn date_minus() -> ScalarUDF {
    of_any("date_minus", (2, 2), Gives::Always(DataType::Date32), |arguments| {
        moved_date(arguments, -1)
    })
}

/// The timestamp of a date and a time of day.
pub(crate) fn date_at() -> ScalarUDF {
    of_any("date_at", (2, 2), Gives::Always(CLOCK), |arguments| {
        let stamps: TimestampMicrosecondArray = each(
            &pair::<TimestampMicrosecondType, Time64MicrosecondType>(arguments, (&CLOCK, &TIME))?,
            |day, time| match day {
                i64::MAX | i64::MIN => Ok(day),
                day => day.checked_add(time).ok_or_else(|| out_of_range("timestamp")),
            },
        )?;
        Ok(Arc::new(stamps))
    })
}

fn first_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(match &types[0] {
        DataType::Timestamp(_, Some(_)) => zoned(),
        _ => CLOCK,
    })
}

fn moved_time(arguments: &Arguments, backwards: bool) -> PlanResult<ArrayRef> {
    let to = arguments.gives().clone();
    let both =
        pair::<TimestampMicrosecondType, IntervalMonthDayNanoType>(arguments, (&to, &INTERVAL))?;
    let stamps: TimestampMicrosecondArray = each(&both, |us, interval| {
        let by = if backwards { intervals::negated(interval) } else { Some(interval) };
        let moved = by.and_then(|by| time_plus(us, by));
        moved.ok_or_else(|| out_of_range("timestamp"))
    })?;
    Ok(Arc::new(stamps.with_data_type(to)))
}

/// A timestamp an interval later.
pub(crate) fn timestamp_plus() -> ScalarUDF {
    of_any("timestamp_plus", (2, 2), Gives::Of(first_type), |arguments| {
        moved_time(arguments, false)
    })
}

/// A timestamp an interval before.
pub(crate) fn timestamp_minus() -> ScalarUDF {
    of_any("timestamp_minus", (2, 2), Gives::Of(first_type), |arguments| {
        moved_time(arguments, true)
    })
}

/// The interval from one timestamp to another.
pub(crate) fn time_between() -> ScalarUDF {
    of_any("time_between", (2, 2), Gives::Always(INTERVAL), |arguments| {
        let both = (arguments.timestamps(0)?, arguments.timestamps(1)?);
        let result: IntervalMonthDayNanoArray = each(&both, time_minus)?;
        Ok(Arc::new(result))
    })
}

/// The interval from one time of day to another.
pub(crate) fn clock_between() -> ScalarUDF {
    of_any("clock_between", (2, 2), Gives::Always(INTERVAL), |arguments| {
        let both = pair::<Time64MicrosecondType, Time64MicrosecondType>(arguments, (&TIME, &TIME))?;
        let result: IntervalMonthDayNanoArray =
            each(&both, |left, right| Ok(IntervalMonthDayNano::new(0, 0, (left - right) * 1_000)))?;
        Ok(Arc::new(result))
    })
}

fn moved_clock(arguments: &Arguments, sign: i64) -> PlanResult<ArrayRef> {
    let both =
        pair::<Time64MicrosecondType, IntervalMonthDayNanoType>(arguments, (&TIME, &INTERVAL))?;
    let result: Time64MicrosecondArray = each(&both, |time, interval| {
        let by = interval.nanoseconds % DAY_NS / 1_000;
        Ok((time + sign * by).rem_euclid(DAY_US))
    })?;
    Ok(Arc::new(result))
}

/// A time of day an interval later.
pub(crate) fn clock_plus() -> ScalarUDF {
    of_any("clock_plus", (2, 2), Gives::Always(TIME), |arguments| moved_clock(arguments, 1))
}

/// A time of day an interval before.
pub(crate) fn clock_minus() -> ScalarUDF {
    of_any("clock_minus", (2, 2), Gives::Always(TIME), |arguments| moved_clock(arguments, -1))
}

/// Computes an interval of two.
fn of_intervals(
    arguments: &Arguments,
    of: impl Fn(IntervalMonthDayNano, IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
) -> PlanResult<ArrayRef> {
    let both = pair::<IntervalMonthDayNanoType, IntervalMonthDayNanoType>(
        arguments,
        (&INTERVAL, &INTERVAL),
    )?;
    let result: IntervalMonthDayNanoArray =
        each(&both, |left, right| of(left, right).ok_or_else(|| out_of_range("interval")))?;
    Ok(Arc::new(result))
}

/// The sum of two intervals.
pub(crate) fn interval_sum() -> ScalarUDF {
    of_any("interval_sum", (2, 2), Gives::Always(INTERVAL), |arguments| {
        of_intervals(arguments, intervals::sum)
    })
}

/// The difference of two intervals.
pub(crate) fn interval_difference() -> ScalarUDF {
    of_any("interval_difference", (2, 2), Gives::Always(INTERVAL), |arguments| {
        of_intervals(arguments, |left, right| intervals::sum(left, intervals::negated(right)?))
    })
}

/// The interval backwards.
pub(crate) fn interval_negated() -> ScalarUDF {
    of_any("interval_negated", (1, 1), Gives::Always(INTERVAL), |arguments| {
        let array = arguments.cast(0, &INTERVAL)?;
        let array = array.as_primitive::<IntervalMonthDayNanoType>();
        let negated: IntervalMonthDayNanoArray = array.try_unary(|interval| {
            intervals::negated(interval).ok_or_else(|| out_of_range("interval"))
        })?;
        Ok(Arc::new(negated))
    })
}

/// An interval times a number.
pub(crate) fn interval_times() -> ScalarUDF {
    of_any("interval_times", (2, 2), Gives::Always(INTERVAL), |arguments| {
        let types = (&INTERVAL, &DataType::Float64);
        let both = pair::<IntervalMonthDayNanoType, Float64Type>(arguments, types)?;
        let result: IntervalMonthDayNanoArray = each(&both, |interval, by| {
            intervals::scaled(interval, |part| part * by).ok_or_else(|| out_of_range("interval"))
        })?;
        Ok(Arc::new(result))
    })
}

/// An interval divided by a number.
pub(crate) fn interval_over() -> ScalarUDF {
    of_any("interval_over", (2, 2), Gives::Always(INTERVAL), |arguments| {
        let types = (&INTERVAL, &DataType::Float64);
        let both = pair::<IntervalMonthDayNanoType, Float64Type>(arguments, types)?;
        let result: IntervalMonthDayNanoArray = each(&both, |interval, by| {
            if by == 0.0 {
                return Err(ArrowError::DivideByZero.into());
            }
            intervals::scaled(interval, |part| part / by).ok_or_else(|| out_of_range("interval"))
        })?;
        Ok(Arc::new(result))
    })
}

/// How long an interval is: what comparisons compare.
pub(crate) fn interval_span() -> ScalarUDF {
    let span = DataType::Decimal128(38, 0);
    of_any("interval_span", (1, 1), Gives::Always(span), |arguments| {
        let array = arguments.cast(0, &INTERVAL)?;
        let array = array.as_primitive::<IntervalMonthDayNanoType>();
        let spans: Decimal128Array = array.unary(intervals::span_us);
        Ok(Arc::new(spans.with_precision_and_scale(38, 0)?))
    })
}

/// A text that compares as an interval does, by its length and then by its parts; its digits are hexadecimal.
pub(crate) fn interval_key() -> ScalarUDF {
    of_any("interval_key", (1, 1), Gives::Always(DataType::Utf8), |arguments| {
        let array = arguments.cast(0, &INTERVAL)?;
        let array = array.as_primitive::<IntervalMonthDayNanoType>();
        // The sign's bit is turned over, so that what is negative comes first.
        arguments.text_of_each(|row| {
            let interval = array.value(row);
            let length = (intervals::span_us(interval) ^ i128::MIN).cast_unsigned();
            let months = (interval.months ^ i32::MIN).cast_unsigned();
            let days = (interval.days ^ i32::MIN).cast_unsigned();
            let time = (interval.nanoseconds ^ i64::MIN).cast_unsigned();
            Ok(Some(format!("{length:032x}{months:08x}{days:08x}{time:016x}")))
        })
    })
}

/// The interval that a text of [`interval_key`] is of.
pub(crate) fn interval_of() -> ScalarUDF {
    of_any("interval_of", (1, 1), Gives::Always(INTERVAL), |arguments| {
        let texts = arguments.texts(0)?;
        let part = |text: &str, digits: std::ops::Range<usize>| {
            let part = text.get(digits).and_then(|part| u64::from_str_radix(part, 16).ok());
            part.ok_or_else(|| DataFusionError::Internal("an interval's key is read".to_owned()))
        };
        let small = |part: u64| u32::try_from(part).unwrap_or_default().cast_signed() ^ i32::MIN;
        let read = |text: &str| -> PlanResult<IntervalMonthDayNano> {
            let (months, days) = (part(text, 32..40)?, part(text, 40..48)?);
            let time = part(text, 48..64)?.cast_signed() ^ i64::MIN;
            Ok(IntervalMonthDayNano::new(small(months), small(days), time))
        };
        let read = texts.iter().map(|text| text.map(read).transpose());
        Ok(Arc::new(read.collect::<PlanResult<IntervalMonthDayNanoArray>>()?))
    })
}
