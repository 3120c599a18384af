//! The data directory: one process at a time, everything in known places.
//!
//! ```text
//! .evert/
//!   lock          who has the directory; held by an advisory lock, so a killed process leaves none
//!   evert.sock    the running process answers here
//!   log/          the durable order; everything else can be rebuilt from it, but log/key
//!   search/VIEW/  full-text indexes
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A data directory that this process holds alone.
///
/// Invariant: the lock file is locked as long as this value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    /// Closing it frees the directory.
    _lock: File,
}

impl Directory {
    /// Creates the directory when it is missing, readable by its owner alone, and takes it.
    pub(crate) fn acquire(root: &Path) -> Result<Self, Failure> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|error| Failure::io(format!("cannot create {}", root.display()), error))?;
        let path = root.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Failure::io(format!("cannot open {}", path.display()), error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder's own words are a courtesy; the lock is what counts.
                let known = lock.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder =
                    if known { holder.trim().to_owned() } else { "another process".into() };
                return Err(Failure::InUse { directory: root.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::io(format!("cannot lock {}", path.display()), error));
            }
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "process {}", std::process::id()));
        written.map_err(|error| Failure::io(format!("cannot write {}", path.display()), error))?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// Where the log's segments are.
pub(crate) fn log_dir(root: &Path) -> PathBuf {
    root.join("log")
}

/// Where a running process answers.
pub(crate) fn socket(root: &Path) -> PathBuf {
    root.join("evert.sock")
}

/// Where the full-text index of a view is.
pub(crate) fn search_dir(root: &Path, view: &str) -> PathBuf {
    root.join("search").join(view)
}

/// Fails unless there is a log to read.
pub(crate) fn must_exist(root: &Path) -> Result<(), Failure> {
    if log_dir(root).is_dir() {
        return Ok(());
    }
    Err(Failure::Usage {
        what: format!("there is no Evert data in {}", root.display()),
        help: "name the directory with --data DIR, or fill one with `evert run`".to_owned(),
    })
}
