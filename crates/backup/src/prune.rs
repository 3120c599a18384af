//! Old backups go, and the bytes that only they had.

use std::collections::BTreeSet;

use crate::error::BackupError;
use crate::lock::Lock;
use crate::place::{Place, manifest_path, piece_path};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many backups.
    pub backups: u64,
    /// How many pieces.
    pub pieces: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

impl Place {
    /// Removes all backups but the newest `keep`, and every piece that none of these needs.
    ///
    /// It needs the place for itself: a backup that is being made has pieces that no manifest names yet. When it is
    /// interrupted, the next one does the rest.
    ///
    /// # Errors
    /// When a backup that stays cannot be read, or the place refuses. Then no piece was removed.
    pub async fn prune(&self, keep: usize, alone: &Lock) -> Result<Pruned, BackupError> {
        let backups = self.backups().await?;
        let (old, kept) = backups.split_at(backups.len().saturating_sub(keep));
        let mut needed = BTreeSet::new();
        // Read before anything goes: what cannot be read may need anything.
        for id in kept {
            let files = self.manifest(id).await?.files;
            needed.extend(files.into_iter().flat_map(|file| file.pieces).map(|piece| piece.sha256));
        }
        let mut pruned = Pruned::default();
        alone.must_hold().await?;
        for id in old {
            self.delete(&manifest_path(id)).await?;
            pruned.backups += 1;
        }
        // Else a crash could bring a manifest back, and not its pieces.
        self.sync().await?;
        for (sha256, bytes) in self.pieces().await? {
            if !needed.contains(&sha256) {
                self.delete(&piece_path(&sha256)).await?;
                pruned.pieces += 1;
                pruned.bytes += bytes;
            }
        }
        Ok(pruned)
    }
}
