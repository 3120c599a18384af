//! Band and inequality joins over tables of so many rows that trees answer: equal to the batch, and at a cost that does
//! not grow with the other side.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, TimeUnit};
use change::{ChangeBatch, ChangeForm, TableChanges, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use plan::Catalog;

use crate::property::{Held, comparable, nullable, seeds, show};
use crate::world::{Cell, Random, changes, rows, table};

/// The columns of both tables, behind a letter.
fn columns() -> [(&'static str, DataType); 8] {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
    [
        ("k", DataType::Int64),
        ("x", DataType::Int64),
        ("y", DataType::Int32),
        ("f", DataType::Float64),
        ("d", DataType::Decimal128(12, 2)),
        ("s", DataType::Utf8),
        ("t", moment.clone()),
        ("u", moment),
    ]
}

fn tables() -> [Arc<TableSchema>; 2] {
    ["a", "b"].map(|name| table(name, ChangeForm::Exact, &columns()))
}

/// What a pair must meet; few pairs do.
const CONDITIONS: [&str; 22] = [
    "a.x between b.x - 5 and b.x + 5",
    "a.x > b.x - 3 and a.x < b.x + 3",
    "a.x < b.x and a.x > 940",
    "b.x <= a.x and b.x > 960",
    "a.t between b.t - interval '10 minutes' and b.t + interval '5 minutes'",
    "a.t < b.u and b.t < a.u and a.x > 700",
    "a.t >= b.t and a.t < b.u",
    "b.t + interval '1 hour' > a.t and b.t <= a.t",
    "a.f between b.f - 1 and b.f + 1",
    "a.f < b.f and b.x > 950",
    "a.d >= b.d - 0.50 and a.d <= b.d",
    "a.d < b.d and a.d > b.d - 1",
    "a.s >= b.s and a.s < b.s || 'm' and a.x > 600",
    "a.s < b.s and b.x < 30",
    "a.x < b.y and a.x > b.y - 4",
    "a.x + a.y between b.x - 2 and b.x + 2 and a.s <> b.s",
    // It has no comparison of one side with the other that the trees know, or one of several.
    "a.x - b.x between -2 and 2",
    "(a.x < b.x - 990 or a.x = b.x)",
    "a.x <= b.x and a.y >= b.y and a.x > b.x - 6",
    // Expressions that fail for some rows, which have no match then.
    "a.x between b.x - 5 and b.x + 9223372036854775000",
    "100 / a.y > b.x and a.x > 900",
    "a.x > b.x and a.x < b.x + 4 and 10 / (a.y - b.y) < 3",
];

const JOINS: [&str; 4] = ["join", "left join", "right join", "full join"];

fn queries(random: &mut Random) -> Vec<String> {
    let query = |random: &mut Random| {
        let condition = *random.pick(&CONDITIONS);
        let key = *random.pick(&["", "a.k = b.k and ", "(a.k is not distinct from b.k) and "]);
        let join = *random.pick(&JOINS);
        let exists = *random.pick(&["exists", "not exists"]);
        match random.below(4) {
            0 => format!(
                "select a.k, a.x, a.s from a where {exists} (select 1 from b where {key}{condition})"
            ),
            1 => format!(
                "select a.k, count(*) as n, sum(b.x) as sum from a {join} b on {key}{condition} \
                 group by a.k"
            ),
            _ => format!(
                "select a.k, a.x, a.f, b.x as bx, b.s as bs, b.u from a {join} b on {key}{condition}"
            ),
        }
    };
    let mut queries = vec![query(random), query(random), query(random)];
    // A self join, whose sides are two arrangements of one stage.
    queries.push(
        "select a.x, b.y from a join a as b on a.k = b.k and a.x < b.x and a.x > b.x - 4".into(),
    );
    queries
}

fn cell(random: &mut Random, data_type: &DataType) -> Cell {
    if random.one_in(25) {
        return Cell::Null;
    }
    let wide = i64::try_from(random.below(1_000)).unwrap();
    match data_type {
        DataType::Int64 => Cell::Int(wide),
        DataType::Int32 => Cell::Int(wide % 40),
        DataType::Float64 => Cell::Float(match random.below(30) {
            0 => f64::NAN,
            1 => -0.0,
            2 => f64::NEG_INFINITY,
            _ => f64::from(i32::try_from(wide).unwrap()) * 0.5 - 20.0,
        }),
        DataType::Decimal128(..) => Cell::Decimal(i128::from(wide) * 25 - 9_000),
        DataType::Timestamp(..) => Cell::Int((1_700_000_000 + wide * 60) * 1_000_000),
        DataType::Utf8 if random.one_in(3) => Cell::Text(format!("a long text in common {wide}")),
        DataType::Utf8 => Cell::Text(format!("{wide}")),
        other => panic!("no cell of {other}"),
    }
}

/// A table's rows.
struct Model {
    table: Arc<TableSchema>,
    rows: Vec<Vec<Cell>>,
}

impl Model {
    /// Adds some rows and removes others.
    fn change(&mut self, random: &mut Random, (added, removed): (usize, usize)) -> TableChanges {
        let mut list = Vec::new();
        for _ in 0..removed.min(self.rows.len()) {
            let gone = self.rows.swap_remove(random.below(self.rows.len()));
            list.push((gone, -1));
        }
        for _ in 0..added {
            let fields = self.table.columns().fields();
            let mut row: Vec<Cell> =
                fields.iter().map(|field| cell(random, field.data_type())).collect();
            if let Cell::Int(key) = &mut row[0] {
                *key %= 2;
            }
            self.rows.push(row.clone());
            list.push((row, 1));
            // Some rows are there twice.
            if random.one_in(10) {
                let again = random.pick(&self.rows).clone();
                self.rows.push(again.clone());
                list.push((again, 1));
            }
        }
        changes(&self.table, &list, Vec::new())
    }
}

/// How many rows come and go in each step: first many, then few, then nearly all go, then many come again.
const STEPS: [(usize, usize); 6] = [(200, 0), (3, 3), (1, 0), (2, 190), (150, 10), (0, 40)];

fn run(seed: u64) {
    let mut random = Random::new(seed ^ 0xba2d);
    let mut models = tables().map(|table| Model { table, rows: Vec::new() });
    let queries = queries(&mut random);
    let views = queries.iter().enumerate();
    let script: String =
        views.map(|(at, query)| format!("create view v{at} as {query};\n")).collect();
    let tables = models.iter().map(|model| Arc::clone(&model.table)).collect();
    let catalog = Catalog { tables, ..Catalog::default() };
    let script = plan::parse(&script).unwrap();
    let program =
        plan::plan(&script, &catalog).unwrap_or_else(|error| panic!("{queries:?} {error}"));
    let workers = 1 + usize::try_from(seed % 3).unwrap();
    let options = DataflowOptions { workers, ..DataflowOptions::default() };
    let mut dataflow = Dataflow::with_options(&program.views, &options).unwrap();
    let mut held: Vec<Held> =
        program.views.iter().map(|view| Held::new(nullable(&view.schema))).collect();
    let mut failing = vec![0; program.views.len()];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (step, counts) in STEPS.into_iter().enumerate() {
        for model in &mut models {
            dataflow.push(&[model.change(&mut random, counts)]).unwrap();
        }
        for (view, difference) in dataflow.finish_step().unwrap() {
            held[view].add(&difference);
        }
        for fault in dataflow.take_faults() {
            failing[fault.view] += fault.diff;
        }
        let all = models.iter();
        let all =
            all.map(|model| (model.table.name().clone(), vec![rows(&model.table, &model.rows)]));
        let batch = plan::run_batch(&script, &catalog, all.collect());
        // Of an expression that fails the batch has no answer.
        let Ok(batch) = runtime.block_on(batch) else { continue };
        let batch: BTreeMap<String, _> = batch.into_iter().collect();
        for ((held, view), query) in held.iter().zip(&program.views).zip(&queries) {
            let schema = held.rows.schema();
            let rows = concat_batches(&view.schema, &batch[&view.name]).unwrap();
            let should = comparable(&ChangeBatch::inserts(rows), &schema);
            let is = comparable(&held.rows, &schema);
            if is != should {
                let (found, wanted) = (show(&is), show(&should));
                panic!("seed {seed}, step {step}, {workers} workers, {query}\n{found}\n{wanted}");
            }
        }
    }
    // When all rows are gone, so are all faults, and all state but the empty trees' places.
    for model in &mut models {
        let all = model.rows.len();
        dataflow.push(&[model.change(&mut random, (0, all))]).unwrap();
    }
    for (view, difference) in dataflow.finish_step().unwrap() {
        held[view].add(&difference);
    }
    dataflow.take_faults().iter().for_each(|fault| failing[fault.view] += fault.diff);
    assert!(held.iter().all(|held| held.rows.is_empty()), "seed {seed}, {queries:?}");
    assert_eq!(failing, vec![0; failing.len()], "seed {seed}, {queries:?}");
    let stat = dataflow.stat();
    let operators = stat.views.iter().flat_map(|view| &view.operators);
    assert_eq!(operators.map(|operator| operator.state.rows).sum::<usize>(), 0, "{stat}");
}

#[test]
fn band_joins_equal_their_batch_after_every_step() {
    for seed in seeds(24) {
        run(seed);
    }
}

/// How many rows a join touches for one change, beside so many rows of the other side.
fn touched(condition: &str, others: i64) -> u64 {
    let [a, b] = tables();
    let catalog = Catalog { tables: vec![Arc::clone(&a), Arc::clone(&b)], ..Catalog::default() };
    let text = format!("create view v as select a.x, b.s from a left join b on {condition}");
    let program = plan::plan(&plan::parse(&text).unwrap(), &catalog).unwrap();
    let mut dataflow = Dataflow::new(&program.views).unwrap();
    let row = |at: i64| {
        let moment = |minutes: i64| Cell::Int((1_700_000_000 + minutes * 60) * 1_000_000);
        let text = Cell::Text(format!("{at:06}"));
        let float = Cell::Float(f64::from(i32::try_from(at).unwrap()));
        let mut row =
            vec![Cell::Int(0), Cell::Int(at), Cell::Int(0), float, Cell::Decimal(at.into())];
        row.extend([text, moment(at), moment(at + 2)]);
        row
    };
    let load: Vec<(Vec<Cell>, i64)> = (0..others).map(|at| (row(at), 1)).collect();
    for table in [&a, &b] {
        dataflow.push(&[changes(table, &load, Vec::new())]).unwrap();
    }
    dataflow.finish_step().unwrap();
    let count = |dataflow: &Dataflow| {
        let stat = dataflow.stat();
        let joins = stat.views[0].operators.iter().filter(|one| one.operator == "band join");
        let touched: Vec<u64> = joins.map(|join| join.touched).collect();
        assert_eq!(touched.len(), 1, "{stat}");
        touched[0]
    };
    let before = count(&dataflow);
    for table in [&a, &b] {
        dataflow.push(&[changes(table, &[(row(others / 2), 1)], Vec::new())]).unwrap();
    }
    dataflow.finish_step().unwrap();
    count(&dataflow) - before
}

#[test]
fn a_change_touches_as_many_rows_beside_forty_times_as_many() {
    for condition in [
        "a.x between b.x - 5 and b.x + 5",
        "a.k = b.k and a.t between b.t - interval '10 minutes' and b.t + interval '5 minutes'",
        "a.k = b.k and a.t < b.u and b.t < a.u",
        "a.s >= b.s and a.s <= b.s || '5'",
        "a.f > b.f - 2 and a.f < b.f + 2",
        "a.d >= b.d - 0.03 and a.d < b.d",
    ] {
        let (few, many) = (touched(condition, 500), touched(condition, 20_000));
        assert!(few < 200, "{condition}: {few}");
        assert!(many < few * 2 + 60, "{condition}: {few}, then {many}");
    }
}
