//! What can go wrong with a sink, and what to do then.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::error::ArrowError;

/// Why a sink cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The URL names no system that can be written to.
    #[error("there is no sink for {url}")]
    UnknownTarget {
        /// The URL, without its password.
        url: String,
    },
    /// The URL of a PostgreSQL table is not of its form.
    #[error("{url} does not name a table: {problem}")]
    Address {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An option is unknown, or its value is.
    #[error("option {option}: {problem}")]
    Option {
        /// The option.
        option: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Rows cannot be found again in the target.
    #[error("view {view} has no key by which its rows could be found again in {target}")]
    NoKey {
        /// The view.
        view: String,
        /// The target.
        target: String,
    },
    /// Two rows claim the same place in the target.
    #[error("two rows of view {view} have the same key ({key})")]
    DuplicateKey {
        /// The view.
        view: String,
        /// The key, as `column = value`.
        key: String,
    },
    /// The target's key does not take NULL.
    #[error("a row of view {view} has NULL in its key, which {target} does not take")]
    NullKey {
        /// The view.
        view: String,
        /// The target.
        target: String,
        /// The statements that make it take NULL.
        ddl: String,
    },
    /// A column has a type that the target has no place for.
    #[error("column {column} has type {data_type}, which the target cannot hold")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// A value is not what its column's type promises.
    #[error("column {column}: {problem}")]
    Value {
        /// The column.
        column: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// The target's table cannot take the view's rows.
    #[error("{target} does not fit the view: {problem}")]
    Mismatch {
        /// The table.
        target: String,
        /// What differs.
        problem: String,
        /// The statement that repairs it.
        ddl: String,
    },
    /// The target holds rows of unknown origin.
    #[error("{target} already holds rows that Evert did not write")]
    NotEmpty {
        /// The target.
        target: String,
    },
    /// The target was filled from another log.
    #[error(
        "{target} was filled by sink {sink} of another data directory (log {found}, this is {expected})"
    )]
    OtherLog {
        /// The target.
        target: String,
        /// The sink's name.
        sink: String,
        /// The log's id that the target tells.
        found: String,
        /// This log's id.
        expected: String,
        /// What to run to fill the target anew.
        repair: String,
    },
    /// The target says that it holds rows, and they are not there.
    #[error("{target} should hold {expected} rows at Time {held}, and holds {found}")]
    Emptied {
        /// The target.
        target: String,
        /// What its progress says.
        expected: u64,
        /// What is there.
        found: u64,
        /// The Time that its progress says.
        held: u64,
        /// What to run to fill the target anew.
        repair: String,
    },
    /// The target's progress moved under us.
    #[error("the progress of sink {sink} in {target} was changed by somebody else")]
    Moved {
        /// The sink's name.
        sink: String,
        /// The target.
        target: String,
    },
    /// Another process writes to the same target.
    #[error("{target} is being written by another process ({holder})")]
    Busy {
        /// The target.
        target: String,
        /// Who has it.
        holder: String,
    },
    /// The target does not answer, or the connection broke.
    #[error("{target} cannot be reached: {reason}")]
    Unreachable {
        /// The target.
        target: String,
        /// What the operating system or the server said.
        reason: String,
    },
    /// The target does not let us in.
    #[error("{target} refused the connection: {reason}")]
    Login {
        /// The target.
        target: String,
        /// What the server said.
        reason: String,
    },
    /// The target refused a statement.
    #[error("{target} refused: {reason}")]
    Refused {
        /// The target.
        target: String,
        /// What the server said.
        reason: String,
        /// Whether the same statement may succeed later.
        transient: bool,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is shorter than its position says.
    #[error("{} should have at least {expected} bytes, and has {found}", .path.display())]
    Shortened {
        /// The file.
        path: PathBuf,
        /// What its position says.
        expected: u64,
        /// What is there.
        found: u64,
        /// What to run to write it anew.
        repair: String,
    },
    /// A file's position cannot be understood.
    #[error("{} is not a position that Evert wrote: {problem}", .path.display())]
    Position {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The search index cannot be opened or written.
    #[error("{source}")]
    Search {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong with it.
        source: Box<view::ViewError>,
    },
    /// Who reads our output went away: a clean end.
    #[error("the reader of the output went away")]
    Closed,
    /// The changes that wait for the sink do not fit into one batch.
    #[error("the changes that wait for the sink do not fit into one batch")]
    Unsummed(#[source] Arc<ArrowError>),
    /// Columns cannot be processed.
    #[error("the view's rows cannot be processed")]
    Arrow(#[from] ArrowError),
}

impl SinkError {
    /// The error's code, stable between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownTarget { .. } => "SINK001",
            Self::Address { .. } => "SINK002",
            Self::Option { .. } => "SINK003",
            Self::NoKey { .. } => "SINK004",
            Self::DuplicateKey { .. } => "SINK005",
            Self::NullKey { .. } => "SINK006",
            Self::UnsupportedType { .. } => "SINK007",
            Self::Value { .. } => "SINK008",
            Self::Mismatch { .. } => "SINK009",
            Self::NotEmpty { .. } => "SINK010",
            Self::OtherLog { .. } => "SINK011",
            Self::Emptied { .. } => "SINK012",
            Self::Moved { .. } => "SINK013",
            Self::Busy { .. } => "SINK014",
            Self::Unreachable { .. } => "SINK015",
            Self::Login { .. } => "SINK016",
            Self::Refused { .. } => "SINK017",
            Self::File { .. } => "SINK018",
            Self::Position { .. } => "SINK019",
            Self::Search { .. } => "SINK020",
            Self::Closed => "SINK021",
            Self::Arrow(_) => "SINK022",
            Self::Shortened { .. } => "SINK023",
            Self::Unsummed(_) => "SINK024",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::UnknownTarget { .. } => {
                "write to one of: search, stdout, postgres://user@host/database/table, rows.ndjson"
            }
            Self::Address { .. } => {
                "the table stands behind the database: postgres://user@host/database/table \
                 or postgres://user@host/database/schema.table"
            }
            Self::NoKey { .. } => {
                "name the columns whose values no two rows share with the option \
                 key = 'a, b', or let the view group by them"
            }
            Self::DuplicateKey { .. } => {
                "choose columns whose values no two rows share: option key = 'a, b'"
            }
            Self::UnsupportedType { .. } => "cast the column in the view, for example to text",
            Self::NotEmpty { .. } => {
                "write to another table, or have the rows replaced: option on_existing = 'replace'"
            }
            Self::Moved { .. } => {
                "make sure that one process writes to this target, then start Evert again: it goes \
                 on from what the target holds"
            }
            Self::Busy { .. } => "stop the other process, or give this sink another target",
            Self::Login { .. } => {
                "check user, password and database in the URL; a password may also come from \
                 PGPASSWORD"
            }
            Self::Position { .. } => "remove the file and its .position to write it anew",
            Self::Search { dir, source } => {
                use view::ViewError::{Index, OtherIndex};
                if matches!(**source, OtherIndex { .. } | Index { .. }) {
                    return Some(format!("to fill it anew, run: rm -r {}", dir.display()));
                }
                return source.help();
            }
            Self::Unsummed(_) => {
                "a column of one step holds 2 GiB of text at most: leave the column out of the \
                 view, or cut its values with left(column, length)"
            }
            Self::NullKey { ddl, .. } | Self::Mismatch { ddl, .. } => {
                return Some(format!("run: {ddl}"));
            }
            Self::OtherLog { repair, .. }
            | Self::Emptied { repair, .. }
            | Self::Shortened { repair, .. } => {
                return Some(format!("to fill it anew, run: {repair}"));
            }
            Self::Option { .. }
            | Self::Value { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::File { .. }
            | Self::Closed
            | Self::Arrow(_) => return None,
        };
        Some(help.to_owned())
    }

    /// Whether there was no room on the disk of a file or an index.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::StorageFull;
        use view::ViewError::IndexFull;
        matches!(self, Self::File { source, .. } if source.kind() == StorageFull)
            || matches!(self, Self::Search { source, .. } if matches!(**source, IndexFull { .. }))
    }

    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } => true,
            Self::Refused { transient, .. } => *transient,
            Self::Search { source, .. } => matches!(**source, view::ViewError::IndexBusy { .. }),
            Self::UnknownTarget { .. }
            | Self::Address { .. }
            | Self::Option { .. }
            | Self::NoKey { .. }
            | Self::DuplicateKey { .. }
            | Self::NullKey { .. }
            | Self::UnsupportedType { .. }
            | Self::Value { .. }
            | Self::Mismatch { .. }
            | Self::NotEmpty { .. }
            | Self::OtherLog { .. }
            | Self::Emptied { .. }
            | Self::Moved { .. }
            | Self::Login { .. }
            | Self::File { .. }
            | Self::Shortened { .. }
            | Self::Position { .. }
            | Self::Closed
            | Self::Unsummed(_)
            | Self::Arrow(_) => false,
        }
    }
}
