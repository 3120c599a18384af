//! What the dataflow tells of its operators: whose they are, and the time that they take.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::DataType;
use change::ChangeForm;
use dataflow::{Dataflow, DataflowOptions, FlowStat, OperatorStat};
use plan::ir::{AggregateFunction, JoinKind, ViewPlan};

use crate::build::Query;
use crate::world::{Cell, changes, table};

static READINGS: AtomicU64 = AtomicU64::new(0);

/// A clock on which a microsecond passes between two readings.
fn tick() -> u64 {
    READINGS.fetch_add(1, Ordering::Relaxed) * 1_000
}

/// Two views that join the same table by the same key with others, and one that shares nothing with them but a table.
fn views() -> Vec<ViewPlan> {
    let columns = [("k", DataType::Int64), ("x", DataType::Int64)];
    let [a, b, c] = ["a", "b", "c"].map(|name| table(name, ChangeForm::Exact, &columns));
    let of = |table| Query::table(table, &[0, 1]);
    let count = (AggregateFunction::Count, None, false, None);
    let queries = [
        of(&a).join(of(&b), JoinKind::Inner, &[(0, 0)], None),
        of(&a).join(of(&c), JoinKind::Inner, &[(0, 0)], None),
        of(&a).aggregate(&[1], &[count]),
    ];
    queries.into_iter().map(Query::view).collect()
}

fn run(options: &DataflowOptions) -> FlowStat {
    let mut dataflow = Dataflow::with_options(&views(), options).unwrap();
    for step in 0..3_i64 {
        let tables: Vec<_> = dataflow.tables().map(|(table, _)| Arc::clone(table)).collect();
        let rows: Vec<(Vec<Cell>, i64)> =
            (0..10).map(|k| (vec![Cell::Int(k), Cell::Int(step)], 1)).collect();
        let parts: Vec<_> = tables.iter().map(|table| changes(table, &rows, vec![])).collect();
        dataflow.push(&parts).unwrap();
        dataflow.finish_step().unwrap();
    }
    dataflow.stat()
}

/// The views and nodes of an operator.
fn nodes(operator: &OperatorStat) -> Vec<(usize, usize)> {
    operator.nodes.iter().map(|of| (of.view, of.node)).collect()
}

#[test]
fn an_operator_names_the_parts_of_every_plan_that_it_computes() {
    let stat = run(&DataflowOptions::default());
    let found: Vec<(&str, Vec<(usize, usize)>)> =
        stat.views[0].operators.iter().map(|one| (one.operator, nodes(one))).collect();
    let expected = [
        ("table", vec![(0, 0), (1, 0), (2, 0)]),
        ("table", vec![(0, 1)]),
        ("arrange", vec![(0, 2), (1, 2)]),
        ("arrange", vec![(0, 2)]),
        ("join", vec![(0, 2)]),
    ];
    assert_eq!(found, expected);
    let shared = |view: usize| -> BTreeSet<usize> {
        stat.views[view].operators.iter().map(|operator| operator.stage).collect()
    };
    assert_eq!(shared(0).intersection(&shared(1)).count(), 2, "the table and its arrangement");
    assert_eq!(shared(0).intersection(&shared(2)).count(), 1, "the table");
}

#[test]
fn time_is_measured_with_a_clock_and_only_with_one() {
    let spent = |stat: &FlowStat| -> u64 {
        let operators = stat.views.iter().flat_map(|view| &view.operators);
        operators.map(|operator| operator.nanoseconds).sum::<u64>()
    };
    let without = run(&DataflowOptions::default());
    assert_eq!((spent(&without), without.tables[0].nanoseconds), (0, 0));
    for workers in [1, 3] {
        let before = READINGS.load(Ordering::Relaxed);
        let options = DataflowOptions { workers, clock: Some(tick), ..DataflowOptions::default() };
        let stat = run(&options);
        let readings = READINGS.load(Ordering::Relaxed) - before;
        for operator in stat.views.iter().flat_map(|view| &view.operators) {
            assert!(operator.nanoseconds > 0, "{workers} workers: {operator:?}");
            assert!(operator.nanoseconds_max <= operator.nanoseconds, "{operator:?}");
            assert!(operator.nanoseconds_max * workers as u64 >= operator.nanoseconds);
        }
        assert!(stat.views.iter().all(|view| view.nanoseconds > 0));
        assert!(stat.tables.iter().all(|table| table.nanoseconds > 0 && table.batches == 3));
        let batches = stages(&stat).map(|(_, batches)| batches).sum::<u64>();
        // Each batch takes one reading. Each step takes two for each table that is made exact, one at the end of each of
        // the three pushes, one for the aggregate and one behind it, one for each view that changed and one behind them.
        if workers == 1 {
            assert_eq!(readings, batches + 3 * (3 * 2 + 3 + 2 + 4));
        }
    }
}

/// Each stage once, with its batches.
fn stages(stat: &FlowStat) -> impl Iterator<Item = (usize, u64)> {
    let operators = stat.views.iter().flat_map(|view| &view.operators);
    let all: BTreeSet<_> = operators.map(|operator| (operator.stage, operator.batches)).collect();
    all.into_iter()
}
