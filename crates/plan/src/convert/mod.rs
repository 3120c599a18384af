//! DataFusion's optimised plan becomes a tree of maintained operators.
//!
//! Keys of joins, groups and orders become plain columns: where the plan has an expression, a projection below
//! computes it, and one above takes it away again. A node that has no maintained counterpart is refused.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the planner's enums grow with DataFusion; what is new is refused"
)]

mod aggregate;
mod order;
mod window;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, NullEquality, ScalarValue, TableReference};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Distinct, EmptyRelation, Expr, FetchType, Filter, Join, JoinType, Limit, LogicalPlan, SkipType,
    Sort, SortExpr, TableScan, Unnest, UserDefinedLogicalNodeCore, Values,
};
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::codes::{self, Code};
use crate::ir::{JoinKind, Node, OrderKey, Place};
use crate::keys::{Key, keys};
use crate::logical;
use crate::nodes::{Own, OwnKind};
use crate::overflow::checked;
use crate::place::Finder;
use crate::problem::Problem;
use crate::tables::PlannedTable;

pub(crate) use order::output_order;

type Physical = Arc<dyn PhysicalExpr>;

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

/// Converts an optimised plan; the node's columns are the plan's, in order. Also says where each node comes from.
pub(crate) fn convert(
    plan: &LogicalPlan,
    state: &SessionState,
    finder: Finder<'_>,
) -> Result<(Node, Vec<Option<Place>>), Refusal> {
    let converter = Converter { state, finder };
    let node = converter.node(plan)?;
    let places = converter.finder.places(&node);
    Ok((node, places))
}

struct Converter<'a> {
    state: &'a SessionState,
    finder: Finder<'a>,
}

impl Converter<'_> {
    fn node(&self, plan: &LogicalPlan) -> Result<Node, Refusal> {
        self.placed(plan, |plan| self.converted(plan))
    }

    /// Converts a plan, and notes where the nodes come from that are put above those of its inputs.
    fn placed(
        &self,
        plan: &LogicalPlan,
        converted: impl FnOnce(&LogicalPlan) -> Result<Node, Refusal>,
    ) -> Result<Node, Refusal> {
        let begin = self.finder.begin();
        let node = converted(plan)?;
        self.finder.settle(begin, &node, Some(plan));
        Ok(node)
    }

    fn converted(&self, plan: &LogicalPlan) -> Result<Node, Refusal> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => {
                let before = self.finder.named(Some(alias.alias.table().to_owned()));
                let node = self.node(&alias.input);
                self.finder.named(before);
                node
            }
            LogicalPlan::TableScan(scan) => self.table(scan),
            LogicalPlan::Filter(filter) => {
                let predicate = self.physical(&filter.predicate, filter.input.schema())?;
                Ok(Node::Filter { input: Box::new(self.filtered(filter)?), predicate })
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
                Some(limit) => self.top(&sort.input, &[], &sort.expr, (0, Some(limit))),
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
            LogicalPlan::Window(over) => self.window(over, None),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::EmptyRelation(empty) => Ok(self.empty(empty)?),
            LogicalPlan::Extension(extension) => match Own::of(extension) {
                Some(own) => self.own(own),
                None => Err(refused(plan)),
            },
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
            JoinType::Right => JoinKind::Right,
            JoinType::Full => JoinKind::Full,
            JoinType::LeftSemi => JoinKind::Semi,
            JoinType::LeftAnti => JoinKind::Anti,
            other => {
                let what =
                    format!("a {} join cannot be maintained yet", other.to_string().to_lowercase());
                return Err(Refusal::new(codes::JOIN, what, "write an inner or a left join"));
            }
        };
        let (lefts, rights): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
        let mut left = self.side(&join.left, lefts, "left")?;
        let mut right = self.side(&join.right, rights, "right")?;
        let on = left.positions.iter().copied().zip(right.positions.iter().copied()).collect();
        let joined = left.schema.join(&right.schema)?;
        let is_true =
            |filter: &&Expr| matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
        let filter = join.filter.as_ref().filter(|filter| !is_true(filter));
        let filter = filter.map(|filter| self.physical(filter, &joined)).transpose()?;
        let left_width = left.schema.fields().len();
        let shows_right = !matches!(kind, JoinKind::Semi | JoinKind::Anti);
        let mut kept: Vec<usize> = (0..left.width).collect();
        let mut widened = left.is_widened();
        if shows_right {
            kept.extend((0..right.width).map(|column| left_width + column));
            widened |= right.is_widened();
        }
        let (left, right) = (left.take(), right.take());
        let mut fields: Vec<_> = left.schema().fields().iter().cloned().collect();
        if shows_right {
            fields.extend(right.schema().fields().iter().cloned());
        }
        let pairs = Arc::new(Schema::new(fields));
        let node = Node::Join {
            left: Box::new(left),
            right: Box::new(right),
            kind,
            on,
            nulls_equal: join.null_equality == NullEquality::NullEqualsNull,
            filter,
            schema: pairs,
        };
        Ok(if widened { projected(node, &kept) } else { node })
    }

    /// Converts a side of a join, with the columns of its keys.
    fn side(&self, plan: &LogicalPlan, keys: Vec<Expr>, side: &str) -> Result<Widened, Refusal> {
        let begin = self.finder.begin();
        let wide = self.with_columns(plan, keys, side)?.exact();
        if let Some(node) = &wide.node {
            self.finder.settle(begin, node, None);
        }
        Ok(wide)
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
                self.top(input, &[], expr, (offset, limit))
            }
            other => self.top(other, &[], &[], (offset, limit)),
        }
    }

    /// The rows `[offset, offset + limit)` of each partition.
    fn top(
        &self,
        input: &LogicalPlan,
        partition: &[Expr],
        order: &[SortExpr],
        bounds: (usize, Option<usize>),
    ) -> Result<Node, Refusal> {
        // What tells partitions apart is the same for all rows of one.
        let order: Vec<SortExpr> =
            order.iter().filter(|key| !partition.contains(&key.expr)).cloned().collect();
        let keys = order.iter().map(|key| key.expr.clone());
        let keys = partition.iter().cloned().chain(keys).collect();
        let mut wide = self.with_columns(input, keys, "order")?;
        let (partition, places) = wide.positions.split_at(partition.len());
        let (partition, order) = (partition.to_vec(), order_keys(&order, places));
        let (widened, kept) = (wide.is_widened(), (0..wide.width).collect::<Vec<_>>());
        let (offset, limit) = bounds;
        let node = Node::TopK { input: Box::new(wide.take()), partition, order, offset, limit };
        Ok(if widened { projected(node, &kept) } else { node })
    }

    /// A node of ours.
    fn own(&self, own: &Own) -> Result<Node, Refusal> {
        let schema = nullable(own.schema());
        match (&own.kind, own.inputs.as_slice()) {
            (OwnKind::Set { operation, all }, [left, right]) => {
                let left = Box::new(with_schema(self.node(left)?, &schema));
                let right = Box::new(with_schema(self.node(right)?, &schema));
                let (operation, all) = (*operation, *all);
                Ok(Node::SetOperation { left, right, operation, all, schema })
            }
            (OwnKind::Single { key }, [input]) => {
                let mut wide = self.with_columns(input, key.clone(), "key")?;
                let key: Vec<usize> = wide.positions.clone();
                let node = wide.take();
                let is_known = |known: &Key| known.iter().all(|column| key.contains(column));
                Ok(match keys(&node).iter().any(is_known) {
                    true => node,
                    false => Node::Single { input: Box::new(node), key },
                })
            }
            (OwnKind::Top { partition, order, offset, limit }, [input]) => {
                self.top(input, partition, order, (*offset, *limit))
            }
            (OwnKind::Set { .. } | OwnKind::Single { .. } | OwnKind::Top { .. }, _) => {
                let what = "an operator has another number of inputs than it takes";
                Err(Refusal::new(codes::PLANNER, what, "report this query"))
            }
        }
    }

    fn unnest(&self, unnest: &Unnest) -> Result<Node, Refusal> {
        let deep = unnest.list_type_columns.iter().any(|(_, list)| list.depth != 1);
        if deep || !unnest.struct_type_columns.is_empty() {
            let what = "lists of lists and records cannot be unnested at once";
            return Err(Refusal::new(codes::CLAUSE, what, "unnest one level in a subquery"));
        }
        let input = Box::new(self.node(&unnest.input)?);
        let mut lists: Vec<_> = unnest.list_type_columns.iter().map(|(at, _)| *at).collect();
        lists.sort_unstable();
        lists.dedup();
        Ok(Node::Unnest { input, lists, schema: nullable(&unnest.schema) })
    }

    /// The rows of VALUES.
    fn values(&self, values: &Values) -> Result<Node, Refusal> {
        let schema = nullable(&values.schema);
        let one = one_row();
        let none = DFSchema::empty();
        let mut columns = vec![Vec::new(); schema.fields().len()];
        for row in &values.values {
            for ((column, value), field) in columns.iter_mut().zip(row).zip(schema.fields()) {
                let value = self.physical(value, &none)?.evaluate(&one)?.into_array(1)?;
                let value = ScalarValue::try_from_array(&value, 0)?;
                column.push(value.cast_to(field.data_type())?);
            }
        }
        let columns = columns.into_iter().zip(schema.fields());
        let arrays = columns.map(|(values, field)| match values.is_empty() {
            true => Ok(arrow::array::new_empty_array(field.data_type())),
            false => ScalarValue::iter_to_array(values),
        });
        let arrays = arrays.collect::<PlanResult<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(values.values.len()));
        let rows = RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(DataFusionError::from)?;
        Ok(Node::Constant { rows })
    }

    #[expect(clippy::unused_self, reason = "reads as the other nodes")]
    fn empty(&self, empty: &EmptyRelation) -> PlanResult<Node> {
        if empty.produce_one_row {
            return Ok(Node::Constant { rows: one_row() });
        }
        Ok(Node::Constant { rows: RecordBatch::new_empty(nullable(&empty.schema)) })
    }

    /// What a filter filters: of a window, only the first rows of each partition where the filter asks for no more.
    fn filtered(&self, filter: &Filter) -> Result<Node, Refusal> {
        match filter.input.as_ref() {
            LogicalPlan::Window(over) => self.placed(&filter.input, |_| {
                self.window(over, window::first_rows(&filter.predicate, over))
            }),
            LogicalPlan::Projection(projection)
                if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
            {
                let LogicalPlan::Window(over) = projection.input.as_ref() else {
                    return self.node(&filter.input);
                };
                let first = window::first_rows(&filter.predicate, over);
                let node = self.placed(&projection.input, |_| self.window(over, first))?;
                let expressions = self.all_physical(&projection.expr, &over.schema)?;
                Ok(project(node, expressions, &nullable(&projection.schema)))
            }
            other => self.node(other),
        }
    }

    /// Converts a plan so that the expressions are columns of it: its own, or computed ones behind
    /// them, which get names that no user can write.
    fn with_columns(
        &self,
        plan: &LogicalPlan,
        wanted: Vec<Expr>,
        side: &str,
    ) -> Result<Widened, Refusal> {
        let begin = self.finder.begin();
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
        // It is there for the operator above, and has its place.
        self.finder.settle(begin, &node, None);
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
        let properties = self.state.execution_props();
        checked(create_physical_expr(expression, from, properties, &context)?)
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

fn bounds(limit: &Limit) -> Result<(usize, Option<usize>), Refusal> {
    let refused = || Refusal::new(codes::LIMIT, "a limit is not a whole number", "write a number");
    let SkipType::Literal(offset) = limit.get_skip_type()? else { return Err(refused()) };
    let FetchType::Literal(count) = limit.get_fetch_type()? else { return Err(refused()) };
    Ok((offset, count))
}

fn refused(plan: &LogicalPlan) -> Refusal {
    match plan {
        LogicalPlan::Subquery(_) => {
            Refusal::new(codes::SUBQUERY, "this subquery cannot be maintained yet", "write a join")
        }
        other => {
            let what = format!("{} cannot be maintained yet", other.display());
            Refusal::new(codes::PLANNER, what, "write it with joins, filters and aggregates")
        }
    }
}

/// A row without columns.
fn one_row() -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .expect("no columns fit no columns")
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

/// The columns of an order, given where its expressions are.
fn order_keys(order: &[SortExpr], places: &[usize]) -> Vec<OrderKey> {
    let key = |(sort, &column): (&SortExpr, &usize)| OrderKey { column, options: options(sort) };
    order.iter().zip(places).map(key).collect()
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
    if let Node::Constant { rows } = &input
        && let Ok(rows) = computed_rows(rows, &expressions, &schema)
    {
        return Node::Constant { rows };
    }
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
        input @ (Node::Aggregate { .. }
        | Node::Join { .. }
        | Node::SetOperation { .. }
        | Node::Unnest { .. }
        | Node::Window { .. }
        | Node::Union { .. })
            if unchanged =>
        {
            with_schema(input, &schema)
        }
        input => Node::Project { input: Box::new(input), expressions, schema },
    }
}

/// Constant rows with other columns; an expression that fails is left to fail where the view runs.
fn computed_rows(
    rows: &RecordBatch,
    expressions: &[Physical],
    schema: &SchemaRef,
) -> PlanResult<RecordBatch> {
    let arrays = expressions
        .iter()
        .map(|expression| expression.evaluate(rows)?.into_array(rows.num_rows()))
        .collect::<PlanResult<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
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
