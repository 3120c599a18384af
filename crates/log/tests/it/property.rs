//! Random groups come back as they were; hostile frames with right checksums never cause a panic.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{Field, Int32Type, Schema};
use change::{
    ChangeBatch, ChangeForm, Part, RequestId, SourcePosition, TRUNCATE, TableChanges, TableName,
    TableSchema, Time, TransactionGroup, TransactionHead, Unchanged,
};
use log::format::{HEADER_BYTES, Header};
use log::{Compression, LogOptions, RealDisk};
use proptest::prelude::*;

use crate::notary::notarize;
use crate::world::{
    append, dir, frames, group, open, open_with, options, read, segments, try_open,
};

type Row = (bool, Option<i64>, Option<String>, Option<i128>, Option<Vec<Option<i32>>>, i64);

fn any_row() -> impl Strategy<Value = Row> {
    let diff = prop_oneof![4 => Just(1), 2 => -3_i64..=3, 1 => any::<i64>(), 1 => Just(TRUNCATE)];
    let decimal = proptest::option::of(-999_999_999_999_i128..=999_999_999_999);
    let list = proptest::option::of(prop::collection::vec(any::<Option<i32>>(), 0..4));
    (any::<bool>(), any::<Option<i64>>(), proptest::option::of(".{0,20}"), decimal, list, diff)
}

fn any_head() -> impl Strategy<Value = TransactionHead> {
    let position = prop_oneof![
        Just(None),
        any::<u64>().prop_map(|at| Some(SourcePosition::Lsn(at))),
        any::<(u64, u64)>().prop_map(|(bytes, lines)| Some(SourcePosition::Line { bytes, lines })),
        any::<u64>().prop_map(|at| Some(SourcePosition::Step(at))),
    ];
    let request = proptest::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let causes = prop::collection::vec(any::<u64>().prop_map(Time), 0..4);
    (position, any::<Option<i64>>(), request, causes).prop_map(|(position, at, request, causes)| {
        let request = request.map(|id| RequestId(id.into()));
        TransactionHead { position, committed_at_us: at, request, causes }
    })
}

fn changes(name: &str, rows: &[Row], ends: Vec<u32>, marks: Vec<(u32, u32)>) -> TableChanges {
    let lists = rows.iter().map(|row| row.4.clone());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Decimal128Array>()),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
    ];
    let field = |(at, column): (usize, &ArrayRef)| {
        Field::new(format!("column {at}"), column.data_type().clone(), true)
    };
    let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
    let name = TableName::new("s", name);
    let table = TableSchema::new(name, Arc::clone(&schema), vec![0], ChangeForm::Upsert);
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    let diffs: Int64Array = rows.iter().map(|row| Some(row.5)).collect();
    let mut unchanged: Vec<Unchanged> = marks
        .into_iter()
        .filter(|_| !rows.is_empty())
        .map(|(row, column)| Unchanged { row: row % rows.len().max(1) as u32, column: column % 5 })
        .collect();
    unchanged.sort();
    TableChanges::new(Arc::new(table), ChangeBatch::new(batch, diffs), ends, unchanged)
}

fn any_group() -> impl Strategy<Value = TransactionGroup> {
    let heads = prop::collection::vec(any_head(), 1..8);
    heads.prop_flat_map(|heads| {
        let count = heads.len();
        let table = (
            prop::collection::vec(any_row(), 0..20),
            prop::collection::vec(any::<prop::sample::Index>(), count),
            prop::collection::vec(any::<(u32, u32)>(), 0..5),
        );
        prop::collection::vec(table, 0..4).prop_map(move |tables| {
            let tables = tables.into_iter().enumerate().map(|(at, (rows, ends, marks))| {
                let mut ends: Vec<u32> =
                    ends.iter().map(|end| end.index(rows.len() + 1) as u32).collect();
                ends.sort_unstable();
                *ends.last_mut().expect("one for each transaction") = rows.len() as u32;
                changes(&format!("t{at}"), &rows, ends, marks)
            });
            TransactionGroup::new("s".into(), Part::Whole, heads.clone(), tables.collect())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn groups_come_back_as_they_were(
        groups in prop::collection::vec(any_group(), 1..6),
        compress in any::<bool>(),
    ) {
        let compression = if compress { Compression::WhenItPays } else { Compression::Off };
        let dir = dir();
        let options = LogOptions { compression, segment_bytes_max: 20_000, ..options() };
        let (log, _) = open_with(dir.path(), options);
        for group in &groups {
            append(&log, group).unwrap();
        }
        drop(log);
        let (log, _) = open_with(dir.path(), options);
        let chunks = read(&log, 0);
        prop_assert_eq!(chunks.len(), groups.len());
        for (chunk, group) in chunks.iter().zip(&groups) {
            prop_assert_eq!(&chunk.heads[..], group.heads());
            prop_assert_eq!(&chunk.tables[..], group.tables());
        }
        // What the notary makes of it and what the audit makes of it is the same tree.
        let notary = notarize(&log).unwrap();
        let root = notary.published().unwrap().checkpoint.root();
        let audit = log.audit(&[notary.size()], notary.size()).unwrap();
        prop_assert_eq!(audit.roots.get(&notary.size()), Some(&root));
        prop_assert_eq!(audit.wrong_tiles, []);
        for (time, head) in (1..).zip(groups.iter().flat_map(TransactionGroup::heads)) {
            if let Some(request) = &head.request {
                prop_assert!(log.find_request(request).unwrap().contains(&Time(time)));
            }
        }
    }

    #[test]
    fn hostile_frames_with_right_checksums_cause_no_panic(
        sent in any_group(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        frame in any::<prop::sample::Index>(),
        plain_length in proptest::option::of(any::<u32>()),
        flags in 0_u32..4,
    ) {
        let dir = dir();
        let (log, _) = open(dir.path());
        append(&log, &sent).unwrap();
        append(&log, &group("s", 1, &[2])).unwrap();
        drop(log);
        let file = segments(dir.path()).remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        let headers: Vec<Header> =
            frames(&bytes).into_iter().filter(|header| header.payload_length > 0).collect();
        let mut header = headers[frame.index(headers.len())].clone();
        let start = header.place.offset as usize + HEADER_BYTES;
        let payload = &mut bytes[start..start + header.payload_length as usize];
        for (at, value) in hits {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        header.payload_crc = crc32c::crc32c(payload);
        header.flags = flags;
        header.plain_length = plain_length.unwrap_or(header.plain_length);
        let at = header.place.offset as usize;
        bytes[at..at + HEADER_BYTES].copy_from_slice(&header.to_bytes());
        std::fs::write(&file, bytes).unwrap();
        if let Ok((log, _)) = try_open(dir.path(), options(), Arc::new(RealDisk)) {
            let mut reader = log.reader(Time::ZERO);
            while let Ok(Some(chunk)) = reader.next() {
                prop_assert!(chunk.tables.iter().all(|table| table.changes().len() < 1 << 20));
            }
            drop(notarize(&log));
            drop(log.audit(&[], 0));
            drop(log.find_request(&RequestId((*b"id").into())));
        }
    }
}
