//! Tests of declared columns.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::*;

fn check(declaration: &str, expected: Expect) {
    let mut shown = String::new();
    match parse_columns(declaration) {
        Ok(fields) => {
            for field in fields {
                let logical = change::logical_type(&field).unwrap_or_default();
                writeln!(shown, "{} {} {logical}", field.name(), field.data_type()).unwrap();
            }
        }
        Err(error) => writeln!(shown, "{error}\n{}", error.help().unwrap()).unwrap(),
    }
    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn columns_are_declared_as_in_postgresql() {
    check(
        "id BIGINT, \"Full \"\"Name\"\"\" varchar(20), price numeric(12, 2), at timestamp with time zone,
         tags text[], total numeric, huge numeric(60), x double  precision, doc jsonb, u uuid",
        expect![[r#"
            id Int64
            Full "Name" Utf8
            price Decimal128(12, 2)
            at Timestamp(µs, "UTC")
            tags List(Utf8)
            total Decimal256(76, 18) numeric
            huge Decimal256(60, 0)
            x Float64
            doc Utf8 jsonb
            u Utf8 uuid
        "#]],
    );
}

#[test]
fn wrong_declarations_are_refused_with_help() {
    check(
        "id bigit",
        expect![[r"
            option columns: column id: there is no type bigit
            did you mean bigint?
        "]],
    );
    check(
        "id",
        expect![[r"
            option columns: 'id' is not a name and a type
            write columns = 'id bigint, name text, price numeric(12,2)'
        "]],
    );
    check(
        "price numeric(2,12)",
        expect![[r"
            option columns: column price: numeric(2,12) needs 1 to 76 digits, of which the second number
            known types are boolean, smallint, integer, bigint, real, double precision, numeric, text, bytea, uuid, date, time, timestamp, timestamptz, json, jsonb
        "]],
    );
    assert!(parse_columns("a int, a text").is_err(), "a column is declared once");
    assert!(parse_columns("\"a").is_err());
    assert!(parse_columns("").is_err());
}
