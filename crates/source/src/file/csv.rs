//! A record of CSV into a row: RFC 4180, with PostgreSQL's reading of NULL (an empty field without quotes).

use std::borrow::Cow;

use change::TableSchema;
use memchr::memchr;

use super::infer::{Guess, Guesses};
use crate::columns::RowBuilder;
use crate::text::ValueError;

/// How a CSV file is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// What separates fields.
    pub(crate) delimiter: u8,
    /// The unquoted field that means NULL.
    pub(crate) null: String,
    /// Whether the first record names the columns.
    pub(crate) header: bool,
}

/// A field and whether it was quoted.
struct FieldText<'a> {
    text: Cow<'a, str>,
    quoted: bool,
}

/// Reads records into rows of one table.
#[derive(Debug)]
pub(crate) struct CsvDecoder {
    dialect: Dialect,
    /// For each field of a record, the column that it belongs to.
    columns: Vec<Option<usize>>,
    names: Vec<String>,
}

impl CsvDecoder {
    /// Prepares to read records whose fields have these names.
    pub(crate) fn new(table: &TableSchema, dialect: Dialect, header: &[String]) -> Self {
        let column = |name: &String| table.columns().index_of(name).ok();
        Self { dialect, columns: header.iter().map(column).collect(), names: header.to_vec() }
    }

    /// Pushes a record's values.
    ///
    /// # Errors
    /// When the record has too few or too many fields, or a value is none of its column's type. The row must be
    /// abandoned then.
    pub(crate) fn decode(&self, record: &[u8], rows: &mut RowBuilder) -> Result<(), ValueError> {
        let mut count = 0;
        for_each_field(record, self.dialect.delimiter, |field| {
            count += 1;
            let Some(place) = self.columns.get(count - 1) else { return Ok(()) };
            let Some(place) = place else { return Ok(()) };
            let column = &mut rows.columns()[*place];
            if self.is_null(&field) {
                column.push_null();
                return Ok(());
            }
            column.push_text(&field.text).map_err(|ValueError(reason)| {
                ValueError(format!("column {}: {reason}", self.names[count - 1]))
            })
        })?;
        if count == self.columns.len() {
            return Ok(());
        }
        Err(ValueError(format!("{count} fields instead of {}", self.columns.len())))
    }

    fn is_null(&self, field: &FieldText<'_>) -> bool {
        !field.quoted && *field.text == *self.dialect.null
    }
}

/// Returns the fields of a header; a column without name is called by its place.
///
/// # Errors
/// When it is malformed or names a column twice.
pub(crate) fn header(record: &[u8], delimiter: u8) -> Result<Vec<String>, ValueError> {
    let mut names: Vec<String> = Vec::new();
    for_each_field(record, delimiter, |field| {
        let name = match field.text.trim() {
            "" => format!("c{}", names.len() + 1),
            name => name.to_owned(),
        };
        if names.contains(&name) {
            return Err(ValueError(format!("the header names column {name} twice")));
        }
        names.push(name);
        Ok(())
    })?;
    Ok(names)
}

/// Returns names for the fields of a file without header: `c1`, `c2`, ….
///
/// # Errors
/// When the record is malformed.
pub(crate) fn numbered(record: &[u8], delimiter: u8) -> Result<Vec<String>, ValueError> {
    let mut names = Vec::new();
    for_each_field(record, delimiter, |_| {
        names.push(format!("c{}", names.len() + 1));
        Ok(())
    })?;
    Ok(names)
}

/// Adds what a record's values look like.
///
/// # Errors
/// When the record is malformed.
pub(crate) fn guess(
    record: &[u8],
    dialect: &Dialect,
    names: &[String],
    guesses: &mut Guesses,
) -> Result<(), ValueError> {
    let mut names = names.iter();
    for_each_field(record, dialect.delimiter, |field| {
        let Some(name) = names.next() else { return Ok(()) };
        let guess = if !field.quoted && *field.text == *dialect.null {
            Guess::Nothing
        } else {
            Guess::of_field(&field.text)
        };
        guesses.add(name, guess);
        Ok(())
    })
}

/// Visits a record's fields.
fn for_each_field<'a>(
    record: &'a [u8],
    delimiter: u8,
    mut visit: impl FnMut(FieldText<'a>) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let record =
        std::str::from_utf8(record).map_err(|error| ValueError(format!("not UTF-8: {error}")))?;
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(inner) => take_quoted(inner, delimiter)?,
            None => match memchr(delimiter, rest.as_bytes()) {
                Some(end) => (plain(&rest[..end]), Some(&rest[end + 1..])),
                None => (plain(rest), None),
            },
        };
        visit(field)?;
        match after {
            Some(after) => rest = after,
            None => return Ok(()),
        }
    }
}

fn plain(text: &str) -> FieldText<'_> {
    FieldText { text: Cow::Borrowed(text), quoted: false }
}

/// Takes a quoted field whose opening quote was taken, and the delimiter behind it.
fn take_quoted(inner: &str, delimiter: u8) -> Result<(FieldText<'_>, Option<&str>), ValueError> {
    let mut end = 0;
    let mut escaped = false;
    loop {
        let Some(quote) = memchr(b'"', &inner.as_bytes()[end..]) else {
            return Err(ValueError("a quote is not closed".to_owned()));
        };
        end += quote;
        if inner.as_bytes().get(end + 1) != Some(&b'"') {
            break;
        }
        escaped = true;
        end += 2;
    }
    let text = &inner[..end];
    let text = if escaped { Cow::Owned(text.replace("\"\"", "\"")) } else { Cow::Borrowed(text) };
    let field = FieldText { text, quoted: true };
    match inner.as_bytes().get(end + 1) {
        None => Ok((field, None)),
        Some(&byte) if byte == delimiter => Ok((field, Some(&inner[end + 2..]))),
        Some(_) => Err(ValueError("text behind a closing quote".to_owned())),
    }
}
