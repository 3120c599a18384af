//! Every family of types from a real PostgreSQL, by the first copy and by the stream, through views that filter, group,
//! join and order by it, into every sink. PostgreSQL itself says what is right: it answers the views' own queries, and
//! compares its answers with the tables that the sinks made.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use servers::{Postgres, PostgresOptions, free_port};

use crate::world::{DEADLINE, World, folded, indexed, json_rows};

/// A column: its name, its type in the source, its type in the table that a sink makes, and what it can be asked.
struct Column {
    name: &'static str,
    declared: &'static str,
    sunk: &'static str,
    /// The text of a value `#` that both sides write alike.
    text: &'static str,
    asks: Asks,
}

/// What both sides answer alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asks {
    /// PostgreSQL has no equality for it, or another one.
    Nothing,
    /// Groups and joins.
    Equal,
    /// Groups, joins, and the least and the greatest.
    Order,
}

const fn column(
    name: &'static str,
    declared: &'static str,
    sunk: &'static str,
    text: &'static str,
    asks: Asks,
) -> Column {
    Column { name, declared, sunk, text, asks }
}

/// The columns beside the key.
const COLUMNS: &[Column] = &[
    column("i2", "smallint", "smallint", "#::text", Asks::Order),
    column("i4", "int", "integer", "#::text", Asks::Order),
    column("i8", "bigint", "bigint", "#::text", Asks::Order),
    // One of -0 and 0 stands for both.
    column("f4", "real", "real", "(# + 0)::text", Asks::Order),
    column("f8", "double precision", "double precision", "(# + 0)::text", Asks::Order),
    column("n12", "numeric(12,4)", "numeric(12,4)", "#::text", Asks::Order),
    column("n38", "numeric(38,10)", "numeric(38,10)", "#::text", Asks::Order),
    column("n", "numeric", "numeric", "trim_scale(#)::text", Asks::Order),
    column("b", "boolean", "boolean", "#::text", Asks::Order),
    column("t", "text", "text", "#::text", Asks::Order),
    column("v", "varchar(20)", "text", "#::text", Asks::Order),
    column("c", "char(5)", "character(5)", "#::text", Asks::Order),
    column("ba", "bytea", "bytea", "#::text", Asks::Order),
    column("d", "date", "date", "#::text", Asks::Order),
    column("tm", "time", "time without time zone", "#::text", Asks::Order),
    column("ts", "timestamp", "timestamp without time zone", "#::text", Asks::Order),
    column("tz", "timestamptz", "timestamp with time zone", "#::text", Asks::Order),
    column("iv", "interval", "interval", "#::text", Asks::Equal),
    column("u", "uuid", "uuid", "#::text", Asks::Order),
    column("j", "json", "json", "#::text", Asks::Nothing),
    column("jb", "jsonb", "jsonb", "#::text", Asks::Equal),
    column("e", "mood", "text", "#::text", Asks::Equal),
    column("p", "price", "numeric(10,2)", "#::text", Asks::Order),
    column("ai", "int[]", "integer[]", "#::text", Asks::Equal),
    column("at", "text[]", "text[]", "#::text", Asks::Equal),
    column("an", "numeric(6,2)[]", "numeric(6,2)[]", "#::text", Asks::Equal),
    column("af", "float8[]", "double precision[]", "#::text", Asks::Equal),
    column("ad", "date[]", "date[]", "#::text", Asks::Equal),
    column("atz", "timestamptz[]", "timestamp with time zone[]", "#::text", Asks::Equal),
    column("aiv", "interval[]", "interval[]", "#::text", Asks::Nothing),
    column("ae", "mood[]", "text[]", "#::text", Asks::Equal),
    column("au", "uuid[]", "uuid[]", "#::text", Asks::Equal),
    column("ab", "bool[]", "boolean[]", "#::text", Asks::Equal),
    column("aba", "bytea[]", "bytea[]", "#::text", Asks::Equal),
    column("aj", "jsonb[]", "jsonb[]", "#::text", Asks::Equal),
    column("o", "oid", "bigint", "#::text", Asks::Order),
    column("ch", "\"char\"", "text", "#::text", Asks::Equal),
    column("nm", "name", "text", "#::text", Asks::Order),
];

/// Rows of interesting values, without their key.
const ROWS: &[&str] = &[
    "-32768, -2147483648, -9223372036854775808, 1.5, -2.25, 12345678.1234,
     1234567890123456789012345678.0123456789,
     12345678901234567890123456789012345678901234567890.123456789012345678, true,
     E'grün\\n\\\\ \"q\"', 'v', 'c', '\\x00ff', '2024-02-29', '24:00:00', '2024-02-29 12:34:56.789012',
     '2024-02-29 12:34:56.789012+02', '1 year 2 mons -3 days 04:05:06.000007',
     'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": 1.10,  \"b\":[1e2]}', '{\"b\": 12345678901234567890.5, \"a\": [null, \"x\"]}',
     'happy', 19.99, '{1,NULL,-3}', '{a,NULL,\"b,c\",\"\",\"NULL\"}', '{1.50,NULL}', '{NaN,-Infinity,0.1}',
     '{2024-02-29,infinity}', '{2000-01-01 00:00:00+00,infinity}', '{1 mon,-00:00:01}', '{sad,happy}',
     '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{t,f,NULL}', '{\"\\\\x00\",\"\\\\xff\"}', '{\"{\\\"k\\\": 1.0}\",NULL}', 4294967295, 'x', 'a name'",
    "null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
     null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null",
    "32767, 2147483647, 9223372036854775807, 'NaN', 'Infinity', -0.0001, -1, 0, false, '', '', '', '',
     'infinity', '00:00:00', 'infinity', '-infinity', '-40 days', '00000000-0000-0000-0000-000000000000',
     'null', 'null', 'sad', 0, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', 0, '', ''",
    "0, 0, 0, '-Infinity', '-0', 0.5, 10, -0.000000000000000001, false, 'x', 'x', 'x y', 'x',
     '-infinity', '23:59:59.999999', '-infinity', '1969-12-31 23:59:59.999999+00', '-00:00:01',
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', '[1]', 'sad', 99999999.99, '{7,8}', '{x}', '{-0.01}', '{1}',
     '{0044-03-15 BC}', '{-infinity}', '{00:00:00}', '{sad}', null, '{t}', '{x}', '{2.50}', 1, 'y', 'x'",
    "0, 0, 0, '-0', '0', 0.5000, 10.00, 1.500, true, 'X', 'x', 'x y  ', 'X',
     '0044-03-15 BC', '12:00', '0044-03-15 12:00:00 BC', '0044-03-15 12:00:00+00 BC', '178000000 years',
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '\"s\"', '\"s\"', 'happy', 0.00, '{NULL,1}', '{X}', '{-0.01}', '{0}',
     '{4713-01-01 BC}', '{0044-03-15 12:00:00+00 BC}', null, '{happy}', null, '{f}', '{X}', '{\"{}\"}', 1, 'Y', 'X'",
    "1, 1, 1, 3.4028235e38, 1.7976931348623157e308, 1, 1, 1.5, true, 'ä', 'ä', 'ä', 'ä',
     '5874897-12-31', '00:00:00.000001', '294246-12-31 23:59:59.999999', '2024-02-29 10:34:56.789012+00', '1 day',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\":1,\"a\":2}', '{\"aa\": 1, \"b\": 1, \"a\": {\"x\": -0.10}}', 'sad', 1,
     '{1}', '{é}', '{1}', '{5e-324}', '{}', '{}', '{1 day}', '{}', '{}', '{}', '{}', '{1}', 7, '1', 'ä'",
];

/// What cannot be kept: what its row becomes a dead letter for.
const MISFITS: [(&str, &str, &str); 4] = [
    ("n", "'NaN'", "NaN does not fit"),
    ("n", "'Infinity'", "Infinity does not fit"),
    ("n", "0.1234567890123456789", "does not fit"),
    ("ai", "'{{1,2},{3,4}}'", "an array of 2 dimensions"),
];

fn insert(from: usize) -> String {
    // Not compressible, so that it is stored out of line and left out of updates that do not touch it.
    let big = "(select string_agg(md5(i::text), '') from generate_series(1, 300) i)";
    let rows = ROWS.iter().zip(from..).map(|(row, id)| format!("({id}, {row}, {big})"));
    format!("insert into t values {};", rows.collect::<Vec<_>>().join(", "))
}

fn server() -> Postgres {
    let server = Postgres::start(PostgresOptions::quick()).unwrap();
    let mut table = "create type mood as enum ('sad', 'happy');
         create domain price as numeric(10,2) check (value >= 0);
         create schema sunk; create table t (id int primary key"
        .to_owned();
    for column in COLUMNS {
        write!(table, ", \"{}\" {}", column.name, column.declared).unwrap();
    }
    server.psql(&format!("{table}, big text); {}", insert(1))).unwrap();
    server
}

/// Queries that both sides answer, by the views' names.
fn queries() -> Vec<(&'static str, String)> {
    let each = |least: Asks, part: &dyn Fn(&Column) -> String| {
        let asked = COLUMNS.iter().filter(|column| column.asks >= least);
        asked.map(part).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\nunion all ")
    };
    let quoted = |column: &Column| format!("\"{}\"", column.name);
    let all =
        |form: &dyn Fn(&Column) -> String| COLUMNS.iter().map(form).collect::<Vec<_>>().join(", ");
    let groups = each(Asks::Equal, &|column| {
        let (name, quoted) = (column.name, quoted(column));
        let text = column.text.replace('#', &quoted);
        format!("select '{name}' as col, {text} as value, count(*) as n from t group by {quoted}")
    });
    let joins = each(Asks::Equal, &|column| {
        let (name, quoted) = (column.name, quoted(column));
        format!(
            "select '{name}' as col, a.id as one, b.id as other from t a join t b on a.{quoted} = b.{quoted}"
        )
    });
    let extremes = each(Asks::Order, &|column| {
        let (name, quoted) = (column.name, quoted(column));
        let [least, most] = match column.name {
            // PostgreSQL has no least one of them, though they have an order.
            "ba" | "u" => return String::new(),
            "b" => ["bool_and", "bool_or"],
            _ => ["min", "max"],
        }
        .map(|function| column.text.replace('#', &format!("{function}({quoted})")));
        format!(
            "select '{name}' as col, {least} as least, {most} as most, count(distinct {quoted}) as n from t"
        )
    });
    let places = each(Asks::Order, &|column| {
        let (name, quoted) = (column.name, quoted(column));
        format!(
            "select '{name}' as col, id, row_number() over (order by {quoted} desc, id) as place from t"
        )
    });
    vec![
        ("copied", "select * from t".to_owned()),
        (
            "texts",
            format!(
                "select id, {} from t",
                all(&|c| format!("{} as {1}", c.text.replace('#', &quoted(c)), quoted(c)))
            ),
        ),
        ("groups", format!("select distinct * from ({groups}) as g")),
        ("joins", format!("select distinct * from ({joins}) as j")),
        ("extremes", format!("select distinct * from ({extremes}) as e")),
        ("places", format!("select distinct * from ({places}) as p")),
        ("filters", format!("select distinct * from ({}) as f", filters("t", FILTERS))),
        ("documents", documents()),
        ("first", "select id, tz, n from t order by tz desc nulls last, n, id limit 4".to_owned()),
    ]
}

/// The rows of a table that each condition finds.
fn filters(table: &str, conditions: &[&str]) -> String {
    let one = |condition: &&str| {
        let shown = condition.replace('\'', "''");
        format!("select '{shown}' as filter, id from {table} where {condition}")
    };
    conditions.iter().map(one).collect::<Vec<_>>().join("\nunion all ")
}

/// Values as JSON, and gathered.
fn documents() -> String {
    let each = COLUMNS.iter().map(|column| {
        let (name, quoted) = (column.name, format!("\"{}\"", column.name));
        let value = column.text.replace("::text", "").replace('#', &quoted);
        let value = if column.text.starts_with('(') { value } else { quoted };
        let value = match name {
            // What has no place behind its point is written shorter here.
            "n" => "trim_scale(n)".to_owned(),
            // It is a number here, and text there.
            "o" => "o::bigint".to_owned(),
            _ => value,
        };
        format!(
            "select '{name}' as col, json_agg({value} order by id)::text as list,
                 jsonb_agg({value} order by id desc) filter (where id % 2 = 0)::text as other,
                 json_object_agg('k' || id, {value} order by id)::text as object,
                 jsonb_object_agg(id, {value})::text as objectb from t"
        )
    });
    let each = each.collect::<Vec<_>>().join("\nunion all ");
    let rows = "select 'rows' as col, json_agg(r order by id)::text as list, null as other, null as object,
         jsonb_agg(r order by id)::text as objectb from (select id, i2, t, u, ts, ai, jb from t) as r";
    let one = "select 'row' || id as col, row_to_json(r)::text as list, to_json(r)::text as other,
         json_build_array(r, id)::text as object, to_jsonb(r)::text as objectb from (select id, i2, t, c, u, ts, tz, d, ai, jb, j from t) as r";
    let distinct = "select 'distinct' as col, json_agg(distinct i2)::text as list,
         jsonb_agg(distinct t)::text as other, json_agg(i2 order by i2, id)::text as object,
         (json_agg(i2) filter (where id < 0))::text as objectb from t";
    let sorted = "select 'sorted' as col, json_agg(distinct i2 order by i2 desc)::text as list,
         jsonb_agg(distinct n12 order by n12 nulls first)::text as other, json_agg(distinct d order by d)::text as object,
         jsonb_agg(distinct t order by t desc nulls last)::text as objectb from t";
    let outer = "select 'outer' as col, json_agg(f order by a.id)::text as list, jsonb_agg(f order by a.id)::text as other,
             min(row_to_json(f)::text) as object, count(f.id)::text as objectb
         from t as a left join (select id, i2, d from t where id = 1) as f on a.id = f.id where a.id <= 2";
    let parts = [&each, rows, one, distinct, sorted, outer].join("\nunion all ");
    format!("select distinct * from ({parts}) as d")
}

/// Conditions on each family.
const FILTERS: &[&str] = &[
    "i2 < 0",
    "i8 = 9223372036854775807",
    "f4 = 'NaN'",
    "f8 > 1e308",
    "f8 = 0",
    "f8 in (0, 5, 6, 7)",
    "array[f8] = array[0::float8]",
    "0 = any(array[f8, 1::float8])",
    "n > 1e30",
    "n = 1.5",
    "n12 <= 0.5",
    "not b",
    "t like '%\\\\\\\\%'",
    "t > 'x'",
    "v = 'x'",
    "c = 'c'",
    "c = 'x y   '",
    "length(c) = 1",
    "c || '!' = 'c!'",
    "c in ('c', 'ä')",
    "ba = '\\x00ff'",
    "ba > 'x'",
    "d = 'infinity'",
    "d < '0001-01-01'",
    "tm < '12:00'",
    "ts < '2000-01-01'",
    "tz >= '2024-02-29 10:34:56.789012+00'",
    "tz = ts at time zone 'UTC'",
    "iv > '1 day'",
    "iv = '24:00:00'",
    "u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
    "u > 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
    "j->>'a' = '1.10'",
    "jb @> '{\"b\": 1}'",
    "jb ? 'aa'",
    "jb = '[1]'",
    "jb->'a'->>'x' = '-0.10'",
    "e = 'happy'",
    "p < 19.99",
    "ai = '{1,NULL,-3}'",
    "7 = any(ai)",
    "ai[2] is null",
    "\"at\" @> '{a}'",
    "an = '{-0.01}'",
    "'infinity' = any(atz)",
    "'happy' = any(ae)",
    "cardinality(au) = 1",
    "true = any(ab)",
    "'\\xff' = any(aba)",
];

fn script(server: &Postgres) -> String {
    let url = server.url("postgres");
    let mut script = format!("create source shop from '{url}' (tables = 't');\n");
    for (name, query) in queries() {
        write!(script, "create view {name} as {query};\ncreate sink {name}_out from {name} into '{url}/sunk.{name}';\n")
            .unwrap();
    }
    script.push_str(
        "create sink copied_file from copied into 'copied.ndjson' (on_existing = 'replace');
         create sink copied_search from copied into 'search';
         create view lost as select reason, raw from evert.dead_letters;",
    );
    script
}

/// The columns of a table, as both sides can compare them: json has no equality.
fn compared(name: &str) -> String {
    if name != "copied" {
        return "*".to_owned();
    }
    let kept = COLUMNS.iter().map(|column| match column.name {
        "j" => "j::text as j".to_owned(),
        "e" => "e::text as e".to_owned(),
        "ae" => "ae::text[] as ae".to_owned(),
        "o" => "o::bigint as o".to_owned(),
        "ch" | "nm" => format!("{0}::text as {0}", column.name),
        name => format!("\"{name}\""),
    });
    let first = ["id", "md5(big) as big"].into_iter().map(str::to_owned);
    first.chain(kept).collect::<Vec<_>>().join(", ")
}

/// Compares every table that a sink made with what PostgreSQL answers to the view's query.
#[track_caller]
fn compare(server: &Postgres, when: &str) {
    let mut differences = String::new();
    for (name, query) in queries() {
        let columns = compared(name);
        let right = format!("(select {columns} from ({query}) as q)");
        let found = format!("(select {columns} from sunk.{name})");
        for (what, one, other) in [("missing", &right, &found), ("too many", &found, &right)] {
            let sql = format!("select * from ({one} except all {other}) as d limit 5");
            let rows = server.psql(&sql).unwrap_or_else(|error| error.to_string());
            if !rows.is_empty() {
                writeln!(differences, "{when}: {name}: {what}:\n{rows}").unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Compares rows as JSON with the table that they are of: PostgreSQL reads them as its rows.
#[track_caller]
fn compare_json(server: &Postgres, rows: &[String], when: &str) {
    let lines: Vec<String> =
        rows.iter().map(|row| format!("('{}')", with_eras(row).replace('\'', "''"))).collect();
    // A document that is null and no document are one in JSON.
    let columns = compared("copied").replace("j::text as j", "nullif(j::jsonb, 'null') as j");
    let columns = columns.replace("\"jb\"", "nullif(jb, 'null') as jb");
    let read = format!(
        "select (json_populate_record(null::t, line::json)).* from (values {}) as v (line)",
        lines.join(", ")
    );
    for (what, one, other) in [("missing", "t", "read"), ("too many", "read", "t")] {
        let sql = format!(
            "with read as ({read}) select {columns} from {one} except all select {columns} from {other}"
        );
        let rows = server.psql(&sql).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert!(rows.is_empty(), "{when}: {what}:\n{rows}");
    }
}

/// A row whose years before our era are written as PostgreSQL reads them: `-0043-03-15` of ISO 8601 is `0044-03-15 BC`.
fn with_eras(row: &str) -> String {
    fn mended(value: &mut Value) {
        match value {
            Value::String(text) => {
                let day = text.strip_prefix('-').filter(|day| day.as_bytes().get(4) == Some(&b'-'));
                if let Some((year, rest)) = day.and_then(|day| day.split_once('-')) {
                    *text = format!("{:04}-{rest} BC", year.parse::<u32>().unwrap() + 1);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(mended),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }
    let mut row: serde_json::Map<String, Value> = serde_json::from_str(row).unwrap();
    row.values_mut().for_each(mended);
    Value::Object(row).to_string()
}

/// A view's stream of changes.
struct Follower(Lines<BufReader<TcpStream>>);

impl Follower {
    fn new(address: &str, view: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET /v1/views/{view}/changes HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        Self(BufReader::new(stream).lines())
    }

    /// The rows of the next event: those of the snapshot, then changes with their diffs.
    fn next(&mut self) -> Vec<String> {
        let mut lines = self.0.by_ref().map(Result::unwrap);
        let data = lines.find(|line| line.starts_with("data: ")).unwrap();
        let event: Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
        let rows = event.as_array().or_else(|| event["rows"].as_array()).unwrap();
        json_rows(&rows.iter().map(|row| format!("{row}\n")).collect::<String>())
    }
}

/// What is searched for, and the condition that finds the same rows in PostgreSQL.
const SEARCHES: &[(&str, &str)] = &[
    ("", "true"),
    ("id:[0 TO 3]", "id <= 3"),
    ("i8:9223372036854775807", "i8 = 9223372036854775807"),
    ("n12:>0.5", "n12 > 0.5"),
    ("n:>1e30", "n > 1e30"),
    ("f8:<0", "f8 < 0"),
    ("b:true", "b"),
    ("t:grün", "t like 'gr%'"),
    ("c:x", "c like 'x%'"),
    ("d:\"2024-02-29\"", "d = '2024-02-29'"),
    ("d:[2024-01-01 TO 2025-01-01]", "d between '2024-01-01' and '2025-01-01'"),
    ("tz:\"2024-02-29T10:34:56.789012\"", "tz = '2024-02-29 10:34:56.789012+00'"),
    ("u:\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"", "u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("e:happy", "e = 'happy'"),
    ("p:19.99", "p = 19.99"),
    ("ai:7", "7 = any(ai)"),
    ("ae:happy", "'happy' = any(ae)"),
    ("ad:infinity", "'infinity' = any(ad)"),
    ("jb:aa", "jb::text like '%aa%'"),
];

/// Compares what searches find with what PostgreSQL does.
#[track_caller]
fn compare_search(server: &Postgres, world: &World) {
    for (words, condition) in SEARCHES {
        let found = world.ok(&["search", "copied", "-o", "ndjson", "--limit", "100", words]);
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap();
        let mut found: Vec<u64> = found.lines().map(id).collect();
        found.sort_unstable();
        let sql = format!(
            "select coalesce(json_agg(id order by id), '[]') from t where id < 200 and ({condition})"
        );
        let wanted: Vec<u64> = serde_json::from_str(&server.psql(&sql).unwrap()).unwrap();
        assert_eq!(found, wanted, "{words}: {condition}");
    }
}

#[test]
fn every_type_is_the_same_from_end_to_end() {
    let (server, world) = (server(), World::new());
    let script = world.write("types.sql", &script(&server));
    world.ok(&["run", "--once", &script]);
    compare(&server, "after the copy");
    let declared = "select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute
         where attrelid = 'sunk.copied'::regclass and attnum > 0 order by attnum";
    let wanted: Vec<String> =
        COLUMNS.iter().map(|column| format!("{} {}", column.name, column.sunk)).collect();
    let found = server.psql(declared).unwrap();
    assert_eq!(found, format!("id integer\n{}\nbig text", wanted.join("\n")));

    // The same rows by the stream; each row of the copy becomes the one behind it, whose large text is not sent again;
    // and one goes.
    let names: Vec<String> =
        COLUMNS.iter().map(|column| format!("\"{0}\" = n.\"{0}\"", column.name)).collect();
    let count = ROWS.len();
    server
        .psql(&format!(
            "{}; update t set {} from (select * from t) as n
                 where n.id = t.id % {count} + 1 and t.id <= {count};
             delete from t where id = 103; update t set t = null where id = 104",
            insert(101),
            names.join(", ")
        ))
        .unwrap();
    world.ok(&["run", "--once", &script]);
    compare(&server, "after the stream");

    let rows = world.query("select * from copied");
    assert!(json_rows(&world.read("copied.ndjson")) == rows, "the file is the view");
    compare_json(&server, &rows, "by a query");
    assert!(indexed(&world, "copied") == rows, "the index is the view");
    compare_search(&server, &world);
    let (server, world, script) = (&server, &world, &script);
    compare_queries(server, world);
    while_it_runs(server, world, script, rows);
}

/// Queries that are asked once answer as the views do.
#[track_caller]
fn compare_queries(server: &Postgres, world: &World) {
    let more = ["jb ?| array['b', 'x']", "jb ?& array['a', 'b']"];
    let asked: Vec<&str> = FILTERS.iter().chain(&more).copied().collect();
    let rows = format!("select row_to_json(f)::text from ({}) as f", filters("t", &asked));
    let wanted = json_rows(&server.psql(&rows).unwrap());
    assert_eq!(world.query(&filters("copied", &asked)), wanted);
    let pipe = "from copied | where t in ('it''s | so', 'X') | select id, 'a | ''b' as said";
    let found = world.query(pipe);
    let is_said = |row: &String| row.ends_with(r#""said":"a | 'b"}"#);
    assert!(found.iter().all(is_said) && !found.is_empty(), "{found:?}");
}

/// What cannot be kept becomes a dead letter, and everything else goes on to who follows a view and searches it.
fn while_it_runs(server: &Postgres, world: &World, script: &str, mut rows: Vec<String>) {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let mut running = world.start(&["run", &format!("--http={address}"), script]);
    running.until("it serves", || TcpStream::connect(&address).is_ok());
    running.until("the view is there", || world.query("select id from copied").len() == rows.len());
    let mut follower = Follower::new(&address, "copied");
    assert!(follower.next() == rows, "the snapshot is the view");
    for ((column, value, _), row) in MISFITS.iter().zip(200..) {
        server.psql(&format!("insert into t (id, {column}) values ({row}, {value})")).unwrap();
    }
    running
        .until("what is lost is told", || world.query("select * from lost").len() == MISFITS.len());
    let lost = world.query("select * from lost");
    for ((column, value, reason), row) in MISFITS.iter().zip(200..) {
        let shown = [format!("column {column}: "), (*reason).to_owned(), format!("id = {row}, ")];
        let is_told = |letter: &String| shown.iter().all(|part| letter.contains(part));
        assert!(lost.iter().any(is_told), "{value}: {lost:?}");
    }
    assert!(world.query("select * from copied") == rows, "what is lost changes nothing else");

    // A row of each type, once more, is one change for who follows; its neighbours of before are none.
    server.psql(&insert(150)).unwrap();
    let came = follower.next();
    rows.extend(came.iter().map(|row| without_diff(row, 1)));
    rows.sort_unstable();
    assert_eq!(came.len(), ROWS.len());
    running.until("all see them", || world.query("select * from copied") == rows);
    running.until("searches find them", || indexed(world, "copied") == rows);
    running.until("the file has them", || folded(&world.read("copied.ndjson")) == rows);
    let errors = world.query("select view, message from evert.errors");
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(running.terminate().code, Some(0));
    server.psql("delete from t where id >= 200").unwrap();
    compare(server, "after more, while it runs");
}

/// A change without its diff, which is as wanted.
#[track_caller]
fn without_diff(change: &str, wanted: i64) -> String {
    let mut row: serde_json::Map<String, Value> = serde_json::from_str(change).unwrap();
    assert_eq!(row.shift_remove("_diff").and_then(|diff| diff.as_i64()), Some(wanted), "{change}");
    Value::Object(row).to_string()
}
