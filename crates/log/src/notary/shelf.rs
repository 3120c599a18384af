//! The notary's files, on the log's own disk.
//!
//! ```text
//! proof/
//!   checkpoint         the log's signed state, for everyone
//!   verifier           the public key that it is signed with
//!   tile/…             the tree (C2SP tlog-tiles), with the leaves' records in tile/entries/
//!   settled            the text of a checkpoint up to which all tiles are durable; for recovery only
//! ```
//!
//! All of it can be computed again from the segments, so nothing is synced while transactions wait. Only from time to
//! time what was written is made durable, and `settled` says so: after a crash the tree goes on from there. Files get
//! their names when they are complete, so that nobody reads half of one while the process runs.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proof::{Checkpoint, Note, TileError, TileId, TileReader};

use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::limits::in_memory;

/// The most bytes of a file that is read whole.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(crate) struct Shelf {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Directories that are known to be there.
    made: BTreeSet<PathBuf>,
    /// What was written and is not known to be durable.
    unsynced: BTreeSet<PathBuf>,
    /// Partial tiles that became durable with `settled`. They are not written again: that would make them less durable.
    edge: BTreeSet<PathBuf>,
    /// Directories of partial tiles that are needed until the full one is durable.
    replaced: Vec<PathBuf>,
}

impl Shelf {
    pub(crate) fn open(disk: Arc<dyn Disk>, root: PathBuf) -> Result<Self, LogError> {
        let (made, unsynced, edge) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut shelf = Self { disk, root, made, unsynced, edge, replaced: Vec::new() };
        let root = shelf.root.clone();
        shelf.make(&root)?;
        let above = root.parent().unwrap_or(Path::new("."));
        shelf.disk.sync_dir(above).map_err(|error| LogError::io("create", &root, error))?;
        Ok(shelf)
    }

    pub(crate) fn checkpoint_path(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// How many files are waiting to be made durable.
    pub(crate) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The published checkpoint; `None` when there is none that can be read.
    pub(crate) fn checkpoint(&self) -> Result<Option<Note>, LogError> {
        Ok(self.read("checkpoint")?.and_then(|bytes| Note::parse(&bytes).ok()))
    }

    /// The checkpoint up to which all tiles are durable; `None` when there is none that can be read.
    pub(crate) fn settled(&self) -> Result<Option<Checkpoint>, LogError> {
        let text = self.read("settled")?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.and_then(|text| Checkpoint::parse(&text).ok()))
    }

    /// Writes a tile, or a bundle of entries.
    pub(crate) fn put_tile(&mut self, id: TileId, bytes: &[u8]) -> Result<(), LogError> {
        if self.edge.contains(&self.root.join(id.path())) {
            return Ok(());
        }
        self.put(&id.path(), bytes)?;
        if !id.is_partial() {
            self.remove_partials(id);
        }
        Ok(())
    }

    pub(crate) fn put_checkpoint(&mut self, note: &Note) -> Result<(), LogError> {
        self.put("checkpoint", note.to_string().as_bytes())
    }

    pub(crate) fn put_verifier(&mut self, key: &str) -> Result<(), LogError> {
        let line = format!("{key}\n");
        if self.read("verifier")?.as_deref() == Some(line.as_bytes()) {
            return Ok(());
        }
        self.put("verifier", line.as_bytes())
    }

    /// Makes all that was written durable, then says up to where.
    pub(crate) fn settle(&mut self, at: &Checkpoint) -> Result<(), LogError> {
        let files: Vec<PathBuf> = self.unsynced.iter().cloned().collect();
        let root = self.root.clone();
        let failed = |error| LogError::sync(&root, error);
        // Directories first: names of files below them would be lost with them.
        for dir in &self.made {
            self.disk.sync_dir(dir).map_err(failed)?;
        }
        self.disk.sync_all(&files).map_err(failed)?;
        self.unsynced.clear();
        self.put("settled", at.text().as_bytes())?;
        self.disk.sync_all(&[self.root.join("settled")]).map_err(failed)?;
        self.unsynced.clear();
        let is_partial = |path: &PathBuf| {
            path.parent().and_then(Path::extension).is_some_and(|extension| extension == "p")
        };
        self.edge = files.into_iter().filter(is_partial).collect();
        self.remove_replaced();
        let root = self.root.clone();
        self.made.retain(|dir| *dir == root);
        Ok(())
    }

    /// Removes narrower tiles that a full one replaces, but for those that may be durable: after a crash the tree goes
    /// on from them until the full one is durable. What stays behind does no harm.
    fn remove_partials(&mut self, full: TileId) {
        let dir = self.root.join(format!("{}.p", full.path()));
        let mut is_needed = false;
        for name in self.disk.list(&dir).unwrap_or_default() {
            let path = dir.join(name);
            if self.unsynced.remove(&path) {
                self.remove(&path);
            } else {
                is_needed = true;
            }
        }
        if is_needed {
            self.replaced.push(dir);
        } else if self.made.contains(&dir) {
            self.remove_dir(&dir);
        }
    }

    /// Removes the partial tiles that nothing needs, now that all is durable.
    fn remove_replaced(&mut self) {
        for dir in std::mem::take(&mut self.replaced) {
            for name in self.disk.list(&dir).unwrap_or_default() {
                self.remove(&dir.join(name));
            }
            self.remove_dir(&dir);
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path) {
            tracing::debug!(%error, path = %path.display(), "a partial tile stays");
        }
    }

    fn remove_dir(&mut self, dir: &Path) {
        self.made.remove(dir);
        if self.disk.remove_dir(dir).is_err() {
            tracing::debug!(path = %dir.display(), "the directory of partial tiles stays");
        }
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.root.join(name);
        let failed = |error| LogError::io("write", &path, error);
        let dir = path.parent().expect("a file is in a directory").to_owned();
        self.make(&dir)?;
        let unborn = self.root.join("unfinished");
        let file = self.disk.create(&unborn).map_err(failed)?;
        file.write_at(&[bytes], 0).map_err(failed)?;
        self.disk.rename(&unborn, &path).map_err(failed)?;
        self.unsynced.insert(path);
        Ok(())
    }

    fn make(&mut self, dir: &Path) -> Result<(), LogError> {
        if self.made.contains(dir) {
            return Ok(());
        }
        self.disk.create_dir(dir).map_err(|error| LogError::io("create", dir, error))?;
        let within = |dir: &&Path| dir.starts_with(&self.root);
        self.made.extend(dir.ancestors().take_while(within).map(Path::to_owned));
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.root.join(name);
        read_file(&*self.disk, &path).map_err(|error| LogError::io("read", &path, error))
    }
}

/// Reads a small file; `None` when it is not there or is too long to be one of ours.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    if length > FILE_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; in_memory(length)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

impl TileReader for Shelf {
    fn read(&self, tile: TileId) -> Result<Vec<u8>, TileError> {
        match read_file(&*self.disk, &self.root.join(tile.path())) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(TileError::Missing(tile)),
            Err(source) => Err(TileError::Io { tile, source }),
        }
    }
}
