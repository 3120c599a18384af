//! The simulated clock. It moves when the disk works, and sometimes jumps, also back, as wall clocks do.
//!
//! The log asks for the time through a plain function, so the time is kept for each thread; a run has one thread.

use std::cell::Cell;

thread_local! {
    static NOW_US: Cell<i64> = const { Cell::new(0) };
}

/// Begins at a time.
pub(crate) fn set(now_us: i64) {
    NOW_US.set(now_us);
}

/// Moves on, or back.
pub(crate) fn advance(by_us: i64) {
    NOW_US.set(now_us().saturating_add(by_us));
}

/// The time, in microseconds since 1970 UTC.
#[must_use]
pub(crate) fn now_us() -> i64 {
    NOW_US.get()
}
