//! Where good bytes come from: a copy of the log, as far as it can be read.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proof::{HASH_BYTES, TileId, TileLevel};

use crate::disk::{Access, Disk, DiskFile};
use crate::error::LogError;
use crate::limits::in_memory;
use crate::notary::{proof_dir, read_file};
use crate::scrub::survey;

/// Where good bytes of a log's files come from. Files are named by their paths below the log's directory.
pub trait Copies {
    /// What people know it by.
    fn name(&self) -> String;

    /// How long the copy of a file is; `None` when there is none.
    ///
    /// # Errors
    /// What the system says.
    fn length(&mut self, file: &str) -> io::Result<Option<u64>>;

    /// Bytes of a file; `None` when the copy does not have all of them.
    ///
    /// # Errors
    /// What the system says.
    fn read(&mut self, file: &str, bytes: Range<u64>) -> io::Result<Option<Vec<u8>>>;

    /// The first hashes of a tile of leaves, one behind the other; `None` when the copy does not have so many.
    ///
    /// # Errors
    /// What the system says.
    fn leaves(&mut self, tile: u64, count: u16) -> io::Result<Option<Vec<u8>>>;
}

/// A copied directory: of a log, or a data directory with a log in it.
pub struct CopiedDirectory {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl CopiedDirectory {
    /// Looks into a directory.
    ///
    /// # Errors
    /// When there is no log in it.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, LogError> {
        for dir in [dir.join("log"), dir.to_owned()] {
            if survey::numbers(&*disk, &dir).is_ok_and(|numbers| !numbers.is_empty()) {
                return Ok(Self { disk, dir });
            }
        }
        Err(LogError::NoLog { dir: dir.to_owned() })
    }

    fn file(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match self.disk.open(&self.dir.join(name), Access::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Copies for CopiedDirectory {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn length(&mut self, file: &str) -> io::Result<Option<u64>> {
        self.file(file)?.map(|file| file.length()).transpose()
    }

    fn read(&mut self, file: &str, bytes: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.file(file)? else { return Ok(None) };
        let mut found = vec![0; in_memory(bytes.end.saturating_sub(bytes.start))];
        let read = file.read_at(&mut found, bytes.start)?;
        Ok((read == found.len()).then_some(found))
    }

    fn leaves(&mut self, tile: u64, count: u16) -> io::Result<Option<Vec<u8>>> {
        let Some(full) = TileId::new(TileLevel::Hashes(0), tile, 256) else { return Ok(None) };
        let path = proof_dir(&self.dir).join(full.path());
        let wanted = usize::from(count) * HASH_BYTES;
        let beginning = |bytes: Vec<u8>| bytes.get(..wanted).map(<[u8]>::to_vec);
        if let Some(bytes) = read_file(&*self.disk, &path)?.and_then(beginning) {
            return Ok(Some(bytes));
        }
        let partials = PathBuf::from(format!("{}.p", path.display()));
        for name in self.disk.list(&partials).unwrap_or_default() {
            if name.parse().is_ok_and(|width: u16| width >= count)
                && let Some(bytes) =
                    read_file(&*self.disk, &partials.join(name))?.and_then(beginning)
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
