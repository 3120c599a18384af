//! The tables and views that a query may read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use change::TableSchema;
use datafusion::common::TableReference;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};

/// A table of a source, or a view with the plan that computes it.
#[derive(Clone, Debug)]
pub(crate) struct PlannedTable {
    pub(crate) schema: SchemaRef,
    pub(crate) table: Option<Arc<TableSchema>>,
    pub(crate) plan: Option<LogicalPlan>,
    /// The text that reads it, among those of all views.
    pub(crate) text: usize,
}

impl TableSource for PlannedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        self.plan.as_ref().map(Cow::Borrowed)
    }
}

/// Everything that can stand behind `from`, by its full name in parts: `[view]`, `[source, table]` or
/// `[source, schema, table]`.
pub(crate) struct Tables {
    by_path: BTreeMap<Vec<String>, Arc<PlannedTable>>,
    /// The sources, also those without tables.
    pub(crate) sources: Vec<String>,
    /// Views that have problems of their own, so that naming them is no further problem.
    pub(crate) broken: Vec<String>,
}

/// What a name refers to.
pub(crate) enum Lookup {
    Found(Vec<String>, Arc<PlannedTable>),
    /// Several tables have the name.
    Ambiguous(Vec<String>),
    /// A source has the name, but not exactly one table.
    Source(Vec<String>),
    /// A view that has problems of its own.
    Broken,
    Unknown,
}

impl Tables {
    pub(crate) fn new(tables: &[Arc<TableSchema>], sources: Vec<String>) -> Self {
        Self { by_path: tables.iter().map(planned).collect(), sources, broken: Vec::new() }
    }

    /// Adds a table, or sets one that is there.
    pub(crate) fn insert_table(&mut self, table: &Arc<TableSchema>) {
        let (path, table) = planned(table);
        self.by_path.insert(path, table);
    }

    pub(crate) fn insert_view(&mut self, name: &str, schema: SchemaRef, plan: LogicalPlan) {
        let view = PlannedTable { schema, table: None, plan: Some(plan), text: 0 };
        self.by_path.insert(vec![name.to_owned()], Arc::new(view));
    }

    /// Finds what a name refers to: a view, a table by the end of its full name, or a source's only table.
    pub(crate) fn find(&self, name: &[String]) -> Lookup {
        if matches!(name, [view] if self.broken.contains(view)) {
            return Lookup::Broken;
        }
        if let Some(table) = self.by_path.get(name) {
            return Lookup::Found(name.to_vec(), Arc::clone(table));
        }
        let ends = self.by_path.iter().filter(|(path, _)| path.ends_with(name));
        // A table of the user's own hides a table of Evert's with the same name.
        let (own, found): (Vec<_>, Vec<_>) = ends.partition(|(path, _)| path[0] == "evert");
        let found = if found.is_empty() { own } else { found };
        match found.as_slice() {
            [(path, table)] => return Lookup::Found((*path).clone(), Arc::clone(table)),
            [] => {}
            several => {
                return Lookup::Ambiguous(several.iter().map(|(path, _)| path.join(".")).collect());
            }
        }
        let [source] = name else {
            return Lookup::Unknown;
        };
        let tables: Vec<_> =
            self.by_path.iter().filter(|(path, _)| path.len() > 1 && path[0] == *source).collect();
        match tables.as_slice() {
            [(path, table)] => Lookup::Found((*path).clone(), Arc::clone(table)),
            [] if !self.sources.contains(source) => Lookup::Unknown,
            tables => Lookup::Source(tables.iter().map(|(path, _)| path[1..].join(".")).collect()),
        }
    }

    /// The tables of a source.
    pub(crate) fn of_source(&self, source: &str) -> Vec<Arc<TableSchema>> {
        let tables = self.by_path.values().filter_map(|table| table.table.clone());
        tables.filter(|table| &*table.name().source == source).collect()
    }

    /// Every name, as a query would write it.
    pub(crate) fn names(&self) -> Vec<String> {
        let paths = self.by_path.keys().filter(|path| path[0] != "evert");
        paths
            .map(|path| {
                path.iter().map(|part| crate::name::quoted(part)).collect::<Vec<_>>().join(".")
            })
            .collect()
    }

    /// The name under which the planner knows a table.
    pub(crate) fn key(path: &[String]) -> String {
        path.join(".")
    }
}

/// A table with its full name in parts.
fn planned(table: &Arc<TableSchema>) -> (Vec<String>, Arc<PlannedTable>) {
    let name = table.name();
    let path = std::iter::once(&*name.source).chain(name.table.split('.')).map(str::to_owned);
    let schema = Arc::clone(table.columns());
    let table = PlannedTable { schema, table: Some(Arc::clone(table)), plan: None, text: 0 };
    (path.collect(), Arc::new(table))
}

/// What DataFusion's planner asks for.
pub(crate) struct Provider<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) tables: &'a Tables,
    /// The text that is planned, among those of all views.
    pub(crate) text: usize,
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> PlanResult<Arc<dyn TableSource>> {
        let found = self.tables.by_path.iter().find(|(path, _)| Tables::key(path) == name.table());
        match found {
            Some((_, table)) => {
                Ok(Arc::new(PlannedTable { text: self.text, ..PlannedTable::clone(table) }))
            }
            None => Err(DataFusionError::Plan(format!("there is no table {name}"))),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
