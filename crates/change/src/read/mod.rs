//! Values from their text: PostgreSQL's output, and what people write into files.
//!
//! Numbers are read digit by digit and never pass through a float; `infinity` is kept as the extreme value of the
//! type, which is how PostgreSQL itself keeps it. Everything here is pure, and refuses rather than guesses.
#![deny(clippy::indexing_slicing, clippy::string_slice)]

mod interval;

use std::fmt;

use arrow::datatypes::i256;

pub use self::interval::parse_interval;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// A text that is no value of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

impl ValueError {
    /// Says that a text is no value of a type, quoting its beginning.
    pub fn not_a(type_name: &str, text: &str) -> Self {
        Self(format!("{} is no {type_name}", Quoted(text)))
    }
}

/// A value as messages show it: quoted, and cut when long.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_CHARS_MAX: usize = 60;
        let cut: String = self.0.chars().take(SHOWN_CHARS_MAX).collect();
        if cut.len() < self.0.len() { write!(f, "'{cut}…'") } else { write!(f, "'{cut}'") }
    }
}

/// Reads a boolean: `t`, `true`, `yes`, `on`, `1` and their opposites, in any case.
///
/// # Errors
/// When it is none of them.
pub fn parse_bool(text: &str) -> Result<bool, ValueError> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["t", "true", "yes", "on", "1"]) {
        Ok(true)
    } else if is(&["f", "false", "no", "off", "0"]) {
        Ok(false)
    } else {
        Err(ValueError::not_a("boolean", text))
    }
}

/// A decimal number as it was written: sign, digits, and where the point is.
#[derive(Clone, Copy, Debug)]
struct Digits<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i32,
}

impl<'a> Digits<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, bytes),
        };
        let (mantissa, exponent) = match bytes.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => {
                let (mantissa, exponent) = bytes.split_at(at);
                let exponent = std::str::from_utf8(exponent.get(1..)?).ok()?;
                (mantissa, exponent.parse().ok()?)
            }
            None => (bytes, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
            Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..)?),
            None => (mantissa, &[][..]),
        };
        let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        let some = !(whole.is_empty() && fraction.is_empty());
        (some && digits(whole) && digits(fraction)).then_some(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    /// All digits, most significant first, without the point.
    fn all(&self) -> impl Iterator<Item = u8> + 'a {
        self.whole.iter().chain(self.fraction).map(|digit| digit - b'0')
    }

    /// How many of all digits stay when the number has `scale` decimal places; more than there are: zeros follow.
    fn kept(&self, scale: i8) -> i64 {
        let whole = i64::try_from(self.whole.len()).unwrap_or(i64::MAX / 4);
        whole + i64::from(self.exponent) + i64::from(scale)
    }
}

/// Reads a decimal number as an integer of `10^-scale`.
///
/// # Errors
/// When it is no number, has a digit behind the last decimal place that is not zero, or more than `precision` digits.
pub fn parse_decimal128(text: &str, precision: u8, scale: i8) -> Result<i128, ValueError> {
    let read = |digits: Digits<'_>| {
        let mut value: i128 = 0;
        each_kept_digit(digits, precision, scale, |digit| {
            // At most 38 digits fit.
            value = value * 10 + i128::from(digit);
        })
        .map(|()| if digits.negative { -value } else { value })
    };
    decimal(text, precision, scale, read)
}

/// Reads a decimal number as an integer of `10^-scale`, for more than 38 digits.
///
/// # Errors
/// As [`parse_decimal128`].
pub fn parse_decimal256(text: &str, precision: u8, scale: i8) -> Result<i256, ValueError> {
    // Most numbers are short.
    if precision > 38
        && let Ok(value) = parse_decimal128(text, 38, scale)
    {
        return Ok(i256::from_i128(value));
    }
    let read = |digits: Digits<'_>| {
        let mut value = i256::ZERO;
        let ten = i256::from_i128(10);
        each_kept_digit(digits, precision, scale, |digit| {
            value = value.wrapping_mul(ten).wrapping_add(i256::from_i128(i128::from(digit)));
        })
        .map(|()| if digits.negative { value.wrapping_neg() } else { value })
    };
    decimal(text, precision, scale, read)
}

/// Reads a decimal number as an integer of `10^-scale`; what is behind the last decimal place is rounded, halves away
/// from zero.
///
/// # Errors
/// When it is no number, or has more than `precision` digits.
pub fn parse_rounded128(text: &str, precision: u8, scale: i8) -> Result<i128, ValueError> {
    let read = |digits: Digits<'_>| {
        let kept = rounded(digits, precision, scale)?;
        let value = kept.into_iter().fold(0_i128, |value, digit| value * 10 + i128::from(digit));
        Ok(if digits.negative { -value } else { value })
    };
    decimal(text, precision, scale, read)
}

/// As [`parse_rounded128`], for more than 38 digits.
///
/// # Errors
/// As [`parse_rounded128`].
pub fn parse_rounded256(text: &str, precision: u8, scale: i8) -> Result<i256, ValueError> {
    let read = |digits: Digits<'_>| {
        let ten = i256::from_i128(10);
        let value =
            rounded(digits, precision, scale)?.into_iter().fold(i256::ZERO, |value, digit| {
                value.wrapping_mul(ten).wrapping_add(i256::from_i128(i128::from(digit)))
            });
        Ok(if digits.negative { value.wrapping_neg() } else { value })
    };
    decimal(text, precision, scale, read)
}

/// The digits of `number * 10^scale`, rounded to a whole number, leading zeros left out.
fn rounded(digits: Digits<'_>, precision: u8, scale: i8) -> Result<Vec<u8>, Misfit> {
    let mut all: Vec<u8> = digits.all().collect();
    let leading = all.iter().take_while(|&&digit| digit == 0).count();
    let kept = digits.kept(scale).saturating_sub(i64::try_from(leading).unwrap_or(i64::MAX));
    all.drain(..leading);
    if all.is_empty() || kept < 0 {
        return Ok(Vec::new());
    }
    if kept > i64::from(precision) {
        return Err(Misfit::Precision);
    }
    let kept = usize::try_from(kept).unwrap_or_default();
    let up = all.get(kept).is_some_and(|&digit| digit >= 5);
    all.resize(kept, 0);
    if up {
        match all.iter().rposition(|&digit| digit != 9) {
            Some(at) => {
                all.iter_mut().skip(at + 1).for_each(|digit| *digit = 0);
                all.iter_mut().skip(at).take(1).for_each(|digit| *digit += 1);
            }
            None => {
                all.iter_mut().for_each(|digit| *digit = 0);
                all.insert(0, 1);
            }
        }
    }
    if all.len() > usize::from(precision) { Err(Misfit::Precision) } else { Ok(all) }
}

/// Why a number does not fit a decimal type.
enum Misfit {
    Precision,
    Scale,
}

fn decimal<T>(
    text: &str,
    precision: u8,
    scale: i8,
    read: impl Fn(Digits<'_>) -> Result<T, Misfit>,
) -> Result<T, ValueError> {
    let Some(digits) = Digits::read(text) else {
        return Err(ValueError::not_a("number", text));
    };
    read(digits).map_err(|misfit| {
        let text = Quoted(text);
        ValueError(match misfit {
            Misfit::Precision => {
                format!("{text} has more digits than numeric({precision},{scale}) holds")
            }
            Misfit::Scale => format!("{text} has more than {scale} decimal places"),
        })
    })
}

/// Visits the digits of `number * 10^scale`, leading zeros left out, at most `precision` of them.
fn each_kept_digit(
    digits: Digits<'_>,
    precision: u8,
    scale: i8,
    mut visit: impl FnMut(u8),
) -> Result<(), Misfit> {
    let kept = digits.kept(scale);
    let (mut at, mut significant) = (0_i64, 0_u8);
    let mut take = |digit: u8| {
        if significant == 0 && digit == 0 {
            return Ok(());
        }
        if significant == precision {
            return Err(Misfit::Precision);
        }
        significant += 1;
        visit(digit);
        Ok(())
    };
    let mut any = false;
    for digit in digits.all() {
        if at < kept {
            take(digit)?;
        } else if digit != 0 {
            return Err(Misfit::Scale);
        }
        any |= digit != 0;
        at += 1;
    }
    while any && at < kept {
        take(0)?;
        at += 1;
    }
    Ok(())
}

/// Reads a date as days since 1970-01-01: `2024-02-29`, `0044-03-15 BC`, `infinity`.
///
/// # Errors
/// When it is no date.
pub fn parse_date(text: &str) -> Result<i32, ValueError> {
    match text {
        "infinity" => return Ok(i32::MAX),
        "-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let (mut rest, era) = split_era(text);
    let days = take_date(&mut rest, era).filter(|_| rest.is_empty());
    let days = days.and_then(|days| i32::try_from(days).ok());
    days.ok_or_else(|| ValueError::not_a("date", text))
}

/// Reads a time of day as microseconds: `07:30`, `23:59:59.999999`, `24:00:00`.
///
/// # Errors
/// When it is no time of day.
pub fn parse_time(text: &str) -> Result<i64, ValueError> {
    let mut rest = text.as_bytes();
    take_time(&mut rest)
        .filter(|_| rest.is_empty())
        .ok_or_else(|| ValueError::not_a("time of day", text))
}

/// A point in time, and whether its text said a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Microseconds since 1970, in UTC when it has a zone.
    pub us: i64,
    /// Whether a zone was given. `infinity` has none and needs none.
    pub zoned: bool,
}

/// Reads a point in time: `2024-02-29 12:30:00.5+02`, `2024-02-29T12:30:00Z`, `2024-02-29`, `infinity`. Digits behind
/// the microseconds are rounded, as PostgreSQL does.
///
/// # Errors
/// When it is no point in time.
pub fn parse_instant(text: &str) -> Result<Instant, ValueError> {
    match text {
        "infinity" => return Ok(Instant { us: i64::MAX, zoned: false }),
        "-infinity" => return Ok(Instant { us: i64::MIN, zoned: false }),
        _ => {}
    }
    let (clock, zone) = read_clock(text).ok_or_else(|| ValueError::not_a("timestamp", text))?;
    let us = clock.checked_sub(zone.unwrap_or(0)).filter(|us| is_finite(*us));
    let us = us.ok_or_else(|| ValueError::not_a("timestamp", text))?;
    Ok(Instant { us, zoned: zone.is_some() })
}

/// Reads what a clock shows, as PostgreSQL reads a timestamp without time zone: a zone is read and says nothing.
///
/// # Errors
/// When it is no timestamp.
pub fn parse_clock(text: &str) -> Result<i64, ValueError> {
    match text {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let clock = read_clock(text).map(|(clock, _zone)| clock).filter(|us| is_finite(*us));
    clock.ok_or_else(|| ValueError::not_a("timestamp", text))
}

/// The extreme values mean infinity.
fn is_finite(us: i64) -> bool {
    us != i64::MAX && us != i64::MIN
}

/// What a clock shows, in microseconds, and its zone's microseconds to the east.
fn read_clock(text: &str) -> Option<(i64, Option<i64>)> {
    let (mut rest, era) = split_era(text);
    let days = take_date(&mut rest, era)?;
    let mut time = 0;
    if let Some((b' ' | b'T' | b't', after)) = rest.split_first() {
        rest = after;
        time = take_time(&mut rest)?;
    }
    let zone = take_zone(&mut rest)?;
    let clock = days.checked_mul(DAY_US)?.checked_add(time)?;
    rest.is_empty().then_some((clock, zone))
}

/// Reads a timestamp without time zone.
///
/// # Errors
/// When it is none, or says a zone: dropping it would change its meaning.
pub fn parse_timestamp(text: &str) -> Result<i64, ValueError> {
    let instant = parse_instant(text)?;
    if instant.zoned {
        let text = Quoted(text);
        return Err(ValueError(format!("{text} has a time zone, but the column has none")));
    }
    Ok(instant.us)
}

/// Reads a timestamp with time zone; without a zone it is taken as UTC.
///
/// # Errors
/// When it is no timestamp.
pub fn parse_timestamptz(text: &str) -> Result<i64, ValueError> {
    Ok(parse_instant(text)?.us)
}

fn split_era(text: &str) -> (&[u8], bool) {
    match text.strip_suffix(" BC") {
        Some(before) => (before.as_bytes(), true),
        None => (text.as_bytes(), false),
    }
}

/// Takes a number of `min` to `max` digits from the front.
fn take_number(rest: &mut &[u8], min: usize, max: usize) -> Option<i64> {
    let count = rest.iter().take(max).take_while(|byte| byte.is_ascii_digit()).count();
    if count < min {
        return None;
    }
    let (digits, after) = rest.split_at(count);
    *rest = after;
    Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

fn take_byte(rest: &mut &[u8], wanted: u8) -> Option<()> {
    let (&first, after) = rest.split_first()?;
    (first == wanted).then(|| *rest = after)
}

fn take_date(rest: &mut &[u8], before_christ: bool) -> Option<i64> {
    let year = take_number(rest, 4, 7)?;
    take_byte(rest, b'-')?;
    let month = take_number(rest, 2, 2)?;
    take_byte(rest, b'-')?;
    let day = take_number(rest, 2, 2)?;
    let year = if before_christ { 1 - year } else { year };
    let valid = (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    valid.then(|| days_from_civil(year, month, day))
}

/// How many days a month has.
#[must_use]
pub fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, extended before its introduction.
#[must_use]
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last; see Hinnant, "chrono-compatible low-level date
    // algorithms".
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - EPOCH_DAYS
}

fn take_time(rest: &mut &[u8]) -> Option<i64> {
    let hour = take_number(rest, 2, 2)?;
    take_byte(rest, b':')?;
    let minute = take_number(rest, 2, 2)?;
    let (mut second, mut fraction_us) = (0, 0);
    if take_byte(rest, b':').is_some() {
        second = take_number(rest, 2, 2)?;
        if take_byte(rest, b'.').is_some() {
            fraction_us = take_fraction_us(rest)?;
        }
    }
    let us = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction_us;
    (minute < 60 && second <= 60 && us <= DAY_US).then_some(us)
}

fn take_fraction_us(rest: &mut &[u8]) -> Option<i64> {
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, after) = rest.split_at(count);
    *rest = after;
    let digit = |at: usize| digits.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    let us = (0..6).fold(0, |us, at| us * 10 + digit(at));
    (count > 0).then_some(if digit(6) >= 5 { us + 1 } else { us })
}

/// Takes a zone from the front, as microseconds to the east: `Z`, `+02`, `-0330`, `+05:45`, `+01:23:45`. `None` inside:
/// there is none; outside: it is wrong.
#[expect(clippy::option_option, reason = "wrong, absent, present")]
fn take_zone(rest: &mut &[u8]) -> Option<Option<i64>> {
    let Some((&first, after)) = rest.split_first() else {
        return Some(None);
    };
    *rest = after;
    let sign = match first {
        b'Z' | b'z' => return Some(Some(0)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = take_number(rest, 2, 2)?;
    let mut seconds = hours * 3_600;
    if !rest.is_empty() {
        take_byte(rest, b':').unwrap_or_default();
        seconds += take_number(rest, 2, 2)? * 60;
    }
    if take_byte(rest, b':').is_some() {
        seconds += take_number(rest, 2, 2)?;
    }
    (hours < 16).then_some(Some(sign * seconds * 1_000_000))
}

/// Reads PostgreSQL's hexadecimal form of bytes: `\x6576657274`.
///
/// # Errors
/// When it is not of that form.
pub fn parse_bytea(text: &str) -> Result<Vec<u8>, ValueError> {
    let error = || ValueError::not_a("bytea (\\x and hexadecimal digits)", text);
    let digits = text.strip_prefix("\\x").ok_or_else(error)?.as_bytes();
    if digits.len() % 2 != 0 {
        return Err(error());
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
    let byte = |pair: &[u8]| Some(value(pair.first()?)? << 4 | value(pair.get(1)?)?);
    digits.chunks_exact(2).map(byte).collect::<Option<_>>().ok_or_else(error)
}

/// Reads a UUID in any of PostgreSQL's forms and returns it in the usual one: lower-case, with hyphens.
///
/// # Errors
/// When it is none.
pub fn parse_uuid(text: &str) -> Result<String, ValueError> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let mut uuid = String::with_capacity(36);
    let mut count = 0;
    for char in inner.chars() {
        match char {
            '-' if count > 0 && count % 4 == 0 => {}
            _ if char.is_ascii_hexdigit() => {
                if matches!(count, 8 | 12 | 16 | 20) {
                    uuid.push('-');
                }
                uuid.push(char.to_ascii_lowercase());
                count += 1;
            }
            _ => return Err(ValueError::not_a("uuid", text)),
        }
    }
    if count == 32 { Ok(uuid) } else { Err(ValueError::not_a("uuid", text)) }
}

/// Splits PostgreSQL's text form of a one-dimensional array into its items; `None` is NULL.
///
/// # Errors
/// When it is no array, or has more than one dimension.
pub fn parse_array(text: &str) -> Result<Vec<Option<String>>, ValueError> {
    let body = match text.split_once('=') {
        Some((bounds, body)) if bounds.starts_with('[') => body,
        _ => text,
    };
    let inner = body.strip_prefix('{').and_then(|body| body.strip_suffix('}'));
    let inner = inner.ok_or_else(|| ValueError::not_a("array", text))?;
    let mut items = Vec::new();
    let mut chars = inner.chars().peekable();
    if chars.peek().is_none() {
        return Ok(items);
    }
    loop {
        items.push(take_item(&mut chars).ok_or_else(|| {
            if inner.contains('{') {
                let text = Quoted(text);
                ValueError(format!("{text} has more than one dimension"))
            } else {
                ValueError::not_a("array", text)
            }
        })?);
        match chars.next() {
            None => return Ok(items),
            Some(',') => {}
            Some(_) => return Err(ValueError::not_a("array", text)),
        }
    }
}

/// Takes an array's item; the outer `None` says that it is malformed.
#[expect(clippy::option_option, reason = "malformed, NULL, present")]
fn take_item(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Option<String>> {
    let mut item = String::new();
    if chars.next_if_eq(&'"').is_some() {
        loop {
            match chars.next()? {
                '"' => return Some(Some(item)),
                '\\' => item.push(chars.next()?),
                char => item.push(char),
            }
        }
    }
    while let Some(char) = chars.next_if(|&char| char != ',') {
        match char {
            '\\' => item.push(chars.next()?),
            '{' | '}' | '"' => return None,
            char => item.push(char),
        }
    }
    if item.is_empty() {
        return None;
    }
    Some((!item.eq_ignore_ascii_case("null")).then_some(item))
}

#[cfg(test)]
mod tests;
