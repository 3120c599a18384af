//! A new view, filled from the log's beginning while everything else goes on.
//!
//! It has a reader of the log and a dataflow of its own, and takes steps on the thread of whoever creates it, until it
//! is near the log's end. The engine then takes it over between two steps of its own: it brings it exactly to where all
//! other views are, and moves it with them from then on. Readers see it later still: from the Time on at which the
//! catalogue has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use change::{ChangeBatch, TableChanges, Time};
use log::{Chunk, Log, LogReader};
use view::{Draft, ViewInfo};

use crate::failure::Failure;
use crate::flow::{Flow, Maintenance};

/// The rows after which a step ends although the log holds more.
const STEP_ROWS_MAX: usize = 262_144;

/// A step of so many rows that ended at the log's end is near it: what came meanwhile is less, or not much more. While
/// writes stream in, no step ever ends just where the log does.
const NEAR_ROWS_MAX: usize = 16_384;

/// How far a view that is being filled is.
#[derive(Debug, Default)]
pub(crate) struct FillProgress {
    time: AtomicU64,
    rows: AtomicU64,
    row_count: AtomicU64,
}

impl FillProgress {
    /// The Time that the view is exact at.
    pub(crate) fn time(&self) -> Time {
        Time(self.time.load(Ordering::Relaxed))
    }

    /// How many changed rows of its tables were taken in.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// How many rows the view has.
    pub(crate) fn row_count(&self) -> u64 {
        self.row_count.load(Ordering::Relaxed)
    }
}

/// A view that is being filled.
///
/// Invariant: flow and draft hold the view exactly as it is at `at`, and the reader goes on behind that.
pub(crate) struct Filling {
    reader: LogReader,
    flow: Flow,
    draft: Draft,
    at: Time,
    progress: Arc<FillProgress>,
}

impl Filling {
    /// Begins with one view that has nothing yet.
    pub(crate) fn new(
        log: &Log,
        maintenance: &Maintenance<'_>,
        progress: Arc<FillProgress>,
    ) -> Result<Self, Failure> {
        let [plan] = maintenance.plans else { unreachable!("one view is filled at a time") };
        let flow = Flow::new(maintenance)?;
        let draft = Draft::new(ViewInfo::from(plan));
        Ok(Self { reader: log.reader(Time::ZERO), flow, draft, at: Time::ZERO, progress })
    }

    /// The Time that the view is exact at.
    pub(crate) fn at(&self) -> Time {
        self.at
    }

    /// The view's name.
    pub(crate) fn name(&self) -> &str {
        &self.draft.info().name
    }

    /// Takes steps until the log's end is near, as long as `goes_on` says so; returns whether it is.
    pub(crate) fn fill(&mut self, goes_on: impl Fn() -> bool) -> Result<bool, Failure> {
        let mut is_near = false;
        while !is_near && goes_on() {
            is_near = match self.reader.next()? {
                Some(chunk) => self.step(chunk, Time(u64::MAX), &goes_on)?,
                None => true,
            };
        }
        Ok(is_near)
    }

    /// Brings the view exactly to a Time that the log holds and that is not behind it; returns what maintains it there.
    pub(crate) fn at_time(mut self, time: Time) -> Result<(Flow, Draft), Failure> {
        assert!(self.at <= time, "a view that is being filled does not go back");
        while self.at < time {
            let chunk = self.reader.next()?.ok_or(Failure::Ended("the log"))?;
            self.step(chunk, time, &|| true)?;
        }
        Ok((self.flow, self.draft))
    }

    /// Makes a step of a chunk and of what the log holds behind it, up to a limit and not past a Time; returns whether
    /// the log's end is near. One that is not to go on is left as it is, and the view is of no more use.
    fn step(
        &mut self,
        mut chunk: Chunk,
        upto: Time,
        goes_on: &impl Fn() -> bool,
    ) -> Result<bool, Failure> {
        let mut rows = 0;
        let (last, is_near) = loop {
            rows += self.push(&chunk, upto)?;
            let is_over = rows >= STEP_ROWS_MAX || chunk.last >= upto;
            if chunk.complete && is_over {
                break (chunk.last.min(upto), false);
            }
            if !goes_on() {
                return Ok(false);
            }
            let complete = chunk.last;
            match self.reader.next()? {
                Some(next) => chunk = next,
                None => break (complete, rows <= NEAR_ROWS_MAX),
            }
        };
        let (differences, errors) = self.flow.finish()?;
        let changes: Vec<ChangeBatch> = differences.into_iter().map(|(_, batch)| batch).collect();
        self.draft.apply(&changes, errors)?;
        self.at = last;
        self.progress.time.store(last.0, Ordering::Relaxed);
        self.progress.row_count.store(self.draft.row_count(), Ordering::Relaxed);
        Ok(is_near)
    }

    /// Takes in what a chunk holds up to a Time; returns how many rows that were, of whatever table.
    fn push(&mut self, chunk: &Chunk, upto: Time) -> Result<usize, Failure> {
        let cut: Vec<TableChanges>;
        let tables = if chunk.last > upto {
            let wanted = usize::try_from(upto.0 - chunk.first.0 + 1);
            let wanted = wanted.expect("a chunk's transactions are counted in memory");
            cut = chunk.tables.iter().map(|table| table.of_transactions(0, wanted)).collect();
            &cut
        } else {
            &chunk.tables
        };
        let count = |tables: &mut dyn Iterator<Item = &TableChanges>| -> usize {
            tables.map(|table| table.changes().len()).sum()
        };
        let reads = |table: &&TableChanges| self.flow.reads(table.table().name());
        let read = count(&mut tables.iter().filter(reads));
        self.progress.rows.fetch_add(read as u64, Ordering::Relaxed);
        self.flow.push(chunk.first, tables)?;
        Ok(count(&mut tables.iter()))
    }
}
