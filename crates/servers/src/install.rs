//! Servers that are no package of the system: fetched once from their registry, and kept below the temporary directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ServerError;
use crate::process::run;

/// Returns the directory of that name below the temporary one; `make` fills it the first time.
pub(crate) fn kept(
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), ServerError>,
) -> Result<PathBuf, ServerError> {
    let kept = std::env::temp_dir().join(name);
    if kept.is_dir() {
        return Ok(kept);
    }
    // Made aside and renamed, so that a half-made one is never used and two makers do no harm.
    let aside = tempfile::Builder::new()
        .prefix(&format!("{name}-new-"))
        .tempdir()
        .map_err(ServerError::io("make a temporary directory"))?;
    make(aside.path())?;
    let aside = aside.keep();
    if fs::rename(&aside, &kept).is_err() {
        // Somebody else was quicker.
        fs::remove_dir_all(&aside).map_err(ServerError::io("remove a spare installation"))?;
    }
    Ok(kept)
}

/// What to do when a program that fetches a server is not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetcher {
    /// The server, and what fetches it.
    pub(crate) program: &'static str,
    /// The system's package that brings the latter.
    pub(crate) package: &'static str,
    /// The environment variable that names a server that is there.
    pub(crate) variable: &'static str,
}

impl Fetcher {
    /// Runs the command that fetches.
    pub(crate) fn run(self, command: &mut Command) -> Result<(), ServerError> {
        match run(command) {
            Err(ServerError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Err(self.missing(&format!("{} and PATH", self.variable)))
            }
            done => done,
        }
    }

    fn missing(self, searched: &str) -> ServerError {
        ServerError::Missing {
            program: self.program.to_owned(),
            searched: searched.to_owned(),
            package: self.package,
            variable: self.variable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_to_be_made_is_made_anew() {
        let name = format!("evert-kept-{}", std::process::id());
        let failed = kept(&name, |dir| run(Command::new("ls").arg(dir.join("nothing"))));
        assert!(failed.unwrap_err().to_string().contains("nothing"));
        let write =
            |dir: &Path| fs::write(dir.join("file"), "made").map_err(ServerError::io("write"));
        let made = kept(&name, write).unwrap();
        assert_eq!(kept(&name, |_| unreachable!("it is there")).unwrap(), made);
        assert_eq!(fs::read_to_string(made.join("file")).unwrap(), "made");
        fs::remove_dir_all(made).unwrap();
    }

    #[test]
    fn a_missing_fetcher_is_named_with_its_package() {
        let fetcher = Fetcher { program: "a server", package: "a-package", variable: "A_SERVER" };
        let error = fetcher.run(&mut Command::new("evert-no-such-program")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a server was not found in A_SERVER and PATH: \
             install the package a-package, or say where it is (A_SERVER)"
        );
    }
}
