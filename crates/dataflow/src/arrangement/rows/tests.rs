//! A store of rows against a model: whatever the form, the same rows with the same counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::*;
use crate::arrangement::Nulls;

type Row = (Option<i64>, Option<String>);

struct Store {
    space: Space,
    rows: Rows,
}

impl Store {
    fn new(unique: bool) -> Self {
        let options = RowsOptions { unique, has_matches: false };
        let types = [DataType::Int64, DataType::Utf8];
        Self {
            space: Space::new(&[DataType::Int64], Nulls::Nothing).unwrap(),
            rows: Rows::new(&types, options).unwrap(),
        }
    }

    fn add(&mut self, changes: &[(i64, Row, i64)]) {
        let key: ArrayRef = Arc::new(changes.iter().map(|c| Some(c.0)).collect::<Int64Array>());
        let first: Int64Array = changes.iter().map(|c| c.1.0).collect();
        let second: StringArray = changes.iter().map(|c| c.1.1.clone()).collect();
        let columns: [ArrayRef; 2] = [Arc::new(first), Arc::new(second)];
        let diffs: Vec<i64> = changes.iter().map(|c| c.2).collect();
        let mut keys = Vec::new();
        self.space.resolve(&[key], changes.len(), &mut keys).unwrap();
        let added =
            Added { keys: &keys, columns: &columns, diffs: &diffs, skip: None, matches: None };
        self.rows.add(&added, &mut self.space).unwrap();
    }

    fn sweep(&mut self) {
        self.rows.sweep();
        self.space.sweep();
    }

    fn all(&mut self) -> BTreeMap<(i64, Row), i64> {
        let mut all = BTreeMap::new();
        for key in 0..number(self.space.upper()) {
            let (start, len) = self.rows.run(key);
            if len == 0 {
                continue;
            }
            let positions: Vec<u32> = (start..start + len).collect();
            let first = self.rows.gather(0, &positions).unwrap();
            let second = self.rows.gather(1, &positions).unwrap();
            let (first, second) = (first.as_primitive::<Int64Type>(), second.as_string::<i32>());
            let key = self.space.keys().column(0, &[key]).unwrap();
            let key = key.as_primitive::<Int64Type>().value(0);
            let mut total = 0;
            for (at, &position) in positions.iter().enumerate() {
                let number = first.is_valid(at).then(|| first.value(at));
                let text = second.is_valid(at).then(|| second.value(at).to_owned());
                *all.entry((key, (number, text))).or_default() += self.rows.count(position);
                total += self.rows.count(position);
            }
            let of_key: i64 = all.iter().filter(|((k, _), _)| *k == key).map(|(_, n)| n).sum();
            assert_eq!(of_key, total);
        }
        all
    }
}

fn text(of: usize) -> Option<String> {
    match of {
        0 => None,
        1 => Some(String::new()),
        2 => Some("a".repeat(12)),
        of => Some("a text of some length ".repeat(of)),
    }
}

proptest! {
    #[test]
    fn a_store_holds_what_was_added(
        steps in prop::collection::vec(
            prop::collection::vec((0_i64..6, prop::option::of(0_i64..4), 0_usize..6, -2_i64..4), 0..40),
            1..6,
        ),
        unique in any::<bool>(),
    ) {
        let mut store = Store::new(unique);
        let mut model: BTreeMap<(i64, Row), i64> = BTreeMap::new();
        for step in steps {
            let mut changes: Vec<(i64, Row, i64)> = step
                .into_iter()
                .map(|(key, number, of, diff)| (key, (number, text(of)), diff))
                .collect();
            for (key, row, diff) in &changes {
                *model.entry((*key, row.clone())).or_default() += diff;
            }
            // At the step's end no count is negative.
            let missing: Vec<_> =
                model.iter().filter(|(_, count)| **count < 0).map(|(row, n)| (row.clone(), -n)).collect();
            for ((key, row), count) in missing {
                changes.push((key, row.clone(), count));
                model.remove(&(key, row));
            }
            store.add(&changes);
            store.sweep();
            model.retain(|_, count| *count != 0);
            prop_assert_eq!(&store.all(), &model);
        }
    }
}

#[test]
fn long_runs_find_their_rows_and_give_their_space_back() {
    let mut store = Store::new(false);
    let rows: Vec<(i64, Row, i64)> = (0..1000).map(|n| (7, (Some(n), text(3)), 1)).collect();
    for round in 0..3 {
        store.add(&rows);
        store.sweep();
        assert_eq!(store.all().len(), 1000);
        let gone: Vec<_> = rows.iter().rev().map(|(k, row, _)| (*k, row.clone(), -1)).collect();
        store.add(&gone);
        store.sweep();
        assert!(store.all().is_empty(), "round {round}");
        assert_eq!(store.space.size().rows, 0);
    }
    let Form::Runs(runs) = &store.rows.form else { panic!("it has runs") };
    assert!(runs.index.is_empty());
    assert!(store.rows.words.rows() < 4000, "places are used again");
}

#[test]
fn places_grow_by_half() {
    let rooms: Vec<u32> = (0..10).map(place_rows).collect();
    assert_eq!(rooms, [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]);
}
