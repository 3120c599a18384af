//! Rows that cannot be computed, as those who run the product meet them: the process goes on, the view lacks the rows,
//! and whoever reads it is told.

use std::fs;

use serde_json::json;
use servers::free_port;

use crate::user::User;
use crate::world::{Running, World, block_on, canonical, json_rows};

const SCRIPT: &str = "\
create table t (id int primary key, a int, b int);
create view ratio as select id, a / b as r from t;
create view total as select sum(r) as total from ratio;
create view plain as select id from t;
create sink out from ratio into 'out.ndjson';
";

fn warning(view: &str, rows: &str) -> String {
    format!("warning: view {view} lacks {rows} that could not be computed; see evert.errors\n")
}

/// A process that has met two divisions by zero among three rows, with so many workers.
#[track_caller]
fn with_errors(world: &World, workers: &str) -> Running {
    let script = world.write("t.sql", SCRIPT);
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let mut running =
        world.start(&["run", "--workers", workers, &format!("--http={address}"), &script]);
    running.until("it answers", || world.status().is_ok());
    world.ok(&["sql", "insert into t values (1, 10, 2), (2, 5, 0), (3, 7, 0)"]);
    assert_eq!(running.stderr().matches("error[").count(), 0, "{}", running.stderr());
    running
}

#[track_caller]
fn the_rows_are_lacked_and_told(workers: &str) {
    let world = World::new();
    let mut running = with_errors(&world, workers);
    let told = world.done(&["query", "-o", "ndjson", "select * from ratio"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "{\"id\":1,\"r\":5}\n"));
    assert_eq!(told.stderr, warning("ratio", "2 rows"));
    let told = world.done(&["sql", "-o", "ndjson", "select * from total"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "{\"total\":5}\n"));
    assert_eq!(told.stderr, warning("total", "2 rows"));
    let told = world.done(&["query", "select * from plain"]);
    assert_eq!(told.stderr, "", "nobody is told of a view that lacks nothing");

    let errors = "select view, expression, message, count from evert.errors where view = 'ratio'";
    let error = json!({
        "view": "ratio", "expression": "a / b", "message": "Divide by zero error", "count": 1
    });
    let error = canonical(&error.to_string());
    assert_eq!(world.query(errors), [error.clone(), error.clone()]);
    let by_sql = world.done(&["sql", "-o", "ndjson", errors]);
    assert_eq!(json_rows(&by_sql.stdout), [error.clone(), error]);
    let rows = world.query("select \"row\" from evert.errors where view = 'ratio'");
    assert!(rows[0].contains(r#"\"a\":5,\"b\":0"#), "{rows:?}");

    let views = world.status().unwrap().views;
    let lacking: Vec<_> =
        views.iter().map(|view| (view.name.as_str(), view.lacking_rows)).collect();
    assert_eq!(lacking, [("ratio", 2), ("total", 2), ("plain", 0)]);
    assert!(world.ok(&["status"]).contains("2: see evert.errors"));
    let out = || fs::read_to_string(world.path("out.ndjson")).unwrap_or_default();
    running.until("the sink holds what could be computed", || out().contains("\"r\":5"));
    assert!(!out().contains("\"id\":2"), "{}", out());

    // An update mends one row, a delete takes the other.
    world.ok(&["sql", "update t set b = 5 where id = 2; delete from t where id = 3"]);
    let told = world.done(&["query", "-o", "ndjson", "select * from ratio order by id"]);
    assert_eq!(told.stdout, "{\"id\":1,\"r\":5}\n{\"id\":2,\"r\":1}\n");
    assert_eq!((told.stderr.as_str(), world.query("select * from evert.errors").len()), ("", 0));
    running.until("the sink holds it too", || out().contains("\"id\":2"));
    let ended = running.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn rows_that_cannot_be_computed_are_lacked_and_told() {
    the_rows_are_lacked_and_told("1");
}

#[test]
fn several_workers_tell_the_same() {
    the_rows_are_lacked_and_told("3");
}

#[test]
fn what_is_lacked_is_told_at_rest_and_after_a_restart_too() {
    let world = World::new();
    let ended = with_errors(&world, "1").terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = world.done(&["query", "-o", "ndjson", "select * from ratio"]);
    assert_eq!(told.stdout, "{\"id\":1,\"r\":5}\n");
    assert_eq!(told.stderr, warning("ratio", "2 rows"));
    let told = world.done(&["sql", "-o", "ndjson", "select total from total; select * from ratio"]);
    assert_eq!(told.stdout, "{\"total\":5}\n{\"id\":1,\"r\":5}\n");
    assert_eq!(told.stderr, warning("ratio", "2 rows") + &warning("total", "2 rows"));
    assert_eq!(world.query("select * from evert.errors").len(), 4);
    assert!(world.ok(&["status"]).contains("2: see evert.errors"));

    let mut running = world.start(&["run"]);
    running.until("it answers", || world.status().is_ok_and(|status| status.views.len() == 3));
    running.until("it has replayed the log", || world.query("select * from ratio").len() == 1);
    let answer = block_on(world.client().query("select * from ratio", None)).unwrap();
    let lacking: Vec<_> =
        answer.lacking.iter().map(|lacking| (lacking.view.as_str(), lacking.rows)).collect();
    assert_eq!(lacking, [("ratio", 2)]);
    assert_eq!(world.query("select * from evert.errors").len(), 4);
}

#[test]
fn a_pipe_tells_of_the_first_row_that_it_leaves_out() {
    let user = User::new();
    let pipe = "stdin (format = csv) | select 10 / n as r | stdout";
    let ended = user.filter(&["run", "--workers", "1", pipe], "n\n5\n0\n2\n0\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains('2') && ended.stdout.contains('5'), "{}", ended.stdout);
    assert_eq!(ended.stderr.matches("lacks a row").count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("Divide by zero error, in 10 / n, for {\"n\":0}"),
        "{}",
        ended.stderr
    );
}

#[test]
fn workers_agree_with_one_on_a_file() {
    let world = World::new();
    let lines: String = (0..5_000).map(|n| format!("{n},{},{}\n", n % 7, n % 11)).collect();
    let csv = world.write("e.csv", &format!("id,a,b\n{lines}"));
    let script = world.write(
        "e.sql",
        &format!(
            "create source f from '{csv}';
             create view sums as select a, count(*) as n, sum(id) as ids from e group by a;
             create view pairs as select x.id, y.b from e as x join e as y on x.id = y.id + 1;
             create view ratio as select id, a / b as r from e;"
        ),
    );
    let mut seen = Vec::new();
    for workers in ["1", "2"] {
        let world = World::with_data(&world.path(workers));
        let ended = world.done(&["run", "--once", "--workers", workers, &script]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let all = ["sums", "pairs", "ratio", "evert.errors"]
            .map(|view| world.query(&format!("select * from {view}")));
        assert_eq!((all[0].len(), all[1].len(), all[3].len()), (7, 4_999, 455));
        seen.push(all);
    }
    assert!(seen[0] == seen[1], "what is seen depends on the workers");
}
