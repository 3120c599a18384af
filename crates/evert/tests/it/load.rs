//! A mixed load on a PostgreSQL database, whose invariants a reader of any one moment can check.
//!
//! Whatever commits keeps: the balances of all accounts sum to 0, every transfer moved two accounts, and `bulk` holds
//! whole batches that sum to 0. Around that it does to `customers`, `orders` and `side` what databases see: inserts,
//! updates, changed keys, deletes, TRUNCATE, NULLs, values of 10 KB that updates leave alone, savepoints, rollbacks.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio_postgres::{Client, NoTls};

use crate::world::{DEADLINE, block_on};

/// How many accounts there are, always.
pub(crate) const ACCOUNTS: i64 = 50;

/// The rows of a batch of `bulk`, which come and go in one transaction.
pub(crate) const BATCH: i64 = 20_000;

/// A value of so many bytes is stored aside by PostgreSQL, and not sent again when it has not changed.
const ASIDE_BYTES: usize = 10_000;

/// The load's pace: a debug build of Evert on a busy machine can follow it.
const PAUSE: Duration = Duration::from_millis(4);

const SCHEMA: &str = "
create table accounts (id int primary key, balance bigint not null, moves bigint not null);
create table transfers (id bigserial primary key, debit int, credit int, amount bigint);
create table customers (id bigint primary key, name text);
create table orders (id bigint primary key, customer_id bigint, status text, total numeric(12,2), note text);
alter table orders alter note set storage external;
create table side (id bigserial primary key, kind text, n bigint);
create table bulk (batch bigint, line bigint, n bigint, primary key (batch, line));
create sequence keys start 1000;";

/// What the load did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Batches of statements that the server answered.
    pub(crate) done: u64,
    /// Those whose outcome is unknown, because the server went away.
    pub(crate) cut: u64,
}

/// The load at work, on its own thread.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Load {
    /// The tables, with some rows.
    pub(crate) fn schema() -> String {
        format!(
            "{SCHEMA}
             insert into accounts select i, 0, 0 from generate_series(1, {ACCOUNTS}) i;
             insert into customers select i, 'customer ' || i from generate_series(1, 30) i;
             insert into orders select i, i % 40, 'new', i * 1.25, null from generate_series(1, 300) i;
             insert into side(kind, n) values (null, 1), ('a', 2);"
        )
    }

    /// Starts to write.
    pub(crate) fn start(url: String, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || block_on(write(&url, seed, &stopping)));
        Self { stop, thread }
    }

    /// Ends the load.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Connects, as often as it takes.
pub(crate) async fn connect(url: &str) -> Option<Client> {
    let connecting = tokio_postgres::connect(url, NoTls);
    let (client, connection) = tokio::time::timeout(DEADLINE, connecting).await.ok()?.ok()?;
    tokio::spawn(async move {
        // Its end is seen by the client's next statement.
        connection.await.unwrap_or_default();
    });
    Some(client)
}

async fn write(url: &str, seed: u64, stop: &AtomicBool) -> Tally {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let mut client = None;
    for step in 0_u64.. {
        let sql = statements(step, &mut random);
        while client.is_none() && !stop.load(Ordering::Relaxed) {
            client = connect(url).await;
            tokio::time::sleep(PAUSE).await;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let connected = client.as_ref().expect("the loop above ends with a connection");
        match connected.batch_execute(&sql).await {
            Ok(()) => tally.done += 1,
            Err(error) => {
                // Class 57 is the server being shut down, or starting up.
                let code = error.code().map(tokio_postgres::error::SqlState::code);
                assert!(code.is_none_or(|code| code.starts_with("57")), "{error:?}\n{sql}");
                tally.cut += 1;
                client = None;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    tally
}

/// The next transaction or two.
fn statements(step: u64, random: &mut ChaCha8Rng) -> String {
    if step % 900 == 60 {
        return bulk(random);
    }
    let (key, total) = (some_row("orders", random), random.random_range(0..100_000));
    let customer = some_row("customers", random);
    match random.random_range(0..100) {
        0..40 => format!("begin; {} commit;", transfer(random)),
        40..55 => format!(
            "insert into orders values (nextval('keys'), {customer}, 'new', {total} / 100.0, {});",
            note(random)
        ),
        55..65 => {
            format!("update orders set status = 'paid', total = {total} / 100.0 where id = {key};")
        }
        65..68 => format!("update orders set status = {} where id = {key};", status(random)),
        68..72 => format!("update orders set id = nextval('keys') where id = {key};"),
        72..74 => format!("update orders set note = {} where id = {key};", note(random)),
        74..78 => format!("delete from orders where id = {key};"),
        78..81 => format!("update customers set name = 'name {total}' where id = {customer};"),
        81 => format!("update customers set id = nextval('keys') where id = {customer};"),
        82 => format!(
            "begin; delete from customers where id = {customer};
             insert into customers values (nextval('keys'), {}); commit;",
            if total % 2 == 0 { "null".to_owned() } else { format!("'new {total}'") }
        ),
        83..90 => {
            format!("insert into side(kind, n) values ({}, {total}), ('b', 1);", status(random))
        }
        90 => "begin; insert into side(kind, n) values ('lost', 1); truncate side;
               insert into side(kind, n) values ('after', 1), (null, 2); commit;"
            .to_owned(),
        91 => "truncate side;".to_owned(),
        92..95 => format!(
            "begin; update accounts set balance = balance + 77; delete from orders where id = {key};
             {} rollback;",
            transfer(random)
        ),
        95..98 => savepoint(random),
        // Every row with a large value that stays as it is.
        _ => "update orders set total = total + 0.01;".to_owned(),
    }
}

/// A transaction that adds a batch, or takes one away.
fn bulk(random: &mut ChaCha8Rng) -> String {
    if random.random_ratio(1, 4) {
        return "delete from bulk where batch = (select min(batch) from bulk);".to_owned();
    }
    format!(
        "begin; insert into bulk select k, i, case when i % 2 = 0 then i - 1 else -i end
         from nextval('keys') k, generate_series(1, {BATCH}) i;
         update customers set name = name || '.' where id % 3 = 0; {} commit;",
        transfer(random)
    )
}

/// A transfer in two halves, the second tried wrongly first.
fn savepoint(random: &mut ChaCha8Rng) -> String {
    let transfer = transfer(random);
    let (first, rest) = transfer.split_once(';').expect("a transfer has statements");
    format!(
        "begin; {first}; savepoint s; update accounts set balance = balance - 999 where id < 9;
         insert into bulk values (1, 1, 1); rollback to savepoint s; {rest} commit;"
    )
}

fn transfer(random: &mut ChaCha8Rng) -> String {
    let debit = random.random_range(1..=ACCOUNTS);
    let credit = (debit + random.random_range(1..ACCOUNTS) - 1) % ACCOUNTS + 1;
    let amount = random.random_range(1..1_000);
    format!(
        "update accounts set balance = balance - {amount}, moves = moves + 1 where id = {debit};
         update accounts set balance = balance + {amount}, moves = moves + 1 where id = {credit};
         insert into transfers(debit, credit, amount) values ({debit}, {credit}, {amount});"
    )
}

/// The key of some row; NULL when there is none behind the place that was drawn.
fn some_row(table: &str, random: &mut ChaCha8Rng) -> String {
    let from: f64 = random.random();
    format!(
        "(select id from {table} order by id
          offset (select (count(*) * {from})::bigint from {table}) limit 1)"
    )
}

fn status(random: &mut ChaCha8Rng) -> &'static str {
    ["'new'", "'void'", "null", "'sent'"][random.random_range(0..4)]
}

/// A note: none, a short one, or one that is stored aside.
fn note(random: &mut ChaCha8Rng) -> String {
    match random.random_range(0..4) {
        0 => "null".to_owned(),
        1 => "'short; \"quoted\", with \\ and \u{fc}'".to_owned(),
        _ => {
            let mut text = String::from("'");
            while text.len() < ASIDE_BYTES {
                write!(text, "{:08x} ", random.next_u32()).expect("writing to a String");
            }
            text + "'"
        }
    }
}
