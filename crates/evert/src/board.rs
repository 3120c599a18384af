//! What every stage says of itself, for `evert status`, the page and the progress bars. Nothing is decided here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use change::Time;
use plan::ir::Program;
use sink::SinkError;
use source::Progress;

/// The stages of one run.
pub(crate) struct Board {
    /// When the run began.
    pub(crate) since: Instant,
    sources: BTreeMap<String, SourceEntry>,
    sinks: BTreeMap<String, SinkEntry>,
    order: (Vec<String>, Vec<String>),
}

/// A source on the board.
#[derive(Clone)]
pub(crate) struct SourceEntry {
    /// What kind of system it is.
    pub(crate) kind: &'static str,
    /// What it says of itself.
    pub(crate) progress: Arc<Progress>,
}

/// A sink on the board.
#[derive(Clone)]
pub(crate) struct SinkEntry {
    /// What kind of system it is.
    pub(crate) kind: &'static str,
    /// The view that it copies.
    pub(crate) view: String,
    /// How far it is.
    pub(crate) status: Arc<SinkProgress>,
}

/// How far a sink is.
#[derive(Debug, Default)]
pub(crate) struct SinkProgress {
    held: AtomicU64,
    waiting: Mutex<Option<String>>,
}

impl SinkProgress {
    /// Says which Time the target holds.
    pub(crate) fn hold(&self, time: Time) {
        self.held.store(time.0, Ordering::Relaxed);
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Says why the sink waits.
    pub(crate) fn wait_because(&self, error: &SinkError) {
        let why = error.to_string();
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// The Time that the target holds.
    pub(crate) fn held(&self) -> Time {
        Time(self.held.load(Ordering::Relaxed))
    }

    /// Why the sink waits, when it does.
    pub(crate) fn waiting(&self) -> Option<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Board {
    /// Makes an entry for every source and sink.
    pub(crate) fn new(program: &Program) -> Self {
        let sources = program.sources.iter().map(|spec| {
            let progress = Arc::new(Progress::default());
            (spec.name.clone(), SourceEntry { kind: kind(&spec.url), progress })
        });
        let sinks = program.sinks.iter().map(|spec| {
            let (view, status) = (spec.view.clone(), Arc::default());
            (spec.name.clone(), SinkEntry { kind: kind(&spec.url), view, status })
        });
        let order = (
            program.sources.iter().map(|spec| spec.name.clone()).collect(),
            program.sinks.iter().map(|spec| spec.name.clone()).collect(),
        );
        let (sources, sinks) = (sources.collect(), sinks.collect());
        Self { since: Instant::now(), sources, sinks, order }
    }

    /// Where a source says what it does.
    pub(crate) fn source(&self, name: &str) -> Arc<Progress> {
        let entry = self.sources.get(name).expect("a running source is on the board");
        Arc::clone(&entry.progress)
    }

    /// Where a sink says what it holds.
    pub(crate) fn sink(&self, name: &str) -> Arc<SinkProgress> {
        let entry = self.sinks.get(name).expect("a running sink is on the board");
        Arc::clone(&entry.status)
    }

    /// The sources, in the order of the script.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &SourceEntry)> {
        self.order.0.iter().map(|name| (name.as_str(), &self.sources[name]))
    }

    /// The sinks, in the order of the script.
    pub(crate) fn sinks(&self) -> impl Iterator<Item = (&str, &SinkEntry)> {
        self.order.1.iter().map(|name| (name.as_str(), &self.sinks[name]))
    }
}

/// What kind of system a URL names, in a word; never the URL itself, which may hold a password.
pub(crate) fn kind(url: &str) -> &'static str {
    match url {
        "stdin" | "stdout" | "-" => "stream",
        "search" => "search",
        _ if url.starts_with("postgres://") || url.starts_with("postgresql://") => "postgres",
        _ if url == "demo" || url.starts_with("demo:") => "demo",
        _ => "file",
    }
}
