//! Functions of JSON. The operators are in [`json`](crate::json).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::ScalarUDF;
use serde_json::Value;

use super::define::{Arguments, Gives, fails, of_any};
use crate::json::{Step, normal, parsed, paths_of};

/// The functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    let number = || Gives::Always(DataType::Int32);
    let text = || Gives::Always(DataType::Utf8);
    vec![
        of_any("json", (1, 1), Gives::Logical("json"), |arguments| {
            let texts = arguments.texts(0)?;
            arguments.text_of_each(|row| {
                parsed(texts.value(row))?;
                Ok(Some(texts.value(row).to_owned()))
            })
        }),
        of_any("jsonb", (1, 1), Gives::Logical("jsonb"), |arguments| {
            each(arguments, |value| Ok(Some(normal(value))))
        }),
        of_any("json_typeof", (1, 1), text(), type_of),
        of_any("jsonb_typeof", (1, 1), text(), type_of),
        of_any("json_array_length", (1, 1), number(), length),
        of_any("jsonb_array_length", (1, 1), number(), length),
        of_any("json_extract_path_text", (1, usize::MAX), text(), path_text),
        of_any("jsonb_extract_path_text", (1, usize::MAX), text(), path_text),
    ]
}

/// The function behind an operator that changes a document, or asks for several names.
pub(crate) fn changing(name: &'static str) -> ScalarUDF {
    let document = || Gives::Logical("jsonb");
    let truth = || Gives::Always(DataType::Boolean);
    match name {
        "jsonb_concat" => of_any("jsonb_concat", (2, 2), document(), |arguments| {
            let (lefts, rights) = (arguments.texts(0)?, arguments.texts(1)?);
            arguments.text_of_each(|row| {
                let (left, right) = (parsed(lefts.value(row))?, parsed(rights.value(row))?);
                Ok(Some(normal(&joined(left, right))))
            })
        }),
        "jsonb_delete" => of_any("jsonb_delete", (2, 2), document(), |arguments| {
            let places = arguments.array(1).data_type().is_integer();
            let (texts, names) = (arguments.texts(0)?, arguments.texts(1)?);
            arguments.text_of_each(|row| {
                let mut value = parsed(texts.value(row))?;
                if places && value.is_object() {
                    return fails("cannot delete from object using integer index");
                }
                without(&mut value, names.value(row), places)?;
                Ok(Some(normal(&value)))
            })
        }),
        "jsonb_delete_path" => of_any("jsonb_delete_path", (2, 2), document(), |arguments| {
            let (texts, paths) = (arguments.texts(0)?, paths_of(arguments.array(1))?);
            arguments.text_of_each(|row| {
                let mut value = parsed(texts.value(row))?;
                if let Some(path) = &paths[row] {
                    without_path(&mut value, path)?;
                }
                Ok(Some(normal(&value)))
            })
        }),
        "jsonb_exists_any" => of_any("jsonb_exists_any", (2, 2), truth(), |arguments| {
            named(arguments, |names, has| names.iter().any(|name| has(name)))
        }),
        _ => of_any("jsonb_exists_all", (2, 2), truth(), |arguments| {
            named(arguments, |names, has| names.iter().all(|name| has(name)))
        }),
    }
}

/// `||`: the fields of both, or the elements of both; what is neither is a list of one.
fn joined(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Object(mut left), Value::Object(right)) => {
            left.extend(right);
            Value::Object(left)
        }
        (left, right) => {
            let list = |value: Value| match value {
                Value::Array(elements) => elements,
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_)) => vec![other],
            };
            Value::Array(list(left).into_iter().chain(list(right)).collect())
        }
    }
}

/// Takes a field, the elements of that text, or the element at a place away.
fn without(value: &mut Value, name: &str, is_place: bool) -> PlanResult<()> {
    match value {
        Value::Object(fields) => drop(fields.shift_remove(name)),
        Value::Array(elements) if is_place => {
            if let Some(place) = place_of(name, elements.len()) {
                elements.remove(place);
            }
        }
        Value::Array(elements) => elements.retain(|element| element.as_str() != Some(name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return fails("cannot delete from scalar");
        }
    }
    Ok(())
}

/// The place of an element, counted from the end when it is negative.
fn place_of(text: &str, count: usize) -> Option<usize> {
    let place: i64 = text.parse().ok()?;
    let from_end = i64::try_from(count).ok()?.checked_add(place)?;
    let place = usize::try_from(if place < 0 { from_end } else { place }).ok()?;
    (place < count).then_some(place)
}

fn without_path(value: &mut Value, path: &[Step]) -> PlanResult<()> {
    if !value.is_object() && !value.is_array() {
        return fails("cannot delete path in scalar");
    }
    let name = |step: &Step| match step {
        Step::Field(name) => name.clone(),
        Step::Element(place) => place.to_string(),
    };
    let Some((last, before)) = path.split_last() else { return Ok(()) };
    let mut at = value;
    for step in before {
        let name = name(step);
        let next = match at {
            Value::Object(fields) => fields.get_mut(&name),
            Value::Array(elements) => {
                check_place(&name)?;
                let place = place_of(&name, elements.len());
                place.and_then(|place| elements.get_mut(place))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        let Some(next) = next else { return Ok(()) };
        at = next;
    }
    if at.is_object() || at.is_array() {
        let is_list = at.is_array();
        if is_list {
            check_place(&name(last))?;
        }
        without(at, &name(last), is_list)?;
    }
    Ok(())
}

fn check_place(name: &str) -> PlanResult<()> {
    match name.parse::<i64>() {
        Ok(_place) => Ok(()),
        Err(_name) => fails(format!("path element is not an integer: \"{name}\"")),
    }
}

/// Asks whether names are fields of a document, or texts in its list.
fn named(
    arguments: &Arguments,
    of: impl Fn(&[String], &dyn Fn(&str) -> bool) -> bool,
) -> PlanResult<ArrayRef> {
    let (texts, paths) = (arguments.texts(0)?, paths_of(arguments.array(1))?);
    arguments.truth_of_each(|row| {
        let value = parsed(texts.value(row))?;
        let has = |name: &str| match &value {
            Value::Object(fields) => fields.contains_key(name),
            Value::Array(elements) => elements.iter().any(|element| element.as_str() == Some(name)),
            Value::String(text) => text == name,
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        };
        let names: Vec<String> = paths[row]
            .iter()
            .flatten()
            .filter_map(|step| match step {
                Step::Field(name) => Some(name.clone()),
                Step::Element(_) => None,
            })
            .collect();
        Ok(Some(of(&names, &has)))
    })
}

fn each(
    arguments: &Arguments,
    of: impl Fn(&Value) -> PlanResult<Option<String>>,
) -> PlanResult<ArrayRef> {
    let texts = arguments.texts(0)?;
    arguments.text_of_each(|row| of(&parsed(texts.value(row))?))
}

fn type_of(arguments: &Arguments) -> PlanResult<ArrayRef> {
    each(arguments, |value| {
        let name = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Ok(Some(name.to_owned()))
    })
}

fn length(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let texts = arguments.texts(0)?;
    arguments.integer_of_each(|row| match parsed(texts.value(row))? {
        Value::Array(elements) => Ok(i64::try_from(elements.len()).ok()),
        Value::Object(_) => fails("cannot get array length of a non-array"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            fails("cannot get array length of a scalar")
        }
    })
}

fn path_text(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let texts = arguments.texts(0)?;
    let steps = (1..arguments.count()).map(|at| arguments.texts(at));
    let steps: Vec<StringArray> = steps.collect::<PlanResult<_>>()?;
    let binary = arguments.logical(0) == Some("jsonb");
    let found = |row: usize| {
        if texts.is_null(row) || steps.iter().any(|step| step.is_null(row)) {
            return Ok(None);
        }
        let document = parsed(texts.value(row))?;
        let at_end = steps.iter().try_fold(&document, |value, step| match value {
            Value::Object(fields) => fields.get(step.value(row)),
            Value::Array(elements) => {
                let place: i64 = step.value(row).parse().ok()?;
                let count = i64::try_from(elements.len()).ok()?;
                let place = if place < 0 { place + count } else { place };
                elements.get(usize::try_from(place).ok()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        });
        Ok(at_end.and_then(|value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Some(if binary { normal(value) } else { value.to_string() })
            }
        }))
    };
    Ok(Arc::new((0..arguments.rows()).map(found).collect::<PlanResult<StringArray>>()?))
}
