//! The other end of the unix socket: how the command line talks to a running process.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the system has many kinds of I/O errors; those that are not named here are treated alike"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use change::Time;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::{
    Digests, LACKING_HEADER, Lacking, Problem, SearchResult, SqlAnswer, Status, Stopping,
    TIME_HEADER,
};
use crate::limits::CLIENT_ANSWER_BYTES_MAX;

/// How long the process may take to begin its answer, beyond what it waits for itself.
const ANSWER_WAIT: Duration = Duration::from_secs(90);

/// How long it may take to read every row of every view.
const DIGESTS_WAIT: Duration = Duration::from_secs(3600);

/// Talks to the process that listens on a unix socket. Each call is one connection.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// What a query returned.
#[derive(Clone, Debug)]
pub struct QueryAnswer {
    /// The Time that the rows are exact at.
    pub time: Time,
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// The views that they come from and that lack rows.
    pub lacking: Vec<Lacking>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("no process answers on {}", path.display())]
    NotRunning {
        /// The socket's path.
        path: PathBuf,
    },
    /// The process went away, or took too long.
    #[error("the process on {} did not answer to the end: {reason}", path.display())]
    Lost {
        /// The socket's path.
        path: PathBuf,
        /// What the connection says.
        reason: String,
    },
    /// The answer is not one that this version understands.
    #[error("the answer is not readable: {reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// The process refused or failed; its own code and help.
    #[error("{}", .0.detail)]
    Refused(Problem),
}

impl ClientError {
    /// Names the kind of error for good; a refusal has the process's own code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::NotRunning { .. } => "SRV020",
            Self::Lost { .. } => "SRV021",
            Self::Unreadable { .. } => "SRV022",
            Self::Refused(problem) => &problem.code,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotRunning { .. } => Some("start one with `evert run`".to_owned()),
            Self::Lost { .. } => {
                Some("look at its output; the log in its data directory is safe".to_owned())
            }
            Self::Unreadable { .. } => {
                Some("the running process may be of another version: restart it".to_owned())
            }
            Self::Refused(problem) => problem.help.clone(),
        }
    }
}

impl From<ArrowError> for ClientError {
    fn from(error: ArrowError) -> Self {
        Self::Unreadable { reason: error.to_string() }
    }
}

impl Client {
    /// Prepares to talk to the process on that socket; connects only when asked something.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Asks what runs, and how far it is.
    ///
    /// # Errors
    /// When nobody answers, or not to the end.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(Method::GET, "/v1/status").await
    }

    /// Runs one query over all views at one Time; with `wait_for`, at that Time or later.
    ///
    /// # Errors
    /// When nobody answers, or the process refuses the query.
    pub async fn query(
        &self,
        sql: &str,
        wait_for: Option<Time>,
    ) -> Result<QueryAnswer, ClientError> {
        let path = match wait_for {
            Some(time) => format!("/v1/query?wait_for={time}"),
            None => "/v1/query".to_owned(),
        };
        let request = self.request(Method::POST, &path, Bytes::copy_from_slice(sql.as_bytes()));
        let (parts, body) = self.send(request).await?.into_parts();
        let time =
            parts.headers.get(TIME_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let time = time.ok_or(ClientError::Unreadable { reason: "it has no Time".to_owned() })?;
        let lacking = parts.headers.get(LACKING_HEADER);
        let lacking = lacking.and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
        let lacking: BTreeMap<String, u64> = lacking.unwrap_or_default();
        let lacking = lacking.into_iter().map(|(view, rows)| Lacking { view, rows }).collect();
        let bytes = body.collect().await.map_err(|error| self.lost(&error))?.to_bytes();
        let reader = StreamReader::try_new(io::Cursor::new(bytes), None)?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<_, _>>()?;
        Ok(QueryAnswer { time: Time(time), schema, batches, lacking })
    }

    /// Runs statements that may write; returns what each came to. That takes as long as it takes: a view that is
    /// created is filled first.
    ///
    /// # Errors
    /// When nobody answers, or a statement is refused; those before it have happened.
    pub async fn sql(&self, text: &str) -> Result<SqlAnswer, ClientError> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let answer = self.answer(self.request(Method::POST, "/v1/sql", body), None).await?;
        self.read_json(answer.into_body()).await
    }

    /// Searches a view for words; the best rows first.
    ///
    /// # Errors
    /// When nobody answers, or the view has no search index.
    pub async fn search(
        &self,
        view: &str,
        words: &str,
        limit: usize,
    ) -> Result<SearchResult, ClientError> {
        let (view, words) = (percent_encoded(view), percent_encoded(words));
        self.json(Method::GET, &format!("/v1/search/{view}?q={words}&limit={limit}")).await
    }

    /// Asks what all views hold at one Time, as a hash each. That takes as long as reading them does.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn digests(&self) -> Result<Digests, ClientError> {
        let request = self.request(Method::GET, "/v1/digests", Bytes::new());
        let answer = self.answer(request, Some(DIGESTS_WAIT)).await?;
        self.read_json(answer.into_body()).await
    }

    /// Asks the process to finish and end; it may live a little longer than this call.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn stop(&self) -> Result<Stopping, ClientError> {
        self.json(Method::POST, "/v1/stop").await
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/sql")
            .header(ACCEPT, "application/vnd.apache.arrow.stream, application/json;q=0.9")
            .body(Full::new(body))
            .expect("the path is percent-encoded")
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, ClientError> {
        let body = self.send(self.request(method, path, Bytes::new())).await?.into_body();
        self.read_json(body).await
    }

    async fn read_json<T: DeserializeOwned>(&self, body: Incoming) -> Result<T, ClientError> {
        let body = Limited::new(body, CLIENT_ANSWER_BYTES_MAX).collect().await;
        let bytes = body
            .map_err(|error| ClientError::Lost {
                path: self.path.clone(),
                reason: error.to_string(),
            })?
            .to_bytes();
        serde_json::from_slice(&bytes)
            .map_err(|error| ClientError::Unreadable { reason: error.to_string() })
    }

    /// Sends a request whose answer begins soon.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        self.answer(request, Some(ANSWER_WAIT)).await
    }

    /// Sends a request; an answer that is a problem becomes an error.
    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
        wait: Option<Duration>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path: self.path.clone() }
            }
            _ => ClientError::Lost { path: self.path.clone(), reason: error.to_string() },
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.lost(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the process broke");
            }
        });
        let answer = sender.send_request(request);
        let answer = match wait {
            None => answer.await,
            Some(wait) => {
                let answer = tokio::time::timeout(wait, answer).await;
                answer.map_err(|_elapsed| ClientError::Lost {
                    path: self.path.clone(),
                    reason: format!("nothing came for {} s", wait.as_secs()),
                })?
            }
        };
        let response = answer.map_err(|error| self.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(ClientError::Refused(self.read_json(response.into_body()).await?))
    }

    fn lost(&self, error: &hyper::Error) -> ClientError {
        ClientError::Lost { path: self.path.clone(), reason: error.to_string() }
    }
}

/// Writes a text so that it can stand anywhere in a URL's path or query.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_stand_in_a_url() {
        assert_eq!(percent_encoded("a/b c?ü&%"), "a%2Fb%20c%3F%C3%BC%26%25");
    }
}
