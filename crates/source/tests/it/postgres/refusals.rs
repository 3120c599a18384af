//! What is refused: loudly, with a code and what to do.

use std::sync::Arc;

use change::SourcePosition;
use servers::{Auth, Postgres, PostgresOptions};
use source::{Resume, SourceConfig, SourceError};

use super::rig::{Memory, Running, config, run_once, server};

async fn discover(config: SourceConfig) -> SourceError {
    let mut source = source::open(config).unwrap();
    source.discover(&Resume::default()).await.unwrap_err()
}

async fn run(server: &Postgres, memory: &Arc<Memory>) -> SourceError {
    Running::start(config(server, &[]), memory, memory.resume(), true).end().await.unwrap_err()
}

fn assert_refused(error: &SourceError, code: &str, what: &str, help: &str) {
    let (shown, advice) = (error.to_string(), error.help().unwrap_or_default());
    assert_eq!(error.code(), code, "{shown}");
    assert!(shown.contains(what), "{shown}");
    assert!(advice.contains(help), "{advice}");
    assert!(!error.is_transient(), "{shown}");
}

#[tokio::test]
async fn a_wrong_password_or_database_fails_at_once() {
    let options = PostgresOptions { auth: Auth::Scram, ..PostgresOptions::quick() };
    let server = Postgres::start(options).unwrap();
    server.psql("create table t (id int primary key)").unwrap();
    let mut right = source::open(config(&server, &[])).unwrap();
    assert_eq!(right.discover(&Resume::default()).await.unwrap().len(), 1, "SCRAM works");
    let mut wrong = config(&server, &[]);
    wrong.url = wrong.url.replace("evert-test", "wrong");
    let error = discover(wrong).await;
    assert_refused(&error, "SRC002", "password authentication failed", "password");
    assert!(!error.to_string().contains("wrong"), "passwords are not shown");
    let mut without = config(&server, &[]);
    without.url = without.url.replace(":evert-test", "");
    assert_refused(&discover(without).await, "SRC002", "a password is needed", "password");
    let mut elsewhere = config(&server, &[]);
    elsewhere.url = server.url("nowhere");
    assert_refused(&discover(elsewhere).await, "SRC002", "\"nowhere\" does not exist", "database");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_worth_another_try() {
    let mut config = SourceConfig { name: "shop".into(), url: String::new(), options: [].into() };
    config.url = format!("postgres://127.0.0.1:{}/x", servers::free_port().unwrap());
    let error = discover(config).await;
    assert_eq!((error.code(), error.is_transient()), ("SRC001", true));
}

#[tokio::test]
async fn tables_that_cannot_be_followed_are_named() {
    let server = server(
        "create table orders (id int primary key, at point, span interval);
         create table parcels (id int primary key, net inet, ok text)",
    );
    let error = discover(config(&server, &[("tables", "order")])).await;
    assert_refused(&error, "SRC003", "there is no table order", "did you mean orders?");
    let error =
        discover(config(&server, &[("exclude", "orders.id, orders.at, orders.span, parcels")]))
            .await;
    assert_refused(&error, "SRC012", "orders.id is part of the key", "");
    server.psql("drop table orders, parcels").unwrap();
    assert_refused(
        &discover(config(&server, &[])).await,
        "SRC028",
        "no table",
        "create the tables",
    );
}

#[tokio::test]
async fn missing_rights_and_settings_come_with_the_command_that_repairs_them() {
    let settings = vec![("wal_level".to_owned(), "replica".to_owned())];
    let options = PostgresOptions { settings, ..PostgresOptions::quick() };
    let server = Postgres::start(options).unwrap();
    server.psql("create table t (id int primary key); create role app login").unwrap();
    let error = discover(config(&server, &[])).await;
    assert_refused(&error, "SRC021", "wal_level = replica", "ALTER SYSTEM SET wal_level = logical");
    let mut app = config(&server, &[]);
    app.url = app.url.replace("postgres@", "app@");
    assert_refused(&discover(app).await, "SRC022", "replication", "ALTER ROLE \"app\" REPLICATION");
}

#[tokio::test]
async fn a_slot_or_publication_that_is_gone_or_not_ours_is_refused() {
    let server = server("create table t (id int primary key)");
    server.psql("select pg_create_logical_replication_slot('evert_shop', 'pgoutput')").unwrap();
    let memory = Arc::new(Memory::default());
    let error = run(&server, &memory).await;
    assert_refused(&error, "SRC023", "exists already", "pg_drop_replication_slot('evert_shop')");
    server.psql("select pg_drop_replication_slot('evert_shop')").unwrap();
    run_once(&server, &memory, &[]).await;
    server.psql("drop publication evert_shop").unwrap();
    assert_refused(
        &run(&server, &memory).await,
        "SRC026",
        "publication evert_shop is gone",
        "evert drop",
    );
    server.psql("create publication evert_shop").unwrap();
    assert_refused(
        &run(&server, &memory).await,
        "SRC026",
        "does not publish table public.t",
        "ADD TABLE",
    );
    server.psql("select pg_drop_replication_slot('evert_shop')").unwrap();
    assert_refused(
        &run(&server, &memory).await,
        "SRC005",
        "slot evert_shop is gone",
        "new data directory",
    );
}

#[tokio::test]
async fn another_server_is_refused() {
    let (one, two) = (
        server("create table t (id int primary key)"),
        server("create table t (id int primary key)"),
    );
    let memory = Arc::new(Memory::default());
    run_once(&one, &memory, &[]).await;
    // Both clusters are copies of one template, so the id alone would not tell them apart.
    two.psql("create database elsewhere").unwrap();
    two.psql_in("elsewhere", "create table t (id int primary key)").unwrap();
    let mut moved = config(&two, &[]);
    moved.url = two.url("elsewhere");
    let error = Running::start(moved, &memory, memory.resume(), true).end().await.unwrap_err();
    assert_refused(&error, "SRC006", "database elsewhere", "new data directory");
    let mut resume = memory.resume();
    resume.state = resume.state.map(|state| state.replace("\"system\":\"", "\"system\":\"9"));
    let error = Running::start(config(&one, &[]), &memory, resume, true).end().await.unwrap_err();
    assert_refused(&error, "SRC006", "system 9", "new data directory");
    assert_eq!(one.psql("select count(*) from pg_replication_slots").unwrap(), "1");
}

#[tokio::test]
async fn a_changed_table_stops_the_source_and_an_added_column_does_not() {
    let server = server("create table t (id int primary key, name text, n int)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    server.psql("insert into t values (1, 'a', 1); alter table t add at timestamp; insert into t values (2, 'b', 2, now())").unwrap();
    run_once(&server, &memory, &[]).await;
    assert_eq!(memory.rows("t")["2"], ["2", "b", "2"]);
    // While the source runs: the stream itself says that the table is another one.
    let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    super::rig::until("streaming", || running.progress.report().phase == source::Phase::Streaming)
        .await;
    server.psql("alter table t alter n type bigint; insert into t values (3, 'c', 3)").unwrap();
    let error = running.end().await.unwrap_err();
    assert_refused(&error, "SRC007", "table shop.t has changed: column n has another type", "");
    let error = run(&server, &memory).await;
    assert_refused(&error, "SRC007", "column n was Int32 and is now Int64", "");
    server.psql("alter table t drop n").unwrap();
    assert_refused(&run(&server, &memory).await, "SRC007", "column n is gone", "");
    server.psql("drop table t").unwrap();
    assert_refused(&run(&server, &memory).await, "SRC007", "it is gone", "");
}

#[tokio::test]
async fn drop_removes_slot_and_publication_and_nothing_of_the_users() {
    let server = server(
        "create table t (id int primary key); create table log (line text);
         create publication mine for table t",
    );
    let slots = "select count(*) from pg_replication_slots";
    let publications = "select string_agg(pubname, ' ' order by pubname) from pg_publication";
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    assert_eq!(server.psql(publications).unwrap(), "evert_shop evert_shop_inserts mine");
    source::drop_source(config(&server, &[]), memory.resume().state).await.unwrap();
    assert_eq!(
        (server.psql(slots).unwrap(), server.psql(publications).unwrap()),
        ("0".into(), "mine".into())
    );
    let memory = Arc::new(Memory::default());
    let options = [("publication", "mine"), ("tables", "t"), ("slot", "my_slot")];
    run_once(&server, &memory, &options).await;
    assert_eq!(server.psql("select slot_name from pg_replication_slots").unwrap(), "my_slot");
    source::drop_source(config(&server, &options), memory.resume().state).await.unwrap();
    assert_eq!(
        (server.psql(slots).unwrap(), server.psql(publications).unwrap()),
        ("0".into(), "mine".into())
    );
}

#[tokio::test]
async fn a_restored_log_does_not_pass_over_what_the_slot_was_told_to_be_durable() {
    let server = server("create table t (id int primary key); insert into t values (1)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    server.psql("insert into t values (2)").unwrap();
    run_once(&server, &memory, &[]).await;
    let backup = Resume { restored: true, ..memory.resume() };
    server.psql("insert into t values (3)").unwrap();
    run_once(&server, &memory, &[]).await;
    assert_eq!(memory.rows("t").len(), 3);
    let start = || Running::start(config(&server, &[]), &memory, backup.clone(), true);
    let error = start().end().await.unwrap_err();
    assert_refused(&error, "SRC025", "what lies between is not sent again", "remove the file");
    // Where the log holds all that the slot was told, nothing is missing.
    let now = server.psql("select pg_current_wal_lsn() - '0/0'::pg_lsn").unwrap();
    let position = Some(SourcePosition::Lsn(now.trim().parse().unwrap()));
    let newest = Resume { restored: true, position, ..memory.resume() };
    server.psql("insert into t values (4)").unwrap();
    Running::start(config(&server, &[]), &memory, newest, true).end().await.unwrap();
    assert_eq!(memory.rows("t").len(), 4);
}
