//! What a newcomer meets first: the binary's size, and how long it takes to start.

use std::fs;
use std::process::Command;

use crate::figure::{Figure, median};
use crate::{Outcome, Size, program};

/// Measures `evert run --once` on a directory that holds a finished demo of 2,000 transactions.
pub(crate) fn cold_start(size: Size) -> Outcome {
    let evert = program::evert()?;
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let limit = size.of(2_000, 200);
    let script = directory.path().join("shop.sql");
    fs::write(
        &script,
        format!(
            "create source shop from 'demo' (rate = '0', limit = '{limit}');\n\
             create view sold as select product_id, sum(quantity) as n from order_items \
             group by product_id;\n\
             create sink sold_search from sold into 'search';\n"
        ),
    )?;
    let run = |command: &mut Command| program::measured(command).map(|taken| taken.time);
    run(Command::new(&evert).args(["run", "--once", "--data"]).arg(&data).arg(&script))?;
    let (mut starts, mut versions) = (Vec::new(), Vec::new());
    for _ in 0..size.of(11, 3) {
        let start = run(Command::new(&evert).args(["run", "--once", "--data"]).arg(&data))?;
        starts.push(start.as_secs_f64() * 1e3);
        versions.push(run(Command::new(&evert).arg("--version"))?.as_secs_f64() * 1e3);
    }
    let figure = Figure::alone("cold-start", median(starts), "ms");
    Ok(vec![figure.beside("evert --version", median(versions))])
}

/// Measures the binary's file.
pub(crate) fn binary_size(_size: Size) -> Outcome {
    let bytes = fs::metadata(program::evert()?)?.len();
    Ok(vec![Figure::alone("binary-size", bytes as f64 / 1e6, "MB")])
}
