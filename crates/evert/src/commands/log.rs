//! `evert log cat|tail|stat`: what is in the log, beside a running process or at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use change::{TRUNCATE, TableChanges, TableName, Time};
use log::notary::proof_dir;
use log::{Chunk, Filter, FoldedTable, Log, LogReader, RealDisk};
use rustix::fs::inotify;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::unix::pipe;
use view::json::RowWriter;

use crate::cli::{LineFormat, LogCatArgs, LogFilter, LogStatArgs, LogTailArgs, SummaryFormat};
use crate::commands::prove::read_note;
use crate::failure::Failure;
use crate::output::Reader;
use crate::signals::Interrupts;
use crate::{directory, output};

/// How long `tail --follow` waits at most before it looks at the log: for file systems that do not tell of changes.
const FOLLOW_WAIT: Duration = Duration::from_secs(1);

/// Opens the log of a data directory for reading.
pub(crate) fn open(root: &Path) -> Result<Log, Failure> {
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
    /// What was folded of each table.
    bases: Vec<Base>,
    /// The log's name for those who check it; `null` when nothing is signed yet.
    origin: Option<String>,
    /// The last Time that is signed.
    signed: u64,
    /// The last Time that witnesses cosigned.
    cosigned: u64,
}

/// What was folded of a table.
#[derive(Serialize)]
struct Base {
    table: String,
    since: Time,
    rows: u64,
    bytes: u64,
    hash: String,
}

/// Prints the log's size and extent.
pub(crate) fn stat(arguments: &LogStatArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    let log = open(&root)?;
    let stat = log.stat();
    let proofs = proof_dir(&directory::log_dir(&root));
    let signed = read_note(&proofs.join("checkpoint")).map(|(_, state)| state);
    let cosigned = read_note(&proofs.join("cosigned")).map_or(0, |(_, state)| state.size());
    let stat = Stat {
        since: stat.since,
        upper: stat.upper,
        rows: stat.rows,
        transactions: stat.transactions,
        frames: stat.frames,
        segments: stat.segments,
        bytes: stat.bytes,
        bases: log.folded().into_iter().map(Base::from).collect(),
        origin: signed.as_ref().map(|state| state.origin().to_owned()),
        signed: signed.map_or(0, |state| state.size()),
        cosigned,
    };
    if arguments.output == SummaryFormat::Json {
        return output::print_json(&stat);
    }
    let mut table =
        output::table(&["transactions", "rows", "bytes", "segments", "Times", "signed"]);
    let times = match stat.upper.0.saturating_sub(1) {
        0 => "none".to_owned(),
        last => format!("{} to {last}", stat.since.0 + 1),
    };
    let signed = match stat.signed {
        0 => "nothing".to_owned(),
        last => format!("up to {last}"),
    };
    table.add_row([
        stat.transactions.to_string(),
        stat.rows.to_string(),
        stat.bytes.to_string(),
        stat.segments.to_string(),
        times,
        signed,
    ]);
    let mut text = output::drawn(&table);
    if !stat.bases.is_empty() {
        let mut bases = output::table(&["folded table", "up to Time", "rows", "bytes"]);
        for Base { table, since, rows, bytes, .. } in &stat.bases {
            let row = [table.clone(), since.to_string(), rows.to_string(), bytes.to_string()];
            bases.add_row(row);
        }
        text.push('\n');
        text.push_str(&output::drawn(&bases));
    }
    output::print(text.as_bytes())
}

impl From<FoldedTable> for Base {
    fn from(base: FoldedTable) -> Self {
        let FoldedTable { table, since, rows, bytes, hash } = base;
        Self { table: table.to_string(), since, rows, bytes, hash: hash.to_string() }
    }
}

/// Says on standard error what is not there any more of what is asked for.
pub(crate) fn tell_folded(log: &Log, tables: &BTreeSet<TableName>, after: Time) {
    for FoldedTable { table, since, .. } in log.folded() {
        if since > after && (tables.is_empty() || tables.contains(&table)) {
            tracing::warn!(
                "the changes of {table} up to Time {since} were folded: what they came to is kept, \
                 and is what views begin with"
            );
        }
    }
}

/// What is wanted of the log, as its readers know it.
pub(crate) fn filter(log: &Log, wanted: &LogFilter) -> Result<Filter, Failure> {
    let mut tables = BTreeSet::new();
    if let Some(name) = &wanted.table {
        tables = named(log, name)?;
    }
    Ok(Filter { tables, source: wanted.source.as_deref().map(Into::into) })
}

/// The tables with a name, with or without their source before it.
pub(crate) fn named(log: &Log, name: &str) -> Result<BTreeSet<TableName>, Failure> {
    let catalogue = crate::catalogue::Catalogue::read(log)?;
    let own = [
        change::catalog::catalog_table(),
        change::catalog::dead_letter_table(),
        log::folds_table(),
    ];
    let known: Vec<TableName> =
        catalogue.tables()?.iter().chain(&own).map(|table| table.name().clone()).collect();
    let is_named = |table: &&TableName| table.to_string() == name || *table.table == *name;
    let tables: BTreeSet<TableName> = known.iter().filter(is_named).cloned().collect();
    if tables.is_empty() {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        return Err(Failure::Usage {
            what: format!("the log knows no table {name}"),
            help: format!("it knows {}", known.join(", ")),
        });
    }
    Ok(tables)
}

/// Prints changes, one JSON object a line or all as one array.
pub(crate) fn cat(arguments: &LogCatArgs) -> Result<(), Failure> {
    let log = open(&arguments.dir.path())?;
    let after = Time(arguments.after.unwrap_or(0));
    let until = Time(arguments.until.unwrap_or(u64::MAX));
    let filter = filter(&log, &arguments.filter)?;
    tell_folded(&log, &filter.tables, after);
    let mut reader = log.reader(after).history().filtered(filter);
    let mut lines = Lines::new(arguments.output);
    while let Some(chunk) = reader.next()?.filter(|chunk| chunk.first <= until) {
        let mut text = Vec::new();
        each_change(&chunk, &mut |time, changes, row, writer| {
            if time <= until {
                lines.begin(&mut text);
                write_change(&mut text, (&chunk, time), (changes, row), writer);
            }
        });
        if output::write(&text)? == Reader::Gone {
            return Ok(());
        }
    }
    lines.end()
}

/// Objects on lines, or the same as one array.
struct Lines {
    separator: &'static str,
    array: bool,
}

impl Lines {
    fn new(format: LineFormat) -> Self {
        let array = format == LineFormat::Json;
        Self { separator: if array { "[" } else { "" }, array }
    }

    /// Writes what comes before an object.
    fn begin(&mut self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.separator.as_bytes());
        self.separator = if self.array { "," } else { "" };
    }

    /// Prints what comes behind the last one.
    fn end(&self) -> Result<(), Failure> {
        match (self.array, self.separator) {
            (false, _) => Ok(()),
            (true, "[") => output::print(b"[]\n"),
            (true, _) => output::print(b"]\n"),
        }
    }
}

/// Calls `each` for every change of a chunk, in the order of their Times.
fn each_change(chunk: &Chunk, each: &mut impl FnMut(Time, &TableChanges, usize, &RowWriter)) {
    let writers: Vec<RowWriter> =
        chunk.tables.iter().map(|changes| RowWriter::new(changes.changes().rows())).collect();
    for (index, time) in (0..chunk.heads.len()).zip(chunk.first.0..) {
        for (changes, writer) in chunk.tables.iter().zip(&writers) {
            for row in rows_of(changes, index) {
                each(Time(time), changes, row, writer);
            }
        }
    }
}

/// The rows that one transaction of a chunk changes in a table.
pub(crate) fn rows_of(changes: &TableChanges, index: usize) -> std::ops::Range<usize> {
    let ends = changes.ends();
    let before = if index == 0 { 0 } else { ends[index - 1] };
    before as usize..ends[index] as usize
}

/// Writes a change as a JSON object on a line.
fn write_change(
    text: &mut Vec<u8>,
    (chunk, time): (&Chunk, Time),
    (changes, row): (&TableChanges, usize),
    writer: &RowWriter,
) {
    let (source, table) = (Value::from(&*chunk.source), changes.table().name().to_string());
    let head = format!("{{\"time\":{time},\"source\":{source},\"table\":{},", Value::from(table));
    text.extend_from_slice(head.as_bytes());
    let diff = changes.changes().diffs()[row];
    if diff == TRUNCATE {
        text.extend_from_slice(b"\"truncate\":true}\n");
        return;
    }
    write!(text, "\"diff\":{diff},\"row\":").expect("writing to memory");
    writer.row(row, text);
    let unchanged = unchanged(changes, row);
    if !unchanged.is_empty() {
        write!(text, ",\"unchanged\":{}", Value::from(unchanged)).expect("writing to memory");
    }
    text.extend_from_slice(b"}\n");
}

/// The columns whose values the source did not send because they are as they were.
fn unchanged(changes: &TableChanges, row: usize) -> Vec<String> {
    let rows: &RecordBatch = changes.changes().rows();
    let of_row = changes.unchanged().iter().filter(|at| at.row as usize == row);
    of_row.map(|at| rows.schema_ref().field(at.column as usize).name().clone()).collect()
}

/// Prints transactions as JSON lines, one a transaction.
pub(crate) async fn tail(arguments: LogTailArgs) -> Result<(), Failure> {
    if arguments.follow && arguments.output == LineFormat::Json {
        return Err(Failure::Usage {
            what: "an array of what comes until you interrupt has no end".to_owned(),
            help: "leave --follow or `-o json` away".to_owned(),
        });
    }
    let root = arguments.dir.path();
    let log = open(&root)?;
    let filter = filter(&log, &arguments.filter)?;
    let last = log.upper().0 - 1;
    let mut after = Time(arguments.after.unwrap_or(last.saturating_sub(arguments.lines)));
    tell_folded(&log, &filter.tables, after);
    // Before the first look, so that nothing comes unseen in between.
    let watch = if arguments.follow { Some(Watch::new(&directory::log_dir(&root))?) } else { None };
    let mut interrupts = Interrupts::new()?;
    let mut lines = Lines::new(arguments.output);
    loop {
        log.refresh()?;
        let reader = log.reader(after).history().filtered(filter.clone());
        if print_from(reader, &filter, &mut lines)? == Reader::Gone {
            return Ok(());
        }
        after = after.max(Time(log.upper().0 - 1));
        let Some(watch) = &watch else { return lines.end() };
        tokio::select! {
            () = interrupts.next() => return Ok(()),
            told = watch.changed() => told?,
            () = tokio::time::sleep(FOLLOW_WAIT) => {}
        }
    }
}

/// Tells when something is written in a directory.
struct Watch(pipe::Receiver);

impl Watch {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let wanted = inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVED_TO;
        let watching = inotify::init(flags).and_then(|fd| {
            inotify::add_watch(&fd, dir, wanted)?;
            Ok(fd)
        });
        // It is read as a pipe is.
        let watching = watching.map_err(std::io::Error::from);
        let watching = watching.and_then(pipe::Receiver::from_owned_fd_unchecked);
        let failed = |error| Failure::io(format!("cannot watch {}", dir.display()), error);
        watching.map(Self).map_err(failed)
    }

    /// Waits until something was written since the last time. What does not matter, only that it was.
    async fn changed(&self) -> Result<(), Failure> {
        let failed = |error| Failure::io("cannot watch the log", error);
        let mut events = [0; 4096];
        loop {
            self.0.readable().await.map_err(failed)?;
            match self.0.try_read(&mut events) {
                Ok(_bytes) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// Prints the transactions that the reader has.
fn print_from(
    mut reader: LogReader,
    filter: &Filter,
    lines: &mut Lines,
) -> Result<Reader, Failure> {
    // A large transaction comes in parts; it is one line all the same.
    let mut rows = BTreeMap::new();
    while let Some(chunk) = reader.next()? {
        if !chunk.complete {
            count(&chunk, 0, &mut rows);
            continue;
        }
        let mut text = Vec::new();
        for index in 0..chunk.heads.len() {
            count(&chunk, index, &mut rows);
            if rows.is_empty() && !filter.tables.is_empty() {
                continue;
            }
            lines.begin(&mut text);
            writeln!(text, "{}", transaction(&chunk, index, &rows)).expect("writing to memory");
            rows.clear();
        }
        if output::write(&text)? == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

/// Adds the rows that one transaction of a chunk changes in each table.
pub(crate) fn count(chunk: &Chunk, index: usize, rows: &mut BTreeMap<String, usize>) {
    for changes in &chunk.tables {
        let more = rows_of(changes, index).len();
        if more > 0 {
            *rows.entry(changes.table().name().to_string()).or_default() += more;
        }
    }
}

/// What is known of a transaction, as a JSON object.
pub(crate) fn transaction(chunk: &Chunk, index: usize, rows: &BTreeMap<String, usize>) -> Value {
    let head = &chunk.heads[index];
    let mut line = json!({
        "time": chunk.first.0 + index as u64,
        "source": &*chunk.source,
        "position": head.position.map(|position| position.to_string()),
        "committed_at_us": head.committed_at_us,
        "logged_at_us": chunk.wall_clock_us,
        "rows": rows,
    });
    if let Some(request) = &head.request {
        line["request"] = String::from_utf8_lossy(&request.0).into();
    }
    if !head.causes.is_empty() {
        line["causes"] = head.causes.iter().map(|time| time.0).collect();
    }
    line
}
