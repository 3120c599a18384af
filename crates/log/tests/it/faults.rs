//! A disk that fails: full, refusing to sync, crashing with any of its unsynced blocks lost.

use std::fs;
use std::sync::{Arc, mpsc};

use change::{Part, Time, TransactionGroup};
use log::faults::FaultyDisk;
use log::{Access, Log, LogError, LogOptions, OnFull};
use tempfile::TempDir;

use crate::meddled::meddled;
use crate::world::{
    PATIENCE, append, append_later, dir, group, ids, options, part, segments, small_segments,
    try_open,
};

fn open(dir: &TempDir, disk: &FaultyDisk, options: LogOptions) -> Log {
    try_open(dir.path(), options, Arc::new(disk.clone())).unwrap().0
}

#[test]
fn a_full_disk_refuses_what_does_not_wait_and_the_log_goes_on_with_room() {
    for (room, writable) in [(Some(5_000), None), (None, Some(5_000))] {
        let (dir, disk) = (dir(), FaultyDisk::default());
        let log = open(&dir, &disk, small_segments());
        let mut acknowledged = 0;
        for round in 1..=3 {
            disk.set_room(room);
            disk.set_writable(writable);
            let (mut error, begun) = (None, acknowledged);
            for step in 0..100 {
                match append(&log, &group("s", step, &[2])) {
                    Ok(time) => acknowledged = time.0,
                    Err(why) => error = error.or(Some(why)),
                }
            }
            let error = error.expect("the disk was full");
            assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
            assert!(error.help().unwrap().contains("room"));
            assert!((begun + 2..begun + 60).contains(&acknowledged), "{acknowledged}");
            assert_eq!(log.upper(), Time(acknowledged + 1), "nothing of what was refused");
            assert_eq!(log.full().unwrap().code(), "LOG002");
            assert!(log.failure().is_none());
            assert_eq!(ids(&log, 0).len() as u64, acknowledged * 2, "still readable");
            let (outside, found) = Log::open_read_only(dir.path(), Arc::new(disk.clone())).unwrap();
            assert_eq!((outside.upper(), found.cut_bytes), (log.upper(), 0), "nothing half there");
            disk.set_room(None);
            disk.set_writable(None);
            acknowledged = append(&log, &group("s", 500 + round, &[2])).unwrap().0;
            assert!(log.full().is_none());
        }
        drop(log);
        let log = open(&dir, &disk, small_segments());
        assert_eq!(log.upper(), Time(acknowledged + 1));
        assert_eq!(ids(&log, 0).len() as u64, acknowledged * 2);
    }
}

/// Appends a group that waits for room.
fn append_waiting(log: &Log, group: &TransactionGroup) -> mpsc::Receiver<Result<Time, LogError>> {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |result| sender.send(result).unwrap_or(()));
    log.append_with(group, OnFull::Wait, done).unwrap();
    receiver
}

#[test]
fn what_waits_for_room_is_written_in_its_order_when_there_is_some() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let log = open(&dir, &disk, small_segments());
    disk.set_room(Some(0));
    disk.set_writable(Some(0));
    let waiting: Vec<_> =
        (0..40).map(|step| append_waiting(&log, &group("s", step, &[2]))).collect();
    // Whoever does not wait is told, and is not behind those that do.
    let refused = append(&log, &group("own", 0, &[1])).unwrap_err();
    assert_eq!(refused.code(), "LOG002");
    assert!(waiting.iter().all(|waiting| waiting.try_recv().is_err()), "nobody else is told");
    disk.set_writable(None);
    disk.set_room(Some(2_000));
    assert_eq!(waiting[0].recv_timeout(PATIENCE).unwrap().unwrap(), Time(1), "as much as fits");
    disk.set_room(None);
    for (time, waiting) in (1..).zip(&waiting).skip(1) {
        assert_eq!(waiting.recv_timeout(PATIENCE).unwrap().unwrap(), Time(time));
    }
    let steps: Vec<i64> = ids(&log, 0).into_iter().map(|(_, id)| id / 1000).collect();
    assert_eq!(steps, (0..40).flat_map(|step| [step, step]).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_closed_on_a_full_disk_refuses_all_that_waits() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let log = open(&dir, &disk, small_segments());
    append(&log, &group("s", 0, &[1])).unwrap();
    disk.set_room(Some(100));
    disk.set_writable(Some(1_000));
    // The second would find room, and must not be in the log without the first.
    let large = append_waiting(&log, &group("s", 1, &[200]));
    let small = append_waiting(&log, &group("s", 2, &[1]));
    log.close();
    for waiting in [large, small] {
        assert_eq!(waiting.recv_timeout(PATIENCE).unwrap().unwrap_err().code(), "LOG002");
    }
    assert_eq!(log.upper(), Time(2));
    drop(log);
    disk.set_room(None);
    disk.set_writable(None);
    assert_eq!(ids(&open(&dir, &disk, small_segments()), 0).len(), 1);
}

#[test]
fn once_a_part_was_refused_so_is_the_rest_of_its_transaction() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let log = open(&dir, &disk, options());
    append(&log, &part("s", Part::First, 1, &[3])).unwrap();
    disk.set_room(Some(0));
    disk.set_writable(Some(0));
    append(&log, &part("s", Part::Middle, 1, &[3])).unwrap_err();
    disk.set_room(None);
    disk.set_writable(None);
    let refused = append(&log, &part("s", Part::Last, 1, &[3])).unwrap_err();
    assert_eq!(refused.code(), "LOG002", "it would be visible without its middle");
    append(&log, &group("other", 1, &[1])).unwrap();
    assert_eq!(ids(&log, 0).len(), 1);
    for part_of in [Part::First, Part::Last] {
        append(&log, &part("s", part_of, 1, &[3])).unwrap();
    }
    assert_eq!(ids(&log, 0).len(), 7, "sent again from its beginning, it is there");
}

#[test]
fn what_was_cut_off_a_full_disk_stays_away_whatever_a_crash_keeps() {
    for keep in [false, true] {
        let (dir, disk) = (dir(), FaultyDisk::default());
        let log = open(&dir, &disk, options());
        append(&log, &group("s", 0, &[1])).unwrap();
        // The first frame of the write would be whole.
        disk.set_room(Some(0));
        disk.set_writable(Some(700));
        append(&log, &group("s", 1, &[90])).unwrap_err();
        disk.set_room(None);
        disk.set_writable(None);
        append(&log, &group("s", 2, &[1])).unwrap();
        let before = ids(&log, 0);
        disk.crash();
        drop(log);
        disk.restart(|| keep).unwrap();
        let (log, recovery) = try_open(dir.path(), options(), Arc::new(disk.clone())).unwrap();
        assert_eq!((ids(&log, 0), recovery.cut_bytes), (before, 0));
    }
}

#[test]
fn a_disk_without_room_ahead_is_used_to_its_last_frame() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let log = open(&dir, &disk, options());
    let before = log.stat().bytes;
    let room = 20_000;
    disk.set_room(Some(room));
    let (mut acknowledged, mut largest) = (0, 0);
    let error = loop {
        let bytes = log.stat().bytes;
        match append(&log, &group("s", acknowledged, &[2])) {
            Ok(time) => acknowledged = time.0,
            Err(error) => break error,
        }
        largest = largest.max(log.stat().bytes - bytes);
    };
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
    let written = log.stat().bytes - before;
    assert!(written <= room && room - written < largest, "{written} of {room} bytes");
    // What did not suffice was given back.
    let length = fs::metadata(&segments(dir.path())[0]).unwrap().len();
    assert_eq!(length, log.stat().bytes);
}

#[test]
fn what_cannot_be_read_back_is_not_written_over() {
    let dir = dir();
    let log = open(&dir, &FaultyDisk::default(), options());
    append(&log, &group("s", 0, &[1])).unwrap();
    drop(log);
    let file = segments(dir.path()).remove(0);
    let before = fs::read(&file).unwrap();
    let short = meddled(|access, read| match access {
        Access::Read => read,
        Access::Write => read / 2,
    });
    let error = try_open(dir.path(), options(), Arc::new(short)).err().unwrap();
    assert!(matches!(error, LogError::Io { action: "repair", .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before, "nothing was touched");
}

#[test]
fn a_failed_sync_is_told_to_everyone_and_never_tried_again() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let log = open(&dir, &disk, options());
    append(&log, &group("s", 0, &[1])).unwrap();
    let mut reader = log.reader(Time(1));
    disk.fail_sync_after(0);
    let waiting: Vec<_> = (1..20).map(|step| append_later(&log, &group("s", step, &[1]))).collect();
    for waiting in waiting {
        let result = waiting.and_then(|waiting| waiting.recv().expect("everyone is told"));
        assert!(matches!(result, Err(LogError::SyncFailed { .. })), "{result:?}");
    }
    // The disk would say yes again by now. Nobody asks.
    assert_eq!(append(&log, &group("s", 90, &[1])).unwrap_err().code(), "LOG003");
    assert_eq!(log.upper(), Time(2), "what was not confirmed is not visible");
    let told = reader.next_blocking(std::time::Duration::from_secs(60)).unwrap_err();
    assert_eq!(told.code(), "LOG003");
}

#[test]
fn what_a_failed_sync_left_is_durable_before_it_is_read_again() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let log = open(&dir, &disk, options());
    append(&log, &group("s", 0, &[1])).unwrap();
    disk.fail_sync_after(0);
    append(&log, &group("s", 1, &[1])).unwrap_err();
    drop(log);
    // Without a crash the frame is readable, whether it is on disk or not. So it must be put there.
    let log = open(&dir, &disk, options());
    let found = ids(&log, 0);
    assert_eq!(found.len(), 2);
    disk.crash();
    drop(log);
    disk.restart(|| false).unwrap();
    assert_eq!(ids(&open(&dir, &disk, options()), 0), found, "what was read once stays");
}

#[test]
fn no_crash_loses_what_was_acknowledged_or_looks_like_damage() {
    for seed in 1..=60_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % limit
        };
        let (dir, disk) = (dir(), FaultyDisk::default());
        let (mut acknowledged, mut step) = (0, 0);
        for _life in 0..6 {
            let log = open(&dir, &disk, small_segments());
            let found = ids(&log, 0);
            let upper = log.upper().0;
            assert!(upper > acknowledged, "seed {seed}: {upper} after {acknowledged}");
            assert_eq!(found.len() as u64, (upper - 1) * 3, "seed {seed}: whole transactions");
            acknowledged = upper - 1;
            for _ in 0..below(6) {
                step += 1;
                acknowledged = append(&log, &group("s", step, &[3])).unwrap().0;
            }
            // What is queued during a sync is one write of several frames; its own sync fails.
            disk.fail_sync_after(below(2));
            let mut waiting = Vec::new();
            for _ in 0..below(8) {
                step += 1;
                waiting.extend(append_later(&log, &group("s", step, &[3])));
                if below(3) == 0 {
                    drop(append_later(&log, &part("p", Part::First, step, &[9])));
                }
            }
            for waiting in waiting {
                if let Ok(time) = waiting.recv().expect("everyone is told") {
                    acknowledged = time.0;
                }
            }
            drop(log);
            disk.crash();
            disk.restart(|| below(2) == 0).unwrap();
        }
    }
}
