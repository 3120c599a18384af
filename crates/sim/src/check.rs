//! The checkers: what a run must be, asked of each part from outside.
//!
//! They share no code with what they check. The expected log is the list of what was appended, the expected view comes
//! from [`crate::model`], and what a fault may explain is known from the disk, which keeps what it promised beside what
//! it did.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use change::{ChangeBatch, SourcePosition, Time};
use log::{Chunk, Disk, Log, LogError, Recovery, folds_table};
use view::Views;

use crate::canary::Canary;
use crate::disk::{Extent, SimDisk};
use crate::filling::{created_by, late_name};
use crate::model::{Rows, Tables, VIEWS};
use crate::source::{OWN, SOURCES, head};
use crate::tables::{Transaction, changes_of, lines, lines_of};
use crate::target::{Target, rows_of};
use crate::violation::{Violation, told, violation};
use crate::world::Outcome;

/// A transaction of the log as it is expected: of which source, and which of its transactions.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) source: usize,
    pub(crate) number: usize,
    /// The group that it was appended with: groups count up.
    pub(crate) group: u64,
    pub(crate) transaction: Arc<Transaction>,
}

/// A scrub finds what stopped the log, and nothing on a disk that kept its word. At rest, harm to the last write looks like
/// one that did not finish.
pub(crate) fn scrub_agrees(
    (disk, dir): (&SimDisk, &Path),
    last_write: Option<&Extent>,
    outcome: &Outcome,
    canary: Option<Canary>,
) -> Result<(), Violation> {
    let harm = disk.harm();
    let is_harmed = !harm.is_empty();
    let looks_torn = last_write.is_some_and(|last| harm.iter().any(|harm| harm.meets(last)));
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let damage = match log::scrub(dir, &disk, 0, |_| ControlFlow::Continue(())) {
        Ok(found) => found.damage,
        Err(_) if is_harmed => return Ok(()),
        Err(error) => return Err(violation(format!("scrub: {}", told(&error)))),
    };
    if !damage.is_empty() && !is_harmed && canary.is_none() {
        return Err(violation(format!("scrub: without any harm: {damage:?}")));
    }
    if damage.is_empty() && *outcome == Outcome::Reported("LOG004") && !looks_torn {
        return Err(violation("scrub: what stopped the log is not found"));
    }
    Ok(())
}

/// Reads the whole log and compares it with what was appended; returns why reading ended before the durable end.
pub(crate) fn log_is(
    log: &Log,
    expected: &[Entry],
    canary: Option<Canary>,
) -> Result<Option<LogError>, Violation> {
    read_log(log, expected, canary, None)
}

/// The same for a log that may say once more, in its last transaction, what was folded.
pub(crate) fn log_is_with(
    log: &Log,
    expected: &[Entry],
    folds_said: bool,
) -> Result<Option<LogError>, Violation> {
    let last = Time(expected.len() as u64 + 1);
    read_log(log, expected, None, folds_said.then_some(last))
}

fn read_log(
    log: &Log,
    expected: &[Entry],
    canary: Option<Canary>,
    folds_said: Option<Time>,
) -> Result<Option<LogError>, Violation> {
    let (mut reader, since) = (log.reader(Time::ZERO), log.stat().since);
    let mut reading = Reading { expected, next: 1, open: Vec::new(), positions: BTreeMap::new() };
    let mut folded = (since > Time::ZERO).then(Tables::default);
    loop {
        match reader.next() {
            Ok(Some(chunk)) => {
                let chunk = Canary::read(canary, chunk, since);
                match folded.take() {
                    Some(tables) => folded = reading.take_folded(tables, &chunk, since)?,
                    None if folds_said == Some(chunk.last) => {
                        says_folds(&chunk)?;
                        reading.next += 1;
                    }
                    None => reading.take(&chunk)?,
                }
            }
            Ok(None) => break,
            Err(_) if canary == Some(Canary::DamageIsTheEnd) => break,
            Err(error) => return Ok(Some(error)),
        }
    }
    if !reading.open.is_empty() {
        return Err(violation("order: the log ends amid a transaction"));
    }
    if Time(reading.next) != log.upper() {
        let upper = log.upper();
        return Err(violation(format!("order: read up to {}, but upper is {upper}", reading.next)));
    }
    Ok(None)
}

/// Whether a chunk is nothing but what was folded.
fn says_folds(chunk: &Chunk) -> Result<(), Violation> {
    let is_of_folds = chunk.tables.iter().all(|table| *table.table() == folds_table());
    if chunk.first == chunk.last && chunk.complete && is_of_folds {
        return Ok(());
    }
    Err(violation(format!("order: {chunk:?} is more than what was folded")))
}

/// The log as it is read, beside what is expected.
struct Reading<'a> {
    expected: &'a [Entry],
    /// The next Time.
    next: u64,
    /// The lines of a transaction in parts so far.
    open: Vec<String>,
    /// The position that each source has reached.
    positions: BTreeMap<Arc<str>, u64>,
}

impl Reading<'_> {
    /// Takes in what was folded; returns what it holds so far, until all of it was read and compared.
    fn take_folded(
        &mut self,
        mut tables: Tables,
        chunk: &Chunk,
        since: Time,
    ) -> Result<Option<Tables>, Violation> {
        if (chunk.first, chunk.last, chunk.heads.len()) != (since, since, 1) {
            let Chunk { first, last, .. } = chunk;
            let what = format!("order: what was folded up to {since} is at {first} to {last}");
            return Err(violation(what));
        }
        let changes = chunk.tables.iter().flat_map(changes_of).collect();
        tables.apply(&Transaction { changes });
        if !chunk.complete {
            return Ok(Some(tables));
        }
        let folded = usize::try_from(since.0).expect("in memory");
        let Some(entries) = self.expected.get(..folded) else {
            return Err(violation(format!("durability: nobody appended up to {since}")));
        };
        let mut expected = Tables::default();
        entries.iter().for_each(|entry| expected.apply(&entry.transaction));
        if tables != expected {
            let what = format!("base: at {since} is {tables:#?}, not {expected:#?}");
            return Err(violation(what));
        }
        for entry in entries.iter().filter(|entry| entry.source != OWN) {
            let reached = self.positions.entry(SOURCES[entry.source].into()).or_default();
            *reached = entry.number as u64 + 1;
        }
        self.next = since.0 + 1;
        Ok(None)
    }

    fn take(&mut self, chunk: &Chunk) -> Result<(), Violation> {
        let count = chunk.heads.len() as u64;
        let dense = chunk.first == Time(self.next) && chunk.last.0 + 1 == self.next + count;
        if !dense || (!chunk.complete && count != 1) {
            let Chunk { first, last, .. } = chunk;
            return Err(violation(format!(
                "order: Times {first} to {last} of {count} transactions where {} is next",
                self.next
            )));
        }
        for at in 0..chunk.heads.len() {
            chunk.tables.iter().for_each(|table| lines_of(table, at, &mut self.open));
            if !chunk.complete {
                return Ok(());
            }
            let lines = std::mem::take(&mut self.open);
            self.compare(chunk, at, lines)?;
            self.next += 1;
        }
        Ok(())
    }

    fn compare(&mut self, chunk: &Chunk, at: usize, found: Vec<String>) -> Result<(), Violation> {
        let (time, read) = (self.next, &chunk.heads[at]);
        if let Some(SourcePosition::Step(step)) = read.position {
            let reached = self.positions.entry(Arc::clone(&chunk.source)).or_default();
            if step != *reached + 1 {
                let source = &chunk.source;
                let what =
                    format!("order: {source} is at step {step} behind {reached}, Time {time}");
                return Err(violation(what));
            }
            *reached = step;
        }
        let index = usize::try_from(time - 1).expect("in memory");
        let Some(entry) = self.expected.get(index) else {
            return Err(violation(format!("durability: nobody appended Time {time}: {found:?}")));
        };
        let Entry { source, number, transaction, group: _ } = entry;
        let name = SOURCES[*source];
        if *chunk.source != *name || *read != head(*source, *number) {
            let what = format!("order: Time {time} is {read:?} of {}", chunk.source);
            return Err(violation(format!("{what}, not the {number}th of {name}")));
        }
        let (expected, found) = (by_table(lines(transaction)), by_table(found));
        if expected != found {
            let what =
                format!("durability: Time {time}, {name} {number}, is not what was appended");
            return Err(violation(format!("{what}:\n{found:#?}\nwas appended as\n{expected:#?}")));
        }
        Ok(())
    }
}

/// Whether the history of what was not folded is there, each change at its Time.
pub(crate) fn history_is(log: &Log, expected: &[Entry]) -> Result<Option<LogError>, Violation> {
    let folded: BTreeMap<String, Time> =
        log.folded().into_iter().map(|base| (base.table.to_string(), base.since)).collect();
    let kept = |time: u64, lines: Vec<String>| -> Vec<String> {
        let is_kept = |line: &String| {
            let table = line.split(' ').next().unwrap_or_default();
            folded.get(table).is_none_or(|since| Time(time) > *since)
        };
        by_table(lines.into_iter().filter(is_kept).collect())
    };
    let of = |time: u64| {
        let index = usize::try_from(time - 1).expect("in memory");
        expected.get(index).map(|entry| lines(&entry.transaction)).unwrap_or_default()
    };
    let (mut reader, mut next, mut open) = (log.reader(Time::ZERO).history(), 1, Vec::new());
    let compare = |time: u64, found: Vec<String>| {
        let (expected, found) = (kept(time, of(time)), kept(time, found));
        if expected == found {
            return Ok(());
        }
        let what = format!("history: at {time} is {found:#?}, not {expected:#?}");
        Err(violation(what))
    };
    loop {
        let chunk = match reader.next() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => return Ok(Some(error)),
        };
        // What is not there held nothing that is kept.
        (next..chunk.first.0).try_for_each(|time| compare(time, Vec::new()))?;
        for at in 0..chunk.heads.len() {
            chunk.tables.iter().for_each(|table| lines_of(table, at, &mut open));
            if chunk.complete {
                compare(chunk.first.0 + at as u64, std::mem::take(&mut open))?;
            }
        }
        next = if chunk.complete { chunk.last.0 + 1 } else { chunk.first.0 };
    }
    (next..log.upper().0).try_for_each(|time| compare(time, Vec::new()))?;
    Ok(None)
}

/// A transaction's tables may come one after the other; the order of a table's rows is the transaction's.
fn by_table(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
    lines
}

/// Where each source must go on, by what is in the log.
pub(crate) fn positions(entries: &[Entry]) -> BTreeMap<String, SourcePosition> {
    let mut positions = BTreeMap::new();
    for Entry { source, number, .. } in entries.iter().filter(|entry| entry.source != OWN) {
        let step = SourcePosition::Step(*number as u64 + 1);
        positions.insert(SOURCES[*source].to_owned(), step);
    }
    positions
}

/// Whether a recovery says what is there.
pub(crate) fn recovery_is(recovery: &Recovery, entries: &[Entry]) -> Result<(), Violation> {
    let (expected, found) = (positions(entries), &recovery.positions);
    if expected != *found {
        let what = "order: sources are to go on at";
        return Err(violation(format!("{what} {found:?}, but the log holds {expected:?}")));
    }
    Ok(())
}

/// The tables at a Time; it remembers the last one that was asked for.
#[derive(Default)]
pub(crate) struct States {
    at: usize,
    tables: Tables,
}

impl States {
    /// Forgets: the log may be another one.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// What the tables held at a Time.
    pub(crate) fn at(&mut self, time: Time, entries: &[Entry]) -> Result<&Tables, Violation> {
        let time_index = usize::try_from(time.0).expect("in memory");
        if time_index < self.at {
            self.reset();
        }
        let Some(more) = entries.get(self.at..time_index) else {
            return Err(violation(format!("order: there is no Time {time} in the log")));
        };
        more.iter().for_each(|entry| self.tables.apply(&entry.transaction));
        self.at = time_index;
        Ok(&self.tables)
    }
}

/// The views that are created in a log up to a Time, besides those that always are.
pub(crate) fn created(entries: &[Entry], upto: Time) -> Vec<usize> {
    let upto = usize::try_from(upto.0).unwrap_or(usize::MAX).min(entries.len());
    let changes = entries[..upto].iter().flat_map(|entry| &entry.transaction.changes);
    let all: BTreeSet<usize> = changes.filter_map(created_by).collect();
    all.into_iter().collect()
}

/// Whether all views are what a batch over the log's prefix gives: those that always are, and those that were created,
/// each from the Time on at which the catalogue has it. Views of the catalogue up to `noted` are there from the beginning.
pub(crate) fn views_are(
    views: &Views,
    entries: &[Entry],
    noted: Time,
    states: &mut States,
) -> Result<(), Violation> {
    let snapshot = views.snapshot();
    if snapshot.time == Time::ZERO {
        return Ok(());
    }
    let tables = states.at(snapshot.time, entries)?;
    let there = created(entries, snapshot.time.max(noted));
    if let Some(early) =
        (0..VIEWS.len()).find(|it| !there.contains(it) && snapshot.rows(&late_name(*it)).is_ok())
    {
        let (name, time) = (late_name(early), snapshot.time);
        return Err(violation(format!("view: {name} is shown at {time}, and not created")));
    }
    let created = there.into_iter().map(late_name);
    for name in VIEWS.into_iter().map(str::to_owned).chain(created) {
        let name = name.as_str();
        let batches = snapshot.rows(name).map_err(|error| violation(error.to_string()))?;
        let mut found = Rows::new();
        for batch in batches {
            for (row, diff) in rows_of(&ChangeBatch::inserts(batch)) {
                *found.entry(row).or_default() += diff;
            }
        }
        same("view", name, snapshot.time, (&tables.view(name), &found))?;
    }
    Ok(())
}

/// Whether each target holds its view at the Time that it says, which is durable.
pub(crate) fn targets_are(
    targets: &[Target],
    entries: &[Entry],
    acknowledged: u64,
    states: &mut States,
) -> Result<(), Violation> {
    for (name, target) in VIEWS.into_iter().zip(targets) {
        if let Some(broken) = target.broken() {
            return Err(violation(format!("sink: {name}: {broken}")));
        }
        let (held, found) = target.held();
        if held.0 > acknowledged {
            let what = format!("sink: {name} is at {held}, and only {acknowledged} is durable");
            return Err(violation(what));
        }
        let expected = match held {
            Time::ZERO => Rows::new(),
            held => states.at(held, entries)?.view(name),
        };
        same("sink", name, held, (&expected, &found))?;
    }
    Ok(())
}

fn same(what: &str, name: &str, time: Time, rows: (&Rows, &Rows)) -> Result<(), Violation> {
    let (expected, found) = rows;
    if expected == found {
        return Ok(());
    }
    let missing: Vec<_> = expected.iter().filter(|(row, n)| found.get(*row) != Some(n)).collect();
    let wrong: Vec<_> = found.iter().filter(|(row, n)| expected.get(*row) != Some(n)).collect();
    let place = format!("{what}: {name} at {time} is not the batch's result");
    Err(violation(format!("{place}: missing {missing:?}, wrong {wrong:?}")))
}
