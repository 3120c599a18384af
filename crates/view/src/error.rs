//! What can go wrong for a reader, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use arrow::error::ArrowError;
use change::Time;

/// A read that could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// There is no view of that name.
    #[error("there is no view {name:?}")]
    UnknownView {
        /// The name that was asked for.
        name: String,
        /// The views that there are.
        known: Vec<String>,
    },
    /// A subscriber was too slow: what it missed is no longer kept.
    #[error("the subscriber of view {view:?} fell behind after time {after}")]
    CutOff {
        /// The view.
        view: String,
        /// The last Time that the subscriber has seen.
        after: Time,
    },
    /// The view that a subscriber follows is there no more.
    #[error("view {view:?} was dropped")]
    Dropped {
        /// The view.
        view: String,
    },
    /// The statement would change something.
    #[error("`{statement}` would change something, and queries only read")]
    NotRead {
        /// The word that the statement begins with.
        statement: String,
    },
    /// The SQL is wrong.
    #[error("{message}")]
    Sql {
        /// What is wrong.
        message: String,
        /// What to do, where it is known.
        help: Option<String>,
    },
    /// The query ran too long.
    #[error("the query ran longer than {} s", limit.as_secs_f64())]
    Timeout {
        /// How long it might run.
        limit: Duration,
    },
    /// The query needs, or gives, more than is allowed.
    #[error("the query exceeds its limit: {message}")]
    TooLarge {
        /// Which limit.
        message: String,
    },
    /// Arrow could not compute what was asked; the data itself is unharmed.
    #[error("the rows could not be read")]
    Compute(#[from] ArrowError),
    /// The search query is wrong.
    #[error("{message}")]
    SearchQuery {
        /// What is wrong.
        message: String,
        /// What to write instead.
        help: String,
    },
    /// A search index is asked for a column that the view does not have, or that it cannot hold.
    #[error("view {view:?} has no column {column:?} that can be searched")]
    SearchColumn {
        /// The view.
        view: String,
        /// The column.
        column: String,
        /// What to do.
        help: String,
    },
    /// There is no search index in the directory.
    #[error("there is no search index in {}", dir.display())]
    NoIndex {
        /// The directory.
        dir: PathBuf,
    },
    /// The search index in the directory belongs to something else.
    #[error("the search index in {} belongs to {found}, not to {expected}", dir.display())]
    OtherIndex {
        /// The directory.
        dir: PathBuf,
        /// What the index says of itself.
        found: String,
        /// What was to be opened.
        expected: String,
    },
    /// Somebody else writes the search index.
    #[error("the search index in {} is being written by another process", dir.display())]
    IndexBusy {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no room for the search index.
    #[error("the disk of the search index in {} is full", dir.display())]
    IndexFull {
        /// The directory.
        dir: PathBuf,
        /// What tantivy says.
        source: Box<tantivy::TantivyError>,
    },
    /// The search index cannot be read or written.
    #[error("the search index in {} failed", dir.display())]
    Index {
        /// The directory.
        dir: PathBuf,
        /// What tantivy says.
        source: Box<tantivy::TantivyError>,
    },
}

impl ViewError {
    /// The error's code, which documentation and scripts refer to.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownView { .. } => "VIEW001",
            Self::CutOff { .. } => "VIEW002",
            Self::NotRead { .. } => "VIEW003",
            Self::Sql { .. } => "VIEW004",
            Self::Timeout { .. } => "VIEW005",
            Self::TooLarge { .. } => "VIEW006",
            Self::Compute(_) => "VIEW007",
            Self::SearchQuery { .. } => "VIEW008",
            Self::SearchColumn { .. } => "VIEW009",
            Self::NoIndex { .. } => "VIEW010",
            Self::OtherIndex { .. } => "VIEW011",
            Self::IndexBusy { .. } => "VIEW012",
            Self::Index { .. } => "VIEW013",
            Self::IndexFull { .. } => "VIEW014",
            Self::Dropped { .. } => "VIEW015",
        }
    }

    /// What to do, in a sentence.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownView { name, known } => Some(which(name, known, "view")),
            Self::CutOff { .. } => {
                Some("read on: the next event is a fresh snapshot of the view".to_owned())
            }
            Self::Dropped { .. } => {
                Some("follow another view; `evert status` lists those that there are".to_owned())
            }
            Self::NotRead { .. } => Some(
                "write a `select`; to change what there is, change the script and run it again"
                    .to_owned(),
            ),
            Self::Sql { help, .. } => help.clone(),
            Self::Timeout { .. } => Some(
                "ask for less, or create a view of the query: it is then kept up to date and read \
                 at once"
                    .to_owned(),
            ),
            Self::TooLarge { .. } => {
                Some("add a `limit` or a `where`, or aggregate in the query".to_owned())
            }
            Self::Compute(_) => None,
            Self::SearchQuery { help, .. } | Self::SearchColumn { help, .. } => Some(help.clone()),
            Self::NoIndex { .. } => Some(
                "the view needs a sink into `search`, and that sink must have run once".to_owned(),
            ),
            Self::OtherIndex { dir, .. } => Some(rebuild(dir)),
            Self::IndexBusy { .. } => {
                Some("stop the other process, or use another directory".to_owned())
            }
            Self::IndexFull { .. } => Some(
                "make room on its disk, then start Evert again: it goes on from what the index holds"
                    .to_owned(),
            ),
            Self::Index { dir, .. } => Some(format!(
                "make sure that the disk has room and the directory may be written; if it is \
                 damaged, {}",
                rebuild(dir)
            )),
        }
    }
}

fn rebuild(dir: &std::path::Path) -> String {
    format!("delete {} and start again: the index is rebuilt from the log", dir.display())
}

/// Says which of the known names was perhaps meant.
pub(crate) fn which(name: &str, known: &[String], noun: &str) -> String {
    if known.is_empty() {
        return format!("there is no {noun} at all");
    }
    let lower = name.to_lowercase();
    let close = known
        .iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate)
        })
        .min();
    match close {
        Some((distance, candidate)) if distance <= 1 + name.chars().count() / 3 => {
            format!("did you mean {candidate:?}?")
        }
        Some(_) | None => format!("the {noun}s are {}", known.join(", ")),
    }
}
