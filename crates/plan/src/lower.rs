//! What DataFusion plans for INTERSECT, EXCEPT, DISTINCT ON and UNNEST becomes what these mean.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{Distinct, DistinctOn, LogicalPlan, Projection, Union, Unnest};

use crate::ir::SetOperation;
use crate::nodes::Own;

/// Names for the right side of a union that stands for another operation: INTERSECT and EXCEPT are handed to DataFusion
/// as unions, which finds their common types. No user can write these names.
const MARKS: [(&str, SetOperation, bool); 4] = [
    ("\0intersect", SetOperation::Intersect, false),
    ("\0intersect all", SetOperation::Intersect, true),
    ("\0except", SetOperation::Except, false),
    ("\0except all", SetOperation::Except, true),
];

/// The name that marks the right side of an operation.
pub(crate) fn mark(operation: SetOperation, all: bool) -> &'static str {
    let marks = MARKS.iter().find(|(_, marked, with_all)| (*marked, *with_all) == (operation, all));
    marks.map(|(mark, ..)| *mark).expect("every operation has a mark")
}

/// Rewrites the plan, and the plans of the subqueries in it.
pub(crate) fn lower(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(lowered)?.data)
}

fn lowered(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Union(union) => Ok(match marked(&union) {
            Some((operation, all, left, right)) => {
                Transformed::yes(Own::set(operation, all, [left, right], union.schema))
            }
            None => Transformed::no(LogicalPlan::Union(union)),
        }),
        LogicalPlan::Distinct(Distinct::On(on)) => Ok(Transformed::yes(first_of_each(on)?)),
        LogicalPlan::Unnest(mut unnest) if unnest.options.preserve_nulls() => {
            // A list that is NULL has no elements.
            unnest.options = unnest.options.with_preserve_nulls(false);
            Ok(Transformed::yes(LogicalPlan::Unnest(Unnest { ..unnest })))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// DISTINCT ON: the first row of each partition.
fn first_of_each(on: DistinctOn) -> PlanResult<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = on;
    let order = sort_expr.unwrap_or_default();
    let top = Own::top(on_expr, order, (0, Some(1)), Arc::unwrap_or_clone(input));
    let projection = Projection::try_new_with_schema(select_expr, Arc::new(top), schema)?;
    Ok(LogicalPlan::Projection(projection))
}

type Marked = (SetOperation, bool, LogicalPlan, LogicalPlan);

/// What a union with a marked right side stands for.
fn marked(union: &Union) -> Option<Marked> {
    let [left, right] = union.inputs.as_slice() else { return None };
    let (operation, all) = mark_of(right)?;
    Some((operation, all, LogicalPlan::clone(left), LogicalPlan::clone(right)))
}

fn mark_of(plan: &LogicalPlan) -> Option<(SetOperation, bool)> {
    match plan {
        LogicalPlan::Projection(projection) => mark_of(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => {
            let name = alias.alias.table();
            let found = MARKS.iter().find(|(mark, ..)| *mark == name)?;
            Some((found.1, found.2))
        }
        _ => None,
    }
}
