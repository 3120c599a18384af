//! Why a server could not be started or asked.

use std::path::PathBuf;

/// Why a server could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The program is not installed.
    #[error(
        "{program} was not found in {searched}: install the package {package}, or say where it is ({variable})"
    )]
    Missing {
        /// The program.
        program: String,
        /// Where it was looked for.
        searched: String,
        /// The system's package that brings it.
        package: &'static str,
        /// The environment variable that names another place.
        variable: &'static str,
    },
    /// An operation of the operating system failed.
    #[error("{what}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// What it wrote.
        output: String,
    },
    /// A server did not become ready in time, or ended at once.
    #[error("{program} did not become ready; its log {log} ends with: {tail}")]
    NotReady {
        /// The program.
        program: String,
        /// The log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
}

impl ServerError {
    /// Makes an error of an operating system's.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
