//! What a fuzzer does with arbitrary bytes: take them in as a server's. The fuzz targets call these functions, and so does
//! a plain test. They panic when a promise is broken; on no bytes may they.

use std::sync::Arc;

use arrow::datatypes::Schema;
use change::cell;
use change::{ChangeForm, TableName, TableSchema, TransactionGroup};

use super::decode::{CopyDecoder, Decoder, Target};
use super::gather::Gather;
use super::kinds::{Derived, Kind, Types};
use super::values;
use super::wire::Form;
use crate::SourceError;
use crate::columns::{Column, read_texts};

/// Reads messages of pgoutput, each behind its length in two bytes, about a table with keys and one without.
pub fn messages(bytes: &[u8]) {
    let targets = vec![target("t", ChangeForm::Upsert), target("e", ChangeForm::Exact)];
    let mut types = Types::default();
    types.insert(1007, Derived::Array(23));
    types.insert(1231, Derived::Array(1700));
    let mut decoder = Decoder::new("shop".into(), targets, types, 0);
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, behind) = after.split_at(length);
        rest = behind;
        if decoder.feed(message).is_err() {
            return;
        }
        if !decoder.is_open() {
            check(&decoder.gather().cut());
        }
    }
}

/// Reads a binary copy, once as a whole and once in two parts: both say the same.
pub fn copy(bytes: &[u8]) {
    let (first, rest) = bytes.split_at(bytes.len().min(1));
    let at = usize::from(first.first().copied().unwrap_or(0)).min(rest.len());
    let (head, tail) = rest.split_at(at);
    let (whole, parts) = (copied(&[rest]), copied(&[head, tail]));
    match (whole, parts) {
        (Ok(whole), Ok(parts)) => assert_eq!(whole, parts),
        (whole, parts) => {
            assert!(whole.is_err() && parts.is_err(), "whole {whole:?}, in parts {parts:?}");
        }
    }
}

fn copied(pieces: &[&[u8]]) -> Result<(u64, Vec<TransactionGroup>), SourceError> {
    let target = target("t", ChangeForm::Upsert);
    let mut gather = Gather::new("shop".into(), &[Arc::clone(&target.schema)]);
    gather.begin(change::TransactionHead::own());
    let mut decoder = CopyDecoder::new(&target, 0);
    let mut rows = 0;
    for piece in pieces {
        rows += decoder.feed(&mut gather, piece)?;
    }
    decoder.finish()?;
    gather.commit(change::SourcePosition::Lsn(1));
    let groups = gather.cut();
    check(&groups);
    Ok((rows, groups))
}

/// Reads a value of each kind, in both forms; what was read is the same when its text is read. What is more than
/// text, and which dates there are, is the server's to check.
pub fn value(bytes: &[u8]) {
    let texts = Kind::List(Box::new(Kind::Text(None)));
    for kind in kinds().into_iter().chain([texts]) {
        for form in [Form::Binary, Form::Text] {
            let field = kind.field("c");
            let Some(mut column) = Column::new(&field) else { continue };
            let pushed = values::push(&mut column, &kind, (bytes, form));
            drop(values::show(&kind, (bytes, form)));
            if pushed.is_err() {
                continue;
            }
            let array = column.finish();
            assert_eq!(array.len(), 1, "{kind:?} {form:?}");
            let mut text = Vec::new();
            cell::Column::new(&field, &array).write_text(0, &mut text);
            let text = String::from_utf8(text).expect("a value's text is text");
            let is_text = matches!(kind, Kind::Text(_) | Kind::Char(_) | Kind::Letter);
            let is_date = matches!(kind, Kind::Date | Kind::Timestamp | Kind::TimestampTz);
            if is_text || is_date || matches!(kind, Kind::Jsonb | Kind::Uuid | Kind::Interval) {
                continue;
            }
            let again = read_texts(&field, std::iter::once(Some(text.as_str())));
            assert_eq!(again.as_ref(), Ok(&array), "{kind:?} {form:?}: {text}");
        }
    }
}

/// Groups whose parts fit each other.
fn check(groups: &[TransactionGroup]) {
    for group in groups {
        for table in group.tables() {
            assert_eq!(table.ends().len(), group.heads().len());
        }
    }
}

/// Kinds of columns, each decoded in a way of its own.
fn kinds() -> Vec<Kind> {
    vec![
        Kind::Int64,
        Kind::Bool,
        Kind::Int16,
        Kind::Int32,
        Kind::Float32,
        Kind::Float64,
        Kind::Decimal { precision: 12, scale: 2 },
        Kind::Numeric,
        Kind::Text(None),
        Kind::Char(Some(4)),
        Kind::Jsonb,
        Kind::Uuid,
        Kind::Bytes,
        Kind::Date,
        Kind::Time,
        Kind::Timestamp,
        Kind::TimestampTz,
        Kind::Interval,
        Kind::Oid,
        Kind::Letter,
        Kind::List(Box::new(Kind::Int32)),
        Kind::List(Box::new(Kind::Numeric)),
    ]
}

/// A table with a column of each kind.
fn target(name: &str, form: ChangeForm) -> Target {
    let kinds = kinds();
    let field = |(at, kind): (usize, &Kind)| kind.field(&format!("c{at}"));
    let fields: Vec<_> = kinds.iter().enumerate().map(field).collect();
    let key = if form == ChangeForm::Upsert { vec![0] } else { Vec::new() };
    let table = TableName::new("shop", name);
    let schema = Arc::new(TableSchema::new(table, Arc::new(Schema::new(fields)), key, form));
    Target { schema, kinds, namespace: "public".to_owned(), name: name.to_owned() }
}
