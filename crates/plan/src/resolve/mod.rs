//! Names become what they stand for, before DataFusion sees the query.
//!
//! Every table is replaced by its full name and every column by its table's and its own, so that all unknown names of
//! a query are found at once, each with its place, and DataFusion never has to guess. On the way `*`, USING and the
//! stages that DataFusion lacks (set, drop, rename, distinct, extend) are written out, computed columns get the names
//! that PostgreSQL would give them, and what cannot be maintained is refused.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the syntax tree is sqlparser's; what is not named is refused"
)]

mod expression;
mod mark;
mod relation;
mod stage;
mod subquery;

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, LimitClause, NamedWindowExpr, OrderBy, OrderByKind, Query,
    Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator,
    SetQuantifier, Spanned, Value, WildcardAdditionalOptions, With,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::codes::{self, Code};
use crate::functions::Functions;
use crate::lex::bytes_of;
use crate::place::{Mark, MarkKind};
use crate::problem::Problem;
use crate::scope::{Column, Scope, exact, meant};
use crate::tables::Tables;

/// The parts of a query named by WITH: their names and columns.
type Parts = Vec<(String, Vec<Column>)>;

/// Resolves one query.
pub(crate) struct Resolver<'a> {
    tables: &'a Tables,
    functions: Functions<'a>,
    whole: Range<usize>,
    problems: Vec<Problem>,
    derived_count: usize,
    /// The scopes around the query, the innermost last.
    outer: Vec<Scope>,
    /// The parts that the query can name.
    parts: Parts,
    /// Whether the query reads a view that has problems of its own.
    incomplete: bool,
    /// The clauses that may become operators.
    marks: Vec<Mark>,
    /// Whether an aggregate was seen in the select list, or behind it.
    has_aggregate: bool,
}

/// A query whose names are resolved.
pub(crate) struct Resolved {
    /// The columns of its rows.
    pub(crate) columns: Vec<Column>,
    /// The clauses that may become operators.
    pub(crate) marks: Vec<Mark>,
}

/// Resolves the names of a query in place; `None` when it reads a view that has problems of its own.
pub(crate) fn resolve(
    query: &mut Query,
    whole: &Range<usize>,
    tables: &Tables,
    functions: Functions<'_>,
) -> Result<Option<Resolved>, Vec<Problem>> {
    let mut resolver = Resolver {
        tables,
        functions,
        whole: whole.clone(),
        problems: Vec::new(),
        derived_count: 0,
        outer: Vec::new(),
        parts: Parts::new(),
        incomplete: false,
        marks: Vec::new(),
        has_aggregate: false,
    };
    let columns = resolver.query(query, &Parts::new());
    if resolver.problems.is_empty() {
        resolver.refuse_duplicates(&columns.columns);
    }
    let resolved = Resolved { columns: columns.columns, marks: resolver.marks };
    match resolver.problems.is_empty() {
        true => Ok((!resolver.incomplete).then_some(resolved)),
        false => Err(resolver.problems),
    }
}

impl Resolver<'_> {
    fn place(&self, span: Span) -> Range<usize> {
        bytes_of(span).filter(|span| span.start <= span.end).unwrap_or_else(|| self.whole.clone())
    }

    fn refuse(&mut self, code: Code, span: Span, message: &str, help: &str) {
        let place = self.place(span);
        self.problems.push(Problem::new(code, place, message, "not supported").with_help(help));
    }

    fn refuse_duplicates(&mut self, columns: &[Column]) {
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].iter().any(|before| before.name == column.name) {
                let span = column.span.clone().unwrap_or_else(|| self.whole.clone());
                let message = format!("two columns are named {}", column.name);
                self.problems.push(
                    Problem::new(codes::DUPLICATE, span, message, "the second one")
                        .with_help("name one of them: `… as other_name`"),
                );
            }
        }
    }

    fn query(&mut self, query: &mut Query, parts: &Parts) -> Scope {
        self.refuse_query_clauses(query);
        let (first, written) = (self.marks.len(), query.span());
        let mut parts = parts.clone();
        if let Some(with) = &mut query.with {
            self.with(with, &mut parts);
        }
        let around = std::mem::replace(&mut self.parts, parts.clone());
        let order_by = query.order_by.as_ref().map(Spanned::span);
        let mut scope = match &mut *query.body {
            SetExpr::Select(select) => self.select(select, query.order_by.as_mut(), &parts),
            body => {
                let scope = self.set_expression(body, &parts);
                if let Some(order_by) = &mut query.order_by {
                    self.order_by(order_by, &scope, &[]);
                }
                scope
            }
        };
        if let Some(limit) = &query.limit_clause {
            let order = order_by.unwrap_or_else(Span::empty);
            self.mark(MarkKind::Top, [order, limit.span()]);
            self.limit_clause(limit);
        }
        let stages = std::mem::take(&mut query.pipe_operators);
        for stage in stages {
            self.stage(stage, &mut scope, &parts, &mut query.pipe_operators);
        }
        stage::write_out_merged(&mut scope, &mut query.pipe_operators);
        self.enclose(first, written);
        self.parts = around;
        scope
    }

    fn refuse_query_clauses(&mut self, query: &Query) {
        let others = [
            (query.fetch.is_some(), "FETCH", "write `limit N`"),
            (!query.locks.is_empty(), "FOR UPDATE", "leave it out: views lock nothing"),
            (query.for_clause.is_some(), "FOR", "leave it out"),
            (query.settings.is_some(), "SETTINGS", "leave it out"),
            (query.format_clause.is_some(), "FORMAT", "set the format as an option of the sink"),
        ];
        for (_, clause, help) in others.into_iter().filter(|(is_there, ..)| *is_there) {
            let message = format!("the clause {clause} is not supported");
            self.refuse(codes::CLAUSE, query.span(), &message, help);
        }
    }

    fn with(&mut self, with: &mut With, parts: &mut Parts) {
        if with.recursive {
            let span = with.with_token.0.span;
            let help = "recursion comes later; write the levels out with `union all`";
            self.refuse(codes::CLAUSE, span, "WITH RECURSIVE cannot be maintained yet", help);
            return;
        }
        for part in &mut with.cte_tables {
            let mut columns = self.query(&mut part.query, parts).columns;
            let name = meant(&part.alias.name);
            part.alias.name = exact(&name, part.alias.name.span);
            for (column, alias) in columns.iter_mut().zip(&part.alias.columns) {
                column.name = meant(&alias.name);
            }
            for column in &mut columns {
                *column = Column::new(vec![name.clone()], std::mem::take(&mut column.name));
            }
            parts.push((name, columns));
        }
    }

    fn set_expression(&mut self, body: &mut SetExpr, parts: &Parts) -> Scope {
        let span = body.span();
        match body {
            SetExpr::Select(select) => {
                let first = self.marks.len();
                let scope = self.select(select, None, parts);
                self.enclose(first, span);
                scope
            }
            SetExpr::Query(query) => self.query(query, parts),
            SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } => {
                let is_distinct = *set_quantifier != SetQuantifier::All;
                self.mark_between(MarkKind::Set, left.span(), right.span());
                if is_distinct {
                    self.mark_between(MarkKind::Distinct, left.span(), right.span());
                }
                let by_name = matches!(
                    set_quantifier,
                    SetQuantifier::ByName
                        | SetQuantifier::AllByName
                        | SetQuantifier::DistinctByName
                );
                if by_name {
                    let help = "write `union all`, with the columns in the same order";
                    self.refuse(codes::CLAUSE, span, "UNION BY NAME is not supported", help);
                }
                let left = self.set_expression(left, parts);
                self.set_expression(right, parts);
                computed(left)
            }
            SetExpr::SetOperation { .. } => self.set_operation(body, parts),
            SetExpr::Values(values) => {
                let mut rows: Vec<Vec<Expr>> =
                    values.rows.iter().map(|row| row.content.clone()).collect();
                let scope = self.values(&mut rows);
                for (row, resolved) in values.rows.iter_mut().zip(rows) {
                    row.content = resolved;
                }
                scope
            }
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => {
                let help = "a view is a SELECT or a pipe that begins with `from`";
                self.refuse(codes::STATEMENT, span, "a view cannot be made of this", help);
                Scope { columns: Vec::new(), open: true }
            }
        }
    }

    fn select(
        &mut self,
        select: &mut Select,
        order_by: Option<&mut OrderBy>,
        parts: &Parts,
    ) -> Scope {
        self.refuse_select_clauses(select);
        let had_aggregate = std::mem::take(&mut self.has_aggregate);
        let mut list: Vec<Span> = select.projection.iter().map(Spanned::span).collect();
        // A query that begins with `from` has no word `select`.
        if !list.is_empty() {
            list.push(select.select_token.0.span);
        }
        let grouped = select.group_by.span();
        if select.flavor == SelectFlavor::FromFirstNoSelect {
            let token = WildcardAdditionalOptions::default();
            select.projection = vec![SelectItem::Wildcard(token)];
        }
        select.flavor = SelectFlavor::Standard;
        if select.projection.is_empty() {
            let place = self.place(select.select_token.0.span);
            let message = "the select names no column";
            self.problems.push(
                Problem::new(codes::SYNTAX, place, message, "select what?")
                    .with_help("name columns, or write `select *`"),
            );
        }
        let mut scope = Scope::default();
        for table in &mut select.from {
            let joined = self.joined(table, parts, &scope);
            scope.append(joined);
        }
        if let Some(condition) = &mut select.selection {
            self.mark_conditions(condition);
            self.expression(condition, &scope, &[], Aggregates::Refused("where"));
        }
        self.named_windows(select, &scope);
        let items = std::mem::take(&mut select.projection);
        let columns;
        (select.projection, columns) = self.items(items, &scope, Aggregates::Allowed);
        if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
            for group in groups {
                self.expression(group, &scope, &columns, Aggregates::Refused("group by"));
            }
        }
        if let Some(having) = &mut select.having {
            self.mark_conditions(having);
            self.expression(having, &scope, &columns, Aggregates::Allowed);
        }
        if let Some(Distinct::On(first)) = &mut select.distinct {
            for expr in first {
                if !self.output_name(expr, &columns) {
                    self.expression(expr, &scope, &columns, Aggregates::Allowed);
                }
            }
        }
        if let Some(qualify) = &mut select.qualify {
            self.mark_conditions(qualify);
            self.expression(qualify, &scope, &columns, Aggregates::Allowed);
        }
        if let Some(order_by) = order_by {
            self.order_by(order_by, &scope, &columns);
        }
        self.mark_select(select, &list, grouped);
        self.has_aggregate = had_aggregate;
        Scope { columns, open: scope.open }
    }

    /// The windows that a query names.
    fn named_windows(&mut self, select: &mut Select, scope: &Scope) {
        for window in &mut select.named_window {
            let NamedWindowExpr::WindowSpec(spec) = &mut window.1 else { continue };
            let order = spec.order_by.iter_mut().map(|key| &mut key.expr);
            for expr in spec.partition_by.iter_mut().chain(order) {
                self.expression(expr, scope, &[], Aggregates::Allowed);
            }
        }
    }

    fn refuse_select_clauses(&mut self, select: &Select) {
        let grouping = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(_, modifiers) => !modifiers.is_empty(),
        };
        let others = [
            (select.top.is_some(), "TOP", "write `limit N`"),
            (select.into.is_some(), "INTO", "write `create sink`"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW", "it comes later"),
            (select.prewhere.is_some(), "PREWHERE", "write `where`"),
            (!select.connect_by.is_empty(), "CONNECT BY", "recursion comes later"),
            (!select.cluster_by.is_empty(), "CLUSTER BY", "leave it out"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY", "leave it out"),
            (!select.sort_by.is_empty(), "SORT BY", "write `order by`"),
            (select.exclude.is_some(), "EXCLUDE", "name the columns, or use the stage `drop`"),
            (
                grouping,
                "GROUP BY ALL or WITH ROLLUP",
                "name the columns to group by, or write `rollup (…)`",
            ),
        ];
        for (_, clause, help) in others.into_iter().filter(|(is_there, ..)| *is_there) {
            let message = format!("the clause {clause} is not supported");
            self.refuse(codes::CLAUSE, select.span(), &message, help);
        }
    }

    /// Resolves a select list: `*` is written out and computed columns get names.
    fn items(
        &mut self,
        items: Vec<SelectItem>,
        scope: &Scope,
        aggregates: Aggregates,
    ) -> (Vec<SelectItem>, Vec<Column>) {
        let (mut resolved, mut columns) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                SelectItem::UnnamedExpr(mut expr) => {
                    let span = expr.span();
                    let position = columns.len() + 1;
                    let name =
                        expression::name_of(&expr).unwrap_or_else(|| format!("column{position}"));
                    self.expression(&mut expr, scope, &[], aggregates);
                    let place = Some(self.place(span));
                    match expression::as_column(&expr, scope) {
                        Some(column) => {
                            columns.push(Column { span: place, merged: false, ..column.clone() });
                            resolved.push(SelectItem::UnnamedExpr(expr));
                        }
                        None => {
                            let alias = exact(&name, span);
                            resolved.push(SelectItem::ExprWithAlias { expr, alias });
                            columns.push(Column { span: place, ..Column::new(Vec::new(), name) });
                        }
                    }
                }
                SelectItem::ExprWithAlias { mut expr, alias } => {
                    self.expression(&mut expr, scope, &[], aggregates);
                    let (name, span) = (meant(&alias), Some(self.place(alias.span)));
                    let alias = exact(&name, alias.span);
                    resolved.push(SelectItem::ExprWithAlias { expr, alias });
                    columns.push(Column { span, ..Column::new(Vec::new(), name) });
                }
                SelectItem::ExprWithAliases { aliases, .. } => {
                    let span = aliases.first().map_or(Span::empty(), |alias| alias.span);
                    let help = "give one name: `… as name`";
                    self.refuse(codes::CLAUSE, span, "several names for one column", help);
                }
                SelectItem::Wildcard(options) => {
                    let span = options.wildcard_token.0.span;
                    self.plain_wildcard(&options, span);
                    let all: Vec<_> = scope.visible().cloned().collect();
                    self.write_out(all, span, &mut resolved, &mut columns);
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    let span = kind.span();
                    self.plain_wildcard(&options, span);
                    let all = self.of_table(&kind, scope);
                    self.write_out(all, span, &mut resolved, &mut columns);
                }
            }
        }
        (resolved, columns)
    }

    fn write_out(
        &self,
        all: Vec<Column>,
        span: Span,
        items: &mut Vec<SelectItem>,
        columns: &mut Vec<Column>,
    ) {
        let place = self.place(span);
        for column in all {
            items.push(SelectItem::UnnamedExpr(column.expression(span)));
            columns.push(Column { span: Some(place.clone()), merged: false, ..column });
        }
    }

    fn plain_wildcard(&mut self, options: &WildcardAdditionalOptions, span: Span) {
        let plain = WildcardAdditionalOptions {
            wildcard_token: options.wildcard_token.clone(),
            ..WildcardAdditionalOptions::default()
        };
        if *options != plain {
            let help = "name the columns, or use the stages `drop`, `set` and `rename`";
            self.refuse(codes::CLAUSE, span, "`*` takes no further words here", help);
        }
    }

    fn of_table(&mut self, kind: &SelectItemQualifiedWildcardKind, scope: &Scope) -> Vec<Column> {
        let idents: Vec<Ident> = match kind {
            SelectItemQualifiedWildcardKind::ObjectName(name) => {
                name.0.iter().filter_map(|part| part.as_ident().cloned()).collect()
            }
            SelectItemQualifiedWildcardKind::Expr(_) => Vec::new(),
        };
        let table: Vec<_> = idents.iter().map(meant).collect();
        let found = scope.of_table(&table);
        if !found.is_empty() && !table.is_empty() {
            return found.into_iter().cloned().collect();
        }
        // An unknown name in front of the star is the same problem as in front of a column.
        let mut with_column = idents;
        let span = with_column.last().map_or(Span::empty(), |last| last.span);
        with_column.push(exact("*", span));
        if let Err(problem) = scope.find(&with_column, &self.whole) {
            self.problems.push(problem);
        }
        Vec::new()
    }

    fn order_by(&mut self, order_by: &mut OrderBy, scope: &Scope, columns: &[Column]) {
        match &mut order_by.kind {
            OrderByKind::All(_) => {
                let help = "name the columns to order by";
                self.refuse(codes::CLAUSE, order_by.span(), "ORDER BY ALL is not supported", help);
            }
            OrderByKind::Expressions(keys) => {
                for key in keys {
                    if !self.output_name(&mut key.expr, columns) {
                        self.expression(&mut key.expr, scope, columns, Aggregates::Allowed);
                    }
                }
            }
        }
    }

    /// A name alone in ORDER BY means a column of the result first.
    #[expect(clippy::unused_self, reason = "reads as the other steps of resolving")]
    fn output_name(&self, expr: &mut Expr, columns: &[Column]) -> bool {
        let Expr::Identifier(ident) = expr else {
            return false;
        };
        let (name, span) = (meant(ident), ident.span);
        let mut found = columns.iter().filter(|column| column.name == name);
        match (found.next(), found.next()) {
            (Some(column), None) => {
                *expr = column.expression(span);
                true
            }
            _ => false,
        }
    }

    fn limit_clause(&mut self, limit: &LimitClause) {
        let (limit, offset) = match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                if !limit_by.is_empty() {
                    let span = limit_by[0].span();
                    let help = "leave BY out";
                    self.refuse(codes::CLAUSE, span, "LIMIT BY is not supported", help);
                }
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            LimitClause::OffsetCommaLimit { offset, limit } => (Some(limit), Some(offset)),
        };
        for number in limit.into_iter().chain(offset) {
            self.whole_number(number);
        }
    }

    fn whole_number(&mut self, expr: &Expr) {
        let is_number = match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => digits.to_string().parse::<u32>().is_ok(),
                _ => false,
            },
            _ => false,
        };
        if !is_number {
            let help = "write a number such as `limit 10`";
            self.refuse(codes::LIMIT, expr.span(), "a limit is a whole number", help);
        }
    }
}

/// Whether aggregates may stand in an expression, and where they may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregates {
    Allowed,
    Refused(&'static str),
}

/// The same columns without tables.
fn computed(scope: Scope) -> Scope {
    let columns = scope.columns.into_iter();
    let columns = columns.map(|column| Column { path: Vec::new(), merged: false, ..column });
    Scope { columns: columns.collect(), open: scope.open }
}
