//! Retention: what is older than a table's limit is folded into a base, and its room is given back.
//!
//! ```text
//! segments of before:  changes of t ──► base of t: what they came to
//!                      changes of u ──► stay, in a segment that was rewritten without those of t
//! ```
//!
//! A table is folded up to a border between two segments. Its **base** is a file with the rows that the table has
//! there. What follows the border is the tail: base and tail give the table at every later Time. A reader from the
//! beginning gets the bases, and what is kept of other tables up to `since`, the latest border, as one transaction.
//!
//! What holds:
//!
//! - **Nothing goes before what it came to is durable.** A fold writes its bases, has their hashes logged, then renames
//!   the list of bases into place: this is the moment at which it happens. Only then segments are rewritten, one by one,
//!   each renamed into place. After a crash what was begun is finished, or was never begun.
//! - **Offsets stay.** A rewritten segment's frames keep the offsets that they had, so every place that anybody knows
//!   (of parts, of indexes, of readers) stays right, and no number of a segment goes.
//! - **Proofs stay.** A rewritten frame keeps the hashes of the pieces that went, so its leaves can be computed still; of
//!   a frame of which nothing stays, the tree's tiles hold the leaves, and are durable before.
//! - **Nothing goes from under a reader**: a fold stops where the last one in this process is. One in another process
//!   is told ([`LogError::Pruned`](crate::LogError::Pruned)).
//!
//! Evert's own tables are never folded: they are small, and say which life of a table its changes belong to.

mod again;
mod base;
mod fold;
mod list;
mod net;
mod reading;
mod thin;

pub(crate) use again::listed_again;
pub(crate) use base::BaseReader;
pub(crate) use fold::record_of;
pub use fold::{Fold, FoldOutcome, folds_table};
pub use list::FoldedTable;
pub(crate) use list::{Base, Bases, LIST, clear, exercise, file_name, load, parse, path, read};
pub(crate) use reading::Folded;

/// Where the bases are, below the log's directory.
pub(crate) const DIRECTORY: &str = "base";
