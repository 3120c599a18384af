//! Values as JSON and as text: exact, one row a claim.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DictionaryArray, Float32Array, Float64Array, Int8Array, Int64Array, ListArray, NullArray,
    RecordBatch, StringArray, StringViewArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, i256};
use change::{ChangeBatch, with_logical_type};
use expect_test::{Expect, expect};
use view::json;
use view::text::{CellWriter, to_csv};

/// Shows each value of a column as JSON and as text.
fn check(array: impl Array + 'static, logical: Option<&str>, expected: Expect) {
    let array: ArrayRef = Arc::new(array);
    let field = Field::new("c", array.data_type().clone(), true);
    let field = match logical {
        Some(logical) => with_logical_type(field, logical),
        None => field,
    };
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
    let (writer, cells) = (json::RowWriter::new(&rows), CellWriter::new(&rows));
    let mut shown = String::new();
    for row in 0..rows.num_rows() {
        let mut value = Vec::new();
        writer.value(row, 0, &mut value);
        let value = String::from_utf8(value).unwrap();
        let cell = cells.cell(row, 0).unwrap_or_else(|| "NULL".to_owned());
        writeln!(shown, "{value} | {cell}").unwrap();
    }
    expected.assert_eq(&shown);
    // Whatever is written is JSON, with every digit kept.
    for map in json::to_maps(&rows) {
        assert_eq!(map.len(), 1);
    }
}

#[test]
fn whole_numbers_are_exact() {
    check(
        Int64Array::from(vec![Some(i64::MIN), Some(0), Some(i64::MAX), None]),
        None,
        expect![[r#"
        -9223372036854775808 | -9223372036854775808
        0 | 0
        9223372036854775807 | 9223372036854775807
        null | NULL
    "#]],
    );
    check(
        UInt64Array::from(vec![u64::MAX]),
        None,
        expect![[r#"
        18446744073709551615 | 18446744073709551615
    "#]],
    );
    check(
        Int8Array::from(vec![-128]),
        None,
        expect![[r#"
        -128 | -128
    "#]],
    );
    check(
        BooleanArray::from(vec![Some(true), Some(false), None]),
        None,
        expect![[r#"
        true | true
        false | false
        null | NULL
    "#]],
    );
    check(
        NullArray::new(1),
        None,
        expect![[r#"
        null | NULL
    "#]],
    );
}

#[test]
fn floats_are_the_shortest_that_read_back() {
    let doubles = vec![
        0.1,
        1.0 / 3.0,
        -0.0,
        1e15,
        999_999_999_999_999.0,
        1e-5,
        1.5e300,
        5e-324,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    check(
        Float64Array::from(doubles),
        None,
        expect![[r#"
        0.1 | 0.1
        0.3333333333333333 | 0.3333333333333333
        -0 | -0
        1e15 | 1e+15
        999999999999999 | 999999999999999
        1e-5 | 1e-05
        1.5e300 | 1.5e+300
        5e-324 | 5e-324
        "NaN" | NaN
        "Infinity" | Infinity
        "-Infinity" | -Infinity
    "#]],
    );
    check(
        Float32Array::from(vec![0.1, 16_777_216.0, 1e-7]),
        None,
        expect![[r#"
        0.1 | 0.1
        1.6777216e7 | 1.6777216e+07
        1e-7 | 1e-07
    "#]],
    );
}

#[test]
fn decimals_keep_their_digits() {
    let array = Decimal128Array::from(vec![Some(123), Some(-5), Some(0), Some(100), None]);
    check(
        array.with_precision_and_scale(12, 2).unwrap(),
        None,
        expect![[r#"
        1.23 | 1.23
        -0.05 | -0.05
        0.00 | 0.00
        1.00 | 1.00
        null | NULL
    "#]],
    );
    let array = Decimal128Array::from(vec![i128::MAX / 2, -1]);
    check(
        array.with_precision_and_scale(38, 0).unwrap(),
        None,
        expect![[r#"
        85070591730234615865843651857942052863 | 85070591730234615865843651857942052863
        -1 | -1
    "#]],
    );
    let wide = |text: &str| i256::from_string(text).unwrap();
    let array = Decimal256Array::from(vec![
        wide("1500000000000000000"),
        wide("-1"),
        wide("42000000000000000000"),
        wide("1234567890123456789012345678901234567890123456789012345678901234567890123456"),
        wide("-1234567890123456789012345678901234567890123456789012345678901234567890123456"),
    ]);
    check(
        array.with_precision_and_scale(76, 18).unwrap(),
        Some("numeric"),
        expect![[r#"
        1.5 | 1.5
        -0.000000000000000001 | -0.000000000000000001
        42 | 42
        1234567890123456789012345678901234567890123456789012345678.901234567890123456 | 1234567890123456789012345678901234567890123456789012345678.901234567890123456
        -1234567890123456789012345678901234567890123456789012345678.901234567890123456 | -1234567890123456789012345678901234567890123456789012345678.901234567890123456
    "#]],
    );
    let array = Decimal256Array::from(vec![wide("150")]);
    check(
        array.with_precision_and_scale(60, 2).unwrap(),
        Some("numeric(60,2)"),
        expect![[r#"
        1.50 | 1.50
    "#]],
    );
    let array = Decimal128Array::from(vec![12, 0]);
    check(
        array.with_precision_and_scale(5, -3).unwrap(),
        None,
        expect![[r#"
        12000 | 12000
        0 | 0
    "#]],
    );
}

#[test]
fn text_is_escaped() {
    let texts = vec!["", "plain", "a \"quoted\" \\ line\nbreak\u{1}", "\u{1F600} \u{e4}", "a,b"];
    check(
        StringArray::from(texts.clone()),
        None,
        expect![[r#"
        "" | 
        "plain" | plain
        "a \"quoted\" \\ line\nbreak\u0001" | a "quoted" \ line
        break
        "😀 ä" | 😀 ä
        "a,b" | a,b
    "#]],
    );
    check(
        StringViewArray::from(vec!["a view of a text that is longer than twelve"]),
        None,
        expect![[r#"
        "a view of a text that is longer than twelve" | a view of a text that is longer than twelve
    "#]],
    );
    let words: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
    check(
        words,
        None,
        expect![[r#"
        "a" | a
        "b" | b
        "a" | a
    "#]],
    );
    check(
        BinaryArray::from_vec(vec![b"\x00\xffabc", b""]),
        None,
        expect![[r#"
        "\\x00ff616263" | \x00ff616263
        "\\x" | \x
    "#]],
    );
}

#[test]
fn json_columns_are_embedded() {
    let texts = vec![
        "{\"a\": [1, 2.50, 1e400]}",
        "{\n  \"deep\": \"line\\nbreak\"\n}",
        "123456789012345678901234567890",
        "not json",
        "",
    ];
    check(
        StringArray::from(texts),
        Some("jsonb"),
        expect![[r#"
        {"a": [1, 2.50, 1e400]} | {"a": [1, 2.50, 1e400]}
        {   "deep": "line\nbreak" } | {
          "deep": "line\nbreak"
        }
        123456789012345678901234567890 | 123456789012345678901234567890
        "not json" | not json
        "" | 
    "#]],
    );
}

#[test]
fn timestamps_are_iso() {
    let instants = vec![
        Some(1_767_323_045_678_000),
        Some(1_767_323_045_000_000),
        Some(-1),
        Some(1),
        Some(i64::MAX),
        Some(i64::MIN),
        Some(253_402_300_800_000_000),
        Some(-62_135_596_800_000_000 - 1),
        None,
    ];
    check(
        TimestampMicrosecondArray::from(instants.clone()).with_timezone("UTC"),
        None,
        expect![[r#"
        "2026-01-02T03:04:05.678Z" | 2026-01-02 03:04:05.678+00
        "2026-01-02T03:04:05Z" | 2026-01-02 03:04:05+00
        "1969-12-31T23:59:59.999999Z" | 1969-12-31 23:59:59.999999+00
        "1970-01-01T00:00:00.000001Z" | 1970-01-01 00:00:00.000001+00
        "infinity" | infinity
        "-infinity" | -infinity
        "10000-01-01T00:00:00Z" | 10000-01-01 00:00:00+00
        "0000-12-31T23:59:59.999999Z" | 0001-12-31 23:59:59.999999+00 BC
        null | NULL
    "#]],
    );
    check(
        TimestampMicrosecondArray::from(instants),
        None,
        expect![[r#"
        "2026-01-02T03:04:05.678" | 2026-01-02 03:04:05.678
        "2026-01-02T03:04:05" | 2026-01-02 03:04:05
        "1969-12-31T23:59:59.999999" | 1969-12-31 23:59:59.999999
        "1970-01-01T00:00:00.000001" | 1970-01-01 00:00:00.000001
        "infinity" | infinity
        "-infinity" | -infinity
        "10000-01-01T00:00:00" | 10000-01-01 00:00:00
        "0000-12-31T23:59:59.999999" | 0001-12-31 23:59:59.999999 BC
        null | NULL
    "#]],
    );
    check(
        TimestampNanosecondArray::from(vec![1, 1_500_000_000]),
        None,
        expect![[r#"
        "1970-01-01T00:00:00.000000001" | 1970-01-01 00:00:00.000000001
        "1970-01-01T00:00:01.5" | 1970-01-01 00:00:01.5
    "#]],
    );
}

#[test]
fn dates_and_times_of_day_are_iso() {
    check(
        Date32Array::from(vec![0, 20_455, 11_016, -1, i32::MAX, i32::MIN, -719_529]),
        None,
        expect![[r#"
        "1970-01-01" | 1970-01-01
        "2026-01-02" | 2026-01-02
        "2000-02-29" | 2000-02-29
        "1969-12-31" | 1969-12-31
        "infinity" | infinity
        "-infinity" | -infinity
        "-0001-12-31" | 0002-12-31 BC
    "#]],
    );
    check(
        Time64MicrosecondArray::from(vec![0, 45_296_789_000, 86_399_999_999]),
        None,
        expect![[r#"
        "00:00:00" | 00:00:00
        "12:34:56.789" | 12:34:56.789
        "23:59:59.999999" | 23:59:59.999999
    "#]],
    );
}

#[test]
fn lists_and_records_nest() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None, Some(3)]),
        Some(vec![]),
        None,
    ]);
    check(
        lists.clone(),
        None,
        expect![[r#"
        [1,null,3] | {1,NULL,3}
        [] | {}
        null | NULL
    "#]],
    );
    check(
        lists.slice(1, 2),
        None,
        expect![[r#"
        [] | {}
        null | NULL
    "#]],
    );
    let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for value in ["a", "b c", "", "null", "say \"hi\"", "back\\slash", "{x}"] {
        builder.values().append_value(value);
    }
    builder.append(true);
    check(
        builder.finish(),
        None,
        expect![[r#"
        ["a","b c","","null","say \"hi\"","back\\slash","{x}"] | {a,"b c","","null","say \"hi\"","back\\slash","{x}"}
    "#]],
    );
    let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
    let fields = vec![
        (Arc::new(Field::new("n", DataType::Int64, true)), number),
        (Arc::new(Field::new("t", DataType::Utf8, true)), text),
    ];
    check(
        StructArray::from(fields),
        None,
        expect![[r#"
        {"n":7,"t":"x"} | {"n":7,"t":"x"}
        {"n":null,"t":"y"} | {"n":null,"t":"y"}
    "#]],
    );
}

fn table() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("na\"me", DataType::Utf8, true),
    ]);
    let ids = Int64Array::from(vec![Some(1), Some(2), None]);
    let names = StringArray::from(vec![Some("a,\"b\""), Some(""), None]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

#[test]
fn rows_make_lines_and_arrays() {
    let mut lines = Vec::new();
    json::write_lines(&table(), &mut lines);
    expect![[r#"
        {"id":1,"na\"me":"a,\"b\""}
        {"id":2,"na\"me":""}
        {"id":null,"na\"me":null}
    "#]]
    .assert_eq(&String::from_utf8(lines).unwrap());
    let array = json::to_array(&[table().slice(0, 1), table().slice(2, 1)]);
    expect![[r#"[{"id":1,"na\"me":"a,\"b\""},{"id":null,"na\"me":null}]"#]]
        .assert_eq(&String::from_utf8(array).unwrap());
    expect!["[]"].assert_eq(&String::from_utf8(json::to_array(&[])).unwrap());
}

#[test]
fn what_goes_is_written_before_what_comes() {
    let mut out = Vec::new();
    let changes = ChangeBatch::new(table(), vec![1, -1, 2].into());
    json::write_changes(&changes, &mut out);
    expect![[r#"[{"_diff":-1,"id":2,"na\"me":""},{"_diff":1,"id":1,"na\"me":"a,\"b\""},{"_diff":2,"id":null,"na\"me":null}]"#]].assert_eq(&String::from_utf8(out).unwrap());
    let mut out = Vec::new();
    json::write_changes(&changes.slice(0, 0), &mut out);
    expect!["[]"].assert_eq(&String::from_utf8(out).unwrap());
}

#[test]
fn csv_tells_null_from_empty() {
    let csv = to_csv(&table().schema(), &[table()]);
    expect![[r#"
        id,"na""me"
        1,"a,""b"""
        2,""
        ,
    "#]]
    .assert_eq(&String::from_utf8(csv).unwrap());
}
