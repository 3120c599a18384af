//! Which rows a query wants: those of some keys, when its conditions say so, instead of all.
//!
//! DataFusion moves conditions down to the tables that they are about, folds what is constant and brings both sides to one
//! type. What arrives at a scan as `column = literal`, for every column of a key, names the rows that it can let through;
//! the condition itself stays above the scan, so rows too many are no mistake.

#![allow(clippy::wildcard_enum_match_arm, reason = "expressions and plans grow with DataFusion")]

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator, TableProviderFilterPushDown, TableScan, TableType,
};
use datafusion::physical_plan::ExecutionPlan;

use crate::read::Described;

/// The most keys that are looked up one by one; for more, all rows are read.
const KEYS_MAX: usize = 1_024;

/// Which rows of a relation a query wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// All of them.
    All,
    /// None that does not have one of these values in these columns.
    Keys {
        /// The columns: one of the relation's keys.
        columns: Vec<usize>,
        /// A row for each key, with the columns in this order. NULL equals nothing.
        values: RecordBatch,
    },
}

/// Which rows of a relation an optimised plan wants.
pub(crate) fn wanted(plan: &LogicalPlan, relation: &Described) -> PlanResult<Wanted> {
    let mut scans = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && reads(scan, &relation.name)
        {
            scans.push(scan.filters.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // Every scan is given the same rows, so each must be content with the keys.
    for columns in &relation.keys {
        let mut all: Vec<Vec<ScalarValue>> = vec![Vec::new(); columns.len()];
        let of_scans = scans.iter().map(|filters| keys(filters, columns, &relation.schema));
        let Some(of_scans) = of_scans.collect::<Option<Vec<_>>>() else { continue };
        for (column, values) in of_scans.into_iter().flat_map(|keys| keys.into_iter().enumerate()) {
            all[column].extend(values);
        }
        if all[0].len() <= KEYS_MAX {
            let values = batch(&relation.schema, columns, &all)?;
            return Ok(Wanted::Keys { columns: columns.clone(), values });
        }
    }
    Ok(Wanted::All)
}

fn reads(scan: &TableScan, name: &str) -> bool {
    let provider = source_as_provider(&scan.source);
    provider
        .is_ok_and(|provider| provider.downcast_ref::<Late>().is_some_and(|late| late.name == name))
}

/// The keys that rows may have which pass all filters, column by column; `None` when the filters do not name them.
fn keys(filters: &[Expr], columns: &[usize], schema: &SchemaRef) -> Option<Vec<Vec<ScalarValue>>> {
    let conditions: Vec<&Expr> = filters.iter().flat_map(split_conjunction).collect();
    let of_column = |&column: &usize| {
        let field = schema.field(column);
        let mut lists = conditions.iter().filter_map(|condition| {
            let (name, values) = values(condition)?;
            let fits = |value: &ScalarValue| value.data_type() == *field.data_type();
            (name == field.name() && values.iter().all(fits)).then_some(values)
        });
        lists.next()
    };
    let lists: Vec<Vec<ScalarValue>> = columns.iter().map(of_column).collect::<Option<_>>()?;
    let mut keys: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for list in lists {
        if keys.len().saturating_mul(list.len()) > KEYS_MAX {
            return None;
        }
        let longer = |key: &Vec<ScalarValue>, value: &ScalarValue| {
            key.iter().chain([value]).cloned().collect::<Vec<_>>()
        };
        keys = keys.iter().flat_map(|key| list.iter().map(|value| longer(key, value))).collect();
    }
    let column = |at: usize| keys.iter().map(|key| key[at].clone()).collect();
    Some((0..columns.len()).map(column).collect())
}

/// The column that a condition is about, and the values that it lets through.
fn values(condition: &Expr) -> Option<(&str, Vec<ScalarValue>)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _))
                | (Expr::Literal(value, _), Expr::Column(column)) => {
                    Some((&column.name, vec![value.clone()]))
                }
                _ => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((left, mut all), (right, others)) = (values(left)?, values(right)?);
            all.extend(others);
            (left == right && all.len() <= KEYS_MAX).then_some((left, all))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = expr.as_ref() else { return None };
            let literal = |value: &Expr| match value {
                Expr::Literal(value, _) => Some(value.clone()),
                _ => None,
            };
            Some((&column.name, list.iter().map(literal).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The values of some columns as rows.
fn batch(
    schema: &SchemaRef,
    columns: &[usize],
    values: &[Vec<ScalarValue>],
) -> PlanResult<RecordBatch> {
    let of_type = |data_type: &DataType, values: &[ScalarValue]| -> PlanResult<ArrayRef> {
        match values {
            [] => Ok(new_empty_array(data_type)),
            some => ScalarValue::iter_to_array(some.iter().cloned()),
        }
    };
    let schema: Schema = schema.project(columns)?;
    let fields = schema.fields().iter().zip(values);
    let arrays = fields.map(|(field, values)| of_type(field.data_type(), values));
    let arrays = arrays.collect::<PlanResult<Vec<_>>>()?;
    let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(schema, arrays)?)
}

/// A relation whose rows come when it is known which are wanted.
#[derive(Debug)]
pub(crate) struct Late {
    name: String,
    schema: SchemaRef,
    rows: Mutex<Vec<RecordBatch>>,
}

impl Late {
    pub(crate) fn new(name: &str, schema: &SchemaRef) -> Self {
        let (name, schema) = (name.to_owned(), Arc::clone(schema));
        Self { name, schema, rows: Mutex::new(Vec::new()) }
    }

    /// Gives it its rows, before it is read.
    pub(crate) fn fill(&self, rows: Vec<RecordBatch>) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }
}

#[async_trait]
impl TableProvider for Late {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let table = MemTable::try_new(Arc::clone(&self.schema), vec![rows])?;
        table.scan(session, projection, &[], limit).await
    }
}
