//! SQL reads one Time, changes nothing, and says what is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use change::Time;
use expect_test::{Expect, expect};
use view::{QueryOptions, Views, text};

use crate::fixture::{changes, info, person};

fn shop() -> Arc<Views> {
    let views = Views::new(vec![info("people", &[0]), info("regions", &[0])]);
    let people = [
        (person(1, "Ada", "emea"), 1),
        (person(2, "Bob", "apac"), 1),
        (person(3, "Cyd", "emea"), 1),
    ];
    let regions = [(person(10, "emea", "Europe"), 1), (person(11, "apac", "Asia"), 1)];
    views.apply(Time(1), vec![(0, changes(&people)), (1, changes(&regions))]).unwrap();
    views
}

async fn check(sql: &str, expected: Expect) {
    let answer = match shop().snapshot().query(sql).await {
        Ok(result) => String::from_utf8(text::to_csv(&result.schema, &result.rows)).unwrap(),
        Err(error) => {
            let help = error.help().map_or_else(String::new, |help| format!("\nhelp: {help}"));
            format!("{}: {error}{help}\n", error.code())
        }
    };
    expected.assert_eq(&answer);
}

#[tokio::test]
async fn queries_join_and_aggregate_views() {
    check(
        "select * from people where id > 1",
        expect![[r"
        id,name,region
        2,Bob,apac
        3,Cyd,emea
    "]],
    )
    .await;
    check(
        "select r.region, count(*) as n from people p join regions r on p.region = r.name \
         group by r.region order by n desc",
        expect![[r"
            region,n
            Europe,2
            Asia,1
        "]],
    )
    .await;
    check(
        "select count(*) from people",
        expect![[r"
        count(*)
        3
    "]],
    )
    .await;
    check(
        "select name from people limit 2",
        expect![[r"
        name
        Ada
        Bob
    "]],
    )
    .await;
    check(
        "with t as (select id from people) select max(id) as m from t",
        expect![[r"
        m
        3
    "]],
    )
    .await;
    for pipe in ["|", "|>"] {
        let query = format!(
            "from people {pipe} where id > (0|1) {pipe} aggregate count(*) as n group by region \
             {pipe} order by region"
        );
        check(
            &query,
            expect![[r#"
                region,n
                apac,1
                emea,1
            "#]],
        )
        .await;
    }
    check(
        "select id from people where name = 'nobody'",
        expect![[r"
        id
    "]],
    )
    .await;
}

#[tokio::test]
async fn wrong_queries_say_what_to_do() {
    check(
        "select * from peopel",
        expect![[r#"
        VIEW001: there is no view "peopel"
        help: did you mean "people"?
    "#]],
    )
    .await;
    check(
        "select nmae from people",
        expect![[r#"
        VIEW004: there is no column "nmae"
        help: did you mean "name"?
    "#]],
    )
    .await;
    check(
        "selec 1",
        expect![[r#"
        VIEW004: Expected: an SQL statement, found: selec at Line: 1, Column: 1
    "#]],
    )
    .await;
    check(
        "select 1; select 2",
        expect![[r#"
            VIEW004: one query is answered at a time
            help: send the statements one by one
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_query_changes_nothing() {
    check(
        "drop table people",
        expect![[r#"
        VIEW003: `drop` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
    check(
        "create table x as select * from people",
        expect![[r#"
        VIEW003: `create` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
    check(
        "insert into people values (9, 'x', 'y')",
        expect![[r#"
        VIEW003: `insert` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
    check(
        "delete from people",
        expect![[r#"
        VIEW003: `delete` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
    check(
        "copy people to '/tmp/people.csv'",
        expect![[r#"
        VIEW003: `copy` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
    check(
        "create external table x stored as csv location '/etc/passwd'",
        expect![[r#"
        VIEW003: `create` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
    check(
        "explain analyze insert into people values (9, 'x', 'y')",
        expect![[r#"
        VIEW003: `explain` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
    check(
        "set datafusion.execution.batch_size = 1",
        expect![[r#"
        VIEW003: `set` would change something, and queries only read
        help: write a `select`; to change what there is, change the script and run it again
    "#]],
    )
    .await;
}

#[tokio::test]
async fn limits_hold() {
    let snapshot = shop().snapshot();
    let endless =
        "with recursive n as (select 1 as i union all select i + 1 from n) select max(i) from n";
    let options = QueryOptions { timeout: Duration::from_millis(200), ..QueryOptions::INTERACTIVE };
    let error = snapshot.query_with(endless, options).await.unwrap_err();
    assert_eq!(error.code(), "VIEW005", "{error}");

    let options = QueryOptions { result_bytes_max: 100, ..QueryOptions::INTERACTIVE };
    let error = snapshot.query_with("select * from people", options).await.unwrap_err();
    assert_eq!(error.code(), "VIEW006", "{error}");

    let options = QueryOptions { memory_bytes_max: 10, ..QueryOptions::INTERACTIVE };
    let error =
        snapshot.query_with("select name, count(*) from people group by name", options).await;
    assert_eq!(error.unwrap_err().code(), "VIEW006");
}

/// Money moves between accounts in two views; their sum never changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_never_sees_half_a_step() {
    let views = Views::new(vec![info("left", &[]), info("right", &[])]);
    let account = |balance: i64| person(balance, "account", "x");
    views
        .apply(
            Time(1),
            vec![(0, changes(&[(account(500), 1)])), (1, changes(&[(account(-500), 1)]))],
        )
        .unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (views, done) = (Arc::clone(&views), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut time = 1;
            while !done.load(Ordering::Relaxed) {
                let (before, after) = (500 + time - 1, 500 + time);
                let step = |sign: i64| {
                    changes(&[(account(sign * before), -1), (account(sign * after), 1)])
                };
                time += 1;
                let now = Time(u64::try_from(time).unwrap());
                views.apply(now, vec![(0, step(1)), (1, step(-1))]).unwrap();
            }
            time
        })
    };
    for _ in 0..100 {
        let sum =
            "select l.id + r.id as total, count(*) as n from \"left\" l, \"right\" r group by 1";
        let result = views.snapshot().query(sum).await.unwrap();
        let number =
            |column: usize| result.rows[0].column(column).as_primitive::<Int64Type>().value(0);
        assert_eq!((number(0), number(1)), (0, 1));
    }
    done.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 10);
}
