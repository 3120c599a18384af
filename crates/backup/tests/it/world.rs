//! What the tests share: files that grow, in memory.

use std::sync::Arc;

use backup::{BackupError, BackupId, FORMAT, Item, Manifest, Place, StoredFile, ViewDigests};

/// Bytes that look like nothing in particular, the same every time.
pub(crate) fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

pub(crate) fn item(name: &str, content: &[u8]) -> Item {
    let (bytes, content) = (content.len() as u64, content.to_vec());
    let read = move |offset: u64, length: usize| {
        let offset = offset as usize;
        Ok(content[offset..offset + length].to_vec())
    };
    Item { name: name.to_owned(), path: None, bytes, read: Arc::new(read) }
}

pub(crate) fn manifest(upper: u64, files: Vec<StoredFile>) -> Manifest {
    Manifest {
        format: FORMAT,
        taken_at_us: i64::try_from(upper).unwrap() * 1_000_000,
        log_id: "a log".to_owned(),
        since: 0,
        upper,
        signed: None,
        views: ViewDigests::default(),
        files,
    }
}

/// The newest backup.
pub(crate) async fn last(place: &Place) -> Option<Manifest> {
    let ids = place.backups().await.unwrap();
    match ids.last() {
        Some(id) => Some(place.manifest(id).await.unwrap()),
        None => None,
    }
}

/// Backs files up; returns the backup, and how many pieces and bytes were written.
pub(crate) async fn back_up(
    place: &Place,
    upper: u64,
    items: &[Item],
) -> Result<(BackupId, u64, u64), BackupError> {
    let lock = place.lock().await?;
    let before = last(place).await;
    let uploaded = place.upload(items, before.as_ref()).await;
    let published = match uploaded {
        Ok(uploaded) => place
            .publish(&manifest(upper, uploaded.files), &lock)
            .await
            .map(|id| (id, uploaded.pieces, uploaded.bytes)),
        Err(error) => Err(error),
    };
    lock.release().await?;
    published
}

/// All files of a backup, as they come back.
pub(crate) async fn fetched(
    place: &Place,
    id: &BackupId,
) -> Result<Vec<(String, Vec<u8>)>, BackupError> {
    let mut files = Vec::new();
    for file in place.manifest(id).await?.files {
        let mut content = Vec::new();
        place
            .fetch(&file, |bytes| {
                content.extend_from_slice(bytes);
                Ok(())
            })
            .await?;
        files.push((file.name, content));
    }
    Ok(files)
}
