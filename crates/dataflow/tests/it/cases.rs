//! One claim, one test.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, Int64Array, ListArray, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use change::{ChangeBatch, ChangeForm, TRUNCATE, TableChanges, TableSchema, Unchanged};
use dataflow::{Dataflow, DataflowOptions, FaultChange, FlowError};
use datafusion::common::ScalarValue;
use plan::ir::{
    AggregateFunction, Frame, FrameBound, FrameUnits, JoinKind, Node, OrderKey, ViewPlan,
    WindowCall, WindowFunction,
};

use crate::build::Query;
use crate::world::{Cell, changes, table};

const NULL: Cell = Cell::Null;

fn int(value: i64) -> Cell {
    Cell::Int(value)
}

fn text(value: &str) -> Cell {
    Cell::Text(value.into())
}

fn float(value: f64) -> Cell {
    Cell::Float(value)
}

fn facts(columns: &[(&str, DataType)]) -> Arc<TableSchema> {
    table("facts", ChangeForm::Exact, columns)
}

pub(crate) fn send(table: &Arc<TableSchema>, rows: &[(&[Cell], i64)]) -> TableChanges {
    let rows: Vec<(Vec<Cell>, i64)> =
        rows.iter().map(|(row, diff)| (row.to_vec(), *diff)).collect();
    changes(table, &rows, vec![])
}

/// A difference as text: a row's values, and its diff.
fn lines(batch: &ChangeBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("-");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .rows()
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let line = |row: usize| {
        let values: Vec<String> =
            columns.iter().map(|column| column.value(row).to_string()).collect();
        format!("{} {:+}", values.join(" "), batch.diffs()[row])
    };
    (0..batch.len()).map(line).collect()
}

/// Takes one step with one view and compares its difference.
#[track_caller]
pub(crate) fn check(dataflow: &mut Dataflow, parts: &[TableChanges], expected: &[&str]) {
    dataflow.push(parts).unwrap();
    let differences = dataflow.finish_step().unwrap();
    let found: Vec<String> = differences.iter().flat_map(|(_, batch)| lines(batch)).collect();
    assert_eq!(found, expected);
}

fn named(name: &str, query: Query) -> ViewPlan {
    ViewPlan { name: name.into(), ..query.view() }
}

#[test]
fn a_left_row_is_padded_exactly_while_no_right_row_meets_the_condition() {
    let l = table("l", ChangeForm::Exact, &[("k", DataType::Int64), ("low", DataType::Int64)]);
    let r = table("r", ChangeForm::Exact, &[("k", DataType::Int64), ("high", DataType::Int64)]);
    let join = Query::table(&l, &[0, 1]).join(
        Query::table(&r, &[0, 1]),
        JoinKind::Left,
        &[(0, 0)],
        Some((1, "<", 1)),
    );
    let mut dataflow = Dataflow::new(&[join.view()]).unwrap();
    let left = |diff| send(&l, &[(&[int(1), int(5)], diff)]);
    let right = |high, diff| send(&r, &[(&[int(1), int(high)], diff)]);
    check(&mut dataflow, &[left(2)], &["1 5 - - +2"]);
    check(&mut dataflow, &[right(5, 1)], &[]);
    check(&mut dataflow, &[right(6, 1)], &["1 5 - - -2", "1 5 1 6 +2"]);
    check(&mut dataflow, &[right(7, 1), left(-1)], &["1 5 1 6 -1", "1 5 1 7 +1"]);
    check(&mut dataflow, &[right(6, -1)], &["1 5 1 6 -1"]);
    check(&mut dataflow, &[right(7, -1)], &["1 5 - - +1", "1 5 1 7 -1"]);
    check(&mut dataflow, &[left(-1), left(1), left(-1)], &["1 5 - - -1"]);
    check(&mut dataflow, &[right(5, -1)], &[]);
    let stat = dataflow.stat();
    assert!(stat.views[0].operators.iter().all(|operator| operator.state.rows == 0), "{stat}");
}

#[test]
fn null_keys_match_nothing_and_zeros_and_nans_match_each_other() {
    let l = table("l", ChangeForm::Exact, &[("x", DataType::Float64)]);
    let r = table("r", ChangeForm::Exact, &[("x", DataType::Float64)]);
    for (kind, padded) in [(JoinKind::Inner, None), (JoinKind::Left, Some("- - +1"))] {
        let join = Query::table(&l, &[0]).join(Query::table(&r, &[0]), kind, &[(0, 0)], None);
        let mut dataflow = Dataflow::new(&[join.view()]).unwrap();
        let left = send(&l, &[(&[NULL], 1), (&[float(-0.0)], 1), (&[float(f64::NAN)], 1)]);
        let right = send(&r, &[(&[NULL], 1), (&[float(0.0)], 1), (&[float(-f64::NAN)], 1)]);
        let expected: Vec<&str> = padded.into_iter().chain(["-0.0 0.0 +1", "NaN NaN +1"]).collect();
        check(&mut dataflow, &[left, right], &expected);
    }
}

#[test]
fn a_distinct_aggregate_counts_equal_floats_once() {
    let table = facts(&[("x", DataType::Float64)]);
    let count = (AggregateFunction::Count, Some(0), true, None);
    let query = Query::table(&table, &[0]).aggregate(&[], &[count]);
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    let zeros = send(&table, &[(&[float(-0.0)], 1), (&[float(0.0)], 1), (&[NULL], 1)]);
    check(&mut dataflow, &[zeros], &["1 +1"]);
    check(&mut dataflow, &[send(&table, &[(&[float(0.0)], -1)])], &[]);
    check(&mut dataflow, &[send(&table, &[(&[float(-0.0)], -1)])], &["0 +1", "1 -1"]);
}

#[test]
fn nan_is_the_greatest_float_whatever_the_order_of_the_rows() {
    let table = facts(&[("x", DataType::Float64)]);
    let calls =
        [AggregateFunction::Min, AggregateFunction::Max].map(|call| (call, Some(0), false, None));
    let query = Query::table(&table, &[0]).aggregate(&[], &calls);
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    let rows = send(&table, &[(&[float(-f64::NAN)], 1), (&[float(-0.5)], 1), (&[NULL], 1)]);
    check(&mut dataflow, &[rows], &["-0.5 NaN +1"]);
    check(&mut dataflow, &[send(&table, &[(&[float(-0.5)], -1)])], &["-0.5 NaN -1", "NaN NaN +1"]);
    check(&mut dataflow, &[send(&table, &[(&[float(-f64::NAN)], -1)])], &["- - +1", "NaN NaN -1"]);
}

#[test]
fn an_aggregate_over_no_rows_is_shown_by_the_first_step() {
    let table = facts(&[("x", DataType::Int64)]);
    let calls = [
        (AggregateFunction::Count, None, false, None),
        (AggregateFunction::Sum, Some(0), false, None),
        (AggregateFunction::Max, Some(0), false, None),
    ];
    let query = Query::table(&table, &[0]).aggregate(&[], &calls);
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    check(&mut dataflow, &[], &["0 - - +1"]);
    check(&mut dataflow, &[], &[]);
    check(&mut dataflow, &[send(&table, &[(&[int(7)], 2)])], &["0 - - -1", "2 14 7 +1"]);
    check(&mut dataflow, &[send(&table, &[(&[int(7)], -2)])], &["0 - - +1", "2 14 7 -1"]);
}

#[test]
fn a_float_sum_does_not_drift_when_terms_are_taken_back() {
    let table = facts(&[("x", DataType::Float64)]);
    let query = Query::table(&table, &[0])
        .aggregate(&[], &[(AggregateFunction::Sum, Some(0), false, None)]);
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    let row = |x: f64, diff| send(&table, &[(&[float(x)], diff)]);
    check(&mut dataflow, &[row(0.1, 1), row(1e300, 1)], &["1e300 +1"]);
    check(&mut dataflow, &[row(1e300, -1)], &["0.1 +1", "1e300 -1"]);
    check(&mut dataflow, &[row(f64::NAN, 1)], &["0.1 -1", "NaN +1"]);
    check(&mut dataflow, &[row(f64::NAN, -1), row(f64::INFINITY, 1)], &["inf +1", "NaN -1"]);
    check(&mut dataflow, &[row(f64::INFINITY, -1)], &["0.1 +1", "inf -1"]);
}

#[test]
fn a_group_is_not_shown_while_its_sum_overflows() {
    let table = facts(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let query = Query::table(&table, &[0, 1])
        .aggregate(&[0], &[(AggregateFunction::Sum, Some(1), false, None)]);
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    let row = |group, x, diff| send(&table, &[(&[int(group), int(x)], diff)]);
    check(&mut dataflow, &[row(1, 5, 1), row(2, 7, 1)], &["1 5 +1", "2 7 +1"]);
    check(&mut dataflow, &[row(1, i64::MAX, 1)], &["1 5 -1"]);
    check(&mut dataflow, &[row(1, 1, 1), row(2, 1, 1)], &["2 7 -1", "2 8 +1"]);
    check(&mut dataflow, &[row(1, i64::MAX, -1)], &["1 6 +1"]);
    check(&mut dataflow, &[row(1, i64::MAX, 2), row(1, 1, -1), row(1, 5, -1)], &["1 6 -1"]);
    check(&mut dataflow, &[row(1, i64::MAX, -2), row(2, 8, -1), row(2, 8, 1)], &[]);
}

#[test]
fn a_sum_may_overflow_within_a_step_when_it_fits_at_its_end() {
    let table = facts(&[("x", DataType::Int64)]);
    let query = Query::table(&table, &[0])
        .aggregate(&[], &[(AggregateFunction::Sum, Some(0), false, None)]);
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    let rows = send(&table, &[(&[int(i64::MAX)], 3), (&[int(i64::MAX)], -2)]);
    check(&mut dataflow, &[rows], &["9223372036854775807 +1"]);
}

#[test]
fn a_row_that_cannot_be_computed_is_told_until_its_cause_is_gone() {
    let table = facts(&[("x", DataType::Int64)]);
    let division = Query::table(&table, &[0]).project(&[("10 / x", "y")]);
    let condition = Query::table(&table, &[0]).filter("10 / x > 2");
    let self_join = Query::table(&table, &[0]).join(
        Query::table(&table, &[0]),
        JoinKind::Left,
        &[(0, 0)],
        None,
    );
    let views =
        [named("division", division), named("condition", condition), named("plain", self_join)];
    let mut dataflow = Dataflow::new(&views).unwrap();
    let told = |dataflow: &mut Dataflow| -> Vec<String> {
        let faults = dataflow.take_faults().into_iter();
        let line = |fault: FaultChange| {
            format!(
                "{} {} of {}: {} {:+}",
                fault.view, fault.expression, fault.row, fault.message, fault.diff
            )
        };
        faults.map(line).collect()
    };
    let row = |x, diff| send(&table, &[(&[int(x)], diff)]);
    let step = [row(0, 2), row(5, 1), row(3, 1)];
    check(&mut dataflow, &step, &["2 +1", "3 +1", "3 +1", "0 0 +4", "3 3 +1", "5 5 +1"]);
    let faults = told(&mut dataflow);
    assert_eq!(
        faults,
        [
            r#"0 10 / x of {"x":0}: Arrow error: Divide by zero error +2"#,
            r#"1 10 / x > 2 of {"x":0}: Arrow error: Divide by zero error +2"#,
        ]
    );
    assert!(told(&mut dataflow).is_empty(), "they are told once");
    check(&mut dataflow, &[row(0, -1)], &["0 0 -3"]);
    assert_eq!(told(&mut dataflow).len(), 2);
    check(&mut dataflow, &[row(0, -1), row(5, -1)], &["2 -1", "0 0 -1", "5 5 -1"]);
    assert_eq!(told(&mut dataflow).concat().matches("error -1").count(), 2);
}

#[test]
fn a_condition_that_guards_itself_is_no_fault_whatever_the_batch() {
    let table = facts(&[("x", DataType::Int64)]);
    for condition in ["x <> 0 and 10 / x > 1", "x = 0 or 10 / x > 1"] {
        let guarded = Query::table(&table, &[0]).filter(condition);
        let rows: Vec<(&[Cell], i64)> =
            vec![(&[Cell::Int(0)], 1), (&[Cell::Int(5)], 1), (&[Cell::Int(50)], 1)];
        let zero = if condition.contains("or") { vec!["0 +1"] } else { vec![] };
        let expected: Vec<&str> = zero.into_iter().chain(["5 +1"]).collect();
        let mut dataflow = Dataflow::new(&[guarded.view()]).unwrap();
        check(&mut dataflow, &[send(&table, &rows)], &expected);
        assert!(dataflow.take_faults().is_empty(), "{condition}");
    }
}

#[test]
fn an_equal_upsert_changes_nothing_and_a_delete_of_no_row_is_counted() {
    let table =
        table("items", ChangeForm::Upsert, &[("id", DataType::Int64), ("name", DataType::Utf8)]);
    let mut dataflow = Dataflow::new(&[Query::table(&table, &[0, 1]).view()]).unwrap();
    let set = |name: &str| send(&table, &[(&[int(1), text(name)], 1)]);
    let delete = |id| send(&table, &[(&[int(id), NULL], -1)]);
    check(&mut dataflow, &[set("a")], &["1 a +1"]);
    check(&mut dataflow, &[set("a")], &[]);
    check(&mut dataflow, &[set("b"), set("c"), set("d")], &["1 a -1", "1 d +1"]);
    check(&mut dataflow, &[delete(2)], &[]);
    check(&mut dataflow, &[delete(1), set("e"), delete(1)], &["1 d -1"]);
    let stat = dataflow.stat();
    assert_eq!((stat.tables[0].deletes_ignored, stat.tables[0].state.rows), (1, 0));
}

#[test]
fn an_unchanged_value_comes_from_the_row_with_the_key_or_from_the_row_that_moved() {
    let table = table(
        "items",
        ChangeForm::Upsert,
        &[("id", DataType::Int64), ("name", DataType::Utf8), ("note", DataType::Utf8)],
    );
    let query = Query::table(&table, &[0, 2]);
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    let note = |row| Unchanged { row, column: 2 };
    let row = |id, name: &str, note: Cell| (vec![int(id), text(name), note], 1);
    check(&mut dataflow, &[changes(&table, &[row(1, "a", text("long"))], vec![])], &["1 long +1"]);
    // Only a column that no view reads has changed.
    check(&mut dataflow, &[changes(&table, &[row(1, "b", NULL)], vec![note(0)])], &[]);
    let gone = (vec![int(1), NULL, NULL], -1);
    let moved = changes(&table, &[gone, row(2, "b", NULL)], vec![note(1)]);
    check(&mut dataflow, &[moved], &["1 long -1", "2 long +1"]);
    let error = dataflow.push(&[changes(&table, &[row(3, "c", NULL)], vec![note(0)])]).unwrap_err();
    assert!(matches!(error, FlowError::OldRowUnknown { .. }), "{error}");
}

#[test]
fn a_truncation_takes_back_every_row_and_only_those_before_it() {
    let columns = [("x", DataType::Int64)];
    for form in [ChangeForm::Exact, ChangeForm::Upsert] {
        let table = table("facts", form, &columns);
        let mut dataflow = Dataflow::new(&[Query::table(&table, &[0]).view()]).unwrap();
        check(&mut dataflow, &[send(&table, &[(&[int(1)], 1), (&[int(2)], 1)])], &["1 +1", "2 +1"]);
        let rows = send(&table, &[(&[int(3)], 1), (&[NULL], TRUNCATE), (&[int(2)], 1)]);
        check(&mut dataflow, &[rows], &["1 -1"]);
        check(&mut dataflow, &[send(&table, &[(&[NULL], TRUNCATE)])], &["2 -1"]);
    }
    let table = facts(&columns);
    let options = DataflowOptions {
        append_only: BTreeSet::from([table.name().clone()]),
        ..DataflowOptions::default()
    };
    let views = [Query::table(&table, &[0]).view()];
    let mut dataflow = Dataflow::with_options(&views, &options).unwrap();
    check(&mut dataflow, &[send(&table, &[(&[int(1)], 1)])], &["1 +1"]);
    assert_eq!(dataflow.stat().tables[0].state.rows, 0);
    let error = dataflow.push(&[send(&table, &[(&[NULL], TRUNCATE)])]).unwrap_err();
    assert_eq!(error.code(), "FLOW008");
}

#[test]
fn a_top_k_shows_its_window_and_equal_rows_as_often_as_they_are_in_it() {
    let table = facts(&[("x", DataType::Int64), ("y", DataType::Utf8)]);
    let query = Query::table(&table, &[0, 1]).top(&[(0, true, false)], 1, Some(3));
    let mut dataflow = Dataflow::new(&[query.view()]).unwrap();
    let row = |x: i64, y: &str, diff| send(&table, &[(&[int(x), text(y)], diff)]);
    check(&mut dataflow, &[row(5, "a", 3)], &["5 a +2"]);
    check(&mut dataflow, &[row(5, "b", 1), row(4, "a", 5)], &["5 b +1"]);
    check(&mut dataflow, &[row(3, "a", 1)], &[]);
    check(&mut dataflow, &[row(9, "z", 1)], &["5 a +1", "5 b -1"]);
    check(&mut dataflow, &[row(5, "a", -3)], &["4 a +2", "5 a -3", "5 b +1"]);
}

#[test]
fn what_goes_leaves_no_state_behind() {
    let table =
        table("items", ChangeForm::Upsert, &[("id", DataType::Int64), ("kind", DataType::Int64)]);
    let base = || Query::table(&table, &[0, 1]);
    let least = (AggregateFunction::Min, Some(0), false, None);
    let views = [
        base().join(base(), JoinKind::Left, &[(1, 1)], Some((0, "<", 0))),
        base().aggregate(&[1], &[least, (AggregateFunction::Count, Some(0), true, None)]),
        base().distinct(),
        base().top(&[(1, false, true)], 0, Some(2)),
    ];
    let plans: Vec<ViewPlan> = views.into_iter().map(Query::view).collect();
    let mut dataflow = Dataflow::new(&plans).unwrap();
    let step = |dataflow: &mut Dataflow, diff: i64| {
        let kind = |id| if diff > 0 { int(id % 7) } else { NULL };
        let rows: Vec<(Vec<Cell>, i64)> =
            (0..50).map(|id| (vec![int(id), kind(id)], diff)).collect();
        dataflow.push(&[changes(&table, &rows, vec![])]).unwrap();
        dataflow.finish_step().unwrap();
    };
    step(&mut dataflow, 1);
    assert!(dataflow.stat().tables[0].state.rows == 50);
    step(&mut dataflow, -1);
    let stat = dataflow.stat();
    let views =
        stat.views.iter().flat_map(|view| &view.operators).map(|operator| operator.state.rows);
    assert_eq!(views.sum::<usize>() + stat.tables[0].state.rows, 0, "{stat}");
}

#[test]
fn tables_that_no_view_reads_are_ignored_and_changed_schemas_refused() {
    let table = facts(&[("x", DataType::Int64)]);
    let mut dataflow = Dataflow::new(&[Query::table(&table, &[0]).view()]).unwrap();
    let other = crate::world::table("other", ChangeForm::Exact, &[("x", DataType::Int64)]);
    assert!(dataflow.reads(table.name()) && !dataflow.reads(other.name()));
    check(&mut dataflow, &[send(&other, &[(&[int(1)], 1)])], &[]);
    let changed = facts(&[("x", DataType::Utf8)]);
    let error = dataflow.push(&[send(&changed, &[(&[text("1")], 1)])]).unwrap_err();
    assert_eq!(error.code(), "FLOW006");
}

/// One list column beside a number.
fn lists(rows: &[(i64, Option<Vec<Option<i64>>>)]) -> RecordBatch {
    let numbers: Int64Array = rows.iter().map(|(number, _)| *number).collect();
    let lists = rows.iter().map(|(_, list)| list.clone());
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
    let fields = vec![
        Field::new("n", DataType::Int64, true),
        Field::new("l", lists.data_type().clone(), true),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(numbers), Arc::new(lists)])
        .unwrap()
}

#[test]
fn constant_rows_appear_in_the_first_step_and_lists_become_rows() {
    let rows = lists(&[
        (1, Some(vec![Some(7), None, Some(8)])),
        (2, None),
        (3, Some(vec![])),
        (4, Some(vec![Some(9)])),
    ]);
    let fields =
        vec![Field::new("n", DataType::Int64, true), Field::new("l", DataType::Int64, true)];
    let node = Node::Unnest {
        input: Box::new(Node::Constant { rows }),
        lists: vec![1],
        schema: Arc::new(Schema::new(fields)),
    };
    let mut dataflow = Dataflow::new(&[Query { node, sql: String::new() }.view()]).unwrap();
    check(&mut dataflow, &[], &["1 - +1", "1 7 +1", "1 8 +1", "4 9 +1"]);
    check(&mut dataflow, &[], &[]);
}

#[test]
fn elements_of_an_aggregated_list_come_and_go() {
    let table = facts(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let query = Query::table(&table, &[0, 1])
        .aggregate(&[0], &[(AggregateFunction::ArrayAgg, Some(1), false, None)]);
    let fields =
        vec![Field::new("g", DataType::Int64, true), Field::new("x", DataType::Int64, true)];
    let node = Node::Unnest {
        input: Box::new(query.node),
        lists: vec![1],
        schema: Arc::new(Schema::new(fields)),
    };
    let mut dataflow = Dataflow::new(&[Query { node, sql: String::new() }.view()]).unwrap();
    let row = |x: Cell, diff| send(&table, &[(&[int(1), x], diff)]);
    check(&mut dataflow, &[row(int(5), 2), row(NULL, 1)], &["1 - +1", "1 5 +2"]);
    check(&mut dataflow, &[row(int(5), -1), row(int(6), 1)], &["1 5 -1", "1 6 +1"]);
    check(
        &mut dataflow,
        &[row(int(5), -1), row(int(6), -1), row(NULL, -1)],
        &["1 - -1", "1 5 -1", "1 6 -1"],
    );
}

#[test]
fn a_key_shows_its_row_only_while_it_has_one() {
    let table = facts(&[("k", DataType::Int64), ("x", DataType::Int64)]);
    let input = Query::table(&table, &[0, 1]);
    let node = Node::Single { input: Box::new(input.node), key: vec![0] };
    let mut dataflow = Dataflow::new(&[Query { node, sql: String::new() }.view()]).unwrap();
    let row = |k: Cell, x, diff| send(&table, &[(&[k, int(x)], diff)]);
    check(&mut dataflow, &[row(int(1), 5, 1), row(NULL, 6, 1)], &["- 6 +1", "1 5 +1"]);
    check(&mut dataflow, &[row(int(1), 7, 1), row(NULL, 6, 1)], &["- 6 -1", "1 5 -1"]);
    check(&mut dataflow, &[row(int(1), 5, -1)], &["1 7 +1"]);
    check(&mut dataflow, &[row(int(1), 7, -1), row(NULL, 6, -2)], &["1 7 -1"]);
    assert!(dataflow.stat().views[0].operators.iter().all(|stat| stat.state.rows == 0));
}

/// A view of one window call over (g, t, x), partitioned by g, ordered by t.
fn windowed(table: &Arc<TableSchema>, function: WindowFunction, frame: Frame) -> Dataflow {
    let input = Query::table(table, &[0, 1, 2]);
    let output = table.columns().field(2).data_type().clone();
    let mut fields: Vec<Field> =
        input.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("w", output.clone(), true));
    let node = Node::Window {
        input: Box::new(input.node),
        partition: vec![0],
        order: vec![OrderKey { column: 1, options: SortOptions::default() }],
        calls: vec![WindowCall { function, filter: None, frame, output }],
        schema: Arc::new(Schema::new(fields)),
    };
    Dataflow::new(&[Query { node, sql: String::new() }.view()]).unwrap()
}

fn frame(units: FrameUnits, start: FrameBound, end: FrameBound) -> Frame {
    Frame { units, start, end }
}

fn numbers() -> Arc<TableSchema> {
    facts(&[("g", DataType::Int64), ("t", DataType::Int64), ("x", DataType::Int64)])
}

#[test]
fn a_lag_that_passes_over_nulls_finds_the_value_before_them() {
    let table = numbers();
    let function = WindowFunction::Lag {
        argument: 2,
        offset: 1,
        default: ScalarValue::Int64(Some(-1)),
        ignore_nulls: true,
    };
    let whole =
        frame(FrameUnits::Rows, FrameBound::UnboundedPreceding, FrameBound::UnboundedFollowing);
    let mut dataflow = windowed(&table, function, whole);
    let row = |t, x: Cell, diff| send(&table, &[(&[int(1), int(t), x], diff)]);
    check(
        &mut dataflow,
        &[row(1, int(5), 1), row(2, NULL, 1), row(3, int(7), 1)],
        &["1 1 5 -1 +1", "1 2 - 5 +1", "1 3 7 5 +1"],
    );
    check(
        &mut dataflow,
        &[row(2, NULL, -1), row(2, int(6), 1)],
        &["1 2 - 5 -1", "1 2 6 5 +1", "1 3 7 5 -1", "1 3 7 6 +1"],
    );
}

#[test]
fn the_nth_value_of_a_frame_is_null_until_the_frame_has_so_many_rows() {
    let table = numbers();
    let function = WindowFunction::NthValue { argument: 2, n: 2, ignore_nulls: false };
    let rows = frame(FrameUnits::Range, FrameBound::UnboundedPreceding, FrameBound::CurrentRow);
    let mut dataflow = windowed(&table, function, rows);
    let row = |t, x, diff| send(&table, &[(&[int(1), int(t), int(x)], diff)]);
    check(&mut dataflow, &[row(1, 5, 1), row(3, 7, 1)], &["1 1 5 - +1", "1 3 7 7 +1"]);
    check(&mut dataflow, &[row(2, 6, 1)], &["1 2 6 6 +1", "1 3 7 6 +1", "1 3 7 7 -1"]);
    // Peers are one frame.
    check(
        &mut dataflow,
        &[row(1, 4, 1)],
        &[
            "1 1 4 5 +1",
            "1 1 5 - -1",
            "1 1 5 5 +1",
            "1 2 6 5 +1",
            "1 2 6 6 -1",
            "1 3 7 5 +1",
            "1 3 7 6 -1",
        ],
    );
}

#[test]
fn a_range_ends_where_values_do_and_nulls_are_a_range_of_their_own() {
    let table = numbers();
    let sum = WindowFunction::Aggregate {
        function: AggregateFunction::Sum,
        argument: Some(2),
        separator: None,
    };
    let one = || ScalarValue::Int64(Some(1));
    let range =
        frame(FrameUnits::Range, FrameBound::Preceding(one()), FrameBound::Following(one()));
    let mut dataflow = windowed(&table, sum, range);
    let row = |t: Cell, x, diff| send(&table, &[(&[int(1), t, int(x)], diff)]);
    let first = [row(NULL, 100, 1), row(int(i64::MAX), 1, 1), row(int(i64::MIN), 2, 1)];
    check(
        &mut dataflow,
        &first,
        &["1 - 100 100 +1", "1 -9223372036854775808 2 2 +1", "1 9223372036854775807 1 1 +1"],
    );
    check(
        &mut dataflow,
        &[row(int(i64::MAX - 1), 4, 1), row(NULL, 200, 1)],
        &[
            "1 - 100 100 -1",
            "1 - 100 300 +1",
            "1 - 200 300 +1",
            "1 9223372036854775806 4 5 +1",
            "1 9223372036854775807 1 1 -1",
            "1 9223372036854775807 1 5 +1",
        ],
    );
}

#[test]
fn a_text_over_a_frame_that_moves_is_joined_anew_where_a_change_reaches() {
    let table = facts(&[("g", DataType::Int64), ("t", DataType::Int64), ("x", DataType::Utf8)]);
    let joined = WindowFunction::Aggregate {
        function: AggregateFunction::StringAgg,
        argument: Some(2),
        separator: Some("+".into()),
    };
    let one = || ScalarValue::UInt64(Some(1));
    let near = frame(FrameUnits::Rows, FrameBound::Preceding(one()), FrameBound::Following(one()));
    let mut dataflow = windowed(&table, joined, near);
    let row = |t, x: Cell, diff| send(&table, &[(&[int(1), int(t), x], diff)]);
    check(
        &mut dataflow,
        &[row(1, text("a"), 1), row(2, NULL, 1), row(3, text("c"), 2)],
        &["1 1 a a +1", "1 2 - a+c +1", "1 3 c c+c +2"],
    );
    check(
        &mut dataflow,
        &[row(2, text("b"), 1)],
        &["1 2 - a+b +1", "1 2 - a+c -1", "1 2 b b+c +1", "1 3 c b+c+c +1", "1 3 c c+c -1"],
    );
    check(&mut dataflow, &[row(1, text("a"), -1)], &["1 1 a a -1", "1 2 - a+b -1", "1 2 - b +1"]);
}

#[test]
fn rows_that_a_change_cannot_reach_are_not_emitted() {
    let table = numbers();
    let sum = WindowFunction::Aggregate {
        function: AggregateFunction::Sum,
        argument: Some(2),
        separator: None,
    };
    let running = frame(FrameUnits::Rows, FrameBound::UnboundedPreceding, FrameBound::CurrentRow);
    let mut dataflow = windowed(&table, sum, running);
    let row = |t, x, diff| send(&table, &[(&[int(1), int(t), int(x)], diff)]);
    let rows: Vec<TableChanges> = (0..1_000).map(|t| row(t, 1, 1)).collect();
    dataflow.push(&rows).unwrap();
    dataflow.finish_step().unwrap();
    // Two changes that cancel out leave the rows behind them alone.
    check(
        &mut dataflow,
        &[row(10, 1, -1), row(10, 3, 1), row(11, 1, -1), row(11, -1, 1)],
        &["1 10 1 11 -1", "1 10 3 13 +1", "1 11 -1 12 +1", "1 11 1 12 -1"],
    );
    dataflow.push(&[row(998, 1, 1)]).unwrap();
    assert_eq!(dataflow.finish_step().unwrap()[0].1.len(), 3);
}
