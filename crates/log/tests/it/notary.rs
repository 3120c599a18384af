//! The log as something that outsiders can check: what is signed, what a crash leaves, what does not go unnoticed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::{Part, RequestId, Time, TransactionGroup};
use log::faults::FaultyDisk;
use log::notary::proof_dir;
use log::{Log, LogError, LogOptions, Notary, NotaryOptions};
use proof::{
    Checkpoint, DirectoryTiles, Note, Policy, Prover, Receipt, Signer, request_hash, root_of,
    verify_consistency, verify_inclusion,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::world::{
    PATIENCE, append, dir, group, head, open, open_with, options, part, rows, segments,
    small_segments, table, try_open,
};

fn signer() -> Signer {
    Signer::from_seed("test.example/log", &[5; 32]).unwrap()
}

fn start(log: &Log) {
    log.start_notary(NotaryOptions { signer: signer(), interval: Duration::from_millis(20) })
        .unwrap();
}

/// Brings a notary of its own, without a thread, to the durable end.
pub(crate) fn notarize(log: &Log) -> Result<Notary, LogError> {
    let mut notary = Notary::open(log, signer())?;
    while notary.step()?.is_some() {}
    notary.publish()?;
    Ok(notary)
}

fn checkpoint(dir: &Path) -> Checkpoint {
    let note = Note::parse(&fs::read(proof_dir(dir).join("checkpoint")).unwrap()).unwrap();
    let key = signer().verifier().clone();
    let policy = Policy::new("test.example/log", vec![key], Vec::new(), 0).unwrap();
    policy.open(&note).unwrap().checkpoint
}

/// Checks that a log is exactly what it signed, by an audit and by the leaves one by one.
fn check(dir: &Path) -> Checkpoint {
    let state = checkpoint(dir);
    let (log, _) = Log::open_read_only(dir, Arc::new(log::RealDisk)).unwrap();
    let audit = log.audit(&[state.size()], state.size()).unwrap();
    assert_eq!(audit.roots.get(&state.size()), Some(&state.root()));
    assert_eq!((audit.wrong_tiles, audit.wrong_bundles), (vec![], vec![]));
    assert_eq!(audit.bundles, state.size().div_ceil(256), "all records are published");
    let leaves: Vec<_> = (1..=state.size())
        .map(|time| {
            let record = log.leaf_record(Time(time)).unwrap().expect("it is in the log");
            assert_eq!(record.time, time);
            record.leaf()
        })
        .collect();
    assert_eq!(root_of(leaves), state.root());
    state
}

/// Groups with requests, of several sources, and with a large transaction in between.
fn fill(log: &Log, from: u64, until: u64) {
    for step in from..until {
        let mut first = head(step);
        first.request = Some(RequestId(step.to_string().into_bytes().into()));
        first.causes = vec![Time(step)];
        let changes = vec![rows(&table("s", "t"), step as i64 * 1000, &[2, 0, 3])];
        let heads = vec![first, head(step), head(step)];
        append(log, &TransactionGroup::new("s".into(), Part::Whole, heads, changes)).unwrap();
        match step % 7 {
            1 => drop(append(log, &part("big", Part::First, step, &[40])).unwrap()),
            3 => drop(append(log, &part("big", Part::Middle, step, &[50])).unwrap()),
            6 => drop(append(log, &part("big", Part::Last, step, &[60])).unwrap()),
            _ => drop(append(log, &group("other", step, &[1])).unwrap()),
        }
    }
}

#[test]
fn every_transaction_is_a_leaf_of_what_is_signed() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    start(&log);
    fill(&log, 0, 140);
    let time = Time(log.upper().0 - 1);
    let published = log.wait_signed(time, PATIENCE).unwrap().unwrap();
    assert_eq!(published.checkpoint.size(), time.0, "signed while it runs");
    drop(log);
    let state = check(dir.path());
    assert_eq!(state.size(), time.0);
    assert!(segments(dir.path()).len() > 10, "in many segments");
    let tiles = DirectoryTiles::new(proof_dir(dir.path()));
    let prover = Prover::new(&tiles, state.size());
    let (log, _) = Log::open_read_only(dir.path(), Arc::new(log::RealDisk)).unwrap();
    for time in [1, 2, 256, 257, state.size()] {
        let leaf = log.leaf_record(Time(time)).unwrap().unwrap().leaf();
        let proof = prover.inclusion(time - 1, state.size()).unwrap();
        verify_inclusion(&leaf, time - 1, &state.tree(), &proof).unwrap();
    }
    assert!(!proof_dir(dir.path()).join("tile/0/000.p").exists(), "a full tile replaces others");
}

#[test]
fn a_record_says_where_a_transaction_came_from_and_who_asked_for_it() {
    let dir = dir();
    let (log, _) = open(dir.path());
    fill(&log, 0, 2);
    let record = log.leaf_record(Time(1)).unwrap().unwrap();
    assert_eq!(record.position, proof::Position::Step(0));
    assert_eq!(record.source, Some(proof::source_hash("s")));
    assert_eq!(record.request, Some(request_hash(b"0")));
    assert_eq!(log.leaf_record(Time(2)).unwrap().unwrap().request, None);
    let same_bytes = log.leaf_record(Time(2)).unwrap().unwrap();
    assert_eq!(record.stored, same_bytes.stored, "they lie in one frame");
    assert_ne!(record.stored, log.leaf_record(Time(4)).unwrap().unwrap().stored);
    assert_eq!(log.leaf_record(log.upper()).unwrap(), None);
    assert_eq!(log.leaf_record(Time::ZERO).unwrap(), None);
}

#[test]
fn a_later_state_is_consistent_with_an_earlier_one_across_restarts() {
    let dir = dir();
    let mut states = Vec::new();
    for round in 0..6 {
        let (log, _) = open_with(dir.path(), small_segments());
        start(&log);
        // Rounds end within large transactions too.
        fill(&log, round * 16, (round + 1) * 16);
        drop(log);
        states.push(check(dir.path()));
    }
    let tiles = DirectoryTiles::new(proof_dir(dir.path()));
    let last = states.last().unwrap();
    let prover = Prover::new(&tiles, last.size());
    for state in &states {
        let proof = prover.consistency(state.size(), last.size()).unwrap();
        verify_consistency(&state.tree(), &last.tree(), &proof).unwrap();
    }
}

#[test]
fn a_receipt_outlives_the_log() {
    let dir = dir();
    let (log, _) = open(dir.path());
    fill(&log, 0, 100);
    let notary = notarize(&log).unwrap();
    let state = notary.published().unwrap();
    let tiles = DirectoryTiles::new(proof_dir(dir.path()));
    let record = log.leaf_record(Time(77)).unwrap().unwrap();
    let proof = Prover::new(&tiles, state.checkpoint.size());
    let proof = proof.inclusion(76, state.checkpoint.size()).unwrap();
    let (extra, checkpoint) = (record.encode().to_vec(), state.note.clone());
    let receipt = Receipt { extra, index: 76, proof, checkpoint }.encode();
    drop(log);
    let policy = Policy::new("test.example/log", vec![signer().verifier().clone()], Vec::new(), 0);
    let receipt = Receipt::parse(receipt.as_bytes()).unwrap();
    receipt.verify(&record.leaf(), &policy.unwrap()).unwrap();
}

#[test]
fn a_tree_that_was_lost_is_made_anew_and_is_the_same() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    start(&log);
    fill(&log, 0, 80);
    drop(log);
    let before = check(dir.path());
    let lose: [fn(&Path); 4] = [
        |proof| fs::remove_dir_all(proof.join("tile")).unwrap(),
        |proof| fs::remove_file(proof.join("settled")).unwrap(),
        |proof| fs::write(proof.join("settled"), "no checkpoint").unwrap(),
        |proof| fs::remove_dir_all(proof).unwrap(),
    ];
    for lose in lose {
        lose(&proof_dir(dir.path()));
        let (log, _) = open_with(dir.path(), small_segments());
        start(&log);
        log.wait_signed(Time(log.upper().0 - 1), PATIENCE).unwrap().unwrap();
        drop(log);
        assert_eq!(check(dir.path()), before);
    }
}

#[test]
fn a_log_without_proofs_becomes_provable() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    fill(&log, 0, 90);
    drop(log);
    let (log, _) = open_with(dir.path(), small_segments());
    start(&log);
    drop(log);
    check(dir.path());
}

#[test]
fn a_log_that_lost_what_was_signed_signs_nothing_more() {
    let dir = dir();
    let (log, _) = open(dir.path());
    fill(&log, 0, 10);
    let file = segments(dir.path()).remove(0);
    let earlier = fs::read(&file).unwrap();
    fill(&log, 10, 20);
    drop(notarize(&log).unwrap());
    drop(log);
    fs::write(&file, earlier).unwrap();
    let (log, _) = open(dir.path());
    let error = Notary::open(&log, signer()).err().unwrap();
    assert!(matches!(error, LogError::Behind { signed: 74, held: 37, .. }), "{error}");
    assert_eq!(error.code(), "LOG012");
    // Another log under the same name is another matter, and is found out as well.
    fill(&log, 30, 60);
    let error = notarize(&log).err().unwrap();
    assert!(matches!(error, LogError::Altered { size: 74, .. }), "{error}");
}

#[test]
fn an_altered_transaction_is_found_by_the_audit_and_by_the_next_rebuild() {
    let dir = dir();
    let (log, _) = open(dir.path());
    fill(&log, 0, 10);
    drop(notarize(&log).unwrap());
    drop(log);
    let state = checkpoint(dir.path());
    // Whoever alters the log makes the checksums right again.
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let mut frame = crate::world::frames(&bytes)[4].clone();
    let payload = frame.place.offset as usize + log::format::HEADER_BYTES;
    let end = payload + frame.payload_length as usize;
    let at = (payload..end).find(|&at| bytes[at..end].starts_with(b"row number")).unwrap();
    bytes[at..at + 3].copy_from_slice(b"ROW");
    frame.payload_crc = crc32c::crc32c(&bytes[payload..end]);
    bytes[payload - log::format::HEADER_BYTES..payload].copy_from_slice(&frame.to_bytes());
    fs::write(&file, bytes).unwrap();
    let (log, _) = open(dir.path());
    let audit = log.audit(&[state.size()], state.size()).unwrap();
    assert_ne!(audit.roots[&state.size()], state.root());
    let wrong = &audit.wrong_tiles[0];
    assert_eq!(wrong.first, Some(frame.first_time), "the first transaction that is not as it was");
    let error = notarize(&log).err().unwrap();
    assert!(matches!(error, LogError::Altered { .. }), "{error}");
    assert_eq!(checkpoint(dir.path()), state, "what was signed stays");
}

#[test]
fn a_wrong_tile_is_found_with_its_place() {
    let dir = dir();
    let (log, _) = open(dir.path());
    fill(&log, 0, 140);
    drop(notarize(&log).unwrap());
    let size = checkpoint(dir.path()).size();
    assert!(size > 512, "more than two tiles");
    let tile = proof_dir(dir.path()).join("tile/0/001");
    let good = fs::read(&tile).unwrap();
    let mut bad = good.clone();
    bad[32 * 7 + 3] ^= 1;
    fs::write(&tile, &bad).unwrap();
    let audit = log.audit(&[], size).unwrap();
    assert_eq!(audit.wrong_tiles.len(), 1);
    assert_eq!(audit.wrong_tiles[0].path, tile);
    assert_eq!(audit.wrong_tiles[0].first, Some(Time(256 + 7 + 1)));
    fs::remove_file(&tile).unwrap();
    let audit = log.audit(&[], size).unwrap();
    assert_eq!(audit.wrong_tiles[0].first, None);
    assert_eq!(audit.wrong_tiles[0].covers, (Time(257), Time(512)));
    fs::write(&tile, good).unwrap();
    assert_eq!(log.audit(&[], size).unwrap().wrong_tiles, []);
}

/// The entries of a bundle, as C2SP tlog-tiles describes them; panics when it is none.
fn entries(path: &Path) -> Vec<Vec<u8>> {
    let (bytes, mut at, mut entries) = (fs::read(path).unwrap(), 0, Vec::new());
    while at < bytes.len() {
        let length = usize::from(bytes[at]) * 256 + usize::from(bytes[at + 1]);
        entries.push(bytes[at + 2..at + 2 + length].to_vec());
        at += 2 + length;
    }
    entries
}

#[test]
fn every_record_is_published_in_bundles_across_restarts() {
    let dir = dir();
    for round in 0..4 {
        let (log, _) = open(dir.path());
        fill(&log, round * 40, round * 40 + 40);
        let mut notary = notarize(&log).unwrap();
        if round != 2 {
            // Once, the tree goes on from an earlier size.
            notary.settle().unwrap();
        }
        let size = checkpoint(dir.path()).size();
        let at = proof_dir(dir.path()).join("tile/entries");
        let full = (0..size / 256).map(|index| format!("{index:03}"));
        let last =
            (!size.is_multiple_of(256)).then(|| format!("{:03}.p/{}", size / 256, size % 256));
        let found: Vec<_> = full.chain(last).flat_map(|name| entries(&at.join(name))).collect();
        let records = (1..=size).map(|time| log.leaf_record(Time(time)).unwrap().unwrap());
        let expected: Vec<_> = records.map(|record| record.encode().to_vec()).collect();
        assert!(found == expected, "round {round}: {} of {size} records", found.len());
        let audit = log.audit(&[], size).unwrap();
        assert_eq!((audit.bundles, audit.wrong_bundles.len()), (size.div_ceil(256), 0));
    }
    assert!(checkpoint(dir.path()).size() > 512, "more than two bundles");
}

#[test]
fn a_wrong_record_is_found_and_lost_ones_are_written_anew() {
    let dir = dir();
    let (log, _) = open(dir.path());
    fill(&log, 0, 140);
    notarize(&log).unwrap().settle().unwrap();
    let size = checkpoint(dir.path()).size();
    let bundle = proof_dir(dir.path()).join("tile/entries/001");
    let good = fs::read(&bundle).unwrap();
    let long = [&good[..], &[0, 0]].concat();
    let mut bad = good.clone();
    bad[210 * 7 + 3] ^= 1;
    let huge = vec![0; 2 << 20];
    for (bytes, first) in [(bad, 264), (long, 512), (good[..300].to_vec(), 258), (huge, 257)] {
        fs::write(&bundle, &bytes).unwrap();
        let audit = log.audit(&[], size).unwrap();
        assert_eq!(audit.wrong_tiles, []);
        assert_eq!(audit.wrong_bundles.len(), 1);
        assert_eq!(audit.wrong_bundles[0].first, Some(Time(first)));
        assert_eq!(audit.wrong_bundles[0].covers, (Time(257), Time(512)));
    }
    fs::remove_dir_all(proof_dir(dir.path()).join("tile/entries")).unwrap();
    assert_eq!(log.audit(&[], size).unwrap().bundles, 0);
    drop(log);
    fs::remove_file(proof_dir(dir.path()).join("settled")).unwrap();
    drop(notarize(&open(dir.path()).0).unwrap());
    assert_eq!(fs::read(&bundle).unwrap(), good);
}

#[test]
fn a_log_without_bundles_goes_on_with_its_tree_and_writes_the_open_one() {
    let dir = dir();
    let (log, _) = open(dir.path());
    fill(&log, 0, 140);
    notarize(&log).unwrap().settle().unwrap();
    drop(log);
    let size = checkpoint(dir.path()).size();
    let entries_dir = proof_dir(dir.path()).join("tile/entries");
    fs::remove_dir_all(&entries_dir).unwrap();
    let (log, _) = open(dir.path());
    let mut notary = Notary::open(&log, signer()).unwrap();
    assert_eq!(notary.size(), size, "nothing is read again");
    assert_eq!(notary.published().map(|state| state.checkpoint.size()), Some(size));
    // With the next steps, without anything new.
    while notary.step().unwrap().is_some() {}
    let found = entries(&entries_dir.join(format!("{:03}.p/{}", size / 256, size % 256)));
    let records = (size - size % 256 + 1..=size).map(|time| log.leaf_record(Time(time)).unwrap());
    let expected: Vec<_> = records.map(|record| record.unwrap().encode().to_vec()).collect();
    assert_eq!(found, expected);
    fill(&log, 140, 240);
    while notary.step().unwrap().is_some() {}
    notary.publish().unwrap();
    let now = checkpoint(dir.path()).size();
    let audit = log.audit(&[], now).unwrap();
    assert_eq!((audit.wrong_tiles, audit.wrong_bundles), (vec![], vec![]));
    assert_eq!(audit.bundles, now.div_ceil(256) - size / 256, "all from the open one on");
}

#[test]
fn a_full_disk_leaves_the_proofs_behind_until_there_is_room() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let (log, _) = try_open(dir.path(), options(), Arc::new(disk.clone())).unwrap();
    fill(&log, 0, 5);
    let mut notary = notarize(&log).unwrap();
    let before = checkpoint(dir.path());
    fill(&log, 5, 10);
    disk.set_writable(Some(10));
    while notary.step().unwrap().is_some() {}
    let error = notary.publish().err().unwrap();
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
    assert_eq!(checkpoint(dir.path()), before);
    disk.set_writable(None);
    notary.publish().unwrap();
    assert!(check(dir.path()).size() > before.size());
}

#[test]
fn what_the_settled_tree_needs_stays_until_more_is_settled() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let open = || try_open(dir.path(), options(), Arc::new(disk.clone())).unwrap().0;
    let log = open();
    fill(&log, 0, 60);
    let mut notary = notarize(&log).unwrap();
    notary.settle().unwrap();
    let settled = notary.size();
    assert!(settled < 240);
    for until in [65, 100] {
        fill(&log, until - 5, until);
        while notary.step().unwrap().is_some() {}
        notary.publish().unwrap();
        fill(&log, until, until + 30);
    }
    while notary.step().unwrap().is_some() {}
    let partials =
        ["tile/0/000.p", "tile/entries/000.p"].map(|name| proof_dir(dir.path()).join(name));
    for partials in &partials {
        assert!(partials.with_extension("").exists(), "the full one is there");
        let names: Vec<_> =
            fs::read_dir(partials).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, [settled.to_string().as_str()], "what was written since is replaced");
    }
    disk.crash();
    drop((notary, log));
    disk.restart(|| false).unwrap();
    let log = open();
    let mut notary = Notary::open(&log, signer()).unwrap();
    assert_eq!(notary.size(), settled, "the tree goes on from there");
    while notary.step().unwrap().is_some() {}
    notary.publish().unwrap();
    notary.settle().unwrap();
    assert!(partials.iter().all(|partials| !partials.exists()), "nothing needs them any more");
    drop((notary, log));
    check(dir.path());
}

#[test]
fn what_the_disk_refuses_does_not_fill_the_memory() {
    let (dir, disk) = (dir(), FaultyDisk::default());
    let (log, _) = try_open(dir.path(), options(), Arc::new(disk.clone())).unwrap();
    fill(&log, 0, 300);
    let mut notary = Notary::open(&log, signer()).unwrap();
    disk.set_writable(Some(0));
    let refused = std::iter::repeat_with(|| notary.step()).find_map(Result::err).unwrap();
    assert!(matches!(refused, LogError::DiskFull { .. }), "{refused}");
    let size = notary.size();
    for _ in 0..3 {
        notary.step().unwrap_err();
        assert_eq!(notary.size(), size, "nothing more is taken in");
    }
    disk.set_writable(None);
    while notary.step().unwrap().is_some() {}
    notary.publish().unwrap();
    assert_eq!(check(dir.path()).size(), log.upper().0 - 1);
}

#[test]
fn what_is_durable_is_signed_within_the_interval_whatever_follows() {
    let wall_clock_us = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(now.unwrap().as_micros()).unwrap()
    };
    let dir = dir();
    let disk = Arc::new(log::RealDisk);
    let (log, _) = Log::open(dir.path(), options(), disk, wall_clock_us).unwrap();
    let interval = Duration::from_millis(600);
    log.start_notary(NotaryOptions { signer: signer(), interval }).unwrap();
    std::thread::scope(|scope| {
        let mut waits = Vec::new();
        for step in 0..6 {
            // The next one comes just before the interval is over.
            std::thread::sleep(interval * 9 / 10);
            append(&log, &group("other", step, &[1])).unwrap();
            let (log, since) = (&log, std::time::Instant::now());
            let time = Time(log.upper().0 - 1);
            waits.push(scope.spawn(move || {
                log.wait_signed(time, PATIENCE).unwrap().unwrap();
                since.elapsed()
            }));
        }
        let longest = waits.into_iter().map(|wait| wait.join().unwrap()).max().unwrap();
        assert!(longest < interval * 3 / 2, "{longest:?}");
    });
}

#[test]
fn no_crash_makes_a_log_sign_two_trees_of_one_size() {
    for seed in 0..15 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (dir, disk) = (dir(), FaultyDisk::default());
        let mut states: Vec<Checkpoint> = Vec::new();
        for round in 0..4 {
            let open = || -> Result<(Log, Notary), LogError> {
                let options = LogOptions { segment_bytes_max: 20_000, ..small_segments() };
                let (log, _) = try_open(dir.path(), options, Arc::new(disk.clone()))?;
                let notary = Notary::open(&log, signer())?;
                Ok((log, notary))
            };
            let (log, mut notary) = open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            for step in 0..random.random_range(1..40) {
                fill(&log, round * 105 + step, round * 105 + step + 1);
                if random.random_bool(0.3) {
                    while notary.step().unwrap().is_some() {}
                    notary.publish().unwrap();
                    states.extend(notary.published().map(|state| state.checkpoint.clone()));
                }
                if random.random_bool(0.1) {
                    notary.settle().unwrap();
                }
            }
            disk.crash();
            drop(notary);
            drop(log);
            disk.restart(|| random.random_bool(0.5)).unwrap();
        }
        let (log, _) = try_open(dir.path(), options(), Arc::new(disk)).unwrap();
        let notary = notarize(&log).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(notary.size(), log.upper().0 - 1);
        let sizes: Vec<u64> = states.iter().map(Checkpoint::size).collect();
        let audit = log.audit(&sizes, notary.size()).unwrap();
        assert_eq!((audit.wrong_tiles, audit.wrong_bundles), (vec![], vec![]), "seed {seed}");
        assert_eq!(audit.bundles, notary.size().div_ceil(256), "seed {seed}");
        for state in &states {
            assert_eq!(audit.roots[&state.size()], state.root(), "seed {seed}");
        }
        check(dir.path());
    }
}
