//! What a sink has yet to write: the sum of the engine's steps since the sink took last.
//!
//! The engine puts and never waits; the sink's task takes when it has time. While nobody takes, steps are summed, and
//! whenever they have doubled the sum is consolidated. So memory is bounded by twice the difference of two states of
//! the view, however long the sink is away.
//!
//! Invariant: what was taken, plus what is pending, is what was put; the taken steps are adjacent and ascending.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use change::{ChangeBatch, Time, consolidate};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::SinkError;

/// The rows below which pending steps are not consolidated.
const CONSOLIDATE_ROWS_MIN: usize = 16_384;

/// The steps after which small pending steps are merged, however few rows they have.
const LOOSE_STEPS_MAX: usize = 256;

/// Pending changes of one sink.
#[derive(Debug)]
pub struct Outbox {
    schema: SchemaRef,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// The Time up to which the sink has taken.
    taken: Time,
    /// The Time up to which the engine has put.
    upto: Time,
    /// Sums of steps, each more than twice as large as the next, and then single steps.
    pending: Vec<ChangeBatch>,
    /// How many of the pending are sums.
    sums: usize,
    pending_rows: usize,
    /// How many rows there were when they were consolidated last.
    consolidated_rows: usize,
    taken_at: Instant,
    closed: bool,
    /// Why nothing can be taken any more.
    failure: Option<Arc<ArrowError>>,
}

/// The Time that a step follows, the Time it leads to, and its consolidated changes.
type Taken = (Time, Time, ChangeBatch);

impl Outbox {
    /// Makes an outbox for a sink that holds the view at `held`.
    #[must_use]
    pub fn new(schema: SchemaRef, held: Time) -> Self {
        let state = State {
            taken: held,
            upto: held,
            pending: Vec::new(),
            sums: 0,
            pending_rows: 0,
            consolidated_rows: 0,
            taken_at: Instant::now(),
            closed: false,
            failure: None,
        };
        Self { schema, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Adds the view's difference between two Times; `None` when the view did not change. Never waits for the sink.
    ///
    /// When the pending changes cannot be summed, that is the sink's failure, and [`take`](Self::take) tells it: the
    /// engine and the other sinks go on.
    ///
    /// # Panics
    /// When the step does not follow the one before, or its rows are not the view's: the engine is at fault.
    pub fn put(&self, after: Time, upto: Time, changes: Option<&ChangeBatch>) {
        let mut state = self.state();
        assert_eq!(after, state.upto, "steps are adjacent");
        assert!(after < upto, "a step moves forward");
        state.upto = upto;
        let is_needed = |changes: &&ChangeBatch| !changes.is_empty() && state.failure.is_none();
        if let Some(changes) = changes.filter(is_needed) {
            state.pending_rows += changes.len();
            state.pending.push(changes.clone());
            if let Err(error) = state.settle(&self.schema) {
                state.fail(error);
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for the next step: the Time it follows, the Time it leads to, and its consolidated changes.
    ///
    /// A step without changes only moves the sink's Time; it is given when `idle` has passed since the step before,
    /// or when the outbox is closed. Returns `None` when the outbox is closed and empty. Dropping the future loses
    /// nothing. There is one taker.
    ///
    /// # Errors
    /// When the changes since the last step do not fit into one batch; nothing can be taken then any more.
    pub async fn take(&self, idle: Duration) -> Result<Option<Taken>, SinkError> {
        loop {
            let notified = self.changed.notified();
            if let Some(step) = self.take_changes()? {
                return Ok(Some(step));
            }
            let position_due = match self.take_position(idle) {
                Position::Step(after, upto) => {
                    let nothing = ChangeBatch::empty(SchemaRef::clone(&self.schema));
                    return Ok(Some((after, upto, nothing)));
                }
                Position::Ended => return Ok(None),
                Position::Wait(due) => due,
            };
            match position_due {
                None => notified.await,
                Some(due) => tokio::select! {
                    () = notified => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// Says that nothing more will be put: what is pending can be taken at once, and then the outbox is empty for good.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// The Time up to which the engine has put.
    #[must_use]
    pub fn upto(&self) -> Time {
        self.state().upto
    }

    /// How many rows are pending, before consolidation.
    #[must_use]
    pub fn pending_rows(&self) -> usize {
        self.state().pending_rows
    }

    /// Takes the pending changes, unless they come to nothing. The sum is made outside the lock: `put` never waits.
    fn take_changes(&self) -> Result<Option<Taken>, SinkError> {
        let (batches, upto) = {
            let mut state = self.state();
            if let Some(failure) = &state.failure {
                return Err(SinkError::Unsummed(Arc::clone(failure)));
            }
            (state.pending_rows, state.sums, state.consolidated_rows) = (0, 0, 0);
            (std::mem::take(&mut state.pending), state.upto)
        };
        if batches.is_empty() {
            return Ok(None);
        }
        let changes = match consolidate(&self.schema, &batches) {
            Ok(changes) => changes,
            Err(error) => return Err(SinkError::Unsummed(self.state().fail(error))),
        };
        if changes.is_empty() {
            return Ok(None);
        }
        let mut state = self.state();
        let after = std::mem::replace(&mut state.taken, upto);
        state.taken_at = Instant::now();
        Ok(Some((after, upto, changes)))
    }

    fn take_position(&self, idle: Duration) -> Position {
        let mut state = self.state();
        if !state.pending.is_empty() {
            // Put between the two looks: look again at once.
            return Position::Wait(Some(Instant::now()));
        }
        if state.taken == state.upto {
            return if state.closed { Position::Ended } else { Position::Wait(None) };
        }
        let due = state.taken_at + idle;
        if !state.closed && Instant::now() < due {
            return Position::Wait(Some(due));
        }
        let upto = state.upto;
        state.taken_at = Instant::now();
        Position::Step(std::mem::replace(&mut state.taken, upto), upto)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the process; until then the state is whole, for no code panics while changing it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Position {
    Step(Time, Time),
    /// Until then, or until something is put.
    Wait(Option<Instant>),
    Ended,
}

impl State {
    /// Gives up: what is pending goes, and nothing more is kept.
    fn fail(&mut self, error: ArrowError) -> Arc<ArrowError> {
        self.pending = Vec::new();
        (self.pending_rows, self.sums, self.consolidated_rows) = (0, 0, 0);
        let error = Arc::new(error);
        self.failure = Some(Arc::clone(&error));
        error
    }

    /// Keeps the pending steps few and their rows bounded, at a logarithmic cost for each row.
    fn settle(&mut self, schema: &SchemaRef) -> Result<(), ArrowError> {
        if self.pending_rows > (2 * self.consolidated_rows).max(CONSOLIDATE_ROWS_MIN) {
            self.merge_from(0, schema)?;
            self.consolidated_rows = self.pending_rows;
        } else if self.pending.len() - self.sums >= LOOSE_STEPS_MAX {
            let mut first = self.sums;
            let mut rows: usize = self.pending[first..].iter().map(ChangeBatch::len).sum();
            while first > 0 && self.pending[first - 1].len() <= 2 * rows {
                first -= 1;
                rows += self.pending[first].len();
            }
            self.merge_from(first, schema)?;
        }
        Ok(())
    }

    fn merge_from(&mut self, first: usize, schema: &SchemaRef) -> Result<(), ArrowError> {
        let sum = consolidate(schema, &self.pending[first..])?;
        self.pending.truncate(first);
        if !sum.is_empty() {
            self.pending.push(sum);
        }
        self.sums = self.pending.len();
        self.pending_rows = self.pending.iter().map(ChangeBatch::len).sum();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
