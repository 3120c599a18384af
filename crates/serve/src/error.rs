//! What can go wrong: when a server starts ([`ServeError`]), and for one request (`RequestError`, a [`Problem`]).
//!
//! A problem's status says whose turn it is: 4xx the reader's, 503 and 504 try again, 500 ours.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the system has many kinds of I/O errors; those that are not named here are treated alike"
)]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use change::Time;
use view::ViewError;

use crate::api::Problem;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens there.
    #[error("the address {address} is already in use")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A running process answers on that socket.
    #[error("a running process already answers on {}", path.display())]
    SocketInUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket cannot be created.
    #[error("cannot create the socket {}", path.display())]
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl ServeError {
    /// Names the kind of error for good.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::AddressInUse { .. } => "SRV001",
            Self::Address { .. } => "SRV002",
            Self::SocketInUse { .. } => "SRV003",
            Self::Socket { .. } => "SRV004",
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::AddressInUse { address } => Some(format!(
                "another program listens on port {}: stop it, or choose another address with --listen 127.0.0.1:PORT",
                address.port()
            )),
            Self::Address { address, source } => match source.kind() {
                io::ErrorKind::PermissionDenied => Some(format!(
                    "port {} is reserved: choose one above 1023 with --listen",
                    address.port()
                )),
                io::ErrorKind::AddrNotAvailable => Some(format!(
                    "this machine has no address {}: use 127.0.0.1",
                    address.ip()
                )),
                _ => None,
            },
            Self::SocketInUse { .. } => {
                Some("stop that process, or use another data directory with --data DIR".to_owned())
            }
            Self::Socket { source, .. } => match source.kind() {
                io::ErrorKind::InvalidInput => Some(
                    "a socket's path has at most 107 bytes: use a data directory with a shorter path"
                        .to_owned(),
                ),
                _ => Some("the data directory must be writable and on a local disk".to_owned()),
            },
        }
    }
}

/// Why a request is refused or fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("this server is not called {host:?}")]
    Host { host: String },
    #[error("pages of {origin} may not use this server")]
    Origin { origin: String },
    #[error("there is nothing at {path}")]
    NoRoute { path: String },
    #[error("{path} does not take this method")]
    Method { path: String },
    #[error("the body has more than {bytes_max} bytes")]
    BodyTooLarge { bytes_max: usize },
    #[error("the body did not arrive within {} s", wait.as_secs())]
    BodyTooSlow { wait: Duration },
    #[error("the body is not readable: {reason}")]
    Body { reason: String },
    #[error("{name}: {reason}")]
    Parameter { name: &'static str, reason: String },
    #[error("none of the formats in Accept can be written: {accept}")]
    Accept { accept: String },
    #[error("{count} {what} are running already")]
    Busy { count: usize, what: &'static str },
    #[error("Time {wanted} was not reached within {} s: the views are at Time {reached}", wait.as_secs_f64())]
    TimeNotReached { wanted: Time, reached: Time, wait: Duration },
    #[error("view {view} has no search index")]
    NoIndex { view: String, indexed: Vec<String> },
    #[error("{}", .0.detail)]
    Refused(Problem),
    #[error("{0}")]
    View(#[from] ViewError),
    #[error("the answer could not be written: {0}")]
    Encode(#[from] arrow::error::ArrowError),
}

impl RequestError {
    fn code(&self) -> &str {
        match self {
            Self::Host { .. } => "SRV005",
            Self::Origin { .. } => "SRV006",
            Self::NoRoute { .. } => "SRV007",
            Self::Method { .. } => "SRV008",
            Self::BodyTooLarge { .. } => "SRV009",
            Self::BodyTooSlow { .. } => "SRV010",
            Self::Body { .. } => "SRV011",
            Self::Parameter { .. } => "SRV012",
            Self::Accept { .. } => "SRV013",
            Self::Busy { .. } => "SRV014",
            Self::TimeNotReached { .. } => "SRV015",
            Self::NoIndex { .. } => "SRV016",
            Self::Encode(_) => "SRV017",
            Self::Refused(problem) => &problem.code,
            Self::View(error) => error.code(),
        }
    }

    fn title(&self) -> &str {
        match self {
            Self::Host { .. } => "Unknown host name",
            Self::Origin { .. } => "Foreign page",
            Self::NoRoute { .. } => "Not found",
            Self::Method { .. } => "Method not allowed",
            Self::BodyTooLarge { .. } => "Body too large",
            Self::BodyTooSlow { .. } => "Body too slow",
            Self::Body { .. } => "Unreadable body",
            Self::Parameter { .. } => "Invalid parameter",
            Self::Accept { .. } => "Unknown format",
            Self::Busy { .. } => "Too many requests at once",
            Self::TimeNotReached { .. } => "Time not reached",
            Self::NoIndex { .. } => "No search index",
            Self::Encode(_) => "Answer not written",
            Self::Refused(problem) => &problem.title,
            Self::View(error) => view_title(error),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Host { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin { .. } => StatusCode::FORBIDDEN,
            Self::NoRoute { .. } | Self::NoIndex { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Body { .. } | Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::Refused(problem) => {
                StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::View(error) => view_status(error),
            Self::Accept { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimeNotReached { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Encode(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Host { .. } => Some(
                "use http://localhost or http://127.0.0.1; other names must be configured, lest a foreign page \
                 reach this server through its own name"
                    .to_owned(),
            ),
            Self::Origin { .. } => Some("fetch from the server's own page, or without a browser".to_owned()),
            Self::NoRoute { .. } => Some(ROUTES.to_owned()),
            Self::Method { .. } => Some("only /v1/query, /v1/sql and /v1/stop take POST; all else takes GET".to_owned()),
            Self::BodyTooLarge { .. } | Self::BodyTooSlow { .. } => None,
            Self::Body { .. } => Some("send the SQL as it is, or as JSON {\"sql\": \"select …\"}".to_owned()),
            Self::Parameter { .. } => None,
            Self::Accept { .. } => Some(
                "application/json, application/x-ndjson, text/csv or application/vnd.apache.arrow.stream"
                    .to_owned(),
            ),
            Self::Busy { .. } => Some("try again in a second".to_owned()),
            Self::TimeNotReached { .. } => {
                Some("wait longer with ?timeout_ms=, or see /v1/status for what is behind".to_owned())
            }
            Self::NoIndex { indexed, .. } if indexed.is_empty() => {
                Some("give the view one: `create sink NAME from VIEW into 'search'`".to_owned())
            }
            Self::NoIndex { indexed, .. } => {
                Some(format!("views that have one: {}", indexed.join(", ")))
            }
            Self::View(error) => error.help(),
            Self::Refused(problem) => problem.help.clone(),
            Self::Encode(_) => None,
        }
    }

    /// The problem as it goes over the wire.
    pub(crate) fn problem(&self) -> Problem {
        Problem {
            code: self.code().to_owned(),
            title: self.title().to_owned(),
            status: self.status().as_u16(),
            detail: self.to_string(),
            help: self.help(),
        }
    }
}

const ROUTES: &str = "GET /, /health, /v1/status, /v1/views, /v1/views/NAME, /v1/views/NAME/changes, /v1/changes, \
                      /v1/search/VIEW?q=; POST /v1/query";

fn view_status(error: &ViewError) -> StatusCode {
    match error {
        ViewError::UnknownView { .. } | ViewError::NoIndex { .. } => StatusCode::NOT_FOUND,
        ViewError::NotRead { .. }
        | ViewError::Sql { .. }
        | ViewError::SearchQuery { .. }
        | ViewError::SearchColumn { .. } => StatusCode::BAD_REQUEST,
        ViewError::Dropped { .. } => StatusCode::GONE,
        ViewError::TooLarge { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        ViewError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        ViewError::CutOff { .. } | ViewError::IndexBusy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        ViewError::Compute(_)
        | ViewError::OtherIndex { .. }
        | ViewError::Index { .. }
        | ViewError::IndexFull { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn view_title(error: &ViewError) -> &'static str {
    match error {
        ViewError::UnknownView { .. } => "No such view",
        ViewError::CutOff { .. } => "Too slow",
        ViewError::Dropped { .. } => "View dropped",
        ViewError::NotRead { .. } => "Not a read",
        ViewError::Sql { .. } => "Invalid SQL",
        ViewError::Timeout { .. } => "Query too slow",
        ViewError::TooLarge { .. } => "Query too large",
        ViewError::Compute(_) => "Rows not readable",
        ViewError::SearchQuery { .. } | ViewError::SearchColumn { .. } => "Invalid search",
        ViewError::NoIndex { .. } => "No search index",
        ViewError::OtherIndex { .. }
        | ViewError::IndexBusy { .. }
        | ViewError::Index { .. }
        | ViewError::IndexFull { .. } => "Search index not readable",
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        if self.status().is_server_error() {
            tracing::warn!(code = problem.code, detail = problem.detail, "request failed");
        }
        let body = serde_json::to_vec(&problem).expect("texts and numbers always serialize");
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json; charset=utf-8"),
        );
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
