//! Functions of text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, StringArray};
use arrow::datatypes::{DataType, Field};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::ScalarUDF;
use md5::{Digest as _, Md5};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::define::{Arguments, Gives, MANY, fails, of_any, takes_no};
use crate::casts::written;

const TEXT: Gives = Gives::Always(DataType::Utf8);
const TRUTH: Gives = Gives::Always(DataType::Boolean);
const BYTES: Gives = Gives::Always(DataType::Binary);

/// The functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    vec![
        text_of(),
        of_any("lower", (1, 1), TEXT, |arguments| recased(arguments, char::to_lowercase)),
        of_any("upper", (1, 1), TEXT, |arguments| recased(arguments, char::to_uppercase)),
        of_any("concat", MANY, TEXT, |arguments| concat(arguments, None)),
        of_any("concat_ws", (2, usize::MAX), TEXT, |arguments| {
            concat(arguments, Some(&arguments.texts(0)?))
        }),
        of_any("format", MANY, TEXT, format),
        of_any("quote_ident", (1, 1), TEXT, |arguments| {
            let texts = arguments.texts(0)?;
            arguments.text_of_each(|row| Ok(Some(quoted_name(texts.value(row)))))
        }),
        of_any("quote_literal", (1, 1), TEXT, |arguments| {
            let texts = shown(arguments, 0)?;
            arguments.text_of_each(|row| Ok(Some(quoted(texts.value(row)))))
        }),
        of_any("quote_nullable", (1, 1), TEXT, |arguments| {
            let texts = shown(arguments, 0)?;
            let quoted = texts.iter().map(|text| Some(text.map_or("NULL".to_owned(), quoted)));
            Ok(Arc::new(quoted.collect::<StringArray>()))
        }),
        of_any("like_escape", (2, 2), TEXT, like_escape),
        of_any("num_nulls", MANY, Gives::Always(DataType::Int32), |arguments| {
            Ok(count_nulls(arguments, true))
        }),
        of_any("num_nonnulls", MANY, Gives::Always(DataType::Int32), |arguments| {
            Ok(count_nulls(arguments, false))
        }),
        of_any("md5", (1, 1), TEXT, |arguments| {
            let bytes = bytes(arguments, 0)?;
            arguments.text_of_each(|row| Ok(Some(hex(&Md5::digest(bytes.value(row))))))
        }),
        of_any("sha224", (1, 1), BYTES, |arguments| {
            hashed(arguments, |b| Sha224::digest(b).to_vec())
        }),
        of_any("sha256", (1, 1), BYTES, |arguments| {
            hashed(arguments, |b| Sha256::digest(b).to_vec())
        }),
        of_any("sha384", (1, 1), BYTES, |arguments| {
            hashed(arguments, |b| Sha384::digest(b).to_vec())
        }),
        of_any("sha512", (1, 1), BYTES, |arguments| {
            hashed(arguments, |b| Sha512::digest(b).to_vec())
        }),
        of_any("convert_to", (2, 2), BYTES, |arguments| {
            let encodings = arguments.texts(1)?;
            encodings.iter().flatten().try_for_each(check_encoding)?;
            hashed(arguments, <[u8]>::to_vec)
        }),
        of_any("convert_from", (2, 2), TEXT, convert_from),
        of_any("encode", (2, 2), TEXT, encode),
        of_any("decode", (2, 2), BYTES, decode),
        of_any("uuid", (1, 1), Gives::Logical("uuid"), uuid),
        of_any("varchar", (2, 2), TEXT, |arguments| cut(arguments, false)),
        of_any("bpchar", (2, 2), TEXT, |arguments| cut(arguments, true)),
        of_any("starts_with", (2, 2), TRUTH, |arguments| {
            let (texts, starts) = (arguments.texts(0)?, arguments.texts(1)?);
            arguments.truth_of_each(|row| Ok(Some(texts.value(row).starts_with(starts.value(row)))))
        }),
    ]
}

/// Text of any length as `text`.
pub(crate) fn text_of() -> ScalarUDF {
    of_any("text", (1, 1), TEXT, |arguments| arguments.cast(0, &DataType::Utf8))
}

/// Values as PostgreSQL's output functions write them: booleans are a letter.
pub(super) fn shown(arguments: &Arguments, at: usize) -> PlanResult<StringArray> {
    let array = arguments.array(at);
    if *array.data_type() == DataType::Boolean {
        let letters = array.as_boolean().iter().map(|truth| Some(if truth? { "t" } else { "f" }));
        return Ok(letters.collect());
    }
    match array.data_type() {
        DataType::Null => Ok(StringArray::new_null(array.len())),
        DataType::Utf8 => Ok(array.as_string::<i32>().clone()),
        _ => Ok(written(array, arguments.field(at)).as_string::<i32>().clone()),
    }
}

/// Another case, letter by letter: one that has no single other letter stays, as `ß`.
fn recased<I: Iterator<Item = char>>(
    arguments: &Arguments,
    case: fn(char) -> I,
) -> PlanResult<ArrayRef> {
    if !arguments.is_text(0) {
        return takes_no(arguments.gives_field().name(), arguments.array(0).data_type());
    }
    let texts = arguments.texts(0)?;
    let letter = |letter: char| {
        let mut other = case(letter);
        match (other.next(), other.next()) {
            (Some(one), None) => one,
            _ => letter,
        }
    };
    arguments.text_of_each(|row| Ok(Some(texts.value(row).chars().map(letter).collect())))
}

/// The values that are not NULL, one behind the other.
fn concat(arguments: &Arguments, separators: Option<&StringArray>) -> PlanResult<ArrayRef> {
    let first = usize::from(separators.is_some());
    let texts = (first..arguments.count()).map(|at| shown(arguments, at));
    let texts = texts.collect::<PlanResult<Vec<_>>>()?;
    let rows = (0..arguments.rows()).map(|row| {
        let separator = match separators {
            Some(separators) if separators.is_null(row) => return None,
            Some(separators) => separators.value(row),
            None => "",
        };
        let there = texts.iter().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
        Some(there.collect::<Vec<_>>().join(separator))
    });
    Ok(Arc::new(rows.collect::<StringArray>()))
}

fn quoted_name(name: &str) -> String {
    let first = name.chars().next();
    let plain = first.is_some_and(|first| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    const RESERVED: [&str; 24] = [
        "all", "and", "any", "as", "asc", "case", "cast", "check", "column", "create", "desc",
        "do", "else", "end", "from", "group", "in", "not", "null", "order", "select", "table",
        "user", "where",
    ];
    if plain && !RESERVED.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn quoted(text: &str) -> String {
    let inner = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", inner.replace('\\', "\\\\")).trim_start().to_owned()
    } else {
        format!("'{inner}'")
    }
}

/// `format`: `%s`, `%I` and `%L`, with places (`%2$s`) and widths (`%-10s`).
fn format(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let patterns = arguments.texts(0)?;
    let texts = (1..arguments.count()).map(|at| shown(arguments, at));
    let texts = texts.collect::<PlanResult<Vec<_>>>()?;
    let rows = (0..arguments.rows()).map(|row| {
        if patterns.is_null(row) {
            return Ok(None);
        }
        let values: Vec<Option<&str>> =
            texts.iter().map(|texts| texts.is_valid(row).then(|| texts.value(row))).collect();
        formatted(patterns.value(row), &values).map(Some)
    });
    Ok(Arc::new(rows.collect::<PlanResult<StringArray>>()?))
}

fn formatted(pattern: &str, values: &[Option<&str>]) -> PlanResult<String> {
    let mut out = String::new();
    let mut letters = pattern.chars().peekable();
    let mut next = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        if letters.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let number = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok()
        };
        let mut width = number(&mut letters);
        if letters.next_if_eq(&'$').is_some() {
            let Some(place) = width.and_then(|place| place.checked_sub(1)) else {
                return fails("format specifies argument 0, but arguments are numbered from 1");
            };
            next = place;
            width = None;
        }
        let left = letters.next_if_eq(&'-').is_some();
        let width = width.or_else(|| number(&mut letters)).unwrap_or(0);
        let kind = letters.next();
        let Some(value) = values.get(next) else { return fails("too few arguments for format()") };
        next += 1;
        let text = match (kind, value) {
            (Some('s'), value) => value.unwrap_or_default().to_owned(),
            (Some('I'), Some(value)) => quoted_name(value),
            (Some('I'), None) => {
                return fails("null values cannot be formatted as an SQL identifier");
            }
            (Some('L'), value) => value.map_or_else(|| "NULL".to_owned(), quoted),
            _ => return fails("unrecognized format() type specifier"),
        };
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        match left {
            true => out.extend([text, padding]),
            false => out.extend([padding, text]),
        }
    }
    Ok(out)
}

/// A pattern of LIKE with another escape becomes one with backslashes.
fn like_escape(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (patterns, escapes) = (arguments.texts(0)?, arguments.texts(1)?);
    arguments.text_of_each(|row| {
        let mut escape = escapes.value(row).chars();
        let (escape, more) = (escape.next(), escape.next());
        if more.is_some() {
            return fails("an escape is one letter, or none");
        }
        let mut out = String::new();
        let mut letters = patterns.value(row).chars();
        while let Some(letter) = letters.next() {
            if Some(letter) == escape {
                let Some(escaped) = letters.next() else {
                    return fails("LIKE pattern must not end with escape character");
                };
                out.extend(['\\', escaped]);
            } else if letter == '\\' {
                out.push_str("\\\\");
            } else {
                out.push(letter);
            }
        }
        Ok(Some(out))
    })
}

fn count_nulls(arguments: &Arguments, nulls: bool) -> ArrayRef {
    let count = |row: usize| {
        let is_null = |at: usize| {
            let array = arguments.array(at);
            *array.data_type() == DataType::Null || array.is_null(row)
        };
        let count = (0..arguments.count()).filter(|at| is_null(*at) == nulls).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    Arc::new((0..arguments.rows()).map(count).collect::<Int32Array>())
}

/// Bytes, or the bytes of a text.
fn bytes(arguments: &Arguments, at: usize) -> PlanResult<BinaryArray> {
    let array = arguments.array(at);
    let bytes = match array.data_type() {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Null => arrow::compute::cast(array, &DataType::Binary)?,
        other => return takes_no(arguments.gives_field().name(), other),
    };
    Ok(bytes.as_binary::<i32>().clone())
}

fn hashed(arguments: &Arguments, of: impl Fn(&[u8]) -> Vec<u8>) -> PlanResult<ArrayRef> {
    let bytes = bytes(arguments, 0)?;
    let hashes: Vec<Option<Vec<u8>>> = bytes.iter().map(|bytes| bytes.map(&of)).collect();
    Ok(Arc::new(hashes.iter().map(Option::as_deref).collect::<BinaryArray>()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_encoding(name: &str) -> PlanResult<()> {
    match name.to_ascii_lowercase().replace('-', "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => fails(format!("text is UTF-8 here, not {name}")),
    }
}

fn convert_from(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (bytes, encodings) = (bytes(arguments, 0)?, arguments.texts(1)?);
    arguments.text_of_each(|row| {
        check_encoding(encodings.value(row))?;
        match std::str::from_utf8(bytes.value(row)) {
            Ok(text) if !text.contains('\0') => Ok(Some(text.to_owned())),
            _ => fails("invalid byte sequence for encoding \"UTF8\""),
        }
    })
}

/// PostgreSQL breaks lines of base64 after 76 letters.
const LINE: usize = 76;

fn encode(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (bytes, forms) = (bytes(arguments, 0)?, arguments.texts(1)?);
    arguments.text_of_each(|row| {
        let bytes = bytes.value(row);
        Ok(Some(match forms.value(row).to_ascii_lowercase().as_str() {
            "hex" => hex(bytes),
            "base64" => {
                let text = STANDARD.encode(bytes);
                let lines = text.as_bytes().chunks(LINE).map(String::from_utf8_lossy);
                lines.collect::<Vec<_>>().join("\n")
            }
            "escape" => escaped(bytes),
            other => return fails(format!("unrecognized encoding: \"{other}\"")),
        }))
    })
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0 | 128.. => out.push_str(&format!("\\{byte:03o}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

fn decode(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (texts, forms) = (arguments.texts(0)?, arguments.texts(1)?);
    let decoded = (0..arguments.rows()).map(|row| {
        if texts.is_null(row) || forms.is_null(row) {
            return Ok(None);
        }
        decoded(texts.value(row), forms.value(row)).map(Some)
    });
    let decoded = decoded.collect::<PlanResult<Vec<_>>>()?;
    Ok(Arc::new(decoded.iter().map(Option::as_deref).collect::<BinaryArray>()))
}

fn decoded(text: &str, form: &str) -> PlanResult<Vec<u8>> {
    let bare: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    match form.to_ascii_lowercase().as_str() {
        "hex" => {
            let read = change::read::parse_bytea(&format!("\\x{bare}"));
            read.map_err(|error| DataFusionError::Execution(error.to_string()))
        }
        "base64" => {
            let loose = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
            let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, loose);
            engine.decode(bare).map_err(|error| DataFusionError::Execution(error.to_string()))
        }
        "escape" => {
            let field = Field::new("text", DataType::Utf8, true);
            let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
            let bytes = crate::casts::cast_array(&array, &field, &DataType::Binary)?;
            Ok(bytes.as_binary::<i32>().value(0).to_vec())
        }
        other => fails(format!("unrecognized encoding: \"{other}\"")),
    }
}

fn uuid(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let texts = arguments.texts(0)?;
    arguments.text_of_each(|row| {
        let read = change::read::parse_uuid(texts.value(row).trim_ascii());
        read.map(Some).map_err(|error| DataFusionError::Execution(error.to_string()))
    })
}

/// Casts to `varchar(n)` and `char(n)`: letters behind the last are cut off; the latter is filled up with blanks.
fn cut(arguments: &Arguments, filled: bool) -> PlanResult<ArrayRef> {
    let (texts, lengths) = (shown_in_full(arguments)?, arguments.integers(1)?);
    arguments.text_of_each(|row| {
        let length = usize::try_from(lengths.value(row)).unwrap_or(0);
        let text: String = texts.value(row).chars().take(length).collect();
        // Blanks at the end of a `char` say nothing, and are gone when it becomes text.
        Ok(Some(if filled { text.trim_end_matches(' ').to_owned() } else { text }))
    })
}

fn shown_in_full(arguments: &Arguments) -> PlanResult<StringArray> {
    arguments.texts(0)
}
