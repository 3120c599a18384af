//! Databases, files and streams become transactions.
//!
//! A [`Source`] knows one system. It says which tables are there ([`Source::discover`]) and then hands over their
//! changes as transaction groups ([`Source::run`]) to an [`Intake`], which answers when they are durable. A source
//! keeps nothing of its own: where it goes on comes back to it from the log, as a [`Resume`].
//!
//! Invariant: a position is given to the outside (acknowledged to a server) only after the log has synced everything
//! up to it.
#![allow(
    clippy::disallowed_methods,
    reason = "an edge of the system: it reads clocks and starts threads"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use change::{SourcePosition, TableSchema};
use tokio::sync::watch;

mod columns;
mod dead_letters;
mod demo;
mod error;
mod file;
mod intake;
mod limits;
mod options;
mod postgres;
mod progress;
mod submit;
#[cfg(test)]
mod testing;
pub(crate) use change::read as text;

pub use columns::read_texts;
pub use error::SourceError;
pub use intake::{Intake, IntakeError, Ticket, TicketSender, ticket};
#[doc(hidden)]
pub use postgres::{MessageDecoder, exercise};
pub use progress::{Phase, Progress, ProgressReport};

/// What a script says of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// The name that its tables are found under.
    pub name: Arc<str>,
    /// Where it is: `postgres://…`, a path, `stdin`, `demo`.
    pub url: String,
    /// Its options, by lower-case name.
    pub options: BTreeMap<String, String>,
}

/// What the log knows of a source from earlier runs; all empty in the first.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// The position behind the last whole transaction that is durable.
    pub position: Option<SourcePosition>,
    /// What the source logged of itself in the catalogue (kind `SourceState`): its own JSON.
    pub state: Option<String>,
    /// Its tables, as they were when they were logged.
    pub tables: Vec<Arc<TableSchema>>,
    /// Whether the log was restored from a backup and the source was not followed since: what its system was told in
    /// between to be durable is not in the log.
    pub restored: bool,
}

/// How a source runs.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Whether to end at the position that a live source had at the start.
    pub once: bool,
    /// Turns true when the source is to stop.
    pub stop: watch::Receiver<bool>,
    /// Where the source says what it does.
    pub progress: Arc<Progress>,
}

impl RunOptions {
    /// Waits until the source is to stop. Also returns when nobody is left who could say so.
    pub async fn stopped(&mut self) {
        // An error means that the sender is gone, which stops the source as well.
        self.stop.wait_for(|&stop| stop).await.map(drop).unwrap_or_default();
    }

    /// Whether the source is to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }
}

/// How a source's run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The input has ended, or the goal of `once` is reached, and all of it is durable.
    Ended,
    /// It was asked to stop; a later run goes on from what is durable.
    Stopped,
}

/// A system whose changes become transactions.
#[async_trait]
pub trait Source: Send {
    /// Returns the source's tables as they are now.
    ///
    /// # Errors
    /// When the system cannot be reached, has types that cannot be taken in, or differs from what `resume` says so
    /// that going on would be wrong.
    async fn discover(&mut self, resume: &Resume) -> Result<Vec<Arc<TableSchema>>, SourceError>;

    /// Hands over every change behind `resume`'s position, in order, until the input ends or it is stopped.
    ///
    /// Whatever was durable when it returns is durable whole; nothing that was submitted is awaited when it is stopped.
    ///
    /// # Errors
    /// When the source cannot go on. A transient error ([`SourceError::is_transient`]) is worth another run.
    async fn run(
        &mut self,
        resume: Resume,
        intake: Arc<dyn Intake>,
        run: RunOptions,
    ) -> Result<End, SourceError>;
}

/// Opens the source that a URL names; nothing is read or connected to yet.
///
/// # Errors
/// When the URL is of no known kind, or an option is unknown or has a wrong value.
pub fn open(config: SourceConfig) -> Result<Box<dyn Source>, SourceError> {
    let url = config.url.clone();
    if is_postgres(&url) {
        return postgres::open(config);
    }
    if matches!(url.as_str(), "demo" | "demo:" | "demo://") {
        return demo::open(config);
    }
    if file::is_file_url(&url, config.options.contains_key("format")) {
        return file::open(config);
    }
    Err(SourceError::UnknownUrl { url })
}

/// Removes what a source left in its system (PostgreSQL: slot and publication). Other sources leave nothing.
///
/// # Errors
/// When the system cannot be reached or refuses.
pub async fn drop_source(config: SourceConfig, state: Option<String>) -> Result<(), SourceError> {
    if is_postgres(&config.url) {
        return postgres::drop_source(config, state).await;
    }
    Ok(())
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}
