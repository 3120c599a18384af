//! Reading: from any Time, and following what is written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use change::{Part, Time};
use log::faults::FaultyDisk;
use log::{Compression, LogOptions};

use crate::world::{
    PATIENCE, append, dir, group, ids, open, open_with, options, part, small_segments, try_open,
};

#[test]
fn a_reader_starts_after_any_time() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    for step in 0..20 {
        append(&log, &group("a", step * 3, &[1, 0, 2])).unwrap();
        append(&log, &part("b", Part::First, step, &[30])).unwrap();
        append(&log, &group("a", 1000 + step, &[1])).unwrap();
        append(&log, &part("b", Part::Last, step, &[30])).unwrap();
    }
    let check = |log: &log::Log| {
        let all = ids(log, 0);
        assert_eq!(all.len(), 20 * 64);
        for after in 0..=101 {
            let expected: Vec<_> = all.iter().copied().filter(|(time, _)| *time > after).collect();
            assert_eq!(ids(log, after), expected, "after {after}");
        }
    };
    // Segments written by this process have an index; those found at the next start have none.
    check(&log);
    drop(log);
    check(&open_with(dir.path(), small_segments()).0);
}

#[test]
fn a_reader_starts_within_a_large_segment() {
    let dir = dir();
    let options = LogOptions { compression: Compression::Off, ..options() };
    let (log, _) = open_with(dir.path(), options);
    let mut sent = 0;
    for step in 0..40 {
        sent = append(&log, &group("a", step * 3, &[1000, 1, 4000])).unwrap().0;
    }
    assert!(log.stat().bytes > 5 << 20, "several entries of the index");
    let all = ids(&log, 0);
    for after in [0, 1, 50, 51, 52, 53, 99, sent - 1, sent] {
        let expected: Vec<_> = all.iter().copied().filter(|(time, _)| *time > after).collect();
        assert_eq!(ids(&log, after), expected, "after {after}");
    }
    drop(log);
    let (log, _) = open_with(dir.path(), options);
    assert_eq!(ids(&log, 60), all.into_iter().filter(|(time, _)| *time > 60).collect::<Vec<_>>());
}

/// What is read ahead of the writer is read before it can be written.
#[test]
fn a_reader_reads_nothing_ahead_that_is_not_written() {
    let dir = dir();
    let disk = FaultyDisk::default();
    let options = LogOptions { compression: Compression::Off, ..options() };
    let (log, _) = try_open(dir.path(), options, Arc::new(disk.clone())).unwrap();
    for step in 0..4 {
        append(&log, &group("a", step * 2, &[4000, 4000])).unwrap();
    }
    assert_eq!(ids(&log, 0).len(), 32_000);
    let end = log.stat().bytes;
    assert!(disk.expected() > end / 2, "what was written is read ahead");
    assert!(disk.expected() <= end, "{} of {end}", disk.expected());
    // Who follows has what comes in memory; asking for each group would only cost time.
    let (mut asked, mut reader) = (0, log.reader(Time(8)));
    for step in 8..28 {
        append(&log, &group("a", step, &[1])).unwrap();
        assert!(reader.next().unwrap().is_some());
        // On its way to the end it asks.
        asked = if step == 8 { disk.asked() } else { asked };
    }
    assert_eq!(disk.asked(), asked);
}

#[test]
fn readers_follow_without_polling() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut reader = log.reader(Time::ZERO);
            scope.spawn(move || {
                let mut next = Time(1);
                while next < Time(201) {
                    let chunk = reader.next_blocking(PATIENCE).unwrap().expect("more comes");
                    assert_eq!(chunk.first, next);
                    next = chunk.last.next();
                }
            });
        }
        scope.spawn(|| {
            for step in 0..100 {
                append(&log, &group("s", step * 2, &[1, 1])).unwrap();
            }
        });
    });
}

#[test]
fn waiting_ends_with_the_transaction_or_with_the_time() {
    let dir = dir();
    let (log, _) = open(dir.path());
    assert_eq!(log.wait_past(Time::ZERO, Duration::from_millis(1)), Time(1));
    assert_eq!(log.reader(Time::ZERO).next_blocking(Duration::from_millis(1)).unwrap(), None);
    append(&log, &group("s", 0, &[1, 1])).unwrap();
    let start = Instant::now();
    assert_eq!(log.wait_past(Time(1), PATIENCE), Time(3));
    assert!(start.elapsed() < PATIENCE / 2, "nothing to wait for");
    assert_eq!(log.wait_past(Time(2), Duration::from_millis(1)), Time(3));
}
