//! The section "Proofs" of the format's description and the code are the same.

use proof::{LEAF_BYTES, LEAF_FIELDS, LeafRecord, Salt, TileId};

use crate::leaf::example;
use crate::model::{hash, unhex};

const DOCUMENT: &str = include_str!("../../../../docs/format.md");

fn section() -> &'static str {
    DOCUMENT.split_once("\n## Proofs\n").expect("the section is there").1
}

/// The rows of the first table below a heading, split into cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, below) = section().split_once(heading).expect("the heading is there");
    let lines = below.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &'static str| {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
    };
    rows.map(cells).collect()
}

/// The indented lines below a sentence.
fn block(sentence: &str) -> String {
    let (_, below) = section().split_once(sentence).expect("the sentence is there");
    let lines = below.lines().skip_while(|line| !line.starts_with("    "));
    lines.take_while(|line| line.starts_with("    ")).map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_documented_record_is_the_one_in_the_code() {
    let documented: Vec<(String, String, String)> = table("### A leaf's record")
        .iter()
        .map(|row| (row[2].to_owned(), row[0].to_owned(), row[1].to_owned()))
        .collect();
    let coded: Vec<(String, String, String)> = LEAF_FIELDS
        .iter()
        .map(|(name, offset, bytes)| ((*name).to_owned(), offset.to_string(), bytes.to_string()))
        .collect();
    assert_eq!(documented, coded);
}

#[test]
fn the_documented_bytes_are_the_ones_in_the_code() {
    let bytes = unhex(&block("The record's bytes:"));
    let written: String = example().encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bytes.len(), LEAF_BYTES, "{written}");
    assert_eq!(bytes, example().encode(), "{written}");
    assert_eq!(LeafRecord::decode(&bytes), Ok(example()));
    assert_eq!(hash(&block("Its leaf hash:")), example().leaf());
    let commitment = Salt([0x11; 32]).commit(b"Ada");
    assert_eq!(hash(&block("commits to `Ada` with")), commitment);
}

#[test]
fn the_documented_paths_are_paths() {
    let rows = table("### Tiles");
    assert!(rows.len() >= 4);
    for row in rows {
        assert!(TileId::parse(row[0]).is_some(), "{}", row[0]);
    }
}
