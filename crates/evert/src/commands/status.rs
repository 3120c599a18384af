//! `evert status`: how far everything is.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use comfy_table::Table;
use indicatif::{HumanBytes, HumanDuration};
use serve::api::{LogStatus, Phase, SinkStatus, SourceStatus, Status, ViewStatus};
use serve::client::{Client, ClientError};
use view::search::SearchReader;

use crate::board::kind;
use crate::cli::{StatusArgs, SummaryFormat};
use crate::commands::read::rebuild;
use crate::failure::Failure;
use crate::intent::Opened;
use crate::{directory, output, scrubbing};

/// Prints sources with their lag, views with their rows, and sinks with the Time that they hold.
pub(crate) async fn status(arguments: StatusArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    directory::must_exist(&root)?;
    let (status, running) = match Client::new(&directory::socket(&root)).status().await {
        Ok(status) => (status, true),
        Err(ClientError::NotRunning { .. }) => (at_rest(&root)?, false),
        Err(error) => return Err(error.into()),
    };
    match arguments.output {
        SummaryFormat::Json => output::print_json(&status),
        SummaryFormat::Table => output::print(drawn(&status, running).as_bytes()),
    }
}

/// The status of a directory that no process runs: what its log and indexes say.
fn at_rest(root: &Path) -> Result<Status, Failure> {
    let opened = Opened::at_rest(root)?;
    let (program, views) = rebuild(&opened)?;
    let snapshot = views.snapshot();
    let sources = program.sources.iter().map(|source| SourceStatus {
        name: source.name.clone(),
        kind: kind(&source.url).to_owned(),
        phase: Phase::Ended,
        detail: Some("not running".to_owned()),
        position: opened.positions.get(&source.name).map(ToString::to_string),
        ..SourceStatus::default()
    });
    let sinks = program.sinks.iter().map(|sink| {
        let kind = kind(&sink.url);
        let held = (kind == "search").then(|| held_by_index(root, &sink.view)).flatten();
        SinkStatus {
            name: sink.name.clone(),
            view: sink.view.clone(),
            kind: kind.to_owned(),
            phase: Phase::Ended,
            detail: Some("not running".to_owned()),
            held: held.unwrap_or_default(),
            behind_transactions: behind(held, snapshot.time),
            lag_ms: None,
        }
    });
    let stat = opened.log.stat();
    let shown = program.views.iter().map(|view| {
        let row_count = snapshot.row_count(&view.name)?;
        Ok(ViewStatus {
            name: view.name.clone(),
            row_count,
            lacking_rows: snapshot.lacking_rows(&view.name)?,
            columns: Vec::new(),
            key: Vec::new(),
            order: Vec::new(),
            searchable: program.sinks.iter().any(|s| s.url == "search" && s.view == view.name),
        })
    });
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: 0,
        time: snapshot.time,
        log: LogStatus {
            id: uuid::Uuid::from_bytes(opened.log_id).to_string(),
            upper: opened.log.upper(),
            bytes: stat.bytes,
            since: stat.since,
            base_bytes: stat.base_bytes,
            held_back: None,
            full: None,
            scrub: scrubbing::status(&opened.log.scrubbed()),
        },
        sources: sources.collect(),
        views: shown.collect::<Result<_, Failure>>()?,
        filling: Vec::new(),
        sinks: sinks.collect(),
    })
}

/// How far an index is behind; what cannot be asked is not known to be behind.
fn behind(held: Option<change::Time>, time: change::Time) -> u64 {
    held.map_or(0, |held| time.0.saturating_sub(held.0))
}

/// The Time that a view's search index holds.
pub(crate) fn held_by_index(root: &Path, view: &str) -> Option<change::Time> {
    SearchReader::open(&directory::search_dir(root, view)).ok()?.held().ok()?
}

fn drawn(status: &Status, running: bool) -> String {
    let since = if running {
        format!("Running for {}", HumanDuration(Duration::from_millis(status.uptime_ms)))
    } else {
        "Not running".to_owned()
    };
    let log = HumanBytes(status.log.bytes);
    let mut text = format!("{since}, at Time {}, with {log} of log.\n", status.time);
    if status.log.since > change::Time::ZERO {
        let (since, bases) = (status.log.since, HumanBytes(status.log.base_bytes));
        text.push_str(&format!("History was folded up to Time {since}, into {bases}.\n"));
    }
    if let Some(why) = &status.log.held_back {
        text.push_str(&format!("Older history waits to be folded: {why}.\n"));
    }
    if let Some(full) = &status.log.full {
        writeln!(
            text,
            "Nothing can be written: {full}. Sources wait for room, other writers are refused."
        )
        .expect("writing to a String");
    }
    if status.log.scrub.damage > 0 {
        let findings = output::counted(status.log.scrub.damage, "finding");
        writeln!(text, "The log is damaged: {findings}; see evert.damage.")
            .expect("writing to a String");
    }
    let tables = [
        drawn_sources(status, running),
        drawn_views(status),
        drawn_filling(status),
        drawn_sinks(status, running),
    ];
    for table in tables {
        if table.row_iter().next().is_some() {
            text.push('\n');
            text.push_str(&output::drawn(&table));
        }
    }
    text
}

fn drawn_sources(status: &Status, running: bool) -> Table {
    let mut table = output::table(&["source", "kind", "state", "rows", "position", "lag"]);
    for source in &status.sources {
        table.add_row([
            source.name.clone(),
            source.kind.clone(),
            phase(source.phase, source.detail.as_deref()),
            // Rows are counted by a run, not by the log.
            if running { source.rows.to_string() } else { String::new() },
            source.position.clone().unwrap_or_default(),
            lag(source),
        ]);
    }
    table
}

fn drawn_views(status: &Status) -> Table {
    let mut table = output::table(&["view", "rows", "lacks", "searchable"]);
    for view in &status.views {
        let searchable = if view.searchable { "yes" } else { "" };
        let lacks = match view.lacking_rows {
            0 => String::new(),
            rows => format!("{rows}: see evert.errors"),
        };
        let rows = view.row_count.to_string();
        table.add_row([view.name.clone(), rows, lacks, searchable.to_owned()]);
    }
    table
}

/// Views that are being created.
fn drawn_filling(status: &Status) -> Table {
    let mut table = output::table(&["being filled", "at Time", "behind", "rows read", "rows"]);
    for view in &status.filling {
        table.add_row([
            view.name.clone(),
            view.time.to_string(),
            output::counted(view.behind_transactions, "transaction"),
            view.rows.to_string(),
            view.row_count.to_string(),
        ]);
    }
    table
}

fn drawn_sinks(status: &Status, running: bool) -> Table {
    let mut table = output::table(&["sink", "view", "kind", "state", "holds Time", "behind"]);
    for sink in &status.sinks {
        // At rest, only a target in the data directory can be asked.
        let is_known = running || sink.held != change::Time::ZERO;
        let behind = match sink.behind_transactions {
            0 => "nothing".to_owned(),
            transactions => output::counted(transactions, "transaction"),
        };
        table.add_row([
            sink.name.clone(),
            sink.view.clone(),
            sink.kind.clone(),
            phase(sink.phase, sink.detail.as_deref()),
            if is_known { sink.held.to_string() } else { "see the target".to_owned() },
            if is_known { behind } else { String::new() },
        ]);
    }
    table
}

fn phase(phase: Phase, detail: Option<&str>) -> String {
    let word = match phase {
        Phase::Connecting => "connecting",
        Phase::Backfill => "backfill",
        Phase::Streaming => "streaming",
        Phase::Waiting => "waiting",
        Phase::Ended => "ended",
        Phase::Failed => "failed",
    };
    match detail {
        Some("not running") => "not running".to_owned(),
        Some(detail) => format!("{word}: {detail}"),
        None => word.to_owned(),
    }
}

/// How far behind its system a source is, in the words that are known.
fn lag(source: &SourceStatus) -> String {
    let bytes = source.lag_bytes.map(|bytes| format!("{bytes} bytes"));
    let time = source.lag_ms.map(|ms| format!("{ms} ms"));
    bytes.into_iter().chain(time).collect::<Vec<_>>().join(", ")
}
