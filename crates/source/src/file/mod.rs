//! Files and standard input as a source: one table, a row for each line of JSON or record of CSV.
//!
//! A file is read once, from its beginning to its end, or followed as it grows. Its position is a byte and a line, and
//! a later run goes on there. What cannot be read becomes a dead letter with its line number, and stops nothing else.

mod csv;
mod declare;
mod infer;
mod input;
mod ndjson;
mod records;
mod run;
mod schema;
mod settings;
mod transactions;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use change::{SourcePosition, TableSchema};

use self::input::{Blocks, Input, read_all};
use self::schema::Shape;
use self::settings::{Format, Settings};
use crate::limits::{SAMPLE_BYTES_MAX, SAMPLE_RECORDS_MAX};
use crate::{End, Intake, Resume, RunOptions, Source, SourceConfig, SourceError};

pub(crate) use self::settings::is_file_url;

/// How long standard input may be silent before its columns are inferred from what has come.
const SAMPLE_PAUSE: Duration = Duration::from_secs(1);

/// A file or standard input.
#[derive(Debug)]
pub(crate) struct FileSource {
    settings: Settings,
    /// What was found out about the input; `None`: not looked at yet.
    shape: Option<Shape>,
    /// Standard input, where it is open; what was read of it and not used yet comes first.
    stdin: Option<OpenInput>,
}

/// An input that cannot be opened again.
#[derive(Debug)]
pub(crate) struct OpenInput {
    head: Vec<u8>,
    blocks: Blocks,
    is_over: bool,
}

impl OpenInput {
    fn new(reader: impl Read + Send + 'static) -> Self {
        Self { head: Vec::new(), blocks: read_all(reader), is_over: false }
    }

    /// Reads until the beginning satisfies `enough`, the input ends, or it pauses with something to look at.
    async fn look(&mut self, input: &Input, enough: fn(&[u8]) -> bool) -> Result<(), SourceError> {
        while !self.is_over && !enough(&self.head) {
            let has_record = self.head.contains(&b'\n');
            let block = if has_record {
                match tokio::time::timeout(SAMPLE_PAUSE, self.blocks.recv()).await {
                    Ok(block) => block,
                    Err(_) => break,
                }
            } else {
                self.blocks.recv().await
            };
            match block {
                Some(Ok(block)) => self.head.extend_from_slice(&block),
                Some(Err(error)) => return Err(input.error(error)),
                None => self.is_over = true,
            }
        }
        Ok(())
    }
}

/// Whether a file's beginning is enough to infer columns from.
fn is_sample(head: &[u8]) -> bool {
    head.len() >= SAMPLE_BYTES_MAX || records::count_lines(head) >= SAMPLE_RECORDS_MAX
}

/// Opens a source of a path, `file://` URL or `stdin`; nothing is read yet.
///
/// # Errors
/// When an option is unknown or wrong.
pub(crate) fn open(config: SourceConfig) -> Result<Box<dyn Source>, SourceError> {
    let settings = Settings::read(config)?;
    Ok(Box::new(FileSource { settings, shape: None, stdin: None }))
}

impl FileSource {
    /// A source that reads `reader` where it would read standard input.
    #[cfg(test)]
    pub(crate) fn with_stdin(
        config: SourceConfig,
        reader: impl Read + Send + 'static,
    ) -> Result<Self, SourceError> {
        let settings = Settings::read(config)?;
        Ok(Self { settings, shape: None, stdin: Some(OpenInput::new(reader)) })
    }

    /// Returns the beginning of the input, as much as is needed to know its columns.
    async fn beginning(&mut self, resume: &Resume) -> Result<Vec<u8>, SourceError> {
        let input = self.settings.input.clone();
        let path = match &input {
            Input::Path(path) => path.clone(),
            Input::Stdin => {
                let stdin = self.stdin.get_or_insert_with(|| OpenInput::new(std::io::stdin()));
                if self.settings.must_infer(resume) {
                    stdin.look(&input, is_sample).await?;
                } else if matches!(&self.settings.format, Format::Csv(dialect) if dialect.header) {
                    stdin.look(&input, |head| head.contains(&b'\n')).await?;
                }
                return Ok(stdin.head.clone());
            }
        };
        let read = tokio::task::spawn_blocking(move || {
            let mut beginning = Vec::new();
            let file = std::fs::File::open(path)?;
            file.take(SAMPLE_BYTES_MAX as u64).read_to_end(&mut beginning)?;
            Ok(beginning)
        });
        read.await.expect("reading does not panic").map_err(|error| input.error(error))
    }

    async fn look(&mut self, resume: &Resume) -> Result<Shape, SourceError> {
        let beginning = self.beginning(resume).await?;
        let is_whole = match self.settings.input {
            Input::Path(_) => beginning.len() < SAMPLE_BYTES_MAX,
            Input::Stdin => self.stdin.as_ref().is_some_and(|stdin| stdin.is_over),
        };
        schema::find(&self.settings, resume, &schema::Beginning { bytes: beginning, is_whole })
    }
}

#[async_trait]
impl Source for FileSource {
    async fn discover(&mut self, resume: &Resume) -> Result<Vec<Arc<TableSchema>>, SourceError> {
        let shape = self.look(resume).await?;
        let table = Arc::clone(&shape.table);
        self.shape = Some(shape);
        Ok(vec![table])
    }

    async fn run(
        &mut self,
        resume: Resume,
        intake: Arc<dyn Intake>,
        run: RunOptions,
    ) -> Result<End, SourceError> {
        let shape = match self.shape.take() {
            Some(shape) => shape,
            None => self.look(&resume).await?,
        };
        let (bytes, lines) = match resume.position {
            None => (0, 0),
            Some(SourcePosition::Line { bytes, lines }) => (bytes, lines),
            Some(other) => {
                return Err(SourceError::CannotResume {
                    input: self.settings.input.shown(),
                    reason: format!("the log's position of it is {other}, which is no line"),
                    help: "start again with a new data directory (--data DIR)".to_owned(),
                });
            }
        };
        let from = run::Start { bytes, lines };
        let reading = run::open(&self.settings, from, &resume, self.stdin.take(), run.once)?;
        run::run(&self.settings, shape, reading, intake, run).await
    }
}

#[cfg(test)]
mod tests;
