//! Rows of queries over the whole language, through the oracle.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use change::TableName;
use expect_test::{Expect, expect};

use super::{field, table};
use crate::{Catalog, parse, run_batch};

/// Two tables of two columns, with NULLs and duplicates, and a table without rows.
fn catalog() -> Catalog {
    let columns = |names: [&str; 2]| -> Vec<Field> {
        vec![field(names[0], DataType::Int64), field(names[1], DataType::Utf8)]
    };
    Catalog {
        tables: vec![
            table("s", "a", columns(["x", "y"]), vec![]),
            table("s", "b", columns(["x", "z"]), vec![]),
            table("s", "none", columns(["x", "z"]), vec![]),
        ],
        sources: vec!["create source s from 'postgres://app@localhost/s'".to_owned()],
        ..Catalog::default()
    }
}

type Row = (Option<i64>, Option<&'static str>);

fn rows(names: [&str; 2], rows: &[Row]) -> RecordBatch {
    let fields = vec![field(names[0], DataType::Int64), field(names[1], DataType::Utf8)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn run(query: &str) -> String {
    let script = parse(&format!("create view v as {query}")).unwrap();
    let a = rows(
        ["x", "y"],
        &[
            (Some(1), Some("p")),
            (Some(1), Some("p")),
            (Some(2), Some("q")),
            (Some(3), None),
            (None, Some("n")),
        ],
    );
    let b = rows(
        ["x", "z"],
        &[(Some(1), Some("u")), (Some(2), Some("v")), (Some(2), Some("w")), (None, Some("n"))],
    );
    let tables = vec![(TableName::new("s", "a"), vec![a]), (TableName::new("s", "b"), vec![b])];
    match run_batch(&script, &catalog(), tables).await {
        Ok(views) => {
            let shown = pretty_format_batches(&views[0].1).unwrap().to_string();
            let mut lines: Vec<_> = shown.lines().filter(|line| !line.starts_with('+')).collect();
            if !query.contains("order by 1") && lines.len() > 1 {
                lines[1..].sort_unstable();
            }
            lines.join("\n")
        }
        Err(error) => error.to_string(),
    }
}

/// Runs each query and shows it with its rows.
async fn check_rows(queries: &[&str], expect: &Expect) {
    let mut shown = String::new();
    for query in queries {
        shown.push_str(&format!("{query}\n{}\n\n", run(query).await));
    }
    expect.assert_eq(&shown);
}

#[tokio::test]
async fn joins_of_every_kind() {
    check_rows(
        &[
            "select a.x, b.z from a right join b on a.x = b.x",
            "select a.x, b.x as bx from a full join b on a.x = b.x and b.z <> 'v'",
            "select a.x, b.z from a join b on a.x is not distinct from b.x",
            "select a.x, b.x as bx from a join b on a.x < b.x",
        ],
        &expect![[r#"
            select a.x, b.z from a right join b on a.x = b.x
            | x | z |
            |   | n |
            | 1 | u |
            | 1 | u |
            | 2 | v |
            | 2 | w |

            select a.x, b.x as bx from a full join b on a.x = b.x and b.z <> 'v'
            | x | bx |
            |   |    |
            |   |    |
            |   | 2  |
            | 1 | 1  |
            | 1 | 1  |
            | 2 | 2  |
            | 3 |    |

            select a.x, b.z from a join b on a.x is not distinct from b.x
            | x | z |
            |   | n |
            | 1 | u |
            | 1 | u |
            | 2 | v |
            | 2 | w |

            select a.x, b.x as bx from a join b on a.x < b.x
            | x | bx |
            | 1 | 2  |
            | 1 | 2  |
            | 1 | 2  |
            | 1 | 2  |

        "#]],
    )
    .await;
}

#[tokio::test]
async fn in_and_exists_follow_the_rules_of_null() {
    check_rows(
        &[
            "select x from a where x in (select x from b)",
            "select x from a where x not in (select x from b)",
            "select x from a where x not in (select x from b where x is not null)",
            "select x from a where x not in (select x from none)",
            "select x, x in (select x from b) as i from a",
            "select x, x in (select x from none) as i from a",
            "select x from a where exists (select 1 from b where b.x = a.x)",
            "select x from a where not exists (select 1 from b where b.x = a.x and z > 'u')",
            "select x from a where exists (select 1 from b where b.x > a.x)",
            "select x from a where exists (select 1 from none)",
            "select x, exists (select 1 from b where b.x = a.x) as e from a",
            "select x from a where x = 3 or exists (select 1 from b where b.x = a.x)",
            "select x from a where y not in (select z from b where b.x = a.x)",
            "select x from a where x > all (select x from b where x < 3)",
            "select x from a where x >= any (select x from b)",
        ],
        &expect![[r#"
            select x from a where x in (select x from b)
            | x |
            | 1 |
            | 1 |
            | 2 |

            select x from a where x not in (select x from b)


            select x from a where x not in (select x from b where x is not null)
            | x |
            | 3 |

            select x from a where x not in (select x from none)
            | x |
            |   |
            | 1 |
            | 1 |
            | 2 |
            | 3 |

            select x, x in (select x from b) as i from a
            | x | i    |
            |   |      |
            | 1 | true |
            | 1 | true |
            | 2 | true |
            | 3 |      |

            select x, x in (select x from none) as i from a
            | x | i     |
            |   | false |
            | 1 | false |
            | 1 | false |
            | 2 | false |
            | 3 | false |

            select x from a where exists (select 1 from b where b.x = a.x)
            | x |
            | 1 |
            | 1 |
            | 2 |

            select x from a where not exists (select 1 from b where b.x = a.x and z > 'u')
            | x |
            |   |
            | 1 |
            | 1 |
            | 3 |

            select x from a where exists (select 1 from b where b.x > a.x)
            | x |
            | 1 |
            | 1 |

            select x from a where exists (select 1 from none)


            select x, exists (select 1 from b where b.x = a.x) as e from a
            | x | e     |
            |   | false |
            | 1 | true  |
            | 1 | true  |
            | 2 | true  |
            | 3 | false |

            select x from a where x = 3 or exists (select 1 from b where b.x = a.x)
            | x |
            | 1 |
            | 1 |
            | 2 |
            | 3 |

            select x from a where y not in (select z from b where b.x = a.x)
            | x |
            |   |
            | 1 |
            | 1 |
            | 2 |
            | 3 |

            select x from a where x > all (select x from b where x < 3)
            | x |
            | 3 |

            select x from a where x >= any (select x from b)
            | x |
            | 1 |
            | 1 |
            | 2 |
            | 3 |

        "#]],
    )
    .await;
}

#[tokio::test]
async fn scalar_subqueries_have_one_row() {
    check_rows(
        &[
            "select x, (select max(z) from b) as m from a",
            "select x, (select count(*) from b where b.x = a.x) as n from a",
            "select x, (select count(*) + 1 from b where b.x > a.x) as n from a",
            "select x, (select z from b where b.x = a.x) as z from a where x = 1",
            "select x, (select z from b where b.x = a.x) as z from a where x < 3",
            "select x, (select z from b) as z from a",
            "select x, (select z from b where b.x = a.x order by z desc limit 1) as z from a",
            "select x from a where x = (select min(b.x) from b where b.x >= a.x)",
            "select x, (select sum(n) from (select count(*) as n from b where b.x = a.x group by z) t) as s from a",
            "select x, (select count(*) from b where b.x = a.x and exists (select 1 from a c where c.x = b.x and c.y = a.y)) as n from a",
        ],
        &expect![[r#"
            select x, (select max(z) from b) as m from a
            | x | m |
            |   | w |
            | 1 | w |
            | 1 | w |
            | 2 | w |
            | 3 | w |

            select x, (select count(*) from b where b.x = a.x) as n from a
            | x | n |
            |   | 0 |
            | 1 | 1 |
            | 1 | 1 |
            | 2 | 2 |
            | 3 | 0 |

            select x, (select count(*) + 1 from b where b.x > a.x) as n from a
            | x | n |
            |   | 1 |
            | 1 | 3 |
            | 1 | 3 |
            | 2 | 1 |
            | 3 | 1 |

            select x, (select z from b where b.x = a.x) as z from a where x = 1
            | x | z |
            | 1 | u |
            | 1 | u |

            select x, (select z from b where b.x = a.x) as z from a where x < 3
            SQL040: the view v failed as a batch: Execution error: more than one row returned by a subquery used as an expression
            1 | create view v as select x, (select z from b where b.x = a.x) as z from a where x < 3
              | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ in this script


            select x, (select z from b) as z from a
            SQL040: the view v failed as a batch: Execution error: more than one row returned by a subquery used as an expression
            1 | create view v as select x, (select z from b) as z from a
              | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ in this script


            select x, (select z from b where b.x = a.x order by z desc limit 1) as z from a
            | x | z |
            |   |   |
            | 1 | u |
            | 1 | u |
            | 2 | w |
            | 3 |   |

            select x from a where x = (select min(b.x) from b where b.x >= a.x)
            | x |
            | 1 |
            | 1 |
            | 2 |

            select x, (select sum(n) from (select count(*) as n from b where b.x = a.x group by z) t) as s from a
            | x | s |
            |   |   |
            | 1 | 1 |
            | 1 | 1 |
            | 2 | 2 |
            | 3 |   |

            select x, (select count(*) from b where b.x = a.x and exists (select 1 from a c where c.x = b.x and c.y = a.y)) as n from a
            | x | n |
            |   | 0 |
            | 1 | 1 |
            | 1 | 1 |
            | 2 | 2 |
            | 3 | 0 |

        "#]],
    )
    .await;
}

#[tokio::test]
async fn lateral_subqueries_and_lists() {
    check_rows(
        &[
            "select a.x, t.z from a cross join lateral (select z from b where b.x = a.x) t",
            "select a.x, t.n from a, lateral (select count(*) as n from b where b.x = a.x) t",
            "select a.x, t.z from a left join lateral (select z from b where b.x = a.x order by z limit 1) t on true",
            "select a.x, t.z from a left join lateral (select z from b where b.x = a.x) t on t.z <> 'u'",
            "select a.x, g from a, generate_series(1, a.x) as g",
            "select g from generate_series(1, 3) as g",
            "select x, unnest([x, 7]) as e from a where x > 1",
            "select x, generate_series(1, 2) as e from b where x = 1",
            "select t.e from (select array_agg(x order by x) as l from b) q cross join unnest(q.l) as t(e)",
        ],
        &expect![[r#"
            select a.x, t.z from a cross join lateral (select z from b where b.x = a.x) t
            | x | z |
            | 1 | u |
            | 1 | u |
            | 2 | v |
            | 2 | w |

            select a.x, t.n from a, lateral (select count(*) as n from b where b.x = a.x) t
            | x | n |
            |   | 0 |
            | 1 | 1 |
            | 1 | 1 |
            | 2 | 2 |
            | 3 | 0 |

            select a.x, t.z from a left join lateral (select z from b where b.x = a.x order by z limit 1) t on true
            | x | z |
            |   |   |
            | 1 | u |
            | 1 | u |
            | 2 | v |
            | 3 |   |

            select a.x, t.z from a left join lateral (select z from b where b.x = a.x) t on t.z <> 'u'
            | x | z |
            |   |   |
            | 1 |   |
            | 1 |   |
            | 2 | v |
            | 2 | w |
            | 3 |   |

            select a.x, g from a, generate_series(1, a.x) as g
            | x | g |
            | 1 | 1 |
            | 1 | 1 |
            | 2 | 1 |
            | 2 | 2 |
            | 3 | 1 |
            | 3 | 2 |
            | 3 | 3 |

            select g from generate_series(1, 3) as g
            | g |
            | 1 |
            | 2 |
            | 3 |

            select x, unnest([x, 7]) as e from a where x > 1
            | x | e |
            | 2 | 2 |
            | 2 | 7 |
            | 3 | 3 |
            | 3 | 7 |

            select x, generate_series(1, 2) as e from b where x = 1
            | x | e |
            | 1 | 1 |
            | 1 | 2 |

            select t.e from (select array_agg(x order by x) as l from b) q cross join unnest(q.l) as t(e)
            | e |
            |   |
            | 1 |
            | 2 |
            | 2 |

        "#]],
    )
    .await;
}

#[tokio::test]
async fn sets_count_as_they_say() {
    check_rows(
        &[
            "select x from a intersect select x from b",
            "select x from a intersect all select x from b",
            "select x from a except select x from b",
            "select x from a except all select x from b",
            "(select x from a except all select 1) except all select 1",
            "select x from a union select x from b",
            "values (1, 'a'), (2, null)",
            "select t.n, t.s from (values (1, 'a'), (2, 'b')) as t(n, s)",
            "select 1 as one, 'a' || 'b' as two",
            "select distinct on (x) x, z from b order by x, z desc",
        ],
        &expect![[r#"
            select x from a intersect select x from b
            | x |
            |   |
            | 1 |
            | 2 |

            select x from a intersect all select x from b
            | x |
            |   |
            | 1 |
            | 2 |

            select x from a except select x from b
            | x |
            | 3 |

            select x from a except all select x from b
            | x |
            | 1 |
            | 3 |

            (select x from a except all select 1) except all select 1
            | x |
            |   |
            | 2 |
            | 3 |

            select x from a union select x from b
            | x |
            |   |
            | 1 |
            | 2 |
            | 3 |

            values (1, 'a'), (2, null)
            | column1 | column2 |
            | 1       | a       |
            | 2       |         |

            select t.n, t.s from (values (1, 'a'), (2, 'b')) as t(n, s)
            | n | s |
            | 1 | a |
            | 2 | b |

            select 1 as one, 'a' || 'b' as two
            | one | two |
            | 1   | ab  |

            select distinct on (x) x, z from b order by x, z desc
            | x | z |
            |   | n |
            | 1 | u |
            | 2 | w |

        "#]],
    )
    .await;
}

#[tokio::test]
async fn windows_look_at_other_rows() {
    check_rows(
        &[
            "select x, row_number() over (order by x) as n, rank() over (order by x) as r, dense_rank() over (order by x) as d from a",
            "select x, y, row_number() over (partition by x order by y desc) as n from a",
            "select x, z, lag(z) over w as l, lead(z, 1, 'end') over w as m from b window w as (order by z)",
            "select x, sum(x) over (order by x rows between 1 preceding and current row) as s, count(*) over () as c from a",
            "select x, z from b qualify row_number() over (partition by x order by z) = 1",
            "from b |> extend row_number() over (partition by x order by z) as n |> where n <= 1 |> select x, z",
            "select x, ntile(2) over (order by z) as t, first_value(z) over (order by z) as f, nth_value(z, 2) over (order by z) as s from b",
        ],
        &expect![[r#"
            select x, row_number() over (order by x) as n, rank() over (order by x) as r, dense_rank() over (order by x) as d from a
            | x | n | r | d |
            |   | 5 | 5 | 4 |
            | 1 | 1 | 1 | 1 |
            | 1 | 2 | 1 | 1 |
            | 2 | 3 | 3 | 2 |
            | 3 | 4 | 4 | 3 |

            select x, y, row_number() over (partition by x order by y desc) as n from a
            | x | y | n |
            |   | n | 1 |
            | 1 | p | 1 |
            | 1 | p | 2 |
            | 2 | q | 1 |
            | 3 |   | 1 |

            select x, z, lag(z) over w as l, lead(z, 1, 'end') over w as m from b window w as (order by z)
            | x | z | l | m   |
            |   | n |   | u   |
            | 1 | u | n | v   |
            | 2 | v | u | w   |
            | 2 | w | v | end |

            select x, sum(x) over (order by x rows between 1 preceding and current row) as s, count(*) over () as c from a
            | x | s | c |
            |   | 3 | 5 |
            | 1 | 1 | 5 |
            | 1 | 2 | 5 |
            | 2 | 3 | 5 |
            | 3 | 5 | 5 |

            select x, z from b qualify row_number() over (partition by x order by z) = 1
            | x | z |
            |   | n |
            | 1 | u |
            | 2 | v |

            from b |> extend row_number() over (partition by x order by z) as n |> where n <= 1 |> select x, z
            | x | z |
            |   | n |
            | 1 | u |
            | 2 | v |

            select x, ntile(2) over (order by z) as t, first_value(z) over (order by z) as f, nth_value(z, 2) over (order by z) as s from b
            | x | t | f | s |
            |   | 1 | n |   |
            | 1 | 1 | n | u |
            | 2 | 2 | n | u |
            | 2 | 2 | n | u |

        "#]],
    )
    .await;
}

#[tokio::test]
async fn aggregates_of_every_kind() {
    check_rows(
        &[
            "select bool_and(x > 1) as a, bool_or(x > 1) as o, every(x > 0) as e, string_agg(y, ',' order by y desc) as s, array_agg(x order by x) as l from a",
            "select var_pop(x) as p, variance(x) as v, stddev(x) as s from b",
            "select x, y, count(*) as n, grouping(x) as g from a group by rollup (x, y)",
            "select x, count(*) as n from none group by grouping sets ((x), ())",
            "select x, z, sum(x) as s from b group by cube (x, z)",
        ],
        &expect![[r#"
            select bool_and(x > 1) as a, bool_or(x > 1) as o, every(x > 0) as e, string_agg(y, ',' order by y desc) as s, array_agg(x order by x) as l from a
            | a     | o    | e    | s       | l              |
            | false | true | true | q,p,p,n | [1, 1, 2, 3, ] |

            select var_pop(x) as p, variance(x) as v, stddev(x) as s from b
            | p                  | v                  | s                  |
            | 0.2222222222222222 | 0.3333333333333333 | 0.5773502691896257 |

            select x, y, count(*) as n, grouping(x) as g from a group by rollup (x, y)
            | x | y | n | g |
            |   |   | 1 | 0 |
            |   |   | 5 | 1 |
            |   | n | 1 | 0 |
            | 1 |   | 2 | 0 |
            | 1 | p | 2 | 0 |
            | 2 |   | 1 | 0 |
            | 2 | q | 1 | 0 |
            | 3 |   | 1 | 0 |
            | 3 |   | 1 | 0 |

            select x, count(*) as n from none group by grouping sets ((x), ())
            | x | n |
            |   | 0 |

            select x, z, sum(x) as s from b group by cube (x, z)
            | x | z | s |
            |   |   |   |
            |   |   | 5 |
            |   | n |   |
            |   | n |   |
            |   | u | 1 |
            |   | v | 2 |
            |   | w | 2 |
            | 1 |   | 1 |
            | 1 | u | 1 |
            | 2 |   | 4 |
            | 2 | v | 2 |
            | 2 | w | 2 |

        "#]],
    )
    .await;
}

#[tokio::test]
async fn json_is_read_by_operators() {
    check_rows(
        &[
            r#"select j -> 'a' as a, j ->> 'a' as t, j -> 'b' -> 0 as e, j #>> '{b,1}' as p from (values ('{"a": "x", "b": [1.50, 12345678901234567890.10]}')) as v(j)"#,
            r#"select j @> '{"a": 1.0}' as c, j @> '{"b": 1}' as d, '[1, 2]' @> '1' as e from (values ('{"a": 1, "c": null}')) as v(j)"#,
            r#"select j ->> 'c' as n, j -> 'c' as c, j -> 'zz' as z from (values ('{"a": 1, "c": null}')) as v(j)"#,
            r#"select y -> 'a' as a from a"#,
        ],
        &expect![[r#"
            select j -> 'a' as a, j ->> 'a' as t, j -> 'b' -> 0 as e, j #>> '{b,1}' as p from (values ('{"a": "x", "b": [1.50, 12345678901234567890.10]}')) as v(j)
            | a   | t | e    | p                       |
            | "x" | x | 1.50 | 12345678901234567890.10 |

            select j @> '{"a": 1.0}' as c, j @> '{"b": 1}' as d, '[1, 2]' @> '1' as e from (values ('{"a": 1, "c": null}')) as v(j)
            | c    | d     | e    |
            | true | false | true |

            select j ->> 'c' as n, j -> 'c' as c, j -> 'zz' as z from (values ('{"a": 1, "c": null}')) as v(j)
            | n | c    | z |
            |   | null |   |

            select y -> 'a' as a from a
            SQL040: the view v failed as a batch: Execution error: this is not JSON: expected value at line 1 column 1
            1 | create view v as select y -> 'a' as a from a
              | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ in this script


        "#]],
    )
    .await;
}

#[tokio::test]
async fn times_fall_into_windows() {
    check_rows(
        &[
            "select date_bin(interval '5 minutes', t, timestamp '2000-01-01') as w, count(*) as n from (values (timestamp '2024-01-01 00:01:00'), (timestamp '2024-01-01 00:06:00'), (timestamp '2024-01-01 00:09:00')) as v(t) group by w",
            "select w, count(*) as n from (values (timestamp '2024-01-01 00:01:00'), (timestamp '2024-01-01 00:06:00')) as v(t) cross join generate_series(date_trunc('minute', t) - interval '2 minutes', t, interval '1 minute') as w group by w",
            "select t + interval '1 day' as d, t - timestamp '2024-01-01' as i from (values (timestamp '2024-01-02 00:01:00')) as v(t)",
        ],
        &expect![[r#"
            select date_bin(interval '5 minutes', t, timestamp '2000-01-01') as w, count(*) as n from (values (timestamp '2024-01-01 00:01:00'), (timestamp '2024-01-01 00:06:00'), (timestamp '2024-01-01 00:09:00')) as v(t) group by w
            | w                   | n |
            | 2024-01-01T00:00:00 | 1 |
            | 2024-01-01T00:05:00 | 2 |

            select w, count(*) as n from (values (timestamp '2024-01-01 00:01:00'), (timestamp '2024-01-01 00:06:00')) as v(t) cross join generate_series(date_trunc('minute', t) - interval '2 minutes', t, interval '1 minute') as w group by w
            | w                   | n |
            | 2023-12-31T23:59:00 | 1 |
            | 2024-01-01T00:00:00 | 1 |
            | 2024-01-01T00:01:00 | 1 |
            | 2024-01-01T00:04:00 | 1 |
            | 2024-01-01T00:05:00 | 1 |
            | 2024-01-01T00:06:00 | 1 |

            select t + interval '1 day' as d, t - timestamp '2024-01-01' as i from (values (timestamp '2024-01-02 00:01:00')) as v(t)
            | d                   | i             |
            | 2024-01-03T00:01:00 | 1 days 1 mins |

        "#]],
    )
    .await;
}
