//! Changes as lines of JSON: `{"_diff":1,"_time":7,"id":1,…}`, rows that go before rows that come.

use std::io::{self, Write};

use change::{ChangeBatch, Time};
use view::json::RowWriter;

/// The bytes after which lines are handed over.
const CHUNK_BYTES: usize = 256 << 10;

/// Writes a line for each change.
///
/// # Errors
/// When the writer fails.
pub(crate) fn write_changes(
    changes: &ChangeBatch,
    time: Time,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows = RowWriter::new(changes.rows());
    let has_columns = changes.rows().num_columns() > 0;
    let mut chunk = Vec::new();
    for goes in [true, false] {
        for (row, &diff) in changes.diffs().iter().enumerate() {
            if (diff < 0) != goes {
                continue;
            }
            let separator = if has_columns { "," } else { "" };
            write!(chunk, "{{\"_diff\":{diff},\"_time\":{time}{separator}")?;
            rows.members(row, &mut chunk);
            chunk.extend_from_slice(b"}\n");
            if chunk.len() >= CHUNK_BYTES {
                out.write_all(&chunk)?;
                chunk.clear();
            }
        }
    }
    out.write_all(&chunk)
}

/// Runs work that blocks on a thread made for it, with a state that is given back unless the work fails.
///
/// # Panics
/// When the work panics, or the state was lost to a failure before.
pub(crate) async fn off_thread<S: Send + 'static, E: Send + 'static>(
    state: &mut Option<S>,
    work: impl FnOnce(&mut S) -> Result<(), E> + Send + 'static,
) -> Result<(), E> {
    let mut owned = state.take().expect("a sink is not used after an error");
    let joined = tokio::task::spawn_blocking(move || {
        let done = work(&mut owned);
        (owned, done)
    });
    let (owned, done) = joined.await.expect("the work does not panic");
    if done.is_ok() {
        *state = Some(owned);
    }
    done
}
