//! The bounded queue between those who append and the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use change::Time;

use crate::encode::Encoded;
use crate::error::LogError;

/// Whom to tell that a group is durable, or why not.
pub type Done = Box<dyn FnOnce(Result<Time, LogError>) + Send>;

/// A group that waits to be written.
pub(crate) struct Item {
    pub(crate) encoded: Encoded,
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
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: u64,
    /// Why nothing more is taken.
    stopped: Option<LogError>,
}

impl Queue {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let inner = Mutex::new(Inner::default());
        Self { inner, bytes_max, filled: Condvar::new(), drained: Condvar::new() }
    }

    /// Adds a group; waits while the queue is full. A group larger than the queue waits until it is empty.
    pub(crate) fn push(&self, item: Item) -> Result<(), LogError> {
        let bytes = item.bytes();
        let full = |inner: &mut Inner| {
            inner.stopped.is_none() && inner.bytes > 0 && inner.bytes + bytes > self.bytes_max
        };
        let inner = self.drained.wait_while(self.inner(), full);
        let mut inner = inner.unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &inner.stopped {
            return Err(error.clone());
        }
        inner.bytes += bytes;
        inner.items.push_back(item);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits until there are groups, or the queue is stopped.
    pub(crate) fn wait(&self) {
        let idle = |inner: &mut Inner| inner.items.is_empty() && inner.stopped.is_none();
        let waited = self.filled.wait_while(self.inner(), idle);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes all groups, without waiting; returns whether the queue is stopped, so that no more will come.
    pub(crate) fn take(&self, items: &mut VecDeque<Item>) -> bool {
        let mut inner = self.inner();
        items.append(&mut inner.items);
        inner.stopped.is_some()
    }

    /// Makes room for as many bytes.
    pub(crate) fn release(&self, bytes: u64) {
        let mut inner = self.inner();
        inner.bytes = inner.bytes.checked_sub(bytes).expect("only what was queued is released");
        drop(inner);
        self.drained.notify_all();
    }

    /// Refuses what comes from now on. What is queued already stays.
    pub(crate) fn stop(&self, error: LogError) {
        self.inner().stopped.get_or_insert(error);
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Takes what is queued, without waiting.
    pub(crate) fn drain(&self) -> VecDeque<Item> {
        std::mem::take(&mut self.inner().items)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
