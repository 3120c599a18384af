//! A view as a file of JSON lines: what a kill may leave behind, and what is refused.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use change::Time;
use sink::{SinkConfig, SinkError};

use crate::world::{Rows, Seeded, config, difference, write};

fn at(dir: &Path) -> SinkConfig {
    config(dir.join("things.ndjson").display().to_string(), dir)
}

fn text(dir: &Path) -> String {
    fs::read_to_string(dir.join("things.ndjson")).unwrap()
}

async fn refused(config: &SinkConfig) -> SinkError {
    match sink::open(config.clone()).await {
        Ok(_) => panic!("{} was opened", config.url),
        Err(error) => error,
    }
}

/// Adds up the changes in the file.
fn summed(text: &str) -> Rows {
    let mut counts = std::collections::BTreeMap::new();
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = (row["id"].as_i64().unwrap(), row["name"].as_str().unwrap().to_owned());
        *counts.entry(key).or_insert(0) += row["_diff"].as_i64().unwrap();
    }
    let present = counts.into_iter().filter(|(_, count)| *count != 0);
    let once = |(row, count)| {
        assert_eq!(count, 1, "{row:?}");
        row
    };
    present.map(once).collect()
}

#[tokio::test]
async fn changes_are_appended_with_their_diff_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink::open(at(dir.path())).await.unwrap();
    assert!(!sink.wants_rows(), "it has them already");
    let first: Rows = [(1, "a".to_owned()), (2, "b".to_owned())].into();
    let second: Rows = [(1, "A".to_owned()), (2, "b".to_owned())].into();
    write(&mut *sink, 3, &Rows::new(), &first).await.unwrap();
    write(&mut *sink, 4, &first, &first).await.unwrap();
    write(&mut *sink, 9, &first, &second).await.unwrap();
    let expected = r#"{"_diff":1,"_time":3,"id":1,"name":"a"}
{"_diff":1,"_time":3,"id":2,"name":"b"}
{"_diff":-1,"_time":9,"id":1,"name":"a"}
{"_diff":1,"_time":9,"id":1,"name":"A"}
"#;
    assert_eq!(text(dir.path()), expected);
    drop(sink);
    assert_eq!(sink::open(at(dir.path())).await.unwrap().held(), Time(9));
}

#[tokio::test]
async fn a_kill_at_any_byte_of_a_step_leaves_each_change_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut rows) = (Seeded(3), Rows::new());
    for time in 1..60 {
        let mut sink = sink::open(at(dir.path())).await.unwrap();
        assert_eq!(sink.held(), Time(time - 1));
        let before = rows.clone();
        random.mutate(&mut rows, 20, 5);
        // What a killed process had written of this step when it died, before its position.
        let mut torn = Vec::new();
        let changes = difference(&before, &rows);
        for row in 0..changes.len() {
            torn.extend_from_slice(format!("{{\"_diff\":{},", changes.diffs()[row]).as_bytes());
        }
        torn.truncate(random.below(torn.len() as u64 + 1) as usize);
        drop(sink);
        let mut file =
            OpenOptions::new().append(true).open(dir.path().join("things.ndjson")).unwrap();
        file.write_all(&torn).unwrap();
        sink = sink::open(at(dir.path())).await.unwrap();
        write(&mut *sink, time, &before, &rows).await.unwrap();
        assert_eq!(summed(&text(dir.path())), rows, "at {time}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_was_left_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Rows = [(1, "a".to_owned())].into();
    let mut config = at(dir.path());
    let mut sink = sink::open(config.clone()).await.unwrap();
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK014", true), "two writers");
    write(&mut *sink, 1, &Rows::new(), &rows).await.unwrap();
    drop(sink);

    config.log_id = *b"another log's id";
    assert_eq!(refused(&config).await.code(), "SINK011");
    config = at(dir.path());

    config.definition = "fedcba9876543210".to_owned();
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK009", false));
    assert!(error.to_string().ends_with("filled from a view things that was defined otherwise"));
    assert!(error.help().unwrap().contains("things.ndjson.position"));
    config = at(dir.path());

    let path = dir.path().join("things.ndjson");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    let error = refused(&config).await;
    assert_eq!(error.code(), "SINK023");
    assert!(error.help().unwrap().contains("things.ndjson.position"));

    fs::write(dir.path().join("things.ndjson.position"), "{}").unwrap();
    assert_eq!(refused(&config).await.code(), "SINK019");

    fs::remove_file(dir.path().join("things.ndjson.position")).unwrap();
    assert_eq!(refused(&config).await.code(), "SINK010", "rows of unknown origin");
    config.options.insert("on_existing".to_owned(), "replace".to_owned());
    let mut sink = sink::open(config).await.unwrap();
    write(&mut *sink, 1, &Rows::new(), &rows).await.unwrap();
    assert_eq!(summed(&text(dir.path())), rows);
}

#[tokio::test]
async fn a_run_that_ends_leaves_the_final_rows_and_nothing_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = at(dir.path());
    config.once = true;
    fs::write(dir.path().join("things.ndjson"), "old\n").unwrap();
    let mut sink = sink::open(config).await.unwrap();
    assert!(sink.wants_rows());
    let rows: Rows = [(1, "a".to_owned()), (2, "b".to_owned())].into();
    write(&mut *sink, 1, &Rows::new(), &rows).await.unwrap();
    assert_eq!(text(dir.path()), "old\n", "the old rows stand until the new ones are whole");
    let (batch, _) = difference(&Rows::new(), &rows).into_parts();
    sink.finish(&[batch]).await.unwrap();
    assert_eq!(text(dir.path()), "{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":\"b\"}\n");
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["things.ndjson"], "nothing is left beside it");
}
