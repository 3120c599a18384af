//! Every expression of a plan, seen once, with the columns that it can read.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Rewrites the parts of all expressions, the inner ones first; what they are called stays.
pub(crate) fn every_expression(
    plan: LogicalPlan,
    part: impl Fn(Expr, &DFSchema) -> PlanResult<Transformed<Expr>>,
) -> PlanResult<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(|plan| rewritten(plan, &part))?.data)
}

fn rewritten(
    plan: LogicalPlan,
    part: &impl Fn(Expr, &DFSchema) -> PlanResult<Transformed<Expr>>,
) -> PlanResult<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let expression = expression.transform_up(|inner| part(inner, &schema))?;
        Ok(expression.update_data(|expression| name.restore(expression)))
    })?;
    plan.map_data(LogicalPlan::recompute_schema)
}
