//! Expressions: columns and functions, and what cannot be maintained among them.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, ObjectName, ObjectNamePart, OrderByExpr, Query,
    SelectItem, SetExpr, Spanned, VisitMut, VisitorMut,
};

use super::subquery::{call, is_series};
use super::{Aggregates, Resolver};
use crate::codes;
use crate::functions::Kind;
use crate::gathered::rows_of;
use crate::place::MarkKind;
use crate::problem::{Problem, suggest};
use crate::scope::{Column, Scope, exact, meant};
use crate::spelling::{join_names, respell, text};

impl Resolver<'_> {
    /// Resolves the names of an expression; those that the scope lacks may be columns of the result.
    pub(super) fn expression(
        &mut self,
        expr: &mut Expr,
        scope: &Scope,
        columns: &[Column],
        aggregates: Aggregates,
    ) {
        let parents = Vec::new();
        let mut walk = Walk { resolver: self, scope, columns, aggregates, depth: 0, parents };
        let ControlFlow::Continue(()) = expr.visit(&mut walk);
    }

    fn function(&mut self, function: &Function, aggregates: Aggregates) {
        let name = function_name(&function.name);
        let span = function.name.span();
        let kind = self.functions.kind(&name);
        match kind {
            None => {
                let place = self.place(span);
                let names = self.functions.names();
                let help = crate::problem::nearest(&name, &names).map_or_else(
                    || suggest(&name, AGGREGATES, "docs/sql.md lists all; among them are"),
                    |near| Some(format!("did you mean {near}?")),
                );
                let message = format!("there is no function {name}");
                self.problems.push(Problem {
                    help,
                    ..Problem::new(codes::FUNCTION, place, message, "not known")
                });
            }
            Some(Kind::Window | Kind::Aggregate) if function.over.is_some() => {
                self.mark_window(function);
                self.window(function, aggregates);
            }
            Some(Kind::Window) => {
                let message = format!("{name} needs to know which rows it looks at");
                let help = format!("write `{name}(…) over (partition by … order by …)`");
                self.refuse(codes::WINDOW, span, &message, &help);
            }
            Some(Kind::Volatile) => {
                let message = format!("{name}() changes although no data does");
                let help = "keep the moment in a column of the source, or filter when you read";
                self.refuse(codes::VOLATILE, span, &message, help);
            }
            Some(Kind::OtherAggregate) => {
                let message = format!("the aggregate {name} cannot be maintained yet");
                self.refuse(codes::AGGREGATE, span, &message, AGGREGATE_HELP);
            }
            Some(Kind::Aggregate) => self.aggregate(function, &name, aggregates),
            Some(Kind::Scalar) => {}
        }
    }

    fn window(&mut self, function: &Function, place: Aggregates) {
        let span = function.name.span();
        if let FunctionArguments::List(list) = &function.args
            && list
                .clauses
                .iter()
                .any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)))
        {
            let message = "a window function takes its values in the window's order";
            let help = "write the order into it: `over (… order by …)`";
            self.refuse(codes::WINDOW, span, message, help);
        }
        if let Aggregates::Refused(place @ ("where" | "on" | "group by" | "values" | "from")) =
            place
        {
            let message = format!("a window function cannot stand in `{place}`");
            let help = "filter behind it: `qualify …`, or `| where …` behind a stage `extend`";
            self.refuse(codes::WINDOW, span, &message, help);
        }
    }

    fn aggregate(&mut self, function: &Function, name: &str, aggregates: Aggregates) {
        let span = function.name.span();
        self.has_aggregate = true;
        if let Aggregates::Refused(place) = aggregates {
            let message = format!("the aggregate {name} cannot stand in `{place}`");
            let help = match place {
                "where" => "filter behind it: `having …`, or `| where …` after `aggregate`",
                "select" | "extend" | "set" => "write the stage `aggregate … group by …`",
                _ => "compute it first, in a subquery or a stage `aggregate`",
            };
            self.refuse(codes::GROUP, span, &message, help);
        }
        let is_ordered = ["string_agg", "array_agg"].contains(&name) || name.starts_with("json");
        let fits = |clause: &FunctionArgumentClause| {
            is_ordered && matches!(clause, FunctionArgumentClause::OrderBy(_))
        };
        let clauses = match &function.args {
            // What counts once is ordered by what it is told apart by.
            FunctionArguments::List(list)
                if name.starts_with("json")
                    && list.duplicate_treatment == Some(DuplicateTreatment::Distinct) =>
            {
                !list.clauses.iter().all(fits) || !is_ordered_by_arguments(list)
            }
            FunctionArguments::List(list) => !list.clauses.iter().all(fits),
            FunctionArguments::None | FunctionArguments::Subquery(_) => true,
        };
        if clauses || !function.within_group.is_empty() || function.null_treatment.is_some() {
            let message = format!("this form of {name} cannot be maintained");
            self.refuse(codes::AGGREGATE, span, &message, AGGREGATE_HELP);
        }
    }

    pub(super) fn is_aggregate(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Function(function) if function.over.is_none() => matches!(
                self.functions.kind(&function_name(&function.name)),
                Some(Kind::Aggregate | Kind::OtherAggregate)
            ),
            _ => false,
        }
    }
}

const AGGREGATES: [&str; 5] = ["count", "sum", "avg", "min", "max"];

const AGGREGATE_HELP: &str = "there are count, sum, avg, min, max, bool_and, bool_or, stddev, variance, string_agg, \
                              array_agg, json_agg and json_object_agg";

struct Walk<'w, 'r> {
    resolver: &'w mut Resolver<'r>,
    scope: &'w Scope,
    columns: &'w [Column],
    aggregates: Aggregates,
    /// How many subqueries we are inside of; they are resolved as a whole.
    depth: usize,
    /// Whether each expression around is a call of `unnest`.
    parents: Vec<bool>,
}

impl Walk<'_, '_> {
    fn column(&mut self, expr: &mut Expr) {
        let idents = match &*expr {
            Expr::Identifier(ident) => std::slice::from_ref(ident),
            Expr::CompoundIdentifier(idents) => idents.as_slice(),
            _ => return,
        };
        let span = expr.span();
        let of_result = |idents: &[_]| match idents {
            [ident] => {
                let name = meant(ident);
                let mut named = self.columns.iter().filter(move |column| column.name == name);
                named.next().filter(|_| named.next().is_none())
            }
            _ => None,
        };
        match self.scope.find(idents, &self.resolver.whole) {
            Ok(Some(column)) => *expr = column.expression(span),
            Ok(None) => {}
            Err(problem) if problem.label == "which one?" => self.resolver.problems.push(problem),
            Err(problem) => match of_result(idents) {
                Some(column) if problem.label == "not known" => *expr = column.expression(span),
                _ => match self.resolver.outer_column(idents, self.scope) {
                    Some(column) => *expr = column.expression(span),
                    None if self.resolver.outer_is_open() => {}
                    None => self.resolver.problems.push(problem),
                },
            },
        }
    }
}

impl Walk<'_, '_> {
    /// A table's name, where a row is taken, is its row: `row_to_json(orders)`.
    fn whole_rows(&self, function: &mut Function) {
        for argument in rows_of(function) {
            let Expr::Identifier(name) = &*argument else { continue };
            let (span, table) = (name.span, [meant(name)]);
            let is_column = self.scope.columns.iter().any(|column| column.name == table[0]);
            let columns = self.scope.of_table(&table);
            if is_column || columns.is_empty() {
                continue;
            }
            // As one could have written them, since they are resolved after this.
            let written = |column: &Column| {
                let parts = column.path.iter().chain([&column.name]);
                Expr::CompoundIdentifier(parts.map(|part| exact(part, span)).collect())
            };
            let members = columns.into_iter();
            let members = members.flat_map(|column| [text(&column.name), written(column)]);
            *argument = call("json_row", members.collect());
        }
    }
}

impl VisitorMut for Walk<'_, '_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        self.parents.push(matches!(expr, Expr::Function(function) if is_unnest(function)));
        let span = expr.span();
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.column(expr),
            Expr::CompoundFieldAccess { root, access_chain } => join_names(root, access_chain),
            Expr::Function(function) => {
                self.whole_rows(function);
                self.resolver.function(function, self.aggregates);
            }
            Expr::Subquery(query)
            | Expr::Exists { subquery: query, .. }
            | Expr::InSubquery { subquery: query, .. } => {
                let first = self.resolver.marks.len();
                self.resolver.inner_query(query, self.scope);
                self.resolver.mark_subquery(first, span);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        self.parents.pop();
        respell(expr);
        let in_unnest = self.parents.last().copied().unwrap_or_default();
        let Expr::Function(function) = &*expr else { return ControlFlow::Continue(()) };
        let span = function.name.span();
        let is_rows = is_unnest(function) || (is_series(function) && !in_unnest);
        if let (true, Aggregates::Refused(place)) = (is_rows, self.aggregates) {
            let message =
                format!("{} gives several rows, so it cannot stand in `{place}`", function.name);
            let help = "put it behind `from` or into a select list";
            self.resolver.refuse(codes::CLAUSE, span, &message, help);
        }
        if is_rows {
            self.resolver.mark(MarkKind::Unnest, [function.span()]);
        }
        if is_series(function) && !in_unnest {
            // As in PostgreSQL, a series is rows, not a list.
            *expr = call("unnest", vec![expr.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Whether all keys of an aggregate's order are arguments of it.
fn is_ordered_by_arguments(list: &FunctionArgumentList) -> bool {
    let is_argument = |key: &OrderByExpr| {
        list.args.iter().any(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => *value == key.expr,
            _ => false,
        })
    };
    list.clauses.iter().all(|clause| match clause {
        FunctionArgumentClause::OrderBy(keys) => keys.iter().all(is_argument),
        _ => false,
    })
}

fn is_unnest(function: &Function) -> bool {
    function_name(&function.name) == "unnest"
}

/// The function's name in lower case, without PostgreSQL's own schema.
pub(super) fn function_name(name: &ObjectName) -> String {
    let mut parts: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(meant).collect();
    if parts.len() > 1 && parts[0] == "pg_catalog" {
        parts.remove(0);
    }
    parts.join(".")
}

/// The name that PostgreSQL would give to a computed column.
pub(super) fn name_of(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Identifier(ident) => meant(ident),
        Expr::CompoundIdentifier(idents) => meant(idents.last()?),
        Expr::Function(function) => meant(function.name.0.last()?.as_ident()?),
        Expr::Nested(inner) => return name_of(inner),
        Expr::Cast { expr, .. } => return name_of(expr),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "trim".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Subquery(query) => return name_of_first(query),
        _ => return None,
    })
}

/// The name of a query's first column.
fn name_of_first(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = &*query.body else { return None };
    match select.projection.first()? {
        SelectItem::UnnamedExpr(expr) => name_of(expr),
        SelectItem::ExprWithAlias { alias, .. } => Some(meant(alias)),
        _ => None,
    }
}

/// The column that a resolved expression is, if it is nothing else.
pub(super) fn as_column<'a>(expr: &Expr, scope: &'a Scope) -> Option<&'a Column> {
    let span = expr.span();
    scope.columns.iter().find(|column| column.expression(span) == *expr)
}
