//! Input that is wrong: what cannot be is refused at once, with its code and what to do; what is one bad line among
//! good ones is put aside.

use std::time::{Duration, Instant};

use servers::{Auth, Postgres, PostgresOptions, free_port};

use crate::world::{Ended, World};

/// A refusal that took longer than this was tried again in between.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Fails unless the command was refused: exit code 3, the code, and all the words.
#[track_caller]
fn refused(ended: &Ended, code: &str, words: &[&str]) {
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("error[{code}]")), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word} is not in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("trying again"), "{}", ended.stderr);
}

#[test]
fn an_unknown_table_is_refused_with_the_name_that_was_meant() {
    let server = Postgres::start(PostgresOptions::quick()).unwrap();
    server.psql("create table orders (id int primary key)").unwrap();
    let world = World::new();
    let url = server.url("postgres");
    let script = format!(
        "create source shop from '{url}' (tables = 'ordrs');
         create view v as select id from ordrs; create sink s from v into 'v.ndjson';"
    );
    let script = world.write("shop.sql", &script);
    refused(&world.done(&["run", &script]), "SRC003", &["ordrs", "help: ", "orders"]);

    // In a query it is a problem of the text, shown with its place.
    let ended = world.done(&["run", "--once", &format!("{url} | from ordrs | out.ndjson")]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("ordrs") && ended.stderr.contains("orders"), "{}", ended.stderr);
    let slots = server.psql("select count(*) from pg_replication_slots").unwrap();
    assert_eq!(slots, "0", "what was refused leaves nothing behind in the server");
}

#[test]
fn a_wrong_password_is_refused_and_not_tried_again() {
    let options = PostgresOptions { auth: Auth::Scram, ..PostgresOptions::quick() };
    let server = Postgres::start(options).unwrap();
    server.psql("create table t (id int primary key); insert into t values (1)").unwrap();
    let wrong = format!("postgres://postgres:sesame@127.0.0.1:{}/postgres", server.port());
    let world = World::new();

    let begun = Instant::now();
    let ended = world.done(&["run", &format!("{wrong} | from t | v.ndjson")]);
    refused(&ended, "SRC002", &["help: ", "password"]);
    assert!(!ended.stderr.contains("sesame"), "the password is told: {}", ended.stderr);

    let right = server.url("postgres");
    let ended = world.done(&["run", "--once", &format!("{right} | from t | {wrong}/copy")]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("error[SINK"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("trying again"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("sesame"), "the password is told: {}", ended.stderr);
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
}

#[test]
fn a_pipe_with_another_filter_does_not_inherit_the_rows_of_the_one_before() {
    let server = Postgres::start(PostgresOptions::quick()).unwrap();
    let world = World::new();
    let events = world.write("events.csv", "id,country\n1,de\n2,fr\n3,de\n");
    let target = server.url("postgres");
    let pipe = |country: &str| {
        format!(
            "{events} | where country = '{country}' | select id, country | {target}/copy (key = 'id')"
        )
    };
    let ids = || server.psql("select string_agg(id::text, ' ' order by id) from copy").unwrap();
    world.ok(&["run", "--once", &pipe("de")]);
    assert_eq!(ids().trim(), "1 3");

    let status: serde_json::Value =
        serde_json::from_str(&world.ok(&["status", "-o", "json"])).unwrap();
    let (sink, view) = (&status["sinks"][0]["name"], &status["sinks"][0]["view"]);
    world.ok(&["drop", sink.as_str().unwrap()]);
    world.ok(&["drop", view.as_str().unwrap()]);
    let ended = world.done(&["run", "--once", &pipe("fr")]);
    refused(&ended, "SINK009", &["defined otherwise", "help: ", "truncate", "evert_progress"]);
    assert_eq!(ids().trim(), "1 3", "a refusal changes nothing");

    server.psql("truncate copy; delete from evert_progress").unwrap();
    world.ok(&["run", "--once", &pipe("fr")]);
    assert_eq!(ids().trim(), "2");
    world.ok(&["run", "--once"]);
    assert_eq!(ids().trim(), "2", "from the catalogue it is the same view");
}

#[test]
fn a_malformed_line_is_put_aside_with_its_number_and_the_others_go_on() {
    let world = World::new();
    world.write(
        "events.ndjson",
        "{\"id\":1,\"n\":10}\n{\"id\":2,\"n\":20}\n{\"id\":3, oops\n\n[5]\n{\"id\":6,\"n\":60}\n",
    );
    let script = world.write(
        "events.sql",
        "create source events from 'events.ndjson';
         create view good as select id, n from events;
         create view bad as select * from evert.dead_letters;
         create sink good_file from good into 'good.ndjson';",
    );
    world.ok(&["run", "--once", &script]);
    assert_eq!(
        world.query("select id, n from good"),
        [r#"{"id":1,"n":10}"#, r#"{"id":2,"n":20}"#, r#"{"id":6,"n":60}"#]
    );
    assert_eq!(world.read("good.ndjson").lines().count(), 3);
    assert_eq!(
        world.query(r#"select source, "table", place, raw from bad"#),
        [
            r#"{"place":"line 3","raw":"{\"id\":3, oops","source":"events","table":"events"}"#,
            r#"{"place":"line 5","raw":"[5]","source":"events","table":"events"}"#,
        ]
    );
    let reasons = world.ok(&["query", "-o", "ndjson", "select reason from bad"]);
    assert_eq!(reasons.lines().filter(|line| line.len() > 15).count(), 2, "{reasons}");
}

#[test]
fn a_server_that_never_was_is_waited_for_and_said_to_be() {
    let world = World::new();
    let pipe =
        format!("postgres://postgres@127.0.0.1:{}/x | from t | v.ndjson", free_port().unwrap());
    let mut running = world.start(&["run", &pipe]);
    let mut told = String::new();
    running.until("it says that it tries again", || {
        told = std::fs::read_to_string(world.path("stderr-0")).unwrap();
        told.matches("trying again").count() >= 2
    });
    assert!(told.contains("cannot be reached"), "{told}");
    let ended = running.terminate();
    assert_eq!(ended.code, Some(0), "an interrupt ends it: {}", ended.stderr);
}
