//! Arrangements: all that the engine remembers between two steps.
//!
//! A collection is a function from rows to integers: how often each row is there. An arrangement is a collection
//! arranged for looking up: a key leads to rows, and each row has a weight, which is one number or several that are
//! summed alike. An operator holds arrangements and nothing else that outlives a step; so what is written to disk,
//! moved to another worker or dropped from memory is decided here and nowhere else. The pieces:
//!
//! - [`Keys`] gives every key a small number, dense and reused. Everything else is indexed by that number. Keys of one
//!   word are found by their place among their neighbours ([`Words`](words)), others by their hash ([`Index`](index)).
//! - [`Space`] is keys that several arrangements share, and forgets those that none of them holds.
//! - [`Rows`] holds the rows of each key with their counts, as words: a side of a join.
//! - [`Bands`] finds, of the rows of a long run, those that an interval meets.
//! - [`Slots`] and [`Shown`] hold at most one row of each key, as bytes or as words: a table with a primary key, the
//!   row that an aggregate has shown.
//! - [`Totals`] holds a few words of sums for each key: groups.
//! - [`Ordered`] holds rows in order with their counts: a minimum's candidates, a list's elements.
//! - [`Ranked`] holds them with their places as well, and sums over any range of places: a top-k, windows.
//!
//! All that are words lie in [`Pages`], which never move. Rows are kept as words, or as bytes of Arrow's row format
//! ([`Codec`]) in pages of a [`Heap`]. Weights may be negative inside of a step, because parts of it arrive in any order;
//! at its end they are not. What reaches weight zero gives its number back only at the end of the step, so numbers stay
//! valid until then.

mod bands;
mod codec;
mod heap;
mod index;
mod keys;
mod layout;
mod ordered;
mod pages;
mod ranked;
mod rows;
mod shown;
mod slots;
mod space;
mod texts;
mod totals;
mod words;

pub(crate) use bands::{Bands, Interval, Met};
pub(crate) use codec::{Codec, Encoded, Floats};
pub(crate) use heap::{Heap, Place};
pub(crate) use keys::{Keys, Nulls, mix};
pub(crate) use ordered::Ordered;
pub(crate) use pages::Pages;
pub(crate) use ranked::{Entry, Measure, Nothing, Rank, Ranked};
pub(crate) use rows::{Added, Rows, RowsOptions, TOUCHED_ROWS};
pub(crate) use shown::Shown;
pub(crate) use slots::Slots;
pub(crate) use space::Space;
pub(crate) use texts::Texts;
pub(crate) use totals::Totals;

/// No key, no entry.
pub(crate) const NONE: u32 = u32::MAX;

/// How much an arrangement holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Rows, groups or values.
    pub rows: usize,
    /// Bytes of memory, about.
    pub bytes: usize,
}

impl std::ops::Add for StateSize {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, bytes: self.bytes + other.bytes }
    }
}

/// Turns a number of things into the numbers that arrangements use.
///
/// # Panics
/// When there are 2^32 or more: they would need more memory than one worker addresses.
pub(crate) fn number(count: usize) -> u32 {
    u32::try_from(count).ok().filter(|&n| n != NONE).expect("fewer than 2^32 - 1 entries")
}
