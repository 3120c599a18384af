//! Tests of records: what they are must not depend on the blocks they come in.

use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const QUOTED: Framing = Framing::Quoted { delimiter: b',' };

fn split(framing: Framing, limit: usize, blocks: &[&[u8]]) -> Vec<(Kind, u64, Vec<u8>)> {
    let mut records = Records::new(framing, limit, 0, 0);
    let mut found = Vec::new();
    let mut drain = |records: &mut Records| {
        while let Some(at) = records.next() {
            found.push((at.kind, at.line, records.bytes(&at).to_vec()));
        }
    };
    for block in blocks {
        records.feed(block);
        drain(&mut records);
    }
    records.finish();
    drain(&mut records);
    let bytes: usize = blocks.iter().map(|block| block.len()).sum();
    let SourcePosition::Line { bytes: read, .. } = records.position() else { unreachable!() };
    assert_eq!(read, bytes as u64, "all bytes are read");
    found
}

fn check(framing: Framing, input: &str, expected: Expect) {
    let mut shown = String::new();
    for (kind, line, bytes) in split(framing, 20, &[input.as_bytes()]) {
        let bytes = String::from_utf8_lossy(&bytes);
        writeln!(shown, "{line} {kind:?} {bytes:?}").unwrap();
    }
    expected.assert_eq(&shown);
}

#[test]
fn lines_end_in_any_usual_way() {
    check(
        Framing::Lines,
        "\u{feff}one\r\ntwo\n\n\"four\nfive",
        expect![[r#"
            1 Whole "one"
            2 Whole "two"
            3 Whole ""
            4 Whole "\"four"
            5 Whole "five"
        "#]],
    );
}

#[test]
fn quoted_fields_hold_line_ends() {
    check(
        QUOTED,
        "\u{feff}\"a\"\"\n\",b\r\nc,5\" d\n\"\",\"\n\"\n\"e\"",
        expect![[r#"
            1 Whole "\"a\"\"\n\",b"
            3 Whole "c,5\" d"
            4 Whole "\"\",\"\n\""
            6 Whole "\"e\""
        "#]],
    );
}

#[test]
fn a_long_record_is_passed_with_its_line() {
    check(
        Framing::Lines,
        "short\nmuch longer than twenty bytes\nshort again\n",
        expect![[r#"
            1 Whole "short"
            2 TooLong "much longer than twen"
            3 Whole "short again"
        "#]],
    );
}

#[test]
fn an_unclosed_quote_costs_one_line() {
    check(
        QUOTED,
        "a,\"b\nc,d\ne,f",
        expect![[r#"
            1 Unclosed "a,\"b"
            2 Whole "c,d"
            3 Whole "e,f"
        "#]],
    );
    check(
        QUOTED,
        "a,\"b\nc,d and very much more\ne,f\n",
        expect![[r#"
            1 Unclosed "a,\"b"
            2 TooLong "c,d and very much mor"
            3 Whole "e,f"
        "#]],
    );
}

proptest! {
    #[test]
    fn records_do_not_depend_on_blocks(
        input in "([a\",\r\n\u{feff}]|aaaaaaaaaa){0,60}",
        cuts in prop::collection::vec(0_usize..200, 0..8),
        quoted: bool,
    ) {
        let framing = if quoted { QUOTED } else { Framing::Lines };
        let input = input.as_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let blocks: Vec<_> = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect();
        prop_assert_eq!(split(framing, 20, &blocks), split(framing, 20, &[input]));
    }

    #[test]
    fn reading_on_gives_the_same_records(input in "[a\",\n]{0,40}", quoted: bool) {
        let framing = if quoted { QUOTED } else { Framing::Lines };
        let all = split(framing, 20, &[input.as_bytes()]);
        let mut records = Records::new(framing, 20, 0, 0);
        records.feed(input.as_bytes());
        records.finish();
        let mut count = 0;
        while records.next().is_some() {
            count += 1;
            let SourcePosition::Line { bytes, lines } = records.position() else { unreachable!() };
            let mut rest = Records::new(framing, 20, bytes, lines);
            rest.feed(&input.as_bytes()[usize::try_from(bytes).unwrap()..]);
            rest.finish();
            for expected in &all[count..] {
                let found = rest.next().unwrap();
                let found = (found.kind, found.line, rest.bytes(&found).to_vec());
                prop_assert_eq!(&found, expected);
            }
            prop_assert!(rest.next().is_none());
        }
    }
}
