//! The queries from bytes: the log's frames, read and decoded on the engine's own thread, so that decoding counts.
//!
//! The log is a real one in a temporary directory. It is read once before the clock starts, so its pages are in memory.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use change::{ChangeBatch, Part, SourcePosition, Time, TransactionGroup, TransactionHead};
use inputs::{Cdc, Q4};
use log::{Log, LogOptions, LogReader, RealDisk};

use super::flow::{Flow, rate};
use super::rows::Facts;
use super::scale;
use super::seen::Means;
use super::spec::{Qc, Values, rounds};
use super::steps::{
    Cut, Step, TRANSACTION, cdc_steps, cdc_tables, nexmark_steps, nexmark_tables, updates,
};
use crate::figure::Figure;
use crate::{Maybe, Outcome, Size};

/// What the figures are compared with.
pub(crate) const READY: &str = "ready batches";

/// Measures q4.
pub(crate) fn q4(size: Size) -> Outcome {
    let (scale, tables) = (scale(size), nexmark_tables(Facts::Declared));
    let steps = nexmark_steps(&tables, scale.events, TRANSACTION);
    let directory = tempfile::tempdir()?;
    let log = written(directory.path(), &steps)?;
    let mut values = Values::default();
    for _ in 0..rounds(size) {
        let mut means = Means::default();
        let mut flow = match Flow::new(Q4, &tables, 1) {
            Ok(flow) => flow,
            Err(why) => return Ok(vec![Figure::lacking("q4-bytes", why)]),
        };
        let ready = flow.run(&steps, |difference| means.see(difference))?;
        means.check(scale)?;
        let (mut means, mut flow) = (Means::default(), Flow::new(Q4, &tables, 1)?);
        let mut see = |difference: &ChangeBatch| means.see(difference);
        let frames = from_frames(&mut log.reader(Time::ZERO), steps.len(), &mut |step| {
            flow.step(step, &mut see)
        })?;
        means.check(scale)?;
        values.add("ready", rate(scale.events, ready));
        values.add("q4-bytes", rate(scale.events, frames));
    }
    Ok(beside_ready(&values, &[("q4-bytes", "ready", "events/s")]))
}

/// Measures qc's load and updates.
pub(crate) fn qc(size: Size) -> Outcome {
    let (scale, tables) = (scale(size), cdc_tables());
    let mut cdc = Cdc::new(scale.customers, scale.orders);
    let load: Vec<Step> = cdc_steps(&tables, Cut::SMALL, cdc.load()).collect();
    let loaded = cdc.rows();
    let made: Vec<Step> =
        cdc_steps(&tables, Cut::SMALL, updates(&mut cdc, scale.updates)).collect();
    let directory = tempfile::tempdir()?;
    let log = written(directory.path(), load.iter().chain(&made))?;
    let mut values = Values::default();
    for _ in 0..rounds(size) {
        let mut query = match Qc::new(&tables, 1) {
            Ok(query) => query,
            Err(why) => return Ok(vec![Figure::lacking("qc-bytes", why)]),
        };
        values.add("load", rate(loaded, query.run(&load)?));
        values.add("update", rate(scale.update_changes, query.run(&made)?));
        query.regions.check(scale)?;
        let mut query = Qc::new(&tables, 1)?;
        let mut reader = log.reader(Time::ZERO);
        let time = from_frames(&mut reader, load.len(), &mut |step| query.step(step))?;
        values.add("qc-load-bytes", rate(loaded, time));
        let time = from_frames(&mut reader, made.len(), &mut |step| query.step(step))?;
        values.add("qc-update-bytes", rate(scale.update_changes, time));
        query.regions.check(scale)?;
    }
    let load = ("qc-load-bytes", "load", "changes/s");
    Ok(beside_ready(&values, &[load, ("qc-update-bytes", "update", "changes/s")]))
}

/// Figures (name, the name of the same from ready batches, unit).
pub(crate) fn beside_ready(
    values: &Values,
    figures: &[(&'static str, &str, &'static str)],
) -> Vec<Figure> {
    let figure = |(name, ready, unit): &(&'static str, &str, &'static str)| {
        let (value, ready) = (values.median(name)?, values.median(ready)?);
        Some(Figure::alone(*name, value, unit).beside(READY, ready))
    };
    figures.iter().filter_map(figure).collect()
}

/// Writes a log with a frame for each step, and reads it once.
fn written<'a>(directory: &Path, steps: impl IntoIterator<Item = &'a Step>) -> Maybe<Log> {
    let (log, _) = Log::open(directory, LogOptions::default(), Arc::new(RealDisk), || 0)?;
    let (sender, receiver) = mpsc::channel();
    let (mut frames, mut position) = (0, 0);
    for step in steps {
        let transactions = step.first().map_or(0, |changes| changes.ends().len());
        let heads = (0..transactions).map(|_| {
            position += 1;
            TransactionHead::at(SourcePosition::Step(position), None)
        });
        let heads = heads.collect();
        let group = TransactionGroup::new("bench".into(), Part::Whole, heads, step.clone());
        let sender = sender.clone();
        log.append(&group, Box::new(move |outcome| sender.send(outcome).unwrap_or_default()))?;
        frames += 1;
    }
    receiver.iter().take(frames).try_for_each(|outcome| outcome.map(drop))?;
    let mut reader = log.reader(Time::ZERO);
    let read = from_frames(&mut reader, frames, &mut |_| Ok(()))?;
    eprintln!("{frames} frames, {} bytes, read in {:.2} s", log.stat().bytes, read.as_secs_f64());
    Ok(log)
}

/// Reads so many frames, makes a step of each, and returns how long that took.
fn from_frames(
    reader: &mut LogReader,
    frames: usize,
    step: &mut dyn FnMut(&Step) -> Maybe<()>,
) -> Maybe<Duration> {
    let since = Instant::now();
    for _ in 0..frames {
        let chunk = reader.next()?.ok_or("the log ends too early")?;
        step(&chunk.tables)?;
    }
    Ok(since.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_what_was_written() {
        let tables = nexmark_tables(Facts::Declared);
        let steps = nexmark_steps(&tables, 20_000, TRANSACTION);
        let directory = tempfile::tempdir().unwrap();
        let log = written(directory.path(), &steps).unwrap();
        let mut left = steps.iter();
        from_frames(&mut log.reader(Time::ZERO), steps.len(), &mut |step| {
            assert!(Some(step) == left.next());
            Ok(())
        })
        .unwrap();
    }
}
