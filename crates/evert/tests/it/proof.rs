//! The log's proofs as their users meet them: receipts, verification of copies, witnesses, traces.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::user::{Job, User};

/// A user whose log holds twenty orders.
fn with_orders() -> User {
    let user = User::new();
    let lines: String =
        (1..=20).map(|id| format!("{{\"id\":{id},\"note\":\"order {id}\"}}\n")).collect();
    user.write("orders.ndjson", &lines);
    let script = "create source shop from 'orders.ndjson' with (key = 'id');
        create view named as select id, note from orders;
        create sink named_search from named into 'search';";
    user.write("shop.sql", script);
    user.ok(&["run", "--once", "shop.sql"]);
    user
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn last_time(user: &User) -> u64 {
    let stat = json_of(&user.ok(&["log", "stat", "-o", "json"]));
    stat["upper"].as_u64().unwrap() - 1
}

/// The first segment of a log.
fn segment(dir: &Path) -> PathBuf {
    dir.join("00000000000000000001.log")
}

#[test]
fn a_receipt_is_verified_far_from_the_log() {
    let user = with_orders();
    let time = last_time(&user).to_string();
    let file = format!("{time}.tlog-proof");
    assert_eq!(user.ok(&["prove", "--time", &time]), format!("{file}\n"));
    let key = user.read(".evert/log/proof/verifier");
    let elsewhere = User::new();
    elsewhere.write("receipt", &user.read(&file));
    let arguments = ["verify", "--proof", "receipt", "--key", key.trim()];
    let told = elsewhere.ok(&arguments);
    assert!(told.contains(&format!("ok: the transaction at Time {time} is in the log evert/")));
    let with = |more: &[&str]| elsewhere.evert(&[&arguments[..], more].concat());
    assert_eq!(with(&["--time", &time, "--source", "shop"]).code, Some(0));
    assert_eq!(with(&["--time", "1"]).code, Some(8));
    assert_eq!(with(&["--source", "another"]).code, Some(8));
    assert_eq!(with(&["--request", "none"]).code, Some(8));
    let untold = elsewhere.evert(&["verify", "--proof", "receipt"]);
    assert_eq!(untold.code, Some(2), "nobody said whom to believe");
    // One letter of the proof, or another key.
    let changed = user.read(&file).replacen("index ", "index 1", 1);
    elsewhere.write("receipt", &changed);
    let ended = elsewhere.evert(&arguments);
    assert_eq!(ended.code, Some(8));
    assert!(ended.stderr.contains("error[EVT006]"), "{}", ended.stderr);
    let other = with_orders().read(".evert/log/proof/verifier");
    elsewhere.write("receipt", &user.read(&file));
    let ended = elsewhere.evert(&["verify", "--proof", "receipt", "--key", other.trim()]);
    assert_eq!(ended.code, Some(8));
    let receipt = user.ok(&["prove", "--table", "orders", "--key", "20", "-o", "-"]);
    elsewhere.write("receipt", &receipt);
    assert_eq!(with(&["--source", "shop"]).code, Some(0));
    assert_eq!(user.evert(&["prove", "--table", "orders", "--key", "21"]).code, Some(2));
    let none = user.evert(&["prove", "--time", "999"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("the log holds the Times 1 to"), "{}", none.stderr);
}

#[test]
fn a_copied_log_verifies_and_an_altered_one_does_not() {
    let user = with_orders();
    let log = user.dir().join(".evert/log");
    let copied = user.dir().join("copy");
    copy(&log, &copied);
    let old = user.dir().join("old");
    fs::copy(log.join("proof/checkpoint"), &old).unwrap();
    user.append("orders.ndjson", "{\"id\":21,\"note\":\"order 21\"}\n");
    user.ok(&["run", "--once"]);
    let since = ["verify", "--since", "old"];
    let told = user.ok(&since);
    assert!(told.contains("are those that old signs"), "{told}");
    let report = json_of(&user.ok(&["verify", "--log", "copy", "-o", "json"]));
    assert_eq!(report["verified"], true);
    // Whoever alters the log makes its checksums right again; he cannot make the signature right.
    let mut bytes = fs::read(segment(&copied)).unwrap();
    let at = in_schema(&bytes, b"note");
    bytes[at + 3] = b'a';
    fs::write(segment(&copied), &bytes).unwrap();
    let ended = user.evert(&["verify", "--log", "copy"]);
    assert_eq!(ended.code, Some(5), "the checksum says it first");
    mend(&mut bytes, at);
    fs::write(segment(&copied), &bytes).unwrap();
    let ended = user.evert(&["verify", "--log", "copy", "-o", "json"]);
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    let findings = json_of(&ended.stdout)["findings"].clone();
    assert!(findings[0]["what"].as_str().unwrap().contains("the log was altered"));
    assert!(findings[1]["what"].as_str().unwrap().contains("from Time"), "{findings}");
    assert!(findings[1]["place"].as_str().unwrap().contains("tile/0/000.p/"));
    // An older log is not what the newer checkpoint signs.
    copy(&log.join("proof"), &copied.join("proof"));
    let ended = user.evert(&["verify", "--log", "copy"]);
    assert_eq!(ended.code, Some(8));
    assert!(ended.stdout.contains("some are lost"), "{}", ended.stdout);
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Where a word is in a frame of a schema, which is never compressed.
fn in_schema(bytes: &[u8], word: &[u8]) -> usize {
    let mut start = 0;
    loop {
        let end = start + 128 + number(bytes, start + 12) as usize;
        let found = bytes[start..end].windows(word.len()).position(|bytes| bytes == word);
        if let Some(at) = found.filter(|_| bytes[start + 6] == 2) {
            return start + at;
        }
        start = end.next_multiple_of(64);
    }
}

/// Makes the checksums of the frame right that a byte is in.
fn mend(bytes: &mut [u8], at: usize) {
    let start = (0..=at / 64).rev().map(|block| block * 64);
    let start = { start }.find(|&start| bytes[start..].starts_with(b"EVRT")).unwrap();
    let payload = start + 128;
    let crc = crc32c(&bytes[payload..payload + number(bytes, start + 12) as usize]);
    bytes[start + 88..start + 92].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c(&bytes[start..start + 124]);
    bytes[start + 124..payload].copy_from_slice(&crc.to_le_bytes());
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn a_log_goes_on_only_with_its_key() {
    use std::os::unix::fs::PermissionsExt;
    let user = with_orders();
    let (key, elsewhere) = (user.dir().join(".evert/log/key"), user.dir().join("safe.key"));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::rename(&key, &elsewhere).unwrap();
    let ended = user.evert(&["run", "--once"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("error[LOG013]"), "{}", ended.stderr);
    assert!(ended.stderr.contains("EVERT_LOG_KEY"), "{}", ended.stderr);
    let ended = user.shell("EVERT_LOG_KEY=safe.key evert run --once && evert verify");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!key.exists());
}

/// A witness of a user's log; returns it with its URL and its key.
fn witness(user: &User) -> (Job, String, String) {
    let arguments = ["witness", "--listen", "127.0.0.1:0", ".evert/log/proof/verifier"];
    let mut job = user.start(&arguments);
    job.until("the witness answers", |job| job.stdout().lines().count() == 2);
    let told = job.stdout();
    let mut lines = told.lines().map(str::to_owned);
    (job, lines.next().unwrap(), lines.next().unwrap())
}

#[test]
fn a_witness_cosigns_what_grows_and_refuses_a_fork() {
    let user = with_orders();
    let (_witness, url, key) = witness(&user);
    let before = user.dir().join("before");
    copy(&user.dir().join(".evert"), &before);
    let grow = |data: &str, line: &str| {
        user.append("orders.ndjson", line);
        let url = url.clone();
        let line = format!("EVERT_WITNESSES='{url}={key}' exec evert run --data {data}");
        let file = format!("{data}.sh");
        user.write(&file, &line);
    };
    grow(".evert", "{\"id\":21,\"note\":\"order 21\"}\n");
    // It runs until it is told: cosignatures come while it does. The first may be of what the copy has too.
    let held = json_of(&user.ok(&["log", "stat", "-o", "json"]))["upper"].as_u64().unwrap() - 1;
    let ended = user.shell(&format!(
        "(bash .evert.sh & pid=$!; for i in $(seq 600); do \
         size=$(sed -n 2p .evert/log/proof/cosigned 2> unseen); \
         test \"${{size:-0}}\" -gt {held} && break; sleep 0.1; done; kill -INT $pid; wait $pid)",
    ));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let stat = json_of(&user.ok(&["log", "stat", "-o", "json"]));
    let cosigned = stat["cosigned"].as_u64().unwrap();
    let line = json_of(&user.ok(&["log", "trace", "--table", "orders", "21", "-o", "json"]));
    assert!(cosigned > held && line[0]["time"].as_u64() <= Some(cosigned), "{line}");
    let time = cosigned.to_string();
    user.ok(&["prove", "--time", &time, "-o", "receipt"]);
    let told = user.ok(&["verify", "--proof", "receipt", "--witness", &key]);
    assert!(told.contains("cosigned by 1 witness"), "{told}");
    // The copy goes on in another way, with the same key: a fork.
    fs::write(user.dir().join("orders.ndjson"), user.read("orders.ndjson").replace("21", "99"))
        .unwrap();
    grow("before", "{\"id\":98,\"note\":\"another\"}\n");
    let ended = user.shell(
        "(bash before.sh 2> told & pid=$!; for i in $(seq 600); do \
         grep -q 'no cosignature' told && break; sleep 0.1; done; kill -INT $pid; wait $pid)",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(user.read("told").contains("no cosignature"), "{}", user.read("told"));
    assert!(!before.join("log/proof/cosigned").exists());
}

#[test]
fn a_row_is_traced_from_its_source_to_what_shows_it() {
    let user = with_orders();
    let trace = ["log", "trace", "--table", "orders", "7"];
    let traced = json_of(&user.ok(&[&trace[..], &["-o", "json"]].concat()));
    let one = &traced[0];
    assert_eq!((&one["source"], &one["signed"]), (&"shop".into(), &true.into()));
    assert_eq!(one["changes"][0]["row"]["note"], "order 7");
    assert_eq!(one["changes"].as_array().unwrap().len(), 1, "of this row only");
    assert!(one["position"].as_str().unwrap().starts_with("line "));
    assert_eq!(one["views"][0]["name"], "named");
    assert_eq!(
        (&one["sinks"][0]["name"], &one["sinks"][0]["shows"]),
        (&"named_search".into(), &true.into())
    );
    let time = one["time"].to_string();
    let told = user.ok(&["log", "trace", &time]);
    assert!(told.starts_with(&format!("Time {time}, from shop at line ")), "{told}");
    assert!(told.contains("sink named_search: holds it"), "{told}");
    let none = user.evert(&["log", "trace", "nothing"]);
    assert_eq!(none.code, Some(2));
    let none = user.evert(&["log", "trace", "--table", "nothing", "7"]);
    assert!(none.stderr.contains("it knows shop.orders"), "{}", none.stderr);
}

#[test]
fn the_logs_changes_are_printed_one_a_line() {
    let user = with_orders();
    let lines = user.ok(&["log", "cat", "--table", "orders"]);
    assert_eq!(lines.lines().count(), 20);
    let first = json_of(lines.lines().next().unwrap());
    assert_eq!((&first["table"], &first["diff"]), (&"shop.orders".into(), &1.into()));
    assert_eq!(first["row"]["note"], "order 1");
    let array = json_of(&user.ok(&["log", "cat", "--source", "shop", "-o", "json"]));
    assert!(array.as_array().unwrap().iter().all(|change| change["source"] == "shop"));
    assert!(array.as_array().unwrap().len() >= 20);
    assert_eq!(user.ok(&["log", "cat", "--source", "nobody", "-o", "json"]), "[]\n");
    let time = first["time"].as_u64().unwrap();
    let (before, at) = ((time - 1).to_string(), time.to_string());
    let some = user.ok(&["log", "cat", "--after", &before, "--until", &at, "--table", "orders"]);
    assert!(some.lines().all(|line| json_of(line)["time"] == time), "{some}");
    let array = json_of(&user.ok(&["log", "tail", "-n", "2", "-o", "json"]));
    assert_eq!(array.as_array().unwrap().len(), 2);
    let tail = user.ok(&["log", "tail", "-n", "100", "--table", "orders"]);
    assert!(tail.lines().all(|line| json_of(line)["rows"]["shop.orders"].is_u64()), "{tail}");
    let tail = user.ok(&["log", "tail", "-n", "100", "--source", "shop"]);
    assert!(tail.lines().all(|line| json_of(line)["source"] == "shop"), "{tail}");
}
