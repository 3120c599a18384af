//! view ──► serve: what the HTTP interface must be told about this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use log::Log;
use plan::History;
use serve::api::{
    Lacking, LogStatus, Phase as ShownPhase, Problem, SinkStatus, SourceStatus, SqlAnswer,
};
use serve::{Backend, Limits, RunStatus, Serving, Site};
use source::Phase;
use tokio::sync::watch;
use view::search::SearchReader;

use crate::board::{SinkEntry, SourceEntry};
use crate::creation::Creation;
use crate::failure::Failure;
use crate::retention::Keeper;
use crate::session::{Outcome, Running, Session};
use crate::{directory, scrubbing};

/// What a client is told of its statements.
type Told = Result<SqlAnswer, Problem>;

/// The session that all statements share, one after the other.
pub(crate) type SharedSession = Arc<tokio::sync::Mutex<Option<Session>>>;

/// The running process.
pub(crate) struct ProcessBackend {
    log: Arc<Log>,
    running: Running,
    root: PathBuf,
    log_id: [u8; 16],
    stop: watch::Sender<bool>,
    /// What runs statements; begun when it is first asked.
    session: SharedSession,
    /// Readers of search indexes, opened when they are first asked.
    readers: Mutex<BTreeMap<String, SearchReader>>,
}

/// The listeners of this process.
pub(crate) struct Servers {
    serving: Vec<Serving>,
}

impl Servers {
    /// Waits until all have ended.
    pub(crate) async fn stopped(self) {
        for serving in self.serving {
            serving.ended().await;
        }
    }
}

impl ProcessBackend {
    pub(crate) fn new(
        (log, log_id): (&Arc<Log>, [u8; 16]),
        running: Running,
        root: &Path,
        stop: watch::Sender<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            log: Arc::clone(log),
            running,
            root: root.to_owned(),
            log_id,
            stop,
            session: Arc::default(),
            readers: Mutex::default(),
        })
    }

    /// Who folds the history of tables in this process.
    pub(crate) fn keeper(&self, history: History) -> Keeper {
        Keeper {
            log: Arc::clone(&self.log),
            board: Arc::clone(&self.running.board),
            session: Arc::clone(&self.session),
            held_back: Arc::clone(&self.running.held_back),
            history,
        }
    }

    /// Listens on the directory's socket and, when asked, on an address.
    pub(crate) async fn serve(
        self: Arc<Self>,
        http: Option<SocketAddr>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Servers, Failure> {
        let socket = directory::socket(&self.root);
        let views = Arc::clone(&self.running.views);
        let site = Site { backend: self, views, limits: Limits::STANDARD };
        let mut serving = vec![serve::serve_unix(&socket, site.clone(), stopped.clone()).await?];
        if let Some(address) = http {
            serving.push(serve::serve_tcp(address, site, stopped).await?);
        }
        Ok(Servers { serving })
    }
}

impl Backend for ProcessBackend {
    fn run_status(&self) -> RunStatus {
        let board = &self.running.board;
        let since = Instant::now().saturating_duration_since(board.since);
        let (upper, stat) = (self.log.upper(), self.log.stat());
        RunStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            log: LogStatus {
                id: uuid::Uuid::from_bytes(self.log_id).to_string(),
                upper,
                bytes: stat.bytes,
                since: stat.since,
                base_bytes: stat.base_bytes,
                held_back: self.running.held_back.why(),
                full: self.log.full().map(|full| full.to_string()),
                scrub: scrubbing::status(&self.log.scrubbed()),
            },
            sources: board.sources().map(|(name, entry)| source_status(name, entry)).collect(),
            filling: self.running.creations.status(upper),
            sinks: board.sinks().map(|(name, entry)| self.sink_status(name, entry)).collect(),
        }
    }

    fn search_reader(&self, view: &str) -> Option<SearchReader> {
        let mut sinks = self.running.board.sinks();
        sinks.find(|(_, sink)| sink.kind == "search" && sink.view == view)?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.contains_key(view) {
            // An index that has not been committed to yet has nothing to read.
            let reader = SearchReader::open(&directory::search_dir(&self.root, view)).ok()?;
            readers.insert(view.to_owned(), reader);
        }
        let reader = readers.get(view)?;
        // What cannot be reloaded now shows what it showed before.
        reader.reload().unwrap_or_default();
        Some(reader.clone())
    }

    fn sql(&self, text: String) -> Pin<Box<dyn Future<Output = Told> + Send + '_>> {
        let (runtime, statements) = (tokio::runtime::Handle::current(), self.statements());
        // It reads the log and waits for its disk, which would hold up the sockets. It goes on when nobody waits.
        let work = tokio::task::spawn_blocking(move || runtime.block_on(statements.run(&text)));
        Box::pin(async move {
            let done = work.await.unwrap_or(Err(Failure::Ended("a session")));
            let (outcomes, lacking) = done.map_err(|failure| failure.problem())?;
            let outcomes = outcomes.into_iter().map(Outcome::told).collect();
            let lacking = lacking.into_iter().map(Lacking::from).collect();
            Ok(SqlAnswer { outcomes, lacking })
        })
    }

    fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// What runs the statements of one client.
struct Statements {
    log: Arc<Log>,
    log_id: [u8; 16],
    running: Running,
    session: SharedSession,
    stop: watch::Receiver<bool>,
}

impl Statements {
    /// Runs statements. The session is held as long as they run, but not while a view is being filled.
    async fn run(self, text: &str) -> Result<(Vec<Outcome>, Vec<view::Lacking>), Failure> {
        let mut statements = plan::session_statements(text)?.into_iter();
        let (mut outcomes, mut lacking) = (Vec::new(), Vec::new());
        let mut begun: Option<Creation> = None;
        loop {
            let mut held = self.session.lock().await;
            let session = match held.take() {
                Some(session) => session,
                None => Session::beside(&self.log, self.log_id, &self.running)?,
            };
            let session = held.insert(session);
            if let Some(creation) = begun.take() {
                outcomes.push(session.note_view(&creation).await?);
            }
            let next = session.execute_beside(&mut statements, &mut outcomes).await;
            lacking.extend(session.take_lacking());
            let Some(mut creation) = next? else { return Ok((outcomes, lacking)) };
            drop(held);
            creation.fill(&self.running.engine, &self.stop)?;
            begun = Some(creation);
        }
    }
}

impl ProcessBackend {
    fn statements(&self) -> Statements {
        Statements {
            log: Arc::clone(&self.log),
            log_id: self.log_id,
            running: self.running.clone(),
            session: Arc::clone(&self.session),
            stop: self.stop.subscribe(),
        }
    }

    fn sink_status(&self, name: &str, entry: &SinkEntry) -> SinkStatus {
        let (held, waiting) = (entry.status.held(), entry.status.waiting());
        let phase = if waiting.is_some() { ShownPhase::Waiting } else { ShownPhase::Streaming };
        SinkStatus {
            name: name.to_owned(),
            view: entry.view.clone(),
            kind: entry.kind.to_owned(),
            phase,
            detail: waiting,
            held,
            behind_transactions: self.running.views.time().0.saturating_sub(held.0),
            lag_ms: None,
        }
    }
}

fn source_status(name: &str, entry: &SourceEntry) -> SourceStatus {
    let report = entry.progress.report();
    let mut rows_estimate = None;
    let (phase, detail) = match report.phase {
        Phase::Connecting => (ShownPhase::Connecting, None),
        Phase::Backfill { table, rows, rows_estimate: estimate } => {
            rows_estimate = estimate;
            (ShownPhase::Backfill, Some(format!("{table}: {rows} rows")))
        }
        Phase::Streaming => (ShownPhase::Streaming, None),
        Phase::Waiting(why) => (ShownPhase::Waiting, Some(why)),
        Phase::Ended => (ShownPhase::Ended, None),
    };
    SourceStatus {
        name: name.to_owned(),
        kind: entry.kind.to_owned(),
        phase,
        detail,
        rows: report.rows,
        rows_estimate,
        position: report.position.map(|position| position.to_string()),
        lag_bytes: report.lag_bytes,
        lag_ms: None,
    }
}
