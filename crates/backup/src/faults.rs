//! A store in memory that fails as real ones do, for tests of this crate and of those above it.
//!
//! It can go away at any write, before or after it did what it was asked; and what it holds can rot.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use crate::BackupError;
use crate::place::Place;

/// So many writes are left when it does not go away.
const NEVER: u64 = u64::MAX;

/// A store with faults to order. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct FaultyStore {
    inner: Arc<InMemory>,
    left: Arc<Left>,
}

/// When it goes away.
#[derive(Debug)]
struct Left {
    /// How many writes it answers before that.
    writes: AtomicU64,
    /// Whether the write at which it goes away is done.
    does_last: AtomicBool,
}

impl Default for Left {
    fn default() -> Self {
        Self { writes: AtomicU64::new(NEVER), does_last: AtomicBool::new(false) }
    }
}

impl FaultyStore {
    /// The place that it is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::of_store(Arc::new(self.clone()))
    }

    /// Goes away at the write after so many more. That one is not done.
    pub fn leave_before(&self, writes: u64) {
        self.left.does_last.store(false, Ordering::Relaxed);
        self.left.writes.store(writes, Ordering::Relaxed);
    }

    /// Goes away at the write after so many more. That one is done, and not answered.
    pub fn leave_after(&self, writes: u64) {
        self.left.does_last.store(true, Ordering::Relaxed);
        self.left.writes.store(writes, Ordering::Relaxed);
    }

    /// Comes back.
    pub fn come_back(&self) {
        self.left.writes.store(NEVER, Ordering::Relaxed);
    }

    /// Forgets who held it, as when it is seen that they are gone.
    ///
    /// # Errors
    /// When it is gone itself.
    pub async fn unlock(&self) -> std::result::Result<(), BackupError> {
        let place = self.place();
        for lock in place.list("locks").await? {
            place.delete(&lock.location).await?;
        }
        Ok(())
    }

    /// Turns a bit over in one of the objects; returns which, if there is one that has bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn rot(&self, object: usize, bit: usize) -> Result<Option<String>> {
        let objects: Vec<ObjectMeta> =
            self.inner.list(None).filter_map(async |it| it.ok()).collect().await;
        let Some(object) = objects.get(object % objects.len().max(1)) else { return Ok(None) };
        let mut bytes = self.inner.get(&object.location).await?.bytes().await?.to_vec();
        let bits = bytes.len() * 8;
        let Some(byte) = bit.checked_rem(bits).and_then(|bit| bytes.get_mut(bit / 8)) else {
            return Ok(None);
        };
        *byte ^= 1 << (bit % 8);
        self.inner.put(&object.location, bytes.into()).await?;
        Ok(Some(object.location.to_string()))
    }

    /// Counts a write; says whether it is done, and whether it is answered.
    fn write(&self) -> (bool, bool) {
        match self.left.writes.load(Ordering::Relaxed) {
            NEVER => (true, true),
            0 => (self.left.does_last.swap(false, Ordering::Relaxed), false),
            writes => {
                self.left.writes.store(writes - 1, Ordering::Relaxed);
                (true, true)
            }
        }
    }

    /// Fails when it is gone.
    fn read(&self) -> Result<()> {
        match self.left.writes.load(Ordering::Relaxed) {
            0 if !self.left.does_last.load(Ordering::Relaxed) => Err(gone()),
            _ => Ok(()),
        }
    }
}

fn gone() -> Error {
    Error::Generic { store: "S3", source: "it is gone".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let (is_done, is_answered) = self.write();
        let put =
            if is_done { self.inner.put_opts(location, payload, opts).await } else { Err(gone()) };
        if is_answered { put } else { Err(gone()) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.read()?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = locations.then(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                let (is_done, is_answered) = store.write();
                if is_done {
                    store.inner.delete(&location).await?;
                }
                if is_answered { Ok(location) } else { Err(gone()) }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.read() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.read()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.read()?;
        self.inner.copy_opts(from, to, options).await
    }
}
