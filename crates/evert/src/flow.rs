//! The dataflow of some views, fed with what the log holds.
//!
//! The views that a run begins with are one dataflow and share what they have in common; a view that is created later
//! has one of its own until the next start.

use change::{ChangeBatch, TableChanges, TableName, Time};
use dataflow::{Dataflow, DataflowOptions, FaultChange, FlowError, FlowStat};
use plan::ir::ViewPlan;
use view::RowError;

use crate::earlier::{Earlier, Forgotten};

/// What is maintained.
pub(crate) struct Maintenance<'a> {
    /// The views.
    pub(crate) plans: &'a [ViewPlan],
    /// What is known of their tables, and how many workers share the work.
    pub(crate) options: DataflowOptions,
    /// The tables that were there once.
    pub(crate) forgotten: &'a [Forgotten],
}

/// The dataflow of some views, which it names by their positions.
pub(crate) struct Flow {
    dataflow: Dataflow,
    earlier: Earlier,
}

/// What a step changed: the views' rows, and the rows that they lack.
pub(crate) type Differences = (Vec<(usize, ChangeBatch)>, Vec<RowError>);

impl Flow {
    pub(crate) fn new(maintenance: &Maintenance<'_>) -> Result<Self, FlowError> {
        let dataflow = Dataflow::with_options(maintenance.plans, &maintenance.options)?;
        let earlier = Earlier::new(maintenance.forgotten, &dataflow);
        Ok(Self { dataflow, earlier })
    }

    /// What becomes of changes from earlier lives of tables.
    pub(crate) fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    /// Whether a view reads the table.
    pub(crate) fn reads(&self, table: &TableName) -> bool {
        self.dataflow.reads(table)
    }

    /// Takes changes in, of transactions from `first` on.
    pub(crate) fn push(&mut self, first: Time, tables: &[TableChanges]) -> Result<(), FlowError> {
        self.dataflow.push(&self.earlier.adapted(first, tables))
    }

    /// Ends the step.
    pub(crate) fn finish(&mut self) -> Result<Differences, FlowError> {
        let differences = self.dataflow.finish_step()?;
        let errors = self.dataflow.take_faults().into_iter().map(row_error).collect();
        Ok((differences, errors))
    }

    /// Forgets a view, between two steps.
    pub(crate) fn drop_view(&mut self, view: usize) {
        self.dataflow.drop_view(view);
    }

    /// What the dataflow did and holds.
    pub(crate) fn stat(&self) -> FlowStat {
        self.dataflow.stat()
    }
}

fn row_error(fault: FaultChange) -> RowError {
    // The names of DataFusion's own parts say nothing to whoever mends the row.
    const PARTS: [&str; 3] = ["Arrow error: ", "Execution error: ", "Cast error: "];
    let FaultChange { view, expression, row, message, diff } = fault;
    let strip = |text: &'_ str, part: &str| text.strip_prefix(part).unwrap_or(text).to_owned();
    let message = PARTS.iter().fold(message, |message, part| strip(&message, part));
    RowError { view, expression, row, message, diff }
}
