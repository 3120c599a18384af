//! Numbers of two kinds meet as PostgreSQL has it: a decimal beside a `double precision` becomes one, and so do a `real` and
//! whatever it meets that is none.
//!
//! DataFusion goes the other way and casts the float to a decimal, which a NaN or a large float cannot be: a view with
//! `x > 0.25` would fail on the first NaN.

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions grow with DataFusion")]

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

/// Casts decimals to `double precision` where they meet floats; it runs before types are coerced.
#[derive(Debug)]
pub(crate) struct FloatsBeforeDecimals;

impl AnalyzerRule for FloatsBeforeDecimals {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewritten)?.data)
    }

    fn name(&self) -> &'static str {
        "floats_before_decimals"
    }
}

fn rewritten(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    let inputs = plan.inputs();
    if inputs.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let schema = merge_schema(&inputs);
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let expression = expression.transform_up(|part| meeting(part, &schema))?;
        Ok(expression.update_data(|expression| name.restore(expression)))
    })?;
    plan.map_data(LogicalPlan::recompute_schema)
}

/// Rewrites one operator whose operands are floats and decimals.
fn meeting(expression: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if meets(&[&*left, &*right], schema) => {
            let (left, right) = (widened(*left, schema), widened(*right, schema));
            let binary = BinaryExpr { left: Box::new(left), op, right: Box::new(right) };
            Ok(Transformed::yes(Expr::BinaryExpr(binary)))
        }
        Expr::Between(Between { expr, negated, low, high })
            if meets(&[&*expr, &*low, &*high], schema) =>
        {
            let [expr, low, high] = [expr, low, high].map(|part| Box::new(widened(*part, schema)));
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::InList(InList { expr, list, negated })
            if meets(&std::iter::once(&*expr).chain(&list).collect::<Vec<_>>(), schema) =>
        {
            let expr = Box::new(widened(*expr, schema));
            let list = list.into_iter().map(|part| widened(part, schema)).collect();
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Whether there are both floats and decimals, or a `real` and another number.
fn meets(operands: &[&Expr], schema: &DFSchema) -> bool {
    let types: Vec<_> = operands.iter().filter_map(|part| part.get_type(schema).ok()).collect();
    let is_real = |of: &DataType| *of == DataType::Float32;
    let others = |of: &DataType| of.is_numeric() && !is_real(of);
    types.iter().any(DataType::is_floating) && types.iter().any(DataType::is_decimal)
        || types.iter().any(is_real) && types.iter().any(others)
}

fn widened(expression: Expr, schema: &DFSchema) -> Expr {
    let narrow = |of: &DataType| of.is_decimal() || of.is_integer() || *of == DataType::Float32;
    match expression.get_type(schema) {
        Ok(of) if narrow(&of) => cast(expression, DataType::Float64),
        Ok(_) | Err(_) => expression,
    }
}
