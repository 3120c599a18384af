//! Drives one source: runs it, and runs it again after a fault that passes.

use std::sync::Arc;

use change::SourcePosition;
use source::{End, Intake, Phase, Resume, RunOptions, Source, SourceConfig};
use tokio::sync::watch;

use crate::board::Board;
use crate::failure::Failure;
use crate::intake::LogIntake;
use crate::patience::Patience;

/// A source that is ready to run.
pub(crate) struct Supply {
    /// What the script says of it.
    pub(crate) config: SourceConfig,
    /// The open source.
    pub(crate) source: Box<dyn Source>,
    /// What the log knew of it when the run began.
    pub(crate) resume: Resume,
}

/// Runs a source until it has ended, is stopped, or fails for good.
pub(crate) async fn supply(
    mut supply: Supply,
    intake: Arc<LogIntake>,
    board: Arc<Board>,
    once: bool,
    stop: watch::Receiver<bool>,
) -> Result<End, Failure> {
    let name = Arc::clone(&supply.config.name);
    let progress = board.source(&name);
    let mut resume = supply.resume.clone();
    let mut patience = Patience::new();
    loop {
        if let Some(position) = resume.position {
            progress.set_position(position);
        }
        announce(&name, resume.position);
        let options = RunOptions { once, stop: stop.clone(), progress: Arc::clone(&progress) };
        let into = Arc::clone(&intake) as Arc<dyn Intake>;
        match supply.source.run(resume.clone(), into, options).await {
            Ok(End::Ended) => {
                progress.set_phase(Phase::Ended);
                return Ok(End::Ended);
            }
            Ok(End::Stopped) => return Ok(End::Stopped),
            Err(error) if error.is_transient() => {
                let pause = patience.pause();
                tracing::warn!(source = %name, "{error}; trying again in {pause:?}");
                progress.set_phase(Phase::Waiting(error.to_string()));
                let mut stop = stop.clone();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stop.wait_for(|&stop| stop) => return Ok(End::Stopped),
                }
                resume = intake.resume(&name, &resume).await?;
                supply.source = source::open(supply.config.clone())
                    .map_err(|error| Failure::source(&*name, error))?;
            }
            Err(error) => return Err(Failure::source(&*name, error)),
        }
    }
}

fn announce(name: &str, position: Option<SourcePosition>) {
    match position {
        Some(position) => tracing::info!(source = %name, "going on from {position}"),
        None => tracing::info!(source = %name, "starting"),
    }
}
