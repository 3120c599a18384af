//! `evert log`: what is in the log, beside a running process or at rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::Time;
use log::{Chunk, Log, LogReader, RealDisk};
use serde::Serialize;
use serde_json::json;

use crate::cli::{LogStatArgs, LogTailArgs, SummaryFormat};
use crate::failure::Failure;
use crate::output::Reader;
use crate::signals::Interrupts;
use crate::{directory, output};

/// How long `tail --follow` waits before it looks again at a log that another process writes.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

fn open(root: &Path) -> Result<Log, Failure> {
    directory::must_exist(root)?;
    Ok(Log::open_read_only(&directory::log_dir(root), Arc::new(RealDisk))?.0)
}

/// The log's size and extent.
#[derive(Serialize)]
struct Stat {
    since: Time,
    upper: Time,
    rows: u64,
    transactions: u64,
    frames: u64,
    segments: u64,
    bytes: u64,
}

/// Prints the log's size and extent.
pub(crate) fn stat(arguments: &LogStatArgs) -> Result<(), Failure> {
    let stat = open(&arguments.dir.path())?.stat();
    let stat = Stat {
        since: stat.since,
        upper: stat.upper,
        rows: stat.rows,
        transactions: stat.transactions,
        frames: stat.frames,
        segments: stat.segments,
        bytes: stat.bytes,
    };
    if arguments.output == SummaryFormat::Json {
        return output::print_json(&stat);
    }
    let mut table = output::table(&["transactions", "rows", "bytes", "segments", "Times"]);
    let times = match stat.upper.0.saturating_sub(1) {
        0 => "none".to_owned(),
        last => format!("{} to {last}", stat.since.0 + 1),
    };
    table.add_row([
        stat.transactions.to_string(),
        stat.rows.to_string(),
        stat.bytes.to_string(),
        stat.segments.to_string(),
        times,
    ]);
    output::print(output::drawn(&table).as_bytes())
}

/// Prints transactions as JSON lines, one a transaction.
pub(crate) async fn tail(arguments: LogTailArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    let log = open(&root)?;
    let last = log.upper().0 - 1;
    let mut after = Time(arguments.after.unwrap_or(last.saturating_sub(arguments.lines)));
    let mut printed = print_from(log.reader(after), &mut after)?;
    let mut interrupts = Interrupts::new()?;
    while arguments.follow && printed == Reader::There {
        tokio::select! {
            () = interrupts.next() => break,
            () = tokio::time::sleep(FOLLOW_INTERVAL) => {
                let log = open(&root)?;
                printed = print_from(log.reader(after), &mut after)?;
            }
        }
    }
    Ok(())
}

/// Prints what the reader has, and moves `after` to the last Time of it.
fn print_from(mut reader: LogReader, after: &mut Time) -> Result<Reader, Failure> {
    // A large transaction comes in parts; it is one line all the same.
    let mut rows = BTreeMap::new();
    while let Some(chunk) = reader.next()? {
        if !chunk.complete {
            count(&chunk, 0, &mut rows);
            continue;
        }
        let mut text = String::new();
        for index in 0..chunk.heads.len() {
            count(&chunk, index, &mut rows);
            text.push_str(&line(&chunk, index, &rows));
            rows.clear();
        }
        if output::write(text.as_bytes())? == Reader::Gone {
            return Ok(Reader::Gone);
        }
        *after = chunk.last;
    }
    Ok(Reader::There)
}

/// Adds the rows that one transaction of a chunk changes in each table.
fn count(chunk: &Chunk, index: usize, rows: &mut BTreeMap<String, u32>) {
    for changes in &chunk.tables {
        let ends = changes.ends();
        let before = if index == 0 { 0 } else { ends[index - 1] };
        let more = ends[index] - before;
        if more > 0 {
            *rows.entry(changes.table().name().to_string()).or_default() += more;
        }
    }
}

fn line(chunk: &Chunk, index: usize, rows: &BTreeMap<String, u32>) -> String {
    let head = &chunk.heads[index];
    let line = json!({
        "time": chunk.first.0 + index as u64,
        "source": &*chunk.source,
        "position": head.position.map(|position| position.to_string()),
        "committed_at_us": head.committed_at_us,
        "logged_at_us": chunk.wall_clock_us,
        "rows": rows,
    });
    line.to_string() + "\n"
}
