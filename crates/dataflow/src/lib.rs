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
//! Nothing here reads a clock or depends on the order of a hash table: equal steps give equal bytes.

mod arrangement;
mod columns;
mod error;
mod exact;
mod faulty;
mod graph;
mod operator;
mod spread;
mod stat;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use change::{ChangeBatch, TableChanges, TableName, TableSchema};
use plan::ir::{Node, ViewPlan};

use crate::graph::{Graph, for_each_table};
use crate::table::TableInput;

pub use crate::arrangement::StateSize;
pub use crate::error::FlowError;
pub use crate::stat::{FlowStat, OperatorStat, TableStat, ViewStat};

/// Views, maintained incrementally.
///
/// Invariant: between two steps every view that has not failed is exact.
pub struct Dataflow {
    inputs: Vec<TableInput>,
    by_table: BTreeMap<TableName, usize>,
    views: Vec<Graph>,
    /// Differences of the step that is being finished.
    finished: Vec<(usize, ChangeBatch)>,
    /// The next view to finish.
    next_view: usize,
}

/// What is known of tables besides their schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataflowOptions {
    /// Tables of exact changes that are never truncated: their rows need not be kept.
    pub append_only: BTreeSet<TableName>,
}

impl Dataflow {
    /// Builds the operators of views over base tables.
    ///
    /// # Errors
    /// When a plan asks for something that the engine does not have.
    pub fn new(views: &[ViewPlan]) -> Result<Self, FlowError> {
        Self::with_options(views, &DataflowOptions { append_only: BTreeSet::new() })
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
            let append_only = options.append_only.contains(&name);
            let input = TableInput::new(&table, columns.into_iter().collect(), append_only)
                .map_err(|source| FlowError::Table { table: name.clone(), source })?;
            by_table.insert(name, inputs.len());
            inputs.push(input);
        }
        let place = |table: &TableName| by_table[table];
        let views = views.iter().map(|view| Graph::new(view, &place)).collect::<Result<_, _>>()?;
        Ok(Self { inputs, by_table, views, finished: Vec::new(), next_view: 0 })
    }

    /// Whether a view reads the table. Changes of other tables need not be pushed; they are ignored.
    #[must_use]
    pub fn reads(&self, table: &TableName) -> bool {
        self.by_table.contains_key(table)
    }

    /// The base tables that views read, each with the positions of the columns that they read, ascending.
    pub fn tables(&self) -> impl Iterator<Item = (&Arc<TableSchema>, &[usize])> {
        self.inputs.iter().map(|input| (input.table(), input.columns()))
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
        let input = &mut self.inputs[table];
        let batches = match input.push(changes) {
            Ok(batches) => batches,
            Err(error) => {
                self.views.iter_mut().filter(|view| view.reads(table)).for_each(Graph::stop);
                return Err(error);
            }
        };
        let mut first = Ok(());
        for view in &mut self.views {
            let pushed = view.push(table, input, &batches);
            first = first.and(pushed);
        }
        first
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
        while self.next_view < self.views.len() {
            let at = self.next_view;
            self.next_view += 1;
            let difference = self.views[at].finish()?;
            if !difference.is_empty() {
                self.finished.push((at, difference));
            }
        }
        self.next_view = 0;
        Ok(std::mem::take(&mut self.finished))
    }

    /// What the dataflow did and holds.
    #[must_use]
    pub fn stat(&self) -> FlowStat {
        let table = |input: &TableInput| TableStat {
            table: input.table().name().clone(),
            rows_in: input.rows_in,
            rows_out: input.rows_out,
            deletes_ignored: input.deletes_ignored,
            state: input.size(),
        };
        let view = |graph: &Graph| ViewStat {
            view: graph.name().to_owned(),
            failed: graph.has_failed(),
            operators: graph.stat(),
        };
        FlowStat {
            tables: self.inputs.iter().map(table).collect(),
            views: self.views.iter().map(view).collect(),
        }
    }
}
