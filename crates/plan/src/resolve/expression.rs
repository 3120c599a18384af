//! Expressions: columns and functions, and what cannot be maintained among them.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, ObjectName, ObjectNamePart, Query, Spanned, VisitMut,
    VisitorMut,
};

use super::{Aggregates, Resolver};
use crate::codes;
use crate::functions::Kind;
use crate::problem::{Problem, suggest};
use crate::scope::{Column, Scope, meant};

impl Resolver<'_> {
    /// Resolves the names of an expression; those that the scope lacks may be columns of the result.
    pub(super) fn expression(
        &mut self,
        expr: &mut Expr,
        scope: &Scope,
        columns: &[Column],
        aggregates: Aggregates,
    ) {
        let mut walk = Walk { resolver: self, scope, columns, aggregates, depth: 0 };
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
            _ if function.over.is_some() => self.window(span),
            Some(Kind::Window) => self.window(span),
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

    fn window(&mut self, span: datafusion::sql::sqlparser::tokenizer::Span) {
        let help = "they come later; write `order by … limit`, or join with an aggregate";
        self.refuse(codes::WINDOW, span, "window functions cannot be maintained yet", help);
    }

    fn aggregate(&mut self, function: &Function, name: &str, aggregates: Aggregates) {
        let span = function.name.span();
        if let Aggregates::Refused(place) = aggregates {
            let message = format!("the aggregate {name} cannot stand in `{place}`");
            let help = match place {
                "where" => "filter behind it: `having …`, or `| where …` after `aggregate`",
                "select" | "extend" | "set" => "write the stage `aggregate … group by …`",
                _ => "compute it first, in a subquery or a stage `aggregate`",
            };
            self.refuse(codes::GROUP, span, &message, help);
        }
        let clauses = match &function.args {
            FunctionArguments::List(list) => !list.clauses.is_empty(),
            FunctionArguments::None | FunctionArguments::Subquery(_) => true,
        };
        if clauses || !function.within_group.is_empty() || function.null_treatment.is_some() {
            let message = format!("this form of {name} cannot be maintained");
            self.refuse(codes::AGGREGATE, span, &message, AGGREGATE_HELP);
        }
    }

    pub(super) fn is_aggregate(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Function(function) => matches!(
                self.functions.kind(&function_name(&function.name)),
                Some(Kind::Aggregate | Kind::OtherAggregate)
            ),
            _ => false,
        }
    }
}

const AGGREGATES: [&str; 5] = ["count", "sum", "avg", "min", "max"];

const AGGREGATE_HELP: &str =
    "there are count, sum, avg, min and max, each with `distinct` and `filter (where …)`";

struct Walk<'w, 'r> {
    resolver: &'w mut Resolver<'r>,
    scope: &'w Scope,
    columns: &'w [Column],
    aggregates: Aggregates,
    /// How many subqueries we are inside of; they are refused as a whole.
    depth: usize,
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
            Err(problem) => match of_result(idents) {
                Some(column) if problem.label == "not known" => *expr = column.expression(span),
                _ => self.resolver.problems.push(problem),
            },
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
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.column(expr),
            Expr::Function(function) => self.resolver.function(function, self.aggregates),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                let help = "it comes later; write a join, with the subquery as a table: \
                            `join (select …) as t on …`";
                let message = "a subquery inside an expression cannot be maintained yet";
                self.resolver.refuse(codes::SUBQUERY, expr.span(), message, help);
            }
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
                let help = "write one view for each grouping, or `union all` them";
                let message = "grouping sets are not supported";
                self.resolver.refuse(codes::CLAUSE, expr.span(), message, help);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The function's name in lower case, without PostgreSQL's own schema.
fn function_name(name: &ObjectName) -> String {
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
        _ => return None,
    })
}

/// The column that a resolved expression is, if it is nothing else.
pub(super) fn as_column<'a>(expr: &Expr, scope: &'a Scope) -> Option<&'a Column> {
    let span = expr.span();
    scope.columns.iter().find(|column| column.expression(span) == *expr)
}
