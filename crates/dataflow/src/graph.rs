//! A view's operators, and the way that changes take through them.
//!
//! The operators of a plan stand in a row, inputs before the operators that read them. A change that enters at a table
//! runs through every operator that answers at once, depth first, so no more than one batch an operator is in flight.
//! At the step's end the operators are asked in order for what they held back: when one is asked, all before it are
//! done.

use arrow::datatypes::SchemaRef;
use change::{ChangeBatch, consolidate};
use plan::ir::{Node, ViewPlan};

use crate::columns::{nullable, rename, select};
use crate::error::{FlowError, OperatorError};
use crate::operator::{BuildError, Operator, Out};
use crate::stat::OperatorStat;
use crate::table::TableInput;

/// Staged rows are consolidated when there are this many, and again when they have doubled since.
const STAGED_ROWS: usize = 65_536;

/// A view, being maintained.
pub(crate) struct Graph {
    name: String,
    stages: Vec<Stage>,
    leaves: Vec<Leaf>,
    output: Output,
    failed: bool,
}

/// An operator and its place.
struct Stage {
    operator: Operator,
    /// The operator that reads it, and as which input; `None` for the last one.
    reader: Option<(usize, usize)>,
    rows_in: u64,
    rows_out: u64,
}

/// Where a table's changes enter.
pub(crate) struct Leaf {
    stage: usize,
    /// The table input.
    pub(crate) table: usize,
    /// The columns that are read, as positions in the table.
    columns: Vec<usize>,
    schema: SchemaRef,
}

/// What the view changed by in this step so far.
struct Output {
    schema: SchemaRef,
    staged: Vec<ChangeBatch>,
    rows: usize,
    limit: usize,
}

impl Graph {
    /// Builds a view's operators. `tables` finds a table's input among those that exist.
    pub(crate) fn new(
        plan: &ViewPlan,
        tables: &impl Fn(&change::TableName) -> usize,
    ) -> Result<Self, FlowError> {
        let output = Output {
            schema: nullable(&plan.schema),
            staged: Vec::new(),
            rows: 0,
            limit: STAGED_ROWS,
        };
        let name = plan.name.clone();
        let mut graph =
            Self { name, stages: Vec::new(), leaves: Vec::new(), output, failed: false };
        graph.add(&plan.root, tables)?;
        Ok(graph)
    }

    /// Adds a node behind its inputs, and returns its place.
    fn add(
        &mut self,
        node: &Node,
        tables: &impl Fn(&change::TableName) -> usize,
    ) -> Result<usize, FlowError> {
        let inputs = node.inputs().into_iter().map(|input| self.add(input, tables));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let view = || self.name.clone();
        let operator = Operator::new(node).map_err(|error| match error {
            BuildError::Unsupported(what) => FlowError::Unsupported { view: view(), what },
            BuildError::Columns(source) => FlowError::Columns { view: view(), source },
        })?;
        let stage = self.stages.len();
        self.stages.push(Stage { operator, reader: None, rows_in: 0, rows_out: 0 });
        for (at, input) in inputs.into_iter().enumerate() {
            self.stages[input].reader = Some((stage, at));
        }
        if let Node::Table { table, columns, schema } = node {
            let (columns, schema) = (columns.clone(), nullable(schema));
            self.leaves.push(Leaf { stage, table: tables(table.name()), columns, schema });
        }
        Ok(stage)
    }

    /// The view's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the view stopped at an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether the view reads a table.
    pub(crate) fn reads(&self, table: usize) -> bool {
        self.leaves.iter().any(|leaf| leaf.table == table)
    }

    /// Takes the changes of a table in. An error stops the view.
    pub(crate) fn push(
        &mut self,
        table: usize,
        input: &TableInput,
        batches: &[ChangeBatch],
    ) -> Result<(), FlowError> {
        if self.failed {
            return Ok(());
        }
        for at in 0..self.leaves.len() {
            if self.leaves[at].table == table {
                for batch in batches {
                    let taken = self.take_in(at, input, batch);
                    taken.map_err(|error| self.fail(error))?;
                }
            }
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        leaf: usize,
        input: &TableInput,
        batch: &ChangeBatch,
    ) -> Result<(), OperatorError> {
        let leaf = &self.leaves[leaf];
        let position = |column| input.columns().binary_search(column);
        let positions: Vec<usize> = leaf.columns.iter().flat_map(position).collect();
        let batch = select(batch, &leaf.schema, &positions)?;
        let (stages, output) = (&mut self.stages[leaf.stage..], &mut self.output);
        deliver(stages, leaf.stage, 0, batch, output)
    }

    /// Ends the step and returns the view's difference: sorted, each row once. An error stops the view.
    pub(crate) fn finish(&mut self) -> Result<ChangeBatch, FlowError> {
        if self.failed {
            return Ok(ChangeBatch::empty(std::sync::Arc::clone(&self.output.schema)));
        }
        self.finish_stages()
            .and_then(|()| Ok(self.output.take()?))
            .map_err(|error| self.fail(error))
    }

    fn finish_stages(&mut self) -> Result<(), OperatorError> {
        for at in 0..self.stages.len() {
            let (first, rest) = self.stages[at..].split_at_mut(1);
            let Stage { operator, reader, rows_out, .. } = &mut first[0];
            let (reader, output) = (*reader, &mut self.output);
            let mut out = Out::default();
            operator.finish(&mut out)?;
            for batch in out.rows {
                *rows_out += batch.len() as u64;
                pass_on(rest, at + 1, reader, batch, output)?;
            }
        }
        Ok(())
    }

    /// Stops the view, frees what it holds, and names it in the error.
    pub(crate) fn fail(&mut self, error: OperatorError) -> FlowError {
        self.stop();
        error.of_view(&self.name)
    }

    /// Stops the view and frees what it holds.
    pub(crate) fn stop(&mut self) {
        self.failed = true;
        self.stages.clear();
        self.output.staged.clear();
    }

    /// What the operators did and hold.
    pub(crate) fn stat(&self) -> Vec<OperatorStat> {
        let stat = |stage: &Stage| OperatorStat {
            operator: stage.operator.name(),
            rows_in: stage.rows_in,
            rows_out: stage.rows_out,
            state: stage.operator.size(),
        };
        self.stages.iter().map(stat).collect()
    }
}

/// Gives a batch to the first of `stages`, which is the view's stage number `base`.
fn deliver(
    stages: &mut [Stage],
    base: usize,
    input: usize,
    batch: ChangeBatch,
    output: &mut Output,
) -> Result<(), OperatorError> {
    let (first, rest) = stages.split_at_mut(1);
    let Stage { operator, reader, rows_in, rows_out } = &mut first[0];
    *rows_in += batch.len() as u64;
    let reader = *reader;
    let mut out = Out::default();
    operator.push(input, &batch, &mut out)?;
    for batch in out.rows {
        *rows_out += batch.len() as u64;
        pass_on(rest, base + 1, reader, batch, output)?;
    }
    Ok(())
}

/// Gives a batch to its reader among `stages`, which begin with the view's stage number `base`.
fn pass_on(
    stages: &mut [Stage],
    base: usize,
    reader: Option<(usize, usize)>,
    batch: ChangeBatch,
    output: &mut Output,
) -> Result<(), OperatorError> {
    if batch.is_empty() {
        return Ok(());
    }
    match reader {
        Some((stage, input)) => deliver(&mut stages[stage - base..], stage, input, batch, output),
        None => Ok(output.stage(&batch)?),
    }
}

impl Output {
    fn stage(&mut self, batch: &ChangeBatch) -> Result<(), arrow::error::ArrowError> {
        self.staged.push(rename(batch, &self.schema)?);
        self.rows += batch.len();
        if self.rows >= self.limit {
            let summed = consolidate(&self.schema, &self.staged)?;
            self.rows = summed.len();
            self.limit = STAGED_ROWS.max(self.rows * 2);
            self.staged = vec![summed];
        }
        Ok(())
    }

    fn take(&mut self) -> Result<ChangeBatch, arrow::error::ArrowError> {
        (self.rows, self.limit) = (0, STAGED_ROWS);
        consolidate(&self.schema, &std::mem::take(&mut self.staged))
    }
}

/// Calls `visit` for every table that the node reads.
pub(crate) fn for_each_table<'a>(node: &'a Node, visit: &mut impl FnMut(&'a Node)) {
    if matches!(node, Node::Table { .. }) {
        visit(node);
    }
    for input in node.inputs() {
        for_each_table(input, visit);
    }
}
