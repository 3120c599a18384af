//! Subqueries become joins.
//!
//! A subquery Q in a row's expression is a function of the row: of those of its columns that Q names. Two ways turn
//! all its values, for all rows R, into one relation that R is joined with:
//!
//! - **pull** (`pull.rs`): where Q compares the outer columns only in conditions of its own rows, such as
//!   `inner.key = outer.id`, the conditions leave Q and become those of the join. Grouping inside of Q is then by the
//!   compared columns too. This is the plan that a person would write.
//! - **push** (`push.rs`): everywhere else, D, the distinct values of the outer columns in R, is pushed into Q, down to
//!   where they are named: for each operator O of Q there is O′ with Q′ = { (d, row) : d ∈ D, row ∈ Q(d) }. Then R is
//!   joined with Q′ where R's columns are not distinct from d. (Neumann and Kemper, "Unnesting arbitrary queries".)
//!
//! The joins that come of it (`attach.rs`):
//!
//! - `exists` and `in` that must hold are semi joins, `not exists` an anti join;
//! - `x not in Q` is an anti join too, and Q must be empty, or x not NULL and Q without NULLs, which is told by counts;
//! - inside of other expressions they are values: TRUE, FALSE or, for `in`, NULL;
//! - a subquery that is a value is a left join, with an error for more than one row where that cannot be ruled out.
//!   Where Q is an aggregate without groups it has a row also for no rows: `count(*)` is then 0.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's enums grow with DataFusion")]

mod attach;
mod pull;
mod push;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, FetchType, Filter, Join, JoinType, Limit, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, SkipType,
};

/// Replaces every subquery of an analysed plan by joins.
pub(crate) fn decorrelate(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    Decorrelator { names: 0 }.plan(plan)
}

struct Decorrelator {
    /// How many names were invented.
    names: usize,
}

impl Decorrelator {
    fn plan(&mut self, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        let plan = plan.map_children(|child| Ok(Transformed::yes(self.plan(child)?)))?.data;
        match plan {
            LogicalPlan::Join(join) if attach::is_lateral(&join.right) => self.lateral(join),
            LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => self.filter(filter),
            LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_subquery) => {
                self.join(join)
            }
            LogicalPlan::Projection(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Values(_)
                if plan.expressions().iter().any(has_subquery) =>
            {
                self.expressions(plan)
            }
            other => Ok(other),
        }
    }

    /// A node whose expressions hold subqueries: they are columns of its input then.
    fn expressions(&mut self, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        let before = plan.schema().columns();
        let Some(input) = plan.inputs().first().map(|input| LogicalPlan::clone(input)) else {
            return Err(refused("a subquery inside of VALUES"));
        };
        let names = NamePreserver::new(&plan);
        let (mut wide, mut replaced) = (input, Vec::new());
        for expression in plan.expressions() {
            let name = names.save(&expression);
            let value = self.value(&mut wide, expression)?;
            replaced.push(name.restore(value));
        }
        let node = plan.with_new_exprs(replaced, vec![wide])?.recompute_schema()?;
        narrowed(node, &before)
    }

    fn filter(&mut self, filter: Filter) -> PlanResult<LogicalPlan> {
        let mut input = Arc::unwrap_or_clone(filter.input);
        let before = input.schema().columns();
        let mut kept = Vec::new();
        for condition in split_conjunction_owned(filter.predicate) {
            if has_subquery(&condition) {
                kept.extend(self.condition(&mut input, condition)?);
            } else {
                kept.push(condition);
            }
        }
        if let Some(predicate) = conjunction(kept) {
            input = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
        }
        narrowed(input, &before)
    }

    /// An inner join whose condition holds subqueries filters its pairs.
    fn join(&mut self, mut join: Join) -> PlanResult<LogicalPlan> {
        if join.join_type != JoinType::Inner {
            return Err(refused("a subquery in the condition of an outer join"));
        }
        let conditions = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
        let (with, without): (Vec<_>, Vec<_>) = conditions.into_iter().partition(has_subquery);
        join.filter = conjunction(without);
        let predicate = conjunction(with).expect("the condition holds a subquery");
        let pairs = Arc::new(LogicalPlan::Join(join));
        self.filter(Filter::try_new(predicate, pairs)?)
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("\0{kind}{}", self.names)
    }
}

/// The same plan without columns that were added behind or among the given ones.
fn narrowed(plan: LogicalPlan, columns: &[Column]) -> PlanResult<LogicalPlan> {
    if plan.schema().fields().len() == columns.len() {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan).project(columns.iter().cloned().map(Expr::Column))?.build()
}

fn refused(what: &str) -> DataFusionError {
    DataFusionError::Plan(format!("{what} cannot be maintained"))
}

fn has_subquery(expression: &Expr) -> bool {
    let is_subquery = |part: &Expr| {
        Ok(matches!(part, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)))
    };
    expression.exists(is_subquery).unwrap_or_default()
}

/// The outer columns that an expression names, of those that the schema has.
fn outer_of(expression: &Expr, outer: &DFSchema) -> BTreeSet<Column> {
    let mut found = BTreeSet::new();
    let visited = expression.apply(|part| {
        if let Expr::OuterReferenceColumn(_, column) = part
            && outer.has_column(column)
        {
            found.insert(column.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "nothing fails on the way");
    found
}

/// The outer columns that a plan names, of those that the schema has.
fn outer_in(plan: &LogicalPlan, outer: &DFSchema) -> BTreeSet<Column> {
    let mut found = BTreeSet::new();
    let visited = plan.apply(|node| {
        for expression in node.expressions() {
            found.extend(outer_of(&expression, outer));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "nothing fails on the way");
    found
}

/// The expression with columns in place of those outer columns that the function knows.
fn with_outer(expression: Expr, known: impl Fn(&Column) -> Option<Column>) -> PlanResult<Expr> {
    let replaced = |part: Expr| {
        Ok(match &part {
            Expr::OuterReferenceColumn(_, column) => match known(column) {
                Some(column) => Transformed::yes(Expr::Column(column)),
                None => Transformed::no(part),
            },
            _ => Transformed::no(part),
        })
    };
    Ok(expression.transform(replaced)?.data)
}

fn not_distinct(left: Expr, right: Expr) -> Expr {
    let (left, right) = (Box::new(left), Box::new(right));
    Expr::BinaryExpr(BinaryExpr { left, op: Operator::IsNotDistinctFrom, right })
}

/// A column with the name of the plan's, under another qualifier.
fn renamed(column: &Column, qualifier: &str, name: &str) -> Expr {
    Expr::Column(column.clone()).alias_qualified(Some(qualifier), name)
}

/// A limit's bounds, which the resolver has held to be numbers.
fn bounds(limit: &Limit) -> PlanResult<(usize, Option<usize>)> {
    match (limit.get_skip_type()?, limit.get_fetch_type()?) {
        (SkipType::Literal(offset), FetchType::Literal(count)) => Ok((offset, count)),
        _ => Err(refused("a limit that is not a whole number")),
    }
}

/// Puts a limit directly above the order that it means, below what keeps order and number of rows.
fn sunk(limit: Limit) -> PlanResult<LogicalPlan> {
    let below = |input: &Arc<LogicalPlan>, limit: &Limit| {
        let (skip, fetch) = (limit.skip.clone(), limit.fetch.clone());
        sunk(Limit { skip, fetch, input: Arc::clone(input) })
    };
    match limit.input.as_ref() {
        LogicalPlan::Projection(projection) if crate::oracle::has_sort(&projection.input) => {
            let input = Arc::new(below(&projection.input, &limit)?);
            let (expr, schema) = (projection.expr.clone(), Arc::clone(&projection.schema));
            let projection = Projection::try_new_with_schema(expr, input, schema)?;
            Ok(LogicalPlan::Projection(projection))
        }
        LogicalPlan::SubqueryAlias(alias) if crate::oracle::has_sort(&alias.input) => {
            let input = below(&alias.input, &limit)?;
            LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()
        }
        _ => Ok(LogicalPlan::Limit(limit)),
    }
}
