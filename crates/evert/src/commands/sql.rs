//! `evert sql`: statements that create, write and read tables of Evert's own, run by the process that has the directory,
//! or here when none does.

use serve::api::SqlOutcome;
use serve::client::{Client, ClientError};

use crate::cli::{OutputFormat, SqlArgs};
use crate::commands::read::print_objects;
use crate::commands::script_text;
use crate::explained::drawn;
use crate::failure::Failure;
use crate::session::{Outcome, Session};

use crate::{directory, output};

/// Runs the statements and prints what each came to.
pub(crate) async fn sql(arguments: SqlArgs) -> Result<(), Failure> {
    let text = script_text(&arguments.sql)?;
    let root = arguments.dir.path();
    let format = output::chosen(arguments.output);
    match Client::new(&directory::socket(&root)).sql(&text).await {
        Ok(answer) => {
            answer.outcomes.into_iter().try_for_each(|outcome| show(outcome, format))?;
            let lacking: Vec<_> = answer.lacking.into_iter().map(view::Lacking::from).collect();
            output::warn(&lacking)
        }
        Err(ClientError::NotRunning { .. }) => {
            let mut session = Session::open(&root, false)?;
            let outcomes = session.execute_whole(&text).await;
            for outcome in outcomes.map_err(|failure| failure.in_script(&arguments.sql))? {
                match outcome {
                    Outcome::Rows(schema, rows) => output::print_rows(&schema, &rows, format)?,
                    Outcome::Explained(schema, rows) if format != OutputFormat::Table => {
                        output::print_rows(&schema, &[rows], format)?;
                    }
                    other @ (Outcome::Done(_) | Outcome::Wrote(..) | Outcome::Explained(..)) => {
                        show(other.told(), format)?;
                    }
                }
            }
            output::warn(&session.take_lacking())
        }
        Err(error) => Err(error.into()),
    }
}

fn show(outcome: SqlOutcome, format: OutputFormat) -> Result<(), Failure> {
    match outcome {
        SqlOutcome::Done(what) => output::print(format!("{what}\n").as_bytes()),
        SqlOutcome::Wrote { how, rows } => {
            output::print(format!("{how}: {}\n", output::counted(rows, "row")).as_bytes())
        }
        SqlOutcome::Explained(rows) if format == OutputFormat::Table => {
            output::print(drawn(&rows).as_bytes())
        }
        SqlOutcome::Rows(rows) | SqlOutcome::Explained(rows) => print_objects(rows, format),
    }
}
