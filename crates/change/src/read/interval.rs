//! Intervals from their text, in every form that PostgreSQL reads.

use arrow::datatypes::IntervalMonthDayNano;

use super::ValueError;

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600 * SECOND_NS;
const DAY_NS: i64 = 24 * HOUR_NS;
/// The days of a month, where a part of a month is carried down.
const MONTH_DAYS: i64 = 30;

/// Reads an interval in any of PostgreSQL's forms: `1 day 02:03:04`, `1-2`, `P1Y2M3DT4H`, `3 days ago`.
///
/// # Errors
/// When it is none, or a part of it does not fit.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano, ValueError> {
    interval(text).ok_or_else(|| ValueError::not_a("interval", text))
}

fn negated(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        interval.months.checked_neg()?,
        interval.days.checked_neg()?,
        interval.nanoseconds.checked_neg()?,
    ))
}

/// An interval that is being read, in wide parts.
#[derive(Default)]
struct Parts {
    months: i64,
    days: i64,
    nanoseconds: i128,
}

impl Parts {
    /// Adds an amount of a unit; the part behind the point goes to smaller ones.
    fn add(&mut self, amount: &Amount, unit: &str) -> Option<()> {
        let months = match unit {
            "millennium" | "millennia" | "millenniums" | "mil" | "mils" => 12_000,
            "century" | "centuries" | "cent" | "c" => 1_200,
            "decade" | "decades" | "dec" | "decs" => 120,
            "year" | "years" | "yr" | "yrs" | "y" => 12,
            "month" | "months" | "mon" | "mons" => 1,
            _ => 0,
        };
        if months == 12_000 || months == 1_200 || months == 120 || months == 12 {
            self.months = self.months.checked_add(amount.whole.checked_mul(months)?)?;
            // PostgreSQL rounds parts of a year to months.
            self.months += amount.part_of(i128::from(months), 1)?;
            return Some(());
        }
        if months == 1 {
            self.months = self.months.checked_add(amount.whole)?;
            return self.add_days(amount.part_of(i128::from(MONTH_DAYS * DAY_NS), 1_000)?);
        }
        match unit {
            "week" | "weeks" | "w" => {
                self.days = self.days.checked_add(amount.whole.checked_mul(7)?)?;
                self.add_days(amount.part_of(i128::from(7 * DAY_NS), 1_000)?)
            }
            "day" | "days" | "d" => {
                self.days = self.days.checked_add(amount.whole)?;
                self.nanoseconds += i128::from(amount.part_of(i128::from(DAY_NS), 1_000)?);
                Some(())
            }
            _ => {
                let length = match unit {
                    "hour" | "hours" | "hr" | "hrs" | "h" => HOUR_NS,
                    "minute" | "minutes" | "min" | "mins" | "m" => 60 * SECOND_NS,
                    "second" | "seconds" | "sec" | "secs" | "s" => SECOND_NS,
                    "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" => 1_000_000,
                    "microsecond" | "microseconds" | "usec" | "usecs" | "us" => 1_000,
                    _ => return None,
                };
                let whole = i128::from(amount.whole) * i128::from(length);
                self.nanoseconds += whole + i128::from(amount.part_of(i128::from(length), 1_000)?);
                Some(())
            }
        }
    }

    fn add_days(&mut self, nanoseconds: i64) -> Option<()> {
        self.days = self.days.checked_add(nanoseconds / DAY_NS)?;
        self.nanoseconds += i128::from(nanoseconds % DAY_NS);
        Some(())
    }

    fn done(self) -> Option<IntervalMonthDayNano> {
        Some(IntervalMonthDayNano::new(
            i32::try_from(self.months).ok()?,
            i32::try_from(self.days).ok()?,
            i64::try_from(self.nanoseconds).ok()?,
        ))
    }
}

/// A number with what is behind its point, both with its sign.
struct Amount {
    whole: i64,
    /// In units of `10^-9`.
    part: i64,
}

impl Amount {
    fn read(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        let all = whole.bytes().chain(part.bytes()).all(|digit| digit.is_ascii_digit());
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i64 = format!("{part:0<9.9}").parse().ok()?;
        let sign = if negative { -1 } else { 1 };
        all.then_some(Self { whole: sign * whole, part: sign * part })
    }

    /// The part behind the point, of a length, rounded to multiples of `unit`.
    fn part_of(&self, length: i128, unit: i128) -> Option<i64> {
        let exact = i128::from(self.part) * length;
        let scale = 1_000_000_000 * unit;
        let half = if exact < 0 { -scale / 2 } else { scale / 2 };
        i64::try_from((exact + half) / scale * unit).ok()
    }
}

fn interval(text: &str) -> Option<IntervalMonthDayNano> {
    let lower = text.trim().to_ascii_lowercase();
    if let Some(designators) = lower.strip_prefix('p') {
        return iso(designators);
    }
    let mut words: Vec<&str> = Vec::new();
    for word in lower.split_whitespace() {
        // `3days` is two words.
        let digits = word.find(|letter: char| letter.is_ascii_alphabetic());
        match digits {
            Some(at) if at > 0 && !word.contains(':') => {
                let (number, unit) = word.split_at(at);
                words.extend([number, unit]);
            }
            _ => words.push(word),
        }
    }
    let words: Vec<&str> = words.into_iter().filter(|word| *word != "@").collect();
    let (words, ago) = match words.split_last() {
        Some((&"ago", before)) => (before, true),
        _ => (words.as_slice(), false),
    };
    if words.is_empty() {
        return None;
    }
    let mut parts = Parts::default();
    let mut at = 0;
    while let Some(&word) = words.get(at) {
        at += 1;
        if word.contains(':') {
            parts.nanoseconds += i128::from(clock(word)?);
        } else if let Some((years, months)) = word.get(1..).and_then(|_| years_and_months(word)) {
            parts.months = parts.months.checked_add(years * 12 + months)?;
        } else {
            let amount = Amount::read(word)?;
            // A number without a unit is days before a time, and seconds at the end.
            let unit = match words.get(at) {
                Some(next) if next.starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
                    at += 1;
                    next
                }
                Some(next) if next.contains(':') => "day",
                Some(_) => return None,
                None => "second",
            };
            parts.add(&amount, unit)?;
        }
    }
    let interval = parts.done()?;
    if ago { negated(interval) } else { Some(interval) }
}

/// `1-2`: years and months.
fn years_and_months(word: &str) -> Option<(i64, i64)> {
    let (negative, rest) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (years, months) = rest.split_once('-')?;
    let (years, months): (i64, i64) = (years.parse().ok()?, months.parse().ok()?);
    let sign = if negative { -1 } else { 1 };
    (months < 12).then_some((sign * years, sign * months))
}

/// `02:03`, `-02:03:04.5`: hours, minutes and seconds, in nanoseconds rounded to microseconds.
fn clock(word: &str) -> Option<i64> {
    let (negative, rest) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let mut fields = rest.split(':');
    let hours: i64 = fields.next()?.parse().ok()?;
    let minutes: i64 = fields.next()?.parse().ok()?;
    let seconds = fields.next().map_or(Some(Amount { whole: 0, part: 0 }), Amount::read)?;
    if fields.next().is_some() || minutes > 59 || seconds.whole > 59 || hours < 0 {
        return None;
    }
    let time = (hours * 60 + minutes) * 60 + seconds.whole;
    let time = time.checked_mul(SECOND_NS)? + seconds.part_of(i128::from(SECOND_NS), 1_000)?;
    Some(if negative { -time } else { time })
}

/// ISO 8601 behind its `P`: `1y2m3dt4h5m6s`.
fn iso(text: &str) -> Option<IntervalMonthDayNano> {
    let mut parts = Parts::default();
    let (mut number, mut in_time, mut any) = (String::new(), false, false);
    for letter in text.chars() {
        match letter {
            't' if number.is_empty() => in_time = true,
            '0'..='9' | '.' | '-' | '+' => number.push(letter),
            designator => {
                let unit = match (designator, in_time) {
                    ('y', false) => "year",
                    ('m', false) => "month",
                    ('w', false) => "week",
                    ('d', false) => "day",
                    ('h', true) => "hour",
                    ('m', true) => "minute",
                    ('s', true) => "second",
                    _ => return None,
                };
                parts.add(&Amount::read(&number)?, unit)?;
                number.clear();
                any = true;
            }
        }
    }
    if any && number.is_empty() { parts.done() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(i32, i32, i64)> {
        let found = parse_interval(text).ok()?;
        Some((found.months, found.days, found.nanoseconds / 1_000))
    }

    #[test]
    fn every_form_of_postgres_is_read() {
        let hour = 3_600_000_000;
        for (text, expected) in [
            ("1 day 02:03:04", (0, 1, 2 * hour + 184_000_000)),
            ("1-2", (14, 0, 0)),
            ("-1-2", (-14, 0, 0)),
            ("P1Y2M3DT4H5M6S", (14, 3, 4 * hour + 306_000_000)),
            ("-1 mons +3 days -00:00:01.5", (-1, 3, -1_500_000)),
            ("1.5 days", (0, 1, 12 * hour)),
            ("1.5 months", (1, 15, 0)),
            ("1.5 years", (18, 0, 0)),
            ("2 weeks ago", (0, -14, 0)),
            ("3 04:05", (0, 3, 4 * hour + 300_000_000)),
            ("90", (0, 0, 90_000_000)),
            ("10h", (0, 0, 10 * hour)),
            ("@ 1 minute", (0, 0, 60_000_000)),
        ] {
            assert_eq!(parts(text), Some(expected), "{text}");
        }
        for text in ["", "many days", "1 2 3", "P", "1:99", "5 fortnights"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
