//! Operators whose results PostgreSQL types otherwise, or which wrap around here.
//!
//! The difference of two dates is a number of days, that of two times an interval; a date and an interval make a
//! timestamp; a quotient of decimals has sixteen places; an interval is compared by its length. Arithmetic of whole
//! numbers that are constants is checked like any other. It runs before types are coerced.

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions and types grow with DataFusion")]

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::expr::{Between, InList, Sort};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, cast,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::casts::is_text;
use crate::functions::arithmetic;
use crate::rewrite::every_expression;

/// Replaces operators by functions that answer as PostgreSQL does.
#[derive(Debug)]
pub(crate) struct PostgresOperators;

impl AnalyzerRule for PostgresOperators {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        let plan = every_expression(plan, |expression, schema| {
            refuse_orders(&expression, schema)?;
            replaced(expression, schema)
        })?;
        // Now that differences of times are intervals.
        refuse_sorts(&plan)?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "postgres_operators"
    }
}

/// Products and quotients of intervals and numbers, which DataFusion gives no type.
#[derive(Debug)]
pub(crate) struct IntervalOperators;

impl ExprPlanner for IntervalOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> PlanResult<PlannerResult<RawBinaryExpr>> {
        if !matches!(expr.op, BinaryOperator::Multiply | BinaryOperator::Divide) {
            return Ok(PlannerResult::Original(expr));
        }
        let kind = |side: &Expr| side.get_type(schema).map_or(Kind::Other, |of| kind_of(&of));
        let is_number = |kind| matches!(kind, Kind::Integer | Kind::Float | Kind::Decimal);
        let (left, right) = (kind(&expr.left), kind(&expr.right));
        let times = expr.op == BinaryOperator::Multiply;
        let planned = match (left, right) {
            (Kind::Interval, right) if is_number(right) && times => {
                arithmetic::interval_times().call(vec![expr.left, expr.right])
            }
            (Kind::Interval, right) if is_number(right) => {
                arithmetic::interval_over().call(vec![expr.left, expr.right])
            }
            (left, Kind::Interval) if is_number(left) && times => {
                arithmetic::interval_times().call(vec![expr.right, expr.left])
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(planned))
    }
}

/// What a type is for these operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Float,
    Decimal,
    Date,
    Time,
    Timestamp,
    Interval,
    Text,
    Other,
}

fn kind_of(data_type: &DataType) -> Kind {
    match data_type {
        data_type if data_type.is_integer() => Kind::Integer,
        data_type if data_type.is_floating() => Kind::Float,
        data_type if data_type.is_decimal() => Kind::Decimal,
        DataType::Date32 => Kind::Date,
        DataType::Time64(_) => Kind::Time,
        DataType::Timestamp(..) => Kind::Timestamp,
        DataType::Interval(_) => Kind::Interval,
        data_type if is_text(data_type) => Kind::Text,
        _ => Kind::Other,
    }
}

fn refuse_sorts(plan: &LogicalPlan) -> PlanResult<()> {
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Sort(sort) => refuse_intervals(&sort.expr, sort.input.schema())?,
            LogicalPlan::Distinct(Distinct::On(first)) => {
                let order = first.sort_expr.as_deref().unwrap_or_default();
                refuse_intervals(order, first.input.schema())?;
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn refuse_orders(expression: &Expr, schema: &DFSchema) -> PlanResult<()> {
    match expression {
        Expr::WindowFunction(call) => {
            refuse_intervals(&call.params.order_by, schema)?;
            refuse_extreme(call.fun.name(), &call.params.args, schema)
        }
        Expr::AggregateFunction(call) => {
            refuse_intervals(&call.params.order_by, schema)?;
            refuse_extreme(call.func.name(), &call.params.args, schema)
        }
        _ => Ok(()),
    }
}

/// Refuses the least and the greatest interval.
fn refuse_extreme(function: &str, arguments: &[Expr], schema: &DFSchema) -> PlanResult<()> {
    let is_interval = |argument: &Expr| is_interval(argument, schema);
    match matches!(function, "min" | "max") && arguments.iter().any(is_interval) {
        true => Err(no_order()),
        false => Ok(()),
    }
}

fn refuse_intervals(keys: &[Sort], schema: &DFSchema) -> PlanResult<()> {
    match keys.iter().any(|key| is_interval(&key.expr, schema)) {
        true => Err(no_order()),
        false => Ok(()),
    }
}

fn no_order() -> DataFusionError {
    let reason =
        "intervals have no order here: take `extract(epoch from …)`, whose type is a number";
    DataFusionError::Plan(reason.to_owned())
}

fn replaced(expression: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(binary) => operator(binary, schema),
        Expr::Negative(inner) => negative(*inner, schema),
        Expr::Between(Between { expr, negated, low, high })
            if is_interval(&expr, schema) || is_interval(&low, schema) =>
        {
            let [expr, low, high] = [expr, low, high].map(|part| Box::new(span(*part)));
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::InList(InList { expr, list, negated }) if is_interval(&expr, schema) => {
            let (expr, list) = (Box::new(span(*expr)), list.into_iter().map(span).collect());
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_interval(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|data_type| kind_of(&data_type) == Kind::Interval)
}

/// How long an interval is, for comparisons.
fn span(expression: Expr) -> Expr {
    called(arithmetic::interval_span(), vec![expression])
}

fn called(function: ScalarUDF, arguments: Vec<Expr>) -> Expr {
    function.call(arguments)
}

fn yes(function: ScalarUDF, arguments: Vec<Expr>) -> PlanResult<Transformed<Expr>> {
    Ok(Transformed::yes(called(function, arguments)))
}

/// `0 - x`, which says when it does not fit.
fn negative(inner: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let data_type = inner.get_type(schema)?;
    match kind_of(&data_type) {
        Kind::Interval => yes(arithmetic::interval_negated(), vec![inner]),
        Kind::Integer => {
            let zero = Expr::Literal(ScalarValue::new_zero(&data_type)?, None);
            let (left, right) = (Box::new(zero), Box::new(inner));
            let binary = BinaryExpr { left, op: Operator::Minus, right };
            Ok(Transformed::yes(operator(binary, schema)?.data))
        }
        _ => Ok(Transformed::no(Expr::Negative(Box::new(inner)))),
    }
}

#[expect(clippy::too_many_lines, reason = "a line for each pair of types")]
fn operator(binary: BinaryExpr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let (Ok(left_type), Ok(right_type)) =
        (binary.left.get_type(schema), binary.right.get_type(schema))
    else {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    };
    let kinds = (kind_of(&left_type), kind_of(&right_type));
    let is_comparison = binary.op.supports_propagation()
        || matches!(binary.op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    let orders = matches!(binary.op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
    if orders && matches!(left_type, DataType::List(_)) {
        // A NULL item is the greatest there, and the least in Arrow.
        let reason = "lists have no order here: compare their items";
        return Err(DataFusionError::Plan(reason.to_owned()));
    }
    if is_comparison {
        return comparison(binary, (left_type, right_type), kinds);
    }
    let BinaryExpr { left, op, right } = binary;
    let (l, r) = (*left, *right);
    match (kinds.0, op, kinds.1) {
        (Kind::Integer, Operator::Plus | Operator::Minus | Operator::Multiply, Kind::Integer)
            if is_constant(&l) && is_constant(&r) =>
        {
            yes(arithmetic::constant(op), vec![l, r])
        }
        (
            Kind::Integer,
            Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight,
            Kind::Integer,
        ) if left_type != right_type => {
            let right = Box::new(cast(r, left_type));
            let binary = BinaryExpr { left: Box::new(l), op, right };
            Ok(Transformed::yes(Expr::BinaryExpr(binary)))
        }
        (Kind::Decimal, Operator::Divide, Kind::Decimal | Kind::Integer)
        | (Kind::Integer, Operator::Divide, Kind::Decimal) => {
            yes(arithmetic::quotient(), vec![l, r])
        }
        (Kind::Date, Operator::Minus, Kind::Date) => yes(arithmetic::days_between(), vec![l, r]),
        (Kind::Date, Operator::Plus, Kind::Integer) => yes(arithmetic::date_plus(), vec![l, r]),
        (Kind::Integer, Operator::Plus, Kind::Date) => yes(arithmetic::date_plus(), vec![r, l]),
        (Kind::Date, Operator::Minus, Kind::Integer) => yes(arithmetic::date_minus(), vec![l, r]),
        (Kind::Date, Operator::Plus, Kind::Time) => yes(arithmetic::date_at(), vec![l, r]),
        (Kind::Time, Operator::Plus, Kind::Date) => yes(arithmetic::date_at(), vec![r, l]),
        (Kind::Date, Operator::Plus, Kind::Interval) => {
            yes(arithmetic::timestamp_plus(), vec![cast(l, clock()), r])
        }
        (Kind::Interval, Operator::Plus, Kind::Date) => {
            yes(arithmetic::timestamp_plus(), vec![cast(r, clock()), l])
        }
        (Kind::Date, Operator::Minus, Kind::Interval) => {
            yes(arithmetic::timestamp_minus(), vec![cast(l, clock()), r])
        }
        (Kind::Timestamp, Operator::Plus, Kind::Interval) => {
            yes(arithmetic::timestamp_plus(), vec![l, r])
        }
        (Kind::Interval, Operator::Plus, Kind::Timestamp) => {
            yes(arithmetic::timestamp_plus(), vec![r, l])
        }
        (Kind::Timestamp, Operator::Minus, Kind::Interval) => {
            yes(arithmetic::timestamp_minus(), vec![l, r])
        }
        (Kind::Timestamp, Operator::Minus, Kind::Timestamp | Kind::Date)
        | (Kind::Date, Operator::Minus, Kind::Timestamp) => {
            let [l, r] = [(l, kinds.0), (r, kinds.1)]
                .map(|(side, kind)| if kind == Kind::Date { cast(side, clock()) } else { side });
            yes(arithmetic::time_between(), vec![l, r])
        }
        (Kind::Time, Operator::Minus, Kind::Time) => yes(arithmetic::clock_between(), vec![l, r]),
        (Kind::Time, Operator::Plus, Kind::Interval) => yes(arithmetic::clock_plus(), vec![l, r]),
        (Kind::Interval, Operator::Plus, Kind::Time) => yes(arithmetic::clock_plus(), vec![r, l]),
        (Kind::Time, Operator::Minus, Kind::Interval) => yes(arithmetic::clock_minus(), vec![l, r]),
        (Kind::Interval, Operator::Plus, Kind::Interval) => {
            yes(arithmetic::interval_sum(), vec![l, r])
        }
        (Kind::Interval, Operator::Minus, Kind::Interval) => {
            yes(arithmetic::interval_difference(), vec![l, r])
        }
        _ => {
            let binary = BinaryExpr { left: Box::new(l), op, right: Box::new(r) };
            Ok(Transformed::no(Expr::BinaryExpr(binary)))
        }
    }
}

/// A timestamp without time zone.
fn clock() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn comparison(
    binary: BinaryExpr,
    types: (DataType, DataType),
    kinds: (Kind, Kind),
) -> PlanResult<Transformed<Expr>> {
    let BinaryExpr { left, op, right } = binary;
    let (l, r) = (*left, *right);
    let interval = || DataType::Interval(IntervalUnit::MonthDayNano);
    let (l, r, changed) = match kinds {
        (Kind::Interval, Kind::Interval) => (span(l), span(r), true),
        (Kind::Interval, Kind::Text) => (span(l), span(cast(r, interval())), true),
        (Kind::Text, Kind::Interval) => (span(cast(l, interval())), span(r), true),
        // Not to nanoseconds, which end in the year 2262.
        (Kind::Date, Kind::Timestamp) => (cast(l, types.1), r, true),
        (Kind::Timestamp, Kind::Date) => (l, cast(r, types.0), true),
        (Kind::Timestamp, Kind::Timestamp) if types.0 != types.1 => {
            let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
            (cast(l, zoned.clone()), cast(r, zoned), true)
        }
        _ => (l, r, false),
    };
    let binary = Expr::BinaryExpr(BinaryExpr { left: Box::new(l), op, right: Box::new(r) });
    Ok(if changed { Transformed::yes(binary) } else { Transformed::no(binary) })
}

/// Whether an expression reads no row.
fn is_constant(expression: &Expr) -> bool {
    let reads = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::Column(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::Unnest(_)
                | Expr::Placeholder(_)
        ))
    };
    !expression.exists(reads).unwrap_or(true)
}
