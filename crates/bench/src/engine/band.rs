//! A band join's change, beside more and more rows of the other side.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use change::{ChangeBatch, ChangeForm, TableChanges, TableName, TableSchema};

use super::flow::{Flow, rate};
use super::steps::{Step, Tables};
use crate::figure::Figure;
use crate::{Outcome, Size};

/// Every row meets those of the other side that are at most [`WIDTH`] away.
const QUERY: &str = "select count(*) as pairs, sum(b.at - a.at) as away
    from a join b on a.at between b.at - 5 and b.at + 5";
const WIDTH: i64 = 5;

/// Measures steps of one change each, on so many rows of both sides.
pub(crate) fn run(size: Size) -> Outcome {
    let mut figures = Vec::new();
    let mut smallest = None;
    for rows in [1_000, 100_000] {
        let name = format!("band-{rows}");
        let tables = tables();
        let mut flow = match Flow::new(QUERY, &tables, 1) {
            Ok(flow) => flow,
            Err(why) => return Ok(vec![Figure::lacking(name, why)]),
        };
        let mut shown: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        let load = tables.all.iter().map(|table| changes(table, 0..rows, 1)).collect();
        flow.run(&[load], |difference| see(&mut shown, difference))?;
        let steps: Vec<Step> =
            (0..size.of(100_000, 10_000)).map(|n| step(&tables, n, rows)).collect();
        let time = flow.run(&steps, |difference| see(&mut shown, difference))?;
        shown.retain(|_, count| *count != 0);
        // Within the width of an end there are fewer rows.
        let pairs = rows * (2 * WIDTH + 1) - WIDTH * (WIDTH + 1);
        if shown != BTreeMap::from([((pairs, 0), 1)]) {
            return Err(format!("{name}: {shown:?} instead of {pairs} pairs").into());
        }
        let rate = rate(steps.len(), time);
        let smallest = *smallest.get_or_insert(rate);
        let figure = Figure::alone(name, rate, "changes/s");
        figures.push(figure.beside("the smallest state", smallest));
    }
    Ok(figures)
}

fn tables() -> Tables {
    let columns = Arc::new(Schema::new(vec![Field::new("at", DataType::Int64, true)]));
    let table = |name| {
        let (name, columns) = (TableName::new("band", name), Arc::clone(&columns));
        Arc::new(TableSchema::new(name, columns, Vec::new(), ChangeForm::Exact))
    };
    Tables { all: vec![table("a"), table("b")], append_only: std::collections::BTreeSet::new() }
}

/// One row goes, and comes again in the next step; of either side, and anywhere.
fn step(tables: &Tables, number: i64, rows: i64) -> Step {
    let table = &tables.all[usize::from(number % 4 > 1)];
    let at = (number / 2).wrapping_mul(7_919) % rows;
    vec![changes(table, at..at + 1, if number % 2 == 0 { -1 } else { 1 })]
}

fn changes(table: &Arc<TableSchema>, at: std::ops::Range<i64>, diff: i64) -> TableChanges {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(at));
    let diffs = Int64Array::from_value(diff, column.len());
    let rows = RecordBatch::try_new(Arc::clone(table.columns()), vec![column]);
    let rows = ChangeBatch::new(rows.expect("the column is the table's"), diffs);
    let end = u32::try_from(rows.len()).expect("a step is small");
    TableChanges::new(Arc::clone(table), rows, vec![end], Vec::new())
}

fn see(shown: &mut BTreeMap<(i64, i64), i64>, difference: &ChangeBatch) {
    let column = |at: usize| difference.rows().column(at).as_primitive::<Int64Type>();
    let rows = column(0).iter().zip(column(1)).zip(difference.diffs());
    for ((pairs, away), diff) in rows {
        *shown.entry((pairs.unwrap_or(0), away.unwrap_or(0))).or_default() += diff;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_comes_again_in_the_step_behind_that_in_which_it_went() {
        let tables = tables();
        for number in 0..40 {
            let [gone, come] = [2 * number, 2 * number + 1].map(|number| step(&tables, number, 9));
            assert_eq!(gone[0].changes().rows(), come[0].changes().rows());
            assert_eq!(
                (gone[0].changes().diffs(), come[0].changes().diffs()),
                (&[-1][..], &[1][..])
            );
            assert_eq!(gone[0].table(), come[0].table());
        }
        let mut shown = BTreeMap::new();
        let mut flow = Flow::new(QUERY, &tables, 1).unwrap();
        let load = tables.all.iter().map(|table| changes(table, 0..30, 1)).collect();
        flow.run(&[load], |difference| see(&mut shown, difference)).unwrap();
        assert_eq!(shown.get(&(30 * 11 - 30, 0)), Some(&1), "{shown:?}");
    }
}
