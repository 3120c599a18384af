//! Nexmark's queries on one core, beside the best published figure for each.
//!
//! Each is compared with the batch answer over the first events; then all events are timed.

use std::sync::Arc;

use change::{ChangeBatch, TableSchema, consolidate};
use inputs::{NEXMARK, STEP};

use super::flow::{Flow, rate};
use super::rows::Facts;
use super::seen::Rows;
use super::steps::{Step, Tables, nexmark_steps, nexmark_tables};
use super::{batch, scale};
use crate::figure::Figure;
use crate::{Maybe, Outcome, Size};

/// The steps over which an answer is compared with the batch's.
const CHECKED_STEPS: usize = 20;

const FELDERA: &str = "Feldera 2024, per worker";
const ALIBABA: &str = "Alibaba Flash 2026, per CU";

/// The best figure that is published for a query: whose, and thousands of events per second and core.
fn best(query: &str) -> Option<(&'static str, f64)> {
    Some(match query {
        "q0" => (ALIBABA, 810.0),
        "q1" => (ALIBABA, 810.0),
        "q2" => (ALIBABA, 810.0),
        "q3" => (FELDERA, 413.0),
        "q4" => (FELDERA, 265.0),
        "q5" => (FELDERA, 412.0),
        "q7" => (FELDERA, 196.0),
        "q8" => (FELDERA, 415.0),
        "q9" => (FELDERA, 57.0),
        "q14" => (FELDERA, 429.0),
        "q15" => (FELDERA, 221.0),
        "q16" => (ALIBABA, 79.0),
        "q17" => (FELDERA, 242.0),
        "q18" => (FELDERA, 85.0),
        "q19" => (FELDERA, 75.0),
        "q20" => (FELDERA, 85.0),
        "q22" => (FELDERA, 394.0),
        _ => return None,
    })
}

/// Measures every query.
pub(crate) fn run(size: Size) -> Outcome {
    let (scale, tables) = (scale(size), nexmark_tables(Facts::Declared));
    let steps = nexmark_steps(&tables, scale.events, STEP);
    let figure = |(query, text): (&str, &str)| {
        let name = format!("nexmark-{query}");
        match measure(text, &tables, &steps) {
            Ok(rate) => {
                let figure = Figure::alone(name, rate, "events/s");
                match best(query) {
                    Some((whose, thousands)) => figure.beside(whose, thousands * 1e3),
                    None => figure,
                }
            }
            Err(error) => Figure::lacking(name, error.to_string()),
        }
    };
    Ok(NEXMARK.into_iter().map(figure).collect())
}

fn measure(query: &str, tables: &Tables, steps: &[Step]) -> Maybe<f64> {
    check(query, tables, &steps[..CHECKED_STEPS.min(steps.len())])?;
    let mut flow = Flow::new(query, tables, 1)?;
    let mut rows = Rows::default();
    let time = flow.run(steps, |difference| rows.see(difference))?;
    Ok(rate(steps.len() * STEP, time))
}

/// Compares the sum of all differences with the batch answer.
fn check(query: &str, tables: &Tables, steps: &[Step]) -> Maybe<()> {
    let mut flow = Flow::new(query, tables, 1)?;
    let mut seen: Vec<ChangeBatch> = Vec::new();
    flow.run(steps, |difference| seen.push(difference.clone()))?;
    let rows = |table: &Arc<TableSchema>| {
        let changes = steps.iter().flatten().filter(|changes| changes.table() == table);
        let batches = changes.map(|changes| changes.changes().rows().clone()).collect();
        (table.name().clone(), batches)
    };
    let tables_rows = tables.all.iter().map(rows).collect();
    let right = batch::answer(query, &tables.all, tables_rows)?;
    let schema = right.schema();
    let renamed = seen.iter().map(|difference| batch::renamed(difference, &schema));
    let seen = renamed.collect::<Result<Vec<_>, _>>()?;
    batch::same(&consolidate(&schema, &seen)?, &right)
}
