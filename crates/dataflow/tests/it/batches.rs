//! What follows from one change may be much: it is emitted in parts.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use change::{ChangeBatch, ChangeForm, TableChanges, TableSchema};
use dataflow::{Dataflow, OperatorStat};
use plan::Catalog;

use crate::world::{Cell, changes, table};

/// The rows that a join emits at once, at most.
const ROWS_MAX: u64 = 32_768;
/// The bytes of texts that it emits at once, at most.
const BYTES_MAX: usize = 64 << 20;

fn tables() -> [Arc<TableSchema>; 2] {
    let columns = [("k", DataType::Int64), ("x", DataType::Int64), ("s", DataType::Utf8)];
    ["a", "b"].map(|name| table(name, ChangeForm::Exact, &columns))
}

fn rows(table: &Arc<TableSchema>, count: i64, text: &str, diff: i64) -> TableChanges {
    rows_at(table, 0..count, text, diff)
}

fn rows_at(table: &Arc<TableSchema>, at: Range<i64>, text: &str, diff: i64) -> TableChanges {
    let row = |x| (vec![Cell::Int(0), Cell::Int(x), Cell::Text(text.into())], diff);
    changes(table, &at.map(row).collect::<Vec<_>>(), Vec::new())
}

fn maintained(query: &str, tables: &[Arc<TableSchema>; 2]) -> Dataflow {
    let catalog = Catalog { tables: tables.to_vec(), ..Catalog::default() };
    let script = plan::parse(&format!("create view v as {query}")).unwrap();
    Dataflow::new(&plan::plan(&script, &catalog).unwrap().views).unwrap()
}

fn joins(dataflow: &Dataflow) -> OperatorStat {
    let stat = dataflow.stat();
    let found = stat.views[0].operators.iter().find(|one| one.operator.ends_with("join"));
    found.unwrap_or_else(|| panic!("{stat}")).clone()
}

#[test]
fn a_million_pairs_are_never_there_at_once() {
    let tables = tables();
    let query = "select count(*) as n, sum(a.x * b.x) as sum from a cross join b";
    let mut dataflow = maintained(query, &tables);
    dataflow.push(&[rows(&tables[0], 1_200, "", 1)]).unwrap();
    // All pairs follow from this one batch.
    dataflow.push(&[rows(&tables[1], 900, "", 1)]).unwrap();
    let found = dataflow.finish_step().unwrap();
    let last = found[0].1.rows();
    let values = |at: usize| last.column(at).as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(values(0).value(last.num_rows() - 1), 1_080_000);
    assert_eq!(values(1).value(last.num_rows() - 1), (1_200 * 1_199 / 2) * (900 * 899 / 2));
    let OperatorStat { rows_out, largest, .. } = joins(&dataflow);
    assert_eq!((rows_out, largest <= ROWS_MAX), (1_080_000, true), "{largest}");
}

#[test]
fn rows_that_lose_their_only_match_are_shown_in_parts() {
    for condition in ["a.k = b.k", "a.k = b.k and a.x >= b.x"] {
        let tables = tables();
        let query = format!(
            "select count(*) as n, sum(a.x) as sum from a left join b on {condition} where b.x is null"
        );
        let mut dataflow = maintained(&query, &tables);
        for at in [0, 25_000, 50_000] {
            dataflow.push(&[rows_at(&tables[0], at..at + 25_000, "", 1)]).unwrap();
        }
        dataflow.push(&[rows(&tables[1], 1, "", 1)]).unwrap();
        dataflow.finish_step().unwrap();
        dataflow.push(&[rows(&tables[1], 1, "", -1)]).unwrap();
        dataflow.finish_step().unwrap();
        let OperatorStat { rows_out, largest, .. } = joins(&dataflow);
        // Alone, then hidden and paired, then alone again.
        assert_eq!((rows_out, largest <= ROWS_MAX), (5 * 75_000, true), "{condition} {largest}");
    }
}

#[test]
fn parts_with_wide_texts_are_bounded_by_bytes() {
    let tables = tables();
    for query in [
        "select a.s, b.s as t, a.x from a cross join b",
        "select a.s, b.s as t, a.x from a full join b on a.k = b.k and a.x > b.x - 1000",
    ] {
        let mut dataflow = maintained(query, &tables);
        let (wide, wider) = ("w".repeat(6_000), "v".repeat(9_000));
        dataflow.push(&[rows(&tables[0], 60, &wide, 1)]).unwrap();
        dataflow.push(&[rows(&tables[1], 120, &wider, 1)]).unwrap();
        let mut parts: Vec<ChangeBatch> = Vec::new();
        for (_, found) in dataflow.finish_step_unsorted().unwrap() {
            parts.extend(found);
        }
        let bytes = |part: &ChangeBatch| -> usize {
            let texts = [part.rows().column(0), part.rows().column(1)];
            texts.map(|column| column.as_string::<i32>().values().len()).iter().sum()
        };
        let pairs: usize = parts.iter().map(|part| part.rows().column(0).len()).sum();
        assert!(pairs >= 60 * 120, "{pairs}");
        let sizes: Vec<usize> = parts.iter().map(bytes).collect();
        assert!(sizes.iter().sum::<usize>() > BYTES_MAX, "{sizes:?}");
        assert!(sizes.iter().all(|&size| size <= BYTES_MAX), "{sizes:?}");
        assert!(sizes.len() < 20, "{sizes:?}");
    }
}

#[test]
fn a_step_that_touches_all_rows_ends_in_parts() {
    for (query, name) in [
        ("select x, row_number() over (partition by x % 100 order by x) as n from a", "window"),
        ("select distinct x, s from a", "distinct"),
    ] {
        let tables = tables();
        let mut dataflow = maintained(query, &tables);
        for at in [0, 30_000, 60_000] {
            dataflow.push(&[rows_at(&tables[0], at..at + 30_000, "", 1)]).unwrap();
        }
        let found = dataflow.finish_step().unwrap();
        assert_eq!(found[0].1.len(), 90_000, "{query}");
        let stat = dataflow.stat();
        let operators = stat.views[0].operators.iter();
        let operator = operators.clone().find(|one| one.operator == name).unwrap();
        assert_eq!(operator.rows_out, 90_000, "{stat}");
        // A partition is never cut.
        assert!(operator.largest <= ROWS_MAX + 900, "{}", operator.largest);
        dataflow.push(&[rows_at(&tables[0], 0..90_000, "", -1)]).unwrap();
        assert_eq!(dataflow.finish_step().unwrap()[0].1.len(), 90_000, "{query}");
        let stat = dataflow.stat();
        assert_eq!(stat.views[0].operators.iter().map(|one| one.state.rows).sum::<usize>(), 0);
    }
}
