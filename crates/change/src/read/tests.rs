//! Tests of values from text.

use std::fmt::Write;

use arrow::datatypes::i256;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check<T: fmt::Debug>(
    parse: impl Fn(&str) -> Result<T, ValueError>,
    texts: &[&str],
    expected: Expect,
) {
    let mut shown = String::new();
    for text in texts {
        match parse(text) {
            Ok(value) => writeln!(shown, "{text} = {value:?}").unwrap(),
            Err(error) => writeln!(shown, "{text} ! {error}").unwrap(),
        }
    }
    expected.assert_eq(&shown);
}

#[test]
fn decimals_keep_every_digit_or_are_refused() {
    check(
        |text| parse_decimal128(text, 5, 2),
        &["1", "-1.5", "+.25", "1.", "999.99", "1000", "1.005", "1.500", "15e-1", "1.5e2", "1e3"],
        expect![[r"
            1 = 100
            -1.5 = -150
            +.25 = 25
            1. = 100
            999.99 = 99999
            1000 ! '1000' has more digits than numeric(5,2) holds
            1.005 ! '1.005' has more than 2 decimal places
            1.500 = 150
            15e-1 = 150
            1.5e2 = 15000
            1e3 ! '1e3' has more digits than numeric(5,2) holds
        "]],
    );
    check(
        |text| parse_decimal128(text, 38, 0),
        &["", "-", ".", "e5", "1e", "1 ", "0x1", "NaN", "1e999999999", "0e999999999", "00000"],
        expect![[r"
             ! '' is no number
            - ! '-' is no number
            . ! '.' is no number
            e5 ! 'e5' is no number
            1e ! '1e' is no number
            1  ! '1 ' is no number
            0x1 ! '0x1' is no number
            NaN ! 'NaN' is no number
            1e999999999 ! '1e999999999' has more digits than numeric(38,0) holds
            0e999999999 = 0
            00000 = 0
        "]],
    );
}

#[test]
fn decimals_of_more_than_38_digits_are_exact() {
    let digits = "12345678901234567890123456789012345678901234567890.000000000000000001";
    let value = parse_decimal256(digits, 76, 18).unwrap();
    let shown = "12345678901234567890123456789012345678901234567890000000000000000001";
    assert_eq!(value, i256::from_string(shown).unwrap());
    assert_eq!(parse_decimal256(&format!("-{digits}"), 76, 18), Ok(value.wrapping_neg()));
}

#[test]
fn dates_are_those_of_the_calendar() {
    check(
        parse_date,
        &[
            "1970-01-01",
            "1969-12-31",
            "2000-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-04-31",
            "0001-01-01 BC",
            "0000-12-31",
            "294276-12-31",
            "infinity",
            "-infinity",
            "24-1-1",
            "2024-01-01x",
        ],
        expect![[r#"
            1970-01-01 = 0
            1969-12-31 = -1
            2000-02-29 = 11016
            1900-02-29 ! '1900-02-29' is no date
            2024-13-01 ! '2024-13-01' is no date
            2024-04-31 ! '2024-04-31' is no date
            0001-01-01 BC = -719528
            0000-12-31 = -719163
            294276-12-31 = 106762939
            infinity = 2147483647
            -infinity = -2147483648
            24-1-1 ! '24-1-1' is no date
            2024-01-01x ! '2024-01-01x' is no date
        "#]],
    );
}

#[test]
fn timestamps_keep_infinity_and_their_zone() {
    check(
        parse_instant,
        &[
            "1970-01-01 00:00:00",
            "1970-01-01T00:00:01.5Z",
            "1970-01-01 02:00:00+02",
            "1970-01-01 00:00:00.123456-03:30",
            "1970-01-01T00:00:00.1234567",
            "1970-01-02",
            "1970-01-01 24:00:00",
            "1970-01-01 24:00:01",
            "1970-01-01 12:60",
            "1970-01-01 12:00 PM",
            "infinity",
            "-infinity",
        ],
        expect![[r"
            1970-01-01 00:00:00 = Instant { us: 0, zoned: false }
            1970-01-01T00:00:01.5Z = Instant { us: 1500000, zoned: true }
            1970-01-01 02:00:00+02 = Instant { us: 0, zoned: true }
            1970-01-01 00:00:00.123456-03:30 = Instant { us: 12600123456, zoned: true }
            1970-01-01T00:00:00.1234567 = Instant { us: 123457, zoned: false }
            1970-01-02 = Instant { us: 86400000000, zoned: false }
            1970-01-01 24:00:00 = Instant { us: 86400000000, zoned: false }
            1970-01-01 24:00:01 ! '1970-01-01 24:00:01' is no timestamp
            1970-01-01 12:60 ! '1970-01-01 12:60' is no timestamp
            1970-01-01 12:00 PM ! '1970-01-01 12:00 PM' is no timestamp
            infinity = Instant { us: 9223372036854775807, zoned: false }
            -infinity = Instant { us: -9223372036854775808, zoned: false }
        "]],
    );
    assert!(parse_timestamp("2024-01-01 00:00+01").is_err(), "a zone is not dropped");
}

#[test]
fn arrays_are_read_as_postgresql_writes_them() {
    check(
        parse_array,
        &[
            "{}",
            "{1,NULL,3}",
            r#"{"a,b","q\"x","NULL",""}"#,
            "[0:1]={1,2}",
            "{{1},{2}}",
            "{1,}",
            "{1",
            "1",
        ],
        expect![[r#"
            {} = []
            {1,NULL,3} = [Some("1"), None, Some("3")]
            {"a,b","q\"x","NULL",""} = [Some("a,b"), Some("q\"x"), Some("NULL"), Some("")]
            [0:1]={1,2} = [Some("1"), Some("2")]
            {{1},{2}} ! '{{1},{2}}' has more than one dimension
            {1,} ! '{1,}' is no array
            {1 ! '{1' is no array
            1 ! '1' is no array
        "#]],
    );
}

#[test]
fn uuids_take_their_usual_form() {
    check(
        parse_uuid,
        &[
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
            "a0eebc99",
            "",
        ],
        expect![[r#"
            A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11 = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
            {a0eebc999c0b4ef8bb6d6bb9bd380a11} = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
            a0eebc99 ! 'a0eebc99' is no uuid
             ! '' is no uuid
        "#]],
    );
}

proptest! {
    #[test]
    fn decimals_survive_their_text(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_i8..30) {
        let digits = format!("{:0>40}", value.unsigned_abs());
        let (whole, fraction) = digits.split_at(40 - usize::try_from(scale).unwrap());
        let sign = if value < 0 { "-" } else { "" };
        let text = format!("{sign}{whole}.{fraction}");
        prop_assert_eq!(parse_decimal128(&text, 38, scale), Ok(value));
        prop_assert_eq!(parse_decimal256(&text, 76, scale), Ok(i256::from_i128(value)));
    }

    #[test]
    fn days_of_the_calendar_follow_each_other(year in -4000_i64..8000, month in 1_i64..=12) {
        let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let last = days_from_civil(year, month, month_days(year, month));
        prop_assert_eq!(last + 1, days_from_civil(next.0, next.1, 1));
    }

    #[test]
    fn no_text_panics(text in ".{0,30}|[-+0-9.eE: TZ]{0,40}|[{}\",a\\\\]{0,12}") {
        drop((parse_bool(&text), parse_decimal128(&text, 38, 10), parse_decimal256(&text, 76, 18)));
        drop((parse_date(&text), parse_time(&text), parse_instant(&text)));
        drop((parse_bytea(&text), parse_uuid(&text), parse_array(&text)));
    }
}
