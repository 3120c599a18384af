//! Killed at any moment, restarted at once, with a server that restarts as well: in the end everything is equal, and
//! in between nobody ever saw what never was.
//!
//! A writer changes a PostgreSQL database ([`crate::load`]); Evert carries it into tables of another database, search
//! indexes, files and its own views, and is killed with -9 again and again; the server is stopped under it, cleanly
//! and as by a crash. All the while a reader looks at the targets and asks for views. What it sees must be some
//! moment of the source: balances that sum to 0, whole batches, two moves for each transfer.
//!
//! `EVERT_TEST_SEED` replays a seed. The moments of the kills come from it; what they hit depends on the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use change::Time;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use serve::api::Phase;
use serve::client::ClientError;
use servers::{Postgres, PostgresOptions, Stop, wait_until};
use tokio_postgres::Row;

use crate::load::{ACCOUNTS, BATCH, Load, connect};
use crate::world::{World, block_on, folded, indexed, json_rows};

/// How often Evert is killed.
const KILLS: usize = 22;

/// The rounds in which the server is restarted while Evert lives, and how.
const RESTARTS: [(usize, Stop); 2] = [(7, Stop::Immediate), (14, Stop::Fast)];

/// How long Evert lives at most after it answers, before it is killed.
const LIFE_MAX: Duration = Duration::from_millis(1_200);

/// The views: the same text is asked of Evert and, in the end, of the source.
const VIEWS: [(&str, &str); 6] = [
    (
        "by_customer",
        "select c.id, c.name, count(*) as orders, sum(o.total) as revenue
         from orders o join customers c on o.customer_id = c.id group by c.id, c.name",
    ),
    ("notes", "select id, customer_id, status, note from orders where status <> 'void'"),
    (
        "totals",
        "select sum(balance) as total, count(*) as accounts, sum(moves) as moves from accounts",
    ),
    ("moved", "select count(*) as transfers, sum(amount) as amount from transfers"),
    ("bulk_totals", "select count(*) as lines, sum(n) as total from bulk"),
    ("sides", "select kind, count(*) as lines, sum(n) as total from side group by kind"),
];

/// The views with a search index and a file.
const SEARCHED: [&str; 2] = ["by_customer", "notes"];

/// All views at one Time, as a reader asks for them.
const ONE_MOMENT: &str =
    "select t.total, t.accounts, t.moves, m.transfers, b.lines, b.total as bulk
    from totals t cross join moved m cross join bulk_totals b";

/// The same in the target, for the two tables with sums.
const IN_THE_TARGET: &str =
    "select t.total::text, t.accounts, t.moves::bigint, b.lines, b.total::text
    from totals t cross join bulk_totals b";

#[test]
fn survives_kill_9_and_restarts() {
    let (begun, seed) = (Instant::now(), seed());
    println!("EVERT_TEST_SEED={seed}");
    let mut server = Postgres::start(PostgresOptions::quick()).unwrap();
    server.psql(&Load::schema()).unwrap();
    server.psql("create database target").unwrap();
    let world = Arc::new(World::new());
    let script = world.write("shop.sql", &script(&server));
    let load = Load::start(server.url("postgres"), seed);
    let watch = Watch::start(server.url("target"), Arc::clone(&world));

    torment(&world, &script, &mut server, seed);
    let mut running = world.start(&["run", &script]);
    let tally = load.stop();
    println!("{:?}: the load is over: {tally:?}", begun.elapsed());
    assert!(tally.done > 500 && tally.cut > 0, "the load ran, through the restarts: {tally:?}");

    let expected: BTreeMap<&str, Vec<String>> =
        VIEWS.iter().map(|&(name, sql)| (name, asked(&server, "postgres", sql))).collect();
    assert!(expected["notes"].iter().any(|row| row.len() > 8_192), "large values remain");
    running.until("the target tables equal the source", || {
        let table = |name| asked(&server, "target", &format!("select * from {name}"));
        VIEWS.iter().all(|(name, _)| table(name) == expected[name])
    });
    running.until("the search indexes equal the source", || {
        SEARCHED.iter().all(|name| indexed(&world, name) == expected[name])
    });
    running.until("the files equal the source", || {
        SEARCHED.iter().all(|name| folded(&world.read(&format!("{name}.ndjson"))) == expected[name])
    });
    same_views(&world, &expected);
    let seen = watch.stop();
    println!("{:?}: equal; the reader's {seen:?}", begun.elapsed());
    assert!(seen.tables > 50 && seen.views > 50, "the reader saw something: {seen:?}");

    let ended = running.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for name in SEARCHED {
        assert_eq!(folded(&world.read(&format!("{name}.ndjson"))), expected[name], "{name}.ndjson");
    }
    // Once more to the end: nothing is written twice, and files now hold the rows themselves.
    world.ok(&["run", "--once", &script]);
    same_views(&world, &expected);
    for (name, _) in VIEWS {
        let table = asked(&server, "target", &format!("select * from {name}"));
        assert_eq!(table, expected[name], "table {name}");
    }
    for name in SEARCHED {
        assert_eq!(indexed(&world, name), expected[name], "index {name}");
        assert_eq!(
            json_rows(&world.read(&format!("{name}.ndjson"))),
            expected[name],
            "{name}.ndjson"
        );
    }
    println!("{:?}: done", begun.elapsed());
}

/// Runs Evert and kills it, over and over; restarts the server in between.
fn torment(world: &World, script: &str, server: &mut Postgres, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 1);
    for round in 0..KILLS {
        let mut running = world.start(&["run", script]);
        // In every third round the kill comes while it starts.
        let life = if round % 3 == 2 {
            Duration::from_millis(random.random_range(0..500))
        } else {
            running.until("it answers", || world.status().is_ok());
            LIFE_MAX.mul_f64(random.random())
        };
        let ended = wait_until(life, || running.has_ended());
        assert!(!ended, "round {round}: it ended by itself\n{}", running.stderr());
        for (_, stop) in RESTARTS.iter().filter(|(at, _)| *at == round) {
            server.stop(*stop).unwrap();
            server.start_again().unwrap();
            running.until("it follows the server again", || {
                world.status().is_ok_and(|status| status.sources[0].phase == Phase::Streaming)
            });
        }
        running.kill();
    }
}

fn seed() -> u64 {
    if let Ok(seed) = std::env::var("EVERT_TEST_SEED") {
        return seed.parse().unwrap();
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into()
}

fn script(server: &Postgres) -> String {
    let mut text = format!("create source shop from '{}';\n", server.url("postgres"));
    for (name, sql) in VIEWS {
        let table = format!("{}/{name}", server.url("target"));
        text.push_str(&format!("create view {name} as {sql};\n"));
        text.push_str(&format!("create sink {name}_table from {name} into '{table}';\n"));
    }
    for name in SEARCHED {
        text.push_str(&format!("create sink {name}_search from {name} into 'search';\n"));
        text.push_str(&format!("create sink {name}_file from {name} into '{name}.ndjson';\n"));
    }
    text
}

/// The rows that a database has for a query.
fn asked(server: &Postgres, database: &str, sql: &str) -> Vec<String> {
    let sql = format!("select row_to_json(r)::text from ({sql}) r");
    json_rows(&server.psql_in(database, &sql).unwrap())
}

#[track_caller]
fn same_views(world: &World, expected: &BTreeMap<&str, Vec<String>>) {
    for (name, _) in VIEWS {
        let rows = world.query(&format!("select * from {name}"));
        assert_eq!(rows, expected[name], "view {name}");
    }
}

/// What the reader saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// States of the target tables.
    tables: u64,
    /// States of the views.
    views: u64,
    /// Questions to which there was no answer, or nothing yet.
    unanswered: u64,
    /// The moves of all accounts that the target had last; they only grow.
    moves: i64,
}

/// The reader, on its own thread.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    fn start(target: String, world: Arc<World>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || block_on(read(&target, &world, &stopping)));
        Self { stop, thread }
    }

    /// Ends it; fails when it saw what never was.
    fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn read(target: &str, world: &World, stop: &AtomicBool) -> Seen {
    let (mut seen, mut client) = (Seen::default(), None);
    while !stop.load(Ordering::Relaxed) {
        if client.is_none() {
            client = connect(target).await;
        }
        match &client {
            Some(connected) => match connected.query(IN_THE_TARGET, &[]).await {
                Ok(rows) => check_tables(&rows, &mut seen),
                Err(error) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    let missing = code.as_deref() == Some("42P01") && seen.moves == 0;
                    let away = code.is_none_or(|code| code.starts_with("57"));
                    assert!(missing || away, "{error:?}");
                    client = client.filter(|_| missing);
                    seen.unanswered += 1;
                }
            },
            None => seen.unanswered += 1,
        }
        match world.client().query(ONE_MOMENT, None).await {
            Ok(answer) => {
                let mut lines = Vec::new();
                answer.batches.iter().for_each(|batch| view::json::write_lines(batch, &mut lines));
                match String::from_utf8(lines).unwrap().as_str() {
                    // Right after the start, before the log is read again.
                    "" if answer.time == Time::ZERO => seen.unanswered += 1,
                    line => {
                        check_moment(line);
                        seen.views += 1;
                    }
                }
            }
            Err(ClientError::NotRunning { .. } | ClientError::Lost { .. }) => seen.unanswered += 1,
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen
}

/// Checks one state of the target's tables, each of which is at some Time of its own.
fn check_tables(rows: &[Row], seen: &mut Seen) {
    let [row] = rows else {
        // Before the first step of both sinks, and never again.
        assert!(rows.is_empty() && seen.moves == 0, "{} rows, {seen:?}", rows.len());
        return seen.unanswered += 1;
    };
    let (total, accounts): (Option<&str>, i64) = (row.get(0), row.get(1));
    if total.is_none() && seen.moves == 0 {
        // The first step may come before the backfill: no rows, which have no sum.
        assert_eq!(accounts, 0, "accounts without a total");
        return seen.unanswered += 1;
    }
    assert_eq!(total, Some("0"), "the total of the target's accounts");
    assert_eq!(accounts, ACCOUNTS, "the target's accounts");
    let moves = row.get::<_, i64>(2);
    assert!(moves >= seen.moves, "the table went back to {moves} moves: {seen:?}");
    assert_eq!(moves % 2, 0, "half a transfer");
    assert_eq!(row.get::<_, i64>(3) % BATCH, 0, "whole batches in the target");
    assert!(row.get::<_, Option<&str>>(4).is_none_or(|total| total == "0"), "half a batch");
    seen.moves = moves;
    seen.tables += 1;
}

/// Checks one state of the views: the empty one before the backfill, or one that the source had.
fn check_moment(line: &str) {
    let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let number = |name: &str| row[name].as_i64().unwrap_or_default();
    assert_eq!(number("total"), 0, "the total of all accounts: {line}");
    assert!([0, ACCOUNTS].contains(&number("accounts")), "all accounts or none: {line}");
    assert_eq!(number("moves"), 2 * number("transfers"), "two moves for each transfer: {line}");
    assert_eq!(number("lines") % BATCH, 0, "whole batches: {line}");
    assert_eq!(number("bulk"), 0, "batches sum to nothing: {line}");
}
