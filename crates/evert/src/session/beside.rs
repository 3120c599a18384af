//! A session beside the pipeline that runs on the same log: its views are read and waited for, and they come and go.
//!
//! Filling a new view takes as long as the log is; the session is free for others meanwhile. So a statement that creates
//! a view has two halves, [`begin_view`](Session::begin_view) and [`note_view`](Session::note_view), between which
//! whoever runs the statements lets go of the session.

use std::sync::Arc;
use std::vec::IntoIter;

use change::Time;
use change::catalog::{CatalogChange, Kind};
use plan::{Dropped, SessionStatement};
use view::Views;

use crate::board::Board;
use crate::catalogue::Catalogue;
use crate::creation::{Creation, Creations};
use crate::engine::{EngineHandle, Maintenance};
use crate::failure::Failure;
use crate::intent;
use crate::knowledge::knowledge;
use crate::retention::HeldBack;
use crate::session::maintained::Maintained;
use crate::session::{Outcome, Session, SessionError};

/// The pipeline that runs beside a session.
#[derive(Clone)]
pub(crate) struct Running {
    /// Why history waits to be folded.
    pub(crate) held_back: Arc<HeldBack>,
    /// Its views.
    pub(crate) views: Arc<Views>,
    /// What moves them.
    pub(crate) engine: EngineHandle,
    /// Its stages.
    pub(crate) board: Arc<Board>,
    /// The views that are being created.
    pub(crate) creations: Arc<Creations>,
    /// How many workers share the upkeep of a view.
    pub(crate) workers: usize,
}

impl Session {
    /// Runs statements up to the first that creates a view, which is begun. When none is left, nothing may be open.
    pub(crate) async fn execute_beside(
        &mut self,
        statements: &mut IntoIter<SessionStatement>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<Option<Creation>, Failure> {
        let begun = self.execute_to_view(statements, outcomes).await;
        let is_open = self.transaction.take().is_some();
        match begun {
            Ok(None) if is_open => Err(super::left_open()),
            begun => begun,
        }
    }

    async fn execute_to_view(
        &mut self,
        statements: &mut IntoIter<SessionStatement>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<Option<Creation>, Failure> {
        for statement in statements {
            if let SessionStatement::CreateView { text } = &statement {
                self.outside_of_transaction()?;
                return self.begin_view(text).map(Some);
            }
            outcomes.push(self.run(statement).await?);
        }
        Ok(None)
    }

    fn beside_what(&self) -> Result<&Running, Failure> {
        self.running.as_ref().ok_or(Failure::Ended("the running process"))
    }

    /// Reads the catalogue again: sources write to it as well.
    fn refresh(&mut self) -> Result<(), Failure> {
        self.opened.catalogue = Catalogue::read(&self.opened.log)?;
        Ok(())
    }

    /// Plans a view of the running process, and begins to create it.
    fn begin_view(&mut self, text: &str) -> Result<Creation, Failure> {
        self.refresh()?;
        let plan = self.planned(text)?;
        if self.find(&plan.name).is_some() {
            return Err(SessionError::Taken { name: plan.name }.into());
        }
        let running = self.beside_what()?;
        let (plans, forgotten) = (std::slice::from_ref(&plan), self.opened.catalogue.forgotten());
        let mut options = knowledge(plans, &self.opened.catalogue.sources()?, forgotten);
        options.workers = running.workers;
        let maintenance = Maintenance { plans, options, forgotten };
        running.creations.begin(text, &self.opened.log, &maintenance)
    }

    /// Whether the running process is about to have a view of that name.
    pub(super) fn is_being_created(&self, name: &str) -> bool {
        self.running.as_ref().is_some_and(|running| running.creations.has(name))
    }

    /// Notes a view that the engine maintains in the catalogue, and waits until it can be read.
    pub(crate) async fn note_view(&mut self, creation: &Creation) -> Result<Outcome, Failure> {
        let noted = self.note(creation);
        if noted.is_err() {
            self.beside_what()?.engine.abandon(&creation.plan.name);
        }
        noted?;
        self.reached().await?;
        let running = self.beside_what()?;
        let snapshot = running.views.snapshot();
        let one = Maintained::of_running(snapshot.info(&creation.plan.name)?, &running.views);
        self.maintained.push(one);
        Ok(Outcome::Done("create view"))
    }

    fn note(&mut self, creation: &Creation) -> Result<(), Failure> {
        if creation.is_unwanted() {
            return Err(creation.unwanted());
        }
        // Others had the session meanwhile: the name and all that is read must be as they were.
        self.refresh()?;
        let plan = self.planned(&creation.text)?;
        if plan::explain(&plan) != plan::explain(&creation.plan) {
            let what = "what the view reads became something else while it was being filled";
            return Err(SessionError::Order { what, help: "create it again" }.into());
        }
        self.beside_what()?.engine.confirm(&plan.name)?;
        let definition = Some(plan.statement);
        let row = CatalogChange { kind: Kind::View, name: plan.name, definition };
        self.opened.change_catalogue(vec![row])
    }

    /// Drops views of the running process.
    pub(super) async fn drop_running(
        &mut self,
        kind: Dropped,
        names: &[String],
        if_exists: bool,
    ) -> Result<Outcome, Failure> {
        if kind == Dropped::Table {
            let what = "a process that runs keeps its tables";
            let help = "stop it, and drop the table before the next `evert run`";
            return Err(SessionError::Order { what, help }.into());
        }
        for name in names {
            if !self.beside_what()?.creations.cancel(name) {
                self.drop_running_view(name, if_exists).await?;
            }
        }
        Ok(Outcome::Done("drop"))
    }

    async fn drop_running_view(&mut self, name: &str, if_exists: bool) -> Result<(), Failure> {
        let is_it = |one: &Maintained| !one.is_table() && one.name() == name;
        let Some(place) = self.maintained.iter().position(is_it) else {
            return if if_exists { Ok(()) } else { Err(self.unknown("view", name)) };
        };
        self.refresh()?;
        intent::still_plans_without(&self.opened.catalogue, Kind::View, name)?;
        // Some sinks belong to this run alone, and so may the view.
        let running = self.beside_what()?;
        let sinks = running.board.sinks().filter(|(_, sink)| sink.view == name);
        let sinks: Vec<&str> = sinks.map(|(sink, _)| sink).collect();
        if !sinks.is_empty() {
            return Err(Failure::Usage {
                what: format!("view {name} is still needed by sink {}", sinks.join(", sink ")),
                help: "stop the process, drop the sink with `evert drop`, and then the view"
                    .to_owned(),
            });
        }
        if self.opened.catalogue.get(Kind::View, name).is_none() {
            let what = "the view belongs to this run alone";
            return Err(SessionError::Order { what, help: "it goes when the run ends" }.into());
        }
        let row = CatalogChange { kind: Kind::View, name: name.to_owned(), definition: None };
        self.opened.change_catalogue(vec![row])?;
        self.reached().await?;
        self.maintained.remove(place);
        Ok(())
    }

    /// Waits for the views that the running process moves.
    pub(super) async fn running_reached(&self) -> Result<(), Failure> {
        let Some(running) = &self.running else { return Ok(()) };
        let end = Time(self.opened.log.upper().0 - 1);
        match running.views.wait_past(end).await {
            reached if reached < end => Err(Failure::Ended("the running process")),
            _reached => Ok(()),
        }
    }
}
