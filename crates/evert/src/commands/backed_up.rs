//! A backup as a copy that a log is repaired from: only the pieces are fetched that have the bytes in question.

use std::io;
use std::ops::Range;

use backup::{BackupId, Manifest, Piece, Place, StoredFile};
use log::Copies;
use proof::HASH_BYTES;
use tokio::runtime::Handle;

use crate::commands::tiles::LEAVES;
use crate::failure::Failure;

/// The newest backup of a place.
pub(crate) struct BackedUp {
    place: Place,
    id: BackupId,
    manifest: Manifest,
    runtime: Handle,
    /// The pieces that were fetched last: headers are read one by one.
    fetched: Option<(String, Range<u64>, Vec<u8>)>,
}

impl BackedUp {
    /// Whether something is a place of backups rather than a copied directory.
    pub(crate) fn is_place(text: &str) -> bool {
        let path = text.strip_prefix("file://").unwrap_or(text);
        text.contains("://") || std::path::Path::new(path).join("manifests").is_dir()
    }

    /// Reads what the newest backup that can be read consists of.
    pub(crate) async fn newest(text: &str) -> Result<Self, Failure> {
        let place = Place::open(text)?;
        let none = || {
            let (place, wanted) = (place.to_string(), "backup".to_owned());
            backup::BackupError::None { place, wanted }
        };
        let mut failed = None;
        for id in place.backups().await?.into_iter().rev() {
            match place.manifest(&id).await {
                Ok(manifest) => {
                    let runtime = Handle::current();
                    return Ok(Self { place, id, manifest, runtime, fetched: None });
                }
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        Err(failed.unwrap_or_else(none).into())
    }

    /// The file that belongs at a path.
    fn file(&self, path: &str) -> Option<&StoredFile> {
        self.manifest.files.iter().find(|file| file.path() == path)
    }

    /// Whether all of some bytes were fetched last.
    fn known(&self, path: &str, bytes: &Range<u64>) -> Option<Vec<u8>> {
        let (file, range, content) = self.fetched.as_ref()?;
        let is_within = file == path && range.start <= bytes.start && bytes.end <= range.end;
        let at = |offset: u64| usize::try_from(offset - range.start).ok();
        is_within.then(|| content.get(at(bytes.start)?..at(bytes.end)?).map(<[u8]>::to_vec))?
    }

    /// Fetches the pieces that some bytes are in.
    fn fetch(&self, file: &StoredFile, bytes: &Range<u64>) -> io::Result<(Range<u64>, Vec<u8>)> {
        let (mut offset, mut range) = (0, None::<Range<u64>>);
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in &file.pieces {
            let end = offset + piece.bytes;
            if offset < bytes.end && end > bytes.start {
                range = Some(range.map_or(offset, |range| range.start)..end);
                pieces.push(piece.clone());
            }
            offset = end;
        }
        let range = range.unwrap_or(bytes.start..bytes.start);
        let (name, path) = (file.name.clone(), file.path.clone());
        let part = StoredFile { name, path, bytes: range.end - range.start, pieces };
        let mut content = Vec::new();
        let put = |piece: &[u8]| {
            content.extend_from_slice(piece);
            Ok(())
        };
        self.runtime.block_on(self.place.fetch(&part, put)).map_err(io::Error::other)?;
        Ok((range, content))
    }
}

impl Copies for BackedUp {
    fn name(&self) -> String {
        format!("backup {} in {}", self.id, self.place)
    }

    fn length(&mut self, file: &str) -> io::Result<Option<u64>> {
        Ok(self.file(file).map(|file| file.bytes))
    }

    fn read(&mut self, file: &str, bytes: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        let Some(stored) = self.file(file).filter(|stored| bytes.end <= stored.bytes) else {
            return Ok(None);
        };
        if let Some(known) = self.known(file, &bytes) {
            return Ok(Some(known));
        }
        let (range, content) = self.fetch(stored, &bytes)?;
        self.fetched = Some((file.to_owned(), range, content));
        Ok(self.known(file, &bytes))
    }

    fn leaves(&mut self, tile: u64, count: u16) -> io::Result<Option<Vec<u8>>> {
        let width = HASH_BYTES as u64;
        let from = tile * 256 * width;
        self.read(LEAVES, from..from + u64::from(count) * width)
    }
}
