//! Intervals are one value when they are equally long, a month being 30 days, wherever rows are told apart by them or
//! ordered: groups, distinct rows, joins, partitions, orders, the least and the greatest.
//!
//! Rows are told apart and ordered by `interval_span`. What is shown of a group is one of its
//! intervals as it was written: the least by length and then by its parts, which a minimum over texts that compare so finds.
//! Comparisons themselves are in [`operators`](crate::operators), which run before this.

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions and plans grow with DataFusion")]

use std::sync::Arc;

use arrow::datatypes::DataType;
use change::floats::has_floats;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinConstraint};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::logical_expr::expr::{InSubquery, SetComparison, Sort, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection,
    Subquery, Window, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::arithmetic::{interval_key, interval_of, interval_span};
use crate::functions::folded_floats;
use crate::lower::is_set_operation;
use crate::rewrite::every_expression;

/// Lets lengths tell intervals apart; it runs when operators have their types, before types are coerced.
#[derive(Debug)]
pub(crate) struct IntervalsByLength;

impl AnalyzerRule for IntervalsByLength {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        let plan = every_expression(plan, within)?;
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }

    fn name(&self) -> &'static str {
        "intervals_by_length"
    }
}

/// The column that a length is of.
pub(crate) fn column_of_span(expression: &Expr) -> Option<&Column> {
    match expression {
        Expr::ScalarFunction(call) if call.func.name() == "interval_span" => {
            call.args.first().and_then(Expr::try_as_col)
        }
        _ => None,
    }
}

fn is_interval(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|of| matches!(of, DataType::Interval(_)))
}

/// What an expression is told apart by.
fn told(expression: Expr, schema: &DFSchema) -> Expr {
    if is_interval(&expression, schema) {
        interval_span().call(vec![expression.unalias()])
    } else {
        expression
    }
}

/// Changes keys of an order in place; returns whether there was one to change.
fn tell_order(keys: &mut [Sort], schema: &DFSchema) -> bool {
    let mut changed = false;
    for key in keys.iter_mut().filter(|key| is_interval(&key.expr, schema)) {
        key.expr = told(std::mem::take(&mut key.expr), schema);
        changed = true;
    }
    changed
}

/// Changes expressions in place; returns whether there was one to change.
fn tell_all(expressions: &mut [Expr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for one in expressions.iter_mut().filter(|one| is_interval(one, schema)) {
        *one = told(std::mem::take(one), schema);
        changed = true;
    }
    changed
}

fn refused(what: &str) -> DataFusionError {
    let help = "take `extract(epoch from …)`, whose type is a number";
    DataFusionError::Plan(format!("intervals cannot be told apart {what}: {help}"))
}

fn within(expression: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expression {
        Expr::AggregateFunction(mut call) => {
            let mut changed = tell_order(&mut call.params.order_by, schema);
            if call.params.distinct {
                match call.func.name() {
                    "count" => changed |= tell_all(&mut call.params.args, schema),
                    "array_agg" if call.params.args.iter().any(|one| is_interval(one, schema)) => {
                        return Err(refused("in a list"));
                    }
                    // The elements of JSON are texts there.
                    "string_agg" if call.params.args.iter().any(|one| has_element(one, schema)) => {
                        return Err(refused("in JSON"));
                    }
                    "string_agg" => {
                        let order = call.params.order_by.iter_mut().map(|key| &mut key.expr);
                        for part in call.params.args.iter_mut().chain(order) {
                            let folded = std::mem::take(part)
                                .transform_up(|one| Ok(with_one_zero(one, schema)))?;
                            changed |= folded.transformed;
                            *part = folded.data;
                        }
                    }
                    _ => {}
                }
            }
            Ok(Transformed::new_transformed(Expr::AggregateFunction(call), changed))
        }
        Expr::WindowFunction(mut call) => {
            let params = &mut call.params;
            let ordered = tell_order(&mut params.order_by, schema);
            let frame = &params.window_frame;
            let is_range = ordered && frame.units == WindowFrameUnits::Range;
            if is_range && (has_distance(&frame.start_bound) || has_distance(&frame.end_bound)) {
                return Err(refused("by a distance in a frame"));
            }
            let changed = tell_all(&mut params.partition_by, schema) || ordered;
            Ok(Transformed::new_transformed(Expr::WindowFunction(call), changed))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if is_interval(&expr, schema) => {
            let (expr, subquery) = (Box::new(told(*expr, schema)), told_subquery(subquery)?);
            Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
        }
        Expr::SetComparison(comparison) if is_interval(&comparison.expr, schema) => {
            let SetComparison { expr, subquery, op, quantifier } = comparison;
            let (expr, subquery) = (Box::new(told(*expr, schema)), told_subquery(subquery)?);
            let comparison = SetComparison { expr, subquery, op, quantifier };
            Ok(Transformed::yes(Expr::SetComparison(comparison)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// What an expression writes as an element of JSON.
fn element(expression: &mut Expr) -> Option<&mut Expr> {
    match expression {
        Expr::ScalarFunction(call)
            if matches!(call.func.name(), "json_element" | "jsonb_element") =>
        {
            call.args.first_mut()
        }
        _ => None,
    }
}

/// Whether an expression writes an interval as an element of JSON.
fn has_element(expression: &Expr, schema: &DFSchema) -> bool {
    let writes = |part: &Expr| {
        Ok(element(&mut part.clone()).is_some_and(|value| is_interval(value, schema)))
    };
    expression.exists(writes).unwrap_or_default()
}

/// An element of JSON whose floats are one when they are equal.
fn with_one_zero(mut expression: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let is_float = |value: &Expr| value.get_type(schema).is_ok_and(|of| has_floats(&of));
    match element(&mut expression).filter(|value| is_float(value)) {
        Some(value) => {
            *value = folded_floats().call(vec![std::mem::take(value)]);
            Transformed::yes(expression)
        }
        None => Transformed::no(expression),
    }
}

/// What the only column of a subquery is told apart by.
fn told_subquery(subquery: Subquery) -> PlanResult<Subquery> {
    let Subquery { subquery, outer_ref_columns, spans } = subquery;
    let column = subquery.schema().columns().into_iter().next().map(Expr::Column);
    let column = column.map(|column| told(column, subquery.schema()));
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery)).project(column)?;
    Ok(Subquery { subquery: Arc::new(plan.build()?), outer_ref_columns, spans })
}

fn has_distance(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::CurrentRow => false,
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
            !distance.is_null()
        }
    }
}

fn node(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(mut sort) => {
            let changed = tell_order(&mut sort.expr, sort.input.schema());
            Ok(Transformed::new_transformed(LogicalPlan::Sort(sort), changed))
        }
        LogicalPlan::Distinct(Distinct::On(mut first)) => {
            let schema = Arc::clone(first.input.schema());
            let mut changed = tell_all(&mut first.on_expr, &schema);
            let order = first.sort_expr.as_deref_mut().unwrap_or_default();
            changed |= tell_order(order, &schema);
            let first = LogicalPlan::Distinct(Distinct::On(first));
            Ok(Transformed::new_transformed(first, changed))
        }
        LogicalPlan::Distinct(Distinct::All(input)) if has_intervals(input.schema()) => {
            let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
            let groups = Aggregate::try_new(input, columns, Vec::new())?;
            Ok(Transformed::yes(grouped(groups)?))
        }
        LogicalPlan::Aggregate(aggregate) if tells_intervals(&aggregate)? => {
            Ok(Transformed::yes(grouped(aggregate)?))
        }
        LogicalPlan::Window(window)
            if window
                .window_expr
                .iter()
                .any(|call| extreme_of(call, window.input.schema()).is_some()) =>
        {
            Ok(Transformed::yes(extremes(window)?))
        }
        LogicalPlan::Join(mut join) => {
            let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
            let mut changed = false;
            for (one, other) in &mut join.on {
                changed |= tell_all(std::slice::from_mut(one), &left);
                changed |= tell_all(std::slice::from_mut(other), &right);
            }
            if changed {
                // What is compared is no column of both sides any more.
                join.join_constraint = JoinConstraint::On;
            }
            Ok(Transformed::new_transformed(LogicalPlan::Join(join), changed))
        }
        LogicalPlan::Union(union) if is_set_operation(&union) && has_intervals(&union.schema) => {
            Err(refused("by `intersect` and `except`"))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn has_intervals(schema: &DFSchemaRef) -> bool {
    schema.fields().iter().any(|field| matches!(field.data_type(), DataType::Interval(_)))
}

/// The call of `min` or `max` of an interval that an expression is, over texts that compare as the intervals do.
fn extreme_of(expression: &Expr, schema: &DFSchema) -> Option<Expr> {
    let is_extreme = |name: &str, arguments: &[Expr]| {
        matches!(name, "min" | "max") && arguments.iter().any(|one| is_interval(one, schema))
    };
    let keys = |arguments: Vec<Expr>| {
        arguments.into_iter().map(|one| interval_key().call(vec![one])).collect()
    };
    match expression.clone().unalias() {
        Expr::AggregateFunction(mut call) if is_extreme(call.func.name(), &call.params.args) => {
            call.params.args = keys(call.params.args);
            Some(Expr::AggregateFunction(call))
        }
        Expr::WindowFunction(call) if is_extreme(call.fun.name(), &call.params.args) => {
            let WindowFunction { fun, mut params } = *call;
            params.args = keys(params.args);
            Some(Expr::WindowFunction(Box::new(WindowFunction { fun, params })))
        }
        _ => None,
    }
}

fn tells_intervals(aggregate: &Aggregate) -> PlanResult<bool> {
    let schema = aggregate.input.schema();
    let extreme = aggregate.aggr_expr.iter().any(|call| extreme_of(call, schema).is_some());
    for group in &aggregate.group_expr {
        if let Expr::GroupingSet(sets) = group
            && (extreme || sets.distinct_expr().into_iter().any(|one| is_interval(one, schema)))
        {
            return Err(refused("in grouping sets"));
        }
    }
    Ok(extreme || aggregate.group_expr.iter().any(|group| is_interval(group, schema)))
}

/// Groups by lengths, under the names of the intervals.
fn grouped(aggregate: Aggregate) -> PlanResult<LogicalPlan> {
    let from = Arc::clone(aggregate.input.schema());
    let (mut groups, mut calls) = (Vec::new(), Vec::new());
    // For each column, where it is among groups and calls, and whether it is a text to be an interval.
    let mut places = Vec::new();
    let width = aggregate.group_expr.len();
    let mut place = |call: Expr| {
        let known = calls.iter().position(|known| *known == call);
        width
            + known.unwrap_or_else(|| {
                calls.push(call);
                calls.len() - 1
            })
    };
    for (at, group) in aggregate.group_expr.iter().enumerate() {
        if is_interval(group, &from) {
            let least = interval_key().call(vec![group.clone().unalias()]);
            places.push((place(min(least)), true));
        } else {
            places.push((at, false));
        }
        groups.push(told(group.clone(), &from));
    }
    for call in &aggregate.aggr_expr {
        places.push(match extreme_of(call, &from) {
            Some(extreme) => (place(extreme), true),
            None => (place(call.clone()), false),
        });
    }
    let columns = aggregate.schema.columns();
    let by_length = LogicalPlan::Aggregate(Aggregate::try_new(aggregate.input, groups, calls)?);
    under_names(by_length, columns.into_iter().zip(places).collect())
}

/// Windows whose least and greatest intervals are found as texts.
fn extremes(window: Window) -> PlanResult<LogicalPlan> {
    let from = Arc::clone(window.input.schema());
    let width = from.fields().len();
    let mut places: Vec<(usize, bool)> = (0..width).map(|at| (at, false)).collect();
    let (mut calls, columns) = (Vec::new(), window.schema.columns());
    for (call, column) in window.window_expr.iter().zip(&columns[width..]) {
        let extreme = extreme_of(call, &from);
        places.push((places.len(), extreme.is_some()));
        let named = |call: Expr| call.alias(format!("\0{}", column.name));
        calls.push(extreme.map_or_else(|| call.clone(), named));
    }
    let window = LogicalPlan::Window(Window::try_new(calls, window.input)?);
    under_names(window, columns.into_iter().zip(places).collect())
}

/// Columns of a plan under other names, some of which are read from texts.
fn under_names(
    plan: LogicalPlan,
    columns: Vec<(Column, (usize, bool))>,
) -> PlanResult<LogicalPlan> {
    let all = plan.schema().columns();
    let column = |(named, (at, is_text)): (Column, (usize, bool))| {
        let column = Expr::Column(all[at].clone());
        let column = if is_text { interval_of().call(vec![column]) } else { column };
        column.alias_qualified(named.relation, named.name)
    };
    let columns = columns.into_iter().map(column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}
