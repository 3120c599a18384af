//! Lists of floats that are equal in SQL are one value, wherever rows are told apart by them: in groups, distinct rows,
//! joins, partitions.
//!
//! DataFusion knows that −0 and 0 are one, but compares the bits of what is in lists. So such lists are folded before they
//! are compared; one of both stands for the other, as in PostgreSQL. Comparisons themselves are in
//! [`operators`](crate::operators).

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions and plans grow with DataFusion")]

use std::sync::Arc;

use change::floats::has_floats;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, Projection};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::folded_floats;
use crate::rewrite::every_expression;

/// Folds lists of floats where rows are told apart by them; it runs before types are coerced.
#[derive(Debug)]
pub(crate) struct OneZeroInLists;

impl AnalyzerRule for OneZeroInLists {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        let plan = every_expression(plan, |expression, schema| Ok(told_apart(expression, schema)))?;
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }

    fn name(&self) -> &'static str {
        "one_zero_in_lists"
    }
}

fn is_list_of_floats(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|of| of.is_nested() && has_floats(&of))
}

/// The same expression, folded if it is a list of floats.
fn folded(expression: Expr, schema: &DFSchema) -> Expr {
    if is_list_of_floats(&expression, schema) {
        folded_floats().call(vec![expression])
    } else {
        expression
    }
}

/// What an expression tells rows apart by.
fn told_apart(expression: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let is_one = |parts: &[Expr]| parts.iter().any(|part| is_list_of_floats(part, schema));
    let all = |parts: Vec<Expr>| parts.into_iter().map(|part| folded(part, schema)).collect();
    match expression {
        Expr::AggregateFunction(mut call) if call.params.distinct && is_one(&call.params.args) => {
            call.params.args = all(call.params.args);
            Transformed::yes(Expr::AggregateFunction(call))
        }
        Expr::WindowFunction(mut call) if is_one(&call.params.partition_by) => {
            call.params.partition_by = all(call.params.partition_by);
            Transformed::yes(Expr::WindowFunction(call))
        }
        other => Transformed::no(other),
    }
}

fn node(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, .. })
            if group_expr.iter().any(|group| is_list_of_floats(group, input.schema())) =>
        {
            let names = NamePreserver::new_for_projection();
            let group = |group: Expr| match is_list_of_floats(&group, input.schema()) {
                true => names.save(&group).restore(folded(group, input.schema())),
                false => group,
            };
            let group_expr = group_expr.into_iter().map(group).collect();
            let aggregate = Aggregate::try_new(Arc::clone(&input), group_expr, aggr_expr)?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
        }
        LogicalPlan::Distinct(Distinct::All(input)) if has_lists_of_floats(input.schema()) => {
            let distinct = Distinct::All(Arc::new(folded_columns(input)?));
            Ok(Transformed::yes(LogicalPlan::Distinct(distinct)))
        }
        LogicalPlan::Join(mut join) => {
            let (left, right) = (join.left.schema(), join.right.schema());
            let is_one = join.on.iter().any(|(one, _)| is_list_of_floats(one, left));
            join.on = std::mem::take(&mut join.on)
                .into_iter()
                .map(|(one, other)| (folded(one, left), folded(other, right)))
                .collect();
            Ok(Transformed::new_transformed(LogicalPlan::Join(join), is_one))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn has_lists_of_floats(schema: &DFSchema) -> bool {
    schema
        .fields()
        .iter()
        .any(|field| field.data_type().is_nested() && has_floats(field.data_type()))
}

/// All columns under their names, lists of floats folded.
fn folded_columns(input: Arc<LogicalPlan>) -> PlanResult<LogicalPlan> {
    let schema = Arc::clone(input.schema());
    let column = |(table, name): (Option<_>, String)| {
        let column = Expr::Column(Column::new(table.clone(), name.clone()));
        match is_list_of_floats(&column, &schema) {
            true => folded(column, &schema).alias_qualified(table, name),
            false => column,
        }
    };
    let columns = schema.iter().map(|(table, field)| (table.cloned(), field.name().clone()));
    let columns = columns.map(column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, input)?))
}
