//! Columns from the values at a file's beginning.
//!
//! The types form a lattice: what two values have in common, and text where that is nothing. Numbers never become
//! floats: a whole number is `bigint`, any other `numeric`, and one that fits neither keeps its digits as text.

use arrow::datatypes::{DataType, Field, TimeUnit};
use change::map::HashMap;
use change::with_logical_type;

use super::declare::NUMERIC;
use crate::text;

/// What the values of a column seen so far have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    /// Only NULLs.
    Nothing,
    Boolean,
    Whole,
    Number,
    Date,
    Timestamp,
    Timestamptz,
    /// Objects or lists.
    Json,
    Text,
}

impl Guess {
    /// Returns what values of both kinds have in common.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, any) | (any, Self::Nothing) => any,
            (Self::Whole, Self::Number) | (Self::Number, Self::Whole) => Self::Number,
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Self::Timestamp,
            (one, same) if one == same => one,
            _ => Self::Text,
        }
    }

    /// Guesses from a number's text.
    pub(crate) fn of_number(number: &str) -> Self {
        let DataType::Decimal256(precision, scale) = NUMERIC else {
            unreachable!("numeric is a decimal");
        };
        if number.parse::<i64>().is_ok() {
            Self::Whole
        } else if text::parse_decimal256(number, precision, scale).is_ok() {
            Self::Number
        } else {
            Self::Text
        }
    }

    /// Guesses from a text in quotes: a point in time, or text.
    pub(crate) fn of_string(string: &str) -> Self {
        // Also "infinity" is a timestamp, but more often it is a word.
        if !string.starts_with(|first: char| first.is_ascii_digit()) {
            return Self::Text;
        }
        if text::parse_date(string).is_ok() {
            return Self::Date;
        }
        match text::parse_instant(string) {
            Ok(instant) if instant.zoned => Self::Timestamptz,
            Ok(_) => Self::Timestamp,
            Err(_) => Self::Text,
        }
    }

    /// Guesses from a field of a CSV file, where everything is text.
    pub(crate) fn of_field(field: &str) -> Self {
        if field.eq_ignore_ascii_case("true") || field.eq_ignore_ascii_case("false") {
            return Self::Boolean;
        }
        // A leading zero or plus belongs to a code or a telephone number, and would be lost.
        let digits = field.strip_prefix('-').unwrap_or(field).as_bytes();
        let is_code = matches!(digits, [b'0', b'0'..=b'9', ..]);
        let is_number = !is_code && digits.first().is_some_and(u8::is_ascii_digit);
        match is_number.then(|| Self::of_number(field)) {
            Some(Self::Whole) => Self::Whole,
            Some(Self::Number) => Self::Number,
            _ => Self::of_string(field),
        }
    }

    /// Makes a column of it.
    pub(crate) fn field(self, name: &str) -> Field {
        let timestamp =
            |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let (data_type, logical) = match self {
            Self::Boolean => (DataType::Boolean, None),
            Self::Whole => (DataType::Int64, None),
            Self::Number => (NUMERIC, Some("numeric")),
            Self::Date => (DataType::Date32, None),
            Self::Timestamp => (timestamp(None), None),
            Self::Timestamptz => (timestamp(Some("UTC")), None),
            Self::Json => (DataType::Utf8, Some("json")),
            Self::Text | Self::Nothing => (DataType::Utf8, None),
        };
        let field = Field::new(name, data_type, true);
        match logical {
            Some(logical) => with_logical_type(field, logical),
            None => field,
        }
    }
}

/// The columns seen so far, in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    columns: Vec<(String, Guess)>,
    places: HashMap<String, usize>,
}

impl Guesses {
    /// Adds a value's guess to its column.
    pub(crate) fn add(&mut self, name: &str, guess: Guess) {
        let place = match self.places.get(name) {
            Some(&place) => place,
            None => {
                self.places.insert(name.to_owned(), self.columns.len());
                self.columns.push((name.to_owned(), Guess::Nothing));
                self.columns.len() - 1
            }
        };
        let column = &mut self.columns[place].1;
        *column = column.join(guess);
    }

    /// Makes the columns.
    pub(crate) fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|(name, guess)| guess.field(name)).collect()
    }
}
