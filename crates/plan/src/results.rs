//! Results as PostgreSQL types them: places in a window are `bigint`, and `string_agg` is `text`. And the stages of a
//! pipe may use window functions.
//!
//! DataFusion counts places in unsigned numbers, has a type for long text, and plans the window functions of a pipe's
//! stage as if they were functions of one row.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::find_window_exprs;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::text_of;

/// Computes window functions below projections that have them, and casts results. It runs before types are coerced.
#[derive(Debug)]
pub(crate) struct PostgresTypes;

impl AnalyzerRule for PostgresTypes {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewritten)?.data)
    }

    fn name(&self) -> &'static str {
        "postgres_types"
    }
}

fn rewritten(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Window(window) => {
            let own = window.input.schema().fields().len();
            recast(LogicalPlan::Window(window).recompute_schema()?, own)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let groups = aggregate.group_expr.len();
            recast(LogicalPlan::Aggregate(aggregate).recompute_schema()?, groups)
        }
        LogicalPlan::Projection(projection) if !find_window_exprs(&projection.expr).is_empty() => {
            Ok(Transformed::yes(computed_below(projection)?))
        }
        other => Ok(Transformed::no(other.recompute_schema()?)),
    }
}

/// Casts the results behind a node's own columns to PostgreSQL's types.
fn recast(plan: LogicalPlan, own: usize) -> PlanResult<Transformed<LogicalPlan>> {
    let wanted = |at: usize| match plan.schema().field(at).data_type() {
        DataType::UInt64 if matches!(plan, LogicalPlan::Window(_)) => Some(DataType::Int64),
        DataType::LargeUtf8 => Some(DataType::Utf8),
        _ => None,
    };
    let columns = plan.schema().columns();
    let all: Vec<_> = columns.into_iter().enumerate().collect();
    if !all.iter().any(|(at, _)| *at >= own && wanted(*at).is_some()) {
        return Ok(Transformed::no(plan));
    }
    let cast_to = |(at, column): (usize, Column)| match wanted(at).filter(|_| at >= own) {
        Some(data_type) => {
            let (table, name) = (column.relation.clone(), column.name.clone());
            let value = match data_type {
                // Not a cast: that would be taken away by making what is compared with it long text.
                DataType::Utf8 => text_of().call(vec![Expr::Column(column)]),
                data_type => cast(Expr::Column(column), data_type),
            };
            value.alias_qualified(table, name)
        }
        None => Expr::Column(column),
    };
    let columns = all.into_iter().map(cast_to).collect();
    let projection = Projection::try_new(columns, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

fn computed_below(projection: Projection) -> PlanResult<LogicalPlan> {
    let calls = find_window_exprs(&projection.expr);
    let input = LogicalPlan::clone(&projection.input);
    let below = LogicalPlanBuilder::window_plan(input, calls)?;
    let below = below.transform_up(rewritten)?.data;
    let node = LogicalPlan::Projection(projection);
    let names = NamePreserver::new(&node);
    let mut expressions = Vec::new();
    for expression in node.expressions() {
        let name = names.save(&expression);
        let column = |part: Expr| {
            Ok(match &part {
                Expr::WindowFunction(_) => {
                    let name = part.schema_name().to_string();
                    Transformed::yes(Expr::Column(Column::from_name(name)))
                }
                _ => Transformed::no(part),
            })
        };
        expressions.push(name.restore(expression.transform(column)?.data));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(expressions, Arc::new(below))?))
}
