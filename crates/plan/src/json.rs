//! PostgreSQL's operators on JSON: `->`, `->>`, `#>`, `#>>`, `@>`, `<@` and `?`, over text that holds JSON.
//!
//! Numbers keep their digits. What is no JSON is an error of the row, as it is in PostgreSQL.

#![allow(clippy::wildcard_enum_match_arm, reason = "the operators are sqlparser's")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use change::{logical_type, with_logical_type};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use serde_json::{Number, Value};

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    /// `->` and `->>`: a field or an element; as text or as JSON.
    Get { text: bool },
    /// `#>` and `#>>`: what is at the end of a path.
    Path { text: bool },
    /// `@>`: whether the left holds the right.
    Contains,
    /// `<@`: whether the right holds the left.
    Contained,
    /// `?`: whether a text is a field or an element.
    Has,
}

const OPERATIONS: [(&str, Operation); 7] = [
    ("json_get", Operation::Get { text: false }),
    ("json_get_text", Operation::Get { text: true }),
    ("json_get_path", Operation::Path { text: false }),
    ("json_get_path_text", Operation::Path { text: true }),
    ("json_contains", Operation::Contains),
    ("json_contained", Operation::Contained),
    ("json_has", Operation::Has),
];

/// The functions behind the operators.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    OPERATIONS
        .iter()
        .map(|(name, operation)| ScalarUDF::from(Json::new(name, *operation)))
        .collect()
}

/// Plans the operators as calls of these functions, where the left side is text.
#[derive(Debug)]
pub(crate) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> PlanResult<PlannerResult<RawBinaryExpr>> {
        if let Some(planned) = changing(&expr, schema)? {
            return Ok(PlannerResult::Planned(planned));
        }
        let operation = match &expr.op {
            BinaryOperator::Arrow => Operation::Get { text: false },
            BinaryOperator::LongArrow => Operation::Get { text: true },
            BinaryOperator::HashArrow => Operation::Path { text: false },
            BinaryOperator::HashLongArrow => Operation::Path { text: true },
            BinaryOperator::AtArrow => Operation::Contains,
            BinaryOperator::ArrowAt => Operation::Contained,
            BinaryOperator::Question => Operation::Has,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let is_text = matches!(expr.left.get_type(schema)?, DataType::Utf8 | DataType::LargeUtf8);
        let function = OPERATIONS.iter().find(|(_, known)| *known == operation);
        match function.filter(|_| is_text) {
            Some((name, operation)) => {
                let function = ScalarUDF::from(Json::new(name, *operation));
                Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
            }
            None => Ok(PlannerResult::Original(expr)),
        }
    }
}

/// The operators of `jsonb` that text has as well, or that take lists: `||`, `-`, `#-`, `?|` and `?&`.
fn changing(expr: &RawBinaryExpr, schema: &DFSchema) -> PlanResult<Option<Expr>> {
    let name = match &expr.op {
        BinaryOperator::StringConcat => "jsonb_concat",
        BinaryOperator::Minus => "jsonb_delete",
        BinaryOperator::HashMinus => "jsonb_delete_path",
        BinaryOperator::QuestionPipe => "jsonb_exists_any",
        BinaryOperator::QuestionAnd => "jsonb_exists_all",
        _ => return Ok(None),
    };
    let is_document = |side: &Expr| {
        let field = side.to_field(schema).map(|(_, field)| field);
        field.is_ok_and(|field| matches!(logical_type(&field), Some("json" | "jsonb")))
    };
    let both = name == "jsonb_concat" && is_document(&expr.right);
    if !is_document(&expr.left) && !both {
        return Ok(None);
    }
    let function = crate::functions::documents::changing(name);
    Ok(Some(function.call(vec![expr.left.clone(), expr.right.clone()])))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Json {
    name: &'static str,
    operation: Operation,
    signature: Signature,
}

impl Json {
    fn new(name: &'static str, operation: Operation) -> Self {
        Self { name, operation, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Json {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> PlanResult<DataType> {
        Ok(match self.operation {
            Operation::Get { .. } | Operation::Path { .. } => DataType::Utf8,
            Operation::Contains | Operation::Contained | Operation::Has => DataType::Boolean,
        })
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        let types: Vec<DataType> =
            arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = Field::new(self.name, self.return_type(&types)?, true);
        let document = matches!(
            self.operation,
            Operation::Get { text: false } | Operation::Path { text: false }
        );
        // A part of a document is a document of the same kind.
        let logical = logical_type(&arguments.arg_fields[0]).filter(|_| document);
        Ok(Arc::new(match logical {
            Some(logical @ ("json" | "jsonb")) => with_logical_type(field, logical),
            Some(_) | None => field,
        }))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let left = cast(&arrays[0], &DataType::Utf8)?;
        let left = left.as_string::<i32>();
        let right = &arrays[1];
        let binary = logical_type(&arguments.arg_fields[0]) == Some("jsonb");
        let result: ArrayRef = match self.operation {
            Operation::Get { text } => Arc::new(gotten(left, &steps_of(right)?, (text, binary))?),
            Operation::Path { text } => Arc::new(gotten(left, &paths_of(right)?, (text, binary))?),
            Operation::Contains => Arc::new(compared(left, right, contains)?),
            Operation::Contained => {
                Arc::new(compared(left, right, |one, other| contains(other, one))?)
            }
            Operation::Has => Arc::new(having(left, right)?),
        };
        Ok(ColumnarValue::Array(result))
    }
}

/// A step into a document: the name of a field or the place of an element.
pub(crate) enum Step {
    Field(String),
    Element(i64),
}

/// A path of one step for each row; none where it is NULL.
fn steps_of(keys: &ArrayRef) -> PlanResult<Vec<Option<Vec<Step>>>> {
    if keys.data_type().is_integer() {
        let keys = cast(keys, &DataType::Int64)?;
        let keys = keys.as_primitive::<Int64Type>();
        return Ok(keys.iter().map(|key| Some(vec![Step::Element(key?)])).collect());
    }
    let keys = cast(keys, &DataType::Utf8)?;
    let field = |key: Option<&str>| Some(vec![Step::Field(key?.to_owned())]);
    Ok(keys.as_string::<i32>().iter().map(field).collect())
}

/// The paths of `#>`: lists of texts, or texts such as `{a,0}`.
pub(crate) fn paths_of(paths: &ArrayRef) -> PlanResult<Vec<Option<Vec<Step>>>> {
    let step = |name: &str| Step::Field(name.to_owned());
    if let DataType::List(_) = paths.data_type() {
        let lists = paths.as_list::<i32>();
        let path = |list: Option<ArrayRef>| {
            let Some(list) = list else { return Ok(None) };
            let names = cast(&list, &DataType::Utf8)?;
            Ok(names.as_string::<i32>().iter().map(|name| name.map(step)).collect())
        };
        return lists.iter().map(path).collect();
    }
    let texts = cast(paths, &DataType::Utf8)?;
    let path = |text: Option<&str>| {
        let inner = text?.trim().strip_prefix('{')?.strip_suffix('}')?;
        let names = inner.split(',').filter(|name| !name.is_empty());
        Some(names.map(|name| step(name.trim().trim_matches('"'))).collect())
    };
    Ok(texts.as_string::<i32>().iter().map(path).collect())
}

/// A document as PostgreSQL writes `jsonb`: fields by the length of their names and then by their letters, one blank
/// behind each comma and colon, numbers without exponent.
pub(crate) fn normal(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
        Value::Number(number) => plain(number),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(normal).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| (name.len(), name.as_bytes()));
            let field = |(name, value): &(&String, &Value)| {
                format!("{}: {}", Value::String(String::clone(name)), normal(value))
            };
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A number without exponent.
fn plain(number: &Number) -> String {
    const PLACES_MAX: u64 = 1_000;
    let text = number.to_string();
    if !text.contains(['e', 'E']) {
        return if text == "-0" { "0".to_owned() } else { text };
    }
    let (negative, digits, exponent) = canonical(number);
    let sign = if negative { "-" } else { "" };
    let places = usize::try_from(exponent.unsigned_abs().min(PLACES_MAX)).unwrap_or_default();
    if digits.is_empty() {
        "0".to_owned()
    } else if exponent.unsigned_abs() > PLACES_MAX {
        text
    } else if exponent >= 0 {
        format!("{sign}{digits}{}", "0".repeat(places))
    } else {
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, part) = padded.split_at(padded.len() - places);
        format!("{sign}{whole}.{part}")
    }
}

pub(crate) fn parsed(text: &str) -> PlanResult<Value> {
    serde_json::from_str(text)
        .map_err(|error| DataFusionError::Execution(format!("this is not JSON: {error}")))
}

fn gotten(
    documents: &StringArray,
    paths: &[Option<Vec<Step>>],
    (text, binary): (bool, bool),
) -> PlanResult<StringArray> {
    let rows = documents.iter().zip(paths).map(|(document, path)| {
        let (Some(document), Some(path)) = (document, path) else { return Ok(None) };
        let document = parsed(document)?;
        let found = path.iter().try_fold(&document, |value, step| at(value, step));
        Ok(found.and_then(|found| match found {
            Value::Null if text => None,
            Value::String(string) if text => Some(string.clone()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => Some(if binary { normal(found) } else { found.to_string() }),
        }))
    });
    rows.collect::<PlanResult<_>>()
}

fn at<'v>(value: &'v Value, step: &Step) -> Option<&'v Value> {
    match (value, step) {
        (Value::Object(fields), Step::Field(name)) => fields.get(name),
        (Value::Array(elements), Step::Field(place)) => element(elements, place.parse().ok()?),
        (Value::Array(elements), Step::Element(place)) => element(elements, *place),
        _ => None,
    }
}

/// An element by its place from 0, or from the end when negative.
fn element(elements: &[Value], place: i64) -> Option<&Value> {
    let count = i64::try_from(elements.len()).ok()?;
    let place = if place < 0 { count.checked_add(place)? } else { place };
    elements.get(usize::try_from(place).ok()?)
}

fn compared(
    lefts: &StringArray,
    rights: &ArrayRef,
    holds: impl Fn(&Value, &Value) -> bool,
) -> PlanResult<BooleanArray> {
    let rights = cast(rights, &DataType::Utf8)?;
    let rows = lefts.iter().zip(rights.as_string::<i32>()).map(|(left, right)| {
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        Ok(Some(holds(&parsed(left)?, &parsed(right)?)))
    });
    rows.collect::<PlanResult<_>>()
}

fn having(documents: &StringArray, names: &ArrayRef) -> PlanResult<BooleanArray> {
    let names = cast(names, &DataType::Utf8)?;
    let rows = documents.iter().zip(names.as_string::<i32>()).map(|(document, name)| {
        let (Some(document), Some(name)) = (document, name) else { return Ok(None) };
        let is_name = |value: &Value| value.as_str() == Some(name);
        Ok(Some(match parsed(document)? {
            Value::Object(fields) => fields.contains_key(name),
            Value::Array(elements) => elements.iter().any(is_name),
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                is_name(&value)
            }
        }))
    });
    rows.collect::<PlanResult<_>>()
}

/// Whether a document holds another, as jsonb's `@>` says: a list also holds a single value that is in it.
fn contains(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(elements), Value::Array(_) | Value::Object(_)) => within(elements, right),
        (Value::Array(elements), _) => elements.iter().any(|element| holds(element, right)),
        _ => holds(left, right),
    }
}

fn within(elements: &[Value], right: &Value) -> bool {
    match right {
        Value::Array(wanted) => {
            wanted.iter().all(|wanted| elements.iter().any(|element| holds(element, wanted)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            false
        }
    }
}

fn holds(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(fields), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| fields.get(name).is_some_and(|found| holds(found, value))),
        (Value::Array(elements), Value::Array(_)) => within(elements, right),
        (Value::Number(left), Value::Number(right)) => canonical(left) == canonical(right),
        (left, right) => left == right,
    }
}

/// A number as its sign, its digits without zeros at the ends, and the power of ten of the last one.
fn canonical(number: &Number) -> (bool, String, i64) {
    let text = number.to_string().to_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    let kept = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - kept.len()).unwrap_or_default();
    let behind = i64::try_from(part.len()).unwrap_or_default();
    let digits = kept.trim_start_matches('0').to_owned();
    if digits.is_empty() {
        return (false, digits, 0);
    }
    let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or_default();
    (negative, digits, exponent.saturating_sub(behind).saturating_add(dropped))
}
