//! The same input gives the same log and the same outputs, byte for byte.
//!
//! Frames are compared by their payloads: a header also says when it was written, and in which log.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use log::{Log, RealDisk};

use crate::world::World;

/// More rows than one group of a file holds, so that it is seen where groups are cut.
const ROWS: usize = 150_000;

#[test]
fn a_file_of_json_lines_gives_the_same_log_twice() {
    let mut lines = String::new();
    for row in 0..ROWS {
        if row % 50_000 == 777 {
            lines.push_str("{\"id\": broken\n");
        }
        let country = ["de", "fr", "ué"][row % 3];
        writeln!(lines, r#"{{"id":{row},"country":"{country}","price":{}.25}}"#, row % 991)
            .unwrap();
    }
    check(
        &[("events.ndjson", &lines)],
        "create source events from 'events.ndjson';
         create view sums as
           select country, count(*) as events, sum(price) as price from events group by country;
         create view bad as select place, reason from evert.dead_letters;
         create sink sums_file from sums into 'sums.ndjson';
         create sink bad_file from bad into 'bad.ndjson';",
        &["sums.ndjson", "bad.ndjson"],
    );
}

#[test]
fn a_file_of_comma_separated_values_gives_the_same_log_twice() {
    let mut records = String::from("id,name,day\n");
    for row in 0..ROWS / 2 {
        writeln!(records, "{row},\"name, {}\",2026-01-{:02}", row % 100, row % 28 + 1).unwrap();
    }
    check(
        &[("people.csv", &records)],
        "create source people from 'people.csv' (key = 'id');
         create view days as select day, count(distinct name) as names from people group by day;
         create view some as select id, name, day from people where id < 20;
         create sink days_file from days into 'days.ndjson';
         create sink some_file from some into 'some.ndjson';",
        &["days.ndjson", "some.ndjson"],
    );
}

#[test]
fn the_demo_with_a_seed_gives_the_same_log_twice() {
    check(
        &[],
        "create source shop from 'demo' (seed = '7', limit = '400', rate = '0');
         create view revenue as
           select c.region, count(*) as items, sum(i.quantity * i.price) as revenue
           from customers c join orders o on o.customer_id = c.id
           join order_items i on i.order_id = o.id
           where o.status <> 'void' group by c.region;
         create view latest as
           select id, customer_id, status, placed_at from orders order by placed_at desc, id limit 10;
         create sink revenue_file from revenue into 'revenue.ndjson';
         create sink latest_file from latest into 'latest.ndjson';",
        &["revenue.ndjson", "latest.ndjson"],
    );
}

/// Runs a script over some files twice, at the same paths, which the statements in the log name.
fn check(files: &[(&str, &str)], script: &str, outputs: &[&str]) {
    let world = World::new();
    files.iter().for_each(|(name, text)| drop(world.write(name, text)));
    let script = world.write("same.sql", script);
    let run = || {
        world.ok(&["run", "--once", &script]);
        let texts: Vec<String> = outputs.iter().map(|name| world.read(name)).collect();
        (payloads(&world), texts)
    };
    let (left, texts) = run();
    fs::remove_dir_all(world.data()).unwrap();
    for name in outputs {
        fs::remove_file(world.path(name)).unwrap();
    }
    let (right, texts_again) = run();
    assert!(left.len() >= 2, "the statements and the rows are {} frames", left.len());
    assert!(left == right, "the logs' {} and {} payloads differ", left.len(), right.len());
    for (name, (left, right)) in outputs.iter().zip(texts.iter().zip(&texts_again)) {
        assert!(!left.is_empty(), "{name} is empty");
        assert_eq!(left, right, "{name}");
    }
}

fn payloads(world: &World) -> Vec<Vec<u8>> {
    let (log, _) = Log::open_read_only(&world.data().join("log"), Arc::new(RealDisk)).unwrap();
    let mut frames = log.raw_frames();
    let mut payloads = Vec::new();
    while let Some(frame) = frames.next().unwrap() {
        payloads.push(frame.payload.as_slice().to_vec());
    }
    payloads
}
