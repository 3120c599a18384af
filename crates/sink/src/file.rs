//! A view as a file of JSON lines.
//!
//! A run that ends by itself writes the final rows: to a temporary file that takes the place of the old one at the
//! end, so that a reader sees the old rows or the new ones. A run that does not end appends changes. Beside the file
//! stands `FILE.position`: the Time, and the bytes that belong to it. A step is appended and synced, and only then
//! the position is replaced; at the next start, whatever stands behind its bytes is cut off. So every change stands
//! in the file once, whenever we were killed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use change::{ChangeBatch, Time};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant, sleep};

use crate::lines::{off_thread, write_changes};
use crate::options::{check_known, may_replace};
use crate::{Sink, SinkConfig, SinkError, Step, postgres};

/// How long a file that somebody else has locked is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);

const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What stands in `FILE.position`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    log_id: String,
    /// The view and its definition.
    view: String,
    time: u64,
    bytes: u64,
}

/// A file of JSON lines.
pub(crate) struct FileSink {
    held: Time,
    mode: Mode,
}

enum Mode {
    /// The final rows, at the end.
    Final(PathBuf),
    /// Changes as they come; `None` after an error.
    Changes(Option<Changes>),
}

impl FileSink {
    /// Opens the file, and cuts off what a killed process may have left half-written.
    ///
    /// # Errors
    /// When the file is not what its position says, was written from another log, or cannot be opened.
    pub(crate) async fn open(config: &SinkConfig, path: &Path) -> Result<Self, SinkError> {
        check_known(config, &["on_existing"])?;
        if config.once {
            return Ok(Self { held: Time::ZERO, mode: Mode::Final(path.to_owned()) });
        }
        let changes = Changes::open(config, path).await?;
        Ok(Self { held: Time(changes.position.time), mode: Mode::Changes(Some(changes)) })
    }
}

#[async_trait]
impl Sink for FileSink {
    fn held(&self) -> Time {
        self.held
    }

    async fn write(&mut self, step: Step<'_>) -> Result<(), SinkError> {
        assert_eq!(step.after, self.held, "a step begins at the Time that the sink holds");
        if let Mode::Changes(changes) = &mut self.mode {
            let (batch, upto) = (step.changes.clone(), step.upto);
            off_thread(changes, move |changes| changes.append(&batch, upto)).await?;
        }
        self.held = step.upto;
        Ok(())
    }

    fn wants_rows(&self) -> bool {
        matches!(self.mode, Mode::Final(_))
    }

    async fn finish(&mut self, rows: &[RecordBatch]) -> Result<(), SinkError> {
        match &self.mode {
            Mode::Final(path) => {
                let (path, rows) = (path.clone(), rows.to_vec());
                off_thread(&mut Some(()), move |()| write_final(&path, &rows)).await
            }
            Mode::Changes(_) => Ok(()),
        }
    }
}

/// A file that grows. Invariant: on disk it has `position.bytes` bytes or more.
struct Changes {
    path: PathBuf,
    /// Locked: nobody else appends.
    file: File,
    position: Position,
}

impl Changes {
    async fn open(config: &SinkConfig, path: &Path) -> Result<Self, SinkError> {
        let failed = |source| SinkError::File { path: path.to_owned(), source };
        let file = lock(path).await?;
        let found = file.metadata().map_err(failed)?.len();
        let (log_id, view) = (postgres::shown_id(&config.log_id), config.origin());
        let position = match read_position(path)? {
            Some(position) => position,
            None if found > 0 && !may_replace(config)? => {
                return Err(SinkError::NotEmpty { target: path.display().to_string() });
            }
            None => Position { log_id: log_id.clone(), view: view.clone(), time: 0, bytes: 0 },
        };
        let repair = format!("rm {} {}", path.display(), position_path(path).display());
        if position.log_id != log_id {
            return Err(SinkError::OtherLog {
                target: path.display().to_string(),
                sink: config.name.clone(),
                found: position.log_id,
                expected: log_id,
                repair,
            });
        }
        if position.view != view {
            return Err(SinkError::Mismatch {
                target: path.display().to_string(),
                problem: config.other_origin(&position.view),
                ddl: repair,
            });
        }
        if found < position.bytes {
            let (path, expected) = (path.to_owned(), position.bytes);
            return Err(SinkError::Shortened { path, expected, found, repair });
        }
        if found > position.bytes {
            let cut = found - position.bytes;
            tracing::info!(file = %path.display(), "cut {cut} bytes of an unfinished step");
        }
        file.set_len(position.bytes).map_err(failed)?;
        let mut changes = Self { path: path.to_owned(), file, position };
        changes.file.seek(SeekFrom::End(0)).map_err(failed)?;
        changes.commit()?;
        Ok(changes)
    }

    fn append(&mut self, batch: &ChangeBatch, upto: Time) -> Result<(), SinkError> {
        let failed = |source| SinkError::File { path: self.path.clone(), source };
        if !batch.is_empty() {
            let mut file = &self.file;
            write_changes(batch, upto, &mut file).map_err(failed)?;
            self.position.bytes = file.stream_position().map_err(failed)?;
        }
        self.position.time = upto.0;
        self.commit()
    }

    /// Makes the file's bytes durable, and then the position that counts them in.
    fn commit(&self) -> Result<(), SinkError> {
        let failed = |source| SinkError::File { path: self.path.clone(), source };
        self.file.sync_data().map_err(failed)?;
        let text = serde_json::to_vec(&self.position).expect("names and numbers always serialize");
        replace(&position_path(&self.path), |file| file.write_all(&text))
    }
}

/// Opens the file for this process alone. A process that died keeps its lock for moments; so this waits a little.
async fn lock(path: &Path) -> Result<File, SinkError> {
    let failed = |source| SinkError::File { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let file = options.open(path).map_err(failed)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOCK_PAUSE).await,
            Err(TryLockError::WouldBlock) => {
                let holder = "another Evert".to_owned();
                return Err(SinkError::Busy { target: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

fn read_position(path: &Path) -> Result<Option<Position>, SinkError> {
    let path = position_path(path);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SinkError::File { path, source }),
    };
    match serde_json::from_slice(&text) {
        Ok(position) => Ok(Some(position)),
        Err(error) => Err(SinkError::Position { path, problem: error.to_string() }),
    }
}

fn position_path(path: &Path) -> PathBuf {
    with_suffix(path, ".position")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write_final(path: &Path, rows: &[RecordBatch]) -> Result<(), SinkError> {
    // From now on the file holds rows, not changes.
    match fs::remove_file(position_path(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(SinkError::File { path: position_path(path), source: error });
        }
        Ok(()) | Err(_) => {}
    }
    replace(path, |file| {
        let mut lines = Vec::new();
        for batch in rows {
            // A piece at a time, so that the text of a large view is never in memory at once.
            for start in (0..batch.num_rows()).step_by(8_192) {
                let length = (batch.num_rows() - start).min(8_192);
                view::json::write_lines(&batch.slice(start, length), &mut lines);
                file.write_all(&lines)?;
                lines.clear();
            }
        }
        Ok(())
    })
}

/// Replaces a file: durable and whole, or as it was.
fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), SinkError> {
    let new = with_suffix(path, ".new");
    let write = || {
        let mut file = File::create(&new)?;
        fill(&mut file)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| SinkError::File { path: path.to_owned(), source })
}
