//! Keys: a small number for every key that is known.
//!
//! A batch's keys are resolved to numbers in one pass; from then on an operator indexes arrays. One integer column and
//! one text column have their own forms; all other keys are rows of bytes.
//!
//! Invariant: two keys have the same number exactly if they are equal in SQL's sense of grouping (NULL equals NULL).
//! A number is reused only after [`Keys::release`].

use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use change::map::{BuildHasher, HashTable};

use super::{Codec, Floats, Heap, NONE, Place, StateSize, number};

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
    form: Form,
    nulls: Nulls,
    /// The number of the NULL key, in the forms that cannot hold it.
    null: u32,
    free: Vec<u32>,
    upper: usize,
}

enum Form {
    Integer { data_type: DataType, table: HashTable<(i64, u32)>, keys: Vec<i64> },
    Text(Bytes),
    Row(Codec, Bytes),
}

#[derive(Default)]
struct Bytes {
    /// Hash and number.
    table: HashTable<(u64, u32)>,
    heap: Heap,
    places: Vec<Place>,
}

/// The hash of a key's or a row's bytes.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    BuildHasher::default().hash_one(bytes)
}

fn hash_integer(key: i64) -> u64 {
    BuildHasher::default().hash_one(key)
}

impl Keys {
    /// Makes an empty set of keys with columns of the given types.
    pub(crate) fn new(
        types: &[DataType],
        nulls: Nulls,
        floats: Floats,
    ) -> Result<Self, ArrowError> {
        let form = match types {
            [data_type @ (DataType::Int16 | DataType::Int32 | DataType::Int64)] => Form::Integer {
                data_type: data_type.clone(),
                table: HashTable::new(),
                keys: Vec::new(),
            },
            [DataType::Utf8] => Form::Text(Bytes::default()),
            _ => Form::Row(Codec::new(types, floats)?, Bytes::default()),
        };
        Ok(Self { form, nulls, null: NONE, free: Vec::new(), upper: 0 })
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
        let mut fresh = Fresh { free: &mut self.free, upper: &mut self.upper };
        match &mut self.form {
            Form::Integer { table, keys, .. } => {
                let column = cast(&columns[0], &DataType::Int64)?;
                let column = column.as_primitive::<Int64Type>();
                for (row, &key) in column.values().iter().enumerate() {
                    numbers.push(if column.is_null(row) {
                        null_number(&mut self.null, self.nulls, &mut fresh)
                    } else {
                        integer_number(table, keys, key, &mut fresh)
                    });
                }
            }
            Form::Text(bytes) => {
                let column = columns[0].as_string::<i32>();
                for row in 0..rows {
                    numbers.push(if column.is_null(row) {
                        null_number(&mut self.null, self.nulls, &mut fresh)
                    } else {
                        bytes.number(column.value(row).as_bytes(), &mut fresh)
                    });
                }
            }
            Form::Row(codec, bytes) => {
                let encoded = codec.encode(columns)?;
                let some_null = self.nulls == Nulls::Nothing
                    && columns.iter().any(|column| column.logical_null_count() > 0);
                for row in 0..rows {
                    let nothing = some_null && columns.iter().any(|column| column.is_null(row));
                    numbers.push(if nothing {
                        NONE
                    } else {
                        bytes.number(encoded.row(row), &mut fresh)
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns the key columns of the given numbers.
    pub(crate) fn columns(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(match &self.form {
            Form::Integer { data_type, keys, .. } => {
                let key = |&n: &u32| (n != self.null).then(|| keys[n as usize]);
                let column: Int64Array = numbers.iter().map(key).collect();
                vec![cast(&column, data_type)?]
            }
            Form::Text(bytes) => {
                let key = |&n: &u32| (n != self.null).then(|| bytes.text(n));
                vec![Arc::new(numbers.iter().map(key).collect::<StringArray>())]
            }
            Form::Row(codec, bytes) => codec.decode(numbers.iter().map(|&n| bytes.get(n)))?,
        })
    }

    /// Forgets a key; its number will be given to another.
    pub(crate) fn release(&mut self, number: u32) {
        self.free.push(number);
        if number == self.null {
            self.null = NONE;
            return;
        }
        match &mut self.form {
            Form::Integer { table, keys, .. } => {
                let hash = hash_integer(keys[number as usize]);
                table.find_entry(hash, |&(_, n)| n == number).expect("the key is known").remove();
            }
            Form::Text(bytes) | Form::Row(_, bytes) => bytes.remove(number),
        }
    }

    /// One more than the largest number given.
    pub(crate) fn upper(&self) -> usize {
        self.upper
    }

    /// How much the keys hold.
    pub(crate) fn size(&self) -> StateSize {
        let bytes = match &self.form {
            Form::Integer { table, keys, .. } => table.allocation_size() + keys.capacity() * 8,
            Form::Text(bytes) | Form::Row(_, bytes) => {
                bytes.table.allocation_size() + bytes.heap.bytes() + bytes.places.capacity() * 4
            }
        };
        StateSize { rows: self.upper - self.free.len(), bytes }
    }
}

/// Numbers not in use.
struct Fresh<'a> {
    free: &'a mut Vec<u32>,
    upper: &'a mut usize,
}

impl Fresh<'_> {
    fn next(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            *self.upper += 1;
            number(*self.upper - 1)
        })
    }
}

fn null_number(null: &mut u32, nulls: Nulls, fresh: &mut Fresh<'_>) -> u32 {
    if nulls == Nulls::Equal && *null == NONE {
        *null = fresh.next();
    }
    *null
}

fn integer_number(
    table: &mut HashTable<(i64, u32)>,
    keys: &mut Vec<i64>,
    key: i64,
    fresh: &mut Fresh<'_>,
) -> u32 {
    let hash = hash_integer(key);
    if let Some(&(_, number)) = table.find(hash, |&(other, _)| other == key) {
        return number;
    }
    let number = fresh.next();
    table.insert_unique(hash, (key, number), |&(key, _)| hash_integer(key));
    if keys.len() <= number as usize {
        keys.resize(number as usize + 1, 0);
    }
    keys[number as usize] = key;
    number
}

impl Bytes {
    fn number(&mut self, key: &[u8], fresh: &mut Fresh<'_>) -> u32 {
        let hash = hash_bytes(key);
        let (heap, places) = (&self.heap, &self.places);
        let same = |&(other, n): &(u64, u32)| other == hash && heap.get(places[n as usize]) == key;
        if let Some(&(_, number)) = self.table.find(hash, same) {
            return number;
        }
        let number = fresh.next();
        self.table.insert_unique(hash, (hash, number), |&(hash, _)| hash);
        let place = self.heap.put(key);
        // A number of the NULL key leaves a gap, which is never looked at.
        if self.places.len() <= number as usize {
            self.places.resize(number as usize + 1, place);
        }
        self.places[number as usize] = place;
        number
    }

    fn remove(&mut self, number: u32) {
        let place = self.places[number as usize];
        let hash = hash_bytes(self.heap.get(place));
        let entry = self.table.find_entry(hash, |&(_, n)| n == number);
        entry.expect("the key is known").remove();
        self.heap.free(place);
    }

    fn get(&self, number: u32) -> &[u8] {
        self.heap.get(self.places[number as usize])
    }

    fn text(&self, number: u32) -> &str {
        std::str::from_utf8(self.get(number)).expect("keys of text columns are text")
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, RecordBatch};

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
        let booleans =
            || Arc::new(arrow::array::BooleanArray::from(vec![Some(true), None, Some(false)]));
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
