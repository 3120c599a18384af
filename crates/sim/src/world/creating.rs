//! Views are created while everything goes on, and filled between other things that happen.

use super::{End, Process, World};
use crate::check;
use crate::filling::{Creation, Filling, late_name};
use crate::follower::Stopped;
use crate::model::VIEWS;
use crate::source::OWN;
use crate::violation::{Violation, violation};

/// How often what creates a view is moved, in the end, before it is said to stand still.
const PATIENCE: usize = 1_000;

impl World {
    /// What creates a view goes on, or begins.
    pub(super) fn create(&mut self, process: &mut Process) -> Result<Option<End>, Violation> {
        let created = match process.creation.take() {
            None => return self.begin_creation(process).map(|()| None),
            Some(Creation::Filling(mut filling)) => match filling.step(&mut self.creating) {
                Ok(true) => Ok(Creation::Near(filling)),
                Ok(false) => Ok(Creation::Filling(filling)),
                Err(stopped) => Err(stopped),
            },
            Some(Creation::Near(filling)) => self.hand_over(process, filling)?,
            Some(told @ Creation::Told { .. }) => Ok(told),
        };
        match created {
            Ok(creation) => process.creation = Some(creation),
            Err(Stopped::Log(error)) => return self.unreadable(&error).map(Some),
            Err(Stopped::Wrong(wrong)) => return Err(wrong),
        }
        Ok(None)
    }

    fn begin_creation(&mut self, process: &mut Process) -> Result<(), Violation> {
        let there = check::created(&self.entries, change::Time(u64::MAX));
        let free: Vec<usize> = (0..VIEWS.len()).filter(|view| !there.contains(view)).collect();
        if free.is_empty() {
            return Ok(());
        }
        let view = self.creating.pick(&free);
        self.disk.say(|| format!("{} is being filled", late_name(view)));
        process.creation = Some(Creation::Filling(Filling::new(&process.log, view)?));
        Ok(())
    }

    /// What maintains all others takes a view over, if it has come as far. Then the log is told.
    fn hand_over(
        &mut self,
        process: &mut Process,
        filling: Filling,
    ) -> Result<Result<Creation, Stopped>, Violation> {
        let (view, at) = (filling.view(), filling.at());
        match process.follower.adopt(filling) {
            Ok(None) => {}
            Ok(Some(ahead)) => return Ok(Ok(Creation::Near(ahead))),
            Err(stopped) => return Ok(Err(stopped)),
        }
        self.disk.say(|| format!("{} is handed over, filled up to {at}", late_name(view)));
        self.sources[OWN].create_view(&late_name(view));
        while self.sources[OWN].backlog() > 0 {
            self.append(process, OWN)?;
        }
        Ok(Ok(Creation::Told { view, group: self.groups }))
    }

    /// Looks what became of a view of which the log was told.
    pub(super) fn look_at_creation(&mut self, process: &mut Process) {
        let Some(Creation::Told { view, group }) = process.creation else { return };
        if !self.entries.iter().any(|entry| entry.group == group) {
            // There was no room for it.
            self.disk.say(|| format!("{} is abandoned", late_name(view)));
            process.follower.abandon(view);
            process.creation = None;
        } else if !process.follower.hides(view) {
            self.disk.say(|| format!("{} is shown", late_name(view)));
            self.fills += 1;
            process.creation = None;
        }
    }

    /// With the disk well, a view that is being created is brought to its end.
    pub(super) fn finish_creation(
        &mut self,
        process: &mut Process,
    ) -> Result<Option<End>, Violation> {
        for _ in 0..PATIENCE {
            if process.creation.is_none() {
                return Ok(None);
            }
            for end in [self.create(process)?, self.write(process)?, self.follow(process)?] {
                if end.is_some() {
                    return Ok(end);
                }
            }
        }
        Err(violation("availability: a view is being created for ever"))
    }
}
