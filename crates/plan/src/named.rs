//! Columns that are text to Arrow and another type to PostgreSQL: `char(n)`, and types that are kept as their text.
//!
//! Blanks at the end of a `char(n)` count for nothing, but for showing it: wherever PostgreSQL makes a text of one, they
//! are cut off here as well.
//!
//! A type that only PostgreSQL knows (`inet`, ranges, those of extensions) is carried as the text that PostgreSQL shows.
//! Two values of it are equal when their texts are, if the type writes equal values alike; otherwise they are not
//! compared. They have no order and no functions: these are refused, and `::text` makes a text of them. It runs before
//! types are coerced.

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions and plans grow with DataFusion")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::datatypes::DataType;
use change::{is_char, kept_as_text, logical_type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Diagnostic, ScalarValue};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Cast, InList, InSubquery, ScalarFunction, SetComparison, Sort,
    WindowFunction,
};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Union,
};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::define::{Arguments, text_of_named};
use crate::rewrite::every_expression;

/// Treats such columns as PostgreSQL does, or refuses what cannot be.
#[derive(Debug)]
pub(crate) struct NamedTypes;

impl AnalyzerRule for NamedTypes {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        let plan = every_expression(plan, rewritten)?;
        plan.apply_with_subqueries(|node| check_node(node).map(|()| TreeNodeRecursion::Continue))?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "named_types"
    }
}

/// What a column of text is to PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    /// `char(n)`.
    Char,
    /// A type that is kept as its text.
    Kept(String),
}

fn of_logical(logical: Option<&str>) -> Option<Named> {
    let logical = logical?;
    match kept_as_text(logical) {
        Some(name) => Some(Named::Kept(name.to_owned())),
        None => is_char(logical).then_some(Named::Char),
    }
}

fn named(expression: &Expr, schema: &DFSchema) -> Option<Named> {
    let (_, field) = expression.to_field(schema).ok()?;
    of_logical(logical_type(&field))
}

fn kept(expression: &Expr, schema: &DFSchema) -> Option<String> {
    match named(expression, schema)? {
        Named::Kept(name) => Some(name),
        Named::Char => None,
    }
}

/// Whether a type writes equal values alike, and others differently.
fn is_canonical(name: &str) -> bool {
    const CANONICAL: [&str; 24] = [
        "\"bit\"",
        "bit",
        "bit varying",
        "cidr",
        "datemultirange",
        "daterange",
        "hstore",
        "inet",
        "int4multirange",
        "int4range",
        "int8multirange",
        "int8range",
        "ltree",
        "macaddr",
        "macaddr8",
        "money",
        "pg_lsn",
        "time with time zone",
        "tsmultirange",
        "tsrange",
        "tstzmultirange",
        "tstzrange",
        "tsvector",
        "xid8",
    ];
    CANONICAL.contains(&bare(name))
}

/// A type's name without its schema and its length: `bit` of `bit(3)`, `hstore` of `public.hstore`.
fn bare(name: &str) -> &str {
    let name = name.split_once('.').map_or(name, |(_, name)| name);
    if name.ends_with(']') { name } else { name.split_once('(').map_or(name, |(name, _)| name) }
}

/// Refuses an expression, at the place of its first column.
fn refused<T>(expression: &Expr, (name, what): (&str, &str)) -> PlanResult<T> {
    let mut place = None;
    expression.apply(|part| {
        if let (Expr::Column(column), None) = (part, &place) {
            place = column.spans().first();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let message = format!("values of type {name} {what}");
    let advice = format!("write `{}::text`", shown(expression));
    let error = DataFusionError::Plan(format!("{message}: {advice}"));
    Err(error.with_diagnostic(Diagnostic::new_error(message, place).with_help(advice, None)))
}

/// A column's name; of others, that it is some value.
fn shown(expression: &Expr) -> String {
    match expression {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => shown(&alias.expr),
        _ => "value".to_owned(),
    }
}

const NO_ORDER: &str = "have no order here";
const NO_EQUALITY: &str = "are not compared here, because equal ones may be written differently";
const NO_FUNCTION: &str = "are taken by no function or operator here";
const MIXED: &str =
    "are compared with their own kind here, or with a text that is written out as they are";

/// The text of a value, of which nothing else is known.
fn text_of(expression: Expr) -> Expr {
    text_of_named().call(vec![expression])
}

fn rewritten(expression: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expression {
        Expr::Cast(cast) => recast(cast, schema),
        Expr::BinaryExpr(binary) => operator(binary, schema),
        Expr::Between(Between { expr, negated, low, high }) => {
            let parts = vec![*expr, *low, *high];
            if let Some((part, name)) = first_kept(&parts, schema) {
                return refused(part, (&name, NO_ORDER));
            }
            let (parts, changed) = cut(parts, schema);
            let Ok([expr, low, high]) = <[Expr; 3]>::try_from(parts).map(|all| all.map(Box::new))
            else {
                return Err(DataFusionError::Internal("three parts stay three".to_owned()));
            };
            let between = Expr::Between(Between { expr, negated, low, high });
            Ok(Transformed::new_transformed(between, changed))
        }
        Expr::InList(list) => in_list(list, schema),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let column = of_logical(logical_type(subquery.subquery.schema().field(0)));
            let (expr, changed) = against(*expr, column, schema)?;
            let expr = Box::new(expr);
            let asked = Expr::InSubquery(InSubquery { expr, subquery, negated });
            Ok(Transformed::new_transformed(asked, changed))
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            let column = of_logical(logical_type(subquery.subquery.schema().field(0)));
            let orders = !matches!(op, Operator::Eq | Operator::NotEq);
            if let Some(name) = kept(&expr, schema).filter(|_| orders) {
                return refused(&expr, (&name, NO_ORDER));
            }
            let (expr, changed) = against(*expr, column, schema)?;
            let expr = Box::new(expr);
            let asked = Expr::SetComparison(SetComparison { expr, subquery, op, quantifier });
            Ok(Transformed::new_transformed(asked, changed))
        }
        Expr::ScalarFunction(call) => scalar(call, schema),
        Expr::AggregateFunction(call) => aggregate(call, schema),
        Expr::WindowFunction(call) => window(call, schema),
        Expr::Case(_)
        | Expr::Like(_)
        | Expr::SimilarTo(_)
        | Expr::Negative(_)
        | Expr::Unnest(_) => {
            let mut found = None;
            expression.apply_children(|part| {
                found = found.take().or_else(|| Some((part.clone(), kept(part, schema)?)));
                Ok(TreeNodeRecursion::Continue)
            })?;
            match found {
                Some((part, name)) => refused(&part, (&name, NO_FUNCTION)),
                None => Ok(Transformed::no(expression)),
            }
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A cast as PostgreSQL has it: of blanks that are cut off, or of a type that becomes nothing but text.
fn recast(cast: Cast, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match named(&cast.expr, schema) {
        // The same to Arrow, but no longer json, or a uuid.
        None if is_noted_text(&cast.expr, cast.field.data_type(), schema) => {
            Ok(Transformed::yes(text_of(*cast.expr)))
        }
        None => Ok(Transformed::no(Expr::Cast(cast))),
        Some(Named::Char) => {
            let mut cast = cast;
            *cast.expr = text_of(*cast.expr);
            Ok(Transformed::yes(Expr::Cast(cast)))
        }
        Some(Named::Kept(_)) if is_noted_text(&cast.expr, cast.field.data_type(), schema) => {
            Ok(Transformed::yes(text_of(*cast.expr)))
        }
        // A list, written as one text.
        Some(Named::Kept(_)) if *cast.field.data_type() == DataType::Utf8 => {
            Ok(Transformed::no(Expr::Cast(cast)))
        }
        Some(Named::Kept(name)) => refused(&cast.expr, (&name, "become nothing but text here")),
    }
}

fn scalar(call: ScalarFunction, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    if takes_any(call.func.name()) {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    if let Some((argument, name)) = first_kept(&call.args, schema) {
        return refused(argument, (&name, NO_FUNCTION));
    }
    if sees_blanks(call.func.name()) {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let ScalarFunction { func, args } = call;
    let (args, changed) = cut(args, schema);
    let call = Expr::ScalarFunction(ScalarFunction { func, args });
    Ok(Transformed::new_transformed(call, changed))
}

fn is_texts(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 => true,
        DataType::List(item) => *item.data_type() == DataType::Utf8,
        _ => false,
    }
}

/// Whether an expression is to Arrow what it is cast to, text or a list of texts, and another type to PostgreSQL.
fn is_noted_text(expression: &Expr, to: &DataType, schema: &DFSchema) -> bool {
    expression.to_field(schema).is_ok_and(|(_, field)| {
        let is_same = match (field.data_type(), to) {
            (DataType::List(item), DataType::List(to)) => item.data_type() == to.data_type(),
            (from, to) => from == to,
        };
        is_same && is_texts(to) && logical_type(&field).is_some()
    })
}

/// Functions that take such values as they are shown, or do not look at them.
fn takes_any(function: &str) -> bool {
    const ANY: [&str; 19] = [
        "array_to_json",
        "concat",
        "concat_ws",
        "format",
        "json_build_array",
        "json_build_object",
        "json_element",
        "json_pair",
        "json_record",
        "json_row",
        "jsonb_build_array",
        "jsonb_build_object",
        "jsonb_element",
        "num_nonnulls",
        "num_nulls",
        "row_to_json",
        "text_of_named",
        "to_json",
        "to_jsonb",
    ];
    ANY.contains(&function)
}

/// Functions that see the blanks of a `char(n)`, in PostgreSQL as well.
fn sees_blanks(function: &str) -> bool {
    matches!(function, "bpchar" | "octet_length" | "regexp_like" | "similar_to")
}

fn first_kept<'e>(parts: &'e [Expr], schema: &DFSchema) -> Option<(&'e Expr, String)> {
    parts.iter().find_map(|part| Some((part, kept(part, schema)?)))
}

/// Cuts off the blanks of each `char(n)`, and of the texts that are written beside one.
fn cut(parts: Vec<Expr>, schema: &DFSchema) -> (Vec<Expr>, bool) {
    let is_char: Vec<bool> =
        parts.iter().map(|part| named(part, schema) == Some(Named::Char)).collect();
    if !is_char.contains(&true) {
        return (parts, false);
    }
    let parts = parts.into_iter().zip(is_char).map(|(part, is_char)| match part {
        Expr::Literal(ScalarValue::Utf8(Some(text)), metadata) => {
            let text = text.trim_end_matches(' ').to_owned();
            Expr::Literal(ScalarValue::Utf8(Some(text)), metadata)
        }
        part if is_char => text_of(part),
        part => part,
    });
    (parts.collect(), true)
}

/// A value that is compared with the column of a subquery.
fn against(expr: Expr, column: Option<Named>, schema: &DFSchema) -> PlanResult<(Expr, bool)> {
    match (named(&expr, schema), column) {
        (Some(Named::Kept(name)), Some(Named::Kept(other))) if bare(&name) == bare(&other) => {
            if is_canonical(&name) {
                Ok((expr, false))
            } else {
                refused(&expr, (&name, NO_EQUALITY))
            }
        }
        (Some(Named::Kept(name)), _) | (_, Some(Named::Kept(name))) => {
            refused(&expr, (&name, MIXED))
        }
        (Some(Named::Char), None) => Ok((text_of(expr), true)),
        (Some(Named::Char) | None, _) => Ok((expr, false)),
    }
}

fn operator(binary: BinaryExpr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let BinaryExpr { left, op, right } = binary;
    let sides = vec![*left, *right];
    let is_equality = matches!(
        op,
        Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
    );
    let (sides, changed) = match first_kept(&sides, schema) {
        Some((side, name)) if !is_equality => {
            let orders =
                matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
            return refused(side, (&name, if orders { NO_ORDER } else { NO_FUNCTION }));
        }
        Some((side, name)) => (equal(sides.clone(), (side, &name), schema)?, true),
        // Two of one length are compared as they are, so that keys stay keys.
        None if is_equality && same_char(&sides, schema) => (sides, false),
        None => cut(sides, schema),
    };
    let Ok([left, right]) = <[Expr; 2]>::try_from(sides).map(|sides| sides.map(Box::new)) else {
        return Err(DataFusionError::Internal("two sides stay two".to_owned()));
    };
    let binary = Expr::BinaryExpr(BinaryExpr { left, op, right });
    Ok(Transformed::new_transformed(binary, changed))
}

fn same_char(sides: &[Expr], schema: &DFSchema) -> bool {
    let logical = |side: &Expr| {
        let (_, field) = side.to_field(schema).ok()?;
        logical_type(&field).filter(|logical| is_char(logical)).map(str::to_owned)
    };
    let all: Option<Vec<String>> = sides.iter().map(logical).collect();
    all.is_some_and(|all| all.iter().all(|one| *one == all[0] && one != "bpchar"))
}

/// Values that are asked to be equal, one of which is of a type that is kept as text: each is of that type, NULL, or a
/// text that can be read as one.
fn equal(
    parts: Vec<Expr>,
    (first, name): (&Expr, &str),
    schema: &DFSchema,
) -> PlanResult<Vec<Expr>> {
    if !is_canonical(name) {
        return refused(first, (name, NO_EQUALITY));
    }
    let part = |part: Expr| match (kept(&part, schema), part) {
        (Some(other), part) if bare(&other) == bare(name) => Ok(part),
        (None, Expr::Literal(ScalarValue::Utf8(Some(text)), metadata)) => {
            match canonical(bare(name), text.trim_ascii()) {
                Some(text) => Ok(Expr::Literal(ScalarValue::Utf8(Some(text)), metadata)),
                None => refused(first, (name, MIXED)),
            }
        }
        (None, part @ Expr::Literal(..)) => Ok(part),
        (Some(_) | None, _) => refused(first, (name, MIXED)),
    };
    parts.into_iter().map(part).collect()
}

fn in_list(list: InList, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let InList { expr, list, negated } = list;
    let parts: Vec<Expr> = std::iter::once(*expr).chain(list).collect();
    let (parts, changed) = match first_kept(&parts, schema) {
        Some((part, name)) => (equal(parts.clone(), (part, &name), schema)?, true),
        None => cut(parts, schema),
    };
    let mut parts = parts.into_iter();
    let expr = Box::new(parts.next().unwrap_or_default());
    let list = Expr::InList(InList { expr, list: parts.collect(), negated });
    Ok(Transformed::new_transformed(list, changed))
}

fn check_order(keys: &[Sort], schema: &DFSchema) -> PlanResult<()> {
    let found = keys.iter().find_map(|key| Some((&key.expr, kept(&key.expr, schema)?)));
    match found {
        Some((key, name)) => refused(key, (&name, NO_ORDER)),
        None => Ok(()),
    }
}

fn check_equality<'e>(
    parts: impl IntoIterator<Item = &'e Expr>,
    schema: &DFSchema,
) -> PlanResult<()> {
    for part in parts {
        match kept(part, schema) {
            Some(name) if !is_canonical(&name) => return refused(part, (&name, NO_EQUALITY)),
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Checks what an aggregate or a window function is asked of such values, and cuts off blanks.
fn arguments(
    name: &str,
    distinct: bool,
    args: Vec<Expr>,
    schema: &DFSchema,
) -> PlanResult<(Vec<Expr>, bool)> {
    if distinct {
        check_equality(&args, schema)?;
    }
    if name == "count" {
        return Ok((args, false));
    }
    match first_kept(&args, schema) {
        Some((argument, of)) if matches!(name, "min" | "max") => refused(argument, (&of, NO_ORDER)),
        Some((argument, of)) => refused(argument, (&of, NO_FUNCTION)),
        None if name == "array_agg" => Ok((args, false)),
        None => Ok(cut(args, schema)),
    }
}

fn aggregate(mut call: AggregateFunction, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    check_order(&call.params.order_by, schema)?;
    let args = std::mem::take(&mut call.params.args);
    let (args, changed) = arguments(call.func.name(), call.params.distinct, args, schema)?;
    call.params.args = args;
    Ok(Transformed::new_transformed(Expr::AggregateFunction(call), changed))
}

fn window(mut call: Box<WindowFunction>, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    check_order(&call.params.order_by, schema)?;
    check_equality(&call.params.partition_by, schema)?;
    let args = std::mem::take(&mut call.params.args);
    let (args, changed) = arguments(call.fun.name(), call.params.distinct, args, schema)?;
    call.params.args = args;
    Ok(Transformed::new_transformed(Expr::WindowFunction(call), changed))
}

fn check_node(node: &LogicalPlan) -> PlanResult<()> {
    match node {
        LogicalPlan::Sort(sort) => check_order(&sort.expr, sort.input.schema()),
        LogicalPlan::Distinct(Distinct::On(first)) => {
            check_order(first.sort_expr.as_deref().unwrap_or_default(), first.input.schema())?;
            check_equality(&first.on_expr, first.input.schema())
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns: Vec<Expr> =
                input.schema().columns().into_iter().map(Expr::Column).collect();
            check_equality(&columns, input.schema())
        }
        LogicalPlan::Aggregate(Aggregate { group_expr, input, .. }) => {
            for group in group_expr {
                match group {
                    Expr::GroupingSet(set) => check_equality(set.distinct_expr(), input.schema())?,
                    group => check_equality([group], input.schema())?,
                }
            }
            Ok(())
        }
        LogicalPlan::Join(join) => {
            for (left, right) in &join.on {
                let (one, other) =
                    (named(left, join.left.schema()), named(right, join.right.schema()));
                if let (Some(Named::Kept(name)), _) = (&one, &other) {
                    check_equality([left], join.left.schema())?;
                    if one != other {
                        return refused(left, (name, MIXED));
                    }
                } else if let Some(Named::Kept(name)) = other {
                    return refused(right, (&name, MIXED));
                }
            }
            Ok(())
        }
        LogicalPlan::Union(union) => check_union(union),
        _ => Ok(()),
    }
}

/// The columns of a union are of one type.
fn check_union(union: &Union) -> PlanResult<()> {
    for at in 0..union.schema.fields().len() {
        let fields = union.inputs.iter().map(|input| input.schema().field(at));
        let typed: Vec<_> = fields.filter(|field| !field.data_type().is_null()).collect();
        let names: Vec<_> = typed.iter().map(|field| of_logical(logical_type(field))).collect();
        let kept = names.iter().flatten().find_map(|named| match named {
            Named::Kept(name) => Some(name),
            Named::Char => None,
        });
        if let Some(name) = kept.filter(|_| names.iter().any(|named| *named != names[0])) {
            let column = Expr::Column(union.inputs[0].schema().columns()[at].clone());
            return refused(&column, (name, "stand in one column with their own kind only"));
        }
    }
    Ok(())
}

/// A text as the type would write it, of types that we can read.
fn canonical(name: &str, text: &str) -> Option<String> {
    match name {
        "inet" => {
            let (address, bits) = network(text)?;
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.unwrap_or(whole);
            Some(if bits == whole { address.to_string() } else { format!("{address}/{bits}") })
        }
        "cidr" => {
            let (address, bits) = network(text)?;
            let (value, whole) = match address {
                IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
                IpAddr::V6(address) => (address.to_bits(), 128),
            };
            let bits = bits.unwrap_or(whole);
            let hosts = 1_u128.checked_shl(whole - bits).map_or(u128::MAX, |one| one - 1);
            (value & hosts == 0).then(|| format!("{address}/{bits}"))
        }
        "macaddr" => hardware(text, 12),
        "macaddr8" => hardware(text, 16),
        "bit" | "bit varying" | "\"bit\"" => {
            text.bytes().all(|digit| matches!(digit, b'0' | b'1')).then(|| text.to_owned())
        }
        "ltree" => {
            let plain =
                |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
            text.chars().all(plain).then(|| text.to_owned())
        }
        _ => None,
    }
}

/// An address, and the bits of its network if it says them.
fn network(text: &str) -> Option<(IpAddr, Option<u32>)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = match address.parse::<Ipv4Addr>() {
        Ok(address) => address.into(),
        Err(_other) => address.parse::<Ipv6Addr>().ok().filter(is_written_alike)?.into(),
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits <= whole).then_some((address, bits))
}

/// PostgreSQL writes some addresses that begin with zeros as those of the older kind.
fn is_written_alike(address: &Ipv6Addr) -> bool {
    let bits = address.to_bits();
    bits <= 1 || bits >> 32 != 0
}

/// Hexadecimal digits, however they are cut, as pairs between colons.
fn hardware(text: &str, count: usize) -> Option<String> {
    let digits: String = text.chars().filter(|letter| !matches!(letter, ':' | '-' | '.')).collect();
    let fits = digits.len() == count && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let digits = digits.to_ascii_lowercase();
    let pairs = digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned());
    fits.then(|| pairs.collect::<Vec<_>>().join(":"))
}

/// What PostgreSQL's cast to text makes of such values.
pub(crate) fn texts_of_named(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let values = arguments.array(0);
    let masked = |text: &str| {
        let whole = if text.contains(':') { 128 } else { 32 };
        if text.contains('/') { text.to_owned() } else { format!("{text}/{whole}") }
    };
    let of: fn(&str) -> String = match arguments.logical(0) {
        Some(logical) if is_char(logical) => |text| text.trim_end_matches(' ').to_owned(),
        // A cast says the mask also where it says nothing.
        Some("text:inet" | "text:inet[]") => masked,
        Some(_) | None => return Ok(Arc::clone(values)),
    };
    let each = |texts: &StringArray| {
        Arc::new(texts.iter().map(|text| text.map(of)).collect::<StringArray>())
    };
    Ok(match values.data_type() {
        DataType::List(item) => {
            let list = values.as_list::<i32>();
            let items = each(list.values().as_string::<i32>());
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::new(Arc::clone(item), offsets, items, nulls))
        }
        _ => each(&arguments.texts(0)?),
    })
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn a_text_is_read_as_its_type_writes_it() {
        for (name, text, wanted) in [
            ("inet", "10.0.0.1/32", Some("10.0.0.1")),
            ("inet", "10.0.0.1/8", Some("10.0.0.1/8")),
            ("inet", "2001:DB8:0:0::1", Some("2001:db8::1")),
            ("inet", "::ffff:1.2.3.4", Some("::ffff:1.2.3.4")),
            ("inet", "::1.2.3.4", None),
            ("inet", "10.1", None),
            ("inet", "10.0.0.1/33", None),
            ("cidr", "10.0.0.0/8", Some("10.0.0.0/8")),
            ("cidr", "10.0.0.1/8", None),
            ("cidr", "::/0", Some("::/0")),
            ("macaddr", "08-00-2B-01-02-03", Some("08:00:2b:01:02:03")),
            ("macaddr", "0800.2b01.0203", Some("08:00:2b:01:02:03")),
            ("macaddr", "08:00", None),
            ("bit", "101", Some("101")),
            ("bit", "B101", None),
            ("money", "1", None),
        ] {
            assert_eq!(canonical(name, text).as_deref(), wanted, "{name} {text}");
        }
    }
}
