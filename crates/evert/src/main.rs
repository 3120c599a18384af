//! The `evert` command: reads the command line, does what it asks, and tells people and scripts how it went.
#![allow(
    clippy::disallowed_methods,
    reason = "the binary is the system's edge: it reads clocks and starts threads"
)]

mod backend;
mod board;
mod catalogue;
mod cli;
mod commands;
mod creation;
mod delivery;
mod digests;
mod directory;
mod earlier;
mod engine;
mod environment;
mod explained;
mod failure;
mod filling;
mod flow;
mod intake;
mod intent;
mod knowledge;
mod output;
mod patience;
mod pipeline;
mod progress;
mod restored;
mod retention;
mod scrubbing;
mod session;
mod signals;
mod signing;
mod slt;
mod stopwatch;
mod supply;
mod telemetry;
mod witnessing;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, LogCommand};
use crate::failure::Failure;

/// What memory comes from; why this one is said in `docs/decisions/0013-eager-aggregation.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::io("cannot start the runtime", error), cli.json),
    };
    let outcome = runtime.block_on(dispatch(cli.command));
    // A thread that waits for standard input cannot be woken; the process does not wait for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, cli.json),
    }
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => Box::pin(commands::run::run(arguments)).await,
        Command::Demo(arguments) => Box::pin(commands::demo::demo(arguments)).await,
        Command::Query(arguments) => commands::read::query(arguments).await,
        Command::Search(arguments) => commands::read::search(arguments).await,
        Command::Status(arguments) => commands::status::status(arguments).await,
        Command::Log(LogCommand::Cat(arguments)) => commands::log::cat(&arguments),
        Command::Log(LogCommand::Tail(arguments)) => commands::log::tail(arguments).await,
        Command::Log(LogCommand::Trace(arguments)) => commands::trace::trace(arguments).await,
        Command::Log(LogCommand::Stat(arguments)) => commands::log::stat(&arguments),
        Command::Log(LogCommand::Scrub(arguments)) => commands::scrub::scrub(&arguments),
        Command::Log(LogCommand::Repair(arguments)) => commands::scrub::repair(arguments).await,
        Command::Prove(arguments) => commands::prove::prove(arguments).await,
        Command::Verify(arguments) => commands::verify::verify(&arguments),
        Command::Backup(arguments) => Box::pin(commands::backup::backup(arguments)).await,
        Command::Restore(arguments) => Box::pin(commands::restore::restore(arguments)).await,
        Command::Witness(arguments) => commands::witness::witness(arguments).await,
        Command::Plan(arguments) => Box::pin(commands::plan::plan(arguments)).await,
        Command::Sql(arguments) => Box::pin(commands::sql::sql(arguments)).await,
        Command::Test(arguments) => Box::pin(commands::test::test(arguments)).await,
        Command::Drop(arguments) => Box::pin(commands::drop::drop(arguments)).await,
    }
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    if json {
        failure.log();
    } else {
        let mut out = std::io::stderr();
        let text = failure.render(out.is_terminal());
        // When standard error is gone, the exit code still tells.
        out.write_all(text.as_bytes()).unwrap_or_default();
    }
    ExitCode::from(failure.exit_code())
}
