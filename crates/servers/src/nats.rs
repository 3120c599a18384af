//! A NATS server with JetStream, its streams in files.
//!
//! It is built once with Go, from the module proxy, and kept below the temporary directory: what the system's package
//! brings is years older.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Command;

use crate::install::{Fetcher, kept};
use crate::process::{Daemon, READY_MAX};
use crate::{ServerError, free_port};

/// The version that is built.
const VERSION: &str = "2.15.2";

const FETCHER: Fetcher = Fetcher {
    program: "nats-server, or Go that builds it,",
    package: "golang-go",
    variable: "NATS_SERVER",
};

/// How a server is set up.
#[derive(Clone, Copy, Debug)]
pub struct NatsOptions {
    /// Whether a message is synced to disk before it is acknowledged.
    pub fsync: bool,
}

impl NatsOptions {
    /// What is acknowledged is on disk: `sync_interval: always`.
    #[must_use]
    pub fn durable() -> Self {
        Self { fsync: true }
    }

    /// As it is without settings: files are synced every two minutes.
    #[must_use]
    pub fn quick() -> Self {
        Self { fsync: false }
    }
}

/// A NATS server of its own; stopped and removed when dropped.
#[derive(Debug)]
pub struct Nats {
    daemon: Daemon,
}

impl Deref for Nats {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Nats {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

impl Nats {
    /// Starts a server with JetStream on a free port.
    ///
    /// # Errors
    /// When it cannot be built, with what is missing for that; or when it does not become ready.
    pub fn start(options: NatsOptions) -> Result<Self, ServerError> {
        let (program, port) = (program()?, free_port()?);
        let directory = Daemon::directory_for("nats")?;
        let sync = if options.fsync { "sync_interval: always" } else { "" };
        let data = directory.path().join("data");
        let configuration = directory.path().join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{\n  store_dir: \"{}\"\n  {sync}\n}}\n",
            data.display()
        );
        fs::write(&configuration, text).map_err(ServerError::io("write nats.conf"))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(configuration);
        let daemon = Daemon::start(command, directory, port, answers)?;
        Ok(Self { daemon })
    }

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }
}

/// Whether a server greets, with JetStream.
fn answers(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut greeting = String::new();
    stream.set_read_timeout(Some(READY_MAX)).is_ok()
        && BufReader::new(stream).read_line(&mut greeting).is_ok()
        && greeting.contains("\"jetstream\":true")
}

/// The server's program: the one that is named, or one that is built.
fn program() -> Result<PathBuf, ServerError> {
    if let Some(path) = std::env::var_os(FETCHER.variable) {
        return Ok(path.into());
    }
    let directory = kept(&format!("evert-nats-server-{VERSION}"), |directory| {
        let module = format!("github.com/nats-io/nats-server/v2@v{VERSION}");
        FETCHER.run(Command::new("go").env("GOBIN", directory).args(["install", &module]))
    })?;
    Ok(directory.join("nats-server"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::Stop;

    /// Publishes to a subject and returns the answer.
    fn ask(server: &Nats, subject: &str, text: &str) -> String {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        stream.set_read_timeout(Some(READY_MAX)).unwrap();
        let length = text.len();
        let said = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{text}\r\n"
        );
        (&stream).write_all(said.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        lines.find(|line| line.starts_with("MSG answer")).expect("an answer");
        lines.next().unwrap()
    }

    #[test]
    fn a_killed_server_keeps_what_it_acknowledged() {
        let mut server = Nats::start(NatsOptions::durable()).unwrap();
        let url = server.url();
        let stream = r#"{"name":"s","subjects":["t"],"storage":"file","num_replicas":1}"#;
        let made = ask(&server, "$JS.API.STREAM.CREATE.s", stream);
        assert!(made.contains("\"storage\":\"file\""), "{made}");
        assert_eq!(ask(&server, "t", "one"), r#"{"stream":"s","seq":1}"#);
        server.stop(Stop::Immediate).unwrap();
        server.start_again().unwrap();
        assert_eq!(server.url(), url);
        assert_eq!(ask(&server, "t", "two"), r#"{"stream":"s","seq":2}"#);
    }

    #[test]
    fn a_dropped_server_leaves_no_process_and_no_directory() {
        let server = Nats::start(NatsOptions::quick()).unwrap();
        let (directory, port) = (server.directory().to_owned(), server.port());
        drop(server);
        assert!(!directory.exists());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
