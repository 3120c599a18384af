//! Several workers, each with the same stages and its own part of the keys.
//!
//! timely-dataflow carries the parcels between them and knows when all of a round have arrived. A step takes as many
//! rounds as a change can meet exchanges on its way: the stages before the first exchange end, everybody meets; those
//! before the second end, everybody meets; and so on. A round is a time of timely's, and it is over when no worker can
//! send anything for it any more. With one worker nothing of this exists.
//!
//! The results are the same whatever the number of workers: each row's difference is computed by the one worker that
//! its keys belong to, and the sum of all workers' differences, sorted, is the view's.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use change::{ChangeBatch, consolidate};
use timely::communication::WorkerGuards;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::{Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker as TimelyWorker;

use crate::error::FlowError;
use crate::exchange::{Parcel, ToTarget};
use crate::graph::Graph;
use crate::operator::Fault;
use crate::stat::ViewStat;

/// The batches that may wait for a worker.
const WAITING_BATCHES: usize = 8;

/// How often whoever waits, a worker or the one who asked it, gives its turn away before it sleeps: less than half a
/// millisecond in all. What is waited for mostly comes sooner, and to be woken takes longer than many steps do.
const PATIENT_TURNS: usize = 1_024;

/// The workers of a dataflow, as seen by who gives them work.
pub(crate) struct Workers {
    /// Dropped first: a worker ends when there can be no more commands.
    commands: Vec<SyncSender<Command>>,
    answers: Vec<Receiver<Answer>>,
    /// Dropped last: waits for the workers' end.
    _guards: WorkerGuards<()>,
    schemas: Vec<SchemaRef>,
    failed: BTreeSet<usize>,
    errors: Vec<FlowError>,
    finished: Option<Step>,
}

/// What a step changed.
#[derive(Default)]
pub(crate) struct Step {
    /// What was added to each view that changed, by its index: when it was asked for sorted, one batch with each row once.
    pub(crate) views: Vec<(usize, Vec<ChangeBatch>)>,
    /// Rows that could not be computed, each with a view that lacks it.
    pub(crate) faults: Vec<(usize, Fault)>,
}

/// How a step's differences are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Summed and sorted.
    Sorted,
    /// As they come.
    AsTheyCome,
}

#[derive(Clone)]
enum Command {
    Push { table: usize, changes: ChangeBatch },
    StopTable(usize),
    StopViews(BTreeSet<usize>),
    DropView(usize),
    Finish(Order),
    Stat,
}

enum Answer {
    Step { step: Step, failed: BTreeSet<usize>, errors: Vec<FlowError> },
    Stat(Vec<ViewStat>),
}

impl Workers {
    /// Starts a worker for each graph.
    pub(crate) fn start(graphs: Vec<Graph>, schemas: Vec<SchemaRef>) -> Self {
        let (mut commands, mut answers, mut seats) = (Vec::new(), Vec::new(), Vec::new());
        let peers = graphs.len();
        for graph in graphs {
            let (command, orders) = sync_channel(WAITING_BATCHES);
            let (results, answer) = sync_channel(1);
            commands.push(command);
            answers.push(answer);
            seats.push(Some((graph, orders, results)));
        }
        let seats = Mutex::new(seats);
        let work = move |worker: &mut TimelyWorker| {
            let seat = {
                let mut seats = seats.lock().unwrap_or_else(PoisonError::into_inner);
                seats[worker.index()].take()
            };
            let (graph, orders, results) = seat.expect("each worker takes its own seat, once");
            let work = AssertUnwindSafe(|| {
                Seat::new(worker, graph).follow(worker, &orders, &results);
            });
            // The others would wait for this one for ever: a broken invariant ends the process, in every profile.
            if catch_unwind(work).is_err() {
                std::process::abort();
            }
        };
        let guards = timely::execute(timely::Config::process(peers), work)
            .expect("threads of this process can be started");
        let (failed, errors) = (BTreeSet::new(), Vec::new());
        Self { commands, answers, _guards: guards, schemas, failed, errors, finished: None }
    }

    fn tell(&self, command: &Command) {
        for worker in &self.commands {
            worker.send(command.clone()).expect("a worker lives until it is dropped");
        }
    }

    /// Gives exact changes of a table to the workers.
    pub(crate) fn push(&mut self, table: usize, changes: ChangeBatch) {
        self.tell(&Command::Push { table, changes });
    }

    /// Stops all views that read a table.
    pub(crate) fn stop_table(&mut self, table: usize) {
        self.tell(&Command::StopTable(table));
    }

    /// Forgets a view.
    pub(crate) fn drop_view(&mut self, view: usize) {
        self.tell(&Command::DropView(view));
    }

    /// Ends the step.
    pub(crate) fn finish(&mut self, order: Order) -> Result<Step, FlowError> {
        if self.finished.is_none() {
            self.tell(&Command::Finish(order));
            let step = self.gather(order)?;
            self.finished = Some(step);
        }
        if !self.errors.is_empty() {
            return Err(self.errors.remove(0));
        }
        Ok(self.finished.take().unwrap_or_default())
    }

    fn gather(&mut self, order: Order) -> Result<Step, FlowError> {
        let mut parts: Vec<Vec<ChangeBatch>> = vec![Vec::new(); self.schemas.len()];
        let (mut faults, mut lost) = (Vec::new(), BTreeSet::new());
        for worker in &self.answers {
            let Some(Answer::Step { step, failed, errors }) = next(worker) else {
                unreachable!("a worker answers what it is asked");
            };
            step.views.into_iter().for_each(|(view, part)| parts[view].extend(part));
            faults.extend(step.faults);
            lost.extend(failed);
            self.errors.extend(errors);
        }
        if !lost.is_subset(&self.failed) {
            self.failed.extend(&lost);
            self.tell(&Command::StopViews(lost));
        }
        let mut views = Vec::new();
        for (view, mut parts) in parts.into_iter().enumerate() {
            if self.failed.contains(&view) || parts.is_empty() {
                continue;
            }
            if order == Order::Sorted && parts.len() > 1 {
                let summed = consolidate(&self.schemas[view], &parts);
                parts = vec![
                    summed
                        .map_err(|source| FlowError::Columns { view: view.to_string(), source })?,
                ];
            }
            if parts.iter().any(|part| !part.is_empty()) {
                views.push((view, parts));
            }
        }
        Ok(Step { views, faults })
    }

    /// What all workers together did and hold.
    pub(crate) fn stat(&self) -> Vec<ViewStat> {
        self.tell(&Command::Stat);
        let mut all: Vec<ViewStat> = Vec::new();
        for worker in &self.answers {
            let Ok(Answer::Stat(stats)) = worker.recv() else {
                unreachable!("a worker answers what it is asked");
            };
            if all.is_empty() {
                all = stats;
            } else {
                all.iter_mut().zip(&stats).for_each(|(sum, part)| sum.add(part));
            }
        }
        all
    }
}

/// What a worker works with.
struct Seat {
    graph: Graph,
    input: InputHandle<u64, CapacityContainerBuilder<Parcel>>,
    probe: ProbeHandle<u64>,
    received: Rc<RefCell<Vec<Parcel>>>,
    round: u64,
}

impl Seat {
    fn new(worker: &mut TimelyWorker, graph: Graph) -> Self {
        let mut input = InputHandle::new_with_builder();
        let probe = ProbeHandle::new();
        let received: Rc<RefCell<Vec<Parcel>>> = Rc::default();
        let arriving = Rc::clone(&received);
        worker.dataflow::<u64, _, _>(|scope| {
            input
                .to_stream(scope)
                .unary::<CapacityContainerBuilder<Parcel>, _, _, _>(
                    DistributorPact(|_peers| ToTarget),
                    "exchange",
                    move |_capability, _info| {
                        move |arrivals, _output| {
                            arrivals.for_each(|_time, parcel| {
                                arriving.borrow_mut().push(std::mem::take(parcel));
                            });
                        }
                    },
                )
                .probe_with(&probe);
        });
        Self { graph, input, probe, received, round: 0 }
    }

    /// Does what it is told until nobody can tell it anything any more.
    fn follow(
        mut self,
        worker: &mut TimelyWorker,
        commands: &Receiver<Command>,
        answers: &SyncSender<Answer>,
    ) {
        while let Some(command) = next(commands) {
            let answer = match command {
                Command::Push { table, changes } => {
                    self.graph.push(table, &changes);
                    self.send();
                    worker.step();
                    self.receive();
                    None
                }
                Command::StopTable(table) => {
                    self.graph.stop_table(table);
                    None
                }
                Command::StopViews(views) => {
                    self.graph.stop_views(&views);
                    None
                }
                Command::DropView(view) => {
                    self.graph.drop_view(view);
                    None
                }
                Command::Finish(order) => Some(self.finish(worker, order)),
                Command::Stat => Some(Answer::Stat(self.graph.stat())),
            };
            // Nobody waits for the answer when the dataflow is being dropped.
            if answer.is_some_and(|answer| answers.send(answer).is_err()) {
                return;
            }
        }
    }

    fn finish(&mut self, worker: &mut TimelyWorker, order: Order) -> Answer {
        for level in 0..=self.graph.levels() {
            if level > 0 {
                self.meet(worker);
            }
            self.graph.finish_level(level);
        }
        let step = self.graph.end_step(order);
        let (failed, errors) = (self.graph.failed(), self.graph.take_errors());
        Answer::Step { step, failed, errors }
    }

    /// Sends what is to be sent, and waits until all workers have and all of it arrived.
    fn meet(&mut self, worker: &mut TimelyWorker) {
        self.send();
        self.round += 1;
        self.input.advance_to(self.round);
        let mut turns = 0;
        while self.probe.less_than(&self.round) {
            if turns < PATIENT_TURNS {
                turns += 1;
                worker.step();
                std::thread::yield_now();
            } else {
                worker.step_or_park(None);
            }
        }
        self.receive();
    }

    fn send(&mut self) {
        for mut parcel in self.graph.take_outgoing() {
            self.input.send_batch(&mut parcel);
        }
        self.input.flush();
    }

    fn receive(&mut self) {
        let arrived = std::mem::take(&mut *self.received.borrow_mut());
        for Parcel { stage, changes, .. } in arrived {
            if let Some(changes) = changes {
                self.graph.receive(stage, changes);
            }
        }
        // What arrived may have to go on; it does at the next meeting.
    }
}

/// What comes next; `None` when nothing will.
fn next<T>(arriving: &Receiver<T>) -> Option<T> {
    for _ in 0..PATIENT_TURNS {
        match arriving.try_recv() {
            Ok(command) => return Some(command),
            Err(TryRecvError::Empty) => std::thread::yield_now(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    arriving.recv().ok()
}
