//! Where in a view's text its operators come from.
//!
//! Two know half of it each. The resolver walks the query as it is written and leaves a [`Mark`] at every clause that may
//! become an operator, but it does not know the plan. The converter knows the plan, but what DataFusion made of the
//! query has lost the text; [`Finder`] finds the mark that each operator comes from. Marks are kept apart from the plan:
//! where an operator was written changes nothing of what it computes.
//!
//! A place is shown in the statement as the catalogue keeps it, which has the same words as what the user wrote.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

mod finder;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, visit_expressions};

use crate::ir::{Place, Position};
use crate::lex::lex;
use crate::scope::meant;
use crate::script::View;

pub(crate) use finder::{Finder, of_text};

/// The letters of a place's text that are shown.
const LETTERS_MAX: usize = 48;

/// A clause that may become an operator.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) kind: MarkKind,
    /// The bytes that are shown as its place.
    pub(crate) shown: Range<usize>,
    /// The bytes of all that it works upon: for most the query that it is a clause of, `None` until that is known.
    pub(crate) reach: Option<Range<usize>>,
}

/// What a clause does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MarkKind {
    /// Reads a table, or a view, under the name that the planner knows it by.
    Table { key: String, alias: Option<String> },
    /// One of the conditions that `and` joins in a [`Filter`](Self::Filter), and the columns that it names.
    Condition { names: BTreeSet<String> },
    /// `where`, `having`, `qualify`, and the `on` of a join.
    Filter,
    /// A join; its reach is the table on its right.
    Join,
    /// `group by`, or a select list with aggregates.
    Aggregate,
    /// A select list, or a stage that computes columns.
    Select,
    /// `select distinct`, or a union that keeps each row once.
    Distinct,
    /// `order by` with `limit`.
    Top,
    /// `union`, `intersect`, `except`.
    Set,
    /// A query inside of an expression.
    Subquery,
    /// A call of a window function.
    Window,
    /// `unnest(…)`, `generate_series(…)`.
    Unnest,
    /// `values …`.
    Values,
}

impl MarkKind {
    /// The words that belong to the clause although the syntax tree does not say where they are.
    fn leading(&self) -> &'static [&'static str] {
        match self {
            Self::Table { .. } | Self::Condition { .. } | Self::Window | Self::Set => &[],
            Self::Filter => &["where", "having", "qualify", "on", "(", "exists", "not"],
            Self::Join => &[
                "join", "left", "right", "full", "inner", "outer", "cross", "natural", "lateral",
                "(",
            ],
            Self::Aggregate => &["group", "by", "aggregate", "select"],
            Self::Select | Self::Distinct => &["select", "extend", "set", "rename", "distinct"],
            Self::Top => &["order", "by", "limit"],
            Self::Subquery => &["(", "exists", "in", "not"],
            Self::Unnest => &["unnest", "("],
            Self::Values => &["values", "("],
        }
    }
}

/// The smallest range that covers all; `None` of none.
pub(crate) fn hull(ranges: impl IntoIterator<Item = Range<usize>>) -> Option<Range<usize>> {
    ranges.into_iter().reduce(|one, other| one.start.min(other.start)..one.end.max(other.end))
}

/// The conditions that `and` joins.
pub(crate) fn conditions(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut all = conditions(left);
            all.extend(conditions(right));
            all
        }
        Expr::Nested(inner) => conditions(inner),
        other => vec![other],
    }
}

/// The columns that a condition names, without their tables.
pub(crate) fn names(expr: &Expr) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let visited = visit_expressions(expr, |part| {
        match part {
            Expr::Identifier(ident) => drop(names.insert(meant(ident))),
            Expr::CompoundIdentifier(idents) => names.extend(idents.last().map(meant)),
            _ => {}
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    debug_assert!(visited.is_continue(), "nothing ends the walk");
    names
}

/// A view's text, with the marks of its clauses.
#[derive(Debug)]
pub(crate) struct Text {
    view: Arc<str>,
    marks: Vec<Mark>,
    /// Where each word of the query is in what the user wrote.
    written: Vec<Range<usize>>,
    /// Where each word of the query is in the statement.
    words: Vec<Range<usize>>,
    statement: String,
    /// The views that it reads, also through others, by their place among the texts: where it names them.
    through: BTreeMap<usize, Range<usize>>,
}

impl Text {
    /// The text of a view that may read those of earlier ones.
    pub(crate) fn new(view: &View, marks: Vec<Mark>, earlier: &[Self]) -> Self {
        let statement = view.statement.clone();
        let words = lex(&statement, 0..statement.len()).unwrap_or_default();
        let head = words.len().saturating_sub(view.words.len());
        let words = words.into_iter().skip(head).map(|word| word.span).collect();
        let mut through = BTreeMap::new();
        for mark in &marks {
            let MarkKind::Table { key, .. } = &mark.kind else { continue };
            let named = earlier.iter().enumerate().filter(|(_, text)| *text.view == **key);
            for (at, text) in named {
                for reached in text.through.keys().copied().chain([at]) {
                    through.entry(reached).or_insert_with(|| mark.shown.clone());
                }
            }
        }
        let (view, written) = (view.name.name.as_str().into(), view.words.clone());
        Self { view, marks, written, words, statement, through }
    }

    /// The place of a range of bytes of what the user wrote, together with words that lead to it.
    fn place(&self, range: &Range<usize>, leading: &[&str]) -> Option<Place> {
        if self.words.len() != self.written.len() || self.words.is_empty() {
            return None;
        }
        let word = |at: usize| &self.statement[self.words[at].clone()];
        let last = self.written.partition_point(|word| word.start < range.end.max(range.start + 1));
        let mut first = self.written.partition_point(|word| word.end <= range.start);
        let mut last = last.checked_sub(1)?.max(first).min(self.words.len() - 1);
        while first > 0 && leading.contains(&word(first - 1)) {
            first -= 1;
        }
        // What the syntax tree says of a call or a list may lack a bracket, and what lies between two others has too many.
        while first < last && word(first) == ")" {
            first += 1;
        }
        while first < last && word(last) == "(" {
            last -= 1;
        }
        let opens = |at: usize| word(at) == "(" && self.words[at - 1].end == self.words[at].start;
        if last + 1 < self.words.len() && word(last) != "(" && opens(last + 1) {
            last += 1;
        }
        let depth = |last: usize| {
            (first..=last).fold(0_i32, |depth, at| match word(at) {
                "(" => depth + 1,
                ")" => depth - 1,
                _ => depth,
            })
        };
        while depth(last) > 0 && last + 1 < self.words.len() {
            last += 1;
        }
        let bytes = self.words.get(first)?.start..self.words[last].end;
        let position = |byte: usize| {
            let before = &self.statement[..byte];
            let line = before.rfind('\n').map_or(0, |at| at + 1);
            Position {
                line: before.matches('\n').count() + 1,
                column: before[line..].chars().count() + 1,
            }
        };
        let text = self.statement[bytes.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
        let text = match text.char_indices().nth(LETTERS_MAX) {
            Some((at, _)) => format!("{}…", text[..at].trim_end()),
            None => text,
        };
        let (start, end) = (position(bytes.start), position(bytes.end));
        Some(Place { view: Arc::clone(&self.view), start, end, text })
    }
}
