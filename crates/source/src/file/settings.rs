//! A file source's options.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::Field;
use change::TableName;

use super::csv::Dialect;
use super::declare::parse_columns;
use super::input::Input;
use crate::options::{Options, wrong};
use crate::{Resume, SourceConfig, SourceError};

/// What a script says of a file.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) source: Arc<str>,
    pub(crate) input: Input,
    pub(crate) format: Format,
    pub(crate) table: TableName,
    /// The declared columns; `None`: they are inferred.
    pub(crate) columns: Option<Vec<Field>>,
    /// The names of the key's columns.
    pub(crate) key: Vec<String>,
    /// Whether the file is followed as it grows.
    pub(crate) follow: bool,
    /// Whether standard input goes on behind what was read from it before.
    pub(crate) append: bool,
}

/// How a file is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON object a line.
    Ndjson,
    /// CSV.
    Csv(Dialect),
}

/// Whether a URL names a file or standard input: `stdin`, `-`, `file://…`, a path that ends as one, or any path when
/// the format is given.
pub(crate) fn is_file_url(url: &str, has_format: bool) -> bool {
    let is_path = url.starts_with("file://") || !url.contains("://");
    is_stdin(url)
        || url.starts_with("file://")
        || (is_path && (has_format || extension_format(url).is_some()))
}

fn is_stdin(url: &str) -> bool {
    matches!(url, "stdin" | "-" | "stdin:" | "stdin://")
}

fn extension_format(url: &str) -> Option<(&'static str, u8)> {
    let extension = url.rsplit_once('.')?.1.to_ascii_lowercase();
    match extension.as_str() {
        "ndjson" | "jsonl" => Some(("ndjson", b',')),
        "csv" => Some(("csv", b',')),
        "tsv" => Some(("csv", b'\t')),
        _ => None,
    }
}

impl Settings {
    /// Reads the options.
    ///
    /// # Errors
    /// When one is unknown or wrong.
    pub(crate) fn read(config: SourceConfig) -> Result<Self, SourceError> {
        let mut options = Options::new(config.options);
        let input = match config.url.as_str() {
            url if is_stdin(url) => Input::Stdin,
            url => Input::Path(path(url)?),
        };
        let by_extension = extension_format(&config.url);
        let table = options.text("table").unwrap_or_else(|| stem(&input));
        let columns = options.text("columns").map(|text| parse_columns(&text)).transpose()?;
        let key = options.text("key").map(|key| names(&key)).unwrap_or_default();
        let follow = options.boolean("follow")?.unwrap_or(false);
        let append = options.boolean("append")?.unwrap_or(false);
        let name = options.text("format");
        let format = match name.as_deref().or(by_extension.map(|(name, _)| name)) {
            None | Some("ndjson" | "jsonl" | "json") => Format::Ndjson,
            Some("csv") => {
                let delimiter = by_extension.map_or(b',', |(_, delimiter)| delimiter);
                Format::Csv(dialect(&mut options, delimiter)?)
            }
            Some("tsv") => Format::Csv(dialect(&mut options, b'\t')?),
            Some(other) => {
                let help = "write format = 'ndjson' or format = 'csv'".to_owned();
                return Err(wrong("format", format!("'{other}' is not known"), Some(help)));
            }
        };
        options.finish()?;
        if append && input != Input::Stdin {
            let help = "leave it out: a file is read on where it was left".to_owned();
            return Err(wrong("append", "only stdin has it".to_owned(), Some(help)));
        }
        let table = TableName::new(&config.name, &table);
        Ok(Self { source: config.name, input, format, table, columns, key, follow, append })
    }

    /// Whether the columns are known only from the values.
    pub(crate) fn must_infer(&self, resume: &Resume) -> bool {
        self.columns.is_none() && resume.tables.is_empty()
    }
}

fn dialect(options: &mut Options, delimiter: u8) -> Result<Dialect, SourceError> {
    let delimiter = match options.text("delimiter").as_deref() {
        None => delimiter,
        Some("tab" | "\\t") => b'\t',
        Some(text) => match *text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => byte,
            _ => {
                let reason = format!("'{text}' is not one ASCII character");
                let help = "write delimiter = ';' or delimiter = 'tab'".to_owned();
                return Err(wrong("delimiter", reason, Some(help)));
            }
        },
    };
    let header = options.boolean("header")?.unwrap_or(true);
    Ok(Dialect { delimiter, null: options.text("null").unwrap_or_default(), header })
}

/// Splits `a, b` into names.
fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect()
}

/// The path of a URL.
fn path(url: &str) -> Result<PathBuf, SourceError> {
    let Some(rest) = url.strip_prefix("file://") else { return Ok(PathBuf::from(url)) };
    let rest = rest.strip_prefix("localhost").unwrap_or(rest);
    let error = || SourceError::UnknownUrl { url: url.to_owned() };
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let Some((&byte, after)) = left.split_first() {
        left = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = left.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(error)?);
        left = &left[2..];
    }
    let path = String::from_utf8(bytes).ok().filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or_else(error)
}

/// A table's name from the file's: `Web Events-2.ndjson` → `web_events_2`.
fn stem(input: &Input) -> String {
    let stem = match input {
        Input::Stdin => return "stdin".to_owned(),
        Input::Path(path) => path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()),
    };
    let stem = stem.unwrap_or_default();
    let name: String =
        stem.chars().map(|char| if char.is_alphanumeric() { char } else { '_' }).collect();
    if name.starts_with(|first: char| first.is_alphabetic() || first == '_') {
        name
    } else {
        format!("_{name}")
    }
}
