//! Columns as a script declares them: `id bigint, name text, price numeric(12,2), at timestamptz, tags text[]`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use change::with_logical_type;

use crate::options::{most_similar, wrong};
use crate::{SourceError, text};

/// The precision and scale of a numeric that says neither.
pub(crate) const NUMERIC: DataType = DataType::Decimal256(76, 18);

const TYPES: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "text",
    "bytea",
    "uuid",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "json",
    "jsonb",
];

/// Reads a declaration of columns.
///
/// # Errors
/// When it is malformed, names a type that is not known, or a column twice.
pub(crate) fn parse_columns(declaration: &str) -> Result<Vec<Field>, SourceError> {
    let mut fields: Vec<Field> = Vec::new();
    for part in split_outside(declaration, ',') {
        let (name, type_name) = split_name(part.trim())?;
        if fields.iter().any(|field| *field.name() == name) {
            return Err(wrong("columns", format!("column {name} is declared twice"), None));
        }
        fields.push(field(&name, type_name)?);
    }
    Ok(fields)
}

/// Splits at separators that are in neither parentheses nor double quotes.
fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    let mut parts = Vec::new();
    for (at, char) in text.char_indices() {
        match char {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ if char == separator && depth == 0 && !quoted => {
                parts.push(&text[start..at]);
                start = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Splits `name type` and `"quoted name" type`.
fn split_name(part: &str) -> Result<(String, &str), SourceError> {
    let error = || {
        let help = "write columns = 'id bigint, name text, price numeric(12,2)'".to_owned();
        let reason = format!("{} is not a name and a type", text::Quoted(part));
        wrong("columns", reason, Some(help))
    };
    if let Some(rest) = part.strip_prefix('"') {
        let mut end = rest.find('"').ok_or_else(error)?;
        while rest[end + 1..].starts_with('"') {
            end += 2 + rest[end + 2..].find('"').ok_or_else(error)?;
        }
        return Ok((rest[..end].replace("\"\"", "\""), rest[end + 1..].trim()));
    }
    let (name, type_name) = part.split_once(char::is_whitespace).ok_or_else(error)?;
    Ok((name.to_lowercase(), type_name.trim()))
}

/// Makes a column of a PostgreSQL type.
fn field(name: &str, type_name: &str) -> Result<Field, SourceError> {
    let words = type_name.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let (base, is_array) = match words.strip_suffix("[]") {
        Some(base) => (base.trim_end(), true),
        None => (words.as_str(), false),
    };
    let (data_type, logical) = data_type(base).map_err(|reason| {
        let help = most_similar(base, TYPES.iter().copied()).map_or_else(
            || format!("known types are {}", TYPES.join(", ")),
            |similar| format!("did you mean {similar}?"),
        );
        wrong("columns", format!("column {name}: {reason}"), Some(help))
    })?;
    let typed = |name: &str, data_type| {
        let field = Field::new(name, data_type, true);
        match logical {
            Some(logical) => with_logical_type(field, logical),
            None => field,
        }
    };
    if is_array {
        let item = Arc::new(typed("item", data_type));
        return Ok(Field::new(name, DataType::List(item), true));
    }
    Ok(typed(name, data_type))
}

fn data_type(type_name: &str) -> Result<(DataType, Option<&'static str>), String> {
    let (base, arguments) = match type_name.split_once('(') {
        Some((base, rest)) => {
            let (arguments, after) = rest.split_once(')').ok_or("a parenthesis is not closed")?;
            (format!("{}{after}", base.trim_end()), Some(arguments))
        }
        None => (type_name.to_owned(), None),
    };
    let plain = |data_type| Ok((data_type, None));
    let timestamp = |zone: Option<&str>| {
        plain(DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)))
    };
    match base.as_str() {
        "boolean" | "bool" => plain(DataType::Boolean),
        "smallint" | "int2" => plain(DataType::Int16),
        "integer" | "int" | "int4" => plain(DataType::Int32),
        "bigint" | "int8" => plain(DataType::Int64),
        "real" | "float4" => plain(DataType::Float32),
        "double precision" | "float8" | "float" | "double" => plain(DataType::Float64),
        "numeric" | "decimal" => match arguments {
            Some(arguments) => plain(decimal_type(arguments)?),
            None => Ok((NUMERIC, Some("numeric"))),
        },
        "text" | "string" | "varchar" | "character varying" => plain(DataType::Utf8),
        "bytea" => plain(DataType::Binary),
        "uuid" => Ok((DataType::Utf8, Some("uuid"))),
        "json" => Ok((DataType::Utf8, Some("json"))),
        "jsonb" => Ok((DataType::Utf8, Some("jsonb"))),
        "date" => plain(DataType::Date32),
        "time" | "time without time zone" => plain(DataType::Time64(TimeUnit::Microsecond)),
        "timestamp" | "timestamp without time zone" => timestamp(None),
        "timestamptz" | "timestamp with time zone" => timestamp(Some("UTC")),
        _ => Err(format!("there is no type {type_name}")),
    }
}

/// `12,2` or `12`.
fn decimal_type(arguments: &str) -> Result<DataType, String> {
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    let precision: u8 = precision
        .trim()
        .parse()
        .map_err(|_not_a_number| format!("numeric({arguments}) is not a type"))?;
    let scale: i8 = scale
        .trim()
        .parse()
        .map_err(|_not_a_number| format!("numeric({arguments}) is not a type"))?;
    let fits = u8::try_from(scale).is_ok_and(|scale| scale <= precision);
    match precision {
        1..=38 if fits => Ok(DataType::Decimal128(precision, scale)),
        39..=76 if fits => Ok(DataType::Decimal256(precision, scale)),
        _ => Err(format!("numeric({arguments}) needs 1 to 76 digits, of which the second number")),
    }
}

#[cfg(test)]
mod tests;
