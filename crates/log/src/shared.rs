//! What the writer and the readers share: how far the log is durable, and where things are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use change::Time;

use crate::disk::Disk;
use crate::error::LogError;
use crate::index::SegmentIndex;
use crate::limits::INDEX_INTERVAL_BYTES;
use crate::preamble::Totals;
use crate::retention::Bases;
use crate::schema::Interner;

/// A segment, and how many bytes are left of it when it was rewritten: which life of it an index is of.
type Indexed = (u64, Option<u64>);

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) interner: Interner,
    state: Mutex<State>,
    grew: Condvar,
    /// Indexes of segments that somebody asked for.
    indexes: Mutex<BTreeMap<Indexed, Arc<SegmentIndex>>>,
    /// Whether somebody folds.
    pub(crate) folding: AtomicBool,
    /// Whether nothing may be folded until the next start, because the disk did not say what became of a fold.
    pub(crate) spoiled: AtomicBool,
    /// Held by who rewrites segments.
    pub(crate) thinning: Mutex<()>,
}

/// Invariant: everything in it is durable. Segments ascend by number without a gap.
pub(crate) struct State {
    pub(crate) segments: Vec<Segment>,
    /// What was folded.
    pub(crate) bases: Arc<Bases>,
    /// The segment that each reader is in.
    pub(crate) readers: BTreeMap<u64, u64>,
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
    /// Where its durable frames end, in the segment as it was written.
    pub(crate) end: u64,
    /// When it was begun, in microseconds since 1970 UTC.
    pub(crate) begun_us: i64,
    /// How many bytes are left of it, when it was rewritten.
    pub(crate) thin_bytes: Option<u64>,
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

/// A reader's place: what lies behind it is not folded.
pub(crate) struct Pin {
    shared: Arc<Shared>,
    number: u64,
}

impl Pin {
    /// Registers a reader.
    fn new(shared: &Arc<Shared>, state: &mut State, segment: u64) -> Self {
        let number = state.readers.last_key_value().map_or(0, |(last, _)| last + 1);
        state.readers.insert(number, segment);
        Self { shared: Arc::clone(shared), number }
    }

    /// Goes on to another segment.
    pub(crate) fn enter(&self, segment: u64) {
        self.shared.state().readers.insert(self.number, segment);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.shared.state().readers.remove(&self.number);
    }
}

/// Where a reader begins.
pub(crate) struct Start {
    pub(crate) pin: Pin,
    /// What was folded then; it stays as long as the reader does not go on.
    pub(crate) bases: Arc<Bases>,
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
        let (interner, folding) = (Interner::default(), AtomicBool::new(false));
        let (spoiled, thinning) = (AtomicBool::new(false), Mutex::default());
        Self { dir, disk, interner, state, grew, indexes, folding, spoiled, thinning }
    }

    pub(crate) fn indexes(&self) -> MutexGuard<'_, BTreeMap<Indexed, Arc<SegmentIndex>>> {
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

    pub(crate) fn add_segment(&self, number: u64, first: Time, end: u64, begun_us: i64) {
        let index = Index::default();
        let segment = Segment { number, first, end, begun_us, thin_bytes: None, index };
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

    /// Where the durable frames of a segment end, and how many bytes are left of it when it was rewritten.
    pub(crate) fn extent_of(&self, number: u64) -> (u64, Option<u64>) {
        let state = self.state();
        state.segment(number).map_or((0, None), |segment| (segment.end, segment.thin_bytes))
    }

    /// Where to begin to read what comes after a Time.
    pub(crate) fn start(self: &Arc<Self>, after: Time) -> Start {
        let mut state = self.state();
        let at = state.segments.partition_point(|segment| segment.first <= after.next());
        let segment = &state.segments[at.saturating_sub(1)];
        let times = &segment.index.times;
        let at = times.partition_point(|&(first, _)| first <= after.next());
        let (next, offset) = match at.checked_sub(1) {
            Some(at) => times[at],
            None => (segment.first, 0),
        };
        let schemas = segment.index.schemas.iter().copied().filter(|&at| at < offset).collect();
        let segment = segment.number;
        let bases = Arc::clone(&state.bases);
        let pin = Pin::new(self, &mut state, segment);
        Start { pin, bases, segment, offset, next, schemas }
    }

    /// The beginning of the first segment.
    pub(crate) fn beginning(self: &Arc<Self>) -> Start {
        let mut state = self.state();
        let first = &state.segments[0];
        let (segment, next) = (first.number, first.first);
        let bases = Arc::clone(&state.bases);
        let pin = Pin::new(self, &mut state, segment);
        Start { pin, bases, segment, offset: 0, next, schemas: Vec::new() }
    }

    /// Takes in that a segment was rewritten, and how many bytes are left of it.
    pub(crate) fn thinned(&self, number: u64, bytes: u64) {
        let mut state = self.state();
        let first = state.segments[0].number;
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        if let Some(segment) = at.and_then(|at| state.segments.get_mut(at)) {
            segment.thin_bytes = Some(bytes);
            segment.index = Index::default();
        }
    }
}

impl State {
    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        let first = self.segments.first()?.number;
        let at = usize::try_from(number.checked_sub(first)?).ok()?;
        self.segments.get(at)
    }
}
