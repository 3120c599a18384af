//! The incremental engine: operators, arrangements, steps.
//!
//! A [`Dataflow`] maintains views. It is given the changes of tables in *steps*, each of one or more whole transactions,
//! and answers each step with every view's exact difference: what must be added to the view's rows before the step to
//! make them the query's result after it. The invariant that every test here checks is
//!
//! > the sum of a view's differences so far = the same query, run over the sum of its tables' changes so far.
//!
//! A step may arrive in parts of any size. Its memory is bounded by the state of the operators, the keys that it
//! touches and the views' differences, not by the number of its changes.
//!
//! Nothing here depends on a clock, which only measures and only if it is given, or on the order of a hash table: equal
//! steps give equal bytes.

mod arrangement;
mod build;
mod columns;
mod error;
mod exact;
mod exchange;
mod faulty;
mod graph;
mod operator;
mod spread;
mod staged;
mod stat;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod timer;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use change::{ChangeBatch, TableChanges, TableName, TableSchema};
use plan::ir::{Node, ViewPlan};

use crate::build::Builder;
use crate::exchange::Peer;
use crate::graph::Graph;
use crate::table::TableInput;
use crate::workers::{Order, Step, Workers};

pub use crate::arrangement::StateSize;
pub use crate::error::FlowError;
pub use crate::stat::{FlowStat, OperatorStat, PlanNode, TableStat, ViewStat};
pub use crate::timer::Clock;

/// Views, maintained incrementally.
///
/// A row that cannot be computed, because of a division by zero, an overflow or a bad cast, is missing from the view as
/// long as its cause is there, and told by [`take_faults`](Self::take_faults); the view goes on.
///
/// Invariant: between two steps every view that has not failed is exact, but for the rows that were told.
pub struct Dataflow {
    inputs: Vec<TableInput>,
    by_table: BTreeMap<TableName, usize>,
    engine: Engine,
    faults: Vec<FaultChange>,
    /// The tables that each view reads; none when it was dropped.
    read: Vec<BTreeSet<TableName>>,
    clock: Option<Clock>,
    /// The batches that each input took in, and the nanoseconds that this took.
    taken: Vec<(u64, u64)>,
}

/// A row that a view lacks, because it could not be computed, and how often more, or less, than before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultChange {
    /// The view's index.
    pub view: usize,
    /// What could not be computed.
    pub expression: String,
    /// Of which row: the columns that the views read of it, as a JSON object.
    pub row: String,
    /// Why.
    pub message: String,
    /// How often more than before.
    pub diff: i64,
}

/// Who maintains the views.
enum Engine {
    /// The caller's own thread.
    One(Box<Graph>),
    Many(Workers),
}

/// What is known of tables besides their schemas.
#[derive(Clone, Debug, Default)]
pub struct DataflowOptions {
    /// Tables of exact changes of which no row ever goes, and whose declared keys hold: what has met its match for ever
    /// need not be kept.
    pub append_only: BTreeSet<TableName>,
    /// Tables of exact changes that are never truncated: their rows need not be counted.
    pub never_truncated: BTreeSet<TableName>,
    /// How many workers share the work: with one, or none, the caller's own thread does it.
    pub workers: usize,
    /// What tells how long operators take; without it nothing is measured.
    pub clock: Option<Clock>,
}

impl Dataflow {
    /// Builds the operators of views over base tables.
    ///
    /// # Errors
    /// When a plan asks for something that the engine does not have.
    pub fn new(views: &[ViewPlan]) -> Result<Self, FlowError> {
        Self::with_options(views, &DataflowOptions::default())
    }

    /// Builds the operators of views over base tables, of which more is known.
    ///
    /// # Errors
    /// When a plan asks for something that the engine does not have.
    pub fn with_options(views: &[ViewPlan], options: &DataflowOptions) -> Result<Self, FlowError> {
        let mut read: BTreeMap<TableName, (Arc<TableSchema>, BTreeSet<usize>)> = BTreeMap::new();
        for view in views {
            for_each_table(&view.root, &mut |node| {
                if let Node::Table { table, columns, .. } = node {
                    let all = read.entry(table.name().clone());
                    let (_, all) = all.or_insert_with(|| (Arc::clone(table), BTreeSet::new()));
                    all.extend(columns);
                }
            });
        }
        let mut inputs = Vec::with_capacity(read.len());
        let mut by_table = BTreeMap::new();
        for (name, (table, columns)) in read {
            let input = TableInput::new(&table, columns.into_iter().collect(), options)
                .map_err(|source| FlowError::Table { table: name.clone(), source })?;
            by_table.insert(name, inputs.len());
            inputs.push(input);
        }
        let place = |table: &TableName| {
            let at = by_table[table];
            let input: &TableInput = &inputs[at];
            (at, input.columns(), input.schema())
        };
        let mut builder = Builder::new(&place, options);
        for view in views {
            builder.view(view)?;
        }
        let peers = options.workers.max(1);
        let graph = |index| builder.graph(views, Peer { index, peers });
        let engine = match peers {
            1 => Engine::One(Box::new(builder.graph(views, Peer::ALONE)?)),
            _ => {
                let graphs = (0..peers).map(graph).collect::<Result<Vec<_>, _>>()?;
                let schemas = views.iter().map(|view| columns::nullable(&view.schema)).collect();
                Engine::Many(Workers::start(graphs, schemas))
            }
        };
        let names = |view: &ViewPlan| {
            view.root.tables().into_iter().map(|table| table.name().clone()).collect()
        };
        let read = views.iter().map(names).collect();
        let (faults, clock, taken) = (Vec::new(), options.clock, vec![(0, 0); inputs.len()]);
        Ok(Self { inputs, by_table, engine, faults, read, clock, taken })
    }

    /// Whether a view reads the table. Changes of other tables need not be pushed; they are ignored.
    #[must_use]
    pub fn reads(&self, table: &TableName) -> bool {
        self.by_table.contains_key(table)
    }

    /// The base tables that views read, each with the positions of the columns that they read, ascending.
    pub fn tables(&self) -> impl Iterator<Item = (&Arc<TableSchema>, &[usize])> {
        self.read_inputs().map(|input| (input.table(), input.columns()))
    }

    /// The inputs of tables that a view still reads.
    fn read_inputs(&self) -> impl Iterator<Item = &TableInput> {
        self.inputs.iter().filter(|input| self.reads(input.table().name()))
    }

    /// Forgets a view, between two steps: what only it needed is freed, what it shared with others stays. The other
    /// views keep their indices, and its own is not used again.
    ///
    /// # Panics
    /// When there is no such view.
    pub fn drop_view(&mut self, view: usize) {
        match &mut self.engine {
            Engine::One(graph) => graph.drop_view(view),
            Engine::Many(workers) => workers.drop_view(view),
        }
        self.faults.retain(|fault| fault.view != view);
        for table in std::mem::take(&mut self.read[view]) {
            if self.read.iter().any(|tables| tables.contains(&table)) {
                continue;
            }
            if let Some(at) = self.by_table.remove(&table) {
                self.inputs[at].discard();
            }
        }
    }

    /// Takes changes of a step in. A step may come in many parts, a table in several of them, its changes in order.
    ///
    /// # Errors
    /// The first error of this call. A view that meets an error stops for good and changes no more; every other view
    /// has taken all the changes in and goes on. Changes that make no sense stop the views that read the table.
    pub fn push(&mut self, tables: &[TableChanges]) -> Result<(), FlowError> {
        let mut first = Ok(());
        for changes in tables {
            let Some(&table) = self.by_table.get(changes.table().name()) else {
                continue;
            };
            let pushed = self.push_table(table, changes);
            first = first.and(pushed);
        }
        first
    }

    fn push_table(&mut self, table: usize, changes: &TableChanges) -> Result<(), FlowError> {
        let begun = self.clock.map(|clock| (clock, clock()));
        let pushed = self.inputs[table].push(changes);
        let passed = begun.map_or(0, |(clock, begun)| clock().saturating_sub(begun));
        let (batches, nanoseconds) = &mut self.taken[table];
        (*batches, *nanoseconds) = (*batches + 1, *nanoseconds + passed);
        match &mut self.engine {
            Engine::One(graph) => match pushed {
                Ok(batches) => {
                    batches.iter().for_each(|batch| graph.push(table, batch));
                    graph.take_error()
                }
                Err(error) => {
                    graph.stop_table(table);
                    Err(error)
                }
            },
            Engine::Many(workers) => match pushed {
                Ok(batches) => {
                    batches.into_iter().for_each(|batch| workers.push(table, batch));
                    Ok(())
                }
                Err(error) => {
                    workers.stop_table(table);
                    Err(error)
                }
            },
        }
    }

    /// Ends the step: whole transactions have been pushed. Returns the difference of every view that changed, by its
    /// index; each is sorted and has each row once.
    ///
    /// The very first step also shows what a view holds over no rows, such as a count of zero.
    ///
    /// # Errors
    /// When a view meets an error, which stops it for good. No difference is lost: calling again finishes the step for
    /// the other views and returns theirs.
    pub fn finish_step(&mut self) -> Result<Vec<(usize, ChangeBatch)>, FlowError> {
        let views = self.step(Order::Sorted)?.views.into_iter();
        Ok(views
            .flat_map(|(view, parts)| parts.into_iter().map(move |part| (view, part)))
            .collect())
    }

    /// Ends the step as [`finish_step`](Self::finish_step) does, for who adds the differences up anyway: what was added
    /// to each view comes as it was found, neither sorted nor summed.
    ///
    /// # Errors
    /// As [`finish_step`](Self::finish_step).
    pub fn finish_step_unsorted(&mut self) -> Result<Vec<(usize, Vec<ChangeBatch>)>, FlowError> {
        Ok(self.step(Order::AsTheyCome)?.views)
    }

    fn step(&mut self, order: Order) -> Result<Step, FlowError> {
        let step = match &mut self.engine {
            Engine::One(graph) => graph.finish(order),
            Engine::Many(workers) => workers.finish(order),
        }?;
        let faults = step.faults.iter().map(|(view, fault)| FaultChange {
            view: *view,
            expression: fault.expression.clone(),
            row: fault.row.clone(),
            message: fault.message.clone(),
            diff: fault.diff,
        });
        self.faults.extend(faults);
        Ok(step)
    }

    /// Takes the changes, since this was asked last, of the rows that views lack because they could not be computed:
    /// sorted, each once.
    pub fn take_faults(&mut self) -> Vec<FaultChange> {
        let mut sums: BTreeMap<FaultChange, i64> = BTreeMap::new();
        for fault in self.faults.drain(..) {
            let diff = fault.diff;
            *sums.entry(FaultChange { diff: 0, ..fault }).or_default() += diff;
        }
        let changed = sums.into_iter().filter(|(_, diff)| *diff != 0);
        changed.map(|(fault, diff)| FaultChange { diff, ..fault }).collect()
    }

    /// What the dataflow did and holds.
    #[must_use]
    pub fn stat(&self) -> FlowStat {
        let table = |(input, &(batches, nanoseconds)): (&TableInput, &(u64, u64))| TableStat {
            table: input.table().name().clone(),
            rows_in: input.rows_in,
            rows_out: input.rows_out,
            deletes_ignored: input.deletes_ignored,
            batches,
            nanoseconds,
            state: input.size(),
        };
        let views = match &self.engine {
            Engine::One(graph) => graph.stat(),
            Engine::Many(workers) => workers.stat(),
        };
        let inputs = self.inputs.iter().zip(&self.taken);
        let read = inputs.filter(|(input, _)| self.reads(input.table().name()));
        FlowStat { tables: read.map(table).collect(), views }
    }
}

/// Calls `visit` for every table that the node reads.
fn for_each_table<'a>(node: &'a Node, visit: &mut impl FnMut(&'a Node)) {
    if matches!(node, Node::Table { .. }) {
        visit(node);
    }
    for input in node.inputs() {
        for_each_table(input, visit);
    }
}
