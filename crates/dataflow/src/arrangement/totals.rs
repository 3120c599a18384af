//! A few words of sums for each key.

use super::StateSize;

/// Words by key number, all zero at first.
pub(crate) struct Totals {
    width: usize,
    words: Vec<u64>,
}

impl Totals {
    /// Makes totals of `width` words a key.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, words: Vec::new() }
    }

    /// Makes room for the keys below `upper`.
    pub(crate) fn reserve(&mut self, upper: usize) {
        if self.words.len() < upper * self.width {
            self.words.resize(upper * self.width, 0);
        }
    }

    /// The key's words.
    pub(crate) fn get(&self, key: u32) -> &[u64] {
        let start = key as usize * self.width;
        &self.words[start..start + self.width]
    }

    /// The key's words, to change.
    pub(crate) fn get_mut(&mut self, key: u32) -> &mut [u64] {
        let start = key as usize * self.width;
        &mut self.words[start..start + self.width]
    }

    /// Brings some keys' first words into the processor's cache, all at once.
    pub(crate) fn touch(&self, keys: &[u32]) {
        let first = |&key: &u32| self.words[key as usize * self.width];
        std::hint::black_box(keys.iter().map(first).fold(0, |seen, word| seen ^ word));
    }

    /// Sets the key's words to zero.
    pub(crate) fn clear(&mut self, key: u32) {
        self.get_mut(key).fill(0);
    }

    /// How much the totals hold, the rows not counted.
    pub(crate) fn size(&self) -> StateSize {
        StateSize { rows: 0, bytes: self.words.capacity() * 8 }
    }
}
