//! The format's description and the code are the same.

use std::fmt::Write as _;

use change::{Part, TableName, Time, TransactionGroup};
use log::format::{
    FRAME_ALIGNMENT, FrameKind, GROUP_BYTES, HEAD_BYTES, HEADER_BYTES, HEADER_CRC, HEADER_FIELDS,
    Header, LEAF_BYTES, MAGIC, Place, SECTION_ALIGNMENT, TABLE_BYTES, VERSION,
};
use sha2::{Digest, Sha256};

use crate::world::{
    append, dir, frames, group, head, ids, open, open_with, part, rows, segments, small_segments,
    table as table_of,
};

const DOCUMENT: &str = include_str!("../../../../docs/format.md");

/// The rows of the table below a heading, split into cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = DOCUMENT.split_once(heading).expect("the heading is there");
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// Checks that a documented structure has no gap, and how long it is.
fn check_dense(heading: &str, bytes: usize) {
    let mut end = 0;
    for row in table(heading) {
        assert_eq!(row[0], end.to_string(), "{heading}: {row:?}");
        end += row[1].parse::<usize>().unwrap();
    }
    assert_eq!(end, bytes, "{heading}");
}

#[test]
fn the_documented_header_is_the_one_in_the_code() {
    let documented: Vec<(String, String, String)> = table("## The frame header")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
        .collect();
    let fields = HEADER_FIELDS.iter().chain([&HEADER_CRC]);
    let coded: Vec<(String, String, String)> =
        fields.map(|f| (f.offset.to_string(), f.bytes.to_string(), f.name.to_owned())).collect();
    assert_eq!(documented, coded);
    check_dense("## The frame header", HEADER_BYTES);
}

#[test]
fn the_documented_structures_have_the_sizes_in_the_code() {
    check_dense("### The group", GROUP_BYTES);
    check_dense("### A transaction", HEAD_BYTES);
    check_dense("### A table", TABLE_BYTES);
}

#[test]
fn the_documented_numbers_are_the_ones_in_the_code() {
    let constants = [
        ("header", HEADER_BYTES),
        ("frame alignment", FRAME_ALIGNMENT),
        ("section alignment", SECTION_ALIGNMENT),
        ("leaf commitment", LEAF_BYTES),
        ("format version", VERSION.into()),
    ];
    let mut expected = String::new();
    for (name, value) in constants {
        writeln!(expected, "{name} {value}").unwrap();
    }
    let mut found = String::new();
    for row in table("## Numbers") {
        writeln!(found, "{} {}", row[0], row[1]).unwrap();
    }
    assert_eq!(found, expected);
    assert!(DOCUMENT.contains(std::str::from_utf8(&MAGIC).unwrap()));
}

#[test]
fn a_written_group_lies_as_documented() {
    let dir = dir();
    let (log, _) = open(dir.path());
    append(&log, &group("shop", 7, &[1, 1])).unwrap();
    drop(log);
    let bytes = std::fs::read(&segments(dir.path())[0]).unwrap();
    let kinds: Vec<u8> = frames(&bytes).iter().map(|frame| frame.kind as u8).collect();
    assert_eq!(kinds, [1, 2, 3, 4]);
    let frame = &frames(&bytes)[2];
    assert_eq!(frame.flags, 0, "too small to be compressed");
    let payload = &bytes[frame.place.offset as usize + HEADER_BYTES..];
    let number = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
    assert_eq!((number(0), number(4), number(12)), (2, 1, 4), "transactions, tables, source");
    assert_eq!(&payload[GROUP_BYTES..GROUP_BYTES + 4], b"shop");
    let heads = GROUP_BYTES + 4;
    assert_eq!(payload[heads..heads + 2], [1, 3], "committed, at a step");
    assert_eq!(number(heads + HEAD_BYTES), 7, "the step");
    let table = (heads + number(8) as usize).next_multiple_of(SECTION_ALIGNMENT);
    assert_eq!((number(table), number(table + 4)), (0, 2), "first schema, two rows");
    assert_eq!(payload[table + 8..table + 12], [0, 1, 0, 0], "inserts, ends by transaction");
    let message = table + TABLE_BYTES + SECTION_ALIGNMENT;
    assert_eq!(number(message), u32::MAX, "an Arrow message");
    let length = (number(table + 16) + number(table + 20)) as usize;
    assert_eq!(message + length, frame.payload_length as usize, "up to the end");
}

/// The frames of a file that may have been rewritten, each with its place in the file.
fn frames_of(bytes: &[u8]) -> Vec<(usize, Header)> {
    let segment = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
    let (mut at, mut offset, mut found) = (0, 0, Vec::new());
    while at < bytes.len() {
        let header = Header::from_bytes(&bytes[at..], Place { segment, offset }).unwrap();
        (offset, at) = (header.end(), at + header.room() as usize);
        found.push((at - header.room() as usize, header));
    }
    found
}

#[test]
fn folded_history_lies_as_documented() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    for step in 0..60_u64 {
        let mut tables = vec![rows(&table_of("s", "short"), 7, &[3])];
        if step.is_multiple_of(2) {
            tables.push(rows(&table_of("s", "kept"), 9, &[2]));
        }
        let group = TransactionGroup::new("s".into(), Part::Whole, vec![head(step)], tables);
        append(&log, &group).unwrap();
    }
    let first = segments(dir.path()).remove(0);
    let before = frames_of(&std::fs::read(&first).unwrap());
    let wanted = [(TableName::new("s", "short"), Time(u64::MAX))].into();
    let fold = log.prepare_fold(&wanted, &mut |_| true).unwrap().unwrap();
    append(&log, &fold.record()).unwrap();
    let [folded] = fold.tables() else { panic!("one table is folded") };
    let folded = folded.clone();
    fold.commit(&mut |_| true).unwrap();

    let bytes = std::fs::read(&first).unwrap();
    let after = frames_of(&bytes);
    let is_thin = |header: &Header| header.flags & 4 != 0;
    assert_eq!(after[0].1.kind, FrameKind::Preamble);
    assert!(is_thin(&after[0].1) && after[0].1.span == 0);
    assert_eq!(after.last().unwrap().1.end(), before.last().unwrap().1.end(), "offsets stay");
    let (at, kept) = after.iter().find(|(_, f)| f.kind == FrameKind::Transactions).unwrap();
    assert!(is_thin(kept) && kept.span > kept.room());
    let payload = &bytes[at + HEADER_BYTES..];
    let number = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
    let heads = GROUP_BYTES + number(12) as usize + number(8) as usize;
    let table = heads.next_multiple_of(SECTION_ALIGNMENT);
    assert_eq!((number(table + 4), number(table + 24)), (3, 64), "rows and length");
    assert_eq!(payload[table + 8..table + 12], [3, 0, 0, 0], "its changes were folded");
    assert!(before.iter().any(|(_, frame)| frame.place == kept.place), "it is where it was");
    assert_eq!(payload[table + 12..table + 24], [0; 12]);
    assert_eq!(payload[table + 28..table + 32], [0; 4]);
    let next = table + 64;
    assert_eq!((number(next + 4), payload[next + 8]), (2, 0), "the other table is as it was");
    let (_, gap) = after.iter().find(|(_, f)| f.kind == FrameKind::Gap).unwrap();
    assert!(is_thin(gap) && gap.payload_length == 0 && gap.transactions == 1);
    assert_eq!((gap.first_time, gap.room()), (Time(2), 128));

    let list = std::fs::read(dir.path().join("base/list")).unwrap();
    assert_eq!(&list[..8], b"EVRTBS\x01\x00");
    let number = |at: usize| u64::from_le_bytes(list[at..at + 8].try_into().unwrap());
    assert_eq!([8, 16, 24, 32].map(number), [1, 0, 0, 1], "next, nothing to rewrite, one table");
    assert_eq!(
        (number(40), &list[48..49], number(49), &list[57..62]),
        (1, &b"s"[..], 5, &b"short"[..])
    );
    assert_eq!(number(62), folded.since.0);
    assert_eq!([78, 86, 94].map(number), [0, folded.rows, folded.bytes], "the file, rows, bytes");
    assert_eq!(list[102..134], folded.hash.0);
    let crc = crc32c::crc32c(&list[..134]);
    assert_eq!(list[134..], crc.to_le_bytes());

    let base = dir.path().join("base/00000000000000000000.base");
    let bytes = std::fs::read(base).unwrap();
    let kinds: Vec<u8> = frames_of(&bytes).iter().map(|(_, frame)| frame.kind as u8).collect();
    assert_eq!(kinds, [6, 2, 3, 4]);
    assert_eq!(bytes.len() as u64, folded.bytes);
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), folded.hash.0);
}

/// The hash of a word, a line end and bytes.
fn hash_of(word: &str, bytes: &[u8]) -> [u8; 32] {
    assert!(DOCUMENT.contains(&format!("`{word}`")), "{word} is documented");
    Sha256::new().chain_update(word).chain_update(b"\n").chain_update(bytes).finalize().into()
}

#[test]
fn a_leaf_commits_to_what_is_documented() {
    let dir = dir();
    let (log, _) = open(dir.path());
    append(&log, &group("shop", 7, &[1, 1])).unwrap();
    append(&log, &part("shop", Part::First, 8, &[3])).unwrap();
    append(&log, &part("shop", Part::Last, 8, &[4])).unwrap();
    let records = [1, 3].map(|time| log.leaf_record(Time(time)).unwrap().unwrap());
    drop(log);
    let bytes = std::fs::read(&segments(dir.path())[0]).unwrap();
    let payloads: Vec<&[u8]> = frames(&bytes)
        .iter()
        .filter(|frame| frame.payload_length > 0)
        .map(|frame| {
            &bytes[frame.place.offset as usize + HEADER_BYTES..][..frame.payload_length as usize]
        })
        .collect();
    // A preamble, the schema, and three groups of one table.
    let schema = hash_of("evert/schema/v1", &hash_of("evert/schema/v1", payloads[1]));
    let stored = |payload: &[u8]| {
        let number = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
        let heads = GROUP_BYTES + number(12) as usize + number(8) as usize;
        let (before, table) = payload.split_at(heads.next_multiple_of(SECTION_ALIGNMENT));
        let pieces = [hash_of("evert/piece/v1", before), hash_of("evert/piece/v1", table)];
        hash_of("evert/stored/v1", pieces.as_flattened())
    };
    let first = hash_of("evert/part/v1", &[schema, stored(payloads[3])].concat());
    let last = hash_of("evert/part/v1", &[first, schema, stored(payloads[4])].concat());
    assert_eq!(records.map(|record| record.schema.0), [schema; 2]);
    assert_eq!(records.map(|record| record.stored.0), [stored(payloads[2]), last]);
}

#[test]
fn leaf_commitments_come_back_beside_their_transactions() {
    let dir = dir();
    let (log, _) = open(dir.path());
    append(&log, &group("s", 0, &[1, 1])).unwrap();
    drop(log);
    let file = segments(dir.path()).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    let mut header = frames(&bytes)[2].clone();
    let start = header.place.offset as usize;
    let payload = &bytes[start + HEADER_BYTES..start + header.bytes() as usize];
    let leaves = [[1; LEAF_BYTES], [2; LEAF_BYTES]];
    header.leaves = 2;
    header.leaves_crc = crc32c::crc32c(leaves.as_flattened());
    let mut frame = [&bytes[..start], &header.to_bytes(), leaves.as_flattened(), payload].concat();
    frame.resize(header.end() as usize, 0);
    std::fs::write(&file, frame).unwrap();
    let (log, recovery) = open(dir.path());
    assert_eq!(recovery.cut_bytes, 0);
    assert_eq!(log.raw_frames().next().unwrap().unwrap().leaves, leaves);
    assert_eq!(ids(&log, 0).len(), 2);
}
