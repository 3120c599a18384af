//! An index from the values of some columns to the places of the rows that have them, so that a write by key looks at
//! the rows of that key alone.
//!
//! It holds 32 bits of the hash of each row's values, page by page as the rows are, and a table from hashes to places.
//! What has the hash may still be another row: whoever looks up compares the values themselves, in the form that
//! [`encode_key`] gives them.
//!
//! A row whose values have a NULL is not in it: NULL equals nothing, so nobody looks for it by them.
//!
//! Invariant: every row that is there and whose values have no NULL has one entry, and no other place has one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::row::Rows;
use change::consolidate::encode;
use change::map::HashTable;
use change::order::ordered;

use crate::page::{Place, hash, spread};

/// The places of rows by the values of some columns.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    columns: Vec<usize>,
    /// For each page, the hashes of its rows' values, gone rows included; `None` of those that have a NULL.
    hashes: BTreeMap<u32, Vec<Option<u32>>>,
    places: HashTable<Place>,
}

impl KeyIndex {
    pub(crate) fn new(columns: Vec<usize>) -> Self {
        Self { columns, hashes: BTreeMap::new(), places: HashTable::new() }
    }

    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Adds the rows of a page, of which those at `slots` are there.
    pub(crate) fn insert(
        &mut self,
        page: u32,
        rows: &RecordBatch,
        slots: impl Iterator<Item = u32>,
    ) -> Result<(), ArrowError> {
        let values = rows.project(&self.columns)?;
        let keys = encode_key(&values)?;
        let hashes = keys.iter().enumerate();
        let hashes = hashes.map(|(row, key)| (!has_null(&values, row)).then(|| hash(key.as_ref())));
        self.hashes.insert(page, hashes.collect());
        let Self { hashes, places, .. } = self;
        for slot in slots {
            let place = Place { page, slot };
            let Some(hash) = hash_at(hashes, place) else { continue };
            places.insert_unique(spread(hash), place, |&place| {
                spread(hash_at(hashes, place).expect("what is in the index has a hash"))
            });
        }
        Ok(())
    }

    /// Removes a row.
    pub(crate) fn remove(&mut self, place: Place) {
        let Some(hash) = hash_at(&self.hashes, place) else { return };
        match self.places.find_entry(spread(hash), |entry| *entry == place) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("every row is in the index"),
        }
    }

    /// Forgets a page, all of whose rows were removed.
    pub(crate) fn free_page(&mut self, page: u32) {
        self.hashes.remove(&page);
    }

    /// The places of the rows whose values have the hash of `key`.
    pub(crate) fn candidates(&self, key: &[u8]) -> impl Iterator<Item = Place> + '_ {
        let wanted = hash(key);
        let same = move |place: &Place| hash_at(&self.hashes, *place) == Some(wanted);
        self.places.iter_hash(spread(wanted)).copied().filter(same)
    }
}

/// Encodes the values of a key so that values which are equal in SQL have equal bytes.
///
/// # Errors
/// When a column has a type that Arrow's row format does not support.
pub fn encode_key(values: &RecordBatch) -> Result<Rows, ArrowError> {
    let columns: Vec<ArrayRef> = values.columns().iter().map(ordered).collect();
    let fields = values.schema_ref().fields().iter().zip(&columns);
    let fields =
        fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    encode(&RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// Whether a row has a NULL, so that no key finds it.
#[must_use]
pub fn has_null(values: &RecordBatch, row: usize) -> bool {
    values.columns().iter().any(|column| column.is_null(row))
}

fn hash_at(hashes: &BTreeMap<u32, Vec<Option<u32>>>, place: Place) -> Option<u32> {
    hashes.get(&place.page).expect("the index names live pages")[place.slot as usize]
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn rows_with_a_null_are_not_in_the_index() {
        let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
        let (a, b) = ([Some(1), None, Some(2), None], [Some(1), Some(1), None, None]);
        let columns: [ArrayRef; 2] =
            [a, b].map(|values| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef);
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let rows = RecordBatch::try_new(schema, columns.to_vec()).unwrap();
        let mut index = KeyIndex::new(vec![0, 1]);
        index.insert(7, &rows, 0..4).unwrap();
        assert_eq!(index.places.len(), 1);
        for slot in 0..4 {
            index.remove(Place { page: 7, slot });
        }
        assert_eq!(index.places.len(), 0);
    }
}
