//! What the output shows, byte by byte.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::compute::SortOptions;
use change::ChangeBatch;
use expect_test::{Expect, expect};
use plan::ir::OrderKey;
use view::ViewInfo;

use super::*;

/// A writer that tests can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

/// A pipe whose reader has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn changes(rows: &[(i64, Option<&str>, i64)]) -> ChangeBatch {
    let names: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
    let counts: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("orders", counts, true),
        ("region", names, true),
    ]);
    ChangeBatch::new(batch.unwrap(), rows.iter().map(|row| row.2).collect())
}

fn config(once: bool) -> SinkConfig {
    let options = SortOptions { descending: true, nulls_first: false };
    let view = ViewInfo {
        name: "by_region".to_owned(),
        schema: changes(&[]).schema(),
        key: vec![1],
        order: vec![OrderKey { column: 0, options }],
    };
    SinkConfig {
        name: "out".to_owned(),
        url: "stdout".to_owned(),
        options: BTreeMap::new(),
        view,
        definition: "0123456789abcdef".to_owned(),
        log_id: [0; 16],
        data_dir: ".".into(),
        once,
    }
}

fn small_screen() -> Screen {
    Screen { width: 40, height: 8 }
}

async fn shown(
    config: &SinkConfig,
    screen: Option<fn() -> Screen>,
    steps: &[ChangeBatch],
) -> String {
    let out = Shared::default();
    let mut sink = StdoutSink::with_writer(config, Box::new(out.clone()), screen).unwrap();
    assert_eq!(sink.wants_rows(), config.once, "the last rows are asked for by who prints them");
    for (at, changes) in steps.iter().enumerate() {
        let (after, upto) = (Time(at as u64), Time(at as u64 + 1));
        sink.write(Step { after, upto, changes }).await.unwrap();
    }
    let last = changes(&[(9, Some("north"), 1), (2, None, 1)]);
    sink.finish(&[last.rows().clone()]).await.unwrap();
    out.take().replace('\x1b', "^")
}

fn check(shown: &str, expected: &Expect) {
    expected.assert_eq(shown);
}

#[tokio::test]
async fn a_pipe_receives_changes() {
    let steps = [
        changes(&[(1, Some("north"), 1), (2, None, 1)]),
        changes(&[]),
        changes(&[(1, Some("north"), -1), (9, Some("north"), 1)]),
    ];
    check(
        &shown(&config(false), None, &steps).await,
        &expect![[r#"
            {"_diff":1,"_time":1,"orders":1,"region":"north"}
            {"_diff":1,"_time":1,"orders":2,"region":null}
            {"_diff":-1,"_time":3,"orders":1,"region":"north"}
            {"_diff":1,"_time":3,"orders":9,"region":"north"}
        "#]],
    );
}

#[tokio::test]
async fn a_run_that_ends_prints_its_last_rows() {
    let steps = [changes(&[(1, Some("north"), 1)])];
    check(
        &shown(&config(true), None, &steps).await,
        &expect![[r#"
            {"orders":9,"region":"north"}
            {"orders":2,"region":null}
        "#]],
    );
    check(
        &shown(&config(true), Some(small_screen), &steps).await,
        &expect![[r#"
             orders   region
            ─────────────────
                  9   north
                  2
        "#]],
    );
}

#[tokio::test]
async fn a_terminal_shows_the_first_rows_in_the_views_order() {
    let steps = [
        changes(&[
            (1, Some("north"), 1),
            (5, None, 1),
            (3, Some("west"), 1),
            (4, Some("a region with a rather long name"), 1),
        ]),
        changes(&[(1, Some("north"), -1), (9, Some("north"), 1), (3, Some("west"), -1)]),
    ];
    check(
        &shown(&config(false), Some(small_screen), &steps).await,
        &expect![[r#"
            by_region · 4 rows · time 1^[K
             orders   region^[K
            ────────────────────────────────────────^[K
                  5^[K
                  4   a region with a rather long…^[K
                  3   west^[K
            … 1 more^[K
            ^[J^[7Fby_region · 3 rows · time 2^[K
             orders   region^[K
            ────────────────────────────────────────^[K
                  9   north^[K
                  5^[K
                  4   a region with a rather long…^[K
            ^[J"#]],
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_is_a_clean_end() {
    let mut sink = StdoutSink::with_writer(&config(false), Box::new(Gone), None).unwrap();
    let changes = changes(&[(1, None, 1)]);
    let step = Step { after: Time(0), upto: Time(1), changes: &changes };
    assert!(matches!(sink.write(step).await, Err(SinkError::Closed)));
}
