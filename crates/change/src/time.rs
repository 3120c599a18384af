//! The log's one order.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A transaction's place in the log's one order.
///
/// The first transaction has Time 1. [`Time::ZERO`] is before everything: a collection at Time 0 is empty.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The Time before the first transaction.
    pub const ZERO: Self = Self(0);

    /// Returns the Time `count` transactions later.
    ///
    /// # Panics
    /// When the log would hold more than `u64::MAX` transactions.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("fewer than 2^64 transactions"))
    }

    /// Returns the next Time.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
