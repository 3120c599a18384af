//! Finding things in a log without reading all of it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use change::{Part, RequestId, TableName, Time, TransactionGroup};
use log::{Chunk, Filter, Log, NotaryOptions, RealDisk};
use proof::Signer;

use crate::world::{
    append, dir, group, head, open_with, options, part, rows, small_segments, table,
};

fn requested(source: &str, name: &str, step: u64) -> TransactionGroup {
    let mut head = head(step);
    head.request = Some(RequestId(format!("request {step}").into_bytes().into()));
    let changes = vec![rows(&table(source, name), step as i64 * 1000, &[4])];
    TransactionGroup::new(source.into(), Part::Whole, vec![head], changes)
}

/// Many segments; table `s.rare` now and then, and in a large transaction over many segments.
fn fill(log: &Log) {
    for step in 0..60 {
        append(log, &group("other", step, &[20])).unwrap();
        if step % 20 == 3 {
            append(log, &requested("s", "rare", step)).unwrap();
        }
        append(log, &requested("s", "t", 1000 + step)).unwrap();
        match step {
            10 => drop(append(log, &part("big", Part::First, step, &[50])).unwrap()),
            50 => drop(append(log, &part("big", Part::Last, step, &[60])).unwrap()),
            _ => {}
        }
    }
}

fn of_table(source: &str, name: &str) -> Filter {
    Filter { tables: BTreeSet::from([TableName::new(source, name)]), source: None }
}

fn of_source(source: &str) -> Filter {
    Filter { tables: BTreeSet::new(), source: Some(source.into()) }
}

fn chunks(log: &Log, after: u64, filter: Filter) -> Vec<Chunk> {
    let mut reader = log.reader(Time(after)).filtered(filter);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// The same, by reading everything.
fn expected(log: &Log, after: u64, filter: &Filter) -> Vec<Chunk> {
    let mut reader = log.reader(Time(after));
    let all = std::iter::from_fn(|| reader.next().unwrap());
    let kept = all.filter_map(|mut chunk| {
        let from = filter.source.as_ref().is_none_or(|source| *source == chunk.source);
        chunk.tables.retain(|table| {
            filter.tables.is_empty() || filter.tables.contains(table.table().name())
        });
        (from && !chunk.tables.is_empty()).then_some(chunk)
    });
    kept.collect()
}

#[test]
fn a_filtered_reader_misses_nothing() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    fill(&log);
    let filters = [
        of_table("s", "rare"),
        of_table("s", "t"),
        of_table("big", "t"),
        of_table("s", "none"),
        of_source("other"),
        of_source("big"),
        of_source("nobody"),
        Filter { source: Some("s".into()), ..of_table("s", "rare") },
    ];
    for filter in filters {
        for after in [0, 1, 40, 100, 500] {
            let found = chunks(&log, after, filter.clone());
            let found: Vec<_> = found.into_iter().filter(|c| !c.tables.is_empty()).collect();
            assert_eq!(found, expected(&log, after, &filter), "{filter:?} after {after}");
        }
    }
    assert_eq!(chunks(&log, 0, of_table("s", "rare")).len(), 3);
}

#[test]
fn a_request_is_found_wherever_it_is() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    fill(&log);
    let find = |log: &Log, id: &str| log.find_request(&RequestId(id.as_bytes().into())).unwrap();
    for step in [3, 23, 43, 1000, 1030, 1059] {
        let times = find(&log, &format!("request {step}"));
        let [time] = times[..] else { panic!("request {step}: {times:?}") };
        let mut reader = log.reader(Time(time.0 - 1));
        let chunk = reader.next().unwrap().unwrap();
        let id = chunk.heads[0].request.clone().unwrap();
        assert_eq!(*id.0, *format!("request {step}").as_bytes());
    }
    assert_eq!(find(&log, "request 4"), []);
    // A client that asks twice and is not recognised is found twice.
    let time = append(&log, &requested("s", "t", 1000)).unwrap();
    assert_eq!(find(&log, "request 1000").last(), Some(&time));
    assert_eq!(find(&log, "request 1000").len(), 2);
}

#[test]
fn indexes_are_kept_and_one_that_is_lost_or_damaged_is_made_again() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    let signer = Signer::from_seed("test.example/log", &[5; 32]).unwrap();
    log.start_notary(NotaryOptions { signer, interval: Duration::from_millis(1) }).unwrap();
    fill(&log);
    let segments = log.stat().segments;
    drop(log);
    let index = dir.path().join("index");
    let kept = || fs::read_dir(&index).unwrap().count() as u64;
    assert_eq!(kept(), segments - 1, "one for each full segment");
    let of = |log: &Log| chunks(log, 0, of_table("s", "rare"));
    let (log, _) = Log::open_read_only(dir.path(), Arc::new(RealDisk)).unwrap();
    let found = of(&log);
    assert_eq!(found.len(), 3);
    for entry in fs::read_dir(&index).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let (log, _) = Log::open_read_only(dir.path(), Arc::new(RealDisk)).unwrap();
    assert_eq!(of(&log), found);
    fs::remove_dir_all(&index).unwrap();
    let (log, _) = Log::open_read_only(dir.path(), Arc::new(RealDisk)).unwrap();
    assert_eq!(of(&log), found);
    assert!(!index.exists(), "whoever only reads writes nothing");
}

#[test]
fn a_reader_beside_the_writer_learns_of_what_comes() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    append(&log, &group("s", 0, &[1])).unwrap();
    let (beside, _) = Log::open_read_only(dir.path(), Arc::new(RealDisk)).unwrap();
    let mut reader = beside.reader(Time::ZERO);
    let mut last = Time::ZERO;
    for step in 1..80 {
        append(&log, &group("s", step, &[10, 10])).unwrap();
        assert_eq!(beside.refresh().unwrap(), log.upper());
        while let Some(chunk) = reader.next().unwrap() {
            assert_eq!(chunk.first, last.next());
            last = chunk.last;
        }
        assert_eq!(last.next(), log.upper());
    }
    assert_eq!(beside.stat(), log.stat());
    assert!(log.stat().segments > 3);
    drop(log);
    beside.refresh().unwrap();
    let (log, _) = open_with(dir.path(), options());
    append(&log, &group("s", 99, &[1])).unwrap();
    assert_eq!(beside.refresh().unwrap(), log.upper(), "also of the next process");
}
