//! The engine, in process: plans are made from SQL text, and changes are ready before the clock starts, unless the
//! figure says that they come from bytes.
//!
//! Every answer is checked after the clock has stopped. A query that cannot be planned yet has a line that says so.

mod band;
mod batch;
mod bytes;
mod flow;
mod nexmark;
mod pgoutput;
mod rows;
mod seen;
mod size;
mod spec;
mod steps;
pub(crate) mod tpch;

use inputs::{FULL, QUICK, Scale};

use crate::{Benchmark, Size};

/// The benchmarks of the engine.
pub(crate) const BENCHMARKS: [Benchmark; 13] = [
    benchmark("q1", "a projection, against dbsp", spec::q1),
    benchmark("q3", "a filtered join, against dbsp", spec::q3),
    benchmark(
        "q4",
        "join, maximum, mean; keys and append-only tables declared; against dbsp",
        spec::q4,
    ),
    benchmark("q4-blind", "the same, nothing declared; against dbsp", spec::q4_blind),
    benchmark(
        "qc",
        "qc-load, qc-update, qc-step: captured changes joined and summed, against dbsp",
        spec::qc,
    ),
    benchmark("q4-bytes", "q4 from the log's frames, against ready batches", bytes::q4),
    benchmark(
        "qc-bytes",
        "qc-load and qc-update from the log's frames, against ready batches",
        bytes::qc,
    ),
    benchmark(
        "qc-update-pgoutput",
        "qc-update from pgoutput's messages, against ready batches",
        pgoutput::qc_update,
    ),
    benchmark(
        "nexmark",
        "each Nexmark query on one core, against the best published figure",
        nexmark::run,
    ),
    benchmark(
        "tpch",
        "a refresh of each TPC-H view, against DataFusion and DuckDB anew",
        tpch::run,
    ),
    benchmark(
        "band",
        "one change of a band join on 1,000 and 100,000 rows, against the smaller",
        band::run,
    ),
    benchmark(
        "state-bytes",
        "bytes a row of the two largest arrangements, against the raw columns",
        size::state_bytes,
    ),
    benchmark(
        "state-rows",
        "qc-update on 1 to 50 million orders, against the smallest",
        size::state_rows,
    ),
];

/// The numbers of workers that are measured.
pub(crate) const WORKERS: [usize; 2] = [1, 2];

const fn benchmark(
    name: &'static str,
    measures: &'static str,
    run: fn(Size) -> crate::Outcome,
) -> Benchmark {
    Benchmark { group: "engine", name, measures, run }
}

/// How large the inputs are.
fn scale(size: Size) -> &'static Scale {
    size.of(&FULL, &QUICK)
}

/// The name of a figure that was measured with so many workers.
fn with_workers(name: &str, workers: usize) -> String {
    if workers == 1 { name.to_owned() } else { format!("{name}-{workers}-workers") }
}
