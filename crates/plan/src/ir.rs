//! What runs: a program of sources, maintained views and sinks.
//!
//! A view is a tree of [`Node`]s. Keys of joins, groups and orders are plain column positions of the node's input: the
//! planner puts a [`Node::Project`] below wherever an expression is wanted. So an operator never evaluates anything
//! but filters and projections, which run vectorised.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use change::TableSchema;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;

use crate::definition::TableDefinition;
use crate::name::quoted;

/// All that a script asks for, planned.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The sources, in the order of the script.
    pub sources: Vec<SourceSpec>,
    /// The tables that Evert owns, in the order of the script.
    pub tables: Vec<TableDefinition>,
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
    /// Where each node of `root` comes from, inputs before what reads them, the root last. They are kept apart from the
    /// nodes: where something was written is no part of what it computes.
    pub places: Vec<Option<Place>>,
}

/// Where in a view's statement something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The view; another one than that of the plan, when that one reads it.
    pub view: Arc<str>,
    /// The first letter, in the statement as the catalogue keeps it.
    pub start: Position,
    /// Behind the last letter.
    pub end: Position,
    /// What is there, on one line and shortened.
    pub text: String,
}

/// A letter of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The letter of the line, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// `view 3:8`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", quoted(&self.view), self.start)
    }
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
    /// Rows that are always there, such as those of VALUES.
    Constant {
        /// The rows.
        rows: RecordBatch,
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
    /// One row for each element of the row's lists: the lists' columns are replaced by their elements. Lists of one row
    /// are read side by side, the shorter ones being filled up with NULL. A row whose lists are all empty or NULL
    /// vanishes.
    Unnest {
        /// Where the rows come from.
        input: Box<Node>,
        /// The columns that hold lists, ascending.
        lists: Vec<usize>,
        /// The resulting columns.
        schema: SchemaRef,
    },
    /// Pairs of rows whose keys are equal. The kind says which columns there are.
    Join {
        /// The left side.
        left: Box<Node>,
        /// The right side.
        right: Box<Node>,
        /// Which rows are shown, paired or alone.
        kind: JoinKind,
        /// Pairs of key columns (left's position, right's position) of equal types; empty for a cross join.
        on: Vec<(usize, usize)>,
        /// Whether a NULL in a key equals another NULL (`is not distinct from`) or nothing (`=`).
        nulls_equal: bool,
        /// A condition over the left's and then the right's columns that a pair must also meet to count as a match.
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
    /// The rows of both sides (INTERSECT) or of the left without the right (EXCEPT), each once or, with `all`, as often
    /// as the smaller count, or the difference of the counts, says. NULLs are equal.
    SetOperation {
        /// The left side.
        left: Box<Node>,
        /// The right side, of the same column types.
        right: Box<Node>,
        /// Which rows are kept.
        operation: SetOperation,
        /// Whether equal rows are counted rather than kept once.
        all: bool,
        /// The resulting columns.
        schema: SchemaRef,
    },
    /// The rows `[offset, offset + limit)` in the given order, of all rows or of each partition; ties are broken by all
    /// columns, ascending, NULLs first (`SortOptions::default()`).
    TopK {
        /// Where the rows come from.
        input: Box<Node>,
        /// The columns whose values tell partitions apart; NULLs are one value. Empty for one partition of all rows.
        partition: Vec<usize>,
        /// The order; may be empty.
        order: Vec<OrderKey>,
        /// How many rows of each partition are skipped.
        offset: usize,
        /// How many rows of each partition are kept; `None` for all behind the offset.
        limit: Option<usize>,
    },
    /// Window functions: each row with one more column for each call, computed from the rows of its partition.
    ///
    /// Where a function depends on the order of rows that the order keys leave equal (`row_number`, ROWS frames,
    /// `lag`), they are in the order of all columns, ascending, NULLs first.
    Window {
        /// Where the rows come from.
        input: Box<Node>,
        /// The columns whose values tell partitions apart; NULLs are one value. Empty for one partition of all rows.
        partition: Vec<usize>,
        /// The order within a partition; may be empty, and then all rows are peers.
        order: Vec<OrderKey>,
        /// What is computed for each row.
        calls: Vec<WindowCall>,
        /// The input's columns, then one column for each call.
        schema: SchemaRef,
    },
    /// The rows as they are; more than one row with the same key is an error (a scalar subquery's).
    Single {
        /// Where the rows come from.
        input: Box<Node>,
        /// The columns of which each combination of values may occur once; empty for one row in all.
        key: Vec<usize>,
    },
    /// The rows of all inputs.
    Union {
        /// Where the rows come from; all have the same column types.
        inputs: Vec<Node>,
        /// The resulting columns.
        schema: SchemaRef,
    },
}

/// Which rows of a join are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs. Columns: the left's, then the right's.
    Inner,
    /// Pairs, and left rows without a match, with NULLs.
    Left,
    /// Pairs, and right rows without a match, with NULLs.
    Right,
    /// Pairs, and rows of both sides without a match, with NULLs.
    Full,
    /// Left rows with a match, as often as they are there. Columns: the left's.
    Semi,
    /// Left rows without a match. Columns: the left's.
    Anti,
}

/// Which rows of two collections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetOperation {
    /// Those of both.
    Intersect,
    /// Those of the left that the right has not.
    Except,
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
    /// The order in which `array_agg` and `string_agg` take their values; ties, and all values when it is empty, are in
    /// the order of the values themselves, ascending, NULLs first.
    pub order: Vec<OrderKey>,
    /// What stands between the values of `string_agg`.
    pub separator: Option<String>,
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
    /// Whether all are true; NULL over no values.
    BoolAnd,
    /// Whether one is true; NULL over no values.
    BoolOr,
    /// The population's variance; NULL over no values. From exact sums of the values and their squares.
    VariancePopulation,
    /// The sample's variance; NULL over fewer than two values.
    VarianceSample,
    /// The square root of the population's variance.
    DeviationPopulation,
    /// The square root of the sample's variance.
    DeviationSample,
    /// The texts that are not NULL, in order, with a separator between; NULL over no values.
    StringAgg,
    /// The values as a list, in order, NULLs among them; NULL over no rows.
    ArrayAgg,
}

/// A window function over columns.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCall {
    /// What is computed.
    pub function: WindowFunction,
    /// A boolean column that a row must have true to count, for aggregates (FILTER).
    pub filter: Option<usize>,
    /// The rows that aggregates and `first_value`, `last_value`, `nth_value` look at; others ignore it.
    pub frame: Frame,
    /// The type of the result.
    pub output: DataType,
}

/// The window functions that are maintained.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowFunction {
    /// The row's place in its partition, from 1.
    RowNumber,
    /// The place of the row's first peer.
    Rank,
    /// How many groups of peers there are up to the row's.
    DenseRank,
    /// `(rank - 1) / (rows - 1)`; 0 for a single row.
    PercentRank,
    /// The part of the partition's rows that are the row's peers or before them.
    CumeDist,
    /// The number, from 1, of the row's bucket when the partition is cut into so many of nearly equal size.
    Ntile(u64),
    /// The value of a column so many rows before the row (behind it, when negative); the default where there is none.
    Lag {
        /// The column.
        argument: usize,
        /// How many rows before.
        offset: i64,
        /// The value where there is no such row, of the column's type.
        default: ScalarValue,
        /// Whether rows whose value is NULL are passed over.
        ignore_nulls: bool,
    },
    /// The value of a column in the frame's first row.
    FirstValue {
        /// The column.
        argument: usize,
        /// Whether rows whose value is NULL are passed over.
        ignore_nulls: bool,
    },
    /// The value of a column in the frame's last row.
    LastValue {
        /// The column.
        argument: usize,
        /// Whether rows whose value is NULL are passed over.
        ignore_nulls: bool,
    },
    /// The value of a column in the frame's n-th row, from 1; NULL where there is none.
    NthValue {
        /// The column.
        argument: usize,
        /// Which row of the frame.
        n: u64,
        /// Whether rows whose value is NULL are passed over.
        ignore_nulls: bool,
    },
    /// An aggregate over the frame's rows.
    Aggregate {
        /// Which one; without DISTINCT.
        function: AggregateFunction,
        /// The column that it reads; `None` for `count(*)`.
        argument: Option<usize>,
        /// What stands between the values of `string_agg`. It takes its values in the order of the rows, and so does
        /// `array_agg`.
        separator: Option<String>,
    },
}

/// A window function's frame, relative to the row.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// What its bounds count.
    pub units: FrameUnits,
    /// Where it begins.
    pub start: FrameBound,
    /// Where it ends, inclusively.
    pub end: FrameBound,
}

/// What a frame's bounds count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// Differences of the one order key's value.
    Range,
    /// Groups of peers.
    Groups,
}

/// A bound of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameBound {
    /// Before all rows of the partition.
    UnboundedPreceding,
    /// So many units before the row: a `UInt64` for rows and groups, a value to subtract from the order key for a range.
    Preceding(ScalarValue),
    /// The row, or for ranges and groups its peers.
    CurrentRow,
    /// So many units behind the row.
    Following(ScalarValue),
    /// Behind all rows of the partition.
    UnboundedFollowing,
}

impl Node {
    /// The nodes that it computes from: none for a table, two for a join.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Self> {
        match self {
            Self::Table { .. } | Self::Constant { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Unnest { input, .. }
            | Self::Aggregate { input, .. }
            | Self::Distinct { input }
            | Self::TopK { input, .. }
            | Self::Window { input, .. }
            | Self::Single { input, .. } => vec![input],
            Self::Join { left, right, .. } | Self::SetOperation { left, right, .. } => {
                vec![left, right]
            }
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

    /// How many nodes there are, with itself.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inputs().into_iter().map(Self::count).sum::<usize>() + 1
    }

    /// The columns of the node's rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Table { schema, .. }
            | Self::Project { schema, .. }
            | Self::Unnest { schema, .. }
            | Self::Join { schema, .. }
            | Self::Aggregate { schema, .. }
            | Self::SetOperation { schema, .. }
            | Self::Window { schema, .. }
            | Self::Union { schema, .. } => Arc::clone(schema),
            Self::Constant { rows } => rows.schema(),
            Self::Filter { input, .. }
            | Self::Distinct { input }
            | Self::TopK { input, .. }
            | Self::Single { input, .. } => input.schema(),
        }
    }
}
