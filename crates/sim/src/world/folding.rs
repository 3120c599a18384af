//! History is folded while everything goes on, by the rules of the product (`crates/evert/src/retention.rs`): what it came
//! to is written, the log is told of it, and when that is durable the fold happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use change::Time;
use log::{Fold, LogError, OnFull};

use super::{End, Process, World};
use crate::check::{self, Entry};
use crate::source::OWN;
use crate::tables::{TABLES, Table, Transaction, changes_of};
use crate::violation::{Violation, told};

/// A fold that is prepared, and the group by which the log is told.
pub(super) struct Told {
    fold: Fold,
    group: u64,
}

impl World {
    /// The history of some tables is folded, up to where it may be; or a fold that was prepared happens.
    pub(super) fn fold(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
        // It may be ended anywhere, as when the process is told to stop.
        let mut left = if self.folding.one_in(3) { self.folding.below(12) } else { u64::MAX };
        let mut pace = |_| {
            left = left.saturating_sub(1);
            left > 0
        };
        let done = match process.fold.take() {
            None => self.prepare_fold(process, &mut pace)?,
            Some(Told { fold, group }) => match self.has(group) {
                // There was no room for it.
                None => Ok(()),
                Some(true) => self.commit_fold(process, fold, &mut pace)?,
                Some(false) => {
                    process.fold = Some(Told { fold, group });
                    return Ok(None);
                }
            },
        };
        match done {
            Err(error) => {
                self.disk.say(|| format!("not folded: {}", told(&error)));
                self.unreadable(&error).map(Some)
            }
            Ok(()) => self.read_all(&process.log),
        }
    }

    /// Whether a group is durable; `None` when it is not in the log.
    fn has(&self, group: u64) -> Option<bool> {
        let at = self.entries.iter().rposition(|entry| entry.group == group)?;
        Some((at as u64) < self.acknowledged)
    }

    fn prepare_fold(
        &mut self,
        process: &mut Process,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Result<(), LogError>, Violation> {
        // What a target holds is what it goes on from.
        let held = self.targets.iter().map(|target| target.held().0);
        let held = held.filter(|held| *held > Time::ZERO).min().unwrap_or(Time(u64::MAX));
        let mut wanted = BTreeMap::new();
        for table in TABLES.into_iter().filter(|table| *table != Table::Folds) {
            if self.folding.one_in(2) {
                let upto = Time(self.folding.between(0, 3 * self.acknowledged));
                wanted.insert(table.schema().name().clone(), upto.min(held));
            }
        }
        let fold = match process.log.prepare_fold(&wanted, pace) {
            Ok(Some(fold)) => fold,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let record = fold.record();
        let changes = record.tables().iter().flat_map(changes_of).collect();
        self.groups += 1;
        let (source, number, group) = (OWN, 0, self.groups);
        let transaction = Arc::new(Transaction { changes });
        self.entries.push(Entry { source, number, group, transaction });
        process.append((group, source), &record, OnFull::Refuse)?;
        process.fold = Some(Told { fold, group });
        Ok(Ok(()))
    }

    fn commit_fold(
        &mut self,
        process: &Process,
        fold: Fold,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Result<(), LogError>, Violation> {
        let before = process.log.folded();
        if let Err(error) = fold.commit(pace) {
            return Ok(Err(error));
        }
        self.folds += 1;
        let (before, after) = (before.len(), process.log.folded());
        self.disk.say(|| format!("folded: {before} bases before, now {after:?}"));
        Ok(check::history_is(&process.log, &self.entries)?.map_or(Ok(()), Err))
    }
}
