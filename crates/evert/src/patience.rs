//! How long to wait before something that failed for a passing reason is tried again.

use std::time::Duration;

/// The pause after the first attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pauses between attempts, each twice as long as the one before, up to a limit.
pub(crate) struct Patience {
    next: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { next: PAUSE_MIN }
    }

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut patience = Patience::new();
        let pauses: Vec<_> = (0..8).map(|_| patience.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }
}
