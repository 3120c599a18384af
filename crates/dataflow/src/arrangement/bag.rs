//! The rows of each key, with their counts.
//!
//! The entries of a key are a doubly linked list, so a join walks them; a hash table leads from a key and a row to its
//! entry, so a change finds it in constant time however many rows the key has.
//!
//! Invariant: each row occurs in one entry of its key. An entry with count zero is removed by [`Bag::sweep`], at the
//! end of a step; until then its number stays valid.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use change::map::HashTable;

use super::keys::hash_bytes;
use super::{Codec, Encoded, Floats, Heap, NONE, Place, StateSize, number};

/// Rows by key number.
pub(crate) struct Bag {
    codec: Codec,
    heap: Heap,
    entries: Vec<Entry>,
    heads: Vec<u32>,
    table: HashTable<u32>,
    free: Vec<u32>,
    /// Entries that had count zero at some moment of this step.
    zeros: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    count: i64,
    place: Place,
    key: u32,
    next: u32,
    previous: u32,
}

impl Bag {
    /// Makes an empty bag of rows with columns of the given types.
    pub(crate) fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        Ok(Self {
            codec: Codec::new(types, Floats::Kept)?,
            heap: Heap::default(),
            entries: Vec::new(),
            heads: Vec::new(),
            table: HashTable::new(),
            free: Vec::new(),
            zeros: Vec::new(),
        })
    }

    /// Encodes rows for [`add`](Self::add).
    pub(crate) fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded, ArrowError> {
        self.codec.encode(columns)
    }

    /// Adds `diff` to the count of a key's row; returns its entry, and whether that is new.
    pub(crate) fn add(&mut self, key: u32, row: &[u8], diff: i64) -> (u32, bool) {
        let hash = hash_bytes(row) ^ u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (entries, heap) = (&self.entries, &self.heap);
        let same = |&at: &u32| {
            let entry = &entries[at as usize];
            entry.hash == hash && entry.key == key && heap.get(entry.place) == row
        };
        let found = self.table.find(hash, same).copied();
        let at = found.unwrap_or_else(|| self.insert(key, row, hash));
        let entry = &mut self.entries[at as usize];
        entry.count += diff;
        if entry.count == 0 {
            self.zeros.push(at);
        }
        (at, found.is_none())
    }

    /// The entries of a key.
    pub(crate) fn entries(&self, key: u32) -> impl Iterator<Item = u32> {
        let head = self.heads.get(key as usize).copied().unwrap_or(NONE);
        let entry = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(entry(head), move |&at| entry(self.entries[at as usize].next))
    }

    /// How often an entry's row is there.
    pub(crate) fn count(&self, entry: u32) -> i64 {
        self.entries[entry as usize].count
    }

    /// One more than the largest entry.
    pub(crate) fn upper(&self) -> usize {
        self.entries.len()
    }

    /// Returns the columns of entries' rows.
    pub(crate) fn columns(&self, entries: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let bytes = |&at: &u32| self.heap.get(self.entries[at as usize].place);
        self.codec.decode(entries.iter().map(bytes))
    }

    /// Ends the step: removes the rows with count zero, and tells each one's entry and key to `removed`.
    pub(crate) fn sweep(&mut self, mut removed: impl FnMut(u32, u32)) {
        let mut zeros = std::mem::take(&mut self.zeros);
        zeros.sort_unstable();
        zeros.dedup();
        for &at in &zeros {
            let entry = self.entries[at as usize];
            if entry.count == 0 {
                self.remove(at, &entry);
                removed(at, entry.key);
            }
        }
        zeros.clear();
        self.zeros = zeros;
    }

    /// Whether a key has no entry.
    pub(crate) fn is_unused(&self, key: u32) -> bool {
        self.heads.get(key as usize).is_none_or(|&head| head == NONE)
    }

    /// How much the bag holds.
    pub(crate) fn size(&self) -> StateSize {
        let bytes = self.heap.bytes()
            + self.entries.capacity() * size_of::<Entry>()
            + self.heads.capacity() * 4
            + self.table.allocation_size();
        StateSize { rows: self.entries.len() - self.free.len(), bytes }
    }

    fn insert(&mut self, key: u32, row: &[u8], hash: u64) -> u32 {
        if self.heads.len() <= key as usize {
            self.heads.resize(key as usize + 1, NONE);
        }
        let head = self.heads[key as usize];
        let place = self.heap.put(row);
        let entry = Entry { hash, count: 0, place, key, next: head, previous: NONE };
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
        if head != NONE {
            self.entries[head as usize].previous = at;
        }
        self.heads[key as usize] = at;
        let entries = &self.entries;
        self.table.insert_unique(hash, at, |&at| entries[at as usize].hash);
        at
    }

    fn remove(&mut self, at: u32, entry: &Entry) {
        match entry.previous {
            NONE => self.heads[entry.key as usize] = entry.next,
            previous => self.entries[previous as usize].next = entry.next,
        }
        if entry.next != NONE {
            self.entries[entry.next as usize].previous = entry.previous;
        }
        let found = self.table.find_entry(entry.hash, |&other| other == at);
        found.expect("every entry is in the table").remove();
        self.heap.free(entry.place);
        self.free.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_key_and_freed_at_the_end_of_the_step() {
        let mut bag = Bag::new(&[DataType::Int64]).unwrap();
        let (a, new) = bag.add(3, b"a", 1);
        assert!(new);
        let (b, _) = bag.add(3, b"b", 1);
        let (other, _) = bag.add(4, b"a", 1);
        assert_eq!(bag.entries(3).collect::<Vec<_>>(), [b, a]);
        assert_eq!(bag.add(3, b"a", -1), (a, false));
        assert_eq!(bag.add(3, b"b", 4), (b, false));
        assert_eq!(bag.count(a), 0);
        assert_eq!(bag.entries(3).count(), 2, "the number stays valid within the step");
        let mut gone = Vec::new();
        bag.sweep(|entry, key| gone.push((entry, key)));
        assert_eq!(gone, [(a, 3)]);
        assert_eq!(bag.entries(3).collect::<Vec<_>>(), [b]);
        assert_eq!(bag.entries(4).collect::<Vec<_>>(), [other]);
        bag.add(3, b"b", -5);
        bag.add(3, b"b", 1);
        bag.sweep(|_, _| panic!("b came back"));
        assert!(!bag.is_unused(3) && bag.is_unused(5));
    }
}
