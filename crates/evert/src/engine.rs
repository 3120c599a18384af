//! log ──► dataflow ──► views and outboxes: the one thread that moves everything derived from one Time to the next.
//!
//! A step takes whatever whole transactions have arrived, up to a limit, so that it is small when the pipeline keeps
//! up and large when it is behind. At start the log is replayed from its beginning; a step then never crosses a Time
//! that some sink holds, so the sum of the steps behind that Time is exactly what the sink still lacks.
//!
//! Views come and go while it runs. One that is being filled elsewhere is taken over between two steps, and moved with
//! the others from then on, unseen. What readers see follows the catalogue: the step that takes the log's word that a
//! view is there shows it, and the step that takes the word that it is gone removes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use change::{ChangeBatch, TableChanges, Time};
use dataflow::{FlowError, FlowStat};
use log::{Chunk, Log, LogReader};
use sink::Outbox;
use tokio::sync::{mpsc, watch};
use view::{Draft, RowError, Step, Views};

use crate::catalogue::view_changes;
use crate::failure::Failure;
use crate::filling::Filling;
use crate::flow::Flow;

pub(crate) use crate::flow::Maintenance;

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

/// What the engine is asked between two steps.
enum Question {
    /// What a view's dataflow did and holds; `None` when there is no such view.
    Stat { view: String, answer: SyncSender<Option<FlowStat>> },
    /// To take over a view that is being filled, when all views have come as far as it.
    Adopt(Box<Adoption>),
    /// Whether a view that was taken over is maintained still.
    Confirm { view: String, answer: SyncSender<Result<(), Failure>> },
    /// To forget a view that was taken over and is not in the catalogue.
    Abandon(String),
}

/// A view to take over, and who waits for it.
struct Adoption {
    filling: Filling,
    answer: SyncSender<Result<(), Failure>>,
}

/// A way to ask the engine's thread, which answers between two steps.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    questions: Sender<Question>,
}

impl EngineHandle {
    /// What the dataflow of a view did and holds.
    pub(crate) fn stat(&self, view: &str) -> Result<FlowStat, Failure> {
        let (answer, answered) = sync_channel(1);
        self.ask(Question::Stat { view: view.to_owned(), answer })?;
        let stat = answered.recv_timeout(ANSWER_LIMIT);
        stat.ok().flatten().ok_or(Failure::Ended("the engine"))
    }

    /// Gives a view that is being filled to the engine. What is answered, some time, is that it is maintained and as
    /// exact as all others, or why it cannot be; nothing, when the engine has ended.
    pub(crate) fn adopt(&self, filling: Filling) -> Result<Receiver<Result<(), Failure>>, Failure> {
        let (answer, answered) = sync_channel(1);
        self.ask(Question::Adopt(Box::new(Adoption { filling, answer })))?;
        Ok(answered)
    }

    /// Fails when a view that the engine took over could not be maintained any further; nothing is left of it then.
    pub(crate) fn confirm(&self, view: &str) -> Result<(), Failure> {
        let (answer, answered) = sync_channel(1);
        self.ask(Question::Confirm { view: view.to_owned(), answer })?;
        answered.recv_timeout(ANSWER_LIMIT).map_err(|_late| Failure::Ended("the engine"))?
    }

    /// Takes a view back that was given to the engine and does not come into the catalogue.
    pub(crate) fn abandon(&self, view: &str) {
        // An engine that has ended maintains nothing.
        self.ask(Question::Abandon(view.to_owned())).unwrap_or_default();
    }

    fn ask(&self, question: Question) -> Result<(), Failure> {
        self.questions.send(question).map_err(|_gone| Failure::Ended("the engine"))
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
        // What the catalogue says up to here is what runs from the beginning.
        engine.noted = Some(Time(log.upper().0 - 1));
        let earlier = engine.parts.iter().map(|part| part.flow.earlier());
        for earlier in earlier {
            earlier.refuse(maintenance.plans, &engine.outlets)?;
        }
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

/// A dataflow, and its views among all views.
struct Part {
    flow: Flow,
    /// By position in the dataflow; `None` for one that was dropped.
    views: Vec<Option<Place>>,
}

/// A view among all views.
struct Place {
    number: usize,
    name: String,
}

/// A view that is maintained and not seen yet.
struct Hidden {
    flow: Flow,
    draft: Draft,
    /// Why it is maintained no more.
    failure: Option<Failure>,
}

impl Hidden {
    fn is(&self, name: &str) -> bool {
        self.draft.info().name == name
    }

    /// Does something with what is maintained still. A failure concerns whoever creates the view, and nobody else.
    fn attempt(&mut self, what: impl FnOnce(&mut Flow, &mut Draft) -> Result<(), Failure>) {
        if self.failure.is_none() {
            self.failure = what(&mut self.flow, &mut self.draft).err();
        }
    }
}

/// The engine's inputs and outputs.
///
/// Invariant: views and outboxes have moved to `at`; the dataflows hold the state of `pushed`, which is `at` or later.
pub(crate) struct Engine {
    reader: LogReader,
    parts: Vec<Part>,
    hidden: Vec<Hidden>,
    /// Views that are given to the engine and are ahead of it.
    adoptions: Vec<Adoption>,
    /// Views that came and went by what was pushed since `at`, in order.
    news: Vec<(String, bool)>,
    /// The Time behind which the catalogue is followed; `None` when it is not.
    noted: Option<Time>,
    views: Arc<Views>,
    outlets: Vec<Outlet>,
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
        let flow = Flow::new(maintenance)?;
        let names = maintenance.plans.iter().map(|plan| plan.name.clone());
        let places = names.enumerate().map(|(number, name)| Some(Place { number, name })).collect();
        let boundaries = outlets.iter().map(|outlet| outlet.held).collect();
        Ok(Self {
            reader,
            parts: vec![Part { flow, views: places }],
            hidden: Vec::new(),
            adoptions: Vec::new(),
            news: Vec::new(),
            noted: None,
            views,
            outlets,
            boundaries,
            at: Time::ZERO,
            pushed: Time::ZERO,
            told: watch::Sender::new(Time::ZERO),
            warned: None,
        })
    }

    /// What the dataflow of a view did and holds.
    pub(crate) fn stat(&self, view: &str) -> Option<FlowStat> {
        let has = |part: &&Part| part.views.iter().flatten().any(|place| place.name == view);
        self.parts.iter().find(has).map(|part| part.flow.stat())
    }

    /// Follows the log until told to stop, and answers who asks meanwhile.
    fn run(mut self, stop: &AtomicBool, asked: &Receiver<Question>) -> Result<(), Failure> {
        while !stop.load(Ordering::Relaxed) {
            asked.try_iter().for_each(|question| self.answer(question));
            self.adopt();
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

    /// Follows the log up to a Time, and no further: the views are exact at it then.
    pub(crate) fn run_up_to(mut self, last: Time) -> Result<(), Failure> {
        let mut rows = 0;
        while self.pushed < last {
            let Some(chunk) = self.reader.next()? else { break };
            let complete = chunk.complete;
            rows += self.push(&upto(chunk, last))?;
            if complete && rows >= STEP_ROWS_MAX {
                self.finish()?;
                rows = 0;
            }
        }
        self.finish()
    }

    fn answer(&mut self, question: Question) {
        match question {
            // Who has given up waiting is not told.
            Question::Stat { view, answer } => answer.send(self.stat(&view)).unwrap_or_default(),
            Question::Adopt(adoption) => self.adoptions.push(*adoption),
            Question::Abandon(name) => {
                self.adoptions.retain(|adoption| adoption.filling.name() != name);
                self.hidden.retain(|hidden| !hidden.is(&name));
            }
            Question::Confirm { view, answer } => {
                answer.send(self.confirm(&view)).unwrap_or_default();
            }
        }
    }

    fn confirm(&mut self, view: &str) -> Result<(), Failure> {
        let at = self.hidden.iter().position(|hidden| hidden.is(view));
        let at = at.ok_or(Failure::Ended("the engine"))?;
        match self.hidden[at].failure.take() {
            None => Ok(()),
            Some(failure) => {
                self.hidden.remove(at);
                Err(failure)
            }
        }
    }

    /// Takes over, between two steps, the views that are not ahead: what they lack is read once more, which is little.
    fn adopt(&mut self) {
        let at = self.at;
        for adoption in self.adoptions.extract_if(.., |adoption| adoption.filling.at() <= at) {
            let taken = adoption.filling.at_time(at).map(|(flow, draft)| {
                self.hidden.push(Hidden { flow, draft, failure: None });
            });
            adoption.answer.send(taken).unwrap_or_default();
        }
    }

    /// Makes one step of a chunk and of what has arrived behind it, up to the limit.
    ///
    /// When it is to stop amid a long transaction, it does, and nothing has moved.
    fn step_from(&mut self, mut chunk: Chunk, stop: &AtomicBool) -> Result<(), Failure> {
        let mut rows = 0;
        loop {
            let complete = chunk.complete;
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
            return Ok(self.push_tables(chunk.first, &chunk.tables)?);
        }
        let (mut rows, mut done) = (0, 0);
        let within: Vec<Time> = self.boundaries.range(chunk.first..chunk.last).copied().collect();
        for boundary in within {
            let upto = index(boundary.0 - chunk.first.0) + 1;
            rows += self.push_tables(chunk.first, &of_transactions(&chunk.tables, done, upto))?;
            self.pushed = boundary;
            self.finish()?;
            done = upto;
        }
        let rest = of_transactions(&chunk.tables, done, chunk.heads.len());
        rows += self.push_tables(chunk.first, &rest)?;
        self.pushed = chunk.last;
        if self.boundaries.contains(&chunk.last) {
            self.finish()?;
        }
        Ok(rows)
    }

    fn push_tables(&mut self, first: Time, tables: &[TableChanges]) -> Result<usize, FlowError> {
        if self.noted.is_some_and(|noted| first > noted) {
            self.news.extend(tables.iter().flat_map(view_changes));
        }
        for part in &mut self.parts {
            part.flow.push(first, tables)?;
        }
        for hidden in &mut self.hidden {
            hidden.attempt(|flow, _| Ok(flow.push(first, tables)?));
        }
        Ok(tables.iter().map(|changes| changes.changes().len()).sum())
    }

    /// Ends the step: all views and outboxes move to the last transaction pushed.
    fn finish(&mut self) -> Result<(), Failure> {
        if self.pushed == self.at {
            return Ok(());
        }
        let (after, upto) = (self.at, self.pushed);
        let mut step = Step::to(upto);
        for Part { flow, views } in &mut self.parts {
            let (changes, errors) = flow.finish()?;
            let number = |view: usize| views[view].as_ref().map(|place| place.number);
            let placed = |(view, batch)| Some((number(view)?, batch));
            step.changes.extend(changes.into_iter().filter_map(placed));
            let placed = |error: RowError| Some(RowError { view: number(error.view)?, ..error });
            step.errors.extend(errors.into_iter().filter_map(placed));
        }
        for hidden in &mut self.hidden {
            hidden.attempt(|flow, draft| {
                let (changes, errors) = flow.finish()?;
                let changes: Vec<ChangeBatch> = changes.into_iter().map(|(_, b)| b).collect();
                Ok(draft.apply(&changes, errors)?)
            });
        }
        self.warn(&step.errors);
        let come = self.follow_catalogue(&mut step)?;
        let differences = step.changes.clone();
        let numbers = self.views.step(step)?;
        for ((flow, name), number) in come.into_iter().zip(numbers) {
            self.parts.push(Part { flow, views: vec![Some(Place { number, name })] });
        }
        for outlet in self.outlets.iter().filter(|outlet| outlet.held < upto) {
            assert!(outlet.held <= after, "no step crosses a Time that a sink holds");
            let difference = differences.iter().find(|(view, _)| *view == outlet.view);
            outlet.outbox.put(after, upto, difference.map(|(_, batch)| batch));
        }
        self.at = upto;
        self.told.send_replace(upto);
        Ok(())
    }

    /// Lets the step show and remove the views that the catalogue brought and took away. Returns what maintains those
    /// that come.
    fn follow_catalogue(&mut self, step: &mut Step) -> Result<Vec<(Flow, String)>, Failure> {
        let mut come: Vec<(Flow, String)> = Vec::new();
        for (name, comes) in std::mem::take(&mut self.news) {
            if comes {
                let is_it = |hidden: &mut Hidden| hidden.is(&name);
                for Hidden { flow, draft, failure } in self.hidden.extract_if(.., is_it) {
                    // The log says that it is there: from here on it is a view like any other.
                    failure.map_or(Ok(()), Err)?;
                    step.shown.push(draft);
                    come.push((flow, name.clone()));
                }
                continue;
            }
            step.shown.retain(|draft| draft.info().name != name);
            come.retain(|(_, other)| *other != name);
            for Part { flow, views } in &mut self.parts {
                for (view, place) in views.iter_mut().enumerate() {
                    if let Some(place) = place.take_if(|place| place.name == name) {
                        flow.drop_view(view);
                        step.removed.push(place.number);
                    }
                }
            }
        }
        let is_empty = |part: &mut Part| part.views.iter().all(Option::is_none);
        let empty: Vec<Part> = self.parts.extract_if(.., is_empty).collect();
        if !empty.is_empty() {
            // Giving much memory back takes a while, for which nobody need wait.
            let freed = std::thread::Builder::new().name("free".to_owned());
            let freed = freed.spawn(move || drop(empty));
            freed.map(drop).unwrap_or_default();
        }
        Ok(come)
    }

    /// Tells of the first row that each view lacks: what goes to a sink is read by nobody who could be told.
    fn warn(&mut self, errors: &[RowError]) {
        let Some(warned) = &mut self.warned else { return };
        for error in errors.iter().filter(|error| error.diff > 0) {
            if warned.insert(error.view) {
                let mut places = self.parts.iter().flat_map(|part| &part.views).flatten();
                let place = places.find(|place| place.number == error.view);
                let view = place.map_or("", |place| place.name.as_str());
                let RowError { expression, row, message, .. } = error;
                tracing::warn!(
                    "view {view} lacks a row that could not be computed, and lacks all others like \
                     it: {message}, in {expression}, for {row}; see evert.errors"
                );
            }
        }
    }
}

fn of_transactions(tables: &[TableChanges], first: usize, last: usize) -> Vec<TableChanges> {
    tables.iter().map(|changes| changes.of_transactions(first, last)).collect()
}

/// The transactions of a chunk up to a Time.
fn upto(mut chunk: Chunk, last: Time) -> Chunk {
    if chunk.last > last {
        let count = index(last.0 - chunk.first.0) + 1;
        chunk.tables = of_transactions(&chunk.tables, 0, count);
        chunk.heads.truncate(count);
        chunk.last = last;
    }
    chunk
}

fn index(transactions: u64) -> usize {
    usize::try_from(transactions).expect("a chunk's transactions are counted in memory")
}
