//! A view as a full-text index in the data directory.
//!
//! The index keeps its Time in the payload of the commit that holds the rows. A commit costs milliseconds whatever it
//! holds; what arrives meanwhile gathers in the outbox, so under load commits grow instead of queueing.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use change::Time;
use view::ViewError;
use view::search::SearchIndex;

use crate::lines::off_thread;
use crate::options::check_known;
use crate::{Sink, SinkConfig, SinkError, Step};

/// The search index of a view.
pub(crate) struct SearchSink {
    dir: PathBuf,
    held: Time,
    /// `None` after an error.
    index: Option<SearchIndex>,
}

impl SearchSink {
    /// Opens or creates `DATA_DIR/search/VIEW`.
    ///
    /// # Errors
    /// When the index belongs to another log or view, or cannot be opened.
    pub(crate) fn open(config: &SinkConfig) -> Result<Self, SinkError> {
        check_known(config, &["columns"])?;
        let dir = config.data_dir.join("search").join(&config.view.name);
        let searched: Vec<String> = config
            .options
            .get("columns")
            .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect())
            .unwrap_or_default();
        let (log_id, definition) = (config.log_id, &config.definition);
        let index = SearchIndex::open(&dir, &config.view, log_id, definition, &searched)
            .map_err(|source| failed(dir.clone(), source))?;
        Ok(Self { dir, held: index.held().unwrap_or(Time::ZERO), index: Some(index) })
    }
}

#[async_trait]
impl Sink for SearchSink {
    fn held(&self) -> Time {
        self.held
    }

    async fn write(&mut self, step: Step<'_>) -> Result<(), SinkError> {
        assert_eq!(step.after, self.held, "a step begins at the Time that the sink holds");
        let (changes, upto) = (step.changes.clone(), step.upto);
        let written = off_thread(&mut self.index, move |index| {
            index.apply(&changes)?;
            index.commit(upto)
        });
        written.await.map_err(|source| failed(self.dir.clone(), source))?;
        self.held = step.upto;
        Ok(())
    }

    fn wants_rows(&self) -> bool {
        false
    }

    async fn finish(&mut self, _rows: &[RecordBatch]) -> Result<(), SinkError> {
        Ok(())
    }
}

fn failed(dir: PathBuf, source: ViewError) -> SinkError {
    SinkError::Search { dir, source: Box::new(source) }
}
