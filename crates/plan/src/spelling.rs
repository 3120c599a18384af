//! What PostgreSQL writes as syntax and DataFusion lacks, or means otherwise, becomes calls of functions.
//!
//! `a ^ b`, `~ n`, `x similar to p`, `t ~ p`, `at time zone`, `extract`, subscripts, `overlaps`, and casts to types that
//! Arrow does not tell apart. Intervals are read here, so that all of PostgreSQL's forms can be written.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::ControlFlow;

use change::read::parse_interval;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CharacterLength, DataType, ExactNumberInfo, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    Interval, ObjectName, Query, Statement, Subscript, TypedString, UnaryOperator, Value,
    ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::gathered::{gathered, write_rows_out};

/// An unconstrained numeric: the digits that sources keep of one.
const NUMERIC: (u64, i64) = (76, 18);

/// Writes all expressions of a query as DataFusion takes them.
pub(crate) fn respell_query(query: &mut Query) {
    let ControlFlow::Continue(()) = query.visit(&mut Respell);
}

/// Writes all expressions of a statement as DataFusion takes them.
pub(crate) fn respell_statement(statement: &mut Statement) {
    let ControlFlow::Continue(()) = statement.visit(&mut Respell);
}

struct Respell;

impl VisitorMut for Respell {
    type Break = std::convert::Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        respell(expr);
        ControlFlow::Continue(())
    }
}

/// Calls a function by name.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter();
    let args = args.map(|value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

pub(crate) fn text(value: &str) -> Expr {
    literal(Value::SingleQuotedString(value.to_owned()))
}

fn number(value: impl ToString) -> Expr {
    literal(Value::Number(value.to_string(), false))
}

fn literal(value: Value) -> Expr {
    Expr::Value(ValueWithSpan { value, span: Span::empty() })
}

fn negated(negated: bool, expr: Expr) -> Expr {
    if !negated {
        return expr;
    }
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(expr))) }
}

/// Takes an expression out, to be put into another.
fn taken(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, literal(Value::Null))
}

/// Writes one expression, whose parts are written already.
pub(crate) fn respell(expr: &mut Expr) {
    let spelled = match expr {
        Expr::BinaryOp { left, op, right } => operator(left, op, right),
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. }
            if !matches!(**right, Expr::Subquery(_)) =>
        {
            Some(call("array_has_equal", vec![taken(right), taken(left)]))
        }
        Expr::UnaryOp { op, expr } => match op {
            UnaryOperator::BitwiseNot => Some(call("bitwise_not", vec![taken(expr)])),
            UnaryOperator::PGAbs => Some(call("abs", vec![taken(expr)])),
            UnaryOperator::PGSquareRoot => Some(call("sqrt", vec![taken(expr)])),
            UnaryOperator::PGCubeRoot => Some(call("cbrt", vec![taken(expr)])),
            _ => None,
        },
        Expr::SimilarTo { negated: not, expr, pattern, escape_char } => {
            let mut arguments = vec![taken(expr), taken(pattern)];
            arguments.extend(escape_char.take().map(Expr::Value));
            Some(negated(*not, call("similar_to", arguments)))
        }
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            if let Some(escape) = escape_char.take() {
                **pattern = call("like_escape", vec![taken(pattern), Expr::Value(escape)]);
            }
            None
        }
        Expr::Collate { expr, collation } => {
            let name = collation.to_string().to_lowercase();
            let bytes = ["\"c\"", "\"posix\"", "\"default\"", "\"ucs_basic\"", "c", "ucs_basic"];
            bytes.contains(&name.as_str()).then(|| taken(expr))
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            Some(call("timezone", vec![taken(time_zone), taken(timestamp)]))
        }
        Expr::Extract { field, expr, .. } => {
            let field = field.to_string().trim_matches(['\'', '"']).to_lowercase();
            Some(call("extract", vec![text(&field), taken(expr)]))
        }
        Expr::TypedString(TypedString { data_type, value, .. }) => {
            let value = Box::new(Expr::Value(value.clone()));
            let (kind, data_type) = (CastKind::Cast, data_type.clone());
            let mut cast = Expr::Cast { kind, expr: value, data_type, array: false, format: None };
            respell(&mut cast);
            Some(cast)
        }
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), span }) => {
            is_vast(digits).then(|| double(digits, *span))
        }
        Expr::Interval(interval) => {
            read_interval(interval);
            None
        }
        Expr::Cast { kind, expr, data_type, .. } => cast(kind, expr, data_type),
        Expr::CompoundFieldAccess { root, access_chain } => {
            join_names(root, access_chain);
            subscripts(root, access_chain)
        }
        // DataFusion plans the items of `array[…]` without the columns of the query around it.
        Expr::Array(array) if !array.elem.is_empty() => {
            Some(call("make_array", std::mem::take(&mut array.elem)))
        }
        Expr::Function(function) => {
            respell_call(function);
            write_rows_out(function);
            gathered(function)
        }
        _ => None,
    };
    if let Some(spelled) = spelled {
        *expr = spelled;
    }
}

fn operator(left: &mut Expr, op: &BinaryOperator, right: &mut Expr) -> Option<Expr> {
    let matching = |left: &mut Expr, right: &mut Expr, flags: &[&str]| {
        let flags = flags.iter().map(|flags| text(flags));
        call("regexp_like", [taken(left), taken(right)].into_iter().chain(flags).collect())
    };
    Some(match op {
        BinaryOperator::PGExp => call("power", vec![taken(left), taken(right)]),
        BinaryOperator::PGOverlap => call("array_overlaps", vec![taken(left), taken(right)]),
        BinaryOperator::PGRegexMatch => matching(left, right, &[]),
        BinaryOperator::PGRegexIMatch => matching(left, right, &["i"]),
        BinaryOperator::PGRegexNotMatch => negated(true, matching(left, right, &[])),
        BinaryOperator::PGRegexNotIMatch => negated(true, matching(left, right, &["i"])),
        BinaryOperator::PGStartsWith => call("starts_with", vec![taken(left), taken(right)]),
        BinaryOperator::Overlaps => match (left, right) {
            (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == 2 && right.len() == 2 => {
                call("overlaps", left.drain(..).chain(right.drain(..)).collect())
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// Casts to types that Arrow does not tell apart from text, and to a numeric of any digits.
fn cast(kind: &CastKind, expr: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
    let length = |length: &Option<CharacterLength>| match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        _ => None,
    };
    match data_type {
        DataType::Numeric(info @ ExactNumberInfo::None)
        | DataType::Decimal(info @ ExactNumberInfo::None)
        | DataType::Dec(info @ ExactNumberInfo::None) => {
            *info = ExactNumberInfo::PrecisionAndScale(NUMERIC.0, NUMERIC.1);
            return None;
        }
        // Not nanoseconds, which end in the year 2262.
        DataType::Timestamp(places @ None, _) => {
            *places = Some(6);
            return None;
        }
        _ => {}
    }
    if matches!(kind, CastKind::TryCast | CastKind::SafeCast) {
        return None;
    }
    match data_type {
        DataType::Time(..) => Some(call("time", vec![taken(expr)])),
        DataType::Uuid => Some(call("uuid", vec![taken(expr)])),
        DataType::JSON => Some(call("json", vec![taken(expr)])),
        DataType::JSONB => Some(call("jsonb", vec![taken(expr)])),
        DataType::Varchar(given)
        | DataType::CharacterVarying(given)
        | DataType::CharVarying(given) => {
            length(given).map(|length| call("varchar", vec![taken(expr), number(length)]))
        }
        DataType::Char(given) | DataType::Character(given) => {
            let length = length(given).unwrap_or(1);
            Some(call("bpchar", vec![taken(expr), number(length)]))
        }
        _ => None,
    }
}

/// Whether a number with an exponent has more digits than a decimal.
fn is_vast(number: &str) -> bool {
    const DIGITS_MAX: i64 = 76;
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else { return false };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let length = |digits: &str| i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let exponent = exponent.parse::<i32>().map_or(i64::MAX, i64::from);
    let places = length(part).saturating_sub(exponent);
    places > DIGITS_MAX || length(whole).saturating_add(exponent) > DIGITS_MAX
}

/// A number as `double precision`, which is what it meets: decimals are not as large, or as small.
fn double(digits: &str, span: Span) -> Expr {
    let value = Value::SingleQuotedString(digits.to_owned());
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(ValueWithSpan { value, span })),
        data_type: DataType::DoublePrecision,
        array: false,
        format: None,
    }
}

/// Writes an interval's text with units that DataFusion's reader knows.
fn read_interval(interval: &mut Interval) {
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(written), .. }) =
        &mut *interval.value
    else {
        return;
    };
    if interval.leading_field.is_some() {
        return;
    }
    if let Ok(parts) = parse_interval(written) {
        let (months, days, nanoseconds) = (parts.months, parts.days, parts.nanoseconds);
        *written = format!("{months} months {days} days {nanoseconds} nanoseconds");
    }
}

/// The names before the first subscript are those of a column: `t.list[1]`.
pub(crate) fn join_names(root: &mut Expr, chain: &mut Vec<AccessExpr>) {
    while let Some(AccessExpr::Dot(Expr::Identifier(name))) = chain.first() {
        let name = name.clone();
        match root {
            Expr::Identifier(first) => {
                *root = Expr::CompoundIdentifier(vec![first.clone(), name]);
            }
            Expr::CompoundIdentifier(names) => names.push(name),
            _ => return,
        }
        chain.remove(0);
    }
}

/// `list[i]`, `list[a:b]`, `document['field']`.
fn subscripts(root: &mut Expr, chain: &mut Vec<AccessExpr>) -> Option<Expr> {
    let all = chain.iter().all(|access| matches!(access, AccessExpr::Subscript(_)));
    if !all {
        return None;
    }
    let mut value = taken(root);
    for access in chain.drain(..) {
        let AccessExpr::Subscript(subscript) = access else { continue };
        value = match subscript {
            Subscript::Index { index } => call("array_item", vec![value, index]),
            Subscript::Slice { lower_bound, upper_bound, .. } => {
                let none = || literal(Value::Null);
                let (from, to) = (lower_bound.is_some(), upper_bound.is_some());
                let bounds = [lower_bound, upper_bound].map(|bound| bound.unwrap_or_else(none));
                let [low, high] = bounds;
                // A bound that is left out is not one that is NULL.
                let low = if from { low } else { number(1) };
                let high = if to { high } else { number(i32::MAX) };
                call("array_part", vec![value, low, high])
            }
        };
    }
    Some(value)
}

/// Functions under PostgreSQL's names that are operators or other functions here.
fn respell_call(function: &mut Function) {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &mut function.args else { return };
    match name.trim_start_matches("pg_catalog.") {
        "make_interval" => {
            place_names(list, &["years", "months", "weeks", "days", "hours", "mins", "secs"]);
        }
        "substring" if list.args.len() == 2 => {
            function.name = ObjectName::from(vec![Ident::new("substring")]);
        }
        _ => {}
    }
}

/// Puts arguments that are named at their places; those that are left out are 0.
fn place_names(list: &mut FunctionArgumentList, names: &[&str]) {
    if !list.args.iter().any(|argument| {
        matches!(argument, FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. })
    }) {
        return;
    }
    let mut placed: Vec<FunctionArg> = Vec::new();
    let unnamed = |value| FunctionArg::Unnamed(value);
    let zero = || unnamed(FunctionArgExpr::Expr(number(0)));
    for argument in &list.args {
        let (name, value) = match argument {
            FunctionArg::Named { name, arg, .. } => (name.value.to_lowercase(), arg),
            FunctionArg::ExprNamed { name, arg, .. } => (name.to_string().to_lowercase(), arg),
            FunctionArg::Unnamed(value) => {
                placed.push(unnamed(value.clone()));
                continue;
            }
        };
        let Some(at) = names.iter().position(|known| *known == name) else { return };
        while placed.len() <= at {
            placed.push(zero());
        }
        placed[at] = unnamed(value.clone());
    }
    list.args = placed;
}
