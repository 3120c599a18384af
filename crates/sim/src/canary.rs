//! Bugs to order: each must be caught, which proves that the checkers see.
//!
//! Nothing in the product can be switched to be wrong. A canary sits at a border of what is simulated and makes it look
//! as if the code behind had the bug: a log that does not sync is a log whose disk does not when it is asked to.

use change::Time;
use log::Chunk;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// The log acknowledges what it has not synced.
    NoSync,
    /// The log does not sync directories.
    NoDirectorySync,
    /// Recovery cuts more than the torn end.
    CutTooMuch,
    /// A checksum is ignored: changed bytes are read as if they were right.
    IgnoredChecksum,
    /// Damage is read as the end of the log.
    DamageIsTheEnd,
    /// A source's transactions are appended in another order than its own.
    Reordered,
    /// After a restart a source goes on one transaction too late.
    Skipped,
    /// After a restart a source sends a transaction again that the log has.
    Repeated,
    /// A view never hears of a row that went.
    Resurrected,
    /// A step ends amid a transaction.
    HalfTransaction,
    /// A step crosses the Time that a sink holds.
    CrossedTime,
    /// A sink writes a step again without asking whether the target holds it.
    AppliedTwice,
    /// A sink's rows and its Time are written one after the other.
    TimeApart,
    /// A fold forgets that a row was deleted.
    RowKept,
    /// A view that was filled is shown as it was a while ago.
    HandedOverEarly,
    /// A backup lacks the last frame that it says it has.
    BackedUpShort,
    /// A restore changes a byte, and makes all checksums right.
    RestoredWrong,
    /// A copy is ended one transaction later than it was told.
    CutLate,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::NoSync,
        Self::NoDirectorySync,
        Self::CutTooMuch,
        Self::IgnoredChecksum,
        Self::DamageIsTheEnd,
        Self::Reordered,
        Self::Skipped,
        Self::Repeated,
        Self::Resurrected,
        Self::HalfTransaction,
        Self::CrossedTime,
        Self::AppliedTwice,
        Self::TimeApart,
        Self::RowKept,
        Self::HandedOverEarly,
        Self::BackedUpShort,
        Self::RestoredWrong,
        Self::CutLate,
    ];

    /// Whether it needs a run in which views are created.
    pub(crate) fn is_of_fills(self) -> bool {
        self == Self::HandedOverEarly
    }

    /// Whether it needs a run in which backups are made.
    pub(crate) fn is_of_backups(self) -> bool {
        matches!(self, Self::BackedUpShort | Self::RestoredWrong | Self::CutLate)
    }

    /// A chunk as the log gives it: with the bug that it is a base with a row that is not in the table any more.
    pub(crate) fn read(canary: Option<Self>, mut chunk: Chunk, since: Time) -> Chunk {
        if canary == Some(Self::RowKept) && !chunk.complete && chunk.last == since {
            for table in &mut chunk.tables {
                if let Some(with) = crate::tables::with_an_old_row(table) {
                    *table = with;
                }
            }
        }
        chunk
    }

    /// The name by which it is ordered.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
