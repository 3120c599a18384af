//! SIGINT and SIGTERM: the first asks for a clean end, a second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The exit code after a second interrupt, as shells give it: 128 + SIGINT.
const INTERRUPTED_TWICE: i32 = 130;

/// The interrupts that this process receives.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Begins to listen.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::io("cannot listen to signals", e));
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for an interrupt. From then on, another one ends the process.
    pub(crate) async fn next(&mut self) {
        self.either().await;
        if let Ok(mut again) = Self::new() {
            tokio::spawn(async move {
                again.either().await;
                std::process::exit(INTERRUPTED_TWICE);
            });
        }
    }

    async fn either(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
