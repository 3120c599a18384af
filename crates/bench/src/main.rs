//! The benchmarks: Evert beside its peers and the physical limit, one line a figure.
//!
//! Whatever is compared runs in one run, in turn, and the ratio is what counts: machines differ and are noisy.
//! `cargo run --release -p bench -- list` says what there is; each figure says against what it is measured.
#![allow(clippy::disallowed_methods, reason = "it measures time and starts programs")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod cdc;
mod engine;
mod figure;
mod latency;
mod log;
mod peer;
mod product;
mod program;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::figure::{Figure, machine};

/// The same as in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a benchmark, or a part of one, may fail with.
pub(crate) type Maybe<T> = Result<T, Box<dyn Error>>;

/// What a benchmark gives.
pub(crate) type Outcome = Maybe<Vec<Figure>>;

/// A benchmark: its name, what it measures, and how.
pub(crate) struct Benchmark {
    /// Benchmarks that are asked for together by this name; empty for none.
    group: &'static str,
    name: &'static str,
    measures: &'static str,
    run: fn(Size) -> Outcome,
}

impl Benchmark {
    /// Whether it is asked for by this name.
    fn is_named(&self, name: &str) -> bool {
        self.name == name || (self.group == name && !name.is_empty())
    }
}

/// How much work is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// The figures of record.
    Full,
    /// A tenth or less, to see that it runs.
    Quick,
}

impl Size {
    /// Chooses by size.
    pub(crate) fn of<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

const BENCHMARKS: [Benchmark; 5] = [
    Benchmark {
        group: "",
        name: "cdc-stream",
        measures: "rows/s from PostgreSQL into the durable log, against pg_recvlogical -f /dev/null",
        run: cdc::stream,
    },
    Benchmark {
        group: "",
        name: "cdc-backfill",
        measures: "backfill rows/s, against COPY … TO STDOUT into /dev/null; and the peak memory",
        run: cdc::backfill,
    },
    Benchmark {
        group: "",
        name: "latency",
        measures: "commit in PostgreSQL until visible in a view and in a search index, at 1,000 rows/s",
        run: latency::run,
    },
    Benchmark {
        group: "",
        name: "cold-start",
        measures: "`evert run --once` on an existing directory, against `evert --version`",
        run: product::cold_start,
    },
    Benchmark {
        group: "",
        name: "binary",
        measures: "the size of the binary",
        run: product::binary_size,
    },
];

/// Measures Evert.
#[derive(Debug, Parser)]
struct Cli {
    /// `list`, `all`, or names of benchmarks or groups of them.
    #[arg(required = true)]
    names: Vec<String>,
    /// Measure a tenth or less, to see that it runs.
    #[arg(long)]
    quick: bool,
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
    let benchmarks = || log::BENCHMARKS.iter().chain(&BENCHMARKS).chain(&engine::BENCHMARKS);
    if cli.names == ["list"] {
        for benchmark in benchmarks() {
            println!("{:<10} {:<20} {}", benchmark.group, benchmark.name, benchmark.measures);
        }
        return ExitCode::SUCCESS;
    }
    let size = if cli.quick { Size::Quick } else { Size::Full };
    let all = cli.names == ["all"];
    let machine = machine();
    let mut code = ExitCode::SUCCESS;
    for name in cli.names.iter().filter(|_| !all) {
        if !benchmarks().any(|benchmark| benchmark.is_named(name)) {
            eprintln!("there is no benchmark {name}; `list` shows them");
            return ExitCode::from(2);
        }
    }
    for benchmark in benchmarks() {
        if !all && !cli.names.iter().any(|name| benchmark.is_named(name)) {
            continue;
        }
        match (benchmark.run)(size) {
            Ok(figures) => figures.iter().for_each(|figure| match cli.output {
                Form::Text => println!("{}", figure.to_text(&machine)),
                Form::Json => println!("{}", figure.to_json(&machine)),
            }),
            Err(error) => {
                eprintln!("{}: {error}", benchmark.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
