//! The first copy: complete, exact at its position, and void when it is interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use change::{ChangeForm, Part};
use source::{End, Phase};

use super::rig::{Memory, Running, assert_equal, config, run_once, server, until};

/// Tells the writers to stop.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn copy_and_stream_meet_exactly_under_concurrent_writes() {
    let server = server(
        "create table a (id int primary key, n int, pad text);
         insert into a select i, 0, repeat('x', 100) from generate_series(1, 100000) i",
    );
    let memory = Arc::new(Memory::default());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // However the test ends, the writers do as well.
        let writing = StopWhenDropped(&stop);
        for writer in 1..=2 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut next = writer * 1_000_000;
                while !stop.load(Ordering::Relaxed) {
                    next += 1;
                    let sql = format!(
                        "begin; update a set n = n + 1 where id in ({}, {next}); insert into a values ({next}, 1, 'new');
                         delete from a where id = {}; commit;",
                        next % 100_000,
                        next * 7 % 100_000
                    );
                    server.psql(&sql).unwrap();
                }
            });
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
            until("streaming", || running.progress.report().phase == Phase::Streaming).await;
            let streamed = memory.groups().len();
            until("streamed changes", || memory.groups().len() > streamed + 10).await;
            drop(writing);
            running.stop().await;
        });
    });
    // The writers have ended with their scope: what they committed last lies before the position that this run reaches.
    tokio::runtime::Runtime::new().unwrap().block_on(run_once(&server, &memory, &[]));
    assert_equal(&server, &memory, "a");
    let groups = memory.groups();
    let parts: Vec<_> =
        groups.iter().map(|group| group.part()).filter(|&p| p != Part::Whole).collect();
    assert_eq!((parts[0], parts[parts.len() - 1]), (Part::First, Part::Last));
    assert_eq!(memory.resume().tables.len(), 1);
}

#[tokio::test]
async fn an_interrupted_copy_is_void_and_begins_anew() {
    let server = server(
        "create table a (id int primary key, pad text);
         insert into a select i, repeat('x', 100) from generate_series(1, 200000) i",
    );
    let memory = Arc::new(Memory::default());
    // The note of the slot, and two parts.
    memory.fill_up_after(3);
    let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    until("two parts", || memory.groups().len() == 3).await;
    running.stop().await;
    let resume = memory.resume();
    assert_eq!((resume.position, resume.tables.len()), (None, 0), "nothing of it counts");
    assert!(resume.state.is_some(), "but whose slot it is");
    server.psql("delete from a where id % 2 = 0").unwrap();
    memory.fill_up_after(1_000);
    run_once(&server, &memory, &[]).await;
    assert_equal(&server, &memory, "a");
    let firsts = memory.groups().iter().filter(|group| group.part() == Part::First).count();
    assert_eq!(firsts, 2);
}

#[tokio::test]
async fn partitions_are_one_table() {
    let server = server(
        "create table m (id int, day date, n int, primary key (id, day)) partition by range (day);
         create table m1 partition of m for values from ('2024-01-01') to ('2024-02-01');
         create table m2 partition of m for values from ('2024-02-01') to ('2024-03-01');
         insert into m select i, date '2024-01-01' + i % 60, i from generate_series(1, 100) i;",
    );
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    server
        .psql(
            "update m set day = '2024-02-28' where id = 1; update m set n = -n where id < 50;
             create table m3 partition of m for values from ('2024-03-01') to ('2024-04-01');
             insert into m values (1000, '2024-03-05', 1); delete from m where id = 77",
        )
        .unwrap();
    run_once(&server, &memory, &[]).await;
    assert_equal(&server, &memory, "m");
    assert_eq!(memory.resume().tables.len(), 1, "partitions are no tables of their own");
}

#[tokio::test]
async fn tables_are_chosen_and_left_out_by_name() {
    let server = server(
        "create schema audit; create table audit.entries (id int primary key, secret point, n int);
         create table orders (id int primary key); create table logs (line text);
         create table whole (a int); alter table whole replica identity full;
         insert into audit.entries values (1, '(1,1)', 5); insert into logs values ('x'), ('x')",
    );
    let memory = Arc::new(Memory::default());
    let options = [("exclude", "orders, audit.entries.secret")];
    run_once(&server, &memory, &options).await;
    // PostgreSQL refuses updates of a published table without a key; ours is published for inserts only.
    server.psql("insert into logs values ('y'); update logs set line = 'z'; insert into whole values (1), (1); delete from whole where ctid = '(0,1)'").unwrap();
    run_once(&server, &memory, &options).await;
    let tables = memory.resume().tables;
    let shown: Vec<_> = tables.iter().map(|t| (t.name().to_string(), t.form())).collect();
    assert_eq!(
        shown,
        [
            ("shop.audit.entries".to_owned(), ChangeForm::Upsert),
            ("shop.logs".to_owned(), ChangeForm::Exact),
            ("shop.whole".to_owned(), ChangeForm::Exact),
        ]
    );
    assert_eq!(memory.rows("audit.entries")["1"], ["1", "5"]);
    assert_eq!(memory.rows("logs").into_keys().collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(memory.rows("whole").len(), 1);
}

#[tokio::test]
async fn two_first_runs_give_equal_groups() {
    let server = server(
        "create table a (id int primary key, pad text);
         insert into a select i, repeat('x', i % 300) from generate_series(1, 100000) i",
    );
    let (one, two) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    run_once(&server, &one, &[]).await;
    let state = one.resume().state;
    source::drop_source(config(&server, &[]), state).await.unwrap();
    let running = Running::start(config(&server, &[]), &two, two.resume(), true);
    assert_eq!(running.end().await.unwrap(), End::Ended);
    let (one, two) = (one.groups(), two.groups());
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(one.tables(), two.tables());
    }
}
