//! `evert test` and `evert sql`: tables that Evert owns, as their users meet them; and our own sqllogictest files.
//!
//! Every file in `tests/slt` is run with `--verify`, so it is an oracle test as well: after each change, every view is
//! compared with its query over the same tables.

use std::fs;
use std::path::PathBuf;

use expect_test::expect;
use servers::Signal;

use crate::user::User;

fn our_files() -> Vec<PathBuf> {
    let folder = fs::canonicalize("tests/slt").unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_file_of_ours_passes_and_every_view_is_what_its_query_gives() {
    let user = User::new();
    let files = our_files();
    assert!(files.len() >= 9, "{files:?}");
    let mut arguments = vec!["test", "--verify"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let ended = user.evert(&arguments);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stdout.lines().count(), files.len());
    assert!(ended.stdout.lines().all(|line| line.starts_with("ok ")), "{}", ended.stdout);
    assert!(!user.dir().join(".evert").exists(), "a test leaves no data directory");
}

#[test]
fn a_file_that_fails_says_where_and_how() {
    let user = User::new();
    user.write(
        "wrong.slt",
        "statement ok\ncreate table t (id int, name text)\n\nstatement count 3\n\
         insert into t values (1, 'a'), (2, ''), (3, null)\n\n# In another order.\nquery IT\n\
         select * from t order by id desc\n----\n1 a\n2 (empty)\n3 NULL\n",
    );
    user.write("right.slt", "query I\nselect 1\n----\n1\n");
    user.write(
        "count.slt",
        "statement ok\ncreate table t (id int)\n\nstatement count 1\ndelete from t\n",
    );
    user.write("types.slt", "query T\nselect 1\n----\n1\n\nquery II\nselect 1\n----\n1\n");
    let ended = user.evert(&["test", "wrong.slt", "right.slt", "count.slt", "types.slt"]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let timeless = |line: &str| match line.rsplit_once(", ") {
        Some((start, _)) if line.starts_with("ok") => format!("{start})"),
        _ => line.to_owned(),
    };
    let told: Vec<String> = ended.stdout.lines().map(timeless).collect();
    expect![[r#"
        FAILED  wrong.slt
          wrong.slt:8: gives other rows (- expected, + found)
            select * from t order by id desc
            - 1 a
            - 2 (empty)
              3 NULL
            + 2 (empty)
            + 1 a
        ok      right.slt (1 record)
        FAILED  count.slt
          count.slt:4: wrote 0 rows, not 1
            delete from t
        FAILED  types.slt
          types.slt:6: has columns of the types I, not II
            select 1"#]]
    .assert_eq(&told.join("\n"));
    assert!(
        ended.stderr.starts_with("error[EVT005]: 3 of 4 test files failed"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_was_found_is_written_when_asked_for() {
    let user = User::new();
    user.write(
        "new.slt",
        "# A comment stays.\nstatement ok\ncreate table t (id int primary key)\n\nstatement count 9\n\
         insert into t values (2), (1)\n\nstatement ok\ninsert into t values (1)\n\n\
         query T rowsort\nselect id, 'x' from t\n\nquery I\nselect nothing from t\n----\n7\n",
    );
    let ended = user.evert(&["test", "--override", "new.slt"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "written new.slt (4 of 5 records changed)\n");
    expect![[r#"
        # A comment stays.
        statement ok
        create table t (id int primary key)

        statement count 2
        insert into t values (2), (1)

        statement error TAB001
        insert into t values (1)

        query IT rowsort
        select id, 'x' from t
        ----
        1 x
        2 x

        query error SQL011
        select nothing from t
    "#]]
    .assert_eq(&user.read("new.slt"));
    let again = user.evert(&["test", "new.slt"]);
    assert_eq!(again.code, Some(0), "{}", again.stdout);
}

#[test]
fn files_of_other_engines_are_read() {
    let user = User::new();
    user.write("common.inc", "statement ok\ncreate table t (a int, b text)\n");
    user.write(
        "other.slt",
        "include common.inc\n\nonlyif sqlite\nstatement ok\npragma x\n\nskipif evert\nquery I\n\
         select nonsense\n----\n1\n\nstatement ok\ninsert into t values (2, 'b'), (1, 'a')\n\n\
         # One value a line, as SQLite's own files have it.\nquery IT rowsort same\n\
         select a, b from t\n----\n1\na\n2\nb\n\nquery IT valuesort\nselect a, b from t\n----\n\
         1\n2\na\nb\n\nhash-threshold 2\n\nquery IT rowsort same\nselect a, b from t\n----\n\
         4 values hashing to dcb405d9ab483907f29736a07728fa2d\n\nhalt\n\nstatement ok\nnonsense\n",
    );
    let ended = user.evert(&["test", "other.slt"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    user.write("odd.slt", "statement ok\nflush\n\nstatment ok\nflush\n");
    let ended = user.evert(&["test", "odd.slt"]);
    assert_eq!(ended.code, Some(7));
    assert!(ended.stdout.contains("odd.slt:4: a record does not begin with"), "{}", ended.stdout);
}

#[test]
fn tables_outlive_the_command_and_feed_what_runs() {
    let user = User::new();
    let made = user.ok(&[
        "sql",
        "create table orders (id int primary key, total numeric(10,2)); \
         create view large as select id, total from orders where total > 10; \
         insert into orders values (1, 5), (2, 50); select * from large",
    ]);
    assert_eq!(made, "create table\ncreate view\ninsert: 2 rows\n{\"id\":2,\"total\":50.00}\n");
    // Another process reads the same, and keys still hold.
    assert_eq!(user.ok(&["query", "select id from large"]), "{\"id\":2}\n");
    let ended = user.evert(&["sql", "insert into orders values (1, 7)"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with("error[TAB001]"), "{}", ended.stderr);
    assert_eq!(user.ok(&["sql", "update orders set total = 20 where id = 1"]), "update: 1 row\n");
    user.ok(&["run", "--once", "from large | large.ndjson"]);
    assert_eq!(user.read("large.ndjson").lines().count(), 2, "{}", user.read("large.ndjson"));
    for (name, said) in [("orders", "still needed"), ("nothing", "table orders")] {
        let ended = user.evert(&["drop", name]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn a_running_process_takes_writes_and_its_views_follow() {
    let user = User::new();
    user.ok(&[
        "sql",
        "create table orders (id int primary key, total int); insert into orders values (1, 10); \
         create view sums as select count(*) as rows, sum(total) as sum from orders",
    ]);
    let mut job = user.start(&["run"]);
    let sums = ["query", "select * from sums"];
    job.until("it runs", |_| user.dir().join(".evert/evert.sock").exists());
    assert_eq!(user.ok(&["sql", "insert into orders values (2, 20), (3, 30)"]), "insert: 2 rows\n");
    assert_eq!(user.ok(&sums), "{\"rows\":3,\"sum\":60}\n", "visible when it returned");
    assert_eq!(
        user.ok(&["sql", "begin; update orders set total = 0; commit; select * from sums"]),
        "begin\nupdate: 3 rows\ncommit\n{\"rows\":3,\"sum\":0}\n"
    );
    for (statement, code) in [
        ("insert into orders values (1, 1)", "TAB001"),
        ("select nothing from orders", "SQL011"),
        ("begin; delete from orders", "TAB007"),
        ("drop table orders", "TAB007"),
    ] {
        let ended = user.evert(&["sql", statement]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("error[{code}]")), "{}", ended.stderr);
    }
    assert_eq!(user.ok(&sums), "{\"rows\":3,\"sum\":0}\n");
    assert_eq!(job.end_by(Signal::Interrupt).code, Some(0));
    assert_eq!(user.ok(&["sql", "select count(*) as n from orders"]), "{\"n\":3}\n");
}

#[test]
fn explain_analyze_shows_what_operators_did_and_keep() {
    let user = User::new();
    user.ok(&[
        "sql",
        "create table t (id int primary key, a int); create table other (id int);
         create view sums as select a, count(*) as n from t where id > 1 group by a;
         create view rest as select * from other;
         insert into t values (1, 1), (2, 1), (3, 2)",
    ]);
    let analyze = ["sql", "-o", "ndjson", "explain analyze sums"];
    // How many rows an aggregate emits depends on the steps; bytes and time depend on the machine.
    let certain = |text: &str| -> Vec<String> {
        let rows = text.lines().skip(1);
        let rows = rows.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        // What only chooses columns does nothing by itself.
        let lines = rows.filter(|row| !row["batches"].is_null()).map(|row| {
            assert!(row["time_ns"].as_u64().unwrap() > 0, "{row}");
            let word = row["operator"].as_str().unwrap().split(' ').next().unwrap();
            format!("{word} {} {} {}", row["rows_in"], row["kept_rows"], row["place"])
        });
        lines.collect()
    };
    let at_rest = user.ok(&analyze);
    let expected =
        [r#"aggregate 2 2 "sums 5:3""#, r#"filter 3 0 "sums 4:3""#, r#"table 3 0 "sums 3:8""#];
    assert_eq!(certain(&at_rest), expected);
    let aggregate = at_rest.lines().nth(1).unwrap();
    let aggregate: serde_json::Value = serde_json::from_str(aggregate).unwrap();
    assert!(aggregate["kept_bytes"].as_u64().unwrap() > 0, "{at_rest}");

    let mut job = user.start(&["run", "--workers", "1"]);
    job.until("it answers", |_| user.dir().join(".evert/evert.sock").exists());
    user.ok(&["sql", "insert into t values (4, 1)"]);
    let expected =
        [r#"aggregate 3 2 "sums 5:3""#, r#"filter 4 0 "sums 4:3""#, r#"table 4 0 "sums 3:8""#];
    let running = user.ok(&analyze);
    assert_eq!(certain(&running), expected);
    let drawn = user.ok(&["sql", "-o", "table", "explain analyze sums"]);
    assert!(drawn.starts_with("view sums(a Int32, n Int64) key (a)\noperator "), "{drawn}");
    assert!(drawn.contains("  sums 5:3  group by a\n"), "{drawn}");
    assert_eq!(job.end_by(Signal::Terminate).code, Some(0));
}

#[test]
fn a_script_may_create_tables_for_others_to_fill() {
    let user = User::new();
    user.write(
        "shop.sql",
        "create table orders (id int primary key, total int);
         create view large as select id from orders where total > 10;
         create sink large_file from large into 'large.ndjson';",
    );
    for _ in 0..2 {
        user.ok(&["run", "--once", "shop.sql"]);
    }
    user.ok(&["sql", "insert into orders values (1, 5), (2, 50)"]);
    user.ok(&["run", "--once"]);
    assert_eq!(user.read("large.ndjson"), "{\"id\":2}\n");
    let ended = user.evert(&["run", "--once", "create table orders (id int)"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with("error[SQL014]"), "{}", ended.stderr);
}

#[test]
fn a_table_is_dropped_from_the_command_line() {
    let user = User::new();
    user.ok(&["sql", "create table t (id int); insert into t values (1)"]);
    assert_eq!(user.ok(&["drop", "t"]), "dropped table t\n");
    user.ok(&["sql", "create table t (name text); insert into t values ('anew')"]);
    assert_eq!(user.ok(&["sql", "select * from t"]), "{\"name\":\"anew\"}\n");
}

#[test]
fn a_large_transaction_is_one() {
    let user = User::new();
    let rows: Vec<String> = (0..500).map(|n| format!("({n})")).collect();
    user.write(
        "large.sql",
        &format!(
            "create table d (n int); insert into d values {}; create table big (n bigint primary key);
             create view sums as select count(*) as rows, sum(n) as sum from big;
             insert into big select a.n * 500 + b.n from d a cross join d b where a.n < 400;
             select * from sums",
            rows.join(", ")
        ),
    );
    let told = user.ok(&["sql", "large.sql"]);
    assert!(told.ends_with("{\"rows\":200000,\"sum\":19999900000}\n"), "{told}");
    let transactions = user.ok(&["log", "tail", "-n", "100"]);
    assert_eq!(transactions.lines().filter(|line| line.contains("\"public.big\"")).count(), 1);
}
