//! Every type keeps its value: what PostgreSQL shows is what the source's PostgreSQL showed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DictionaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Int32Type, IntervalMonthDayNano, Schema, i256};
use change::{ChangeBatch, Time, with_logical_type};
use sink::Step;

use crate::world::{config, server, table_url, view};

/// A column: its name, logical type, values (the last is NULL), and what PostgreSQL shows of them.
struct Case {
    name: &'static str,
    logical: Option<&'static str>,
    values: ArrayRef,
    declared: &'static str,
    shown: [&'static str; 3],
}

fn case(
    name: &'static str,
    logical: Option<&'static str>,
    values: ArrayRef,
    declared: &'static str,
    shown: [&'static str; 3],
) -> Case {
    Case { name, logical, values, declared, shown }
}

fn numbers() -> Vec<Case> {
    let wide = |text: &str| i256::from_string(text);
    let decimal = |values: [Option<i128>; 4], scale| -> ArrayRef {
        let array = Decimal128Array::from(values.to_vec());
        Arc::new(array.with_precision_and_scale(20, scale).unwrap())
    };
    let long = "9".repeat(76);
    let unconstrained =
        Decimal256Array::from(vec![wide("1500000000000000000"), wide(&long), wide("-1"), None]);
    let unconstrained = Arc::new(unconstrained.with_precision_and_scale(76, 18).unwrap());
    let long = "9999999999999999999999999999999999999999999999999999999999.999999999999999999";
    vec![
        case(
            "i2",
            None,
            Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(0), Some(i16::MAX), None])),
            "smallint",
            ["-32768", "0", "32767"],
        ),
        case(
            "i4",
            None,
            Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(7), Some(i32::MAX), None])),
            "integer",
            ["-2147483648", "7", "2147483647"],
        ),
        case(
            "i8",
            None,
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(-1), Some(i64::MAX), None])),
            "bigint",
            ["-9223372036854775808", "-1", "9223372036854775807"],
        ),
        case(
            "u8",
            None,
            Arc::new(UInt64Array::from(vec![Some(0), Some(1), Some(u64::MAX), None])),
            "numeric",
            ["0", "1", "18446744073709551615"],
        ),
        case(
            "f4",
            None,
            Arc::new(Float32Array::from(vec![Some(1.1), Some(f32::NAN), Some(-0.0), None])),
            "real",
            ["1.1", "NaN", "-0"],
        ),
        case(
            "f8",
            None,
            Arc::new(Float64Array::from(vec![
                Some(0.1),
                Some(f64::INFINITY),
                Some(-1.797_693_134_862_315_7e308),
                None,
            ])),
            "double precision",
            ["0.1", "Infinity", "-1.7976931348623157e+308"],
        ),
        case(
            "price",
            Some("numeric(20,2)"),
            decimal([Some(1_230), Some(-1), Some(99_999_999_999_999_999_999), None], 2),
            "numeric(20,2)",
            ["12.30", "-0.01", "999999999999999999.99"],
        ),
        case(
            "total",
            None,
            decimal([Some(10_000), Some(0), Some(1), None], 4),
            "numeric",
            ["1.0000", "0.0000", "0.0001"],
        ),
        case(
            "amount",
            Some("numeric"),
            unconstrained,
            "numeric",
            ["1.5", long, "-0.000000000000000001"],
        ),
    ]
}

fn texts() -> Vec<Case> {
    let text = |values: [&str; 3]| -> ArrayRef {
        let values = values.into_iter().map(Some).chain([None]);
        Arc::new(values.collect::<StringArray>())
    };
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let word: DictionaryArray<Int32Type> =
        [Some("new"), Some("paid"), Some("new"), None].into_iter().collect();
    vec![
        case(
            "label",
            None,
            text(["", "snö ☃ '\"\\", "a\nb\tc"]),
            "text",
            ["", "snö ☃ '\"\\", "a\nb\tc"],
        ),
        case(
            "viewed",
            None,
            Arc::new(StringViewArray::from(vec![
                Some("x"),
                Some("a longer text than twelve"),
                Some("z"),
                None,
            ])),
            "text",
            ["x", "a longer text than twelve", "z"],
        ),
        case("state", Some("enum"), Arc::new(word), "text", ["new", "paid", "new"]),
        case(
            "token",
            Some("uuid"),
            text([uuid, &uuid.to_uppercase(), &uuid.replace('-', "")]),
            "uuid",
            [uuid, uuid, uuid],
        ),
        case(
            "doc",
            Some("json"),
            text([r#"{"b" : 1.10,"a":[ ]}"#, "null", r#""x""#]),
            "json",
            [r#"{"b" : 1.10,"a":[ ]}"#, "null", r#""x""#],
        ),
        case(
            "docb",
            Some("jsonb"),
            text([r#"{"b": 123456789012345678901234567890.10}"#, "[1, null]", "0.10"]),
            "jsonb",
            [r#"{"b": 123456789012345678901234567890.10}"#, "[1, null]", "0.10"],
        ),
        case(
            "raw",
            None,
            Arc::new(BinaryArray::from(vec![Some(&b""[..]), Some(b"\0\xff"), Some(b"abc"), None])),
            "bytea",
            ["\\x", "\\x00ff", "\\x616263"],
        ),
        case(
            "flag",
            None,
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None])),
            "boolean",
            ["true", "false", "true"],
        ),
    ]
}

fn times() -> Vec<Case> {
    let stamps = vec![Some(i64::MAX), Some(-1), Some(1_709_210_096_123_456), None];
    let stamps = TimestampMicrosecondArray::from(stamps);
    let span = |months, days, nanoseconds| Some(IntervalMonthDayNano { months, days, nanoseconds });
    vec![
        case(
            "day",
            None,
            Arc::new(Date32Array::from(vec![Some(i32::MAX), Some(19_782), Some(-719_163), None])),
            "date",
            ["infinity", "2024-02-29", "0001-12-31 BC"],
        ),
        case(
            "clock",
            None,
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                Some(86_399_999_999),
                Some(86_400_000_000),
                None,
            ])),
            "time without time zone",
            ["00:00:00", "23:59:59.999999", "24:00:00"],
        ),
        case(
            "stamp",
            None,
            Arc::new(stamps.clone()),
            "timestamp without time zone",
            ["infinity", "1969-12-31 23:59:59.999999", "2024-02-29 12:34:56.123456"],
        ),
        case(
            "instant",
            None,
            Arc::new(stamps.with_timezone("UTC")),
            "timestamp with time zone",
            ["infinity", "1969-12-31 23:59:59.999999+00", "2024-02-29 12:34:56.123456+00"],
        ),
        case(
            "ago",
            None,
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(i64::MIN),
                Some(0),
                Some(-62_135_596_800_000_001),
                None,
            ])),
            "timestamp without time zone",
            ["-infinity", "1970-01-01 00:00:00", "0001-12-31 23:59:59.999999 BC"],
        ),
        case(
            "span",
            None,
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                span(14, 3, 1_000_000_000),
                span(0, 0, 0),
                span(0, -1, 1_500_000),
                None,
            ])),
            "interval",
            ["1 year 2 mons 3 days 00:00:01", "00:00:00", "-1 days +00:00:00.0015"],
        ),
    ]
}

fn lists() -> Vec<Case> {
    let numbers = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None, Some(-3)]),
        Some(vec![]),
        Some(vec![Some(7)]),
        None,
    ]);
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a,b"), None, Some("")]);
    tags.append_value([Some("NULL")]);
    tags.append_value([Option::<&str>::None; 0]);
    tags.append_null();
    let mut ids = ListBuilder::new(StringBuilder::new());
    for _ in 0..3 {
        ids.append_value([Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]);
    }
    ids.append_null();
    let uuid = "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}";
    vec![
        case("numbers", None, Arc::new(numbers), "integer[]", ["{1,NULL,-3}", "{}", "{7}"]),
        case(
            "tags",
            None,
            Arc::new(tags.finish()),
            "text[]",
            [r#"{"a,b",NULL,""}"#, r#"{"NULL"}"#, "{}"],
        ),
        case("ids", Some("uuid[]"), Arc::new(ids.finish()), "uuid[]", [uuid, uuid, uuid]),
    ]
}

#[tokio::test]
async fn every_type_is_stored_as_the_source_shows_it() {
    let cases: Vec<Case> = [numbers(), texts(), times(), lists()].into_iter().flatten().collect();
    let mut fields = vec![Field::new("id", arrow::datatypes::DataType::Int64, true)];
    fields.extend(cases.iter().map(|case| {
        let field = Field::new(case.name, case.values.data_type().clone(), true);
        match case.logical {
            Some(logical) => with_logical_type(field, logical),
            None => field,
        }
    }));
    let schema = Arc::new(Schema::new(fields));
    let batch = |first: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + 4));
        let columns = std::iter::once(ids).chain(cases.iter().map(|case| case.values.clone()));
        RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
    };
    let server = server();
    let mut config = config(table_url(&server, "kinds"), server.socket_directory());
    config.view = view(schema.clone(), &[0]);
    let mut sink = sink::open(config).await.unwrap();
    // By statements; by COPY through the staging table.
    let few = ChangeBatch::inserts(batch(0));
    let batches: Vec<RecordBatch> = (1..100).map(|n| batch(n * 4)).collect();
    let many = ChangeBatch::inserts(concat_batches(&schema, &batches).unwrap());
    sink.write(Step { after: Time(0), upto: Time(1), changes: &few }).await.unwrap();
    sink.write(Step { after: Time(1), upto: Time(2), changes: &many }).await.unwrap();

    for case in &cases {
        let sql = format!(
            "set timezone = 'UTC'; select string_agg(coalesce({n}::text, '<null>'), '¦' order by id)
             from kinds where id in (0, 1, 2, 3) or id >= 396",
            n = case.name
        );
        let shown = server.psql(&sql).unwrap();
        let shown = shown.strip_prefix("SET\n").unwrap_or(&shown).trim_end_matches('\n');
        let row = format!("{}¦<null>", case.shown.join("¦"));
        assert_eq!(shown, format!("{row}¦{row}"), "column {}", case.name);
        let declared = format!(
            "select format_type(atttypid, atttypmod) from pg_attribute \
             where attrelid = 'kinds'::regclass and attname = '{}'",
            case.name
        );
        assert_eq!(server.psql(&declared).unwrap().trim(), case.declared, "column {}", case.name);
    }
}

#[tokio::test]
async fn the_first_copy_goes_straight_into_an_empty_table() {
    let cases = [numbers(), times()].into_iter().flatten().collect::<Vec<_>>();
    let fields =
        cases.iter().map(|case| Field::new(case.name, case.values.data_type().clone(), true));
    let mut fields: Vec<Field> = fields.collect();
    fields.insert(0, Field::new("id", arrow::datatypes::DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields));
    let batches: Vec<RecordBatch> = (0..200)
        .map(|n| {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(n * 4..n * 4 + 4));
            let columns = std::iter::once(ids).chain(cases.iter().map(|case| case.values.clone()));
            RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
        })
        .collect();
    let server = server();
    let mut config = config(table_url(&server, "kinds"), server.socket_directory());
    config.view = view(schema.clone(), &[0]);
    let mut sink = sink::open(config).await.unwrap();
    let all = ChangeBatch::inserts(concat_batches(&schema, &batches).unwrap());
    sink.write(Step { after: Time(0), upto: Time(1), changes: &all }).await.unwrap();
    let shown = server.psql("select count(*), sum(i8), max(total), min(day) from kinds").unwrap();
    assert_eq!(shown.trim(), "800|-400|1.0000|0001-12-31 BC");
    // And goes again by COPY of its keys.
    let (rows, diffs) = all.into_parts();
    let gone = ChangeBatch::new(rows, diffs.unary(|diff: i64| -diff));
    sink.write(Step { after: Time(1), upto: Time(2), changes: &gone }).await.unwrap();
    assert_eq!(server.psql("select count(*) from kinds").unwrap().trim(), "0");
}
