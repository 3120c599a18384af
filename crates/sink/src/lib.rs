//! Views become rows in other systems, exactly once.
//!
//! A sink holds a copy of one view, and the [`Time`] that the copy is exact at. Both move together: a [`Step`] either
//! happened, and [`Sink::held`] says so, or it did not. Where the other system has transactions, the Time is kept in
//! it, in the same transaction as the rows; so a commit whose answer was lost is told apart from one that never
//! happened by opening the sink again.
//!
//! Between the engine and a sink stands an [`Outbox`], so that a sink that is slow or away holds up nobody.
#![allow(
    clippy::disallowed_methods,
    reason = "an edge of the system: it reads clocks and opens files"
)]

mod error;
mod file;
mod lines;
mod options;
mod outbox;
mod postgres;
mod search;
mod stdout;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use change::{ChangeBatch, Time};
use view::ViewInfo;

pub use error::SinkError;
pub use outbox::Outbox;
pub use stdout::{Screen, StdoutSink};

/// The difference of a view between two Times.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The Time that the sink holds.
    pub after: Time,
    /// The Time that it will hold.
    pub upto: Time,
    /// What changes in between, consolidated; may be empty.
    pub changes: &'a ChangeBatch,
}

/// A copy of a view in another system.
#[async_trait]
pub trait Sink: Send {
    /// The Time that the copy is exact at; [`Time::ZERO`] when there is nothing yet.
    fn held(&self) -> Time;

    /// Moves the copy and its Time, both or none.
    ///
    /// `step.after` is what the sink holds. After an error the sink is of no more use: open it again and look at
    /// [`held`](Self::held).
    ///
    /// # Errors
    /// When the step did not happen, or nobody knows whether it did.
    async fn write(&mut self, step: Step<'_>) -> Result<(), SinkError>;

    /// Whether [`finish`](Self::finish) uses the view's rows; a sink that does not is given none.
    fn wants_rows(&self) -> bool;

    /// Ends a run that came to its end, with all rows of the view in the view's order, if the sink wants them.
    ///
    /// # Errors
    /// When the rows cannot be written.
    async fn finish(&mut self, rows: &[RecordBatch]) -> Result<(), SinkError>;
}

/// What a sink is made of.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Its name, unique in the log; the target's progress is kept under it.
    pub name: String,
    /// Where to: `search`, `stdout`, `postgres://host/database/table`, a path that ends in `.ndjson`.
    pub url: String,
    /// Its options, by lower-case name.
    pub options: BTreeMap<String, String>,
    /// The view that it copies.
    pub view: ViewInfo,
    /// A short hash of what the view computes: a view that was dropped and made anew may have the name of the old one.
    pub definition: String,
    /// The log that the view is derived from.
    pub log_id: [u8; 16],
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whether the run ends by itself: then files and stdout receive the final rows instead of changes.
    pub once: bool,
}

impl SinkConfig {
    /// What a target keeps of the view that it is filled from.
    fn origin(&self) -> String {
        format!("{} {}", self.view.name, self.definition)
    }

    /// Says how another view differs from this one.
    fn other_origin(&self, found: &str) -> String {
        let name = found.rsplit_once(' ').map_or(found, |(name, _)| name);
        if name == self.view.name {
            format!("it was filled from a view {name} that was defined otherwise")
        } else {
            format!("it was filled from view {name}")
        }
    }
}

/// Opens a sink, and finds out what it holds.
///
/// # Errors
/// When the target is unknown, cannot be reached, or is not what this log left there; see [`SinkError`].
pub async fn open(config: SinkConfig) -> Result<Box<dyn Sink>, SinkError> {
    match Target::parse(&config.url)? {
        Target::Search => Ok(Box::new(search::SearchSink::open(&config)?)),
        Target::Postgres => Ok(Box::new(postgres::PostgresSink::open(&config).await?)),
        Target::Stdout => Ok(Box::new(StdoutSink::open(&config)?)),
        Target::File(path) => Ok(Box::new(file::FileSink::open(&config, Path::new(path)).await?)),
    }
}

/// The kinds of targets, as their URLs tell them apart.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Search,
    Postgres,
    Stdout,
    File(&'a str),
}

impl<'a> Target<'a> {
    fn parse(url: &'a str) -> Result<Self, SinkError> {
        if matches!(url, "search" | "stdout" | "-") {
            return Ok(if url == "search" { Self::Search } else { Self::Stdout });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres);
        }
        let path = url.strip_prefix("file://").unwrap_or(url);
        let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
        match ending {
            Some("ndjson" | "jsonl") if !path.contains("://") => Ok(Self::File(path)),
            _ => Err(SinkError::UnknownTarget { url: options::without_password(url) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_target() {
        let of = |url| Target::parse(url).unwrap();
        assert_eq!(of("search"), Target::Search);
        assert_eq!(of("-"), Target::Stdout);
        assert_eq!(of("stdout"), Target::Stdout);
        assert_eq!(of("postgresql://h/db/t"), Target::Postgres);
        assert_eq!(of("out/rows.ndjson"), Target::File("out/rows.ndjson"));
        assert_eq!(of("file:///tmp/rows.jsonl"), Target::File("/tmp/rows.jsonl"));
    }

    #[test]
    fn an_unknown_target_says_what_there_is_and_hides_the_password() {
        let error = Target::parse("mysql://root:secret@h/db/t").unwrap_err();
        assert_eq!(error.code(), "SINK001");
        assert_eq!(error.to_string(), "there is no sink for mysql://root:***@h/db/t");
        assert!(error.help().unwrap().contains("postgres://"));
        assert!(Target::parse("s3://bucket/rows.ndjson").is_err());
        assert!(Target::parse("rows.csv").is_err());
    }
}
