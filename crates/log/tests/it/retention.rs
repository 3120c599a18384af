//! What is folded: base and tail give every later state, room is given back, proofs stay, nobody is surprised.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use change::catalog::{CatalogChange, Kind, catalog_changes};
use change::{
    ChangeBatch, ChangeForm, Part, RequestId, TRUNCATE, TableChanges, TableName, TableSchema, Time,
    TransactionGroup, TransactionHead, Unchanged,
};
use log::{Chunk, Filter, FoldOutcome, Log, LogError, LogReader, LogStat};
use proof::root_of;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::notary::notarize;
use crate::world::{append, dir, head, open_with, segments, small_segments};

/// A row: `id`, `note`.
pub(crate) type Row = (Option<i64>, Option<String>);
/// What a table holds: each row with how often it is there.
pub(crate) type Rows = BTreeMap<Row, i64>;
pub(crate) type State = BTreeMap<String, Rows>;

/// The tables of the tests: two with a key, one without.
const TABLES: [&str; 3] = ["kept", "short", "plain"];

pub(crate) fn table(name: &str) -> Arc<TableSchema> {
    let columns =
        vec![Field::new("id", DataType::Int64, true), Field::new("note", DataType::Utf8, true)];
    let (key, form) =
        if name == "plain" { (vec![], ChangeForm::Exact) } else { (vec![0], ChangeForm::Upsert) };
    let name = TableName::new("s", name);
    Arc::new(TableSchema::new(name, Arc::new(Schema::new(columns)), key, form))
}

/// A change: id, note (`None` is left out as unchanged in a table with a key), diff.
pub(crate) type Change = (i64, Option<String>, i64);

pub(crate) fn changes(name: &str, of: &[Vec<Change>]) -> TableChanges {
    let schema = table(name);
    let all: Vec<&Change> = of.iter().flatten().collect();
    let id = |(id, _, diff): &&Change| (*diff != TRUNCATE).then_some(*id);
    let ids: Int64Array = all.iter().map(id).collect();
    let notes: StringArray = all.iter().map(|(_, note, _)| note.clone()).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(notes)];
    let rows = RecordBatch::try_new(Arc::clone(schema.columns()), columns).unwrap();
    let diffs: Int64Array = all.iter().map(|(_, _, diff)| Some(*diff)).collect();
    let ends = of.iter().scan(0, |end, of| {
        *end += of.len() as u32;
        Some(*end)
    });
    let is_left_out = |(_, (_, note, diff)): &(u32, &&Change)| {
        note.is_none() && *diff == 1 && schema.form() == ChangeForm::Upsert
    };
    let unchanged = (0..).zip(&all).filter(is_left_out);
    let unchanged = unchanged.map(|(row, _)| Unchanged { row, column: 1 }).collect();
    TableChanges::new(Arc::clone(&schema), ChangeBatch::new(rows, diffs), ends.collect(), unchanged)
}

/// Applies what a reader sees to what tables hold: by a map and loops.
fn apply(state: &mut State, changes: &TableChanges, from: usize, until: usize) {
    let name = changes.table().name().table.to_string();
    let rows = state.entry(name).or_default();
    let ids = changes.changes().rows().column(0).as_primitive::<Int64Type>();
    let notes = changes.changes().rows().column(1).as_string::<i32>();
    let mut removed = None;
    for row in from..until {
        let id = ids.is_valid(row).then(|| ids.value(row));
        let mut note = notes.is_valid(row).then(|| notes.value(row).to_owned());
        let diff = changes.changes().diffs()[row];
        if diff == TRUNCATE {
            rows.clear();
            removed = None;
        } else if changes.table().form() == ChangeForm::Exact {
            *rows.entry((id, note)).or_default() += diff;
            rows.retain(|_, count| *count != 0);
        } else {
            let old = rows.keys().find(|(known, _)| *known == id).cloned();
            if let Some(old) = &old {
                rows.remove(old);
            }
            if diff < 0 {
                removed = old;
                continue;
            }
            let left_out = Unchanged { row: row as u32, column: 1 };
            if changes.unchanged().contains(&left_out) {
                note = old.or(removed.take()).expect("there is a row of before").1;
            }
            removed = None;
            rows.insert((id, note), 1);
        }
    }
}

/// Reads all, and returns the state at each Time at which there is one.
pub(crate) fn states(mut reader: LogReader) -> BTreeMap<u64, State> {
    let (mut state, mut states) = (State::new(), BTreeMap::new());
    while let Some(chunk) = reader.next().unwrap() {
        take(&mut state, &chunk, &mut states);
    }
    states
}

fn take(state: &mut State, chunk: &Chunk, states: &mut BTreeMap<u64, State>) {
    let mut starts = vec![0; chunk.tables.len()];
    for (at, time) in (chunk.first.0..=chunk.last.0).enumerate() {
        for (table, start) in chunk.tables.iter().zip(&mut starts) {
            let end = table.ends()[at] as usize;
            if &*table.table().name().source == "s" {
                apply(state, table, *start, end);
            }
            *start = end;
        }
        if chunk.complete {
            state.retain(|_, rows| !rows.is_empty());
            states.insert(time, state.clone());
        }
    }
}

fn text(random: &mut ChaCha8Rng) -> Option<String> {
    Some("x".repeat(random.random_range(1..200)))
}

/// A transaction's changes of a table. `known` are the ids that a table with a key has.
fn random_changes(name: &str, known: &mut Vec<i64>, random: &mut ChaCha8Rng) -> Vec<Change> {
    let mut list = Vec::new();
    for _ in 0..random.random_range(0..4) {
        let id = random.random_range(0..12);
        let is_known = known.contains(&id);
        match random.random_range(0..20) {
            0 => {
                known.clear();
                list.push((0, None, TRUNCATE));
            }
            1..=5 if name == "plain" => {
                list.push((id, Some("same".to_owned()), random.random_range(-2..3_i64)));
            }
            1..=5 => {
                known.retain(|other| *other != id);
                list.push((id, None, -1));
            }
            6..=8 if is_known && name != "plain" => list.push((id, None, 1)),
            9..=10 if is_known && name != "plain" && !known.contains(&(id + 100)) => {
                // The key of a row changes, and its note is not sent.
                known.retain(|other| *other != id);
                known.push(id + 100);
                list.extend([(id, None, -1), (id + 100, None, 1)]);
            }
            _ => {
                known.push(id);
                list.push((id, text(random), 1));
            }
        }
    }
    // A sum of nothing is no change.
    list.retain(|(_, _, diff)| *diff != 0);
    list
}

/// Appends transactions by chance: several in a frame, and some of them in parts.
fn fill(
    log: &Log,
    steps: u64,
    known: &mut BTreeMap<&'static str, Vec<i64>>,
    random: &mut ChaCha8Rng,
) {
    for _ in 0..steps {
        let step = log.upper().0;
        let count = if random.random_range(0..4) == 0 { 3 } else { 1 };
        let mut group = |part: Part, count: usize| {
            let mut tables = Vec::new();
            for name in TABLES {
                let known = known.entry(name).or_default();
                let of: Vec<Vec<Change>> =
                    (0..count).map(|_| random_changes(name, known, random)).collect();
                if of.iter().any(|of| !of.is_empty()) {
                    tables.push(changes(name, &of));
                }
            }
            let heads = (step..).take(count).map(head).collect();
            TransactionGroup::new("s".into(), part, heads, tables)
        };
        if step.is_multiple_of(9) {
            for part in [Part::First, Part::Middle, Part::Middle, Part::Last] {
                append(log, &group(part, 1)).unwrap();
            }
        } else {
            append(log, &group(Part::Whole, count)).unwrap();
        }
        if step.is_multiple_of(11) {
            let definition = Some(format!("select {step}"));
            let change = CatalogChange { kind: Kind::View, name: "v".to_owned(), definition };
            let (heads, tables) = (vec![TransactionHead::own()], vec![catalog_changes(&[change])]);
            append(log, &TransactionGroup::new("evert".into(), Part::Whole, heads, tables))
                .unwrap();
        }
    }
}

pub(crate) fn wanted(of: &[(&str, u64)]) -> BTreeMap<TableName, Time> {
    of.iter().map(|(name, time)| (TableName::new("s", name), Time(*time))).collect()
}

/// Folds tables up to a Time each, as far as that is possible; returns whether anything was.
pub(crate) fn fold(log: &Log, of: &[(&str, u64)]) -> bool {
    let Some(fold) = log.prepare_fold(&wanted(of), &mut |_| true).unwrap() else { return false };
    append(log, &fold.record()).unwrap();
    assert_eq!(fold.commit(&mut |_| true).unwrap(), FoldOutcome::Done);
    true
}

pub(crate) fn read_only(dir: &Path) -> Log {
    Log::open_read_only(dir, Arc::new(log::RealDisk)).unwrap().0
}

/// Checks that whoever reads from the beginning gets, from `since` on, the states that there were.
fn check_states(log: &Log, expected: &mut BTreeMap<u64, State>) {
    let since = log.stat().since;
    let found = states(log.reader(Time::ZERO));
    for (time, state) in &found {
        let before = expected.entry(*time).or_insert_with(|| state.clone());
        assert_eq!(state, before, "at {time}, with {since} folded");
    }
    let first = found.first_key_value().map_or(0, |(time, _)| *time);
    assert_eq!(first, since.0.max(1), "what was folded is one transaction");
    assert_eq!(found.len() as u64, log.upper().0 - first, "and all others are there");
}

#[test]
fn base_and_tail_give_every_state_whatever_was_folded() {
    for seed in 0..5 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let dir = dir();
        let (mut log, _) = open_with(dir.path(), small_segments());
        let (mut known, mut expected) = (BTreeMap::new(), BTreeMap::new());
        let mut folds = 0;
        for _ in 0..6 {
            fill(&log, 30, &mut known, &mut random);
            // Before anything goes, what there is now is known.
            check_states(&log, &mut expected);
            let mut of = Vec::new();
            for name in ["short", "plain", "kept"] {
                if name != "kept" || random.random_range(0..4) == 0 {
                    of.push((name, random.random_range(0..log.upper().0)));
                }
            }
            folds += u64::from(fold(&log, &of));
            check_states(&log, &mut expected);
            check_states(&read_only(dir.path()), &mut expected);
            if random.random_range(0..2) == 0 {
                drop(log);
                log = open_with(dir.path(), small_segments()).0;
                check_states(&log, &mut expected);
            }
        }
        assert!(folds >= 3, "seed {seed}: {folds} folds");
    }
}

/// A log with a few dozen segments, whose tables are set again and again.
pub(crate) fn busy(dir: &Path) -> Log {
    let (log, _) = open_with(dir, small_segments());
    let note = |step: u64| Some(format!("{step}{}", "x".repeat(150)));
    for step in 0..200 {
        let id = (step % 5) as i64;
        let mut tables = vec![changes("short", &[vec![(id, note(step), 1)]])];
        if step % 10 == 0 {
            tables.push(changes("kept", &[vec![(id, note(step), 1)]]));
        }
        let mut head = head(step);
        head.request = Some(RequestId(step.to_string().into_bytes().into()));
        append(&log, &TransactionGroup::new("s".into(), Part::Whole, vec![head], tables)).unwrap();
    }
    log
}

fn bytes_on_disk(dir: &Path) -> u64 {
    segments(dir).iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

#[test]
fn room_is_given_back_and_other_tables_keep_their_history() {
    let dir = dir();
    let log = busy(dir.path());
    let history = |log: &Log| -> Vec<(Time, TableChanges)> {
        let tables = [TableName::new("s", "kept")].into();
        let mut reader = log.reader(Time::ZERO).history().filtered(Filter { tables, source: None });
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().unwrap() {
            all.extend(chunk.tables.into_iter().map(|changes| (chunk.first, changes)));
        }
        all
    };
    let (before, kept) = (log.stat(), history(&log));
    assert!(before.segments > 10 && kept.len() == 20);
    assert!(fold(&log, &[("short", u64::MAX)]));
    let after = log.stat();
    assert!(after.bytes < before.bytes / 3, "{after:?} of {before:?}");
    assert!(after.base_bytes > 0 && after.base_bytes < 4096, "{after:?}");
    assert!(after.segments >= before.segments, "a stub of each stays");
    assert!(after.since > Time(150));
    assert_eq!(history(&log), kept, "every change is there, at its Time");
    drop(log);
    let log = read_only(dir.path());
    assert_eq!(history(&log), kept);
    // A frame that says that the log was closed, and nothing else.
    assert_eq!(log.stat(), LogStat { bytes: after.bytes + 128, ..after });
    // What is left is little more than the list of its positions; and once all tables are folded, nothing is.
    assert!(bytes_on_disk(dir.path()) < before.bytes / 3);
    let (log, _) = open_with(dir.path(), small_segments());
    assert!(fold(&log, &[("short", u64::MAX), ("kept", u64::MAX)]));
    assert!(history(&log).len() < 3);
    assert!(log.stat().bytes < after.bytes);
}

#[test]
fn whoever_asks_for_what_was_folded_is_told() {
    let dir = dir();
    let log = busy(dir.path());
    let follower = read_only(dir.path());
    let mut behind = follower.reader(Time(3));
    behind.next().unwrap().expect("it is there still");
    assert!(fold(&log, &[("short", u64::MAX)]));
    let since = log.stat().since;
    let refused = log.reader(Time(5)).next().unwrap_err();
    assert!(matches!(refused, LogError::Pruned { from: Time(6), upto } if upto == since));
    assert_eq!(refused.code(), "LOG014");
    assert!(log.reader(since).next().unwrap().is_some());
    // Who reads from another process is not waited for: it reads what it has open, and is told then.
    let told = loop {
        match behind.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the end, as if nothing was missing"),
            Err(error) => break error,
        }
    };
    assert!(matches!(told, LogError::Pruned { .. }), "{told}");
    follower.refresh().unwrap();
    assert_eq!(states(follower.reader(Time::ZERO)), states(log.reader(Time::ZERO)));
    // A request is known as long as its transaction is.
    let find = |step: u64| log.find_request(&RequestId(step.to_string().into_bytes().into()));
    assert_eq!(find(199).unwrap(), [Time(200)]);
    assert_eq!(find(3).unwrap(), []);
    assert_eq!(find(10).unwrap(), [Time(11)], "another table has its history");
}

#[test]
fn a_fold_waits_for_readers_and_for_transactions_in_parts() {
    let dir = dir();
    let log = busy(dir.path());
    let mut reader = log.reader(Time::ZERO);
    let first = reader.next().unwrap().unwrap();
    assert_eq!(first.first, Time(1));
    assert!(!fold(&log, &[("short", u64::MAX)]), "all of it is ahead of the reader");
    let early = log.prepare_fold(&wanted(&[("short", u64::MAX)]), &mut |_| true).unwrap();
    assert!(early.is_none());
    for _ in 0..100 {
        reader.next().unwrap();
    }
    assert!(fold(&log, &[("short", u64::MAX)]));
    assert!(log.stat().since < Time(101), "not further than the reader is");
    drop(reader);
    // A reader that comes while bases are written: nothing happens, and nothing is left.
    let late = log.prepare_fold(&wanted(&[("short", u64::MAX)]), &mut |_| true).unwrap().unwrap();
    let since = log.stat().since;
    let reader = log.reader(Time::ZERO);
    assert_eq!(late.commit(&mut |_| true).unwrap(), FoldOutcome::Held);
    assert_eq!(fs::read_dir(dir.path().join("base")).unwrap().count(), 2, "a list and a base");
    drop(reader);
    assert_eq!(log.stat().since, since);
    // A transaction in parts that is open holds everything from its first part on back.
    let part = |part: Part| {
        let tables = vec![changes("short", &[vec![(7, Some("y".repeat(3000)), 1)]])];
        TransactionGroup::new("s".into(), part, vec![head(300)], tables)
    };
    append(&log, &part(Part::First)).unwrap();
    let open = log.upper();
    for _ in 0..4 {
        append(&log, &part(Part::Middle)).unwrap();
    }
    assert!(fold(&log, &[("short", u64::MAX)]));
    assert!(log.stat().since < open);
    append(&log, &part(Part::Last)).unwrap();
    assert_eq!(states(log.reader(Time::ZERO)).len() as u64, log.upper().0 - log.stat().since.0);
}

#[test]
fn what_was_begun_is_finished_and_what_was_not_is_removed() {
    let dir = dir();
    let log = busy(dir.path());
    let mut expected = BTreeMap::new();
    check_states(&log, &mut expected);
    // It ends while bases are written: nothing happened.
    assert!(log.prepare_fold(&wanted(&[("short", u64::MAX)]), &mut |_| false).unwrap().is_none());
    assert_eq!(log.stat().since, Time::ZERO);
    // Bases are written, and the process ends.
    drop(log.prepare_fold(&wanted(&[("short", u64::MAX)]), &mut |_| true).unwrap().unwrap());
    drop(log);
    let (log, _) = open_with(dir.path(), small_segments());
    assert_eq!(fs::read_dir(dir.path().join("base")).unwrap().count(), 0);
    // It happened, and the process ends amid the rewriting of segments.
    let before = log.stat().bytes;
    let started =
        log.prepare_fold(&wanted(&[("short", u64::MAX)]), &mut |_| true).unwrap().unwrap();
    append(&log, &started.record()).unwrap();
    let mut left = 30;
    let mut some = |_| {
        left -= 1;
        left > 0
    };
    assert_eq!(started.commit(&mut some).unwrap(), FoldOutcome::Done);
    fs::write(dir.path().join("segment.thin"), "unfinished").unwrap();
    let (since, amid) = (log.stat().since, log.stat().bytes);
    assert!(since > Time::ZERO && amid < before);
    check_states(&log, &mut expected);
    drop(log);
    let (log, _) = open_with(dir.path(), small_segments());
    assert!(!dir.path().join("segment.thin").exists());
    assert_eq!((log.stat().since, log.stat().bytes), (since, amid + 128));
    check_states(&log, &mut expected);
    assert!(!fold(&log, &[("short", since.0)]), "there is nothing more to fold");
    assert!(log.stat().bytes < amid / 2, "but the rest is rewritten");
    check_states(&log, &mut expected);
}

#[test]
fn a_table_whose_columns_change_is_folded_only_where_it_was_emptied() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    let wide = {
        let mut fields = table("short").columns().fields().to_vec();
        fields.push(Arc::new(Field::new("more", DataType::Int64, true)));
        let name = TableName::new("s", "short");
        Arc::new(TableSchema::new(name, Arc::new(Schema::new(fields)), vec![0], ChangeForm::Upsert))
    };
    let set = |log: &Log, changes: TableChanges| {
        let group = TransactionGroup::new("s".into(), Part::Whole, vec![head(1)], vec![changes]);
        append(log, &group).unwrap();
    };
    let widely = |id: i64| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![id])),
            Arc::new(StringArray::from(vec!["z".repeat(2000)])),
            Arc::new(Int64Array::from(vec![7])),
        ];
        let rows = RecordBatch::try_new(Arc::clone(wide.columns()), columns).unwrap();
        TableChanges::new(Arc::clone(&wide), ChangeBatch::inserts(rows), vec![1], Vec::new())
    };
    set(&log, changes("short", &[vec![(1, Some("a".to_owned()), 1)]]));
    for id in 0..6 {
        set(&log, widely(id));
    }
    let refused = log.prepare_fold(&wanted(&[("short", u64::MAX)]), &mut |_| true).map(drop);
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), "LOG015", "{refused}");
    assert_eq!(log.stat().since, Time::ZERO);
    let dir = crate::world::dir();
    let (log, _) = open_with(dir.path(), small_segments());
    set(&log, changes("short", &[vec![(1, Some("a".to_owned()), 1)]]));
    set(&log, changes("short", &[vec![(0, None, TRUNCATE)]]));
    for id in 0..6 {
        set(&log, widely(id));
    }
    assert!(fold(&log, &[("short", u64::MAX)]));
    let mut reader = log.reader(Time::ZERO);
    let base = reader.next().unwrap().unwrap();
    assert_eq!(base.tables[0].table(), &wide);
    assert!(base.tables[0].changes().len() > 2);
}

#[test]
fn proofs_of_what_is_kept_stay_and_what_went_is_said() {
    let dir = dir();
    let mut random = ChaCha8Rng::seed_from_u64(99);
    let (log, _) = open_with(dir.path(), small_segments());
    fill(&log, 150, &mut BTreeMap::new(), &mut random);
    let records = |log: &Log| -> Vec<_> {
        (1..log.upper().0).map(|time| log.leaf_record(Time(time))).collect()
    };
    let before: Vec<_> = records(&log).into_iter().map(|record| record.unwrap().unwrap()).collect();
    let mut notary = notarize(&log).unwrap();
    assert!(!fold(&log, &[("short", u64::MAX)]), "the tree is not durable yet");
    notary.settle().unwrap();
    assert!(fold(&log, &[("short", u64::MAX), ("plain", 100)]));
    assert!(fold(&log, &[("short", u64::MAX), ("kept", 60)]));
    while notary.step().unwrap().is_some() {}
    notary.publish().unwrap();
    let state = notary.published().unwrap().checkpoint.clone();
    drop((notary, log));
    let log = read_only(dir.path());
    let (mut kept, mut gone, mut leaves) = (0, Vec::new(), Vec::new());
    for (time, record) in (1..).zip(records(&log)) {
        match (record, before.get(time as usize - 1)) {
            (Ok(Some(record)), Some(known)) => {
                assert_eq!(&record, known, "{time}");
                leaves.push(record.leaf());
                kept += 1;
            }
            (Ok(Some(record)), None) => leaves.push(record.leaf()),
            (Err(LogError::Pruned { from, upto }), Some(known)) => {
                assert!((from.0..=upto.0).contains(&time));
                leaves.push(known.leaf());
                gone.push(Time(time));
            }
            other => panic!("{time}: {other:?}"),
        }
    }
    assert!(kept > 20 && gone.len() > 20, "{kept} are kept, {} are gone", gone.len());
    assert_eq!(root_of(leaves[..state.size() as usize].to_vec()), state.root());
    let audit = log.audit(&[100, state.size()], state.size()).unwrap();
    assert_eq!(audit.roots.get(&state.size()), Some(&state.root()));
    let ranges = audit.pruned.iter().flat_map(|(first, last)| first.0..=last.0).map(Time);
    assert_eq!(ranges.collect::<Vec<_>>(), gone);
    assert_eq!(
        (audit.bases, audit.wrong_bases.as_slice(), audit.wrong_tiles.len()),
        (3, &[][..], 0)
    );
    // The tree goes on from where it was.
    let (log, _) = open_with(dir.path(), small_segments());
    fill(&log, 10, &mut BTreeMap::new(), &mut random);
    let mut notary = notarize(&log).unwrap();
    assert!(notary.published().unwrap().checkpoint.size() > state.size());
    notary.settle().unwrap();
    drop((notary, log));
    // A base that was changed is found, and so is a tile that holds the only trace of what went.
    let base = fs::read_dir(dir.path().join("base")).unwrap().map(|entry| entry.unwrap().path());
    let base = base.filter(|path| path.extension().is_some()).min().unwrap();
    let mut bytes = fs::read(&base).unwrap();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    fs::write(&base, bytes).unwrap();
    let log = read_only(dir.path());
    let audit = log.audit(&[], state.size()).unwrap();
    assert_eq!(audit.wrong_bases.iter().map(|wrong| &wrong.path).collect::<Vec<_>>(), [&base]);
}

#[test]
fn a_folded_log_whose_settled_state_is_lost_goes_on_from_what_was_signed() {
    let dir = dir();
    let log = busy(dir.path());
    notarize(&log).unwrap().settle().unwrap();
    assert!(fold(&log, &[("short", u64::MAX)]));
    drop(log);
    let settled = dir.path().join("proof/settled");
    let lose: [fn(&Path); 2] = [
        |settled| fs::remove_file(settled).unwrap(),
        |settled| fs::write(settled, "no checkpoint").unwrap(),
    ];
    for (round, lose) in (0..).zip(lose) {
        lose(&settled);
        let (log, _) = open_with(dir.path(), small_segments());
        let mut random = ChaCha8Rng::seed_from_u64(round);
        fill(&log, 10, &mut BTreeMap::new(), &mut random);
        let mut notary = notarize(&log).unwrap();
        let state = notary.published().unwrap().checkpoint.clone();
        assert_eq!(state.size(), log.upper().0 - 1, "it is signed still");
        let audit = log.audit(&[state.size()], state.size()).unwrap();
        assert_eq!(audit.roots.get(&state.size()), Some(&state.root()));
        assert_eq!((audit.wrong_tiles, audit.wrong_bundles), (vec![], vec![]));
        notary.settle().unwrap();
        assert!(fs::read_to_string(&settled).unwrap().contains(&format!("\n{}\n", state.size())));
    }
}

#[test]
fn a_log_without_its_list_of_bases_guesses_nothing() {
    let dir = dir();
    let log = busy(dir.path());
    assert!(fold(&log, &[("short", u64::MAX)]));
    drop(log);
    let list = dir.path().join("base/list");
    let bytes = fs::read(&list).unwrap();
    fs::remove_file(&list).unwrap();
    let log = read_only(dir.path());
    let mut reader = log.reader(Time::ZERO);
    let told = std::iter::from_fn(|| reader.next().transpose()).find_map(Result::err);
    assert!(matches!(told, Some(LogError::Pruned { .. })), "{told:?}");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(&list, changed).unwrap();
        let refused = Log::open_read_only(dir.path(), Arc::new(log::RealDisk)).map(drop);
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), "LOG004", "byte {at}");
        assert!(refused.help().unwrap().starts_with("`evert log repair` makes it again"));
    }
}
