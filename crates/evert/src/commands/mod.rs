//! The commands, one file each.

pub(crate) mod backed_up;
pub(crate) mod backup;
pub(crate) mod demo;
pub(crate) mod drop;
pub(crate) mod log;
pub(crate) mod plan;
pub(crate) mod prove;
pub(crate) mod read;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod scrub;
pub(crate) mod sql;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod tiles;
pub(crate) mod trace;
pub(crate) mod verify;
pub(crate) mod witness;

use std::path::Path;

use crate::failure::Failure;

/// The text of a script: a file's, when the argument names one (`*.sql`), or the argument itself.
pub(crate) fn script_text(argument: &str) -> Result<String, Failure> {
    let path = Path::new(argument);
    let is_file = path.extension().is_some_and(|ending| ending == "sql") && !argument.contains('|');
    if !is_file {
        return Ok(argument.to_owned());
    }
    std::fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("cannot read the script {argument}"), error))
}
