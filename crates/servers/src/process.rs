//! Child processes that end with their owner.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::ServerError;

/// How many lines of its log are shown when a server does not become ready.
const TAIL_LINES: usize = 5;

/// A signal to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end (Ctrl-C).
    Interrupt,
    /// Asks it to end (what `kill` and service managers send).
    Terminate,
    /// Ends it without asking: `kill -9`.
    Kill,
    /// Suspends it.
    Pause,
    /// Lets it go on.
    Continue,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Clients are cut off and everything is written out.
    Fast,
    /// As if it crashed: it recovers at the next start.
    Immediate,
}

/// A running command; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self, ServerError> {
        let child = command.spawn().map_err(ServerError::io(format!("start {command:?}")))?;
        Ok(Self { child })
    }

    /// Starts a server and waits until it is ready; what it writes is added to a log file.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready in time, with the end of its log.
    pub(crate) fn start_server(
        command: &mut Command,
        log: &Path,
        ready_max: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<Self, ServerError> {
        let open = || File::options().create(true).append(true).open(log);
        let output = open().map_err(ServerError::io("open the server's log"))?;
        let errors = open().map_err(ServerError::io("open the server's log"))?;
        let mut process = Self::start(command.stdin(Stdio::null()).stdout(output).stderr(errors))?;
        let ready =
            wait_until(ready_max, || matches!(process.ended(), Ok(Some(_)) | Err(_)) || is_ready());
        if ready && process.ended()?.is_none() {
            return Ok(process);
        }
        let text = fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        let program = command.get_program().to_string_lossy().into_owned();
        Err(ServerError::NotReady { program, log: log.to_owned(), tail })
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal; a process that has ended is left alone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServerError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let number = match signal {
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Pause => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
        };
        kill_process(Pid::from_child(&self.child), number)
            .map_err(|error| ServerError::io("send a signal")(error.into()))
    }

    /// Ends the process without asking and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus, ServerError> {
        self.child.kill().map_err(ServerError::io("kill a process"))?;
        self.child.wait().map_err(ServerError::io("wait for a killed process"))
    }

    /// Returns how the process ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ServerError> {
        self.child.try_wait().map_err(ServerError::io("ask for a process's end"))
    }

    /// Waits until the process has ended, at most `deadline`; `None` when it still runs.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn wait(&mut self, deadline: Duration) -> Result<Option<ExitStatus>, ServerError> {
        let mut ended = None;
        let mut failed = None;
        wait_until(deadline, || match self.ended() {
            Ok(status) => {
                ended = status;
                ended.is_some()
            }
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        failed.map_or(Ok(ended), Err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        self.kill().map(drop).unwrap_or_default();
    }
}

/// How long a server may take to answer, and to end.
pub(crate) const READY_MAX: Duration = Duration::from_secs(60);

/// A server on a port, with a directory of its own, that can be stopped and started again. Stopped and removed when
/// dropped.
#[derive(Debug)]
pub struct Daemon {
    port: u16,
    command: Command,
    /// Whether the server on this port answers.
    is_ready: fn(u16) -> bool,
    // Dropped before the directory that it writes to.
    process: Option<Process>,
    directory: TempDir,
}

impl Daemon {
    /// Makes the directory of a server with this name.
    pub(crate) fn directory_for(name: &str) -> Result<TempDir, ServerError> {
        let made = tempfile::Builder::new().prefix(&format!("evert-{name}-")).tempdir();
        made.map_err(ServerError::io("make a temporary directory"))
    }

    /// Starts a server in its directory, which it also logs to, and waits until it is ready.
    pub(crate) fn start(
        command: Command,
        directory: TempDir,
        port: u16,
        is_ready: fn(u16) -> bool,
    ) -> Result<Self, ServerError> {
        let mut daemon = Self { port, command, is_ready, process: None, directory };
        daemon.start_again()?;
        Ok(daemon)
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sends a signal to the server; one that does not run is left alone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServerError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Stops the server and waits until it is gone.
    ///
    /// # Errors
    /// When it does not stop in a minute.
    pub fn stop(&mut self, stop: Stop) -> Result<(), ServerError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let signal = match stop {
            Stop::Fast => Signal::Terminate,
            Stop::Immediate => Signal::Kill,
        };
        process.signal(signal)?;
        if process.wait(READY_MAX)?.is_none() {
            let program = self.command.get_program().to_string_lossy().into_owned();
            let output = format!("it did not end within {READY_MAX:?}");
            return Err(ServerError::Failed { program, output });
        }
        Ok(())
    }

    /// Starts the server again, on the same port and data.
    ///
    /// # Errors
    /// When it does not become ready, with the end of its log.
    ///
    /// # Panics
    /// When it runs.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        assert!(self.process.is_none(), "the server was stopped before");
        let (log, is_ready) = (self.directory.path().join("log"), || (self.is_ready)(self.port));
        let process = Process::start_server(&mut self.command, &log, READY_MAX, is_ready)?;
        self.process = Some(process);
        Ok(())
    }
}

/// Asks `done` until it says yes, at most for `deadline`; returns whether it did.
pub fn wait_until(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, or fails, with what it wrote.
pub(crate) fn run(command: &mut Command) -> Result<(), ServerError> {
    let program = command.get_program().to_string_lossy().into_owned();
    text_of(&program, &output(command)?).map(drop)
}

/// Runs a command to its end and returns what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<Output, ServerError> {
    command.stdin(Stdio::null()).output().map_err(ServerError::io(format!("start {command:?}")))
}

/// What a program wrote, if it did not fail.
pub(crate) fn text_of(program: &str, output: &Output) -> Result<String, ServerError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [&output.stderr, &output.stdout].map(|bytes| String::from_utf8_lossy(bytes));
    let said = said.iter().map(|text| text.trim()).find(|text| !text.is_empty());
    Err(ServerError::Failed {
        program: program.to_owned(),
        output: said.unwrap_or("it said nothing").to_owned(),
    })
}

/// Returns a TCP port of 127.0.0.1 that nobody listens on.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> Result<u16, ServerError> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServerError::io("find a free port"))?;
    Ok(listener.local_addr().map_err(ServerError::io("find a free port"))?.port())
}
