//! The four queries beside dbsp, in turn, so that a busy moment of the machine hits both.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use change::ChangeBatch;
use inputs::{Cdc, Q1, Q3, Q4, QC, STEP, Scale};

use super::flow::{Flow, rate};
use super::rows::Facts;
use super::seen::{Means, Prices, Regions, Rows};
use super::steps::{
    Cut, Step, Tables, cdc_steps, cdc_tables, nexmark_steps, nexmark_tables, updates,
};
use super::{WORKERS, scale, with_workers};
use crate::figure::{Figure, median};
use crate::peer::Peer;
use crate::{Maybe, Outcome, Size};

/// How many rounds a figure is the median of.
pub(crate) fn rounds(size: Size) -> usize {
    size.of(3, 1)
}

/// Measured values by figure, in rounds.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<String, Vec<f64>>);

impl Values {
    /// Adds a round's value.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// The median of a figure's rounds.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|values| median(values.clone()))
    }
}

/// A query over Nexmark's events, and the reader that checks it.
struct Events {
    name: &'static str,
    query: &'static str,
    facts: Facts,
    /// Runs the steps before a new reader and checks what it saw.
    read: fn(&mut Flow, &[Step], &Scale) -> Maybe<Duration>,
}

/// Measures q1.
pub(crate) fn q1(size: Size) -> Outcome {
    let read = |flow: &mut Flow, steps: &[Step], scale: &Scale| {
        let mut prices = Prices::default();
        let time = flow.run(steps, |difference| prices.see(difference))?;
        prices.check(scale).map(|()| time)
    };
    events(size, &Events { name: "q1", query: Q1, facts: Facts::Declared, read })
}

/// Measures q3.
pub(crate) fn q3(size: Size) -> Outcome {
    let read = |flow: &mut Flow, steps: &[Step], scale: &Scale| {
        let mut rows = Rows::default();
        let time = flow.run(steps, |difference| rows.see(difference))?;
        rows.check(scale).map(|()| time)
    };
    events(size, &Events { name: "q3", query: Q3, facts: Facts::Declared, read })
}

/// Measures q4 with keys and append-only tables declared.
pub(crate) fn q4(size: Size) -> Outcome {
    events(size, &Events { name: "q4", query: Q4, facts: Facts::Declared, read: read_means })
}

/// Measures q4 with nothing declared.
pub(crate) fn q4_blind(size: Size) -> Outcome {
    events(size, &Events { name: "q4-blind", query: Q4, facts: Facts::Unknown, read: read_means })
}

fn read_means(flow: &mut Flow, steps: &[Step], scale: &Scale) -> Maybe<Duration> {
    let mut means = Means::default();
    let time = flow.run(steps, |difference| means.see(difference))?;
    means.check(scale).map(|()| time)
}

fn events(size: Size, events: &Events) -> Outcome {
    let (scale, tables) = (scale(size), nexmark_tables(events.facts));
    let steps = nexmark_steps(&tables, scale.events, STEP);
    let peer = Peer::dbsp(size);
    let (mut ours, mut theirs, mut lacking) = (Values::default(), Values::default(), Vec::new());
    for _ in 0..rounds(size) {
        lacking.clear();
        for workers in WORKERS {
            let name = with_workers(events.name, workers);
            match Flow::new(events.query, &tables, workers) {
                Ok(mut flow) => {
                    let time = (events.read)(&mut flow, &steps, scale)?;
                    ours.add(name, rate(scale.events, time));
                }
                Err(why) => lacking.push(Figure::lacking(name, why)),
            }
        }
        ask(peer.as_ref(), events.name, &mut theirs)?;
    }
    let mut figures = Vec::new();
    for workers in WORKERS {
        let name = with_workers(events.name, workers);
        figures.extend(beside(&ours, &name, "events/s", theirs.median(events.name)));
    }
    figures.append(&mut lacking);
    Ok(figures)
}

/// Asks the peer for a query's figures.
fn ask(peer: Option<&Peer>, query: &str, values: &mut Values) -> Maybe<()> {
    if let Some(peer) = peer {
        peer.figures(&[query])?.into_iter().for_each(|(name, value)| values.add(name, value));
    }
    Ok(())
}

/// Our figure beside dbsp's.
fn beside(ours: &Values, name: &str, unit: &'static str, dbsp: Option<f64>) -> Option<Figure> {
    let figure = Figure::alone(name, ours.median(name)?, unit);
    Some(match dbsp {
        Some(dbsp) => figure.beside("dbsp, 1 worker", dbsp),
        None => figure,
    })
}

/// The query over captured changes, and what it is fed with.
pub(crate) struct Qc {
    pub(crate) flow: Flow,
    pub(crate) regions: Regions,
}

impl Qc {
    /// Plans it.
    pub(crate) fn new(tables: &Tables, workers: usize) -> Result<Self, String> {
        Ok(Self { flow: Flow::new(QC, tables, workers)?, regions: Regions::default() })
    }

    /// Makes steps and returns how long they took.
    pub(crate) fn run(&mut self, steps: &[Step]) -> Maybe<Duration> {
        let regions = &mut self.regions;
        self.flow.run(steps, |difference| regions.see(difference))
    }

    /// Makes a step.
    pub(crate) fn step(&mut self, step: &Step) -> Maybe<()> {
        let regions = &mut self.regions;
        self.flow.step(step, &mut |difference: &ChangeBatch| regions.see(difference))
    }
}

/// The inputs of qc.
struct Changes {
    tables: Tables,
    load: Vec<Step>,
    loaded: usize,
    updates: Vec<Step>,
    singles: Vec<Step>,
}

/// Measures qc: loading, updating, and single changes on what is loaded.
pub(crate) fn qc(size: Size) -> Outcome {
    let (scale, tables) = (scale(size), cdc_tables());
    let mut cdc = Cdc::new(scale.customers, scale.orders);
    let load = cdc_steps(&tables, Cut::WHOLE, cdc.load()).collect();
    let loaded = cdc.rows();
    let made = cdc_steps(&tables, Cut::WHOLE, updates(&mut cdc, scale.updates)).collect();
    let singles = size.of(20_000, 2_000);
    let singles = cdc_steps(&tables, Cut::SINGLE, updates(&mut cdc, singles)).collect();
    let changes = Changes { tables, load, loaded, updates: made, singles };
    let peer = Peer::dbsp(size);
    let (mut ours, mut theirs, mut lacking) = (Values::default(), Values::default(), Vec::new());
    for _ in 0..rounds(size) {
        lacking.clear();
        for workers in WORKERS {
            match Qc::new(&changes.tables, workers) {
                Ok(query) => qc_round(query, &changes, scale, workers, &mut ours)?,
                Err(why) => lacking.push(Figure::lacking(with_workers("qc", workers), why)),
            }
        }
        ask(peer.as_ref(), "qc", &mut theirs)?;
    }
    let mut figures = Vec::new();
    for workers in WORKERS {
        for (name, unit) in [
            ("qc-load", "changes/s"),
            ("qc-update", "changes/s"),
            ("qc-step-p50", "us"),
            ("qc-step-p99", "us"),
        ] {
            let dbsp = theirs.median(name);
            figures.extend(beside(&ours, &with_workers(name, workers), unit, dbsp));
        }
    }
    figures.append(&mut lacking);
    Ok(figures)
}

fn qc_round(
    mut query: Qc,
    changes: &Changes,
    scale: &Scale,
    workers: usize,
    values: &mut Values,
) -> Maybe<()> {
    let load = query.run(&changes.load)?;
    let update = query.run(&changes.updates)?;
    query.regions.check(scale)?;
    let mut micros = Vec::with_capacity(changes.singles.len());
    for step in &changes.singles {
        let since = Instant::now();
        query.step(step)?;
        micros.push(since.elapsed().as_secs_f64() * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    let part = |hundredths: usize| micros[(micros.len() - 1) * hundredths / 100];
    let named = |name| with_workers(name, workers);
    values.add(named("qc-load"), rate(changes.loaded, load));
    values.add(named("qc-update"), rate(scale.update_changes, update));
    values.add(named("qc-step-p50"), part(50));
    values.add(named("qc-step-p99"), part(99));
    Ok(())
}
