//! What one process gives to all its readers at once, so that no reader can take it from the others.

use std::time::Duration;

/// The limits of a server. There is one set, [`Limits::STANDARD`]; tests tighten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// The most open connections on each listener; more wait unaccepted.
    pub connections_max: usize,
    /// The most queries, searches and row reads that run at once; more are refused with 503.
    pub reads_max: usize,
    /// The most open change streams; more are refused with 503.
    pub streams_max: usize,
    /// The longest that a request's head or body, or an idle connection's next request, may take to arrive.
    pub request_wait: Duration,
    /// The longest that a reader may refuse to take a byte before its connection is closed.
    pub write_wait: Duration,
    /// The longest that a query may run.
    pub query_wait: Duration,
    /// The longest that a query waits for the Time that it asks for, whatever it asks for.
    pub time_wait_max: Duration,
    /// How often a quiet change stream says that it lives.
    pub keepalive_interval: Duration,
    /// The shortest time between two events of a change stream: what changes in between is summed into one.
    pub event_interval: Duration,
    /// How long open requests may take to finish when the server stops.
    pub drain_wait: Duration,
}

impl Limits {
    /// The limits that a server runs with.
    pub const STANDARD: Self = Self {
        body_bytes_max: 1 << 20,
        connections_max: 1_024,
        reads_max: 32,
        streams_max: 512,
        request_wait: Duration::from_secs(30),
        write_wait: Duration::from_secs(30),
        query_wait: Duration::from_secs(60),
        time_wait_max: Duration::from_secs(60),
        keepalive_interval: Duration::from_secs(15),
        event_interval: Duration::from_millis(50),
        drain_wait: Duration::from_secs(5),
    };
}

/// How many rows `GET /v1/views/{name}` returns unless told.
pub const ROWS_DEFAULT: usize = 1_000;

/// The most rows that one `GET /v1/views/{name}` returns; larger reads are queries, which stream.
pub const ROWS_MAX: usize = 100_000;

/// How many rows a subscription's snapshot holds unless told.
pub const SNAPSHOT_ROWS_DEFAULT: usize = 1_000;

/// The most rows that a subscription's snapshot holds.
pub const SNAPSHOT_ROWS_MAX: usize = 10_000;

/// How many hits a search returns unless told.
pub const HITS_DEFAULT: usize = 20;

/// The most hits that a search returns.
pub const HITS_MAX: usize = 1_000;

/// The longest search query, in bytes.
pub const SEARCH_BYTES_MAX: usize = 1_024;

/// How long a query waits for the Time that it asks for unless told.
pub const TIME_WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// How many rows are turned into text at a time.
pub const ENCODE_ROWS: usize = 1_024;

/// The largest answer that the client reads whole, in bytes: status, search hits, problems.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 64 << 20;
