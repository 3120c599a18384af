//! Where the time goes: a stopwatch that one thread hands from stage to stage.
//!
//! Stages call each other depth first, so at any moment one of them is at work. Whoever takes its turn reads the clock
//! once, and what has passed since the turn before is the time of who had that one: one reading a stage and batch, and
//! none at all without a clock. A stage that goes on after others have had their turns takes a turn again.

/// Nanoseconds since a moment that stays the same.
pub type Clock = fn() -> u64;

/// Who is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A stage.
    Stage(usize),
    /// The sum of what a view changed by.
    View(usize),
    /// None that is told apart.
    Nobody,
}

/// The nanoseconds that stages and views took.
pub(crate) struct Timer {
    clock: Option<Clock>,
    turn: Turn,
    since: u64,
    stages: Vec<u64>,
    views: Vec<u64>,
}

impl Timer {
    /// A stopwatch that reads a clock, or never moves.
    pub(crate) fn new(clock: Option<Clock>) -> Self {
        Self { clock, turn: Turn::Nobody, since: 0, stages: Vec::new(), views: Vec::new() }
    }

    /// Ends the turn before, and begins one.
    pub(crate) fn turn(&mut self, turn: Turn) {
        let Some(clock) = self.clock else { return };
        let now = clock();
        let passed = now.saturating_sub(self.since);
        let (all, at) = match self.turn {
            Turn::Stage(at) => (&mut self.stages, at),
            Turn::View(at) => (&mut self.views, at),
            Turn::Nobody => {
                (self.turn, self.since) = (turn, now);
                return;
            }
        };
        if all.len() <= at {
            all.resize(at + 1, 0);
        }
        all[at] += passed;
        (self.turn, self.since) = (turn, now);
    }

    /// The nanoseconds of all the turns of one.
    pub(crate) fn nanoseconds(&self, of: Turn) -> u64 {
        let found = match of {
            Turn::Stage(at) => self.stages.get(at),
            Turn::View(at) => self.views.get(at),
            Turn::Nobody => None,
        };
        found.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static READINGS: Cell<u64> = const { Cell::new(0) };
    }

    /// A clock on which ten nanoseconds pass between two readings.
    fn tick() -> u64 {
        READINGS.with(|readings| {
            readings.set(readings.get() + 1);
            readings.get() * 10
        })
    }

    #[test]
    fn each_has_the_time_from_its_turn_to_the_next() {
        let mut timer = Timer::new(Some(tick));
        for turn in [Turn::Stage(1), Turn::Stage(0), Turn::Stage(1), Turn::View(0), Turn::Nobody] {
            timer.turn(turn);
        }
        timer.turn(Turn::Stage(0));
        assert_eq!(READINGS.get(), 6, "one reading a turn");
        assert_eq!(timer.nanoseconds(Turn::Stage(0)), 10, "its last turn goes on");
        assert_eq!(timer.nanoseconds(Turn::Stage(1)), 20);
        assert_eq!(timer.nanoseconds(Turn::View(0)), 10);
        assert_eq!(timer.nanoseconds(Turn::View(7)), 0);
    }

    #[test]
    fn without_a_clock_nothing_is_measured() {
        let mut timer = Timer::new(None);
        timer.turn(Turn::Stage(0));
        timer.turn(Turn::Nobody);
        assert_eq!((READINGS.get(), timer.nanoseconds(Turn::Stage(0))), (0, 0));
    }
}
