//! Groups on their way into the log, and what may be acknowledged because of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use change::{Part, SourcePosition, TransactionGroup};
use futures::FutureExt as _;

use super::address::Address;
use super::session::{Session, SessionError};
use crate::limits::GROUPS_IN_FLIGHT_MAX;
use crate::{Intake, IntakeError, RunOptions, SourceError, Ticket};

/// How often the server hears from us whatever happens; it gives up after `wal_sender_timeout`, usually 60 s.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// Microseconds from 1970 to 2000.
const EPOCH_US: i64 = 946_684_800_000_000;

/// Why a run does not go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It was asked to stop.
    Stopped,
    /// It failed.
    Failed(SourceError),
}

impl From<SourceError> for Halt {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl From<IntakeError> for Halt {
    fn from(error: IntakeError) -> Self {
        Self::Failed(error.into())
    }
}

/// What the connection does while a group is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It copies: the server waits without asking, and the copy counts its rows itself.
    Copy,
    /// It streams: the server wants to hear from us.
    Stream,
}

/// The groups of one run. It outlives a connection: what was submitted stays submitted.
pub(crate) struct Delivery {
    intake: Arc<dyn Intake>,
    /// How the source runs.
    pub(crate) run: RunOptions,
    waiting: VecDeque<(Ticket, Option<u64>)>,
    /// The end of the last whole transaction that was submitted.
    pub(crate) submitted: u64,
    /// The end of the last whole transaction that is durable.
    pub(crate) durable: u64,
}

impl Delivery {
    /// Begins behind a durable position.
    pub(crate) fn new(intake: Arc<dyn Intake>, run: RunOptions, position: u64) -> Self {
        let waiting = VecDeque::new();
        Self { intake, run, waiting, submitted: position, durable: position }
    }

    /// How many groups are not durable yet.
    pub(crate) fn under_way(&self) -> usize {
        self.waiting.len()
    }

    /// Submits a group; the server keeps hearing from us while the log is busy.
    pub(crate) async fn submit(
        &mut self,
        session: &mut Session,
        address: &Address,
        group: TransactionGroup,
        way: Way,
    ) -> Result<(), Halt> {
        let is_whole = matches!(group.part(), Part::Whole | Part::Last);
        let end = group.heads().last().and_then(|head| match head.position {
            Some(SourcePosition::Lsn(lsn)) if is_whole => Some(lsn),
            _ => None,
        });
        let (rows, transactions) = (group.rows() as u64, group.heads().len() as u64);
        while self.waiting.len() >= GROUPS_IN_FLIGHT_MAX {
            self.oldest_durable_or_status(session, address, way).await?;
        }
        let intake = Arc::clone(&self.intake);
        let mut submitting = intake.submit(group);
        let mut run = self.run.clone();
        let ticket = loop {
            tokio::select! {
                biased;
                ticket = &mut submitting => break ticket?,
                () = run.stopped() => return Err(Halt::Stopped),
                () = tokio::time::sleep(STATUS_INTERVAL), if way == Way::Stream => {
                    let status = Status { durable: self.durable, reply: false };
                    status.send(session).await.map_err(|error| address.explain(error))?;
                }
            }
        };
        if way == Way::Stream {
            self.run.progress.add_rows(rows);
        }
        if is_whole {
            self.run.progress.add_transactions(transactions);
        }
        self.submitted = end.unwrap_or(self.submitted);
        self.waiting.push_back((ticket, end));
        Ok(())
    }

    async fn oldest_durable_or_status(
        &mut self,
        session: &mut Session,
        address: &Address,
        way: Way,
    ) -> Result<(), Halt> {
        let (durable, mut run) = (self.durable, self.run.clone());
        tokio::select! {
            biased;
            done = self.oldest_durable() => done,
            () = run.stopped() => Err(Halt::Stopped),
            () = tokio::time::sleep(STATUS_INTERVAL), if way == Way::Stream => {
                let status = Status { durable, reply: false };
                status.send(session).await.map_err(|error| address.explain(error).into())
            }
        }
    }

    /// Waits until the oldest group is durable; for ever, when there is none. May be dropped without losing anything.
    pub(crate) async fn oldest_durable(&mut self) -> Result<(), Halt> {
        let Some((ticket, end)) = self.waiting.front_mut() else {
            return std::future::pending().await;
        };
        ticket.answered().await?;
        if let Some(end) = *end {
            self.durable = end;
            self.run.progress.set_position(SourcePosition::Lsn(end));
        }
        self.waiting.pop_front();
        Ok(())
    }

    /// Notes what has become durable meanwhile, without waiting.
    pub(crate) fn note_durable(&mut self) -> Result<(), Halt> {
        while let Some(done) = self.oldest_durable().now_or_never() {
            done?;
        }
        Ok(())
    }

    /// Waits until everything is durable.
    pub(crate) async fn all_durable(&mut self) -> Result<(), Halt> {
        let mut run = self.run.clone();
        while !self.waiting.is_empty() {
            tokio::select! {
                biased;
                done = self.oldest_durable() => done?,
                () = run.stopped() => return Err(Halt::Stopped),
            }
        }
        Ok(())
    }
}

/// What a standby tells its server: everything up to here is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The LSN up to which nothing is needed again.
    pub(crate) durable: u64,
    /// Whether the server is to answer at once.
    pub(crate) reply: bool,
}

impl Status {
    /// Sends it.
    pub(crate) async fn send(self, session: &mut Session) -> Result<(), SessionError> {
        let mut body = Vec::with_capacity(34);
        body.push(b'r');
        // Written, flushed and applied are the same to us.
        for _ in 0..3 {
            body.extend_from_slice(&self.durable.to_be_bytes());
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
        body.extend_from_slice(&now.saturating_sub(EPOCH_US).to_be_bytes());
        body.push(u8::from(self.reply));
        session.send_copy_data(&body).await
    }
}
