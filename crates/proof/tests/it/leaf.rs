//! Leaves: one spelling, every byte bound, and erasure that breaks no proof.

use proof::{
    LEAF_BYTES, LEAF_FIELDS, LeafError, LeafRecord, PlainText, Position, Salt, TreeHead, leaf_hash,
    position_hash, request_hash, schema_hash, source_hash, stored_hash, verify_inclusion,
};
use proptest::prelude::*;

use crate::model::path;

/// The record that `docs/format.md` shows.
pub(crate) fn example() -> LeafRecord {
    let parts = [Salt([0x11; 32]).commit(b"Ada"), Salt([0x22; 32]).commit(b"+44 20 7946 0000")];
    LeafRecord {
        time: 73_895,
        source: Some(source_hash("shop")),
        position: Position::Lsn(0x0000_0001_6b37_4d48),
        request: Some(request_hash(b"7c9e6679-7425-40de-944b-e07fc1f90ae7")),
        schema: schema_hash(b"{}"),
        stored: stored_hash(b"stored bytes"),
        plain: PlainText::of_parts(&parts),
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let positions = [
        Position::None,
        Position::Lsn(u64::MAX),
        Position::Line { bytes: 1 << 40, lines: 3 },
        Position::Step(9),
        Position::Hashed(position_hash(b"gtid set")),
    ];
    for position in positions {
        let record = LeafRecord { position, ..example() };
        assert_eq!(LeafRecord::decode(&record.encode()), Ok(record));
    }
    let bare = LeafRecord { source: None, request: None, plain: None, ..example() };
    assert_eq!(LeafRecord::decode(&bare.encode()), Ok(bare));
    let end = LEAF_FIELDS.iter().fold(0, |end, (name, offset, bytes)| {
        assert_eq!(end, *offset, "{name}");
        end + bytes
    });
    assert_eq!(end, LEAF_BYTES);
}

#[test]
fn no_bit_of_a_record_can_be_changed_unseen() {
    let record = example();
    let bytes = record.encode();
    for bit in 0..LEAF_BYTES * 8 {
        let mut changed = bytes;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(leaf_hash(&changed), record.leaf());
        match LeafRecord::decode(&changed) {
            Ok(other) => assert_eq!((other != record, other.encode()), (true, changed)),
            Err(LeafError::Version(_) | LeafError::Field(_)) => {}
            Err(LeafError::Size) => panic!("the size is right"),
        }
    }
}

#[test]
fn what_is_never_written_is_refused() {
    let bytes = example().encode();
    let refuse = |change: &dyn Fn(&mut [u8; LEAF_BYTES]), error: LeafError| {
        let mut changed = bytes;
        change(&mut changed);
        assert_eq!(LeafRecord::decode(&changed), Err(error));
    };
    refuse(&|bytes| bytes[0] = 2, LeafError::Version(2));
    refuse(&|bytes| bytes[1] = 5, LeafError::Field("position_kind"));
    refuse(&|bytes| bytes[1] = 0, LeafError::Field("position"));
    refuse(&|bytes| bytes[24] = 1, LeafError::Field("position"));
    refuse(&|bytes| bytes[47] = 1, LeafError::Field("position"));
    refuse(&|bytes| bytes[2] |= 4, LeafError::Field("marks"));
    refuse(&|bytes| bytes[2] = 2, LeafError::Field("source"));
    refuse(&|bytes| bytes[2] = 1, LeafError::Field("request"));
    refuse(&|bytes| bytes[3] = 1, LeafError::Field("reserved"));
    refuse(&|bytes| bytes[4..8].fill(0), LeafError::Field("plain"));
    refuse(&|bytes| bytes[8..16].fill(0), LeafError::Field("time"));
    for length in [0, 1, LEAF_BYTES - 1] {
        assert_eq!(LeafRecord::decode(&bytes[..length]), Err(LeafError::Size));
    }
    assert_eq!(LeafRecord::decode(&[0; LEAF_BYTES + 1]), Err(LeafError::Size));
}

#[test]
fn an_erased_part_keeps_the_proofs_of_the_others() {
    let phone = Salt([0x22; 32]);
    let record = example();
    let plain = record.plain.unwrap();
    let tree = TreeHead { size: u64::from(plain.parts()), root: plain.root() };
    // What is kept of the erased name is its commitment, without the salt.
    let erased = Salt([0x11; 32]).commit(b"Ada");
    let commitments = [erased, phone.commit(b"+44 20 7946 0000")];
    let leaves: Vec<_> = commitments.iter().map(|part| leaf_hash(&part.0)).collect();
    let shown = leaf_hash(&phone.commit(b"+44 20 7946 0000").0);
    assert_eq!(verify_inclusion(&shown, 1, &tree, &path(1, &leaves)), Ok(()));
    let lie = leaf_hash(&phone.commit(b"+44 20 7946 0001").0);
    assert!(verify_inclusion(&lie, 1, &tree, &path(1, &leaves)).is_err());
    // The leaf is the same as before.
    assert_eq!(PlainText::of_parts(&commitments), record.plain);
    assert_eq!(PlainText::of_parts(&[]), None);
}

proptest! {
    #[test]
    fn a_commitment_binds_salt_length_and_text(
        salt: [u8; 32], other_salt: [u8; 32], plain: Vec<u8>, other: Vec<u8>,
    ) {
        let commitment = Salt(salt).commit(&plain);
        prop_assert_eq!(Salt(salt).commit(&other) == commitment, plain == other);
        prop_assert_eq!(Salt(other_salt).commit(&plain) == commitment, salt == other_salt);
        // Bytes moved from the text into the salt's place, or back, are another commitment.
        prop_assert_ne!(stored_hash(&plain), commitment);
        prop_assert_eq!(format!("{:?}", Salt(salt)), "Salt(…)");
    }
}

#[test]
fn the_same_bytes_mean_different_things_in_different_places() {
    let hashes = [
        source_hash("x"),
        request_hash(b"x"),
        schema_hash(b"x"),
        stored_hash(b"x"),
        position_hash(b"x"),
        leaf_hash(b"x"),
    ];
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}
