//! Words in pages that never move.
//!
//! A large vector that grows is copied again and again, and each time the system hands out, and clears, memory for all
//! of it; in between there are two of them. Rows here lie in pages of [`PAGE_ROWS`] rows: growing is one more page,
//! whatever is there already. Only the first page grows by doubling, so that small stores stay small.

/// A page has room for so many rows: a power of two.
pub(crate) const PAGE_ROWS: usize = 1 << SHIFT;

const SHIFT: u32 = 12;

/// Rows of a few words each, by number.
pub(crate) struct Pages {
    stride: usize,
    pages: Vec<Vec<u64>>,
    rows: usize,
}

impl Pages {
    /// Makes pages for rows of `stride` words.
    pub(crate) fn new(stride: usize) -> Self {
        Self { stride, pages: Vec::new(), rows: 0 }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How many words a row has.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// A row.
    #[inline]
    pub(crate) fn row(&self, at: u32) -> &[u64] {
        self.slice(at, 1)
    }

    /// A row, if there is one with the number.
    pub(crate) fn get(&self, at: u32) -> Option<&[u64]> {
        ((at as usize) < self.rows).then(|| self.row(at))
    }

    /// A row, to change.
    #[inline]
    pub(crate) fn row_mut(&mut self, at: u32) -> &mut [u64] {
        let start = within(at) * self.stride;
        &mut self.pages[page(at)][start..start + self.stride]
    }

    /// A word of a row.
    #[inline]
    pub(crate) fn word(&self, at: u32, word: usize) -> u64 {
        self.pages[page(at)][within(at) * self.stride + word]
    }

    /// Rows that lie side by side in one page.
    ///
    /// # Panics
    /// When they do not.
    #[inline]
    pub(crate) fn slice(&self, first: u32, rows: usize) -> &[u64] {
        let start = within(first) * self.stride;
        &self.pages[page(first)][start..start + rows * self.stride]
    }

    /// [`slice`](Self::slice), to change.
    #[inline]
    pub(crate) fn slice_mut(&mut self, first: u32, rows: usize) -> &mut [u64] {
        let start = within(first) * self.stride;
        &mut self.pages[page(first)][start..start + rows * self.stride]
    }

    /// Makes so many rows at least; new ones are zero.
    pub(crate) fn reserve(&mut self, rows: usize) {
        if rows <= self.rows {
            return;
        }
        self.rows = rows;
        let words = |rows: usize| rows * self.stride;
        match self.pages.first_mut() {
            Some(first) => first.resize(words(rows.min(PAGE_ROWS)).max(first.len()), 0),
            None => self.pages.push(vec![0; words(rows.min(PAGE_ROWS))]),
        }
        while self.pages.len() * PAGE_ROWS < rows {
            self.pages.push(vec![0; words(PAGE_ROWS)]);
        }
    }

    /// How many rows must be left out at the end so that `rows` more lie in one page.
    pub(crate) fn gap(&self, rows: usize) -> usize {
        let left = PAGE_ROWS - self.rows % PAGE_ROWS;
        if rows > left { left } else { 0 }
    }

    /// Copies rows to where others are; the two do not overlap.
    pub(crate) fn copy(&mut self, mut from: u32, mut to: u32, mut rows: u32) {
        while rows > 0 {
            let left = |at: u32| PAGE_ROWS - within(at);
            let some = left(from).min(left(to)).min(rows as usize);
            let (source, target) = (within(from) * self.stride, within(to) * self.stride);
            let range = source..source + some * self.stride;
            match self.pages.get_disjoint_mut([page(from), page(to)]) {
                Ok([source, other]) => {
                    other[target..target + range.len()].copy_from_slice(&source[range]);
                }
                Err(_) => self.pages[page(from)].copy_within(range, target),
            }
            let some = u32::try_from(some).expect("no more than a page has");
            (from, to, rows) = (from + some, to + some, rows - some);
        }
    }

    /// All rows, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u64]> {
        let rows = self.pages.iter().flat_map(|page| page.chunks_exact(self.stride.max(1)));
        rows.take(self.rows)
    }

    /// The bytes of its memory.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().map(|page| page.capacity() * 8).sum()
    }
}

fn page(at: u32) -> usize {
    at as usize >> SHIFT
}

fn within(at: u32) -> usize {
    at as usize & (PAGE_ROWS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrangement::number;

    #[test]
    fn rows_stay_where_they_are_while_pages_come() {
        let mut pages = Pages::new(3);
        for rows in [1, 5, 4096, 4097, 9_000, 20_000] {
            let first = pages.rows();
            pages.reserve(rows);
            for at in first..rows {
                assert_eq!(pages.row(number(at)), [0, 0, 0]);
                pages.row_mut(number(at)).fill(at as u64);
            }
        }
        assert!(pages.iter().enumerate().all(|(at, row)| row == [at as u64; 3]));
        assert_eq!((pages.iter().count(), pages.word(4_098, 2)), (20_000, 4_098));
        assert!(pages.get(20_000).is_none() && pages.get(19_999).is_some());
        // From the end of one page to the end of another, and within one.
        pages.copy(4_090, 8_000, 300);
        assert!((0..300).all(|at| pages.word(8_000 + at, 0) == u64::from(4_090 + at)));
        pages.copy(100, 50, 20);
        assert_eq!((pages.word(50, 1), pages.word(69, 1), pages.word(70, 1)), (100, 119, 70));
        assert_eq!(pages.slice(4_096, 2), [4_096, 4_096, 4_096, 4_097, 4_097, 4_097]);
        assert_eq!((pages.gap(480), pages.gap(481)), (0, 480));
    }
}
