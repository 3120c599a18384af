//! The command line as its users meet it: what is printed where, which exit code comes back, and what is said when
//! something is wrong.
//!
//! No server is needed here: the input is a file, standard input or the demo.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use serde_json::Value;
use servers::Signal;

use crate::user::{Job, User};

/// Everything that can be asked of the command.
const COMMANDS: [&[&str]; 17] = [
    &["run"],
    &["demo"],
    &["query"],
    &["search"],
    &["status"],
    &["log"],
    &["log", "cat"],
    &["log", "tail"],
    &["log", "stat"],
    &["log", "trace"],
    &["prove"],
    &["verify"],
    &["witness"],
    &["plan"],
    &["sql"],
    &["test"],
    &["drop"],
];

/// A source that never ends: it waits for lines to be appended.
const FOLLOWED: &str = "\
create source events from 'events.ndjson'
  (follow = 'true', columns = 'id bigint, country text, price numeric(10,2)', key = 'id');
create view by_country as
  from events |> aggregate count(*) as n, sum(price) as total group by country |> order by country;
create view words as from events |> select id, country;
create sink words_search from words into 'search';
";

const THREE_EVENTS: &str = "\
{\"id\":1,\"country\":\"de\",\"price\":1.50}
{\"id\":2,\"country\":\"fr\",\"price\":null}
{\"id\":3,\"country\":\"de\",\"price\":2.25}
";

/// A user whose process follows three events.
fn following() -> (User, Job) {
    let user = User::new();
    user.write("events.ndjson", THREE_EVENTS);
    user.write("events.sql", FOLLOWED);
    let mut job = user.start(&["run", "events.sql"]);
    until_there_are(&user, &mut job, 3);
    (user, job)
}

fn until_there_are(user: &User, job: &mut Job, events: u64) {
    let all = format!("{{\"n\":{events}}}\n");
    let count = ["query", "-o", "ndjson", "select count(*) as n from words"];
    job.until("all events are in the view", |_| user.evert(&count).stdout == all);
    let status = ["status", "-o", "json"];
    let is_even = |status: &Value| status["sinks"][0]["behind_transactions"] == 0;
    job.until("the index has them", |_| {
        serde_json::from_str(&user.evert(&status).stdout).is_ok_and(|status| is_even(&status))
    });
}

/// Plans a script and compares what is said of it.
#[track_caller]
fn check_refused(script: &str, expected: Expect) {
    let user = User::new();
    user.write("events.csv", "id,country,price\n1,de,1.50\n");
    let ended = user.evert(&["plan", script]);
    expected.assert_eq(&ended.stderr);
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stdout, "");
}

#[test]
fn every_command_explains_itself() {
    let user = User::new();
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let text = user.ok(&[command, &[flag]].concat());
            let usage = format!("Usage: evert {}", command.join(" "));
            assert!(text.contains(&usage), "{text}");
        }
    }
    let text = user.ok(&["--help"]);
    for command in COMMANDS {
        assert!(text.contains(&format!("\n  {} ", command[0])), "{} in\n{text}", command[0]);
    }
    let nothing = user.evert(&[]);
    assert_eq!((nothing.code, &*nothing.stdout), (Some(2), ""));
    assert!(nothing.stderr.contains("Usage: evert"), "{}", nothing.stderr);
    assert!(user.ok(&["--version"]).starts_with("evert 0."));
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_documentation() {
    let help = User::new().ok(&["--help"]);
    let operations = include_str!("../../../../docs/operations.md");
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let codes: Vec<&str> = codes.lines().collect();
    assert_eq!(codes.len(), 9);
    for code in codes {
        let (code, means) = code.trim().split_once("  ").unwrap();
        assert!(operations.contains(&format!("| {code} | {means} |")), "{code}: {means}");
    }
}

#[test]
fn all_mistakes_of_a_script_are_told_at_once_with_their_places() {
    check_refused(
        "events.csv | where pric > 1 | select idd",
        expect![[r#"
            error[SQL011]: there is no column pric
               ╭─[script:1:20]
             1 │ events.csv | where pric > 1 | select idd
               ·                    ──┬─
               ·                      ╰── not known
               ╰────
              help: did you mean price?

            error[SQL011]: there is no column idd
               ╭─[script:1:38]
             1 │ events.csv | where pric > 1 | select idd
               ·                                      ─┬─
               ·                                       ╰── not known
               ╰────
              help: did you mean id?
        "#]],
    );
}

#[test]
fn a_mistake_in_a_file_is_told_with_the_files_name_and_line() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    let script =
        "create source events from 'events.csv';\n\ncreate view v as\n  select id from evens;\n";
    user.write("my.sql", script);
    for command in ["plan", "run"] {
        let ended = user.evert(&[command, "my.sql"]);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("[my.sql:4:18]"), "{}", ended.stderr);
        assert!(ended.stderr.contains("did you mean events.events?"), "{}", ended.stderr);
    }
}

#[test]
fn a_source_with_several_tables_needs_a_choice() {
    let user = User::new();
    for (pipe, place) in [("demo | where price > 1 | stdout", "1:1"), ("demo | stdout", "1:8")] {
        let ended = user.evert(&["run", "--once", pipe]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("error[SQL013]: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("[script:{place}]")), "{}", ended.stderr);
        let tables = "`from TABLE`";
        assert!(ended.stderr.contains(tables), "{}", ended.stderr);
        assert!(ended.stderr.contains("customers, order_items, orders, products"));
    }
}

#[test]
fn what_was_probably_meant_is_suggested() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    user.ok(&["run", "--once", "events.csv | select id | numbers.ndjson"]);
    for (arguments, code, suggestion) in [
        (&["querry", "select 1"][..], 2, "similar subcommand exists: 'query'"),
        (&["plan", "events.csv | wehre id > 1"], 2, "where"),
        (&["plan", "events.csv | extend uper(country) as c"], 2, "upper"),
        (&["plan", "events.csv (delimeter = ',') | stdout"], 2, "did you mean delimiter?"),
        (&["query", "select * from number"], 2, "did you mean \"numbers\"?"),
        (&["query", "select idd from numbers"], 2, "did you mean \"id\"?"),
        (&["drop", "nubers"], 2, "view numbers"),
    ] {
        let ended = user.evert(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}\n{}", ended.stderr);
        assert!(ended.stderr.contains(suggestion), "{arguments:?}\n{}", ended.stderr);
    }
}

#[test]
fn whatever_is_missing_is_told_with_what_to_do_and_its_exit_code() {
    let user = User::new();
    for (arguments, code, error, help) in [
        (&["status"][..], 2, "error[EVT001]: there is no Evert data in .evert", "--data DIR"),
        (&["run"], 2, "error[EVT001]: there is nothing to run in .evert", "give a pipe"),
        (&["run", "none.sql"], 1, "error[EVT003]: cannot read the script none.sql", "No such file"),
        (
            &["run", "--once", "none.csv | stdout"],
            3,
            "error[SRC009]: source none: /",
            "/none.csv: No such file",
        ),
        (&["run", "--once", "mysql://h/d | stdout"], 2, "error[SRC011]: ", "postgres://"),
        (&["search", "v", "words"], 2, "error[VIEW010]", "into `search`"),
    ] {
        let ended = user.evert(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}\n{}", ended.stderr);
        assert!(ended.stderr.starts_with(error), "{arguments:?}\n{}", ended.stderr);
        assert!(ended.stderr.contains(help), "{arguments:?}\n{}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_query_gives_the_same_beside_a_running_process_and_at_rest() {
    let (user, job) = following();
    let sql = "select country, n, total from by_country order by country";
    let mut answers = Vec::new();
    for format in ["json", "ndjson", "csv", "table"] {
        answers.push((format, user.ok(&["query", "-o", format, sql])));
    }
    assert_eq!(job.end_by(Signal::Terminate).code, Some(0));
    for (format, running) in &answers {
        assert_eq!(&user.ok(&["query", "-o", format, sql]), running, "{format}");
    }
    expect![[r#"
        [{"country":"de","n":2,"total":3.75},{"country":"fr","n":1,"total":null}]
        {"country":"de","n":2,"total":3.75}
        {"country":"fr","n":1,"total":null}
        country,n,total
        de,2,3.75
        fr,1,
         country   n   total
        ─────────────────────
         de        2    3.75
         fr        1

        2 rows
    "#]]
    .assert_eq(&answers.iter().map(|(_, text)| text.as_str()).collect::<String>());
}

#[test]
fn a_search_gives_the_same_beside_a_running_process_and_at_rest() {
    let (user, job) = following();
    let forms = ["json", "ndjson", "csv", "table"];
    let search = |format: &str| user.ok(&["search", "-o", format, "words", "fr"]);
    let running: Vec<String> = forms.iter().map(|format| search(format)).collect();
    assert_eq!(job.end_by(Signal::Terminate).code, Some(0));
    let at_rest: Vec<String> = forms.iter().map(|format| search(format)).collect();
    assert_eq!(running, at_rest);
    expect![[r#"
        [{"id":2,"country":"fr"}]
        {"id":2,"country":"fr"}
        id,country
        2,fr
         id   country
        ──────────────
         2    fr

        1 row
    "#]]
    .assert_eq(&running.concat());
    assert_eq!(user.ok(&["search", "--limit", "1", "words", "de"]).lines().count(), 1);
    assert_eq!(user.ok(&["search", "words", "nowhere"]), "");
}

#[test]
fn the_status_says_the_same_of_a_running_process_and_at_rest() {
    let (user, job) = following();
    let status = || -> Value { serde_json::from_str(&user.ok(&["status", "-o", "json"])).unwrap() };
    let running = status();
    let table = user.ok(&["status"]);
    assert!(table.starts_with("Running for "), "{table}");
    assert_eq!(job.end_by(Signal::Interrupt).code, Some(0));
    let at_rest = status();
    assert!(user.ok(&["status"]).starts_with("Not running, at Time "));
    assert_eq!(running["time"], at_rest["time"]);
    assert_eq!(running["log"]["id"], at_rest["log"]["id"]);
    assert_eq!(running["log"]["upper"], at_rest["log"]["upper"]);
    assert_eq!(running["sources"][0]["position"], at_rest["sources"][0]["position"]);
    assert_eq!(running["sinks"][0]["held"], at_rest["sinks"][0]["held"]);
    for view in [0, 1] {
        assert_eq!(running["views"][view]["name"], at_rest["views"][view]["name"]);
        assert_eq!(running["views"][view]["row_count"], at_rest["views"][view]["row_count"]);
        assert_eq!(running["views"][view]["searchable"], at_rest["views"][view]["searchable"]);
    }
    assert_eq!(running["sources"][0]["phase"], "streaming");
    assert_eq!(at_rest["sources"][0]["detail"], "not running");
}

#[test]
fn the_log_can_be_looked_into_beside_a_running_process() {
    let (user, job) = following();
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let text = user.ok(&[&["log", "tail"], arguments].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&["--after", "0"]);
    let times: Vec<u64> = all.iter().map(|line| line["time"].as_u64().unwrap()).collect();
    assert!(times.iter().enumerate().all(|(at, &time)| time == at as u64 + 1), "{times:?}");
    assert_eq!(lines(&["-n", "1"]), all[all.len() - 1..]);
    assert_eq!(lines(&["--after", "1"]), all[1..]);
    let events = all.iter().filter_map(|line| line["rows"]["events.events"].as_u64()).sum::<u64>();
    assert_eq!(events, 3);

    let stat: Value = serde_json::from_str(&user.ok(&["log", "stat", "-o", "json"])).unwrap();
    assert_eq!(stat["upper"], times.len() as u64 + 1);
    assert_eq!(stat["transactions"], times.len());
    let table = user.ok(&["log", "stat"]);
    assert!(table.contains("transactions") && table.contains(&format!("1 to {}", times.len())));
    drop(job);
}

#[test]
fn a_followed_log_shows_what_comes_and_ends_when_nobody_reads() {
    let (user, mut job) = following();
    let mut tail = user.start(&["log", "tail", "-n", "1", "--follow"]);
    tail.until("it shows the last one", |tail| tail.stdout().lines().count() == 1);
    user.append("events.ndjson", "{\"id\":4,\"country\":\"it\",\"price\":1}\n");
    until_there_are(&user, &mut job, 4);
    tail.until("the new event is shown", |tail| {
        tail.stdout().lines().skip(1).any(|line| line.contains("\"events.events\":1"))
    });
    assert_eq!(tail.end_by(Signal::Interrupt).code, Some(0));
    let ended = user.shell("timeout 30 evert log tail --after 0 --follow | head -n 1");
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn a_pipe_from_standard_input_to_standard_output_is_a_filter() {
    let user = User::new();
    let input = "{\"country\":\"de\"}\n{\"country\":\"fr\"}\n{\"country\":\"de\"}\n";
    let pipe = "stdin | aggregate count(*) as events group by country | order by country | stdout";
    let ended = user.filter(&["run", pipe], input);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stdout,
        "{\"country\":\"de\",\"events\":2}\n{\"country\":\"fr\",\"events\":1}\n"
    );
    assert!(!user.dir().join(".evert").exists(), "a filter leaves nothing behind");
}

#[test]
fn a_line_that_cannot_be_read_is_told_and_stops_nothing() {
    let user = User::new();
    let input = "{\"a\":1}\n{\"a\":\n{\"a\":2}\n";
    let ended = user.filter(&["run", "stdin | aggregate sum(a) as total | stdout"], input);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "{\"total\":3}\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("warning: stdin: line 2 was not taken in"), "{}", ended.stderr);
}

#[test]
fn a_csv_file_is_read_once_with_inferred_or_declared_columns() {
    let user = User::new();
    user.write("events.csv", "id,zip,price\n1,01234,1.25\n2,99999,\n");
    let inferred = user.ok(&["run", "--once", "--data", "a", "events.csv | stdout"]);
    assert_eq!(
        inferred,
        "{\"id\":1,\"zip\":\"01234\",\"price\":1.25}\n{\"id\":2,\"zip\":\"99999\",\"price\":null}\n"
    );
    let pipe = "events.csv (columns = 'id bigint, zip bigint') | select zip, id | stdout";
    let declared = user.ok(&["run", "--once", "--data", "b", pipe]);
    assert_eq!(declared, "{\"zip\":1234,\"id\":1}\n{\"zip\":99999,\"id\":2}\n");
}

#[test]
fn a_run_from_another_directory_goes_on_with_the_same_files() {
    let (user, other) = (User::new(), User::new());
    user.write("events.csv", "id,country\n1,de\n");
    user.ok(&["run", "--once", "events.csv | select id | ids.ndjson"]);
    user.append("events.csv", "2,fr\n");
    let data = user.dir().join(".evert");
    other.write("events.csv", "id,country\n7,it\n");
    other.ok(&["run", "--once", "--data", data.to_str().unwrap()]);
    assert_eq!(user.read("ids.ndjson"), "{\"id\":1}\n{\"id\":2}\n");
    assert!(!other.dir().join("ids.ndjson").exists());
    // The same pipe means the same in its own directory.
    user.ok(&["run", "--once", "events.csv | select id | ids.ndjson"]);
    let shown = user.ok(&["plan", "events.csv | select id | ids.ndjson"]);
    assert!(shown.starts_with("create source events from 'events.csv';"), "{shown}");
}

#[test]
fn a_run_without_a_pipe_goes_on_with_what_the_directory_knows() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    user.ok(&["run", "--once", "events.csv | select id | ids.ndjson"]);
    assert_eq!(user.read("ids.ndjson"), "{\"id\":1}\n");
    user.append("events.csv", "2,fr\n");
    user.ok(&["run", "--once"]);
    assert_eq!(user.read("ids.ndjson"), "{\"id\":1}\n{\"id\":2}\n");
}

#[test]
fn a_script_that_was_printed_by_plan_means_the_same_as_its_pipe() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n2,fr\n3,de\n");
    let pipe =
        "events.csv | aggregate count(*) as n group by country | order by country | counts.ndjson";
    let planned = user.ok(&["plan", pipe]);
    expect![[r#"
        create source events from 'events.csv';

        create view counts as
          from events
          |> aggregate count(*) as n group by country
          |> order by country;

        create sink counts_to_file from counts into 'counts.ndjson';

        -- how counts is maintained
        view counts(country Utf8, n Int64) key (country) order by country
        operator                                place
        └─ aggregate count(*) group by country  counts 3:6  aggregate count(*) as n group by country
           └─ table events.events (country)     counts 2:3  from events
    "#]]
    .assert_eq(&planned);
    assert!(!user.dir().join(".evert").exists(), "planning leaves nothing behind");
    let (script, _) = planned.split_once("\n-- how").unwrap();
    user.write("counts.sql", script);
    user.ok(&["run", "--once", "counts.sql"]);
    let counts = "{\"country\":\"de\",\"n\":2}\n{\"country\":\"fr\",\"n\":1}\n";
    assert_eq!(user.read("counts.ndjson"), counts);
    // The same words again are no other statement.
    user.ok(&["run", "--once", "counts.sql"]);
}

#[test]
fn another_statement_of_a_taken_name_is_refused_and_changes_nothing() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    user.ok(&["run", "--once", "events.csv | select id | ids.ndjson"]);
    let ended = user.evert(&["run", "--once", "create view ids as select country from events"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with("error[SQL014]"), "{}", ended.stderr);
    assert!(ended.stderr.contains("evert drop ids"), "{}", ended.stderr);
    assert_eq!(user.ok(&["query", "select * from ids"]), "{\"id\":1}\n");
}

#[test]
fn what_others_need_is_dropped_last() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    user.ok(&["run", "--once", "events.csv | select id, country | search"]);
    for needed in ["events", "result"] {
        let ended = user.evert(&["drop", needed]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("still needed"), "{}", ended.stderr);
    }
    assert!(user.dir().join(".evert/search/result").is_dir());
    assert_eq!(user.ok(&["drop", "result_to_search"]), "dropped sink result_to_search\n");
    assert!(!user.dir().join(".evert/search/result").exists());
    assert_eq!(user.ok(&["drop", "result"]), "dropped view result\n");
    assert_eq!(user.ok(&["drop", "events"]), "dropped source events\n");
    let ended = user.evert(&["run", "--once"]);
    assert!(ended.stderr.contains("there is nothing to run"), "{}", ended.stderr);
}

#[test]
fn an_interrupt_ends_a_run_cleanly_and_the_next_goes_on() {
    let (user, mut job) = following();
    for (event, signal) in [(4, Signal::Interrupt), (5, Signal::Terminate)] {
        let line = format!("{{\"id\":{event},\"country\":\"it\",\"price\":0}}\n");
        user.append("events.ndjson", &line);
        until_there_are(&user, &mut job, event);
        let begun = Instant::now();
        let ended = job.end_by(signal);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        job = user.start(&["run"]);
        until_there_are(&user, &mut job, event);
        // Rows are also read at rest: they do not say that the process has come so far.
        job.until("it says where it goes on", |job| {
            job.stderr().contains("events: going on from line")
        });
    }
    let transactions = user.ok(&["log", "tail", "--after", "0"]);
    let rows = transactions.lines().filter(|line| line.contains("\"events.events\":")).count();
    assert_eq!(rows, 3, "each line of the file was taken once:\n{transactions}");
}

#[test]
fn an_interrupt_ends_a_run_that_waits_for_a_server() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    let nowhere = format!("postgres://me@127.0.0.1:{}/db", servers::free_port().unwrap());
    for pipe in [
        format!("{nowhere} | from orders | stdout"),
        format!("events.csv (key = id) | {nowhere}/events"),
    ] {
        let mut job = user.start(&["run", "--data", &pipe[..8], &pipe]);
        job.until("it says that it waits", |job| job.stderr().contains("trying again"));
        let ended = job.end_by(Signal::Terminate);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn two_sinks_with_one_target_are_refused() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    user.ok(&["run", "--once", "events.csv | select id | ids.ndjson"]);
    let ended = user.evert(&["run", "--once", "events.csv | select country | ids.ndjson"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("write to the same target"), "{}", ended.stderr);
    // What was refused is not remembered.
    user.append("events.csv", "2,fr\n");
    user.ok(&["run", "--once"]);
    assert_eq!(user.read("ids.ndjson"), "{\"id\":1}\n{\"id\":2}\n");
}

#[test]
fn a_second_process_is_refused_with_the_first_ones_id() {
    let (user, job) = following();
    for arguments in [&["run", "--once"][..], &["drop", "words_search"]] {
        let ended = user.evert(arguments);
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        let error = "error[EVT002]: the data directory .evert is in use by process ";
        assert!(ended.stderr.starts_with(error), "{}", ended.stderr);
        assert!(ended.stderr.contains("help: "), "{}", ended.stderr);
    }
    // Views go while a process runs, and the process says why this one does not.
    let ended = user.evert(&["drop", "words"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("needed by sink words_search"), "{}", ended.stderr);
    drop(job);
}

#[test]
fn messages_for_machines_are_json_lines() {
    let user = User::new();
    user.write("events.csv", "id,country\n1,de\n");
    let good = user.evert(&["--json", "run", "--once", "events.csv | stdout"]);
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    let bad = user.evert(&["run", "--once", "--json", "events.csv | select idd, wrong | stdout"]);
    assert_eq!(bad.code, Some(2));
    let lines = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert!(lines(&good.stderr).iter().any(|line| line["source"] == "events"), "{}", good.stderr);
    let errors: Vec<Value> =
        lines(&bad.stderr).into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 2, "one for each mistake: {}", bad.stderr);
    assert_eq!(errors[0]["code"], "SQL011");
    assert_eq!(errors[0]["help"], "did you mean id?");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command() {
    let user = User::new();
    let lines: String = (0..50_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    user.write("numbers.ndjson", &lines);
    for line in [
        "cat numbers.ndjson | evert run 'stdin | stdout' | head -n 1",
        "timeout 30 evert run 'numbers.ndjson (follow = $$true$$) | stdout' | head -n 1",
        "evert query 'select * from numbers_copy' | head -n 1",
    ] {
        if line.contains("query") {
            user.ok(&["run", "--once", "--data", ".evert", "numbers.ndjson | numbers_copy.ndjson"]);
        }
        let ended = user.shell(line);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert_eq!(ended.code, Some(0), "{line}: {last}");
        assert!(!ended.stderr.contains("error"), "{line}: {last}");
        assert_eq!(ended.stdout.lines().count(), 1, "{line}: {last}");
    }
}

#[test]
fn changes_are_told_with_their_difference_and_time() {
    let user = User::new();
    user.write("events.ndjson", "{\"id\":1,\"country\":\"de\"}\n");
    let options = "follow = $$true$$, key = $$id$$, columns = $$id bigint, country text$$";
    let pipe = format!("events.ndjson ({options}) | stdout");
    let mut job = user.start(&["run", &pipe]);
    job.until("the first row is printed", |job| job.stdout().lines().count() == 1);
    user.append("events.ndjson", "{\"id\":1,\"country\":\"fr\"}\n");
    job.until("the change is printed", |job| job.stdout().lines().count() == 3);
    let lines: Vec<Value> =
        job.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = |line: &Value| (line["_diff"].as_i64().unwrap(), line["country"].clone());
    assert_eq!(shown(&lines[0]), (1, "de".into()));
    assert_eq!(shown(&lines[1]), (-1, "de".into()));
    assert_eq!(shown(&lines[2]), (1, "fr".into()));
    assert_eq!(lines[1]["_time"], lines[2]["_time"], "one change, one Time");
    assert!(lines[0]["_time"].as_u64() < lines[1]["_time"].as_u64());
    assert_eq!(job.end_by(Signal::Interrupt).code, Some(0));
}
