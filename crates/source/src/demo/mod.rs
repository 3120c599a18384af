//! A shop to try things with: customers, products, orders and their items, inserted, changed and deleted.
//!
//! What happens depends on the option `seed` alone. The position is the number of steps, one transaction each; a later
//! run makes the same steps again in memory and goes on behind them. All tables arrive as upserts by their key.

mod shop;
mod tables;
mod words;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use change::limits::GROUP_ROWS_MAX;
use change::{SourcePosition, TableSchema};
use tokio::time::Instant;

use self::shop::Shop;
use self::tables::{Ledger, tables};
use crate::options::{Options, wrong};
use crate::submit::{Submitted, Submitter};
use crate::{End, Intake, Phase, Resume, RunOptions, Source, SourceConfig, SourceError};

/// How many steps there are with `once` and without `limit`.
const ONCE_STEPS: u64 = 1_000;

/// The most groups a second; higher rates put several transactions into one.
const GROUPS_PER_SECOND_MAX: f64 = 100.0;

/// How many transactions a group has when they come as fast as possible.
const UNPACED_TRANSACTIONS: u64 = 1_000;

/// The shop as a source.
#[derive(Debug)]
pub(crate) struct DemoSource {
    source: Arc<str>,
    seed: u64,
    /// Transactions a second; 0: as fast as possible; `None`: as the way it runs suggests.
    rate: Option<f64>,
    /// How many steps there are after the first; `None`: no end.
    limit: Option<u64>,
}

/// Opens the shop.
///
/// # Errors
/// When an option is unknown or wrong.
pub(crate) fn open(config: SourceConfig) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(DemoSource::read(config)?))
}

impl DemoSource {
    fn read(config: SourceConfig) -> Result<Self, SourceError> {
        let mut options = Options::new(config.options);
        let seed = options.number("seed")?.unwrap_or(42);
        let rate: Option<f64> = options.number("rate")?;
        let limit = options.number("limit")?;
        options.finish()?;
        if let Some(rate) = rate.filter(|rate| !(rate.is_finite() && *rate >= 0.0)) {
            let help = "write rate = '20', or rate = '0' for as fast as possible".to_owned();
            return Err(wrong("rate", format!("'{rate}' is not a rate"), Some(help)));
        }
        Ok(Self { source: config.name, seed, rate, limit })
    }

    /// The step to end behind; `None`: no end.
    fn goal(&self, once: bool) -> Option<u64> {
        let steps = self.limit.or(once.then_some(ONCE_STEPS))?;
        Some(steps.saturating_add(1))
    }

    /// How fast it goes: with `once` as fast as possible, else so that people can follow.
    fn pace(&self, once: bool) -> Pace {
        Pace::of(self.rate.unwrap_or(if once { 0.0 } else { 20.0 }))
    }
}

/// How transactions follow each other.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// How many transactions a group has. Groups end at its multiples, wherever a run begins.
    group_transactions: u64,
    /// The time from group to group.
    interval: Duration,
}

impl Pace {
    /// Takes a rate of transactions a second; 0: as fast as possible.
    fn of(rate: f64) -> Self {
        if rate == 0.0 {
            return Self { group_transactions: UNPACED_TRANSACTIONS, interval: Duration::ZERO };
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive, and a float beyond u64 becomes its maximum"
        )]
        let transactions = (rate / GROUPS_PER_SECOND_MAX).ceil() as u64;
        let group_transactions = transactions.clamp(1, UNPACED_TRANSACTIONS);
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
        let seconds = group_transactions as f64 / rate;
        let interval = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Self { group_transactions, interval }
    }
}

/// Makes steps up to the end of a group, or the goal.
fn gather(shop: &mut Shop, ledger: &mut Ledger, pace: Pace, goal: Option<u64>) {
    loop {
        let deeds = shop.step();
        let step = shop.step_count();
        ledger.add(step, shop.now_us(), &deeds);
        // The first stock stands alone.
        let is_end = step == 1 || step.is_multiple_of(pace.group_transactions);
        if is_end || Some(step) == goal || ledger.rows() >= GROUP_ROWS_MAX {
            return;
        }
    }
}

/// Returns the shop as it was behind a step.
fn replay(seed: u64, step: u64) -> Shop {
    let mut shop = Shop::new(seed);
    while shop.step_count() < step {
        drop(shop.step());
    }
    shop
}

/// Waits until a moment that may be too far away to be a moment.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[async_trait]
impl Source for DemoSource {
    async fn discover(&mut self, resume: &Resume) -> Result<Vec<Arc<TableSchema>>, SourceError> {
        let tables = tables(&self.source);
        for logged in &resume.tables {
            if tables.iter().all(|table| table != logged) {
                return Err(SourceError::SchemaChanged {
                    table: logged.name().to_string(),
                    difference: "another version of Evert logged it differently".to_owned(),
                });
            }
        }
        Ok(tables)
    }

    async fn run(
        &mut self,
        resume: Resume,
        intake: Arc<dyn Intake>,
        run: RunOptions,
    ) -> Result<End, SourceError> {
        let step = match resume.position {
            None => 0,
            Some(SourcePosition::Step(step)) => step,
            Some(other) => {
                return Err(SourceError::CannotResume {
                    input: "demo".to_owned(),
                    reason: format!("the log's position of it is {other}, which is no step"),
                    help: "start again with a new data directory (--data DIR)".to_owned(),
                });
            }
        };
        let seed = self.seed;
        let replayed = tokio::task::spawn_blocking(move || replay(seed, step)).await;
        let mut shop = replayed.expect("the shop does not panic");
        let mut ledger = Ledger::new(&self.source, &tables(&self.source));
        let (goal, pace) = (self.goal(run.once), self.pace(run.once));
        let mut stop = run.clone();
        let mut submitter = Submitter::new(intake, run);
        submitter.progress().set_phase(Phase::Streaming);
        let mut due = Some(Instant::now());
        while goal.is_none_or(|goal| shop.step_count() < goal) {
            tokio::select! {
                biased;
                () = stop.stopped() => return Ok(End::Stopped),
                durable = submitter.oldest_durable() => { durable?; continue }
                () = sleep_until(due) => {}
            }
            gather(&mut shop, &mut ledger, pace, goal);
            if submitter.submit(ledger.take()).await? == Submitted::Stopped {
                return Ok(End::Stopped);
            }
            // What was late is not made up for.
            due = due.unwrap_or_else(Instant::now).checked_add(pace.interval);
            due = due.map(|due| due.max(Instant::now()));
        }
        if submitter.all_durable().await? == Submitted::Stopped {
            return Ok(End::Stopped);
        }
        submitter.progress().set_phase(Phase::Ended);
        Ok(End::Ended)
    }
}

#[cfg(test)]
mod tests;
