//! What a step has changed so far, for operators that look at it at the step's end.
//!
//! Rows of bytes with diffs, in the order in which they came; equal ones are summed whenever their number has doubled,
//! so the memory is bounded by the different rows that a step touches. A row whose diffs cancel out stays: it was
//! touched, and may have brought a partition about that must be forgotten.

use crate::arrangement::number;

/// Rows and diffs of a step.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    rows: Vec<Piece>,
    /// Rows are summed when there are more.
    limit: usize,
}

/// A row of a step.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    length: u32,
    diff: i64,
}

/// The changes of a step: sorted, each row once, also with diff zero.
pub(super) struct Deltas {
    bytes: Vec<u8>,
    rows: Vec<Piece>,
}

/// A row's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delta<'a> {
    pub(super) row: &'a [u8],
    pub(super) diff: i64,
}

/// How many bytes the number of a partition takes at the beginning of a row.
pub(super) const PARTITION_BYTES: usize = 4;

const ROWS_MIN: usize = 65_536;

impl Pending {
    /// Adds a row that is given in parts.
    pub(super) fn add(&mut self, parts: &[&[u8]], diff: i64) {
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let length = number(self.bytes.len() - start);
        self.rows.push(Piece { start, length, diff });
        if self.rows.len() > self.limit.max(ROWS_MIN) {
            self.consolidate();
            self.limit = self.rows.len() * 2;
        }
    }

    /// Returns what changed, and is empty again.
    pub(super) fn take(&mut self) -> Deltas {
        self.consolidate();
        let Self { bytes, rows, .. } = std::mem::take(self);
        Deltas { bytes, rows }
    }

    fn consolidate(&mut self) {
        let old = std::mem::take(&mut self.bytes);
        let row = |piece: &Piece| &old[piece.start..piece.start + piece.length as usize];
        self.rows.sort_by(|a, b| row(a).cmp(row(b)));
        let mut summed = Vec::new();
        for run in self.rows.chunk_by(|a, b| row(a) == row(b)) {
            let diff = run.iter().fold(0_i64, |sum, piece| sum.wrapping_add(piece.diff));
            let start = self.bytes.len();
            self.bytes.extend_from_slice(row(&run[0]));
            summed.push(Piece { start, length: run[0].length, diff });
        }
        self.rows = summed;
    }
}

impl Deltas {
    /// How many rows changed.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row's change, by its place among the changes.
    pub(super) fn get(&self, at: usize) -> Delta<'_> {
        let piece = self.rows[at];
        let row = &self.bytes[piece.start..piece.start + piece.length as usize];
        Delta { row, diff: piece.diff }
    }

    /// The changes of each partition, as ranges of places, from a place on at which one begins.
    pub(super) fn partitions(&self, from: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut start = from;
        std::iter::from_fn(move || {
            if start == self.len() {
                return None;
            }
            let partition = &self.get(start).row[..PARTITION_BYTES];
            let end = (start..self.len())
                .find(|&at| &self.get(at).row[..PARTITION_BYTES] != partition)
                .unwrap_or(self.len());
            let found = start..end;
            start = end;
            Some(found)
        })
    }

    /// The changes at places.
    pub(super) fn slice(&self, places: std::ops::Range<usize>) -> Vec<Delta<'_>> {
        places.map(|at| self.get(at)).collect()
    }
}

/// The number of a row's partition.
pub(super) fn partition_of(row: &[u8]) -> u32 {
    let bytes = row[..PARTITION_BYTES].try_into().expect("a row begins with its partition");
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_as_they_come_and_in_order_at_the_end() {
        let mut pending = Pending::default();
        for round in 0..200_000_u32 {
            let partition = (round % 3).to_be_bytes();
            pending.add(&[&partition, &[u8::try_from(round % 5).unwrap()]], 1);
        }
        assert!(pending.rows.len() <= ROWS_MIN + 1);
        pending.add(&[&9_u32.to_be_bytes()], 1);
        pending.add(&[&9_u32.to_be_bytes()], -1);
        let deltas = pending.take();
        assert_eq!(deltas.len(), 16);
        assert_eq!(deltas.partitions(0).collect::<Vec<_>>(), [0..5, 5..10, 10..15, 15..16]);
        assert_eq!(deltas.partitions(10).collect::<Vec<_>>(), [10..15, 15..16]);
        let sum: i64 = deltas.slice(0..15).iter().map(|delta| delta.diff).sum();
        assert_eq!(sum, 200_000);
        assert_eq!(deltas.get(15), Delta { row: &9_u32.to_be_bytes(), diff: 0 });
        assert_eq!(partition_of(deltas.get(15).row), 9);
    }
}
