//! What follows the log in a process: the real dataflow, views and outboxes, moved by hand.
//!
//! The rule is that of the product's engine: a step is one or more whole transactions and never crosses a Time that a
//! sink holds. How much goes into a step is chance.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::BooleanArray;
use change::{ChangeBatch, TableChanges, Time};
use dataflow::{Dataflow, DataflowOptions};
use futures::FutureExt as _;
use log::{Chunk, Log, LogError, LogReader};
use plan::Catalog;
use plan::ir::{Program, ViewPlan};
use sink::{Outbox, Sink, Step};
use view::{ViewInfo, Views};

use crate::canary::Canary;
use crate::filling::{Filling, Hidden, Shown, created, late, taken};
use crate::model::SCRIPT;
use crate::random::Random;
use crate::tables::TABLES;
use crate::target::Target;
use crate::violation::{Violation, violation};

/// The views of [`SCRIPT`], planned.
static PROGRAM: LazyLock<Program> = LazyLock::new(|| planned(SCRIPT));

/// What a script means.
pub(crate) fn planned(script: &str) -> Program {
    let tables = TABLES.iter().map(|table| table.schema()).collect();
    let catalog = Catalog { tables, ..Catalog::default() };
    let script = plan::parse(script).expect("the script is right");
    plan::plan(&script, &catalog).expect("the script can be planned")
}

/// Why the follower cannot go on.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The log cannot be read.
    Log(LogError),
    /// Something is wrong.
    Wrong(Violation),
}

/// What follows the log.
///
/// Invariant: views and outboxes are at `at`; the dataflow holds the state of `pushed`, which is `at` or later.
pub(crate) struct Follower {
    reader: LogReader,
    /// What was folded when the process began.
    since: Time,
    dataflow: Dataflow,
    /// The views that came since, each with a dataflow of its own.
    came: Vec<Shown>,
    hidden: Vec<Hidden>,
    /// Views that came by what was pushed since `at`.
    news: Vec<usize>,
    /// What the catalogue says up to here is what runs from the beginning.
    noted: Time,
    views: Arc<Views>,
    deliveries: Vec<Delivery>,
    boundaries: BTreeSet<Time>,
    at: Time,
    pushed: Time,
    canary: Option<Canary>,
}

/// One view on its way to its target.
struct Delivery {
    /// What the target held when the process began.
    held: Time,
    outbox: Outbox,
    target: Target,
    sink: Box<dyn Sink>,
}

impl Follower {
    /// Begins at the log's beginning, with the views that were created there besides those that always are.
    pub(crate) fn new(
        log: &Log,
        targets: &[Target],
        (workers, created): (usize, &[usize]),
        canary: Option<Canary>,
    ) -> Result<Self, Violation> {
        let options = DataflowOptions { workers, ..DataflowOptions::default() };
        let created = created.iter().map(|&view| late(view).clone());
        let plans: Vec<ViewPlan> = PROGRAM.views.iter().cloned().chain(created).collect();
        let dataflow = Dataflow::with_options(&plans, &options);
        let dataflow =
            dataflow.map_err(|error| violation(format!("the views cannot be built: {error}")))?;
        let views = Views::new(plans.iter().map(ViewInfo::from).collect());
        let delivery = |(plan, target): (&ViewPlan, &Target)| {
            let sink = target.open();
            let held = sink.held();
            let outbox = Outbox::new(Arc::clone(&plan.schema), held);
            Delivery { held, outbox, target: target.clone(), sink }
        };
        let deliveries: Vec<Delivery> = PROGRAM.views.iter().zip(targets).map(delivery).collect();
        let boundaries = deliveries.iter().map(|delivery| delivery.held).collect();
        let (at, pushed) = (Time::ZERO, Time::ZERO);
        let (reader, since) = (log.reader(Time::ZERO), log.stat().since);
        let (came, hidden, news) = (Vec::new(), Vec::new(), Vec::new());
        let noted = Time(log.upper().0 - 1);
        Ok(Self {
            reader,
            since,
            dataflow,
            came,
            hidden,
            news,
            noted,
            views,
            deliveries,
            boundaries,
            at,
            pushed,
            canary,
        })
    }

    /// The Time up to which the catalogue says what runs from the beginning.
    pub(crate) fn noted(&self) -> Time {
        self.noted
    }

    /// Takes over a view that is being filled, unless it is ahead: then it is given back.
    pub(crate) fn adopt(&mut self, filling: Filling) -> Result<Option<Filling>, Stopped> {
        if filling.at() > self.at {
            return Ok(Some(filling));
        }
        let view = filling.view();
        let (dataflow, draft) = match self.canary {
            Some(Canary::HandedOverEarly) => filling.now(),
            _ => filling.at_time(self.at)?,
        };
        self.hidden.push(Hidden { view, dataflow, draft });
        Ok(None)
    }

    /// Forgets a view that was taken over and does not come into the catalogue.
    pub(crate) fn abandon(&mut self, view: usize) {
        self.hidden.retain(|hidden| hidden.view != view);
    }

    /// Whether a view was taken over and is not seen yet.
    pub(crate) fn hides(&self, view: usize) -> bool {
        self.hidden.iter().any(|hidden| hidden.view == view)
    }

    /// The views.
    pub(crate) fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// Makes a step of what is durable, up to some number of chunks; returns whether there was anything.
    pub(crate) fn step(&mut self, random: &mut Random) -> Result<bool, Stopped> {
        let mut chunks = 1 + random.below(4);
        let Some(mut chunk) = self.next()? else { return Ok(false) };
        loop {
            let complete = chunk.complete;
            self.push(&chunk)?;
            chunks = chunks.saturating_sub(1);
            let folded = chunk.last <= self.since;
            if !complete && !folded && self.canary == Some(Canary::HalfTransaction) {
                self.pushed = chunk.first;
                break;
            }
            if complete && chunks == 0 {
                break;
            }
            match self.next()? {
                Some(next) => chunk = next,
                None => break,
            }
        }
        self.finish()?;
        Ok(true)
    }

    fn next(&mut self) -> Result<Option<Chunk>, Stopped> {
        let chunk = self.reader.next().map_err(Stopped::Log)?;
        Ok(chunk.map(|chunk| Canary::read(self.canary, chunk, self.since)))
    }

    /// Pushes a chunk, ending a step wherever one of its transactions is a boundary.
    fn push(&mut self, chunk: &Chunk) -> Result<(), Stopped> {
        if !chunk.complete {
            return self.push_tables(chunk.first, &chunk.tables);
        }
        let mut done = 0;
        let within: Vec<Time> = self.boundaries.range(chunk.first..=chunk.last).copied().collect();
        for boundary in within {
            if self.canary == Some(Canary::CrossedTime) {
                continue;
            }
            let upto = usize::try_from(boundary.0 - chunk.first.0).expect("in memory") + 1;
            self.push_tables(chunk.first, &of_transactions(&chunk.tables, done, upto))?;
            self.pushed = boundary;
            self.finish()?;
            done = upto;
        }
        if done < chunk.heads.len() {
            let rest = of_transactions(&chunk.tables, done, chunk.heads.len());
            self.push_tables(chunk.first, &rest)?;
        }
        self.pushed = chunk.last;
        Ok(())
    }

    fn push_tables(&mut self, first: Time, tables: &[TableChanges]) -> Result<(), Stopped> {
        let refused = |error: String| Stopped::Wrong(violation(format!("dataflow: {error}")));
        if first > self.noted {
            self.news.extend(created(tables));
        }
        self.dataflow.push(tables).map_err(|error| refused(error.to_string()))?;
        for came in &mut self.came {
            came.dataflow.push(tables).map_err(|error| refused(error.to_string()))?;
        }
        self.hidden.iter_mut().try_for_each(|hidden| hidden.push(tables)).map_err(refused)
    }

    /// Ends the step: all views and outboxes move to the last transaction pushed.
    fn finish(&mut self) -> Result<(), Stopped> {
        if self.pushed == self.at {
            return Ok(());
        }
        let (after, upto) = (self.at, self.pushed);
        let failed = |what: String| Stopped::Wrong(violation(what));
        let differences = self.dataflow.finish_step().map_err(|error| failed(error.to_string()))?;
        let differences: Vec<_> = differences
            .into_iter()
            .map(|(view, batch)| (view, self.forget_what_went(view, batch)))
            .collect();
        let mut step = view::Step { changes: differences.clone(), ..view::Step::to(upto) };
        for Shown { number, dataflow } in &mut self.came {
            let changes = dataflow.finish_step().map_err(|error| failed(error.to_string()))?;
            step.changes.extend(changes.into_iter().map(|(_, batch)| (*number, batch)));
        }
        self.hidden.iter_mut().try_for_each(Hidden::finish).map_err(failed)?;
        let mut shown = Vec::new();
        for view in std::mem::take(&mut self.news) {
            // One of another process, which this one has from the beginning, is no news.
            let Some(Hidden { dataflow, draft, .. }) = taken(&mut self.hidden, view) else {
                continue;
            };
            step.shown.push(draft);
            shown.push(dataflow);
        }
        let numbers = self.views.step(step).map_err(|error| failed(error.to_string()))?;
        let came = numbers.into_iter().zip(shown);
        self.came.extend(came.map(|(number, dataflow)| Shown { number, dataflow }));
        for (view, delivery) in self.deliveries.iter().enumerate() {
            if delivery.held >= upto {
                continue;
            }
            let crossing = delivery.held > after;
            assert!(!crossing || self.canary.is_some(), "no step crosses a Time that a sink holds");
            let difference = differences.iter().find(|(of, _)| *of == view);
            let after = after.max(delivery.held);
            delivery.outbox.put(after, upto, difference.map(|(_, batch)| batch));
        }
        self.at = upto;
        Ok(())
    }

    /// A canary: rows of the first view that go are not told.
    fn forget_what_went(&self, view: usize, batch: ChangeBatch) -> ChangeBatch {
        if self.canary != Some(Canary::Resurrected) || view != 0 {
            return batch;
        }
        let keep: BooleanArray = batch.diffs().iter().map(|&diff| Some(diff > 0)).collect();
        batch.filter(&keep).unwrap_or(batch)
    }

    /// Lets one target take what waits for it; returns whether there was anything.
    pub(crate) fn deliver(&mut self, view: usize) -> Result<bool, Violation> {
        let canary = self.canary;
        self.deliveries[view].deliver(canary)
    }

    /// How many views there are, and targets.
    pub(crate) fn count(&self) -> usize {
        self.deliveries.len()
    }
}

impl Delivery {
    /// Takes a step and writes it, asking the target again when it went away amid that.
    fn deliver(&mut self, canary: Option<Canary>) -> Result<bool, Violation> {
        let taken = match self.outbox.take(Duration::ZERO).now_or_never() {
            None | Some(Ok(None)) => return Ok(false),
            Some(Ok(Some(taken))) => taken,
            Some(Err(error)) => {
                return Err(violation(format!("an outbox cannot be taken from: {error}")));
            }
        };
        let (after, upto, changes) = taken;
        let step = Step { after, upto, changes: &changes };
        let never = || violation("a target that waits for nothing is not ready");
        for _attempt in 0..10 {
            if self.sink.write(step).now_or_never().ok_or_else(never)?.is_ok() {
                return Ok(true);
            }
            self.sink = self.target.open();
            let held = self.sink.held();
            match held {
                _ if canary == Some(Canary::AppliedTwice) => {}
                held if held == upto => return Ok(true),
                held if held == after => {}
                held => {
                    return Err(violation(format!(
                        "a target at {held} was to go from {after} to {upto}"
                    )));
                }
            }
        }
        Err(violation("a target goes away for ever"))
    }
}

fn of_transactions(tables: &[TableChanges], first: usize, last: usize) -> Vec<TableChanges> {
    tables.iter().map(|changes| changes.of_transactions(first, last)).collect()
}
