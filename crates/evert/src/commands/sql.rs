//! `evert sql`: statements that create, write and read tables of Evert's own, on a directory that no process runs.

use crate::cli::SqlArgs;
use crate::commands::script_text;
use crate::failure::Failure;
use crate::output;
use crate::session::{Outcome, Session};

/// Runs the statements and prints what each came to.
pub(crate) async fn sql(arguments: SqlArgs) -> Result<(), Failure> {
    let text = script_text(&arguments.sql)?;
    let mut session = Session::open(&arguments.dir.path(), false)?;
    let outcomes = session.execute(&text).await;
    let outcomes = outcomes.map_err(|failure| failure.in_script(&arguments.sql))?;
    for outcome in outcomes {
        match outcome {
            Outcome::Done(what) => output::print(format!("{what}\n").as_bytes())?,
            Outcome::Wrote(what, rows) => {
                output::print(format!("{what}: {}\n", output::counted(rows, "row")).as_bytes())?;
            }
            Outcome::Rows(schema, rows) => {
                output::print_rows(&schema, &rows, output::chosen(arguments.output))?;
            }
        }
    }
    Ok(())
}
