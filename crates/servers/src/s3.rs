//! A server that speaks S3's protocol, with its objects in memory: moto, which runs in Python.
//!
//! When Python does not have it, it is installed once into an environment of its own below the temporary directory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Process, ServerError, free_port};

/// How long the server may take to answer.
const READY_MAX: Duration = Duration::from_secs(60);

/// What is installed when it is missing.
const PACKAGE: &str = "moto[server]";

/// Where Python is, when it is not `python3`.
const VARIABLE: &str = "MOTO_PYTHON";

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    _process: Process,
    _directory: TempDir,
}

impl S3 {
    /// Starts a server on a free port, with one bucket.
    ///
    /// # Errors
    /// When Python or moto are missing, or the server does not become ready.
    pub fn start(bucket: &str) -> Result<Self, ServerError> {
        let (python, port) = (python()?, free_port()?);
        let directory = tempfile::Builder::new()
            .prefix("evert-s3-")
            .tempdir()
            .map_err(ServerError::io("make a temporary directory"))?;
        let log = directory.path().join("log");
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let ready = || make_bucket(port, bucket);
        let process = Process::start_server(&mut command, &log, READY_MAX, ready)?;
        Ok(Self { port, _process: process, _directory: directory })
    }

    /// What clients must have in their environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "evert-test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "evert-test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

/// Makes a bucket; false when nobody answers.
fn make_bucket(port: u16, bucket: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = format!(
        "PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let mut answer = String::new();
    let asked = stream.write_all(request.as_bytes());
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok()
        && answer.lines().next().is_some_and(|line| line.contains(" 200 "))
}

/// A Python that has moto.
fn python() -> Result<PathBuf, ServerError> {
    let has = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", "import moto.server, flask_cors"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let found = named.unwrap_or_else(|| PathBuf::from("python3"));
    if has(&found) {
        return Ok(found);
    }
    let directory = std::env::temp_dir().join("evert-moto");
    let python = directory.join("bin/python");
    if !has(&python) {
        // Several tests may come here at once; making it twice does no harm.
        let made = Command::new(&found).args(["-m", "venv"]).arg(&directory).output();
        made.map_err(ServerError::io(format!("start {}", found.display())))?;
        let install = ["-m", "pip", "install", "--quiet", PACKAGE];
        let installed = Command::new(&python).args(install).output();
        installed.map_err(ServerError::io("install moto"))?;
    }
    if has(&python) {
        return Ok(python);
    }
    Err(ServerError::Missing {
        program: "moto".to_owned(),
        searched: format!("{} and {}", found.display(), python.display()),
        package: PACKAGE,
        variable: VARIABLE,
    })
}
