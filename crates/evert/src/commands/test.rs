//! `evert test`: sqllogictest files, each on a fresh instance.

use std::time::Instant;

use crate::cli::TestArgs;
use crate::failure::Failure;
use crate::output;
use crate::slt::{self, Options};

/// Runs the files and tells how each went.
pub(crate) async fn test(arguments: TestArgs) -> Result<(), Failure> {
    let options = Options { verify: arguments.verify, rewrite: arguments.rewrite };
    let mut failed = 0;
    for file in &arguments.files {
        let begun = Instant::now();
        let report = Box::pin(slt::run_file(file, options)).await?;
        let (shown, took) = (file.display(), begun.elapsed().as_secs_f64());
        let records = output::counted(report.records as u64, "record");
        let line = match (&report.failure, report.rewritten) {
            (None, 0) => format!("ok      {shown} ({records}, {took:.1} s)\n"),
            (None, rewritten) => format!("written {shown} ({rewritten} of {records} changed)\n"),
            (Some(failure), _) => {
                failed += 1;
                format!("FAILED  {shown}\n  {failure}")
            }
        };
        output::print(line.as_bytes())?;
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Tests { failed, all: arguments.files.len() })
}
