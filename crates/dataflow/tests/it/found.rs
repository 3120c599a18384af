//! What random SQL has found: each a small case of its own, compared with its batch after every step.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use change::{ChangeBatch, ChangeForm};
use dataflow::Dataflow;
use plan::{Batch, Catalog};

use crate::property::{Held, comparable, nullable, show};
use crate::world::{Cell, changes, rows, table};

/// A row of the table `t`: two numbers and a text.
type Row = (i64, i64, &'static str);

/// Maintains a query over `t (a bigint, b bigint, c text)` while rows come and go.
fn check(query: &str, steps: &[&[(Row, i64)]]) {
    let columns = [("a", DataType::Int64), ("b", DataType::Int64), ("c", DataType::Utf8)];
    let table = table("t", ChangeForm::Exact, &columns);
    let catalog = Catalog { tables: vec![Arc::clone(&table)], ..Catalog::default() };
    let script = plan::parse(&format!("create view v as {query}")).unwrap();
    let mut batch = Batch::new(&script, &catalog).unwrap_or_else(|error| panic!("{error}"));
    let view = batch.program().views[0].clone();
    let mut dataflow = Dataflow::new(std::slice::from_ref(&view)).unwrap();
    let mut held = Held::new(nullable(&view.schema));
    let mut there: Vec<Row> = Vec::new();
    let cells = |row: &Row| vec![Cell::Int(row.0), Cell::Int(row.1), Cell::Text(row.2.to_owned())];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (at, step) in steps.iter().enumerate() {
        for (row, diff) in *step {
            if *diff > 0 {
                there.push(*row);
            } else {
                there.remove(there.iter().position(|other| other == row).unwrap());
            }
        }
        let list: Vec<_> = step.iter().map(|(row, diff)| (cells(row), *diff)).collect();
        dataflow.push(&[changes(&table, &list, vec![])]).unwrap();
        for (_, difference) in dataflow.finish_step().unwrap() {
            held.add(&difference);
        }
        assert!(dataflow.take_faults().is_empty());
        let now = rows(&table, &there.iter().map(cells).collect::<Vec<_>>());
        let run = batch.run(vec![(table.name().clone(), vec![now])]);
        let (_, right) = runtime.block_on(run).unwrap().remove(0);
        let schema = held.rows.schema();
        let right = concat_batches(&view.schema, &right).unwrap();
        let should = comparable(&ChangeBatch::inserts(right), &schema);
        let is = comparable(&held.rows, &schema);
        assert!(is == should, "step {at}, {query}\n{}\n{}", show(&is), show(&should));
    }
}

#[test]
fn the_nth_value_of_a_whole_partition_reaches_the_rows_before_it() {
    check(
        "select a, b, nth_value(b, 2) over (partition by c order by a
            rows between unbounded preceding and unbounded following) as second from t",
        &[
            &[((1, 10, "x"), 1), ((1, 11, "y"), 1)],
            &[((6, 20, "x"), 1)],
            &[((3, 30, "x"), 1), ((2, 40, "y"), 1)],
            &[((3, 30, "x"), -1)],
            &[((1, 10, "x"), -1)],
        ],
    );
}

#[test]
fn string_agg_is_text_in_grouping_sets_and_in_conditions() {
    let steps: [&[(Row, i64)]; 3] = [
        &[],
        &[((1, 1, "x"), 1), ((1, 2, "y"), 1), ((2, 1, "x"), 1)],
        &[((1, 1, "x"), -1), ((2, 2, "x"), 1)],
    ];
    let list = "string_agg(c, '+' order by c)";
    check(&format!("select a, b, {list} as texts from t group by cube (a, b)"), &steps);
    check(&format!("select a from t group by a having {list} is distinct from 'x+y'"), &steps);
    check(
        &format!("select a, grouping(a) as g, {list} as texts from t group by rollup (a)"),
        &steps,
    );
    check(&format!("select {list} || '!' as texts, max(b) as b from t group by a"), &steps);
}

#[test]
fn ties_of_windows_are_broken_by_all_columns() {
    let steps: [&[(Row, i64)]; 2] = [
        &[((1, 3, "x"), 1), ((1, 2, "z"), 1), ((1, 2, "y"), 1), ((2, 1, "x"), 1)],
        &[((1, 2, "y"), -1), ((1, 1, "w"), 1), ((1, 3, "x"), 1)],
    ];
    for call in ["row_number()", "lag(c)", "first_value(c)", "last_value(b)", "ntile(2)"] {
        check(&format!("select b, c, {call} over (order by a desc) as found from t"), &steps);
        check(&format!("select b, c, {call} over (partition by a) as found from t"), &steps);
    }
    check("select a, b, c from t order by a desc limit 2", &steps);
    check("select distinct on (a) a, b, c from t order by a", &steps);
    check("select a, b from t qualify row_number() over (partition by a order by b) = 1", &steps);
}

#[test]
fn keys_of_joins_may_be_of_several_types() {
    let steps: [&[(Row, i64)]; 2] = [
        &[((1, 3, "x"), 1), ((1, 2, "zz"), 1), ((2, 2, "y"), 1), ((4, 1, "z"), 1)],
        &[((1, 2, "zz"), -1), ((1, 1, "w"), 1), ((3, 3, "x"), 1)],
    ];
    let narrow = "(select cast(a as int) as a, cast(b as int) as b, c from t)";
    check(
        &format!(
            "select o.k, o.c from (select case when c like 'z%' then b else 1 end as k, c from {narrow} as n) as o
             where 2 in (select 2 from {narrow} as i where o.k = i.a and o.k between i.a - 1 and i.a + 1)"
        ),
        &steps,
    );
    check(
        &format!(
            "select o.k from (select cast(a as bigint) as k from t union select b from {narrow} as n) as o
             where o.k not in (select i.a from {narrow} as i where o.k = i.b)"
        ),
        &steps,
    );
}
