//! Queries inside of queries: in expressions, behind LATERAL, and as the sides of INTERSECT and EXCEPT. Their scope sees
//! the one that they stand in.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the syntax tree is sqlparser's; what is not named is refused"
)]

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query,
    SetExpr, SetOperator, SetQuantifier, Spanned, Statement, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

use super::{Aggregates, Parts, Resolver, computed};
use crate::codes;
use crate::ir::SetOperation;
use crate::lex::DIALECT;
use crate::lower::mark;
use crate::problem::Problem;
use crate::scope::{Column, Scope, exact, meant};
pub(super) use crate::spelling::call;

impl Resolver<'_> {
    /// Resolves a query that sees the columns of a scope beside its own.
    pub(super) fn inner_query(&mut self, query: &mut Query, scope: &Scope) -> Scope {
        self.outer.push(scope.clone());
        let parts = self.parts.clone();
        let inner = self.query(query, &parts);
        self.outer.pop();
        inner
    }

    /// The column of a scope around the query.
    pub(super) fn outer_column(&self, idents: &[Ident], scope: &Scope) -> Option<Column> {
        let (_, table) = idents.split_last()?;
        let table: Vec<_> = table.iter().map(meant).collect();
        let mut hidden = !table.is_empty() && !scope.of_table(&table).is_empty();
        for outer in self.outer.iter().rev() {
            if hidden {
                return None;
            }
            match outer.find(idents, &self.whole) {
                Ok(found) => return found.cloned(),
                Err(_) => hidden = !table.is_empty() && !outer.of_table(&table).is_empty(),
            }
        }
        None
    }

    /// Whether a column may be one of an unknown table around the query.
    pub(super) fn outer_is_open(&self) -> bool {
        self.outer.iter().any(|scope| scope.open)
    }

    /// INTERSECT and EXCEPT: a union for DataFusion, which finds the common types, marked as what it is.
    pub(super) fn set_operation(&mut self, body: &mut SetExpr, parts: &Parts) -> Scope {
        let span = body.span();
        let SetExpr::SetOperation { left, op, set_quantifier, right } = body else {
            return Scope::default();
        };
        let operation = match op {
            SetOperator::Intersect => SetOperation::Intersect,
            SetOperator::Except | SetOperator::Minus | SetOperator::Union => SetOperation::Except,
        };
        let all = match set_quantifier {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                let help = "name the columns in the same order on both sides";
                self.refuse(codes::CLAUSE, span, "BY NAME is not supported", help);
                false
            }
        };
        let shown = op.to_string();
        let left_scope = self.set_expression(left, parts);
        let right_scope = self.set_expression(right, parts);
        let columns = right_scope.columns.len();
        if !left_scope.open && !right_scope.open && left_scope.columns.len() != columns {
            let place = self.place(span);
            let message = format!(
                "{shown} has {} columns on the left and {columns} on the right",
                left_scope.columns.len()
            );
            let problem = Problem::new(codes::TYPE, place, message, "must be as many");
            self.problems.push(problem.with_help("select the same columns on both sides"));
        }
        let inner = std::mem::replace(&mut **right, SetExpr::Query(Box::new(star_query())));
        **right = marked(inner, mark(operation, all), columns);
        *op = SetOperator::Union;
        *set_quantifier = SetQuantifier::All;
        computed(left_scope)
    }

    /// The rows of VALUES.
    pub(super) fn values(&mut self, rows: &mut [Vec<Expr>]) -> Scope {
        let width = rows.first().map_or(0, Vec::len);
        for value in rows.iter_mut().flatten() {
            self.expression(value, &Scope::default(), &[], Aggregates::Refused("values"));
        }
        let column = |at: usize| Column::new(Vec::new(), format!("column{at}"));
        Scope { columns: (1..=width).map(column).collect(), open: false }
    }

    /// `unnest(…)` and `generate_series(…)` as tables: a row for each element.
    pub(super) fn function_table(&mut self, factor: &mut TableFactor, before: &Scope) -> Scope {
        let span = factor.span();
        let (name, mut lists, alias, plain) = match factor {
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality,
            } => {
                let plain = !*with_offset && with_offset_alias.is_none() && !*with_ordinality;
                ("unnest".to_owned(), std::mem::take(array_exprs), alias.take(), plain)
            }
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                let (name, lists) = function_lists(name, std::mem::take(&mut args.args));
                (name, lists, alias.take(), !*with_ordinality)
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                let (name, lists) = function_lists(name, std::mem::take(args));
                (name, lists, alias.take(), !*with_ordinality)
            }
            _ => (String::new(), Vec::new(), None, false),
        };
        if lists.is_empty() || !plain {
            let help = "there are `unnest(list)` and `generate_series(first, last, step)`";
            self.refuse(codes::CLAUSE, span, "a query cannot read from this", help);
            return Scope { columns: Vec::new(), open: true };
        }
        self.outer.push(before.clone());
        for list in &mut lists {
            self.list(list, &Scope::default());
        }
        self.outer.pop();
        let mut alias = alias.unwrap_or_else(|| TableAlias {
            explicit: true,
            name: exact(&name, Span::empty()),
            columns: Vec::new(),
            at: None,
        });
        let table = meant(&alias.name);
        alias.name = exact(&table, alias.name.span);
        let mut names: Vec<String> =
            alias.columns.iter().map(|column| meant(&column.name)).collect();
        for at in names.len()..lists.len() {
            names.push(match at {
                0 => table.clone(),
                at => format!("{name}{}", at + 1),
            });
        }
        let column = |name: &String| TableAliasColumnDef {
            name: exact(name, Span::empty()),
            data_type: None,
        };
        alias.columns = names.iter().map(column).collect();
        *factor = TableFactor::UNNEST {
            alias: Some(alias),
            array_exprs: lists,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        };
        let named = names.into_iter().map(|name| Column::new(vec![table.clone()], name));
        Scope { columns: named.collect(), open: false }
    }

    /// Resolves a list to unnest; a series stays a list here.
    fn list(&mut self, list: &mut Expr, scope: &Scope) {
        let refused = Aggregates::Refused("from");
        match list {
            Expr::Function(function) if is_series(function) => {
                if let FunctionArguments::List(arguments) = &mut function.args {
                    for argument in &mut arguments.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument {
                            self.expression(value, scope, &[], refused);
                        }
                    }
                }
            }
            other => self.expression(other, scope, &[], refused),
        }
    }
}

/// The lists that a function in FROM unnests.
fn function_lists(name: &ObjectName, arguments: Vec<FunctionArg>) -> (String, Vec<Expr>) {
    let name = super::expression::function_name(name);
    let value = |argument: FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    };
    let values: Vec<Expr> = arguments.into_iter().filter_map(value).collect();
    let lists = match name.as_str() {
        "unnest" => values,
        "generate_series" => vec![call(&name, values)],
        _ => Vec::new(),
    };
    (name, lists)
}

/// Whether a function makes a series.
pub(super) fn is_series(function: &Function) -> bool {
    super::expression::function_name(&function.name) == "generate_series"
}

/// `select * from t`, to be filled.
fn star_query() -> Query {
    let parsed = Parser::parse_sql(&DIALECT, "select * from t").ok();
    match parsed.and_then(|statements| statements.into_iter().next()) {
        Some(Statement::Query(query)) => *query,
        _ => unreachable!("this text is a query"),
    }
}

/// The query's rows, under a name that says which operation a union stands for.
fn marked(body: SetExpr, mark: &str, columns: usize) -> SetExpr {
    let subquery = Query { body: Box::new(body), ..star_query() };
    let column = |at: usize| TableAliasColumnDef {
        name: exact(&format!("column{at}"), Span::empty()),
        data_type: None,
    };
    let alias = TableAlias {
        explicit: true,
        name: exact(mark, Span::empty()),
        columns: (1..=columns).map(column).collect(),
        at: None,
    };
    let relation = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(subquery),
        alias: Some(alias),
        sample: None,
    };
    let mut star = star_query();
    if let SetExpr::Select(select) = &mut *star.body {
        select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    }
    *star.body
}
