//! The stages of all views, and the way that changes take through them.
//!
//! Stages stand in a row, inputs before those that read them; one that several views need is there once. A change that
//! enters at a table runs through every stage that answers at once, depth first, so no more than one batch a stage is in
//! flight. At the step's end the operators are asked in order for what they held back: when one is asked, all before it
//! are done. Then the arrangements free what is not held any more. With several workers each has such a graph, and
//! exchanges cut it into levels: see the module `workers`.
//!
//! A stage that meets an error stops for good, and with it all that read it; the others go on and stay exact.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use change::{ChangeBatch, consolidate};
use plan::ir::ViewPlan;

use crate::arrangement::StateSize;
use crate::columns::{batch, nullable, pick, rename, select};
use crate::error::{FlowError, OperatorError};
use crate::exchange::{Parcel, Peer, partition};
use crate::operator::filter::Filter;
use crate::operator::join::{Input, Join};
use crate::operator::project::Project;
use crate::operator::{Fault, Operator, Out};
use crate::stat::{OperatorStat, PlanNode, ViewStat};
use crate::state::{Delta, State};
use crate::timer::{Timer, Turn};
use crate::workers::{Order, Step};

/// Staged rows are consolidated when there are this many, and again when they have doubled since.
const STAGED_ROWS: usize = 65_536;

/// Views, being maintained.
pub(crate) struct Graph {
    /// Which worker this is.
    pub(crate) peer: Peer,
    pub(crate) state: State,
    pub(crate) stages: Vec<Stage>,
    views: Vec<View>,
    /// Rows of this step that could not be computed, each with its stage.
    faults: Vec<(usize, Fault)>,
    errors: VecDeque<FlowError>,
    /// A step that is over but was not taken because of an error.
    finished: Option<Step>,
    /// What other workers are to have.
    outgoing: Vec<Parcel>,
    pub(crate) timer: Timer,
}

/// A part of the graph.
pub(crate) struct Stage {
    work: Work,
    inputs: Vec<usize>,
    /// How many exchanges lie before it.
    level: usize,
    pub(crate) readers: Vec<Reader>,
    /// The parts of plans that it computes.
    pub(crate) nodes: Vec<PlanNode>,
    has_failed: bool,
    batches: u64,
    rows_in: u64,
    rows_out: u64,
}

/// What a stage does.
pub(crate) enum Work {
    /// The changes of a table, handed in from outside.
    Table(usize),
    Filter(Filter),
    Project(Project),
    /// Some of the columns.
    Select(Vec<usize>, SchemaRef),
    /// The rows of all inputs: (A + ΔA) + (B + ΔB) = (A + B) + (ΔA + ΔB).
    Union(SchemaRef),
    /// Adds changes to an arrangement, and passes them on with their keys' numbers.
    Arrange(usize),
    Join(Box<Join>),
    Operator(Box<Operator>),
    /// Sends each row to the worker that the columns' values belong to.
    Exchange(Vec<usize>),
    /// Nothing: it is at work just now, or stopped, or another worker does it alone.
    Idle,
}

/// Who reads a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Stage { stage: usize, port: usize },
    View(usize),
}

/// What a view changed by in this step so far.
struct View {
    name: String,
    /// The stage that computes it, and the columns of it.
    stage: usize,
    columns: Vec<usize>,
    schema: SchemaRef,
    staged: Vec<ChangeBatch>,
    rows: usize,
    limit: usize,
    has_failed: bool,
}

impl Stage {
    pub(crate) fn new(work: Work, inputs: Vec<usize>, level: usize) -> Self {
        let (readers, nodes, has_failed) = (Vec::new(), Vec::new(), false);
        let (batches, rows_in, rows_out) = (0, 0, 0);
        Self { work, inputs, level, readers, nodes, has_failed, batches, rows_in, rows_out }
    }
}

impl Graph {
    /// A graph without stages.
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            state: State::default(),
            stages: Vec::new(),
            views: Vec::new(),
            faults: Vec::new(),
            errors: VecDeque::new(),
            finished: None,
            outgoing: Vec::new(),
            timer: Timer::new(None),
        }
    }

    /// Adds the view that a stage computes.
    pub(crate) fn add_view(&mut self, plan: &ViewPlan, stage: usize, columns: Vec<usize>) {
        self.views.push(View {
            name: plan.name.clone(),
            stage,
            columns,
            schema: nullable(&plan.schema),
            staged: Vec::new(),
            rows: 0,
            limit: STAGED_ROWS,
            has_failed: false,
        });
    }

    /// Takes exact changes of a table in.
    pub(crate) fn push(&mut self, table: usize, changes: ChangeBatch) {
        let is_it = |stage: &Stage| matches!(stage.work, Work::Table(of) if of == table);
        if let Some(at) = self.stages.iter().position(is_it) {
            self.stages[at].batches += 1;
            self.stages[at].rows_in += changes.len() as u64;
            self.receive(at, changes);
        }
    }

    /// Stops all views that read a table.
    pub(crate) fn stop_table(&mut self, table: usize) {
        let is_it = |stage: &Stage| matches!(stage.work, Work::Table(of) if of == table);
        if let Some(at) = self.stages.iter().position(is_it) {
            self.stop(at);
        }
    }

    /// The first error since this was asked last.
    pub(crate) fn take_error(&mut self) -> Result<(), FlowError> {
        self.errors.pop_front().map_or(Ok(()), Err)
    }

    /// Gives a stage's output to all who read it, the last of them first: a join that reads an arrangement is told of
    /// its changes before what follows from them elsewhere can reach the join's other side.
    fn forward(&mut self, at: usize, delta: &Delta) {
        if delta.changes.is_empty() {
            return;
        }
        self.stages[at].rows_out += delta.changes.len() as u64;
        for reader in (0..self.stages[at].readers.len()).rev() {
            match self.stages[at].readers[reader] {
                Reader::Stage { stage, port } => self.deliver(stage, port, delta.clone()),
                Reader::View(view) => {
                    if let Err(source) = self.views[view].stage(&delta.changes) {
                        self.fail(at, OperatorError::Columns(source));
                        return;
                    }
                }
            }
        }
    }

    /// Gives changes to a stage.
    fn deliver(&mut self, at: usize, port: usize, delta: Delta) {
        let stage = &mut self.stages[at];
        if stage.has_failed {
            return;
        }
        stage.batches += 1;
        stage.rows_in += delta.changes.len() as u64;
        self.timer.turn(Turn::Stage(at));
        let stage = &mut self.stages[at];
        let mut work = std::mem::replace(&mut stage.work, Work::Idle);
        let done = self.work(at, &mut work, port, delta);
        self.settle(at, work, done);
    }

    /// Gives a stage its work back, or stops it.
    fn settle(&mut self, at: usize, work: Work, done: Result<(), OperatorError>) {
        let has_failed = self.stages[at].has_failed;
        self.stages[at].work = work;
        if has_failed {
            self.release(at);
        } else if let Err(error) = done {
            self.fail(at, error);
        }
    }

    fn work(
        &mut self,
        at: usize,
        work: &mut Work,
        port: usize,
        delta: Delta,
    ) -> Result<(), OperatorError> {
        let changes = &delta.changes;
        match work {
            Work::Table(_) | Work::Idle => {}
            Work::Filter(filter) => {
                let mut out = Out::default();
                filter.push(changes, &mut out)?;
                self.give_out(at, &mut out);
            }
            Work::Project(project) => {
                let mut out = Out::default();
                project.push(changes, &mut out)?;
                self.give_out(at, &mut out);
            }
            Work::Select(columns, schema) => {
                let chosen = select(changes, schema, columns)?;
                self.forward(at, &Delta::new(chosen));
            }
            Work::Union(schema) => {
                let renamed = rename(changes, schema)?;
                self.forward(at, &Delta::new(renamed));
            }
            Work::Arrange(arrangement) => {
                let keys = self.state.resolve(*arrangement, changes)?;
                self.state.add(*arrangement, changes, &keys, (None, None))?;
                let keys = Some(Arc::new(keys));
                self.forward(at, &Delta { changes: delta.changes, keys });
            }
            Work::Join(join) => {
                let input = if port == 0 { Input::Left } else { Input::Right };
                join.start(&mut self.state, input, delta)?;
                let mut out = Out::default();
                loop {
                    let has_more = join.go_on(&mut self.state, &mut out)?;
                    self.give_out(at, &mut out);
                    if !has_more {
                        break;
                    }
                    self.timer.turn(Turn::Stage(at));
                }
            }
            Work::Exchange(columns) => {
                for (target, part) in
                    partition(changes, columns, self.peer.peers)?.into_iter().enumerate()
                {
                    if target == self.peer.index {
                        self.forward(at, &Delta::new(part));
                    } else if !part.is_empty() {
                        self.outgoing.push(Parcel { target, stage: at, changes: Some(part) });
                    }
                }
            }
            Work::Operator(operator) => {
                let mut out = Out::default();
                operator.push(port, changes, &mut out)?;
                self.give_out(at, &mut out);
            }
        }
        Ok(())
    }

    fn give_out(&mut self, at: usize, out: &mut Out) {
        for changes in out.rows.drain(..) {
            self.forward(at, &Delta::new(changes));
        }
        self.faults.extend(out.faults.drain(..).map(|fault| (at, fault)));
    }

    /// Takes what came from outside to a stage: to a table's, or from another worker to an exchange.
    pub(crate) fn receive(&mut self, at: usize, changes: ChangeBatch) {
        if !self.stages[at].has_failed {
            self.timer.turn(Turn::Stage(at));
            self.forward(at, &Delta::new(changes));
            self.timer.turn(Turn::Nobody);
        }
    }

    /// What is to be sent to other workers.
    pub(crate) fn take_outgoing(&mut self) -> Vec<Parcel> {
        std::mem::take(&mut self.outgoing)
    }

    /// The most exchanges that a change can meet.
    pub(crate) fn levels(&self) -> usize {
        self.stages.iter().map(|stage| stage.level).max().unwrap_or(0)
    }

    /// Ends the step, of a graph without peers.
    pub(crate) fn finish(&mut self, order: Order) -> Result<Step, FlowError> {
        if self.finished.is_none() {
            (0..=self.levels()).for_each(|level| self.finish_level(level));
            let step = self.end_step(order);
            self.finished = Some(step);
        }
        self.take_error()?;
        Ok(self.finished.take().unwrap_or_default())
    }

    /// Asks the operators behind so many exchanges for what they held back: all changes have reached them.
    pub(crate) fn finish_level(&mut self, level: usize) {
        for at in 0..self.stages.len() {
            let stage = &mut self.stages[at];
            if stage.level != level || !matches!(stage.work, Work::Operator(_)) {
                continue;
            }
            let mut work = std::mem::replace(&mut stage.work, Work::Idle);
            let mut out = Out::default();
            let mut done = Ok(());
            self.timer.turn(Turn::Stage(at));
            if let Work::Operator(operator) = &mut work {
                done = operator.finish(&mut out);
            }
            if done.is_ok() {
                self.give_out(at, &mut out);
            }
            self.settle(at, work, done);
        }
        self.timer.turn(Turn::Nobody);
    }

    /// Frees what is not held any more, and returns what the step changed.
    pub(crate) fn end_step(&mut self, order: Order) -> Step {
        self.state.sweep();
        let mut step = Step::default();
        for view in 0..self.views.len() {
            if self.views[view].has_failed {
                continue;
            }
            if !self.views[view].staged.is_empty() {
                self.timer.turn(Turn::View(view));
            }
            match self.views[view].take(order) {
                Ok(parts) if parts.iter().all(ChangeBatch::is_empty) => {}
                Ok(parts) => step.views.push((view, parts)),
                Err(source) => self.fail(self.views[view].stage, OperatorError::Columns(source)),
            }
        }
        self.timer.turn(Turn::Nobody);
        step.faults = self.faults_of_views();
        step
    }

    /// The step's faults, once for each view that they concern.
    fn faults_of_views(&mut self) -> Vec<(usize, Fault)> {
        let (mut found, mut below) = (Vec::new(), BTreeMap::new());
        for (at, fault) in std::mem::take(&mut self.faults) {
            let views: &BTreeSet<usize> = below.entry(at).or_insert_with(|| self.below(at));
            found.extend(views.iter().map(|&view| (view, fault.clone())));
        }
        found
    }

    /// The views that depend on a stage.
    fn below(&self, at: usize) -> BTreeSet<usize> {
        let (mut views, mut seen, mut reached) = (BTreeSet::new(), BTreeSet::new(), vec![at]);
        while let Some(at) = reached.pop() {
            for reader in &self.stages[at].readers {
                match *reader {
                    Reader::Stage { stage, .. } if seen.insert(stage) => reached.push(stage),
                    Reader::Stage { .. } => {}
                    Reader::View(view) => {
                        views.insert(view);
                    }
                }
            }
        }
        views
    }

    /// The views that stopped.
    pub(crate) fn failed(&self) -> BTreeSet<usize> {
        (0..self.views.len()).filter(|&view| self.views[view].has_failed).collect()
    }

    /// All errors since this was asked last.
    pub(crate) fn take_errors(&mut self) -> Vec<FlowError> {
        self.errors.drain(..).collect()
    }

    /// Stops views that stopped at another worker.
    pub(crate) fn stop_views(&mut self, views: &BTreeSet<usize>) {
        for &view in views {
            self.views[view].has_failed = true;
            self.views[view].staged.clear();
        }
    }

    /// Stops a stage and all that read it, and names the first view that is lost.
    fn fail(&mut self, at: usize, error: OperatorError) {
        let lost = self.stop(at);
        let view = lost.first().map_or("", |&view| self.views[view].name.as_str());
        self.errors.push_back(error.of_view(view));
    }

    /// Stops a stage and all that read it, and frees what they hold. Returns the views among them.
    fn stop(&mut self, at: usize) -> BTreeSet<usize> {
        let (mut lost, mut reached) = (BTreeSet::new(), vec![at]);
        while let Some(at) = reached.pop() {
            if self.stages[at].has_failed {
                continue;
            }
            self.stages[at].has_failed = true;
            self.release(at);
            for reader in &self.stages[at].readers {
                match *reader {
                    Reader::Stage { stage, .. } => reached.push(stage),
                    Reader::View(view) => {
                        lost.insert(view);
                    }
                }
            }
        }
        for &view in &lost {
            self.views[view].has_failed = true;
            self.views[view].staged.clear();
        }
        lost
    }

    /// Frees what a stage holds.
    fn release(&mut self, at: usize) {
        match std::mem::replace(&mut self.stages[at].work, Work::Idle) {
            Work::Arrange(arrangement) => self.state.clear(arrangement),
            Work::Join(join) => {
                join.private().for_each(|arrangement| self.state.clear(arrangement));
            }
            Work::Table(_)
            | Work::Filter(_)
            | Work::Project(_)
            | Work::Select(..)
            | Work::Union(_)
            | Work::Exchange(_)
            | Work::Operator(_)
            | Work::Idle => {}
        }
    }

    /// What the views' operators did and hold.
    pub(crate) fn stat(&self) -> Vec<ViewStat> {
        let view = |(at, view): (usize, &View)| ViewStat {
            view: view.name.clone(),
            index: at,
            failed: view.has_failed,
            nanoseconds: self.timer.nanoseconds(Turn::View(at)),
            operators: self.above(view.stage).into_iter().map(|at| self.stage_stat(at)).collect(),
        };
        self.views.iter().enumerate().map(view).collect()
    }

    /// The stages that a stage depends on, and itself, inputs first.
    fn above(&self, at: usize) -> BTreeSet<usize> {
        let (mut found, mut reached) = (BTreeSet::new(), vec![at]);
        while let Some(at) = reached.pop() {
            if found.insert(at) {
                reached.extend(&self.stages[at].inputs);
            }
        }
        found
    }

    fn stage_stat(&self, at: usize) -> OperatorStat {
        let stage = &self.stages[at];
        let (operator, state) = match &stage.work {
            Work::Table(_) => ("table", StateSize::default()),
            Work::Filter(_) => ("filter", StateSize::default()),
            Work::Project(_) => ("project", StateSize::default()),
            Work::Select(..) => ("select", StateSize::default()),
            Work::Union(_) => ("union", StateSize::default()),
            Work::Arrange(arrangement) => ("arrange", self.state.size(*arrangement)),
            Work::Join(join) => {
                let sizes = join.private().map(|arrangement| self.state.size(arrangement));
                ("join", sizes.fold(StateSize::default(), std::ops::Add::add))
            }
            Work::Operator(operator) => (operator.name(), operator.size()),
            Work::Exchange(_) => ("exchange", StateSize::default()),
            Work::Idle if stage.has_failed => ("stopped", StateSize::default()),
            Work::Idle => ("idle", StateSize::default()),
        };
        let nanoseconds = self.timer.nanoseconds(Turn::Stage(at));
        OperatorStat {
            operator,
            stage: at,
            inputs: stage.inputs.clone(),
            workers: 1,
            nodes: stage.nodes.clone(),
            batches: stage.batches,
            rows_in: stage.rows_in,
            rows_out: stage.rows_out,
            nanoseconds,
            nanoseconds_max: nanoseconds,
            state,
        }
    }
}

impl View {
    fn stage(&mut self, changes: &ChangeBatch) -> Result<(), arrow::error::ArrowError> {
        let columns: Vec<ArrayRef> = pick(changes.rows().columns(), &self.columns);
        self.staged.push(changes.with_rows(batch(&self.schema, columns, changes.len())?));
        self.rows += changes.len();
        if self.rows >= self.limit {
            let summed = consolidate(&self.schema, &self.staged)?;
            self.rows = summed.len();
            self.limit = STAGED_ROWS.max(self.rows * 2);
            self.staged = vec![summed];
        }
        Ok(())
    }

    fn take(&mut self, order: Order) -> Result<Vec<ChangeBatch>, arrow::error::ArrowError> {
        (self.rows, self.limit) = (0, STAGED_ROWS);
        let staged = std::mem::take(&mut self.staged);
        match order {
            Order::Sorted if !staged.is_empty() => Ok(vec![consolidate(&self.schema, &staged)?]),
            Order::Sorted | Order::AsTheyCome => Ok(staged),
        }
    }
}
