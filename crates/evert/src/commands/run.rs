//! `evert run`: a pipe or a script, until it is done or interrupted.

use std::path::{Path, PathBuf};

use crate::cli::RunArgs;
use crate::commands::script_text;
use crate::failure::Failure;
use crate::intent::{is_stream, prepare};
use crate::knowledge::WORKERS_DEFAULT;
use crate::pipeline::{self, RunOptions};
use crate::signals::Interrupts;

/// Runs what the user asks, together with what the directory already holds.
pub(crate) async fn run(arguments: RunArgs) -> Result<(), Failure> {
    let script = arguments.script.clone().unwrap_or_default();
    let text = script_text(&script)?;
    run_text(&arguments, &text).await.map_err(|failure| failure.in_script(&script))
}

async fn run_text(arguments: &RunArgs, text: &str) -> Result<(), Failure> {
    let passing = arguments.dir.data.is_none() && only_passes_through(text)?;
    let workers = arguments.workers.map_or(WORKERS_DEFAULT, usize::from);
    let mut options = RunOptions {
        once: arguments.once,
        http: arguments.http,
        workers,
        history: arguments.history.unwrap_or(plan::History::Forever),
        scrub_megabytes: arguments.scrub_rate,
    };
    if !passing {
        return start(&arguments.dir.path(), text, options).await;
    }
    // Nothing could be asked of it later, so nothing is kept, and it ends with its input.
    options.once = true;
    let directory = passing_directory();
    let outcome = start(&directory, text, options).await;
    if let Err(error) = std::fs::remove_dir_all(&directory) {
        tracing::debug!("cannot remove {}: {error}", directory.display());
    }
    outcome
}

/// Prepares a run and runs it; an interrupt ends it also while a system is waited for.
pub(crate) async fn start(root: &Path, text: &str, options: RunOptions) -> Result<(), Failure> {
    let mut interrupts = Interrupts::new()?;
    let prepared = tokio::select! {
        prepared = prepare(root, text) => prepared?,
        () = interrupts.next() => return Ok(()),
    };
    pipeline::run(prepared, options, interrupts).await
}

/// Whether a script reads nothing but standard input and writes nothing but standard output.
fn only_passes_through(text: &str) -> Result<bool, Failure> {
    let script = plan::parse(text)?;
    let (sources, sinks) = (script.sources(), script.sink_urls());
    Ok(!sources.is_empty()
        && !sinks.is_empty()
        && sources.iter().all(|source| is_stream(&source.url))
        && sinks.iter().all(|url| is_stream(url)))
}

fn passing_directory() -> PathBuf {
    std::env::temp_dir().join(format!("evert-{}", uuid::Uuid::new_v4()))
}
