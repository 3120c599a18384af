//! Dates and times by a pattern of PostgreSQL's: `to_char`, `to_date` and `to_timestamp` of text.
//!
//! A pattern is words such as `YYYY` and `HH24`, text in double quotes, and other letters, which stand for themselves.
//! What is not known here is refused, so that no pattern is ever half understood.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use change::read::{days_from_civil, month_days};
use datafusion::error::{DataFusionError, Result as PlanResult};

use super::arithmetic::{CLOCK, DAY_US, INTERVAL, out_of_range, zoned};
use super::define::{Arguments, fails};
use super::time::{Moment, is_infinite};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const ROMAN_MONTHS: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// The words of a pattern; of two that begin alike, the longer stands first.
const WORDS: [&str; 55] = [
    "SSSSS", "SSSS", "MONTH", "Y,YYY", "A.D.", "B.C.", "A.M.", "P.M.", "HH24", "HH12", "IYYY",
    "YYYY", "IDDD", "DDD", "DAY", "MON", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "IYY", "YYY",
    "TZH", "TZM", "AD", "BC", "AM", "PM", "HH", "MI", "SS", "MS", "US", "MM", "DD", "DY", "ID",
    "IW", "WW", "IY", "YY", "CC", "RM", "TZ", "OF", "FX", "SP", "D", "I", "J", "Q", "W", "Y",
];

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Word {
        word: &'static str,
        letters: Letters,
        /// `FM` before it: without blanks and zeros in front.
        bare: bool,
        /// `TH` or `th` behind it.
        ordinal: Option<&'static str>,
    },
    Text(String),
}

/// How a word is written, and so its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    Upper,
    Capital,
    Lower,
}

impl Letters {
    fn of(written: &str) -> Self {
        let mut letters = written.chars();
        let is_upper = |letter: Option<char>| letter.is_some_and(char::is_uppercase);
        match (is_upper(letters.next()), is_upper(letters.next())) {
            (true, true) => Self::Upper,
            (true, false) => Self::Capital,
            (false, _) => Self::Lower,
        }
    }

    fn write(self, name: &str) -> String {
        match self {
            Self::Upper => name.to_uppercase(),
            Self::Capital => name.to_owned(),
            Self::Lower => name.to_lowercase(),
        }
    }
}

fn pieces(pattern: &str) -> PlanResult<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = pattern;
    let mut bare = false;
    while let Some(first) = rest.chars().next() {
        let begins = |word: &str| {
            rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        if begins("FM") {
            bare = true;
            rest = &rest[2..];
            continue;
        }
        if let Some(word) = WORDS.iter().find(|word| begins(word)) {
            if matches!(*word, "FX" | "SP") {
                return fails(format!("the pattern's {word} is not supported"));
            }
            let letters = Letters::of(&rest[..word.len()]);
            rest = &rest[word.len()..];
            let mut ordinal = None;
            for (written, shown) in [("TH", "TH"), ("th", "th")] {
                if rest.starts_with(written) {
                    ordinal = Some(shown);
                    rest = &rest[2..];
                    break;
                }
            }
            pieces.push(Piece::Word { word, letters, bare, ordinal });
            bare = false;
            continue;
        }
        let mut text = String::new();
        if first == '"' {
            let mut letters = rest.char_indices().skip(1);
            let mut end = rest.len();
            while let Some((at, letter)) = letters.next() {
                match letter {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
                    letter => text.push(letter),
                }
            }
            rest = &rest[end..];
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
        match pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            _ => pieces.push(Piece::Text(text)),
        }
    }
    Ok(pieces)
}

/// A pattern that was cut already, for rows that have the same.
struct Pattern(Option<(String, Vec<Piece>)>);

impl Pattern {
    fn of(&mut self, pattern: &str) -> PlanResult<&[Piece]> {
        if self.0.as_ref().is_none_or(|(known, _)| known != pattern) {
            self.0 = Some((pattern.to_owned(), pieces(pattern)?));
        }
        Ok(self.0.as_ref().map_or(&[], |(_, pieces)| pieces))
    }
}

/// What is shown: a moment, or an interval, which has no names.
struct Shown {
    moment: Moment,
    is_interval: bool,
    is_zoned: bool,
    /// An interval's hours are not those of a day.
    hours: i64,
}

impl Shown {
    fn of_moment(us: i64, is_zoned: bool) -> Self {
        let moment = Moment::new(us);
        let hours = moment.time_us / 3_600_000_000;
        Self { moment, is_interval: false, is_zoned, hours }
    }

    fn of_interval(interval: IntervalMonthDayNano) -> Self {
        let (year, month) = (i64::from(interval.months / 12), i64::from(interval.months % 12));
        let time_us = interval.nanoseconds / 1_000;
        let date = i64::from(interval.days);
        let moment = Moment { day: 0, year, month, date, time_us };
        Self { moment, is_interval: true, is_zoned: false, hours: time_us / 3_600_000_000 }
    }

    /// Writes a moment by a pattern.
    fn write(&self, pieces: &[Piece]) -> PlanResult<String> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Word { word, letters, bare, ordinal } => {
                    let before = out.len();
                    self.word(word, *letters, *bare, &mut out)?;
                    if let Some(letters) = ordinal {
                        let ending = ordinal_ending(&out[before..]);
                        out.push_str(&if *letters == "TH" {
                            ending.to_uppercase()
                        } else {
                            ending.to_owned()
                        });
                    }
                }
            }
        }
        Ok(out)
    }

    fn word(&self, word: &str, letters: Letters, bare: bool, out: &mut String) -> PlanResult<()> {
        let moment = &self.moment;
        let padded = |name: String, width: usize| {
            if bare { name } else { format!("{name:<width$}") }
        };
        if let Some((number, width)) = self.number(word) {
            let width = if bare { 0 } else { width + usize::from(number < 0) };
            out.write_fmt(format_args!("{number:0width$}")).unwrap_or_default();
            return Ok(());
        }
        if let Some(places) = word.strip_prefix("FF").and_then(|places| places.parse().ok()) {
            let digits = format!("{:06}", moment.time_us.rem_euclid(1_000_000));
            out.push_str(digits.get(..places).unwrap_or(&digits));
            return Ok(());
        }
        let year = if moment.year > 0 || self.is_interval { moment.year } else { 1 - moment.year };
        let pm = self.hours.rem_euclid(24) >= 12;
        let text = match word {
            "AM" | "PM" => letters_of(letters, if pm { "PM" } else { "AM" }),
            "A.M." | "P.M." => letters_of(letters, if pm { "P.M." } else { "A.M." }),
            "Y,YYY" => format!("{},{:03}", year / 1_000, year % 1_000),
            _ if self.is_interval => {
                return fails(format!("the pattern's {word} does not fit an interval"));
            }
            "BC" | "AD" => letters_of(letters, if moment.year > 0 { "AD" } else { "BC" }),
            "B.C." | "A.D." => letters_of(letters, if moment.year > 0 { "A.D." } else { "B.C." }),
            "MONTH" => padded(letters.write(name_at(&MONTHS, moment.month - 1)), 9),
            "MON" => letters.write(&name_at(&MONTHS, moment.month - 1)[..3]),
            "DAY" => padded(letters.write(name_at(&DAYS, moment.weekday() - 1)), 9),
            "DY" => letters.write(&name_at(&DAYS, moment.weekday() - 1)[..3]),
            "RM" => padded(letters_of(letters, name_at(&ROMAN_MONTHS, moment.month - 1)), 4),
            "TZ" => letters_of(letters, if self.is_zoned { "UTC" } else { "" }),
            "OF" | "TZH" => "+00".to_owned(),
            "TZM" => "00".to_owned(),
            _ => return fails(format!("the pattern's {word} is not supported")),
        };
        out.push_str(&text);
        Ok(())
    }

    /// The number that a word stands for, and how wide it is.
    fn number(&self, word: &str) -> Option<(i64, usize)> {
        let moment = &self.moment;
        let seconds = moment.time_us / 1_000_000;
        let twelve = if self.hours % 12 == 0 { 12 } else { self.hours % 12 };
        let common = match word {
            "HH" | "HH12" => (twelve, 2),
            "HH24" => (self.hours, 2),
            "MI" => (seconds / 60 % 60, 2),
            "SS" => (seconds % 60, 2),
            "MS" => (moment.time_us % 1_000_000 / 1_000, 3),
            "US" => (moment.time_us % 1_000_000, 6),
            "SSSS" | "SSSSS" => (seconds, 1),
            "MM" => (moment.month, 2),
            "DD" => (moment.date, 2),
            _ => (0, 0),
        };
        if common.1 > 0 {
            return Some(common);
        }
        let year = if moment.year > 0 || self.is_interval { moment.year } else { 1 - moment.year };
        let (iso_year, iso_week) = if self.is_interval { (0, 0) } else { moment.iso_week() };
        Some(match word {
            "YYYY" => (year, 4),
            "YYY" => (year % 1_000, 3),
            "YY" => (year % 100, 2),
            "Y" => (year % 10, 1),
            _ if self.is_interval => return None,
            "IYYY" => (iso_year, 4),
            "IYY" => (iso_year % 1_000, 3),
            "IY" => (iso_year % 100, 2),
            "I" => (iso_year % 10, 1),
            "DDD" => (moment.day_of_year(), 3),
            "IDDD" => ((iso_week - 1) * 7 + moment.weekday(), 3),
            "D" => (moment.weekday() % 7 + 1, 1),
            "ID" => (moment.weekday(), 1),
            "W" => ((moment.date - 1) / 7 + 1, 1),
            "WW" => ((moment.day_of_year() - 1) / 7 + 1, 2),
            "IW" => (iso_week, 2),
            "CC" => (moment.hundreds(100), 2),
            "Q" => ((moment.month - 1) / 3 + 1, 1),
            "J" => (moment.day + 2_440_588, 1),
            _ => return None,
        })
    }
}

fn name_at<'n>(names: &[&'n str], at: i64) -> &'n str {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
}

/// A fixed word in the pattern's letters: capitals unless it is written small.
fn letters_of(letters: Letters, word: &str) -> String {
    if letters == Letters::Lower { word.to_lowercase() } else { word.to_owned() }
}

/// `st`, `nd`, `rd` or `th`.
pub(super) fn ordinal_ending(number: &str) -> &'static str {
    let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
    match digits.as_slice() {
        [.., b'1', _] => "th",
        [.., b'1'] => "st",
        [.., b'2'] => "nd",
        [.., b'3'] => "rd",
        _ => "th",
    }
}

/// `to_char` of dates, times and intervals.
pub(super) fn to_char(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let patterns = arguments.texts(1)?;
    let mut pattern = Pattern(None);
    let from = arguments.array(0).data_type();
    if matches!(from, DataType::Interval(_)) {
        let values = arguments.cast(0, &INTERVAL)?;
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        return arguments.text_of_each(|row| {
            let pieces = pattern.of(patterns.value(row))?;
            Shown::of_interval(values.value(row)).write(pieces).map(Some)
        });
    }
    let is_zoned = matches!(from, DataType::Timestamp(_, Some(_)) | DataType::Date32);
    let values = arguments.cast(0, &if is_zoned { zoned() } else { CLOCK })?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    arguments.text_of_each(|row| {
        if is_infinite(values.value(row)) {
            return Ok(None);
        }
        let pieces = pattern.of(patterns.value(row))?;
        Shown::of_moment(values.value(row), is_zoned).write(pieces).map(Some)
    })
}

/// What was read of a text.
#[derive(Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    julian: Option<i64>,
    hour: i64,
    twelve: bool,
    afternoon: Option<bool>,
    before_christ: bool,
    minute: i64,
    second: i64,
    us: i64,
}

fn mismatch<T>(text: &str) -> PlanResult<T> {
    Err(DataFusionError::Execution(format!("'{text}' is not written as its pattern says")))
}

impl Read {
    fn new(text: &str, pieces: &[Piece]) -> PlanResult<Self> {
        let mut read = Self::default();
        let mut rest = text.trim_start();
        for (at, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Text(separators) => {
                    for separator in separators.chars() {
                        let is_separator = |letter: char| !letter.is_alphanumeric();
                        if is_separator(separator) {
                            // A separator stands for any, also for none before a number.
                            rest = rest.strip_prefix(is_separator).unwrap_or(rest).trim_start();
                        } else if let Some(letter) = rest.chars().next() {
                            rest = &rest[letter.len_utf8()..];
                        }
                    }
                }
                Piece::Word { word, .. } => {
                    rest = rest.trim_start();
                    let next = pieces.get(at + 1);
                    let glued = matches!(next, Some(Piece::Word { .. }));
                    rest = match read.word(word, rest, glued)? {
                        Some(rest) => rest,
                        None => return mismatch(text),
                    };
                }
            }
        }
        Ok(read)
    }

    /// Reads what a word stands for from the front.
    fn word<'t>(&mut self, word: &str, rest: &'t str, glued: bool) -> PlanResult<Option<&'t str>> {
        let named = |names: &[&str], short: bool| {
            names.iter().zip(1_i64..).find_map(|(name, number)| {
                let name = if short { name.get(..3)? } else { name };
                let start = rest.get(..name.len())?;
                start.eq_ignore_ascii_case(name).then_some((number, &rest[name.len()..]))
            })
        };
        let found = match word {
            "MONTH" => named(&MONTHS, false).or_else(|| named(&MONTHS, true)),
            "MON" => named(&MONTHS, true),
            "DAY" => named(&DAYS, false).or_else(|| named(&DAYS, true)),
            "DY" => named(&DAYS, true),
            "AM" | "PM" => named(&["am", "pm"], false),
            "A.M." | "P.M." => named(&["a.m.", "p.m."], false),
            "AD" | "BC" => named(&["ad", "bc"], false),
            "A.D." | "B.C." => named(&["a.d.", "b.c."], false),
            _ => None,
        };
        if let Some((number, rest)) = found {
            match word {
                "MONTH" | "MON" => self.month = Some(number),
                "AM" | "PM" | "A.M." | "P.M." => self.afternoon = Some(number == 2),
                "AD" | "BC" | "A.D." | "B.C." => self.before_christ = number == 2,
                _ => {}
            }
            return Ok(Some(rest));
        }
        let width = match word {
            "YYYY" => 4,
            "YYY" | "DDD" | "MS" => 3,
            "US" => 6,
            "YY" | "MM" | "DD" | "HH" | "HH12" | "HH24" | "MI" | "SS" => 2,
            "Y" => 1,
            "J" | "SSSS" | "SSSSS" => 7,
            "MONTH" | "MON" | "DAY" | "DY" | "AM" | "PM" | "A.M." | "P.M." | "AD" | "BC"
            | "A.D." | "B.C." => return Ok(None),
            _ => return fails(format!("the pattern's {word} cannot be read")),
        };
        let most = if glued || word != "YYYY" { width } else { 7 };
        let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = rest.split_at(count);
        let Ok(number) = digits.parse::<i64>() else { return Ok(None) };
        self.set(word, number, digits.len());
        Ok(Some(rest))
    }

    fn set(&mut self, word: &str, number: i64, digits: usize) {
        let left = u32::try_from(6_usize.saturating_sub(digits)).unwrap_or(0);
        match word {
            "YYYY" => self.year = Some(number),
            // Years of few digits are those next to 2020.
            "YYY" if number < 520 => self.year = Some(2_000 + number),
            "YYY" => self.year = Some(1_000 + number),
            "YY" if number < 70 => self.year = Some(2_000 + number),
            "YY" => self.year = Some(1_900 + number),
            "Y" => self.year = Some(2_000 + number),
            "MM" => self.month = Some(number),
            "DD" => self.day = Some(number),
            "DDD" => self.day_of_year = Some(number),
            "J" => self.julian = Some(number),
            "HH24" => self.hour = number,
            "HH" | "HH12" => (self.hour, self.twelve) = (number, true),
            "MI" => self.minute = number,
            "SS" => self.second = number,
            // Digits behind the point of a second.
            "MS" => self.us += number * 10_i64.pow(left),
            "US" => self.us += number * 10_i64.pow(left),
            _ => {
                (self.hour, self.minute, self.second) =
                    (number / 3_600, number / 60 % 60, number % 60)
            }
        }
    }

    fn day(&self, text: &str) -> PlanResult<i64> {
        if let Some(julian) = self.julian {
            return Ok(julian - 2_440_588);
        }
        let year = match self.year {
            // Without a year it is the year 1 BC.
            None | Some(0) => 0,
            Some(year) if self.before_christ => 1 - year,
            Some(year) => year,
        };
        if let Some(day) = self.day_of_year.filter(|_| self.month.is_none()) {
            return Ok(days_from_civil(year, 1, 1) + day - 1);
        }
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        let sound = (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
        if sound { Ok(days_from_civil(year, month, day)) } else { mismatch(text) }
    }

    fn us(&self, text: &str) -> PlanResult<i64> {
        let hour = match (self.twelve, self.afternoon) {
            (true, _) if !(1..=12).contains(&self.hour) => return mismatch(text),
            (_, Some(true)) if self.hour < 12 => self.hour + 12,
            (true, Some(false)) if self.hour == 12 => 0,
            _ => self.hour,
        };
        if hour > 23 || self.minute > 59 || self.second > 59 || self.us > 999_999 {
            return mismatch(text);
        }
        let time = ((hour * 60 + self.minute) * 60 + self.second) * 1_000_000 + self.us;
        let day = self.day(text)?;
        day.checked_mul(DAY_US).map(|us| us + time).ok_or_else(|| out_of_range("timestamp"))
    }
}

/// `to_date`.
pub(super) fn to_date(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (texts, patterns) = (arguments.texts(0)?, arguments.texts(1)?);
    let mut pattern = Pattern(None);
    let days = (0..arguments.rows()).map(|row| {
        if texts.is_null(row) || patterns.is_null(row) {
            return Ok(None);
        }
        let text = texts.value(row);
        let day = Read::new(text, pattern.of(patterns.value(row))?)?.day(text)?;
        i32::try_from(day).map(Some).map_err(|_far| out_of_range("date"))
    });
    Ok(Arc::new(days.collect::<PlanResult<Date32Array>>()?))
}

/// `to_timestamp` of a text and its pattern.
pub(super) fn to_timestamp(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (texts, patterns) = (arguments.texts(0)?, arguments.texts(1)?);
    let mut pattern = Pattern(None);
    let times = (0..arguments.rows()).map(|row| {
        if texts.is_null(row) || patterns.is_null(row) {
            return Ok(None);
        }
        let text = texts.value(row);
        Read::new(text, pattern.of(patterns.value(row))?)?.us(text).map(Some)
    });
    let times = times.collect::<PlanResult<TimestampMicrosecondArray>>()?;
    Ok(Arc::new(times.with_data_type(zoned())))
}
