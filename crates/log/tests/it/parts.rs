//! Transactions in parts: visible as a whole, whatever comes between.

use change::{Part, SourcePosition, Time};
use log::{Chunk, Log, LogError};

use crate::world::{
    append, dir, frames, group, open, open_with, part, read, segments, small_segments,
};

fn shape(chunks: &[Chunk]) -> Vec<(u64, u64, &str, usize, bool)> {
    let rows = |chunk: &Chunk| chunk.tables.iter().map(|table| table.changes().len()).sum();
    chunks.iter().map(|c| (c.first.0, c.last.0, &*c.source, rows(c), c.complete)).collect()
}

#[test]
fn parts_become_visible_together_among_another_sources_transactions() {
    let dir = dir();
    let (log, _) = open(dir.path());
    let mut reader = log.reader(Time::ZERO);
    assert_eq!(append(&log, &part("big", Part::First, 1, &[10])).unwrap(), Time(0));
    assert_eq!(append(&log, &group("other", 1, &[1, 2])).unwrap(), Time(2));
    assert_eq!(append(&log, &part("big", Part::Middle, 1, &[20])).unwrap(), Time(2));
    assert_eq!(append(&log, &part("second", Part::First, 5, &[7])).unwrap(), Time(2));
    assert_eq!(reader.next().unwrap().unwrap().last, Time(2));
    assert_eq!(reader.next().unwrap(), None, "no part is visible before the last");
    assert_eq!(append(&log, &part("big", Part::Last, 1, &[30])).unwrap(), Time(3));
    assert_eq!(append(&log, &group("other", 3, &[3])).unwrap(), Time(4));
    assert_eq!(append(&log, &part("second", Part::Last, 6, &[8])).unwrap(), Time(5));
    let expected = [
        (1, 2, "other", 3, true),
        (3, 3, "big", 10, false),
        (3, 3, "big", 20, false),
        (3, 3, "big", 30, true),
        (4, 4, "other", 3, true),
        (5, 5, "second", 7, false),
        (5, 5, "second", 8, true),
    ];
    let chunks = read(&log, 0);
    assert_eq!(shape(&chunks), expected);
    let tail: Vec<Chunk> = std::iter::from_fn(|| reader.next().unwrap()).collect();
    assert_eq!(shape(&tail), expected[1..]);
    assert!(chunks[5].heads[0].position == Some(SourcePosition::Step(6)), "the last part's head");
}

#[test]
fn parts_may_lie_in_many_segments() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    append(&log, &part("big", Part::First, 1, &[100])).unwrap();
    for step in 0..20 {
        append(&log, &part("big", Part::Middle, 1, &[100])).unwrap();
        append(&log, &group("other", step, &[50])).unwrap();
    }
    let check = |log: &Log, upper| {
        assert_eq!(log.upper(), Time(upper));
        let chunks = read(log, 20);
        let rows: usize =
            chunks.iter().flat_map(|chunk| &chunk.tables).map(|table| table.changes().len()).sum();
        assert_eq!((chunks.len(), rows), (22, 2200));
        assert!(chunks.iter().all(|chunk| chunk.first == Time(21) && &*chunk.source == "big"));
        let complete: Vec<bool> = chunks.iter().map(|chunk| chunk.complete).collect();
        assert_eq!(complete.iter().filter(|&&complete| complete).count(), 1);
        assert_eq!(complete.last(), Some(&true));
    };
    // A restart in between: the parts that are there are known from the preambles.
    drop(log);
    let (log, recovery) = open_with(dir.path(), small_segments());
    assert_eq!(recovery.positions.get("big"), None, "only whole transactions count");
    append(&log, &part("big", Part::Last, 1, &[100])).unwrap();
    check(&log, 22);
    drop(log);
    let (log, recovery) = open_with(dir.path(), small_segments());
    assert_eq!(recovery.positions.get("big"), Some(&SourcePosition::Step(1)));
    check(&log, 22);
    assert!(segments(dir.path()).len() > 10);
}

#[test]
fn a_first_part_voids_unfinished_ones_of_its_source() {
    let dir = dir();
    let (log, _) = open(dir.path());
    append(&log, &part("a", Part::First, 1, &[1])).unwrap();
    append(&log, &part("b", Part::First, 1, &[5])).unwrap();
    append(&log, &part("a", Part::Middle, 1, &[2])).unwrap();
    // As after a crash: the source begins anew.
    drop(log);
    let (log, _) = open(dir.path());
    append(&log, &part("a", Part::First, 1, &[3])).unwrap();
    append(&log, &part("a", Part::Last, 1, &[4])).unwrap();
    append(&log, &part("b", Part::Last, 1, &[6])).unwrap();
    let expected =
        [(1, 1, "a", 3, false), (1, 1, "a", 4, true), (2, 2, "b", 5, false), (2, 2, "b", 6, true)];
    assert_eq!(shape(&read(&log, 0)), expected);
}

#[test]
fn a_later_part_without_its_first_is_refused_and_the_log_goes_on() {
    let dir = dir();
    let (log, _) = open(dir.path());
    let error = append(&log, &part("a", Part::Last, 1, &[1])).unwrap_err();
    assert!(matches!(error, LogError::NoFirstPart { name } if &*name == "a"));
    append(&log, &part("a", Part::First, 1, &[1])).unwrap();
    append(&log, &part("a", Part::Last, 1, &[1])).unwrap();
    append(&log, &part("a", Part::Middle, 1, &[1])).unwrap_err();
    assert_eq!(append(&log, &group("a", 2, &[1])).unwrap(), Time(2));
}

#[test]
fn a_reader_that_starts_late_finds_the_parts_before() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    append(&log, &part("big", Part::First, 1, &[100])).unwrap();
    for step in 0..30 {
        append(&log, &group("other", step, &[50])).unwrap();
    }
    append(&log, &part("big", Part::Last, 1, &[100])).unwrap();
    let expected = [(31, 31, "big", 100, false), (31, 31, "big", 100, true)];
    assert_eq!(shape(&read(&log, 30)), expected);
    drop(log);
    let (log, _) = open_with(dir.path(), small_segments());
    assert_eq!(shape(&read(&log, 30)), expected);
    // Damage in the first part is found when the last makes it visible.
    let first = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    let header = frames(&bytes).into_iter().find(|header| header.rows == 100).unwrap();
    bytes[header.place.offset as usize + 700] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let mut reader = log.reader(Time(30));
    let error = reader.next().unwrap_err();
    assert!(matches!(&error, LogError::Damaged { segment, .. } if *segment == first), "{error}");
}
