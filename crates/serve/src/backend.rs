//! What the server must be told: all that the views themselves do not know.

use futures::future::BoxFuture;
use view::search::SearchReader;

use crate::api::{FillingStatus, LogStatus, Problem, SinkStatus, SourceStatus, SqlAnswer};

/// The running process as the server sees it. Every method but [`sql`](Self::sql) answers at once, from memory.
pub trait Backend: Send + Sync {
    /// What runs, and how far it is.
    fn run_status(&self) -> RunStatus;

    /// A reader of the view's search index, if it has one; cloning it is cheap.
    fn search_reader(&self, view: &str) -> Option<SearchReader>;

    /// Runs statements that may write; asked through the socket only.
    fn sql(&self, text: String) -> BoxFuture<'_, Result<SqlAnswer, Problem>>;

    /// Asks the process to finish and end.
    fn stop(&self);

    /// Names, besides `localhost`, under which browsers may reach the server; lower case, without a port.
    fn host_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How far everything but the views is.
#[derive(Clone, Debug, Default)]
pub struct RunStatus {
    /// Evert's version.
    pub version: String,
    /// How long the process has been running.
    pub uptime_ms: u64,
    /// The log.
    pub log: LogStatus,
    /// The sources, in the order of the script.
    pub sources: Vec<SourceStatus>,
    /// The views that are being created.
    pub filling: Vec<FillingStatus>,
    /// The sinks, in the order of the script.
    pub sinks: Vec<SinkStatus>,
}
