//! Damage of a log of which history was folded: in segments that were rewritten, in bases, in their list, in the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use change::Time;
use log::format::{FrameKind, Header, Place};
use log::notary::proof_dir;
use log::{Damage, DamageKind, Log, ScrubOptions};
use tempfile::TempDir;

use crate::notary::notarize;
use crate::retention::{State, busy, fold, read_only, states};
use crate::scrub::{change, copy_all, repair, scrub};
use crate::world::{PATIENCE, append, dir, group, open_with, segments, small_segments};

/// A folded, signed log at rest.
struct Folded {
    place: TempDir,
    /// A copy of it.
    copy: TempDir,
    /// A copy from before anything was folded.
    before: TempDir,
    states: BTreeMap<u64, State>,
}

impl Folded {
    fn new() -> Self {
        let (place, copy, before) = (dir(), dir(), dir());
        let log = busy(place.path());
        let sign = |log: &Log| {
            let mut notary = notarize(log).unwrap();
            notary.publish().unwrap();
            notary.settle().unwrap();
        };
        sign(&log);
        copy_all(place.path(), before.path());
        assert!(fold(&log, &[("short", 150), ("kept", 60)]));
        sign(&log);
        drop(log);
        copy_all(place.path(), copy.path());
        let states = states(read_only(place.path()).reader(Time::ZERO));
        Self { place, copy, before, states }
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn segment(&self, number: usize) -> PathBuf {
        segments(self.path()).remove(number - 1)
    }

    /// The only finding.
    fn found(&self) -> Damage {
        let found = scrub(self.path()).damage;
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    /// Repairs it from a copy, and checks that it says again what it said.
    fn repaired(&self, copy: Option<&Path>) {
        let repaired = repair(self.path(), copy);
        assert_eq!((repaired.left, repaired.refused), (vec![], BTreeMap::new()));
        self.says_the_same();
    }

    fn says_the_same(&self) {
        let log = read_only(self.path());
        assert_eq!(states(log.reader(Time::ZERO)), self.states);
        assert_eq!(log.audit(&[], 0).unwrap().wrong_bases, []);
    }
}

/// The frames of a segment that was rewritten, with where the file has them.
fn thin_frames(path: &Path, segment: u64) -> Vec<(u64, Header)> {
    let (bytes, mut at, mut offset) = (fs::read(path).unwrap(), 0, 0);
    let mut frames = Vec::new();
    while at < bytes.len() as u64 {
        let header = Header::from_bytes(&bytes[at as usize..], Place { segment, offset }).unwrap();
        frames.push((at, header.clone()));
        (offset, at) = (header.end(), at + header.room());
    }
    frames
}

#[test]
fn a_folded_log_in_order_has_no_damage() {
    let folded = Folded::new();
    let scrubbed = scrub(folded.path());
    assert_eq!((scrubbed.damage, scrubbed.bases), (vec![], 2));
    assert!(scrubbed.compared > 50 && scrubbed.compared < 200, "{}", scrubbed.compared);
    assert!(scrubbed.tiles > 0 || scrubbed.compared > 0);
    let repaired = repair(folded.path(), None);
    assert_eq!((repaired.restored, repaired.kept, repaired.made_again), (vec![], vec![], 0));
}

#[test]
fn a_bit_that_turns_over_anywhere_in_a_rewritten_segment_is_found_and_repaired() {
    let folded = Folded::new();
    let number = (2..).find(|number| {
        let frames = thin_frames(&folded.segment(*number), *number as u64);
        let has = |kind| frames.iter().any(|(_, header)| header.kind == kind);
        has(FrameKind::Gap) && has(FrameKind::Transactions)
    });
    let number = number.unwrap();
    let path = folded.segment(number);
    let frames = thin_frames(&path, number as u64);
    assert!(frames.iter().any(|(at, header)| header.place.offset > *at), "they moved");
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(29) {
        change(&path, |bytes| bytes[at] ^= 0x10);
        let (from, hit) = frames.iter().rfind(|(from, _)| *from <= at as u64).unwrap();
        if at as u64 >= from + hit.bytes() {
            // Zeros behind a frame's payload are nothing's.
            assert_eq!(scrub(folded.path()).damage, [], "byte {at}");
        } else {
            let found = folded.found();
            assert_eq!(
                (found.kind, found.offset, found.bytes),
                (DamageKind::Segment, *from, hit.room())
            );
            if hit.transactions > 0 {
                let last = Time(hit.next_time().0 - 1);
                assert_eq!(found.times, Some((hit.first_time, last)), "byte {at}");
            }
            let repaired = repair(folded.path(), Some(folded.copy.path()));
            assert_eq!((repaired.left, repaired.refused.len()), (vec![], 0), "byte {at}");
            assert_eq!((repaired.restored.len(), repaired.kept.len()), (1, 1));
            assert!(fs::read(&path).unwrap() == good, "byte {at}");
        }
        fs::write(&path, &good).unwrap();
    }
    folded.says_the_same();
}

#[test]
fn whatever_happened_to_rewritten_segments_a_copy_brings_them_back() {
    let folded = Folded::new();
    let files = segments(folded.path());
    let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let harms: [(&str, &dyn Fn()); 6] = [
        ("missing", &|| fs::remove_file(&files[2]).unwrap()),
        ("the first is missing", &|| fs::remove_file(&files[0]).unwrap()),
        ("empty", &|| change(&files[2], Vec::clear)),
        ("cut", &|| change(&files[2], |bytes| bytes.truncate(bytes.len() - 70))),
        ("all of it", &|| change(&files[2], |bytes| bytes.fill(7))),
        ("two preambles", &|| {
            change(&files[2], |bytes| bytes[10] ^= 1);
            change(&files[3], |bytes| bytes[10] ^= 1);
        }),
    ];
    for (name, harm) in harms {
        harm();
        assert!(!scrub(folded.path()).damage.is_empty(), "{name}");
        let repaired = repair(folded.path(), Some(folded.copy.path()));
        assert_eq!((repaired.left, repaired.refused), (vec![], BTreeMap::new()), "{name}");
        let after: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(before == after, "{name}");
    }
    folded.says_the_same();
}

#[test]
fn a_copy_from_before_the_fold_gives_back_a_segment_and_no_base() {
    let folded = Folded::new();
    let path = folded.segment(3);
    let thin = fs::read(&path).unwrap();
    change(&path, |bytes| bytes[200] ^= 1);
    folded.repaired(Some(folded.before.path()));
    // It holds more than it has to, until the next fold.
    let original = fs::read(segments(folded.before.path()).remove(2)).unwrap();
    let repaired = fs::read(&path).unwrap();
    assert!(repaired.len() > thin.len() && original.starts_with(&repaired));
    let (log, _) = open_with(folded.path(), small_segments());
    assert!(!fold(&log, &[("short", 10)]), "nothing more is folded");
    drop(log);
    assert!(fs::read(&path).unwrap() == thin, "but it is rewritten as it was");
    folded.says_the_same();
    // What it came to, nobody had computed then.
    let base = folded.path().join("base/00000000000000000000.base");
    change(&base, |bytes| bytes[300] ^= 1);
    let refused = repair(folded.path(), Some(folded.before.path()));
    let why = refused.refused.values().next().unwrap();
    assert!(why.contains("does not hold these bytes of base/"), "{why}");
    assert_eq!(refused.left.len(), 1);
    folded.repaired(Some(folded.copy.path()));
}

#[test]
fn a_copy_that_was_folded_further_gives_back_nothing_that_it_lacks() {
    let folded = Folded::new();
    let (log, _) = open_with(folded.copy.path(), small_segments());
    for step in 0..3 {
        append(&log, &group("s", 9_000 + step, &[20])).unwrap();
    }
    let mut notary = notarize(&log).unwrap();
    notary.publish().unwrap();
    notary.settle().unwrap();
    assert!(fold(&log, &[("short", u64::MAX), ("kept", 160)]));
    drop((notary, log));
    // Of this one the copy has no changes of `short` any more, and no base here has them.
    let files = segments(folded.path());
    let path = &files[files.len() - 2];
    change(path, |bytes| bytes[900] ^= 1);
    let damaged = fs::read(path).unwrap();
    let refused = repair(folded.path(), Some(folded.copy.path()));
    let why = refused.refused.values().next().unwrap();
    assert!(why.contains("was folded further: of s."), "{why}");
    assert_eq!((refused.left.len(), refused.restored.len()), (1, 0));
    assert!(fs::read(path).unwrap() == damaged);
    folded.repaired(Some(folded.before.path()));
}

#[test]
fn a_damaged_base_is_found_named_and_repaired() {
    let folded = Folded::new();
    let log = read_only(folded.path());
    let tables: Vec<String> = log.folded().iter().map(|base| base.table.to_string()).collect();
    let since = log.folded().iter().map(|base| base.since).collect::<Vec<_>>();
    for number in 0..2 {
        let name = format!("base/{number:020}.base");
        let path = folded.path().join(&name);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 20) {
            change(&path, |bytes| bytes[at] ^= 0x20);
            let found = folded.found();
            assert_eq!((found.kind, found.file.as_str()), (DamageKind::Segment, name.as_str()));
            let place = tables.iter().position(|table| *table == found.tables[0]).unwrap();
            assert_eq!(found.times, Some((Time(1), since[place])));
            assert!(found.offset <= at as u64, "{found:?}");
            folded.repaired(Some(folded.copy.path()));
            assert!(fs::read(&path).unwrap() == good);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(folded.found().reason, "the base is missing");
        folded.repaired(Some(folded.copy.path()));
        // One that is damaged too does not help.
        let theirs = folded.copy.path().join(&name);
        change(&theirs, |bytes| bytes[150] ^= 1);
        change(&path, |bytes| bytes[250] ^= 1);
        let refused = repair(folded.path(), Some(folded.copy.path()));
        let why = refused.refused.values().next().unwrap();
        assert!(why.contains("holds another base/"), "{why}");
        fs::write(&theirs, &good).unwrap();
        folded.repaired(Some(folded.copy.path()));
    }
}

#[test]
fn the_list_of_bases_is_made_again_from_what_the_log_says() {
    let folded = Folded::new();
    let list = folded.path().join("base/list");
    let good = fs::read(&list).unwrap();
    let bases = read_only(folded.path()).folded();
    for at in (0..good.len()).step_by(7) {
        change(&list, |bytes| bytes[at] ^= 0x10);
        assert_eq!(folded.found().file, "base/list", "byte {at}");
        let repaired = repair(folded.path(), None);
        assert_eq!((repaired.left, repaired.restored.len()), (vec![], 1), "byte {at}");
        assert_eq!(read_only(folded.path()).folded(), bases, "byte {at}");
    }
    fs::remove_file(&list).unwrap();
    assert_eq!(folded.found().reason, "the list of bases is missing");
    folded.repaired(None);
    let (log, _) = open_with(folded.path(), small_segments());
    assert!(!fold(&log, &[("short", 10)]));
    assert!(fold(&log, &[("short", 170)]), "folding goes on");
    drop(log);
    // With a base that is gone as well, nothing is guessed: a copy has to give that back.
    let folded = Folded::new();
    let (list, base) =
        (folded.path().join("base/list"), folded.path().join("base/00000000000000000001.base"));
    fs::write(&list, "nothing").unwrap();
    fs::remove_file(&base).unwrap();
    for copy in [None, Some(folded.before.path())] {
        let refused = repair(folded.path(), copy);
        let why = &refused.refused["base/list"];
        assert!(why.contains("is missing or damaged, and segment"), "{why}");
        assert!(!refused.left.is_empty() && fs::read(&list).unwrap() == b"nothing");
    }
    folded.repaired(Some(folded.copy.path()));
    // A list and a segment at once.
    let folded = Folded::new();
    fs::write(folded.path().join("base/list"), "nothing").unwrap();
    change(segments(folded.path()).last().unwrap(), |bytes| bytes[150] ^= 1);
    change(&folded.segment(3), |bytes| bytes[200] ^= 1);
    folded.repaired(Some(folded.copy.path()));
}

#[test]
fn leaves_that_nothing_follows_from_any_more_are_repaired_from_a_copy_only() {
    let folded = Folded::new();
    let proofs = proof_dir(folded.path());
    let dir = proofs.join("tile/0/000.p");
    let widest = |dir: &Path| {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let width =
            |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        names.max_by_key(width).unwrap()
    };
    let path = widest(&dir);
    let good = fs::read(&path).unwrap();
    change(&path, |bytes| bytes[40] ^= 1);
    let found = folded.found();
    assert_eq!(found.kind, DamageKind::Segment);
    assert!(found.reason.contains("the history of transactions in it was folded"), "{found:?}");
    let refused = repair(folded.path(), None);
    assert_eq!((refused.left.len(), refused.made_again), (1, 0));
    folded.repaired(Some(folded.copy.path()));
    assert!(fs::read(&path).unwrap() == good);
}

#[test]
fn a_log_is_scrubbed_while_its_history_is_folded() {
    let place = dir();
    let log = busy(place.path());
    let mut notary = notarize(&log).unwrap();
    notary.settle().unwrap();
    let options = ScrubOptions { delay: Duration::ZERO, ..ScrubOptions::default() };
    log.start_scrubbing(options).unwrap();
    for (pass, upto) in (1..).zip([30, 60, 90, 120, 150, 180]) {
        log.scrub_now();
        fold(&log, &[("short", upto), ("kept", upto / 2)]);
        let since = Instant::now();
        while log.scrubbed().passes < pass {
            assert!(since.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(log.scrubbed().damage, [], "pass {pass}");
    }
    assert!(log.stat().since >= Time(90));
}
