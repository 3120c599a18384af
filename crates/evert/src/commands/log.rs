//! `evert log`: what is in the log, beside a running process or at rest.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::Time;
use log::{Chunk, Log, LogReader, RealDisk};
use serde::Serialize;
use serde_json::json;

use crate::cli::{LogStatArgs, LogTailArgs, OutputFormat};
use crate::failure::Failure;
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
    let format = arguments.output.unwrap_or(OutputFormat::Table);
    output::print_value(&stat, format, || {
        let mut table = output::table(&[
            "since",
            "upper",
            "transactions",
            "rows",
            "frames",
            "segments",
            "bytes",
        ]);
        table.add_row([
            stat.since.0,
            stat.upper.0,
            stat.transactions,
            stat.rows,
            stat.frames,
            stat.segments,
            stat.bytes,
        ]);
        format!("{table}\n")
    })
}

/// Prints transactions as JSON lines, one a transaction.
pub(crate) async fn tail(arguments: LogTailArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    let log = open(&root)?;
    let last = log.upper().0 - 1;
    let mut after = Time(arguments.after.unwrap_or(last.saturating_sub(arguments.lines)));
    after = print_from(log.reader(after), after)?;
    if !arguments.follow {
        return Ok(());
    }
    let mut interrupts = Interrupts::new()?;
    loop {
        tokio::select! {
            () = interrupts.next() => return Ok(()),
            () = tokio::time::sleep(FOLLOW_INTERVAL) => {
                let log = open(&root)?;
                after = print_from(log.reader(after), after)?;
            }
        }
    }
}

/// Prints what the reader has, and returns the last Time of it.
fn print_from(mut reader: LogReader, after: Time) -> Result<Time, Failure> {
    let mut last = after;
    while let Some(chunk) = reader.next()? {
        output::print(lines(&chunk).as_bytes())?;
        last = chunk.last;
    }
    Ok(last)
}

fn lines(chunk: &Chunk) -> String {
    let mut text = String::new();
    for (index, head) in chunk.heads.iter().enumerate() {
        let rows: serde_json::Map<_, _> = chunk
            .tables
            .iter()
            .filter_map(|changes| {
                let ends = changes.ends();
                let before = if index == 0 { 0 } else { ends[index - 1] };
                let rows = ends[index] - before;
                (rows > 0).then(|| (changes.table().name().to_string(), json!(rows)))
            })
            .collect();
        let line = json!({
            "time": chunk.first.0 + index as u64,
            "source": &*chunk.source,
            "position": head.position.map(|position| position.to_string()),
            "committed_at_us": head.committed_at_us,
            "logged_at_us": chunk.wall_clock_us,
            "rows": rows,
            "complete": chunk.complete,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}
