//! What state costs: bytes a row, and the speed on more of it.

use inputs::{Cdc, Q4, STEP, Scale};

use super::flow::{Flow, rate};
use super::rows::Facts;
use super::seen::Means;
use super::spec::Qc;
use super::steps::{Cut, Step, cdc_steps, cdc_tables, nexmark_steps, nexmark_tables, updates};
use super::{scale, with_workers};
use crate::figure::Figure;
use crate::{Maybe, Outcome, Size};

/// What the bytes are compared with.
const RAW: &str = "the same columns in Arrow";

/// Measures the joins of qc and of q4 with nothing declared, in bytes a row that they keep.
pub(crate) fn state_bytes(size: Size) -> Outcome {
    let scale = scale(size);
    Ok(vec![qc_join(scale)?, q4_join(scale)?])
}

/// Orders by customer with their amounts, and customers with their regions.
fn qc_join(scale: &Scale) -> Maybe<Figure> {
    let (name, tables) = ("state-bytes-qc", cdc_tables());
    let mut query = match Qc::new(&tables, 1) {
        Ok(query) => query,
        Err(why) => return Ok(Figure::lacking(name, why)),
    };
    let mut cdc = Cdc::new(scale.customers, scale.orders);
    for step in cdc_steps(&tables, Cut::WHOLE, cdc.load()) {
        query.step(&step)?;
    }
    for step in cdc_steps(&tables, Cut::WHOLE, updates(&mut cdc, scale.updates)) {
        query.step(&step)?;
    }
    query.regions.check(scale)?;
    let (customers, orders) = (scale.customers as f64, scale.orders as f64);
    // Region names have 8 or 9 bytes, and an offset of 4.
    let raw = (orders * 16.0 + customers * (8.0 + 8.8 + 4.0)) / (orders + customers);
    largest_join(name, &query.flow, raw)
}

/// Bids by auction with their prices and times, and auctions.
fn q4_join(scale: &Scale) -> Maybe<Figure> {
    let (name, tables) = ("state-bytes-q4-blind", nexmark_tables(Facts::Unknown));
    let mut flow = match Flow::new(Q4, &tables, 1) {
        Ok(flow) => flow,
        Err(why) => return Ok(Figure::lacking(name, why)),
    };
    let mut means = Means::default();
    let steps = nexmark_steps(&tables, scale.events, STEP);
    flow.run(&steps, |difference| means.see(difference))?;
    means.check(scale)?;
    let (auctions, bids) = (scale.events as f64 * 0.06, scale.events as f64 * 0.92);
    largest_join(name, &flow, (bids * 24.0 + auctions * 32.0) / (auctions + bids))
}

/// The bytes a row of a view's largest join, or of its largest operator when none is called so.
fn largest_join(name: &str, flow: &Flow, raw: f64) -> Maybe<Figure> {
    let stat = flow.stat();
    eprint!("{stat}");
    let operators = || stat.views.iter().flat_map(|view| &view.operators);
    let joins = operators().filter(|operator| operator.operator.contains("join"));
    let largest = joins.max_by_key(|operator| operator.state.bytes);
    let largest = largest.or_else(|| operators().max_by_key(|operator| operator.state.bytes));
    let state = largest.ok_or("a view without operators")?.state;
    if state.rows == 0 {
        return Ok(Figure::lacking(name, "no operator keeps rows"));
    }
    let bytes = state.bytes as f64 / state.rows as f64;
    Ok(Figure::alone(name, bytes, "bytes/row").beside(RAW, raw))
}

/// Measures qc's updates on more and more orders, each with a twentieth of as many customers.
pub(crate) fn state_rows(size: Size) -> Outcome {
    let sizes: &[i64] = size.of(&[1_000_000, 10_000_000, 50_000_000], &[100_000, 1_000_000]);
    let mut figures = Vec::new();
    let mut smallest = None;
    for &orders in sizes {
        let name = format!("state-rows-{orders}");
        match updates_on(orders, size.of(1_000_000, 200_000))? {
            Ok(rate) => {
                let smallest = *smallest.get_or_insert(rate);
                let figure = Figure::alone(with_workers(&name, 1), rate, "changes/s");
                figures.push(figure.beside("the smallest state", smallest));
            }
            Err(why) => figures.push(Figure::lacking(name, why)),
        }
    }
    Ok(figures)
}

/// Loads orders and returns how many changes per second updates are, or why the query does not run.
fn updates_on(orders: i64, count: usize) -> Maybe<Result<f64, String>> {
    let tables = cdc_tables();
    let mut query = match Qc::new(&tables, 1) {
        Ok(query) => query,
        Err(why) => return Ok(Err(why)),
    };
    let mut cdc = Cdc::new(orders / 20, orders);
    for step in cdc_steps(&tables, Cut::WHOLE, cdc.load()) {
        query.step(&step)?;
    }
    let mut changes = 0;
    let made = updates(&mut cdc, count).inspect(|_| changes += 1);
    let steps: Vec<Step> = cdc_steps(&tables, Cut::WHOLE, made).collect();
    // The generator's rows are not the engine's memory.
    drop(cdc);
    Ok(Ok(rate(changes, query.run(&steps)?)))
}
