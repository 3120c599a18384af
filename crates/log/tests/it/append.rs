//! Appending: order, acknowledgement, and that equal input gives equal bytes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float64Array, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, i256};
use change::catalog::{CatalogChange, Kind, OWN_SOURCE, catalog_changes};
use change::{
    ChangeBatch, ChangeForm, Part, RequestId, SourcePosition, TRUNCATE, TableChanges, TableName,
    TableSchema, Time, TransactionGroup, TransactionHead, Unchanged, with_logical_type,
};
use log::format::FrameKind;
use log::{Compression, Log, LogError, LogOptions};

use crate::world::{
    append, append_later, dir, frames, group, ids, open, open_with, options, part, read, rows,
    segments, small_segments, table,
};

fn all_types() -> (Arc<TableSchema>, RecordBatch) {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None, Some(3)]),
        None,
        Some(vec![]),
    ]);
    let item = Arc::new(Field::new("x", DataType::Int32, true));
    let structs = StructArray::new(
        vec![item].into(),
        vec![Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef],
        None,
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("int2", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        ("int8", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None]))),
        ("float8", Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::INFINITY)]))),
        ("text", Arc::new(StringArray::from(vec![Some("ä"), Some(""), None]))),
        ("bytea", Arc::new(BinaryArray::from(vec![Some(&b"\xff\x00"[..]), None, Some(b"")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(-1), None, Some(i32::MAX)]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(2)]))),
        (
            "timestamptz",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, Some(i64::MAX)])
                    .with_timezone("UTC"),
            ),
        ),
        (
            "numeric",
            Arc::new(
                Decimal128Array::from(vec![Some(12_345), None, Some(-1)])
                    .with_precision_and_scale(12, 2)
                    .unwrap(),
            ),
        ),
        (
            "wide",
            Arc::new(
                Decimal256Array::from(vec![Some(i256::from_i128(i128::MAX)), None, None])
                    .with_precision_and_scale(76, 18)
                    .unwrap(),
            ),
        ),
        (
            "uuid",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1_u8; 16]), None, Some([2; 16])].into_iter(),
                    16,
                )
                .unwrap(),
            ),
        ),
        ("ints", Arc::new(list)),
        ("pair", Arc::new(structs)),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .map(|field| match field.name().as_str() {
            "uuid" => with_logical_type(field, "uuid"),
            _ => field,
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let name = TableName::new("pg", "all_types");
    let table = TableSchema::new(name, Arc::clone(&schema), vec![2], ChangeForm::Upsert);
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    (Arc::new(table), RecordBatch::try_new(schema, columns).unwrap())
}

#[test]
fn every_type_and_every_mark_comes_back_as_it_was() {
    for compression in [Compression::Off, Compression::WhenItPays] {
        let dir = dir();
        let (log, _) = open_with(dir.path(), LogOptions { compression, ..options() });
        let (table, batch) = all_types();
        let diffs = Int64Array::from(vec![1, -1, TRUNCATE]);
        let changes = TableChanges::new(
            Arc::clone(&table),
            ChangeBatch::new(batch.clone(), diffs),
            vec![0, 1, 1, 3, 3],
            vec![Unchanged { row: 0, column: 4 }, Unchanged { row: 2, column: 9 }],
        );
        // A batch that is a slice of another one, at an odd place.
        let sliced = ChangeBatch::inserts(batch).slice(1, 2);
        let other = TableSchema::new(
            TableName::new("pg", "sliced"),
            Arc::clone(table.columns()),
            vec![],
            ChangeForm::Exact,
        );
        let sliced = TableChanges::new(Arc::new(other), sliced, vec![0, 0, 0, 1, 2], vec![]);
        let heads = vec![
            TransactionHead::own(),
            TransactionHead::at(SourcePosition::Lsn(u64::MAX), Some(-1)),
            TransactionHead::at(SourcePosition::Line { bytes: 5, lines: 1 }, None),
            TransactionHead {
                position: Some(SourcePosition::Step(3)),
                committed_at_us: Some(i64::MIN),
                request: Some(RequestId((*b"\x00once").into())),
                causes: vec![Time(1), Time(u64::MAX)],
            },
            TransactionHead { request: Some(RequestId([].into())), ..TransactionHead::own() },
        ];
        let tables = vec![changes, sliced];
        let sent = TransactionGroup::new("pg".into(), Part::Whole, heads, tables);
        assert_eq!(append(&log, &sent).unwrap(), Time(5));
        let [chunk] = read(&log, 0).try_into().unwrap();
        assert_eq!((chunk.first, chunk.last, chunk.complete), (Time(1), Time(5), true));
        assert_eq!(chunk.heads, sent.heads());
        assert_eq!(chunk.tables, sent.tables());
        assert_eq!(&chunk.source, sent.source());
    }
}

#[test]
fn a_type_that_the_log_cannot_hold_is_refused_by_name() {
    let dir = dir();
    let (log, _) = open(dir.path());
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Null, true)]));
    let name = TableName::new("s", "nulls");
    let table = TableSchema::new(name, Arc::clone(&schema), vec![], ChangeForm::Exact);
    let empty = ChangeBatch::empty(schema);
    let changes = TableChanges::new(Arc::new(table), empty, vec![0], vec![]);
    let heads = vec![TransactionHead::own()];
    let refused = TransactionGroup::new("s".into(), Part::Whole, heads, vec![changes]);
    let error = append(&log, &refused).unwrap_err();
    assert!(
        matches!(&error, LogError::Unsupported { table, .. } if table.to_string() == "s.nulls")
    );
    assert_eq!(append(&log, &group("s", 1, &[1])).unwrap(), Time(1), "the log goes on");
}

#[test]
fn many_threads_get_dense_times_in_the_order_of_each() {
    let dir = dir();
    let queue_bytes_max = 10_000;
    let (log, _) = open_with(dir.path(), LogOptions { queue_bytes_max, ..small_segments() });
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                let source = format!("source{thread}");
                let mut before = Time::ZERO;
                for step in 0..50 {
                    let time = append(log, &group(&source, step, &[1, 2])).unwrap();
                    assert!(time > before.next(), "two transactions took two Times");
                    before = time;
                }
            });
        }
    });
    assert_eq!(log.upper(), Time(801));
    assert_eq!(ids(&log, 0).len(), 8 * 50 * 3);
    let mut steps = std::collections::BTreeMap::<Arc<str>, Vec<Option<SourcePosition>>>::new();
    for chunk in read(&log, 0) {
        let heads = chunk.heads.iter().map(|head| head.position);
        steps.entry(chunk.source).or_default().extend(heads);
    }
    for (source, steps) in steps {
        assert_eq!(steps.len(), 100);
        assert!(steps.is_sorted(), "{source} keeps its order");
    }
    assert!(segments(dir.path()).len() > 10, "segments were small");
}

#[test]
fn what_waits_during_a_sync_is_written_together() {
    let dir = dir();
    let (log, _) = open(dir.path());
    let waiting: Vec<_> =
        (0..200).map(|step| append_later(&log, &group("s", step, &[1])).unwrap()).collect();
    for (expected, waiting) in (1..).zip(waiting) {
        assert_eq!(waiting.recv().unwrap().unwrap(), Time(expected));
    }
    let mut raw = log.raw_frames();
    let mut writes = std::collections::BTreeSet::new();
    while let Some(frame) = raw.next().unwrap() {
        writes.insert((frame.header.place.segment, frame.header.batch_offset));
    }
    assert!(writes.len() < 200, "{} writes for 200 groups", writes.len());
}

#[test]
fn equal_input_gives_equal_payloads() {
    let payloads = |compression| {
        let dir = dir();
        let (log, _) = open_with(dir.path(), LogOptions { compression, ..small_segments() });
        let (table, batch) = all_types();
        for step in 0..20 {
            append(&log, &group("b", step, &[3, 0, 1])).unwrap();
            let changes = ChangeBatch::inserts(batch.clone());
            let changes = TableChanges::new(Arc::clone(&table), changes, vec![3], vec![]);
            let heads = vec![TransactionHead::own()];
            let all = TransactionGroup::new("pg".into(), Part::Whole, heads, vec![changes]);
            append(&log, &all).unwrap();
            append(&log, &part("a", Part::First, step, &[40])).unwrap();
            append(&log, &part("a", Part::Last, step, &[40])).unwrap();
        }
        let mut raw = log.raw_frames();
        std::iter::from_fn(|| raw.next().unwrap())
            .map(|frame| frame.payload)
            .collect::<Vec<Buffer>>()
    };
    for compression in [Compression::Off, Compression::WhenItPays] {
        let (one, two) = (payloads(compression), payloads(compression));
        assert_eq!(one.len(), 80);
        assert!(one == two, "with {compression:?}");
    }
}

#[test]
fn compression_is_used_where_it_pays_only() {
    let size = |compression, noise: bool| {
        let dir = dir();
        let (log, _) = open_with(dir.path(), LogOptions { compression, ..options() });
        let table = table("s", "t");
        let mut random = 1_u64;
        let ids: Vec<i64> = (0..100_000)
            .map(|id| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if noise { (random ^ (random >> 29)) as i64 } else { id % 10 }
            })
            .collect();
        let notes: StringArray = ids.iter().map(|_| None::<&str>).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(notes)];
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("note", DataType::Utf8, true),
        ]);
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let changes = TableChanges::new(table, ChangeBatch::inserts(batch), vec![100_000], vec![]);
        let heads = vec![TransactionHead::own()];
        let sent = TransactionGroup::new("s".into(), Part::Whole, heads, vec![changes]);
        append(&log, &sent).unwrap();
        assert_eq!(read(&log, 0)[0].tables, sent.tables());
        log.stat().bytes
    };
    let plain = size(Compression::Off, false);
    assert!(size(Compression::WhenItPays, false) < plain / 4);
    let noise = size(Compression::Off, true);
    assert!(size(Compression::WhenItPays, true) <= noise);
}

#[test]
fn positions_and_numbers_survive_segments_and_restarts() {
    let dir = dir();
    for round in 0..5 {
        let (log, recovery) = open_with(dir.path(), small_segments());
        assert_eq!(recovery.upper, Time(round * 40 + 1));
        assert_eq!(recovery.log_id, [7; 16]);
        assert_eq!(recovery.cut_bytes, 0);
        let expected = |step: u64| (round > 0).then_some(SourcePosition::Step(step));
        let found = |source| recovery.positions.get(source).copied();
        assert_eq!(found("busy"), expected((round * 39).saturating_sub(1)));
        assert_eq!(found("rare"), expected(round.saturating_sub(1)));
        append(&log, &group("rare", round, &[1])).unwrap();
        for done in 0..39 {
            append(&log, &group("busy", round * 39 + done, &[2])).unwrap();
        }
        let stat = log.stat();
        assert_eq!(stat.transactions, (round + 1) * 40);
        assert_eq!(stat.rows, (round + 1) * 79);
        assert_eq!((stat.since, stat.upper), (Time::ZERO, Time((round + 1) * 40 + 1)));
        assert_eq!(stat.segments as usize, segments(dir.path()).len());
    }
    let (log, recovery) = open_with(dir.path(), small_segments());
    assert!(segments(dir.path()).len() > 5);
    assert_eq!(recovery.upper, Time(201));
    assert_eq!(ids(&log, 0).len(), 5 * 79);
}

#[test]
fn a_closed_log_takes_no_room_that_it_does_not_use() {
    let dir = dir();
    let (log, _) = open(dir.path());
    append(&log, &group("s", 0, &[1])).unwrap();
    let running = std::fs::metadata(&segments(dir.path())[0]).unwrap().len();
    assert!(running >= 4 << 20, "room is allocated ahead: {running}");
    let bytes = log.stat().bytes;
    drop(log);
    let closed = std::fs::metadata(&segments(dir.path())[0]).unwrap().len();
    assert_eq!(closed, bytes + 128, "the frames, and one that says that the log was closed");
    drop(open(dir.path()));
    let again = std::fs::metadata(&segments(dir.path())[0]).unwrap().len();
    assert_eq!(again, closed, "opening and closing adds nothing");
}

#[test]
fn what_is_queued_when_the_log_is_dropped_becomes_durable() {
    let dir = dir();
    let (log, _) = open(dir.path());
    let waiting: Vec<_> =
        (0..50).map(|step| append_later(&log, &group("s", step, &[1])).unwrap()).collect();
    let mut reader = log.reader(Time::ZERO);
    drop(log);
    for (expected, waiting) in (1..).zip(waiting) {
        assert_eq!(waiting.recv().unwrap().unwrap(), Time(expected));
    }
    let mut transactions = 0;
    let end = loop {
        match reader.next_blocking(Duration::from_secs(5)) {
            Ok(chunk) => transactions += chunk.unwrap().heads.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((transactions, end.code()), (50, LogError::Closed.code()));
}

#[test]
fn own_tables_are_found_without_reading_the_rest() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    let change = |name: &str| CatalogChange {
        kind: Kind::View,
        name: name.to_owned(),
        definition: Some("select 1".to_owned()),
    };
    for step in 0..30 {
        append(&log, &group("s", step, &[5])).unwrap();
    }
    let catalog = catalog_changes(&[change("a"), change("b")]);
    let heads = vec![TransactionHead::own()];
    let own = TransactionGroup::new(OWN_SOURCE.into(), Part::Whole, heads, vec![catalog.clone()]);
    append(&log, &own).unwrap();
    // A part with one of Evert's tables among parts without.
    append(&log, &part("s", Part::First, 30, &[5])).unwrap();
    let both = vec![rows(&table("s", "t"), 0, &[3]), catalog.clone()];
    let heads = vec![TransactionHead::own()];
    let both = TransactionGroup::new("s".into(), Part::Middle, heads, both);
    append(&log, &both).unwrap();
    append(&log, &part("s", Part::Last, 30, &[5])).unwrap();
    append(&log, &group("s", 31, &[5])).unwrap();

    let mut reader = log.reader(Time::ZERO).only_own();
    let whole = reader.next().unwrap().unwrap();
    assert_eq!((whole.first, whole.tables), (Time(31), vec![catalog.clone()]));
    let middle = reader.next().unwrap().unwrap();
    assert_eq!((middle.first, middle.complete), (Time(32), false));
    assert_eq!(middle.tables, vec![catalog]);
    let last = reader.next().unwrap().unwrap();
    assert_eq!((last.first, last.complete, last.tables.len()), (Time(32), true, 0));
    assert_eq!(reader.next().unwrap(), None);
}

#[test]
fn a_log_at_rest_is_read_without_being_touched() {
    let dir = dir();
    let read_only = || Log::open_read_only(dir.path(), Arc::new(log::RealDisk));
    assert_eq!(read_only().err().unwrap().code(), "LOG011");
    let (log, _) = open(dir.path());
    append(&log, &group("s", 0, &[1, 1])).unwrap();
    drop(log);
    // An unfinished write.
    let file = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend([9; 100]);
    std::fs::write(&file, &bytes).unwrap();
    let (log, recovery) = read_only().unwrap();
    assert_eq!((recovery.upper, recovery.cut_bytes), (Time(3), 0));
    assert_eq!(ids(&log, 0).len(), 2);
    assert_eq!(append(&log, &group("s", 2, &[1])).unwrap_err().code(), "LOG010");
    drop(log);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let missing = Log::open_read_only(&dir.path().join("none"), Arc::new(log::RealDisk));
    assert_eq!(missing.err().unwrap().code(), "LOG011");
}

#[test]
fn a_closed_log_holds_what_was_queued_and_takes_nothing_more() {
    let dir = dir();
    let (log, _) = open(dir.path());
    let waiting: Vec<_> =
        (0..50).map(|step| append_later(&log, &group("s", step, &[1])).unwrap()).collect();
    let closed = || {
        let bytes = std::fs::read(&segments(dir.path())[0]).unwrap();
        let last = frames(&bytes).pop().unwrap();
        assert_eq!((last.kind, last.end()), (FrameKind::Close, bytes.len() as u64));
        bytes
    };
    // Whoever closes returns when the log is closed, not only the first.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                log.close();
                closed();
            });
        }
    });
    for waiting in waiting {
        waiting.try_recv().expect("all were told before").unwrap();
    }
    assert!(matches!(append(&log, &group("s", 50, &[1])), Err(LogError::Closed)));
    assert!(matches!(log.failure(), Some(LogError::Closed)));
    assert_eq!(ids(&log, 0).len(), 50, "still readable");
    // The handle that is left does not write behind the back of the next owner.
    let bytes = closed();
    let (next, recovery) = open(dir.path());
    assert_eq!((recovery.upper, recovery.cut_bytes), (Time(51), 0));
    append(&next, &group("s", 50, &[1])).unwrap();
    drop(log);
    assert_eq!(ids(&next, 0).len(), 51);
    drop(next);
    assert!(closed().starts_with(&bytes));
}
