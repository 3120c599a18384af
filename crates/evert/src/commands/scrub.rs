//! `evert log scrub` and `evert log repair`: what of the log is not as it was written, and making it so again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use change::catalog::{Kind, OWN_SOURCE, TABLES_SOURCE};
use log::{CopiedDirectory, Copies, Damage, DamageKind, Disk, Log, LogError, RealDisk, Repaired};
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::cli::{LogRepairArgs, LogScrubArgs, SummaryFormat};
use crate::commands::backed_up::BackedUp;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::intent::wall_clock_us;
use crate::{directory, output};

/// How many bytes are read before a scrub pauses as long as its rate asks for.
const PAUSE_BYTES: u64 = 1 << 20;

/// A finding, as it is printed.
#[derive(Debug, Serialize)]
struct Finding {
    file: String,
    offset: u64,
    bytes: u64,
    first_time: Option<u64>,
    last_time: Option<u64>,
    tables: Vec<String>,
    problem: String,
    repair: String,
}

/// What a scrub came to.
#[derive(Debug, Serialize)]
struct Report {
    segments: u64,
    bytes: u64,
    bases: u64,
    compared_transactions: u64,
    tiles: u64,
    damage: Vec<Finding>,
    notes: Vec<String>,
}

/// Reads all of a log again and prints what is damaged.
pub(crate) fn scrub(arguments: &LogScrubArgs) -> Result<(), Failure> {
    let dir = log_dir(arguments.log.as_deref(), &arguments.dir.path())?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let found = log::scrub(&dir, &disk, wall_clock_us(), pace(arguments.rate))?;
    let mut notes = Vec::new();
    if let Some(error) = &found.closed {
        notes.push(format!("transactions were not compared with the tree: {error}"));
    } else if found.compared == 0 && found.segments > 0 {
        notes.push(
            "nothing is signed yet: transactions were compared with their checksums only"
                .to_owned(),
        );
    }
    let report = Report {
        segments: found.segments,
        bytes: found.bytes,
        bases: found.bases,
        compared_transactions: found.compared,
        tiles: found.tiles,
        damage: found.damage.iter().map(|damage| finding(damage, None)).collect(),
        notes,
    };
    match arguments.output {
        SummaryFormat::Json => output::print_json(&report)?,
        SummaryFormat::Table => output::print(drawn(&report).as_bytes())?,
    }
    fail_with(&dir, &found.damage)
}

/// What a repair came to.
#[derive(Debug, Serialize)]
struct RepairReport {
    restored: Vec<Finding>,
    made_again: u64,
    kept: Vec<PathBuf>,
    left: Vec<Finding>,
    notes: Vec<String>,
}

/// Repairs a log that no process has open, and prints what was done and what is left.
pub(crate) async fn repair(arguments: LogRepairArgs) -> Result<(), Failure> {
    let mut copies: Option<Box<dyn Copies + Send>> = match &arguments.from {
        None => None,
        Some(from) if BackedUp::is_place(from) => Some(Box::new(BackedUp::newest(from).await?)),
        Some(from) => Some(Box::new(CopiedDirectory::open(Arc::new(RealDisk), Path::new(from))?)),
    };
    // It reads all of the log: not among those who wait for the network.
    let done = tokio::task::spawn_blocking(move || {
        repair_from(copies.as_mut().map(|copies| &mut **copies as &mut dyn Copies), &arguments)
    });
    done.await.unwrap_or(Err(Failure::Ended("the repair")))
}

fn repair_from(copies: Option<&mut dyn Copies>, arguments: &LogRepairArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    let dir = log_dir(None, &root)?;
    // Nobody else may write meanwhile.
    let _held = Directory::acquire(&root)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let repaired = log::repair::repair(&dir, &disk, copies, wall_clock_us())?;
    // Without its tree a log can be read, and be proven no more.
    let is_lost =
        |damage: &&Damage| damage.kind != DamageKind::Derived && !damage.file.starts_with("proof/");
    let lost: Vec<&Damage> = repaired.left.iter().filter(is_lost).collect();
    let mut notes = repaired.warnings.clone();
    notes.extend(repaired.refused.values().cloned());
    if !lost.is_empty() {
        notes.extend(without_copy(&dir, &disk, &lost));
    }
    let why = |damage: &Damage| repaired.refused.get(&damage.file).cloned();
    let report = RepairReport {
        restored: repaired.restored.iter().map(|damage| finding(damage, None)).collect(),
        made_again: repaired.made_again,
        kept: repaired.kept.clone(),
        left: repaired.left.iter().map(|damage| finding(damage, why(damage))).collect(),
        notes,
    };
    match arguments.output {
        SummaryFormat::Json => output::print_json(&report)?,
        SummaryFormat::Table => output::print(drawn_repair(&report, &repaired).as_bytes())?,
    }
    fail_with(&dir, &repaired.left)
}

/// The log that is meant: a copy's, or that of the data directory.
fn log_dir(named: Option<&Path>, root: &Path) -> Result<PathBuf, Failure> {
    match named {
        Some(dir) if dir.join("log").is_dir() => Ok(dir.join("log")),
        Some(dir) => Ok(dir.to_owned()),
        None => {
            directory::must_exist(root)?;
            Ok(directory::log_dir(root))
        }
    }
}

/// Reads at so many MB a second; `None` for as fast as the disk gives it.
fn pace(megabytes_per_second: Option<u32>) -> impl FnMut(u64) -> ControlFlow<()> {
    let mut owed_bytes = 0_u64;
    move |bytes| {
        owed_bytes += bytes;
        if let Some(rate) = megabytes_per_second.filter(|_| owed_bytes >= PAUSE_BYTES) {
            // Bytes by MB/s are microseconds.
            std::thread::sleep(Duration::from_micros(owed_bytes / u64::from(rate)));
            owed_bytes = 0;
        }
        ControlFlow::Continue(())
    }
}

fn finding(damage: &Damage, why: Option<String>) -> Finding {
    Finding {
        file: damage.file.clone(),
        offset: damage.offset,
        bytes: damage.bytes,
        first_time: damage.times.map(|(first, _)| first.0),
        last_time: damage.times.map(|(_, last)| last.0),
        tables: damage.tables.clone(),
        problem: damage.reason.clone(),
        repair: why.unwrap_or_else(|| damage.help().to_owned()),
    }
}

/// The exit code tells, and the message what is worst.
fn fail_with(dir: &Path, damage: &[Damage]) -> Result<(), Failure> {
    let worst = damage.iter().min_by_key(|damage| damage.kind);
    let Some(worst) = worst else { return Ok(()) };
    Err(Failure::Log(LogError::Unsound {
        file: dir.join(&worst.file),
        findings: damage.len() as u64,
        help: worst.help(),
    }))
}

/// What can be done about damage when no copy has the bytes.
fn without_copy(dir: &Path, disk: &Arc<dyn Disk>, lost: &[&Damage]) -> Vec<String> {
    let tables: BTreeSet<&str> =
        lost.iter().flat_map(|damage| damage.tables.iter().map(String::as_str)).collect();
    let mut notes = vec![
        "without a copy that has these bytes the log cannot be read past the damage, and Evert does not start on it"
            .to_owned(),
    ];
    if tables.is_empty() {
        notes.push(
            "which tables the bytes belong to is not known: count with all of them".to_owned(),
        );
    }
    let opened = Log::open_read_only(dir, Arc::clone(disk)).ok();
    let catalogue = opened.and_then(|(log, _)| Catalogue::read(&log).ok());
    let sources: BTreeSet<&str> =
        tables.iter().filter_map(|table| table.split_once('.')).map(|(source, _)| source).collect();
    for source in sources {
        let mine = tables.iter().filter(|table| table.starts_with(&format!("{source}.")));
        let mine = mine.copied().collect::<Vec<_>>().join(", ");
        notes.push(match source {
            TABLES_SOURCE => format!("{mine}: written here and nowhere else; what the damage took of them is lost"),
            OWN_SOURCE => format!("{mine}: Evert's own catalogue; its statements have to be given again"),
            _ => {
                let is_known = catalogue.as_ref().is_some_and(|known| known.get(Kind::Source, source).is_some());
                let doubt = if is_known { "" } else { " (if it still exists)" };
                format!(
                    "{mine}: source {source}{doubt} is copied anew when {} is moved away and Evert is started with \
                     the same script; a file or database must still hold all of it, and what it once held and changed since is lost",
                    dir.display()
                )
            }
        });
    }
    notes
}

fn drawn(report: &Report) -> String {
    let mut text = format!(
        "read {} in {} and {}; {} and {} compared with what was signed\n",
        indicatif::HumanBytes(report.bytes),
        output::counted(report.segments, "segment"),
        output::counted(report.bases, "base"),
        output::counted(report.compared_transactions, "transaction"),
        output::counted(report.tiles, "tile"),
    );
    draw(&mut text, "DAMAGED", &report.damage);
    draw_notes(&mut text, &report.notes);
    if report.damage.is_empty() {
        text.push_str("nothing is damaged\n");
    }
    text
}

fn drawn_repair(report: &RepairReport, repaired: &Repaired) -> String {
    let mut text = String::new();
    draw(&mut text, "restored", &report.restored);
    for path in &report.kept {
        writeln!(text, "the damaged file is kept as {}", path.display())
            .expect("writing to a String");
    }
    if report.made_again > 0 {
        let files = output::counted(report.made_again, "file");
        writeln!(text, "made again: {files} of proofs and indexes").expect("writing to a String");
    }
    draw(&mut text, "STILL DAMAGED", &report.left);
    draw_notes(&mut text, &report.notes);
    if report.left.is_empty() {
        let compared = output::counted(repaired.compared, "transaction");
        writeln!(text, "nothing is damaged; {compared} compared with what was signed")
            .expect("writing to a String");
    }
    text
}

fn draw(text: &mut String, word: &str, findings: &[Finding]) {
    for finding in findings {
        let Finding { file, offset, bytes, problem, repair, .. } = finding;
        let times = match (finding.first_time, finding.last_time) {
            (Some(first), Some(last)) => format!(", Times {first} to {last}"),
            _ => String::new(),
        };
        let tables = match finding.tables.join(", ") {
            tables if tables.is_empty() => tables,
            tables => format!(", of {tables}"),
        };
        writeln!(text, "{word}: {file}, {bytes} bytes at {offset}{times}{tables}: {problem}")
            .expect("writing to a String");
        if word != "restored" {
            writeln!(text, "  do: {repair}").expect("writing to a String");
        }
    }
}

fn draw_notes(text: &mut String, notes: &[String]) {
    for note in notes {
        writeln!(text, "note: {note}").expect("writing to a String");
    }
}
