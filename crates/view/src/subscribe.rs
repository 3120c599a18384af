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
use crate::store::{ViewInfo, Views};

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
    number: usize,
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
    pub(crate) fn new(views: Arc<Views>, number: usize, after: Option<Time>) -> Self {
        let clock = views.clock();
        let place = after.map_or(Place::Start, Place::Resuming);
        Self { views, number, clock, place }
    }

    /// The view that is followed.
    #[must_use]
    pub fn info(&self) -> &Arc<ViewInfo> {
        self.views.info(self.number)
    }

    /// Waits for the next event; `None` when the views were closed. It may be cancelled without losing an event.
    ///
    /// # Errors
    /// [`ViewError::CutOff`] when the reader was too slow; the next event is then a snapshot.
    pub async fn next(&mut self) -> Result<Option<Event>, ViewError> {
        loop {
            let clock = *self.clock.borrow_and_update();
            let event = match self.place {
                Place::Start => Some(self.start()),
                Place::Resuming(after) if clock.time < after => None,
                Place::Resuming(after) => match self.views.rings().next(self.number, after) {
                    Next::Update(update) => Some(self.follow(update)),
                    Next::Nothing => {
                        self.place = Place::Following(clock.time);
                        None
                    }
                    Next::Lost => Some(self.start()),
                },
                Place::Following(after) => match self.views.rings().next(self.number, after) {
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

    fn start(&mut self) -> Event {
        let snapshot = self.views.snapshot();
        self.place = Place::Following(snapshot.time);
        Event::Snapshot(snapshot)
    }

    fn follow(&mut self, update: Arc<Update>) -> Event {
        self.place = Place::Following(update.time);
        Event::Changes(update)
    }
}

/// The last changes of every view.
#[derive(Debug)]
pub(crate) struct Rings(Vec<Mutex<Ring>>);

/// The last changes of one view.
///
/// Invariant: every change of the view after `complete_after` is here, in order.
#[derive(Debug, Default)]
struct Ring {
    updates: VecDeque<Arc<Update>>,
    bytes: usize,
    complete_after: Time,
}

/// What comes after a Time.
enum Next {
    Update(Arc<Update>),
    Nothing,
    Lost,
}

impl Rings {
    pub(crate) fn new(views: usize) -> Self {
        Self((0..views).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn push(&self, updates: Vec<(usize, Arc<Update>)>) {
        for (number, update) in updates {
            self.0[number].lock().unwrap_or_else(PoisonError::into_inner).push(update);
        }
    }

    fn next(&self, number: usize, after: Time) -> Next {
        self.0[number].lock().unwrap_or_else(PoisonError::into_inner).next(after)
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
