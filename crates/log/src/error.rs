//! What can go wrong with the log, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use change::{TableName, Time};
use proof::Hash;

use crate::format::FormatError;
use crate::retention::{DIRECTORY, LIST};

/// A failure of the log. It can be cloned, for everyone who waits is told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// There is no room for more. Nothing of it was written, and nothing that was acknowledged is lost.
    #[error("the disk is full: no room to write {}", path.display())]
    DiskFull {
        /// The segment.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The disk did not confirm what was written. It is never asked again: it might forget and say yes.
    #[error("the disk did not confirm what was written to {}", path.display())]
    SyncFailed {
        /// The segment.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// Bytes that were once durable are not what was written.
    #[error("the log is damaged: {} at byte {offset}: {reason}; {lost}", segment.display())]
    Damaged {
        /// The segment.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: FormatError,
        /// What cannot be read any more.
        lost: Lost,
    },
    /// A segment that must be there is not.
    #[error("the log is damaged: {} is missing", segment.display())]
    Missing {
        /// The segment.
        segment: PathBuf,
    },
    /// A scrub or a repair found what is not as it was written.
    #[error("the log is damaged: {findings} findings, the worst in {}", file.display())]
    Unsound {
        /// The file with the worst.
        file: PathBuf,
        /// How many there are.
        findings: u64,
        /// What repairs the worst.
        help: &'static str,
    },
    /// A newer version of Evert wrote this.
    #[error("{} has format version {version}, which this version of Evert cannot read", segment.display())]
    Version {
        /// The segment.
        segment: PathBuf,
        /// Its version.
        version: u16,
    },
    /// A group does not fit into one frame.
    #[error("a group of transactions has {bytes} bytes; a frame holds at most {limit}")]
    FrameTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A table has columns that the log cannot hold.
    #[error("table {table} cannot be logged: {reason}")]
    Unsupported {
        /// The table.
        table: TableName,
        /// Why.
        reason: String,
    },
    /// More of a transaction came whose beginning is not in the log.
    #[error("source {name} sent a later part of a transaction without its first")]
    NoFirstPart {
        /// The source.
        name: Arc<str>,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The log was opened for reading only.
    #[error("the log was opened for reading only")]
    ReadOnly,
    /// There is no log in the directory.
    #[error("there is no log in {}", dir.display())]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// A checkpoint says that there were more transactions than there are.
    #[error(
        "the log is damaged: {} signs {signed} transactions, but the log holds {held}",
        checkpoint.display()
    )]
    Behind {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// How many transactions it signs.
        signed: u64,
        /// How many there are.
        held: u64,
    },
    /// What the log holds is not what a checkpoint signs.
    #[error(
        "the log is damaged: its first {size} transactions have the root {found}, but {} signs {signed}",
        checkpoint.display()
    )]
    Altered {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// How many transactions it signs.
        size: u64,
        /// The root that it signs.
        signed: Hash,
        /// The root that the transactions have.
        found: Hash,
    },
    /// Transactions are asked for whose changes were folded.
    #[error(
        "the history from Time {from} up to Time {upto} was folded: of these transactions only what \
         they came to is kept"
    )]
    Pruned {
        /// The first of them.
        from: Time,
        /// The last of them.
        upto: Time,
    },
    /// The history of a table cannot be folded.
    #[error("the history of table {table} is not folded: {reason}")]
    Unfoldable {
        /// The table.
        table: TableName,
        /// Why.
        reason: String,
    },
    /// The key that signs checkpoints cannot be used.
    #[error("{} is not the key of a log: {reason}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The directory of the log that a segment or a base is of.
fn log_dir(file: &Path) -> &Path {
    let dir = file.parent().unwrap_or(Path::new("."));
    let above = if dir.ends_with(DIRECTORY) { dir.parent() } else { None };
    above.unwrap_or(dir)
}

/// What damage took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The Time of the first transaction that is lost.
    pub from: Time,
    /// The Time of the first one that can be read again; `None` when none can.
    pub until: Option<Time>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) if until <= self.from => {
                write!(f, "lost are a schema or a part of the transaction at Time {}", self.from)
            }
            Some(until) => {
                write!(
                    f,
                    "lost are the transactions from Time {} and before Time {until}",
                    self.from
                )
            }
            None => write!(f, "lost are the transactions of this segment from Time {}", self.from),
        }
    }
}

impl LogError {
    /// The error's code, for documentation and searching.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "LOG001",
            Self::DiskFull { .. } => "LOG002",
            Self::SyncFailed { .. } => "LOG003",
            Self::Damaged { .. } | Self::Missing { .. } | Self::Unsound { .. } => "LOG004",
            Self::Version { .. } => "LOG005",
            Self::FrameTooLarge { .. } => "LOG006",
            Self::Unsupported { .. } => "LOG007",
            Self::NoFirstPart { .. } => "LOG008",
            Self::Closed => "LOG009",
            Self::ReadOnly => "LOG010",
            Self::NoLog { .. } => "LOG011",
            Self::Behind { .. } | Self::Altered { .. } => "LOG012",
            Self::Key { .. } => "LOG013",
            Self::Pruned { .. } => "LOG014",
            Self::Unfoldable { .. } => "LOG015",
        }
    }

    /// Whether there is too little room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::SyncFailed { source, .. } => is_full(source),
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::Unsound { .. }
            | Self::Version { .. }
            | Self::FrameTooLarge { .. }
            | Self::Unsupported { .. }
            | Self::NoFirstPart { .. }
            | Self::Closed
            | Self::ReadOnly
            | Self::NoLog { .. }
            | Self::Behind { .. }
            | Self::Altered { .. }
            | Self::Key { .. }
            | Self::Pruned { .. }
            | Self::Unfoldable { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Io { .. } | Self::NoFirstPart { .. } | Self::Closed | Self::ReadOnly => {
                return None;
            }
            Self::DiskFull { path, .. } => format!(
                "make room on the disk of {}: a process that runs goes on by itself then, one that ended is \
                 started again; what was acknowledged is safe",
                path.display()
            ),
            Self::SyncFailed { path, source } if is_full(source) => {
                format!("make room on the disk of {}, then start again", path.display())
            }
            Self::SyncFailed { .. } => {
                "check the disk (its kernel messages say more), then start again: the log keeps \
                 what is readable and the sources send the rest anew"
                    .to_owned()
            }
            Self::Damaged { segment, .. } if segment.ends_with(LIST) => {
                "`evert log repair` makes it again from what the log says of the bases that are there".to_owned()
            }
            Self::Damaged { segment, .. } | Self::Missing { segment } => format!(
                "`evert log scrub` says all that is damaged; `evert log repair --from COPY` takes {} from a copy of the \
                 directory or a backup; without one, if the sources still hold everything, move {} away and start again \
                 to copy them anew",
                segment.file_name().unwrap_or(segment.as_os_str()).display(),
                log_dir(segment).display()
            ),
            Self::Unsound { help, .. } => (*help).to_owned(),
            Self::Version { .. } => "use the version of Evert that wrote it, or a newer one".into(),
            Self::FrameTooLarge { .. } => "send the transaction in parts".to_owned(),
            Self::Unsupported { .. } => {
                "leave the table or the column out of the source".to_owned()
            }
            Self::Pruned { upto, .. } => format!(
                "ask for what comes after Time {upto}, or read from the beginning, which gives the tables as \
                 they were at that Time; proofs that were handed out before still verify"
            ),
            Self::Unfoldable { .. } => {
                "everything is kept, and stays readable; it is tried again".to_owned()
            }
            Self::NoLog { .. } => "check the path; `evert run` creates a log".to_owned(),
            Self::Behind { checkpoint, .. } => format!(
                "put the missing segments back; if they are lost for good, move {} and the log's key away: \
                 the log goes on under another name, and whoever keeps its old checkpoints sees that",
                checkpoint.parent().unwrap_or(Path::new(".")).display()
            ),
            Self::Altered { .. } => {
                "`evert verify --log` finds the place; put the log back from a \
                                     backup that verifies"
                    .to_owned()
            }
            Self::Key { path, .. } => format!(
                "put the key back; or move {} away: a new one is made, under another name",
                path.display()
            ),
        })
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let (path, source) = (path.to_owned(), Arc::new(source));
        if is_full(&source) {
            return Self::DiskFull { path, source };
        }
        Self::Io { action, path, source }
    }

    /// The error for a sync of what the log itself holds: whatever the reason, what was written is not known.
    pub(crate) fn unconfirmed(path: &Path, source: io::Error) -> Self {
        Self::SyncFailed { path: path.to_owned(), source: Arc::new(source) }
    }

    /// The error for a sync of what can be made again.
    pub(crate) fn sync(path: &Path, source: io::Error) -> Self {
        let (path, source) = (path.to_owned(), Arc::new(source));
        if is_full(&source) {
            return Self::DiskFull { path, source };
        }
        Self::SyncFailed { path, source }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
