//! Random SQL text: several views at once over random tables, each equal to its batch after every step.
//!
//! `EVERT_SEED=17` runs one case, `EVERT_SEEDS=5000` that many. A case that fails is made smaller by hand: views are
//! dropped and steps are joined as long as it still fails.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::pretty::pretty_format_batches;
use change::{ChangeBatch, TableChanges, TableName, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use plan::Catalog;

use crate::grammar::Grammar;
use crate::property::{Held, comparable, nullable, seeds, show};
use crate::world::{Cell, Random, World};

const STEPS: usize = 3;

/// Of a hundred queries that are written, at most so many may be refused by the planner.
const REFUSED_PERCENT_MAX: usize = 10;
/// Of a hundred steps, at most so many may be beyond DataFusion's batch.
const NOT_COMPARED_PERCENT_MAX: usize = 10;

/// What DataFusion cannot run as a batch although it plans it; none of it is about the rows.
const BATCH_LIMITS: [&str; 2] = [
    // Windows over unions: it pushes their sort below the union and then misses it.
    "does not satisfy order requirements",
    "This feature is not implemented",
];

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

impl Case {
    pub(crate) fn draw(seed: u64, whole_orders: bool) -> Self {
        let mut random = Random::new(seed ^ 0x7e87);
        let mut world = World::any(&mut random);
        let tables: Vec<Arc<TableSchema>> =
            world.tables.iter().map(|model| Arc::clone(&model.table)).collect();
        let workers = 1 + random.below(3);
        let mut case = Self { tables, views: Vec::new(), steps: Vec::new(), workers, refused: 0 };
        case.write_views(&mut random, whole_orders);
        for _ in 0..STEPS {
            let parts = (0..1 + random.below(3)).map(|_| world.small_part(&mut random)).collect();
            let models = world.tables.iter();
            let rows = models.clone().map(|m| (m.table.name().clone(), vec![m.batch()])).collect();
            case.steps.push(Step { parts, rows, cells: models.map(|m| m.cells()).collect() });
        }
        case
    }

    fn write_views(&mut self, random: &mut Random, whole_orders: bool) {
        let tables = self.tables.clone();
        let tables: Vec<&TableSchema> = tables.iter().map(AsRef::as_ref).collect();
        let mut grammar = Grammar::new(random, &tables, whole_orders);
        for view in 0..3 {
            let written = grammar.query();
            let name = format!("v{view}");
            self.views.push((name.clone(), written.text().to_owned()));
            grammar.keep(&name, written);
        }
        self.leave_refused_out();
    }

    /// Drops the views that the planner refuses, and those that read them.
    fn leave_refused_out(&mut self) {
        // All at once first: planning is what a case costs.
        if self.plan().is_ok() {
            return;
        }
        for view in std::mem::take(&mut self.views) {
            let reads_missing = (0..3).any(|other| {
                let name = format!("v{other}");
                view.1.contains(&format!("{name} as")) && self.views.iter().all(|v| v.0 != name)
            });
            self.views.push(view);
            if let Err(problems) = self.plan() {
                if std::env::var_os("EVERT_REFUSED").is_some() {
                    println!("refused: {problems}");
                }
                self.views.pop();
                self.refused += usize::from(!reads_missing);
            }
        }
    }

    fn plan(&self) -> Result<(), plan::Problems> {
        let script = plan::parse(&self.script())?;
        plan::plan(&script, &self.catalog()).map(drop)
    }

    pub(crate) fn catalog(&self) -> Catalog {
        Catalog { tables: self.tables.clone(), ..Catalog::default() }
    }

    pub(crate) fn script(&self) -> String {
        let views = self.views.iter();
        views.map(|(name, query)| format!("create view {name} as {query};\n")).collect()
    }

    /// Runs the case; says what is wrong, or in how many steps there was a batch to compare with.
    fn run(&self) -> Result<usize, String> {
        let run = || self.compare();
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        })
    }

    fn compare(&self) -> Result<usize, String> {
        let script = plan::parse(&self.script()).map_err(|error| error.to_string())?;
        let catalog = self.catalog();
        let program = plan::plan(&script, &catalog).map_err(|error| error.to_string())?;
        let options = DataflowOptions { workers: self.workers, ..DataflowOptions::default() };
        let mut dataflow = Dataflow::with_options(&program.views, &options)
            .map_err(|error| format!("refused by the engine: {error:?}"))?;
        let mut held: Vec<Held> =
            program.views.iter().map(|view| Held::new(nullable(&view.schema))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut compared = 0;
        for (at, step) in self.steps.iter().enumerate() {
            for part in &step.parts {
                dataflow.push(part).map_err(|error| format!("step {at}, push: {error:?}"))?;
            }
            let views = dataflow.finish_step().map_err(|error| format!("step {at}: {error:?}"))?;
            for (view, difference) in views {
                held[view].add(&difference);
            }
            let faults = dataflow.take_faults();
            if !faults.is_empty() {
                return Err(format!("step {at}: faults {faults:?}"));
            }
            let batch = runtime.block_on(plan::run_batch(&script, &catalog, step.rows.clone()));
            let batch: BTreeMap<String, _> = match batch {
                Ok(batch) => batch.into_iter().collect(),
                Err(error) if is_batch_limit(&error.to_string()) => continue,
                Err(error) => return Err(format!("step {at}, batch: {error}")),
            };
            compared += 1;
            for (held, view) in held.iter().zip(&program.views) {
                let schema = held.rows.schema();
                let rows = concat_batches(&view.schema, &batch[&view.name]).unwrap();
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
                if next.plan().is_err() {
                    continue;
                }
                if let Err(text) = next.run() {
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

fn is_batch_limit(text: &str) -> bool {
    BATCH_LIMITS.iter().any(|limit| text.contains(limit))
}

#[test]
fn random_texts_equal_their_batches_after_every_step() {
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    let keep_on = std::env::var_os("EVERT_KEEP_ON").is_some();
    for seed in seeds(80) {
        // Orders are whole: DataFusion takes the columns that break ties out of the sort below a window, as it needs
        // only the first ones, so the batch's ties are anyone's.
        let case = Case::draw(seed, true);
        if keep_on {
            println!("seed {seed}");
        }
        counts.views += case.views.len();
        counts.refused += case.refused;
        counts.steps += case.steps.len();
        match case.run() {
            Ok(compared) => counts.not_compared += case.steps.len() - compared,
            Err(failure) => {
                let (case, failure) = case.shrunk(failure);
                let text = format!("seed {seed}, {}{failure}\n", case.shown());
                assert!(keep_on, "{text}");
                println!("FAILURE {text}");
                failures.push(seed);
            }
        }
    }
    println!("{counts:?}");
    assert!(failures.is_empty(), "seeds {failures:?}");
    if counts.steps >= 240 {
        let Counts { views, refused, steps, not_compared } = counts;
        assert!(refused * 100 <= (views + refused) * REFUSED_PERCENT_MAX, "{refused} are refused");
        assert!(not_compared * 100 <= steps * NOT_COMPARED_PERCENT_MAX, "{not_compared} steps");
    }
}
