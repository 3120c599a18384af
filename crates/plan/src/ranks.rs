//! Window functions as PostgreSQL has them: places are `bigint`, and the stages of a pipe may use them.
//!
//! DataFusion counts places in unsigned numbers, and plans the window functions of a pipe's stage as if they were
//! functions of one row.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::find_window_exprs;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, Window, cast,
};
use datafusion::optimizer::AnalyzerRule;

/// Computes window functions below projections that have them, and casts places to signed numbers. It runs before types
/// are coerced.
#[derive(Debug)]
pub(crate) struct SignedPlaces;

impl AnalyzerRule for SignedPlaces {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewritten)?.data)
    }

    fn name(&self) -> &'static str {
        "signed_places"
    }
}

fn rewritten(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Window(window) => {
            let unsigned = |at: usize| {
                *window.schema.field(at).data_type() == DataType::UInt64
                    && at >= window.input.schema().fields().len()
            };
            let width = window.schema.fields().len();
            if !(0..width).any(unsigned) {
                return Ok(Transformed::no(LogicalPlan::Window(window).recompute_schema()?));
            }
            Ok(Transformed::yes(signed(window)?))
        }
        LogicalPlan::Projection(projection)
            if !find_window_exprs(&projection.expr).is_empty() =>
        {
            Ok(Transformed::yes(computed_below(projection)?))
        }
        other => Ok(Transformed::no(other.recompute_schema()?)),
    }
}

fn signed(window: Window) -> PlanResult<LogicalPlan> {
    let own = window.input.schema().fields().len();
    let columns = window.schema.columns().into_iter().enumerate();
    let columns = columns.map(|(at, column)| {
        match at >= own && *window.schema.field(at).data_type() == DataType::UInt64 {
            true => {
                let (table, name) = (column.relation.clone(), column.name.clone());
                cast(Expr::Column(column), DataType::Int64).alias_qualified(table, name)
            }
            false => Expr::Column(column),
        }
    });
    let columns = columns.collect();
    let projection = Projection::try_new(columns, Arc::new(LogicalPlan::Window(window)))?;
    Ok(LogicalPlan::Projection(projection))
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
