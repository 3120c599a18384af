//! The rows of every view, all at one Time.
//!
//! One writer, the engine's thread, moves all views together. It prepares the next state beside the published one and
//! then exchanges a single reference, so readers never wait for it, nor it for them.
//!
//! Views come and go at a step's Time: one that comes is filled before, as a [`Draft`] that nobody sees. Each has a
//! number, which names it as long as it is there and is not given again.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use change::{ChangeBatch, Time};
use plan::ir::{OrderKey, ViewPlan};
use tokio::sync::watch;

use crate::damage::{self, DamageRow, damage_info};
use crate::error::ViewError;
use crate::errors::{Errors, RowError, errors_info};
use crate::page::Collection;
use crate::snapshot::{HIDDEN, Shown, Snapshot, ViewRows, in_order};
use crate::subscribe::{Clock, Line, Subscription, Update};

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

/// The number of the rows that views lack: behind all views.
const ERRORS_NUMBER: usize = usize::MAX - 1;

/// The number of what is damaged of the log: behind those.
const DAMAGE_NUMBER: usize = usize::MAX;

/// The rows of every view, all at one Time, and the way to hear of changes.
#[derive(Debug)]
pub struct Views {
    writer: Mutex<Writer>,
    published: RwLock<Snapshot>,
    clock: watch::Sender<Clock>,
    /// The same Time as the clock's, for threads that block.
    passed: (Mutex<Time>, Condvar),
}

/// What moves.
#[derive(Debug)]
struct Writer {
    collections: BTreeMap<usize, Collection>,
    errors: Errors,
    /// The number of the next view that comes.
    next: usize,
}

/// A view that is being filled. Nobody sees it until it is [shown](Step::shown).
#[derive(Debug)]
pub struct Draft {
    info: Arc<ViewInfo>,
    rows: Collection,
    errors: Errors,
}

impl Draft {
    /// Makes a view without rows.
    #[must_use]
    pub fn new(info: ViewInfo) -> Self {
        let rows = Collection::new(Arc::clone(&info.schema));
        Self { info: Arc::new(info), rows, errors: Errors::default() }
    }

    /// Moves the view. The number of the view that errors name does not matter.
    ///
    /// # Errors
    /// When Arrow cannot hold the rows.
    ///
    /// # Panics
    /// When a row that is not there is to go.
    pub fn apply(
        &mut self,
        changes: &[ChangeBatch],
        errors: Vec<RowError>,
    ) -> Result<(), ViewError> {
        for batch in changes {
            self.rows.apply(batch)?;
        }
        errors.into_iter().for_each(|error| self.errors.add(RowError { view: 0, ..error }));
        Ok(())
    }

    /// What is known of the view.
    #[must_use]
    pub fn info(&self) -> &ViewInfo {
        &self.info
    }

    /// How many rows there are, equal ones counted each.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.rows.row_count()
    }
}

/// What leads all views to a Time.
#[derive(Debug)]
pub struct Step {
    /// The Time.
    pub time: Time,
    /// What changes, by the views' numbers; each is consolidated.
    pub changes: Vec<(usize, ChangeBatch)>,
    /// The rows that views lack more, or less, than before.
    pub errors: Vec<RowError>,
    /// The views that come: exact at this Time.
    pub shown: Vec<Draft>,
    /// The numbers of the views that go.
    pub removed: Vec<usize>,
}

impl Step {
    /// A step to a Time, in which nothing changes.
    #[must_use]
    pub fn to(time: Time) -> Self {
        let (changes, errors) = (Vec::new(), Vec::new());
        Self { time, changes, errors, shown: Vec::new(), removed: Vec::new() }
    }
}

impl Views {
    /// Makes views without rows, at [`Time::ZERO`]; their numbers are their positions.
    #[must_use]
    pub fn new(views: Vec<ViewInfo>) -> Arc<Self> {
        let next = views.len();
        let mut collections = BTreeMap::new();
        let hidden = [(ERRORS_NUMBER, errors_info()), (DAMAGE_NUMBER, damage_info())];
        let all = views.into_iter().enumerate().chain(hidden).map(|(number, info)| {
            let rows = Collection::new(Arc::clone(&info.schema));
            let shown = Shown::new(number, &Arc::new(info), &rows, Time::ZERO);
            collections.insert(number, rows);
            shown
        });
        let snapshot = Snapshot { time: Time::ZERO, views: all.collect() };
        let writer = Writer { collections, errors: Errors::default(), next };
        Arc::new(Self {
            clock: watch::Sender::new(Clock { time: Time::ZERO, open: true }),
            writer: Mutex::new(writer),
            published: RwLock::new(snapshot),
            passed: (Mutex::new(Time::ZERO), Condvar::new()),
        })
    }

    /// Moves all views to `time`. The changes name views by their numbers; each is consolidated.
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
        changes: Vec<(usize, ChangeBatch)>,
        errors: Vec<RowError>,
    ) -> Result<(), ViewError> {
        self.step(Step { changes, errors, ..Step::to(time) }).map(drop)
    }

    /// Takes a step, in which views may also come and go. Returns the numbers of those that came.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn step(&self, step: Step) -> Result<Vec<usize>, ViewError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let Step { time, mut changes, mut errors, shown, removed } = step;
        assert!(time > before.time, "time {time} is not after {}", before.time);
        let mut views = before.views.to_vec();
        changes.retain(|(number, _)| !removed.contains(number));
        errors.retain(|error| !removed.contains(&error.view));
        removed.iter().for_each(|&number| errors.extend(writer.errors.negated(number)));
        let came: Vec<usize> = shown
            .into_iter()
            .map(|draft| writer.add(draft, time, &mut views, &mut errors))
            .collect();
        if !errors.is_empty() {
            changes.push((ERRORS_NUMBER, writer.errors.apply(errors, &mut views)?));
        }
        let mut updates = Vec::with_capacity(changes.len());
        for (number, changes) in changes {
            if changes.is_empty() {
                continue;
            }
            let rows = writer.collections.get_mut(&number).expect("a view that changes is there");
            rows.apply(&changes)?;
            let at = place(&views, number).expect("a view that changes is shown");
            let view = &mut views[at];
            view.rows = view_rows(&view.rows.info, rows);
            updates.push((Arc::clone(&view.line), Update::new(before.time, time, changes)));
        }
        let (gone, views): (Vec<Shown>, Vec<Shown>) =
            views.into_iter().partition(|view| removed.contains(&view.number));
        gone.iter().for_each(|view| drop(writer.collections.remove(&view.number)));
        let next = Snapshot { time, views: views.into() };
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = next;
        updates.into_iter().for_each(|(line, update)| line.push(Arc::new(update)));
        gone.iter().for_each(|view| view.line.end());
        *self.passed.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
        self.passed.1.notify_all();
        self.clock.send_modify(|clock| clock.time = time);
        Ok(came)
    }

    /// Shows what of the log is damaged, in place of what was shown. It has no Time: the views stay at theirs.
    ///
    /// # Errors
    /// When Arrow cannot hold the rows.
    ///
    /// # Panics
    /// Never: what is damaged always has its place.
    pub fn show_damage(&self, rows: &[DamageRow]) -> Result<(), ViewError> {
        let collection = damage::collection(rows)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let mut views = before.views.to_vec();
        let at = place(&views, DAMAGE_NUMBER).expect("damage has its place");
        views[at].rows = view_rows(&views[at].rows.info, &collection);
        writer.collections.insert(DAMAGE_NUMBER, collection);
        let next = Snapshot { time: before.time, views: views.into() };
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Lets rows of a view be [found](Self::find) by the values of some columns from now on.
    ///
    /// # Errors
    /// When there is no such view.
    ///
    /// # Panics
    /// Never: every view that is shown has its rows.
    pub fn index(&self, view: &str, columns: Vec<usize>) -> Result<(), ViewError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.snapshot().shown(view)?.number;
        let rows = writer.collections.get_mut(&number).expect("a view that is shown is there");
        Ok(rows.index_by(columns)?)
    }

    /// The rows of a view, as it is now, whose values of some columns are among `values`; the others are not looked at.
    /// Rows come in the view's order, each as often as it is there; NULL equals nothing.
    ///
    /// # Errors
    /// When there is no such view.
    ///
    /// # Panics
    /// When rows of the view are not found by these columns: see [`index`](Self::index).
    pub fn find(
        &self,
        view: &str,
        columns: &[usize],
        values: &RecordBatch,
    ) -> Result<RecordBatch, ViewError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot();
        let shown = snapshot.shown(view)?;
        let rows = writer.collections.get(&shown.number).expect("a view that is shown is there");
        // Where rows lie says how they came, and is another after a replay.
        Ok(in_order(&shown.rows.info, &rows.with_values(columns, values)?)?)
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
        Ok(Subscription::new(Arc::clone(self), self.line(view)?, None))
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
        Ok(Subscription::new(Arc::clone(self), self.line(view)?, Some(after)))
    }

    /// Ends all subscriptions and waits. Snapshots stay readable.
    pub fn close(&self) {
        self.clock.send_modify(|clock| clock.open = false);
    }

    pub(crate) fn clock(&self) -> watch::Receiver<Clock> {
        self.clock.subscribe()
    }

    fn line(&self, view: &str) -> Result<Arc<Line>, ViewError> {
        Ok(Arc::clone(&self.snapshot().shown(view)?.line))
    }
}

impl Writer {
    /// Adds a view that comes; returns its number.
    fn add(
        &mut self,
        draft: Draft,
        time: Time,
        views: &mut Vec<Shown>,
        errors: &mut Vec<RowError>,
    ) -> usize {
        let (number, Draft { info, rows, errors: lacking }) = (self.next, draft);
        self.next += 1;
        errors.extend(lacking.rows(0).map(|error| RowError { view: number, ..error }));
        // What is not listed stays behind all of them.
        views.insert(views.len() - HIDDEN, Shown::new(number, &info, &rows, time));
        self.collections.insert(number, rows);
        number
    }
}

impl Shown {
    /// A view whose changes are known behind a Time.
    fn new(number: usize, info: &Arc<ViewInfo>, rows: &Collection, time: Time) -> Self {
        let line = Arc::new(Line::new(number, Arc::clone(info), time));
        Self { number, rows: view_rows(info, rows), lacking: 0, line }
    }
}

/// Where a view is among those shown, which are in the order of their numbers.
pub(crate) fn place(views: &[Shown], number: usize) -> Option<usize> {
    views.binary_search_by_key(&number, |view| view.number).ok()
}

fn view_rows(info: &Arc<ViewInfo>, rows: &Collection) -> Arc<ViewRows> {
    Arc::new(ViewRows {
        info: Arc::clone(info),
        pages: rows.pages(),
        row_count: rows.row_count(),
        json: OnceLock::new(),
    })
}
