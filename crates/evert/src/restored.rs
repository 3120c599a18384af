//! What a restored log cannot know: what its sources were told, after the backup was made, to be durable.
//!
//! A source that was told so need not send it again. PostgreSQL's slot goes on behind it without a word, so the first
//! time that a restored log follows a source, the source looks whether it could have missed something. The names of those
//! that are still to do so are in a file of the data directory, one a line. Whoever knows that the original took nothing
//! in after the backup may remove it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use source::Phase;
use tokio::sync::watch;

use crate::board::Board;

/// How often it is looked which sources are followed by now.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

fn path(root: &Path) -> PathBuf {
    root.join("restored")
}

/// Writes down the sources of a restored log.
pub(crate) fn note<'a>(root: &Path, sources: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let lines: String = sources.into_iter().map(|name| format!("{name}\n")).collect();
    if lines.is_empty() { Ok(()) } else { fs::write(path(root), lines) }
}

/// The sources that were not followed since the log was restored.
pub(crate) fn unfollowed(root: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path(root)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Strikes out the sources that are followed.
pub(crate) fn strike_out(root: &Path, board: &Board) {
    let mut left = unfollowed(root);
    let before = left.len();
    for (name, entry) in board.sources() {
        if matches!(entry.progress.report().phase, Phase::Streaming | Phase::Ended) {
            left.remove(name);
        }
    }
    if left.len() == before {
        return;
    }
    let (path, beside) = (path(root), root.join("restored.new"));
    let lines: String = left.iter().map(|name| format!("{name}\n")).collect();
    let struck = if left.is_empty() {
        fs::remove_file(&path)
    } else {
        fs::write(&beside, lines).and_then(|()| fs::rename(&beside, &path))
    };
    if let Err(error) = struck {
        tracing::warn!(%error, file = %path.display(), "sources are looked at once more at the next start");
    }
}

/// Strikes out sources as they come to be followed, until all are or the run stops.
pub(crate) async fn watch(root: PathBuf, board: Arc<Board>, mut stopped: watch::Receiver<bool>) {
    while !unfollowed(&root).is_empty() {
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => strike_out(&root, &board),
            _ = stopped.wait_for(|&stop| stop) => return,
        }
    }
}
