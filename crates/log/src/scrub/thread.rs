//! The thread in which a running process scrubs its log, and what it tells.
//!
//! It is the least important thread: it runs at the lowest priority, reads at a bounded rate, and at a quarter of it
//! while transactions are coming.

use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use change::Time;

use crate::Log;
use crate::disk::Disk;
use crate::error::LogError;
use crate::limits::SCRUB_BYTES_PER_PAUSE;
use crate::scrub::record::{self, Record};
use crate::scrub::{Damage, Scrubbed, Scrubber};
use crate::shared::Shared;

/// How a running log is scrubbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// How many bytes are read in a second at most.
    pub bytes_per_second: u64,
    /// How much later than the last one a pass begins, when it took less time.
    pub interval: Duration,
    /// How long the first pass waits, so that a start is not held up.
    pub delay: Duration,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            bytes_per_second: 16 << 20,
            interval: Duration::from_secs(24 * 60 * 60),
            delay: Duration::from_secs(60),
        }
    }
}

/// What scrubbing came to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubState {
    /// How many bytes of the log were read by this process.
    pub bytes: u64,
    /// How many full passes it made.
    pub passes: u64,
    /// When the last full pass ended, in microseconds since 1970 UTC, also that of an earlier process; 0 for never.
    pub passed_us: i64,
    /// How many tiles and indexes were made again by this process.
    pub made_again: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Where the scrubber's thread is met.
#[derive(Default)]
pub(crate) struct ScrubDesk {
    state: Mutex<Desk>,
    woken: Condvar,
}

#[derive(Default)]
struct Desk {
    shown: ScrubState,
    /// Whether there is a thread.
    started: bool,
    /// Whether the thread is to end.
    stopped: bool,
    /// Whether a pass is wanted now.
    wanted: bool,
}

impl ScrubDesk {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop(&self) {
        self.desk().stopped = true;
        self.woken.notify_all();
    }

    /// Waits; says whether to go on.
    fn pause(&self, length: Duration) -> ControlFlow<()> {
        let waited = self.woken.wait_timeout_while(self.desk(), length, |desk| !desk.stopped);
        let (desk, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if desk.stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Waits until a pass is due or wanted; says whether to go on.
    fn rest(&self, length: Duration) -> ControlFlow<()> {
        let idle = |desk: &mut Desk| !desk.stopped && !desk.wanted;
        let waited = self.woken.wait_timeout_while(self.desk(), length, idle);
        let (mut desk, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        desk.wanted = false;
        if desk.stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Log {
    /// Starts a thread that scrubs the segments that do not grow any more. It ends when the log is closed.
    ///
    /// # Errors
    /// When the log was opened for reading only, or a thread cannot be started.
    ///
    /// # Panics
    /// When the log is scrubbed already.
    pub fn start_scrubbing(&self, options: ScrubOptions) -> Result<(), LogError> {
        let writing = self.writing.as_ref().ok_or(LogError::ReadOnly)?;
        let (shared, desk, now_us) =
            (Arc::clone(&self.shared), Arc::clone(&self.scrubbing), writing.now_us);
        let known = record::load(&*shared.disk, &shared.dir);
        {
            let mut desk = desk.desk();
            desk.started = true;
            desk.shown.passed_us = known.passed_us;
            desk.shown.damage = known.damage;
        }
        let body = move || Worker { shared, desk, options, now_us }.run();
        let thread = std::thread::Builder::new().name("log scrub".to_owned()).spawn(body);
        let thread = thread.map_err(|error| LogError::io("scrub", &self.shared.dir, error))?;
        let mut scrubber = writing.scrubber.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(scrubber.replace(thread).is_none(), "a log has one scrubber");
        Ok(())
    }

    /// What scrubbing came to so far; without a scrubber, what was found when there was one.
    #[must_use]
    pub fn scrubbed(&self) -> ScrubState {
        {
            let desk = self.scrubbing.desk();
            if desk.started {
                return desk.shown.clone();
            }
        }
        let Record { passed_us, damage } = record::load(&*self.shared.disk, &self.shared.dir);
        ScrubState { passed_us, damage, ..ScrubState::default() }
    }

    /// Asks for a pass now.
    pub fn scrub_now(&self) {
        self.scrubbing.desk().wanted = true;
        self.scrubbing.woken.notify_all();
    }
}

/// Ends the scrubber's thread and waits for it.
pub(crate) fn join(desk: &ScrubDesk, thread: &Mutex<Option<JoinHandle<()>>>) {
    desk.stop();
    let mut thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.take().is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the log's scrubber panicked");
    }
}

struct Worker {
    shared: Arc<Shared>,
    desk: Arc<ScrubDesk>,
    options: ScrubOptions,
    now_us: fn() -> i64,
}

impl Worker {
    fn run(self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, 19) {
            // On this system the call is about the calling thread alone.
            tracing::debug!(%error, "the scrubber has the priority of the others");
        }
        // What was found before may have been repaired since: that is looked at soon.
        let mut wait = self.options.delay;
        if self.desk.desk().shown.damage.is_empty() {
            wait = wait.max(self.until_due());
        }
        while self.desk.rest(wait).is_continue() {
            if self.pass().is_break() {
                return;
            }
            wait = self.until_due().max(self.options.delay);
        }
    }

    /// How long it is until the next pass is due.
    fn until_due(&self) -> Duration {
        let passed_us = self.desk.desk().shown.passed_us;
        if passed_us == 0 {
            return Duration::ZERO;
        }
        let since_us = (self.now_us)().saturating_sub(passed_us);
        // A clock that was set back must not keep the log unread.
        let since = u64::try_from(since_us).map_or(self.options.interval, Duration::from_micros);
        self.options.interval.saturating_sub(since)
    }

    /// Reads everything once and tells what is wrong.
    fn pass(&self) -> ControlFlow<()> {
        let scrubber = Scrubber {
            disk: Arc::clone(&self.shared.disk) as Arc<dyn Disk>,
            dir: self.shared.dir.clone(),
            shared: Some(Arc::clone(&self.shared)),
        };
        let mut pace =
            Pacer { worker: self, owed_bytes: 0, upper: self.shared.state().upper, stopped: false };
        let passed = scrubber.pass(true, (self.now_us)(), &mut |bytes| pace.read(bytes));
        self.desk.desk().shown.bytes += pace.owed_bytes;
        if pace.stopped {
            return ControlFlow::Break(());
        }
        let (mut scrubbed, mut tiles) = match passed {
            Ok(passed) => passed,
            Err(error) => {
                tracing::warn!(%error, "the log cannot be scrubbed now");
                return ControlFlow::Continue(());
            }
        };
        if let Err(error) = scrubber.make_again(&mut scrubbed, &mut tiles) {
            tracing::warn!(%error, "what is damaged and can be made again has to wait");
        }
        self.tell(scrubbed);
        ControlFlow::Continue(())
    }

    fn tell(&self, scrubbed: Scrubbed) {
        let record = {
            let mut desk = self.desk.desk();
            let shown = &mut desk.shown;
            let known = std::mem::replace(&mut shown.damage, scrubbed.damage);
            for damage in &mut shown.damage {
                match known.iter().find(|known| known.is_at(damage)) {
                    Some(known) => damage.since_us = known.since_us,
                    None => tracing::error!(
                        file = damage.file,
                        offset = damage.offset,
                        help = damage.help(),
                        "the log is damaged: {}; see evert.damage",
                        damage.reason
                    ),
                }
            }
            for gone in known.iter().filter(|known| !shown.damage.iter().any(|d| d.is_at(known))) {
                tracing::info!(file = gone.file, offset = gone.offset, "damage was repaired");
            }
            if scrubbed.made_again > 0 {
                tracing::warn!(
                    files = scrubbed.made_again,
                    "damaged tiles and indexes were made again"
                );
            }
            shown.made_again += scrubbed.made_again;
            shown.passes += 1;
            shown.passed_us = (self.now_us)();
            Record { passed_us: shown.passed_us, damage: shown.damage.clone() }
        };
        if let Err(error) = record::save(&*self.shared.disk, &self.shared.dir, &record) {
            tracing::warn!(%error, "what scrubbing found is not kept");
        }
    }
}

/// Bounds the rate.
struct Pacer<'a> {
    worker: &'a Worker,
    /// What was read since the last pause.
    owed_bytes: u64,
    /// Where the log ended then.
    upper: Time,
    stopped: bool,
}

impl Pacer<'_> {
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        let Worker { shared, desk, options, .. } = self.worker;
        self.owed_bytes += bytes;
        if self.owed_bytes < SCRUB_BYTES_PER_PAUSE {
            return ControlFlow::Continue(());
        }
        desk.desk().shown.bytes += self.owed_bytes;
        let upper = shared.state().upper;
        let is_busy = std::mem::replace(&mut self.upper, upper) != upper;
        let rate = (options.bytes_per_second / if is_busy { 4 } else { 1 }).max(1);
        let owed_us = self.owed_bytes.saturating_mul(1_000_000) / rate;
        self.owed_bytes = 0;
        let flow = desk.pause(Duration::from_micros(owed_us));
        self.stopped |= flow.is_break();
        flow
    }
}
