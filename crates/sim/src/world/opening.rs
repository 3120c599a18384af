//! What a process finds when it starts, and whether that is what must be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use change::Time;
use log::{Log, LogError, Recovery};

use super::{DIR, End, Outcome, Process, World, Written, is_damage};
use crate::canary::Canary;
use crate::check;
use crate::disk::Extent;
use crate::follower::Follower;
use crate::source::SOURCES;
use crate::violation::{Violation, told, violation};

impl World {
    /// Opens the log, and looks whether everything is there.
    pub(super) fn start(&mut self) -> Result<Result<Process, End>, Violation> {
        let (before, harm) = (self.disk.contents(), self.disk.harm());
        self.harmed.extend(harm.iter().cloned());
        let opened = self.open();
        let was_closed = std::mem::take(&mut self.was_closed);
        let (log, writer, recovery) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.disk.say(|| format!("refused: {}", told(&error)));
                return self.refused(&error, &before).map(Err);
            }
        };
        self.disk.say(|| format!("opened: {recovery:?}"));
        if let Some(outcome) = self.reconcile(&recovery, &harm, was_closed)? {
            return Ok(Err(End::Over(outcome)));
        }
        if self.disk.is_down() {
            return Err(violation("a machine that stopped opened the log"));
        }
        if let Some(end) = self.read_all(&log)? {
            return Ok(Err(end));
        }
        if self.random.one_in(4) && self.setup.stops.is_empty() {
            drop((writer, log));
            self.reopen(&recovery)?;
            return self.start();
        }
        let stat = log.stat();
        if (stat.transactions, stat.upper) != (self.acknowledged, recovery.upper) {
            return Err(violation(format!(
                "order: {stat:?} of {} transactions",
                self.acknowledged
            )));
        }
        let (workers, canary) = (self.setup.workers, self.setup.canary);
        let created = check::created(&self.entries, Time(u64::MAX));
        let follower = Follower::new(&log, &self.targets, (workers, &created), canary)?;
        Ok(Ok(Process {
            log,
            writer,
            follower,
            creation: None,
            fold: None,
            answers: Arc::default(),
        }))
    }

    /// Opens once more what was just recovered: nothing may be different.
    pub(super) fn reopen(&mut self, first: &Recovery) -> Result<(), Violation> {
        let before = self.disk.contents();
        let (log, writer, again) = match self.open() {
            Ok(opened) => opened,
            Err(_) if self.is_faulty || self.disk.is_down() || !self.disk.harm().is_empty() => {
                return Ok(());
            }
            Err(error) => return Err(violation(format!("recovery: refused again: {error}"))),
        };
        drop((writer, log));
        let once = Recovery { cut_bytes: 0, cut_segment: None, ..first.clone() };
        if again != once && self.disk.harm().is_empty() {
            return Err(violation(format!("recovery: {first:?}, and then {again:?}")));
        }
        if self.disk.contents() != before && self.disk.harm().is_empty() && !self.is_faulty {
            return Err(violation("recovery: a second one changes what the first one left"));
        }
        Ok(())
    }

    /// Judges that the log could not be opened.
    pub(super) fn refused(
        &mut self,
        error: &LogError,
        before: &BTreeMap<PathBuf, Vec<u8>>,
    ) -> Result<End, Violation> {
        if self.disk.is_down() {
            let stop = self.stop_kind();
            self.stop(stop);
            return Ok(End::Ended);
        }
        // With faults, what is read may change by itself.
        if is_damage(error) && self.disk.contents() != *before && !self.is_faulty {
            return Err(violation("recovery: damage was reported, and touched"));
        }
        self.unreadable(error)
    }

    /// Compares what was recovered with what must be there, and makes the sources go on from it.
    pub(super) fn reconcile(
        &mut self,
        recovery: &Recovery,
        harm: &[Extent],
        was_closed: bool,
    ) -> Result<Option<Outcome>, Violation> {
        let upto = recovery.upper.0 - 1;
        if upto > self.entries.len() as u64 {
            return Err(violation(format!("durability: {upto} transactions, more than appended")));
        }
        let end_lost = upto < self.acknowledged;
        if end_lost {
            let lost =
                format!("durability: {} were acknowledged, {upto} are there", self.acknowledged);
            let lost_writes = self.written.iter().filter(|written| written.upto > upto);
            for Written { place, .. } in lost_writes {
                if !self.harmed.iter().any(|harm| harm.meets(place)) {
                    return Err(violation(format!("{lost}; and {place:?} was not harmed")));
                }
            }
            if self.harmed.is_empty() {
                return Err(violation(lost));
            }
        }
        if was_closed && recovery.cut_bytes > 0 && harm.is_empty() {
            return Err(violation("recovery: something was cut off a log that was closed"));
        }
        self.entries.truncate(usize::try_from(upto).expect("in memory"));
        self.acknowledged = upto;
        self.states.reset();
        check::recovery_is(recovery, &self.entries)?;
        for source in 0..SOURCES.len() {
            let number = self.entries.iter().rev().find(|entry| entry.source == source);
            let mut next = number.map_or(0, |entry| entry.number + 1);
            if source == 0 && next > 0 && self.random.one_in(4) {
                match self.setup.canary {
                    Some(Canary::Skipped) if self.sources[0].next > next => next += 1,
                    Some(Canary::Repeated) => next -= 1,
                    _ => {}
                }
            }
            self.sources[source].resume(next);
        }
        Ok(end_lost.then_some(Outcome::EndLost))
    }

    /// Reads everything; returns how the process ends when that cannot be.
    pub(super) fn read_all(&mut self, log: &Log) -> Result<Option<End>, Violation> {
        match check::log_is(log, &self.entries, self.setup.canary)? {
            Some(error) => self.unreadable(&error).map(Some),
            None => Ok(None),
        }
    }

    /// Judges that the log could not be read.
    pub(super) fn unreadable(&mut self, error: &LogError) -> Result<End, Violation> {
        let harmed = !self.disk.harm().is_empty();
        if is_damage(error) && !harmed {
            return Err(violation(format!("durability: without any harm: {}", told(error))));
        }
        if !is_damage(error) && (self.is_faulty || self.disk.is_down()) {
            let stop = self.stop_kind();
            self.stop(stop);
            return Ok(End::Ended);
        }
        if harmed {
            // Damage, or a sector that cannot be read.
            return Ok(End::Over(Outcome::Reported(error.code())));
        }
        Err(violation(format!("availability: without any fault: {}", told(error))))
    }

    /// Another process opens the log to read it.
    pub(super) fn look_from_outside(&mut self) -> Result<Option<End>, Violation> {
        let before = self.disk.contents();
        let disk = Arc::new(self.disk.clone());
        let opened = Log::open_read_only(Path::new(DIR), disk);
        if self.disk.contents() != before && !self.is_faulty {
            return Err(violation("recovery: a reader changed the log"));
        }
        let error = match opened {
            Ok((log, _)) => {
                if log.upper().0 - 1 < self.acknowledged
                    && self.disk.harm().is_empty()
                    && !self.is_faulty
                {
                    let upper = log.upper();
                    let what =
                        format!("durability: a reader finds {upper} after {}", self.acknowledged);
                    return Err(violation(what));
                }
                check::log_is(&log, &self.entries, self.setup.canary)?
            }
            Err(error) => Some(error),
        };
        match error {
            // It is another process: this one goes on.
            Some(error) => match self.unreadable_outside(&error) {
                true => Ok(None),
                false => Err(violation(format!("availability: a reader fails: {}", told(&error)))),
            },
            None => Ok(None),
        }
    }

    pub(super) fn unreadable_outside(&self, error: &LogError) -> bool {
        !self.disk.harm().is_empty()
            || (!is_damage(error) && (self.is_faulty || self.disk.is_down()))
    }
}
