//! Operators that DataFusion's plans lack, as nodes of them: rows that may occur once, the first rows of each
//! partition, and INTERSECT and EXCEPT, which DataFusion plans as joins that count wrongly.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, SortExpr, UserDefinedLogicalNodeCore,
};

use crate::ir::SetOperation;

/// A node of a logical plan that is ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Own {
    pub(crate) kind: OwnKind,
    pub(crate) inputs: Vec<LogicalPlan>,
    schema: DFSchemaRef,
}

/// What a node of ours does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OwnKind {
    /// INTERSECT and EXCEPT of two inputs.
    Set { operation: SetOperation, all: bool },
    /// The rows as they are; each combination of the key's values may occur once.
    Single { key: Vec<Expr> },
    /// The first rows of each partition.
    Top { partition: Vec<Expr>, order: Vec<SortExpr>, offset: usize, limit: Option<usize> },
}

impl Own {
    /// The rows of both inputs, or of the first without the second; the columns have the schema's names.
    pub(crate) fn set(
        operation: SetOperation,
        all: bool,
        inputs: [LogicalPlan; 2],
        schema: DFSchemaRef,
    ) -> LogicalPlan {
        let kind = OwnKind::Set { operation, all };
        Self { kind, inputs: inputs.into(), schema }.plan()
    }

    /// The rows, of which no two may have the same key.
    pub(crate) fn single(key: Vec<Expr>, input: LogicalPlan) -> LogicalPlan {
        Self::over(OwnKind::Single { key }, input)
    }

    /// The rows `[offset, offset + limit)` of each partition.
    pub(crate) fn top(
        partition: Vec<Expr>,
        order: Vec<SortExpr>,
        bounds: (usize, Option<usize>),
        input: LogicalPlan,
    ) -> LogicalPlan {
        let (offset, limit) = bounds;
        Self::over(OwnKind::Top { partition, order, offset, limit }, input)
    }

    fn over(kind: OwnKind, input: LogicalPlan) -> LogicalPlan {
        let schema = Arc::clone(input.schema());
        Self { kind, inputs: vec![input], schema }.plan()
    }

    fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node, if the extension is one of ours.
    pub(crate) fn of(extension: &Extension) -> Option<&Self> {
        extension.node.as_any().downcast_ref()
    }
}

impl PartialOrd for Own {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Own {
    fn name(&self) -> &'static str {
        match self.kind {
            OwnKind::Set { operation: SetOperation::Intersect, .. } => "Intersect",
            OwnKind::Set { operation: SetOperation::Except, .. } => "Except",
            OwnKind::Single { .. } => "Single",
            OwnKind::Top { .. } => "Top",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        match &self.kind {
            OwnKind::Set { .. } => Vec::new(),
            OwnKind::Single { key } => key.clone(),
            OwnKind::Top { partition, order, .. } => {
                let order = order.iter().map(|key| key.expr.clone());
                partition.iter().cloned().chain(order).collect()
            }
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(UserDefinedLogicalNodeCore::name(self))
    }

    fn with_exprs_and_inputs(
        &self,
        expressions: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> PlanResult<Self> {
        let mut expressions = expressions.into_iter();
        let kind = match &self.kind {
            OwnKind::Set { operation, all } => OwnKind::Set { operation: *operation, all: *all },
            OwnKind::Single { .. } => OwnKind::Single { key: expressions.collect() },
            OwnKind::Top { partition, order, offset, limit } => {
                let partition = expressions.by_ref().take(partition.len()).collect();
                let with = |(key, expr): (&SortExpr, Expr)| key.with_expr(expr);
                let order = order.iter().zip(expressions).map(with).collect();
                OwnKind::Top { partition, order, offset: *offset, limit: *limit }
            }
        };
        let schema = match (&self.kind, inputs.as_slice()) {
            (OwnKind::Single { .. } | OwnKind::Top { .. }, [input]) => Arc::clone(input.schema()),
            _ => Arc::clone(&self.schema),
        };
        Ok(Self { kind, inputs, schema })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        match &self.kind {
            OwnKind::Set { .. } => {
                let all: Vec<usize> = (0..self.schema.fields().len()).collect();
                Some(vec![all.clone(), all])
            }
            OwnKind::Single { .. } | OwnKind::Top { .. } => {
                let mut wanted: BTreeSet<usize> = output_columns.iter().copied().collect();
                for expression in self.expressions() {
                    let columns = expression.column_refs().into_iter().cloned();
                    let columns: BTreeSet<Column> = columns.collect();
                    for column in columns {
                        wanted.insert(self.schema.maybe_index_of_column(&column)?);
                    }
                }
                Some(vec![wanted.into_iter().collect()])
            }
        }
    }
}
