//! What a source is doing, for those who watch: counters that a hot loop may touch, and a phase in words.
//!
//! Nothing in here decides anything: state that matters is in the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use change::SourcePosition;

/// What a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It has not reached its system yet.
    #[default]
    Connecting,
    /// It copies what is there.
    Backfill {
        /// The table that is being copied.
        table: String,
        /// Rows of it copied so far.
        rows: u64,
        /// Rows that it probably has.
        rows_estimate: Option<u64>,
    },
    /// It follows changes, or reads a file.
    Streaming,
    /// It waits for something that is gone, and why.
    Waiting(String),
    /// Its input has ended.
    Ended,
}

/// What a source is doing, written by the source and read by anyone.
#[derive(Debug, Default)]
pub struct Progress {
    rows: AtomicU64,
    bytes: AtomicU64,
    transactions: AtomicU64,
    dead_letters: AtomicU64,
    backfill_rows: AtomicU64,
    /// `u64::MAX`: not known.
    lag_bytes: Lag,
    words: Mutex<Words>,
}

/// What changes seldom.
#[derive(Debug, Default)]
struct Words {
    phase: Phase,
    position: Option<SourcePosition>,
}

#[derive(Debug)]
struct Lag(AtomicU64);

impl Default for Lag {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

/// What [`Progress`] said at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressReport {
    /// What the source is doing.
    pub phase: Phase,
    /// Changed rows handed over in this run, backfill included.
    pub rows: u64,
    /// Bytes read in this run.
    pub bytes: u64,
    /// Transactions handed over in this run.
    pub transactions: u64,
    /// Rows of input in this run that could not be taken in.
    pub dead_letters: u64,
    /// The position behind the last transaction that is durable.
    pub position: Option<SourcePosition>,
    /// How many bytes of its system's history are still to be read; `None`: not known.
    pub lag_bytes: Option<u64>,
}

impl Progress {
    /// Counts changed rows.
    pub fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts bytes read.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts transactions.
    pub fn add_transactions(&self, transactions: u64) {
        self.transactions.fetch_add(transactions, Ordering::Relaxed);
    }

    /// Counts rows of input that could not be taken in.
    pub fn add_dead_letters(&self, dead_letters: u64) {
        self.dead_letters.fetch_add(dead_letters, Ordering::Relaxed);
    }

    /// Counts rows of the table whose backfill began last. They count as rows, too.
    pub fn add_backfill_rows(&self, rows: u64) {
        self.backfill_rows.fetch_add(rows, Ordering::Relaxed);
        self.add_rows(rows);
    }

    /// Says how far behind its system the source is; `None`: not known.
    pub fn set_lag_bytes(&self, lag: Option<u64>) {
        self.lag_bytes.0.store(lag.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Says what the source does now. A backfill begins counting from the phase's `rows`.
    pub fn set_phase(&self, phase: Phase) {
        let mut words = self.words();
        if let Phase::Backfill { rows, .. } = &phase {
            self.backfill_rows.store(*rows, Ordering::Relaxed);
        }
        words.phase = phase;
    }

    /// Says what is durable.
    pub fn set_position(&self, position: SourcePosition) {
        self.words().position = Some(position);
    }

    /// Returns all of it.
    #[must_use]
    pub fn report(&self) -> ProgressReport {
        let words = self.words();
        let mut phase = words.phase.clone();
        if let Phase::Backfill { rows, .. } = &mut phase {
            *rows = self.backfill_rows.load(Ordering::Relaxed);
        }
        let lag = self.lag_bytes.0.load(Ordering::Relaxed);
        ProgressReport {
            phase,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            position: words.position,
            lag_bytes: (lag != u64::MAX).then_some(lag),
        }
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        // Plain values: a panic elsewhere leaves them whole.
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
