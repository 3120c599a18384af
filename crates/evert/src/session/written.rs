//! What an open transaction has written to one table.
//!
//! Rows are kept as the bytes that tell them apart, with the sum of their diffs, and are found by the table's keys as the
//! table's own are: a statement costs what it touches, however much was written before it.
//!
//! Invariant: no diff is 0, and each row is listed once under its value of every key in which it has no NULL: NULL equals
//! nothing, so nobody looks for it by that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use change::ChangeBatch;
use plan::TableDefinition;

use crate::failure::Failure;
use crate::session::write::{Keys, arrow_failed, batch};

/// Rows that came and went.
pub(super) struct Written {
    schema: SchemaRef,
    converter: RowConverter,
    diffs: BTreeMap<Arc<[u8]>, i64>,
    keys: Vec<Key>,
}

/// The rows by their values of a key.
struct Key {
    columns: Vec<usize>,
    rows: BTreeMap<Box<[u8]>, BTreeSet<Arc<[u8]>>>,
}

impl Written {
    /// Nothing, to a table.
    pub(super) fn new(table: &TableDefinition) -> Result<Self, Failure> {
        let schema = Arc::clone(table.schema().columns());
        let fields = schema.fields().iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(arrow_failed)?;
        let key = |columns: &Vec<usize>| Key { columns: columns.clone(), rows: BTreeMap::new() };
        let keys = table.keys().map(key).collect();
        Ok(Self { schema, converter, diffs: BTreeMap::new(), keys })
    }

    /// Adds what a statement does.
    pub(super) fn add(&mut self, changes: &ChangeBatch) -> Result<(), Failure> {
        let rows = changes.rows();
        let encoded = self.converter.convert_columns(rows.columns()).map_err(arrow_failed)?;
        let values = self.keys.iter().map(|key| Keys::new(rows, &key.columns));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        for (at, &diff) in changes.diffs().iter().enumerate() {
            let row: Arc<[u8]> = encoded.row(at).as_ref().into();
            let sum = self.diffs.get(&row).copied().unwrap_or_default() + diff;
            for (key, values) in self.keys.iter_mut().zip(&values) {
                if let Some(values) = values.get(at) {
                    key.set(values, &row, sum != 0);
                }
            }
            match sum {
                0 => drop(self.diffs.remove(&row)),
                _ => drop(self.diffs.insert(row, sum)),
            }
        }
        Ok(())
    }

    /// All of it, each row once.
    pub(super) fn all(&self) -> Result<ChangeBatch, Failure> {
        self.changes(self.diffs.iter().map(|(row, &diff)| (&**row, diff)))
    }

    /// What was done to the rows whose key is among `values`.
    pub(super) fn with_values(
        &self,
        columns: &[usize],
        values: &RecordBatch,
    ) -> Result<ChangeBatch, Failure> {
        let key = self.keys.iter().find(|key| key.columns == columns);
        let key = key.expect("rows are found by the table's keys");
        let all: Vec<usize> = (0..values.num_columns()).collect();
        let wanted = Keys::new(values, &all)?.all();
        let rows = wanted.iter().filter_map(|values| key.rows.get(values)).flatten();
        self.changes(rows.map(|row| (&**row, self.diffs[row])))
    }

    fn changes<'a>(
        &self,
        rows: impl Iterator<Item = (&'a [u8], i64)>,
    ) -> Result<ChangeBatch, Failure> {
        let parser = self.converter.parser();
        let (rows, diffs): (Vec<_>, Vec<i64>) =
            rows.map(|(row, diff)| (parser.parse(row), diff)).unzip();
        let columns = self.converter.convert_rows(rows).map_err(arrow_failed)?;
        Ok(ChangeBatch::new(batch(&self.schema, columns, diffs.len())?, Int64Array::from(diffs)))
    }
}

impl Key {
    /// Lists a row under its values, or no longer.
    fn set(&mut self, values: Box<[u8]>, row: &Arc<[u8]>, is_there: bool) {
        if is_there {
            self.rows.entry(values).or_default().insert(Arc::clone(row));
        } else if let Some(rows) = self.rows.get_mut(&values) {
            rows.remove(row);
            if rows.is_empty() {
                self.rows.remove(&values);
            }
        }
    }
}
