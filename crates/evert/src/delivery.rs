//! Drives one sink: takes what its outbox holds, writes it, and writes it again after a fault that passes.
//!
//! What makes the second attempt safe is the sink itself: it is opened anew and asked which Time it holds. A commit
//! whose answer was lost is so told apart from one that did not happen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use change::Time;
use log::Log;
use plan::ir::{Program, SinkSpec, ViewPlan};
use sha2::{Digest as _, Sha256};
use sink::{Outbox, Sink, SinkConfig, SinkError, Step};
use tokio::sync::watch;
use view::{ViewInfo, Views};

use crate::board::{Board, SinkProgress};
use crate::engine::Outlet;
use crate::environment::expand;
use crate::failure::Failure;
use crate::intent::is_stream;
use crate::patience::Patience;

/// How long an idle sink's position may lag behind, so that a quiet view costs no commits.
const IDLE_POSITION: Duration = Duration::from_secs(1);

/// An open sink with what it takes from.
pub(crate) struct Delivery {
    config: SinkConfig,
    view: usize,
    sink: Box<dyn Sink>,
    outbox: Arc<Outbox>,
}

impl Delivery {
    /// Opens the sinks of a program.
    pub(crate) async fn open_all(
        program: &Program,
        root: &Path,
        log_id: [u8; 16],
        once: bool,
    ) -> Result<Vec<Self>, Failure> {
        none_share_a_target(&program.sinks)?;
        let mut deliveries = Vec::new();
        for spec in &program.sinks {
            let view = program.views.iter().position(|view| view.name == spec.view);
            let view = view.expect("a planned sink reads a planned view");
            let config = SinkConfig {
                name: spec.name.clone(),
                url: expand(&spec.url)?,
                options: spec.options.clone(),
                view: ViewInfo::from(&program.views[view]),
                definition: definition(&program.views[view]),
                log_id,
                data_dir: root.to_owned(),
                once,
            };
            let sink = open_patiently(&config).await.map_err(|e| failed(&config, e))?;
            let outbox = Arc::new(Outbox::new(Arc::clone(&config.view.schema), sink.held()));
            deliveries.push(Self { config, view, sink, outbox });
        }
        Ok(deliveries)
    }

    /// Fails when a sink holds more than the log: it was fed from another copy of this log.
    pub(crate) fn none_is_ahead(deliveries: &[Self], log: &Log) -> Result<(), Failure> {
        let upper = log.upper();
        match deliveries.iter().find(|delivery| delivery.sink.held() >= upper) {
            Some(delivery) => Err(Failure::Usage {
                what: format!(
                    "sink {} holds Time {}, but the log ends before {upper}",
                    delivery.config.name,
                    delivery.sink.held()
                ),
                help: "the data directory was restored from an older copy; run with the newest \
                       one, or empty the sink's target and its progress and let it fill again"
                    .to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Fails when a sink goes on from a Time of which the log has no history any more; tells the board what each holds.
    pub(crate) fn none_is_behind(
        deliveries: &[Self],
        log: &Log,
        board: &Board,
    ) -> Result<(), Failure> {
        let since = log.stat().since;
        for delivery in deliveries {
            let (name, held) = (&delivery.config.name, delivery.sink.held());
            board.sink(name).hold(held);
            if held > Time::ZERO && held < since {
                return Err(Failure::Usage {
                    what: format!(
                        "sink {name} holds Time {held}, but the history up to Time {since} was \
                         folded: what the sink lacks is not known"
                    ),
                    help: "empty the sink's target and its progress: it is filled again from what \
                           the history came to"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The engine's end of this delivery.
    pub(crate) fn outlet(&self) -> Outlet {
        let outbox = Arc::clone(&self.outbox);
        Outlet { view: self.view, held: self.sink.held(), outbox }
    }

    /// What the sink takes from.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }
}

/// A short hash of what a view computes, from the tables up: the plan holds the views that it reads.
fn definition(view: &ViewPlan) -> String {
    let mut hash = Sha256::new();
    // The explained plan begins with the view's columns and their types.
    for part in [&view.statement, &plan::explain(view)] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Fails when two sinks write to one place, where each would undo what the other does.
fn none_share_a_target(sinks: &[SinkSpec]) -> Result<(), Failure> {
    let mut targets = BTreeMap::new();
    // Streams take what comes.
    for sink in sinks.iter().filter(|sink| !is_stream(&sink.url)) {
        // Each view has one search index.
        let place = (&sink.url, (sink.url == "search").then_some(&sink.view));
        if let Some(other) = targets.insert(place, &sink.name) {
            return Err(Failure::Usage {
                what: format!("sinks {other} and {} write to the same target", sink.name),
                help: format!("give one of them another target, or `evert drop {other}` first"),
            });
        }
    }
    Ok(())
}

/// Moves what the outbox receives to the sink until the outbox is closed and empty, or the sink is.
pub(crate) async fn deliver(
    mut delivery: Delivery,
    views: Arc<Views>,
    board: Arc<Board>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let status = board.sink(&delivery.config.name);
    status.hold(delivery.sink.held());
    loop {
        let taken = delivery.outbox.take(IDLE_POSITION).await;
        let taken = taken.map_err(|error| failed(&delivery.config, error))?;
        let Some((after, upto, changes)) = taken else { break };
        let step = Step { after, upto, changes: &changes };
        match delivery.write(step, &status, &mut stop).await? {
            Written::Wholly => status.hold(upto),
            Written::NoLonger => return Ok(()),
        }
    }
    let name = delivery.config.view.name.clone();
    let rows = match delivery.sink.wants_rows() {
        true => ordered_rows(views, name).await?,
        false => Vec::new(),
    };
    match delivery.sink.finish(&rows).await {
        Ok(()) | Err(SinkError::Closed) => Ok(()),
        Err(error) => Err(failed(&delivery.config, error)),
    }
}

/// What became of a step.
enum Written {
    /// The sink holds it.
    Wholly,
    /// The sink takes nothing more, or the run was stopped.
    NoLonger,
}

impl Delivery {
    /// Writes a step, again and again while what prevents it may pass.
    async fn write(
        &mut self,
        step: Step<'_>,
        status: &SinkProgress,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Written, Failure> {
        let mut patience = Patience::new();
        let mut attempt = self.sink.write(step).await;
        loop {
            let error = match attempt {
                Ok(()) => return Ok(Written::Wholly),
                Err(SinkError::Closed) => return Ok(Written::NoLonger),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(failed(&self.config, error)),
            };
            let pause = patience.pause();
            tracing::warn!(sink = %self.config.name, "{error}; trying again in {pause:?}");
            status.wait_because(&error);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|&stop| stop) => return Ok(Written::NoLonger),
            }
            // After an error the sink is of no more use, so a failure to open it is what is told next.
            attempt = match sink::open(self.config.clone()).await {
                Ok(opened) => {
                    self.sink = opened;
                    if self.holds(step)? { Ok(()) } else { self.sink.write(step).await }
                }
                Err(error) => Err(error),
            };
        }
    }

    /// Whether the sink, opened again, turns out to hold the step already.
    fn holds(&self, step: Step<'_>) -> Result<bool, Failure> {
        let held = self.sink.held();
        if held == step.after || held == step.upto {
            return Ok(held == step.upto);
        }
        Err(Failure::Usage {
            what: format!(
                "sink {} was left at Time {} and is now at {held}",
                self.config.name, step.after
            ),
            help: "another process writes to the same target; stop it, or give this sink another \
                   name and target"
                .to_owned(),
        })
    }
}

/// All rows of a view in its order. Sorting them takes the time of a thread that may be blocked.
async fn ordered_rows(views: Arc<Views>, name: String) -> Result<Vec<RecordBatch>, Failure> {
    let sorted = tokio::task::spawn_blocking(move || views.snapshot().rows(&name));
    Ok(sorted.await.expect("sorting does not panic")?)
}

/// Opens a sink, waiting for a target that cannot be reached yet.
async fn open_patiently(config: &SinkConfig) -> Result<Box<dyn Sink>, SinkError> {
    let mut patience = Patience::new();
    loop {
        match sink::open(config.clone()).await {
            Err(error) if error.is_transient() => {
                let pause = patience.pause();
                tracing::warn!(sink = %config.name, "{error}; trying again in {pause:?}");
                tokio::time::sleep(pause).await;
            }
            opened => return opened,
        }
    }
}

fn failed(config: &SinkConfig, source: SinkError) -> Failure {
    Failure::sink(&config.name, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program of a script whose tables need no system to be asked.
    async fn program(script: &str) -> Program {
        let nothing = crate::catalogue::Catalogue::default();
        crate::intent::plan_only(script, &nothing).await.unwrap().program
    }

    async fn definitions(script: &str) -> Vec<String> {
        program(script).await.views.iter().map(definition).collect()
    }

    #[tokio::test]
    async fn a_definition_is_the_same_for_what_is_the_same_and_reaches_through_views() {
        let script = |threshold: u32, by: &str| {
            format!(
                "create source shop from 'demo';
                 create view some as select order_id, quantity from order_items
                   where quantity > {threshold};
                 create view total as select {by} from some;"
            )
        };
        let first = definitions(&script(1, "order_id")).await;
        assert_eq!(first.len(), 2);
        assert!(first.iter().all(|hash| hash.len() == 16), "{first:?}");
        assert_eq!(definitions(&script(1, "order_id")).await, first);
        let other = definitions(&script(2, "order_id")).await;
        assert_ne!(other[0], first[0]);
        assert_ne!(other[1], first[1], "the view that it reads computes something else");
        let other = definitions(&script(1, "order_id + 0 as order_id")).await;
        assert_eq!(other[0], first[0]);
        assert_ne!(other[1], first[1]);
    }

    #[tokio::test]
    async fn two_search_sinks_on_one_view_are_refused_and_on_two_are_not() {
        let script = "create source shop from 'demo';
                      create view a as select order_id from order_items;
                      create view b as select order_id from order_items;
                      create sink one from a into 'search';
                      create sink two from b into 'search';";
        none_share_a_target(&program(script).await.sinks).unwrap();
        let script = format!("{script} create sink three from a into 'search';");
        let error = none_share_a_target(&program(&script).await.sinks).unwrap_err();
        assert_eq!(error.to_string(), "sinks one and three write to the same target");
    }
}
