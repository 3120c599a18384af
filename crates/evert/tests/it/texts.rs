//! Types that only PostgreSQL knows: carried as their text from a real server to tables of the same types, equal where
//! equal values are written alike, and refused where their text would say something else than they do.

use std::fmt::Write as _;

use servers::{Postgres, PostgresOptions};

use crate::world::{World, indexed, json_rows};

/// A column: its name, its type, whether equal values are written alike, and three values beside NULL.
type Column = (&'static str, &'static str, bool, [&'static str; 3]);

const COLUMNS: &[Column] = &[
    ("ttz", "time with time zone", true, ["12:00:00+02", "24:00:00-05:30", "00:00:00.000001+00"]),
    ("ip", "inet", true, ["10.0.0.1", "10.0.0.1/8", "2001:db8::/32"]),
    ("net", "cidr", true, ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"]),
    ("mac", "macaddr", true, ["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"]),
    (
        "mac8",
        "macaddr8",
        true,
        ["08:00:2b:01:02:03:04:05", "08:00:2b:ff:fe:01:02:03", "00:00:00:00:00:00:00:00"],
    ),
    ("r4", "int4range", true, ["[1,5)", "empty", "(,)"]),
    ("r8", "int8range", true, ["[-9223372036854775808,5)", "empty", "[1,)"]),
    ("rd", "daterange", true, ["[2024-02-29,infinity)", "empty", "(,2000-01-01)"]),
    (
        "rt",
        "tsrange",
        true,
        ["[\"2024-02-29 12:00:00\",infinity)", "empty", "(,\"2000-01-01 00:00:00.5\"]"],
    ),
    ("rn", "numrange", false, ["[1.0,5)", "[1.00,5)", "(,7.5]"]),
    (
        "rz",
        "tstzrange",
        true,
        ["[\"2024-02-29 12:00:00+02\",infinity)", "empty", "(,\"2000-01-01 00:00:00+00\"]"],
    ),
    ("mr", "int4multirange", true, ["{[1,2),[5,8)}", "{}", "{(,)}"]),
    ("cash", "money", true, ["$1,234.50", "-$0.01", "$0.00"]),
    ("x", "xml", false, ["<a b=\"c\">d</a>", "text", "<x/>"]),
    ("b3", "bit(3)", true, ["101", "000", "111"]),
    ("bv", "bit varying", true, ["1", "", "1111111111111111"]),
    ("words", "tsvector", true, ["'a':1A 'cat':2 'it''s'", "", "'fat'"]),
    ("asked", "tsquery", false, ["'fat' & 'cat'", "'a' | 'b'", ""]),
    ("at", "point", false, ["(1.5,-2)", "(0,0)", "(NaN,Infinity)"]),
    ("frame", "box", false, ["(2,2),(1,1)", "(0,0),(0,0)", "(1,1),(0,0)"]),
    ("frames", "box[]", false, ["{(2,2),(1,1);(1,1),(0,0)}", "{}", "{(0,0),(0,0)}"]),
    ("lsn", "pg_lsn", true, ["0/16B3748", "FFFFFFFF/FFFFFFFF", "0/0"]),
    ("ips", "inet[]", true, ["{10.0.0.1,NULL,::1/64}", "{}", "{10.0.0.1/32}"]),
    ("pair", "public.pair", false, ["(1,\"a b\")", "(,)", "(-1,\"\")"]),
    ("what", "regclass", false, ["pg_class", "pg_type", "pg_attribute"]),
    ("label", "public.label", true, ["10.1.0.0/16", "0.0.0.0/0", "::/0"]),
    ("h", "hstore", true, [r#""a"=>"1", "bb"=>NULL"#, "", r#""a b"=>"x\"y""#]),
    ("ci", "citext", false, ["Word", "wORD", ""]),
    ("cis", "citext[]", false, ["{Word,NULL,\"a b\"}", "{}", "{x}"]),
    ("path", "ltree", true, ["Top.Science", "a", ""]),
];

/// The types that a database has only where somebody made them.
const OWN: [&str; 5] = ["pair", "h", "ci", "cis", "path"];

fn insert(from: usize) -> String {
    let mut rows: Vec<String> = (0..3)
        .map(|row| {
            let values =
                COLUMNS.iter().map(|(.., values)| format!("'{}'", values[row].replace('\'', "''")));
            format!("({}, {})", from + row, values.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let nulls = vec!["null"; COLUMNS.len()].join(", ");
    rows.push(format!("({}, {nulls})", from + 3));
    format!("insert into others values {};", rows.join(", "))
}

fn server() -> Postgres {
    let server = Postgres::start(PostgresOptions::quick()).unwrap();
    server.psql("create database other").unwrap();
    let mut sql = "create extension hstore; create extension citext; create extension ltree;
        create type pair as (n int, t text); create domain label as cidr; create schema sunk;
        create table devices (ip inet primary key, name text, big text);
        insert into devices values ('10.0.0.1', 'one', (select string_agg(md5(i::text), '') from generate_series(1, 300) i)),
            ('10.0.0.1/8', 'two', '');
        create table others (id int primary key"
        .to_owned();
    for (name, declared, ..) in COLUMNS {
        write!(sql, ", {name} {declared}").unwrap();
    }
    server.psql(&format!("{sql}); {}", insert(1))).unwrap();
    server
}

fn queries() -> Vec<(&'static str, String)> {
    let each = |part: &dyn Fn(&str) -> String| {
        let equal =
            COLUMNS.iter().filter(|(_, declared, equal, _)| *equal && !declared.ends_with("[]"));
        equal.map(|(name, ..)| part(name)).collect::<Vec<_>>().join("\nunion all ")
    };
    let groups = each(&|name| {
        format!(
            "select '{name}' as col, {name}::text as value, count(*) as n, count(distinct {name}) as d
             from others group by {name}"
        )
    });
    let joins = each(&|name| {
        format!(
            "select '{name}' as col, a.id as one, b.id as other from others a join others b on a.{name} = b.{name}"
        )
    });
    vec![
        ("others", "select * from others".to_owned()),
        ("devices", "select * from devices".to_owned()),
        ("groups", format!("select distinct * from ({groups}) as g")),
        ("joins", format!("select distinct * from ({joins}) as j")),
        (
            "filters",
            "select distinct * from (select 1 as filter, id from others where ip = '10.0.0.1/32'
             union all select 2, id from others where net in ('10.0.0.0/8', '2001:DB8:0::/32')
             union all select 3, id from others where mac <> '0800.2b01.0203'
             union all select 4, id from others where b3 = '111' or bv is null
             union all select 5, id from others where ip is distinct from '2001:db8::/32'
             union all select 6, id from others where ip in (select ip from devices)
             union all select 7, id from others where ip::text = '10.0.0.1/32'
             union all select 8, id from others where rn::text like '[1.0%'
             union all select 9, id from others where (ips::text[])[1] = '10.0.0.1/32'
             union all select 10, num_nulls(ip, net, at) from others
             union all select 11, id from others where path in ('Top.Science', 'b')
             union all select 12, id from others where lower(ci::text) = 'word') as f"
                .to_owned(),
        ),
        (
            "documents",
            "select id, json_build_object('ip', ip, 'r', rn, 'at', at, 'ips', ips)::text as doc, to_json(cash)::text as cash,
                 concat(ip, ' ', mac) as both, format('%s %s', ip, r4) as formatted, at::text as place, ips::text as many, x::text as x from others"
                .to_owned(),
        ),
    ]
}

fn script(server: &Postgres) -> String {
    let url = server.url("postgres");
    let mut script = format!("create source shop from '{url}' (tables = 'others, devices');\n");
    for (name, query) in queries() {
        let query = query
            .replace("from others", "from shop.others")
            .replace("from devices", "from shop.devices");
        let query = query.replace("join others", "join shop.others");
        write!(script, "create view {name}_v as {query};\ncreate sink {name}_out from {name}_v into '{url}/sunk.{name}';\n")
            .unwrap();
    }
    let other = server.url("other");
    write!(
        script,
        "create sink others_file from others_v into 'others.ndjson';
         create sink others_search from others_v into 'search';
         create sink others_elsewhere from others_v into '{other}/others';\n"
    )
    .unwrap();
    script
}

#[track_caller]
fn compare(server: &Postgres, when: &str) {
    for (name, query) in queries() {
        // Some of these types have no equality, and others take what is written otherwise for equal.
        let right = format!("(select q::text from ({query}) as q)");
        let found = format!("(select q::text from sunk.{name} as q)");
        for (what, one, other) in [("missing", &right, &found), ("too many", &found, &right)] {
            let sql = format!("{one} except all {other}");
            let rows = server.psql(&sql).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(rows.is_empty(), "{when}: {name}: {what}:\n{rows}");
        }
    }
}

#[test]
fn types_that_only_postgres_knows_arrive_as_they_are() {
    let (server, world) = (server(), World::new());
    let script = world.write("others.sql", &script(&server));
    world.ok(&["run", "--once", &script]);
    compare(&server, "after the copy");
    let types = |database: &str, table: &str| {
        let sql = format!(
            "select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute
             where attrelid = '{table}'::regclass and attnum > 0 order by attnum"
        );
        server.psql_in(database, &sql).unwrap()
    };
    // A domain is what it is made of, and what names things of one database is no name in another.
    let declared = types("postgres", "others").replace("label label", "label cidr");
    let declared = declared.replace("what regclass", "what text");
    assert_eq!(types("postgres", "sunk.others"), declared);
    let elsewhere = declared.lines().map(|column| match column.split_once(' ') {
        Some((name, of)) if OWN.contains(&name) && of.ends_with("[]") => format!("{name} text[]"),
        Some((name, _)) if OWN.contains(&name) => format!("{name} text"),
        _ => column.to_owned(),
    });
    assert_eq!(types("other", "others"), elsewhere.collect::<Vec<_>>().join("\n"));
    let shown = "select o::text from others as o where id < 100 order by id";
    let everywhere = ["postgres", "other"].map(|database| server.psql_in(database, shown).unwrap());
    assert_eq!(everywhere[0], everywhere[1]);
    let row = world.query("select * from others_v where id = 1");
    let file = json_rows(world.read("others.ndjson").lines().next().unwrap());
    assert_eq!(file, row);
    assert_eq!(indexed(&world, "others_v"), world.query("select * from others_v"));
    let found = world.ok(&["search", "-o", "ndjson", "others_v", "ip:\"10.0.0.1\" path:science"]);
    assert_eq!(json_rows(&found), row);
    assert!(row[0].contains(r#""ip":"10.0.0.1","ips":["10.0.0.1",null,"::1/64"]"#), "{row:?}");

    let all = "ttz = n.ttz, ip = n.ip, x = n.x, frames = n.frames, ips = n.ips, pair = n.pair";
    server
        .psql(&format!(
            "{}; update others set {all} from (select * from others) as n where n.id = others.id % 4 + 1;
             delete from others where id = 102; update devices set name = 'three' where name = 'one';
             update devices set ip = '10.0.0.2/8' where name = 'two'; delete from devices where name = 'three';
             insert into devices values ('10.0.0.1', 'four', null)",
            insert(101)
        ))
        .unwrap();
    world.ok(&["run", "--once", &script]);
    compare(&server, "after the stream");
}

#[test]
fn what_a_text_would_say_wrong_is_refused() {
    let (server, world) = (server(), World::new());
    let url = server.url("postgres");
    for (query, problem) in [
        ("select id from o order by ip limit 2", "values of type inet have no order here"),
        ("select max(cash) as m from o", "values of type money have no order here"),
        (
            "select id from o where ttz < '12:00+00'",
            "values of type time with time zone have no order here",
        ),
        (
            "select rank() over (order by mac) as r from o",
            "values of type macaddr have no order here",
        ),
        (
            "select rn, count(*) as n from o group by rn",
            "values of type numrange are not compared here",
        ),
        ("select distinct x from o", "values of type xml are not compared here"),
        ("select count(distinct at) as n from o", "values of type point are not compared here"),
        (
            "select a.id from o a join o b on a.rn = b.rn",
            "values of type numrange are not compared here",
        ),
        ("select a.id from o a join o b using (frame)", "values of type box are not compared here"),
        (
            "select id from o where cash = '1.50'",
            "values of type money are compared with their own kind",
        ),
        (
            "select id from o where ip = '10.1'",
            "values of type inet are compared with their own kind",
        ),
        ("select id from o where ip = net", "values of type inet are compared with their own kind"),
        ("select lower(r4) as l from o", "values of type int4range are taken by no function"),
        (
            "select id from o where ci = 'word'",
            "values of type public.citext are not compared here",
        ),
        (
            "select id from o where h = 'a=>1'",
            "values of type public.hstore are compared with their own kind",
        ),
        (
            "select id from o where octet_length(ip) > 1",
            "values of type inet are taken by no function",
        ),
        ("select id from o where ip ~ '1'", "values of type inet are taken by no function"),
        ("select h -> 'a' as a from o", "values of type public.hstore are taken by no function"),
        (
            "select path from o order by path limit 1",
            "values of type public.ltree have no order here",
        ),
        ("select cash || 'x' as twice from o", "values of type money are taken by no function"),
        ("select coalesce(ip, net) as c from o", "values of type inet are taken by no function"),
        (
            "select case when id = 1 then ip end as c from o",
            "values of type inet are taken by no function",
        ),
        ("select array_agg(ip) as a from o", "values of type inet are taken by no function"),
        ("select cash::numeric as n from o", "values of type money become nothing but text here"),
        ("select ip from o union all select 'x' from o", "values of type inet stand in one column"),
    ] {
        let query = query.replace(" o ", " shop.others ");
        let query =
            query.strip_suffix(" o").map_or(query.clone(), |query| format!("{query} shop.others"));
        let script = format!(
            "create source shop from '{url}' (tables = 'others'); create view v as {query};"
        );
        let ended = world.done(&["run", "--once", &world.write("refused.sql", &script)]);
        assert_eq!(ended.code, Some(2), "{query}\n{}", ended.stderr);
        let is_told = ended.stderr.contains("error[SQL020]") && ended.stderr.contains(problem);
        assert!(is_told && ended.stderr.contains("::text`"), "{query}\n{}", ended.stderr);
    }
}
