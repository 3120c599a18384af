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

use arrow::datatypes::SchemaRef;
use change::ChangeBatch;
use plan::ir::ViewPlan;

use crate::arrangement::StateSize;
use crate::columns::{rename, select};
use crate::error::{FlowError, OperatorError};
use crate::exchange::{Parcel, Peer, partition};
use crate::operator::eager::Eager;
use crate::operator::filter::Filter;
use crate::operator::join::{Input, Join};
use crate::operator::numbering::Numbering;
use crate::operator::project::Project;
use crate::operator::{Fault, Operator, Out};
use crate::staged::View;
use crate::stat::{OperatorStat, PlanNode, ViewStat};
use crate::state::{Delta, State};
use crate::timer::{Timer, Turn};
use crate::workers::{Order, Step};

/// The rows that run through the stages together: so few that what each stage makes of them is still in the processor's
/// cache when the next one reads it.
const PUSHED_ROWS: usize = 4_096;

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
    /// The most rows that were emitted at once.
    largest: u64,
}

/// What a stage does.
pub(crate) enum Work {
    /// The changes of a table, handed in from outside, of which each worker takes its own: those that the hash of columns
    /// gives to it, or an even share.
    Table {
        table: usize,
        owners: Option<Vec<usize>>,
    },
    Filter(Filter),
    Project(Project),
    /// Some of the columns.
    Select(Vec<usize>, SchemaRef),
    /// The rows of all inputs: (A + ΔA) + (B + ΔB) = (A + B) + (ΔA + ΔB).
    Union(SchemaRef),
    /// Adds changes to an arrangement, and passes them on with their keys' numbers.
    Arrange(usize),
    Join(Box<Join>),
    /// Sums pairs by group; its inputs are the folded rows and the other side's arrangement.
    Eager(Box<Eager>),
    /// Adds a column with the number of each row's group.
    Number(Numbering),
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

impl Stage {
    pub(crate) fn new(work: Work, inputs: Vec<usize>, level: usize) -> Self {
        let (readers, nodes, has_failed) = (Vec::new(), Vec::new(), false);
        let (batches, rows_in, rows_out, largest) = (0, 0, 0, 0);
        Self {
            work,
            inputs,
            level,
            readers,
            nodes,
            has_failed,
            batches,
            rows_in,
            rows_out,
            largest,
        }
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
        self.views.push(View::new(plan, stage, columns));
    }

    /// Takes exact changes of a table in.
    pub(crate) fn push(&mut self, table: usize, changes: &ChangeBatch) {
        for at in self.of_table(table) {
            for start in (0..changes.len()).step_by(PUSHED_ROWS) {
                let Work::Table { owners, .. } = &self.stages[at].work else { continue };
                let some = changes.slice(start, PUSHED_ROWS.min(changes.len() - start));
                match self.peer.part(&some, owners.as_deref()) {
                    Ok(part) => {
                        self.stages[at].batches += 1;
                        self.stages[at].rows_in += part.len() as u64;
                        self.receive(at, part);
                    }
                    Err(error) => self.fail(at, error),
                }
            }
        }
    }

    /// The stages where a table's changes enter.
    fn of_table(&self, wanted: usize) -> Vec<usize> {
        let is_it = |at: &usize| matches!(self.stages[*at].work, Work::Table { table, .. } if table == wanted);
        (0..self.stages.len()).filter(is_it).collect()
    }

    /// Makes stages idle that nobody reads.
    pub(crate) fn forget_unread(&mut self) {
        for at in (0..self.stages.len()).rev() {
            if self.stages[at].readers.is_empty() {
                self.stages[at].work = Work::Idle;
                for input in self.stages[at].inputs.clone() {
                    let is_it = |reader: &Reader| matches!(reader, Reader::Stage { stage, .. } if *stage == at);
                    self.stages[input].readers.retain(|reader| !is_it(reader));
                }
            }
        }
    }

    /// Stops all views that read a table.
    pub(crate) fn stop_table(&mut self, table: usize) {
        for at in self.of_table(table) {
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
        let (stage, rows) = (&mut self.stages[at], delta.changes.len() as u64);
        stage.rows_out += rows;
        stage.largest = stage.largest.max(rows);
        for reader in (0..self.stages[at].readers.len()).rev() {
            match self.stages[at].readers[reader] {
                Reader::Stage { stage, port } => self.deliver(stage, port, delta.clone()),
                Reader::View(view) => {
                    if let Err(error) = self.views[view].stage(&delta.changes) {
                        self.fail(at, error);
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
            Work::Table { .. } | Work::Idle => {}
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
            Work::Eager(eager) => match port {
                0 => eager.push_folded(&mut self.state, changes)?,
                _ => eager.push_other(&delta)?,
            },
            Work::Number(numbering) => {
                let numbered = numbering.push(&mut self.state, changes)?;
                self.forward(at, &Delta::new(numbered));
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
            if stage.level != level || !matches!(stage.work, Work::Operator(_) | Work::Eager(_)) {
                continue;
            }
            let mut work = std::mem::replace(&mut stage.work, Work::Idle);
            self.timer.turn(Turn::Stage(at));
            let mut done = Ok(true);
            while matches!(done, Ok(true)) {
                let mut out = Out::default();
                done = work.finish(&self.state, &mut out);
                if done.is_ok() {
                    self.give_out(at, &mut out);
                }
                if self.stages[at].has_failed {
                    break;
                }
                if matches!(done, Ok(true)) {
                    self.timer.turn(Turn::Stage(at));
                }
            }
            self.settle(at, work, done.map(drop));
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
        let has_failed = |view: &View| view.has_failed && !view.is_dropped;
        (0..self.views.len()).filter(|&view| has_failed(&self.views[view])).collect()
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
        let arrangements = self.end_work(at).into_iter();
        arrangements.for_each(|arrangement| self.state.clear(arrangement));
    }

    /// Ends a stage's work. Returns the arrangements that were only its own, which are as they were.
    fn end_work(&mut self, at: usize) -> Vec<usize> {
        let mut work = std::mem::replace(&mut self.stages[at].work, Work::Idle);
        if let Work::Eager(eager) = &mut work {
            eager.release(&mut self.state);
        }
        work.arrangements()
    }

    /// Forgets a view, between two steps. Stages that nobody reads any more go with all that they hold, and so do, in
    /// turn, their inputs; what another view reads stays.
    pub(crate) fn drop_view(&mut self, view: usize) {
        let dropped = &mut self.views[view];
        (dropped.is_dropped, dropped.has_failed) = (true, true);
        dropped.staged = Vec::new();
        let stage = dropped.stage;
        self.stages[stage].readers.retain(|reader| *reader != Reader::View(view));
        let (mut reached, mut unread) = (vec![stage], BTreeSet::new());
        while let Some(at) = reached.pop() {
            if !self.stages[at].readers.is_empty() {
                continue;
            }
            unread.extend(self.end_work(at));
            for input in std::mem::take(&mut self.stages[at].inputs) {
                let reads =
                    |reader: &Reader| matches!(reader, Reader::Stage { stage, .. } if *stage == at);
                self.stages[input].readers.retain(|reader| !reads(reader));
                reached.push(input);
            }
        }
        let used = self.stages.iter().flat_map(|stage| stage.work.spaces(&self.state)).collect();
        self.state.discard(unread, &used);
        self.state.sweep();
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
        let views = self.views.iter().enumerate().filter(|(_, view)| !view.is_dropped);
        views.map(view).collect()
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
            Work::Table { .. } => ("table", StateSize::default()),
            Work::Filter(_) => ("filter", StateSize::default()),
            Work::Project(_) => ("project", StateSize::default()),
            Work::Select(..) => ("select", StateSize::default()),
            Work::Union(_) => ("union", StateSize::default()),
            Work::Arrange(arrangement) => ("arrange", self.state.size(*arrangement)),
            Work::Join(join) => {
                let sizes = join.private().map(|arrangement| self.state.size(arrangement));
                (join.name(), sizes.fold(StateSize::default(), std::ops::Add::add))
            }
            Work::Eager(eager) => ("eager aggregate", eager.size()),
            Work::Number(numbering) => ("number", numbering.size(&self.state)),
            Work::Operator(operator) => (operator.name(), operator.size()),
            Work::Exchange(_) => ("exchange", StateSize::default()),
            Work::Idle if stage.has_failed => ("stopped", StateSize::default()),
            Work::Idle => ("idle", StateSize::default()),
        };
        let Stage { rows_in, rows_out, largest, .. } = *stage;
        let touched = if let Work::Join(join) = &stage.work { join.touched() } else { 0 };
        let nanoseconds = self.timer.nanoseconds(Turn::Stage(at));
        OperatorStat {
            operator,
            stage: at,
            inputs: stage.inputs.clone(),
            workers: 1,
            nodes: stage.nodes.clone(),
            batches: stage.batches,
            rows_in,
            rows_out,
            largest,
            touched,
            nanoseconds,
            nanoseconds_max: nanoseconds,
            state,
        }
    }
}

impl Work {
    /// The arrangements that nobody else adds rows to.
    fn arrangements(&self) -> Vec<usize> {
        match self {
            Self::Arrange(arrangement) => vec![*arrangement],
            Self::Join(join) => join.private().collect(),
            Self::Table { .. }
            | Self::Filter(_)
            | Self::Project(_)
            | Self::Select(..)
            | Self::Union(_)
            | Self::Exchange(_)
            | Self::Eager(_)
            | Self::Number(_)
            | Self::Operator(_)
            | Self::Idle => Vec::new(),
        }
    }

    /// Ends the step; returns whether there is more to give out.
    fn finish(&mut self, state: &State, out: &mut Out) -> Result<bool, OperatorError> {
        if let Self::Eager(eager) = self {
            eager.finish(state, out)?;
        }
        if let Self::Operator(operator) = self { operator.finish(state, out) } else { Ok(false) }
    }

    /// The spaces of keys that it needs, besides those of its inputs.
    fn spaces(&self, state: &State) -> Vec<usize> {
        let arranged = self.arrangements().into_iter();
        let mut spaces: Vec<usize> =
            arranged.map(|arrangement| state.arrangements[arrangement].space).collect();
        if let Self::Number(numbering) = self {
            spaces.push(numbering.space());
        }
        if let Self::Eager(eager) = self {
            spaces.push(eager.space(state));
        }
        spaces
    }
}
