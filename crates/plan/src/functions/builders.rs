//! Functions that make JSON of values of any type, as PostgreSQL's `to_json` writes them.
//!
//! The aggregates of JSON are made of these and `string_agg`; see [`gathered`](crate::gathered).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use change::cell::{Column, Style, Values};
use change::order::ordered;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::ScalarUDF;

use super::define::{Arguments, Gives, fails, of_any};
use crate::gathered::KEYED_SEPARATOR;
use crate::json::{normal, parsed};

/// Any number of arguments.
const ANY: (usize, usize) = (0, usize::MAX);
/// What stands before a list or a row within the list of `json_agg`.
const NEW_LINE: &str = "\n ";

/// The functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    let json = || Gives::Logical("json");
    let jsonb = || Gives::Logical("jsonb");
    let text = || Gives::Always(DataType::Utf8);
    vec![
        of_any("to_json", (1, 1), json(), to_json),
        of_any("row_to_json", (1, 1), json(), to_json),
        of_any("array_to_json", (1, 1), json(), to_json),
        of_any("to_jsonb", (1, 1), jsonb(), |arguments| in_jsonb(&to_json(arguments)?)),
        of_any("json_build_object", ANY, json(), |arguments| object(arguments, BUILT)),
        of_any("jsonb_build_object", ANY, jsonb(), |arguments| {
            in_jsonb(&object(arguments, BUILT)?)
        }),
        of_any("json_build_array", ANY, json(), array),
        of_any("jsonb_build_array", ANY, jsonb(), |arguments| in_jsonb(&array(arguments)?)),
        // A row that is written out; a row of a table, of which nothing is there when all of it is NULL.
        of_any("json_record", ANY, json(), |arguments| object(arguments, ROW)),
        of_any("json_row", ANY, json(), row_of_table),
        // The parts of aggregates, and what becomes of them.
        of_any("json_element", (1, 1), text(), |arguments| elements(arguments, false)),
        of_any("json_row_element", (1, 1), text(), |arguments| elements(arguments, true)),
        of_any("jsonb_element", (1, 1), text(), |arguments| {
            in_jsonb(&texts(arguments, |row, out| columns(arguments)[0].write(row, out))?)
        }),
        of_any("json_pair", (2, 2), text(), pairs),
        of_any("json_keyed", (2, usize::MAX), text(), keyed),
        of_any("json_unkeyed", (1, 1), text(), |arguments| around(arguments, unkeyed)),
        of_any("json_list", (1, 1), json(), |arguments| {
            around(arguments, |list| format!("[{}]", list.strip_prefix(NEW_LINE).unwrap_or(list)))
        }),
        of_any("jsonb_list", (1, 1), jsonb(), |arguments| {
            around(arguments, |list| format!("[{list}]"))
        }),
        of_any("json_pairs", (1, 1), json(), |arguments| {
            around(arguments, |pairs| format!("{{ {pairs} }}"))
        }),
        of_any("jsonb_pairs", (1, 1), jsonb(), |arguments| {
            in_jsonb(&around(arguments, |pairs| format!("{{{pairs}}}"))?)
        }),
    ]
}

/// How an object is laid out: before a value, and between two.
type Layout = (&'static str, &'static str);
const BUILT: Layout = (" : ", ", ");
const ROW: Layout = (":", ",");

/// A column whose values become JSON.
struct Source(Column);

fn columns(arguments: &Arguments) -> Vec<Source> {
    let column = |at| Source(Column::new(arguments.field(at), arguments.array(at)));
    (0..arguments.count()).map(column).collect()
}

impl Source {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        write(&self.0, row, out);
    }

    /// The value as the name of a member.
    fn write_name(&self, row: usize, out: &mut Vec<u8>) -> PlanResult<()> {
        if self.0.is_null(row) {
            return fails("null value not allowed for object key");
        }
        if matches!(self.0.values, Values::List(..) | Values::Record(_) | Values::Json(_)) {
            return fails("key value must be scalar, not array, composite, or json");
        }
        let mut name = Vec::new();
        write(&self.0, row, &mut name);
        if name.first() == Some(&b'"') {
            out.extend_from_slice(&name);
        } else {
            write_string(&String::from_utf8_lossy(&name), out);
        }
        Ok(())
    }
}

/// Writes a value as JSON.
fn write(column: &Column, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    match &column.values {
        Values::Null
        | Values::Bool(_)
        | Values::Integer(_)
        | Values::Unsigned(_)
        | Values::Decimal(..)
        | Values::WideDecimal(..)
        | Values::Json(_) => column.write_text(row, out),
        Values::Float(values) if values.value(row).is_finite() => column.write_text(row, out),
        Values::Double(values) if values.value(row).is_finite() => column.write_text(row, out),
        Values::Timestamp(..) => {
            let mut text = Vec::new();
            column.write_scalar(row, Style::Postgres, &mut text);
            write_string(&iso(&String::from_utf8_lossy(&text)), out);
        }
        Values::Float(_)
        | Values::Double(_)
        | Values::Text(_)
        | Values::LargeText(_)
        | Values::Bytes(_)
        | Values::Date(_)
        | Values::Clock(..)
        | Values::Interval(_)
        | Values::Other(_) => {
            let mut text = Vec::new();
            column.write_text(row, &mut text);
            write_string(&String::from_utf8_lossy(&text), out);
        }
        Values::List(offsets, items) => {
            out.push(b'[');
            for item in offsets[row]..offsets[row + 1] {
                if item > offsets[row] {
                    out.push(b',');
                }
                write(items, item, out);
            }
            out.push(b']');
        }
        Values::Record(members) => {
            out.push(b'{');
            for (at, (name, member)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write(member, row, out);
            }
            out.push(b'}');
        }
    }
}

/// PostgreSQL's timestamp with a `T`, and a zone with minutes.
fn iso(text: &str) -> String {
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let zone = if text.ends_with("+00") { ":00" } else { "" };
    format!("{}{zone}{era}", text.replacen(' ', "T", 1))
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// A text for every row.
fn texts(arguments: &Arguments, mut of: impl FnMut(usize, &mut Vec<u8>)) -> PlanResult<ArrayRef> {
    some_texts(arguments, |row, out| {
        of(row, out);
        Ok(true)
    })
}

/// A text for every row for which there is one.
fn some_texts(
    arguments: &Arguments,
    mut of: impl FnMut(usize, &mut Vec<u8>) -> PlanResult<bool>,
) -> PlanResult<ArrayRef> {
    let mut out = Vec::new();
    let text = |row| {
        out.clear();
        let is_there = of(row, &mut out)?;
        Ok(is_there.then(|| String::from_utf8_lossy(&out).into_owned()))
    };
    let texts = (0..arguments.rows()).map(text).collect::<PlanResult<StringArray>>()?;
    Ok(Arc::new(texts))
}

/// Documents as `jsonb` keeps them.
fn in_jsonb(documents: &ArrayRef) -> PlanResult<ArrayRef> {
    let documents = documents
        .as_any()
        .downcast_ref::<StringArray>()
        .ok_or_else(|| DataFusionError::Internal("documents are text".to_owned()))?;
    let each = documents.iter().map(|text| text.map(|text| Ok(normal(&parsed(text)?))).transpose());
    Ok(Arc::new(each.collect::<PlanResult<StringArray>>()?))
}

fn to_json(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let columns = columns(arguments);
    some_texts(arguments, |row, out| {
        columns[0].write(row, out);
        Ok(!columns[0].0.is_null(row))
    })
}

fn object(arguments: &Arguments, (before, between): Layout) -> PlanResult<ArrayRef> {
    let columns = columns(arguments);
    let (pairs, []) = columns.as_chunks::<2>() else {
        return fails("an object is built of names and values, each behind the other");
    };
    some_texts(arguments, |row, out| {
        out.push(b'{');
        for (at, [name, value]) in pairs.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(between.as_bytes());
            }
            name.write_name(row, out)?;
            out.extend_from_slice(before.as_bytes());
            value.write(row, out);
        }
        out.push(b'}');
        Ok(true)
    })
}

/// A row of a table; of one that an outer join did not find, all is NULL.
fn row_of_table(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let columns = columns(arguments);
    let objects = object(arguments, ROW)?;
    let objects = objects.as_any().downcast_ref::<StringArray>().map(StringArray::iter);
    let is_there =
        |row: usize| columns.iter().skip(1).step_by(2).any(|value| !value.0.is_null(row));
    let rows = objects.into_iter().flatten().enumerate();
    Ok(Arc::new(rows.map(|(row, text)| text.filter(|_| is_there(row))).collect::<StringArray>()))
}

fn array(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let columns = columns(arguments);
    texts(arguments, |row, out| {
        out.push(b'[');
        for (at, value) in columns.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            value.write(row, out);
        }
        out.push(b']');
    })
}

/// The elements of `json_agg`: lists and rows stand on lines of their own.
fn elements(arguments: &Arguments, is_row: bool) -> PlanResult<ArrayRef> {
    let columns = columns(arguments);
    let is_long = is_row || matches!(columns[0].0.values, Values::List(..) | Values::Record(_));
    texts(arguments, |row, out| {
        if is_long && !columns[0].0.is_null(row) {
            out.extend_from_slice(NEW_LINE.as_bytes());
        }
        columns[0].write(row, out);
    })
}

fn pairs(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let columns = columns(arguments);
    some_texts(arguments, |row, out| {
        columns[0].write_name(row, out)?;
        out.extend_from_slice(b" : ");
        columns[1].write(row, out);
        Ok(true)
    })
}

/// An element behind its place in an order: the bytes that compare as its keys do, in hexadecimal digits.
fn keyed(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (elements, directions) = (arguments.texts(0)?, arguments.texts(1)?);
    if arguments.rows() == 0 {
        return Ok(Arc::new(StringArray::new_null(0)));
    }
    let direction = |at: usize| {
        let written = directions.value(0).as_bytes();
        SortOptions {
            descending: written[2 * at] == b'd',
            nulls_first: written[2 * at + 1] == b'f',
        }
    };
    let keys = (2..arguments.count()).map(|at| ordered(arguments.array(at)));
    let keys: Vec<ArrayRef> = keys.collect();
    let fields = keys.iter().enumerate();
    let fields =
        fields.map(|(at, key)| SortField::new_with_options(key.data_type().clone(), direction(at)));
    let places = RowConverter::new(fields.collect())?.convert_columns(&keys)?;
    texts(arguments, |row, out| {
        for byte in places.row(row).as_ref() {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        out.push(b' ');
        out.extend_from_slice(elements.value(row).as_bytes());
    })
}

/// Elements that are in their order, without their places in it.
fn unkeyed(list: &str) -> String {
    let elements = list.split(KEYED_SEPARATOR);
    let elements = elements.map(|keyed| keyed.split_once(' ').map_or(keyed, |(_, text)| text));
    elements.collect::<Vec<_>>().join(", ")
}

fn around(arguments: &Arguments, of: impl Fn(&str) -> String) -> PlanResult<ArrayRef> {
    let parts = arguments.texts(0)?;
    Ok(Arc::new(parts.iter().map(|part| part.map(&of)).collect::<StringArray>()))
}
