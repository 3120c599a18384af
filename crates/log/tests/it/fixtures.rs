//! Logs that an earlier version wrote stay readable: the directories in `tests/fixtures` are opened as they are.
//!
//! Fixtures are never written anew. To add those of a new version, make its directory and run this test with
//! `EVERT_FIXTURES=write`; what is there already is left alone.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use change::{Part, RequestId, SourcePosition, Time, TransactionGroup, TransactionHead};
use log::notary::proof_dir;
use log::{Compression, Log, LogOptions, Notary, RealDisk};
use proof::{Checkpoint, Note, Policy, Signer};

use crate::world::{append, frames, group, options, part, rows, segments, small_segments, table};

fn signer() -> Signer {
    Signer::from_seed("fixture.example/log", &[6; 32]).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from("tests/fixtures")
}

/// Several sources and tables, all kinds of positions, requests and causes; rows that compress.
fn whole(log: &Log) {
    append(log, &group("shop", 1, &[2, 0, 1])).unwrap();
    let positions = [
        None,
        Some(SourcePosition::Lsn(0x1_6B37_4D48)),
        Some(SourcePosition::Line { bytes: 400, lines: 7 }),
    ];
    for (at, position) in (0..).zip(positions) {
        let head = TransactionHead {
            position,
            committed_at_us: Some(1_700_000_000_000_000),
            request: Some(RequestId(format!("request {at}").into_bytes().into())),
            causes: vec![Time(1), Time(2)],
        };
        let tables = vec![rows(&table("a", "t"), at, &[1]), rows(&table("a", "u"), at, &[200])];
        append(log, &TransactionGroup::new("a".into(), Part::Whole, vec![head], tables)).unwrap();
    }
}

/// A transaction in parts over several segments, and one that is not finished.
fn parts(log: &Log) {
    append(log, &part("big", Part::First, 1, &[60])).unwrap();
    append(log, &group("other", 1, &[40, 1])).unwrap();
    append(log, &part("big", Part::Middle, 1, &[60])).unwrap();
    append(log, &part("never", Part::First, 1, &[60])).unwrap();
    append(log, &part("big", Part::Last, 2, &[60])).unwrap();
}

/// Everything in a log, as text.
fn told(log: &Log) -> String {
    let mut text = String::new();
    let mut reader = log.reader(Time::ZERO);
    while let Some(chunk) = reader.next().unwrap() {
        let (first, last) = (chunk.first, chunk.last);
        writeln!(text, "{first} to {last} from {}: {:?}", chunk.source, chunk.heads).unwrap();
        for changes in &chunk.tables {
            let (name, ends) = (changes.table().name(), changes.ends());
            writeln!(text, "{name} {ends:?} {:?}", changes.changes().diffs()).unwrap();
            let rows = changes.changes().rows().clone();
            writeln!(text, "{}", pretty_format_batches(&[rows]).unwrap()).unwrap();
        }
    }
    text
}

fn write(dir: &Path, fill: fn(&Log), options: LogOptions) {
    if std::env::var_os("EVERT_FIXTURES").is_none() || dir.exists() {
        return;
    }
    let (log, _) = Log::open(dir, options, Arc::new(RealDisk), || 1_700_000_000_000_000).unwrap();
    fill(&log);
    let mut notary = Notary::open(&log, signer()).unwrap();
    while notary.step().unwrap().is_some() {}
    notary.publish().unwrap();
    fs::write(dir.join("expected"), told(&log)).unwrap();
}

/// Appends once more, and leaves that write unfinished, as a crash does.
fn tear(dir: &Path) {
    let (log, _) = Log::open(dir, options(), Arc::new(RealDisk), || 1_700_000_000_000_000).unwrap();
    append(&log, &group("shop", 9, &[30])).unwrap();
    drop(log);
    let file = segments(dir).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let frames = frames(&bytes);
    let last = frames.iter().rfind(|frame| frame.transactions > 0).unwrap();
    bytes.truncate(last.place.offset as usize + 200);
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    fs::write(&file, bytes).unwrap();
}

#[test]
fn logs_of_earlier_versions_are_readable_and_proven() {
    write(&root().join("v1/whole"), whole, options());
    let small = LogOptions { compression: Compression::WhenItPays, ..small_segments() };
    write(&root().join("v1/parts"), parts, small);
    let torn = root().join("v1/torn");
    if std::env::var_os("EVERT_FIXTURES").is_some() && !torn.exists() {
        write(&torn, whole, options());
        tear(&torn);
    }
    let mut logs = 0;
    for version in fs::read_dir(root()).unwrap() {
        for fixture in fs::read_dir(version.unwrap().path()).unwrap() {
            let dir = fixture.unwrap().path();
            let (log, recovery) = Log::open_read_only(&dir, Arc::new(RealDisk)).unwrap();
            assert_eq!(recovery.log_id, [7; 16]);
            let expected = fs::read_to_string(dir.join("expected")).unwrap();
            assert_eq!(told(&log), expected, "{}", dir.display());
            let note = Note::parse(&fs::read(proof_dir(&dir).join("checkpoint")).unwrap()).unwrap();
            let key = signer().verifier().clone();
            let policy = Policy::new("fixture.example/log", vec![key], Vec::new(), 0).unwrap();
            let state: Checkpoint = policy.open(&note).unwrap().checkpoint;
            assert_eq!(state.size(), log.upper().0 - 1);
            let audit = log.audit(&[state.size()], state.size()).unwrap();
            assert_eq!(audit.roots[&state.size()], state.root(), "{}", dir.display());
            assert_eq!(audit.wrong_tiles, []);
            logs += 1;
        }
    }
    assert!(logs >= 3, "the fixtures are there");
}
