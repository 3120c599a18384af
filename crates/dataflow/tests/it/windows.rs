//! Random windows, each with the SQL that means the same.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use plan::ir::{
    AggregateFunction, Frame, FrameBound, FrameUnits, Node, OrderKey, WindowCall, WindowFunction,
};

use crate::build::{Query, columns_of, output, sql_name};
use crate::world::Random;

/// A call and its text without the OVER clause.
pub(crate) struct Call {
    call: WindowCall,
    text: String,
    /// Whether its result depends on the order of peers.
    by_rows: bool,
}

/// An order: a column, whether it descends, and whether NULLs come first.
type Order = [(usize, bool, bool)];

impl Query {
    pub(crate) fn window(self, partition: &[usize], order: &Order, calls: Vec<Call>) -> Self {
        let schema = self.schema();
        let mut prefix = "w".to_owned();
        while self.all().iter().any(|name| name.contains(&format!("{prefix}0"))) {
            prefix.push('w');
        }
        let by: Vec<String> = partition.iter().map(|&column| self.name(column)).collect();
        let by =
            if by.is_empty() { String::new() } else { format!("partition by {}", by.join(", ")) };
        let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let mut list = self.all();
        for (at, call) in calls.iter().enumerate() {
            let mut keys = self.keys(order);
            if !call.by_rows {
                keys.truncate(order.len());
            }
            let frame = frame_text(&call.call);
            list.push(format!(
                "{} over ({by} order by {}{frame}) as {prefix}{at}",
                call.text,
                keys.join(", ")
            ));
            fields.push(Field::new(format!("{prefix}{at}"), call.call.output.clone(), true));
        }
        let sql = format!("select {} from ({}) as q", list.join(", "), self.sql);
        let order = order.iter().map(|&(column, descending, nulls_first)| OrderKey {
            column,
            options: SortOptions { descending, nulls_first },
        });
        let node = Node::Window {
            input: Box::new(self.node),
            partition: partition.to_vec(),
            order: order.collect(),
            calls: calls.into_iter().map(|call| call.call).collect(),
            schema: Arc::new(Schema::new(fields)),
        };
        Self { node, sql }
    }
}

fn frame_text(call: &WindowCall) -> String {
    match call.function {
        WindowFunction::FirstValue { .. }
        | WindowFunction::LastValue { .. }
        | WindowFunction::NthValue { .. }
        | WindowFunction::Aggregate { .. } => {}
        _ => return String::new(),
    }
    let bound = |bound: &FrameBound| match bound {
        FrameBound::UnboundedPreceding => "unbounded preceding".to_owned(),
        FrameBound::Preceding(by) => format!("{by} preceding"),
        FrameBound::CurrentRow => "current row".to_owned(),
        FrameBound::Following(by) => format!("{by} following"),
        FrameBound::UnboundedFollowing => "unbounded following".to_owned(),
    };
    let Frame { units, start, end } = &call.frame;
    let units = format!("{units:?}").to_lowercase();
    format!(" {units} between {} and {}", bound(start), bound(end))
}

/// A frame, whose offsets are values of a type.
fn random_frame(random: &mut Random, units: FrameUnits, of: &DataType) -> Frame {
    let mut offset = |limit: usize| match (units, of) {
        (FrameUnits::Range, DataType::Int32) => {
            ScalarValue::Int32(Some(i32::try_from(random.below(limit)).unwrap()))
        }
        (FrameUnits::Range, _) => {
            ScalarValue::Int64(Some(i64::try_from(random.below(limit)).unwrap()))
        }
        _ => ScalarValue::UInt64(Some(random.below(limit) as u64)),
    };
    let (near, far, ahead) = (offset(2), offset(4), offset(3));
    let (start, end) = match random.below(9) {
        0 | 1 => (FrameBound::UnboundedPreceding, FrameBound::CurrentRow),
        2 => (FrameBound::UnboundedPreceding, FrameBound::UnboundedFollowing),
        3 => (FrameBound::Preceding(far), FrameBound::CurrentRow),
        4 => (FrameBound::Preceding(far), FrameBound::Following(ahead)),
        5 => (FrameBound::CurrentRow, FrameBound::UnboundedFollowing),
        6 => (FrameBound::CurrentRow, FrameBound::Following(ahead)),
        7 => (FrameBound::UnboundedPreceding, FrameBound::Preceding(near)),
        _ => (FrameBound::Following(near), FrameBound::UnboundedFollowing),
    };
    Frame { units, start, end }
}

pub(crate) fn random_window(random: &mut Random, query: Query) -> Query {
    let schema = query.schema();
    let plain = columns_of(&schema, |of| !matches!(of, DataType::Float64 | DataType::List(_)));
    if plain.is_empty() {
        return query;
    }
    let partition: Vec<usize> =
        if random.one_in(4) { Vec::new() } else { vec![*random.pick(&plain)] };
    let order: Vec<_> = (0..1 + random.below(2))
        .map(|_| (*random.pick(&plain), random.one_in(2), random.one_in(2)))
        .collect();
    let calls = (0..1 + random.below(3)).map(|_| random_call(random, &query, &order)).collect();
    query.window(&partition, &order, calls)
}

fn random_call(random: &mut Random, query: &Query, order: &Order) -> Call {
    let schema = query.schema();
    let plain = columns_of(&schema, |of| !matches!(of, DataType::Float64 | DataType::List(_)));
    let any = *random.pick(&plain);
    let name = schema.field(any).name().clone();
    let whole = Frame {
        units: FrameUnits::Rows,
        start: FrameBound::UnboundedPreceding,
        end: FrameBound::UnboundedFollowing,
    };
    let simple = |function, text: &str, output, by_rows| Call {
        call: WindowCall { function, filter: None, frame: whole.clone(), output },
        text: text.into(),
        by_rows,
    };
    let of = schema.field(any).data_type().clone();
    match random.below(12) {
        0 => simple(WindowFunction::RowNumber, "row_number()", DataType::UInt64, true),
        1 => simple(WindowFunction::Rank, "rank()", DataType::UInt64, false),
        2 => simple(WindowFunction::DenseRank, "dense_rank()", DataType::UInt64, false),
        3 => simple(WindowFunction::PercentRank, "percent_rank()", DataType::Float64, false),
        4 => simple(WindowFunction::CumeDist, "cume_dist()", DataType::Float64, false),
        5 => {
            let buckets = 1 + random.below(4);
            let text = format!("ntile({buckets})");
            simple(WindowFunction::Ntile(buckets as u64), &text, DataType::UInt64, true)
        }
        6 | 7 => {
            let ignore_nulls = random.one_in(3);
            let offset = 1 + i64::try_from(random.below(3)).unwrap();
            let is_lead = random.one_in(2);
            let default = ScalarValue::try_from(&of).unwrap();
            let (word, signed) = if is_lead { ("lead", -offset) } else { ("lag", offset) };
            let nulls = if ignore_nulls { " ignore nulls" } else { "" };
            let text = format!("{word}({name}, {offset}){nulls}");
            let function =
                WindowFunction::Lag { argument: any, offset: signed, default, ignore_nulls };
            simple(function, &text, of, true)
        }
        8 if random.one_in(2) => random_list(random, query, any),
        8 => random_pick(random, query, any),
        _ => random_aggregate(random, query, order),
    }
}

fn random_pick(random: &mut Random, query: &Query, argument: usize) -> Call {
    let field = query.schema().field(argument).clone();
    let frame = random_frame(random, FrameUnits::Rows, field.data_type());
    let name = field.name();
    // DataFusion's nth_value over a frame that shrinks and its IGNORE NULLS are not to be relied on.
    let (function, text) = match random.below(2) {
        0 => {
            let function = WindowFunction::FirstValue { argument, ignore_nulls: false };
            (function, format!("first_value({name})"))
        }
        _ => {
            let function = WindowFunction::LastValue { argument, ignore_nulls: false };
            (function, format!("last_value({name})"))
        }
    };
    let output = field.data_type().clone();
    Call { call: WindowCall { function, filter: None, frame, output }, text, by_rows: true }
}

/// The values of a frame as a list or a text.
fn random_list(random: &mut Random, query: &Query, argument: usize) -> Call {
    let schema = query.schema();
    let flags = columns_of(&schema, |of| of == &DataType::Boolean);
    let filter = (!flags.is_empty() && random.one_in(3)).then(|| *random.pick(&flags));
    let field = schema.field(argument);
    let (of, name) = (field.data_type(), field.name());
    let mut frame = random_frame(random, FrameUnits::Rows, of);
    let is_text = of == &DataType::Utf8;
    let function = if is_text { AggregateFunction::StringAgg } else { AggregateFunction::ArrayAgg };
    if is_text {
        // DataFusion has no texts over frames whose beginning moves.
        frame.start = FrameBound::UnboundedPreceding;
    }
    let filter_text =
        filter.map_or(String::new(), |f| format!(" filter (where {})", schema.field(f).name()));
    let separator = is_text.then(|| "+".to_owned());
    let more = if is_text { ", '+'" } else { "" };
    Call {
        text: format!("{}({name}{more}){filter_text}", sql_name(function)),
        by_rows: true,
        call: WindowCall {
            function: WindowFunction::Aggregate { function, argument: Some(argument), separator },
            filter,
            frame,
            output: output(function, Some(of)),
        },
    }
}

fn random_aggregate(random: &mut Random, query: &Query, order: &Order) -> Call {
    let schema = query.schema();
    let flags = columns_of(&schema, |of| of == &DataType::Boolean);
    let numbers = columns_of(&schema, |of| of.is_integer() || of.is_decimal());
    let filter = (!flags.is_empty() && random.one_in(3)).then(|| *random.pick(&flags));
    let function = *random.pick(&[
        AggregateFunction::Sum,
        AggregateFunction::Sum,
        AggregateFunction::Avg,
        AggregateFunction::Min,
        AggregateFunction::Max,
        AggregateFunction::Count,
    ]);
    let (function, argument) = if numbers.is_empty() {
        (AggregateFunction::Count, None)
    } else {
        (function, Some(*random.pick(&numbers)))
    };
    let key = schema.field(order[0].0).data_type();
    let can_range = order.len() == 1 && key.is_integer();
    let units = match random.below(3) {
        0 if can_range => FrameUnits::Range,
        1 => FrameUnits::Groups,
        _ => FrameUnits::Rows,
    };
    let frame = random_frame(random, units, key);
    let of = argument.map(|column| schema.field(column).data_type());
    let name = argument.map_or("*".to_owned(), |column| schema.field(column).name().clone());
    let filter_text =
        filter.map_or(String::new(), |f| format!(" filter (where {})", schema.field(f).name()));
    let output = output(function, of);
    Call {
        text: format!("{}({name}){filter_text}", sql_name(function)),
        by_rows: units == FrameUnits::Rows,
        call: WindowCall {
            function: WindowFunction::Aggregate { function, argument, separator: None },
            filter,
            frame,
            output,
        },
    }
}
