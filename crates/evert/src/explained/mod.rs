//! A view's plan as people look at it: each operator with the place in the text that it comes from, the views that it
//! is shared with and, of views that are maintained, what it did and keeps.
//!
//! A node of a plan is computed by stages of the dataflow, which say whose nodes they compute. Most nodes have one stage
//! that matters; a join also has an arrangement of each side, which is shown by itself, because it is what views share
//! and what keeps rows. A node without a stage only chooses columns. Nothing is counted twice: an operator that the plan
//! needs more than once has its numbers where it stands first.

#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use dataflow::{Dataflow, DataflowOptions, FlowError, FlowStat, OperatorStat, StateSize, ViewStat};
use plan::ir::{Node, Place, ViewPlan};

pub(crate) use tree::drawn;

/// A line of an explained plan.
#[derive(Clone, Debug, Default)]
struct Part {
    /// How many lines lead to it in the tree.
    depth: usize,
    operator: String,
    place: Option<Place>,
    shared: Vec<String>,
    /// What it did and keeps; `None` where there is nothing to tell, or it was told above.
    counts: Option<Counts>,
    /// Whether the plan needs the same more than once, and its numbers were told.
    is_told_above: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    batches: u64,
    rows_in: u64,
    rows_out: u64,
    state: StateSize,
    nanoseconds: u64,
    /// The time of the worker that took longest, when there are several.
    longest: Option<u64>,
    workers: Option<u64>,
}

/// Rows that explain a plan.
pub(crate) type Rows = (SchemaRef, RecordBatch);

/// Explains the `at`-th of some views: what it shares with the others when one process maintains them all.
pub(crate) fn explained(plans: &[ViewPlan], at: usize) -> Result<Rows, FlowError> {
    // Without rows, nothing but what belongs to whom.
    let stat = Dataflow::with_options(plans, &DataflowOptions::default())?.stat();
    let mut parts = Explained { plans, plan: &plans[at], stat: &stat }.parts();
    let own = parts.iter_mut().filter(|part| part.shared.is_empty());
    for part in own.filter(|part| part.operator.starts_with(ARRANGED)) {
        part.operator = format!("new {}", part.operator);
    }
    Ok(rows(&parts, false))
}

/// Explains a view that is maintained: what its operators did and keep.
pub(crate) fn analyzed(plans: &[ViewPlan], at: usize, stat: &FlowStat) -> Rows {
    rows(&Explained { plans, plan: &plans[at], stat }.parts(), true)
}

struct Explained<'a> {
    plans: &'a [ViewPlan],
    plan: &'a ViewPlan,
    stat: &'a FlowStat,
}

impl Explained<'_> {
    fn parts(&self) -> Vec<Part> {
        let own = self.stat.views.iter().find(|view| view.view == self.plan.name);
        let mut stages: BTreeMap<usize, Vec<&OperatorStat>> = BTreeMap::new();
        for operator in own.iter().flat_map(|own| &own.operators) {
            let nodes =
                operator.nodes.iter().filter(|of| own.is_some_and(|own| own.index == of.view));
            nodes.for_each(|of| stages.entry(of.node).or_default().push(operator));
        }
        let counts = own.map(|own| Counts { nanoseconds: own.nanoseconds, ..Counts::default() });
        let stopped = if own.is_some_and(|own| own.failed) { " (stopped)" } else { "" };
        let operator = format!("{}{stopped}", plan::headline(self.plan));
        let mut parts = vec![Part { operator, counts, ..Part::default() }];
        let nodes = in_order(&self.plan.root);
        let mut seen = BTreeSet::new();
        for line in plan::outline(self.plan) {
            // Each level of the tree is three letters wide.
            let depth = line.branch.chars().count() / 3;
            let stages = stages.remove(&line.node).unwrap_or_default();
            let node = nodes.get(line.node).copied();
            let part =
                Part { depth, operator: line.operator, place: line.place, ..Part::default() };
            parts.push(self.operator(part, node, &stages, &mut seen));
            let arrangements: Vec<_> =
                stages.iter().copied().filter(|stage| stage.operator == ARRANGE).collect();
            for (index, stage) in arrangements.iter().enumerate() {
                // The left side's is asked for first.
                let guess = match arrangements.len() {
                    1 => Side::Both,
                    _ if index == 0 => Side::Left,
                    _ => Side::Right,
                };
                let side = self.side(stage, node, line.node).unwrap_or(guess);
                let operator = arranged(side, node);
                let part = Part { depth: depth + 1, operator, ..Part::default() };
                parts.push(self.measured(part, &[stage], stage, &mut seen));
            }
        }
        parts
    }

    /// A node, with all of its stages but those that are shown by themselves.
    fn operator(
        &self,
        part: Part,
        node: Option<&Node>,
        stages: &[&OperatorStat],
        seen: &mut BTreeSet<usize>,
    ) -> Part {
        let stages: Vec<_> =
            stages.iter().copied().filter(|stage| stage.operator != ARRANGE).collect();
        let is_beside = |stage: &&&OperatorStat| ["select", "exchange"].contains(&stage.operator);
        let main = stages.iter().rev().find(|stage| !is_beside(stage)).or(stages.last());
        let Some(main) = main else { return part };
        let mut part = self.measured(part, &stages, main, seen);
        if let (Some(Node::Table { table, .. }), Some(counts)) = (node, &mut part.counts)
            && let Some(stat) = self.stat.tables.iter().find(|stat| stat.table == *table.name())
        {
            (counts.batches, counts.rows_in) = (stat.batches, stat.rows_in);
            (counts.rows_out, counts.state) = (stat.rows_out, stat.state);
            counts.nanoseconds += stat.nanoseconds;
            counts.longest = None;
        }
        part
    }

    /// A line with the numbers of its stages, of which one is what it is about, unless they were told above.
    fn measured(
        &self,
        part: Part,
        stages: &[&OperatorStat],
        main: &OperatorStat,
        seen: &mut BTreeSet<usize>,
    ) -> Part {
        let new: Vec<_> = stages.iter().filter(|stage| seen.insert(stage.stage)).collect();
        let is_new = new.iter().any(|stage| stage.stage == main.stage);
        let counts = is_new.then(|| Counts {
            batches: main.batches,
            rows_in: main.rows_in,
            rows_out: main.rows_out,
            state: new.iter().fold(StateSize::default(), |sum, stage| sum + stage.state),
            nanoseconds: new.iter().map(|stage| stage.nanoseconds).sum(),
            longest: (main.workers > 1)
                .then(|| new.iter().map(|stage| stage.nanoseconds_max).max().unwrap_or_default()),
            workers: (main.workers > 1).then_some(main.workers),
        });
        Part { shared: self.shared(main), counts, is_told_above: !is_new, ..part }
    }

    /// The other views that a stage computes something for, each with the place in its text.
    fn shared(&self, stage: &OperatorStat) -> Vec<String> {
        let mut shared = BTreeMap::new();
        for of in &stage.nodes {
            let is_it = |view: &&ViewStat| view.index == of.view && view.view != self.plan.name;
            let Some(view) = self.stat.views.iter().find(is_it) else { continue };
            let plan = self.plans.iter().find(|plan| plan.name == view.view);
            let place = plan.and_then(|plan| plan.places.get(of.node)?.clone());
            shared.entry(view.index).or_insert_with(|| match place {
                Some(place) if *place.view == *view.view => place.to_string(),
                // It comes from a view that both read.
                Some(_) | None => view.view.clone(),
            });
        }
        shared.into_values().collect()
    }

    /// The side of a join that an arrangement's rows come from; `None` when the sides have it in common.
    fn side(&self, stage: &OperatorStat, node: Option<&Node>, at: usize) -> Option<Side> {
        let Some(Node::Join { right, .. }) = node else { return None };
        let first = (at + 1).saturating_sub(node.map_or(0, Node::count));
        let middle = at - right.count();
        let own = self.stat.views.iter().find(|view| view.view == self.plan.name)?;
        // The rows come from the stage of a node of either side, or from one that was put between.
        let mut reached = stage.inputs.clone();
        while let Some(input) = reached.pop() {
            let Some(from) = own.operators.iter().find(|stage| stage.stage == input) else {
                continue;
            };
            let of = from.nodes.iter().filter(|of| of.view == own.index).map(|of| of.node);
            let below: Vec<usize> = of.filter(|node| (first..at).contains(node)).collect();
            match (below.first(), below.last()) {
                (Some(_), Some(last)) if *last < middle => return Some(Side::Left),
                (Some(first), Some(_)) if *first >= middle => return Some(Side::Right),
                (Some(_), Some(_)) => return None,
                (None, _) | (_, None) => reached.extend(&from.inputs),
            }
        }
        None
    }
}

/// Which of a join's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

/// What an arrangement holds: a side of its join, by these columns.
fn arranged(side: Side, node: Option<&Node>) -> String {
    let Some(Node::Join { left, right, on, .. }) = node else { return ARRANGED.to_owned() };
    let word = match side {
        Side::Left => "the left side",
        Side::Right => "the right side",
        Side::Both => "both sides",
    };
    let schema = if side == Side::Right { right.schema() } else { left.schema() };
    let column = |&(left, right): &(usize, usize)| if side == Side::Right { right } else { left };
    let names = on.iter().map(|pair| schema.field(column(pair)).name().replace('\0', "#"));
    match names.collect::<Vec<_>>().join(", ") {
        by if by.is_empty() => format!("{ARRANGED} of {word}"),
        by => format!("{ARRANGED} of {word} by {by}"),
    }
}

/// The name of the stages that keep rows for joins.
const ARRANGE: &str = "arrange";

/// What these are called where they are shown.
const ARRANGED: &str = "arrangement";

/// The nodes of a plan, inputs first.
fn in_order(node: &Node) -> Vec<&Node> {
    let mut nodes: Vec<&Node> = node.inputs().into_iter().flat_map(in_order).collect();
    nodes.push(node);
    nodes
}

fn rows(parts: &[Part], with_counts: bool) -> Rows {
    let text = |value: &dyn Fn(&Part) -> Option<String>| -> ArrayRef {
        Arc::new(parts.iter().map(value).collect::<StringArray>())
    };
    let depths = parts.iter().map(|part| i64::try_from(part.depth).unwrap_or(i64::MAX));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("depth", Arc::new(Int64Array::from_iter_values(depths))),
        ("operator", text(&|part| Some(part.operator.clone()))),
        ("place", text(&|part| part.place.as_ref().map(ToString::to_string))),
        ("clause", text(&|part| part.place.as_ref().map(|place| place.text.clone()))),
        ("shared_with", text(&|part| (!part.shared.is_empty()).then(|| part.shared.join(", ")))),
    ];
    if with_counts {
        let told = parts.iter().map(|part| Some(part.is_told_above));
        columns.push(("told_above", Arc::new(told.collect::<BooleanArray>())));
        let number = |value: fn(&Counts) -> Option<u64>| -> ArrayRef {
            let values = parts.iter().map(|part| part.counts.as_ref().and_then(value));
            let values = values.map(|value| Some(i64::try_from(value?).unwrap_or(i64::MAX)));
            Arc::new(values.collect::<Int64Array>())
        };
        columns.extend([
            ("batches", number(|counts| Some(counts.batches))),
            ("rows_in", number(|counts| Some(counts.rows_in))),
            ("rows_out", number(|counts| Some(counts.rows_out))),
            ("kept_rows", number(|counts| Some(counts.state.rows as u64))),
            ("kept_bytes", number(|counts| Some(counts.state.bytes as u64))),
            ("time_ns", number(|counts| Some(counts.nanoseconds))),
            ("workers", number(|counts| counts.workers)),
            ("longest_worker_ns", number(|counts| counts.longest)),
        ]);
    }
    let fields =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
    (schema, batch.expect("columns of one length"))
}
