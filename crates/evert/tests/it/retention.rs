//! History as its users meet it: it is folded while the process runs, and nobody's answer is another one.

use serde_json::Value;
use servers::Signal;

use crate::user::User;

const SCRIPT: &str = "create source shop from 'demo' with (limit = 4000, rate = 4000);
    create view sold as select product_id, count(*) as n, sum(quantity) as q
      from order_items group by product_id;
    create view orders_now as select id, status from orders;
    create sink found from orders_now into 'search';";

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A text that does not compress.
fn noise(seed: u64) -> String {
    let mut state = seed + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    };
    (0..100).map(|_| next()).collect()
}

fn stat(user: &User) -> Value {
    json_of(&user.ok(&["log", "stat", "-o", "json"]))
}

/// The rows of a query, in an order of their own.
fn rows(user: &User, query: &str) -> Vec<String> {
    let mut rows: Vec<String> =
        user.ok(&["query", query, "-o", "ndjson"]).lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

#[test]
fn what_is_folded_changes_no_answer_and_leaves_the_proofs() {
    let mut user = User::new();
    user.set("EVERT_SEGMENT_BYTES", "16384");
    user.write("shop.sql", SCRIPT);
    user.ok(&["run", "--once", "shop.sql"]);
    let sold = rows(&user, "select * from sold");
    let orders = rows(&user, "select * from orders_now");
    let before = stat(&user);
    assert!(before["segments"].as_u64() > Some(10) && before["since"] == 0, "{before}");
    user.ok(&["prove", "--time", "20"]);

    let mut running = user.start(&["run", "--history", "0 seconds"]);
    running.until("history is folded", |_| stat(&user)["since"].as_u64() > Some(1000));
    let told = user.ok(&["status"]);
    assert!(told.contains("History was folded up to Time"), "{told}");
    assert_eq!(rows(&user, "select * from sold"), sold);
    // A view that is new begins with what the history came to.
    user.ok(&["sql", "create view again as select id, status from orders"]);
    assert_eq!(rows(&user, "select * from again"), orders);
    assert_eq!(running.end_by(Signal::Terminate).code, Some(0));

    let after = stat(&user);
    assert!(after["bytes"].as_u64() < before["bytes"].as_u64().map(|bytes| bytes / 2), "{after}");
    let bases = after["bases"].as_array().unwrap();
    assert!(bases.iter().any(|base| base["table"] == "shop.orders"), "{bases:?}");
    assert_eq!(rows(&user, "select * from sold"), sold, "at rest");
    user.ok(&["run", "--once"]);
    assert_eq!(rows(&user, "select * from orders_now"), orders, "after a start");

    // The proofs: those handed out, those of what is kept, and those of what is not.
    let told = user.ok(&["verify", "--proof", "20.tlog-proof"]);
    assert!(told.contains("ok: the transaction at Time 20"), "{told}");
    let told = user.ok(&["verify"]);
    assert!(told.contains("is what a transaction says of it"), "{told}");
    assert!(told.contains("are pruned"), "{told}");
    let refused = user.evert(&["prove", "--time", "20"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("error[LOG014]"), "{}", refused.stderr);
    let last = (after["upper"].as_u64().unwrap() - 1).to_string();
    user.ok(&["prove", "--time", &last]);
    let cat = user.evert(&["log", "cat", "--table", "orders"]);
    assert!(cat.stderr.contains("the changes of shop.orders up to Time"), "{}", cat.stderr);
    let trace = user.evert(&["log", "trace", "20"]);
    assert!(trace.stderr.contains("error[LOG014]"), "{}", trace.stderr);
    assert!(user.ok(&["log", "cat", "--table", "folds"]).contains("\"table\":\"orders\""));
}

#[test]
fn a_history_that_is_none_is_refused_and_one_may_differ_from_table_to_table() {
    let mut user = User::new();
    user.set("EVERT_SEGMENT_BYTES", "16384");
    let refused = user.evert(&["run", "--once", "--history", "7 moons"]);
    assert!(refused.stderr.contains("'7 days'"), "{}", refused.stderr);
    user.write("bad.sql", "create source s from 'demo' with (limit = 1, history = 'long');");
    let refused = user.evert(&["run", "--once", "bad.sql"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let refused = user.evert(&["sql", "create table t (id int) with (history = 'long')"]);
    assert!(refused.stderr.contains("'7 days'"), "{}", refused.stderr);

    user.ok(&["sql", "create table kept (id int primary key, note text)"]);
    user.ok(&[
        "sql",
        "create table short (id int primary key, note text) with (history = '0 seconds')",
    ]);
    for step in 0..12 {
        let note = format!("{step}-{}", noise(step));
        let set =
            |table: &str| format!("delete from {table}; insert into {table} values (1, '{note}');");
        user.ok(&["sql", &(set("kept") + &set("short"))]);
    }
    let of = |table: &str| user.ok(&["log", "cat", "--table", table]).lines().count();
    let (kept, short) = (of("kept"), of("short"));
    let mut running = user.start(&["run"]);
    running.until("history is folded", |_| stat(&user)["since"] != 0);
    running.until("room is given back", |_| of("short") < short / 2);
    assert_eq!(of("kept"), kept, "the other table has its history");
    running.end_by(Signal::Terminate);
    let told = user.ok(&["sql", "select id, left(note, 3) as begins from short"]);
    assert!(told.contains("11-"), "{told}");
    user.ok(&["verify"]);
}
