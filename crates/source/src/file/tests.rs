//! Tests of file sources, from bytes to transactions.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::watch;

use super::FileSource;
use crate::testing::{MemoryIntake, Ran, check_conformance, config, run, run_url};
use crate::{End, Intake, Phase, Progress, Resume, RunOptions, SourceError};

/// A file in a directory of its own.
struct Input {
    _dir: TempDir,
    path: PathBuf,
}

impl Input {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { _dir: dir, path }
    }

    fn url(&self) -> &str {
        self.path.to_str().unwrap()
    }

    async fn run(&self, options: &[(&str, &str)]) -> Result<Ran, SourceError> {
        run_url(self.url(), options, Resume::default()).await
    }
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn show_error(error: &SourceError) -> String {
    format!("{}: {error}\n{}\n", error.code(), error.help().unwrap_or_default())
}

async fn check_columns(name: &str, text: &str, expected: Expect) {
    let ran = Input::new(name, text).run(&[]).await.unwrap();
    expected.assert_eq(&ran.show_columns());
}

#[tokio::test]
async fn columns_of_ndjson_are_inferred() {
    check_columns(
        "t.ndjson",
        r#"{"int": 1, "num": 1, "big": 1, "bool": true, "day": "2024-02-29", "at": "2024-02-29T12:00:00Z"}
           {"int": -9223372036854775808, "num": 0.10, "big": 1e70, "bool": null, "local": "2024-02-29 12:00"}
           {"doc": {"a": [1.50]}, "list": [1], "mixed": 1, "text": "1", "never": null}
           {"mixed": "one", "local": "2024-03-01", "word": "infinity", "zones": "2024-01-01 00:00"}
           {"zones": "2024-01-01 00:00+01"}"#,
        expect![[r#"
            int: Int64
            num: Decimal256(76, 18) (numeric)
            big: Utf8
            bool: Boolean
            day: Date32
            at: Timestamp(µs, "UTC")
            local: Timestamp(µs)
            doc: Utf8 (json)
            list: Utf8 (json)
            mixed: Utf8
            text: Utf8
            never: Utf8
            word: Utf8
            zones: Utf8
        "#]],
    )
    .await;
}

#[tokio::test]
async fn columns_of_csv_are_inferred() {
    check_columns(
        "t.csv",
        "id,price,zip,phone,active,at,note,\n1,9.90,01234,+49123,TRUE,2024-01-01,\"1\",x\n2,,,,false,,,\n",
        expect![[r"
            id: Int64
            price: Decimal256(76, 18) (numeric)
            zip: Utf8
            phone: Utf8
            active: Boolean
            at: Date32
            note: Int64
            c8: Utf8
        "]],
    )
    .await;
}

#[tokio::test]
async fn values_arrive_with_all_their_digits() {
    let text = r#"
        {"id": 9007199254740993, "amount": 12345678901234567890.123456789012345678, "doc": {"n": 1.10}}
        {"id": 2, "amount": 0.1, "doc": "a\u00e9\n"}
    "#;
    let ran = Input::new("t.ndjson", text).run(&[]).await.unwrap();
    expect![[r#"
        +------------------+-----------------------------------------+-------------+
        | id               | amount                                  | doc         |
        +------------------+-----------------------------------------+-------------+
        | 9007199254740993 | 12345678901234567890.123456789012345678 | {"n": 1.10} |
        | 2                | 0.100000000000000000                    | aé          |
        |                  |                                         |             |
        +------------------+-----------------------------------------+-------------+"#]]
    .assert_eq(&ran.show("t"));
}

#[tokio::test]
async fn bad_lines_become_dead_letters_and_stop_nothing() {
    let mut bytes =
        b"{\"id\": 1, \"n\": 1}\n{\"id\": 2, \"n\": \"x\"}\r\n\n{\"id\": 3,\n[4]\n".to_vec();
    bytes.extend_from_slice(b"{\"id\": \"\xff\"}\n{\"id\": 99999999999999999999}\n{\"id\": 8} x\n");
    bytes.extend_from_slice(
        b"{\"id\": 9, \"n\": {\"a\": 1}}\n{\"id\": 10, \"new\": 1, \"id\": 11}\n{\"n\": 12}",
    );
    let input = Input::new("t.ndjson", bytes);
    let options = &[("columns", "id bigint, n bigint"), ("key", "id")];
    let ran = input.run(options).await.unwrap();
    expect![[r#"
        +----+---+
        | id | n |
        +----+---+
        | 1  | 1 |
        | 11 |   |
        +----+---+
        +--------+-------+---------+--------------------------------------------------------------+------------------------------+
        | source | table | place   | reason                                                       | raw                          |
        +--------+-------+---------+--------------------------------------------------------------+------------------------------+
        | s      | t     | line 2  | column n: 'x' is no bigint                                   | {"id": 2, "n": "x"}          |
        | s      | t     | line 4  | malformed JSON: EOF while parsing a value at column 9        | {"id": 3,                    |
        | s      | t     | line 5  | not a JSON object                                            | [4]                          |
        | s      | t     | line 6  | not UTF-8: invalid utf-8 sequence of 1 bytes from index 8    | {"id": "�"}                  |
        | s      | t     | line 7  | column id: '99999999999999999999' is out of range for bigint | {"id": 99999999999999999999} |
        | s      | t     | line 8  | malformed JSON: trailing characters at column 11             | {"id": 8} x                  |
        | s      | t     | line 9  | column n: '{"a": 1}' is a nested value                       | {"id": 9, "n": {"a": 1}}     |
        | s      | t     | line 11 | the key column id has no value                               | {"n": 12}                    |
        +--------+-------+---------+--------------------------------------------------------------+------------------------------+"#]]
    .assert_eq(&format!("{}\n{}", ran.show("t"), ran.show("dead_letters")));
    assert_eq!(ran.progress.report().dead_letters, 8);
    assert_eq!(ran.progress.report().phase, Phase::Ended);
    check_conformance(input.url(), options).await;
}

#[tokio::test]
async fn csv_is_read_with_its_quotes_nulls_and_bad_records() {
    let text = "\u{feff}name,\"the, note\",n\r\n\"a\"\"b\",\"two\nlines\",1\r\n,\"\",2\r\nonly,two\r\n\
                x,y,z\r\n\"a\"b,c,3\r\n5\" disk,ok,4";
    let input = Input::new("Web Log-1.csv", text);
    let options = &[("columns", "n int, name text, \"the, note\" text")];
    let ran = input.run(options).await.unwrap();
    expect![[r#"
        +---+---------+-----------+
        | n | name    | the, note |
        +---+---------+-----------+
        | 1 | a"b     | two       |
        |   |         | lines     |
        | 2 |         |           |
        | 4 | 5" disk | ok        |
        +---+---------+-----------+
        +--------+-----------+--------+-----------------------------+----------+
        | source | table     | place  | reason                      | raw      |
        +--------+-----------+--------+-----------------------------+----------+
        | s      | web_log_1 | line 5 | 2 fields instead of 3       | only,two |
        | s      | web_log_1 | line 6 | column n: 'z' is no integer | x,y,z    |
        | s      | web_log_1 | line 7 | text behind a closing quote | "a"b,c,3 |
        +--------+-----------+--------+-----------------------------+----------+"#]]
    .assert_eq(&format!("{}\n{}", ran.show("web_log_1"), ran.show("dead_letters")));
    check_conformance(input.url(), options).await;
}

#[tokio::test]
async fn csv_dialects_are_options() {
    let input = Input::new("t.txt", "1;\\N;2024-01-01\n2;;\\N\n");
    let options = &[("format", "csv"), ("delimiter", ";"), ("null", "\\N"), ("header", "false")];
    let ran = input.run(options).await.unwrap();
    expect![[r"
        +----+----+------------+
        | c1 | c2 | c3         |
        +----+----+------------+
        | 1  |    | 2024-01-01 |
        | 2  |    |            |
        +----+----+------------+"]]
    .assert_eq(&ran.show("t"));
    check_conformance(input.url(), options).await;
}

#[tokio::test]
async fn large_files_give_the_same_groups_and_resume_behind_each() {
    let mut text = String::from("id,text\n");
    for id in 0..150_000 {
        match id % 1_000 {
            999 => writeln!(text, "{id}").unwrap(),
            _ => writeln!(text, "{id},\"text, number\n{id}\"").unwrap(),
        }
    }
    let input = Input::new("t.csv", text);
    let ran = check_conformance(input.url(), &[("key", "id")]).await;
    assert!(ran.groups.len() > 2, "several groups");
    assert_eq!(ran.groups.iter().map(change::TransactionGroup::rows).sum::<usize>(), 150_001);
}

#[tokio::test]
async fn a_file_that_grew_is_read_on_where_it_was_left() {
    let input = Input::new("t.ndjson", "{\"id\": 1}\n");
    let first = input.run(&[]).await.unwrap();
    append(&input.path, "{\"id\": 2}\n{\"id\": x}\n");
    let second = run_url(input.url(), &[], first.resume_behind(1)).await.unwrap();
    expect![[r"
        +----+
        | id |
        +----+
        | 2  |
        +----+"]]
    .assert_eq(&second.show("t"));
    assert!(second.show("dead_letters").contains("line 3"), "{}", second.show("dead_letters"));
}

#[tokio::test]
async fn a_replaced_file_is_refused() {
    let input = Input::new("t.ndjson", "{\"id\": 1}\n{\"id\": 2}\n");
    let ran = input.run(&[]).await.unwrap();
    std::fs::write(&input.path, "{\"id\": 1}\n").unwrap();
    let shorter = run_url(input.url(), &[], ran.resume_behind(1)).await.unwrap_err();
    std::fs::write(&input.path, "{\"id\": 3}\n{\"id\": 4}\n{\"id\": 5}\n").unwrap();
    let other = run_url(input.url(), &[], ran.resume_behind(1)).await.unwrap_err();
    std::fs::remove_file(&input.path).unwrap();
    let gone = run_url(input.url(), &[], ran.resume_behind(1)).await.unwrap_err();
    assert_eq!([shorter.code(), other.code(), gone.code()], ["SRC013", "SRC013", "SRC009"]);
    let shown = show_error(&other);
    assert!(shown.contains("its beginning is not what was read before"), "{shown}");
}

#[tokio::test]
async fn a_changed_declaration_is_refused() {
    let input = Input::new("t.csv", "id,n\n1,2\n");
    let ran = input.run(&[]).await.unwrap();
    for options in [[("columns", "id text")], [("key", "id")], [("table", "other")]] {
        let error = run_url(input.url(), &options, ran.resume_behind(1)).await.unwrap_err();
        assert_eq!(error.code(), "SRC007", "{error}");
    }
}

#[tokio::test]
async fn wrong_options_are_refused_with_help() {
    let input = Input::new("t.csv", "id,n\n1,2\n");
    let empty = Input::new("e.ndjson", "\n\n");
    let mut shown = String::new();
    for options in [
        [("delimeter", ";")],
        [("key", "idd")],
        [("columns", "ids bigint")],
        [("format", "xml")],
        [("header", "maybe")],
        [("append", "true")],
    ] {
        shown += &show_error(&input.run(&options).await.unwrap_err());
    }
    shown += &show_error(&empty.run(&[]).await.unwrap_err()).replace(empty.url(), "e.ndjson");
    let unknown = crate::open(config("mongodb://x", &[])).err().unwrap();
    shown += &show_error(&unknown);
    expect![[r#"
        SRC012: option delimeter: this source has no such option
        did you mean delimiter?
        SRC012: option key: there is no column idd
        did you mean id?
        SRC012: option columns: the file's header has no column ids
        did you mean id?
        SRC012: option format: 'xml' is not known
        write format = 'ndjson' or format = 'csv'
        SRC012: option header: 'maybe' is neither true nor false
        write header = 'true' or header = 'false'
        SRC012: option append: only stdin has it
        leave it out: a file is read on where it was left
        SRC015: e.ndjson has no record from which its columns could be inferred
        declare them: columns = 'id bigint, name text'
        SRC011: 'mongodb://x' is not a source
        a source is postgres://…, a file (.ndjson, .jsonl, .csv), stdin or demo
    "#]]
    .assert_eq(&shown);
}

#[tokio::test]
async fn standard_input_is_read_once() {
    let text = "{\"id\": 1}\n{\"id\": 2}";
    let source = |options: &[(&str, &str)]| {
        FileSource::with_stdin(config("stdin", options), Cursor::new(text)).unwrap()
    };
    let ran = run(&mut source(&[]), Resume::default()).await.unwrap();
    assert_eq!(ran.groups.len(), 1);
    assert_eq!(ran.groups[0].rows(), 2);
    let again = run(&mut source(&[]), ran.resume_behind(1)).await.unwrap_err();
    assert_eq!(again.code(), "SRC013");
    let appended = run(&mut source(&[("append", "true")]), ran.resume_behind(1)).await.unwrap();
    let position = appended.resume_behind(1).position.unwrap();
    assert_eq!(position.to_string(), "line 4 (byte 38)");
}

/// Follows a file until it is told to stop.
async fn follow(
    input: &Input,
    expected_rows: u64,
    then: impl FnOnce(),
) -> Vec<change::TransactionGroup> {
    let mut source =
        crate::open(config(input.url(), &[("follow", "true"), ("columns", "id bigint")])).unwrap();
    let intake = Arc::new(MemoryIntake::default());
    let taking: Arc<dyn Intake> = Arc::<MemoryIntake>::clone(&intake);
    let (stop, stopped) = watch::channel(false);
    let progress = Arc::new(Progress::default());
    let run = RunOptions { once: false, stop: stopped, progress: Arc::clone(&progress) };
    let running =
        tokio::spawn(async move { source.run(Resume::default(), taking, run).await.unwrap() });
    let rows = async |count| {
        tokio::time::timeout(std::time::Duration::from_secs(20), async {
            while progress.report().rows < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    };
    rows(1).await;
    then();
    rows(expected_rows).await;
    stop.send(true).unwrap();
    assert_eq!(running.await.unwrap(), End::Stopped);
    intake.groups()
}

#[tokio::test]
async fn a_followed_file_gives_what_is_appended_and_waits_for_whole_lines() {
    let input = Input::new("t.ndjson", "{\"id\": 1}\n{\"id\"");
    let groups = follow(&input, 3, || append(&input.path, ": 2}\n{\"id\": 3}\n{")).await;
    let rows: usize = groups.iter().map(change::TransactionGroup::rows).sum();
    assert_eq!(rows, 4, "three rows and the state");
    let last = groups.last().unwrap().heads()[0].position.unwrap();
    assert_eq!(last.to_string(), "line 3 (byte 30)");
}

/// A row of values of many types.
type RandomRow = (i64, Option<bool>, Option<String>, Option<i64>);

fn rows() -> impl Strategy<Value = Vec<RandomRow>> {
    let text = prop::option::of("[a-c\",\n\r\\\\ é😀]{0,8}");
    let row = (any::<i64>(), any::<Option<bool>>(), text, any::<Option<i64>>());
    prop::collection::vec(row, 1..20)
}

fn read(name: &str, bytes: &[u8]) -> Ran {
    let input = Input::new(name, bytes);
    let columns = "id bigint, flag boolean, note text, cents numeric(21,2)";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(input.run(&[("columns", columns)])).unwrap()
}

/// The rows that were read, as they were written.
fn read_rows(ran: &Ran) -> Vec<RandomRow> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Decimal128Type, Int64Type};
    let mut rows = Vec::new();
    for group in &ran.groups {
        let batch = group.tables()[0].changes().rows();
        assert_eq!(&*group.tables()[0].table().name().table, "t", "no dead letters only");
        assert!(group.tables()[1..].iter().all(|t| &*t.table().name().table != "dead_letters"));
        for at in 0..batch.num_rows() {
            let flag = batch.column(1).as_boolean();
            let note = batch.column(2).as_string::<i32>();
            let cents = batch.column(3).as_primitive::<Decimal128Type>();
            rows.push((
                batch.column(0).as_primitive::<Int64Type>().value(at),
                flag.is_valid(at).then(|| flag.value(at)),
                note.is_valid(at).then(|| note.value(at).to_owned()),
                cents.is_valid(at).then(|| i64::try_from(cents.value(at)).unwrap()),
            ));
        }
    }
    rows
}

fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_survive_ndjson(rows in rows()) {
        let mut text = String::new();
        for (id, flag, note, cents) in &rows {
            let note = serde_json::to_string(note).unwrap();
            let flag = serde_json::to_string(flag).unwrap();
            let cents = cents.map_or("null".to_owned(), decimal);
            writeln!(text, "{{\"id\":{id},\"flag\":{flag}, \"cents\":{cents},\"note\":{note}}}").unwrap();
        }
        prop_assert_eq!(read_rows(&read("t.ndjson", text.as_bytes())), rows);
    }

    #[test]
    fn rows_survive_csv(rows in rows()) {
        let mut text = String::from("note,id,flag,cents\n");
        for (id, flag, note, cents) in &rows {
            let note = note.as_ref().map(|note| format!("\"{}\"", note.replace('"', "\"\"")));
            let flag = flag.map(|flag| flag.to_string()).unwrap_or_default();
            let cents = cents.map(decimal).unwrap_or_default();
            writeln!(text, "{},{id},{flag},{cents}", note.unwrap_or_default()).unwrap();
        }
        prop_assert_eq!(read_rows(&read("t.csv", text.as_bytes())), rows);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\n\r\\0e.-ntf"[..])], 0..200,
    )) {
        for (name, header) in [("t.ndjson", ""), ("t.csv", "id,flag,note,cents\n")] {
            let mut input = header.as_bytes().to_vec();
            input.extend_from_slice(&bytes);
            let ran = read(name, &input);
            let lines = input.split(|&byte| byte == b'\n').count();
            let rows: usize = ran.groups.iter().map(change::TransactionGroup::rows).sum();
            prop_assert!(rows <= lines + 1, "a line gives one row at most, and there is the state");
        }
    }

    #[test]
    fn no_bytes_panic_the_inference(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\n\r\\0e.-ntf1"[..])], 0..100,
    )) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for name in ["t.ndjson", "t.csv"] {
            let input = Input::new(name, &bytes);
            if let Err(error) = runtime.block_on(input.run(&[])) {
                prop_assert!(["SRC008", "SRC014", "SRC015"].contains(&error.code()), "{}", error);
            }
        }
    }
}
