//! The bounded queue between those who append and the writer.
//!
//! Nobody is woken who does not sleep: a call to the system for each group, which mostly wakes nobody, costs as much as
//! writing a small group. And the writer looks for a moment before it sleeps: whoever appends one group after the other
//! is back sooner than a sleeping thread wakes. It does so only as long as that succeeds, so that it takes nothing from
//! others when groups come now and then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use change::Time;

use crate::encode::Encoded;
use crate::error::LogError;

/// How often the writer looks before it sleeps, and yields in between: about a tenth of a millisecond.
const LOOKS: u32 = 120;

/// How often it may look in vain until it sleeps at once.
const PATIENCE: u32 = 8;

/// How often it sleeps at once before it looks again.
const DOUBT: u32 = 64;

/// Whom to tell that a group is durable, or why not.
pub type Done = Box<dyn FnOnce(Result<Time, LogError>) + Send>;

/// What becomes of a group for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused, and the log goes on without it. Not for groups that build on each other, as a source's do: the
    /// next one may find room.
    Refuse,
    /// It waits for room, and with it all that its source appends behind it. Only when the log is closed it is refused,
    /// and then all that waits is.
    Wait,
}

/// A group that waits to be written.
pub(crate) struct Item {
    pub(crate) encoded: Encoded,
    pub(crate) on_full: OnFull,
    pub(crate) done: Done,
}

impl Item {
    pub(crate) fn bytes(&self) -> u64 {
        self.encoded.payload_length.into()
    }
}

/// Invariant: `bytes` is the sum of what is queued and what the writer took and has not released yet.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    bytes_max: u64,
    filled: Condvar,
    drained: Condvar,
    /// Whether there is something for the writer; a hint, read without the lock.
    busy: AtomicBool,
    /// How often the writer looks in vain yet, and above [`PATIENCE`] how often it sleeps at once.
    luck: AtomicU32,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: u64,
    /// Why nothing more is taken.
    stopped: Option<LogError>,
    /// Why nothing can be written just now.
    full: Option<LogError>,
    /// Whether there is something to do for the writer's thread, though nothing is queued.
    nudged: bool,
    /// Whether the writer's thread sleeps.
    asleep: bool,
    /// How many sleep until there is room in the queue.
    crowded: usize,
}

impl Inner {
    fn add(&mut self, item: Item) -> Result<(), LogError> {
        if let Some(error) = &self.stopped {
            return Err(error.clone());
        }
        self.bytes += item.bytes();
        self.items.push_back(item);
        Ok(())
    }

    /// Whether a group is not to wait for room in a queue of those that wait for room on the disk.
    fn refuses(&self, item: &Item) -> bool {
        self.full.is_some() && item.on_full == OnFull::Refuse
    }

    fn is_idle(&mut self) -> bool {
        self.items.is_empty() && self.stopped.is_none() && !self.nudged
    }
}

impl Queue {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let inner = Mutex::new(Inner::default());
        let (filled, drained) = (Condvar::new(), Condvar::new());
        let (busy, luck) = (AtomicBool::new(false), AtomicU32::new(0));
        Self { inner, bytes_max, filled, drained, busy, luck }
    }

    /// Adds a group; waits while the queue is full. A group larger than the queue waits until it is empty.
    pub(crate) fn push(&self, item: Item) -> Result<(), LogError> {
        let mut inner = self.inner();
        let crowd = |inner: &mut Inner| self.is_crowded(inner, &item) && !inner.refuses(&item);
        if crowd(&mut inner) {
            inner.crowded += 1;
            inner = self.drained.wait_while(inner, crowd).unwrap_or_else(PoisonError::into_inner);
            inner.crowded -= 1;
        }
        if let Some(error) = inner.full.clone().filter(|_| self.is_crowded(&inner, &item)) {
            return Err(error);
        }
        inner.add(item)?;
        self.busy.store(true, Ordering::Relaxed);
        let asleep = inner.asleep;
        drop(inner);
        if asleep {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Adds a group, for one who takes it out again at once; gives it back when the queue is full.
    pub(crate) fn put(&self, item: Item) -> Result<Option<Item>, LogError> {
        let mut inner = self.inner();
        if self.is_crowded(&inner, &item) {
            return Ok(Some(item));
        }
        inner.add(item)?;
        Ok(None)
    }

    fn is_crowded(&self, inner: &Inner, item: &Item) -> bool {
        let bytes = inner.bytes + item.bytes();
        inner.stopped.is_none() && inner.bytes > 0 && bytes > self.bytes_max
    }

    /// Has the writer's thread look, whatever is queued.
    pub(crate) fn nudge(&self) {
        self.inner().nudged = true;
        self.busy.store(true, Ordering::Relaxed);
        self.filled.notify_one();
    }

    /// Waits until there are groups, or the queue is stopped.
    pub(crate) fn wait(&self) {
        if self.look() {
            return;
        }
        let mut inner = self.inner();
        inner.asleep = true;
        let waited = self.filled.wait_while(inner, |inner| inner.is_idle());
        waited.unwrap_or_else(PoisonError::into_inner).asleep = false;
    }

    /// Looks for a moment whether a group comes, if that is likely.
    fn look(&self) -> bool {
        let vain = self.luck.load(Ordering::Relaxed);
        if (PATIENCE..PATIENCE + DOUBT).contains(&vain) {
            self.luck.store(vain + 1, Ordering::Relaxed);
            return self.busy.load(Ordering::Relaxed);
        }
        for _ in 0..LOOKS {
            if self.busy.load(Ordering::Relaxed) {
                self.luck.store(0, Ordering::Relaxed);
                return true;
            }
            for _ in 0..8 {
                std::hint::spin_loop();
            }
            std::thread::yield_now();
        }
        // After a last try that was in vain, too, it doubts again.
        let vain = if vain < PATIENCE { vain + 1 } else { PATIENCE };
        self.luck.store(vain, Ordering::Relaxed);
        false
    }

    /// Waits as [`wait`](Self::wait) does, but not longer than this.
    pub(crate) fn wait_timeout(&self, timeout: Duration) {
        let mut inner = self.inner();
        inner.asleep = true;
        let waited = self.filled.wait_timeout_while(inner, timeout, |inner| inner.is_idle());
        waited.unwrap_or_else(PoisonError::into_inner).0.asleep = false;
    }

    /// Takes all groups, without waiting; returns whether the queue is stopped, so that no more will come.
    pub(crate) fn take(&self, items: &mut VecDeque<Item>) -> bool {
        let mut inner = self.inner();
        items.append(&mut inner.items);
        inner.nudged = false;
        self.busy.store(inner.stopped.is_some(), Ordering::Relaxed);
        inner.stopped.is_some()
    }

    /// Makes room for as many bytes.
    pub(crate) fn release(&self, bytes: u64) {
        let mut inner = self.inner();
        inner.bytes = inner.bytes.checked_sub(bytes).expect("only what was queued is released");
        let crowded = inner.crowded > 0;
        drop(inner);
        if crowded {
            self.drained.notify_all();
        }
    }

    /// Refuses what comes from now on. What is queued already stays.
    pub(crate) fn stop(&self, error: LogError) {
        self.inner().stopped.get_or_insert(error);
        self.busy.store(true, Ordering::Relaxed);
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Says that nothing can be written just now, or that it can again.
    pub(crate) fn set_full(&self, full: Option<LogError>) {
        self.inner().full = full;
        // Who does not wait for room on the disk does not wait behind those who do.
        self.drained.notify_all();
    }

    /// Why nothing can be written just now.
    pub(crate) fn full(&self) -> Option<LogError> {
        self.inner().full.clone()
    }

    /// Takes what is queued, without waiting.
    pub(crate) fn drain(&self) -> VecDeque<Item> {
        std::mem::take(&mut self.inner().items)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
