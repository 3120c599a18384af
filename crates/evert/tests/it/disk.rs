//! The data directory in trouble: no room, another process, damage. Each has an exit code of its own, and what was
//! taken in stays.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use view::search::SearchReader;

use crate::world::World;

/// A small file system in memory; gone when dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one; `None` where that is not allowed.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=700");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Some(Self { at: at.to_owned() }),
            Ok(output) => {
                eprintln!("SKIPPED, it takes root: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("SKIPPED, mount cannot be run: {error}");
                None
            }
        }
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.at).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.at).status().map(drop).unwrap_or_default();
    }
}

/// Lines that do not compress.
fn lines(count: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut lines = String::new();
    for id in 0..count {
        write!(lines, "{{\"id\":{id},\"text\":\"").unwrap();
        for _ in 0..25 {
            write!(lines, "{:016x}", random.next_u64()).unwrap();
        }
        lines.push_str("\"}\n");
    }
    lines
}

#[test]
fn a_full_disk_stops_it_cleanly_and_room_lets_it_go_on() {
    let place = World::new();
    let Some(disk) = SmallDisk::mount(&place.path("small"), "6m") else { return };
    let world = World::with_data(&place.path("small/data"));
    world.write("events.ndjson", &lines(40_000));
    let script = world.write(
        "events.sql",
        "create source events from 'events.ndjson';
         create view v as select id, text from events;
         create sink v_file from v into 'v.ndjson';",
    );
    for _ in 0..2 {
        let ended = world.done(&["run", "--once", &script]);
        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        assert!(ended.stderr.contains("full"), "{}", ended.stderr);
        assert!(ended.stderr.contains("help: "), "{}", ended.stderr);
    }
    disk.grow("200m");
    world.ok(&["run", "--once", &script]);
    assert!(world.read("v.ndjson") == world.read("events.ndjson"), "every line, once, in order");
}

#[test]
fn on_a_full_disk_sources_wait_writers_are_refused_and_readers_go_on() {
    let place = World::new();
    let Some(disk) = SmallDisk::mount(&place.path("small"), "6m") else { return };
    let world = World::with_data(&place.path("small/data"));
    let count = 30_000;
    world.write("events.ndjson", &lines(count));
    let script = world.write(
        "events.sql",
        "create table notes (id int primary key);
         create source events from 'events.ndjson';
         create view v as select count(*) as n from events;
         create view all_notes as select id from notes;",
    );
    let mut running = world.start(&["run", &script]);
    let full = || world.status().ok().and_then(|status| status.log.full);
    running.until("the disk is full", || full().is_some());
    assert!(world.ok(&["status"]).contains("Nothing can be written: the disk is full"));
    let refused = world.done(&["sql", "insert into notes values (1)"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("LOG002"), "{}", refused.stderr);
    let taken = world.query("select n from v");
    assert_ne!(taken, [format!("{{\"n\":{count}}}")], "{taken:?}");
    assert!(!running.has_ended(), "it waits");

    disk.grow("200m");
    let all = [format!("{{\"n\":{count}}}")];
    running.until("the source went on", || world.query("select n from v") == all);
    assert_eq!(full(), None);
    world.ok(&["sql", "insert into notes values (2)"]);
    assert_eq!(world.query("select id from all_notes"), [r#"{"id":2}"#], "refused is not there");
    assert_eq!(running.terminate().code, Some(0));
}

#[test]
fn a_disk_that_an_index_fills_stops_it_cleanly_too() {
    let place = World::new();
    // The lines are half of it, and the log takes them; the index of all their words does not fit beside it.
    let Some(disk) = SmallDisk::mount(&place.path("small"), "9m") else { return };
    let world = World::with_data(&place.path("small/data"));
    world.write("events.ndjson", &lines(12_000));
    let script = world.write(
        "events.sql",
        "create source events from 'events.ndjson' (key = 'id');
         create view v as select id, text from events;
         create sink v_search from v into 'search';",
    );
    for _ in 0..2 {
        let ended = world.done(&["run", "--once", &script]);
        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        assert!(ended.stderr.contains("full"), "{}", ended.stderr);
    }
    disk.grow("200m");
    world.ok(&["run", "--once", &script]);
    let index = SearchReader::open(&world.data().join("search/v")).unwrap();
    let lines = world.read("events.ndjson");
    assert!(
        index.contents().unwrap() == {
            let mut lines: Vec<&str> = lines.lines().collect();
            lines.sort_unstable();
            lines
        }
    );
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let world = World::new();
    let mut running = world.start(&["run", "demo | from orders | orders.ndjson"]);
    running.until("it answers", || world.status().is_ok());
    let ended = world.done(&["run", "demo | from orders | others.ndjson"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("error[EVT002]"), "{}", ended.stderr);
    assert!(ended.stderr.contains("in use by process"), "{}", ended.stderr);
    assert!(!world.path("others.ndjson").exists(), "nothing of it was begun");
    assert!(world.status().is_ok(), "the other one lives on");
    assert_eq!(running.terminate().code, Some(0));
}

#[test]
fn damage_in_the_middle_of_the_log_is_told_and_not_cut() {
    let world = World::new();
    let script = world.write(
        "shop.sql",
        "create source shop from 'demo' (limit = '300', rate = '0');
         create view v as select id, status from orders; create sink s from v into 'v.ndjson';",
    );
    world.ok(&["run", "--once", &script]);
    let entries = fs::read_dir(world.data().join("log")).unwrap();
    let mut files: Vec<(u64, PathBuf)> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (fs::metadata(&path).unwrap().len(), path))
        .collect();
    files.sort();
    let (_, path) = files.pop().unwrap();
    // The end of what was written: the rest of a segment may be reserved.
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    let middle = end / 2;
    let segment = OpenOptions::new().write(true).open(&path).unwrap();
    segment.write_all_at(&[!bytes[middle]], middle as u64).unwrap();
    for arguments in [&["run", "--once", &script][..], &["query", "select * from v"]] {
        let ended = world.done(arguments);
        assert_eq!(ended.code, Some(5), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("error[LOG"), "{}", ended.stderr);
        assert!(ended.stderr.contains("help: "), "{}", ended.stderr);
    }
    let after = fs::read(&path).unwrap();
    assert_eq!(after.len(), bytes.len(), "nothing was cut");

    // A tail that a crash tore is another thing: it is cut, and the run goes on.
    segment.write_all_at(&[bytes[middle]], middle as u64).unwrap();
    segment.set_len(end as u64 - 3).unwrap();
    let once = world.done(&["run", "--once", &script]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert!(once.stderr.contains("unfinished frame"), "{}", once.stderr);
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Turns a byte of a file over.
fn harm(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

#[test]
fn damage_is_told_with_what_repairs_it_and_a_copy_does() {
    let world = World::new();
    let script = world.write(
        "shop.sql",
        "create source shop from 'demo' (limit = '300', rate = '0');
         create view v as select id, status from orders; create sink s from v into 'v.ndjson';",
    );
    world.ok(&["run", "--once", &script]);
    assert!(world.ok(&["log", "scrub"]).contains("nothing is damaged"));
    let (log, copy) = (world.data().join("log"), world.path("copy"));
    copy_all(world.data(), &copy);
    let segment = log.join(format!("{:020}.log", 1));
    let good = fs::read(&segment).unwrap();
    let last = good.iter().rposition(|&byte| byte != 0).unwrap();
    harm(&segment, last as u64 / 2);

    let found = world.done(&["log", "scrub"]);
    assert_eq!(found.code, Some(5), "{}", found.stderr);
    let line = found.stdout.lines().find(|line| line.starts_with("DAMAGED: ")).unwrap();
    assert!(line.contains("Times ") && line.contains("shop.orders"), "{line}");
    assert!(found.stderr.contains("error[LOG004]"), "{}", found.stderr);
    let refused = world.done(&["run", "--once", &script]);
    assert_eq!(refused.code, Some(5));
    assert!(refused.stderr.contains("`evert log repair --from COPY`"), "{}", refused.stderr);

    // Without a copy it says what that means.
    let left = world.done(&["log", "repair"]);
    assert_eq!(left.code, Some(5), "{}", left.stderr);
    assert!(left.stdout.contains("STILL DAMAGED"), "{}", left.stdout);
    assert!(left.stdout.contains("source shop"), "{}", left.stdout);
    assert!(fs::read(&segment).unwrap() != good);

    let done = world.ok(&["log", "repair", "--from", copy.to_str().unwrap()]);
    assert!(done.contains("restored: ") && done.contains("nothing is damaged"), "{done}");
    assert!(fs::read(&segment).unwrap() == good, "byte for byte");
    assert!(log.join("damaged").join(format!("{:020}.log", 1)).exists(), "kept aside");
    world.ok(&["log", "scrub"]);
    world.ok(&["verify"]);
    world.ok(&["run", "--once", &script]);

    // Proofs follow from the segments: nothing is needed for them.
    harm(&log.join("proof/tile/0/000"), 40);
    let found = world.done(&["log", "scrub", "-o", "json"]);
    assert_eq!(found.code, Some(5), "{}", found.stderr);
    assert!(found.stdout.contains("proof/tile/0/000"), "{}", found.stdout);
    assert!(world.ok(&["log", "repair"]).contains("made again: 1 file"));
    world.ok(&["verify"]);
}

#[test]
fn damage_is_a_table_of_the_running_process_and_of_one_at_rest() {
    let world = World::new();
    let script = world.write(
        "shop.sql",
        "create source shop from 'demo' (limit = '10', rate = '0');
         create view v as select id, status from orders;",
    );
    world.ok(&["run", "--once", &script]);
    // As an earlier scrub left it.
    let fields = ["segment", "x.log", "64", "128", "3", "5", "1000000", "shop.orders", "gone"];
    let record = format!("evert damage v1\npassed\t7\n{}\n", fields.join("\t"));
    fs::write(world.data().join("log/damage"), record).unwrap();
    let sql = "select file, \"offset\", first_time, last_time, tables, problem from evert.damage";
    let expected = [concat!(
        r#"{"file":"x.log","first_time":3,"last_time":5,"offset":64,"#,
        r#""problem":"gone","tables":"shop.orders"}"#
    )];
    assert_eq!(world.query(sql), expected);
    assert_eq!(world.ok(&["sql", sql]).lines().count(), 1);
    let mut running = world.start(&["run", &script]);
    running.until("it answers", || world.status().is_ok());
    running.until("it shows what was found", || world.query(sql) == expected);
    assert!(world.ok(&["status"]).contains("The log is damaged: 1 finding; see evert.damage."));
    assert_eq!(world.status().unwrap().log.scrub.damage, 1);
    assert_eq!(world.ok(&["sql", sql]).lines().count(), 1);
    assert_eq!(running.terminate().code, Some(0));
}
