//! A run: processes are started one after the other on the same disk, and each is stopped.
//!
//! ```text
//! sources ──► log (its writer stepped by hand) ──► dataflow ──► views ──► outboxes ──► targets
//!    outlive the process      on the disk             die with the process             outlive it
//! ```
//!
//! After everything that happens, the checkers look. In the end the disk is well, everything is brought to its end, and
//! all must be equal; or the disk was harmed in a way that one copy cannot survive, and that must have been said.

mod acting;
mod backing_up;
mod creating;
mod ending;
mod folding;
mod opening;

use std::path::Path;
use std::sync::{Arc, Mutex};

use change::Time;
use log::{Log, LogError, LogOptions, LogWriter, Recovery};

use crate::canary::Canary;
use crate::check::{self, Entry, States};
use crate::clock;
use crate::disk::{Extent, Faults, SimDisk, Stop};
use crate::filling::Creation;
use crate::follower::Follower;
use crate::random::Random;
use crate::setup::Setup;
use crate::source::{SOURCES, Source};
use crate::target::Target;
use crate::violation::Violation;
use backing_up::Backups;
use folding::Told;

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
    /// How many views were created, filled and shown while a process ran.
    pub fills: u64,
    /// How many backups were made.
    pub backups: u64,
    /// How often one was restored and compared.
    pub restores: u64,
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
    creation: Option<Creation>,
    fold: Option<Told>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

/// What outlives the processes.
pub(crate) struct World {
    setup: Setup,
    random: Random,
    /// Chance of what is folded.
    folding: Random,
    folds: u64,
    /// Chance of views that are created.
    creating: Random,
    fills: u64,
    backups: Backups,
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
            creating: Random::new(setup.seed, 7),
            fills: 0,
            backups: Backups::new(setup.seed),
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
        let (place, last) = ((&self.disk, Path::new(DIR)), self.written.last());
        let last = last.map(|written| &written.place);
        check::scrub_agrees(place, last, &outcome, self.setup.canary)?;
        let (steps, trace) = (self.disk.steps(), self.disk.trace());
        let (acknowledged, went_on, folds) = (self.acknowledged, self.went_on, self.folds);
        let (fills, Backups { made: backups, restored: restores, .. }) = (self.fills, self.backups);
        Ok(Report { outcome, steps, acknowledged, folds, fills, backups, restores, went_on, trace })
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
        self.backups.end();
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
        drop((process.log, process.follower, process.creation, process.fold));
        let stop = self.stop_kind();
        self.stop(stop);
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
