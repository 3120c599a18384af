//! Aggregates: groups, and what is computed of each.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the planner's enums grow with DataFusion; what is new is refused"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use change::logical_type;
use datafusion::logical_expr::expr::AggregateFunction as AggregateExpr;
use datafusion::logical_expr::{Aggregate, Expr, SortExpr};

use super::{Converter, Refusal, order_keys, position, projected, with_schema};
use crate::codes;
use crate::ir::{AggregateCall, AggregateFunction, Node};

impl Converter<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate) -> Result<Node, Refusal> {
        let calls = aggregate.aggr_expr.iter().map(call_of).collect::<Result<Vec<_>, _>>()?;
        let mut wanted = aggregate.group_expr.clone();
        let mut placed = Vec::new();
        for call in &calls {
            let mut place = |expression: &Expr| {
                wanted.iter().position(|known| known == expression).unwrap_or_else(|| {
                    wanted.push(expression.clone());
                    wanted.len() - 1
                })
            };
            placed.push(Placed {
                argument: call.argument.as_ref().map(&mut place),
                filter: call.filter.as_ref().map(&mut place),
                order: call.order.iter().map(|key| place(&key.expr)).collect(),
            });
        }
        let from = aggregate.input.schema();
        let input = self.node(&aggregate.input)?;
        let positions: Option<Vec<usize>> =
            wanted.iter().map(|expression| position(expression, from)).collect();
        let (input, at): (Node, Vec<usize>) = match positions {
            Some(positions) => (input, positions),
            None => (self.computed(input, &wanted, from)?, (0..wanted.len()).collect()),
        };
        let groups = aggregate.group_expr.len();
        let read = input.schema();
        let (mut fields, mut aggregates) = (Vec::new(), Vec::new());
        for (group, field) in at[..groups].iter().zip(aggregate.schema.fields()) {
            fields.push(read.field(*group).clone().with_name(field.name().as_str()));
        }
        for ((call, placed), field) in
            calls.iter().zip(placed).zip(&aggregate.schema.fields()[groups..])
        {
            let argument = placed.argument.map(|place| at[place]);
            let order: Vec<usize> = placed.order.iter().map(|&place| at[place]).collect();
            check_argument(call.function, argument.map(|column| read.field(column).data_type()))?;
            fields.push(result_field(call.function, argument.map(|at| read.field(at)), field));
            aggregates.push(AggregateCall {
                function: call.function,
                argument,
                distinct: call.distinct,
                filter: placed.filter.map(|place| at[place]),
                order: order_keys(&call.order, &order),
                separator: call.separator.clone(),
                output: field.data_type().clone(),
            });
        }
        let group = at[..groups].to_vec();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        if aggregates.is_empty() && !group.is_empty() {
            let input = Box::new(with_schema(projected(input, &group), &schema));
            return Ok(Node::Distinct { input });
        }
        let input = Box::new(input);
        Ok(Node::Aggregate { input, group, aggregates, schema })
    }
}

/// What an aggregate expression asks for.
struct Call {
    function: AggregateFunction,
    argument: Option<Expr>,
    distinct: bool,
    filter: Option<Expr>,
    order: Vec<SortExpr>,
    separator: Option<String>,
}

/// Where the expressions of a call are, among all that are computed.
struct Placed {
    argument: Option<usize>,
    filter: Option<usize>,
    order: Vec<usize>,
}

const HELP: &str = "docs/sql.md lists the aggregates that are maintained";

/// The aggregate function of DataFusion's name.
pub(super) fn function_of(name: &str) -> Result<AggregateFunction, Refusal> {
    Ok(match name {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "avg" => AggregateFunction::Avg,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "bool_and" => AggregateFunction::BoolAnd,
        "bool_or" => AggregateFunction::BoolOr,
        "var_pop" => AggregateFunction::VariancePopulation,
        "var" | "var_samp" => AggregateFunction::VarianceSample,
        "stddev_pop" => AggregateFunction::DeviationPopulation,
        "stddev" | "stddev_samp" => AggregateFunction::DeviationSample,
        "string_agg" => AggregateFunction::StringAgg,
        "array_agg" => AggregateFunction::ArrayAgg,
        other => {
            let what = format!("the aggregate {other} cannot be maintained yet");
            return Err(Refusal::new(codes::AGGREGATE, what, HELP));
        }
    })
}

/// The argument of an aggregate; none for `count(*)`, which is planned as the count of a constant.
pub(super) fn argument_of(
    function: AggregateFunction,
    distinct: bool,
    argument: Option<Expr>,
) -> Option<Expr> {
    argument.filter(|argument| {
        let constant = matches!(argument, Expr::Literal(value, _) if !value.is_null());
        !(function == AggregateFunction::Count && !distinct && constant)
    })
}

fn call_of(expression: &Expr) -> Result<Call, Refusal> {
    let bare = expression.clone().unalias_nested().data;
    let Expr::AggregateFunction(AggregateExpr { func, params }) = bare else {
        let what = format!("{expression} is not an aggregate that can be maintained");
        return Err(Refusal::new(codes::AGGREGATE, what, HELP));
    };
    let function = function_of(func.name())?;
    let mut arguments = params.args.into_iter();
    let argument = argument_of(function, params.distinct, arguments.next());
    let separator = match (function, arguments.next()) {
        (AggregateFunction::StringAgg, Some(separator)) => Some(text_of(&separator)?),
        (_, None) => None,
        (_, Some(_)) => {
            let what = format!("{} over several values cannot be maintained yet", func.name());
            return Err(Refusal::new(codes::AGGREGATE, what, "aggregate one value"));
        }
    };
    let filter = params.filter.map(|filter| *filter);
    // The least and the greatest value are the same whether each value counts once or not; and only lists and texts
    // depend on an order.
    let extreme = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
    let ordered = matches!(function, AggregateFunction::StringAgg | AggregateFunction::ArrayAgg);
    let order = if ordered { params.order_by } else { Vec::new() };
    let distinct = params.distinct && !extreme;
    Ok(Call { function, argument, distinct, filter, order, separator })
}

/// The separator of `string_agg`.
pub(super) fn text_of(expression: &Expr) -> Result<String, Refusal> {
    match expression {
        Expr::Literal(value, _) if value.is_null() => Ok(String::new()),
        Expr::Literal(value, _) if value.try_as_str().flatten().is_some() => {
            Ok(value.try_as_str().flatten().unwrap_or_default().to_owned())
        }
        Expr::Cast(cast) => text_of(&cast.expr),
        _ => {
            let what = "the separator of string_agg is not a text that the query says";
            Err(Refusal::new(codes::AGGREGATE, what, "write it out: `string_agg(x, ', ')`"))
        }
    }
}

pub(super) fn check_argument(
    function: AggregateFunction,
    argument: Option<&DataType>,
) -> Result<(), Refusal> {
    let Some(argument) = argument else { return Ok(()) };
    let fits = match function {
        AggregateFunction::Sum | AggregateFunction::Avg => argument.is_numeric(),
        AggregateFunction::Min | AggregateFunction::Max => !argument.is_nested(),
        AggregateFunction::BoolAnd | AggregateFunction::BoolOr => {
            matches!(argument, DataType::Boolean | DataType::Null)
        }
        AggregateFunction::VariancePopulation
        | AggregateFunction::VarianceSample
        | AggregateFunction::DeviationPopulation
        | AggregateFunction::DeviationSample => argument.is_numeric(),
        AggregateFunction::StringAgg => matches!(argument, DataType::Utf8 | DataType::Null),
        AggregateFunction::Count | AggregateFunction::ArrayAgg => true,
    };
    if fits {
        return Ok(());
    }
    let what = format!("this aggregate of {argument} cannot be maintained");
    Err(Refusal::new(codes::AGGREGATE, what, "cast the value, or count it"))
}

/// The field of a result: the least and the greatest value are of the column's own type, and so is a numeric sum.
fn result_field(function: AggregateFunction, argument: Option<&Field>, named: &Field) -> Field {
    let field = Field::new(named.name(), named.data_type().clone(), true);
    let keeps = |argument: &&Field| match function {
        AggregateFunction::Min | AggregateFunction::Max => true,
        AggregateFunction::Sum => {
            logical_type(argument) == Some("numeric") && argument.data_type() == named.data_type()
        }
        AggregateFunction::Count
        | AggregateFunction::Avg
        | AggregateFunction::BoolAnd
        | AggregateFunction::BoolOr
        | AggregateFunction::VariancePopulation
        | AggregateFunction::VarianceSample
        | AggregateFunction::DeviationPopulation
        | AggregateFunction::DeviationSample
        | AggregateFunction::StringAgg
        | AggregateFunction::ArrayAgg => false,
    };
    match argument.filter(keeps) {
        Some(argument) => field.with_metadata(argument.metadata().clone()),
        None => field,
    }
}
