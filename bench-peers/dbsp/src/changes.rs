//! The query over captured changes.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use dbsp::utils::{Tup2, Tup3};
use dbsp::{DBSPHandle, RootCircuit, ZSetHandle, ZWeight};
use feldera_sqllib::SqlString;
use inputs::{Cdc, Change, Customer, Order, STEP};

use crate::flow::{Values, keep, start, stop};
use crate::{Figure, Outcome, Run};

/// Identity, customer and amount.
type OrderRow = Tup3<i64, i64, i64>;
/// Identity and region.
type CustomerRow = Tup2<i64, SqlString>;
/// Count and sum by region.
type Totals = Values<SqlString, Tup2<i64, i64>>;

/// A step's changes of both tables.
#[derive(Default)]
struct Step {
    orders: Vec<Tup2<OrderRow, ZWeight>>,
    customers: Vec<Tup2<CustomerRow, ZWeight>>,
}

impl Step {
    fn add(&mut self, change: Change) {
        match change {
            Change::Order(old, new) => {
                self.orders.extend(old.map(|row| Tup2(order(row), -1)));
                self.orders.extend(new.map(|row| Tup2(order(row), 1)));
            }
            Change::Customer(old, new) => {
                self.customers.extend(old.map(|row| Tup2(customer(row), -1)));
                self.customers.extend(new.map(|row| Tup2(customer(row), 1)));
            }
        }
    }
}

fn order(row: Order) -> OrderRow {
    Tup3(row.id, row.customer_id, row.amount)
}

fn customer(row: Customer) -> CustomerRow {
    Tup2(row.id, row.region().into())
}

/// Changes in steps of a size.
fn steps(changes: impl Iterator<Item = Change>, size: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, change) in changes.enumerate() {
        if at % size == 0 {
            steps.push(Step::default());
        }
        if let Some(step) = steps.last_mut() {
            step.add(change);
        }
    }
    steps
}

fn updates(cdc: &mut Cdc, count: usize) -> impl Iterator<Item = Change> {
    (0..count).flat_map(|_| {
        let (first, second) = cdc.update();
        std::iter::once(first).chain(second)
    })
}

/// The query, running.
struct Qc {
    circuit: DBSPHandle,
    orders: ZSetHandle<OrderRow>,
    customers: ZSetHandle<CustomerRow>,
    output: Totals,
    view: BTreeMap<SqlString, Tup2<i64, i64>>,
}

fn build(circuit: &mut RootCircuit) -> (ZSetHandle<OrderRow>, ZSetHandle<CustomerRow>, Totals) {
    let (orders, orders_input) = circuit.add_input_zset::<OrderRow>();
    let (customers, customers_input) = circuit.add_input_zset::<CustomerRow>();
    let orders = orders.map_index(|order| (order.1, order.2));
    let customers = customers.map_index(|customer| (customer.0, customer.1.clone()));
    let totals = orders
        .join_index(&customers, |_customer, amount, region| Some((region.clone(), *amount)))
        .aggregate_linear_postprocess(|amount| Tup2(1_i64, *amount), |count_and_sum| count_and_sum)
        .accumulate_output();
    (orders_input, customers_input, totals)
}

impl Qc {
    fn new(workers: usize) -> Result<Self, Box<dyn Error>> {
        let (circuit, (orders, customers, output)) = start(workers, build)?;
        Ok(Self { circuit, orders, customers, output, view: BTreeMap::new() })
    }

    fn step(&mut self, step: &mut Step) -> Result<(), Box<dyn Error>> {
        self.orders.append(&mut step.orders);
        self.customers.append(&mut step.customers);
        self.circuit.transaction()?;
        keep(&mut self.view, &self.output);
        Ok(())
    }

    /// Changes per second.
    fn rate(&mut self, steps: &mut [Step], changes: usize) -> Result<f64, Box<dyn Error>> {
        let since = Instant::now();
        steps.iter_mut().try_for_each(|step| self.step(step))?;
        Ok(changes as f64 / since.elapsed().as_secs_f64())
    }

    fn answer(&self) -> i64 {
        self.view.values().map(|total| total.0 * 7 + total.1).sum()
    }
}

/// `SELECT c.region, COUNT(*), SUM(o.amount) FROM orders o JOIN customers c ON o.customer_id = c.id GROUP BY c.region`.
pub(crate) fn qc(run: Run) -> Outcome {
    let mut cdc = Cdc::new(run.scale.customers, run.scale.orders);
    let mut query = Qc::new(run.workers)?;
    let load = query.rate(&mut steps(cdc.load(), STEP), cdc.rows())?;
    let mut made = steps(updates(&mut cdc, run.scale.updates), STEP);
    let update = query.rate(&mut made, run.scale.update_changes)?;
    if query.view.len() != 50 || query.answer() != run.scale.qc {
        let (rows, answer) = (query.view.len(), query.answer());
        return Err(format!("wrong: {rows} rows, answer {answer}").into());
    }
    let mut singles = steps(updates(&mut cdc, run.single_steps), 1);
    let mut micros = Vec::with_capacity(singles.len());
    for step in &mut singles {
        let since = Instant::now();
        query.step(step)?;
        micros.push(since.elapsed().as_secs_f64() * 1e6);
    }
    stop(query.circuit)?;
    micros.sort_by(f64::total_cmp);
    let part = |hundredths: usize| micros[(micros.len() - 1) * hundredths / 100];
    Ok(vec![
        Figure { name: "qc-load", value: load, unit: "changes/s" },
        Figure { name: "qc-update", value: update, unit: "changes/s" },
        Figure { name: "qc-step-p50", value: part(50), unit: "us" },
        Figure { name: "qc-step-p99", value: part(99), unit: "us" },
    ])
}
