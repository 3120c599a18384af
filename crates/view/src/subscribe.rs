//! Following a view: a snapshot, then every change, without a gap and without a queue.
//!
//! Each view keeps its last changes in one ring; a subscriber is only a Time in it. So a thousand of them share one
//! copy of each change and of its JSON, and a slow one costs nothing: when the ring has moved past it, it is cut off
//! and starts from a fresh snapshot.
//!
//! Invariant: the changes that a subscriber receives after its snapshot add up to the view at the last one's Time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use change::{ChangeBatch, Time};
use tokio::sync::watch;

use crate::error::ViewError;
use crate::json;
use crate::limits::{RING_BYTES_MAX, RING_UPDATES_MAX};
use crate::snapshot::Snapshot;
use crate::store::{ViewInfo, Views, place};

/// The difference between a view at one Time and at a later one; shared by all who follow the view.
#[derive(Debug)]
pub struct Update {
    /// The Time that the difference starts from.
    pub after: Time,
    /// The Time that it leads to.
    pub time: Time,
    /// The difference, consolidated.
    pub changes: ChangeBatch,
    json: OnceLock<Bytes>,
}

impl Update {
    pub(crate) fn new(after: Time, time: Time, changes: ChangeBatch) -> Self {
        Self { after, time, changes, json: OnceLock::new() }
    }

    /// The difference as one line of JSON, encoded once for all:
    /// `{"time":7,"changes":[{"_diff":-1,"id":1,…},{"_diff":1,"id":1,…}]}`. What goes stands before what comes.
    pub fn json(&self) -> Bytes {
        let encode = || {
            let mut out = format!("{{\"time\":{},\"changes\":", self.time).into_bytes();
            json::write_changes(&self.changes, &mut out);
            out.push(b'}');
            Bytes::from(out)
        };
        self.json.get_or_init(encode).clone()
    }
}

/// What a subscriber receives.
#[derive(Clone, Debug)]
pub enum Event {
    /// All rows: forget what came before. It is a snapshot of all views; the subscriber's is one of them.
    Snapshot(Snapshot),
    /// What changed since the last event.
    Changes(Arc<Update>),
}

/// The Time of the views, and whether they are still moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) time: Time,
    pub(crate) open: bool,
}

/// One reader of one view.
#[derive(Debug)]
pub struct Subscription {
    views: Arc<Views>,
    line: Arc<Line>,
    clock: watch::Receiver<Clock>,
    place: Place,
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It needs a snapshot.
    Start,
    /// It has seen the view up to this Time elsewhere, and takes a snapshot if that does not help.
    Resuming(Time),
    /// It has received all up to this Time.
    Following(Time),
}

impl Subscription {
    pub(crate) fn new(views: Arc<Views>, line: Arc<Line>, after: Option<Time>) -> Self {
        let clock = views.clock();
        let place = after.map_or(Place::Start, Place::Resuming);
        Self { views, line, clock, place }
    }

    /// The view that is followed.
    #[must_use]
    pub fn info(&self) -> &Arc<ViewInfo> {
        &self.line.info
    }

    /// Waits for the next event; `None` when the views were closed. It may be cancelled without losing an event.
    ///
    /// # Errors
    /// [`ViewError::CutOff`] when the reader was too slow; the next event is then a snapshot. [`ViewError::Dropped`]
    /// when the view was dropped; nothing follows then.
    pub async fn next(&mut self) -> Result<Option<Event>, ViewError> {
        loop {
            let clock = *self.clock.borrow_and_update();
            let event = match self.place {
                Place::Start => Some(self.start()?),
                Place::Resuming(after) if clock.time < after => None,
                Place::Resuming(after) => match self.line.next(after) {
                    Next::Update(update) => Some(self.follow(update)),
                    Next::Nothing => {
                        self.place = Place::Following(clock.time);
                        None
                    }
                    Next::Lost => Some(self.start()?),
                    Next::Dropped => return Err(self.dropped()),
                },
                Place::Following(after) => match self.line.next(after) {
                    Next::Update(update) => Some(self.follow(update)),
                    Next::Nothing => {
                        self.place = Place::Following(clock.time.max(after));
                        None
                    }
                    Next::Lost => {
                        self.place = Place::Start;
                        let view = self.info().name.clone();
                        return Err(ViewError::CutOff { view, after });
                    }
                    Next::Dropped => return Err(self.dropped()),
                },
            };
            if event.is_some() {
                return Ok(event);
            }
            if !clock.open || self.clock.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    fn start(&mut self) -> Result<Event, ViewError> {
        let snapshot = self.views.snapshot();
        // Another view of the same name is not this one.
        if place(&snapshot.views, self.line.number).is_none() {
            return Err(self.dropped());
        }
        self.place = Place::Following(snapshot.time);
        Ok(Event::Snapshot(snapshot))
    }

    fn dropped(&self) -> ViewError {
        ViewError::Dropped { view: self.info().name.clone() }
    }

    fn follow(&mut self, update: Arc<Update>) -> Event {
        self.place = Place::Following(update.time);
        Event::Changes(update)
    }
}

/// What its followers share of a view.
#[derive(Debug)]
pub(crate) struct Line {
    number: usize,
    info: Arc<ViewInfo>,
    ring: Mutex<Ring>,
}

/// The last changes of one view.
///
/// Invariant: every change of the view after `complete_after` is here, in order.
#[derive(Debug, Default)]
struct Ring {
    updates: VecDeque<Arc<Update>>,
    bytes: usize,
    complete_after: Time,
    /// The view was dropped.
    has_ended: bool,
}

/// What comes after a Time.
enum Next {
    Update(Arc<Update>),
    Nothing,
    Lost,
    Dropped,
}

impl Line {
    /// Nothing is known of the view's changes up to `complete_after`.
    pub(crate) fn new(number: usize, info: Arc<ViewInfo>, complete_after: Time) -> Self {
        Self { number, info, ring: Mutex::new(Ring { complete_after, ..Ring::default() }) }
    }

    pub(crate) fn push(&self, update: Arc<Update>) {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).push(update);
    }

    /// Says that the view was dropped; the clock wakes who follows it.
    pub(crate) fn end(&self) {
        let ended = Ring { has_ended: true, ..Ring::default() };
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    }

    fn next(&self, after: Time) -> Next {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).next(after)
    }
}

impl Ring {
    fn push(&mut self, update: Arc<Update>) {
        self.bytes += update.changes.bytes();
        self.updates.push_back(update);
        while self.bytes > RING_BYTES_MAX || self.updates.len() > RING_UPDATES_MAX {
            let oldest = self.updates.pop_front().expect("bytes come from updates");
            self.bytes -= oldest.changes.bytes();
            self.complete_after = oldest.time;
        }
    }

    fn next(&self, after: Time) -> Next {
        if self.has_ended {
            return Next::Dropped;
        }
        if after < self.complete_after {
            return Next::Lost;
        }
        let at = self.updates.partition_point(|update| update.time <= after);
        match self.updates.get(at) {
            None => Next::Nothing,
            // One step led past `after`: the part of it behind `after` is not known alone.
            Some(update) if update.after < after => Next::Lost,
            Some(update) => Next::Update(Arc::clone(update)),
        }
    }
}
