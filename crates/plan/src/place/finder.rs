//! Finds the marks that operators come from, while a plan is converted from its tables up.
//!
//! What tells an operator's mark, the surest first: the columns of its expressions, which know where they were written;
//! the columns that a condition names, where DataFusion has written them anew; and the tables below it, because the
//! innermost query that holds them all, and whose clause no operator below has taken, is the one that it belongs to.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use datafusion::common::Span;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};

use super::{Mark, MarkKind, Text, hull};
use crate::ir::{Node, Place};
use crate::nodes::{Own, OwnKind};
use crate::tables::PlannedTable;

/// A range of bytes of one of the texts.
type Spot = (usize, Range<usize>);

/// What was found of an operator.
#[derive(Clone, Debug, Default)]
struct Found {
    /// The text and the mark.
    mark: Option<(usize, usize)>,
    /// What is shown, when it is not the mark's.
    spot: Option<Spot>,
    /// Whether rows come from here.
    is_leaf: bool,
}

/// Finds the places of a plan's operators.
pub(crate) struct Finder<'a> {
    /// The texts of the views before, and last that of the view itself.
    texts: Vec<&'a Text>,
    /// What was found so far, inputs first.
    found: RefCell<Vec<Found>>,
    /// The name that the query gives to what is being converted.
    alias: RefCell<Option<String>>,
    /// How often a mark was looked for that has others like it.
    visits: RefCell<BTreeMap<(usize, MarkText), usize>>,
}

/// What tells leaves of one kind apart from others: a table's key and alias.
type MarkText = (String, Option<String>);

impl<'a> Finder<'a> {
    pub(crate) fn new(earlier: &'a [Text], own: &'a Text) -> Self {
        let texts = earlier.iter().chain([own]).collect();
        let (found, alias) = (RefCell::default(), RefCell::default());
        Self { texts, found, alias, visits: RefCell::default() }
    }

    /// Where the nodes of what is converted next begin.
    pub(crate) fn begin(&self) -> usize {
        self.found.borrow().len()
    }

    /// Notes the alias that a plan below has; returns the one before.
    pub(crate) fn named(&self, alias: Option<String>) -> Option<String> {
        self.alias.replace(alias)
    }

    /// Gives the nodes that were put above those already known the place of the plan that they are for.
    pub(crate) fn settle(&self, begin: usize, node: &Node, plan: Option<&LogicalPlan>) {
        let count = node.count();
        let known = self.begin() - begin;
        if known < count {
            let found = plan.map(|plan| self.find(plan, node, begin)).unwrap_or_default();
            let mut all = self.found.borrow_mut();
            all.extend(std::iter::repeat_n(found, count - known));
        } else {
            self.found.borrow_mut().truncate(begin + count);
        }
    }

    /// The places of all nodes, inputs first; one of which nothing was found has that of the node above it.
    pub(crate) fn places(self, root: &Node) -> Vec<Option<Place>> {
        let found = self.found.borrow();
        let mut places: Vec<Option<Place>> = found.iter().map(|found| self.place(found)).collect();
        places.resize(root.count(), None);
        if let Some(last) = places.last_mut().filter(|last| last.is_none()) {
            *last = self.result();
        }
        inherit(root, root.count(), &mut places);
        places
    }

    /// Where the view's result is chosen: in the select list of the outermost query, the last of a pipe.
    fn result(&self) -> Option<Place> {
        let text = self.texts.last()?;
        let marks = text.marks.iter().filter(|mark| mark.kind == MarkKind::Select);
        let reach = |mark: &&Mark| mark.reach.as_ref().map(Range::len);
        let last = marks.max_by_key(|mark| (reach(mark), mark.shown.start))?;
        text.place(&last.shown, last.kind.leading())
    }

    fn place(&self, found: &Found) -> Option<Place> {
        match (&found.spot, found.mark) {
            (Some((text, range)), mark) => {
                let leading = mark.map(|(text, mark)| self.texts[text].marks[mark].kind.leading());
                self.texts[*text].place(range, leading.unwrap_or_default())
            }
            (None, Some((text, mark))) => {
                let Mark { kind, shown, .. } = &self.texts[text].marks[mark];
                self.texts[text].place(shown, kind.leading())
            }
            (None, None) => None,
        }
    }

    fn find(&self, plan: &LogicalPlan, node: &Node, begin: usize) -> Found {
        let spots = self.spots(&plan.expressions());
        let search = Search { finder: self, spots: &spots, within: begin..self.begin() };
        let by = |kinds: &[MarkKind]| search.by_columns(kinds).or_else(|| search.by_tables(kinds));
        let mark = match plan {
            LogicalPlan::TableScan(scan) => return self.leaf(scan),
            LogicalPlan::Filter(filter) => return search.filter(&filter.predicate),
            LogicalPlan::Join(_) => return self.join(&search, node, begin),
            // One that only chooses columns is there for who reads it.
            LogicalPlan::Projection(projection) if projection.expr.iter().all(is_column) => {
                search.by_columns(&[MarkKind::Select])
            }
            LogicalPlan::Projection(_) => by(&[MarkKind::Select]),
            LogicalPlan::Aggregate(_) => by(&[MarkKind::Aggregate]),
            LogicalPlan::Distinct(_) => by(&[MarkKind::Distinct]),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => search.by_tables(&[MarkKind::Top]),
            LogicalPlan::Union(_) => search.by_tables(&[MarkKind::Set]),
            LogicalPlan::Window(_) => by(&[MarkKind::Window]),
            LogicalPlan::Unnest(_) => by(&[MarkKind::Unnest]),
            LogicalPlan::Values(_) => {
                return Found { mark: search.next(&MarkKind::Values), spot: None, is_leaf: true };
            }
            LogicalPlan::Extension(extension) => match Own::of(extension).map(|own| &own.kind) {
                Some(OwnKind::Set { .. }) => search.by_tables(&[MarkKind::Set]),
                Some(OwnKind::Single { .. }) => search.by_tables(&[MarkKind::Subquery]),
                Some(OwnKind::Top { .. }) => by(&[MarkKind::Distinct, MarkKind::Top]),
                None => None,
            },
            _ => None,
        };
        Found { mark, ..Found::default() }
    }

    /// The table that a scan reads: the next of that name in the text.
    fn leaf(&self, scan: &TableScan) -> Found {
        let source = scan.source.downcast_ref::<PlannedTable>();
        let text = source.map_or(self.texts.len(), |source| source.text);
        let Some(marks) = self.texts.get(text).map(|text| &text.marks) else {
            return Found::default();
        };
        let key = scan.table_name.table().to_owned();
        let alias = self.alias.borrow().clone();
        let is_it = |mark: &Mark, alias: &Option<String>| matches!(&mark.kind, MarkKind::Table { key: of, alias: named } if *of == key && named == alias);
        let named: Vec<usize> = (0..marks.len()).filter(|&at| is_it(&marks[at], &alias)).collect();
        let (named, alias) = match named.is_empty() {
            true => ((0..marks.len()).filter(|&at| is_it(&marks[at], &None)).collect(), None),
            false => (named, alias),
        };
        if named.is_empty() {
            return Found::default();
        }
        let mut visits = self.visits.borrow_mut();
        let visit = visits.entry((text, (key, alias))).or_default();
        *visit += 1;
        Found { mark: Some((text, named[(*visit - 1) % named.len()])), spot: None, is_leaf: true }
    }

    /// A join is of the subquery, or of the joined table, that its right side alone holds.
    fn join(&self, search: &Search<'_>, node: &Node, begin: usize) -> Found {
        let Some((left, right)) = sides(node) else { return Found::default() };
        let middle = begin + left.count();
        let end = middle + right.count();
        let (left, right) = (self.leaves(begin..middle), self.leaves(middle..end));
        let own = |mine: &[Spot], theirs: &[Spot]| -> Vec<Spot> {
            let kept: Vec<_> = mine.iter().filter(|leaf| !theirs.contains(leaf)).cloned().collect();
            if kept.is_empty() { mine.to_vec() } else { kept }
        };
        let (left, right) = (own(&left, &right), own(&right, &left));
        for kind in [MarkKind::Subquery, MarkKind::Join] {
            for text in search.texts() {
                for (inner, outer) in [(&right, &left), (&left, &right)] {
                    if let Some(mark) = self.around(text, &kind, inner, outer) {
                        return Found { mark: Some((text, mark)), ..Found::default() };
                    }
                }
            }
        }
        let mark = search.by_columns(&[MarkKind::Join]);
        if mark.is_some() {
            return Found { mark, ..Found::default() };
        }
        match (search.spots.is_empty(), right.first()) {
            // A comma joins with every row.
            (true, Some(first)) => Found { spot: Some(first.clone()), ..Found::default() },
            _ => search.conditions(&[]).unwrap_or_default(),
        }
    }

    /// The smallest mark whose reach holds all of some leaves and none of others.
    fn around(&self, text: usize, kind: &MarkKind, all: &[Spot], none: &[Spot]) -> Option<usize> {
        let lifted = |leaves: &[Spot]| -> Option<Vec<Range<usize>>> {
            leaves.iter().map(|leaf| self.lift(leaf, text)).collect()
        };
        let (all, none) = (lifted(all)?, lifted(none)?);
        let marks = self.texts[text].marks.iter().enumerate();
        let fits = |reach: &Range<usize>| {
            !all.is_empty()
                && all.iter().all(|leaf| holds(reach, leaf))
                && !none.iter().any(|leaf| holds(reach, leaf))
        };
        let found = marks.filter_map(|(at, mark)| {
            let reach = mark.reach.as_ref().filter(|reach| mark.kind == *kind && fits(reach))?;
            Some((reach.len(), at))
        });
        found.min().map(|(_, at)| at)
    }

    /// Where a text reads a leaf, by itself or through the views that it names.
    fn lift(&self, leaf: &Spot, to: usize) -> Option<Range<usize>> {
        match leaf.0 == to {
            true => Some(leaf.1.clone()),
            false => self.texts[to].through.get(&leaf.0).cloned(),
        }
    }

    /// The leaves among what was found.
    fn leaves(&self, within: Range<usize>) -> Vec<Spot> {
        let found = self.found.borrow();
        let leaves = found[within].iter().filter(|found| found.is_leaf);
        let leaves = leaves.filter_map(|found| found.mark);
        leaves.map(|(text, mark)| (text, self.texts[text].marks[mark].shown.clone())).collect()
    }

    /// Where the columns of expressions were written.
    fn spots(&self, expressions: &[Expr]) -> Vec<Spot> {
        let mut spots = Vec::new();
        for expression in expressions {
            let visited = expression.apply(|part| {
                if let Expr::Column(column) = part {
                    spots.extend(column.spans.iter().filter_map(|span| self.spot(*span)));
                }
                Ok(TreeNodeRecursion::Continue)
            });
            debug_assert!(visited.is_ok(), "nothing fails on the way");
        }
        spots
    }

    fn spot(&self, span: Span) -> Option<Spot> {
        let text = match usize::try_from(span.start.line).ok()?.checked_sub(FIRST_LINE) {
            Some(earlier) => earlier,
            None => self.texts.len() - 1,
        };
        let byte = |column: u64| usize::try_from(column.checked_sub(1)?).ok();
        let range = byte(span.start.column)?..byte(span.end.column)?;
        (text < self.texts.len() && range.start <= range.end).then_some((text, range))
    }
}

/// The lines of the spans in the text of an earlier view begin here: it is the line of the first of them.
const FIRST_LINE: usize = 2;

/// The plan of a view that others will read, with its columns' spans saying which text they are of.
pub(crate) fn of_text(plan: LogicalPlan, text: usize) -> PlanResult<LogicalPlan> {
    let line = (text + FIRST_LINE) as u64;
    let moved = |expression: Expr| {
        expression.transform(|part| match part {
            Expr::Column(mut column) => {
                for span in &mut column.spans.0 {
                    // Those of views that it reads have theirs already.
                    if span.start.line < FIRST_LINE as u64 {
                        (span.start.line, span.end.line) = (line, line);
                    }
                }
                Ok(Transformed::yes(Expr::Column(column)))
            }
            other => Ok(Transformed::no(other)),
        })
    };
    Ok(plan.transform_down(|node| node.map_expressions(moved))?.data)
}

/// A search for the mark of one operator.
struct Search<'f> {
    finder: &'f Finder<'f>,
    /// Where the columns of its expressions were written.
    spots: &'f [Spot],
    /// What was found of the operators below it.
    within: Range<usize>,
}

impl Search<'_> {
    /// The texts that the operator may be of: those of its columns, of its tables, and that of the view.
    fn texts(&self) -> Vec<usize> {
        let leaves = self.finder.leaves(self.within.clone());
        let all = self.spots.iter().chain(&leaves).map(|(text, _)| *text);
        let mut texts = Vec::new();
        for text in all.chain([self.finder.texts.len() - 1]) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }

    /// The smallest mark of a kind in which one of the columns was written.
    fn by_columns(&self, kinds: &[MarkKind]) -> Option<(usize, usize)> {
        self.spots.iter().find_map(|(text, range)| {
            let marks = self.finder.texts[*text].marks.iter().enumerate();
            let fits = marks
                .filter(|(_, mark)| kinds.contains(&mark.kind) && holds(&mark.shown, range))
                .min_by_key(|(_, mark)| mark.shown.len());
            fits.map(|(at, _)| (*text, at))
        })
    }

    /// The mark of a kind in the innermost query that holds what is below, and that nothing below has taken; a filter's
    /// stands behind what is below it.
    fn by_tables(&self, kinds: &[MarkKind]) -> Option<(usize, usize)> {
        let leaves = self.finder.leaves(self.within.clone());
        let found = self.finder.found.borrow();
        let found = &found[self.within.clone()];
        let taken: BTreeSet<_> = found.iter().filter_map(|found| found.mark).collect();
        let inner = found.iter().rev().filter(|found| !found.is_leaf);
        let inner = inner.filter_map(|found| found.mark).next();
        // What reads an operator of a view is of that view, or of one that reads it.
        let reads = |text: &usize| {
            let through = &self.finder.texts[*text].through;
            inner.is_none_or(|(of, _)| of == *text || through.contains_key(&of))
        };
        let mut texts = self.texts();
        texts.splice(0..0, inner.map(|(of, _)| of));
        texts.into_iter().filter(reads).find_map(|text| {
            let all = &self.finder.texts[text].marks;
            let below = match inner.filter(|(of, _)| *of == text) {
                Some((_, mark)) => Some(all[mark].shown.clone()),
                None => {
                    let lifted = leaves.iter().map(|leaf| self.finder.lift(leaf, text));
                    hull(lifted.collect::<Option<Vec<_>>>()?)
                }
            };
            let fits = all.iter().enumerate().filter_map(|(at, mark)| {
                let reach = mark.reach.as_ref().filter(|_| kinds.contains(&mark.kind))?;
                let reaches = below.as_ref().is_none_or(|below| {
                    let follows = mark.kind != MarkKind::Filter || mark.shown.start >= below.end;
                    follows && holds(reach, below)
                });
                let is_free = mark.kind == MarkKind::Select || !taken.contains(&(text, at));
                (reaches && is_free).then_some((reach.len(), mark.shown.start, at))
            });
            fits.min().map(|(.., at)| (text, at))
        })
    }

    /// The next mark of a kind that nothing was found to be of.
    fn next(&self, kind: &MarkKind) -> Option<(usize, usize)> {
        let found = self.finder.found.borrow();
        let taken: BTreeSet<_> = found.iter().map(|found| found.mark).collect();
        let texts = &self.finder.texts;
        let all = texts.iter().enumerate().rev();
        let all = all.flat_map(|(text, of)| (0..of.marks.len()).map(move |mark| (text, mark)));
        let mut fits = all.filter(|(text, mark)| texts[*text].marks[*mark].kind == *kind);
        fits.find(|mark| !taken.contains(&Some(*mark)))
    }

    /// The conditions that a filter's come from.
    fn filter(&self, predicate: &Expr) -> Found {
        let conditions = split_conjunction(predicate);
        if let Some(found) = self.conditions(&conditions) {
            return found;
        }
        if predicate.column_refs().iter().any(|column| column.name.starts_with('\0')) {
            // It was made for the operator above.
            return Found::default();
        }
        let mark = self.by_tables(&[MarkKind::Filter]);
        match (mark, self.spots.first()) {
            // It was pushed through a select list, where its columns are from.
            (None, Some(first)) => Found { spot: Some(first.clone()), ..Found::default() },
            (mark, _) => Found { mark, ..Found::default() },
        }
    }

    /// All that is found of conditions in one clause: by where their columns were written or, for those whose columns
    /// were written anew, by which columns they name.
    fn conditions(&self, expressions: &[&Expr]) -> Option<Found> {
        let mut spots = Vec::new();
        for expression in expressions {
            let written = self.finder.spots(&[Expr::clone(expression)]);
            let written = written.iter().find_map(|spot| self.condition_at(spot));
            spots.extend(written.or_else(|| self.condition_like(expression)));
        }
        if expressions.is_empty() {
            spots.extend(self.spots.iter().filter_map(|spot| self.condition_at(spot)));
        }
        let (text, first) = spots.first()?.clone();
        let marks = self.finder.texts[text].marks.iter().enumerate();
        let clauses = marks.filter(|(_, mark)| mark.kind == MarkKind::Filter);
        let clause = clauses
            .filter(|(_, mark)| holds(&mark.shown, &first))
            .min_by_key(|(_, mark)| mark.shown.len());
        let (mark, clause) = clause?;
        let together = spots.iter().filter(|(of, spot)| *of == text && holds(&clause.shown, spot));
        let shown = hull(together.map(|(_, spot)| spot.clone()))?;
        Some(Found { mark: Some((text, mark)), spot: Some((text, shown)), is_leaf: false })
    }

    /// The condition in which a column was written.
    fn condition_at(&self, (text, range): &Spot) -> Option<Spot> {
        let marks = self.finder.texts[*text].marks.iter();
        let fits = marks.filter(|mark| matches!(mark.kind, MarkKind::Condition { .. }));
        let fits = fits.filter(|mark| holds(&mark.shown, range));
        let found = fits.min_by_key(|mark| mark.shown.len())?;
        Some((*text, found.shown.clone()))
    }

    /// The condition that names the same columns, in the innermost query that reads the tables below.
    fn condition_like(&self, expression: &Expr) -> Option<Spot> {
        let columns = expression.column_refs().into_iter();
        let wanted: BTreeSet<String> = columns.map(|column| column.name.clone()).collect();
        if wanted.is_empty() {
            return None;
        }
        let leaves = self.finder.leaves(self.within.clone());
        let mut texts = self.texts();
        texts.extend((0..self.finder.texts.len()).rev());
        texts.into_iter().find_map(|text| {
            let below: Option<Vec<_>> =
                leaves.iter().map(|leaf| self.finder.lift(leaf, text)).collect();
            let below = below.and_then(hull);
            let marks = self.finder.texts[text].marks.iter();
            let like = marks.filter(
                |mark| matches!(&mark.kind, MarkKind::Condition { names } if *names == wanted),
            );
            let distance = |mark: &&Mark| match (&mark.reach, &below) {
                (Some(reach), Some(below)) if holds(reach, below) => (false, reach.len()),
                _ => (true, 0),
            };
            like.min_by_key(distance).map(|mark| (text, mark.shown.clone()))
        })
    }
}

/// Whether an expression is nothing but a column, of whatever name.
fn is_column(expression: &Expr) -> bool {
    match expression {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_column(&alias.expr),
        _ => false,
    }
}

/// The sides of the join that a node is, below the projections above it.
fn sides(node: &Node) -> Option<(&Node, &Node)> {
    match node {
        Node::Project { input, .. } => sides(input),
        Node::Join { left, right, .. } => Some((left, right)),
        _ => None,
    }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Gives the nodes without a place that of the node above them; `end` is behind the node's own.
fn inherit(node: &Node, end: usize, places: &mut [Option<Place>]) {
    let own = places[end - 1].clone();
    let mut end = end - 1;
    for input in node.inputs().into_iter().rev() {
        if places[end - 1].is_none() {
            places[end - 1].clone_from(&own);
        }
        inherit(input, end, places);
        end -= input.count();
    }
}
