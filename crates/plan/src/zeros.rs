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
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, GroupingSet, LogicalPlan, Projection,
};
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
        LogicalPlan::Aggregate(aggregate) if has_sets_of_lists(&aggregate) => {
            Ok(Transformed::yes(folded_sets(aggregate)?))
        }
        LogicalPlan::Distinct(Distinct::On(mut first)) => {
            let is_one = first.on_expr.iter().any(|on| is_list_of_floats(on, first.input.schema()));
            let on = std::mem::take(&mut first.on_expr).into_iter();
            first.on_expr = on.map(|on| folded(on, first.input.schema())).collect();
            // Both begin with the same expressions.
            for key in first.sort_expr.iter_mut().flatten() {
                key.expr = folded(std::mem::take(&mut key.expr), first.input.schema());
            }
            let first = LogicalPlan::Distinct(Distinct::On(first));
            Ok(Transformed::new_transformed(first, is_one))
        }
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

fn has_sets_of_lists(aggregate: &Aggregate) -> bool {
    let is_one = |part: &&Expr| is_list_of_floats(part, aggregate.input.schema());
    aggregate.group_expr.iter().any(|group| match group {
        Expr::GroupingSet(sets) => sets.distinct_expr().iter().any(is_one),
        _ => false,
    })
}

/// Grouping sets of folded lists, under the names that they had. `grouping` names what it asks about, so it is folded too.
fn folded_sets(aggregate: Aggregate) -> PlanResult<LogicalPlan> {
    let input = Arc::clone(&aggregate.input);
    let all = |parts: Vec<Expr>| -> Vec<Expr> {
        parts.into_iter().map(|part| folded(part, input.schema())).collect()
    };
    let group = |group: Expr| match group {
        Expr::GroupingSet(GroupingSet::Rollup(parts)) => {
            Expr::GroupingSet(GroupingSet::Rollup(all(parts)))
        }
        Expr::GroupingSet(GroupingSet::Cube(parts)) => {
            Expr::GroupingSet(GroupingSet::Cube(all(parts)))
        }
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
            Expr::GroupingSet(GroupingSet::GroupingSets(sets.into_iter().map(all).collect()))
        }
        other => other,
    };
    let call = |call: Expr| {
        let call = call.transform_up(|part| match part {
            Expr::AggregateFunction(mut asked) if asked.func.name() == "grouping" => {
                asked.params.args = all(asked.params.args);
                Ok(Transformed::yes(Expr::AggregateFunction(asked)))
            }
            other => Ok(Transformed::no(other)),
        });
        Ok(call?.data)
    };
    let names = aggregate.schema.columns();
    let groups = aggregate.group_expr.into_iter().map(group).collect();
    let calls = aggregate.aggr_expr.into_iter().map(call).collect::<PlanResult<Vec<_>>>()?;
    let sets = Aggregate::try_new(aggregate.input, groups, calls)?;
    let columns = sets.schema.columns().into_iter().zip(names);
    // The number of a row's set is there for `grouping`, which is another aggregate by the time that it is computed.
    let columns = columns.filter(|(column, _)| column.name != Aggregate::INTERNAL_GROUPING_ID);
    let columns = columns
        .map(|(is, should)| Expr::Column(is).alias_qualified(should.relation.clone(), should.name));
    let (columns, sets) = (columns.collect(), Arc::new(LogicalPlan::Aggregate(sets)));
    Ok(LogicalPlan::Projection(Projection::try_new(columns, sets)?))
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
