//! Intervals as PostgreSQL keeps them: months, days and a time, which are three and not one.
//!
//! Comparisons take a month for 30 days and a day for 24 hours, as PostgreSQL does; so do groups, keys and orders (see
//! [`spans`](crate::spans)). Their texts are read in `change`.

use arrow::datatypes::IntervalMonthDayNano;

/// A day in comparisons and where a part of a day is carried down.
pub(crate) const DAY_NS: i64 = 86_400_000_000_000;
/// The days of a month, likewise.
const MONTH_DAYS: i64 = 30;

/// How long an interval is for comparisons, in microseconds.
pub(crate) fn span_us(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * i128::from(MONTH_DAYS) + i128::from(interval.days);
    days * i128::from(DAY_NS / 1_000) + i128::from(interval.nanoseconds / 1_000)
}

/// Makes an interval of wide parts; `None` when one does not fit.
pub(crate) fn of_parts(months: i64, days: i64, nanoseconds: i128) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        i32::try_from(months).ok()?,
        i32::try_from(days).ok()?,
        i64::try_from(nanoseconds).ok()?,
    ))
}

/// The sum, part by part; `None` when one does not fit.
pub(crate) fn sum(
    left: IntervalMonthDayNano,
    right: IntervalMonthDayNano,
) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        left.months.checked_add(right.months)?,
        left.days.checked_add(right.days)?,
        left.nanoseconds.checked_add(right.nanoseconds)?,
    ))
}

/// The interval backwards; `None` when a part does not fit.
pub(crate) fn negated(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        interval.months.checked_neg()?,
        interval.days.checked_neg()?,
        interval.nanoseconds.checked_neg()?,
    ))
}

/// The interval with each part multiplied or divided: parts of a month become days, parts of a day become time.
#[expect(clippy::cast_possible_truncation, reason = "parts are checked to fit")]
#[expect(clippy::cast_precision_loss, reason = "PostgreSQL goes over doubles as well")]
pub(crate) fn scaled(
    interval: IntervalMonthDayNano,
    by: impl Fn(f64) -> f64,
) -> Option<IntervalMonthDayNano> {
    // PostgreSQL rounds what is left of a part to microseconds before it goes on.
    let close = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let months = by(f64::from(interval.months));
    let days = by(f64::from(interval.days));
    let left_days = close((months - months.trunc()) * MONTH_DAYS as f64);
    let mut left_seconds = close((days - days.trunc() + left_days - left_days.trunc()) * 86_400.0);
    let mut whole_days = days.trunc();
    if left_seconds.abs() >= 86_400.0 {
        whole_days += (left_seconds / 86_400.0).trunc();
        left_seconds %= 86_400.0;
    }
    whole_days += left_days.trunc();
    let microseconds = by((interval.nanoseconds / 1_000) as f64) + left_seconds * 1e6;
    let fits = |value: f64, most: f64| value.is_finite() && value.abs() < most;
    if !fits(months, 2_147_483_647.0)
        || !fits(whole_days, 2_147_483_647.0)
        || !fits(microseconds, 9e15)
    {
        return None;
    }
    let microseconds = microseconds.round_ties_even() as i64;
    Some(IntervalMonthDayNano::new(months as i32, whole_days as i32, microseconds * 1_000))
}

/// Carries whole days out of the time, and takes care that both have one sign.
pub(crate) fn justified_hours(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut days = i64::from(interval.days) + interval.nanoseconds / DAY_NS;
    let mut time = interval.nanoseconds % DAY_NS;
    if days > 0 && time < 0 {
        (days, time) = (days - 1, time + DAY_NS);
    } else if days < 0 && time > 0 {
        (days, time) = (days + 1, time - DAY_NS);
    }
    of_parts(interval.months.into(), days, time.into())
}

/// Carries months of 30 days out of the days, and takes care that both have one sign.
pub(crate) fn justified_days(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut months = i64::from(interval.months) + i64::from(interval.days) / MONTH_DAYS;
    let mut days = i64::from(interval.days) % MONTH_DAYS;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + MONTH_DAYS);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - MONTH_DAYS);
    }
    of_parts(months, days, interval.nanoseconds.into())
}

/// Both, until all three parts have one sign.
pub(crate) fn justified(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let days = i64::from(interval.days) + interval.nanoseconds / DAY_NS;
    let mut time = interval.nanoseconds % DAY_NS;
    let mut months = i64::from(interval.months) + days / MONTH_DAYS;
    let mut days = days % MONTH_DAYS;
    if months > 0 && (days < 0 || (days == 0 && time < 0)) {
        (months, days) = (months - 1, days + MONTH_DAYS);
    } else if months < 0 && (days > 0 || (days == 0 && time > 0)) {
        (months, days) = (months + 1, days - MONTH_DAYS);
    }
    if days > 0 && time < 0 {
        (days, time) = (days - 1, time + DAY_NS);
    } else if days < 0 && time > 0 {
        (days, time) = (days + 1, time - DAY_NS);
    }
    of_parts(months, days, time.into())
}
