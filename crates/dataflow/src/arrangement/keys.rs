//! Keys: a small number for every key that is known.
//!
//! A batch's keys are resolved to numbers in one pass; from then on an operator indexes arrays. A key of one column of
//! up to 64 bits is that word; all other keys are several words, as [`Layout`] has them.
//!
//! Invariant: two keys have the same number exactly if they are equal in SQL's sense of grouping (NULL equals NULL).
//! A number is reused only after [`Keys::release`].

use std::hash::BuildHasher as _;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::nullif;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use change::map::BuildHasher;

use super::index::{BLOCK, Index};
use super::layout::{Encoded, Layout, Stored};
use super::words::Words;
use super::{Floats, NONE, Pages, StateSize, Texts, number};

/// What a key with a NULL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// A key like any other: in groups.
    Equal,
    /// No key: in joins, where NULL equals nothing. Its number is [`NONE`].
    Nothing,
}

/// Numbers for keys.
pub(crate) struct Keys {
    layout: Layout,
    texts: Texts,
    form: Form,
    nulls: Nulls,
    encoded: Encoded,
    numbers: Numbers,
}

enum Form {
    /// The number of each word; the NULL key has none, so its number is kept apart.
    Word { table: Words, keys: Pages, null: u32 },
    /// The number of each hash, and the keys' words.
    Words { table: Index, keys: Pages, width: usize },
}

/// The numbers that are in use.
#[derive(Default)]
struct Numbers {
    free: Vec<u32>,
    upper: usize,
    /// Numbers given since they were asked for last, when somebody asks.
    fresh: Option<Vec<u32>>,
}

impl Numbers {
    fn next(&mut self) -> u32 {
        let next = self.free.pop().unwrap_or_else(|| {
            self.upper += 1;
            number(self.upper - 1)
        });
        self.fresh.iter_mut().for_each(|fresh| fresh.push(next));
        next
    }
}

/// The hash of a key's or a row's bytes.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    BuildHasher::default().hash_one(bytes)
}

/// The hash of words, from a first word on.
pub(super) fn hash_words(first: u64, words: &[u64]) -> u64 {
    words.iter().fold(mix(first), |hash, &word| mix(hash ^ word))
}

/// The hash of a word: the two halves of its product with an odd constant, folded.
pub(crate) fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xd1b5_4a32_d192_ed03;
    let (low, high) = halves(product);
    (low ^ high).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
fn halves(product: u128) -> (u64, u64) {
    (product as u64, (product >> 64) as u64)
}

impl Keys {
    /// Makes an empty set of keys with columns of the given types.
    pub(crate) fn new(
        types: &[DataType],
        nulls: Nulls,
        floats: Floats,
    ) -> Result<Self, ArrowError> {
        let layout = Layout::new(types, floats)?;
        let width = layout.value_words() + layout.null_words();
        let form = match types.len() == 1 && layout.value_words() == 1 {
            true => Form::Word { table: Words::default(), keys: Pages::new(1), null: NONE },
            false => Form::Words { table: Index::default(), keys: Pages::new(width), width },
        };
        let (encoded, numbers) = (Encoded::default(), Numbers::default());
        Ok(Self { layout, texts: Texts::default(), form, nulls, encoded, numbers })
    }

    /// Writes the number of each row's key to `numbers`, giving new keys new numbers.
    pub(crate) fn resolve(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        numbers: &mut Vec<u32>,
    ) -> Result<(), ArrowError> {
        numbers.clear();
        numbers.reserve(rows);
        if let Form::Word { table, keys, .. } = &mut self.form
            && let Some(words) = self.layout.plain_words(columns)
        {
            for block in words.chunks(BLOCK) {
                table.touch(block.iter().copied());
                let number = |&key| word_number(table, keys, key, &mut self.numbers);
                numbers.extend(block.iter().map(number));
            }
            return Ok(());
        }
        self.layout.encode(&mut self.texts, columns, rows, &mut self.encoded)?;
        let Self { layout, texts, form, encoded, .. } = self;
        let skips_nulls = self.nulls == Nulls::Nothing && encoded.has_nulls;
        let is_null = |row: &[u64]| row[layout.value_words()..].iter().any(|&bits| bits != 0);
        match form {
            Form::Word { table, keys, null } => {
                for block in encoded.words.chunks(encoded.stride * BLOCK) {
                    table.touch(block.iter().copied().step_by(encoded.stride));
                    for row in block.chunks_exact(encoded.stride) {
                        numbers.push(if encoded.has_nulls && is_null(row) {
                            null_number(null, keys, self.nulls, &mut self.numbers)
                        } else {
                            word_number(table, keys, row[0], &mut self.numbers)
                        });
                    }
                }
            }
            // The key of no columns.
            Form::Words { table, keys, width: 0 } => {
                for _row in 0..rows {
                    numbers.push(
                        words_number(table, keys, (hash_words(0, &[]), &[]), &mut self.numbers).0,
                    );
                }
            }
            Form::Words { table, keys, width } => {
                for block in encoded.words.chunks(*width * BLOCK) {
                    let mut hashes = [0; BLOCK];
                    let hashes = &mut hashes[..block.len() / *width];
                    for (hash, row) in hashes.iter_mut().zip(block.chunks_exact(*width)) {
                        *hash = hash_words(0, row);
                    }
                    table.touch(hashes, hashes, |number| keys.word(number, 0));
                    for (&hash, row) in hashes.iter().zip(block.chunks_exact(*width)) {
                        if skips_nulls && is_null(row) {
                            numbers.push(NONE);
                            continue;
                        }
                        let key = (hash, row);
                        let (number, is_new) = words_number(table, keys, key, &mut self.numbers);
                        if is_new {
                            layout.long_texts(row, |text| texts.hold(text));
                        }
                        numbers.push(number);
                    }
                }
                // Texts of keys that are no keys because of a NULL.
                if skips_nulls {
                    texts.sweep();
                }
            }
        }
        Ok(())
    }

    /// Returns the key columns of the given numbers.
    pub(crate) fn columns(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let columns = 0..self.layout.columns();
        columns.map(|column| self.column(column, numbers)).collect()
    }

    /// Returns one of the key columns of the given numbers.
    pub(crate) fn column(&self, column: usize, numbers: &[u32]) -> Result<ArrayRef, ArrowError> {
        match &self.form {
            Form::Word { keys, null, .. } => {
                let rows = Stored { words: keys, has_nulls: false, texts: &self.texts };
                let gathered = self.layout.gather(column, rows, numbers)?;
                if *null == NONE {
                    return Ok(gathered);
                }
                let nulls = numbers.iter().map(|number| Some(number == null));
                nullif(&gathered, &nulls.collect::<BooleanArray>())
            }
            Form::Words { keys, .. } => {
                let rows = Stored { words: keys, has_nulls: true, texts: &self.texts };
                self.layout.gather(column, rows, numbers)
            }
        }
    }

    /// Forgets a key; its number will be given to another.
    pub(crate) fn release(&mut self, number: u32) {
        self.numbers.free.push(number);
        match &mut self.form {
            Form::Word { null, .. } if number == *null => *null = NONE,
            Form::Word { table, keys, .. } => {
                table.remove(keys.word(number, 0), number);
            }
            Form::Words { table, keys, width } => {
                let key = keys.row(number);
                table.remove(hash_words(0, key), number, |hash| hash);
                if *width > 0 {
                    self.layout.long_texts(key, |text| self.texts.release(text));
                    self.texts.sweep();
                }
            }
        }
    }

    /// One more than the largest number given.
    pub(crate) fn upper(&self) -> usize {
        self.numbers.upper
    }

    /// From now on, notes the numbers that are new, to be asked for.
    pub(crate) fn note_fresh(&mut self) {
        self.numbers.fresh = Some(Vec::new());
    }

    /// Gives the noted numbers to `each`, and forgets them.
    pub(crate) fn take_fresh(&mut self, each: impl FnMut(u32)) {
        self.numbers.fresh.iter_mut().flat_map(|fresh| fresh.drain(..)).for_each(each);
    }

    /// How much the keys hold.
    pub(crate) fn size(&self) -> StateSize {
        let bytes = match &self.form {
            Form::Word { table, keys, .. } => table.bytes() + keys.bytes(),
            Form::Words { table, keys, .. } => table.bytes() + keys.bytes(),
        };
        let bytes = bytes + self.texts.bytes();
        StateSize { rows: self.numbers.upper - self.numbers.free.len(), bytes }
    }
}

fn null_number(null: &mut u32, keys: &mut Pages, nulls: Nulls, numbers: &mut Numbers) -> u32 {
    if nulls == Nulls::Equal && *null == NONE {
        *null = numbers.next();
        keys.reserve(*null as usize + 1);
    }
    *null
}

#[inline]
fn word_number(table: &mut Words, keys: &mut Pages, key: u64, numbers: &mut Numbers) -> u32 {
    table.find(key).unwrap_or_else(|| new_word(table, keys, key, numbers))
}

#[cold]
fn new_word(table: &mut Words, keys: &mut Pages, key: u64, numbers: &mut Numbers) -> u32 {
    let number = numbers.next();
    table.insert(key, number);
    keys.reserve(number as usize + 1);
    keys.row_mut(number)[0] = key;
    number
}

/// The number of a key with its hash, and whether it is new.
fn words_number(
    table: &mut Index,
    keys: &mut Pages,
    (hash, key): (u64, &[u64]),
    numbers: &mut Numbers,
) -> (u32, bool) {
    // Keys are short: no call that compares memory.
    let same = |number| keys.row(number).iter().zip(key).all(|(one, other)| one == other);
    if let Some(number) = table.find(hash, hash, same) {
        return (number, false);
    }
    let number = numbers.next();
    table.insert(hash, number, |hash| hash);
    keys.reserve(number as usize + 1);
    keys.row_mut(number).copy_from_slice(key);
    (number, true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int32Array, RecordBatch, StringArray};

    use super::*;

    /// Resolves a column twice with a release in between, and reads the keys back.
    fn check(column: ArrayRef, nulls: Nulls, expected: &[u32]) {
        let mut keys = Keys::new(&[column.data_type().clone()], nulls, Floats::Folded).unwrap();
        let mut numbers = Vec::new();
        let columns = [Arc::clone(&column)];
        keys.resolve(&columns, column.len(), &mut numbers).unwrap();
        assert_eq!(numbers, expected);
        let known: Vec<u32> = numbers.iter().copied().filter(|&n| n != NONE).collect();
        let rows = arrow::array::UInt32Array::from_iter_values(
            (0..).zip(&numbers).filter(|(_, n)| **n != NONE).map(|(row, _)| row),
        );
        let wanted = arrow::compute::take(&column, &rows, None).unwrap();
        assert_eq!(&keys.columns(&known).unwrap()[0], &wanted);
        let upper = keys.upper();
        keys.release(numbers[0]);
        keys.resolve(&columns, column.len(), &mut numbers).unwrap();
        assert_eq!(numbers, expected, "a released number is used again");
        assert_eq!(keys.upper(), upper);
    }

    #[test]
    fn equal_keys_have_one_number_in_every_form() {
        let integers = || Arc::new(Int32Array::from(vec![Some(7), None, Some(-1), Some(7), None]));
        check(integers(), Nulls::Equal, &[0, 1, 2, 0, 1]);
        check(integers(), Nulls::Nothing, &[0, NONE, 1, 0, NONE]);
        let texts = || Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("a")]));
        check(texts(), Nulls::Equal, &[0, 1, 2, 0]);
        check(texts(), Nulls::Nothing, &[0, 1, NONE, 0]);
        let booleans = || Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
        check(booleans(), Nulls::Equal, &[0, 1, 2]);
        check(booleans(), Nulls::Nothing, &[0, NONE, 1]);
    }

    #[test]
    fn the_key_of_no_columns_is_one_key() {
        let mut keys = Keys::new(&[], Nulls::Nothing, Floats::Folded).unwrap();
        let mut numbers = Vec::new();
        keys.resolve(&[], 3, &mut numbers).unwrap();
        assert_eq!(numbers, [0, 0, 0]);
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        let rows: RecordBatch =
            crate::columns::batch(&schema, keys.columns(&[0]).unwrap(), 1).unwrap();
        assert_eq!(rows.num_rows(), 1);
    }
}
