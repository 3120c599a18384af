//! At most one row for each key, as words at the key's number, overwritten in place.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::layout::{Encoded, Layout, Stored};
use super::{Floats, Pages, StateSize, Texts};

/// Rows by key number: what was shown last for each.
pub(crate) struct Shown {
    layout: Layout,
    texts: Texts,
    /// For each key a row's words, and behind them one that is 1 while the row is there.
    words: Pages,
    rows: usize,
    encoded: Encoded,
}

impl Shown {
    /// Makes an empty store of rows with columns of the given types.
    pub(crate) fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        let layout = Layout::new(types, Floats::Kept)?;
        let stride = layout.value_words() + layout.null_words() + 1;
        let (texts, encoded) = (Texts::default(), Encoded::default());
        Ok(Self { layout, texts, words: Pages::new(stride), rows: 0, encoded })
    }

    /// Reads rows in, to be compared and stored by their place.
    pub(crate) fn read(&mut self, columns: &[ArrayRef], rows: usize) -> Result<(), ArrowError> {
        self.layout.encode(&mut self.texts, columns, rows, &mut self.encoded)
    }

    /// Whether a key has a row.
    pub(crate) fn is_there(&self, key: u32) -> bool {
        self.row(key).is_some()
    }

    /// Whether a key has just the row that was read in at a place.
    pub(crate) fn is_same(&self, key: u32, place: usize) -> bool {
        self.row(key) == Some(self.encoded.row(place))
    }

    /// Sets a key's row to the one that was read in at a place.
    pub(crate) fn set(&mut self, key: u32, place: usize) {
        self.remove(key);
        self.words.reserve(key as usize + 1);
        let row = self.encoded.row(place);
        let words = self.words.row_mut(key);
        words[..row.len()].copy_from_slice(row);
        words[row.len()] = 1;
        let texts = &mut self.texts;
        self.layout.long_texts(row, |text| texts.hold(text));
        self.rows += 1;
    }

    /// Removes a key's row, if it has one.
    pub(crate) fn remove(&mut self, key: u32) {
        if !self.is_there(key) {
            return;
        }
        let width = self.words.stride() - 1;
        let (row, rest) = self.words.row_mut(key).split_at_mut(width);
        let texts = &mut self.texts;
        self.layout.long_texts(row, |text| texts.release(text));
        rest[0] = 0;
        self.rows -= 1;
    }

    /// Returns the columns of keys' rows.
    pub(crate) fn columns(&self, keys: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let rows = Stored { words: &self.words, has_nulls: true, texts: &self.texts };
        (0..self.layout.columns()).map(|column| self.layout.gather(column, rows, keys)).collect()
    }

    /// Ends the step.
    pub(crate) fn sweep(&mut self) {
        if self.layout.has_texts() {
            self.texts.sweep();
        }
    }

    /// How much is held.
    pub(crate) fn size(&self) -> StateSize {
        StateSize { rows: self.rows, bytes: self.words.bytes() + self.texts.bytes() }
    }

    fn row(&self, key: u32) -> Option<&[u64]> {
        let (is_there, row) = self.words.get(key)?.split_last()?;
        (*is_there == 1).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn rows_are_set_compared_and_removed_by_key() {
        let mut shown = Shown::new(&[DataType::Int64, DataType::Utf8]).unwrap();
        let long = "a text that is longer than twelve bytes";
        let columns = |first: Option<i64>| -> Vec<ArrayRef> {
            let texts = StringArray::from(vec![Some(long), None]);
            vec![Arc::new(Int64Array::from(vec![first, Some(2)])), Arc::new(texts)]
        };
        shown.read(&columns(None), 2).unwrap();
        assert!(!shown.is_there(5));
        shown.set(5, 0);
        shown.set(3, 1);
        shown.sweep();
        assert!(shown.is_there(5) && shown.is_same(5, 0) && !shown.is_same(5, 1));
        assert!(!shown.is_there(4));
        let back = shown.columns(&[5, 3]).unwrap();
        assert_eq!(back, columns(None));
        shown.read(&columns(Some(1)), 2).unwrap();
        assert!(!shown.is_same(5, 0), "NULL is not 1");
        shown.set(5, 1);
        shown.remove(3);
        shown.sweep();
        assert!(shown.is_same(5, 1) && !shown.is_there(3));
        assert_eq!(shown.size().rows, 1);
    }
}
