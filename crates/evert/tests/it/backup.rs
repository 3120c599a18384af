//! Backups as their users meet them: made at rest and while everything runs, restored, compared, damaged, cut short.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::{Manifest, Place};
use serde_json::Value;
use servers::{Postgres, PostgresOptions, S3, Signal};

use crate::user::User;
use crate::world::{World, block_on};

/// A user whose log holds twenty orders, a view and a file that follows it.
fn with_orders() -> User {
    let user = User::new();
    let lines: String = (1..=20).map(line).collect();
    user.write("orders.ndjson", &lines);
    let script = "create source shop from 'orders.ndjson' with (key = 'id');
        create view named as select id, note from orders where id % 2 = 0;
        create view counted as select count(*) as orders, sum(id) as ids from orders;
        create sink copied from named into 'named.ndjson';";
    user.write("shop.sql", script);
    user.ok(&["run", "--once", "shop.sql"]);
    user
}

fn line(id: u64) -> String {
    format!("{{\"id\":{id},\"note\":\"order {id}\"}}\n")
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn back_up(user: &User, more: &[&str]) -> Value {
    json_of(&user.ok(&[&["backup", "vault", "-o", "json"], more].concat()))
}

fn restore(user: &User, to: &str, more: &[&str]) -> Value {
    json_of(&user.ok(&[&["restore", "vault", "--to", to, "-o", "json"], more].concat()))
}

fn stat(user: &User, data: &str) -> Value {
    json_of(&user.ok(&["log", "stat", "--data", data, "-o", "json"]))
}

fn rows(user: &User, data: &str) -> String {
    let sql = "select * from named order by id";
    let named = user.ok(&["query", "--data", data, "-o", "ndjson", sql]);
    named + &user.ok(&["query", "--data", data, "-o", "ndjson", "select * from counted"])
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn vault(user: &User) -> Place {
    Place::open(user.dir().join("vault").to_str().unwrap()).unwrap()
}

/// The last manifest, changed, as if it had been written so.
fn meddled(user: &User, change: impl FnOnce(&mut Manifest)) {
    let place = vault(user);
    block_on(async {
        let id = place.backups().await.unwrap().pop().unwrap();
        let mut manifest = place.manifest(&id).await.unwrap();
        change(&mut manifest);
        // What is taken later is the last.
        manifest.taken_at_us += 1;
        let lock = place.lock().await.unwrap();
        place.publish(&manifest, &lock).await.unwrap();
        lock.release().await.unwrap();
    });
}

#[test]
fn a_backup_becomes_a_directory_that_holds_the_same_and_goes_on() {
    let user = with_orders();
    let made = back_up(&user, &[]);
    assert_eq!(made["views"], 2);
    assert_eq!(made["signed"].as_u64(), made["upper"].as_u64().map(|upper| upper - 1));
    let told = user.ok(&["restore", "vault", "--to", "back"]);
    for fact in [
        "came back as they were put there",
        "2 views computed from the log hold at Time",
        "are those that log/proof/checkpoint signs",
        "the log's private key is not here",
        "done: back holds the log up to Time",
    ] {
        assert!(told.contains(fact), "{fact}: {told}");
    }
    assert_eq!(rows(&user, "back"), rows(&user, ".evert"));
    assert!(!user.dir().join("back/log/key").exists());
    let origin = |data| stat(&user, data)["origin"].clone();
    let before = origin(".evert");
    // Nobody finds the private key in the backup.
    let secret = user.read(".evert/log/key");
    for file in files(&user.dir().join("vault")) {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        assert!(!text.contains(secret.trim()));
    }
    // It goes on: the same sink, the same source, another key.
    user.append("orders.ndjson", &line(21));
    user.append("orders.ndjson", &line(22));
    user.ok(&["run", "--once", "--data", "back"]);
    assert_eq!(user.read("named.ndjson").lines().count(), 11);
    assert_ne!(origin("back"), before);
    user.ok(&["verify", "--data", "back"]);
    assert_eq!(user.read("back/log/before/checkpoint"), user.read(".evert/log/proof/checkpoint"));
    // A link's place cannot be taken at the end.
    fs::create_dir(user.dir().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", user.dir().join("link")).unwrap();
    let ended = user.evert(&["restore", "vault", "--to", "link"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("is a link"), "{}", ended.stderr);
    let ended = user.evert(&["restore", "vault", "--to", "back"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("back is not empty"), "{}", ended.stderr);
    assert!(!user.dir().join("back.restoring").exists());
}

#[test]
fn the_next_backup_writes_what_came_since() {
    let user = with_orders();
    let first = back_up(&user, &[]);
    let (bytes, pieces) = (first["bytes"].as_u64().unwrap(), first["new_pieces"].as_u64().unwrap());
    assert_eq!((first["new_bytes"].as_u64(), pieces), (Some(bytes), 2), "a segment and the leaves");
    let objects = files(&user.dir().join("vault/pieces"));
    let same = back_up(&user, &[]);
    assert_eq!((same["new_pieces"].as_u64(), same["new_bytes"].as_u64()), (Some(0), Some(0)));
    assert_eq!(files(&user.dir().join("vault/pieces")), objects);
    user.append("orders.ndjson", &line(21));
    user.ok(&["run", "--once"]);
    let grown = back_up(&user, &[]);
    let (more, now) = (grown["new_bytes"].as_u64().unwrap(), grown["bytes"].as_u64().unwrap());
    assert_eq!((grown["new_pieces"].as_u64(), more), (Some(2), now - bytes));
    assert_eq!(files(&user.dir().join("vault/pieces")).len(), 4);
    // Each of them can be restored, also when the older ones are gone.
    let listed = json_of(&user.ok(&["backup", "--list", "vault", "-o", "json"]));
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let old = listed[0]["backup"].as_str().unwrap().to_owned();
    let restored = restore(&user, "old", &["--backup", &old]);
    assert_ne!(restored["log"], first["log"], "the original went on, so this is another log");
    assert_eq!(restored["last"].as_u64(), first["upper"].as_u64().map(|upper| upper - 1));
    let pruned = back_up(&user, &["--prune", "1"]);
    assert_eq!(pruned["pruned_backups"], 3);
    restore(&user, "new", &[]);
    assert_eq!(rows(&user, "new"), rows(&user, ".evert"));
    let ended = user.evert(&["restore", "vault", "--to", "gone", "--backup", &old]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("error[BKP005]"), "{}", ended.stderr);
}

#[test]
fn a_backup_is_made_while_everything_runs() {
    let world = World::new();
    let script = world.write(
        "shop.sql",
        "create source shop from 'demo' (rate = '1000', seed = '7');
         create view sums as select count(*) as n, sum(quantity * price) as s, max(order_id) as m
           from order_items join orders on order_items.order_id = orders.id;
         create view items as select line, order_id, quantity from order_items;",
    );
    let mut running = world.start(&["run", &script]);
    running.until("it has some history", || {
        world.status().is_ok_and(|status| status.time.0 > 300 && status.views[0].row_count > 0)
    });
    let place = world.path("vault").to_str().unwrap().to_owned();
    let mut uppers = Vec::new();
    for round in 0..3 {
        let made = json_of(&world.ok(&["backup", &place, "-o", "json"]));
        let number = |name: &str| made[name].as_u64().unwrap();
        assert!(number("views_at") < number("upper") && number("views_at") > 300);
        assert!(number("signed") < number("upper"));
        if round > 0 {
            assert!(number("new_bytes") < number("bytes"));
        }
        uppers.push(number("upper"));
    }
    assert!(uppers.is_sorted_by(|one, next| one < next), "{uppers:?}");
    running.terminate();
    // It compares the views with what the running process said.
    let listed = json_of(&world.ok(&["backup", "--list", &place, "-o", "json"]));
    for (at, backup) in listed.as_array().unwrap().iter().enumerate() {
        let to = World::with_data(&world.path(&format!("back-{at}")));
        let data = to.data().to_str().unwrap();
        let id = backup["backup"].as_str().unwrap();
        let mut command = vec!["restore", place.as_str(), "--to", data, "--backup", id];
        command.extend(["-o", "json"]);
        let restored = json_of(&User::new().ok(&command));
        assert_eq!(restored["last"].as_u64(), Some(uppers[at] - 1));
        assert_eq!(restored["views"], 2);
    }
}

#[test]
fn a_log_is_restored_as_it_was_at_every_time() {
    let user = User::new();
    user.write(
        "shop.sql",
        "create source shop from 'demo' (seed = '7', limit = '30', rate = '0');
         create view named as select line as id, order_id, quantity from order_items;
         create view counted as select count(*) as n, max(id) as last from orders;
         create sink copied from named into 'named.ndjson';",
    );
    user.ok(&["run", "--once", "shop.sql"]);
    let upper = back_up(&user, &[])["upper"].as_u64().unwrap();
    assert!(upper > 30, "{upper}");
    let changes = |data: &str, until: u64| {
        let until = until.to_string();
        user.ok(&["log", "cat", "--data", data, "--until", &until])
    };
    let log_id = restore(&user, "whole", &["--time", &(upper - 1).to_string()])["log"].clone();
    for last in 1..upper - 1 {
        let (to, time) = (format!("back-{last}"), last.to_string());
        let restored = restore(&user, &to, &["--time", &time]);
        assert_eq!(restored["last"].as_u64(), Some(last));
        assert_eq!(restored["transactions"].as_u64(), Some(last));
        assert_ne!(restored["log"], log_id, "another log");
        assert_eq!(stat(&user, &to)["upper"].as_u64(), Some(last + 1));
        assert_eq!(changes(&to, u64::MAX), changes(".evert", last), "at Time {last}");
    }
    // It goes on, but not into what the original fills.
    fs::remove_file(user.dir().join("named.ndjson")).unwrap();
    let mut job = user.start(&["run"]);
    let held = format!("\"time\":{}", upper - 1);
    let position = user.dir().join("named.ndjson.position");
    job.until("the file is filled", |_| {
        fs::read_to_string(&position).is_ok_and(|text| text.contains(&held))
    });
    assert_eq!(job.end_by(Signal::Terminate).code, Some(0));
    let to = format!("back-{}", upper - 6);
    let ended = user.evert(&["run", "--data", &to]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("error[SINK011]"), "{}", ended.stderr);
    user.ok(&["run", "--once", "--data", &to]);
    assert_eq!(rows(&user, &to), rows(&user, ".evert"), "the source had the rest");
    user.ok(&["verify", "--data", &to]);
    let ended = user.evert(&["restore", "vault", "--to", "never", "--time", &upper.to_string()]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("the last one ends at Time"), "{}", ended.stderr);
}

#[test]
fn what_is_wrong_with_a_backup_is_found() {
    let user = with_orders();
    back_up(&user, &[]);
    let code = |code: i32, what: &str| {
        let ended = user.evert(&["restore", "vault", "--to", "back"]);
        assert_eq!(ended.code, Some(code), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains(what), "{what}: {}", ended.stderr);
        assert!(!user.dir().join("back").exists() && !user.dir().join("back.restoring").exists());
    };
    for file in files(&user.dir().join("vault")) {
        let whole = fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        let at = whole.len() / 2;
        flipped[at] ^= 4;
        fs::write(&file, flipped).unwrap();
        code(5, "error[BKP006]");
        fs::remove_file(&file).unwrap();
        if file.starts_with(user.dir().join("vault/manifests")) {
            code(2, "error[BKP005]");
        } else {
            code(5, "is missing");
        }
        fs::write(&file, whole).unwrap();
    }
    // Whoever makes the hashes right again cannot make it what was signed, or what the views were.
    meddled(&user, |manifest| manifest.views.views[1].rows += 1);
    code(8, "view named has 10 rows and lacks 0; it had 11 and lacked 0");
    meddled(&user, |manifest| {
        manifest.views.views[1].rows -= 1;
        manifest.views.views[1].digest.replace_range(..1, "x");
    });
    code(8, "view named has 10 rows as before, but not the same");
    let other = with_orders();
    back_up(&other, &[]);
    let theirs = block_on(async {
        let place = vault(&other);
        let id = place.backups().await.unwrap().pop().unwrap();
        place.manifest(&id).await.unwrap()
    });
    meddled(&user, |manifest| manifest.signed = theirs.signed);
    code(8, "the leaves in the backup are not those of the checkpoint in it");
    // Who leaves out what was signed does not get past somebody who knows the key.
    meddled(&user, |manifest| {
        manifest.signed = None;
        manifest.files.retain(|file| file.name != "proof/leaves");
    });
    let key = user.dir().join(".evert/log/proof/verifier");
    let key = key.to_str().unwrap();
    let ended = user.evert(&["restore", "vault", "--to", "back", "--key", key]);
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    assert!(ended.stderr.contains("holds nothing signed"), "{}", ended.stderr);
}

#[test]
fn a_damaged_backup_is_passed_over_when_another_holds_the_time() {
    let user = with_orders();
    back_up(&user, &[]);
    user.append("orders.ndjson", &line(21));
    user.append("orders.ndjson", &line(22));
    user.ok(&["run", "--once"]);
    back_up(&user, &[]);
    let manifests = files(&user.dir().join("vault/manifests"));
    assert_eq!(manifests.len(), 2);
    let harm = |path: &Path| fs::write(path, "no manifest").unwrap();
    harm(&manifests[0]);
    let restored = restore(&user, "then", &["--time", "1"]);
    assert_eq!(restored["last"], 1);
    assert!(restored["notes"].to_string().contains("was passed over"), "{restored}");
    harm(&manifests[1]);
    let ended = user.evert(&["restore", "vault", "--to", "never", "--time", "1"]);
    assert!(ended.stderr.contains("error[BKP006]"), "{}", ended.stderr);
}

#[test]
fn a_backup_that_is_killed_is_in_nobodys_way() {
    let user = User::new();
    let lines: String = (1..=30_000).map(line).collect();
    user.write("orders.ndjson", &lines);
    user.write(
        "shop.sql",
        "create source shop from 'orders.ndjson' with (key = 'id');
         create view named as select id, note from orders where id % 2 = 0;
         create view counted as select count(*) as orders, sum(id) as ids from orders;",
    );
    user.ok(&["run", "--once", "shop.sql"]);
    let begun = std::time::Instant::now();
    user.ok(&["backup", "another"]);
    let (whole, mut killed) = (begun.elapsed(), 0);
    for round in 0..12 {
        let mut job = user.start(&["backup", "vault"]);
        let until = whole * round / 12 + Duration::from_millis(1);
        let begun = std::time::Instant::now();
        servers::wait_until(until, || begun.elapsed() >= until || job.has_ended());
        killed += usize::from(job.end_by(Signal::Kill).code.is_none());
    }
    assert!(killed > 0, "none was killed in time");
    back_up(&user, &[]);
    assert_eq!(files(&user.dir().join("vault/locks")), Vec::<PathBuf>::new());
    restore(&user, "back", &[]);
    assert_eq!(rows(&user, "back"), rows(&user, ".evert"));
}

#[test]
fn one_at_a_time_and_one_log_writes_to_a_place() {
    let user = with_orders();
    back_up(&user, &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lock = runtime.block_on(vault(&user).lock()).unwrap();
    let ended = user.evert(&["backup", "vault"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let holder = format!("vault is in use by process {}", std::process::id());
    assert!(ended.stderr.contains(&holder), "{}", ended.stderr);
    runtime.block_on(lock.release()).unwrap();
    let other = with_orders();
    let place = user.dir().join("vault");
    let ended = other.evert(&["backup", place.to_str().unwrap()]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("holds backups of the log"), "{}", ended.stderr);
    // A copy that goes on by itself is another history of the same log.
    user.shell("cp -a .evert copy");
    for (data, id) in [(".evert", 21), ("copy", 31)] {
        user.append("orders.ndjson", &line(id));
        user.append("orders.ndjson", &line(id + 1));
        user.write("named.ndjson", "");
        fs::remove_file(user.dir().join("named.ndjson.position")).unwrap_or_default();
        fs::remove_file(user.dir().join("named.ndjson")).unwrap_or_default();
        user.ok(&["run", "--once", "--data", data]);
        if data == ".evert" {
            back_up(&user, &[]);
            let before = user.read("orders.ndjson").replace(&line(21), "").replace(&line(22), "");
            user.write("orders.ndjson", &before);
        }
    }
    user.append("orders.ndjson", &line(33));
    user.append("orders.ndjson", &line(34));
    user.ok(&["run", "--once", "--data", "copy"]);
    let ended = user.evert(&["backup", "vault", "--data", "copy"]);
    assert!(matches!(ended.code, Some(2 | 5)), "{}", ended.stderr);
    let told = ["another history of this log", "is not what was backed up before"];
    assert!(told.iter().any(|told| ended.stderr.contains(told)), "{}", ended.stderr);
}

#[test]
fn with_its_key_a_log_goes_on_under_its_name() {
    let user = with_orders();
    back_up(&user, &["--with-key"]);
    let restored = restore(&user, "back", &[]);
    assert!(restored["notes"].to_string().contains("it goes on as the same log"), "{restored}");
    use std::os::unix::fs::PermissionsExt as _;
    let key = fs::metadata(user.dir().join("back/log/key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    user.append("orders.ndjson", &line(21));
    user.append("orders.ndjson", &line(22));
    user.ok(&["run", "--once", "--data", "back"]);
    assert_eq!(stat(&user, "back")["origin"], stat(&user, ".evert")["origin"]);
    user.ok(&["verify", "--data", "back", "--since", ".evert/log/proof/checkpoint"]);
    // The restored log is backed up where the original was: it goes on from there.
    let made = json_of(&user.ok(&["backup", "vault", "--data", "back", "-o", "json"]));
    assert_eq!(made["new_pieces"], 2);
    // A point in time is another log, whoever has the key.
    let restored = restore(&user, "then", &["--time", "1"]);
    assert!(!user.dir().join("then/log/key").exists());
    assert_ne!(restored["log"], made["log"]);
    user.ok(&["run", "--once", "--data", "then"]);
    let refused = |key: &str, says: &str| {
        let ended = user.shell(&format!("EVERT_LOG_KEY={key} evert run --once --data then"));
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("error[LOG013]"), "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    };
    refused(".evert/log/key", "it is named for the log");
    // Whatever its name is.
    let log = user.dir().join("then/log");
    fs::copy(log.join("proof/verifier"), log.join("before/verifier")).unwrap();
    refused("then/log/key", "it is the original's");
    // The key is elsewhere: named, it is used.
    let restored = user.shell(
        "cp .evert/log/key safe.key; evert backup vault2 > told; \
         EVERT_LOG_KEY=safe.key evert restore vault2 --to again",
    );
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert!(restored.stdout.contains("it goes on as the same log"), "{}", restored.stdout);
}

#[test]
fn s3_holds_backups_as_a_directory_does() {
    let (user, server) = (with_orders(), S3::start("vault").unwrap());
    let set: String = server
        .environment()
        .iter()
        .map(|(name, value)| format!("export {name}={value}; "))
        .collect();
    let place = "s3://vault/shop/backups";
    let ok = |line: &str| {
        let ended = user.shell(&format!("{set}{line}"));
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        ended.stdout
    };
    ok(&format!("evert backup {place}"));
    user.append("orders.ndjson", &line(21));
    user.ok(&["run", "--once"]);
    let made = json_of(&ok(&format!("evert backup {place} -o json")));
    assert_eq!(made["new_pieces"], 2);
    assert!(ok(&format!("evert backup --list {place}")).lines().count() >= 4);
    ok(&format!("evert restore {place} --to back"));
    assert_eq!(rows(&user, "back"), rows(&user, ".evert"));
    let time = "evert restore s3://vault/shop/backups --to then --time 1";
    ok(time);
    assert_eq!(stat(&user, "then")["upper"], 2);
    let segment = user.dir().join(format!(".evert/log/{:020}.log", 1));
    let good = fs::read(&segment).unwrap();
    harm(&segment, 400);
    ok(&format!("evert log repair --from {place}"));
    let repaired = fs::read(&segment).unwrap();
    assert!(good.starts_with(&repaired) && user.evert(&["log", "scrub"]).code == Some(0));
    let ended = user.shell(&format!("{set}evert backup s3://nobodys/bucket"));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("error[BKP002]"), "{}", ended.stderr);
    let ended = user.shell(&format!("{set}evert backup s3://id:secret@vault"));
    assert_eq!(ended.code, Some(2));
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[test]
fn what_postgres_does_not_send_again_is_not_passed_over() {
    let (user, server) = (User::new(), Postgres::start(PostgresOptions::quick()).unwrap());
    server.psql("create database shop").unwrap();
    let sql = |sql: &str| server.psql_in("shop", sql).unwrap();
    sql("create table t (id int primary key); insert into t values (1)");
    let url = server.url("shop");
    let script = format!("create source shop from '{url}'; create view v as select id from t;");
    user.write("shop.sql", &script);
    user.ok(&["run", "--once", "shop.sql"]);
    back_up(&user, &[]);
    sql("insert into t values (2)");
    user.ok(&["run", "--once"]);
    restore(&user, "back", &[]);
    // The original had told the server that row 2 is durable.
    for _ in 0..2 {
        let ended = user.evert(&["run", "--once", "--data", "back"]);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("error[SRC025]"), "{}", ended.stderr);
        assert!(ended.stderr.contains("is not sent again"), "{}", ended.stderr);
    }
    let rows = |data: &str| user.ok(&["query", "--data", data, "select id from v order by id"]);
    assert_eq!(rows("back").lines().count(), 1);
    // Created again, it is copied again; the file is gone when it was followed.
    user.ok(&["drop", "--data", "back", "v"]);
    user.ok(&["drop", "--data", "back", "shop"]);
    user.ok(&["run", "--once", "--data", "back", "shop.sql"]);
    assert_eq!(rows("back").lines().count(), 2);
    sql("insert into t values (3)");
    user.ok(&["run", "--once", "--data", "back"]);
    assert_eq!(rows("back").lines().count(), 3);
    assert!(!user.dir().join("back/restored").exists());
}

/// A log in many segments, of a source that has ended.
const FOLDED: &str = "create source shop from 'demo' with (limit = 4000, rate = 0);
    create view sold as select product_id, count(*) as n, sum(quantity) as q
      from shop.order_items group by product_id;
    create view orders_now as select id, status from shop.orders;";

/// The rows of the views of [`FOLDED`], in an order of their own.
fn sold(user: &User, data: &str) -> Vec<String> {
    let rows = |of: &str| {
        user.ok(&["query", "--data", data, "-o", "ndjson", &format!("select * from {of}")])
    };
    let all = rows("sold") + &rows("orders_now");
    let mut lines: Vec<String> = all.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Runs until history is folded behind a Time and segments have so few bytes, and ends.
fn fold_past(user: &User, past: u64, bytes_max: u64) -> u64 {
    let mut running = user.start(&["run", "--history", "0 seconds"]);
    running.until("history is folded", |_| {
        let stat = stat(user, ".evert");
        stat["since"].as_u64() > Some(past) && stat["bytes"].as_u64() < Some(bytes_max)
    });
    assert_eq!(running.end_by(Signal::Terminate).code, Some(0));
    stat(user, ".evert")["since"].as_u64().unwrap()
}

#[test]
fn a_folded_log_is_backed_up_and_restored_with_its_proofs() {
    let mut user = User::new();
    user.set("EVERT_SEGMENT_BYTES", "16384");
    user.write("shop.sql", FOLDED);
    user.ok(&["run", "--once", "shop.sql"]);
    let whole = back_up(&user, &[]);
    let bytes = whole["bytes"].as_u64().unwrap();
    let first_since = fold_past(&user, 1000, bytes / 2);
    let folded = back_up(&user, &[]);
    assert_eq!((whole["since"].as_u64(), folded["since"].as_u64()), (Some(0), Some(first_since)));
    assert!(folded["bytes"].as_u64() < Some(bytes));
    // More history comes, and is folded too. What was rewritten is no damage to those who copy it.
    user.write(
        "more.sql",
        "create source more from 'demo' with (limit = 1500, rate = 0, seed = '3');",
    );
    user.ok(&["run", "--once", "more.sql"]);
    let since = fold_past(&user, first_since + 200, u64::MAX);
    let again = back_up(&user, &[]);
    assert_eq!(again["since"].as_u64(), Some(since));
    let now = sold(&user, ".evert");
    let told = user.ok(&["restore", "vault", "--to", "back"]);
    for fact in [
        "2 views computed from the log hold at Time",
        "is what a transaction says of it",
        "are pruned: their history was folded",
        "done: back holds the log up to Time",
    ] {
        assert!(told.contains(fact), "{fact}: {told}");
    }
    assert_eq!(sold(&user, "back"), now);
    assert_eq!(stat(&user, "back")["bases"], stat(&user, ".evert")["bases"]);
    // Under another key it goes on with the same tree, which nobody could make again.
    user.ok(&[
        "sql",
        "--data",
        "back",
        "create table t (id int primary key); insert into t values (1)",
    ]);
    user.ok(&["run", "--once", "--data", "back"]);
    let after = stat(&user, "back");
    assert_eq!(after["signed"].as_u64(), after["upper"].as_u64().map(|upper| upper - 1), "{after}");
    assert_ne!(after["origin"], stat(&user, ".evert")["origin"]);
    let told = user.ok(&["verify", "--data", "back"]);
    assert!(told.contains("are those that back/log/proof/checkpoint signs"), "{told}");
    user.ok(&["prove", "--data", "back", "--time", &(since + 1).to_string()]);
    // Each backup is whatever it was when it was made.
    let listed = json_of(&user.ok(&["backup", "--list", "vault", "-o", "json"]));
    for (backup, to) in listed.as_array().unwrap().iter().zip(["one", "two", "three"]) {
        let restored = restore(&user, to, &["--backup", backup["backup"].as_str().unwrap()]);
        assert_eq!(restored["views"], 2);
        assert_eq!(stat(&user, to)["since"], backup["since"]);
        assert_eq!(sold(&user, to), now, "{to}");
        user.ok(&["run", "--once", "--data", to]);
        user.ok(&["verify", "--data", to]);
    }
}

/// Turns over the bits of a byte of a file.
fn harm(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] = !bytes[at];
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_of_a_folded_log_is_repaired_from_its_backup() {
    let mut user = User::new();
    user.set("EVERT_SEGMENT_BYTES", "16384");
    user.write("shop.sql", FOLDED);
    user.ok(&["run", "--once", "shop.sql"]);
    let before = back_up(&user, &[]);
    fold_past(&user, 1000, before["bytes"].as_u64().unwrap() / 2);
    let segments = stat(&user, ".evert")["segments"].as_u64().unwrap();
    let place = user.dir().join("vault");
    user.ok(&["backup", "vault", "--prune", "1"]);
    let log = user.dir().join(".evert/log");
    let (base, list) = (files(&log.join("base")).remove(0), log.join("base/list"));
    let segment = |number: u64| log.join(format!("{number:020}.log"));
    let harmed = [
        (segment(2), 300),
        (segment(segments - 1), 200),
        (base, 500),
        (list, 20),
        (log.join("proof/tile/0/000"), 70),
    ];
    let good: Vec<Vec<u8>> = harmed.iter().map(|(path, _)| fs::read(path).unwrap()).collect();
    harmed.iter().for_each(|(path, at)| harm(path, *at));
    let found = user.evert(&["log", "scrub"]);
    assert_eq!(found.code, Some(5), "{}", found.stderr);
    assert!(found.stdout.contains("DAMAGED: base/list"), "{}", found.stdout);
    let told = user.ok(&["log", "repair", "--from", place.to_str().unwrap()]);
    assert!(told.contains("restored: base/") && told.contains("nothing is damaged"), "{told}");
    for ((path, _), good) in
        harmed.iter().zip(good).filter(|((path, _), _)| !path.ends_with("list"))
    {
        assert!(fs::read(path).unwrap() == good, "{}", path.display());
    }
    let told = user.ok(&["log", "scrub"]);
    assert!(told.contains("nothing is damaged"), "{told}");
    user.ok(&["verify"]);
    user.ok(&["run", "--once"]);
    user.ok(&["verify"]);
    let elsewhere = with_orders();
    let refused = elsewhere.evert(&["log", "repair", "--from", place.to_str().unwrap()]);
    assert_eq!(refused.code, Some(0), "nothing is wrong there: {}", refused.stderr);
    harm(&elsewhere.dir().join(".evert/log").join(format!("{:020}.log", 1)), 400);
    let refused = elsewhere.evert(&["log", "repair", "--from", place.to_str().unwrap()]);
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert!(refused.stdout.contains("STILL DAMAGED"), "{}", refused.stdout);
}

#[test]
fn a_folded_log_is_restored_as_it_was_at_the_times_that_are_kept() {
    let mut user = User::new();
    user.set("EVERT_SEGMENT_BYTES", "16384");
    user.write("shop.sql", FOLDED);
    user.ok(&["run", "--once", "shop.sql"]);
    let upper = back_up(&user, &[])["upper"].as_u64().unwrap();
    let since = fold_past(&user, 1000, u64::MAX);
    user.ok(&["sql", "create table t (id int primary key); insert into t values (1)"]);
    back_up(&user, &[]);
    // The first backup has what was folded later.
    let restored = restore(&user, "early", &["--time", "20"]);
    assert_eq!(
        (restored["last"].as_u64(), restored["transactions"].as_u64()),
        (Some(20), Some(20))
    );
    assert_eq!(stat(&user, "early")["since"], 0);
    let back = |to: &str, time: u64| {
        let restored = restore(&user, to, &["--time", &time.to_string()]);
        assert_eq!(restored["last"].as_u64(), Some(time));
        // Whoever goes on with it signs all of it, and can prove it.
        user.ok(&["run", "--once", "--data", to]);
        let told = user.ok(&["verify", "--data", to]);
        assert!(told.contains("ok: the first"), "{told}");
        restored
    };
    back("between", upper - 3);
    user.ok(&["backup", "vault", "--prune", "1"]);
    for time in [1, 20, since - 1] {
        let ended = user.evert(&["restore", "vault", "--to", "never", "--time", &time.to_string()]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let help = format!("name a Time from {since} on");
        assert!(
            ended.stderr.contains("was folded") && ended.stderr.contains(&help),
            "{}",
            ended.stderr
        );
        assert!(!user.dir().join("never").exists());
    }
    let last = stat(&user, ".evert")["upper"].as_u64().unwrap() - 1;
    for (to, time) in
        [("at", since), ("behind", since + 1), ("later", (since + last) / 2), ("end", last - 1)]
    {
        let restored = back(to, time);
        assert_eq!(stat(&user, to)["since"].as_u64(), Some(since));
        let said = restored["notes"].to_string().contains("it says what was folded");
        assert!(said || time > since + 1, "{restored}");
        let views = |data: &str| {
            let time = time.to_string();
            user.ok(&[
                "log",
                "cat",
                "--data",
                data,
                "--after",
                &since.to_string(),
                "--until",
                &time,
            ])
        };
        assert_eq!(views(to), views(".evert"), "at Time {time}");
    }
}

#[test]
fn backups_are_made_while_history_is_folded() {
    let mut user = User::new();
    user.set("EVERT_SEGMENT_BYTES", "16384");
    let script = FOLDED.replace("limit = 4000, rate = 0", "rate = 2000");
    user.write("shop.sql", &script);
    let mut running = user.start(&["run", "--history", "0 seconds", "shop.sql"]);
    running.until("history is folded", |_| {
        let told = user.evert(&["log", "stat", "-o", "json"]);
        told.code == Some(0) && json_of(&told.stdout)["since"].as_u64() > Some(0)
    });
    // How often it folds meanwhile is not up to those who copy.
    let mut since: Vec<u64> = Vec::new();
    while since.len() < 60 && (since.len() < 6 || since.last() == since.first()) {
        since.push(back_up(&user, &[])["since"].as_u64().unwrap());
    }
    assert!(since.is_sorted() && since[0] > 0 && since.last() > since.first(), "{since:?}");
    assert_eq!(running.end_by(Signal::Terminate).code, Some(0));
    let listed = json_of(&user.ok(&["backup", "--list", "vault", "-o", "json"]));
    let some = since.len().div_ceil(8);
    for (at, backup) in listed.as_array().unwrap().iter().rev().enumerate().step_by(some) {
        // It computes the views, and compares them with what the process said that they held.
        let restored = restore(
            &user,
            &format!("back-{at}"),
            &["--backup", backup["backup"].as_str().unwrap()],
        );
        assert_eq!(restored["views"], 2);
    }
}
