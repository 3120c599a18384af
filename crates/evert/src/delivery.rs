//! Drives one sink: takes what its outbox holds, writes it, and writes it again after a fault that passes.
//!
//! What makes the second attempt safe is the sink itself: it is opened anew and asked which Time it holds. A commit
//! whose answer was lost is so told apart from one that did not happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use change::Time;
use log::Log;
use plan::ir::{Program, SinkSpec};
use sink::{Outbox, Sink, SinkConfig, SinkError, Step};
use tokio::sync::watch;
use view::{ViewInfo, Views};

use crate::board::Board;
use crate::directory::Directory;
use crate::engine::Outlet;
use crate::environment::expand;
use crate::failure::Failure;
use crate::intent::is_stream;

/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

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
        directory: &Directory,
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
                log_id,
                data_dir: directory.root().to_owned(),
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

/// Fails when two sinks write to one place, where each would undo what the other does.
fn none_share_a_target(sinks: &[SinkSpec]) -> Result<(), Failure> {
    // Streams take what comes, and each view has a search index of its own.
    let has_place = |sink: &&SinkSpec| !is_stream(&sink.url) && sink.url != "search";
    let mut targets = BTreeMap::new();
    for sink in sinks.iter().filter(has_place) {
        if let Some(other) = targets.insert(&sink.url, &sink.name) {
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
    while let Some((after, upto, changes)) = delivery.outbox.take(IDLE_POSITION).await {
        let mut pause = Duration::from_millis(100);
        loop {
            let error = match delivery.sink.write(Step { after, upto, changes: &changes }).await {
                Ok(()) => break,
                Err(SinkError::Closed) => return Ok(()),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(failed(&delivery.config, error)),
            };
            tracing::warn!(sink = %delivery.config.name, "{error}; trying again in {pause:?}");
            status.wait_because(&error);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|&stop| stop) => return Ok(()),
            }
            pause = (pause * 2).min(PAUSE_MAX);
            if reopened(&mut delivery, after, upto).await? {
                break;
            }
        }
        status.hold(upto);
    }
    let snapshot = views.snapshot();
    let rows = snapshot.rows(&delivery.config.view.name)?;
    match delivery.sink.finish(&rows).await {
        Ok(()) | Err(SinkError::Closed) => Ok(()),
        Err(error) => Err(failed(&delivery.config, error)),
    }
}

/// Opens the sink again. Returns whether it turns out to hold the step already.
async fn reopened(delivery: &mut Delivery, after: Time, upto: Time) -> Result<bool, Failure> {
    match sink::open(delivery.config.clone()).await {
        Ok(sink) => {
            let held = sink.held();
            delivery.sink = sink;
            if held == upto {
                return Ok(true);
            }
            if held == after || (held == Time::ZERO && after == Time::ZERO) {
                return Ok(false);
            }
            Err(Failure::Usage {
                what: format!(
                    "sink {} was left at Time {after} and is now at {held}",
                    delivery.config.name
                ),
                help: "another process writes to the same target; stop it, or give this sink \
                       another name and target"
                    .to_owned(),
            })
        }
        // The next write fails the same way, and is tried again.
        Err(error) if error.is_transient() => Ok(false),
        Err(error) => Err(failed(&delivery.config, error)),
    }
}

/// Opens a sink, waiting for a target that cannot be reached yet.
async fn open_patiently(config: &SinkConfig) -> Result<Box<dyn Sink>, SinkError> {
    let mut pause = Duration::from_millis(100);
    loop {
        match sink::open(config.clone()).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(sink = %config.name, "{error}; trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            opened => return opened,
        }
    }
}

fn failed(config: &SinkConfig, source: SinkError) -> Failure {
    Failure::sink(&config.name, source)
}
