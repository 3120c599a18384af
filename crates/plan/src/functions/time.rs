//! Functions of dates, times and intervals.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, IntervalMonthDayNanoArray,
    PrimitiveArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::temporal_conversions::as_datetime_with_timezone;
use change::cell::civil;
use change::read::{days_from_civil, month_days};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{ReturnFieldArgs, ScalarUDF};

use super::arithmetic::{
    CLOCK, DAY_US, INTERVAL, TIME, out_of_range, time_minus, time_plus, zoned,
};
use super::define::{Arguments, Gives, fails, of_any, refuses, takes_no};
use crate::intervals::{self, of_parts, span_us};

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
/// The days before 1970 since the Julian calendar's first.
const JULIAN_DAYS: i64 = 2_440_588;

/// A moment taken apart.
pub(super) struct Moment {
    pub(super) day: i64,
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) date: i64,
    /// Since midnight.
    pub(super) time_us: i64,
}

impl Moment {
    /// Takes microseconds since 1970 apart.
    pub(super) fn new(us: i64) -> Self {
        let day = us.div_euclid(DAY_US);
        let (year, month, date) = civil(day);
        Self { day, year, month, date, time_us: us.rem_euclid(DAY_US) }
    }

    /// The day of the week, Monday being 1.
    pub(super) fn weekday(&self) -> i64 {
        (self.day + 3).rem_euclid(7) + 1
    }

    /// The day of the year, from 1.
    pub(super) fn day_of_year(&self) -> i64 {
        self.day - days_from_civil(self.year, 1, 1) + 1
    }

    /// The year and the week, from 1, of ISO 8601.
    pub(super) fn iso_week(&self) -> (i64, i64) {
        // A week belongs to the year of its Thursday.
        let thursday = self.day + 4 - self.weekday();
        let (year, ..) = civil(thursday);
        (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
    }

    /// The century: the first began with the year 1, and there is none before it but the first BC.
    pub(super) fn hundreds(&self, length: i64) -> i64 {
        if self.year > 0 {
            (self.year + length - 1) / length
        } else {
            -((length - self.year) / length)
        }
    }
}

pub(super) fn is_infinite(us: i64) -> bool {
    us == i64::MAX || us == i64::MIN
}

/// The functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    vec![
        of_any("extract", (2, 2), Gives::Field(extract_field), extract),
        of_any("date_part", (2, 2), Gives::Always(DataType::Float64), |arguments| {
            let parts = parts_of(arguments)?;
            Ok(Arc::new(parts.iter().map(|part| part.map(as_double)).collect::<Float64Array>()))
        }),
        of_any("date_trunc", (2, 3), Gives::Of(truncated_type), truncated),
        of_any("date_bin", (2, 3), Gives::Of(binned_type), binned),
        of_any("age", (2, 2), Gives::Always(INTERVAL), age),
        justify("justify_days"),
        justify("justify_hours"),
        justify("justify_interval"),
        of_any("time", (1, 1), Gives::Always(TIME), |arguments| arguments.cast(0, &TIME)),
        of_any("make_interval", (0, 7), Gives::Always(INTERVAL), make_interval),
        of_any("make_time", (3, 3), Gives::Always(TIME), make_time),
        of_any("make_date", (3, 3), Gives::Always(DataType::Date32), make_date),
        of_any("make_timestamp", (6, 6), Gives::Always(CLOCK), |arguments| {
            Ok(Arc::new(made_timestamps(arguments)?))
        }),
        of_any("make_timestamptz", (6, 6), Gives::Always(zoned()), |arguments| {
            Ok(Arc::new(made_timestamps(arguments)?.with_data_type(zoned())))
        }),
        of_any("isfinite", (1, 1), Gives::Always(DataType::Boolean), is_finite),
        of_any("timezone", (2, 2), Gives::Of(zone_type), in_zone),
        of_any("overlaps", (4, 4), Gives::Always(DataType::Boolean), overlaps),
    ]
}

/// A part of a time: units of `10^-scale`.
#[derive(Clone, Copy)]
struct Part {
    units: i128,
    scale: u8,
}

impl Part {
    fn whole(units: i64) -> Self {
        Self { units: units.into(), scale: 0 }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
fn as_double(part: Part) -> f64 {
    part.units as f64 / 10_f64.powi(part.scale.into())
}

/// How many places a field has.
fn places(field: &str) -> u8 {
    match field {
        "second" | "seconds" | "sec" | "s" | "secs" | "epoch" => 6,
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => 3,
        _ => 0,
    }
}

fn extract_field(arguments: &ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
    let field = arguments.scalar_arguments[0].and_then(|value| value.try_as_str().flatten());
    let scale = field.map_or(6, |field| places(&field.to_lowercase()));
    let scale = i8::try_from(scale).unwrap_or_default();
    let is_time = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Time64(_)
                | DataType::Interval(_)
                | DataType::Null
                | DataType::Utf8
        )
    };
    let from = arguments.arg_fields[1].data_type();
    if !is_time(from) {
        return takes_no("extract", from);
    }
    Ok(Arc::new(Field::new("extract", DataType::Decimal128(20, scale), true)))
}

/// `extract`: an exact number.
fn extract(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let DataType::Decimal128(precision, scale) = *arguments.gives() else {
        return refuses("extract gives a numeric");
    };
    let wanted = u8::try_from(scale).unwrap_or_default();
    let units = |part: Option<Part>| {
        part.map(|part| part.units * 10_i128.pow(u32::from(wanted.saturating_sub(part.scale))))
    };
    let parts: Decimal128Array = parts_of(arguments)?.into_iter().map(units).collect();
    Ok(Arc::new(parts.with_precision_and_scale(precision, scale)?))
}

fn parts_of(arguments: &Arguments) -> PlanResult<Vec<Option<Part>>> {
    let fields = arguments.texts(0)?;
    let part = |row: usize, of: &dyn Fn(&str) -> PlanResult<Option<Part>>| {
        if fields.is_null(row) { Ok(None) } else { of(&fields.value(row).to_lowercase()) }
    };
    let values = arguments.array(1);
    let rows = 0..arguments.rows();
    match values.data_type() {
        DataType::Null => Ok(vec![None; arguments.rows()]),
        DataType::Interval(_) => {
            let values = arguments.cast(1, &INTERVAL)?;
            let values = values.as_primitive::<IntervalMonthDayNanoType>();
            let of = |row: usize| match values.is_null(row) {
                true => Ok(None),
                false => part(row, &|field| of_interval(field, values.value(row)).map(Some)),
            };
            rows.map(of).collect()
        }
        DataType::Time64(_) => {
            let values = arguments.cast(1, &TIME)?;
            let values = values.as_primitive::<Time64MicrosecondType>();
            let of = |row: usize| match values.is_null(row) {
                true => Ok(None),
                false => part(row, &|field| match of_clock(field, values.value(row)) {
                    Some(part) => Ok(Some(part)),
                    None if field == "epoch" => {
                        Ok(Some(Part { units: values.value(row).into(), scale: 6 }))
                    }
                    None => fails(format!("a time has no {field}")),
                }),
            };
            rows.map(of).collect()
        }
        from => {
            let (is_date, is_zoned) =
                (*from == DataType::Date32, matches!(from, DataType::Timestamp(_, Some(_))));
            let values = arguments.cast(1, &if is_zoned { zoned() } else { CLOCK })?;
            let values = values.as_primitive::<TimestampMicrosecondType>();
            let of = |row: usize| match values.is_null(row) {
                true => Ok(None),
                false => part(row, &|field| {
                    if is_zoned && matches!(field, "timezone" | "timezone_hour" | "timezone_minute")
                    {
                        return Ok(Some(Part::whole(0)));
                    }
                    if is_date && of_clock(field, 0).is_some() {
                        return fails(format!("a date has no {field}"));
                    }
                    of_moment(field, values.value(row))
                }),
            };
            rows.map(of).collect()
        }
    }
}

/// A field of a time of day.
fn of_clock(field: &str, us: i64) -> Option<Part> {
    Some(match field {
        "hour" | "hours" | "h" | "hr" | "hrs" => Part::whole(us / HOUR_US),
        "minute" | "minutes" | "m" | "min" | "mins" => Part::whole(us / (60 * SECOND_US) % 60),
        "second" | "seconds" | "s" | "sec" | "secs" => {
            Part { units: (us % (60 * SECOND_US)).into(), scale: 6 }
        }
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => {
            Part { units: (us % (60 * SECOND_US)).into(), scale: 3 }
        }
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" => {
            Part::whole(us % (60 * SECOND_US))
        }
        _ => return None,
    })
}

fn of_moment(field: &str, us: i64) -> PlanResult<Option<Part>> {
    if is_infinite(us) {
        // What goes on and on is infinite, which no numeric is here; the rest is not there.
        return match field {
            "year" | "decade" | "century" | "millennium" | "epoch" | "isoyear" | "julian" => {
                fails(format!("the {field} of infinity is infinite"))
            }
            _ => Ok(None),
        };
    }
    let moment = Moment::new(us);
    if let Some(part) = of_clock(field, moment.time_us) {
        return Ok(Some(part));
    }
    // There is no year 0.
    let before_christ = |year: i64| if year > 0 { year } else { year - 1 };
    Ok(Some(Part::whole(match field {
        "year" | "years" | "y" => before_christ(moment.year),
        "month" | "months" | "mon" => moment.month,
        "day" | "days" | "d" => moment.date,
        "quarter" => (moment.month - 1) / 3 + 1,
        "week" | "weeks" | "w" => moment.iso_week().1,
        "isoyear" => before_christ(moment.iso_week().0),
        "dow" => moment.weekday() % 7,
        "isodow" => moment.weekday(),
        "doy" => moment.day_of_year(),
        "decade" | "decades" => moment.year.div_euclid(10),
        "century" | "centuries" => moment.hundreds(100),
        "millennium" | "millennia" => moment.hundreds(1_000),
        "epoch" => return Ok(Some(Part { units: us.into(), scale: 6 })),
        "julian" if moment.time_us == 0 => moment.day + JULIAN_DAYS,
        _ => return fails(format!("a timestamp has no {field} here")),
    })))
}

fn of_interval(field: &str, interval: IntervalMonthDayNano) -> PlanResult<Part> {
    let us = interval.nanoseconds / 1_000;
    if let Some(part) = of_clock(field, us) {
        return Ok(part);
    }
    let (years, months) = (i64::from(interval.months) / 12, i64::from(interval.months) % 12);
    Ok(Part::whole(match field {
        "year" | "years" | "y" => years,
        "month" | "months" | "mon" => months,
        "day" | "days" | "d" => interval.days.into(),
        "quarter" => months / 3 + 1,
        "decade" | "decades" => years / 10,
        "century" | "centuries" => years / 100,
        "millennium" | "millennia" => years / 1_000,
        "epoch" => {
            // A year has 365.25 days here, and a month 30.
            let days = i128::from(years) * 36_525
                + i128::from(months) * 3_000
                + i128::from(interval.days) * 100;
            let units = days * i128::from(DAY_US) / 100 + i128::from(us);
            return Ok(Part { units, scale: 6 });
        }
        _ => return fails(format!("an interval has no {field}")),
    }))
}

fn truncated_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(match &types[1] {
        DataType::Interval(_) => INTERVAL,
        DataType::Timestamp(_, None) => CLOCK,
        DataType::Timestamp(_, Some(_)) | DataType::Date32 | DataType::Utf8 | DataType::Null => {
            zoned()
        }
        other => return takes_no("date_trunc", other),
    })
}

/// `date_trunc`.
fn truncated(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let fields = arguments.texts(0)?;
    let to = arguments.gives();
    if *to == INTERVAL {
        let values = arguments.cast(1, to)?;
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        let cut = |row: usize| match fields.is_null(row) || values.is_null(row) {
            true => Ok(None),
            false => cut_interval(&fields.value(row).to_lowercase(), values.value(row)).map(Some),
        };
        let cut: PlanResult<IntervalMonthDayNanoArray> = (0..arguments.rows()).map(cut).collect();
        return Ok(Arc::new(cut?));
    }
    let values = arguments.cast(1, to)?;
    let zone = (arguments.count() == 3).then(|| arguments.texts(2)).transpose()?;
    let shown = match &zone {
        Some(zones) => shown_in(&values, zones)?,
        None => values,
    };
    let shown = shown.as_primitive::<TimestampMicrosecondType>();
    let cut = |row: usize| match fields.is_null(row) || shown.is_null(row) {
        true => Ok(None),
        false => cut_moment(fields.value(row), shown.value(row)).map(Some),
    };
    let cut: PlanResult<TimestampMicrosecondArray> = (0..arguments.rows()).map(cut).collect();
    let cut: ArrayRef = Arc::new(cut?);
    match &zone {
        Some(zones) => meant_in(&cut, zones),
        None => Ok(Arc::new(
            cut.as_primitive::<TimestampMicrosecondType>().clone().with_data_type(to.clone()),
        )),
    }
}

fn cut_moment(field: &str, us: i64) -> PlanResult<i64> {
    if is_infinite(us) {
        return Ok(us);
    }
    let field = field.to_ascii_lowercase();
    let unit = match field.as_str() {
        "microseconds" | "microsecond" | "us" => return Ok(us),
        "milliseconds" | "millisecond" | "ms" => 1_000,
        "second" | "seconds" | "s" => SECOND_US,
        "minute" | "minutes" | "m" => 60 * SECOND_US,
        "hour" | "hours" | "h" => HOUR_US,
        "day" | "days" | "d" => DAY_US,
        _ => 0,
    };
    if unit > 0 {
        return Ok(us - us.rem_euclid(unit));
    }
    let moment = Moment::new(us);
    let first = |year: i64| days_from_civil(year, 1, 1);
    // Decades begin with a year that ends in 0, centuries and millennia with one that ends in 1.
    let begin = |length: i64| (moment.year - 1).div_euclid(length) * length + 1;
    let day = match field.as_str() {
        "week" | "weeks" => moment.day + 1 - moment.weekday(),
        "month" | "months" | "mon" => days_from_civil(moment.year, moment.month, 1),
        "quarter" => days_from_civil(moment.year, (moment.month - 1) / 3 * 3 + 1, 1),
        "year" | "years" => first(moment.year),
        "decade" | "decades" => first(moment.year.div_euclid(10) * 10),
        "century" | "centuries" => first(begin(100)),
        "millennium" | "millennia" => first(begin(1_000)),
        _ => return fails(format!("date_trunc knows no {field}")),
    };
    day.checked_mul(DAY_US).ok_or_else(|| out_of_range("timestamp"))
}

fn cut_interval(field: &str, interval: IntervalMonthDayNano) -> PlanResult<IntervalMonthDayNano> {
    let (months, days, ns) = (interval.months, interval.days, interval.nanoseconds);
    let only_months = |length: i32| IntervalMonthDayNano::new(months / length * length, 0, 0);
    let time = |unit: i64| IntervalMonthDayNano::new(months, days, ns / unit * unit);
    Ok(match field {
        "millennium" => only_months(12_000),
        "century" => only_months(1_200),
        "decade" => only_months(120),
        "year" => only_months(12),
        "quarter" => only_months(3),
        "month" => only_months(1),
        "day" => IntervalMonthDayNano::new(months, days, 0),
        "hour" => time(HOUR_US * 1_000),
        "minute" => time(60 * SECOND_US * 1_000),
        "second" => time(SECOND_US * 1_000),
        "milliseconds" => time(1_000_000),
        "microseconds" => time(1_000),
        _ => return fails(format!("date_trunc knows no {field} of an interval")),
    })
}

fn binned_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(match &types[1] {
        DataType::Timestamp(_, Some(_)) => zoned(),
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Utf8 | DataType::Null => CLOCK,
        other => return takes_no("date_bin", other),
    })
}

/// `date_bin`: the beginning of the bin that a time is in.
fn binned(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let strides = arguments.cast(0, &INTERVAL)?;
    let strides = strides.as_primitive::<IntervalMonthDayNanoType>();
    let to = arguments.gives();
    let values = arguments.cast(1, to)?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    let origins = match arguments.count() {
        3 => arguments.cast(2, to)?.as_primitive::<TimestampMicrosecondType>().clone(),
        // DataFusion's two arguments: bins are counted from 1970.
        _ => TimestampMicrosecondArray::from_value(0, arguments.rows()),
    };
    let bin = |row: usize| {
        if strides.is_null(row) || values.is_null(row) || origins.is_null(row) {
            return Ok(None);
        }
        let (stride, us, origin) = (strides.value(row), values.value(row), origins.value(row));
        if is_infinite(us) {
            return Ok(Some(us));
        }
        if stride.months != 0 {
            return fails("date_bin takes no months and years, which have many lengths");
        }
        if is_infinite(origin) {
            return fails("the origin of date_bin is infinite");
        }
        let stride = i64::try_from(span_us(stride)).map_err(|_far| out_of_range("interval"))?;
        if stride <= 0 {
            return fails("the stride of date_bin is not above zero");
        }
        let since = us.checked_sub(origin).ok_or_else(|| out_of_range("timestamp"))?;
        Ok(Some(us - since.rem_euclid(stride)))
    };
    let bins: PlanResult<TimestampMicrosecondArray> = (0..arguments.rows()).map(bin).collect();
    Ok(Arc::new(bins?.with_data_type(to.clone())))
}

/// `age`: years, months and days as a calendar shows them.
fn age(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (left, right) = (arguments.cast(0, &CLOCK)?, arguments.cast(1, &CLOCK)?);
    let left = left.as_primitive::<TimestampMicrosecondType>();
    let right = right.as_primitive::<TimestampMicrosecondType>();
    let ages = left.iter().zip(right).map(|(left, right)| match (left, right) {
        (Some(left), Some(right)) => calendar_age(left, right).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(ages.collect::<PlanResult<IntervalMonthDayNanoArray>>()?))
}

fn calendar_age(left: i64, right: i64) -> PlanResult<IntervalMonthDayNano> {
    if is_infinite(left) || is_infinite(right) {
        return time_minus(left, right);
    }
    if left < right {
        let age = calendar_age(right, left)?;
        // The days of a month are those of the earlier one, whichever comes first.
        return intervals::negated(age).ok_or_else(|| out_of_range("interval"));
    }
    let (later, earlier) = (Moment::new(left), Moment::new(right));
    let mut months = (later.year - earlier.year) * 12 + later.month - earlier.month;
    let mut days = later.date - earlier.date;
    let mut time = later.time_us - earlier.time_us;
    if time < 0 {
        (days, time) = (days - 1, time + DAY_US);
    }
    if days < 0 {
        days += month_days(earlier.year, earlier.month);
        months -= 1;
    }
    of_parts(months, days, i128::from(time) * 1_000).ok_or_else(|| out_of_range("interval"))
}

fn justify(name: &'static str) -> ScalarUDF {
    type Justify = fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>;
    fn each(arguments: &Arguments, of: Justify) -> PlanResult<ArrayRef> {
        let values = arguments.cast(0, &INTERVAL)?;
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        let justified: IntervalMonthDayNanoArray =
            values.try_unary(|interval| of(interval).ok_or_else(|| out_of_range("interval")))?;
        Ok(Arc::new(justified))
    }
    let body: fn(&Arguments) -> PlanResult<ArrayRef> = match name {
        "justify_days" => |arguments| each(arguments, intervals::justified_days),
        "justify_hours" => |arguments| each(arguments, intervals::justified_hours),
        _ => |arguments| each(arguments, intervals::justified),
    };
    of_any(name, (1, 1), Gives::Always(INTERVAL), body)
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`.
fn make_interval(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let whole = (0..arguments.count().min(6)).map(|at| arguments.integers(at));
    let whole = whole.collect::<PlanResult<Vec<_>>>()?;
    let seconds = match arguments.count() {
        7 => Some(arguments.cast(6, &DataType::Float64)?.as_primitive::<Float64Type>().clone()),
        _ => None,
    };
    let made = (0..arguments.rows()).map(|row| {
        if arguments.any_null(row) {
            return Ok(None);
        }
        let part = |at: usize| whole.get(at).map_or(0, |numbers| numbers.value(row));
        let months = part(0).checked_mul(12).and_then(|months| months.checked_add(part(1)));
        let days = part(2).checked_mul(7).and_then(|days| days.checked_add(part(3)));
        let minutes = i128::from(part(4)) * 60 + i128::from(part(5));
        let seconds = seconds.as_ref().map_or(0.0, |seconds| seconds.value(row));
        let us = seconds_us(seconds)?;
        let time = (minutes * 60 * i128::from(SECOND_US) + i128::from(us)) * 1_000;
        let made = months.zip(days).and_then(|(months, days)| of_parts(months, days, time));
        made.map(Some).ok_or_else(|| out_of_range("interval"))
    });
    Ok(Arc::new(made.collect::<PlanResult<IntervalMonthDayNanoArray>>()?))
}

/// Seconds as microseconds, rounded.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
pub(super) fn seconds_us(seconds: f64) -> PlanResult<i64> {
    let us = (seconds * 1e6).round_ties_even();
    if us.is_finite() && us.abs() < 9.2e18 { Ok(us as i64) } else { Err(out_of_range("timestamp")) }
}

fn clock_us(hour: i64, minute: i64, second: f64) -> PlanResult<i64> {
    let us = seconds_us(second)?;
    let sound =
        (0..=24).contains(&hour) && (0..60).contains(&minute) && (0..=60 * SECOND_US).contains(&us);
    let time = (hour * 60 + minute) * 60 * SECOND_US + us;
    if sound && time <= DAY_US { Ok(time) } else { Err(out_of_range("time")) }
}

fn make_time(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (hours, minutes) = (arguments.integers(0)?, arguments.integers(1)?);
    let seconds = arguments.cast(2, &DataType::Float64)?;
    let seconds = seconds.as_primitive::<Float64Type>();
    let times = (0..arguments.rows()).map(|row| match arguments.any_null(row) {
        true => Ok(None),
        false => clock_us(hours.value(row), minutes.value(row), seconds.value(row)).map(Some),
    });
    Ok(Arc::new(times.collect::<PlanResult<Time64MicrosecondArray>>()?))
}

/// The day of a year, month and day; a year below zero is one BC.
fn made_day(year: i64, month: i64, day: i64) -> PlanResult<i64> {
    let counted = if year < 0 { year + 1 } else { year };
    let sound = year != 0
        && year.abs() < 300_000
        && (1..=12).contains(&month)
        && (1..=month_days(counted, month)).contains(&day);
    if sound {
        Ok(days_from_civil(counted, month, day))
    } else {
        fails(format!("there is no day {year}-{month:02}-{day:02}"))
    }
}

fn make_date(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let numbers = [arguments.integers(0)?, arguments.integers(1)?, arguments.integers(2)?];
    arguments.integer_of_each(|row| {
        let [year, month, day] = [0, 1, 2].map(|at: usize| numbers[at].value(row));
        made_day(year, month, day).map(Some)
    })
}

fn made_timestamps(arguments: &Arguments) -> PlanResult<TimestampMicrosecondArray> {
    let numbers = (0..5).map(|at| arguments.integers(at)).collect::<PlanResult<Vec<_>>>()?;
    let seconds = arguments.cast(5, &DataType::Float64)?;
    let seconds = seconds.as_primitive::<Float64Type>();
    let made = (0..arguments.rows()).map(|row| {
        if arguments.any_null(row) {
            return Ok(None);
        }
        let part = |at: usize| numbers[at].value(row);
        let day = made_day(part(0), part(1), part(2))?;
        let time = clock_us(part(3), part(4), seconds.value(row))?;
        let us = day.checked_mul(DAY_US).and_then(|us| us.checked_add(time));
        us.map(Some).ok_or_else(|| out_of_range("timestamp"))
    });
    made.collect()
}

fn is_finite(arguments: &Arguments) -> PlanResult<ArrayRef> {
    if matches!(arguments.array(0).data_type(), DataType::Interval(_)) {
        return arguments.truth_of_each(|_row| Ok(Some(true)));
    }
    let values = arguments.cast(0, &CLOCK)?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    arguments.truth_of_each(|row| Ok(Some(!is_infinite(values.value(row)))))
}

/// With a zone it becomes a clock's reading there, and the other way round.
fn zone_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(match &types[1] {
        DataType::Timestamp(_, Some(_)) => CLOCK,
        DataType::Timestamp(_, None) => zoned(),
        // A date is one at midnight in the session's zone, which is UTC.
        DataType::Date32 | DataType::Utf8 | DataType::Null => CLOCK,
        other => return takes_no("timezone", other),
    })
}

fn in_zone(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let zones = arguments.texts(0)?;
    if matches!(arguments.array(1).data_type(), DataType::Timestamp(_, None)) {
        return meant_in(&arguments.cast(1, &CLOCK)?, &zones);
    }
    shown_in(&arguments.cast(1, &zoned())?, &zones)
}

/// Applies a cast with a zone to each run of rows of the same zone.
fn by_zone(
    values: &ArrayRef,
    zones: &arrow::array::StringArray,
    to: &DataType,
    cast: impl Fn(&ArrayRef, &Arc<str>) -> PlanResult<ArrayRef>,
) -> PlanResult<ArrayRef> {
    let mut parts = Vec::new();
    let mut from = 0;
    while from < values.len() {
        let zone = zones.is_valid(from).then(|| zones.value(from));
        let same = |row: &usize| zones.is_valid(*row).then(|| zones.value(*row)) == zone;
        let end = (from..values.len()).take_while(same).last().map_or(from + 1, |row| row + 1);
        parts.push(match zone {
            Some(zone) => cast(&values.slice(from, end - from), &zone_name(zone))?,
            None => arrow::array::new_null_array(to, end - from),
        });
        from = end;
    }
    if parts.is_empty() {
        return Ok(arrow::array::new_empty_array(to));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(arrow::compute::concat(&parts)?)
}

/// PostgreSQL's spellings of UTC.
fn zone_name(zone: &str) -> Arc<str> {
    match zone.to_ascii_uppercase().as_str() {
        "UTC" | "GMT" | "Z" | "ZULU" => Arc::from("UTC"),
        _ => Arc::from(zone),
    }
}

const EXACT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// What clocks in the zones show at instants.
fn shown_in(values: &ArrayRef, zones: &arrow::array::StringArray) -> PlanResult<ArrayRef> {
    by_zone(values, zones, &CLOCK, |values, zone| {
        let zone: Tz = zone.parse()?;
        let values = values.as_primitive::<TimestampMicrosecondType>();
        let shown: TimestampMicrosecondArray = values.try_unary(|us| {
            if is_infinite(us) {
                return Ok(us);
            }
            let there = as_datetime_with_timezone::<TimestampMicrosecondType>(us, zone);
            let there = there.map(|there| there.naive_local().and_utc().timestamp_micros());
            there.ok_or_else(|| out_of_range("timestamp"))
        })?;
        Ok(Arc::new(shown))
    })
}

/// The instants at which clocks in the zones show times.
fn meant_in(values: &ArrayRef, zones: &arrow::array::StringArray) -> PlanResult<ArrayRef> {
    by_zone(values, zones, &zoned(), |values, zone| {
        let clocks: &PrimitiveArray<TimestampMicrosecondType> = values.as_primitive();
        // Arrow computes no years behind 262142, which need no computing in UTC.
        if &**zone == "UTC" {
            return Ok(Arc::new(clocks.clone().with_data_type(zoned())));
        }
        let there = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone)));
        let finite: TimestampMicrosecondArray =
            clocks.unary(|us| if is_infinite(us) { 0 } else { us });
        let there = cast_with_options(&finite, &there, &EXACT)?;
        let there: &PrimitiveArray<TimestampMicrosecondType> = there.as_primitive();
        let meant =
            clocks.iter().zip(there).map(|(clock, us)| clock.filter(|us| is_infinite(*us)).or(us));
        let meant: TimestampMicrosecondArray = meant.collect();
        Ok(Arc::new(meant.with_data_type(zoned())))
    })
}

/// `(a, b) overlaps (c, d)`: whether two times of some length have a moment in common; the ends are a time or an
/// interval from the beginning, and do not belong to it.
fn overlaps(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let begin = |at: usize| -> PlanResult<TimestampMicrosecondArray> {
        Ok(arguments.cast(at, &CLOCK)?.as_primitive().clone())
    };
    let end = |at: usize, begin: &TimestampMicrosecondArray| {
        if !matches!(arguments.array(at).data_type(), DataType::Interval(_)) {
            return Ok(arguments.cast(at, &CLOCK)?.as_primitive().clone());
        }
        let lengths = arguments.cast(at, &INTERVAL)?;
        let lengths = lengths.as_primitive::<IntervalMonthDayNanoType>();
        let ends = begin.iter().zip(lengths).map(|(begin, length)| {
            let end = begin.zip(length).map(|(begin, length)| time_plus(begin, length));
            end.map(|end| end.ok_or_else(|| out_of_range("timestamp"))).transpose()
        });
        ends.collect::<PlanResult<TimestampMicrosecondArray>>()
    };
    let (a, c) = (begin(0)?, begin(2)?);
    let (b, d) = (end(1, &a)?, end(3, &c)?);
    arguments.truth_of_each(|row| {
        let ordered = |from: i64, to: i64| if from <= to { (from, to) } else { (to, from) };
        let (a, b) = ordered(a.value(row), b.value(row));
        let (c, d) = ordered(c.value(row), d.value(row));
        // A time without length is a moment.
        Ok(Some(if a == c {
            true
        } else if a > c {
            a < d
        } else {
            c < b
        }))
    })
}
