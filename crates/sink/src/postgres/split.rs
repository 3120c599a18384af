//! What a step does to each key: pure, before anything is sent.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::FieldRef;
use arrow::util::display::array_value_to_string;
use change::{ChangeBatch, consolidate};

use crate::SinkError;

/// The rows of a step, by what happens to their keys. Positions are rows of the step's batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// One row for each key that only goes; no column of the key is NULL.
    pub(super) gone: Vec<usize>,
    /// The same for keys with a NULL.
    pub(super) gone_null: Vec<usize>,
    /// Rows of keys that were not there.
    pub(super) fresh: Vec<usize>,
    /// Rows that take the place of another with the same key.
    pub(super) changed: Vec<usize>,
    /// Whether a row that appears has NULL in its key.
    pub(super) has_null: bool,
}

impl Split {
    /// Sorts the rows of a consolidated difference.
    ///
    /// # Errors
    /// When two rows that appear have the same key.
    pub(super) fn of(changes: &ChangeBatch, key: &[usize], view: &str) -> Result<Self, SinkError> {
        let keys = changes.rows().project(key)?;
        let encoded = consolidate::encode(&keys)?;
        let mut order: Vec<usize> = (0..changes.len()).collect();
        order.sort_by(|&a, &b| encoded.row(a).cmp(&encoded.row(b)));
        let diffs = changes.diffs();
        let mut split = Self::default();
        for rows in order.chunk_by(|&a, &b| encoded.row(a) == encoded.row(b)) {
            let appears: i64 = rows.iter().map(|&row| diffs[row].max(0)).sum();
            let has_null = keys.columns().iter().any(|column| column.is_null(rows[0]));
            match rows.iter().find(|&&row| diffs[row] > 0) {
                _ if appears > 1 => {
                    let (view, key) = (view.to_owned(), shown_key(&keys, rows[0]));
                    return Err(SinkError::DuplicateKey { view, key });
                }
                Some(&row) => {
                    split.has_null |= has_null;
                    if rows.len() == 1 { &mut split.fresh } else { &mut split.changed }.push(row);
                }
                None if has_null => split.gone_null.push(rows[0]),
                None => split.gone.push(rows[0]),
            }
        }
        Ok(split)
    }

    /// How many rows the target is told of.
    pub(super) fn len(&self) -> usize {
        self.gone.len() + self.gone_null.len() + self.fresh.len() + self.changed.len()
    }
}

fn shown_key(keys: &RecordBatch, row: usize) -> String {
    let schema = keys.schema();
    let column = |(field, array): (&FieldRef, &ArrayRef)| {
        let value = array_value_to_string(array, row).unwrap_or_else(|_| "?".to_owned());
        format!("{} = {value}", field.name())
    };
    schema.fields().iter().zip(keys.columns()).map(column).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn changes(rows: &[(Option<i64>, &str, i64)]) -> ChangeBatch {
        let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let names: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
        let batch = RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap();
        ChangeBatch::new(batch, rows.iter().map(|row| row.2).collect())
    }

    #[test]
    fn each_key_is_told_once() {
        let changes = changes(&[
            (None, "n", -1),
            (Some(1), "old", -1),
            (Some(1), "new", 1),
            (Some(2), "gone", -1),
            (Some(3), "fresh", 1),
        ]);
        let split = Split::of(&changes, &[0], "v").unwrap();
        let expected = Split {
            gone: vec![3],
            gone_null: vec![0],
            fresh: vec![4],
            changed: vec![2],
            has_null: false,
        };
        assert_eq!(split, expected);
    }

    #[test]
    fn two_rows_with_one_key_are_refused_by_name() {
        let error = Split::of(&changes(&[(Some(7), "a", 1), (Some(7), "b", 1)]), &[0], "v");
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "two rows of view v have the same key (id = 7)");
        assert!(Split::of(&changes(&[(Some(7), "a", 2)]), &[0], "v").is_err());
    }
}
