//! The clock that measures how long operators take.

use std::sync::LazyLock;
use std::time::Instant;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The nanoseconds since this was asked first, in this process.
pub(crate) fn nanoseconds() -> u64 {
    u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
