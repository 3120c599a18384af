//! Faults of operators: each is there as long as its cause, and is taken back as it was given.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use change::ChangeBatch;
use plan::ir::{
    AggregateCall, AggregateFunction, Frame, FrameBound, FrameUnits, WindowCall, WindowFunction,
};

use super::aggregate::{Aggregate, AggregateOptions};
use super::single::Single;
use super::window::Window;
use super::{BuildError, Out};
use crate::state::State;

fn schema(names: &[&str]) -> SchemaRef {
    let fields = names.iter().map(|name| Field::new(*name, DataType::Int64, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn rows(list: &[(i64, i64, i64)]) -> ChangeBatch {
    let column = |value: fn(&(i64, i64, i64)) -> i64| -> Arc<Int64Array> {
        Arc::new(list.iter().map(value).map(Some).collect())
    };
    let columns: Vec<arrow::array::ArrayRef> = vec![column(|row| row.0), column(|row| row.1)];
    let diffs = list.iter().map(|row| row.2).collect();
    ChangeBatch::new(RecordBatch::try_new(schema(&["g", "x"]), columns).unwrap(), diffs)
}

/// What a step gives out: the rows' diffs, and the faults.
fn given(out: Out) -> (Vec<i64>, Vec<String>) {
    let diffs = out.rows.iter().flat_map(|batch| batch.diffs().to_vec()).collect();
    let faults = out.faults.into_iter();
    let fault = |fault: super::Fault| {
        let super::Fault { expression, row, message, diff } = fault;
        format!("{expression} {row} {message} {diff:+}")
    };
    (diffs, faults.map(fault).collect())
}

fn built<T>(operator: Result<T, BuildError>) -> T {
    match operator {
        Ok(operator) => operator,
        Err(BuildError::Unsupported(what)) => panic!("{what}"),
        Err(BuildError::Columns(error)) => panic!("{error}"),
    }
}

#[test]
fn an_overflowing_sum_is_a_fault_of_its_group_until_it_fits_again() {
    let call = AggregateCall {
        function: AggregateFunction::Sum,
        argument: Some(1),
        distinct: false,
        filter: None,
        order: Vec::new(),
        separator: None,
        output: DataType::Int64,
    };
    let input = schema(&["g", "x"]);
    let mut sums = built(Aggregate::new(
        &input,
        &[0],
        &[call],
        &schema(&["g", "total"]),
        AggregateOptions::default(),
    ));
    let mut check = |changes: &[(i64, i64, i64)], diffs: &[i64], faults: &[&str]| {
        sums.push(&rows(changes)).unwrap();
        let mut out = Out::default();
        sums.finish(&State::default(), &mut out).unwrap();
        let (found_diffs, found_faults) = given(out);
        assert_eq!(found_diffs, diffs, "{changes:?}");
        assert_eq!(found_faults, faults, "{changes:?}");
    };
    let fault = |diff: &str| format!(r#"total {{"g":1}} the value does not fit Int64 {diff}"#);
    let (come, gone) = (fault("+1"), fault("-1"));
    check(&[(1, 1, 1)], &[1], &[]);
    check(&[(1, i64::MAX, 1)], &[-1], &[&come]);
    check(&[(1, i64::MAX, 1)], &[], &[]);
    check(&[(1, i64::MAX, -2)], &[1], &[&gone]);
    check(&[(1, i64::MAX, 2)], &[-1], &[&come]);
    check(&[(1, i64::MAX, -2), (1, 1, -1)], &[], &[&gone]);
    assert_eq!(sums.size().rows, 0);
}

#[test]
fn more_than_one_row_is_a_fault_of_its_key() {
    let mut single = built(Single::new(&schema(&["g", "x"]), &[0]));
    let mut check = |changes: &[(i64, i64, i64)], diffs: &[i64], faults: &[&str]| {
        single.push(&rows(changes)).unwrap();
        let mut out = Out::default();
        single.finish(&mut out).unwrap();
        let (found_diffs, found_faults) = given(out);
        assert_eq!(found_diffs, diffs, "{changes:?}");
        assert_eq!(found_faults, faults, "{changes:?}");
    };
    check(&[(1, 1, 1)], &[1], &[]);
    check(&[(1, 2, 1)], &[-1], &[r#"scalar subquery {"g":1} more than one row +1"#]);
    check(&[(1, 2, 1)], &[], &[]);
    check(&[(1, 2, -2), (1, 1, -1)], &[], &[r#"scalar subquery {"g":1} more than one row -1"#]);
}

#[test]
fn a_window_whose_sum_overflows_is_a_fault_of_its_row() {
    let frame = Frame {
        units: FrameUnits::Rows,
        start: FrameBound::UnboundedPreceding,
        end: FrameBound::CurrentRow,
    };
    let function = WindowFunction::Aggregate {
        function: AggregateFunction::Sum,
        argument: Some(1),
        separator: None,
    };
    let call = WindowCall { function, filter: None, frame, output: DataType::Int64 };
    let input = schema(&["g", "x"]);
    let mut window = built(Window::new(&input, &[0], &[], &[call], &schema(&["g", "x", "sum"])));
    let mut check = |changes: &[(i64, i64, i64)], diffs: &[i64], faults: &[&str]| {
        window.push(&rows(changes)).unwrap();
        let mut out = Out::default();
        window.finish(&mut out).unwrap();
        let (found_diffs, found_faults) = given(out);
        assert_eq!(found_diffs, diffs, "{changes:?}");
        assert_eq!(found_faults, faults, "{changes:?}");
    };
    let fault = |diff: &str| {
        format!(r#"sum {{"g":1,"x":9223372036854775807}} the value does not fit Int64 {diff}"#)
    };
    let (come, gone) = (fault("+1"), fault("-1"));
    check(&[(1, 1, 1), (1, i64::MAX, 1)], &[1], &[&come]);
    check(&[(1, 1, -1), (1, 0, 1)], &[-1, 1, 1], &[&gone]);
    assert_eq!(window.size().rows, 2);
}
