//! `evert log trace`: what happened to a row, or by a request: from the source's position to every view and sink that
//! shows it, as far as this machine can know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use change::{RequestId, TableChanges, TableName, Time};
use log::notary::proof_dir;
use log::{Chunk, Filter, Log, LogError};
use plan::ir::Program;
use serde_json::{Value, json};
use serve::api::Status;
use serve::client::{Client, ClientError};
use view::json::RowWriter;
use view::text::CellWriter;

use crate::board::kind;
use crate::cli::{LogTraceArgs, SummaryFormat, TraceKind};
use crate::commands::log::{count, named, open, rows_of, tell_folded, transaction};
use crate::commands::prove::read_note;
use crate::commands::status::held_by_index;
use crate::failure::Failure;
use crate::intent::Opened;
use crate::{directory, output};

/// How many transactions of a row are shown, the last ones.
const TRANSACTIONS_MAX: usize = 50;

/// How many changes of a transaction are shown.
const CHANGES_MAX: usize = 100;

/// Prints what happened.
pub(crate) async fn trace(arguments: LogTraceArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    let log = open(&root)?;
    let mut traced = find(&log, &arguments)?;
    if traced.is_empty() {
        return Err(Failure::Usage {
            what: format!("nothing in the log is called {}", arguments.what),
            help: "name a Time, a request's id, or a row's key with --table TABLE".to_owned(),
        });
    }
    let status = match Client::new(&directory::socket(&root)).status().await {
        Ok(status) => Some(status),
        Err(ClientError::NotRunning { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let opened = Opened::at_rest(&root)?;
    let program = opened.catalogue.program(opened.catalogue.tables()?)?;
    let signed = ["checkpoint", "cosigned"].map(|name| {
        read_note(&proof_dir(&directory::log_dir(&root)).join(name))
            .map_or(0, |(_, state)| state.size())
    });
    for one in &mut traced {
        let time = one.time();
        one.0["leaf"] = log.leaf_record(time)?.map(|record| record.leaf().to_string()).into();
        one.0["signed"] = (signed[0] >= time.0).into();
        one.0["cosigned"] = (signed[1] >= time.0).into();
        let tables = one.tables();
        one.0["views"] = views(&program, status.as_ref(), &tables, time);
        one.0["sinks"] = sinks(&root, &program, status.as_ref(), &tables, time);
    }
    if arguments.output == SummaryFormat::Json {
        return output::print_json(&traced.into_iter().map(|one| one.0).collect::<Vec<_>>());
    }
    let text: Vec<String> = traced.iter().map(Traced::drawn).collect();
    output::print(text.join("\n").as_bytes())
}

/// A transaction and what is known of it.
struct Traced(Value);

impl Traced {
    fn time(&self) -> Time {
        Time(self.0["time"].as_u64().unwrap_or_default())
    }

    fn tables(&self) -> BTreeSet<String> {
        let rows = self.0["rows"].as_object();
        rows.map(|rows| rows.keys().cloned().collect()).unwrap_or_default()
    }

    fn drawn(&self) -> String {
        let one = &self.0;
        let text = |key: &str| match one[key].as_str() {
            Some(text) => text.to_owned(),
            None => one[key].to_string(),
        };
        let mut out = format!("Time {}, from {}", one["time"], text("source"));
        if !one["position"].is_null() {
            write!(out, " at {}", text("position")).expect("writing to a String");
        }
        out.push('\n');
        for (label, key) in [("request", "request"), ("causes", "causes"), ("leaf", "leaf")] {
            if !one[key].is_null() {
                writeln!(out, "  {label}: {}", text(key)).expect("writing to a String");
            }
        }
        let signed = match (one["signed"] == true, one["cosigned"] == true) {
            (_, true) => "and cosigned by a witness",
            (true, false) => "yes",
            (false, false) => "not yet",
        };
        writeln!(out, "  signed: {signed}").expect("writing to a String");
        for change in one["changes"].as_array().into_iter().flatten() {
            let row =
                if change["truncate"] == true { "truncated" } else { &change["row"].to_string() };
            let (table, diff) = (change["table"].as_str().unwrap_or_default(), &change["diff"]);
            writeln!(out, "  change: {table} {diff} {row}").expect("writing to a String");
        }
        if one["more_changes"] != 0 {
            writeln!(out, "  and {} more changes", one["more_changes"])
                .expect("writing to a String");
        }
        for (label, key) in [("view", "views"), ("sink", "sinks")] {
            for shown in one[key].as_array().into_iter().flatten() {
                let name = shown["name"].as_str().unwrap_or_default();
                let state = shown["state"].as_str().unwrap_or_default();
                writeln!(out, "  {label} {name}: {state}").expect("writing to a String");
            }
        }
        out
    }
}

/// The transactions that are asked for.
fn find(log: &Log, arguments: &LogTraceArgs) -> Result<Vec<Traced>, Failure> {
    let what = &arguments.what;
    let time = what.parse().ok().map(Time).filter(|time| *time > Time::ZERO && *time < log.upper());
    let by_key = arguments.table.is_some() || arguments.kind == Some(TraceKind::Key);
    if !by_key {
        if let Some(time) = time.filter(|_| arguments.kind != Some(TraceKind::Request)) {
            return Ok(at(log, time, None)?.into_iter().collect());
        }
        let times = log.find_request(&RequestId(what.as_bytes().into()))?;
        if !times.is_empty() || arguments.kind.is_some() {
            let found = times.into_iter().map(|time| at(log, time, None));
            let found = found.collect::<Result<Vec<_>, Failure>>()?;
            return Ok(found.into_iter().flatten().collect());
        }
    }
    let tables = match &arguments.table {
        Some(name) => named(log, name)?,
        None => BTreeSet::new(),
    };
    let times = times_of_row(log, tables, what)?;
    let traced = times.into_iter().map(|time| at(log, time, Some(what)));
    Ok(traced.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The transaction at a Time, with the changes of rows that have the key.
fn at(log: &Log, time: Time, key: Option<&str>) -> Result<Option<Traced>, Failure> {
    let mut reader = log.reader(Time(time.0 - 1)).history();
    let mut building = Building::default();
    while let Some(chunk) = reader.next()?.filter(|chunk| chunk.first == time) {
        building.take(&chunk, time, key);
        if chunk.complete {
            return Ok(Some(building.finish(&chunk, time)));
        }
    }
    match log.stat().since {
        upto if time <= upto => Err(LogError::Pruned { from: time, upto }.into()),
        _ => Ok(None),
    }
}

/// The Times of the last transactions that changed a row with this key, in one of the tables, or in any.
pub(crate) fn times_of_row(
    log: &Log,
    tables: BTreeSet<TableName>,
    key: &str,
) -> Result<Vec<Time>, Failure> {
    tell_folded(log, &tables, Time::ZERO);
    let mut reader = log.reader(Time::ZERO).history().filtered(Filter { tables, source: None });
    let mut found: Vec<Time> = Vec::new();
    while let Some(chunk) = reader.next()? {
        let mut indexes = BTreeSet::new();
        for changes in &chunk.tables {
            let at = |row: usize| changes.ends().partition_point(|end| *end as usize <= row);
            indexes.extend(with_key(changes, key).into_iter().map(at));
        }
        found.extend(indexes.into_iter().map(|index| Time(chunk.first.0 + index as u64)));
        found.dedup();
        found.drain(..found.len().saturating_sub(TRANSACTIONS_MAX));
    }
    Ok(found)
}

/// The rows with this key: the values of its key's columns, with commas between.
fn with_key(changes: &TableChanges, key: &str) -> Vec<usize> {
    let columns = changes.table().key();
    if columns.is_empty() {
        return Vec::new();
    }
    let cells = CellWriter::new(changes.changes().rows());
    let has_key = |row: &usize| {
        let values = columns.iter().map(|column| cells.cell(*row, *column).unwrap_or_default());
        values.collect::<Vec<_>>().join(",") == key
    };
    (0..cells.len()).filter(has_key).collect()
}

/// A transaction's changes, as its chunks come.
#[derive(Default)]
struct Building {
    rows: BTreeMap<String, usize>,
    changes: Vec<Value>,
    more: usize,
}

impl Building {
    fn take(&mut self, chunk: &Chunk, time: Time, key: Option<&str>) {
        let index = index_in(chunk, time);
        count(chunk, index, &mut self.rows);
        for changes in &chunk.tables {
            let writer = RowWriter::new(changes.changes().rows());
            let wanted = key.map(|key| with_key(changes, key));
            for row in rows_of(changes, index) {
                if wanted.as_ref().is_some_and(|rows| !rows.contains(&row)) {
                    continue;
                }
                if self.changes.len() < CHANGES_MAX {
                    self.changes.push(change(changes, row, &writer));
                } else {
                    self.more += 1;
                }
            }
        }
    }

    fn finish(self, chunk: &Chunk, time: Time) -> Traced {
        let index = index_in(chunk, time);
        let mut traced = transaction(chunk, index, &self.rows);
        traced["changes"] = self.changes.into();
        traced["more_changes"] = self.more.into();
        Traced(traced)
    }
}

/// Which of a chunk's transactions is at a Time.
fn index_in(chunk: &Chunk, time: Time) -> usize {
    usize::try_from(time.0 - chunk.first.0).expect("a chunk's transactions are in memory")
}

fn change(changes: &TableChanges, row: usize, writer: &RowWriter) -> Value {
    let diff = changes.changes().diffs()[row];
    let table = changes.table().name().to_string();
    if diff == change::TRUNCATE {
        return json!({ "table": table, "truncate": true });
    }
    let mut text = Vec::new();
    writer.row(row, &mut text);
    let row: Value = serde_json::from_slice(&text).unwrap_or_default();
    json!({ "table": table, "diff": diff, "row": row })
}

/// The views that read one of the tables, and whether they show a Time.
fn views(
    program: &Program,
    status: Option<&Status>,
    tables: &BTreeSet<String>,
    time: Time,
) -> Value {
    let reading = program.views.iter().filter(|view| reads(program, &view.name, tables));
    let shown = reading.map(|view| {
        let state = match status {
            Some(status) if status.time >= time => {
                format!("shows it (it is at Time {})", status.time)
            }
            Some(status) => format!("does not show it yet (it is at Time {})", status.time),
            None => "is computed up to the log's end when it is read".to_owned(),
        };
        json!({ "name": view.name, "shows": status.is_none_or(|s| s.time >= time), "state": state })
    });
    shown.collect::<Vec<_>>().into()
}

/// The sinks of those views, and whether their targets hold a Time.
fn sinks(
    root: &Path,
    program: &Program,
    status: Option<&Status>,
    tables: &BTreeSet<String>,
    time: Time,
) -> Value {
    let fed = program.sinks.iter().filter(|sink| reads(program, &sink.view, tables));
    let shown = fed.map(|sink| {
        let running = status.and_then(|status| status.sinks.iter().find(|s| s.name == sink.name));
        let held = match running {
            Some(running) => Some(running.held),
            None if kind(&sink.url) == "search" => held_by_index(root, &sink.view),
            None => None,
        };
        let state = match held {
            Some(held) if held >= time => format!("holds it (it is at Time {held})"),
            Some(held) => format!("does not hold it yet (it is at Time {held})"),
            None => "only its target knows: no process is running".to_owned(),
        };
        let shows = held.map(|held| held >= time);
        json!({ "name": sink.name, "view": sink.view, "shows": shows, "state": state })
    });
    shown.collect::<Vec<_>>().into()
}

/// Whether a view reads one of the tables.
fn reads(program: &Program, view: &str, tables: &BTreeSet<String>) -> bool {
    let plan = program.views.iter().find(|plan| plan.name == view);
    plan.is_some_and(|plan| {
        plan.root.tables().iter().any(|table| tables.contains(&table.name().to_string()))
    })
}
