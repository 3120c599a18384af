//! The thread in which a notary follows its log, and the desk at which others meet it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use change::Time;

use crate::error::LogError;
use crate::limits::{NOTARY_BACKLOG_BYTES_MAX, NOTARY_UNSETTLED_MAX};
use crate::notary::{Notary, NotaryOptions, Published};
use crate::{Log, shared::Shared};

/// How long the notary waits before it tries again what the disk refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long groups gather, once one came, before the notary takes them in: to wake it for each costs who appends more
/// than that the notary works meanwhile.
const GATHER: Duration = Duration::from_millis(2);

/// What the notary's thread tells.
#[derive(Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    published: Option<Published>,
    /// The size up to which the tree is durable, and the one up to which somebody wants it to be.
    settled: u64,
    wanted: u64,
    /// Whether the thread has ended, and why when it failed.
    ended: Option<Option<LogError>>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, published: Option<&Published>) {
        self.state().published = published.cloned();
        self.changed.notify_all();
    }

    fn end(&self, failure: Option<LogError>) {
        self.state().ended.get_or_insert(failure);
        self.changed.notify_all();
    }

    fn is_wanted(&self, settled: u64, size: u64) -> bool {
        let wanted = self.state().wanted;
        wanted > settled && wanted <= size
    }

    fn settled(&self, size: u64) {
        self.state().settled = size;
        self.changed.notify_all();
    }

    /// Waits until the tree is durable up to a size, the notary has ended, or the time is over.
    pub(crate) fn wait_settled(&self, size: u64, timeout: Duration) -> bool {
        let mut state = self.state();
        state.wanted = state.wanted.max(size);
        let waiting = |state: &mut State| state.settled < size && state.ended.is_none();
        let waited = self.changed.wait_timeout_while(state, timeout, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.settled >= size
    }

    /// Waits until a state of at least this size is published, the notary has ended, or the time is over.
    pub(crate) fn wait(&self, size: u64, timeout: Duration) -> Result<Option<Published>, LogError> {
        let covers = |state: &State| {
            state.published.as_ref().is_some_and(|published| published.checkpoint.size() >= size)
        };
        let waiting = |state: &mut State| !covers(state) && state.ended.is_none();
        let waited = self.changed.wait_timeout_while(self.state(), timeout, waiting);
        let (state, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.ended {
            Some(Some(error)) if !covers(&state) => Err(error.clone()),
            Some(_) | None => Ok(state.published.clone()),
        }
    }
}

impl Log {
    /// Starts a thread that makes the log provable. It ends when the log is closed, which waits for it.
    ///
    /// # Errors
    /// When the log has lost what was signed, when it was opened for reading only, or the files of its proofs cannot
    /// be read or written.
    ///
    /// # Panics
    /// When the log has a notary already.
    pub fn start_notary(&self, options: NotaryOptions) -> Result<(), LogError> {
        let writing = self.writing.as_ref().ok_or(LogError::ReadOnly)?;
        let notary = Notary::open(self, options.signer)?;
        let (shared, desk) = (Arc::clone(&self.shared), Arc::clone(&self.desk));
        let (interval, now_us) = (options.interval, writing.now_us);
        let body = move || {
            let told = Arc::clone(&desk);
            let (shown, indexed) = (0, 0);
            let ended = Follower { shared, desk, notary, interval, now_us, shown, indexed }.run();
            if let Err(error) = &ended {
                tracing::error!(%error, help = error.help(), "the log is not signed any more");
            }
            told.end(ended.err());
        };
        let thread = std::thread::Builder::new().name("log notary".to_owned()).spawn(body);
        let thread = thread.map_err(|error| LogError::io("sign", &self.shared.dir, error))?;
        let mut notary = writing.notary.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(notary.replace(thread).is_none(), "a log has one notary");
        Ok(())
    }

    /// Waits until the tree is durable up to `time`, the log is closed, or the waiting is over; returns whether it is.
    /// What was folded before that Time can be proved still.
    #[must_use]
    pub fn wait_settled(&self, time: Time, timeout: Duration) -> bool {
        self.desk.wait_settled(time.0, timeout)
    }

    /// Waits until the transactions up to `time` are signed, the log is closed, or the waiting is over; returns what is
    /// signed then.
    ///
    /// # Errors
    /// Why nothing is signed any more.
    pub fn wait_signed(
        &self,
        time: Time,
        timeout: Duration,
    ) -> Result<Option<Published>, LogError> {
        self.desk.wait(time.0, timeout)
    }
}

/// Waits for the notary's thread.
pub(crate) fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let mut thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.take().is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the log's notary panicked");
    }
}

struct Follower {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    notary: Notary,
    interval: Duration,
    now_us: fn() -> i64,
    /// The size of what the desk shows.
    shown: u64,
    /// The last segment whose index is known to be there.
    indexed: u64,
}

impl Follower {
    fn run(mut self) -> Result<(), LogError> {
        self.publish()?;
        let mut published_us = (self.now_us)();
        loop {
            let closed = self.shared.state().failure.is_some();
            let stepped = self.retried(Notary::step)?;
            // What is in the tree by now is published in time, whatever comes meanwhile.
            let rest = self.rest(published_us);
            let wait = if self.notary.is_ahead() { rest } else { self.interval };
            let idle = matches!(stepped, Some(None)) && (wait.is_zero() || !self.grows(wait));
            let now_us = (self.now_us)();
            let due = self.rest(published_us).is_zero();
            if idle || due {
                self.publish()?;
                published_us = now_us;
            }
            self.keep_indexes()?;
            let is_wanted = self.desk.is_wanted(self.notary.settled, self.notary.size());
            if is_wanted || self.notary.unsettled() > NOTARY_UNSETTLED_MAX {
                self.retried(Notary::settle)?;
            }
            self.desk.settled(self.notary.settled);
            if closed && stepped.is_some() {
                return self.finish();
            }
        }
    }

    /// Writes the indexes of segments that are full. It is done here because this thread makes nobody wait.
    fn keep_indexes(&mut self) -> Result<(), LogError> {
        let numbers = self.shared.full_segments();
        let Some(number) = numbers.into_iter().find(|number| *number > self.indexed) else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        // A segment that is being rewritten has another index soon.
        let Ok(_nobody_rewrites) = shared.thinning.try_lock() else { return Ok(()) };
        if self.retried(|_| shared.keep_index(number))?.is_some() {
            self.indexed = number;
        }
        Ok(())
    }

    /// How much is left of the interval since something was published.
    fn rest(&self, published_us: i64) -> Duration {
        // A clock that was set back must not keep the log unsigned.
        let passed = u64::try_from((self.now_us)().saturating_sub(published_us));
        passed.map_or(Duration::ZERO, |us| self.interval.saturating_sub(Duration::from_micros(us)))
    }

    /// Waits for more in the log; returns whether something came.
    fn grows(&self, wait: Duration) -> bool {
        let size = Time(self.notary.size());
        let grew = self.shared.wait_past(size, wait) > size.next();
        if grew && self.shared.state().failure.is_none() {
            std::thread::sleep(GATHER.min(wait));
        }
        grew
    }

    fn publish(&mut self) -> Result<(), LogError> {
        self.retried(Notary::publish)?;
        if self.notary.published_size() > self.shown {
            self.shown = self.notary.published_size();
            self.desk.show(self.notary.published());
        }
        Ok(())
    }

    /// Does something that writes files; `None` when the disk refuses: it is tried again later.
    fn retried<T>(
        &mut self,
        act: impl FnOnce(&mut Notary) -> Result<T, LogError>,
    ) -> Result<Option<T>, LogError> {
        match act(&mut self.notary) {
            Ok(done) => Ok(Some(done)),
            Err(error @ (LogError::Io { .. } | LogError::DiskFull { .. })) => {
                if self.shared.state().failure.is_some() {
                    return Err(error);
                }
                tracing::warn!(%error, "the log's proofs have to wait");
                std::thread::sleep(RETRY_INTERVAL);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The log is closed: takes in the rest, unless that is very much, and leaves everything durable.
    fn finish(mut self) -> Result<(), LogError> {
        let mut left = NOTARY_BACKLOG_BYTES_MAX;
        while let Some(bytes) = self.notary.step()? {
            let Some(rest) = left.checked_sub(bytes) else { break };
            left = rest;
        }
        self.publish()?;
        self.notary.settle()
    }
}
