//! What can go wrong with a source, and what to do then.

use crate::IntakeError;

/// Why a source cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system does not answer, or the connection broke.
    #[error("{system} cannot be reached: {reason}")]
    Unreachable {
        /// The system, without passwords.
        system: String,
        /// What the operating system or the server said.
        reason: String,
    },
    /// The system does not let us in.
    #[error("{system} refused the login: {reason}")]
    Authentication {
        /// The system, without passwords.
        system: String,
        /// What the server said.
        reason: String,
    },
    /// A named table is not there.
    #[error("there is no table {table}")]
    UnknownTable {
        /// The table as it was asked for.
        table: String,
        /// The most similar table that is there.
        did_you_mean: Option<String>,
    },
    /// The replication slot that held our place is gone.
    #[error("replication slot {slot} is gone, and with it the changes since {position}")]
    SlotMissing {
        /// The slot.
        slot: String,
        /// The last durable position.
        position: String,
    },
    /// The system is not the one that was followed before.
    #[error("this is not the system that was followed before: it is {found}, expected {expected}")]
    OtherSystem {
        /// What the log says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A table is no longer as it was logged.
    #[error("table {table} has changed: {difference}")]
    SchemaChanged {
        /// The table.
        table: String,
        /// What differs.
        difference: String,
    },
    /// The system sent what cannot be understood.
    #[error("malformed input at {place}: {reason}")]
    Malformed {
        /// Where.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read.
    #[error("{place}: {source}")]
    Io {
        /// The file, or what was done.
        place: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The log could not take the changes in.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// No source is known by such a URL.
    #[error("'{url}' is not a source")]
    UnknownUrl {
        /// The URL.
        url: String,
    },
    /// An option is unknown, or its value is wrong.
    #[error("option {option}: {reason}")]
    Option {
        /// The option's name.
        option: String,
        /// What is wrong with it.
        reason: String,
        /// What to write instead.
        help: Option<String>,
    },
    /// The input is not what was read before, so going on would be wrong.
    #[error("{input} cannot be read on: {reason}")]
    CannotResume {
        /// The input.
        input: String,
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
    /// Anything else that a source refuses to do.
    #[error("{what}")]
    Refused {
        /// The error's code.
        code: &'static str,
        /// What is refused, and why.
        what: String,
        /// What to do.
        help: Option<String>,
    },
}

impl SourceError {
    /// The error's code, as the documentation lists it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "SRC001",
            Self::Authentication { .. } => "SRC002",
            Self::UnknownTable { .. } => "SRC003",
            Self::SlotMissing { .. } => "SRC005",
            Self::OtherSystem { .. } => "SRC006",
            Self::SchemaChanged { .. } => "SRC007",
            Self::Malformed { .. } => "SRC008",
            Self::Io { .. } => "SRC009",
            Self::Intake(_) => "SRC010",
            Self::UnknownUrl { .. } => "SRC011",
            Self::Option { .. } => "SRC012",
            Self::CannotResume { .. } => "SRC013",
            Self::Refused { code, .. } => code,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Unreachable { .. } => {
                "check that the server runs and that host and port are right"
            }
            Self::Authentication { .. } => {
                "check user, password and database in the URL; the user needs the REPLICATION attribute"
            }
            Self::UnknownTable { did_you_mean, .. } => {
                return did_you_mean.as_ref().map(|table| format!("did you mean {table}?"));
            }
            Self::SlotMissing { .. } | Self::OtherSystem { .. } | Self::SchemaChanged { .. } => {
                "start again with a new data directory (--data DIR), which copies everything anew"
            }
            Self::Malformed { .. } | Self::Intake(_) => return None,
            Self::Io { .. } => "check the path and its permissions",
            Self::UnknownUrl { .. } => {
                "a source is postgres://…, a file (.ndjson, .jsonl, .csv), stdin or demo"
            }
            Self::Option { help, .. } | Self::Refused { help, .. } => return help.clone(),
            Self::CannotResume { help, .. } => return Some(help.clone()),
        };
        Some(text.to_owned())
    }

    /// Whether the same run may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
