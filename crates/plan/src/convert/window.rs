//! Window functions: partitions, orders and frames.
//!
//! A filter `row_number() <= k` above a window needs the first k rows of each partition only. The window is then
//! computed over these: they have the numbers that they have among all, because only rows before them count.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the planner's enums grow with DataFusion; what is new is refused"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunctionParams};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};

use super::aggregate::{argument_of, check_argument, function_of, text_of};
use super::{Converter, Refusal, nullable, order_keys, projected};
use crate::codes;
use crate::ir::{
    AggregateFunction, Frame, FrameBound, FrameUnits, Node, OrderKey, WindowCall, WindowFunction,
};

/// A call, and where the expressions of it are, among all that are computed.
struct Placed {
    partition: Vec<usize>,
    order: Vec<OrderKey>,
    call: WindowCall,
    /// Where its result stands among the node's results.
    index: usize,
}

impl Converter<'_> {
    /// Converts window functions; with `first`, over so many first rows of each partition.
    pub(super) fn window(&self, window: &Window, first: Option<usize>) -> Result<Node, Refusal> {
        let mut wanted = Vec::new();
        for expression in &window.window_expr {
            let (_, params) = function(expression)?;
            wanted.extend(params.partition_by.iter().cloned());
            wanted.extend(params.order_by.iter().map(|key| key.expr.clone()));
            wanted.extend(params.args.iter().cloned());
            wanted.extend(params.filter.iter().map(|filter| filter.as_ref().clone()));
        }
        let literal = |expression: &Expr| matches!(expression, Expr::Literal(..));
        wanted.retain(|expression| !literal(expression));
        let mut seen: Vec<Expr> = Vec::new();
        for expression in wanted {
            if !seen.contains(&expression) {
                seen.push(expression);
            }
        }
        let mut wide = self.with_columns(&window.input, seen.clone(), "window")?;
        let width = wide.width;
        let at = |expression: &Expr| {
            let place = seen.iter().position(|known| known == expression)?;
            wide.positions.get(place).copied()
        };
        let results = &window.schema.fields()[window.input.schema().fields().len()..];
        let schema = wide.schema.clone();
        let mut placed = Vec::new();
        for (index, (expression, field)) in window.window_expr.iter().zip(results).enumerate() {
            let (definition, params) = function(expression)?;
            let types = |column: usize| schema.field(column).data_type().clone();
            placed.push(place(definition, params, (index, field.data_type()), &at, &types)?);
        }
        let mut node = wide.take();
        if let (Some(limit), [one, ..]) = (first, placed.as_slice()) {
            node = Node::TopK {
                input: Box::new(node),
                partition: one.partition.clone(),
                order: one.order.clone(),
                offset: 0,
                limit: Some(limit),
            };
        }
        let names = nullable(&window.schema);
        let own = window.input.schema().fields().len();
        let mut places = vec![0; placed.len()];
        for group in grouped(placed) {
            let input = node.schema();
            let mut fields: Vec<_> = input.fields().iter().cloned().collect();
            for one in &group {
                places[one.index] = fields.len();
                let field = Field::clone(names.field(own + one.index));
                fields.push(Arc::new(field.with_data_type(one.call.output.clone())));
            }
            let (partition, order) = (group[0].partition.clone(), group[0].order.clone());
            node = Node::Window {
                input: Box::new(node),
                partition,
                order,
                calls: group.into_iter().map(|one| one.call).collect(),
                schema: Arc::new(Schema::new(fields)),
            };
        }
        let kept: Vec<usize> = (0..width).chain(places).collect();
        Ok(if kept.iter().copied().eq(0..node.schema().fields().len()) {
            node
        } else {
            projected(node, &kept)
        })
    }
}

/// The calls that share a partition and an order.
fn grouped(placed: Vec<Placed>) -> Vec<Vec<Placed>> {
    let mut groups: Vec<Vec<Placed>> = Vec::new();
    for one in placed {
        let same = groups
            .iter_mut()
            .find(|group| group[0].partition == one.partition && group[0].order == one.order);
        match same {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

fn function(
    expression: &Expr,
) -> Result<(&WindowFunctionDefinition, &WindowFunctionParams), Refusal> {
    match expression {
        Expr::Alias(alias) => function(&alias.expr),
        Expr::WindowFunction(function) => Ok((&function.fun, &function.params)),
        other => {
            let what = format!("{other} is not a window function");
            Err(Refusal::new(codes::WINDOW, what, "write a function with `over (…)`"))
        }
    }
}

fn place(
    definition: &WindowFunctionDefinition,
    params: &WindowFunctionParams,
    result: (usize, &DataType),
    at: &dyn Fn(&Expr) -> Option<usize>,
    types: &dyn Fn(usize) -> DataType,
) -> Result<Placed, Refusal> {
    let lost = || {
        let what = "a window function reads something that is not computed";
        Refusal::new(codes::WINDOW, what, "compute it in a subquery first")
    };
    let (index, output) = result;
    let all = |list: &[Expr]| {
        // A constant tells no rows apart.
        let columns = list.iter().filter(|part| !matches!(part, Expr::Literal(..)));
        columns.map(|part| at(part).ok_or_else(lost)).collect::<Result<Vec<_>, _>>()
    };
    let sorted: Vec<_> = params
        .order_by
        .iter()
        .filter(|key| !matches!(key.expr, Expr::Literal(..)))
        .cloned()
        .collect();
    let keys: Vec<Expr> = sorted.iter().map(|key| key.expr.clone()).collect();
    let filter = params.filter.as_ref().map(|filter| at(filter).ok_or_else(lost)).transpose()?;
    let function = match definition.name() {
        name @ ("row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" | "ntile") => {
            ranking(name, &params.args)?
        }
        name @ ("lag" | "lead" | "first_value" | "last_value" | "nth_value") => {
            let argument = params.args.first().and_then(at);
            let argument = argument.ok_or_else(|| constant(name))?;
            let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
            reading(name, &params.args, (argument, &types(argument)), ignore_nulls)?
        }
        name => {
            if params.distinct {
                let what = format!("{name}(distinct …) over a window cannot be maintained yet");
                let help = "join with an aggregate `group by` the partition";
                return Err(Refusal::new(codes::WINDOW, what, help));
            }
            let function = function_of(name)?;
            let separator = params.args.get(1).filter(|_| function == AggregateFunction::StringAgg);
            let separator = separator.map(text_of).transpose()?;
            let argument = argument_of(function, false, params.args.first().cloned());
            let argument =
                argument.map(|argument| at(&argument).ok_or_else(|| constant(name))).transpose()?;
            check_argument(function, argument.map(types).as_ref())?;
            WindowFunction::Aggregate { function, argument, separator }
        }
    };
    let frame = frame(&params.window_frame)?;
    let call = WindowCall { function, filter, frame, output: output.clone() };
    Ok(Placed {
        partition: all(&params.partition_by)?,
        order: order_keys(&sorted, &all(&keys)?),
        call,
        index,
    })
}

fn constant(name: &str) -> Refusal {
    let what = format!("{name} over a window reads a constant");
    Refusal::new(codes::WINDOW, what, "read a column")
}

/// A function of a row's place.
fn ranking(name: &str, arguments: &[Expr]) -> Result<WindowFunction, Refusal> {
    Ok(match name {
        "row_number" => WindowFunction::RowNumber,
        "rank" => WindowFunction::Rank,
        "dense_rank" => WindowFunction::DenseRank,
        "percent_rank" => WindowFunction::PercentRank,
        "cume_dist" => WindowFunction::CumeDist,
        _ => {
            let buckets =
                whole(arguments.first(), name)?.and_then(|buckets| u64::try_from(buckets).ok());
            let buckets = buckets.filter(|&buckets| buckets > 0);
            WindowFunction::Ntile(buckets.ok_or_else(|| not_whole(name))?)
        }
    })
}

/// A function that reads another row's column.
fn reading(
    name: &str,
    arguments: &[Expr],
    column: (usize, &DataType),
    ignore_nulls: bool,
) -> Result<WindowFunction, Refusal> {
    let (argument, data_type) = column;
    Ok(match name {
        "first_value" => WindowFunction::FirstValue { argument, ignore_nulls },
        "last_value" => WindowFunction::LastValue { argument, ignore_nulls },
        "nth_value" => {
            let n = whole(arguments.get(1), name)?.and_then(|n| u64::try_from(n).ok());
            let n = n.filter(|&n| n > 0).ok_or_else(|| not_whole(name))?;
            WindowFunction::NthValue { argument, n, ignore_nulls }
        }
        _ => {
            let rows = whole(arguments.get(1), name)?.unwrap_or(1);
            let offset = if name == "lead" { -rows } else { rows };
            let default = match arguments.get(2) {
                None => ScalarValue::try_from(data_type)?,
                Some(Expr::Literal(value, _)) => value.cast_to(data_type)?,
                Some(_) => {
                    let what = format!("the default of {name} is not a constant");
                    let help = "write `coalesce(lag(…) over …, …)`";
                    return Err(Refusal::new(codes::WINDOW, what, help));
                }
            };
            WindowFunction::Lag { argument, offset, default, ignore_nulls }
        }
    })
}

/// A whole number that the query says.
fn whole(argument: Option<&Expr>, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(argument) = argument else { return Ok(None) };
    let Expr::Literal(value, _) = argument else { return Err(not_whole(name)) };
    match value.cast_to(&DataType::Int64)? {
        ScalarValue::Int64(number) => Ok(number),
        _ => Err(not_whole(name)),
    }
}

fn not_whole(name: &str) -> Refusal {
    let what = format!("{name} takes a whole number that the query says");
    Refusal::new(codes::WINDOW, what, "write the number out")
}

fn frame(frame: &WindowFrame) -> Result<Frame, Refusal> {
    let units = match frame.units {
        WindowFrameUnits::Rows => FrameUnits::Rows,
        WindowFrameUnits::Range => FrameUnits::Range,
        WindowFrameUnits::Groups => FrameUnits::Groups,
    };
    let value = |value: &ScalarValue| match units {
        FrameUnits::Rows | FrameUnits::Groups => value.cast_to(&DataType::UInt64),
        FrameUnits::Range => Ok(value.clone()),
    };
    let bound = |bound: &WindowFrameBound, unbounded: FrameBound| -> Result<FrameBound, Refusal> {
        Ok(match bound {
            WindowFrameBound::CurrentRow => FrameBound::CurrentRow,
            WindowFrameBound::Preceding(by) if by.is_null() => FrameBound::UnboundedPreceding,
            WindowFrameBound::Following(by) if by.is_null() => unbounded,
            WindowFrameBound::Preceding(by) => FrameBound::Preceding(value(by)?),
            WindowFrameBound::Following(by) => FrameBound::Following(value(by)?),
        })
    };
    let start = bound(&frame.start_bound, FrameBound::UnboundedFollowing)?;
    let end = bound(&frame.end_bound, FrameBound::UnboundedFollowing)?;
    Ok(Frame { units, start, end })
}

/// How many first rows of each partition a filter above a window asks for.
pub(super) fn first_rows(predicate: &Expr, window: &Window) -> Option<usize> {
    let own = window.input.schema().fields().len();
    let calls: Vec<_> =
        window.window_expr.iter().map(|call| function(call).ok()).collect::<Option<_>>()?;
    let (_, first) = calls.first()?;
    let fits = calls.iter().all(|(definition, params)| {
        matches!(definition.name(), "row_number" | "rank" | "dense_rank")
            && params.partition_by == first.partition_by
            && params.order_by == first.order_by
    });
    let is_number = |expression: &Expr| match expression {
        Expr::Column(column) => window
            .schema
            .maybe_index_of_column(column)
            .and_then(|at| calls.get(at.checked_sub(own)?))
            .is_some_and(|(definition, _)| definition.name() == "row_number"),
        _ => false,
    };
    let limits = split_conjunction(predicate).into_iter().filter_map(|condition| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
        let (column, op, number) = match (left.as_ref(), right.as_ref()) {
            (column, Expr::Literal(number, _)) => (column, *op, number),
            (Expr::Literal(number, _), column) => (column, op.swap()?, number),
            _ => return None,
        };
        let ScalarValue::Int64(Some(number)) = number.cast_to(&DataType::Int64).ok()? else {
            return None;
        };
        let last = match op {
            Operator::LtEq | Operator::Eq => number,
            Operator::Lt => number.checked_sub(1)?,
            _ => return None,
        };
        is_number(column).then(|| usize::try_from(last).unwrap_or_default())
    });
    limits.min().filter(|_| fits)
}
