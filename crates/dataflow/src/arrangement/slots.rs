//! At most one row for each key.

use super::{Heap, Place, StateSize};

/// Rows by key number, overwritten in place.
#[derive(Default)]
pub(crate) struct Slots {
    heap: Heap,
    places: Vec<Option<Place>>,
    rows: usize,
}

impl Slots {
    /// The key's row.
    pub(crate) fn get(&self, key: u32) -> Option<&[u8]> {
        let place = self.places.get(key as usize).copied().flatten()?;
        Some(self.heap.get(place))
    }

    /// Sets the key's row.
    pub(crate) fn set(&mut self, key: u32, row: &[u8]) {
        self.remove(key);
        if self.places.len() <= key as usize {
            self.places.resize(key as usize + 1, None);
        }
        self.places[key as usize] = Some(self.heap.put(row));
        self.rows += 1;
    }

    /// Removes the key's row, if there is one.
    pub(crate) fn remove(&mut self, key: u32) {
        if let Some(place) = self.places.get_mut(key as usize).and_then(Option::take) {
            self.heap.free(place);
            self.rows -= 1;
        }
    }

    /// The rows, by ascending key number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().flatten().map(|&place| self.heap.get(place))
    }

    /// How much the slots hold.
    pub(crate) fn size(&self) -> StateSize {
        StateSize { rows: self.rows, bytes: self.heap.bytes() + self.places.capacity() * 8 }
    }
}
