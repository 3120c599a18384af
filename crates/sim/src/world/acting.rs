//! What happens while a process runs: sources send, the log's writer makes steps, views and targets follow.

use std::sync::{Arc, PoisonError};

use change::TransactionGroup;
use log::{LogError, OnFull, Progress};

use super::{Answer, End, Process, World, Written};
use crate::canary::Canary;
use crate::check::{self, Entry};
use crate::follower::Stopped;
use crate::source::{OWN, SOURCES, Sending};
use crate::violation::{Violation, told, violation};

impl Process {
    /// Gives the log a group of a source, with the number by which its answer is known.
    pub(super) fn append(
        &self,
        (group, source): (u64, usize),
        appended: &TransactionGroup,
        on_full: OnFull,
    ) -> Result<(), Violation> {
        let answers = Arc::clone(&self.answers);
        let done = move |result| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push(Answer { group, source, result });
        };
        let appended = self.log.append_with(appended, on_full, Box::new(done));
        appended.map_err(|error| violation(format!("a group is refused: {}", told(&error))))
    }
}

impl World {
    /// Something happens.
    pub(super) fn act(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
        if self.setup.folds && self.folding.one_in(4) {
            return self.fold(process);
        }
        // These go on beside everything else.
        if self.setup.fills
            && self.creating.one_in(3)
            && let Some(end) = self.create(process)?
        {
            return Ok(Some(end));
        }
        if self.setup.backups && self.backups.random.one_in(3) {
            self.back_up(process)?;
        }
        if process.log.full().is_some() && self.random.one_in(4) {
            // Somebody makes room, some or all of it, while the process runs.
            let room = self.random.pick(&[None, None, Some(200), Some(2_000), Some(20_000)]);
            self.set_room(room);
            return self.write(process);
        }
        match self.random.below(20) {
            0..=3 => {
                let source = self.random.pick(&[0, 0, 1, 1, OWN]);
                for _ in 0..self.random.between(1, 3) {
                    self.sources[source].commit(&mut self.random);
                }
            }
            4..=8 => {
                let source = self.random.index(SOURCES.len());
                self.append(process, source)?;
            }
            9..=12 => {
                return self.write(process);
            }
            13..=15 => return self.follow(process),
            16..=17 => {
                let view = self.random.index(process.follower.count());
                self.deliver(process, view)?;
            }
            18 => return self.look_from_outside(),
            // Or the disk runs full.
            19 if self.setup.mix.is_full() && self.is_faulty && self.random.one_in(2) => {
                let room = self.random.pick(&[200, 2_000, 20_000]);
                self.set_room(Some(room));
            }
            _ => {
                if self.harms_left > 0 && self.random.one_in(6) {
                    self.harm();
                }
            }
        }
        Ok(None)
    }

    /// A source hands over what it has to say next.
    pub(super) fn append(&mut self, process: &Process, source: usize) -> Result<(), Violation> {
        let Some(sending) = self.sources[source].send(&mut self.random) else { return Ok(()) };
        let reordered = self.setup.canary == Some(Canary::Reordered) && self.random.one_in(3);
        let other = if reordered { self.sources[source].send(&mut self.random) } else { None };
        let later = other.as_ref().map(|other| other.group.clone());
        let mut groups = vec![sending.group.clone()];
        // A canary: the second comes first.
        groups.splice(0..0, later);
        self.groups += 1;
        let group = self.groups;
        for Sending { visible, .. } in [Some(sending), other].into_iter().flatten() {
            let entry = |(number, transaction)| Entry { source, number, group, transaction };
            self.entries.extend(visible.into_iter().map(entry));
        }
        // As the product does: who can send again waits, who cannot is told.
        let on_full = if source == OWN { OnFull::Refuse } else { OnFull::Wait };
        groups.iter().try_for_each(|appended| process.append((group, source), appended, on_full))
    }

    /// The log's writer makes a step.
    pub(super) fn write(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
        let before = self.acknowledged;
        let was_full = process.log.full().is_some();
        let progress = process.writer.step();
        self.went_on += u64::from(was_full && process.log.full().is_none());
        if progress == Progress::Full {
            self.full(process)?;
        }
        let mut answers = process.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut failure, is_over) = (None, process.log.failure().is_some());
        for Answer { group, source, result } in answers.drain(..) {
            // What was refused has no Time.
            let expected = self.entries.partition_point(|entry| entry.group <= group) as u64;
            match result {
                Err(LogError::DiskFull { .. }) if source == OWN && !is_over => {
                    self.disk.say(|| format!("group {group} is refused"));
                    self.entries.retain(|entry| entry.group != group);
                }
                Ok(time) if time.0 == expected || self.setup.canary.is_some() => {
                    self.acknowledged = self.acknowledged.max(time.0);
                }
                Ok(time) => {
                    let what = format!("order: {time} was acknowledged for what is at {expected}");
                    return Err(violation(what));
                }
                Err(error) => failure = Some(error),
            }
        }
        drop(answers);
        if self.acknowledged > before
            && let Some(place) = self.disk.latest_write()
        {
            self.disk.say(|| format!("acknowledged up to {}", self.acknowledged));
            self.harmed.retain(|harm| !harm.meets(&place));
            self.written.push(Written { place, upto: self.acknowledged });
        }
        self.look_at_creation(process);
        if let Some(error) = &failure {
            self.disk.say(|| format!("the log stops: {}", told(error)));
            self.failed(process, error)?;
        }
        if progress == Progress::Ended && failure.is_none() && process.log.failure().is_none() {
            return Err(violation("the log stopped and does not say why"));
        }
        Ok(None)
    }

    /// Judges that there is no room, and reads on.
    pub(super) fn full(&mut self, process: &Process) -> Result<(), Violation> {
        if !self.is_small {
            return Err(violation("availability: there is room, and the log does not write"));
        }
        if process.log.failure().is_some() || process.log.full().is_none() {
            return Err(violation("availability: the log waits for room and does not say so"));
        }
        self.disk.say(|| "no room".to_owned());
        self.reads_on(process)
    }

    /// Judges that the log stopped, and reads on.
    pub(super) fn failed(&mut self, process: &Process, error: &LogError) -> Result<(), Violation> {
        if self.disk.is_down() {
            return Ok(());
        }
        if !self.is_faulty || !["LOG001", "LOG002", "LOG003"].contains(&error.code()) {
            return Err(violation(format!("availability: the log stopped: {}", told(error))));
        }
        if process.log.upper().0 - 1 != self.acknowledged {
            let upper = process.log.upper();
            let what = format!("durability: upper is {upper} after {}", self.acknowledged);
            return Err(violation(what));
        }
        self.reads_on(process)
    }

    /// Readers go on.
    pub(super) fn reads_on(&self, process: &Process) -> Result<(), Violation> {
        match check::log_is(&process.log, &self.entries, self.setup.canary)? {
            Some(LogError::Io { .. }) | None => Ok(()),
            Some(_) if !self.disk.harm().is_empty() => Ok(()),
            Some(error) => {
                Err(violation(format!("availability: a reader stopped too: {}", told(&error))))
            }
        }
    }

    /// The views move on.
    pub(super) fn follow(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
        match process.follower.step(&mut self.random) {
            Ok(_moved) => {
                let views = process.follower.views();
                let noted = process.follower.noted();
                check::views_are(views, &self.entries, noted, &mut self.states)?;
                self.look_at_creation(process);
                Ok(None)
            }
            Err(Stopped::Log(error)) => self.unreadable(&error).map(Some),
            Err(Stopped::Wrong(wrong)) => Err(wrong),
        }
    }

    /// A sink writes to its target, which may go away.
    pub(super) fn deliver(
        &mut self,
        process: &mut Process,
        view: usize,
    ) -> Result<bool, Violation> {
        if self.random.one_in(4) {
            let operations = self.random.index(8);
            self.targets[view].fail_after(operations);
        }
        let moved = process.follower.deliver(view)?;
        check::targets_are(&self.targets, &self.entries, self.acknowledged, &mut self.states)?;
        Ok(moved)
    }
}
