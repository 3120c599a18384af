//! What the writer and the readers share: how far the log is durable, and where things are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use change::Time;

use crate::disk::Disk;
use crate::error::LogError;
use crate::index::SegmentIndex;
use crate::limits::INDEX_INTERVAL_BYTES;
use crate::preamble::Totals;
use crate::schema::Interner;

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) interner: Interner,
    state: Mutex<State>,
    grew: Condvar,
    /// Indexes of segments that somebody asked for.
    indexes: Mutex<BTreeMap<u64, Arc<SegmentIndex>>>,
}

/// Invariant: everything in it is durable. Segments ascend by number without a gap.
pub(crate) struct State {
    pub(crate) segments: Vec<Segment>,
    /// The next Time.
    pub(crate) upper: Time,
    pub(crate) totals: Totals,
    /// Why nothing more will come.
    pub(crate) failure: Option<LogError>,
}

/// What is known of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// The next Time at its beginning.
    pub(crate) first: Time,
    /// Where its durable frames end.
    pub(crate) end: u64,
    pub(crate) index: Index,
}

/// Where to start reading in a segment. It is empty for segments that were full when the log was opened; those are
/// read from their beginning, header by header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Offsets of frames and the next Time there, ascending, about a megabyte apart.
    times: Vec<(Time, u64)>,
    /// The offsets of all schema frames.
    schemas: Vec<u64>,
}

impl Index {
    pub(crate) fn add_schema(&mut self, offset: u64) {
        self.schemas.push(offset);
    }

    pub(crate) fn add_transactions(&mut self, first: Time, offset: u64) {
        let reached = self.times.last().map_or(0, |&(_, offset)| offset);
        if offset >= reached + INDEX_INTERVAL_BYTES {
            self.times.push((first, offset));
        }
    }

    fn extend(&mut self, more: Self) {
        for (first, offset) in more.times {
            self.add_transactions(first, offset);
        }
        self.schemas.extend(more.schemas);
    }
}

/// Where a reader begins.
pub(crate) struct Start {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The next Time there.
    pub(crate) next: Time,
    /// The segment's schemas before that.
    pub(crate) schemas: Vec<u64>,
}

/// What became durable at once.
pub(crate) struct Growth {
    pub(crate) end: u64,
    pub(crate) index: Index,
    pub(crate) upper: Time,
    pub(crate) totals: Totals,
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, disk: Arc<dyn Disk>, state: State) -> Self {
        let (state, grew) = (Mutex::new(state), Condvar::new());
        let indexes = Mutex::default();
        Self { dir, disk, interner: Interner::default(), state, grew, indexes }
    }

    pub(crate) fn indexes(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<SegmentIndex>>> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The full segments' numbers: all but the last.
    pub(crate) fn full_segments(&self) -> Vec<u64> {
        let state = self.state();
        let full = state.segments.split_last().map_or(&[][..], |(_, full)| full);
        full.iter().map(|segment| segment.number).collect()
    }

    /// Where a full segment ends, with the next Time there; `None` when it still grows.
    pub(crate) fn full_end(&self, number: u64) -> Option<Time> {
        self.state().segment(number.checked_add(1)?).map(|next| next.first)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers what became durable. Those who wait for it are woken by [`wake`](Self::wake).
    pub(crate) fn publish(&self, growth: Growth) {
        let mut state = self.state();
        let segment = state.segments.last_mut().expect("a log has a segment");
        segment.end = growth.end;
        segment.index.extend(growth.index);
        state.upper = growth.upper;
        state.totals = growth.totals;
    }

    /// Wakes those who wait for more.
    pub(crate) fn wake(&self) {
        self.grew.notify_all();
    }

    pub(crate) fn add_segment(&self, number: u64, first: Time, end: u64) {
        let segment = Segment { number, first, end, index: Index::default() };
        self.state().segments.push(segment);
        self.grew.notify_all();
    }

    pub(crate) fn fail(&self, error: LogError) {
        self.state().failure.get_or_insert(error);
        self.grew.notify_all();
    }

    /// Waits until there is a transaction behind `after`, or the log failed, or the time is over.
    pub(crate) fn wait_past(&self, after: Time, timeout: Duration) -> Time {
        let waiting = |state: &mut State| state.upper <= after.next() && state.failure.is_none();
        let (state, _timeout) = self
            .grew
            .wait_timeout_while(self.state(), timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.upper
    }

    /// Where the durable frames of a segment end; `None` when there is no such segment.
    pub(crate) fn end_of(&self, number: u64) -> Option<u64> {
        self.state().segment(number).map(|segment| segment.end)
    }

    /// Where to begin to read what comes after a Time.
    pub(crate) fn start(&self, after: Time) -> Start {
        let state = self.state();
        let at = state.segments.partition_point(|segment| segment.first <= after.next());
        let segment = &state.segments[at.saturating_sub(1)];
        let times = &segment.index.times;
        let at = times.partition_point(|&(first, _)| first <= after.next());
        let (next, offset) = match at.checked_sub(1) {
            Some(at) => times[at],
            None => (segment.first, 0),
        };
        let schemas = segment.index.schemas.iter().copied().filter(|&at| at < offset).collect();
        Start { segment: segment.number, offset, next, schemas }
    }
}

impl State {
    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        let first = self.segments.first()?.number;
        let at = usize::try_from(number.checked_sub(first)?).ok()?;
        self.segments.get(at)
    }
}
