//! Copies of a log: what belongs to one, also while it is written, and ending one at any Time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use change::{Part, SourcePosition, Time};
use log::{Chunk, Disk, FoldOutcome, Log, LogError, LogFiles, LogOptions, RealDisk, cut};
use tempfile::TempDir;

use crate::retention::{State, busy, fold, read_only, states, wanted};
use crate::world::{append, dir, group, ids, open_with, part, read, segments, small_segments};

/// A log of 29 transactions in several segments: frames of many, and one transaction in parts that others come between.
fn written() -> (TempDir, Log) {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    for step in 0..3 {
        append(&log, &group("a", 1 + step * 5, &[1, 0, 3, 2, 1])).unwrap();
        append(&log, &group("b", 1 + step, &[40])).unwrap();
    }
    append(&log, &part("c", Part::First, 1, &[30])).unwrap();
    append(&log, &group("a", 16, &[1, 2, 3])).unwrap();
    append(&log, &part("c", Part::Middle, 1, &[60])).unwrap();
    append(&log, &group("a", 19, &[2, 1])).unwrap();
    append(&log, &part("c", Part::Last, 1, &[30])).unwrap();
    append(&log, &group("b", 4, &[1, 1, 1, 1, 1])).unwrap();
    (dir, log)
}

/// Copies what the log says belongs to it.
fn copy(log: &Log, from: &Path, upper: u64) -> TempDir {
    let files = log.files(Time(upper)).unwrap();
    for file in files.files.iter().filter(|file| file.name == file.path) {
        let bytes = fs::read(from.join(&file.name)).unwrap();
        let listed = file.read(0, usize::try_from(file.bytes).unwrap()).unwrap();
        assert!(bytes[..listed.len()] == listed);
    }
    written_to(&files)
}

/// Writes down what was listed.
fn written_to(files: &LogFiles) -> TempDir {
    let to = dir();
    for file in &files.files {
        let path = to.path().join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file.read(0, usize::try_from(file.bytes).unwrap()).unwrap()).unwrap();
    }
    to
}

/// The changes of each transaction, by Time, in the order of their rows.
fn transactions(log: &Log) -> Vec<(u64, i64)> {
    ids(log, 0)
}

fn up_to(last: u64, all: &[(u64, i64)]) -> Vec<(u64, i64)> {
    all.iter().copied().filter(|(time, _)| *time <= last).collect()
}

fn real_disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

#[test]
fn what_is_listed_is_a_log_wherever_a_frame_ends() {
    let (from, log) = written();
    let all = transactions(&log);
    let ends: Vec<u64> = read(&log, 0).iter().map(|chunk| chunk.last.0).collect();
    for last in ends {
        let copied = copy(&log, from.path(), last + 1);
        let (opened, recovery) = open_with(copied.path(), small_segments());
        assert_eq!((opened.upper(), recovery.cut_bytes), (Time(last + 1), 0));
        assert_eq!(transactions(&opened), up_to(last, &all), "up to {last}");
    }
}

#[test]
fn what_was_listed_only_grows() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    let mut before = log.files(log.upper()).unwrap();
    assert_eq!((before.since, before.upper, before.files.len()), (Time(0), Time(1), 1));
    for step in 0..20 {
        let bytes = |name: &str| fs::read(dir.path().join(name)).unwrap();
        let was: Vec<Vec<u8>> = before.files.iter().map(|file| bytes(&file.name)).collect();
        append(&log, &group("a", 1 + step, &[20])).unwrap();
        let now = log.files(log.upper()).unwrap();
        for (file, was) in before.files.iter().zip(was) {
            let found = now.files.iter().find(|found| found.name == file.name).unwrap();
            assert!(found.bytes >= file.bytes);
            let durable = usize::try_from(file.bytes).unwrap();
            assert_eq!(bytes(&file.name)[..durable], was[..durable]);
        }
        before = now;
    }
    assert!(before.files.len() > 2, "several segments");
}

/// A chunk without what a log that was cut has otherwise: how its transactions are grouped.
fn ungrouped(chunks: Vec<Chunk>) -> Vec<(u64, Arc<str>, i64, Option<SourcePosition>)> {
    let of = |chunk: Chunk| {
        let (first, source, written) = (chunk.first.0, chunk.source, chunk.wall_clock_us);
        (first..)
            .zip(chunk.heads)
            .map(move |(time, head)| (time, Arc::clone(&source), written, head.position))
    };
    chunks.into_iter().flat_map(of).collect()
}

#[test]
fn a_copy_can_end_at_every_time_and_goes_on_from_there() {
    let (from, log) = written();
    let (all, heads) = (transactions(&log), ungrouped(read(&log, 0)));
    let upper = log.upper().0;
    let audit = |log: &Log, size: u64| log.audit(&[size], 0).unwrap().roots[&size];
    let mut within = 0;
    for last in 1..upper {
        let copied = copy(&log, from.path(), upper);
        let kept = log.kept_by_cut(Time(last)).unwrap();
        let done = cut(copied.path(), Time(last), [9; 16], &real_disk()).unwrap();
        assert_eq!(done.kept, kept);
        within += u64::from(done.kept.0 < last);
        let (opened, recovery) = open_with(copied.path(), small_segments());
        assert_eq!((opened.upper(), recovery.log_id), (Time(last + 1), [9; 16]));
        assert_eq!(transactions(&opened), up_to(last, &all), "up to {last}");
        let same: Vec<_> = heads.iter().filter(|head| head.0 <= last).cloned().collect();
        let chunks = read(&opened, 0);
        // A transaction in parts comes in several chunks.
        let mut found = ungrouped(chunks);
        found.dedup();
        let mut same = same;
        same.dedup();
        assert_eq!(found, same, "up to {last}");
        assert_eq!(audit(&opened, done.kept.0), audit(&log, done.kept.0), "the same leaves");
        let time = append(&opened, &group("a", 100, &[1])).unwrap();
        assert_eq!(time, Time(last + 1));
    }
    assert!(within > 5, "some Times lie within a frame");
}

#[test]
fn a_log_that_was_cut_has_its_new_name_in_every_segment() {
    let (from, log) = written();
    let copied = copy(&log, from.path(), log.upper().0);
    let last = Time(log.upper().0 - 1);
    cut(copied.path(), last, [9; 16], &real_disk()).unwrap();
    let files = segments(copied.path());
    assert!(files.len() > 2);
    for file in files {
        let bytes = fs::read(file).unwrap();
        assert_eq!(bytes[128..144], [9; 16]);
    }
    let (opened, _) = Log::open_read_only(copied.path(), real_disk()).unwrap();
    opened.audit(&[], 0).unwrap();
    let options = LogOptions { log_id: None, ..small_segments() };
    let (opened, recovery) = open_with(copied.path(), options);
    assert_eq!((opened.upper(), recovery.log_id), (last.next(), [9; 16]));
}

/// Whether a copy says what the log said, is whole, and goes on.
fn check_copy(copied: &Path, expected: &BTreeMap<u64, State>, upper: Time) {
    let log = read_only(copied);
    let found = states(log.reader(Time::ZERO));
    let first = found.first_key_value().map_or(0, |(time, _)| *time);
    assert_eq!(first, log.stat().since.0.max(1));
    let expected: BTreeMap<u64, State> =
        expected.range(first..upper.0).map(|(time, state)| (*time, state.clone())).collect();
    assert_eq!(found, expected);
    let audit = log.audit(&[], 0).unwrap();
    assert_eq!(audit.wrong_bases, []);
    let (log, recovery) = open_with(copied, small_segments());
    assert_eq!((recovery.cut_bytes, recovery.upper), (0, upper));
    append(&log, &group("s", 9_000, &[1])).unwrap();
}

#[test]
fn a_folded_log_is_copied_and_what_was_written_anew_has_another_name() {
    let from = dir();
    let log = busy(from.path());
    let expected = states(log.reader(Time::ZERO));
    let names = |files: &LogFiles| -> BTreeSet<String> {
        files.files.iter().map(|file| file.name.clone()).collect()
    };
    let (before, upper) = (log.files(log.upper()).unwrap(), log.upper());
    assert!(fold(&log, &[("short", 90)]));
    let once = log.files(log.upper()).unwrap();
    assert_eq!((&once.folded, once.since), (&log.folded(), log.stat().since));
    // What a base must hold is signed only when the transaction is that says it.
    let said = log.folds_said_by(&once.folded).unwrap().unwrap();
    assert!(once.since < said && said < log.upper());
    let unsigned = |signed: u64| log.audit(&[], signed).unwrap().unsigned_bases.len();
    assert_eq!((unsigned(said.0), unsigned(said.0 - 1), unsigned(0)), (0, once.folded.len(), 0));
    assert!(fold(&log, &[("short", 180), ("kept", 100)]));
    let twice = log.files(log.upper()).unwrap();
    // What was listed stays readable, and under another name than what is there now.
    check_copy(written_to(&before).path(), &expected, upper);
    check_copy(written_to(&twice).path(), &states(log.reader(Time::ZERO)), log.upper());
    let gone: Vec<String> = names(&before).difference(&names(&twice)).cloned().collect();
    assert!(gone.len() > 10, "{gone:?}");
    for file in &twice.files {
        let held = fs::metadata(from.path().join(&file.path)).unwrap().len();
        assert!(file.bytes <= held, "{file:?}");
        let rewritten = file.name.strip_prefix(&format!("{}.", file.path));
        if file.path.ends_with(".log") && rewritten.is_some() {
            assert_eq!(rewritten, Some(&*held.to_string()));
        }
        // A crash may make its number another base's.
        if file.path.ends_with(".base") {
            let of = twice.folded.iter().filter(|of| rewritten == Some(&*of.hash.to_string()));
            assert_eq!(of.count(), 1, "{file:?}");
        }
    }
    // A log that ends right behind what was folded has a segment there to go on in.
    let since = log.stat().since;
    let ended = written_to(&log.files(since.next()).unwrap());
    assert_eq!(read_only(ended.path()).upper(), since.next());
    append(&open_with(ended.path(), small_segments()).0, &group("s", 9_000, &[1])).unwrap();
}

#[test]
fn a_copy_made_at_any_step_of_a_fold_is_a_log() {
    let from = dir();
    let log = busy(from.path());
    let mut expected = states(log.reader(Time::ZERO));
    let mut copies = vec![(log.files(log.upper()).unwrap(), log.upper())];
    // The process that writes, and one that copies beside it.
    let beside = read_only(from.path());
    let of = wanted(&[("short", 150)]);
    let begun = log.prepare_fold(&of, &mut |_| true).unwrap().unwrap();
    append(&log, &begun.record()).unwrap();
    expected.extend(states(log.reader(Time::ZERO)));
    let upper = log.upper();
    copies.push((log.files(upper).unwrap(), upper));
    let mut step = |_: u64| {
        beside.refresh().unwrap();
        copies.push((beside.files(upper).unwrap(), upper));
        true
    };
    assert_eq!(begun.commit(&mut step).unwrap(), FoldOutcome::Done);
    copies.push((log.files(upper).unwrap(), upper));
    let (mut folded, mut unfolded) = (0, 0);
    for (files, upper) in copies.iter().step_by(5).chain(copies.last()) {
        if files.since > Time::ZERO {
            folded += 1;
        } else {
            unfolded += 1;
        }
        check_copy(written_to(files).path(), &expected, *upper);
    }
    assert!(folded > 5 && unfolded >= 1, "{folded} of {}", folded + unfolded);
}

#[test]
fn a_folded_copy_can_end_at_every_time_that_is_kept_and_at_no_other() {
    let from = dir();
    let log = busy(from.path());
    assert!(fold(&log, &[("short", 150), ("kept", 60)]));
    let (upper, since) = (log.upper().0, log.stat().since.0);
    let expected = states(log.reader(Time::ZERO));
    let files = log.files(log.upper()).unwrap();
    for last in [1, since - 1] {
        let copied = written_to(&files);
        let refused = cut(copied.path(), Time(last), [9; 16], &real_disk()).unwrap_err();
        assert!(matches!(refused, LogError::Pruned { upto, .. } if upto.0 == since), "{refused}");
        assert_eq!(read_only(copied.path()).upper(), Time(upper), "nothing is touched");
    }
    let (mut tried, mut said_again) = (0, 0);
    for last in (since..upper).filter(|it| it - since < 4 || it % 7 == 0 || upper - it < 4) {
        tried += 1;
        let copied = written_to(&files);
        let done = cut(copied.path(), Time(last), [9; 16], &real_disk()).unwrap();
        let ended = last + 1 + u64::from(done.folds_said_again);
        said_again += u64::from(done.folds_said_again);
        let cut = read_only(copied.path());
        assert_eq!((cut.upper().0, cut.stat().since.0), (ended, since), "up to {last}");
        let mut kept: BTreeMap<u64, State> =
            expected.range(..=last).map(|(time, state)| (*time, state.clone())).collect();
        if done.folds_said_again {
            kept.insert(last + 1, expected[&last].clone());
        }
        check_copy(copied.path(), &kept, Time(ended));
    }
    assert_eq!(said_again, tried - 1, "the last transaction says it");
}
