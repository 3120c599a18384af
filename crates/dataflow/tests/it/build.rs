//! Plans by hand, each with the SQL that means the same.

use std::sync::{Arc, LazyLock};

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use change::TableSchema;
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use plan::ir::{
    AggregateCall, AggregateFunction, JoinKind, Node, OrderKey, SetOperation, ViewPlan,
};

use crate::windows::random_window;
use crate::world::Random;

/// A plan and its SQL.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) node: Node,
    pub(crate) sql: String,
}

pub(crate) fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1))
}

fn expression(text: &str, schema: &SchemaRef) -> Arc<dyn PhysicalExpr> {
    static CONTEXT: LazyLock<SessionContext> = LazyLock::new(context);
    let schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
    let logical = CONTEXT.parse_sql_expr(text, &schema).unwrap();
    CONTEXT.create_physical_expr(logical, &schema).unwrap()
}

/// An aggregate: function, column, distinct, filter column.
pub(crate) type Call = (AggregateFunction, Option<usize>, bool, Option<usize>);

impl Query {
    pub(crate) fn table(table: &Arc<TableSchema>, columns: &[usize]) -> Self {
        let schema = Arc::new(table.columns().project(columns).unwrap());
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let sql = format!("select {} from {}", names.join(", "), table.name().table);
        let node = Node::Table { table: Arc::clone(table), columns: columns.to_vec(), schema };
        Self { node, sql }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.node.schema()
    }

    pub(crate) fn name(&self, column: usize) -> String {
        self.schema().field(column).name().clone()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    pub(crate) fn filter(self, condition: &str) -> Self {
        let sql = format!("select * from ({}) as q where {condition}", self.sql);
        let predicate = expression(condition, &self.schema());
        Self { node: Node::Filter { input: Box::new(self.node), predicate }, sql }
    }

    pub(crate) fn project(self, columns: &[(&str, &str)]) -> Self {
        let input = self.schema();
        let expressions: Vec<_> =
            columns.iter().map(|(text, _)| expression(text, &input)).collect();
        let fields = expressions.iter().zip(columns).map(|(expression, (_, name))| {
            Field::new(*name, expression.data_type(&input).unwrap(), true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let list: Vec<String> =
            columns.iter().map(|(text, name)| format!("{text} as {name}")).collect();
        let sql = format!("select {} from ({}) as q", list.join(", "), self.sql);
        Self { node: Node::Project { input: Box::new(self.node), expressions, schema }, sql }
    }

    /// Joins on pairs of columns; `condition` compares a left column with a right one.
    pub(crate) fn join(
        self,
        right: Self,
        kind: JoinKind,
        on: &[(usize, usize)],
        condition: Option<(usize, &str, usize)>,
    ) -> Self {
        let (left_fields, right_fields) = (self.schema(), right.schema());
        let mut fields = Vec::new();
        let mut list = Vec::new();
        let is_shown = |side| side == "l" || !matches!(kind, JoinKind::Semi | JoinKind::Anti);
        for (side, schema) in [("l", &left_fields), ("r", &right_fields)] {
            for field in schema.fields() {
                let name = format!("{side}_{}", field.name());
                if is_shown(side) {
                    list.push(format!("{side}.{} as {name}", field.name()));
                }
                fields.push(Field::new(name, field.data_type().clone(), true));
            }
        }
        let shown = fields[..list.len()].to_vec();
        let schema = Arc::new(Schema::new(fields));
        let mut conditions: Vec<String> =
            on.iter().map(|&(l, r)| format!("l.{} = r.{}", self.name(l), right.name(r))).collect();
        let filter = condition.map(|(l, operator, r)| {
            let (l, r) = (self.name(l), right.name(r));
            conditions.push(format!("l.{l} {operator} r.{r}"));
            expression(&format!("l_{l} {operator} r_{r}"), &schema)
        });
        if conditions.is_empty() {
            conditions.push("true".into());
        }
        let (list, conditions) = (list.join(", "), conditions.join(" and "));
        let (left, right_sql) = (&self.sql, &right.sql);
        let word = match kind {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
            JoinKind::Right => "right",
            JoinKind::Full => "full",
            JoinKind::Semi => "exists",
            JoinKind::Anti => "not exists",
        };
        let sql = match kind {
            JoinKind::Semi | JoinKind::Anti => format!(
                "select {list} from ({left}) as l where {word} \
                 (select 1 from ({right_sql}) as r where {conditions})"
            ),
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => format!(
                "select {list} from ({left}) as l {word} join ({right_sql}) as r on {conditions}"
            ),
        };
        let schema = Arc::new(Schema::new(shown));
        let (left, right) = (Box::new(self.node), Box::new(right.node));
        Self {
            node: Node::Join {
                left,
                right,
                kind,
                on: on.to_vec(),
                nulls_equal: false,
                filter,
                schema,
            },
            sql,
        }
    }

    pub(crate) fn aggregate(self, group: &[usize], calls: &[Call]) -> Self {
        let input = self.schema();
        let mut fields: Vec<Field> =
            group.iter().map(|&column| input.field(column).clone()).collect();
        let mut list: Vec<String> = group.iter().map(|&column| self.name(column)).collect();
        let mut aggregates = Vec::new();
        // Names that no column of the input has.
        let mut prefix = "a".to_owned();
        while self.all().iter().any(|name| name.contains(&format!("{prefix}0"))) {
            prefix.push('a');
        }
        for (at, &(function, argument, distinct, filter)) in calls.iter().enumerate() {
            let output = output(function, argument.map(|column| input.field(column).data_type()));
            fields.push(Field::new(format!("{prefix}{at}"), output.clone(), true));
            let argument_text = argument.map_or("*".into(), |column| self.name(column));
            let word = if distinct { "distinct " } else { "" };
            let name = sql_name(function);
            let filter_text =
                filter.map_or(String::new(), |f| format!(" filter (where {})", self.name(f)));
            let is_text = function == AggregateFunction::StringAgg;
            let is_list = is_text || function == AggregateFunction::ArrayAgg;
            let separator = if is_text { ", '-'" } else { "" };
            let order_text = if is_list {
                format!(" order by {argument_text} desc nulls last")
            } else {
                String::new()
            };
            list.push(format!(
                "{name}({word}{argument_text}{separator}{order_text}){filter_text} as {prefix}{at}"
            ));
            let options = SortOptions { descending: true, nulls_first: false };
            let keys = argument.filter(|_| is_list).map(|column| OrderKey { column, options });
            aggregates.push(AggregateCall {
                function,
                argument,
                distinct,
                filter,
                order: keys.into_iter().collect(),
                separator: is_text.then(|| "-".into()),
                output,
            });
        }
        let names: Vec<String> = group.iter().map(|&column| self.name(column)).collect();
        let by = if group.is_empty() {
            String::new()
        } else {
            format!(" group by {}", names.join(", "))
        };
        let sql = format!("select {} from ({}) as q{by}", list.join(", "), self.sql);
        let schema = Arc::new(Schema::new(fields));
        let input = Box::new(self.node);
        Self { node: Node::Aggregate { input, group: group.to_vec(), aggregates, schema }, sql }
    }

    pub(crate) fn distinct(self) -> Self {
        let sql = format!("select distinct {} from ({}) as q", self.all().join(", "), self.sql);
        Self { node: Node::Distinct { input: Box::new(self.node) }, sql }
    }

    /// `order` holds a column, whether it descends, and whether NULLs come first.
    pub(crate) fn top(
        self,
        order: &[(usize, bool, bool)],
        offset: usize,
        limit: Option<usize>,
    ) -> Self {
        let keys = self.keys(order);
        // Without a limit DataFusion forgets the order below an offset.
        let limit_text = format!(" limit {}", limit.unwrap_or(1_000_000));
        let sql = format!(
            "select * from ({}) as q order by {}{limit_text} offset {offset}",
            self.sql,
            keys.join(", ")
        );
        let order = order
            .iter()
            .map(|&(column, descending, nulls_first)| OrderKey {
                column,
                options: SortOptions { descending, nulls_first },
            })
            .collect();
        Self {
            node: Node::TopK {
                input: Box::new(self.node),
                partition: Vec::new(),
                order,
                offset,
                limit,
            },
            sql,
        }
    }

    /// The rows at places of each partition; `order` as for [`top`](Self::top).
    pub(crate) fn top_of_each(
        self,
        partition: &[usize],
        order: &[(usize, bool, bool)],
        offset: usize,
        limit: Option<usize>,
    ) -> Self {
        let keys = self.keys(order);
        let by: Vec<String> = partition.iter().map(|&column| self.name(column)).collect();
        let last = offset + limit.unwrap_or(1_000_000);
        let sql = format!(
            "select {} from (select *, row_number() over (partition by {} order by {}) as rn_ \
             from ({}) as q) as p where rn_ > {offset} and rn_ <= {last}",
            self.all().join(", "),
            by.join(", "),
            keys.join(", "),
            self.sql,
        );
        let Node::TopK { input, order, .. } = self.top(order, offset, limit).node else {
            panic!("a top-k")
        };
        Self {
            node: Node::TopK { input, partition: partition.to_vec(), order, offset, limit },
            sql,
        }
    }

    /// The order keys as text, then all columns.
    pub(crate) fn keys(&self, order: &[(usize, bool, bool)]) -> Vec<String> {
        let key = |name: String, descending: bool, nulls_first: bool| {
            let direction = if descending { "desc" } else { "asc" };
            let nulls = if nulls_first { "first" } else { "last" };
            format!("{name} {direction} nulls {nulls}")
        };
        let named = order.iter().map(|&(column, desc, first)| key(self.name(column), desc, first));
        named.chain(self.all().into_iter().map(|name| key(name, false, true))).collect()
    }

    /// A set operation. DataFusion's INTERSECT ALL and EXCEPT ALL do not count, so equal rows are numbered.
    pub(crate) fn set(self, right: Self, operation: SetOperation, all: bool) -> Self {
        let word = if operation == SetOperation::Intersect { "intersect" } else { "except" };
        let names = self.all().join(", ");
        let side = |query: &Self| {
            let columns = query.all();
            let list = columns.join(", ");
            let number = format!("row_number() over (partition by {list} order by {})", columns[0]);
            let number = if all { number } else { "1".into() };
            format!("select {list}, {number} as rn_ from ({}) as q", query.sql)
        };
        let (left_sql, right_sql) = (side(&self), side(&right));
        let sql = format!("select {names} from ({left_sql} {word} {right_sql}) as s");
        let schema = self.schema();
        let (left, right) = (Box::new(self.node), Box::new(right.node));
        Self { node: Node::SetOperation { left, right, operation, all, schema }, sql }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        let sql = format!(
            "select * from ({}) as q union all select * from ({}) as p",
            self.sql, other.sql
        );
        let schema = self.schema();
        Self { node: Node::Union { inputs: vec![self.node, other.node], schema }, sql }
    }

    pub(crate) fn view(self) -> ViewPlan {
        ViewPlan {
            name: "v".into(),
            schema: self.schema(),
            key: vec![],
            order: vec![],
            root: self.node,
            statement: String::new(),
            places: Vec::new(),
        }
    }
}

pub(crate) fn sql_name(function: AggregateFunction) -> String {
    let name = match function {
        AggregateFunction::BoolAnd => "bool_and",
        AggregateFunction::BoolOr => "bool_or",
        AggregateFunction::VariancePopulation => "var_pop",
        AggregateFunction::VarianceSample => "var_samp",
        AggregateFunction::DeviationPopulation => "stddev_pop",
        AggregateFunction::DeviationSample => "stddev_samp",
        AggregateFunction::StringAgg => "string_agg",
        AggregateFunction::ArrayAgg => "array_agg",
        other => return format!("{other:?}").to_lowercase(),
    };
    name.into()
}

/// DataFusion's type of an aggregate.
pub(crate) fn output(function: AggregateFunction, argument: Option<&DataType>) -> DataType {
    match (function, argument) {
        (AggregateFunction::Count, _) => DataType::Int64,
        (AggregateFunction::Sum, Some(DataType::Decimal128(p, s))) => {
            DataType::Decimal128((p + 10).min(38), *s)
        }
        (AggregateFunction::Avg, Some(DataType::Decimal128(p, s))) => {
            DataType::Decimal128((p + 4).min(38), s + 4)
        }
        (AggregateFunction::Sum, Some(DataType::Int32)) => DataType::Int64,
        (AggregateFunction::StringAgg, _) => DataType::Utf8,
        (AggregateFunction::ArrayAgg, Some(argument)) => {
            DataType::List(Arc::new(Field::new_list_field(argument.clone(), true)))
        }
        (
            AggregateFunction::Avg
            | AggregateFunction::VariancePopulation
            | AggregateFunction::VarianceSample
            | AggregateFunction::DeviationPopulation
            | AggregateFunction::DeviationSample,
            _,
        ) => DataType::Float64,
        (_, argument) => argument.unwrap().clone(),
    }
}

pub(crate) fn columns_of(schema: &SchemaRef, is: impl Fn(&DataType) -> bool) -> Vec<usize> {
    (0..schema.fields().len()).filter(|&at| is(schema.field(at).data_type())).collect()
}

/// A random query over the tables.
pub(crate) fn random_query(random: &mut Random, tables: &[Arc<TableSchema>]) -> Query {
    let mut query = random_source(random, tables, 2);
    for _ in 0..1 + random.below(3) {
        query = random_step(random, query);
    }
    query
}

fn random_source(random: &mut Random, tables: &[Arc<TableSchema>], joins: usize) -> Query {
    let table = random.pick(tables);
    let width = table.columns().fields().len();
    let mut columns: Vec<usize> = (0..width).filter(|_| !random.one_in(3)).collect();
    if columns.is_empty() {
        columns = vec![width - 1, 0][..1].to_vec();
    }
    let mut query = Query::table(table, &columns);
    if random.one_in(3) {
        query = random_filter(random, query);
    }
    if joins == 0 || random.one_in(2) {
        return query;
    }
    random_join(random, query, tables, joins - 1)
}

fn random_join(
    random: &mut Random,
    left: Query,
    tables: &[Arc<TableSchema>],
    joins: usize,
) -> Query {
    let right = random_source(random, tables, joins);
    let (ls, rs) = (left.schema(), right.schema());
    let mut pairs = Vec::new();
    for l in 0..ls.fields().len() {
        for r in 0..rs.fields().len() {
            let data_type = ls.field(l).data_type();
            // Zeros of floats: SQL's join says equal, DataFusion's not; see the table test.
            if data_type == rs.field(r).data_type() && data_type != &DataType::Float64 {
                pairs.push((l, r));
            }
        }
    }
    if pairs.is_empty() {
        return left;
    }
    let kind = *random.pick(&[
        JoinKind::Inner,
        JoinKind::Inner,
        JoinKind::Left,
        JoinKind::Right,
        JoinKind::Full,
        JoinKind::Semi,
        JoinKind::Anti,
    ]);
    let mut on = vec![*random.pick(&pairs)];
    if random.one_in(3) {
        let other = *random.pick(&pairs);
        if !on.contains(&other) {
            on.push(other);
        }
    }
    let numbers = |data_type: &DataType| data_type.is_integer();
    let (ln, rn) = (columns_of(&ls, numbers), columns_of(&rs, numbers));
    let condition = (random.one_in(2) && !ln.is_empty() && !rn.is_empty())
        .then(|| (*random.pick(&ln), *random.pick(&["<", "<=", "<>"]), *random.pick(&rn)));
    left.join(right, kind, &on, condition)
}

fn random_filter(random: &mut Random, query: Query) -> Query {
    let schema = query.schema();
    let column = random.below(schema.fields().len());
    let name = schema.field(column).name();
    let condition = match schema.field(column).data_type() {
        DataType::Int64 | DataType::Int32 | DataType::Decimal128(..) => {
            format!("{name} {} {}", random.pick(&["<", ">=", "<>"]), random.below(4))
        }
        DataType::Utf8 => format!("{name} {} 'ab'", random.pick(&["<", ">=", "<>"])),
        DataType::Boolean => name.clone(),
        _ => format!("{name} is {}null", random.pick(&["", "not "])),
    };
    query.filter(&condition)
}

fn random_step(random: &mut Random, query: Query) -> Query {
    let schema = query.schema();
    let width = schema.fields().len();
    // Zeros of floats are one value to SQL and two to DataFusion; see the table tests.
    let plain = columns_of(&schema, |data_type| data_type != &DataType::Float64);
    // DataFusion cannot plan a union of sorted windows below another sort.
    let is_windowed = query.sql.contains("over (");
    match random.below(14) {
        0 => random_filter(random, query),
        1 => query.distinct(),
        11..=13 => random_window(random, query),
        8 | 9 if plain.len() == width => {
            let operation = *random.pick(&[SetOperation::Intersect, SetOperation::Except]);
            let right = random_filter(random, query.clone());
            if !is_windowed && random.one_in(2) {
                return query.clone().union(query).set(right, operation, random.one_in(2));
            }
            query.set(right, operation, random.one_in(2))
        }
        10 if !plain.is_empty() => {
            let order: Vec<_> = (0..random.below(3))
                .map(|_| (random.below(width), random.one_in(2), random.one_in(2)))
                .collect();
            let limit = (!random.one_in(5)).then(|| random.below(4));
            let offset = if random.one_in(2) { random.below(3) } else { 0 };
            query.top_of_each(&[*random.pick(&plain)], &order, offset, limit)
        }
        2 | 3 => {
            let order: Vec<_> = (0..random.below(3))
                .map(|_| (random.below(width), random.one_in(2), random.one_in(2)))
                .collect();
            let limit = (!random.one_in(5)).then(|| random.below(8));
            let offset = if random.one_in(2) { random.below(4) } else { 0 };
            query.top(&order, offset, limit)
        }
        4 if !is_windowed => query.clone().union(query),
        _ => {
            let group: Vec<usize> = (0..width).filter(|_| random.one_in(4)).take(3).collect();
            let mut calls: Vec<Call> =
                (0..1 + random.below(4)).map(|_| random_call(random, &schema)).collect();
            // DataFusion orders the values of one list only.
            let is_list = |call: &Call| {
                matches!(call.0, AggregateFunction::ArrayAgg | AggregateFunction::StringAgg)
            };
            let first = calls.iter().position(is_list);
            for (at, call) in calls.iter_mut().enumerate() {
                if is_list(call) && first != Some(at) {
                    *call = (AggregateFunction::Count, None, false, None);
                }
            }
            query.aggregate(&group, &calls)
        }
    }
}

fn random_call(random: &mut Random, schema: &SchemaRef) -> Call {
    let numbers = columns_of(schema, DataType::is_numeric);
    let flags = columns_of(schema, |data_type| data_type == &DataType::Boolean);
    let filter = (!flags.is_empty() && random.one_in(3)).then(|| *random.pick(&flags));
    let any = random.below(schema.fields().len());
    // Zeros of floats: DataFusion counts −0.0 and 0.0 apart in a distinct aggregate; see the table test.
    let plain = schema.fields().iter().all(|field| field.data_type() != &DataType::Float64);
    let distinct = plain && random.one_in(3);
    let is_listed =
        |data_type: &DataType| !matches!(data_type, DataType::Float64 | DataType::List(_));
    let lists = columns_of(schema, is_listed);
    let texts = columns_of(schema, |data_type| data_type == &DataType::Utf8);
    // Infinities and zeros: DataFusion's running means drift; see the unit tests for floats.
    let exact = columns_of(schema, |data_type| data_type.is_integer() || data_type.is_decimal());
    match random.below(11) {
        6 if !flags.is_empty() => {
            let functions = [AggregateFunction::BoolAnd, AggregateFunction::BoolOr];
            (*random.pick(&functions), Some(*random.pick(&flags)), false, filter)
        }
        7 | 8 if !exact.is_empty() => {
            let function = *random.pick(&[
                AggregateFunction::VariancePopulation,
                AggregateFunction::VarianceSample,
                AggregateFunction::DeviationPopulation,
                AggregateFunction::DeviationSample,
            ]);
            (function, Some(*random.pick(&exact)), false, filter)
        }
        9 if !texts.is_empty() => {
            (AggregateFunction::StringAgg, Some(*random.pick(&texts)), distinct, filter)
        }
        10 if !lists.is_empty() => {
            (AggregateFunction::ArrayAgg, Some(*random.pick(&lists)), distinct, filter)
        }
        0 => (AggregateFunction::Count, None, false, filter),
        1 => (AggregateFunction::Count, Some(any), distinct, filter),
        // NaN: DataFusion's grouped minimum and maximum depend on the order of the rows; see the table test.
        2 if !matches!(schema.field(any).data_type(), DataType::Boolean | DataType::Float64) => {
            let function = *random.pick(&[AggregateFunction::Min, AggregateFunction::Max]);
            (function, Some(any), false, filter)
        }
        _ if numbers.is_empty() => (AggregateFunction::Count, None, false, filter),
        3 => (AggregateFunction::Avg, Some(*random.pick(&numbers)), distinct, filter),
        _ => (AggregateFunction::Sum, Some(*random.pick(&numbers)), distinct, filter),
    }
}
