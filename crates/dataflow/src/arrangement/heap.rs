//! Bytes of rows, in pages.
//!
//! A row lies in a slot of whole units of 16 bytes, its length before it. Freed slots are kept by size and used again,
//! so nothing is ever moved and no step waits for a compaction. Rows larger than a quarter of a page have an
//! allocation of their own.
//!
//! Invariant: a [`Place`] is valid from [`Heap::put`] until [`Heap::free`].

const UNIT_BYTES: usize = 16;
const PAGE_BYTES: usize = 1 << 20;
const PAGE_UNITS: usize = PAGE_BYTES / UNIT_BYTES;
const LENGTH_BYTES: usize = 4;
/// Slots of up to this many units have a list of free ones for each size; larger ones for each power of two.
const EXACT_UNITS: usize = 64;
/// Marks a place among the large rows.
const LARGE: u32 = 1 << 31;

/// Where a row's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// Pages of rows.
#[derive(Default)]
pub(crate) struct Heap {
    pages: Vec<Box<[u8]>>,
    /// Units used of the last page.
    used_units: usize,
    free: Vec<Vec<u32>>,
    large: Vec<Box<[u8]>>,
    large_free: Vec<u32>,
    live_bytes: usize,
}

impl Heap {
    /// Stores bytes.
    ///
    /// # Panics
    /// When more than 32 GiB of small rows are stored.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Place {
        let units = (LENGTH_BYTES + bytes.len()).div_ceil(UNIT_BYTES);
        if units > PAGE_UNITS / 4 {
            return self.put_large(bytes);
        }
        let (class, units) = size_class(units);
        self.live_bytes += units * UNIT_BYTES;
        let at = match self.free.get_mut(class).and_then(Vec::pop) {
            Some(at) => at,
            None => self.extend(units),
        };
        let length = u32::try_from(bytes.len()).expect("a quarter of a page at most");
        let slot = &mut self.pages[at as usize / PAGE_UNITS];
        let start = at as usize % PAGE_UNITS * UNIT_BYTES;
        slot[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        slot[start + LENGTH_BYTES..start + LENGTH_BYTES + bytes.len()].copy_from_slice(bytes);
        Place(at)
    }

    /// The bytes at a place.
    pub(crate) fn get(&self, place: Place) -> &[u8] {
        if place.0 & LARGE != 0 {
            return &self.large[(place.0 & !LARGE) as usize];
        }
        let page = &self.pages[place.0 as usize / PAGE_UNITS];
        let start = place.0 as usize % PAGE_UNITS * UNIT_BYTES;
        let (length, rest) = page[start..].split_at(LENGTH_BYTES);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        &rest[..length as usize]
    }

    /// Gives a place back.
    pub(crate) fn free(&mut self, place: Place) {
        if place.0 & LARGE != 0 {
            let index = place.0 & !LARGE;
            self.live_bytes -= std::mem::take(&mut self.large[index as usize]).len();
            self.large_free.push(index);
            return;
        }
        let units = (LENGTH_BYTES + self.get(place).len()).div_ceil(UNIT_BYTES);
        let (class, units) = size_class(units);
        self.live_bytes -= units * UNIT_BYTES;
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        self.free[class].push(place.0);
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.live_bytes
    }

    /// Takes units from the last page, or from a new one.
    fn extend(&mut self, units: usize) -> u32 {
        if self.pages.is_empty() || self.used_units + units > PAGE_UNITS {
            self.pages.push(vec![0; PAGE_BYTES].into_boxed_slice());
            self.used_units = 0;
        }
        let at = (self.pages.len() - 1) * PAGE_UNITS + self.used_units;
        self.used_units += units;
        u32::try_from(at).ok().filter(|at| at & LARGE == 0).expect("at most 32 GiB of small rows")
    }

    fn put_large(&mut self, bytes: &[u8]) -> Place {
        self.live_bytes += bytes.len();
        if let Some(index) = self.large_free.pop() {
            self.large[index as usize] = bytes.into();
            return Place(index | LARGE);
        }
        self.large.push(bytes.into());
        Place(super::number(self.large.len() - 1) | LARGE)
    }
}

/// The list of free slots that a size belongs to, and the units that such a slot has.
fn size_class(units: usize) -> (usize, usize) {
    if units <= EXACT_UNITS {
        return (units, units);
    }
    let units = units.next_power_of_two();
    (EXACT_UNITS + units.ilog2() as usize, units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_size_come_back_and_their_space_is_used_again() {
        let row = |length: usize| -> Vec<u8> {
            (0..length).map(|at| u8::try_from((at * 7 + length) % 251).unwrap()).collect()
        };
        let lengths = [0, 1, 12, 13, 100, 1_004, 1_020, 1_021, 9_000, 262_139, 262_141, 3_000_000];
        let mut heap = Heap::default();
        for _ in 0..50 {
            let places: Vec<Place> = lengths.iter().map(|&length| heap.put(&row(length))).collect();
            for (&place, &length) in places.iter().zip(&lengths) {
                assert_eq!(heap.get(place), row(length));
            }
            for place in places {
                heap.free(place);
            }
            assert_eq!(heap.bytes(), 0);
        }
        assert!(heap.pages.len() <= 2, "{} pages", heap.pages.len());
        assert_eq!(heap.large.len(), 2);
    }
}
