//! Restarts, lost servers and slow logs: nothing is lost, nothing comes twice.

use std::sync::Arc;
use std::time::Duration;

use servers::{Postgres, PostgresOptions, Stop};
use source::Phase;

use super::rig::{
    Memory, Running, assert_equal, config, confirmed, ends, lsn, run_once, server, until,
};

#[tokio::test]
async fn a_restart_repeats_what_was_not_durable_and_nothing_else() {
    let server = server("create table t (id int primary key, n int)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    memory.hold();
    let before = memory.groups().len();
    let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    for id in 1..=20 {
        server.psql(&format!("insert into t values ({id}, 0); update t set n = n + 1")).unwrap();
        if id % 10 == 0 {
            until("a group", || memory.groups().len() > before + id / 20).await;
        }
        if id == 10 {
            memory.release(1);
        }
    }
    running.stop().await;
    // What was held is lost, as by kill -9.
    let restarted = Arc::new(Memory::default());
    let durable = memory.durable();
    let running = Running::start(config(&server, &[]), &restarted, memory.resume(), true);
    running.end().await.unwrap();
    let all: Vec<_> = durable.iter().chain(&restarted.groups()).cloned().collect();
    let all_ends = ends(&all);
    assert!(all_ends.is_sorted_by(|a, b| a < b), "no transaction twice");
    assert_eq!(all_ends.len(), 1 + 40, "the copy and forty transactions");
    let rows = super::rig::rows_of(&all, "t");
    assert_eq!(rows["1"], ["1", "20"]);
}

#[tokio::test]
async fn only_what_is_durable_is_acknowledged() {
    let server = server("create table t (id int primary key)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    memory.hold();
    let before = memory.groups().len();
    let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    server.psql("insert into t values (1)").unwrap();
    until("the first group", || memory.groups().len() > before).await;
    server.psql("insert into t values (2); insert into t values (3)").unwrap();
    let first = ends(&memory.groups())[1];
    // Time enough for several keepalives to be answered.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(confirmed(&server) < first, "nothing of it is durable");
    }
    memory.release(1);
    until("the acknowledgement", || confirmed(&server) >= first).await;
    until("the second group", || memory.groups().len() > before + 1).await;
    let second = ends(&memory.groups())[2];
    assert!(confirmed(&server) < second);
    running.stop().await;
    assert!(confirmed(&server) < second, "stopping acknowledges no more");
}

#[tokio::test]
async fn an_idle_source_does_not_hold_the_servers_history_back() {
    let server = server("create table t (id int primary key); create table other (id int)");
    let memory = Arc::new(Memory::default());
    let options = [("tables", "t")];
    run_once(&server, &memory, &options).await;
    let running = Running::start(config(&server, &options), &memory, memory.resume(), false);
    server.psql("insert into other select generate_series(1, 10000)").unwrap();
    let now = lsn(&server, "pg_current_wal_lsn()");
    until("the acknowledgement", || confirmed(&server) >= now).await;
    running.stop().await;
}

// With threads: a server that stops waits for the source, which must be able to answer meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_is_waited_for() {
    let mut server = Postgres::start(PostgresOptions::durable()).unwrap();
    server.psql("create table t (id int primary key, n int)").unwrap();
    let memory = Arc::new(Memory::default());
    let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    until("streaming", || running.progress.report().phase == Phase::Streaming).await;
    for (round, stop) in [Stop::Fast, Stop::Immediate].into_iter().enumerate() {
        let sql =
            format!("insert into t select i, {round} from generate_series({round}0, {round}9) i");
        server.psql(&sql).unwrap();
        server.stop(stop).unwrap();
        let is_waiting = || matches!(running.progress.report().phase, Phase::Waiting(_));
        until("the source to wait", is_waiting).await;
        server.start_again().unwrap();
        server.psql("update t set n = n + 100").unwrap();
        until("streaming", || running.progress.report().phase == Phase::Streaming).await;
    }
    let now = lsn(&server, "pg_current_wal_lsn()");
    until("the acknowledgement", || confirmed(&server) >= now).await;
    running.stop().await;
    assert_equal(&server, &memory, "t");
    assert!(ends(&memory.groups()).is_sorted_by(|a, b| a < b), "no transaction twice");
}

#[tokio::test]
async fn a_killed_session_leaves_a_slot_that_the_next_one_waits_for() {
    let server = server("create table t (id int primary key)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    let held = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    until("streaming", || held.progress.report().phase == Phase::Streaming).await;
    let next = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    let is_waiting = || matches!(next.progress.report().phase, Phase::Waiting(_));
    until("the second to wait", is_waiting).await;
    held.stop().await;
    until("streaming", || next.progress.report().phase == Phase::Streaming).await;
    next.stop().await;
}
