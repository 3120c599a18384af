//! Plans as trees that people read.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::physical_expr::PhysicalExpr;

use crate::ir::{
    AggregateCall, AggregateFunction, Frame, FrameBound, FrameUnits, JoinKind, Node, OrderKey,
    Place, SetOperation, ViewPlan, WindowCall, WindowFunction,
};
use crate::name::quoted;

/// Shows how a view is computed: the view with its key and order, then one operator a line, inputs below. Where they
/// were written is not told, so what computes the same is shown the same.
#[must_use]
pub fn explain(view: &ViewPlan) -> String {
    let mut text = headline(view);
    text.push('\n');
    for Line { branch, operator, .. } in outline(view) {
        push(&mut text, format_args!("{branch}{operator}\n"));
    }
    text
}

/// An operator of an explained plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which node it is, counted as the view's places are.
    pub node: usize,
    /// The branches of the tree that lead to it.
    pub branch: String,
    /// What it does.
    pub operator: String,
    /// Where it was written.
    pub place: Option<Place>,
}

/// The operators that compute a view: the last one first, and the inputs of each below it.
#[must_use]
pub fn outline(view: &ViewPlan) -> Vec<Line> {
    let mut lines = Vec::new();
    tree(&mut lines, view, (&view.root, view.root.count() - 1), ("", true));
    lines
}

/// The view with its columns, key and order.
#[must_use]
pub fn headline(view: &ViewPlan) -> String {
    let columns = view.schema.fields().iter();
    let columns = columns.map(|field| format!("{} {}", quoted(field.name()), field.data_type()));
    let mut text =
        format!("view {}({})", quoted(&view.name), columns.collect::<Vec<_>>().join(", "));
    if !view.key.is_empty() {
        push(&mut text, format_args!(" key ({})", names(&view.schema, &view.key)));
    }
    if !view.order.is_empty() {
        push(&mut text, format_args!(" order by {}", order(&view.schema, &view.order)));
    }
    text
}

/// Adds a node, which is the `at`-th, and all below it; `is_last` when its branch goes on no further.
fn tree(
    lines: &mut Vec<Line>,
    view: &ViewPlan,
    (node, at): (&Node, usize),
    (indent, is_last): (&str, bool),
) {
    let branch = format!("{indent}{}", if is_last { "└─ " } else { "├─ " });
    let place = view.places.get(at).cloned().flatten();
    lines.push(Line { node: at, branch, operator: line(node), place });
    let indent = format!("{indent}{}", if is_last { "   " } else { "│  " });
    let inputs = node.inputs();
    let mut begin = at + 1 - node.count();
    for (index, input) in inputs.iter().enumerate() {
        begin += input.count();
        tree(lines, view, (input, begin - 1), (&indent, index + 1 == inputs.len()));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}

fn line(node: &Node) -> String {
    match node {
        Node::Table { table, schema, .. } => {
            let key: Vec<_> = table.key().to_vec();
            let key = match key.is_empty() {
                true => String::new(),
                false => format!(" key ({})", names(table.columns(), &key)),
            };
            let all: Vec<_> = (0..schema.fields().len()).collect();
            format!("table {} ({}){key}", table.name(), names(schema, &all))
        }
        Node::Filter { predicate, .. } => format!("filter {}", expression(predicate)),
        Node::Project { expressions, schema, .. } => {
            let column =
                |(expr, field): (&Arc<dyn PhysicalExpr>, &Arc<arrow::datatypes::Field>)| {
                    let (expr, name) = (expression(expr), shown(field.name()));
                    if expr == name { name } else { format!("{expr} as {name}") }
                };
            let columns = expressions.iter().zip(schema.fields()).map(column);
            format!("project {}", columns.collect::<Vec<_>>().join(", ")).trim_end().to_owned()
        }
        Node::Join { .. } => join(node),
        Node::Aggregate { input, group, aggregates, .. } => {
            let input = input.schema();
            let calls: Vec<_> = aggregates.iter().map(|one| call(&input, one)).collect();
            let group = match group.is_empty() {
                true => String::new(),
                false => format!(" group by {}", names(&input, group)),
            };
            format!("aggregate {}{group}", calls.join(", ")).replace("  ", " ")
        }
        Node::Distinct { .. } => "distinct".to_owned(),
        Node::TopK { .. } => top(node),
        Node::Constant { rows } => format!("constant {} rows", rows.num_rows()),
        Node::Unnest { input, lists, .. } => format!("unnest {}", names(&input.schema(), lists)),
        Node::SetOperation { operation, all, .. } => {
            let operation = match operation {
                SetOperation::Intersect => "intersect",
                SetOperation::Except => "except",
            };
            format!("{operation}{}", if *all { " all" } else { "" })
        }
        Node::Window { input, partition, order, calls, .. } => {
            window(&input.schema(), partition, order, calls)
        }
        Node::Single { input, key } if key.is_empty() => {
            format!("single row of {} columns", input.schema().fields().len())
        }
        Node::Single { input, key } => {
            format!("single row for each {}", names(&input.schema(), key))
        }
        Node::Union { .. } => "union all".to_owned(),
    }
}

fn join(node: &Node) -> String {
    let Node::Join { left, right, kind, on, nulls_equal, filter, .. } = node else {
        return String::new();
    };
    let kind = match kind {
        JoinKind::Inner if on.is_empty() && filter.is_none() => "cross join",
        JoinKind::Inner => "join",
        JoinKind::Left => "left join",
        JoinKind::Right => "right join",
        JoinKind::Full => "full join",
        JoinKind::Semi => "semi join",
        JoinKind::Anti => "anti join",
    };
    let (left, right) = (left.schema(), right.schema());
    let pair = |(l, r): &(usize, usize)| {
        let equal = if *nulls_equal { "is not distinct from" } else { "=" };
        format!("{} {equal} {}", shown(left.field(*l).name()), shown(right.field(*r).name()))
    };
    let mut conditions: Vec<_> = on.iter().map(pair).collect();
    conditions.extend(filter.iter().map(expression));
    match conditions.is_empty() {
        true => kind.to_owned(),
        false => format!("{kind} on {}", conditions.join(" and ")),
    }
}

fn top(node: &Node) -> String {
    let Node::TopK { input, partition, order: by, offset, limit } = node else {
        return String::new();
    };
    let mut text = String::from("top");
    if let Some(limit) = limit {
        push(&mut text, format_args!(" {limit}"));
    }
    if *offset > 0 {
        push(&mut text, format_args!(" behind {offset}"));
    }
    if !by.is_empty() {
        push(&mut text, format_args!(" by {}", order(&input.schema(), by)));
    }
    if !partition.is_empty() {
        push(&mut text, format_args!(" of each {}", names(&input.schema(), partition)));
    }
    text
}

fn call(input: &Schema, call: &AggregateCall) -> String {
    let function = aggregate_name(call.function);
    let distinct = if call.distinct { "distinct " } else { "" };
    let name = |column: usize| shown(input.field(column).name());
    let argument = call.argument.map_or_else(|| "*".to_owned(), name);
    let separator = call.separator.as_ref().map(|text| format!(", '{text}'"));
    let order = match call.order.is_empty() {
        true => String::new(),
        false => format!(" order by {}", order(input, &call.order)),
    };
    let filter = call.filter.map(|column| format!(" filter ({})", name(column)));
    let (separator, filter) = (separator.unwrap_or_default(), filter.unwrap_or_default());
    format!("{function}({distinct}{argument}{separator}{order}){filter}")
}

/// The function's name in SQL.
fn aggregate_name(function: AggregateFunction) -> &'static str {
    match function {
        AggregateFunction::Count => "count",
        AggregateFunction::Sum => "sum",
        AggregateFunction::Avg => "avg",
        AggregateFunction::Min => "min",
        AggregateFunction::Max => "max",
        AggregateFunction::BoolAnd => "bool_and",
        AggregateFunction::BoolOr => "bool_or",
        AggregateFunction::VariancePopulation => "var_pop",
        AggregateFunction::VarianceSample => "var_samp",
        AggregateFunction::DeviationPopulation => "stddev_pop",
        AggregateFunction::DeviationSample => "stddev_samp",
        AggregateFunction::StringAgg => "string_agg",
        AggregateFunction::ArrayAgg => "array_agg",
    }
}

fn window(input: &Schema, partition: &[usize], by: &[OrderKey], calls: &[WindowCall]) -> String {
    let calls: Vec<_> = calls.iter().map(|call| window_call(input, call)).collect();
    let mut text = format!("window {}", calls.join(", "));
    if !partition.is_empty() {
        push(&mut text, format_args!(" of each {}", names(input, partition)));
    }
    if !by.is_empty() {
        push(&mut text, format_args!(" by {}", order(input, by)));
    }
    text
}

fn window_call(input: &Schema, call: &WindowCall) -> String {
    let name = |column: usize| shown(input.field(column).name());
    let kept = |ignore_nulls: bool| if ignore_nulls { " ignore nulls" } else { "" };
    let text = match &call.function {
        WindowFunction::RowNumber => "row_number()".to_owned(),
        WindowFunction::Rank => "rank()".to_owned(),
        WindowFunction::DenseRank => "dense_rank()".to_owned(),
        WindowFunction::PercentRank => "percent_rank()".to_owned(),
        WindowFunction::CumeDist => "cume_dist()".to_owned(),
        WindowFunction::Ntile(buckets) => format!("ntile({buckets})"),
        WindowFunction::Lag { argument, offset, default, ignore_nulls } => {
            let (word, rows) = if *offset < 0 { ("lead", -offset) } else { ("lag", *offset) };
            format!("{word}({}, {rows}, {default}){}", name(*argument), kept(*ignore_nulls))
        }
        WindowFunction::FirstValue { argument, ignore_nulls } => {
            format!("first_value({}){}", name(*argument), kept(*ignore_nulls))
        }
        WindowFunction::LastValue { argument, ignore_nulls } => {
            format!("last_value({}){}", name(*argument), kept(*ignore_nulls))
        }
        WindowFunction::NthValue { argument, n, ignore_nulls } => {
            format!("nth_value({}, {n}){}", name(*argument), kept(*ignore_nulls))
        }
        WindowFunction::Aggregate { function, argument, separator } => {
            let argument = argument.map_or_else(|| "*".to_owned(), name);
            let separator = separator.as_ref().map(|text| format!(", '{text}'"));
            let separator = separator.unwrap_or_default();
            format!("{}({argument}{separator})", aggregate_name(*function))
        }
    };
    let filter = call.filter.map(|column| format!(" filter ({})", name(column)));
    let has_frame = matches!(
        call.function,
        WindowFunction::FirstValue { .. }
            | WindowFunction::LastValue { .. }
            | WindowFunction::NthValue { .. }
            | WindowFunction::Aggregate { .. }
    );
    let frame = if has_frame { format!(" {}", frame(&call.frame)) } else { String::new() };
    format!("{text}{}{frame}", filter.unwrap_or_default())
}

fn frame(frame: &Frame) -> String {
    let units = match frame.units {
        FrameUnits::Rows => "rows",
        FrameUnits::Range => "range",
        FrameUnits::Groups => "groups",
    };
    let bound = |bound: &FrameBound| match bound {
        FrameBound::UnboundedPreceding => "unbounded preceding".to_owned(),
        FrameBound::Preceding(by) => format!("{by} preceding"),
        FrameBound::CurrentRow => "current row".to_owned(),
        FrameBound::Following(by) => format!("{by} following"),
        FrameBound::UnboundedFollowing => "unbounded following".to_owned(),
    };
    format!("{units} between {} and {}", bound(&frame.start), bound(&frame.end))
}

fn order(schema: &Schema, keys: &[OrderKey]) -> String {
    let key = |key: &OrderKey| {
        let name = shown(schema.field(key.column).name());
        let direction = if key.options.descending { " desc" } else { "" };
        // As in PostgreSQL, NULLs are the greatest unless the query says otherwise.
        let nulls = match (key.options.descending, key.options.nulls_first) {
            (false, true) => " nulls first",
            (true, false) => " nulls last",
            _ => "",
        };
        format!("{name}{direction}{nulls}")
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

fn names(schema: &Schema, columns: &[usize]) -> String {
    let names = columns.iter().map(|&column| shown(schema.field(column).name()));
    names.collect::<Vec<_>>().join(", ")
}

/// A column's name; those that the planner invented are shown as such.
fn shown(name: &str) -> String {
    match name.strip_prefix('\0') {
        Some(invented) => format!("#{invented}"),
        None if name.contains('(') => without_windows(name),
        None => name.rsplit('.').next().unwrap_or(name).to_owned(),
    }
}

/// A name without what DataFusion writes into it of windows: their line says that.
fn without_windows(name: &str) -> String {
    const BEGINS: [&str; 5] =
        [" PARTITION BY [", " ORDER BY [", " ROWS BETWEEN ", " RANGE BETWEEN ", " GROUPS BETWEEN "];
    const ENDS: [&str; 3] = ["CURRENT ROW", "FOLLOWING", "PRECEDING"];
    let mut name = name.replace("__unnest_placeholder(", "unnest(");
    loop {
        let begin = BEGINS.iter().filter_map(|word| name.find(word)).min();
        let end = begin.and_then(|begin| {
            let frame = begin + name[begin..].find(" BETWEEN ")?;
            let last = frame + name[frame..].find(" AND ")?;
            let end = |word: &&str| Some(last + name[last..].find(*word)? + word.len());
            ENDS.iter().filter_map(end).min()
        });
        match (begin, end) {
            (Some(begin), Some(end)) => name.replace_range(begin..end, ""),
            _ => return name,
        }
    }
}

/// An expression without the positions that DataFusion writes behind columns.
fn expression(expr: &Arc<dyn PhysicalExpr>) -> String {
    let text = expr.to_string();
    let mut parts = text.split('@');
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits =
            part.len() - part.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        if digits == 0 {
            result.push('@');
        }
        result.push_str(&part[digits..]);
    }
    without_windows(&result.replace('\0', "#"))
}
