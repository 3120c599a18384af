//! Where backups are: a directory, or a bucket of S3 or what speaks its protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, RetryConfig};

use crate::error::BackupError;
use crate::limits::{CONNECT_WAIT, MANIFEST_BYTES_MAX, REQUEST_WAIT, RETRIES};
use crate::lock::Lock;
use crate::manifest::{BackupId, Manifest, Wrong};

/// Where the manifests are.
const MANIFESTS: &str = "manifests";

/// Where the pieces are.
const PIECES: &str = "pieces";

/// A place where backups are kept.
#[derive(Clone)]
pub struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    shown: String,
    /// The directory, when it is one: what is written there is not durable until that is asked for.
    directory: Option<PathBuf>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.shown).finish()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Place {
    /// Opens a place to read from: a directory that is there, or `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// When it cannot be a place.
    pub fn open(text: &str) -> Result<Self, BackupError> {
        if text.starts_with("s3://") {
            return Self::s3(text, std::env::vars());
        }
        Self::directory(text, directory_of(text)?)
    }

    /// Opens `s3://BUCKET/PREFIX` with the settings of an environment: its variables `AWS_…`.
    ///
    /// # Errors
    /// When it cannot be a place.
    pub fn s3(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BackupError> {
        let refused = |reason: &str| BackupError::Place {
            // Who writes credentials into a URL does not want to read them in a message.
            place: masked(text),
            reason: reason.to_owned(),
        };
        let rest = text.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') || rest.contains(['?', '#']) {
            return Err(refused("credentials and options come from the environment"));
        }
        if bucket.is_empty() {
            return Err(refused("it names no bucket"));
        }
        let prefix = Path::parse(prefix.trim_matches('/'));
        let prefix = prefix.map_err(|error| refused(&error.to_string()))?;
        let options =
            ClientOptions::new().with_timeout(REQUEST_WAIT).with_connect_timeout(CONNECT_WAIT);
        let (max_retries, retry_timeout) = RETRIES;
        let retry = RetryConfig { max_retries, retry_timeout, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new().with_client_options(options).with_retry(retry);
        for (name, value) in environment {
            let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
            // Who names an endpoint without TLS, as a server of their own may be, means it.
            let is_endpoint = name.starts_with("AWS_ENDPOINT");
            if name.starts_with("AWS_") {
                if is_endpoint && value.starts_with("http://") {
                    builder = builder.with_allow_http(true);
                }
                builder = builder.with_config(key, value);
            }
        }
        let store = builder.with_bucket_name(bucket).build();
        let store = store.map_err(|error| refused(&error.to_string()))?;
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(store, prefix));
        Ok(Self { store, shown: text.trim_end_matches('/').to_owned(), directory: None })
    }

    /// Opens a place to write to: makes the directory when it is missing, readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be a place.
    pub fn create(text: &str) -> Result<Self, BackupError> {
        if !text.starts_with("s3://") {
            let path = directory_of(text)?;
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|source| BackupError::Io {
                action: "create",
                name: text.to_owned(),
                source,
            })?;
        }
        Self::open(text)
    }

    /// A place that is gone with the process, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn in_memory() -> Self {
        Self::of_store(Arc::new(InMemory::new()))
    }

    /// Any store, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn of_store(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, shown: "memory".to_owned(), directory: None }
    }

    fn directory(text: &str, path: PathBuf) -> Result<Self, BackupError> {
        let refused = |reason: String| BackupError::Place { place: text.to_owned(), reason };
        if !path.is_dir() {
            return Err(refused("there is no such directory".to_owned()));
        }
        let store = LocalFileSystem::new_with_prefix(&path);
        let store = store.map_err(|error| refused(error.to_string()))?;
        Ok(Self { store: Arc::new(store), shown: text.to_owned(), directory: Some(path) })
    }

    /// The backups that are here, the one that reaches least far first.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn backups(&self) -> Result<Vec<BackupId>, BackupError> {
        let found = self.list(MANIFESTS).await?;
        let names = found.iter().filter_map(|object| object.location.filename());
        let mut ids: Vec<BackupId> = names.filter_map(BackupId::parse).collect();
        ids.sort();
        Ok(ids)
    }

    /// Reads what a backup consists of.
    ///
    /// # Errors
    /// When it is not there, or not as it was written.
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest, BackupError> {
        let path = manifest_path(id);
        let text = self.read(&path, MANIFEST_BYTES_MAX).await?;
        Manifest::decode(id, &text).map_err(|wrong| match wrong {
            Wrong::Damaged(reason) => self.damaged(&path, reason),
            Wrong::Format(format) => {
                let (place, object) = (self.shown.clone(), path.to_string());
                BackupError::Format { place, object, format }
            }
        })
    }

    /// Writes a manifest. From now on the backup is there: everything that it names must be. So nobody may have removed
    /// what no manifest named meanwhile, as who holds the lock may.
    ///
    /// # Errors
    /// When the place cannot hold it, or the lock was lost.
    pub async fn publish(&self, manifest: &Manifest, lock: &Lock) -> Result<BackupId, BackupError> {
        self.sync().await?;
        let (id, text) = manifest.encode();
        if on_disk(text.len()) > MANIFEST_BYTES_MAX {
            let (place, bytes) = (self.shown.clone(), on_disk(text.len()));
            return Err(BackupError::TooLarge { place, bytes });
        }
        lock.must_hold().await?;
        self.put(&manifest_path(&id), text.into()).await?;
        self.sync().await?;
        Ok(id)
    }

    /// The pieces that are here, with their sizes.
    pub(crate) async fn pieces(&self) -> Result<BTreeMap<String, u64>, BackupError> {
        let found = self.list(PIECES).await?;
        let name = |object: &ObjectMeta| object.location.filename().map(str::to_owned);
        Ok(found.iter().filter_map(|object| Some((name(object)?, object.size))).collect())
    }

    /// Makes what was written durable. Object stores are when they have answered.
    pub(crate) async fn sync(&self) -> Result<(), BackupError> {
        let Some(directory) = self.directory.clone() else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || {
            Ok(rustix::fs::syncfs(fs::File::open(directory)?)?)
        });
        let synced = synced.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        synced.map_err(|source| BackupError::Io {
            action: "make durable what was written to",
            name: self.shown.clone(),
            source,
        })
    }

    /// Whether what an interrupted backup left behind may be torn.
    pub(crate) fn may_tear(&self) -> bool {
        self.directory.is_some()
    }

    pub(crate) async fn list(&self, below: &str) -> Result<Vec<ObjectMeta>, BackupError> {
        let listed = self.store.list(Some(&Path::from(below))).try_collect().await;
        listed.map_err(|error| self.failed("list what is", error))
    }

    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), BackupError> {
        let put = self.store.put(path, bytes.into()).await;
        put.map(drop).map_err(|error| self.failed("write", error))
    }

    /// Reads an object; one that is longer than it may be is not read.
    pub(crate) async fn read(&self, path: &Path, bytes_max: u64) -> Result<Bytes, BackupError> {
        let found = match self.store.get(path).await {
            Err(object_store::Error::NotFound { .. }) => {
                return Err(self.damaged(path, "is missing".to_owned()));
            }
            found => found.map_err(|error| self.failed("read", error))?,
        };
        if found.meta.size > bytes_max {
            let reason =
                format!("has {} bytes, and at most {bytes_max} belong there", found.meta.size);
            return Err(self.damaged(path, reason));
        }
        found.bytes().await.map_err(|error| self.failed("read", error))
    }

    pub(crate) async fn delete(&self, path: &Path) -> Result<(), BackupError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", error)),
        }
    }

    pub(crate) fn failed(&self, action: &'static str, error: object_store::Error) -> BackupError {
        BackupError::Store { action, place: self.shown.clone(), source: Box::new(error) }
    }

    pub(crate) fn damaged(&self, path: &Path, reason: String) -> BackupError {
        BackupError::Damaged { place: self.shown.clone(), object: path.to_string(), reason }
    }
}

fn on_disk(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

pub(crate) fn manifest_path(id: &BackupId) -> Path {
    Path::from_iter([MANIFESTS, id.as_str()])
}

/// Where a piece is. Directories with very many files are slow, so its first digits are one.
pub(crate) fn piece_path(sha256: &str) -> Path {
    Path::from_iter([PIECES, sha256.get(..2).unwrap_or("00"), sha256])
}

/// The directory that a place names, which may be a URL of one.
fn directory_of(text: &str) -> Result<PathBuf, BackupError> {
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.is_empty() || path.contains("://") {
        let reason = "only directories and s3:// are".to_owned();
        return Err(BackupError::Place { place: masked(text), reason });
    }
    Ok(FilePath::new(path).to_owned())
}

/// A URL without what stands before an `@`.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((_secret, host)) => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_place_is_refused_without_its_secrets() {
        for text in ["s3://", "s3:///prefix", "s3://key:secret@bucket/a", "s3://b/a?x=secret"] {
            let error = Place::open(text).unwrap_err();
            assert_eq!(error.code(), "BKP001", "{text}");
            assert!(!error.to_string().contains("key:secret"), "{error}");
        }
        for text in ["", "gs://u:secret@bucket", "/no/such/directory"] {
            let error = Place::open(text).unwrap_err();
            assert_eq!(error.code(), "BKP001", "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
