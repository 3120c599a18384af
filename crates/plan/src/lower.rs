//! What DataFusion plans for INTERSECT, EXCEPT, DISTINCT ON, UNNEST and grouping sets becomes what these mean.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as PlanResult;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, GroupingSet, LogicalPlan, Projection, Union, Unnest, lit,
};

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
        LogicalPlan::Aggregate(aggregate) => match sets_of(&aggregate) {
            Some(sets) => Ok(Transformed::yes(grouped_by_each(&aggregate, &sets)?)),
            None => Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// The sets of expressions that an aggregate groups by one after the other.
fn sets_of(aggregate: &Aggregate) -> Option<Vec<Vec<Expr>>> {
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else { return None };
    Some(match sets {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(all) => (0..=all.len()).rev().map(|n| all[..n].to_vec()).collect(),
        GroupingSet::Cube(all) => {
            let chosen = |mask: usize| {
                let kept = all.iter().enumerate().filter(move |(at, _)| mask & (1 << at) == 0);
                kept.map(|(_, expr)| expr.clone()).collect()
            };
            (0..1 << all.len()).map(chosen).collect()
        }
    })
}

/// Grouping sets: the rows of an aggregate by each set, with NULLs for the columns that it lacks.
///
/// DataFusion gives no row for the empty set over no rows; here it is an aggregate without groups, which has one.
fn grouped_by_each(aggregate: &Aggregate, sets: &[Vec<Expr>]) -> PlanResult<LogicalPlan> {
    let [Expr::GroupingSet(grouping)] = aggregate.group_expr.as_slice() else {
        return Ok(LogicalPlan::Aggregate(aggregate.clone()));
    };
    let all: Vec<Expr> = grouping.distinct_expr().into_iter().cloned().collect();
    let fields = aggregate.schema.fields();
    let (mut inputs, mut before) = (Vec::new(), Vec::new());
    for set in sets {
        let lacks = all.iter().map(|expr| u64::from(!set.contains(expr)));
        let mask = lacks.fold(0, |mask, lack| mask << 1 | lack);
        let ordinal = before.iter().filter(|other| **other == mask).count() as u64;
        before.push(mask);
        let id = ScalarValue::UInt64(Some(ordinal << all.len() | mask));
        let mut calls = aggregate.aggr_expr.clone();
        if calls.is_empty() && set.is_empty() {
            calls.push(count(lit(1_i64)));
        }
        let grouped = Aggregate::try_new(Arc::clone(&aggregate.input), set.clone(), calls)?;
        let columns = grouped.schema.columns();
        let mut row = Vec::new();
        for (expr, field) in all.iter().zip(fields) {
            row.push(match set.iter().position(|grouped| grouped == expr) {
                Some(at) => Expr::Column(columns[at].clone()),
                None => Expr::Literal(ScalarValue::try_from(field.data_type())?, None),
            });
        }
        row.push(Expr::Literal(id.cast_to(fields[all.len()].data_type())?, None));
        let results = columns.into_iter().skip(set.len()).take(aggregate.aggr_expr.len());
        row.extend(results.map(Expr::Column));
        let named = row.into_iter().enumerate();
        let named = named.map(|(at, value)| value.alias(format!("\0set{at}")));
        let grouped = Arc::new(LogicalPlan::Aggregate(grouped));
        let projection = Projection::try_new(named.collect(), grouped)?;
        inputs.push(Arc::new(LogicalPlan::Projection(projection)));
    }
    let place = |(at, field): (usize, &FieldRef)| {
        let field = field.as_ref().clone().with_name(format!("\0set{at}")).with_nullable(true);
        (None, Arc::new(field))
    };
    let united: Vec<_> = fields.iter().enumerate().map(place).collect();
    let united =
        Arc::new(DFSchema::new_with_metadata(united, BTreeMap::new().into_iter().collect())?);
    let columns = united.columns().into_iter().zip(aggregate.schema.columns());
    let columns =
        columns.map(|(from, to)| Expr::Column(from).alias_qualified(to.relation.clone(), to.name));
    let columns: Vec<Expr> = columns.collect();
    let union = LogicalPlan::Union(Union { inputs, schema: united });
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(union))?))
}

/// DISTINCT ON: the first row of each partition.
fn first_of_each(on: DistinctOn) -> PlanResult<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = on;
    let order = sort_expr.unwrap_or_default();
    let top = Own::top(on_expr, order, (0, Some(1)), Arc::unwrap_or_clone(input));
    let projection = Projection::try_new_with_schema(select_expr, Arc::new(top), schema)?;
    Ok(LogicalPlan::Projection(projection))
}

/// Whether a union stands for INTERSECT or EXCEPT.
pub(crate) fn is_set_operation(union: &Union) -> bool {
    matches!(union.inputs.as_slice(), [_, right] if mark_of(right).is_some())
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
