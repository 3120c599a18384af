//! Marks at the clauses that may become operators: see the module `place`.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use datafusion::sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, PipeOperator, Select, Spanned, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::Resolver;
use crate::lex::bytes_of;
use crate::place::{Mark, MarkKind, conditions, hull, names};

impl Resolver<'_> {
    /// Marks a clause of the query that is being resolved.
    pub(super) fn mark(&mut self, kind: MarkKind, spans: impl IntoIterator<Item = Span>) {
        if let Some(shown) = hull(spans.into_iter().filter_map(bytes_of)) {
            self.marks.push(Mark { kind, shown, reach: None });
        }
    }

    /// Marks what stands between two queries.
    pub(super) fn mark_between(&mut self, kind: MarkKind, left: Span, right: Span) {
        let (Some(left), Some(right)) = (bytes_of(left), bytes_of(right)) else { return };
        if left.end <= right.start {
            self.marks.push(Mark { kind, shown: left.end..right.start, reach: None });
        }
    }

    /// Marks a join, which reaches the table on its right.
    pub(super) fn mark_join(&mut self, right: Span, operator: Span) {
        let reach = bytes_of(right);
        if let Some(shown) = hull([right, operator].into_iter().filter_map(bytes_of)) {
            self.marks.push(Mark { kind: MarkKind::Join, shown, reach });
        }
    }

    /// Marks a limit with its bounds, and the order before it.
    pub(super) fn mark_top<'e>(
        &mut self,
        before: Option<&PipeOperator>,
        bounds: impl Iterator<Item = &'e Expr>,
    ) {
        let keys = match before {
            Some(PipeOperator::OrderBy { exprs }) => exprs.as_slice(),
            _ => &[],
        };
        let spans = keys.iter().map(Spanned::span).chain(bounds.map(Spanned::span));
        self.mark(MarkKind::Top, spans);
    }

    /// Marks a condition, and each of those that `and` joins in it.
    pub(super) fn mark_conditions(&mut self, condition: &Expr) {
        for part in conditions(condition) {
            self.mark(MarkKind::Condition { names: names(part) }, [part.span()]);
        }
        self.mark(MarkKind::Filter, [condition.span()]);
    }

    /// Marks what a select computes of its rows, when these are known.
    pub(super) fn mark_select(&mut self, select: &Select, list: &[Span], grouped: Span) {
        let is_grouped = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(groups, _) => !groups.is_empty(),
        };
        if is_grouped {
            self.mark(MarkKind::Aggregate, [grouped]);
        } else if self.has_aggregate {
            self.mark(MarkKind::Aggregate, list.iter().copied());
        }
        if select.distinct.is_some() {
            self.mark(MarkKind::Distinct, list.iter().copied());
        }
        self.mark(MarkKind::Select, list.iter().copied());
    }

    /// Marks a call of a window function, with the window that it names.
    pub(super) fn mark_window(&mut self, function: &Function) {
        let mut spans = vec![function.span()];
        if let Some(WindowType::WindowSpec(spec)) = &function.over {
            spans.extend(spec.partition_by.iter().map(Spanned::span));
            spans.extend(spec.order_by.iter().map(Spanned::span));
        }
        self.mark(MarkKind::Window, spans);
    }

    /// Marks a subquery of an expression, of which the marks from `first` on are known already.
    pub(super) fn mark_subquery(&mut self, first: usize, expression: Span) {
        let marked = self.marks[first..].iter().map(|mark| mark.shown.clone());
        let reach = hull(marked.chain(bytes_of(expression)));
        if let Some(shown) = reach.clone() {
            self.marks.push(Mark { kind: MarkKind::Subquery, shown, reach });
        }
    }

    /// Ends a query: its clauses, those from `first` on that are of no query inside of it, reach all of it.
    pub(super) fn enclose(&mut self, first: usize, written: Span) {
        let marks = &mut self.marks[first..];
        let shown = marks.iter().map(|mark| mark.shown.clone());
        let reach = hull(shown.chain(bytes_of(written)));
        for mark in marks.iter_mut().filter(|mark| mark.reach.is_none()) {
            mark.reach.clone_from(&reach);
        }
    }
}
