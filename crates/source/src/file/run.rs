//! A file's way into the log: blocks are read ahead by one thread, decoded by another, and submitted in order.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::{SourcePosition, TransactionGroup};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::OpenInput;
use super::csv::CsvDecoder;
use super::input::{Blocks, Input, ReadOptions, read_file};
use super::ndjson::NdjsonDecoder;
use super::records::Records;
use super::schema::Shape;
use super::settings::{Format, Settings};
use super::transactions::{Decoder, Parts, Transactions};
use crate::limits::{GROUPS_AHEAD_MAX, RECORD_BYTES_MAX};
use crate::submit::{Submitted, Submitter, source_rows};
use crate::{End, Intake, Phase, Progress, Resume, RunOptions, SourceError};

/// How long live input may pause before what it gave becomes a transaction.
const LIVE_PAUSE: Duration = Duration::from_millis(20);

/// How much of a file's beginning tells it from another.
const FINGERPRINT_BYTES_MAX: u64 = 4 << 10;

/// Where reading begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
}

/// An input that is being read.
pub(crate) struct Reading {
    from: Start,
    /// What was read already.
    head: Vec<u8>,
    blocks: Blocks,
    /// Whether it may pause, and what it gave is wanted then.
    is_live: bool,
    /// The input's length in bytes, where it is known.
    size: Option<u64>,
    /// What the catalogue is to know; `None`: it does.
    state: Option<String>,
}

/// What tells a file from another, as the catalogue keeps it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    head_bytes: u64,
    /// FNV-1a of those bytes, as hexadecimal digits.
    head_hash: String,
}

/// Opens the input at a place.
///
/// # Errors
/// When it cannot be read, or is not what was read before.
pub(crate) fn open(
    settings: &Settings,
    from: Start,
    resume: &Resume,
    stdin: Option<OpenInput>,
    once: bool,
) -> Result<Reading, SourceError> {
    let input = &settings.input;
    let path = match input {
        Input::Path(path) => path,
        Input::Stdin => {
            let is_again = from.bytes > 0 && !settings.append;
            let Some(open) = stdin.filter(|_| !is_again) else {
                return Err(stdin_again(from));
            };
            let (head, blocks, is_live) = (open.head, open.blocks, !once);
            return Ok(Reading { from, head, blocks, is_live, size: None, state: None });
        }
    };
    let size = std::fs::metadata(path).map_err(|error| input.error(error))?.len();
    let state = check_file(settings, path, from, size, resume)?;
    let follow = settings.follow && !once;
    let upto = (settings.follow && once).then_some(size);
    let options = ReadOptions { from: from.bytes, follow, upto };
    let blocks = read_file(path, options).map_err(|error| input.error(error))?;
    Ok(Reading { from, head: Vec::new(), blocks, is_live: follow, size: Some(size), state })
}

fn stdin_again(from: Start) -> SourceError {
    SourceError::CannotResume {
        input: "stdin".to_owned(),
        reason: format!("{} lines of it are in the log, and it cannot be read twice", from.lines),
        help: "use a new data directory (--data DIR), read from a file, or say append = 'true' if \
               this input goes on where the last one ended"
            .to_owned(),
    }
}

/// Checks that the file is the one that was read before; returns the state to log, if it is not logged.
fn check_file(
    settings: &Settings,
    path: &Path,
    from: Start,
    size: u64,
    resume: &Resume,
) -> Result<Option<String>, SourceError> {
    let replaced = |reason: String| SourceError::CannotResume {
        input: settings.input.shown(),
        reason,
        help: "if it is another file now, start again with a new data directory (--data DIR) or \
               give it a source of its own name; else put the old file back"
            .to_owned(),
    };
    if size < from.bytes {
        let bytes = from.bytes;
        return Err(replaced(format!("it has {size} bytes, but {bytes} were read before")));
    }
    let take = |bytes| fingerprint(path, bytes).map_err(|error| settings.input.error(error));
    let Some(state) = &resume.state else {
        let found = take(FINGERPRINT_BYTES_MAX)?;
        return Ok(Some(serde_json::to_string(&found).expect("numbers and text serialize")));
    };
    let logged: Fingerprint = serde_json::from_str(state)
        .map_err(|error| replaced(format!("the log's state of it is not readable: {error}")))?;
    if from.bytes > 0 && take(logged.head_bytes)? != logged {
        return Err(replaced("its beginning is not what was read before".to_owned()));
    }
    Ok(None)
}

fn fingerprint(path: &Path, bytes_max: u64) -> io::Result<Fingerprint> {
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(bytes_max).read_to_end(&mut head)?;
    let hash = head.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(Fingerprint { head_bytes: head.len() as u64, head_hash: format!("{hash:016x}") })
}

/// Reads the input to its end, or until it is stopped.
///
/// # Errors
/// When reading or the log fails.
pub(crate) async fn run(
    settings: &Settings,
    shape: Shape,
    reading: Reading,
    intake: Arc<dyn Intake>,
    run: RunOptions,
) -> Result<End, SourceError> {
    let mut stop = run.clone();
    let progress = Arc::clone(&run.progress);
    let phase = phases(&shape, &reading);
    progress.set_phase(phase(0));
    let decoding = Decoding {
        transactions: Transactions::new(parts(settings, &shape, &reading)),
        blocks: reading.blocks,
        is_live: reading.is_live,
        size: reading.size,
        input: settings.input.clone(),
        progress: Arc::clone(&progress),
    };
    let (sender, mut groups) = mpsc::channel(GROUPS_AHEAD_MAX);
    let _decoding = AbortOnDrop(tokio::spawn(decoding.run(reading.head, sender)));
    let mut submitter = Submitter::new(intake, run);
    let mut rows = 0;
    loop {
        let group = tokio::select! {
            biased;
            () = stop.stopped() => return Ok(End::Stopped),
            durable = submitter.oldest_durable() => { durable?; continue }
            group = groups.recv() => group,
        };
        let Some(group) = group.transpose()? else { break };
        rows += source_rows(&group);
        if submitter.submit(group).await? == Submitted::Stopped {
            return Ok(End::Stopped);
        }
        progress.set_phase(phase(rows));
    }
    if submitter.all_durable().await? == Submitted::Stopped {
        return Ok(End::Stopped);
    }
    progress.set_phase(Phase::Ended);
    Ok(End::Ended)
}

/// What the source does when it has handed over so many rows.
fn phases(shape: &Shape, reading: &Reading) -> impl Fn(u64) -> Phase + use<> {
    let table = shape.table.name().to_string();
    let left = reading.size.map(|size| size.saturating_sub(reading.from.bytes));
    let rows_estimate = left.and_then(|left| left.checked_div(shape.line_bytes));
    let is_live = reading.is_live;
    move |rows| {
        if is_live {
            return Phase::Streaming;
        }
        Phase::Backfill { table: table.clone(), rows, rows_estimate }
    }
}

fn parts(settings: &Settings, shape: &Shape, reading: &Reading) -> Parts {
    let table = Arc::clone(&shape.table);
    let Start { bytes, lines } = reading.from;
    let (decoder, has_header) = match &settings.format {
        Format::Ndjson => (Decoder::Ndjson(NdjsonDecoder::new(&table)), false),
        Format::Csv(dialect) => {
            let decoder = CsvDecoder::new(&table, dialect.clone(), &shape.header);
            (Decoder::Csv(decoder), dialect.header)
        }
    };
    // Input that is appended has a header of its own.
    let header_next = has_header && (bytes == 0 || settings.append);
    let records = Records::new(settings.format.framing(), RECORD_BYTES_MAX, bytes, lines);
    let (source, state) = (Arc::clone(&settings.source), reading.state.clone());
    Parts { source, table, decoder, records, header_next, state }
}

type Groups = mpsc::Sender<Result<TransactionGroup, SourceError>>;

/// The task that makes transactions of blocks.
struct Decoding {
    transactions: Transactions,
    blocks: Blocks,
    is_live: bool,
    size: Option<u64>,
    input: Input,
    progress: Arc<Progress>,
}

/// What came of waiting for a block.
enum Event {
    Block(Vec<u8>),
    Pause,
    End,
}

impl Decoding {
    /// Runs until the input ends or nobody wants its transactions.
    async fn run(mut self, head: Vec<u8>, groups: Groups) {
        let mut event = Ok(Event::Block(head));
        loop {
            let is_over = matches!(event, Ok(Event::End) | Err(_));
            let made = match event {
                Ok(event) => {
                    let made;
                    (self, made) = self.decode(event).await;
                    made.into_iter().map(Ok).collect()
                }
                Err(error) => vec![Err(error)],
            };
            for group in made {
                if groups.send(group).await.is_err() {
                    return;
                }
            }
            if is_over {
                return;
            }
            event = self.next().await;
        }
    }

    async fn next(&mut self) -> Result<Event, SourceError> {
        let block = if self.is_live && self.transactions.is_gathering() {
            match tokio::time::timeout(LIVE_PAUSE, self.blocks.recv()).await {
                Ok(block) => block,
                Err(_) => return Ok(Event::Pause),
            }
        } else {
            self.blocks.recv().await
        };
        match block {
            None => Ok(Event::End),
            Some(Ok(block)) => Ok(Event::Block(block)),
            Some(Err(error)) => Err(self.input.error(error)),
        }
    }

    /// Decodes on a thread that may be busy for a while.
    async fn decode(mut self, event: Event) -> (Self, Vec<TransactionGroup>) {
        let decoding = tokio::task::spawn_blocking(move || {
            let made = match event {
                Event::Block(block) => {
                    self.progress.add_bytes(block.len() as u64);
                    self.transactions.feed(&block)
                }
                Event::Pause => self.transactions.flush().into_iter().collect(),
                Event::End => self.transactions.finish(),
            };
            self.say();
            (self, made)
        });
        decoding.await.expect("decoding does not panic")
    }

    fn say(&mut self) {
        self.progress.add_dead_letters(self.transactions.take_dead_letters());
        let SourcePosition::Line { bytes, .. } = self.transactions.position() else {
            unreachable!("a file's position is a line");
        };
        self.progress.set_lag_bytes(self.size.map(|size| size.saturating_sub(bytes)));
    }
}

/// Ends a task with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
