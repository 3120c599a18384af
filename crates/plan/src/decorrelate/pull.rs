//! Pulling: the conditions that compare a subquery's own rows with outer columns leave it.
//!
//! Invariant: a pulled plan's first columns are those of the plan that it comes from. The sides of `keys` and the
//! columns of `residual` are over the pulled plan's columns; outer columns in them are still marked as such.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, Sort, SubqueryAlias, lit,
};

use super::{Decorrelator, bounds, outer_in, outer_of, sunk};
use crate::nodes::Own;

/// A subquery's plan without its outer columns.
pub(super) struct Pulled {
    pub(super) plan: LogicalPlan,
    /// Pairs (outer side, inner side) that must be equal.
    pub(super) keys: Vec<(Expr, Expr)>,
    /// Other conditions over outer and inner columns.
    pub(super) residual: Vec<Expr>,
    /// The values of the plan's own columns where no row meets the keys, if there is a row even then.
    pub(super) empty: Option<Vec<Expr>>,
}

impl Pulled {
    fn leaf(plan: LogicalPlan) -> Self {
        Self { plan, keys: Vec::new(), residual: Vec::new(), empty: None }
    }
}

impl Decorrelator {
    /// Pulls the conditions out of a plan; `None` when there is more to it than conditions.
    pub(super) fn pull(
        &mut self,
        plan: &LogicalPlan,
        outer: &DFSchema,
    ) -> PlanResult<Option<Pulled>> {
        if outer_in(plan, outer).is_empty() {
            return Ok(Some(Pulled::leaf(plan.clone())));
        }
        match plan {
            LogicalPlan::Filter(filter) => self.pull_filter(filter, outer),
            LogicalPlan::Projection(projection) => self.pull_projection(projection, outer),
            LogicalPlan::SubqueryAlias(alias) => self.pull_alias(alias, outer),
            LogicalPlan::Aggregate(aggregate) => self.pull_aggregate(aggregate, outer),
            LogicalPlan::Join(join) => self.pull_join(join, outer),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let pulled = self.pull(input, outer)?;
                Ok(pulled.filter(|pulled| pulled.residual.is_empty()).map(|pulled| {
                    let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(pulled.plan)));
                    Pulled { plan, ..pulled }
                }))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let pulled = self.pull(&sort.input, outer)?;
                Ok(pulled.map(|pulled| {
                    let (expr, input) = (sort.expr.clone(), Arc::new(pulled.plan));
                    let plan = LogicalPlan::Sort(Sort { expr, input, fetch: None });
                    Pulled { plan, ..pulled }
                }))
            }
            LogicalPlan::Limit(limit) => match sunk(limit.clone())? {
                LogicalPlan::Limit(limit) => {
                    let (order, input) = match limit.input.as_ref() {
                        LogicalPlan::Sort(sort) => (sort.expr.clone(), Arc::clone(&sort.input)),
                        _ => (Vec::new(), Arc::clone(&limit.input)),
                    };
                    let pulled = self.pull(&input, outer)?;
                    let fits =
                        |pulled: &Pulled| pulled.residual.is_empty() && pulled.empty.is_none();
                    let Some(pulled) = pulled.filter(fits) else { return Ok(None) };
                    let partition = pulled.keys.iter().map(|(_, inner)| inner.clone()).collect();
                    let plan = Own::top(partition, order, bounds(&limit)?, pulled.plan);
                    Ok(Some(Pulled { plan, ..pulled }))
                }
                moved => self.pull(&moved, outer),
            },
            _ => Ok(None),
        }
    }

    fn pull_filter(&mut self, filter: &Filter, outer: &DFSchema) -> PlanResult<Option<Pulled>> {
        let pulled = self.pull(&filter.input, outer)?.filter(|pulled| pulled.empty.is_none());
        let Some(mut pulled) = pulled else { return Ok(None) };
        let mut kept = Vec::new();
        for condition in split_conjunction_owned(filter.predicate.clone()) {
            if outer_of(&condition, outer).is_empty() {
                kept.push(condition);
            } else {
                match key(&condition, outer) {
                    Some(pair) => pulled.keys.push(pair),
                    None => pulled.residual.push(condition),
                }
            }
        }
        if let Some(predicate) = conjunction(kept) {
            pulled.plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(pulled.plan))?);
        }
        Ok(Some(pulled))
    }

    fn pull_projection(
        &mut self,
        projection: &Projection,
        outer: &DFSchema,
    ) -> PlanResult<Option<Pulled>> {
        if projection.expr.iter().any(|expr| !outer_of(expr, outer).is_empty()) {
            return Ok(None);
        }
        let Some(pulled) = self.pull(&projection.input, outer)? else { return Ok(None) };
        let Pulled { plan, keys, residual, empty } = pulled;
        let mut expressions = projection.expr.clone();
        let mut kept_keys = Vec::new();
        for (outer_side, inner) in keys {
            kept_keys.push((outer_side, self.carried(inner, &mut expressions)));
        }
        let mut kept_residual = Vec::new();
        for condition in residual {
            let carried = |part: Expr| {
                Ok(match part {
                    Expr::Column(_) => Transformed::yes(self.carried(part, &mut expressions)),
                    other => Transformed::no(other),
                })
            };
            kept_residual.push(condition.transform(carried)?.data);
        }
        let empty = empty.map(|row| {
            let schema = projection.input.schema();
            let values = projection.expr.iter();
            values.map(|expr| substituted(expr, schema, &row)).collect::<PlanResult<_>>()
        });
        let projection = Projection::try_new(expressions, Arc::new(plan))?;
        Ok(Some(Pulled {
            plan: LogicalPlan::Projection(projection),
            keys: kept_keys,
            residual: kept_residual,
            empty: empty.transpose()?,
        }))
    }

    /// Adds an expression behind a select list, and returns it as a column of the result.
    fn carried(&mut self, expression: Expr, expressions: &mut Vec<Expr>) -> Expr {
        let name = self.fresh("key");
        expressions.push(expression.alias(name.as_str()));
        Expr::Column(Column::from_name(name))
    }

    fn pull_alias(
        &mut self,
        alias: &SubqueryAlias,
        outer: &DFSchema,
    ) -> PlanResult<Option<Pulled>> {
        let Some(pulled) = self.pull(&alias.input, outer)? else { return Ok(None) };
        let before = Arc::clone(pulled.plan.schema());
        let plan = LogicalPlanBuilder::from(pulled.plan).alias(alias.alias.clone())?.build()?;
        let after = plan.schema().columns();
        let moved = |expression: Expr| {
            let column = |part: Expr| {
                let at = match &part {
                    Expr::Column(column) => before.maybe_index_of_column(column),
                    _ => None,
                };
                Ok(match at {
                    Some(at) => Transformed::yes(Expr::Column(after[at].clone())),
                    None => Transformed::no(part),
                })
            };
            expression.transform(column).map(|moved| moved.data)
        };
        let keys = pulled.keys.into_iter().map(|(outer, inner)| Ok((outer, moved(inner)?)));
        let keys = keys.collect::<PlanResult<_>>()?;
        let residual = pulled.residual.into_iter().map(moved).collect::<PlanResult<_>>()?;
        Ok(Some(Pulled { plan, keys, residual, empty: pulled.empty }))
    }

    fn pull_aggregate(
        &mut self,
        aggregate: &Aggregate,
        outer: &DFSchema,
    ) -> PlanResult<Option<Pulled>> {
        let parts = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
        let is_plain =
            |expr: &Expr| outer_of(expr, outer).is_empty() && !matches!(expr, Expr::GroupingSet(_));
        if !parts.into_iter().all(is_plain) {
            return Ok(None);
        }
        let pulled = self.pull(&aggregate.input, outer)?;
        let fits = |pulled: &Pulled| pulled.residual.is_empty() && pulled.empty.is_none();
        let Some(pulled) = pulled.filter(fits) else { return Ok(None) };
        let mut groups = aggregate.group_expr.clone();
        let (mut keys, mut carried) = (Vec::new(), Vec::new());
        for (outer_side, inner) in pulled.keys {
            let column = self.carried(inner, &mut groups);
            carried.push(column.clone());
            keys.push((outer_side, column));
        }
        let calls = aggregate.aggr_expr.clone();
        let grouped = Aggregate::try_new(Arc::new(pulled.plan), groups, calls)?;
        let own = aggregate.schema.columns().into_iter().map(Expr::Column);
        let plan = LogicalPlanBuilder::from(LogicalPlan::Aggregate(grouped))
            .project(own.chain(carried).collect::<Vec<_>>())?
            .build()?;
        let empty = match aggregate.group_expr.is_empty() {
            true => Some(empty_row(aggregate)?),
            false => None,
        };
        Ok(Some(Pulled { plan, keys, residual: Vec::new(), empty }))
    }

    fn pull_join(&mut self, join: &Join, outer: &DFSchema) -> PlanResult<Option<Pulled>> {
        let is_inner = join.join_type == JoinType::Inner;
        let keeps_left =
            matches!(join.join_type, JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti);
        let on_outer = join.on.iter().any(|(left, right)| {
            !outer_of(left, outer).is_empty() || !outer_of(right, outer).is_empty()
        });
        let conditions = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
        let (residual, kept): (Vec<_>, Vec<_>) =
            conditions.into_iter().partition(|part| !outer_of(part, outer).is_empty());
        let right_is_free = outer_in(&join.right, outer).is_empty();
        let fits = is_inner || (keeps_left && right_is_free && residual.is_empty());
        if on_outer || !fits {
            return Ok(None);
        }
        let (Some(left), Some(right)) =
            (self.pull(&join.left, outer)?, self.pull(&join.right, outer)?)
        else {
            return Ok(None);
        };
        if left.empty.is_some() || right.empty.is_some() {
            return Ok(None);
        }
        let filter = conjunction(kept);
        let widened = left.plan.schema().fields().len() + right.plan.schema().fields().len()
            > join.left.schema().fields().len() + join.right.schema().fields().len();
        let (left_plan, right_plan) = (Arc::new(left.plan), Arc::new(right.plan));
        let node = Join::try_new(
            left_plan,
            right_plan,
            join.on.clone(),
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        let mut plan = LogicalPlan::Join(node);
        if widened {
            let own = join.schema.columns();
            let added: Vec<_> =
                plan.schema().columns().into_iter().filter(|c| !own.contains(c)).collect();
            let all = own.into_iter().chain(added).map(Expr::Column);
            plan = LogicalPlanBuilder::from(plan).project(all.collect::<Vec<_>>())?.build()?;
        }
        let keys = left.keys.into_iter().chain(right.keys).collect();
        let mut all = left.residual;
        all.extend(right.residual);
        let mut pulled = Pulled { plan, keys, residual: all, empty: None };
        for condition in residual {
            match key(&condition, outer) {
                Some(pair) => pulled.keys.push(pair),
                None => pulled.residual.push(condition),
            }
        }
        Ok(Some(pulled))
    }
}

/// The sides (outer, inner) of an equality of something outer with something inner.
fn key(condition: &Expr, outer: &DFSchema) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return None;
    };
    let is_outer = |side: &Expr| !outer_of(side, outer).is_empty() && side.column_refs().is_empty();
    let is_inner = |side: &Expr| outer_of(side, outer).is_empty() && !side.column_refs().is_empty();
    if is_outer(left) && is_inner(right) {
        Some((*left.clone(), *right.clone()))
    } else if is_outer(right) && is_inner(left) {
        Some((*right.clone(), *left.clone()))
    } else {
        None
    }
}

/// The row of an aggregate without groups over no rows: counts are 0, all else is NULL.
fn empty_row(aggregate: &Aggregate) -> PlanResult<Vec<Expr>> {
    let fields = aggregate.schema.fields();
    let value = |(call, field): (&Expr, &FieldRef)| {
        if super::push::is_count(call) {
            return Ok(lit(0_i64));
        }
        Ok(Expr::Literal(ScalarValue::try_from(field.data_type())?, None))
    };
    aggregate.aggr_expr.iter().zip(fields).map(value).collect()
}

/// The expression over a row of constants.
fn substituted(expression: &Expr, schema: &DFSchema, row: &[Expr]) -> PlanResult<Expr> {
    let value = |part: Expr| {
        let at = match &part {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        };
        Ok(match at.and_then(|at| row.get(at)) {
            Some(value) => Transformed::yes(value.clone()),
            None => Transformed::no(part),
        })
    };
    let expression = expression.clone().unalias();
    Ok(expression.transform(value)?.data)
}
