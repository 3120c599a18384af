//! The way of a generated or read group into the log, shared by the sources that need no acknowledgement: submit,
//! keep the tickets, note what is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use change::{Part, SourcePosition, TransactionGroup};

use crate::limits::GROUPS_IN_FLIGHT_MAX;
use crate::{Intake, Progress, RunOptions, SourceError, Ticket};

/// Groups on their way to the disk, oldest first.
pub(crate) struct Submitter {
    intake: Arc<dyn Intake>,
    run: RunOptions,
    waiting: VecDeque<(Ticket, Option<SourcePosition>)>,
}

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// It is on its way.
    Yes,
    /// The source is to stop.
    Stopped,
}

impl Submitter {
    /// Begins with nothing on its way.
    pub(crate) fn new(intake: Arc<dyn Intake>, run: RunOptions) -> Self {
        Self { intake, run, waiting: VecDeque::new() }
    }

    /// Where the source says what it does.
    pub(crate) fn progress(&self) -> &Progress {
        &self.run.progress
    }

    /// Submits a group, waiting for room.
    ///
    /// # Errors
    /// When the log failed.
    pub(crate) async fn submit(
        &mut self,
        group: TransactionGroup,
    ) -> Result<Submitted, SourceError> {
        while self.waiting.len() >= GROUPS_IN_FLIGHT_MAX {
            let mut run = self.run.clone();
            tokio::select! {
                biased;
                () = run.stopped() => return Ok(Submitted::Stopped),
                durable = self.oldest_durable() => durable?,
            }
        }
        let rows = source_rows(&group);
        let transactions = match group.part() {
            Part::Whole | Part::Last => group.heads().len() as u64,
            Part::First | Part::Middle => 0,
        };
        let position = group.heads().last().and_then(|head| head.position);
        let position = position.filter(|_| transactions > 0);
        let mut run = self.run.clone();
        let ticket = tokio::select! {
            biased;
            () = run.stopped() => return Ok(Submitted::Stopped),
            ticket = self.intake.submit(group) => ticket?,
        };
        self.run.progress.add_rows(rows);
        self.run.progress.add_transactions(transactions);
        self.waiting.push_back((ticket, position));
        Ok(Submitted::Yes)
    }

    /// Waits until the oldest group is durable; for ever, when there is none. May be dropped without losing anything.
    ///
    /// # Errors
    /// When the log failed.
    pub(crate) async fn oldest_durable(&mut self) -> Result<(), SourceError> {
        let Some((ticket, position)) = self.waiting.front_mut() else {
            return std::future::pending().await;
        };
        ticket.answered().await?;
        if let Some(position) = *position {
            self.run.progress.set_position(position);
        }
        self.waiting.pop_front();
        Ok(())
    }

    /// Waits until everything is durable, or the source is to stop.
    ///
    /// # Errors
    /// When the log failed.
    pub(crate) async fn all_durable(&mut self) -> Result<Submitted, SourceError> {
        let mut run = self.run.clone();
        while !self.waiting.is_empty() {
            tokio::select! {
                biased;
                durable = self.oldest_durable() => durable?,
                () = run.stopped() => return Ok(Submitted::Stopped),
            }
        }
        Ok(Submitted::Yes)
    }
}

/// How many changed rows of the source's own tables a group carries, without dead letters and catalogue.
pub(crate) fn source_rows(group: &TransactionGroup) -> u64 {
    let own =
        group.tables().iter().filter(|changes| changes.table().name().source == *group.source());
    own.map(|changes| changes.changes().len() as u64).sum()
}
