//! A table or view whose rows follow the log: the one place where a session meets the engine.
//!
//! Each has a dataflow of its own, filled by a replay of the log and moved by what the log gets. All are asked to catch
//! up after every transaction, so between two statements all are exact at the same Time. Beside a process that runs,
//! its own views are read instead, and waited for.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use change::{TableSchema, Time};
use dataflow::FlowStat;
use plan::TableDefinition;
use plan::ir::{Node, ViewPlan};
use view::{ERRORS, ViewInfo, Views};

use crate::engine::{Engine, Maintenance};
use crate::failure::Failure;
use crate::intent::Opened;
use crate::knowledge::knowledge;
use crate::session::SessionError;

/// A table or view whose rows follow the log.
pub(crate) struct Maintained {
    name: String,
    schema: SchemaRef,
    is_table: bool,
    /// `None` when the running process moves it.
    engine: Option<Engine>,
    views: Arc<Views>,
    /// Why it follows no longer.
    stopped: Option<String>,
}

impl Maintained {
    /// Follows a table, whose rows are found by its keys too.
    pub(crate) fn of_table(
        table: &Arc<TableSchema>,
        definition: Option<&TableDefinition>,
        opened: &Opened,
    ) -> Result<Self, Failure> {
        let schema = Arc::clone(table.columns());
        let columns = (0..schema.fields().len()).collect();
        let plan = ViewPlan {
            name: table.name().table.to_string(),
            schema: Arc::clone(&schema),
            key: table.key().to_vec(),
            order: Vec::new(),
            root: Node::Table { table: Arc::clone(table), columns, schema },
            statement: String::new(),
            places: Vec::new(),
        };
        let keys = definition.map(|table| table.keys().cloned().collect());
        Self::new(&plan, Some(keys.unwrap_or_default()), opened)
    }

    /// Follows a view.
    pub(crate) fn of_view(plan: &ViewPlan, opened: &Opened) -> Result<Self, Failure> {
        Self::new(plan, None, opened)
    }

    /// A view of the process that runs.
    pub(crate) fn of_running(info: &ViewInfo, views: &Arc<Views>) -> Self {
        let (name, schema) = (info.name.clone(), Arc::clone(&info.schema));
        let views = Arc::clone(views);
        Self { name, schema, is_table: false, engine: None, views, stopped: None }
    }

    /// Follows a view, or a table with some keys.
    fn new(
        plan: &ViewPlan,
        keys: Option<Vec<Vec<usize>>>,
        opened: &Opened,
    ) -> Result<Self, Failure> {
        let views = Views::new(vec![ViewInfo::from(plan)]);
        let is_table = keys.is_some();
        for key in keys.into_iter().flatten() {
            views.index(&plan.name, key)?;
        }
        let reader = opened.log.reader(Time::ZERO);
        let (plans, forgotten) = (std::slice::from_ref(plan), opened.catalogue.forgotten());
        let options = knowledge(plans, &opened.catalogue.sources()?, forgotten);
        let maintenance = Maintenance { plans, options, forgotten };
        let engine = Engine::new(reader, &maintenance, Arc::clone(&views), Vec::new())?;
        let (name, schema) = (plan.name.clone(), Arc::clone(&plan.schema));
        let engine = Some(engine);
        let mut this = Self { name, schema, is_table, engine, views, stopped: None };
        this.catch_up()?;
        Ok(this)
    }

    /// What its dataflow did and holds; `None` when the running process has it.
    pub(crate) fn stat(&self) -> Option<FlowStat> {
        self.engine.as_ref().and_then(|engine| engine.stat(&self.name))
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether it is a table.
    pub(crate) fn is_table(&self) -> bool {
        self.is_table
    }

    /// Whether it stopped, because it can be maintained no further.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Moves to the log's end. A view that can be maintained no further stops there; that is no failure of the write.
    pub(crate) fn catch_up(&mut self) -> Result<(), Failure> {
        let Some(engine) = self.engine.as_mut().filter(|_| self.stopped.is_none()) else {
            return Ok(());
        };
        match engine.catch_up() {
            Err(Failure::Flow(error)) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                self.stopped = Some(format!("{} {error}{cause}", error.code()));
                // It reads on no more, and must not keep history from being folded.
                self.engine = None;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// How many rows it lacks because they could not be computed.
    pub(crate) fn lacking_rows(&self) -> u64 {
        self.views.snapshot().lacking_rows(&self.name).unwrap_or_default()
    }

    /// The rows that it lacks, as they are read from `evert.errors`.
    pub(crate) fn errors(&self) -> Result<Vec<RecordBatch>, Failure> {
        Ok(self.views.snapshot().rows(ERRORS)?)
    }

    /// The rows of a table at the log's end that have some values of a key; the others are not looked at.
    pub(crate) fn find(&self, key: &[usize], values: &RecordBatch) -> Result<RecordBatch, Failure> {
        self.still_follows()?;
        Ok(self.views.find(&self.name, key, values)?)
    }

    /// The rows at the log's end.
    pub(crate) fn rows(&self) -> Result<Vec<RecordBatch>, Failure> {
        self.still_follows()?;
        Ok(self.views.snapshot().rows(&self.name)?)
    }

    fn still_follows(&self) -> Result<(), Failure> {
        let Some(reason) = &self.stopped else { return Ok(()) };
        let (view, reason) = (self.name.clone(), reason.clone());
        Err(SessionError::Stopped { view, reason }.into())
    }
}
