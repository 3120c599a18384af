//! Files → pieces: those that are not there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::BackupError;
use crate::limits::{PIECE_BYTES_MAX, PIECES_AT_ONCE};
use crate::manifest::{Manifest, Piece, StoredFile, sha256};
use crate::place::{Place, piece_path};

/// Reads so many bytes at an offset; all of them are there.
pub type Read = Arc<dyn Fn(u64, usize) -> io::Result<Vec<u8>> + Send + Sync>;

/// A file that is backed up.
#[derive(Clone)]
pub struct Item {
    /// Its name: the bytes that were backed up under it before are its first.
    pub name: String,
    /// Where it belongs, below the directory; `None` when its name says so.
    pub path: Option<String>,
    /// How many of its bytes belong to the backup. They never change.
    pub bytes: u64,
    /// What they are.
    pub read: Read,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("name", &self.name).field("bytes", &self.bytes).finish()
    }
}

/// What an upload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// All files, as a manifest names them.
    pub files: Vec<StoredFile>,
    /// How many pieces were written.
    pub pieces: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Some bytes of a file that belong to a piece.
struct Extent {
    offset: u64,
    bytes: u64,
    /// What they were when they were backed up before.
    known: Option<String>,
    /// Whether they are read again although they are there.
    compare: bool,
}

impl Place {
    /// Writes what is not here yet of some files. The pieces of an earlier backup of them are used, as far as they are
    /// there; the last piece of each file that grew since is compared with it.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it was, or the place cannot hold it.
    pub async fn upload(
        &self,
        items: &[Item],
        before: Option<&Manifest>,
    ) -> Result<Uploaded, BackupError> {
        let held = self.pieces().await?;
        // Pieces that a manifest names were durable before it was written.
        let named = before.iter().flat_map(|manifest| &manifest.files);
        let named: BTreeSet<&str> =
            named.flat_map(|file| &file.pieces).map(|piece| piece.sha256.as_str()).collect();
        let there = There { held, named };
        let mut uploaded = Uploaded::default();
        for item in items {
            let known = before.and_then(|manifest| manifest.file(&item.name));
            let extents = extents(item, known, &there);
            let pieces = futures::stream::iter(extents)
                .map(|extent| self.keep(item, extent, &there))
                .buffered(PIECES_AT_ONCE);
            let kept: Vec<(Piece, bool)> = pieces.try_collect().await?;
            for (piece, _) in kept.iter().filter(|(_, written)| *written) {
                uploaded.pieces += 1;
                uploaded.bytes += piece.bytes;
            }
            let pieces = kept.into_iter().map(|(piece, _)| piece).collect();
            let (name, path, bytes) = (item.name.clone(), item.path.clone(), item.bytes);
            uploaded.files.push(StoredFile { name, path, bytes, pieces });
        }
        Ok(uploaded)
    }

    /// Sees to it that a piece is here; says whether it had to be written.
    async fn keep(
        &self,
        item: &Item,
        extent: Extent,
        there: &There<'_>,
    ) -> Result<(Piece, bool), BackupError> {
        let Extent { offset, bytes, known, compare } = extent;
        if let Some(sha256) = known.clone().filter(|hash| !compare && there.has(hash, bytes)) {
            return Ok((Piece { sha256, bytes }, false));
        }
        let read = Arc::clone(&item.read);
        let length = usize::try_from(bytes).expect("a piece fits memory");
        let done = tokio::task::spawn_blocking(move || {
            let data = read(offset, length)?;
            Ok((sha256(&data), data))
        });
        let done = done.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let (hash, data) = done.map_err(|source| BackupError::Io {
            action: "read",
            name: item.name.clone(),
            source,
        })?;
        assert_eq!(data.len(), length, "as many bytes are read as belong to the piece");
        if known.is_some_and(|known| known != hash) {
            let (place, name) = (self.to_string(), item.name.clone());
            return Err(BackupError::Altered { place, name, offset });
        }
        let piece = Piece { sha256: hash, bytes };
        if there.has(&piece.sha256, bytes) && self.is_whole(&piece, there).await? {
            return Ok((piece, false));
        }
        self.put(&piece_path(&piece.sha256), data.into()).await?;
        Ok((piece, true))
    }

    /// Whether a piece that is here can be relied on. In a directory, what a backup wrote that did not come to its end
    /// may have been lost in a crash, all but its name.
    async fn is_whole(&self, piece: &Piece, there: &There<'_>) -> Result<bool, BackupError> {
        if !self.may_tear() || there.named.contains(piece.sha256.as_str()) {
            return Ok(true);
        }
        let bytes = self.read(&piece_path(&piece.sha256), piece.bytes).await?;
        Ok(sha256(&bytes) == piece.sha256)
    }
}

/// What the place holds.
struct There<'a> {
    held: BTreeMap<String, u64>,
    named: BTreeSet<&'a str>,
}

impl There<'_> {
    fn has(&self, sha256: &str, bytes: u64) -> bool {
        self.held.get(sha256) == Some(&bytes)
    }
}

/// Cuts a file: where it was cut before, and then into pieces as large as they may be.
fn extents(item: &Item, known: Option<&StoredFile>, there: &There<'_>) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut offset = 0;
    let known = known.filter(|known| known.bytes <= item.bytes);
    for piece in known.iter().flat_map(|known| &known.pieces) {
        let (bytes, known) = (piece.bytes, Some(piece.sha256.clone()));
        extents.push(Extent { offset, bytes, known, compare: false });
        offset += bytes;
    }
    if let Some(last) = extents.last_mut().filter(|_| offset < item.bytes) {
        last.compare = there.has(last.known.as_deref().unwrap_or_default(), last.bytes);
    }
    while offset < item.bytes {
        let bytes = (item.bytes - offset).min(PIECE_BYTES_MAX);
        extents.push(Extent { offset, bytes, known: None, compare: false });
        offset += bytes;
    }
    extents
}
