//! A log that came back from a backup, on a disk of its own: whether it is what it says, also when it is ended earlier.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup::Manifest;
use change::Time;
use log::{Cut, Disk, Log, LogError, LogOptions};

use crate::canary::Canary;
use crate::check::{self, Entry, States};
use crate::clock;
use crate::disk::{DiskOptions, Omissions, SimDisk};
use crate::follower::{Follower, Stopped};
use crate::model::VIEWS;
use crate::random::Random;
use crate::source::OWN;
use crate::target::Target;
use crate::violation::{Violation, told, violation};

/// Where it is restored to.
const DIR: &str = "/restored/log";

/// The identity of a log that was ended earlier.
const ANOTHER: [u8; 16] = [8; 16];

/// What came back.
pub(crate) struct Restored {
    manifest: Manifest,
    files: Vec<(String, Vec<u8>)>,
    canary: Option<Canary>,
}

/// Why what came back cannot be compared any further.
enum Ended {
    /// It cannot be read.
    Unreadable(LogError),
    /// It is wrong.
    Wrong(Violation),
}

impl From<Violation> for Ended {
    fn from(wrong: Violation) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Stopped> for Ended {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Log(error) => Self::Unreadable(error),
            Stopped::Wrong(wrong) => Self::Wrong(wrong),
        }
    }
}

impl Restored {
    pub(crate) fn new(
        manifest: Manifest,
        files: Vec<(String, Vec<u8>)>,
        canary: Option<Canary>,
    ) -> Self {
        Self { manifest, files, canary }
    }

    /// The first Time that it does not hold.
    pub(crate) fn upper(&self) -> Time {
        Time(self.manifest.upper)
    }

    /// Compares it with what was appended, and with the log that was backed up. What was copied from a
    /// harmed disk may be damaged, if it says so; wrong it may not be.
    pub(crate) fn check(
        &self,
        (entries, original): (&[Entry], &Log),
        is_tainted: bool,
        random: &mut Random,
    ) -> Result<(), Violation> {
        let checked = self.whole((entries, original), is_tainted, random);
        let checked = checked.and_then(|()| self.ended_earlier(entries, is_tainted, random));
        match checked {
            Ok(()) => Ok(()),
            Err(Ended::Unreadable(_)) if is_tainted => Ok(()),
            Err(Ended::Unreadable(error)) => {
                Err(violation(format!("backup: what came back cannot be read: {}", told(&error))))
            }
            Err(Ended::Wrong(Violation { what })) => {
                Err(violation(format!("backup: what came back: {what}")))
            }
        }
    }

    /// Everything that was backed up is there, and nothing else.
    fn whole(
        &self,
        (entries, original): (&[Entry], &Log),
        is_tainted: bool,
        random: &mut Random,
    ) -> Result<(), Ended> {
        let disk = self.disk(random)?;
        let (log, recovery) = Log::open_read_only(Path::new(DIR), Arc::clone(&disk))?;
        if recovery.upper != self.upper() && !is_tainted {
            let (is, said) = (recovery.upper, self.upper());
            return Err(violation(format!("it ends before {is}, and {said} was said")).into());
        }
        if recovery.cut_bytes > 0 && !is_tainted {
            return Err(violation(format!("it is torn: {recovery:?}")).into());
        }
        let entries = prefix(entries, recovery.upper.0 - 1)?;
        if let Some(error) = check::log_is(&log, entries, None)? {
            return Err(error.into());
        }
        if let Some(error) = check::history_is(&log, entries)? {
            return Err(error.into());
        }
        check::recovery_is(&recovery, entries)?;
        if log.folds_said_by(&log.folded())?.is_none() {
            return Err(violation("what was folded is nowhere said").into());
        }
        views_are(&log, entries, random)?;
        if original.stat().since == Time::ZERO {
            // What has the same leaves has the same bytes.
            let size = recovery.upper.0 - 1;
            if let (Ok(was), is) = (original.audit(&[size], 0), log.audit(&[size], 0)?)
                && was.roots != is.roots
            {
                return Err(violation("its tree is another one").into());
            }
        }
        drop(log);
        let options = LogOptions { log_id: Some(ANOTHER), ..LogOptions::default() };
        let opened = Log::open_stepped(Path::new(DIR), options, disk, clock::now_us)?;
        let (log, writer, again) = opened;
        drop((writer, log));
        if again != recovery {
            return Err(
                violation(format!("to be written it is {again:?}, not {recovery:?}")).into()
            );
        }
        Ok(())
    }

    /// Ended at an earlier Time, it is what it was at that Time.
    fn ended_earlier(
        &self,
        entries: &[Entry],
        is_tainted: bool,
        random: &mut Random,
    ) -> Result<(), Ended> {
        let (since, upper) = (self.manifest.since.max(1), self.manifest.upper);
        if since >= upper || is_tainted {
            return Ok(());
        }
        let disk = self.disk(random)?;
        let last = random.between(since, upper - 1);
        let late = self.canary == Some(Canary::CutLate) && last + 1 < upper;
        let cut_at = Time(last + u64::from(late));
        let cut = log::cut(Path::new(DIR), cut_at, ANOTHER, &disk)?;
        let Cut { kept, folds_said_again, .. } = cut;
        if cut.last != cut_at || kept > cut.last {
            return Err(violation(format!("ended at {last}, it is {cut:?}")).into());
        }
        let (log, recovery) = Log::open_read_only(Path::new(DIR), disk)?;
        let mut expected = prefix(entries, last)?.to_vec();
        if folds_said_again {
            let (source, number, group) = (OWN, 0, 0);
            expected.push(Entry { source, number, group, transaction: Arc::default() });
        }
        let upper = Time(expected.len() as u64 + 1);
        if (recovery.upper, recovery.log_id) != (upper, ANOTHER) {
            return Err(violation(format!("ended at {last}, it is {recovery:?}")).into());
        }
        let before = prefix(entries, last)?;
        if let Some(error) = check::log_is_with(&log, before, folds_said_again)? {
            return Err(error.into());
        }
        check::recovery_is(&recovery, before)?;
        views_are(&log, &expected, random)
    }

    /// A new disk that has the files, durably.
    fn disk(&self, random: &mut Random) -> Result<Arc<dyn Disk>, Ended> {
        let failed =
            |error| LogError::Io { action: "restore", path: DIR.into(), source: Arc::new(error) };
        let omissions = Omissions::default();
        let options = DiskOptions { sector_bytes: 512, names_in_order: true, omissions };
        let disk = SimDisk::new(options, random.split());
        let mut paths: Vec<PathBuf> = Vec::new();
        for (path, bytes) in &self.files {
            let path = Path::new(DIR).join(path);
            if let Some(dir) = path.parent() {
                disk.create_dir(dir).map_err(failed)?;
            }
            let file = disk.create(&path).map_err(failed)?;
            file.write_at(&[bytes.as_slice()], 0).map_err(failed)?;
            paths.push(path);
        }
        disk.sync_all(&paths).map_err(failed)?;
        if self.canary == Some(Canary::RestoredWrong) {
            crate::forge::forge(&disk, random);
        }
        Ok(Arc::new(disk))
    }
}

/// The first of them.
fn prefix(entries: &[Entry], count: u64) -> Result<&[Entry], Violation> {
    let wanted = usize::try_from(count).expect("in memory");
    let all = entries.len();
    entries.get(..wanted).ok_or_else(|| violation(format!("it has {count} of {all} transactions")))
}

/// Whether all views over a log are what they must be at its end.
fn views_are(log: &Log, entries: &[Entry], random: &mut Random) -> Result<(), Ended> {
    let targets: Vec<Target> = VIEWS.iter().map(|_| Target::new(None)).collect();
    let created = check::created(entries, Time(u64::MAX));
    let mut follower = Follower::new(log, &targets, (1, &created), None)?;
    while follower.step(random)? {}
    let (time, end) = (follower.views().snapshot().time, Time(entries.len() as u64));
    if time != end {
        return Err(violation(format!("its views end at {time}, not {end}")).into());
    }
    check::views_are(follower.views(), entries, end, &mut States::default())?;
    Ok(())
}
