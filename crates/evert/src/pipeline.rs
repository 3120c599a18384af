//! The data's path, from top to bottom:
//!
//! ```text
//! source ──► log ──► dataflow ──► view ──► serve (SQL, HTTP, push)
//!                                 └──► sink (search, databases, files)
//! ```
//!
//! A stage never calls a stage. Sources hand groups to the log's writer; the engine follows the log and moves views
//! and outboxes; each sink takes from its outbox at its own pace; readers see the views. This file joins them, and
//! ends them in the same order when the run is over.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::Time;
use log::{Log, LogError};
use plan::History;
use sink::Outbox;
use source::End;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use view::{ViewInfo, Views};

use crate::backend::ProcessBackend;
use crate::board::Board;
use crate::delivery::{Delivery, deliver};
use crate::engine::{EngineThread, Maintenance};
use crate::failure::Failure;
use crate::intake::LogIntake;
use crate::intent::Prepared;
use crate::knowledge::knowledge;
use crate::progress;
use crate::restored;
use crate::scrubbing;
use crate::session::Running;
use crate::signals::Interrupts;
use crate::supply::supply;
use crate::witnessing;

/// How long the stages may take, after an interrupt, to finish what they have begun.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How often a run that is to finish looks whether the disk is full.
const ROOM_INTERVAL: Duration = Duration::from_millis(200);

/// What ends a run, and what it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunOptions {
    /// Finish when the sources have, and the sinks hold it.
    pub(crate) once: bool,
    /// Where to serve HTTP besides the directory's socket.
    pub(crate) http: Option<SocketAddr>,
    /// How many workers share the engine's work.
    pub(crate) workers: usize,
    /// The history of tables whose statements do not say it.
    pub(crate) history: History,
    /// At how many MB a second the log is scrubbed; 0 for not at all.
    pub(crate) scrub_megabytes: u32,
}

/// Runs what was prepared until it is done, interrupted, or fails for good.
pub(crate) async fn run(
    prepared: Prepared,
    options: RunOptions,
    mut interrupts: Interrupts,
) -> Result<(), Failure> {
    let Prepared { mut opened, news, program, sources } = prepared;
    let (log, log_id) = (Arc::clone(&opened.log), opened.log_id);
    let directory = opened.directory.as_ref().expect("a directory that is run is held");
    let root = directory.root().to_owned();
    let (stop, stopped) = watch::channel(false);
    let board = Arc::new(Board::new(&program));
    let views = Views::new(program.views.iter().map(ViewInfo::from).collect());

    // source ──► log
    let intake = Arc::new(LogIntake::new(Arc::clone(&log)));
    let mut supplies = JoinSet::new();

    // view ──► sink: opened before the engine starts, because its steps end at the Times that they hold.
    let deliveries = tokio::select! {
        opened = Delivery::open_all(&program, &root, log_id, options.once) => opened?,
        // A target that cannot be reached is waited for; nothing has begun yet.
        () = interrupts.next() => return Ok(()),
    };
    Delivery::none_is_ahead(&deliveries, &log)?;
    Delivery::none_is_behind(&deliveries, &log, &board)?;
    // From here on, the directory knows them without being told again.
    opened.change_catalogue(news)?;
    let outboxes: Vec<Arc<Outbox>> = deliveries.iter().map(Delivery::outbox).collect();

    // log ──► dataflow ──► view
    let outlets = deliveries.iter().map(Delivery::outlet).collect();
    let (plans, forgotten) = (&program.views, opened.catalogue.forgotten());
    let mut known = knowledge(plans, &program.sources, forgotten);
    known.workers = options.workers;
    let maintenance = Maintenance { plans, options: known, forgotten };
    let engine = EngineThread::start(&log, &maintenance, &views, outlets)?;

    // view ──► serve
    let running = Running {
        views: Arc::clone(&views),
        engine: engine.handle(),
        board: Arc::clone(&board),
        creations: Arc::default(),
        workers: options.workers,
        held_back: Arc::default(),
    };
    let backend = ProcessBackend::new((&log, log_id), running, &root, stop.clone());
    let keeper = backend.keeper(options.history);
    let servers = backend.serve(options.http, stopped.clone()).await?;

    let mut ends = JoinSet::new();
    for delivery in deliveries {
        ends.spawn(deliver(delivery, Arc::clone(&views), Arc::clone(&board), stopped.clone()));
    }
    for source in sources {
        let (intake, board) = (Arc::clone(&intake), Arc::clone(&board));
        supplies.spawn(supply(source, intake, board, options.once, stopped.clone()));
    }
    // log: what is older than its history is folded.
    let keeping = tokio::spawn(keeper.keep(stopped.clone()));
    scrubbing::start(&log, options.scrub_megabytes)?;
    go_along(&log, &root, &board, &views, &stopped);

    let mut stages = Stages { supplies, ends, engine };
    let outcome = match stages.until_over(&log, options.once, stopped, &mut interrupts).await {
        Ok(Over::Done) => {
            let done = tokio::select! {
                drained = stages.drain(&log, &outboxes) => Some(drained),
                () = interrupts.next() => None,
            };
            match done {
                Some(drained) => drained,
                None => stages.drain_within_limit(&log, &outboxes, &stop).await,
            }
        }
        Ok(Over::Interrupted) => stages.drain_within_limit(&log, &outboxes, &stop).await,
        Err(failure) => Err(failure),
    };
    stop.send_replace(true);
    stages.engine.stop().await;
    servers.stopped().await;
    // It ends at its next look, whatever it is at.
    keeping.await.unwrap_or_default();
    restored::strike_out(&root, &board);
    // When the log has failed, whatever else fails does so for that reason.
    let outcome = outcome.map_err(|failure| log.failure().map_or(failure, Failure::Log));
    // The directory is held until nothing writes there any more, whoever else still knows the log.
    log.close();
    outcome
}

/// What goes on beside the stages until the run is over: nobody waits for it.
fn go_along(
    log: &Arc<Log>,
    root: &Path,
    board: &Arc<Board>,
    views: &Arc<Views>,
    stopped: &watch::Receiver<bool>,
) {
    progress::show(board, stopped.clone());
    tokio::spawn(restored::watch(root.to_owned(), Arc::clone(board), stopped.clone()));
    // log ──► what is damaged of it
    tokio::spawn(scrubbing::show(Arc::clone(log), Arc::clone(views), stopped.clone()));
    // log ──► witnesses
    tokio::spawn(witnessing::offer(Arc::clone(log), root.to_owned(), stopped.clone()));
}

/// Why a run is over.
enum Over {
    /// All sources have ended and that was all that was asked.
    Done,
    /// Somebody asked it to stop, or nobody reads its output any more.
    Interrupted,
}

/// The stages at work.
struct Stages {
    supplies: JoinSet<Result<End, Failure>>,
    ends: JoinSet<Result<(), Failure>>,
    engine: EngineThread,
}

impl Stages {
    /// Waits for the run's end, or for the first stage that fails for good.
    ///
    /// A run that is to finish does not wait for room on a full disk: whoever waits for its end is told instead.
    async fn until_over(
        &mut self,
        log: &Log,
        once: bool,
        mut stopped: watch::Receiver<bool>,
        interrupts: &mut Interrupts,
    ) -> Result<Over, Failure> {
        loop {
            if once && self.supplies.is_empty() {
                return Ok(Over::Done);
            }
            tokio::select! {
                failure = self.engine.failed() => return Err(failure),
                full = no_room(log), if once => return Err(Failure::Log(full)),
                Some(end) = self.supplies.join_next() => drop(joined(end)?),
                Some(end) = self.ends.join_next() => {
                    joined(end)?;
                    return Ok(Over::Interrupted);
                }
                () = interrupts.next() => return Ok(Over::Interrupted),
                _asked = stopped.wait_for(|&stop| stop) => return Ok(Over::Interrupted),
            }
        }
    }

    /// Asks everything to stop, and brings what is in the log to the views and sinks as far as time allows.
    async fn drain_within_limit(
        &mut self,
        log: &Log,
        outboxes: &[Arc<Outbox>],
        stop: &watch::Sender<bool>,
    ) -> Result<(), Failure> {
        stop.send_replace(true);
        let drained = self.drain(log, outboxes);
        tokio::time::timeout(DRAIN_LIMIT, drained).await.unwrap_or_else(|_late| {
            tracing::warn!("not all was finished in time; the next run goes on where it stopped");
            Ok(())
        })
    }

    /// Brings what is in the log to the views and sinks, and ends both.
    async fn drain(&mut self, log: &Log, outboxes: &[Arc<Outbox>]) -> Result<(), Failure> {
        while let Some(end) = self.supplies.join_next().await {
            joined(end)?;
        }
        self.engine.reached(Time(log.upper().0 - 1)).await?;
        outboxes.iter().for_each(|outbox| outbox.close());
        while let Some(end) = self.ends.join_next().await {
            joined(end)?;
        }
        Ok(())
    }
}

/// Waits until the disk is full.
async fn no_room(log: &Log) -> LogError {
    loop {
        if let Some(full) = log.full() {
            return full;
        }
        tokio::time::sleep(ROOM_INTERVAL).await;
    }
}

fn joined<T>(end: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    end.unwrap_or_else(|_panic_or_abort| Err(Failure::Ended("a stage")))
}
