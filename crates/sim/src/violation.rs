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
