//! Batches: views run by DataFusion over rows that are there whole.
//!
//! Tests of the incremental operators and the auditor compare with it. To plan a view takes far longer than to run it
//! over few rows, so a [`Batch`] is planned once and run over one state of the tables after another.
//!
//! None of DataFusion's physical optimisers runs. They cost as much as all else together, and they throw sorts away
//! that break ties: what a window requires is weaker than what it is promised here. What a plan must have to be run,
//! partitions that are brought together and orders that are required, is put in by [`required`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use change::TableName;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_expr::{LexOrdering, LexRequirement};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions, collect,
};

use crate::codes;
use crate::functions::session_state;
use crate::ir::Program;
use crate::oracle::runnable;
use crate::planner::logical_views;
use crate::tables::PlannedTable;
use crate::{Catalog, Problem, Problems, Script};

/// Runs every view of the script as a batch over the given tables; a table that is not given is empty.
///
/// Returns the views in the order of the script, each with its rows in the view's own column types. Rows that a query
/// does not order come in any order. Ties of a limit are broken as [`ir::Node::TopK`](crate::ir::Node::TopK) says.
///
/// # Errors
/// As [`plan`](crate::plan), and when DataFusion fails to run a query (for example on overflow).
pub async fn run_batch(
    script: &Script,
    catalog: &Catalog,
    tables: Vec<(TableName, Vec<RecordBatch>)>,
) -> Result<Vec<(String, Vec<RecordBatch>)>, Problems> {
    Batch::new(script, catalog)?.run(tables).await
}

/// A script's views, planned once, to be run over one state of the tables after another.
#[derive(Debug)]
pub struct Batch {
    text: String,
    program: Program,
    /// The plans of the program's views, in their order.
    logical: Vec<LogicalPlan>,
    /// What DataFusion made of them, as far as they were run.
    physical: Vec<Option<Arc<dyn ExecutionPlan>>>,
    rows: BTreeMap<TableName, Arc<Rows>>,
    state: SessionState,
}

impl Batch {
    /// Plans the views of a script.
    ///
    /// # Errors
    /// As [`plan`](crate::plan).
    pub fn new(script: &Script, catalog: &Catalog) -> Result<Self, Problems> {
        let (program, logical) = logical_views(script, catalog)?;
        let physical = vec![None; logical.len()];
        let text = script.text.clone();
        let mut builder = SessionStateBuilder::new_from_existing(session_state());
        if let Some(config) = builder.config() {
            // It compares what is known of NULLs, which the optimiser may have found out for the logical plan only.
            config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        }
        let state = builder.with_physical_optimizer_rules(Vec::new()).build();
        Ok(Self { text, program, logical, physical, rows: BTreeMap::new(), state })
    }

    /// The script's program, as [`plan`](crate::plan) returns it.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs the views, as [`run_batch`] does.
    ///
    /// # Errors
    /// When DataFusion fails to run a query (for example on overflow).
    pub async fn run(
        &mut self,
        tables: Vec<(TableName, Vec<RecordBatch>)>,
    ) -> Result<Vec<(String, Vec<RecordBatch>)>, Problems> {
        let mut tables: BTreeMap<_, _> = tables.into_iter().collect();
        for (name, rows) in &self.rows {
            rows.set(tables.remove(name).unwrap_or_default());
        }
        let mut results = Vec::new();
        for at in 0..self.logical.len() {
            let rows = self.run_view(at, &mut tables).await;
            let name = self.program.views[at].name.clone();
            let rows = rows.map_err(|error| Problems {
                text: self.text.clone(),
                problems: vec![Problem::new(
                    codes::PLANNER,
                    0..self.text.len(),
                    format!("the view {name} failed as a batch: {}", error.strip_backtrace()),
                    "in this script",
                )],
            })?;
            results.push((name, rows));
        }
        Ok(results)
    }

    async fn run_view(
        &mut self,
        at: usize,
        tables: &mut BTreeMap<TableName, Vec<RecordBatch>>,
    ) -> PlanResult<Vec<RecordBatch>> {
        let physical = match self.physical[at].take() {
            Some(physical) => reset_plan_states(physical)?,
            None => self.physical_plan(at, tables).await?,
        };
        self.physical[at] = Some(Arc::clone(&physical));
        let batches = collect(physical, self.state.task_ctx()).await?;
        let schema = &self.program.views[at].schema;
        batches.into_iter().map(|batch| as_schema(&batch, schema)).collect()
    }

    async fn physical_plan(
        &mut self,
        at: usize,
        tables: &mut BTreeMap<TableName, Vec<RecordBatch>>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let plan = self.logical[at].clone();
        let plan = plan.transform_up(|node| with_rows(node, &mut self.rows, tables))?.data;
        let plan = runnable(plan)?;
        let plan = self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
        Ok(plan.transform_up(required)?.data)
    }
}

/// A table's rows, which are others in each run.
#[derive(Debug)]
struct Rows {
    columns: SchemaRef,
    batches: Mutex<Vec<RecordBatch>>,
}

impl Rows {
    fn set(&self, batches: Vec<RecordBatch>) {
        *self.batches.lock().unwrap_or_else(PoisonError::into_inner) = batches;
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.columns
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let columns = Arc::clone(&self.columns);
        let batches = batches.into_iter().map(move |batch| as_schema(&batch, &columns));
        let batches = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.columns), batches))
    }
}

/// Lets a scan of a table read its rows of the run, which are taken from `tables` where it is the first one.
fn with_rows(
    node: LogicalPlan,
    known: &mut BTreeMap<TableName, Arc<Rows>>,
    tables: &mut BTreeMap<TableName, Vec<RecordBatch>>,
) -> PlanResult<Transformed<LogicalPlan>> {
    let LogicalPlan::TableScan(scan) = node else {
        return Ok(Transformed::no(node));
    };
    let Some(planned) = scan.source.downcast_ref::<PlannedTable>() else {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    };
    let table = planned.table.as_ref().ok_or_else(|| {
        DataFusionError::Internal("a view is inlined before it is optimised".to_owned())
    })?;
    let rows = known.entry(table.name().clone()).or_insert_with(|| {
        let batches = Mutex::new(tables.remove(table.name()).unwrap_or_default());
        Arc::new(Rows { columns: Arc::clone(table.columns()), batches })
    });
    let partition: Arc<dyn PartitionStream> = Arc::<Rows>::clone(rows);
    let provider = StreamingTable::try_new(Arc::clone(table.columns()), vec![partition])?;
    let source = provider_as_source(Arc::new(provider));
    Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
}

/// Gives the rows a schema's field names and nullability.
fn as_schema(batch: &RecordBatch, schema: &SchemaRef) -> PlanResult<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Gives a node inputs of one partition each, in the order that it requires.
fn required(node: Arc<dyn ExecutionPlan>) -> PlanResult<Transformed<Arc<dyn ExecutionPlan>>> {
    if node.is::<UnionExec>() || node.children().is_empty() {
        return Ok(Transformed::no(node));
    }
    let orders = node.required_input_ordering();
    let mut changed = false;
    let mut inputs = Vec::new();
    for (input, order) in node.children().into_iter().zip(orders) {
        let mut input = Arc::clone(input);
        if input.output_partitioning().partition_count() > 1 {
            input = Arc::new(CoalescePartitionsExec::new(input));
            changed = true;
        }
        if let Some(order) = order
            && let Some(sort) = missing(&input, order.into_single())?
        {
            input = Arc::new(SortExec::new(sort, input));
            changed = true;
        }
        inputs.push(input);
    }
    if !changed {
        return Ok(Transformed::no(node));
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Ok(Transformed::yes(node.replace_children(inputs, options)?))
}

/// The order that rows must be sorted by, when they are not in a required order already.
fn missing(
    input: &Arc<dyn ExecutionPlan>,
    order: LexRequirement,
) -> PlanResult<Option<LexOrdering>> {
    let known = input.equivalence_properties();
    if known.ordering_satisfy_requirement(order.clone())? {
        return Ok(None);
    }
    let order = order.into_iter().filter(|key| known.is_expr_constant(&key.expr).is_none());
    Ok(LexOrdering::new(order.map(Into::into)))
}
