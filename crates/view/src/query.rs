//! SQL over a snapshot: DataFusion reads the pages of exactly one Time, and can change nothing.
//!
//! A query runs on a thread that may block, so that it holds up no socket; on one core, so that it leaves the engine
//! the others; and within limits of memory, result and duration.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "DataFusion has many plans and errors; those that are not named here are treated alike"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::SessionContext;
use futures::{StreamExt as _, stream};

use crate::error::{ViewError, which};
use crate::errors::Lacking;
use crate::limits::{ORDERED_READ_ROWS_MAX, QUERY_BYTES_MAX, QUERY_TIMEOUT, RESULT_BYTES_MAX};
use crate::snapshot::{Snapshot, ViewRows};

/// What one query may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryOptions {
    /// Memory beside the views and the result, in bytes.
    pub memory_bytes_max: usize,
    /// The result, in bytes.
    pub result_bytes_max: usize,
    /// How long it may run.
    pub timeout: Duration,
}

impl QueryOptions {
    /// The limits of an interactive query.
    pub const INTERACTIVE: Self = Self {
        memory_bytes_max: QUERY_BYTES_MAX,
        result_bytes_max: RESULT_BYTES_MAX,
        timeout: QUERY_TIMEOUT,
    };
}

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
    /// The views that it read and that lack rows.
    pub lacking: Vec<Lacking>,
}

impl Snapshot {
    /// Answers a query with the limits of an interactive one. It must run within a tokio runtime.
    ///
    /// # Errors
    /// When the SQL is wrong, would change something, or exceeds a limit.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, ViewError> {
        self.query_with(sql, QueryOptions::INTERACTIVE).await
    }

    /// Answers a query within `options`. It must run within a tokio runtime.
    ///
    /// # Errors
    /// When the SQL is wrong, would change something, or exceeds a limit.
    ///
    /// # Panics
    /// When the query's own thread panicked.
    pub async fn query_with(
        &self,
        sql: &str,
        options: QueryOptions,
    ) -> Result<QueryResult, ViewError> {
        let (snapshot, sql) = (self.clone(), sql.to_owned());
        let runtime = tokio::runtime::Handle::current();
        let answer = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                match tokio::time::timeout(options.timeout, run(&snapshot, &sql, options)).await {
                    Ok(result) => result,
                    Err(_elapsed) => Err(ViewError::Timeout { limit: options.timeout }),
                }
            })
        });
        answer.await.expect("a query does not panic")
    }
}

async fn run(
    snapshot: &Snapshot,
    sql: &str,
    options: QueryOptions,
) -> Result<QueryResult, ViewError> {
    let context = context(snapshot, options).map_err(|error| sql_error(&error))?;
    let (planned, read) = logical_plan(&context, snapshot, sql).await?;
    let frame = context.execute_logical_plan(planned).await.map_err(|error| sql_error(&error))?;
    let mut stream = frame.execute_stream().await.map_err(|error| sql_error(&error))?;
    let (schema, mut rows, mut bytes) = (stream.schema(), Vec::new(), 0);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| sql_error(&error))?;
        bytes += batch.get_array_memory_size();
        if bytes > options.result_bytes_max {
            let mebibytes = options.result_bytes_max >> 20;
            let message = format!("its result is larger than {mebibytes} MiB");
            return Err(ViewError::TooLarge { message });
        }
        if batch.num_rows() > 0 {
            rows.push(batch);
        }
    }
    let lacking = snapshot.lacking(read.iter().map(String::as_str));
    Ok(QueryResult { schema, rows, lacking })
}

/// A session that knows the snapshot's views and nothing else.
fn context(snapshot: &Snapshot, options: QueryOptions) -> Result<SessionContext, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(options.memory_bytes_max, 1.0)
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        )
        .build_arc()?;
    let state = plan::session_context().state();
    let config = state.config().clone().with_target_partitions(1);
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_runtime_env(runtime)
        .build();
    let context = SessionContext::new_with_state(state);
    for view in snapshot.views.iter().map(|view| &view.rows) {
        let table = Arc::new(ViewTable(Arc::clone(view)));
        plan::register(&context, &view.info.name, table)?;
    }
    Ok(context)
}

/// Plans the statement, after making sure that it reads only views that there are; returns their names too.
async fn logical_plan(
    context: &SessionContext,
    snapshot: &Snapshot,
    sql: &str,
) -> Result<(LogicalPlan, BTreeSet<String>), ViewError> {
    let state = context.state();
    let columns = |name: &str| Some(Arc::clone(&snapshot.view(name).ok()?.info.schema));
    let statement = plan::statement(sql, columns).map_err(|error| sql_error(&error))?;
    let tables = state.resolve_table_references(&statement).map_err(|error| sql_error(&error))?;
    let unknown = tables.iter().find(|table| !known(snapshot, table));
    let planned = match state.statement_to_plan(statement).await {
        Ok(planned) => planned,
        Err(error) => {
            return Err(unknown.map_or_else(|| sql_error(&error), |t| no_view(snapshot, t)));
        }
    };
    if changes_something(&planned)? {
        let words = sql.split_whitespace();
        let statement = words.take(1).map(str::to_lowercase).collect();
        return Err(ViewError::NotRead { statement });
    }
    Ok((planned, tables.iter().map(plan::relation_name).collect()))
}

/// Whether any part of the plan does more than reading: `explain analyze` runs what it explains.
fn changes_something(plan: &LogicalPlan) -> Result<bool, ViewError> {
    let found = plan.exists(|node| {
        Ok(matches!(
            node,
            LogicalPlan::Ddl(_)
                | LogicalPlan::Dml(_)
                | LogicalPlan::Copy(_)
                | LogicalPlan::Statement(_)
        ))
    });
    found.map_err(|error| sql_error(&error))
}

fn known(snapshot: &Snapshot, table: &TableReference) -> bool {
    table.schema().is_some_and(|schema| schema == "information_schema")
        || snapshot.view(&plan::relation_name(table)).is_ok()
}

fn no_view(snapshot: &Snapshot, table: &TableReference) -> ViewError {
    ViewError::UnknownView {
        name: table.to_string(),
        known: snapshot.views().map(|info| info.name.clone()).collect(),
    }
}

/// Says what DataFusion says, without the names of its own parts.
fn sql_error(error: &DataFusionError) -> ViewError {
    use datafusion::common::SchemaError;

    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            sql_error(inner)
        }
        DataFusionError::ResourcesExhausted(_) => {
            ViewError::TooLarge { message: "it needs more memory than it may use".to_owned() }
        }
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let names: Vec<String> =
                    valid_fields.iter().map(|field| field.name().to_owned()).collect();
                ViewError::Sql {
                    message: format!("there is no column {:?}", field.name()),
                    help: Some(which(field.name(), &names, "column")),
                }
            }
            _ => plain_error(error),
        },
        _ => plain_error(error),
    }
}

fn plain_error(error: &DataFusionError) -> ViewError {
    let message = error.strip_backtrace();
    let prefixes = [
        "Error during planning: ",
        "Schema error: ",
        "SQL error: ",
        "Execution error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ];
    let message = prefixes
        .iter()
        .fold(message.as_str(), |message, prefix| message.strip_prefix(prefix).unwrap_or(message));
    let message = message
        .strip_prefix("ParserError(\"")
        .and_then(|inner| inner.strip_suffix("\")"))
        .unwrap_or(message);
    if message.contains("only supports a single SQL statement") {
        return ViewError::Sql {
            message: "one query is answered at a time".to_owned(),
            help: Some("send the statements one by one".to_owned()),
        };
    }
    ViewError::Sql { message: message.to_owned(), help: None }
}

/// A view as DataFusion sees it.
#[derive(Debug)]
struct ViewTable(Arc<ViewRows>);

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.info.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let all = || (0..self.0.info.schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.0.info.schema.project(&projection)?);
        let part = PageStream {
            view: Arc::clone(&self.0),
            projection,
            schema: Arc::clone(&schema),
            limit: limit.unwrap_or(usize::MAX),
        };
        let plan =
            StreamingTableExec::try_new(schema, vec![Arc::new(part)], None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// The rows of a view, page by page.
#[derive(Debug)]
struct PageStream {
    view: Arc<ViewRows>,
    projection: Vec<usize>,
    schema: SchemaRef,
    limit: usize,
}

impl PartitionStream for PageStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let projection = self.projection.clone();
        let ordered =
            !self.view.info.order.is_empty() || self.view.row_count <= ORDERED_READ_ROWS_MAX;
        if ordered {
            let batches = match self.view.ordered(self.limit) {
                Ok(batches) => batches.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            let project =
                move |batch: Result<RecordBatch, ArrowError>| Ok(batch?.project(&projection)?);
            let stream = stream::iter(batches).map(project);
            return Box::pin(RecordBatchStreamAdapter::new(schema, stream));
        }
        let pages = self.view.pages.clone();
        let stream = stream::iter(pages).map(move |page| Ok(page.live_rows(&projection)?));
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }
}
