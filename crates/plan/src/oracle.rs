//! The oracle: the same SQL, run as a batch by DataFusion over the whole input.
//!
//! Tests of the incremental operators and the auditor compare with it. It shares the planner's logical plan and
//! nothing after it.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use change::TableName;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::{
    Distinct, Expr, Limit, LogicalPlan, LogicalPlanBuilder, Sort, SortExpr, TableScan,
};

use crate::codes;
use crate::functions::session_context;
use crate::planner::{PlannedView, logical_views};
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
    let tables: BTreeMap<_, _> = tables.into_iter().collect();
    let mut results = Vec::new();
    for view in logical_views(script, catalog)? {
        let name = view.plan.name.clone();
        let rows = run_view(view, &tables).await.map_err(|error| Problems {
            text: script.text.clone(),
            problems: vec![Problem::new(
                codes::PLANNER,
                0..script.text.len(),
                format!("the view {name} failed as a batch: {}", error.strip_backtrace()),
                "in this script",
            )],
        })?;
        results.push((name, rows));
    }
    Ok(results)
}

async fn run_view(
    view: PlannedView,
    tables: &BTreeMap<TableName, Vec<RecordBatch>>,
) -> PlanResult<Vec<RecordBatch>> {
    let plan = view.logical.transform_up(|node| with_rows(node, tables))?.data;
    let plan = plan.transform_down(with_ties_broken)?.data;
    let plan = plan.transform_up(grouped)?.data;
    let context = session_context();
    let state = context.state();
    let physical = state.query_planner().create_physical_plan(&plan, &state).await?;
    let batches = datafusion::physical_plan::collect(physical, context.task_ctx()).await?;
    batches.into_iter().map(|batch| as_schema(&batch, &view.plan.schema)).collect()
}

/// Makes a distinct the grouping by all columns that DataFusion can run.
fn grouped(node: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Distinct(Distinct::All(input)) = node else {
        return Ok(Transformed::no(node));
    };
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let none: [Expr; 0] = [];
    let input = Arc::unwrap_or_clone(input);
    Ok(Transformed::yes(LogicalPlanBuilder::from(input).aggregate(columns, none)?.build()?))
}

/// Gives the rows the view's field names and nullability.
fn as_schema(batch: &RecordBatch, schema: &SchemaRef) -> PlanResult<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn with_rows(
    node: LogicalPlan,
    tables: &BTreeMap<TableName, Vec<RecordBatch>>,
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
    let columns = Arc::clone(table.columns());
    let rows = tables.get(table.name()).cloned().unwrap_or_default();
    let rows = rows.iter().map(|batch| as_schema(batch, &columns)).collect::<PlanResult<_>>()?;
    let source = provider_as_source(Arc::new(MemTable::try_new(columns, vec![rows])?));
    Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
}

/// Makes a limit's choice among ties the one that the dataflow makes: all columns of the sorted rows, ascending.
fn with_ties_broken(node: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Limit(Limit { skip, fetch, input }) = node else {
        return Ok(Transformed::no(node));
    };
    let input = Arc::new(sorted_wholly(&input)?);
    Ok(Transformed::yes(LogicalPlan::Limit(Limit { skip, fetch, input })))
}

fn sorted_wholly(input: &LogicalPlan) -> PlanResult<LogicalPlan> {
    match input {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) if has_sort(input) => {
            let below = sorted_wholly(input.inputs()[0])?;
            input.with_new_exprs(input.expressions(), vec![below])
        }
        LogicalPlan::Sort(sort) => {
            let mut expr = sort.expr.clone();
            expr.extend(all_columns(&sort.input));
            let input = Arc::clone(&sort.input);
            Ok(LogicalPlan::Sort(Sort { expr, input, fetch: None }))
        }
        other => {
            let (expr, input) = (all_columns(other), Arc::new(other.clone()));
            Ok(LogicalPlan::Sort(Sort { expr, input, fetch: None }))
        }
    }
}

/// Whether a sort is reached through nodes that keep the order and number of rows.
pub(crate) fn has_sort(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => has_sort(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_sort(&alias.input),
        _ => false,
    }
}

fn all_columns(plan: &LogicalPlan) -> Vec<SortExpr> {
    let columns = plan.schema().columns().into_iter();
    columns.map(|column| SortExpr::new(Expr::Column(column), true, true)).collect()
}
