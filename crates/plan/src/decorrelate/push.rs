//! Pushing: the distinct values of the outer columns go into the subquery.
//!
//! Invariant: a pushed plan has the domain's columns, under their names, and then the columns of the plan that it comes
//! from. For each row of the domain its rows are those that the plan has for these outer values.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, TableReference};
use datafusion::error::Result as PlanResult;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, JoinType, Limit, LogicalPlan, LogicalPlanBuilder,
    Projection, Sort, Union, Unnest, Window, lit,
};

use super::{Decorrelator, bounds, not_distinct, outer_in, refused, renamed, sunk, with_outer};
use crate::nodes::{Own, OwnKind};

/// The values of outer columns, as a relation.
#[derive(Clone)]
pub(super) struct Domain {
    pub(super) plan: LogicalPlan,
    /// The outer columns, in the order of the relation's.
    pub(super) outer: Vec<Column>,
    /// The qualifier of the relation's columns.
    pub(super) name: String,
}

impl Domain {
    /// The values that a plan's rows have in some columns: all rows, or each combination once.
    pub(super) fn new(
        plan: &LogicalPlan,
        outer: Vec<Column>,
        name: String,
        distinct: bool,
    ) -> PlanResult<Self> {
        let columns = outer.iter().enumerate();
        let columns =
            columns.map(|(at, column)| renamed(column, &name, &Self::column_name(at, column)));
        let mut builder =
            LogicalPlanBuilder::from(plan.clone()).project(columns.collect::<Vec<_>>())?;
        if distinct {
            builder = builder.distinct()?;
        }
        Ok(Self { plan: builder.build()?, outer, name })
    }

    fn column_name(at: usize, column: &Column) -> String {
        format!("\0{}{at}", column.name.trim_start_matches('\0'))
    }

    /// Its columns.
    pub(super) fn columns(&self) -> Vec<Column> {
        let table = TableReference::bare(self.name.as_str());
        let column = |(at, column): (usize, &Column)| {
            Column::new(Some(table.clone()), Self::column_name(at, column))
        };
        self.outer.iter().enumerate().map(column).collect()
    }

    fn column_of(&self, outer: &Column) -> Option<Column> {
        let at = self.outer.iter().position(|known| known == outer)?;
        self.columns().into_iter().nth(at)
    }

    /// The same relation under another name.
    fn renamed(&self, name: String) -> PlanResult<Self> {
        let columns = self.columns().into_iter();
        let columns = columns.map(|column| renamed(&column, &name, &column.name));
        let plan = LogicalPlanBuilder::from(self.plan.clone())
            .project(columns.collect::<Vec<_>>())?
            .build()?;
        Ok(Self { plan, outer: self.outer.clone(), name })
    }

    fn expressions(&self) -> Vec<Expr> {
        self.columns().into_iter().map(Expr::Column).collect()
    }

    /// The condition that rows of two relations with these domains belong to the same outer row.
    fn meets(&self, other: &Self) -> Vec<Expr> {
        let pairs = self.expressions().into_iter().zip(other.expressions());
        pairs.map(|(one, other)| not_distinct(one, other)).collect()
    }

    /// The schema with the domain's fields in front.
    fn before(&self, schema: &DFSchema) -> PlanResult<DFSchemaRef> {
        let own = self.plan.schema().iter();
        let fields = own.chain(schema.iter());
        let fields = fields.map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
        Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
    }

    /// An expression over the pushed plan.
    fn inside(&self, expression: Expr) -> PlanResult<Expr> {
        with_outer(expression, |column| self.column_of(column))
    }

    fn all_inside(&self, expressions: &[Expr]) -> PlanResult<Vec<Expr>> {
        expressions.iter().map(|expression| self.inside(expression.clone())).collect()
    }
}

/// Whether an aggregate is 0 rather than NULL over no rows.
pub(super) fn is_count(call: &Expr) -> bool {
    match call {
        Expr::Alias(alias) => is_count(&alias.expr),
        Expr::AggregateFunction(call) => call.func.name() == "count",
        _ => false,
    }
}

impl Decorrelator {
    pub(super) fn push(
        &mut self,
        plan: &LogicalPlan,
        domain: &Domain,
        outer: &DFSchema,
    ) -> PlanResult<LogicalPlan> {
        if let LogicalPlan::EmptyRelation(empty) = plan
            && empty.produce_one_row
            && empty.schema.fields().is_empty()
        {
            return Ok(domain.plan.clone());
        }
        if outer_in(plan, outer).is_empty() {
            let all = LogicalPlanBuilder::from(domain.plan.clone());
            return all.cross_join(plan.clone())?.build();
        }
        match plan {
            LogicalPlan::Filter(filter) => {
                let input = Arc::new(self.push(&filter.input, domain, outer)?);
                let predicate = domain.inside(filter.predicate.clone())?;
                Ok(LogicalPlan::Filter(Filter::try_new(predicate, input)?))
            }
            LogicalPlan::Projection(projection) => {
                let input = Arc::new(self.push(&projection.input, domain, outer)?);
                let mut expressions = domain.expressions();
                expressions.extend(domain.all_inside(&projection.expr)?);
                let schema = domain.before(&projection.schema)?;
                let pushed = Projection::try_new_with_schema(expressions, input, schema)?;
                Ok(LogicalPlan::Projection(pushed))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.push(&alias.input, domain, outer)?;
                let own = input.schema().columns().into_iter().skip(domain.outer.len());
                let own = own.map(|column| {
                    let name = column.name.clone();
                    Expr::Column(column).alias_qualified(Some(alias.alias.clone()), name)
                });
                let all = domain.expressions().into_iter().chain(own).collect::<Vec<_>>();
                LogicalPlanBuilder::from(input).project(all)?.build()
            }
            LogicalPlan::Aggregate(aggregate) => self.push_aggregate(aggregate, domain, outer),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = Arc::new(self.push(input, domain, outer)?);
                Ok(LogicalPlan::Distinct(Distinct::All(input)))
            }
            LogicalPlan::Sort(Sort { expr, input, fetch: None }) => {
                let input = Arc::new(self.push(input, domain, outer)?);
                let expr = expr.clone();
                Ok(LogicalPlan::Sort(Sort { expr, input, fetch: None }))
            }
            LogicalPlan::Limit(limit) => self.push_limit(limit, domain, outer),
            LogicalPlan::Join(join) => self.push_join(join, domain, outer),
            LogicalPlan::Window(window) => self.push_window(window, domain, outer),
            LogicalPlan::Unnest(unnest) => self.push_unnest(unnest, domain, outer),
            // `unnest(…)` behind FROM, where nothing stands before it.
            LogicalPlan::Subquery(subquery) => self.push(&subquery.subquery, domain, outer),
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter();
                let inputs = inputs.map(|input| Ok(Arc::new(self.push(input, domain, outer)?)));
                let inputs = inputs.collect::<PlanResult<_>>()?;
                Ok(LogicalPlan::Union(Union { inputs, schema: domain.before(&union.schema)? }))
            }
            LogicalPlan::Extension(extension) => match Own::of(extension) {
                Some(own) => self.push_own(own, domain, outer),
                None => Err(refused("this subquery")),
            },
            other => Err(refused(&format!("a subquery with {}", other.display()))),
        }
    }

    /// Groups are those of each outer row. An aggregate without groups has a row for each of them, also over no rows.
    fn push_aggregate(
        &mut self,
        aggregate: &Aggregate,
        domain: &Domain,
        outer: &DFSchema,
    ) -> PlanResult<LogicalPlan> {
        if aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) {
            return Err(refused("a subquery with grouping sets that names outer columns"));
        }
        let input = Arc::new(self.push(&aggregate.input, domain, outer)?);
        let mut groups = domain.expressions();
        groups.extend(domain.all_inside(&aggregate.group_expr)?);
        let calls = domain.all_inside(&aggregate.aggr_expr)?;
        let schema = domain.before(&aggregate.schema)?;
        let grouped = under_names(Aggregate::try_new(input, groups, calls)?, &schema)?;
        if !aggregate.group_expr.is_empty() {
            return Ok(grouped);
        }
        let all = domain.renamed(self.fresh("all"))?;
        let joined = LogicalPlanBuilder::from(all.plan.clone())
            .join_on(grouped, JoinType::Left, all.meets(domain))?
            .build()?;
        let own = all.columns().into_iter().zip(domain.columns());
        let mut columns: Vec<Expr> =
            own.map(|(from, to)| renamed(&from, &domain.name, &to.name)).collect();
        let results = aggregate.schema.columns().into_iter().zip(&aggregate.aggr_expr);
        columns.extend(results.map(|(column, call)| {
            let (table, name) = (column.relation.clone(), column.name.clone());
            match is_count(call) {
                true => {
                    coalesce(vec![Expr::Column(column), lit(0_i64)]).alias_qualified(table, name)
                }
                false => Expr::Column(column),
            }
        }));
        LogicalPlanBuilder::from(joined).project(columns)?.build()
    }

    fn push_limit(
        &mut self,
        limit: &Limit,
        domain: &Domain,
        outer: &DFSchema,
    ) -> PlanResult<LogicalPlan> {
        let limit = match sunk(limit.clone())? {
            LogicalPlan::Limit(limit) => limit,
            moved => return self.push(&moved, domain, outer),
        };
        let (order, input) = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => (sort.expr.clone(), &sort.input),
            _ => (Vec::new(), &limit.input),
        };
        let input = self.push(input, domain, outer)?;
        let inside = |key: datafusion::logical_expr::SortExpr| {
            let expr = domain.inside(key.expr.clone())?;
            Ok(key.with_expr(expr))
        };
        let order = order.into_iter().map(inside).collect::<PlanResult<_>>()?;
        Ok(Own::top(domain.expressions(), order, bounds(&limit)?, input))
    }

    /// Both sides belong to the same outer row. A side that is shown whole has the domain in it; the other one has it
    /// where it names outer columns.
    fn push_join(
        &mut self,
        join: &Join,
        domain: &Domain,
        outer: &DFSchema,
    ) -> PlanResult<LogicalPlan> {
        let kind = join.join_type;
        let (in_left, in_right) =
            (!outer_in(&join.left, outer).is_empty(), !outer_in(&join.right, outer).is_empty());
        let right_whole = matches!(kind, JoinType::Right | JoinType::Full);
        let left_whole = !matches!(kind, JoinType::Right) && kind != JoinType::Inner;
        let with_left = left_whole || in_left || (!in_right && !right_whole);
        let with_right = right_whole || in_right;
        let other = domain.renamed(self.fresh("all"))?;
        let (of_left, of_right) = if with_left { (domain, &other) } else { (&other, domain) };
        let left = match with_left {
            true => self.push(&join.left, of_left, outer)?,
            false => LogicalPlan::clone(&join.left),
        };
        let right = match with_right {
            true => self.push(&join.right, of_right, outer)?,
            false => LogicalPlan::clone(&join.right),
        };
        let inside = if with_left { of_left } else { of_right };
        let mut conditions = Vec::new();
        if with_left && with_right {
            conditions.extend(of_left.meets(of_right));
        }
        for (one, other) in &join.on {
            let (one, other) = (inside.inside(one.clone())?, inside.inside(other.clone())?);
            conditions.push(match join.null_equality {
                datafusion::common::NullEquality::NullEqualsNothing => one.eq(other),
                datafusion::common::NullEquality::NullEqualsNull => not_distinct(one, other),
            });
        }
        if let Some(filter) = &join.filter {
            conditions.push(inside.inside(filter.clone())?);
        }
        let joined = LogicalPlanBuilder::from(left).join_on(right, kind, conditions)?.build()?;
        let pairs = of_left.columns().into_iter().zip(of_right.columns());
        let names = domain.columns();
        let own = pairs.zip(&names).map(|((left, right), name)| {
            let value = match (with_left, with_right) {
                (true, true) if kind == JoinType::Full => {
                    coalesce(vec![Expr::Column(left), Expr::Column(right)])
                }
                (true, true) if kind == JoinType::Right => Expr::Column(right),
                (true, _) => Expr::Column(left),
                (false, _) => Expr::Column(right),
            };
            value.alias_qualified(name.relation.clone(), name.name.clone())
        });
        let rest = join.schema.columns().into_iter().map(Expr::Column);
        LogicalPlanBuilder::from(joined).project(own.chain(rest).collect::<Vec<_>>())?.build()
    }

    fn push_window(
        &mut self,
        window: &Window,
        domain: &Domain,
        outer: &DFSchema,
    ) -> PlanResult<LogicalPlan> {
        let input = Arc::new(self.push(&window.input, domain, outer)?);
        let partitioned = |expression: Expr| match expression {
            Expr::WindowFunction(call) => {
                let WindowFunction { fun, mut params } = *call;
                params.partition_by.extend(domain.expressions());
                Expr::WindowFunction(Box::new(WindowFunction { fun, params }))
            }
            other => other,
        };
        let mut calls = Vec::new();
        for (call, column) in window
            .window_expr
            .iter()
            .zip(window.schema.columns().into_iter().skip(window.input.schema().fields().len()))
        {
            let inner = domain.inside(call.clone().unalias())?;
            calls.push(partitioned(inner).alias_qualified(column.relation, column.name));
        }
        Ok(LogicalPlan::Window(Window::try_new(calls, input)?))
    }

    fn push_unnest(
        &mut self,
        unnest: &Unnest,
        domain: &Domain,
        outer: &DFSchema,
    ) -> PlanResult<LogicalPlan> {
        let input = self.push(&unnest.input, domain, outer)?;
        let (columns, options) = (unnest.exec_columns.clone(), unnest.options.clone());
        LogicalPlanBuilder::from(input).unnest_columns_with_options(columns, options)?.build()
    }

    fn push_own(
        &mut self,
        own: &Own,
        domain: &Domain,
        outer: &DFSchema,
    ) -> PlanResult<LogicalPlan> {
        let inputs = own.inputs.iter().map(|input| self.push(input, domain, outer));
        let inputs = inputs.collect::<PlanResult<Vec<_>>>()?;
        match (&own.kind, <[LogicalPlan; 2]>::try_from(inputs)) {
            (OwnKind::Set { operation, all }, Ok(inputs)) => {
                let schema = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(own);
                Ok(Own::set(*operation, *all, inputs, domain.before(schema)?))
            }
            (OwnKind::Single { key }, Err(inputs)) => {
                let mut all = domain.expressions();
                all.extend(domain.all_inside(key)?);
                Ok(Own::single(all, only(inputs)?))
            }
            (OwnKind::Top { partition, order, offset, limit }, Err(inputs)) => {
                let mut all = domain.expressions();
                all.extend(domain.all_inside(partition)?);
                Ok(Own::top(all, order.clone(), (*offset, *limit), only(inputs)?))
            }
            _ => Err(refused("this subquery")),
        }
    }
}

/// An aggregate whose columns have the names that its calls had before outer columns in them became others.
fn under_names(aggregate: Aggregate, schema: &DFSchemaRef) -> PlanResult<LogicalPlan> {
    let (is, should) = (aggregate.schema.columns(), schema.columns());
    let aggregate = LogicalPlan::Aggregate(aggregate);
    if is == should {
        return Ok(aggregate);
    }
    let pairs = is.into_iter().zip(should);
    let columns = pairs
        .map(|(is, should)| Expr::Column(is).alias_qualified(should.relation.clone(), should.name));
    LogicalPlanBuilder::from(aggregate).project(columns.collect::<Vec<_>>())?.build()
}

fn only(inputs: Vec<LogicalPlan>) -> PlanResult<LogicalPlan> {
    inputs.into_iter().next().ok_or_else(|| refused("this subquery"))
}
