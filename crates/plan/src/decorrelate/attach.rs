//! Attaching: what a subquery says of each row is joined to the rows.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, ScalarValue, TableReference};
use datafusion::error::Result as PlanResult;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Subquery, lit, not, when,
};

use super::pull::Pulled;
use super::push::Domain;
use super::{Decorrelator, has_subquery, narrowed, not_distinct, outer_in, renamed, with_outer};
use crate::nodes::{Own, OwnKind};
use crate::tables::PlannedTable;

/// What the attached side of a join may be like.
#[derive(Clone, Copy)]
pub(super) struct Wants {
    /// Whether conditions other than equalities may stay between the sides.
    residual: bool,
    /// Whether a row that is there for no rows may be missing, and be said by `empty`.
    empty: bool,
    /// Whether it may have several rows for values that no outer row has.
    surplus: bool,
}

/// A subquery as a relation to join with.
struct Side {
    plan: LogicalPlan,
    /// The subquery's own columns.
    columns: Vec<Column>,
    /// Columns that tell outer rows apart; all conditions are over them.
    keys: Vec<Column>,
    /// When rows of both sides belong together.
    conditions: Vec<Expr>,
    /// The values of the columns where no row is there.
    empty: Option<Vec<Expr>>,
    /// Whether the keys are known to tell its rows apart.
    unique: bool,
}

impl Side {
    /// The same relation, with its columns under another qualifier.
    fn copy(&self, name: &str, added: Vec<Expr>) -> PlanResult<(Self, Vec<Column>)> {
        let table = TableReference::bare(name);
        let to = |column: &Column| Column::new(Some(table.clone()), column.name.clone());
        let own = self.keys.iter().chain(&self.columns);
        let mut all: Vec<Expr> = own.map(|column| renamed(column, name, &column.name)).collect();
        let mut extra = Vec::new();
        for (at, expression) in added.into_iter().enumerate() {
            let column = Column::new(Some(table.clone()), format!("\0told{at}"));
            all.push(expression.alias_qualified(Some(name), column.name.clone()));
            extra.push(column);
        }
        let plan = LogicalPlanBuilder::from(self.plan.clone()).project(all)?.build()?;
        let moved = |expression: &Expr| {
            let moved = expression.clone().transform(|part| {
                Ok(match &part {
                    Expr::Column(column)
                        if self.keys.contains(column) || self.columns.contains(column) =>
                    {
                        Transformed::yes(Expr::Column(to(column)))
                    }
                    _ => Transformed::no(part),
                })
            });
            Ok(moved?.data)
        };
        let conditions = self.conditions.iter().map(moved).collect::<PlanResult<_>>()?;
        let columns = self.columns.iter().map(to).collect();
        let keys = self.keys.iter().map(to).collect();
        Ok((Self { plan, columns, keys, conditions, empty: None, unique: false }, extra))
    }
}

/// Whether a join's right side is a subquery that may name columns of the left.
pub(super) fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        _ => false,
    }
}

/// Whether each outer value has at most one row.
fn at_most_one(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Limit(limit) => {
            matches!(super::bounds(limit), Ok((_, Some(0 | 1)))) || at_most_one(&limit.input)
        }
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(values) => values.values.len() < 2,
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(_) => plan.inputs().into_iter().all(at_most_one),
        LogicalPlan::Extension(extension) => match Own::of(extension).map(|own| &own.kind) {
            Some(OwnKind::Top { partition, limit: Some(0 | 1), .. }) => partition.is_empty(),
            _ => false,
        },
        _ => false,
    }
}

/// Whether the keys that were pulled out of a plan contain the key of the table that it reads.
fn is_unique(pulled: &Pulled) -> bool {
    let column = |(_, inner): &(Expr, Expr)| match inner {
        Expr::Column(column) => Some(column.clone()),
        _ => None,
    };
    unique_by(&pulled.plan, &pulled.keys.iter().filter_map(column).collect::<Vec<_>>())
}

fn unique_by(plan: &LogicalPlan, columns: &[Column]) -> bool {
    let moved = |from: &[Column], to: &[Column]| -> Vec<Column> {
        let at = |column: &Column| from.iter().position(|known| known == column);
        columns.iter().filter_map(|column| to.get(at(column)?).cloned()).collect()
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let planned = scan.source.downcast_ref::<PlannedTable>();
            planned.and_then(|planned| planned.table.as_ref()).is_some_and(|table| {
                let named = |key: &usize| {
                    let name = table.columns().field(*key).name();
                    columns.iter().any(|column| column.name == *name)
                };
                !table.key().is_empty() && table.key().iter().all(named)
            })
        }
        LogicalPlan::Filter(filter) => unique_by(&filter.input, columns),
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = moved(&alias.schema.columns(), &alias.input.schema().columns());
            unique_by(&alias.input, &inner)
        }
        LogicalPlan::Projection(projection) => {
            let from = projection.schema.columns().into_iter().zip(&projection.expr);
            let inner = from.filter(|(column, _)| columns.contains(column));
            let inner = inner.filter_map(|(_, expr)| match expr.clone().unalias() {
                Expr::Column(column) => Some(column),
                _ => None,
            });
            unique_by(&projection.input, &inner.collect::<Vec<_>>())
        }
        _ => false,
    }
}

/// Whether a plan that names no outer columns always has exactly one row.
fn exactly_one(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Sort(_) => {
            plan.inputs().into_iter().all(exactly_one)
        }
        _ => false,
    }
}

/// Whether each row of the outer side can be handled alone: nothing in the plan looks at several rows.
fn is_linear(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Subquery(_) => plan.inputs().into_iter().all(is_linear),
        LogicalPlan::EmptyRelation(_) => true,
        _ => false,
    }
}

impl Decorrelator {
    /// The subquery as a relation beside the outer rows.
    fn side(&mut self, outer: &LogicalPlan, plan: &LogicalPlan, wants: Wants) -> PlanResult<Side> {
        let schema = outer.schema();
        let named = outer_in(plan, schema);
        let width = plan.schema().fields().len();
        if named.is_empty() {
            return self.named_side(plan.clone(), 0, width, Vec::new());
        }
        if let Some(pulled) = self.pull(plan, schema)?
            && (wants.residual || pulled.residual.is_empty())
            && (wants.empty || pulled.empty.is_none())
            && (wants.surplus || is_unique(&pulled))
        {
            return self.pulled_side(pulled, outer, width);
        }
        let outer_columns: Vec<Column> = named.into_iter().collect();
        let domain = Domain::new(outer, outer_columns.clone(), self.fresh("outer"), true)?;
        let pushed = self.push(plan, &domain, schema)?;
        let mut side = self.named_side(pushed, 0, width, domain.columns())?;
        let pairs = outer_columns.into_iter().zip(&side.keys);
        let pairs =
            pairs.map(|(outer, key)| not_distinct(Expr::Column(outer), Expr::Column(key.clone())));
        side.conditions = pairs.collect();
        Ok(side)
    }

    /// A pulled plan, with what its conditions name as further columns.
    fn pulled_side(
        &mut self,
        pulled: Pulled,
        outer: &LogicalPlan,
        width: usize,
    ) -> PlanResult<Side> {
        let unique = is_unique(&pulled);
        let mut all: Vec<Expr> =
            pulled.plan.schema().columns().into_iter().take(width).map(Expr::Column).collect();
        let (outers, inners): (Vec<_>, Vec<_>) = pulled.keys.into_iter().unzip();
        for inner in inners {
            all.push(inner.alias(self.fresh("key")));
        }
        // Columns of other conditions are carried along as well.
        let mut rest = Vec::new();
        for condition in pulled.residual {
            let carried = |part: Expr| {
                Ok(match &part {
                    Expr::Column(_) => {
                        let name = self.fresh("key");
                        all.push(part.alias(name.as_str()));
                        Transformed::yes(Expr::Column(Column::from_name(name)))
                    }
                    _ => Transformed::no(part),
                })
            };
            rest.push(condition.transform(carried)?.data);
        }
        let carried = LogicalPlanBuilder::from(pulled.plan).project(all)?.build()?;
        let keys = carried.schema().fields().len() - width;
        let before = carried.schema().columns();
        let mut side = self.named_side(carried, width, width, Vec::new())?;
        side.keys.truncate(keys);
        for (outer_side, key) in outers.into_iter().zip(&side.keys) {
            let outer_side = known_outer(outer_side, outer)?;
            side.conditions.push(outer_side.eq(Expr::Column(key.clone())));
        }
        for condition in rest {
            let condition = known_outer(condition, outer)?;
            let keys = &side.keys;
            let moved = |part: Expr| {
                let at = match &part {
                    Expr::Column(column) => before.iter().position(|known| known == column),
                    _ => None,
                };
                Ok(match at.and_then(|at| keys.get(at.checked_sub(width)?)) {
                    Some(key) => Transformed::yes(Expr::Column(key.clone())),
                    None => Transformed::no(part),
                })
            };
            side.conditions.push(condition.transform(moved)?.data);
        }
        side.empty = pulled.empty;
        side.unique = unique;
        Ok(side)
    }

    /// Gives a relation names of its own. Its own columns are first when the keys are behind them (`keys_at` > 0), or
    /// behind as many keys as are given.
    fn named_side(
        &mut self,
        plan: LogicalPlan,
        keys_at: usize,
        width: usize,
        keys: Vec<Column>,
    ) -> PlanResult<Side> {
        let name = self.fresh("sub");
        let all = plan.schema().columns();
        let table = TableReference::bare(name.as_str());
        let mut taken = std::collections::BTreeSet::new();
        let (mut expressions, mut columns) = (Vec::new(), Vec::new());
        for (at, column) in all.iter().enumerate() {
            let mut unique = column.name.clone();
            if !taken.insert(unique.clone()) {
                unique = format!("{unique}\0{at}");
                taken.insert(unique.clone());
            }
            expressions.push(renamed(column, &name, &unique));
            columns.push(Column::new(Some(table.clone()), unique));
        }
        let plan = LogicalPlanBuilder::from(plan).project(expressions)?.build()?;
        let (columns, keys) = match keys_at {
            0 => (columns[keys.len()..].to_vec(), columns[..keys.len()].to_vec()),
            _ => (columns[..width].to_vec(), columns[width..].to_vec()),
        };
        Ok(Side { plan, columns, keys, conditions: Vec::new(), empty: None, unique: false })
    }

    /// Replaces the subqueries in an expression by columns that are joined to the input.
    pub(super) fn value(&mut self, input: &mut LogicalPlan, expression: Expr) -> PlanResult<Expr> {
        let replaced = |part: Expr| {
            Ok(match part {
                Expr::ScalarSubquery(subquery) => Transformed::yes(self.scalar(input, &subquery)?),
                Expr::Exists(Exists { subquery, negated }) => {
                    let found = self.exists_value(input, &subquery)?;
                    Transformed::yes(if negated { not(found) } else { found })
                }
                Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                    let found = self.in_value(input, *expr, &subquery)?;
                    Transformed::yes(if negated { not(found) } else { found })
                }
                other => Transformed::no(other),
            })
        };
        Ok(expression.transform_up(replaced)?.data)
    }

    /// A condition that must hold: joined to the input, but for what is returned.
    pub(super) fn condition(
        &mut self,
        input: &mut LogicalPlan,
        condition: Expr,
    ) -> PlanResult<Vec<Expr>> {
        let (condition, negated) = match condition {
            Expr::Not(inner) => (*inner, true),
            other => (other, false),
        };
        match condition {
            Expr::Exists(Exists { subquery, negated: not_there })
                if !outer_in(&subquery.subquery, input.schema()).is_empty() =>
            {
                let anti = negated != not_there;
                self.exists(input, &subquery, anti)?;
                Ok(Vec::new())
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated: not_in })
                if !has_subquery(&expr) =>
            {
                match negated != not_in {
                    true => Ok(vec![self.not_in(input, *expr, &subquery)?]),
                    false => {
                        self.is_in(input, *expr, &subquery)?;
                        Ok(Vec::new())
                    }
                }
            }
            other => {
                let value = self.value(input, other)?;
                Ok(vec![if negated { not(value) } else { value }])
            }
        }
    }

    fn exists(
        &mut self,
        input: &mut LogicalPlan,
        subquery: &Subquery,
        anti: bool,
    ) -> PlanResult<()> {
        let plan = self.plan(LogicalPlan::clone(&subquery.subquery))?;
        let wants = Wants { residual: true, empty: false, surplus: true };
        let side = self.side(input, &plan, wants)?;
        let kind = if anti { JoinType::LeftAnti } else { JoinType::LeftSemi };
        *input = joined(input, side.plan, kind, side.conditions)?;
        Ok(())
    }

    fn is_in(
        &mut self,
        input: &mut LogicalPlan,
        value: Expr,
        subquery: &Subquery,
    ) -> PlanResult<()> {
        let plan = self.plan(LogicalPlan::clone(&subquery.subquery))?;
        let wants = Wants { residual: true, empty: false, surplus: true };
        let mut side = self.side(input, &plan, wants)?;
        side.conditions.insert(0, value.eq(Expr::Column(side.columns[0].clone())));
        *input = joined(input, side.plan, JoinType::LeftSemi, side.conditions)?;
        Ok(())
    }

    /// `x not in Q`: no element is x, and Q is empty, or neither x nor an element is NULL.
    fn not_in(
        &mut self,
        input: &mut LogicalPlan,
        value: Expr,
        subquery: &Subquery,
    ) -> PlanResult<Expr> {
        let plan = self.plan(LogicalPlan::clone(&subquery.subquery))?;
        let wants = Wants { residual: false, empty: false, surplus: true };
        let side = self.side(input, &plan, wants)?;
        let mut conditions = side.conditions.clone();
        conditions.insert(0, value.clone().eq(Expr::Column(side.columns[0].clone())));
        let matches = side.plan.clone();
        let told = self.counted(input, &side)?;
        *input = joined(input, matches, JoinType::LeftAnti, conditions)?;
        let (all, elements) = told;
        Ok(all.clone().eq(lit(0_i64)).or(value.is_not_null().and(all.eq(elements))))
    }

    /// Joins how many elements a subquery has for each row, and how many of them are not NULL.
    fn counted(&mut self, input: &mut LogicalPlan, side: &Side) -> PlanResult<(Expr, Expr)> {
        let name = self.fresh("counts");
        let (copy, _) = side.copy(&name, Vec::new())?;
        let element = Expr::Column(copy.columns[0].clone());
        let (all, elements) = (self.fresh("rows"), self.fresh("elements"));
        let keys: Vec<Expr> = copy.keys.iter().cloned().map(Expr::Column).collect();
        let calls =
            vec![count(lit(1_i64)).alias(all.as_str()), count(element).alias(elements.as_str())];
        let counts = LogicalPlanBuilder::from(copy.plan).aggregate(keys, calls)?.build()?;
        let kind = if copy.keys.is_empty() { JoinType::Inner } else { JoinType::Left };
        *input = joined(input, counts, kind, copy.conditions)?;
        let told = [all, elements].map(|name| {
            let column = Expr::Column(Column::from_name(name));
            match kind {
                JoinType::Inner => column,
                _ => coalesce(vec![column, lit(0_i64)]),
            }
        });
        let [all, elements] = told;
        Ok((all, elements))
    }

    fn exists_value(&mut self, input: &mut LogicalPlan, subquery: &Subquery) -> PlanResult<Expr> {
        let plan = self.plan(LogicalPlan::clone(&subquery.subquery))?;
        let wants = Wants { residual: false, empty: false, surplus: true };
        let side = self.side(input, &plan, wants)?;
        if side.keys.is_empty() {
            let rows = self.fresh("rows");
            let none: [Expr; 0] = [];
            let call = count(lit(1_i64)).alias(rows.as_str());
            let counted = LogicalPlanBuilder::from(side.plan).aggregate(none, [call])?.build()?;
            *input = joined(input, counted, JoinType::Inner, Vec::new())?;
            return Ok(Expr::Column(Column::from_name(rows)).gt(lit(0_i64)));
        }
        let keys_only = Side { columns: Vec::new(), ..side };
        let (found, told) = keys_only.copy(&self.fresh("found"), vec![lit(true)])?;
        let plan = LogicalPlanBuilder::from(found.plan).distinct()?.build()?;
        *input = joined(input, plan, JoinType::Left, found.conditions)?;
        Ok(Expr::Column(told[0].clone()).is_not_null())
    }

    fn in_value(
        &mut self,
        input: &mut LogicalPlan,
        value: Expr,
        subquery: &Subquery,
    ) -> PlanResult<Expr> {
        let plan = self.plan(LogicalPlan::clone(&subquery.subquery))?;
        let wants = Wants { residual: false, empty: false, surplus: true };
        let mut side = self.side(input, &plan, wants)?;
        side.columns.truncate(1);
        let (found, told) = side.copy(&self.fresh("found"), vec![lit(true)])?;
        let matches = LogicalPlanBuilder::from(found.plan.clone()).distinct()?.build()?;
        let mut conditions = found.conditions;
        conditions.insert(0, value.clone().eq(Expr::Column(found.columns[0].clone())));
        *input = joined(input, matches, JoinType::Left, conditions)?;
        let (all, elements) = self.counted(input, &side)?;
        let unknown = value.is_null().or(all.clone().gt(elements));
        when(Expr::Column(told[0].clone()).is_not_null(), lit(true))
            .when(all.eq(lit(0_i64)), lit(false))
            .when(unknown, lit(ScalarValue::Boolean(None)))
            .otherwise(lit(false))
    }

    /// A subquery that is a value: NULL for no rows, an error for several.
    fn scalar(&mut self, input: &mut LogicalPlan, subquery: &Subquery) -> PlanResult<Expr> {
        let plan = self.plan(LogicalPlan::clone(&subquery.subquery))?;
        let one = at_most_one(&plan);
        let wants = Wants { residual: false, empty: true, surplus: one };
        let mut side = self.side(input, &plan, wants)?;
        if !one && !side.unique {
            let key = side.keys.iter().cloned().map(Expr::Column).collect();
            side.plan = Own::single(key, side.plan);
        }
        let kind = match side.keys.is_empty() && exactly_one(&plan) {
            true => JoinType::Inner,
            false => JoinType::Left,
        };
        *input = joined(input, side.plan, kind, side.conditions)?;
        let value = Expr::Column(side.columns[0].clone());
        match (side.empty, side.keys.first()) {
            (Some(empty), Some(key)) if !is_null(&empty[0]) => {
                let data_type = value.get_type(input.schema())?;
                let empty = empty[0].clone().cast_to(&data_type, input.schema())?;
                when(Expr::Column(key.clone()).is_null(), empty).otherwise(value)
            }
            _ => Ok(value),
        }
    }

    /// A join with a subquery that names columns of the left side.
    pub(super) fn lateral(&mut self, join: Join) -> PlanResult<LogicalPlan> {
        let right = without_mark(&join.right)?;
        let left = LogicalPlan::clone(&join.left);
        let schema = Arc::clone(left.schema());
        let names = join.schema.columns();
        let conditions: Vec<Expr> = join
            .on
            .iter()
            .map(|(one, other)| one.clone().eq(other.clone()))
            .chain(join.filter.clone())
            .collect();
        if join.join_type == JoinType::Inner && is_linear(&right) {
            let domain = Domain::new(&left, schema.columns(), self.fresh("outer"), false)?;
            let pushed = self.push(&right, &domain, &schema)?;
            let pushed = renamed_all(pushed, &names)?;
            let builder = LogicalPlanBuilder::from(pushed);
            return match conditions.into_iter().reduce(Expr::and) {
                Some(condition) => builder.filter(condition)?.build(),
                None => builder.build(),
            };
        }
        let wants = Wants { residual: true, empty: false, surplus: true };
        let side = self.side(&left, &right, wants)?;
        let inner: Vec<Column> = names[schema.fields().len()..].to_vec();
        let moved = |condition: Expr| {
            let moved = condition.transform(|part| {
                let at = match &part {
                    Expr::Column(column) => inner.iter().position(|known| known == column),
                    _ => None,
                };
                Ok(match at {
                    Some(at) => Transformed::yes(Expr::Column(side.columns[at].clone())),
                    None => Transformed::no(part),
                })
            });
            Ok(moved?.data)
        };
        let mut all = side.conditions.clone();
        all.extend(conditions.into_iter().map(moved).collect::<PlanResult<Vec<_>>>()?);
        let pairs = joined(&left, side.plan.clone(), join.join_type, all)?;
        let own = schema.columns().into_iter().chain(side.columns.iter().cloned());
        let pairs = narrowed(pairs, &own.collect::<Vec<_>>())?;
        renamed_all(pairs, &names)
    }
}

/// The plan of a lateral subquery, under its alias.
fn without_mark(plan: &LogicalPlan) -> PlanResult<LogicalPlan> {
    match plan {
        LogicalPlan::Subquery(subquery) => Ok(LogicalPlan::clone(&subquery.subquery)),
        LogicalPlan::SubqueryAlias(alias) => {
            let input = without_mark(&alias.input)?;
            LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()
        }
        other => Ok(other.clone()),
    }
}

/// The same rows, with other names for all columns.
fn renamed_all(plan: LogicalPlan, names: &[Column]) -> PlanResult<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().zip(names);
    let columns = columns.map(|(column, name)| match column == *name {
        true => Expr::Column(column),
        false => Expr::Column(column).alias_qualified(name.relation.clone(), name.name.clone()),
    });
    LogicalPlanBuilder::from(plan).project(columns.collect::<Vec<_>>())?.build()
}

fn joined(
    left: &LogicalPlan,
    right: LogicalPlan,
    kind: JoinType,
    mut conditions: Vec<Expr>,
) -> PlanResult<LogicalPlan> {
    let left = LogicalPlanBuilder::from(left.clone());
    if conditions.is_empty() && kind == JoinType::Inner {
        return left.cross_join(right)?.build();
    }
    if conditions.is_empty() {
        conditions.push(lit(true));
    }
    left.join_on(right, kind, conditions)?.build()
}

/// Makes those outer columns plain columns that the outer plan has.
fn known_outer(expression: Expr, outer: &LogicalPlan) -> PlanResult<Expr> {
    let schema = outer.schema();
    with_outer(expression, |column| schema.has_column(column).then(|| column.clone()))
}

fn is_null(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Alias(alias) => is_null(&alias.expr),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}
