//! A view's row as a document: which column is indexed how, and what identifies a row.
//!
//! `_key` finds a row again: the key's values as JSON, or the hash of the whole row where the view has no key. `_row` is
//! the row itself as JSON, and `_count` how often it is there. Text is indexed by its words, in lower case and
//! without accents; numbers and booleans by their value; dates, times and the rest by how they are written, which sorts
//! as they do. Bytes and records are kept in `_row` but cannot be searched.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has many types; those that are not named here are not searched"
)]

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field as ArrowField};
use sha2::{Digest as _, Sha256};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{
    AsciiFoldingFilter, LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer, Token,
    TokenStream, Tokenizer,
};
use tantivy::{Index, TantivyDocument, Term};

use crate::cell::{Column, Style, Values};
use crate::error::{ViewError, which};
use crate::json::{RowWriter, write_value};
use crate::limits::{SEARCH_KEY_BYTES_MAX, SEARCH_WORD_BYTES_MAX};
use crate::store::ViewInfo;

pub(crate) const KEY: &str = "_key";
pub(crate) const ROW: &str = "_row";
pub(crate) const COUNT: &str = "_count";

/// The tokenizer of words.
pub(crate) const WORDS: &str = "evert_words";
/// The tokenizer of values that are searched for as they are written.
const EXACT: &str = "evert_exact";

/// How a column is indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Words,
    Exact,
    Integer,
    Unsigned,
    Float,
    Bool,
}

/// The fields of a view's index.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) schema: Schema,
    pub(crate) key: Field,
    pub(crate) row: Field,
    pub(crate) count: Field,
    /// The searched columns: position in the view, form, field.
    columns: Vec<(usize, Form, Field)>,
    /// The key's columns; all columns where the view has no key.
    identity: Vec<usize>,
    keyed: bool,
}

impl Fields {
    /// Lays out the index of a view; `searched` names the columns, none of them meaning all.
    pub(crate) fn new(info: &ViewInfo, searched: &[String]) -> Result<Self, ViewError> {
        let names: Vec<String> = info.schema.fields().iter().map(|f| f.name().clone()).collect();
        if let Some(column) = searched.iter().find(|column| !names.contains(column)) {
            return Err(refused(info, column, which(column, &names, "column")));
        }
        let exact = TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        let mut schema = Schema::builder();
        let key = schema.add_text_field(KEY, TextOptions::default().set_indexing_options(exact));
        let row = schema.add_text_field(ROW, STORED);
        let count = schema.add_u64_field(COUNT, STORED | FAST);
        let mut columns = Vec::new();
        for (at, field) in info.schema.fields().iter().enumerate() {
            let name = field.name().as_str();
            if [KEY, ROW, COUNT].contains(&name) || names[..at].iter().any(|other| other == name) {
                let help = "give the column another name in the view, with `as`";
                return Err(refused(info, name, help.to_owned()));
            }
            if !searched.is_empty() && !searched.iter().any(|column| column == name) {
                continue;
            }
            match form(field.data_type()) {
                Some(form) => columns.push((at, form, add_field(&mut schema, name, form))),
                None if searched.is_empty() => {}
                None => {
                    let help = format!("values of type {} cannot be searched", field.data_type());
                    return Err(refused(info, name, help));
                }
            }
        }
        let keyed = !info.key.is_empty();
        let identity = if keyed { info.key.clone() } else { (0..names.len()).collect() };
        Ok(Self { schema: schema.build(), key, row, count, columns, identity, keyed })
    }

    /// Whether rows are told apart by a key.
    pub(crate) fn keyed(&self) -> bool {
        self.keyed
    }
}

fn refused(info: &ViewInfo, column: &str, help: String) -> ViewError {
    ViewError::SearchColumn { view: info.name.clone(), column: column.to_owned(), help }
}

fn form(data_type: &DataType) -> Option<Form> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Form::Words),
        DataType::Boolean => Some(Form::Bool),
        DataType::UInt64 => Some(Form::Unsigned),
        integer if integer.is_integer() => Some(Form::Integer),
        number if number.is_floating() => Some(Form::Float),
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Some(Form::Float),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            form(item.data_type())
        }
        DataType::Dictionary(_, value) => form(value),
        temporal if temporal.is_temporal() => Some(Form::Exact),
        _ => None,
    }
}

fn add_field(schema: &mut tantivy::schema::SchemaBuilder, name: &str, form: Form) -> Field {
    let text = |tokenizer| {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(tokenizer)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        TextOptions::default().set_indexing_options(indexing)
    };
    match form {
        Form::Words => schema.add_text_field(name, text(WORDS)),
        Form::Exact => schema.add_text_field(name, text(EXACT)),
        Form::Integer => schema.add_i64_field(name, INDEXED | FAST),
        Form::Unsigned => schema.add_u64_field(name, INDEXED | FAST),
        Form::Float => schema.add_f64_field(name, INDEXED | FAST),
        Form::Bool => schema.add_bool_field(name, INDEXED),
    }
}

/// Teaches an opened index our tokenizers: it keeps only their names.
pub(crate) fn register_tokenizers(index: &Index) {
    let words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(SEARCH_WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build();
    index.tokenizers().register(WORDS, words);
    index.tokenizers().register(EXACT, TextAnalyzer::from(ExactTokenizer));
}

/// The rows of a batch, as documents and as what finds them again.
pub(crate) struct Documents<'a> {
    fields: &'a Fields,
    rows: RowWriter,
}

impl<'a> Documents<'a> {
    pub(crate) fn new(fields: &'a Fields, rows: &RecordBatch) -> Self {
        Self { fields, rows: RowWriter::new(rows) }
    }

    /// What the row is found by.
    pub(crate) fn key(&self, row: usize) -> String {
        let mut json = vec![b'['];
        for (at, &column) in self.fields.identity.iter().enumerate() {
            if at > 0 {
                json.push(b',');
            }
            write_value(&self.rows.columns[column], row, &mut json);
        }
        json.push(b']');
        if self.fields.keyed && json.len() <= SEARCH_KEY_BYTES_MAX {
            return String::from_utf8_lossy(&json).into_owned();
        }
        let mut key = String::with_capacity(66);
        for byte in Sha256::digest(&json).as_slice() {
            write!(key, "{byte:02x}").expect("memory takes what is written");
        }
        key
    }

    pub(crate) fn key_term(&self, key: &str) -> Term {
        Term::from_field_text(self.fields.key, key)
    }

    /// The row as a document.
    pub(crate) fn document(&self, row: usize, key: &str, count: u64) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        let mut json = Vec::new();
        self.rows.row(row, &mut json);
        document.add_text(self.fields.key, key);
        document.add_text(self.fields.row, String::from_utf8_lossy(&json));
        document.add_u64(self.fields.count, count);
        for &(column, form, field) in &self.fields.columns {
            add_value(&mut document, field, form, (&self.rows.columns[column], row));
        }
        document
    }
}

fn add_value(
    document: &mut TantivyDocument,
    field: Field,
    form: Form,
    (column, row): (&Column, usize),
) {
    if column.is_null(row) {
        return;
    }
    match (&column.values, form) {
        (Values::List(offsets, items), _) => {
            for item in offsets[row]..offsets[row + 1] {
                add_value(document, field, form, (items, item));
            }
        }
        (Values::Integer(array), Form::Integer) => document.add_i64(field, array.value(row)),
        (Values::Unsigned(array), Form::Unsigned) => document.add_u64(field, array.value(row)),
        (Values::Bool(array), Form::Bool) => document.add_bool(field, array.value(row)),
        (_, Form::Float) => {
            // The stored row keeps a decimal's digits; comparing needs no more than a float has.
            let value = written(column, row).parse::<f64>().unwrap_or(f64::NAN);
            if !value.is_nan() {
                // One zero: the index has -0 before 0.
                document.add_f64(field, value + 0.0);
            }
        }
        (_, Form::Words | Form::Exact) => match column.text(row) {
            Some(text) => document.add_text(field, text),
            None => document.add_text(field, written(column, row)),
        },
        (_, Form::Integer | Form::Unsigned | Form::Bool) => {
            unreachable!("the form follows from the column's type")
        }
    }
}

fn written(column: &Column, row: usize) -> String {
    let mut text = Vec::new();
    column.write_scalar(row, Style::Iso, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The column's type as the index remembers it.
pub(crate) fn describe(field: &ArrowField) -> String {
    match change::logical_type(field) {
        Some(logical) => format!("{} {} {logical}", field.name(), field.data_type()),
        None => format!("{} {}", field.name(), field.data_type()),
    }
}

/// Makes one token of a date or time, without its zone, so that what is earlier sorts first: `2026-01-02T03:04:05`
/// before `2026-01-02T03:04:05.5`.
#[derive(Clone, Debug)]
struct ExactTokenizer;

struct ExactStream {
    token: Token,
    done: bool,
}

impl Tokenizer for ExactTokenizer {
    type TokenStream<'a> = ExactStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        let bare = ["Z", "+00:00", "+00"].iter().find_map(|zone| text.strip_suffix(zone));
        let bare = bare.unwrap_or(text).replacen(' ', "T", 1);
        let token = Token { offset_to: text.len(), position: 0, text: bare, ..Token::default() };
        ExactStream { token, done: false }
    }
}

impl TokenStream for ExactStream {
    fn advance(&mut self) -> bool {
        !std::mem::replace(&mut self.done, true)
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
