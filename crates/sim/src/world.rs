//! A run: processes are started one after the other on the same disk, and each is stopped.
//!
//! ```text
//! sources ──► log (its writer stepped by hand) ──► dataflow ──► views ──► outboxes ──► targets
//!    outlive the process      on the disk             die with the process             outlive it
//! ```
//!
//! After everything that happens, the checkers look. In the end the disk is well, everything is brought to its end, and
//! all must be equal; or the disk was harmed in a way that one copy cannot survive, and that must have been said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use change::Time;
use log::{Log, LogError, LogOptions, LogWriter, OnFull, Progress, Recovery};

use crate::canary::Canary;
use crate::check::{self, Entry, States};
use crate::clock;
use crate::disk::{Extent, Faults, SimDisk, Stop};
use crate::follower::{Follower, Stopped};
use crate::random::Random;
use crate::setup::Setup;
use crate::source::{OWN, SOURCES, Sending, Source};
use crate::tables::TABLES;
use crate::target::Target;
use crate::violation::{Violation, told, violation};

/// Where the log is.
const DIR: &str = "/data/log";

/// How a run ended, when nothing was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was brought to its end, and was equal.
    Equal,
    /// The disk was harmed, and the log said so, with this code, and guessed nothing.
    Reported(&'static str),
    /// The last writes were lost by harm that looks like a torn end.
    EndLost,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// How many steps the disk made.
    pub steps: u64,
    /// How many transactions were acknowledged.
    pub acknowledged: u64,
    /// How often history was folded.
    pub folds: u64,
    /// How often the log had no room, and went on when there was some.
    pub went_on: u64,
    /// A hash of all that the disk did and answered.
    pub trace: u64,
}

/// How a process's life ended.
enum End {
    /// The next one may start.
    Ended,
    /// The run is over.
    Over(Outcome),
}

/// A write that was acknowledged.
struct Written {
    place: Extent,
    /// The Times up to this one are in it, or before.
    upto: u64,
}

/// What the log says of a group.
struct Answer {
    group: u64,
    source: usize,
    result: Result<Time, LogError>,
}

/// A process.
struct Process {
    log: Log,
    writer: LogWriter,
    follower: Follower,
    answers: Arc<Mutex<Vec<Answer>>>,
}

/// What outlives the processes.
pub(crate) struct World {
    setup: Setup,
    random: Random,
    /// Chance of what is folded.
    folding: Random,
    folds: u64,
    disk: SimDisk,
    sources: Vec<Source>,
    targets: Vec<Target>,
    /// What was appended, by Time, as far as it may still be in the log.
    entries: Vec<Entry>,
    /// How many groups were appended.
    groups: u64,
    /// How many of the entries are known to be durable.
    acknowledged: u64,
    written: Vec<Written>,
    /// What was harmed when some process opened the log, which may have cut it off since.
    harmed: Vec<Extent>,
    states: States,
    harms_left: u64,
    /// Whether the disk may fail now, so that a refusal needs no other reason.
    is_faulty: bool,
    /// Whether the disk has little room now.
    is_small: bool,
    went_on: u64,
    /// Whether the last process closed the log in order on a disk that did not fail.
    was_closed: bool,
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        clock::set(1_700_000_000_000_000);
        let disk = SimDisk::new(setup.disk, Random::new(setup.seed, setup.disk_stream));
        disk.tell(setup.listener);
        Self {
            setup: setup.clone(),
            random: Random::new(setup.seed, 3),
            folding: Random::new(setup.seed, 5),
            folds: 0,
            disk,
            sources: (0..SOURCES.len()).map(Source::new).collect(),
            targets: crate::model::VIEWS.iter().map(|_| Target::new(setup.canary)).collect(),
            entries: Vec::new(),
            groups: 0,
            acknowledged: 0,
            written: Vec::new(),
            harmed: Vec::new(),
            states: States::default(),
            harms_left: setup.harms,
            is_faulty: false,
            is_small: false,
            went_on: 0,
            was_closed: false,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Report, Violation> {
        let outcome = self.lives()?;
        self.disarm();
        if self.disk.is_down() {
            self.disk.restart(Stop::Process);
        }
        check::scrub_agrees(&self.disk, Path::new(DIR), &outcome, self.setup.canary)?;
        let (steps, trace) = (self.disk.steps(), self.disk.trace());
        let (acknowledged, went_on, folds) = (self.acknowledged, self.went_on, self.folds);
        Ok(Report { outcome, steps, acknowledged, went_on, folds, trace })
    }

    fn lives(&mut self) -> Result<Outcome, Violation> {
        for life in 0..self.setup.lives {
            self.arm(life);
            if let End::Over(outcome) = self.live()? {
                return Ok(outcome);
            }
        }
        self.disarm();
        self.finish()
    }

    /// Decides what will go wrong in a life.
    fn arm(&mut self, life: u64) {
        self.disarm();
        let index = usize::try_from(life).expect("few lives");
        if !self.setup.stops.is_empty() {
            let stop = self.setup.stops.get(index).map(|(steps, _)| self.disk.steps() + steps);
            return self.disk.stop_at(stop);
        }
        let stops_at = self.random.between(1, 70);
        if self.random.one_in(2) {
            self.disk.stop_at(Some(self.disk.steps() + stops_at));
        }
        if self.random.one_in(2) {
            self.disk.set_faults(self.setup.faults);
            self.is_faulty = true;
        }
        if self.setup.mix.is_full() && self.random.one_in(2) {
            let room = self.random.index(12_000);
            self.set_room(Some(room));
            self.is_faulty = true;
        }
    }

    fn set_room(&mut self, room: Option<usize>) {
        self.disk.say(|| format!("room: {room:?}"));
        self.disk.set_room(room);
        self.is_small = room.is_some();
    }

    /// Makes the disk well, but for the harm that was done.
    fn disarm(&mut self) {
        self.disk.set_faults(Faults::default());
        self.set_room(None);
        self.disk.stop_at(None);
        self.is_faulty = false;
    }

    /// Stops the machine or the process, and makes ready for the next one.
    fn stop(&mut self, stop: Stop) {
        self.disk.restart(stop);
        if self.random.one_in(20) {
            clock::advance(self.random.signed(-10_000_000_000, 10_000_000_000));
        }
        if self.setup.canary == Some(Canary::CutTooMuch) && self.random.one_in(3) {
            self.cut_too_much();
        }
        if self.setup.canary == Some(Canary::IgnoredChecksum) && self.random.one_in(3) {
            self.forge();
        }
        let harms = self.random.below(self.harms_left + 1);
        for _ in 0..harms {
            self.harm();
        }
    }

    fn harm(&mut self) {
        self.harms_left = self.harms_left.saturating_sub(1);
        self.disk.rot(self.random.one_in(5));
    }

    fn options(&self) -> LogOptions {
        LogOptions {
            segment_bytes_max: self.setup.segment_bytes(),
            queue_bytes_max: u64::MAX,
            compression: self.setup.compression(),
            log_id: Some([7; 16]),
        }
    }

    fn open(&self) -> Result<(Log, LogWriter, Recovery), LogError> {
        let disk = Arc::new(self.disk.clone());
        Log::open_stepped(Path::new(DIR), self.options(), disk, clock::now_us)
    }

    /// How the next stop comes.
    fn stop_kind(&mut self) -> Stop {
        if let Some((_, stop)) = self.setup.stops.first().copied() {
            self.setup.stops.rotate_left(1);
            return stop;
        }
        self.random.pick(&[Stop::Process, Stop::Power])
    }

    /// A process starts, works and is stopped.
    fn live(&mut self) -> Result<End, Violation> {
        let mut process = match self.start()? {
            Ok(process) => process,
            Err(end) => return Ok(end),
        };
        for _ in 0..self.setup.actions {
            if let Some(end) = self.act(&mut process)? {
                return Ok(end);
            }
            if self.disk.is_down() || process.log.failure().is_some() {
                break;
            }
        }
        if self.setup.stops.is_empty() && self.random.one_in(4) {
            return self.close(process);
        }
        self.kill(process);
        Ok(End::Ended)
    }

    /// Stops a process where it is.
    fn kill(&mut self, process: Process) {
        // The writer first, for it would be told that the log is closed.
        drop(process.writer);
        drop((process.log, process.follower));
        let stop = self.stop_kind();
        self.stop(stop);
    }

    /// Opens the log, and looks whether everything is there.
    fn start(&mut self) -> Result<Result<Process, End>, Violation> {
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
        let follower = Follower::new(&log, &self.targets, workers, canary)?;
        Ok(Ok(Process { log, writer, follower, answers: Arc::default() }))
    }

    /// Opens once more what was just recovered: nothing may be different.
    fn reopen(&mut self, first: &Recovery) -> Result<(), Violation> {
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
    fn refused(
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
    fn reconcile(
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
    fn read_all(&mut self, log: &Log) -> Result<Option<End>, Violation> {
        match check::log_is(log, &self.entries, self.setup.canary)? {
            Some(error) => self.unreadable(&error).map(Some),
            None => Ok(None),
        }
    }

    /// Judges that the log could not be read.
    fn unreadable(&mut self, error: &LogError) -> Result<End, Violation> {
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

    /// Something happens.
    fn act(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
        if self.setup.folds && self.folding.one_in(4) {
            return self.fold(process);
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

    /// The history of some tables is folded, up to where it may be.
    ///
    /// What is logged of it goes through the same writer as everything else, and is left out here.
    fn fold(&mut self, process: &Process) -> Result<Option<End>, Violation> {
        // What a target holds is what it goes on from.
        let held = self.targets.iter().map(|target| target.held().0);
        let held = held.filter(|held| *held > Time::ZERO).min().unwrap_or(Time(u64::MAX));
        let mut wanted = BTreeMap::new();
        for table in TABLES {
            if self.folding.one_in(2) {
                let upto = Time(self.folding.between(0, 3 * self.acknowledged));
                wanted.insert(table.schema().name().clone(), upto.min(held));
            }
        }
        // It may be ended anywhere, as when the process is told to stop.
        let mut left = if self.folding.one_in(3) { self.folding.below(12) } else { u64::MAX };
        let mut pace = |_| {
            left = left.saturating_sub(1);
            left > 0
        };
        let before = process.log.folded();
        let folded = process.log.prepare_fold(&wanted, &mut pace);
        let folded = folded.and_then(|fold| fold.map(|fold| fold.commit(&mut pace)).transpose());
        let failed = match folded {
            Ok(outcome) => {
                if outcome.is_some() {
                    self.folds += 1;
                    let (before, after) = (before.len(), process.log.folded());
                    self.disk.say(|| format!("folded: {before} bases before, now {after:?}"));
                }
                check::history_is(&process.log, &self.entries)?
            }
            Err(error) => Some(error),
        };
        match failed {
            Some(error) => {
                self.disk.say(|| format!("not folded: {}", told(&error)));
                self.unreadable(&error).map(Some)
            }
            None => self.read_all(&process.log),
        }
    }

    /// A source hands over what it has to say next.
    fn append(&mut self, process: &Process, source: usize) -> Result<(), Violation> {
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
        for appended in groups {
            let answers = Arc::clone(&process.answers);
            let done = move |result| {
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.push(Answer { group, source, result });
            };
            let appended = process.log.append_with(&appended, on_full, Box::new(done));
            appended.map_err(|error| violation(format!("a group is refused: {}", told(&error))))?;
        }
        Ok(())
    }

    /// The log's writer makes a step.
    fn write(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
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
    fn full(&mut self, process: &Process) -> Result<(), Violation> {
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
    fn failed(&mut self, process: &Process, error: &LogError) -> Result<(), Violation> {
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
    fn reads_on(&self, process: &Process) -> Result<(), Violation> {
        match check::log_is(&process.log, &self.entries, self.setup.canary)? {
            Some(LogError::Io { .. }) | None => Ok(()),
            Some(_) if !self.disk.harm().is_empty() => Ok(()),
            Some(error) => {
                Err(violation(format!("availability: a reader stopped too: {}", told(&error))))
            }
        }
    }

    /// The views move on.
    fn follow(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
        match process.follower.step(&mut self.random) {
            Ok(_moved) => {
                let views = process.follower.views();
                check::views_are(views, &self.entries, &mut self.states)?;
                Ok(None)
            }
            Err(Stopped::Log(error)) => self.unreadable(&error).map(Some),
            Err(Stopped::Wrong(wrong)) => Err(wrong),
        }
    }

    /// A sink writes to its target, which may go away.
    fn deliver(&mut self, process: &mut Process, view: usize) -> Result<bool, Violation> {
        if self.random.one_in(4) {
            let operations = self.random.index(8);
            self.targets[view].fail_after(operations);
        }
        let moved = process.follower.deliver(view)?;
        check::targets_are(&self.targets, &self.entries, self.acknowledged, &mut self.states)?;
        Ok(moved)
    }

    /// Another process opens the log to read it.
    fn look_from_outside(&mut self) -> Result<Option<End>, Violation> {
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

    fn unreadable_outside(&self, error: &LogError) -> bool {
        !self.disk.harm().is_empty()
            || (!is_damage(error) && (self.is_faulty || self.disk.is_down()))
    }

    /// A process ends in order.
    fn close(&mut self, mut process: Process) -> Result<End, Violation> {
        process.log.close();
        while process.log.failure().is_none_or(|error| matches!(error, LogError::Closed)) {
            let ended = process.writer.step() == Progress::Ended;
            if let Some(end) = self.write(&mut process)? {
                return Ok(end);
            }
            if ended {
                break;
            }
        }
        let closed = matches!(process.log.failure(), Some(LogError::Closed));
        self.was_closed = closed && !self.is_faulty && !self.disk.is_down();
        self.kill(process);
        Ok(End::Ended)
    }

    /// With the disk well, everything is brought to its end.
    fn finish(&mut self) -> Result<Outcome, Violation> {
        let mut process = match self.start()? {
            Ok(process) => process,
            Err(End::Over(outcome)) => return Ok(outcome),
            Err(End::Ended) => return Err(violation("availability: a disk without faults failed")),
        };
        for source in 0..SOURCES.len() {
            self.sources[source].commit(&mut self.random);
            while self.sources[source].backlog() > 0 {
                self.append(&process, source)?;
            }
        }
        while self.acknowledged < self.entries.len() as u64 {
            self.write(&mut process)?;
        }
        let mut moved = true;
        while moved {
            let before = process.follower.views().snapshot().time;
            if let Some(End::Over(outcome)) = self.follow(&mut process)? {
                return Ok(outcome);
            }
            moved = process.follower.views().snapshot().time > before;
            for view in 0..process.follower.count() {
                moved |= self.deliver(&mut process, view)?;
            }
        }
        self.all_is_equal(&process)?;
        if let End::Over(outcome) = self.close(process)? {
            return Ok(outcome);
        }
        match self.start()? {
            Ok(process) => {
                drop(process.writer);
                Ok(Outcome::Equal)
            }
            Err(End::Over(outcome)) => Ok(outcome),
            Err(End::Ended) => Err(violation("availability: a disk without faults failed")),
        }
    }

    fn all_is_equal(&self, process: &Process) -> Result<(), Violation> {
        let (last, views) = (Time(self.acknowledged), process.follower.views());
        if views.snapshot().time != last {
            let time = views.snapshot().time;
            return Err(violation(format!("view: all is quiet at {time} instead of {last}")));
        }
        for (name, target) in crate::model::VIEWS.iter().zip(&self.targets) {
            let (held, _) = target.held();
            if held != last {
                return Err(violation(format!("sink: {name} is quiet at {held}, not {last}")));
            }
        }
        Ok(())
    }

    /// A canary: cuts off the last write that was acknowledged.
    fn cut_too_much(&mut self) {
        if let Some(written) = self.written.pop() {
            self.disk.cut(&written.place.path, written.place.bytes.start);
        }
    }

    /// A canary: changes a byte of a text and makes all checksums right.
    fn forge(&mut self) {
        crate::forge::forge(&self.disk, &mut self.random);
    }
}

/// Whether an error says that what was durable once is not there.
fn is_damage(error: &LogError) -> bool {
    matches!(error.code(), "LOG004" | "LOG005")
}
