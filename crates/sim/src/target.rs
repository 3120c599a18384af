//! A simulated system that a sink writes to: it holds a view's rows and the Time that they are at, in one transaction.
//!
//! It can go away between any two of its operations: before the commit nothing happened, behind it everything did, and
//! the sink is told the same both times.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use change::{ChangeBatch, Time};
use sink::{Sink, SinkError, Step};

use crate::canary::Canary;
use crate::model::Rows;
use crate::tables::{Cell, cell};

/// A target. Clones are the same target; it outlives every process.
#[derive(Clone, Default)]
pub(crate) struct Target {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    rows: Rows,
    held: Time,
    /// After how many operations it goes away.
    fails_after: Option<usize>,
    /// What was asked of it that cannot be.
    broken: Option<String>,
    canary: Option<Canary>,
}

impl Target {
    pub(crate) fn new(canary: Option<Canary>) -> Self {
        let target = Self::default();
        target.state().canary = canary;
        target
    }

    /// Goes away after so many operations, once.
    pub(crate) fn fail_after(&self, operations: usize) {
        self.state().fails_after = Some(operations);
    }

    /// The rows, and the Time that they are at.
    pub(crate) fn held(&self) -> (Time, Rows) {
        let state = self.state();
        (state.held, state.rows.clone())
    }

    /// What was asked of it that cannot be.
    pub(crate) fn broken(&self) -> Option<String> {
        self.state().broken.clone()
    }

    /// Connects to it.
    pub(crate) fn open(&self) -> Box<dyn Sink> {
        let held = self.state().held;
        Box::new(TargetSink { target: self.clone(), held })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, step: Step<'_>) -> Result<(), SinkError> {
        let mut state = self.state();
        let mut rows = state.rows.clone();
        for (row, diff) in rows_of(step.changes) {
            state.operation()?;
            let count = rows.entry(row.clone()).or_default();
            *count += diff;
            let count = *count;
            if count < 0 {
                let what = format!("{row:?} goes once more than it came, at Time {}", step.upto);
                state.broken.get_or_insert(what);
            }
            if count == 0 {
                rows.remove(&row);
            }
        }
        if state.canary == Some(Canary::TimeApart) {
            state.rows = rows.clone();
        }
        state.operation()?;
        (state.rows, state.held) = (rows, step.upto);
        // The answer may be lost.
        state.operation()
    }
}

impl State {
    fn operation(&mut self) -> Result<(), SinkError> {
        match &mut self.fails_after {
            Some(0) => {
                self.fails_after = None;
                let (target, reason) = ("the target".to_owned(), "it went away".to_owned());
                Err(SinkError::Unreachable { target, reason })
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A connection to a target.
struct TargetSink {
    target: Target,
    held: Time,
}

#[async_trait]
impl Sink for TargetSink {
    fn held(&self) -> Time {
        self.held
    }

    async fn write(&mut self, step: Step<'_>) -> Result<(), SinkError> {
        self.target.write(step)?;
        self.held = step.upto;
        Ok(())
    }

    fn wants_rows(&self) -> bool {
        false
    }

    async fn finish(&mut self, _rows: &[arrow::array::RecordBatch]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The rows of a batch, each with its diff.
pub(crate) fn rows_of(changes: &ChangeBatch) -> Vec<(Vec<Cell>, i64)> {
    let columns = changes.rows().columns();
    let row = |at: usize| columns.iter().map(|column| cell(column, at)).collect();
    changes.diffs().iter().enumerate().map(|(at, &diff)| (row(at), diff)).collect()
}
