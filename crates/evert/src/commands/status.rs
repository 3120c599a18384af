//! `evert status`: how far everything is.

use std::path::Path;

use serve::api::{LogStatus, Phase, SinkStatus, SourceStatus, Status, ViewStatus};
use serve::client::{Client, ClientError};
use view::search::SearchReader;

use crate::board::kind;
use crate::cli::{OutputFormat, StatusArgs};
use crate::commands::read::rebuild;
use crate::failure::Failure;
use crate::intent::Opened;
use crate::{directory, output};

/// Prints sources with their lag, views with their rows, and sinks with the Time that they hold.
pub(crate) async fn status(arguments: StatusArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    directory::must_exist(&root)?;
    let (status, running) = match Client::new(&directory::socket(&root)).status().await {
        Ok(status) => (status, true),
        Err(ClientError::NotRunning { .. }) => (at_rest(&root)?, false),
        Err(error) => return Err(error.into()),
    };
    let format = arguments.output.unwrap_or(OutputFormat::Table);
    output::print_value(&status, format, || drawn(&status, running))
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
            behind_transactions: 0,
            lag_ms: None,
        }
    });
    let stat = opened.log.stat();
    let shown = program.views.iter().map(|view| {
        let row_count = snapshot.row_count(&view.name)?;
        Ok(ViewStatus {
            name: view.name.clone(),
            row_count,
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
        },
        sources: sources.collect(),
        views: shown.collect::<Result<_, Failure>>()?,
        sinks: sinks.collect(),
    })
}

fn held_by_index(root: &Path, view: &str) -> Option<change::Time> {
    SearchReader::open(&directory::search_dir(root, view)).ok()?.held().ok()?
}

fn drawn(status: &Status, running: bool) -> String {
    let mut text = format!(
        "{} at Time {}, log of {} bytes\n\n",
        if running { "Running" } else { "Not running" },
        status.time,
        status.log.bytes
    );
    let mut sources = output::table(&["source", "kind", "phase", "rows", "position", "lag"]);
    for source in &status.sources {
        sources.add_row([
            source.name.clone(),
            source.kind.clone(),
            phase(source.phase, source.detail.as_deref()),
            source.rows.to_string(),
            source.position.clone().unwrap_or_default(),
            lag(source),
        ]);
    }
    let mut views = output::table(&["view", "rows", "searchable"]);
    for view in &status.views {
        let searchable = if view.searchable { "yes" } else { "" };
        views.add_row([view.name.clone(), view.row_count.to_string(), searchable.to_owned()]);
    }
    let mut sinks = output::table(&["sink", "view", "kind", "phase", "holds Time", "behind"]);
    for sink in &status.sinks {
        sinks.add_row([
            sink.name.clone(),
            sink.view.clone(),
            sink.kind.clone(),
            phase(sink.phase, sink.detail.as_deref()),
            sink.held.to_string(),
            format!("{} transactions", sink.behind_transactions),
        ]);
    }
    for table in [sources, views, sinks] {
        if table.row_iter().next().is_some() {
            text.push_str(&format!("{table}\n\n"));
        }
    }
    text
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
