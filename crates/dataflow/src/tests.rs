//! What dropping a view frees, seen from inside.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use change::{ChangeBatch, ChangeForm, TableChanges, TableName, TableSchema};
use plan::ir::{AggregateCall, AggregateFunction, JoinKind, Node, ViewPlan};

use crate::graph::Graph;
use crate::{Dataflow, DataflowOptions, Engine, StateSize};

/// The rows of each table.
const ROWS: i64 = 1_000;

fn table(name: &str) -> Arc<TableSchema> {
    let fields =
        vec![Field::new("id", DataType::Int64, true), Field::new("t", DataType::Utf8, true)];
    let columns = Arc::new(Schema::new(fields));
    Arc::new(TableSchema::new(TableName::new("s", name), columns, vec![0], ChangeForm::Upsert))
}

fn node(table: &Arc<TableSchema>) -> Node {
    let schema = Arc::clone(table.columns());
    Node::Table { table: Arc::clone(table), columns: vec![0, 1], schema }
}

fn both(left: &SchemaRef, right: &SchemaRef) -> SchemaRef {
    let fields = left.fields().iter().chain(right.fields()).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A join of two tables on their first columns.
fn join(left: &str, right: &str, kind: JoinKind) -> Node {
    let (left, right) = (node(&table(left)), node(&table(right)));
    let schema = both(&left.schema(), &right.schema());
    Node::Join {
        left: Box::new(left),
        right: Box::new(right),
        kind,
        on: vec![(0, 0)],
        nulls_equal: false,
        filter: None,
        schema,
    }
}

/// The greatest text of each key.
fn greatest(input: Node) -> Node {
    let schema = Arc::new(Schema::new(vec![
        input.schema().field(0).clone(),
        Field::new("max", DataType::Utf8, true),
    ]));
    let call = AggregateCall {
        function: AggregateFunction::Max,
        argument: Some(1),
        distinct: false,
        filter: None,
        order: Vec::new(),
        separator: None,
        output: DataType::Utf8,
    };
    Node::Aggregate { input: Box::new(input), group: vec![0], aggregates: vec![call], schema }
}

/// How many rows of the second table each text of the first has, or the sum of their ids.
fn summed(input: Node, argument: Option<usize>) -> Node {
    let schema = Arc::new(Schema::new(vec![
        input.schema().field(1).clone(),
        Field::new("of", DataType::Int64, true),
    ]));
    let function =
        if argument.is_some() { AggregateFunction::Sum } else { AggregateFunction::Count };
    let call = AggregateCall {
        function,
        argument,
        distinct: false,
        filter: None,
        order: Vec::new(),
        separator: None,
        output: DataType::Int64,
    };
    Node::Aggregate { input: Box::new(input), group: vec![1], aggregates: vec![call], schema }
}

fn view(name: &str, root: Node) -> ViewPlan {
    let (name, schema) = (name.to_owned(), root.schema());
    ViewPlan {
        name,
        schema,
        key: Vec::new(),
        order: Vec::new(),
        root,
        statement: String::new(),
        places: Vec::new(),
    }
}

/// Sets rows `first` and on of a table.
fn rows(name: &str, first: i64) -> TableChanges {
    let table = table(name);
    let ids: Int64Array = (first..first + ROWS).collect();
    let texts: StringArray =
        (0..ROWS).map(|id| Some(format!("a text of some length, {id}"))).collect();
    let columns = vec![Arc::new(ids) as _, Arc::new(texts) as _];
    let rows = RecordBatch::try_new(Arc::clone(table.columns()), columns).unwrap();
    let end = u32::try_from(ROWS).unwrap();
    TableChanges::new(table, ChangeBatch::inserts(rows), vec![end], Vec::new())
}

fn filled(views: &[ViewPlan], workers: usize) -> Dataflow {
    let options = DataflowOptions { workers, ..DataflowOptions::default() };
    let mut dataflow = Dataflow::with_options(views, &options).unwrap();
    dataflow.push(&["a", "b", "c"].map(|name| rows(name, 0))).unwrap();
    dataflow.finish_step().unwrap();
    dataflow
}

/// All that a graph keeps, whether a view reads it or not.
fn kept(graph: &Graph) -> StateSize {
    let arrangements = graph.state.arrangements.iter().map(|one| one.rows.size());
    let spaces = graph.state.spaces.iter().map(|space| space.size());
    arrangements.chain(spaces).fold(StateSize::default(), |sum, size| sum + size)
}

#[test]
fn a_dropped_view_frees_what_only_it_kept() {
    let views = [
        view("one", join("a", "b", JoinKind::Inner)),
        view("same", join("a", "b", JoinKind::Inner)),
        view("left", join("a", "c", JoinKind::Left)),
    ];
    let mut dataflow = filled(&views, 1);
    let kept = |dataflow: &Dataflow| match &dataflow.engine {
        Engine::One(graph) => kept(graph),
        Engine::Many(_) => unreachable!("there is one worker"),
    };
    let all = kept(&dataflow);
    dataflow.drop_view(0);
    assert_eq!(kept(&dataflow), all, "the other view computes the same");
    assert_eq!(dataflow.tables().count(), 3);
    dataflow.drop_view(2);
    let fewer = kept(&dataflow);
    assert!(fewer.rows < all.rows && fewer.bytes < all.bytes, "{fewer:?} of {all:?}");
    let alone = kept(&filled(&views[..1], 1));
    assert_eq!(fewer.rows, alone.rows);
    assert_eq!(dataflow.tables().count(), 2, "nobody reads the third table");
    dataflow.push(&[rows("a", 500), rows("b", 500), rows("c", 500)]).unwrap();
    let differences = dataflow.finish_step().unwrap();
    assert_eq!(differences.len(), 1);
    // Half of the keys had other texts, which go; the other half is new.
    assert_eq!((differences[0].0, differences[0].1.len()), (1, 1_500));
    dataflow.drop_view(1);
    let nothing = kept(&dataflow);
    assert_eq!(nothing.rows, 0);
    assert!(nothing.bytes < 4_096, "{nothing:?}");
    assert_eq!(dataflow.tables().count(), 0);
    dataflow.push(&[rows("a", 0)]).unwrap();
    assert_eq!(dataflow.finish_step().unwrap(), vec![]);
}

#[test]
fn a_shared_space_of_keys_outlives_one_of_its_arrangements() {
    // Both joins arrange `a` by its key, in one space with `b` and with `c`.
    let views = [
        view("b", greatest(join("a", "b", JoinKind::Inner))),
        view("c", join("a", "c", JoinKind::Inner)),
    ];
    for workers in 1..=3 {
        let mut dataflow = filled(&views, workers);
        let before = dataflow.stat();
        dataflow.drop_view(0);
        let after = dataflow.stat();
        assert_eq!(after.views.len(), 1);
        let rows = |at: usize, stat: &crate::FlowStat| -> Vec<(&'static str, usize)> {
            let operators = stat.views[at].operators.iter();
            operators.map(|operator| (operator.operator, operator.state.rows)).collect()
        };
        assert_eq!(rows(0, &after), rows(1, &before), "{workers} workers");
        assert_eq!(after.tables.len(), 2);
        dataflow.push(&[rows_gone("c")]).unwrap();
        let differences = dataflow.finish_step().unwrap();
        let sum: i64 = differences.iter().flat_map(|(_, batch)| batch.diffs()).sum();
        assert_eq!(sum, -ROWS, "{workers} workers");
    }
}

#[test]
fn keys_that_a_folded_side_holds_outlive_another_one_that_is_dropped() {
    let views = [
        view("counts", summed(join("a", "b", JoinKind::Inner), None)),
        view("sums", summed(join("a", "b", JoinKind::Inner), Some(2))),
    ];
    let mut dataflow = filled(&views, 1);
    let eager = |stat: &crate::FlowStat| -> Vec<usize> {
        let operators = stat.views.iter().flat_map(|view| &view.operators);
        let eager = operators.filter(|operator| operator.operator == "eager aggregate");
        eager.map(|operator| operator.state.rows).collect()
    };
    let both = usize::try_from(2 * ROWS).unwrap();
    assert_eq!(eager(&dataflow.stat()), [both, both], "keys and groups of both views");
    dataflow.drop_view(0);
    // The numbered side goes, and its keys stay for the sake of what is folded.
    dataflow.push(&[rows_gone("a")]).unwrap();
    dataflow.finish_step().unwrap();
    dataflow.push(&[rows("a", 0)]).unwrap();
    let differences = dataflow.finish_step().unwrap();
    let sum: i64 = differences.iter().flat_map(|(_, batch)| batch.diffs()).sum();
    assert_eq!(sum, ROWS);
    dataflow.push(&[rows_gone("a"), rows_gone("b")]).unwrap();
    dataflow.finish_step().unwrap();
    let kept = |dataflow: &Dataflow| match &dataflow.engine {
        Engine::One(graph) => kept(graph),
        Engine::Many(_) => unreachable!("there is one worker"),
    };
    assert_eq!(eager(&dataflow.stat()), [0]);
    assert_eq!(kept(&dataflow).rows, 0, "no key is held for the view that was dropped");
}

/// Removes all rows of a table.
fn rows_gone(name: &str) -> TableChanges {
    let there = rows(name, 0);
    let gone = there.changes().clone().negated();
    TableChanges::new(table(name), gone, there.ends().to_vec(), Vec::new())
}
