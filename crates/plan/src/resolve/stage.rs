//! The stages of a pipe.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, ExprWithAlias, ExprWithAliasAndOrderBy, Ident,
    OrderByOptions, PipeOperator, SelectItem, Spanned, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::expression::{as_column, name_of};
use super::{Aggregates, Parts, Resolver, computed};
use crate::codes;
use crate::place::MarkKind;
use crate::problem::Problem;
use crate::scope::{Column, Scope, exact, meant};
use crate::script::DISTINCT_GROUP;

/// The start of the names of aggregates inside of larger expressions; no user can write it.
const INNER: &str = "\0aggregate";

impl Resolver<'_> {
    /// Resolves a stage, and appends what DataFusion is to do for it.
    pub(super) fn stage(
        &mut self,
        stage: PipeOperator,
        scope: &mut Scope,
        parts: &Parts,
        resolved: &mut Vec<PipeOperator>,
    ) {
        match stage {
            PipeOperator::Where { mut expr } => {
                self.mark_conditions(&expr);
                self.expression(&mut expr, scope, &[], Aggregates::Refused("where"));
                resolved.push(PipeOperator::Where { expr });
            }
            PipeOperator::Select { exprs } => {
                self.select_stage(exprs, scope, Aggregates::Refused("select"), resolved);
            }
            PipeOperator::Extend { exprs } => {
                self.extend_stage(exprs, scope, resolved);
            }
            PipeOperator::Set { assignments } => self.set_stage(assignments, scope, resolved),
            PipeOperator::Drop { columns } => {
                let dropped = columns.into_iter().map(|column| (vec![column], None)).collect();
                self.change_stage(dropped, scope, resolved);
            }
            PipeOperator::Rename { mappings } => {
                let mapped = mappings.into_iter().map(|both| (both.ident, both.alias)).collect();
                self.rename_stage(mapped, scope, resolved);
            }
            PipeOperator::As { alias } => self.as_stage(&alias, scope, resolved),
            PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
                self.aggregate_stage(full_table_exprs, group_by_expr, scope, resolved);
            }
            PipeOperator::OrderBy { mut exprs } => {
                for key in &mut exprs {
                    let aggregates = Aggregates::Refused("order by");
                    self.expression(&mut key.expr, scope, &[], aggregates);
                }
                resolved.push(PipeOperator::OrderBy { exprs });
            }
            PipeOperator::Limit { expr, offset } => {
                self.mark_top(resolved.last(), offset.iter().chain([&expr]));
                offset.iter().chain([&expr]).for_each(|number| self.whole_number(number));
                resolved.push(PipeOperator::Limit { expr, offset });
            }
            PipeOperator::Union { set_quantifier, mut queries } => {
                self.mark(MarkKind::Set, queries.iter().map(Spanned::span));
                for query in &mut queries {
                    self.query(query, parts);
                }
                write_out_merged(scope, resolved);
                *scope = computed(std::mem::take(scope));
                resolved.push(PipeOperator::Union { set_quantifier, queries });
            }
            PipeOperator::Join(mut join) => {
                self.join(&mut join, scope, parts);
                resolved.push(PipeOperator::Join(join));
            }
            PipeOperator::TableSample { .. }
            | PipeOperator::Intersect { .. }
            | PipeOperator::Except { .. }
            | PipeOperator::Call { .. }
            | PipeOperator::Pivot { .. }
            | PipeOperator::Unpivot { .. } => {
                // The script's reader refuses these words at their place.
                let message = "this stage of a pipe is not supported";
                let problem = Problem::new(codes::STAGE, self.whole.clone(), message, "in here");
                self.problems.push(problem);
            }
        }
    }

    fn extend_stage(
        &mut self,
        exprs: Vec<SelectItem>,
        scope: &mut Scope,
        resolved: &mut Vec<PipeOperator>,
    ) {
        self.mark(MarkKind::Select, exprs.iter().map(Spanned::span));
        let (items, columns) = self.items(exprs, scope, Aggregates::Refused("extend"));
        let mut all = all_items(scope);
        all.extend(items);
        scope.columns = scope.visible().cloned().chain(columns).collect();
        resolved.push(PipeOperator::Select { exprs: all });
    }

    fn set_stage(
        &mut self,
        assignments: Vec<Assignment>,
        scope: &mut Scope,
        resolved: &mut Vec<PipeOperator>,
    ) {
        let mut new = Vec::new();
        for assignment in assignments {
            let AssignmentTarget::ColumnName(name) = assignment.target else {
                let help = "set one column at a time: `set a = 1, b = 2`";
                let span = assignment.value.span();
                self.refuse(codes::STAGE, span, "`set` takes no tuple", help);
                continue;
            };
            let idents = name.0.iter().filter_map(|part| part.as_ident().cloned());
            new.push((idents.collect(), Some(assignment.value)));
        }
        self.change_stage(new, scope, resolved);
    }

    fn as_stage(&mut self, alias: &Ident, scope: &mut Scope, resolved: &mut Vec<PipeOperator>) {
        let name = meant(alias);
        write_out_merged(scope, resolved);
        let columns = std::mem::take(&mut scope.columns);
        self.refuse_duplicates(&columns);
        let columns = columns.into_iter();
        scope.columns =
            columns.map(|column| Column::new(vec![name.clone()], column.name)).collect();
        resolved.push(PipeOperator::As { alias: exact(&name, alias.span) });
    }

    fn select_stage(
        &mut self,
        items: Vec<SelectItem>,
        scope: &mut Scope,
        aggregates: Aggregates,
        resolved: &mut Vec<PipeOperator>,
    ) {
        self.mark(MarkKind::Select, items.iter().map(Spanned::span));
        let (exprs, columns) = self.items(items, scope, aggregates);
        scope.columns = columns;
        resolved.push(PipeOperator::Select { exprs });
    }

    /// `set` (with a new value) and `drop` (without): a select of what remains.
    fn change_stage(
        &mut self,
        changes: Vec<(Vec<Ident>, Option<Expr>)>,
        scope: &mut Scope,
        resolved: &mut Vec<PipeOperator>,
    ) {
        let mut changed = Vec::new();
        let spans = changes.iter().flat_map(|(idents, value)| {
            idents.iter().map(|ident| ident.span).chain(value.iter().map(Spanned::span))
        });
        self.mark(MarkKind::Select, spans.collect::<Vec<_>>());
        for (idents, value) in changes {
            let value = value.map(|mut value| {
                self.expression(&mut value, scope, &[], Aggregates::Refused("set"));
                value
            });
            let span = idents.last().map_or(Span::empty(), |last| last.span);
            match scope.find(&idents, &self.whole) {
                Ok(Some(column)) => changed.push((column.clone(), value, span)),
                Ok(None) => {}
                Err(problem) => self.problems.push(problem),
            }
        }
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for column in scope.visible() {
            let change = changed
                .iter()
                .rev()
                .find(|(of, ..)| of.name == column.name && of.path == column.path);
            match change {
                Some((_, None, _)) => {}
                Some((_, Some(value), span)) => {
                    let alias = exact(&column.name, *span);
                    exprs.push(SelectItem::ExprWithAlias { expr: value.clone(), alias });
                    columns.push(Column { path: Vec::new(), ..column.clone() });
                }
                None => {
                    exprs.push(item(column));
                    columns.push(column.clone());
                }
            }
        }
        if exprs.is_empty() && self.problems.is_empty() {
            let message = "no column is left";
            let problem = Problem::new(codes::STAGE, self.whole.clone(), message, "in here");
            self.problems.push(problem.with_help("keep at least one column"));
        }
        scope.columns = columns;
        resolved.push(PipeOperator::Select { exprs });
    }

    fn rename_stage(
        &mut self,
        names: Vec<(Ident, Ident)>,
        scope: &mut Scope,
        resolved: &mut Vec<PipeOperator>,
    ) {
        let mut renamed = Vec::new();
        for (old, new) in names {
            match scope.find(std::slice::from_ref(&old), &self.whole) {
                Ok(Some(column)) => renamed.push((column.clone(), new)),
                Ok(None) => {}
                Err(problem) => self.problems.push(problem),
            }
        }
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for column in scope.visible() {
            let new = renamed
                .iter()
                .rev()
                .find(|(of, _)| of.name == column.name && of.path == column.path);
            match new {
                Some((_, new)) => {
                    let (expr, name) = (column.expression(new.span), meant(new));
                    let alias = exact(&name, new.span);
                    exprs.push(SelectItem::ExprWithAlias { expr, alias });
                    let span = Some(self.place(new.span));
                    columns.push(Column { span, ..Column::new(Vec::new(), name) });
                }
                None => {
                    exprs.push(item(column));
                    columns.push(column.clone());
                }
            }
        }
        scope.columns = columns;
        resolved.push(PipeOperator::Select { exprs });
    }

    /// `aggregate … group by …`: the group columns, then the aggregates.
    ///
    /// DataFusion wants bare aggregates, so an expression around some is computed by a select behind.
    fn aggregate_stage(
        &mut self,
        aggregates: Vec<ExprWithAliasAndOrderBy>,
        groups: Vec<ExprWithAliasAndOrderBy>,
        scope: &mut Scope,
        resolved: &mut Vec<PipeOperator>,
    ) {
        let spans = aggregates.iter().chain(&groups).map(|one| one.expr.span());
        self.mark(MarkKind::Aggregate, spans.collect::<Vec<_>>());
        if is_distinct(&groups) {
            write_out_merged(scope, resolved);
            let group_by_expr =
                scope.columns.iter().map(|column| bare(column.expression(Span::empty()))).collect();
            resolved.push(PipeOperator::Aggregate { full_table_exprs: Vec::new(), group_by_expr });
            return;
        }
        let (mut after, group_by_expr) = self.groups(groups, scope);
        let group_count = after.columns.len();
        let mut outer = all_items(&after);
        let mut full_table_exprs = Vec::new();
        let mut needs_select = false;
        for mut aggregate in aggregates {
            self.refuse_order(&aggregate);
            let span = aggregate.expr.expr.span();
            let position = after.columns.len() + 1;
            let name = aggregate.expr.alias.as_ref().map(meant);
            let name = name.or_else(|| name_of(&aggregate.expr.expr));
            let name = name.unwrap_or_else(|| format!("column{position}"));
            let place = aggregate.expr.alias.as_ref().map_or(span, |alias| alias.span);
            self.expression(&mut aggregate.expr.expr, scope, &[], Aggregates::Allowed);
            let column = Column::new(Vec::new(), name.clone());
            let alias = exact(&name, span);
            if self.is_aggregate(&aggregate.expr.expr) {
                outer.push(SelectItem::UnnamedExpr(column.expression(span)));
                aggregate.expr.alias = Some(alias);
                full_table_exprs.push(aggregate);
            } else {
                let groups = &after.columns[..group_count];
                let expr = self.cut_out(
                    aggregate.expr.expr,
                    groups,
                    &group_by_expr,
                    &mut full_table_exprs,
                );
                outer.push(SelectItem::ExprWithAlias { expr, alias });
                needs_select = true;
            }
            after.columns.push(Column { span: Some(self.place(place)), ..column });
        }
        if group_by_expr.is_empty() && full_table_exprs.is_empty() && self.problems.is_empty() {
            let message = "the stage computes nothing";
            let problem = Problem::new(codes::STAGE, self.whole.clone(), message, "in here");
            self.problems.push(problem.with_help("write `aggregate count(*) as n group by …`"));
        }
        resolved.push(PipeOperator::Aggregate { full_table_exprs, group_by_expr });
        if needs_select {
            resolved.push(PipeOperator::Select { exprs: outer });
        }
        *scope = after;
    }

    /// Resolves what is grouped by, and returns its columns.
    fn groups(
        &mut self,
        groups: Vec<ExprWithAliasAndOrderBy>,
        scope: &Scope,
    ) -> (Scope, Vec<ExprWithAliasAndOrderBy>) {
        let mut after = Scope { columns: Vec::new(), open: scope.open };
        let mut group_by_expr = Vec::new();
        for mut group in groups {
            self.refuse_order(&group);
            let name = name_of(&group.expr.expr);
            let span = group.expr.expr.span();
            let place = Aggregates::Refused("group by");
            self.expression(&mut group.expr.expr, scope, &[], place);
            let position = after.columns.len() + 1;
            let column = match (&group.expr.alias, as_column(&group.expr.expr, scope)) {
                (None, Some(column)) => Column { merged: false, ..column.clone() },
                (Some(alias), _) => Column::new(Vec::new(), meant(alias)),
                (None, None) => {
                    Column::new(Vec::new(), name.unwrap_or_else(|| format!("column{position}")))
                }
            };
            if column.path.is_empty() {
                group.expr.alias = Some(exact(&column.name, span));
            }
            after.columns.push(Column { span: Some(self.place(span)), ..column });
            group_by_expr.push(group);
        }
        (after, group_by_expr)
    }

    fn refuse_order(&mut self, expr: &ExprWithAliasAndOrderBy) {
        if expr.order_by != no_order() {
            let span = expr.expr.expr.span();
            let help = "add a stage `order by …`";
            self.refuse(codes::STAGE, span, "`aggregate` does not order its rows", help);
        }
    }

    /// Replaces the aggregates inside of an expression by columns, and appends them to `aggregates`.
    fn cut_out(
        &mut self,
        mut expr: Expr,
        groups: &[Column],
        group_expressions: &[ExprWithAliasAndOrderBy],
        aggregates: &mut Vec<ExprWithAliasAndOrderBy>,
    ) -> Expr {
        let mut cut = Cut { resolver: self, groups, group_expressions, aggregates, inside: 0 };
        let ControlFlow::Continue(()) = expr.visit(&mut cut);
        expr
    }
}

struct Cut<'c, 'r> {
    resolver: &'c mut Resolver<'r>,
    groups: &'c [Column],
    group_expressions: &'c [ExprWithAliasAndOrderBy],
    aggregates: &'c mut Vec<ExprWithAliasAndOrderBy>,
    /// How many cut-out columns we are inside of: they are not looked at again.
    inside: usize,
}

impl VisitorMut for Cut<'_, '_> {
    type Break = std::convert::Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let grouped = self.group_expressions.iter().position(|group| group.expr.expr == *expr);
        if let Some(column) = grouped.and_then(|at| self.groups.get(at)) {
            *expr = column.expression(expr.span());
            self.inside += 1;
        } else if self.resolver.is_aggregate(expr) {
            let name = exact(&format!("{INNER}{}", self.aggregates.len()), expr.span());
            let column = Expr::Identifier(name.clone());
            let mut aggregate = bare(std::mem::replace(expr, column));
            aggregate.expr.alias = Some(name);
            self.aggregates.push(aggregate);
            self.inside += 1;
        } else if self.inside == 0
            && matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            let place = self.resolver.place(expr.span());
            let message = "this column is neither grouped by nor inside an aggregate";
            self.resolver.problems.push(
                Problem::new(codes::GROUP, place, message, "many values in a group")
                    .with_help("add it to `group by`, or aggregate it: `min(…)`"),
            );
            self.inside += 1;
        } else if self.inside > 0 {
            self.inside += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &mut Expr) -> ControlFlow<Self::Break> {
        self.inside = self.inside.saturating_sub(1);
        ControlFlow::Continue(())
    }
}

/// Whether this is how the stage `distinct` is written for sqlparser.
fn is_distinct(groups: &[ExprWithAliasAndOrderBy]) -> bool {
    matches!(groups, [group]
        if matches!(&group.expr.expr, Expr::Identifier(ident) if ident.value == DISTINCT_GROUP))
}

/// Takes the columns away that USING merged into others.
pub(super) fn write_out_merged(scope: &mut Scope, resolved: &mut Vec<PipeOperator>) {
    if scope.columns.iter().any(|column| column.merged) {
        resolved.push(PipeOperator::Select { exprs: all_items(scope) });
        scope.columns.retain(|column| !column.merged);
    }
}

fn bare(expr: Expr) -> ExprWithAliasAndOrderBy {
    ExprWithAliasAndOrderBy { expr: ExprWithAlias { expr, alias: None }, order_by: no_order() }
}

fn no_order() -> OrderByOptions {
    OrderByOptions { asc: None, nulls_first: None }
}

fn item(column: &Column) -> SelectItem {
    SelectItem::UnnamedExpr(column.expression(Span::empty()))
}

fn all_items(scope: &Scope) -> Vec<SelectItem> {
    scope.visible().map(item).collect()
}
