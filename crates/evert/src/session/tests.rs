//! What statements look at, counted: a write by key does not touch the rows of other keys.

use tempfile::TempDir;

use super::*;

/// Runs statements over a table of 5,000 rows, after which some others were written.
async fn session(directory: &TempDir) -> Session {
    let mut session = Session::open(directory.path(), false).unwrap();
    let text =
        "create table t (id int primary key, code text unique, a float, n int, unique (n, a));
        insert into t select i, 'c' || i, i as a, i as n from generate_series(1, 5000) as g(i)";
    session.execute(text).await.unwrap();
    session.read_rows = 0;
    session
}

/// What a text comes to, and how many rows of tables it looked at.
async fn looked_at(session: &mut Session, text: &str) -> (String, u64) {
    let before = session.read_rows;
    let outcome = match session.execute(text).await {
        Ok(outcomes) => match outcomes.last() {
            Some(Outcome::Wrote(_, rows)) => format!("wrote {rows}"),
            Some(Outcome::Rows(_, rows)) => output::objects(rows)
                .iter()
                .map(|row| serde_json::to_string(row).unwrap())
                .collect::<Vec<_>>()
                .join(" "),
            Some(Outcome::Done(what)) => (*what).to_owned(),
            Some(Outcome::Explained(..)) | None => unreachable!("nothing is explained"),
        },
        Err(failure) => failure.to_string(),
    };
    (outcome, session.read_rows - before)
}

async fn check(session: &mut Session, statements: &[(&str, &str, u64)]) {
    for &(text, outcome, rows) in statements {
        let is = looked_at(session, text).await;
        assert_eq!((is.0.as_str(), is.1), (outcome, rows), "{text}");
    }
}

const WRITES: [(&str, &str, u64); 16] = [
    // Each looks for the row, and where it inserts one, for those with its three keys.
    ("update t set n = n + 10000 where id = 7", "wrote 1", 3),
    ("update t as x set code = code || '!' where 8 = x.id and n > 0", "wrote 1", 3),
    ("update t set a = 1 where id in (9, 10, 9, 60000)", "wrote 2", 6),
    ("update t set a = 2 where id = 11 or id = 12", "wrote 2", 6),
    ("update t set a = 3 where code = 'c13'", "wrote 1", 3),
    ("update t set a = 4 where n = 14 and a = 14", "wrote 1", 3),
    ("update t set a = -0.0 where id = 15", "wrote 1", 3),
    ("update t set code = 'zero' where n = 15 and a = 0.0", "wrote 1", 3),
    ("delete from t where id = 16", "wrote 1", 1),
    ("delete from t where id = 16", "wrote 0", 0),
    ("insert into t values (16, 'c16', -1, 1), (60001, 'new', -1, 2)", "wrote 2", 0),
    ("insert into t values (17, 'other', -1, 3)", "table t has a row with (id) = (17) already", 1),
    (
        "insert into t values (17, 'o', -1, 3), (60002, 'p', -1, 4) on conflict do nothing",
        "wrote 1",
        1,
    ),
    ("update t set id = 19 where id = 18", "table t has a row with (id) = (19) already", 2),
    ("select n from t where id = 7", r#"{"n":10007}"#, 1),
    ("update t set n = 0 where id = 20 and id = 21", "wrote 0", 0),
];

#[tokio::test]
async fn a_write_by_key_does_not_touch_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session(&directory).await;
    check(&mut session, &WRITES).await;
    let all = [("update t set n = n where n % 5000 = 1", "wrote 2", 5_002 + 6)];
    check(&mut session, &all).await;
}

#[tokio::test]
async fn a_transaction_finds_its_own_writes_by_key() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session(&directory).await;
    let statements = [
        ("begin", "begin", 0),
        ("update t set n = -1, a = 7 where id = 7", "wrote 1", 3),
        // The row of before, that it went, and that another came.
        ("select n from t where id = 7", r#"{"n":-1}"#, 3),
        (
            "insert into t values (6000, 'c7', -2, 0)",
            "table t has a row with (code) = (c7) already",
            3,
        ),
        ("insert into t values (6000, 'c6000', 7, 7)", "wrote 1", 2),
        ("delete from t where id = 7", "wrote 1", 3),
        ("insert into t values (7, 'c7', -1, 1)", "wrote 1", 4),
        ("insert into t values (8, 'c8', -1, 1) on conflict do nothing", "wrote 0", 3),
        ("delete from t where id = 6000", "wrote 1", 1),
        (
            "insert into t select i, 'd' || i, i as a, i as n from generate_series(7000, 7999) as g(i)",
            "wrote 1000",
            0,
        ),
        ("update t set code = 'seven' where id = 7001", "wrote 1", 3),
        ("commit", "commit", 0),
        ("select code from t where id = 7001", r#"{"code":"seven"}"#, 1),
        ("select a, n, code from t where id = 7", r#"{"a":-1,"n":1,"code":"c7"}"#, 1),
        ("select count(*) as n from t", r#"{"n":6000}"#, 6000),
    ];
    check(&mut session, &statements).await;
}

#[tokio::test]
async fn rows_found_by_key_come_in_one_order_however_they_came_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut live = Session::open(directory.path(), false).unwrap();
    let tables = "create table t (id int primary key, v int);
        create table s (id int primary key, g int, v int);
        insert into t values (1, 0); insert into s values (2, 1, 20); insert into s values (1, 1, 10)";
    live.execute(tables).await.unwrap();
    // The first match counts, and both rows of `s` are found by their keys.
    let update = "update t set v = s.v from s where t.id = s.g and s.id in (1, 2)";
    let statements = [
        (update, "wrote 1", 3 + 1),
        ("select v from t", r#"{"v":10}"#, 1),
        ("update t set v = 0", "wrote 1", 1 + 1),
    ];
    check(&mut live, &statements).await;
    drop(live);
    let mut reopened = Session::open(directory.path(), false).unwrap();
    check(&mut reopened, &statements).await;
}

#[tokio::test]
async fn a_transaction_writes_rows_whose_unique_value_is_null() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session(&directory).await;
    let statements = [
        ("begin", "begin", 0),
        ("insert into t values (6001, null, 1, null), (6002, null, 1, null)", "wrote 2", 0),
        ("insert into t values (6003, null, 1, null)", "wrote 1", 0),
        ("update t set a = 2 where id = 6001", "wrote 1", 2),
        ("delete from t where id = 6002", "wrote 1", 1),
        ("commit", "commit", 0),
        ("select a, code from t where id > 6000 and id = 6001", r#"{"a":2,"code":null}"#, 1),
        ("select count(*) as n from t where code is null", r#"{"n":2}"#, 5002),
    ];
    check(&mut session, &statements).await;
}
