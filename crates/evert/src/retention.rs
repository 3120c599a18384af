//! Folds what is older than a table's history, while everything else goes on.
//!
//! It looks when a segment of the log was filled, and every few minutes. A fold never passes a Time that a sink holds:
//! the sink goes on from there after a restart. What it did, and what holds it back, is in `evert status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use change::catalog::{Kind, OWN_SOURCE, TABLES_SOURCE};
use change::{TableName, Time};
use log::{FoldOutcome, Log, LogError};
use plan::ir::SourceSpec;
use plan::{HISTORY, History, SessionStatement};
use source::SourceConfig;
use tokio::sync::watch;

use crate::backend::SharedSession;
use crate::board::Board;
use crate::catalogue::Catalogue;
use crate::environment::expand;
use crate::failure::Failure;
use crate::intent::{append_durably, wall_clock_us};

/// How often the log is looked at for a new segment.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often histories are looked at although no segment was filled: they grow old.
const CHECK_INTERVAL: Duration = Duration::from_secs(120);
/// How long the tree may take to be durable before it is looked at again later.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// How many bytes a second are read and written, so that the disk has time for others.
const BYTES_PER_SECOND: u64 = 64 << 20;

/// What `evert status` says of it.
#[derive(Debug, Default)]
pub(crate) struct HeldBack(Mutex<Option<String>>);

impl HeldBack {
    /// What holds the fold back; `None` when nothing does.
    pub(crate) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// Whoever folds in this process.
pub(crate) struct Keeper {
    pub(crate) log: Arc<Log>,
    pub(crate) board: Arc<Board>,
    /// It follows the log when it is asked something, and what is ahead of it is not folded.
    pub(crate) session: SharedSession,
    pub(crate) held_back: Arc<HeldBack>,
    /// The history of tables of which nobody says it.
    pub(crate) history: History,
}

impl Keeper {
    /// Looks and folds until the run is over.
    pub(crate) async fn keep(self, mut stop: watch::Receiver<bool>) {
        let keeper = Arc::new(self);
        let (mut seen, mut looked) = (0, None::<Instant>);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            let segments = keeper.log.stat().segments;
            let is_due = looked.is_none_or(|looked| looked.elapsed() >= CHECK_INTERVAL);
            if segments == seen && !is_due {
                continue;
            }
            (seen, looked) = (segments, Some(Instant::now()));
            let (worker, stopped) = (Arc::clone(&keeper), stop.clone());
            let look = move || worker.look(&|| *stopped.borrow());
            match tokio::task::spawn_blocking(look).await {
                Ok(Ok(())) => {}
                Ok(Err(Failure::Log(LogError::Closed))) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the history of tables was not folded");
                    keeper.held_back.say(Some(error.to_string()));
                }
                Err(_panic) => return,
            }
        }
    }

    /// Folds what can be.
    fn look(&self, is_stopped: &dyn Fn() -> bool) -> Result<(), Failure> {
        let catalogue = Catalogue::read(&self.log)?;
        let histories = histories(&catalogue, self.history)?;
        if histories.is_empty() {
            return Ok(());
        }
        if let Ok(mut session) = self.session.try_lock()
            && let Some(session) = session.as_mut()
        {
            session.catch_up()?;
        }
        let (now_us, hold) = (wall_clock_us(), self.least_held());
        let mut held_back = None;
        let mut wanted = BTreeMap::new();
        for (table, history) in histories {
            let history_us = i64::try_from(history.as_micros()).unwrap_or(i64::MAX);
            let mut upto = self.log.full_before(now_us.saturating_sub(history_us));
            if let Some((sink, held)) = hold.as_ref().filter(|(_, held)| *held < upto) {
                held_back = Some(format!("sink {sink} holds Time {held}"));
                upto = *held;
            }
            wanted.insert(table, upto);
        }
        let last = wanted.values().copied().max().unwrap_or(Time::ZERO);
        if last > Time::ZERO && !self.log.wait_settled(last, SETTLE_WAIT) {
            held_back = held_back.or(Some("the log's tree is behind".to_owned()));
        }
        while let Some(refused) = self.fold(&wanted, is_stopped)? {
            let LogError::Unfoldable { table, .. } = &refused else { return Err(refused.into()) };
            tracing::warn!(error = %refused, "a table keeps its history");
            held_back = Some(refused.to_string());
            wanted.remove(table);
        }
        self.held_back.say(held_back);
        Ok(())
    }

    /// Folds tables; returns why one of them cannot be.
    fn fold(
        &self,
        wanted: &BTreeMap<TableName, Time>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<LogError>, Failure> {
        let (begun, mut bytes_done) = (Instant::now(), 0_u64);
        let mut pace = |bytes: u64| {
            bytes_done = bytes_done.saturating_add(bytes);
            let due = Duration::from_secs_f64(bytes_done as f64 / BYTES_PER_SECOND as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()).min(LOOK_INTERVAL));
            !is_stopped()
        };
        let fold = match self.log.prepare_fold(wanted, &mut pace) {
            Ok(Some(fold)) => fold,
            Ok(None) => return Ok(None),
            Err(refused @ LogError::Unfoldable { .. }) => return Ok(Some(refused)),
            Err(error) => return Err(error.into()),
        };
        append_durably(&self.log, &fold.record())?;
        let tables: Vec<String> = fold
            .tables()
            .iter()
            .map(|base| format!("{} up to Time {}", base.table, base.since))
            .collect();
        match fold.commit(&mut pace)? {
            FoldOutcome::Done => tracing::info!("folded the history of {}", tables.join(", ")),
            FoldOutcome::Held => tracing::debug!("a reader needs what was to be folded"),
        }
        Ok(None)
    }

    /// The sink that holds least, with its Time. One that holds nothing yet is filled from the beginning, and needs no
    /// history.
    fn least_held(&self) -> Option<(String, Time)> {
        let held = self.board.sinks().map(|(name, entry)| (name.to_owned(), entry.status.held()));
        held.filter(|(_, held)| *held > Time::ZERO).min_by_key(|(_, held)| *held)
    }
}

/// The tables whose history ends somewhere, with how long it is.
fn histories(
    catalogue: &Catalogue,
    default: History,
) -> Result<BTreeMap<TableName, Duration>, Failure> {
    let mut said = BTreeMap::new();
    for spec in catalogue.sources()? {
        if let Some(history) = history_of(&spec)? {
            said.insert(spec.name, history);
        }
    }
    let mut own = BTreeMap::new();
    for (name, statement) in catalogue.of(Kind::TableStatement) {
        for statement in plan::session_statements(statement)? {
            if let SessionStatement::CreateTable { table, .. } = statement
                && let Some(history) = table.history
            {
                own.insert(name.to_owned(), history);
            }
        }
    }
    let mut histories = BTreeMap::new();
    for table in catalogue.tables()? {
        let name = table.name();
        let said = match &*name.source {
            OWN_SOURCE => continue,
            TABLES_SOURCE => own.get(&*name.table),
            source => said.get(source),
        };
        if let History::For(history) = said.copied().unwrap_or(default) {
            histories.insert(name.clone(), history);
        }
    }
    Ok(histories)
}

/// The history that a source's statement says its tables have.
fn history_of(spec: &SourceSpec) -> Result<Option<History>, Failure> {
    let Some(text) = spec.options.get(HISTORY) else { return Ok(None) };
    History::parse(text).map(Some).ok_or_else(|| Failure::Usage {
        what: format!("source {} has the history '{text}'", spec.name),
        help: History::FORM.to_owned(),
    })
}

/// What a source is opened with: its options, but for the one that is not the system's.
pub(crate) fn source_config(spec: &SourceSpec) -> Result<SourceConfig, Failure> {
    history_of(spec)?;
    let mut options = spec.options.clone();
    options.remove(HISTORY);
    Ok(SourceConfig { name: spec.name.as_str().into(), url: expand(&spec.url)?, options })
}

/// Reads the history that a command's argument says.
pub(crate) fn parse_history(text: &str) -> Result<History, String> {
    History::parse(text).ok_or_else(|| History::FORM.to_owned())
}
