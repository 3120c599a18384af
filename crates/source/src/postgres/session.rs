//! A connection to PostgreSQL in replication mode.
//!
//! It runs plain queries, copies tables and streams changes: one connection does the source's whole work. It is our
//! own because the drivers either cannot replicate, or hand over each message through a channel of its own, which
//! costs more than decoding it. Here messages are borrowed from one large buffer that is filled by large reads.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};

use super::address::{Address, Tls};
use super::tls;
use super::wire::{Malformed, Reader};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 256 << 10;
/// The largest message; PostgreSQL itself has values of at most 1 GB.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// How long a fresh server may take to answer a login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be silent before the network is asked whether the other host is there, and how long
/// between two questions.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// After how many questions without an answer the host counts as gone.
const KEEPALIVE_QUESTIONS: u32 = 3;
/// How long what we send may stay without an acknowledgement of the other host.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// What the server says when it refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The SQLSTATE.
    pub(crate) state: String,
    /// The message.
    pub(crate) message: String,
    /// What the server advises.
    pub(crate) hint: Option<String>,
}

/// What can go wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The network failed, or the server is gone.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It took too long.
    #[error("no answer for {} s", .0.as_secs())]
    Timeout(Duration),
    /// The server refused.
    #[error("{} ({})", .0.message, .0.state)]
    Refused(Refusal),
    /// The server sent what the protocol does not have.
    #[error("{0}")]
    Malformed(&'static str),
    /// TLS could not be agreed upon.
    #[error("{0}")]
    Tls(String),
    /// A way to log in that we do not know, or cannot go.
    #[error("{0}")]
    Login(String),
}

impl From<Malformed> for SessionError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A message of the server: its tag and its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// The tag.
    pub(crate) tag: u8,
    /// The body, without tag and length.
    pub(crate) body: &'a [u8],
}

/// A row of a query's answer, as text.
pub(crate) type TextRow = Vec<Option<String>>;

/// A connection.
pub(crate) struct Session {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    /// What of `input` was received and not consumed yet.
    unread: Range<usize>,
    output: BytesMut,
}

impl Session {
    /// Connects and logs in.
    pub(crate) async fn connect(address: &Address) -> Result<Self, SessionError> {
        let mut failed = SessionError::Login("the URL names no host".to_owned());
        for (host, port) in &address.hosts {
            let connecting = connect_to(address, host, *port);
            let connected = tokio::time::timeout(address.connect_timeout, connecting).await;
            match connected.unwrap_or(Err(SessionError::Timeout(address.connect_timeout))) {
                Ok(stream) => {
                    let mut session = Self {
                        stream,
                        input: vec![0; READ_BYTES],
                        unread: 0..0,
                        output: BytesMut::new(),
                    };
                    let login = session.log_in(address);
                    let login = tokio::time::timeout(LOGIN_TIMEOUT, login).await;
                    login.unwrap_or(Err(SessionError::Timeout(LOGIN_TIMEOUT)))?;
                    return Ok(session);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn log_in(&mut self, address: &Address) -> Result<(), SessionError> {
        let parameters = [
            ("user", address.user.as_str()),
            ("database", address.database.as_str()),
            ("replication", "database"),
            ("application_name", "evert"),
            ("client_encoding", "UTF8"),
            // Names in our queries mean the system's; a policy must not hide rows from a copy; a copy must begin
            // at a table's beginning, so that two copies are the same; and nobody may end our sessions for waiting.
            ("search_path", "pg_catalog"),
            ("row_security", "off"),
            ("synchronize_seqscans", "off"),
            // What is sent as text reads the same whatever the server's settings are.
            ("datestyle", "ISO, YMD"),
            ("intervalstyle", "postgres"),
            ("timezone", "UTC"),
            ("extra_float_digits", "3"),
            ("bytea_output", "hex"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
        ];
        frontend::startup_message(parameters, &mut self.output)?;
        self.flush().await?;
        let mut scram: Option<ScramSha256> = None;
        loop {
            let Message { tag, body } = self.next().await?;
            match tag {
                b'R' => {
                    let answer = authenticate(address, body, &mut scram)?;
                    if let Some(answer) = answer {
                        self.output.extend_from_slice(&answer);
                        self.flush().await?;
                    }
                }
                b'Z' => return Ok(()),
                b'E' => return Err(SessionError::Refused(refusal(body)?)),
                // Parameters, the cancel key, notices.
                _ => {}
            }
        }
    }

    /// Runs one statement and returns its rows.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<TextRow>, SessionError> {
        self.send_query(sql).await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let Message { tag, body } = self.next().await?;
            match tag {
                b'D' => rows.push(text_row(body)?),
                b'E' => refused = Some(refusal(body)?),
                b'Z' => {
                    return refused.map_or(Ok(rows), |refusal| Err(SessionError::Refused(refusal)));
                }
                _ => {}
            }
        }
    }

    /// Runs one statement and returns its first row's first value.
    pub(crate) async fn query_value(&mut self, sql: &str) -> Result<Option<String>, SessionError> {
        let rows = self.query(sql).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// Sends a statement whose answer is read by [`next`](Self::next).
    pub(crate) async fn send_query(&mut self, sql: &str) -> Result<(), SessionError> {
        frontend::query(sql, &mut self.output)?;
        self.flush().await
    }

    /// Begins a copy: afterwards, [`next`](Self::next) returns its data. For a stream of changes, both sides send.
    pub(crate) async fn begin_copy(&mut self, sql: &str) -> Result<(), SessionError> {
        self.send_query(sql).await?;
        let mut refused = None;
        loop {
            let Message { tag, body } = self.next().await?;
            match tag {
                b'H' | b'W' => return Ok(()),
                b'E' => refused = Some(refusal(body)?),
                b'Z' => {
                    return Err(refused.map_or(
                        SessionError::Malformed("a copy was refused without a reason"),
                        SessionError::Refused,
                    ));
                }
                _ => {}
            }
        }
    }

    /// Reads to the end of a statement whose copy has ended.
    pub(crate) async fn end_copy(&mut self) -> Result<(), SessionError> {
        loop {
            let Message { tag, body } = self.next().await?;
            match tag {
                b'Z' => return Ok(()),
                b'E' => return Err(SessionError::Refused(refusal(body)?)),
                _ => {}
            }
        }
    }

    /// Sends data of a copy that goes both ways.
    pub(crate) async fn send_copy_data(&mut self, body: &[u8]) -> Result<(), SessionError> {
        frontend::CopyData::new(body)?.write(&mut self.output);
        self.flush().await
    }

    /// Says goodbye; the server need not find out by itself.
    pub(crate) async fn close(mut self) {
        frontend::copy_done(&mut self.output);
        frontend::terminate(&mut self.output);
        // The connection may be gone already, which is the same.
        tokio::time::timeout(Duration::from_secs(1), self.flush())
            .await
            .map(drop)
            .unwrap_or_default();
    }

    /// Waits for the next message.
    pub(crate) async fn next(&mut self) -> Result<Message<'_>, SessionError> {
        let (tag, body) = loop {
            match self.find()? {
                Some(found) => break found,
                None => self.fill().await?,
            }
        };
        Ok(Message { tag, body: &self.input[body] })
    }

    /// Returns the next message that was received already.
    pub(crate) fn received(&mut self) -> Result<Option<Message<'_>>, SessionError> {
        let found = self.find()?;
        Ok(found.map(|(tag, body)| Message { tag, body: &self.input[body] }))
    }

    /// Waits until more was received. May be dropped without losing anything.
    pub(crate) async fn fill(&mut self) -> Result<(), SessionError> {
        self.make_room();
        let count = self.stream.read(&mut self.input[self.unread.end..]).await?;
        if count == 0 {
            let reason = "the server closed the connection";
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, reason).into());
        }
        self.unread.end += count;
        Ok(())
    }

    fn find(&mut self) -> Result<Option<(u8, Range<usize>)>, SessionError> {
        let unread = &self.input[self.unread.clone()];
        let Some((&[tag, a, b, c, d], rest)) = unread.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = message_length([a, b, c, d])?;
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.unread.start + 5;
        self.unread.start = start + length;
        Ok(Some((tag, start..start + length)))
    }

    /// Moves what is unread to the buffer's beginning, and sizes the buffer for the message that has begun.
    fn make_room(&mut self) {
        if self.unread.is_empty() {
            self.unread = 0..0;
            if self.input.len() > READ_BYTES {
                self.input = vec![0; READ_BYTES];
            }
            return;
        }
        let unread = &self.input[self.unread.clone()];
        let wanted = match unread.first_chunk::<5>() {
            Some(&[_, a, b, c, d]) => 5 + message_length([a, b, c, d]).unwrap_or(0),
            None => 5,
        };
        if self.unread.start > 0 {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if wanted > self.input.len() {
            self.input.resize(wanted.max(self.input.len()) + READ_BYTES, 0);
        }
    }

    async fn flush(&mut self) -> Result<(), SessionError> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        self.stream.flush().await?;
        Ok(())
    }
}

fn message_length(bytes: [u8; 4]) -> Result<usize, SessionError> {
    let length = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    let length = length.checked_sub(4).filter(|&length| length <= MESSAGE_BYTES_MAX);
    length.ok_or(SessionError::Malformed("a message of impossible length"))
}

async fn connect_to(
    address: &Address,
    host: &Host,
    port: u16,
) -> Result<Box<dyn Stream>, SessionError> {
    match host {
        Host::Unix(directory) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            Ok(Box::new(UnixStream::connect(path).await?))
        }
        Host::Tcp(name) => {
            let stream = TcpStream::connect((name.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            notice_vanished_hosts(&stream)?;
            let roots = address.root_certificates.as_deref();
            encrypt(stream, name, address.tls, roots).await
        }
    }
}

/// Makes reads and writes fail within half a minute when the other host has gone without a word.
fn notice_vanished_hosts(stream: &TcpStream) -> Result<(), std::io::Error> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_QUESTIONS);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

async fn encrypt(
    mut stream: TcpStream,
    name: &str,
    mode: Tls,
    roots: Option<&Path>,
) -> Result<Box<dyn Stream>, SessionError> {
    if mode == Tls::Disable {
        return Ok(Box::new(stream));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    if stream.read_u8().await? != b'S' {
        if mode == Tls::Prefer {
            return Ok(Box::new(stream));
        }
        return Err(SessionError::Tls("the server does not offer TLS".to_owned()));
    }
    let failed = |error: &dyn std::fmt::Display| SessionError::Tls(format!("TLS: {error}"));
    let mut connector = tls::connector(mode, roots).map_err(|error| failed(&error))?;
    let connector = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, name);
    let connector = connector.map_err(|error| failed(&error))?;
    let stream = connector.connect(stream).await.map_err(|error| {
        if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput) {
            failed(&error)
        } else {
            SessionError::Io(error)
        }
    })?;
    Ok(Box::new(stream))
}

/// Answers one step of a login; `None` when it needs no answer.
fn authenticate(
    address: &Address,
    body: &[u8],
    scram: &mut Option<ScramSha256>,
) -> Result<Option<BytesMut>, SessionError> {
    const MECHANISM: &str = "SCRAM-SHA-256";
    let mut reader = Reader::new(body);
    let step = reader.i32()?;
    let password = || {
        let missing = "a password is needed, and the URL has none";
        address.password.as_deref().ok_or_else(|| SessionError::Login(missing.to_owned()))
    };
    let begun = "a login that goes on without having begun";
    let mut answer = BytesMut::new();
    match step {
        0 => return Ok(None),
        3 => frontend::password_message(password()?, &mut answer)?,
        5 => {
            let salt = reader.u32()?.to_be_bytes();
            let hash = md5_hash(address.user.as_bytes(), password()?, salt);
            frontend::password_message(hash.as_bytes(), &mut answer)?;
        }
        10 => {
            let new = ScramSha256::new(password()?, sasl::ChannelBinding::unsupported());
            frontend::sasl_initial_response(MECHANISM, new.message(), &mut answer)?;
            *scram = Some(new);
        }
        11 => {
            let scram = scram.as_mut().ok_or(SessionError::Malformed(begun))?;
            scram.update(reader.left())?;
            frontend::sasl_response(scram.message(), &mut answer)?;
        }
        12 => {
            let scram = scram.as_mut().ok_or(SessionError::Malformed(begun))?;
            scram.finish(reader.left())?;
            return Ok(None);
        }
        _ => {
            let reason = "the server asks for a login other than password, MD5 or SCRAM";
            return Err(SessionError::Login(reason.to_owned()));
        }
    }
    Ok(Some(answer))
}

/// Reads an error message's fields.
pub(crate) fn refusal(body: &[u8]) -> Result<Refusal, SessionError> {
    let mut refusal = Refusal::default();
    let mut reader = Reader::new(body);
    loop {
        let field = reader.u8()?;
        if field == 0 {
            return Ok(refusal);
        }
        let text = reader.text()?.to_owned();
        match field {
            b'C' => refusal.state = text,
            b'M' => refusal.message = text,
            b'H' => refusal.hint = Some(text),
            _ => {}
        }
    }
}

fn text_row(body: &[u8]) -> Result<TextRow, SessionError> {
    let mut cells = Vec::new();
    let mut reader = Reader::new(body);
    reader.copy_row(&mut cells)?;
    let text = |cell| match cell {
        super::wire::Cell::Value { start, end, .. } => {
            Some(String::from_utf8_lossy(body.get(start..end).unwrap_or_default()).into_owned())
        }
        super::wire::Cell::Null | super::wire::Cell::Unchanged => None,
    };
    Ok(cells.into_iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_vanishes_is_noticed() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        notice_vanished_hosts(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_QUESTIONS);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
    }
}
