//! A view as a search index: its Time comes back with its rows.

use std::fmt::Debug;
use std::time::Duration;

use change::Time;
use sink::{SinkConfig, SinkError};
use view::ViewError;
use view::search::SearchIndex;

use crate::world::{Rows, config, write};

/// Opens an index that was closed. A server that another test is just starting holds what this process has open, and so
/// the index's lock, until it runs its own program.
async fn once_free<T, E: Debug>(
    open: impl AsyncFn() -> Result<T, E>,
    is_busy: impl Fn(&E) -> bool,
) -> T {
    for _ in 0..100 {
        match open().await {
            Err(error) if is_busy(&error) => tokio::time::sleep(Duration::from_millis(50)).await,
            done => return done.unwrap(),
        }
    }
    panic!("the index is busy although nobody has it");
}

#[tokio::test]
async fn the_index_comes_back_at_the_time_of_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("search".to_owned(), dir.path());
    let mut sink = sink::open(config.clone()).await.unwrap();
    assert_eq!(sink.held(), Time::ZERO);
    let rows: Rows = [(1, "brown fox".to_owned()), (2, "lazy dog".to_owned())].into();
    write(&mut *sink, 4, &Rows::new(), &rows).await.unwrap();
    let fewer: Rows = [(2, "lazy fox".to_owned())].into();
    write(&mut *sink, 6, &rows, &fewer).await.unwrap();
    drop(sink);
    let sink = once_free(async || sink::open(config.clone()).await, SinkError::is_transient).await;
    assert_eq!(sink.held(), Time(6));
    drop(sink);
    let path = dir.path().join("search/things");
    let open =
        async || SearchIndex::open(&path, &config.view, config.log_id, &config.definition, &[]);
    let is_busy = |error: &ViewError| matches!(error, ViewError::IndexBusy { .. });
    let index = once_free(open, is_busy).await;
    let contents = index.contents().unwrap();
    assert_eq!(contents.len(), 1, "{contents:?}");
    assert!(contents[0].contains("lazy fox"), "{contents:?}");
    drop(index);

    let other_log = SinkConfig { log_id: *b"another log's id", ..config.clone() };
    // The view was dropped, and another one has its name now.
    let other_view = SinkConfig { definition: "fedcba9876543210".to_owned(), ..config };
    for other in [other_log, other_view] {
        let Err(error) = sink::open(other).await else {
            panic!("an index of another log or view was opened");
        };
        assert_eq!((error.code(), error.is_transient()), ("SINK020", false));
        assert!(error.help().unwrap().contains("rm -r"), "{error}");
    }
}
