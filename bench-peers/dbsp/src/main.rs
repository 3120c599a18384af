//! dbsp, measured: the benchmarks' queries with types compiled per query, one figure a line.
//!
//! It has the same command line as Evert's own benchmarks, which start it: `list`, or names of figures. Each query's
//! rows are narrowed to the columns that it reads, and are in dbsp's own form before the clock starts.
#![allow(clippy::disallowed_methods, reason = "it measures time")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod changes;
mod events;
mod figure;
mod flow;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use inputs::{FULL, QUICK, Scale};

use crate::figure::Figure;

/// The allocator that Feldera's own binaries use.
#[global_allocator]
static ALLOCATOR: dbsp::mimalloc::MiMalloc = dbsp::mimalloc::MiMalloc;

/// What a query may fail with.
pub(crate) type Outcome = Result<Vec<Figure>, Box<dyn Error>>;

/// How a query runs.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// The inputs' size and the right answers.
    pub(crate) scale: &'static Scale,
    /// How many workers dbsp has.
    pub(crate) workers: usize,
    /// How many single-change steps are measured.
    pub(crate) single_steps: usize,
}

/// A query, and the figures that it gives.
struct Query {
    name: &'static str,
    figures: &'static str,
    run: fn(Run) -> Outcome,
}

const QUERIES: [Query; 5] = [
    Query { name: "q1", figures: "q1: events/s of a projection", run: events::q1 },
    Query { name: "q3", figures: "q3: events/s of a filtered join", run: events::q3 },
    Query {
        name: "q4",
        figures: "q4: events/s, the maximum kept as for append-only tables",
        run: events::q4,
    },
    Query {
        name: "q4-blind",
        figures: "q4-blind: events/s, the maximum kept as for any table",
        run: events::q4_blind,
    },
    Query {
        name: "qc",
        figures: "qc-load, qc-update: changes/s; qc-step-p50, qc-step-p99: us a single change",
        run: changes::qc,
    },
];

/// Measures dbsp.
#[derive(Debug, Parser)]
struct Cli {
    /// `list`, `all`, or names of queries.
    #[arg(required = true)]
    names: Vec<String>,
    /// Measure a tenth, to see that it runs.
    #[arg(long)]
    quick: bool,
    /// How many workers.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The form of the figures.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// The forms of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns for people.
    Text,
    /// A JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.names == ["list"] {
        QUERIES.iter().for_each(|query| println!("{:<10} {}", query.name, query.figures));
        return ExitCode::SUCCESS;
    }
    let all = cli.names == ["all"];
    for name in cli.names.iter().filter(|_| !all) {
        if !QUERIES.iter().any(|query| query.name == name) {
            eprintln!("there is no query {name}; `list` shows them");
            return ExitCode::from(2);
        }
    }
    let (scale, single_steps) = if cli.quick { (&QUICK, 500) } else { (&FULL, 5_000) };
    let run = Run { scale, workers: cli.workers, single_steps };
    let mut code = ExitCode::SUCCESS;
    for query in QUERIES.iter().filter(|query| all || cli.names.iter().any(|n| n == query.name)) {
        match (query.run)(run) {
            Ok(figures) => figures.iter().for_each(|figure| match cli.output {
                Form::Text => println!("{}", figure.to_text()),
                Form::Json => println!("{}", figure.to_json()),
            }),
            Err(error) => {
                eprintln!("{}: {error}", query.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
