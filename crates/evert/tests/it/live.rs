//! Views that come and go while the process runs: filled beside all that goes on, exact when they are first seen, and
//! the same after the process was killed at any moment.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use servers::{free_port, wait_until};

use crate::world::{DEADLINE, Running, World, block_on};

/// What `old` and each new view of these tests compute.
const SUMS: &str = "select count(*) as n, sum(quantity * price) as s, max(order_id) as m
                    from order_items join orders on order_items.order_id = orders.id";

/// A shop that lives, with one view.
fn shop(world: &World, workers: &str) -> (Running, String) {
    let script = world.write(
        "shop.sql",
        &format!(
            "create source shop from 'demo' (rate = '1000', seed = '7');
             create view old as {SUMS};
             create view items as select line, order_id, quantity from order_items;"
        ),
    );
    let mut running = world.start(&["run", "--workers", workers, &script]);
    running.until("it has some history", || {
        world.status().is_ok_and(|status| status.time.0 > 300 && status.views[0].row_count > 0)
    });
    (running, script)
}

/// Reads old and new together, again and again, and fails when they ever differ.
struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(world: &Arc<World>, name: &str) -> Self {
        let (world, stop) = (Arc::clone(world), Arc::new(AtomicBool::new(false)));
        let sql = format!(
            "select o.n - w.n as n, o.s - w.s as s, o.m - w.m as m from old o cross join {name} w"
        );
        let (stopping, seen) = (Arc::clone(&stop), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let seen = count.load(Ordering::Relaxed);
                match block_on(world.client().query(&sql, None)) {
                    Ok(answer) => {
                        let json = view::json::to_array(&answer.batches);
                        let text = String::from_utf8(json).unwrap();
                        assert!(
                            text == r#"[{"n":0,"s":0.00,"m":0}]"#,
                            "at Time {}, the {seen}th look: {text}",
                            answer.time
                        );
                        count.store(seen + 1, Ordering::Relaxed);
                    }
                    Err(error) => assert!(seen == 0, "it was there before: {error}"),
                }
            }
        });
        Self { stop, seen, thread }
    }

    /// Waits until the views were compared some times, and ends.
    #[track_caller]
    fn stop(self) {
        let is_enough = || self.seen.load(Ordering::Relaxed) > 12 || self.thread.is_finished();
        assert!(wait_until(DEADLINE, is_enough), "the new view is never seen");
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[track_caller]
fn refused(world: &World, statement: &str, code: &str, words: &str) {
    let ended = world.done(&["sql", statement]);
    assert_eq!(ended.code, Some(2), "{statement}: {}", ended.stderr);
    let title = format!("error[{code}]");
    assert!(ended.stderr.starts_with(&title) && ended.stderr.contains(words), "{}", ended.stderr);
}

fn names(world: &World) -> Vec<String> {
    world.status().unwrap().views.into_iter().map(|view| view.name).collect()
}

#[track_caller]
fn a_new_view_is_exact_from_its_first_moment(workers: &str) {
    let world = Arc::new(World::new());
    let (running, script) = shop(&world, workers);
    for name in ["first", "second"] {
        let watch = Watch::start(&world, name);
        let created = world.ok(&["sql", &format!("create view {name} as {SUMS}")]);
        assert_eq!(created, "create view\n");
        assert!(world.query(&format!("select n from {name}")).len() == 1, "it can be read at once");
        watch.stop();
    }
    // One over a view that came later, and one in the same text as a read of it.
    let told = world.ok(&[
        "sql",
        "create materialized view over as select n + 1 as n from first;
         select n > 300 as many from over",
    ]);
    assert_eq!(told, "create view\n{\"many\":true}\n");
    assert_eq!(names(&world), ["old", "items", "first", "second", "over"]);
    refused(&world, "drop view first", "EVT001", "view first is still needed by view over");
    assert_eq!(world.ok(&["sql", "drop view over, first"]), "drop\n");
    assert_eq!(world.ok(&["drop", "second"]), "dropped view second\n");
    assert_eq!(names(&world), ["old", "items"]);
    // A view of the beginning goes as well, and a name can be used again.
    assert_eq!(world.ok(&["sql", "drop view old"]), "drop\n");
    world.ok(&["sql", &format!("create view old as {SUMS}; create view last as {SUMS}")]);
    Watch::start(&world, "last").stop();
    let analyzed = world.ok(&["sql", "-o", "csv", "explain analyze last"]);
    assert_eq!(analyzed.lines().filter(|line| line.contains("table shop.orders")).count(), 1);
    assert_eq!(running.terminate().code, Some(0));

    // What is there, is there on the next start, and computed anew it is the same.
    assert_eq!(world.query("select * from old"), world.query("select * from last"));
    let mut again = world.start(&["run", "--workers", workers, &script]);
    again.until("it runs again", || world.status().is_ok());
    // The script says `old` once more, and it is there already.
    assert_eq!(names(&world), ["items", "old", "last"]);
    assert_eq!(again.terminate().code, Some(0));
}

#[test]
fn a_view_is_created_while_writes_stream_in() {
    a_new_view_is_exact_from_its_first_moment("1");
}

#[test]
fn a_view_is_created_while_writes_stream_in_with_two_workers() {
    a_new_view_is_exact_from_its_first_moment("2");
}

/// Tables of our own, so large that `slow` takes a while.
fn tables(world: &World) -> Running {
    let mut script = "create table big (id int primary key, g int);
                      create table small (id int primary key, n int, d int);
                      create view smalls as select count(*) as n, sum(n) as s from small;\n"
        .to_owned();
    for part in 0..24 {
        let from = part * 500;
        script.push_str(&format!(
            "insert into big select {from} + s.n, 1 from generate_series(1, 500) as s(n);\n"
        ));
    }
    let script = world.write("tables.sql", &script);
    world.ok(&["sql", &script]);
    let mut running = world.start(&["run"]);
    running.until("it answers", || world.status().is_ok());
    running
}

const SLOW: &str =
    "create view slow as select max(a.id + b.id) as n from big a join big b on a.g = b.g";

/// Begins to create the slow view.
fn begun(world: &World, running: &mut Running) -> Running {
    let creating = world.start(&["sql", SLOW]);
    running.until("it is being filled", || {
        world.status().is_ok_and(|status| status.filling.iter().any(|view| view.name == "slow"))
    });
    creating
}

#[test]
fn everything_goes_on_while_a_view_is_filled_and_it_can_be_called_off() {
    let world = World::new();
    let mut running = tables(&world);
    let mut creating = begun(&world, &mut running);
    for id in 0..5 {
        let insert = format!("insert into small values ({id}, 1, 0); select n from smalls");
        let told = world.ok(&["sql", &insert]);
        assert_eq!(told, format!("insert: 1 row\n{{\"n\":{}}}\n", id + 1));
    }
    // Other views come and go meanwhile, also those that lack rows.
    let told = world.done(&["sql", "create view ratio as select id, n / d as r from small"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "create view\n"));
    let errors = world.query("select count(*) as n from evert.errors where view = 'ratio'");
    assert_eq!(errors, [r#"{"n":5}"#]);
    world.ok(&["sql", "update small set d = 1"]);
    assert_eq!(world.query("select count(*) as n from evert.errors"), [r#"{"n":0}"#]);
    assert_eq!(world.query("select count(*) as n, sum(r) as s from ratio"), [r#"{"n":5,"s":5}"#]);
    world.ok(&["sql", "insert into small values (9, 1, 0); drop view ratio"]);
    assert_eq!(world.query("select count(*) as n from evert.errors"), [r#"{"n":0}"#]);

    refused(&world, SLOW, "TAB006", "exists already");
    refused(&world, "create table slow (id int)", "TAB006", "exists already");
    let status = world.status().unwrap();
    let filling = status.filling.iter().find(|view| view.name == "slow").expect("it goes on");
    assert!(filling.behind_transactions > 0, "{filling:?}");
    assert!(status.views.iter().all(|view| view.name != "slow"));
    let shown = world.ok(&["status"]);
    assert!(shown.contains("being filled"), "{shown}");
    assert!(!creating.has_ended());
    assert_eq!(world.ok(&["sql", "drop view slow"]), "drop\n");
    let ended = creating.ended();
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("dropped while it was being filled"), "{}", ended.stderr);
    assert_eq!(world.status().unwrap().filling, []);
    // Who creates a view may go; the creation goes on.
    let mut creating = begun(&world, &mut running);
    creating.kill();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.status().unwrap().filling.len(), 1);
    assert_eq!(world.ok(&["drop", "slow"]), "dropped view slow\n");
    running.until("it is called off", || world.status().unwrap().filling.is_empty());
    // The process can end while one is being filled, and keeps nothing of it.
    let creating = begun(&world, &mut running);
    assert_eq!(running.terminate().code, Some(0));
    let ended = creating.ended();
    assert_ne!(ended.code, Some(0));
    assert_eq!(world.query("select n from smalls"), [r#"{"n":6}"#]);
    assert_eq!(names_at_rest(&world), ["smalls"]);
}

fn names_at_rest(world: &World) -> Vec<String> {
    let status = world.ok(&["status", "-o", "json"]);
    let status: serve::api::Status = serde_json::from_str(&status).unwrap();
    status.views.into_iter().map(|view| view.name).collect()
}

const LARGE: &str = "select count(*) as n, coalesce(sum(n), 0) * 1.00 as s,
                     coalesce(max(part), 0) as m from big";

#[test]
fn a_large_transaction_is_wholly_in_a_new_view_or_not_at_all() {
    let world = Arc::new(World::new());
    let rows: Vec<String> = (0..400).map(|n| format!("({n})")).collect();
    let script = world.write(
        "large.sql",
        &format!(
            "create table d (n int); insert into d values {};
             create table big (part int, n int);
             create view old as {LARGE};",
            rows.join(", ")
        ),
    );
    world.ok(&["sql", &script]);
    let mut running = world.start(&["run"]);
    running.until("it answers", || world.status().is_ok());
    // Each comes in parts, because it is larger than a group of the log may be.
    let writer = {
        let world = Arc::clone(&world);
        std::thread::spawn(move || {
            for part in 1..=3 {
                let insert = format!(
                    "insert into big select {part}, a.n * 400 + b.n from d a cross join d b"
                );
                world.ok(&["sql", &insert]);
            }
        })
    };
    for round in 0..4 {
        let name = format!("new{round}");
        let watch = Watch::start(&world, &name);
        world.ok(&["sql", &format!("create view {name} as {LARGE}")]);
        watch.stop();
    }
    writer.join().unwrap();
    assert_eq!(world.query("select n from new0"), [r#"{"n":480000}"#]);
    assert_eq!(running.terminate().code, Some(0));
}

#[test]
fn a_kill_while_a_view_is_filled_leaves_no_trace_of_it() {
    let world = World::new();
    let mut running = tables(&world);
    let creating = begun(&world, &mut running);
    running.kill();
    assert_ne!(creating.ended().code, Some(0));
    assert_eq!(names_at_rest(&world), ["smalls"]);
    let mut running = world.start(&["run"]);
    running.until("it runs again", || world.status().is_ok());
    assert_eq!(names(&world), ["smalls"]);
    // What was created is there after the next kill, however soon that comes.
    world.ok(&["sql", "create view bigs as select g, count(*) as n from big group by g"]);
    running.kill();
    assert_eq!(world.query("select * from bigs"), [r#"{"g":1,"n":12000}"#]);
}

#[test]
fn killed_at_any_moment_a_view_is_there_or_not_and_right() {
    let world = Arc::new(World::new());
    let (mut running, script) = shop(&world, "1");
    let mut there = 0;
    for round in 0..6u64 {
        let creating = world.start(&["sql", &format!("create view v{round} as {SUMS}")]);
        std::thread::sleep(Duration::from_millis(40 + round * 110));
        running.kill();
        let was_told = creating.ended().code == Some(0);
        running = world.start(&["run", &script]);
        running.until("it runs again", || {
            world.status().is_ok_and(|status| status.time.0 + 1 >= status.log.upper.0)
        });
        let is_there = names(&world).contains(&format!("v{round}"));
        assert!(is_there || !was_told, "what was acknowledged is there, in round {round}");
        if is_there {
            there += 1;
            Watch::start(&world, &format!("v{round}")).stop();
        }
    }
    println!("{there} of 6 were there");
    assert_eq!(running.terminate().code, Some(0));
}

#[test]
fn a_view_whose_filling_fails_is_not_there_and_all_others_go_on() {
    let world = World::new();
    let mut running = tables(&world);
    // What statements need of the log is read by the first of them.
    world.ok(&["sql", "select n from smalls"]);
    let files = std::fs::read_dir(world.data().join("log")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let segment = files.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let whole = std::fs::read(&segment).unwrap();
    // Amid the rows of `big`, which nobody but a new view reads again.
    let middle = whole.iter().rposition(|&byte| byte != 0).unwrap() / 2;
    let file = File::options().write(true).open(segment).unwrap();
    file.write_all_at(&[!whole[middle]], middle as u64).unwrap();
    let ended = world.done(&["sql", "create view bigs as select count(*) as n from big"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("error[LOG"), "{}", ended.stderr);
    assert_eq!(names(&world), ["smalls"]);
    assert_eq!(world.status().unwrap().filling, []);
    // The process itself goes on.
    let told = world.client();
    let told = block_on(told.query("select n from smalls", None)).unwrap();
    assert_eq!(view::json::to_array(&told.batches), br#"[{"n":0}]"#);
    assert!(!running.has_ended(), "{}", running.stderr());
    file.write_all_at(&[whole[middle]], middle as u64).unwrap();
    world.ok(&["sql", "create view bigs as select count(*) as n from big"]);
    assert_eq!(world.query("select n from bigs"), [r#"{"n":12000}"#]);
    assert_eq!(running.terminate().code, Some(0));
}

#[test]
fn what_cannot_be_created_or_dropped_is_told_to_who_asks() {
    let world = World::new();
    let script = world.write(
        "t.sql",
        "create table t (id int primary key, a int);
         create view ids as select id from t;
         create sink out from ids into 'out.ndjson';",
    );
    let mut running = world.start(&["run", &script]);
    running.until("it answers", || world.status().is_ok());
    world.ok(&["sql", "insert into t values (1, 1)"]);
    for (statement, code, words) in [
        ("create view v as select nothing from t", "SQL011", "nothing"),
        ("create view v as select random() as r from t", "SQL", "random"),
        ("create view ids as select id from t", "TAB006", "ids"),
        ("begin; create view v as select id from t", "TAB007", "transaction"),
        ("drop view nothing", "TAB005", "nothing"),
        ("drop view ids", "EVT001", "view ids is still needed by sink out"),
        ("drop table t", "TAB007", "tables"),
    ] {
        let ended = world.done(&["sql", statement]);
        assert_eq!(ended.code, Some(2), "{statement}: {}", ended.stderr);
        let title = format!("error[{code}");
        assert!(ended.stderr.starts_with(&title), "{statement}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{statement}: {}", ended.stderr);
    }
    world.ok(&["sql", "drop view if exists nothing"]);
    assert_eq!(names(&world), ["ids"]);
    assert_eq!(running.terminate().code, Some(0));
    assert_eq!(names_at_rest(&world), ["ids"]);
}

#[test]
fn a_dropped_view_ends_what_follows_it() {
    let world = World::new();
    let script = world.write(
        "t.sql",
        "create table t (id int primary key, a int);
         create view ids as select id from t;
         create view sums as select sum(a) as s from t;",
    );
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let mut running = world.start(&["run", &format!("--http={address}"), &script]);
    running.until("it answers", || world.status().is_ok());
    world.ok(&["sql", "insert into t values (1, 1); create view more as select a from t"]);
    let follow = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        std::thread::spawn(move || {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    };
    let followers = [follow("/v1/views/ids/changes"), follow("/v1/views/more/changes")];
    let all = follow("/v1/changes");
    std::thread::sleep(Duration::from_millis(300));
    world.ok(&["sql", "drop view ids, more; insert into t values (2, 2)"]);
    for (follower, view) in followers.into_iter().zip(["ids", "more"]) {
        let text = follower.join().unwrap();
        assert!(text.contains("event: snapshot"), "{text}");
        assert!(text.contains("event: dropped"), "{text}");
        assert!(text.contains(&format!("{{\"view\":\"{view}\"}}")), "{text}");
    }
    assert!(all.join().unwrap().contains("event: dropped"));
    assert_eq!(world.query("select s from sums"), [r#"{"s":3}"#]);
    let ended = world.done(&["query", "select * from ids"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert_eq!(running.terminate().code, Some(0));
}
