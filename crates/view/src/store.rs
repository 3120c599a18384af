//! The rows of every view, all at one Time.
//!
//! One writer, the engine's thread, moves all views together. It prepares the next state beside the published one and
//! then exchanges a single reference, so readers never wait for it, nor it for them.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use change::{ChangeBatch, Time};
use plan::ir::{OrderKey, ViewPlan};
use tokio::sync::watch;

use crate::error::ViewError;
use crate::errors::{Errors, RowError, errors_info};
use crate::page::Collection;
use crate::snapshot::{Snapshot, ViewRows};
use crate::subscribe::{Clock, Rings, Subscription, Update};

/// What readers need to know of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewInfo {
    /// The view's name.
    pub name: String,
    /// The columns of its rows.
    pub schema: SchemaRef,
    /// Columns whose values no two rows share, ascending; empty when none are known.
    pub key: Vec<usize>,
    /// The order in which its rows are shown; empty when the query does not say.
    pub order: Vec<OrderKey>,
}

impl From<&ViewPlan> for ViewInfo {
    fn from(plan: &ViewPlan) -> Self {
        Self {
            name: plan.name.clone(),
            schema: Arc::clone(&plan.schema),
            key: plan.key.clone(),
            order: plan.order.clone(),
        }
    }
}

/// The rows of every view, all at one Time, and the way to hear of changes.
#[derive(Debug)]
pub struct Views {
    /// The views, and behind them the rows that they lack.
    infos: Vec<Arc<ViewInfo>>,
    writer: Mutex<Writer>,
    published: RwLock<Snapshot>,
    rings: Rings,
    clock: watch::Sender<Clock>,
    /// The same Time as the clock's, for threads that block.
    passed: (Mutex<Time>, Condvar),
}

/// What moves.
#[derive(Debug)]
struct Writer {
    collections: Vec<Collection>,
    errors: Errors,
}

impl Views {
    /// Makes views without rows, at [`Time::ZERO`].
    #[must_use]
    pub fn new(views: Vec<ViewInfo>) -> Arc<Self> {
        let all = views.into_iter().chain([errors_info()]);
        let infos: Vec<Arc<ViewInfo>> = all.map(Arc::new).collect();
        let collections: Vec<Collection> =
            infos.iter().map(|info| Collection::new(Arc::clone(&info.schema))).collect();
        let empty = infos.iter().zip(&collections).map(|(info, rows)| view_rows(info, rows));
        let lacking = vec![0; infos.len() - 1].into();
        let snapshot = Snapshot { time: Time::ZERO, views: empty.collect(), lacking };
        let writer = Writer { collections, errors: Errors::default() };
        Arc::new(Self {
            rings: Rings::new(infos.len()),
            clock: watch::Sender::new(Clock { time: Time::ZERO, open: true }),
            writer: Mutex::new(writer),
            published: RwLock::new(snapshot),
            passed: (Mutex::new(Time::ZERO), Condvar::new()),
            infos,
        })
    }

    /// Moves all views to `time`. The changes name views by their position; each is consolidated.
    ///
    /// # Errors
    /// When Arrow cannot hold the rows; the process should end, for the views are between two Times.
    ///
    /// # Panics
    /// When `time` does not lie ahead, or a row that is not there is to go: the engine and the views disagree.
    pub fn apply(&self, time: Time, changes: Vec<(usize, ChangeBatch)>) -> Result<(), ViewError> {
        self.apply_with_errors(time, changes, Vec::new())
    }

    /// Moves all views, and the rows that they lack, to `time`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn apply_with_errors(
        &self,
        time: Time,
        mut changes: Vec<(usize, ChangeBatch)>,
        errors: Vec<RowError>,
    ) -> Result<(), ViewError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        assert!(time > before.time, "time {time} is not after {}", before.time);
        let mut views = before.views.to_vec();
        let mut lacking = Arc::clone(&before.lacking);
        if !errors.is_empty() {
            let mut sums = lacking.to_vec();
            changes.push((sums.len(), writer.errors.apply(errors, &self.infos, &mut sums)?));
            lacking = sums.into();
        }
        let mut updates = Vec::with_capacity(changes.len());
        for (number, changes) in changes {
            if changes.is_empty() {
                continue;
            }
            writer.collections[number].apply(&changes)?;
            views[number] = view_rows(&self.infos[number], &writer.collections[number]);
            updates.push((number, Arc::new(Update::new(before.time, time, changes))));
        }
        let next = Snapshot { time, views: views.into(), lacking };
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.rings.push(updates);
        *self.passed.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
        self.passed.1.notify_all();
        self.clock.send_modify(|clock| clock.time = time);
        Ok(())
    }

    /// All views as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The Time of all views.
    #[must_use]
    pub fn time(&self) -> Time {
        self.clock.borrow().time
    }

    /// The views, in the order of the script.
    #[must_use]
    pub fn infos(&self) -> &[Arc<ViewInfo>] {
        &self.infos[..self.infos.len() - 1]
    }

    pub(crate) fn info(&self, number: usize) -> &Arc<ViewInfo> {
        &self.infos[number]
    }

    /// Waits until the views include `time`, or are closed; returns their Time.
    pub async fn wait_past(&self, time: Time) -> Time {
        let mut clock = self.clock.subscribe();
        match clock.wait_for(|clock| clock.time >= time || !clock.open).await {
            Ok(clock) => clock.time,
            Err(_) => unreachable!("the sender is ours"),
        }
    }

    /// Blocks until the views include `time`, or `timeout` has passed; returns their Time.
    pub fn wait_past_blocking(&self, time: Time, timeout: Duration) -> Time {
        let passed = self.passed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.passed.1.wait_timeout_while(passed, timeout, |passed| *passed < time);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Follows a view from now on: first a snapshot, then every change.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn subscribe(self: &Arc<Self>, view: &str) -> Result<Subscription, ViewError> {
        let number = self.number(view)?;
        Ok(Subscription::new(Arc::clone(self), number, None))
    }

    /// Follows a view behind `after`, the Time up to which the reader has seen it: every change from there when all of
    /// them are still kept, else first a snapshot. While the views are before `after` themselves, as in the replay
    /// after a start, nothing is sent.
    ///
    /// A Time is meaningful only within one log: a reader who comes from another must [subscribe](Self::subscribe).
    ///
    /// # Errors
    /// When there is no such view.
    pub fn resume(self: &Arc<Self>, view: &str, after: Time) -> Result<Subscription, ViewError> {
        let number = self.number(view)?;
        Ok(Subscription::new(Arc::clone(self), number, Some(after)))
    }

    /// Ends all subscriptions and waits. Snapshots stay readable.
    pub fn close(&self) {
        self.clock.send_modify(|clock| clock.open = false);
    }

    pub(crate) fn rings(&self) -> &Rings {
        &self.rings
    }

    pub(crate) fn clock(&self) -> watch::Receiver<Clock> {
        self.clock.subscribe()
    }

    fn number(&self, view: &str) -> Result<usize, ViewError> {
        self.infos.iter().position(|info| info.name == view).ok_or_else(|| ViewError::UnknownView {
            name: view.to_owned(),
            known: self.infos().iter().map(|info| info.name.clone()).collect(),
        })
    }
}

fn view_rows(info: &Arc<ViewInfo>, rows: &Collection) -> Arc<ViewRows> {
    Arc::new(ViewRows {
        info: Arc::clone(info),
        pages: rows.pages(),
        row_count: rows.row_count(),
        json: OnceLock::new(),
    })
}
