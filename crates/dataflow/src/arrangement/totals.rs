//! A few words of sums for each key.

use super::{Pages, StateSize};

/// Words by key number, all zero at first.
pub(crate) struct Totals {
    words: Pages,
}

impl Totals {
    /// Makes totals of `width` words a key.
    pub(crate) fn new(width: usize) -> Self {
        Self { words: Pages::new(width) }
    }

    /// How many words a key has.
    pub(crate) fn width(&self) -> usize {
        self.words.stride()
    }

    /// One more than the largest key that there is room for.
    pub(crate) fn upper(&self) -> usize {
        self.words.rows()
    }

    /// Makes room for the keys below `upper`.
    pub(crate) fn reserve(&mut self, upper: usize) {
        self.words.reserve(upper);
    }

    /// The key's words.
    pub(crate) fn get(&self, key: u32) -> &[u64] {
        self.words.row(key)
    }

    /// The key's words, to change.
    pub(crate) fn get_mut(&mut self, key: u32) -> &mut [u64] {
        self.words.row_mut(key)
    }

    /// Brings some keys' first words into the processor's cache, all at once.
    pub(crate) fn touch(&self, keys: &[u32]) {
        let first = |&key: &u32| self.words.word(key, 0);
        std::hint::black_box(keys.iter().map(first).fold(0, |seen, word| seen ^ word));
    }

    /// Sets the key's words to zero.
    pub(crate) fn clear(&mut self, key: u32) {
        self.get_mut(key).fill(0);
    }

    /// How much the totals hold, the rows not counted.
    pub(crate) fn size(&self) -> StateSize {
        StateSize { rows: 0, bytes: self.words.bytes() }
    }
}
