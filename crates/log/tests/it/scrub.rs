//! Damage is found wherever it is, told with its place, and repaired from a copy that was checked.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use change::Time;
use log::format::{FrameKind, Header};
use log::notary::proof_dir;
use log::{
    Compression, CopiedDirectory, Damage, DamageKind, Disk, Log, LogOptions, Notary, RealDisk,
    Repaired, ScrubOptions, Scrubbed,
};
use proof::Signer;
use tempfile::TempDir;

use crate::world::{
    PATIENCE, append, dir, frames, group, ids, open_with, options, segments, small_segments,
};

/// The transactions of a [`log_of_segments`].
const TRANSACTIONS: u64 = 600;

/// A signed log of several segments, with indexes, at rest; and a copy of it.
fn log_of_segments() -> (TempDir, TempDir) {
    let (place, copy) = (dir(), dir());
    let (log, _) = open_with(place.path(), small_segments());
    for step in 0..TRANSACTIONS / 20 {
        append(&log, &group("s", step * 20, &[1; 20])).unwrap();
    }
    sign_and_copy(log, &place, &copy);
    (place, copy)
}

/// Signs all of a log, ends it and copies it.
fn sign_and_copy(log: Log, place: &TempDir, copy: &TempDir) {
    let signer = Signer::from_seed("log/test", &[3; 32]).unwrap();
    let mut notary = Notary::open(&log, signer).unwrap();
    while notary.step().unwrap().is_some() {}
    notary.publish().unwrap();
    notary.settle().unwrap();
    drop((notary, log));
    copy_all(place.path(), copy.path());
}

pub(crate) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

pub(crate) fn scrub(dir: &Path) -> Scrubbed {
    log::scrub(dir, &disk(), 7, |_| ControlFlow::Continue(())).unwrap()
}

pub(crate) fn repair(dir: &Path, copy: Option<&Path>) -> Repaired {
    let mut copies = copy.map(|copy| CopiedDirectory::open(disk(), copy).unwrap());
    let copies = copies.as_mut().map(|copies| copies as &mut dyn log::Copies);
    log::repair::repair(dir, &disk(), copies, 7).unwrap()
}

/// Changes a file.
pub(crate) fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn transactions(path: &Path) -> Vec<Header> {
    let mut headers = frames(&fs::read(path).unwrap());
    headers.retain(|header| header.kind == FrameKind::Transactions);
    headers
}

#[test]
fn a_log_in_order_has_no_damage_and_all_of_it_is_compared() {
    let (place, _copy) = log_of_segments();
    let scrubbed = scrub(place.path());
    assert_eq!((scrubbed.damage, scrubbed.compared), (vec![], TRANSACTIONS));
    assert!(scrubbed.segments > 5 && scrubbed.tiles >= 2 && scrubbed.closed.is_none());
    let repaired = repair(place.path(), None);
    assert_eq!((repaired.restored, repaired.kept, repaired.made_again), (vec![], vec![], 0));
}

#[test]
fn all_damage_is_told_with_its_place_its_transactions_and_its_tables() {
    let (place, _copy) = log_of_segments();
    let files = segments(place.path());
    let (first, last) = (transactions(&files[2]).remove(0), transactions(&files[4]).pop().unwrap());
    change(&files[2], |bytes| bytes[first.place.offset as usize + 200] ^= 1);
    change(&files[4], |bytes| bytes[last.place.offset as usize + 20] ^= 1);
    let scrubbed = scrub(place.path());
    let expected = |header: &Header| Damage {
        kind: DamageKind::Segment,
        file: format!("{:020}.log", header.place.segment),
        offset: header.place.offset,
        bytes: header.end() - header.place.offset,
        times: Some((header.first_time, Time(header.next_time().0 - 1))),
        tables: vec!["s.t".to_owned()],
        reason: String::new(),
        since_us: 7,
    };
    let found: Vec<Damage> =
        scrubbed.damage.into_iter().map(|d| Damage { reason: String::new(), ..d }).collect();
    assert_eq!(found, [expected(&first), expected(&last)]);
}

#[test]
fn a_bit_that_turns_over_anywhere_in_a_sealed_segment_is_found_and_repaired() {
    let (place, copy) = log_of_segments();
    let path = segments(place.path()).remove(1);
    let good = fs::read(&path).unwrap();
    let ends: Vec<(usize, usize)> = frames(&good)
        .iter()
        .map(|header| ((header.place.offset + header.bytes()) as usize, header.end() as usize))
        .collect();
    for at in (0..good.len()).step_by(151) {
        change(&path, |bytes| bytes[at] ^= 0x10);
        let found = scrub(place.path()).damage;
        // Zeros behind a frame's payload are nothing's.
        let is_padding = ends.iter().any(|(from, until)| (*from..*until).contains(&at));
        assert_eq!(found.is_empty(), is_padding, "byte {at}: {found:?}");
        let repaired = repair(place.path(), Some(copy.path()));
        assert_eq!((repaired.left, repaired.refused.len()), (vec![], 0), "byte {at}");
        if !is_padding {
            assert!(fs::read(&path).unwrap() == good, "byte {at}");
            assert_eq!((repaired.restored.len(), repaired.kept.len()), (1, 1));
        }
        fs::write(&path, &good).unwrap();
    }
}

/// What is done to a log's segments, and whether it can still be opened.
type Harm = fn(&[PathBuf]);

const HARMS: [(&str, Harm); 8] = [
    ("the last one's preamble and all", |files| {
        change(files.last().unwrap(), |bytes| bytes.fill(7));
    }),
    ("the first is missing", |files| fs::remove_file(&files[0]).unwrap()),
    ("missing", |files| fs::remove_file(&files[2]).unwrap()),
    ("empty", |files| change(&files[2], Vec::clear)),
    ("cut", |files| change(&files[2], |bytes| bytes.truncate(bytes.len() / 2))),
    ("preamble", |files| change(&files[2], |bytes| bytes[150] ^= 1)),
    ("two preambles and a hole", |files| {
        change(&files[2], |bytes| bytes[10] ^= 1);
        change(&files[3], |bytes| bytes[10] ^= 1);
        change(&files[4], |bytes| bytes[1_000..3_000].fill(0));
    }),
    ("the last one", |files| change(files.last().unwrap(), |bytes| bytes[400] ^= 1)),
];

#[test]
fn whatever_happened_to_segments_a_copy_brings_them_back_byte_for_byte() {
    for (name, harm) in HARMS {
        let (place, copy) = log_of_segments();
        let files = segments(place.path());
        let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        harm(&files);
        assert!(!scrub(place.path()).damage.is_empty(), "{name}");
        let repaired = repair(place.path(), Some(copy.path()));
        assert_eq!((repaired.left, repaired.compared), (vec![], TRANSACTIONS), "{name}");
        let after: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(before == after, "{name}");
        let (log, _) = open_with(place.path(), small_segments());
        assert_eq!(ids(&log, 0).len() as u64, TRANSACTIONS, "{name}");
        append(&log, &group("s", 9_000, &[1])).unwrap();
    }
}

#[test]
fn a_write_that_did_not_finish_is_no_damage() {
    let (place, _copy) = log_of_segments();
    let last = segments(place.path()).pop().unwrap();
    let end = transactions(&last).pop().unwrap();
    // Without the frame that closed it, and with half of the last one.
    change(&last, |bytes| bytes.truncate(end.place.offset as usize + 100));
    let found = scrub(place.path());
    // It was signed, so the log must not be cut there; but no segment is damaged.
    assert!(found.damage.iter().all(|damage| damage.kind == DamageKind::Derived), "{found:?}");
}

#[test]
fn a_copy_that_does_not_help_is_refused_and_nothing_is_touched() {
    let (place, copy) = log_of_segments();
    let (other, _) = log_of_segments();
    let path = segments(place.path()).remove(2);
    let hit = transactions(&path).remove(1);
    let at = hit.place.offset as usize + 300;
    change(&path, |bytes| bytes[at] ^= 1);
    let damaged = fs::read(&path).unwrap();
    let check = |copy: &Path, says: &str| {
        let repaired = repair(place.path(), Some(copy));
        let why = repaired.refused.values().next().unwrap();
        assert!(why.contains(says), "{why}");
        assert_eq!((repaired.restored.len(), repaired.left.len()), (0, 1));
        assert!(fs::read(&path).unwrap() == damaged, "{says}");
        assert!(!place.path().join("damaged").exists());
        let names = segments(place.path());
        assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".repaired")));
    };
    let theirs = copy.path().join(path.file_name().unwrap());
    let good = fs::read(&theirs).unwrap();
    change(&theirs, |bytes| bytes[at + 1] ^= 1);
    check(copy.path(), "is damaged there too");
    change(&theirs, |bytes| bytes.truncate(at));
    check(copy.path(), "does not hold these bytes");
    fs::remove_file(&theirs).unwrap();
    check(copy.path(), "does not hold these bytes");
    fs::write(&theirs, good).unwrap();
    // The same transactions, written at other times: not a copy of this log.
    check(other.path(), "of another log");
    assert_eq!(repair(place.path(), Some(copy.path())).left, []);
}

/// Changes a text in a frame and makes its checksums right.
fn forge(path: &Path, header: &Header) {
    change(path, |bytes| {
        let (start, end) = (header.place.offset as usize, header.place.offset + header.bytes());
        let frame = &mut bytes[start..end as usize];
        let at = frame.windows(6).position(|bytes| bytes == b"number").unwrap();
        frame[at] = b'N';
        let payload = crc32c::crc32c(&frame[128..]);
        frame[88..92].copy_from_slice(&payload.to_le_bytes());
        let header = crc32c::crc32c(&frame[..124]);
        frame[124..128].copy_from_slice(&header.to_le_bytes());
    });
}

#[test]
fn a_transaction_that_is_not_what_was_signed_is_found_and_only_the_signed_one_put_back() {
    let (place, copy) = log_of_segments();
    let path = segments(place.path()).remove(1);
    let good = fs::read(&path).unwrap();
    let hit = transactions(&path).remove(1);
    forge(&path, &hit);
    let found = scrub(place.path()).damage;
    assert_eq!((found.len(), found[0].kind), (1, DamageKind::Altered));
    assert_eq!(found[0].times, Some((hit.first_time, Time(hit.next_time().0 - 1))));
    let theirs = copy.path().join(path.file_name().unwrap());
    forge(&theirs, &hit);
    let refused = repair(place.path(), Some(copy.path()));
    assert!(refused.refused.values().any(|why| why.contains("signed")), "{refused:?}");
    assert_eq!(refused.left.len(), 1);
    fs::write(&theirs, &good).unwrap();
    assert_eq!(repair(place.path(), Some(copy.path())).left, []);
    assert!(fs::read(&path).unwrap() == good);
}

#[test]
fn a_frame_of_the_segment_that_grows_is_put_back_from_an_older_copy_and_nothing_is_cut_off() {
    let (place, copy) = (dir(), dir());
    let options = || LogOptions { compression: Compression::Off, ..options() };
    let (log, _) = open_with(place.path(), options());
    let append_some = |log: &Log, steps: std::ops::Range<u64>| {
        for step in steps {
            append(log, &group("s", step, &[1])).unwrap();
        }
    };
    append_some(&log, 0..5);
    sign_and_copy(log, &place, &copy);
    let (log, _) = open_with(place.path(), options());
    append_some(&log, 5..10);
    drop(log);
    let path = segments(place.path()).pop().unwrap();
    let good = fs::read(&path).unwrap();
    forge(&path, &transactions(&path)[2]);
    assert_eq!(scrub(place.path()).damage[0].kind, DamageKind::Altered);
    let repaired = repair(place.path(), Some(copy.path()));
    assert_eq!((repaired.left, repaired.warnings), (vec![], vec![]));
    assert!(fs::read(&path).unwrap() == good);
}

#[test]
fn tiles_and_indexes_are_made_again_as_they_were() {
    let (place, _copy) = log_of_segments();
    let (log, _) = open_with(place.path(), small_segments());
    let signer = Signer::from_seed("log/test", &[3; 32]).unwrap();
    let interval = Duration::from_millis(1);
    log.start_notary(log::NotaryOptions { signer, interval }).unwrap();
    let index = place.path().join("index").join(format!("{:020}", 2));
    let since = Instant::now();
    while !index.exists() {
        assert!(since.elapsed() < PATIENCE, "the notary keeps indexes");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(log);
    let proofs = proof_dir(place.path());
    let files = [
        proofs.join("tile/0/000"),
        proofs.join("tile/0/001"),
        proofs.join(format!("tile/0/002.p/{}", TRANSACTIONS - 512)),
        proofs.join("tile/1/000.p/2"),
        index,
    ];
    let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for harmed in 0..files.len() {
        change(&files[harmed], |bytes| bytes[33] ^= 4);
        if harmed == 1 {
            fs::remove_file(&files[0]).unwrap();
        }
        let found = scrub(place.path()).damage;
        assert!(!found.is_empty(), "{harmed}");
        assert!(found.iter().all(|damage| damage.kind == DamageKind::Derived), "{found:?}");
        let repaired = repair(place.path(), None);
        assert_eq!((repaired.left, repaired.kept), (vec![], vec![]), "{harmed}");
        assert!(repaired.made_again > 0);
        let after: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(before == after, "{harmed}");
    }
}

#[test]
fn what_cannot_be_compared_with_what_was_signed_is_put_back_with_a_warning() {
    let (place, copy) = log_of_segments();
    let path = segments(place.path()).remove(1);
    change(&path, |bytes| bytes[500] ^= 1);
    assert_eq!(repair(place.path(), Some(copy.path())).warnings, Vec::<String>::new());
    change(&path, |bytes| bytes[500] ^= 1);
    change(&proof_dir(place.path()).join("tile/0/000"), |bytes| bytes.truncate(100));
    let Repaired { left, warnings, .. } = repair(place.path(), Some(copy.path()));
    assert_eq!((left, warnings.len()), (vec![], 1));
    assert!(warnings[0].contains("could be compared with what was signed"), "{warnings:?}");
}

#[test]
fn tiles_below_a_tile_that_is_bad_too_are_made_again() {
    let (place, _copy) = log_of_segments();
    let proofs = proof_dir(place.path());
    let edge = proofs.join("tile/1/000.p/2");
    let files = [proofs.join("tile/0/000"), proofs.join("tile/0/001"), edge.clone()];
    let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let flip = |path: &Path| change(path, |bytes| bytes[33] ^= 4);
    let harms: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes[33] ^= 4, |bytes| bytes.truncate(100), |bytes| bytes.clear()];
    for harm in harms {
        change(&files[0], harm);
        flip(&edge);
        let repaired = repair(place.path(), None);
        assert_eq!((repaired.left, repaired.made_again >= 2), (vec![], true));
        let after: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(before == after);
    }
    // What was changed in the segments is not covered up by that.
    let path = segments(place.path()).remove(1);
    forge(&path, &transactions(&path)[1]);
    flip(&files[0]);
    flip(&edge);
    let left = repair(place.path(), None).left;
    assert!(left.iter().any(|damage| damage.kind != DamageKind::Derived), "{left:?}");
}

#[test]
fn a_running_log_is_scrubbed_and_says_what_is_damaged_until_it_is_repaired() {
    let (place, copy) = log_of_segments();
    let path = segments(place.path()).remove(2);
    change(&path, |bytes| bytes[500] ^= 1);
    fs::write(proof_dir(place.path()).join("tile/0/001"), [1; 9]).unwrap();
    let (log, _) = open_with(place.path(), small_segments());
    let options = ScrubOptions { delay: Duration::ZERO, ..ScrubOptions::default() };
    log.start_scrubbing(options).unwrap();
    let until = |log: &Log, passes: u64| {
        let since = Instant::now();
        while log.scrubbed().passes < passes {
            assert!(since.elapsed() < PATIENCE, "{passes} passes");
            std::thread::sleep(Duration::from_millis(5));
        }
        log.scrubbed()
    };
    let state = until(&log, 1);
    let found: Vec<(DamageKind, u64)> = state.damage.iter().map(|d| (d.kind, d.bytes)).collect();
    assert!(found.iter().any(|(kind, bytes)| *kind == DamageKind::Segment && *bytes > 64));
    assert!(state.bytes > 0 && state.made_again == 1, "the tile was: its leaves can be read");
    let since_us = state.damage[0].since_us;
    append(&log, &group("s", 9_000, &[1])).unwrap();
    log.scrub_now();
    assert_eq!(until(&log, 2).damage[0].since_us, since_us, "known since then");
    drop(log);
    // Known at rest, and after the next start.
    let (at_rest, _) = Log::open_read_only(place.path(), disk()).unwrap();
    assert_eq!(at_rest.scrubbed().damage[0].since_us, since_us);
    let repaired = repair(place.path(), Some(copy.path()));
    assert_eq!(repaired.left, []);
    assert_eq!(at_rest.scrubbed().damage, []);
}

#[test]
fn scrubbing_keeps_to_its_rate() {
    let (place, _copy) = log_of_segments();
    let (log, _) = open_with(place.path(), small_segments());
    for step in 0..40 {
        append(&log, &group("s", 1_000 + step, &[1_000])).unwrap();
    }
    let bytes = log.stat().bytes;
    assert!(bytes > 1 << 20, "{bytes}");
    let bytes_per_second = bytes;
    let options =
        ScrubOptions { delay: Duration::ZERO, bytes_per_second, ..ScrubOptions::default() };
    let since = Instant::now();
    log.start_scrubbing(options).unwrap();
    while log.scrubbed().passes == 0 {
        assert!(since.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(since.elapsed() > Duration::from_millis(400), "{:?}", since.elapsed());
    assert_eq!(log.scrubbed().damage, []);
    // Closing does not wait for a pass.
    log.scrub_now();
    let since = Instant::now();
    drop(log);
    assert!(since.elapsed() < Duration::from_secs(30));
}
