//! What the dataflow did and holds, for `status`, metrics and people who wonder.

use std::fmt;

use change::TableName;

use crate::arrangement::StateSize;

/// What the dataflow did and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStat {
    /// The table inputs, by name.
    pub tables: Vec<TableStat>,
    /// The views, as they were given.
    pub views: Vec<ViewStat>,
}

/// What a table input did and holds. It is shared by all views that read the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStat {
    /// The table.
    pub table: TableName,
    /// Rows that the source sent.
    pub rows_in: u64,
    /// Rows of exact changes that follow from them.
    pub rows_out: u64,
    /// Deletes of rows that were not there.
    pub deletes_ignored: u64,
    /// Batches that the source sent.
    pub batches: u64,
    /// The time that making them exact took, when the dataflow has a clock.
    pub nanoseconds: u64,
    /// The rows kept.
    pub state: StateSize,
}

/// What a view's operators did and hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewStat {
    /// The view.
    pub view: String,
    /// Its index, by which [`PlanNode`] names it.
    pub index: usize,
    /// Whether it stopped at an error.
    pub failed: bool,
    /// The time that summing up its differences took, of all workers, when the dataflow has a clock.
    pub nanoseconds: u64,
    /// Its operators, inputs first.
    pub operators: Vec<OperatorStat>,
}

/// What an operator did and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorStat {
    /// The operator's name.
    pub operator: &'static str,
    /// Which of the dataflow's stages it is: views that share an operator have the same one.
    pub stage: usize,
    /// The stages that it reads.
    pub inputs: Vec<usize>,
    /// How many workers share its work.
    pub workers: u64,
    /// The parts of plans that it computes, of every view that needs it; ascending.
    pub nodes: Vec<PlanNode>,
    /// Batches of changes that it took in, of all workers.
    pub batches: u64,
    /// Rows of changes that it took in.
    pub rows_in: u64,
    /// Rows of changes that it emitted.
    pub rows_out: u64,
    /// The most of them that it emitted at once.
    pub largest: u64,
    /// Rows that a join looked at in order to find pairs.
    pub touched: u64,
    /// The time that it took, of all workers together, when the dataflow has a clock.
    pub nanoseconds: u64,
    /// The time that it took at the worker where it took longest.
    pub nanoseconds_max: u64,
    /// What it keeps.
    pub state: StateSize,
}

/// A node of a view's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlanNode {
    /// The view's index.
    pub view: usize,
    /// The node, as [`plan::ir::ViewPlan::places`] counts them: from 0, inputs first.
    pub node: usize,
}

impl ViewStat {
    /// Adds what another worker did for the same view.
    pub(crate) fn add(&mut self, other: &Self) {
        self.failed |= other.failed;
        self.nanoseconds += other.nanoseconds;
        for (sum, part) in self.operators.iter_mut().zip(&other.operators) {
            sum.workers += part.workers;
            sum.batches += part.batches;
            sum.rows_in += part.rows_in;
            sum.rows_out += part.rows_out;
            sum.largest = sum.largest.max(part.largest);
            sum.touched += part.touched;
            sum.nanoseconds += part.nanoseconds;
            sum.nanoseconds_max = sum.nanoseconds_max.max(part.nanoseconds_max);
            sum.state = sum.state + part.state;
        }
    }
}

impl fmt::Display for FlowStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            let TableStat { table, rows_in, rows_out, deletes_ignored, state, .. } = table;
            write!(f, "table {table}: {rows_in} in, {rows_out} out, {} kept", state.rows)?;
            writeln!(f, " ({} bytes), {deletes_ignored} deletes of no row", state.bytes)?;
        }
        for view in &self.views {
            let stopped = if view.failed { " (stopped)" } else { "" };
            writeln!(f, "view {}{stopped}", view.view)?;
            for OperatorStat { operator, rows_in, rows_out, state, .. } in &view.operators {
                write!(f, "  {operator}: {rows_in} in, {rows_out} out, {} kept", state.rows)?;
                writeln!(f, " ({} bytes)", state.bytes)?;
            }
        }
        Ok(())
    }
}
