//! What must not be.

/// Something that must not be, in words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what}")]
pub struct Violation {
    /// What it is.
    pub what: String,
}

/// Says what must not be.
pub(crate) fn violation(what: impl Into<String>) -> Violation {
    Violation { what: what.into() }
}

/// An error of the log, or of a backup, with what is behind it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        told.push_str(&format!(": {behind}"));
        source = behind.source();
    }
    told
}
