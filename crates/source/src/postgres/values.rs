//! Values in PostgreSQL's binary form, or as it shows them, written straight into columns.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt::Write as _;

use arrow::datatypes::IntervalMonthDayNano;
use change::limits::VALUE_BYTES_MAX;
use change::read::{ValueError, parse_array};

use super::kinds::Kind;
use super::numeric::{Numeric, does_not_fit};
use super::wire::Form;
use crate::columns::Column;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's dates begin.
const EPOCH_DAYS: i32 = 10_957;
/// Microseconds between the same.
const EPOCH_US: i64 = 946_684_800_000_000;

/// The microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Why a value was not taken into its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The value is valid, but the column cannot hold it: a dead letter.
    DoesNotFit(String),
    /// The bytes are no value of the type: the connection cannot be trusted.
    Malformed(&'static str),
}

/// Appends a value to a column of its kind. After an error the column may hold part of the row; take it back.
pub(crate) fn push(
    column: &mut Column,
    kind: &Kind,
    (bytes, form): (&[u8], Form),
) -> Result<(), Misfit> {
    if bytes.len() > VALUE_BYTES_MAX {
        let limit = VALUE_BYTES_MAX >> 20;
        return Err(Misfit::DoesNotFit(format!("a value of more than {limit} MiB")));
    }
    match form {
        Form::Binary => push_binary(column, kind, bytes),
        Form::Text => push_text(column, kind, text(bytes)?),
    }
}

fn push_binary(column: &mut Column, kind: &Kind, bytes: &[u8]) -> Result<(), Misfit> {
    match kind {
        Kind::Bool => column.push_bool(fixed::<1>(bytes)? != [0]),
        Kind::Int16 => column.push_i16(i16::from_be_bytes(fixed(bytes)?)),
        Kind::Int32 => column.push_i32(i32::from_be_bytes(fixed(bytes)?)),
        Kind::Int64 => column.push_i64(i64::from_be_bytes(fixed(bytes)?)),
        Kind::Float32 => column.push_f32(f32::from_be_bytes(fixed(bytes)?)),
        Kind::Float64 => column.push_f64(f64::from_be_bytes(fixed(bytes)?)),
        &Kind::Decimal { precision, scale } => {
            column.push_i128(Numeric::read(bytes)?.to_i128(precision, scale)?);
        }
        Kind::Numeric => column.push_i256(Numeric::read(bytes)?.to_i256(76, 18)?),
        Kind::Text(_) | Kind::Char(_) => column.push_str(text(bytes)?),
        Kind::Jsonb => column.push_str(text(jsonb(bytes)?)?),
        Kind::Uuid => column.push_str(uuid(fixed(bytes)?, &mut [0; 36])),
        Kind::Bytes => column.push_bytes(bytes),
        Kind::Date => column.push_i32(date(i32::from_be_bytes(fixed(bytes)?))?),
        Kind::Time => column.push_i64(time(i64::from_be_bytes(fixed(bytes)?))?),
        Kind::Timestamp | Kind::TimestampTz => {
            column.push_i64(timestamp(i64::from_be_bytes(fixed(bytes)?))?);
        }
        Kind::Interval => column.push_interval(interval(fixed(bytes)?)?),
        Kind::Oid => column.push_i64(u32::from_be_bytes(fixed(bytes)?).into()),
        Kind::Letter => column.push_str(letter(bytes)?),
        // A copy asks for their text, which is its own binary form.
        Kind::Other(_) => column.push_str(text(bytes)?),
        Kind::List(item) if item.is_sent_as_text() => push_text(column, kind, text(bytes)?)?,
        Kind::List(item) => push_array(column, item, bytes)?,
    }
    Ok(())
}

/// Appends a value that its type's output wrote.
fn push_text(column: &mut Column, kind: &Kind, value: &str) -> Result<(), Misfit> {
    let unfit = |error: ValueError| Misfit::DoesNotFit(error.0);
    match kind {
        Kind::Text(_) | Kind::Char(_) | Kind::Jsonb | Kind::Uuid | Kind::Other(_) => {
            column.push_str(value);
            Ok(())
        }
        Kind::Letter => letter(value.as_bytes()).map(|letter| column.push_str(letter)),
        Kind::Decimal { precision, scale } => column
            .push_text(value)
            .map_err(|_error| Misfit::DoesNotFit(does_not_fit(value, *precision, *scale))),
        Kind::Numeric => column
            .push_text(value)
            .map_err(|_error| Misfit::DoesNotFit(does_not_fit(value, 76, 18))),
        Kind::List(item) => {
            let values = parse_array(value).map_err(unfit)?;
            let items = column.items().ok_or(Misfit::Malformed("a malformed array"))?;
            for value in values {
                match value {
                    Some(value) => push_text(items, item, &value)?,
                    None => items.push_null(),
                }
            }
            column.end_list();
            Ok(())
        }
        Kind::Bool
        | Kind::Int16
        | Kind::Int32
        | Kind::Int64
        | Kind::Float32
        | Kind::Float64
        | Kind::Bytes
        | Kind::Date
        | Kind::Time
        | Kind::Timestamp
        | Kind::TimestampTz
        | Kind::Interval
        | Kind::Oid => column.push_text(value).map_err(unfit),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Misfit> {
    bytes.try_into().map_err(|_length| Misfit::Malformed("a value of wrong length"))
}

fn text(bytes: &[u8]) -> Result<&str, Misfit> {
    // A database with the encoding SQL_ASCII stores and sends any bytes.
    str::from_utf8(bytes).map_err(|error| Misfit::DoesNotFit(format!("text is not UTF-8: {error}")))
}

/// A `"char"` is a byte; zero is the empty text.
fn letter(bytes: &[u8]) -> Result<&str, Misfit> {
    match bytes {
        [] | [0] => Ok(""),
        [byte] if !byte.is_ascii() => {
            Err(Misfit::DoesNotFit(format!("a \"char\" of the byte {byte}, which is no letter")))
        }
        [_] => text(bytes),
        // As text, a byte that is no letter is written in four: `\351`.
        [b'\\', ..] => Err(Misfit::DoesNotFit("a \"char\" that is no letter".to_owned())),
        _ => Err(Misfit::Malformed("a value of wrong length")),
    }
}

/// An interval's microseconds, days and months, which are kept apart.
fn interval(bytes: [u8; 16]) -> Result<IntervalMonthDayNano, Misfit> {
    const MALFORMED: Misfit = Misfit::Malformed("a malformed interval");
    let (us, rest) = bytes.split_first_chunk::<8>().ok_or(MALFORMED)?;
    let (days, months) = rest.split_first_chunk::<4>().ok_or(MALFORMED)?;
    let us = i64::from_be_bytes(*us);
    let nanoseconds = us.checked_mul(1_000).ok_or_else(|| {
        Misfit::DoesNotFit(format!("an interval of {us} microseconds beside its days"))
    })?;
    let (days, months) = (i32::from_be_bytes(*days), i32::from_be_bytes(fixed(months)?));
    Ok(IntervalMonthDayNano::new(months, days, nanoseconds))
}

fn jsonb(bytes: &[u8]) -> Result<&[u8], Misfit> {
    match bytes {
        [1, text @ ..] => Ok(text),
        _ => Err(Misfit::Malformed("jsonb of an unknown version")),
    }
}

fn uuid(bytes: [u8; 16], text: &mut [u8; 36]) -> &str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut places = text.iter_mut();
    for (at, byte) in bytes.into_iter().enumerate() {
        let dash = matches!(at, 4 | 6 | 8 | 10).then_some(b'-');
        let [high, low] = [byte >> 4, byte & 15].map(|half| DIGITS.get(usize::from(half)).copied());
        for character in [dash, high, low].into_iter().flatten() {
            if let Some(place) = places.next() {
                *place = character;
            }
        }
    }
    str::from_utf8(text).unwrap_or_default()
}

/// A time of day; midnight may be the end of the day.
fn time(us: i64) -> Result<i64, Misfit> {
    if (0..=DAY_US).contains(&us) { Ok(us) } else { Err(Misfit::Malformed("no time of day")) }
}

/// Keeps ±infinity, which PostgreSQL writes as the extreme values.
fn date(days: i32) -> Result<i32, Misfit> {
    match days {
        i32::MAX | i32::MIN => Ok(days),
        _ => days
            .checked_add(EPOCH_DAYS)
            .ok_or_else(|| Misfit::DoesNotFit(format!("the date {days} days after 2000"))),
    }
}

/// Keeps ±infinity, which PostgreSQL writes as the extreme values.
pub(crate) fn timestamp(us: i64) -> Result<i64, Misfit> {
    match us {
        i64::MAX | i64::MIN => Ok(us),
        _ => us
            .checked_add(EPOCH_US)
            .ok_or_else(|| Misfit::DoesNotFit("a timestamp after the year 294246".to_owned())),
    }
}

fn push_array(column: &mut Column, kind: &Kind, bytes: &[u8]) -> Result<(), Misfit> {
    const MALFORMED: Misfit = Misfit::Malformed("a malformed array");
    let mut left = bytes;
    let mut word = || -> Result<i32, Misfit> {
        let (word, rest) = left.split_first_chunk::<4>().ok_or(MALFORMED)?;
        left = rest;
        Ok(i32::from_be_bytes(*word))
    };
    let (dimensions, _has_null, _item_type) = (word()?, word()?, word()?);
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = word()?;
            let _first_index = word()?;
            count
        }
        2..=6 => {
            let reason = format!("an array of {dimensions} dimensions");
            return Err(Misfit::DoesNotFit(reason));
        }
        _ => return Err(MALFORMED),
    };
    let items = column.items().ok_or(MALFORMED)?;
    for _ in 0..count {
        let (length, rest) = left.split_first_chunk::<4>().ok_or(MALFORMED)?;
        left = rest;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, rest) = left.split_at_checked(length).ok_or(MALFORMED)?;
                left = rest;
                push_binary(items, kind, value)?;
            }
            Err(_negative) => items.push_null(),
        }
    }
    if !left.is_empty() || count < 0 {
        return Err(MALFORMED);
    }
    column.end_list();
    Ok(())
}

/// Writes a value for a person to read, in a dead letter.
pub(crate) fn show(kind: &Kind, (bytes, form): (&[u8], Form)) -> String {
    if form == Form::Text || kind.is_sent_as_text() {
        return text(bytes).map_or_else(|_misfit| hex(bytes), str::to_owned);
    }
    let shown = match kind {
        Kind::Bool => fixed::<1>(bytes).map(|byte| (byte != [0]).to_string()),
        Kind::Int16 => fixed(bytes).map(|bytes| i16::from_be_bytes(bytes).to_string()),
        Kind::Int32 => fixed(bytes).map(|bytes| i32::from_be_bytes(bytes).to_string()),
        Kind::Int64 => fixed(bytes).map(|bytes| i64::from_be_bytes(bytes).to_string()),
        Kind::Float32 => fixed(bytes).map(|bytes| f32::from_be_bytes(bytes).to_string()),
        Kind::Float64 => fixed(bytes).map(|bytes| f64::from_be_bytes(bytes).to_string()),
        Kind::Decimal { .. } | Kind::Numeric => Numeric::read(bytes).map(Numeric::to_text),
        Kind::Text(_) | Kind::Char(_) | Kind::Other(_) => text(bytes).map(str::to_owned),
        Kind::Jsonb => jsonb(bytes).and_then(text).map(str::to_owned),
        Kind::Uuid => fixed(bytes).map(|bytes| uuid(bytes, &mut [0; 36]).to_owned()),
        Kind::Bytes
        | Kind::Date
        | Kind::Time
        | Kind::Timestamp
        | Kind::TimestampTz
        | Kind::Interval
        | Kind::Oid
        | Kind::Letter
        | Kind::List(_) => Ok(hex(bytes)),
    };
    shown.unwrap_or_else(|_misfit| hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("\\x");
    for byte in bytes.iter().take(256) {
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests look where they know"
)]
mod tests {
    use arrow::array::{Array, ArrayRef, AsArray};
    use arrow::datatypes::{Date32Type, TimestampMicrosecondType};

    use super::*;

    fn column_of(kind: &Kind, values: &[&[u8]]) -> ArrayRef {
        let mut column = Column::new(&kind.field("a")).unwrap();
        for value in values {
            push(&mut column, kind, (value, Form::Binary)).unwrap();
        }
        column.finish()
    }

    #[test]
    fn infinity_survives_and_time_begins_in_2000() {
        let dates = [i32::MIN, -1, 0, i32::MAX].map(i32::to_be_bytes);
        let dates = column_of(&Kind::Date, &dates.each_ref().map(|date| &date[..]));
        let values = dates.as_primitive::<Date32Type>().values().to_vec();
        assert_eq!(values, [i32::MIN, 10_956, 10_957, i32::MAX]);
        let times = [i64::MIN, 1, i64::MAX].map(i64::to_be_bytes);
        let times = column_of(&Kind::Timestamp, &times.each_ref().map(|time| &time[..]));
        let values = times.as_primitive::<TimestampMicrosecondType>().values().to_vec();
        assert_eq!(values, [i64::MIN, 946_684_800_000_001, i64::MAX]);
    }

    #[test]
    fn a_time_is_within_a_day() {
        let mut column = Column::new(&Kind::Time.field("a")).unwrap();
        for (us, fits) in [(0, true), (DAY_US, true), (DAY_US + 1, false), (-1, false)] {
            let pushed = push(&mut column, &Kind::Time, (&i64::to_be_bytes(us), Form::Binary));
            assert_eq!(pushed.is_ok(), fits, "{us}");
        }
    }

    #[test]
    fn a_uuid_reads_as_people_write_it() {
        let bytes: Vec<u8> = (0..16).map(|at| at * 17).collect();
        let column = column_of(&Kind::Uuid, &[&bytes]);
        assert_eq!(column.as_string::<i32>().value(0), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn arrays_keep_their_nulls_and_more_dimensions_are_refused() {
        let mut array = Vec::new();
        for word in [1_i32, 1, 21, 2, 1, -1, 2] {
            array.extend(word.to_be_bytes());
        }
        array.extend(7_i16.to_be_bytes());
        let kind = Kind::List(Box::new(Kind::Int16));
        let column = column_of(&kind, &[&array, &[0; 12]]);
        let list = column.as_list::<i32>();
        assert_eq!(
            (list.value(0).len(), list.value(0).null_count(), list.value(1).len()),
            (2, 1, 0)
        );
        let mut column = Column::new(&kind.field("a")).unwrap();
        let deep: Vec<u8> = [2_i32, 0, 21].into_iter().flat_map(i32::to_be_bytes).collect();
        let misfit = Misfit::DoesNotFit("an array of 2 dimensions".to_owned());
        assert_eq!(push(&mut column, &kind, (&deep, Form::Binary)), Err(misfit));
        for end in 0..array.len() {
            assert!(
                push(&mut column, &kind, (&array[..end], Form::Binary)).is_err(),
                "cut at {end}"
            );
        }
    }
}
