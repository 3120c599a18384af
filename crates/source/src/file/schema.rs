//! What a file's table is: declared, or logged by an earlier run, or inferred from the file's beginning.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use change::limits::COLUMNS_MAX;
use change::{ChangeForm, TableSchema};

use super::infer::Guesses;
use super::records::{Framing, Kind, Records};
use super::settings::{Format, Settings};
use super::{csv, ndjson};
use crate::limits::{RECORD_BYTES_MAX, SAMPLE_RECORDS_MAX};
use crate::options::{most_similar, wrong};
use crate::text::ValueError;
use crate::{Resume, SourceError};

/// A file's beginning.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) bytes: Vec<u8>,
    /// Whether it is the whole file.
    pub(crate) is_whole: bool,
}

/// What was found out about a file.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Its table.
    pub(crate) table: Arc<TableSchema>,
    /// The names of a CSV record's fields; empty for ndjson.
    pub(crate) header: Vec<String>,
    /// The mean length of a line at the beginning, in bytes; 0: not known.
    pub(crate) line_bytes: u64,
}

impl Format {
    /// How the format's records end.
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Self::Ndjson => Framing::Lines,
            Self::Csv(dialect) => Framing::Quoted { delimiter: dialect.delimiter },
        }
    }
}

/// Finds a file's table.
///
/// # Errors
/// When nothing can be inferred, the key is no column, or the table is not what was logged.
pub(crate) fn find(
    settings: &Settings,
    resume: &Resume,
    beginning: &Beginning,
) -> Result<Shape, SourceError> {
    let logged = logged(settings, resume)?;
    let header = match &settings.format {
        Format::Ndjson => Vec::new(),
        Format::Csv(dialect) => header(settings, dialect, beginning, logged)?,
    };
    let fields = match (&settings.columns, logged) {
        (Some(declared), _) => declared.clone(),
        (None, Some(logged)) => {
            logged.columns().fields().iter().map(|field| Field::clone(field)).collect()
        }
        (None, None) => infer(settings, beginning, &header)?,
    };
    check_header(settings, &fields, &header, logged.is_some())?;
    let table = Arc::new(table(settings, fields)?);
    if let Some(logged) = logged
        && **logged != *table
    {
        return Err(SourceError::SchemaChanged {
            table: table.name().to_string(),
            difference: "its declared columns or key are not those of the log".to_owned(),
        });
    }
    let lines = super::records::count_lines(&beginning.bytes).max(1);
    let line_bytes = beginning.bytes.len() as u64 / lines as u64;
    Ok(Shape { table, header, line_bytes })
}

/// The table as an earlier run logged it.
fn logged<'a>(
    settings: &Settings,
    resume: &'a Resume,
) -> Result<Option<&'a Arc<TableSchema>>, SourceError> {
    let logged = resume.tables.iter().find(|table| *table.name() == settings.table);
    match resume.tables.first() {
        Some(other) if logged.is_none() => Err(SourceError::SchemaChanged {
            table: other.name().to_string(),
            difference: format!("it is now called {}", settings.table),
        }),
        _ => Ok(logged),
    }
}

/// The names of a CSV file's fields.
fn header(
    settings: &Settings,
    dialect: &csv::Dialect,
    beginning: &Beginning,
    logged: Option<&Arc<TableSchema>>,
) -> Result<Vec<String>, SourceError> {
    let place = || format!("{} line 1", settings.input.shown());
    let malformed =
        |ValueError(reason): ValueError| SourceError::Malformed { place: place(), reason };
    if !dialect.header {
        // The declared, or logged, columns are those of the file, in order.
        if let Some(columns) = &settings.columns {
            return Ok(columns.iter().map(|field| field.name().clone()).collect());
        }
        if let Some(logged) = logged {
            return Ok(logged.columns().fields().iter().map(|f| f.name().clone()).collect());
        }
    }
    let mut first = None;
    for_each_record(settings, beginning, |record| {
        first.get_or_insert_with(|| record.to_vec());
        false
    });
    let Some(first) = first else { return Err(nothing_to_infer(settings)) };
    if dialect.header {
        csv::header(&first, dialect.delimiter).map_err(malformed)
    } else {
        csv::numbered(&first, dialect.delimiter).map_err(malformed)
    }
}

fn check_header(
    settings: &Settings,
    fields: &[Field],
    header: &[String],
    is_logged: bool,
) -> Result<(), SourceError> {
    if settings.format == Format::Ndjson {
        return Ok(());
    }
    let names = || header.iter().map(String::as_str);
    for field in fields {
        if names().any(|name| name == field.name()) {
            continue;
        }
        if is_logged {
            return Err(SourceError::SchemaChanged {
                table: settings.table.to_string(),
                difference: format!("the file has no column {} any more", field.name()),
            });
        }
        let reason = format!("the file's header has no column {}", field.name());
        let help = most_similar(field.name(), names()).map_or_else(
            || format!("its columns are {}", header.join(", ")),
            |similar| format!("did you mean {similar}?"),
        );
        return Err(wrong("columns", reason, Some(help)));
    }
    Ok(())
}

fn infer(
    settings: &Settings,
    beginning: &Beginning,
    header: &[String],
) -> Result<Vec<Field>, SourceError> {
    let mut guesses = Guesses::default();
    for name in header {
        guesses.add(name, super::infer::Guess::Nothing);
    }
    let (mut count, mut header_next) = (0, false);
    if let Format::Csv(dialect) = &settings.format {
        header_next = dialect.header;
    }
    for_each_record(settings, beginning, |record| {
        if std::mem::take(&mut header_next) {
            return true;
        }
        // What cannot be read becomes a dead letter later.
        let guessed = match &settings.format {
            Format::Ndjson => ndjson::guess(record, &mut guesses),
            Format::Csv(dialect) => csv::guess(record, dialect, header, &mut guesses),
        };
        guessed.unwrap_or_default();
        count += 1;
        count < SAMPLE_RECORDS_MAX
    });
    let fields = guesses.fields();
    match fields.len() {
        0 => Err(nothing_to_infer(settings)),
        count if count > COLUMNS_MAX => Err(SourceError::Refused {
            code: "SRC014",
            what: format!("{} has {count} columns", settings.input.shown()),
            help: Some(format!(
                "a table has at most {COLUMNS_MAX}: name those to take with columns = '…'"
            )),
        }),
        _ => Ok(fields),
    }
}

fn nothing_to_infer(settings: &Settings) -> SourceError {
    SourceError::Refused {
        code: "SRC015",
        what: format!(
            "{} has no record from which its columns could be inferred",
            settings.input.shown()
        ),
        help: Some("declare them: columns = 'id bigint, name text'".to_owned()),
    }
}

/// Visits the whole records of a beginning that are not empty, until `visit` says no.
fn for_each_record(
    settings: &Settings,
    beginning: &Beginning,
    mut visit: impl FnMut(&[u8]) -> bool,
) {
    let mut records = Records::new(settings.format.framing(), RECORD_BYTES_MAX, 0, 0);
    records.feed(&beginning.bytes);
    if beginning.is_whole {
        records.finish();
    }
    while let Some(found) = records.next() {
        let record = records.bytes(&found);
        if found.kind != Kind::Whole || record.trim_ascii().is_empty() {
            continue;
        }
        if !visit(record) {
            return;
        }
    }
}

fn table(settings: &Settings, fields: Vec<Field>) -> Result<TableSchema, SourceError> {
    let mut key = Vec::with_capacity(settings.key.len());
    for name in &settings.key {
        let place = fields.iter().position(|field| field.name() == name).ok_or_else(|| {
            let names = fields.iter().map(|field| field.name().as_str());
            let help = most_similar(name, names).map(|similar| format!("did you mean {similar}?"));
            wrong("key", format!("there is no column {name}"), help)
        })?;
        key.push(place);
    }
    key.sort_unstable();
    key.dedup();
    let form = if key.is_empty() { ChangeForm::Exact } else { ChangeForm::Upsert };
    Ok(TableSchema::new(settings.table.clone(), Arc::new(Schema::new(fields)), key, form))
}
