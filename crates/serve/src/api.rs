//! The JSON that goes over HTTP, in one place, so that server, page and command line agree.
//!
//! Numbers carry their unit in their name. A field that is not known is absent or null, never a magic number. Rows are
//! objects in the order of the view's columns; their numbers keep every digit.

use change::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A row: column name to value.
pub type Row = Map<String, Value>;

/// The header with the Time that an answer is exact at.
pub const TIME_HEADER: &str = "evert-time";

/// The header with the views that an answer is read from and that lack rows: a JSON object in ASCII, from each view's
/// name to how many rows of it could not be computed. Absent when none lacks any.
pub const LACKING_HEADER: &str = "evert-lacking";

/// `GET /v1/status`: all that runs, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Evert's version.
    pub version: String,
    /// How long the process has been running.
    pub uptime_ms: u64,
    /// The Time that all views are exact at.
    pub time: Time,
    /// The log.
    pub log: LogStatus,
    /// The sources, in the order of the script.
    pub sources: Vec<SourceStatus>,
    /// The views, in the order in which they were created.
    pub views: Vec<ViewStatus>,
    /// The views that are being created, and cannot be read yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filling: Vec<FillingStatus>,
    /// The sinks, in the order of the script.
    pub sinks: Vec<SinkStatus>,
}

/// `GET /v1/digests`: what all views hold at one Time, to be compared with what they are computed to elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Digests {
    /// The Time that all views are exact at.
    pub time: Time,
    /// The log: at least as far as the views. All of it is durable.
    pub log: LogStatus,
    /// The views.
    pub views: Vec<ViewDigest>,
}

/// What a view holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewDigest {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub row_count: u64,
    /// How many rows it lacks, because they could not be computed.
    pub lacking_rows: u64,
    /// A hash of its rows that does not depend on their order.
    pub digest: String,
}

/// A view that is being filled from what the log holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FillingStatus {
    /// Its name.
    pub name: String,
    /// The Time that it is exact at so far.
    pub time: Time,
    /// How many transactions are left.
    pub behind_transactions: u64,
    /// How many changed rows of its tables it has taken in.
    pub rows: u64,
    /// How many rows it has so far.
    pub row_count: u64,
}

/// The log: how much is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogStatus {
    /// The log's own id: a Time means something only together with it.
    pub id: String,
    /// The first Time that is not in the log yet.
    pub upper: Time,
    /// What its segments hold on disk.
    pub bytes: u64,
    /// The Time up to which history was folded.
    #[serde(default)]
    pub since: Time,
    /// What the folded history holds on disk.
    #[serde(default)]
    pub base_bytes: u64,
    /// Why history that is old enough is not folded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
    /// Why nothing can be written just now: the disk is full. Sources wait, other writers are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
    /// What reading it again came to.
    #[serde(default)]
    pub scrub: ScrubStatus,
}

/// What reading the log again, to find damage, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// How many bytes of the log were read by this process.
    pub bytes: u64,
    /// How many full passes it made.
    pub passes: u64,
    /// When the last full pass ended, in microseconds since 1970 UTC; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_us: Option<i64>,
    /// How many damaged files of proofs and indexes were made again.
    pub made_again: u64,
    /// How many findings there are now: the rows of `evert.damage`.
    pub damage: u64,
}

/// A source: what it is doing and how far it has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// What it is, for people: `postgres`, `demo`, `file`, `stdin`. Never a URL, which may hold a password.
    pub kind: String,
    /// What it is doing.
    pub phase: Phase,
    /// More about that, for people: the table that is copied, the reason for waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Changed rows taken in since the process started.
    pub rows: u64,
    /// During a backfill: how many rows it will be, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_estimate: Option<u64>,
    /// The place in the source's own history up to which all is durable here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How many bytes of its own history the source has still to send, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// How old the newest change was when it became durable here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}

/// What a source or sink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is opening connections and comparing what it finds with what it remembers.
    #[default]
    Connecting,
    /// It is making or taking the initial copy.
    Backfill,
    /// It follows every change.
    Streaming,
    /// It cannot go on now and tries again; `detail` says why.
    Waiting,
    /// It has reached its end.
    Ended,
    /// It has stopped for good; `detail` says why.
    Failed,
}

/// A view: its columns and how many rows it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewStatus {
    /// Its name.
    pub name: String,
    /// How many rows it has at the status's Time.
    pub row_count: u64,
    /// How many rows it lacks because they could not be computed; `evert.errors` has them.
    #[serde(default)]
    pub lacking_rows: u64,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The columns whose values no two rows share; empty when none are known.
    pub key: Vec<String>,
    /// The order in which its rows are shown; empty when its query does not say.
    pub order: Vec<Order>,
    /// Whether `GET /v1/search/{name}` answers.
    pub searchable: bool,
}

/// A column of a view or of a query's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in PostgreSQL's words.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A column that rows are sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The column's name.
    pub column: String,
    /// Whether large values come first.
    pub descending: bool,
    /// Whether NULL comes first.
    pub nulls_first: bool,
}

/// A sink: the Time that its target holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// The view that it copies.
    pub view: String,
    /// What it is, for people: `search`, `postgres`, `file`, `stdout`. Never a URL, which may hold a password.
    pub kind: String,
    /// What it is doing.
    pub phase: Phase,
    /// More about that, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The Time that the target holds.
    pub held: Time,
    /// How many transactions the target is behind the views.
    pub behind_transactions: u64,
    /// How long the oldest change has been waiting for the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}

/// `GET /v1/views`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewList {
    /// The Time of the row counts.
    pub time: Time,
    /// The views, in the order of the script.
    pub views: Vec<ViewStatus>,
}

/// `GET /v1/views/{name}` and `POST /v1/query` as JSON: rows at one Time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The Time that the rows are exact at.
    pub time: Time,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The views that were read and that lack rows; absent when none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<Lacking>,
    /// How many rows the view has in all; absent for a query, whose rows are all here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_count: Option<u64>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A view that lacks rows because they could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// The view.
    pub view: String,
    /// How many of its rows could not be computed.
    pub rows: u64,
}

impl From<view::Lacking> for Lacking {
    fn from(lacking: view::Lacking) -> Self {
        Self { view: lacking.view, rows: lacking.rows }
    }
}

impl From<Lacking> for view::Lacking {
    fn from(lacking: Lacking) -> Self {
        Self { view: lacking.view, rows: lacking.rows }
    }
}

/// The data of the event `snapshot`: where a subscription begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotEvent {
    /// The Time of the snapshot, which is also the event's id.
    pub time: Time,
    /// How many rows the view has.
    pub row_count: u64,
    /// Whether rows behind the limit were left out. Their later changes are sent all the same.
    pub truncated: bool,
    /// The first rows, in the view's order.
    pub rows: Vec<Row>,
}

/// `GET /v1/search/{view}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchResult {
    /// The Time that the index held when the search began; what was found may be newer, never older.
    pub time: Time,
    /// How many different rows were found, whether they are among the hits or not.
    pub total: u64,
    /// The best rows first.
    pub hits: Vec<SearchHit>,
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchHit {
    /// How well it fits; comparable within one answer only.
    pub score: f32,
    /// How often the row is in the view.
    pub copies: u64,
    /// The row.
    pub row: Row,
}

/// The body of `POST /v1/query` when it is JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// One SQL query.
    pub sql: String,
}

/// `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`: the process answers.
    pub status: String,
    /// The Time that all views are exact at.
    pub time: Time,
}

/// `POST /v1/stop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Always true: the process finishes what it is doing, then ends.
    pub stopping: bool,
}

/// `POST /v1/sql`: what each statement came to, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SqlAnswer {
    /// The outcomes.
    pub outcomes: Vec<SqlOutcome>,
    /// The views that were read and that lack rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<Lacking>,
}

/// What a statement came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlOutcome {
    /// It was done; the words say what.
    Done(String),
    /// It wrote so many rows.
    Wrote {
        /// How: `insert`, `update`, `delete`.
        how: String,
        /// How many rows.
        rows: u64,
    },
    /// It was a question, and these are the rows of the answer.
    Rows(Vec<Row>),
    /// It asked how a view is maintained: a row for each operator, the last one first, its `depth` telling what it is
    /// an input of.
    Explained(Vec<Row>),
}

/// Any error, as RFC 9457 has it (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Names the kind of error for good: `SRV007`, `SQL012`.
    pub code: String,
    /// The kind of error, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}
