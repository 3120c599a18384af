//! The order in which a view is shown.

use datafusion::logical_expr::{Expr, LogicalPlan, SortExpr};

use super::{Refusal, options, position};
use crate::codes;
use crate::ir::OrderKey;
use crate::spans::column_of_span;

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
                // Views show intervals in the order of their lengths.
                let column = match column_of_span(&sort_key.expr) {
                    Some(column) => sort.input.schema().maybe_index_of_column(column)?,
                    None => position(&sort_key.expr, sort.input.schema())?,
                };
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
