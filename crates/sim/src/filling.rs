//! A view that is created while everything else goes on: a second reader of the log fills it from the beginning.
//!
//! The rules are those of the product (`crates/evert/src/filling.rs`): its steps are its own; when the log's end is near
//! and everything else has come as far, it is brought exactly to where that is, between two steps.

use std::sync::LazyLock;

use change::{ChangeBatch, TableChanges, Time};
use dataflow::{Dataflow, DataflowOptions};
use log::{Chunk, Log, LogReader};
use plan::ir::Program;
use view::{Draft, ViewInfo};

use crate::follower::{Stopped, planned};
use crate::model::{SCRIPT, VIEWS};
use crate::random::Random;
use crate::tables::{Change, Table, changes_of};
use crate::violation::{Violation, violation};

/// What the names of views begin with that are created later. They are the same views once more.
pub(crate) const LATE: &str = "late_";

/// The views that are created later, planned.
static PROGRAM: LazyLock<Program> =
    LazyLock::new(|| planned(&SCRIPT.replace("create view ", &format!("create view {LATE}"))));

/// The plan of one of the views that are created later.
pub(crate) fn late(view: usize) -> &'static plan::ir::ViewPlan {
    &PROGRAM.views[view]
}

/// The name of one of the views that are created later.
pub(crate) fn late_name(view: usize) -> String {
    format!("{LATE}{}", VIEWS[view])
}

/// A view that is being filled.
///
/// Invariant: dataflow and draft hold the view exactly as it is at `at`, and the reader goes on behind that.
pub(crate) struct Filling {
    view: usize,
    reader: LogReader,
    dataflow: Dataflow,
    draft: Draft,
    at: Time,
}

impl Filling {
    /// Begins with a view that has nothing yet.
    pub(crate) fn new(log: &Log, view: usize) -> Result<Self, Violation> {
        let plan = late(view);
        let options = DataflowOptions::default();
        let dataflow = Dataflow::with_options(std::slice::from_ref(plan), &options);
        let dataflow =
            dataflow.map_err(|error| violation(format!("a view cannot be built: {error}")))?;
        let draft = Draft::new(ViewInfo::from(plan));
        Ok(Self { view, reader: log.reader(Time::ZERO), dataflow, draft, at: Time::ZERO })
    }

    /// Which view it is.
    pub(crate) fn view(&self) -> usize {
        self.view
    }

    /// The Time that the view is exact at.
    pub(crate) fn at(&self) -> Time {
        self.at
    }

    /// Makes a step of some chunks; returns whether the log's end is near.
    pub(crate) fn step(&mut self, random: &mut Random) -> Result<bool, Stopped> {
        let chunks = 1 + random.below(4);
        match self.reader.next().map_err(Stopped::Log)? {
            Some(chunk) => self.take(chunk, Time(u64::MAX), chunks),
            None => Ok(true),
        }
    }

    /// Brings the view exactly to a Time that the log holds and that is not behind it; returns what maintains it there.
    pub(crate) fn at_time(mut self, time: Time) -> Result<(Dataflow, Draft), Stopped> {
        while self.at < time {
            let Some(chunk) = self.reader.next().map_err(Stopped::Log)? else {
                let at = self.at;
                let what = format!("view: what fills one ends at {at}, and others are at {time}");
                return Err(Stopped::Wrong(violation(what)));
            };
            self.take(chunk, time, u64::MAX)?;
        }
        Ok(self.now())
    }

    /// The view as it is.
    pub(crate) fn now(self) -> (Dataflow, Draft) {
        (self.dataflow, self.draft)
    }

    /// Makes a step of a chunk and of what the log holds behind it, not past a Time; returns whether the log ended.
    fn take(&mut self, mut chunk: Chunk, upto: Time, mut chunks: u64) -> Result<bool, Stopped> {
        let (last, is_near) = loop {
            self.push(&chunk, upto)?;
            chunks = chunks.saturating_sub(1);
            if chunk.complete && (chunks == 0 || chunk.last >= upto) {
                break (chunk.last.min(upto), false);
            }
            let complete = chunk.last;
            match self.reader.next().map_err(Stopped::Log)? {
                Some(next) => chunk = next,
                None => break (complete, true),
            }
        };
        let wrong = |what: String| Stopped::Wrong(violation(what));
        let differences = self.dataflow.finish_step();
        let differences = differences.map_err(|error| wrong(error.to_string()))?;
        let changes: Vec<ChangeBatch> = differences.into_iter().map(|(_, batch)| batch).collect();
        self.draft.apply(&changes, Vec::new()).map_err(|error| wrong(error.to_string()))?;
        self.at = last;
        Ok(is_near)
    }

    /// Takes in what a chunk holds up to a Time.
    fn push(&mut self, chunk: &Chunk, upto: Time) -> Result<(), Stopped> {
        let cut: Vec<TableChanges>;
        let tables = if chunk.last > upto {
            let wanted = usize::try_from(upto.0 - chunk.first.0 + 1).expect("in memory");
            cut = chunk.tables.iter().map(|table| table.of_transactions(0, wanted)).collect();
            &cut
        } else {
            &chunk.tables
        };
        let pushed = self.dataflow.push(tables);
        pushed.map_err(|error| Stopped::Wrong(violation(format!("the dataflow refuses: {error}"))))
    }
}

/// A view that is maintained with all others, and not seen yet.
pub(crate) struct Hidden {
    pub(crate) view: usize,
    pub(crate) dataflow: Dataflow,
    pub(crate) draft: Draft,
}

impl Hidden {
    /// Takes in what every dataflow does.
    pub(crate) fn push(&mut self, tables: &[TableChanges]) -> Result<(), String> {
        self.dataflow.push(tables).map_err(|error| error.to_string())
    }

    /// Ends the step.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        let differences = self.dataflow.finish_step().map_err(|error| error.to_string())?;
        let changes: Vec<ChangeBatch> = differences.into_iter().map(|(_, batch)| batch).collect();
        self.draft.apply(&changes, Vec::new()).map_err(|error| error.to_string())
    }
}

/// How far the creation of a view is, in a process.
pub(crate) enum Creation {
    /// It is being filled.
    Filling(Filling),
    /// It is near the log's end, and waits until all others have come as far.
    Near(Filling),
    /// The log is told, by the group with this number, that it is there.
    Told {
        /// Which view it is.
        view: usize,
        /// The group.
        group: u64,
    },
}

/// The views that changes of the catalogue create.
pub(crate) fn created(tables: &[TableChanges]) -> impl Iterator<Item = usize> {
    let changes = tables.iter().flat_map(changes_of);
    changes.filter_map(|change| created_by(&change))
}

/// The view that a change of the catalogue creates.
pub(crate) fn created_by(change: &Change) -> Option<usize> {
    if change.table != Table::Catalog {
        return None;
    }
    let name = change.cells[1].text()?.strip_prefix(LATE)?;
    VIEWS.iter().position(|view| *view == name)
}

/// A view that is maintained on its own, and shown.
pub(crate) struct Shown {
    pub(crate) number: usize,
    pub(crate) dataflow: Dataflow,
}

/// Takes one of them out of those that are not seen.
pub(crate) fn taken(hidden: &mut Vec<Hidden>, view: usize) -> Option<Hidden> {
    let at = hidden.iter().position(|hidden| hidden.view == view)?;
    Some(hidden.remove(at))
}
