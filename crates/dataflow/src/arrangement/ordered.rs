//! Rows in order, each with its count.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use super::StateSize;

/// A multiset of rows that is read in the order of their bytes.
#[derive(Default)]
pub(crate) struct Ordered {
    rows: BTreeMap<Box<[u8]>, i64>,
    bytes: usize,
}

/// What an entry costs besides its bytes, about.
const ENTRY_BYTES: usize = 40;

impl Ordered {
    /// Adds `diff` to a row's count and returns the count before.
    pub(crate) fn add(&mut self, row: &[u8], diff: i64) -> i64 {
        if diff == 0 {
            return self.rows.get(row).copied().unwrap_or(0);
        }
        match self.rows.entry(row.into()) {
            Entry::Vacant(entry) => {
                entry.insert(diff);
                self.bytes += row.len() + ENTRY_BYTES;
                0
            }
            Entry::Occupied(mut entry) => {
                let before = *entry.get();
                *entry.get_mut() = before.wrapping_add(diff);
                if before.wrapping_add(diff) == 0 {
                    entry.remove();
                    self.bytes -= row.len() + ENTRY_BYTES;
                }
                before
            }
        }
    }

    /// The rows that begin with `prefix` and are there, in order.
    pub(crate) fn within<'a, 'p>(
        &'a self,
        prefix: &'p [u8],
    ) -> impl Iterator<Item = (&'a [u8], i64)> + use<'a, 'p> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let rows = self.rows.range::<[u8], _>(from);
        let rows = rows.take_while(move |(row, _)| row.starts_with(prefix));
        rows.filter(|(_, count)| **count > 0).map(|(row, count)| (&**row, *count))
    }

    /// The first row that begins with `prefix`.
    pub(crate) fn first(&self, prefix: &[u8]) -> Option<&[u8]> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let mut rows =
            self.rows.range::<[u8], _>(from).take_while(|(row, _)| row.starts_with(prefix));
        rows.find(|(_, count)| **count > 0).map(|(row, _)| &**row)
    }

    /// The last row that begins with `prefix`, which is not all 255.
    pub(crate) fn last(&self, prefix: &[u8]) -> Option<&[u8]> {
        let end = successor(prefix);
        let within = (Bound::Included(prefix), Bound::Excluded(&end[..]));
        let mut rows = self.rows.range::<[u8], _>(within).rev();
        rows.find(|(_, count)| **count > 0).map(|(row, _)| &**row)
    }

    /// How much is held.
    pub(crate) fn size(&self) -> StateSize {
        StateSize { rows: self.rows.len(), bytes: self.bytes }
    }
}

/// The least bytes that are greater than all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    assert!(!end.is_empty() || prefix.is_empty(), "the prefix has a successor");
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_stay_within_the_prefix_and_skip_rows_that_are_not_there() {
        let mut rows = Ordered::default();
        for (row, diff) in [("a1", 1), ("b1", -1), ("b2", 2), ("b7", 1), ("b9", -1), ("c1", 1)] {
            assert_eq!(rows.add(row.as_bytes(), diff), 0);
        }
        assert_eq!(rows.first(b"b"), Some(&b"b2"[..]));
        assert_eq!(rows.last(b"b"), Some(&b"b7"[..]));
        assert_eq!(rows.first(b"d"), None);
        assert_eq!(rows.last(b"d"), None);
        assert_eq!(rows.add(b"b7", -1), 1);
        assert_eq!(rows.last(b"b"), Some(&b"b2"[..]));
        assert_eq!(rows.within(b"").count(), 3);
        assert_eq!(rows.within(b"b").collect::<Vec<_>>(), [(&b"b2"[..], 2)]);
    }

    #[test]
    fn the_successor_of_a_prefix_carries_over() {
        assert_eq!(successor(&[1, 255, 255]), [2]);
        assert_eq!(successor(&[1, 2]), [1, 3]);
    }
}
