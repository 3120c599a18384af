//! A session: statements, one after the other, over a data directory that this process holds alone, by itself or beside
//! the pipeline that runs on it.
//!
//! A write is logged, durable, and visible in every view when its statement returns; several become one transaction
//! between `begin` and `commit`. Tables that Evert owns are tables of the source `public`; what a statement reads are
//! their rows and those of the views at the log's end, within a transaction with its own writes in the tables.

mod analyze;
mod assign;
mod beside;
mod error;
mod maintained;
mod verify;
mod write;
mod written;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use change::TableSchema;
use change::catalog::{CatalogChange, Kind, TABLES_SOURCE};
use log::Log;
use plan::ir::{Program, ViewPlan};
use plan::{Answer, Described, Dropped, Read, SessionStatement, TableDefinition, Wanted};
use serve::api::SqlOutcome;
use view::{DAMAGE, ERRORS, Lacking, ViewError, damage_rows, errors_info};

use crate::catalogue::{Catalogue, own_table_rows};
use crate::failure::Failure;
use crate::intent::{self, Opened};
use crate::session::maintained::Maintained;
use crate::session::write::{numbered, with_number};
use crate::session::written::Written;
use crate::{output, scrubbing};

pub(crate) use crate::session::beside::Running;
pub(crate) use crate::session::error::SessionError;

/// Statements over a data directory.
pub(crate) struct Session {
    opened: Opened,
    tables: BTreeMap<String, TableDefinition>,
    maintained: Vec<Maintained>,
    /// What was written since `begin`, by table; `None` outside of a transaction.
    transaction: Option<BTreeMap<String, Written>>,
    verifies: bool,
    /// The pipeline that runs beside it.
    running: Option<Running>,
    /// The views that were read and lacked rows, with how many they lacked last.
    lacking: BTreeMap<String, u64>,
    /// How many rows of tables statements have looked at.
    read_rows: u64,
}

/// What a statement came to.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It was done; the words say what.
    Done(&'static str),
    /// It wrote so many rows; the word says how.
    Wrote(&'static str, u64),
    /// It was a question, and this is the answer.
    Rows(SchemaRef, Vec<RecordBatch>),
    /// It asked how a view is maintained: a row for each operator.
    Explained(SchemaRef, RecordBatch),
}

impl Outcome {
    /// The outcome as it is told to a client.
    pub(crate) fn told(self) -> SqlOutcome {
        match self {
            Self::Done(what) => SqlOutcome::Done(what.to_owned()),
            Self::Wrote(how, rows) => SqlOutcome::Wrote { how: how.to_owned(), rows },
            Self::Rows(_, batches) => SqlOutcome::Rows(output::objects(&batches)),
            Self::Explained(_, batch) => SqlOutcome::Explained(output::objects(&[batch])),
        }
    }
}

impl Session {
    /// Opens a data directory, or creates one. With `verifies`, every view is compared with its query after every
    /// change.
    pub(crate) fn open(root: &Path, verifies: bool) -> Result<Self, Failure> {
        let opened = Opened::new(root)?;
        let mut this = Self::with_tables(opened)?;
        this.verifies = verifies;
        let catalogue = &this.opened.catalogue;
        for plan in &catalogue.program(catalogue.tables()?)?.views {
            this.maintained.push(Maintained::of_view(plan, &this.opened)?);
        }
        Ok(this)
    }

    /// Begins a session beside the pipeline that runs on the same log.
    pub(crate) fn beside(
        log: &Arc<Log>,
        log_id: [u8; 16],
        running: &Running,
    ) -> Result<Self, Failure> {
        let (log, catalogue) = (Arc::clone(log), Catalogue::read(log)?);
        let positions = BTreeMap::new();
        let mut this =
            Self::with_tables(Opened { log, log_id, positions, catalogue, directory: None })?;
        let infos = running.views.snapshot();
        let infos = infos.views().map(|info| Maintained::of_running(info, &running.views));
        this.maintained.extend(infos);
        this.running = Some(running.clone());
        Ok(this)
    }

    fn with_tables(opened: Opened) -> Result<Self, Failure> {
        let mut tables = BTreeMap::new();
        for (name, statement) in opened.catalogue.of(Kind::TableStatement) {
            for statement in plan::session_statements(statement)? {
                if let SessionStatement::CreateTable { table, .. } = statement {
                    tables.insert(name.to_owned(), table);
                }
            }
        }
        let mut maintained = Vec::new();
        for table in opened.catalogue.tables_of(TABLES_SOURCE)? {
            let definition = tables.get(&*table.name().table);
            maintained.push(Maintained::of_table(&table, definition, &opened)?);
        }
        Ok(Self {
            opened,
            tables,
            maintained,
            transaction: None,
            verifies: false,
            running: None,
            lacking: BTreeMap::new(),
            read_rows: 0,
        })
    }

    /// Runs the statements of a text; returns what each came to. Those before one that fails have happened.
    pub(crate) async fn execute(&mut self, text: &str) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        for statement in plan::session_statements(text)? {
            outcomes.push(self.run(statement).await?);
        }
        Ok(outcomes)
    }

    /// Runs the statements of a text after which nothing may be left open.
    pub(crate) async fn execute_whole(&mut self, text: &str) -> Result<Vec<Outcome>, Failure> {
        let outcomes = self.execute(text).await;
        if self.transaction.take().is_some() {
            outcomes?;
            return Err(left_open());
        }
        outcomes
    }

    async fn run(&mut self, statement: SessionStatement) -> Result<Outcome, Failure> {
        self.reached().await?;
        match statement {
            SessionStatement::CreateTable { table, if_not_exists } => {
                self.outside_of_transaction()?;
                self.create_table(table, if_not_exists).await
            }
            SessionStatement::CreateView { text } => {
                self.outside_of_transaction()?;
                self.create_view(&text).await
            }
            SessionStatement::Drop { kind, names, if_exists } => {
                self.outside_of_transaction()?;
                if self.running.is_some() {
                    return self.drop_running(kind, &names, if_exists).await;
                }
                for name in &names {
                    self.forget(kind, name, if_exists)?;
                }
                Ok(Outcome::Done("drop"))
            }
            SessionStatement::Insert(insert) => self.insert(&insert).await,
            SessionStatement::Update(update) => self.update(&update).await,
            SessionStatement::Delete(delete) => self.delete(&delete).await,
            SessionStatement::Truncate(names) => self.truncate(&names).await,
            SessionStatement::Begin => {
                self.outside_of_transaction()?;
                self.transaction = Some(BTreeMap::new());
                Ok(Outcome::Done("begin"))
            }
            SessionStatement::Commit => {
                let written = self.transaction.take().ok_or_else(no_transaction)?;
                let changes = written.into_iter().map(|(name, written)| Ok((name, written.all()?)));
                let changes = changes.collect::<Result<_, Failure>>()?;
                self.commit(changes).await?;
                Ok(Outcome::Done("commit"))
            }
            SessionStatement::Rollback => {
                self.transaction.take().ok_or_else(no_transaction)?;
                Ok(Outcome::Done("rollback"))
            }
            SessionStatement::Flush => Ok(Outcome::Done("flush")),
            SessionStatement::Explain(text) => self.explain(&text),
            SessionStatement::Analyze(view) => self.analyze(&view),
            SessionStatement::Query(read) => {
                let answer = self.read(&read).await?;
                Ok(Outcome::Rows(answer.schema, answer.rows))
            }
        }
    }

    fn outside_of_transaction(&self) -> Result<(), Failure> {
        if self.transaction.is_none() {
            return Ok(());
        }
        let what = "a transaction is open, in which rows are written and read only";
        Err(SessionError::Order { what, help: "write `commit` or `rollback` first" }.into())
    }

    /// Moves every table and view to the log's end, and waits for those that the running process moves.
    async fn reached(&mut self) -> Result<(), Failure> {
        self.catch_up()?;
        self.running_reached().await
    }

    /// Moves every table and view of this session to the log's end.
    pub(crate) fn catch_up(&mut self) -> Result<(), Failure> {
        self.maintained.iter_mut().try_for_each(Maintained::catch_up)
    }

    /// Moves everything to the log's end after a change, and looks whether it is right.
    async fn moved(&mut self) -> Result<(), Failure> {
        self.reached().await?;
        if self.verifies { verify::verify(&self.opened, &self.maintained).await } else { Ok(()) }
    }

    async fn create_table(
        &mut self,
        table: TableDefinition,
        if_not_exists: bool,
    ) -> Result<Outcome, Failure> {
        let name = table.name.clone();
        if self.find(&name).is_some() || self.is_being_created(&name) {
            if if_not_exists && self.tables.contains_key(&name) {
                return Ok(Outcome::Done("create table"));
            }
            return Err(SessionError::Taken { name }.into());
        }
        let schema = Arc::new(table.schema());
        self.opened.change_catalogue(own_table_rows(&table).into())?;
        // Tables come before views, as on a later start.
        let tables = self.maintained.iter().take_while(|one| one.is_table()).count();
        let one = Maintained::of_table(&schema, Some(&table), &self.opened)?;
        self.maintained.insert(tables, one);
        self.tables.insert(name, table);
        self.moved().await?;
        Ok(Outcome::Done("create table"))
    }

    /// Plans a text that creates one view.
    fn planned(&self, text: &str) -> Result<ViewPlan, Failure> {
        let (mut program, at) = self.planned_among(text)?;
        Ok(program.views.swap_remove(at))
    }

    /// Plans a text that creates one view, among those that there are.
    fn planned_among(&self, text: &str) -> Result<(Program, usize), Failure> {
        let catalogue = &self.opened.catalogue;
        let known = catalogue.for_planner(catalogue.tables()?);
        let script = plan::parse_in(text, &known)?;
        let program = plan::plan(&script, &known)?;
        let statement = script.to_string();
        let statement = statement.trim_end().trim_end_matches(';');
        let at = program.views.iter().position(|view| view.statement == statement);
        Ok((program, at.ok_or(Failure::Ended("the plan of a view"))?))
    }

    async fn create_view(&mut self, text: &str) -> Result<Outcome, Failure> {
        assert!(self.running.is_none(), "a view of a running process is filled beside the session");
        let plan = self.planned(text)?;
        if self.find(&plan.name).is_some() {
            return Err(SessionError::Taken { name: plan.name }.into());
        }
        let definition = Some(plan.statement.clone());
        let row = CatalogChange { kind: Kind::View, name: plan.name.clone(), definition };
        // What the engine cannot build is not noted.
        let view = Maintained::of_view(&plan, &self.opened)?;
        self.opened.change_catalogue(vec![row])?;
        self.maintained.push(view);
        self.moved().await?;
        Ok(Outcome::Done("create view"))
    }

    fn forget(&mut self, kind: Dropped, name: &str, if_exists: bool) -> Result<(), Failure> {
        let wants_table = kind == Dropped::Table;
        let place = self
            .maintained
            .iter()
            .position(|one| one.name() == name && one.is_table() == wants_table);
        let Some(place) = place else {
            if if_exists {
                return Ok(());
            }
            return Err(self.unknown(if wants_table { "table" } else { "view" }, name));
        };
        let catalogue = &self.opened.catalogue;
        if wants_table {
            intent::still_plans_without(catalogue, Kind::TableStatement, name)?;
            intent::forget_table(&mut self.opened, name)?;
            self.tables.remove(name);
        } else {
            intent::still_plans_without(catalogue, Kind::View, name)?;
            let row = CatalogChange { kind: Kind::View, name: name.to_owned(), definition: None };
            self.opened.change_catalogue(vec![row])?;
        }
        self.maintained.remove(place);
        self.catch_up()
    }

    fn find(&self, name: &str) -> Option<&Maintained> {
        self.maintained.iter().find(|one| one.name() == name)
    }

    fn unknown(&self, kind: &'static str, name: &str) -> Failure {
        let is_kind = |one: &&Maintained| one.is_table() == (kind == "table");
        let known = self.maintained.iter().filter(is_kind).map(|one| one.name().to_owned());
        let (name, known) = (name.to_owned(), known.collect());
        SessionError::Unknown { kind, name, known }.into()
    }

    /// The rows that views lack at the log's end.
    fn errors(&self) -> Result<Vec<RecordBatch>, Failure> {
        match &self.running {
            Some(running) => Ok(running.views.snapshot().rows(ERRORS)?),
            None => {
                let errors = self.maintained.iter().map(Maintained::errors);
                Ok(errors.collect::<Result<Vec<_>, _>>()?.concat())
            }
        }
    }

    /// The views that were read since this was asked last, and that lacked rows.
    pub(crate) fn take_lacking(&mut self) -> Vec<Lacking> {
        let lacking = std::mem::take(&mut self.lacking).into_iter();
        lacking.map(|(view, rows)| Lacking { view, rows }).collect()
    }

    /// Runs a read.
    async fn read(&mut self, read: &Read) -> Result<Answer, Failure> {
        Ok(self.read_about(read, None).await?.0)
    }

    /// Runs a read. If it is about the rows of a table, they are numbered; those that it numbered are returned as well.
    async fn read_about(
        &mut self,
        read: &Read,
        target: Option<&str>,
    ) -> Result<(Answer, Option<RecordBatch>), Failure> {
        let (mut described, mut rows) = (Vec::new(), BTreeMap::new());
        for name in read.relations()?.into_iter().collect::<BTreeSet<_>>() {
            if name == "information_schema" {
                continue;
            }
            if let Some(kept) = self.kept_rows(&name)? {
                let (schema, keys) = (kept.0, Vec::new());
                rows.insert(name.clone(), kept.1);
                described.push(Described { name, schema, keys });
            } else if let Some(one) = self.find(&name) {
                let schema = Arc::clone(one.schema());
                let keys = self.tables.get(&name).filter(|_| one.is_table());
                let keys = keys.map(|table| table.keys().cloned().collect()).unwrap_or_default();
                let schema = if target == Some(&*name) { with_number(&schema) } else { schema };
                described.push(Described { name, schema, keys });
            } else if !Read::is_function(&name) {
                let known = self.maintained.iter().map(Maintained::name);
                return Err(read.unknown(&name, known).into());
            }
        }
        let planned = read.plan(described).await?;
        let mut numbered_rows = None;
        for name in planned.relations() {
            if rows.contains_key(name) {
                continue;
            }
            let found = self.rows_wanted(name, planned.wanted(name))?;
            if target == Some(name) {
                rows.insert(name.to_owned(), vec![numbered(&found[0])?]);
                numbered_rows = found.into_iter().next();
            } else {
                rows.insert(name.to_owned(), found);
            }
        }
        Ok((planned.run(rows).await?, numbered_rows))
    }

    /// The rows of what Evert keeps beside tables and views, and their schema.
    fn kept_rows(&self, name: &str) -> Result<Option<(SchemaRef, Vec<RecordBatch>)>, Failure> {
        if name == ERRORS {
            return Ok(Some((Arc::clone(&errors_info().schema), self.errors()?)));
        }
        if name != DAMAGE {
            return Ok(None);
        }
        let damage = self.opened.log.scrubbed().damage;
        let rows = damage_rows(&damage.iter().map(scrubbing::row).collect::<Vec<_>>());
        let rows = rows.map_err(ViewError::from)?;
        Ok(Some((rows.schema(), vec![rows])))
    }

    /// The rows of a table, as one batch, or of a view, of which those of some keys are wanted.
    fn rows_wanted(&mut self, name: &str, wanted: &Wanted) -> Result<Vec<RecordBatch>, Failure> {
        let one = self.find(name).ok_or_else(|| self.unknown("table", name))?;
        if one.is_table() {
            return Ok(vec![self.table_rows(name, wanted)?]);
        }
        let (lacking_rows, rows) = (one.lacking_rows(), one.rows()?);
        if lacking_rows > 0 {
            self.lacking.insert(name.to_owned(), lacking_rows);
        }
        Ok(rows)
    }

    /// The schema of a table as the log has it.
    fn schema_of(&self, name: &str) -> Result<Arc<TableSchema>, Failure> {
        let definition = self.tables.get(name).ok_or_else(|| self.unknown("table", name))?;
        Ok(Arc::new(definition.schema()))
    }
}

fn left_open() -> Failure {
    let what = "the statements end within a transaction, which was rolled back";
    SessionError::Order { what, help: "end them with `commit`" }.into()
}

fn no_transaction() -> Failure {
    let what = "no transaction is open";
    SessionError::Order { what, help: "write `begin` first" }.into()
}
