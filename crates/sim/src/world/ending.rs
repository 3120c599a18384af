//! How a process ends in order, and how a run does.

use change::Time;
use log::{LogError, Progress};

use super::{End, Outcome, Process, World};
use crate::source::SOURCES;
use crate::violation::{Violation, violation};

impl World {
    /// A process ends in order.
    pub(super) fn close(&mut self, mut process: Process) -> Result<End, Violation> {
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
    pub(super) fn finish(&mut self) -> Result<Outcome, Violation> {
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
        if self.setup.fills && process.creation.is_none() {
            self.create(&mut process)?;
        }
        if let Some(End::Over(outcome)) = self.finish_creation(&mut process)? {
            return Ok(outcome);
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
        if self.setup.backups {
            self.finish_backup(&process)?;
        }
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

    pub(super) fn all_is_equal(&self, process: &Process) -> Result<(), Violation> {
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
}
