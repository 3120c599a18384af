//! The aggregates of JSON are texts that are joined: `json_agg(x)` is `json_list(string_agg(json_element(x), ', '))`.
//!
//! So they are maintained as `string_agg` is, with its order, its filter and its windows. NULL is an element like any
//! other, and nothing but no rows gives NULL. Where each element counts once and an order is asked for, the elements' places
//! in it stand before their texts: `json_list(json_unkeyed(string_agg(distinct json_keyed(…), …)))`. A row, as an argument of these and of `to_json`, is written out here.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    OrderByExpr, OrderByOptions,
};

use crate::spelling::{call, text};

/// What stands between elements that have their places before them: no document has it.
pub(crate) const KEYED_SEPARATOR: &str = "\u{1}";

/// The functions that take a row.
pub(crate) const OF_ROWS: [&str; 7] = [
    "json_agg",
    "json_build_array",
    "jsonb_agg",
    "jsonb_build_array",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// The arguments of a function of rows.
pub(crate) fn rows_of(function: &mut Function) -> impl Iterator<Item = &mut Expr> {
    let name = function.name.to_string().to_lowercase();
    let takes_rows = OF_ROWS.contains(&name.trim_start_matches("pg_catalog."));
    let list = match &mut function.args {
        FunctionArguments::List(list) if takes_rows => Some(&mut list.args),
        _ => None,
    };
    list.into_iter().flatten().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

/// Writes rows out: `row(a, b)` is an object of `f1` and `f2`.
pub(crate) fn write_rows_out(function: &mut Function) {
    for argument in rows_of(function) {
        let values = match argument {
            Expr::Tuple(values) => std::mem::take(values),
            Expr::Function(row) if row.name.to_string().eq_ignore_ascii_case("row") => {
                taken_arguments(row)
            }
            _ => continue,
        };
        let members = values.into_iter().zip(1..);
        let members = members.flat_map(|(value, nth)| [text(&format!("f{nth}")), value]);
        *argument = call("json_record", members.collect());
    }
}

fn taken_arguments(function: &mut Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return Vec::new() };
    let value = |argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    };
    list.args.drain(..).filter_map(value).collect()
}

/// Writes an aggregate of JSON as what it is made of; `None` when it is another function.
pub(crate) fn gathered(function: &mut Function) -> Option<Expr> {
    let name = function.name.to_string().to_lowercase();
    let (count, element, whole) = match name.trim_start_matches("pg_catalog.") {
        "json_agg" => (1, "json_element", "json_list"),
        "jsonb_agg" => (1, "jsonb_element", "jsonb_list"),
        "json_object_agg" => (2, "json_pair", "json_pairs"),
        "jsonb_object_agg" => (2, "json_pair", "jsonb_pairs"),
        _ => return None,
    };
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.args.len() != count {
        return None;
    }
    let arguments = taken_arguments(function);
    let is_row = |value: &Expr| match value {
        Expr::Function(function) => {
            matches!(function.name.to_string().as_str(), "json_row" | "json_record")
        }
        _ => false,
    };
    let element = match (element, arguments.first()) {
        ("json_element", Some(value)) if is_row(value) => "json_row_element",
        (element, _) => element,
    };
    let mut strings = function.clone();
    let FunctionArguments::List(list) = &mut strings.args else { return None };
    let mut element = call(element, arguments);
    // A pair without a name fails, but not where it is filtered out.
    if let (2, Some(filter)) = (count, &function.filter) {
        element = only_where(filter, element);
    }
    let (mut between, mut joined) = (", ", None);
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
        && let Some(order) = order_of(list)
    {
        element = keyed(element, order);
        (between, joined) = (KEYED_SEPARATOR, Some("json_unkeyed"));
    }
    // An order that nobody asked for is that of the texts, also where a query runs once.
    if list.clauses.is_empty() && function.over.is_none() {
        let options = OrderByOptions { asc: None, nulls_first: None };
        let by = OrderByExpr { expr: element.clone(), options, with_fill: None };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![by]));
    }
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    list.args = vec![argument(element), argument(text(between))];
    strings.name = ObjectName::from(vec![Ident::new("string_agg")]);
    let strings = Expr::Function(strings);
    let strings = match joined {
        Some(joined) => call(joined, vec![strings]),
        None => strings,
    };
    Some(call(whole, vec![strings]))
}

/// A value that is computed for those rows only which meet a condition.
fn only_where(condition: &Expr, value: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: condition.clone(), result: value }],
        else_result: None,
    }
}

/// Takes the order that elements are asked for in.
fn order_of(list: &mut FunctionArgumentList) -> Option<Vec<OrderByExpr>> {
    let is_order =
        |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    let at = list.clauses.iter().position(is_order)?;
    match list.clauses.remove(at) {
        FunctionArgumentClause::OrderBy(order) => Some(order),
        _ => None,
    }
}

/// An element with its place in an order before it: texts that are told apart and ordered as the values are.
fn keyed(element: Expr, order: Vec<OrderByExpr>) -> Expr {
    let directions: String = order.iter().map(|key| direction(&key.options)).collect();
    let keys = order.into_iter().map(|key| key.expr);
    call("json_keyed", [element, text(&directions)].into_iter().chain(keys).collect())
}

/// `a`scending or `d`escending, NULLs `f`irst or `l`ast: behind all values unless it is said, as in PostgreSQL.
fn direction(options: &OrderByOptions) -> String {
    let descends = options.asc == Some(false);
    let nulls_first = options.nulls_first.unwrap_or(descends);
    format!("{}{}", if descends { 'd' } else { 'a' }, if nulls_first { 'f' } else { 'l' })
}
