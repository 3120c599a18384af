//! Random SQL text: several views at once over random tables, each equal to its batch after every step.
//!
//! A case that fails says its seed, and is made smaller: views are dropped and steps are joined as long as it still
//! fails. One seed again, or as many as are asked for, on all cores:
//!
//!     EVERT_SEED=17 cargo test -p dataflow --test it texts -- --nocapture
//!     EVERT_SEEDS=20000 EVERT_KEEP_ON=1 cargo test -p dataflow --test it texts -- --nocapture
//!
//! What was found so becomes a small case in `found.rs`.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::pretty::pretty_format_batches;
use change::{ChangeBatch, TableChanges, TableName, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use plan::{Batch, Catalog};

use crate::grammar::Grammar;
use crate::property::{Held, comparable, nullable, seeds, show};
use crate::world::{Cell, Random, World};

/// How many cases CI runs.
const CASES: u64 = 2_000;
const VIEWS: usize = 3;
const STEPS_MAX: usize = 5;

/// Of a hundred queries that are written, at most so many may be refused by the planner.
const REFUSED_PERCENT_MAX: usize = 10;
/// Of a hundred steps, at most so many may be beyond DataFusion's batch.
const NOT_COMPARED_PERCENT_MAX: usize = 10;

/// What DataFusion cannot run as a batch although it plans it.
const BATCH_LIMIT: &str = "This feature is not implemented";

/// What is pushed in a step, and what the tables hold after it.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) parts: Vec<Vec<TableChanges>>,
    pub(crate) rows: Vec<(TableName, Vec<RecordBatch>)>,
    pub(crate) cells: Vec<Vec<Vec<Cell>>>,
}

/// Views over tables, and steps.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) tables: Vec<Arc<TableSchema>>,
    /// The names and queries of the views.
    pub(crate) views: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) workers: usize,
    /// How many queries the planner refused.
    pub(crate) refused: usize,
}

/// How often which answer was given.
#[derive(Debug, Default)]
struct Counts {
    views: usize,
    refused: usize,
    steps: usize,
    not_compared: usize,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.views += other.views;
        self.refused += other.refused;
        self.steps += other.steps;
        self.not_compared += other.not_compared;
    }
}

impl Case {
    /// Draws the case of a seed, and plans its views.
    pub(crate) fn draw(seed: u64, for_postgres: bool) -> (Self, Batch) {
        let mut random = Random::new(seed ^ 0x7e87);
        let mut world = World::any(&mut random, for_postgres);
        let tables: Vec<Arc<TableSchema>> =
            world.tables.iter().map(|model| Arc::clone(&model.table)).collect();
        let workers = 1 + random.below(3);
        let mut case = Self { tables, views: Vec::new(), steps: Vec::new(), workers, refused: 0 };
        let batch = case.write_views(&mut random, for_postgres);
        for _ in 0..1 + random.below(STEPS_MAX) {
            let parts = (0..1 + random.below(3)).map(|_| world.small_part(&mut random)).collect();
            let models = world.tables.iter();
            let rows = models.clone().map(|m| (m.table.name().clone(), vec![m.batch()])).collect();
            case.steps.push(Step { parts, rows, cells: models.map(|m| m.cells()).collect() });
        }
        (case, batch)
    }

    /// Adds views; returns their plans.
    fn write_views(&mut self, random: &mut Random, for_postgres: bool) -> Batch {
        let tables = self.tables.clone();
        let tables: Vec<&TableSchema> = tables.iter().map(AsRef::as_ref).collect();
        let mut grammar = Grammar::new(random, &tables, for_postgres);
        for view in 0..VIEWS {
            let written = grammar.query();
            let name = format!("v{view}");
            self.views.push((name.clone(), written.text().to_owned()));
            grammar.keep(&name, written);
        }
        // All at once first: planning is what a case costs.
        self.plan().unwrap_or_else(|_| self.leave_refused_out())
    }

    /// Drops the views that the planner refuses, and those that read them.
    fn leave_refused_out(&mut self) -> Batch {
        let mut last = None;
        for view in std::mem::take(&mut self.views) {
            let reads_missing = (0..VIEWS).any(|other| {
                let name = format!("v{other}");
                view.1.contains(&format!("{name} as")) && self.views.iter().all(|v| v.0 != name)
            });
            if reads_missing {
                continue;
            }
            self.views.push(view);
            match self.plan() {
                Ok(batch) => last = Some(batch),
                Err(problems) => {
                    if std::env::var_os("EVERT_REFUSED").is_some() {
                        println!("refused: {problems}");
                    }
                    self.views.pop();
                    self.refused += 1;
                }
            }
        }
        last.unwrap_or_else(|| self.plan().unwrap())
    }

    fn plan(&self) -> Result<Batch, plan::Problems> {
        let script = plan::parse(&self.script())?;
        Batch::new(&script, &self.catalog())
    }

    pub(crate) fn catalog(&self) -> Catalog {
        Catalog { tables: self.tables.clone(), ..Catalog::default() }
    }

    pub(crate) fn script(&self) -> String {
        let views = self.views.iter();
        views.map(|(name, query)| format!("create view {name} as {query};\n")).collect()
    }

    /// Runs the case; says what is wrong, or in how many steps there was a batch to compare with.
    fn run(&self, batch: &mut Batch) -> Result<usize, String> {
        let run = || self.compare(batch);
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        })
    }

    fn compare(&self, batch: &mut Batch) -> Result<usize, String> {
        let views = batch.program().views.clone();
        let options = DataflowOptions { workers: self.workers, ..DataflowOptions::default() };
        let mut dataflow = Dataflow::with_options(&views, &options)
            .map_err(|error| format!("refused by the engine: {error:?}"))?;
        let mut held: Vec<Held> =
            views.iter().map(|view| Held::new(nullable(&view.schema))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut compared = 0;
        for (at, step) in self.steps.iter().enumerate() {
            for part in &step.parts {
                dataflow.push(part).map_err(|error| format!("step {at}, push: {error:?}"))?;
            }
            let differences =
                dataflow.finish_step().map_err(|error| format!("step {at}: {error:?}"))?;
            for (view, difference) in differences {
                held[view].add(&difference);
            }
            let faults = dataflow.take_faults();
            if !faults.is_empty() {
                return Err(format!("step {at}: faults {faults:?}"));
            }
            let rows = match runtime.block_on(batch.run(step.rows.clone())) {
                Ok(rows) => rows,
                Err(error) if error.to_string().contains(BATCH_LIMIT) => continue,
                Err(error) => return Err(format!("step {at}, batch: {error}")),
            };
            compared += 1;
            for ((held, view), (_, rows)) in held.iter().zip(&views).zip(rows) {
                let schema = held.rows.schema();
                let rows = concat_batches(&view.schema, &rows).unwrap();
                let should = comparable(&ChangeBatch::inserts(rows), &schema);
                let is = comparable(&held.rows, &schema);
                if is != should {
                    let (is, should) = (show(&is), show(&should));
                    return Err(format!("step {at}, {}\nis\n{is}\nshould be\n{should}", view.name));
                }
            }
        }
        Ok(compared)
    }

    /// The smallest case found that still fails, and how.
    fn shrunk(self, mut failure: String) -> (Self, String) {
        let mut case = self;
        let mut smaller = true;
        while smaller {
            smaller = false;
            for next in case.smaller() {
                let Ok(mut batch) = next.plan() else { continue };
                if let Err(text) = next.run(&mut batch) {
                    (case, failure, smaller) = (next, text, true);
                    break;
                }
            }
        }
        (case, failure)
    }

    /// Cases with one thing less.
    fn smaller(&self) -> Vec<Self> {
        let mut cases = Vec::new();
        for view in (0..self.views.len()).rev() {
            let mut case = self.clone();
            case.views.remove(view);
            cases.push(case);
        }
        if self.workers > 1 {
            cases.push(Self { workers: 1, ..self.clone() });
        }
        if self.steps.len() > 1 {
            let mut case = self.clone();
            case.steps.pop();
            cases.push(case);
            for at in 1..self.steps.len() {
                let mut case = self.clone();
                let before = case.steps.remove(at - 1);
                case.steps[at - 1].parts.splice(0..0, before.parts);
                cases.push(case);
            }
        }
        cases
    }

    /// The views and what the tables hold after each step.
    fn shown(&self) -> String {
        let mut text = format!("{} workers\n{}", self.workers, self.script());
        for (at, step) in self.steps.iter().enumerate() {
            for (table, rows) in &step.rows {
                if self.views.iter().any(|(_, query)| query.contains(table.table.as_ref())) {
                    let rows = pretty_format_batches(rows).unwrap();
                    text.push_str(&format!("{table} after step {at}\n{rows}\n"));
                }
            }
        }
        text
    }
}

/// Runs the case of a seed; says how it fails, made smaller.
fn run(seed: u64, counts: &mut Counts) -> Option<String> {
    let (case, mut batch) = Case::draw(seed, false);
    counts.views += case.views.len();
    counts.refused += case.refused;
    counts.steps += case.steps.len();
    match case.run(&mut batch) {
        Ok(compared) => {
            counts.not_compared += case.steps.len() - compared;
            None
        }
        Err(failure) => {
            let (case, failure) = case.shrunk(failure);
            Some(format!("seed {seed}, {}{failure}\n", case.shown()))
        }
    }
}

#[test]
fn random_texts_equal_their_batches_after_every_step() {
    let seeds = seeds(CASES);
    let keep_on = std::env::var_os("EVERT_KEEP_ON").is_some();
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new((Counts::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let work = || {
        let mut counts = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || (!keep_on && !found.lock().unwrap().1.is_empty()) {
                break;
            }
            if let Some(failure) = run(seed, &mut counts) {
                println!("FAILURE {failure}");
                found.lock().unwrap().1.push(seed);
            }
        }
        found.lock().unwrap().0.add(&counts);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (counts, failures) = found.into_inner().unwrap();
    println!("{counts:?}");
    assert!(failures.is_empty(), "these seeds fail: {failures:?}");
    if counts.steps >= 240 {
        let Counts { views, refused, steps, not_compared } = counts;
        assert!(refused * 100 <= (views + refused) * REFUSED_PERCENT_MAX, "{refused} are refused");
        assert!(not_compared * 100 <= steps * NOT_COMPARED_PERCENT_MAX, "{not_compared} steps");
    }
}
