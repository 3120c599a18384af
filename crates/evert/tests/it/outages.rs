//! Servers that are gone for a while: whoever needs them waits and says so, the others go on, and in the end nothing
//! is missing and nothing is there twice.

use std::time::Duration;

use serve::api::Phase;
use servers::{Postgres, PostgresOptions, Stop, wait_until};

use crate::world::{Running, World, json_rows};

/// How long a server is gone at first: longer than any time-out of a connection and ten times the longest pause.
const A_MINUTE: Duration = Duration::from_secs(60);

/// How long it is gone when that was seen. The pauses between attempts grow from 0.1 s to 5 s, so this sees six.
const A_WHILE: Duration = Duration::from_secs(6);

struct Servers {
    source: Postgres,
    target: Postgres,
}

impl Servers {
    fn start() -> Self {
        let start = || Postgres::start(PostgresOptions::quick()).unwrap();
        let servers = Self { source: start(), target: start() };
        let rows = "insert into t select i, 'row ' || i from generate_series(1, 1000) i";
        servers
            .source
            .psql(&format!("create table t (id int primary key, name text); {rows}"))
            .unwrap();
        servers
    }

    fn script(&self, world: &World) -> String {
        let (source, target) = (self.source.url("postgres"), self.target.url("postgres"));
        let text = format!(
            "create source shop from '{source}';
             create view v as select id, name from t;
             create sink v_table from v into '{target}/v';
             create sink v_search from v into 'search';
             create sink v_file from v into 'v.ndjson';"
        );
        world.write("shop.sql", &text)
    }

    fn change(&self, round: u32) {
        let sql = format!(
            "update t set name = name || '{round}' where id % 7 = 0; delete from t where id % 10 = {round};
             insert into t select i, null from generate_series({round}000, {round}500) i"
        );
        self.source.psql(&sql).unwrap();
    }

    /// Whether the target's table holds what the source's does.
    fn equal(&self) -> bool {
        let rows = |server: &Postgres, table: &str| {
            server.psql(&format!("select id, name from {table} order by id")).unwrap_or_default()
        };
        let expected = rows(&self.source, "t");
        !expected.is_empty() && rows(&self.target, "v") == expected
    }
}

/// Looks for a while that a run goes on.
#[track_caller]
fn lives_on(running: &mut Running, while_gone: Duration) {
    assert!(!wait_until(while_gone, || running.has_ended()), "it ended:\n{}", running.stderr());
}

#[test]
fn a_source_that_is_gone_is_waited_for() {
    let mut servers = Servers::start();
    let world = World::new();
    let mut running = world.start(&["run", &servers.script(&world)]);
    running.until("the first copy arrives", || servers.equal());
    for stop in [Stop::Fast, Stop::Immediate] {
        servers.source.stop(stop).unwrap();
        running.until("the status says that the source waits", || {
            world.status().is_ok_and(|status| status.sources[0].phase == Phase::Waiting)
        });
        if stop == Stop::Fast {
            lives_on(&mut running, A_MINUTE);
            let shown = world.ok(&["status"]);
            assert!(shown.contains("waiting"), "{shown}");
            assert!(running.stderr().contains("cannot be reached"), "{}", running.stderr());
            let rows = world.query("select count(*) as n from v");
            assert_eq!(rows, [r#"{"n":1000}"#], "what was there can be read meanwhile");
        }
        servers.source.start_again().unwrap();
        servers.change(if stop == Stop::Fast { 2 } else { 3 });
        running.until("what changed arrives", || servers.equal());
        let status = world.status().unwrap();
        assert_eq!(status.sources[0].phase, Phase::Streaming);
    }
    assert_eq!(running.terminate().code, Some(0));
}

#[test]
fn a_target_that_is_gone_holds_up_nobody_and_catches_up() {
    let mut servers = Servers::start();
    let world = World::new();
    let mut running = world.start(&["run", &servers.script(&world)]);
    running.until("the first copy arrives", || servers.equal());
    servers.target.stop(Stop::Immediate).unwrap();
    servers.change(2);
    let expected = servers.source.psql("select row_to_json(t)::text from t").unwrap();
    let count = expected.lines().count();
    let wanted = [format!("{{\"n\":{count}}}")];
    running.until("the view goes on", || world.query("select count(*) as n from v") == wanted);
    running.until("the search index goes on", || {
        let status = world.status().unwrap();
        status.sinks[1].behind_transactions == 0 && status.sinks[0].behind_transactions > 0
    });
    running.until("the status says that the table waits", || {
        world.status().unwrap().sinks[0].phase == Phase::Waiting
    });
    lives_on(&mut running, A_WHILE);
    let told = running.stderr();
    // Why it cannot be reached now, not that the connection of before is gone.
    assert!(!told.contains("the connection was lost"), "{told}");
    servers.change(4);
    servers.target.start_again().unwrap();
    running.until("the table catches up", || servers.equal());
    assert_eq!(running.terminate().code, Some(0));
    let expected = servers.source.psql("select row_to_json(t)::text from t").unwrap();
    assert_eq!(world.query("select * from v"), json_rows(&expected));
}

#[test]
fn a_dropped_source_leaves_nothing_and_can_be_made_anew() {
    let servers = Servers::start();
    let world = World::new();
    let script = servers.script(&world);
    world.ok(&["run", "--once", &script]);
    assert!(servers.equal(), "the end of `--once` is that the target holds everything");
    let left = "select (select count(*) from pg_replication_slots) +
                (select count(*) from pg_publication)";
    assert_ne!(servers.source.psql(left).unwrap(), "0");

    let ended = world.done(&["drop", "shop"]);
    assert_eq!(ended.code, Some(2), "a source that is read is kept: {}", ended.stderr);
    for name in ["v_table", "v_search", "v_file", "v", "shop"] {
        world.ok(&["drop", name]);
    }
    assert_eq!(servers.source.psql(left).unwrap(), "0", "slot and publication are gone");
    assert_eq!(world.done(&["drop", "shop"]).code, Some(2), "it is not there any more");

    // The columns that are read stay as they are, so what the target holds can be gone on from.
    servers.source.psql("alter table t add column note text").unwrap();
    // A file with final rows is not gone on with.
    std::fs::remove_file(world.path("v.ndjson")).unwrap();
    // What is deleted meanwhile is told by nobody: it must go because the source begins anew.
    servers
        .source
        .psql("delete from t where id % 3 = 0; update t set id = id + 5000 where id % 3 = 1")
        .unwrap();
    let mut running = world.start(&["run", &script]);
    running.until("the table is right", || servers.equal());
    servers.change(2);
    running.until("the table follows", || servers.equal());
    assert_eq!(running.terminate().code, Some(0));
    let rows = "select row_to_json(t)::text from (select id, name from t) t";
    let expected = servers.source.psql(rows).unwrap();
    assert_eq!(world.query("select * from v"), json_rows(&expected));
}

#[test]
fn a_source_is_made_anew_for_a_table_with_other_columns() {
    let servers = Servers::start();
    let world = World::new();
    let url = servers.source.url("postgres");
    let source = format!("create source shop from '{url}';");
    let before = world.write("1.sql", &format!("{source} create view v as select id, name from t"));
    world.ok(&["run", "--once", &before]);
    for name in ["v", "shop"] {
        world.ok(&["drop", name]);
    }
    let change =
        "delete from t where id > 3; alter table t alter column name type int using id * 2,
                  add column b text; update t set b = 'new'";
    servers.source.psql(change).unwrap();
    let after = world.write("2.sql", &format!("{source} create view v as select * from t"));
    let expected = [
        r#"{"b":"new","id":1,"name":2}"#,
        r#"{"b":"new","id":2,"name":4}"#,
        r#"{"b":"new","id":3,"name":6}"#,
    ];
    for _start in 0..2 {
        world.ok(&["run", "--once", &after]);
        assert_eq!(world.query("select * from v"), expected);
    }
}

#[test]
fn a_target_that_was_filled_from_other_columns_is_refused_until_it_is_emptied() {
    let servers = Servers::start();
    let world = World::new();
    let (source, target) = (servers.source.url("postgres"), servers.target.url("postgres"));
    let text = format!(
        "create source shop from '{source}';
         create view v as select id, count(name) as n from t group by id;
         create sink v_table from v into '{target}/v'"
    );
    let script = world.write("shop.sql", &text);
    world.ok(&["run", "--once", &script]);
    for name in ["v_table", "v", "shop"] {
        world.ok(&["drop", name]);
    }
    let change = "delete from t where id > 3; alter table t alter column name type int using id";
    servers.source.psql(change).unwrap();
    let refused = world.done(&["run", "--once", &script]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("had other columns"), "{}", refused.stderr);
    servers.target.psql("truncate v; delete from evert_progress where sink = 'v_table'").unwrap();
    world.ok(&["run", "--once", &script]);
    let rows = servers.target.psql("select id, n from v order by id").unwrap();
    assert_eq!(rows.split_whitespace().collect::<Vec<_>>(), ["1|1", "2|1", "3|1"]);
}
