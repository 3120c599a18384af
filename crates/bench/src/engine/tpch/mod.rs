//! TPC-H's queries as views: the time of a refresh, beside the time of the query anew.
//!
//! Each view is loaded once, then a thousandth of every table changes, several times. At the end the view is compared
//! with the batch answer, and the query is run anew in DataFusion and in DuckDB, on all cores, on tables in memory.
//! DataFusion runs as it is built into Evert, whose profile optimises a part of it only; DuckDB as its makers build it.

pub(crate) mod data;
pub(crate) mod duckdb;

use std::sync::Arc;
use std::time::Instant;

use change::{ChangeBatch, consolidate};
use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use inputs::TPCH;

use self::data::{Table, load, refresh, tables};
use super::batch;
use super::flow::Flow;
use super::steps::{Step, Tables};
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

/// Steps that are loaded before the view is asked for its difference: about as many rows as the product does.
const LOAD_STEPS: usize = 4;

/// Measures all queries.
pub(crate) fn run(size: Size) -> Outcome {
    let refreshes = size.of(10, 3);
    let made = tables(size.of(1.0, 0.01), refreshes)?;
    let steps: Vec<Step> = (0..refreshes).map(|number| refresh(&made, number)).collect();
    let duckdb = duckdb::anew(&made);
    let datafusion = DataFusion::new(&made)?;
    let (mut figures, mut faster) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (at, query) in TPCH.iter().enumerate() {
        let name = format!("tpch-q{}", at + 1);
        let ours = match maintained(query, &made, &steps) {
            Ok(milliseconds) => milliseconds,
            Err(error) => {
                figures.push(Figure::lacking(name, error.to_string()));
                continue;
            }
        };
        let anew = datafusion.anew(query)?;
        faster[0].push((anew / ours).ln());
        figures.push(Figure::alone(&name, ours, "ms").beside("DataFusion anew", anew));
        if let Some(&anew) = duckdb.get(&at) {
            faster[1].push((anew / ours).ln());
            figures.push(Figure::alone(&name, ours, "ms").beside("DuckDB anew", anew));
        }
    }
    for (peer, logarithms) in ["datafusion", "duckdb"].into_iter().zip(faster) {
        if !logarithms.is_empty() {
            let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
            let name = format!("tpch-faster-than-{peer}");
            figures.push(Figure::alone(name, mean.exp(), "times"));
        }
    }
    Ok(figures)
}

/// Loads a view, refreshes it, checks it, and returns the median time of a refresh in milliseconds.
fn maintained(query: &str, made: &[Table], refreshes: &[Step]) -> Maybe<f64> {
    let all: Vec<_> = made.iter().map(|table| Arc::clone(&table.schema)).collect();
    let known = Tables { all: all.clone(), append_only: std::collections::BTreeSet::new() };
    let mut flow = Flow::new(query, &known, 1)?;
    let mut seen: Vec<ChangeBatch> = Vec::new();
    for steps in load(made).chunks(LOAD_STEPS) {
        steps.iter().try_for_each(|step| flow.push(step))?;
        flow.finish(&mut |difference| seen.push(difference.clone()))?;
    }
    let mut milliseconds = Vec::with_capacity(refreshes.len());
    for step in refreshes {
        let since = Instant::now();
        flow.step(step, &mut |difference| seen.push(difference.clone()))?;
        milliseconds.push(since.elapsed().as_secs_f64() * 1e3);
    }
    let rows = |table: &Table| (table.schema.name().clone(), table.refreshed.clone());
    let right = batch::answer(query, &all, made.iter().map(rows).collect())?;
    let schema = right.schema();
    let renamed = seen.iter().map(|difference| batch::renamed(difference, &schema));
    let seen = renamed.collect::<Result<Vec<_>, _>>()?;
    batch::same(&consolidate(&schema, &seen)?, &right)?;
    Ok(median(milliseconds))
}

/// The refreshed tables in DataFusion, with its own defaults: all cores.
struct DataFusion {
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
}

impl DataFusion {
    fn new(tables: &[Table]) -> Maybe<Self> {
        let cores = std::thread::available_parallelism()?.get();
        let context = SessionContext::new();
        for table in tables {
            let mut partitions = vec![Vec::new(); cores];
            for (at, batch) in table.refreshed.iter().enumerate() {
                partitions[at % cores].push(batch.clone());
            }
            let rows = MemTable::try_new(Arc::clone(table.schema.columns()), partitions)?;
            context.register_table(&*table.schema.name().table, Arc::new(rows))?;
        }
        Ok(Self { context, runtime: tokio::runtime::Runtime::new()? })
    }

    /// The best of three runs, in milliseconds.
    fn anew(&self, query: &str) -> Maybe<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let since = Instant::now();
            let rows = async { self.context.sql(query).await?.collect().await };
            drop(self.runtime.block_on(rows)?);
            best = best.min(since.elapsed().as_secs_f64() * 1e3);
        }
        Ok(best)
    }
}
