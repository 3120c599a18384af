//! Child processes that end with their owner.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};

use crate::ServerError;

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

/// Returns a TCP port of 127.0.0.1 that nobody listens on.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> Result<u16, ServerError> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServerError::io("find a free port"))?;
    Ok(listener.local_addr().map_err(ServerError::io("find a free port"))?.port())
}
