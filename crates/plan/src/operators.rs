//! Operators whose results PostgreSQL types otherwise, or which wrap around here.
//!
//! The difference of two dates is a number of days, that of two times an interval; a date and an interval make a
//! timestamp; a quotient of decimals has sixteen places; an interval is compared by its length. Arithmetic of whole
//! numbers that are constants is checked like any other. It runs before types are coerced.

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions and types grow with DataFusion")]

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use change::floats::has_floats;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::functions_nested::expr_fn::array_has_all;
use datafusion::logical_expr::expr::{Between, Case, InList, ScalarFunction, WindowFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, WindowFrameBound,
    WindowFrameUnits, cast,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::casts::is_text;
use crate::functions::{arithmetic, folded_floats};
use crate::rewrite::every_expression;

/// Replaces operators by functions that answer as PostgreSQL does.
#[derive(Debug)]
pub(crate) struct PostgresOperators;

impl AnalyzerRule for PostgresOperators {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        every_expression(plan, replaced)
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

fn replaced(expression: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(binary) => operator(binary, schema),
        Expr::Negative(inner) => negative(*inner, schema),
        Expr::WindowFunction(call) => Ok(frame_of_bytes(call, schema)),
        Expr::Case(case) if case.expr.is_some() => simple_case(case, schema),
        Expr::ScalarFunction(call) if call.func.name() == "nullif" => nullif(call, schema),
        Expr::ScalarFunction(call)
            if matches!(call.func.name(), "greatest" | "least")
                && call.args.iter().any(|part| is_interval(part, schema)) =>
        {
            extreme_of(call, schema)
        }
        Expr::ScalarFunction(call) if call.args.len() == 2 => literal_lists(call, schema),
        Expr::Between(Between { expr, negated, low, high }) if is_timestamp(&expr, schema) => {
            let to = expr.get_type(schema)?;
            let [low, high] = [low, high].map(|part| Box::new(read_as(*part, &to, schema)));
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::InList(InList { expr, list, negated }) if is_timestamp(&expr, schema) => {
            let to = expr.get_type(schema)?;
            let list = list.into_iter().map(|part| read_as(part, &to, schema)).collect();
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        Expr::Between(Between { expr, negated, low, high })
            if is_interval(&expr, schema) || is_interval(&low, schema) =>
        {
            let [expr, low, high] = [expr, low, high].map(|part| Box::new(span(*part)));
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::InList(InList { expr, list, negated }) if is_of_floats(&expr, schema) => {
            let to = expr.get_type(schema)?;
            let list = list.into_iter().map(|part| fold(read_as(part, &to, schema))).collect();
            let expr = Box::new(fold(*expr));
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        Expr::InList(InList { expr, list, negated }) if is_interval(&expr, schema) => {
            let (expr, list) = (Box::new(span(*expr)), list.into_iter().map(span).collect());
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A frame without distances, over an order of bytes or times of day: DataFusion knows no ranges of theirs, but groups
/// of equals are the same.
fn frame_of_bytes(mut call: Box<WindowFunction>, schema: &DFSchema) -> Transformed<Expr> {
    let params = &mut call.params;
    let first = params.order_by.first().and_then(|key| key.expr.get_type(schema).ok());
    let frame = &mut params.window_frame;
    let is_near = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
            distance.is_null()
        }
    };
    let changes = frame.units == WindowFrameUnits::Range
        && is_near(&frame.start_bound)
        && is_near(&frame.end_bound)
        && matches!(first, Some(DataType::Binary | DataType::Time64(_)));
    if changes {
        frame.units = WindowFrameUnits::Groups;
    }
    Transformed::new_transformed(Expr::WindowFunction(call), changes)
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
    let BinaryExpr { left, op, right } = binary;
    let (left, right) = (literal_list(*left, &right_type), literal_list(*right, &left_type));
    let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
    let binary = BinaryExpr { left: Box::new(left), op, right: Box::new(right) };
    let is_comparison = binary.op.supports_propagation()
        || matches!(binary.op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    // Those with a text that was a list are not planned yet.
    let holds = match binary.op {
        Operator::AtArrow => Some([&left_type, &right_type]),
        Operator::ArrowAt => Some([&right_type, &left_type]),
        _ => None,
    };
    if let Some([DataType::List(_), DataType::List(_)]) = holds {
        let BinaryExpr { left, op, right } = binary;
        let (one, other) = if op == Operator::AtArrow { (left, right) } else { (right, left) };
        let [one, other] = [one, other].map(|side| fold_list(*side, schema));
        return Ok(Transformed::yes(array_has_all(one, other)));
    }
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

/// A text that is written beside a list is one: `'{1,2}'`.
fn literal_list(side: Expr, beside: &DataType) -> Expr {
    let is_text = matches!(&side, Expr::Literal(value, _) if is_text(&value.data_type()));
    match (is_text, beside) {
        (true, DataType::List(_)) => cast(side, beside.clone()),
        (true | false, _) => side,
    }
}

/// `case x when 0 …` of floats or intervals, as a comparison each: Arrow compares their bits there.
fn simple_case(mut case: Case, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let compared = case.when_then_expr.iter().map(|(value, _)| value).chain(&case.expr);
    if !compared.into_iter().any(|part| is_of_floats(part, schema) || is_interval(part, schema)) {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    let Some(operand) = case.expr.take() else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    for (value, _) in &mut case.when_then_expr {
        **value = is_equal((*operand).clone(), (**value).clone(), schema)?;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// `nullif` of floats or intervals, for the same reason.
fn nullif(call: ScalarFunction, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let [value, other] = call.args.as_slice() else {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    };
    let is_own = |part: &Expr| is_of_floats(part, schema) || is_interval(part, schema);
    if !is_own(value) && !is_own(other) {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let null = Expr::Literal(ScalarValue::try_from(&value.get_type(schema)?)?, None);
    let equal = is_equal(value.clone(), other.clone(), schema)?;
    let otherwise = Some(Box::new(value.clone()));
    let branches = vec![(Box::new(equal), Box::new(null))];
    Ok(Transformed::yes(Expr::Case(Case::new(None, branches, otherwise))))
}

/// `greatest` or `least` of intervals, over texts that compare as they do; texts of the user's are intervals.
fn extreme_of(mut call: ScalarFunction, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let key = |part: Expr| {
        let part = if is_interval(&part, schema) { part } else { cast(part, interval.clone()) };
        called(arithmetic::interval_key(), vec![part])
    };
    call.args = call.args.into_iter().map(key).collect();
    yes(arithmetic::interval_of(), vec![Expr::ScalarFunction(call)])
}

fn is_equal(left: Expr, right: Expr, schema: &DFSchema) -> PlanResult<Expr> {
    let (left, right) = (Box::new(left), Box::new(right));
    Ok(operator(BinaryExpr { left, op: Operator::Eq, right }, schema)?.data)
}

/// The same, folded if it is a list of floats.
fn fold_list(expression: Expr, schema: &DFSchema) -> Expr {
    if is_of_floats(&expression, schema) { fold(expression) } else { expression }
}

/// Functions of two lists, such as those behind `@>`.
fn literal_lists(mut call: ScalarFunction, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    const OF_LISTS: [&str; 4] = ["array_cat", "array_has_all", "array_has_any", "array_overlaps"];
    if !OF_LISTS.contains(&call.func.name()) {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let types = [call.args[0].get_type(schema)?, call.args[1].get_type(schema)?];
    let sides = call.args.into_iter().zip(types.iter().rev());
    let compares = call.func.name() != "array_cat";
    let side = |(side, beside)| {
        let side = literal_list(side, beside);
        if compares { fold_list(side, schema) } else { side }
    };
    call.args = sides.map(side).collect();
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

fn is_of_floats(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|data_type| has_floats(&data_type))
}

/// Floats that are equal are the same: Arrow compares their bits within lists, and against lists.
fn fold(expression: Expr) -> Expr {
    called(folded_floats(), vec![expression])
}

fn is_timestamp(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|data_type| kind_of(&data_type) == Kind::Timestamp)
}

/// A text as a value of that very type: a timestamp not of nanoseconds, which end in the year 2262.
fn read_as(side: Expr, to: &DataType, schema: &DFSchema) -> Expr {
    let is_text = side.get_type(schema).is_ok_and(|of| kind_of(&of) == Kind::Text);
    if is_text { cast(side, to.clone()) } else { side }
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
        (Kind::Timestamp, Kind::Date | Kind::Text) => (l, cast(r, types.0), true),
        (Kind::Text, Kind::Timestamp) => (cast(l, types.1), r, true),
        (Kind::Timestamp, Kind::Timestamp) if types.0 != types.1 => {
            let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
            (cast(l, zoned.clone()), cast(r, zoned), true)
        }
        _ if types.0.is_nested() && has_floats(&types.0) => (fold(l), fold(r), true),
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
