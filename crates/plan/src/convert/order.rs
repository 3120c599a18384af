//! The order in which a view is shown.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::{Expr, LogicalPlan, SortExpr};

use super::{Refusal, options, position};
use crate::codes;
use crate::ir::{AggregateFunction, Node, OrderKey};

/// The order in which the plan's rows are shown, in its own columns.
///
/// A limited result whose order is not by its own columns is shown in no order; without a limit that order would be
/// all that the user asked for, so it is refused.
pub(crate) fn output_order(plan: &LogicalPlan) -> Result<Vec<OrderKey>, Refusal> {
    match order_of(plan) {
        Order::Shown(keys) => Ok(keys),
        Order::Hidden if is_limited(plan) => Ok(Vec::new()),
        Order::Hidden => Err(Refusal::new(
            codes::ORDER,
            "the order is not by columns of the result",
            "add the value that you order by to the result",
        )),
    }
}

enum Order {
    Shown(Vec<OrderKey>),
    Hidden,
}

fn order_of(plan: &LogicalPlan) -> Order {
    match plan {
        LogicalPlan::Sort(sort) => {
            let key = |sort_key: &SortExpr| {
                let column = position(&sort_key.expr, sort.input.schema())?;
                Some(OrderKey { column, options: options(sort_key) })
            };
            sort.expr.iter().map(key).collect::<Option<_>>().map_or(Order::Hidden, Order::Shown)
        }
        LogicalPlan::Projection(projection) => {
            let Order::Shown(keys) = order_of(&projection.input) else { return Order::Hidden };
            let from = projection.input.schema();
            let moved = |key: OrderKey| {
                let at = |expression: &Expr| position(expression, from) == Some(key.column);
                let column = projection.expr.iter().position(at)?;
                Some(OrderKey { column, ..key })
            };
            keys.into_iter().map(moved).collect::<Option<_>>().map_or(Order::Hidden, Order::Shown)
        }
        LogicalPlan::SubqueryAlias(alias) => order_of(&alias.input),
        LogicalPlan::Limit(limit) => order_of(&limit.input),
        _ => Order::Shown(Vec::new()),
    }
}

fn is_limited(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Projection(projection) => is_limited(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_limited(&alias.input),
        _ => false,
    }
}

/// Refuses what would have to order intervals: their parts have an order here, but not that of their lengths.
pub(crate) fn no_ordered_intervals(root: &Node, shown: &[OrderKey]) -> Result<(), Refusal> {
    check(&root.schema(), shown)?;
    let mut left = vec![root];
    while let Some(node) = left.pop() {
        match node {
            Node::TopK { input, order, .. } | Node::Window { input, order, .. } => {
                check(&input.schema(), order)?;
            }
            Node::Aggregate { input, aggregates, .. } => {
                let schema = input.schema();
                for call in aggregates {
                    check(&schema, &call.order)?;
                    let is_extreme =
                        matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
                    let is_interval = |&column: &usize| is_interval(&schema, column);
                    if is_extreme && call.argument.as_ref().is_some_and(is_interval) {
                        return Err(no_order());
                    }
                }
            }
            Node::Table { .. }
            | Node::Constant { .. }
            | Node::Filter { .. }
            | Node::Project { .. }
            | Node::Unnest { .. }
            | Node::Join { .. }
            | Node::Distinct { .. }
            | Node::SetOperation { .. }
            | Node::Single { .. }
            | Node::Union { .. } => {}
        }
        left.extend(node.inputs());
    }
    Ok(())
}

fn check(schema: &SchemaRef, order: &[OrderKey]) -> Result<(), Refusal> {
    let found = order.iter().any(|key| is_interval(schema, key.column));
    if found { Err(no_order()) } else { Ok(()) }
}

fn is_interval(schema: &SchemaRef, column: usize) -> bool {
    matches!(schema.field(column).data_type(), DataType::Interval(_))
}

fn no_order() -> Refusal {
    Refusal::new(
        codes::TYPE,
        "intervals cannot be ordered: only comparisons know their lengths",
        "order by a number instead: `extract(epoch from x)`",
    )
}
