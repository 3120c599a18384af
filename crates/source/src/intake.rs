//! Where a source's transactions go: the log, seen from the source.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use change::{Time, TransactionGroup};
use tokio::sync::oneshot;

/// Takes in transaction groups, in order, and makes them durable.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Hands over a group; waits while the queue is full. The ticket says when it is durable.
    ///
    /// # Errors
    /// When nothing is taken in any more.
    async fn submit(&self, group: TransactionGroup) -> Result<Ticket, IntakeError>;
}

/// Why a group was not made durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IntakeError {
    /// The log was closed, or its writer is gone.
    #[error("the log takes nothing in any more")]
    Closed,
    /// The log failed.
    #[error("the log could not make the transactions durable: {0}")]
    Log(Arc<dyn Error + Send + Sync>),
}

/// The promise that a group becomes durable.
#[derive(Debug)]
pub struct Ticket {
    answer: oneshot::Receiver<Result<Time, IntakeError>>,
}

impl Ticket {
    /// Waits until the group is durable and returns the Time of its last transaction (for an unfinished part: the
    /// Time before it). Dropping the future loses the answer, not the group.
    ///
    /// # Errors
    /// When the log failed, or was closed before.
    pub async fn durable(mut self) -> Result<Time, IntakeError> {
        self.answered().await
    }

    /// As [`durable`](Self::durable); may be dropped and called again until it has answered.
    pub(crate) async fn answered(&mut self) -> Result<Time, IntakeError> {
        (&mut self.answer).await.unwrap_or(Err(IntakeError::Closed))
    }
}

/// The end of a [`Ticket`] that answers it. Dropping it answers [`IntakeError::Closed`].
#[derive(Debug)]
pub struct TicketSender {
    answer: oneshot::Sender<Result<Time, IntakeError>>,
}

impl TicketSender {
    /// Answers the ticket.
    pub fn send(self, answer: Result<Time, IntakeError>) {
        // A source that no longer waits needs no answer.
        drop(self.answer.send(answer));
    }
}

/// Makes a ticket and its answering end.
#[must_use]
pub fn ticket() -> (TicketSender, Ticket) {
    let (sender, receiver) = oneshot::channel();
    (TicketSender { answer: sender }, Ticket { answer: receiver })
}
