//! Long texts, each kept once.
//!
//! A row of words holds a text of more than twelve bytes by a number. Equal texts have equal numbers, so rows are
//! compared by their words alone. Each stored row that holds a text is counted; a text that no row holds any more is
//! freed at the end of the step, so a number that was given out for probing stays valid until then.

use change::map::HashTable;

use super::keys::hash_bytes;
use super::{Heap, Place, number};

/// Texts by number.
#[derive(Default)]
pub(crate) struct Texts {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    heap: Heap,
    free: Vec<u32>,
    /// Texts that no row held at some moment of this step.
    loose: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    place: Place,
    rows: u32,
}

impl Texts {
    /// The text's number; a new text has one that no row holds yet.
    pub(crate) fn number(&mut self, text: &[u8]) -> u32 {
        let hash = hash_bytes(text);
        let (entries, heap) = (&self.entries, &self.heap);
        let same = |&at: &u32| {
            let entry = &entries[at as usize];
            entry.hash == hash && heap.get(entry.place) == text
        };
        if let Some(&at) = self.table.find(hash, same) {
            return at;
        }
        let entry = Entry { hash, place: self.heap.put(text), rows: 0 };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                number(self.entries.len() - 1)
            }
        };
        let entries = &self.entries;
        self.table.insert_unique(hash, at, |&at| entries[at as usize].hash);
        self.loose.push(at);
        at
    }

    /// The text of a number.
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        self.heap.get(self.entries[number as usize].place)
    }

    /// One more row holds the text.
    pub(crate) fn hold(&mut self, number: u32) {
        self.entries[number as usize].rows += 1;
    }

    /// One row less holds the text.
    pub(crate) fn release(&mut self, number: u32) {
        let entry = &mut self.entries[number as usize];
        entry.rows -= 1;
        if entry.rows == 0 {
            self.loose.push(number);
        }
    }

    /// Ends the step: frees the texts that no row holds.
    pub(crate) fn sweep(&mut self) {
        let mut loose = std::mem::take(&mut self.loose);
        loose.sort_unstable();
        loose.dedup();
        for &at in &loose {
            let entry = self.entries[at as usize];
            if entry.rows == 0 {
                let found = self.table.find_entry(entry.hash, |&other| other == at);
                found.expect("every text is in the table").remove();
                self.heap.free(entry.place);
                self.free.push(at);
            }
        }
        loose.clear();
        self.loose = loose;
    }

    /// Bytes in use, about.
    pub(crate) fn bytes(&self) -> usize {
        self.heap.bytes()
            + self.entries.capacity() * size_of::<Entry>()
            + self.table.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_until_no_row_holds_it() {
        let mut texts = Texts::default();
        let first = texts.number(b"a text that is long");
        let second = texts.number(b"another one that is long");
        assert_ne!(first, second);
        assert_eq!(texts.number(b"a text that is long"), first);
        texts.hold(first);
        texts.sweep();
        assert_eq!(texts.get(first), b"a text that is long");
        assert_eq!(texts.number(b"a third one, which is long"), second, "the free number is used");
        texts.hold(second);
        texts.release(first);
        texts.hold(first);
        texts.sweep();
        assert_eq!(texts.number(b"a text that is long"), first, "it was held again in time");
        texts.release(first);
        texts.sweep();
        assert_eq!(texts.number(b"a fourth one, which is new"), first);
    }
}
