//! Views that are being created while the process runs.
//!
//! A creation begins when its statement has been planned, and nobody else waits for it: it is filled on the thread of
//! its statement, between two holds of the session. The catalogue has it at the very end, when nothing can fail any
//! more; whatever ends the process before leaves no trace of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use change::Time;
use log::Log;
use plan::ir::ViewPlan;
use serve::api::FillingStatus;
use tokio::sync::watch;

use crate::engine::EngineHandle;
use crate::failure::Failure;
use crate::filling::{FillProgress, Filling};
use crate::flow::Maintenance;
use crate::session::SessionError;

/// How long a creation waits for the engine before it looks whether to go on.
const LOOK: Duration = Duration::from_millis(50);

/// The views that are being created, by name.
#[derive(Debug, Default)]
pub(crate) struct Creations(Mutex<BTreeMap<String, Known>>);

/// What others know of a view that is being created.
#[derive(Clone, Debug, Default)]
struct Known {
    progress: Arc<FillProgress>,
    is_unwanted: Arc<AtomicBool>,
}

/// A view that is being created. As long as this value lives, its name is taken.
pub(crate) struct Creation {
    /// The statement's text.
    pub(crate) text: String,
    /// What it means.
    pub(crate) plan: ViewPlan,
    filling: Option<Filling>,
    known: Known,
    all: Arc<Creations>,
}

impl Creations {
    /// Begins to create a view.
    pub(crate) fn begin(
        self: &Arc<Self>,
        text: &str,
        log: &Log,
        maintenance: &Maintenance<'_>,
    ) -> Result<Creation, Failure> {
        let [plan] = maintenance.plans else { unreachable!("one view is created at a time") };
        let known = Known::default();
        {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.contains_key(&plan.name) {
                return Err(SessionError::Taken { name: plan.name.clone() }.into());
            }
            all.insert(plan.name.clone(), known.clone());
        }
        let (text, plan, all) = (text.to_owned(), plan.clone(), Arc::clone(self));
        // From here on the name is given back whatever happens.
        let mut creation = Creation { text, plan, filling: None, known, all };
        let progress = Arc::clone(&creation.known.progress);
        creation.filling = Some(Filling::new(log, maintenance, progress)?);
        Ok(creation)
    }

    /// Whether a view of that name is being created.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// Ends the creation of a view; returns whether there was one.
    pub(crate) fn cancel(&self, name: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(name);
        known.iter().for_each(|known| known.is_unwanted.store(true, Ordering::Relaxed));
        known.is_some()
    }

    /// How far they are, in a log that ends before `upper`.
    pub(crate) fn status(&self, upper: Time) -> Vec<FillingStatus> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(name, known): (&String, &Known)| {
            let time = known.progress.time();
            FillingStatus {
                name: name.clone(),
                time,
                behind_transactions: upper.0.saturating_sub(time.0 + 1),
                rows: known.progress.rows(),
                row_count: known.progress.row_count(),
            }
        };
        all.iter().map(status).collect()
    }
}

impl Creation {
    /// Fills the view and gives it to the engine; it blocks until it is as exact as all others. On a failure nothing is
    /// left of it.
    pub(crate) fn fill(
        &mut self,
        engine: &EngineHandle,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let Some(mut filling) = self.filling.take() else { return Ok(()) };
        let goes_on = || !self.is_unwanted() && !*stop.borrow();
        let filled = filling.fill(goes_on)?;
        if !filled {
            return Err(self.unwanted());
        }
        let answered = engine.adopt(filling)?;
        loop {
            match answered.recv_timeout(LOOK) {
                Ok(adopted) => return adopted,
                Err(RecvTimeoutError::Timeout) if goes_on() => {}
                // It may have been taken over in this moment.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    engine.abandon(&self.plan.name);
                    return Err(self.unwanted());
                }
            }
        }
    }

    /// Whether it is to end without a view.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.known.is_unwanted.load(Ordering::Relaxed)
    }

    /// Why it ended without a view.
    pub(crate) fn unwanted(&self) -> Failure {
        let what = match self.is_unwanted() {
            true => "the view was dropped while it was being filled",
            false => "the process ends, and the view was not filled yet; it is not created",
        };
        SessionError::Order { what, help: "create it again" }.into()
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.plan.name);
    }
}
