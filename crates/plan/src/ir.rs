//! What runs: a program of sources, maintained views and sinks.
//!
//! A view is a tree of [`Node`]s. Keys of joins, groups and orders are plain column positions of the node's input: the
//! planner puts a [`Node::Project`] below wherever an expression is wanted. So an operator never evaluates anything
//! but filters and projections, which run vectorised.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use change::TableSchema;
use datafusion::physical_expr::PhysicalExpr;

/// All that a script asks for, planned.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The sources, in the order of the script.
    pub sources: Vec<SourceSpec>,
    /// The views, each after the views that it reads.
    pub views: Vec<ViewPlan>,
    /// The sinks, in the order of the script.
    pub sinks: Vec<SinkSpec>,
}

/// `create source NAME from 'URL' (option = 'value', …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// The name that its tables are found under.
    pub name: String,
    /// Where it is: `postgres://…`, a path, `stdin`, `demo`.
    pub url: String,
    /// Its options, by lower-case name.
    pub options: BTreeMap<String, String>,
    /// The statement that creates it, as the catalogue keeps it.
    pub statement: String,
}

/// `create sink NAME from VIEW into 'URL' (option = 'value', …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// Its name.
    pub name: String,
    /// The view that it copies.
    pub view: String,
    /// Where to: `search`, `stdout`, `postgres://…/table`, a path.
    pub url: String,
    /// Its options, by lower-case name.
    pub options: BTreeMap<String, String>,
    /// The statement that creates it, as the catalogue keeps it.
    pub statement: String,
}

/// A maintained query.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    /// The view's name.
    pub name: String,
    /// The columns of its rows; all nullable.
    pub schema: SchemaRef,
    /// Columns whose values no two rows share, ascending; empty when none are known.
    pub key: Vec<usize>,
    /// The order in which its rows are shown; empty when the query does not say.
    pub order: Vec<OrderKey>,
    /// How it is computed.
    pub root: Node,
    /// The statement that creates it, as the catalogue keeps it.
    pub statement: String,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderKey {
    /// The column's position.
    pub column: usize,
    /// Descending or not, NULLs first or not.
    pub options: SortOptions,
}

/// A step of computing a view, over changes.
#[derive(Clone, Debug)]
pub enum Node {
    /// The changes of a source's table, made exact.
    Table {
        /// The table.
        table: Arc<TableSchema>,
        /// The columns that are read, ascending.
        columns: Vec<usize>,
        /// The schema of those columns.
        schema: SchemaRef,
    },
    /// Rows for which the predicate is true.
    Filter {
        /// Where the rows come from.
        input: Box<Node>,
        /// A boolean expression over the input's columns.
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// New columns computed from each row.
    Project {
        /// Where the rows come from.
        input: Box<Node>,
        /// One expression a column.
        expressions: Vec<Arc<dyn PhysicalExpr>>,
        /// The resulting columns.
        schema: SchemaRef,
    },
    /// Pairs of rows whose keys are equal (NULL equals nothing). Columns: all of the left, then all of the right.
    Join {
        /// The left side.
        left: Box<Node>,
        /// The right side.
        right: Box<Node>,
        /// Inner, or left with NULLs for the missing right row.
        kind: JoinKind,
        /// Pairs of key columns (left's position, right's position) of equal types; empty for a cross join.
        on: Vec<(usize, usize)>,
        /// A condition over the joined columns that a pair must also meet to count as a match.
        filter: Option<Arc<dyn PhysicalExpr>>,
        /// The resulting columns.
        schema: SchemaRef,
    },
    /// One row for each group; with no group columns exactly one row, also over no rows.
    Aggregate {
        /// Where the rows come from.
        input: Box<Node>,
        /// The columns to group by; NULLs are one group.
        group: Vec<usize>,
        /// What is computed of each group.
        aggregates: Vec<AggregateCall>,
        /// The group columns, then one column for each call.
        schema: SchemaRef,
    },
    /// Each row once.
    Distinct {
        /// Where the rows come from.
        input: Box<Node>,
    },
    /// The rows `[offset, offset + limit)` in the given order; ties are broken by all columns, ascending,
    /// NULLs first (`SortOptions::default()`).
    TopK {
        /// Where the rows come from.
        input: Box<Node>,
        /// The order; may be empty.
        order: Vec<OrderKey>,
        /// How many rows are skipped.
        offset: usize,
        /// How many rows are kept; `None` for all behind the offset.
        limit: Option<usize>,
    },
    /// The rows of all inputs.
    Union {
        /// Where the rows come from; all have the same column types.
        inputs: Vec<Node>,
        /// The resulting columns.
        schema: SchemaRef,
    },
}

/// How unmatched rows of a join are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// They are dropped.
    Inner,
    /// A left row without a match is kept, with NULLs.
    Left,
}

/// An aggregate function over one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// The column that it reads; `None` for `count(*)`.
    pub argument: Option<usize>,
    /// Whether each value counts once.
    pub distinct: bool,
    /// A boolean column that a row must have true to count (FILTER).
    pub filter: Option<usize>,
    /// The type of the result.
    pub output: DataType,
}

/// The aggregate functions that are maintained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// How many rows, or how many that are not NULL.
    Count,
    /// The sum; NULL over no values. Integers and decimals exactly; floats from an exact accumulator.
    Sum,
    /// The mean; NULL over no values.
    Avg,
    /// The least value; NULL over no values.
    Min,
    /// The greatest value; NULL over no values.
    Max,
}

impl Node {
    /// The nodes that it computes from: none for a table, two for a join.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Self> {
        match self {
            Self::Table { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Aggregate { input, .. }
            | Self::Distinct { input }
            | Self::TopK { input, .. } => vec![input],
            Self::Join { left, right, .. } => vec![left, right],
            Self::Union { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// The tables that are read, once for each time that they are.
    #[must_use]
    pub fn tables(&self) -> Vec<&Arc<TableSchema>> {
        if let Self::Table { table, .. } = self {
            return vec![table];
        }
        self.inputs().into_iter().flat_map(Self::tables).collect()
    }

    /// The columns of the node's rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Table { schema, .. }
            | Self::Project { schema, .. }
            | Self::Join { schema, .. }
            | Self::Aggregate { schema, .. }
            | Self::Union { schema, .. } => Arc::clone(schema),
            Self::Filter { input, .. } | Self::Distinct { input } | Self::TopK { input, .. } => {
                input.schema()
            }
        }
    }
}
