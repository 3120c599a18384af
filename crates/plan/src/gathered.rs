//! The aggregates of JSON are texts that are joined: `json_agg(x)` is `json_list(string_agg(json_element(x), ', '))`.
//!
//! So they are maintained as `string_agg` is, with its order, its filter and its windows. NULL is an element like any
//! other, and nothing but no rows gives NULL. A row, as an argument of these and of `to_json`, is written out here.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident,
    ObjectName, OrderByExpr, OrderByOptions,
};

use crate::spelling::{call, text};

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
    let element = call(element, arguments);
    // An order that nobody asked for is that of the texts, also where a query runs once.
    if list.clauses.is_empty() && function.over.is_none() {
        let options = OrderByOptions { asc: None, nulls_first: None };
        let by = OrderByExpr { expr: element.clone(), options, with_fill: None };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![by]));
    }
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    list.args = vec![argument(element), argument(text(", "))];
    strings.name = ObjectName::from(vec![Ident::new("string_agg")]);
    Some(call(whole, vec![Expr::Function(strings)]))
}
