//! Who writes: the writer's thread, or one who appends and waits.
//!
//! A group that a thread of its own writes costs two wake-ups: that of the writer, and that of whoever waits for it. For
//! a small group they take a fifth as long as its sync. So whoever waits for its group anyway writes it itself when
//! nobody else writes just then, together with all that is queued: it leads. (MySQL and PostgreSQL elect the leaders of
//! their group commits the same way, among those who wait.) Everyone else queues, and the thread writes.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use crate::error::LogError;
use crate::queue::{Item, Queue};
use crate::shared::Shared;
use crate::writer::{Progress, Writer};

/// How long the writer waits before it looks for room again on a full disk.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);

/// The writer, which one at a time may use.
pub(crate) struct Turn {
    /// `None` when the writer has ended, or somebody else has it.
    writer: Mutex<Option<Writer>>,
}

impl Turn {
    pub(crate) fn new(writer: Option<Writer>) -> Self {
        Self { writer: Mutex::new(writer) }
    }

    /// Writes what is queued until the queue is stopped and empty: what the writer's thread does.
    pub(crate) fn run(&self, shared: &Arc<Shared>, queue: &Arc<Queue>) {
        let _told = Ended { shared, queue, turn: Some(self) };
        loop {
            match self.step() {
                Progress::Wrote => {}
                Progress::Idle => queue.wait(),
                Progress::Full => queue.wait_timeout(ROOM_INTERVAL),
                Progress::Ended => return,
            }
        }
    }

    fn step(&self) -> Progress {
        let mut turn = match self.writer.lock() {
            Ok(turn) => turn,
            Err(poisoned) => {
                // Whoever panicked left things half done.
                *poisoned.into_inner() = None;
                return Progress::Ended;
            }
        };
        let progress = turn.as_mut().map_or(Progress::Ended, Writer::step);
        if progress == Progress::Ended {
            *turn = None;
        }
        progress
    }

    /// Queues a group, and writes all that is queued when nobody else does.
    pub(crate) fn lead(
        &self,
        shared: &Arc<Shared>,
        queue: &Arc<Queue>,
        mut item: Item,
    ) -> Result<(), LogError> {
        let mut turn = match self.writer.try_lock() {
            Ok(turn) if turn.is_some() => turn,
            Ok(_) | Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => {
                item.encoded.seal();
                return queue.push(item);
            }
        };
        // Whoever waits for room in the queue must not keep the writer from making it.
        if let Some(mut item) = queue.put(item)? {
            drop(turn);
            item.encoded.seal();
            return queue.push(item);
        }
        let _told = Ended { shared, queue, turn: None };
        while let Some(writer) = turn.as_mut() {
            match writer.step() {
                Progress::Wrote if !writer.is_done() => {}
                Progress::Wrote | Progress::Idle | Progress::Full => {
                    if writer.wanted_bytes.is_some() {
                        // The thread looks for room.
                        queue.nudge();
                    }
                    break;
                }
                Progress::Ended => *turn = None,
            }
        }
        Ok(())
    }

    /// Takes the writer away.
    pub(crate) fn take(&self) -> Option<Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tells those who wait that nothing more is written, whatever the reason is.
struct Ended<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    /// Whose thread ends; `None` when it goes on unless there was a panic.
    turn: Option<&'a Turn>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if self.turn.is_some() || std::thread::panicking() {
            self.shared.fail(LogError::Closed);
            self.queue.stop(LogError::Closed);
            for Item { done, .. } in self.queue.drain() {
                done(Err(LogError::Closed));
            }
        }
        // Whoever waits for what a writer that panicked had taken learns of it when that is dropped.
        drop(self.turn.and_then(Turn::take));
    }
}
