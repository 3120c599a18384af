//! Who appends and waits writes itself when nobody else does: nothing else changes by that.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use change::Time;
use log::faults::FaultyDisk;
use log::{Compression, Log, LogError, LogOptions, OnFull, RealDisk};

use crate::world::{
    PATIENCE, append, append_later, dir, group, ids, now_us, open_with, options, small_segments,
    try_open,
};

fn faulty(dir: &Path) -> (Log, FaultyDisk) {
    let disk = FaultyDisk::default();
    let (log, _) = try_open(dir, small_segments(), Arc::new(disk.clone())).unwrap();
    (log, disk)
}

fn wait_until(mut what: impl FnMut() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn leaders_and_others_append_in_one_order() {
    const GROUPS: u64 = 150;
    let dir = dir();
    // A queue for about two groups, so that leaders meet a full one, too.
    let options = LogOptions { queue_bytes_max: 600, ..small_segments() };
    let (log, _) = open_with(dir.path(), options);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let log = &log;
            scope.spawn(move || {
                let mut last = None;
                for step in 0..GROUPS {
                    let time = log.append_durably(&group(name, step, &[2])).unwrap();
                    assert!(log.upper() > time, "it is durable, and visible");
                    assert!(last.replace(time).is_none_or(|last| last < time));
                }
            });
        }
        for name in ["c", "d"] {
            let log = &log;
            scope.spawn(move || {
                let waiting =
                    (0..GROUPS).map(|step| append_later(log, &group(name, step, &[2])).unwrap());
                let waiting: Vec<_> = waiting.collect();
                let times = waiting.iter().map(|told| told.recv_timeout(PATIENCE).unwrap());
                let times: Vec<_> = times.map(Result::unwrap).collect();
                assert!(times.is_sorted(), "in the order of appending");
            });
        }
    });
    let times: BTreeSet<u64> = ids(&log, 0).into_iter().map(|(time, _)| time).collect();
    assert_eq!(times, (1..=4 * GROUPS).collect());
}

#[test]
fn a_leader_without_room_is_refused_and_the_writer_looks_for_room() {
    let dir = dir();
    let (log, disk) = faulty(dir.path());
    log.append_durably(&group("s", 1, &[1])).unwrap();
    disk.set_room(Some(0));
    disk.set_writable(Some(0));
    let refused = log.append_durably(&group("s", 2, &[200])).unwrap_err();
    assert_eq!(refused.code(), "LOG002");
    assert_eq!(log.full().unwrap().code(), "LOG002");
    disk.set_room(None);
    disk.set_writable(None);
    // Nobody appends; its thread was told by the leader.
    wait_until(|| log.full().is_none());
    log.append_durably(&group("s", 3, &[1])).unwrap();
    assert_eq!(ids(&log, 0).len(), 2);
}

/// A group whose checksum is computed when its payload was written, and its bytes at least.
fn large(step: u64) -> (change::TransactionGroup, u64) {
    (group("s", step, &[6_000]), 64 << 10)
}

#[test]
fn a_large_group_whose_header_found_no_room_is_not_there() {
    let dir = dir();
    let disk = FaultyDisk::default();
    // All of one size.
    let options = || LogOptions { compression: Compression::Off, ..options() };
    let open = || try_open(dir.path(), options(), Arc::new(disk.clone())).unwrap().0;
    let log = open();
    log.append_durably(&large(1).0).unwrap();
    let before = log.stat().bytes;
    log.append_durably(&large(2).0).unwrap();
    let frame = log.stat().bytes - before;
    assert!(frame > large(2).1);
    // The payload fits, and the header that is written behind it does not.
    for room in [frame, frame + 63] {
        disk.set_writable(Some(room));
        let refused = log.append_durably(&large(3).0).unwrap_err();
        assert_eq!(refused.code(), "LOG002", "{room} bytes");
        disk.set_writable(None);
        assert_eq!(ids(&log, 0).len(), 12_000);
    }
    log.append_durably(&large(4).0).unwrap();
    drop(log);
    assert_eq!(ids(&open(), 0).len(), 18_000);
}

#[test]
fn a_crash_under_a_large_group_looks_like_no_damage() {
    for seed in 1..40_u64 {
        let dir = dir();
        let disk = FaultyDisk::default();
        let open = || try_open(dir.path(), options(), Arc::new(disk.clone())).unwrap().0;
        let log = open();
        log.append_durably(&large(1).0).unwrap();
        disk.fail_sync_after(0);
        log.append_durably(&large(2).0).unwrap_err();
        disk.crash();
        drop(log);
        // Some blocks were on the disk, whichever these were.
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let kept = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % 40 > seed
        };
        disk.restart(kept).unwrap();
        let log = open();
        let found = ids(&log, 0).len();
        assert!(found == 6_000 || found == 12_000, "{found}");
        log.append_durably(&large(3).0).unwrap();
        assert_eq!(ids(&log, 0).len(), found + 6_000);
    }
}

#[test]
fn who_does_not_wait_for_room_does_not_wait_behind_those_who_do() {
    let dir = dir();
    let disk = FaultyDisk::default();
    let options = LogOptions { queue_bytes_max: 1, ..small_segments() };
    let (log, _) = try_open(dir.path(), options, Arc::new(disk.clone())).unwrap();
    log.append_durably(&group("s", 1, &[1])).unwrap();
    disk.set_room(Some(0));
    disk.set_writable(Some(0));
    let (sender, waiting) = std::sync::mpsc::channel();
    let done = Box::new(move |result| sender.send(result).unwrap_or(()));
    log.append_with(&group("s", 2, &[200]), OnFull::Wait, done).unwrap();
    // It fills the queue.
    for refused in [
        log.append_durably(&group("own", 1, &[1])).map(drop),
        append(&log, &group("own", 2, &[1])).map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code(), "LOG002");
    }
    disk.set_room(None);
    disk.set_writable(None);
    assert_eq!(waiting.recv_timeout(PATIENCE).unwrap().unwrap(), Time(2));
}

#[test]
fn a_sync_that_fails_under_a_leader_ends_the_log() {
    let dir = dir();
    let (log, disk) = faulty(dir.path());
    log.append_durably(&group("s", 1, &[1])).unwrap();
    disk.fail_sync_after(0);
    let failed = log.append_durably(&group("s", 2, &[1])).unwrap_err();
    assert!(matches!(failed, LogError::SyncFailed { .. }), "{failed:?}");
    assert!(matches!(log.failure(), Some(LogError::SyncFailed { .. })));
    let refused = log.append_durably(&group("s", 3, &[1])).unwrap_err();
    assert!(matches!(refused, LogError::SyncFailed { .. }), "{refused:?}");
    log.close();
}

#[test]
fn a_log_that_is_closed_has_all_that_its_leaders_were_told() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    let mut acknowledged: Vec<u64> = std::thread::scope(|scope| {
        let lead = |name: &'static str| {
            let log = &log;
            scope.spawn(move || {
                let mut times = Vec::new();
                for step in 0.. {
                    match log.append_durably(&group(name, step, &[1])) {
                        Ok(time) => times.push(time.0),
                        Err(LogError::Closed) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                times
            })
        };
        let leaders = ["a", "b", "c"].map(lead);
        wait_until(|| log.upper().0 > 50);
        log.close();
        leaders.into_iter().flat_map(|leader| leader.join().unwrap()).collect()
    });
    acknowledged.sort_unstable();
    drop(log);
    let (log, recovery) = open_with(dir.path(), small_segments());
    assert_eq!(recovery.cut_bytes, 0, "it was closed");
    assert_eq!(ids(&log, 0).into_iter().map(|(time, _)| time).collect::<Vec<_>>(), acknowledged);
}

static BROKEN: AtomicBool = AtomicBool::new(false);

/// A clock that panics once it is broken.
fn clock() -> i64 {
    assert!(!BROKEN.load(Ordering::Relaxed), "the clock is broken");
    now_us()
}

#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    let dir = dir();
    let (log, _) = Log::open(dir.path(), small_segments(), Arc::new(RealDisk), clock).unwrap();
    log.append_durably(&group("s", 1, &[1])).unwrap();
    BROKEN.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| log.append_durably(&group("s", 2, &[1])));
        // It panics, or is told when the thread did.
        assert!(!matches!(leader.join(), Ok(Ok(_))));
    });
    match append_later(&log, &group("s", 3, &[1])) {
        Ok(told) => assert!(!matches!(told.recv_timeout(PATIENCE), Ok(Ok(_)))),
        Err(error) => assert!(matches!(error, LogError::Closed), "{error}"),
    }
    assert!(matches!(log.append_durably(&group("s", 4, &[1])), Err(LogError::Closed)));
    log.close();
}
