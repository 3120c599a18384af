//! The oracle: the same SQL as a plan that DataFusion runs as a batch, which is what a maintained view must equal.
//!
//! It shares the planner's logical plan and nothing after it. What DataFusion cannot run, or not exactly as this
//! language promises, is said here with what it can; [`batch`](crate::batch) runs it.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, NullEquality};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    ColumnarValue, Distinct, Expr, ExprFunctionExt, JoinType, Limit, LogicalPlan,
    LogicalPlanBuilder, Sort, SortExpr, UserDefinedLogicalNodeCore, Volatility, Window, create_udf,
    lit,
};

use crate::ir::SetOperation;
use crate::nodes::{Own, OwnKind};

/// Makes an optimised plan of the planner one that DataFusion can run.
pub(crate) fn runnable(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    let plan = plan.transform_down(with_ties_broken)?.data;
    Ok(plan.transform_up(spelled_out)?.data)
}

/// Says what DataFusion cannot run, or not exactly, with what it can.
fn spelled_out(node: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = columns_of(&input);
            let none: [Expr; 0] = [];
            let input = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input));
            Ok(Transformed::yes(input.aggregate(columns, none)?.build()?))
        }
        LogicalPlan::Window(window) => {
            // Where the order leaves rows equal, theirs is that of all columns: DataFusion keeps the order that it finds.
            let order = sorted_for(&window)?;
            let input = Arc::unwrap_or_clone(window.input);
            let sorted =
                LogicalPlan::Sort(Sort { expr: order, input: Arc::new(input), fetch: None });
            let window = Window { input: Arc::new(sorted), ..window };
            Ok(Transformed::yes(LogicalPlan::Window(window)))
        }
        LogicalPlan::Extension(extension) => match Own::of(&extension) {
            Some(own) => Ok(Transformed::yes(own_spelled_out(own)?)),
            None => Ok(Transformed::no(LogicalPlan::Extension(extension))),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// The order of a window's input: by partition, the window's order, and all columns.
fn sorted_for(window: &Window) -> PlanResult<Vec<SortExpr>> {
    let mut order = Vec::new();
    if let Some(Expr::WindowFunction(call)) =
        window.window_expr.first().map(|call| call.clone().unalias())
    {
        order.extend(call.params.partition_by.iter().map(|key| key.clone().sort(true, true)));
        order.extend(call.params.order_by.clone());
    }
    order.extend(all_columns(&window.input));
    Ok(order)
}

fn own_spelled_out(own: &Own) -> PlanResult<LogicalPlan> {
    let columns = columns_of(&own.inputs[0]);
    match &own.kind {
        OwnKind::Set { operation, all } => set_spelled_out(own, *operation, *all),
        OwnKind::Single { key } => {
            let counted = WindowFunction::new(count_udaf(), vec![lit(1_i64)]);
            let rows = Expr::from(counted).partition_by(key.clone()).build()?.alias("\0rows");
            let checked = create_udf(
                "single",
                vec![DataType::Int64],
                DataType::Boolean,
                Volatility::Volatile,
                Arc::new(at_most_one),
            );
            let condition = checked.call(vec![Expr::Column(Column::from_name("\0rows"))]);
            LogicalPlanBuilder::from(own.inputs[0].clone())
                .window(vec![rows])?
                .filter(condition)?
                .project(columns)?
                .build()
        }
        OwnKind::Top { partition, order, offset, limit } => {
            let mut order = order.clone();
            order.extend(all_columns(&own.inputs[0]));
            let number = row_number().partition_by(partition.clone()).order_by(order);
            let place = Expr::Column(Column::from_name("\0number"));
            let literal = |rows: usize| lit(u64::try_from(rows).unwrap_or(u64::MAX));
            let mut condition = place.clone().gt(literal(*offset));
            if let Some(limit) = limit {
                condition = condition.and(place.lt_eq(literal(offset.saturating_add(*limit))));
            }
            LogicalPlanBuilder::from(own.inputs[0].clone())
                .window(vec![number.build()?.alias("\0number")])?
                .filter(condition)?
                .project(columns)?
                .build()
        }
    }
}

/// INTERSECT and EXCEPT as joins; with ALL, equal rows are told apart by numbers.
fn set_spelled_out(own: &Own, operation: SetOperation, all: bool) -> PlanResult<LogicalPlan> {
    let side = |input: &LogicalPlan, name: &str| {
        let columns = columns_of(input).into_iter().enumerate();
        let columns = columns.map(|(at, column)| column.alias(format!("{name}{at}")));
        let plan = LogicalPlanBuilder::from(input.clone())
            .project(columns.collect::<Vec<_>>())?
            .build()?;
        if !all {
            return LogicalPlanBuilder::from(plan).distinct()?.build();
        }
        let number = row_number().partition_by(columns_of(&plan)).build()?;
        let number = number.alias(format!("{name}number"));
        LogicalPlanBuilder::from(plan).window(vec![number])?.build()
    };
    let left = side(&own.inputs[0], "\0left")?;
    let right = side(&own.inputs[1], "\0right")?;
    let keys = (left.schema().columns(), right.schema().columns());
    let kind = match operation {
        SetOperation::Intersect => JoinType::LeftSemi,
        SetOperation::Except => JoinType::LeftAnti,
    };
    let names = own.schema().columns();
    let columns = keys.0.clone().into_iter().zip(names);
    let columns = columns.map(|(column, name)| {
        Expr::Column(column).alias_qualified(name.relation.clone(), name.name)
    });
    let columns: Vec<Expr> = columns.collect();
    let joined = LogicalPlanBuilder::from(left)
        .join_detailed(right, kind, keys, None, NullEquality::NullEqualsNull)?
        .project(columns)?
        .build()?;
    Ok(joined.transform_up(spelled_out)?.data)
}

/// True for each count, or an error when one is above 1.
fn at_most_one(arguments: &[ColumnarValue]) -> PlanResult<ColumnarValue> {
    let counts = ColumnarValue::values_to_arrays(arguments)?;
    let counts = counts[0].as_primitive::<Int64Type>();
    if counts.values().iter().any(|&count| count > 1) {
        let message = "more than one row returned by a subquery used as an expression";
        return Err(DataFusionError::Execution(message.to_owned()));
    }
    Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(vec![true; counts.len()]))))
}

fn columns_of(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
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
