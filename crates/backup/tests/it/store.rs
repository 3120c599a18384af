//! A store that fails: what an interrupted backup leaves behind.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use backup::Place;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::world::{back_up, bytes, fetched, item};

/// Memory that takes so many objects and then no more.
#[derive(Debug)]
struct Failing {
    inner: InMemory,
    puts_left: AtomicI64,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if self.puts_left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            let source = "it is gone".into();
            return Err(Error::Generic { store: "S3", source });
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_backup_that_ends_anywhere_is_not_there_and_in_nobodys_way() {
    let files: Vec<_> = (0..4).map(|n| item(&format!("file {n}"), &bytes(n, 100))).collect();
    // A lock, four pieces, a manifest.
    for puts in 0..6 {
        let puts_left = AtomicI64::new(puts);
        let store = Arc::new(Failing { inner: InMemory::new(), puts_left });
        let place = Place::of_store(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let error = back_up(&place, 10, &files).await.unwrap_err();
        assert_eq!(error.code(), "BKP002", "after {puts} objects");
        assert!(error.help().is_some_and(|help| help.contains("AWS_ENDPOINT_URL")));
        assert_eq!(place.backups().await.unwrap(), []);
        store.puts_left.store(100, Ordering::Relaxed);
        let (id, pieces, _) = back_up(&place, 10, &files).await.unwrap();
        assert_eq!(
            pieces,
            4 - u64::try_from((puts - 1).clamp(0, 4)).unwrap(),
            "only what is missing"
        );
        assert_eq!(fetched(&place, &id).await.unwrap().len(), 4);
    }
}
