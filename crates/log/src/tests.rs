//! Tests of what only this crate sees: the codec, without a log around it; and the order in which a failure is told.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Int32Type, Schema};
use change::{
    ChangeBatch, ChangeForm, Part, RequestId, SourcePosition, TableChanges, TableName, TableSchema,
    Time, TransactionGroup, TransactionHead, Unchanged,
};
use proptest::prelude::*;

use crate::decode::{self, Wanted};
use crate::disk::{Access, Disk, DiskFile};
use crate::encode::{self, Compression};
use crate::faults::FaultyDisk;
use crate::format::{FormatError, FrameKind, Header, Place};
use crate::preamble::Preamble;
use crate::schema::{FoundSchema, Registry, Schemas};
use crate::scrub::Scrubber;
use crate::scrub::survey::{Ending, survey};
use crate::{Log, LogError, LogOptions, RealDisk};

fn group() -> TransactionGroup {
    let lists = vec![Some(vec![Some(1), None]), None, Some(vec![Some(2)])];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), Some(2), None])),
        Arc::new(StringArray::from(vec![Some("one"), None, Some("three")])),
        Arc::new(BinaryArray::from(vec![Some(&b"1"[..]), None, Some(b"3")])),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
    ];
    let fields: Vec<Field> = (0..)
        .zip(&columns)
        .map(|(at, column)| Field::new(format!("c{at}"), column.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let name = TableName::new("s", "t");
    let table = TableSchema::new(name, Arc::clone(&schema), vec![0], ChangeForm::Upsert);
    let rows = RecordBatch::try_new(schema, columns).unwrap();
    let changes = ChangeBatch::new(rows, Int64Array::from(vec![1, -1, 1]));
    let unchanged = vec![Unchanged { row: 0, column: 1 }];
    let changes = TableChanges::new(Arc::new(table), changes, vec![1, 3], unchanged);
    let head = TransactionHead {
        position: Some(SourcePosition::Lsn(1)),
        committed_at_us: Some(2),
        request: Some(RequestId((*b"once").into())),
        causes: vec![Time(1)],
    };
    let heads = vec![head, TransactionHead::own()];
    TransactionGroup::new("s".into(), Part::Whole, heads, vec![changes])
}

fn encoded() -> (Vec<u8>, Schemas) {
    let encoded = encode::encode(&group(), &Registry::default(), Compression::Off).unwrap();
    let mut schemas = Schemas::default();
    for schema in &encoded.schemas {
        schemas.insert(FoundSchema::from_bytes(&schema.payload).unwrap());
    }
    let pieces: Vec<&[u8]> = encoded.payload.iter().map(Buffer::as_slice).collect();
    (pieces.concat(), schemas)
}

fn decode(payload: &[u8], schemas: &Schemas) -> Result<Vec<TableChanges>, FormatError> {
    let payload = Buffer::from(payload);
    let heads = decode::heads(&payload)?;
    decode::tables(&payload, &heads, schemas.of(heads.source).1, Wanted::All)
}

#[test]
fn what_is_encoded_is_decoded() {
    let (payload, schemas) = encoded();
    assert_eq!(decode(&payload, &schemas).unwrap(), group().tables());
    assert_eq!(decode::heads(&payload).unwrap().heads, group().heads());
}

#[test]
fn columns_are_not_copied() {
    let (payload, schemas) = encoded();
    let payload = Buffer::from(payload.as_slice());
    let heads = decode::heads(&payload).unwrap();
    let tables = decode::tables(&payload, &heads, schemas.of("s").1, Wanted::All).unwrap();
    let memory = payload.as_slice().as_ptr_range();
    for column in tables[0].changes().rows().columns() {
        for buffer in column.to_data().buffers() {
            assert!(memory.contains(&buffer.as_ptr()), "a column lies in the payload");
        }
    }
}

#[test]
fn no_changed_byte_and_no_prefix_makes_the_decoder_panic() {
    let (payload, schemas) = encoded();
    for at in 0..payload.len() {
        assert!(decode(&payload[..at], &schemas).is_err(), "{at} bytes");
        for value in [0, 1, 0x7f, 0x80, 0xff, payload[at] ^ 1, payload[at] ^ 0x10] {
            let mut changed = payload.clone();
            changed[at] = value;
            // Most are errors; some change a value and are not.
            drop(decode(&changed, &schemas));
        }
    }
}

#[test]
fn leaves_have_their_room_in_a_frame() {
    let mut header = Header::new(FrameKind::Transactions);
    header.leaves = 3;
    header.leaves_crc = 9;
    header.payload_length = 10;
    header.plain_length = 10;
    let place = Place { segment: 0, offset: 0 };
    assert_eq!(header.leaves_bytes(), 96);
    assert_eq!(header.bytes(), 128 + 96 + 10);
    assert_eq!(header.end(), 256);
    assert_eq!(Header::from_bytes(&header.to_bytes(), place), Ok(header));
}

#[test]
fn a_payload_that_claims_too_much_allocates_nothing() {
    let (payload, schemas) = encoded();
    for claim in [0, 4, 8, 12] {
        let mut hostile = payload.clone();
        hostile[claim..claim + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&hostile, &schemas).is_err(), "number at byte {claim}");
    }
    let mut header = Header::new(FrameKind::Transactions);
    header.flags = crate::format::FLAG_LZ4;
    header.payload_length = 100;
    header.plain_length = 1 << 30;
    let read = Header::from_bytes(&header.to_bytes(), header.place);
    assert!(matches!(read, Err(FormatError::Value(_))), "{read:?}");
}

#[test]
fn whoever_is_refused_finds_the_reason() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultyDisk::default());
    let options = LogOptions { queue_bytes_max: 1, ..LogOptions::default() };
    let (log, _) = Log::open(dir.path(), options, Arc::new(disk.clone()), || 0).unwrap();
    disk.fail_sync_after(0);
    // While this is held the writer cannot say why it stops, so it may not refuse anyone yet.
    let state = log.shared.state();
    log.append(&group(), Box::new(drop)).unwrap();
    let (sender, refused) = mpsc::channel();
    std::thread::scope(|scope| {
        let log = &log;
        scope.spawn(move || sender.send(log.append(&group(), Box::new(drop))).unwrap());
        assert!(refused.recv_timeout(Duration::from_millis(200)).is_err(), "refused too early");
        drop(state);
        let result = refused.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(result, Err(LogError::SyncFailed { .. })), "{result:?}");
        assert!(matches!(log.failure(), Some(LogError::SyncFailed { .. })));
    });
}

/// A disk that gives what is behind some place of a file only to who begins to read there: as if the rest had been
/// written after it was read ahead.
struct Late(u64);

struct LateFile(Arc<dyn DiskFile>, u64);

impl Disk for Late {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LateFile(RealDisk.open(path, access)?, self.0)))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.create(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

impl DiskFile for LateFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_at(buffer, offset)?;
        if let Some(early) = self.1.checked_sub(offset).filter(|early| *early > 0) {
            let early = usize::try_from(early).unwrap().min(read);
            buffer[early..read].fill(0);
        }
        Ok(read)
    }
    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        self.0.write_at(pieces, offset)
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.allocate(length)
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn what_was_written_after_it_was_read_ahead_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::default();
    let (log, _) = Log::open(dir.path(), options, Arc::new(RealDisk), || 0).unwrap();
    for _ in 0..5 {
        let (sender, durable) = mpsc::channel();
        log.append(&group(), Box::new(move |told| sender.send(told).unwrap())).unwrap();
        durable.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    }
    let surveyed = |disk: &dyn Disk| {
        let mut starts = Vec::new();
        let mut take = |header: &Header, _: u64, _: Buffer| starts.push(header.place.offset);
        let mut go_on = |_| ControlFlow::Continue(());
        let found = survey(disk, (dir.path(), 1), Ending::Open, &mut go_on, &mut take).unwrap();
        (found.wounds, starts)
    };
    let (wounds, starts) = surveyed(&RealDisk);
    assert_eq!((wounds.len(), starts.len() >= 6), (0, true));
    for late in &starts[1..] {
        assert_eq!(surveyed(&Late(*late)), (vec![], starts.clone()), "from byte {late} on");
    }
}

#[test]
fn an_index_is_not_made_again_while_segments_are_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes_max: 4096, ..LogOptions::default() };
    let (log, _) = Log::open(dir.path(), options, Arc::new(RealDisk), || 0).unwrap();
    while log.shared.full_segments().is_empty() {
        let (sender, durable) = mpsc::channel();
        log.append(&group(), Box::new(move |told| sender.send(told).unwrap())).unwrap();
        durable.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    }
    log.shared.keep_index(1).unwrap();
    let path = dir.path().join("index").join(format!("{:020}", 1));
    std::fs::write(&path, "no index").unwrap();
    let shared = Some(Arc::clone(&log.shared));
    let scrubber = Scrubber { disk: Arc::new(RealDisk), dir: dir.path().to_owned(), shared };
    let pass = || scrubber.pass(true, 0, &mut |_| ControlFlow::Continue(())).unwrap();
    let (mut found, mut tiles) = pass();
    let thinning = log.shared.thinning.lock().unwrap();
    scrubber.make_again(&mut found, &mut tiles).unwrap();
    assert_eq!((found.made_again, found.damage.len()), (0, 1));
    assert_eq!(std::fs::read(&path).unwrap(), b"no index");
    drop(thinning);
    scrubber.make_again(&mut found, &mut tiles).unwrap();
    assert_eq!((found.made_again, found.damage.len()), (1, 0));
    assert_eq!(pass().0.damage, []);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (_, schemas) = encoded();
        prop_assert!(decode(&bytes, &schemas).is_err());
        prop_assert!(FoundSchema::from_bytes(&bytes).is_err());
        let place = Place { segment: 1, offset: 0 };
        prop_assert!(Header::from_bytes(&bytes, place).is_err());
        drop(Preamble::from_bytes(&bytes));
    }

    #[test]
    fn changed_bytes_cause_no_panic(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (mut payload, schemas) = encoded();
        for (at, value) in hits {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        drop(decode(&payload, &schemas));
    }
}
