//! `explain …`: how a view is maintained, and what it shares; `explain analyze VIEW`: what its operators did, and what they
//! keep.

use plan::ir::{Program, ViewPlan};

use crate::explained::{analyzed, explained};
use crate::failure::Failure;
use crate::session::{Outcome, Session};

impl Session {
    /// A line for each operator of a view that is not created, with what it would share.
    pub(super) fn explain(&self, text: &str) -> Result<Outcome, Failure> {
        let (program, at) = self.planned_among(text)?;
        let (schema, rows) = explained(&program.views, at)?;
        Ok(Outcome::Explained(schema, rows))
    }

    /// A line for each operator of a view: batches, rows in, rows out, rows kept, about how many bytes these take, and
    /// the time. What several views share is shown with each of them.
    pub(super) fn analyze(&self, view: &str) -> Result<Outcome, Failure> {
        let found = self.find(view).filter(|one| !one.is_table());
        let one = found.ok_or_else(|| self.unknown("view", view))?;
        let stat = match (one.stat(), &self.running) {
            (Some(stat), _) => stat,
            (None, Some(running)) => running.engine.stat(view)?,
            (None, None) => return Err(Failure::Ended("the engine")),
        };
        let catalogue = &self.opened.catalogue;
        let Program { views, .. } = catalogue.program(catalogue.tables()?)?;
        let is_it = |plan: &ViewPlan| plan.name == view;
        let at = views.iter().position(is_it).ok_or_else(|| self.unknown("view", view))?;
        let (schema, rows) = analyzed(&views, at, &stat);
        Ok(Outcome::Explained(schema, rows))
    }
}
