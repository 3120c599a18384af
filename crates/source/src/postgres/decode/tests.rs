//! Messages as a server sends them, and as none would.
#![allow(clippy::indexing_slicing, reason = "tests look where they know")]

use arrow::datatypes::Schema;
use change::{TableChanges, TableName, TransactionGroup, Unchanged};
use proptest::prelude::*;

use super::*;

const OID: u32 = 16_400;

fn target(form: ChangeForm) -> Target {
    let kinds = vec![Kind::Int32, Kind::Text(None), Kind::Numeric];
    let names = ["id", "name", "n"];
    let fields: Vec<_> = names.iter().zip(&kinds).map(|(name, kind)| kind.field(name)).collect();
    let key = if form == ChangeForm::Upsert { vec![0] } else { Vec::new() };
    let name = TableName::new("shop", "t");
    let schema = Arc::new(TableSchema::new(name, Arc::new(Schema::new(fields)), key, form));
    Target { schema, kinds, namespace: "public".to_owned(), name: "t".to_owned() }
}

fn decoder(form: ChangeForm) -> Decoder {
    Decoder::new("shop".into(), vec![target(form)], Types::default(), 100)
}

/// A message under construction.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(tag: u8) -> Self {
        Self(vec![tag])
    }
    fn and(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn text(self, text: &str) -> Self {
        self.and(text.as_bytes()).and(&[0])
    }
    fn tuple(self, tag: u8, cells: &[Option<&[u8]>]) -> Self {
        let count = i16::try_from(cells.len()).unwrap();
        let mut bytes = self.and(&[tag]).and(&count.to_be_bytes());
        for cell in cells {
            bytes = match cell {
                None => bytes.and(b"n"),
                Some(b"unchanged") => bytes.and(b"u"),
                Some(value) => {
                    let length = i32::try_from(value.len()).unwrap();
                    bytes.and(b"b").and(&length.to_be_bytes()).and(value)
                }
            };
        }
        bytes
    }
}

fn begin(lsn: u64) -> Vec<u8> {
    Bytes::new(b'B').and(&lsn.to_be_bytes()).and(&[0; 12]).0
}

fn commit(end: u64) -> Vec<u8> {
    Bytes::new(b'C').and(&[0; 9]).and(&end.to_be_bytes()).and(&[0; 8]).0
}

fn relation(columns: &[(u8, &str, u32)]) -> Vec<u8> {
    let count = i16::try_from(columns.len()).unwrap();
    let mut bytes = Bytes::new(b'R').and(&OID.to_be_bytes()).text("public").text("t");
    bytes = bytes.and(b"d").and(&count.to_be_bytes());
    for &(key, name, oid) in columns {
        bytes = bytes.and(&[key]).text(name).and(&oid.to_be_bytes()).and(&(-1_i32).to_be_bytes());
    }
    bytes.0
}

/// The server's columns are in another order than ours, and one came later.
const COLUMNS: &[(u8, &str, u32)] =
    &[(0, "n", 1700), (0, "name", 25), (1, "id", 23), (0, "later", 600)];

fn insert(id: i32, name: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    Bytes::new(b'I').and(&OID.to_be_bytes()).tuple(b'N', &[None, Some(name), Some(&id), None]).0
}

/// An update that moves key `old` to `new` and leaves the name as it is.
fn moved(old: i32, new: i32) -> Vec<u8> {
    let (old, new) = (old.to_be_bytes(), new.to_be_bytes());
    Bytes::new(b'U')
        .and(&OID.to_be_bytes())
        .tuple(b'K', &[None, None, Some(&old), None])
        .tuple(b'N', &[None, Some(b"unchanged"), Some(&new), None])
        .0
}

fn feed(decoder: &mut Decoder, messages: &[Vec<u8>]) -> Result<(), SourceError> {
    messages.iter().try_for_each(|message| decoder.feed(message).map(drop))
}

fn rows(groups: &[TransactionGroup]) -> &TableChanges {
    &groups[0].tables()[0]
}

#[test]
fn columns_are_found_by_name_and_a_moved_key_is_two_changes() {
    let mut decoder = decoder(ChangeForm::Upsert);
    let messages = [begin(100), relation(COLUMNS), insert(7, b"seven"), moved(7, 8), commit(150)];
    feed(&mut decoder, &messages).unwrap();
    let groups = decoder.gather().cut();
    let changes = rows(&groups);
    assert_eq!(changes.changes().diffs(), [1, -1, 1]);
    assert_eq!(changes.unchanged(), [Unchanged { row: 2, column: 1 }]);
    let shown = arrow::util::pretty::pretty_format_batches(&[changes.changes().rows().clone()]);
    expect_test::expect![[r"
        +----+-------+---+
        | id | name  | n |
        +----+-------+---+
        | 7  | seven |   |
        | 7  |       |   |
        | 8  |       |   |
        +----+-------+---+"]]
    .assert_eq(&shown.unwrap().to_string());
    assert_eq!(groups[0].heads()[0].position, Some(SourcePosition::Lsn(150)));
}

#[test]
fn what_was_committed_before_is_skipped_and_so_is_what_nobody_follows() {
    let mut decoder = decoder(ChangeForm::Upsert);
    let mut other = relation(COLUMNS);
    other[4] = 0xff;
    other[12] = b'x';
    let mut change = insert(3, b"c");
    change[4] = 0xff;
    let messages = [
        [begin(99), relation(COLUMNS), insert(1, b"a"), commit(100)],
        [begin(100), other, change, commit(120)],
    ];
    for messages in messages {
        feed(&mut decoder, &messages).unwrap();
        assert!(decoder.gather().cut().is_empty());
    }
    assert!(!decoder.is_open());
}

#[test]
fn a_table_that_changed_is_named_with_what_changed() {
    let check = |columns: &[(u8, &str, u32)], expected: &str| {
        let error = decoder(ChangeForm::Upsert).feed(&relation(columns)).unwrap_err();
        assert_eq!(error.to_string(), format!("table shop.t has changed: {expected}"));
    };
    check(&[(1, "id", 23), (0, "n", 1700)], "column name is gone");
    check(&[(1, "id", 20), (0, "name", 25), (0, "n", 1700)], "column id has another type");
    check(&[(0, "id", 23), (1, "name", 25), (0, "n", 1700)], "its key was (id) and is now (name)");
}

#[test]
fn an_exact_table_without_old_rows_is_refused() {
    let mut decoder = decoder(ChangeForm::Exact);
    let error = feed(&mut decoder, &[begin(100), relation(COLUMNS), moved(1, 2)]).unwrap_err();
    assert_eq!(error.code(), "SRC008");
}

#[test]
fn messages_that_end_too_early_are_errors() {
    let messages = [begin(100), relation(COLUMNS), insert(7, b"seven"), moved(7, 8), commit(150)];
    for (at, message) in messages.iter().enumerate() {
        for end in 0..message.len() {
            // What follows a commit's LSN is not read.
            if at == 4 && end >= 18 || at == 0 && end >= 17 {
                continue;
            }
            let mut decoder = decoder(ChangeForm::Upsert);
            feed(&mut decoder, &messages[..at]).unwrap();
            assert!(decoder.feed(&message[..end]).is_err(), "message {at} cut at {end}");
        }
    }
}

fn copy(rows: &[(i32, &[u8])]) -> Vec<u8> {
    let mut bytes = Bytes(COPY_SIGNATURE.to_vec()).and(&[0; 8]);
    for (id, name) in rows {
        let length = i32::try_from(name.len()).unwrap();
        bytes = bytes.and(&3_i16.to_be_bytes()).and(&4_i32.to_be_bytes()).and(&id.to_be_bytes());
        bytes = bytes.and(&length.to_be_bytes()).and(name).and(&(-1_i32).to_be_bytes());
    }
    bytes.and(&(-1_i16).to_be_bytes()).0
}

fn copied(pieces: &[&[u8]]) -> Result<Vec<TransactionGroup>, SourceError> {
    let target = target(ChangeForm::Upsert);
    let mut gather = Gather::new("shop".into(), &[Arc::clone(&target.schema)]);
    gather.begin(TransactionHead::at(SourcePosition::Lsn(1), None));
    let mut decoder = CopyDecoder::new(&target, 0);
    for piece in pieces {
        decoder.feed(&mut gather, piece)?;
    }
    decoder.finish()?;
    gather.commit(SourcePosition::Lsn(1));
    Ok(gather.cut())
}

#[test]
fn a_copy_may_be_cut_anywhere() {
    let bytes = copy(&[(1, b"one"), (2, b""), (3, b"three")]);
    let whole = copied(&[&bytes]).unwrap();
    assert_eq!(whole[0].rows(), 3);
    for at in 0..bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(copied(&[left, right]).unwrap(), whole, "cut at {at}");
        assert!(copied(&[left]).is_err(), "ended at {at}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        at in 0_usize..5, place in 0_usize..64, byte: u8, noise: Vec<u8>, form in 0..2,
    ) {
        let form = if form == 0 { ChangeForm::Upsert } else { ChangeForm::Exact };
        let mut messages =
            vec![begin(100), relation(COLUMNS), insert(7, b"seven"), moved(7, 8), commit(150)];
        let message = &mut messages[at];
        let place = place % message.len();
        message[place] = byte;
        messages.insert(at, noise);
        let mut decoder = decoder(form);
        for message in &messages {
            decoder.feed(message).map(drop).unwrap_or_default();
        }
        decoder.gather().cut();
    }

    #[test]
    fn no_copy_makes_it_panic(place in 0_usize..80, byte: u8, noise: Vec<u8>) {
        let mut bytes = copy(&[(1, b"one"), (2, b""), (3, b"three")]);
        let place = place % bytes.len();
        bytes[place] = byte;
        copied(&[&bytes]).map(drop).unwrap_or_default();
        copied(&[&noise]).map(drop).unwrap_or_default();
    }
}
