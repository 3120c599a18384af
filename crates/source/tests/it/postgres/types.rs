//! Every type, by the copy and by the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use change::logical_type;

use super::rig::{Memory, rows_of, run_once, server};

const TABLE: &str = "
create type mood as enum ('sad', 'happy');
create domain price as numeric(10,2) check (value >= 0);
create table t (id int primary key, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8,
    n12 numeric(12,4), n38 numeric(38,10), n numeric, t text, v varchar(20), c char(5), nm name, ba bytea,
    u uuid, d date, tm time, ts timestamp, tz timestamptz, j json, jb jsonb, e mood, p price,
    ai int[], at text[], an numeric(6,2)[], atz timestamptz[], ae mood[], au uuid[], ab bool[],
    iv interval, o oid, ch \"char\");";

/// Inserts the interesting rows with ids from `from`.
fn insert(from: u32) -> String {
    let values = [
        "true, -32768, -2147483648, -9223372036854775808, 1.5, -2.25, 12345678.1234,
         1234567890123456789012345678.0123456789, 12345678901234567890123456789012345678901234567890.123456789012345678,
         E'grün\\n\\\\', 'v', 'c', 'a name', '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-02-29',
         '24:00:00', '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56.789012+02', '{\"a\": 1.10}', '{\"b\": 12345678901234567890.5}',
         'happy', 19.99, '{1,NULL,-3}', '{a,NULL,\"b,c\",\"\"}', '{1.50,NULL}', '{2000-01-01 00:00:00+00,infinity}',
         '{sad,happy}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{t,f,NULL}',
         '1 year 2 mons -3 days 04:05:06.000007', 4294967295, 'x'",
        "null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
         null, null, null, null, null, null, null, null, null, null, null, null, null, null, null",
        "false, 32767, 2147483647, 9223372036854775807, 'NaN', 'Infinity', -0.0001, -1, 0, '', '', '', '', '',
         '00000000-0000-0000-0000-000000000000', 'infinity', '00:00:00', 'infinity', '-infinity', 'null', 'null',
         'sad', 0, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '-40 days', 0, ''",
        "false, 0, 0, 0, '-Infinity', '-0', 0.5, 10, -0.000000000000000001, 'x', 'x', 'x', 'x', 'x',
         'ffffffff-ffff-ffff-ffff-ffffffffffff', '-infinity', '23:59:59.999999', '-infinity', '1969-12-31 23:59:59.999999+00',
         '[]', '[1]', 'sad', 99999999.99, '[5:6]={7,8}', '{x}', '{-0.01}', '{-infinity}', '{sad}', null, '{t}', '-00:00:01', 1, 'y'",
    ];
    let rows = values.iter().zip(from..).map(|(values, id)| format!("({id}, {values})"));
    format!("insert into t values {};", rows.collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn every_type_is_the_same_by_copy_and_by_stream() {
    let server = server(&format!("{TABLE} {}", insert(1)));
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    let copied = memory.groups().len();
    server.psql(&insert(101)).unwrap();
    run_once(&server, &memory, &[]).await;
    let rows = memory.rows("t");
    assert_eq!(rows.len(), 8);
    for id in 1..=4 {
        let (copy, stream) = (&rows[&id.to_string()], &rows[&(id + 100).to_string()]);
        assert_eq!(copy[1..], stream[1..], "row {id}");
    }
    let first = &rows["1"];
    let shown = |at: usize| first[at].as_str();
    assert_eq!(shown(8), "1234567890123456789012345678.0123456789");
    assert_eq!(shown(9), "12345678901234567890123456789012345678901234567890.123456789012345678");
    assert_eq!((shown(10), shown(12)), ("grün\n\\", "c    "));
    assert_eq!(shown(15), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    assert_eq!((shown(20), shown(21)), ("{\"a\": 1.10}", "{\"b\": 12345678901234567890.5}"));
    assert_eq!((shown(24), shown(26)), ("[1, , -3]", "[1.50, ]"));
    let last = first.len() - 1;
    let interval = "14 mons -3 days 4 hours 5 mins 6.000007000 secs";
    assert_eq!((shown(last - 2), shown(last - 1), shown(last)), (interval, "4294967295", "x"));
    assert!(rows["2"][1..].iter().all(|value| value == "NULL"));
    assert_eq!(rows["4"][24], "[7, 8]", "an array's first index is not kept");

    let groups = memory.groups();
    let changes = groups[..copied].iter().flat_map(|group| group.tables());
    let t = changes.into_iter().find(|changes| &*changes.table().name().table == "t").unwrap();
    let column = |name: &str| t.changes().rows().column_by_name(name).map(Arc::clone).unwrap();
    assert_eq!(column("d").as_primitive::<Date32Type>().values()[2..], [i32::MAX, i32::MIN]);
    let ts = column("ts");
    assert_eq!(ts.as_primitive::<TimestampMicrosecondType>().values()[2..], [i64::MAX, i64::MIN]);
    let columns = t.table().columns();
    let logical = |name: &str| logical_type(columns.field_with_name(name).unwrap());
    let found: Vec<_> = ["n", "c", "u", "j", "jb", "e", "t", "ae"].map(logical).into();
    let expected = ["numeric", "bpchar(5)", "uuid", "json", "jsonb", "enum"].map(Some);
    assert_eq!(found, [&expected[..], &[None, Some("enum[]")]].concat());
}

#[tokio::test]
async fn values_that_do_not_fit_become_dead_letters_and_their_neighbours_go_on() {
    let bad = |from: u32| {
        let values = [
            "'NaN', null, null",
            "'-Infinity', null, null",
            "0.1234567890123456789, null, null",
            "1, '{{1,2},{3,4}}', null",
            "2, '{1}', 'NaN'",
            "3, '{1}', 1.5",
        ];
        let rows = values.iter().zip(from..).map(|(values, id)| format!("({id}, {values})"));
        format!("insert into t values {};", rows.collect::<Vec<_>>().join(", "))
    };
    let server = server("create table t (id int primary key, n numeric, a int[], c numeric(4,1))");
    server.psql(&bad(1)).unwrap();
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    server.psql(&bad(101)).unwrap();
    run_once(&server, &memory, &[]).await;
    assert_eq!(memory.rows("t").into_keys().collect::<Vec<_>>(), ["106", "6"]);
    let letters: Vec<_> = memory.rows("dead_letters").into_values().collect();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for letter in &letters {
        assert_eq!(letter[..2], ["shop", "t"]);
        *reasons.entry(&letter[3]).or_default() += 1;
    }
    assert_eq!(
        reasons,
        BTreeMap::from([
            ("column a: an array of 2 dimensions", 2),
            ("column c: NaN does not fit numeric(4,1)", 2),
            ("column n: -Infinity does not fit numeric(76,18)", 2),
            ("column n: 0.1234567890123456789 does not fit numeric(76,18)", 2),
            ("column n: NaN does not fit numeric(76,18)", 2),
        ])
    );
    assert!(letters.iter().any(|letter| letter[4] == "id = 1, n = NaN, a = NULL, c = NULL"));
    // An update to a value that does not fit removes the row; an update back brings it.
    server.psql("update t set n = 'NaN' where id = 6; update t set n = 7 where id = 1").unwrap();
    run_once(&server, &memory, &[]).await;
    assert_eq!(rows_of(&memory.groups(), "t").into_keys().collect::<Vec<_>>(), ["1", "106"]);
}
