//! A line of JSON into a row, without a tree between: each value's text goes straight into its column.

use std::borrow::Cow;
use std::fmt;

use change::TableSchema;
use change::map::{HashMap, HashSet};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::infer::{Guess, Guesses};
use crate::columns::RowBuilder;
use crate::columns::{Column, TextKind};
use crate::text::{Quoted, ValueError};

/// How many keys that are no columns are told apart in warnings.
const UNKNOWN_KEYS_MAX: usize = 20;

/// Reads JSON objects into rows of one table.
#[derive(Debug)]
pub(crate) struct NdjsonDecoder {
    names: Vec<String>,
    places: HashMap<String, usize>,
    unknown: HashSet<String>,
}

impl NdjsonDecoder {
    /// Prepares to read rows of a table.
    pub(crate) fn new(table: &TableSchema) -> Self {
        let names: Vec<_> = table.columns().fields().iter().map(|f| f.name().clone()).collect();
        let places = names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        Self { names, places, unknown: HashSet::default() }
    }

    /// Pushes a line's values. Keys that are no columns are passed over, and said once.
    ///
    /// # Errors
    /// When the line is no JSON object, or a value is none of its column's type. The row must be abandoned then.
    pub(crate) fn decode(&mut self, line: &[u8], rows: &mut RowBuilder) -> Result<(), ValueError> {
        let line = utf8(line)?;
        let row = rows.len();
        let mut failure = None;
        let visit =
            RowVisitor { decoder: self, columns: rows.columns(), row, failure: &mut failure };
        let read = read_object(line, visit);
        match failure {
            Some(failure) => Err(failure),
            None => read,
        }
    }

    /// The column of a key; objects of one file mostly have their keys in one order, so the next is tried first.
    fn place(&self, key: &str, next: usize) -> Option<usize> {
        match self.names.get(next) {
            Some(name) if name == key => Some(next),
            _ => self.places.get(key).copied(),
        }
    }

    fn pass_over(&mut self, key: &str) {
        if self.unknown.len() < UNKNOWN_KEYS_MAX && !self.unknown.contains(key) {
            tracing::warn!(key, "a key that is no column is passed over");
            self.unknown.insert(key.to_owned());
        }
    }
}

/// Adds what a line's values look like.
///
/// # Errors
/// When the line is no JSON object.
pub(crate) fn guess(line: &[u8], guesses: &mut Guesses) -> Result<(), ValueError> {
    read_object(utf8(line)?, GuessVisitor { guesses })
}

fn utf8(line: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(line).map_err(|error| ValueError(format!("not UTF-8: {error}")))
}

fn read_object<'a>(line: &'a str, visit: impl Visitor<'a, Value = ()>) -> Result<(), ValueError> {
    let mut reader = serde_json::Deserializer::from_str(line);
    (&mut reader).deserialize_map(visit).and_then(|()| reader.end()).map_err(|error| {
        if line.trim_start().starts_with('{') {
            ValueError(format!("malformed JSON: {}", within_line(&error)))
        } else {
            ValueError("not a JSON object".to_owned())
        }
    })
}

/// The error without its line number, which is always 1 here.
fn within_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.replacen(" at line 1 column ", " at column ", 1)
}

struct RowVisitor<'a> {
    decoder: &'a mut NdjsonDecoder,
    columns: &'a mut [Column],
    row: usize,
    failure: &'a mut Option<ValueError>,
}

impl<'de> Visitor<'de> for RowVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut next = 0;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value: &RawValue = map.next_value()?;
            let Some(place) = self.decoder.place(&key, next) else {
                self.decoder.pass_over(&key);
                continue;
            };
            next = place + 1;
            let column = &mut self.columns[place];
            // Of a key that occurs twice, the last value counts.
            column.truncate(self.row);
            if self.failure.is_none()
                && let Err(ValueError(reason)) = push_json(column, value.get())
            {
                // The rest is still read: malformed JSON is the better reason.
                *self.failure = Some(ValueError(format!("column {key}: {reason}")));
            }
        }
        Ok(())
    }
}

struct GuessVisitor<'a> {
    guesses: &'a mut Guesses,
}

impl<'de> Visitor<'de> for GuessVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value: &RawValue = map.next_value()?;
            let value = value.get();
            let guess = match value.as_bytes().first() {
                Some(b'n') | None => Guess::Nothing,
                Some(b't' | b'f') => Guess::Boolean,
                Some(b'{' | b'[') => Guess::Json,
                Some(b'"') => unquote(value).map_or(Guess::Text, |text| Guess::of_string(&text)),
                Some(_) => Guess::of_number(value),
            };
            self.guesses.add(&key, guess);
        }
        Ok(())
    }
}

/// Reads a key without copying it where it has no escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// The text that a JSON string says.
fn unquote(json: &str) -> Result<Cow<'_, str>, ValueError> {
    match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => serde_json::from_str(json)
            .map(Cow::Owned)
            .map_err(|error| ValueError(format!("malformed string: {}", within_line(&error)))),
    }
}

/// Appends a JSON value, given as its text, to a column.
fn push_json(column: &mut Column, json: &str) -> Result<(), ValueError> {
    if json == "null" {
        column.push_null();
        return Ok(());
    }
    match (column.text_kind(), json.as_bytes().first()) {
        // A JSON column keeps the value as it was written; text keeps what is no string as JSON.
        (Some(TextKind::Json), _) => column.push_str(json),
        (Some(TextKind::Plain), Some(b'"')) => column.push_str(&unquote(json)?),
        (Some(TextKind::Plain), _) => column.push_str(json),
        (_, Some(b'"')) => column.push_text(&unquote(json)?)?,
        (_, Some(b'[')) if column.items().is_some() => push_list(column, json)?,
        (_, Some(b'[' | b'{')) => {
            let json = Quoted(json);
            return Err(ValueError(format!("{json} is a nested value")));
        }
        _ => column.push_text(json)?,
    }
    Ok(())
}

fn push_list(column: &mut Column, json: &str) -> Result<(), ValueError> {
    let values: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|error| ValueError(within_line(&error)))?;
    let items = column.items().expect("the caller asked");
    let before = items.len();
    for value in values {
        if let Err(error) = push_json(items, value.get()) {
            items.truncate(before);
            return Err(error);
        }
    }
    column.end_list();
    Ok(())
}
