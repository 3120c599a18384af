//! Pieces → files, each checked before it is used.

use std::io;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::BackupError;
use crate::limits::PIECES_AT_ONCE;
use crate::manifest::{Piece, StoredFile, sha256};
use crate::place::{Place, piece_path};

/// What was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// How many pieces.
    pub pieces: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

impl Place {
    /// Fetches a file, piece by piece in order; each is what its name says when `write` gets it.
    ///
    /// # Errors
    /// When a piece is missing or not what it was, when the place does not answer, or `write` fails.
    pub async fn fetch(
        &self,
        file: &StoredFile,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Fetched, BackupError> {
        let mut fetched = Fetched::default();
        let pieces = futures::stream::iter(&file.pieces).map(|piece| self.piece(piece));
        let mut pieces = std::pin::pin!(pieces.buffered(PIECES_AT_ONCE));
        while let Some(bytes) = pieces.try_next().await? {
            fetched.pieces += 1;
            fetched.bytes += bytes.len() as u64;
            let name = || file.name.clone();
            write(&bytes).map_err(|source| BackupError::Io {
                action: "write",
                name: name(),
                source,
            })?;
        }
        Ok(fetched)
    }

    async fn piece(&self, piece: &Piece) -> Result<Bytes, BackupError> {
        let path = piece_path(&piece.sha256);
        let bytes = self.read(&path, piece.bytes).await?;
        if bytes.len() as u64 != piece.bytes {
            let reason = format!("has {} bytes, and {} belong there", bytes.len(), piece.bytes);
            return Err(self.damaged(&path, reason));
        }
        let (checked, expected) = (bytes.clone(), piece.sha256.clone());
        let same = tokio::task::spawn_blocking(move || sha256(&checked) == expected);
        if !same.await.unwrap_or(false) {
            return Err(self.damaged(&path, "is not what was put there".to_owned()));
        }
        Ok(bytes)
    }
}
