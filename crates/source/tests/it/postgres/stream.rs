//! Changes of every kind, in transactions of every size.

use std::sync::Arc;

use change::limits::GROUP_ROWS_MAX;
use change::{Part, TRUNCATE};

use super::rig::{DEADLINE, Memory, Running, assert_equal, config, ends, run_once, server, until};

/// 8 kB that do not compress, so that they are stored out of line.
const LONG: &str =
    "(select string_agg(md5(i::text || random()), '') from generate_series(1, 250) i)";

#[tokio::test]
async fn unchanged_long_values_come_from_the_old_row() {
    let server = server(&format!(
        "create table t (id int primary key, n int, long text);
         create table f (id int primary key, n int, long text); alter table f replica identity full;
         insert into t values (1, 1, {LONG}), (2, 1, {LONG}); insert into f values (1, 1, {LONG});"
    ));
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    let sql =
        "update t set n = 2 where id = 1; update f set n = 2; update t set id = 3 where id = 2;
         update t set n = 3 where id = 3";
    server.psql(sql).unwrap();
    run_once(&server, &memory, &[]).await;
    let unchanged: usize =
        memory.groups().iter().flat_map(|g| g.tables()).map(|t| t.unchanged().len()).sum();
    assert_eq!(
        unchanged, 3,
        "t was updated three times without its long value; f sends the old row"
    );
    assert_equal(&server, &memory, "t");
    assert_equal(&server, &memory, "f");
}

#[tokio::test]
async fn keys_change_and_move_within_one_transaction() {
    let server = server(
        "create table t (id int primary key, name text); insert into t values (1, 'a'), (2, 'b');
         create table k (a int, b text, c int, primary key (c, a)); insert into k values (1, 'x', 1);
         create table i (id int not null, code text not null unique);
         alter table i replica identity using index i_code_key; insert into i values (1, 'one');",
    );
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    let sql = "begin; update t set id = 3 where id = 1; update t set id = 1 where id = 2;
         insert into t values (2, 'c'); delete from t where id = 3; commit;
         update k set c = 2, b = null; update k set b = 'y'; update i set code = 'uno'; update i set id = 2";
    server.psql(sql).unwrap();
    run_once(&server, &memory, &[]).await;
    let rows = memory.rows("t");
    assert_eq!(rows.into_values().collect::<Vec<_>>(), [["1", "b"], ["2", "c"]]);
    let rows = memory.rows("k");
    assert_eq!(
        rows.into_iter().collect::<Vec<_>>(),
        [("1|2".to_owned(), vec!["1".to_owned(), "y".into(), "2".into()])]
    );
    assert_eq!(memory.rows("i")["uno"], ["2", "uno"]);
}

#[tokio::test]
async fn truncate_empties_every_table_that_it_names() {
    let server = server(
        "create table t (id int primary key); create table u (t int references t, n int primary key);
         create table kept (id int primary key);
         insert into t values (1), (2); insert into u values (1, 1); insert into kept values (1);",
    );
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    server.psql("begin; truncate t cascade; insert into t values (7); commit").unwrap();
    run_once(&server, &memory, &[]).await;
    let groups = memory.groups();
    let truncated = groups.iter().flat_map(|group| group.tables());
    assert_eq!(truncated.filter(|table| table.changes().diffs().contains(&TRUNCATE)).count(), 2);
    assert_eq!(memory.rows("t").into_keys().collect::<Vec<_>>(), ["7"]);
    assert_eq!((memory.rows("u").len(), memory.rows("kept").len()), (0, 1));
}

#[tokio::test]
async fn what_was_rolled_back_never_appears() {
    let server = server("create table t (id int primary key); create table other (id int)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[("tables", "t")]).await;
    let before = memory.groups().len();
    server
        .psql(
            "begin; insert into t values (1); rollback;
             begin; insert into t values (2); savepoint a; insert into t values (3); rollback to a;
             insert into t values (4); commit; insert into other values (1)",
        )
        .unwrap();
    run_once(&server, &memory, &[("tables", "t")]).await;
    assert_eq!(memory.rows("t").into_keys().collect::<Vec<_>>(), ["2", "4"]);
    assert_eq!(memory.groups().len(), before + 1, "transactions without our tables make no group");
}

#[tokio::test]
async fn a_large_transaction_arrives_in_bounded_parts_and_keeps_its_neighbours_apart() {
    let server = server("create table t (id int primary key, n int, name text)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    let before = memory.groups().len();
    let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
    server
        .psql(
            "insert into t values (-1, 1, 'before');
             insert into t select i, i, 'row ' || i from generate_series(1, 200000) i;
             insert into t values (-2, 1, 'after')",
        )
        .unwrap();
    until("the last transaction", || memory.rows("t").contains_key("-2")).await;
    running.stop().await;
    let groups = memory.groups().split_off(before);
    assert!(groups.iter().all(|group| group.rows() <= GROUP_ROWS_MAX + 1), "parts are bounded");
    let parts: Vec<_> =
        groups.iter().map(|g| g.part()).filter(|&part| part != Part::Whole).collect();
    assert!(parts.len() >= 4, "{parts:?}");
    let middle = vec![Part::Middle; parts.len() - 2];
    assert_eq!(parts, [&[Part::First], &middle[..], &[Part::Last]].concat());
    assert!(ends(&groups).is_sorted_by(|a, b| a < b));
    assert_eq!(ends(&groups).len(), 3);
    assert_equal(&server, &memory, "t");
}

#[tokio::test]
async fn many_small_transactions_share_groups_and_keep_their_own_ends() {
    let server =
        server("create table t (id int primary key, n int); create table u (id int primary key)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    let before = memory.groups().len();
    let inserts: String = (0..2000)
        .map(|i| match i % 3 {
            0 => format!("insert into t values ({i}, 0);"),
            1 => format!("insert into u values ({i});"),
            _ => format!(
                "begin; update t set n = n + 1 where id = {}; insert into u values ({i}); commit;",
                i - 2
            ),
        })
        .collect();
    server.psql(&inserts).unwrap();
    run_once(&server, &memory, &[]).await;
    let groups = memory.groups().split_off(before);
    assert_eq!(ends(&groups).len(), 2000);
    assert!(ends(&groups).is_sorted_by(|a, b| a < b));
    assert!(groups.len() < 500, "{} groups for 2000 transactions", groups.len());
    let committed =
        groups.iter().flat_map(|group| group.heads()).map(|head| head.committed_at_us.unwrap());
    assert!(committed.is_sorted(), "commit times come with the transactions");
    assert_equal(&server, &memory, "t");
    assert_equal(&server, &memory, "u");
}

#[tokio::test]
async fn a_source_that_stops_frees_its_slot_at_once() {
    let server = server("create table t (id int primary key)");
    let memory = Arc::new(Memory::default());
    run_once(&server, &memory, &[]).await;
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        let running = Running::start(config(&server, &[]), &memory, memory.resume(), false);
        until("streaming", || running.progress.report().phase == source::Phase::Streaming).await;
        running.stop().await;
    }
    assert!(begin.elapsed() < DEADLINE / 4);
}
