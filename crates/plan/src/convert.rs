//! DataFusion's optimised plan becomes a tree of maintained operators.
//!
//! Keys of joins, groups and orders become plain columns: where the plan has an expression, a projection below
//! computes it, and one above takes it away again. A node that has no maintained counterpart is refused.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the planner's enums grow with DataFusion; what is new is refused"
)]

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use change::logical_type;
use datafusion::common::{DFSchema, NullEquality, TableReference};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::AggregateFunction as AggregateExpr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Join, JoinType, Limit, LogicalPlan, SkipType, Sort,
    SortExpr, TableScan,
};
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::codes::{self, Code};
use crate::ir::{AggregateCall, AggregateFunction, JoinKind, Node, OrderKey};
use crate::logical;
use crate::problem::Problem;
use crate::tables::PlannedTable;

type Physical = Arc<dyn PhysicalExpr>;

/// A converted plan; the node's columns are the plan's, in order.
pub(crate) struct Converted {
    pub(crate) node: Node,
}

/// Why a plan cannot be maintained.
pub(crate) enum Refusal {
    /// A part of it has no maintained counterpart.
    Unsupported { code: Code, message: String, help: &'static str },
    /// DataFusion does not accept it.
    Planner(DataFusionError),
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        Self::Planner(error)
    }
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>, help: &'static str) -> Self {
        Self::Unsupported { code, message: message.into(), help }
    }

    /// The problem, at the query's place.
    pub(crate) fn problem(self, text: &str, place: &Range<usize>) -> Problem {
        match self {
            Self::Unsupported { code, message, help } => {
                Problem::new(code, place.clone(), message, "here").with_help(help)
            }
            Self::Planner(error) => logical::problem(&error, text, place),
        }
    }
}

/// Converts an optimised plan.
pub(crate) fn convert(plan: &LogicalPlan, state: &SessionState) -> Result<Converted, Refusal> {
    Ok(Converted { node: Converter { state }.node(plan)? })
}

struct Converter<'a> {
    state: &'a SessionState,
}

impl Converter<'_> {
    fn node(&self, plan: &LogicalPlan) -> Result<Node, Refusal> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::TableScan(scan) => self.table(scan),
            LogicalPlan::Filter(filter) => {
                let predicate = self.physical(&filter.predicate, filter.input.schema())?;
                Ok(Node::Filter { input: Box::new(self.node(&filter.input)?), predicate })
            }
            LogicalPlan::Projection(projection) => {
                let input = self.node(&projection.input)?;
                let from = projection.input.schema();
                let expressions = self.all_physical(&projection.expr, from)?;
                Ok(project(input, expressions, &nullable(&projection.schema)))
            }
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                Ok(Node::Distinct { input: Box::new(self.node(input)?) })
            }
            LogicalPlan::Sort(sort) => match sort.fetch {
                Some(limit) => self.top(&sort.input, &sort.expr, 0, Some(limit)),
                // Rows of a view have no order of their own; the view's shown order is kept apart.
                None => self.node(&sort.input),
            },
            LogicalPlan::Limit(limit) => {
                let (offset, count) = bounds(limit)?;
                self.limited(&limit.input, offset, count)
            }
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.node(input));
                let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
                let schema = nullable(&union.schema);
                let inputs = inputs.into_iter().map(|input| with_schema(input, &schema));
                Ok(Node::Union { inputs: inputs.collect(), schema: Arc::clone(&schema) })
            }
            other => Err(refused(other)),
        }
    }

    fn table(&self, scan: &TableScan) -> Result<Node, Refusal> {
        let planned = scan.source.downcast_ref::<PlannedTable>();
        let Some(table) = planned.and_then(|planned| planned.table.clone()) else {
            let what = format!("{} is not a table that can be followed", scan.table_name);
            return Err(Refusal::new(codes::PLANNER, what, "name a table of a source, or a view"));
        };
        let all = table.columns().fields().len();
        let wanted = scan.projection.clone().unwrap_or_else(|| (0..all).collect());
        let mut columns = wanted.clone();
        columns.sort_unstable();
        columns.dedup();
        if columns.is_empty() {
            // Rows that are only counted must still be read.
            columns.push(table.key().first().copied().unwrap_or_default());
        }
        let fields = columns.iter().map(|&column| table.columns().field(column).clone());
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mut node = Node::Table { table, columns: columns.clone(), schema };
        if columns != wanted && !wanted.is_empty() {
            let position = |column: &usize| columns.iter().position(|other| other == column);
            let positions = wanted.iter().filter_map(position).collect::<Vec<_>>();
            node = projected(node, &positions);
        }
        match conjunction(scan.filters.clone()) {
            Some(filter) => {
                let predicate = self.physical(&filter, &scan.projected_schema)?;
                Ok(Node::Filter { input: Box::new(node), predicate })
            }
            None => Ok(node),
        }
    }

    fn join(&self, join: &Join) -> Result<Node, Refusal> {
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            other => {
                let what =
                    format!("a {} join cannot be maintained yet", other.to_string().to_lowercase());
                return Err(Refusal::new(codes::JOIN, what, "write an inner or a left join"));
            }
        };
        if !join.on.is_empty() && join.null_equality != NullEquality::NullEqualsNothing {
            let help = "compare with `=`, and treat NULLs apart";
            return Err(Refusal::new(codes::JOIN, "a join on `is not distinct from`", help));
        }
        let (lefts, rights): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
        let mut left = self.with_columns(&join.left, lefts, "left")?.exact();
        let mut right = self.with_columns(&join.right, rights, "right")?.exact();
        let on = left.positions.iter().copied().zip(right.positions.iter().copied()).collect();
        let joined = left.schema.join(&right.schema)?;
        let filter =
            join.filter.as_ref().map(|filter| self.physical(filter, &joined)).transpose()?;
        let left_width = left.schema.fields().len();
        let kept = (0..left.width).chain((0..right.width).map(|column| left_width + column));
        let kept: Vec<usize> = kept.collect();
        let widened = left.is_widened() || right.is_widened();
        let (left, right) = (left.take(), right.take());
        let (left_schema, right_schema) = (left.schema(), right.schema());
        let fields = left_schema.fields().iter().chain(right_schema.fields()).cloned();
        let pairs = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let node = Node::Join {
            left: Box::new(left),
            right: Box::new(right),
            kind,
            on,
            nulls_equal: false,
            filter,
            schema: pairs,
        };
        Ok(if widened { projected(node, &kept) } else { node })
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Node, Refusal> {
        if aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) {
            let help = "group by each set in a query of its own, and unite them";
            return Err(Refusal::new(
                codes::CLAUSE,
                "grouping sets cannot be maintained yet",
                help,
            ));
        }
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
            placed.push((
                call.argument.as_ref().map(&mut place),
                call.filter.as_ref().map(&mut place),
            ));
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
            let argument = placed.0.map(|place| at[place]);
            check_argument(call.function, argument.map(|column| read.field(column).data_type()))?;
            fields.push(result_field(call.function, argument.map(|at| read.field(at)), field));
            aggregates.push(AggregateCall {
                function: call.function,
                argument,
                distinct: call.distinct,
                filter: placed.1.map(|place| at[place]),
                order: Vec::new(),
                separator: None,
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

    /// Puts a limit where the order is: below what keeps order and number of rows.
    fn limited(
        &self,
        input: &LogicalPlan,
        offset: usize,
        limit: Option<usize>,
    ) -> Result<Node, Refusal> {
        match input {
            LogicalPlan::SubqueryAlias(alias) => self.limited(&alias.input, offset, limit),
            LogicalPlan::Projection(projection) if has_order(&projection.input) => {
                let below = self.limited(&projection.input, offset, limit)?;
                let expressions = self.all_physical(&projection.expr, projection.input.schema())?;
                Ok(project(below, expressions, &nullable(&projection.schema)))
            }
            LogicalPlan::Sort(Sort { expr, input, fetch: None }) => {
                self.top(input, expr, offset, limit)
            }
            other => self.top(other, &[], offset, limit),
        }
    }

    fn top(
        &self,
        input: &LogicalPlan,
        order: &[SortExpr],
        offset: usize,
        limit: Option<usize>,
    ) -> Result<Node, Refusal> {
        let keys = order.iter().map(|key| key.expr.clone()).collect();
        let mut wide = self.with_columns(input, keys, "order")?;
        let key = |(sort, column): (&SortExpr, &usize)| OrderKey {
            column: *column,
            options: options(sort),
        };
        let order = order.iter().zip(&wide.positions).map(key).collect();
        let (widened, kept) = (wide.is_widened(), (0..wide.width).collect::<Vec<_>>());
        let node = Node::TopK {
            input: Box::new(wide.take()),
            partition: Vec::new(),
            order,
            offset,
            limit,
        };
        Ok(if widened { projected(node, &kept) } else { node })
    }

    /// Converts a plan so that the expressions are columns of it: its own, or computed ones behind
    /// them, which get names that no user can write.
    fn with_columns(
        &self,
        plan: &LogicalPlan,
        wanted: Vec<Expr>,
        side: &str,
    ) -> Result<Widened, Refusal> {
        let node = self.node(plan)?;
        let from = plan.schema();
        let width = from.fields().len();
        let (mut positions, mut computed) = (Vec::new(), Vec::new());
        for expression in wanted {
            positions.push(position(&expression, from).unwrap_or_else(|| {
                computed.push(expression);
                width + computed.len() - 1
            }));
        }
        if computed.is_empty() {
            return Ok(Widened {
                node: Some(node),
                schema: from.as_ref().clone(),
                width,
                positions,
            });
        }
        let mut expressions: Vec<Expr> = from.columns().into_iter().map(Expr::Column).collect();
        let mut fields: Vec<(Option<TableReference>, Arc<Field>)> =
            from.iter().map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
        for (index, expression) in computed.into_iter().enumerate() {
            let physical = self.physical(&expression, from)?;
            let data_type = physical.data_type(from.as_arrow())?;
            let field = Field::new(format!("\0{side}{index}"), data_type, true);
            fields.push((None, Arc::new(field)));
            expressions.push(expression);
        }
        let schema = DFSchema::new_with_metadata(fields, from.metadata().clone())?;
        let expressions = self.all_physical(&expressions, from)?;
        let node = project(node, expressions, &nullable(&schema));
        Ok(Widened { node: Some(node), schema, width, positions })
    }

    /// A projection that computes each expression.
    fn computed(&self, input: Node, wanted: &[Expr], from: &DFSchema) -> Result<Node, Refusal> {
        let expressions = self.all_physical(wanted, from)?;
        let mut fields = Vec::new();
        for (index, (expression, physical)) in wanted.iter().zip(&expressions).enumerate() {
            let data_type = physical.data_type(from.as_arrow())?;
            let column = position(expression, from);
            let name = column.map_or_else(
                || format!("\0key{index}"),
                |column| from.field(column).name().clone(),
            );
            let metadata =
                column.map(|column| from.field(column).metadata().clone()).unwrap_or_default();
            fields.push(Field::new(name, data_type, true).with_metadata(metadata));
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Node::Project { input: Box::new(input), expressions, schema })
    }

    fn physical(&self, expression: &Expr, from: &DFSchema) -> PlanResult<Physical> {
        let context = PhysicalPlanningContext::default();
        create_physical_expr(expression, from, self.state.execution_props(), &context)
    }

    fn all_physical(&self, expressions: &[Expr], from: &DFSchema) -> PlanResult<Vec<Physical>> {
        expressions.iter().map(|expression| self.physical(expression, from)).collect()
    }
}

/// A node with, behind its own columns, those that were computed for an operator above.
struct Widened {
    node: Option<Node>,
    schema: DFSchema,
    /// How many columns are its own.
    width: usize,
    /// Where the wanted expressions are.
    positions: Vec<usize>,
}

impl Widened {
    fn is_widened(&self) -> bool {
        self.schema.fields().len() > self.width
    }

    /// Takes away a column that was read only so that there are rows.
    fn exact(self) -> Self {
        let wanted = self.schema.fields().len();
        let all: Vec<usize> = (0..wanted).collect();
        let node = self.node.map(|node| match node.schema().fields().len() == wanted {
            true => node,
            false => projected(node, &all),
        });
        Self { node, ..self }
    }

    fn take(&mut self) -> Node {
        self.node.take().expect("a widened node is taken once")
    }
}

/// What an aggregate expression asks for.
struct Call {
    function: AggregateFunction,
    argument: Option<Expr>,
    distinct: bool,
    filter: Option<Expr>,
}

fn call_of(expression: &Expr) -> Result<Call, Refusal> {
    let bare = expression.clone().unalias_nested().data;
    let Expr::AggregateFunction(AggregateExpr { func, params }) = bare else {
        let what = format!("{expression} is not an aggregate that can be maintained");
        return Err(Refusal::new(codes::AGGREGATE, what, "use count, sum, avg, min or max"));
    };
    let function = match func.name() {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "avg" => AggregateFunction::Avg,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        other => {
            let what = format!("the aggregate {other} cannot be maintained yet");
            return Err(Refusal::new(codes::AGGREGATE, what, "use count, sum, avg, min or max"));
        }
    };
    if params.args.len() != 1 {
        let what = format!("{} over several values cannot be maintained yet", func.name());
        return Err(Refusal::new(codes::AGGREGATE, what, "aggregate one value"));
    }
    let argument = params.args.into_iter().next();
    // count(*) is planned as the count of a constant.
    let argument = argument.filter(|argument| {
        let constant = matches!(argument, Expr::Literal(value, _) if !value.is_null());
        !(function == AggregateFunction::Count && !params.distinct && constant)
    });
    let filter = params.filter.map(|filter| *filter);
    // The least and the greatest value are the same whether each value counts once or not.
    let extreme = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
    Ok(Call { function, argument, distinct: params.distinct && !extreme, filter })
}

fn check_argument(function: AggregateFunction, argument: Option<&DataType>) -> Result<(), Refusal> {
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
    let what = format!("sum, avg, min or max of {argument} cannot be maintained");
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

fn bounds(limit: &Limit) -> Result<(usize, Option<usize>), Refusal> {
    let refused = || Refusal::new(codes::LIMIT, "a limit is not a whole number", "write a number");
    let SkipType::Literal(offset) = limit.get_skip_type()? else { return Err(refused()) };
    let FetchType::Literal(count) = limit.get_fetch_type()? else { return Err(refused()) };
    Ok((offset, count))
}

fn refused(plan: &LogicalPlan) -> Refusal {
    match plan {
        LogicalPlan::Window(_) => Refusal::new(
            codes::WINDOW,
            "window functions cannot be maintained yet",
            "for the first rows of all, use `order by … limit`",
        ),
        LogicalPlan::Distinct(_) => Refusal::new(
            codes::CLAUSE,
            "distinct on cannot be maintained yet",
            "use `distinct`, or group by the columns and take min or max of the others",
        ),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Refusal::new(
            codes::NO_TABLE,
            "the query reads no table, so it would never change",
            "read from a table of a source",
        ),
        LogicalPlan::Subquery(_) => Refusal::new(
            codes::SUBQUERY,
            "a subquery inside an expression cannot be maintained yet",
            "write a join",
        ),
        other => {
            let what = format!("{} cannot be maintained yet", other.display());
            Refusal::new(codes::PLANNER, what, "write it with joins, filters and aggregates")
        }
    }
}

fn position(expression: &Expr, from: &DFSchema) -> Option<usize> {
    match expression {
        Expr::Column(column) => from.maybe_index_of_column(column),
        Expr::Alias(alias) => position(&alias.expr, from),
        _ => None,
    }
}

fn has_order(plan: &LogicalPlan) -> bool {
    crate::oracle::has_sort(plan)
}

fn options(sort: &SortExpr) -> SortOptions {
    SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first }
}

/// The schema with every column nullable: a view's rows may be read before their facts are known.
fn nullable(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A projection whose plain columns keep what is known of their types.
fn project(input: Node, expressions: Vec<Physical>, names: &SchemaRef) -> Node {
    let read = input.schema();
    let field = |(expression, named): (&Physical, &Arc<Field>)| {
        let field = Field::new(named.name(), named.data_type().clone(), true);
        match expression.downcast_ref::<ColumnExpr>() {
            Some(column) => field.with_metadata(read.field(column.index()).metadata().clone()),
            None => field,
        }
    };
    let fields: Vec<_> = expressions.iter().zip(names.fields()).map(field).collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let columns: Option<Vec<usize>> = expressions
        .iter()
        .map(|expression| expression.downcast_ref::<ColumnExpr>().map(ColumnExpr::index))
        .collect();
    let Some(columns) = columns else {
        return Node::Project { input: Box::new(input), expressions, schema };
    };
    let unchanged = columns.iter().copied().eq(0..read.fields().len());
    match input {
        input if unchanged && schema == read => input,
        // Columns of a projection are one projection.
        Node::Project { input, expressions: below, .. } => {
            let expressions = columns.iter().map(|&column| Arc::clone(&below[column])).collect();
            Node::Project { input, expressions, schema }
        }
        input @ (Node::Aggregate { .. } | Node::Join { .. } | Node::Union { .. }) if unchanged => {
            with_schema(input, &schema)
        }
        input => Node::Project { input: Box::new(input), expressions, schema },
    }
}

/// The node's columns at the given positions.
fn projected(node: Node, positions: &[usize]) -> Node {
    let schema = node.schema();
    let column =
        |&at: &usize| -> Physical { Arc::new(ColumnExpr::new(schema.field(at).name(), at)) };
    let expressions = positions.iter().map(column).collect();
    let fields = positions.iter().map(|&at| schema.field(at).clone()).collect::<Vec<_>>();
    project(node, expressions, &Arc::new(Schema::new(fields)))
}

/// The same node with other names for its columns.
pub(crate) fn with_schema(node: Node, schema: &SchemaRef) -> Node {
    let schema = Arc::clone(schema);
    match node {
        Node::Table { table, columns, .. } => Node::Table { table, columns, schema },
        Node::Filter { input, predicate } => {
            Node::Filter { input: Box::new(with_schema(*input, &schema)), predicate }
        }
        Node::Project { input, expressions, .. } => Node::Project { input, expressions, schema },
        Node::Unnest { input, lists, .. } => Node::Unnest { input, lists, schema },
        Node::Constant { rows } => Node::Constant { rows: renamed(&rows, &schema) },
        Node::Join { left, right, kind, on, nulls_equal, filter, .. } => {
            Node::Join { left, right, kind, on, nulls_equal, filter, schema }
        }
        Node::SetOperation { left, right, operation, all, .. } => {
            Node::SetOperation { left, right, operation, all, schema }
        }
        Node::Window { input, partition, order, calls, .. } => {
            Node::Window { input, partition, order, calls, schema }
        }
        Node::Single { input, key } => {
            Node::Single { input: Box::new(with_schema(*input, &schema)), key }
        }
        Node::Aggregate { input, group, aggregates, .. } => {
            Node::Aggregate { input, group, aggregates, schema }
        }
        Node::Distinct { input } => {
            Node::Distinct { input: Box::new(with_schema(*input, &schema)) }
        }
        Node::TopK { input, partition, order, offset, limit } => {
            let input = Box::new(with_schema(*input, &schema));
            Node::TopK { input, partition, order, offset, limit }
        }
        Node::Union { inputs, .. } => {
            let inputs = inputs.into_iter().map(|input| with_schema(input, &schema)).collect();
            Node::Union { inputs, schema }
        }
    }
}

fn renamed(rows: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), rows.columns().to_vec(), &options)
        .expect("only the names of columns differ")
}

/// The order in which the plan's rows are shown, in its own columns.
///
/// A limited result whose order is not by its own columns is shown in no order; without a limit that order would be
/// all that the user asked for, so it is refused.
pub(crate) fn output_order(plan: &LogicalPlan) -> Result<Vec<OrderKey>, Refusal> {
    match order_of(plan) {
        Order::Shown(keys) => Ok(keys),
        Order::Hidden if is_limited(plan) => Ok(Vec::new()),
        Order::Hidden => Err(Refusal::new(
            codes::ORDER,
            "the order is not by columns of the result",
            "add the value that you order by to the result",
        )),
    }
}

enum Order {
    Shown(Vec<OrderKey>),
    Hidden,
}

fn order_of(plan: &LogicalPlan) -> Order {
    match plan {
        LogicalPlan::Sort(sort) => {
            let key = |sort_key: &SortExpr| {
                let column = position(&sort_key.expr, sort.input.schema())?;
                Some(OrderKey { column, options: options(sort_key) })
            };
            sort.expr.iter().map(key).collect::<Option<_>>().map_or(Order::Hidden, Order::Shown)
        }
        LogicalPlan::Projection(projection) => {
            let Order::Shown(keys) = order_of(&projection.input) else { return Order::Hidden };
            let from = projection.input.schema();
            let moved = |key: OrderKey| {
                let at = |expression: &Expr| position(expression, from) == Some(key.column);
                let column = projection.expr.iter().position(at)?;
                Some(OrderKey { column, ..key })
            };
            keys.into_iter().map(moved).collect::<Option<_>>().map_or(Order::Hidden, Order::Shown)
        }
        LogicalPlan::SubqueryAlias(alias) => order_of(&alias.input),
        LogicalPlan::Limit(limit) => order_of(&limit.input),
        _ => Order::Shown(Vec::new()),
    }
}

fn is_limited(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Projection(projection) => is_limited(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_limited(&alias.input),
        _ => false,
    }
}
