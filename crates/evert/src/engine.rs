//! log ──► dataflow ──► views and outboxes: the one thread that moves everything derived from one Time to the next.
//!
//! A step takes whatever whole transactions have arrived, up to a limit, so that it is small when the pipeline keeps
//! up and large when it is behind. At start the log is replayed from its beginning; a step then never crosses a Time
//! that some sink holds, so the sum of the steps behind that Time is exactly what the sink still lacks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use change::{TableChanges, Time};
use dataflow::{Dataflow, DataflowOptions, FaultChange, FlowError, FlowStat};
use log::{Chunk, Log, LogReader};
use plan::ir::ViewPlan;
use sink::Outbox;
use tokio::sync::{mpsc, watch};
use view::{RowError, Views};

use crate::earlier::{Earlier, Forgotten};
use crate::failure::Failure;

/// The rows after which a step ends although more has arrived.
const STEP_ROWS_MAX: usize = 262_144;

/// How long the engine waits for the log before it looks whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// How long who asks the engine waits for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Where a view's differences go, besides the view store.
pub(crate) struct Outlet {
    /// The view's index.
    pub(crate) view: usize,
    /// What the sink already held when it was opened.
    pub(crate) held: Time,
    /// What the sink will take next.
    pub(crate) outbox: Arc<Outbox>,
}

/// What the engine maintains.
pub(crate) struct Maintenance<'a> {
    /// The views.
    pub(crate) plans: &'a [ViewPlan],
    /// What is known of their tables, and how many workers share the work.
    pub(crate) options: DataflowOptions,
    /// The tables that were there once.
    pub(crate) forgotten: &'a [Forgotten],
}

/// A way to ask the engine's thread, which answers between two steps.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    questions: Sender<SyncSender<FlowStat>>,
}

impl EngineHandle {
    /// What the dataflow did and holds.
    pub(crate) fn stat(&self) -> Result<FlowStat, Failure> {
        let (answer, answered) = sync_channel(1);
        let gone = |_| Failure::Ended("the engine");
        self.questions.send(answer).map_err(gone)?;
        answered.recv_timeout(ANSWER_LIMIT).map_err(|_late| Failure::Ended("the engine"))
    }
}

/// The engine on its own thread.
pub(crate) struct EngineThread {
    handle: EngineHandle,
    stop: Arc<AtomicBool>,
    failure: mpsc::Receiver<Failure>,
    at: watch::Receiver<Time>,
    thread: Option<JoinHandle<()>>,
}

impl EngineThread {
    /// Starts to follow the log from its beginning.
    pub(crate) fn start(
        log: &Arc<Log>,
        maintenance: &Maintenance<'_>,
        views: &Arc<Views>,
        outlets: Vec<Outlet>,
    ) -> Result<Self, Failure> {
        let reader = log.reader(Time::ZERO);
        let mut engine = Engine::new(reader, maintenance, Arc::clone(views), outlets)?;
        engine.warned = Some(BTreeSet::new());
        engine.earlier.refuse(maintenance.plans, &engine.outlets)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, failure) = mpsc::channel(1);
        let stopping = Arc::clone(&stop);
        let (questions, asked) = channel();
        let at = engine.told.subscribe();
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                if let Err(failure) = engine.run(&stopping, &asked) {
                    // The receiver is gone only when the run is over, and then nobody asks why.
                    sender.blocking_send(failure).unwrap_or_default();
                }
            })
            .map_err(|error| Failure::io("cannot start the engine's thread", error))?;
        Ok(Self { handle: EngineHandle { questions }, stop, failure, at, thread: Some(thread) })
    }

    /// A way to ask the thread.
    pub(crate) fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Waits until the engine fails. It ends by itself for no other reason.
    pub(crate) async fn failed(&mut self) -> Failure {
        self.failure.recv().await.unwrap_or(Failure::Ended("the engine"))
    }

    /// Waits until all views and all outboxes have moved to a Time; returns why, when they never will.
    pub(crate) async fn reached(&mut self, goal: Time) -> Result<(), Failure> {
        match self.at.wait_for(|&at| at >= goal).await {
            Ok(_reached) => Ok(()),
            Err(_gone) => Err(self.failure.recv().await.unwrap_or(Failure::Ended("the engine"))),
        }
    }

    /// Ends the thread.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the engine's thread ended by a panic");
            }
        }
    }
}

/// The engine's inputs and outputs.
///
/// Invariant: views and outboxes have moved to `at`; the dataflow holds the state of `pushed`, which is `at` or later.
pub(crate) struct Engine {
    reader: LogReader,
    dataflow: Dataflow,
    views: Arc<Views>,
    outlets: Vec<Outlet>,
    earlier: Earlier,
    boundaries: BTreeSet<Time>,
    at: Time,
    pushed: Time,
    /// Told of `at` when a step is over; views move a little before, and outboxes one by one.
    told: watch::Sender<Time>,
    /// The views that the log was told to lack rows; `None` when whoever reads them is told.
    warned: Option<BTreeSet<usize>>,
}

impl Engine {
    /// Joins a reader at the log's beginning with what follows it.
    pub(crate) fn new(
        reader: LogReader,
        maintenance: &Maintenance<'_>,
        views: Arc<Views>,
        outlets: Vec<Outlet>,
    ) -> Result<Self, FlowError> {
        let dataflow = Dataflow::with_options(maintenance.plans, &maintenance.options)?;
        let earlier = Earlier::new(maintenance.forgotten, &dataflow);
        let boundaries = outlets.iter().map(|outlet| outlet.held).collect();
        let (at, pushed) = (Time::ZERO, Time::ZERO);
        let told = watch::Sender::new(at);
        let warned = None;
        Ok(Self { reader, dataflow, views, outlets, earlier, boundaries, at, pushed, told, warned })
    }

    /// What the dataflow did and holds.
    pub(crate) fn stat(&self) -> FlowStat {
        self.dataflow.stat()
    }

    /// Follows the log until told to stop, and answers who asks meanwhile.
    fn run(
        mut self,
        stop: &AtomicBool,
        asked: &Receiver<SyncSender<FlowStat>>,
    ) -> Result<(), Failure> {
        while !stop.load(Ordering::Relaxed) {
            for answer in asked.try_iter() {
                // Who has given up waiting is not told.
                answer.send(self.stat()).unwrap_or_default();
            }
            if let Some(chunk) = self.reader.next_blocking(STOP_CHECK)? {
                self.step_from(chunk, stop)?;
            }
        }
        Ok(())
    }

    /// Follows the log to its present end.
    pub(crate) fn run_to_end(mut self) -> Result<(), Failure> {
        self.catch_up()
    }

    /// Follows the log to its present end, and can go on from there.
    pub(crate) fn catch_up(&mut self) -> Result<(), Failure> {
        let never = AtomicBool::new(false);
        while let Some(chunk) = self.reader.next()? {
            self.step_from(chunk, &never)?;
        }
        Ok(())
    }

    /// Makes one step of a chunk and of what has arrived behind it, up to the limit.
    ///
    /// When it is to stop amid a long transaction, it does, and nothing has moved.
    fn step_from(&mut self, mut chunk: Chunk, stop: &AtomicBool) -> Result<(), Failure> {
        let mut rows = 0;
        loop {
            let complete = chunk.complete;
            self.earlier.adapt(&mut chunk);
            rows += self.push(&chunk)?;
            if !complete && stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if complete && rows >= STEP_ROWS_MAX {
                break;
            }
            match self.reader.next()? {
                Some(next) => chunk = next,
                None => break,
            }
        }
        self.finish()
    }

    /// Pushes a chunk, ending a step wherever one of its transactions is a boundary.
    fn push(&mut self, chunk: &Chunk) -> Result<usize, Failure> {
        if !chunk.complete {
            return Ok(self.push_tables(&chunk.tables)?);
        }
        let (mut rows, mut done) = (0, 0);
        let within: Vec<Time> = self.boundaries.range(chunk.first..chunk.last).copied().collect();
        for boundary in within {
            let upto = index(boundary.0 - chunk.first.0) + 1;
            rows += self.push_tables(&of_transactions(&chunk.tables, done, upto))?;
            self.pushed = boundary;
            self.finish()?;
            done = upto;
        }
        let rest = of_transactions(&chunk.tables, done, chunk.heads.len());
        rows += self.push_tables(&rest)?;
        self.pushed = chunk.last;
        if self.boundaries.contains(&chunk.last) {
            self.finish()?;
        }
        Ok(rows)
    }

    fn push_tables(&mut self, tables: &[TableChanges]) -> Result<usize, FlowError> {
        self.dataflow.push(tables)?;
        Ok(tables.iter().map(|changes| changes.changes().len()).sum())
    }

    /// Ends the step: all views and outboxes move to the last transaction pushed.
    fn finish(&mut self) -> Result<(), Failure> {
        if self.pushed == self.at {
            return Ok(());
        }
        let (after, upto) = (self.at, self.pushed);
        let differences = self.dataflow.finish_step()?;
        let faults = self.dataflow.take_faults().into_iter();
        let errors: Vec<RowError> = faults.map(row_error).collect();
        self.warn(&errors);
        self.views.apply_with_errors(upto, differences.clone(), errors)?;
        for outlet in self.outlets.iter().filter(|outlet| outlet.held < upto) {
            assert!(outlet.held <= after, "no step crosses a Time that a sink holds");
            let difference = differences.iter().find(|(view, _)| *view == outlet.view);
            outlet.outbox.put(after, upto, difference.map(|(_, batch)| batch));
        }
        self.at = upto;
        self.told.send_replace(upto);
        Ok(())
    }

    /// Tells of the first row that each view lacks: what goes to a sink is read by nobody who could be told.
    fn warn(&mut self, errors: &[RowError]) {
        let Some(warned) = &mut self.warned else { return };
        for error in errors.iter().filter(|error| error.diff > 0) {
            if warned.insert(error.view) {
                let view = &self.views.infos()[error.view].name;
                let RowError { expression, row, message, .. } = error;
                tracing::warn!(
                    "view {view} lacks a row that could not be computed, and lacks all others like \
                     it: {message}, in {expression}, for {row}; see evert.errors"
                );
            }
        }
    }
}

fn row_error(fault: FaultChange) -> RowError {
    // The names of DataFusion's own parts say nothing to whoever mends the row.
    const PARTS: [&str; 3] = ["Arrow error: ", "Execution error: ", "Cast error: "];
    let FaultChange { view, expression, row, message, diff } = fault;
    let strip = |text: &'_ str, part: &str| text.strip_prefix(part).unwrap_or(text).to_owned();
    let message = PARTS.iter().fold(message, |message, part| strip(&message, part));
    RowError { view, expression, row, message, diff }
}

fn of_transactions(tables: &[TableChanges], first: usize, last: usize) -> Vec<TableChanges> {
    tables.iter().map(|changes| changes.of_transactions(first, last)).collect()
}

fn index(transactions: u64) -> usize {
    usize::try_from(transactions).expect("a chunk's transactions are counted in memory")
}
