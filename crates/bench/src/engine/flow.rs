//! A query, planned from its text and maintained.
//!
//! The only place here that knows how a dataflow is built and driven.

use std::time::{Duration, Instant};

use change::{ChangeBatch, TableChanges};
use dataflow::{Dataflow, DataflowOptions, FlowStat};
use plan::Catalog;

use super::steps::{Step, Tables};

use crate::Maybe;

/// A maintained query.
pub(crate) struct Flow(Dataflow);

impl Flow {
    /// Plans a query over tables and builds its operators.
    ///
    /// # Errors
    /// Says that it is not planned, or cannot be run like that, and why, in one line.
    pub(crate) fn new(query: &str, tables: &Tables, workers: usize) -> Result<Self, String> {
        let catalog = Catalog { tables: tables.all.clone(), ..Catalog::default() };
        let script = plan::parse(&format!("create view v as {query}"));
        let program = script.and_then(|script| plan::plan(&script, &catalog));
        let program = program.map_err(|problems| {
            let lines: Vec<_> = problems.problems.iter().map(|one| one.message.as_str()).collect();
            format!("not planned: {}", lines.join("; "))
        })?;
        let options = DataflowOptions {
            append_only: tables.append_only.clone(),
            never_truncated: tables.all.iter().map(|table| table.name().clone()).collect(),
            workers,
            ..DataflowOptions::default()
        };
        let flow = Dataflow::with_options(&program.views, &options);
        flow.map(Self).map_err(|error| format!("not run: {error}"))
    }

    /// Pushes changes into the open step.
    pub(crate) fn push(&mut self, changes: &[TableChanges]) -> Maybe<()> {
        Ok(self.0.push(changes)?)
    }

    /// Ends the step and shows what the view changed by.
    pub(crate) fn finish(&mut self, see: &mut impl FnMut(&ChangeBatch)) -> Maybe<()> {
        for (_view, difference) in self.0.finish_step_unsorted()? {
            difference.iter().for_each(&mut *see);
        }
        Ok(())
    }

    /// Makes a step, and shows what the view changed by.
    pub(crate) fn step(
        &mut self,
        step: &[TableChanges],
        see: &mut impl FnMut(&ChangeBatch),
    ) -> Maybe<()> {
        self.push(step)?;
        self.finish(see)
    }

    /// Makes steps and returns how long they took.
    pub(crate) fn run(
        &mut self,
        steps: &[Step],
        mut see: impl FnMut(&ChangeBatch),
    ) -> Maybe<Duration> {
        let since = Instant::now();
        for step in steps {
            self.step(step, &mut see)?;
        }
        Ok(since.elapsed())
    }

    /// What the dataflow did and holds.
    pub(crate) fn stat(&self) -> FlowStat {
        self.0.stat()
    }
}

/// How many a second.
pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
